-- spec/run.lua: runs every suite of the project and adds up what they say.
--
--   lua5.4 spec/run.lua             all of it
--   lua5.4 spec/run.lua luajit      only the suites whose name has that word
--
-- Closes with what suites have to note (lines that begin with "note: ", such as
-- what they ran without) and one line "N passed, N failed"; exits 1 when anything
-- failed, was skipped, or when a suite did not run to its end.

local busted = "/usr/bin/busted -C . --helper=spec/helper.lua -o TAP -p _spec spec"

local function environment(build)
  return ("LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='build/%s/?.so;;' "):format(build)
end

local function lines_of(command)
  local pipe = assert(io.popen(command .. " 2>&1; echo \"exit $?\""))
  return pipe:lines()
end

local function read_first_line(path)
  local file = assert(io.open(path))
  local line = file:read("l")
  file:close()
  return line
end

local function list(pattern)
  local found = {}
  for path in io.popen("ls " .. pattern .. " 2>/dev/null"):lines() do found[#found + 1] = path end
  return found
end

-- The first line of a C test names what it is built from: /* with: json.c -lcrypto */
local function c_suite(path)
  local parts = {}
  for word in read_first_line(path):match("^/%* with: ([^*]+)"):gmatch("%S+") do
    parts[#parts + 1] = word:match("%.c$") and "src/" .. word or word
  end
  local name = path:match("([^/]+)%.c$")
  local flags = "-std=gnu11 -g -O1 -Wall -Wextra -Werror -fsanitize=address,undefined"
    .. " -fno-sanitize-recover=all -Isrc"
  return {
    name = "C " .. name,
    command = ("mkdir -p build/test && cc %s -o build/test/%s %s %s && build/test/%s"):format(
      flags, name, path, table.concat(parts, " "), name),
  }
end

local function suites()
  local all = {}
  for _, path in ipairs(list("spec/c/*_test.c")) do all[#all + 1] = c_suite(path) end
  all[#all + 1] = { name = "lua5.4 specs", command = environment("lua5.4") .. "lua5.4 " .. busted }
  all[#all + 1] = { name = "luajit specs", command = environment("luajit") .. "luajit " .. busted }
  for _, path in ipairs(list("spec/suite/*")) do
    all[#all + 1] = { name = path:match("[^/]+$"), command = "sh " .. path }
  end
  return all
end

-- What one line of output says: passed, failed, skipped (each a number).
local function count(line)
  local passed, failed = line:match("^(%d+) passed, (%d+) failed")
  if passed then return tonumber(passed), tonumber(failed), 0 end
  if line:match("^ok %d+ %- # SKIP") or line:match("^ok %d+.*# SKIP") then return 0, 0, 1 end
  if line:match("^ok %d+") then return 1, 0, 0 end
  if line:match("^not ok %d+") then return 0, 1, 0 end
  return 0, 0, 0
end

-- A line that a spec prints for whoever reads the end of it all: "note: ..." or, as the first
-- words of a file's own, "spec/x_spec.lua: ...". Behind a failure such lines are a trace.
local function noted(line)
  return line:match("^note: .*$") or line:match("^spec/[%w_/]+%.lua: %a.*$")
end

local function run(suite)
  local sum = { passed = 0, failed = 0, skipped = 0, notes = {} }
  local status, shown = "none", {}
  for line in lines_of(suite.command) do
    local passed, failed, skipped = count(line)
    sum.passed, sum.failed = sum.passed + passed, sum.failed + failed
    sum.skipped = sum.skipped + skipped
    status = line:match("^exit (%d+)$") or status
    if noted(line) then sum.notes[#sum.notes + 1] = suite.name .. ": " .. noted(line) end
    if passed == 0 and not line:match("^1%.%.") then shown[#shown + 1] = line end
  end
  local broken = sum.failed == 0 and (status ~= "0" or sum.passed == 0)
  if broken or sum.skipped > 0 then sum.failed = sum.failed + 1 end
  if sum.failed > 0 then print(table.concat(shown, "\n")) end
  print(("%-16s %5d passed %3d failed %3d skipped"):format(
    suite.name, sum.passed, sum.failed, sum.skipped))
  return sum
end

local wanted = arg[1] or ""
local passed, failed, notes = 0, 0, {}
for _, suite in ipairs(suites()) do
  if suite.name:find(wanted, 1, true) then
    local sum = run(suite)
    passed, failed = passed + sum.passed, failed + sum.failed
    for _, note in ipairs(sum.notes) do notes[#notes + 1] = note end
  end
end
if #notes > 0 then print(table.concat(notes, "\n")) end
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and passed > 0 and 0 or 1)

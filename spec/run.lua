-- spec/run.lua: runs the suites of the project side by side and adds up what they say.
--
--   lua5.4 spec/run.lua               all of `make test`
--   lua5.4 spec/run.lua json          only the suites with that name, or with that text in it
--   lua5.4 spec/run.lua long          what `make check-all` runs besides
--
-- A suite is a spec file on one Lua ("json_spec lua5.4"; without tests that are #long), a C test
-- ("C json_test"), a fuzz target over its corpus ("fuzz json") or a script of spec/suite or, with
-- `long`, of spec/long. It is a process of its own; what all have said stays in build/test where
-- one has failed. Twice as many of them as there are processors run at once, and more where the
-- processors have nothing to do (JOBS=n: n); the longest come first, by what they took the last
-- time.
--
-- Closes with what suites have to note (lines that begin with "note: ", such as what they ran
-- without), the ten slowest, and one line "N passed, N failed"; exits 1 when anything failed, was
-- skipped, or when a suite did not run to its end.

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "build/lua5.4/?.so;" .. package.cpath

local postgres = require "spec.support.postgres"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"

local FOLDER = "build/test"
local PROGRAMS = "build/sanitized" -- where make puts C tests and fuzz targets
-- A block is kept from being used again until so much more was freed, not 256 MB: to get ever new
-- memory takes half of the time of these programs.
local SANITIZER = "quarantine_size_mb=8"
local PATIENCE = { short = 1800, long = 3600 } -- seconds until a suite is ended by force

-- Specs that only drive nginx, which runs LuaJIT whoever runs busted. What other specs start of
-- processes takes most of the time: where some of their tests are #both, LuaJIT runs these alone.
-- Where some are #once, for what takes seconds and knows no Lua's ways, it runs the others
-- (spec/long/luajit: all of them).
local ONCE = {
  dictionary_spec = true, gate_spec = true, nginx_calls_spec = true, openresty_spec = true,
  resty_spec = true, sandbox_spec = true, shared_claims_spec = true, slow_spec = true,
  torn_spec = true, wire_spec = true, worker_spec = true,
  -- the command's own side of these is serve_spec's and page_spec's, on both
  page_serve_spec = true, serve_listen_spec = true, bad_requests_spec = true,
  full_disk_spec = true, pipes_spec = true, unmounted_spec = true,
  -- a disk's and a database's: spec/long/powerloss has them on both
  powerloss_spec = true, inbox_postgresql_crash_spec = true,
}

-- Seconds that suites take where nothing is known of an earlier run; any other takes one. What is
-- long must not begin last, when one processor would wait for it.
local SECONDS = {
  serve_spec = 80, resty_spec = 30, worker_spec = 35, inbox_postgresql_spec = 35,
  openresty_spec = 20, torn_spec = 35, sanitized = 25, shared_claims_spec = 20,
  shared_quota_spec = 25, moved_spec = 16, kill_spec = 15, nginx_calls_spec = 15,
  page_serve_spec = 10, inbox_postgresql_faults_spec = 15, sandbox_spec = 12, slow_spec = 12,
  memory_spec = 12, pending_spec = 12, bounds_spec = 12, inbox_spec = 10, shared_spec = 10,
  dictionary_spec = 10, serve_root_spec = 10, cli_spec = 9, inbox_copy_spec = 9, year_spec = 8,
  docs_spec = 8, curl_spec = 8, pq_spec = 8, fault_spec = 7, crash_spec = 7, wire_spec = 7,
  oom_spec = 7, powerloss_spec = 7, substance_spec = 6, serve_listen_spec = 6, curl_test = 6,
  transport_spec = 6, poll_spec = 6, readback_spec = 5, schedule_spec = 5, export_spec = 5,
  examples_spec = 5, reference_spec = 5, cli_width_spec = 5, cli_inbox_spec = 5,
  cli_settle_spec = 5, cli_sandbox_spec = 5, doctor_spec = 5, inbox_postgresql_crash_spec = 5,
}

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

local function list(pattern)
  local found = {}
  for path in io.popen("ls " .. pattern .. " 2>/dev/null"):lines() do found[#found + 1] = path end
  return found
end

-- --- the suites -----------------------------------------------------------------

local function short_suites()
  local all = {}
  local function add(name, command) all[#all + 1] = { name = name, command = command } end
  for _, path in ipairs(list("spec/c/*_test.c")) do
    add("C " .. path:match "([%w_]+)%.c$", PROGRAMS .. "/" .. path:gsub("%.c$", ""))
  end
  for _, path in ipairs(list("fuzz/*.c")) do
    local name = path:match "^fuzz/([%w_]+)%.c$"
    if name and read(path):find "^/%* with:" then
      add("fuzz " .. name, ("%s/fuzz/%s fuzz/corpus/%s"):format(PROGRAMS, name, name))
    end
  end
  for _, path in ipairs(list("spec/*_spec.lua")) do
    local name, text = path:match "([%w_]+)%.lua$", read(path)
    local function has(tag) return text:find("#" .. tag, 1, true) ~= nil end
    local less = has "long" and "--exclude-tags=long " or ""
    local some = less .. (has "both" and "--tags=both " or "")
      .. (has "once" and "--exclude-tags=once " or "")
    for _, lua in ipairs(ONCE[name] and { "luajit" } or { "lua5.4", "luajit" }) do
      -- what a spec starts finds the same modules
      add(name .. " " .. lua, ("LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='build/%s/?.so;;' "
        .. "%s /usr/bin/busted -o TAP %s%s"):format(lua, lua, lua == "luajit" and some or less,
        path))
      all[#all].postgres = text:find("spec.support.postgres", 1, true) ~= nil
      all[#all].database = text:find "postgres%W+database%(" ~= nil
    end
  end
  for _, path in ipairs(list("spec/suite/*")) do add(path:match "[^/]+$", "sh " .. path) end
  return all
end

local function long_suites()
  local all = {}
  for _, path in ipairs(list("spec/long/*")) do
    all[#all + 1] = { name = path:match "[^/]+$", command = "sh " .. path }
  end
  return all
end

-- Those with this name, or else with this text in their name.
local function chosen(all, wanted)
  local exact, similar = {}, {}
  wanted = wanted:gsub("^spec/", ""):gsub("%.lua$", "")
  for _, suite in ipairs(all) do
    local first = suite.name:match "^%S+"
    if suite.name == wanted or first == wanted or first == wanted .. "_spec" then
      exact[#exact + 1] = suite
    end
    if suite.name:find(wanted, 1, true) then similar[#similar + 1] = suite end
  end
  return #exact > 0 and exact or similar
end

-- --- how long they took -----------------------------------------------------------

local function remembered()
  local seconds = {}
  for line in read(FOLDER .. "/seconds"):gmatch "[^\n]+" do
    local took, used, name = line:match "^(%S+) ([%d.]+) (.*)$"
    if took then seconds[name] = { took = tonumber(took), used = tonumber(used) } end
  end
  return seconds
end

local function remember(seconds)
  local lines = {}
  for name, one in pairs(seconds) do
    lines[#lines + 1] = ("%.1f %.1f %s\n"):format(one.took, one.used, name)
  end
  table.sort(lines)
  local file = assert(io.open(FOLDER .. "/seconds", "wb"))
  file:write(table.concat(lines))
  file:close()
end

local function longest_first(suites)
  local seconds = remembered()
  for _, suite in ipairs(suites) do
    suite.expected = (seconds[suite.name] or {}).took or SECONDS[suite.name:match "[%w_]+_[%w_]+"
      or suite.name] or 1
  end
  table.sort(suites, function(a, b)
    if a.expected ~= b.expected then return a.expected > b.expected end
    return a.name < b.name
  end)
end

-- --- what they say ----------------------------------------------------------------

-- What one line of output says: passed, failed, skipped (each a number).
local function count(line)
  local passed, failed = line:match("^(%d+) passed, (%d+) failed")
  if passed then return tonumber(passed), tonumber(failed), 0 end
  if line:match("^ok %d+.*# SKIP") then return 0, 0, 1 end
  if line:match("^ok %d+") then return 1, 0, 0 end
  if line:match("^not ok %d+") then return 0, 1, 0 end
  return 0, 0, 0
end

-- A line that a spec prints for whoever reads the end of it all: "note: ..." or, as the first
-- words of a file's own, "spec/x_spec.lua: ...". Behind a failure such lines are a trace.
local function noted(line)
  return line:match("^note: .*$") or line:match("^spec/[%w_/]+%.lua: %a.*$")
end

local function judge(suite, ending)
  local shown = {}
  suite.passed, suite.failed, suite.notes = 0, 0, {}
  local skipped = 0
  for line in read(suite.log):gmatch "[^\n]*" do
    local passed, failed, one = count(line)
    suite.passed, suite.failed = suite.passed + passed, suite.failed + failed
    skipped = skipped + one
    if noted(line) then suite.notes[#suite.notes + 1] = noted(line) end
    if passed == 0 and line ~= "" and not line:match("^1%.%.") then shown[#shown + 1] = line end
  end
  local broken = suite.failed == 0 and (ending ~= "exit 0" or suite.passed == 0)
  if skipped > 0 then shown[#shown + 1] = skipped .. " skipped, which is a failure" end
  if broken then shown[#shown + 1] = "did not run to its end: " .. ending end
  if broken or skipped > 0 then suite.failed = suite.failed + 1 end
  if suite.failed == 0 then return nil end
  return ("FAILED %s\n%s"):format(suite.name, table.concat(shown, "\n"))
end

-- --- running them -----------------------------------------------------------------

-- what suites share, where one of them needs it: data to copy for a PostgreSQL server of its own;
-- a server of databases
local template, server
local memory -- the folder for what they write, if there is one
local served = 0 -- seconds of a processor that the server has used
local logs -- the folder for what the suites of this run say: others may run at the same time

local function share(suite)
  if suite.postgres and not template then template = postgres.template() end
  if suite.database and not server then server = postgres.start(template) end
end

-- Removes what suites have shared.
local function unshare()
  if server then
    served = server:used()
    server:remove()
  end
  if template then process.remove_tree(template) end
  if memory then process.remove_tree(memory) end
end

local function start(suite)
  share(suite)
  suite.log = ("%s/%s.log"):format(logs, (suite.name:gsub("[ /]", "-")))
  suite.began = process.monotonic()
  -- the shell says in the end how much of a processor all of it has used
  local command = suite.command
    .. ("\nstatus=$?; times >'%s.times'; exit $status"):format(suite.log)
  suite.pid = assert(process.spawn({ "/bin/sh", "-c", command },
    { stdin = "/dev/null", stdout = suite.log, stderr = suite.log, group = true, die = "KILL",
      env = { ASAN_OPTIONS = SANITIZER, BILLHOOK_SCRATCH = memory or false,
        BILLHOOK_POSTGRES = template or false,
        BILLHOOK_POSTGRES_SERVER = server and server.port .. " " .. server.folder or false } }))
end

-- How it ended, or nil while it runs.
local function ended(suite, patience)
  local over = process.monotonic() - suite.began > patience
  if not over and process.wait(suite.pid, "look") == false then return nil end
  process.kill(-suite.pid, "KILL") -- what it has left behind, or all of it
  local kind, detail = process.wait(suite.pid)
  suite.took = process.monotonic() - suite.began
  suite.used = 0
  for minutes, seconds in read(suite.log .. ".times"):gmatch "(%d+)m([%d.]+)s" do
    suite.used = suite.used + 60 * minutes + seconds
  end
  os.remove(suite.log .. ".times")
  return over and ("ended after %d s"):format(patience) or kind .. " " .. detail
end

local began, terminal = process.monotonic(), os.execute "test -t 1 2>/dev/null"
local sum = { done = 0, passed = 0, failed = 0 }
local said = -math.huge

-- A line of progress: one that stays the same on a terminal, else one every ten seconds.
local function progress(running, all)
  local now = process.monotonic()
  if now - said < (terminal and 0.5 or 10) then return end
  said = now
  local names = {}
  for _, suite in pairs(running) do
    names[#names + 1] = ("%s (%.0f s)"):format(suite.name, now - suite.began)
  end
  table.sort(names)
  local line = ("%3.0f s  %d of %d suites, %d passed, %d failed: %s"):format(now - began, sum.done,
    all, sum.passed, sum.failed, table.concat(names, ", "))
  io.write(terminal and "\r\27[K" .. line:sub(1, 78) or line .. "\n")
  io.flush()
end

local function say(text)
  io.write(terminal and "\r\27[K" or "", text, "\n")
  io.flush()
end

-- For how long the processors have been idle, and for how long they have been, since the system's
-- start; nothing where it does not say so.
local function processors()
  local numbers = {}
  for number in (read("/proc/stat"):match "^cpu ([^\n]*)" or "0"):gmatch "%d+" do
    numbers[#numbers + 1] = tonumber(number)
  end
  local all = 0
  for i = 1, math.min(#numbers, 8) do all = all + numbers[i] end
  return (numbers[4] or 0) + (numbers[5] or 0), all
end

local LOOKED, SPARE = 0.5, 0.1 -- seconds between two looks; the idle part that is enough for one

-- How many suites may run at once. Half of what they do is to wait, so there are more of them than
-- processors: some always, and one more after each look that has found processors idle.
local Room = {}
Room.__index = Room

local function new_room(jobs)
  local processors_here = tonumber((io.popen "nproc":read "l")) or 1
  local self = setmetatable({ always = jobs or 2 * processors_here,
    most = jobs or 6 * processors_here, looked = process.monotonic() }, Room)
  self.idle, self.all = processors()
  return self
end

function Room:has(running)
  if running < self.always then return true end
  local now = process.monotonic()
  if running >= self.most or now - self.looked < LOOKED then return false end
  local idle, all = processors()
  local spare = (idle - self.idle) / math.max(all - self.all, 1)
  self.looked, self.idle, self.all = now, idle, all
  return spare > SPARE
end

local function run(suites, room, patience)
  local running, count_of, next_one = {}, 0, 1
  process.signals("INT", "TERM", "HUP")
  while count_of > 0 or next_one <= #suites do
    while next_one <= #suites and room:has(count_of) do
      start(suites[next_one])
      running[suites[next_one]], next_one, count_of = suites[next_one], next_one + 1, count_of + 1
    end
    progress(running, #suites)
    if not process.sleep(0.02) and process.caught() then
      for suite in pairs(running) do process.kill(-suite.pid, "KILL") end
      unshare()
      process.remove_tree(logs)
      say "stopped"
      os.exit(1)
    end
    for suite in pairs(running) do
      local ending = ended(suite, patience)
      if ending then
        running[suite], count_of = nil, count_of - 1
        local trouble = judge(suite, ending)
        if trouble then say(trouble) end
        sum.done = sum.done + 1
        sum.passed, sum.failed = sum.passed + suite.passed, sum.failed + suite.failed
      end
    end
  end
end

local function close(suites)
  local seconds, used = remembered(), served
  for _, suite in ipairs(suites) do
    used = used + suite.used
    if suite.failed == 0 then seconds[suite.name] = { took = suite.took, used = suite.used } end
    for _, note in ipairs(suite.notes) do say(suite.name .. ": " .. note) end
  end
  remember(seconds)
  table.sort(suites, function(a, b) return a.took > b.took end)
  say "the slowest, and the seconds of a processor that they have used:"
  for i = 1, math.min(10, #suites) do
    say(("%6.1f s %6.1f s  %s"):format(suites[i].took, suites[i].used, suites[i].name))
  end
  say(("%d suites in %.0f s, with %.0f s of a processor"):format(#suites,
    process.monotonic() - began, used))
  say(("%d passed, %d failed"):format(sum.passed, sum.failed))
end

local long = arg[1] == "long"
local suites = long and long_suites() or short_suites()
suites = chosen(suites, arg[long and 2 or 1] or "")
assert(os.execute("mkdir -p " .. FOLDER))
logs = assert(process.mkdtemp(FOLDER .. "/run"))
memory = scratch.memory()
longest_first(suites)
if #suites == 0 then say "no suite has such a name" end
run(suites, new_room(tonumber(os.getenv "JOBS")), PATIENCE[long and "long" or "short"])
unshare()
if sum.failed == 0 then process.remove_tree(logs) else say("all that was said: " .. logs) end
close(suites)
os.exit(sum.failed == 0 and sum.passed > 0 and 0 or 1)

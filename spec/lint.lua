-- spec/lint.lua: the rules of the house that a program can hold. Each check
-- gives the lines that break it; the run ends with "N passed, N failed".

local function lines(command)
  local found = {}
  local pipe = assert(io.popen(command .. " 2>&1"))
  for line in pipe:lines() do found[#found + 1] = line end
  return found, pipe:close()
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("a")
  file:close()
  return text
end

local function files(pattern)
  return (lines("git ls-files --cached --others --exclude-standard -- " .. pattern))
end

local c_files = files("'src/*.[ch]' 'fuzz/*.c' 'bench/*.c' 'spec/**/*.c'")
local lua_files = files("'lua/*.lua' 'lua/**/*.lua' bin/billhook 'examples/*.lua'")

-- the paths among these that a predicate on (line, number) finds fault with
local function each_line(paths, fault)
  local bad = {}
  for _, path in ipairs(paths) do
    local number = 0
    for line in io.lines(path) do
      number = number + 1
      if fault(line, path) then bad[#bad + 1] = path .. ":" .. number .. ": " .. line end
    end
  end
  return bad
end

local checks = {}
local function check(name, fn) checks[#checks + 1] = { name = name, fn = fn } end

check("the command prints by term.print, which tells where that failed", function()
  return each_line(files("'lua/billhook/cli/*.lua'"), function(line, path)
    return path ~= "lua/billhook/cli/term.lua"
      and (line:find "%f[%w_.]print%(" or line:find "io%.stdout:write" or line:find "io%.write")
  end)
end)

check("luacheck", function()
  local out, ok = lines("luacheck -q --no-color lua spec examples bin/billhook")
  return ok and {} or out
end)

check("no warning from clang", function()
  local out, ok = lines("make -s B=build/clang CC=clang all")
  return ok and {} or out
end)

check("79 columns in C, 100 in Lua, no tabs, no space at an end", function()
  return each_line(files("'src/*.[ch]' 'lua/*.lua' 'lua/**/*.lua' 'spec/*.lua' 'spec/**/*.lua'"),
    function(line, path)
      local most = path:match("%.[ch]$") and 79 or 100
      return utf8.len(line) == nil or utf8.len(line) > most or line:find("\t") or line:find("%s$")
    end)
end)

-- A C function begins at a line that starts with a letter and ends in "{", and
-- ends at the first "}" in column one.
check("LUA_VERSION_NUM only in compat.h", function()
  return each_line(c_files, function(line, path)
    return line:find("LUA_VERSION_NUM") and path ~= "src/compat.h"
  end)
end)

check("OpenSSL only in sign.[ch]", function()
  return each_line(files("'src/*.[ch]'"), function(line, path)
    return line:find("#include <openssl/", 1, true) and not path:match("^src/sign%.[ch]$")
  end)
end)

-- An engine knows no Lua: only bindings, core and the whole-object files do.
local knows_lua = { core = true, compat = true, curl = true, sqlite = true, process = true }
check("engines include no Lua header", function()
  return each_line(files("'src/*.[ch]'"), function(line, path)
    local name = path:match("([%w_]+)%.[ch]$")
    if knows_lua[name] or name:match("^l%a") then return false end
    return line:find('#include [<"]l%a*lib.h') or line:find('#include [<"]lua')
      or line:find('#include "compat.h"', 1, true)
  end)
end)

local may_know_nginx = { ["lua/billhook/openresty.lua"] = true,
  ["lua/billhook/transport/init.lua"] = true, ["lua/billhook/transport/worker.lua"] = true,
  ["lua/billhook/transport/resty.lua"] = true, ["lua/billhook/shared/dict.lua"] = true,
  ["lua/billhook/shared/pulse.lua"] = true, ["lua/billhook/shared/turns.lua"] = true,
  ["lua/billhook/shared/gate.lua"] = true,
  -- writes what nginx is to run
  ["lua/billhook/cli/server.lua"] = true, ["lua/billhook/cli/nginx.lua"] = true }
check("ngx only where nginx is the host", function()
  return each_line(files("'lua/*.lua' 'lua/**/*.lua'"), function(line, path)
    if may_know_nginx[path] or path:match("/nginx/") or path:match("/sandbox/") then
      return false
    end
    return line:gsub('".-"', ""):gsub("%-%-.*", ""):find("%f[%w_]ngx%f[^%w_]")
  end)
end)

-- The names that a header declares begin with its own prefix: the two objects of a transfer have
-- one each.
check("a prefix belongs to one header", function()
  local bad, owner = {}, {}
  for _, path in ipairs(files("'src/*.h'")) do
    local own
    for name in read(path):gsub("/%*.-%*/", ""):gmatch("\n%a[^\n;(#]-([%w_]+)%(") do
      local prefix = path == "src/curl_head.h" and "curl_head" or name:match("^[^_]+")
      if path == "src/compat.h" and prefix ~= "bh" or name == "__attribute__" then
        prefix = nil
      elseif prefix and owner[prefix] and owner[prefix] ~= path then
        bad[#bad + 1] = ("%s: %s has the prefix of %s"):format(path, name, owner[prefix])
      elseif prefix and own and own ~= prefix and path ~= "src/curl.h" then
        bad[#bad + 1] = ("%s: %s, beside %s_"):format(path, name, own)
      end
      own = prefix or own
      if prefix then owner[prefix] = path end
    end
  end
  return bad
end)

check("one exported symbol a shared object", function()
  local bad = {}
  for _, path in ipairs((lines("ls build/lua5.4/billhook/*.so build/luajit/billhook/*.so"))) do
    local name = path:match("([%w_]+)%.so$")
    local found = lines("nm -D --defined-only --format=just-symbols " .. path)
    local symbols = table.concat(found, " ")
    if symbols ~= "luaopen_billhook_" .. name then bad[#bad + 1] = path .. ": " .. symbols end
  end
  return bad
end)

-- The rooms of the house, from the top down; what is in none of them is for all. A module requires
-- what is below its own room, or in it. `once` is given what it needs of `client`, and only the
-- public door knows both.
local FLOORS = { { "cli", "sandbox" }, { "nginx", "openresty" }, { "init" }, { "page" }, { "app" },
  { "once" }, { "client" }, { "transport" }, { "shared", "inbox" } }
local floor_of = {}
for i, rooms in ipairs(FLOORS) do
  for _, room in ipairs(rooms) do floor_of[room] = #FLOORS - i + 1 end
end
local NEVER = { ["once client"] = true }

-- What may be required where it is needed: libraries that a user may do without, and modules that
-- a new worker thread, or a client that makes no call, should not have to load.
local LATE = { ["lua/billhook/shared/thread.lua"] = true, ["lua/billhook/inbox/init.lua"] = true,
  ["lua/billhook/inbox/peek.lua"] = true,
  ["lua/billhook/transport/init.lua"] = true, ["lua/billhook/transport/resty.lua"] = true,
  ["lua/billhook/transport/thread.lua"] = true,
  ["lua/billhook/client/response.lua"] = true, ["lua/billhook/client/pages.lua"] = true,
  ["lua/billhook/client/map.lua"] = true }
-- rooms whose requires are looked at
local HELD = { page = true, app = true, inbox = true, nginx = true, shared = true, client = true,
  once = true,
  transport = true }

local function room_of(module) return module:match("^billhook%.([%w_]+)") or "init" end

-- Calls fn(path, module, line) for each of our modules that a file requires.
local function each_require(paths, fn)
  for _, path in ipairs(paths) do
    for line in io.lines(path) do
      local code = line:gsub("%-%-.*", "")
      for module in code:gmatch('require%s*%(?%s*"(billhook[%w_.]*)"') do fn(path, module, code) end
    end
  end
end

local modules = files("'lua/*.lua' 'lua/**/*.lua'")

check("requires go down, and stand at the top", function()
  local bad = {}
  each_require(lua_files, function(path, module, code)
    local room, other = path:match("^lua/billhook/([%w_]+)/"), room_of(module)
    if not HELD[room] then return end
    if (floor_of[other] or 0) > floor_of[room] or NEVER[room .. " " .. other] then
      bad[#bad + 1] = path .. " requires " .. module .. ", which is not below it"
    elseif code:find("^%s") and not LATE[path] then
      bad[#bad + 1] = path .. " requires " .. module .. " inside a function"
    end
  end)
  return bad
end)

check("no module requires what requires it", function()
  local needs, bad = {}, {}
  each_require(modules, function(path, module)
    local name = path:match("^lua/(.-)%.lua$"):gsub("/init$", ""):gsub("/", ".")
    needs[name] = needs[name] or {}
    if module ~= name then needs[name][#needs[name] + 1] = module end
  end)
  local state = {}
  local function visit(name, way)
    if state[name] == "under way" then
      bad[#bad + 1] = "a circle: " .. way .. " " .. name
    elseif not state[name] then
      state[name] = "under way"
      for _, other in ipairs(needs[name] or {}) do visit(other, way .. " " .. name) end
      state[name] = "done"
    end
  end
  for name in pairs(needs) do visit(name, "") end
  return bad
end)

-- The edges between the folders, to be looked at: a folder, and what it requires, how often.
local function print_edges()
  local edges, rooms = {}, {}
  each_require(modules, function(path, module)
    local room = path:match("^lua/billhook/([%w_]+)/")
    local other = room_of(module)
    if room and room ~= other and floor_of[other] then
      if not edges[room] then
        edges[room] = {}
        rooms[#rooms + 1] = room
      end
      edges[room][other] = (edges[room][other] or 0) + 1
    end
  end)
  table.sort(rooms, function(a, b)
    local one, two = floor_of[a] or 0, floor_of[b] or 0
    return one > two or one == two and a < b
  end)
  for _, room in ipairs(rooms) do
    local to = {}
    for other, count in pairs(edges[room]) do to[#to + 1] = ("%s %d"):format(other, count) end
    table.sort(to)
    print(("       %s -> %s"):format(room, table.concat(to, ", ")))
  end
end

-- LuaJIT keeps an entry of a table with weak keys for ever once its value leads back to its key: so
-- each has been looked at, and stands here with its values. What an object keeps to itself goes to
-- lua/billhook/private.lua.
local weak_keys = {
  ["lua/billhook/caller.lua: running"] = "a name and counts",
  ["lua/billhook/client/map.lua: ours"] = "true",
  ["lua/billhook/webhook.lua: kept"] = "keys, and copies of lists of texts",
  ["lua/billhook/shared/init.lua: by_clock"] = "numbers and texts",
}
check("tables with weak keys whose values do not lead to them", function()
  local seen = {}
  local bad = each_line(lua_files, function(line, path)
    if not line:find("__mode", 1, true) or line:find('__mode = "v"', 1, true) then return false end
    local name = path .. ": " .. (line:match('^local ([%w_]+) = .*__mode = "k" }') or "?")
    seen[name] = true
    return not weak_keys[name]
  end)
  for name in pairs(weak_keys) do
    if not seen[name] then bad[#bad + 1] = "not there any more: " .. name end
  end
  return bad
end)

-- Every Lua file is in a rockspec, every C source in the Makefile, and nothing else is.
check("the rockspec and the Makefile list the tree", function()
  local bad, listed = {}, {}
  for _, rockspec in ipairs(files("'*-scm-1.rockspec'")) do
    for path in read(rockspec):gmatch('"(lua/[%w_/]+%.lua)"') do listed[path] = true end
  end
  for name in read("Makefile"):gsub("\\\n", " "):gmatch("\nSRC_%l+ := ([^\n]+)") do
    for file in name:gmatch("%S+") do listed["src/" .. file] = true end
  end
  for _, path in ipairs(files("'lua/*.lua' 'lua/**/*.lua' 'src/*.c'")) do
    local needed = not path:match("meta%.lua$")
    if needed and not listed[path] then bad[#bad + 1] = "missing: " .. path end
    listed[path] = nil
  end
  for path in pairs(listed) do bad[#bad + 1] = "not there: " .. path end
  return bad
end)

check("one version everywhere: make docs writes the rockspecs", function()
  local bad, release = {}, dofile "packaging/release.lua"
  for path, text in pairs(release.rockspecs()) do
    local file = io.open(path)
    if not file or file:read("a") ~= text then bad[#bad + 1] = path .. " is not as it should be" end
    if file then file:close() end
  end
  if not read("CHANGELOG.md"):find("\n## " .. release.version, 1, true) then
    bad[#bad + 1] = "CHANGELOG.md says nothing of " .. release.version
  end
  return bad
end)

check("luarocks lint", function()
  local out, ok = lines("for r in *.rockspec rocks/*.rockspec; do luarocks lint $r || exit 1; done")
  return ok and {} or out
end)

local passed, failed = 0, 0
for _, one in ipairs(checks) do
  local bad = one.fn()
  print((#bad == 0 and "ok    " or "FAILED") .. " " .. one.name)
  for i = 1, math.min(#bad, 40) do print("       " .. bad[i]) end
  if #bad == 0 then passed = passed + 1 else failed = failed + 1 end
end
print "folders, and what they require, how often:"
print_edges()
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and 0 or 1)

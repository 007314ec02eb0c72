-- bench/json.lua: one text decoded by core.json and by cjson, and digested.
-- Best of many rounds, in nanoseconds.
--
--   make && LUA_CPATH='build/lua5.4/?.so;;' lua5.4 bench/json.lua FILE.json ...
--   make && LUA_CPATH='build/luajit/?.so;;' luajit bench/json.lua FILE.json ...
local core = require("billhook.core").json
local cjson = require("cjson").new()

local ROUNDS, TIMES = 40, 5000

local function best(fn, text)
  local least = math.huge
  for _ = 1, ROUNDS do
    collectgarbage()
    local start = os.clock()
    for _ = 1, TIMES do fn(text) end
    least = math.min(least, os.clock() - start)
  end
  return least / TIMES * 1e9
end

for _, path in ipairs(arg) do
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  print(("%s: %d bytes"):format(path, #text))
  for _, case in ipairs {
    { "core.json.decode", core.decode }, { "cjson.decode", cjson.decode },
    { "core.json.digest", core.digest },
  } do
    print(("  %-17s %6.0f ns"):format(case[1], best(case[2], text)))
  end
end

#!/usr/bin/env lua5.4
-- each.lua: `each` over 100,000 invoices (150 MB) from a real socket, beside decoding the same
-- elements from memory; and the memory that it takes above an idle client's.
--
--   make && bench/each.lua
--
-- The list is DreamApply's map of invoices by id, which nginx sends from a file. Each side is a
-- process of its own. From memory is this: the file's lines are read one by one and each one's
-- element, a string by then, is decoded with core.json.decode into the same tables and given up to
-- the collector at once; before that, the same lines are read and nothing is decoded. The difference
-- is decoding, and all that the collector does for what was decoded. `each` pays, beside that, for
-- libcurl and the socket, which is the kernel's work for the most part: what of that no client can
-- save is measured by drop.c, libcurl alone that drops the bytes, and added to decoding from memory
-- gives the floor. Rounds alternate. Given are the best one of each side and, in brackets, the median
-- of each round's ratio, by the clock and by processor time (user and system, of the client's process
-- alone); memory is the worst of all. On a machine with other work the ratios swing by half.
--
-- BENCH_COUNT (100000) is how many invoices; BENCH_ROUNDS (5) how many rounds.

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = ("build/%s/?.so;"):format(rawget(_G, "jit") and "luajit" or "lua5.4")
  .. package.cpath

local COUNT = tonumber(os.getenv "BENCH_COUNT" or 100000)
local ROUNDS = tonumber(os.getenv "BENCH_ROUNDS" or 5)

-- The n-th invoice: 1.5 KB of JSON.
local function invoice(n)
  local lines = {}
  for i = 1, 6 do
    lines[i] = ('{"item":"Tuition fee, part %d of %d","price":"%d.50","qty":"1.00","unit":null,'
      .. '"inventory_item_ID":%d}'):format(i, n, n % 1000, n + i)
  end
  return (('{"id":%d,"type":"Invoice","nr":"2026-%d","serie":{"id":100,"name":"Tuition"},'
    .. '"applicant":"/api/v9/applicants/%d","application":"/api/v9/applications/%d",'
    .. '"course":null,"deadline":"2026-12-15","issued":"2026-11-01T16:00:00+00:00",'
    .. '"delivered":"2026-11-01T16:00:00+00:00","reminder":true,"reminded":null,'
    .. '"collected":null,"currency":"EUR","items":[%s],"collections":{},'
    .. '"instructions":"%s","smallprint":"Name the number of this invoice, please.",'
    .. '"payer":{"name":"Ada Example","email":"ada%d@example.org"}}'):format(n, n, n * 3, n * 2,
    table.concat(lines, ","), ("Pay to EXAMPLE BANK, IBAN EE12 3456. "):rep(9), n))
end

local function memory(name)
  for line in io.lines "/proc/self/status" do
    local kilobytes = line:match("^" .. name .. ":%s+(%d+)")
    if kilobytes then return tonumber(kilobytes) / 1024 end
  end
end

-- --- the two sides, each in a process of its own -----------------------------------------------

local sides = {}

local core = require "billhook.core"

-- with libcurl and all modules: the collector walks over them on both sides
local function idle_client(url)
  local client = require("billhook").dreamapply { base_url = url, api_key = "abc", quota = false }
  assert(client.invoices:get(1))
  collectgarbage()
  return client
end

-- prints elements a second, processor seconds, and megabytes above the idle client
function sides.each(url)
  local client = idle_client(url)
  local idle, cpu, start, n = memory "VmRSS", os.clock(), core.text.monotonic(), 0
  for one in client.invoices:each() do
    assert(one.id)
    n = n + 1
  end
  assert(n == COUNT)
  print(n / (core.text.monotonic() - start), os.clock() - cpu, memory "VmHWM" - idle)
end

-- seconds and processor seconds that all lines take
local function pass(file, use)
  local cpu, start = os.clock(), core.text.monotonic()
  for line in io.lines(file) do use(line:match '^{?"%d+":(.*)[,}]$') end
  return core.text.monotonic() - start, os.clock() - cpu
end

function sides.memory(url, file)
  local client = idle_client(url)
  local reading, reading_cpu = pass(file, function(text) assert(text) end)
  local all, cpu = pass(file, function(text) assert(core.json.decode(text).id) end)
  print(COUNT / (all - reading), cpu - reading_cpu, 0, client)
end

if arg[1] then
  sides[arg[1]](arg[2], arg[3])
  os.exit(0)
end

-- --- the server and the comparison -------------------------------------------------------------

local process = require "billhook.process"

local conf = [[
worker_processes 1;
daemon off;
pid $FOLDER/nginx.pid;
error_log $FOLDER/errors;
$USER
events { worker_connections 64; }
http {
  access_log off;
  sendfile on;
  client_body_temp_path $FOLDER/1; proxy_temp_path $FOLDER/2; fastcgi_temp_path $FOLDER/3;
  uwsgi_temp_path $FOLDER/4; scgi_temp_path $FOLDER/5;
  server {
    listen 127.0.0.1:$PORT;
    default_type application/json;
    location = /api/v9/invoices { alias $FOLDER/list.json; }
    location / { return 200 '{"id":1}'; }
  }
}
]]

local function write(path, parts)
  local file = assert(io.open(path, "w"))
  for part in parts do assert(file:write(part)) end
  file:close()
end

-- the pieces of the list
local function list()
  local n = 0
  return function()
    n = n + 1
    if n > COUNT then return nil end
    return ('%s"%d":%s%s\n'):format(n == 1 and "{" or "", n, invoice(n), n == COUNT and "}" or ",")
  end
end

local function serve(folder)
  local port, given = (process.free_port()), false
  local text = conf:gsub("%$(%u+)", { FOLDER = folder, PORT = ("%d"):format(port),
    USER = process.uid() == 0 and "user root root;" or "" })
  write(folder .. "/list.json", list())
  write(folder .. "/nginx.conf", function()
    local part = not given and text or nil
    given = true
    return part
  end)
  local pid = assert(process.spawn({ "nginx", "-e", folder .. "/errors", "-c",
    folder .. "/nginx.conf" }, { stdin = "/dev/null", stderr = folder .. "/errors", die = "TERM" }))
  while not process.stat(folder .. "/nginx.pid") do process.sleep(0.01, true) end
  return pid, ("http://127.0.0.1:%d"):format(port)
end

local function measure(lua, side, url, file)
  -- what the environment says of the Lua that runs this is none of the other's business
  local pipe = io.popen(("env -u LUA_INIT -u LUA_PATH -u LUA_CPATH -u LUA_PATH_5_4"
    .. " -u LUA_CPATH_5_4 %s bench/each.lua %s %s %s"):format(lua, side, url, file))
  local rate, cpu, megabytes = pipe:read("n", "n", "n")
  pipe:close()
  assert(rate, lua .. " failed")
  return { seconds = COUNT / rate, cpu = cpu, megabytes = megabytes }
end

-- the list with libcurl alone
local function drop(url)
  local pipe = io.popen(("build/bench-drop %s/api/v9/invoices"):format(url))
  local seconds, cpu = pipe:read("n", "n")
  pipe:close()
  assert(cpu, "bench-drop failed")
  return { seconds = seconds, cpu = cpu }
end

-- how fast a side is where decoding from memory is 1: by the best of all rounds, and the median of
-- each round's
local function ratio(rounds, name, of)
  local best, best_memory, all = math.huge, math.huge, {}
  for i, now in ipairs(rounds) do
    all[i] = now.memory[of] / now[name][of]
    best, best_memory = math.min(best, now[name][of]), math.min(best_memory, now.memory[of])
  end
  table.sort(all)
  return ("%.2f [%.2f]"):format(best_memory / best, all[math.ceil(#all / 2)]), COUNT / best
end

local function compare(lua, url, file)
  local rounds, most = {}, 0
  for round = 1, ROUNDS do
    local now = { dropped = drop(url) }
    for _, side in ipairs { "each", "memory" } do
      now[side] = measure(lua, side, url, file)
      most = math.max(most, now[side].megabytes)
    end
    now.floor = { seconds = now.memory.seconds + now.dropped.seconds,
      cpu = now.memory.cpu + now.dropped.cpu }
    rounds[round] = now
  end
  local by_clock, rate = ratio(rounds, "each", "seconds")
  local _, memory_rate = ratio(rounds, "memory", "seconds")
  print(("%-8s each %6.0f/s, from memory %6.0f/s: %s (0.95); processor time %s, floor %s;"
    .. " %.1f MB (32)"):format(lua, rate, memory_rate, by_clock, (ratio(rounds, "each", "cpu")),
    (ratio(rounds, "floor", "cpu")), most))
end

assert(os.execute "mkdir -p build && cc -O2 bench/drop.c -lcurl -o build/bench-drop")
local folder = assert(process.mkdtemp "/tmp/billhook-bench")
local pid, url = serve(folder)
local fine, why = xpcall(function()
  print(("%d invoices, %.0f MB"):format(COUNT, process.stat(folder .. "/list.json").size / 1e6))
  for _, lua in ipairs { "lua5.4", "luajit" } do compare(lua, url, folder .. "/list.json") end
end, debug.traceback)
process.kill(pid, "TERM")
process.remove_tree(folder)
if not fine then error(why, 0) end

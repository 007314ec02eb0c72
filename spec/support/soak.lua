-- soak.lua - what spec/long/soak runs: a part for a long time, looked at after each third of it.
--
--   lua5.4 spec/support/soak.lua receiver|worker|client|nginx
--
-- A part makes steps until there were SOAK_MANY (1,000,000), or SOAK_SECONDS (240) are over. What
-- it holds may grow in the first third: caches fill, LuaJIT makes its traces. From then on to the
-- end nothing may that is kept of each delivery or call: each bound is so many bytes for each of
-- them, and as much besides as comes and goes anyway. Says "ok" or "not ok" for each bound.

local process = require "billhook.process"

local MANY = tonumber(os.getenv "SOAK_MANY" or 1000000)
local SECONDS = tonumber(os.getenv "SOAK_SECONDS" or 240)
local MEBIBYTE = 2 ^ 20

local part = assert(arg[1], "which part?")
local alone = part == "receiver" or part == "nginx" -- whichever Lua this is
local name = part .. (alone and "" or rawget(_G, "jit") and " luajit" or " lua5.4")
local told, failed = 0, false

local function tell(fine, text)
  told, failed = told + 1, failed or not fine
  print(("%s %d - %s: %s"):format(fine and "ok" or "not ok", told, name, text))
end

-- --- looking ------------------------------------------------------------------------------------

local function read(path)
  local file = io.open(path, "rb")
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return text
end

local function children(pid)
  local pids = {}
  for child in read(("/proc/%d/task/%d/children"):format(pid, pid)):gmatch "%d+" do
    pids[#pids + 1] = tonumber(child)
    for _, one in ipairs(children(tonumber(child))) do pids[#pids + 1] = one end
  end
  return pids
end

-- What processes hold: bytes of their own, and descriptors.
local function held(pids)
  local bytes, descriptors = 0, 0
  for _, pid in ipairs(pids) do
    bytes = bytes + 1024 * (tonumber(read(("/proc/%d/status"):format(pid)):match "RssAnon:%s+(%d+)")
      or 0)
    local pipe = io.popen(("ls /proc/%d/fd 2>/dev/null | wc -l"):format(pid))
    descriptors = descriptors + pipe:read "*n"
    pipe:close()
  end
  return bytes, descriptors
end

local function size(path) return (process.stat(path) or { size = 0 }).size end

-- Most of several looks: what comes and goes is in it.
local function most(a, b)
  for field, value in pairs(b) do a[field] = math.max(a[field] or 0, value) end
  return a
end

-- Makes steps, and looks after each: step() gives how many more there were; look() what is held, by
-- names. Gives what was held at most in the first third, in the last one, and how many steps were
-- made from the end of the first on.
local function soak(step, look)
  local began, done, first, last, after = process.monotonic(), 0, {}, {}, nil
  repeat
    done = done + step()
    local part_of = math.max(done / MANY, (process.monotonic() - began) / SECONDS)
    local seen = look()
    if part_of <= 1 / 3 or not next(first) then
      most(first, seen)
      after = done
    elseif part_of > 2 / 3 then
      most(last, seen)
    end
  until part_of >= 1
  print(("# %s: %d in %.0f s"):format(name, done, process.monotonic() - began))
  return first, last, done - after, done
end

-- No more than so many bytes more for each step, and `besides` at all.
local function bounded(what, first, last, steps, each, besides)
  local grown = last[what] - first[what]
  tell(grown <= each * steps + besides, ("%s: %.2f MB in the first third, %.2f MB in the last: "
    .. "%.2f bytes for each of %d; at most %g and %.1f MB besides"):format(what,
    first[what] / MEBIBYTE, last[what] / MEBIBYTE, grown / steps, steps, each, besides / MEBIBYTE))
end

local function same(what, first, last, slack)
  tell(last[what] <= first[what] + slack, ("%s: %d, then %d; at most %d more"):format(what,
    first[what], last[what], slack))
end

-- A folder on no disk, where there is such a thing: this is about memory.
local folder = process.mkdtemp "/dev/shm/billhook-soak"
  or assert(process.mkdtemp "/tmp/billhook-soak")

-- --- the parts ----------------------------------------------------------------------------------

local parts = {}

-- nginx receives what wrk sends, and keeps all of it.
function parts.receiver()
  local nginx = require("bench.host").start(folder)
  nginx:load { path = "/hook", seconds = 2, connections = 1 } ()
  local _, idle = held(children(nginx.pid)) -- with what it opens for the first deliveries
  local first, last, steps, all = soak(function()
    return nginx:load { path = "/hook", seconds = 4, connections = 128 } ().count
  end, function()
    local till, memory, descriptors = process.monotonic() + 60
    repeat -- the load's connections are being closed: on a busy machine that takes a while
      process.sleep(0.05, true)
      memory, descriptors = held(children(nginx.pid))
    until descriptors <= idle + 16 or process.monotonic() > till
    return { memory = memory, ["the event loop's Lua"] = nginx:lua(), descriptors = descriptors,
      ["the log beside the file"] = size(nginx.db .. "-wal"), file = size(nginx.db) }
  end)
  nginx:stop()
  bounded("memory", first, last, steps, 8, 16 * MEBIBYTE) -- a connection's page cache is as large
  bounded("the event loop's Lua", first, last, steps, 0.5, MEBIBYTE / 4)
  bounded("the log beside the file", first, last, steps, 0, 33 * MEBIBYTE)
  bounded("file", first, last, all, 2048, 0)
  same("descriptors", first, last, 16) -- connections that are being closed
end

-- `billhook work` works off what is received here; what it is done with is purged.
function parts.worker()
  local billhook = require "billhook"
  local url, rules = "sqlite:" .. folder .. "/inbox.db", folder .. "/rules.lua"
  local file = assert(io.open(rules, "w"))
  file:write(([[
    local billhook = require "billhook"
    local app = billhook.app { inbox = %q, log = function() end, attempts = 3,
      backoff = { base = 0.001 }, accounts = {
        tickets = billhook.betterez { webhook = { secret = "private-key" } } } }
    app:on("*", { name = "some fail" }, function(event)
      event:once("step", function() return event.id end)
      if event.id:find "7$" and event.attempt == 1 then error "not yet" end
    end)
    return app]]):format(url))
  file:close()
  local app = dofile(rules)
  local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
  local pid = assert(process.spawn({ lua, "bin/billhook", "work", rules }, { stdin = "/dev/null",
    stderr = folder .. "/said", die = "KILL" }))
  local store, serial = assert(app:open()), 0

  local function step()
    for _ = 1, 500 do
      serial = serial + 1
      local body = ('{"attemptId":"0ab70210","created":1623794899,"data":{"_id":"%024x","number":'
        .. '"%d","note":"%s"},"event":"invoices.created","id":"efec49e0-80a0-4734-bf02-%012d",'
        .. '"livemode":true}'):format(serial, serial, ("x"):rep(300), serial)
      local headers, signed = billhook.sign("betterez", body, { secret = "private-key" })
      assert(app:receive("tickets", headers, signed) == 200)
    end
    local till = process.monotonic() + 300
    repeat
      process.sleep(0.05, true)
      local stats = store:stats()
      assert(process.monotonic() < till, "the worker works no more")
    until stats.incoming + stats.pending <= 500
    assert(store:purge { state = "done", limit = 2000 })
    return 500
  end

  local first, last, steps = soak(step, function()
    local pids = children(pid)
    pids[#pids + 1] = pid
    local memory, descriptors = held(pids)
    return { memory = memory, descriptors = descriptors, processes = #pids,
      ["the log beside the file"] = size(folder .. "/inbox.db-wal") }
  end)
  process.kill(pid, "TERM")
  process.wait(pid)
  store:close()
  local said = read(folder .. "/said")
  tell(said == "", "nothing said" .. (said == "" and "" or ": " .. said:sub(1, 300)))
  bounded("memory", first, last, steps, 8, 8 * MEBIBYTE)
  bounded("the log beside the file", first, last, steps, 0, 33 * MEBIBYTE)
  same("descriptors", first, last, 8)
  same("processes", first, last, 0)
end

-- an API that answers from nginx's configuration
local API = [[
  keepalive_requests 1000000;
  default_type application/json;
  location = /api/v9/invoices/999999 { return 404 '{"error":"none"}'; }
  location ~ ^/api/v9/invoices/(\d+)$ { return 200 '{"id":$1,"currency":"EUR","items":[]}'; }
  location = /api/v9/invoices { return 200 '[{"id":1,"items":[]},{"id":2,"items":[]}]'; }
]]

-- Calls of a client.
function parts.client()
  local billhook = require "billhook"
  local server = require("spec.support.nginx").start { server = API }
  local client = billhook.dreamapply { base_url = server:url "", api_key = "key-of-apply",
    quota = { limit = 1000000, window = 1 } }

  local function step()
    for i = 1, 500 do
      if i % 50 == 0 then
        local none, err = client.invoices:get(999999)
        assert(none == nil and err.kind == "not_found")
      elseif i % 20 == 0 then
        local walk = client.invoices:each {}
        assert(walk().id == 1)
        if i % 40 == 0 then walk:close() end
      elseif i % 10 == 0 then
        assert(#assert(client.invoices:list()) == 2)
      else
        assert(assert(client.invoices:get(i)).id == i)
      end
    end
    return 500
  end

  local first, last, steps = soak(step, function()
    collectgarbage()
    collectgarbage()
    local memory, descriptors = held { tonumber(read("/proc/self/stat"):match "^%d+") }
    return { memory = memory, descriptors = descriptors, Lua = collectgarbage "count" * 1024 }
  end)
  server:stop()
  bounded("memory", first, last, steps, 4, 4 * MEBIBYTE)
  bounded("Lua", first, last, steps, 0.5, MEBIBYTE / 4)
  same("descriptors", first, last, 2)
end

-- Calls of a client inside nginx, through its worker threads, several at once.
function parts.nginx()
  local server = require("spec.support.nginx").start { http = [[
    init_worker_by_lua_block {
      client = require("billhook").dreamapply { base_url = "http://127.0.0.1:$PORT",
        api_key = "key-of-apply", transport = require("billhook.transport").pick "worker",
        quota = { limit = 1000000, window = 1 } }
      function calls()
        for i = 1, 500 do
          if i % 50 == 0 then
            local none, err = client.invoices:get(999999)
            assert(none == nil and err.kind == "not_found")
          elseif i % 20 == 0 then
            local walk = client.invoices:each {}
            assert(walk().id == 1)
            if i % 40 == 0 then walk:close() end
          else
            assert(assert(client.invoices:get(i)).id == i)
          end
        end
      end
    }
  ]], server = API .. [[
    location = /calls { content_by_lua_block {
      local threads = {}
      for i = 1, 8 do threads[i] = ngx.thread.spawn(calls) end
      for i = 1, 8 do assert(ngx.thread.wait(threads[i])) end
      collectgarbage()
      collectgarbage()
      ngx.print(collectgarbage "count")
    } }
  ]] }
  local kilobytes
  local first, last, steps = soak(function()
    local _, _, body = server:request { path = "/calls", timeout = 600 }
    kilobytes = assert(tonumber(body), body)
    return 8 * 500
  end, function()
    local memory, descriptors = held(server:workers())
    return { memory = memory, descriptors = descriptors,
      ["the event loop's Lua"] = kilobytes * 1024 }
  end)
  server:stop()
  bounded("memory", first, last, steps, 4, 8 * MEBIBYTE)
  bounded("the event loop's Lua", first, last, steps, 0.5, MEBIBYTE / 4)
  same("descriptors", first, last, 8)
end

local ok, why = xpcall(assert(parts[part], "no such part: " .. part), debug.traceback)
process.remove_tree(folder)
if not ok then tell(false, why) end
os.exit(failed and 1 or 0)

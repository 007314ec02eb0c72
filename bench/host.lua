-- host.lua: for receive.lua: a receiver in nginx, the load for it (wrk with load.lua), and raw
-- SQLite (commit.c) to compare it with.

local process = require "billhook.process"

local M = {}

local http = [[
  init_worker_by_lua_block {
    local ffi = require "ffi" -- no worker outlives its master
    ffi.cdef "int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);"
    ffi.C.prctl(1, 9, 0, 0, 0)
    collectgarbage("setpause", 400) -- as serve's own
    require("billhook.openresty").start(
      assert(require("billhook.cli.rules").load $RULES), { work = false })
  }
  server {
    listen 127.0.0.1:$PORT backlog=4096;
    location = /hook {
      content_by_lua_block {
        require("billhook.openresty").receive(
          assert(require("billhook.cli.rules").load $RULES), "tickets")
      }
    }
    # what nginx, its Lua and the kernel cost for such a request
    location = /empty {
      content_by_lua_block {
        ngx.req.read_body()
        local body = ngx.req.get_body_data()
        ngx.header["Content-Type"] = "application/json"
        ngx.header["Content-Length"] = 11
        ngx.print(body and '{"ok":true}' or "")
      }
    }
    # what cannot be saved: the headers as a table, and the body checked in one call of C
    location = /checked {
      content_by_lua_block {
        local app = assert(require("billhook.cli.rules").load $RULES)
        local keys, given = app.accounts.tickets.webhook.keys, { digest = false, data = false }
        local headers = ngx.req.get_headers(0, true)
        ngx.req.read_body()
        local found, why = require("billhook.core").verify.check("betterez", headers,
          ngx.req.get_body_data(), keys, given)
        ngx.header["Content-Type"] = "application/json"
        ngx.header["Content-Length"] = 11
        ngx.print(found and '{"ok":true}' or error(why))
      }
    }
    # a delivery verified and not stored: by billhook, and by luaossl and cjson
    location = /verified {
      content_by_lua_block {
        local app = assert(require("billhook.cli.rules").load $RULES)
        local headers = ngx.req.get_headers(0, true)
        ngx.req.read_body()
        local rows, reply = require("billhook.app.receive").examine(app, "tickets", headers,
          ngx.req.get_body_data())
        ngx.status = type(rows) == "table" and 200 or rows
        ngx.header["Content-Type"] = "application/json"
        ngx.header["Content-Length"] = 11
        ngx.print(type(rows) == "table" and '{"ok":true}' or reply)
      }
    }
    location = /luaossl {
      content_by_lua_block {
        local hmac, cjson = require "openssl.hmac", require "cjson"
        local header = ngx.req.get_headers()["x-btrz-signature"]
        ngx.req.read_body()
        local body = ngx.req.get_body_data()
        local sent, s2 = header:match "^t=(%d+),s2=(%x+)$"
        local mac = hmac.new("private-key", "sha256"):final(sent .. "." .. body)
        ngx.status = ("%02x"):rep(32):format(mac:byte(1, 32)) == s2
          and cjson.decode(body).id and 200 or 401
        ngx.header["Content-Type"] = "application/json"
        ngx.header["Content-Length"] = 11
        ngx.print '{"ok":true}'
      }
    }
    location = /lua { # bytes that its Lua holds
      content_by_lua_block {
        collectgarbage()
        collectgarbage()
        ngx.print(math.floor(collectgarbage "count" * 1024))
      }
    }
    location = /other { return 200 "ok"; }
  }
]]

local Nginx = {}
Nginx.__index = Nginx

---Starts nginx with a new inbox.
---@param folder string
---@param inbox? string its URL; without, a file in the folder
function M.start(folder, inbox)
  local nginx = require "billhook.cli.nginx"
  local run = assert(process.mkdtemp(folder .. "/nginx"))
  local self = setmetatable({ port = (process.free_port()), run = run, db = run .. "/inbox.db" },
    Nginx)
  local names = assert(io.open(run .. "/environment", "wb"))
  names:write "BENCH_INBOX=\0"
  names:close()
  local found = assert(nginx.find())
  local lua_path, lua_cpath = require("billhook.cli.paths").luajit()
  local root = process.uid() == 0 and "root" or nil
  local file = assert(io.open(run .. "/nginx.conf", "w"))
  file:write(nginx.conf {
    nginx = found, run = run, environ = run .. "/environment", user = root, group = root,
    lua_path = lua_path, lua_cpath = lua_cpath,
    http = http:gsub("%$(%u+)", { PORT = ("%d"):format(self.port),
      RULES = ("(%q)"):format(process.realpath "bench/rules.lua") }),
  })
  file:close()
  self.pid = assert(process.spawn({ found.binary, "-p", run .. "/", "-e", "stderr", "-c",
    run .. "/nginx.conf" }, { stdin = "/dev/null", stderr = run .. "/errors", die = "KILL",
    env = { NGINX = false, BENCH_INBOX = inbox or "sqlite:" .. self.db } }))
  while not process.stat(run .. "/nginx.pid") do process.sleep(0.01, true) end
  process.sleep(1, true) -- its threads are made one by one
  return self
end

function Nginx:stop()
  process.kill(self.pid, "QUIT")
  process.wait(self.pid)
  process.remove_tree(self.run)
end

-- processor time of a thread so far, in seconds
local function spent(path)
  local file = io.open(path .. "/schedstat")
  local ns = file and file:read "*n" or 0
  if file then file:close() end
  return ns / 1e9
end

---Processor time so far, in seconds: of the event loop, and of the worker's other threads.
function Nginx:cpu()
  local file = io.open(("/proc/%d/task/%d/children"):format(self.pid, self.pid))
  local worker = file:read "*a":match "%d+"
  file:close()
  local pipe = io.popen(("ls /proc/%s/task"):format(worker))
  local loop, others = 0, 0
  for task in pipe:lines() do
    local seconds = spent(("/proc/%s/task/%s"):format(worker, task))
    if task == worker then loop = seconds else others = others + seconds end
  end
  pipe:close()
  return loop, others
end

---What the worker holds, in MB.
function Nginx:memory()
  local file = io.open(("/proc/%d/task/%d/children"):format(self.pid, self.pid))
  local worker = file:read "*a":match "%d+"
  file:close()
  file = io.open(("/proc/%s/statm"):format(worker))
  local _, pages = file:read("*n", "*n")
  file:close()
  return pages * 4096 / 1048576
end

---Bytes that the event loop's Lua holds.
function Nginx:lua()
  local pipe = assert(io.popen(("curl -s http://127.0.0.1:%d/lua"):format(self.port)))
  local bytes = pipe:read "*n"
  pipe:close()
  return bytes
end

local function milliseconds(text, name)
  local number, unit = text:match(name .. "%%%s+([%d.]+)(%a+)")
  local factor = { us = 0.001, ms = 1, s = 1000, m = 60000 }
  assert(unit and factor[unit], text)
  return tonumber(number) * factor[unit]
end

---Load on a path. Gives rate (a second), p50 and p99 (ms), and of a load of deliveries, cpu: the
---processor seconds of the load itself.
---@param options table path, seconds, connections, requests (made before), delay (ms, mean)
function Nginx:load(options)
  local script = options.path ~= "/other" and "bench/load.lua" or "bench/other.lua"
  local command = ("REQUESTS=%d DELAY=%g SECRET=private-key LUA_CPATH='build/luajit/?.so;;' "
    .. "wrk -t1 -c%d -d%ds --latency -s %s http://127.0.0.1:%d%s 2>&1"):format(
    options.requests or 0, options.delay or 0, options.connections,
    math.ceil(options.seconds), script,
    self.port, options.path)
  local pipe = assert(io.popen(command))
  return function()
    local text = pipe:read "*a"
    pipe:close()
    local wrong = text:match "Non%-2xx or 3xx responses: (%d+)"
      or text:match "Socket errors: (.-)\n"
    assert(not wrong, "wrong answers: " .. tostring(wrong) .. "\n" .. text)
    return { rate = tonumber(text:match "Requests/sec:%s+([%d.]+)"),
      count = tonumber(text:match "(%d+) requests in"),
      cpu = tonumber(text:match "processor seconds: ([%d.]+)"),
      p50 = milliseconds(text, "50"), p99 = milliseconds(text, "99") }
  end
end

---Raw SQLite: rows a second, and processor time a row in microseconds.
---@param folder string
---@param rows integer a commit
---@param bytes integer a body
function M.raw(folder, rows, bytes, seconds)
  local path = folder .. "/raw.db"
  local pipe = assert(io.popen(("build/bench-commit %s %g %d %d"):format(path, seconds, rows,
    bytes)))
  local rate, cpu = pipe:read("*n", "*n")
  pipe:close()
  for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(path .. suffix) end
  return { rate = assert(rate, "bench-commit failed"), cpu = cpu }
end

return M

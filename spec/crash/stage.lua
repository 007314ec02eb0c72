-- stage.lua: what the crash tests start, kill and wait for. Everything is
-- ended by the ids of the processes that were started here.

local process = require "billhook.process"

local M = {}

local lua = "lua5.4"
M.patience = 60 -- seconds without any progress

-- a line of the sender's log about a delivery that has a run of its own: of ADMISSIONS' invoices
-- many are checked by one read
M.RUNS_ONCE = "%f[%w][st]%l+ [^\n]+ 2%d%d %d+ %d 0 0\n"

local function read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "*a" -- nil: of a process that has just ended
  file:close()
  return text or ""
end
M.read = read

---Waits for something to become true.
function M.wait(what, check, seconds)
  local deadline = process.monotonic() + (seconds or M.patience)
  repeat
    local result = check()
    if result then return result end
    process.sleep(0.005, true)
  until process.monotonic() > deadline
  error("waited in vain for " .. what, 0)
end

-- --- processes ------------------------------------------------------------------

local function gone(pid)
  local state = read(("/proc/%d/stat"):format(pid)):match "%) (%a)"
  return state == nil or state == "Z"
end

---A process and all that it has started, the oldest first.
function M.family(pid, found)
  found = found or {}
  found[#found + 1] = pid
  for child in read(("/proc/%d/task/%d/children"):format(pid, pid)):gmatch "%d+" do
    M.family(tonumber(child), found)
  end
  return found
end

-- the first of the family whose command line has these words
local function member(pid, words)
  for _, one in ipairs(M.family(pid)) do
    local line = read(("/proc/%d/cmdline"):format(one)):gsub("%z", " ")
    if line:find(words, 1, true) and not line:find("--check", 1, true) then return one end
  end
end

local Server = {}
Server.__index = Server

---`billhook serve` in a process group of its own.
---@param stage table folder, inbox, rules; workers and jobs, 1 each by default
---@param port integer
function M.serve(stage, port)
  stage.serial = (stage.serial or 0) + 1
  local self = setmetatable({ port = port, errors = stage.folder .. "/serve" .. stage.serial,
    since = process.monotonic() }, Server)
  self.pid = assert(process.spawn({ lua, "bin/billhook", "serve", stage.rules, "--listen",
    ("127.0.0.1:%d"):format(port), "--workers", ("%d"):format(stage.workers or 1),
    "--jobs", ("%d"):format(stage.jobs or 1) }, {
    group = true, stdin = "/dev/null", stdout = self.errors, stderr = self.errors, die = "KILL",
    env = { CRASH_FOLDER = stage.folder, CRASH_INBOX = stage.inbox, CRASH_VENDOR = stage.vendor,
      CRASH_CREATE = stage.creates and "yes" or false, TMPDIR = stage.folder } }))
  return self
end

function Server:ended() return process.wait(self.pid, "look") ~= false end
function Server:listening() return read(self.errors):find("listening on", 1, true) ~= nil end
function Server:ran() return process.monotonic() - self.since end
function Server:signal(name) process.kill(self.pid, name) end

function Server:await()
  M.wait("serve to listen:\n" .. read(self.errors), function()
    if self:ended() then error("serve ended:\n" .. read(self.errors), 0) end
    return self:listening()
  end)
end

-- Nothing of it may be left, whatever was killed.
function Server:finish(family, seconds)
  local kind, detail = process.wait(self.pid)
  for _, pid in ipairs(family) do
    M.wait("the end of " .. pid, function() return gone(pid) end, seconds)
  end
  return ("%s %s"):format(kind, detail)
end

---Kills a part of it, or all; gives what, or nil where there is none of it now.
---@param part "all"|"serve"|"master"|"worker"|"work"|"job" job: what runs the rules for work
function Server:kill(part)
  local family = M.family(self.pid)
  if part == "all" then
    for i = #family, 2, -1 do -- in any order
      local j = math.random(i)
      family[i], family[j] = family[j], family[i]
    end
    for _, pid in ipairs(family) do process.kill(pid, "KILL") end
  elseif part == "serve" then
    process.kill(-self.pid, "KILL")
  else
    local words = { master = "nginx: master", worker = "nginx: worker", work = "billhook work",
      job = " --job " }
    local pid = member(self.pid, words[part])
    if not pid then return nil end
    process.kill(pid, "KILL")
  end
  if part ~= "worker" and part ~= "work" and part ~= "job" then self:finish(family) end
  return part
end

---Stops it as an operator does.
function Server:stop(name)
  local family = M.family(self.pid)
  process.kill(self.pid, name or "TERM")
  M.wait("serve to end:\n" .. read(self.errors), function() return self:ended() end)
  return self:finish(family)
end

-- --- nginx alone, which receives and runs the rules ----------------------------------

local host = [[
  lua_shared_dict billhook 1m;
  init_worker_by_lua_block {
    local ffi = require "ffi" -- no worker outlives its master
    ffi.cdef "int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);"
    ffi.C.prctl(1, 9, 0, 0, 0)
    require("billhook.openresty").start(assert(require("billhook.cli.rules").load $RULES))
  }
  server {
    listen 127.0.0.1:$PORT;
    location ~ ^/webhooks/([^/]+)$ {
      content_by_lua_block {
        require("billhook.openresty").receive(
          assert(require("billhook.cli.rules").load $RULES), ngx.var[1])
      }
    }
  }
]]

local Nginx = setmetatable({}, { __index = Server })
Nginx.__index = Nginx

function M.nginx(stage, port)
  local nginx = require "billhook.cli.nginx"
  stage.serial = (stage.serial or 0) + 1
  local run = stage.folder .. "/run" .. stage.serial
  assert(process.mkdir(run))
  local self = setmetatable({ port = port, run = run, errors = run .. "/errors" }, Nginx)
  local lua_path, lua_cpath = require("billhook.cli.paths").luajit()
  local found = assert(nginx.find())
  local names = io.open(run .. "/environment", "wb") -- which nginx is to hand on
  names:write "CRASH_FOLDER=\0CRASH_INBOX=\0CRASH_VENDOR=\0CRASH_CREATE=\0"
  names:close()
  local root = process.uid() == 0 and "root" or nil
  local conf = nginx.conf {
    nginx = found, environ = run .. "/environment", run = run, user = root, group = root,
    lua_path = lua_path, lua_cpath = lua_cpath,
    http = host:gsub("%$(%u+)", { RULES = ("(%q)"):format(stage.rules), PORT = port }),
  }
  conf = conf:gsub("env HOME;", "env HOME;\nenv CRASH_FOLDER;\nenv CRASH_INBOX;\n"
    .. "env CRASH_VENDOR;\nenv CRASH_CREATE;")
  local file = assert(io.open(run .. "/nginx.conf", "w"))
  file:write(conf)
  file:close()
  self.pid = assert(process.spawn({ found.binary, "-p", run .. "/", "-e", "stderr", "-c",
    run .. "/nginx.conf" }, { group = true, stdin = "/dev/null", stdout = self.errors,
    stderr = self.errors, die = "KILL", env = { NGINX = false, CRASH_FOLDER = stage.folder,
      CRASH_INBOX = stage.inbox, CRASH_VENDOR = stage.vendor,
      CRASH_CREATE = stage.creates and "yes" or false } }))
  return self
end

-- the port answers and the pid is written
function Nginx:listening()
  return process.stat(self.run .. "/nginx.pid") ~= nil and #M.family(self.pid) > 1
end

-- --- the sender --------------------------------------------------------------------

local Sender = {}
Sender.__index = Sender

local function build(program, sources)
  local ok = os.execute(("cc -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -o %s %s"):format(
    program, sources))
  assert(ok == true or ok == 0, "does not compile: " .. sources)
end

---The API that is asked about invoices, and that rules call: starts it.
function M.vendor(stage)
  local program, port = stage.folder .. "/vendor", require("spec.support.port").free()
  build(program, "spec/crash/vendor.c")
  stage.made, stage.states = stage.folder .. "/made", stage.folder .. "/states"
  local file = assert(io.open(stage.states, "wb"))
  file:write(("\0"):rep(4 * 32 * 32)) -- as many as delivery.h says
  file:close()
  stage.vendor_pid = assert(process.spawn({ program, ("%d"):format(port), stage.made, "20",
    stage.states }, { group = true, die = "KILL" }))
  stage.vendor = ("http://127.0.0.1:%d"):format(port)
end

---Builds and starts the sender of deliveries.
function M.sender(stage, seed, threads, options, ports)
  local program = stage.folder .. "/sender"
  build(program, "spec/crash/sender.c spec/crash/delivery.c -lcrypto")
  local argv = { program, stage.folder .. "/sent", stage.states, ("%d"):format(seed),
    ("%d"):format(threads), options }
  for _, port in ipairs(ports) do argv[#argv + 1] = ("%d"):format(port) end
  local pid = assert(process.spawn(argv, { group = true, die = "KILL" }))
  -- it obeys by the time that it has made its log
  M.wait("the sender", function() return process.stat(stage.folder .. "/sent") end)
  return setmetatable({ pid = pid, held = false }, Sender)
end

function Sender:hold(on)
  if self.held == on then return end
  self.held = on
  process.kill(self.pid, on and "USR1" or "USR2")
end

function Sender:stop()
  process.kill(self.pid, "TERM")
  local kind, code = process.wait(self.pid)
  assert(kind == "exit" and code == 0, "the sender ended with " .. tostring(code))
end

-- --- how far the rules are behind ---------------------------------------------------

-- A check that found nothing new is made again after 2, 10, 60 and 300 seconds. This API does not
-- lag behind: one after the newest news is enough.
local LEFT = [[
SELECT (SELECT COUNT(*) FROM events WHERE open = 1)
  + (SELECT COUNT(*) FROM deliveries WHERE state = 'new')
  + (SELECT COUNT(*) FROM invoices WHERE owner IS NOT NULL)
  + (SELECT COUNT(*) FROM invoices WHERE check_due IS NOT NULL
    AND COALESCE(read_at, 0) < COALESCE(news_at, 1)) AS n]]

-- Waits until nothing is left to be done, as long as there is progress.
local function drain(stage)
  local best, since = math.huge, process.monotonic()
  repeat
    local left = stage.query(LEFT)[1].n
    if left < best then best, since = left, process.monotonic() end
    process.sleep(0.1, true)
  until left == 0 or process.monotonic() - since > 2 * M.patience
  stage.say(best == 0, ("the inbox was drained (%d left)"):format(best))
end

---Drains the inbox, and stops the servers. A poll may find more in between: then they are started
---again.
function M.settle(stage, servers, start, signal)
  for _ = 1, 5 do
    drain(stage)
    for _, server in ipairs(servers) do
      local how = server:stop(signal)
      stage.say(how == "exit 0", "it stopped in the end: " .. how)
    end
    if stage.query(LEFT)[1].n == 0 then return end
    for i, server in ipairs(servers) do
      servers[i] = start(stage, server.port)
      servers[i]:await()
    end
  end
  stage.say(false, "it came to rest")
end

---Asks an SQLite inbox, by a connection that lasts no longer.
function M.ask(path)
  return function(text)
    local db = assert(require("billhook.sqlite").open(path, { busy_timeout = 20000 }))
    local rows, code, message = db:query(text)
    db:close()
    return rows or error(code .. ": " .. message, 0)
  end
end

local Lines = {}
Lines.__index = Lines

---Counts the lines of a growing file that have a text in them.
function M.lines(path, text)
  return setmetatable({ path = path, text = text, count = 0, rest = "" }, Lines)
end

function Lines:look()
  self.file = self.file or io.open(self.path, "rb")
  local more = self.file and self.file:read "*a" or ""
  local text = self.rest .. more
  local whole = text:match "^.*\n" or ""
  self.rest = text:sub(#whole + 1)
  local _, n = whole:gsub(self.text, "")
  self.count = self.count + n
  return self.count
end

return M

-- kill.lua: kill -9 at random moments.

local process = require "billhook.process"
local judge = require "spec.crash.judge"
local stage = require "spec.crash.stage"

local M = {}

local START = 0.5 -- seconds until serve listens, where nothing else runs
local LONGEST = 1.6 -- seconds of a life there
local BEHIND = 2000 -- runs that may be waiting before the sender has to

-- what may be killed: each as often as it stands here
local WHOLE = { "all", "all", "all", "serve", "serve", "master" }
local PARTS = { "worker", "work", "job" }

-- what a sender sees of a server that dies
local GONE = { refused = true, closed = true, torn = true }

local function any(list) return list[math.random(#list)] end

-- --- the inbox -------------------------------------------------------------------

local function sqlite(show)
  local path = show.folder .. "/inbox.db"
  return {
    url = "sqlite:" .. path, servers = 1, crash = function() end, remove = function() end,
    query = stage.ask(path), most = {},
  }
end

local function postgresql()
  local server = require("spec.support.postgres").start()
  return {
    url = server.url, servers = 2,
    crash = function()
      server:stop "QUIT"
      server:start()
    end,
    remove = function() server:remove() end,
    query = function(text)
      return server:sql((text:gsub("FROM (%l+)", "FROM billhook.%1")))
    end,
    -- a mark that the database does not take is made again by the same process; of two workers one
    -- may be first with what the other has looked at
    most = { same = true, away = { "^failed$", "^lease_lost$", "^not_%l+$", "^unhealthy$",
      "^poll_failed$", "^reconcile_failed$", "^overdue_failed$", "^list_failed$" } },
  }
end

-- --- one server's lives -------------------------------------------------------------

local Lives = {}
Lives.__index = Lives

local function new_lives(show, port)
  local self = setmetatable({ show = show, port = port, killed = {}, whole = 0 }, Lives)
  self:begin()
  return self
end

-- A life is long enough to begin work in most cases, and sometimes not even to start.
function Lives:begin()
  self.server = stage.serve(self.show, self.port)
  local now = process.monotonic()
  local length = 0.1 + math.random() * self.show.longest
  self.till = now + length
  self.part = math.random(3) == 1 and now + math.random() * length or nil
end

function Lives:count(part)
  if part then self.killed[part] = (self.killed[part] or 0) + 1 end
end

function Lives:tick()
  local now = process.monotonic()
  if self.server:ended() then
    error("serve ended by itself:\n" .. stage.read(self.server.errors), 0)
  end
  if self.part and now >= self.part then
    self.part = nil
    self:count(self.server:kill(any(PARTS)))
  end
  if now < self.till then return end
  local part = self.server:kill(any(WHOLE))
  if part then
    self.whole = self.whole + 1
    self:count(part)
  end
  if part then self:begin() else self.till = now + 0.05 end
end

-- --- the play ------------------------------------------------------------------------

local function kill_on(show, lives)
  local began, next_crash = process.monotonic(), show.inbox_of.servers > 1 and 2 or math.huge
  local sent = stage.lines(show.folder .. "/sent", stage.RUNS_ONCE)
  local run = stage.lines(show.folder .. "/runs", "e [^\n]+\n")
  local whole
  repeat
    for _, one in ipairs(lives) do one:tick() end
    show.sender:hold(sent:look() - run:look() > BEHIND)
    if process.monotonic() - began > next_crash then
      show.inbox_of.crash()
      show.crashes = show.crashes + 1
      next_crash = process.monotonic() - began + 1 + math.random() * 4
    end
    process.sleep(0.002, true)
    whole = 0
    for _, one in ipairs(lives) do whole = whole + one.whole end
    local took = process.monotonic() - began
  until took > show.seconds and (whole >= show.kills or took > 2 * show.seconds)
  return whole
end

local function total(lives)
  local sum, parts = {}, {}
  for _, one in ipairs(lives) do
    for part, n in pairs(one.killed) do sum[part] = (sum[part] or 0) + n end
  end
  local all = 0
  for part, n in pairs(sum) do
    parts[#parts + 1] = ("%s %d"):format(part, n)
    all = all + n
  end
  table.sort(parts)
  return all, table.concat(parts, ", ")
end

-- How many times as long a start takes as on a machine that does nothing else.
local function slowness(show, port)
  local began = process.monotonic()
  local server = stage.serve(show, port)
  server:await()
  local took = process.monotonic() - began
  server:kill "all"
  return math.max(1, took / START)
end

local function act(show)
  local ports, lives = {}, {}
  for i = 1, show.inbox_of.servers do ports[i] = require("spec.support.port").free() end
  local slower = slowness(show, ports[1])
  show.longest, show.seconds = LONGEST * slower, show.seconds * math.min(slower, 5)
  for i, port in ipairs(ports) do lives[i] = new_lives(show, port) end
  show.sender = stage.sender(show, show.seed, 16, "-", ports)
  local whole = kill_on(show, lives)
  show.sender:stop()
  for _, one in ipairs(lives) do one.server:await() end
  if #lives > 1 then show.inbox_of.crash() end -- and nobody is started again
  local began, servers = process.monotonic(), {}
  for i, one in ipairs(lives) do servers[i] = one.server end
  stage.settle(show, servers, stage.serve)
  local took = process.monotonic() - began
  local all, parts = total(lives)
  print(("# killed %d times (%s), PostgreSQL %d times; drained in %.1f s"):format(all, parts,
    show.crashes, took))
  show.say(whole >= show.kills, ("killed as a whole %d times"):format(whole))
  return all
end

---@param show table folder, seconds, kills, seed, say
function M.play(show)
  local kind = os.getenv "BILLHOOK_CRASH"
  show.inbox_of = kind == "postgresql" and postgresql() or sqlite(show)
  show.inbox, show.rules, show.crashes = show.inbox_of.url, "spec/crash/rules.lua", 0
  show.query = show.inbox_of.query
  stage.vendor(show)
  local fine, why = xpcall(function()
    local all = act(show)
    local case = judge.gather(show.folder, show.query, show.inbox)
    case.folder = show.folder
    local most = show.inbox_of.most
    most.repeats = all + 4 * show.crashes
    most.one = show.inbox_of.servers == 1
    judge.judge(case, function(one)
      return GONE[one.outcome] or one.outcome == "503" and show.inbox_of.servers > 1
    end, most, show.say)
    judge.tell(case)
  end, debug.traceback)
  process.kill(show.vendor_pid, "KILL")
  process.wait(show.vendor_pid)
  show.inbox_of.remove()
  if not fine then error(why, 0) end
end

return M

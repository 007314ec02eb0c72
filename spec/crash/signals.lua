-- signals.lua: HUP, QUIT, TERM and INT at random moments. Nothing is killed, so
-- nothing may be repeated: each run and each create is there exactly once, and
-- whoever was told to go on, or has connected to a server that only reloads,
-- gets an answer.

local process = require "billhook.process"
local judge = require "spec.crash.judge"
local stage = require "spec.crash.stage"
local ports = require "spec.support.port"

local M = {}

local BEHIND = 1000 -- runs that may be waiting when the sender goes on
local ENDS = { "TERM", "QUIT", "INT" }

-- When a server was away: from the signal to its successor's first word.
local Away = {}
Away.__index = Away

function Away:over(one)
  for _, time in ipairs(self) do
    if one.ended >= time.from and one.began <= time.till then return true end
  end
  return false
end

-- May the sender have had this? A connection that was kept may always end between two requests; a
-- request that has begun may not.
local function allowed(away)
  return function(one)
    if one.outcome == "closed" and not one.fresh then return true end
    return (one.outcome == "closed" or one.outcome == "refused") and away:over(one)
  end
end

local function replace(show, away, server, signal)
  local time = { from = process.monotonic() }
  local how = server:stop(signal)
  local errors = stage.read(server.errors)
  if how ~= "exit 0" or errors:find("by force", 1, true) then
    show.say(false, ("%s ended it well: %s\n# %s"):format(signal, how, errors:gsub("\n", "\n# ")))
  end
  server = show.start(show, server.port)
  server:await()
  time.till = process.monotonic() + 0.5
  away[#away + 1] = time
  return server
end

local function play_on(show, away, server)
  local deadline = process.monotonic() + show.seconds
  local sent = stage.lines(show.folder .. "/sent", stage.RUNS_ONCE)
  local run = stage.lines(show.folder .. "/runs", "e [^\n]+\n")
  local given, counts = 0, { HUP = 0, TERM = 0, QUIT = 0, INT = 0 }
  while process.monotonic() < deadline do
    show.sender:hold(true)
    stage.wait("the rules to catch up", function() return sent:look() - run:look() < BEHIND end)
    show.sender:hold(false)
    process.sleep(0.01 + math.random() * 0.2, true) -- it comes while deliveries do
    given = given + 1
    local signal = "HUP"
    if given % 3 == 0 then signal = show.ends[given / 3 % #show.ends + 1] end
    counts[signal] = counts[signal] + 1
    if signal == "HUP" then
      server:signal "HUP"
    else
      server = replace(show, away, server, signal)
    end
    if server:ended() then error("it ended by itself:\n" .. stage.read(server.errors), 0) end
  end
  print(("# HUP %d, TERM %d, QUIT %d, INT %d"):format(counts.HUP, counts.TERM, counts.QUIT,
    counts.INT))
  return server
end

-- One host of the receiver and the rules, to its end.
local function scene(show, start, ends)
  show.start, show.ends = start, ends
  local away = setmetatable({}, Away)
  local server = start(show, ports.free())
  server:await()
  show.sender = stage.sender(show, show.seed, 12, "ce", { server.port })
  server = play_on(show, away, server)
  show.sender:stop()
  stage.settle(show, { server }, start, ends[1])
  local case = judge.gather(show.folder, show.query, show.inbox)
  case.folder, case.made, case.creates = show.folder, show.made, true
  judge.judge(case, allowed(away), { repeats = 0 }, show.say)
  judge.tell(case)
end

local function inside(show, name, start, ends)
  print("# " .. name)
  local part = { folder = show.folder .. "/" .. name, seconds = show.seconds / 2,
    seed = show.seed, say = function(ok, text) show.say(ok, name .. ": " .. text) end,
    rules = process.realpath "spec/crash/rules.lua", jobs = 2, creates = true }
  assert(process.mkdir(part.folder))
  part.inbox = "sqlite:" .. part.folder .. "/inbox.db"
  part.query = stage.ask(part.folder .. "/inbox.db")
  stage.vendor(part)
  scene(part, start, ends)
  process.kill(part.vendor_pid, "KILL")
  process.wait(part.vendor_pid)
end

---@param show table folder, seconds, seed, say
function M.play(show)
  inside(show, "serve", stage.serve, ENDS)
  -- rules in nginx's own timers; it drains on QUIT only
  inside(show, "nginx", stage.nginx, { "QUIT" })
end

return M

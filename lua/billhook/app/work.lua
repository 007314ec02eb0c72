-- app/work.lua: a worker's round: it routes new deliveries, checks invoices and runs rules. It also
-- starts the jobs that are due by the clock.

local accounts = require "billhook.app.account"
local overdue = require "billhook.app.overdue"
local owner = require "billhook.inbox.owner"
local poll = require "billhook.app.poll"
local readback = require "billhook.app.readback"
local reconcile = require "billhook.app.reconcile"
local route = require "billhook.app.route"
local run = require "billhook.app.run"
local strict = require "billhook.app.strict"

local M = {}

-- --- by the clock -------------------------------------------------------------------

local HOUR, DAY, AGAIN = 3600000, 86400000, 60000 -- ms

-- What an account has done at its times, each by whoever notes first that he does it:
-- due(memory, now, app), note(memory, now, app) and run(account, now), one that fails being due
-- again at what was noted.
M.POLLS = {
  { name = "poll", run = poll.poll,
    due = function(memory, now, app)
      return accounts.has_come(memory.poll_at, now, app.poll_every * 1000)
    end,
    note = function(memory, now, app) memory.poll_at = now + app.poll_every * 1000 end },
  -- nightly, or since news asked for it
  { name = "reconcile", run = function(mine) return reconcile.reconcile(mine) end,
    due = function(memory, now)
      return accounts.has_come(memory.reconcile_due, now, DAY)
        or memory.reconcile_at ~= nil and accounts.has_come(memory.reconcile_at, now, HOUR)
    end,
    note = function(memory, now)
      memory.reconcile_due, memory.reconcile_at, memory.reconciled_at = now + DAY, now + HOUR, now
    end },
}
M.OVERDUE = {
  { name = "overdue", run = overdue.look, healthy = true,
    due = function(memory, now)
      return memory.overdue_on ~= os.date("%Y-%m-%d", math.floor(now / 1000))
        and accounts.has_come(memory.overdue_at, now, AGAIN)
    end,
    note = function(memory, now) memory.overdue_at = now + AGAIN end },
}

local function by_the_clock(mine, job, now)
  local may, app, ours = mine:may_ask(now), mine.app, false
  if not may or job.healthy and may ~= "yes" or not job.due(mine.memory, now, app) then return end
  mine:update(function(memory, at)
    ours = job.due(memory, at, app)
    if ours then job.note(memory, at, app) end
  end)
  if not ours then return end
  local done, why = mine:attempt(job.run, now)
  if not done then mine:log("warn", job.name .. "_failed", why) end
end

---Does what the clock asks for, of all accounts.
---@param app table
---@param jobs table[] M.POLLS or M.OVERDUE
---@return boolean|nil, table|nil err
function M.tend(app, jobs)
  return strict.run(app, function(store)
    local now = store:clock().now
    for _, mine in pairs(accounts.load(app, store)) do
      for _, job in ipairs(jobs) do by_the_clock(mine, job, now) end
    end
    return true
  end)
end

---Has fn(account, ...) done now.
---@return any value, table|nil err
function M.now(app, name, fn, ...)
  return strict.run(app, function(store, ...)
    return accounts.load(app, store)[name]:attempt(fn, ...)
  end, ...)
end

-- --- a round ------------------------------------------------------------------------------

-- Rounds may go side by side (in nginx's timers): each has a name of its own, under which nothing
-- is held when it begins.
local names = {}

local function enter()
  local n = 1
  while names[n] do n = n + 1 end
  names[n] = true
  return n, ("%s/%d"):format(owner.name(), n)
end

-- Those of our accounts whose names are keys of a table, in turn: each round begins with another
-- one, so that none has to wait for the others' work.
local function in_turn(app, all, of)
  local list, turned = {}, {}
  for name in pairs(of) do
    if all[name] then list[#list + 1] = name end
  end
  table.sort(list)
  app.turn = (app.turn or 0) + 1
  for i = 1, #list do turned[i] = all[list[(i + app.turn) % #list + 1]] end
  return turned
end

-- fn(account) for each in turn, again for those for which it says that there may be more.
local function while_more(list, over, fn)
  while #list > 0 do
    local more = {}
    for _, mine in ipairs(list) do
      if over() then return end
      if fn(mine) then more[#more + 1] = mine end
    end
    list = more
  end
end

-- What is due for accounts that this app does not have is another program's: told once.
local function tell_strangers(app, of)
  for name in pairs(of) do
    if not app.accounts[name] and not app.strangers[name] then
      app.strangers[name] = true
      app.log("warn", "unknown_account", { account = name,
        message = "the inbox has work for an account that is not here: it is left alone" })
    end
  end
end

local function round(store, app, settings, me)
  local all = accounts.load(app, store)
  local want = { owner = me, fresh = true, backoff = { base = app.backoff.base * 1000,
    cap = app.backoff.cap * 1000 } }
  local function over() return settings.stop ~= nil and settings.stop() end
  local due = store:due(want)
  if due.lost then store:recover(want) end
  while_more(in_turn(app, all, due.incoming), over, function(mine)
    return route.round(mine) >= route.PAGE -- a full page: there may be more
  end)
  due = store:due { owner = me }
  tell_strangers(app, due.incoming) -- what is left of it is no account's of ours
  tell_strangers(app, due.accounts)
  local runs = {}
  for _, mine in ipairs(in_turn(app, all, all)) do
    local one, found = due.accounts[mine.name] or { checks = 0 }, 0
    if (one.checks > 0 or mine.memory.fault) and not over() then
      found = readback.round(mine, { checks = one.checks, now = due.now }, me, over)
    end
    if one.runs or found > 0 then runs[mine.name] = true end
  end
  local ran, claims, failure = 0, math.max(settings.limit, 1), nil -- each has something: a bound
  while_more(in_turn(app, all, runs), function()
    return failure or ran >= settings.limit or claims <= 0 or over()
  end, function(mine)
    claims = claims - 1
    local n, why, claimed = run.round(mine, { owner = me, limit = settings.limit - ran,
      stop = settings.stop, bound = settings.bound })
    ran, failure = ran + n, why
    return claimed > 0
  end)
  if failure and ran == 0 then error(failure, 0) end
  return ran
end

---One round.
---@param app table
---@param settings { limit: integer?, stop: (fun(): boolean)?, bound: function? } see App:work
---@return integer|nil ran, table|nil err
function M.round(app, settings)
  local name, me = enter()
  local ok, ran, why = pcall(strict.run, app, round, app,
    { limit = settings.limit or 64, stop = settings.stop, bound = settings.bound }, me)
  names[name] = nil
  if not ok then error(ran, 0) end
  return ran, why
end

return M

-- app/run.lua: runs the rules that are due: it claims rows and runs the rules of their events, one
-- after the other.
--
-- Events of a row run in order, and rules are independent: a rule that fails is tried again later
-- and delays only its own later events of that row, for the app's `hold`. The result of a run and
-- the start of the next are stored in one transaction. So a rule runs at least once, and again only
-- if its process died or lost its lease in between. If a process dies during a run, the worker that
-- takes the row over counts that run as failed.

local caller = require "billhook.caller"
local err = require "billhook.error"
local events = require "billhook.app.event"
local metrics = require "billhook.app.metrics"
local rules = require "billhook.app.rules"
local strict = require "billhook.app.strict"

local M = {}

local CLAIM = 8 -- rows at once: one transaction for all of them
local PAGE = 32 -- events of a row at once
local MARGIN = 60 -- seconds of a lease beyond the longest budget
local FLOOR = 0.5 -- seconds to the next run at least: a round must not run a rule over and over

---Seconds for which a row is leased: longer than any run may take.
---@param app table
---@return number
function M.lease(app) return math.max(app.rules.budget, app.budget) + MARGIN end

-- --- one run ------------------------------------------------------------------------

-- For the log; some locales write a comma.
local function in_seconds(format, took) return (format:format(took):gsub(",", ".")) end

local function tell_dead(app, event, reason)
  for _, handler in ipairs(app.dead_handlers) do
    local failed = events.try("the handler", handler, event, reason)
    if failed then
      app.log("error", "on_dead_failed", { id = event.id, message = events.text(failed) })
    end
  end
end

-- Milliseconds to the next run: full jitter, or what the rule or the vendor has asked for.
local function pause(app, event, failed, attempts)
  local wait = events.delay(event)
  if not wait then
    wait = app.random()
      * math.min(app.backoff.cap, app.backoff.base * 2 ^ math.min(attempts - 1, 40))
    if err.is(failed.reason) and type(failed.reason.retry_after) == "number" then
      wait = math.max(wait, math.min(failed.reason.retry_after, 86400))
    end
  end
  return math.max(wait, FLOOR) * 1000
end

local function call(rule, event)
  local leave = caller.enter(event.id .. " " .. rule.name) -- what it calls is not done twice
  local failed = events.outcome(event, (events.try("the rule", rule.handler, event)))
  leave()
  if not failed and events.delay(event) then failed = { reason = "asked to run again" } end
  return failed
end

-- Runs one rule with one event; gives what became of it: an outcome for store:mark().
local function run(self, row, step)
  local app, name, mark, rule = self.app, step.name, step.mark, self.app.rules.by_name[step.name]
  local attempts, most = (mark and mark.attempts or 0) + 1, rule and rule.attempts or app.attempts
  local event = events.new(step.event, { client = app.accounts[step.event.account],
    store = app.store, rule = name ~= "" and name or nil, token = row.token, attempt = attempts,
    after_failure = step.after })
  local function outcome(state, failed, lost)
    return { seq = step.event.seq, rule = name, state = state, lost = lost,
      message = failed and events.text(failed),
      delay = state == "waiting" and pause(app, event, failed, attempts) or nil }
  end
  local function die(failed, lost)
    app.log("warn", "dead", { id = event.id, rule = name, type = event.type,
      attempt = lost and mark.attempts or attempts, message = events.text(failed, true) })
    -- told once, unless telling itself has ended a process already
    if not lost or mark.attempts == most then tell_dead(app, event, failed.reason) end
    return outcome("dead", failed, lost)
  end
  if name == "" then -- came as no event at all: a person is told, nothing else can be done
    if not mark then tell_dead(app, event, step.event.note) end
    return outcome("dead", { reason = step.event.note })
  end
  if mark and mark.attempts >= most then return die({ reason = mark.message or "lost" }, true) end
  if not rule then
    local failed = { reason = "no rule has this name" }
    return attempts >= most and die(failed) or outcome("waiting", failed)
  end
  local began = self.clock()
  local failed = call(rule, event)
  local took = self.clock() - began
  self.ran = self.ran + 1
  if took > rule.budget then
    app.log("warn", "overrun", { id = event.id, rule = name, seconds = in_seconds("%.1f", took) })
  end
  local dead = failed and attempts >= most
  metrics.run(app, name, dead and "dead" or failed and "failed" or "done", took)
  if dead then return die(failed) end
  if failed then
    app.log("warn", "failed", { id = event.id, rule = name, attempt = attempts, type = event.type,
      message = events.text(failed, true) })
    return outcome("waiting", failed)
  end
  app.log("info", "ran", { id = event.id, rule = name, attempt = attempts,
    seconds = in_seconds("%.3f", took) })
  return outcome "done"
end

-- --- which run is next ----------------------------------------------------------------

-- A walk through the open events of a claimed row, page by page. `seen` is the last event that was
-- passed; `after` the ms until something is due; `held`, by rule, for how long it has been failing.
local function walk_of(row)
  return { lane = row.lane, events = row.events, more = row.more, at = 1, rule = 0, held = {},
    seen = 0 }
end

-- That rule is to run again; nil for `held`: without holding back its later events.
local function wait_for(walk, name, wait, held)
  walk.after = math.min(walk.after or wait, wait)
  if held then walk.held[name] = math.max(walk.held[name] or 0, held) end
end

-- What keeps a rule from an event just now: the wait in ms; nil: nothing.
local function obstacle(walk, name, mark, hold)
  if mark and (mark.wait or 0) > 0 then return mark.wait end
  local earlier = walk.held[name]
  if earlier and earlier < hold then return hold - earlier end
end

local function next_rule(walk, event, hold)
  while walk.rule < #event.rules do
    walk.rule = walk.rule + 1
    local name = event.rules[walk.rule]
    local mark = event.marks[name]
    if not mark or mark.state == "waiting" then
      local wait = obstacle(walk, name, mark, hold)
      if not wait then return name, mark end
      wait_for(walk, name, wait, mark and mark.held)
    end
  end
end

-- The next run of this page, nil where there is none: { lane, event, name, mark, after = an earlier
-- event is still failing there }; the name is "" where the event cannot be run at all. `hold`: ms
-- for which a failing rule holds back its later events.
local function next_run(walk, hold)
  while true do
    local event = walk.events[walk.at]
    if not event then return nil end
    local name, mark
    if not event.bad then
      name, mark = next_rule(walk, event, hold)
    elseif walk.rule == 0 then
      walk.rule, name, mark = 1, "", event.marks[""]
    end
    if name then
      return { lane = walk.lane, event = event, name = name, mark = mark,
        after = walk.held[name] ~= nil }
    end
    walk.seen, walk.at, walk.rule = event.seq, walk.at + 1, 0
  end
end

-- --- rows ---------------------------------------------------------------------------

-- Runs of what was claimed at once.
local Runner = {}
Runner.__index = Runner

local function unbound() end

-- What is raised where a row is another's by now; the store's answer is false then.
local LOST = {}
local function held(answer) return answer or error(LOST, 0) end

function Runner:over() return self.ran >= self.limit or (self.stop ~= nil and self.stop()) end

-- Is it so long since the claim that what was not begun goes back, for others to take?
function Runner:late()
  return self.why ~= nil or self:over() or self.clock() - self.claimed_at > self.lease / 4
end

-- The lease must outlast the rule that is about to run.
function Runner:hold(row, budget)
  local now = self.clock() -- a new lease is no longer than from here
  if now + budget <= row.till then return end
  held(self.store:renew(row.lane, row.token, self.lease * 1000))
  row.till = now + self.lease
end

-- The next run of a row; nil where there is none now. `here`: only of the page at hand.
function Runner:next(row, here)
  row.walk = row.walk or walk_of(row)
  local walk = row.walk
  while not self:over() do
    local step = next_run(walk, self.app.hold * 1000)
    if step or here or not walk.more then return step end
    local page = held(self.store:more(row.lane, row.token, walk.seen, PAGE))
    walk.events, walk.more, walk.at, walk.rule = page.events, page.more, 1, 0
  end
end

-- Notes what became of a run, nil where there was none, and which one begins, of this row or
-- another: before a rule is called, it stands in the inbox that it was.
function Runner:mark(row, outcome, begins)
  held(self.store:mark(row.lane, row.token, outcome,
    begins and { lane = begins.lane, seq = begins.event.seq, rule = begins.name }))
  if begins then begins.noted = true end
end

-- Works through one claimed row; gives the ms until it is due again, if ever. With what became of
-- its last run goes which one of the `later` row begins: one transaction for both.
function Runner:row(row, later)
  local step = row.first or self:next(row)
  while step do
    local rule = self.app.rules.by_name[step.name]
    if not step.noted then self:mark(row, nil, step) end
    self:hold(row, rule and rule.budget or 0)
    -- what it takes to tell of a dead one, too, which may be no rule's
    self.bound(rule or { name = step.name, stop_after = rules.stop_after({}, self.app) },
      step.event)
    local outcome = run(self, row, step)
    self.bound()
    if outcome.state == "waiting" then
      wait_for(row.walk, step.name, outcome.delay, step.mark and step.mark.held or 0)
    end
    local following = self:next(row, true)
    local begins = following
    if not following and not row.walk.more and later and not self:late() then
      later.first = self:next(later, true)
      begins = later.first
    end
    self:mark(row, outcome, begins)
    step = following or self:next(row)
  end
  return self:over() and 0 or row.walk.after
end

---Runs rules of one account that are due.
---@param mine billhook.app.account
---@param settings { owner: string, limit: integer, stop: function?, bound: function? }
---@return integer ran, table|nil err, integer claimed
function M.round(mine, settings)
  local app, store = mine.app, mine.store
  local self = setmetatable({ app = app, store = store, ran = 0, limit = settings.limit,
    stop = settings.stop, bound = settings.bound or unbound,
    clock = app.monotonic, lease = M.lease(app) }, Runner)
  self.claimed_at = self.clock()
  local claimed = store:claim { kind = "run", account = mine.name, owner = settings.owner,
    lease = self.lease * 1000, limit = math.min(CLAIM, settings.limit), page = PAGE }
  local plans = {}
  for i, row in ipairs(claimed.rows) do
    row.till = self.claimed_at + self.lease
    local fine, after = true, 0
    if not self:late() then fine, after = pcall(self.row, self, row, claimed.rows[i + 1]) end
    if not fine then self.bound() end
    if fine then
      plans[#plans + 1] = { lane = row.lane, token = row.token, after = after }
    elseif after == LOST then
      app.log("warn", "lease_lost", { account = row.account, invoice = row.invoice })
    elseif err.is(after) then
      app.log("error", "not_marked", { account = row.account, invoice = row.invoice,
        message = tostring(after) })
      self.why = after
    else
      error(after, 0)
    end
  end
  local _, why = strict.catch(function() return #plans > 0 and store:release(plans) end)
  if why then app.log("error", "not_released", { message = tostring(why) }) end
  return self.ran, self.why or why, #claimed.rows
end

return M

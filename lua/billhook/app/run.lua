-- app/run.lua: runs rules for what is due: one claim, its rows, their events, one rule after the
-- other.
--
-- In a row events go in their order, and each rule goes by itself: one that fails is tried again
-- later and holds back its own later events there, for the app's `hold`; other rules go on. What
-- became of a run is stored in one transaction with which run begins next, so a rule runs at least
-- once, and once more only where its process died or lost its lease in between; a run that its
-- process does not survive is counted as failed by whoever takes the row over.

local caller = require "billhook.call.caller"
local core = require "billhook.core"
local err = require "billhook.error"
local events = require "billhook.app.event"
local metrics = require "billhook.app.metrics"
local steps = require "billhook.inbox.steps"

local M = {}

local CLAIM = 8 -- rows at once: one transaction for all of them
local PAGE = 32 -- events of a row at once
local MARGIN = 60 -- seconds of a lease beyond the longest budget
local FLOOR = 0.5 -- seconds to the next run at least: a round must not run a rule over and over

---Seconds for which a row is leased: longer than any run may take.
---@param app table
---@return number
function M.lease(app) return math.max(app.rules.budget, app.budget) + MARGIN end

local Runner = {}
Runner.__index = Runner

-- --- one run ------------------------------------------------------------------------

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
local function run(self, row, event_row, name, mark, after_failure)
  local app, outcome = self.app, { seq = event_row.seq, rule = name }
  local attempts = (mark and mark.attempts or 0) + 1
  local event = events.new(event_row, { client = app.accounts[event_row.account],
    store = self.store, rule = name ~= "" and name or nil, token = row.token, attempt = attempts,
    after_failure = after_failure })
  local rule = app.rules.by_name[name]
  local most = rule and rule.attempts or app.attempts
  local function die(failed, lost)
    app.log("warn", "dead", { id = event.id, rule = name, type = event.type,
      attempt = lost and mark.attempts or attempts, message = events.text(failed, true) })
    -- told once, unless telling itself has ended a process already
    if not lost or mark.attempts == most then tell_dead(app, event, failed.reason) end
    outcome.state, outcome.message, outcome.lost = "dead", events.text(failed), lost
    return outcome
  end
  if name == "" then -- came as no event at all: a person is told, nothing else can be done
    outcome.state, outcome.message = "dead", event_row.note
    if not mark then tell_dead(app, event, event_row.note) end
    return outcome
  end
  if mark and mark.attempts >= most then return die({ reason = mark.message or "lost" }, true) end
  if not rule then
    if attempts >= most then return die { reason = "no rule has this name" } end
    outcome.state, outcome.message = "waiting", "no rule has this name"
    outcome.delay = pause(app, event, {}, attempts)
    return outcome
  end
  local began = self.clock()
  local failed = call(rule, event)
  local took = self.clock() - began
  self.ran = self.ran + 1
  if took > rule.budget then
    app.log("warn", "overrun", { id = event.id, rule = name, seconds = ("%.1f"):format(took) })
  end
  if not failed then
    metrics.run(app, name, "done", took)
    app.log("info", "ran", { id = event.id, rule = name, attempt = attempts,
      seconds = ("%.3f"):format(took) })
    outcome.state = "done"
    return outcome
  end
  local dead = attempts >= most
  metrics.run(app, name, dead and "dead" or "failed", took)
  if dead then return die(failed) end
  app.log("warn", "failed", { id = event.id, rule = name, attempt = attempts, type = event.type,
    message = events.text(failed, true) })
  outcome.state, outcome.message = "waiting", events.text(failed)
  outcome.delay = pause(app, event, failed, attempts)
  return outcome
end

-- --- rows ---------------------------------------------------------------------------

function Runner:over()
  return self.ran >= self.limit or (self.stop ~= nil and self.stop())
end

function Runner:lost(what, why)
  self.app.log(why and "error" or "warn", why and "not_marked" or "lease_lost",
    { row = what, message = why and tostring(why) or nil })
  self.why = self.why or why
end

-- The lease must outlast the rule that is about to run.
function Runner:hold(row, budget)
  if self.clock() + budget <= row.till then return true end
  local began = self.clock() -- the lease is no longer than from here
  local renewed, why = self.store:renew(row.lane, row.token, self.lease * 1000)
  if not renewed then
    self:lost(row.lane, why)
    return false
  end
  row.till = began + self.lease
  return true
end

-- The next run of a row, over its pages; nil: there is none now, or "stop".
function Runner:next(row, walk)
  while true do
    if self:over() then return nil, "stop" end
    local event, name, mark, after_failure = steps.next(walk, self.app.hold * 1000)
    if event then return { event = event, name = name, mark = mark, after = after_failure } end
    if not walk.more then return nil end
    local page, why = self.store:more(row.lane, row.token, walk.seen, PAGE)
    if not page then
      self:lost(row.lane, why)
      return nil, "lost"
    end
    steps.turn(walk, page)
  end
end

local function note_of(row, step)
  return step and { lane = row.lane, seq = step.event.seq, rule = step.name }
end

-- The first run of a row; nil where there is none now.
function Runner:first(row)
  if not row.walk then
    row.walk = steps.start(row)
    row.step, row.ended = self:next(row, row.walk)
  end
  return row.step
end

-- Is it noted that this run begins? If not, it is now; false where the row is lost.
function Runner:begin(row, step)
  local begun = self.begun
  if begun and begun.lane == row.lane and begun.seq == step.event.seq
    and begun.rule == step.name then return true end
  local noted, why = self.store:mark(row.lane, row.token, nil, note_of(row, step))
  if not noted then self:lost(row.lane, why) end
  return noted
end

-- Is it so long since the claim that what was not begun goes back, for others to take?
function Runner:late()
  return self.why ~= nil or self:over() or self.clock() - self.claimed_at > self.lease / 4
end

-- Works through one claimed row; gives how to release it, or nil where it is lost. With what became
-- of its last run goes which one of the `later` row begins: one transaction for both.
function Runner:row(row, later)
  local step = self:first(row)
  local walk, ended = row.walk, row.ended
  while step do
    if not self:begin(row, step) then return nil end
    local rule = self.app.rules.by_name[step.name]
    if not self:hold(row, rule and rule.budget or 0) then return nil end
    local outcome = run(self, row, step.event, step.name, step.mark, step.after)
    if outcome.state == "waiting" then
      steps.wait(walk, step.name, outcome.delay, step.mark and step.mark.held or 0)
    end
    local following
    following, ended = self:next(row, walk)
    self.begun = note_of(row, following)
      or later and not ended and not self:late() and note_of(later, self:first(later)) or nil
    local kept, why = self.store:mark(row.lane, row.token, outcome, self.begun)
    if not kept then return self:lost(row.lane, why) end
    step = following
  end
  if ended == "lost" then return nil end
  return { lane = row.lane, token = row.token, after = ended == "stop" and 0 or walk.after }
end

---Runs rules of one account that are due.
---@param app table
---@param store table
---@param account string
---@param settings { owner: string, limit: integer, stop: function? }
---@return integer ran, table|nil err
function M.round(app, store, account, settings)
  local self = setmetatable({ app = app, store = store, ran = 0, limit = settings.limit,
    stop = settings.stop, clock = app.clock or core.text.monotonic, lease = M.lease(app) }, Runner)
  local began = self.clock()
  local claimed, why = store:claim { kind = "run", account = account, owner = settings.owner,
    lease = self.lease * 1000, limit = math.min(CLAIM, settings.limit), page = PAGE,
    hold = app.hold * 1000 }
  if not claimed then return 0, why end
  local plans = {}
  self.begun, self.claimed_at = claimed.first, began
  for i, row in ipairs(claimed.rows) do
    row.till = began + self.lease
    if self:late() then
      plans[#plans + 1] = { lane = row.lane, token = row.token, after = 0 }
    else
      plans[#plans + 1] = self:row(row, claimed.rows[i + 1])
    end
  end
  if #plans > 0 then
    local released
    released, why = store:release(plans)
    if not released then
      app.log("error", "not_released", { message = tostring(why) })
      self.why = self.why or why
    end
  end
  return self.ran, self.why, #claimed.rows
end

return M

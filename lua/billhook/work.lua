-- work.lua: runs rules for what is due.
--
-- Lanes are claimed a few at a time. In a lane events go in the order of their
-- admission, and each rule goes by itself: one that fails is tried again later
-- and holds back its own later events there, for `hold` seconds; other rules
-- go on. A mark is stored after each run, so a rule runs at least once, and
-- once more only where its process died or lost the lane in between.

local err = require "billhook.error"
local core = require "billhook.core"
local events = require "billhook.event"
local owner = require "billhook.inbox.owner"

local M = {}

local CLAIM = 8 -- lanes at once: one transaction for all of them
local MARGIN = 60 -- seconds of a lease beyond the longest budget
local FLOOR = 0.5 -- seconds to the next run at least: a round must not run a rule over and over

-- --- one run of one rule --------------------------------------------------------

-- What a rule failed with: an error object as it is, a text with the rule's own frames.
local function caught(reason)
  if type(reason) == "string" then
    local trace = debug.traceback(reason, 2)
    return { reason = reason, trace = trace:match("^(.-)\n[^\n]*'xpcall'") or trace }
  end
  return { reason = reason == nil and "the rule raised nil" or reason }
end

-- nil where it succeeded, else { reason, trace }
local function attempt(rule, event)
  local ok, value, reason = xpcall(function()
    events.confirm(event, rule.trust == "api")
    return rule.handler(event)
  end, caught)
  if not ok then return value end
  if value == nil and reason ~= nil then return { reason = reason } end
  if events.delay(event) then return { reason = "asked to run again" } end
end

-- Milliseconds to the next run: full jitter, or what the rule or the vendor has asked for.
local function pause(app, event, failed, attempts)
  local wait = events.delay(event)
  if not wait then
    local most = app.backoff.base * 2 ^ math.min(attempts - 1, 40)
    wait = app.random() * math.min(app.backoff.cap, most)
    if err.is(failed.reason) and type(failed.reason.retry_after) == "number" then
      wait = math.max(wait, math.min(failed.reason.retry_after, 86400))
    end
  end
  return math.max(wait, FLOOR) * 1000
end

local function tell_dead(app, event, reason)
  for _, handler in ipairs(app.dead_handlers) do
    local ok, why = xpcall(function() handler(event, reason) end, caught)
    if not ok then
      app.log("error", "on_dead_failed", { id = event.id, message = tostring(why.reason) })
    end
  end
end

local Round = {}
Round.__index = Round

-- The store's answer to a mark: true, or the lane is lost (another has it, or the store fails).
local function kept(self, row, name, stored, why)
  if stored then return true end
  self.app.log(why and "error" or "warn", why and "not_marked" or "lane_lost",
    { id = row.id, rule = name, message = why and tostring(why) or nil })
  self.why = self.why or why
  return false
end

function Round:object(row, name, attempts, after_failure)
  return events.new(row, {
    client = self.app.accounts[row.account], store = self.store, rule = name,
    attempt = attempts, after_failure = after_failure,
  })
end

-- After a failure: due again, or dead. Gives whether the lane is still held, and the wait in ms.
function Round:failed(lane, row, name, event, failed, attempts)
  local rule = self.app.dispatch.by_name[name]
  local dead = attempts >= (rule and rule.attempts or self.app.attempts)
    or err.is(failed.reason) and failed.reason.code == events.HOPELESS
  self.app.log("warn", dead and "dead" or "failed", { id = row.id, rule = name,
    attempt = attempts, type = row.type, message = tostring(failed.trace or failed.reason) })
  local message = tostring(failed.reason)
  if dead then
    tell_dead(self.app, event, failed.reason)
    return kept(self, row, name, self.store:dead(lane.token, row.seq, name, message))
  end
  local wait = pause(self.app, event, failed, attempts)
  return kept(self, row, name, self.store:retry(lane.token, row.seq, name, wait, message)), wait
end

-- Runs one rule with one event. Gives whether the lane is still held, and the wait in ms where
-- the rule has to run again.
function Round:run(lane, row, name, mark, after_failure)
  local app, attempts = self.app, (mark and mark.attempts or 0) + 1
  local rule = app.dispatch.by_name[name]
  local event = self:object(row, name, attempts, after_failure)
  if not rule then
    return self:failed(lane, row, name, event, { reason = "no rule has this name" }, attempts)
  end
  if not self:hold(lane, rule.budget) then return false end
  local began = self.clock()
  local failed = attempt(rule, event)
  local took = self.clock() - began
  self.ran = self.ran + 1
  if took > rule.budget then
    app.log("warn", "overrun", { id = row.id, rule = name, seconds = ("%.1f"):format(took) })
  end
  if failed then return self:failed(lane, row, name, event, failed, attempts) end
  app.log("info", "ran", { id = row.id, rule = name, attempt = attempts,
    seconds = ("%.3f"):format(took) })
  return kept(self, row, name, self.store:done(lane.token, row.seq, name))
end

-- --- one lane ---------------------------------------------------------------------

-- The lease must outlast the rule that is about to run.
function Round:hold(lane, budget)
  if self.clock() + budget <= lane.till then return true end
  local renewed, why = self.store:renew(lane.lane, lane.token, self.lease)
  if not renewed then return kept(self, { id = "lane " .. lane.lane }, nil, renewed, why) end
  lane.till = self.clock() + self.lease
  return true
end

-- What keeps a rule from an event of a lane just now: the wait in ms; nil: nothing.
local function obstacle(plan, name, mark, hold)
  if mark and (mark.wait or 0) > 0 then return mark.wait end
  local earlier = plan.held[name]
  if earlier and earlier < hold then return hold - earlier end
end

local function later(plan, wait)
  plan.after = math.min(plan.after or wait, wait)
end

-- One event: every rule that is not done with it. False where the lane is lost or time is up.
function Round:event(lane, row, plan)
  for _, name in ipairs(row.rules) do
    local mark = row.marks[name]
    if not mark or mark.state == "waiting" then
      local wait = obstacle(plan, name, mark, self.app.hold * 1000)
      if not wait then
        if self:over() then return false end
        local held
        held, wait = self:run(lane, row, name, mark, plan.held[name] ~= nil)
        if not held then
          plan.lost = true
          return false
        end
      end
      if wait then
        later(plan, wait)
        plan.held[name] = math.max(plan.held[name] or 0, mark and mark.held or 0)
      end
    end
  end
  plan.seen = row.seq
  return true
end

-- What came as no event at all: a person is told, nothing else can be done.
function Round:bad(lane, row)
  tell_dead(self.app, self:object(row), row.note)
  return kept(self, row, nil, self.store:dead(lane.token, row.seq, nil, row.note))
end

-- Gives the plan for the release of a lane, or nil where it is not ours any more.
function Round:lane(lane)
  local plan = { lane = lane.lane, token = lane.token, held = {}, seen = 0 }
  local page = lane
  while page do
    for _, row in ipairs(page.events) do
      local on
      if row.bad then on = self:bad(lane, row) else on = self:event(lane, row, plan) end
      if plan.lost then return nil end
      if not on then
        plan.after = 0
        return plan
      end
      plan.seen = row.seq
    end
    page = page.more and self.store:more(lane.lane, lane.token, plan.seen)
  end
  return plan
end

-- --- a round ------------------------------------------------------------------------

function Round:over()
  return self.ran >= self.limit or (self.stop ~= nil and self.stop())
end

-- Lanes that were claimed together; what is not begun soon goes back, for others to take.
function Round:batch(lanes, began)
  local plans = {}
  for _, lane in ipairs(lanes) do
    lane.till = began + self.lease
    local plan
    if self:over() or self.clock() - began > self.lease / 4 then
      plan = { lane = lane.lane, token = lane.token, after = 0 }
    else
      plan = self:lane(lane)
    end
    if plan then
      plans[#plans + 1] = { lane = plan.lane, token = plan.token, seen = plan.seen,
        after = plan.after }
    end
  end
  local released, why = self.store:release(plans)
  if not released then
    self.app.log("error", "not_released", { message = tostring(why) })
    self.why = self.why or why
  end
end

---One round: claims what is due and runs its rules.
---@param app table
---@param settings table see App:work
---@return integer|nil ran, table|nil err
function M.round(app, settings)
  local store, why = app:open()
  if not store then return nil, why end
  local self = setmetatable({
    app = app, store = store, ran = 0, clock = app.clock or core.text.monotonic,
    limit = settings.limit or 64, stop = settings.stop,
    lease = math.max(app.dispatch.budget, app.budget) + MARGIN,
  }, Round)
  local me, claimed = owner.name(), 0
  while not self:over() and claimed < self.limit and not self.why do
    local began = self.clock()
    local lanes
    lanes, why = store:claim { owner = me, lease = self.lease,
      limit = math.min(CLAIM, self.limit - claimed) }
    if not lanes then self.why = why end
    if not lanes or #lanes == 0 then break end
    claimed = claimed + #lanes
    self:batch(lanes, began)
  end
  if self.why and self.ran == 0 then return nil, self.why end
  return self.ran
end

return M

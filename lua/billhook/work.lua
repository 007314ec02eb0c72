-- work.lua: runs rules for what is due.
--
-- Lanes are claimed a few at a time. In a lane events go in the order of their
-- admission, and each rule goes by itself: one that fails is tried again later
-- and holds back its own later events there, for `hold` seconds; other rules
-- go on. A mark is stored after each run, so a rule runs at least once, and
-- once more only where its process died or lost the lane in between. The same
-- mark notes which run comes next: one that its process does not survive is
-- counted as failed by who takes the lane over.
--
-- What is said of an invoice by somebody whose word is not enough runs in a
-- lane of hearsay, where nothing holds anything back. Where a rule asks for the
-- API's word and gets it, all that waits there goes over to the invoice's lane.

local attempt = require "billhook.delivery.attempt"
local core = require "billhook.core"
local events = require "billhook.event"
local metrics = require "billhook.delivery.metrics"
local owner = require "billhook.inbox.owner"
local steps = require "billhook.inbox.steps"

local M = {}

local CLAIM = 8 -- lanes at once: one transaction for all of them
local CONFIRMS = 6 -- runs for which the API may lag behind what was sent: a minute or so

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

-- What the API has just said: to the event that had it confirmed; or that it cannot be confirmed,
-- which is asked once for all that waits in a lane.
function Round:answer(step)
  local fetched = self.fetched
  self.fetched = nil
  if fetched and fetched.seq == step.row.seq then return fetched.answer end
  return step.rule and step.rule.trust == "api" and step.walk.answer or nil
end

function Round:object(step)
  return events.new(step.row, {
    client = self.app.accounts[step.row.account], store = self.store, rule = step.name,
    token = step.token,
    attempt = step.attempts, after_failure = step.after_failure, fetched = self:answer(step),
  })
end

-- How often a rule may run; of one that is not there any more, as often as any.
function Round:most(step)
  return step.rule and step.rule.attempts or self.app.attempts
end

-- Where the mark was stored, the next run was noted with it. Where it was not, the next one in
-- this lane is not ours any more.
function Round:marked(step, name, following, stored, why)
  if kept(self, step.row, name, stored, why) then
    self.begun = following
    return following
  end
  self:keep(step.walk)
  if following and following.walk ~= step.walk then return following end
  return self:drop(step)
end

local function note(step)
  return step and { lane = step.walk.lane, seq = step.row.seq, rule = step.name }
end

-- Given up: a person is told first.
function Round:dead(step, event, failed)
  attempt.tell_dead(self.app, event, failed.reason)
  local following = self:advance()
  return self:marked(step, step.name, following, self.store:dead(step.token, step.row.seq,
    step.name, attempt.text(failed), { next = note(following) }))
end

-- Does this failure hold back later events? Not where it may be a forger's doing.
local function holds(step, event, failed)
  if step.walk.hearsay then return false end
  return events.credible(event) or step.rule ~= nil and step.rule.trust == "api"
    and not failed.unconfirmed
end

function Round:again(step, event, failed)
  local wait = attempt.pause(self.app, event, failed, step.attempts)
  local how = { holds = holds(step, event, failed) }
  steps.wait(step.walk, step.name, wait, how.holds and (step.mark and step.mark.held or 0) or nil)
  local following = self:advance()
  how.next = note(following)
  return self:marked(step, step.name, following, self.store:retry(step.token, step.row.seq,
    step.name, wait, attempt.text(failed), how))
end

-- After a failure: due again, or dead.
function Round:failed(step, event, failed, took)
  local most = self:most(step)
  if failed.unconfirmed then most = math.min(most, CONFIRMS) end
  local dead = step.attempts >= most or failed.hopeless
  self.app.log("warn", dead and "dead" or "failed", { id = step.row.id, rule = step.name,
    attempt = step.attempts, type = step.row.type,
    message = attempt.text(failed, true) })
  if took then metrics.run(self.app, step.name, dead and "dead" or "failed", took) end
  if dead then return self:dead(step, event, failed) end
  return self:again(step, event, failed)
end

-- What came as no event at all: a person is told, nothing else can be done.
function Round:bad(step)
  -- unless telling has ended a process already
  if not step.mark then attempt.tell_dead(self.app, self:object(step), step.row.note) end
  local following = self:advance()
  return self:marked(step, nil, following,
    self.store:dead(step.token, step.row.seq, nil, step.row.note, { next = note(following) }))
end

-- It has ended so many processes that it may end no more; told of once, if that is survived.
function Round:buried(step)
  self.app.log("warn", "dead", { id = step.row.id, rule = step.name, type = step.row.type,
    attempt = step.mark.attempts, message = step.mark.message })
  if step.mark.attempts == self:most(step) then
    attempt.tell_dead(self.app, self:object(step), step.mark.message)
  end
  local following = self:advance()
  return self:marked(step, step.name, following, self.store:dead(step.token, step.row.seq,
    step.name, step.mark.message, { lost = true, next = note(following) }))
end

-- The API stands by what was said: it goes on in the lane of its invoice, with what waited with it.
function Round:join(step, event)
  local want = self:want()
  want.asking = self.app.dispatch:asking()
  local began = self.clock()
  local lane, why = self.store:join(step.walk.lane, step.token, want)
  if not kept(self, step.row, step.name, lane, why) then return self:drop(step) end
  self.walk, self.begun = nil, nil
  if lane.lane then
    self:take(lane, began)
    self.fetched = { seq = step.row.seq, answer = events.fetched(event) }
  end
  return self:advance()
end

-- Runs one rule with one event; gives the next one to run.
function Round:run(step)
  if step.row.bad then return self:bad(step) end
  if step.mark and step.mark.attempts >= self:most(step) then return self:buried(step) end
  local event = self:object(step)
  if not step.rule then
    return self:failed(step, event, { reason = "no rule has this name" })
  end
  if not self:hold(step) then return self:drop(step) end
  local began = self.clock()
  local failed = attempt.confirm(event, step.rule)
  if step.walk.hearsay then
    if not failed and events.confirmed(event) then return self:join(step, event) end
    if failed then step.walk.answer = events.fetched(event) end
  end
  failed = failed or attempt.run(step.rule, event)
  local took = self.clock() - began
  self.ran = self.ran + 1
  attempt.overrun(self.app, step.row, step.rule, took)
  if failed then return self:failed(step, event, failed, took) end
  metrics.run(self.app, step.name, "done", took)
  self.app.log("info", "ran", { id = step.row.id, rule = step.name, attempt = step.attempts,
    seconds = ("%.3f"):format(took) })
  local following = self:advance()
  return self:marked(step, step.name, following, self.store:done(step.token, step.row.seq,
    step.name, { next = note(following) }))
end

-- --- lanes ------------------------------------------------------------------------

-- The lease must outlast the rule that is about to run.
function Round:hold(step)
  local walk = step.walk
  if self.clock() + step.rule.budget <= walk.till then return true end
  local began = self.clock() -- the lease is no longer than from here
  local renewed, why = self.store:renew(walk.lane, walk.token, self.lease)
  if not renewed then return kept(self, { id = "lane " .. walk.lane }, nil, renewed, why) end
  walk.till = began + self.lease
  return true
end

-- A lane to walk through next, that was claimed then.
function Round:take(lane, began)
  local walk = steps.start(lane)
  walk.lane, walk.token, walk.hearsay = lane.lane, lane.token, lane.hearsay
  walk.till = began + self.lease
  self.walk, self.begun = walk, lane.first or self.begun
  return walk
end

function Round:give_back(lane, seen, after)
  self.plans[#self.plans + 1] = { lane = lane.lane, token = lane.token, seen = seen, after = after }
end

-- Has a lane not be given back: something in it is not marked.
function Round:keep(walk)
  for i = #self.plans, 1, -1 do
    if self.plans[i].lane == walk.lane then table.remove(self.plans, i) end
  end
end

-- A lane that is not ours any more is left as it is.
function Round:drop(step)
  if self.walk == step.walk then self.walk = nil end
  return self:advance()
end

-- More of the lane; false where there is none.
function Round:turn(walk)
  if not walk.more then return false end
  local page, why = self.store:more(walk.lane, walk.token, walk.seen)
  if page then
    steps.turn(walk, page)
    return true
  end
  kept(self, { id = "lane " .. walk.lane }, nil, page, why)
  self.walk = nil
  return true
end

-- The next lane of the batch; what is not begun soon goes back, for others to take.
function Round:next_lane()
  local lane = table.remove(self.lanes, 1)
  if not lane then return false end
  if self:over() or self.clock() - self.claimed_at > self.lease / 4 then
    self:give_back(lane, 0, 0)
  else
    self:take(lane, self.claimed_at)
  end
  return true
end

function Round:step_of(walk, row, name, mark, after_failure)
  return { walk = walk, row = row, name = name, mark = mark, after_failure = after_failure,
    token = walk.token, attempts = (mark and mark.attempts or 0) + 1,
    rule = self.app.dispatch.by_name[name] }
end

-- The next run, in this lane or in one behind it; nil: there is none.
function Round:advance()
  while not self.why and (self.walk or self:next_lane()) do
    local walk = self.walk
    if walk then
      local row, name, mark, after_failure = steps.next(walk, self.app.hold * 1000)
      if row and not self:over() then
        return self:step_of(walk, row, name, mark, after_failure)
      elseif row then -- time is up
        walk.after, self.walk = 0, nil
        self:give_back(walk, walk.seen, 0)
      elseif not self:turn(walk) then
        self.walk = nil
        self:give_back(walk, walk.seen, walk.after)
      end
    end
  end
end

-- Where it is not noted yet which run begins, it is now.
function Round:noted(step)
  local begun = self.begun
  if begun and (begun == step or begun.lane == step.walk.lane and begun.seq == step.row.seq
    and begun.rule == step.name) then return true end
  local noted, why = self.store:begin(step.token, note(step))
  return kept(self, step.row, step.name, noted, why)
end

-- --- a round ------------------------------------------------------------------------

function Round:over()
  return self.ran >= self.limit or (self.stop ~= nil and self.stop())
end

-- What a claim asks for, apart from how much.
function Round:want()
  local backoff = self.app.backoff
  return { owner = self.me, lease = self.lease, hold = self.app.hold * 1000,
    backoff = { base = backoff.base * 1000, cap = backoff.cap * 1000 } }
end

-- Lanes that were claimed together. Where the store fails, the next round finds what is left.
function Round:batch(lanes, began)
  self.lanes, self.plans, self.claimed_at, self.walk, self.begun = lanes, {}, began, nil, nil
  local step = self:advance()
  while step and not self.why do
    if self:noted(step) then step = self:run(step) else step = self:drop(step) end
  end
  if #self.plans == 0 then return end
  local released, why = self.store:release(self.plans)
  if released then return end
  self.app.log("error", "not_released", { message = tostring(why) })
  self.why = self.why or why
end

-- Rounds may go side by side (in nginx's timers): each has a name of its own, under which nothing
-- is held when it begins.
local names = {}

local function enter()
  local n = 1
  while names[n] do n = n + 1 end
  names[n] = true
  return n
end

local function claims(self)
  local fresh, claimed = true, 0
  while not self:over() and claimed < self.limit and not self.why do
    local began, want = self.clock(), self:want()
    want.fresh, want.limit = fresh, math.min(CLAIM, self.limit - claimed)
    local lanes, why = self.store:claim(want)
    if not lanes then self.why = why end
    if not lanes or #lanes == 0 then break end
    fresh, claimed = false, claimed + #lanes
    self:batch(lanes, began)
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
    lease = attempt.lease(app),
  }, Round)
  local name = enter()
  self.me = ("%s/%d"):format(owner.name(), name)
  local ok, reason = pcall(claims, self)
  names[name] = nil
  if not ok then error(reason, 0) end
  if self.ran == 0 and self.why then return nil, self.why end
  return self.ran
end

return M

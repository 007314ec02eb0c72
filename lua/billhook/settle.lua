--- Calls that must not happen twice: what became of one whose answer never came.
--
-- Before such a call its place is looked at (which ids are there), afterwards, where the outcome is
-- unknown, looked at again, two to four times with growing pauses within `settle_timeout`. One that
-- was not there before, that nobody else claims and that is in everything what was asked for is the
-- result: how = "found". Finding nothing proves nothing, for the request may still be under way:
-- then the error is unknown_outcome, with an intent for client:settle later.
--
-- How to look belongs to the vendor (`looks` of billhook.vendor.*): { list = operation, place = the
-- parameters of the list from those of the call, matches = function(sent, candidate), id = function
-- }. A call with a reference is matched by that too, and finds its invoice even if it was there
-- before: that is what a reference is for.
--
-- Two calls that could be mistaken for each other, of one account and place, never overlap.

local core = require "billhook.core"
local answer = require "billhook.answer"
local claims = require "billhook.claims"
local exchange = require "billhook.exchange"
local plans = require "billhook.plan"

local M = {}

-- When to look, in parts of settle_timeout: soon, for most outcomes are decided by then; late, for
-- a server that is slow to commit; the last one leaves time for its own answer.
local moments = { 0.04, 0.16, 0.4, 0.8 }

-- Waiting for another call of the same place, in seconds a turn.
local TURN = 0.02

local function claims_of(state)
  return claims.of(state.account)
end

local function enter(state, plan)
  local latest = plan.deadline + plan.settle_timeout
  while not claims_of(state):enter(plan.place, state.now(), latest) do
    if state.now() + TURN >= plan.deadline then
      return nil, { kind = "timeout", sent = false, attempts = 0,
        message = "another call of the same place did not end before the deadline" }
    end
    exchange.pause(state, TURN)
  end
  return true
end

-- --- looking -----------------------------------------------------------------------------------

-- The list of a place, as far as it can be read: whatever has an id.
local function look(state, intent, deadline, settings)
  local rules = state.vendor.looks[intent.operation]
  local plan = plans.make(state, rules.list, rules.params(intent.params), settings, 2)
  plan.deadline = deadline
  local response, outcome = exchange.run(state, plan, "request")
  if not response then
    return nil, outcome
  end
  plan.invoices = false
  local list, fault = answer.elements(state, plan, response)
  if not list then
    return nil, fault
  end
  local found = {}
  for _, element in ipairs(list) do
    if type(element) == "table" and rules.id(element) ~= nil then
      found[#found + 1] = element
    end
  end
  return found
end

local function ids_of(state, intent, list)
  local ids = {}
  for _, element in ipairs(list) do
    ids[#ids + 1] = tostring(state.vendor.looks[intent.operation].id(element))
  end
  return ids
end

local function set_of(list)
  local set = {}
  for _, value in ipairs(list) do
    set[value] = true
  end
  return set
end

local function refers(intent, element)
  local text = intent.reference and element[intent.reference.field]
  return text == (intent.reference and intent.reference.value)
end

-- Those of a list that may be what the intent asked for.
local function candidates(state, intent, list)
  local rules = state.vendor.looks[intent.operation]
  local before = set_of(intent.before)
  local out = {}
  for _, element in ipairs(list) do
    local id = tostring(rules.id(element))
    if not before[id] and not claims_of(state):is_owned(intent.place, id)
      and refers(intent, element) and rules.matches(intent.params, element) then
      out[#out + 1] = element
    end
  end
  return out
end

-- Another call of this process whose outcome is open too, and which asked for the same: whose is
-- it?
local function contested(state, intent, element)
  local rules = state.vendor.looks[intent.operation]
  for _, other in ipairs(claims_of(state):open(intent.place, state.wall())) do
    if other.id ~= intent.id and refers(other, element) and rules.matches(other.params, element)
      and not set_of(other.before)[tostring(rules.id(element))] then
      return true
    end
  end
  return false
end

local function result_of(state, intent, element, how)
  local rules = state.vendor.looks[intent.operation]
  local id = rules.id(element)
  claims_of(state):own(intent.place, id)
  claims_of(state):forget(intent)
  if rules.whole then
    return answer.tag(state, { invoices = true }, element)
  end
  local prepared = core.call.prepare(state.vendor.name, rules.read,
    rules.read_params(id, intent.params), state.options.paths)
  return { id = id, location = prepared.path, how = how }
end

-- Looks until the same one was there alone twice running, or when time was up: the first one to be
-- seen may be somebody else's, while ours is still under way. Gives the element, or nil and the
-- candidates.
local function search(state, intent, settle_timeout)
  local began = state.now()
  local deadline, found, alone_before = began + settle_timeout, {}, nil
  local id_of = state.vendor.looks[intent.operation].id
  for _, moment in ipairs(moments) do
    exchange.pause(state, math.max(0, began + moment * settle_timeout - state.now()))
    local list = look(state, intent, deadline, { attempts = 1 })
    if list then
      found = candidates(state, intent, list)
      local alone = #found == 1 and not contested(state, intent, found[1]) and id_of(found[1])
      if alone and alone == alone_before then
        return found[1]
      end
      alone_before = alone
    end
  end
  if alone_before then
    return found[1]
  end
  return nil, found
end

-- --- the call ----------------------------------------------------------------------------------

local function new_intent(state, plan)
  return {
    id = core.text.hex(core.text.random(8)), vendor = state.vendor.name, account = state.account,
    operation = plan.operation, place = plan.place, params = plan.plain, reference = plan.reference,
    before = {},
  }
end

-- What has the reference already is what is asked for: an earlier run of the caller made it.
local function made_before(state, plan, intent, list)
  if not plan.reference then
    return nil
  end
  local rules, same = state.vendor.looks[plan.operation], {}
  for _, element in ipairs(list) do
    if refers(intent, element) and rules.matches(intent.params, element) then
      same[#same + 1] = element
    end
  end
  if #same == 1 then
    return result_of(state, intent, same[1], "found")
  elseif #same > 1 then
    return nil, { kind = "conflict", attempts = 0, candidates = ids_of(state, intent, same),
      message = ("there are %d with this reference already"):format(#same) }
  end
end

local function unknown(state, plan, intent, fault, found)
  fault.open, fault.intent, fault.sent_at = true, intent, plan.sent_at
  fault.candidates = ids_of(state, intent, found)
  return nil, fault
end

-- The server says that it was done before: by the call whose outcome is open, then.
local function done_before(state, plan, fault)
  local rules = state.vendor.looks[plan.operation]
  return rules.already and fault.code == rules.already
    and claims_of(state):open(plan.place, state.wall())[1]
end

local function after_sending(state, plan, intent, response, outcome)
  local value, fault = nil, outcome
  if response then
    value, fault = answer.read(state, plan, response, outcome)
    if type(value) == "table" and value.id ~= nil then
      claims_of(state):own(plan.place, value.id)
      return value
    elseif value ~= nil and plan.answer ~= "location" then
      return value
    elseif not value then
      fault.attempts, fault.open = plan.attempts_made, true
    end
  elseif done_before(state, plan, fault) then
    claims_of(state):forget(done_before(state, plan, fault))
    intent.before = {}
  elseif not fault.open then
    return nil, fault
  end
  claims_of(state):remember(intent)
  local element, found = search(state, intent, plan.settle_timeout)
  if element then
    return result_of(state, intent, element, value and "created" or "found")
  elseif value then
    return value -- it was created; its id is not known, and must not be taken for another's
  end
  return unknown(state, plan, intent, fault, found)
end

local function alone(state, plan, intent)
  local list, fault = look(state, intent, plan.deadline, { attempts = plan.attempts })
  if not list then
    fault.open = false -- nothing was sent but a question
    return nil, fault
  end
  local value
  value, fault = made_before(state, plan, intent, list)
  if value or fault then
    return value, fault
  end
  intent.before = ids_of(state, intent, list)
  plan.sent_at = state.wall()
  intent.sent_at = plan.sent_at
  local response, outcome = exchange.run(state, plan, "request")
  return after_sending(state, plan, intent, response, outcome)
end

--- Can the outcome of this call be looked up?
function M.can(state, plan)
  local rules = not plan.idempotent and state.vendor.looks[plan.operation]
  return rules and plan.settle_timeout > 0 and rules.place(plan.plain) ~= nil
end

--- Carries out a call that must not happen twice: a value, or nil and a fault.
function M.carry_out(state, plan)
  plan.place = plan.operation .. " " .. state.vendor.looks[plan.operation].place(plan.plain)
  plan.deadline = state.now() + plan.timeout
  local entered, fault = enter(state, plan)
  if not entered then
    return nil, fault
  end
  -- what looking will need is set aside first: an answer must not be out of reach for want of quota
  local purse
  purse, fault = exchange.reserve(state, #moments + 2, plan.deadline, plan.settle_timeout)
  if not purse then
    claims_of(state):leave(plan.place)
    return nil, fault
  end
  state = setmetatable({ purse = purse }, { __index = state })
  local value
  value, fault = alone(state, plan, new_intent(state, plan))
  exchange.give_back(state)
  claims_of(state):leave(plan.place)
  return value, fault
end

--- Looks again at a call whose outcome was unknown.
---@return any value
---@return table? fault
function M.again(state, intent, settle_timeout)
  local rules = state.vendor.looks[intent.operation]
  if rules and settle_timeout > 0 and intent.place then
    local element, found = search(state, intent, settle_timeout)
    if element then
      return result_of(state, intent, element, "found")
    end
    return nil, {
      kind = "unknown_outcome", message = "nothing was found that is without doubt it",
      intent = intent, sent_at = intent.sent_at, candidates = ids_of(state, intent, found),
    }
  end
  return nil, {
    kind = "unknown_outcome", message = "there is no way to look it up",
    intent = intent, sent_at = intent.sent_at,
  }
end

return M

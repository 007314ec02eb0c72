--- Calls that must not happen twice: what became of one whose answer never came.
--
-- Before such a call its place is looked at (which ids are there), afterwards, where the outcome is
-- unknown, looked at again, two to four times with growing pauses within `settle_timeout`. One that
-- was not there before, that nobody else claims and that is in everything what was asked for is the
-- result: how = "found" (search.lua). Finding nothing proves nothing, for the request may still be
-- under way: then the error is unknown_outcome, with an intent for client:settle later.
--
-- Two calls that could be mistaken for each other, of one account and place, never overlap.
--
-- What is about to be sent is written down before (pending.lua), so that the next call for the same
-- finds out about one whose handler or coroutine died (earlier.lua). The client of an app writes it
-- into the inbox, so that a crash is found out about at the next start (recover.lua).

local core = require "billhook.core"
local json = require "billhook.json"
local answer = require "billhook.call.answer"
local earlier = require "billhook.outcome.earlier"
local exchange = require "billhook.call.exchange"
local pending = require "billhook.outcome.pending"
local places = require "billhook.outcome.place"
local search = require "billhook.outcome.search"

local M = {}

local function new_intent(state, plan)
  return {
    id = plan.caller or core.text.hex(core.text.random(8)), caller = plan.caller,
    vendor = state.vendor.name, account = state.account, operation = plan.operation,
    place = plan.place, params = plan.plain, reference = plan.reference, before = {},
  }
end

-- Written down; false and a fault where that failed, or the place was lost while the process slept.
local function begin(state, plan, intent, token)
  plan.sent_at = math.floor(state.wall() * 1000) / 1000 -- so that it stays a number as JSON
  intent.sent_at = plan.sent_at
  local begun, err = state.claims:begin(intent, token, places.lease(state, plan))
  if begun then
    return true
  end
  return false, err and earlier.unsent(err)
    or { kind = "timeout", sent = false, attempts = 0, message = "the place was lost" }
end

-- --- the call ----------------------------------------------------------------------------------

local function unknown(state, plan, intent, fault, found)
  state.claims:open(intent)
  fault.open, fault.intent, fault.sent_at = true, intent, plan.sent_at
  fault.candidates = search.ids(state, intent, found)
  return nil, fault
end

-- The server says that it was done before: by the call whose outcome is open, then.
local function done_before(state, plan, intent, fault)
  local known = plan.looks.already and fault.code == plan.looks.already
    and state.claims:known(plan.place, {})
  for _, one in ipairs(known and known.open or {}) do
    if one.intent.id ~= intent.id and not one.live then
      return one.intent
    end
  end
end

-- An id that was there before the call is not what the call has made.
local function is_old(intent, id)
  for _, before in ipairs(intent.before) do
    if before == tostring(id) then
      return true
    end
  end
  return false
end

-- An answer is its caller's, whoever else has found what it is about.
local function answered(state, intent, id, value)
  if not state.claims:close(intent, id, value) and id ~= nil then
    state.claims:close(intent, nil, value)
  end
  return value
end

local function after_sending(state, plan, intent, response, outcome)
  local value, fault = nil, outcome
  if response then
    value, fault = answer.read(state, plan, response, outcome)
    if value and plan.answer == "location" and value.id ~= nil then
      value.location = value.location or search.location(state, intent, value.id)
      if is_old(intent, value.id) then
        value.id, value.location = nil, nil
      end
    end
    local id = value and (plan.looks.whole and plan.looks.id(value) or value.id)
    if id ~= nil or value and plan.answer ~= "location" then
      return answered(state, intent, id, value)
    elseif not value then
      fault.attempts, fault.open = plan.attempts_made, true
    end
  else
    local other = done_before(state, plan, intent, fault)
    if other then
      state.claims:close(other)
      intent.before = {}
    elseif not fault.open then
      state.claims:close(intent)
      return nil, fault
    end
  end
  local element, found
  if plan.settle_timeout > 0 then
    element, found = search.search(state, intent, plan.settle_timeout)
  end
  local result = element and earlier.claim(state, intent, element, value and "created" or "found")
  if result then
    return result
  elseif value then
    intent.vague = true -- its id is not known, and must not be taken for another's
    state.claims:close(intent, nil, value)
    return value
  end
  return unknown(state, plan, intent, fault, found or {})
end

-- What is there before the call: a value where that was made before, or nil and a fault; nothing
-- where it is to be sent.
local function look_before(state, plan, intent)
  if plan.settle_timeout == 0 then
    -- without it, what was there before would be taken for the result; a reference tells them apart
    intent.blind = not plan.reference or nil
    return nil
  end
  local list, why = search.look(state, intent, plan.deadline,
    { attempts = plan.attempts, priority = plan.background and "background" or nil })
  if not list then
    why.open = false -- nothing was sent but a question
    return nil, why
  end
  local value, fault = earlier.made(state, plan, intent, list)
  intent.before = search.ids(state, intent, list)
  return value, fault
end

-- Before another attempt: none was carried out so far, so all that is there by now is somebody
-- else's, however long the wait was. A fault where the place was lost in it; or where there is
-- something with the call's reference by now, which is what it gives then (`plan.made`).
local function look_again(state, plan, intent, token)
  local list = plan.settle_timeout > 0
    and search.look(state, intent, plan.deadline, { attempts = 1 }, true)
  if not list then
    return nil
  end
  local value, fault = earlier.made(state, plan, intent, list)
  if value ~= nil or fault then
    plan.made = value
    return fault or { kind = "conflict", message = "it is there already" }
  end
  intent.before = search.ids(state, intent, list)
  local _, why = begin(state, plan, intent, token)
  return why
end

-- What looking will need is set aside first: an answer must not be out of reach for want of quota.
local function set_aside(state, plan)
  exchange.give_back(state)
  if plan.settle_timeout == 0 then
    return true
  end
  local purse, fault = exchange.reserve(state, plan, search.looks + 2, plan.settle_timeout)
  state.purse = purse or {}
  return purse ~= nil, fault
end

local function alone(state, plan, token)
  local fine, value, fault, begun
  fine, fault = set_aside(state, plan)
  if not fine then
    return nil, fault
  end
  value, fault = earlier.found(state, plan, true)
  if value ~= nil or fault then
    return value, fault
  end
  local intent = new_intent(state, plan)
  fine, fault = set_aside(state, plan) -- looking for an earlier one has spent some
  if not fine then
    return nil, fault
  end
  value, fault = look_before(state, plan, intent)
  if value ~= nil or fault then
    return value, fault
  end
  begun, fault = begin(state, plan, intent, token)
  if not begun then
    return nil, fault
  end
  plan.again = function() return look_again(state, plan, intent, token) end
  local response, outcome = exchange.run(state, plan, "request")
  if plan.made ~= nil then
    return plan.made
  end
  return after_sending(state, plan, intent, response, outcome)
end

-- The state of one call: with its purse, and with what is known about the account.
local function state_for(state, plan)
  local book, err = pending.of(state)
  if not book then
    return nil, earlier.unsent(err)
  end
  return setmetatable({ claims = book, purse = {}, traceparent = plan and plan.traceparent },
    { __index = state })
end

-- What the call is done to: as the vendor looks it up, or by its path.
local function place_of(state, plan)
  local rules = state.vendor.looks[plan.operation]
  return (rules and rules.family or plan.operation) .. " " .. (rules and rules.place(plan.plain)
    or plan.url:match("^%a+://[^/]+([^?]*)"))
end

--- Can the outcome of this call be looked up? Where nobody wants to (settle_timeout = 0), it is
-- still one of those that could be mistaken for each other.
function M.can(state, plan)
  local rules = not plan.idempotent and state.vendor.looks[plan.operation]
  return rules and rules.place(plan.plain) ~= nil
end

--- Carries out a call that must not happen twice: a value, or nil and a fault.
function M.carry_out(state, plan)
  plan.looks = state.vendor.looks[plan.operation]
  plan.place = place_of(state, plan)
  plan.caller = earlier.name(plan)
  plan.deadline = state.now() + plan.timeout
  local fault
  state, fault = state_for(state, plan)
  if not state then
    return nil, fault
  end
  local value
  value, fault = places.within(state, plan, plan.place, alone)
  return value, fault
end

-- Written down, and sent by plan.send.
local function noted(state, plan, token)
  local value, fault = earlier.found(state, plan, token ~= nil)
  if value ~= nil or fault then
    return value, fault
  end
  local intent = new_intent(state, plan)
  intent.blind = true
  local begun, why = begin(state, plan, intent)
  if not begun then
    return nil, why
  end
  local fine
  fine, value, fault = places.guarded(plan.send, state, plan)
  if not fine then
    state.claims:abandon(intent)
    error(value, 0)
  elseif value == nil and fault.open then
    state.claims:open(intent)
    fault.intent = intent
  else
    state.claims:close(intent, nil, value)
  end
  return value, fault
end

--- Carries out, by `send`, one that can't be looked up: written down all the same. It can't be
-- mistaken for another one, but where it is torn, it is not to be sent again: so the same one waits
-- for it. The processes of an app need not, for they know which of them are gone.
function M.note(state, plan, send)
  local fault
  plan.deadline = state.now() + plan.timeout
  state, fault = state_for(state, plan)
  if not state then
    return nil, fault
  end
  plan.place = place_of(state, plan)
  plan.caller = earlier.name(plan)
  plan.send = send
  local value
  if state.claims.overlaps then
    value, fault = noted(state, plan)
  else
    value, fault = places.within(state, plan, plan.place .. " "
      .. core.text.sha256(json.encode(plan.plain)):sub(1, 16), noted)
  end
  return value, fault
end

-- --- later -------------------------------------------------------------------------------------

-- What another process has found out about this intent meanwhile, given to nobody yet.
local function kept_for(state, intent)
  local known = state.claims:known(intent.place, {})
  for _, one in ipairs(known and known.open or {}) do
    if one.intent.id == intent.id and one.result ~= nil then
      state.claims:close(intent, nil, one.result, true)
      return one.result
    end
  end
end

--- Looks again at a call whose outcome was unknown.
---@return any value
---@return table? fault
function M.again(state, intent, settle_timeout)
  local rules = state.vendor.looks[intent.operation]
  if not (rules and settle_timeout > 0 and intent.place) or intent.blind then
    return earlier.unknown(intent, "there is no way to look it up")
  end
  local fault
  state, fault = state_for(state)
  if not state then
    return nil, fault
  end
  local value = kept_for(state, intent)
  if value then
    return answer.tag(state, { invoices = rules.whole }, value)
  end
  local element, found = search.search(state, intent, settle_timeout)
  value = element and earlier.claim(state, intent, element, "found", true)
  if value then
    return value
  end
  return earlier.unknown(intent, "nothing was found that is without doubt it",
    search.ids(state, intent, found or {}))
end

return M

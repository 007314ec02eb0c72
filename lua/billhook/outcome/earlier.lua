--- What was asked for before: a call that repeats another gets the other's result.
--
-- One with a reference finds the invoice that has it. One that asks for the same as a call that was
-- torn (its process killed, its handler, its coroutine) finds out about that: it gets its result,
-- or the error that it is still unknown. Nothing is sent then. Only where it is so long ago that
-- nothing will come of it any more is the call carried out. In an app, a call of a rule that runs
-- once more gets the result that it got the first time, too.
--
-- Where the caller was told that the outcome is unknown, and asks for the same again, an app, and a
-- call with a reference, find what came of it, and send nothing before an hour has passed. Others
-- want another one: they have been told, and have `client:settle` for the first.

local answer = require "billhook.call.answer"
local caller = require "billhook.call.caller"
local json = require "billhook.json"
local pending = require "billhook.outcome.pending"
local search = require "billhook.outcome.search"

local M = {}

--- The fault of a call that was not sent, for its store failed.
function M.unsent(err)
  return { kind = err.kind, code = err.code, message = err.message, retryable = err.retryable,
    sent = false, attempts = 0 }
end

--- The result of an intent whose element was found: nil where that belongs to another one. `kept`:
-- whoever asks about this intent once more is to be told the same.
function M.claim(state, intent, element, how, kept)
  local value = search.result(state, intent, element, how)
  return state.claims:close(intent, search.id(state, intent, element), value, kept) and value or nil
end

--- Has an open intent come to nothing? So it has where nothing like it can be seen after so long a
-- time; what can't be looked up, a person has seen to by then.
---@param found table[]? the candidates; nil: nobody could look
function M.is_nothing(state, one, found)
  if state.vendor.looks[one.intent.operation] and not one.intent.blind then
    return found ~= nil and #found == 0 and one.age > pending.OPEN_FOR
  end
  return one.age > pending.BLIND_FOR
end

--- What tells a call from others: for a rule that runs again, and for nobody in particular.
function M.name(plan)
  return caller.name_of(plan.place .. "\n" .. json.encode(plan.plain))
end

-- The error that the reference of a call is another invoice's already.
local function taken(state, intent, list)
  local ids = search.ids(state, intent, list)
  local message = #ids == 1
    and ("%s has this reference already and differs from what was asked for"):format(ids[1])
    or ("there are %d with this reference already"):format(#ids)
  return { kind = "conflict", attempts = 0, sent = false, candidates = ids,
    message = message .. ": nothing was sent" }
end

--- What has the reference already is what is asked for: an earlier run of the caller made it. What
-- has it and differs stands in the way, for one reference is one invoice. Gives nothing where there
-- is none.
function M.made(state, plan, intent, list)
  local named = {}
  for _, element in ipairs(plan.reference and list or {}) do
    if search.refers(state, intent, element) then
      named[#named + 1] = element
    end
  end
  if #named == 0 then
    return nil
  elseif #named == 1 and search.fits(state, intent, named[1]) then
    local value = search.result(state, intent, named[1], "found")
    state.claims:close(intent, search.id(state, intent, named[1]), value)
    return value
  end
  return nil, taken(state, intent, named)
end

--- The error of an intent whose outcome is still unknown.
function M.unknown(intent, message, candidates)
  return nil, { kind = "unknown_outcome", attempts = 0, message = message, intent = intent,
    sent_at = intent.sent_at, candidates = candidates }
end

local function duration(seconds)
  seconds = math.max(0, seconds)
  return seconds < 120 and ("%.0f s"):format(seconds) or ("%.0f minutes"):format(seconds / 60)
end

-- The error that is given for an earlier call: what is waited for, and for how long.
local function still_unknown(state, plan, one, found, looked)
  local most = looked and pending.OPEN_FOR or pending.BLIND_FOR
  return M.unknown(one.intent, ("an earlier call %s, and what became of it is unknown: nothing was"
    .. " sent. The earlier one was sent %s ago; %s, and none is sent for another %s"):format(
    plan.reference and "had this reference" or "asked for the same", duration(one.age),
    looked and "each call for the same looks for it" or "it can't be looked up",
    duration(most - one.age)), found and search.ids(state, one.intent, found))
end

-- Amounts may be spelled in several ways.
local function text_of(plan, params)
  return json.encode(plan.looks and plan.looks.normal and plan.looks.normal(params) or params)
end

-- What was found has the plan's reference, but is it what was asked for this time?
local function given(state, plan, intent, element)
  local asked = { operation = plan.operation, params = plan.plain, reference = plan.reference }
  if plan.reference and not search.fits(state, asked, element) then
    state.claims:close(intent, search.id(state, intent, element),
      search.result(state, intent, element, "found"), true)
    return nil, taken(state, intent, { element })
  end
  return M.claim(state, intent, element, "found")
end

-- One earlier call that asked for the same and is nobody's any more: its result; nil and a fault
-- while that is unknown; or nothing, where it came to nothing.
local function adopt(state, plan, one)
  local intent = one.intent
  if one.result ~= nil then
    if intent.id ~= plan.caller and plan.reference
      and text_of(plan, intent.params) ~= text_of(plan, plan.plain) then
      return nil -- another one's, for something else: the look before sending finds it
    end
    state.claims:close(intent, nil, one.result)
    return answer.tag(state, plan, one.result)
  end
  if one.told and not plan.caller and not plan.reference then
    return nil
  end
  local looked = plan.looks ~= nil and not intent.blind
  local found
  if looked and plan.settle_timeout > 0 then
    local element
    element, found = search.search(state, intent, plan.settle_timeout)
    if element then
      local value, fault = given(state, plan, intent, element)
      if value ~= nil or fault then
        return value, fault
      end
    end
  end
  if M.is_nothing(state, one, found) then
    state.claims:close(intent)
    return nil
  end
  return still_unknown(state, plan, one, found, looked)
end

local function is_same(plan, intent)
  if intent.operation ~= plan.operation then
    return false
  end
  local mine, other = plan.reference, intent.reference
  if mine and other and mine.field == other.field and mine.value == other.value then
    return true -- whoever asks, and for whatever
  elseif plan.caller or intent.caller then
    return plan.caller == intent.caller
  end
  return not intent.vague and not mine and not other and intent.params ~= nil
    and text_of(plan, intent.params) == text_of(plan, plan.plain)
end

--- What became of earlier calls that asked for the same as this plan: a value, or nil and a fault,
-- or nothing where there is none. `alone`: nobody else can be at it now, whatever its lease says.
function M.found(state, plan, alone)
  local known, err = state.claims:known(plan.place, {}, nil, true)
  if not known then
    return nil, M.unsent(err)
  end
  for _, one in ipairs(known.open) do
    if (alone or not one.live) and is_same(plan, one.intent) then
      local value, fault = adopt(state, plan, one)
      if value ~= nil or fault then
        return value, fault
      end
    end
  end
end

return M

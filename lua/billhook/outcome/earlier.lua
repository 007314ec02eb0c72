--- What was asked for before: a call that repeats another gets the other's result.
--
-- One with a reference finds the invoice that has it. And in an app, a call of a rule that runs
-- once more gets the result that it got the first time; and where the outcome of that was open,
-- finds out about it: it gets its result, or the error that it is still unknown. Nothing is sent
-- then. Only where it is so long ago that nothing will come of it any more is the call carried out.

local answer = require "billhook.call.answer"
local caller = require "billhook.call.caller"
local claims = require "billhook.outcome.claims"
local json = require "billhook.json"
local search = require "billhook.outcome.search"

local M = {}

-- What can't be looked up is not repeated by an app within this time.
local BLIND_FOR = 86400

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
    return found ~= nil and #found == 0 and one.age > claims.OPEN_FOR
  end
  return one.age > BLIND_FOR
end

--- What tells a call from others: for a rule that runs again, and for nobody in particular.
function M.name(plan)
  return caller.name_of(plan.place .. "\n" .. json.encode(plan.plain))
end

--- What has the reference already is what is asked for: an earlier run of the caller made it. Gives
-- nothing where there is none.
function M.made(state, plan, intent, list)
  if not plan.reference then
    return nil
  end
  local same = {}
  for _, element in ipairs(list) do
    if search.fits(state, intent, element) then
      same[#same + 1] = element
    end
  end
  if #same == 1 then
    local value = search.result(state, intent, same[1], "found")
    state.claims:close(intent, search.id(state, intent, same[1]), value)
    return value
  elseif #same > 1 then
    return nil, { kind = "conflict", attempts = 0, candidates = search.ids(state, intent, same),
      message = ("there are %d with this reference already"):format(#same) }
  end
end

--- The error of an intent whose outcome is still unknown.
function M.unknown(intent, message, candidates)
  return nil, { kind = "unknown_outcome", attempts = 0, message = message, intent = intent,
    sent_at = intent.sent_at, candidates = candidates }
end

-- One earlier call that asked for the same and is nobody's any more: its result; nil and a fault
-- while that is unknown; or nothing, where it came to nothing.
local function adopt(state, plan, one)
  local intent = one.intent
  if one.result ~= nil then
    state.claims:close(intent, nil, one.result)
    return answer.tag(state, plan, one.result)
  end
  local found
  if plan.looks and not intent.blind then
    local element
    element, found = search.search(state, intent, plan.settle_timeout)
    local value = element and M.claim(state, intent, element, "found")
    if value then
      return value
    end
  end
  if M.is_nothing(state, one, found) then
    state.claims:close(intent)
    return nil
  end
  return M.unknown(intent, "an earlier call asked for the same, and what became of it is"
    .. " unknown: nothing was sent", found and search.ids(state, intent, found))
end

local function is_same(plan, intent)
  if plan.caller then
    return plan.caller == intent.caller
  end
  return not intent.caller and not intent.vague and intent.operation == plan.operation
    and intent.params ~= nil and json.encode(intent.params) == json.encode(plan.plain)
end

--- What became of earlier calls that asked for the same as this plan: a value, or nil and a fault,
-- or nothing where there is none.
function M.found(state, plan)
  if not state.claims.adopts then
    return nil
  end
  local known, err = state.claims:known(plan.place, {}, state.wall())
  if not known then
    return nil, M.unsent(err)
  end
  for _, one in ipairs(known.open) do
    if not one.live and is_same(plan, one.intent) then
      local value, fault = adopt(state, plan, one)
      if value ~= nil or fault then
        return value, fault
      end
    end
  end
end

return M

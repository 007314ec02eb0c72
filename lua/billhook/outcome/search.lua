--- Looking for the result of a call whose answer never came.
--
-- How to look belongs to the vendor (`looks` of billhook.vendor.*): { list = operation, params =
-- the parameters of the list from those of the call, place, family = what the calls of one place
-- have in common if not their name, matches = function(sent, candidate), id = function, refers =
-- function(field's text, reference), normal = function(sent): spelled in one way }. What was
-- not there before, what nobody else claims, and what is in everything what was asked for, is the
-- result. A call with a reference is matched by that too.
--
-- A state is a client's with `claims` in it; an intent is pending.lua's.

local core = require "billhook.core"
local answer = require "billhook.call.answer"
local each = require "billhook.call.each"
local exchange = require "billhook.call.exchange"
local pending = require "billhook.outcome.pending"
local plans = require "billhook.call.plan"

local M = {}

-- When to look, in parts of the time: soon, for most outcomes are decided by then; late, for a
-- server that is slow to commit; the last one leaves time for its own answer.
local moments = { 0.04, 0.16, 0.4, 0.8 }
local last = moments[#moments]

--- So many looks at most.
M.looks = #moments

local function rules_of(state, intent)
  return state.vendor.looks[intent.operation]
end

-- Every element of a list, of all its pages.
local function elements(state, plan)
  if not plan.paged then
    local response, outcome = exchange.run(state, plan, "request")
    if not response then
      return nil, outcome
    end
    return answer.elements(state, plan, response)
  end
  local list, next_page = {}, each.pages(state, plan)
  while true do
    local page, fault = next_page()
    if not page then
      return not fault and list or nil, fault
    end
    for _, element in ipairs(page) do
      list[#list + 1] = element
    end
  end
end

--- The list of a place. One that has anything without an id in it is none: it may be a failure that
-- calls itself a success, and what is not seen before a call would be taken for its result.
---@param unkept boolean? with slots of its own, not those that were set aside
---@return table[]? list
---@return table? fault
function M.look(state, intent, deadline, settings, unkept)
  local rules = rules_of(state, intent)
  settings.traceparent = state.traceparent
  local plan = plans.make(state, rules.list, rules.params(intent.params), settings, 2)
  plan.deadline, plan.invoices, plan.unkept = deadline, false, unkept
  local list, fault = elements(state, plan)
  for _, element in ipairs(list or {}) do
    if type(element) ~= "table" or rules.id(element) == nil then
      list, fault = nil, { kind = "decode", message = "the list has something without an id in it" }
      break
    end
  end
  if fault then
    fault.attempts = plan.attempts_made
  end
  return list, fault
end

--- Their ids, as text.
function M.ids(state, intent, list)
  local ids = {}
  for _, element in ipairs(list) do
    ids[#ids + 1] = tostring(rules_of(state, intent).id(element))
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

--- Has this element the intent's reference?
function M.refers(state, intent, element)
  local reference = intent.reference
  return reference ~= nil
    and rules_of(state, intent).refers(element[reference.field], reference.value)
end

--- Is this element, by all that it says, what the intent asked for?
function M.fits(state, intent, element)
  if intent.reference and not M.refers(state, intent, element) then
    return false
  end
  return rules_of(state, intent).matches(intent.params, element)
end

-- Those of a list that fit, were not there before, and have no owner. One that is listed twice is
-- one all the same.
local function candidates(state, intent, list, known)
  local seen, out = set_of(intent.before), {}
  for i, id in ipairs(M.ids(state, intent, list)) do
    if not seen[id] and M.fits(state, intent, list[i]) and not (known and known.owned[id]) then
      seen[id] = true
      out[#out + 1] = list[i]
    end
  end
  return out
end

-- Another call whose outcome is open too may have made it: whose is it?
local function contested(state, intent, element, known)
  local id = tostring(rules_of(state, intent).id(element))
  for _, other in ipairs(known.open) do
    local open = other.result == nil or other.intent.vague and other.age <= pending.OPEN_FOR
    if open and other.intent.id ~= intent.id
      and M.fits(state, other.intent, element) and not set_of(other.intent.before)[id] then
      return true
    end
  end
  return false
end

-- One look: the candidates, and the one among them that is it without doubt; nil where it failed.
local function once(state, intent, deadline)
  local list = M.look(state, intent, deadline, { attempts = 1 })
  local found = list and candidates(state, intent, list)
  if not found or #found == 0 then
    return found
  end
  local known = state.claims:known(intent.place, M.ids(state, intent, found), intent.id)
  if not known then
    return nil
  end
  found = candidates(state, intent, found, known)
  if #found == 1 and not contested(state, intent, found[1], known) then
    return found, found[1]
  end
  return found
end

--- Looks until the same one was there alone twice running, or when time was up: the first one to be
-- seen may be somebody else's, while ours is still under way. Gives the element, or nil and the
-- candidates, or nil where nobody could look.
---@param seconds number
function M.search(state, intent, seconds)
  local began, found, before = state.now(), nil, nil
  local id_of = rules_of(state, intent).id
  for _, moment in ipairs(moments) do
    exchange.pause(state, math.max(0, began + moment * seconds - state.now()))
    -- one that hangs leaves the last one its time
    local till = moment == last and 1 or last
    local seen, one = once(state, intent, began + till * seconds)
    if seen then
      found = seen
      if one and before and id_of(one) == id_of(before) then
        return one
      end
      before = one
    end
  end
  return before, found
end

--- The path of what has this id.
function M.location(state, intent, id)
  local rules = rules_of(state, intent)
  return core.call.prepare(state.vendor.name, rules.read, rules.read_params(id, intent.params),
    state.options.paths).path
end

--- What the caller gets for an element that was found.
function M.result(state, intent, element, how)
  local rules = rules_of(state, intent)
  if rules.whole then
    return answer.tag(state, { invoices = true }, element)
  end
  local id = rules.id(element)
  return { id = id, location = M.location(state, intent, id), how = how }
end

--- The id of an element.
function M.id(state, intent, element)
  return rules_of(state, intent).id(element)
end

return M

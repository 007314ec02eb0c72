--- Looking for what a call has made: one whose answer never came, or an earlier one for the same.
--
-- How to look belongs to the vendor (`looks` of billhook.vendor.*): { list = operation, params =
-- the parameters of the list from those of the call, place, family = what the calls of one place
-- have in common if not their name, matches = function(sent, candidate), id = function, refers =
-- function(field's text, reference), normal = function(sent): spelled in one way, whole = the
-- element is the result, already = the code of an error that says that it was done before }. What
-- was not there before, what nobody else claims, and what is in everything what was asked for, is
-- the result. A call with a reference is matched by that too.
--
-- A call is { account, doors, claims, purse } of once/init.lua, and `request`, `place`, `caller`
-- where there is one under way; an intent is pending.lua's.

local errors = require "billhook.error"
local json = require "billhook.json"
local pending = require "billhook.once.pending"

local M = {}

-- When to look, in parts of the time: soon, for most outcomes are decided by then; late, for a
-- server that is slow to commit; the last one leaves time for its own answer.
local moments = { 0.04, 0.16, 0.4, 0.8 }
local last = moments[#moments]

--- So many looks at most.
M.looks = #moments

local function looks_of(call, intent) return call.account.vendor.looks[intent.operation] end

--- The list of a place. One that has anything without an id in it is none: it may be a failure that
-- calls itself a success, and what is not seen before a call would be taken for its result.
---@param settings table options of that request
---@param purse table? slots that were set aside for it
---@return table[]? list
---@return table? err
function M.look(call, intent, deadline, settings, purse)
  local looks = looks_of(call, intent)
  settings.traceparent = call.request and call.request.traceparent
  local list, err = call.doors.look(call.account, looks.list, looks.params(intent.params), settings,
    { deadline = deadline, purse = purse })
  for _, element in ipairs(list or {}) do
    if type(element) ~= "table" or looks.id(element) == nil then
      return nil, { kind = "decode", message = "the list has something without an id in it" }
    end
  end
  return list, err
end

--- The id of an element.
function M.id(call, intent, element) return looks_of(call, intent).id(element) end

--- Their ids, as text.
function M.ids(call, intent, list)
  local ids = {}
  for i, element in ipairs(list or {}) do ids[i] = tostring(M.id(call, intent, element)) end
  return ids
end

local function set_of(list)
  local set = {}
  for _, value in ipairs(list) do set[value] = true end
  return set
end

local function refers(call, intent, element)
  local reference = intent.reference
  return reference ~= nil
    and looks_of(call, intent).refers(element[reference.field], reference.value)
end

-- Is this element, by all that it says, what the intent asked for?
local function fits(call, intent, element)
  return (not intent.reference or refers(call, intent, element))
    and looks_of(call, intent).matches(intent.params, element)
end

--- What the caller gets for an element that was found.
function M.result(call, intent, element, how)
  local looks = looks_of(call, intent)
  if looks.whole then return call.doors.tag(call.account, element) end
  local id = looks.id(element)
  return { id = id, location = M.location(call, intent, id), how = how }
end

--- The path of what has this id.
function M.location(call, intent, id)
  local looks = looks_of(call, intent)
  return call.doors.path(call.account, looks.read, looks.read_params(id, intent.params))
end

-- --- after a call ------------------------------------------------------------------------------

-- Those of a list that fit, were not there before, and have no owner. One that is listed twice is
-- one all the same.
local function candidates(call, intent, list, known)
  local seen, out = set_of(intent.before), {}
  for i, id in ipairs(M.ids(call, intent, list)) do
    if not seen[id] and fits(call, intent, list[i]) and not (known and known.owned[id]) then
      seen[id] = true
      out[#out + 1] = list[i]
    end
  end
  return out
end

-- Another call whose outcome is open too may have made it: whose is it?
local function is_contested(call, intent, element, known)
  local id = tostring(M.id(call, intent, element))
  for _, other in ipairs(known.open) do
    local open = other.result == nil or other.intent.vague and other.age <= pending.OPEN_FOR
    if open and other.intent.id ~= intent.id
      and fits(call, other.intent, element) and not set_of(other.intent.before)[id] then
      return true
    end
  end
  return false
end

-- One look: the candidates, and the one among them that is it without doubt; nil where it failed.
local function look_once(call, intent, deadline)
  local list = M.look(call, intent, deadline, { attempts = 1 }, call.purse)
  local found = list and candidates(call, intent, list)
  if not found or #found == 0 then return found end
  local known = call.claims:known(intent.place, M.ids(call, intent, found), intent.id)
  if not known then return nil end
  found = candidates(call, intent, found, known)
  local sure = #found == 1 and not is_contested(call, intent, found[1], known)
  return found, sure and found[1] or nil
end

--- Looks until the same one was there alone twice running, or when time was up: the first one to be
-- seen may be somebody else's, while ours is still under way. Gives the element, or nil and the
-- candidates, or nil where nobody could look.
---@param seconds number
function M.search(call, intent, seconds)
  local account = call.account
  local began, found, before, before_id = account.now(), nil, nil, nil
  for _, moment in ipairs(moments) do
    account.transport:sleep(math.max(0, began + moment * seconds - account.now()))
    -- one that hangs leaves the last one its time
    local till = moment == last and 1 or last
    local seen, one = look_once(call, intent, began + till * seconds)
    if seen then
      found = seen
      local id = one and M.id(call, intent, one)
      if id and id == before_id then return one end
      before, before_id = one, id
    end
  end
  return before, found
end

--- The result of an intent whose element was found: nil where that belongs to another one. `kept`:
-- whoever asks about this intent once more is to be told the same.
function M.claim(call, intent, element, how, kept)
  local value = M.result(call, intent, element, how)
  return call.claims:close(intent, M.id(call, intent, element), value, kept) and value or nil
end

--- Has an open intent come to nothing? So it has where nothing like it can be seen after so long a
-- time; what can't be looked up, a person has seen to by then.
---@param found table[]? the candidates; nil: nobody could look
function M.is_nothing(call, one, found)
  if looks_of(call, one.intent) and not one.intent.blind then
    return found ~= nil and #found == 0 and one.age > pending.OPEN_FOR
  end
  return one.age > pending.BLIND_FOR
end

-- --- before a call -----------------------------------------------------------------------------

-- The error that the reference of a call is another invoice's already.
local function taken(call, intent, list)
  local ids = M.ids(call, intent, list)
  local message = #ids == 1
    and ("%s has this reference already and differs from what was asked for"):format(ids[1])
    or ("there are %d with this reference already"):format(#ids)
  return { kind = "conflict", attempts = 0, sent = false, candidates = ids,
    message = message .. ": nothing was sent" }
end

--- What has the reference already is what is asked for: an earlier run of the caller made it. What
-- has it and differs stands in the way, for one reference is one invoice. Gives nothing where there
-- is none.
function M.made(call, intent, list)
  local named = {}
  for _, element in ipairs(list) do
    if refers(call, intent, element) then named[#named + 1] = element end
  end
  if #named == 0 then return nil end
  if #named > 1 or not fits(call, intent, named[1]) then return nil, taken(call, intent, named) end
  local value = M.result(call, intent, named[1], "found")
  call.claims:close(intent, M.id(call, intent, named[1]), value)
  return value
end

--- The error of an intent whose outcome is still unknown.
function M.unknown(intent, message, ids)
  return nil, { kind = "unknown_outcome", attempts = 0, message = message, intent = intent,
    sent_at = intent.sent_at, candidates = ids }
end

local function duration(seconds)
  seconds = math.max(0, seconds)
  return seconds < 120 and ("%.0f s"):format(seconds) or ("%.0f minutes"):format(seconds / 60)
end

-- The error that is given for an earlier call: what is waited for, and for how long.
local function still_unknown(call, one, found, looked)
  local most = looked and pending.OPEN_FOR or pending.BLIND_FOR
  return M.unknown(one.intent, ("an earlier call %s, and what became of it is unknown: nothing was"
    .. " sent. The earlier one was sent %s ago; %s, and none is sent for another %s"):format(
    call.request.reference and "had this reference" or "asked for the same", duration(one.age),
    looked and "each call for the same looks for it" or "it can't be looked up",
    duration(most - one.age)), found and M.ids(call, one.intent, found))
end

-- Amounts may be spelled in several ways.
local function text_of(call, params)
  local looks = call.account.vendor.looks[call.request.name]
  return json.encode(looks and looks.normal and looks.normal(params) or params)
end

local function asks_the_same(call, intent)
  return text_of(call, intent.params) == text_of(call, call.request.plain)
end

local function is_same(call, intent)
  local request = call.request
  if intent.operation ~= request.name then return false end
  local mine, other = request.reference, intent.reference
  if mine and other and mine.field == other.field and mine.value == other.value then
    return true -- whoever asks, and for whatever
  elseif call.caller or intent.caller then
    return call.caller == intent.caller
  end
  return not intent.vague and not mine and not other and intent.params ~= nil
    and asks_the_same(call, intent)
end

-- What was found has the call's reference, but is it what was asked for this time?
local function given(call, intent, element)
  local request = call.request
  local asked = { operation = request.name, params = request.plain, reference = request.reference }
  if request.reference and not fits(call, asked, element) then
    M.claim(call, intent, element, "found", true)
    return nil, taken(call, intent, { element })
  end
  return M.claim(call, intent, element, "found")
end

-- One earlier call that asked for the same and is nobody's any more: its result; nil and an error
-- while that is unknown; or nothing, where it came to nothing.
local function adopt(call, one)
  local intent, request = one.intent, call.request
  if one.result ~= nil then
    if intent.id ~= call.caller and request.reference and not asks_the_same(call, intent) then
      return nil -- another one's, for something else: the look before sending finds it
    end
    call.claims:close(intent, nil, one.result)
    return call.doors.tag(call.account, one.result, request)
  elseif one.told and not call.caller and not request.reference then
    return nil
  end
  local looked = looks_of(call, intent) ~= nil and not intent.blind
  local element, found
  if looked and request.settle_timeout > 0 then
    element, found = M.search(call, intent, request.settle_timeout)
    if element then
      local value, err = given(call, intent, element)
      if value ~= nil or err then return value, err end
    end
  end
  if not M.is_nothing(call, one, found) then return still_unknown(call, one, found, looked) end
  call.claims:close(intent)
  return nil
end

--- What became of earlier calls that asked for the same: a value, or nil and an error, or nothing
-- where there is none. One with a reference finds the invoice that has it. One that asks for the
-- same as a call that was torn (its process killed, its handler, its coroutine) finds out about
-- that: nothing is sent then. Only where it is so long ago that nothing will come of it any more is
-- the call carried out. In an app, a call of a rule that runs once more gets the result that it got
-- the first time, too.
--
-- Where the caller was told that the outcome is unknown, and asks for the same again, an app, and a
-- call with a reference, find what came of it, and send nothing before an hour has passed. Others
-- want another one: they have been told, and have `client:settle` for the first.
---@param alone boolean nobody else can be at it now, whatever its lease says
function M.earlier(call, alone)
  local known, err = call.claims:known(call.place, {}, nil, true)
  if not known then return nil, errors.unsent(err) end
  for _, one in ipairs(known.open) do
    if (alone or not one.live) and is_same(call, one.intent) then
      local value, why = adopt(call, one)
      if value ~= nil or why then return value, why end
    end
  end
end

return M

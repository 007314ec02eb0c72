--- Calls that must not happen twice: finds out the outcome of a call whose answer was lost.
--
-- Before such a call, the ids in its place are listed. Afterwards, if the outcome is unknown, they
-- are listed again, two to four times with growing pauses within `settle_timeout`. A new id that no
-- other call claims, and that matches the request in everything, is the result: how = "found". If
-- there is none, that proves nothing, because the request may still be on its way: then the error
-- is unknown_outcome, with an intent for client:settle later.
--
-- Two calls that could be mistaken for each other, of one account and place, never overlap.
--
-- A call is stored before it is sent (pending.lua), so that the next call for the same place finds
-- out about one whose handler or coroutine died. The client of an app stores it in the inbox, so
-- that a crash is noticed at the next start.
--
-- This file does not depend on how a call is sent. It gets functions for that:
--
--   doors.send(account, request, how) -> value, or nil and an error; how: { deadline, purse, again
--       = what comes before another attempt, and ends the call where it gives an error; attempts,
--       which is counted there }
--   doors.look(account, operation, params, settings, how) -> the elements of a list, or nil, err
--   doors.reserve(account, request, count, deadline, beyond) -> purse, or nil and an error
--   doors.give_back(account, purse)
--   doors.path(account, operation, params) -> where what was made is
--   doors.tag(account, value, request) -> value

local caller = require "billhook.caller"
local core = require "billhook.core"
local errors = require "billhook.error"
local json = require "billhook.json"
local pending = require "billhook.once.pending"
local pulse = require "billhook.shared.pulse"

local M = {}

-- Waiting for another call of the same place: the first and the longest turn, in seconds.
local TURN, LONGEST_TURN = 0.02, 0.25

-- So much longer than its call is a place held, and an intent its process's.
local MARGIN = 5

-- In nginx a handler may be killed: what it holds is renewed while it lives.
local IN_NGINX = pulse.in_nginx()
local function can_renew() return IN_NGINX and pulse.can() end

-- --- looking -----------------------------------------------------------------------------------

-- How to look belongs to the vendor (`looks` of billhook.vendor.*): { list = operation, params =
-- the parameters of the list from those of the call, place, family = what the calls of one place
-- have in common if not their name, matches = function(sent, candidate), id = function, refers =
-- function(field's text, reference), normal = function(sent): spelled in one way, whole = the
-- element is the result, already = the code of an error that says that it was done before }. What
-- was not there before, what nobody else claims, and what is in everything what was asked for, is
-- the result. A call with a reference is matched by that too.

-- When to look, in parts of the time: soon, for most outcomes are decided by then; late, for a
-- server that is slow to commit; the last one leaves time for its own answer.
local moments = { 0.04, 0.16, 0.4, 0.8 }
local last = moments[#moments]

local function looks_of(call, intent) return call.account.vendor.looks[intent.operation] end

local function can_look(call, intent) return looks_of(call, intent) and not intent.blind end

-- The list of a place. One that has anything without an id in it is none: it may be a failure that
-- calls itself a success, and what is not seen before a call would be taken for its result.
---@param settings table options of that request
---@param purse table? slots that were set aside for it
---@return table[]? list
---@return table? err
local function look(call, intent, deadline, settings, purse)
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

-- The id of an element.
local function id_of(call, intent, element) return looks_of(call, intent).id(element) end

-- Their ids, as text.
local function ids_of(call, intent, list)
  local ids = json.array {}
  for i, element in ipairs(list or {}) do ids[i] = tostring(id_of(call, intent, element)) end
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

-- The path of what has this id.
local function location_of(call, intent, id)
  local looks = looks_of(call, intent)
  return call.doors.path(call.account, looks.read, looks.read_params(id, intent.params))
end

-- What the caller gets for an element that was found.
local function result_of(call, intent, element, how)
  local looks = looks_of(call, intent)
  if looks.whole then return call.doors.tag(call.account, element) end
  local id = looks.id(element)
  return { id = id, location = location_of(call, intent, id), how = how }
end

-- --- after a call ------------------------------------------------------------------------------

-- Those of a list that fit, were not there before, and have no owner. One that is listed twice is
-- one all the same.
local function candidates(call, intent, list, known)
  local seen, out = set_of(intent.before), {}
  for i, id in ipairs(ids_of(call, intent, list)) do
    if not seen[id] and fits(call, intent, list[i]) and not (known and known.owned[id]) then
      seen[id] = true
      out[#out + 1] = list[i]
    end
  end
  return out
end

-- Another call whose outcome is open too may have made it: whose is it?
local function is_contested(call, intent, element, known)
  local id = tostring(id_of(call, intent, element))
  for _, other in ipairs(known.open) do
    if other.result == nil and other.intent.id ~= intent.id
      and fits(call, other.intent, element) and not set_of(other.intent.before)[id] then
      return true
    end
  end
  return false
end

-- One look: the candidates, and the one among them that is it without doubt; nil where it failed.
local function look_once(call, intent, deadline)
  local list = look(call, intent, deadline, { attempts = 1 }, call.purse)
  local found = list and candidates(call, intent, list)
  if not found or #found == 0 then return found end
  local known = call.claims:known(intent.place, ids_of(call, intent, found), intent.id)
  if not known then return nil end
  found = candidates(call, intent, found, known)
  local sure = #found == 1 and not is_contested(call, intent, found[1], known)
  return found, sure and found[1] or nil
end

-- Looks until the same one was there alone twice running, or when time was up: the first one to be
-- seen may be somebody else's, while ours is still under way. Gives the element, or nil and the
-- candidates, or nil where nobody could look.
---@param seconds number
local function search(call, intent, seconds)
  local account = call.account
  local began, found, before = account.now(), nil, nil
  for _, moment in ipairs(moments) do
    account.transport:sleep(math.max(0, began + moment * seconds - account.now()))
    -- one that hangs leaves the last one its time
    local till = moment == last and 1 or last
    local seen, one = look_once(call, intent, began + till * seconds)
    if seen then
      local again = one and before
        and id_of(call, intent, one) == id_of(call, intent, before)
      if again then return one end
      found, before = seen, one
    end
  end
  return before, found
end

-- The result of an intent whose element was found: nil where that belongs to another one. `kept`:
-- whoever asks about this intent once more is to be told the same.
local function claim(call, intent, element, how, kept)
  local value = result_of(call, intent, element, how)
  return call.claims:close(intent, id_of(call, intent, element), value, kept) and value or nil
end

-- Has an open intent come to nothing? So it has where nothing like it can be seen after so long a
-- time; what can't be looked up, a person has seen to by then.
---@param found table[]? the candidates; nil: nobody could look
local function is_nothing(call, one, found)
  if can_look(call, one.intent) then
    return found ~= nil and #found == 0 and one.age > pending.OPEN_FOR
  end
  return one.age > pending.BLIND_FOR
end

-- --- before a call -----------------------------------------------------------------------------

-- The error that the reference of a call is another invoice's already.
local function taken(call, intent, list)
  local ids = ids_of(call, intent, list)
  local message = #ids == 1
    and ("%s has this reference already and differs from the requested content"):format(ids[1])
    or ("there are %d with this reference already"):format(#ids)
  return { kind = "conflict", attempts = 0, sent = false, candidates = ids,
    message = message .. ": nothing was sent" }
end

-- What has the reference already is what is asked for: an earlier run of the caller made it. What
-- has it and differs stands in the way, for one reference is one invoice. Gives nothing where there
-- is none.
local function made(call, intent, list)
  local named = {}
  for _, element in ipairs(list) do
    if refers(call, intent, element) then named[#named + 1] = element end
  end
  if #named == 0 then return nil end
  if #named > 1 or not fits(call, intent, named[1]) then return nil, taken(call, intent, named) end
  local value = result_of(call, intent, named[1], "found")
  call.claims:close(intent, id_of(call, intent, named[1]), value)
  return value
end

-- The error of an intent whose outcome is still unknown.
local function still_open(intent, message, ids)
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
  return still_open(one.intent, ("an earlier call %s, and what became of it is unknown: nothing was"
    .. " sent. The earlier one was sent %s ago; %s, and none is sent for another %s"):format(
    call.request.reference and "had this reference" or "asked for the same", duration(one.age),
    looked and "each call for the same looks for it" or "it can't be looked up",
    duration(most - one.age)), found and ids_of(call, one.intent, found))
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
  return not mine and not other and intent.params ~= nil and asks_the_same(call, intent)
end

-- What was found has the call's reference, but is it what was asked for this time?
local function given(call, intent, element)
  local request = call.request
  local asked = { operation = request.name, params = request.plain, reference = request.reference }
  if request.reference and not fits(call, asked, element) then
    claim(call, intent, element, "found", true)
    return nil, taken(call, intent, { element })
  end
  return claim(call, intent, element, "found")
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
  local looked = can_look(call, intent)
  local element, found
  if looked and request.settle_timeout > 0 then
    element, found = search(call, intent, request.settle_timeout)
    if element then
      local value, err = given(call, intent, element)
      if value ~= nil or err then return value, err end
    end
  end
  if not is_nothing(call, one, found) then return still_unknown(call, one, found, looked) end
  call.claims:close(intent)
  return nil
end

-- What became of earlier calls that asked for the same: a value, or nil and an error, or nothing
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
local function earlier(call, alone)
  local known, err = call.claims:known(call.place, {}, nil, true)
  if not known then return nil, errors.unsent(err) end
  for _, one in ipairs(known.open) do
    if (alone or not one.live) and is_same(call, one.intent) then
      local value, why = adopt(call, one)
      if value ~= nil or why then return value, why end
    end
  end
end

-- --- one at a time -----------------------------------------------------------------------------

-- For so many seconds is what a call holds its own, where nothing is heard of it.
local function lease_of(call)
  return call.deadline - call.account.now() + call.request.settle_timeout + MARGIN
end

-- Somebody else is in there: since when, and for how long.
local function busy(place, holder)
  local left, longest = math.ceil(holder.left), math.ceil(holder.longest)
  local shorter = longest > left and (", and for %.0f s if its handler is gone"):format(left) or ""
  return { kind = "timeout", sent = false, attempts = 0, retry_after = left,
    message = ("another call of the same place did not end before the deadline: %s, begun %.0f s"
      .. " ago, may hold it for %.0f s more%s: nothing was sent"):format(
      place, holder.age, longest, shorter) }
end

-- A token, or nil and an error. The turns end with the deadline, even where the clock stands still.
local function enter(call, place, lease)
  local turn, longest = TURN, lease_of(call)
  local rest = call.deadline - call.account.now()
  while true do
    rest = math.min(rest, call.deadline - call.account.now())
    local token, err, holder = call.claims:enter(place, lease or longest, longest, rest <= turn)
    if token then return token end
    if err then return nil, errors.unsent(err) end
    if rest <= turn then return nil, busy(place, holder) end
    rest = rest - turn
    call.account.transport:sleep(turn)
    turn = math.min(turn * 1.5, LONGEST_TURN)
  end
end

-- Calls fn(call, token) while nobody else is in this place. What it raises is raised, but the place
-- is free.
local function within(call, place, fn)
  local signs = can_renew() and call.claims.signs
  local token, err = enter(call, place, signs and signs.lease)
  if not token then return nil, err end
  local stop = signs and pulse.start(signs.every, lease_of(call), function()
    return call.claims:renew(place, token, signs.lease)
  end)
  local fine, value, why = pcall(fn, call, token)
  if stop then stop() end
  call.doors.give_back(call.account, call.purse)
  call.claims:leave(place, token)
  if not fine then error(value, 0) end
  return value, why
end

-- --- written down ------------------------------------------------------------------------------

local function new_intent(call)
  return {
    id = call.caller or core.text.hex(core.text.random(8)), caller = call.caller,
    vendor = call.account.vendor.name, account = call.account.id, operation = call.request.name,
    place = call.place, params = call.request.plain, reference = call.request.reference,
    before = json.array {},
  }
end

-- Written down, or an error where that failed, or the place was lost while the process slept.
local function begin(call, intent, token)
  intent.sent_at = math.floor(call.account.wall() * 1000) / 1000 -- it stays a number as JSON
  local begun, err = call.claims:begin(intent, token, lease_of(call))
  if begun then return nil end
  return err and errors.unsent(err)
    or { kind = "timeout", sent = false, attempts = 0, message = "the place was lost" }
end

-- A call that may or may not have been carried out.
local function unknown(call, intent, err, found)
  call.claims:open(intent)
  return nil, { kind = "unknown_outcome", retryable = false, attempts = err.attempts, cause = err,
    message = "it may or may not have been carried out: " .. err.message, intent = intent,
    sent_at = intent.sent_at, candidates = found and ids_of(call, intent, found),
    status = err.status, body = err.body }
end

-- --- one that can't be looked up ---------------------------------------------------------------

-- It can't be mistaken for another one, but where it is torn, it is not to be sent again.
local function noted(call, token)
  local value, err = earlier(call, token ~= nil)
  if value ~= nil or err then return value, err end
  local intent = new_intent(call)
  intent.blind = true
  err = begin(call, intent)
  if err then return nil, err end
  local fine
  fine, value, err = pcall(call.doors.send, call.account, call.request,
    { deadline = call.deadline })
  if not fine then
    call.claims:abandon(intent)
    error(value, 0)
  elseif value == nil and err.open then
    return unknown(call, intent, err)
  end
  call.claims:close(intent, nil, value)
  return value, err
end

-- --- one that can ------------------------------------------------------------------------------

-- What looking will need is set aside first: an answer must not be out of reach for want of quota.
local function set_aside(call)
  call.doors.give_back(call.account, call.purse)
  call.purse = {}
  if call.request.settle_timeout == 0 then return nil end
  local purse, err = call.doors.reserve(call.account, call.request, #moments + 2, call.deadline,
    call.request.settle_timeout)
  call.purse = purse or {}
  return err
end

-- One with a reference looks in any case: what has it already must not be billed again.
local function looks_before(request)
  return request.settle_timeout > 0 or request.reference ~= nil
end

-- What is there before the call: a value where that was made before, or nil and an error; nothing
-- where it is to be sent.
local function look_before(call, intent)
  local request = call.request
  if not looks_before(request) then
    intent.blind = true -- what was there before would be taken for the result
    return nil
  end
  local list, why = look(call, intent, call.deadline, { attempts = request.attempts,
    priority = request.background and "background" or nil }, call.purse)
  if not list then
    why.open = false -- nothing was sent but a question
    return nil, why
  end
  intent.before = ids_of(call, intent, list)
  return made(call, intent, list)
end

-- Before another attempt: none was carried out so far, so all that is there by now is somebody
-- else's, however long the wait was. An error where the place was lost in it; or where there is
-- something with the call's reference by now, which is what it gives then (`call.made`).
local function look_again(call, intent, token)
  local list = looks_before(call.request)
    and look(call, intent, call.deadline, { attempts = 1 })
  if not list then return nil end
  local value, err = made(call, intent, list)
  if value ~= nil or err then
    call.made = value
    return err or { kind = "conflict", message = "it is there already" }
  end
  intent.before = ids_of(call, intent, list)
  return begin(call, intent, token)
end

-- The server says that it was done before: by the call whose outcome is open, then.
local function done_before(call, intent, err)
  local already = looks_of(call, intent).already
  local known = already and err.code == already and call.claims:known(call.place, {})
  for _, one in ipairs(known and known.open or {}) do
    if one.intent.id ~= intent.id and not one.live then return one.intent end
  end
end

-- An answer is its caller's, whoever else has found what it is about.
local function answered(call, intent, id, value)
  if not call.claims:close(intent, id, value) and id ~= nil then
    call.claims:close(intent, nil, value)
  end
  return value
end

-- The id that an answer tells; an id that was there before the call is not what the call has made.
local function told_id(call, intent, value)
  local looks = looks_of(call, intent)
  if looks.whole then return looks.id(value) end
  for _, before in ipairs(intent.before) do
    if before == tostring(value.id) then value.id, value.location = nil, nil end
  end
  if value.id ~= nil then
    value.location = value.location or location_of(call, intent, value.id)
  end
  return value.id
end

-- Said to be created, but which one it is neither the answer nor a look tells: that may be a page
-- that calls itself 201, so it is no success.
local function nameless(how)
  return { kind = "decode", attempts = how.attempts, message = "the server says that it was"
    .. " created, but its answer names none that is new, and none was found" }
end

local function after_sending(call, intent, how, value, err)
  if value ~= nil then
    local id = told_id(call, intent, value)
    if id ~= nil or looks_of(call, intent).whole then return answered(call, intent, id, value) end
  else
    local other = done_before(call, intent, err)
    if other then
      call.claims:close(other)
      intent.before = json.array {}
    elseif not err.open then
      call.claims:close(intent)
      return nil, err
    end
  end
  local element, found
  if call.request.settle_timeout > 0 then
    element, found = search(call, intent, call.request.settle_timeout)
  end
  local result = element and claim(call, intent, element, value and "created" or "found")
  if result then return result end
  return unknown(call, intent, err or nameless(how), found or {})
end

local function alone(call, token)
  local err = set_aside(call)
  if err then return nil, err end
  local value
  value, err = earlier(call, true)
  if value ~= nil or err then return value, err end
  local intent = new_intent(call)
  err = set_aside(call) -- looking for an earlier one has spent some
  if err then return nil, err end
  value, err = look_before(call, intent)
  if value ~= nil or err then return value, err end
  err = begin(call, intent, token)
  if err then return nil, err end
  local how = { deadline = call.deadline, purse = call.purse,
    again = function() return look_again(call, intent, token) end }
  value, err = call.doors.send(call.account, call.request, how)
  if call.made ~= nil then return call.made end
  return after_sending(call, intent, how, value, err)
end

-- --- the doors of this room --------------------------------------------------------------------

-- What the call is done to: as the vendor looks it up, or by its path.
local function place_of(request, looks)
  return (looks and looks.family or request.name) .. " " .. (looks and looks.place(request.plain)
    or request.url:match("^%a+://[^/]+([^?]*)"))
end

--- Carries out a call that must not happen twice: a value, or nil and an error.
---@param account table
---@param request table
---@param doors table see above
function M.call(account, request, doors)
  local claims, err = pending.of(account)
  if not claims then return nil, errors.unsent(err) end
  local looks = account.vendor.looks[request.name]
  local place = place_of(request, looks)
  local call = { account = account, request = request, doors = doors, claims = claims, purse = {},
    place = place, deadline = account.now() + request.timeout }
  local plain = json.encode(request.plain)
  call.caller = caller.name_of(place .. "\n" .. plain)
  if looks and looks.place(request.plain) ~= nil then
    return within(call, place, alone)
  elseif claims.durable and not can_renew() then
    -- the processes of an app know which of them are gone; on the event loop the lease must end
    return noted(call)
  end -- where it is torn, the same one waits for it
  return within(call, place .. " " .. core.text.sha256(plain):sub(1, 16), noted)
end

-- What another process has found out about this intent meanwhile, given to nobody yet.
local function kept_for(call, intent)
  local known = call.claims:known(intent.place, {})
  for _, one in ipairs(known and known.open or {}) do
    if one.intent.id == intent.id and one.result ~= nil then
      call.claims:close(intent, nil, one.result, true)
      return one.result
    end
  end
end

--- Looks again at a call whose outcome was unknown.
---@param account table
---@param intent table
---@param seconds number
---@param doors table
---@return any value
---@return table? err
function M.settle(account, intent, seconds, doors)
  local call = { account = account, doors = doors, purse = {} }
  if not (can_look(call, intent) and seconds > 0 and intent.place) then
    return still_open(intent, "there is no way to look it up")
  end
  local err
  call.claims, err = pending.of(account)
  if not call.claims then return nil, errors.unsent(err) end
  local value = kept_for(call, intent)
  if value then return looks_of(call, intent).whole and doors.tag(account, value) or value end
  local element, found = search(call, intent, seconds)
  value = element and claim(call, intent, element, "found", true)
  if value then return value end
  return still_open(intent, "nothing was found that is without doubt it",
    ids_of(call, intent, found))
end

-- --- after a crash -----------------------------------------------------------------------------

-- The calls whose process is gone, and of which nobody knows what became. An app looks for them
-- when it begins to work, and once a minute: another process of it may have died. What is found is
-- kept for the call that will ask for the same again (pending.lua); what is not found is looked for
-- again, until so much time has passed that nothing will come of it.

local LEASE = 60
-- Rules wait meanwhile. What was sent is some time ago, so it shows soon or not at all.
local SECONDS = 2.5

local function tell(report, level, name, intent, more)
  local fields = { operation = intent.operation, place = intent.place, intent = intent.id,
    sent_at = intent.sent_at and core.text.iso(math.floor(intent.sent_at)) }
  for field, value in pairs(more or {}) do fields[field] = value end
  report(level, name, fields)
end

local function found(call, intent, element, report)
  local id = id_of(call, intent, element)
  local kept, err = call.claims:keep(intent, id, result_of(call, intent, element, "found"))
  if kept then
    tell(report, "info", "settled", intent, { found = tostring(id) })
  else
    tell(report, "warn", "not_settled", intent,
      { message = err and tostring(err) or "another call has it" })
  end
end

local function settle(call, one, report)
  local intent, token, element, seen = one.intent, nil, nil, nil
  if can_look(call, intent) then
    token = call.claims:enter(intent.place, LEASE)
    if not token then return end -- somebody asks for the same just now, and looks for it
    element, seen = search(call, intent, SECONDS)
  end
  if element then
    found(call, intent, element, report)
  elseif is_nothing(call, one, seen) then
    call.claims:close(intent)
    tell(report, "warn", "given_up", intent)
  else -- later, by whoever works then: the lease ends
    tell(report, "warn", "unknown_outcome", intent)
  end
  if token then call.claims:leave(intent.place, token) end
end

--- Settles the calls of an account whose process is gone; `report(level, name, fields)` is a log's.
---@param account table
---@param report function
---@param doors table see above
---@return table? err
function M.recover(account, report, doors)
  local claims, err = pending.of(account)
  if not claims or not claims.durable then return err end
  local orphans
  orphans, err = claims:orphans(LEASE)
  local call = { account = account, doors = doors, claims = claims, purse = {} }
  for _, one in ipairs(orphans or {}) do settle(call, one, report) end
  return err
end

return M

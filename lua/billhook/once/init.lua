--- Calls that must not happen twice: what became of one whose answer never came.
--
-- Before such a call its place is looked at (which ids are there), afterwards, where the outcome is
-- unknown, looked at again, two to four times with growing pauses within `settle_timeout`. One that
-- was not there before, that nobody else claims and that is in everything what was asked for is the
-- result: how = "found" (lookup.lua). Finding nothing proves nothing, for the request may still be
-- under way: then the error is unknown_outcome, with an intent for client:settle later.
--
-- Two calls that could be mistaken for each other, of one account and place, never overlap.
--
-- What is about to be sent is written down before (pending.lua), so that the next call for the same
-- finds out about one whose handler or coroutine died (lookup.lua). The client of an app writes it
-- into the inbox, so that a crash is found out about at the next start (recover.lua).
--
-- Nothing here knows how a call is made. The functions that do are given:
--
--   doors.send(account, request, how) -> value, or nil and an error; how: { deadline, purse, again
--       = what comes before another attempt, and ends the call where it gives an error }
--   doors.look(account, operation, params, settings, how) -> the elements of a list, or nil, err
--   doors.reserve(account, request, count, deadline, beyond) -> purse, or nil and an error
--   doors.give_back(account, purse)
--   doors.path(account, operation, params) -> where what was made is
--   doors.tag(account, value, request) -> value

local caller = require "billhook.caller"
local core = require "billhook.core"
local errors = require "billhook.error"
local json = require "billhook.json"
local lookup = require "billhook.once.lookup"
local pending = require "billhook.once.pending"
local pulse = require "billhook.shared.pulse"
local recover = require "billhook.once.recover"

local M = {}

-- Waiting for another call of the same place: the first and the longest turn, in seconds.
local TURN, LONGEST_TURN = 0.02, 0.25

-- So much longer than its call is a place held, and an intent its process's.
local MARGIN = 5

-- In nginx a handler may be killed: what it holds is renewed while it lives.
local IN_NGINX = pulse.in_nginx()
local function can_renew() return IN_NGINX and pulse.can() end

-- --- one at a time -----------------------------------------------------------------------------

-- For so many seconds is what a call holds its own, where nothing is heard of it.
local function lease_of(call)
  return call.deadline - call.account.now() + call.request.settle_timeout + MARGIN
end

-- Somebody else is in there: since when, and for how long.
local function busy(call, place)
  local holder = call.claims:holder(place) or { left = 0 }
  local longest = holder.longest or holder.left
  local message = "another call of the same place did not end before the deadline: " .. place
  if holder.age then message = ("%s, begun %.0f s ago"):format(message, holder.age) end
  message = ("%s, may hold it for %.0f s more"):format(message, math.ceil(longest))
  if longest > holder.left then
    message = ("%s, and for %.0f s if its handler is gone"):format(message, math.ceil(holder.left))
  end
  return { kind = "timeout", sent = false, attempts = 0, retry_after = math.ceil(holder.left),
    message = message .. ": nothing was sent" }
end

-- A token, or nil and an error. The turns end with the deadline, even where the clock stands still.
local function enter(call, place, lease)
  local turn, longest = TURN, lease_of(call)
  local rest = call.deadline - call.account.now()
  while true do
    rest = math.min(rest, call.deadline - call.account.now())
    local token, err = call.claims:enter(place, lease or longest, longest, rest <= turn)
    if token then return token end
    if err then return nil, errors.unsent(err) end
    if rest <= turn then return nil, busy(call, place) end
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
    before = {},
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
    sent_at = intent.sent_at, candidates = found and lookup.ids(call, intent, found),
    status = err.status, body = err.body }
end

-- --- one that can't be looked up ---------------------------------------------------------------

-- It can't be mistaken for another one, but where it is torn, it is not to be sent again.
local function noted(call, token)
  local value, err = lookup.earlier(call, token ~= nil)
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
  local purse, err = call.doors.reserve(call.account, call.request, lookup.looks + 2, call.deadline,
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
  local list, why = lookup.look(call, intent, call.deadline, { attempts = request.attempts,
    priority = request.background and "background" or nil }, call.purse)
  if not list then
    why.open = false -- nothing was sent but a question
    return nil, why
  end
  intent.before = lookup.ids(call, intent, list)
  return lookup.made(call, intent, list)
end

-- Before another attempt: none was carried out so far, so all that is there by now is somebody
-- else's, however long the wait was. An error where the place was lost in it; or where there is
-- something with the call's reference by now, which is what it gives then (`call.made`).
local function look_again(call, intent, token)
  local list = looks_before(call.request)
    and lookup.look(call, intent, call.deadline, { attempts = 1 })
  if not list then return nil end
  local value, err = lookup.made(call, intent, list)
  if value ~= nil or err then
    call.made = value
    return err or { kind = "conflict", message = "it is there already" }
  end
  intent.before = lookup.ids(call, intent, list)
  return begin(call, intent, token)
end

-- The server says that it was done before: by the call whose outcome is open, then.
local function done_before(call, intent, err)
  local already = call.looks.already
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
local function id_of(call, intent, value)
  if call.looks.whole then return call.looks.id(value) end
  for _, before in ipairs(intent.before) do
    if before == tostring(value.id) then value.id, value.location = nil, nil end
  end
  if value.id ~= nil then
    value.location = value.location or lookup.location(call, intent, value.id)
  end
  return value.id
end

local function after_sending(call, intent, value, err)
  if value ~= nil then
    local id = id_of(call, intent, value)
    if id ~= nil or call.looks.whole then return answered(call, intent, id, value) end
  else
    local other = done_before(call, intent, err)
    if other then
      call.claims:close(other)
      intent.before = {}
    elseif not err.open then
      call.claims:close(intent)
      return nil, err
    end
  end
  local element, found
  if call.request.settle_timeout > 0 then
    element, found = lookup.search(call, intent, call.request.settle_timeout)
  end
  local result = element and lookup.claim(call, intent, element, value and "created" or "found")
  if result then return result end
  if value == nil then return unknown(call, intent, err, found or {}) end
  intent.vague = true -- its id is not known, and must not be taken for another's
  call.claims:close(intent, nil, value)
  return value
end

local function alone(call, token)
  local err = set_aside(call)
  if err then return nil, err end
  local value
  value, err = lookup.earlier(call, true)
  if value ~= nil or err then return value, err end
  local intent = new_intent(call)
  err = set_aside(call) -- looking for an earlier one has spent some
  if err then return nil, err end
  value, err = look_before(call, intent)
  if value ~= nil or err then return value, err end
  err = begin(call, intent, token)
  if err then return nil, err end
  value, err = call.doors.send(call.account, call.request, { deadline = call.deadline,
    purse = call.purse, again = function() return look_again(call, intent, token) end })
  if call.made ~= nil then return call.made end
  return after_sending(call, intent, value, err)
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
    looks = looks, place = place, deadline = account.now() + request.timeout }
  local plain = json.encode(request.plain)
  call.caller = caller.name_of(place .. "\n" .. plain)
  local value
  if looks and looks.place(request.plain) ~= nil then
    value, err = within(call, place, alone)
  elseif claims.durable and not can_renew() then
    -- the processes of an app know which of them are gone; on the event loop the lease must end
    value, err = noted(call)
  else -- where it is torn, the same one waits for it
    value, err = within(call, place .. " " .. core.text.sha256(plain):sub(1, 16), noted)
  end
  return value, err
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
  local looks = account.vendor.looks[intent.operation]
  if not (looks and seconds > 0 and intent.place) or intent.blind then
    return lookup.unknown(intent, "there is no way to look it up")
  end
  local claims, err = pending.of(account)
  if not claims then return nil, errors.unsent(err) end
  local call = { account = account, doors = doors, claims = claims, purse = {} }
  local value = kept_for(call, intent)
  if value then return looks.whole and doors.tag(account, value) or value end
  local element, found = lookup.search(call, intent, seconds)
  value = element and lookup.claim(call, intent, element, "found", true)
  if value then return value end
  return lookup.unknown(intent, "nothing was found that is without doubt it",
    lookup.ids(call, intent, found))
end

--- Settles the calls of an account whose process is gone; `report(level, name, fields)` is a log's.
M.recover = recover.run

return M

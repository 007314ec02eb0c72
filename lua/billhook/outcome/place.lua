--- One call at a time in a place (pending.lua): waiting for it, holding it, leaving it.

local earlier = require "billhook.outcome.earlier"
local exchange = require "billhook.call.exchange"
local pulse = require "billhook.shared.pulse"

local M = {}

-- Waiting for another call of the same place: the first and the longest turn, in seconds.
local TURN, LONGEST_TURN = 0.02, 0.25

-- So much longer than its call is a place held, and an intent its process's.
local MARGIN = 5

--- For so many seconds is what a call holds its own, where nothing is heard of it.
function M.lease(state, plan)
  return plan.deadline - state.now() + plan.settle_timeout + MARGIN
end

-- Somebody else is in there: who, and for how long.
local function busy(state, place)
  local holder = state.claims:holder(place) or { left = 0 }
  local message = "another call of the same place did not end before the deadline: " .. place
  if holder.age then
    message = ("%s, begun %.0f s ago"):format(message, holder.age)
  end
  message = ("%s, may hold it for %.0f s more"):format(message,
    math.ceil(holder.longest or holder.left))
  if holder.longest and holder.longest > holder.left then
    message = ("%s, and for %.0f s if its handler is gone"):format(message, math.ceil(holder.left))
  end
  return { kind = "timeout", sent = false, attempts = 0, retry_after = math.ceil(holder.left),
    message = message .. ": nothing was sent" }
end

-- A token, or nil and a fault.
local function enter(state, plan, place, lease)
  local turn, longest = TURN, M.lease(state, plan)
  lease = lease or longest
  while true do
    local last = state.now() + turn >= plan.deadline
    local token, err = state.claims:enter(place, lease, longest, last)
    if token then
      return token
    elseif err then
      return nil, earlier.unsent(err)
    elseif last then
      return nil, busy(state, place)
    end
    exchange.pause(state, turn)
    turn = math.min(turn * 1.5, LONGEST_TURN)
  end
end

-- On plain Lua 5.1 a coroutine can't wait inside of pcall.
local WAITS_IN_PCALL = rawget(_G, "jit") ~= nil or _VERSION ~= "Lua 5.1"

--- Like pcall.
function M.guarded(fn, ...)
  if not WAITS_IN_PCALL and coroutine.running() then
    return true, fn(...)
  end
  return pcall(fn, ...)
end

--- Calls fn(state, plan, token) while nobody else is in this place. What it raises is raised, but
-- the place is free.
function M.within(state, plan, place, fn)
  local signs = pulse.can() and state.claims.signs
  local token, fault = enter(state, plan, place, signs and signs.lease)
  if not token then
    return nil, fault
  end
  local stop = signs and pulse.start(signs.every, M.lease(state, plan), function()
    return state.claims:renew(place, token, signs.lease)
  end)
  local fine, value, why = M.guarded(fn, state, plan, token)
  if stop then
    stop()
  end
  exchange.give_back(state)
  state.claims:leave(place, token)
  if not fine then
    error(value, 0)
  end
  return value, why
end

return M

--- One call on its way: quota, request, answer, and again where that is safe.
--
-- A plan is what the caller asked for, checked: { operation, method, url, body, safe, idempotent,
-- answer, unwrap, invoices, timeout, attempts, limit, ... }. A state is a client's (see
-- client.lua). Nothing here raises for what the world does: a fault is a table of an error's
-- fields, with `sent` and `processed` as the transport and the vendor's rules know them.

local core = require "billhook.core"
local errors = require "billhook.error"
local quote = require "billhook.call.quote"
local reason = require "billhook.call.reason"
local retry = require "billhook.retry"

local M = {}

-- An error's body is read for its message only.
local ERROR_BODY = 65536

local TOO_MANY = 429

-- A hook must not be able to lose the answer of a call: what it raises is dropped.
local function tell(hook, event)
  if hook then
    pcall(hook, event)
  end
end

--- Waits. A transport that only pretends to (the fake one keeps what it was asked for in `slept`)
-- may have a clock that stands still: then the client's own goes on, or it would wait for ever.
function M.pause(state, seconds)
  local before = state.now()
  state.transport:sleep(seconds)
  local passed = state.now() - before
  if state.transport.slept and passed < seconds then
    state.skew(seconds - passed)
  end
end

-- A wait for a slot: never too short for a clock to see.
local function wait_for(state, seconds)
  M.pause(state, math.max(seconds, 0.001))
end

local function unsent(err)
  return { kind = err.kind, code = err.code, message = err.message, sent = false,
    retryable = err.retryable }
end

-- Takes slots, waiting for them while the deadline allows: a list, or nil and a fault.
local function take(state, plan, need, deadline, how)
  how.background = plan.background
  while true do
    how.patience = deadline - state.now()
    local slots, wait, late, err = state.quota:take(need, how)
    if slots then
      return slots
    elseif err then
      return nil, unsent(err)
    elseif not wait then
      return nil, { kind = "rate_limited", sent = false, retry_after = late,
        message = "no request of this key's quota comes free before the deadline" }
    end
    wait_for(state, wait)
  end
end

-- One of those that were set aside; it waits like all others while the key is parked.
local function spend(state, deadline)
  local slot = table.remove(state.purse)
  while true do
    local wait, err = state.quota:spend(slot)
    if wait == 0 then
      return slot
    elseif not wait or state.now() + wait >= deadline then
      table.insert(state.purse, slot)
      return nil, err and unsent(err) or { kind = "rate_limited", sent = false,
        retry_after = wait, message = "the key is parked until after the deadline" }
    end
    wait_for(state, wait)
  end
end

-- The slot for one request: false without a quota, or nil and a fault. What was set aside is for
-- first attempts: repeating must not spend what looking afterwards will need.
local function slot_for(state, plan, attempt)
  if not state.quota then
    return false
  elseif attempt == 1 and not plan.unkept and state.purse and #state.purse > 0 then
    return spend(state, plan.deadline)
  end
  local slots, fault = take(state, plan, 1, plan.deadline, {})
  return slots and slots[1], fault
end

--- Sets slots aside for a call and what may follow it within `beyond` seconds of its deadline: all
-- at once, for two calls that had a part each would wait for each other. A purse, or nil and a
-- fault.
function M.reserve(state, plan, count, beyond)
  if not state.quota then
    return {}
  end
  return take(state, plan, count, plan.deadline, { kept = true, beyond = beyond })
end

--- Returns what was not spent.
function M.give_back(state)
  if state.quota then
    state.quota:give_back(state.purse)
  end
  state.purse = {}
end

local function request_of(state, plan, remaining)
  local headers = {}
  for name, value in pairs(state.headers) do
    headers[name] = value
  end
  headers["Accept"] = plan.accept or "application/json"
  if plan.body then
    headers["Content-Type"] = "application/json"
  end
  headers["traceparent"] = plan.traceparent
  return {
    method = plan.method,
    url = plan.url,
    headers = headers,
    body = plan.body,
    timeout = remaining,
    connect_timeout = math.min(plan.connect_timeout, remaining),
    fresh = not plan.idempotent,
    limit = plan.limit,
    ca_file = state.options.ca_file,
    proxy = state.options.proxy,
  }
end

-- What a hook is told. It may go into a log, so even an address is cleaned.
local function event_of(state, plan, attempt)
  return {
    vendor = state.vendor.name, operation = plan.operation, method = plan.method,
    url = errors.redact(plan.url, state.secrets), attempt = attempt,
    traceparent = plan.traceparent,
  }
end

local function tell_response(state, plan, attempt, started, response, failure)
  if state.observe then
    pcall(state.observe, plan.operation, tostring(response and response.status or failure.kind))
  end
  if not state.options.on_response then
    return
  end
  local event = event_of(state, plan, attempt)
  event.duration = state.now() - started
  event.status = response and response.status
  event.kind = failure and failure.kind
  event.message = failure and failure.message and errors.redact(failure.message, state.secrets)
  event.quota_left = state.quota and (state.quota:look())
  tell(state.options.on_response, event)
end

-- One attempt: a response (or a reader of one), or nil and a fault.
local function transmit(state, plan, verb, attempt)
  local slot, fault = slot_for(state, plan, attempt)
  if slot == nil then
    return nil, fault
  end
  if state.options.on_request then
    tell(state.options.on_request, event_of(state, plan, attempt)) -- and it may take its time
  end
  local started = state.now()
  local remaining = plan.deadline - started
  local response, failure
  if remaining > 0 then
    response, failure = state.transport[verb](state.transport, request_of(state, plan, remaining))
  else
    failure = { kind = "timeout", message = "the deadline has passed", sent = false }
  end
  if slot and remaining > 0 then
    state.quota:free(slot, response and response.status ~= TOO_MANY)
  elseif slot then
    state.quota:give_back { slot }
  end
  tell_response(state, plan, attempt, started, response, failure)
  return response, failure
end

-- The body of a reader's response, as far as an error needs it.
local function read_some(reader)
  local parts, size = {}, 0
  while size < ERROR_BODY do
    local chunk = reader:read()
    if not chunk then
      break
    end
    parts[#parts + 1] = chunk
    size = size + #chunk
  end
  reader:close()
  return table.concat(parts)
end

local function refusal(state, plan, response, outcome)
  if response.read then
    response = { status = response.status, headers = response.headers, body = read_some(response) }
  end
  local fault = reason.describe(response, plan.private)
  fault.kind = outcome.kind
  if outcome.message then
    fault.message = outcome.message -- a redirect, say: its page tells less
  end
  fault.status = response.status
  fault.retryable = outcome.retryable
  fault.processed = outcome.processed
  fault.body = quote.body(plan, fault.body)
  if outcome.retry_after then
    fault.retry_after = retry.after(outcome.retry_after, response.headers.date, state.wall())
  end
  if fault.kind == "rate_limited" and state.quota then
    fault.retry_after = state.quota:refused(fault.retry_after, state.random)
  end
  return fault
end

-- What the fault leaves open: may the call have been carried out all the same?
local refusals = {
  auth = true, not_found = true, invalid = true, conflict = true, rate_limited = true,
}

--- May an attempt that ended so have had its effect?
function M.is_open(fault)
  return fault.sent ~= false and fault.processed ~= false and not refusals[fault.kind]
end

local function judge(state, plan, response, unsure)
  local outcome = core.call.conclude(state.vendor.name, plan.operation, response.status,
    response.headers, unsure and 2 or 1, state.base.url, plan.path)
  if outcome.ok then
    retry.succeeded(state.budget)
    return outcome
  end
  return nil, refusal(state, plan, response, outcome)
end

--- The fault of a call where none can be made (some phases of nginx cannot wait), or nil. To be
-- asked before a call takes anything that it could not wait for or give back.
function M.unable(state)
  local why = state.transport.unable and state.transport.unable()
  return why and { kind = "network", message = why, sent = false, attempts = 0 } or nil
end

--- Sends until there is an answer or no sense in another attempt. `plan.again()` comes before
-- another one, and ends the call where it gives a fault.
--
-- `verb` is the transport's: "request", or "stream" for a reader as the response.
-- Gives the response and the outcome, or nil and a fault with `attempts` and `open`: whether one of
-- the attempts may have had its effect.
function M.run(state, plan, verb)
  plan.deadline = plan.deadline or state.now() + plan.timeout
  local attempt, unsure, none = 0, false, M.unable(state)
  if none then
    return nil, none
  end
  while true do
    attempt = attempt + 1
    plan.attempts_made = attempt
    local response, fault = transmit(state, plan, verb, attempt)
    local outcome
    if response then
      outcome, fault = judge(state, plan, response, unsure)
      if outcome then
        return response, outcome
      end
    end
    unsure = unsure or M.is_open(fault)
    local wait = retry.decide({
      attempt = attempt, attempts = plan.attempts, idempotent = plan.idempotent,
      now = state.now(), deadline = plan.deadline, random = state.random, budget = state.budget,
    }, fault)
    if not wait then
      fault.attempts = attempt
      fault.open = unsure
      fault.retryable = retry.repeatable(plan.idempotent, fault)
      return nil, fault
    end
    M.pause(state, wait)
    fault = plan.again and plan.again()
    if fault then
      fault.attempts, fault.open = attempt, unsure
      return nil, fault
    end
  end
end

return M

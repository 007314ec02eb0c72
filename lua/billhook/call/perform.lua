--- Carries a plan out and gives the caller what it came for: a value, or nil and an error object.

local answer = require "billhook.call.answer"
local each = require "billhook.call.each"
local exchange = require "billhook.call.exchange"
local settle = require "billhook.outcome.settle"

local M = {}

local lists = { map = true, list = true, page = true }

-- What the caller can do about an answer that is too large depends on what was asked.
local function explain(plan, fault)
  if fault.kind == "too_large" and not fault.status and lists[plan.answer] then
    fault.message = ("the list is larger than the limit of %.0f bytes: walk it with each"):format(
      plan.limit)
  end
  return fault
end

local function failed(state, plan, fault)
  fault.open = nil
  return nil, answer.fault(state, plan, explain(plan, fault))
end

-- A call that must not run twice, and nobody knows whether it ran.
local function unknown(state, plan, fault)
  fault.cause = answer.fault(state, plan, {
    kind = fault.kind, code = fault.code, message = fault.message, status = fault.status,
    body = fault.body,
  })
  fault.kind, fault.code = "unknown_outcome", nil
  fault.message = "it may or may not have been carried out: " .. fault.message
  fault.retryable = false
  fault.intent = fault.intent or { vendor = state.vendor.name, account = state.account,
    operation = plan.operation, params = plan.plain, sent_at = plan.sent_at }
  fault.sent_at = plan.sent_at
  return failed(state, plan, fault)
end

local function all_pages(state, plan)
  plan.deadline = state.now() + plan.timeout
  local list, next_page = {}, each.pages(state, plan)
  while true do
    local page, more = next_page()
    if not page then
      if more then
        return failed(state, plan, more)
      end
      return list
    elseif more > plan.limit then
      return failed(state, plan,
        { kind = "too_large", message = "", attempts = plan.attempts_made })
    end
    for _, element in ipairs(page) do
      list[#list + 1] = element
    end
  end
end

local function plainly(state, plan)
  plan.sent_at = plan.sent_at or math.floor(state.wall() * 1000) / 1000
  local response, outcome = exchange.run(state, plan, "request")
  if not response then
    return nil, outcome
  end
  local value, fault = answer.read(state, plan, response, outcome)
  if value == nil then
    -- a success that can't be read is one all the same
    fault.attempts, fault.open, fault.retryable = plan.attempts_made, true, plan.idempotent
  end
  return value, fault
end

--- Carries it out.
---@param state table
---@param plan table
---@return any value
---@return table? err
function M.call(state, plan)
  local none = exchange.unable(state)
  if none then
    return failed(state, plan, none)
  end
  if plan.paged then
    return all_pages(state, plan)
  end
  local value, fault
  if settle.can(state, plan) then
    value, fault = settle.carry_out(state, plan)
  elseif not plan.idempotent then
    value, fault = settle.note(state, plan, plainly)
  else
    value, fault = plainly(state, plan)
  end
  if value ~= nil then
    return value
  elseif fault.open and not plan.idempotent then
    return unknown(state, plan, fault)
  end
  return failed(state, plan, fault)
end

--- Looks again at a call whose outcome was unknown.
function M.settle(state, intent, settle_timeout)
  local none = exchange.unable(state)
  if none then
    return failed(state, { operation = intent.operation }, none)
  end
  local value, fault = settle.again(state, intent, settle_timeout)
  if value ~= nil then
    return value
  end
  return failed(state, { operation = intent.operation }, fault)
end

return M

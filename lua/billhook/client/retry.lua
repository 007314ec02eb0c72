--- Whether, and when, a call that failed is sent again. Pure: time and chance are arguments.
--
-- * Three attempts, like most clients: a fourth rarely helps while a person waits.
-- * Full jitter: the wait is random, from 0 to base x 2^(n-1), so that many clients that failed
--   together do not retry together. The base of 0.2 s is a few round trips. The cap is 10 s, so
--   that a call notices soon when the server is back.
-- * A budget for retries: 100, and then one for every five calls that succeed. So a client does not
--   multiply its traffic while a server is down.
-- * The wait is at least a server's Retry-After. If that ends after the deadline, the call fails at
--   once, and its error has the number.
-- * A call that must not run twice is repeated only if it is proven that it has not run.

local core = require "billhook.core"

local M = { attempts = 3, base = 0.2, cap = 10, budget = 100, refill = 0.2, patience = 0.75 }

--- A random number from 0 to 1. Not math.random, which on LuaJIT gives the same numbers in every
-- process: many clients would retry together after all.
---@return number
function M.chance()
  local a, b, c, d = core.text.random(4):byte(1, 4)
  return (((a * 256 + b) * 256 + c) * 256 + d) / 2 ^ 32
end

--- A budget, full. Calls that succeed pay into it: they are counted in `succeeded`.
---@return table
function M.new_budget() return { tokens = M.budget, succeeded = 0 } end

-- what may work the next time
local passing = { network = true, timeout = true, tls = true, server = true, rate_limited = true,
  store = true }

--- Is it worth sending the same again, and safe?
---@param idempotent boolean
---@param fault table { kind, sent, processed, retryable } of a failure or an outcome
---@return boolean
function M.repeatable(idempotent, fault)
  if fault.retryable == false or not passing[fault.kind] then return false end
  return idempotent or fault.sent == false or fault.processed == false
end

--- How long to wait before attempt n + 1, were nothing else known.
---@param n integer attempts made so far
---@param random fun(): number from 0 to 1
---@return number seconds
function M.backoff(n, random) return random() * math.min(M.cap, M.base * 2 ^ (n - 1)) end

-- How wrong a clock may be, in seconds: half a year.
local ASTRAY = 15552000

--- The seconds that a Retry-After names; nil where it names none. A date is meant by the server's
-- clock, which its Date tells: ours may be another.
---@param text string
---@param date string? the answer's Date
---@param now number by our clock
---@return number?
function M.after(text, date, now)
  local clock = date and text:find("%a") and core.text.retry_after(date, now - ASTRAY)
  local till = clock and clock > 0 and core.text.retry_after(text, now - ASTRAY)
  if till then return math.max(0, till - clock) end
  return core.text.retry_after(text, now)
end

--- Decides after an attempt that failed.
--
-- `state`: { attempt = made so far, attempts = most, idempotent, now, deadline, random, budget,
-- window = seconds of the vendor's quota, where it is worth waiting for }.
-- `fault`: as above, with `retry_after` in seconds where the server named it.
-- Gives the seconds to wait, or nil and why not: "final", "attempts", "deadline" or "budget".
---@param state table
---@param fault table
---@return number?, string?
function M.decide(state, fault)
  if not M.repeatable(state.idempotent, fault) then
    return nil, "final"
  elseif state.attempt >= state.attempts then
    return nil, "attempts"
  end
  local wait = M.backoff(state.attempt, state.random)
  if fault.retry_after then
    -- a little later than asked: clocks differ, and others were told the same second
    wait = fault.retry_after + state.random() * M.base
  end
  if fault.guessed and state.window and state.attempt == state.attempts - 1 then
    -- a 429 that does not say how long: the last try comes once the quota's window is over, or as
    -- late as leaves time for the answer
    wait = math.max(wait, math.min(state.window, M.patience * (state.deadline - state.now)))
  end
  if state.now + wait >= state.deadline then return nil, "deadline" end
  local budget = state.budget
  budget.tokens = math.min(M.budget, budget.tokens + M.refill * budget.succeeded)
  budget.succeeded = 0
  if budget.tokens < 1 then return nil, "budget" end
  budget.tokens = budget.tokens - 1
  return wait
end

return M

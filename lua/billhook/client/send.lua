--- Sends one call: waits for the quota, sends the request, reads the answer, retries where safe.
--
-- Failures from outside are returned, not raised. From the transport to the caller an error is one
-- table: { kind, message, sent = false if nothing was sent }. On the way these are added:
-- `status`, `code`, `body`, `retry_after`, `retryable`, `processed` = false if the answer proves
-- that nothing was done, `attempts`, and `open`: one of the attempts may have had its effect.
-- M.error makes the caller's error object of it.

local core = require "billhook.core"
local errors = require "billhook.error"
local responses = require "billhook.client.response"
local retry = require "billhook.client.retry"

local M = {}

-- An error's body is read for its message only.
local ERROR_BODY = 65536

local TOO_MANY = 429

--- The error object of a call that failed so.
---@param account table
---@param name string the operation
---@param err table
---@param secrets string[]? that it must not quote, beside the account's own
---@return table
function M.error(account, name, err, secrets)
  local fields = { vendor = account.vendor.name, operation = name,
    secrets = secrets or account.secrets }
  for field, value in pairs(err) do fields[field] = value end
  fields.open, fields.guessed = nil, nil
  return errors.new(fields)
end

--- The error if no call can be made here (some phases of nginx cannot wait), or nil. To be called
-- before a call takes a slot, for which it could not wait, and which it could not give back.
function M.unable(account)
  local why = account.transport.unable and account.transport.unable()
  return why and { kind = "network", message = why, sent = false, attempts = 0 } or nil
end

-- --- the quota ---------------------------------------------------------------------------------

-- Repeats ask(patience) after the seconds that it gives, until the deadline (also if the clock
-- stands still); or nil and an error.
local function wait_for(account, deadline, message, ask)
  local rest = deadline - account.now()
  while true do
    rest = math.min(rest, deadline - account.now())
    local value, wait, err = ask(rest)
    if value then return value end
    if err then return nil, errors.unsent(err) end
    if wait >= rest then
      return nil, { kind = "rate_limited", sent = false, retry_after = wait, message = message }
    end
    wait = math.max(wait, 0.001) -- never too short for a clock to see
    rest = rest - wait
    account.transport:sleep(wait)
  end
end

local function take(account, request, need, deadline, how)
  how.background = request.background
  return wait_for(account, deadline,
    "no request of this key's quota comes free before the deadline", function(patience)
      how.patience = patience
      return account.quota:take(need, how)
    end)
end

-- One of those that were set aside; it waits like all others while the key is parked.
local function spend(account, purse, deadline)
  local slot = purse[#purse]
  local spent, err = wait_for(account, deadline, "the key is parked until after the deadline",
    function() return account.quota:spend(slot) end)
  if spent then table.remove(purse) end
  return spent and slot, err
end

--- Reserves slots for a call and for the look-ups that may follow until `beyond` seconds after its
-- deadline. All at once, because two calls that had a part each would wait for each other. Nil and
-- an error if the deadline comes first.
---@return table? purse
---@return table? err
function M.reserve(account, request, count, deadline, beyond)
  if not account.quota then return {} end
  return take(account, request, count, deadline, { kept = true, beyond = beyond })
end

--- Returns what was not spent.
function M.give_back(account, purse)
  if account.quota then account.quota:give_back(purse) end
end

-- The slot for one attempt: false without a quota, or nil and an error. Reserved slots are for
-- first attempts: retries must not use those that the look-ups will need.
local function slot_for(account, request, attempt, how)
  if not account.quota then return false end
  if attempt == 1 and how.purse and #how.purse > 0 then
    return spend(account, how.purse, how.deadline)
  end
  local slots, err = take(account, request, 1, how.deadline, {})
  return slots and slots[1], err
end

-- --- one attempt -------------------------------------------------------------------------------

--- The byte order mark that some servers put in front of a text, and a text without it.
M.MARK = "\239\187\191"

function M.unmarked(text)
  return text:sub(1, 3) == M.MARK and text:sub(4) or text
end

-- Calls a hook. It may write its arguments to a log, so even the address has no credentials. What
-- it raises is ignored, so that the answer of the call is not lost.
local function tell(account, hook, request, attempt, more)
  local event = {
    vendor = account.vendor.name, operation = request.name, method = request.method,
    url = errors.redact(request.url, account.secrets), attempt = attempt,
    traceparent = request.traceparent,
  }
  for name, value in pairs(more or {}) do event[name] = value end
  pcall(hook, event)
end

local function tell_response(account, request, attempt, seconds, response, err)
  if account.observe then
    pcall(account.observe, request.name, tostring(response and response.status or err.kind))
  end
  if account.options.on_response then
    tell(account, account.options.on_response, request, attempt, {
      duration = seconds, status = response and response.status, kind = err and err.kind,
      message = err and err.message and errors.redact(err.message, account.secrets),
      quota_left = account.quota and (account.quota:look()),
    })
  end
end

-- A response (or a reader of one), or nil and an error.
local function transmit(account, request, attempt, how)
  local slot, err = slot_for(account, request, attempt, how)
  if slot == nil then return nil, err end
  local hook = account.options.on_request
  if hook then tell(account, hook, request, attempt) end -- it may take its time
  local transport, began, response = account.transport, account.now(), nil
  local left = how.deadline - began
  if left > 0 then
    local verb = how.stream and transport.stream or transport.request
    response, err = verb(transport, {
      method = request.method, url = request.url, headers = request.headers, body = request.body,
      timeout = left, connect_timeout = math.min(request.connect_timeout, left),
      fresh = not request.idempotent, limit = request.limit, ca_file = account.options.ca_file,
      proxy = account.options.proxy,
    })
  else
    err = { kind = "timeout", message = "the deadline has passed, and nothing was sent",
      sent = false }
  end
  if response and not how.stream then response.body = M.unmarked(response.body) end
  if slot and left > 0 then
    account.quota:free(slot, response and response.status ~= TOO_MANY)
  elseif slot then
    account.quota:give_back { slot }
  end
  tell_response(account, request, attempt, account.now() - began, response, err)
  return response, err
end

-- --- what came of it ---------------------------------------------------------------------------

-- The body of a reader's response, as far as an error needs it.
local function read_some(reader)
  local parts, size = {}, 0
  while size < ERROR_BODY do
    local chunk = reader:read()
    if not chunk then break end
    parts[#parts + 1] = chunk
    size = size + #chunk
  end
  reader:close()
  return table.concat(parts)
end

local function refusal(account, request, response, outcome)
  if response.read then
    response = { status = response.status, headers = response.headers, body = read_some(response) }
  end
  local err = responses.refusal(response, outcome, account.wall(), request.private)
  err.body = responses.quoted(request, err.body)
  if err.kind == "rate_limited" and account.quota then
    err.guessed = err.retry_after == nil
    err.retry_after = account.quota:refused(err.retry_after, account.random)
  end
  return err
end

--- Sends until there is an answer, or another attempt makes no sense.
--
-- how: { deadline, stream = a reader is wanted as the response, purse = slots that were set aside,
-- again = a function that comes before another attempt, and ends the call where it gives an error;
-- attempts, which is counted here }.
---@return table? response, table outcome_or_err
function M.send(account, request, how)
  how.deadline = how.deadline or account.now() + request.timeout
  local unsure, none = false, M.unable(account)
  if none then return nil, none end
  local attempt, budget = 0, account.budget
  while true do
    attempt = attempt + 1
    how.attempts = attempt
    local response, err = transmit(account, request, attempt, how)
    if response then
      local outcome = core.call.conclude(account.vendor.name, request.name, response.status,
        response.headers, unsure and 2 or 1, account.base.url, request.path)
      if outcome.ok then
        budget.succeeded = budget.succeeded + 1
        return response, outcome
      end
      err = refusal(account, request, response, outcome)
    end
    -- may it have had its effect? Of an answer its status says it (src/call.c)
    local open = err.open
    if open == nil then open = err.sent ~= false end
    unsure = unsure or open
    local wait = retry.decide({
      attempt = attempt, attempts = request.attempts, idempotent = request.idempotent,
      now = account.now(), deadline = how.deadline, random = account.random,
      budget = budget, window = account.quota and account.quota.window,
    }, err)
    if not wait then
      err.retryable = err.kind == "decode" and request.idempotent
        or retry.repeatable(request.idempotent, err)
    else
      account.transport:sleep(wait)
      err = how.again and how.again()
    end
    if err then
      err.attempts, err.open = attempt, unsure
      return nil, err
    end
  end
end

return M

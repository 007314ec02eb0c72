--- A client of one vendor's account.
--
--   local apply = billhook.dreamapply { base_url = "https://apply.example.edu", api_key = "..." }
--   local invoice, err = apply.invoices:get(123)
--
-- Options of every client, with their defaults:
--
--   base_url         https only (plain http to this machine, or with allow_http = true)
--   timeout          30   seconds for a whole call, all its attempts included
--   connect_timeout  5    seconds of it for one connection
--   settle_timeout   10   seconds beyond it to find out what became of a create; 0: not to look
--   attempts         3    at most; 1 never sends again
--   limit            67108864   bytes of an answer
--   quota            the vendor's; a number of requests a minute, { limit, window, store }, or
--                    false. store: a table, or the URL of an inbox (see billhook.quota)
--   transport        "curl", "worker", "resty", or a table (see billhook.transport)
--   ca_file, proxy, allow_http
--   clock, random    functions, for tests: seconds, and a number from 0 to 1
--   on_request, on_response   functions that are told of every attempt: { vendor, operation,
--                    method, url, attempt, traceparent }, afterwards also { duration, status or
--                    kind and message, quota_left }. They see no credentials, and break nothing
--   webhook          what verifies this account's webhooks: { secret, basic, authorization,
--                    tolerance, limit }
--   test_events      false   run rules for events that are marked as tests
--   read_back        true    false: an app never asks this account's API what is true
--   watch            names of members whose change is an event, too: { "reminded" }
--
-- One call may have its own timeout, connect_timeout, attempts, limit, and
--
--   traceparent      passed on: W3C's trace context
--   priority         "background" waits for the quota behind all others ("person")
--   settle_timeout, reference = { field, value }   of a call that must not happen twice
--
-- The vendors' own options stand in billhook.vendor.*. Credentials are kept where no iteration
-- finds them. A client without credentials but with `webhook` can only receive.

local options = require "billhook.options"
local operations = require "billhook.call.operations"
local perform = require "billhook.call.perform"
local plans = require "billhook.call.plan"
local private = require "billhook.private"
local recovery = require "billhook.outcome.recover"
local resource = require "billhook.call.resource"
local states_of = require "billhook.call.state"

local M = {}

---@class billhook.client
local client = {}
local mt = { __index = client, __name = "billhook.client" }

-- The state of a client; nil for anything else.
local function state_of(self) return private.of(self, mt) end

function mt.__tostring(self)
  local state = state_of(self)
  return ("billhook.%s (%s)"):format(self.vendor,
    state.cannot and "receives only" or state.base.origin)
end

local function own(self, name, level)
  local state = state_of(self)
  if not state then
    error(("%s is a method: call it with a colon"):format(name), level + 1)
  end
  return state
end

--- Any operation by name: the escape hatch.
---@param name string one of billhook.calls(vendor)
---@param params table? by their names, those of the path too
---@param settings table? the options of this call
---@return any value
---@return table? err
function client:call(name, params, settings)
  local state = own(self, "call", 2)
  if params ~= nil and type(params) ~= "table" then
    error(("the parameters of %s must be a table, not a %s"):format(
      tostring(name), type(params)), 2)
  end
  local own_params = {}
  for key, value in pairs(params or {}) do
    own_params[key] = value
  end
  local plan = plans.make(state, name, own_params, settings, 2)
  return perform.call(state, plan)
end

--- Is the vendor there, and does it know the key? DreamApply alone has a call for it.
---@param settings table? the options of this call
---@return any value
---@return table? err
function client:ping(settings)
  local state = own(self, "ping", 2)
  if not operations.of(self.vendor).ping then
    error(("%s has no ping"):format(state.vendor.title), 2)
  end
  local plan = plans.make(state, "ping", nil, settings, 2)
  return perform.call(state, plan)
end

--- What is left of the quota: { limit, left, next_at }, with next_at in epoch seconds where a slot
-- is in use; an empty table where the vendor has none; nil and an error where its store fails.
---@return table?
---@return table? err
function client:quota()
  local state = own(self, "quota", 2)
  if not state.quota then
    return {}
  end
  local left, wait = state.quota:look()
  if not left then
    return nil, wait
  end
  return { limit = state.quota.limit, left = left, next_at = wait and state.wall() + wait }
end

--- Looks again at a call whose outcome was unknown: what it made, with how = "found", or nil and
-- the error unknown_outcome again.
---@param intent table of such an error; plain data, so it may have been kept
---@param settings table? { settle_timeout }
---@return table? result
---@return table? err
function client:settle(intent, settings)
  local state = own(self, "settle", 2)
  if type(intent) ~= "table" or type(intent.operation) ~= "string"
    or type(intent.params) ~= "table" or intent.place and type(intent.before) ~= "table" then
    error("the intent of an unknown_outcome error was expected", 2)
  elseif intent.vendor ~= self.vendor or intent.account ~= state.account then
    error("the intent is another account's", 2)
  elseif state.cannot then
    error(state.cannot, 2)
  end
  local given = options.read({ settle_timeout = states_of.rules.settle_timeout }, settings,
    "settle", 2)
  return perform.settle(state, intent,
    settings and given.settle_timeout or state.options.settle_timeout)
end

--- Can this client make that call? A receiver without credentials can make none.
---@param name string the operation
---@return boolean can
---@return string|boolean|nil why_not; or true, where no document shows the path that it goes to
function client:can(name)
  local state = own(self, "can", 2)
  if state.cannot then
    return false, state.cannot
  end
  local operation = operations.of(self.vendor)[name]
  if not operation then
    return false, ("unknown operation '%s' of %s"):format(tostring(name), state.vendor.name)
  end
  local given = (state.options.paths or {})[name]
  if not operation.path and not given then
    return false, ("option 'paths' of %s has no '%s'"):format(state.vendor.title, name)
  end
  return true, operation.unverified and not given or nil
end

-- What may be seen of the options: no credential, nothing that holds one.
local shown = { "timeout", "connect_timeout", "settle_timeout", "attempts", "limit", "allow_http",
  "ca_file", "tenant", "school_code", "test_events", "read_back" }

--- Has a client keep its quota and its intents in an inbox, which `open` gives (or nil and an
-- error). Whatever else stands in an app's accounts is left alone.
---@param self table
---@param open fun(): table?, table?
function M.share(self, open)
  local state = state_of(self)
  if state then
    state.open_shared = open
  end
end

--- Has every attempt of a client told to fn(operation, result), with the status of its answer, or
-- the kind of its failure.
---@param self table
---@param fn fun(operation: string, result: string)
function M.observe(self, fn)
  local state = state_of(self)
  if state then
    state.observe = fn
  end
end

--- Settles the calls of an account whose process is gone. `report(level, name, fields)` is a log's.
---@param self table
---@param report function
---@return table? err
function M.recover(self, report)
  local state = state_of(self)
  if state and not state.cannot and state.open_shared then
    return recovery.run(state, report)
  end
end

--- A client of a vendor.
---@param name string "dreamapply", "dreamclass" or "betterez"
---@param given table
---@param level integer where wrong options raise; 2 is the caller of the function that calls this
---@return table
function M.new(name, given, level)
  local vendor = require("billhook.vendor." .. name)
  local state, webhook = states_of.new(vendor, given, level + 1)
  local self = resource.all(state)
  self.vendor, self.webhook = name, webhook
  self.test_events = state.options.test_events
  self.read_back, self.watch = state.options.read_back, state.options.watch
  self.options = { base_url = not state.cannot and state.base.url or nil }
  for _, option in ipairs(shown) do
    self.options[option] = state.options[option]
  end
  return private.give(self, mt, state)
end

return M

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
--   settle_timeout   10   more seconds to find out the outcome of a create; 0: do not look
--   attempts         3    at most; 1: no retries
--   limit            67108864   bytes of an answer
--   quota            the vendor's; a number of requests a minute, { limit, window, store }, or
--                    false. store: a table, or the URL of an inbox (see billhook.client.quota)
--   transport        "curl", "worker", "resty", or a table (see billhook.transport)
--   ca_file, proxy, allow_http
--   clock, random    functions, for tests: seconds, and a number from 0 to 1
--   on_request, on_response   functions that are called for every attempt with { vendor, operation,
--                    method, url, attempt, traceparent }, afterwards also { duration, status or
--                    kind and message, quota_left }: no credentials. An error in them is ignored
--   webhook          what verifies this account's webhooks: { secret, basic, authorization,
--                    tolerance, limit }
--   test_events      false   run rules for events that are marked as tests
--   read_back        true    false: an app never reads invoices from this account's API
--   watch            names of more members whose change makes an event: { "reminded" }
--
-- One call may have its own timeout, connect_timeout, attempts, limit, and
--
--   traceparent      passed on: W3C's trace context
--   priority         "background" waits for the quota behind all others ("person")
--   settle_timeout, reference = { field, value }   of a call that must not happen twice
--
-- client.invoices, client.transactions, ... have a method for each operation. Its arguments are:
-- the parameters in the path, in their order; then a table with the other parameters, if the
-- operation has any; then the options of this call:
--
--   apply.invoices:get(123, { timeout = 5 })
--   apply.invoices:create(123, { currency = "EUR", items = { ... } }, { attempts = 1 })
--
-- billhook.vendor.* has the options of one vendor. Credentials are in no table that can be
-- iterated. A client without credentials but with `webhook` can only receive.

local accounts = require "billhook.client.account"
local core = require "billhook.core"
local options = require "billhook.options"
local pages = require "billhook.client.pages"
local private = require "billhook.private"
local rehearsal = require "billhook.rehearsal"
local requests = require "billhook.client.request"
local responses = require "billhook.client.response"
local sender = require "billhook.client.send"

local M = {}

-- --- carrying a call out -----------------------------------------------------------------------

local lists = { map = true, list = true, page = true }

local function failed(account, request, err)
  -- what the caller can do about an answer that is too large depends on what was asked
  if err.kind == "too_large" and not err.status and lists[request.answer] then
    err.message = ("the list is larger than the limit of %.0f bytes: walk it with each"):format(
      request.limit)
  end
  return nil, sender.error(account, request.name, err, responses.secrets(account, request))
end

-- A request is sent and its answer read: a value, or nil and an error.
local function send(account, request, how)
  local response, outcome = sender.send(account, request, how)
  if not response then return nil, outcome end
  local value, err = responses.read(account, request, response, outcome)
  if value == nil then -- a success that can't be read is one all the same
    err.attempts, err.open, err.retryable = how.attempts, true, request.idempotent
  end
  return value, err
end

-- The functions of this file that billhook.once needs for calls that must not happen twice.
local doors = {
  send = send,
  reserve = sender.reserve,
  give_back = sender.give_back,
  look = function(account, name, params, settings, how)
    local request = requests.new(account, name, params, nil, 2, false, settings)
    local list, err
    if request.answer == "page" then
      list, err = pages.all(account, request, how)
    else
      local response, outcome = sender.send(account, request, how)
      list, err = nil, outcome
      if response then list, err = responses.elements(account, request, response) end
    end
    if err then err.attempts = how.attempts end
    return list, err
  end,
  path = function(account, name, params)
    return core.call.prepare(account.vendor.name, name, params, account.options.paths).path
  end,
  tag = function(account, value, request)
    if request and not request.invoices then return value end
    return responses.tag(account, value)
  end,
}

-- The result of a call that a rehearsal (`replay --dry-run`) did not send, as far as it can be
-- known: the object that would have been sent, without an id.
local function pretended(account, request)
  if request.answer == "none" then return true end
  if request.answer == "location" then return { how = "created" } end
  local value = request.body and core.json.decode(request.body)
  if type(value) ~= "table" then return {} end
  return request.invoices and responses.tag(account, value) or value
end

-- In a rehearsal, calls that change nothing are sent as well.
local function is_rehearsed(request)
  return rehearsal.begun and request.method ~= "GET" and request.method ~= "HEAD"
    and not request.dry and rehearsal.told { method = request.method, url = request.url,
      operation = request.name, body = not request.private and request.body or nil }
end

-- What the caller came for, or nil and an error object.
local function call(account, request)
  if is_rehearsed(request) then return pretended(account, request) end
  local unable = sender.unable(account)
  if unable then return failed(account, request, unable) end
  local value, err
  if not request.idempotent then
    value, err = account.once.call(account, request, doors)
  elseif request.answer == "page" then
    value, err = pages.all(account, request,
      { deadline = account.now() + request.timeout }, request.limit)
  else
    value, err = send(account, request, {})
  end
  if value ~= nil then return value end
  return failed(account, request, err)
end

-- --- the methods of resources ------------------------------------------------------------------

local function expect_table(name, what, value, level)
  if value ~= nil and type(value) ~= "table" then
    error(options.wrong(name, what, "must be a table", value), level + 1)
  end
end

-- If the body is a table of the caller's, the other parameters are among the options of the call.
local function split(operation, params, given)
  local settings = {}
  for name, value in pairs(given or {}) do
    if name == "validate_only" and operation.dry then
      params[operation.dry] = value
    else
      (operation.more[name] and params or settings)[name] = value
    end
  end
  return settings
end

-- (operation, level, arguments...) -> parameters, options
local function arrange(operation, level, ...)
  local arguments, params, at, name = { ... }, {}, #operation.ids, operation.name
  for i, id in ipairs(operation.ids) do
    if arguments[i] == nil then error(("%s: '%s' is missing"):format(name, id), level + 1) end
    params[id] = arguments[i]
  end
  local takes = operation.body or next(operation.more)
  local settings = arguments[at + (takes and 2 or 1)]
  expect_table(name, "options", settings, level + 1)
  if takes then
    local given = arguments[at + 1]
    if operation.body then
      settings = split(operation, params, settings)
      params[operation.body] = given
    else
      expect_table(name, "parameters", given, level + 1)
      for key, value in pairs(given or {}) do -- those of the path stay as they are
        if params[key] == nil then params[key] = value end
      end
    end
  end
  if select("#", ...) > at + (takes and 2 or 1) then
    error(("%s: too many arguments"):format(name), level + 1)
  end
  return params, settings
end

-- A method of the object that stands for a resource; the account is nowhere else in it.
local function method(account, object, operation, walk)
  return function(self, ...)
    if self ~= object then error(options.no_method(operation.name), 2) end
    local params, settings = arrange(operation, 2, ...)
    local request = requests.new(account, operation.name, params, settings, 2, walk)
    return (walk and pages.walk or call)(account, request)
  end
end

-- The resource objects of a client, by name.
local function resources(account)
  local all = {}
  for name, operation in pairs(requests.operations(account.vendor.name)) do
    local resource, verb = name:match("^([%w_]+)%.([%w_]+)$")
    if resource then
      local object = all[resource]
        or setmetatable({}, { __index = {}, __name = "billhook." .. resource })
      local methods = getmetatable(object).__index
      all[resource] = object
      methods[verb] = method(account, object, operation)
      if verb == "list" and lists[operation.answer] then
        methods.each = method(account, object, operation, true)
      end
    end
  end
  return all
end

-- --- the client --------------------------------------------------------------------------------

---@class billhook.client
---@field vendor billhook.Vendor
local client = {}
local mt = { __index = client, __name = "billhook.client" }

-- The account of a client; nil for anything else.
local function account_of(self) return private.of(self, mt) end

function mt.__tostring(self)
  local account = account_of(self)
  return ("billhook.%s (%s)"):format(self.vendor,
    account.cannot and "receives only" or account.base.origin)
end

local function own(self, name)
  local account = account_of(self)
  if not account then error(options.no_method(name), 3) end
  return account
end

--- Any operation by name: the escape hatch.
---@param name string one of billhook.calls(vendor)
---@param params table? by their names, those of the path too
---@param settings table? the options of this call
---@return any value
---@return billhook.Error? err
function client:call(name, params, settings)
  local account = own(self, "call")
  expect_table(tostring(name), "parameters", params, 2)
  local copy = {}
  for key, value in pairs(params or {}) do copy[key] = value end
  local request = requests.new(account, name, copy, settings, 2)
  return call(account, request)
end

--- Is the vendor there, and does it know the key? DreamApply alone has a call for it.
---@param settings table? the options of this call
---@return any value
---@return billhook.Error? err
function client:ping(settings)
  local account = own(self, "ping")
  if not requests.operations(self.vendor).ping then
    error(("%s has no ping"):format(account.vendor.title), 2)
  end
  local request = requests.new(account, "ping", nil, settings, 2)
  return call(account, request)
end

--- What is left of the quota: { limit, left, next_at }, with next_at in epoch seconds where a slot
-- is in use; an empty table where the vendor has none; nil and an error where its store fails.
---@return { limit: integer, left: integer, next_at: number? }? quota
---@return billhook.Error? err
function client:quota()
  local account = own(self, "quota")
  if not account.quota then return {} end
  local left, wait = account.quota:look()
  if not left then return nil, wait end
  return { limit = account.quota.limit, left = left, next_at = wait and account.wall() + wait }
end

local settle_rules = { settle_timeout = accounts.rules.settle_timeout }

--- Finds out the outcome of a call that was unknown: what it made, with how = "found", or nil and
-- the error unknown_outcome again.
---@param intent table of such an error; plain data, so it may have been kept
---@param settings table? { settle_timeout }
---@return billhook.Record? result
---@return billhook.Error? err
function client:settle(intent, settings)
  local account = own(self, "settle")
  if type(intent) ~= "table" or type(intent.operation) ~= "string"
    or type(intent.params) ~= "table" or intent.place and type(intent.before) ~= "table" then
    error(options.wrong("settle", "intent", "must be that of an unknown_outcome error", intent), 2)
  elseif intent.vendor ~= self.vendor or intent.account ~= account.id then
    error("settle: 'intent' must be this account's", 2)
  elseif account.cannot then
    error(account.cannot, 2)
  end
  local given = options.read(settle_rules, settings, "settle", 2)
  local seconds = settings and given.settle_timeout or account.options.settle_timeout
  local value, err = nil, sender.unable(account)
  if not err then value, err = account.once.settle(account, intent, seconds, doors) end
  if value ~= nil then return value end
  return nil, sender.error(account, intent.operation, err)
end

--- Can this client make that call? A receiver without credentials can make none.
---@param name string the operation
---@return boolean can
---@return string|boolean|nil why_not; or true, where no document shows the path that it goes to
function client:can(name)
  local account = own(self, "can")
  if account.cannot then return false, account.cannot end
  local operation = requests.operations(self.vendor)[name]
  if not operation then
    return false, ("unknown operation '%s' of %s"):format(tostring(name), account.vendor.name)
  end
  local given = (account.options.paths or {})[name]
  if not operation.path and not given then
    return false, ("%s: 'paths' must have '%s'"):format(account.vendor.title, name)
  end
  return true, operation.unverified and not given or nil
end

--- Is it a client?
---@param value any
---@return boolean
function M.is(value) return type(value) == "table" and account_of(value) ~= nil end

--- Makes a client store its quota and its intents in an inbox, which `open` returns (or nil and an
-- error).
---@param self table
---@param open fun(): table?, table?
function M.share(self, open)
  local account = account_of(self)
  account.shared = open
  if account.quota then account.quota.shared = open end
end

--- Calls fn(operation, result) for every attempt of a client; result is the status of the answer or
-- the kind of the failure.
---@param self table
---@param fn fun(operation: string, result: string)
function M.observe(self, fn) account_of(self).observe = fn end

--- Settles the open calls of processes that have ended. `report(level, name, fields)` logs.
---@param self table
---@param report function
---@return billhook.Error? err
function M.recover(self, report)
  local account = account_of(self)
  if not account.cannot and account.shared then
    return account.once.recover(account, report, doors)
  end
end

-- What may be seen of the options: no credential, nothing that holds one.
local shown = { "timeout", "connect_timeout", "settle_timeout", "attempts", "limit", "allow_http",
  "ca_file", "tenant", "school_code", "test_events", "read_back" }

--- A client of a vendor.
---@param vendor table billhook.vendor.*
---@param given table
---@param once table what carries out the calls that must not happen twice: billhook.once
---@param level integer where wrong options raise; 2 is the caller of the function that calls this
---@return table
function M.new(vendor, given, once, level)
  local account, webhook = accounts.new(vendor, given, level + 1)
  account.once = once
  local self = resources(account)
  self.vendor, self.webhook = vendor.name, webhook
  self.test_events = account.options.test_events
  self.read_back, self.watch = account.options.read_back, account.options.watch
  self.options = { base_url = not account.cannot and account.base.url or nil }
  for _, option in ipairs(shown) do self.options[option] = account.options[option] end
  return private.give(self, mt, account)
end

return M

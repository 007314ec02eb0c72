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
--   false
--   transport        "curl", "worker", "resty", or a table (see billhook.transport)
--   ca_file, proxy, allow_http
--   clock, random    functions, for tests: seconds, and a number from 0 to 1
--   on_request, on_response   functions that are told of every attempt; they see no credentials
--   webhook          what verifies this account's webhooks: { secret, basic, authorization,
--                    tolerance, limit }
--   test_events      false   run rules for events that are marked as tests
--
-- The vendors' own options stand in billhook.vendor.*. Credentials are kept where no iteration
-- finds them. A client without credentials but with `webhook` can only receive.

local core = require "billhook.core"
local options = require "billhook.options"
local operations = require "billhook.operations"
local perform = require "billhook.perform"
local plans = require "billhook.plan"
local quotas = require "billhook.quota"
local resource = require "billhook.resource"
local retry = require "billhook.retry"

local M = {}

local MEBIBYTE = 1048576

local rules = {
  base_url = { "string" }, -- checked as a whole below: it depends on allow_http
  allow_http = { "boolean", default = false },
  timeout = { "number", check = options.positive, default = 30 },
  connect_timeout = { "number", check = options.positive, default = 5 },
  settle_timeout = { "number", check = options.not_negative, default = 10 },
  attempts = { "number", check = options.counting, default = retry.attempts },
  limit = { "number", check = options.counting, default = 64 * MEBIBYTE },
  quota = { { "number", "table", "boolean" } },
  transport = { { "string", "table" } },
  ca_file = { "string" },
  proxy = { "string", check = options.proxy },
  clock = { "function" },
  random = { "function" },
  on_request = { "function" },
  on_response = { "function" },
  webhook = { "table" },
  test_events = { "boolean", default = false },
}

local webhook_rules = {
  secret = { { "string", "table" } },
  basic = { "table" },
  authorization = { { "string", "table" } },
  tolerance = { "number", check = options.positive },
  limit = { "number", check = options.counting },
}

local quota_rules = {
  limit = { "number", check = options.counting },
  window = { "number", check = options.positive },
  store = { "table" },
}

local function rules_of(vendor)
  local all = {}
  for _, source in ipairs { rules, vendor.options } do
    for name, rule in pairs(source) do
      all[name] = rule
    end
  end
  return all
end

-- --- construction ------------------------------------------------------------------------------

-- The receiving side: keys that print as *** and are wiped, never the secrets themselves.
local function webhook_of(vendor, given, settings, level)
  local out = { tenant = settings.tenant, limit = vendor.body_limit }
  if given then
    local hook = options.read(webhook_rules, given, "the webhook of " .. vendor.title, level + 1)
    if hook.secret or hook.basic or hook.authorization then
      local fine, keys = pcall(core.verify.keys,
        { secret = hook.secret, basic = hook.basic, authorization = hook.authorization })
      if not fine then
        error(("option 'webhook' of %s: %s"):format(vendor.title, tostring(keys)), level + 1)
      end
      out.keys = keys
    end
    out.tolerance = hook.tolerance
    out.limit = hook.limit or out.limit
  end
  return out
end

local function quota_of(vendor, settings, state, level)
  local given = settings.quota
  if given == nil then
    given = vendor.quota or false
  end
  if given == false then
    return nil
  elseif type(given) == "number" then
    given = { limit = given }
  elseif given == true then
    error(("option 'quota' of %s must be a number, a table or false"):format(vendor.title),
      level + 1)
  end
  local quota = options.read(quota_rules, given, "the quota of " .. vendor.title, level + 1)
  quota.limit = quota.limit or vendor.quota
  if not quota.limit then
    error(("option 'quota' of %s needs a 'limit'"):format(vendor.title), level + 1)
  end
  quota.key = state.account
  quota.clock = state.now
  return quotas.new(quota)
end

-- What must never be seen: the credentials, and those in a proxy's URL.
local function secrets_of(vendor, settings)
  local secrets = {}
  for name, rule in pairs(vendor.options) do
    if rule.secret and settings[name] then
      secrets[#secrets + 1] = settings[name]
    end
  end
  local user = settings.proxy and settings.proxy:match("^[^/]*//([^/]*)@")
  if user then
    secrets[#secrets + 1] = user
    secrets[#secrets + 1] = user:match(":(.+)")
  end
  return secrets
end

-- A client that can't call is no mistake where webhooks are all it is for.
local function missing_of(vendor, settings)
  for _, name in ipairs(vendor.required) do
    if not settings[name] then
      return ("option '%s' of %s is missing"):format(name, vendor.title)
    end
  end
end

-- The usual transport is picked by the first call: who only receives needs no libcurl.
local lazily = {
  __index = function(state, name)
    if name == "transport" then
      state.transport = require("billhook.transport").pick()
      return state.transport
    end
  end,
}

-- See exchange.pause.
local function add_skew(state)
  local skew, now, wall = 0, state.now, state.wall
  state.skew = function(seconds) skew = skew + seconds end
  state.now = function() return now() + skew end
  state.wall = function() return wall() + skew end
end

local function use_transport(state, given, level)
  if not given then
    setmetatable(state, lazily)
    return
  end
  local picked, transport = pcall(require("billhook.transport").pick, given, 0)
  if not picked then
    error(("option 'transport' of %s: %s"):format(state.vendor.title, tostring(transport)),
      level + 1)
  end
  state.transport = transport
  if transport.slept then
    add_skew(state)
  end
end

-- What the client keeps for itself, read and checked; raises at `level`.
local function state_of(vendor, given, level)
  local settings = options.read(rules_of(vendor), given, vendor.title, level + 1)
  local missing = missing_of(vendor, settings)
  if missing and not settings.webhook then
    error(missing, level + 1)
  end
  local url = settings.base_url or vendor.base_url or "https://unset.invalid"
  local base, why = options.base_url(url, settings.allow_http)
  if not base then
    error(("option 'base_url' of %s %s"):format(vendor.title, why), level + 1)
  end
  local state = {
    vendor = vendor, base = base, cannot = missing, options = settings,
    headers = missing and {} or vendor.headers(settings),
    secrets = secrets_of(vendor, settings),
    -- names the account without giving its key away
    account = core.text.sha256(
      table.concat({ vendor.name, base.origin, settings.api_key or "" }, " ")),
    budget = retry.new_budget(),
    now = settings.clock or core.text.monotonic,
    wall = settings.clock or core.text.now,
    random = settings.random or math.random,
  }
  state.headers["User-Agent"] = "billhook/" .. require("billhook").version
  use_transport(state, settings.transport, level + 1)
  state.quota = quota_of(vendor, settings, state, level + 1)
  return state
end

-- --- the object --------------------------------------------------------------------------------

local states = setmetatable({}, { __mode = "k" })

local client = {}
local mt = { __index = client, __name = "billhook.client" }

function mt.__tostring(self)
  local state = states[self]
  return ("billhook.%s (%s)"):format(self.vendor,
    state.cannot and "receives only" or state.base.origin)
end

local function own(self, name, level)
  local state = states[self]
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
  local plan = plans.make(state, name, params, settings, 2)
  return perform.call(state, plan)
end

--- Is the vendor there, and does it know the key?
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
-- is in use; an empty table where the vendor has none.
---@return table
function client:quota()
  local state = own(self, "quota", 2)
  if not state.quota then
    return {}
  end
  local left, wait = state.quota:look()
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
  if type(intent) ~= "table" or type(intent.operation) ~= "string" then
    error("the intent of an unknown_outcome error was expected", 2)
  elseif intent.vendor ~= self.vendor or intent.account ~= state.account then
    error("the intent is another account's", 2)
  elseif state.cannot then
    error(state.cannot, 2)
  end
  local given = options.read({ settle_timeout = rules.settle_timeout }, settings, "settle", 2)
  return perform.settle(state, intent,
    settings and given.settle_timeout or state.options.settle_timeout)
end

--- Can this client make that call? A receiver without credentials can make none.
---@param name string the operation
---@return boolean can
---@return string? why_not
function client:can(name)
  local state = own(self, "can", 2)
  if state.cannot then
    return false, state.cannot
  end
  local operation = operations.of(self.vendor)[name]
  if not operation then
    return false, ("unknown operation '%s' of %s"):format(tostring(name), state.vendor.name)
  elseif not operation.path and not (state.options.paths or {})[name] then
    return false, ("option 'paths' of %s has no '%s'"):format(state.vendor.title, name)
  end
  return true
end

-- What may be seen of the options: no credential, nothing that holds one.
local shown = { "timeout", "connect_timeout", "settle_timeout", "attempts", "limit", "allow_http",
  "ca_file", "tenant", "test_events" }

--- A client of a vendor.
---@param name string "dreamapply", "dreamclass" or "betterez"
---@param given table
---@param level integer where wrong options raise; 2 is the caller of the function that calls this
---@return table
function M.new(name, given, level)
  local vendor = require("billhook.vendor." .. name)
  local state = state_of(vendor, given, level + 1)
  local self = resource.all(state)
  self.vendor = name
  self.webhook = webhook_of(vendor, state.options.webhook, state.options, level + 1)
  state.options.webhook = nil
  self.test_events = state.options.test_events
  self.options = { base_url = not state.cannot and state.base.url or nil }
  for _, option in ipairs(shown) do
    self.options[option] = state.options[option]
  end
  states[self] = state
  return setmetatable(self, mt)
end

return M

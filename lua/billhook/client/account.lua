--- The private part of a client, its account: the checked options, and what is made from them.
--
-- client/init.lua lists the options. The other files of this folder work on an account: { vendor,
-- base, cannot = why it can't call, options, headers, secrets, id = a digest that stands for the
-- owner of the invoices, key = one that stands for the API key, budget, quota, transport, now,
-- wall, random, once = see billhook.once; if an app has the client, shared() -> the app's inbox }.

local core = require "billhook.core"
local options = require "billhook.options"
local quotas = require "billhook.client.quota"
local retry = require "billhook.client.retry"
local share = require "billhook.shared"
local transports = require "billhook.transport"
local version = require "billhook.version"

local M = {}

local MEBIBYTE = 1048576

local function check_watch(value)
  local names = {}
  for i, name in ipairs(value) do
    names[i] = type(name) == "string" and name:find("^[^.]+") and name or nil
  end
  for key in pairs(value) do
    if not names[key] then
      return nil, "must be a list of members' names, such as \"reminded\" or \"serie.name\""
    end
  end
  return names
end

M.rules = {
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
  read_back = { "boolean", default = true },
  watch = { "table", check = check_watch },
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
  store = { { "table", "string" }, check = share.check },
}

-- Raises what is wrong with an option; `level` counts from the caller of the function here.
local function refuse(vendor, name, why, level)
  error(("%s: '%s' %s"):format(vendor.title, name, why), level + 2)
end

-- --- the receiving side ------------------------------------------------------------------------

-- A text that is equal for equal secrets, in this process, and says nothing else about them.
local salt

local function prints_of(given)
  if not given then return nil end
  salt = salt or core.text.random(32)
  local prints = {}
  for i, secret in ipairs(type(given) == "table" and given or { given }) do
    prints[i] = core.text.hex(core.verify.hmac(salt, secret))
  end
  return prints
end

-- Does one stand in quotes? A file of settings may have left them there.
local function is_quoted(...)
  for _, given in pairs { ... } do
    for _, secret in ipairs(type(given) == "table" and given or { given }) do
      if secret:find "^(['\"]).*%1$" then return true end
    end
  end
end

local witness

---Calls fn with each `webhook` and the options it was made of: for `billhook verify --rules`, which
---explains wrong signatures, and needs the secrets for that.
---@param fn fun(webhook: table, given: table)
function M.witness(fn) witness = fn end

-- Keys that print as *** and are wiped, never the secrets themselves.
local function webhook_of(vendor, settings, level)
  local out = { tenant = settings.tenant, limit = vendor.body_limit }
  if not settings.webhook then return out end
  local hook = options.read(webhook_rules, settings.webhook, vendor.title .. "'s webhook",
    level + 1)
  if hook.secret or hook.basic or hook.authorization then
    local fine, keys = pcall(core.verify.keys,
      { secret = hook.secret, basic = hook.basic, authorization = hook.authorization })
    if not fine then refuse(vendor, "webhook", "can't be used: " .. tostring(keys), level) end
    out.keys = keys
    out.prints = { secret = prints_of(hook.secret), authorization = prints_of(hook.authorization),
      basic = prints_of(hook.basic and table.concat(hook.basic, ":")) }
  end
  out.quoted = is_quoted(hook.secret, hook.basic, hook.authorization)
  out.empty = out.keys == nil or nil -- asked for, and nothing is in it
  out.tolerance = hook.tolerance
  out.limit = hook.limit or out.limit
  if witness then witness(out, hook) end
  return out
end

-- --- the calling side --------------------------------------------------------------------------

local function quota_of(account, given, level)
  local vendor = account.vendor
  if given == nil then given = vendor.quota or false end
  if given == false then return nil end
  if type(given) == "number" then given = { limit = given } end
  if given == true then refuse(vendor, "quota", "must be a number, a table or false", level) end
  local quota = options.read(quota_rules, given, vendor.title .. "'s quota", level + 1)
  quota.limit = quota.limit or vendor.quota
  if not quota.limit then refuse(vendor, "quota", "must have a 'limit'", level) end
  quota.key, quota.clock = account.key, account.now
  return quotas.new(quota)
end

-- The texts that must never be shown: the credentials, and those in a proxy's URL.
local function secrets_of(vendor, settings)
  local secrets = {}
  for name, rule in pairs(vendor.options) do
    if rule.secret and settings[name] then secrets[#secrets + 1] = settings[name] end
  end
  local user = settings.proxy and settings.proxy:match("^[^/]*//([^/]*)@")
  if user then
    secrets[#secrets + 1] = user
    secrets[#secrets + 1] = user:match(":(.+)")
  end
  return secrets
end

-- The first call picks the usual transport: a client that only receives needs no libcurl.
local lazily = {
  __index = function(account, name)
    if name ~= "transport" then return nil end
    local transport = transports.pick()
    setmetatable(account, nil).transport = transport
    return transport
  end,
}

-- The first call picks the usual transport; a client uses the clocks of its transport.
local function use_transport(account, given, level)
  if not given then return setmetatable(account, lazily) end
  local picked, transport = pcall(transports.pick, given, 0)
  if not picked then
    refuse(account.vendor, "transport", "can't be used: " .. tostring(transport), level)
  end
  account.transport = transport
  if not account.options.clock then
    account.now, account.wall = transport.now or account.now, transport.wall or account.wall
  end
end

-- A digest that reveals nothing. It does not depend on the key if something else identifies the
-- account: after a change of the key, open calls are still those of the account.
local function digest(vendor, base, identity)
  return core.text.sha256(table.concat({ vendor.name, base.url, identity or "" }, " "))
end

local function base_of(vendor, settings, level)
  local url = settings.base_url or vendor.base_url or "https://unset.invalid"
  local base, why = options.base_url(url, settings.allow_http)
  why = why or vendor.doubt and vendor.doubt(base)
  if why then refuse(vendor, "base_url", why, level) end
  return base
end

-- A client that cannot call is allowed if it has `webhook`: it only receives.
local function missing_of(vendor, settings)
  for _, name in ipairs(vendor.required) do
    if not settings[name] then return ("%s: '%s' is missing"):format(vendor.title, name) end
  end
end

--- What a client of a vendor keeps; wrong options raise at `level`.
---@return table account
---@return table webhook
function M.new(vendor, given, level)
  local rules = {}
  for _, source in ipairs { M.rules, vendor.options } do
    for name, rule in pairs(source) do rules[name] = rule end
  end
  local settings = options.read(rules, given, vendor.title, level + 1)
  local missing = missing_of(vendor, settings)
  if missing and not settings.webhook then error(missing, level + 1) end
  local base = base_of(vendor, settings, level + 1)
  local account = {
    vendor = vendor, base = base, cannot = missing, options = settings,
    headers = missing and {} or vendor.headers(settings),
    secrets = secrets_of(vendor, settings),
    id = digest(vendor, base, vendor.identity(settings)),
    key = digest(vendor, base, settings.api_key),
    budget = retry.new_budget(),
    now = settings.clock or core.text.monotonic,
    wall = settings.clock or core.text.now,
    random = settings.random or retry.chance,
  }
  account.headers["User-Agent"] = "billhook/" .. version
  use_transport(account, settings.transport, level + 1)
  account.quota = quota_of(account, settings.quota, level + 1)
  local webhook = webhook_of(vendor, settings, level + 1)
  settings.webhook = nil
  return account, webhook
end

return M

-- intake.lua: from a delivery's raw bytes to events for the inbox.
--
-- Everything here happens before the inbox is asked, and may run on nginx's
-- event loop: no waiting. What is refused is refused with one of few words,
-- which tell a forger nothing; the log says why. What is authentic is never
-- refused: where it cannot be acted on it becomes a dead letter. So nothing is
-- believed that only a header says of the body, but that it is compressed.

local core = require "billhook.core"
local dispatch = require "billhook.dispatch"
local metrics = require "billhook.delivery.metrics"

local M = {}

local DEFAULT_LIMIT = 8 * 1024 * 1024

local STATUS = {
  unsigned = 401, unauthorized = 401, mismatch = 401, stale = 401, future = 401, tenant = 401,
  unconfigured = 401, header = 400, malformed = 400, encoding = 415,
}

local WORDS = {
  [400] = "malformed", [401] = "not authentic", [404] = "no such account",
  [413] = "body too large", [415] = "unsupported media type", [503] = "store unavailable",
}

local JSON = { ["Content-Type"] = "application/json" }
local JSON_LATER = { ["Content-Type"] = "application/json", ["Retry-After"] = "5" }

---The answer for a status that is no success.
---@param status integer
---@return integer status, string reply, table headers
function M.refusal(status)
  return status, ('{"error":"%s"}'):format(WORDS[status]), status == 503 and JSON_LATER or JSON
end

---The answer that every vendor counts as success.
function M.success() return 200, '{"ok":true}', JSON end

-- What is never stored. Names are of members, and of what a { name, value } calls so; one with a
-- star is the end of a name. Common words are only taken for credentials where a provider is what
-- the event is about. What its `params` hold is the provider's own (signerKey, key and so on, for
-- each another), so there it goes by the place: only the vendor's words for what a provider is,
-- which its API filters by, are kept.
local SECRETS = { "*apiKey", "*authorization", "*password", "*passwd", "*passphrase", "*secret",
  "*signerKey", "*signingKey", "*privateKey", "*accessToken", "*refreshToken", "*clientSecret" }
local OF_PROVIDER = { "*key", "*token", "*secret", "*password", "*passwd", "*passphrase", "*pwd",
  "*authorization", "*credential", "*certificate" }
local KEPT = { "name", "type", "invoiceProviderType", "country", "channel", "channels", "enabled",
  "operatingCompany" }

-- The body without what is secret. Of an event that says nothing of what it is, the most is taken.
local function redact(vendor, native, text)
  if vendor == "dreamclass" then return core.json.redact(text, { "signature" }) end
  if vendor ~= "betterez" then return text end
  if native and not native:lower():find("provider", 1, true) then
    return core.json.redact(text, SECRETS)
  end
  return core.json.redact(text, OF_PROVIDER, "params", KEPT)
end

local PROVEN = { body = true, api = true }

-- Is it about an invoice that only the API can vouch for, and can that be asked?
local function is_unproven(app, account, delivery, found)
  if PROVEN[delivery.trust] or not found.invoice then return nil end
  return dispatch.can_refetch(app.accounts[account]) and true or nil
end

---The rules for a type; a test event has none, unless the account wants them.
---@param found { live: boolean, native: string }
---@return string[]
function M.rules_of(app, account, found, type)
  if not found.live and not app.accounts[account].test_events then return {} end
  return app.dispatch:select(account, type, found.native)
end

-- the unified type of a vendor's own
local type_of = setmetatable({}, { __index = function(self, vendor)
  self[vendor] = require("billhook.vendor." .. vendor).type_of
  return self[vendor]
end })

---One event for the inbox.
---@param app table
---@param account string
---@param delivery table what core.verify gave
---@param found table one of its events
---@param body string what to keep of it
---@param under boolean is its data the member "data" of that?
---@return table event
function M.event(app, account, delivery, found, body, under)
  local vendor = delivery.vendor
  local type = "unknown" -- as is what a bad item is about
  if found.native then type = type_of[vendor](found.native) end
  local wanted = found.live or app.accounts[account].test_events
  local event = {
    account = account, id = found.id, source = "webhook", vendor = vendor, type = type,
    native = found.native or "unknown", invoice = found.invoice, tenant = delivery.tenant,
    live = found.live,
    trust = delivery.trust, digest = found.digest, occurred_at = found.occurred_at,
    body = body, under = under, reason = found.bad,
    unproven = is_unproven(app, account, delivery, found),
    rules = found.bad and {} or M.rules_of(app, account, found, type),
  }
  if not wanted then event.note = "test event" end
  -- an invoice is created once: what says so again says that it has changed. Where nothing proves
  -- either and nobody can be asked, the first may be a forgery, and the second the creation
  if type == "invoice.created" and event.invoice and wanted and not found.bad then
    event.key = "invoice.created:" .. event.invoice
    if PROVEN[delivery.trust] or event.unproven then
      event.again = { type = "invoice.updated",
        rules = M.rules_of(app, account, found, "invoice.updated") }
    else
      event.again = { type = type, rules = event.rules, doubtful = true }
    end
  end
  return event
end

local function events_of(app, account, delivery, body)
  local events = {}
  local whole = delivery.vendor ~= "dreamapply"
  for i, found in ipairs(delivery.events) do
    local kept = redact(delivery.vendor, found.native, whole and body or found.data)
    events[i] = M.event(app, account, delivery, found, kept, whole)
  end
  return events
end

---Counts and logs what is refused.
---@param app table
---@param account any
---@param status integer
---@param code string a word
---@param message? string
function M.refused(app, account, status, code, message)
  local name = app.accounts[account or ""] and account or "?"
  metrics.add(app, "delivery refused " .. name)
  metrics.add(app, "refusal " .. code .. " " .. name)
  app.log(status == 503 and "error" or "warn", "refused",
    { account = name, status = status, code = code, message = message })
end

---What can be refused before the body is there, so that a stranger's is not waited for: nil, or a
---status, a reply and its headers.
---@param app table
---@param account any
---@param headers table
---@param length integer|nil bytes of the body, where they are told
---@return integer|nil, string|nil, table|nil
function M.early(app, account, headers, length)
  local client = app.accounts[account]
  local status, code, message = 404, "account", nil
  if client then
    local hook = client.webhook or {}
    status, code = 413, "size"
    if not (length and length > (hook.limit or DEFAULT_LIMIT)) then
      local ok, why, detail = core.verify.headers(client.vendor, headers, hook.keys)
      status, code, message = not ok and (STATUS[why] or 503) or nil, why, detail
    end
  end
  if not status then return nil end
  M.refused(app, account, status, code, message)
  return M.refusal(status)
end

---Events of a delivery; or a status, a reply and its headers.
---@param app table
---@param account any
---@param headers any
---@param body any
---@return table|integer, string|nil, table|nil
function M.examine(app, account, headers, body)
  local function refuse(status, code, message)
    M.refused(app, account, status, code, message)
    return M.refusal(status)
  end
  local client = type(account) == "string" and app.accounts[account] or nil
  if not client then return refuse(404, "account") end
  if type(headers) ~= "table" then return refuse(400, "header", "headers must be a table") end
  if type(body) ~= "string" then return refuse(400, "malformed", "the body must be a string") end
  local hook = client.webhook or {}
  if #body > (hook.limit or DEFAULT_LIMIT) then return refuse(413, "size") end
  local delivery, code, message = core.verify.check(client.vendor, headers, body, hook.keys,
    { tenant = hook.tenant, tolerance = hook.tolerance, now = app.clock and app.clock() })
  if not delivery then return refuse(STATUS[code] or 503, code, message) end
  return events_of(app, account, delivery, body)
end

return M

--- What is particular to Betterez: its options, its headers, the names of its events.
--
-- Options:
--
--   api_key   sent as x-api-key
--   token     the JWT of a user, for sensitive calls: sent as a bearer token
--   base_url  "https://api.betterez.com/invoices"   inferred: the documents show no path of
--   invoices

local core = require "billhook.core"
local options = require "billhook.options"

local M = {
  name = "betterez",
  title = "billhook.betterez",
  base_url = "https://api.betterez.com/invoices",
  required = { "api_key" },
  trust = "body",
  refetch = "invoices.get",
  body_limit = 8 * 1048576,
  lists_open = false, -- invoices are listed by transaction only
  -- its invoices do not tell what was paid or is due when
  never = { ["invoice.paid"] = true, ["invoice.overdue"] = true, ["payment.created"] = true,
    ["payment.updated"] = true, ["payment.deleted"] = true },
}

M.options = {
  api_key = { "string", check = options.header, secret = true },
  token = { "string", check = options.header, secret = true },
}

--- What tells one account from another on the same host: its application's key. The token, which
-- changes often, has no part in it.
function M.identity(settings)
  return settings.api_key
end

--- The headers of every request.
function M.headers(settings)
  return {
    ["x-api-key"] = settings.api_key,
    ["authorization"] = settings.token and "Bearer " .. settings.token,
  }
end

-- --- answers -----------------------------------------------------------------------------------

--- An invoice's id as text, or nil.
function M.id_of(invoice)
  return type(invoice._id) == "string" and invoice._id or nil
end

local function transaction_of(sent)
  local nested = type(sent.retryData) == "table" and sent.retryData or {}
  local id = sent.transactionId or nested.transactionId
  return type(id) == "string" and #id == 24 and not id:find("%X") and id:lower() or nil
end

-- A transaction has one invoice: whatever issued it, it is the one.
local look = {
  family = "invoices.issue", -- of one place, whichever of the calls it is
  list = "invoices.list",
  params = function(sent) return { transactionId = transaction_of(sent) } end,
  place = transaction_of,
  matches = function(sent, seen)
    return transaction_of { transactionId = seen.transactionId } == transaction_of(sent)
  end,
  -- an answer about another transaction
  contradicts = function(sent, seen)
    return seen.transactionId ~= nil
      and transaction_of { transactionId = seen.transactionId } ~= transaction_of(sent)
  end,
  id = function(element) return type(element._id) == "string" and element._id or nil end,
  already = "TRANSACTION_ALREADY_INVOICED",
  whole = true, -- the answer is the invoice itself
}

--- How the outcome of a call that must not happen twice is looked up (see billhook.once).
M.looks = { ["invoices.issue"] = look, ["invoices.retry"] = look }

-- --- an invoice's members ----------------------------------------------------------------------

--- What the documents say an invoice consists of, and how each member is compared (see
--- app.compare). What a provider adds is named there without its inside, so all of it counts; a
--- plain `total` is what billhook.invoice reads where there are no totals.
M.documented = { "record", {
  _id = "id", authNumber = "value", serie = "value", number = "value", type = "value",
  data = "value", accountId = "value", invoiceProviderType = "value", invoiceProviderId = "value",
  transactionId = "value", createdBy = "value", updatedBy = "value",
  createdAt = { "record", { value = "instant" } }, -- its offset only spells the zone
  updatedAt = { "record", { value = "instant" } },
  buyer = "value", items = "value", certified = "value", currency = "value",
  totals = { "record", { total = "decimal" }, open = true },
  total = "decimal",
} }

--- Members that change without the invoice having changed.
M.silent = { "updatedAt", "updatedBy" }

--- When the vendor wrote this state: the text of an instant, or nil. Of two states the later
--- written is the newer one.
---@param invoice table
---@return string?
function M.written(invoice)
  local at = invoice.updatedAt
  if type(at) == "table" then
    at = at.value
  end
  return type(at) == "string" and at or nil
end

--- When an invoice came to be, as it stands there; the day that it is dated is another.
function M.came(invoice)
  local at = invoice.createdAt
  return type(at) == "table" and at.value or at
end

-- --- events ------------------------------------------------------------------------------------

local families = {
  invoices = "invoice", invoice_providers = "invoice_provider", invoiceemail = "invoice_email",
  shifts = "shift",
}

local known = {
  ["invoices.created"] = "invoice.created", ["invoices.updated"] = "invoice.updated",
  ["refund.created"] = "payment.refunded",
}

local function unified(native)
  local family, verb = native:match("^([%w_-]+)%.([%w_.-]+)$")
  if not family then
    return "unknown"
  elseif known[native:lower()] or family:lower() == "invoices" then
    return known[native:lower()] or "invoice.updated"
  end
  family = family:lower()
  return (families[family] or family:gsub("-", "_")) .. "." .. verb:lower()
end

local types = {} -- of those that it is known to send

--- The unified type: invoices.created is invoice.created. What else is told of an invoice is a
--- change of it: no document shows that one could be deleted.
---@param native string
---@return string
function M.type_of(native) return types[native] or unified(native) end

--- What it is known to send; more may come.
M.natives = { "invoices.created", "invoices.updated", "invoice_providers.created",
  "invoice_providers.updated", "invoice_providers.deleted", "invoiceemail.created",
  "refund.created", "transaction.completed", "transaction.updated", "ticket.created",
  "ticket.updated", "solditem.created", "solditem.updated", "redeemableitem.created",
  "redeemableitem.updated", "parcel.created", "parcel.updated", "parcel.scan.created",
  "giftcertificate.created", "giftcertificate.updated", "shift.created", "shift.updated",
  "shift.closed", "shifts.deposit.created" }

local remarks = {
  ["invoices.updated"] = "and whatever else it may tell of invoices",
  ["refund.created"] = "names no invoice: `data` is the refund",
}

--- The table of events: the vendor's word, ours, and a remark. See docs/vendors.md.
M.events = {}
for i, native in ipairs(M.natives) do
  M.events[i] = { native, unified(native), remarks[native] or "" }
  types[native] = M.events[i][2]
end

--- What an entry of the list of undelivered webhooks tells: what the webhook itself would have,
--- where the entry has its members (`id`, `event`, `data`). Only that there is such a list is
--- documented, so one without them tells nothing.
---@param entry table
---@return { id: string, native: string, invoice: string?, live: boolean, occurred_at: number? }?
function M.undelivered(entry)
  local id, native, data = entry.id, entry.event, entry.data
  if type(id) ~= "string" or not id:find "^[%w_.-]+$" or #id > 128 or type(native) ~= "string"
    or type(data) ~= "table" then return nil end
  local at = type(entry.created) == "number" and entry.created or nil
  return { id = id, native = native, live = entry.livemode ~= false,
    invoice = native:find "^invoices%." and M.id_of(data) or nil,
    occurred_at = at and at >= 1e11 and at / 1000 or at }
end

-- --- what is never stored ------------------------------------------------------------------------

-- Names are of members, and of what a { name, value } calls so; one with a
-- star is the end of a name. Common words are only taken for credentials where a provider is what
-- the event is about. What its `params` hold is the provider's own (signerKey, key and so on, for
-- each another), so there it goes by the place: only the vendor's words for what a provider is,
-- which its API filters by, are kept. Data that is a text instead may be anything.
local SECRETS = { "*apiKey", "*authorization", "*password", "*passwd", "*passphrase", "*secret",
  "*signerKey", "*signingKey", "*privateKey", "*accessToken", "*refreshToken", "*clientSecret" }
local OF_PROVIDER = { "*key", "*token", "*secret", "*password", "*passwd", "*passphrase", "*pwd",
  "*authorization", "*credential", "*certificate", "*pem", "*pfx", "*pin" }
local PLACES = { "*param", "*parameter", "*setting", "*config", "*configuration" }
local KEPT = { "name", "type", "invoiceProviderType", "country", "channel", "channels", "enabled",
  "operatingCompany" }

--- The body of an event without what is secret. Of one that says nothing of what it is, the most is
-- taken.
---@param text string
---@param native string?
---@return string
function M.redact(text, native)
  if native and not native:lower():find("provider", 1, true) then
    return core.json.redact(text, SECRETS)
  end
  local from, to = core.verify.member(text, "data")
  if from and text:sub(from, from) == '"' then
    text = text:sub(1, from - 1) .. '"***"' .. text:sub(to + 1)
  end
  return core.json.redact(text, OF_PROVIDER, PLACES, KEPT)
end

return M

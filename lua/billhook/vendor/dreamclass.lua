--- What is particular to DreamClass: its options, its headers, the names of its events.
--
-- Options:
--
--   tenant          the school's DreamClass domain, a header of every call and checked in every
--   webhook
--   school_code     a header of every call
--   api_key         and how it is sent, for the documents don't say:
--   api_key_header  "Authorization"
--   api_key_prefix  ""   "Bearer " for instance
--   paths           { ["invoices.get"] = "/financial/invoices/{id}" }: paths that are not
--                   published, or that differ
--   base_url        "https://api.dreamclass.io/dreamclassapi/v1"   seen in third-party code only

local core = require "billhook.core"
local options = require "billhook.options"

local M = {
  name = "dreamclass",
  title = "billhook.dreamclass",
  base_url = "https://api.dreamclass.io/dreamclassapi/v1",
  required = { "api_key" },
  trust = "id",
  refetch = "invoices.get",
  body_limit = 1048576,
  lists_open = false, -- no call that lists open invoices is published
}

local function check_prefix(value)
  if value:find("[%z\1-\31\127]") then
    return nil, "must not have control characters in it"
  end
  return value
end

local function check_paths(value)
  local paths, known = {}, {}
  for _, operation in ipairs(core.call.list "dreamclass") do known[operation.name] = true end
  for name, path in pairs(value) do
    if type(name) ~= "string" or type(path) ~= "string" or not path:find("^/[^%s?#%z\1-\31]*$") then
      return nil, "must hold paths that begin with a slash, by the names of operations"
    end
    if not known[name] then return nil, ("has '%s', which is no operation"):format(name) end
    local why = core.call.wrong_path("dreamclass", name, path)
    if why then return nil, ("has a bad path of %s (%s)"):format(name, why) end
    paths[name] = path
  end
  return paths
end

-- names that other headers of a request have
local taken = { tenant = true, schoolcode = true, accept = true, ["content-type"] = true,
  ["user-agent"] = true, traceparent = true }

local function check_header_name(value)
  if taken[value:lower()] then
    return nil, "is another header's name"
  end
  return options.token(value)
end

M.options = {
  tenant = { "string", check = options.header },
  school_code = { "string", check = options.header },
  api_key = { "string", check = options.header, secret = true },
  api_key_header = { "string", check = check_header_name, default = "Authorization" },
  api_key_prefix = { "string", check = check_prefix, default = "" },
  paths = { "table", check = check_paths },
}

--- What tells one account from another on the same host.
function M.identity(settings)
  if settings.tenant or settings.school_code then
    return (settings.tenant or "") .. " " .. (settings.school_code or "")
  end
  return settings.api_key
end

--- The headers of every request; their case is the one in the documents.
function M.headers(settings)
  return {
    ["tenant"] = settings.tenant,
    ["schoolCode"] = settings.school_code,
    [settings.api_key_header] = settings.api_key_prefix .. settings.api_key,
  }
end

-- --- answers -----------------------------------------------------------------------------------

--- An invoice's id as text, or nil.
function M.id_of(invoice)
  local id = tonumber(invoice.id)
  return id and id % 1 == 0 and ("%d"):format(id) or nil
end

--- No list of invoices or payments is documented: what became of a create or a payment can't be
-- looked up, and stays unknown.
M.looks = {}

-- --- an invoice's members ----------------------------------------------------------------------

--- What the documents say an invoice consists of, and how each member is compared (see
--- app.compare). What a payment consists of they say in parts only, so all of it counts.
M.documented = { "record", {
  id = "id", fees = { "list", { id = "id" } },
  email = "value", amount = "decimal", status = "value", address = "value", dueDate = "value",
  fullname = "value", createdAt = "instant", issueDate = "value", telephone = "value",
  invoiceRefId = "value", publicNotes = "value", privateNotes = "value",
  paidAmount = "decimal",
  payments = { "map", {
    id = "id", invoiceId = "id", amount = "decimal", status = "value", createdAt = "instant",
    date = "instant", publicNotes = "value", privateNotes = "value",
    paymentmethod = { "record", { id = "id" }, open = true },
  }, open = true },
} }

--- Members that change without the invoice having changed.
M.silent = { "payments.updatedAt", "payments.updatedBy" }

--- The member that holds the payments, and the members of a payment that tell when it came.
M.payments = "payments"
M.payment_time = { "createdAt", "date" }

--- When an invoice came to be, as it stands there; the day that it is dated is another.
function M.came(invoice)
  return invoice.createdAt ~= "" and invoice.createdAt or invoice.issueDate
end

-- --- events ------------------------------------------------------------------------------------

--- The table of events: the vendor's word, ours, and a remark; more may come. See docs/vendors.md.
M.events = {}

--- What it is known to send.
M.natives = {}

local verbs = { CREATED = "created", UPDATED = "updated", DELETED = "deleted" }

--- The unified type: STUDENT_PERIOD_CREATED is student_period.created. What else is told of an
--- invoice or a payment is a change of it.
---@param native string
---@return string
function M.type_of(native)
  local family, verb = native:match("^([%w_]+)_(%w+)$")
  if not family then
    return "unknown"
  elseif not verbs[verb] and (family == "INVOICE" or family == "PAYMENT") then
    verb = "UPDATED"
  end
  return family:lower() .. "." .. (verbs[verb] or verb:lower())
end

local remarks = {
  PAYMENT_CREATED = "`payment.refunded` where its `status` is 4",
  PAYMENT_UPDATED = "`payment.refunded` where its `status` is 4",
}

for _, family in ipairs { "INVOICE", "PAYMENT", "STUDENT_PERIOD", "STUDENT_CLASS",
  "STUDENT_COURSE", "PERIOD", "CLASS" } do
  for _, verb in ipairs { "CREATED", "UPDATED", "DELETED" } do
    local native = family .. "_" .. verb
    M.natives[#M.natives + 1] = native
    M.events[#M.events + 1] = { native, M.type_of(native), remarks[native] or "" }
  end
end

--- Says a payment that it was paid back?
---@param payment table
---@return boolean
function M.is_refunded(payment)
  return payment.status == 4 or payment.status == "4"
end

--- The type of news, by what its data says beside its name.
---@param name string the type, as type_of gives it
---@param data any decoded
---@return string
function M.type_by(name, data)
  local is_news = name == "payment.created" or name == "payment.updated"
  local refunded = is_news and type(data) == "table" and M.is_refunded(data)
  return refunded and "payment.refunded" or name
end

--- The body of a delivery without what is secret.
function M.redact(text) return core.json.redact(text, { "signature" }) end

return M

-- cli/samples.lua: made-up deliveries in each vendor's shape, for `trigger`.
--
-- What an event carries is that of its kind: a payment's a payment, a
-- provider's a provider. Where the vendor's documents do not show it there is
-- no sample.

local text = require("billhook.core").text
local json = require "billhook.json"

local M = {}

local function uuid()
  local hex = text.hex(text.random(16))
  local variant = ("89ab"):sub(tonumber(hex:sub(17, 17), 16) % 4 + 1)
  return table.concat({ hex:sub(1, 8), hex:sub(9, 12), "4" .. hex:sub(14, 16),
    variant:sub(1, 1) .. hex:sub(18, 20), hex:sub(21, 32) }, "-")
end

local function iso(seconds) return (text.iso(seconds):gsub("%+00:00$", ".000Z")) end

-- An invoice is created once: a second sample of it would be an update.
local function number()
  return tonumber(text.hex(text.random(3)), 16) + 1000
end

-- how a vendor's event names begin with what they are of
local families = { dreamapply = "^%a*", dreamclass = "^%u*", betterez = "^[%l_]*" }

-- vendor -> family -> the data of its events
local data = { dreamapply = {}, dreamclass = {}, betterez = {} }

function data.dreamclass.INVOICE(now)
  local id = number()
  return {
    id = id, fees = json.array { { id = 86 }, { id = 85 } }, email = "payer@example.com",
    amount = 300, status = 1, address = "Address 1",
    dueDate = text.iso(now + 14 * 86400):sub(1, 10),
    fullname = "Sam Sample", createdAt = text.iso(now), issueDate = text.iso(now):sub(1, 10),
    telephone = "123456789", invoiceRefId = ("sample-%d"):format(id),
  }
end

function data.dreamclass.PAYMENT(now)
  return { id = number(), invoiceId = number(), amount = 300, status = 1,
    paymentmethod = { id = 2 }, createdAt = text.iso(now) }
end

local account = "563c1457c4f260b0b7765569"

function data.betterez.invoices(now)
  return {
    _id = text.hex(text.random(12)), serie = "456889", number = "1261913952",
    type = "certification", invoiceProviderId = "5f243d100617680712e78dd7",
    authNumber = "BD2ECBAC-4B37-4760-8DD9-9D50C3C9B194", transactionId = "616d7cf38fedff37e449215c",
    accountId = account, createdBy = "4e9774b45f014e0100000003",
    updatedBy = "4e9774b45f014e0100000003", createdAt = { value = iso(now), offset = 0 },
    updatedAt = { value = iso(now), offset = 0 },
  }
end

function data.betterez.invoice_providers(now)
  return { _id = text.hex(text.random(12)), accountId = account, name = "Infile",
    invoiceProviderType = "infile", enabled = true, params = { signerKey = "sample" },
    createdAt = { value = iso(now), offset = 0 }, updatedAt = { value = iso(now), offset = 0 } }
end

function data.betterez.invoiceemail()
  return { from = "no-reply@example.com", to = json.array { "payer@example.com" } }
end

function data.dreamapply.Invoice(now)
  return {
    logged = text.iso(now), bind = json.array { "AF-100001" },
    invoice = ("/api/v9/invoices/%d"):format(number()),
    application = "/api/v9/applications/1", applicant = "/api/v9/applicants/1",
  }
end

local bodies = {}

function bodies.dreamclass(kind, of, options, now)
  return { id = options.id or uuid(), type = kind, tenant = options.tenant or "my-school",
    timestamp = math.floor(now * 1000), data = of }
end

function bodies.betterez(kind, of, options, now)
  return { id = options.id or uuid(), attemptId = uuid(), event = kind, livemode = not options.test,
    created = math.floor(now), data = of }
end

-- the journal counts up; seconds do so too, and give each sample an id of its own
function bodies.dreamapply(kind, of, options, now)
  of.id = options.id and tonumber(options.id) or math.floor(now)
  of.event = kind
  return of
end

-- Our names of what a vendor has an event for. Of DreamApply's sentences hardly one is documented.
local natives = {
  dreamclass = {
    ["invoice.created"] = "INVOICE_CREATED", ["invoice.updated"] = "INVOICE_UPDATED",
    ["invoice.deleted"] = "INVOICE_DELETED", ["payment.created"] = "PAYMENT_CREATED",
    ["payment.updated"] = "PAYMENT_UPDATED", ["payment.deleted"] = "PAYMENT_DELETED",
  },
  betterez = {
    ["invoice.created"] = "invoices.created", ["invoice.updated"] = "invoices.updated",
    ["invoice_provider.created"] = "invoice_providers.created",
    ["invoice_provider.updated"] = "invoice_providers.updated",
    ["invoice_provider.deleted"] = "invoice_providers.deleted",
  },
  dreamapply = {
    ["invoice.created"] = "Invoice was created: ?", ["invoice.updated"] = "Invoice was edited: ?",
    ["invoice.deleted"] = "Invoice was deleted: ?",
    ["invoice.collected"] = "Invoice was collected: ?",
  },
}

---Our names of a vendor's events.
---@param vendor string
---@return string[]
function M.names(vendor)
  local names = {}
  for name in pairs(natives[vendor]) do names[#names + 1] = name end
  table.sort(names)
  return names
end

---The vendor's own name of an event; ours, such as invoice.created, are translated. nil: the vendor
---has no such event.
---@param vendor string
---@param kind string
---@return string|nil
function M.native(vendor, kind)
  local native = natives[vendor][kind]
  local ours = kind:find "^invoice%.%l+$" or kind:find "^payment%.%l+$"
  if native or ours then return native end
  return kind
end

---A delivery's body, not yet signed.
---@param vendor string
---@param kind string
---@param options table `id`, `tenant`, `test`, `data` (a table in place of the made-up one)
---@return string|nil
---@return string|nil message
function M.body(vendor, kind, options)
  local now, native = text.now(), M.native(vendor, kind)
  if not native then
    return nil, ("%s sends no %s; it sends %s"):format(vendor, kind,
      table.concat(M.names(vendor), ", "))
  end
  local make = data[vendor][native:match(families[vendor])]
  if not options.data and not make then
    return nil, ("no document shows the data of %s: give it by --data"):format(native)
  end
  return json.encode(bodies[vendor](native, options.data or make(now), options, now))
end

return M

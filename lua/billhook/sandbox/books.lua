-- books.lua - the sandbox's DreamApply: its invoices, their payments, its applicants, and the
-- journal that tells of them.

local core = require "billhook.core"
local filters = require "billhook.sandbox.filters"
local json = require "billhook.json"
local past = require "billhook.sandbox.past"
local sender = require "billhook.sandbox.sender"
local values = require "billhook.sandbox.values"

local M = {}

local null = json.null
local last_application = 9999 -- applications 1 to this one exist, each its applicant's
local smallprint = "This invoice has been issued electronically and is valid without a signature"

--- A link of the API; null without an id.
function M.link(kind, id) return id and ("/api/v9/%s/%d"):format(kind, id) or null end

--- A decimal as the API writes it, of two places; nil where it is none.
function M.decimal(value)
  local number = values.number(value)
  return number and (("%.2f"):format(number):gsub(",", ".")) -- some locales write a comma
end

--- A decimal in hundredths.
function M.cents(text) return math.floor(tonumber(text) * 100 + 0.5) end

--- An empty instance. Series 1 preserves the invoices of an applicant that is deleted, 2 does not.
function M.state(world)
  local now = values.iso(world:now())
  return { invoices = past.new(), journal = {}, purged = {}, gone = {}, calls = {},
    last_invoice = 0, last_transaction = 0, series = {
      { id = 1, name = "Default invoice series", format = "AF-%inc%",
        last = { when = now, number = 0 } },
      { id = 2, name = "Application fee", format = "FEE-%inc%", last = { when = now, number = 0 } },
    } }
end

-- --- journal and webhooks

local links = { "administrator", "applicant", "application", "course", "institution", "invoice",
  "offer", "document", "flag", "tracker" }

local shapes = {
  item = function(item) return item end,
  list = function(item) return json.array { item } end,
  map = function(item) return { [tostring(item.id)] = item } end,
}

--- Body and headers of a webhook about a journal item.
function M.body_of(options, item)
  return json.encode(shapes[options.shape](item)), { ["Authorization"] = options.authorization }
end

--- A journal item.
function M.item_of(world, id, text, about)
  local item = { id = id, logged = values.iso(world:now()), event = text, bind = about.bind }
  for _, name in ipairs(links) do item[name] = about[name] or null end
  return item
end

--- What is known of an invoice in the journal.
function M.about_invoice(invoice)
  return { bind = json.array { invoice.nr }, applicant = invoice.applicant,
    application = invoice.application, course = invoice.course,
    invoice = M.link("invoices", invoice.id) }
end

--- Writes the journal, and tells it by webhook. Gives the delivery.
function M.record(world, text, about)
  local my, options = world.dreamapply, world.options.dreamapply
  local item = M.item_of(world, #my.journal + 1, text, about)
  my.journal[item.id] = item
  local invoice = filters.id_in(item.invoice)
  return sender.send(world, "dreamapply", { id = tostring(item.id), type = text,
    invoice = invoice and tostring(invoice), data = item }, function()
    return M.body_of(options, item)
  end)
end

-- --- invoices

--- Writes an invoice, or that it is gone.
function M.put(world, id, invoice)
  past.put(world.dreamapply.invoices, id, invoice, world:written())
end

--- What the API shows: without what it does not know of an invoice.
function M.shown(invoice, options)
  local out = {}
  for name, value in pairs(invoice) do out[name] = value end
  out.lapsed = nil
  if options.empty == "array" and not next(out.collections) then out.collections = json.array {} end
  return out
end

--- The invoices that the API shows.
function M.all(world)
  local list = {}
  for i, one in ipairs(past.all(world.dreamapply.invoices, world:seen("dreamapply"))) do
    list[i] = one.value
  end
  return list
end

--- An invoice as the API shows it.
function M.find(world, id)
  return past.get(world.dreamapply.invoices, tonumber(id), world:seen("dreamapply"))
end

--- An invoice as it is.
function M.latest(world, id) return past.get(world.dreamapply.invoices, tonumber(id)) end

-- items are objects in the sample, [item, price, qty, unit] in the text
local function line_of(raw)
  if type(raw) ~= "table" or raw == null then return nil end
  local name, price = raw.item or raw[1], M.decimal(raw.price or raw[2])
  local qty, unit = M.decimal(raw.qty or raw[3] or 1), raw.unit or raw[4] or null
  if type(name) ~= "string" or not price or not qty then return nil end
  return { item = name, price = price, qty = qty, unit = unit ~= "" and unit or null,
    inventory_item_ID = null }
end

--- Lines as the API has them, of what was sent; nil where they cannot be read.
function M.lines_of(list)
  if type(list) ~= "table" or #list == 0 then return nil end
  local items = {}
  for i, raw in ipairs(list) do
    items[i] = line_of(raw)
    if not items[i] then return nil end
  end
  return items
end

local function deadline_of(value, now)
  if value == nil then return values.day(now + 14 * 86400) end
  local date = type(value) == "string" and value:match("^%d%d%d%d%-%d%d%-%d%d")
  return date and core.text.datetime(date .. "T00:00:00+00:00") and date
end

local function serie_of(my, id) return my.series[tonumber(id or 1)] end

local function payer_of(given)
  if given == nil then return { name = "John Smith", email = "john.smith@example.com" } end
  if type(given) ~= "table" then return nil end
  return { name = given.name or given[1] or null, email = given.email or given[2] or null }
end

local switches = { On = true, Off = false }

--- What POST takes: fields checked, or nil and the text of a 400.
function M.checked(world, fields)
  if not fields then return nil, "Request body is not a JSON object" end
  if type(fields.currency) ~= "string" or not fields.currency:match("^%u%u%u$") then
    return nil, "Parameter currency is missing or invalid"
  end
  local good = { items = M.lines_of(fields.items), deadline = deadline_of(fields.deadline,
    world:now()), serie = serie_of(world.dreamapply, fields.serie_ID),
    payer = payer_of(fields.payer), reminder = true }
  if not good.items then return nil, "Parameter items is missing or invalid" end
  for _, name in ipairs { "deadline", "payer" } do
    if not good[name] then return nil, ("Parameter %s is invalid"):format(name) end
  end
  if not good.serie then return nil, "Parameter serie_ID is invalid" end
  if fields.reminder ~= nil then good.reminder = switches[fields.reminder] end
  if good.reminder == nil then return nil, "Parameter reminder is invalid" end
  if fields.course_ID and not tonumber(fields.course_ID) then
    return nil, "Parameter course_ID is invalid"
  end
  return good
end

--- A new invoice, of fields and what checked() gave.
function M.add(world, application, fields, good)
  local my, now = world.dreamapply, values.iso(world:now())
  local id = my.last_invoice + 1
  my.last_invoice = id
  good.serie.last = { when = now, number = good.serie.last.number + 1 }
  M.put(world, id, {
    id = id, type = fields.type or "Invoice",
    nr = good.serie.format:gsub("%%inc%%", ("%d"):format(100000 + id)),
    serie = { id = good.serie.id, name = good.serie.name },
    applicant = M.link("applicants", application),
    application = M.link("applications", application),
    course = M.link("courses", tonumber(fields.course_ID)), deadline = good.deadline, issued = now,
    delivered = now, reminder = good.reminder, reminded = null, collected = null,
    currency = fields.currency, items = good.items, collections = {},
    instructions = fields.instructions or "", smallprint = fields.smallprint or smallprint,
    payer = good.payer,
  })
  return M.latest(world, id)
end

--- What an invoice is about, in hundredths.
function M.total(invoice)
  local sum = 0
  for _, item in ipairs(invoice.items) do
    sum = sum + math.floor(tonumber(item.price) * tonumber(item.qty) * 100 + 0.5)
  end
  return sum
end

-- What a gateway has not captured is no money.
local function is_money(one) return one.payment == null or one.payment.status == "captured" end

--- What was paid of it, in hundredths.
function M.paid_so_far(invoice)
  local paid = 0
  for _, one in pairs(invoice.collections) do
    if is_money(one) then paid = paid + M.cents(one.amount) end
  end
  return paid
end

--- Writes an invoice whose payments have changed: paid in full or not, no more and no less.
function M.settle(world, invoice)
  local full = M.paid_so_far(invoice) == M.total(invoice) and M.total(invoice) ~= 0
  local was = invoice.collected
  invoice.collected = full and (was ~= null and was or values.iso(world:now())) or null
  M.put(world, invoice.id, invoice)
  if full and was == null then
    return M.record(world, "Invoice was collected: ?", M.about_invoice(invoice))
  end
end

local ulid = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

local function new_ulid()
  return "01" .. (core.text.random(24):gsub(".", function(c)
    local n = c:byte() % 32 + 1
    return ulid:sub(n, n)
  end))
end

--- The `payment` of a transaction that went over a gateway.
function M.gateway_payment(world, args)
  local now, name = values.iso(world:now()), type(args.gateway) == "string" and args.gateway
  return { payment = new_ulid(), external_id = "pi_" .. values.hex(12),
    status = args.status or "captured", message = args.message or null, inserted = now,
    updated = now, gateway = { id = 39, name = name or "Stripe", adapter = name or "Stripe" } }
end

--- A new payment. Gives its id, and the delivery that tells of it, if any does.
function M.pay(world, invoice, amount, payment)
  local my, now = world.dreamapply, values.iso(world:now())
  local id = my.last_transaction + 1
  my.last_transaction = id
  invoice = values.copy(invoice)
  invoice.collections[tostring(id)] = { id = id, amount = amount,
    invoice = M.link("invoices", invoice.id), inserted = now, collected = now:sub(1, 10),
    administrator = null, payment = payment or null }
  return id, M.settle(world, invoice)
end

--- The payments that the API shows.
function M.transactions(world)
  local list = {}
  for _, invoice in ipairs(M.all(world)) do
    for _, one in pairs(invoice.collections) do list[#list + 1] = one end
  end
  return list
end

-- --- applicants who are deleted

local function purge(world, kind, id)
  local purged, now = world.dreamapply.purged, values.iso(world:now())
  purged[#purged + 1] = { id = id, type = kind, created = now, request_to_be_forgotten = null,
    marked = { at = now } }
end

-- The end of the day, when what is marked for removal is removed.
local function until_night(world) return 86400 - world:now() % 86400 end

local function leave(world, invoice)
  local copy = values.copy(invoice)
  copy.applicant, copy.application = null, null
  M.put(world, invoice.id, copy)
  if invoice.serie.id == 1 or invoice.collected ~= null then return end
  world:later(until_night(world), function()
    local now = M.latest(world, invoice.id)
    if now and now.collected == null then M.put(world, invoice.id, nil) end
  end)
end

--- Deletes an applicant, whose invoices are detached or, at night, removed.
function M.delete_applicant(world, id)
  local my = world.dreamapply
  my.gone[id] = true
  for _, one in ipairs(past.all(my.invoices)) do
    if filters.id_in(one.value.applicant) == id then leave(world, one.value) end
  end
  purge(world, "Application", id)
  purge(world, "Applicant", id)
  return M.record(world, "Applicant was deleted", { bind = json.array {},
    applicant = M.link("applicants", id), application = M.link("applications", id) })
end

--- Is there such an application and its applicant?
function M.exists(world, id)
  return id >= 1 and id <= last_application and not world.dreamapply.gone[id]
end

return M

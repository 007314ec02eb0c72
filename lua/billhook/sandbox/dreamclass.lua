-- dreamclass.lua - the sandbox's DreamClass: the financial calls below /dreamclassapi/v1 and the
-- INVOICE_* and PAYMENT_* webhooks.
--
-- The API's invoice tells what was paid; a webhook's does not. Invoices and payments have no
-- number: `invoiceRefId` is the user's, and null until somebody sets it. The signature stands in
-- the body and covers the id alone. Webhooks that are sent again have the same id and a new
-- timestamp. Of GetInvoice, GetInvoices, GetPaymentMethods, CreateFees and GetPeriodFees no
-- document shows the paths: those here are the sandbox's own.

local core = require "billhook.core"
local json = require "billhook.json"
local past = require "billhook.sandbox.past"
local sender = require "billhook.sandbox.sender"
local values = require "billhook.sandbox.values"

local M = {}

local null = json.null
local prefix = "^/dreamclassapi/v1"
local VALID, REFUNDED = 1, 4 -- of a payment; 2 is invalid, 3 pending

M.defaults = { api_key = "sandbox-key", tenant = "my-school", school_code = "MS1", secret = "123",
  basic = { "sandbox", "sandbox-hook" }, retry_interval = 60, lag = 0 }

--- An empty instance.
function M.state()
  return { invoices = past.new(), fees = {}, last_invoice = 0, last_payment = 0, last_fee = 0 }
end

local function failure(status, message) return status, { message = message } end

--- The body of an error: no document says what it is.
function M.failure(status) return { message = ("Error %d of the sandbox"):format(status) } end

local function now_iso(world)
  local now = world:now()
  return (values.iso(now):gsub("%+", "." .. values.millis(now) .. "+", 1))
end

-- --- webhooks

local function delivery_of(world, options, id, kind, text, signature)
  local basic = core.text.base64(options.basic[1] .. ":" .. options.basic[2])
  return ('{"id":"%s","data":%s,"type":"%s","tenant":"%s","signature":"%s","timestamp":%.0f}')
    :format(id, text, kind, options.tenant, signature, world:now() * 1000),
    { ["Authorization"] = "Basic " .. basic }
end

local function signature_of(secret, id) return core.text.base64(core.verify.hmac(secret, id)) end

local function hook(world, kind, data, invoice)
  local options, id, text = world.options.dreamclass, values.uuid(), json.encode(data)
  return sender.send(world, "dreamclass", { id = id, type = kind, data = data,
    invoice = ("%d"):format(invoice) }, function()
    return delivery_of(world, options, id, kind, text, signature_of(options.secret, id))
  end)
end

-- What a webhook has of an invoice: no payments, and notes only where there are some.
local function told(invoice)
  local data = {}
  for name, value in pairs(invoice) do data[name] = value end
  data.payments = nil
  if data.publicNotes == null then data.publicNotes = nil end
  if data.privateNotes == null then data.privateNotes = nil end
  return data
end

local function hook_invoice(world, kind, invoice)
  return hook(world, kind, told(invoice), invoice.id)
end

local function hook_payment(world, kind, payment)
  local delivery = hook(world, kind, payment, payment.invoiceId)
  delivery.payment = ("%d"):format(payment.id)
  return delivery
end

-- --- invoices, payments and fees

local function latest(world, id) return past.get(world.dreamclass.invoices, tonumber(id)) end

local function put(world, id, invoice)
  past.put(world.dreamclass.invoices, id, invoice, world:written())
  return invoice
end

-- What the API has of an invoice. Only what is valid is paid.
local function whole(invoice)
  local out = values.copy(invoice)
  out.paidAmount = 0
  for _, payment in ipairs(out.payments) do
    if payment.status == VALID then out.paidAmount = out.paidAmount + payment.amount end
  end
  return out
end

local function amount_of(value)
  local number = values.number(value)
  return number and math.floor(number * 100 + 0.5) / 100
end

local function new_fee(world, fields)
  local my = world.dreamclass
  my.last_fee = my.last_fee + 1
  local fee = { id = 80 + my.last_fee, type = fields.type or "school",
    period = fields.period or "oneoff", cost = amount_of(fields.cost) or 100,
    description = fields.description or fields.decription or "Tuition",
    startDate = fields.startDate or values.day(world:now()), interval = fields.interval,
    duration = fields.duration, schoolPeriodId = values.number(fields.schoolPeriodId) or 1 }
  my.fees[#my.fees + 1] = fee
  return fee
end

local function create(world, args)
  local my, now = world.dreamclass, world:now()
  local amount = amount_of(args.amount) or 300
  my.last_invoice = my.last_invoice + 1
  local fee = new_fee(world, { cost = amount, schoolPeriodId = args.schoolPeriodId })
  return put(world, my.last_invoice, {
    id = my.last_invoice, fees = json.array { { id = fee.id } }, email = "test@test.com",
    amount = amount, status = 1, address = "Address 1", dueDate = args.dueDate
      or values.day(now + 30 * 86400), fullname = "John Sample", createdAt = now_iso(world),
    issueDate = args.issueDate or values.day(now), telephone = "123456789",
    invoiceRefId = args.invoiceRefId or null, publicNotes = args.publicNotes or null,
    privateNotes = args.privateNotes or null, payments = json.array {},
  })
end

-- 2 or { id = 2 }: the text says a number, the schema an object
local function method_of(value)
  return values.number(type(value) == "table" and value.id or value)
end

local function pay(world, invoice, amount, method, args)
  local my, copy = world.dreamclass, values.copy(invoice)
  my.last_payment = my.last_payment + 1
  local payment = { id = my.last_payment, invoiceId = invoice.id, amount = amount,
    status = args.status or VALID, paymentmethod = { id = method },
    createdAt = args.createdAt or now_iso(world), publicNotes = args.publicNotes or null,
    privateNotes = args.privateNotes or null }
  table.insert(copy.payments, payment)
  put(world, copy.id, copy)
  return copy, hook_payment(world, "PAYMENT_CREATED", payment)
end

-- The invoice of a payment, to be changed, and the payment in it.
local function payment_of(world, id)
  for _, one in ipairs(past.all(world.dreamclass.invoices)) do
    for i, payment in ipairs(one.value.payments) do
      if payment.id == id then
        local copy = values.copy(one.value)
        return copy, copy.payments[i], i
      end
    end
  end
end

-- --- calls

local routes = {}
local function route(method, pattern, handler)
  routes[#routes + 1] = { method = method, pattern = prefix .. pattern .. "$", handler = handler }
end

local function is_date(value)
  return type(value) == "string" and value:find("^%d%d%d%d%-%d%d%-%d%d$")
    and core.text.datetime(value .. "T00:00:00+00:00") ~= nil
end

-- Sets what may be edited; nil and what is wrong.
local function edit(target, fields, names)
  for _, name in ipairs(names) do
    local value = fields[name]
    if value ~= nil and name:find("Date$") and not is_date(value) then
      return nil, name .. " is not valid"
    end
    if value ~= nil then target[name] = value end
  end
  return true
end

route("GET", "/financial/invoices/list", function(world)
  local list = json.array {}
  for i, one in ipairs(past.all(world.dreamclass.invoices, world:seen("dreamclass"))) do
    list[i] = whole(one.value)
  end
  return 200, list
end)

route("GET", "/financial/invoices/([^/]+)", function(world, _, id)
  local invoice = past.get(world.dreamclass.invoices, id, world:seen("dreamclass"))
  if not invoice then return failure(404, "Invoice not found") end
  return 200, whole(invoice)
end)

local entities = { student = true, guardian = true }

route("POST", "/financial/invoices/create", function(world, fields)
  for _, name in ipairs { "entityType", "entityId", "schoolPeriodId" } do
    if fields[name] == nil then return failure(400, name .. " is required") end
  end
  if not entities[fields.entityType] then return failure(400, "entityType is not valid") end
  for _, name in ipairs { "issueDate", "dueDate" } do
    if fields[name] ~= nil and not is_date(fields[name]) then
      return failure(400, name .. " is not valid")
    end
  end
  local invoice = create(world, { issueDate = fields.issueDate, dueDate = fields.dueDate,
    publicNotes = fields.publicNotes, privateNotes = fields.privateNotes,
    schoolPeriodId = fields.schoolPeriodId })
  hook_invoice(world, "INVOICE_CREATED", invoice)
  return 200, whole(invoice)
end)

-- Not idempotent: the same call twice is two payments.
route("POST", "/financial/invoices/pay/([^/]+)", function(world, fields, id)
  local invoice, amount = latest(world, id), amount_of(fields.amount)
  if not invoice then return failure(404, "Invoice not found") end
  local method = method_of(fields.paymentmethod)
  if not amount or not method then
    return failure(400, "amount and paymentmethod are required")
  end
  return 200, whole((pay(world, invoice, amount, method, { createdAt = fields.createdAt,
    publicNotes = fields.publicNotes, privateNotes = fields.privateNotes })))
end)

route("PATCH", "/financial/invoices/update/([^/]+)", function(world, fields, id)
  local invoice = latest(world, id)
  if not invoice then return failure(404, "Invoice not found") end
  local copy = values.copy(invoice)
  local ok, why = edit(copy, fields, { "publicNotes", "privateNotes", "issueDate", "dueDate",
    "invoiceRefId" })
  if not ok then return failure(400, why) end
  put(world, id, copy)
  hook_invoice(world, "INVOICE_UPDATED", copy)
  return 200, whole(copy)
end)

-- 200 with a body that no document shows: here it is the payment.
route("PATCH", "/financial/invoices/payment/([^/]+)", function(world, fields, id)
  local invoice, payment = payment_of(world, id)
  if not invoice then return failure(404, "Payment not found") end
  local ok, why = edit(payment, fields, { "publicNotes", "privateNotes" })
  if fields.date ~= nil then
    ok, why = core.text.datetime(tostring(fields.date)) or is_date(fields.date), "date is not valid"
    payment.createdAt = is_date(fields.date) and fields.date .. "T00:00:00.000+00:00" or fields.date
  end
  if not ok then return failure(400, why) end
  put(world, invoice.id, invoice)
  hook_payment(world, "PAYMENT_UPDATED", payment)
  return 200, payment
end)

route("GET", "/financial/paymentmethods/list", function()
  return 200, json.array { { id = 1, name = "Cash" }, { id = 2, name = "Bank Transfer" },
    { id = 3, name = "Online" }, { id = 4, name = "Check" } }
end)

route("GET", "/financial/fees/list/([^/]+)", function(world, _, period)
  local list = json.array {}
  for _, fee in ipairs(world.dreamclass.fees) do
    if fee.schoolPeriodId == period then list[#list + 1] = fee end
  end
  return 200, list
end)

route("POST", "/financial/fees/create", function(world, fields)
  if not amount_of(fields.cost) then return failure(400, "cost is required") end
  return 200, new_fee(world, fields)
end)

route("PATCH", "/financial/fees/update/([^/]+)", function(world, fields, id)
  local fee = world.dreamclass.fees[id - 80]
  if not fee then return failure(404, "Fee not found") end
  local ok, why = edit(fee, fields, { "cost", "description", "startDate", "duration", "interval" })
  if not ok then return failure(400, why) end
  return 200, fee
end)

route("POST", "/financial/fees/assign", function(_, fields)
  if type(fields.studentIds) ~= "table" or type(fields.feesIds) ~= "table" then
    return failure(400, "studentIds and feesIds are required")
  end
  return 200, ("%d"):format(#fields.studentIds), { ["Content-Type"] = "application/json" }
end)

route("GET", "/curriculum/schoolperiods/list", function()
  return 200, json.array { { id = 1, name = "First period" } }
end)

--- Answers a request: status, body, headers.
function M.answer(world, request)
  local options, headers = world.options.dreamclass, request.headers
  if headers["authorization"] ~= options.api_key then return failure(401, "Unauthorized") end
  if headers["tenant"] ~= options.tenant or headers["schoolcode"] ~= options.school_code then
    return failure(403, "Unknown tenant or school")
  end
  for _, one in ipairs(routes) do
    local id = request.path:match(one.pattern)
    if id and one.method == request.method then
      local fields = request.method == "GET" and {} or values.object(request.body)
      if not fields then return failure(400, "The body is not a JSON object") end
      local named = one.pattern:find("(", 1, true)
      if named and not id:find("^%d+$") then return failure(400, "The id is not valid") end
      return one.handler(world, fields, named and tonumber(id))
    end
  end
  return failure(404, "Not found")
end

-- --- what happens without the API

local triggers = {}

triggers.INVOICE_CREATED = function(world, invoice)
  return hook_invoice(world, "INVOICE_CREATED", invoice)
end

triggers.INVOICE_UPDATED = function(world, invoice, args)
  local copy = values.copy(invoice)
  copy.amount = amount_of(args.amount) or copy.amount
  local ok, why = edit(copy, args, { "publicNotes", "privateNotes", "issueDate", "dueDate",
    "invoiceRefId", "fullname", "email", "address", "telephone" })
  if not ok then return nil, why end
  return hook_invoice(world, "INVOICE_UPDATED", put(world, copy.id, copy))
end

triggers.INVOICE_DELETED = function(world, invoice)
  put(world, invoice.id, nil)
  return hook_invoice(world, "INVOICE_DELETED", invoice)
end

triggers.PAYMENT_CREATED = function(world, invoice, args)
  local amount = amount_of(args.amount) or invoice.amount - whole(invoice).paidAmount
  local _, delivery = pay(world, invoice, amount, method_of(args.paymentmethod) or 2, args)
  return delivery
end

-- The payment that is named, or the invoice's last one.
local function chosen(world, invoice, args)
  local last = invoice.payments[#invoice.payments]
  local id = args.payment == nil and last and last.id or values.number(args.payment)
  local holder, payment, at = payment_of(world, id)
  if not holder or holder.id ~= invoice.id then return nil, "no such payment" end
  return holder, payment, at
end

triggers.PAYMENT_UPDATED = function(world, invoice, args)
  local holder, payment = chosen(world, invoice, args)
  if not holder then return nil, payment end
  payment.status = values.number(args.status) or payment.status
  payment.amount = amount_of(args.amount) or payment.amount
  put(world, holder.id, holder)
  return hook_payment(world, "PAYMENT_UPDATED", payment)
end

triggers.PAYMENT_DELETED = function(world, invoice, args)
  local holder, payment, at = chosen(world, invoice, args)
  if not holder then return nil, payment end
  table.remove(holder.payments, at)
  put(world, holder.id, holder)
  return hook_payment(world, "PAYMENT_DELETED", payment)
end

-- The four ways of the vendor's help page: each is some of the events above, and no event of its
-- own. A card's makes the invoice unpaid again; a full one is a discount of all of it; one of a
-- manual payment is the invoice deleted; a partial one is the payment deleted, the invoice edited,
-- the payment made again.
local refunds = {}

function refunds.card(world, invoice, args)
  return triggers.PAYMENT_UPDATED(world, invoice, { payment = args.payment, status = REFUNDED })
end

function refunds.full(world, invoice)
  return triggers.INVOICE_UPDATED(world, invoice, { amount = 0 })
end

function refunds.manual(world, invoice) return triggers.INVOICE_DELETED(world, invoice) end

function refunds.partial(world, invoice, args)
  local back = amount_of(args.amount)
  local holder, payment = chosen(world, invoice, args)
  if not holder then return nil, payment end
  if not back or back > payment.amount then return nil, "amount is no part of the payment" end
  triggers.PAYMENT_DELETED(world, invoice, args)
  triggers.INVOICE_UPDATED(world, latest(world, invoice.id), { amount = invoice.amount - back })
  return triggers.PAYMENT_CREATED(world, latest(world, invoice.id),
    { amount = payment.amount - back, paymentmethod = payment.paymentmethod })
end

--- Makes something happen as if in the application: type "invoice.created", .updated, .deleted,
--- "payment.created", .updated, .deleted, or the vendor's own; "refund" with how = "card", "full",
--- "manual" or "partial". Gives the (last) delivery, or nil and what there is not.
function M.trigger(world, args)
  local given = args.type or "invoice.created"
  local kind = given:find("^%l+%.%l+$") and given:gsub("%.", "_"):upper() or given
  local trigger = triggers[kind] or given == "refund" and refunds[args.how or "card"]
  if not trigger then
    local names = { refund = true }
    for name in pairs(triggers) do names[name:lower():gsub("_", ".")] = true end
    return nil, values.no_event("DreamClass", given, names)
  end
  local invoice = latest(world, values.number(args.invoice))
  if args.invoice and not invoice then return nil, "no invoice " .. tostring(args.invoice) end
  if not invoice then
    invoice = create(world, kind == "PAYMENT_CREATED" and {} or args)
  end
  return trigger(world, invoice, args)
end

--- A delivery that the vendor never sent, about an invoice: with a guessed signature, or with the
--- id and signature of the last one that was sent, which cover nothing else.
function M.forge(world, args, proof)
  local options, last = world.options.dreamclass, sender.captured(world, "dreamclass")
  if proof == "captured" and not last then return nil, "nothing was sent yet" end
  local number = values.number(args.invoice) or 1
  local data = { id = number, fees = json.array {}, email = "test@test.com",
    amount = amount_of(args.amount) or 0, status = 1, address = "Address 1",
    dueDate = values.day(world:now()), fullname = "John Sample", createdAt = now_iso(world),
    issueDate = values.day(world:now()), telephone = "123456789", invoiceRefId = "abc123" }
  local id = proof == "captured" and last.event or values.uuid()
  local kind = args.type or "INVOICE_UPDATED"
  local secret = proof == "captured" and options.secret or "a guess"
  return sender.send(world, "dreamclass", { id = id, type = kind, data = data,
    invoice = ("%d"):format(number) }, function()
    return delivery_of(world, options, id, kind, json.encode(data), signature_of(secret, id))
  end)
end

return M

-- dreamclass.lua - the sandbox's DreamClass: the financial calls below /dreamclassapi/v1 and the
-- INVOICE_* and PAYMENT_* webhooks.
--
-- The signature stands in the body and covers the id alone. Webhooks that are sent again have
-- the same id and a new timestamp.

local core = require "billhook.core"
local http = require "billhook.sandbox.http"
local json = require "billhook.json"
local sender = require "billhook.sandbox.sender"

local M = {}

local prefix = "^/dreamclassapi/v1"

M.defaults = { api_key = "sandbox-key", tenant = "my-school", school_code = "MS1", secret = "123",
  basic = { "sandbox", "sandbox-hook" }, retry_interval = 60 }

local function today(days) return core.text.iso(ngx.time() + (days or 0) * 86400):sub(1, 10) end

local function now_iso()
  local now = ngx.now()
  local millis = (".%03d+"):format(math.floor(now % 1 * 1000))
  return (core.text.iso(math.floor(now)):gsub("%+", millis, 1))
end

function M.state()
  return { invoices = {}, payments = {}, fees = {}, last_invoice = 0, last_payment = 0,
    last_fee = 0 }
end

-- --- webhooks

local function uuid()
  local hex = core.text.hex(core.text.random(16))
  return ("%s-%s-4%s-%s%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16),
    ("89ab"):sub(#hex % 4 + 1, #hex % 4 + 1), hex:sub(18, 20), hex:sub(21, 32))
end

local function hook(state, kind, data, invoice)
  local options = state.options.dreamclass
  local id, text = uuid(), http.plain_json(data)
  local signature = core.text.base64(core.verify.hmac(options.secret, id))
  local basic = core.text.base64(options.basic[1] .. ":" .. options.basic[2])
  return sender.send(state, "dreamclass", { id = id, type = kind, invoice = tostring(invoice) },
    function()
      return ('{"id":"%s","data":%s,"type":"%s","tenant":"%s","signature":"%s","timestamp":%.0f}')
        :format(id, text, kind, options.tenant, signature, ngx.now() * 1000),
        { ["Authorization"] = "Basic " .. basic }
    end)
end

-- --- invoices and fees

local function amount_of(value)
  local number = tonumber(value)
  return number and math.floor(number * 100 + 0.5) / 100
end

local function new_fee(my, fields)
  my.last_fee = my.last_fee + 1
  local fee = { id = 80 + my.last_fee, type = fields.type or "school",
    period = fields.period or "oneoff", cost = amount_of(fields.cost) or 100,
    description = fields.description or "Tuition", startDate = fields.startDate or today(),
    schoolPeriodId = tonumber(fields.schoolPeriodId) or 1 }
  my.fees[fee.id] = fee
  return fee
end

--- A new invoice, as if somebody had made it in the application.
function M.create(state, args)
  local my = state.dreamclass
  local amount = amount_of(args.amount) or 300
  my.last_invoice = my.last_invoice + 1
  local id = my.last_invoice
  local fee = new_fee(my, { cost = amount })
  my.invoices[id] = {
    id = id, fees = json.array { { id = fee.id } }, email = "test@test.com", amount = amount,
    status = 1, address = "Address 1", dueDate = args.dueDate or today(30),
    fullname = "John Sample", createdAt = now_iso(), issueDate = args.issueDate or today(),
    telephone = "123456789", invoiceRefId = ("ref-%d"):format(id), publicNotes = args.publicNotes,
    privateNotes = args.privateNotes,
  }
  return my.invoices[id]
end

local routes = {}
local function route(method, pattern, handler)
  routes[#routes + 1] = { method = method, pattern = prefix .. pattern .. "$", handler = handler }
end

local function failure(status, message) return status, { message = message } end

-- What the API answers: the whole invoice, which tells what was paid. A webhook does not.
local function with_payments(my, invoice)
  local whole = { payments = json.array {}, paidAmount = 0 }
  for name, value in pairs(invoice) do whole[name] = value end
  for _, payment in ipairs(my.payments) do
    if payment.invoiceId == invoice.id then
      table.insert(whole.payments, payment)
      whole.paidAmount = whole.paidAmount + payment.amount
    end
  end
  return whole
end

route("GET", "/financial/invoices/(%d+)", function(my, _, _, id)
  local invoice = my.invoices[tonumber(id)]
  if not invoice then return failure(404, "Invoice not found") end
  return 200, with_payments(my, invoice)
end)

route("POST", "/financial/invoices/create", function(_, fields, state)
  for _, name in ipairs { "entityType", "entityId", "schoolPeriodId" } do
    if fields[name] == nil then return failure(400, name .. " is required") end
  end
  local invoice = M.create(state, fields)
  hook(state, "INVOICE_CREATED", invoice, invoice.id)
  return 200, invoice
end)

local function pay(state, invoice, amount, method)
  local my = state.dreamclass
  my.last_payment = my.last_payment + 1
  local payment = { id = my.last_payment, invoiceId = invoice.id, amount = amount, status = 1,
    paymentmethod = { id = method }, createdAt = now_iso() }
  my.payments[payment.id] = payment
  return hook(state, "PAYMENT_CREATED", payment, invoice.id)
end

-- Not idempotent: the same call twice is two payments.
route("POST", "/financial/invoices/pay/(%d+)", function(my, fields, state, id)
  local invoice, amount = my.invoices[tonumber(id)], amount_of(fields.amount)
  if not invoice then return failure(404, "Invoice not found") end
  if not amount or not tonumber(fields.paymentmethod) then
    return failure(400, "amount and paymentmethod are required")
  end
  pay(state, invoice, amount, tonumber(fields.paymentmethod))
  return 200, with_payments(my, invoice)
end)

route("GET", "/financial/fees/list/(%d+)", function(my, _, _, period)
  local list = json.array {}
  for _, fee in pairs(my.fees) do
    if fee.schoolPeriodId == tonumber(period) then list[#list + 1] = fee end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return 200, list
end)

route("POST", "/financial/fees/create", function(my, fields)
  if not tonumber(fields.cost) then return failure(400, "cost is required") end
  return 200, new_fee(my, fields)
end)

route("PATCH", "/financial/fees/update/(%d+)", function(my, fields, _, id)
  local fee = my.fees[tonumber(id)]
  if not fee then return failure(404, "Fee not found") end
  for _, name in ipairs { "cost", "description", "startDate", "duration", "interval" } do
    if fields[name] ~= nil then fee[name] = fields[name] end
  end
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
function M.handle(state, request)
  local my, options, headers = state.dreamclass, state.options.dreamclass, request.headers
  if headers["authorization"] ~= options.api_key then return failure(401, "Unauthorized") end
  if headers["tenant"] ~= options.tenant or headers["schoolcode"] ~= options.school_code then
    return failure(403, "Unknown tenant or school")
  end
  for _, one in ipairs(routes) do
    local id = request.path:match(one.pattern)
    if id and one.method == request.method then
      local fields = request.method == "GET" and {} or http.object(request.body)
      if not fields then return failure(400, "The body is not a JSON object") end
      return one.handler(my, fields, state, id)
    end
  end
  return failure(404, "Not found")
end

local natives = { created = "INVOICE_CREATED", updated = "INVOICE_UPDATED",
  deleted = "INVOICE_DELETED" }

--- Makes an event as if it had happened in the application: type "invoice.created" and the like,
--- "payment.created", or the vendor's own; invoice: an id, or none for a new one; amount. Gives the
--- delivery, or nil and what there is not.
function M.trigger(state, args)
  local my, given = state.dreamclass, args.type or "invoice.created"
  local kind = natives[given:match("^invoice%.(%l+)$") or ""] or given
  local paying = given == "payment.created"
  if not paying and not kind:find("^[%u_]+$") then
    return nil, "DreamClass has no event " .. given
  end
  local invoice = my.invoices[tonumber(args.invoice)]
  if args.invoice and not invoice then return nil, "no invoice " .. tostring(args.invoice) end
  invoice = invoice or M.create(state, paying and {} or args)
  local amount = amount_of(args.amount)
  if paying then
    local rest = invoice.amount - with_payments(my, invoice).paidAmount
    return pay(state, invoice, amount or rest, 2)
  end
  invoice.amount = amount or invoice.amount
  if kind == "INVOICE_DELETED" then my.invoices[invoice.id] = nil end
  return hook(state, kind, invoice, invoice.id)
end

return M

-- betterez.lua - the sandbox's Betterez: the invoices API below /invoices and its webhooks.
--
-- Lists are paged, and tell of a next page only where the call named a page. A 401 is plain
-- text. Each posting of a webhook has a new attemptId and a new time in its signature, which
-- comes as x-btrz-signature: t=..., s=..., s2=... of which only s2 is worth anything.

local core = require "billhook.core"
local http = require "billhook.sandbox.http"
local json = require "billhook.json"
local providers = require "billhook.sandbox.providers"
local sender = require "billhook.sandbox.sender"

local M = {}

local page_size = 10
local issuers = { infile = true, ["infile-json"] = true, gti = true, dlink = true, system = true }

M.defaults = { api_key = "sandbox-key", token = "sandbox-token", secret = "sandbox-private-key",
  retry_interval = 60 }

local function random_hex(n) return core.text.hex(core.text.random(n)) end

local function uuid()
  local hex = random_hex(16)
  return ("%s-%s-4%s-8%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16),
    hex:sub(18, 20), hex:sub(21, 32))
end

local function time_now()
  local now = ngx.now()
  local text = core.text.iso(math.floor(now)):gsub("%+00:00$", "")
  return { value = ("%s.%03dZ"):format(text, math.floor(now % 1 * 1000)), offset = 0 }
end

function M.state()
  local my = providers.state()
  my.invoices, my.by_id, my.failures, my.last = {}, {}, {}, 0
  return my
end

-- --- webhooks

local function signed(options, body)
  local t = ("%d"):format(ngx.time())
  local mac = core.text.hex(core.verify.hmac(options.secret, t .. "." .. body))
  return { ["x-btrz-signature"] = ("t=%s,s=%s,s2=%s"):format(t, random_hex(32), mac) }
end

local function hook(state, kind, data, invoice, live)
  local options = state.options.betterez
  local id, text, created = uuid(), http.plain_json(data), ngx.time()
  return sender.send(state, "betterez", { id = id, type = kind, invoice = invoice }, function()
    local body = ('{"attemptId":"%s","created":%d,"data":%s,"event":"%s","id":"%s","livemode":%s}')
      :format(uuid(), created, text, kind, id, tostring(live ~= false))
    return body, signed(options, body)
  end)
end

-- --- invoices

--- A new invoice, as if a transaction had been invoiced.
function M.create(state, args)
  local my = state.betterez
  my.last = my.last + 1
  local invoice = {
    _id = random_hex(12), invoiceProviderId = args.invoiceProviderId or "5f243d100617680712e78dd7",
    authNumber = uuid():upper(), serie = "456889", number = ("%d"):format(1261913951 + my.last),
    type = "certification", data = core.text.base64("sandbox invoice " .. my.last),
    transactionId = args.transactionId or random_hex(12), accountId = "563c1457c4f260b0b7765569",
    createdBy = "4e9774b45f014e0100000003", updatedBy = "4e9774b45f014e0100000003",
    createdAt = time_now(), updatedAt = time_now(), invoiceProviderType = args.provider or "infile",
    currency = args.currency or args.amount and "EUR", total = tonumber(args.amount),
  }
  my.invoices[#my.invoices + 1] = invoice
  my.by_id[invoice._id] = invoice
  return invoice
end

local function failure(status, code, message)
  return status, { code = code, message = message or code }
end

local function of_transaction(list, transaction)
  local found = {}
  for _, one in ipairs(list) do
    if not transaction or one.transactionId == transaction then found[#found + 1] = one end
  end
  return found
end

local function page_url(state, request, page)
  local query = {}
  for name, value in pairs(request.query) do query[name] = value end
  query.page = page
  return ("http://%s%s?%s"):format(request.headers["host"] or state.options.listen, request.path,
    ngx.encode_args(query))
end

-- One page of a list; next and previous only where the call named a page.
local function paged(state, request, name, all)
  local page = tonumber(request.query.page)
  local first = ((page or 1) - 1) * page_size
  local part = json.array {}
  for i = first + 1, math.min(first + page_size, #all) do part[#part + 1] = all[i] end
  local more = page and first + page_size < #all
  return 200, { [name] = part, count = #all,
    next = more and page_url(state, request, page + 1) or "",
    previous = page and page > 1 and page_url(state, request, page - 1) or "" }
end

local function is_hex24(text)
  return type(text) == "string" and #text == 24 and text:match("^%x+$")
end

local routes = {}
local function route(method, pattern, handler)
  routes[#routes + 1] = { method = method, pattern = "^/invoices" .. pattern .. "$",
    handler = handler }
end

route("GET", "/invoices", function(my, request, state)
  local transaction = request.query.transactionId
  if not is_hex24(transaction) then
    return failure(400, "WRONG_DATA", "transactionId is required")
  end
  return paged(state, request, "invoices", of_transaction(my.invoices, transaction))
end)

route("GET", "/invoices/([^/]+)", function(my, _, _, id)
  if not is_hex24(id) then return failure(400, "INVALID_INVOICE_ID") end
  local invoice = my.by_id[id]
  if not invoice then return failure(404, "INVOICE_NOT_FOUND") end
  return 200, { invoice = invoice }
end)

route("GET", "/failures", function(my, request, state)
  return paged(state, request, "invoicesFailures",
    of_transaction(my.failures, request.query.transactionId))
end)

local function retried(my, transaction, state)
  if not is_hex24(transaction) then return failure(400, "WRONG_DATA") end
  if #of_transaction(my.invoices, transaction) > 0 then
    return failure(400, "TRANSACTION_ALREADY_INVOICED")
  end
  if #of_transaction(my.failures, transaction) == 0 then
    return failure(404, "INVOICE_FAILURE_NOT_FOUND")
  end
  for i = #my.failures, 1, -1 do
    if my.failures[i].transactionId == transaction then table.remove(my.failures, i) end
  end
  local invoice = M.create(state, { transactionId = transaction })
  hook(state, "invoices.created", invoice, invoice._id)
  return 200, { invoice = invoice }
end

route("POST", "/retry", function(my, request, state)
  local fields = http.object(request.body) or {}
  return retried(my, fields.transactionId, state)
end)

route("PUT", "/retry", function(my, request, state)
  local fields = http.object(request.body) or {}
  fields = type(fields.retryData) == "table" and fields.retryData or fields
  if type(fields.overrideBuyer) ~= "table" then
    return failure(400, "OVERRIDE_BUYER_IS_MANDATORY")
  end
  return retried(my, fields.transactionId, state)
end)

route("POST", "/emails", function(my, request, state)
  local fields = http.object(request.body) or {}
  fields = type(fields.email) == "table" and fields.email or fields
  if type(fields.emails) ~= "table" then return failure(400, "WRONG_DATA") end
  if not my.by_id[fields.invoiceId] then return failure(404, "INVOICE_NOT_FOUND") end
  for _, address in ipairs(fields.emails) do
    if not tostring(address):find("^[^@%s]+@[^@%s]+$") then
      return failure(400, "INVALID_EMAIL_TO_SEND")
    end
  end
  local mail = { from = "no-reply@example.com", to = json.array(fields.emails) }
  hook(state, "invoiceemail.created", mail, fields.invoiceId)
  return 200, { status = "OK" }
end)

route("GET", "/pdfs", function(my, request)
  local invoice = of_transaction(my.invoices, request.query.transactionId or "")[1]
  if not invoice then return failure(404, "INVOICE_NOT_FOUND") end
  return 200, "%PDF-1.4\n% sandbox\n", { ["Content-Type"] = "application/pdf",
    ["Content-Disposition"] = ("attachment; filename=invoice-%s.pdf"):format(invoice._id) }
end)

-- What is asked is known, what is answered is not.
route("GET", "/infile%-json/validate%-void", function(my, request)
  local transaction = request.query.originalTransactionId
  if not is_hex24(transaction) then return failure(400, "WRONG_DATA") end
  if not of_transaction(my.invoices, transaction)[1] then
    return failure(404, "INVOICE_NOT_FOUND")
  end
  return 200, { valid = true }
end)

route("POST", "/([%l%-]+)", function(my, request, state, provider)
  if not issuers[provider] then return failure(404, "NOT_FOUND") end
  local fields = http.object(request.body)
  local transaction = fields and fields.transactionId
  if not is_hex24(transaction) then return failure(400, "WRONG_DATA") end
  if #of_transaction(my.invoices, transaction) > 0 then
    return failure(400, "TRANSACTION_ALREADY_INVOICED")
  end
  if request.query.onlyValidateRequest == "true" then return 200, { valid = true } end
  local invoice = M.create(state, { transactionId = transaction, provider = provider,
    invoiceProviderId = fields.invoiceProviderId })
  if provider ~= "system" then hook(state, "invoices.created", invoice, invoice._id) end
  return 200, { invoice = invoice }
end)

--- Answers a request: status, body, headers.
function M.handle(state, request)
  local my, options, headers = state.betterez, state.options.betterez, request.headers
  if headers["x-api-key"] ~= options.api_key then return 401, "Unauthorized" end
  local writes = request.method ~= "GET"
  if writes and headers["authorization"] ~= "Bearer " .. options.token then
    return 401, "Unauthorized"
  end
  local function tell(kind, provider) hook(state, kind, provider) end
  local status, body = providers.handle(my, request, state, { paged = paged, hook = tell })
  if status then return status, body end
  for _, one in ipairs(routes) do
    local id = request.path:match(one.pattern)
    if id and one.method == request.method then return one.handler(my, request, state, id) end
  end
  return failure(404, "NOT_FOUND")
end

-- The vendor has no webhook for it.
local function trigger_failure(my, args)
  local transaction = args.transactionId or random_hex(12)
  my.failures[#my.failures + 1] = { _id = random_hex(12), createdAt = time_now(),
    transactionId = transaction, code = "INFILE_CERTIFICATION_FAILED" }
  return { event = transaction, type = "failure", attempts = {}, vendor = "betterez",
    state = "unsent", n = 0 }
end

local natives = { created = "invoices.created", updated = "invoices.updated" }

--- Makes an event as if it had happened: type "invoice.created", "invoice_provider.updated" and the
--- like, or the vendor's own; "failure" makes an entry of /failures. invoice: an id, or none for a
--- new one; transactionId; live (false: a test event). Gives the delivery, or nil and what there
--- is not.
function M.trigger(state, args)
  local my, given = state.betterez, args.type or "invoice.created"
  if given == "failure" then return trigger_failure(my, args) end
  local provider = given:match("^invoice_providers?(%.%a+)$")
  if provider then
    local kind = "invoice_providers" .. provider
    return hook(state, kind, providers.pretend(my, args, kind), nil, args.live)
  end
  local verb = given:match("^invoice%.(%l+)$")
  local kind = natives[verb or ""] or given
  if verb and kind == given or given:find("^payment%.") then
    return nil, "Betterez has no event " .. given
  end
  local invoice = my.by_id[args.invoice]
  if args.invoice and not invoice then return nil, "no invoice " .. tostring(args.invoice) end
  invoice = invoice or M.create(state, args)
  if verb == "updated" then
    invoice.updatedAt, invoice.total = time_now(), tonumber(args.amount) or invoice.total
    invoice.currency = args.currency or invoice.currency or invoice.total and "EUR"
  end
  return hook(state, kind, invoice, invoice._id, args.live)
end

return M

-- betterez.lua - the sandbox's Betterez: the invoices service, what other services have of
-- invoices, login, and webhooks.
--
-- Lists are paged, and tell of a next page only where the call named a page. A 401 is plain text,
-- but for a login that needs a second factor. Each posting of a webhook has a new attemptId and a
-- new time in its signature, which comes as x-btrz-signature: t=..., s=..., s2=... of which only s2
-- is worth anything. There is no event of a deletion, and none of a failure.

local core = require "billhook.core"
local json = require "billhook.json"
local past = require "billhook.sandbox.past"
local providers = require "billhook.sandbox.providers"
local sender = require "billhook.sandbox.sender"
local service = require "billhook.sandbox.service"
local subscriptions = require "billhook.sandbox.subscriptions"
local values = require "billhook.sandbox.values"

local M = {}

local failure, is_id = service.failure, service.is_id
local account = "563c1457c4f260b0b7765569"
local day = 86400 -- a token's life

M.defaults = { api_key = "sandbox-key", token = "sandbox-token", secret = "sandbox-private-key",
  user = "user@example.com", mfa_user = "mfa@example.com", password = "sandbox-password",
  totp = "123456", shift = "5f0000000000000000000001", retry_interval = 60, lag = 0 }

--- The body of an error; a 401 is plain text.
function M.failure(status)
  if status == 401 then return "Unauthorized" end
  return { code = "SANDBOX_FAULT", message = ("Error %d of the sandbox"):format(status) }
end

--- An empty instance.
function M.state()
  local my = providers.state()
  my.subscriptions = subscriptions.state().subscriptions
  my.invoices, my.failures, my.shifts, my.tokens, my.last = past.new(), {}, {}, {}, 0
  my.noted = {} -- transaction -> its invoices and credit notes, as operations has them
  return my
end

-- --- webhooks

local function signed(world, secret, body)
  local t = ("%d"):format(math.floor(world:now()))
  local mac = core.text.hex(core.verify.hmac(secret, t .. "." .. body))
  return { ["x-btrz-signature"] = ("t=%s,s=%s,s2=%s"):format(t, values.hex(32), mac) }
end

local function envelope(id, created, text, kind, live)
  return ('{"attemptId":"%s","created":%d,"data":%s,"event":"%s","id":"%s","livemode":%s}')
    :format(values.uuid(), created, text, kind, id, tostring(live))
end

-- The vendor's sample of a mail's event has no envelope.
local function bare(options, text)
  return ('{"apiKey":"%s","data":%s,"providerId":"%s"}'):format(options.api_key, text, account)
end

local function hook(world, kind, data, invoice, args)
  local options, id, text = world.options.betterez, values.uuid(), json.encode(data)
  local created = math.floor(world:now())
  local function make()
    local body = args and args.envelope == false and bare(options, text)
      or envelope(id, created, text, kind, not args or args.live ~= false)
    return body, signed(world, options.secret, body)
  end
  local event = { id = id, type = kind, invoice = invoice, data = data }
  local urls, own = subscriptions.urls(world, kind), world.options.webhooks.betterez
  local first
  if own or not urls[1] then first = sender.send(world, "betterez", event, make) end
  for _, url in ipairs(urls) do
    local delivery = sender.send(world, "betterez", event, make, url)
    first = first or delivery
  end
  return first
end

-- --- invoices

local function put(world, invoice)
  past.put(world.betterez.invoices, invoice._id, invoice, world:written())
  return invoice
end

local function latest(world, id) return past.get(world.betterez.invoices, id) end

local function all(world, time)
  local list = {}
  for i, one in ipairs(past.all(world.betterez.invoices, time)) do list[i] = one.value end
  return list
end

local function create(world, args)
  local my, now = world.betterez, service.time(world)
  my.last = my.last + 1
  local id = service.new_id(world)
  my.shifts[id] = args.shiftId or world.options.betterez.shift
  return put(world, {
    _id = id, invoiceProviderId = args.invoiceProviderId or "5f243d100617680712e78dd7",
    authNumber = values.uuid():upper(), serie = "456889",
    number = ("%d"):format(1261913951 + my.last),
    type = "certification", data = core.text.base64("sandbox invoice " .. my.last),
    transactionId = args.transactionId or service.new_id(world), accountId = account,
    createdBy = "4e9774b45f014e0100000003", updatedBy = "4e9774b45f014e0100000003",
    createdAt = now, updatedAt = now, invoiceProviderType = args.provider or "infile",
    buyer = args.buyer, currency = args.currency or args.amount and "EUR",
    total = values.number(args.amount),
  })
end

local function update(world, invoice, args)
  local copy = values.copy(invoice)
  copy.updatedAt, copy.total = service.time(world), values.number(args.amount) or copy.total
  copy.currency = args.currency or copy.currency or copy.total and "EUR"
  copy.buyer = args.buyer or copy.buyer
  return put(world, copy)
end

local function of_transaction(list, transaction)
  local found = {}
  for _, one in ipairs(list) do
    if not transaction or one.transactionId == transaction then found[#found + 1] = one end
  end
  return found
end

-- Every transaction exists, but those whose id begins so.
local function exists(transaction) return transaction:sub(1, 8) ~= "ffffffff" end

local invoices = service.routes "/invoices"

invoices:on("GET", "/invoices", function(world, request)
  local transaction = request.query.transactionId
  if not is_id(transaction) then
    return failure(400, "WRONG_DATA", "transactionId is required")
  end
  return service.paged(world, request, "invoices",
    of_transaction(all(world, world:seen("betterez")), transaction))
end)

invoices:on("GET", "/invoices/:id", function(world, _, id)
  if not is_id(id) then return failure(400, "INVALID_INVOICE_ID") end
  local invoice = past.get(world.betterez.invoices, id, world:seen("betterez"))
  if not invoice then return failure(404, "INVOICE_NOT_FOUND") end
  return 200, { invoice = invoice }
end)

local function failures_shown(list)
  local out = {}
  for i, one in ipairs(list) do
    out[i] = { _id = one._id, createdAt = one.createdAt, transactionId = one.transactionId,
      code = one.code, accountId = account }
  end
  return out
end

invoices:on("GET", "/failures", function(world, request)
  local transaction = request.query.transactionId
  if transaction and not is_id(transaction) then return failure(400, "INVALID_TRANSACTION_ID") end
  return service.paged(world, request, "invoicesFailures",
    failures_shown(of_transaction(world.betterez.failures, transaction)))
end)

local function clear(my, transaction)
  for i = #my.failures, 1, -1 do
    if my.failures[i].transactionId == transaction then table.remove(my.failures, i) end
  end
end

-- What a retry comes to: the failure there is; or nil and the answer of an error.
local function to_retry(world, transaction)
  if not is_id(transaction) then return nil, failure(400, "WRONG_DATA") end
  if not exists(transaction) then return nil, failure(404, "TRANSACTION_NOT_FOUND") end
  local found = of_transaction(world.betterez.failures, transaction)[1]
  if found and found.again > 0 then
    found.again = found.again - 1
    return nil, failure(409, found.code)
  end
  return found or false
end

local function reissue(world, transaction, buyer)
  local invoice = create(world, { transactionId = transaction, buyer = buyer })
  clear(world.betterez, transaction)
  hook(world, "invoices.created", invoice, invoice._id)
  return 200, { invoice = invoice }
end

invoices:on("POST", "/retry", function(world, request)
  local transaction = (values.object(request.body) or {}).transactionId
  local found, status, body = to_retry(world, transaction)
  if found == nil then return status, body end
  if of_transaction(all(world), transaction)[1] then
    return failure(400, "TRANSACTION_ALREADY_INVOICED")
  elseif not found then
    return failure(404, "INVOICE_FAILURE_NOT_FOUND")
  end
  return reissue(world, transaction)
end)

-- With a document that is there: it is changed, and the buyer may stay.
invoices:on("PUT", "/retry", function(world, request)
  local fields = service.fields(request, "retryData") or {}
  local transaction, buyer = fields.transactionId, fields.overrideBuyer
  local found, status, body = to_retry(world, transaction)
  if found == nil then return status, body end
  local there = of_transaction(all(world), transaction)[1]
  if there and not found then return failure(400, "TRANSACTION_ALREADY_INVOICED") end
  if not there and type(buyer) ~= "table" then
    return failure(400, "OVERRIDE_BUYER_IS_MANDATORY")
  end
  if not found then return failure(404, "INVOICE_FAILURE_NOT_FOUND") end
  if not there then return reissue(world, transaction, buyer) end
  clear(world.betterez, transaction)
  local invoice = update(world, there, { buyer = buyer })
  hook(world, "invoices.updated", invoice, invoice._id)
  return 200, { invoice = invoice }
end)

invoices:on("POST", "/emails", function(world, request)
  local fields = service.fields(request, "email") or {}
  if type(fields.emails) ~= "table" or not is_id(fields.invoiceId) then
    return failure(400, "WRONG_DATA")
  end
  if not latest(world, fields.invoiceId) then return failure(404, "INVOICE_NOT_FOUND") end
  for _, address in ipairs(fields.emails) do
    if not tostring(address):find("^[^@%s]+@[^@%s]+$") then
      return failure(400, "INVALID_EMAIL_TO_SEND")
    end
  end
  local mail = { from = "no-reply@example.com", to = json.array(fields.emails) }
  hook(world, "invoiceemail.created", mail, fields.invoiceId)
  return 200, { status = "OK" }
end)

invoices:on("GET", "/pdfs", function(world, request)
  local transaction = request.query.transactionId
  if not is_id(transaction) then return failure(400, "WRONG_DATA", "transactionId is required") end
  local invoice = of_transaction(all(world, world:seen("betterez")), transaction)[1]
  if not invoice then return failure(404, "INVOICE_NOT_FOUND") end
  return 200, "%PDF-1.4\n% sandbox\n", { ["Content-Type"] = "application/pdf",
    ["Content-Disposition"] = ("attachment; filename=invoice-%s.pdf"):format(invoice._id) }
end)

-- What is asked is known, what is answered is not.
invoices:on("GET", "/infile-json/validate-void", function(world, request)
  local transaction = request.query.originalTransactionId
  if not is_id(transaction) then return failure(400, "WRONG_DATA") end
  if not of_transaction(all(world), transaction)[1] then
    return failure(404, "INVOICE_NOT_FOUND")
  end
  return 200, { valid = true }
end)

for _, provider in ipairs { "infile", "infile-json", "gti", "dlink", "system" } do
  invoices:on("POST", "/" .. provider, function(world, request)
    local fields = values.object(request.body)
    local transaction = fields and fields.transactionId
    if not is_id(transaction) then return failure(400, "WRONG_DATA") end
    if of_transaction(all(world), transaction)[1] then
      return failure(400, "TRANSACTION_ALREADY_INVOICED")
    end
    if request.query.onlyValidateRequest == "true" then return 200, { valid = true } end
    local info = type(fields.invoiceInfo) == "table" and fields.invoiceInfo or {}
    local invoice = create(world, { transactionId = transaction, provider = provider,
      invoiceProviderId = fields.invoiceProviderId or request.query.providerId,
      buyer = info.buyer })
    if provider ~= "system" then hook(world, "invoices.created", invoice, invoice._id) end
    return 200, { invoice = invoice }
  end)
end

providers.add(invoices, hook)

local function describe()
  local paths = {}
  for _, one in ipairs(invoices) do
    local path = one.path:gsub(":(%w+)", "{%1}")
    paths[path] = paths[path] or {}
    paths[path][one.method:lower()] = { responses = { ["200"] = { description = "done" } } }
  end
  return { swagger = "2.0", info = { title = "btrz-api-invoices, imitated", version = "1" },
    paths = paths }
end

-- --- accounts: login, and a shift's invoices

local accounts = service.routes "/accounts"

local url_safe = { ["+"] = "-", ["/"] = "_", ["="] = "" }

local function base64url(text) return (core.text.base64(text):gsub("[+/=]", url_safe)) end

-- It looks like the vendor's tokens; its signature is none.
local function new_token(world, user, audience)
  local claims = { iss = "btrz-api-accounts", sub = "account_user_sign_in", aud = audience,
    user = user, iat = math.floor(world:now()), exp = math.floor(world:now() + day) }
  return table.concat({ base64url('{"alg":"HS512","typ":"JWT"}'), base64url(json.encode(claims)),
    base64url(values.hex(32)) }, ".")
end

accounts:on("POST", "/users", function(world, request)
  local my, options = world.betterez, world.options.betterez
  local basic = (request.headers["authorization"] or ""):match("^Basic (.+)$")
  local user, password = (basic and core.text.unbase64(basic) or ""):match("^([^:]*):(.*)$")
  if user ~= options.user and user ~= options.mfa_user or password ~= options.password then
    return 401, "Unauthorized"
  end
  local fields = values.object(request.body) or {}
  if type(fields.audience) ~= "string" then return failure(400, "WRONG_DATA") end
  if user == options.mfa_user and fields.totpToken == nil then
    return failure(401, "MFA_REQUIRED", "Two-factor authentication code is required.")
  elseif user == options.mfa_user and fields.totpToken ~= options.totp then
    return failure(401, "MFA_VERIFICATION_FAILED", "Two-factor authentication code is invalid.")
  end
  local token = new_token(world, user, fields.audience)
  my.tokens[token] = world:now() + day
  return 200, { token = token, shortToken = values.hex(16), user = { email = user,
    _id = "4e9774b45f014e0100000003", accountId = account, mfaEnabled = user == options.mfa_user } }
end)

accounts:on("GET", "/shifts/:id/invoices", function(world, _, id)
  if not is_id(id) then return failure(400, "WRONG_DATA") end
  local list, known = json.array {}, id == world.options.betterez.shift
  for _, one in ipairs(all(world, world:seen("betterez"))) do
    if world.betterez.shifts[one._id] == id then
      list[#list + 1], known = one, true
    end
  end
  if not known then return failure(404, "SHIFT_NOT_FOUND") end
  return 200, { invoices = list }
end)

-- --- operations: a transaction's invoice and its credit notes

local operations = service.routes "/operations"

for path, kind in pairs { invoices = "invoice", ["credit-notes"] = "creditNote" } do
  operations:on("POST", "/transactions/:id/" .. path, function(world, request, id)
    if not is_id(id) then return failure(400, "WRONG_DATA") end
    if not exists(id) then return failure(404, "TRANSACTION_NOT_FOUND") end
    local fields = service.fields(request, kind)
    if not fields or kind == "creditNote" and type(fields.creditNoteId) ~= "string" then
      return failure(400, "WRONG_DATA")
    end
    local noted = world.betterez.noted
    noted[id] = noted[id] or {}
    table.insert(noted[id], fields)
    return 200, { [kind] = fields }
  end)
end

local webhooks = service.routes "/webhooks"
subscriptions.add(webhooks)

local services = { invoices, accounts, operations, webhooks }

-- --- answers

local function may_write(world, authorization)
  local token = (authorization or ""):match("^Bearer (.+)$")
  if token == world.options.betterez.token then return true end
  local till = token and world.betterez.tokens[token]
  return till and till > world:now()
end

--- Answers a request: status, body, headers.
function M.answer(world, request)
  local headers = request.headers
  if request.method == "GET" and request.path == "/invoices/api-docs-v2" then
    return 200, describe()
  end
  if headers["x-api-key"] ~= world.options.betterez.api_key then return 401, "Unauthorized" end
  local is_login = request.method == "POST" and request.path == "/accounts/users"
  local writes = request.method ~= "GET" and not is_login
  if writes and not may_write(world, headers["authorization"]) then return 401, "Unauthorized" end
  for _, one in ipairs(services) do
    local handler, first, second = one:find(request)
    if handler then return handler(world, request, first, second) end
  end
  return failure(404, "NOT_FOUND")
end

-- --- what happens without the API

-- The vendor has no webhook for it. `code` is what retries are told, `again` times.
local function trigger_failure(world, args)
  local transaction = args.transactionId or service.new_id(world)
  table.insert(world.betterez.failures, { _id = service.new_id(world),
    createdAt = service.time(world), transactionId = transaction,
    code = args.code or "INFILE_CERTIFICATION_FAILED", again = values.number(args.again) or 0 })
  local untold = sender.untold("betterez", "failure")
  untold.event = transaction
  return untold
end

local triggers = {}

triggers["invoices.created"] = function(_, invoice) return invoice end

triggers["invoices.updated"] = update

triggers["invoiceemail.created"] = function()
  return { from = "no-reply@example.com", to = json.array { "payer@example.com" } }
end

-- Its data is documented nowhere.
triggers["refund.created"] = function(world, invoice, args)
  return { _id = service.new_id(world), accountId = account, transactionId = invoice.transactionId,
    amount = values.number(args.amount), createdAt = service.time(world) }
end

-- Ours, in the vendor's words.
local function native(kind)
  if kind:find("^invoice%.") or kind:find("^invoice_provider%.") then
    return (kind:gsub("%.", "s.", 1))
  end
  return kind
end

--- Makes something happen: type "invoice.created", "invoice_provider.updated" and the like, or the
--- vendor's own; "failure" makes an entry of /failures. invoice: an id, or none for a new one;
--- transactionId; live (false: a test event); envelope (false: without, as in one of the vendor's
--- samples). Gives the delivery, or nil and what there is not.
function M.trigger(world, args)
  local given = args.type or "invoice.created"
  if given == "failure" then return trigger_failure(world, args) end
  local kind = native(given)
  if kind:find("^invoice_providers%.") and ("created updated deleted"):find(kind:match("%a*$")) then
    return hook(world, kind, providers.pretend(world, args, kind), nil, args)
  end
  local trigger = triggers[kind]
  if not trigger then return nil, values.no_event("Betterez", given, triggers) end
  local invoice = latest(world, args.invoice)
  if args.invoice and not invoice then return nil, "no invoice " .. tostring(args.invoice) end
  invoice = invoice or create(world, args)
  return hook(world, kind, trigger(world, invoice, args), invoice._id, args)
end

--- A delivery that the vendor never sent, about an invoice: with a guessed signature, or with the
--- signature of the last one that was sent, which is not that of this body.
function M.forge(world, args, proof)
  local last = sender.captured(world, "betterez")
  if proof == "captured" and not last then return nil, "nothing was sent yet" end
  local id, kind = values.uuid(), args.type or "invoices.updated"
  local data = { _id = args.invoice or service.new_id(world), number = "1", serie = "forged",
    transactionId = service.new_id(world), accountId = account }
  local body = envelope(id, math.floor(world:now()), json.encode(data), kind, true)
  return sender.send(world, "betterez", { id = id, type = kind, data = data,
    invoice = data._id }, function()
    if proof == "wrong" then return body, signed(world, "a guess", body) end
    return body, { ["x-btrz-signature"] = last.sent.headers["x-btrz-signature"] }
  end)
end

return M

-- Every call of the three systems, as docs/vendors.md (and the pages that it names) describes it,
-- and not as the C core's tables have it: the request, what its documented statuses mean, and what
-- its parameters may be.

local billhook = require "billhook"
local json = require "billhook.json"

local HEX = "616d7cf38fedff37e4492161"

local clients = {
  dreamapply = { base_url = "https://apply.test", api_key = "key-1" },
  dreamclass = { base_url = "https://class.test/dreamclassapi/v1", api_key = "key-2",
    tenant = "my-school", school_code = "MS1" },
  betterez = { base_url = "https://api.test/invoices", api_key = "key-3", token = "jwt-1" },
}

local roots = { dreamapply = "https://apply.test/api/v9",
  dreamclass = "https://class.test/dreamclassapi/v1", betterez = "https://api.test" }

-- operation, parameters, method, path and query below the root, body, and parameters that are
-- refused: { name, value } each
local calls = {}

local lines = { { item = "Fee", price = "20.00", qty = "1.00", inventory_item_ID = 3 } }

calls.dreamapply = {
  { "ping", {}, "GET", "/ping" },
  { "invoices.get", { id = 123 }, "GET", "/invoices/123", nil, { "id", 0 }, { "id", "x" } },
  { "invoices.exists", { id = 123 }, "HEAD", "/invoices/123", nil, { "id", -1 } },
  { "invoices.delete", { id = 123 }, "DELETE", "/invoices/123", nil, { "id", 1.5 } },
  { "invoices.list", { bySerieIDs = 2, byCollected = true }, "GET",
    "/invoices?bySerieIDs=2&byCollected=true", nil, { "byCollected", "yes" },
    { "byIssuedSince", "2026-02-30" }, { "byCurrencies", "euro" } },
  { "invoices.list", { application = 5 }, "GET", "/applications/5/invoices" },
  { "invoices.list", { applicant = 6 }, "GET", "/applicants/6/invoices" },
  { "invoices.list", { byIssuedSince = "2026-01-01T00:00:00+00:00", byApplicantIDs = { 1, 2 } },
    "GET", "/invoices?byIssuedSince=2026-01-01T00%3A00%3A00%2B00%3A00&byApplicantIDs=1,2" },
  { "invoices.count", { byOverdue = true }, "HEAD", "/invoices?byOverdue=true" },
  { "invoices.create", { application = 123, currency = "EUR", items = lines, reminder = true,
    deadline = "2026-09-01", payer = { name = "Ann" } }, "POST", "/applications/123/invoices",
    { currency = "EUR", items = { { item = "Fee", price = "20.00", qty = "1.00",
      unit = json.null, inventory_item_ID = 3 } }, reminder = "On", deadline = "2026-09-01",
      payer = { name = "Ann" } },
    { "currency", "EURO" }, { "items", {} }, { "reminder", "maybe" }, { "deadline", "soon" } },
  { "transactions.list", { invoice = 200 }, "GET", "/invoices/200/transactions" },
  { "transactions.list", { byInvoiceIDs = 200, byInsertedSince = "2026-01-01T00:00:00Z",
    byCollectedBefore = "2026-02-01" }, "GET", "/invoices/transactions?byInvoiceIDs=200"
    .. "&byInsertedSince=2026-01-01T00%3A00%3A00Z&byCollectedBefore=2026-02-01", nil,
    { "byCollectedSince", "2026-01-01T00:00:00Z" } },
  { "transactions.count", {}, "HEAD", "/invoices/transactions" },
  { "transactions.get", { id = 12 }, "GET", "/invoices/transactions/12", nil, { "id", "a" } },
  { "transactions.exists", { id = 12, invoice = 200 }, "HEAD", "/invoices/200/transactions/12" },
  { "transactions.create", { invoice = 200, amount = "17.00", currency = "EUR" }, "POST",
    "/invoices/200/transactions", { amount = "17.00", currency = "EUR" }, { "amount", "1,5" } },
  { "series.list", {}, "GET", "/invoices/series" },
  { "series.count", {}, "HEAD", "/invoices/series" },
  { "journal.list", { byEvents = "Offer was edited: ?", bySince = 124, order = "newest-first",
    limit = 1024, byAcademicYear = "2026", byAcademicTermID = 4 }, "GET",
    "/journal?byEvents=Offer%20was%20edited%3A%20%3F&bySince=124&byAcademicYear=2026"
    .. "&byAcademicTermID=4&order=newest-first&limit=1024", nil, { "order", "newest" },
    { "limit", -1 }, { "byAcademicTermID", 0 } },
  { "journal.count", { byEvents = "x" }, "HEAD", "/journal?byEvents=x" },
  { "purged_resources.list", {}, "GET", "/purged-resources" },
}

calls.dreamclass = {
  { "invoices.get", { id = 16 }, "GET", "/financial/invoices/16", nil, { "id", "x" } },
  { "invoices.list", {}, "GET", "/financial/invoices/list" },
  { "invoices.create", { entityType = "student", entityId = 5, schoolPeriodId = 1,
    feesFromDate = "2026-01-01", feesToDate = "2026-06-30", issueDate = "2026-01-02",
    dueDate = "2026-02-01", privateNotes = "a", publicNotes = "b", notify = false }, "POST",
    "/financial/invoices/create", { entityType = "student", entityId = 5, schoolPeriodId = 1,
      feesFromDate = "2026-01-01", feesToDate = "2026-06-30", issueDate = "2026-01-02",
      dueDate = "2026-02-01", privateNotes = "a", publicNotes = "b", notify = false },
    { "entityType", "teacher" }, { "dueDate", "2026-02-29" }, { "notify", "no" } },
  { "invoices.pay", { id = 16, amount = "12.50", paymentmethod = { id = 2 }, publicNotes = "x" },
    "POST", "/financial/invoices/pay/16",
    { amount = "12.50", paymentmethod = { id = 2 }, publicNotes = "x" },
    { "paymentmethod", "cash" }, { "paymentmethod", {} }, { "paymentmethod", { no = 2 } },
    { "amount", "1.2.3" } },
  { "invoices.pay", { id = 16, amount = "12.50", paymentmethod = 2,
    createdAt = "2026-01-01T10:00:00Z" }, "POST", "/financial/invoices/pay/16",
    { amount = 12.5, paymentmethod = 2, createdAt = "2026-01-01T10:00:00Z" } },
  { "invoices.update", { id = 16, invoiceRefId = "L-1", issueDate = "2026-01-02",
    dueDate = "2026-03-01", publicNotes = "b", privateNotes = "a" }, "PATCH",
    "/financial/invoices/update/16", { invoiceRefId = "L-1", issueDate = "2026-01-02",
      dueDate = "2026-03-01", publicNotes = "b", privateNotes = "a" },
    { "dueDate", "2026-03-32" }, { "invoiceRefId", 5 } },
  { "payments.update", { id = 3, date = "2026-01-05", publicNotes = "b" }, "PATCH",
    "/financial/invoices/payment/3", { date = "2026-01-05", publicNotes = "b" },
    { "date", "today" } },
  { "payment_methods.list", {}, "GET", "/financial/paymentmethods/list" },
  { "fees.list", { period = 1 }, "GET", "/financial/fees/list/1", nil, { "period", 0 } },
  { "fees.create", { type = "school", period = "monthly", cost = 5, description = "Fee",
    interval = "0.5", duration = 3, schoolPeriodId = 1 }, "POST", "/financial/fees/create",
    { type = "school", period = "monthly", cost = 5, description = "Fee", interval = 0.5,
      duration = 3, schoolPeriodId = 1 }, { "type", "other" }, { "period", "daily" } },
  { "fees.update", { id = 86, cost = "9.95", description = "Fee", startDate = "2026-01-01" },
    "PATCH", "/financial/fees/update/86",
    { cost = 9.95, description = "Fee", startDate = "2026-01-01" }, { "cost", "x" } },
  { "fees.assign", { studentIds = { 1, 2 }, feesIds = 86, installmentPlan = 2 }, "POST",
    "/financial/fees/assign", { studentIds = { 1, 2 }, feesIds = { 86 }, installmentPlan = 2 },
    { "studentIds", {} } },
  { "periods.list", {}, "GET", "/curriculum/schoolperiods/list" },
}

local body = { name = "x", list = { 1 } }

calls.betterez = {
  { "users.login", { username = "ann", password = "pa:ss", totpToken = "123456" }, "POST",
    "/accounts/users", { audience = "betterez-app", totpToken = "123456" },
    { "username", "a:b" }, { "password", 5 }, { "audience", "nobody" } },
  { "invoices.get", { id = HEX }, "GET", "/invoices/invoices/" .. HEX, nil, { "id", 7 } },
  { "invoices.list", { transactionId = HEX }, "GET",
    "/invoices/invoices?transactionId=" .. HEX .. "&page=1", nil, { "transactionId", "x" } },
  { "invoices.failures", {}, "GET", "/invoices/failures?page=1" },
  { "invoices.retry", { transactionId = HEX }, "POST", "/invoices/retry",
    { transactionId = HEX } },
  { "invoices.retry", { transactionId = HEX, overrideBuyer = { name = "A" } }, "PUT",
    "/invoices/retry", { retryData = { transactionId = HEX, overrideBuyer = { name = "A" } } } },
  { "invoices.issue", { provider = "dlink", providerId = HEX, onlyValidateRequest = true,
    body = body }, "POST", "/invoices/dlink?onlyValidateRequest=true&providerId=" .. HEX, body,
    { "provider", "other" } },
  { "invoices.validate_void", { originalTransactionId = HEX }, "GET",
    "/invoices/infile-json/validate-void?originalTransactionId=" .. HEX },
  { "invoices.email", { invoiceId = HEX, emails = { "a@x.test" }, language = "es" }, "POST",
    "/invoices/emails", { invoiceId = HEX, emails = { "a@x.test" }, language = "es" },
    { "emails", {} } },
  { "invoices.pdf", { transactionId = HEX }, "GET", "/invoices/pdfs?transactionId=" .. HEX },
  { "providers.list", { enabled = true, country = "GT" }, "GET",
    "/invoices/providers?enabled=true&country=GT&page=1" },
  { "providers.get", { id = HEX }, "GET", "/invoices/providers/" .. HEX },
  { "providers.create", { body = body }, "POST", "/invoices/providers", body, { "body", "x" } },
  { "providers.update", { id = HEX, body = body }, "PUT", "/invoices/providers/" .. HEX, body },
  { "providers.delete", { id = HEX }, "DELETE", "/invoices/providers/" .. HEX },
  { "sequences.list", { provider = HEX }, "GET",
    "/invoices/providers/" .. HEX .. "/sequences?page=1" },
  { "sequences.get", { provider = HEX, id = HEX }, "GET",
    "/invoices/providers/" .. HEX .. "/sequences/" .. HEX },
  { "sequences.create", { provider = HEX, body = body }, "POST",
    "/invoices/providers/" .. HEX .. "/sequences", body },
  { "sequences.update", { provider = HEX, id = HEX, body = body }, "PUT",
    "/invoices/providers/" .. HEX .. "/sequences/" .. HEX, body },
  { "sequences.delete", { provider = HEX, id = HEX }, "DELETE",
    "/invoices/providers/" .. HEX .. "/sequences/" .. HEX },
  { "tax_ids.list", { taxNumber = "1-2", country = "GT", documentType = "NIT" }, "GET",
    "/invoices/tax-ids?taxNumber=1-2&country=GT&documentType=NIT&page=1" },
  { "transactions.invoice", { transaction = HEX, body = body }, "POST",
    "/operations/transactions/" .. HEX .. "/invoices", body, { "transaction", "7" } },
  { "transactions.credit_note", { transaction = HEX, creditNoteId = "c-1",
    externalCreditNoteId = "e-1" }, "POST", "/operations/transactions/" .. HEX .. "/credit-notes",
    { creditNoteId = "c-1", externalCreditNoteId = "e-1" }, { "creditNoteId", 5 } },
  { "shifts.invoices", { shift = HEX }, "GET", "/accounts/shifts/" .. HEX .. "/invoices" },
  { "undelivered.list", { context = "all" }, "GET", "/webhooks/undelivered?context=all" },
  { "undelivered.get", { id = "u/1" }, "GET", "/webhooks/undelivered/u%2F1", nil, { "id", 7 } },
  { "undelivered.retry", { id = "u1" }, "PUT", "/webhooks/undelivered/u1/retry" },
  { "undelivered.retry_all", {}, "PUT", "/webhooks/undelivered/retry-all" },
  { "undelivered.change", { body = body }, "PATCH", "/webhooks/undelivered", body },
  { "undelivered.delete", { id = "u1" }, "DELETE", "/webhooks/undelivered/u1" },
  { "undelivered.delete_all", {}, "DELETE", "/webhooks/undelivered/batch-all" },
  { "subscriptions.list", {}, "GET", "/webhooks/subscriptions" },
  { "subscriptions.get", { id = "s1" }, "GET", "/webhooks/subscriptions/s1" },
  { "subscriptions.create", { body = body }, "POST", "/webhooks/subscriptions", body },
  { "subscriptions.update", { id = "s1", body = body }, "PUT", "/webhooks/subscriptions/s1",
    body },
  { "subscriptions.delete", { id = "s1" }, "DELETE", "/webhooks/subscriptions/s1" },
  { "events.list", {}, "GET", "/webhooks/events" },
}

-- what the vendors' pages say of a status, for every call alike
local statuses = {
  dreamapply = { [400] = "invalid", [401] = "auth", [404] = "not_found", [409] = "conflict",
    [422] = "invalid", [429] = "rate_limited", [500] = "server" },
  dreamclass = { [400] = "invalid", [401] = "auth", [404] = "not_found", [500] = "server" },
  betterez = { [400] = "invalid", [401] = "auth", [404] = "not_found", [409] = "conflict",
    [500] = "server" },
}

local headers = {
  dreamapply = { Authorization = 'DREAM apikey="key-1"' },
  dreamclass = { Authorization = "key-2", tenant = "my-school", schoolCode = "MS1" },
  betterez = { ["x-api-key"] = "key-3", authorization = "Bearer jwt-1" },
}

-- A client, and what it was asked to send.
local function client_of(vendor, response)
  local options, sent = { attempts = 1, settle_timeout = 0, quota = false }, {}
  for name, value in pairs(clients[vendor]) do options[name] = value end
  options.transport = require("billhook.transport.fake").new(function(request)
    sent[#sent + 1] = request
    return response
  end)
  return billhook[vendor](options), sent
end

local function copy(params)
  local out = {}
  for name, value in pairs(params) do out[name] = value end
  return out
end

local function of_body(text) return text and json.decode(text) end

for vendor, list in pairs(calls) do
  describe("of " .. vendor, function()
    it("every operation stands here", function()
      local here, missing = {}, {}
      for _, call in ipairs(list) do here[call[1]] = true end
      for _, operation in ipairs(billhook.calls(vendor)) do
        if not here[operation.name] then missing[#missing + 1] = operation.name end
        here[operation.name] = nil
      end
      assert.same({}, missing)
      assert.is_nil(next(here))
    end)

    for _, call in ipairs(list) do
      local name, params, method, path, wanted = call[1], call[2], call[3], call[4], call[5]

      it(("%s sends %s %s"):format(name, method, path), function()
        local client, sent = client_of(vendor, { status = 500, headers = {}, body = "" })
        client:call(name, copy(params))
        -- a call that must not run twice may look first
        local request = sent[1]
        for _, one in ipairs(sent) do
          if one.method == method then request = one end
        end
        assert.equal(method, request.method)
        assert.equal(roots[vendor] .. path, request.url)
        assert.same(wanted and of_body(json.encode(wanted)), of_body(request.body))
        assert.equal(wanted and "application/json" or nil, request.headers["Content-Type"] or nil)
        for header, value in pairs(headers[vendor]) do
          if name == "users.login" and header == "authorization" then
            value = "Basic YW5uOnBhOnNz"
          end
          assert.equal(value, request.headers[header])
        end
      end)

      it(name .. " knows its statuses", function()
        for status, kind in pairs(statuses[vendor]) do
          local client, sent = client_of(vendor, { status = status, body = "no", headers = {} })
          local value, err = client:call(name, copy(params))
          if status == 404 and name:find("exists", 1, true) then
            assert.is_false(value)
          else
            assert.is_nil(value)
            local was = err.kind == "unknown_outcome" and err.cause or err
            assert.equal(kind, was.kind, status)
            assert.equal(status, was.status)
          end
          assert.is_true(#sent >= 1)
        end
      end)

      for i = 6, #call do
        it(("%s refuses such a %s (%d)"):format(name, call[i][1], i), function()
          local client, sent = client_of(vendor, { status = 200, body = "{}", headers = {} })
          local bad = copy(params)
          bad[call[i][1]] = call[i][2]
          local fine, why = pcall(client.call, client, name, bad)
          assert.is_false(fine)
          assert.matches(name .. ": '" .. call[i][1], why, 1, true)
          assert.equal(0, #sent)
        end)
      end
    end
  end)
end

describe("signing in to Betterez", function()
  local function login(response)
    local client, sent = client_of("betterez", response)
    return sent, client.users:login { username = "ann", password = "pass-word-1" }
  end

  it("gives the token", function()
    local _, value = login { status = 200, headers = {}, body = '{"user":{},"token":"a.b.c"}' }
    assert.equal("a.b.c", value.token)
  end)

  it("tells that a code is wanted, and quotes no password", function()
    local _, value, err = login { status = 401, headers = {},
      body = '{"code":"MFA_REQUIRED","message":"for pass-word-1 YW5uOnBhc3Mtd29yZC0x"}' }
    assert.is_nil(value)
    assert.same({ "auth", "MFA_REQUIRED" }, { err.kind, err.code })
    assert.is_nil(tostring(err):find("pass-word-1", 1, true))
    assert.is_nil(tostring(err):find("YW5uOnBhc3Mtd29yZC0x", 1, true))
    assert.is_nil(err.body)
  end)

  it("needs a base URL beside which the service can stand", function()
    local client = billhook.betterez { base_url = "https://api.test/btrz", api_key = "key-3" }
    local fine, why = pcall(client.call, client, "shifts.invoices", { shift = HEX })
    assert.is_false(fine)
    assert.matches("'base_url' must end in /invoices, for the service 'accounts'", why, 1, true)
  end)
end)

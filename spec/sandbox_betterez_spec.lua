-- The sandbox's Betterez, compared with docs/vendors.md by raw requests.

local core = require "billhook.core"
local support = require "spec.support.sandbox"

describe("the sandbox's Betterez", function()
  local sandbox
  setup(function() sandbox = support.start() end)
  teardown(function() sandbox:stop() end)
  before_each(function() sandbox:clear() end)

  local headers = { ["X-API-KEY"] = "sandbox-key", Authorization = "Bearer sandbox-token" }

  local function ask(method, path, body, own)
    return sandbox:ask(method, path, own or headers, body)
  end

  local function trigger(fields)
    fields.vendor = "betterez"
    return sandbox:order("trigger", fields)
  end

  local function hex(n) return ("%024x"):format(n) end

  local function issue(n, how)
    local status, value = ask("POST", "/invoices/" .. (how or "infile"),
      ('{"transactionId":"%s"}'):format(hex(n)))
    assert.equal(200, status)
    return value.invoice
  end

  local none = ("f"):rep(24)

  it("has an invoice's members, and its webhook the same document", function()
    local made = issue(1)
    local _, got = ask("GET", "/invoices/invoices/" .. made._id)
    assert.same({ invoice = made }, got)
    for _, name in ipairs { "_id", "invoiceProviderId", "transactionId", "accountId", "createdBy",
      "updatedBy" } do
      assert.matches("^%x+$", made[name])
      assert.equal(24, #made[name])
    end
    assert.same({ "certification", "456889", "infile" },
      { made.type, made.serie, made.invoiceProviderType })
    assert.is_string(made.number)
    assert.matches("^%d+%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", made.createdAt.value)
    assert.equal(0, made.createdAt.offset)
    local hook = sandbox:hooks(1)[1]
    assert.same(made, hook.body.data)
    assert.same({ "invoices.created", true }, { hook.body.event, hook.body.livemode })
    local t, mac = hook.headers["x-btrz-signature"]:match "^t=(%d+),s=%x+,s2=(%x+)$"
    local signed = core.verify.hmac("sandbox-private-key", t .. "." .. hook.text)
    assert.equal(core.text.hex(signed), mac)
    assert.equal(hook.body.created, math.floor(hook.body.created))
  end)

  it("says of an error its code; of 401 a word", function()
    issue(1)
    trigger { type = "failure", transactionId = hex(2) }
    trigger { type = "failure", transactionId = hex(3), code = "INFILE_SIGN_FAILED", again = 1 }
    local retry = '{"transactionId":"%s"}'
    local cases = {
      { 400, "WRONG_DATA", "GET", "/invoices/invoices" },
      { 400, "WRONG_DATA", "GET", "/invoices/invoices?page=x&transactionId=" .. hex(1) },
      { 400, "INVALID_INVOICE_ID", "GET", "/invoices/invoices/12" },
      { 404, "INVOICE_NOT_FOUND", "GET", "/invoices/invoices/" .. none },
      { 400, "INVALID_TRANSACTION_ID", "GET", "/invoices/failures?transactionId=1" },
      { 400, "WRONG_DATA", "POST", "/invoices/retry", "{}" },
      { 404, "TRANSACTION_NOT_FOUND", "POST", "/invoices/retry", retry:format(none) },
      { 404, "INVOICE_FAILURE_NOT_FOUND", "POST", "/invoices/retry", retry:format(hex(9)) },
      { 400, "TRANSACTION_ALREADY_INVOICED", "POST", "/invoices/retry", retry:format(hex(1)) },
      { 409, "INFILE_SIGN_FAILED", "POST", "/invoices/retry", retry:format(hex(3)) },
      { 400, "OVERRIDE_BUYER_IS_MANDATORY", "PUT", "/invoices/retry", retry:format(hex(2)) },
      { 400, "TRANSACTION_ALREADY_INVOICED", "POST", "/invoices/gti", retry:format(hex(1)) },
      { 400, "WRONG_DATA", "POST", "/invoices/gti", "{}" },
      { 400, "WRONG_DATA", "GET", "/invoices/pdfs" },
      { 404, "INVOICE_NOT_FOUND", "GET", "/invoices/pdfs?transactionId=" .. hex(9) },
      { 400, "WRONG_DATA", "POST", "/invoices/emails", '{"invoiceId":"x","emails":["a@b.c"]}' },
      { 404, "INVOICE_NOT_FOUND", "POST", "/invoices/emails",
        '{"invoiceId":"' .. none .. '","emails":["a@b.c"]}' },
      { 400, "WRONG_DATA", "POST", "/invoices/providers", '{"name":"x"}' },
      { 400, "INVALID_PROVIDER_ID", "GET", "/invoices/providers/12" },
      { 404, "PROVIDER_NOT_FOUND", "DELETE", "/invoices/providers/" .. none },
      { 404, "PROVIDER_NOT_FOUND", "GET", "/invoices/providers/" .. none .. "/sequences" },
      { 400, "WRONG_DATA", "GET", "/invoices/tax-ids?taxNumber=1" },
      { 400, "INVALID_TAX_NUMBER", "GET", "/invoices/tax-ids?taxNumber=%25&country=GT" },
      { 404, "TAXID_NOT_FOUND", "GET", "/invoices/tax-ids?taxNumber=0&country=GT" },
      { 400, "WRONG_DATA", "GET", "/accounts/shifts/1/invoices" },
      { 404, "SHIFT_NOT_FOUND", "GET", "/accounts/shifts/" .. none .. "/invoices" },
      { 404, "TRANSACTION_NOT_FOUND", "POST", "/operations/transactions/" .. none .. "/invoices",
        '{"number":"1"}' },
      { 400, "WRONG_DATA", "POST", "/operations/transactions/" .. hex(1) .. "/credit-notes",
        '{"number":"1"}' },
      { 404, "UNDELIVERED_NOT_FOUND", "GET", "/webhooks/undelivered/" .. none },
      { 404, "SUBSCRIPTION_NOT_FOUND", "DELETE", "/webhooks/subscriptions/" .. none },
      { 404, "NOT_FOUND", "DELETE", "/invoices/invoices/" .. hex(1) },
    }
    for _, case in ipairs(cases) do
      local status, answer = ask(case[3], case[4], case[5])
      assert.same({ case[1], case[2] }, { status, answer.code }, case[3] .. " " .. case[4])
      assert.is_string(answer.message)
    end
    for _, wrong in ipairs { {}, { ["X-API-KEY"] = "SANDBOX-KEY" } } do
      local status, text = ask("GET", "/invoices/providers", nil, wrong)
      assert.same({ 401, "Unauthorized" }, { status, text })
    end
    local status, text = ask("POST", "/invoices/retry", "{}", { ["X-API-KEY"] = "sandbox-key" })
    assert.same({ 401, "Unauthorized" }, { status, text })
    assert.equal(200, (ask("GET", "/invoices/providers", nil, { ["X-API-KEY"] = "sandbox-key" })))
  end)

  it("retries: a new document, or a changed one", function()
    trigger { type = "failure", transactionId = hex(1) }
    trigger { type = "failure", transactionId = hex(2) }
    local _, failures = ask("GET", "/invoices/failures")
    assert.same({ 2, "", "" }, { failures.count, failures.next, failures.previous })
    assert.equal(hex(1), failures.invoicesFailures[1].transactionId)
    local _, made = ask("POST", "/invoices/retry", ('{"transactionId":"%s"}'):format(hex(1)))
    assert.equal(hex(1), made.invoice.transactionId)
    _, made = ask("PUT", "/invoices/retry", ('{"retryData":{"transactionId":"%s",'
      .. '"overrideBuyer":{"documentType":"RUC","name":"Other"}}}'):format(hex(2)))
    assert.equal("RUC", made.invoice.buyer.documentType)
    trigger { type = "failure", transactionId = hex(2) } -- of a document that is there
    local status, changed = ask("PUT", "/invoices/retry",
      ('{"transactionId":"%s"}'):format(hex(2)))
    assert.same({ 200, made.invoice._id }, { status, changed.invoice._id })
    local kinds = {}
    for i, one in ipairs(sandbox:hooks(3)) do kinds[i] = one.body.event end
    table.sort(kinds)
    assert.same({ "invoices.created", "invoices.created", "invoices.updated" }, kinds)
    assert.equal(0, select(2, ask("GET", "/invoices/failures")).count)
  end)

  it("gives pages only where one is asked for", function()
    local path = "/invoices/tax-ids?taxNumber=9123&country=GT"
    local _, plain = ask("GET", path)
    assert.same({ 25, 10, "" }, { plain.count, #plain.taxIds, plain.next })
    local seen, url = 0, path .. "&page=1"
    for _ = 1, 3 do
      local _, page = ask("GET", (url:gsub("^http://[^/]+", "")))
      seen, url = seen + #page.taxIds, page.next
    end
    assert.same({ 25, "" }, { seen, url })
  end)

  it("logs in for a token, with a second factor where there is one", function()
    local function login(user, body)
      local basic = core.text.base64(user .. ":sandbox-password")
      return ask("POST", "/accounts/users", body, { ["X-API-KEY"] = "sandbox-key",
        Authorization = "Basic " .. basic })
    end
    local status, answer = login("user@example.com", '{"audience":"betterez-app"}')
    assert.equal(200, status)
    assert.same({ "string", "user@example.com" }, { type(answer.shortToken), answer.user.email })
    local fresh = { ["X-API-KEY"] = "sandbox-key", Authorization = "Bearer " .. answer.token }
    assert.equal(400, (ask("POST", "/invoices/retry", "{}", fresh)))
    sandbox:order("clock", { forward = 86401 })
    assert.equal(401, (ask("POST", "/invoices/retry", "{}", fresh)))
    status, answer = login("mfa@example.com", '{"audience":"betterez-app"}')
    assert.same({ 401, { code = "MFA_REQUIRED",
      message = "Two-factor authentication code is required." } }, { status, answer })
    status, answer = login("mfa@example.com", '{"audience":"betterez-app","totpToken":"1"}')
    assert.same({ 401, "MFA_VERIFICATION_FAILED" }, { status, answer.code })
    status, answer = login("mfa@example.com", '{"audience":"betterez-app","totpToken":"123456"}')
    assert.same({ 200, true }, { status, answer.user.mfaEnabled })
    status, answer = login("nobody@example.com", '{"audience":"betterez-app"}')
    assert.same({ 401, "Unauthorized" }, { status, answer })
    assert.equal(400, (login("user@example.com", "{}")))
  end)

  it("has a shift's invoices, a transaction's invoice and its credit notes", function()
    local one, two = issue(1), issue(2, "system")
    local _, shift = ask("GET", "/accounts/shifts/5f0000000000000000000001/invoices")
    assert.same({ one, two }, shift.invoices)
    local status, noted = ask("POST", "/operations/transactions/" .. hex(1) .. "/invoices",
      '{"number":"1"}')
    assert.same({ 200, "1" }, { status, noted.invoice.number })
    status, noted = ask("POST", "/operations/transactions/" .. hex(1) .. "/credit-notes",
      '{"creditNoteId":"c1","externalCreditNoteId":"x"}')
    assert.same({ 200, { creditNoteId = "c1", externalCreditNoteId = "x" } },
      { status, noted.creditNote })
  end)

  it("lists what could not be delivered, sends it again, and erases it", function()
    sandbox:point(500)
    for n = 1, 3 do
      issue(n)
      sandbox:settled(n)
    end
    local function list() return select(2, ask("GET", "/webhooks/undelivered")).undelivered end
    local first = list()[1]
    assert.same({ 3, "invoices.created", "HTTP 500" }, { #list(), first.event, first.reason })
    local status, one = ask("GET", "/webhooks/undelivered/" .. first._id)
    assert.same({ 200, first }, { status, one.undelivered })
    assert.equal(400, (ask("PATCH", "/webhooks/undelivered", '{"operation":{}}')))
    assert.equal(200, (ask("PATCH", "/webhooks/undelivered", ('{"operation":{"url":'
      .. '"http://127.0.0.1:%d/hook/200"}}'):format(sandbox.receiver))))
    assert.equal(200, (ask("PUT", "/webhooks/undelivered/" .. first._id .. "/retry")))
    sandbox:settled(1)
    assert.equal(2, #list())
    assert.equal(404, (ask("PUT", "/webhooks/undelivered/" .. first._id .. "/retry")))
    assert.equal(200, (ask("DELETE", "/webhooks/undelivered/" .. list()[1]._id)))
    assert.equal(200, (ask("PUT", "/webhooks/undelivered/retry-all")))
    sandbox:settled(3)
    assert.equal(0, #list())
    sandbox:point(500)
    issue(4)
    sandbox:settled(4)
    local headers_of
    status, one, headers_of = ask("DELETE", "/webhooks/undelivered/batch-all")
    assert.same({ 204, "", "0" }, { status, one, headers_of["content-length"] })
    assert.equal(0, #list())
  end)

  it("tells subscribers of the events that they chose", function()
    local url = ("http://127.0.0.1:%d/hook/200"):format(sandbox.receiver)
    local _, made = ask("POST", "/webhooks/subscriptions",
      ('{"url":"%s","events":["refund.created"]}'):format(url))
    local id = made.subscription._id
    assert.equal(200, (ask("GET", "/webhooks/subscriptions/" .. id)))
    issue(1)
    sandbox:hooks(1)
    trigger { type = "refund.created", amount = "5.00" }
    local list = sandbox:hooks(3)
    assert.same({ list[2].body.id, "refund.created", 5 },
      { list[3].body.id, list[3].body.event, list[3].body.data.amount })
    assert.not_equal(list[2].body.attemptId, list[3].body.attemptId)
    _, made = ask("PUT", "/webhooks/subscriptions/" .. id, '{"disabled":true}')
    assert.same({ true, url }, { made.subscription.disabled, made.subscription.url })
    trigger { type = "refund.created" }
    local _, sent = sandbox:ask("GET", "/sandbox/deliveries")
    assert.equal(4, #sent)
    assert.equal(200, (ask("DELETE", "/webhooks/subscriptions/" .. id)))
    assert.equal(0, select(2, ask("GET", "/webhooks/subscriptions")).count)
    local _, events = ask("GET", "/webhooks/events?context=invoices")
    assert.same({ { name = "invoices.created" }, { name = "invoices.updated" } }, events.events)
  end)

  it("has providers whose params stay as they were sent, a sequence, and a description", function()
    local status, made = ask("POST", "/invoices/providers", '{"provider":{"invoiceProviderType":'
      .. '"infile","currencies":["GTQ"],"params":[{"name":"signerKey","value":"s"}]}}')
    assert.same({ 200, { { name = "signerKey", value = "s" } } }, { status, made.provider.params })
    local path = "/invoices/providers/" .. made.provider._id
    assert.equal("CANNOT_CHANGE_PROVIDER",
      select(2, ask("PUT", path, '{"invoiceProviderType":"gti"}')).code)
    local _, sequence = ask("POST", path .. "/sequences", '{"firstNumber":1,"lastNumber":5}')
    assert.equal(5, sequence.sequence.lastNumber)
    _, made = ask("DELETE", path)
    assert.same({ providerId = path:match "%x+$" }, made)
    local kinds = {}
    for i, one in ipairs(sandbox:hooks(2)) do kinds[i] = one.body.event end
    table.sort(kinds)
    assert.same({ "invoice_providers.created", "invoice_providers.deleted" }, kinds)
    trigger { type = "invoice_provider.created", params = "list" }
    assert.same({ name = "key", value = "sandbox-secret" }, sandbox:hooks(3)[3].body.data.params[1])
    local _, docs = ask("GET", "/invoices/api-docs-v2", nil, {})
    assert.is_table(docs.paths["/invoices/{id}"].get)
  end)

  it("has no event of a deletion; a mail's may come without an envelope", function()
    for _, kind in ipairs { "invoice.deleted", "invoices.deleted", "invoices.failed" } do
      local status, answer = sandbox:ask("POST", "/sandbox/trigger", nil,
        '{"vendor":"betterez","type":"' .. kind .. '"}')
      assert.same({ 400, "Betterez has no event " .. kind .. "; it has invoiceemail.created, "
        .. "invoices.created, invoices.updated, refund.created" }, { status, answer.error })
    end
    local invoice = issue(1)
    assert.equal(200, (ask("POST", "/invoices/emails",
      ('{"email":{"invoiceId":"%s","emails":["a@example.com"]}}'):format(invoice._id))))
    trigger { type = "invoiceemail.created", envelope = false }
    local list = sandbox:hooks(3)
    assert.same({ from = "no-reply@example.com", to = { "a@example.com" } }, list[2].body.data)
    assert.same({ "sandbox-key", "563c1457c4f260b0b7765569" },
      { list[3].body.apiKey, list[3].body.providerId })
    assert.is_nil(list[3].body.id)
  end)
end)

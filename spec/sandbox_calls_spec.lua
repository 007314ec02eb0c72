-- Every operation of every vendor, called by the real client, against the sandbox in a real nginx.

local billhook = require "billhook"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local sandbox = require "billhook.sandbox"

local server

local function url(path) return ("http://127.0.0.1:%d%s"):format(server.ports[2], path) end

local function control(method, name, fields)
  local status, _, body = server:request { port = server.ports[2], method = method,
    path = "/sandbox/" .. name, body = fields and json.encode(fields) }
  assert.equal(200, status, body)
  return json.decode(body)
end

local clients = {}

function clients.dreamapply()
  return billhook.dreamapply { base_url = url "", api_key = "sandbox-key", settle_timeout = 0 }
end

function clients.dreamclass()
  return billhook.dreamclass { base_url = url "/dreamclassapi/v1", api_key = "sandbox-key",
    tenant = "my-school", school_code = "MS1", paths = {
      ["invoices.get"] = "/financial/invoices/{id}",
      ["fees.list"] = "/financial/fees/list/{period}",
      ["fees.create"] = "/financial/fees/create",
      ["periods.list"] = "/curriculum/schoolperiods/list",
    } }
end

function clients.betterez()
  return billhook.betterez { base_url = url "/invoices", api_key = "sandbox-key",
    token = "sandbox-token", settle_timeout = 0 }
end

local transaction = ("0123456789abcdef"):rep(2):sub(1, 24)
local none = ("f"):rep(24)
local infile = { name = "Infile", country = "GT", invoiceProviderType = "infile",
  currencies = { "GTQ" }, params = { { name = "signerKey", value = "s" } } }
local lines = { { item = "Tuition fee", price = "19.90", qty = "2" } }

-- What each call is given and what it has to say; in this order, for one needs what another made.
-- `kept` goes from call to call. A second function gives parameters that find nothing.
local function ok(value) return value == true end

local function failed()
  nginx.wait("the failure", function()
    for _, one in ipairs(control("GET", "deliveries")) do
      if one.type == "refund.created" and one.state == "failed" then return true end
    end
  end)
end

local walks = {}

walks.dreamapply = {
  { "ping", function() return {} end, function(v) return v.pong > 0 end },
  { "invoices.create", function() return { application = 7, currency = "EUR", items = lines } end,
    function(v) return v.id == 1 and v.how == "created" end },
  { "invoices.get", function() return { id = 1 } end,
    function(v) return v.items[1].price == "19.90" end, { id = 99 } },
  { "invoices.list", function() return { application = 7 } end, function(v) return #v == 1 end },
  { "invoices.list", function() return { applicant = 7 } end, function(v) return #v == 1 end },
  { "invoices.list", function() return { byCollected = false } end,
    function(v) return v[1].id == 1 end },
  { "invoices.count", function() return { application = 8 } end, function(v) return v == 0 end },
  { "transactions.create", function()
    return { invoice = 1, amount = "17.00", currency = "EUR" }
  end,
    function(v) return v.id == 1 end },
  { "transactions.list", function() return { invoice = 1 } end,
    function(v) return v[1].amount == "17.00" end },
  { "transactions.list", function() return { byInsertedBefore = "2120-01-01T00:00:00+00:00",
    byCollectedSince = "2020-01-01", byCollectedBefore = "2120-01-01" } end,
    function(v) return #v == 1 end },
  { "transactions.list", function() return { byCollectedSince = "2120-01-01" } end,
    function(v) return #v == 0 end },
  { "transactions.count", function() return { byInsertedBefore = "2020-01-01T00:00:00+00:00" } end,
    function(v) return v == 0 end },
  { "transactions.get", function() return { id = 1 } end,
    function(v) return v.invoice == "/api/v9/invoices/1" end, { id = 99 } },
  { "transactions.get", function() return { id = 1, invoice = 1 } end,
    function(v) return v.amount == "17.00" end, { id = 1, invoice = 99 } },
  { "series.list", function() return {} end, function(v) return v[1].id == 1 end },
  { "journal.list", function() return { byEvents = { "Invoice was created: ?" } } end,
    function(v) return #v == 1 and v[1].invoice == "/api/v9/invoices/1" end },
  { "invoices.exists", function() return { id = 1 } end, ok },
  { "transactions.exists", function() return { id = 1 } end, ok },
  { "series.count", function() return {} end, function(v) return v == 2 end },
  { "journal.count", function() return { byEvents = { "Invoice was created: ?" } } end,
    function(v) return v == 1 end },
  { "purged_resources.list", function()
    control("POST", "trigger", { vendor = "dreamapply", type = "applicant.deleted",
      applicant = 9 })
    return {}
  end, function(v) return v["1"].type == "Application" and v["2"].type == "Applicant" end },
  { "invoices.delete", function() return { id = 1 } end, ok, { id = 1 } },
}

walks.dreamclass = {
  { "periods.list", function() return {} end, function(v) return v[1].id == 1 end },
  { "invoices.create", function()
    return { entityType = "student", entityId = 5, schoolPeriodId = 1 }
  end, function(v) return v.amount == 300 end },
  { "invoices.get", function() return { id = 1 } end,
    function(v) return v.invoiceRefId == nil and v.paidAmount == 0 end, { id = 99 } },
  { "invoices.pay", function() return { id = 1, amount = 12.5, paymentmethod = 1 } end,
    function(v) return v.id == 1 and v.paidAmount == 12.5 and v.payments[1].amount == 12.5 end,
    { id = 99, amount = 1, paymentmethod = 1 } },
  { "invoices.list", function() return {} end, function(v) return v[1].id == 1 end },
  { "invoices.update", function() return { id = 1, invoiceRefId = "L-1" } end,
    function(v) return v.invoiceRefId == "L-1" end, { id = 99, invoiceRefId = "L-1" } },
  { "payments.update", function() return { id = 1, publicNotes = "late" } end,
    function(v) return v.publicNotes == "late" end, { id = 99, publicNotes = "late" } },
  { "payment_methods.list", function() return {} end, function(v) return v[2].id == 2 end },
  { "fees.create", function()
    return { type = "school", period = "oneoff", cost = 5, schoolPeriodId = 1 }
  end, function(v, kept) kept.fee = v.id return v.cost == 5 end },
  { "fees.list", function() return { period = 1 } end, function(v) return #v == 2 end },
  { "fees.update", function(kept) return { id = kept.fee, cost = 9 } end,
    function(v) return v.cost == 9 end, { id = 99, cost = 9 } },
  { "fees.assign", function(kept)
    return { studentIds = { 1, 2 }, feesIds = { kept.fee }, installmentPlan = 1 }
  end, function(v) return v == 2 end },
}

local function id_of(name, check)
  return function(value, kept)
    kept[name] = value._id
    return check(value)
  end
end

walks.betterez = {
  { "providers.create", function() return { body = infile } end,
    id_of("provider", function(v) return v.name == "Infile" end) },
  { "providers.get", function(kept) return { id = kept.provider } end,
    function(v) return v.enabled end, { id = none } },
  { "providers.update", function(kept)
    return { id = kept.provider, body = { provider = { name = "Other" } } }
  end, function(v) return v.name == "Other" and v.country == "GT" end,
    { id = none, body = { name = "x" } } },
  { "providers.list", function() return { country = "GT", enabled = true } end,
    function(v) return #v == 1 end },
  { "providers.list", function() return { enabled = false } end, function(v) return #v == 0 end },
  { "sequences.create", function(kept)
    return { provider = kept.provider, body = { prefix = "A", next = 1 } }
  end, id_of("sequence", function(v) return v.prefix == "A" end),
    { provider = none, body = { prefix = "A" } } },
  { "sequences.get", function(kept) return { provider = kept.provider, id = kept.sequence } end,
    function(v) return v.next == 1 end, { provider = none, id = none } },
  { "sequences.update", function(kept)
    return { provider = kept.provider, id = kept.sequence, body = { next = 5 } }
  end, function(v) return v.next == 5 and v.prefix == "A" end },
  { "sequences.list", function(kept) return { provider = kept.provider } end,
    function(v) return #v == 1 end, { provider = none } },
  { "sequences.delete", function(kept) return { provider = kept.provider, id = kept.sequence } end,
    ok },
  { "tax_ids.list", function(kept)
    return { taxNumber = "12", country = "GT", invoiceProviderId = kept.provider }
  end, function(v) return v[1].taxNumber == "12" end, { taxNumber = "0", country = "GT" } },
  { "providers.delete", function(kept) return { id = kept.provider } end, ok, { id = none } },
  { "invoices.issue", function()
    return { provider = "infile", onlyValidateRequest = true,
      body = { transactionId = transaction } }
  end, function(v) return v.valid end },
  { "invoices.issue", function()
    return { provider = "infile", body = { transactionId = transaction } }
  end, id_of("invoice", function(v) return v.transactionId == transaction end) },
  { "invoices.get", function(kept) return { id = kept.invoice } end,
    function(v) return v.serie == "456889" end, { id = none } },
  { "invoices.list", function() return { transactionId = transaction } end,
    function(v) return #v == 1 end },
  { "invoices.validate_void", function() return { originalTransactionId = transaction } end,
    function(v) return v.valid end, { originalTransactionId = none } },
  { "invoices.pdf", function() return { transactionId = transaction } end,
    function(v) return v:find "^%%PDF" end, { transactionId = none } },
  { "invoices.email", function(kept)
    return { invoiceId = kept.invoice, emails = { "a@example.com" } }
  end, function(v) return v.status == "OK" end, { invoiceId = none, emails = { "a@b.example" } } },
  { "users.login", function()
    return { username = "mfa@example.com", password = "sandbox-password", totpToken = "123456" }
  end, function(v) return v.token and v.shortToken end },
  { "transactions.invoice", function()
    return { transaction = transaction, body = { number = "1" } }
  end, function(v) return v.invoice.number == "1" end,
    { transaction = none, body = { number = "1" } } },
  { "transactions.credit_note", function()
    return { transaction = transaction, creditNoteId = "c1", externalCreditNoteId = "x" }
  end, function(v) return v.creditNote.creditNoteId == "c1" end,
    { transaction = none, creditNoteId = "c1" } },
  { "shifts.invoices", function() return { shift = "5f0000000000000000000001" } end,
    function(v) return v[1].transactionId == transaction end, { shift = none } },
  { "events.list", function() return { context = "refund" } end,
    function(v) return v[1].name == "refund.created" end },
  { "subscriptions.create", function()
    -- nobody listens there
    return { body = { url = "http://127.0.0.1:9/", events = { "refund.created" } } }
  end, id_of("subscription", function(v) return v.events[1] == "refund.created" end) },
  { "subscriptions.list", function() return {} end, function(v) return #v == 1 end },
  { "subscriptions.get", function(kept) return { id = kept.subscription } end,
    function(v) return v.url == "http://127.0.0.1:9/" end, { id = none } },
  { "subscriptions.update", function(kept)
    return { id = kept.subscription, body = { name = "x" } }
  end, function(v) return v.name == "x" and v.url ~= nil end },
  { "undelivered.list", function()
    control("POST", "trigger", { vendor = "betterez", type = "refund.created" })
    failed()
    return {}
  end, function(v, kept)
    kept.undelivered = v[1]._id
    return #v == 1 and v[1].event == "refund.created"
  end },
  { "undelivered.get", function(kept) return { id = kept.undelivered } end,
    function(v) return v.reason == "connection refused" end, { id = none } },
  { "undelivered.change", function()
    return { body = { operation = { url = "http://127.0.0.1:9/other" } } }
  end, function(v, kept) return v.undelivered[1] == kept.undelivered end },
  { "undelivered.retry", function(kept) return { id = kept.undelivered } end,
    function(v) return v.undelivered.url == "http://127.0.0.1:9/other" end },
  { "undelivered.retry_all", function() return {} end, function(v) return v.undelivered end },
  { "undelivered.delete", function(kept)
    failed()
    return { id = kept.undelivered }
  end, function(v, kept) return v.undeliveredId == kept.undelivered end, { id = none } },
  { "undelivered.delete_all", function() return {} end, ok },
  { "subscriptions.delete", function(kept) return { id = kept.subscription } end,
    function(v, kept) return v.subscriptionId == kept.subscription end, { id = none } },
  { "invoices.failures", function()
    control("POST", "trigger", { vendor = "betterez", type = "failure",
      transactionId = ("a"):rep(24) })
    return {}
  end, function(v) return #v == 1 end },
  { "invoices.retry", function() return { transactionId = ("a"):rep(24) } end,
    function(v) return v.transactionId == ("a"):rep(24) end, { transactionId = none } },
}

describe("the sandbox, called by the client", function()
  setup(function()
    server = nginx.start { http = sandbox.conf { listen = "127.0.0.1:PORT2" } }
  end)

  teardown(function() server:stop() end)

  before_each(function() control("POST", "reset") end)

  for vendor, walk in pairs(walks) do
    it("answers every operation of " .. vendor, function()
      local client, kept, called = clients[vendor](), {}, {}
      for _, step in ipairs(walk) do
        local name, params, check, absent = step[1], step[2](kept), step[3], step[4]
        local value, err = client:call(name, params)
        assert.is_not_nil(value, name .. ": " .. tostring(err))
        assert.is_truthy(check(value, kept), name .. ": " .. json.encode { value })
        if absent then
          value, err = client:call(name, absent)
          assert.is_nil(value, name)
          assert.equal("not_found", err.kind, name)
        end
        called[name] = true
      end
      for _, operation in ipairs(billhook.calls(vendor)) do
        assert.is_true(called[operation.name], operation.name .. " has no step here")
      end
    end)
  end

  it("tells of a provider that is made, changed and deleted", function()
    local client = clients.betterez()
    local made = assert(client.providers:create(infile))
    assert(client.providers:update(made._id, { name = "Other" }))
    assert(client.providers:delete(made._id))
    local types = {}
    for i, one in ipairs(control("GET", "deliveries")) do types[i] = one.type end
    assert.same({ "invoice_providers.created", "invoice_providers.updated",
      "invoice_providers.deleted" }, types)
  end)

  it("refuses what a provider or a sequence cannot be", function()
    local client = clients.betterez()
    local function wrong(name, params)
      local value, err = client:call(name, params)
      assert.is_nil(value)
      assert.equal("WRONG_DATA", err.code, name)
    end
    wrong("providers.create", { body = {} })
    local made = assert(client.providers:create(infile))
    wrong("providers.update", { id = made._id, body = {} })
    wrong("sequences.create", { provider = made._id, body = {} })
    local sequence = assert(client:call("sequences.create",
      { provider = made._id, body = { prefix = "A" } }))
    wrong("sequences.update", { provider = made._id, id = sequence._id, body = {} })
    local gone, err = client:call("sequences.get", { provider = made._id, id = none })
    assert.is_nil(gone)
    assert.equal("SEQUENCE_NOT_FOUND", err.code)
    local taxes
    taxes, err = client:call("tax_ids.list",
      { taxNumber = "1", country = "GT", invoiceProviderId = none })
    assert.is_nil(taxes)
    assert.equal("PROVIDER_NOT_FOUND", err.code)
  end)

  it("answers what the client must not send again with 429 and how long to wait", function()
    local client = billhook.dreamapply { base_url = url "", api_key = "sandbox-key", quota = false,
      attempts = 1 }
    control("POST", "fault", { next = "429", retry_after = 7 })
    local value, err = client:ping()
    assert.is_nil(value)
    assert.equal("rate_limited", err.kind)
    assert.equal(7, err.retry_after)
    control("POST", "quota", { limit = 2 })
    assert(client:ping())
    assert(client:ping())
    value, err = client:ping()
    assert.is_nil(value)
    assert.equal("rate_limited", err.kind)
    assert.equal(429, err.status)
  end)

  it("takes back the faults that have not happened", function()
    local client = clients.dreamapply()
    control("POST", "fault", { next = "500", times = 9 })
    control("DELETE", "fault")
    assert(client:ping())
  end)
end)

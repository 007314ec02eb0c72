-- `billhook sandbox ORDER`, to one that runs; and what `billhook trigger` makes up.

local command = require "spec.support.command"
local json = require "billhook.json"
local process = require "billhook.process"

describe("billhook sandbox, given an order", function()
  local port
  setup(function()
    port = ("%d"):format((process.free_port()))
    local running = command.start { "sandbox", "--listen", port, "--json" }
    command.wait("the sandbox", function() return running:errors():find "listening" end)
  end)
  teardown(command.finish)

  local function order(...)
    return command.run { "sandbox", "--listen", port, ... }
  end

  local function answer(...)
    local result = order(...)
    assert.same({ 0, "" }, { result.code, result.err })
    return json.decode(result.out)
  end

  local function refused(code, message, ...)
    local result = order(...)
    assert.equal(code, result.code)
    assert.truthy(result.err:find(message, 1, true), result.err)
  end

  it("passes it on, with numbers, truths, lists and texts #both", function()
    assert.equal("1", answer("trigger", "vendor=dreamclass", "amount=300.00").invoice)
    local told = answer("trigger", "vendor=dreamapply", 'items=[["Fee","7.00",2]]')
    assert.equal("Invoice was created: ?", told.type)
    told = answer("trigger", "vendor=dreamapply", "type=payment.created", "invoice=1", "amount=14")
    assert.equal("Invoice was collected: ?", told.type)
    assert.is_true(answer("quota", "limit=5", "retry_after=true").ok)
    assert.is_true(answer("fault", "next=503", "times=2").ok)
    assert.is_true(answer("fault", "off").ok)
    assert.equal("2026-03-02T12:00:00+00:00",
      answer("clock", "now=2026-03-02T12:00:00+00:00").now)
    -- a day later, and by what has gone by meanwhile
    assert.matches("^2026%-03%-03T12:0%d:", answer("clock", "forward=86400").now)
    assert.equal(3, #answer "deliveries")
    assert.equal("/api/version", answer("requests")[1].target) -- whether it runs
    assert.is_true(answer("reset").ok)
    assert.same({}, answer "deliveries")
  end)

  it("says what is wrong with it", function()
    refused(1, "billhook: sandbox: trigger: vendor must be dreamapply, dreamclass, betterez, got x",
      "trigger", "vendor=x")
    for name, vendor in pairs { DreamApply = "dreamapply", DreamClass = "dreamclass" } do
      refused(1, ("trigger: %s has no event invoice.paid; pay one by payment.created, with "
        .. "invoice=ID"):format(name), "trigger", "vendor=" .. vendor, "type=invoice.paid")
    end
    refused(1, "billhook: sandbox: trigger: Betterez has no event invoice.deleted", "trigger",
      "vendor=betterez", "type=invoice.deleted")
    refused(1, "billhook: sandbox: nonsense: no such order; there are clock, deliveries, "
      .. "fault, forge, options, ", "nonsense")
    refused(1, "billhook: sandbox: clock: now (a time) or forward (seconds) is missing", "clock")
    refused(1, "sandbox: options: option 'lag' must be 0 to 3600 seconds", "options",
      "vendor=dreamapply", "lag=4000")
    refused(1, "sandbox: options: option 'empty' must be sample, array or object", "options",
      "vendor=dreamapply", "empty=nothing")
    refused(1, "sandbox: options: bad option 'x'", "options", "vendor=dreamapply", "x=1")
    refused(1, "sandbox: forge: proof must be wrong or captured", "forge", "vendor=dreamapply",
      "proof=true-ish")
    refused(1, "sandbox: fault: copies is no number", "fault", "next=webhook", "copies=many")
    refused(1, "sandbox: quota: limit is missing", "quota")
    refused(2, "not name=value: vendor", "trigger", "vendor")
    refused(2, "sandbox: no such order: No", "No")
    refused(2, "the text ends too early", "trigger", "vendor=dreamapply", "items=[1")
  end)

  it("says when none runs", function()
    local free = ("%d"):format((process.free_port()))
    local result = command.run { "sandbox", "--listen", free, "deliveries" }
    assert.equal(1, result.code)
    assert.truthy(result.err:find("http://127.0.0.1:" .. free .. ": ", 1, true), result.err)
  end)
end)

describe("billhook trigger", function()
  after_each(command.finish)

  local function made(vendor, kind)
    return command.run { "trigger", vendor, kind, "--print",
      vendor == "dreamapply" and "--authorization" or "--secret", "s" }
  end

  local function body(vendor, kind)
    local result = made(vendor, kind)
    assert.equal(0, result.code, result.err)
    return json.decode((result.out:match "\n\n(.*)\n$"))
  end

  it("carries what its kind carries", function()
    local payment = body("dreamclass", "payment.created")
    assert.equal("PAYMENT_CREATED", payment.type)
    assert.same({ "number", "number", 2 }, { type(payment.data.invoiceId),
      type(payment.data.amount), payment.data.paymentmethod.id })
    assert.is_nil(payment.data.fees)
    assert.is_table(body("dreamclass", "INVOICE_DELETED").data.fees)
    local provider = body("betterez", "invoice_provider.deleted")
    assert.same({ "invoice_providers.deleted", "infile" },
      { provider.event, provider.data.invoiceProviderType })
    assert.is_table(body("betterez", "invoiceemail.created").data.to)
    assert.equal("456889", body("betterez", "invoices.updated").data.serie)
    assert.equal("Invoice was re-issued: ?", body("dreamapply", "Invoice was re-issued: ?").event)
  end)

  it("has no sample of what no document shows, and no event that there is not", function()
    for _, case in ipairs {
      { "betterez", "invoice.deleted", "betterez sends no invoice.deleted; it sends invoice.cr" },
      { "betterez", "payment.created", "betterez sends no payment.created; it sends invoice.cr" },
      { "dreamapply", "invoice.paid", "dreamapply sends no invoice.paid; it sends invoice.co" },
      { "dreamclass", "STUDENT_CLASS_CREATED", "no document shows the data of STUDENT_CLASS" },
      { "betterez", "refund.created", "no document shows the data of refund.created" },
    } do
      local result = made(case[1], case[2])
      assert.equal(2, result.code)
      assert.truthy(result.err:find(case[3], 1, true), result.err)
    end
  end)
end)

-- The sandbox's DreamClass, compared with docs/vendors.md by raw requests.

local core = require "billhook.core"
local support = require "spec.support.sandbox"

local null = support.null

describe("the sandbox's DreamClass", function()
  local sandbox
  setup(function() sandbox = support.start() end)
  teardown(function() sandbox:stop() end)
  before_each(function()
    sandbox:clear()
    sandbox:order("clock", { now = "2026-03-02T12:00:00+00:00" })
  end)

  local headers = { Authorization = "sandbox-key", tenant = "my-school", schoolCode = "MS1" }

  local function ask(method, path, body)
    return sandbox:ask(method, "/dreamclassapi/v1" .. path, headers, body)
  end

  local function trigger(fields)
    fields.vendor = "dreamclass"
    return sandbox:order("trigger", fields)
  end

  local function create(more)
    local status, invoice = ask("POST", "/financial/invoices/create",
      '{"entityType":"student","entityId":5,"schoolPeriodId":1' .. (more or "") .. "}")
    assert.equal(200, status)
    return invoice
  end

  local function get(id) return select(2, ask("GET", "/financial/invoices/" .. (id or 1))) end

  it("answers a creation with the whole invoice", function()
    local invoice = create(',"issueDate":"2026-03-01","dueDate":"2026-03-31",'
      .. '"publicNotes":"For you"')
    assert.matches("^2026%-03%-02T12:00:%d%d%.%d%d%d%+00:00$", invoice.createdAt)
    assert.same({ id = 1, fees = { { id = 81 } }, email = "test@test.com", amount = 300, status = 1,
      address = "Address 1", dueDate = "2026-03-31", fullname = "John Sample", payments = {},
      createdAt = invoice.createdAt, issueDate = "2026-03-01", telephone = "123456789",
      paidAmount = 0, publicNotes = "For you", privateNotes = null, invoiceRefId = null }, invoice)
    assert.same(invoice, get())
  end)

  it("tells an invoice by webhook without what was paid", function()
    create ',"publicNotes":"For you"'
    local hook = sandbox:hooks(1)[1]
    local names = {}
    for name in pairs(hook.body) do names[#names + 1] = name end
    table.sort(names)
    assert.same({ "data", "id", "signature", "tenant", "timestamp", "type" }, names)
    assert.same({ "INVOICE_CREATED", "my-school" }, { hook.body.type, hook.body.tenant })
    assert.is_true(math.abs(hook.body.timestamp - 1772452800000) < 60000)
    assert.equal(core.text.base64(core.verify.hmac("123", hook.body.id)), hook.body.signature)
    local data = hook.body.data
    assert.same({ "For you", null }, { data.publicNotes, data.invoiceRefId })
    assert.same({}, { data.payments, data.paidAmount, data.privateNotes })
    assert.same({ 300, 1, { { id = 81 } } }, { data.amount, data.id, data.fees })
  end)

  it("takes payments in both documented shapes, and answers the invoice", function()
    create()
    local status, paid = ask("POST", "/financial/invoices/pay/1",
      '{"amount":120.5,"paymentmethod":1,"privateNotes":"cash"}')
    assert.same({ 200, 1, 120.5 }, { status, paid.id, paid.paidAmount })
    local first = paid.payments[1]
    assert.same({ id = 1, invoiceId = 1, amount = 120.5, status = 1, paymentmethod = { id = 1 },
      createdAt = first.createdAt, publicNotes = null, privateNotes = "cash" }, first)
    status, paid = ask("POST", "/financial/invoices/pay/1",
      '{"amount":"79.50","paymentmethod":{"id":2},"createdAt":"2026-03-01T08:00:00.000+00:00"}')
    assert.same({ 200, 200, 2 }, { status, paid.paidAmount, #paid.payments })
    assert.same({ 2, "2026-03-01T08:00:00.000+00:00" },
      { paid.payments[2].paymentmethod.id, paid.payments[2].createdAt })
    assert.same(paid, get())
  end)

  it("tells a payment by webhook, not an invoice", function()
    create()
    ask("POST", "/financial/invoices/pay/1", '{"amount":300,"paymentmethod":3}')
    trigger { type = "payment.updated", invoice = 1, status = 3 }
    trigger { type = "payment.deleted", invoice = 1 }
    local by_type = {}
    for _, one in ipairs(sandbox:hooks(4)) do by_type[one.body.type] = one.body.data end
    for _, kind in ipairs { "PAYMENT_CREATED", "PAYMENT_UPDATED", "PAYMENT_DELETED" } do
      local data = by_type[kind]
      assert.same({ 1, 1, 300, 3 }, { data.id, data.invoiceId, data.amount, data.paymentmethod.id })
      assert.is_nil(data.fees)
    end
    assert.same({ 1, 3, 3 }, { by_type.PAYMENT_CREATED.status, by_type.PAYMENT_UPDATED.status,
      by_type.PAYMENT_DELETED.status })
    assert.same({ 0, {} }, { get().paidAmount, get().payments })
  end)

  it("updates what may be edited of invoices, payments and fees", function()
    create()
    local status, invoice = ask("PATCH", "/financial/invoices/update/1",
      '{"invoiceRefId":"L-17","dueDate":"2026-04-01","amount":1,"publicNotes":"n"}')
    assert.equal(200, status)
    assert.same({ "L-17", "2026-04-01", 300, "n", 0 }, { invoice.invoiceRefId, invoice.dueDate,
      invoice.amount, invoice.publicNotes, invoice.paidAmount })
    ask("POST", "/financial/invoices/pay/1", '{"amount":300,"paymentmethod":1}')
    status, invoice = ask("PATCH", "/financial/invoices/payment/1",
      '{"date":"2026-02-28","publicNotes":"late"}')
    assert.same({ 200, 1, "late" }, { status, invoice.id, invoice.publicNotes })
    assert.same({ "2026-02-28T00:00:00.000+00:00", "late" },
      { get().payments[1].createdAt, get().payments[1].publicNotes })
    local kinds = {}
    for i, one in ipairs(sandbox:hooks(4)) do kinds[i] = one.body.type end
    table.sort(kinds)
    assert.same({ "INVOICE_CREATED", "INVOICE_UPDATED", "PAYMENT_CREATED", "PAYMENT_UPDATED" },
      kinds)
    local _, fee = ask("POST", "/financial/fees/create",
      '{"type":"school","period":"oneoff","cost":5,"decription":"Books","schoolPeriodId":1}')
    assert.same({ 82, "Books" }, { fee.id, fee.description })
    _, fee = ask("PATCH", "/financial/fees/update/82", '{"cost":9}')
    assert.equal(9, fee.cost)
    local assigned
    status, assigned = ask("POST", "/financial/fees/assign",
      '{"studentIds":[1,2],"feesIds":[82],"installmentPlan":1}')
    assert.same({ 200, 2 }, { status, assigned })
  end)

  it("refunds in the four ways of the vendor's help page", function()
    local function kinds(n, from)
      local list = {}
      for i, one in ipairs(sandbox:hooks(n)) do
        if i > from then list[#list + 1] = one.body.type end
      end
      table.sort(list)
      return list
    end
    for id = 1, 4 do
      create()
      ask("POST", "/financial/invoices/pay/" .. id, '{"amount":300,"paymentmethod":3}')
    end
    sandbox:hooks(8)
    trigger { type = "refund", how = "card", invoice = 1 }
    assert.same({ "PAYMENT_UPDATED" }, kinds(9, 8))
    assert.same({ 0, 4 }, { get(1).paidAmount, get(1).payments[1].status })
    trigger { type = "refund", how = "full", invoice = 2 }
    assert.same({ "INVOICE_UPDATED" }, kinds(10, 9))
    assert.same({ 0, 300 }, { get(2).amount, get(2).paidAmount })
    trigger { type = "refund", how = "manual", invoice = 3 }
    assert.same({ "INVOICE_DELETED" }, kinds(11, 10))
    assert.equal(404, (ask("GET", "/financial/invoices/3")))
    trigger { type = "refund", how = "partial", invoice = 4, amount = "100.00" }
    assert.same({ "INVOICE_UPDATED", "PAYMENT_CREATED", "PAYMENT_DELETED" }, kinds(14, 11))
    assert.same({ 200, 200, 1 }, { get(4).amount, get(4).paidAmount, #get(4).payments })
  end)

  it("tells 400, 401, 403 and 404 apart, with a message", function()
    create()
    for _, case in ipairs {
      { 400, "GET", "/financial/invoices/abc" }, { 404, "GET", "/financial/invoices/99" },
      { 400, "POST", "/financial/invoices/create", '{"entityType":"student","entityId":1}' },
      { 400, "POST", "/financial/invoices/create",
        '{"entityType":"dog","entityId":1,"schoolPeriodId":1}' },
      { 400, "POST", "/financial/invoices/pay/1", '{"amount":"much","paymentmethod":1}' },
      { 400, "POST", "/financial/invoices/pay/1", '{"amount":1}' },
      { 400, "POST", "/financial/invoices/pay/1", "[" },
      { 404, "POST", "/financial/invoices/pay/9", '{"amount":1,"paymentmethod":1}' },
      { 400, "PATCH", "/financial/invoices/update/1", '{"dueDate":"2026-02-30"}' },
      { 404, "PATCH", "/financial/invoices/update/9", '{"dueDate":"2026-03-01"}' },
      { 400, "PATCH", "/financial/invoices/payment/x", "{}" },
      { 404, "PATCH", "/financial/invoices/payment/9", "{}" },
      { 404, "PATCH", "/financial/fees/update/9", "{}" }, { 404, "GET", "/nothing" },
    } do
      local status, answer = ask(case[2], case[3], case[4])
      assert.equal(case[1], status, case[3])
      assert.is_string(answer.message)
    end
    for name, status in pairs { Authorization = 401, tenant = 403, schoolCode = 403 } do
      local other = { Authorization = "sandbox-key", tenant = "my-school", schoolCode = "MS1" }
      other[name] = "other"
      assert.equal(status, (sandbox:ask("GET", "/dreamclassapi/v1/financial/invoices/1", other)))
    end
  end)

  it("lists invoices, methods and fees by paths of its own", function()
    create()
    create()
    local _, list, _, text = ask("GET", "/financial/invoices/list")
    assert.same({ 2, "[" }, { #list, text:sub(1, 1) })
    local _, methods = ask("GET", "/financial/paymentmethods/list")
    assert.equal("Bank Transfer", methods[2].name)
    local _, fees = ask("GET", "/financial/fees/list/1")
    assert.same({ 81, 82 }, { fees[1].id, fees[2].id })
    assert.equal("[]", select(4, ask("GET", "/financial/fees/list/7")))
  end)

  it("forges with a captured signature, which covers the id alone", function()
    assert.matches("nothing was sent", select(2, sandbox:ask("POST", "/sandbox/forge", nil,
      '{"vendor":"dreamclass","proof":"captured"}')).error)
    create()
    local true_one = sandbox:hooks(1)[1].body
    sandbox:order("forge", { vendor = "dreamclass", proof = "captured", invoice = 1, amount = "1" })
    local forged = sandbox:hooks(2)[2].body
    assert.same({ true_one.id, true_one.signature, 1 },
      { forged.id, forged.signature, forged.data.amount })
    sandbox:order("forge", { vendor = "dreamclass", invoice = 1 })
    local guessed = sandbox:hooks(3)[3].body
    assert.not_equal(core.text.base64(core.verify.hmac("123", guessed.id)), guessed.signature)
  end)
end)

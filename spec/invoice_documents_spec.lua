-- The vendors' own documents through billhook.invoice, beside what a bookkeeper works out by hand.
-- Texts that take no part are cut short; members are as the vendors' pages have them.

local command = require "spec.support.command"
local core = require "billhook.core"
local invoices = require "billhook.invoice"
local locale = require "spec.support.locale"
local process = require "billhook.process"

-- name -> { vendor, JSON, what is to be said; false: nothing, and a reason }
local documents = {}

-- 1000.00 x 1.00; nothing came in. Due 2023-08-15.
documents["DreamApply's page of one invoice"] = { "dreamapply", [==[
  {"id": 1, "type": "Invoice", "nr": "1", "serie": {"id": 100,
    "name": "Default invoice series"}, "applicant": "/api/v9/applicants/2",
    "application": "/api/v9/applications/2", "course": null, "deadline": "2023-08-15",
    "issued": "2023-04-27T16:00:00+00:00", "delivered": "2023-04-27T16:00:00+00:00",
    "reminder": true, "reminded": null, "collected": null, "currency": "EUR",
    "items": [{"item": "Tuition fee", "price": "1000.00", "qty": "1.00", "unit": null,
    "inventory_item_ID": null}], "collections": {},
    "instructions": "Bank account details:\r\n\r\nDREAMAPPLY BANK",
    "smallprint": "Please make sure that you include the in", "payer": {"name": "John Smith",
    "email": "j.smith@example.com"}}]==], {
  number = "1", reference = false, currency = "EUR", total = "1000.00", paid = "0.00",
  balance = "1000.00", due_date = "2023-08-15", issued = "2023-04-27",
  payer = { name = "John Smith", email = "j.smith@example.com" },
  lines = { { "Tuition fee", "1.00", "1000.00", "1000.00" } },
  status = { ["2023-08-14"] = "open", ["2023-08-15"] = "open", ["2023-08-16"] = "overdue" },
} }

-- 20.00 x 1.00 and -3.00 x 1.00 are 17.00; captured by a gateway: 17.00.
documents["DreamApply's page of an application's invoices, 200"] = { "dreamapply", [==[
  {"id": 200, "type": "Invoice", "nr": "AF-101031225", "serie": {"id": 2,
    "name": "Application fee"}, "applicant": "/api/v9/applicants/123",
    "application": "/api/v9/applications/321", "course": "/api/v9/courses/33",
    "deadline": "2025-12-17", "issued": "2025-12-03T13:15:31+00:00",
    "delivered": "2025-12-03T13:15:31+00:00", "reminder": true, "reminded": null,
    "collected": "2025-12-04T07:06:40+00:00", "currency": "EUR",
    "items": [{"item": "Application fee (one-time)", "price": "20.00", "qty": "1.00",
    "unit": null, "inventory_item_ID": null}, {"item": "Discount \"FALL2025\"",
    "price": "-3.00", "qty": "1.00", "unit": null, "inventory_item_ID": null}],
    "collections": {"41": {"id": 41, "amount": "17.00", "invoice": "/api/v9/invoices/200",
    "inserted": "2025-12-04T07:06:40+00:00", "collected": "2025-12-04",
    "administrator": null, "payment": {"payment": "01KBM2X9KYE7WBY25DFNMXNS4R",
    "external_id": "pi_3SaWcb3BsCbItDpn02T9muKv", "status": "captured", "message": null,
    "inserted": "2025-12-04T07:06:02+00:00", "updated": "2025-12-04T07:06:40+00:00",
    "gateway": {"id": 39, "name": "Stripe", "adapter": "Stripe"}}}},
    "instructions": "Account Name: Institute of Technology BE",
    "smallprint": "Please make sure that you include the in", "payer": {"name": "John Smith",
    "email": "john.smith@email.com"}}]==], {
  number = "AF-101031225", reference = false, currency = "EUR", total = "17.00", paid = "17.00",
  balance = "0.00", due_date = "2025-12-17", issued = "2025-12-03",
  payer = { name = "John Smith", email = "john.smith@email.com" },
  lines = { { "Application fee (one-time)", "1.00", "20.00", "20.00" },
    { 'Discount "FALL2025"', "1.00", "-3.00", "-3.00" } },
  status = { ["2025-12-04"] = "paid", ["2026-12-04"] = "paid" },
} }

-- 15.00 x 1.00; nothing came in. Due 2025-12-25.
documents["DreamApply's page of an application's invoices, 201"] = { "dreamapply", [==[
  {"id": 201, "type": "Receipt", "nr": "2025-6", "serie": {"id": 127, "name": "Test series"},
    "applicant": "/api/v9/applicants/123", "application": "/api/v9/applications/321",
    "course": null, "deadline": "2025-12-25", "issued": "2025-12-11T12:11:09+00:00",
    "delivered": "2025-12-11T12:11:09+00:00", "reminder": true, "reminded": null,
    "collected": null, "currency": "EUR", "items": [{"item": "Airport pickup",
    "price": "15.00", "qty": "1.00", "unit": null, "inventory_item_ID": null}],
    "collections": {}, "instructions": "Account Name: Institute of Technology BE",
    "smallprint": "Please make sure that you include the in", "payer": {"name": "John Smith",
    "email": "john.smith@email.com"}}]==], {
  number = "2025-6", reference = false, currency = "EUR", total = "15.00", paid = "0.00",
  balance = "15.00", due_date = "2025-12-25", issued = "2025-12-11",
  payer = { name = "John Smith", email = "john.smith@email.com" },
  lines = { { "Airport pickup", "1.00", "15.00", "15.00" } },
  status = { ["2025-12-25"] = "open", ["2025-12-26"] = "overdue" },
} }

-- The amount is 300; the webhook does not say what was paid of it, nor in which currency it is.
documents["DreamClass's page of the invoice webhook"] = { "dreamclass", [==[
  {"id": 16, "fees": [{"id": 86}, {"id": 85}, {"id": 84}], "email": "test@test.com",
    "amount": 300, "status": 1, "address": "Address 1", "dueDate": "2024-10-31",
    "fullname": "John Sample", "createdAt": "2024-10-02T16:02:00.544+00:00",
    "issueDate": "2024-10-01", "telephone": "123456789", "invoiceRefId": "abc123"}]==], {
  number = "16", reference = "abc123", currency = false, total = "300.00", paid = false,
  balance = false, due_date = "2024-10-31", issued = "2024-10-01",
  payer = { name = "John Sample", email = "test@test.com" }, lines = false,
  status = { ["2024-10-01"] = false, ["2024-11-01"] = false },
  not_overdue = "2024-10-31", -- whatever was paid: it is due on that day
} }

-- The answer of CreateInvoice, by its schema: nothing is paid, and the reference not yet set.
documents["DreamClass's answer of CreateInvoice"] = { "dreamclass", [==[
  {"id": 16, "fees": [{"id": 86}, {"id": 85}, {"id": 84}], "email": "test@test.com",
    "amount": 300, "status": 1, "address": "Address 1", "dueDate": "2024-10-31",
    "fullname": "John Sample", "createdAt": "2024-10-02T16:02:00.544+00:00",
    "issueDate": "2024-10-01", "telephone": "123456789", "invoiceRefId": null,
    "payments": [], "paidAmount": 0, "publicNotes": null, "privateNotes": null}]==], {
  number = "16", reference = false, currency = false, total = "300.00", paid = "0.00",
  balance = "300.00", due_date = "2024-10-31", issued = "2024-10-01",
  payer = { name = "John Sample", email = "test@test.com" }, lines = false,
  status = { ["2024-10-31"] = "open", ["2024-11-01"] = "overdue" },
} }

-- The answer of PayInvoice, by its schema: 300 less 120 is 180.
documents["DreamClass's answer of PayInvoice"] = { "dreamclass", [==[
  {"id": 16, "fees": [{"id": 86}, {"id": 85}, {"id": 84}], "email": "test@test.com",
    "amount": 300, "status": 1, "address": "Address 1", "dueDate": "2024-10-31",
    "fullname": "John Sample", "createdAt": "2024-10-02T16:02:00.544+00:00",
    "issueDate": "2024-10-01", "telephone": "123456789", "invoiceRefId": null,
    "payments": [{"id": 7, "amount": 120, "status": 1,
    "createdAt": "2024-10-05T09:00:00.000+00:00", "paymentmethod": {"id": 2}}],
    "paidAmount": 120, "publicNotes": null, "privateNotes": null}]==], {
  number = "16", reference = false, currency = false, total = "300.00", paid = "120.00",
  balance = "180.00", due_date = "2024-10-31", issued = "2024-10-01",
  payer = { name = "John Sample", email = "test@test.com" }, lines = false,
  status = { ["2024-10-31"] = "part_paid", ["2024-11-01"] = "overdue" },
} }

-- Of amounts, days and people the page shows nothing.
documents["Betterez's page of the invoice webhooks"] = { "betterez", [==[
  {"invoiceProviderId": "5f243d100617680712e78dd7",
    "authNumber": "BD2ECBAC-4B37-4760-8DD9-9D50C3C9B194", "serie": "456889",
    "number": "1261913952", "type": "certification",
    "data": "YTdjYjkyZWQ4N2M0MGNhY2EyMTYyMjc1OWJjNDJl",
    "transactionId": "616d7cf38fedff37e449215c", "accountId": "563c1457c4f260b0b7765569",
    "createdBy": "4e9774b45f014e0100000003", "updatedBy": "4e9774b45f014e0100000003",
    "createdAt": {"value": "2021-10-18T13:47:55.691Z", "offset": 0},
    "updatedAt": {"value": "2021-10-18T13:47:55.692Z", "offset": 0},
    "_id": "616d7cf38fedff37e4492161"}]==], {
  number = "1261913952", reference = false, currency = false, total = false, paid = false,
  balance = false, due_date = false, issued = "2021-10-18", payer = false, lines = false,
  status = { ["2021-10-18"] = false },
} }

local function text(value)
  if value == nil then return false end
  return core.decimal.is(value) and tostring(value) or value
end

local function lines_of(lines)
  if not lines then return false end
  local out = {}
  for i, line in ipairs(lines) do
    out[i] = { line.description, text(line.quantity), text(line.price), text(line.amount) }
  end
  return out
end

-- What is said of a document, in the shape in which it is expected.
local function read(invoice, expected)
  local said, why = { status = {} }, {}
  for _, name in ipairs { "number", "reference", "currency", "total", "paid", "balance",
    "due_date", "issued", "payer" } do
    local value, reason = invoices[name](invoice)
    said[name], why[#why + 1] = text(value), value == nil and (reason or "") or nil
  end
  local lines, reason = invoices.lines(invoice)
  said.lines, why[#why + 1] = lines_of(lines), not lines and (reason or "") or nil
  for day in pairs(expected.status) do
    said.status[day] = invoices.status(invoice, day) or false
  end
  return said, why
end

describe("the document", function()
  for name, document in pairs(documents) do
    it(name, function()
      local vendor, json, expected = document[1], document[2], document[3]
      local invoice = invoices.tag(vendor, assert(core.json.decode(json)))
      local said, why = read(invoice, expected)
      said.not_overdue = expected.not_overdue
      assert.same(expected, said)
      if expected.not_overdue then
        assert.is_false(invoices.is_overdue(invoice, expected.not_overdue))
      end
      for _, reason in ipairs(why) do assert.is_truthy(reason:find "invoice", reason) end
      for day, status in pairs(expected.status) do
        if status then assert.equal(status == "overdue", invoices.is_overdue(invoice, day)) end
      end
    end)
  end
end)

describe("where the locale has a decimal comma", function()
  after_each(command.finish)

  local script = [[
    assert(os.setlocale("de_DE.UTF-8"), "no such locale")
    assert(rawget(_G, "jit") or ("%.1f"):format(0.5) == "0,5", "no comma")
    local core, invoices = require "billhook.core", require "billhook.invoice"
    local function read(vendor, json) return invoices.tag(vendor, core.json.decode(json)) end
    local apply = read("dreamapply", '{"id":1,"currency":"EUR","deadline":"2026-01-31","items":['
      .. '{"price":"19.90","qty":"1.5"},{"price":9.95,"qty":2},{"price":"1e2"},'
      .. '{"price":1.25e1}],"collections":{"1":{"amount":0.05}}}')
    local class = read("dreamclass", '{"id":2,"amount":300.5,"paidAmount":0.125}')
    print(invoices.total(apply), invoices.balance(apply), invoices.balance(class),
      invoices.is_overdue(apply, "2026-02-01"), invoices.status(apply, "2026-01-31"))
  ]]

  it("amounts are the same", function()
    local folder = command.folder()
    local out = folder .. "/said"
    local pid = assert(process.spawn({ command.lua, "-e", script }, { stdout = out, stderr = out,
      env = command.paths { LOCPATH = locale() } }))
    process.wait(pid)
    -- 29.85 + 19.90 + 100.00 + 12.50, less 0.05; 300.5 less 0.125
    assert.equal("162.25\t162.20\t300.375\ttrue\tpart_paid\n", command.read(out))
  end)
end)

describe("payments", function()
  local function texts(vendor, json)
    local list, why = invoices.payments(invoices.tag(vendor, assert(core.json.decode(json))))
    if not list then return why end
    local out = {}
    for i, one in ipairs(list) do
      out[i] = ("%s %s %s %s %s %s"):format(one.id, tostring(one.amount), tostring(one.date),
        tostring(one.method), tostring(one.status), tostring(one.counts))
    end
    return table.concat(out, "\n")
  end

  it("of the vendor's samples", function()
    assert.equal("41 17.00 2025-12-04 Stripe captured true",
      texts(documents["DreamApply's page of an application's invoices, 200"][1],
        documents["DreamApply's page of an application's invoices, 200"][2]))
    assert.equal("7 120.00 2024-10-05 2 valid true",
      texts("dreamclass", documents["DreamClass's answer of PayInvoice"][2]))
    assert.equal("", texts("dreamclass", documents["DreamClass's answer of CreateInvoice"][2]))
    assert.equal("the invoice has no payments",
      texts("dreamclass", documents["DreamClass's page of the invoice webhook"][2]))
    assert.equal("invoices of this vendor do not say what was paid",
      texts("betterez", documents["Betterez's page of the invoice webhooks"][2]))
  end)

  it("come in order of their ids, and say what counts", function()
    assert.equal("9 1.00 nil nil nil true\n10 2.00 nil nil failed false\n11 3.00 nil nil nil true",
      texts("dreamapply", '{"currency":"EUR","collections":{"11":{"amount":"3"},'
        .. '"9":{"id":9,"amount":"1","payment":null},'
        .. '"10":{"id":10,"amount":"2.004","payment":{"status":"failed"}}}}'))
    assert.equal("1 5.00 2026-01-02 2 refunded false\n2 6.50 2026-01-03 nil pending false",
      texts("dreamclass", '{"payments":[{"id":2,"amount":"6.5","status":3,'
        .. '"createdAt":"2026-01-03T09:00:00Z"},{"id":1,"amount":5,"status":"4",'
        .. '"date":"2026-01-02","paymentmethod":2}]}'))
  end)

  it("that cannot be read say why", function()
    for json, why in pairs {
      ['{"payments":[{"id":1}]}'] =
        "payments[1].amount of the invoice: decimal expected, got nothing",
      ['{"payments":[{"id":1,"amount":1,"status":9}]}'] =
        "payments[1].status of the invoice is not known",
      ['{"payments":[{"id":1,"amount":1,"date":"2026-02-30"}]}'] =
        "payments[1].date of the invoice is no date",
      ['{"payments":[5]}'] = "the invoice has no payments[1]",
      ['{"payments":{"success":false}}'] = "the invoice has no payments[success]",
      ['{"payments":"none"}'] = "the invoice has no payments",
    } do assert.equal(why, texts("dreamclass", json)) end
  end)
end)

describe("a currency", function()
  local function of(currency)
    return invoices.tag("dreamapply", { id = 1, currency = currency,
      items = { { price = "1000.5", qty = 1 } }, collections = {} })
  end

  it("is in capitals, with its own digits, however it is written", function()
    for _, spelt in ipairs { "JPY", "jpy", "Jpy" } do
      assert.equal("JPY", invoices.currency(of(spelt)))
      assert.equal("1001", tostring(invoices.total(of(spelt))))
    end
    assert.equal("INR", invoices.currency(of "inr"))
    assert.equal("1000.500", tostring(invoices.total(of "kwd")))
    assert.equal("XYZ", invoices.currency(of "xyz"))
  end)

  it("is three letters, or why not", function()
    for _, bad in ipairs { "EURO", "E", "EU1", " EUR", "EUR ", "€€€", "978" } do
      for _, name in ipairs { "currency", "total", "paid", "balance", "lines" } do
        local value, why = invoices[name](of(bad))
        assert.is_nil(value, bad)
        assert.equal("currency of the invoice is no three letters", why)
      end
    end
    assert.equal("the invoice has no currency", select(2, invoices.currency(of "")))
    assert.equal("the invoice has no currency", select(2, invoices.currency(of(978))))
  end)
end)

describe("a statement", function()
  local function invoice(fields)
    local one = { id = fields.id, nr = "N" .. fields.id, currency = fields.currency or "EUR",
      issued = (fields.issued or "2026-01-01") .. "T10:00:00+00:00", deadline = fields.due,
      items = { { item = "Fee", price = fields.price or "100.00", qty = "1" } },
      collections = fields.paid and { { amount = fields.paid } } or {},
      payer = fields.payer or { name = "Ada", email = "ada@example.org" } }
    return invoices.tag("dreamapply", one)
  end

  local function texts(account)
    local ageing = {}
    for name, sum in pairs(account.ageing) do ageing[name] = tostring(sum) end
    return ageing
  end

  it("has lines by the day of issue, a running balance, and what is open by age", function()
    local list = {
      invoice { id = 3, issued = "2026-03-01", due = "2026-06-30", price = "30.00" }, -- not due
      invoice { id = 1, issued = "2026-01-01", due = "2026-03-31", price = "1.00" }, -- 91 days
      invoice { id = 2, issued = "2026-02-01", due = "2026-04-01", price = "2.00" }, -- 90
      invoice { id = 4, issued = "2026-03-01", due = "2026-04-30", price = "4.00" }, -- 61
      invoice { id = 5, issued = "2026-03-02", due = "2026-05-01", price = "8.00" }, -- 60
      invoice { id = 6, issued = "2026-03-03", due = "2026-05-31", price = "16.00" }, -- 30
      invoice { id = 7, issued = "2026-03-04", due = "2026-06-01", price = "50.00",
        paid = "18.00" }, -- 29 days, 32.00
      invoice { id = 8, issued = "2026-03-05", due = "2026-06-29", price = "64.00" }, -- 1
      invoice { id = 9, issued = "2026-03-06", due = "2026-01-01", price = "5.00",
        paid = "5.00" }, -- paid
    }
    local accounts = assert(invoices.statement(list, "2026-06-30"))
    assert.equal(1, #accounts)
    local account = accounts[1]
    assert.same({ name = "Ada", email = "ada@example.org" }, account.payer)
    assert.equal("EUR", account.currency)
    local numbers, running = {}, {}
    for i, line in ipairs(account.lines) do
      numbers[i], running[i] = line.number, tostring(line.running)
    end
    assert.same({ "N1", "N2", "N3", "N4", "N5", "N6", "N7", "N8", "N9" }, numbers)
    assert.same({ "1.00", "3.00", "33.00", "37.00", "45.00", "61.00", "93.00", "157.00",
      "157.00" }, running)
    assert.equal("180.00 23.00 157.00", ("%s %s %s"):format(tostring(account.total),
      tostring(account.paid), tostring(account.balance)))
    assert.same({ not_due = "30.00", days_1_30 = "112.00", days_31_60 = "8.00",
      days_61_90 = "6.00", over_90 = "1.00" }, texts(account))
    local line = account.lines[7]
    assert.equal(list[7], line.invoice)
    assert.equal("2026-03-04 2026-06-01 50.00 18.00 32.00", ("%s %s %s %s %s"):format(line.issued,
      line.due_date, tostring(line.total), tostring(line.paid), tostring(line.balance)))
  end)

  it("is one for each payer and currency, in the order of the list", function()
    local ada, name_only = { name = "Ada", email = "ada@example.org" }, { name = "Ada" }
    local accounts = assert(invoices.statement({
      invoice { id = 1, due = "2026-01-01", payer = ada },
      invoice { id = 2, due = "2026-01-01", payer = name_only },
      invoice { id = 3, due = "2026-01-01", payer = ada, currency = "JPY", price = "7" },
      invoice { id = 4, due = "2026-01-01", payer = { name = "A.", email = "ADA@example.org" } },
      invoice { id = 5, due = "2026-01-01", payer = ada, currency = "jpy", price = "8" },
    }, "2026-01-01"))
    local said = {}
    for i, account in ipairs(accounts) do
      said[i] = ("%s %s %s"):format(account.payer.email or "-", account.currency,
        tostring(account.balance))
    end
    assert.same({ "ada@example.org EUR 200.00", "- EUR 100.00", "ada@example.org JPY 15" }, said)
    assert.same({ not_due = "15", days_1_30 = "0", days_31_60 = "0", days_61_90 = "0",
      over_90 = "0" }, texts(accounts[3]))
  end)

  it("ages what was paid too much with its invoice, so that the buckets add up", function()
    local account = assert(invoices.statement({
      invoice { id = 1, due = "2026-01-01", price = "10.00", paid = "12.00" },
      invoice { id = 2, due = "2026-02-20", price = "5.00" },
      invoice { id = 3, price = "5.00", paid = "5.00" }, -- no deadline, and nothing to pay
    }, "2026-03-01"))[1]
    assert.equal("3.00", tostring(account.balance))
    assert.same({ not_due = "0.00", days_1_30 = "5.00", days_31_60 = "-2.00",
      days_61_90 = "0.00", over_90 = "0.00" }, texts(account))
    assert.is_nil(account.lines[3].due_date)
  end)

  it("has no currency where the vendor tells none", function()
    local function class(id, paid)
      return invoices.tag("dreamclass", { id = id, amount = 300, paidAmount = paid,
        issueDate = "2024-10-01", dueDate = "2024-10-31", fullname = "John Sample" })
    end
    local account = assert(invoices.statement({ class(16, 120), class(17, 0) }, "2024-11-30"))[1]
    assert.is_nil(account.currency)
    assert.equal("480.00", tostring(account.balance))
    assert.equal("480.00", tostring(account.ageing.days_1_30))
    assert.equal("16", account.lines[1].number)
  end)

  it("names the invoices that do not say what is needed", function()
    local good = invoice { id = 1, due = "2026-01-01" }
    local function refused(message, ...)
      local accounts, why = invoices.statement({ good, ... }, "2026-01-01")
      assert.is_nil(accounts)
      assert.equal(message, why)
    end
    local odd = invoice { id = 2, due = "2026-01-01" }
    odd.items = { ["0"] = {}, ["2"] = {} }
    refused("invoice 2: items of the invoice is no list, but an object", odd)
    refused("invoice 3: the invoice has no deadline", invoice { id = 3 })
    refused("invoice 4: deadline of the invoice is no date", invoice { id = 4,
      due = "2026-02-30" })
    refused("invoice 5: issued of the invoice is no date", invoice { id = 5, due = "2026-01-01",
      issued = "0000-00-00" })
    refused("invoice 6: the invoice has no payer", invoice { id = 6, due = "2026-01-01",
      payer = {} })
    local nameless = invoice { id = 7, due = "2026-01-01" }
    nameless.id, nameless.nr = nil, nil
    refused("invoice 2: items of the invoice is no list, but an object;"
      .. " invoice #3 of the list: the invoice has no nr", odd, nameless)
    refused("invoice 616d7cf38fedff37e4492161: invoices of this vendor do not say what was paid",
      invoices.tag("betterez", { _id = "616d7cf38fedff37e4492161", number = "1", total = "1",
        currency = "EUR", createdAt = "2021-10-18T13:47:55.691Z", buyer = { name = "x" } }))
    local many = {}
    for i = 1, 30 do many[i] = odd end
    local _, why = invoices.statement(many, "2026-01-01")
    assert.equal(9, select(2, why:gsub("; ", "")))
    local huge = "92233720368547758.01"
    assert.equal("an amount of the invoice is too large", select(2, invoices.statement({
      invoice { id = 1, due = "2026-01-01", price = huge },
      invoice { id = 2, due = "2026-01-01", price = huge } }, "2026-01-01")))
  end)

  it("of nothing is none, and a wrong use raises", function()
    assert.same({}, invoices.statement({}, "2026-01-01"))
    local function raises(message, ...)
      local fine, err = pcall(invoices.statement, ...)
      assert.is_false(fine)
      assert.is_truthy(err:find(message, 1, true), err)
    end
    raises("billhook.invoice.statement: 'list' must be a list of invoices, got nothing", nil,
      "2026-01-01")
    raises("statement: 'invoice' must be an invoice, got number", { 5 }, "2026-01-01")
    raises("statement: 'day' must be a date YYYY-MM-DD, got string", {}, "2026-02-30")
    raises("statement: 'day' must be a date YYYY-MM-DD, got nothing", {})
  end)
end)

local core = require "billhook.core"
local invoices = require "billhook.invoice"
local json = require "billhook.json"

local function apply(fields)
  local invoice = {
    id = 200, nr = "AF-1", currency = "EUR", deadline = "2025-12-17",
    items = {
      { item = "Application fee", price = "20.00", qty = "1.00" },
      { item = "Discount", price = "-3.00", qty = "1.00" },
    },
    collections = {},
    payer = { name = "John Smith", email = "john.smith@email.com" },
  }
  for name, value in pairs(fields or {}) do
    invoice[name] = value
  end
  return invoices.tag("dreamapply", invoice)
end

local function without(name)
  local invoice = apply()
  invoice[name] = nil
  return invoice
end

-- asserted as text: equal decimals may have other scales
local function said(expected, value, why)
  assert.is_truthy(value, why)
  assert.equal(expected, tostring(value))
end

local function unsaid(message, value, why)
  assert.is_nil(value)
  assert.equal(message, why)
end

describe("invoice", function()
  describe("of DreamApply", function()
    it("says what is on it", function()
      local invoice = apply()
      said("17.00", invoices.total(invoice))
      said("0.00", invoices.paid(invoice))
      said("17.00", invoices.balance(invoice))
      said("AF-1", invoices.number(invoice))
      said("EUR", invoices.currency(invoice))
      said("2025-12-17", invoices.due_date(invoice))
      assert.same({ name = "John Smith", email = "john.smith@email.com" }, invoices.payer(invoice))
    end)

    it("rounds every line, half away from zero", function()
      said("0.04", invoices.total(apply { items = {
        { price = "0.005", qty = "1" }, { price = "0.005", qty = "1" }, { price = "0.01",
          qty = "1.5" },
      } }))
      said("-0.01", invoices.total(apply { items = { { price = "-0.005", qty = "1" } } }))
      said("33.33", invoices.total(apply { items = { { price = "100", qty = "0.3333" } } }))
      said("0.00", invoices.total(apply { items = {} }))
    end)

    it("rounds to the currency's digits", function()
      local items = { { price = "10.4444", qty = "1" } }
      said("10", invoices.total(apply { items = items, currency = "JPY" }))
      said("10.444", invoices.total(apply { items = items, currency = "KWD" }))
      said("10.4444", invoices.total(apply { items = items, currency = "CLF" }))
      said("10.44", invoices.total(apply { items = items, currency = "XYZ" }))
      said("10", invoices.total(apply { items = items, currency = "jpy" }))
      assert.equal(0, invoices.digits "ISK")
      assert.equal(3, invoices.digits "TND")
      assert.equal(2, invoices.digits(nil))
    end)

    it("counts money that came in and no other", function()
      local function paid(...)
        local collections = {}
        for i, one in ipairs { ... } do
          collections[tostring(i)] = one
        end
        return invoices.paid(apply { collections = collections })
      end
      said("17.00", paid { amount = "17.00" })
      said("17.00", paid { amount = "17.00", payment = core.json.null })
      said("17.00", paid { amount = "17.00", payment = { status = "captured" } })
      for _, status in ipairs { "new", "canceled", "failed", "Captured", "" } do
        said("0.00", paid { amount = "17.00", payment = { status = status } })
      end
      said("0.00", paid { amount = "17.00", payment = {} })
      said("12.50", paid({ amount = "10.00" }, { amount = "2.5",
        payment = { status = "captured" } },
        { amount = "99.00", payment = { status = "failed" } }))
      unsaid("collections[1].payment of the invoice is not known", paid { amount = "1",
        payment = "yes" })
      unsaid("collections[1].amount of the invoice: malformed decimal", paid { amount = "x" })
      unsaid("collections[1].amount of the invoice: decimal expected, got nothing", paid {})
    end)

    it("may be paid too much", function()
      said("-3.00", invoices.balance(apply { collections = { { amount = "20.00" } } }))
    end)

    it("never takes a missing amount for nothing", function()
      unsaid("the invoice has no items", invoices.total(without "items"))
      unsaid("the invoice has no currency", invoices.total(without "currency"))
      unsaid("the invoice has no collections", invoices.paid(without "collections"))
      unsaid("the invoice has no collections", invoices.balance(without "collections"))
      unsaid("the invoice has no collections", invoices.is_overdue(without "collections",
        "2026-01-01"))
      unsaid("items[1].price of the invoice: malformed decimal",
        invoices.total(apply { items = { { price = "1,00", qty = "1" } } }))
      unsaid("items[1].qty of the invoice: malformed decimal",
        invoices.total(apply { items = { { price = "1.00", qty = "" } } }))
      unsaid("items[2].price of the invoice: decimal expected, got nothing",
        invoices.total(apply { items = { { price = 1, qty = 1 }, { qty = 1 } } }))
      unsaid("an amount of the invoice is too large",
        invoices.total(apply { items = { { price = ("9"):rep(18), qty = ("9"):rep(18) } } }))
      unsaid("the invoice has no items", invoices.total(apply { items = { "x" } }))
    end)

    it("tells what else it does not say", function()
      unsaid("the invoice has no nr", invoices.number(without "nr"))
      unsaid("the invoice has no currency", invoices.currency(without "currency"))
      unsaid("the invoice has no deadline", invoices.due_date(without "deadline"))
      unsaid("deadline of the invoice is no date", invoices.due_date(apply { deadline = "soon" }))
      unsaid("the invoice has no payer", invoices.payer(without "payer"))
      unsaid("the invoice has no payer",
        invoices.payer(apply { payer = { name = core.json.null } }))
      unsaid("the invoice has no deadline", invoices.is_overdue(without "deadline", "2026-01-01"))
    end)

    it("is never totalled from what is no list", function()
      local line = '{"item":"Fee","price":"20.00","qty":"1.00"}'
      for _, items in ipairs {
        '{"0":' .. line .. ',"2":' .. line .. "}", '{"0":' .. line .. ',"1":' .. line .. "}",
        '{"41":' .. line .. "}", line, '{"success":false}', "null", '"none"', '""', "5", "false",
        '["x"]', "[null]", "[" .. line .. ",null]", "[[]]", '[{"item":"Fee","qty":"1"}]',
        '[{"price":null}]', '[{"price":"free"}]', '[{"price":""}]', '[{"price":"1","qty":"some"}]',
        '[{"price":"1e"}]', '[{"price":"1.e2"}]', '[{"price":"1e999"}]', '[{"price":true}]',
      } do
        local invoice = invoices.tag("dreamapply", assert(core.json.decode(
          '{"id":1,"currency":"EUR","deadline":"2025-12-17","collections":{},"items":' .. items
          .. "}")))
        for _, name in ipairs { "total", "balance", "is_overdue" } do
          local value, why = invoices[name](invoice, "2026-01-01")
          assert.is_nil(value, name .. " of " .. items)
          assert.is_string(why)
        end
        assert.is_false(invoices.is_overdue(invoice, "2025-12-17")) -- that needs no amount
      end
    end)

    it("never counts as unpaid for what its collections do not say", function()
      for _, collections in ipairs { "null", '""', '"none"', "0", "17.00", "false",
        '{"41":null}', "[null]", '{"41":5}', '{"success":false}', '{"41":{}}', "[[]]",
        '{"id":41,"amount":"17.00"}', '{"41":{"amount":null}}', '{"41":{"amount":"all"}}' } do
        local invoice = invoices.tag("dreamapply", assert(core.json.decode(
          '{"id":1,"currency":"EUR","deadline":"2025-12-17","items":[{"price":"17.00"}],'
          .. '"collections":' .. collections .. "}")))
        for _, name in ipairs { "paid", "balance", "is_overdue" } do
          local value, why = invoices[name](invoice, "2026-01-01")
          assert.is_nil(value, name .. " of " .. collections)
          assert.is_string(why)
        end
      end
    end)

    it("says which member is no list", function()
      unsaid("items of the invoice is no list, but an object",
        invoices.total(apply { items = { ["0"] = {}, ["2"] = {} } }))
      unsaid("items of the invoice is no list, but an object",
        invoices.total(apply { items = { [1] = {}, [3] = {} } }))
    end)

    it("has one of what says no quantity, and reads amounts with an exponent", function()
      said("1.00", invoices.total(apply { items = { { price = "1.00" } } }))
      said("1.00", invoices.total(apply { items = { { price = "1.00", qty = core.json.null } } }))
      for price, total in pairs { ["1e2"] = "100.00", ["1E+2"] = "100.00", ["-1.25e1"] = "-12.50",
        ["1250e-2"] = "12.50", ["5e-2"] = "0.05", ["1.5e0"] = "1.50", ["0e9"] = "0.00" } do
        said(total, invoices.total(apply { items = { { price = price } } }))
      end
    end)

    it("is due on no day that is in no calendar", function()
      for _, day in ipairs { "0000-00-00", "0000-01-01", "2026-02-30", "2025-02-29", "2026-13-01",
        "2026-00-10", "2026-01-00", "2026-04-31", "0000-00-00 00:00:00", "2026-01-01x",
        "2026-01-01T", "2026-1-1", "20260101", "2026/01/01" } do
        unsaid("deadline of the invoice is no date", invoices.due_date(apply { deadline = day }))
        unsaid("deadline of the invoice is no date",
          invoices.is_overdue(apply { deadline = day }, "2026-01-01"))
        -- nothing is to be paid on any day
        assert.is_false(invoices.is_overdue(apply { deadline = day,
          collections = { { amount = "17.00" } } }, "2026-01-01"))
      end
      assert.is_false(invoices.is_overdue(apply { deadline = core.json.null, items = {} },
        "2026-01-01"))
      said("2024-02-29", invoices.due_date(apply { deadline = "2024-02-29" }))
      said("2026-01-01", invoices.due_date(apply { deadline = "2026-01-01 00:00:00" }))
    end)

    it("is overdue once its day has passed and something is open", function()
      local open = apply()
      assert.is_false(invoices.is_overdue(open, "2025-12-16"))
      assert.is_false(invoices.is_overdue(open, "2025-12-17"))
      assert.is_true(invoices.is_overdue(open, "2025-12-18"))
      assert.is_true(invoices.is_overdue(open, "2026-01-01"))
      assert.is_false(invoices.is_overdue(apply { collections = { { amount = "17.00" } } },
        "2026-01-01"))
      assert.is_true(invoices.is_overdue(apply { collections = { { amount = "16.99" } } },
        "2026-01-01"))
      assert.is_true(invoices.is_overdue(apply { deadline = "2025-12-17T00:00:00+00:00" },
        "2025-12-18"))
    end)
  end)

  it("reads what the scanner gives of the vendor's sample", function()
    local list = core.json.decode [[{
      "200": {"id": 200, "nr": "AF-101031225", "deadline": "2025-12-17", "currency": "EUR",
        "items": [
          {"item": "Fee", "price": "20.00", "qty": "1.00", "unit": null, "inventory_item_ID": null},
          {"item": "Discount", "price": "-3.00", "qty": "1.00", "unit": null}],
        "collections": {"41": {"id": 41, "amount": "17.00", "collected": "2025-12-04",
          "administrator": null, "payment": {"status": "captured", "message": null}}}},
      "201": {"id": 201, "nr": "2025-6", "deadline": "2025-12-25", "currency": "EUR", "items": [
          {"item": "Airport pickup", "price": "15.00", "qty": "1.00", "unit": null}],
        "collections": {}},
      "202": {"currency": "EUR", "items": [{"price": 9.95, "qty": 2}], "collections": [
          {"amount": "1.00", "payment": null}, {"amount": 2, "payment": {"status": "new"}}]}}]]
    for _, invoice in pairs(list) do
      invoices.tag("dreamapply", invoice)
    end
    said("17.00", invoices.paid(list["200"]))
    said("0.00", invoices.balance(list["200"]))
    assert.is_false(invoices.is_overdue(list["200"], "2026-01-01"))
    said("15.00", invoices.balance(list["201"]))
    assert.is_true(invoices.is_overdue(list["201"], "2026-01-01"))
    said("18.90", invoices.balance(list["202"]))
  end)

  describe("of DreamClass", function()
    local function class(fields)
      local invoice = { id = 16, amount = 300, dueDate = "2024-10-31", fullname = "John Sample",
        email = "test@test.com", invoiceRefId = "abc123", status = 1 }
      for name, value in pairs(fields or {}) do
        invoice[name] = value
      end
      return invoices.tag("dreamclass", invoice)
    end

    it("says what is on it", function()
      local invoice = class()
      said("300.00", invoices.total(invoice))
      said("16", invoices.number(invoice))
      said("abc123", invoices.reference(invoice))
      said("2024-10-31", invoices.due_date(invoice))
      assert.same({ name = "John Sample", email = "test@test.com" }, invoices.payer(invoice))
    end)

    it("keeps every digit of its amount", function()
      said("300.50", invoices.total(class { amount = 300.5 }))
      said("300.125", invoices.total(class { amount = "300.125" }))
      unsaid("amount of the invoice: malformed decimal", invoices.total(class { amount = "lots" }))
    end)

    it("does not tell the rest", function()
      unsaid("invoices of this vendor do not tell a currency", invoices.currency(class()))
      unsaid("the invoice has no paidAmount and no payments", invoices.paid(class()))
      unsaid("the invoice has no paidAmount and no payments", invoices.balance(class()))
      unsaid("the invoice has no paidAmount and no payments", invoices.is_overdue(class(),
        "2026-01-01"))
    end)

    it("says what was paid where the API did", function()
      local invoice = class { paidAmount = 120.5, payments = {} }
      said("120.50", invoices.paid(invoice))
      said("179.50", invoices.balance(invoice))
      assert.is_true(invoices.is_overdue(invoice, "2026-01-01"))
      assert.is_false(invoices.is_overdue(class { paidAmount = "300" }, "2026-01-01"))
      said("0.00", invoices.paid(class { payments = {} }))
      said("150.50", invoices.paid(class { paidAmount = json.null, payments = { ["3"] = {
        amount = "100.50", status = 1 }, ["4"] = { amount = 50, status = json.null },
        ["5"] = { amount = 9, status = 4 } } }))
      unsaid("paidAmount of the invoice: malformed decimal",
        invoices.paid(class { paidAmount = "much", payments = {} }))
      unsaid("payments[1].amount of the invoice: decimal expected, got nothing",
        invoices.paid(class { payments = { { status = 1 } } }))
      unsaid("the invoice has no payments[1]", invoices.paid(class { payments = { "x" } }))
    end)
  end)

  describe("of Betterez", function()
    local function btrz(fields)
      local invoice = { _id = "616d7cf38fedff37e4492161", serie = "456889", number = "1261913952" }
      for name, value in pairs(fields or {}) do
        invoice[name] = value
      end
      return invoices.tag("betterez", invoice)
    end

    it("says its number", function()
      said("1261913952", invoices.number(btrz()))
    end)

    it("says a total only beside a currency", function()
      unsaid("the invoice has no total", invoices.total(btrz()))
      unsaid("the invoice has no currency", invoices.total(btrz { total = "12.5" }))
      said("12.50", invoices.total(btrz { total = "12.5", currency = "GTQ" }))
      said("12.50", invoices.total(btrz { totals = { total = "12.5" }, currency = "GTQ" }))
      unsaid("the invoice has no total", invoices.total(btrz { totals = {}, currency = "GTQ" }))
      said("12.50", invoices.total(btrz { totals = {}, total = "12.5", currency = "GTQ" }))
      unsaid("total of the invoice: decimal expected", invoices.total(btrz { total = {},
        currency = "GTQ" }))
      said("GTQ", invoices.currency(btrz { currency = "GTQ" }))
    end)

    it("says who buys where it does", function()
      assert.same({ name = "x" }, invoices.payer(btrz { buyer = { name = "x" } }))
      unsaid("the invoice has no buyer", invoices.payer(btrz()))
    end)

    it("does not tell the rest", function()
      unsaid("invoices of this vendor do not tell a due date", invoices.due_date(btrz()))
      unsaid("invoices of this vendor do not say what was paid", invoices.paid(btrz()))
      unsaid("invoices of this vendor do not tell a due date", invoices.is_overdue(btrz(),
        "2026-01-01"))
    end)
  end)

  describe("is known by a tag", function()
    it("that is not in the table", function()
      local invoice = { nr = "1" }
      assert.equal(invoice, invoices.tag("dreamapply", invoice))
      assert.equal("dreamapply", getmetatable(invoice).vendor)
      assert.equal("dreamapply", invoices.vendor(invoice))
      assert.equal("nr", next(invoice))
      assert.is_nil(next(invoice, "nr"))
      assert.is_nil(invoice.vendor)
    end)

    it("or raises at the caller's line", function()
      local function raises(message, fn, ...)
        local fine, err = pcall(fn, ...)
        assert.is_false(fine)
        assert.is_truthy(err:find(message, 1, true), err)
      end
      raises("billhook.invoice.tag: 'vendor' must be dreamapply, dreamclass or betterez, got",
        invoices.tag, "stripe", {})
      raises("tag: 'invoice' must be a table, got string", invoices.tag, "betterez", "x")
      raises("billhook.invoice.total: 'invoice' must be an invoice, got table that no client gave:"
        .. " event:invoice() asks the API; invoices.tag(vendor, table) is for tables of your own",
        invoices.total, {})
      raises("billhook.invoice.payer: 'invoice' must be an invoice, got nothing",
        invoices.payer, nil)
      raises("got table that no client gave", invoices.total, setmetatable({},
        { vendor = "betterez" }))
      for _, today in ipairs { "x", "2026-1-1", "2026-01-01T00:00:00Z", "2026-02-30",
        20260101 } do
        raises("is_overdue: 'day' must be a date YYYY-MM-DD", invoices.is_overdue,
          apply(), today)
      end
      raises("is_overdue: 'day' must be a date YYYY-MM-DD, got nothing",
        invoices.is_overdue, apply())
      local line = debug.getinfo(1, "l").currentline + 2
      local _, err = pcall(function()
        local total = invoices.total({})
        return total
      end)
      assert.is_truthy(err:find("invoice_spec.lua:" .. line .. ":", 1, true), err)
      assert.is_nil(invoices.vendor({}))
      assert.is_nil(invoices.vendor("x"))
    end)
  end)
end)

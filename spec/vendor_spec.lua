local core = require "billhook.core"
local dreamapply = require "billhook.vendor.dreamapply"
local dreamclass = require "billhook.vendor.dreamclass"
local betterez = require "billhook.vendor.betterez"

local function check_types(vendor, expected)
  for native, unified in pairs(expected) do
    assert.equal(unified, vendor.type_of(native), native)
  end
end

describe("the unified type of an event", function()
  it("of DreamClass", function()
    check_types(dreamclass, {
      INVOICE_CREATED = "invoice.created", INVOICE_UPDATED = "invoice.updated",
      INVOICE_DELETED = "invoice.deleted", PAYMENT_CREATED = "payment.created",
      PAYMENT_DELETED = "payment.deleted", STUDENT_PERIOD_CREATED = "student_period.created",
      STUDENT_CLASS_UPDATED = "student_class.updated", PERIOD_DELETED = "period.deleted",
      SOMETHING_NEW_ARCHIVED = "something_new.archived",
      INVOICE_VOIDED = "invoice.updated", PAYMENT_REFUNDED = "payment.updated",
      ODD = "unknown", [""] = "unknown",
    })
  end)

  it("of Betterez", function()
    check_types(betterez, {
      ["invoices.created"] = "invoice.created", ["invoices.updated"] = "invoice.updated",
      ["invoice_providers.created"] = "invoice_provider.created",
      ["invoice_providers.updated"] = "invoice_provider.updated",
      ["invoiceemail.created"] = "invoice_email.created",
      ["refund.created"] = "payment.refunded", ["Invoices.Created"] = "invoice.created",
      ["invoices.voided"] = "invoice.updated", ["shifts.deposit.created"] = "shift.deposit.created",
      ["transactions.cancelled"] = "transactions.cancelled",
      ["gift-cards.Created"] = "gift_cards.created", odd = "unknown", [""] = "unknown",
    })
  end)

  it("of a DreamApply text of any length, without delay", function()
    local began = os.clock()
    for _ = 1, 100 do dreamapply.type_of("a" .. (" "):rep(1e5) .. "b") end
    assert.equal("unknown", dreamapply.type_of(("a "):rep(100) .. "was b"))
    assert.is_true(os.clock() - began < 10) -- a pattern that steps back takes hours
  end)

  it("of DreamApply, whose exact sentences are not published", function()
    check_types(dreamapply, {
      ["Invoice was issued: ?"] = "invoice.created", ["Invoice was created"] = "invoice.created",
      ["Invoice was edited: ?"] = "invoice.updated", ["Invoice was updated"] = "invoice.updated",
      ["Invoice was ?"] = "invoice.updated",
      ["Invoice was changed: ? to ?"] = "invoice.updated",
      ["Invoice was deleted: ?"] = "invoice.deleted",
      ["Invoice was collected: ?"] = "invoice.paid", ["Invoice was paid"] = "invoice.paid",
      ["Invoice is overdue: ?"] = "invoice.overdue", ["Invoice was overdue"] = "invoice.overdue",
      ["Invoice has been deleted"] = "invoice.deleted",
      ["Invoice was lapsed"] = "invoice.updated",
      ["Offer was edited: ?"] = "offer.edited",
      ["Flag was added"] = "flag.added", ["Academic term was closed"] = "academic_term.closed",
      ["Logged in"] = "unknown", [""] = "unknown", ["was"] = "unknown",
    })
  end)
end)

describe("the headers of a request", function()
  it("of DreamApply", function()
    assert.same({ Authorization = 'DREAM apikey="abc"' }, dreamapply.headers { api_key = "abc" })
  end)

  it("of DreamClass, in exactly that case", function()
    assert.same({ tenant = "my-school", schoolCode = "S1", Authorization = "abc" },
      dreamclass.headers { tenant = "my-school", school_code = "S1", api_key = "abc",
        api_key_header = "Authorization", api_key_prefix = "" })
    assert.same({ ["X-Key"] = "Bearer abc" },
      dreamclass.headers { api_key = "abc", api_key_header = "X-Key", api_key_prefix = "Bearer " })
  end)

  it("of Betterez, with a token and without", function()
    assert.same({ ["x-api-key"] = "abc" }, betterez.headers { api_key = "abc" })
    assert.same({ ["x-api-key"] = "abc", authorization = "Bearer jwt" },
      betterez.headers { api_key = "abc", token = "jwt" })
  end)
end)

describe("what a DreamApply invoice is recognised by", function()
  local look = dreamapply.looks["invoices.create"]

  local function sent(change)
    local out = { application = "123", currency = "EUR",
      items = { { item = "A", price = "25", qty = "1" }, { item = "B", price = "-3.00",
        qty = "2" } } }
    for k, v in pairs(change or {}) do out[k] = v end
    return out
  end
  local function seen(change)
    local out = { id = 5, currency = "EUR", deadline = "2026-09-01",
      payer = { name = "J", email = "j@x.org" }, items = {
        { item = "A", price = "25.00", qty = "1.00" }, { item = "B", price = "-3.00",
          qty = "2.00" } } }
    for k, v in pairs(change or {}) do out[k] = v end
    return out
  end

  it("matches amounts as decimals, and nothing that was not sent", function()
    assert.is_true(look.matches(sent(), seen()))
    assert.is_true(look.matches(
      sent { deadline = "2026-09-01", payer = { name = "J", email = "j@x.org" } }, seen()))
    assert.is_true(look.matches(sent { items = { { item = "A", price = "25" } } },
      seen { items = { { item = "A", price = "25.0", qty = "1.00" } } }))
  end)

  it("does not match what differs", function()
    local other = seen()
    other.items[2].qty = "2.01"
    assert.is_false(look.matches(sent(), other))
    assert.is_false(look.matches(sent(), seen { currency = "USD" }))
    assert.is_false(look.matches(sent(), seen { items = { seen().items[2], seen().items[1] } }))
    assert.is_false(look.matches(sent(), seen { items = { seen().items[1] } }))
    assert.is_false(look.matches(sent { deadline = "2026-09-02" }, seen()))
    assert.is_false(look.matches(sent { payer = { name = "J", email = "k@x.org" } }, seen()))
    local nameless = seen()
    nameless.items, nameless.payer = nil, nil
    assert.is_false(look.matches(sent(), nameless))
    assert.is_true(look.matches(sent(), seen { application = "/api/v9/applications/123" }))
    assert.is_false(look.matches(sent(), seen { application = "/api/v9/applications/124" }))
  end)

  it("does not match lines that are no list", function()
    local one, two = seen().items[1], seen().items[2]
    for _, items in ipairs { { ["0"] = one, ["1"] = two }, { ["0"] = one, ["2"] = two },
      { ["1"] = one, ["2"] = two }, "none", 2, { one, core.json.null }, { one, "x" }, {} } do
      assert.is_false(look.matches(sent(), seen { items = items }))
    end
    assert.is_false(look.matches(sent { items = {} }, seen { items = { ["0"] = one } }))
  end)

  it("knows a transaction that was recorded by hand", function()
    local collect = dreamapply.looks["transactions.create"]
    assert.is_true(collect.matches({ amount = "17" }, { amount = "17.00" }))
    assert.is_false(collect.matches({ amount = "17" }, { amount = "17.01" }))
    assert.is_true(collect.matches({ invoice = "7", amount = "17" },
      { invoice = "/api/v9/invoices/7", amount = "17.00" }))
    assert.is_false(collect.matches({ invoice = "7", amount = "17" },
      { invoice = "/api/v9/invoices/77", amount = "17.00" }))
    assert.is_false(collect.matches({ amount = "17" }, { amount = "17.00", payment = {} }))
  end)
end)

describe("what a Betterez invoice is recognised by", function()
  local look = betterez.looks["invoices.issue"]
  local id = "616d7cf38fedff37e449215c"

  it("is its transaction, wherever that stood in the request", function()
    assert.equal(id, look.place { transactionId = id })
    assert.equal(id, look.place { retryData = { transactionId = id } })
    assert.is_nil(look.place {})
    assert.is_nil(look.place { transactionId = "short" })
    assert.is_true(look.matches({ transactionId = id }, { transactionId = id }))
    assert.is_false(look.matches({ transactionId = id }, { transactionId = id:reverse() }))
  end)
end)

-- Every event of the three vendors: the table of docs/vendors.md is the one that the code has.

local billhook = require "billhook"
local command = require "spec.support.command"
local compare = require "billhook.app.compare"
local core = require "billhook.core"
local desk = require "spec.support.inbox"
local rules = require "billhook.app.rules"
local vendors = require "billhook.vendor"

local NAMES = { "dreamapply", "dreamclass", "betterez" }
local TITLES = { dreamapply = "DreamApply", dreamclass = "DreamClass", betterez = "Betterez" }

local FOUND = { "invoice.created", "invoice.updated", "invoice.deleted", "invoice.paid",
  "invoice.overdue", "invoice.failed", "payment.created", "payment.updated", "payment.deleted",
  "payment.refunded" }

local readable = {
  dreamapply = billhook.dreamapply { base_url = "https://apply.example.org", api_key = "k" },
  dreamclass = billhook.dreamclass { tenant = "t", api_key = "k",
    paths = { ["invoices.get"] = "/i/{id}" } },
  betterez = billhook.betterez { api_key = "k" },
}

local function tables()
  local out = { "| what billhook finds | " .. TITLES.dreamapply .. " | " .. TITLES.dreamclass
    .. " | " .. TITLES.betterez .. " |", "|---|---|---|---|" }
  for _, type in ipairs(FOUND) do
    local row = { "`" .. type .. "`" }
    for i, name in ipairs(NAMES) do
      row[i + 1] = rules.can_have(readable[name], type) == "yes" and "yes" or ""
    end
    out[#out + 1] = "| " .. table.concat(row, " | ") .. " |"
  end
  for _, name in ipairs(NAMES) do
    out[#out + 1] = ""
    out[#out + 1] = "| " .. TITLES[name] .. " says | type | |"
    out[#out + 1] = "|---|---|---|"
    for _, event in ipairs(vendors[name].events) do
      out[#out + 1] = ("| `%s` | `%s` | %s |"):format(event[1], event[2], event[3])
    end
  end
  return table.concat(out, "\n") .. "\n"
end

describe("the table of events", function()
  it("stands in docs/vendors.md as the code has it", function()
    local page = command.read "docs/vendors.md"
    local written = page:match "<!%-%- events %-%->\n\n(.-)\n<!%-%- end %-%->"
    assert.equal(tables(), written)
  end)

  it("is what type_of gives, and what a rule may be for", function()
    for _, name in ipairs(NAMES) do
      for _, event in ipairs(vendors[name].events) do
        assert.equal(event[2], vendors[name].type_of(event[1]), event[1])
        local readback = readable[name]
        local can = rules.can_have(readback, event[2])
        if not (event[2]:find "^invoice%." or event[2]:find "^payment%.") then
          assert.equal("yes", can, event[2])
        end
      end
    end
  end)

  it("has nothing of Betterez about the deletion of an invoice", function()
    for _, event in ipairs(vendors.betterez.events) do
      assert.is_not.equal("invoice.deleted", event[2])
    end
    assert.equal("invoice.updated", vendors.betterez.type_of "invoices.deleted")
    assert.equal("invoice.updated", vendors.betterez.type_of "invoices.voided")
  end)
end)

describe("a journal's sentence", function()
  local type_of = vendors.dreamapply.type_of

  it("about an invoice that nobody knows is a change of it, linked or not", function()
    for _, sentence in ipairs { "Invoice was partially collected: ?", "Invoice was re-issued: ?",
      "Invoice deleted: ?", "Invoice was lapsed", "Invoice was not collected: ?",
      "Invoice was collected in part: ?", "Invoice was collected-reversed", "Invoice: ?",
      "Invoice reminder was sent: ?", "Invoice was ?", "INVOICE WAS SENT", "Invoice",
      "Invoice was deleted by mistake, and restored", "Invoice\t was  un-deleted" } do
      assert.equal("invoice.updated", type_of(sentence, true), sentence)
      assert.equal("invoice.updated", type_of(sentence), sentence)
    end
  end)

  it("that links an invoice and is about nothing that is known is a change of it", function()
    for _, sentence in ipairs { "Payment was received: ?", "Reminder was sent: ?", "Logged in", "?",
      "Transaction was refunded: ?", "was", "Collected: ?" } do
      assert.equal("invoice.updated", type_of(sentence, true), sentence)
    end
    assert.equal("payment.received", type_of "Payment was received: ?")
    assert.equal("unknown", type_of "Logged in")
    assert.equal("unknown", type_of "Invoices were exported")
  end)

  it("about another thing stays one about that", function()
    assert.equal("offer.edited", type_of("Offer was edited: ?", true))
    assert.equal("application.created", type_of("Application was created by cloning", true))
    assert.equal("flag.added", type_of("Flag was added", true))
  end)
end)

describe("a payment that was paid back", function()
  local function changes(before, now)
    local out = {}
    for i, one in ipairs(compare.payment_changes(vendors.dreamclass,
      now and { payments = core.json.decode(now) },
      before and { payments = core.json.decode(before) })) do
      out[i] = one.verb .. " " .. one.id .. (one.previous and " from" or "")
    end
    return table.concat(out, ", ")
  end

  it("is told once, by its state", function()
    assert.equal("refunded 7 from", changes('[{"id":7,"status":1}]', '[{"id":7,"status":4}]'))
    assert.equal("refunded 7 from", changes('[{"id":7,"status":1}]', '[{"id":7,"status":"4"}]'))
    assert.equal("refunded 7", changes('[]', '[{"id":7,"status":4}]'))
    assert.equal("", changes('[{"id":7,"status":4}]', '[{"id":7,"status":4}]'))
    assert.equal("updated 7 from",
      changes('[{"id":7,"status":4,"amount":1}]', '[{"id":7,"status":4,"amount":2}]'))
    assert.equal("updated 7 from", changes('[{"id":7,"status":4}]', '[{"id":7,"status":1}]'))
    assert.equal("updated 7 from", changes('[{"id":7,"status":1}]', '[{"id":7,"status":3}]'))
    assert.equal("deleted 7 from", changes('[{"id":7,"status":4}]', '[]'))
    assert.equal("created 7", changes('[]', '[{"id":7,"status":1}]'))
    -- DreamApply's payments have no such state
    assert.same("updated", compare.payment_changes(vendors.dreamapply,
      { collections = { ["7"] = { id = 7, status = 4 , amount = "2" } } },
      { collections = { ["7"] = { id = 7, amount = "1" } } })[1].verb)
  end)

  local d
  before_each(function() d = desk.new():listen() end)

  it("is found in the invoice, whatever the news says", function()
    local function pay(id, status)
      d.api.class["16"].payments = { { id = 5, amount = 100, status = status } }
      d.api.class["16"].paidAmount = status == 1 and 100 or 0
      d:school({ id = id, type = "INVOICE_UPDATED" }, "class")
      d:pass(320, 10)
      return d:took()
    end
    pay(1, 1)
    assert.equal("invoice.updated 16@2, payment.refunded 16@2", pay(2, 4))
    local refund = d.told[#d.told]
    assert.same({ "api", 4, 1 }, { refund.trust, refund.data.status, refund.previous.status })
    assert.is_truthy(refund.id:find "%.payment%.refunded%.5$")
  end)

  it("is news of its own where nothing can be read back: DreamClass", function()
    d:school { id = 1, type = "PAYMENT_UPDATED", data = '{"id":5,"invoiceId":16,"status":4}' }
    d:school { id = 2, type = "PAYMENT_UPDATED", data = '{"id":5,"invoiceId":16,"status":1}' }
    d:school { id = 3, type = "PAYMENT_DELETED", data = '{"id":5,"invoiceId":16,"status":4}' }
    d:work()
    local types = {}
    for i, event in ipairs(d.told) do types[i] = event.type end
    assert.same({ "payment.refunded", "payment.updated", "payment.deleted" }, types)
    assert.equal("PAYMENT_UPDATED", d.told[1].native)
    assert.equal(4, d.told[1].claims.status)
    assert.is_nil(d.told[1].data)
  end)

  it("is news of its own: Betterez, whose proof covers it", function()
    d:tickets { id = 1, event = "refund.created", data = '{"_id":"5f","amount":300}' }
    d:work()
    assert.same({ "done" }, d:deliveries "tickets")
    assert.equal("payment.refunded", d.told[1].type)
    assert.equal("refund.created", d.told[1].native)
    assert.same({ _id = "5f", amount = 300 }, d.told[1].data)
    assert.equal("body", d.told[1].trust)
  end)
end)

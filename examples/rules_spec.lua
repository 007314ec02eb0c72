-- rules_spec.lua: tests of rules of your own (here ledger.lua and rules.lua), with busted:
--
--   busted rules_spec.lua
--
-- No network, no waiting: the vendors are imitated in this process, and the clock is the world's.
-- What happens there comes as a signed delivery, or is found by a poll, as it would be.

-- luacheck: std +busted

local billhook = require "billhook"
local testing = require "billhook.testing"

local here = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
local ledger = dofile(here .. "/ledger.lua")

describe("the ledger", function()
  local written, trouble, world

  before_each(function()
    written, trouble = {}, nil
    world = testing.world { accounts = { admissions = "dreamapply" }, rules = function(app)
      ledger(app, function(entry)
        if trouble then return nil, trouble end
        written[#written + 1] = entry
        return true
      end)
    end }
  end)

  it("has the amount that the API says", function()
    local id = world:issue { amount = "39.80" }
    local runs = world:run()
    assert.same({ "ledger", "invoice.created", "done" },
      { runs[1].rule, runs[1].type, runs[1].state })
    assert.equal(1, #written)
    assert.matches("^admissions:" .. id .. "@1%.%x+%.created$", written[1].key)
    assert.equal("39.80", written[1].amount)
  end)

  it("has it once, however often it is sent", function()
    world:issue()
    world:run()
    world:at("admissions").sandbox:order("redeliver", { vendor = "dreamapply" })
    world:run(600)
    assert.equal(1, #written)
  end)

  it("has it where the webhook was lost, by the next poll", function()
    world:lose()
    world:issue()
    world:run()
    assert.equal(0, #written)
    world:run(300)
    assert.equal(1, #written)
  end)

  it("has it later where the API is down", function()
    world:fail("admissions", 503)
    world:issue()
    world:run()
    assert.equal(0, #written)
    world:fail("admissions", nil)
    world:run(3600)
    assert.equal(1, #written)
  end)

  it("has it later, and once, where the bookkeeping is down", function()
    trouble = "no space left on device"
    world:issue()
    local runs = world:run()
    assert.same({ 1, "failed" }, { #runs, runs[1].state })
    assert.matches(trouble, runs[1].message, 1, true)
    trouble = nil
    world:run(3600)
    assert.equal(1, #written)
  end)

  it("has nothing of a forged delivery", function()
    assert.equal(401, world:forge { invoice = 16 })
    assert.equal(0, #world:run())
  end)

  it("has one of Betterez without an amount, where the invoice states none", function()
    world = testing.world { accounts = { tickets = "betterez" }, rules = function(app)
      ledger(app, function(entry)
        written[#written + 1] = entry
        return true
      end)
    end }
    world:issue()
    assert.equal("done", world:run()[1].state)
    assert.is_string(written[1].number)
    assert.is_nil(written[1].amount)
  end)

  it("is voided when the invoice is gone", function()
    local id = world:issue()
    world:run()
    world:delete(id)
    world:run()
    assert.equal(id, written[2].void)
    assert.equal(written[1].number, written[2].number)
  end)
end)

describe("the rules file", function()
  -- which rules ran, in order
  local function names(runs)
    local list = {}
    for i, run in ipairs(runs) do list[i] = run.rule end
    return table.concat(list, " ")
  end

  local world
  before_each(function() world = testing.world { rules = here .. "/rules.lua" } end)

  for _, account in ipairs { "admissions", "school" } do
    it("books, corrects and closes an invoice of " .. account, function()
      local there = world:at(account)
      local id = there:issue { amount = "300.00" }
      assert.equal("ledger large", names(world:run(60)))
      there:update(id, { amount = "600.00" })
      assert.equal("correct", names(world:run(60)))
      there:pay(id)
      assert.equal("correct paid", names(world:run()))
    end)
  end

  it("books an invoice of tickets, whose signature proves it", function()
    world:at("tickets"):issue { amount = "300.00" }
    local runs = world:run()
    assert.equal("ledger large", names(runs))
    assert.equal("body", runs[1].event.trust)
  end)

  it("books and corrects one of tickets that states no amount", function()
    local there, kept = world:at "tickets", {}
    local id = there:issue()
    for _, run in ipairs(world:run(60)) do kept[#kept + 1] = run end
    there:update(id, { buyer = { name = "Ada Example" } })
    for _, run in ipairs(world:run(60)) do kept[#kept + 1] = run end
    assert.equal("ledger large correct", names(kept))
    for _, run in ipairs(kept) do assert.equal("done", run.state, run.message) end
    assert.is_nil(billhook.invoice.total(kept[1].event.data))
  end)
end)

describe("a rule's function", function()
  local invoices = billhook.invoice

  local function remind(event)
    local left, why = invoices.balance(event.data)
    if not left then return nil, why end
    return event:once("mail", function()
      return { to = event.invoice_id, left = tostring(left) }
    end)
  end

  it("can be called with an event alone", function()
    local sent = remind(testing.event("invoice.overdue", { invoice_id = "16" }))
    assert.same({ to = "16", left = "300.00" }, sent)
  end)

  it("fails where the app would say so", function()
    local event = testing.event("invoice.overdue", { data = { id = 16, currency = "EUR",
      items = { { price = "?", qty = 1 } } } })
    local done, why = testing.call(remind, event)
    assert.is_nil(done)
    assert.is_string(why)
  end)
end)

-- rules_spec.lua: tests of rules of your own (here ledger.lua), with busted:
--
--   busted rules_spec.lua
--
-- No network, no file and no waiting: the inbox is in memory, the API is a function (the `fake`
-- transport), and the clock is ours. Deliveries are signed as the vendor signs them.

-- luacheck: std +busted

local billhook = require "billhook"
local fake = require "billhook.transport.fake"
local json = billhook.json

local here = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
local ledger = dofile(here .. "/ledger.lua")

local written, api, app, now, trouble

-- DreamApply's journal entry about an invoice, as its webhook sends it
local function deliver(id, event, invoice)
  local body = json.encode { id = id, logged = "2026-11-21T10:00:00+00:00", event = event,
    invoice = "/api/v9/invoices/" .. invoice }
  local headers, signed = billhook.sign("dreamapply", body, { authorization = "Bearer hook" })
  return app:receive("admissions", headers, signed)
end

local function invoice(id)
  return { status = 200, body = json.encode { id = id, nr = "AF-" .. id, currency = "EUR",
    items = { { item = "Tuition", price = "19.90", qty = "2.00" } } } }
end

-- as long as it takes, without waiting: a failed rule waits until the clock says so
local function work(seconds)
  now = now + (seconds or 0)
  while assert(app:work()) > 0 do end -- luacheck: ignore 542
end

describe("the ledger", function()
  before_each(function()
    written, api, now = {}, function() return invoice(16) end, 1800000000
    trouble = nil
    local function clock() return now end
    app = billhook.app {
      inbox = "memory:", clock = clock, log = function() end,
      accounts = { admissions = billhook.dreamapply {
        base_url = "https://apply.example.edu", api_key = "test-key", clock = clock,
        transport = fake.new(function(request) return api(request) end),
        webhook = { authorization = "Bearer hook" },
      } },
    }
    ledger(app, function(entry)
      if trouble then return nil, trouble end
      written[#written + 1] = entry
      return true
    end)
  end)

  it("has the amount that the API says", function()
    assert.equal(200, (deliver(1, "Invoice was created: ?", 16)))
    work()
    assert.same({ { key = "admissions:invoice.created:16", number = "AF-16", amount = "39.80",
      currency = "EUR" } }, written)
  end)

  it("has it once, however often it is sent", function()
    deliver(1, "Invoice was created: ?", 16)
    deliver(1, "Invoice was created: ?", 16)
    deliver(2, "Invoice was created: ?", 16)
    work()
    assert.equal(1, #written)
  end)

  it("has it later where the API is down", function()
    api = function() return { status = 503 } end
    deliver(1, "Invoice was created: ?", 16)
    work()
    assert.equal(0, #written)
    api = function() return invoice(16) end
    work(3600)
    assert.equal(1, #written)
  end)

  it("has it later, and once, where the bookkeeping is down", function()
    trouble = "no space left on device"
    deliver(1, "Invoice was created: ?", 16)
    work()
    work(3600)
    assert.same({}, written)
    trouble = nil
    work(3600)
    work(3600)
    assert.equal(1, #written)
  end)

  it("has nothing of a forged delivery", function()
    local status = app:receive("admissions", { Authorization = "Bearer guessed" }, "{}")
    assert.equal(401, status)
    work()
    assert.equal(0, #written)
  end)

  it("is voided when the invoice is gone", function()
    api = function() return { status = 404, body = "Invoice not found" } end
    deliver(3, "Invoice was deleted: ?", 16)
    work()
    assert.same({ { key = "admissions:3", void = "16" } }, written)
  end)
end)

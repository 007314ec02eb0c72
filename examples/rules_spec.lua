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
local function deliver(id, invoice)
  local body = json.encode { id = id, logged = "2027-01-15T08:00:00+00:00",
    event = "Invoice was edited: ?", invoice = "/api/v9/invoices/" .. invoice }
  local headers, signed = billhook.sign("dreamapply", body, { authorization = "Bearer hook" })
  return app:receive("admissions", headers, signed)
end

-- what the API says of invoice 16
local function invoice(price)
  return { status = 200, body = json.encode { id = 16, nr = "AF-16", currency = "EUR",
    issued = "2027-01-15T08:00:00+00:00",
    items = { { item = "Tuition", price = price or "19.90", qty = "2.00" } } } }
end

-- as long as it takes, without waiting: what waits, waits until the clock says so
local function work(seconds)
  now = now + (seconds or 0)
  while assert(app:work()) > 0 do end -- luacheck: ignore 542
end

describe("the ledger", function()
  before_each(function()
    written, api, now = {}, function() return invoice() end, 1800000000 -- 2027-01-15T08:00:00Z
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
    work() -- the account's first start: what is issued from now on is new
  end)

  it("has the amount that the API says", function()
    assert.equal(200, (deliver(1, 16)))
    work()
    assert.equal(1, #written)
    assert.matches("^admissions:16@1%.%x+%.created$", written[1].key)
    assert.equal("39.80", written[1].amount)
    assert.equal("AF-16", written[1].number)
  end)

  it("has it once, however often it is sent", function()
    deliver(1, 16)
    deliver(1, 16)
    deliver(2, 16)
    work()
    deliver(3, 16)
    work(300)
    assert.equal(1, #written)
  end)

  it("has it where the webhook was lost, by the next poll", function()
    api = function(request)
      if request.url:find("/invoices/16", 1, true) then return invoice() end
      return { status = 200, body = '{ "16": ' .. invoice().body .. " }" }
    end
    assert.equal(1, app:poll "admissions")
    work()
    assert.equal(1, #written)
  end)

  it("has it later where the API is down", function()
    api = function() return { status = 503 } end
    deliver(1, 16)
    work()
    assert.equal(0, #written)
    api = function() return invoice() end
    work(3600)
    assert.equal(1, #written)
  end)

  it("has it later, and once, where the bookkeeping is down", function()
    trouble = "no space left on device"
    deliver(1, 16)
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
    deliver(1, 16)
    work()
    api = function() return { status = 404, body = "Invoice not found" } end
    deliver(2, 16)
    work()
    assert.equal(1, #written) -- once may be a mistake
    work(61)
    assert.equal(2, #written)
    assert.equal("16", written[2].void)
    assert.equal("AF-16", written[2].number)
  end)
end)

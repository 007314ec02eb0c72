-- When an invoice is created, changed, paid, overdue, deleted: what docs/rules.md says of each
-- vendor, over a real inbox and an API that is a function.

local billhook = require "billhook"
local fake = require "billhook.transport.fake"
local json = require "billhook.json"

local START = 1800000000 -- 2027-01-15T08:00:00Z
local DAY = 86400
local PATHS = { ["invoices.get"] = "/financial/invoices/{id}" }

local makers = {
  dreamapply = function(options)
    options.base_url, options.api_key = "https://apply.test", "key-of-apply"
    options.webhook = { authorization = "Bearer hook" }
    return billhook.dreamapply(options)
  end,
  dreamclass = function(options)
    options.tenant, options.api_key, options.paths = "my-school", "key-of-class", PATHS
    options.webhook = { secret = "secret" }
    return billhook.dreamclass(options)
  end,
  betterez = function(options)
    options.api_key, options.token, options.webhook = "key", "token", { secret = "secret" }
    return billhook.betterez(options)
  end,
}

local World = {}
World.__index = World

-- One account "a" at a vendor, started. `there` is what its API has, by id.
local function world(vendor, more)
  local self = setmetatable({ vendor = vendor, now = START + 0.4, there = {}, told = {}, n = 0 },
    World)
  local function clock() return self.now end
  local function answer(request)
    local path = request.url:match "^https?://[^/]+([^?]*)"
    if path:find "/invoices$" then
      return { status = 200, body = next(self.there) and json.encode(self.there) or "{}" }
    end
    local invoice = self.there[path:match "[^/]+$"]
    if not invoice then return { status = 404, body = "Invoice not found" } end
    return { status = 200, headers = { ["content-type"] = "application/json" },
      body = json.encode(vendor == "betterez" and { invoice = invoice } or invoice) }
  end
  local options = { inbox = "memory:", clock = clock, log = function() end, accounts = {
    a = makers[vendor] { clock = clock, attempts = 1, quota = false,
      transport = fake.new(answer) } } }
  for name, value in pairs(more or {}) do options[name] = value end
  self.app = billhook.app(options)
  self.app:on("*", function(event)
    self.told[#self.told + 1] = event.type
    self.last = event
  end)
  self:work()
  return self
end

function World:work(seconds)
  self.now = self.now + (seconds or 0)
  while assert(self.app:work()) > 0 do end -- luacheck: ignore 542
end

-- News that says nothing but which invoice it is about.
function World:news(id, data)
  self.n = self.n + 1
  local uuid = ("11111111-2222-4333-8444-%012d"):format(self.n)
  local body = self.vendor == "dreamapply" and { id = self.n, event = "Invoice was ?",
    invoice = "/api/v9/invoices/" .. id }
    or self.vendor == "dreamclass" and { id = uuid, type = "INVOICE_UPDATED", tenant = "my-school",
      timestamp = math.floor(self.now * 1000), data = { id = tonumber(id) } }
    or { id = uuid, event = "invoices.updated", livemode = true,
      created = math.floor(self.now), data = data }
  local headers, signed = billhook.sign(self.vendor, json.encode(body),
    { secret = "secret", authorization = "Bearer hook", now = math.floor(self.now) })
  assert.equal(200, (self.app:receive("a", headers, signed)))
  self:work()
end

-- What was told since the last time.
function World:types()
  local types = table.concat(self.told, " ")
  self.told = {}
  return types
end

local function iso(seconds) return require("billhook.core").text.iso(seconds) end

local function applied(fields)
  local invoice = { id = 16, nr = "AF-16", currency = "EUR", issued = iso(START),
    deadline = iso(START + 10 * DAY):sub(1, 10), serie = { id = 1, name = "fees" },
    collections = json.array {},
    items = { { item = "Tuition", price = "100.00", qty = "1.00" } } }
  for name, value in pairs(fields or {}) do invoice[name] = value end
  return invoice
end

local function payment(amount, more)
  local one = { id = 7, amount = amount, invoice = "/api/v9/invoices/16",
    inserted = iso(START + 60), collected = "2027-01-15" }
  for name, value in pairs(more or {}) do one[name] = value end
  return { ["7"] = one }
end

describe("an invoice of DreamApply", function()
  local w
  before_each(function() w = world "dreamapply" end)

  it("is created when the API shows it, in the very second of the account's start too", function()
    w.there["16"] = applied()
    w:news "16"
    assert.equal("invoice.created", w:types())
    w:news "16"
    assert.equal("", w:types())
  end)

  it("that was there before is stored without an event, and told when it changes", function()
    w.there["16"] = applied { issued = iso(START - DAY) }
    assert.equal(0, w.app:poll "a")
    w:work()
    assert.equal("", w:types())
    w.there["16"] = applied { issued = iso(START - DAY), deadline = "2027-03-01" }
    w:news "16"
    assert.equal("invoice.updated", w:types())
    assert.equal("2027-03-01", w.last.changes.deadline.to)
    assert.equal("2027-01-25", w.last.previous.deadline)
  end)

  it("has not changed where only its spelling, a reminder or an unknown member has", function()
    w.there["16"] = applied()
    w:news "16"
    w:types()
    w.there["16"] = applied { reminded = iso(START), delivered = iso(START), undocumented = 1,
      serie = { id = 1, name = "renamed" },
      items = { { item = "Tuition", price = 100, qty = 1 } } }
    w:news "16"
    assert.equal("", w:types())
  end)

  it("is paid when nothing is to be paid any more, and again after that was taken back", function()
    w.there["16"] = applied()
    w:news "16"
    w:types()
    w.there["16"] = applied { collections = payment "40.00" }
    w:news "16"
    assert.equal("invoice.updated payment.created", w:types())
    w.there["16"] = applied { collections = payment "120.00" } -- too much is paid, too
    w:news "16"
    assert.equal("invoice.updated payment.updated invoice.paid", w:types())
    w.now = w.now + 3600
    w.there["16"] = applied()
    w:news "16"
    assert.equal("invoice.updated payment.deleted", w:types())
    w.now = w.now + 3600
    w.there["16"] = applied { collections = payment "100.00" }
    w:news "16"
    assert.equal("invoice.updated payment.created invoice.paid", w:types())
    assert.equal(5, w.last.version)
  end)

  it("is not paid by what a gateway has not captured", function()
    w.there["16"] = applied { collections = payment("100.00", { payment = { status = "new" } }) }
    w:news "16"
    assert.equal("invoice.created payment.created", w:types())
    w.there["16"] = applied {
      collections = payment("100.00", { payment = { status = "captured" } }) }
    w:news "16"
    assert.equal("invoice.updated payment.updated invoice.paid", w:types())
  end)

  it("over nothing is never paid", function()
    w.there["16"] = applied { items = { { item = "Tuition", price = "0.00", qty = "1" } } }
    w:news "16"
    assert.equal("invoice.created", w:types())
  end)

  it("is overdue at the days that the app names, once each, while not all is paid", function()
    w = world("dreamapply", { overdue = { 0, 7 } })
    w.there["16"] = applied()
    w:news "16"
    w:types()
    local seen = {}
    for day = 1, 20 do
      w:work(DAY)
      w:work()
      if #w.told > 0 then seen[#seen + 1] = day .. " " .. w:types() end
    end
    assert.same({ "10 invoice.overdue", "17 invoice.overdue" }, seen)
    assert.equal("a:16.overdue.2027-01-25+7", w.last.id)
  end)

  it("is deleted when the API has denied it twice, and previous is what it was", function()
    w.there["16"] = applied()
    w:news "16"
    w:types()
    w.there["16"] = nil
    w:news "16"
    assert.equal("", w:types())
    w:work(61)
    assert.equal("invoice.deleted", w:types())
    assert.is_nil(w.last.data)
    assert.equal("AF-16", w.last.previous.nr)
  end)

  it("that came and went makes no event", function()
    w.there["17"] = applied { id = 17 }
    w:news "17"
    w:types()
    w:news "16"
    for _ = 1, 10 do w:work(60) end
    assert.equal("", w:types())
    assert.equal("gone", w.app.store:deliveries({ invoice = "16" })[1].state)
    assert.same({}, w.app.store:events { state = "dead" })
  end)
end)

describe("an invoice of DreamClass", function()
  local function of_class(fields)
    local invoice = { id = 16, amount = 300, dueDate = "2027-01-25", createdAt = iso(START) }
    for name, value in pairs(fields or {}) do invoice[name] = value end
    return invoice
  end

  it("is created, paid by what the API says was paid, and deleted", function()
    local w = world "dreamclass"
    w.there["16"] = of_class()
    w:news "16"
    assert.equal("invoice.created", w:types())
    w.there["16"] = of_class { paidAmount = 300, payments = { { id = 3, amount = 300, status = 1,
      createdAt = iso(START + 60) } } }
    w:news "16"
    assert.equal("invoice.updated payment.created invoice.paid", w:types())
    w.there["16"] = nil
    w:news "16"
    w:work(61)
    assert.equal("invoice.deleted payment.deleted", w:types())
  end)

  it("is overdue by its due date", function()
    local w = world("dreamclass", { overdue = { 1 } })
    w.there["16"] = of_class { paidAmount = 0 }
    w:news "16"
    w:types()
    for _ = 1, 12 do
      w:work(DAY)
      w:work()
    end
    assert.equal("invoice.overdue", w:types())
  end)
end)

describe("an invoice of Betterez", function()
  local function body(number, updated)
    return { _id = "616d7cf38fedff37e449215c", number = number,
      createdAt = { value = iso(START), offset = 0 },
      updatedAt = { value = iso(updated), offset = 0 } }
  end

  it("is created and changed by what its signature covers; what is older is no news", function()
    local w = world "betterez"
    w:news("616d7cf38fedff37e449215c", body("1", START))
    assert.equal("invoice.created", w:types())
    assert.equal("body", w.last.trust)
    w:news("616d7cf38fedff37e449215c", body("3", START + 20))
    assert.equal("invoice.updated", w:types())
    w:news("616d7cf38fedff37e449215c", body("2", START + 10))
    assert.equal("", w:types())
    assert.equal("3", w.last.data.number)
  end)

  it("is never paid or overdue, and who asks for that is told", function()
    for _, type in ipairs { "invoice.paid", "invoice.overdue", "payment.created" } do
      local w = world "betterez"
      w.app.started = nil
      local ok, why = pcall(w.app.on, w.app, "a:" .. type, print)
      assert.is_false(ok)
      assert.matches("account 'a' never has an event of this type", why, 1, true)
    end
  end)
end)

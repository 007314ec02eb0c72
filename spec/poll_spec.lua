-- poll_spec.lua: what no webhook brought.

local billhook = require "billhook"
local desk = require "spec.support.inbox"
local fake = require "billhook.transport.fake"
local sandbox = require "billhook.sandbox"

local d
before_each(function() d = desk.new():listen() end)

-- the queries of the lists that were asked for
local function lists()
  local out = {}
  for _, url in ipairs(d.asked.apply) do out[#out + 1] = url:match "/invoices%??(.*)$" end
  d.asked.apply = {}
  return out
end

local function json(status, body)
  return { status = status, headers = { ["content-type"] = "application/json" }, body = body }
end

describe("app:poll of DreamApply", function()
  it("says nothing the first time of what is older than the account's first start", function()
    for id = 1, 5 do d:put(id) end
    d.now = d.now + 60
    d:work() -- the account starts
    d.now = d.now + 60
    d:put(6)
    assert.are.equal(1, d.app:poll "apply")
    d:work()
    assert.are.equal("invoice.created 6@1", d:took())
    assert.are.same({ "" }, lists())
    assert.are.equal(1, d:row(3).version)
    -- and what comes to it later is told
    d:pay(3)
    d.now = d.now + 300
    assert(d.app:poll "apply")
    d:work()
    assert.are.equal("invoice.updated 3@2, payment.created 3@2, invoice.paid 3@2", d:took())
  end)

  it("tells of an invoice that was issued in the second in which the account starts", function()
    d.now = d.now + 0.75 -- the vendor's times are whole seconds
    d:work()
    d:put(1)
    d:put(2, { issued = "2023-11-14T22:13:19+00:00" })
    assert.are.equal("2023-11-14T22:13:20+00:00", d.api.apply["1"].issued)
    assert.are.equal(1, d.app:poll "apply")
    d:work()
    assert.are.equal("invoice.created 1@1", d:took())
  end)

  it("without news costs three requests", function()
    for id = 1, 5 do d:put(id) end
    d:pay(2)
    d:settled()
    for _ = 1, 3 do
      d.now = d.now + 300
      d.calls = 0
      assert.are.equal(0, d.app:poll "apply")
      d:work()
      assert.are.equal(3, d.calls)
    end
    assert.are.equal("", d:took())
  end)

  it("finds what was created, changed, paid and taken back, without names of events", function()
    for id = 1, 3 do d:put(id) end
    d:settled()
    d.now = d.now + 300
    d:put(4)
    d:pay(1)
    d.api.apply["2"].items[1].price = "1.00"
    assert.are.equal(5, d.app:poll "apply")
    d:work()
    table.sort(d.seen)
    assert.are.equal("invoice.created 4@1, invoice.paid 1@2, invoice.updated 1@2, "
      .. "invoice.updated 2@2, payment.created 1@2", d:took())
    d.now = d.now + 300
    d.api.apply["1"].collections, d.api.apply["1"].collected = {}, nil
    assert(d.app:poll "apply")
    d:pass(70, 5) -- what was so a moment ago is looked at twice
    assert.are.equal("invoice.updated 1@3, payment.deleted 1@3", d:took())
  end)

  it("goes on from the newest of the vendor's own times, ten minutes of them asked for twice",
    function()
      d:put(1, { issued = "2023-11-14T20:00:00+00:00" })
      d:settled()
      lists()
      d.now = d.now + 3600
      assert(d.app:poll "apply")
      local asked = lists()
      assert.are.equal("byIssuedSince=2023-11-14T19%3A50%3A00%2B00%3A00", asked[1])
      assert.is_truthy(asked[2]:find "^byCollectedSince=2023%-11%-14T22")
      assert.are.equal("byCollected=false", asked[3])
    end)

  it("reads an open invoice singly that no list shows: it is told as deleted after two looks",
    function()
      for id = 1, 3 do d:put(id) end
      d:settled()
      d:remove(2)
      d.now = d.now + 300
      assert.are.equal(0, d.app:poll "apply")
      d:pass(200, 5)
      assert.are.equal("invoice.deleted 2@2", d:took())
    end)

  it("takes an empty list for no proof of anything", function()
    for id = 1, 3 do d:put(id) end
    d:settled()
    d.answer = function(request)
      return request.url:find "/invoices%?" and json(200, "{}") or nil
    end
    d.now = d.now + 300
    assert.are.equal(0, d.app:poll "apply")
    d:pass(600, 10)
    assert.are.equal("", d:took())
    -- nor is a first list that is empty the whole list
    d = desk.new():listen()
    d:settled()
    assert.is_nil(d:memory().baseline)
  end)

  it("asks hourly for the list of open ones where that is heavy #once", function()
    for id = 1, 3 do d:put(id, { smallprint = ("x"):rep(3 * 1048576) }) end
    d:settled()
    lists()
    for _, then_asked in ipairs { { 5, 2 }, { 54, 2 }, { 1, 3 } } do
      d.now = d.now + then_asked[1] * 60
      assert(d.app:poll "apply")
      assert.are.equal(then_asked[2], #lists())
    end
  end)

  it("tells what a webhook has told already no second time", function()
    d:put(1)
    d:settled()
    d:pay(1)
    d:news(1)
    d:work()
    d:took()
    d.now = d.now + 300
    assert.are.equal(0, d.app:poll "apply")
    d:pass(400, 10)
    assert.are.equal("", d:took())
  end)

  it("keeps its place when the vendor fails, and gives its error", function()
    d:put(1)
    d:settled()
    local before = d:memory()
    d.answer = function() return { status = 503 } end
    local found, err = d.app:poll "apply"
    assert.is_nil(found)
    assert.are.equal("server", err.kind)
    assert.are.equal(before.issued, d:memory().issued)
    d.answer = nil
    d.now = d.now + 300
    d:put(2)
    assert.are.equal(1, d.app:poll "apply")
    d = desk.new { inbox = "sqlite:/no/such/folder/a.db" }
    found, err = d.app:poll "apply"
    assert.is_nil(found)
    assert.are.equal("store", err.kind)
  end)

  it("waits for the quota behind people and rules", function()
    local window, asked_for = require("billhook.client.quota").lines, {}
    local answer = window.answer
    window.answer = function(line, now, question)
      if question.ask == "take" then asked_for[#asked_for + 1] = question.background or false end
      return answer(line, now, question)
    end
    d = desk.new { clients = { apply = { quota = 180 } } }
    local found = d.app:poll "apply"
    window.answer = answer
    assert.are.equal(0, found)
    assert.is_true(#asked_for > 0)
    for _, background in ipairs(asked_for) do assert.is_true(background) end
  end)
end)

describe("app:poll of Betterez", function()
  local function failures(body)
    d.answer = function(request)
      return request.url:find "/failures" and json(200, body) or nil
    end
  end

  it("finds failures, each once", function()
    failures '{"invoicesFailures":[{"_id":"f1","transactionId":"t1"},{"no":"id"}],"next":""}'
    assert.are.equal(1, d.app:poll "tickets")
    assert.are.equal(0, d.app:poll "tickets")
    d:work()
    assert.are.equal("invoice.failed -", d:took())
    local event = d.told[1]
    assert.are.equal("tickets:failure-f1", event.id)
    assert.are.equal("t1", event.data.transactionId)
    assert.are.equal("api", event.trust)
  end)

  it("reads at most 60 of what is open again, longest unread first", function()
    for i = 1, 70 do
      local id = ("616d7cf38fedff37e44921%02x"):format(i)
      d.api.tickets[id] = { _id = id, number = tostring(i) }
      d:tickets { id = i, data = ('{"_id":"%s","number":"%d"}'):format(id, i) }
    end
    d:work()
    d.now = d.now + 300
    d.calls = 0
    assert(d.app:poll "tickets")
    d:work()
    assert.are.equal(62, d.calls)
    local read = {}
    for _, url in ipairs(d.asked.tickets) do read[url:match "[^/]+$"] = true end
    d.asked.tickets, d.calls = {}, 0
    d.now = d.now + 300
    assert(d.app:poll "tickets")
    d:work()
    for _, url in ipairs(d.asked.tickets) do read[url:match "[^/]+$"] = true end
    local all = 0
    for id in pairs(read) do all = all + (d.api.tickets[id] and 1 or 0) end
    assert.are.equal(70, all)
  end)
end)

describe("app:poll of Betterez, with the vendor's list of undelivered webhooks", function()
  local world, down

  -- The sandbox's Betterez, whose webhooks come to the account while it is not `down`.
  local function begin(read_back)
    down = true
    local client = billhook.betterez { api_key = "sandbox-key", token = "sandbox-token",
      attempts = 1, clock = function() return d.now end,
      webhook = { secret = "sandbox-private-key" }, read_back = read_back,
      transport = fake.new(function(request)
        local special = d.answer and d.answer(request)
        if special then return special end
        local headers = {}
        for name, value in pairs(request.headers) do headers[name:lower()] = value end
        local status, body, named = world:answer { method = request.method, headers = headers,
          target = request.url:match "^%a+://[^/]+(.*)$", body = request.body }
        return { status = status, headers = named, body = body }
      end) }
    d = desk.new { accounts = { tickets = client } }
    d:listen():work() -- the account starts
    world = sandbox.new { clock = function() return d.now end,
      webhooks = { betterez = "http://localhost/webhooks/tickets" },
      post = function(_, headers, body)
        if down then return 503 end
        local lower = {}
        for name, value in pairs(headers) do lower[name:lower()] = value end
        return (d.app:receive("tickets", lower, body))
      end }
  end
  before_each(function() begin() end)

  local function happen(fields)
    fields.vendor = "betterez"
    local told = assert(world:order("trigger", fields))
    world:run()
    return told.invoice or fields.invoice
  end

  local function poll()
    d.now = d.now + 300
    local found = assert(d.app:poll "tickets")
    d:work()
    return found
  end

  it("finds what was issued and changed while nobody could take it, each once", function()
    local id = happen { type = "invoices.created", amount = "20.00" }
    poll()
    assert.are.equal("invoice.created " .. id .. "@1", d:took())
    assert.are.equal("api", d.told[1].trust)
    assert.are.equal(id, d.told[1]:deliveries()[1].invoice)
    happen { type = "invoices.updated", invoice = id, amount = "25.00" }
    poll()
    assert.are.equal("invoice.updated " .. id .. "@2", d:took())
    d:pass(400, 10)
    for _ = 1, 3 do poll() end -- they stay in the vendor's list
    assert.are.equal("", d:took())
    assert.are.equal(2, #d:deliveries "tickets")
    assert.are.equal(1, assert(d.app:open():deliveries {})[1].seen)
  end)

  it("takes an invoice as it stands there where it cannot be read back", function()
    begin(false)
    local id = happen { type = "invoices.created", amount = "20.00" }
    happen { type = "invoices.updated", invoice = id, amount = "25.00" }
    poll()
    assert.are.equal(("invoice.created %s@1, invoice.updated %s@2"):format(id, id), d:took())
    assert.are.same({ "done", "done" }, d:deliveries "tickets")
    assert.are.equal("25.00", d:row(id, "tickets").total)
  end)

  it("makes events of other news, with what the API says it was", function()
    happen { type = "refund.created", amount = "5.00" }
    poll()
    assert.are.equal("payment.refunded -", d:took())
    assert.are.equal("api", d.told[1].trust)
    assert.are.equal("table", type(d.told[1].data))
    assert.is_nil(d.told[1].claims)
  end)

  it("and when the vendor sends one again, that is a duplicate", function()
    happen { type = "refund.created", amount = "5.00" }
    poll()
    d:took()
    down = false
    assert(d.app.accounts.tickets.undelivered:retry_all())
    world:run()
    d:work()
    assert.are.equal("", d:took())
    assert.are.same({ "done" }, d:deliveries "tickets")
    assert.are.equal(2, assert(d.app:open():deliveries {})[1].seen)
  end)

  it("leaves alone what is older than the account, and says of how many it cannot tell", function()
    local start = d:memory("tickets").start / 1000
    d.answer = function(request)
      return request.url:find "/undelivered" and json(200, ([[{"undelivered":[
        {"id":"a-1","event":"refund.created","created":%d,"data":{"_id":"r1"}},
        {"id":"a-2","event":"refund.created","created":%d,"data":{"_id":"r2"}},
        {"_id":"u3"},{"id":"a 4","event":"refund.created","data":{}}],"next":""}]]):format(
          start - 1, (start + 1) * 1000)) or nil
    end
    poll()
    assert.are.equal("payment.refunded -", d:took())
    assert.are.equal("tickets:a-2", d.told[1].id)
    assert.is_truthy(d:logged("undelivered")[1].fields.message:find("^2 undelivered webhooks"))
  end)

  it("which a key may not be allowed to see: the rest of the poll goes on", function()
    happen { type = "failure", transactionId = ("a"):rep(24) }
    d.answer = function(request)
      return request.url:find "/undelivered" and { status = 403 } or nil
    end
    assert.are.equal(1, poll())
    assert.are.equal("invoice.failed -", d:took())
    assert.are.equal("warn", d:logged("undelivered_failed")[1].level)
    assert.is_nil(d:memory("tickets").fault)
  end)
end)

describe("app:poll of DreamClass", function()
  it("reads what is open again", function()
    d.api.class["16"].createdAt = "2023-11-15T00:00:00Z"
    d:school({}, "class")
    d:pass(320, 5)
    d:took()
    d.api.class["16"].payments = { { id = 5, amount = 300, createdAt = "2023-11-16T00:00:00Z" } }
    d.api.class["16"].paidAmount = 300
    d.calls = 0
    assert(d.app:poll "class")
    d:work()
    assert.are.equal(1, d.calls)
    assert.are.equal("invoice.updated 16@2, payment.created 16@2, invoice.paid 16@2", d:took())
    assert(d.app:poll "class")
    d:work()
    assert.are.equal(1, d.calls) -- it is closed
  end)

  it("is not possible where nothing can be read back, and says why", function()
    d = desk.new { accounts = { school = d.app.accounts.school,
      tickets = billhook.betterez { webhook = { secret = desk.SECRET } },
      apply = billhook.dreamapply { base_url = "https://apply.test",
        webhook = { authorization = desk.AUTHORIZATION } } } }
    for _, account in ipairs { "school", "tickets", "apply" } do
      local found, err = d.app:poll(account)
      assert.is_nil(found)
      assert.are.equal("invalid", err.kind)
      assert.matches("polling is not possible: billhook.%a+: 'api_key' is missing", tostring(err))
    end
    assert.is_true(d.app:tend())
    assert.are.equal(0, #d:logged "poll_failed")
  end)
end)

describe("app:poll", function()
  it("raises at its caller's line", function()
    for message, account in pairs {
      ["there is no account 'nobody'"] = "nobody", ["there is no account 'nil'"] = false,
    } do
      local ok, why = pcall(function() d.app:poll(account or nil) end)
      assert.is_false(ok)
      assert.is_truthy(why:find(message, 1, true), why)
      assert.is_truthy(why:find("^spec/poll_spec.lua:"), why)
    end
  end)
end)

describe("app:tend", function()
  it("polls every account that can be read each five minutes, once for all workers", function()
    d:put(1)
    d:settled()
    local other = d:another()
    for _ = 1, 60 do -- ten minutes
      d.now = d.now + 10
      assert(d.app:tend())
      assert(other:tend())
    end
    assert.are.equal(2 * 3, #lists())
  end)

  it("polls as often as the app says, or never", function()
    for every, polls in pairs { [60] = 10, [false] = 0 } do
      d = desk.new { poll_every = every }
      d:put(1)
      d:settled()
      for _ = 1, 60 do
        d.now = d.now + 10
        assert(d.app:tend())
      end
      assert.are.equal(3 * polls, #lists())
    end
  end)

  it("leaves an account alone whose API is only probed", function()
    d:settled()
    d.answer = function(_, account) return account == "apply" and { status = 401 } or nil end
    d.now = d.now + 300
    assert(d.app:tend())
    assert.are.equal(1, #d:logged "poll_failed")
    d.asked.apply = {}
    for _ = 1, 60 do
      d.now = d.now + 10
      assert(d.app:tend())
    end
    assert.are.equal(2, #d.asked.apply) -- the first request of each poll is a probe
  end)

  it("compares everything once a day", function()
    d = desk.new { poll_every = 86400 }
    d:put(1)
    d:settled()
    local whole = 0
    d.answer = function(request)
      if request.url:find "/invoices$" then whole = whole + 1 end
    end
    for _ = 1, 49 do
      d.now = d.now + 3600
      assert(d.app:tend())
    end
    assert.are.equal(2, whole)
  end)
end)

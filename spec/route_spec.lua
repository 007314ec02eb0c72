-- route_spec.lua: what becomes of a delivery.

local billhook = require "billhook"
local desk = require "spec.support.inbox"

local d
before_each(function() d = desk.new():listen() end)

local function reasons(account)
  local out = {}
  for i, one in ipairs(d.app.store:deliveries { account = account, after = 0 }) do
    out[i] = one.reason
  end
  return out
end

describe("news about an invoice that can be read back", function()
  it("has it read, however often it comes, and whatever it says", function()
    d:put(1)
    d:settled()
    d:pay(1)
    for id = 1, 30 do d:apply(desk.item(id, "Invoice was deleted: ?", 1)) end
    d:work()
    assert.are.equal(1, d.calls)
    assert.are.equal("invoice.updated 1@2, payment.created 1@2, invoice.paid 1@2", d:took())
    for _, state in ipairs(d:deliveries "apply") do assert.are.equal("done", state) end
  end)

  it("is unchanged where nothing has, and gone where there never was such an invoice", function()
    d:put(1)
    d:settled()
    d:news(1)
    d:news(77)
    d:pass(320, 10)
    assert.are.equal("", d:took())
    assert.are.same({ "unchanged", "gone" }, d:deliveries "apply")
    assert.are.same({}, d:states())
    assert.are.equal(0, d.app.store:stats().dead)
  end)

  it("that comes again is looked at again: a vendor's \"resend\" works", function()
    d:put(1)
    d:settled()
    d:apply(desk.item(7, nil, 1))
    d:pass(320, 10)
    assert.are.same({ "unchanged" }, d:deliveries "apply")
    d.api.apply["1"].items[1].price = "1.00"
    d:apply(desk.item(7, nil, 1))
    d:work()
    assert.are.same({ "done" }, d:deliveries "apply")
    assert.are.equal("invoice.updated 1@2", d:took())
  end)
end)

describe("news about an invoice that cannot be read back", function()
  it("is the event itself", function()
    d:school { type = "INVOICE_DELETED" }
    d:work()
    assert.are.equal("invoice.deleted 16", d:took())
    assert.are.same({ "done" }, d:deliveries "school")
    assert.are.equal("id", d.told[1].trust)
  end)

  it("is acted on eight times at most under one event id; further content is kept and told of",
    function()
      for amount = 1, 12 do d:school { data = ('{"id":16,"amount":%d}'):format(amount) } end
      d:work()
      assert.are.equal(8, #d.seen)
      local ids = {}
      for _, event in ipairs(d.told) do ids[event.id] = true end
      assert.is_true(ids["school:" .. desk.uuid(1)])
      local count = 0
      for _ in pairs(ids) do count = count + 1 end
      assert.are.equal(8, count)
      assert.are.equal("unhandled", d:deliveries("school")[12])
      assert.are.equal("further content under an event id that came eight times already",
        reasons("school")[12])
      assert.are.equal(1, #d:logged "too_many") -- once an event id; then it is counted
      assert.is_truthy(require("billhook.app.metrics").text(d.app)
        :find('deliveries_total{result="too_many",account="school"} 4', 1, true))
    end)

  it("reaches its rules, whoever was first with its id", function()
    d:school { type = "INVOICE_UPDATED", invoice = 99 } -- a captured signature, other news
    d:school { invoice = 16 }
    d:work()
    assert.are.equal("invoice.updated 99, invoice.created 16", d:took())
  end)

  it("is so where the account says that nothing is to be read back", function()
    d = desk.new { clients = { apply = { read_back = false } } }
    d:listen()
    d:news(5, "Invoice was created: ?")
    d:work()
    assert.are.equal("invoice.created 5", d:took())
    assert.are.equal("sender", d.told[1].trust)
    assert.are.equal(0, d.calls)
  end)
end)

describe("news about no invoice", function()
  it("is the event itself, with data where the proof covers it", function()
    d:school({ id = 1, type = "STUDENT_CREATED", data = '{"id":3}' }, "class")
    d:tickets { id = 2, event = "invoice_providers.created", data = '{"_id":"p"}' }
    d:apply(desk.item(3, "Offer was edited: ?"))
    d:work()
    table.sort(d.seen)
    assert.are.equal("invoice_provider.created -, offer.edited -, student.created -", d:took())
  end)

  it("that no rule is for is unhandled, and can be replayed once there is one", function()
    d = desk.new()
    d:apply(desk.item(3, "Offer was edited: ?"))
    d:work()
    assert.are.same({ "unhandled" }, d:deliveries "apply")
    assert.are.same({ "no rule is for this type" }, reasons "apply")
  end)

  it("never marks an invoice, though a payment or another thing has the same number", function()
    d:school({ type = "STUDENT_UPDATED", data = '{"id":16}' }, "class")
    d:work()
    assert.are.equal(0, d.calls)
  end)
end)

describe("an entry of DreamApply's about an invoice that it does not name", function()
  local function unlinked(id) d:apply(desk.item(id, "Invoice was created: ?")) end

  it("has everything compared, at most once an hour, and is no event", function()
    d = desk.new { poll_every = 86400 } -- polls would find it, too
    d:listen()
    d:put(1)
    d:settled()
    assert(d.app:tend())
    d.now = d.now + 60
    d:put(2)
    unlinked(1)
    d:work()
    assert.are.equal("", d:took())
    d.calls = 0
    assert(d.app:tend())
    d:work()
    assert.are.equal(1, d.calls)
    assert.are.equal("invoice.created 2@1", d:took())
    d:put(3)
    d.now = d.now + 60
    for id = 2, 50 do unlinked(id) end
    d:work()
    d.calls = 0
    assert(d.app:tend())
    assert.are.equal(0, d.calls)
    d.now = d.now + 3600
    assert(d.app:tend())
    assert.are.equal(1, d.calls)
    d:work()
    assert.are.equal("invoice.created 3@1", d:took())
    assert.are.same("done", d:deliveries("apply")[1])
  end)
end)

describe("news about an invoice that it does not name, where states are what is told", function()
  it("is a dead letter, and never an event that only states make", function()
    for i, type in ipairs { "INVOICE_CREATED", "INVOICE_DELETED", "INVOICE_PAID",
      "PAYMENT_CREATED", "PAYMENT_DELETED" } do
      d:school({ id = i, type = type, data = '{"id":"x","amount":5}' }, "class")
    end
    d:tickets { id = 1, event = "invoices.updated", data = '{"number":"7"}' }
    d:work()
    assert.are.equal("", d:took())
    assert.are.same({ "dead", "dead", "dead", "dead", "dead" }, d:deliveries "class")
    assert.are.same({ "dead" }, d:deliveries "tickets")
    assert.are.same({ "it does not say which invoice" }, reasons "tickets")
    assert.are.equal(6, d.app.store:stats().dead)
  end)

  it("has everything compared at DreamApply, a payment's news as well", function()
    d:apply(desk.item(1, "Payment was deleted: ?"))
    d:work()
    assert.are.equal("", d:took())
    assert.are.same({ "done" }, d:deliveries "apply")
  end)
end)

describe("what proves itself (Betterez)", function()
  local function send(id, number, at, event)
    d:tickets { id = id, event = event or "invoices.updated", data =
      ('{"_id":"%s","number":"%s","updatedAt":{"value":"%s"}}'):format(desk.TICKET, number, at) }
  end

  it("is the new state at once, without a read", function()
    d:tickets { data = ('{"_id":"%s","number":"7","createdAt":{"value":"2026-01-01T00:00:00Z"}}')
      :format(desk.TICKET) }
    d:work()
    assert.are.equal(("invoice.created %s@1"):format(desk.TICKET), d:took())
    assert.are.equal("body", d.told[1].trust)
    assert.are.equal("7", d.told[1].data.number)
    assert.are.equal(0, d.calls)
  end)

  it("is no news where it is older, and is where it is as old and says something else", function()
    send(1, "7", "2023-11-14T10:00:00Z")
    send(2, "8", "2023-11-14T12:00:00Z")
    send(3, "9", "2023-11-14T11:00:00Z")
    send(4, "10", "2023-11-14T12:00:00Z")
    d:work()
    local numbers = {}
    for i, event in ipairs(d.told) do numbers[i] = event.data.number end
    assert.are.same({ "7", "8", "10" }, numbers)
    assert.are.same({ "done", "done", "unchanged", "done" }, d:deliveries "tickets")
  end)

  it("keeps its order where another worker has routed a part of it meanwhile", function()
    local other = "616d7cf38fedff37e4492999"
    d:tickets { id = 1, event = "invoices.updated", data = ('{"_id":"%s"}'):format(other) }
    for number = 1, 3 do
      d:tickets { id = 1 + number, event = "invoices.updated",
        data = ('{"_id":"%s","number":"%d"}'):format(desk.TICKET, number) }
    end
    local store = d.app.store
    local look, at_it = store.look, true
    function store.look(self, account, ids)
      local seen = look(self, account, ids)
      if at_it then -- the first is routed by somebody else, once this one has begun
        at_it = false
        local first = assert(store:incoming("tickets", 1))[1]
        local route = { { seq = first.seq, state = "done" } }
        assert(store:apply { { account = "tickets", route = route } })
      end
      return seen
    end
    d:work()
    store.look = look
    d:work()
    local numbers = {}
    for i, event in ipairs(d.told) do numbers[i] = event.data.number end
    assert.are.same({ "1", "2", "3" }, numbers)
  end)

  it("of a moment that has not come yet does not make old what comes after it", function()
    send(1, "7", "2023-11-14T10:00:00Z")
    send(2, "8", "9999-12-31T23:59:59Z")
    send(3, "9", "2023-11-14T11:00:00Z")
    d:work()
    send(4, "10", "2023-11-14T12:00:00Z")
    send(5, "11", "2023-11-14T11:59:00Z") -- older than what is known
    d:work()
    local numbers = {}
    for i, event in ipairs(d.told) do numbers[i] = event.data.number end
    assert.are.same({ "7", "8", "9", "10" }, numbers)
  end)

  it("is taken in its order, all of it in one round", function()
    for i = 1, 40 do send(i, tostring(i), ("2023-11-14T12:00:%02dZ"):format(i)) end
    d.app:work()
    assert.are.equal(40, #d.told)
    for i, event in ipairs(d.told) do assert.are.equal(i, event.version) end
  end)

  it("that says it is deleted is looked at", function()
    send(1, "7", "2023-11-14T10:00:00Z")
    d:tickets { id = 2, event = "invoices.deleted" }
    d:work()
    assert.are.equal(1, d.calls)
  end)
end)

describe("a test event", function()
  it("never touches an invoice, and is no event", function()
    d:tickets { live = false }
    d:work()
    assert.are.equal("", d:took())
    assert.are.same({ "unhandled" }, d:deliveries "tickets")
    assert.are.same({ "a test event: the account's option 'test_events' is not set" },
      reasons "tickets")
    assert.is_false(d:row(desk.TICKET, "tickets").known)
  end)

  it("is an event where the account says so, and still touches no invoice", function()
    d = desk.new { accounts = { tickets = billhook.betterez {
      webhook = { secret = desk.SECRET }, test_events = true } } }
    d:listen()
    d:tickets { live = false }
    d:work()
    assert.are.equal(("invoice.created %s"):format(desk.TICKET), d:took())
    assert.is_false(d.told[1].live)
    assert.is_false(d:row(desk.TICKET, "tickets").known)
    d:tickets { id = 2 }
    d:work()
    assert.are.equal(1, d:row(desk.TICKET, "tickets").version)
  end)
end)

describe("an account that cannot be read back any more", function()
  it("has the news that waited for a read as events, once", function()
    d:put(1)
    d:settled()
    d:news(1)
    d:news(1)
    d:news(77)
    d:work() -- read once, to be read again: the API may lag
    assert.are.same({ "pending", "pending", "pending" }, d:deliveries "apply")
    local after = desk.new({ clients = { apply = { read_back = false } } }):listen()
    after.app:use_store(d.app:open())
    for _ = 1, 4 do
      d.now = d.now + 100
      after.now = d.now
      after:work()
    end
    assert.are.same({ "done", "done", "done" }, d:deliveries "apply")
    assert.are.equal("invoice.updated 1, invoice.updated 1, invoice.updated 77", after:took())
    assert.are.equal("sender", after.told[1].trust)
    assert.is_nil(after.told[1].data)
    assert.are.equal("Invoice was edited: ?", after.told[1].claims.event)
    assert.is_nil(d:row(1).check_due)
    assert.are.equal(0, after.calls)
  end)
end)

describe("ids of DreamClass", function()
  it("are one invoice, however they are spelt", function()
    for i, spelt in ipairs { "16", "16.0", '"16"', '"16.00"' } do
      d:school({ id = i, data = ('{"id":%s}'):format(spelt) }, "class")
    end
    d:work()
    assert.are.equal(1, d.calls)
    assert.are.equal("16", d:row(16, "class").invoice)
    assert.are.equal(0, d.app.store:stats().dead)
  end)
end)

describe("what is authentic and cannot be acted on", function()
  it("is a dead letter with its reason, which a person is told once", function()
    local told = {}
    d.app:on_dead(function(event, why) told[#told + 1] = { event, why } end)
    d:apply("[7]")
    d:work()
    d:work()
    assert.are.same({ "dead" }, d:deliveries "apply")
    assert.are.equal("is not an object", reasons("apply")[1])
    assert.are.equal(1, #told)
    assert.are.equal("is not an object", told[1][2])
    assert.are.equal(7, told[1][1].claims)
    assert.is_nil(told[1][1].data)
    assert.are.equal(1, d.app.store:stats().dead)
    -- it is an event as rules get one
    assert.are.equal("event apply:" .. told[1][1].id:match ":(.*)" .. " (unknown)",
      tostring(told[1][1]))
    assert.are.equal("7", told[1][1]:deliveries()[1].body)
    local _, err = told[1][1]:invoice()
    assert.are.equal("no_invoice", err.code)
  end)

  it("is told of for each, under the same event id too", function()
    local told = 0
    d.app:on_dead(function() told = told + 1 end)
    d:apply '[{"id":5,"event":7}]'
    d:apply '[{"id":5,"event":8}]'
    d:work()
    assert.are.equal(2, told)
  end)
end)

describe("a forger", function()
  -- How many rounds of work, a second apart, until true news has been told, of an invoice that he
  -- names and of one that he does not; it comes amid so many deliveries within half an hour.
  local function rounds_to_find(forged)
    d = desk.new()
    d:listen()
    for id = 1, 100 do d:put(id) end
    d:settled()
    local sent = 0
    local function forge(many)
      for _ = 1, many do
        sent = sent + 1
        d:apply(desk.item(100000 + sent, "Invoice was deleted: ?", sent % 100 + 1))
      end
    end
    for _ = 1, forged / 50 do
      forge(50)
      d.now = d.now + 9
      d.app:work()
    end
    assert.are.equal("", d:took())
    assert.is_true(d.calls <= 100 * 40, d.calls) -- half an hour, at most each minute, and some
    d:put(101)
    d:news(101)
    d.api.apply["7"].items[1].price = "1.00"
    d:news(7)
    local found, rounds = {}, 0
    repeat
      rounds = rounds + 1
      if forged > 0 then forge(5) end
      d.app:work()
      d.now = d.now + 1
      for _, one in ipairs(d.seen) do found[one] = found[one] or rounds end
    until #d.seen == 2 or rounds == 600
    return found["invoice.created 101@1"], found["invoice.updated 7@2"]
  end

  it("makes no event and costs some reads an invoice; true news is found as fast as without #once",
    function()
      assert.are.same({ 1, 1 }, { rounds_to_find(0) })
      local other, named = rounds_to_find(10000)
      assert.are.equal(1, other)
      assert.is_true(named <= 60, named) -- what he names is read each minute, not each second
    end)

  it("costs reads by schedule: 1,000 deliveries about 100 changed invoices, 100 reads", function()
    d = desk.new()
    d:listen()
    for id = 1, 100 do d:put(id) end
    d:settled()
    for id = 1, 100 do d.api.apply[tostring(id)].items[1].price = "1.00" end
    for n = 1, 10 do
      for id = 1, 100 do d:apply(desk.item(n * 1000 + id, "Invoice was edited: ?", id)) end
    end
    d:work()
    assert.are.equal(100, #d.seen)
    assert.is_true(d.calls <= 100, d.calls)
    d:pass(700, 10)
    assert.is_true(d.calls <= 100, d.calls)
    for _, state in ipairs(d:deliveries "apply") do assert.are.equal("done", state) end
  end)
end)

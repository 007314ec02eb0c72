-- readback_spec.lua: invoices are read back: when, how often, and whose fault it is if that fails.

local desk = require "spec.support.inbox"

local d
before_each(function()
  d = desk.new():listen()
end)

-- the seconds after `began` at which the API of `apply` was asked for an invoice
local function asked_at(id, began, seconds)
  local times = {}
  local last = d.answer
  d.answer = function(request, account)
    if request.url:find("/invoices/" .. id .. "$") then times[#times + 1] = d.now - began end
    return last and last(request, account)
  end
  d:work()
  d:pass(seconds, 1)
  d.answer = last
  return times
end

local function down(status)
  return function(_, account) return account == "apply" and { status = status } or nil end
end

describe("news #both", function()
  it("is looked at after 2, 10, 60 and 300 s while the API lags behind its own webhook", function()
    d:put(1)
    d:settled()
    d:news(1)
    assert.are.same({ 0, 2, 10, 60, 300 }, asked_at(1, d.now, 700))
    assert.are.same({ "unchanged" }, d:deliveries "apply")
  end)

  it("about an id that nobody knows is looked at as often, and is no alarm", function()
    d:put(1)
    d:settled()
    d:news(2)
    assert.are.same({ 0, 2, 10, 60, 300 }, asked_at(2, d.now, 700))
    assert.are.same({ "gone" }, d:deliveries "apply")
    assert.are.equal("", d:took())
  end)

  it("that the API shows late is found then, and looked at no more", function()
    d:put(1)
    d:settled()
    d:news(1)
    local began = d.now
    d.answer = function()
      if d.now - began >= 8 then d.api.apply["1"].items[1].price = "1.00" end
    end
    assert.are.same({ 0, 2, 10 }, asked_at(1, began, 700))
    assert.are.equal("invoice.updated 1@2", d:took())
    assert.are.same({ "done" }, d:deliveries "apply")
  end)

  it("of an invoice that was created and deleted before it was read is gone", function()
    d:put(1)
    d:settled()
    d:news(2, "Invoice was created: ?")
    d:news(2, "Invoice was deleted: ?")
    d:pass(310, 1)
    assert.are.equal("", d:took())
    assert.are.same({ "gone", "gone" }, d:deliveries "apply")
    assert.are.equal(0, d.app.store:stats().dead)
  end)

  it("where no list shows open invoices has one more read, 300 s after the newest", function()
    d.api.class["16"].createdAt = "2023-11-15T00:00:00Z"
    d:school({}, "class")
    d:work()
    assert.are.equal("invoice.created 16@1", d:took())
    d:pass(299, 1)
    assert.are.equal(1, d.calls)
    d:pass(2, 1)
    assert.are.equal(2, d.calls)
  end)

  it("settles nothing that came after its read began", function()
    d:put(1)
    d:settled()
    local sent
    d.answer = function()
      if sent then return end
      sent = true
      d.now = d.now + 1
      d:news(1) -- while the read is under way
      d:another():work()
    end
    d:news(1)
    d.api.apply["1"].items[1].price = "1.00"
    d.app:work()
    assert.are.same({ "done", "pending" }, d:deliveries "apply")
  end)
end)

describe("a slow read #both", function()
  it("never overwrites a newer one: a list that crosses a change", function()
    d:put(1)
    d:settled()
    local crossed
    d.answer = function(request)
      if crossed or not request.url:find "/invoices$" then return end
      crossed = true
      local old = require("billhook.json").encode(d.api.apply)
      d:pay(1)
      d:news(1)
      d:another():work() -- another worker reads the payment
      return { status = 200, headers = { ["content-type"] = "application/json" }, body = old }
    end
    d.now = d.now + 300
    assert(d.app:reconcile "apply")
    d:work()
    d:pass(400, 5)
    assert.are.equal("paid", d:row(1).status)
    assert.are.equal(2, d:row(1).version)
  end)
end)

describe("known invoices #both", function()
  it("are read before ids that nobody has ever seen", function()
    d:put(500)
    d:settled()
    for id = 1, 20 do d:news(id) end
    d:news(500)
    d.asked.apply = {}
    d:work()
    assert.is_truthy(d.asked.apply[1]:find "/500$")
  end)

  it("give way to such ids now and then: a flood of one does not starve the other", function()
    for id = 1, 60 do d:put(id) end
    d:settled()
    for id = 1, 60 do d:news(id) end
    for id = 1001, 1020 do d:news(id) end
    d:work()
    local first, last
    for i, url in ipairs(d.asked.apply) do
      local unknown = tonumber(url:match "%d+$") > 1000
      first, last = first or unknown and i or nil, not unknown and i or last
    end
    assert.is_true(first > 8 and first <= 32) -- after some claims of known ones
    assert.is_true(last > first + 8) -- and others after it
    assert.are.equal(80, #d.asked.apply)
  end)
end)

describe("above a hundred due checks #both", function()
  it("one list comes first, and what it does not hold is read singly", function()
    for id = 1, 150 do d:put(id) end
    d:settled()
    for id = 1, 150 do
      d:pay(id)
      d:news(id)
    end
    d:remove(7)
    d:work()
    assert.is_truthy(d.asked.apply[1]:find "/invoices$")
    assert.are.equal(149 * 3, #d.seen)
    assert.are.equal(2, d.calls) -- the list, and number 7
  end)
end)

describe("an account whose API fails", function()
  local function fail_at_all(status)
    for id = 1, 20 do d:put(id) end
    d:settled()
    d.answer = down(status)
    for id = 1, 20 do
      d:pay(id)
      d:news(id)
    end
    d:pass(60, 1)
    d.calls, d.asked.apply = 0, {}
  end

  for _, status in ipairs { 401, 403, 429, 503 } do
    -- an hour each: all on 5.4, one on LuaJIT
    it(("with %d is probed once a minute, with one alarm and no attempts counted%s"):format(status,
      status == 429 and " #both" or ""),
      function()
        fail_at_all(status)
        d:pass(3600, 1)
        assert.is_true(d.calls >= 59 and d.calls <= 61, d.calls)
        assert.are.equal(1, #d:logged "account_paused")
        assert.are.equal("error", d:logged("account_paused")[1].level)
        for id = 1, 20 do assert.are.equal(0, d:row(id).faults) end
        assert.are.equal(0, #d:logged "check_failed")
        d.answer = nil
        d:pass(61, 1)
        assert.are.equal(60, #d.seen)
        assert.are.equal(1, #d:logged "account_resumed")
        assert.are.equal(0, d.app.store:stats().dead)
      end)
  end

  it("comes back though the invoice that it is probed with was deleted meanwhile #both", function()
    fail_at_all(401)
    for id = 11, 20 do d:remove(id) end
    d.answer = nil
    d:pass(3 * 60, 1)
    assert.is_nil(d:memory().fault)
  end)

  it("does not hold up another account #both", function()
    fail_at_all(503)
    d.api.class["16"].createdAt = "2023-11-15T00:00:00Z"
    d:school({}, "class")
    d:work()
    assert.are.equal("invoice.created 16@1", d:took())
  end)

  it("with 404 on a path that never answered is one, too: nothing is gone #both", function()
    for id = 1, 4 do d:news(id) end
    d:pass(120, 1)
    assert.are.same({ "pending", "pending", "pending", "pending" }, d:deliveries "apply")
    assert.are.equal(1, #d:logged "account_paused")
  end)

  it("with 404 for all that it has shown tells of no deletion #both", function()
    fail_at_all(404)
    d:pass(7200, 10)
    assert.are.equal("", d:took())
    assert.are.equal(1, #d:logged "account_paused")
    assert.is_truthy(d:logged("account_paused")[1].fields.message:find("another address or school",
      1, true))
    d.answer = nil
    d:pass(600, 5)
    assert.are.equal(60, #d.seen)
  end)
end)

describe("an account that has one invoice #both", function()
  it("is asked for it once a minute while its API denies all, not once for each try", function()
    d:put(1)
    d:settled()
    d.answer = function() return { status = 404 } end
    d:news(1)
    d:pass(300, 10)
    assert.is_string(d:memory().fault)
    d.calls = 0
    d:pass(600, 1)
    assert.is_true(d.calls >= 9 and d.calls <= 11, d.calls)
  end)

  it("tells of no deletion while its lists fail as well, and of one where they answer", function()
    d:put(1)
    d:settled()
    assert(d.app:poll "apply")
    d.answer = function() return { status = 404 } end
    d:news(1)
    d:pass(900, 10)
    assert.are.equal("", d:took())
    assert.are.equal(1, #d:logged "account_paused")
    d.answer = nil
    d.api.apply["1"] = nil
    d:pass(120, 10)
    assert(d.app:poll "apply") -- its lists show that it is well again
    d:news(1)
    d:pass(900, 10)
    assert.are.equal("invoice.deleted 1@2", d:took())
  end)
end)

describe("one invoice that cannot be read #both", function()
  local function ill(id)
    for n = 1, 3 do d:put(n) end
    d:settled()
    d.answer = function(request)
      return request.url:find("/invoices/" .. id .. "$") and { status = 500 } or nil
    end
    d:news(id)
  end

  it("backs off, and becomes a dead letter that a person is told of; others go on", function()
    local told = {}
    d.app:on_dead(function(event, why) told[#told + 1] = { event.invoice_id, why } end)
    ill(2)
    d:pass(60, 1)
    d:pay(3)
    d:news(3)
    d:work()
    assert.are.equal("invoice.updated 3@2, payment.created 3@2, invoice.paid 3@2", d:took())
    d:pass(6 * 3600, 30)
    assert.are.equal(0, #d:logged "account_paused")
    assert.are.equal(7, #d:logged "check_failed")
    assert.are.equal(1, #d:logged "check_dead")
    assert.are.equal(1, #told)
    assert.are.equal("2", told[1][1])
    assert.is_truthy(told[1][2]:find("it could not be read back: server", 1, true))
    assert.are.equal("dead", d:deliveries("apply")[1])
    d.calls = 0
    d:pass(3600, 30)
    assert.are.equal(0, d.calls)
  end)

  for what, send in pairs {
    news = function() d:news(2) end,
    ["the same news, sent again"] = function()
      d:apply(desk.item(1, "Invoice was edited: ?", 2))
    end,
  } do
    it("is revived by " .. what, function()
      ill(2)
      d:pass(6 * 3600, 30)
      assert.are.equal("dead", d:deliveries("apply")[1])
      d.answer = nil
      d:pay(2)
      send()
      d:work()
      assert.are.equal("invoice.updated 2@2, payment.created 2@2, invoice.paid 2@2", d:took())
      assert.are.equal(0, d:row(2).faults)
      assert.are.equal(what == "news" and "dead" or "done", d:deliveries("apply")[1])
    end)
  end
end)

describe("a deletion #both", function()
  local function delete(ids)
    for _, id in ipairs(ids) do
      d:remove(id)
      d:news(id, "Invoice was deleted: ?")
    end
  end

  it("is not told where all were missing until between its read and that of another", function()
    for id = 1, 3 do d:put(id) end
    d:settled()
    local looks, read = 0, false
    local gone = { status = 404, headers = {}, body = "" }
    d.answer = function(request)
      local id = request.url:match "/invoices/(%d+)$"
      if not id or read then return nil end
      if id == "2" then looks = looks + 1 end
      read = id ~= "2" and looks == 2 -- from here on it is well
      return not read and gone or nil
    end
    d:news(2)
    d:pass(600, 5)
    assert.is_true(read)
    assert.are.equal("", d:took())
    assert.is_nil(d:row(2).absent_at)
  end)

  it("is not told while the last of its reads fails", function()
    for id = 1, 3 do d:put(id) end
    d:settled()
    delete { 2 }
    local looks = 0
    d.answer = function(request)
      if not request.url:find "/invoices/2$" then return nil end
      looks = looks + 1
      return looks == 3 and { status = 500, headers = {}, body = "" } or nil
    end
    d:work()
    d:pass(60, 60)
    assert.are.equal(3, looks)
    assert.are.equal("", d:took())
    d:pass(40, 5)
    assert.are.equal("invoice.deleted 2@2", d:took())
    assert.is_true(looks <= 6)
  end)

  it("is told after two looks, a minute apart, a read of another one, and a last look", function()
    for id = 1, 3 do d:put(id) end
    d:settled()
    delete { 2 }
    local began, others = d.now, 0
    d.answer = function(request)
      if request.url:find "/invoices/[13]$" then others = others + 1 end
    end
    assert.are.same({ 0, 60, 60 }, asked_at(2, began, 600))
    assert.are.equal(1, others)
    assert.are.equal("invoice.deleted 2@2", d:took())
    assert.are.same({ "done" }, d:deliveries "apply")
  end)

  it("of several at once is told of each", function()
    for id = 1, 8 do d:put(id) end
    d:settled()
    delete { 8, 7, 6, 5 }
    d:pass(400, 1)
    table.sort(d.seen)
    assert.are.equal("invoice.deleted 5@2, invoice.deleted 6@2, invoice.deleted 7@2, "
      .. "invoice.deleted 8@2", d:took())
    assert.are.equal(0, #d:logged "account_paused")
  end)

  it("is not told of an invoice that comes back between two looks", function()
    for id = 1, 3 do d:put(id) end
    d:settled()
    local kept = d.api.apply["2"]
    delete { 2 }
    d:work()
    d.api.apply["2"] = kept
    d:pass(600, 5)
    assert.are.equal("", d:took())
  end)

  it("of too many in a day waits for a person", function()
    for id = 1, 40 do d:put(id) end
    d:settled()
    local ids = {}
    for id = 1, 20 do ids[id] = id end
    delete(ids)
    d:pass(4000, 10)
    assert.are.equal(10, #d.seen)
    assert.is_true(#d:logged "braked" > 0)
    assert.is_truthy(d:logged("braked")[1].fields.message:find("billhook inbox rebase apply", 1,
      true))
    require("billhook.app.account").rebase(d.app.store, "apply", d.app.accounts.apply)
    d:pass(4000, 10)
    assert.are.equal(20, #d.seen)
  end)

  it("is not told of what lives, also in a day for which a person has let many pass", function()
    for id = 1, 30 do d:put(id) end
    d:settled()
    require("billhook.app.account").rebase(d.app.store, "apply", d.app.accounts.apply)
    d.app:poll "apply" -- its invoices have been seen since
    d.answer = function() return { status = 404, headers = {}, body = "" } end
    for id = 1, 30 do d:news(id) end
    d:pass(3600, 30)
    assert.are.equal("", d:took())
    assert.are.equal(1, #d:logged "account_paused")
  end)
end)

describe("an account whose address or school has changed #both", function()
  it("is not believed until a person says so", function()
    d:put(1)
    d:settled()
    local billhook = require "billhook"
    local moved = require("billhook.transport.fake").new(function()
      d.calls = d.calls + 1
      return { status = 404 }
    end)
    local client = billhook.dreamapply { base_url = "https://other.test", api_key = "k",
      transport = moved, clock = function() return d.now end, attempts = 1,
      webhook = { authorization = desk.AUTHORIZATION } }
    local app = d:another { accounts = { apply = client } }
    app:on("*", { name = "listen" }, function(event) d.seen[#d.seen + 1] = event.type end)
    d.app = app
    d:news(1)
    d.calls = 0
    d:pass(600, 10)
    assert.are.equal(0, d.calls)
    local found, err = app:poll "apply"
    assert.is_nil(found)
    assert.are.equal("conflict", err.kind)
    assert.is_truthy(tostring(err):find("billhook inbox rebase apply", 1, true))
    found, err = app:reconcile "apply"
    assert.is_nil(found)
    assert.are.equal("conflict", err.kind)
    assert.are.equal("", d:took())
    assert.are.equal(1, #d:logged "account_moved")
    require("billhook.app.account").rebase(app.store, "apply", client)
    d:pass(60, 10)
    assert.is_true(d.calls > 0)
  end)

  it("is told by its school's code, too", function()
    local accounts = require "billhook.app.account"
    local billhook = require "billhook"
    local function class(code)
      return billhook.dreamclass { tenant = "t", api_key = "k", school_code = code,
        paths = { ["invoices.get"] = "/i/{id}" }, webhook = { secret = "a secret" } }
    end
    assert.are.equal(accounts.origin(class "1"), accounts.origin(class "1"))
    assert.are_not.equal(accounts.origin(class "1"), accounts.origin(class "2"))
  end)
end)

describe("an account that was paused #both", function()
  it("comes back by itself though nothing is due for it", function()
    d:put(1)
    d:settled()
    d.answer = down(503)
    for _ = 1, 3 do
      d.now = d.now + 300
      d.app:poll "apply"
    end
    assert.is_truthy(d:memory().fault)
    d.answer = nil
    d:pass(61, 1)
    assert.is_nil(d:memory().fault)
  end)

  it("comes back by a poll where no invoice is known", function()
    d:settled()
    d.answer = down(401)
    d.now = d.now + 300
    d.app:poll "apply"
    assert.is_truthy(d:memory().fault)
    d.answer = nil
    d.now = d.now + 300
    assert(d.app:tend())
    assert.is_nil(d:memory().fault)
  end)
end)

describe("a clock that was days ahead, and is set back #both", function()
  local AHEAD = 5 * 86400

  local function settled()
    for id = 1, 3 do d:put(id) end
    d:settled()
  end

  -- what `fn` does is done by the wrong clock
  local function ahead(fn)
    d.now = d.now + AHEAD
    d:work()
    fn()
    d.now = d.now - AHEAD
  end

  it("does not hold up news, whether it came before or meanwhile", function()
    settled()
    d:news(1)
    d:work()
    ahead(function()
      d:news(2)
      d:work()
    end)
    assert.are.same({ 2, 10, 60, 300 }, asked_at(2, d.now, 700))
    assert.are.same({ "unchanged", "unchanged" }, d:deliveries "apply")
    assert.are.equal("", d:took())
  end)

  it("does not hold up news about an invoice whose reads have found nothing for long", function()
    settled()
    ahead(function()
      for _ = 1, 8 do
        d:news(1)
        d:work()
        d:pass(30, 10)
      end
    end)
    d.now = d.now - 240
    d.api.apply["1"].items[1].price = "1.00"
    d:news(1)
    d:pass(61, 1)
    assert.are.equal("invoice.updated 1@2", d:took())
  end)

  it("does not hold up a deletion", function()
    settled()
    d:remove(2)
    ahead(function()
      d:news(2)
      d:work()
    end)
    d:pass(62, 1)
    assert.are.equal("invoice.deleted 2@2", d:took())
  end)

  it("does not keep a paused account paused", function()
    settled()
    ahead(function()
      d.answer = down(401)
      d:news(1)
      d:work()
      d.answer = nil
    end)
    assert.is_truthy(d:memory().fault)
    d:work()
    assert.is_nil(d:memory().fault)
  end)

  it("is not to be seen in a pause that another worker notes meanwhile", function()
    settled()
    local mine = require("billhook.app.account").load(d.app, d.app:open()).apply
    local now = d.now * 1000
    d.now = d.now + 30
    mine:failed("no", true)
    assert.is_false(mine:may_ask(now)) -- a round that has begun before
    assert.is_false(mine:may_ask(now + 89000))
    assert.are.equal("probe", mine:may_ask(now + 90000))
    assert.are.equal("probe", mine:may_ask(now - AHEAD * 1000))
  end)

  it("holds up no poll, comparison or look at what is overdue", function()
    d = desk.new({ overdue = { 0 } }):listen()
    settled()
    assert(d.app:tend())
    ahead(function() assert(d.app:tend()) end)
    d.now, d.asked.apply = d.now + 2, {}
    assert(d.app:tend())
    assert.are.equal(4, #d.asked.apply) -- a poll, and all of it compared
    d.api.apply["1"].deadline = os.date("%Y-%m-%d", d.now + 86400)
    d.now = d.now + 300
    assert(d.app:tend())
    d.now = d.now + 86400
    d:pass(62, 10)
    assert.is_truthy(d:took():find("invoice.overdue 1@2", 1, true))
  end)

  it("ends what a person has allowed for a day", function()
    settled()
    ahead(function()
      require("billhook.app.account").rebase(d.app:open(), "apply", d.app.accounts.apply)
    end)
    local accounts = require "billhook.app.account"
    local mine = accounts.load(d.app, d.app:open()).apply
    assert.is_truthy(d:memory().brake_off)
    assert.is_false(mine:brake_is_off(math.floor(d.now * 1000)))
  end)
end)

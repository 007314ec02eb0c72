-- event_spec.lua: what a rule is given, and what its steps do.

local billhook = require "billhook"
local desk = require "spec.support.inbox"
local errors = require "billhook.error"

local d
before_each(function() d = desk.new() end)

-- runs `fn` as a rule with one event and gives what it returned; its failure is raised
local function with(deliver, options, fn)
  local ok, value
  d.app:on("*", options, function(event)
    ok, value = pcall(fn, event)
    if not ok then error(value, 0) end
  end)
  deliver()
  d:work()
  return ok, value
end

local function school() d:school() end

describe("an event of news that nobody can vouch for", function()
  it("has what is known of the delivery", function()
    local ok, why = with(function() d:school { timestamp = d.now - 5 } end, {}, function(event)
      assert.are.equal("school:" .. desk.uuid(1), event.id)
      assert.are.equal("school", event.account)
      assert.are.equal("dreamclass", event.vendor)
      assert.are.equal("my-school", event.tenant)
      assert.are.equal("invoice.created", event.type)
      assert.are.equal("INVOICE_CREATED", event.native)
      assert.are.equal("16", event.invoice_id)
      assert.is_nil(event.version)
      assert.is_true(event.live)
      assert.is_true(event.latest)
      assert.are.equal(d.now - 5, event.occurred_at)
      assert.are.equal(d.now, event.received_at)
      assert.are.equal(1, event.attempt)
      assert.are.equal("id", event.trust)
      assert.is_nil(event.after_failure)
      assert.are.same({}, event.changes)
      assert.are.equal("event " .. event.id .. " (invoice.created)", tostring(event))
      event.ran = true
    end)
    assert.is_true(ok, why)
    assert.are.equal(0, d.app.store:stats().pending)
    assert.are.equal("done", select(2, next(d:states())))
  end)

  it("has claims, and no data that one could believe by accident", function()
    local ok, why = with(school, {}, function(event)
      assert.is_nil(event.data)
      assert.is_nil(event.previous)
      assert.are.equal(300, event.claims.amount)
      assert.is_nil(require("billhook.invoice").vendor(event.claims))
    end)
    assert.is_true(ok, why)
    d = desk.new()
    ok, why = with(function() d:apply(desk.item(1, "Offer was edited: ?")) end, {},
      function(event)
        assert.are.equal("sender", event.trust)
        assert.is_nil(event.data)
        assert.are.equal("Offer was edited: ?", event.claims.event)
      end)
    assert.is_true(ok, why)
  end)

  it("has data where the body is proven", function()
    local ok, why = with(function()
      d:tickets { event = "invoice_providers.updated", data = '{"_id":"p","n":7}' }
    end, {}, function(event)
      assert.are.equal("body", event.trust)
      assert.are.equal(7, event.data.n)
      assert.is_nil(event.claims)
    end)
    assert.is_true(ok, why)
  end)
end)

describe("an event of a state", function()
  local function seen_of(fn)
    local list = {}
    d.app:on("apply:*", function(event) list[#list + 1] = event end)
    d:put(1)
    d:settled()
    fn()
    return list
  end

  it("has the invoice as it was then, what it was before, and what has changed", function()
    local list = seen_of(function()
      d:pay(1, "5.00")
      d.api.apply["1"].items[1].price = "30.00"
      d:news(1)
      d:work()
    end)
    local updated, payment = list[1], list[2]
    assert.are.equal("api", updated.trust)
    assert.is_truthy(updated.id:find "^apply:1@2%.%x+%.updated$")
    assert.are.equal(2, updated.version)
    assert.are.equal("1", updated.invoice_id)
    assert.are.equal("invoice.updated", updated.native)
    assert.are.equal(d.now, updated.occurred_at)
    local invoices = billhook.invoice
    assert.are.equal("30.00", tostring(invoices.total(updated.data)))
    assert.are.equal("20.00", tostring(invoices.total(updated.previous)))
    assert.are.equal(updated.data, updated.data)
    assert.is_nil(updated.claims)
    local names = {}
    for name in pairs(updated.changes) do names[#names + 1] = name end
    table.sort(names)
    assert.are.same({ "collections", "items" }, names)
    assert.are.equal("20.00", updated.changes.items.from[1].price)
    assert.are.equal("30.00", updated.changes.items.to[1].price)
    assert.is_truthy(payment.id:find "^apply:1@2%.%x+%.payment%.created%.1$")
    assert.are.equal("5.00", payment.data.amount)
    assert.is_nil(payment.previous)
    assert.are.same({}, payment.changes)
  end)

  it("has changes of a payment's own members", function()
    local list = seen_of(function()
      d:pay(1, "5.00")
      d:news(1)
      d:work()
      d.api.apply["1"].collections["1"].amount = "6.00"
      d:news(1)
      d:work()
    end)
    assert.are.equal("payment.updated", list[4].type)
    assert.are.same({ amount = { from = "5.00", to = "6.00" } }, list[4].changes)
  end)

  it("has changes of members that the account watches", function()
    d = desk.new { clients = { apply = { watch = { "reminded" } } } }
    local list = seen_of(function()
      d.api.apply["1"].reminded = "2023-11-15T10:00:00+00:00"
      d:news(1)
      d:work()
    end)
    assert.are.same({ reminded = { to = "2023-11-15T10:00:00+00:00" } }, list[1].changes)
  end)

  it("of a deletion has no data, and what was", function()
    local list = seen_of(function()
      d:put(2)
      d:news(2)
      d:work()
      d:remove(2)
      d:news(2)
      d:pass(130, 1)
    end)
    assert.are.equal("invoice.deleted", list[2].type)
    assert.is_nil(list[2].data)
    assert.are.equal("20.00", tostring(billhook.invoice.total(list[2].previous)))
  end)

  it("says whether it is the latest, also when it is replayed, with the data of then", function()
    local latest, prices = {}, {}
    d.app:on("invoice.updated", function(event)
      latest[#latest + 1], prices[#prices + 1] = event.latest, event.data.items[1].price
    end)
    d:put(1)
    d:settled()
    for _, price in ipairs { "1.00", "2.00" } do
      d.api.apply["1"].items[1].price = price
      d:news(1)
      d:work()
    end
    assert.are.same({ true, true }, latest)
    assert.are.equal(2, d.app.store:replay { type = "invoice.updated" })
    d:work()
    assert.are.same({ true, true, false, true }, latest)
    assert.are.same({ "1.00", "2.00", "1.00", "2.00" }, prices)
  end)
end)

describe("an event", function()
  it("is another one for each rule: none can spoil it for the next", function()
    d.app:on("*", { name = "spoils" }, function(event)
      event.claims.amount, event.id, event.trust = 0, "x", "api"
    end)
    local ok, why = with(school, { name = "next" }, function(event)
      assert.are.equal(300, event.claims.amount)
      assert.are.equal("id", event.trust)
    end)
    assert.is_true(ok, why)
  end)

  it("has methods that raise where they are called with a dot", function()
    local ok, why = with(school, {}, function(event)
      for _, name in ipairs { "deliveries", "invoice", "retry_after", "once", "try_once" } do
        local fine, message = pcall(function() event[name]() end)
        assert.is_false(fine)
        assert.is_truthy(message:find(name .. " is a method: call it with a colon", 1, true))
        assert.is_truthy(message:find "event_spec.lua")
      end
      local fine, message = pcall(function() event:retry_after(-1) end)
      assert.is_false(fine)
      assert.is_truthy(message:find("event_spec.lua:%d+: retry_after: 'seconds' must be"))
    end)
    assert.is_true(ok, why)
  end)
end)

describe("event:deliveries", function()
  it("gives the news behind a change, as it was stored", function()
    local found, of_poll
    d.app:on("apply:*", function(event)
      found = event:deliveries()
      if #found == 0 then of_poll = event.type end
    end)
    d:put(1)
    d:settled()
    d.api.apply["1"].items[1].price = "1.00"
    d:news(1)
    d:news(1)
    d:work()
    assert.are.equal(2, #found)
    assert.are.equal("apply:1 invoice.updated 1", found[1].id)
    assert.is_truthy(found[2].body:find('"invoice":"/api/v9/invoices/1"', 1, true))
    d.api.apply["1"].items[1].price = "2.00"
    assert(d.app:poll "apply")
    d:work()
    assert.are.equal("invoice.updated", of_poll)
  end)

  it("gives what the event itself came as, without its credentials", function()
    local ok, why = with(school, {}, function(event)
      local list = event:deliveries()
      assert.are.equal(1, #list)
      assert.is_truthy(list[1].body:find('"signature":"***"', 1, true))
      assert.is_truthy(list[1].body:find('"amount":300', 1, true))
    end)
    assert.is_true(ok, why)
  end)
end)

describe("event:invoice", function()
  local function class() d:school({}, "class") end

  it("reads the vendor's copy, once a run", function()
    for deliver, field in pairs {
      [class] = { "amount", 300 },
      [function() d:tickets() end] = { "_id", desk.TICKET },
      [function()
        d:put(200)
        d:news(200)
      end] = { "id", 200 },
    } do
      d = desk.new()
      local ok, why = with(deliver, {}, function(event)
        local before = d.calls
        local invoice = assert(event:invoice())
        assert.are.equal(field[2], invoice[field[1]])
        assert.are.equal(invoice, event:invoice())
        assert.are.equal(before + 1, d.calls)
      end)
      assert.is_true(ok, why)
    end
  end)

  it("reads again in the next run", function()
    local calls = {}
    with(class, {}, function(event)
      assert(event:invoice())
      calls[#calls + 1] = d.calls
      if event.attempt == 1 then error "again" end
    end)
    d.now = d.now + 5
    d:work()
    assert.are.equal(calls[1] + 1, calls[2])
  end)

  it("gives the client's error", function()
    local ok, why = with(class, {}, function(event)
      d.answer = function() return { status = 401, body = "Unauthorized" } end
      local invoice, err = event:invoice()
      assert.is_nil(invoice)
      assert.are.equal("auth", err.kind)
    end)
    assert.is_true(ok, why)
  end)

  it("is asked for no id that cannot be one: such news is a dead letter", function()
    local ran = with(function() d:tickets { invoice = "no id" } end, {}, function() end)
    assert.is_nil(ran)
    assert.are.equal("dead", d.app.store:deliveries({})[1].state)
    assert.are.equal(0, d.calls)
  end)

  it("gives an error where there is no invoice or no way to it", function()
    local ok, why = with(function() d:apply(desk.item(1, "Offer was edited: ?")) end, {},
      function(event)
        local invoice, err = event:invoice()
        assert.is_nil(invoice)
        assert.are.equal("invalid: the event names no invoice", tostring(err))
      end)
    assert.is_true(ok, why)
    d = desk.new()
    ok, why = with(school, {}, function(event)
      local invoice, err = event:invoice()
      assert.is_nil(invoice)
      assert.are.equal("invalid", err.kind)
    end)
    assert.is_true(ok, why)
    assert.are.equal(0, d.calls)
  end)
end)

-- The ways in which a step, and a rule, says that it has failed; and what is shown of each.
local FAILURES = {
  { function() error("raised", 0) end, "raised" },
  { function() error { message = "no room", code = 28 } end, "{message = \"no room\", code = 28}" },
  { function() error(errors.new { kind = "network", message = "off" }) end, "network: off" },
  { function() return nil, "refused" end, "refused" },
  { function() return nil, { code = 28 } end, "{code = 28}" },
  { function() return nil, errors.new { kind = "server", message = "busy" } end, "server: busy" },
  { function() return false, "refused" end, "refused" },
  { function() return false, { "full", 28 } end, "{\"full\", 28}" },
  { function() return pcall(error, "refused") end, "refused" },
  { function() return pcall(error, { code = 28 }) end, "{code = 28}" },
  { function() return pcall(error, errors.new { kind = "tls", message = "old" }) end, "tls: old" },
  { function() return xpcall(error, function() return "handled" end) end, "handled" },
  { function() return coroutine.resume(coroutine.create(error), "refused") end, "refused" },
  { coroutine.wrap(function() while true do coroutine.yield(false, "woven") end end), "woven" },
  { function() return io.open "/nowhere/at all" end,
    "/nowhere/at all: No such file or directory" },
  { function() -- a disk that is full says so when it is written to
    local file = assert(io.open("/dev/full", "w"))
    file:setvbuf "no"
    return file:write "entry"
  end, "No space left on device" },
  { function() -- or at the end
    local file = assert(io.open("/dev/full", "w"))
    assert(file:write "entry")
    return file:close()
  end, "No space left on device" },
  { function() return pcall(error) end, "%s returned false" },
  { function() return nil, false end, "%s returned false" },
  { function() return false end, "%s returned false" },
  { function() error() end, "%s raised nil" },
}

local function message_of(name)
  return d:show("school:" .. desk.uuid(1)).marks[name].message
end

-- Runs again until there is nothing to be done, in an hour at the latest.
local function again()
  for _ = 1, 3 do
    d.now = d.now + 3600
    d:work()
  end
end

describe("a rule", function()
  it("has failed, and says why, however it does so", function()
    local runs = {}
    for i, case in ipairs(FAILURES) do
      local name = tostring(i)
      runs[name] = 0
      d.app:on("*", { name = name }, function()
        runs[name] = runs[name] + 1
        if runs[name] == 1 then return case[1]() end
      end)
    end
    school()
    d:work()
    for i, case in ipairs(FAILURES) do
      assert.are.equal(case[2]:format "the rule", message_of(tostring(i)))
    end
    again()
    for i in ipairs(FAILURES) do assert.are.equal(2, runs[tostring(i)], i) end
    assert.are.equal("done", select(2, next(d:states())))
  end)

  it("has not failed that gives nothing, or anything else", function()
    local count = 0
    for i, fn in ipairs {
      function() end, function() return nil end, function() return nil, nil end,
      function() return true end, function() return true, "x" end, function() return 0 end,
      function() return "" end, function() return pcall(tostring, 1) end,
    } do
      count = i
      d.app:on("*", { name = tostring(i) }, fn)
    end
    school()
    assert.are.equal(count, d:work())
    assert.are.equal("done", select(2, next(d:states())))
    assert.are.equal(0, #d:logged "failed")
  end)
end)

describe("a step that fails", function()
  it("fails its rule, which runs again until the step is done, once", function()
    for _, case in ipairs(FAILURES) do
      d = desk.new()
      local tries, written, after = 0, 0, 0
      d.app:on("*", { name = "rule" }, function(event)
        event:once("write", function()
          tries = tries + 1
          if tries < 3 then return case[1]() end
          written = written + 1
        end)
        after = after + 1
      end)
      school()
      d:work()
      assert.are.equal("step 'write': " .. case[2]:format "the step", message_of "rule")
      assert.are.equal(0, after)
      again()
      assert.are.same({ 3, 1, 1 }, { tries, written, after })
      assert.are.equal("done", select(2, next(d:states())))
      assert.are.equal(2, #d:logged "failed")
    end
  end)

  it("fails its rule also where that swallows it, and goes on without a word", function()
    for _, swallow in ipairs {
      function(event, fn) pcall(event.once, event, "write", fn) end,
      function(event, fn) pcall(function() event:once("write", fn) end) return true end,
      function(event, fn) coroutine.wrap(pcall)(event.once, event, "write", fn) end,
      function(event, fn)
        coroutine.resume(coroutine.create(function() event:once("write", fn) end))
      end,
      function(event, fn)
        require("billhook").map({ 1 }, function() return event:once("write", fn) end)
      end,
      function(event, fn)
        pcall(event.once, event, "write", fn)
        event:once("other", function() return 1 end)
      end,
      function(event, fn)
        pcall(event.once, event, "outer", function() event:once("write", fn) end)
      end,
    } do
      for _, case in ipairs(FAILURES) do
        d = desk.new()
        local tries, written = 0, 0
        d.app:on("*", { name = "rule" }, function(event)
          return swallow(event, function()
            tries = tries + 1
            if tries == 1 then return case[1]() end
            written = written + 1
          end)
        end)
        school()
        d:work()
        assert.are.equal("step 'write': " .. case[2]:format "the step", message_of "rule")
        again()
        assert.are.same({ 2, 1 }, { tries, written })
        assert.are.equal("done", select(2, next(d:states())))
      end
    end
  end)

  it("has not failed where the rule tries it again, and it is done then", function()
    local tries = 0
    with(school, {}, function(event)
      local function write()
        tries = tries + 1
        return tries > 1 or nil, "refused"
      end
      assert.is_false((pcall(event.once, event, "write", write)))
      assert.is_true(event:once("write", write))
    end)
    assert.are.equal(2, tries)
    assert.are.equal("done", select(2, next(d:states())))
  end)

  it("fails its rule with the rule's own reason where it gives one", function()
    d.app:on("*", { name = "rule" }, function(event)
      if not pcall(event.once, event, "write", function() return nil, "full" end) then
        return nil, "no ledger"
      end
    end)
    school()
    d:work()
    assert.are.equal("no ledger", message_of "rule")
  end)

  it("is logged with the place where it failed, and on_dead is told its reason", function()
    local told = {}
    d.app:on_dead(function(_, why) told[#told + 1] = why end)
    local reason = errors.new { kind = "server", message = "busy" }
    d.app:on("*", { name = "a", attempts = 1 }, function(event)
      event:once("write", function()
        local function deep() local x = nil; return x.y end
        deep()
      end)
    end)
    d.app:on("*", { name = "b", attempts = 1 }, function(event)
      event:once("write", function() return nil, reason end)
    end)
    school()
    d:work()
    local message = d:logged("dead")[1].fields.message
    assert.is_truthy(message:find("^step 'write': .*event_spec.lua:%d+: .*\n.*traceback"), message)
    assert.are.equal(2, #told)
    assert.is_truthy(told[1]:find "^[^\n]*event_spec.lua:%d+: attempt to index")
    assert.are.equal(reason, told[2])
  end)

  it("waits as long as the error asks for that it gives", function()
    d.app:on("*", { name = "rule" }, function(event)
      event:once("write", function()
        return nil, errors.new { kind = "rate_limited", message = "slow", retry_after = 77 }
      end)
    end)
    school()
    d:work()
    assert.are.equal(77000, d:show("school:" .. desk.uuid(1)).marks.rule.wait)
  end)
end)

describe("event:try_once", function()
  it("gives a failure to the rule, which may go on; and keeps what is done", function()
    for _, case in ipairs(FAILURES) do
      d = desk.new()
      local tries, seen = 0, {}
      d.app:on("*", { name = "rule" }, function(event)
        local value, why = event:try_once("write", function()
          tries = tries + 1
          if tries == 1 then return case[1]() end
          return "entry 7"
        end)
        seen[#seen + 1] = { value, why ~= nil }
        if event.attempt < 3 then error "again" end
      end)
      school()
      d:work()
      again()
      assert.are.equal(2, tries)
      assert.are.same({ { nil, true }, { "entry 7", false }, { "entry 7", false } }, seen)
      assert.are.equal("done", select(2, next(d:states())))
    end
  end)

  it("leaves the rule done where that says nothing more", function()
    with(school, {}, function(event)
      local value, why = event:try_once("write", function() return nil, "refused" end)
      assert.is_nil(value)
      assert.are.equal("refused", why)
    end)
    assert.are.equal("done", select(2, next(d:states())))
    assert.are.equal(0, #d:logged "failed")
  end)

  it("fails the rule where it is the inbox that fails", function()
    local store = d.app:open()
    store.step = function() return nil, errors.new { kind = "store", message = "disk full" } end
    d.app:on("*", { name = "rule" }, function(event)
      pcall(event.try_once, event, "write", function() end)
    end)
    school()
    d:work()
    assert.are.equal("step 'write': store: disk full", message_of "rule")
  end)

  it("raises at its caller's line", function()
    local ok, why = with(school, {}, function(event)
      for message, arguments in pairs {
        ["try_once: 'name' must be a string"] = { "", print },
        ["try_once: 'fn' must be a function, got number"] = { "x", 7 },
        ["once: the result of 'y'"] = { "y", function() return print end },
      } do
        local fine, text = pcall(function() event:try_once(arguments[1], arguments[2]) end)
        assert.is_false(fine)
        assert.is_truthy(text:find("event_spec.lua:%d+: " .. message), text)
      end
    end)
    assert.is_true(ok, why)
  end)
end)

describe("event:once", function()
  it("runs a step once, and keeps its result", function()
    local steps = 0
    local ok, why = with(school, {}, function(event)
      local value = event:once("mail", function()
        steps = steps + 1
        return { n = steps, list = { 1, 2 }, text = "x" }
      end)
      assert.are.same({ n = 1, list = { 1, 2 }, text = "x" }, value)
      if event.attempt < 3 then error "again" end
    end)
    for _ = 1, 3 do
      d.now = d.now + 60
      d:work()
    end
    assert.are.equal(1, steps)
    assert.are.equal("done", select(2, next(d:states())))
    assert.is_not_nil(ok, why)
  end)

  it("keeps a step that gives nothing, too", function()
    local steps = 0
    local ok, why = with(school, {}, function(event)
      assert.is_nil(event:once("nothing", function() steps = steps + 1 end))
      assert.is_nil(event:once("nil", function() steps = steps + 1 return nil, nil end))
      assert.are.equal(0, event:once("zero", function() steps = steps + 1 return 0 end))
      if event.attempt < 2 then error("again", 0) end
    end)
    assert.are.equal("again", why)
    assert.is_false(ok)
    d.now = d.now + 60
    d:work()
    assert.are.equal(3, steps)
    assert.are.equal("done", select(2, next(d:states())))
  end)

  it("is each rule's own", function()
    local steps = {}
    for _, name in ipairs { "a", "b" } do
      d.app:on("*", { name = name }, function(event)
        event:once("step", function() steps[#steps + 1] = name end)
      end)
    end
    school()
    d:work()
    assert.are.same({ "a", "b" }, steps)
  end)

  it("fails the rule where the store fails", function()
    local store = d.app:open()
    store.step = function() return nil, errors.new { kind = "store", message = "disk full" } end
    local steps = 0
    local ok, why = with(school, {}, function(event)
      event:once("mail", function() steps = steps + 1 end)
    end)
    assert.is_false(ok)
    assert.are.equal("store", why.kind)
    assert.are.equal(0, steps)
  end)

  it("is not run again either where its result cannot be kept: what it did is done", function()
    local steps, seen = 0, {}
    d.app:on("*", { attempts = 5 }, function(event)
      seen[#seen + 1] = { event:once("mail", function()
        steps = steps + 1
        return io.stdout
      end) }
    end)
    school()
    d:work()
    d.now = d.now + 3600
    d:work()
    assert.are.equal(1, steps)
    assert.are.same({ {} }, seen)
    assert.are.equal(1, #d:logged "failed")
    local message = d:logged("failed")[1].fields.message
    assert.is_truthy(message:find("The step is not run again", 1, true))
  end)

  it("raises at its caller's line", function()
    local ok, why = with(school, {}, function(event)
      for message, arguments in pairs {
        ["once: 'name' must be a string"] = { "", print },
        ["once: 'fn' must be a function, got number"] = { "x", 7 },
        ["once: the result of 'y'"] = { "y", function() return print end },
      } do
        local fine, text = pcall(function() event:once(arguments[1], arguments[2]) end)
        assert.is_false(fine)
        assert.is_truthy(text:find("event_spec.lua:%d+: " .. message), text)
      end
    end)
    assert.is_true(ok, why)
  end)
end)

-- event_spec.lua: what a rule is given, and whom it may believe.

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
local function class() d:school({}, "class") end

describe("an event", function()
  it("has what is known of the delivery", function()
    with(function() d:school { timestamp = d.now - 5 } end, {}, function(event)
      assert.are.equal("school:" .. desk.uuid(1), event.id)
      assert.are.equal("school:invoice.created:16", event.key)
      assert.are.equal("school", event.account)
      assert.are.equal("dreamclass", event.vendor)
      assert.are.equal("my-school", event.tenant)
      assert.are.equal("invoice.created", event.type)
      assert.are.equal("INVOICE_CREATED", event.native)
      assert.is_true(event.live)
      assert.are.equal(d.now - 5, event.occurred_at)
      assert.are.equal(d.now, event.received_at)
      assert.are.equal(1, event.attempt)
      assert.are.equal("id", event.trust)
      assert.is_nil(event.contested)
      assert.is_nil(event.after_failure)
      assert.are.equal("event " .. event.id .. " (invoice.created)", tostring(event))
      event.ran = true
    end)
    assert.are.equal(0, d.app.store:stats().pending)
    assert.are.equal("done", select(2, next(d:states())))
  end)

  it("has no data below body, but claims", function()
    local ok, why = with(school, {}, function(event)
      assert.is_nil(event.data)
      assert.are.equal(300, event.claims.amount)
    end)
    assert.is_true(ok, why)
    d = desk.new()
    ok, why = with(function() d:apply(desk.item(1, nil, 200)) end, {}, function(event)
      assert.are.equal("sender", event.trust)
      assert.is_nil(event.data)
      assert.are.equal("/api/v9/invoices/200", event.claims.invoice)
    end)
    assert.is_true(ok, why)
  end)

  it("has data where the body is proven", function()
    local ok, why = with(function() d:tickets() end, {}, function(event)
      assert.are.equal("body", event.trust)
      assert.are.equal("7", event.data.number)
      assert.is_nil(event.claims)
    end)
    assert.is_true(ok, why)
  end)

  it("has data that is an invoice where the vendor sends one", function()
    local invoices = require "billhook.invoice"
    local ok, why = with(function() d:tickets() end, {}, function(event)
      assert.are.equal("betterez", invoices.vendor(event.data))
      assert.is_string(invoices.number(event.data))
    end)
    assert.is_true(ok, why)
    d = desk.new()
    ok, why = with(school, {}, function(event) assert.is_nil(invoices.vendor(event.claims)) end)
    assert.is_true(ok, why)
  end)

  it("has the body as it was stored", function()
    local ok, why = with(school, {}, function(event)
      assert.is_truthy(event:raw():find('"signature":"***"', 1, true))
      assert.is_truthy(event:raw():find('"amount":300', 1, true))
    end)
    assert.is_true(ok, why)
    d = desk.new()
    with(function() d:apply("[" .. desk.item(1) .. "," .. desk.item(2) .. "]") end, {},
      function(event)
        assert.are.equal(desk.item(tonumber(event.id:match "%d+$")), event:raw())
      end)
    assert.are.equal(0, #d:logged "failed")
  end)

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
      for _, name in ipairs { "raw", "invoice", "retry_after", "once", "try_once" } do
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

describe("event:invoice", function()
  it("reads the vendor's copy, once a run", function()
    for deliver, field in pairs {
      [class] = { "amount", 300 },
      [function() d:tickets() end] = { "_id", "616d7cf38fedff37e4492161" },
      [function() d:apply(desk.item(1, nil, 200)) end] = { "id", 200 },
    } do
      d = desk.new()
      local ok, why = with(deliver, {}, function(event)
        local invoice = assert(event:invoice())
        assert.are.equal(field[2], invoice[field[1]])
        assert.are.equal(invoice, event:invoice())
        assert.are.equal(1, d.calls)
      end)
      assert.is_true(ok, why)
    end
  end)

  it("reads again in the next run", function()
    with(class, {}, function(event)
      assert(event:invoice())
      if event.attempt == 1 then error "again" end
    end)
    d.now = d.now + 5
    d:work()
    assert.are.equal(2, d.calls)
  end)

  it("gives the client's error", function()
    d.answer = function() return { status = 401, body = "Unauthorized" } end
    local ok, why = with(class, {}, function(event)
      local invoice, err = event:invoice()
      assert.is_nil(invoice)
      assert.are.equal("auth", err.kind)
    end)
    assert.is_true(ok, why)
  end)

  it("gives an error for an id that cannot be one", function()
    local ok, why = with(function() d:tickets { invoice = "no id" } end, {}, function(event)
      local invoice, err = event:invoice()
      assert.is_nil(invoice)
      assert.are.equal("invalid", err.kind)
    end)
    assert.is_true(ok, why)
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

describe("trust = \"api\"", function()
  local function only(account, fn)
    local ok, why, ran
    d.app:on(account .. ":*", { name = "api", trust = "api" }, function(event)
      ran = (ran or 0) + 1
      ok, why = pcall(fn, event)
      if not ok then error(why, 0) end
    end)
    return function() return ok, why, ran end
  end

  it("has the API's invoice for data, and what was sent as claims", function()
    local result = only("class", function(event)
      assert.are.equal("api", event.trust)
      assert.are.equal(1, d.calls)
      assert.are.equal(300, event.data.amount)
      assert.are.equal(999, event.claims.amount)
      assert.are.equal(event.data, event:invoice())
      assert.are.equal(1, d.calls)
    end)
    d:school({ data = '{"id":16,"amount":999}' }, "class")
    d:work()
    local ok, why = result()
    assert.is_true(ok, why)
  end)

  it("has the rule wait while the invoice cannot be read", function()
    local result = only("class", function() end)
    d.answer = function() return { status = 503, body = "" } end
    class()
    d:work()
    assert.is_nil(select(3, result()))
    assert.are.equal(1, #d:logged "failed")
    d.answer = nil
    d.now = d.now + 3600
    d:work()
    assert.are.equal(1, (select(3, result())))
  end)

  it("has the rule wait where the invoice is not there", function()
    local result = only("class", function() end)
    d.answer = function() return { status = 404, body = "" } end
    class()
    d:work()
    assert.is_nil(select(3, result()))
    local id = "class:" .. desk.uuid(1)
    assert.is_truthy(d.app.store:show(id).marks.api.message:find "not_found")
  end)

  it("takes absence for the proof of a deletion", function()
    d.answer = function() return { status = 404, body = "" } end
    local result = only("class", function(event)
      assert.are.equal("api", event.trust)
      assert.is_nil(event.data)
      assert.are.equal(300, event.claims.amount)
      local invoice, err = event:invoice()
      assert.is_nil(invoice)
      assert.are.equal("not_found", err.kind)
      assert.are.equal(1, d.calls)
    end)
    d:school({ type = "INVOICE_DELETED" }, "class")
    d:work()
    local ok, why = result()
    assert.is_true(ok, why)
  end)

  it("gives up at once where there is no invoice to read", function()
    local result = only("apply", function() end)
    d:apply(desk.item(1, "Offer was edited: ?"))
    d:work()
    assert.is_nil(select(3, result()))
    assert.are.equal("dead", d.app.store:show("apply:1").state)
  end)
end)

describe("a contested event", function()
  local function contest(account)
    d:school({ data = '{"id":16,"amount":1}' }, account)
    d:school({ data = '{"id":16,"amount":2}' }, account)
  end

  it("is read back before any further rule", function()
    local ok, why = with(function() contest "class" end, {}, function(event)
      assert.is_true(event.contested)
      assert.are.equal("api", event.trust)
      assert.are.equal(300, event.data.amount)
      assert.are.equal(1, event.claims.amount)
      assert.are.equal(1, d.calls)
    end)
    assert.is_true(ok, why)
  end)

  it("has claims only where it cannot be read back", function()
    local amounts = {}
    local ok, why = with(function() contest "school" end, {}, function(event)
      assert.is_true(event.contested)
      assert.are.equal("id", event.trust)
      assert.is_nil(event.data)
      amounts[#amounts + 1] = event.claims.amount
    end)
    assert.is_true(ok, why)
    assert.are.same({ 1, 2 }, amounts)
  end)

  it("has claims only, even of a proven body", function()
    d.answer = function() return { status = 503 } end
    local seen
    d.app:on("*", function(event) seen = event end)
    local data = '{"_id":"p","n":%d}'
    for i = 1, 2 do d:tickets { event = "invoice_providers.updated", data = data:format(i) } end
    d:work()
    assert.is_true(seen.contested)
    assert.is_nil(seen.data)
    assert.are.equal(1, seen.claims.n)
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
  return d.app.store:show("school:" .. desk.uuid(1)).marks[name].message
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
    assert.are.equal(77000, d.app.store:show("school:" .. desk.uuid(1)).marks.rule.wait)
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
        ["try_once: 'fn' must be a function"] = { "x", 7 },
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
        ["once: 'fn' must be a function"] = { "x", 7 },
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

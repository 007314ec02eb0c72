-- work_spec.lua: which rules run, when, how often, and what becomes of failures.

local desk = require "spec.support.inbox"
local errors = require "billhook.error"

local d, runs
before_each(function()
  d, runs = desk.new(), {}
end)

local function note(text) runs[#runs + 1] = text end

-- a rule that notes its runs as "name id"; `fails(event)`: does it fail this time?
local function rule(name, fails, options)
  options = options or {}
  options.name = name
  d.app:on(options.pattern or "*", (function() options.pattern = nil return options end)(),
    function(event)
      note(name .. " " .. tonumber(event.id:match "(%d+)$")
        .. (event.after_failure and " after failure" or ""))
      if fails and fails(event) then error(name .. " failed") end
    end)
end

local function always() return true end

local function took()
  local text = table.concat(runs, ", ")
  runs = {}
  return text
end

local function show(n) return d.app.store:show("school:" .. desk.uuid(n)) end

describe("app:work", function()
  it("runs every rule once, in the order of admission", function()
    rule "a"
    rule "b"
    d:school { id = 1 }
    d:school { id = 2 }
    assert.are.equal(4, d:work())
    assert.are.equal("a 1, b 1, a 2, b 2", took())
    assert.are.equal(0, d:work())
    assert.are.equal("done", show(1).state)
  end)

  it("tells how many rules ran, and stops at its limit", function()
    rule "a"
    for i = 1, 5 do d:school { id = i, invoice = i } end
    assert.are.equal(2, d.app:work { limit = 2 })
    assert.are.equal(3, d.app:work { limit = 100 })
    assert.are.equal(0, d.app:work())
  end)

  it("stops at its limit within a lane, and goes on there", function()
    rule "a"
    rule "b"
    for i = 1, 3 do d:school { id = i } end
    assert.are.equal(3, d.app:work { limit = 3 })
    assert.are.equal(3, d.app:work { limit = 64 })
    assert.are.equal("a 1, b 1, a 2, b 2, a 3, b 3", took())
  end)

  it("stops when it is told to", function()
    rule "a"
    for i = 1, 5 do d:school { id = i } end
    assert.are.equal(2, d.app:work { stop = function() return #runs >= 2 end })
    assert.are.equal(0, d.app.store:stats().leased)
    assert.are.equal(3, d:work())
  end)

  it("runs more events than a page has", function()
    rule("a", function(event) return event.id:find "5$" and event.attempt == 1 end)
    local items = {}
    for i = 1, 100 do items[i] = desk.item(i, "Invoice was edited: ?", 7) end
    d:apply("[" .. table.concat(items, ",") .. "]")
    local all = 0
    for _ = 1, 30 do
      all = all + d:work()
      d.now = d.now + 10
    end
    assert.are.equal(110, all)
    assert.are.equal(0, d.app.store:stats().pending)
  end)

  it("runs only the rules that want an event", function()
    rule("created", nil, { pattern = "invoice.created" })
    rule("tickets", nil, { pattern = "tickets:*" })
    rule("native", nil, { pattern = "INVOICE_DELETED" })
    d:school { id = 1 }
    d:tickets { id = 2 }
    d:school { id = 3, type = "INVOICE_DELETED", invoice = 3 }
    d:work()
    table.sort(runs)
    assert.are.equal("created 1, created 2, native 3, tickets 2", took())
  end)

  it("opens the store again and again until it can", function()
    d = desk.new { inbox = "sqlite:/no/such/folder/a.db" }
    local ran, err = d.app:work()
    assert.is_nil(ran)
    assert.are.equal("store", err.kind)
    d.app.inbox = "memory:"
    assert.are.equal(0, d.app:work())
  end)
end)

describe("a rule that fails", function()
  it("runs again alone", function()
    rule "good"
    rule("bad", function(event) return event.attempt < 3 end)
    d:school()
    assert.are.equal(2, d:work())
    assert.are.equal("good 1, bad 1", took())
    d.now = d.now + 4.9
    assert.are.equal(0, d:work())
    d.now = d.now + 0.1 -- base
    assert.are.equal(1, d:work())
    d.now = d.now + 9.9
    assert.are.equal(0, d:work())
    d.now = d.now + 0.1 -- twice that
    assert.are.equal(1, d:work())
    assert.are.equal("bad 1, bad 1", took())
    assert.are.equal("done", show(1).state)
    assert.are.equal(2, #d:logged "failed")
    assert.is_truthy(d:logged("failed")[1].fields.message:find "bad failed")
    assert.is_truthy(d:logged("failed")[1].fields.message:find "work_spec.lua")
  end)

  it("waits anything up to twice as long each time, and no longer than the cap", function()
    local waits = {}
    for _, random in ipairs { 0, 0.5, 1 } do
      d = desk.new { random = function() return random end, backoff = { base = 2, cap = 10 } }
      d.app:on("*", function() return nil, "no" end)
      d:school()
      for i = 1, 5 do
        assert.are.equal(1, d.app:work())
        local wait = show(1).marks["*"].wait / 1000
        waits[#waits + 1] = wait
        d.now = d.now + wait
        assert.are.equal(i, show(1).marks["*"].attempts)
      end
    end
    assert.are.same({ 0.5, 0.5, 0.5, 0.5, 0.5, 1, 2, 4, 5, 5, 2, 4, 8, 10, 10 }, waits)
  end)

  it("fails by false, or nil and a reason, as by an error, and not by nil or nothing", function()
    local answers = {
      function() return nil, "a reason" end,
      function() return nil, errors.new { kind = "network", message = "no line" } end,
      function() error { code = 7 } end,
      function() error(nil) end,
      function() local x = nil; return x.y end,
      function() return false, "another reason" end,
      function() return nil end,
      function() end,
      function() return "fine" end,
    }
    for i, answer in ipairs(answers) do d.app:on("*", { name = tostring(i) }, answer) end
    d:school()
    d:work()
    local marks = show(1).marks
    for i = 1, 6 do assert.are.equal("waiting", marks[tostring(i)].state, i) end
    for i = 7, 9 do assert.are.equal("done", marks[tostring(i)].state, i) end
    assert.are.equal("a reason", marks["1"].message)
    assert.are.equal("network: no line", marks["2"].message)
    assert.are.equal("{code = 7}", marks["3"].message)
    assert.are.equal("the rule raised nil", marks["4"].message)
    assert.are.equal("another reason", marks["6"].message)
  end)

  it("may raise anything, of any length", function()
    local values = { ("\xff"):rep(1e6), { ("x"):rep(1e6) },
      setmetatable({}, { __tostring = function() error "no" end }) }
    for i, value in ipairs(values) do
      d.app:on("*", { name = "r" .. i }, function() error(value, 0) end)
    end
    d.app:on("*", { name = "other" }, function() note "other" end)
    d.app:on_dead(function() error(values[1], 0) end)
    d:school()
    d:work()
    assert.are.equal("other", took())
    local marks = show(1).marks
    assert.are.equal(("?"):rep(2000), marks.r1.message)
    assert.is_truthy(marks.r2.message:find "^{\"x+\"}$")
    assert.are.equal("a table that cannot be shown", marks.r3.message)
    for _, entry in ipairs(d.log) do
      assert.is_true(#(entry.fields.message or "") <= 4000)
    end
  end)

  it("is asked when to run again", function()
    d.app:on("*", { name = "returns" }, function(event) return event:retry_after(100) end)
    d.app:on("*", { name = "asks" }, function(event) event:retry_after(0.5) end)
    d.app:on("*", { name = "server" }, function()
      return nil, errors.new { kind = "rate_limited", message = "slow", retry_after = 77 }
    end)
    d:school()
    d:work()
    local marks = show(1).marks
    assert.are.equal(100000, marks.returns.wait)
    assert.are.equal("asked to run again in 100 s", marks.returns.message)
    assert.are.equal(500, marks.asks.wait)
    assert.are.equal(77000, marks.server.wait)
  end)

  it("is told to every on_dead handler, and it is logged which of them fail, and why", function()
    local told = 0
    for _, answer in ipairs {
      function() error("raised", 0) end, function() error { code = 7 } end,
      function() return nil, "refused" end, function() return false, { code = 8 } end,
      function() return pcall(error, "caught") end, function() return false end,
      function() end, function() return true end, function() return nil end,
    } do
      d.app:on_dead(function()
        told = told + 1
        return answer()
      end)
    end
    rule("bad", always, { attempts = 1 })
    d:school()
    d:work()
    assert.are.equal(9, told)
    local messages = {}
    for _, entry in ipairs(d:logged "on_dead_failed") do
      messages[#messages + 1] = entry.fields.message
    end
    assert.are.same({ "raised", "{code = 7}", "refused", "{code = 8}", "caught",
      "the handler returned false" }, messages)
    assert.are.equal("dead", show(1).state)
  end)

  it("is given up after its attempts, and on_dead is told", function()
    local told = {}
    d = desk.new { attempts = 3 }
    rule("bad", always)
    rule("short", always, { attempts = 1 })
    rule "good"
    d.app:on_dead(function(event, err) told[#told + 1] = event.id .. " " .. tostring(err) end)
    d.app:on_dead(function() error "of no consequence" end)
    d:school()
    for _ = 1, 5 do
      d:work()
      d.now = d.now + 3600
    end
    assert.are.equal("bad 1, short 1, good 1, bad 1, bad 1", took())
    assert.are.equal(2, #told)
    assert.is_truthy(told[1]:find "^school:.*short failed")
    assert.is_truthy(told[2]:find "^school:.*bad failed")
    assert.are.equal("dead", show(1).state)
    assert.are.equal(2, #d:logged "on_dead_failed")
    assert.are.equal(1, d.app.store:stats().dead)
  end)

  it("can be replayed from the dead letters", function()
    local broken = true
    d = desk.new { attempts = 1 }
    rule "good"
    rule("bad", function() return broken end)
    d:school()
    d:work()
    broken = false
    assert.are.equal(1, d.app.store:replay { state = "dead" })
    assert.are.equal(1, d:work())
    assert.are.equal("good 1, bad 1, bad 1", took())
    assert.are.equal("done", show(1).state)
  end)

  it("tells on_dead of items that were no events", function()
    local told = {}
    d.app:on_dead(function(event, err) told[#told + 1] = { event, err } end)
    d:apply("[7]")
    d:work()
    d:work()
    assert.are.equal(1, #told)
    assert.are.equal("is not an object", told[1][2])
    assert.are.equal(7, told[1][1].claims)
    assert.is_nil(told[1][1].data)
  end)

  it("fails where its name is not known any more", function()
    rule "gone"
    d:school()
    d.app.dispatch.by_name = {}
    d:work()
    assert.are.equal("no rule has this name", show(1).marks.gone.message)
    assert.are.equal("waiting", show(1).marks.gone.state)
  end)
end)

describe("a lane", function()
  it("holds back only the later events of the rule that fails", function()
    rule("bad", function(event) return event.id:find "1$" and event.attempt < 3 end)
    rule "good"
    for i = 1, 3 do d:school { id = i } end
    d:school { id = 4, invoice = 17 }
    d:work()
    assert.are.equal("bad 1, good 1, good 2, good 3, bad 4, good 4", took())
    d.now = d.now + 5
    d:work()
    assert.are.equal("bad 1", took())
    d.now = d.now + 10
    d:work()
    assert.are.equal("bad 1, bad 2, bad 3", took())
  end)

  it("holds them back for a bounded time, then they pass and are told so", function()
    d = desk.new { backoff = { base = 3600, cap = 3600 }, hold = 900 }
    rule("bad", function(event) return event.id:find "1$" end)
    d:school { id = 1 }
    d:school { id = 2 }
    d:work()
    d.now = d.now + 899
    d:work()
    assert.are.equal("bad 1", took())
    d.now = d.now + 1
    d:work()
    assert.are.equal("bad 2 after failure", took())
    d:school { id = 3 }
    d:work()
    assert.are.equal("bad 3 after failure", took())
    d.now = d.now + 3600
    d:work()
    assert.are.equal("bad 1", took())
  end)

  it("goes on after an event was given up", function()
    d = desk.new { attempts = 1 }
    rule("bad", function(event) return event.id:find "1$" end)
    d:school { id = 1 }
    d:school { id = 2 }
    d:work()
    assert.are.equal("bad 1, bad 2", took())
  end)

  it("is held for longer than the longest budget", function()
    local leases = {}
    d.app:on("*", { budget = 600 }, function() end)
    local store = d.app:open()
    local claim = store.claim
    function store:claim(want)
      leases[#leases + 1] = want.lease
      return claim(self, want)
    end
    d:school()
    d:work()
    assert.is_true(leases[1] > 600)
  end)

  it("is renewed before a rule that might outlast its lease", function()
    d = desk.new { budget = 60 }
    local renewed = 0
    local store = d.app:open()
    local renew = store.renew
    function store:renew(...)
      renewed = renewed + 1
      return renew(self, ...)
    end
    rule("slow", function() d.now = d.now + 50 end)
    for i = 1, 4 do d:school { id = i } end
    d.app:work()
    assert.are.equal("slow 1, slow 2, slow 3, slow 4", took())
    assert.are.equal(1, renewed) -- 120 s hold two runs of 50 s that may take 60
  end)

  it("is held from when that was asked for, however long the answer takes", function()
    d = desk.new { budget = 60 }
    local renewed, took_seconds = 0, { 61, 30, 0 }
    local store = d.app:open()
    local renew = store.renew
    function store:renew(...)
      renewed = renewed + 1
      local answer = renew(self, ...)
      d.now = d.now + 50
      return answer
    end
    rule("slow", function() d.now = d.now + table.remove(took_seconds, 1) end)
    for i = 1, 3 do d:school { id = i } end
    d.app:work()
    assert.are.equal("slow 1, slow 2, slow 3", took())
    assert.are.equal(2, renewed)
  end)

  it("that was lost begins no step of a rule", function()
    local steps = 0
    d.app:on("*", function(event)
      event:once("first", function() steps = steps + 1 end)
      d.now = d.now + 1000
      assert.are.equal(1, #d.app.store:claim { owner = "another", lease = 60 })
      event:once("second", function() steps = steps + 1 end)
    end)
    d:school()
    d.app:work()
    assert.are.equal(1, steps)
    assert.are.equal(1, #d:logged "lane_lost")
    assert.is_truthy(d:logged("failed")[1].fields.message
      :find("the lane was lost: another worker has it", 1, true))
  end)

  it("is left alone when another worker has taken it over", function()
    rule("slow", function()
      -- more than the lease goes by, and another process takes the lane
      d.now = d.now + 1000
      assert.are.equal(1, #d.app.store:claim { owner = "another", lease = 60 })
    end)
    d:school { id = 1 }
    d:school { id = 2 }
    assert.are.equal(1, d.app:work())
    assert.are.equal("slow 1", took())
    assert.are.equal(1, #d:logged "lane_lost")
    assert.are.equal("pending", show(1).state)
    assert.are.equal(1, show(1).marks.slow.attempts) -- and nobody knows how it ended
    assert.are.equal(1, d.app.store:stats().leased)
  end)

  it("that was not begun soon goes back for others", function()
    rule("slow", function() d.now = d.now + 40 end)
    for i = 1, 4 do d:school { id = i, invoice = i } end
    assert.are.equal(1, d.app:work { limit = 4 })
    assert.are.equal("slow 1", took())
    assert.are.equal(0, d.app.store:stats().leased)
    assert.are.equal(3, d.app.store:stats().due)
  end)
end)

-- --- whose word counts -----------------------------------------------------------

describe("hearsay", function()
  -- item(id, text, invoice) of a journal that anybody may send who has the header
  local item = desk.item
  local function said(id, invoice) d:apply(item(id, "Invoice was edited: ?", invoice or 200)) end

  -- the API has no such invoice
  local function missing() return { status = 404, headers = {}, body = "" } end
  local function down() return { status = 503, headers = {}, body = "" } end

  local function fails_on(...)
    local bad = {}
    for _, id in ipairs { ... } do bad["apply:" .. id] = true end
    return function(event) return bad[event.id] end
  end

  local function names_of_lanes()
    local names = {}
    for i, row in ipairs(d.app.store.db:query "SELECT name FROM lanes ORDER BY name") do
      names[i] = row.name
    end
    return table.concat(names, " ")
  end

  it("goes into its invoice's lane once the API has confirmed the invoice", function()
    rule("a", nil, { pattern = "apply:*", trust = "api" })
    said(1)
    assert.are.equal("?200", names_of_lanes())
    assert.are.equal(1, d:work())
    assert.are.equal("200 ?200", names_of_lanes())
    assert.are.equal(1, d.calls) -- the one that confirmed it is the one that the rule sees
    assert.are.equal("done", d.app.store:show("apply:1").state)
  end)

  it("is in no other lane where there is nobody to ask, or nothing to ask for", function()
    rule "a"
    d:school()
    d:tickets { id = 2, invoice = "616d7cf38fedff37e4492161" }
    d:apply(item(3, "Offer was edited: ?"))
    assert.are.equal("#3 16 616d7cf38fedff37e4492161", names_of_lanes())
  end)

  it("that no rule has confirmed holds nothing back, and goes on in its order", function()
    rule("a", fails_on(1))
    for id = 1, 3 do said(id) end
    d:work()
    assert.are.equal("a 1, a 2, a 3", took())
    assert.are.equal("?200", names_of_lanes())
    assert.are.equal(0, d.calls)
  end)

  it("of a forger holds back nothing that is proven", function()
    -- a forged event of an invoice that a poll, whose word counts, brings news of
    rule("a", fails_on(1), { pattern = "apply:*", trust = "api" })
    d.answer = missing
    said(1)
    d:work()
    d.answer = function(request)
      local body = '{"2":' .. item(2, "Invoice was edited: ?", 200) .. "}"
      if request.url:find "invoices/" then body = '{"id":200,"currency":"EUR","items":[]}' end
      return { status = 200, headers = { ["content-type"] = "application/json" }, body = body }
    end
    assert.are.equal(1, d.app:poll "apply")
    assert.are.equal(1, d:work())
    assert.are.equal("a 2", took())
  end)

  it("that the API denies holds nothing back, is asked for again, and becomes a dead letter",
    function()
      rule("a", nil, { pattern = "apply:*", trust = "api" })
      d.answer = missing
      said(1)
      said(2)
      d:work()
      assert.are.equal(1, d.calls) -- for both
      for _ = 1, 10 do
        d.now = d.now + 3600
        d:work()
      end
      assert.are.equal(6, d.calls)
      assert.are.equal("", took())
      local found = d.app.store:show "apply:1"
      assert.are.equal("dead", found.state)
      assert.are.equal(6, found.marks.a.attempts)
      assert.is_truthy(found.marks.a.message:find "not_found")
    end)

  it("that the API denies is asked for together, however many there are", function()
    local turn = 0
    d = desk.new { random = function()
      turn = (turn + 7) % 10
      return turn / 10
    end }
    rule("a", nil, { pattern = "apply:*", trust = "api" })
    d.answer = missing
    for id = 1, 30 do said(id) end
    for _ = 1, 1200 do
      d:work()
      d.now = d.now + 0.25
    end
    assert.are.equal(30, d.app.store:stats().dead)
    assert.is_true(d.calls <= 30, d.calls) -- not 30 times 6
  end)

  it("runs in its order although the API lags behind", function()
    rule("a", nil, { pattern = "apply:*", trust = "api" })
    d.answer = missing
    said(1)
    d:work()
    d.answer = nil
    said(2)
    d:work()
    assert.are.equal("a 1, a 2", took())
  end)

  it("runs in its order although the API fails in between", function()
    rule("a", nil, { pattern = "apply:*", trust = "api" })
    for id = 1, 3 do said(id) end
    local calls = 0
    d.answer = function(request)
      calls = calls + 1
      if calls % 3 ~= 2 then return down() end
      return { status = 200, headers = { ["content-type"] = "application/json" },
        body = ('{"id":%s,"currency":"EUR","items":[]}'):format(request.url:match "%d+$") }
    end
    for _ = 1, 40 do
      d:work()
      d.now = d.now + 5
    end
    assert.are.equal("a 1, a 2, a 3", took())
  end)

  it("that was confirmed holds back later events, as any other does", function()
    rule("a", function(event) return event.id:find "1$" and event.attempt < 3 end,
      { pattern = "apply:*", trust = "api" })
    said(1)
    d:work()
    said(2)
    d:work()
    assert.are.equal("a 1", took())
    d.now = d.now + 5
    d:work()
    d.now = d.now + 10
    d:work()
    assert.are.equal("a 1, a 1, a 2", took())
  end)

  it("holds nothing back where a rule believes it, not even in its invoice's lane", function()
    rule("plain", fails_on(1))
    rule("proven", nil, { pattern = "apply:*", trust = "api" })
    said(1)
    said(2)
    d:work()
    assert.are.equal("plain 1, proven 1, plain 2, proven 2", took())
    assert.are.equal("done", d.app.store:show("apply:2").state)
  end)

  it("never runs at the same time as another event of its invoice once it is confirmed", function()
    local inside
    rule("a", function(event)
      -- while this one runs, another worker looks, with news that has just come
      if event.id == "apply:1" then
        said(2)
        inside = d.app:work()
        assert.are.equal(0, d.app.store:stats().due)
      end
    end, { pattern = "apply:*", trust = "api" })
    said(1)
    d:work()
    assert.are.equal(0, inside)
    assert.are.equal("a 1, a 2", took())
    assert.are.equal("200 ?200", names_of_lanes())
  end)

  it("of a deletion is confirmed by absence, and denied by presence", function()
    rule("a", nil, { pattern = "apply:*", trust = "api" })
    d:apply(item(1, "Invoice was deleted: ?", 200))
    d:work()
    assert.are.equal("", took())
    assert.is_truthy(d.app.store:show("apply:1").marks.a.message
      :find("the API still has the invoice", 1, true))
    d.answer = missing
    d.now = d.now + 60
    d:work()
    assert.are.equal("a 1", took())
    assert.are.equal("200 ?200", names_of_lanes())
  end)

  it("of a deletion is not confirmed where the path that is asked is a guess", function()
    local billhook = require "billhook"
    local fake = require "billhook.transport.fake"
    d = desk.new { accounts = { class = billhook.dreamclass { tenant = "my-class", api_key = "k",
      attempts = 1, webhook = { secret = desk.SECRET },
      transport = fake.new(function() return missing() end) } } }
    rule("a", nil, { pattern = "class:*", trust = "api" })
    d:school({ type = "INVOICE_DELETED" }, "class")
    for _ = 1, 10 do
      d:work()
      d.now = d.now + 3600
    end
    assert.are.equal("", took())
    local event = d.app.store:show("class:" .. desk.uuid(1))
    assert.are.equal("dead", event.state)
    assert.are.equal(6, event.marks.a.attempts)
    assert.is_truthy(event.marks.a.message:find("no document shows that of 'invoices.get', "
      .. "so give it in the option 'paths'", 1, true))
  end)

  it("of a creation that was none does not take its place", function()
    rule("a", nil, { pattern = "apply:invoice.created", trust = "api" })
    d.answer = missing
    d:apply(item(1, nil, 200))
    for _ = 1, 10 do
      d:work()
      d.now = d.now + 3600
    end
    assert.are.equal("dead", d.app.store:show("apply:1").state)
    d.answer = nil
    d:apply(item(2, nil, 200))
    d:work()
    assert.are.equal("a 2", took())
  end)

  it("that names what can be no invoice is given up at once", function()
    rule("a", nil, { pattern = "class:*", trust = "api" })
    d:school({ data = '{"id":"no / id"}' }, "class")
    d:work()
    assert.are.equal("", took())
    assert.are.equal(0, d.calls)
  end)

  it("of a contested event is confirmed as well", function()
    rule "a"
    d:school({ data = '{"id":16,"amount":1}' }, "class")
    d:school({ data = '{"id":16,"amount":2}' }, "class")
    d:work()
    assert.are.equal("a 1", took())
    assert.are.equal("16 ?16", names_of_lanes())
  end)

  for _, order in ipairs { "first", "last" } do
    it(("that makes other news of an id costs nobody the true news, come it %s"):format(order),
      function()
        local seen = {}
        d.app:on("class:*", function(event)
          seen[#seen + 1] = ("%s %s %s"):format(event.type, event.invoice_id, event.trust)
        end)
        -- the API knows 16 only: 99 is what a stranger has put there
        d.answer = function(request)
          if not request.url:find "/16$" then return missing() end
          return { status = 200, headers = { ["content-type"] = "application/json" },
            body = '{"id":16,"amount":300}' }
        end
        local function forged() d:school({ type = "INVOICE_UPDATED", invoice = 99 }, "class") end
        if order == "first" then forged() end
        d:school({ invoice = 16 }, "class")
        if order == "last" then forged() end
        for _ = 1, 10 do
          d:work()
          forged()
          d:school({ invoice = 16 }, "class")
          d.now = d.now + 60
        end
        assert.are.same({ "invoice.created 16 api" }, seen)
        local states, id, other = d:states(), "class:" .. desk.uuid(1), nil
        for one in pairs(states) do if one ~= id then other = one end end
        assert.are.same({ order == "first" and "dead" or "done",
          order == "first" and "done" or "dead" }, { states[id], states[other] })
      end)
  end
end)

-- --- rules that end their process ------------------------------------------------------

describe("a run that ends its process", function()
  -- the process is gone between the begin of a run and its mark, as seen by the next one
  local GONE = (require("billhook.inbox.owner").name():gsub("[^/]+/[^/]+$", "4194304/1"))
  local store, real, crash

  before_each(function() crash = {} end)

  -- work by a process that dies in the rules that `crash` names
  local function dying()
    store = d.app:open()
    local claim = store.claim
    real = { claim = claim, done = store.done, retry = store.retry, dead = store.dead,
      release = store.release }
    function store:claim(want)
      want.owner = GONE
      return claim(self, want)
    end
    local ok = pcall(d.app.work, d.app)
    for name, method in pairs(real) do store[name] = method end
    return ok
  end

  local function dies(event)
    if crash[event.id:match "%d$"] then
      store.done = function() error "gone" end
      store.retry, store.dead, store.release = store.done, store.done, store.done
    end
  end

  it("counts, and is repeated", function()
    rule("a", dies)
    d:tickets { id = 1 }
    crash = { ["1"] = true }
    assert.is_false(dying())
    crash = {}
    assert.are.equal(1, d:work())
    assert.are.equal("a 1, a 1", took())
    local mark = d.app.store:show("tickets:" .. desk.uuid(1)).marks.a
    assert.are.same({ "done", 2 }, { mark.state, mark.attempts })
  end)

  it("becomes a dead letter in the end, which is told of once", function()
    local told = {}
    d = desk.new { attempts = 5 }
    d.app:on_dead(function(event, why) told[#told + 1] = event.id .. " " .. tostring(why) end)
    rule("a", dies)
    d:tickets { id = 1 }
    crash = { ["1"] = true }
    for _ = 1, 12 do
      dying()
      d.now = d.now + 3600
    end
    assert.are.equal("a 1, a 1, a 1, a 1, a 1", took())
    local found = d.app.store:show("tickets:" .. desk.uuid(1))
    assert.are.same({ "dead", 5 }, { found.state, found.marks.a.attempts })
    assert.are.equal(1, #told)
    assert.is_truthy(told[1]:find "its process ended")
  end)

  it("is not told of again where the telling ends the process", function()
    d = desk.new { attempts = 1 }
    local told = 0
    d.app:on_dead(function(event)
      told = told + 1
      dies(event)
    end)
    rule("a", function() return true end)
    d:tickets { id = 1 }
    crash = { ["1"] = true }
    for _ = 1, 5 do dying() end
    assert.are.equal(2, told) -- by the run that failed, and by who found it dead
    assert.are.equal("a 1", took())
    assert.are.equal("dead", d.app.store:show("tickets:" .. desk.uuid(1)).state)
    d:apply "[7]"
    told = 0
    local id = d.app.store:list({ account = "apply" })[1].id
    crash = { [id:match "%d$" or "x"] = true }
    d.app.dead_handlers[1] = function()
      told = told + 1
      store.done = function() error "gone" end
      store.retry, store.dead, store.release = store.done, store.done, store.done
    end
    for _ = 1, 3 do dying() end
    assert.are.equal(1, told)
    assert.are.equal(0, #d.app.store:list { state = "pending" })
  end)

  it("comes behind the others, and lets the rest of its lane go on", function()
    rule("a", dies)
    rule "b"
    d:tickets { id = 1, invoice = "616d7cf38fedff37e4492161" }
    crash = { ["1"] = true }
    dying()
    d:tickets { id = 2, invoice = "616d7cf38fedff37e4492162" }
    for _ = 1, 2 do dying() end
    assert.are.equal("a 1, a 2, b 2, a 1, a 1", took())
    d.now = d.now + 1
    dying()
    assert.are.equal("a 1", took())
    -- from now on it waits longer and longer
    d.now = d.now + 1
    dying()
    assert.are.equal("b 1", took())
    crash = {}
    d.now = d.now + 5
    d:work()
    assert.are.equal("a 1", took())
  end)

  it("costs no commit of its own", function()
    rule "a"
    rule("b", nil, { pattern = "tickets:invoice.created" })
    for i = 1, 20 do
      d:tickets { id = i, invoice = ("616d7cf38fedff37e44921%02d"):format(i) }
    end
    local commits, db = 0, d.app:open().db
    local query = db.query
    d.app.store.db = setmetatable({ query = function(_, text, ...)
      if text == "COMMIT" then commits = commits + 1 end
      return query(db, text, ...)
    end }, { __index = function(_, name)
      return function(_, ...) return db[name](db, ...) end
    end })
    assert.are.equal(40, d.app:work { limit = 64 })
    -- and 3 claims, with their releases; then counts are handed over, and a day is noted
    assert.are.equal(40 + 2 * 3 + 2, commits)
  end)
end)

describe("a rule's budget", function()
  it("is reported when it is overrun", function()
    rule("slow", function() d.now = d.now + 61 end)
    rule("allowed", function() d.now = d.now + 61 end, { budget = 100 })
    d:school()
    d:work()
    local entries = d:logged "overrun"
    assert.are.equal(1, #entries)
    assert.are.equal("slow", entries[1].fields.rule)
    assert.are.equal("61.0", entries[1].fields.seconds)
  end)
end)

describe("a store that fails in between", function()
  it("ends the round, and the rule runs again", function()
    rule "a"
    d:school()
    local store = d.app.store
    local done = store.done
    store.done = function() return nil, errors.new { kind = "store", message = "disk full" } end
    assert.are.equal(1, d.app:work())
    assert.are.equal("store: disk full", d:logged("not_marked")[1].fields.message)
    store.done = done
    assert.are.equal(1, d:work()) -- without waiting for the lease to end
    assert.are.equal("a 1, a 1", took())
    assert.are.equal("done", show(1).state)
  end)
end)

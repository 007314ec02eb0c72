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
      note(name .. " " .. tonumber(event.id:match "(%d+)$" or event.id)
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

-- The lease has ended, and another worker takes what is due; how many rows.
local function take_over()
  local store = d.app.store
  assert(store:recover { owner = "another", backoff = { base = 5000, cap = 60000 } })
  d.now = d.now + 1
  return #assert(store:claim { kind = "run", account = "school", owner = "another",
    lease = 60000, limit = 5, page = 5 }).rows
end

local function show(n) return d:show("school:" .. desk.uuid(n)) end

describe("app:work", function()
  it("runs every rule once, in the order in which events came", function()
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

  it("stops at its limit within an invoice, and goes on there", function()
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
    for i = 1, 100 do d:school { id = i } end
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
    d:tickets { id = 2, event = "invoice_providers.created", data = '{"_id":"p"}' }
    d:school { id = 3, type = "INVOICE_DELETED", invoice = 3 }
    d:work()
    table.sort(runs)
    assert.are.equal("created 1, native 3, tickets 2", took())
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

  it("fails by nil and a reason, or false, as by an error, and not by nil or nothing", function()
    local answers = {
      function() return nil, "a reason" end,
      function() return nil, errors.new { kind = "network", message = "no line" } end,
      function() error { code = 7 } end,
      function() error(nil) end,
      function() local x = nil; return x.y end,
      function() return false, "no" end,
      function() return nil end,
      function() return true, "not a reason" end,
      function() end,
      function() return "fine" end,
    }
    for i, answer in ipairs(answers) do d.app:on("*", { name = tostring(i) }, answer) end
    d:school()
    d:work()
    local marks = show(1).marks
    for i = 1, 6 do assert.are.equal("waiting", marks[tostring(i)].state, i) end
    for i = 7, 10 do assert.are.equal("done", marks[tostring(i)].state, i) end
    assert.are.equal("a reason", marks["1"].message)
    assert.are.equal("network: no line", marks["2"].message)
    assert.are.equal("{code = 7}", marks["3"].message)
    assert.are.equal("the rule raised nil", marks["4"].message)
    assert.are.equal("no", marks["6"].message)
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
    assert.is_truthy(marks.r2.message:find '^{"xxx')
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
    d.app.rules.by_name = {}
    d:work()
    assert.are.equal("no rule has this name", show(1).marks.gone.message)
    assert.are.equal("waiting", show(1).marks.gone.state)
  end)
end)

describe("an invoice", function()
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
      assert.are.equal(1, take_over())
      event:once("second", function() steps = steps + 1 end)
    end)
    d:school()
    d.app:work()
    assert.are.equal(1, steps)
    assert.are.equal(1, #d:logged "lease_lost")
    assert.is_truthy(d:logged("failed")[1].fields.message
      :find("the lease ended: another worker has this invoice", 1, true))
  end)

  it("is left alone when another worker has taken it over", function()
    rule("slow", function()
      -- more than the lease goes by, and another process takes the lane
      d.now = d.now + 1000
      assert.are.equal(1, take_over())
    end)
    d:school { id = 1 }
    d:school { id = 2 }
    assert.are.equal(1, d.app:work())
    assert.are.equal("slow 1", took())
    assert.are.equal(1, #d:logged "lease_lost")
    assert.are.same({ account = "school", invoice = "16" }, d:logged("lease_lost")[1].fields)
    assert.are.equal("pending", show(1).state)
    assert.are.equal(1, show(1).marks.slow.attempts) -- and nobody knows how it ended
    assert.are.equal(1, d.app.store:stats().leased)
  end)

  it("that was not begun soon goes back for others", function()
    rule("slow", function() d.now = d.now + 40 end)
    for i = 1, 4 do d:school { id = i, invoice = i } end
    local claims, store = {}, d.app:open()
    local claim = store.claim
    function store:claim(want)
      local claimed = claim(self, want)
      if want.kind == "run" then claims[#claims + 1] = #claimed.rows end
      return claimed
    end
    d.app:work { limit = 4 }
    assert.are.equal("slow 1, slow 2, slow 3, slow 4", took())
    assert.are.same({ 4, 3, 2, 1 }, claims) -- each time the others had gone back
    assert.are.equal(0, store:stats().leased)
  end)
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
    real = { claim = claim, mark = store.mark, release = store.release }
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
      store.mark = function() error "gone" end
      store.release = store.mark
    end
  end

  it("counts, and is repeated", function()
    rule("a", dies)
    d:school { id = 1 }
    crash = { ["1"] = true }
    assert.is_false(dying())
    crash = {}
    d:work() -- finds it lost
    d.now = d.now + 1
    assert.are.equal(1, d:work())
    assert.are.equal("a 1, a 1", took())
    local mark = show(1).marks.a
    assert.are.same({ "done", 2 }, { mark.state, mark.attempts })
  end)

  it("becomes a dead letter in the end, which is told of once", function()
    local told = {}
    d = desk.new { attempts = 5 }
    d.app:on_dead(function(event, why) told[#told + 1] = event.id .. " " .. tostring(why) end)
    rule("a", dies)
    d:school { id = 1 }
    crash = { ["1"] = true }
    for _ = 1, 12 do
      dying()
      d.now = d.now + 3600
    end
    assert.are.equal("a 1, a 1, a 1, a 1, a 1", took())
    local found = show(1)
    assert.are.same({ "dead", 5 }, { found.state, found.marks.a.attempts })
    assert.are.equal(1, #told)
    assert.is_truthy(told[1]:find "the process that ran this rule ended")
  end)

  it("is not told of again where the telling ends the process", function()
    d = desk.new { attempts = 1 }
    local told = 0
    d.app:on_dead(function(event)
      told = told + 1
      dies(event)
    end)
    rule("a", function() return true end)
    d:school { id = 1 }
    crash = { ["1"] = true }
    for _ = 1, 5 do
      dying()
      d.now = d.now + 1
    end
    assert.are.equal(2, told) -- by the run that failed, and by who found it dead
    assert.are.equal("a 1", took())
    assert.are.equal("dead", show(1).state)
    d:apply "[7]"
    told = 0
    d.app.dead_handlers[1] = function()
      told = told + 1
      store.mark = function() error "gone" end
      store.release = store.mark
    end
    for _ = 1, 3 do
      dying()
      d.now = d.now + 1
    end
    assert.are.equal(1, told)
    assert.are.equal(0, #d.app.store:events { state = "pending" })
  end)

  it("comes behind the others, and lets the rest of its lane go on", function()
    rule("a", dies)
    rule "b"
    d:school { id = 1, invoice = 1 }
    crash = { ["1"] = true }
    dying()
    d:school { id = 2, invoice = 2 }
    for _ = 1, 9 do -- each finds what is lost, and a millisecond later it is due
      dying()
      d.now = d.now + 0.001
    end
    -- three times at once, from then on it waits longer and longer
    assert.are.equal("a 1, a 2, b 2, a 1, a 1, a 1, b 1", took())
    crash = {}
    d.now = d.now + 5
    d:work()
    assert.are.equal("a 1", took())
  end)

  it("costs a commit a claim, and none of its own", function()
    rule "a"
    rule("b", nil, { pattern = "school:invoice.created" })
    d:work()
    for i = 1, 20 do d:school { id = i, invoice = i } end
    local commits, db = 0, d.app:open().db
    local query = db.query
    d.app.store.db = setmetatable({ query = function(_, text, ...)
      if text == "COMMIT" then commits = commits + 1 end
      return query(db, text, ...)
    end }, { __index = function(_, name)
      return function(_, ...) return db[name](db, ...) end
    end })
    assert.are.equal(40, d.app:work { limit = 64 })
    -- and 3 claims, each with its first run begun and its release; one more claim finds nothing;
    -- and all are routed in one
    assert.are.equal(40 + 3 * 3 + 1 + 1, commits)
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
    local mark = store.mark
    store.mark = function(self, lane, token, outcome, following)
      if not outcome then return mark(self, lane, token, outcome, following) end
      return nil, errors.new { kind = "store", message = "disk full" }
    end
    assert.are.equal(1, d.app:work())
    assert.are.equal("store: disk full", d:logged("not_marked")[1].fields.message)
    store.mark = mark
    d:work()
    d.now = d.now + 1
    assert.are.equal(1, d:work()) -- without waiting for the lease to end
    assert.are.equal("a 1, a 1", took())
    assert.are.equal("done", show(1).state)
  end)

  it("runs nothing where it cannot be noted that it begins", function()
    rule "a"
    d:school()
    local store = d.app.store
    local mark = store.mark
    store.mark = function() return nil, errors.new { kind = "store", message = "disk full" } end
    local ran, why = d.app:work()
    assert.is_nil(ran)
    assert.are.equal("store: disk full", tostring(why))
    store.mark = mark
    d:work()
    d.now = d.now + 1
    d:work()
    assert.are.equal("a 1", took())
  end)
end)

describe("a round of work", function()
  it("leaves alone what belongs to an account that is not here, and says so once", function()
    d:school()
    d:apply(desk.item(1, "Offer was edited: ?"))
    d:news(5)
    d:put(6)
    local other = require("billhook").app { inbox = "memory:", clock = d.options.clock,
      random = d.options.random, log = d.options.log,
      accounts = { school = d.app.accounts.school } }
    local ran = 0
    other:on("*", function() ran = ran + 1 end)
    other:use_store(d.app:open())
    for _ = 1, 3 do assert(other:work()) end
    assert.are.equal(1, ran)
    assert.are.equal(1, #d:logged "unknown_account")
    assert.are.equal("apply", d:logged("unknown_account")[1].fields.account)
    assert.are.same({ "pending", "pending" }, d:deliveries "apply")
    assert.are.equal(0, d.calls)
  end)

  it("reads an invoice once, however many rules want it", function()
    for i = 1, 4 do rule("r" .. i, nil, { pattern = "apply:*", trust = "api" }) end
    d:put(1)
    d:settled()
    d.api.apply["1"].items[1].price = "30.00"
    d:news(1)
    assert.are.equal(4, d:work())
    assert.are.equal(1, d.calls)
  end)

  it("goes on with other accounts' rules while one cannot be read", function()
    rule "a"
    d.answer = function(_, account) return account == "apply" and { status = 503 } or nil end
    d:news(1)
    d:school { id = 3 }
    assert.are.equal(1, d:work())
    assert.are.equal("a 3", took())
  end)

  it("takes no claim while the quota has no room, and counts no attempt", function()
    d = desk.new { clients = { apply = { quota = 3 } } }
    d:listen "apply:*"
    for id = 1, 8 do
      d:put(id)
      d:news(id)
    end
    local claims, store = 0, d.app:open()
    local claim = store.claim
    function store:claim(want)
      if want.kind == "check" then claims = claims + 1 end
      return claim(self, want)
    end
    d:work()
    assert.are.equal(3, d.calls)
    local before = claims
    d:pass(55, 5)
    assert.are.equal(3, d.calls)
    assert.are.equal(before, claims)
    assert.are.equal(0, store:stats().leased)
    for id = 1, 8 do assert.are.equal(0, d:row(id).faults) end
    d:pass(130, 5)
    assert.are.equal(8, #d.seen)
    assert.are.equal(0, #d:logged "check_failed")
    assert.are.equal(0, #d:logged "account_paused")
  end)
end)

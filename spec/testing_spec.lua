-- billhook.testing: what a test of rules is given, and that it is what the vendors and the app do.

local billhook = require "billhook"
local command = require "spec.support.command"
local testing = require "billhook.testing"

local function all(app) app:on("*", { name = "all" }, function() end) end

-- the types of what ran, in order
local function types(runs)
  local list = {}
  for i, run in ipairs(runs) do list[i] = run.type end
  return list
end

describe("a world", function()
  for _, vendor in ipairs { "dreamapply", "dreamclass" } do
    it("has whatever happens at " .. vendor, function()
      local world = testing.world { accounts = { a = vendor }, overdue = { 1 }, rules = all }
      local id = world:issue { amount = "300.00" }
      world:issue() -- an account's only invoice is not believed to be gone
      assert.same({ "invoice.created", "invoice.created" }, types(world:run(60)))
      assert.equal(id, world:update(id, { amount = "250.00" }))
      assert.same({ "invoice.updated" }, types(world:run(60)))
      assert.equal(id, world:pay(id, "100.00"))
      assert.same({ "invoice.updated", "payment.created" }, types(world:run(60)))
      world:pay(id)
      assert.same({ "invoice.updated", "payment.created", "invoice.paid" }, types(world:run(60)))
      world:unpay(id)
      assert.same({ "invoice.updated", "payment.deleted" }, types(world:run(60)))
      world:overdue(id)
      assert.equal("invoice.overdue", types(world:run())[1])
      assert.equal("table", type(world:invoice(id)))
      world:delete(id)
      assert.equal("invoice.deleted", types(world:run())[1])
      assert.equal("not_found", select(2, world:invoice(id)).kind)
    end)
  end

  it("has what happens at betterez", function()
    local world = testing.world { accounts = { a = "betterez" }, rules = all }
    local id = world:issue { amount = 300 }
    local runs = world:run()
    assert.same({ "invoice.created", id, "body", 300 },
      { runs[1].type, runs[1].invoice_id, runs[1].event.trust, runs[1].event.data.total })
    world:pass(60)
    world:update(id, { amount = 250 })
    assert.same({ "invoice.updated" }, types(world:run()))
    world:happen "invoice_provider.updated"
    assert.same({ "invoice_provider.updated" }, types(world:run()))
    world:happen "failure"
    assert.same({ "invoice.failed" }, types(world:run()))
  end)

  it("says what each rule did, in its order", function()
    local world = testing.world { accounts = { a = "dreamapply" }, rules = function(app)
      app:on("invoice.created", { name = "one" }, function() end)
      app:on("invoice.created", { name = "two", attempts = 2 }, function()
        return nil, "not yet"
      end)
    end }
    local id = world:issue()
    local runs = world:run()
    assert.same({ "one", "done", 1 }, { runs[1].rule, runs[1].state, runs[1].attempt })
    assert.same({ "two", "failed", "not yet" }, { runs[2].rule, runs[2].state, runs[2].message })
    assert.same({ "a", id, 2 }, { runs[1].account, runs[1].invoice_id, #runs })
    assert.matches("^a:1@1%.%x+%.created one: done\na:1@1%.%x+%.created two: failed %(not yet%)$",
      tostring(runs))
    runs = world:run(60)
    assert.same({ "two", "dead", 1 }, { runs[1].rule, runs[1].state, #runs })
    assert.equal(0, #world:run())
  end)

  it("counts what was not looked at while everything was off", function()
    local world = testing.world { accounts = { a = "dreamapply" }, rules = all }
    world:issue()
    local before = world.now
    world:advance(86400)
    assert.equal(before + 86400, world.now)
    assert.same({ "invoice.created" }, types(world:run()))
  end)

  it("has a ledger that fails as it is told", function()
    local world = testing.world { accounts = { a = "dreamapply" }, rules = function(app)
      local ledger = billhook.http { headers = { Authorization = "Bearer x" } }
      app:on("invoice.created", { name = "ledger" }, function(event)
        return ledger:post("/entries", { invoice = event.invoice_id }, { event = event })
      end)
    end }
    for i, failure in ipairs { 503, "timeout", "network", "tls" } do
      world:fail("http", failure, 1)
      local id = world:issue()
      assert.equal("failed", world:run()[1].state)
      assert.equal("done", world:run(3600)[1].state)
      assert.same({ i, "POST", "/entries", id }, { #world.sent, world.sent[i].method,
        world.sent[i].path, world.sent[i].body.invoice })
      assert.matches("^a:" .. id .. "@1", world.sent[i].headers["Idempotency-Key"])
    end
    world:fail("http", 500)
    world:issue()
    world:run(3600)
    assert.equal(4, #world.sent)
    world:fail("http", nil)
    function world.on_http() return { status = 422, body = '{"message":"closed year"}' } end
    world:issue()
    assert.matches("closed year", world:run()[1].message)
  end)

  it("keeps what a rule has changed at its vendor, and it is there", function()
    local made
    local world = testing.world { rules = function()
      local apply = billhook.dreamapply { base_url = "https://apply.example.edu",
        api_key = "real", webhook = { authorization = "Bearer real" } }
      local app = billhook.app { inbox = "sqlite:/nowhere/at/all.db", accounts = { here = apply } }
      app:on("invoice.created", { name = "again" }, function(event)
        if event.invoice_id ~= "1" then return end
        made = assert(apply.invoices:create(7, { currency = "EUR",
          items = { { item = "Fee", price = "25.00", qty = 1 } } }))
      end)
      return app
    end }
    world:issue()
    local runs = world:run(60)
    assert.equal("created", made.how)
    assert.same({ "POST https://dreamapply.test/api/v9/applications/7/invoices" }, runs[1].calls)
    assert.same({ "invoice.created", "invoice.created" }, types(runs))
    assert.equal(tostring(made.id), runs[2].invoice_id)
  end)

  it("has several accounts, of one vendor too, each by its name", function()
    local world = testing.world { accounts = { north = "dreamapply", south = "dreamapply" },
      rules = all }
    world:at("north"):issue()
    world:at("south"):issue()
    assert.equal(2, #world:run())
    assert.error_matches(function() world:issue() end, "issue: there are several accounts")
    assert.error_matches(function() world:issue() end, "say world:at(NAME):issue, of north, south",
      1, true)
    for message, wrong in pairs {
      ["at: there is no account 'east'; there are north, south"] = function() world:at "east" end,
      ["fail: there is no account 'htp'; there are north, south, and \"http\""] = function()
        world:fail("htp", 503)
      end,
    } do
      local _, raised = pcall(wrong)
      assert.equal(message, raised:match "^%S*testing_spec%.lua:%d+: (.*)$")
    end
  end)

  it("is no client of a real vendor, in the first test of a process either", function()
    local folder = command.folder()
    command.write(folder .. "/rules.lua", [[
      local billhook = require "billhook"
      return billhook.app { inbox = "sqlite:" .. os.getenv "HOME" .. "/real.db", accounts = {
        north = billhook.dreamapply { base_url = "https://real.example.edu", api_key = "real" },
        south = billhook.dreamclass { api_key = "real", tenant = "real", school_code = "R1" },
        tickets = billhook.betterez { api_key = "real", token = "real" } } }]])
    local script = command.write(folder .. "/first.lua", [[
      local testing = require "billhook.testing"
      local world = testing.world { rules = arg[1] }
      for _, name in ipairs { "north", "south", "tickets" } do
        print(world:at(name).name, world.app.accounts[name].options.base_url:match "%.test")
      end]])
    local result = command.run({ folder .. "/rules.lua" },
      { script = script, env = command.paths { HOME = folder } })
    assert.equal("", result.err)
    assert.equal("north\t.test\nsouth\t.test\ntickets\t.test\n", result.out)
    assert.equal("", command.read(folder .. "/real.db"))
    command.finish()
  end)

  it("has forgeries and lost webhooks", function()
    local world = testing.world { accounts = { a = "dreamclass" }, rules = all }
    assert.equal(401, world:forge())
    world:lose()
    world:issue()
    assert.equal(0, #world:run(60))
    world:at("a"):fail(503)
    assert.equal("server", select(2, world:invoice "1").kind)
  end)

  it("is of a rules file, whose modules and variables are its own", function()
    local folder = command.folder()
    command.write(folder .. "/posting.lua",
      [[return { ledger = require("billhook").http { base_url = os.getenv "LEDGER" } }]])
    command.write(folder .. "/rules.lua", [[
      local billhook = require "billhook"
      local posting = require "posting"
      local app = billhook.app { inbox = os.getenv "INBOX" or "memory:", accounts = {
        school = billhook.dreamapply { base_url = "https://x.example.edu",
          api_key = os.getenv "KEY", webhook = { authorization = os.getenv "HOOK" } } } }
      app:on("invoice.created", function(event)
        return posting.ledger:post("/", { id = event.id }, { event = event })
      end)
      return app]])
    for _ = 1, 2 do -- a second world is as the first one was
      local world = testing.world { rules = folder .. "/rules.lua",
        env = { LEDGER = "https://ledger.test", KEY = "key", PATH = false } }
      world:issue()
      assert.equal("done", world:run()[1].state)
      assert.equal("https://ledger.test/", world.sent[1].url)
    end
    assert.is_string(os.getenv "PATH")
    assert.equal(require("billhook.http").new, billhook.http)
    command.finish()
  end)

  it("raises for wrong use, and for mistakes in the rules", function()
    local function bad(message, options)
      assert.error_matches(function() testing.world(options) end, message)
    end
    bad("testing.world: 'rules' is missing", {})
    bad("testing.world: 'nonsense' is not known", { rules = all, nonsense = 1 })
    bad("testing.world: 'accounts' must be vendors by names",
      { rules = all, accounts = { a = "x" } })
    bad("'accounts' are those of the rules file", { rules = "x.lua", accounts = {} })
    bad("the rules must give what billhook.app has made", { rules = function() end })
    bad("cannot open nowhere.lua", { rules = "nowhere.lua" })
    bad("boom", { rules = function() error "boom" end })
    assert.is_nil(billhook.dreamapply { webhook = {} }.options.clock)
    local world = testing.world { accounts = { a = "betterez" }, rules = all }
    assert.error_matches(function() world:pay("1", "2.00") end,
      "a: payment.created: Betterez has no event payment.created; it has "
      .. "invoiceemail.created, invoices.created, ")
    assert.error_matches(function() world:overdue(world:issue()) end, "has no due date")
  end)

  it("ends where rules never come to rest", function()
    local world = testing.world { accounts = { a = "dreamapply" }, rules = all }
    function world.app.work() return 1 end
    assert.error_matches(function() world:run() end, "the rules never come to rest: 10000 rounds")
  end)
end)

describe("an event by itself", function()
  for _, type in ipairs { "invoice.created", "invoice.updated", "invoice.deleted", "invoice.paid",
    "invoice.overdue", "invoice.failed", "payment.created", "payment.updated", "payment.deleted",
    "payment.refunded" } do
    it("is a sample of " .. type, function()
      local event = testing.event(type)
      assert.equal(type, event.type)
      local gone = type:find "deleted$"
      assert.equal(gone and "nil" or "table", _G.type(event.data))
      assert.equal("table", _G.type(gone and event.previous or event.data))
      if type == "invoice.updated" then assert.is_truthy(next(event.changes)) end
    end)
  end

  it("is of another vendor, or has what the test says", function()
    assert.equal("betterez", testing.event("invoice.created", { vendor = "betterez" }).vendor)
    local event = testing.event("invoice.paid", { id = "x", account = "mine", attempt = 3,
      data = { id = 5, currency = "EUR", items = { { price = "2.00", qty = 3 } } } })
    assert.same({ "x", "mine", 3, nil }, { event.id, event.account, event.attempt, event.previous })
    assert.equal("6.00", tostring(billhook.invoice.total(event.data)))
    event = testing.event("STUDENT_CREATED", { vendor = "dreamclass", claims = { id = 9 } })
    assert.same({ 9, "id" }, { event.claims.id, event.trust })
    assert.is_nil(event.data)
  end)

  it("has the methods of an event", function()
    local event, times = testing.event("invoice.created", { latest = false }), 0
    local function step()
      times = times + 1
      return { n = times }
    end
    assert.same({ n = 1 }, event:once("a", step))
    assert.same({ n = 1 }, event:once("a", step))
    assert.is_false(event.latest)
    assert.equal(event.invoice_id, tostring(event:invoice().id))
    assert.same({}, event:deliveries())
  end)

  it("is judged as the app would", function()
    local event = testing.event "invoice.created"
    assert.is_true(testing.call(function() return { any = 1 } end, event))
    assert.same({ nil, "why" }, { testing.call(function() return nil, "why" end, event) })
    assert.matches("boom", select(2, testing.call(function() error "boom" end, event)))
    assert.same({ nil, "step 's': no" }, { testing.call(function(e)
      pcall(e.once, e, "s", function() return nil, "no" end)
    end, event) })
    assert.same({ nil, "asked to run again in 5 s" },
      { testing.call(function(e) return e:retry_after(5) end, event) })
  end)

  it("raises for what it cannot be", function()
    assert.error_matches(function() testing.event("invoice.paid", { dat = {} }) end,
      "testing.event: an event has no 'dat'")
    assert.error_matches(function() testing.event("invoice.paid", { vendor = "betterez" }) end,
      "Betterez has no event payment.created")
    for _, name in ipairs { "STUDENT_CREATED", "invoice.payed" } do
      assert.error_matches(function() testing.event(name) end, "there is no event '" .. name
        .. "'; there are invoice.created, invoice.deleted, .* %(a vendor's own needs 'data' or")
    end
    assert.error_matches(function() testing.event("invoice.paid", { vendor = "x" }) end,
      "there is no vendor 'x'")
  end)

  it("may have a moment of the test's", function()
    assert.equal(1800000000, testing.time "2027-01-15T08:00:00Z")
    assert.error_matches(function() testing.time "soon" end, "testing.time: no moment: soon")
  end)
end)

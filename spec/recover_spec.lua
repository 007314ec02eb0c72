-- Calls of an app that must not happen twice, over crashes: written down before they are sent, and
-- settled later. Here a crash is an error out of the transport, and what the inbox has of the
-- process is given a dead one's name then. kill_spec.lua has the real ones.

local billhook = require "billhook"
local command = require "spec.support.command"
local fake = require "billhook.transport.fake"
local json = require "billhook.json"
local owner = require "billhook.inbox.owner"
local sqlite = require "billhook.sqlite"

local fee = { currency = "EUR", items = { { item = "Fee", price = "25", qty = 1 } } }

-- A DreamApply with a mind of its own: on_post gives the answer, or a failure, or raises.
local function world()
  local self = { invoices = {}, posts = 0, looks = 0 }
  function self.make(sent)
    local invoice = { id = #self.invoices + 1, currency = sent.currency, items = {} }
    for i, item in ipairs(sent.items or {}) do
      invoice.items[i] = { item = item.item, price = item.price .. ".00", qty = "1.00" }
    end
    self.invoices[invoice.id] = invoice
    return { status = 201,
      headers = { Location = "/api/applications/123/invoices/" .. invoice.id } }
  end
  self.on_post = self.make
  function self.handler(request)
    if request.method == "GET" then
      self.looks = self.looks + 1
      local map = {}
      for _, one in ipairs(self.invoices) do map[tostring(one.id)] = one end
      return { body = next(map) and json.encode(map) or "[]" }
    end
    self.posts = self.posts + 1
    return self.on_post(json.decode(request.body), request)
  end
  return self
end

local lost = { kind = "timeout", message = "no answer" }
local n = 0

describe("the calls of an app", function()
  local path, there, now, log

  before_each(function()
    n = n + 1
    path = command.folder() .. "/inbox.db"
    there, now, log = world(), 1700000000, {}
  end)
  after_each(command.finish)

  -- what a new process has
  local function start(vendor, key)
    local account
    if vendor == "dreamclass" then
      account = billhook.dreamclass { api_key = "recover-" .. n, tenant = "t", school_code = "s",
        transport = fake.new(there.handler), attempts = 1 }
    else
      account = billhook.dreamapply { base_url = "https://apply.example.edu",
        api_key = key or "recover-" .. n, transport = fake.new(there.handler) }
    end
    return billhook.app { inbox = "sqlite:" .. path, accounts = { school = account },
      clock = function() return now end,
      log = function(level, name, fields)
        if level ~= "info" or name == "settled" then
          log[#log + 1] = name .. " " .. tostring(fields.found or fields.message
            or fields.operation)
        end
      end }
  end

  local function sql(text)
    local db = assert(sqlite.open(path))
    local rows = assert(db:query(text))
    db:close()
    return rows
  end

  -- what is left of each call in the inbox: { body, state, result }, and whose it is
  local function calls()
    local all = {}
    for _, row in ipairs(sql "SELECT value FROM texts WHERE name LIKE 'calls %'") do
      for _, one in ipairs(json.decode(row.value).calls) do all[#all + 1] = one end
    end
    return all
  end

  local function texts(kind)
    return sql(("SELECT name, value FROM texts WHERE name LIKE '%s %%'"):format(kind))
  end

  local function change(from, to)
    sql(("UPDATE texts SET value = CAST(replace(value, '%s', '%s') AS BLOB) "
      .. "WHERE name LIKE 'calls %%'"):format(from, to))
  end

  -- what the inbox has of this process is a dead one's
  local function bury(app)
    app.store:close()
    local dead = owner.name():gsub("/%d+/%d+$", "/4194305/1")
    change('"owner":"' .. owner.name() .. '"', '"owner":"' .. dead .. '"')
    sql("UPDATE invoices SET owner = '" .. dead .. "' WHERE owner IS NOT NULL")
    there.on_post = there.make
  end

  -- another process is in the place of each call
  local function take_place()
    for _, row in ipairs(texts "calls") do
      local line = json.decode(row.value)
      line.busy.token = "another"
      local text = json.encode(line):gsub("'", "''")
      sql(("UPDATE texts SET value = CAST('%s' AS BLOB) WHERE name = '%s'"):format(text, row.name))
    end
  end

  -- the process dies in the middle of the call
  local function crash(app, call, before)
    there.on_post = function(sent)
      if before then before(sent) end
      error("killed", 0)
    end
    local fine, why = pcall(call, app.accounts.school)
    assert.is_false(fine)
    assert.equal("killed", why)
    bury(app)
  end

  local function create(client, options) return client.invoices:create(123, fee, options) end

  it("are written down before they are sent, and gone when they are known", function()
    local app = start()
    there.on_post = function(sent)
      local all = calls()
      assert.equal(1, #all)
      assert.is_nil(all[1].state)
      local intent = json.decode(all[1].body)
      assert.equal("invoices.create 123", intent.place)
      assert.equal("EUR", intent.params.currency)
      assert.same({}, intent.before)
      local text = texts("calls")[1]
      assert.is_nil((text.name .. text.value):find("recover-", 1, true)) -- no key
      assert.is_truthy(json.decode(text.value).busy)
      return there.make(sent)
    end
    assert.equal("created", assert(create(app.accounts.school)).how)
    assert.equal(0, #texts "calls")
    assert.matches(" invoices%.create 123 1$", texts("claim")[1].name)
  end)

  it("are not sent where they can't be written down", function()
    local app = start()
    assert(app:open())
    sql "DROP TABLE texts"
    local none, err = create(app.accounts.school)
    assert.is_nil(none)
    assert.equal("store", err.kind)
    assert.equal(0, there.posts)
  end)

  it("are settled at the next start, and given to the call that asks again", function()
    crash(start(), create, function(sent) there.make(sent) end)
    local app = start()
    assert.equal(0, assert(app:work()))
    assert.same({ "settled 1" }, log)
    assert.same({ id = 1, location = "/api/v9/invoices/1", how = "found" },
      assert(create(app.accounts.school)))
    assert.equal(1, there.posts)
    assert.equal(0, #calls())
    -- it was given; who asks once more wants another one
    assert.equal(2, assert(create(app.accounts.school)).id)
    assert.equal(2, there.posts)
  end)

  it("are found by the call that asks again, where nobody settled them", function()
    crash(start(), create, function(sent) there.make(sent) end)
    local app = start()
    assert.same({ id = 1, location = "/api/v9/invoices/1", how = "found" },
      assert(create(app.accounts.school)))
    assert.equal(1, there.posts)
    assert.is_truthy(app)
  end)

  it("are not repeated while nobody knows, and are found when they show", function()
    crash(start(), create)
    local app = start()
    assert(app:work())
    assert.same({ "unknown_outcome invoices.create" }, log)
    local none, err = create(app.accounts.school)
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    assert.matches("nothing was sent", err.message)
    assert.equal("invoices.create", err.intent.operation)
    assert.equal(1, there.posts)
    there.make(fee)
    now = now + 61
    assert(app:work())
    assert.equal("settled 1", log[2])
    assert.equal(1, assert(create(app.accounts.school)).id)
    assert.equal(1, there.posts)
  end)

  it("come to nothing after an hour", function()
    crash(start(), create)
    now = now + 3601
    local app = start()
    assert(app:work())
    assert.same({ "given_up invoices.create" }, log)
    assert.equal("created", assert(create(app.accounts.school)).how)
    assert.equal(2, there.posts)
    assert.equal(0, #calls())
  end)

  it("are not given away where the answer had no id", function()
    local app = start()
    there.on_post = function(sent)
      there.make(fee) -- somebody else's
      there.make(sent)
      return { status = 201 }
    end
    local _, err = create(app.accounts.school)
    assert.equal("unknown_outcome", err.kind)
    assert.same({ "1", "2" }, err.candidates)
    assert.equal("unknown_outcome", select(2, create(app.accounts.school)).kind)
    assert.equal(1, there.posts) -- which of the two is its own is still unknown
    table.remove(there.invoices, 1)
    assert.equal(2, assert(create(app.accounts.school)).id)
    assert.equal(1, there.posts)
    assert.equal(0, #calls())
  end)

  it("are kept for a day for who asks again", function()
    crash(start(), create, function(sent) there.make(sent) end)
    assert(start():work())
    now = now + 86401
    local app = start()
    assert.equal(2, assert(create(app.accounts.school)).id)
    assert.equal(0, #calls())
  end)

  it("are found again by a rule that runs again after an unknown outcome", function()
    local app = start()
    there.on_post = function() return nil, lost end
    local _, err = create(app.accounts.school)
    assert.equal("unknown_outcome", err.kind)
    local none, again = create(app.accounts.school)
    assert.is_nil(none)
    assert.equal(err.intent.id, again.intent.id)
    assert.equal(1, there.posts)
    there.make(fee)
    assert.equal(1, assert(create(app.accounts.school)).id)
    assert.equal(1, there.posts)
    -- what asks for something else is sent all the same
    there.on_post = there.make
    assert.equal(2, assert(app.accounts.school.invoices:create(123,
      { currency = "USD", items = fee.items })).id)
  end)

  it("are given to client:settle, even where the next start found them", function()
    local app = start()
    there.on_post = function() return nil, lost end
    local _, err = create(app.accounts.school)
    there.make(fee)
    assert.equal(1, assert(app.accounts.school:settle(err.intent)).id)
    crash(app, create, function(sent) there.make(sent) end)
    app = start()
    local intent = json.decode(calls()[2].body)
    assert(app:work())
    assert.equal(2, assert(app.accounts.school:settle(intent)).id)
    -- whoever died before it could note that asks once more
    app.store:close()
    app = start()
    assert.equal(2, assert(app.accounts.school:settle(intent)).id)
    assert.equal(1, assert(app.accounts.school:settle(err.intent)).id)
    -- but another call for the same is another call
    local posts = there.posts
    assert.equal(3, assert(create(app.accounts.school)).id)
    assert.equal(posts + 1, there.posts)
    assert.is_nil(calls()[1].body:find("Fee", 1, true))
    now = now + 86401
    assert(create(app.accounts.school))
    assert.equal(0, #calls())
  end)

  it("are written down by a client that has outlived its app", function()
    local client = start().accounts.school
    collectgarbage()
    collectgarbage()
    there.on_post = function() return nil, lost end
    assert.equal("unknown_outcome", select(2, create(client)).kind)
    assert.equal(1, #calls())
    assert.equal("unknown_outcome", select(2, create(client)).kind)
    assert.equal(1, there.posts)
  end)

  it("are open still when the key was changed", function()
    crash(start(), create, function(sent) there.make(sent) end)
    local app = start(nil, "another key")
    assert(app:work())
    assert.same({ "settled 1" }, log)
    assert.equal(1, assert(create(app.accounts.school)).id)
    there.on_post = function() return nil, lost end
    local _, err = create(app.accounts.school)
    local first, third = start(), start(nil, "a third key") -- held: their clock is not the inbox's
    assert.equal("unknown_outcome", select(2, create(first.accounts.school)).kind)
    assert.equal(2, there.posts)
    there.make(fee)
    assert.equal(2, assert(third.accounts.school:settle(err.intent)).id)
    assert.is_true(first ~= third)
  end)

  it("are not given what was there before, where nobody looked", function()
    there.make(fee)
    crash(start(), function(client) return create(client, { settle_timeout = 0 }) end)
    local app = start()
    assert(app:work())
    assert.same({ "unknown_outcome invoices.create" }, log)
    local _, err = create(app.accounts.school)
    assert.equal("unknown_outcome", err.kind)
    assert.equal("an earlier call asked for the same, and what became of it is unknown: nothing was"
      .. " sent. The earlier one was sent 0 s ago; it can't be looked up, and none is sent for"
      .. " another 1440 minutes", err.message)
    now = now + 86401
    assert.equal(2, assert(create(app.accounts.school)).id)
  end)

  it("leave alone what belongs to another intent", function()
    crash(start(), create, function(sent) there.make(sent) end)
    sql("INSERT INTO texts SELECT replace(name, 'calls', 'claim') || ' 1', 'another', NULL "
      .. "FROM texts")
    local app = start()
    assert(app:work())
    assert.same({ "unknown_outcome invoices.create" }, log)
    assert.equal("unknown_outcome", select(2, create(app.accounts.school)).kind)
  end)

  it("wait for a process that is at the same place, and take over a dead one's", function()
    local first, second = start(), start()
    there.on_post = function(sent)
      there.on_post = there.make
      local none, err = second.accounts.school.invoices:create(123, fee, { timeout = 1 })
      assert.is_nil(none)
      assert.equal("another call of the same place did not end before the deadline:"
        .. " invoices.create 123, begun 0 s ago, may hold it for 45 s more: nothing was sent",
        err.message)
      assert.equal(45, err.retry_after)
      assert.equal(false, err.sent)
      -- another place is free
      assert(second.accounts.school.invoices:create(124, { currency = "USD", items = fee.items }))
      return there.make(sent)
    end
    assert.equal(2, assert(create(first.accounts.school)).id)
    crash(first, create)
    assert.equal("unknown_outcome", select(2, create(second.accounts.school)).kind)
  end)

  it("don't send where their place was lost meanwhile", function()
    local app = start()
    assert(app:open())
    there.handler = nil
    app = billhook.app { inbox = "sqlite:" .. path, log = function() end, accounts = {
      school = billhook.dreamapply { base_url = "https://apply.example.edu",
        api_key = "recover-" .. n, transport = fake.new(function(request)
          assert.equal("GET", request.method)
          take_place()
          return { body = "[]" }
        end) } } }
    local none, err = create(app.accounts.school)
    assert.is_nil(none)
    assert.equal("the place was lost", err.message)
    assert.equal(false, err.sent)
    assert.equal("another", json.decode(texts("calls")[1].value).busy.token)
  end)

  it("keep what they have seen before each attempt, and their place", function()
    local gets, stolen = 0, false
    local function client()
      return billhook.app { inbox = "sqlite:" .. path, log = function() end, accounts = {
        school = billhook.dreamapply { base_url = "https://apply.example.edu", quota = false,
          api_key = "recover-" .. n, transport = fake.new(function(request)
            if request.method == "GET" then
              gets = gets + 1
              if stolen and gets > 1 then take_place() end
              return { body = gets > 1 and '{"4":{"id":4}}' or "[]" }
            end
            there.posts = there.posts + 1
            if there.posts == 1 then return { status = 429 } end
            local body = json.decode(calls()[1].body)
            assert.same({ "4" }, body.before)
            return nil, lost
          end) } } }.accounts.school
    end
    local _, err = create(client())
    assert.equal("unknown_outcome", err.kind)
    assert.same({ "4" }, err.intent.before)
    assert.equal(2, there.posts)
    -- another call, which loses its place while it waits
    sql "DELETE FROM texts WHERE name LIKE 'calls %'"
    there.posts, gets, stolen = 0, 0, true
    _, err = create(client())
    assert.equal("the place was lost", err.message)
    assert.equal(1, err.attempts)
    assert.equal(1, there.posts)
    assert.equal(0, #calls())
  end)

  describe("of a rule", function()
    -- an app with a rule that creates `times` invoices, then fails or not
    local function rule(fails, times)
      local app = start()
      local ids = {}
      app:on("invoice.created", { name = "bill" }, function()
        for i = 1, times or 1 do
          local made, err = create(app.accounts.school)
          if not made then return nil, err end
          ids[i] = made.id
        end
        if fails() then error("something later", 0) end
      end)
      return app, ids
    end

    local function deliver(app, id)
      assert(assert(app:open()):apply { { account = "school", events = { {
        account = "school", id = "school:" .. id, vendor = "dreamapply", type = "invoice.created",
        live = true, trust = "api", data = "{}", rules = { "bill" } } } } })
    end

    it("give the same when it runs again", function()
      local times = 0
      local app, ids = rule(function()
        times = times + 1
        return times < 3
      end, 2)
      deliver(app, "1")
      for _ = 1, 5 do
        assert(app:work())
        now = now + 100
      end
      assert.equal(3, times)
      assert.same({ 1, 2 }, ids)
      assert.equal(2, there.posts)
      -- another event is another matter, and so is nobody in particular
      deliver(app, "2")
      assert(app:work())
      assert.same({ 3, 4 }, ids)
      assert.equal(5, assert(create(app.accounts.school)).id)
      local rows = calls()
      assert.equal(4, #rows)
      for _, row in ipairs(rows) do
        assert.is_nil(json.decode(row.body).params)
        assert.matches("/invoices/", json.decode(row.result).location)
      end
      now = now + 8 * 86400
      assert(create(app.accounts.school))
      assert.equal(0, #calls())
    end)

    it("give the same when it runs again with a reference", function()
      local app, times, ids = start(), 0, {}
      app:on("invoice.created", { name = "bill" }, function()
        times = times + 1
        local made = assert(create(app.accounts.school,
          { reference = { field = "smallprint", value = "order-A" } }))
        ids[times] = made.id
        if times < 3 then error("something later", 0) end
      end)
      deliver(app, "1")
      for _ = 1, 4 do
        assert(app:work())
        now = now + 100
      end
      assert.same({ 1, 1, 1 }, ids)
      assert.equal(1, there.posts)
    end)

    it("give the same after a crash", function()
      local app = rule(function() return false end)
      deliver(app, "1")
      there.on_post = function(sent)
        there.make(sent)
        error("killed", 0)
      end
      assert(app:work())
      bury(app)
      now = now + 100
      local again, ids = rule(function() return false end)
      assert(again:work())
      assert.matches("settled 1", table.concat(log, ", "))
      assert.same({ 1 }, ids)
      assert.equal(1, there.posts)
    end)

    it("are another's where two of them ask for the same", function()
      there.on_post = function() return nil, lost end
      local app, ids = rule(function() return false end)
      deliver(app, "1")
      assert(app:work()) -- unknown
      there.on_post = there.make
      deliver(app, "2")
      assert(app:work())
      assert.same({ 1 }, ids)
      assert.equal(2, there.posts)
      now = now + 3700
      assert(app:work()) -- nothing came of the first one
      assert.same({ 2 }, ids)
      assert.equal(3, there.posts)
    end)
  end)

  describe("that can't be looked up", function()
    local function pay(client, options)
      return client.invoices:pay(16, { amount = "5", paymentmethod = 1 }, options)
    end

    local function paid(_, request)
      return { body = ('{"id":%s}'):format(request.url:match("%d+$")) }
    end

    it("are written down too, and not repeated for a day", function()
      crash(start "dreamclass", pay)
      local app = start "dreamclass"
      assert(app:work())
      assert.same({ "unknown_outcome invoices.pay" }, log)
      local none, err = pay(app.accounts.school)
      assert.is_nil(none)
      assert.equal("unknown_outcome", err.kind)
      assert.equal(1, there.posts)
      there.on_post = paid
      -- another one is
      assert(app.accounts.school.invoices:pay(17, { amount = "5", paymentmethod = 1 }))
      assert(app.accounts.school.invoices:pay(16, { amount = "6", paymentmethod = 1 }))
      assert.equal(3, there.posts)
      now = now + 86401
      assert(pay(app.accounts.school))
      assert.equal(4, there.posts)
      assert.equal(0, #calls())
    end)

    it("stay unknown after a failure, and are gone after an answer", function()
      local app = start "dreamclass"
      there.on_post = function() return nil, lost end
      local _, err = pay(app.accounts.school)
      assert.equal("unknown_outcome", err.kind)
      assert.equal("invoices.pay /dreamclassapi/v1/financial/invoices/pay/16", err.intent.place)
      assert.equal("unknown_outcome", select(2, pay(app.accounts.school)).kind)
      assert.equal(1, there.posts)
      there.on_post = function() return { status = 422, body = "No." } end
      local none
      none, err = app.accounts.school.invoices:pay(18, { amount = "5", paymentmethod = 1 })
      assert.is_nil(none)
      assert.equal("invalid", err.kind)
      assert.equal(1, #calls())
    end)

    it("may be under way twice", function()
      local app = start "dreamclass"
      there.on_post = function(sent, request)
        there.on_post = paid
        assert(pay(app.accounts.school))
        return paid(sent, request)
      end
      assert(pay(app.accounts.school))
      assert.equal(2, there.posts)
    end)
  end)
end)

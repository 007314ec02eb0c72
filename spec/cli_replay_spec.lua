-- `billhook replay`, in earnest and as a rehearsal; `quota`, `inbox ... --follow`, and ids by their
-- beginning.

local command = require "spec.support.command"
local json = require "billhook.json"

local folder, url, rules

local function uuid(n) return ("%08d-05b5-4fcd-bd04-505bfffacfc2"):format(n) end
local function id(n) return "school:" .. uuid(n) end

local function write_rules(name, text)
  return command.write(folder .. "/" .. name, ([[
    local billhook = require "billhook"
    local ledger = billhook.http { base_url = "http://127.0.0.1:9/ledger" }
    local school = billhook.dreamclass { base_url = "http://127.0.0.1:9/dreamclassapi/v1",
      api_key = "key", tenant = "my-school", school_code = "MS1", read_back = false,
      webhook = { secret = "123" } }
    local app = billhook.app { inbox = %q, attempts = 1, log = function() end,
      accounts = { school = school, tickets = billhook.betterez {
        webhook = { secret = "sandbox-private-key" } } } }
    %s
    return app]]):format(url, text))
end

local function app_of(path) return assert(loadfile(path))() end

local function deliver(n, invoice)
  local app = app_of(rules)
  local body = ('{"id":"%s","type":"INVOICE_CREATED","tenant":"my-school","timestamp":1,'
    .. '"data":{"id":%d}}'):format(uuid(n), invoice)
  local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
  assert.equal(200, (app:receive("school", headers, signed)))
  while assert(app:work()) > 0 do end
  app.store:close()
end

-- An invoice whose state its delivery proves.
local function deliver_ticket()
  local app = app_of(rules)
  local world = require("billhook.sandbox").new { webhooks = { betterez = "http://localhost/" },
    post = function(_, headers, body) return (app:receive("tickets", headers, body)) end }
  world:order("trigger", { vendor = "betterez" })
  world:run()
  while assert(app:work()) > 0 do end
  app.store:close()
  return world.deliveries[1].invoice
end

-- All that the inbox has, as text.
local function everything()
  local db = assert(require("billhook.sqlite").open(folder .. "/inbox.db"))
  local parts = {}
  for _, of in ipairs { "deliveries", "events", "invoices", "marks", "results", "texts" } do
    for _, row in ipairs(assert(db:query("SELECT * FROM " .. of .. " ORDER BY 1, 2"))) do
      parts[#parts + 1] = json.encode(row)
    end
  end
  db:close()
  return table.concat(parts, "\n")
end

before_each(function()
  folder = command.folder()
  url = "sqlite:" .. folder .. "/inbox.db"
  rules = write_rules("rules.lua", [[
    app:on("invoice.created", { name = "book" }, function(event)
      event:once("step", function() return 1 end)
    end)]])
  deliver(1, 16)
end)

after_each(command.finish)

local function bill(...) return command.run { ... } end

describe("billhook replay --dry-run", function()
  it("prints what changed rules would do, and changes nothing #both", function()
    local changed = write_rules("changed.lua", [[
      app:on("invoice.created", { name = "book" }, function(event)
        print("seen", event.claims.id)
        event:once("post", function()
          return ledger:post("/entries", { invoice = event.invoice_id }, { event = event })
        end)
        local made = assert(school.invoices:create { entityType = "student", entityId = 5,
          schoolPeriodId = 1 })
        assert(ledger:post("/made", { of = made.entityId }))
      end)
      app:on("invoice.*", { name = "second" }, function() return nil, "not today" end)]])
    local before = everything()
    local result = bill("replay", id(1):sub(1, 14), "--dry-run", changed, "--json")
    assert.equal(1, result.code, result.err) -- one of them would fail
    assert.equal("seen\t16\n", result.err)
    local results = json.decode(result.out)
    local book, second = results[1], results[2]
    assert.equal(2, #results)
    assert.same({ "book", "done", 3, id(1) }, { book.rule, book.state, #book.calls, book.id })
    assert.same({ method = "POST", url = "http://127.0.0.1:9/ledger/entries",
      body = '{"invoice":"16"}' }, book.calls[1])
    assert.same({ "invoices.create", '{"of":5}' }, { book.calls[2].operation, book.calls[3].body })
    assert.same({ "second", "failed", "not today", 0 }, { second.rule, second.state,
      second.message, #second.calls })
    assert.equal(before, everything())
  end)

  it("shows it to people, one rule where that is wanted", function()
    local changed = write_rules("changed.lua", [[
      app:on("*", { name = "book" }, function(event)
        return ledger:delete("/entries/" .. event.invoice_id)
      end)
      app:on("*", { name = "other" }, function() error "not run" end)]])
    local result = bill("replay", id(1), "--dry-run", changed, "--rule", "book")
    assert.equal(0, result.code, result.err)
    assert.matches("WOULD BE", result.out, 1, true)
    assert.matches("book: DELETE http://127.0.0.1:9/ledger/entries/16", result.out, 1, true)
  end)

  it("says what it cannot run", function()
    for _, case in ipairs {
      { { "school:none" }, "school:none: no such event" },
      { { id(1), "--rule", "x" }, "rule x does not want it" },
      { { id(1), "--inbox", "sqlite:" .. folder .. "/none.db" }, "no inbox" },
    } do
      local argv = { "replay", "--dry-run", rules }
      for _, word in ipairs(case[1]) do argv[#argv + 1] = word end
      local result = command.run(argv)
      assert.equal(1, result.code)
      assert.matches(case[2], result.err, 1, true)
    end
    local broken = command.write(folder .. "/broken.lua", "local = 1")
    assert.matches("broken.lua:1:", bill("replay", id(1), "--dry-run", broken).err, 1, true)
    assert.equal(2, bill("replay", id(1), "--rule", "x").code)
  end)
end)

describe("billhook replay", function()
  it("has events run again, by the beginning of their ids #both", function()
    local result = bill("replay", "school:00000001", "--inbox", url)
    assert.equal(0, result.code, result.err)
    assert.equal("1 to run again\n", result.out)
    result = bill("replay", "school:0", "--inbox", url, "--json")
    assert.same({ again = 0 }, json.decode(result.out))
    deliver(2, 17)
    result = bill("replay", "school:0000000", "--inbox", url)
    assert.equal(1, result.code)
    assert.matches("several ids (" .. id(1) .. ", " .. id(2), result.err, 1, true)
    assert.matches("no event school:9", bill("replay", "school:9", "--inbox", url).err, 1, true)
    assert.equal("1 to run again\n", bill("inbox", "retry", "school:00000002", "--inbox", url).out)
    assert.equal(0, bill("inbox", "show", "school:00000002", "--inbox", url).code)
    assert.matches("several ids", bill("inbox", "show", "school:0000", "--inbox", url).err, 1, true)
  end)

  it("takes the inbox of BILLHOOK_INBOX", function()
    local result = command.run({ "replay", id(1) }, { env = { BILLHOOK_INBOX = url,
      LUA_PATH = "lua/?.lua;lua/?/init.lua;;", LUA_CPATH = os.getenv "LUA_CPATH" } })
    assert.equal("1 to run again\n", result.out, result.err)
  end)
end)

describe("billhook quota", function()
  it("says what is left, and when more comes", function()
    local path = command.write(folder .. "/apply.lua", ([[
      local billhook = require "billhook"
      return billhook.app { inbox = %q, accounts = {
        apply = billhook.dreamapply { base_url = "http://127.0.0.1:9", api_key = "key",
          attempts = 1 },
        school = billhook.dreamclass { tenant = "t", webhook = { secret = "123" } } } }]])
      :format(url))
    local fresh = json.decode(bill("quota", path, "apply", "--json").out)
    assert.same({ apply = { limit = 180, left = 180 } }, fresh)
    local app = app_of(path)
    app.accounts.apply:ping() -- nobody is there; it counts all the same, or it does not
    app.store:close()
    local result = bill("quota", path)
    assert.equal(0, result.code, result.err)
    assert.matches("ACCOUNT +LIMIT +LEFT +MORE AT", result.out)
    assert.matches("apply +180 +1%d%d", result.out)
    assert.matches("school +no limit", result.out)
    result = bill("quota", path, "nobody")
    assert.equal(1, result.code)
    assert.equal(("billhook: %s has no account nobody; it has apply, school\n"):format(path),
      result.err)
  end)
end)

describe("billhook inbox --follow", function()
  for _, of in ipairs { "deliveries", "events", "invoices" } do
    it("goes on with " .. of .. " until Ctrl-C", function()
      local first = of == "invoices" and deliver_ticket()
      local child = command.start { "inbox", of, "--follow", "--inbox", url, "--json" }
      local function lines()
        local list = {}
        for line in command.read(child.folder .. "/out"):gmatch "[^\n]+" do
          list[#list + 1] = json.decode(line)
        end
        return list
      end
      command.wait("what is there", function() return #lines() == 1 end)
      local new = "17"
      if of == "invoices" then new = deliver_ticket() else deliver(2, 17) end
      command.wait("what is new", function() return #lines() == 2 end)
      assert.same({ of == "invoices" and first or "16", new },
        { lines()[1].invoice, lines()[2].invoice })
      child:signal "INT"
      assert.equal(130, child:wait())
    end)
  end
end)

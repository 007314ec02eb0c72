-- inbox_copy_spec.lua: an inbox that moves from SQLite to PostgreSQL, and back.

local billhook = require "billhook"
local command = require "spec.support.command"
local copies = require "billhook.inbox.copy"
local desk = require "spec.support.inbox"
local inbox = require "billhook.inbox"
local json = require "billhook.json"
local postgres = require "spec.support.postgres"

local server, folder, file
setup(function() server = postgres.database() end)
teardown(function() server:remove() end)
before_each(function()
  server:sql "DROP SCHEMA IF EXISTS billhook CASCADE"
  folder = command.folder()
  file = "sqlite:" .. folder .. "/inbox.db"
end)
after_each(command.finish)

local TABLES = { "deliveries", "invoices", "events", "marks", "results", "texts", "counters" }

-- All that an inbox holds, as text.
local function content(url)
  local store, all = assert(inbox.open(url)), {}
  assert(store:read(function(query)
    for _, name in ipairs(TABLES) do
      for _, row in ipairs(query("SELECT * FROM " .. name)) do
        local fields = {}
        for column, value in pairs(row) do
          fields[#fields + 1] = ("%s=%s"):format(column, tostring(value))
        end
        table.sort(fields)
        all[#all + 1] = name .. ": " .. table.concat(fields, " ")
      end
    end
    return true
  end))
  store:close()
  table.sort(all)
  return all
end

-- A desk with work of every kind behind it and before it.
local function busy(url)
  local d = desk.new { inbox = url }
  d:listen()
  d.app:on("invoice.updated", { name = "steps" }, function(event)
    event:once("number", function() return event.data.nr end)
    if event.invoice_id == "3" and not d.fixed then return nil, "not yet" end
  end)
  for id = 1, 5 do d:put(id) end
  d:settled()
  for id = 1, 3 do
    d:pay(id)
    d:news(id)
  end
  d:school() -- an account that cannot be read back
  d:work()
  d:pay(4)
  d:news(4) -- not looked at yet
  d.app:open():count { { name = "x", n = 2, total = 3 } }
  return d
end

-- The same app on another inbox.
local function moved(d, url)
  local all = {}
  for name, value in pairs(d.options) do all[name] = value end
  all.inbox = url
  d.app = billhook.app(all)
  return d
end

local function copied(from, to)
  local counts, why = copies.copy(from, to)
  assert(counts, tostring(why))
  return counts
end

describe("inbox copy", function()
  it("carries everything over, there and back #both", function()
    local d = busy(file)
    d.app.store:close()
    local before = content(file)
    local counts = copied(file, server.url)
    local all = 0
    for _, n in pairs(counts) do all = all + n end
    assert.equal(#before, all)
    for _, name in ipairs(TABLES) do assert.is_true(counts[name] > 0, name) end
    assert.same(before, content(server.url))
    copied(server.url, "sqlite:" .. folder .. "/back.db")
    assert.same(before, content("sqlite:" .. folder .. "/back.db"))
    assert.same(before, content(file)) -- which is as it was
  end)

  it("is gone on from as if nothing had happened", function()
    local d = busy(file)
    d.app.store:close()
    d:took()
    copied(file, server.url)
    moved(d, server.url):listen()
    local steps = 0
    d.app:on("invoice.updated", { name = "steps" }, function(event)
      event:once("number", function() steps = steps + 1 end)
    end)
    d:pass(120, 10)
    -- what was waiting, and nothing of what was told before
    assert.equal("invoice.updated 4@2, payment.created 4@2, invoice.paid 4@2", d:took())
    assert.equal(1, steps) -- of invoice 4; that of 3 was kept
    assert.equal(0, d.app.store:stats().pending)
    -- the vendor sends again what is known
    d:school()
    d:work()
    assert.equal("", d:took())
    d.app.store:close()
  end)

  it("gives numbers beyond all that were given", function()
    local d = busy(file)
    local ticket = d.app.store:ticket().ticket
    local last = d.app.store:deliveries { limit = 1 }[1].seq
    d.app.store:close()
    copied(file, server.url)
    local store = assert(inbox.open(server.url))
    assert.is_true(store:ticket().ticket > ticket)
    moved(d, server.url).app:use_store(store)
    d:news(5)
    assert.equal(last + 1, store:deliveries { limit = 1 }[1].seq)
    ticket = store:ticket().ticket
    store:close()
    copied(server.url, "sqlite:" .. folder .. "/back.db")
    store = assert(inbox.open("sqlite:" .. folder .. "/back.db"))
    assert.is_true(store:ticket().ticket > ticket)
    store:close()
  end)

  it("clears leases: a run that was under way counts as failed", function()
    local d = busy(file)
    d.now = d.now + 3600
    local store = d.app.store
    local claimed = store:claim { kind = "run", account = "apply", owner = "a/1/2/3", lease = 1e9,
      limit = 8, page = 8 }
    assert.equal(1, #claimed.rows)
    local row = claimed.rows[1]
    assert(store:mark(row.lane, row.token, nil,
      { lane = row.lane, seq = row.events[1].seq, rule = "steps" }))
    store:close()
    copied(file, server.url)
    store = assert(inbox.open(server.url))
    assert.same({}, store:running())
    assert.equal(0, store:stats().leased)
    assert.is_true(store:due({ owner = "b" }).accounts.apply.runs)
    local event = store:show(claimed.rows[1].events[1].id)
    assert.equal(2, event.marks.steps.attempts)
    store:close()
  end)

  it("moves what is planned where the target's clock is behind", function()
    local d = busy(file)
    d.app.store:close()
    local there = "sqlite:" .. folder .. "/there.db"
    local source = assert(inbox.open(file))
    local now = source:clock().now
    assert(source:ticket()) -- notes the time
    source:close()
    copied(file, there)
    local behind = assert(inbox.open(there, { clock = function() return now / 1000 - 3600 end }))
    local before = behind:look("apply", { "3" }).rows[1].run_due
    assert(behind:ticket())
    local after = behind:look("apply", { "3" }).rows[1].run_due
    behind:close()
    assert.is_true(math.abs(before - after - 3600000) < 60000, before - after)
  end)

  it("refuses a source or a target that is in use, and a target with anything in it", function()
    local d = busy(file)
    local store = assert(inbox.open(server.url))
    local function refused(code, from, to)
      local counts, why = copies.copy(from, to)
      assert.is_nil(counts)
      assert.equal(code, why.code, tostring(why))
    end
    refused("IN_USE", file, server.url) -- both
    d.app.store:close()
    refused("IN_USE", file, server.url)
    refused("IN_USE", server.url, "sqlite:" .. folder .. "/other.db")
    store:close()
    copied(file, server.url)
    refused("NOT_EMPTY", file, server.url)
    local empty = assert(inbox.open("sqlite:" .. folder .. "/one.db"))
    assert(empty:set("health", "1"))
    empty:close()
    refused("NOT_EMPTY", server.url, "sqlite:" .. folder .. "/one.db")
    refused("SQLITE_CANTOPEN", file, "sqlite:/no/such/folder/a.db")
  end)

  it("holds few rows in memory at a time", function()
    local store = assert(inbox.open(file))
    local most, rows = 0, {}
    for i = 1, 400 do
      rows[i] = { account = "a", id = "d" .. i, vendor = "betterez", type = "t", native = "t",
        live = true, trust = "body", body = ("x"):rep(65536) }
    end
    assert(store:admit(rows))
    store:close()
    rows = nil -- luacheck: ignore 311
    local function live()
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    local before = live()
    local counts = assert(copies.copy(file, server.url, function(done)
      if done % 40 == 0 then most = math.max(most, live() - before) end
    end))
    assert.equal(400, counts.deliveries)
    assert.is_true(most < 4096, most) -- KiB, of 25,600
  end)
end)

describe("a copy that is killed in the middle", function()
  -- A process that copies and stops before the row `at`; killed there.
  local function kill_at(at, from, to)
    local mark = folder .. "/there"
    os.remove(mark)
    local child = command.start({}, { script = command.write(folder .. "/copy.lua", ([[
      package.path, package.cpath = %q, %q
      local process = require "billhook.process"
      require("billhook.inbox.copy").copy(%q, %q, function(done)
        if done == %d then
          io.open(%q, "w"):close()
          process.sleep(600)
        end
      end)]]):format(package.path, package.cpath, from, to, at, mark)) })
    command.wait("the middle of a copy", function() return io.open(mark) end):close()
    child:signal "KILL"
    child:wait()
  end

  for _, way in ipairs { "to PostgreSQL", "to SQLite" } do
    it("leaves its target empty, " .. way, function()
      local d = busy(file)
      d.app.store:close()
      local before, from, to = content(file), file, server.url
      if way == "to SQLite" then
        copied(file, server.url)
        from, to = server.url, "sqlite:" .. folder .. "/to.db"
      end
      for _, at in ipairs { 1, math.floor(#before / 2), #before } do
        kill_at(at, from, to)
        assert.same({}, content(to))
      end
      copied(from, to)
      assert.same(before, content(to))
      assert.same(before, content(from))
    end)
  end
end)

describe("billhook inbox copy", function()
  it("says what it has copied, and why not", function()
    busy(file).app.store:close()
    local before = #content(file)
    local result = command.run { "inbox", "copy", "--from", file, "--to", server.url }
    assert.equal(0, result.code, result.err)
    assert.matches("deliveries +5", result.out)
    result = command.run { "inbox", "copy", "--from", file, "--to", server.url }
    assert.same({ 1, "" }, { result.code, result.out })
    assert.matches("the target is not empty", result.err)
    local back = "sqlite:" .. folder .. "/back.db"
    result = command.run { "inbox", "copy", "--from", server.url, "--to", back, "--json" }
    assert.equal(0, result.code, result.err)
    local all = 0
    for _, n in pairs(json.decode(result.out)) do all = all + n end
    assert.equal(before, all)
    for message, words in pairs {
      ["copy: %-%-to is missing"] = { "--from", file },
      ["copy: %-%-from is missing"] = { "--to", file },
      ["an inbox in memory cannot be copied"] = { "--from", "memory:", "--to", file },
      ["the same inbox"] = { "--from", file, "--to", file },
      ["copy: %-%-to must be"] = { "--from", file, "--to", "mysql://x" },
    } do
      result = command.run { "inbox", "copy", (table.unpack or rawget(_G, "unpack"))(words) }
      assert.equal(2, result.code)
      assert.matches(message, result.err)
    end
    result = command.run { "inbox", "copy", "--from", "sqlite:" .. folder .. "/none.db", "--to",
      file }
    assert.equal(1, result.code)
    assert.matches("there is no inbox .*/none%.db: %-%-from names the one to copy\n", result.err)
  end)
end)

-- inbox_postgresql_spec.lua: the inbox in PostgreSQL, on a real server.

local inbox = require "billhook.inbox"
local owner = require "billhook.inbox.owner"
local postgres = require "spec.support.postgres"
local pq = require "billhook.pq"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"

-- busted gives its functions only to the spec file itself
local environment = rawget(_G, "getfenv") and getfenv(1) or _ENV
local contract = assert(loadfile("spec/inbox_contract.lua", "t", environment))()

local server
setup(function()
  server = postgres.start()
  inbox.open(server.url):close()
end)
teardown(function() server:remove() end)

-- a new, empty one
local function open(options)
  server:empty()
  return inbox.open(server.url, options)
end

-- To make a connection, and to fill its caches, takes the server longer than most of these tests: a
-- store that is opened so has the connection of the one before, which was closed.
local reach, kept = pq.open, nil

local function keep(...)
  if kept and not kept:lost() then return kept end
  local db, code, message = reach(...)
  if not db then return nil, code, message end
  local function close()
    db:exec "ROLLBACK"
    db:exec "RESET ALL; SELECT pg_advisory_unlock_all()"
  end
  kept = setmetatable({ close = close }, { __index = function(_, name)
    return function(_, ...) return db[name](db, ...) end
  end })
  return kept
end

local function open_again(options)
  pq.open = keep -- luacheck: ignore 122
  local store, err = open(options)
  pq.open = reach -- luacheck: ignore 122
  return store, err
end

describe("inbox postgresql: #both", function()
  setup(function() pq.open = keep end) -- luacheck: ignore 122
  teardown(function() pq.open = reach end) -- luacheck: ignore 122

  contract(open)
end)

-- --- what only several connections can show -----------------------------------

local lua = rawget(_G, "jit") and "/usr/bin/luajit" or "/usr/bin/lua5.4"

local COMMON = [[
process = require "billhook.process"
function delivery(id, invoice)
  return { account = "school", id = id, again = true, vendor = "dreamclass",
    type = "invoice.updated", native = "INVOICE_UPDATED", invoice = invoice, live = true,
    trust = "id", body = ("x"):rep(600) }
end
function event(id, invoice)
  return { account = "school", id = "school:" .. id, vendor = "dreamclass",
    type = "invoice.updated", invoice = invoice, live = true, trust = "api", data = "{}",
    rules = { "r" } }
end
function add(store, ...)
  for _, one in ipairs { ... } do
    assert(store:apply { { account = "school", invoice = one.invoice, events = { one } } })
  end
end
function route(store, one)
  assert(store:apply { { account = "school", route = { { seq = one.seq, state = "done" } } } })
end
function claim(store, who, limit)
  return assert(store:claim { kind = "run", account = "school", owner = who or "me", lease = 60000,
    limit = limit or 10, page = 16 }).rows
end
]]
-- the same here
local delivery, event, add, route, claim = assert((loadstring or load)( -- luacheck: ignore 143
  COMMON:gsub("process = require.-\n", "") .. "return delivery, event, add, route, claim"))()

-- A process that runs a text with `url` and `store` in it; what it prints goes into a file.
local function start(text, output)
  local prelude = ("package.path, package.cpath, url = %q, %q, %q\n"):format(package.path,
    package.cpath, server.url)
  return assert(process.spawn({ lua, "-e", prelude .. COMMON .. text },
    { stdout = output, stderr = output, die = "KILL" }))
end

local STORE = 'store = assert(require("billhook.inbox").open(url))\n'

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function finished(pid, output)
  assert.are.same({ "exit", 0 }, { process.wait(pid) }, read(output))
end

local function eventually(check)
  local deadline = process.monotonic() + 60
  while not check() do
    if process.monotonic() > deadline then error("it did not become true", 2) end
    process.sleep(0.002)
  end
end

local function mark(store, row, seq)
  return store:mark(row.lane, row.token, { seq = seq or row.events[1].seq, rule = "r",
    state = "done" })
end

describe("inbox postgresql: with others beside it", function()
  local folder, store
  local db -- one connection for all of them, but those that look at what sessions leave

  before_each(function()
    folder = scratch.folder "inbox"
    store = assert(open_again {})
    if not db or db:lost() then db = assert(pq.open(server.url)) end
    assert(db:exec "RESET ALL; SET search_path = billhook")
  end)

  after_each(function()
    store:close()
    db:exec "ROLLBACK"
    process.remove_tree(folder)
  end)

  teardown(function() if db then db:close() end end)

  -- waits until somebody waits for a lock (seen from outside: a transaction sees it only once)
  local function blocked()
    eventually(function()
      return server:sql([[SELECT count(*) AS n FROM pg_stat_activity
        WHERE wait_event_type = 'Lock']])[1].n > 0
    end)
  end

  local function number(text) return db:query("SELECT count(*) AS n FROM " .. text)[1].n end

  -- a process that does this with a store of its own
  local function beside(text, n)
    return start(STORE .. text, folder .. "/out" .. (n or ""))
  end

  it("is made by many processes at once", function()
    for round = 1, 3 do
      store:close()
      assert(db:exec "DROP SCHEMA billhook CASCADE")
      local pids = {}
      for i = 1, 5 do pids[i] = beside("assert(store:close())", i) end
      for i, pid in ipairs(pids) do finished(pid, folder .. "/out" .. i) end
      store = assert(inbox.open(server.url))
      assert.are.same({ "new" }, store:admit { delivery("a" .. round) })
    end
  end)

  it("admits by a write to one table", function()
    local function writes()
      -- statistics of a session come when it ends
      store:close()
      db:close()
      server.db:close()
      server.db = nil
      local rows = {}
      eventually(function()
        rows = server:sql [[SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n
          FROM pg_stat_user_tables WHERE schemaname = 'billhook' AND relname <> 'meta']]
        return server:sql([[SELECT count(*) AS n FROM pg_stat_activity
          WHERE application_name = 'billhook' AND pid <> pg_backend_pid() AND datname IS NOT NULL
          AND query LIKE '%deliveries%']])[1].n == 0
      end)
      store = assert(inbox.open(server.url))
      db = assert(pq.open(server.url))
      local out = {}
      for _, row in ipairs(rows) do out[row.relname] = row.n end
      return out
    end
    local before = writes()
    local list = {}
    for i = 1, 40 do list[i] = delivery("a" .. i % 30, tostring(i)) end
    assert(store:admit(list))
    assert(store:admit(list))
    local after
    eventually(function()
      after = writes()
      return after.deliveries > before.deliveries
    end)
    for name, n in pairs(after) do
      if name ~= "deliveries" then assert.are.equal(before[name], n, name) end
    end
  end)

  it("skips no delivery whose lower number comes to light after a higher one", function()
    assert(db:exec [[BEGIN; INSERT INTO deliveries (account, id, state, again, seen, vendor, type,
      native, live, trust, received_at, last_at, body)
      VALUES ('school', 'late', 'new', 0, 1, 'v', 't', 'n', 1, 'id', 0, 0, '')]])
    store:admit { delivery "early" }
    local list = store:incoming("school", 10)
    assert.are.equal("early", list[1].key)
    route(store, list[1])
    assert.are.same({}, store:incoming("school", 10))
    assert(db:exec "COMMIT")
    local late = store:incoming("school", 10)[1]
    assert.are.equal("late", late.key)
    assert.is_true(late.seq < list[1].seq)
    assert.is_true(store:due({ owner = "me" }).incoming.school)
  end)

  it("counts one that was routed as earlier, though its number is the higher one", function()
    assert(db:exec [[BEGIN; INSERT INTO deliveries (account, id, state, again, seen, vendor, type,
      native, live, trust, received_at, last_at, body)
      VALUES ('school', 'e late', 'new', 0, 1, 'v', 't', 'n', 1, 'id', 0, 0, '')]])
    store:admit { delivery "e early" }
    local one = store:incoming("school", 10)[1]
    assert.are.equal(0, one.earlier)
    route(store, one)
    assert(db:exec "COMMIT")
    assert.are.equal(1, store:incoming("school", 10)[1].earlier)
  end)

  it("takes an id once, whoever comes with it in whatever order, and nobody waits in a circle",
    function()
      local pids = {}
      for i = 1, 3 do
        pids[i] = beside(("SEED = %d\n"):format(i) .. [[
          math.randomseed(SEED)
          assert(store.db:exec "SET deadlock_timeout = '10ms'")
          function store.dialect.again(code) error(code) end
          for round = 1, 25 do
            local list = {}
            for n = 1, 40 do list[n] = delivery(round .. "-" .. n, tostring(n % 7)) end
            for n = 40, 2, -1 do
              local m = math.random(n)
              list[n], list[m] = list[m], list[n]
            end
            for n, result in ipairs(assert(store:admit(list))) do
              if result == "new" then print(list[n].id) end
            end
          end]], i)
      end
      local seen, count = {}, 0
      for i, pid in ipairs(pids) do
        finished(pid, folder .. "/out" .. i)
        for id in read(folder .. "/out" .. i):gmatch "%S+" do
          assert.is_nil(seen[id], id)
          seen[id] = true
          count = count + 1
        end
      end
      assert.are.equal(1000, count)
      assert.are.equal(3000, db:query "SELECT sum(seen)::bigint AS n FROM deliveries"[1].n)
    end)

  it("routes, marks, claims and admits side by side, and nobody waits in a circle", function()
    local text = [[
      assert(store.db:exec "SET deadlock_timeout = '10ms'")
      function store.dialect.again(code)
        if code == "PG_DEADLOCK_DETECTED" then os.exit(3) end
      end
    ]]
    local admits = text .. [[
      for n = 1, 40 do
        local list = {}
        for k = 1, 4 do list[k] = delivery(WHO .. n .. "-" .. k, tostring(5 - k)) end
        assert(store:admit(list))
        for k = 1, 4 do add(store, event(WHO .. n .. "-" .. k, tostring(k))) end
      end
    ]]
    local works = text .. [[
      for n = 1, 60 do
        local rows = claim(store, WHO, 4)
        for _, row in ipairs(rows) do
          for _, one in ipairs(row.events) do
            assert(store:mark(row.lane, row.token, { seq = one.seq, rule = "r", state = "done" },
              { lane = row.lane, seq = one.seq, rule = "r" }))
          end
        end
        local plans = {}
        for n, row in ipairs(rows) do
          plans[n] = { lane = row.lane, token = row.token, after = 0 }
        end
        assert(store:release(plans))
        local list = store:incoming("school", 3)
        for _, one in ipairs(list) do
          route(store, one)
        end
      end
    ]]
    local pids = {}
    for i, what in ipairs { admits, admits, works, works } do
      pids[i] = beside(("WHO = 'w%d'\n"):format(i) .. what, i)
    end
    for i, pid in ipairs(pids) do finished(pid, folder .. "/out" .. i) end
    assert.are.equal(320, number "events")
    assert.are.equal(0, number "events WHERE state <> 'done' AND open = 0")
  end)

  it("runs a transaction once more that was ended because of a circle", function()
    add(store, event("a", "1"), event("b", "2"))
    db:exec "SET deadlock_timeout = '30s'; BEGIN"
    db:exec "SELECT * FROM invoices WHERE invoice = '2' FOR UPDATE"
    local pid = beside [[assert(store.db:exec "SET deadlock_timeout = '2s'") -- it looks once
      local c, d = event("c", "1"), event("d", "2")
      assert(store:apply { { account = "school", events = { c, d } } })]]
    blocked()
    db:exec "SELECT * FROM invoices WHERE invoice = '1' FOR UPDATE" -- it gives way
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.are.equal("pending", store:show("school:d").state)
  end)

  it("claims past the rows that somebody has in hand", function()
    add(store, event("a", "1"), event("b", "2"))
    db:exec "BEGIN; SELECT * FROM invoices WHERE invoice = '1' FOR UPDATE"
    local rows = claim(store)
    assert.are.equal(1, #rows)
    assert.are.equal("school:b", rows[1].events[1].id)
    db:exec "COMMIT"
    assert.are.equal("school:a", claim(store)[1].events[1].id)
  end)

  it("gives no row to two processes, and every event to one", function()
    local list = {}
    for i = 1, 200 do list[i] = event(tostring(i), tostring(i % 60)) end
    assert(store:apply { { account = "school", events = list } })
    local pids = {}
    for i = 1, 3 do
      pids[i] = beside([[
        local me = require("billhook.inbox.owner").name()
        repeat
          local rows = claim(store, me, 3)
          for _, row in ipairs(rows) do
            for _, one in ipairs(row.events) do
              print(one.id)
              assert(store:mark(row.lane, row.token, { seq = one.seq, rule = "r", state = "done" }))
            end
            assert(store:release { { lane = row.lane, token = row.token } })
          end
        until #rows == 0 and store:stats().pending == 0]], i)
    end
    local seen, count = {}, 0
    for i, pid in ipairs(pids) do
      finished(pid, folder .. "/out" .. i)
      for id in read(folder .. "/out" .. i):gmatch "%S+" do
        assert.is_nil(seen[id], id)
        seen[id] = true
        count = count + 1
      end
    end
    assert.are.equal(200, count)
  end)

  it("lets one of two change a state, and a delivery be routed once", function()
    store:admit { delivery("a", "1") }
    local seq = store:incoming("school", 1)[1].seq
    for n, text in ipairs {
      [[{ account = "school", invoice = "1", expect = 0, set = { version = 1 } }]],
      ([[{ account = "school", route = { { seq = %d, state = "done" } } }]]):format(seq),
    } do
      local pids, won = {}, 0
      for i = 1, 4 do
        pids[i] = beside(("print(assert(store:apply { %s })[1])"):format(text), n .. i)
      end
      for i, pid in ipairs(pids) do
        finished(pid, folder .. "/out" .. n .. i)
        if read(folder .. "/out" .. n .. i) == "true\n" then won = won + 1 end
      end
      assert.are.equal(1, won, text)
    end
  end)

  it("numbers the events of a row in the order in which they come to light", function()
    add(store, event("a", "1"))
    db:exec "BEGIN; SELECT * FROM invoices FOR UPDATE"
    local pid = beside [[add(store, event("c", "1"))]]
    blocked()
    db:exec [[INSERT INTO events (account, id, lane, open, state, left_over, vendor, type, native,
      live, trust, created_at, rules) SELECT account, 'school:b', lane, 1, 'pending', 1, vendor,
      type, native, live, trust, created_at, rules FROM events]]
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.is_true(store:show("school:c").seq > store:show("school:b").seq)
  end)

  it("sees at release what is being added", function()
    add(store, event("a", "1"))
    local one = claim(store)[1]
    assert.is_true(mark(store, one))
    db:exec "BEGIN; UPDATE invoices SET run_due = 1"
    local pid = beside(([[assert(store:release { { lane = %d, token = %d } } == 1)]])
      :format(one.lane, one.token))
    blocked()
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.are.equal(1, #claim(store))
  end)

  it("makes a row anew that is being removed because its events are done", function()
    local lonely = event "a"
    add(store, lonely)
    db:exec "BEGIN; DELETE FROM invoices"
    local pid = beside [[assert(store:replay { id = "school:a" })
      add(store, event "b")
      local one = event "a"
      one.id = "school:a2"
      add(store, one)
      assert(store:apply { { account = "school", events = { event "a" } } })]]
    blocked()
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.are.equal(3, number "invoices")
  end)

  it("lets nobody claim a row while a mark in it is being set", function()
    add(store, event("a", "1"))
    local one = claim(store)[1]
    db:exec "BEGIN; SELECT * FROM events FOR UPDATE" -- where the mark will have to wait
    local pid = beside(([[print(store:mark(%d, %d, { seq = %d, rule = "r", state = "done" }))]])
      :format(one.lane, one.token, one.events[1].seq))
    blocked()
    store.dialect.departed = function() return true end -- its process is gone, as far as we know
    assert(store:recover { owner = "other", backoff = { base = 1, cap = 1 } })
    store.dialect.departed = nil
    assert.are.same({}, claim(store, "other"))
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.are.equal("true\n", read(folder .. "/out"))
    assert.are.equal("done", store:show("school:a").state)
  end)

  it("does not run again what is being purged, nor purge what is being run again", function()
    local quiet = event("a", "1")
    quiet.rules = {}
    add(store, quiet)
    local names = [[{ ["school\ninvoice.updated\ninvoice.updated\nlive"] = { "r" } }]]
    assert(db:exec "BEGIN; UPDATE events SET data = NULL") -- as a purge does it
    local pid = beside(("assert(store:replay({ id = 'school:a' }, %s) == 0)"):format(names))
    blocked()
    assert(db:exec "COMMIT")
    finished(pid, folder .. "/out")
    assert.are.equal("unhandled", store:show("school:a").state)
    quiet.id = "school:b"
    add(store, quiet)
    assert(db:exec "BEGIN; UPDATE events SET open = 1, state = 'pending' WHERE id = 'school:b'")
    pid = beside "assert(store:purge {} == 0)"
    blocked()
    assert(db:exec "COMMIT")
    finished(pid, folder .. "/out")
    assert.is_string(store:show("school:b").data)
  end)

  it("goes by the server's clock", function()
    add(store, event("a", "1"))
    claim(store)
    local left = db:query [[SELECT till - CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT) AS ms
      FROM invoices]][1].ms
    assert.is_true(left > 50000 and left <= 60000, left)
  end)

  it("moves its plans back once when the clock has jumped back, however many find it", function()
    for i = 1, 12 do add(store, event(tostring(i), tostring(i))) end
    db:exec [[UPDATE invoices SET run_due = run_due + 3600000;
      UPDATE meta SET value = CAST(value AS BIGINT) + 3600000 WHERE name = 'clock']]
    local pids = {}
    for i = 1, 4 do pids[i] = beside([[print(#claim(store, "x", 2))]], i) end
    for i, pid in ipairs(pids) do finished(pid, folder .. "/out" .. i) end
    local ago = db:query [[SELECT CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT)
      - min(run_due) AS ms FROM invoices WHERE owner IS NULL]][1].ms
    assert.is_true(ago > 0 and ago < 60000, ago)
    local stats = store:stats() -- who finds a row in somebody's hands leaves it
    assert.are.equal(12, stats.leased + stats.due)
  end)

  it("waits for plans made by the clock of before, and moves them back as well", function()
    add(store, event("a", "1"))
    local before = assert(inbox.open(server.url, {
      clock = function() return os.time() + 3600 end,
    }))
    assert(before:transaction(function() return true end)) -- notes the time
    local pid
    assert(before:transaction(function(query, now)
      pid = beside [[print(#claim(store, "x", 2))]]
      blocked()
      query("UPDATE invoices SET run_due = $1", now + 5000)
      return true
    end))
    before:close()
    finished(pid, folder .. "/out")
    local wait = db:query [[SELECT run_due - CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT) AS ms
      FROM invoices]][1].ms
    -- moved by what was noted; a second that went by since was neither noted nor corrected
    assert.is_true(wait <= 6000, wait)
  end)

  it("takes over at once from a process of this machine that was killed", function()
    add(store, event("a", "1"))
    local pid = beside [[
      local row = claim(store, require("billhook.inbox.owner").name())[1]
      assert(store:mark(row.lane, row.token, nil,
        { lane = row.lane, seq = row.events[1].seq, rule = "r" }))
      print "claimed"
      io.stdout:flush()
      while true do process.sleep(10) end]]
    eventually(function() return read(folder .. "/out"):find "claimed" end)
    local want = { owner = owner.name(), fresh = true, backoff = { base = 1, cap = 1 } }
    assert.is_false(store:due(want).lost)
    process.kill(pid, "KILL")
    eventually(function() return store:due(want).lost end)
    process.wait(pid)
    assert(store:recover(want))
    eventually(function() return #claim(store) == 1 end)
    assert.are.equal(1, store:show("school:a").marks.r.attempts)
  end)

  it("waits for the lease of a process of which this machine knows nothing", function()
    add(store, event("a", "1"))
    local boot, rest = owner.name():match "^([^/]+)/(.*)$"
    assert.are.equal(1, #claim(store, "another-boot/" .. rest))
    assert.is_false(store:due({ owner = owner.name(), fresh = true }).lost)
    assert.is_false(store.dialect.departed(boot .. "/1/4194304/1"))
    assert.is_true(store.dialect.departed(boot .. "/" .. rest:match "^%d+" .. "/4194304/1"))
  end)

  it("waits for a lock no longer than it was told, and works on after", function()
    store:close()
    store = assert(inbox.open(server.url, { busy_timeout = 20 }))
    store:admit { delivery("a", "1") }
    db:exec "BEGIN; SELECT * FROM deliveries FOR UPDATE"
    local results, err = store:admit { delivery("a", "1") }
    assert.is_nil(results)
    assert.are.same({ "store", "PG_LOCK_NOT_AVAILABLE", true },
      { err.kind, err.code, err.retryable })
    db:exec "COMMIT"
    assert.are.same({ "new" }, store:admit { delivery("b", "1") })
  end)

  it("counts with many beside it", function()
    local pids = {}
    for i = 1, 4 do
      pids[i] = beside([[for n = 1, 50 do
        assert(store:count { { name = "b", n = 1 }, { name = "a", n = 1, total = 2 } })
        assert(store:update("n", function(text) return tostring((tonumber(text) or 0) + 1) end))
      end]], i)
    end
    for i, pid in ipairs(pids) do finished(pid, folder .. "/out" .. i) end
    table.sort(pids)
    local counted = store:counters()
    table.sort(counted, function(a, b) return a.name < b.name end)
    assert.are.same({ { name = "a", n = 200, total = 400 }, { name = "b", n = 200, total = 0 } },
      counted)
    assert.are.equal("200", store:peek("n").text)
  end)

  -- --- numbers that lag behind what is stored: restored without them, or set back ---

  local SEQUENCES = { "deliveries_seq_seq", "invoices_lane_seq", "events_seq_seq", "numbers" }

  local function fill(n)
    local list, events = {}, {}
    for i = 1, n do
      list[i], events[i] = delivery("a" .. i, tostring(i)), event("a" .. i, tostring(i))
    end
    assert(store:admit(list))
    assert(store:apply { { account = "school", events = events } })
    for _ = 1, 5 do
      local drawn = assert(store:ticket())
      assert(store:apply { { account = "school", invoice = "1",
        expect = store:look("school", { "1" }).rows[1].stamp, set = { ticket = drawn.ticket } } })
    end
    return store:look("school", { "1" }).rows[1].ticket
  end

  local function set_back(how)
    for _, name in ipairs(SEQUENCES) do
      assert(db:query(("SELECT setval('%s', %s)"):format(name, how)))
    end
  end

  local function works_on(ticket)
    assert.are.same({ "new" }, store:admit { delivery("new", "77") })
    assert.are.same({ "duplicate" }, store:admit { delivery("a1", "1") })
    add(store, event("new", "77"))
    assert.is_true(store:ticket().ticket > ticket)
    assert.are.equal(77, #claim(store, "me", 1000))
    assert.is_true(store:deliveries({ limit = 1 })[1].key == "new")
  end

  for _, how in ipairs { "1", "1, false", "20" } do
    it(("brings numbers beyond what is stored at connect: setval(%s)"):format(how), function()
      local ticket = fill(76)
      set_back(how)
      store:close()
      store = assert(inbox.open(server.url))
      works_on(ticket)
    end)

    it(("brings numbers beyond what is stored while it is open: setval(%s)"):format(how), function()
      local ticket = fill(76)
      set_back(how)
      works_on(ticket)
    end)
  end

  it("brings numbers beyond a single row, too", function()
    assert(db:exec "TRUNCATE deliveries RESTART IDENTITY")
    store:admit { delivery "a" }
    assert(db:exec "SELECT setval('deliveries_seq_seq', 1, false)")
    assert.are.same({ "new" }, store:admit { delivery "b" })
  end)

  it("never gives a token that a claim of the row had before", function()
    add(store, event("a", "1"))
    for _ = 1, 3 do
      local one = claim(store)[1]
      store:release { { lane = one.lane, token = one.token, after = 0 } }
      assert(db:exec "SELECT setval('numbers', 1, false)")
      eventually(function() return store:stats().due == 1 end)
      local two = claim(store)[1]
      assert.is_true(two.token > one.token)
      store:release { { lane = two.lane, token = two.token, after = 0 } }
      eventually(function() return store:stats().due == 1 end)
    end
  end)

  it("admits any number at once by one statement whose work grows with them alone", function()
    local plans, real = {}, store.db
    store.db = setmetatable({
      query = function(_, text, ...)
        if text:find "deliveries" then
          local plan = {}
          for _, row in ipairs(assert(real:query("EXPLAIN " .. text, ...))) do
            plan[#plan + 1] = row["QUERY PLAN"]
          end
          plans[#plans + 1] = table.concat(plan, "\n")
        end
        return real:query(text, ...)
      end,
    }, { __index = function(_, name) return function(_, ...) return real[name](real, ...) end end })
    local list = {}
    for i = 1, 2000 do list[i] = delivery("large" .. i, tostring(i)) end
    assert(store:admit(list))
    assert.are.same({ "duplicate", "duplicate" }, store:admit { list[1], list[2000] })
    store.db = real
    assert.are.equal(2, #plans) -- one for the 2,000, one for the 2
    for _, plan in ipairs(plans) do
      -- a join of the given rows with anything could cost their square
      assert.is_nil(plan:find("Nested Loop", 1, true), plan)
      assert.is_nil(plan:find("Join", 1, true), plan)
      assert.is_nil(plan:find("SubPlan", 1, true), plan) -- once a row; an InitPlan is once
    end
  end)

  it("finds everything by an index", function()
    local plans, real = {}, store.db
    store.db = setmetatable({
      query = function(_, text, ...)
        local verb = text:match "^%s*(%u+)"
        if ("SELECT INSERT UPDATE DELETE WITH"):find(verb, 1, true) then
          for _, row in ipairs(assert(real:query("EXPLAIN " .. text, ...))) do
            plans[#plans + 1] = row["QUERY PLAN"] .. "   <- " .. text
          end
        end
        return real:query(text, ...)
      end,
    }, { __index = function(_, name) return function(_, ...) return real[name](real, ...) end end })
    assert(store:admit { delivery("a", "1"), delivery("a", "1"), delivery "b" })
    local seq = store:incoming("school", 5)[1].seq
    assert(store:apply { { account = "school", invoice = "1", expect = 0,
      set = { known = true, check_due = 1 }, route = { { seq = seq, state = "pending" } } } })
    assert(store:apply { { account = "school", invoice = "1", settle = "done", began = 1e15,
      events = { event("a", "1") } } })
    assert(store:due { owner = "me" })
    local check = assert(store:claim { kind = "check", account = "school", owner = "me",
      lease = 1000, limit = 5 }).rows[1]
    assert(store:release { { lane = check.lane, token = check.token, check_after = 5000 } })
    local row = claim(store)[1]
    assert(store:renew(row.lane, row.token, 60))
    assert(store:more(row.lane, row.token, 0, 5))
    assert(store:step(row.events[1].seq, "r", "x", nil, row.token) == false)
    assert(mark(store, row))
    assert(store:release { { lane = row.lane, token = row.token } })
    assert(store:recover { owner = "me", fresh = true, backoff = { base = 1, cap = 1 } })
    assert(store:another("school", "1") == false)
    assert(store:of_account("school", { which = "open", limit = 5 }))
    assert(store:of_account("school", { which = "open", unread = true, limit = 5 }))
    assert(store:of_account("school", { which = "there", limit = 5 }))
    assert(store:of_account("school", { which = "open", due_by = "2026-01-01", limit = 5 }))
    assert(store:how_many "school")
    assert(store:show "school:a")
    assert(store:deliveries { invoice = "1", account = "school" })
    assert(store:events { invoice = "1", account = "school" })
    assert(store:events { state = "pending", limit = 1, before = 3 })
    assert(store:stats())
    assert(store:purge { older_than = 86400 })
    assert(store:forget(86400, 86400))
    store.db = real
    assert.is_true(#plans > 40)
    for _, plan in ipairs(plans) do assert.is_nil(plan:find "^.-Seq Scan.-   <%-", plan) end
  end)
end)

describe("inbox postgresql: on a server", function()
  local store

  before_each(function() store = assert(open {}) end)
  after_each(function() store:close() end)

  local function setting(name)
    return store.db:query("SELECT current_setting($1) AS x", name)[1].x
  end

  it("that would not wait for the disk, has it wait", function()
    assert.are.equal("on", setting "synchronous_commit")
    server:sql "ALTER ROLE billhook SET synchronous_commit = off"
    store:close()
    store = assert(inbox.open(server.url))
    assert.are.equal("on", setting "synchronous_commit")
    server:sql "ALTER ROLE billhook SET synchronous_commit = remote_apply"
    store:close()
    store = assert(inbox.open(server.url))
    server:sql "ALTER ROLE billhook RESET synchronous_commit"
    assert.are.equal("remote_apply", setting "synchronous_commit")
  end)

  it("that is gone, answers with an error at once; and works on when it is back", function()
    assert.are.same({ "new" }, store:admit { delivery("a", "1") })
    server:stop "QUIT"
    local began = process.monotonic()
    for _ = 1, 2 do
      local results, err = store:admit { delivery("b", "1") }
      assert.is_nil(results)
      assert.are.equal("store", err.kind)
      assert.are.equal("PG_CONNECTION", err.code)
      assert.is_true(err.retryable)
    end
    assert.are.equal("PG_CONNECTION", select(2, store:deliveries {}).code)
    assert.are.equal("PG_CONNECTION", select(2, inbox.open(server.url)).code)
    assert.is_true(process.monotonic() - began < 20)
    server:start()
    assert.are.same({ "duplicate", "new" }, store:admit { delivery("a", "1"), delivery("b", "1") })
  end)

  it("that was restarted meanwhile, works on without a word #both", function()
    for _, signal in ipairs { "INT", "QUIT" } do
      server:stop(signal)
      server:start()
      assert.are.same({ "new" }, store:admit { delivery(signal, "1") })
    end
  end)

  -- ends the connection of our transactions before this statement, so many times
  local function ends_before(pattern, times)
    local left = times
    local function watch(real)
      return setmetatable({ query = function(_, text, ...)
        if text:find(pattern) and left > 0 then
          left = left - 1
          real:query "SELECT pg_terminate_backend(pg_backend_pid())"
        end
        return real:query(text, ...)
      end }, { __index = function(_, name)
        return function(_, ...) return real[name](real, ...) end
      end })
    end
    local connect = store.dialect.connect
    store.dialect.connect = function(...)
      local db, code, message = connect(...)
      return db and watch(db), code, message
    end
    store.db = watch(store.db)
    return function()
      store.dialect.connect = nil
      return left
    end
  end

  it("that ends the connection in a transaction again and again, has kept nothing of it", function()
    local over = ends_before("INSERT INTO deliveries", 99)
    local results, err = store:admit { delivery("a", "1") }
    assert.are.equal(97, over()) -- a bound: once more, on another connection
    assert.is_nil(results)
    assert.are.same({ "PG_CONNECTION", true }, { err.code, err.retryable })
    store:close()
    store = assert(inbox.open(server.url))
    assert.are.same({}, store:deliveries {})
    assert.are.same({ "new" }, store:admit { delivery("a", "1") })
  end)

  it("that ends the connection once, is asked once more on another", function()
    local over = ends_before("INSERT INTO deliveries", 1)
    assert.are.same({ "new", "new" }, store:admit { delivery("a", "1"), delivery("b", "1") })
    assert.are.equal(0, over())
    add(store, event("a", "1"))
    over = ends_before("FOR UPDATE SKIP LOCKED", 1)
    local row = claim(store, "me", 1)[1]
    assert.are.equal(1, #row.events)
    assert.are.equal(0, over())
    over = ends_before("UPDATE invoices SET owner = NULL", 1)
    assert.are.equal(1, store:release { { lane = row.lane, token = row.token, after = 0 } })
    assert.are.equal(0, over())
    -- and where nobody has said a word yet that it has ended
    server:sql [[SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid <> pg_backend_pid() AND application_name = 'billhook']]
    assert.are.same({ "duplicate" }, store:admit { delivery("a", "1") })
  end)

  -- a COMMIT whose answer is lost, after it was done or before
  local function cut(committed)
    local real, sent = store.db, 0
    store.db = setmetatable({ query = function(_, text, ...)
      if text ~= "COMMIT" then return real:query(text, ...) end
      sent = sent + 1
      if committed then assert(real:query(text)) end
      return nil, "PG_CONNECTION", "server closed the connection unexpectedly"
    end, close = function() return real:close() end }, { __index = function(_, name)
      return function(_, ...) return real[name](real, ...) end
    end })
    return function() return sent end
  end

  for _, committed in ipairs { true, false } do
    it(("that ends the connection while it commits, has a delivery once (committed: %s)")
      :format(tostring(committed)), function()
      local sent = cut(committed)
      -- it is asked once more at once, on another connection: the vendor might not
      assert.are.same({ committed and "duplicate" or "new" }, store:admit { delivery("a", "1") })
      assert.are.equal(1, sent())
      assert.are.equal(1, #store:deliveries {})
    end)

    it(("that ends the connection while it commits, does a change once (committed: %s)")
      :format(tostring(committed)), function()
      add(store, event("a", "1"))
      local row = claim(store)[1]
      local sent = cut(committed)
      local outcome = { seq = row.events[1].seq, rule = "r", state = "waiting", delay = 0 }
      local noted, err = store:mark(row.lane, row.token, outcome)
      assert.is_nil(noted) -- a mark that was made would count twice
      assert.are.equal("PG_CONNECTION", err.code)
      assert.are.equal(1, sent())
      local found = store:show("school:a").marks.r
      assert.are.equal(committed and 1 or nil, found and found.attempts)
    end)
  end

  it("that is frozen, costs an admission no more than its own time, and the next one none",
    function()
      local limit = store.dialect.admission_timeout
      assert.is_true(limit < 8000) -- of nginx/commit.lua; DreamClass waits 10 s
      assert.are.same({ "new" }, store:admit { delivery("a", "1") })
      local pid = store.db:query("SELECT pg_backend_pid() AS pid")[1].pid
      process.kill(pid, "STOP")
      store.dialect.admission_timeout = 300
      local results, err = store:admit { delivery("b", "1") }
      store.dialect.admission_timeout = limit
      local after = store:admit { delivery("c", "1") }
      process.kill(pid, "CONT")
      assert.is_nil(results)
      assert.are.same({ "store", "PG_TIMEOUT", true }, { err.kind, err.code, err.retryable })
      assert.are.same({ "new" }, after)
    end)

  -- what a server says in trouble, raised by a real one
  for state, code in pairs { ["53100"] = "PG_DISK_FULL", ["53200"] = "PG_OUT_OF_MEMORY",
    ["58030"] = "PG_IO_ERROR", ["25006"] = "PG_READ_ONLY", XX001 = "PG_DATA_CORRUPTED",
    ["53300"] = "PG_53300", ["57P02"] = "PG_CRASH_SHUTDOWN" } do
    it(("that says %s, answers with an error and works on after"):format(code), function()
      server:sql(([[CREATE FUNCTION billhook.trouble() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''in trouble'' USING ERRCODE = ''%s''; END']]):format(state))
      server:sql [[CREATE TRIGGER trouble BEFORE INSERT ON billhook.deliveries
        FOR EACH ROW EXECUTE FUNCTION billhook.trouble()]]
      local results, err = store:admit { delivery("a", "1") }
      assert.is_nil(results)
      assert.are.same({ "store", code, "in trouble", true },
        { err.kind, err.code, err.message, err.retryable })
      assert.are.same({}, store:deliveries {})
      server:sql "DROP FUNCTION billhook.trouble CASCADE"
      assert.are.same({ "new" }, store:admit { delivery("a", "1") })
    end)
  end

  it("that takes no more connections, answers with an error and works on after", function()
    server:sql "CREATE ROLE one LOGIN CONNECTION LIMIT 1"
    server:sql "GRANT billhook TO one"
    local url = server.url:gsub("billhook@", "one@")
    local first = assert(pq.open(url))
    local other, err = inbox.open(url)
    assert.is_nil(other)
    assert.are.equal("PG_CONNECTION", err.code)
    assert.is_truthy(err.message:find('too many connections for role "one"', 1, true))
    first:close()
    eventually(function()
      other = inbox.open(url)
      return other
    end)
    other:close()
    server:sql "REVOKE billhook FROM one"
    eventually(function() return pcall(server.sql, server, "DROP ROLE one") end)
  end)

  it("says nothing of the password", function()
    local url = ("postgresql://billhook:geheim@127.0.0.1:%d/nowhere"):format(server.port)
    for _, bad in ipairs { url, (url:gsub("%d+/", "1/")) } do
      local other, err = inbox.open(bad)
      assert.is_nil(other)
      assert.is_nil(tostring(err):find "geheim", tostring(err))
    end
    local ok, why = pcall(inbox.open, (url:gsub("127", "[127")))
    assert.is_false(ok)
    assert.is_nil(tostring(why):find "geheim", why)
  end)

  it("is reached by its Unix socket, under either name", function()
    for _, scheme in ipairs { "postgresql:", "postgres:" } do
      local url = server.socket_url:gsub("^postgresql:", scheme)
      local other = assert(inbox.open(url))
      assert.are.equal(0, other:stats().pending)
      other:close()
    end
  end)

  it("refuses tables of a newer version, and says so", function()
    server:sql "UPDATE billhook.meta SET value = '99' WHERE name = 'version'"
    local other, err = inbox.open(server.url)
    assert.is_nil(other)
    assert.is_truthy(err.message:find "^the inbox has version 99, this billhook knows %d$")
    server:sql "DROP SCHEMA billhook CASCADE"
  end)

  it("refuses a database that cannot hold every text", function()
    server:sql [[CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'
      TEMPLATE template0]]
    local other, err = inbox.open((server.url:gsub("postgres$", "latin")))
    assert.is_nil(other)
    assert.are.equal("the database has the encoding LATIN1: it must be UTF8", err.message)
    server:sql "DROP DATABASE latin"
  end)

  it("needs no more rights than its tables ask for, once they are made", function()
    server:sql "CREATE ROLE clerk LOGIN"
    for _, grant in ipairs { "USAGE ON SCHEMA billhook",
      "USAGE ON ALL SEQUENCES IN SCHEMA billhook",
      "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA billhook" } do
      server:sql("GRANT " .. grant .. " TO clerk")
    end
    local url = server.url:gsub("billhook@", "clerk@")
    local other = assert(inbox.open(url))
    assert.are.same({ "new" }, other:admit { delivery("a", "1") })
    -- numbers that lag are drawn by who may not set them
    server:sql "SELECT setval('billhook.deliveries_seq_seq', 1, false)"
    assert.are.same({ "new" }, other:admit { delivery("b", "1") })
    assert.is_number(other:ticket().ticket)
    other:close()
    server:sql "DROP SCHEMA billhook CASCADE"
    assert.are.equal("PG_INSUFFICIENT_PRIVILEGE", select(2, inbox.open(url)).code)
    server:sql "DROP ROLE clerk"
  end)
end)

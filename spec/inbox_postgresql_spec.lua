-- inbox_postgresql_spec.lua: the inbox in PostgreSQL, on a real server.

local inbox = require "billhook.inbox"
local owner = require "billhook.inbox.owner"
local postgres = require "spec.support.postgres"
local pq = require "billhook.pq"
local process = require "billhook.process"

-- busted gives its functions only to the spec file itself
local environment = rawget(_G, "getfenv") and getfenv(1) or _ENV
local contract = assert(loadfile("spec/inbox_contract.lua", "t", environment))()

local server
setup(function() server = postgres.start() end)
teardown(function() server:remove() end)

-- a new, empty one: emptying is quicker than making
local function open(options)
  server:sql [[DO $$ DECLARE one TEXT; BEGIN
    FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'billhook' LOOP
      EXECUTE 'DELETE FROM billhook.' || one
        || CASE one WHEN 'meta' THEN ' WHERE name <> ''version''' ELSE '' END;
    END LOOP; END $$]]
  return inbox.open(server.url, options)
end

describe("inbox postgresql:", function() contract(open) end)

-- --- what only several connections can show -----------------------------------

local lua = rawget(_G, "jit") and "/usr/bin/luajit" or "/usr/bin/lua5.4"

local COMMON = [[
process = require "billhook.process"
function event(id, invoice)
  return { account = "school", id = id, source = "webhook", vendor = "dreamclass",
    type = "invoice.updated", native = "INVOICE_UPDATED", invoice = invoice, live = true,
    trust = "id", digest = "d", body = ("x"):rep(600), under = true, rules = { "r" } }
end
]]
local event = assert((loadstring or load)(COMMON .. "return event"))() -- luacheck: ignore 143

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
  local deadline = process.monotonic() + 10
  while not check() do
    if process.monotonic() > deadline then error("it did not become true", 2) end
    process.sleep(0.002)
  end
end

describe("inbox postgresql: with others beside it", function()
  local folder, store, db

  before_each(function()
    folder = assert(process.mkdtemp "/tmp/billhook-inbox")
    store = assert(open {})
    db = assert(pq.open(server.url))
    assert(db:exec "SET search_path = billhook")
  end)

  after_each(function()
    store:close()
    db:close()
    process.remove_tree(folder)
  end)

  local function claim(who, limit, from)
    return assert((from or store):claim { owner = who or "me", lease = 60, limit = limit or 10 })
  end

  -- waits until somebody waits for a lock (seen from outside: a transaction sees it only once)
  local function blocked()
    eventually(function()
      return server:sql([[SELECT count(*) AS n FROM pg_stat_activity
        WHERE wait_event_type = 'Lock']])[1].n > 0
    end)
  end

  it("is made by many processes at once", function()
    for round = 1, 3 do
      store:close()
      assert(db:exec "DROP SCHEMA billhook CASCADE")
      local pids = {}
      for i = 1, 5 do pids[i] = start(STORE .. "assert(store:close())", folder .. "/out" .. i) end
      for i, pid in ipairs(pids) do finished(pid, folder .. "/out" .. i) end
      store = assert(inbox.open(server.url))
      assert.are.same({ "admitted" }, store:admit { event("a" .. round) })
    end
  end)

  -- `text` goes on in another process until it waits for what `held` has locked; then `free` must
  -- not be locked yet
  local function in_order(held, text, free)
    assert(db:exec("BEGIN; " .. held))
    local pid = start(STORE .. text, folder .. "/out")
    blocked()
    local other = assert(pq.open(server.url))
    assert(other:exec("SET search_path = billhook; SET lock_timeout = '200ms'; BEGIN; " .. free))
    other:close()
    db:exec "ROLLBACK"
    finished(pid, folder .. "/out")
  end

  local function locked(name)
    return ("SELECT * FROM lanes WHERE name = '%s' FOR UPDATE"):format(name)
  end

  it("locks lanes in one order where it admits", function()
    store:admit { event("a", "1"), event("b", "2") }
    in_order(locked "1", [[assert(store:admit { event("c", "2"), event("d", "1") })]], locked "2")
    in_order(locked "1", [[assert(store:admit { event("e", "1"), event("f", "2") })]], locked "2")
  end)

  it("locks lanes in the same order where it gives them back", function()
    store:admit { event("a", "2") } -- its number is the lower one
    store:admit { event("b", "1") }
    local lanes = claim()
    in_order(locked "1", ([[assert(store:release { { lane = %d, token = %d },
      { lane = %d, token = %d } } == 2)]]):format(lanes[2].lane, lanes[2].token, lanes[1].lane,
      lanes[1].token), locked "2")
  end)

  it("locks lanes in the same order where it marks, and counts last", function()
    store:admit { event("a", "2") } -- its number is the lower one
    store:admit { event("b", "1") }
    local lanes = claim()
    local function text(how, one, following)
      return ('assert(store:%s, { next = { lane = %d, seq = %d, rule = "r" } }))')
        :format(how:format(one.token, one.events[1].seq), following.lane, following.events[1].seq)
    end
    in_order(locked "1", text('done(%d, %d, "r"', lanes[1], lanes[2]), locked "2")
    assert.are.equal("done", store:show("school:a").state)
    in_order(locked "2", text('dead(%d, %d, "r", "no"', lanes[2], lanes[1]),
      "SELECT * FROM counters FOR UPDATE")
    assert.are.equal("dead", store:show("school:b").state)
  end)

  it("locks lanes in the same order where it replays, and events after", function()
    store:admit { event("a", "2") } -- its number is the lower one
    store:admit { event("b", "1") }
    local replays = [[assert(store:replay { state = "pending" } == 0)]]
    in_order(locked "1", replays, locked "2")
    in_order(locked "1", replays, "SELECT * FROM events FOR UPDATE")
  end)

  it("admits ids in one order, and after the lanes", function()
    local function insert(id)
      return ([[INSERT INTO events (seq, account, id, open, state, left_over, source, vendor, type,
        native, live, trust, digest, received_at, rules) VALUES (nextval('numbers'), 'school', '%s',
        0, 'unhandled', 0, 'webhook', 'v', 't', 'n', 1, 'id', 'd', 0, '')]]):format(id)
    end
    in_order(insert "a", [[local a, b = event("a"), event("b")
      a.rules, b.rules = {}, {}
      assert(store:admit { b, a })]], insert "b")
    store:admit { event("x", "1") }
    in_order(locked "1", [[assert(store:admit { event("c"), event("d", "1") })]], insert "c")
    in_order("UPDATE events SET note = 'y' WHERE id = 'a'",
      [[local a, b = event("a"), event("b")
      a.digest, b.digest = "other", "other"
      assert(store:admit { b, a })]], "SELECT * FROM events WHERE id = 'b' FOR UPDATE")
  end)

  it("does not run again what is being purged, nor purge what is being run again", function()
    local quiet = event("a", "1")
    quiet.rules = {}
    store:admit { quiet }
    local names = [[{ ["school\ninvoice.updated\nINVOICE_UPDATED\nlive"] = { "r" } }]]
    -- as a purge does it
    assert(db:exec "BEGIN; SELECT open FROM events WHERE id = 'a' FOR UPDATE; DELETE FROM bodies")
    local pid = start(STORE .. ("assert(store:replay({ id = 'school:a' }, %s) == 0)"):format(names),
      folder .. "/out")
    blocked()
    assert(db:exec "COMMIT")
    finished(pid, folder .. "/out")
    assert.are.equal("unhandled", store:show("school:a").state)
    -- as a replay does it
    quiet.id = "b"
    store:admit { quiet }
    assert(db:exec "BEGIN; UPDATE events SET open = 1, state = 'pending' WHERE id = 'b'")
    pid = start(STORE .. "assert(store:purge {} == 0)", folder .. "/out")
    blocked()
    assert(db:exec "COMMIT")
    finished(pid, folder .. "/out")
    assert.is_string(store:show("school:b").body)
  end)

  it("marks runs while others admit, and nobody waits in a circle", function()
    local text = STORE .. [[
      assert(store.db:exec "SET deadlock_timeout = '10ms'")
      function store.dialect.again(code)
        io.stdout:write(code, "\n")
        os.exit(code == "PG_DEADLOCK_DETECTED" and 3 or 4)
      end
      local stop = process.monotonic() + 1.5
    ]]
    local admits = text .. [[
      for n = 1, 1e6 do
        if process.monotonic() > stop then break end
        local list = {}
        for lane = 1, 4 do list[lane] = event(WHO .. n .. "-" .. lane, tostring(5 - lane)) end
        assert(store:admit(list))
      end
    ]]
    local works = text .. [[
      while process.monotonic() < stop do
        local lanes = assert(store:claim { owner = WHO, lease = 60, limit = 4, hold = 1e6 })
        for n, lane in ipairs(lanes) do
          local one, following = lane.events[1], lanes[n % #lanes + 1]
          if one then
            assert(store:done(lane.token, one.seq, "r", { next = { lane = following.lane,
              seq = following.events[1] and following.events[1].seq or one.seq, rule = "r" } }))
          end
        end
        local plans = {}
        for n, lane in ipairs(lanes) do
          plans[n] = { lane = lane.lane, token = lane.token, seen = 0, after = 0 }
        end
        assert(store:release(plans))
      end
    ]]
    local pids = {}
    for i, what in ipairs { admits, admits, works, works } do
      pids[i] = start(("WHO = 'w%d'\n"):format(i) .. what, folder .. "/out" .. i)
    end
    for i, pid in ipairs(pids) do finished(pid, folder .. "/out" .. i) end
    assert.is_true(store:stats().done > 0)
  end)

  it("takes other news of an id once, whoever comes with it, and counts it once", function()
    local pids = {}
    for i = 1, 3 do
      pids[i] = start(STORE .. ("math.randomseed(%d)"):format(i) .. [[
        for n = 1, 150 do
          local one = event("id" .. n % 15, tostring(math.random(4)))
          one.digest, one.unproven = tostring(math.random(2)), true
          if math.random(10) == 1 then one.trust, one.source = "api", "poll" end
          assert(store:admit { one })
        end]], folder .. "/out" .. i)
    end
    for i, pid in ipairs(pids) do finished(pid, folder .. "/out" .. i) end
    local function number(text) return db:query("SELECT count(*) AS n FROM " .. text)[1].n end
    assert.are.equal(0, number [[(SELECT split_part(id, '~', 1), invoice FROM events
      GROUP BY 1, 2 HAVING count(*) > 1) twice]])
    assert.are.equal(15, number "(SELECT DISTINCT split_part(id, '~', 1) FROM events) ids")
    local stats = store:stats()
    assert.are.same({ number "events", number "events WHERE contested > 0" },
      { stats.pending, stats.contested })
    assert.are.equal(0, number "evidence WHERE seq NOT IN (SELECT seq FROM events)")
    assert.are.equal(number "events", number "bodies")
  end)

  it("takes an id once, whoever comes with it, and nobody waits in a circle", function()
    local pids = {}
    for i = 1, 3 do
      pids[i] = start(STORE .. ("SEED, BEGIN = %d, %f"):format(i, process.monotonic() + 0.5) .. [[
        math.randomseed(SEED)
        assert(store.db:exec "SET deadlock_timeout = '10ms'")
        function store.dialect.again(code) error(code) end
        for round = 1, 25 do
          process.sleep(math.max(0, BEGIN + round * 0.03 - process.monotonic())) -- all at once
          local list = {}
          for n = 1, 20 do
            local id = round .. "-" .. n
            list[n] = event(id, n % 3 > 0 and tostring(n % 7) or nil)
            if n % 5 == 0 then list[n].rules = {} end
            list[n].unproven = true
            if n % 4 == 0 then list[n].digest = tostring(math.random(2)) end
            if n % 7 == 1 and n % 3 > 0 then
              list[n].type, list[n].key = "invoice.created", "invoice.created:" .. list[n].invoice
              list[n].again = { type = "invoice.updated", rules = { "u" } }
            end
          end
          for n = 20, 2, -1 do
            local m = math.random(n)
            list[n], list[m] = list[m], list[n]
          end
          for n, result in ipairs(assert(store:admit(list))) do
            if result:find "^admitted" then print(list[n].id) end
          end
        end]], folder .. "/out" .. i)
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
    assert.are.equal(500, count)
    local function number(text) return db:query("SELECT count(*) AS n FROM " .. text)[1].n end
    assert.are.equal(500, number "events")
    assert.are.equal(500, number "bodies")
    assert.are.equal(number "(SELECT DISTINCT invoice FROM events WHERE key IS NOT NULL) x",
      number "events WHERE type = 'invoice.created'")
  end)

  it("runs a transaction once more that was ended because of a circle", function()
    store:admit { event("a", "1"), event("b", "2") }
    db:exec "SET deadlock_timeout = '10s'; BEGIN"
    db:exec "SELECT * FROM lanes WHERE name = '2' FOR UPDATE"
    local pid = start(STORE .. [[assert(store.db:exec "SET deadlock_timeout = '2s'")
      assert(store:admit { event("c", "1"), event("d", "2") }[1] == "admitted")]], folder .. "/out")
    blocked()
    db:exec "SELECT * FROM lanes WHERE name = '1' FOR UPDATE" -- it gives way
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.are.equal("pending", store:show("school:d").state)
  end)

  it("claims past the lanes that somebody has in hand", function()
    store:admit { event("a", "1"), event("b", "2") }
    db:exec "BEGIN; SELECT * FROM lanes WHERE name = '1' FOR UPDATE"
    local lanes = claim()
    assert.are.equal(1, #lanes)
    assert.are.equal("school:b", lanes[1].events[1].id)
    db:exec "COMMIT"
    assert.are.equal("school:a", claim()[1].events[1].id)
  end)

  it("gives no lane to two processes, and every event to one", function()
    local list = {}
    for i = 1, 200 do list[i] = event(tostring(i), tostring(i % 60)) end
    assert(store:admit(list))
    local pids = {}
    for i = 1, 3 do
      pids[i] = start(STORE .. [[
        local me = require("billhook.inbox.owner").name()
        repeat
          local lanes = assert(store:claim { owner = me, lease = 60, limit = 3 })
          for _, lane in ipairs(lanes) do
            for _, event in ipairs(lane.events) do
              print(event.id)
              assert(store:done(lane.token, event.seq, "r"))
            end
            assert(store:release { { lane = lane.lane, token = lane.token,
              seen = lane.events[#lane.events].seq } })
          end
        until #lanes == 0 and store:stats().pending == 0]], folder .. "/out" .. i)
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

  -- an admission that has the lanes, and is not through
  local ADMITTING = [[BEGIN; SELECT * FROM lanes FOR UPDATE;
    INSERT INTO events (seq, account, id, lane, open, state, left_over, source, vendor, type,
      native, live, trust, digest, received_at, rules)
    SELECT nextval('numbers'), account, 'b', lane, 1, 'pending', 1, source, vendor, type, native,
      live, trust, digest, received_at, rules FROM events WHERE id = 'a']]

  it("numbers the events of a lane in the order in which they come to light", function()
    store:admit { event("a", "1") }
    db:exec "BEGIN; SELECT * FROM lanes FOR UPDATE"
    local pid = start(STORE .. [[assert(store:admit { event("c", "1") })]], folder .. "/out")
    blocked()
    db:exec(ADMITTING)
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.is_true(store:show("school:c").seq > store:show("school:b").seq)
  end)

  it("sees at release what is being admitted", function()
    store:admit { event("a", "1") }
    local one = claim()[1]
    assert.is_true(store:done(one.token, one.events[1].seq, "r"))
    db:exec(ADMITTING)
    local pid = start(STORE .. ([[
      assert(store:release { { lane = %d, token = %d, seen = %d } } == 1)]]):format(one.lane,
      one.token, one.events[1].seq), folder .. "/out")
    blocked()
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.are.equal("school:b", claim()[1].events[1].id)
  end)

  it("lets nobody claim a lane while a mark in it is being set", function()
    store:admit { event("a", "1") }
    local one = claim()[1]
    db:exec "UPDATE lanes SET due = 0" -- its lease is over
    db:exec "BEGIN; SELECT * FROM events FOR UPDATE" -- where the mark will have to wait
    local pid = start(STORE .. ([[print(store:done(%d, %d, "r"))]]):format(one.token,
      one.events[1].seq), folder .. "/out")
    blocked()
    assert.are.same({}, claim "other")
    db:exec "COMMIT"
    finished(pid, folder .. "/out")
    assert.are.equal("true\n", read(folder .. "/out"))
    assert.are.equal(0, #claim("other")[1].events)
  end)

  it("refuses the marks of a worker whose lane was taken over", function()
    local other = assert(inbox.open(server.url))
    store:admit { event("a", "1") }
    local first = claim("one")[1]
    db:exec "UPDATE lanes SET due = 0"
    local second = claim("two", 1, other)[1]
    assert.is_true(second.token > first.token)
    assert.is_false(store:done(first.token, first.events[1].seq, "r"))
    assert.is_false(store:renew(first.lane, first.token, 60))
    assert.are.equal(0, store:release { { lane = first.lane, token = first.token } })
    assert.is_true(other:done(second.token, second.events[1].seq, "r"))
    other:close()
  end)

  it("goes by the server's clock", function()
    store:admit { event("a", "1") }
    claim()
    local left = db:query [[SELECT due - CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT) AS ms
      FROM lanes]][1].ms
    assert.is_true(left > 50000 and left <= 60000, left)
  end)

  it("moves its plans back once when the clock has jumped back, however many find it", function()
    local list = {}
    for i = 1, 12 do list[i] = event(tostring(i), tostring(i)) end
    store:admit(list)
    db:exec [[UPDATE lanes SET due = due + 3600000;
      UPDATE meta SET value = CAST(value AS BIGINT) + 3600000 WHERE name = 'clock']]
    local pids = {}
    for i = 1, 4 do
      pids[i] = start(STORE .. [[
        store.dialect.departed = function() return false end
        print(#assert(store:claim { owner = "x", lease = 60, limit = 2 }))]], folder .. "/out" .. i)
    end
    for i, pid in ipairs(pids) do finished(pid, folder .. "/out" .. i) end
    local ago = db:query [[SELECT CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT) - min(due) AS ms
      FROM lanes WHERE owner IS NULL]][1].ms
    assert.is_true(ago > 0 and ago < 60000, ago)
    assert.are.equal(8, store:stats().leased)
  end)

  it("takes over at once from a process of this machine that was killed", function()
    store:admit { event("a", "1") }
    local pid = start(STORE .. [[
      local me = require("billhook.inbox.owner").name()
      assert(#store:claim { owner = me, lease = 3600, limit = 1 } == 1)
      print "claimed"
      io.stdout:flush()
      while true do process.sleep(10) end]], folder .. "/out")
    eventually(function() return read(folder .. "/out"):find "claimed" end)
    assert.are.same({}, claim(owner.name()))
    process.kill(pid, "KILL")
    eventually(function() return #claim(owner.name()) == 1 end)
    process.wait(pid)
  end)

  it("waits for the lease of a process of which this machine knows nothing", function()
    store:admit { event("a", "1") }
    local boot, rest = owner.name():match "^([^/]+)/(.*)$"
    assert.are.equal(1, #claim("another-boot/" .. rest))
    assert.are.same({}, claim())
    assert.is_false(store.dialect.departed(boot .. "/1/4194304/1"))
    assert.is_true(store.dialect.departed(boot .. "/" .. rest:match "^%d+" .. "/4194304/1"))
  end)

  it("waits for a lock no longer than it was told, and works on after", function()
    store:close()
    store = assert(inbox.open(server.url, { busy_timeout = 20 }))
    store:admit { event("a", "1") }
    db:exec "BEGIN; SELECT * FROM lanes FOR UPDATE"
    local results, err = store:admit { event("b", "1") }
    assert.is_nil(results)
    assert.are.equal("store", err.kind)
    assert.are.equal("PG_LOCK_NOT_AVAILABLE", err.code)
    assert.is_true(err.retryable)
    db:exec "COMMIT"
    assert.are.same({ "admitted" }, store:admit { event("b", "1") })
  end)

  it("keeps any bytes that a rule leaves behind", function()
    store:admit { event("a", "1") }
    local one = claim()[1]
    local odd = "\0\xff\xc3"
    assert.are.equal(odd, store:step(one.events[1].seq, "r", odd, odd))
    assert.are.equal(odd, store:step(one.events[1].seq, "r", odd))
    assert.is_true(store:retry(one.token, one.events[1].seq, "r", 0, odd))
    assert.are.equal("\0??", store:show("school:a").marks.r.message)
  end)

  it("finds everything by an index", function()
    local plans, real, by_lanes, by_name = {}, store.db, nil, nil
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
    assert(store:admit { event("a", "1"), event("a", "1"), event("b") })
    local lane = claim()[1]
    assert(store:renew(lane.lane, lane.token, 60))
    assert(store:more(lane.lane, lane.token, 0))
    assert(store:retry(lane.token, lane.events[1].seq, "r", 0, "x"))
    assert(store:done(lane.token, lane.events[1].seq, "r"))
    assert(store:release { { lane = lane.lane, token = lane.token, seen = 1 } })
    assert(store:show "school:a")
    assert(store:list { invoice = "1", account = "school" })
    assert.are.equal(1, #store:list { invoice = "1" })
    assert(store:list { state = "pending", limit = 1, before = 3 })
    assert(store:stats())
    assert(store:purge { older_than = 86400 })
    store.db = real
    assert.is_true(#plans > 40)
    for _, plan in ipairs(plans) do
      assert.is_nil(plan:find "^.-Seq Scan.-   <%-", plan)
      if plan:find("FROM events e WHERE 1 = 1 AND e.lane IN", 1, true) then
        by_lanes = by_lanes or plan:find "events_lane"
      elseif plan:find("SELECT lane FROM lanes WHERE account = $1 AND name = $2", 1, true) then
        by_name = by_name or plan:find "Index Cond: %(%(account = .- AND %(name = "
      end
    end
    assert.is_truthy(by_lanes and by_name)
  end)
end)

describe("inbox postgresql: what is sent", function()
  local billhook = require "billhook"
  local uuid = require("spec.support.inbox").uuid
  local app, seen

  local function new(url)
    local made = billhook.app { inbox = url or server.url, log = function() end, accounts = {
      school = billhook.dreamclass { tenant = "t", webhook = { secret = "of a school" } },
      apply = billhook.dreamapply { base_url = "https://apply.test",
        webhook = { authorization = "Bearer of a hook" } } } }
    made:on("*", { name = "r" }, function(one) seen[#seen + 1] = one.id end)
    return made
  end

  before_each(function()
    assert(open {}):close()
    seen, app = {}, new()
  end)
  after_each(function() if app.store then app.store:close() end end)

  local sent

  -- one delivery more, all of one invoice
  local function deliver(to)
    sent = sent + 1
    local body = ('{"id":"%s","type":"INVOICE_UPDATED","tenant":"t","timestamp":1,"data":{"id":1}}')
      :format(uuid(sent))
    local headers, signed = billhook.sign("dreamclass", body, { secret = "of a school" })
    assert.are.equal(200, (to:receive("school", headers, signed)))
  end

  local function work(to)
    repeat until assert(to:work()) == 0
    local expected = {}
    for n = 1, sent do expected[n] = "school:" .. uuid(n) end
    assert.are.same(expected, seen)
  end

  it("is kept, and run in its order, after the tables came without the value of their sequence",
    function()
      sent = 0
      for _ = 1, 40 do deliver(app) end
      for value = 1, 45, 4 do -- under it, and before it is opened
        server:sql(("SELECT setval('billhook.numbers', %d)"):format(value))
        deliver(app)
        server:sql "ALTER SEQUENCE billhook.numbers RESTART"
        local other = new()
        deliver(other)
        deliver(app)
        other.store:close()
      end
      server:sql "SELECT setval('billhook.numbers', 1)"
      work(app)
    end)

  it("is kept there by who may draw numbers and not set them, too", function()
    sent = 0
    server:sql "CREATE ROLE drawer LOGIN"
    for _, grant in ipairs { "USAGE ON SCHEMA billhook", "USAGE ON SEQUENCE billhook.numbers",
      "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA billhook" } do
      server:sql("GRANT " .. grant .. " TO drawer")
    end
    local url = server.url:gsub("billhook@", "drawer@")
    local other = new(url)
    for _ = 1, 20 do deliver(other) end
    server:sql "SELECT setval('billhook.numbers', 1)"
    deliver(other)
    server:sql "ALTER SEQUENCE billhook.numbers RESTART"
    local third = new(url)
    deliver(third)
    work(third)
    other.store:close()
    third.store:close()
    server:sql "DROP OWNED BY drawer"
    server:sql "DROP ROLE drawer"
  end)

  it("is kept where only lanes or leases are beyond the sequence", function()
    sent = 0
    for _ = 1, 3 do deliver(app) end
    for round = 1, 30 do
      sent = sent + 1
      local body = ('{"id":"%s","type":"INVOICE_UPDATED","tenant":"t","timestamp":1,'
        .. '"data":{"id":%d}}'):format(uuid(sent), 100 + round)
      local headers, signed = billhook.sign("dreamclass", body, { secret = "of a school" })
      server:sql(("SELECT setval('billhook.numbers', %d)"):format(round))
      assert.are.equal(200, (app:receive("school", headers, signed)))
    end
    work(app)
  end)

  -- ticks of its connection's process: what the server has worked for it
  local function worked()
    local pid = app.store.db:query("SELECT pg_backend_pid() AS pid")[1].pid
    local user, system = read(("/proc/%d/stat"):format(pid)):match "^%d+ %(.*%) %u (.*)$"
      :match(("%S+ "):rep(10) .. "(%d+) (%d+)")
    return tonumber(user) + tonumber(system)
  end

  local function list(first, many)
    local items = {}
    for i = first, first + many - 1 do
      items[#items + 1] = ('{"id":%d,"logged":"2026-11-21T10:00:00+00:00",'
        .. '"event":"Invoice was created: ?","invoice":"/api/v9/invoices/%d"}'):format(i, i)
    end
    local before = worked()
    assert.are.equal(200, (app:receive("apply", { authorization = "Bearer of a hook",
      ["content-type"] = "application/json" }, "[" .. table.concat(items, ",") .. "]")))
    return worked() - before
  end

  it("may be a list of 10,000, whose items cost no more than those of a short one", function()
    assert(app:open())
    list(1, 100)
    local short, long = list(1000, 2000), list(10000, 10000)
    assert.are.equal(12100, server:sql("SELECT count(*) AS n FROM billhook.bodies")[1].n)
    assert.is_true(long < 12 * math.max(short, 5), ("%d and %d ticks"):format(short, long))
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
    assert.are.same({ "admitted" }, store:admit { event("a", "1") })
    server:stop "QUIT"
    local began = process.monotonic()
    for _ = 1, 2 do
      local results, err = store:admit { event("b", "1") }
      assert.is_nil(results)
      assert.are.equal("store", err.kind)
      assert.are.equal("PG_CONNECTION", err.code)
      assert.is_true(err.retryable)
    end
    assert.are.equal("PG_CONNECTION", select(2, store:list {}).code)
    assert.are.equal("PG_CONNECTION", select(2, inbox.open(server.url)).code)
    assert.is_true(process.monotonic() - began < 3)
    server:start()
    assert.are.same({ "duplicate", "admitted" }, store:admit { event("a", "1"), event("b", "1") })
  end)

  it("that was restarted meanwhile, works on without a word", function()
    for _, signal in ipairs { "INT", "QUIT" } do
      server:stop(signal)
      server:start()
      assert.are.same({ "admitted" }, store:admit { event(signal, "1") })
    end
  end)

  it("that ends the connection in a transaction, has kept nothing of it", function()
    local numbers = store.dialect.numbers
    store.dialect.numbers = function(query)
      query "SELECT pg_terminate_backend(pg_backend_pid())"
      return numbers(query)
    end
    local results, err = store:admit { event("a", "1") }
    store.dialect.numbers = numbers
    assert.is_nil(results)
    assert.are.equal("PG_ADMIN_SHUTDOWN", err.code)
    assert.are.same({}, store:list {})
    assert.are.same({ "admitted" }, store:admit { event("a", "1") })
  end)

  it("that ends the connection once, is asked once more on another", function()
    local ends = 0
    local function ended(name)
      local real = store.dialect[name]
      store.dialect[name] = function(query, ...)
        store.dialect[name], ends = real, ends + 1
        pcall(query, "SELECT pg_terminate_backend(pg_backend_pid())")
        return real(query, ...)
      end
    end
    ended "numbers"
    assert.are.same({ "admitted", "admitted" }, store:admit { event("a", "1"), event("b", "1") })
    ended "token"
    local lane = store:claim({ owner = "me", lease = 60, limit = 1 })[1]
    assert.are.equal(2, #lane.events)
    ended "hold"
    assert.are.equal(1, store:release { { lane = lane.lane, token = lane.token, after = 0 } })
    assert.are.equal(3, ends)
    -- and where nobody has said a word yet that it has ended
    server:sql [[SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE pid <> pg_backend_pid() AND application_name = 'billhook']]
    assert.are.same({ "duplicate" }, store:admit { event("a", "1") })
  end)

  it("that ends the connection while it commits, is believed to have done so or not", function()
    local real = store.db
    local sent = 0
    store.db = setmetatable({ query = function(_, text, ...)
      if text ~= "COMMIT" then return real:query(text, ...) end
      sent = sent + 1
      assert(real:query(text))
      return nil, "PG_CONNECTION", "server closed the connection unexpectedly"
    end }, { __index = function(_, name)
      return function(_, ...) return real[name](real, ...) end
    end })
    local results, err = store:admit { event("a", "1") }
    assert.is_nil(results)
    assert.are.equal("PG_CONNECTION", err.code)
    assert.are.equal(1, sent) -- a mark that was made would count twice
    assert.are.same({ "duplicate" }, store:admit { event("a", "1") })
  end)

  -- what a server says in trouble, raised by a real one
  for state, code in pairs { ["53100"] = "PG_DISK_FULL", ["53200"] = "PG_OUT_OF_MEMORY",
    ["58030"] = "PG_IO_ERROR", ["25006"] = "PG_READ_ONLY", XX001 = "PG_DATA_CORRUPTED",
    ["53300"] = "PG_53300", ["57P02"] = "PG_CRASH_SHUTDOWN" } do
    it(("that says %s, answers with an error and works on after"):format(code), function()
      server:sql(([[CREATE FUNCTION billhook.trouble() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION ''in trouble'' USING ERRCODE = ''%s''; END']]):format(state))
      server:sql [[CREATE TRIGGER trouble BEFORE INSERT ON billhook.bodies
        FOR EACH ROW EXECUTE FUNCTION billhook.trouble()]]
      local results, err = store:admit { event("a", "1") }
      assert.is_nil(results)
      assert.are.same({ "store", code, "in trouble", true },
        { err.kind, err.code, err.message, err.retryable })
      assert.are.same({}, store:list {})
      server:sql "DROP FUNCTION billhook.trouble CASCADE"
      assert.are.same({ "admitted" }, store:admit { event("a", "1") })
    end)
  end

  it("whose numbers cannot be brought forward, answers with an error, and in the end", function()
    server:sql "SELECT setval('billhook.numbers', 10000)" -- far from where it will begin again
    store:admit { event("a", "1"), event "b" }
    local forward, again = store.dialect.forward, 0
    store.dialect.forward = function() again = again + 1 end
    server:sql "ALTER SEQUENCE billhook.numbers RESTART"
    local results, err = store:admit { event("c", "1") }
    store.dialect.forward = forward
    assert.is_nil(results)
    assert.are.same({ "NUMBERS", "the sequence 'numbers' is behind the tables: they were restored "
      .. "without its value, or somebody has set it back", true },
      { err.code, err.message, err.retryable })
    assert.is_true(again <= 5)
    assert.are.same({ "admitted" }, store:admit { event("c", "1") })
  end)

  -- what is inserted there is not, and nobody says so
  local function swallowed(name, fn)
    server:sql [[CREATE FUNCTION billhook.swallow() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN RETURN NULL; END']]
    server:sql("CREATE TRIGGER swallow BEFORE INSERT ON billhook." .. name
      .. " FOR EACH ROW EXECUTE FUNCTION billhook.swallow()")
    local value, err = fn()
    server:sql "DROP FUNCTION billhook.swallow CASCADE"
    assert.is_nil(value)
    return err
  end

  it("that makes no row and has none, is not asked without end", function()
    local err = swallowed("events", function() return store:admit { event "a" } end)
    assert.are.same({ "NUMBERS", "the number of an event is another one's", true },
      { err.code, err.message, err.retryable })
    assert.are.same({ "admitted" }, store:admit { event "a" })
    local lane = store:claim({ owner = "me", lease = 60, limit = 1 })[1]
    assert(store:done(lane.token, lane.events[1].seq, "r"))
    assert(store:release { { lane = lane.lane, token = lane.token, seen = lane.events[1].seq } })
    err = swallowed("lanes", function() return store:replay { id = "school:a" } end)
    assert.are.same({ "CROSSED", "other transactions came between, again and again", true },
      { err.code, err.message, err.retryable })
    assert.are.equal(1, store:replay { id = "school:a" })
  end)

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
    for _, bad in ipairs { url, (url:gsub("%d+/", "1/")), url .. "?nosuchoption=1",
      url .. "?password=geheim2", (url:gsub("nowhere", "geheim")) } do
      local other, err = inbox.open(bad)
      assert.is_nil(other)
      assert.is_nil(tostring(err):find "geheim", tostring(err))
    end
    assert.are.equal("this is no URL of a PostgreSQL database",
      select(2, inbox.open "postgresql://u:geheim@x/y?nosuchoption=1").message)
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
    assert.is_truthy(err.message:find "^the inbox has version 99, this billhook knows up to %d$")
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
    for _, grant in ipairs { "USAGE ON SCHEMA billhook", "USAGE ON SEQUENCE billhook.numbers",
      "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA billhook" } do
      server:sql("GRANT " .. grant .. " TO clerk")
    end
    local url = server.url:gsub("billhook@", "clerk@")
    local other = assert(inbox.open(url))
    assert.are.same({ "admitted" }, other:admit { event("a", "1") })
    other:close()
    server:sql "DROP SCHEMA billhook CASCADE"
    assert.are.equal("PG_INSUFFICIENT_PRIVILEGE", select(2, inbox.open(url)).code)
    server:sql "DROP ROLE clerk"
  end)
end)

-- inbox_postgresql_faults_spec.lua: what happens to PostgreSQL servers: a standby, a fail-over, an
-- older primary, no connection left, locks that somebody holds, transactions that are refused.

local billhook = require "billhook"
local inbox = require "billhook.inbox"
local postgres = require "spec.support.postgres"
local pq = require "billhook.pq"
local process = require "billhook.process"

local function delivery(id)
  return { account = "school", id = id, again = true, vendor = "dreamclass", invoice = "1",
    type = "invoice.updated", native = "INVOICE_UPDATED", live = true, trust = "id", body = "{}" }
end

local function event(id)
  return { account = "school", id = "school:" .. id, vendor = "dreamclass", invoice = id,
    type = "invoice.updated", live = true, trust = "api", data = "{}", rules = { "r" } }
end

local function add(store, id)
  assert(store:apply { { account = "school", invoice = id, events = { event(id) } } })
end

local function claim(store, who)
  return assert(store:claim { kind = "run", account = "school", owner = who, lease = 60000,
    limit = 10, page = 16 }).rows
end

local function refused(store, code)
  local results, err = store:admit { delivery "refused" }
  assert.is_nil(results)
  assert.are.same({ "store", code, true }, { err.kind, err.code, err.retryable })
  return err.message
end

local function eventually(check)
  local deadline = process.monotonic() + 60
  while not check() do
    if process.monotonic() > deadline then error("it did not become true", 2) end
    process.sleep(0.01)
  end
end

describe("inbox postgresql: a server", function()
  local servers, store

  local function started()
    servers[#servers + 1] = postgres.start()
    return servers[#servers]
  end

  before_each(function() servers = {} end)
  after_each(function()
    if store then store:close() end
    store = nil
    for _, server in ipairs(servers) do server:remove() end
  end)

  it("that is a standby refuses, and says so; as a primary it goes on with what it has", function()
    local first = started()
    inbox.open(first.url):close()
    local second = first:standby()
    servers[2] = second
    local none, err = inbox.open(second.url)
    assert.is_nil(none)
    assert.are.equal("PG_CONNECTION", err.code)
    assert.is_truthy(err.message:find("session is read-only", 1, true), err.message)

    local both = ("postgresql://billhook@127.0.0.1:%d,127.0.0.1:%d/postgres"):format(first.port,
      second.port)
    local account = billhook.dreamapply { webhook = { authorization = "Bearer of a hook" } }
    local app = billhook.app { inbox = both, accounts = { apply = account } }
    local function receive(id)
      return (app:receive("apply", { authorization = "Bearer of a hook" },
        ('{"id":%d,"event":"e","text":"t","time":"2026-11-21T10:00:00+00:00"}'):format(id)))
    end
    store = assert(inbox.open(both))
    assert.are.same({ "new" }, store:admit { delivery "1" })
    assert.are.equal(200, receive(1))
    eventually(function() return first:followed() end)

    first:stop "QUIT"
    assert.are.equal(503, receive(2))
    refused(store, "PG_CONNECTION")
    second:promote()
    eventually(function() return receive(2) == 200 end)
    assert.are.same({ "duplicate", "new" }, store:admit { delivery "1", delivery "2" })
  end)

  it("that knows less than it did goes on, and gives no number again", function()
    local server = started()
    store = assert(inbox.open(server.url))
    store:admit { delivery "1" }
    server:save()
    add(store, "1")
    local held = claim(store, "before")[1]
    local ticket = assert(store:ticket()).ticket
    store:admit { delivery "2" }
    server:restore()

    assert.are.same({ "duplicate", "new" }, store:admit { delivery "1", delivery "2" })
    add(store, "1")
    local row = claim(store, "after")[1]
    assert.is_true(row.token > held.token and row.token > ticket)
    assert.is_true(assert(store:ticket()).ticket > ticket)
    -- who held it before has nothing to say any more
    assert.are.equal(0, store:release { { lane = held.lane, token = held.token, after = 0 } })
    assert.are.equal(1, store:release { { lane = row.lane, token = row.token, after = 0 } })
  end)
end)

describe("inbox postgresql: others on the server", function()
  local server, store, db

  setup(function() server = postgres.start() end)
  teardown(function() server:remove() end)
  before_each(function()
    store = assert(inbox.open(server.url, { busy_timeout = 20 }))
    db = assert(pq.open(server.url))
  end)
  after_each(function()
    store:close()
    db:close()
    server:sql "DROP SCHEMA billhook CASCADE"
  end)

  it("who have all its connections make who comes an error, and who is there work on", function()
    local taken = {}
    repeat
      local one, code = pq.open((server.url:gsub("billhook@", "plain@")))
      taken[#taken + 1] = one
      if not one and #taken == 0 then
        assert.are.equal("PG_CONNECTION", code)
        server:sql "CREATE ROLE plain LOGIN"
        one = true
      end
    until not one
    local other, err = inbox.open((server.url:gsub("billhook@", "plain@")))
    assert.is_nil(other)
    assert.are.equal("PG_CONNECTION", err.code)
    assert.is_truthy(err.message:find("connection slots", 1, true)
      or err.message:find("too many clients", 1, true), err.message)
    assert.are.same({ "new" }, store:admit { delivery "1" })
    for _, one in ipairs(taken) do one:close() end
    eventually(function()
      local one = pq.open(server.url)
      if one then one:close() end
      return one ~= nil
    end)
  end)

  it("who hold a table or a row are waited for so long, and then it goes on #both", function()
    store:admit { delivery "1" }
    add(store, "1")
    for _, held in ipairs { "LOCK billhook.deliveries IN ACCESS EXCLUSIVE MODE",
      "LOCK billhook.deliveries IN EXCLUSIVE MODE" } do
      assert(db:exec("BEGIN; " .. held))
      refused(store, "PG_LOCK_NOT_AVAILABLE")
      assert(db:exec "ROLLBACK")
      assert.are.same({ "duplicate" }, store:admit { delivery "1" })
    end
    -- a row that somebody has in hand is left to them
    assert(db:exec "BEGIN; SELECT * FROM billhook.invoices FOR UPDATE")
    assert.are.same({}, claim(store, "me"))
    assert(db:exec "ROLLBACK")
    assert.are.equal(1, #claim(store, "me"))
  end)

  -- a transaction is refused so many times; how often it was tried
  local function refuses(state, times)
    assert(db:exec(([[CREATE SEQUENCE billhook.tries;
      CREATE FUNCTION billhook.refuse() RETURNS trigger LANGUAGE plpgsql AS
      'BEGIN IF nextval(''billhook.tries'') <= %d THEN
        RAISE EXCEPTION ''not now'' USING ERRCODE = ''%s''; END IF; RETURN NEW; END';
      CREATE TRIGGER refuse BEFORE INSERT ON billhook.deliveries
        FOR EACH ROW EXECUTE FUNCTION billhook.refuse()]]):format(times, state)))
    return function()
      local tries = server:sql "SELECT last_value AS n FROM billhook.tries"[1].n
      assert(db:exec "DROP FUNCTION billhook.refuse CASCADE; DROP SEQUENCE billhook.tries")
      return tries
    end
  end

  for state, code in pairs { ["40001"] = "PG_SERIALIZATION_FAILURE",
    ["40P01"] = "PG_DEADLOCK_DETECTED" } do
    it("who are in its way are tried past, five times #both: " .. code, function()
      local tries = refuses(state, 4)
      assert.are.same({ "new" }, store:admit { delivery "1" })
      assert.are.equal(5, tries())
      tries = refuses(state, 1000)
      assert.are.equal("not now", refused(store, code))
      assert.are.equal(5, tries())
      assert.are.same({ "new" }, store:admit { delivery "2" })
    end)
  end

  it("are not tried past where the reason is another #both", function()
    local tries = refuses("23514", 1000)
    refused(store, "PG_23514")
    assert.are.equal(1, tries())
  end)

  it("may want every transaction serializable: it still reads what is committed", function()
    server:sql "ALTER ROLE billhook SET default_transaction_isolation = serializable"
    local second = assert(inbox.open(server.url))
    server:sql "ALTER ROLE billhook RESET default_transaction_isolation"
    assert.are.same({ "new" }, second:admit { delivery "1" })
    assert.are.same({ "duplicate" }, store:admit { delivery "1" })
    second:close()
  end)
end)

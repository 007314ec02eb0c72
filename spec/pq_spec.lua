-- pq_spec.lua: the binding to libpq, on a real server.

local pq = require "billhook.pq"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"
local postgres = require "spec.support.postgres"
local ports = require "spec.support.port"

describe("billhook.pq", function()
  local server, db

  setup(function() server = postgres.database() end)
  teardown(function()
    db:close()
    server:remove()
  end)

  -- a new connection only where the one before was closed or lost: it takes the server 50 ms
  before_each(function()
    if not db or db:lost() then db = assert(pq.open(server.url)) end
    assert(db:exec "ROLLBACK; RESET ALL; DROP TABLE IF EXISTS t")
    assert(db:exec "CREATE TEMPORARY TABLE t (a BIGINT PRIMARY KEY, b BIGINT, c TEXT, d BYTEA)")
  end)

  local function one(...) return assert(db:query(...))[1].x end

  it("gives back what it was given #both", function()
    for _, value in ipairs { 0, -1, 2 ^ 53, -2 ^ 53 } do
      assert.are.equal(value, one("SELECT CAST($1 AS BIGINT) AS x", value))
    end
    for _, value in ipairs { "", "text", "\\x41", "it's", "\xc3\xa9", ("x"):rep(1000000) } do
      assert.are.equal(value, one("SELECT CAST($1 AS TEXT) AS x", value))
    end
    for _, value in ipairs { 1.5, 1e300, -0.1, 2 ^ 60 } do
      assert.are.equal(value, one("SELECT CAST($1 AS FLOAT8) AS x", value))
    end
  end)

  it("keeps any bytes in a bytea #both", function()
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    for _, value in ipairs { "", "a\0b", "\\x41", table.concat(all) } do
      assert.are.equal(value, one("SELECT CAST($1 AS BYTEA) AS x", value))
    end
  end)

  it("binds nil as NULL, and gives NULL as absence #both", function()
    local row = db:query("SELECT CAST($1 AS TEXT) AS n, CAST($2 AS BIGINT) AS t", nil, 1)[1]
    assert.are.same({ t = 1 }, row)
  end)

  it("takes and gives booleans as 0 and 1 #both", function()
    db:query("INSERT INTO t (a, b) VALUES ($1, $2)", true, false)
    assert.are.same({ { a = 1, b = 0 } }, db:query("SELECT a, b FROM t"))
    assert.are.same({ { x = 1, y = 0 } }, db:query("SELECT 1 = 1 AS x, 1 = 2 AS y"))
  end)

  it("takes whole numbers for integers, whatever Lua calls them #both", function()
    for _, value in ipairs { 3, 3.0, 2 ^ 40 } do
      assert.are.equal(value, one("SELECT CAST($1 AS BIGINT) AS x", value))
    end
    assert.are.equal("PG_INVALID_TEXT_REPRESENTATION",
      select(2, db:query("SELECT CAST($1 AS BIGINT)", 1.5)))
  end)

  it("keeps all digits of an integer of 64 bits #both", function()
    assert.are.equal("9223372036854775807", tostring(one "SELECT 9223372036854775807 AS x"))
  end)

  it("gives other types as PostgreSQL writes them #both", function()
    assert.are.equal("12.50", one "SELECT 12.50 AS x")
    assert.are.equal("2026-11-21", one "SELECT DATE '2026-11-21' AS x")
    assert.are.equal(-0.25, one "SELECT FLOAT4 '-0.25' AS x")
  end)

  it("takes a decimal comma for none of its business #both", function()
    local before = os.setlocale(nil, "numeric")
    os.setlocale("de_DE.UTF-8", "numeric") -- where there is that locale
    assert.are.equal(1.5, one("SELECT CAST($1 AS FLOAT8) AS x", 1.5))
    os.setlocale(before, "numeric")
  end)

  it("takes lists for arrays, with false for NULL #both", function()
    local rows = db:query("SELECT a, t, b FROM unnest($1::bigint[], $2::text[], $3::bytea[]) "
      .. "AS x (a, t, b)", { 1, false, -2 ^ 53 }, { "\xc3\xa9", "", false }, { "a\0b", false, "" })
    assert.are.same({ { a = 1, t = "\xc3\xa9", b = "a\0b" }, { t = "" }, { a = -2 ^ 53, b = "" } },
      rows)
    assert.are.same({}, db:query("SELECT unnest($1::text[])", {}))
    local many = {}
    for i = 1, 10000 do many[i] = i end
    assert.are.equal(50005000, one("SELECT CAST(sum(x) AS BIGINT) AS x FROM unnest($1::bigint[]) x",
      many))
  end)

  it("gives the rows in their order", function()
    for i = 1, 100 do db:query("INSERT INTO t (a, b) VALUES ($1, $2)", i, i * i) end
    local rows = db:query("SELECT a, b FROM t ORDER BY a DESC")
    assert.are.equal(100, #rows)
    assert.are.same({ a = 100, b = 10000 }, rows[1])
    assert.are.same({ a = 1, b = 1 }, rows[100])
    assert.are.same({}, db:query("SELECT a FROM t WHERE a < 0"))
  end)

  it("tells how many rows were changed", function()
    db:exec "INSERT INTO t (a) VALUES (1), (2), (3)"
    assert.are.same({ {}, 2 }, { db:query("UPDATE t SET b = 1 WHERE a > $1", 1) })
    assert.are.equal(0, select(2, db:query("SELECT * FROM t")))
    assert.are.equal(0, select(2, db:query("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING")))
    assert.are.same({ { { a = 1 } }, 1 }, { db:query("DELETE FROM t WHERE a = 1 RETURNING a") })
    assert.are.same({ {}, 0 }, { db:query("BEGIN") })
    db:query "COMMIT"
  end)

  it("runs many statements at once", function()
    assert.is_true(db:exec "INSERT INTO t (a) VALUES (1); SELECT * FROM t; UPDATE t SET b = 2")
    assert.are.equal(2, one "SELECT b AS x FROM t")
    assert.are.equal("PG_UNIQUE_VIOLATION", select(2, db:exec [[
      INSERT INTO t (a) VALUES (1); UPDATE t SET b = 3]]))
    assert.are.equal(2, one "SELECT b AS x FROM t")
  end)

  it("names what went wrong, without the row #both", function()
    db:query("INSERT INTO t (a, c) VALUES (1, 'secret')")
    local rows, code, message = db:query("INSERT INTO t (a, c) VALUES ($1, $2)", 1, "secret")
    assert.is_nil(rows)
    assert.are.equal("PG_UNIQUE_VIOLATION", code)
    assert.is_nil(message:find "secret")
    assert.are.equal('duplicate key value violates unique constraint "t_pkey"', message)
    assert.are.equal("PG_SYNTAX_ERROR", select(2, db:exec "no such thing"))
    assert.are.equal("PG_SYNTAX_ERROR", select(2, db:query "SELECT 1; SELECT 2"))
    assert.are.equal("PG_UNDEFINED_TABLE", select(2, db:query "SELECT * FROM nowhere"))
    assert.are.equal("PG_NOT_NULL_VIOLATION", select(2, db:query "INSERT INTO t (b) VALUES (1)"))
    assert.are.equal("PG_22012", select(2, db:query "SELECT 1 / 0")) -- no name of its own
    for _, bad in ipairs { "a\0b", "\xff" } do
      assert.are.equal("PG_CHARACTER_NOT_IN_REPERTOIRE",
        select(2, db:query("SELECT CAST($1 AS TEXT)", bad)))
    end
  end)

  it("works on after an error #both", function()
    for i = 1, 3 do
      assert.is_truthy(db:query("INSERT INTO t (a) VALUES ($1)", i))
      assert.is_nil((db:query("INSERT INTO t (a) VALUES ($1)", i)))
    end
    assert.are.equal(3, one "SELECT count(*) AS x FROM t")
  end)

  it("tells that a transaction was rolled back where it should have been committed", function()
    db:query "BEGIN"
    db:query "SELECT 1 / 0"
    assert.are.equal("PG_IN_FAILED_TRANSACTION", select(2, db:query "SELECT 1"))
    assert.are.equal("PG_IN_FAILED_TRANSACTION", select(2, db:query "COMMIT"))
    assert.are.equal(1, one "SELECT 1 AS x")
    db:query "BEGIN"
    db:query "SELECT 1 / 0"
    assert.are.same({ {}, 0 }, { db:query "ROLLBACK" })
  end)

  it("holds more statements than it keeps #both", function()
    for round = 1, 3 do
      for i = 1, 300 do
        assert.are.equal(i + round, one("SELECT CAST($1 AS BIGINT) + " .. i .. " AS x", round))
      end
    end
    assert.is_true(one "SELECT count(*) AS x FROM pg_prepared_statements" <= 64)
  end)

  it("can end a failed transaction although all that it keeps is taken", function()
    for i = 1, 300 do one("SELECT " .. i .. " AS x") end
    local kept = one "SELECT count(*) AS x FROM pg_prepared_statements"
    -- each spelling is a statement of its own, with slots of its own
    for i = 0, 255 do
      db:exec "BEGIN; CREATE TABLE gone (a INTEGER)"
      db:exec "SELECT 1 / 0"
      assert.are.equal("PG_IN_FAILED_TRANSACTION", select(2, db:query("SELECT " .. 1000 + i)))
      assert.are.same({ {}, 0 }, { db:query("ROLLBACK" .. (" "):rep(i)) })
      assert.is_nil(db:query("SELECT to_regclass('gone') AS x")[1].x)
    end
    for i = 0, 255 do
      db:exec "BEGIN; SELECT 1 / 0"
      assert.are.equal("PG_IN_FAILED_TRANSACTION",
        select(2, db:query("COMMIT" .. (" "):rep(i))))
    end
    assert.is_true(kept > 32)
    assert.is_true(one "SELECT count(*) AS x FROM pg_prepared_statements" <= 64)
  end)

  it("says nothing on stderr", function()
    local folder = scratch.folder "pq"
    local out = folder .. "/stderr"
    local pid = assert(process.spawn({
      rawget(_G, "jit") and "/usr/bin/luajit" or "/usr/bin/lua5.4", "-e",
      ("package.cpath = %q"):format(package.cpath), "-e", ([[
        local db = assert(require("billhook.pq").open(%q))
        assert(db:exec "DO $$ BEGIN RAISE NOTICE 'hello'; END $$")]]):format(server.url),
    }, { stdout = out, stderr = out }))
    assert.are.same({ "exit", 0 }, { process.wait(pid) })
    local file = io.open(out)
    assert.are.equal("", file:read "*a")
    file:close()
    process.remove_tree(folder)
  end)

  describe("where the server is not there", function()
    it("says so, without the password", function()
      local url = ("postgresql://billhook:geheim@127.0.0.1:%d/postgres"):format(ports.free())
      local other, code, message = pq.open(url)
      assert.is_nil(other)
      assert.are.equal("PG_CONNECTION", code)
      assert.is_truthy(message:find "Connection refused")
      assert.is_nil(message:find "[\n\t]")
      assert.is_nil(message:find "geheim")
    end)

    it("never quotes a URL that it cannot read #both", function()
      for _, url in ipairs { "postgresql://u:geheim@[::1/db", "postgresql://u:geheim@h:p/db",
        "postgresql://u:ge%zzheim@h/db", "postgresql://u:geheim@h/db?geheim=1", "geheim",
        "host=h password='geheim" } do
        local other, code, message = pq.open(url)
        assert.is_nil(other)
        assert.are.equal(url:find "p/db" and "PG_CONNECTION" or "PG_MISUSE", code)
        assert.is_nil(message:find "geheim", message)
      end
    end)

    it("tells of a database that there is none of", function()
      local _, code, message = pq.open((server.url:gsub("[^/]+$", "nowhere")))
      assert.are.equal("PG_CONNECTION", code)
      assert.is_truthy(message:find 'database "nowhere" does not exist')
    end)

    it("gives up soon where nobody answers", function()
      -- a socket that takes connections, and never says a word
      local socket = require "socket"
      local mute = assert(socket.bind("127.0.0.1", 0))
      local _, port = mute:getsockname()
      local began = process.monotonic()
      local url = ("postgresql://u:geheim@127.0.0.1:%d/db?connect_timeout=2"):format(port)
      local _, code, message = pq.open(url)
      mute:close()
      assert.are.equal("PG_CONNECTION", code)
      assert.is_truthy(message:find "timeout")
      assert.is_true(process.monotonic() - began < 30)
    end)
  end)

  it("is reached by its Unix socket too", function()
    local other = assert(pq.open(server.socket_url))
    assert.is_nil(other:query("SELECT inet_client_addr() AS x")[1].x)
    other:close()
    local name, host, port = server.socket_url:match "@/(.+)%?host=(.+)&port=(%d+)$"
    other = assert(pq.open(("postgresql://billhook@%s:%d/%s"):format(host:gsub("/", "%%2F"), port,
      name)))
    assert.are.same({ { x = 1 } }, other:query "SELECT 1 AS x")
    other:close()
  end)

  describe("when the server", function()
    local function lost()
      local deadline = process.monotonic() + 60
      while not db:lost() and process.monotonic() < deadline do process.sleep(0.001) end
      return db:lost()
    end

    it("ends the connection, knows before it asks", function()
      assert.is_false(db:lost())
      server:sql("SELECT pg_terminate_backend(" .. one "SELECT pg_backend_pid() AS x" .. ")")
      assert.is_true(lost())
      assert.are.equal("PG_CONNECTION", select(2, db:query "SELECT 1"))
      assert.are.equal("PG_CONNECTION", select(2, db:exec "SELECT 1"))
    end)

    it("ends the connection, is told why by what it asks", function()
      local rows, code = db:query "SELECT pg_terminate_backend(pg_backend_pid())"
      assert.is_nil(rows)
      assert.are.equal("PG_ADMIN_SHUTDOWN", code)
      assert.is_true(db:lost())
    end)

    it("is restarted, is found again by a new connection", function()
      local own = postgres.start()
      finally(function() own:remove() end)
      db = assert(pq.open(own.url))
      own:stop "QUIT"
      assert.is_true(lost())
      local rows, code = db:query "SELECT 1"
      assert.is_nil(rows)
      assert.are.equal("PG_CONNECTION", code)
      assert.are.equal("PG_CONNECTION", select(2, pq.open(own.url)))
      own:start()
      db = assert(pq.open(own.url))
      assert.are.equal(1, one "SELECT 1 AS x")
    end)

    -- A connection that begin(ms) makes, and its server's process: with a short time, or with a
    -- longer one where the machine was too busy for that.
    local function soon(begin)
      for _, ms in ipairs { 200, 2000, 20000 } do
        local other = begin(ms)
        local rows = other and other:query "SELECT pg_backend_pid() AS x"
        if rows then return other, rows[1].x end
      end
    end

    it("is frozen, waits no longer than it was told", function()
      local other, pid = soon(function(ms) return (pq.open(server.url, { timeout = ms })) end)
      process.kill(pid, "STOP")
      local began = process.monotonic()
      local rows, code, message = other:query("SELECT $1::text", ("x"):rep(20000000))
      process.kill(pid, "CONT")
      assert.is_nil(rows)
      assert.are.equal("PG_TIMEOUT", code)
      assert.are.equal("the server does not answer", message)
      assert.is_true(process.monotonic() - began < 30)
      assert.is_true(other:lost())
      assert.are.equal("PG_CONNECTION", select(2, other:query "SELECT 1"))
    end)

    it("is frozen, waits no longer for all that follows than for one of them", function()
      local other, pid = soon(function(ms)
        local made = assert(pq.open(server.url, { timeout = 60000 }))
        made:within(60000)
        made:within() -- no longer
        assert.is_truthy(made:query "SELECT 1")
        made:within(ms)
        return made
      end)
      process.kill(pid, "STOP")
      local began = process.monotonic()
      local code = select(2, other:query "SELECT 3")
      process.kill(pid, "CONT")
      assert.are.equal("PG_TIMEOUT", code)
      assert.is_true(process.monotonic() - began < 30)
    end)

    it("would copy, gives the connection up", function()
      local ok, code, message = db:exec "COPY t FROM STDIN"
      assert.is_nil(ok)
      assert.are.equal("PG_FEATURE_NOT_SUPPORTED", code)
      assert.are.equal("COPY is not supported", message)
      assert.is_true(db:lost())
    end)
  end)

  it("closes more than once, and then answers with an error #both", function()
    assert.are.equal("billhook.pq", tostring(db))
    db:close()
    db:close()
    assert.are.equal("billhook.pq (closed)", tostring(db))
    assert.is_true(db:lost())
    for _, call in ipairs { "query", "exec" } do
      local value, code, message = db[call](db, "SELECT 1")
      assert.is_nil(value)
      assert.are.equal("PG_MISUSE", code)
      assert.are.equal("the database is closed", message)
    end
  end)

  it("is collected like anything else #both", function()
    local ours = "SELECT count(*) AS x FROM pg_stat_activity WHERE datname = current_database()"
    local before = one(ours)
    for _ = 1, 20 do
      local other = assert(pq.open(server.url))
      other:query "SELECT 1"
    end
    collectgarbage()
    collectgarbage()
    local deadline = process.monotonic() + 60
    repeat
      local now = one(ours)
    until now <= before + 1 or process.monotonic() > deadline and error(now)
  end)

  describe("raises #both", function()
    local function raises(message, ...)
      local ok, why = pcall(...)
      assert.is_false(ok)
      assert.is_truthy(tostring(why):find(message, 1, true), tostring(why))
    end

    it("where the number of values is wrong", function()
      raises("1 values given to a statement that takes 2", db.query, db,
        "SELECT $1::text, $2::text", "1")
      raises("1 values given to a statement that takes 0", db.query, db, "SELECT 1", 1)
    end)

    it("where a value has no place in a database", function()
      raises("nil, boolean, number, string or list expected", db.query, db, "SELECT $1::text", {})
      raises("nil, boolean, number, string or list expected", db.query, db, "SELECT $1::text",
        print)
      raises("a list of strings expected", db.query, db, "SELECT $1::text[]", { 1 })
      raises("a list of numbers expected", db.query, db, "SELECT $1::bigint[]", { true })
      raises("a list of whole numbers expected", db.query, db, "SELECT $1::bigint[]", { 1.5 })
      raises("a list of whole numbers expected", db.query, db, "SELECT $1::bigint[]", { 2 ^ 54 })
      raises("a zero byte in what is no text", db.query, db, "SELECT $1::bigint", "1\0")
    end)

    it("where there is no statement", function()
      raises("no statement in it", db.query, db, "  -- nothing")
      raises("not an SQL text", db.query, db, "SELECT 1\0")
      raises("string expected", db.query, db)
    end)

    it("where there are too many parameters", function()
      local text, values = {}, {}
      for i = 1, 41 do text[i], values[i] = "$" .. i .. "::bigint", i end
      raises("too many parameters", db.query, db, "SELECT " .. table.concat(text, ","),
        (table.unpack or unpack)(values)) -- luacheck: ignore 113
    end)

    it("where it is called without a database", function()
      raises("billhook.pq expected", db.query, {}, "SELECT 1")
      raises("string expected", pq.open)
      raises("table expected", pq.open, server.url, 7)
    end)

    it("and works on after it", function()
      pcall(db.query, db, "SELECT $1::text", print)
      assert.are.equal("y", one("SELECT $1::text AS x", "y"))
    end)
  end)
end)

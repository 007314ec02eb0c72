-- sqlite_spec.lua: the binding to libsqlite3, on real files.

local process = require "billhook.process"
local scratch = require "spec.support.scratch"
local sqlite = require "billhook.sqlite"

describe("billhook.sqlite", function()
  local folder, db

  local function path(name) return folder .. "/" .. name end

  before_each(function()
    folder = scratch.folder "sqlite"
    db = assert(sqlite.open(path "a.db"))
    assert(db:exec "CREATE TABLE t (a INTEGER PRIMARY KEY, b, c)")
  end)

  after_each(function()
    db:close()
    process.remove_tree(folder)
  end)

  it("gives back what it was given", function()
    local values = { 0, -1, 2 ^ 53, -2 ^ 53, 1.5, "", "text", "a\0b", "\xc3\xa9",
      ("x"):rep(100000) }
    for _, value in ipairs(values) do
      local row = assert(db:query("SELECT $1 AS x", value))[1]
      assert.are.equal(value, row.x)
    end
  end)

  it("binds nil as NULL, booleans as 0 and 1, and gives NULL as absence", function()
    local row = db:query("SELECT $1 AS n, $2 AS t, $3 AS f, typeof($4) AS kind",
      nil, true, false, "x")[1]
    assert.are.same({ t = 1, f = 0, kind = "text" }, row)
  end)

  it("stores whole numbers as integers, whatever Lua calls them", function()
    for _, value in ipairs { 3, 3.0, 2 ^ 40 } do
      assert.are.equal("integer", db:query("SELECT typeof($1) AS kind", value)[1].kind)
    end
    assert.are.equal("real", db:query("SELECT typeof($1) AS kind", 0.5)[1].kind)
  end)

  it("keeps all digits of an integer of 64 bits", function()
    local x = db:query("SELECT 9223372036854775807 AS x")[1].x
    assert.are.equal("9223372036854775807", tostring(x))
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
    assert.are.equal(0, select(2, db:query("SELECT 1")))
    assert.are.equal(0, select(2,
      db:query("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING")))
  end)

  it("names extended result codes", function()
    db:query("INSERT INTO t (a) VALUES (1)")
    local rows, code, message = db:query("INSERT INTO t (a) VALUES (1)")
    assert.is_nil(rows)
    assert.are.equal("SQLITE_CONSTRAINT_PRIMARYKEY", code)
    assert.is_truthy(message:find("t.a", 1, true))
    assert.are.equal("SQLITE_ERROR", select(2, db:exec "no such thing"))
    assert.are.equal("SQLITE_CANTOPEN", select(2, sqlite.open(path "no/such/folder.db")))
    assert.are.equal("SQLITE_CANTOPEN", select(2, sqlite.open(folder)))
  end)

  it("works on after an error", function()
    for _ = 1, 3 do
      assert.is_truthy(db:query("INSERT INTO t (b) VALUES ($1)", 1))
      assert.is_nil((db:query("INSERT INTO t (a) VALUES ($1)", 1)))
    end
    assert.are.equal(3, db:query("SELECT count(*) AS n FROM t")[1].n)
  end)

  it("takes a schema that another connection has changed", function()
    db:query("SELECT * FROM t")
    local other = assert(sqlite.open(path "a.db"))
    assert(other:exec "ALTER TABLE t ADD COLUMN d DEFAULT 7; INSERT INTO t (a) VALUES (1)")
    other:close()
    assert.are.same({ { a = 1, d = 7 } }, db:query("SELECT * FROM t"))
  end)

  it("holds more statements than it keeps", function()
    for round = 1, 3 do
      for i = 1, 300 do
        local row = db:query("SELECT $1 + " .. i .. " AS x", round)[1]
        assert.are.equal(i + round, row.x)
      end
    end
  end)

  it("says busy after the time it was told to wait", function()
    assert(db:exec "BEGIN IMMEDIATE")
    local other = assert(sqlite.open(path "a.db", { busy_timeout = 10 }))
    local ok, code = other:exec "BEGIN IMMEDIATE"
    assert.is_nil(ok)
    assert.are.equal("SQLITE_BUSY", code)
    assert(db:exec "COMMIT")
    assert.is_true(other:exec "BEGIN IMMEDIATE")
    other:close()
  end)

  it("says full and goes on when there is room again", function()
    db:exec "PRAGMA max_page_count = 5"
    local rows, code = db:query("INSERT INTO t (b) VALUES ($1)", ("x"):rep(100000))
    assert.is_nil(rows)
    assert.are.equal("SQLITE_FULL", code)
    db:exec "PRAGMA max_page_count = 1000"
    assert.is_truthy(db:query("INSERT INTO t (b) VALUES ($1)", ("x"):rep(100000)))
  end)

  describe("whose file's place was noted", function()
    before_each(function()
      assert(db:exec "PRAGMA journal_mode = WAL; CREATE TABLE w (a INTEGER)")
      assert.is_false(db:moved())
      assert.is_true(db:note())
    end)

    for ending, what in pairs { [""] = "file", ["-wal"] = "log", ["-shm"] = "index" } do
      it("tells whether it is still there: " .. what, function()
        local name = path "a.db" .. ending
        assert.is_false(db:moved())
        assert(os.rename(name, name .. "x"))
        assert.are.equal(what, db:moved())
        assert(io.open(name, "w")):close()
        assert.are.equal(what, db:moved())
        assert(os.rename(name .. "x", name))
        assert.is_false(db:moved())
      end)
    end

    it("tells whether the file was cut off", function()
      assert(db:exec "PRAGMA wal_checkpoint(TRUNCATE)")
      assert.is_false(db:moved())
      assert(io.open(path "a.db", "w")):close()
      assert.are.equal("size", db:moved())
    end)

    it("writes its log into the file, wherever that is", function()
      assert(db:exec "INSERT INTO w (a) VALUES (7)")
      assert(os.rename(path "a.db", path "z.db"))
      assert.is_true(db:rescue())
      assert.are.equal(0, sqlite.look(path "a.db").log_size)
      local other = assert(sqlite.open(path "z.db"))
      assert.are.same({ { a = 7 } }, other:query "SELECT a FROM w")
      other:close()
    end)

    it("gives up the log's names where another file has come", function()
      assert(os.rename(path "a.db", path "z.db"))
      assert(io.open(path "a.db", "w")):close()
      assert.is_true(db:rescue())
      local place = sqlite.look(path "a.db")
      assert.is_nil(place.log)
      assert.is_nil(place.index)
    end)

    it("leaves alone what is not its own", function()
      assert(os.remove(path "a.db-wal"))
      assert(io.open(path "a.db-wal", "w")):close()
      for _, call in ipairs { "rescue", "checkpoint" } do
        local ok, code, message = db[call](db)
        assert.is_nil(ok)
        assert.are.equal("SQLITE_PROTOCOL", code)
        assert.are.equal("another log was put beside the file", message)
      end
    end)

    it("tells whether others have it, too", function()
      assert.is_true(db:alone())
      local other = assert(sqlite.open(path "a.db"))
      assert(other:query "SELECT * FROM w")
      other:note()
      assert.is_false(db:alone())
      assert.is_false(other:alone())
      other:close()
      assert.is_true(db:alone())
    end)

    it("knows whose log it is", function()
      local place = sqlite.look(path "a.db")
      assert.are.equal(place.file, place.of)
      assert(os.rename(path "a.db", path "z.db"))
      assert(io.open(path "a.db", "w")):close()
      local other = sqlite.look(path "a.db")
      assert.are.equal(place.file, other.of)
      assert.are_not.equal(place.file, other.file)
      -- a copy of all is a whole
      local pid = process.spawn { "cp", "-a", path "z.db", path "c.db" }
      process.wait(pid)
      process.wait((process.spawn { "cp", "-a", path "a.db-wal", path "c.db-wal" }))
      assert.is_nil(sqlite.look(path "c.db").of)
    end)
  end)

  it("does not wait for ever to be the only one who changes what is where", function()
    local one = sqlite.lock(path "a.db", 10)
    local other = sqlite.lock(path "b.db", 10)
    one:release()
    other:release()
    one:release()
    assert.is_true(sqlite.lock(path "no/such.db", 10) ~= nil)
  end)

  it("makes no file where it is not told to", function()
    local none, code = sqlite.open(path "none.db", { create = false })
    assert.is_nil(none)
    assert.are.equal("SQLITE_CANTOPEN", code)
    sqlite.make(path "none.db")
    assert(sqlite.open(path "none.db", { create = false })):close()
  end)

  it("says what a file that is no database is", function()
    local file = io.open(path "b.db", "w")
    file:write(("not a database "):rep(100))
    file:close()
    local other = assert(sqlite.open(path "b.db"))
    assert.are.equal("SQLITE_NOTADB", select(2, other:exec "SELECT * FROM sqlite_master"))
    other:close()
  end)

  it("opens nothing that is no file, which it might wait for", function()
    for _, name in ipairs { "", "-journal", "-wal", "-shm" } do
      local odd = path("pipe.db" .. name)
      assert(os.execute("mkfifo " .. odd))
      local opened, code, message = sqlite.open(path "pipe.db")
      assert.same({ nil, "SQLITE_CANTOPEN", odd .. " is not a file" }, { opened, code, message })
      os.remove(odd)
    end
    sqlite.open(path "pipe.db"):close()
  end)

  it("makes its files for their owner alone, and leaves a file's mode as it is", function()
    db:exec "PRAGMA journal_mode = WAL; INSERT INTO t (a) VALUES (1)"
    for _, name in ipairs { "a.db", "a.db-wal", "a.db-shm" } do
      local pipe = io.popen("stat -c %a " .. path(name))
      assert.are.equal("600", pipe:read "*l", name)
      pipe:close()
    end
    os.execute("touch " .. path "c.db" .. " && chmod 640 " .. path "c.db")
    assert(sqlite.open(path "c.db")):close()
    local pipe = io.popen("stat -c %a " .. path "c.db")
    assert.are.equal("640", pipe:read "*l")
    pipe:close()
  end)

  it("keeps a transaction's locks when the file is opened once more", function()
    assert(db:exec "BEGIN IMMEDIATE")
    assert(sqlite.open(path "a.db")):close()
    local script = ([[sqlite = require "billhook.sqlite"
      local db = assert(sqlite.open(%q, { busy_timeout = 1 }))
      os.exit(db:exec "BEGIN IMMEDIATE" and 1 or 0)]]):format(path "a.db")
    local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
    local pid = assert(process.spawn({ lua, "-e", ("package.cpath = %q"):format(package.cpath),
      "-e", script }, { env = { LD_PRELOAD = os.getenv "BILLHOOK_PRELOAD" or false } }))
    local kind, status = process.wait(pid)
    assert.are.same({ "exit", 0 }, { kind, status })
  end)

  it("refuses to work in a fork, which ends without harm to the parent", function()
    -- only LuaJIT can fork without help
    local script = ([[
      local ffi, sqlite = require "ffi", require "billhook.sqlite"
      ffi.cdef "int fork(void); int waitpid(int, int *, int);"
      local db = assert(sqlite.open(%q))
      assert(db:exec "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE; INSERT INTO t (a) VALUES (77)")
      local child = ffi.C.fork()
      if child == 0 then
        local rows, code, message = db:query "SELECT 1"
        db:close()
        os.exit(rows == nil and code == "SQLITE_MISUSE"
          and message == "the database was opened before a fork" and 7 or 8, true)
      end
      local status = ffi.new "int[1]"
      ffi.C.waitpid(child, status, 0)
      local other = assert(sqlite.open(%q, { busy_timeout = 1 }))
      assert(select(2, other:exec "BEGIN IMMEDIATE") == "SQLITE_BUSY")
      assert(db:exec "COMMIT")
      os.exit(status[0] / 256)]]):format(path "a.db", path "a.db")
    local cpath = "build/luajit/?.so;" .. package.cpath
    local pid = assert(process.spawn({ "luajit", "-e", ("package.cpath = %q"):format(cpath),
      "-e", script }))
    local kind, status = process.wait(pid)
    assert.are.same({ "exit", 7 }, { kind, status })
    assert.are.same({ { a = 77 } }, db:query("SELECT a FROM t"))
  end)

  it("closes more than once, and then answers with an error", function()
    assert.are.equal("billhook.sqlite", tostring(db))
    db:close()
    db:close()
    assert.are.equal("billhook.sqlite (closed)", tostring(db))
    for _, call in ipairs { "query", "exec", "moved", "note", "rescue", "checkpoint", "alone",
      "keep_log", "park", "cut_log", "sync_failed" } do
      local value, code, message = db[call](db, "SELECT 1")
      assert.is_nil(value)
      assert.are.equal("SQLITE_MISUSE", code)
      assert.are.equal("the database is closed", message)
    end
  end)

  it("is not noted while somebody else writes, and no sync of it has failed", function()
    assert(db:query "PRAGMA journal_mode = WAL")
    assert(db:exec "BEGIN IMMEDIATE")
    local other = assert(sqlite.open(path "a.db", { busy_timeout = 0 }))
    assert.are.same({ nil, "SQLITE_BUSY", "database is locked" }, { other:note() })
    assert(db:exec "COMMIT")
    assert.is_true(other:note())
    assert.is_false(other:sync_failed())
    other:close()
  end)

  it("is collected like anything else", function()
    local pid = require("billhook.inbox.owner").name():match "/(%d+)/%d+$"
    local function count()
      local pipe = io.popen("ls /proc/" .. pid .. "/fd | wc -l")
      local n = tonumber(pipe:read "*l")
      pipe:close()
      return n
    end
    local before = count()
    for _ = 1, 50 do
      local one = assert(sqlite.open(path "a.db"))
      one:query("SELECT * FROM t")
    end
    collectgarbage()
    collectgarbage()
    -- each had two; SQLite keeps one of them for as long as another connection to the file is open
    assert.is_true(count() < before + 75)
  end)

  it("is left to whoever in this process takes it next, and to nobody else", function()
    assert(db:exec "INSERT INTO t VALUES (1, 2, 3)")
    assert.is_true(db:park())
    assert.are.same({ nil, "SQLITE_MISUSE", "the database is closed" }, { db:park() })
    assert.is_nil(sqlite.take(path "b.db"))
    local other = assert(sqlite.take(path "a.db"))
    assert.is_nil(sqlite.take(path "a.db"))
    assert.are.equal(2, other:query("SELECT b FROM t")[1].b)
    other:close()
  end)

  it("is alone with what is parked, which is closed then", function()
    assert(db:query "PRAGMA journal_mode = WAL")
    assert(db:query "SELECT * FROM t")
    local other = assert(sqlite.open(path "a.db"))
    assert(other:query "SELECT * FROM t")
    assert.is_true(db:note() and other:note())
    assert.is_false(db:alone())
    assert.is_true(other:park())
    assert.is_true(db:alone())
    assert.is_nil(sqlite.take(path "a.db"))
  end)

  it("cuts its log where nobody is at work in it, and does not wait otherwise", function()
    assert(db:query "PRAGMA journal_mode = WAL")
    assert(db:exec "INSERT INTO t VALUES (1, 2, 3)")
    local other = assert(sqlite.open(path "a.db"))
    assert(other:exec "BEGIN; SELECT * FROM t")
    local done, code = db:cut_log()
    assert.are.same({ nil, "SQLITE_BUSY" }, { done, code })
    assert(other:exec "ROLLBACK")
    assert.is_true(db:cut_log())
    assert.are.equal(0, sqlite.look(path "a.db").log_size)
    other:close()
  end)

  describe("raises", function()
    local function raises(message, ...)
      local ok, why = pcall(...)
      assert.is_false(ok)
      assert.is_truthy(tostring(why):find(message, 1, true), tostring(why))
    end

    it("where the number of values is wrong", function()
      raises("1 values given to a statement that takes 2", db.query, db, "SELECT $1, $2", 1)
      raises("1 values given to a statement that takes 0", db.query, db, "SELECT 1", 1)
    end)

    it("where a value has no place in a database", function()
      raises("nil, boolean, number or string expected", db.query, db, "SELECT $1", {})
      raises("nil, boolean, number or string expected", db.query, db, "SELECT $1", print)
    end)

    it("where there is no statement", function()
      raises("no statement in it", db.query, db, "  -- nothing")
      raises("not an SQL text", db.query, db, "SELECT 1\0")
      raises("string expected", db.query, db)
    end)

    it("where it is called without a database", function()
      raises("billhook.sqlite expected", db.query, {}, "SELECT 1")
      raises("string expected", sqlite.open)
      raises("table expected", sqlite.open, path "a.db", 7)
    end)

    it("where there is more than one statement", function()
      raises("more than one statement", db.query, db, "SELECT 1; SELECT 2")
    end)
  end)
end)

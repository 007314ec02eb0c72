-- inbox_spec.lua: the inboxes there are.

local inbox = require "billhook.inbox"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"

-- busted gives its functions only to the spec file itself
local environment = rawget(_G, "getfenv") and getfenv(1) or _ENV
local contract = assert(loadfile("spec/inbox_contract.lua", "t", environment))()

local folder
before_each(function() folder = scratch.folder "inbox" end)
after_each(function() process.remove_tree(folder) end)

describe("inbox memory: #both", function()
  contract(function(options) return inbox.open("memory:", options) end)

  it("is another one each time", function()
    local a, b = inbox.open "memory:", inbox.open "memory:"
    a:set("x", "1")
    assert.is_false(b:peek("x").text)
  end)
end)

describe("inbox sqlite: #both", function()
  contract(function(options) return inbox.open("sqlite:" .. folder .. "/a.db", options) end)
end)

-- --- what only a file can show -----------------------------------------------

local lua = rawget(_G, "jit") and "luajit" or "lua5.4"

-- A process that runs a text with `url` in it; what it prints goes into a file.
local function start(text, output)
  local prelude = ("package.path, package.cpath, url = %q, %q, %q\n"):format(package.path,
    package.cpath, "sqlite:" .. folder .. "/a.db")
  return assert(process.spawn({ lua, "-e", prelude .. text }, { stdout = output, stderr = output }))
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function eventually(check)
  local deadline = process.monotonic() + 60
  while not check() do
    if process.monotonic() > deadline then error("it did not become true", 2) end
    process.sleep(0.002)
  end
end

local COMMON = [[
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
function claim(store, who, limit)
  return assert(store:claim { kind = "run", account = "school", owner = who or "me", lease = 60000,
    limit = limit or 10, page = 100 }).rows
end
]]
local delivery, event, add, claim = assert((loadstring or load)( -- luacheck: ignore 143
  COMMON .. "return delivery, event, add, claim"))()

describe("inbox sqlite: on a disk", function()
  local path, store

  before_each(function()
    path = folder .. "/a.db"
    store = assert(inbox.open("sqlite:" .. path))
  end)

  after_each(function() if store then store:close() end end)

  local function sql(text)
    local db = assert(require("billhook.sqlite").open(path, { busy_timeout = 5000 }))
    local rows = assert(db:query(text))
    db:close()
    return rows
  end

  it("is for its owner alone", function()
    store:admit { delivery("a", "1") }
    local pipe = io.popen("stat -c %a " .. path .. "*")
    assert.are.equal("600 600 600", (pipe:read "*a":gsub("%s+$", ""):gsub("\n", " ")))
    pipe:close()
  end)

  it("promises what a power cut leaves alone", function()
    assert.are.equal("wal", sql("PRAGMA journal_mode")[1].journal_mode)
    assert.are.equal(2, store.db:query("PRAGMA synchronous")[1].synchronous)
  end)

  it("is there again when it is opened again #both", function()
    store:admit { delivery("a", "1") }
    store:close()
    store = assert(inbox.open("sqlite:" .. path))
    assert.are.equal("a", store:incoming("school", 10)[1].key)
    assert.are.same({ "duplicate" }, store:admit { delivery("a", "1") })
  end)

  it("refuses a file of a newer version, and says so", function()
    sql "UPDATE meta SET value = '99' WHERE name = 'version'"
    local other, err = inbox.open("sqlite:" .. path)
    assert.is_nil(other)
    assert.are.equal("the inbox has version 99, this billhook knows 1", err.message)
  end)

  it("says what it cannot open", function()
    for _, bad in ipairs { "/no/such/folder/a.db", folder } do
      local other, err = inbox.open("sqlite:" .. bad)
      assert.is_nil(other)
      assert.are.equal("store", err.kind)
      assert.are.equal("SQLITE_CANTOPEN", err.code)
    end
    local file = io.open(folder .. "/b.db", "w")
    file:write(("not a database "):rep(100))
    file:close()
    assert.are.equal("SQLITE_NOTADB", select(2, inbox.open("sqlite:" .. folder .. "/b.db")).code)
  end)

  it("can be made by many processes at once", function()
    store:close()
    for round = 1, 5 do
      local pids = {}
      path = ("%s/many%d.db"):format(folder, round)
      for i = 1, 6 do
        pids[i] = start(([[url = "sqlite:%s"
          assert(require("billhook.inbox").open(url)):close()]]):format(path),
          folder .. "/out" .. i)
      end
      for i, pid in ipairs(pids) do
        local kind, status = process.wait(pid)
        assert.are.same({ "exit", 0 }, { kind, status }, read(folder .. "/out" .. i))
      end
    end
    store = assert(inbox.open("sqlite:" .. path))
  end)

  it("gives no row to two processes, and every event to one #both", function()
    local list = {}
    for i = 1, 300 do list[i] = event(tostring(i), tostring(i % 60)) end
    assert(store:apply { { account = "school", events = list } })
    local text = COMMON .. [[
      -- SQLite lets whoever comes write next: on a busy machine one may wait for long
      local store = assert(require("billhook.inbox").open(url, { busy_timeout = 60000 }))
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
      until #rows == 0]]
    local pids = {}
    for i = 1, 4 do pids[i] = start(text, folder .. "/out" .. i) end
    local seen, count = {}, 0
    for i, pid in ipairs(pids) do
      local kind, status = process.wait(pid)
      local output = read(folder .. "/out" .. i)
      assert.are.same({ "exit", 0 }, { kind, status }, output)
      for id in output:gmatch "%S+" do
        assert.is_nil(seen[id], id)
        seen[id] = true
        count = count + 1
      end
    end
    assert.are.equal(300, count)
    assert.are.equal(0, store:stats().pending)
  end)

  local function recovered(owner)
    local want = { owner = owner or "me", fresh = true, backoff = { base = 1, cap = 1 } }
    local lost = assert(store:due(want)).lost
    if lost then assert(store:recover(want)) end
    return lost
  end

  it("takes over at once from a process that was killed", function()
    add(store, event("a", "1"))
    local pid = start(COMMON .. [[
      local store = assert(require("billhook.inbox").open(url))
      local row = claim(store, require("billhook.inbox.owner").name(), 1)[1]
      assert(store:mark(row.lane, row.token, nil,
        { lane = row.lane, seq = row.events[1].seq, rule = "r" }))
      print "claimed"
      io.stdout:flush()
      while true do require("billhook.process").sleep(10) end]], folder .. "/out")
    eventually(function() return read(folder .. "/out"):find "claimed" end)
    assert.is_false(recovered())
    assert.are.same({}, claim(store))
    process.kill(pid, "KILL")
    eventually(recovered) -- it may be seen as a zombie before its end was asked for
    process.wait(pid)
    eventually(function() return #claim(store) == 1 end)
    assert.are.equal(1, store:show("school:a").marks.r.attempts)
  end)

  it("takes nothing from a process that goes by no name of its own", function()
    local owner, open_file = require "billhook.inbox.owner", io.open
    io.open = function(place, ...) -- luacheck: ignore 122
      if not place:find "^/proc/" then return open_file(place, ...) end
    end
    package.loaded["billhook.inbox.owner"] = nil
    local other = require "billhook.inbox.owner"
    local names = { owner.name(), other.name(), other.name() }
    local alive = owner.alive(names[2])
    io.open = open_file -- luacheck: ignore 122
    package.loaded["billhook.inbox.owner"] = owner
    assert.is_truthy(names[1]:find "^unknown%-%x+$")
    assert.are_not.equal(names[1], names[2])
    assert.are.equal(names[2], names[3])
    assert.is_true(alive)
    assert.is_true(owner.alive(names[2]))
  end)

  it("takes over from a process of another boot, and from a process id that came again", function()
    local owner = require "billhook.inbox.owner"
    add(store, event("a", "1"))
    local boot, namespace, pid, start_time = owner.name():match "^(.-)/(%d+)/(%d+)/(%d+)$"
    local function name(...) return table.concat({ ... }, "/") end
    for _, other in ipairs {
      name("another-boot", namespace, pid, start_time),
      name(boot, namespace, pid, tonumber(start_time) + 1),
      name(boot, namespace, "4194304", start_time),
    } do
      eventually(function() return #claim(store, other) == 1 end)
      assert.is_true(recovered(), other)
    end
    -- a process id of another container says nothing here
    eventually(function() return #claim(store, name(boot, "1", "4194304", start_time)) == 1 end)
    assert.is_false(recovered(owner.name()))
  end)

  it("answers with an error while another process writes, and works on after", function()
    store:close()
    store = assert(inbox.open("sqlite:" .. path, { busy_timeout = 20 }))
    local db = assert(require("billhook.sqlite").open(path))
    db:exec "BEGIN IMMEDIATE"
    local results, err = store:admit { delivery("a", "1") }
    assert.is_nil(results)
    assert.are.equal("SQLITE_BUSY", err.code)
    assert.is_true(err.retryable)
    db:exec "COMMIT"
    db:close()
    assert.are.same({ "new" }, store:admit { delivery("a", "1") })
  end)

  it("answers with an error while the disk is full, and works on after", function()
    store:admit { delivery("a", "1") }
    local pages = store.db:query("PRAGMA page_count")[1].page_count
    store.db:query("PRAGMA max_page_count = " .. pages)
    local big = delivery("b", "1")
    big.body = ("x"):rep(100000)
    local results, err = store:admit { delivery("c", "1"), big }
    assert.is_nil(results)
    assert.are.equal("SQLITE_FULL", err.code)
    assert.are.equal(1, #store:deliveries {})
    store.db:query("PRAGMA max_page_count = 100000")
    assert.are.same({ "new", "new" }, store:admit { delivery("c", "1"), big })
    assert.are.equal("ok", sql("PRAGMA integrity_check")[1].integrity_check)
  end)

  it("answers with an error while its file is broken, and works on with a good one", function()
    store:admit { delivery("a", "1") }
    os.execute(("cp %s %s/good.db; cp %s-wal %s/good.db-wal"):format(path, folder, path, folder))
    local file = io.open(folder .. "/bad.db", "w")
    file:write(("not a database "):rep(1000))
    file:close()
    os.remove(path .. "-wal") -- all of it would be found again in there
    os.remove(path .. "-shm")
    assert(os.rename(folder .. "/bad.db", path))
    for _ = 1, 2 do
      local results, err = store:admit { delivery("b", "1") }
      assert.is_nil(results)
      assert.are.equal("SQLITE_NOTADB", err.code)
    end
    assert(os.rename(folder .. "/good.db-wal", path .. "-wal"))
    assert(os.rename(folder .. "/good.db", path))
    assert.are.same({ "duplicate", "new" }, store:admit { delivery("a", "1"), delivery("b", "1") })
  end)

  it("never writes into a file that was deleted", function()
    store:admit { delivery("a", "1") }
    os.remove(path)
    os.remove(path .. "-wal")
    os.remove(path .. "-shm")
    local results, err = store:admit { delivery("b", "1") }
    assert.is_nil(results)
    assert.are.equal("INBOX_MOVED", err.code)
    assert.truthy(err.message:find("the file is gone: put it back", 1, true))
    assert.is_nil(io.open(path)) -- only who comes anew begins a new one
    store:close()
    store = assert(inbox.open("sqlite:" .. path))
    assert.are.same({}, store:deliveries {})
  end)

  describe("whose files are taken away", function()
    local logged, other

    before_each(function()
      logged = {}
      store:close()
      store = assert(inbox.open("sqlite:" .. path, { log = function(level, name, fields)
        logged[#logged + 1] = { level, name, fields.inbox }
      end }))
      store:admit { delivery("a", "1") }
    end)

    -- what a process sees that opens it now
    local function seen()
      other = assert(inbox.open("sqlite:" .. path))
      local found = {}
      for _, one in ipairs(other:deliveries {}) do found[#found + 1] = one.id end
      other:close()
      table.sort(found)
      return table.concat(found, " ")
    end

    local function told_once()
      assert.are.same({ { "error", "inbox_moved", path } }, logged)
    end

    for _, ending in ipairs { "-wal", "-shm" } do
      it(("keeps what it has said without its %s"):format(ending), function()
        assert(os.remove(path .. ending))
        assert.are.same({ "duplicate", "new" },
          store:admit { delivery("a", "1"), delivery("b", "1") })
        told_once()
        assert.are.equal("school:a school:b", seen())
        -- also where it is only looked at
        assert(os.remove(path .. ending))
        assert.are.equal(2, #store:deliveries {})
        assert.are.equal("school:a school:b", seen())
      end)
    end

    it("begins a new log at once where others have only left their connections", function()
      local thread = assert(inbox.open("sqlite:" .. path))
      thread:admit { delivery("b", "1") }
      thread:rest()
      assert(os.remove(path .. "-wal"))
      assert.are.same({ "new" }, store:admit { delivery("c", "1") })
      told_once()
      assert.are.equal("school:a school:b school:c", seen())
      assert.are.equal(3, #thread:deliveries {})
      thread:rest()
      assert.are.equal(3, #thread:deliveries {})
      thread:close()
    end)

    for _, ending in ipairs { "", "-wal", "-shm" } do
      it(("while it commits, does it once more where it can: %q"):format(ending), function()
        local real, done = store.db, false
        store.db = setmetatable({ query = function(_, text, ...)
          if text == "COMMIT" and not done then
            done = true
            if ending == "" then os.remove(path .. "-wal") os.remove(path .. "-shm") end
            assert(os.remove(path .. ending))
          end
          return real:query(text, ...)
        end }, { __index = function(_, name)
          return function(_, ...) return real[name](real, ...) end
        end })
        local results, err = store:admit { delivery("b", "1") }
        assert.is_true(done)
        if ending == "" then
          assert.are.equal("INBOX_MOVED", err.code)
          assert.is_nil(io.open(path))
        else
          assert.are.equal("duplicate", results[1])
          told_once()
          assert.are.equal("school:a school:b", seen())
        end
      end)
    end

    -- as a person does who means to begin anew, or who has restored a copy
    it("takes no empty file for one whose log is still there", function()
      assert(os.remove(path))
      local results, err = store:admit { delivery("b", "1") }
      assert.is_nil(results)
      assert.are.equal("INBOX_MOVED", err.code)
      assert.truthy(err.message:find(path .. ": the file is missing, but its -wal or -shm is there",
        1, true), err.message)
      store:close()
      store, err = inbox.open("sqlite:" .. path)
      assert.is_nil(store)
      assert.truthy(err.message:find("the file is missing", 1, true), err.message)
      assert(io.open(path, "w")):close()
      local log = assert(io.open(path .. "-wal", "w"))
      log:write "x"
      log:close()
      store, err = inbox.open("sqlite:" .. path)
      assert.is_nil(store)
      assert.truthy(err.message:find("the file is empty, but its -wal is not", 1, true))
      os.remove(path .. "-wal")
      os.remove(path .. "-shm")
      store = assert(inbox.open("sqlite:" .. path))
      assert.are.same({ "new" }, store:admit { delivery("b", "1") })
    end)

    it("never reads another file's log into it", function()
      local db = assert(require("billhook.sqlite").open(path))
      assert(db:exec(("VACUUM INTO '%s/copy.db'"):format(folder)))
      db:close()
      local output = folder .. "/out"
      local child = start(COMMON .. [[
        local store = assert(require("billhook.inbox").open(url))
        assert(store:admit { delivery("k", "1") })
        print "stored"
        io.stdout:flush()
        require("billhook.process").sleep(60)]], output)
      eventually(function() return read(output):find "stored" end)
      store:close()
      process.kill(child, "KILL")
      process.wait(child)
      assert(os.rename(path, folder .. "/old.db"))
      assert(os.rename(folder .. "/copy.db", path))
      local err
      store, err = inbox.open("sqlite:" .. path)
      assert.is_nil(store)
      assert.are.equal("INBOX_MOVED", err.code)
      assert.truthy(err.message:find("another file than the one that the -wal beside it", 1, true))
      assert(os.rename(path .. "-wal", folder .. "/old.db-wal"))
      assert(os.remove(path .. "-shm"))
      store = assert(inbox.open("sqlite:" .. path))
      assert.are.same({ "duplicate", "new" },
        store:admit { delivery("a", "1"), delivery("b", "1") })
      local old = assert(inbox.open("sqlite:" .. folder .. "/old.db"))
      assert.are.equal(1, #old:deliveries { id = "school:k" })
      old:close()
    end)

    it("is not opened by others while they would have another log", function()
      local second = assert(inbox.open("sqlite:" .. path))
      assert(os.remove(path .. "-wal"))
      assert.are.same({ "new" }, store:admit { delivery("b", "1") })
      local third, err = inbox.open("sqlite:" .. path)
      assert.is_nil(third)
      assert.are.equal("INBOX_MOVED", err.code)
      assert.truthy(err.message:find("while others have the file open: start them again", 1, true))
      assert.are.same({ "duplicate", "new" },
        second:admit { delivery("b", "1"), delivery("c", "1") })
      second:close()
      assert.are.same({ "new" }, store:admit { delivery("d", "1") })
      assert.are.equal("school:a school:b school:c school:d", seen())
      store:close()
      assert.are.equal("school:a school:b school:c school:d", seen())
    end)

    it("follows a link to another file, and leaves the first one whole", function()
      local function link(target)
        local pid = process.spawn { "ln", "-sfn", target, folder .. "/link.db" }
        process.wait(pid)
      end
      link "one.db"
      require("billhook.sqlite").make(folder .. "/one.db")
      require("billhook.sqlite").make(folder .. "/two.db")
      local one = assert(inbox.open("sqlite:" .. folder .. "/link.db", { log = function() end }))
      one:admit { delivery("x", "1") }
      link "two.db"
      assert.are.same({ "new" }, one:admit { delivery("x", "1") })
      one:close()
      for _, name in ipairs { "one.db", "two.db" } do
        local db = assert(require("billhook.sqlite").open(folder .. "/" .. name))
        assert.are.same({ { id = "x" } }, db:query "SELECT id FROM deliveries", name)
        db:close()
      end
    end)

    it("takes nothing into a file that was cut off", function()
      for i = 1, 50 do store:admit { delivery("n" .. i, "1") } end
      store:close()
      store = assert(inbox.open("sqlite:" .. path, { log = function() end }))
      store:admit { delivery("b", "1") }
      assert(io.open(path, "w")):close()
      for _ = 1, 2 do
        local results, err = store:admit { delivery("c", "1") }
        assert.is_nil(results)
        assert.are.equal("INBOX_MOVED", err.code)
      end
      assert.are.equal("", read(path))
      -- half of it, so that not everything is gone
      store:close()
      os.remove(path .. "-wal")
      os.remove(path .. "-shm")
      store = assert(inbox.open("sqlite:" .. path))
      assert.are.same({ "new" }, store:admit { delivery("c", "1") })
    end)

    it("says so while it cannot be used whole", function()
      for i = 1, 50 do store:admit { delivery("n" .. i, "1") } end
      store:close()
      local bytes = read(path)
      store = assert(inbox.open("sqlite:" .. path, { log = function() end }))
      store:admit { delivery("b", "1") }
      local file = assert(io.open(path, "w"))
      file:write((bytes:sub(1, 12288)))
      file:close()
      for _ = 1, 3 do
        local results, err = store:admit { delivery("c", "1") }
        assert.is_nil(results)
        assert.truthy(err.message:find("cut off or overwritten", 1, true)
          or err.code:find "CORRUPT", err.message)
      end
    end)

    it("goes on with a file that SQLite itself has made smaller", function()
      for i = 1, 200 do store:admit { delivery("n" .. i, "1") } end
      local db = assert(require("billhook.sqlite").open(path))
      assert(db:exec "PRAGMA wal_checkpoint(TRUNCATE)")
      assert.are.same({ "new" }, store:admit { delivery("y", "1") })
      assert(db:exec "UPDATE deliveries SET body = NULL; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
      db:close()
      assert.are.same({ "new" }, store:admit { delivery("z", "1") })
      assert.are.equal(203, #store:deliveries { limit = 1000 })
    end)

    it("says so where there is no place for it any more", function()
      assert(os.rename(folder, folder .. "x"))
      local results, err = store:admit { delivery("b", "1") }
      assert.is_nil(results)
      assert.are.equal("INBOX_MOVED", err.code)
      assert(os.rename(folder .. "x", folder))
      assert.are.same({ "duplicate", "new" },
        store:admit { delivery("a", "1"), delivery("b", "1") })
      assert.are.equal("school:a school:b", seen())
    end)
  end)

  it("is whole, and keeps what others commit, after a large one was undone #both", function()
    local big = ("x"):rep(100000)
    local other = assert(inbox.open("sqlite:" .. path))
    store:transaction(function(query)
      for i = 1, 300 do
        query("INSERT INTO texts (name, value) VALUES ($1, $2)", "t" .. i, big)
      end
      query "SELECT nothing" -- refused: all of it is rolled back
    end)
    for i = 1, 800 do assert.are.same({ "new" }, other:admit { delivery("e" .. i, "1") }) end
    assert.are.equal(800, #store:deliveries { limit = 1000 })
    -- as a power cut would leave it
    for _, ending in ipairs { "", "-wal" } do
      local source, target = assert(io.open(path .. ending, "rb")),
        assert(io.open(folder .. "/cut.db" .. ending, "wb"))
      target:write((source:read "*a"))
      source:close()
      target:close()
    end
    other:close()
    for _, name in ipairs { path, folder .. "/cut.db" } do
      local db = assert(require("billhook.sqlite").open(name))
      assert.are.same({ { integrity_check = "ok" } }, db:query "PRAGMA integrity_check")
      assert.are.same({ { n = 800 } }, db:query "SELECT COUNT(*) AS n FROM deliveries")
      db:close()
    end
  end)

  it("answers with an error while it may not write, and still reads", function()
    store:admit { delivery("a", "1") }
    store.db:exec "PRAGMA query_only = ON"
    local results, err = store:admit { delivery("b", "1") }
    assert.is_nil(results)
    assert.are.equal("SQLITE_READONLY", err.code)
    -- such a connection is given up; the next one may write
    assert.are.same({ "new" }, store:admit { delivery("b", "1") })
  end)

  it("loses nothing that it said was admitted, routed or done, when it is killed", function()
    local text = COMMON .. [[
      local store = assert(require("billhook.inbox").open(url))
      local me = require("billhook.inbox.owner").name()
      local prefix, n = tostring(ROUND), 0
      while true do
        local list = {}
        for i = 1, n % 7 + 1 do
          n = n + 1
          list[i] = delivery(prefix .. "-" .. n, tostring(n % 5))
        end
        assert(store:admit(list))
        for _, one in ipairs(list) do print("admitted", one.id) end
        io.stdout:flush()
        for _, one in ipairs(store:incoming("school", 3)) do
          local change = { account = "school", events = { event(one.key, one.invoice) },
            route = { { seq = one.seq, state = "done" } } }
          if assert(store:apply { change })[1] then print("routed", one.key) end
          io.stdout:flush()
        end
        for _, row in ipairs(claim(store, me, 1)) do
          for _, one in ipairs(row.events) do
            assert(store:mark(row.lane, row.token, { seq = one.seq, rule = "r", state = "done" }))
            print("done", one.id)
            io.stdout:flush()
          end
          assert(store:release { { lane = row.lane, token = row.token } })
        end
      end]]
    local deadline = process.monotonic() + 5
    local said, rounds = { admitted = {}, routed = {}, done = {} }, 0
    while rounds < 12 and process.monotonic() < deadline do
      rounds = rounds + 1
      local output = ("%s/out%d"):format(folder, rounds)
      recovered()
      local pid = start(("ROUND = %d\n"):format(rounds) .. text, output)
      eventually(function() return read(output):find "done" end)
      process.sleep(math.random() * 0.05)
      process.kill(pid, "KILL")
      process.wait(pid)
      for line in read(output):gmatch "([^\n]*)\n" do
        local what, id = line:match "^(%l+)%s+(%S+)$"
        assert.is_truthy(what and said[what], line)
        said[what][id] = true
      end
    end
    assert.are.equal("ok", sql("PRAGMA integrity_check")[1].integrity_check)
    for _, ids in pairs(said) do assert.is_truthy(next(ids)) end
    for id in pairs(said.admitted) do
      assert.are.equal(1, #store:deliveries { id = "school:" .. id }, id)
    end
    for id in pairs(said.routed) do
      assert.are.equal("done", store:deliveries({ id = "school:" .. id })[1].state, id)
      assert.is_truthy(store:show("school:" .. id), id)
    end
    for id in pairs(said.done) do assert.are.equal("done", store:show(id).state, id) end
    -- and what was left over is there to be worked on
    recovered()
    local left, found = store:stats().pending, 0
    eventually(function()
      for _, row in ipairs(claim(store)) do found = found + #row.events end
      return found == left
    end)
  end)

  it("admits 10,000 deliveries at once for what 10 times 1,000 cost", function()
    local function cost(n, name) -- the least processor time of three
      local least = math.huge
      for round = 1, 3 do
        local list = {}
        for i = 1, n do list[i] = delivery(name .. round .. "-" .. i, tostring(i)) end
        local began = os.clock()
        assert(store:admit(list))
        least = math.min(least, os.clock() - began)
      end
      return least
    end
    cost(1000, "warm")
    local small, large = cost(1000, "small"), cost(10000, "large")
    assert.is_true(large < 60 * small, ("%.3f s for 10,000, %.3f s for 1,000"):format(large, small))
  end)

  local function log_bytes()
    local file = assert(io.open(path .. "-wal"))
    local size = file:seek "end"
    file:close()
    return size
  end

  it("cuts its log once a reader has gone that kept it long, and tells its size", function()
    local other = assert(require("billhook.sqlite").open(path))
    assert(other:exec "BEGIN; SELECT * FROM deliveries")
    local n = 0
    local function fill()
      n = n + 1
      local list = {}
      for i = 1, 64 do
        list[i] = delivery(n .. "-" .. i)
        list[i].body = ("x"):rep(100000)
      end
      assert(store:admit(list))
    end
    for _ = 1, 9 do fill() end
    local before = log_bytes()
    assert.is_true(before > 40000000)
    assert.are.equal(before, store:stats().log_bytes)
    assert(other:exec "COMMIT")
    other:close()
    for _ = 1, 3 do fill() end
    assert.is_true(log_bytes() <= 33554432, log_bytes())
    assert.are.equal(log_bytes(), store:stats().log_bytes)
  end)

  it("gives the room of its log to a disk that is full", function()
    store:admit { delivery "a" }
    assert.is_true(log_bytes() > 0)
    store.db:query("PRAGMA max_page_count = " .. store.db:query("PRAGMA page_count")[1].page_count)
    local big = delivery "b"
    big.body = ("x"):rep(1000000)
    assert.are.equal("SQLITE_FULL", select(2, store:admit { big }).code)
    assert.are.equal(0, log_bytes())
    store.db:query("PRAGMA max_page_count = 100000")
    assert.are.same({ "new" }, store:admit { big })
  end)

  it("has nothing legible in its files of what was purged", function()
    local word = "a text that is in no program"
    local list, events = {}, {}
    for i = 1, 300 do
      list[i], events[i] = delivery("a" .. i, "1"), event("a" .. i, "1")
      list[i].body = ("%s %d "):format(word, i):rep(i % 40 + 1)
      events[i].data, events[i].rules = list[i].body, {}
    end
    assert(store:admit(list))
    local route = {}
    for i, one in ipairs(store:incoming("school", 1000)) do
      route[i] = { seq = one.seq, state = "done" }
    end
    assert(store:apply { { account = "school", route = route, events = events } })
    local function legible()
      local found = 0
      for _, ending in ipairs { "", "-wal" } do
        for _ in read(path .. ending):gmatch(word) do found = found + 1 end
      end
      return found
    end
    assert.is_true(legible() > 300)
    assert.are.equal(600, store:purge {})
    assert.are.equal(0, legible())
  end)

  it("finds everything by an index", function()
    local plans, real = {}, store.db
    store.db = setmetatable({
      query = function(_, text, ...)
        local verb = text:match "^%s*(%u+)"
        if verb == "SELECT" or verb == "UPDATE" or verb == "DELETE" or verb == "WITH" then
          for _, row in ipairs(assert(real:query("EXPLAIN QUERY PLAN " .. text, ...))) do
            plans[#plans + 1] = row.detail .. "   <- " .. text
          end
        end
        return real:query(text, ...)
      end,
    }, { __index = function(_, name) return function(_, ...) return real[name](real, ...) end end })
    store:admit { delivery("a", "1"), delivery("a", "1"), delivery "b" }
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
    store:renew(row.lane, row.token, 60)
    store:more(row.lane, row.token, 0, 5)
    store:step(row.events[1].seq, "r", "x", nil, row.token)
    store:mark(row.lane, row.token, { seq = row.events[1].seq, rule = "r", state = "done" })
    store:running()
    store:release { { lane = row.lane, token = row.token } }
    store:recover { owner = "me", fresh = true, backoff = { base = 1, cap = 1 } }
    store:another("school", "1")
    store:of_account("school", { which = "there", limit = 5 })
    store:of_account("school", { which = "open", due_by = "2026-01-01", limit = 5 })
    store:how_many "school"
    store:show "school:a"
    store:events { state = "dead", limit = 1, before = 3 }
    store:stats()
    store.db = real
    assert.is_true(#plans > 20)
    for _, plan in ipairs(plans) do
      local scan = plan:match "^SCAN (%S+)"
      -- owners: a partial index of the rows that are held; rows of a subquery
      local fine = not scan or plan:find "invoices_owner" or scan == "CONSTANT" or scan == "few"
        or plan:find "INDEX %w+_%w+   <%- SELECT COUNT" or plan:find "INDEX events_%w+"
      assert.is_truthy(fine, plan)
      -- dead ones are few
      assert.is_truthy(plan:find "seq %+ 0" or not plan:find "USE TEMP B%-TREE", plan)
    end
  end)
end)

describe("inbox.open #both", function()
  it("raises where the text names no inbox", function()
    for url, message in pairs {
      [""] = "inbox must be", ["mysql:x"] = "inbox must be", ["sqlite"] = "inbox must be",
      ["sqlite:"] = "inbox must have a file after \"sqlite:\"",
      ["sqlite::memory:"] = "inbox must be the path of a file, got \":memory:\"",
      ["sqlite:file:x?mode=memory"] = "the path of a file, got \"file:x?mode=memory\"",
      ["memory:x"] = "inbox must have nothing after \"memory:\"",
    } do
      local ok, why = pcall(inbox.open, url)
      assert.is_false(ok)
      assert.is_truthy(why:find(message, 1, true), why)
    end
    local ok, why = pcall(inbox.open, nil)
    assert.is_false(ok)
    assert.is_truthy(why:find "inbox must be a string")
  end)
end)

-- trouble_spec.lua: a disk that is full, a database that is locked, read-only or broken: the vendor
-- is told 503, the log says why, nothing is called stored that is not, and all goes on by itself
-- when the trouble is over.

local command = require "spec.support.command"
local desk = require "spec.support.inbox"
local inbox = require "billhook.inbox"
local log = require "billhook.log"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"
local sqlite = require "billhook.sqlite"
local ports = require "spec.support.port"

local root = process.uid() == 0
local folder, path, d, accepted

local function sh(text, ...)
  local status = os.execute(text:format(...))
  assert(status == true or status == 0, text)
end

local function fresh(options)
  options = options or {}
  path = folder .. "/inbox.db"
  d = desk.new { inbox = "sqlite:" .. path, attempts = 1000 }
  if options.patience then
    d.app:use_store(assert(inbox.open("sqlite:" .. path, { busy_timeout = options.patience,
      clock = function() return d.now end })))
  end
  accepted = {}
end

before_each(function() folder = scratch.folder "trouble" end)

after_each(function()
  if d and d.app.store then d.app.store:close() end
  if root then os.execute("umount " .. folder .. "/disk 2>/dev/null") end
  process.remove_tree(folder)
end)

local serial = 0

-- Sends a new delivery; its status.
local function deliver(size)
  serial = serial + 1
  local status = d:school { id = serial, invoice = serial,
    data = ('{"id":%d,"pad":"%s"}'):format(serial, ("x"):rep(size or 100)) }
  if status == 200 then accepted[#accepted + 1] = "school:" .. desk.uuid(serial) end
  return status
end

-- All that was accepted is there, and nothing is broken.
local function all_there()
  local store = assert(inbox.open("sqlite:" .. path))
  for _, id in ipairs(accepted) do assert.is_truthy(store:show(id), id) end
  assert.are.equal(#accepted, #store:deliveries { limit = 100000 })
  assert.are.equal("ok", store.db:query("PRAGMA integrity_check")[1].integrity_check)
  store:close()
end

-- One line of the log tells what the matter is, with the id of the first that was not stored, and
-- without anything of the body.
local function said(code_words)
  local entries = d:logged "not_stored"
  assert.are.equal(1, #entries)
  local entry = entries[1]
  local line = log.line(entry.level, entry.name, entry.fields)
  assert.is_truthy(line:find("level=error event=not_stored account=school", 1, true), line)
  assert.is_truthy(line:find("id=school:aa3a27d6-", 1, true), line)
  assert.is_truthy(line:find(code_words, 1, true), line)
  assert.is_falsy(line:find("\n", 1, true))
  assert.is_falsy(line:find("pad", 1, true))
end

-- 503 while it lasts, and health says so; afterwards 200, and the rules of all of it run.
local function outlives(code_words, over)
  for _ = 1, 3 do assert.are.equal(503, (deliver(20000))) end
  said(code_words)
  assert.is_nil(d.app:health())
  assert.has_no.errors(function() d.app:work() end)
  over()
  assert.are.equal(200, (deliver()))
  assert.is_true(d.app:health())
  d.now = d.now + 7200
  d:work()
  assert.are.equal(0, d.app.store:stats().pending)
  d.app.store:close()
  all_there()
end

-- A disk of that size (of KiB).
local function disk(size)
  sh("mkdir %s/disk && mount -t tmpfs -o size=%dk,mode=0700 none %s/disk", folder, size, folder)
  folder = folder .. "/disk"
  fresh { patience = 100 }
  folder = folder:gsub("/disk$", "")
end

local function resize(options) sh("mount -o remount,%s %s/disk", options, folder) end

local function fill()
  local status
  repeat status = deliver(20000) until status ~= 200 or #accepted > 1000
  assert.are.equal(503, status)
  assert.is_true(#accepted > 0)
end

describe("a full disk", function()
  if root then
    it("(a mounted one) is survived", function()
      disk(1024)
      d.app:on("*", function() end)
      fill()
      outlives("full", function() resize "size=8m" end)
    end)

    it("(a mounted one) ends a round of rules, which run when there is room again", function()
      disk(1024)
      local runs = 0
      d.app:on("*", { name = "writes" }, function(event)
        event:once("much", function() return ("x"):rep(100000) end)
        runs = runs + 1
      end)
      for _ = 1, 20 do assert.are.equal(200, (deliver())) end
      for _ = 1, 30 do
        d.app:work()
        d.now = d.now + 60
      end
      assert.is_true(runs < 20 and d.app.store:stats().pending > 0)
      resize "size=16m"
      d.now = d.now + 7200
      d:work()
      assert.are.equal(0, d.app.store:stats().pending)
      assert.are.equal(20, #d.app.store:events { state = "done" })
      all_there()
    end)
  end

  it("(a bound on pages) is survived #both", function()
    fresh { patience = 100 }
    d.app:on("*", function() end)
    assert.are.equal(200, (deliver()))
    local db = d.app.store.db
    db:query("PRAGMA max_page_count = " .. db:query("PRAGMA page_count")[1].page_count)
    repeat until deliver(20000) ~= 200
    outlives("full", function() d.app.store.db:query "PRAGMA max_page_count = 1000000" end)
  end)
end)

describe("a locked database #both", function()
  it("is survived", function()
    fresh { patience = 30 }
    d.app:on("*", function() end)
    assert.are.equal(200, (deliver()))
    local db = assert(sqlite.open(path))
    assert(db:exec "BEGIN EXCLUSIVE")
    outlives("locked", function()
      db:exec "ROLLBACK"
      db:close()
    end)
  end)

  it("is waited for, for a while", function()
    fresh { patience = 10000 }
    assert.are.equal(200, (deliver()))
    local pid = assert(process.spawn { command.lua, "-e", ([[
      package.path, package.cpath = %q, %q
      local db = assert(require("billhook.sqlite").open(%q))
      assert(db:exec "BEGIN IMMEDIATE")
      io.open(%q, "w"):close()
      require("billhook.process").sleep(0.2)
      db:exec "COMMIT"]]):format(package.path, package.cpath, path, folder .. "/locked") })
    command.wait("the lock", function() return process.stat(folder .. "/locked") end)
    assert.are.equal(200, (deliver()))
    process.wait(pid)
  end)
end)

describe("a read-only database", function()
  local where = root and "on a disk that was mounted so" or "by its mode"

  it("(" .. where .. ") is survived", function()
    if root then disk(4096) else fresh() end
    d.app:on("*", function() end)
    assert.are.equal(200, (deliver()))
    if root then
      d.app.store:close() -- a disk that is written to cannot be made so
      d.app.store = nil
      resize "ro"
    else
      d.app.store:close()
      d.app.store = nil
      sh("chmod 0400 %s; chmod 0500 %s", path, folder)
    end
    outlives(root and "unable to open" or "", function()
      if root then resize "rw" else sh("chmod 0700 %s; chmod 0600 %s", folder, path) end
    end)
  end)

  it("(as its connection says) is survived", function()
    fresh()
    d.app:on("*", function() end)
    assert.are.equal(200, (deliver()))
    d.app.store.db:exec "PRAGMA query_only = ON"
    assert.are.equal(503, (deliver()))
    said "readonly"
    assert.are.equal(200, (deliver())) -- by another connection
    d:work()
    d.app.store:close()
    all_there()
  end)
end)

describe("a broken database", function()
  -- what stands in the file from there on is something else
  local function overwrite(from)
    local file = assert(io.open(path, "r+b"))
    local size = file:seek "end"
    file:seek("set", from)
    file:write(("\255"):rep(size - from))
    file:close()
  end

  local function break_it(from)
    fresh()
    d.app:on("*", function() end)
    for _ = 1, 20 do assert.are.equal(200, (deliver(2000))) end
    d.app.store:close()
    d.app.store = nil
    sh("cp %s %s/good.db", path, folder)
    overwrite(from)
  end

  local function mend() sh("rm -f %s-wal %s-shm; mv %s/good.db %s", path, path, folder, path) end

  it("is survived, and used again when it is put right", function()
    break_it(4096) -- all but the first page
    outlives("malformed", mend)
  end)

  it("that is none any more is survived", function()
    break_it(0)
    outlives("not a database", mend)
  end)
end)

describe("billhook serve on a full disk", function()
  if not root then return end -- the others show the same without a disk of their own

  after_each(command.finish)

  it("answers 503 everywhere, says why, and goes on when there is room", function()
    sh("mkdir %s/disk && mount -t tmpfs -o size=1024k,mode=0755 none %s/disk", folder, folder)
    path, d = folder .. "/disk/inbox.db", nil
    local rules = command.write(folder .. "/rules.lua", ([[
      local billhook = require "billhook"
      local app = billhook.app { inbox = "sqlite:%s", accounts = {
        school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } } } }
      app:on("*", function() end)
      return app]]):format(path))
    local port = ("%d"):format(ports.free())
    local url = "http://127.0.0.1:" .. port
    local child = command.start({ "serve", rules, "--listen", port }, { env = { TMPDIR = folder } })
    command.wait("serve to listen", function()
      return child:errors():find("listening on", 1, true)
    end)
    local ok = {}
    local function post(size)
      serial = serial + 1
      local body = ('{"id":"%s","type":"INVOICE_CREATED","tenant":"my-school","timestamp":1,'
        .. '"data":{"id":%d,"pad":"%s"}}'):format(desk.uuid(serial), serial, ("x"):rep(size))
      local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
      local status = command.http("POST", url .. "/webhooks/school", headers, signed)
      if status == 200 then ok[#ok + 1] = "school:" .. desk.uuid(serial) end
      return status
    end
    command.wait("a full disk", function() return post(30000) == 503 end)
    local function health() return (command.http("GET", url .. "/healthz")) end
    assert.are.equal(503, health())
    command.wait("a line about it", function()
      return child:errors():find("event=not_stored[^\n]*full")
    end)
    assert.are.equal(200, (command.http("GET", url .. "/metrics")))
    resize "size=16m"
    command.wait("room", function() return post(30000) == 200 end)
    assert.are.equal(200, health())
    local store = assert(inbox.open("sqlite:" .. path))
    command.wait("the rules", function()
      local stats = store:stats()
      return stats.pending == 0 and stats.incoming == 0
    end)
    for _, id in ipairs(ok) do assert.are.equal("done", store:show(id).state) end
    store:close()
    child:signal "TERM"
    assert.are.equal(0, child:wait())
  end)
end)

-- fsync_spec.lua: `billhook serve` and `billhook work` on a disk whose fsync fails for a while:
-- what is answered with success is stored, what cannot be stored is not, and both go on by
-- themselves.
-- What a power cut leaves after such a failure: powerloss_spec.lua.

local command = require "spec.support.command"
local peer = require "spec.support.peer"
local sqlite = require "billhook.sqlite"

local wait = command.wait

local RULES = [[
local billhook = require "billhook"
local app = billhook.app { inbox = "sqlite:$FOLDER/inbox.db", backoff = { base = 0.05 },
  accounts = { school = billhook.dreamclass { tenant = "my-school",
    webhook = { secret = "123" } } } }
app:on("invoice.created", function(event)
  local file = assert(io.open("$FOLDER/said", "a"))
  file:write("created ", event.claims.id, "\n")
  file:close()
end)
return app
]]

describe("a disk whose fsync fails", function()
  local folder, rules, url, serve, answered, env

  before_each(function()
    folder, answered = command.folder(), {}
    rules = command.write(folder .. "/rules.lua", (RULES:gsub("%$FOLDER", folder)))
    env = { TMPDIR = folder, FAULT_WHILE = folder .. "/failing",
      LD_PRELOAD = (os.getenv "LD_PRELOAD" or "") .. " " .. peer.compile_shared "failing_disk" }
    serve, url = command.serve(rules, {}, env)
  end)

  after_each(command.finish)

  local function fail(what) command.write(folder .. "/failing", what) end
  local function mend() assert(os.remove(folder .. "/failing")) end

  local function post(n, filler)
    local body = ('{"id":"aa3a27d6-05b5-4fcd-bd04-%012d","type":"INVOICE_CREATED",'
      .. '"tenant":"my-school","timestamp":1,"data":{"id":%d,"filler":"%s"}}')
      :format(n, n, filler or "")
    local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
    local status = command.http("POST", url .. "/webhooks/school", headers, signed)
    if status == 200 then answered[tostring(n)] = true end
    return status
  end

  local function lines(pattern) return select(2, serve:errors():gsub(pattern, "")) end

  local function said(n)
    return command.read(folder .. "/said"):find(("created %d\n"):format(n), 1, true)
  end

  -- every delivery that was answered with success is in a sound file
  local function all_found()
    local db, found = assert(sqlite.open(folder .. "/inbox.db", { create = false })), {}
    assert.same({ { integrity_check = "ok" } }, db:query "PRAGMA integrity_check")
    for _, row in ipairs(assert(db:query "SELECT invoice FROM deliveries")) do
      found[row.invoice] = true
    end
    db:close()
    for invoice in pairs(answered) do assert.is_true(found[invoice], invoice) end
  end

  it("answers 503 while the log cannot be synced, and goes on when it can #both", function()
    assert.equal(200, post(1))
    wait("a rule", function() return said(1) end)
    fail "/inbox.db-wal"
    for n = 2, 5 do assert.equal(503, post(n)) end
    assert.equal(503, (command.http("GET", url .. "/healthz")))
    wait("a word about it", function()
      return serve:errors():find("event=not_stored[^\n]*inbox%.db[^\n]*disk I/O error")
    end)
    mend()
    for n = 2, 5 do assert.equal(200, post(n)) end
    wait("the rules", function() return said(2) and said(5) end)
    fail "/inbox.db-wal"
    assert.equal(503, post(6))
    serve:signal "KILL"
    serve:wait()
    -- who opens it first does not rely on a log that cannot be synced
    local result = command.run({ "work", rules, "--once" }, { env = env })
    assert.equal(1, result.code)
    assert.truthy(result.err:find("disk I/O error", 1, true), result.err)
    mend()
    assert.equal(0, command.run({ "work", rules, "--once" }).code)
    all_found()
  end)

  it("is told about where only the file cannot be synced; all is in the log meanwhile", function()
    local filler = ("x"):rep(900000) -- the log is to be written into the file at 16 MB
    assert.equal(200, post(1))
    fail "/inbox.db"
    for n = 2, 22 do assert.equal(200, post(n, filler)) end
    wait("a word about it", function() return lines "event=inbox_sync_failed" > 0 end)
    assert.equal(200, post(23, filler))
    -- one line a minute of each connection: two of the receiver, of who works and of who watches
    assert.is_true(lines "event=inbox_sync_failed" <= 4, serve:errors())
    mend()
    for n = 24, 26 do assert.equal(200, post(n, filler)) end
    serve:signal "TERM"
    assert.equal(0, serve:wait())
    assert.is_nil(sqlite.look(folder .. "/inbox.db").log) -- it is in the file
    all_found()
  end)
end)

-- full_disk_spec.lua: no room on the disk for what the command and nginx write beside the inbox of
-- a running receiver (inbox_spec.lua has that one): nothing is said to be done that is not, no half
-- of a file is left for a whole one, and the message names the file.

local billhook = require "billhook"
local command = require "spec.support.command"
local desk = require "spec.support.inbox"
local inbox = require "billhook.inbox"
local peer = require "spec.support.peer"
local ports = require "spec.support.port"
local process = require "billhook.process"

local wait, write = command.wait, command.write

local RULES = [[
local billhook = require "billhook"
local app = billhook.app { inbox = "sqlite:%s/inbox.db", backoff = { base = 0.05, cap = 0.1 },
  accounts = { school = billhook.dreamclass { webhook = { secret = "123", limit = 200000 } } } }
app:on("*", { name = "seen" }, function(event)
  local file = assert(io.open("%s/said", "a"))
  file:write(event.claims.id, "\n")
  file:close()
end)
return app
]]

describe("without room on the disk", function()
  local folder, env

  before_each(function()
    folder = command.folder()
    env = { TMPDIR = folder, FAULT_FULL = folder .. "/full", LD_PRELOAD = (os.getenv "LD_PRELOAD"
      or "") .. " " .. peer.compile_shared "failing_disk" }
  end)
  after_each(command.finish)

  -- In files whose path has this in it there is no room, from now on.
  local function fill(part)
    write(folder .. "/full.new", part)
    assert(os.rename(folder .. "/full.new", folder .. "/full"))
  end
  local function empty() assert(os.remove(folder .. "/full")) end

  local function rules() return write(folder .. "/rules.lua", RULES:format(folder, folder)) end

  local function serve(...)
    local child, url = command.serve(rules(), { ... }, env)
    return child, url .. "/webhooks/school"
  end

  local function delivery(n, filler)
    local body = ('{"id":"%s","type":"INVOICE_CREATED","tenant":"x","timestamp":1,'
      .. '"data":{"id":%d,"filler":"%s"}}'):format(desk.uuid(n), n, filler or "")
    return billhook.sign("dreamclass", body, { secret = "123" })
  end

  it("no refused delivery is kept by halves, or said to be", function()
    local kept = folder .. "/kept"
    assert(process.mkdir(kept, 448))
    local child, url = serve("--capture-refused", kept)
    local function count(pattern) return select(2, child:errors():gsub(pattern, "")) end
    for _, part in ipairs { "/last", ".json", ".body", "/kept/" } do
      fill(part)
      assert.equal(400, (command.http("POST", url, {}, "forged")))
      assert.equal(0, count "kept=")
      for _, name in ipairs(process.entries(kept)) do assert.equal("last", name) end
    end
    assert.matches("event=not_kept message=\"" .. kept .. "/last: No space left on device\"",
      child:errors(), 1, true)
    assert.matches("%.body: No space left on device", child:errors())
    empty()
    assert.equal(400, (command.http("POST", url, {}, "forged")))
    local path = assert(child:errors():match "kept=(%S+)")
    assert.equal("forged", command.read(path))
    assert.same({ "file", 384 }, { process.stat(path).type, process.stat(path).mode })
    assert.equal(3, #process.entries(kept))
  end)

  it("a body that goes through a file is refused, and taken later", function()
    local child, url = serve()
    local headers, body = delivery(1, ("x"):rep(100000))
    fill "/client_body/"
    local status, answer, fields = command.http("POST", url, headers, body)
    assert.equal(503, status)
    assert.equal('{"error":"no room for the body"}', answer)
    assert.equal("5", fields["retry-after"])
    empty()
    assert.equal(200, (command.http("POST", url, headers, body)))
    child:signal "TERM"
    assert.equal(0, child:wait())
  end)

  it("serve does not start, and says where", function()
    local run = folder .. "/run"
    fill "/nginx.conf"
    local result = command.run({ "serve", rules(), "--listen", ("%d"):format(ports.free()), "--run",
      run }, { env = env })
    assert.equal(1, result.code)
    assert.truthy(result.err:find(process.realpath(run)
      .. "/nginx.conf: No space left on device", 1, true), result.err)
    assert.same({}, process.entries(run))
    fill "/owner"
    result = command.run({ "serve", rules(), "--listen", ("%d"):format(ports.free()) },
      { env = env })
    assert.equal(1, result.code)
    assert.truthy(result.err:find("/owner: No space left on device", 1, true), result.err)
    for _, name in ipairs(process.entries(folder)) do assert.is_nil(name:find "^billhook%.") end
  end)

  it("the old configuration goes on where none can be written", function()
    local child, url = serve()
    fill "/nginx.conf"
    child:signal "HUP"
    wait("a word", function()
      return child:errors():find "not reloaded: [^\n]*/nginx%.conf: No space left on device\n"
    end)
    assert.equal(200, (command.http("POST", url, delivery(1))))
    empty()
    child:signal "HUP"
    wait("the new one", function() return child:errors():find "billhook: reloaded\n" end)
    assert.equal(200, (command.http("POST", url, delivery(2))))
  end)

  it("a copy of an inbox leaves nothing that is taken for one", function()
    local from, to = "sqlite:" .. folder .. "/from.db", "sqlite:" .. folder .. "/to.db"
    local store = assert(inbox.open(from))
    for n = 1, 300 do
      assert(store:admit { { account = "school", id = desk.uuid(n), vendor = "dreamclass",
        type = "invoice.updated", native = "INVOICE_UPDATED", invoice = tostring(n), live = true,
        trust = "id", body = ("x"):rep(20000) } })
    end
    store:close()
    local function copy()
      return command.run({ "inbox", "copy", "--from", from, "--to", to }, { env = env })
    end
    assert(inbox.open(to)):close() -- so that it fails in the midst of it
    fill "/to.db-wal"
    local result = copy()
    assert.equal(1, result.code)
    assert.equal("", result.out)
    assert.truthy(result.err:find(folder .. "/to.db: database or disk is full", 1, true),
      result.err)
    empty()
    store = assert(inbox.open(to))
    assert.same({}, store:deliveries {})
    store:close()
    result = copy()
    assert.equal(0, result.code, result.err)
    store = assert(inbox.open(to))
    assert.equal(300, #store:deliveries { limit = 1000, brief = true })
    store:close()
  end)

  it("rules wait, and run once there is room", function()
    local store = assert(inbox.open("sqlite:" .. folder .. "/inbox.db"))
    local app = billhook.app { inbox = "sqlite:" .. folder .. "/inbox.db", accounts = {
      school = billhook.dreamclass { webhook = { secret = "123" } } } }
    assert.equal(200, (app:receive("school", delivery(7))))
    fill "/inbox.db"
    local child = command.start({ "work", rules() }, { env = env })
    wait("a word", function()
      return child:errors():find("billhook: work: store: " .. folder .. "/inbox.db", 1, true)
    end)
    assert.equal("", command.read(folder .. "/said"))
    empty()
    wait("the rule", function() return command.read(folder .. "/said") == "7\n" end)
    wait("its mark", function() return store:stats().pending == 0 end)
    child:signal "TERM"
    assert.equal(0, child:wait())
    assert.equal("7\n", command.read(folder .. "/said"))
    store:close()
  end)
end)

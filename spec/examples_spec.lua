-- The examples, run as their heads say: against the imitated vendors in a real nginx.

local billhook = require "billhook"
local command = require "spec.support.command"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local process = require "billhook.process"
local sandbox = require "billhook.sandbox"
local ports = require "spec.support.port"

local vendors, base

local function control(name, fields)
  local status, _, body = vendors:request { method = "POST", port = vendors.ports[2],
    path = "/sandbox/" .. name, body = json.encode(fields or {}) }
  assert.equal(200, status, body)
  return json.decode(body)
end

local function environment(folder)
  return { DREAMAPPLY_URL = base, DREAMAPPLY_KEY = "sandbox-key",
    DREAMCLASS_URL = base .. "/dreamclassapi/v1", BETTEREZ_URL = base .. "/invoices",
    BILLHOOK_INBOX = "sqlite:" .. folder .. "/inbox.db",
    LUA_PATH = "lua/?.lua;lua/?/init.lua;;",
    LUA_CPATH = ("build/%s/?.so;;"):format(command.lua) }
end

-- Runs one; gives its exit code, and what it wrote.
local runs = 0
local function run(folder, ...)
  runs = runs + 1
  local out, err = folder .. "/out" .. runs, folder .. "/err" .. runs
  local pid = assert(process.spawn({ command.lua, ... }, { stdout = out, stderr = err,
    stdin = "/dev/null", env = environment(folder) }))
  command.wait("the example to end", function() return process.wait(pid, "look") end)
  local _, code = process.wait(pid)
  return code, command.read(out), command.read(err)
end

local function client() return billhook.dreamapply { base_url = base, api_key = "sandbox-key" } end

describe("the example", function()
  local folder

  setup(function()
    vendors = nginx.start { http = sandbox.conf { listen = "127.0.0.1:PORT2",
      dreamapply = { quota = false } } }
    base = ("http://127.0.0.1:%d"):format(vendors.ports[2])
  end)

  teardown(function() vendors:stop() end)

  before_each(function()
    control "reset"
    folder = command.folder()
  end)

  after_each(command.finish)

  it("rules_spec.lua passes", function()
    local code, out, err = run(folder, "/usr/bin/busted", "examples/rules_spec.lua")
    assert.equal(0, code, out .. err)
    assert.matches("14 successes / 0 failures / 0 errors / 0 pending", out, 1, true)
  end)

  it("create.lua makes one invoice for one order", function()
    local _
    local code, out, err = run(folder, "examples/create.lua", "123", "order-881", "25.00", "Pickup")
    assert.equal(0, code, err)
    assert.equal("invoice 1 (created)\n", out)
    code, out = run(folder, "examples/create.lua", "123", "order-881", "25.00", "Pickup")
    assert.equal(0, code)
    assert.equal("invoice 1 (found)\n", out)
    control("fault", { next = "reset-after", method = "POST" })
    code, out = run(folder, "examples/create.lua", "123", "order-882", "25.00", "Pickup")
    assert.equal(0, code)
    assert.equal("invoice 2 (found)\n", out)
    assert.equal(2, client().invoices:count { application = 123 })
    code, _, err = run(folder, "examples/create.lua", "123")
    assert.equal(2, code)
    assert.matches("^usage: ", err)
    code, _, err = run(folder, "examples/create.lua", "99999", "order-1", "25.00")
    assert.equal(1, code)
    assert.matches("Application not found", err, 1, true)
  end)

  it("mirror.lua writes all invoices, and keeps the old file where it cannot", function()
    for i = 1, 3 do
      assert(client().invoices:create(7, { currency = "EUR",
        items = { { item = "Fee " .. i, price = "10.00", qty = i } } }))
    end
    local path = folder .. "/all.tsv"
    local _
    local code, out, err = run(folder, "examples/mirror.lua", path)
    assert.equal(0, code, err)
    assert.equal("3 invoices\n", out)
    local text = command.read(path)
    assert.matches("^%d+\tAF%-%d+\t%d+%.00\t%d+%.00\tEUR\t%d+%-%d%d%-%d%d\n", text)
    assert.equal(3, select(2, text:gsub("\n", "")))
    control("fault", { next = "half", method = "GET", times = 3 })
    code, _, err = run(folder, "examples/mirror.lua", path)
    assert.equal(1, code)
    assert.matches("network: ", err, 1, true)
    assert.equal(text, command.read(path))
  end)

  it("reconcile.lua says what differs, and has it become events, once", function()
    assert(client().invoices:create(7, { currency = "EUR",
      items = { { item = "Fee", price = "10.00", qty = 1 } } }))
    local function reconcile(...)
      return run(folder, "examples/reconcile.lua", "examples/rules.lua", ...)
    end
    local _
    local code, out, err = reconcile()
    assert.equal(0, code, err)
    assert.equal("admissions: 0 same, 0 changed, 1 missing here, 0 missing there\n"
      .. "school: 0 same, 0 changed, 0 missing here, 0 missing there\n"
      .. "tickets: 0 same, 0 changed, 0 missing here, 0 missing there\n", out)
    assert(client().transactions:create(1, { amount = "10.00", currency = "EUR" }))
    code, out, err = reconcile "admissions"
    assert.equal(0, code, err)
    assert.equal("admissions: 0 same, 1 changed, 0 missing here, 0 missing there\n", out)
    local store = assert(require("billhook.inbox").open("sqlite:" .. folder .. "/inbox.db"))
    local events = assert(store:events { type = "invoice.paid" })
    assert.equal(1, #events)
    assert.equal("done", events[1].state)
    assert.equal("api", events[1].trust)
    assert.same({ "paid" }, events[1].rules)
    store:close()
    code, out = reconcile "admissions"
    assert.equal(0, code)
    assert.equal("admissions: 1 same, 0 changed, 0 missing here, 0 missing there\n", out)
    assert(client().invoices:delete(1))
    code, out = reconcile "admissions"
    assert.equal(0, code)
    assert.equal("admissions: 0 same, 0 changed, 0 missing here, 1 missing there\n"
      .. "  missing there: 1\n", out)
    control("fault", { next = "500", method = "GET", times = 9 })
    code, _, err = reconcile "admissions"
    assert.equal(1, code)
    assert.matches("admissions: server: ", err, 1, true)
  end)
end)

-- --- ledger.lua, rules.lua ------------------------------------------------------------------

describe("examples/ledger.lua", function()
  local fake = require "billhook.transport.fake"
  local errors = require "billhook.error"

  -- The ways in which a ledger says that it has not written: at the first tries, never later.
  local failures = {
    raises = function() error "the ledger is down" end,
    ["raises a table"] = function() error { code = 28 } end,
    ["gives nil and a reason"] = function() return nil, "refused" end,
    ["gives nil and an error"] = function()
      return nil, errors.new { kind = "server", message = "busy" }
    end,
    ["gives false and a reason"] = function() return false, "refused" end,
    ["gives false"] = function() return false end,
    ["gives what pcall gives"] = function() return pcall(error, "refused") end,
    ["has a full disk where it writes"] = function()
      local file = assert(io.open("/dev/full", "a"))
      file:setvbuf "no"
      local done, why = file:write "entry"
      file:close()
      return done, why
    end,
    ["has a full disk where it closes the file"] = function()
      local file = assert(io.open("/dev/full", "a"))
      local done, why = file:write "entry"
      if not done then return nil, why end
      return file:close()
    end,
    ["has no file"] = function() return io.open("/nowhere/ledger", "a") end,
  }

  local SECOND = 1800000000 -- 2027-01-15T08:00:00Z
  local INVOICE = [[{ "id": 200, "nr": "AF-200", "currency": "EUR",
    "issued": "2027-01-15T08:00:00+00:00",
    "items": [{ "item": "Fee", "price": "19.90", "qty": "2.00" }] }]]

  -- An account whose API has invoice 200, and a ledger that fails three times from now on.
  local function ledger_of(fails, gives)
    local self = { now = SECOND, tries = 0, written = {}, failed = 0,
      answer = { status = 200, body = INVOICE } }
    local function clock() return self.now end
    self.app = billhook.app { inbox = "memory:", clock = clock, random = function() return 1 end,
      log = function(_, name) if name == "failed" then self.failed = self.failed + 1 end end,
      accounts = { apply = billhook.dreamapply { base_url = "https://apply.test", api_key = "key",
        clock = clock, transport = fake.new(function() return self.answer end),
        webhook = { authorization = "Bearer hook" } } } }
    dofile "examples/ledger.lua"(self.app, function(entry)
      self.tries = self.tries + 1
      if self.tries <= 3 then return fails() end
      self.written[#self.written + 1] = entry
      return gives
    end)
    assert(self.app:work())
    return self
  end

  local function news(self, id)
    local headers, body = billhook.sign("dreamapply", json.encode { id = id,
      event = "Invoice was ?", invoice = "/api/v9/invoices/200" },
      { authorization = "Bearer hook" })
    assert.equal(200, (self.app:receive("apply", headers, body)))
    assert(self.app:work())
  end

  local function until_written(self)
    for _ = 1, 6 do
      self.now = self.now + 3600
      assert(self.app:work())
    end
    assert.are.equal(3, self.failed)
  end

  for how, fails in pairs(failures) do
    it("has each entry once, as soon as it can be written, where the ledger " .. how, function()
      for _, gives in ipairs { true, "entry 7", false } do
        local self = ledger_of(fails, gives or nil)
        news(self, 1)
        news(self, 1)
        assert.same({}, self.written)
        assert.equal(1, #self.app.store:events { state = "pending" })
        until_written(self)
        assert.equal(1, #self.written)
        assert.matches("^apply:200@1%.%x+%.created$", self.written[1].key)
        self.written[1].key = nil
        assert.same({ { number = "AF-200", amount = "39.80", currency = "EUR" } }, self.written)
        assert.equal(4, self.tries)
        assert.equal("done", self.app.store:events({})[1].state)
      end
    end)

    it("has the end of an invoice once, too, where the ledger " .. how, function()
      local self = ledger_of(fails)
      self.tries = 3
      news(self, 1)
      self.tries = 0
      self.answer = { status = 404, body = "Invoice not found" }
      news(self, 2)
      self.now = self.now + 61
      assert(self.app:work())
      until_written(self)
      assert.equal(2, #self.written)
      assert.matches("^apply:200@2%.%x+%.deleted$", self.written[2].key)
      self.written[2].key = nil
      assert.same({ void = "200", number = "AF-200" }, self.written[2])
    end)
  end
end)

describe("examples/rules.lua", function()
  it("books nothing without its amount", function()
    local getenv = os.getenv
    os.getenv = function(name) -- luacheck: ignore 122
      return name == "BILLHOOK_INBOX" and "memory:" or nil
    end
    local ok, app = pcall(dofile, "examples/rules.lua")
    os.getenv = getenv -- luacheck: ignore 122
    assert(ok, app)
    local rules = 0
    for _, rule in ipairs(app.rules.list) do
      local said = {}
      local event = { data = billhook.invoice.tag("betterez", { _id = "1" }), trust = "api",
        once = function(_, name) said[#said + 1] = name end }
      local done, why = rule.handler(event)
      if rule.name ~= "void" and rule.name ~= "paid" then
        rules = rules + 1
        assert.is_nil(done)
        assert.equal("the invoice has no total", why)
        assert.same({}, said)
      end
    end
    assert.equal(3, rules)
  end)
end)

-- --- billhook.service ----------------------------------------------------------------------------

local function directives()
  local found = {}
  for line in io.lines "examples/billhook.service" do
    local name, value = line:match "^(%u%w+)=(.*)$"
    if name then found[name] = value end
  end
  return found
end

describe("examples/billhook.service", function()
  after_each(command.finish)

  it("says what is relied upon", function()
    local unit = directives()
    for name, value in pairs { KillSignal = "SIGQUIT", KillMode = "mixed", Restart = "always",
      User = "billhook", StateDirectory = "billhook", RuntimeDirectory = "billhook",
      NoNewPrivileges = "yes", ProtectSystem = "strict", ProtectHome = "yes", UMask = "0077",
      CapabilityBoundingSet = "" } do
      assert.equal(value, unit[name], name)
    end
    assert.is_nil(unit.MemoryDenyWriteExecute) -- LuaJIT could not start
    -- longer than serve itself waits before it uses force
    assert.is_true(tonumber(unit.TimeoutStopSec) > require("billhook.cli.nginx").grace + 5)
  end)

  it("starts what starts, reloads and ends as it says", function()
    local folder = command.folder()
    local rules = command.write(folder .. "/rules.lua", ([[
      local billhook = require "billhook"
      return billhook.app { inbox = "sqlite:%s/inbox.db", accounts = {
        school = billhook.dreamclass { webhook = { secret = "123" } } } }
    ]]):format(folder))
    local port = ("%d"):format(ports.free())
    local words, line = {}, directives().ExecStart
    line = line:gsub("/etc/billhook/rules.lua", rules):gsub("127.0.0.1:8080", "127.0.0.1:" .. port)
      :gsub("/run/billhook", folder .. "/run")
      :gsub("127.0.0.1:9090", ("127.0.0.1:%d"):format(ports.free()))
    for word in line:gmatch "%S+" do words[#words + 1] = word end
    assert.equal("/usr/local/bin/billhook", table.remove(words, 1))
    local child = command.start(words)
    command.wait("it to listen", function() return child:errors():find("listening on", 1, true) end)
    assert.equal(200, (command.http("GET", ("http://127.0.0.1:%s/healthz"):format(port))))
    assert.equal("/bin/kill -HUP $MAINPID", directives().ExecReload)
    child:signal "HUP"
    command.wait("it to reload", function() return child:errors():find("reloaded", 1, true) end)
    child:signal "QUIT"
    assert.equal(0, child:wait())
  end)

  local here = os.execute "command -v systemd-analyze >/dev/null"
  if here ~= true and here ~= 0 then
    print "note: examples_spec: no systemd-analyze here: billhook.service was not shown to systemd"
    return
  end

  it("is what systemd takes", function()
    local folder = command.folder()
    local text = command.read("examples/billhook.service"):gsub("/usr/local/bin/billhook",
      "/bin/true")
    command.write(folder .. "/billhook.service", text)
    local pipe = io.popen(("systemd-analyze verify --man=no '%s/billhook.service' 2>&1")
      :format(folder))
    local said = pipe:read "*a"
    pipe:close()
    for problem in said:gmatch "[^\n]+" do
      -- other units of the machine are not ours
      assert.is_nil(problem:find("billhook", 1, true) and problem or nil)
    end
  end)
end)

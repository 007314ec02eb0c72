-- `billhook doctor`: what accounts can do, said by the sandbox, and what is missing.

local billhook = require "billhook"
local command = require "spec.support.command"
local diagnose = require "billhook.cli.diagnose"
local fake = require "billhook.transport.fake"
local json = require "billhook.json"
local peek = require "billhook.inbox.peek"
local postgres = require "spec.support.postgres"
local process = require "billhook.process"

local LONG = "0123456789abcdef"

-- "check" -> "state message"
local function by_check(report)
  local out = {}
  for _, one in ipairs(report) do out[one.check] = one.state .. " " .. one.message end
  return out
end

describe("billhook doctor", function()
  local folder, base, rules
  local TEXT = [[
    local billhook = require "billhook"
    return billhook.app { inbox = "sqlite:FOLDER/inbox.db", accounts = {
      admissions = billhook.dreamapply { base_url = "BASE", api_key = "sandbox-key",
        webhook = { authorization = "Bearer 0123456789abcdef" } },
      school = billhook.dreamclass { base_url = "BASE/dreamclassapi/v1", api_key = "sandbox-key",
        tenant = "my-school", school_code = "MS1", webhook = { secret = "123" } },
      tickets = billhook.betterez { base_url = "BASE/invoices", api_key = "sandbox-key",
        token = "sandbox-token", webhook = { secret = "sandbox-private-key" } },
      wrong = billhook.dreamapply { base_url = "BASE", api_key = "another-key" },
      away = billhook.betterez { base_url = "http://127.0.0.1:PORT/invoices", api_key = "k",
        webhook = { tolerance = 60 } },
    } }
  ]]

  local function control(name, fields)
    local status, body = command.http("POST", base .. "/sandbox/" .. name, {},
      json.encode(fields or {}))
    assert.equal(200, status, body)
    return json.decode(body)
  end

  before_each(function()
    local port = ("%d"):format((process.free_port()))
    base, folder = "http://127.0.0.1:" .. port, command.folder()
    local sandbox = command.start { "sandbox", "--listen", port }
    command.wait("the sandbox", function() return sandbox:errors():find "listening" end)
    rules = command.write(folder .. "/rules.lua", (TEXT:gsub("FOLDER", folder):gsub("BASE", base)
      :gsub("PORT", ("%d"):format((process.free_port())))))
  end)
  after_each(command.finish)

  local function doctor(...) return command.run { "doctor", rules, ... } end

  local function report_of(account, ...)
    local result = doctor(account, "--json", ...)
    assert.equal("", result.err)
    return by_check(json.decode(result.out)[account]), result.code
  end

  it("says of each account what works, and exits 1 where something is wrong #both", function()
    local said, code = report_of "admissions"
    assert.equal(0, code)
    assert.equal("ok its API answers", said.reachable)
    assert.equal("ok valid", said.key)
    assert.equal("ok works", said["call invoices.count"])
    assert.equal("ok set, and long enough", said.secret)
    assert.truthy(said.quota:find "^ok 1%d%d of 180 requests left$", said.quota)
    assert.equal("unknown there is none yet: " .. folder .. "/inbox.db", said.inbox)
    said, code = report_of "tickets"
    assert.equal(0, code)
    assert.equal("ok works", said["call invoices.failures"])
    assert.is_nil(said.quota)
    said, code = report_of "wrong"
    assert.equal(1, code)
    assert.equal("ok its API answers", said.reachable)
    assert.truthy(said.key:find "^fail auth: ", said.key)
    assert.equal("warn its webhooks are not configured", said.secret)
    said, code = report_of "away"
    assert.equal(1, code)
    assert.truthy(said.reachable:find "^fail network: ", said.reachable)
    assert.equal("unknown its API could not be reached", said.key)
    assert.equal("fail its webhook has no 'secret': every delivery is refused", said.secret)
  end)

  it("tries where DreamClass's GetInvoice may be", function()
    local said, code = report_of "school"
    assert.equal(1, code)
    assert.truthy(said.GetInvoice:find "^fail the path of 'invoices.get' is not published",
      said.GetInvoice)
    assert.truthy(said.GetInvoice:find "%-%-invoice$")
    assert.equal("warn 'secret' has 3 bytes: use 16 or more random ones", said.secret)
    local id = control("trigger", { vendor = "dreamclass" }).invoice
    said = report_of("school", "--invoice", tostring(id))
    assert.equal(('fail add this to its options: paths = { ["invoices.get"] ='
      .. ' "/financial/invoices/{id}" }: it has invoice %s'):format(id), said.GetInvoice)
    said = report_of("school", "--invoice", "4711")
    assert.truthy(said.GetInvoice:find "^fail invoice 4711 is at none of the %d paths",
      said.GetInvoice)
  end)

  it("fails where the inbox is no file, and waits for none #both", function()
    local path = folder .. "/inbox.db"
    for _, make in ipairs { "mkfifo", "mkdir", "ln -s /dev/null" } do
      assert(os.execute(make .. " " .. path))
      local said, code = report_of "tickets"
      assert.equal("fail " .. path .. " is not a file", said.inbox)
      assert.equal(1, code)
      os.remove(path)
    end
    assert(os.execute("ln -s nowhere " .. path))
    local said, code = report_of "tickets"
    assert.equal("fail unable to open database file", said.inbox)
    assert.equal(1, code)
  end)

  it("sends nothing but GET and HEAD, and leaves the inbox as it is", function()
    control("trigger", { vendor = "dreamclass" })
    control "reset"
    doctor("--invoice", "1")
    local _, body = command.http("GET", base .. "/sandbox/requests")
    local n = 0
    for method in body:gmatch '"method":"(%u+)"' do
      n = n + 1
      assert.is_true(method == "GET" or method == "HEAD", method)
    end
    assert.is_true(n > 5)
    assert.is_nil(process.stat(folder .. "/inbox.db"))
  end)

  it("tells of polls, webhooks and a moved account, as the inbox has them", function()
    local app = assert(dofile(rules))
    app.log = function() end
    control("trigger", { vendor = "dreamapply" })
    app:poll "admissions"
    local said = report_of "admissions"
    assert.equal("warn none was received yet", said.webhooks)
    assert.truthy(said.polls:find "^ok the last one was %d+%-.*, up to invoices issued %d",
      said.polls)
    assert.equal("ok invoice 1 was read", said["read back"])
    local headers, body = billhook.sign("dreamapply", '{"id":7,"event":"Flag was added"}',
      { authorization = "Bearer 0123456789abcdef" })
    assert.equal(200, (app:receive("admissions", headers, body)))
    local function digest() -- by another process: closing a file here would let go of its locks
      local pipe = io.popen(("sha256sum %s/inbox.db %s/inbox.db-wal"):format(folder, folder))
      local text = pipe:read "*a"
      pipe:close()
      return text
    end
    local before = digest()
    said = report_of "admissions"
    assert.truthy(said.webhooks:find "^ok the last one was received %d", said.webhooks)
    assert.equal(before, digest())
    assert.equal("warn there was none yet: is `billhook work` running?", report_of("tickets").polls)
    app:open():set("account admissions", json.encode { start = 1, origin = "dreamapply elsewhere" })
    local code
    said, code = report_of "admissions"
    assert.equal(1, code)
    assert.truthy(said.address:find "^fail its address or school has changed", said.address)
    app:open():set("account admissions", json.encode { start = 1, fault = "HTTP status 500" })
    assert.equal("fail HTTP status 500", report_of("admissions").polls)
  end)

  it("shows all accounts to people, and says what it was called wrongly for", function()
    local result = doctor()
    assert.equal(1, result.code)
    assert.equal("", result.err)
    for _, line in ipairs { "admissions\n  OK       reachable: its API answers\n", "\nschool\n",
      "\n  WARN     secret: 'secret' has 3 bytes: use 16 or more random ones\n" } do
      assert.truthy(result.out:find(line, 1, true), result.out)
    end
    result = doctor "nobody"
    assert.equal(1, result.code)
    assert.matches("^billhook: %S+ has no account nobody; it has %w+", result.err)
    assert.equal(1, command.run({ "doctor", folder .. "/none.lua" }).code)
    local pid = assert(process.spawn({ command.lua, "bin/billhook", "doctor", rules, "tickets" },
      { stdout = "/dev/full", stderr = folder .. "/err" }))
    assert.equal(1, select(2, process.wait(pid)))
    assert.equal("billhook: cannot write the output: No space left on device\n",
      command.read(folder .. "/err"))
  end)
end)

describe("a diagnosis #both", function()
  local function school(answers, more)
    local asked = {}
    local options = { base_url = "https://class.example/v1", api_key = "k", tenant = "t",
      quota = false, transport = fake.new(function(request)
        asked[#asked + 1] = request.method .. " " .. request.url:match "/v1(.*)$"
        return answers(request)
      end) }
    for name, value in pairs(more or {}) do options[name] = value end
    return billhook.dreamclass(options), options, asked
  end

  local function answer(status, body)
    return { status = status, headers = { ["content-type"] = "application/json" },
      body = body or "" }
  end

  it("finds the path that gives the invoice, and believes nothing else", function()
    local client, given, asked = school(function(request)
      local url = request.url
      if url:find "/schoolperiods/" then return answer(200, "[]") end
      if url:find "/financial/invoices/16$" then return answer(200, '{"success":false}') end
      if url:find "/invoices/get/16$" then return answer(200, '{"id":17}') end
      if url:find "/financial/invoice/16$" then return answer(200, '{"id":16,"amount":300}') end
      return answer(404)
    end)
    local said = by_check(diagnose.account("school", client, { given = given, invoice = "16",
      why = "none" }))
    assert.truthy(said.GetInvoice:find('"/financial/invoice/{id}" }: it has invoice 16', 1, true),
      said.GetInvoice)
    assert.equal("GET /financial/invoice/16", asked[#asked])
    for _, request in ipairs(asked) do assert.truthy(request:find "^GET ", request) end
  end)

  it("does not go on where the key is refused, or nobody answers", function()
    for _, one in ipairs { answer(403), { failure = true } } do
      local client, given, asked = school(function(request)
        if request.url:find "/schoolperiods/" then return answer(200, "[]") end
        if one.failure then return nil, { kind = "timeout", message = "no answer", sent = true } end
        return one
      end)
      local said = by_check(diagnose.account("school", client, { given = given, invoice = "16" }))
      assert.truthy(said.GetInvoice:find "^unknown the likely paths could not be tried",
        said.GetInvoice)
      local tried = 0
      for _, request in ipairs(asked) do tried = tried + (request:find "/16$" and 1 or 0) end
      assert.equal(1, tried)
    end
  end)

  it("says that a path in the options is wrong", function()
    local client, given = school(function(request)
      return request.url:find "/schoolperiods/" and answer(200, "[]") or answer(404)
    end, { paths = { ["invoices.get"] = "/x/{id}" } })
    local said = by_check(diagnose.account("school", client, { given = given, invoice = "16" }))
    assert.truthy(said["read back"]:find "^fail invoice 16: not_found.*`paths` right%?$",
      said["read back"])
  end)

  it("believes no delivery's id: a 404 of one says nothing", function()
    local client, given = school(function() return answer(404) end,
      { paths = { ["invoices.get"] = "/x/{id}" } })
    local found = { texts = function() return {} end, last = function() return nil end }
    function found.invoice() return "16", false end
    local said = by_check(diagnose.account("school", client, { given = given, peek = found }))
    assert.equal("unknown invoice 16 is not there, and deliveries alone have named it: give the id"
      .. " of one with --invoice", said["read back"])
    function found.invoice() return "16", true end
    said = by_check(diagnose.account("school", client, { given = given, peek = found }))
    assert.truthy(said["read back"]:find "^fail invoice 16: not_found", said["read back"])
  end)

  it("takes the shortest of several secrets, without what everybody knows", function()
    local function secret(vendor, options, hook)
      options.webhook = hook
      local client = billhook[vendor](options)
      return by_check(diagnose.account("a", client, { hook = hook })).secret
    end
    local class = { tenant = "t" }
    assert.equal("warn 'secret' has 15 bytes: use 16 or more random ones", secret("dreamclass",
      class, { secret = { LONG, LONG:sub(2) }, basic = { "a", "b" } }))
    assert.truthy(secret("dreamclass", class, { secret = LONG }):find "^warn .*set `basic`, too$")
    assert.equal("ok set, and long enough", secret("dreamclass", class, { secret = LONG,
      basic = { "a", "b" } }))
    assert.equal("warn 'authorization' has 15 bytes: use 16 or more random ones",
      secret("dreamapply", { base_url = "https://a.example" }, { authorization = "Bearer "
        .. LONG:sub(2) }))
  end)
end)

describe("a peek", function()
  after_each(command.finish)

  it("makes nothing where there is nothing, and changes nothing", function()
    local path = command.folder() .. "/i.db"
    assert.same({ nil, "there is none yet: " .. path, true }, { peek.open("sqlite:" .. path) })
    assert.is_nil(process.stat(path))
    assert.same({ nil, "it is in the memory of the worker", true }, { peek.open "memory:" })
    assert.is_nil((peek.open "nonsense"))
    local store = assert(require("billhook.inbox").open("sqlite:" .. path))
    store:set("quota k", "1")
    local look = assert(peek.open("sqlite:" .. path))
    assert.same({ k = "1" }, look:texts "quota ")
    assert.equal("was 1", look:update("quota k", function(text) return "2", "was " .. text end))
    assert.equal("was 2", look:update("quota k", function(text) return nil, "was " .. text end))
    assert.is_true(look:update("quota new", function(text) assert.is_nil(text) return "3" end))
    assert.equal("1", store:peek("quota k").text)
    assert.is_nil(look:last "a")
    assert.is_falsy(look:invoice "a")
    local refused = look.db:query "DELETE FROM texts"
    assert.is_nil(refused)
    look:close()
    store:close()
    local other = command.write(command.folder() .. "/other.db", ("no database "):rep(100))
    local fine, broken = pcall(function() return assert(peek.open("sqlite:" .. other)):texts "" end)
    assert.is_false(fine)
    assert.truthy(broken:find "not a database", broken)
  end)

  it("reads PostgreSQL, and makes no schema there", function()
    local server = postgres.database()
    finally(function() server:remove() end)
    local look = assert(peek.open(server.url))
    local fine, why = pcall(look.texts, look, "account ")
    assert.is_false(fine)
    assert.truthy(why:find("texts", 1, true), why)
    assert.equal(0, look.db:query("SELECT COUNT(*) AS n FROM pg_namespace "
      .. "WHERE nspname = 'billhook'")[1].n)
    look:close()
    local store = assert(require("billhook.inbox").open(server.url))
    store:set("account a", "{}")
    assert(store:admit { { account = "a", id = "1", again = true, vendor = "dreamclass",
      type = "invoice.updated", native = "INVOICE_UPDATED", invoice = "16", live = true,
      trust = "id", body = "{}" } })
    look = assert(peek.open(server.url))
    assert.same({ a = "{}" }, look:texts "account ")
    assert.equal("16", look:last("a").invoice)
    assert.same({ "16", false }, { look:invoice "a" })
    assert.is_nil((look.db:query "DELETE FROM texts"))
    look:close()
    store:close()
    assert.is_nil((peek.open "postgresql://billhook@127.0.0.1:1/none"))
  end)
end)

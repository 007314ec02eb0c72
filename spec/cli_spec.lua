-- cli_spec.lua: the command as people call it: real processes, exit codes, what is printed where.

local command = require "spec.support.command"
local json = require "billhook.json"
local process = require "billhook.process"
local ports = require "spec.support.port"

local sample = [[{
  "id": "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", "type": "INVOICE_CREATED", "tenant": "my-school",
  "data": { "id": 16, "amount": 300 }, "timestamp": 1727884920561,
  "signature": "4sB3kHjsoz0srhd/dd+55xSKhlFd/hUXzyrMIJWrXTM="
}]]

local function lines(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  return list
end

-- how wrong usage looks
local function refused(result, message)
  assert.equal(2, result.code)
  assert.equal("", result.out)
  assert.truthy(result.err:find(message, 1, true), result.err)
end

describe("billhook", function()
  after_each(command.finish)

  it("prints its version #both", function()
    local result = command.run { "--version" }
    assert.equal(0, result.code)
    assert.truthy(result.out:match("^billhook %d+%.%d+%.%d+ %(.-Lua.-%)\n$"))
    assert.truthy(result.out:find(rawget(_G, "jit") and "LuaJIT" or "Lua 5.4", 1, true))
  end)

  it("helps", function()
    local result = command.run { "--help" }
    assert.equal(0, result.code)
    for _, name in ipairs { "serve", "work", "demo", "sandbox", "trigger", "verify", "invoices",
      "settle", "inbox" } do
      assert.truthy(result.out:find("\n   " .. name, 1, true), name)
      local own = command.run { name, "--help" }
      assert.equal(0, own.code)
      assert.equal("", own.err)
      assert.truthy(own.out:find("Usage: billhook " .. name, 1, true))
    end
  end)

  it("exits 2 when it is called wrongly", function()
    refused(command.run {}, "Commands:")
    refused(command.run { "nosuch" }, "unknown command 'nosuch'")
    refused(command.run { "serve" }, "missing argument 'rules'")
    refused(command.run { "verify", "--nosuch", "x" }, "unknown option '--nosuch'")
    refused(command.run { "verify", "nosuch" }, "dreamclass, betterez or dreamapply; or --rules")
    refused(command.run { "verify", "--rules", "examples/rules.lua" },
      "has several accounts: name")
    refused(command.run { "inbox" }, "command is required")
  end)

  it("is found through a symbolic link, from anywhere", function()
    local folder, here = command.folder(), process.realpath "."
    os.execute(("ln -s '%s/bin/billhook' '%s/bh'"):format(here, folder))
    os.execute(("ln -s bh '%s/again'"):format(folder))
    for _, lua in ipairs { command.lua, false } do
      local result = command.run({ "--version" }, { script = folder .. "/again", cwd = "/",
        lua = lua, env = { LUA_PATH = false, LUA_CPATH = false } })
      assert.equal("", result.err)
      assert.equal(0, result.code)
    end
  end)

  it("takes LuaJIT where there is no Lua 5.4, and says when there is neither", function()
    local folder = command.folder()
    for _, name in ipairs { "luajit", "readlink" } do
      os.execute(("ln -s \"$(command -v %s)\" '%s/%s'"):format(name, folder, name))
    end
    local result = command.run({ "--version" }, { lua = false, env = { PATH = folder } })
    assert.truthy(result.out:find("LuaJIT", 1, true))
    os.remove(folder .. "/luajit")
    result = command.run({ "--version" }, { lua = false, env = { PATH = folder } })
    assert.equal(1, result.code)
    assert.equal("billhook: neither lua5.4 nor luajit is in PATH\n", result.err)
  end)
end)

describe("billhook verify #both", function()
  after_each(command.finish)

  it("shows what was proven", function()
    local result = command.run({ "verify", "dreamclass", "--secret", "123" }, { input = sample })
    assert.equal(0, result.code)
    assert.equal("", result.err)
    local out = lines(result.out)
    assert.equal("authentic", out[1])
    assert.truthy(result.out:find("id: the proof covers the event id alone", 1, true))
    assert.truthy(out[#out]:find("^aa3a27d6%-05b5%-4fcd%-bd04%-505bfffacfc2  INVOICE_CREATED  16 "))
  end)

  it("says why it refuses", function()
    local result = command.run({ "verify", "dreamclass", "--secret", "MTIz" }, { input = sample })
    assert.equal(1, result.code)
    assert.truthy(lines(result.out)[1]:find("^not authentic: mismatch: "))
    assert.truthy(result.out:find("decoded from base64 by the sender", 1, true))
  end)

  it("prints JSON for programs", function()
    local result = command.run({ "verify", "dreamclass", "--secret", "123", "--json" },
      { input = sample })
    local delivery = json.decode(result.out)
    assert.same({ "id", 1, "16" },
      { delivery.trust, delivery.secret, delivery.events[1].invoice })
    result = command.run({ "verify", "dreamclass", "--secret", "12", "--json" }, { input = sample })
    assert.equal(1, result.code)
    assert.equal("mismatch", json.decode(result.out).error.code)
  end)

  it("takes the secret from the environment", function()
    local result = command.run({ "verify", "dreamclass" },
      { input = sample, env = { BILLHOOK_SECRET = "123" } })
    assert.equal(0, result.code)
    result = command.run({ "verify", "dreamclass" },
      { input = sample, env = { BILLHOOK_SECRET = "" } })
    assert.equal(1, result.code)
    assert.truthy(result.out:find("not authentic: unconfigured", 1, true))
  end)

  it("reads the body from a file", function()
    local path = command.folder() .. "/body.json"
    local file = assert(io.open(path, "w"))
    file:write(sample)
    file:close()
    assert.equal(0, command.run({ "verify", "dreamclass", path, "--secret", "123" }).code)
    assert.equal(1, command.run({ "verify", "dreamclass", path, "--secret", "124" }).code)
    local none = command.run { "verify", "dreamclass", path .. "2", "--secret", "123" }
    assert.same({ 1, "billhook: " .. path .. "2: No such file or directory\n" },
      { none.code, none.err })
    refused(command.run { "verify", "dreamclass", path, "--rules", "examples/rules.lua" },
      "verify: give a vendor or --rules, not both")
  end)

  it("takes headers, of which two of one name are two", function()
    local function verify(...)
      return command.run({ "verify", "dreamapply", "--authorization", "Bearer x", ... },
        { input = '{"id":1,"event":"Invoice was created: ?"}' })
    end
    assert.equal(0, verify("--header", "authorization: Bearer x").code)
    assert.equal(1, verify("-H", "Authorization: Bearer y").code)
    assert.equal(1, verify("-H", "Authorization: Bearer x", "-H", "Authorization: Bearer x").code)
    assert.equal(1, verify().code)
    refused(verify("-H", "nonsense"), "--header is 'Name: value', not nonsense")
  end)

  it("verifies as of another time", function()
    local made = command.run { "trigger", "betterez", "--secret", "s", "--print" }
    local signature, body = made.out:match "X%-Btrz%-Signature: ([^\n]+)\n\n(.*)\n$"
    local t = tonumber(signature:match "t=(%d+)")
    local function verify(...)
      return command.run({ "verify", "betterez", "--secret", "s", "-H",
        "x-btrz-signature: " .. signature, ... }, { input = body })
    end
    assert.equal(0, verify().code)
    assert.equal(0, verify("--at", ("%d"):format(t + 300)).code)
    local late = verify("--at", ("%d"):format(t + 301))
    assert.equal(1, late.code)
    assert.truthy(late.out:find("not authentic: stale", 1, true))
    assert.equal(0, verify("--at", ("%d"):format(t + 301), "--tolerance", "400").code)
    refused(verify("--tolerance=-1"), "not a number of 0 or more: -1")
  end)
end)

describe("billhook trigger", function()
  after_each(command.finish)

  it("signs what verifies, for each vendor #both", function()
    for vendor, option in pairs { dreamclass = "--secret", betterez = "--secret",
      dreamapply = "--authorization" } do
      local id = vendor == "dreamapply" and "77" or "b3e6fa78-8672-4e8b-8431-7eebdabd25a2"
      local made = command.run { "trigger", vendor, "invoice.updated", option, "Bearer 1",
        "--print", "--id", id }
      assert.equal(0, made.code)
      local head, body = made.out:match "^(.-)\n\n(.*)\n$"
      local argv = { "verify", vendor, option, "Bearer 1", "--json" }
      for _, line in ipairs(lines(head)) do
        argv[#argv + 1] = "-H"
        argv[#argv + 1] = line
      end
      local seen = command.run(argv, { input = body })
      assert.equal(0, seen.code)
      local event = json.decode(seen.out).events[1]
      assert.equal(id, event.id)
      assert.equal(({ dreamclass = "INVOICE_UPDATED", betterez = "invoices.updated",
        dreamapply = "Invoice was edited: ?" })[vendor], event.native)
      assert.is_true(event.live)
    end
    local none = command.run({ "verify", "dreamapply", "--authorization", "Bearer 1", "--json",
      "-H", "Authorization: Bearer 1" }, { input = "[]" })
    assert.matches('"events":%[%]', none.out)
  end)

  it("gives each delivery an id of its own", function()
    local ids = {}
    for i = 1, 2 do
      local made = command.run { "trigger", "dreamclass", "--secret", "s", "--print" }
      ids[i] = made.out:match '"id":"(%x+%-%x+%-4%x+%-[89ab]%x+%-%x+)"'
      assert.equal(36, #ids[i])
    end
    assert.not_equal(ids[1], ids[2])
  end)

  it("takes the data from a file", function()
    local path = command.write(command.folder() .. "/data", '{"id":99,"amount":1.5}')
    local made = command.run { "trigger", "dreamclass", "INVOICE_DELETED", "--secret", "s",
      "--print", "--data", path, "--tenant", "north" }
    local body = json.decode((made.out:match "\n\n(.*)\n$"))
    assert.same({ { id = 99, amount = 1.5 }, "north", "INVOICE_DELETED" },
      { body.data, body.tenant, body.type })
    command.write(path, "[1")
    local broken = command.run { "trigger", "dreamclass", "--secret", "s", "--print", "--data",
      path }
    assert.equal(1, broken.code)
    assert.truthy(broken.err:find(path .. ": ", 1, true))
    broken = command.run { "trigger", "dreamclass", "--secret", "s", "--print", "--data", "/none" }
    assert.equal(1, broken.code)
    assert.truthy(broken.err:find("/none: No such file", 1, true))
  end)

  it("says what is missing, and what cannot be reached", function()
    refused(command.run { "trigger", "dreamclass", "--secret", "s" },
      "--to (or --print) is missing")
    refused(command.run { "trigger", "dreamclass", "--print" },
      "--secret (or BILLHOOK_SECRET) is missing")
    refused(command.run { "trigger", "dreamapply", "--print" },
      "--authorization (or BILLHOOK_AUTHORIZATION) is missing")
    refused(command.run { "trigger", "dreamapply", "--print", "--authorization", "x", "--id", "a" },
      "--id of a DreamApply event is a number")
    for _, url in ipairs { "ftp://x", "example", "" } do
      refused(command.run { "trigger", "dreamclass", "--secret", "s", "--to", url },
        "--to must be an http:// or https:// URL")
    end
    refused(command.run { "trigger", "dreamclass", "--secret", "s", "--to", "http://a:b@c/" },
      "--to must not have a user name")
    for _, time in ipairs { "0", "-1", "x", "nan" } do
      refused(command.run { "trigger", "dreamclass", "--secret", "s", "--to", "http://127.0.0.1",
        "--timeout=" .. time }, "malformed argument")
    end
    refused(command.run { "trigger", "dreamclass", "--print", "--basic", "x" },
      "--basic is user:password")
    refused(command.run { "verify", "dreamclass", "--secret", "" },
      "billhook: --secret is empty")
  end)

  it("goes to serve's accounts, or to the very URL", function()
    local port = ("%d"):format(ports.free())
    local base = "http://127.0.0.1:" .. port
    for path, words in pairs {
      ["/webhooks/school"] = { "dreamclass", "--to", base },
      ["/webhooks/tickets"] = { "betterez", "--to", base .. "/" },
      ["/webhooks/north"] = { "dreamclass", "--to", base, "--account", "north" },
      ["/a/b?c"] = { "dreamclass", "--to", base .. "/a/b?c", "--account", "north" },
    } do
      local result = command.run { "trigger", "--secret", "s",
        (table.unpack or rawget(_G, "unpack"))(words) }
      assert.equal(1, result.code)
      assert.equal("billhook: " .. base .. path .. ": ", result.err:match "^.-: .-: ")
      assert.is_nil(result.err:find("stack traceback", 1, true))
    end
  end)
end)

describe("billhook sandbox and invoices", function()
  local sandbox, base, vendor
  setup(function()
    local port = ("%d"):format(ports.free())
    base = "http://127.0.0.1:" .. port
    sandbox = command.start { "sandbox", "--listen", port, "--json" }
    command.wait("the sandbox", function() return sandbox:errors():find "listening" end)
    vendor = { "--vendor", "dreamapply", "--base-url", base, "--api-key", "sandbox-key" }
  end)
  teardown(command.finish)

  local function invoices(...)
    local argv = { "invoices", ... }
    for _, word in ipairs(vendor) do argv[#argv + 1] = word end
    return command.run(argv)
  end

  it("tells programs what it offers", function()
    local offer = json.decode(sandbox:output())
    assert.equal(base, offer.dreamapply.base_url)
    assert.equal(base .. "/dreamclassapi/v1", offer.dreamclass.base_url)
    assert.equal("123", offer.dreamclass.settings.secret)
    assert.equal("sandbox-private-key", offer.betterez.settings.secret)
  end)

  it("creates, lists, gets, counts and deletes #both", function()
    local body = command.write(command.folder() .. "/invoice",
      '{"currency":"EUR","items":[{"item":"Fee","price":"12.50","qty":2}]}')
    local made = invoices("create", "application=3", "--body", body, "--json")
    assert.equal("", made.err)
    assert.equal("created", json.decode(made.out).how)
    local id = ("%d"):format(json.decode(made.out).id)
    local list = invoices("list", "application=3")
    assert.same({ "ID  NUMBER     TOTAL  BALANCE  CURRENCY", 2 },
      { lines(list.out)[1]:match "^(.-)  DUE", #lines(list.out) })
    assert.truthy(lines(list.out)[2]:find("^" .. id .. "   AF%-%d+  25%.00    25%.00  EUR"))
    assert.equal("25.00", invoices("get", id).out:match "AF%-%d+  (%S+)")
    assert.equal(tonumber(id), json.decode(invoices("get", id, "--json").out).id)
    assert.equal("1\n", invoices("count", "byCurrencies=EUR,USD").out)
    assert.equal("0\n", invoices("count", "byCollected=true").out)
    assert.equal("[]\n", invoices("list", "byCollected=true", "--json").out)
    assert.equal("deleted\n", invoices("delete", id).out)
    local gone = invoices("get", id)
    assert.same({ 1, "" }, { gone.code, gone.out })
    assert.equal("billhook: not_found: Invoice not found (dreamapply invoices.get, 404)\n",
      gone.err)
    gone = invoices("get", id, "--json")
    assert.same({ 1, "not_found" }, { gone.code, json.decode(gone.out).error.kind })
  end)

  it("takes credentials from a rules file, or from the environment", function()
    local result = command.run({ "invoices", "count", "--rules", "examples/rules.lua", "--account",
      "admissions" }, { env = { DREAMAPPLY_URL = base } })
    assert.same({ "0\n", 0 }, { result.out, result.code })
    result = command.run({ "invoices", "count", "--vendor", "dreamapply", "--base-url", base },
      { env = { BILLHOOK_API_KEY = "sandbox-key" } })
    assert.equal("0\n", result.out)
    result = command.run { "invoices", "count", "--rules", "examples/rules.lua", "--account", "x" }
    assert.equal("billhook: examples/rules.lua has no account x; it has admissions, school, "
      .. "tickets\n", result.err)
    result = command.run { "invoices", "count", "--rules", "examples/rules.lua" }
    assert.equal("billhook: examples/rules.lua has several accounts: name one of admissions, "
      .. "school, tickets\n", result.err)
    local one = command.write(command.folder() .. "/one.lua", ([[
      local billhook = require "billhook"
      return billhook.app { inbox = "memory:", accounts = {
        only = billhook.dreamapply { base_url = %q, api_key = "sandbox-key" } } }]]):format(base))
    assert.equal("0\n", command.run({ "invoices", "count", "--rules", one }).out)
  end)

  it("refuses what the vendor does not have", function()
    refused(invoices("list", "foo=1"), "invoices.list: 'foo' is not known: there are application, ")
    refused(invoices("list", "byCollected=maybe"), "must be a boolean")
    refused(invoices("list", "nonsense"), "not name=value: nonsense")
    refused(invoices("get", "x"), "must be a positive whole number")
    refused(command.run { "invoices", "list" }, "--vendor")
    refused(command.run { "invoices", "list", "--vendor", "dreamapply", "--api-key", "k" },
      "billhook: --base-url is missing")
    refused(command.run { "invoices", "list", "--vendor", "dreamclass" }, "--api-key (or"
      .. " BILLHOOK_API_KEY, or --rules and --account) is missing")
    refused(command.run { "invoices", "list", "--vendor", "dreamapply", "--timeout", "x" },
      "not a number of 0 or more: x")
    refused(command.run { "invoices", "list", "--vendor", "dreamapply", "--api-key", "k",
      "--base-url", "http://a.b" }, "billhook: --base-url must be https")
  end)

  it("never prints the key", function()
    local result = command.run { "invoices", "list", "--vendor", "dreamapply", "--base-url", base,
      "--api-key", "other-secret-key" }
    assert.equal(1, result.code)
    assert.truthy(result.err:find("auth: ", 1, true))
    assert.is_nil((result.out .. result.err):find("other-secret-key", 1, true))
  end)

  it("stops cleanly", function()
    local pids = command.descendants(sandbox.pid)
    assert.is_true(#pids >= 2)
    sandbox:signal "INT"
    assert.equal(0, sandbox:wait())
    for _, pid in ipairs(pids) do assert.is_true(command.gone(pid)) end
  end)

  it("says when it cannot listen", function()
    refused(command.run { "sandbox", "--listen", "nonsense" }, "not an address and port: nonsense")
    refused(command.run { "sandbox", "--listen", "127.0.0.1:65536" }, "not an address and port")
    local free = ("%d"):format(ports.free())
    local result = command.run({ "sandbox", "--listen", free },
      { env = { BILLHOOK_NGINX = "/none" } })
    assert.equal(1, result.code)
    assert.equal("billhook: cannot run BILLHOOK_NGINX /none\n", result.err)
    local server = require("socket").bind("127.0.0.1", 0)
    local _, port = server:getsockname()
    result = command.run { "sandbox", "--listen", ("%d"):format(port) }
    server:close()
    local taken = ("billhook: 127.0.0.1:%d is taken"):format(port)
    assert.same({ 1, taken .. ": waiting 3 s for its server to end\n" .. taken .. "\n" },
      { result.code, result.err })
    refused(command.run { "sandbox", "--listen", free, "--to", "x" }, "--to is no URL: x")
  end)
end)

describe("billhook inbox", function()
  local url, rules
  setup(function()
    local folder = command.folder()
    url = "sqlite:" .. folder .. "/inbox.db"
    rules = command.write(folder .. "/rules.lua", ([[
      local billhook = require "billhook"
      local app = billhook.app { inbox = %q, attempts = 1, log = function() end, accounts = {
        school = billhook.dreamclass { webhook = { secret = "123" }, tenant = "my-school" } } }
      app:on("invoice.created", function(event) end)
      app:on("invoice.updated", { name = "bad" }, function() return nil, "\27[31mno" end)
      return app]]):format(url))
    local app = assert(require("billhook.cli.rules").load(rules))
    for _, case in ipairs { { "INVOICE_CREATED", "1" }, { "INVOICE_UPDATED", "2" },
      { "CLASS_CREATED", "3" } } do
      local body = ('{"id":"aa3a27d6-05b5-4fcd-bd04-50500000000%s","type":"%s",'
        .. '"tenant":"my-school","timestamp":1,"data":{"id":%s}}'):format(case[2], case[1], case[2])
      local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
      assert.equal(200, (app:receive("school", headers, signed)))
    end
    while assert(app:work()) > 0 do end
    app.store:close()
  end)
  teardown(command.finish)

  local function inbox(...) return command.run { "inbox", ..., "--inbox", url } end
  -- `...` in the middle is one value only: further ones come behind
  local function more(words)
    local argv = { "inbox" }
    for _, word in ipairs(words) do argv[#argv + 1] = word end
    argv[#argv + 1], argv[#argv + 2] = "--inbox", url
    return command.run(argv)
  end

  local id = "school:aa3a27d6-05b5-4fcd-bd04-50500000000"

  it("lists, newest first", function()
    local out = lines(inbox("events").out)
    assert.equal(4, #out)
    assert.truthy(out[1]:find "^MADE%s+ID%s+TYPE%s+INVOICE%s+TRUST%s+STATE%s+NOTE$")
    assert.truthy(out[2]:find(id .. "3  class.created", 1, true))
    assert.truthy(out[2]:find "unhandled%s+%-$")
    assert.truthy(out[3]:find "dead%s+%-$")
    assert.truthy(out[4]:find "done%s+%-$")
    assert.equal(2, #lines(more({ "events", "--state", "done" }).out))
    assert.equal(2, #lines(more({ "events", "--invoice", "2" }).out))
    assert.equal(1, #lines(more({ "events", "--older-than", "1d" }).out))
    assert.equal(4, #lines(more({ "events", "--newer-than", "1h" }).out))
    assert.equal("[]\n", more({ "events", "--account", "none", "--json" }).out)
    local list = json.decode(more({ "dead", "--json" }).out)
    assert.same({ 1, id .. "2" }, { #list, list[1].id })
    refused(more { "events", "--older-than", "soon" }, "not an age such as 30d")
    out = lines(inbox("deliveries").out)
    assert.equal(4, #out)
    assert.truthy(out[1]:find "^RECEIVED%s+ID%s+TYPE%s+INVOICE%s+TRUST%s+SEEN%s+STATE%s+REASON$")
    assert.truthy(out[4]:find(id .. "1 invoice.created 1", 1, true))
    assert.truthy(lines(inbox("invoices").out)[1]
      :find "^CHANGED%s+INVOICE%s+NUMBER%s+TOTAL%s+BALANCE%s+DUE%s+STATUS%s+VERSION$")
  end)

  it("says what gave up, by rule, and why", function()
    local out = lines(inbox("dead").out)
    assert.equal(2, #out)
    assert.truthy(out[2]:find("bad%s+1%s+\\x1b%[31mno$"))
  end)

  it("says where a list is cut", function()
    local result = more { "events", "--limit", "2", "--json" }
    assert.equal(2, #json.decode(result.out))
    assert.equal("billhook: only the newest 2: use --limit for more\n", result.err)
    assert.equal("", more({ "events", "--limit", "3" }).err)
  end)

  it("reads the inbox that BILLHOOK_INBOX names", function()
    local result = command.run({ "inbox", "stats", "--json" }, { env = { BILLHOOK_INBOX = url } })
    assert.equal(1, json.decode(result.out).dead)
  end)

  it("shows one, and obeys no escape sequence in it", function()
    local result = more { "show", id .. "2" }
    assert.equal(0, result.code)
    assert.truthy(result.out:find "bad%s+dead%s+1%s+%-%s+\\x1b%[31mno")
    result = more { "show", id .. "2 inv" }
    assert.truthy(result.out:find('"tenant":"my-school"', 1, true))
    assert.is_nil(result.out:find("signature\":\"[%w+/]"))
    assert.equal("dead", json.decode(more({ "show", id .. "2", "--json" }).out).runs.bad.state)
    result = more { "show", "school:none" }
    assert.same({ 1, "billhook: no event, delivery or invoice school:none\n" },
      { result.code, result.err })
    assert.truthy(more({ "show", "school:aa" }).err:find "several ids %(.*%): give more of it\n$")
    assert.equal("billhook: no event, delivery or invoice 2: ids begin with an account and a "
      .. "colon\n", more({ "show", "2" }).err)
  end)

  it("counts", function()
    local stats = json.decode(more({ "stats", "--json" }).out)
    assert.same({ 1, 1, 0 }, { stats.dead, stats.unhandled, stats.pending })
    assert.truthy(more({ "stats" }).out:find "dead%s+1\n")
  end)

  it("runs again, and purges #both", function()
    refused(more { "retry" }, "an id, or --all")
    assert.equal("1 to run again\n", more({ "retry", "--all" }).out)
    assert.equal(1, json.decode(more({ "stats", "--json" }).out).pending)
    local worked = command.run { "work", rules, "--once" }
    assert.equal(0, worked.code)
    assert.equal(1, json.decode(more({ "stats", "--json" }).out).dead)
    worked = more { "retry", "school:none", id .. "2", "x" }
    assert.same({ 1, "1 to run again\n", "billhook: no event school:none, x\n" },
      { worked.code, worked.out, worked.err })
    worked = more { "purge", "x" }
    assert.same({ 1, "0 purged\n", "billhook: no event or delivery x\n" },
      { worked.code, worked.out, worked.err })
    assert.equal(0, command.run({ "work", rules, "--once" }).code)
    refused(more { "purge" }, "--older-than or --invoice")
    assert.equal("1 events and 1 deliveries (0 events are not finished: they stay)\n",
      more({ "purge", "--invoice", "1", "--dry-run" }).out)
    assert.equal("2 purged\n", more({ "purge", "--invoice", "1" }).out)
    assert.is_nil(more({ "show", id .. "1" }).out:find("claims", 1, true))
    -- all others keep what they say
    assert.truthy(more({ "show", id .. "2" }).out:find("claims", 1, true))
    assert.truthy(more({ "show", id .. "3 class" }).out:find("tenant", 1, true))
    local third = json.decode(more({ "show", id .. "3 class", "--json" }).out).id
    assert.equal("1 purged\n", more({ "purge", third }).out)
    assert.truthy(more({ "show", id .. "2 inv" }).out:find("body", 1, true))
  end)

  it("makes no inbox out of a mistyped name", function()
    local path = command.folder() .. "/none.db"
    local result = command.run { "inbox", "events", "--inbox", "sqlite:" .. path }
    assert.same({ 1, "billhook: there is no inbox " .. path .. ": name yours with --inbox, --rules"
      .. " or BILLHOOK_INBOX\n" }, { result.code, result.err })
    assert.is_nil(process.stat(path))
    refused(command.run { "inbox", "events", "--inbox", "nosuch:x" }, "inbox must be")
    local folder = command.folder()
    result = command.run { "inbox", "events", "--inbox", "sqlite:" .. folder }
    assert.equal(1, result.code)
    assert.same({ folder, folder }, { result.err:match(
      "^billhook: store: (%S+) %(as [%w_-]+%): (%S+) is not a file\n$") }, result.err)
    path = command.write(command.folder() .. "/text.db", ("no database "):rep(1000))
    result = command.run { "inbox", "events", "--inbox", "sqlite:" .. path }
    assert.same({ 1, "billhook: store: " .. path .. ": file is not a database\n" },
      { result.code, result.err })
  end)
end)

describe("billhook demo", function()
  after_each(command.finish)

  local function leftovers(folder)
    local pipe = io.popen("ls '" .. folder .. "'")
    local text = pipe:read "*a"
    pipe:close()
    return text
  end

  it("shows it all, and leaves nothing behind", function()
    local folder = command.folder()
    local result = command.run({ "demo" }, { env = { TMPDIR = folder } })
    assert.equal(0, result.code, result.out .. result.err)
    assert.equal("", result.err)
    local out = lines(result.out)
    local deliveries, events, runs = out[#out]:match(
      "^demo: ok %(3 vendors, (%d+) deliveries, (%d+) events, (%d+) rules run, 0 lost%)$")
    local tables = {}
    for _, line in ipairs(out) do
      local title = line:match "^ACCOUNT%s+(%u+)"
      if title then tables[#tables + 1], tables[title] = title, 0 end
      local name = tables[#tables]
      if name and line:find "^%l+%s+%l+%.%l+ " then tables[name] = tables[name] + 1 end
    end
    assert.same({ tonumber(deliveries), tonumber(events) }, { tables.DELIVERY, tables.EVENT })
    assert.is_true(tonumber(events) >= 10 and tonumber(runs) >= 17)
    for _, word in ipairs { "200  done", "401  refused", "200  looked at again",
      "invoice 4, found after its answer was lost", "935.50" } do
      assert.truthy(result.out:find(word, 1, true), word)
    end
    assert.equal("", leftovers(folder))
  end)

  it("says so when something is missing", function()
    local folder = command.folder()
    local result = command.run({ "demo" }, { env = { TMPDIR = folder, BILLHOOK_NGINX = "/none" } })
    assert.equal(1, result.code)
    assert.equal("demo: FAILED (sandbox: cannot run BILLHOOK_NGINX /none)\n", result.out)
    assert.equal("", leftovers(folder))
  end)

  it("cleans up when it is interrupted", function()
    local folder = command.folder()
    local child = command.start({ "demo" }, { env = { TMPDIR = folder } })
    local pids
    command.wait("its children", function()
      pids = command.descendants(child.pid)
      return #pids >= 3
    end)
    child:signal "INT"
    assert.equal(130, child:wait())
    assert.equal("demo: FAILED (interrupted by INT)\n", child:output())
    for _, pid in ipairs(pids) do
      command.wait("the end of a child", function() return command.gone(pid) end)
    end
    assert.equal("", leftovers(folder))
  end)
end)

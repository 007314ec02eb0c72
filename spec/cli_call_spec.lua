-- `billhook call`: any operation from the shell. The account's transport is a fake one, which tells
-- on stderr what it was asked to send.

local command = require "spec.support.command"

local unpack = table.unpack or rawget(_G, "unpack")

local folder, rules

local RULES = [[
local billhook = require "billhook"
local function transport()
  return require("billhook.transport.fake").new(function(r)
    io.stderr:write(("sent %s %s %s\n"):format(r.method, r.url, r.body or ""))
    if r.url:find "lost" or r.url:find "/pay/9" then
      return nil, { kind = "timeout", message = "no answer", sent = true }
    end
    if r.method == "HEAD" then return { status = r.url:find "/8" and 404 or 200, headers = {},
      body = "" } end
    if r.url:find "/pdfs" then return { status = 200, headers = {}, body = "%PDF-1.4\n\0\255" } end
    if r.url:find "users" then
      return { status = 200, headers = {},
        body = '{"token":"sesame-sesame","user":{"name":"Ann"}}' }
    end
    return { status = 200, headers = {}, body = '{"id":7,"_id":"616d7cf38fedff37e4492161"}' }
  end)
end
return billhook.app { inbox = "memory:", accounts = {
  admissions = billhook.dreamapply { base_url = "https://apply.test", api_key = "k1-secret",
    transport = transport(), settle_timeout = 0, attempts = 1 },
  school = billhook.dreamclass { api_key = "k2-secret", transport = transport(),
    settle_timeout = 0, attempts = 1 },
  tickets = billhook.betterez { api_key = "k3-secret", transport = transport() },
} }
]]

describe("billhook call", function()
  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -p " .. folder))
    rules = folder .. "/rules.lua"
    local file = assert(io.open(rules, "w"))
    file:write(RULES)
    file:close()
  end)

  teardown(function() os.execute("rm -r " .. folder) end)

  -- exit code, stdout, stderr
  local function call(vendor, rest, to, account)
    local accounts = { dreamapply = "admissions", dreamclass = "school", betterez = "tickets" }
    local pipe = assert(io.popen(("bin/billhook call %s %s --rules %s --account %s >%s 2>%s/err; "
      .. "echo $?"):format(vendor, rest, rules, account or accounts[vendor], to or folder .. "/out",
      folder)))
    local code = tonumber((pipe:read "*a"):match "%d+")
    pipe:close()
    local texts = {}
    for i, name in ipairs { "out", "err" } do
      local file = assert(io.open(folder .. "/" .. name, "rb"))
      texts[i] = file:read "*a"
      file:close()
    end
    return code, texts[1], texts[2]
  end

  it("sends parameters as they are named, and prints the answer as JSON #both", function()
    local code, out, err = call("dreamclass", "invoices.pay --id 7 --amount 12.50 "
      .. "--paymentmethod '{\"id\":2}'")
    assert.equal(0, code, err)
    assert.matches('/financial/invoices/pay/7 {"amount":"12.50","paymentmethod":{"id":2}}', err, 1,
      true)
    assert.matches('"id":7', out, 1, true)
  end)

  it("takes a body, from the line or a file #both", function()
    local code, _, err = call("dreamclass", "invoices.update --id=7 --json '{\"dueDate\":"
      .. "\"2027-01-31\"}'")
    assert.equal(0, code, err)
    assert.matches('{"dueDate":"2027-01-31"}', err, 1, true)
    local file = assert(io.open(folder .. "/body", "w"))
    file:write '{"name":"Infile"}'
    file:close()
    code, _, err = call("betterez", "providers.create --json @" .. folder .. "/body")
    assert.equal(0, code, err)
    assert.matches('POST https://api.betterez.com/invoices/providers {"name":"Infile"}', err, 1,
      true)
  end)

  it("tells whether there is one", function()
    local code, out = call("dreamapply", "invoices.exists --id 7")
    assert.same({ 0, "true\n" }, { code, out })
    code, out = call("dreamapply", "invoices.exists --id 8")
    assert.same({ 0, "false\n" }, { code, out })
  end)

  it("writes a PDF as it is", function()
    local code, out = call("betterez", "invoices.pdf --transactionId 616d7cf38fedff37e4492161")
    assert.same({ 0, "%PDF-1.4\n\0\255" }, { code, out })
  end)

  it("blots the credentials of an answer, unless they are asked for", function()
    local login = "users.login --username ann --password pass-word-1"
    local code, out, err = call("betterez", login)
    assert.equal(0, code, err)
    assert.is_nil(out:find("sesame", 1, true))
    assert.matches('"Ann"', out, 1, true)
    code, out = call("betterez", login .. " --show-secrets")
    assert.equal(0, code)
    assert.matches('"token":"sesame-sesame"', out, 1, true)
  end)

  it("exits with 3 and the intent where nobody knows #both", function()
    local code, out = call("dreamclass", "invoices.pay --id 9 --amount 1 --paymentmethod 1")
    assert.equal(3, code)
    assert.matches('"operation":%s*"invoices.pay"', out)
  end)

  it("exits with 2 where it was called wrongly, and says how", function()
    for rest, message in pairs {
      ["invoices.pay --amount 1"] = "invoices.pay: 'id' is missing",
      ["invoices.paid"] = "unknown operation 'invoices.paid' of dreamclass",
      ["invoices.get --nothing 1"] = "--nothing is neither an option nor a parameter",
      ["invoices.get 7"] = "not --name value: 7",
      ["invoices.update --id 7 --json '[1'"] = "--json: ",
      ["invoices.pay --id 7 --amount 1 --paymentmethod x"] = "whole number",
    } do
      local code, _, err = call("dreamclass", rest)
      assert.equal(2, code, rest .. ": " .. err)
      assert.matches(message, err, 1, true)
      assert.is_nil(err:find("secret", 1, true))
    end
  end)

  it("says that it could not write", function()
    local code, _, err = call("dreamapply", "invoices.exists --id 7", "/dev/full")
    assert.equal(1, code)
    assert.matches("cannot write", err, 1, true)
  end)

  it("helps", function()
    for _, words in ipairs { "--help", "dreamapply invoices.get --help" } do
      local pipe = assert(io.popen("bin/billhook call " .. words))
      local out = pipe:read "*a"
      pipe:close()
      assert.matches("Exit codes: 0 done", out, 1, true)
    end
  end)

  it("lists a vendor's operations", function()
    local pipe = assert(io.popen "bin/billhook call betterez")
    local out = pipe:read "*a"
    pipe:close()
    assert.matches("\nusers.login\n", out, 1, true)
  end)
end)

describe("what would change something", function()
  after_each(command.finish)

  local function bill(...)
    return command.run({ ... }, { env = { BILLHOOK_API_KEY = "secret-of-ours",
      LUA_PATH = "lua/?.lua;lua/?/init.lua;;", LUA_CPATH = os.getenv "LUA_CPATH" } })
  end

  -- nobody is there: a call that were made would fail
  local there = { "--vendor", "dreamapply", "--base-url", "http://127.0.0.1:9" }

  it("is only printed with --dry-run #both", function()
    local result = bill("invoices", "delete", "7", "--dry-run", unpack(there))
    assert.same({ 0, "DELETE http://127.0.0.1:9/api/v9/invoices/7\n" },
      { result.code, result.out }, result.err)
    result = bill("call", "betterez", "undelivered.delete", "--base-url",
      "http://127.0.0.1:9/invoices", "--id", "5f0000000000000000000001", "--dry-run")
    assert.equal(0, result.code, result.err)
    assert.matches("^DELETE http://127.0.0.1:9/[^\n]*5f0000000000000000000001\n$", result.out)
    result = bill("call", "dreamapply", "invoices.create", "--base-url", "http://127.0.0.1:9",
      "--application", "7", "--json",
      '{"currency":"EUR","items":[{"item":"Fee","price":"5.00","qty":1}]}', "--dry-run")
    assert.equal(0, result.code, result.err)
    assert.matches('^POST [^\n]*/applications/7/invoices {"currency":"EUR"', result.out)
  end)

  it("is made where nobody can be asked", function()
    local result = bill("invoices", "delete", "7", unpack(there))
    assert.equal(1, result.code)
    assert.matches("network", result.err, 1, true)
  end)
end)

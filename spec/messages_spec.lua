-- messages_spec.lua: what is said where something is wrong, as far as the spec of the part itself
-- only looks at the kind of the failure. cli_messages_spec.lua does it for the command.

local billhook = require "billhook"
local command = require "spec.support.command"
local desk = require "spec.support.inbox"
local fake = require "billhook.transport.fake"
local json = require "billhook.json"
local ports = require "spec.support.port"

local function client(handler, more)
  local given = { base_url = "https://apply.example.edu", api_key = "key",
    transport = fake.new(handler) }
  for name, value in pairs(more or {}) do given[name] = value end
  return billhook.dreamapply(given)
end

local function answering(body)
  return client(function() return { status = 200, headers = {}, body = body } end)
end

-- What a call that fails says.
local function said(message, value, err)
  assert.is_nil(value)
  assert.matches(message, err.message, 1, true)
end

-- What wrong use raises.
local function raises(message, fn, ...)
  local fine, why = pcall(fn, ...)
  assert.is_false(fine)
  assert.matches(message, tostring(why), 1, true)
end

describe("a message of the client", function()
  it("says what is wrong with a list", function()
    said("a member comes twice", answering('{"7":{"id":7},"7":{"id":7}}').invoices:list())
    said("in the list, the object under '7' is one with the id 8",
      answering('{"7":{"id":8}}').invoices:list())
    said("the list has something without an id in it",
      answering('{"1234567890123456789":{"id":"1234567890123456789"}}').invoices:create(1,
        { currency = "EUR", items = { { "Fee", "1", 1 } } }))
  end)

  it("says that the answer of a create is none", function()
    local made = client(function(request)
      if request.method == "GET" then return { status = 200, body = "{}" } end
      return { status = 201, body = "thank you" }
    end)
    said("carried out: a Location was expected, and something else came",
      made.invoices:create(1, { currency = "EUR", items = { { "Fee", "1", 1 } } }))
  end)

  it("says what a quota waits for", function()
    local one = client(function() return { status = 200, body = '{"id":7}' } end,
      { quota = { limit = 1, window = 600 } })
    assert(one.invoices:get(7))
    said("no request of this key's quota comes free before the deadline", one.invoices:get(7))
    raises("'quota' must have a 'limit'", billhook.dreamclass, { api_key = "k", tenant = "t",
      school_code = "s", quota = { window = 60 } })
  end)

  it("says that an item of map raised nothing", function()
    local _, errors = billhook.map({ 1 }, function() error(nil) end)
    assert.equal("nil was raised", errors[1])
  end)

  it("says what a priority may be, and what cannot be sent", function()
    local one = answering "{}"
    raises("invoices.get: 'priority' must be \"person\" or \"background\"", one.invoices.get,
      one.invoices, 7, { priority = "soon" })
    local issuer = billhook.betterez { api_key = "k", token = "t" }
    raises("invoices.issue: the parameters can't be written as JSON", issuer.invoices.issue,
      issuer.invoices, "infile", { transactionId = "x", f = print })
  end)
end)

describe("a message of billhook.http", function()
  it("says what headers and a query must be", function()
    local http = billhook.http { base_url = "https://ledger.example.edu",
      transport = fake.new(function() return { status = 200, body = "<html>sign in</html>" } end) }
    raises("must have strings as names and values", http.get, http, "/x", { headers = { a = 1 } })
    raises("'query' must have texts, numbers and booleans by name", http.get, http, "/x",
      { query = { a = {} } })
    said("where JSON or a text was expected", http:get "/x")
  end)
end)

describe("a message about an event", function()
  local d
  before_each(function() d = desk.new() end)

  it("says that steps are a rule's", function()
    local why
    d.app:on_dead(function(event) why = select(2, pcall(event.once, event, "x", print)) end)
    d:school { data = "null" }
    d:work()
    assert.matches("once: only a rule can have steps", why, 1, true)
  end)

  it("says that nothing can be read of an account that is gone", function()
    local id
    d.app:on("*", function(event) id = event.id end)
    d:school()
    d:work()
    local event = require("billhook.app.event").new(assert(d.app.store:show(id)),
      { store = d.app.store })
    said("the account is not configured any more", event:invoice())
  end)
end)

describe("a message of billhook.testing", function()
  it("says what a world is made of", function()
    local testing = require "billhook.testing"
    raises("testing.world: 'accounts' are those of the rules file", testing.world,
      { rules = "rules.lua", accounts = { a = "dreamapply" } })
    local folder = command.folder()
    local rules = command.write(folder .. "/rules.lua", "return {}")
    raises("testing.world: the rules must give what billhook.app has made", testing.world,
      { rules = rules })
    command.finish()
  end)
end)

describe("a message of the command", function()
  after_each(command.finish)

  it("says what an nginx lacks", function()
    local program = command.write(command.folder() .. "/nginx",
      "#!/bin/sh\necho 'configure arguments: --with-http_ssl_module' >&2\n")
    assert(os.execute("chmod 755 " .. program))
    local result = command.run({ "sandbox", "--listen", ("%d"):format(ports.free()) },
      { env = { BILLHOOK_NGINX = program } })
    assert.equal(1, result.code)
    assert.equal(("billhook: %s was built without --with-threads, which billhook needs\n")
      :format(program), result.err)
  end)

  it("says what is wrong beside a captured body", function()
    local folder = command.folder()
    local body = command.write(folder .. "/x.body", "{}")
    command.write(folder .. "/x.json", "{}")
    local result = command.run { "verify", "dreamclass", body, "--secret", "s" }
    assert.equal(1, result.code)
    assert.matches(folder .. "/x.json: there are no headers in it", result.err, 1, true)
  end)

  it("says that a signature is missing, and what a proof covers", function()
    local uuid = "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2"
    local result = command.run({ "verify", "dreamclass", "--secret", "s" },
      { input = ('{"id":"%s","type":"INVOICE_CREATED","data":{"id":1}}'):format(uuid) })
    assert.equal(1, result.code)
    assert.matches("the member signature of the body is missing", result.out, 1, true)
    for vendor, words in pairs { betterez = "the proof covers every byte",
      dreamapply = "the proof is a shared header" } do
      local text = vendor == "betterez" and json.encode { id = "e", event = "invoices.created",
        data = { _id = "616d7cf38fedff37e4492161" } } or "[]"
      local option = vendor == "betterez" and "secret" or "authorization"
      local headers, signed = billhook.sign(vendor, text, { [option] = "s" })
      local argv = { "verify", vendor, "--" .. option, "s" }
      for name, value in pairs(headers) do
        argv[#argv + 1], argv[#argv + 2] = "-H", name .. ": " .. value
      end
      result = command.run(argv, { input = signed })
      assert.equal(0, result.code, result.out .. result.err)
      assert.matches(words, result.out, 1, true)
    end
  end)
end)

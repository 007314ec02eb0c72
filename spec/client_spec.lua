local billhook = require "billhook"
local errors = require "billhook.error"
local support = require "spec.support.client"
local KEY = support.KEY

local function reply(body, status, headers)
  return { status = status or 200, headers = headers or { ["Content-Type"] = "application/json" },
    body = body }
end

-- Where an error was raised: the line of this file that the message begins with.
local function raised(fn)
  local fine, message = pcall(fn)
  assert.is_false(fine, "nothing was raised")
  assert.is_string(message)
  local line, text = message:match("client_spec%.lua:(%d+): (.*)$")
  assert.is_truthy(line, "not at the caller's line: " .. message)
  -- the call stands on the line after the one where the function begins
  assert.equal(debug.getinfo(fn, "S").linedefined + 1, tonumber(line))
  return text
end

describe("a client's construction", function()
  local good = { base_url = "https://apply.example.edu", api_key = KEY }
  local function with(change)
    local out = {}
    for k, v in pairs(good) do out[k] = v end
    for k, v in pairs(change) do out[k] = v end
    return out
  end

  it("raises at the caller's line, naming the option", function()
    assert.matches("^billhook.dreamapply: 'api_kye' is not known: there are allow_http, api_key, ",
      raised(function()
      billhook.dreamapply { base_url = "https://x.org", api_kye = KEY }
    end))
    assert.equal("billhook.dreamapply: 'api_key' is missing", raised(function()
      billhook.dreamapply { base_url = "https://x.org" }
    end))
    assert.equal("billhook.dreamapply: 'base_url' is missing", raised(function()
      billhook.dreamapply { api_key = KEY }
    end))
    assert.equal("billhook.dreamclass: 'timeout' must be a number, got string",
      raised(function()
        billhook.dreamclass { api_key = KEY, timeout = "5" }
      end))
    assert.equal("billhook.betterez: 'options' must be a table, got string", raised(function()
      local client = billhook.betterez(KEY)
      return client
    end))
    assert.matches("^billhook.betterez: 'school_code' is not known: there are ", raised(function()
      billhook.betterez { api_key = KEY, school_code = "S" }
    end))
  end)

  local wrong = {
    { { timeout = 0 }, "billhook.dreamapply: 'timeout' must be above 0" },
    { { timeout = math.huge }, "billhook.dreamapply: 'timeout' must be above 0" },
    { { timeout = 0 / 0 }, "billhook.dreamapply: 'timeout' must be above 0" },
    { { settle_timeout = -1 },
      "billhook.dreamapply: 'settle_timeout' must not be below 0" },
    { { attempts = 0 },
      "billhook.dreamapply: 'attempts' must be a whole number of at least 1" },
    { { attempts = 1.5 },
      "billhook.dreamapply: 'attempts' must be a whole number of at least 1" },
    { { quota = true },
      "billhook.dreamapply: 'quota' must be a number, a table or false" },
    { { quota = { limits = 3 } },
      "billhook.dreamapply's quota: 'limits' is not known: there are limit, store, window" },
    { { transport = "carrier pigeon" }, "billhook.dreamapply: 'transport' can't be used: " },
    { { clock = 5 }, "billhook.dreamapply: 'clock' must be a function, got number" },
    { { webhook = { secrets = "x" } },
      "billhook.dreamapply's webhook: 'secrets' is not known: there are authorization, basic,"
        .. " limit, secret, tolerance" },
    { { webhook = { tolerance = 0 } },
      "billhook.dreamapply's webhook: 'tolerance' must be above 0" },
    { { webhook = { basic = { 1 } } }, "billhook.dreamapply: 'webhook' can't be used: " },
    { { api_key = 'a"b' },
      "billhook.dreamapply: 'api_key' must not have quotes or backslashes in it" },
    { { api_key = "a\r\nb" },
      "billhook.dreamapply: 'api_key' must not have control characters in it" },
    { { api_key = " abc" },
      "billhook.dreamapply: 'api_key' must not begin or end with white space" },
    { { api_key = "" }, "billhook.dreamapply: 'api_key' must not be empty" },
    { { base_url = "apply.example.edu" },
      "billhook.dreamapply: 'base_url' must be an http:// or https:// URL" },
    { { base_url = "ftp://x.org" },
      "billhook.dreamapply: 'base_url' must be an http:// or https:// URL" },
    { { base_url = "https://" },
      "billhook.dreamapply: 'base_url' must have a host in it" },
    { { base_url = "https://x.org:99999" },
      "billhook.dreamapply: 'base_url' must have a host in it" },
    { { base_url = "https://u:p@x.org" },
      "billhook.dreamapply: 'base_url' must not have a user name or password in it" },
    { { base_url = "https://x.org/?a=b" },
      "billhook.dreamapply: 'base_url' must not have a query or fragment in it" },
    { { base_url = "https://x.org/#a" },
      "billhook.dreamapply: 'base_url' must not have a query or fragment in it" },
    { { base_url = "https://x.org\\@y.org" }, "billhook.dreamapply: 'base_url' has a"
      .. " character that must be percent-encoded" },
    { { base_url = "https://x.org/\195\169" }, "billhook.dreamapply: 'base_url' has a"
      .. " character that must be percent-encoded" },
    { { proxy = "p.org:3128" }, "billhook.dreamapply: 'proxy' must be http://host:port,"
      .. " or https, socks5 or socks5h" },
    { { base_url = "http://x.org" }, "billhook.dreamapply: 'base_url' must be https"
      .. " (plain http only to this machine, or with allow_http = true)" },
    { { base_url = "http://127.0.0.1.x.org" },
      "billhook.dreamapply: 'base_url' must be https"
      .. " (plain http only to this machine, or with allow_http = true)" },
    { { base_url = "http://localhost.x.org" },
      "billhook.dreamapply: 'base_url' must be https"
      .. " (plain http only to this machine, or with allow_http = true)" },
  }
  for i, case in ipairs(wrong) do
    it("refuses wrong values: " .. i, function()
      local text = raised(function()
        billhook.dreamapply(with(case[1]))
      end)
      assert.equal(case[2], text:sub(1, #case[2]))
      if case[2]:sub(-2) ~= ": " then assert.equal(case[2], text) end
      if case[1].api_key and #case[1].api_key > 1 then
        assert.is_nil(text:find(case[1].api_key, 1, true)) -- not even a wrong one
      end
    end)
  end

  it("takes plain http for this machine, or where it is allowed", function()
    for _, url in ipairs { "http://localhost", "http://127.0.0.1:8080/", "http://127.9.9.9",
        "http://[::1]:80" } do
      assert.is_table(billhook.dreamapply(with { base_url = url }), url)
    end
    assert.is_table(billhook.dreamapply(with { base_url = "http://x.org", allow_http = true }))
  end)

  it("normalises the base URL", function()
    for given, kept in pairs { ["https://X.org/"] = "https://x.org",
      ["HTTPS://x.org:443"] = "https://x.org",
        ["https://x.org/a//"] = "https://x.org/a",
          ["https://x.org:8443/A"] = "https://x.org:8443/A" } do
      assert.equal(kept, billhook.dreamapply(with { base_url = given }).options.base_url)
    end
  end)

  it("wants DreamApply's host without what the calls add to it", function()
    for _, tail in ipairs { "/api/v9", "/api/v9/", "/api", "/x/api/v8" } do
      local fine, why = pcall(billhook.dreamapply, with { base_url = "https://x.org" .. tail })
      assert.is_false(fine)
      assert.matches("billhook.dreamapply: 'base_url' must end before /api", why, 1, true)
      assert.matches("the calls add /api/v9", why, 1, true)
    end
    for _, fine in ipairs { "https://x.org/apix", "https://x.org/capi", "https://api.x.org" } do
      assert.equal(fine, billhook.dreamapply(with { base_url = fine }).options.base_url)
    end
  end)

  it("copies the options", function()
    local given = with { webhook = { secret = "abcdef" } }
    local client = billhook.dreamapply(given)
    given.base_url, given.webhook.secret = "http://evil.org", nil
    assert.equal("https://apply.example.edu", client.options.base_url)
    assert.is_truthy(client.webhook.keys)
  end)

  it("refuses a key's header that is another one's", function()
    for _, name in ipairs { "tenant", "SchoolCode", "Accept", "user-agent" } do
      assert.equal("billhook.dreamclass: 'api_key_header' is another header's name",
        raised(function()
          billhook.dreamclass { api_key = KEY, api_key_header = name }
        end))
    end
    assert.equal("billhook.dreamclass: 'api_key_header' must be the name of a header",
      raised(function()
        billhook.dreamclass { api_key = KEY, api_key_header = "X Key:" }
      end))
  end)

  it("refuses paths that lead elsewhere", function()
    local text = "billhook.dreamclass: 'paths' must hold paths that begin with a slash,"
      .. " by the names of operations"
    for _, path in ipairs { "x", "/a b", "/a?b", "/a#b", 5 } do
      assert.equal(text, raised(function()
        billhook.dreamclass { api_key = KEY, paths = { ["invoices.get"] = path } }
      end))
    end
    for path, why in pairs { ["/x"] = "id: missing", ["/{id}/{period}"] =
      "period: not a parameter of its path", ["/{id}/../x"] = "must be of plain characters" } do
      assert.equal("billhook.dreamclass: 'paths' has a bad path of invoices.get (" .. why .. ")",
        raised(function()
          billhook.dreamclass { api_key = KEY, paths = { ["invoices.get"] = path } }
        end))
    end
    assert.equal("billhook.dreamclass: 'paths' has 'invoices.gett', which is no operation",
      raised(function()
        billhook.dreamclass { api_key = KEY, paths = { ["invoices.gett"] = "/x/{id}" } }
      end))
  end)

  it("shows vendor and origin only", function()
    assert.equal("billhook.dreamapply (https://apply.example.edu)",
      tostring(billhook.dreamapply(with { base_url = "https://apply.example.edu/path" })))
  end)

  it("hides the credentials from iteration, print and inspection", function()
    local client = billhook.betterez { api_key = KEY, token = KEY, proxy = "http://"
      .. "p.org:3128",
      webhook = { secret = KEY, authorization = KEY, basic = { KEY, KEY } } }
    for _, text in ipairs(support.strings(client)) do
      assert.is_nil(text:find(KEY, 1, true))
    end
    assert.matches("%*%*%*", tostring(client.webhook.keys))
  end)

  it("may only receive", function()
    local client = billhook.dreamapply { webhook = { authorization = "Bearer abcdef" } }
    assert.is_truthy(client.webhook.keys)
    assert.equal("billhook.dreamapply (receives only)", tostring(client))
    local can, why = client:can "invoices.get"
    assert.is_false(can)
    assert.equal("billhook.dreamapply: 'base_url' is missing", why)
    assert.equal(why, raised(function()
      local _ = client.invoices:get(1)
    end))
  end)

  it("tells what it can do", function()
    local client = billhook.dreamapply(good)
    assert.is_true(client:can "invoices.get")
    assert.same({ false, "unknown operation 'invoices.fly' of dreamapply" },
      { client:can "invoices.fly" })
    assert.same({ true }, { client:can "invoices.get" })
    local class = billhook.dreamclass { tenant = "t", school_code = "s", api_key = "k" }
    assert.same({ true, true }, { class:can "invoices.get" }) -- a guess
    class = billhook.dreamclass { tenant = "t", school_code = "s", api_key = "k",
      paths = { ["invoices.get"] = "/i/{id}" } }
    assert.same({ true }, { class:can "invoices.get" })
  end)

  it("has what the receiver needs", function()
    local client = billhook.dreamclass { tenant = "my-school", test_events = true,
      webhook = { secret = "abcdef", tolerance = 60 } }
    assert.equal("dreamclass", client.vendor)
    assert.equal("my-school", client.webhook.tenant)
    assert.equal(60, client.webhook.tolerance)
    assert.equal(1048576, client.webhook.limit)
    assert.is_true(client.test_events)
    assert.equal(5, billhook.betterez { webhook = { secret = "abcdef", limit = 5 } }.webhook.limit)
    assert.is_nil(billhook.betterez { api_key = KEY }.webhook.keys)
  end)
end)

describe("wrong use of a call", function()
  local client = support.new("dreamapply", function() return reply "{}" end)

  it("raises at the caller's line, naming the parameter", function()
    assert.equal("invoices.get: 'id' is missing", raised(function()
      local _ = client.invoices:get()
    end))
    assert.matches("^invoices%.get: 'id' must be", raised(function()
      local _ = client.invoices:get("x")
    end))
    assert.matches("^invoices%.get: 'id' must be", raised(function()
      local _ = client.invoices:get(-1)
    end))
    assert.equal("invoices.get is a method: call it with a colon", raised(function()
      local _ = client.invoices.get(5)
    end))
    assert.equal("invoices.get: too many arguments", raised(function()
      local _ = client.invoices:get(5, {}, 6)
    end))
    local unknown = "invoices.list: 'byNothing' is not known: there are application, applicant,"
      .. " byIssuedSince, byCollectedSince, byApplicantIDs, bySerieIDs, byCurrencies, byCollected,"
      .. " byOverdue"
    assert.equal(unknown, raised(function()
      local _ = client.invoices:list { byNothing = true }
    end))
    assert.equal(unknown, raised(function()
      local _ = client.invoices:each { byNothing = true }
    end))
    assert.equal("invoices.list: 'parameters' must be a table, got number", raised(function()
      local _ = client.invoices:list(123)
    end))
    assert.matches("^invoices.get: 'tiemout' is not known: there are attempts, ", raised(function()
      local _ = client.invoices:get(5, { tiemout = 1 })
    end))
    assert.equal("invoices.get: 'attempts' must be a number, got string",
      raised(function()
        local _ = client.invoices:get(5, { attempts = "2" })
      end))
    assert.matches("^invoices.get: 'reference' is not known: there are ", raised(function()
      local _ = client.invoices:get(5, { reference = {} })
    end))
    assert.matches("^invoices%.create: 'items' is missing", raised(function()
      local _ = client.invoices:create(5, { currency = "EUR" })
    end))
    assert.equal("unknown operation 'invoices.fly' of dreamapply: billhook.calls(\"dreamapply\")"
      .. " lists them", raised(function()
      local _ = client:call("invoices.fly", {})
    end))
    assert.equal("invoices.get: 'parameters' must be a table, got number", raised(function()
      local _ = client:call("invoices.get", 5)
    end))
    assert.equal("call is a method: call it with a colon", raised(function()
      local _ = client.call("invoices.get")
    end))
    assert.equal("invoices.get: 'traceparent' must be a W3C traceparent",
      raised(function()
        local _ = client.invoices:get(5, { traceparent = "00-abc" })
      end))
  end)

  it("raises where a vendor has no ping", function()
    local class = support.new("dreamclass", function() return reply "{}" end)
    assert.equal("billhook.dreamclass has no ping", raised(function()
      local _ = class:ping()
    end))
  end)

  it("sends nothing", function()
    local other, transport = support.new("dreamapply", function() return reply "{}" end)
    pcall(function() other.invoices:get("x") end)
    pcall(function() other.invoices:create(1, {}) end)
    assert.equal(0, #transport.requests)
  end)
end)

describe("a call", function()
  it("asks for an invoice and gives it with its vendor", function()
    local client, transport = support.new("dreamapply", function()
      return reply '{"id":123,"currency":"EUR","course":null}'
    end)
    local invoice = assert(client.invoices:get(123))
    assert.same({ id = 123, currency = "EUR" }, invoice)
    assert.equal("dreamapply", getmetatable(invoice).vendor)
    local request = transport.requests[1]
    assert.equal("GET", request.method)
    assert.equal("https://apply.example.edu/api/v9/invoices/123", request.url)
    assert.equal('DREAM apikey="' .. KEY .. '"', request.headers.Authorization)
    assert.equal("application/json", request.headers.Accept)
    assert.is_nil(request.body)
    assert.is_false(request.fresh)
    assert.same({ id = 123, currency = "EUR" }, assert(client:call("invoices.get", { id = "123" })))
    assert.equal(request.url, transport.requests[2].url)
  end)

  it("takes the base URL's path along", function()
    local client, transport = support.new("betterez", function()
      return reply '{"invoice":{"_id":"616d7cf38fedff37e4492161"}}'
    end, { token = "jwt-token" })
    local invoice = assert(client.invoices:get("616d7cf38fedff37e4492161"))
    assert.equal("616d7cf38fedff37e4492161", invoice._id)
    assert.equal("betterez", getmetatable(invoice).vendor)
    local request = transport.requests[1]
    assert.equal("https://btrz.example/invoices/invoices/616d7cf38fedff37e4492161", request.url)
    assert.equal(KEY, request.headers["x-api-key"])
    assert.equal("Bearer jwt-token", request.headers.authorization)
  end)

  it("takes an invoice that is not wrapped", function()
    local client = support.new("betterez", function()
      return reply '{"_id":"616d7cf38fedff37e4492161"}'
    end)
    assert.equal("616d7cf38fedff37e4492161",
      assert(client.invoices:get("616d7cf38fedff37e4492161"))._id)
  end)

  it("takes nothing for an invoice that is none", function()
    local wanted = "an object with the _id 616d7cf38fedff37e4492161 was expected, and "
    for body, message in pairs { ['{"code":"X","message":"failed"}'] = wanted
      .. "one without a good '_id' came, not under 'invoice'",
      ["{}"] = wanted .. "an empty one came, not under 'invoice'",
      ['{"invoice":{}}'] = wanted .. "an empty one came",
      ['{"error":{"message":"failed"}}'] = "an error came as a success: failed" } do
      local client = support.new("betterez", function() return reply(body) end)
      local none, err = client.invoices:get("616d7cf38fedff37e4492161")
      assert.is_nil(none)
      assert.equal("decode", err.kind)
      assert.equal(message, err.message)
    end
    local client = support.new("betterez", function() return reply '{"valid":true}' end)
    assert.is_true(assert(client.invoices:issue("infile", { a = 1 },
      { validate_only = true })).valid) -- a dry run's answer is its own
  end)

  it("sends DreamClass's headers, and its paths may be replaced", function()
    local client, transport = support.new("dreamclass", function() return reply '{"id":16}' end,
      { paths = { ["invoices.get"] = "/elsewhere/{id}" }, api_key_prefix = "Bearer " })
    assert.equal(16, assert(client.invoices:get(16)).id)
    local request = transport.requests[1]
    assert.equal("https://class.example/v1/elsewhere/16", request.url)
    assert.equal("my-school", request.headers.tenant)
    assert.equal("S1", request.headers.schoolCode)
    assert.equal("Bearer " .. KEY, request.headers.Authorization)
  end)

  it("lists a map, an array and an empty map that came as an array, sorted by id", function()
    local body
    local client, transport = support.new("dreamapply", function() return reply(body) end)
    for text, ids in pairs {
      ['{"10":{"id":10},"9":{"id":9},"100":{"id":100}}'] = { 9, 10, 100 },
      ['{"10":{"id":"10"},"9":{"id":"9"}}'] = { "9", "10" },
      ['[{"id":3},{"id":2}]'] = { 2, 3 },
      ["{}"] = {}, ["[]"] = {},
    } do
      body = text
      local list = assert(client.invoices:list { application = 123 })
      local seen = {}
      for i, invoice in ipairs(list) do
        seen[i] = invoice.id or false
        assert.equal("dreamapply", getmetatable(invoice).vendor)
      end
      assert.same(ids, seen, text)
      assert.equal(#ids == 0, billhook.json.encode(list) == "[]")
    end
    assert.equal("https://apply.example.edu/api/v9/applications/123/invoices",
      transport.requests[1].url)
  end)

  it("encodes filters", function()
    local client, transport = support.new("dreamapply", function() return reply "[]" end)
    assert(client.invoices:list { byIssuedSince = "2026-01-01T00:00:00+00:00", bySerieIDs = { 2,
      3 },
      byCollected = false })
    assert.equal("https://apply.example.edu/api/v9/invoices"
      .. "?byIssuedSince=2026-01-01T00%3A00%3A00%2B00%3A00"
      .. "&bySerieIDs=2,3&byCollected=false", transport.requests[1].url)
  end)

  it("counts, and knows when it does not know", function()
    local headers = { ["X-Count"] = "17" }
    local client, transport = support.new("dreamapply", function() return reply("", 200,
      headers) end)
    assert.equal(17, assert(client.invoices:count { byOverdue = true }))
    assert.equal("HEAD", transport.requests[1].method)
    headers = {}
    local none, err = client.invoices:count()
    assert.is_nil(none)
    assert.equal("decode", err.kind)
    assert.equal("the count is unknown: the answer has no X-Count", err.message)
  end)

  it("deletes", function()
    local client, transport = support.new("dreamapply", function() return reply("", 204) end)
    assert.is_true(client.invoices:delete(123))
    assert.equal("DELETE", transport.requests[1].method)
  end)

  it("takes a 404 after a repeated delete for success, and no other", function()
    local answers
    local client = support.new("dreamapply", function(_, n)
      local one = answers[(n - 1) % #answers + 1]
      if type(one) == "table" then return nil, one end
      return reply("", one)
    end)
    answers = { { kind = "timeout", sent = true }, 404 }
    assert.is_true(client.invoices:delete(123))
    answers = { 500, 404 }
    assert.is_true(client.invoices:delete(123))
    -- what was refused, or never left, deleted nothing
    for _, first in ipairs { { kind = "network", sent = false }, 429 } do
      answers = { first, 404 }
      local none, err = client.invoices:delete(123)
      assert.is_nil(none)
      assert.equal("not_found", err.kind)
      assert.equal(2, err.attempts)
    end
  end)

  it("pings", function()
    local client, transport = support.new("dreamapply", function() return reply '{"pong":1}' end)
    assert.equal(1, assert(client:ping()).pong)
    assert.equal("https://apply.example.edu/api/v9/ping", transport.requests[1].url)
  end)

  it("issues with the provider, the body and a dry run", function()
    local client, transport = support.new("betterez", function()
      return reply '{"invoice":{"_id":"616d7cf38fedff37e4492161"}}'
    end)
    assert(client.invoices:issue("infile", { a = 1 }, { validate_only = true, timeout = 5 }))
    local request = transport.requests[1]
    assert.equal("POST", request.method)
    assert.equal("https://btrz.example/invoices/infile?onlyValidateRequest=true", request.url)
    assert.equal('{"a":1}', request.body)
    assert.equal("application/json", request.headers["Content-Type"])
    assert.equal(5, request.timeout)
    assert.is_true(request.fresh)
  end)

  it("gives a PDF as bytes", function()
    local client, transport = support.new("betterez", function()
      return reply("%PDF-1.4 \0\1", 200, { ["Content-Type"] = "application/pdf" })
    end)
    assert.equal("%PDF-1.4 \0\1",
      client.invoices:pdf { transactionId = "616d7cf38fedff37e449215c" })
    assert.equal("*/*", transport.requests[1].headers.Accept)
  end)

  it("passes a traceparent on", function()
    local client, transport = support.new("dreamapply", function() return reply '{"id":5}' end)
    local trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert(client.invoices:get(5, { traceparent = trace }))
    assert.equal(trace, transport.requests[1].headers.traceparent)
  end)
end)

describe("an error", function()
  local function failing(vendor, response, failure)
    return (support.new(vendor, function() return response, failure end, { attempts = 1 }))
  end

  local kinds = { [400] = "invalid", [401] = "auth", [403] = "auth", [404] = "not_found",
    [409] = "conflict",
    [422] = "invalid", [429] = "rate_limited", [500] = "server", [502] = "server", [503] = "server",
    [504] = "server", [301] = "server" }
  for status, kind in pairs(kinds) do
    it(("has the kind %s for %d"):format(kind, status), function()
      local none, err = failing("dreamapply", reply("No.", status)).invoices:get(7)
      assert.is_nil(none)
      assert.is_true(errors.is(err))
      assert.equal(kind, err.kind)
      assert.equal(status, err.status)
      assert.equal("dreamapply", err.vendor)
      assert.equal("invoices.get", err.operation)
      assert.equal(1, err.attempts)
      if status >= 400 then
        assert.equal("No.", err.message)
        assert.equal(("%s: No. (dreamapply invoices.get, %d)"):format(kind, status), tostring(err))
      end
      assert.equal(kind == "server" and status ~= 301 or kind == "rate_limited", err.retryable)
    end)
  end

  it("reads what the server said", function()
    for _, case in ipairs {
      { '{"code":"WRONG_DATA","message":"bad id"}', "bad id", "WRONG_DATA" },
      { '{"code":"E11000 duplicate key"}', "E11000 duplicate key", "E11000 duplicate key" },
      { '{"message":"only this"}', "only this" },
      { '{"error":"or this"}', "or this" },
      { '{"error":{"code":"E7","message":"or that"}}', "or that", "E7" },
      { '{"other":1}', '{"other":1}' },
      { "{broken", "{broken" },
      { "Unauthorized", "Unauthorized" },
      { "  two\r\nlines\0\27[31m ", "two lines [31m" },
      { "", "HTTP status 400" },
      { ("long "):rep(100), ("long "):rep(60) .. "..." },
    } do
      local _, err = failing("betterez", reply(case[1], 400)).invoices:get(("a"):rep(24))
      assert.equal(case[2], err.message)
      assert.equal(case[3], err.code)
    end
  end)

  it("describes a page of HTML instead of showing it", function()
    for _, response in ipairs {
      reply("<html><head><title>502 Bad\nGateway</title></head>secret</html>", 502),
      reply("odd <title>502 Bad Gateway</title>", 502,
        { ["content-type"] = "text/html; charset=utf-8" }),
    } do
      local _, err = failing("dreamapply", response).invoices:get(7)
      assert.equal('the server answered with an HTML page "502 Bad Gateway"', err.message)
      assert.matches('^HTML page "502 Bad Gateway", %d+ bytes$', err.body)
    end
  end)

  it("says so where a success is no JSON", function()
    for body, message in pairs {
      ["<html>login</html>"] = "the server answered with an HTML page where JSON was expected",
      ["true"] = "an object with the id 7 was expected, and true came", ["[1"] = false,
      [""] = false,
      ['{"id":1}x'] = false, ['{"id":1,"id":2}'] = false,
      ["null"] = "an object with the id 7 was expected, and null came",
    } do
      local none, err = failing("dreamapply", reply(body)).invoices:get(7)
      assert.is_nil(none)
      assert.equal("decode", err.kind)
      assert.equal(200, err.status)
      if message then assert.equal(message, err.message) end
    end
    local _, err = failing("dreamapply", reply '{"1":5}').invoices:list()
    assert.equal("a list of objects was expected, and a number is in it", err.message)
  end)

  it("takes nothing but DreamClass's number for an assignment", function()
    local plan = { studentIds = { 1 }, feesIds = { 2 }, installmentPlan = 1 }
    assert.equal(2, failing("dreamclass", reply "2").fees:assign(plan))
    for body, message in pairs { ["false"] = "a whole number was expected, and false came",
      [" \n"] = "the answer is empty where JSON was expected", ["[1"] = "",
      ["-1"] = "a whole number was expected, and another one came",
      ["<html>login</html>"] = "the server answered with an HTML page" } do
      local none, err = failing("dreamclass", reply(body)).fees:assign(plan)
      assert.is_nil(none)
      assert.equal("unknown_outcome", err.kind)
      assert.matches(message, err.message, 1, true)
    end
  end)

  it("passes the transport's failure on", function()
    for _, kind in ipairs { "timeout", "network", "tls", "cancelled" } do
      local none, err = failing("dreamapply", nil, { kind = kind, message = "why" }).invoices:get(7)
      assert.is_nil(none)
      assert.equal(kind, err.kind)
      assert.equal("why", err.message)
      assert.is_nil(err.status)
    end
  end)

  it("says to use each where a list is too large", function()
    local client = support.new("dreamapply", function() return reply(("x"):rep(101)) end)
    local none, err = client.invoices:list({}, { limit = 100 })
    assert.is_nil(none)
    assert.equal("too_large", err.kind)
    assert.equal("the list is larger than the limit of 100 bytes: walk it with each", err.message)
    none, err = client.invoices:get(1, { limit = 100 })
    assert.is_nil(none)
    assert.equal("too_large", err.kind)
    assert.is_nil(err.message:find("each", 1, true))
  end)

  it("never holds a secret", function()
    local echo = 'you sent apikey="' .. KEY .. '" or ' .. KEY:gsub("-", "%%2D")
    local responses = {
      { reply(echo, 400) }, { reply('{"code":"' .. KEY .. '","message":"' .. KEY .. '"}', 400) },
      { reply("<title>" .. KEY .. "</title>" .. KEY, 500) }, { reply(KEY) },
      { reply('{"id":"' .. KEY) },
      { nil, { kind = "network", message = "could not reach " .. KEY } },
    }
    for _, answer in ipairs(responses) do
      local calls = {
        function(c) return c.invoices:get(7) end,
        function(c) return c.invoices:list() end,
        function(c)
          return c.invoices:create(7, { currency = "EUR", items = { { item = KEY, price = 1,
            qty = 1 } } })
        end,
      }
      for _, call in ipairs(calls) do
        local none, err = call(failing("dreamapply", answer[1], answer[2]))
        assert.is_nil(none)
        for _, text in ipairs(support.strings(err)) do
          assert.is_nil(text:find(KEY, 1, true), text)
        end
        assert.is_nil(tostring(err):find(KEY, 1, true))
      end
    end
  end)

  it("does not quote what Betterez keeps about its providers", function()
    local client = failing("betterez", reply('{"message":"bad","signerKey":"s3cr3t"}', 400))
    local _, err = client.providers:get("616d7cf38fedff37e449215c")
    assert.equal("bad", err.message)
    assert.is_nil(err.body)
  end)

  it("quotes no secret of a provider, sent or told, in any shape", function()
    local secret = "5ecret2take"
    local id = "616d7cf38fedff37e449215c"
    local sent = { name = "Infile", params = { { name = "signerKey", value = secret },
      { name = "other", value = { secret } } } }
    local list = ('{"code":"WRONG_DATA","message":"no","provider":{"params":[{"name":"signerKey",'
      .. '"value":"%s"},{"value":["%s"],"key":"api\\u004bey"}]}}'):format(secret, secret)
    for _, answer in ipairs { list, "bad value " .. secret,
      '{"message":"Infile: ' .. secret .. '"}', "{" .. list, "<html><p>" .. secret } do
      for _, status in ipairs { 200, 400, 500 } do
        local client = failing("betterez", reply(answer, status))
        for _, call in ipairs {
          function() return client.providers:create { body = sent } end,
          function() return client.providers:update(id, { body = sent }) end,
        } do
          local result, err = call()
          for _, text in ipairs(result and {} or support.strings(err)) do
            assert.is_nil(text:find(secret, 1, true), text)
          end
        end
      end
    end
    for _, call in ipairs {
      function(client) return client.invoices:get(id) end,
      function(client)
        return client.invoices:issue("infile", { body = { transactionId = id } })
      end,
    } do
      local _, err = call(failing("betterez", reply(list, 400)))
      assert.equal("WRONG_DATA", err.code)
      assert.is_nil(err.body:find(secret, 1, true))
      assert.is_truthy(err.body:find('"value":"***"', 1, true))
    end
  end)
end)

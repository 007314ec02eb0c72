-- What a server has said is read, however it was said; and what was read goes back as it was.
local billhook = require "billhook"
local core = require "billhook.core"
local json = require "billhook.json"
local options = require "billhook.options"
local support = require "spec.support.client"

local HTML = { ["Content-Type"] = "text/html" }
local MARK = "\239\187\191" -- of byte order
local PROVIDER = ("a"):rep(24)

local function apply(answer)
  return support.new("dreamapply", type(answer) == "function" and answer
    or function() return answer end)
end

local function betterez(answer)
  return support.new("betterez", type(answer) == "function" and answer
    or function() return answer end)
end

describe("the words of a server", function()
  it("are its error's, whatever it calls their type", function()
    for body, expected in pairs {
      ["items[0].price: must not be negative"] = { "items[0].price: must not be negative" },
      ["  <b>deadline</b>\nis in the past "] = { "deadline is in the past" },
      ['{"code":"E7","message":"no such serie"}'] = { "no such serie", "E7" },
      [MARK .. '{"code":12,"error":"closed"}'] = { "closed", "12" },
      ['{"error":{"message":"half \\ud83d"}}'] = { "half \239\191\189" },
      ["<html><title>Down</title></html>"] = { 'the server answered with an HTML page "Down"' },
      [MARK .. "<!DOCTYPE html>"] = { "the server answered with an HTML page" },
    } do
      local client = apply { status = 422, headers = HTML, body = body }
      local none, err = client.invoices:get(7)
      assert.is_nil(none)
      assert.same({ "invalid", expected[1], expected[2] }, { err.kind, err.message, err.code })
    end
  end)

  it("are read as JSON where they are JSON", function()
    for _, mark in ipairs { "", MARK } do
      local client = apply { headers = HTML, body = mark .. '{"7":{"id":7,"nr":"N"}}' }
      assert.equal("N", assert(client.invoices:list())[1].nr)
      local seen = 0
      for invoice in client.invoices:each() do seen = seen + invoice.id end
      assert.equal(7, seen)
      client = apply { headers = HTML, body = mark .. '{"id":7}' }
      assert.equal(7, assert(client.invoices:get(7)).id)
      client = betterez { headers = HTML, body = mark .. '{"providers":[{"_id":"' .. PROVIDER
        .. '"}]}' }
      assert.equal(1, #assert(client.providers:list()))
    end
  end)

  it("may be cut anywhere, with a mark in front", function()
    for chunk = 1, 5 do
      local client, transport = apply { body = MARK .. '{"1":{"id":1},"2":{"id":2}}' }
      transport.chunk = chunk
      local seen = 0
      for invoice in client.invoices:each() do seen = seen * 10 + invoice.id end
      assert.equal(12, seen)
    end
    local client = apply { body = MARK }
    assert.has_error(function() client.invoices:each()() end)
  end)

  it("may have half an emoji or odd bytes in them", function()
    for sent, read in pairs {
      ["Ann \\ud83d"] = "Ann \239\191\189", ["\\udc00B"] = "\239\191\189B",
      ["M\252ller"] = "M\239\191\189ller", ["\\ud83d\\ude00"] = "\240\159\152\128",
    } do
      local one = '{"id":7,"payer":{"name":"' .. sent .. '"}}'
      assert.equal(read, assert(apply { body = one }.invoices:get(7)).payer.name)
      local client = apply { body = '{"6":{"id":6},"7":' .. one .. "}" }
      assert.equal(read, assert(client.invoices:list())[2].payer.name)
      local last
      for invoice in client.invoices:each() do last = invoice end
      assert.equal(read, last.payer.name)
    end
    assert.same({ nil, "lone surrogate at byte 4" }, { core.json.decode '"\\ud83d"' })
  end)

  it("that are no JSON may come right, as a broken body may", function()
    for _, answer in ipairs { { body = "{" }, { body = "<html>" }, { body = "" } } do
      local _, err = apply(answer).invoices:get(7)
      assert.same({ "decode", true }, { err.kind, err.retryable })
    end
    local _, err = apply(function() return nil, { kind = "decode" } end).invoices:get(7)
    assert.same({ "decode", true }, { err.kind, err.retryable })
    local client = betterez(function(request)
      if request.method == "GET" then return { body = '{"invoices":[]}' } end
      return nil, { kind = "decode" }
    end)
    _, err = client.invoices:issue("infile", { transactionId = PROVIDER })
    assert.same({ "unknown_outcome", false }, { err.kind, err.retryable })
  end)

  it("name where a redirect leads", function()
    local client = apply { status = 302, headers = { Location = "https://login.example/\27[2Jx" } }
    local _, err = client.invoices:get(7)
    assert.equal("unexpected redirect to https://login.example/?[2Jx", err.message)
    _, err = apply { status = 301 }.invoices:get(7)
    assert.equal("unexpected redirect", err.message)
    client = apply { status = 307, headers = { Location = "/x?apikey=" .. support.KEY } }
    _, err = client.invoices:delete(7)
    assert.equal("unexpected redirect to /x", err.message)
  end)

  it("may name ids that a number does not keep", function()
    for _, id in ipairs { "9007199254740993", "99007199254740995" } do
      local client = apply(function(request)
        if request.method == "GET" then return { body = "[]" } end
        return { status = 201, headers = { Location = "/api/applications/1/invoices/" .. id } }
      end)
      local made = assert(client.invoices:create(1, { currency = "EUR",
        items = { { item = "Fee", price = 1, qty = 1 } } }))
      assert.same({ "created", id }, { made.how, ("%s"):format(made.id) })
      assert.equal(rawget(_G, "jit") and "string" or "number", type(made.id))
    end
  end)
end)

describe("pages", function()
  local function of(link, second)
    local asked = {}
    local client = betterez(function(request)
      asked[#asked + 1] = request.url
      if #asked == 1 then
        return { body = '{"invoices":[{"_id":"a"},{"_id":"b"}],"next":"' .. link .. '"}' }
      end
      return { body = second or '{"invoices":[{"_id":"c"}]}' }
    end)
    local ids = {}
    local list, err = client.invoices:list { transactionId = PROVIDER }
    for i, one in ipairs(list or {}) do ids[i] = one._id end
    return table.concat(ids), asked[2], err
  end
  local base = "https://btrz.example/invoices"

  it("are where their link leads on this origin, as RFC 3986 has it", function()
    for link, url in pairs {
      ["?page=2"] = base .. "/invoices?page=2",
      ["invoices?page=2"] = base .. "/invoices?page=2",
      ["../invoices/./x?page=2#top"] = base .. "/x?page=2",
      ["/y?page=2"] = "https://btrz.example/y?page=2",
      ["//btrz.example/y?page=2"] = "https://btrz.example/y?page=2",
      ["https://btrz.example:443/y?page=2"] = "https://btrz.example/y?page=2",
      -- from behind a proxy that speaks TLS
      ["http://btrz.example/invoices/invoices?page=2"] = base .. "/invoices?page=2",
      ["http://BTRZ.example:8080/inner?page=2&x=1"] = base .. "/invoices?page=2&x=1",
    } do
      local ids, asked, err = of(link)
      assert.same({ "abc", url }, { ids, asked }, tostring(err))
    end
  end)

  it("give once what slides from one to the next", function()
    assert.equal("abc", (of("?page=2", '{"invoices":[{"_id":"b"},{"_id":"c"}]}')))
    assert.equal("ab", (of("?page=2", '{"invoices":[{"_id":"a"},{"_id":"b"}]}')))
    local n = 0
    local client = betterez(function()
      n = n + 1
      return { body = n == 1 and '{"invoices":[{"_id":"a"}],"next":"?page=2"}'
        or '{"invoices":[{"_id":"a"},{"_id":"b"}]}' }
    end)
    local ids = {}
    for invoice in client.invoices:each { transactionId = PROVIDER } do
      ids[#ids + 1] = invoice._id
    end
    assert.same({ "a", "b" }, ids)
  end)

  it("have links as RFC 3986 resolves them", function()
    for link, url in pairs {
      ["g"] = "http://a/b/c/g", ["./g"] = "http://a/b/c/g", ["g/"] = "http://a/b/c/g/",
      ["/g"] = "http://a/g", ["//g"] = "http://g", ["?y"] = "http://a/b/c/d;p?y",
      ["g?y"] = "http://a/b/c/g?y", ["#s"] = "http://a/b/c/d;p?q#s", [""] = "http://a/b/c/d;p?q",
      ["."] = "http://a/b/c/", [".."] = "http://a/b/", ["../g"] = "http://a/b/g",
      ["../../../g"] = "http://a/g", ["/./g"] = "http://a/g", ["/../g"] = "http://a/g",
      ["g."] = "http://a/b/c/g.", ["..g"] = "http://a/b/c/..g", ["g/../h"] = "http://a/b/c/h",
      ["./g/."] = "http://a/b/c/g/", ["g;x=1/../y"] = "http://a/b/c/y",
    } do
      assert.equal(url, (options.resolve("http://a/b/c/d;p?q", link)), link)
    end
    assert.is_nil((options.resolve("http://a/b", "mailto:x")))
    assert.is_nil((options.resolve("mailto:x", "g")))
  end)
end)

describe("what was read", function()
  local texts = {
    '{"a":[],"b":{},"c":[[],{}],"d":12345678901234.56,"e":1.50,"f":null}',
    '[]', '{}', '[1.0,2,[3.10]]', '[[[]]]', '{"0":null,"x":null}', '[null,{"x":null}]',
    '{"big":9223372036854775808,"deep":{"less":-0.10,"list":[1e400,{"n":null}]},"small":1E-7}',
  }

  it("is written as it was", function()
    for _, text in ipairs(texts) do assert.equal(text, json.encode(json.decode(text))) end
  end)

  it("is written as it is, where it was changed", function()
    local value = json.decode '{"a":1.50,"b":12345678901234567.89,"n":null,"l":[],"o":[2.50]}'
    value.a, value.b, value.n, value.l[1], value.o[1] = 2, "x", 5, 3, 2.25
    assert.equal('{"a":2,"b":"x","l":[3],"n":5,"o":[2.25]}', json.encode(value))
    value = json.decode '{"a":1.50,"l":[]}'
    value.a, value.l.name = nil, "x"
    assert.equal('{"l":{"name":"x"}}', json.encode(value))
    assert.equal("[]", json.encode(json.array(json.decode "[]")))
  end)

  it("goes back to the server so", function()
    for _, members in ipairs {
      '"lines":[[],{}],"name":"x","none":null,"rate":12345678901234.56,"tags":[]',
      '"params":{"list":[1.10,null],"of":{}},"type":"x"', '"amount":0.10,"deep":{"a":{"b":[]}}',
    } do
      local text = ('{"_id":"%s",%s}'):format(PROVIDER, members)
      local client, transport = betterez { body = text }
      local provider = client.providers:get(PROVIDER)
      client.providers:update(PROVIDER, provider)
      assert.equal(text, transport.requests[2].body)
      client, transport = betterez { body = '{"providers":[' .. text .. "]}" }
      provider = client.providers:list()[1]
      client.providers:update(PROVIDER, provider)
      assert.equal(text, transport.requests[2].body)
    end
  end)

  it("is nothing else to who looks at it", function()
    local value = billhook.json.decode '{"a":null,"b":12345678901234.56,"c":1.50,"d":[]}'
    assert.same({ b = "12345678901234.56", c = 1.5, d = {} }, value)
    assert.is_nil(next(value.d))
  end)
end)

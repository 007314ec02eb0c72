-- Transports: what is common to them (spec/support/conformance.lua; LuaJIT has that of libcurl in
-- worker_spec), what a request may be, which one is picked, and the fake.

local core = require "billhook.core"
local curl = require "billhook.transport.curl"
local errors = require "billhook.error"
local fake = require "billhook.transport.fake"
local peer = require "spec.support.peer"
local pick = require("billhook.transport").pick
local responses = require "billhook.client.response"
local streams = require "spec.support.streams"

local shared = curl.new()

require "spec.support.conformance" {
  name = "curl",
  describe = describe, it = it, setup = setup, teardown = teardown, before_each = before_each,
  request = function(request) return shared:request(request) end,
  drain = function(request, options) return streams.drain(shared, request, options) end,
}

teardown(peer.clean)

local function request(fields)
  local made = { method = "GET", url = "https://example.com/" }
  for name, value in pairs(fields or {}) do made[name] = value end
  return made
end

describe("A request #both", function()
  local transports = { curl = shared, fake = fake.new(function() return {} end) }

  it("has defaults", function()
    assert.are.same({ method = "GET", url = "https://example.com/", headers = {}, timeout = 30,
      connect_timeout = 10, fresh = false, limit = 67108864 }, core.request.check(request()))
  end)

  it("goes on a connection of its own unless it is GET or HEAD", function()
    for method, fresh in pairs { GET = false, HEAD = false, POST = true, PUT = true, PATCH = true,
      DELETE = true } do
      assert.are.equal(fresh, core.request.check(request { method = method }).fresh)
    end
    assert.is_true(core.request.check(request { fresh = true }).fresh)
    assert.is_true(core.request.check(request { method = "POST", fresh = false }).fresh)
  end)

  it("has no time to connect beyond its own", function()
    assert.are.equal(2, core.request.check(request { timeout = 2 }).connect_timeout)
    assert.are.equal(3, core.request.check(request { connect_timeout = 3 }).connect_timeout)
  end)

  local bad = {
    ["request must be a table"] = 5,
    ["request.colour is not known"] = request { colour = "red" },
    ["request.stream is not known"] = request { stream = true },
    ["request.number is not known"] = { "GET" },
    ["request.ca_file holds a NUL byte"] = request { ca_file = "a\0b" },
    ["request.headers must be a table"] = request { headers = "X: y" },
    ["request.fresh must be a boolean"] = request { fresh = 1 },
    ["request.timeout must be a number"] = request { timeout = "1" },
    ["request.body must be a string"] = request { method = "POST", body = {} },
    ["request.method must be GET, HEAD, POST, PUT, PATCH or DELETE"] =
      request { method = "GET / HTTP/1.1\r\nX:" },
    ["request.body is not for GET"] = request { body = "x" },
    ["request.body is not for HEAD"] = request { method = "HEAD", body = "x" },
    ["request.url is missing"] = { method = "GET" },
    ["request.url must begin with https:// or http:// and a host"] =
      { request { url = "ftp://a/" }, request { url = "http:///a" }, request { url = "//a/" },
        request { url = "file:///etc/passwd" }, request { url = "" } },
    ["request.url has a character that must be percent-encoded"] =
      { request { url = "http://a/ b" }, request { url = "http://a/\r\nX: y" },
        request { url = "http://a/\0" }, request { url = "http://a\\@b/" },
        request { url = "http://a/\195\164" } },
    ["request.url must not carry a user name or password"] =
      { request { url = "http://me:word@a/" }, request { url = "http://me@a" } },
    ["request.proxy must be http://host:port, or https, socks5 or socks5h"] =
      { request { proxy = "a:80" }, request { proxy = "ftp://a:80" },
        request { proxy = "http://a/b" }, request { proxy = "http://a b" } },
    ["request.timeout must be more than 0 seconds"] =
      { request { timeout = 0 }, request { timeout = -1 }, request { timeout = 0 / 0 },
        request { timeout = math.huge } },
    ["request.connect_timeout must be more than 0 seconds"] = request { connect_timeout = 0 },
    ["request.limit must be a number of bytes"] =
      { request { limit = -1 }, request { limit = 0 / 0 }, request { limit = 2 ^ 53 } },
    ["request.headers has a malformed name"] =
      { request { headers = { "X: y" } }, request { headers = { ["X Y"] = "z" } },
        request { headers = { [""] = "z" } }, request { headers = { ["X:"] = "z" } },
        request { headers = { ["X\r\nY"] = "z" } }, request { headers = { ["X\0"] = "z" } } },
    ["request.headers: X must be a string"] = request { headers = { X = 5 } },
    ["request.headers: X has a control character"] =
      { request { headers = { X = "a\r\nY: b" } }, request { headers = { X = "a\nY: b" } },
        request { headers = { X = "a\rb" } },
        request { headers = { X = "a\0" } }, request { headers = { X = "\127" } } },
    ["request.headers: Host is the transport's own"] = request { headers = { Host = "b" } },
    ["request.headers: content-length is the transport's own"] =
      request { headers = { ["content-length"] = "5" } },
    ["request.headers: Transfer-Encoding is the transport's own"] =
      request { headers = { ["Transfer-Encoding"] = "chunked" } },
    ["request.headers: Accept-Encoding is the transport's own"] =
      request { headers = { ["Accept-Encoding"] = "gzip" } },
  }

  for message, examples in pairs(bad) do
    it("is refused: " .. message, function()
      if type(examples) ~= "table" or examples.method or type(examples[1]) == "string" then
        examples = { examples }
      end
      for _, transport in pairs(transports) do
        for _, example in ipairs(examples) do
          for _, verb in ipairs { "request", "stream" } do
            local line = debug.getinfo(1, "l").currentline + 1
            local ok, err = pcall(function() transport[verb](transport, example) return 1 end)
            local expected = ("transport_spec.lua:%d: %s"):format(line, message)
            assert.is_false(ok)
            assert.is_truthy(err:find(expected, 1, true), err)
          end
        end
      end
    end)
  end

  it("is refused with a header twice", function()
    for _, transport in pairs(transports) do
      local ok, err = pcall(transport.request, transport,
        request { headers = { Xa = "a", xA = "b", X = "c" } })
      assert.is_false(ok)
      assert.is_truthy(err:lower():find("request.headers has xa twice", 1, true))
    end
  end)

  it("that is redirected leads to a place without secrets", function()
    for location, place in pairs {
      ["https://login.example/sso?ticket=hush#x"] = "https://login.example/sso",
      ["https://me:word@a.example/b"] = "https://a.example/b", ["//u@b/c"] = "//b/c",
      ["/login?back=1"] = "/login", ["http://a/\27[31m\195\164"] = "http://a/?[31m??",
      ["http://a/" .. ("x"):rep(300)] = "http://a/" .. ("x"):rep(191),
    } do
      assert.are.equal(place, responses.place(location))
    end
    for _, none in ipairs { "", "?a=b", "#x" } do assert.is_nil(responses.place(none)) end
    assert.is_nil(responses.place(nil))
  end)
end)

describe("The choice of a transport #both", function()
  local real, loaded = _G.ngx, {}
  local names = { "billhook.transport.worker", "billhook.transport.resty", "resty.http" }

  before_each(function()
    for _, name in ipairs(names) do
      loaded[name], package.loaded[name] = package.loaded[name], nil
      package.preload[name] = nil
    end
    package.preload["billhook.transport.worker"] = function() return { name = "worker" } end
    package.preload["billhook.transport.resty"] = function() return { name = "resty" } end
  end)

  after_each(function()
    rawset(_G, "ngx", real)
    for _, name in ipairs(names) do
      package.loaded[name], package.preload[name] = loaded[name], nil
    end
  end)

  local function in_nginx(sockets)
    rawset(_G, "ngx", { thread = {}, socket = sockets and { tcp = print } or nil })
  end

  it("is curl in plain Lua", function()
    assert.are.equal(curl.shared(), pick())
    assert.are.equal(curl.shared(), pick("curl"))
  end)

  it("is the caller's own", function()
    local own = fake.new(function() return {} end)
    assert.are.equal(own, pick(own))
  end)

  it("is what never blocks in nginx", function()
    in_nginx(true)
    package.preload["resty.http"] = function() error "not installed" end
    assert.are.equal("worker", pick().name)
    assert.are.equal("worker", pick("curl").name)
    package.preload["resty.http"] = function() return {} end
    package.loaded["resty.http"] = nil -- LuaJIT remembers a load that failed
    assert.are.equal("resty", pick().name)
    assert.are.equal("worker", pick("worker").name)
    assert.are.equal("resty", pick("resty").name)
  end)

  it("is curl in a worker thread of nginx", function()
    in_nginx(false)
    assert.are.equal("curl", pick().name)
  end)

  it("raises at the caller's line where it is unusable", function()
    local function refused(message, option)
      local line = debug.getinfo(1, "l").currentline + 1
      local ok, err = pcall(function() pick(option) end)
      assert.is_false(ok)
      assert.is_truthy(err:find("transport_spec.lua:" .. line .. ": " .. message, 1, true), err)
    end
    refused("transport must be \"curl\", \"worker\", \"resty\" or a table", "wget")
    refused("transport must be \"curl\", \"worker\", \"resty\" or a table", 5)
    refused("transport must be a table with the functions request and sleep", {})
    refused("transport must be a table with the functions request and sleep", { request = print })
    refused("transport \"worker\" is for nginx: elsewhere there is \"curl\"", "worker")
    in_nginx(false) -- nor is it for its threads
    refused("transport \"worker\" is for nginx: elsewhere there is \"curl\"", "worker")
  end)
end)

describe("The fake transport #both", function()
  it("answers with what its handler gives", function()
    local transport = fake.new(function(_, n)
      if n == 1 then return { status = 503, headers = { ["Retry-After"] = 2 }, body = "no" } end
      if n == 2 then return {} end
      return nil, { kind = "network" }
    end)
    assert.are.equal("fake", transport.name)
    assert.are.same({ status = 503, headers = { ["retry-after"] = "2" }, body = "no" },
      transport:request(request()))
    assert.are.same({ status = 200, headers = {}, body = "" }, transport:request(request()))
    local response, failure = transport:request(request())
    assert.is_nil(response)
    assert.are.same({ kind = "network", message = "network", sent = true }, failure)
  end)

  it("gives errors of the project's one shape, as all transports do", function()
    local failing = fake.new(function() return nil, { kind = "network", sent = false } end)
    for _, transport in ipairs { shared, failing } do
      for _, verb in ipairs { "request", "stream" } do
        local _, err = transport[verb](transport, request { url = ("http://127.0.0.1:%d/"):format(
          peer.refused_port()) })
        assert.is_true(errors.is(err))
        assert.are.same({ "network", false }, { err.kind, err.sent })
      end
    end
  end)

  it("gives failures as they are", function()
    local transport = fake.new(function()
      return nil, { kind = "tls", message = "expired", sent = false }
    end)
    for _, verb in ipairs { "request", "stream" } do
      local response, failure = transport[verb](transport, request())
      assert.is_nil(response)
      assert.are.same({ kind = "tls", message = "expired", sent = false }, failure)
    end
  end)

  it("has a clock that goes where somebody sleeps", function()
    local transport = fake.new(function() return {} end)
    local began = transport.now()
    assert.is_true(math.abs(began - os.time()) < 1000)
    transport:sleep(60.5)
    assert.are.equal(60.5, transport.now() - began)
    transport.time = transport.time + 5
    assert.are.equal(65.5, transport.wall() - began)
    assert.are.equal(began + 65.5, transport.time)
  end)

  it("keeps the requests, and sleeps in no time", function()
    local transport = fake.new(function() return {} end)
    transport:request(request { method = "POST", body = "{}" })
    transport:request(request { url = "http://b/" })
    transport:sleep(60)
    assert.are.equal("{}", transport.requests[1].body)
    assert.are.equal("http://b/", transport.requests[2].url)
    assert.are.same({ 60 }, transport.slept)
  end)

  it("streams", function()
    local transport = fake.new(function() return { headers = { A = "1" }, body = "hello" } end)
    for size, pieces in pairs { { "h", "e", "l", "l", "o" }, { "he", "ll", "o" } } do
      transport.chunk = size
      local reader, got = transport:stream(request()), {}
      for piece in function() return reader:read() end do got[#got + 1] = piece end
      assert.are.same(pieces, got)
      assert.are.same({ 200, "1" }, { reader.status, reader.headers.a })
    end
    local reader = transport:stream(request())
    reader:close()
    assert.is_nil(reader:read())
  end)

  it("tears where it is told to, after what came before", function()
    local transport = fake.new(function()
      return { body = "hel", torn = { kind = "network", message = "torn" } }
    end)
    transport.chunk = 2
    local failure = { kind = "network", message = "torn", sent = true }
    assert.are.same({ nil, failure }, { transport:request(request()) })
    local reader = transport:stream(request())
    assert.are.equal("he", reader:read())
    assert.are.equal("l", reader:read())
    for _ = 1, 2 do assert.are.same({ nil, failure }, { reader:read() }) end
    reader:close()
    assert.is_nil((select(2, reader:read())))
  end)

  it("minds the limit, in a stream after what it allows", function()
    local transport = fake.new(function() return { body = "hello" } end)
    assert.are.equal("hello", transport:request(request { limit = 5 }).body)
    local response, failure = transport:request(request { limit = 4 })
    assert.is_nil(response)
    assert.are.equal("too_large", failure.kind)
    transport.chunk = 10
    local reader = transport:stream(request { limit = 4 })
    assert.are.equal("hell", reader:read())
    assert.are.equal("too_large", select(2, reader:read()).kind)
  end)

  it("raises where the handler is no good", function()
    assert.has_error(function() fake.new() end,
      "billhook.transport.fake: 'handler' must be a function, got nothing")
    for _, bad in ipairs { {}, { nil, {} }, { nil, { kind = "bad" } }, { "text" } } do
      local transport = fake.new(function() return bad[1], bad[2] end)
      local ok, err = pcall(transport.request, transport, request())
      assert.is_false(ok)
      assert.is_truthy(err:find("the handler of a fake transport must give a response", 1, true))
    end
  end)
end)

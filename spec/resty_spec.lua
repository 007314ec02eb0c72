-- The resty transport over real sockets, in a real nginx, with lua-resty-http where that is (in a
-- usual place, or in the folder that RESTY_HTTP names). Where it is not, this file says so, and
-- what is tried is the transport over a stand-in, which shows nothing of lua-resty-http itself.

local peer = require "spec.support.peer"
local remote = require "spec.support.remote"

local installed = remote.resty_http()
local name = installed and "resty" or "resty, over a stand-in,"
if not installed then
  io.stderr:write("spec/resty_spec.lua: NOT RUN with lua-resty-http, which is not installed\n")
end

local far
require "spec.support.conformance" {
  name = name, describe = describe, it = it, before_each = before_each,
  setup = function(fn)
    setup(function()
      far = far or remote.start "resty"
      fn()
    end)
  end,
  teardown = teardown,
  request = function(request) return far:request(request) end,
  drain = function(request, options) return far:drain(request, options) end,
  trusts_test_authority = true,
}
teardown(function()
  if far then far:stop() end
end)

describe("the transport " .. name, function()
  local there

  setup(function()
    far = far or remote.start "resty"
    there = peer.start()
  end)
  teardown(function() there:stop() end)

  it("has as many calls under way as are asked for", function()
    local calls = {}
    for i = 1, 40 do
      calls[i] = far:send("/request", { request = { method = "GET", timeout = 20,
        url = there:url("wait=3000", peer.answer(200, {}, "slow")) } })
    end
    there:await("GET ", 40) -- before the first one has its answer
    assert.equal("quick", (select(3, far.nginx:request { path = "/quick" })))
    for _, one in ipairs(calls) do assert.equal("slow", far:answer(one).response.body) end
  end)

  it("gives others their turn while it has something all the time", function()
    local got = far:ask("/busy", { request = { method = "GET", limit = 2 ^ 31, url = there:url(
      peer.answer(200, {}, "", 20480000), peer.times(20000, ("x"):rep(1024))) } })
    assert.is_true(got.pieces >= 300)
    assert.is_true(got.turns >= got.pieces / 10, got.turns)
  end)

  it("holds a stream back that is not read", function()
    there:forget()
    local held = far:send("/drain", { options = { pause = 1, pieces = 2 }, request = {
      method = "GET", limit = 2 ^ 31, url = there:url(peer.answer(200, {}, "", 102400000),
        peer.times(100000, ("x"):rep(1024)), peer.note "all sent") } })
    there:await("GET ", 1)
    far:answer(held)
    assert.equal(0, there:count "all sent")
  end)

  it("ends a read that waits where another thread closes", function()
    local own = remote.start("resty", { server = [[ location /closed { content_by_lua_block {
      local reader = assert(transport:stream(given().request))
      local said = { (reader:read()) }
      local thread = ngx.thread.spawn(function() return reader:read() end)
      reader:close()
      local _, chunk, failure = ngx.thread.wait(thread)
      said[2], said[3] = tostring(chunk), tostring(failure)
      said[4] = tostring(reader:read())
      ngx.print(json.encode(said))
    } } ]] })
    for _, body in ipairs { peer.answer(200, {}, "a", 10), peer.send("HTTP/1.1 200 OK\r\n"
        .. "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"), peer.answer(200, {}, "a", false) } do
      assert.same({ "a", "nil", "nil", "nil" }, own:ask("/closed", { request = { method = "GET",
        stall = 1, url = there:url(body, "wait=500", peer.send "2\r\nbc", "wait=20000") } }))
    end
    own:stop()
  end)

  it("brings its calls to their end when nginx reloads", function()
    remote.survives("resty", "HUP")
  end)

  it("brings its calls to their end when nginx quits", function()
    remote.survives("resty", "QUIT")
  end)
end)

-- The resty transport against a resty.http and an ngx of ours, in plain Lua. What a step does is
-- the test's to say; a step that yields never ends.
describe("The resty transport by itself", function()
  local real, resty, steps, seen

  local function thread_of(fn)
    local thread = coroutine.create(fn)
    assert(coroutine.resume(thread))
    return thread
  end

  local fake_ngx = {
    config = { subsystem = "http" }, socket = { tcp = print },
    now = function() return 1000 end, update_time = function() end,
    sleep = function(seconds) seen.slept = seconds end,
    encode_base64 = function(text) return "base64(" .. text .. ")" end,
    thread = { spawn = thread_of, wait = function() return true end, kill = function() end },
  }

  local socket = {}
  function socket:receiveuntil()
    return function()
      self.at = self.at + 1
      local line = self.lines[math.ceil(self.at / 2)]
      if not line then return nil, "closed" end
      return self.at % 2 == 1 and line or nil
    end
  end
  function socket:settimeout(ms) self.timeout = ms end
  function socket:receiveany() return steps.receive(self) end

  local httpc = {
    set_timeout = function() end,
    connect = function(_, options)
      seen.connect = options
      return steps.connect()
    end,
    send_request = function(_, params)
      seen.params = params
      return steps.send()
    end,
    read_response = function(self)
      repeat
        local line, err = self.sock:receive("*l")
        if not line then return nil, err end
      until line == ""
      return steps.response()
    end,
    set_keepalive = function() seen.ended = "kept" end,
    close = function() seen.ended = "closed" end,
  }

  -- the parts that come, the last of which may be an error in a table
  local function answers(headers, ...)
    local parts, at = { ... }, 0
    steps.response = function() return { status = 200, headers = headers, has_body = true } end
    function steps.receive()
      at = at + 1
      if type(parts[at]) == "table" then return nil, parts[at][1] end
      return parts[at]
    end
  end

  setup(function()
    real = { ngx = rawget(_G, "ngx"), http = package.loaded["resty.http"] }
    rawset(_G, "ngx", fake_ngx)
    package.loaded["resty.http"] = { new = function()
      httpc.sock = setmetatable({ lines = steps.lines, at = 0 }, { __index = socket })
      return httpc
    end }
    package.loaded["billhook.transport.resty"] = nil
    resty = require "billhook.transport.resty"
  end)

  teardown(function()
    rawset(_G, "ngx", real.ngx)
    package.loaded["resty.http"] = real.http
    package.loaded["billhook.transport.resty"] = nil
    package.loaded["billhook.transport.worker"] = nil
  end)

  before_each(function()
    seen = {}
    steps = { connect = function() return true end, send = function() return true end,
      lines = { "HTTP/1.1 200 OK\r", "\r" } }
    answers({ ["Content-Length"] = "5" }, "he", "llo")
  end)

  local function ask(fields)
    local request = { method = "GET", url = "https://a.example/b?c=d" }
    for field, value in pairs(fields or {}) do request[field] = value end
    return resty:request(request)
  end

  local function fails(kind, sent, response, failure)
    assert.is_nil(response)
    assert.are.same({ kind, sent }, { failure.kind, failure.sent })
    assert.are.equal("closed", seen.ended)
  end

  it("asks with verification and keeps the connection", function()
    assert.are.equal("hello", ask().body)
    assert.is_true(seen.connect.ssl_verify)
    assert.are.equal("a.example", seen.connect.ssl_server_name)
    assert.are.same({ "https", "a.example", 443 },
      { seen.connect.scheme, seen.connect.host, seen.connect.port })
    assert.is_nil(seen.connect.pool)
    assert.are.equal("/b?c=d", seen.params.path)
    assert.are.equal("identity", seen.params.headers["Accept-Encoding"])
    assert.is_nil(seen.params.body)
    assert.are.equal("kept", seen.ended)
  end)

  it("posts on a connection of its own", function()
    assert.are.equal("hello", ask { method = "POST" }.body)
    local pool = seen.connect.pool
    assert.are.equal("", seen.params.body)
    assert.are.equal("closed", seen.ended)
    ask { method = "POST" }
    assert.are_not.equal(pool, seen.connect.pool)
  end)

  it("tells what went wrong before anything was sent", function()
    for err, kind in pairs { ["connection refused"] = "network", ["timeout"] = "timeout",
      ["no resolver defined to resolve \"a.example\""] = "network",
      ["certificate host mismatch"] = "tls", ["18: self-signed certificate"] = "tls",
      ["handshake failed"] = "tls" } do
      steps.connect = function() return nil, err end
      fails(kind, false, ask())
    end
    for err, directive in pairs {
      ["20: unable to get local issuer certificate"] = "lua_ssl_trusted_certificate",
      ["22: certificate chain too long"] = "lua_ssl_verify_depth",
    } do
      steps.connect = function() return nil, err end
      local _, failure = ask()
      assert.are.equal(err .. " (nginx.conf: " .. directive .. ")", failure.message)
    end
    steps.connect = function() error("assertion failed!") end
    fails("tls", false, ask())
    fails("network", false, ask { url = "http://a.example/" })
    steps.connect = function() coroutine.yield() end
    fails("timeout", false, ask())
  end)

  it("tells what went wrong later", function()
    steps.send = function() return nil, "broken pipe" end
    fails("network", true, ask())
    steps.send = function() error("no more room") end
    fails("network", true, ask())
    steps.send = function() coroutine.yield() end
    fails("timeout", true, ask())
  end)

  it("checks the head", function()
    for kind, lines in pairs {
      decode = { "SSH-2.0\r" }, network = { "HTTP/1.1 200 OK\r" },
      too_large = { "HTTP/1.1 200 OK\r", "X: " .. ("x"):rep(300000) .. "\r" },
    } do
      steps.lines = lines
      fails(kind, true, ask())
    end
    steps.lines = { "HTTP/1.1 200 OK\r", "no colon\r" }
    fails("decode", true, ask())
    steps.lines = { "HTTP/1.1 200 OK\r" }
    for i = 1, 300 do steps.lines[i + 1] = "X" .. i .. ": y\r" end
    fails("too_large", true, ask())
  end)

  it("checks how a body is framed", function()
    for _, headers in ipairs { { ["Content-Length"] = "-5" }, { ["Content-Length"] = "5, 6" },
      { ["Transfer-Encoding"] = "gzip, chunked" }, { ["Content-Encoding"] = "gzip" } } do
      answers(headers, "hello")
      fails("decode", true, ask())
    end
  end)

  it("stops a body that breaks off, stands still or is too large", function()
    answers({ ["Content-Length"] = "5" }, "he", { "closed" })
    fails("network", true, ask())
    answers({ ["Content-Length"] = "5" }, "hello")
    fails("too_large", true, ask { limit = 4 })
    answers({ ["Content-Length"] = "5" }, "he", { "timeout" })
    fails("timeout", true, ask())
  end)

  it("waits for a part no longer than for silence, and than there is time", function()
    local waited = {}
    for i, fields in ipairs { { stall = 7 }, { stall = 7, timeout = 5 }, { timeout = 5 } } do
      answers({ ["Content-Length"] = "5" })
      function steps.receive(sock)
        waited[i] = sock.timeout
        return nil, "timeout"
      end
      local _, failure = ask(fields)
      waited[i] = waited[i] .. " " .. failure.message
    end
    assert.are.same({ "7000 nothing came for 7000 milliseconds", "5000 no whole answer in time",
      "5000 no whole answer in time" }, waited)
  end)

  it("keeps no connection on which more came than was announced", function()
    answers({ ["Transfer-Encoding"] = "chunked" }, "2\r\nhe\r\n", "0\r\n\r\n")
    assert.are.equal("he", ask().body)
    assert.are.equal("kept", seen.ended)
    answers({ ["Transfer-Encoding"] = "chunked" }, "2\r\nhe\r\n0\r\n\r\nHTTP/1.1 200 OK")
    assert.are.equal("he", ask().body)
    assert.are.equal("closed", seen.ended)
    answers({ ["Transfer-Encoding"] = "chunked", ["Content-Length"] = "2" }, "0\r\n\r\n")
    assert.are.equal("", ask().body)
    assert.are.equal("closed", seen.ended)
    answers({}, "he", { "closed" })
    assert.are.equal("he", ask().body)
    assert.are.equal("closed", seen.ended)
  end)

  it("uses an http proxy that it is given, and no other", function()
    ask()
    assert.are.same({}, seen.connect.proxy_opts)
    ask { proxy = "http://me:w%40rd@proxy:3128" }
    assert.are.equal("http://proxy:3128", seen.connect.proxy_opts.https_proxy)
    assert.are.equal("Basic base64(me:w@rd)",
      seen.connect.proxy_opts.https_proxy_authorization)
  end)

  it("leaves what nginx cannot do for a request to the worker", function()
    local worker = { request = function() return "worker" end, stream = function() return "w" end }
    package.loaded["billhook.transport.worker"] = worker
    assert.are.equal("worker", ask { ca_file = "/ca.pem" })
    assert.are.equal("worker", ask { proxy = "socks5://a:1" })
    assert.are.equal("worker", ask { url = "https://127.0.0.1/" })
    assert.are.equal("worker", ask { url = "https://[::1]:8443/" })
    assert.are.equal("hello", ask { url = "http://127.0.0.1/" }.body)
    assert.are.equal("w", resty:stream { method = "GET", url = "http://a/", ca_file = "/c" })
  end)

  it("sleeps in nginx's way", function()
    resty:sleep(2)
    assert.are.equal(2, seen.slept)
  end)
end)

teardown(peer.clean)

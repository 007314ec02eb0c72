-- The resty transport over real sockets, in a real nginx, with lua-resty-http where that is (in a
-- usual place, or in the folder that RESTY_HTTP names). Where it is not, this file says so, and
-- what is tried is the transport over a stand-in, which shows nothing of lua-resty-http itself.

local peer = require "spec.support.peer"
local remote = require "spec.support.remote"

local installed = remote.resty_http()
local name = installed and "resty" or "resty, over a stand-in,"
if not installed then
  io.stderr:write("note: spec/resty_spec.lua did not run with lua-resty-http: not installed\n")
end

local far
require "spec.support.conformance" {
  name = "resty", title = name, describe = describe, it = it, before_each = before_each,
  setup = function(fn)
    setup(function()
      far = far or remote.start "resty"
      fn()
    end)
  end,
  teardown = teardown,
  request = function(request) return far:request(request) end,
  drain = function(request, options) return far:drain(request, options) end,
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
      peer.answer(200, {}, "", 2048000), peer.times(2000, ("x"):rep(1024))) } })
    assert.is_true(got.pieces >= 300)
    assert.is_true(got.turns >= got.pieces / 10, got.turns)
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

-- The resty transport over the stand-in and sockets of ours, in plain Lua. What a step does is the
-- test's to say; a step that yields never ends.
describe("The resty transport by itself", function()
  local real, resty, steps, seen

  local function thread_of(fn)
    local thread = coroutine.create(fn)
    assert(coroutine.resume(thread))
    return thread
  end

  local socket = {}
  socket.__index = socket
  function socket:connect(host, port, options)
    seen.connect = { host, port, options.pool }
    return steps.connect(self)
  end
  function socket.sslhandshake(_, _, ...)
    seen.tls = { ... }
    return steps.handshake()
  end
  function socket.send(_, data)
    seen.sent = (seen.sent or "") .. (type(data) == "table" and table.concat(data) or data)
    return steps.send()
  end
  function socket:receiveany() return steps.receive(self) end
  function socket:settimeout(ms) self.timeout = ms end
  function socket.getreusedtimes() return 0 end
  function socket.setkeepalive()
    seen.ended = "kept"
    return 1
  end
  function socket.close() seen.ended = "closed" end

  local fake_ngx = {
    config = { subsystem = "http" },
    socket = { tcp = function() return setmetatable({}, socket) end },
    now = function() return 1000 end, update_time = function() end,
    sleep = function(seconds) seen.slept = seconds end,
    encode_base64 = function(text) return "base64(" .. text .. ")" end,
    thread = { spawn = thread_of, wait = function() return true end, kill = function() end },
  }

  -- the parts that come, the last of which may be an error in a table
  local function comes(...)
    local parts, at = { ... }, 0
    function steps.receive()
      at = at + 1
      local part = parts[at] or { "closed" }
      if type(part) == "table" then return nil, part[1] end
      return part
    end
  end

  local function answers(headers, ...)
    comes("HTTP/1.1 200 OK\r\n" .. headers .. "\r\n", ...)
  end

  setup(function()
    real = { ngx = rawget(_G, "ngx"), http = package.loaded["resty.http"] }
    rawset(_G, "ngx", fake_ngx)
    package.loaded["resty.http"] = dofile(remote.STANDIN .. "/resty/http.lua")
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
    local function fine() return true end
    steps = { connect = fine, handshake = fine, send = fine }
    answers("Content-Length: 5\r\n", "he", "llo")
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
    assert.are.same({ "a.example", true }, seen.tls)
    assert.are.same({ "a.example", 443 }, { seen.connect[1], seen.connect[2] })
    assert.is_nil(seen.connect[3]:find("fresh", 1, true))
    assert.matches("^GET /b%?c=d HTTP/1.1\r\n", seen.sent)
    assert.matches("\r\nAccept%-Encoding: identity\r\n", seen.sent)
    assert.matches("\r\n\r\n$", seen.sent)
    assert.is_nil(seen.sent:find("Content-Length", 1, true))
    assert.are.equal("kept", seen.ended)
  end)

  it("posts on a connection of its own", function()
    assert.are.equal("hello", ask { method = "POST" }.body)
    local pool = seen.connect[3]
    assert.matches("fresh", pool)
    assert.matches("Content%-Length: 0", seen.sent)
    assert.are.equal("closed", seen.ended)
    answers("Content-Length: 0\r\n")
    ask { method = "POST" }
    assert.are_not.equal(pool, seen.connect[3])
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
    for kind, parts in pairs { decode = { "SSH-2.0\r\n" }, network = { "HTTP/1.1 200 OK\r\n" },
      too_large = { "HTTP/1.1 200 OK\r\n", "X: " .. ("x"):rep(300000) .. "\r\n" },
      timeout = { "HTTP/1.1 200 OK\r\n", { "timeout" } } } do
      comes((table.unpack or unpack)(parts))
      fails(kind, true, ask())
    end
    local lines = {}
    for i = 1, 300 do lines[i] = "X" .. i .. ": y\r\n" end
    answers(table.concat(lines))
    fails("too_large", true, ask())
  end)

  it("counts interim heads with the last one", function()
    local interim = ("HTTP/1.1 103 Early\r\nX: y\r\n\r\n")
    comes(interim:rep(3) .. "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert.are.equal("ok", ask().body)
    comes(interim:rep(100))
    fails("too_large", true, ask())
  end)

  it("checks how a body is framed", function()
    for _, headers in ipairs { "Content-Length: -5\r\n", "Content-Length: 0x5\r\n",
      "Content-Length: 5\r\nContent-Length: 6\r\n", "Transfer-Encoding: gzip, chunked\r\n",
      "Content-Encoding: gzip\r\n" } do
      answers(headers, "hello")
      fails("decode", true, ask())
    end
  end)

  it("stops a body that breaks off, stands still or is too large", function()
    answers("Content-Length: 5\r\n", "he", { "closed" })
    fails("network", true, ask())
    answers("Content-Length: 5\r\n", "hello")
    fails("too_large", true, ask { limit = 4 })
    answers("Content-Length: 5\r\n", "he", { "timeout" })
    fails("timeout", true, ask())
    answers("", "he", { "connection reset by peer" }) -- not its end
    fails("network", true, ask())
    answers("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n", { "closed" })
    fails("network", true, ask())
    answers("Transfer-Encoding: chunked\r\n", ("0"):rep(9000))
    fails("decode", true, ask())
  end)

  it("gives what came of a body that was torn, and nothing else", function()
    for _, case in ipairs { { "Content-Length: 5\r\n", "he" }, { "", "he", "llo" },
      { "Transfer-Encoding: chunked\r\n", "5\r\nhe" },
      { "Transfer-Encoding: chunked\r\n", "2\r\nhe", "\r\n1" },
      { "Transfer-Encoding: chunked\r\n", "2\r\nhe", "\r" } } do
      case[#case + 1] = { "connection reset by peer" }
      answers((table.unpack or unpack)(case))
      local reader = resty:stream { method = "GET", url = "http://a.example/" }
      local got = {}
      for part in function() return (reader:read()) end do got[#got + 1] = part end
      assert.are.equal(case[1] == "" and "hello" or "he", table.concat(got))
      for _ = 1, 2 do assert.are.equal("network", select(2, reader:read()).kind) end
    end
  end)

  it("takes nothing that lua-resty-http's coroutine raises for a part", function()
    local http = package.loaded["resty.http"]
    local new = http.new
    function http.new()
      local client = new()
      client.read_response = function(self)
        self.sock:receive "*l"
        return { status = 200, headers = {}, has_body = true,
          body_reader = function() return "http.lua:1: attempt to index a nil value" end }
      end
      return client
    end
    answers("", "body")
    fails("network", true, ask())
    http.new = new
  end)

  it("waits for a part no longer than for silence, and than there is time", function()
    local waited = {}
    for i, fields in ipairs { { stall = 7 }, { stall = 7, timeout = 5 }, { timeout = 5 } } do
      answers("Content-Length: 5\r\n")
      local first = steps.receive
      function steps.receive(sock)
        waited[i] = sock.timeout
        local part = first()
        return part, not part and "timeout" or nil
      end
      local _, err = ask(fields)
      waited[i] = waited[i] .. " " .. err.message
    end
    assert.are.same({ "7000 nothing came for 7000 milliseconds", "5000 no whole answer in time",
      "5000 no whole answer in time" }, waited)
  end)

  it("waits for nothing once its time is over", function()
    local late = 0
    fake_ngx.now = function() return 1000 + late end
    answers("Content-Length: 5\r\n", "he", "llo")
    local first = steps.receive
    function steps.receive()
      late = late + 3
      return first()
    end
    fails("timeout", true, ask { timeout = 5 })
    late = 0
    steps.connect = function() late = 60 return true end
    fails("timeout", false, ask())
    fake_ngx.now = function() return 1000 end
  end)

  it("keeps no connection on which more came than was announced", function()
    local chunked = "Transfer-Encoding: chunked\r\n"
    answers(chunked, "2\r\nhe\r\n", "0\r\n\r\n")
    assert.are.equal("he", ask().body)
    assert.are.equal("kept", seen.ended)
    for _, last in ipairs { "0\r\n\r\nHTTP/1.1 200 OK", "0\r\nX: y\r\n\r\n", "0\r\nX:" } do
      answers(chunked, "2\r\nhe\r\n" .. last)
      assert.are.equal("he", ask().body)
      assert.are.equal("closed", seen.ended)
    end
    answers("Content-Length: 2\r\n", "hello")
    assert.are.equal("he", ask().body)
    assert.are.equal("closed", seen.ended)
    answers(chunked .. "Content-Length: 2\r\n", "0\r\n\r\n")
    assert.are.equal("", ask().body)
    assert.are.equal("closed", seen.ended)
    answers("", "he", { "closed" })
    assert.are.equal("he", ask().body)
    assert.are.equal("closed", seen.ended)
  end)

  it("uses an http proxy that it is given, and no other", function()
    ask()
    assert.are.equal("a.example", seen.connect[1])
    seen.sent = nil
    comes("HTTP/1.1 200 Connected\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert.are.equal("ok", ask { proxy = "http://me:w%40rd@proxy:3128" }.body)
    assert.are.same({ "proxy", 3128 }, { seen.connect[1], seen.connect[2] })
    assert.matches("^CONNECT a.example:443 .*\r\nProxy%-Authorization: Basic base64%(me:w@rd%)\r\n",
      seen.sent)
    comes("HTTP/1.1 200 Connected\r\n\r\nHTTP/1.1 200 OK\r\n") -- before any TLS
    local _, err = ask { proxy = "http://proxy:3128" }
    assert.are.same({ false, "there is more behind the answer of the proxy" },
      { err.sent, err.message })
  end)

  it("leaves what nginx cannot do for a request to the worker", function()
    local worker = { request = function() return "worker" end, stream = function() return "w" end }
    package.loaded["billhook.transport.worker"] = worker
    assert.are.equal("worker", ask { ca_file = "/ca.pem" })
    assert.are.equal("worker", ask { proxy = "socks5://a:1" })
    assert.are.equal("worker", ask { url = "https://127.0.0.1/" })
    assert.are.equal("worker", ask { url = "https://[::1]:8443/" })
    answers("Content-Length: 5\r\n", "hello")
    assert.are.equal("hello", ask { url = "http://127.0.0.1/" }.body)
    assert.are.equal("w", resty:stream { method = "GET", url = "http://a/", ca_file = "/c" })
  end)

  it("sleeps in nginx's way", function()
    resty:sleep(2)
    assert.are.equal(2, seen.slept)
  end)
end)

teardown(peer.clean)

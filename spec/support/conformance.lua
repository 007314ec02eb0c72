-- conformance.lua - what every transport must do over real sockets, as busted tests.
--
--   require "spec.support.conformance" {
--     name = "curl",
--     describe = describe, it = it, setup = setup, teardown = teardown, before_each = before_each,
--     request = function(request) ... end,       --> response | nil, failure
--     ca_file = true,       can trust an authority a request
--     decodes = true,       asks for compressed answers and undoes them
--     keeps = true,         a second request uses the first one's connection
--   }

local assert = require "luassert"
local peer = require "spec.support.peer"

local answer, send = peer.answer, peer.send

-- In every request as a query and as a header; in no message ever.
local SECRET = "hush-7f3a"

return function(transport)
  local describe, it = transport.describe, transport.it
  local server

  local function call(request)
    request.url = request.url .. "?token=" .. SECRET
    request.headers = request.headers or {}
    request.headers["Authorization"] = "DREAM apikey=\"" .. SECRET .. "\""
    local response, failure = transport.request(request)
    if failure then
      assert.is_string(failure.message)
      assert.is_nil(failure.message:find(SECRET, 1, true))
      assert.is_nil(failure.message:find("[%c]"))
    end
    return response, failure
  end

  local function get(...)
    return call { method = "GET", url = server:url(...), timeout = 10 }
  end

  local function post(...)
    return call { method = "POST", url = server:url(...), body = "{}", timeout = 10 }
  end

  local function fails(kind, sent, response, failure)
    assert.is_nil(response)
    assert.are.equal(kind, failure.kind)
    assert.are.equal(sent, failure.sent)
  end

  local function good(body, response, failure)
    assert.is_nil(failure and failure.message)
    assert.are.equal(body, response.body)
    return response
  end

  local function carrying()
    it("a GET and its answer", function()
      local response = good("hello", get(answer(200, { ["X-Count"] = "2" }, "hello")))
      assert.are.equal(200, response.status)
      assert.are.equal("2", response.headers["x-count"])
      assert.are.equal(1, server:count("GET /send="))
      assert.are.equal(1, server:count(("Host: 127.0.0.1:%d"):format(server.port)))
      assert.are.equal(1, server:count("Authorization: DREAM apikey=\"" .. SECRET .. "\""))
    end)

    it("repeated headers joined, their values trimmed", function()
      local response = good("", get(send(
        "HTTP/1.1 200 OK\r\nX-One:  a \r\nx-one: b\r\nContent-Length: 0\r\n\r\n")))
      assert.are.equal("a, b", response.headers["x-one"])
    end)

    it("a HEAD whose answer has a length and no body", function()
      local response = good("", call { method = "HEAD",
        url = server:url(answer(200, { ["X-Count"] = "7" }, "", 1000)) })
      assert.are.equal("7", response.headers["x-count"])
    end)

    it("each method with its body as it is", function()
      local headers = { ["Content-Type"] = "application/json" }
      for _, method in ipairs { "POST", "PUT", "PATCH", "DELETE" } do
        server:forget()
        good("ok", call { method = method, url = server:url(answer(200, {}, "ok")),
          headers = headers, body = "a=b\0c\r\n" })
        assert.are.equal(1, server:count(method .. " /"))
        assert.are.equal(1, server:count("Content-Type: application/json"))
        assert.are.equal(1, server:count("Content-Length: 7"))
        -- the end of an earlier connection may stand between the head and the body
        assert.is_truthy(server:log():find("a=b\0c\r\n", 1, true))
      end
    end)

    it("a POST without a body, and a DELETE", function()
      good("ok", call { method = "POST", url = server:url(answer(200, {}, "ok")) })
      assert.are.equal(1, server:count("Content-Length: 0"))
      local response = good("", call { method = "DELETE", url = server:url(send(
        "HTTP/1.1 204 No Content\r\n\r\n")) })
      assert.are.equal(204, response.status)
    end)

    it("no header that nobody asked for", function()
      good("ok", call { method = "POST", url = server:url(answer(200, {}, "ok")), body = "{}" })
      for _, name in ipairs { "Expect", "Content-Type", "Cookie", "Transfer-Encoding" } do
        assert.are.equal(0, server:count(name))
      end
    end)

    it("a header without a value", function()
      good("ok", call { method = "GET", url = server:url(answer(200, {}, "ok")),
        headers = { ["X-Empty"] = "" } })
      assert.are.equal(1, server:count("X-Empty:"))
    end)

    it("a large body up", function()
      local body = ("0123456789abcdef"):rep(131072)
      good("ok", call { method = "POST", url = server:url(answer(200, {}, "ok")), body = body })
      assert.is_truthy(server:log():find(body, 1, true))
      assert.are.equal(0, server:count("Expect"))
    end)

    it("a chunked answer", function()
      good("hello world", get(send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")))
    end)

    it("an answer that ends with the connection", function()
      good("hello", get(answer(200, {}, "hello", false), "close"))
    end)

    it("the final answer after interim ones", function()
      local response = good("done", get(send("HTTP/1.1 100 Continue\r\n\r\n"),
        send("HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"), answer(200, {}, "done")))
      assert.are.equal(200, response.status)
      assert.is_nil(response.headers["x-early"])
    end)

    it("errors as answers", function()
      local response = good("<h1>Oops</h1>",
        get(answer(502, { ["Content-Type"] = "text/html" }, "<h1>Oops</h1>")))
      assert.are.equal(502, response.status)
    end)

    it("a redirect as an answer, followed nowhere", function()
      local there = peer.start()
      for _, status in ipairs { 301, 302, 303, 307, 308 } do
        local target = there:url(answer(200, {}, ""))
        local response = good("", get(answer(status, { Location = target })))
        assert.are.equal(status, response.status)
      end
      assert.are.equal(0, there:connections())
      there:stop()
    end)

    it("nothing of a cookie to the next request", function()
      good("", get(answer(200, { ["Set-Cookie"] = "a=b; Path=/" })))
      good("", get(answer(200, {})))
      assert.are.equal(0, server:count("Cookie"))
    end)

    it("a question to an address of version 6", function()
      local six = peer.start { address = "::1", host = "[::1]" }
      good("six", call { method = "GET", url = six:url(answer(200, {}, "six")) })
      six:stop()
    end)
  end

  local function failures()
    it("a refused connection: nothing was sent", function()
      fails("network", false, call { method = "POST", body = "{}",
        url = ("http://127.0.0.1:%d/"):format(peer.refused_port()) })
    end)

    it("a name that nobody knows: nothing was sent", function()
      fails("network", false, call { method = "POST", body = "{}", timeout = 10,
        url = "http://nowhere.invalid/" })
    end)

    it("a server that does not answer in time", function()
      local start = os.time()
      fails("timeout", true, call { method = "POST", body = "{}", timeout = 0.3,
        url = server:url("wait=20000") })
      assert.is_true(os.time() - start < 3)
    end)

    it("a body that does not end in time", function()
      fails("timeout", true, call { method = "GET", timeout = 0.3,
        url = server:url(answer(200, {}, "half", 100), "wait=20000") })
    end)

    it("a connection closed or reset unanswered", function()
      for _, how in ipairs { "close", "reset" } do
        server:forget()
        fails("network", true, post(how))
        fails("network", true, get(how))
        assert.are.equal(1, server:count("POST "))
        assert.are.equal(1, server:count("GET "))
      end
    end)

    it("a server that closes as soon as it accepts", function()
      local rude = peer.start { before = "close" }
      local response, failure = call { method = "POST", body = "{}",
        url = rude:url(answer(200, {}, "")) }
      assert.is_nil(response)
      assert.are.equal("network", failure.kind)
      assert.are.equal(1, rude:connections())
      rude:stop()
    end)

    it("a head that breaks off", function()
      for _, part in ipairs { "HTTP/1.1 2", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "HTTP/1.1 100 Continue\r\n\r\n" } do
        fails("network", true, post(send(part), "close"))
        fails("network", true, get(send(part), "close"))
      end
    end)

    it("a body shorter than its length", function()
      fails("network", true, get(answer(200, {}, "half", 100), "close"))
      fails("network", true, get(answer(200, {}, "half", 100), "reset"))
    end)

    it("a chunked body without its end", function()
      fails("network", true, get(send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. "5\r\nhel"), "close"))
    end)

    it("an answer that is not HTTP", function()
      fails("decode", true, get(send("SSH-2.0-OpenSSH_9.2\r\n"), "close"))
      fails("decode", true, get(send("<html>hello</html>\r\n\r\n"), "close"))
    end)

    it("a length that is no number", function()
      fails("decode", true, get(send("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
        "close"))
    end)
  end

  local function limits()
    local function limited(limit, ...)
      return call { method = "GET", url = server:url(...), limit = limit, timeout = 20 }
    end

    it("of a body's bytes, to the byte", function()
      local chunked = send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. "5\r\nhello\r\n0\r\n\r\n")
      good("hello", limited(5, answer(200, {}, "hello")))
      good("hello", limited(5, chunked))
      fails("too_large", true, limited(4, answer(200, {}, "hello")))
      fails("too_large", true, limited(4, chunked))
      good("", limited(0, answer(200, {}, "")))
    end)

    it("of a body of 2 GiB, soon", function()
      local start = os.time()
      fails("too_large", true, limited(1000000, answer(200, {}, "", 2 ^ 31),
        peer.times(2 ^ 21, ("x"):rep(1024))))
      assert.is_true(os.time() - start < 5)
    end)

    it("of header lines", function()
      good("", get(send("HTTP/1.1 200 OK\r\n"), peer.times(190, "X-H#: v\r\n"),
        send("Content-Length: 0\r\n\r\n")))
      fails("too_large", true, get(send("HTTP/1.1 200 OK\r\n"), peer.times(10000, "X-H#: v\r\n"),
        send("Content-Length: 0\r\n\r\n")))
    end)

    it("of header bytes", function()
      fails("too_large", true, get(send("HTTP/1.1 200 OK\r\n"),
        peer.times(150, "X-H#: " .. ("v"):rep(4000) .. "\r\n"),
        send("Content-Length: 0\r\n\r\n")))
      fails("too_large", true, get(send("HTTP/1.1 200 OK\r\nX-Long: "),
        peer.times(400, ("v"):rep(1024)), send("\r\nContent-Length: 0\r\n\r\n")))
    end)
  end

  local function sending_once()
    it("what is neither GET nor HEAD, on a connection of its own", function()
      good("a", get(answer(200, {}, "a")))
      good("b", post(answer(200, {}, "b")))
      good("c", post(answer(200, {}, "c")))
      assert.are.equal(3, server:connections())
    end)

    if transport.keeps then
      it("GETs on a connection that is kept", function()
        for _ = 1, 5 do good("a", get(answer(200, {}, "a"))) end
        assert.is_true(server:connections() <= 1) -- or one that an earlier test left
      end)
    end

    it("a POST after a GET on a kept connection, which dies unanswered", function()
      for _, how in ipairs { "close", "reset" } do
        good("a", get(answer(200, {}, "a")))
        server:forget()
        fails("network", true, post(how))
        assert.are.equal(1, server:count("POST "))
      end
    end)

    it("a GET on a kept connection, which dies unanswered", function()
      good("a", get(answer(200, {}, "a")))
      server:forget()
      fails("network", true, get("close"))
      assert.are.equal(1, server:count("GET "))
    end)

    it("over a new connection where the server closed the kept one, soon", function()
      local own = peer.start()
      good("a", call { method = "GET", url = own:url(answer(200, {}, "a"), "close") })
      own:await("closed", 1)
      local again = { method = "GET", url = own:url(answer(200, {}, "b")) }
      local response, failure = call(again)
      if not response then -- a library may look for dead connections once a second only
        fails("network", true, response, failure)
        again.url = own:url(answer(200, {}, "b"))
        response = call(again)
      end
      good("b", response)
      assert.are.equal(2, own:count("GET "))
      own:stop()
    end)
  end

  local function tls()
    local function secure(options, authority)
      options.tls = options.tls or "good"
      local there = peer.start(options)
      local response, failure = call { method = "POST", body = "{}", timeout = 10,
        url = there:url(answer(200, {}, "secret")),
        ca_file = authority and peer.certificates() .. "/ca.pem" or nil }
      local seen = there:count("POST ")
      there:stop()
      return seen, response, failure
    end

    local function refused(options, authority)
      local seen, response, failure = secure(options, authority)
      fails("tls", false, response, failure)
      assert.are.equal(0, seen)
    end

    it("trusts who is vouched for by ca_file", function()
      if transport.ca_file == false then return end
      local seen, response, failure = secure({}, true)
      assert.are.equal(1, seen)
      good("secret", response, failure)
    end)

    it("refuses an unknown authority", function()
      if transport.trusts_test_authority then return end
      refused({}, false)
    end)

    it("refuses another host's certificate", function() refused({ tls = "wrong" }, true) end)

    it("refuses an expired certificate", function() refused({ tls = "expired" }, true) end)

    it("refuses a self-signed certificate", function() refused({ tls = "selfsigned" }, true) end)

    it("refuses TLS 1.1", function() refused({ tls_max = "1.1" }, true) end)

    it("refuses a server that speaks no TLS", function()
      local plain = peer.start { host = "localhost",
        instead = "eat=50/" .. answer(400, {}, "plain") .. "/close" }
      local url = plain:url(answer(200, {}, "")):gsub("^http:", "https:")
      fails("tls", false, call { method = "POST", body = "{}", url = url })
      assert.are.equal(0, plain:count("POST "))
      plain:stop()
    end)

    it("gives up a handshake that does not end: nothing was sent", function()
      local mute = peer.start { tls = "good", before = "wait=20000" }
      local start = os.time()
      fails("timeout", false, call { method = "POST", body = "{}", timeout = 10,
        connect_timeout = 0.3, url = mute:url(answer(200, {}, "")) })
      assert.is_true(os.time() - start < 3)
      mute:stop()
    end)
  end

  local function proxies()
    it("sends what is asked of the proxy", function()
      good("via", call { method = "GET", url = "http://example.invalid/" .. answer(200, {}, "via"),
        proxy = ("http://127.0.0.1:%d"):format(server.port) })
      assert.are.equal(1, server:count("GET http://example.invalid/send="))
    end)

    it("tells that nothing was sent where the tunnel is refused", function()
      local wall = peer.start { instead = "eat=100/" .. answer(407, {}, "no") }
      fails("network", false, call { method = "POST", body = "{}", url = "https://example.invalid/",
        proxy = ("http://127.0.0.1:%d"):format(wall.port) })
      assert.are.equal(0, wall:count("POST "))
      wall:stop()
    end)

    it("keeps the proxy's password out of messages", function()
      local _, failure = call { method = "GET", url = "http://example.invalid/",
        proxy = ("http://user:%s@127.0.0.1:%d"):format(SECRET, peer.refused_port()) }
      assert.are.equal("network", failure.kind)
      assert.is_false(failure.sent)
    end)
  end

  describe(transport.name .. " transport", function()
    transport.setup(function() server = peer.start() end)
    transport.teardown(function() server:stop() end)
    transport.before_each(function() server:forget() end)
    describe("carries", carrying)
    describe("tells of", failures)
    describe("stops at the limit", limits)
    describe("sends once", sending_once)
    describe("over TLS", tls)
    describe("through a proxy", proxies)
  end)
end

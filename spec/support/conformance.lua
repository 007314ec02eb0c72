-- conformance.lua - what every transport must do over real sockets, as busted tests.
--
--   require "spec.support.conformance" {
--     name = "curl",
--     describe = describe, it = it, setup = setup, teardown = teardown, before_each = before_each,
--     request = function(request) ... end,          --> response | nil, failure
--     drain = function(request, options) ... end,   --> see streams.lua
--   }
--
-- What not all of them can stands in a table below, by their names. What one cannot is tested too:
-- it does not do it, and says so.

local assert = require "luassert"
local codings = require "spec.support.codings"
local mime = require "mime"
local peer = require "spec.support.peer"
local streaming = require "spec.support.streaming"

local answer, send = peer.answer, peer.send
local unpack = table.unpack or unpack

-- trusts_test_authority   by its configuration, without any ca_file
-- decodes                 asks for compressed answers and undoes them
-- speaks_two              uses HTTP/2 where the server does
-- reads_extensions        of chunks; else they are malformed
-- gives_parts             of a chunk that is not all there; else only where the rest does not come
-- unfolds                 a header over several lines, which HTTP has done away with; else an error
-- holds_back              a stream that is not read; else it is kept until it is
local CAN = {
  curl = { decodes = true, speaks_two = true, reads_extensions = true, gives_parts = true,
    holds_back = true, unfolds = true },
  worker = { decodes = true, speaks_two = true, reads_extensions = true, gives_parts = true,
    unfolds = true },
  resty = { trusts_test_authority = true, holds_back = true },
}

-- In every request as a query and as a header; in no message ever.
local SECRET = "hush-7f3a"

return function(transport)
  local describe, it = transport.describe, transport.it
  local can = assert(CAN[transport.name], transport.name)
  local server

  -- the ca_file to name where the authority is not trusted anyway
  local function authority()
    return not can.trusts_test_authority and peer.certificates() .. "/ca.pem" or nil
  end

  local function call(request)
    request.url = request.url .. "?token=" .. SECRET
    request.headers = request.headers or {}
    request.headers["Authorization"] = "DREAM apikey=\"" .. SECRET .. "\""
    local response, failure = transport.request(request)
    if failure then
      assert.is_string(failure.message)
      assert.is_nil(failure.message:find(SECRET, 1, true))
      assert.is_nil(failure.message:find("[%c]"))
      assert.is_nil(failure.message:find("%.lua:%d")) -- nor where in whose source it was raised
    end
    return response, failure
  end

  local function get(...)
    return call { method = "GET", url = server:url(...), timeout = 60 }
  end

  local function post(...)
    return call { method = "POST", url = server:url(...), body = "{}", timeout = 60 }
  end

  -- Asks somebody who waits 20 seconds; the time for it is short, and longer where a busy machine
  -- has not even sent in it.
  local function late(request)
    for _, seconds in ipairs { 0.3, 2, 8 } do
      request.timeout = seconds
      local start, response, failure = os.time(), call(request)
      assert.is_true(os.time() - start < 19) -- before the answer
      if response or failure.sent or seconds == 8 then return response, failure end
    end
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

    it("the answers of HTTP/1.0", function()
      good("hello", get(send("HTTP/1.0 200 OK\r\n\r\nhello"), "close"))
      good("hello", get(send("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), "close"))
      good("hello", get(send("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        "wait=5000")) -- its length counts, not the end of the connection
    end)

    it("trailers behind chunks, which are no headers", function()
      for _ = 1, 2 do
        local response = good("hello world", get(send("HTTP/1.1 200 OK\r\nTrailer: X-Late\r\n"
          .. "Transfer-Encoding: chunked\r\nX-Late: early\r\n\r\n5\r\nhello\r\n"
          .. "06 \r\n world\r\n000\r\nX-Late: late\r\nContent-Length: 99\r\n\r\n")))
        assert.are.equal("early", response.headers["x-late"])
        assert.is_nil(response.headers["content-length"])
      end
      assert.is_true(server:connections() <= 2) -- all was read, or the connection was closed
    end)

    it(can.reads_extensions and "chunks with extensions" or "no chunks with extensions", function()
      for _ = 1, 2 do
        local response, failure = get(send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          .. "5;a=b\r\nhello\r\n6\r\n world\r\n000;c=\"d\"\r\n\r\n"))
        if can.reads_extensions then
          good("hello world", response, failure)
        else
          fails("decode", true, response, failure)
        end
      end
      assert.is_true(not can.reads_extensions or server:connections() <= 1)
    end)

    it("chunks of one byte, and bytes that come one by one", function()
      local dripping = {}
      local head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
      good(("x"):rep(5000), get(send(head), peer.times(5000, "1\r\nx\r\n"), send "0\r\n\r\n"))
      for c in (head .. "5\r\nhello\r\n0\r\n\r\n"):gmatch "." do
        dripping[#dripping + 1] = send(c)
        dripping[#dripping + 1] = "wait=1"
      end
      good("hello", get(unpack(dripping)))
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
      fails("network", false, call { method = "POST", body = "{}", timeout = 60,
        url = "http://nowhere.invalid/" })
    end)

    it("a server that does not answer in time", function()
      fails("timeout", true, late { method = "POST", body = "{}",
        url = server:url("wait=20000") })
    end)

    it("a body that does not end in time", function()
      fails("timeout", true, late { method = "GET",
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

    it("chunks that are none", function()
      for _, body in ipairs { "hello\r\n", "5\r\nhello5\r\n", "-1\r\n",
        ("f"):rep(17) .. "\r\nhello\r\n", ("0"):rep(20000) } do
        local response, failure = get(send(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" .. body), "close")
        assert.is_nil(response)
        assert.is_true(failure.kind == "decode" or failure.kind == "network") -- as libcurl has it
        assert.is_true(failure.sent)
      end
    end)

    it("an answer that is not HTTP", function()
      fails("decode", true, get(send("SSH-2.0-OpenSSH_9.2\r\n"), "close"))
      fails("decode", true, get(send("<html>hello</html>\r\n\r\n"), "close"))
    end)

    it("a status line that is none, at once", function()
      for _, line in ipairs { "HTTP/1.1 2000", "HTTP/1.1 000 Z", "HTTP/1.1 099 Z", "HTTP/1.1 20 Z",
        "HTTP/1.1 -20 Z", "HTTP/3.7 200 OK", "HTTP/1.1 200 O\1K", "HTTP/1.1 200 \27[31m" } do
        fails("decode", true, get(send(line .. "\r\nContent-Length: 2\r\n\r\n{}"), "wait=9000"))
      end
      good("{}", get(send "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}"))
    end)

    it("a header line that is none, at once", function()
      for _, line in ipairs { "nothing", "X-A: b\0c" } do
        fails("decode", true, get(send("HTTP/1.1 200 OK\r\n" .. line
          .. "\r\nContent-Length: 2\r\n\r\n{}"), "wait=9000"))
      end
      local folded = send "HTTP/1.1 200 OK\r\nX-A: b\r\n  c\r\nContent-Length: 2\r\n\r\n{}"
      if can.unfolds then
        assert.are.equal("b c", good("{}", get(folded)).headers["x-a"])
      else
        fails("decode", true, get(folded, "wait=9000"))
      end
    end)

    it("two lengths, of which one would cut the body", function()
      for _, lengths in ipairs { { 2, 40 }, { 40, 2 } } do
        fails("decode", true, get(send(("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n"
          .. "content-length: %d\r\n\r\n%s"):format(lengths[1], lengths[2], ("x"):rep(40))),
          "wait=9000"))
      end
      fails("decode", true, get(send "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n{}x",
        "wait=9000"))
    end)

    it("a length that is no number", function()
      fails("decode", true, get(send("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
        "close"))
    end)
  end

  local function limits()
    local function limited(limit, ...)
      return call { method = "GET", url = server:url(...), limit = limit, timeout = 60 }
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

    it("of a body of 2 GiB, before it is there", function()
      fails("too_large", true, limited(1000000, answer(200, {}, "", 2 ^ 31),
        peer.times(2 ^ 21, ("x"):rep(1024)), peer.note "all sent"))
      assert.are.equal(0, server:count "all sent")
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

    it("GETs on a connection that is kept", function()
      for _ = 1, 5 do good("a", get(answer(200, {}, "a"))) end
      assert.is_true(server:connections() <= 1) -- or one that an earlier test left
    end)

    it("a POST after a GET on a kept connection, committed and then reset", function()
      for _, how in ipairs { "close", "reset" } do
        for _, script in ipairs { how, "wait=30/" .. how, send("HTTP/1.1 201 Cr") .. "/" .. how } do
          for _ = 1, 3 do
            good("a", get(answer(200, {}, "a")))
            good("a", get(answer(200, {}, "a"))) -- it is kept
            server:forget()
            fails("network", true, post(script))
            assert.are.equal(1, server:count("POST "))
            assert.are.equal(1, server:connections())
          end
        end
      end
    end)

    it("the same over TLS", function()
      local there = peer.start { tls = "good" }
      local ca_file = authority()
      for _, how in ipairs { "close", "reset" } do
        for _ = 1, 2 do
          good("a", call { method = "GET", ca_file = ca_file,
            url = there:url(answer(200, {}, "a")) })
        end
        assert.is_true(there:connections() <= 1)
        there:forget()
        fails("network", true, call { method = "POST", body = "{}", ca_file = ca_file,
          url = there:url(how) })
        assert.are.equal(1, there:count("POST "))
        assert.are.equal(1, there:connections())
        there:forget()
      end
      there:stop()
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
    -- `trusting` the authority of the tests; else that of the system, where there is a choice
    local function secure(options, trusting)
      options.tls = options.tls or "good"
      local there = peer.start(options)
      local ca_file = trusting and (options.host or not can.trusts_test_authority)
      local response, failure = call { method = "POST", body = "{}", timeout = 60,
        url = there:url(answer(200, {}, "secret")),
        ca_file = ca_file and peer.certificates() .. "/ca.pem" or nil }
      local seen = there:count("POST ")
      there:stop()
      return seen, response, failure
    end

    local function refused(options, trusting)
      local seen, response, failure = secure(options, trusting)
      fails("tls", false, response, failure)
      assert.are.equal(0, seen)
    end

    it("trusts whom its authority vouches for", function()
      local seen, response, failure = secure({}, true)
      assert.are.equal(1, seen)
      good("secret", response, failure)
    end)

    it("does so by an address too", function()
      for address, host in pairs { ["127.0.0.1"] = "127.0.0.1", ["::1"] = "[::1]" } do
        local seen, response, failure = secure({ address = address, host = host }, true)
        assert.are.equal(1, seen)
        good("secret", response, failure)
        refused({ address = address, host = host, tls = "wrong" }, true)
      end
    end)

    it("refuses an unknown authority", function()
      refused({ tls = "stranger" }, true)
      refused({ tls = can.trusts_test_authority and "stranger" or "good" }, false)
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
      fails("timeout", false, call { method = "POST", body = "{}", timeout = 19,
        connect_timeout = 0.3, url = mute:url(answer(200, {}, "")) })
      assert.is_true(os.time() - start < 18) -- before the whole of its time
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

    local function proxy_at(port)
      return ("http://me:%s@127.0.0.1:%d"):format(SECRET, port)
    end

    local BASIC = "Proxy-Authorization: Basic " .. mime.b64("me:" .. SECRET)

    it("tells the proxy's password to the proxy", function()
      good("via", call { method = "POST", body = "{}", proxy = proxy_at(server.port),
        url = "http://example.invalid/" .. answer(200, {}, "via") })
      assert.are.equal(1, server:count(BASIC))
    end)

    it("tells it to nobody beyond the tunnel, and the key to nobody before its end", function()
      local proxy, there = peer.start(), peer.start { tls = "good" }
      local ca_file = authority()
      for _, method in ipairs { "GET", "GET", "POST" } do
        good("in", call { method = method, ca_file = ca_file, proxy = proxy_at(proxy.port),
          url = there:url(answer(200, {}, "in")) })
      end
      assert.are.equal(2, proxy:count(("CONNECT localhost:%d"):format(there.port)))
      assert.are.equal(2, proxy:count(BASIC))
      assert.are.equal(0, proxy:count("Authorization"))
      assert.are.equal(0, there:count("Proxy-"))
      assert.are.equal(3, there:count("Authorization: DREAM"))
      proxy:stop()
      there:stop()
    end)

    it("trusts nobody more behind a tunnel", function()
      local proxy, there = peer.start(), peer.start { tls = "wrong" }
      local ca_file = authority()
      fails("tls", false, call { method = "POST", body = "{}", ca_file = ca_file,
        proxy = proxy_at(proxy.port), url = there:url(answer(200, {}, "in")) })
      assert.are.equal(0, there:count "POST ")
      proxy:stop()
      there:stop()
    end)

    it("keeps the proxy's password out of messages", function()
      fails("network", false, call { method = "GET", url = "http://example.invalid/",
        proxy = proxy_at(peer.refused_port()) })
      local wall = peer.start { instead = "eat=100/" .. answer(407, {}, "no") }
      fails("network", false, call { method = "GET", url = "https://example.invalid/",
        proxy = proxy_at(wall.port) })
      wall:stop()
    end)

    it("keeps them for itself where it follows nothing", function()
      local there = peer.start()
      local response = call { method = "GET", proxy = proxy_at(server.port),
        url = "http://example.invalid/" .. answer(302, { Location = there:url(answer(200)) }, "") }
      assert.are.equal(302, response.status)
      assert.are.equal(0, there:connections())
      there:stop()
    end)
  end

  describe((transport.title or transport.name) .. " transport", function()
    transport.setup(function() server = peer.start() end)
    transport.teardown(function() server:stop() end)
    transport.before_each(function() server:forget() end)
    describe("carries", carrying)
    describe("tells of", failures)
    describe("stops at the limit", limits)
    describe("sends once", sending_once)
    describe("over TLS", tls)
    describe("through a proxy", proxies)
    codings(transport, can, call)
    streaming(transport, can)
  end)
end

-- streaming.lua - what every transport's streams must do over real sockets; a part of
-- conformance.lua.

local assert = require "luassert"
local peer = require "spec.support.peer"

local answer, send, times = peer.answer, peer.send, peer.times

return function(transport, can)
  local describe, it = transport.describe, transport.it
  local server

  local function drain(fields, options, ...)
    fields.method, fields.url = "GET", server:url(...)
    return transport.drain(fields, options)
  end

  describe("a stream", function()
    transport.setup(function() server = peer.start() end)
    transport.teardown(function() server:stop() end)
    transport.before_each(function() server:forget() end)

    it("gives status, headers and a body to its end", function()
      local got = drain({ limit = 2 ^ 31 }, nil, answer(200, { ["X-A"] = "a: b" }, "", 20480000),
        times(20000, ("x"):rep(1024)))
      assert.are.same({ 200, "a: b", 20480000 },
        { got.status, got.headers["x-a"], got.bytes, got.kind })
      assert.is_true(got.kib < 8192, got.kib)
      got = drain({}, nil, answer(200, {}, ""))
      assert.are.same({ 200, 0 }, { got.status, got.bytes, got.kind })
      got = drain({}, nil, send "HTTP/1.1 204 No Content\r\n\r\n")
      assert.are.same({ 204, 0 }, { got.status, got.bytes, got.kind })
    end)

    it("gives what is there before more comes", function()
      for _, body in ipairs { "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello", "\r\nhello" } do
        local got = drain({}, { pieces = 1 }, send("HTTP/1.1 200 OK\r\n" .. body), "wait=20000",
          peer.note "late")
        assert.are.same({ 5, "hello" }, { got.bytes, got.text, got.kind })
        assert.are.equal(0, server:count "late")
      end
    end)

    it(can.gives_parts and "gives what is there of a chunk"
      or "gives what is there of a chunk where the rest does not come", function()
      local got = drain({ stall = can.gives_parts and 60 or 0.3 }, { pieces = 1 },
        send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhello"), "wait=20000",
        peer.note "late")
      assert.are.same({ 5, "hello" }, { got.bytes, got.text, got.kind })
      assert.are.equal(0, server:count "late")
    end)

    it("gives all that came before it was torn", function()
      local bodies = { "Content-Length: 5000\r\n\r\n" .. ("x"):rep(3000),
        "Transfer-Encoding: chunked\r\n\r\nFFF\r\n" .. ("x"):rep(3000),
        "Transfer-Encoding: chunked\r\n\r\nBB8\r\n" .. ("x"):rep(3000) .. "\r\n",
        "Content-Length: 500000\r\n\r\n" .. ("x"):rep(3000) }
      for _, how in ipairs { "close", "reset" } do
        for _, body in ipairs(bodies) do
          for _, pause in ipairs { "wait=0", "wait=30" } do
            local got = drain({}, nil, send("HTTP/1.1 200 OK\r\n" .. body), pause, how)
            if pause == "wait=30" or got.status then -- a reset at once may take the head with it
              assert.are.same({ 3000, "network", true }, { got.bytes, got.kind, got.sent })
            end
          end
        end
      end
    end)

    it("gives what its limit allows, then says so", function()
      for _, body in ipairs { "Content-Length: 3000\r\n\r\n" .. ("x"):rep(3000),
        "Transfer-Encoding: chunked\r\n\r\nBB8\r\n" .. ("x"):rep(3000) .. "\r\n0\r\n\r\n" } do
        local got = drain({ limit = 1500 }, nil, send("HTTP/1.1 200 OK\r\n" .. body))
        assert.are.same({ 1500, "too_large", "the body is over the limit" },
          { got.bytes, got.kind, got.message })
        got = drain({ limit = 3000 }, nil, send("HTTP/1.1 200 OK\r\n" .. body))
        assert.are.same({ 3000 }, { got.bytes, got.kind })
        got = drain({ limit = 0 }, nil, send("HTTP/1.1 200 OK\r\n" .. body))
        assert.are.same({ 0, "too_large" }, { got.bytes, got.kind })
      end
    end)

    it("ends where nothing comes for too long, with what came", function()
      for _, body in ipairs { "Content-Length: 10\r\n\r\nab",
        "Transfer-Encoding: chunked\r\n\r\n9\r\nab" } do
        local got = drain({ stall = 0.9 }, nil, send("HTTP/1.1 200 OK\r\n" .. body), "wait=20000")
        assert.are.same({ 2, "timeout", true, "nothing came for 900 milliseconds" },
          { got.bytes, got.kind, got.sent, got.message })
      end
    end)

    it("ends where not even a head comes", function()
      local got = drain({ stall = 0.2 }, nil, "wait=20000")
      assert.are.same({ "timeout", true, "nothing came for 200 milliseconds" },
        { got.kind, got.sent, got.message })
    end)

    it("goes on where something comes now and then", function()
      local got = drain({ stall = 2 }, nil, answer(200, {}, "", 5), send "a", "wait=600",
        send "b", "wait=600", send "c", "wait=600", send "d", "wait=600", send "e")
      assert.are.same({ 5 }, { got.bytes, got.kind })
    end)

    it("ends when its time is over, also where bytes come all the time", function()
      local drip = {}
      for i = 1, 200 do drip[i] = "wait=50/" .. send "x" end
      local got = drain({ timeout = 3 }, nil, answer(200, {}, "", 200), table.concat(drip, "/"))
      assert.are.equal("timeout", got.kind)
      assert.is_true(got.bytes > 0 and got.bytes < 200, got.bytes)
    end)

    it("waits for its reader, whose time is no silence", function()
      local got = drain({ stall = 1, limit = 2 ^ 31 }, { pause = 1.2, pieces = 4 },
        answer(200, {}, "", 40960000), times(40000, ("x"):rep(1024)), peer.note "all sent")
      assert.are.same({ 4 }, { got.pieces, got.kind })
    end)

    if can.holds_back then
      it("is held back while it is not read", function()
        local got = drain({ limit = 2 ^ 31 }, { pause = 0.5, pieces = 2 },
          answer(200, {}, "", 102400000), times(100000, ("x"):rep(1024)), peer.note "all sent")
        assert.are.same({ 2 }, { got.pieces, got.kind })
        assert.are.equal(0, server:count "all sent")
      end)
    end

    it("ends its transfer soon when it is closed", function()
      local got = drain({}, { pieces = 1 }, answer(200, {}, "hello", 1000), "wait=100", send "more",
        "eat=30000", peer.note "eaten")
      assert.are.equal(5, got.bytes)
      server:await("eaten", 1) -- the end of the connection ends eating, or its 30 seconds
    end)

    it("gives a failure where there is no answer", function()
      local got = transport.drain { method = "GET",
        url = ("http://127.0.0.1:%d/"):format(peer.refused_port()) }
      assert.are.same({ "network", false }, { got.kind, got.sent })
      got = drain({}, nil, send "HTTP/1.1 200 OK\r\nX-A", "close")
      assert.are.same({ "network", true }, { got.kind, got.sent })
    end)
  end)
end

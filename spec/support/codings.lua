-- codings.lua - what every transport must do with compressed answers and with HTTP/2; a part of
-- conformance.lua.

local assert = require "luassert"
local nginx = require "spec.support.nginx"
local peer = require "spec.support.peer"

local send = peer.send

local function bytes(hex)
  return (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- "hello" in each coding
local hello = {
  gzip = bytes "1f8b0800000000000003cb48cdc9c9070086a6103605000000",
  deflate = bytes "789ccb48cdc9c90700062c0215",
  br = bytes "0b028068656c6c6f03",
}

-- 100,000,000 zeros
local br_bomb = bytes("cbffff3ff82700e2b14020f7fe8fffff7ff04f00c4611180eefd1fffffffe09f0088c302"
  .. "00ddfb3ffeffffc13f0110870500baf77ffcffff837f02200e0b0074effff8ffff07ff04"
  .. "401c1600e8defff1ffff0ffe0980382c00d0bdffe3ffff1ffc1300715800a07bffc7ffff"
  .. "3ff82700e2b00040f7fe8fffff7ff04f00c4610180eefd1fffffffe09f0088c30200ddfb"
  .. "bffc07afc33f0110870500bad875")

local function packed(coding, body)
  return send(("HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n"):format(
    coding, #body) .. body)
end

local function folder_with_bombs()
  local pipe = io.popen "mktemp -d /tmp/billhook-gzip.XXXXXX"
  local folder = pipe:read "*l"
  pipe:close()
  assert(os.execute("cd " .. folder .. " && head -c 6000000 /dev/zero | gzip -1 > large"
    .. " && gzip < large > twice"))
  return folder
end

-- what a server says that speaks both
local two = [[
  server {
    listen 127.0.0.1:PORT2 ssl http2;
    ssl_certificate %s/good.pem;
    ssl_certificate_key %s/good.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / { return 200 "$server_protocol"; }
    location /large { alias $PREFIX/large; }
  }
]]

return function(transport, can, call)
  local describe, it = transport.describe, transport.it
  local server, folder

  local function get(limit, ...)
    return call { method = "GET", url = server:url(...), limit = limit, timeout = 60 }
  end

  local function fails(kind, response, failure)
    assert.is_nil(response)
    assert.are.same({ kind, true }, { failure.kind, failure.sent })
  end

  local function undone()
    it("and asks for them", function()
      assert.are.equal("x", get(5, peer.answer(200, {}, "x")).body)
      local asked = server:log():match "Accept%-Encoding: ([^\r]*)"
      for coding in pairs(hello) do assert.is_truthy(asked:find(coding, 1, true), coding) end
    end)

    it("of each coding, to the end of what was decoded", function()
      for coding, body in pairs(hello) do
        local response, failure = get(5, packed(coding, body))
        assert.is_nil(failure and coding .. failure.message)
        assert.are.equal("hello", response.body)
        fails("too_large", get(4, packed(coding, body)))
      end
    end)

    it("counting the bytes that come out", function()
      fails("too_large", get(5000000, packed("br", br_bomb)))
      for name, coding in pairs { large = "gzip", twice = "gzip, gzip" } do
        fails("too_large", get(5000000, send("HTTP/1.1 200 OK\r\nContent-Encoding: " .. coding
          .. "\r\n\r\n"), peer.file(folder .. "/" .. name), "close"))
      end
    end)

    it("in a stream too", function()
      local got = transport.drain { method = "GET", limit = 5000000, url = server:url(
        packed("br", br_bomb)) }
      assert.are.equal("too_large", got.kind)
      assert.is_true(got.bytes <= 5000000)
      got = transport.drain { method = "GET", limit = 2 ^ 31, url = server:url(
        send("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"),
        peer.file(folder .. "/large"), "close") }
      assert.are.same({ 6000000 }, { got.bytes, got.kind })
    end)

    it("unless that cannot be", function()
      for _, coding in ipairs { "gzip", "deflate", "rot13" } do
        fails("decode", get(50, packed(coding, "hello")))
      end
    end)
  end

  local function refused()
    it("and says that it wants none", function()
      assert.are.equal("x", get(5, peer.answer(200, {}, "x")).body)
      assert.are.equal(1, server:count "Accept-Encoding: identity")
    end)

    it("of any coding", function()
      for coding, body in pairs(hello) do
        local response, failure = get(50, packed(coding, body))
        fails("decode", response, failure)
        assert.are.equal("the body is compressed, unasked", failure.message)
      end
      assert.are.equal("hello", get(5, packed("identity", "hello")).body)
    end)
  end

  describe("compressed answers", function()
    transport.setup(function()
      server, folder = peer.start(), can.decodes and folder_with_bombs()
    end)
    transport.teardown(function()
      server:stop()
      if folder then os.execute("rm -rf " .. folder) end
    end)
    transport.before_each(function() server:forget() end)
    describe(can.decodes and "it undoes" or "it refuses",
      can.decodes and undone or refused)
  end)

  describe("a server of HTTP/2", function()
    local front, url
    transport.setup(function()
      local where = peer.certificates()
      front = nginx.start { http = two:format(where, where) }
      url = ("https://localhost:%d/"):format(front.ports[2])
      os.execute(("head -c 20000000 /dev/zero > %s/large"):format(front.prefix))
    end)
    transport.teardown(function() front:stop() end)

    local function ask(fields)
      fields.url, fields.timeout = fields.url or url, 20
      if not can.trusts_test_authority then
        fields.ca_file = peer.certificates() .. "/ca.pem"
      end
      return fields
    end

    it("is asked in what both speak, GET by GET", function()
      for _ = 1, 3 do
        local response, failure = call(ask { method = "GET" })
        assert.is_nil(failure and failure.message)
        assert.are.equal(can.speaks_two and "HTTP/2.0" or "HTTP/1.1", response.body)
      end
    end)

    it("is asked in HTTP/1.1 where a request must not be repeated", function()
      for _, method in ipairs { "POST", "PUT", "DELETE" } do
        local response, failure = call(ask { method = method,
          body = method ~= "DELETE" and "{}" or nil })
        assert.is_nil(failure and failure.message)
        assert.are.equal("HTTP/1.1", response.body)
      end
    end)

    it("is asked in HTTP/1.1 for what may be read slowly", function()
      assert.is_nil((select(2, call(ask { method = "GET" })))) -- a connection that might be used
      assert.are.equal("HTTP/1.1", transport.drain(ask { method = "GET" }).text)
    end)

    it("gives its streams whole, and to the limit", function()
      local got = transport.drain(ask { method = "GET", url = url .. "large", limit = 2 ^ 31 })
      assert.are.same({ 200, 20000000 }, { got.status, got.bytes, got.kind })
      got = transport.drain(ask { method = "GET", url = url .. "large", limit = 1000000 })
      assert.are.same({ 1000000, "too_large" }, { got.bytes, got.kind })
    end)
  end)
end

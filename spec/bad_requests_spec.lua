-- bad_requests_spec.lua: what nginx itself refuses is answered in the style of the listener, and
-- not with nginx's page; and no header makes it refuse what has been stored.

local billhook = require "billhook"
local command = require "spec.support.command"
local json = require "billhook.json"
local ports = require "spec.support.port"
local prometheus = require "spec.support.prometheus"

local RULES = [[
local billhook = require "billhook"
return billhook.app { inbox = "sqlite:%s/inbox.db", accounts = {
  school = billhook.dreamclass { webhook = { secret = "123" } } } }
]]

local POST = "POST /webhooks/school HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
local LONG = ("a"):rep(40000)

-- What is sent, the status, and whether the account's name is known.
local REQUESTS = {
  { POST .. "Authorization: a\r\nAuthorization: b\r\nContent-Length: 2\r\n\r\n{}", 400, true },
  { POST .. "Host: b\r\n\r\n", 400, true },
  { "POST /webhooks/school/?x=/y HTTP/1.1\r\n\r\n", 400, true },
  { POST .. "Content-Length: x\r\n\r\n", 400, true },
  { POST .. "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, true },
  { POST .. "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, true },
  { POST .. "X: " .. LONG .. "\r\n\r\n", 400, true },
  { POST .. "X: a\0b\r\n\r\n", 400, true },
  { POST .. "Transfer-Encoding: gzip\r\n\r\n", 501, true },
  { "TRACE /webhooks/school HTTP/1.1\r\nHost: a\r\n\r\n", 405, true },
  { "POST /webhooks/school HTTP/3.0\r\nHost: a\r\n\r\n", 505 },
  { "GET /" .. LONG .. " HTTP/1.1\r\nHost: a\r\n\r\n", 414 },
  { "POST /webhooks/%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "POST /../../x HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
  { "NOTHING\r\n\r\n", 400 },
  { "\22\3\1\2\0\1\0", 400 }, -- TLS
  { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400 },
}

describe("a request that nginx refuses", function()
  local folder, url, listeners, child

  local function raw(listener, text)
    local peer = assert(require("socket").connect("127.0.0.1", tonumber(listeners[listener])))
    peer:send(text)
    local answer, _, rest = peer:receive "*a"
    peer:close()
    return answer or rest
  end

  before_each(function()
    folder = command.folder()
    listeners = { admin = ("%d"):format(ports.free()), page = ("%d"):format(ports.free()) }
    local rules = command.write(folder .. "/rules.lua", RULES:format(folder))
    child, url = command.serve(rules, { "--admin", listeners.admin, "--page", listeners.page,
      "--capture-refused", folder .. "/kept" }, { TMPDIR = folder,
      BILLHOOK_PAGE_PASSWORD = "correct horse battery" })
    listeners.main = url:match "%d+$"
  end)
  after_each(command.finish)

  it("is answered as all others are, and counted under its account", function()
    local known = 0
    for _, request in ipairs(REQUESTS) do
      local text, status, named = request[1], request[2], request[3]
      known = known + (named and 1 or 0)
      for listener, wanted in pairs { main = '{"error":"bad request"}',
        admin = '{"error":"bad request"}', page = "bad request\n" } do
        local whole = raw(listener, text)
        if listener == "main" or status == 400 and not named then
          local code, head, body = whole:match "^HTTP/1%.1 (%d+) (.-\r\n)\r\n(.*)$"
          assert.same({ tostring(status), wanted }, { code, body }, listener .. ": " .. text)
          assert.truthy(head:find("\r\nContent-Type: " .. (listener == "page" and "text/plain"
            or "application/json"), 1, true), head)
        end
        assert.is_nil(whole:find("<html>", 1, true), listener .. ": " .. text:sub(1, 99))
      end
    end
    local page = prometheus.read(select(2, command.http("GET", "http://127.0.0.1:"
      .. listeners.admin .. "/metrics")))
    assert.equal(known, page.value 'billhook_deliveries_total{result="refused",account="school"}')
    assert.equal(#REQUESTS - known,
      page.value 'billhook_deliveries_total{result="refused",account="?"}')
  end)

  it("is none where a header has bytes that no text has: it is kept", function()
    local answer = raw("main", POST .. "X-A: \255\254\155\r\nX\255: b\r\nToken: \255\r\nX-B: 1\r\n"
      .. "X-B: \252\r\nContent-Length: 2\r\n\r\n{}")
    assert.equal("400", answer:match "^HTTP/1%.1 (%d+)")
    assert.is_nil(child:errors():find "internal")
    local path = assert(child:errors():match "kept=(%S+)%.body")
    local kept = assert(json.decode(command.read(path .. ".json")))
    assert.same({ "???", { "1", "?" } }, { kept.headers["X-A"], kept.headers["X-B"] })
    assert.matches("^sha256:%x+$", kept.headers.Token)
    assert.equal("malformed", kept.code)
    local result = command.run { "verify", "--rules", folder .. "/rules.lua", "--account", "school",
      path .. ".body" }
    assert.matches("not authentic: malformed", result.err .. result.out, 1, true)
  end)

  it("is told in no line of nginx's own, whatever it says", function()
    for listener, wanted in pairs { admin = '{"error":"bad request"}', page = "bad request\n" } do
      local answer = raw(listener, ("POST /\155[31mred HTTP/1.1\r\nHost: \155\r\nConnection: close"
        .. "\r\nContent-Length: 20000\r\n\r\n%s"):format(("x"):rep(20000)))
      assert.same({ "413", wanted }, { answer:match "^HTTP/1%.1 (%d+) .-\r\n\r\n(.*)$" })
    end
    child:signal "TERM"
    child:wait()
    assert.is_nil(child:errors():find("red", 1, true), child:errors())
    assert.is_nil(child:errors():find("\155", 1, true), child:errors())
  end)

  it("is no delivery that has been stored", function()
    local body = '{"id":"aa3a27d6-05b5-4fcd-bd04-000000000001","type":"INVOICE_CREATED",'
      .. '"tenant":"x","timestamp":1,"data":{"id":1}}'
    local headers, signed = billhook.sign("dreamclass", body, { secret = "123" })
    for name, value in pairs { ["If-Match"] = '"x"', ["If-None-Match"] = "*", Range = "bytes=0-1",
      ["If-Unmodified-Since"] = "Mon, 01 Jan 1990 00:00:00 GMT",
      ["If-Modified-Since"] = "Fri, 01 Jan 2100 00:00:00 GMT", ["If-Range"] = '"x"' } do
      headers[name] = value
    end
    assert.equal(200, (command.http("POST", url .. "/webhooks/school", headers, signed)))
  end)
end)

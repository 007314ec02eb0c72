-- slow_spec.lua: what senders that are slow, hold their bodies back or have none that is theirs to
-- send can take from those who have one: a connection, for a while.

local command = require "spec.support.command"
local ports = require "spec.support.port"
local process = require "billhook.process"
local prometheus = require "spec.support.prometheus"

local wait, read = command.wait, command.read

local rules = [[
local billhook = require "billhook"
return billhook.app { inbox = "sqlite:$FOLDER/inbox.db", accounts = {
  school = billhook.dreamclass { webhook = { secret = "123" } } } }
]]

local function serve(...)
  local server = { folder = command.folder(), port = ("%d"):format(ports.free()) }
  server.url = "http://127.0.0.1:" .. server.port
  local path = command.write(server.folder .. "/rules.lua",
    (rules:gsub("%$FOLDER", server.folder)))
  server.child = command.start({ "serve", path, "--listen", server.port, ... })
  wait("serve to listen", function()
    if process.wait(server.child.pid, "look") then error(server.child:errors(), 0) end
    return server.child:errors():find("listening on " .. server.url, 1, true)
  end)
  return server
end

local serial = 0

local function post(server, headers)
  serial = serial + 1
  local body = ('{"id":"aa3a27d6-05b5-4fcd-bd04-%012d","type":"INVOICE_CREATED","tenant":"x",'
    .. '"timestamp":1,"data":{"id":1}}'):format(serial)
  local given, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
  for name, value in pairs(headers or {}) do given[name] = value end
  return command.http("POST", server.url .. "/webhooks/school", given, signed)
end

local slow = {} -- processes

-- with as many files as it needs
local function hold(server, count, how)
  local out = command.folder() .. "/out"
  slow[#slow + 1] = assert(process.spawn({ "sh", "-c",
    'ulimit -n "$(ulimit -H -n)"; exec "$0" spec/support/slow.lua "$@"', command.lua,
    server.port, tostring(count), how }, { stdout = out, die = "KILL" }))
  wait("the connections", function() return read(out):find "held" end)
  return out
end

local function worker(server)
  for _, pid in ipairs(command.descendants(server.child.pid)) do
    if read(("/proc/%d/cmdline"):format(pid)):find "nginx: worker" then return pid end
  end
end

local function kilobytes(pid)
  return tonumber(read(("/proc/%d/status"):format(pid)):match "VmRSS:%s+(%d+)")
end

describe("billhook serve", function()
  after_each(function()
    for _, pid in ipairs(slow) do
      process.kill(pid, "KILL")
      process.wait(pid)
    end
    slow = {}
    command.finish()
  end)

  for _, how in ipairs { "header", "stop" } do
    it("answers vendors and probes while 2,000 senders are slow: " .. how, function()
      local server = serve()
      assert.equal(200, (post(server)))
      local before = kilobytes(worker(server))
      hold(server, 2000, how)
      for _ = 1, 20 do
        assert.equal(200, (command.http("GET", server.url .. "/healthz")))
        assert.equal(200, (post(server)))
      end
      assert.is_true(kilobytes(worker(server)) - before < 2000 * 40) -- the buffer of each, and it
    end)
  end

  for _, how in ipairs { "header", "stop", "trickle" } do
    it("lets slow senders go when their time is over: " .. how, function()
      local server = serve("--patience", "1")
      local out = hold(server, 30, how)
      wait("the end of their connections", function() return read(out):find "gone" end)
      assert.equal(200, (post(server)))
      if how == "header" then return end
      local page = prometheus.read(select(2, command.http("GET", server.url .. "/metrics")))
      assert.equal(30, page.value 'billhook_refusals_total{code="slow",account="school"}')
    end)
  end

  it("lets no address have more connections than it may, wherever the proxy is", function()
    local server = serve("--per-address", "2", "--proxy", "127.0.0.1")
    local from = { ["X-Forwarded-For"] = "198.51.100.1, 203.0.113.7" }
    local held, text = {}, "POST /webhooks/school HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n"
      .. "X-Forwarded-For: 203.0.113.7\r\nExpect: 100-continue\r\n\r\n"
    for i = 1, 2 do
      held[i] = assert(require("socket").connect("127.0.0.1", tonumber(server.port)))
      held[i]:send(text)
      assert.equal("HTTP/1.1 100 Continue", (held[i]:receive "*l")) -- its body is waited for
    end
    local status, body, headers = post(server, from)
    assert.same({ 503, '{"error":"too many connections"}', "5" },
      { status, body, headers["retry-after"] })
    assert.equal(200, (post(server, { ["X-Forwarded-For"] = "203.0.113.8" })))
    assert.equal(200, (post(server))) -- of the proxy itself
    local page = prometheus.read(select(2, command.http("GET", server.url .. "/metrics")))
    assert.equal(1, page.value 'billhook_refusals_total{code="connections",account="school"}')
    for _, peer in ipairs(held) do peer:close() end
    wait("their places", function() return post(server, from) == 200 end)
  end)

  it("says what it cannot take", function()
    for _, case in ipairs { { "--patience", "0" }, { "--connections", "63" },
        { "--per-address", "x" } } do
      local result = command.run { "serve", "/none.lua", case[1], case[2] }
      assert.equal(2, result.code)
      assert.truthy(result.err:find("not a whole number from ", 1, true), result.err)
    end
  end)
end)

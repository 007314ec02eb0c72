-- serve_listen_spec.lua: where `billhook serve` listens for whom, who reads its metrics, and what
-- strangers can make its log say.

local command = require "spec.support.command"
local json = require "billhook.json"
local ports = require "spec.support.port"
local process = require "billhook.process"
local socket = require "socket"

local wait = command.wait
local unpack = table.unpack or rawget(_G, "unpack")

local rules = [[
local billhook = require "billhook"
return billhook.app { inbox = "sqlite:$FOLDER/inbox.db", accounts = {
  school = billhook.dreamclass { webhook = { secret = "123" } }, $MORE } }
]]

local extra -- accounts

local function serve(host, ...)
  local server = { folder = command.folder(), port = ("%d"):format(ports.free()) }
  server.url = "http://127.0.0.1:" .. server.port
  local path = command.write(server.folder .. "/rules.lua",
    (rules:gsub("%$FOLDER", server.folder):gsub("%$MORE", extra or "")))
  server.child = command.start({ "serve", path, "--listen", host .. server.port, ... })
  wait("serve to listen", function()
    if process.wait(server.child.pid, "look") then error(server.child:errors(), 0) end
    return server.child:errors():find("listening on " .. server.url, 1, true)
  end)
  return server
end

local function get(url, headers, method)
  local status, body = command.http(method or "GET", url, headers)
  return status, body
end

-- Sends it as it stands; gives the first line of the answer.
local function ask(server, text)
  local peer = assert(socket.connect("127.0.0.1", tonumber(server.port)))
  peer:settimeout(60)
  peer:send(text)
  return peer
end

local function answer(peer)
  local line = peer:receive "*l"
  peer:close()
  return line
end

local function raw(server, text) return answer(ask(server, text)) end

describe("billhook serve, listening", function()
  after_each(function()
    extra = nil
    command.finish()
  end)

  it("answers what a header decides to who never sends his body", function()
    extra = [[
      basic = billhook.dreamclass { webhook = { secret = "1", basic = { "user", "password" } } },
      admissions = billhook.dreamapply { webhook = { authorization = "Bearer long-and-random" } },
      tickets = billhook.betterez { webhook = { secret = "123" } } ]]
    local server = serve ""
    local function said(method, account, headers, length)
      return raw(server, ("%s /webhooks/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s"
        .. "\r\n"):format(method, account, length or 1000, headers or ""))
    end
    for account, right in pairs {
      basic = "Authorization: Basic dXNlcjpwYXNzd29yZA==\r\n",
      admissions = "Authorization: Bearer long-and-random\r\n",
      tickets = ("x-btrz-signature: t=%d,s2=%s\r\n"):format(os.time() * 1000, ("0"):rep(64)),
    } do
      assert.equal("HTTP/1.1 401 Unauthorized", said("POST", account))
      assert.equal("HTTP/1.1 401 Unauthorized",
        said("POST", account, "Authorization: Basic eA==\r\n"))
      assert.truthy(said("POST", account, right, 8388609):find " 413 ")
    end
    assert.equal("HTTP/1.1 404 Not Found", said("POST", "none"))
    assert.truthy(said("PUT", "school"):find " 405 ")
  end)

  it("tells metrics to this machine alone, and to no proxy on it", function()
    local server = serve ""
    local url = server.url .. "/metrics"
    local status, text = get(url)
    assert.equal(200, status)
    assert.truthy(text:find("billhook_inbox_up 1", 1, true))
    local function of_host(name)
      return raw(server, ("GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n"):format(name)):match " (%d+) "
    end
    for _, name in ipairs { "localhost", "localhost:8080", "127.0.0.1:1", "[::1]:1" } do
      assert.equal("200", of_host(name))
    end
    assert.equal("404", of_host "hooks.example.edu")
    for name, value in pairs { ["X-Forwarded-For"] = "127.0.0.1", Forwarded = "for=127.0.0.1",
        Via = "1.1 a", ["X-Forwarded-Proto"] = "https", ["X-Real-IP"] = "127.0.0.1" } do
      assert.same({ 404, '{"error":"not found"}' }, { get(url, { [name] = value }) }, name)
      assert.same({ 200, '{"ok":true}' }, { get(server.url .. "/healthz", { [name] = value }) })
    end
    -- what is not at this machine's address is not for it: asked there, from there
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
    server = serve("0.0.0.0:", unpack(process.uid() == 0 and { "--user", "root" } or {}))
    assert.truthy(server.child:errors():find("/metrics is off: --admin", 1, true))
    assert.equal(404, (get(server.url .. "/metrics")))
    assert.same({ 200, '{"ok":true}' }, { get(server.url .. "/healthz") })
  end)

  it("has another listener for whoever looks after it", function()
    local port = ("%d"):format(ports.free())
    local server = serve("", "--admin", port)
    local admin = "http://127.0.0.1:" .. port
    assert.truthy(server.child:errors():find("metrics and health at " .. admin, 1, true))
    assert.equal(404, (get(server.url .. "/metrics")))
    assert.equal(200, (get(server.url .. "/healthz")))
    local status, text = get(admin .. "/metrics", { ["X-Forwarded-For"] = "203.0.113.7" })
    assert.equal(200, status)
    assert.truthy(text:find("billhook_inbox_up 1", 1, true))
    status, text = get(admin .. "/healthz")
    assert.equal(200, status)
    assert.same({ ok = true, accounts = { school = { paused = false } }, incoming = 0, pending = 0,
      dead = 0, oldest = 0 }, json.decode(text))
    assert.equal(404, (get(admin .. "/webhooks/school", nil, "POST")))
    -- what is wrong is said there alone
    os.execute(("mv %s/inbox.db %s/away"):format(server.folder, server.folder))
    wait("the inbox to be missed", function()
      status, text = get(admin .. "/healthz")
      return status == 503
    end)
    assert.truthy(json.decode(text).error:find("inbox", 1, true), text)
    wait("a load balancer to be told", function()
      status, text = get(server.url .. "/healthz")
      return status == 503
    end)
    assert.is_nil(text:find "inbox")
  end)

  it("wants a port for each", function()
    local port = ("%d"):format(ports.free())
    local path = command.write(command.folder() .. "/rules.lua", "")
    local result = command.run { "serve", path, "--listen", port, "--admin", "[::1]:" .. port }
    assert.equal(2, result.code)
    assert.truthy(result.err:find("--listen and --admin have the same port", 1, true), result.err)
    result = command.run { "serve", path, "--listen", port, "--admin", "x" }
    assert.equal(2, result.code)
    assert.truthy(result.err:find("not an address and port: x", 1, true), result.err)
    local taken = assert(socket.bind("127.0.0.1", 0))
    local _, other = taken:getsockname()
    result = command.run { "serve", path, "--listen", port, "--admin", tostring(other) }
    assert.equal(1, result.code)
    assert.truthy(result.err:find(":" .. other .. " is taken", 1, true), result.err)
    taken:close()
  end)

  it("has no line of nginx's for what strangers send", function()
    local server = serve ""
    local start = "POST /webhooks/school HTTP/1.1\r\nHost: a\r\n"
    local stopped = {} -- they never send the chunk that they begin: refused when time is up
    for i = 1, 10 do
      stopped[i] = ask(server, start .. "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n")
    end
    for _ = 1, 10 do
      for status, text in pairs {
        [413] = start .. "Content-Length: 99999999\r\n\r\n",
        [400] = start .. "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        [501] = start .. "Transfer-Encoding: x\r\n\r\n",
      } do
        assert.equal(tostring(status), raw(server, text):match " (%d+) ")
      end
      assert.equal("413", raw(server, "POST /healthz HTTP/1.1\r\nHost: a\r\n"
        .. "Content-Length: 99999999\r\n\r\n"):match " (%d+) ")
      raw(server, "GET /" .. ("a"):rep(100000) .. " HTTP/1.1\r\nHost: a\r\n\r\n")
      -- it goes through a file
      assert.equal(400, (command.http("POST", server.url .. "/webhooks/school", {},
        ("x"):rep(200000))))
    end
    for _, peer in ipairs(stopped) do answer(peer) end
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
    local log = server.child:errors()
    assert.is_nil(log:find("client ", 1, true), log)
    assert.truthy(log:find("event=refused account=school code=size from=127.0.0.1 status=413", 1,
      true), log)
    local lines, more = 0, 0
    for line in log:gmatch "[^\n]+" do
      if line:find "event=refused " then lines = lines + 1 end
      more = more + (tonumber(line:match "event=refused_more more=(%d+)") or 0)
    end
    assert.equal(70, lines + more) -- none is lost
  end)
end)

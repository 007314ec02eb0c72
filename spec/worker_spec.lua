-- The transport that nginx uses where lua-resty-http is not installed: libcurl in worker threads.
-- Requests go in and out of a real nginx as JSON.

local conformance = require "spec.support.conformance"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local peer = require "spec.support.peer"

local server

local locations = [[
  location /request { content_by_lua_block {
    ngx.req.read_body()
    local json = require "billhook.json"
    local request = json.decode(ngx.req.get_body_data())
    local response, failure = transport:request(request)
    ngx.print(json.encode { response = response, failure = failure })
  } }
  location /stream { content_by_lua_block {
    local reader, failure = transport:stream { method = "GET", url = ngx.var.arg_url }
    if not reader then return ngx.print("failure ", failure.kind) end
    ngx.print(reader.status, " ", reader.headers["x-one"], " ", reader:read(), " ",
      tostring(reader:read()))
    reader:close()
  } }
  location /drain { content_by_lua_block {
    local json = require "billhook.json"
    -- this process's open files of the kind, by the thread and by us
    local function files()
      local n, named = 0, 0
      local pipe = io.popen("ls -l /proc/" .. ngx.worker.pid() .. "/fd")
      for line in pipe:lines() do
        if line:find("/tmp/lua_", 1, true) then n = n + 1 end
        if line:find "/tmp/lua_%w+$" then named = named + 1 end
      end
      pipe:close()
      return n, named
    end
    local given = ngx.req.get_uri_args()
    local reader = assert(transport:stream { method = "GET", stall = tonumber(given.stall),
      url = ngx.var.request_uri:match("url=(.*)$"), limit = tonumber(given.limit) })
    local out = { bytes = 0, largest = 0, more = 0, turns = 0 }
    out.open, out.named = files()
    local over = false
    ngx.thread.spawn(function()
      while not over do
        out.turns = out.turns + 1
        ngx.sleep(0)
      end
    end)
    collectgarbage()
    local before = collectgarbage "count"
    for chunk in function()
      local chunk, failure = reader:read()
      out.kind = failure and failure.kind
      return chunk
    end do
      out.bytes, out.largest = out.bytes + #chunk, math.max(out.largest, #chunk)
      out.more = math.max(out.more, collectgarbage "count" - before)
    end
    over, out.left = true, files()
    ngx.print(json.encode(out))
  } }
  location /bad { content_by_lua_block {
    local _, a = pcall(transport.request, transport, { method = "GET" })
    local _, b = pcall(transport.sleep, transport, -1)
    ngx.say(a, "\n", b)
  } }
  location /early { content_by_lua_block {
    ngx.print(early.kind, " ", tostring(early.sent), " ", early.message)
  } }
  location /quick { content_by_lua_block { ngx.print("quick") } }
]]

local function start(options)
  options = options or {}
  options.http = [[
    init_worker_by_lua_block {
      transport = require("billhook.transport").pick()
      assert(transport.name == "worker")
      early = select(2, transport:request { method = "GET", url = "http://127.0.0.1:1/" })
    }
  ]]
  options.server = "client_body_buffer_size 4m;" .. locations
  return nginx.start(options)
end

local function request(what)
  local status, _, body = server:request { method = "POST", path = "/request",
    body = json.encode(what) }
  assert.equal(200, status, body)
  local answer = assert(json.decode(body))
  return answer.response, answer.failure
end

conformance {
  name = "worker", describe = describe, it = it, before_each = before_each,
  setup = function(fn)
    setup(function()
      server = start()
      fn()
    end)
  end,
  teardown = function(fn)
    teardown(function()
      server:stop()
      fn()
    end)
  end,
  request = request, decodes = true, keeps = true,
}

describe("the worker transport", function()
  local far

  after_each(function()
    if server then server:stop() end
    if far then far:stop() end
    server, far = nil, nil
  end)

  it("carries more calls than there are VMs, and others meanwhile", function()
    server, far = start(), peer.start()
    local peers = {}
    for i = 1, 32 do
      peers[i] = assert(nginx.send(server.port, { method = "POST", path = "/request",
        body = json.encode { method = "GET", timeout = 20,
          url = far:url("wait=100", peer.answer(200, {}, "slow")) } }))
    end
    assert.equal("quick", (select(3, server:request { path = "/quick" })))
    for _, one in ipairs(peers) do
      local _, _, body = nginx.answer(one)
      assert.equal("slow", json.decode(body).response.body)
    end
  end)

  it("counts the wait for a VM against the timeout: nothing was sent", function()
    server, far = start { vms = 3 }, peer.start()
    local slow = {}
    for i = 1, 10 do
      slow[i] = assert(nginx.send(server.port, { method = "POST", path = "/request",
        body = json.encode { method = "GET", timeout = 20,
          url = far:url("wait=1000", peer.answer(200, {}, "slow")) } }))
    end
    nginx.wait("the slow calls", function() return far:connections() >= 3 end)
    local _, failure = request { method = "POST", timeout = 0.1,
      url = far:url(peer.answer(200, {}, "late")) }
    assert.equal("timeout", failure.kind)
    assert.is_false(failure.sent)
    for _, one in ipairs(slow) do one:close() end
    assert.equal(0, far:count("POST "))
  end)

  it("streams what takes more memory than a piece, and gives others their turn", function()
    server, far = start(), peer.start()
    local large = far:url(peer.answer(200, {}, "", 20000000), peer.times(20000, ("x"):rep(1000)))
    local function drained(url, query)
      local _, _, body = server:request { path = "/drain?" .. (query or "") .. "&url=" .. url }
      return json.decode(body)
    end
    local got = drained(large)
    assert.equal(20000000, got.bytes)
    assert.equal(65536, got.largest)
    assert.is_true(got.turns >= 300, got.turns) -- of 306 pieces
    assert.is_true(got.more < 8192, got.more) -- KiB
    assert.same({ 1, 0 }, { got.open, got.named })
    assert.equal(0, got.left)
    got = drained(far:url(peer.answer(200, {}, ("x"):rep(3000), 5000), "close"))
    assert.same({ 3000, "network" }, { got.bytes, got.kind })
    got = drained(far:url(peer.answer(200, {}, ("x"):rep(3000), 5000), "wait=20000"), "stall=0.2")
    assert.same({ 3000, "timeout" }, { got.bytes, got.kind })
    got = drained(large, "limit=100000")
    assert.same({ 100000, "too_large" }, { got.bytes, got.kind })
    assert.equal(0, got.left)
  end)

  it("gives a stream's head and body", function()
    server, far = start(), peer.start()
    local url = far:url(peer.answer(200, { ["X-One"] = "1" }, "body"))
    local _, _, body = server:request { path = "/stream?url=" .. url }
    assert.equal("200 1 body nil", body)
    _, _, body = server:request { path = "/stream?url=http://127.0.0.1:" .. peer.refused_port() }
    assert.equal("failure network", body)
  end)

  it("raises at the caller's line, and cannot wait in init_worker", function()
    server = start()
    local _, _, body = server:request { path = "/bad" }
    assert.matches("request.url is missing", body)
    assert.matches("seconds must be a number of at least 0", body)
    _, _, body = server:request { path = "/early" }
    assert.equal("network false nginx cannot wait for an answer in init_worker", body)
  end)

  it("says what nginx.conf lacks", function()
    server = start { threads = false }
    local _, failure = request { method = "GET", url = "http://127.0.0.1:1/" }
    assert.equal("network", failure.kind)
    assert.matches("thread pool billhook not found", failure.message)
  end)
end)

teardown(peer.clean)

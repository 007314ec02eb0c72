-- The transport that nginx uses where lua-resty-http is not installed: libcurl in worker threads.

local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local peer = require "spec.support.peer"
local remote = require "spec.support.remote"

local far

require "spec.support.conformance" {
  name = "worker", describe = describe, it = it, before_each = before_each,
  setup = function(fn)
    setup(function()
      far = far or remote.start "worker"
      fn()
    end)
  end,
  teardown = teardown,
  request = function(request) return far:request(request) end,
  drain = function(request, options) return far:drain(request, options) end,
}

teardown(function()
  if far then far:stop() end
  peer.clean()
end)

local locations = [[
  # one stream, read once, looked at when the thread is done with it, then read to its end
  location /held { content_by_lua_block {
    local what = given()
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
    local reader = assert(transport:stream(what.request))
    local out = { bytes = #reader:read() }
    while not reader.job.answer do ngx.sleep(0.01) end
    out.open, out.named = files()
    for chunk in function() return (reader:read()) end do out.bytes = out.bytes + #chunk end
    out.left = files()
    ngx.print(json.encode(out))
  } }
  location /dropped { content_by_lua_block {
    local reader = assert(transport:stream(given().request))
    if ngx.var.arg_how == "closed" then reader:close() reader:close() end
    if ngx.var.arg_how == "read" then while reader:read() do end end
    if ngx.var.arg_how == "exit" then ngx.exit(204) end
    ngx.print(json.encode { tostring(reader:read()) })
  } }
  location /collect { content_by_lua_block { collectgarbage() collectgarbage() } }
  location /nested { content_by_lua_block {
    local what = given()
    local reader = assert(transport:stream(what.stream))
    local said = {}
    while reader:read() do
      said[#said + 1] = assert(transport:request(what.request)).body
    end
    ngx.print(json.encode(said))
  } }
  # the spool's thread finds no room; there is no file for it
  location /nofile { content_by_lua_block {
    local real = os.tmpname
    os.tmpname = function() return "/nowhere/at/all" end
    local _, failure = transport:stream(given().request)
    os.tmpname = real
    ngx.print(json.encode(failure))
  } }
  location /full { content_by_lua_block {
    local spool = require "billhook.transport.spool"
    local real = spool.reader
    function spool.reader()
      local reader = real()
      os.remove(reader.path)
      os.execute("ln -s /dev/full " .. reader.path)
      return reader
    end
    ngx.print(json.encode(streams.drain(transport, given().request)))
    spool.reader = real
  } }
  location /bad { content_by_lua_block {
    local _, a = pcall(transport.request, transport, { method = "GET" })
    local _, b = pcall(transport.stream, transport, { method = "GET" })
    local _, c = pcall(transport.sleep, transport, -1)
    ngx.print(json.encode { a, b, c, early.kind, early.sent, early.message })
  } }
]]

describe("the worker transport", function()
  local server, there

  local function start(options)
    options = options or {}
    options.server = locations
    options.init = (options.init or "") .. [[
      early = select(2, transport:request { method = "GET", url = "http://127.0.0.1:1/" })
    ]]
    server, there = remote.start("worker", options), peer.start()
  end

  after_each(function()
    if server then server:stop() end
    if there then there:stop() end
    server, there = nil, nil
  end)

  local function slow(ms, body) return there:url("wait=" .. ms, peer.answer(200, {}, body)) end

  local function large(...)
    return { method = "GET", limit = 2 ^ 31, url = there:url(peer.answer(200, {}, "", 40960000),
      peer.times(40000, ("x"):rep(1024)), ...) }
  end

  it("is the one that nginx has without lua-resty-http", function()
    server = remote.start("worker", { server = [[ location /which { content_by_lua_block {
      package.loaded["resty.http"], package.preload["resty.http"] = nil, function() error "none" end
      local pick = require("billhook.transport").pick
      local _, why = pcall(pick, "resty")
      ngx.print(json.encode { pick().name, why })
    } } ]] })
    local which = server:ask("/which", {})
    assert.equal("worker", which[1])
    assert.matches("transport \"resty\" needs lua%-resty%-http: ", which[2])
  end)

  it("carries more calls than there are VMs, and others meanwhile", function()
    start()
    local calls = {}
    for i = 1, 32 do
      calls[i] = server:send("/request", { request = { method = "GET", timeout = 20,
        url = slow(100, "slow") } })
    end
    assert.equal("quick", (select(3, server.nginx:request { path = "/quick" })))
    for _, one in ipairs(calls) do assert.equal("slow", server:answer(one).response.body) end
  end)

  it("counts the wait for a VM against the timeout: nothing was sent", function()
    start { vms = 3 }
    local calls = {}
    for i = 1, 10 do
      calls[i] = server:send("/request", { request = { method = "GET", timeout = 20,
        url = slow(1000, "slow") } })
    end
    nginx.wait("the slow calls", function() return there:connections() >= 1 end)
    for path, name in pairs { ["/request"] = "response", ["/drain"] = "status" } do
      local got = server:ask(path, { request = { method = "GET", timeout = 0.1,
        url = there:url(peer.answer(200, {}, "late")) } })
      local failure = got.failure or got
      assert.same({ "timeout", false }, { failure.kind, failure.sent, got[name] })
    end
    for _, one in ipairs(calls) do one:close() end
    assert.equal(0, there:count "GET /send")
  end)

  it("spools a stream that is not read, in a file without a name", function()
    start()
    local held = server:send("/held", { request = large(peer.note "all sent") })
    there:await("GET ", 1)
    for _ = 1, 10 do
      assert.equal("quick", (select(3, server.nginx:request { path = "/quick" })))
    end
    local got = server:answer(held)
    assert.same({ 40960000, 0, 0 }, { got.bytes, got.named, got.left })
    assert.is_true(got.open >= 1)
    assert.equal(1, there:count "all sent")
  end)

  it("has a spool no larger than the limit, nor than a file may be", function()
    start { init = [[ require("billhook.transport.worker").MOST = 2000000 ]] }
    local request = large()
    for limit, most in pairs { [1000000] = 1000000, [2 ^ 31] = 2000000 } do
      request.limit = limit
      local got = server:ask("/held", { request = request })
      assert.same({ most, 0 }, { got.bytes, got.left })
      got = server:drain(request)
      assert.same({ most, "too_large", "the body is over the limit" },
        { got.bytes, got.kind, got.message })
    end
  end)

  it("tells where it has no file, or no room in it", function()
    start()
    local failure = server:ask("/nofile", { request = large() })
    assert.same({ "network", false }, { failure.kind, failure.sent })
    assert.matches("^no temporary file: .*No such file", failure.message)
    local got = server:ask("/full", { request = large() })
    assert.same({ "too_large", true }, { got.kind, got.sent })
    assert.matches("no room for the answer: .*No space left", got.message)
    assert.equal(0, there:count "POST ")
  end)

  it("lets the thread go soon when nobody wants the rest", function()
    start { vms = 3, init = [[
      require("billhook.shared.gate").configure { vms = 3 } -- one for calls
    ]] }
    for _, how in ipairs { "closed", "exit", "forgotten" } do
      for _, request in ipairs { large(), { method = "GET",
        url = there:url(peer.answer(200, {}, "a", 10), "wait=25000") } } do
        local status, _, body = server.nginx:request { method = "POST",
          path = "/dropped?how=" .. how, body = json.encode { request = request } }
        assert.equal(how == "exit" and 204 or 200, status)
        if how == "closed" then assert.equal('["nil"]', body) end
        server.nginx:request { path = "/collect" }
        local response, failure = server:request { method = "GET", timeout = 10,
          url = there:url(peer.answer(200, {}, "free")) }
        assert.equal("free", response and response.body, failure and failure.message)
      end
    end
  end)

  it("looks for streams that were dropped where there is no room for another", function()
    start { vms = 3, init = [[
      require("billhook.shared.gate").configure { vms = 3 } -- one stream
      collectgarbage "stop"
    ]] }
    for _, seconds in ipairs { 3600, 10 } do
      local request = { method = "GET", timeout = seconds,
        url = there:url(peer.answer(200, {}, "a", 10), "wait=25000") }
      local status, _, body = server.nginx:request { method = "POST", path = "/dropped",
        body = json.encode { request = request } }
      assert.equal(200, status, body)
    end
  end)

  it("keeps VMs for the calls that are made between a stream's elements", function()
    start { vms = 4, init = [[
      require("billhook.shared.gate").configure { vms = 4 } -- two for calls
    ]] }
    local streams = {}
    for i = 1, 3 do -- of which one at a time may go on
      streams[i] = server:send("/nested", { stream = { method = "GET", url = there:url(
          peer.answer(200, {}, "", 1024000), peer.times(1000, ("x"):rep(1024))) },
        request = { method = "GET", timeout = 5, url = there:url(peer.answer(200, {}, "n")) } })
    end
    for _, one in ipairs(streams) do
      local said = server:answer(one)
      assert.is_true(#said >= 16)
      assert.equal(("n"):rep(#said), table.concat(said))
    end
  end)

  it("gives others their turn while it has something all the time", function()
    start()
    local got = server:ask("/busy", { request = { method = "GET", limit = 2 ^ 31, url = there:url(
      peer.answer(200, {}, "", 20480000), peer.times(20000, ("x"):rep(1024))) } })
    assert.is_true(got.pieces >= 300)
    assert.is_true(got.turns >= got.pieces / 10, got.turns)
  end)

  it("writes nothing into the log for a long stream", function()
    start()
    assert.equal(40960000, server:drain(large()).bytes)
    assert.is_nil(server.nginx:log():find("[warn]", 1, true))
    assert.is_nil(server.nginx:log():find("[error]", 1, true))
  end)

  it("brings its calls to their end when nginx reloads", function()
    remote.survives("worker", "HUP")
  end)

  it("brings its calls to their end when nginx quits", function()
    remote.survives("worker", "QUIT")
  end)

  it("raises at the caller's line, and cannot wait in init_worker", function()
    start()
    local bad = server:ask("/bad", {})
    assert.matches("request.url is missing", bad[1])
    assert.matches("request.url is missing", bad[2])
    assert.matches("sleep: 'seconds' must be a number of at least 0", bad[3])
    assert.same({ "network", false, "nginx cannot wait for an answer in init_worker" },
      { bad[4], bad[5], bad[6] })
  end)

  it("says what nginx.conf lacks", function()
    start { threads = false }
    local nowhere = { method = "GET", url = "http://127.0.0.1:1/" }
    local _, failure = server:request(nowhere)
    assert.equal("network", failure.kind)
    assert.matches("thread pool billhook not found", failure.message)
    assert.matches("thread pool billhook not found", server:drain(nowhere).message)
  end)
end)

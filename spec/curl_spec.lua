-- What is particular to libcurl: the native module, streams, transfers side by side, compression,
-- HTTP/2, and what the environment may not decide.

local native = require "billhook.curl"
local curl = require "billhook.transport.curl"
local peer = require "spec.support.peer"

local answer, send, times = peer.answer, peer.send, peer.times

local function request(fields)
  local made = { method = "GET", url = "http://127.0.0.1:1/", headers = {}, timeout = 30,
    connect_timeout = 20, limit = 1000000 }
  for name, value in pairs(fields or {}) do made[name] = value end
  return made
end

local function ended(pool, ticket)
  while not ticket:done() do pool:poll(1) end
  return ticket:result()
end

describe("billhook.curl", function()
  local server, pool

  setup(function() server = peer.start() end)
  teardown(function() server:stop() end)
  before_each(function()
    pool = native.new()
    server:forget()
  end)

  it("gives status, headers and body", function()
    local status, headers, body = ended(pool, pool:add(request {
      url = server:url(answer(201, { Location = "/x" }, "hello")) }))
    assert.are.equal(201, status)
    assert.are.equal("/x", headers.location)
    assert.are.equal("hello", body)
  end)

  it("joins headers that are repeated or folded, and gives no trailers", function()
    local status, headers, body = ended(pool, pool:add(request {
      url = server:url(send("HTTP/1.1 100 Continue\r\nX-A: 0\r\n\r\n"), send(
        "HTTP/1.1 200 OK\r\nX-A:  one \r\nx-b:\r\nX-a: two,\r\n \tthree\r\n \r\nX-C:\r\n c\r\n"
        .. "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: four\r\n\r\n")) }))
    assert.are.equal(200, status)
    assert.are.same({ ["x-a"] = "one, two, three", ["x-b"] = "",
      ["x-c"] = "c", ["transfer-encoding"] = "chunked" }, headers)
    assert.are.equal("hello", body)
  end)

  it("runs a request for a while, and gives a ticket where that is too short", function()
    local status, headers, body = pool:run(
      request { url = server:url(answer(201, {}, "hello")) }, 20)
    assert.are.same({ 201, "5", "hello" }, { status, headers["content-length"], body })
    local none, kind, _, sent = pool:run(request { url = server:url("close") }, 20)
    assert.are.same({ nil, "network", true }, { none, kind, sent })
    local ticket = pool:run(request { url = server:url("wait=50", answer(200, {}, "late")) }, 0)
    assert.are.equal("late", select(3, ended(pool, ticket)))
    assert.has_error(function() pool:run(request { url = "x" }, 1) end,
      "request.url must begin with https:// or http:// and a host")
    assert.are.equal(201, (pool:run(request { url = server:url(answer(201, {}, "")) }, 20)))
  end)

  it("gives what came of a stream in pieces of at most 16 KiB", function()
    local ticket = pool:add(request { url = server:url(
      send("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n"), times(200000, "0123456789")),
      limit = 2000000 }, 60)
    local parts, largest, over = {}, 0, false
    repeat
      local part = ticket:read()
      if part then
        parts[#parts + 1], largest = part, math.max(largest, #part)
      else
        over = ticket:done()
        pool:poll(over and 0 or 1)
      end
    until over
    assert.is_true(largest <= 16384)
    assert.are.equal(("0123456789"):rep(200000), table.concat(parts))
    assert.are.equal(200, (ticket:result()))
  end)

  it("gives nothing while a transfer runs", function()
    local ticket = pool:add(request { url = server:url("wait=20000") })
    pool:poll(0)
    assert.is_false(ticket:done())
    assert.are.equal(0, select("#", ticket:result()))
    assert.are.equal(0, select("#", ticket:head()))
    assert.are.equal(0, select("#", ticket:read()))
  end)

  it("refuses what is no request", function()
    local function refused(message, fields)
      local ok, err = pcall(pool.add, pool, fields)
      assert.is_false(ok)
      assert.is_truthy(err:find(message, 1, true), err)
    end
    refused("request must be a table", nil)
    refused("request.url is missing", { method = "GET" })
    refused("request.headers: X has a control character", request { headers = { X = "a\r\nY: b" } })
    refused("libcurl: ", request { url = "http://a/" .. ("x"):rep(8000001) })
  end)

  it("refuses what is no pool and no ticket", function()
    local ticket = pool:add(request())
    assert.is_false(pcall(pool.poll, ticket, 0))
    assert.is_false(pcall(ticket.done, pool))
    assert.is_false(pcall(pool.poll, pool, -1))
    assert.is_false(getmetatable(pool))
    assert.is_false(getmetatable(ticket))
  end)

  it("takes a result once", function()
    local ticket = pool:add(request())
    assert.is_nil((ended(pool, ticket)))
    assert.has_error(function() ticket:result() end, "the ticket was cancelled or used up")
    ticket:cancel()
    ticket:cancel()
    assert.has_error(function() ticket:done() end, "the ticket was cancelled or used up")
  end)

  it("closes, twice too, while tickets live on", function()
    local ticket = pool:add(request { url = server:url("wait=20000") })
    pool:poll(0)
    pool:close()
    pool:close()
    assert.has_error(function() pool:poll(0) end, "the transport is closed")
    ticket:cancel()
  end)

  it("runs many transfers side by side", function()
    local start, tickets = os.time(), {}
    for i = 1, 50 do
      tickets[i] = pool:add(request { url = server:url("wait=400", answer(200, {}, tostring(i))) })
    end
    for i = 1, 50 do assert.are.equal(tostring(i), select(3, ended(pool, tickets[i]))) end
    assert.is_true(os.time() - start < 15) -- one after the other: 20 s
  end)

  it("ends poll when one of them is done", function()
    local slow = pool:add(request { url = server:url("wait=20000") })
    local quick = pool:add(request { url = server:url(answer(200, {}, "")) })
    assert.is_true(pool:poll(20))
    assert.is_true(quick:done())
    assert.is_false(slow:done())
    assert.is_false(pool:poll(0.01))
  end)

  -- What many do at once: { URL; a status and a body, or a failure's kind and whether anything was
  -- sent; more of the request }.
  local function mixed()
    return {
      { server:url(answer(200, {}, "at once")), 200, "at once" },
      { server:url("wait=100", answer(200, {}, "late")), 200, "late" },
      { server:url(answer(503, {}, "no")), 503, "no" },
      { server:url(answer(200, {}, "a", 3), "wait=50", send "bc"), 200, "abc" },
      { ("http://127.0.0.1:%d/"):format(peer.refused_port()), "network", false },
      { server:url("wait=20", "reset"), "network", true },
      { server:url(answer(200, {}, "abc", 10), "close"), "network", true },
      { server:url(send "SSH-2.0\r\n", "close"), "decode", true },
      { server:url(answer(200, {}, ("x"):rep(1001))), "too_large", true, { limit = 1000 } },
      { server:url("wait=20000"), "timeout", nil, { timeout = 0.3 } }, -- may be before it is sent
    }
  end

  it("ends each of many as it ends, whatever becomes of the others", function()
    for _, fresh in ipairs { false, true } do
      local kinds, tickets = mixed(), {}
      for i = 1, 40 do
        local kind = kinds[(i - 1) % #kinds + 1]
        local made = request(kind[4])
        made.url, made.fresh = kind[1], fresh
        tickets[i] = pool:add(made)
      end
      for i = 40, 1, -1 do
        local status, what, more, sent = ended(pool, tickets[i])
        local kind = kinds[(i - 1) % #kinds + 1]
        if kind[2] == "timeout" then sent = nil end
        assert.are.same({ kind[2], kind[3] }, status and { status, more } or { what, sent })
      end
    end
  end)

  it("ends one of many whose time is over, and no other", function()
    local tickets = {}
    for i = 1, 32 do
      tickets[i] = pool:add(request { timeout = i == 7 and 0.2 or 60,
        url = server:url(i == 7 and "wait=20000" or "wait=600", answer(200, {}, "done")) })
    end
    local status, kind, message = ended(pool, tickets[7])
    assert.are.same({ nil, "timeout" }, { status, kind })
    assert.is_truthy(message:find("timed out after %d+ milliseconds"), message)
    for i = 1, 32 do
      if i ~= 7 then assert.are.equal("done", select(3, ended(pool, tickets[i]))) end
    end
  end)

  it("lets others go when one is done, whatever came for them meanwhile", function()
    for round = 1, 30 do
      local tickets = {}
      for i = 1, 16 do
        tickets[i] = pool:add(request { url = server:url("wait=20", answer(200, {}, "x")) })
      end
      local first
      repeat
        pool:poll(10)
        for i = 1, 16 do
          if tickets[i]:done() then first = first or i end
        end
      until first
      for i = 1, 16 do
        if i ~= first and i ~= first % 16 + 1 then tickets[i]:cancel() end
      end
      local one, other = tickets[first], tickets[first % 16 + 1]
      assert.are.equal("x", select(3, one:result()))
      local next_one = pool:add(request { url = server:url(answer(200, {}, tostring(round))) })
      assert.are.equal("x", select(3, ended(pool, other)))
      assert.are.equal(tostring(round), select(3, ended(pool, next_one)))
    end
  end)

  it("goes on where servers have closed what was kept, and sockets have their numbers", function()
    for round = 1, 20 do
      local tickets = {}
      for i = 1, 8 do
        tickets[i] = pool:add(request { url = server:url(answer(200, {}, tostring(i)), "close") })
      end
      for i = 8, 1, -1 do
        local status, what, more, sent = ended(pool, tickets[i])
        if status then
          assert.are.equal(tostring(i), more)
        else -- libcurl may look for dead connections once a second only
          assert.are.same({ "network", true }, { what, sent })
        end
      end
      server:await("closed", server:connections())
      if round % 2 == 0 then pool:poll(0.01) end -- where it may be seen before the next one
    end
    assert.is_true(server:count "GET " >= 80) -- all of every second round at the least
  end)

  it("sleeps all of the time, while transfers go on", function()
    local ticket = pool:add(request { url = server:url(answer(200, {}, "")) })
    local rounds = 0
    repeat
      pool:sleep(0.2)
      rounds = rounds + 1
    until ticket:done() or rounds == 300
    assert.is_true(ticket:done())
  end)

  it("forgets tickets that nobody holds", function()
    for _ = 1, 200 do pool:add(request { url = server:url("wait=20000") }) end
    collectgarbage()
    collectgarbage()
    assert.are.equal("x", select(3, ended(pool, pool:add(request {
      url = server:url(answer(200, {}, "x")) }))))
  end)

  it("leaves nothing of a request to the next one on its handle", function()
    ended(pool, pool:add(request { method = "POST", body = "old", headers = { ["X-Old"] = "1" },
      url = server:url(answer(200, {}, "")), fresh = true }))
    server:forget()
    ended(pool, pool:add(request { url = server:url(answer(200, {}, "")) }))
    assert.are.equal(1, server:count("GET "))
    assert.is_nil(server:log():find("old", 1, true))
    assert.is_nil(server:log():find("X-Old", 1, true))
  end)

  it("carries all kinds of requests one after the other on one handle", function()
    local proxy = ("http://127.0.0.1:%d"):format(server.port)
    local kinds = {
      { method = "GET", headers = { ["X-One"] = "1" } },
      { method = "HEAD" },
      { method = "GET", proxy = proxy },
      { method = "POST", body = "two" },
      { method = "DELETE" },
      { method = "GET", fresh = true },
      { method = "GET", timeout = 0.05 }, -- which may come late, or never
    }
    local function go(kind)
      local made = request(kind)
      server:forget()
      made.url = server:url(kind.timeout and "wait=20000" or answer(200, {}, "ok"))
      local status, _, body = ended(pool, pool:add(made))
      local log = server:log()
      assert.are.equal(not kind.timeout and 200 or nil, status)
      if status and kind.method ~= "HEAD" then assert.are.equal("ok", body) end
      local line = kind.proxy and "GET http://127" or kind.method .. " /send="
      if not kind.timeout then assert.are.equal(1, server:count(line)) end
      assert.are.equal(kind.headers ~= nil, log:find("X-One", 1, true) ~= nil)
      assert.are.equal(kind.body ~= nil, log:find("two", 1, true) ~= nil)
      assert.are.equal(kind.proxy ~= nil, log:find("Proxy-Connection", 1, true) ~= nil)
      assert.are.equal(kind.method == "POST", log:find("\nContent-Length", 1, true) ~= nil)
    end
    for _, first in ipairs(kinds) do
      for _, second in ipairs(kinds) do
        go(first)
        go(second)
      end
    end
  end)
end)

describe("The curl transport", function()
  local server, secure, transport

  setup(function()
    server = peer.start()
    secure = peer.start { tls = "good" }
  end)
  teardown(function()
    server:stop()
    secure:stop()
    peer.clean()
  end)
  before_each(function()
    transport = curl.new()
    server:forget()
    secure:forget()
  end)

  local function get(fields)
    fields.method = "GET"
    return transport:request(fields)
  end

  it("is one for all", function()
    assert.are.equal(curl.shared(), curl.shared())
    assert.are.equal("curl", curl.shared().name)
  end)

  it("sleeps", function()
    local before = os.clock()
    transport:sleep(0)
    transport:sleep(0.05)
    assert.is_true(os.clock() - before < 0.05) -- it waits, it does not spin
    assert.has_error(function() transport:sleep(-1) end,
      "sleep: 'seconds' must be a number of at least 0")
    assert.has_error(function() transport:sleep(0 / 0) end)
    assert.has_error(function() transport:sleep("1") end)
  end)

  it("says what went wrong", function()
    local function said(message, ...)
      local url = select("#", ...) > 1 and server:url(...) or (...)
      local response, failure = get { timeout = message:find "timed out" and 0.5 or 20, url = url,
        fresh = true }
      assert.is_nil(response)
      assert.is_truthy(failure.message:find(message, 1, true), failure.message)
    end
    local head = send("HTTP/1.1 200 OK\r\n")
    said("nowhere.invalid", "http://nowhere.invalid/")
    said("Failed to connect to 127.0.0.1", "http://127.0.0.1:1/")
    said("certificate", secure:url("close"))
    said("timed out after ", "wait=20000", "close")
    said("7 bytes ", answer(200, {}, "abc", 10), "close")
    said("the answer is not HTTP", send("SSH-2.0\r\n"), "close")
    said("the connection was closed amid the headers", head, "close")
    said("there are more than 200 headers", head, times(201, "X-#: y\r\n"))
    said("the headers are over 256 KiB", head, times(100, "X-#: " .. ("y"):rep(3000) .. "\r\n"))
    local own = peer.start()
    get { url = own:url(answer(200, {}, "")) }
    local _, failure = get { url = own:url("close") }
    assert.are.equal("the connection died before an answer came", failure.message)
    own:stop()
  end)

  it("resumes TLS sessions on fresh connections", function()
    local reader = transport:stream { method = "GET", url = server:url(answer(200, {}, "a")) }
    for i = 1, 3 do
      if i == 3 then reader:close() end -- the sessions are not those of one handle
      local response = transport:request { method = "POST", body = "{}",
        url = secure:url(answer(200, {}, "ok")), ca_file = peer.certificates() .. "/ca.pem" }
      assert.are.equal("ok", response.body)
      assert.are.equal(i, secure:connections())
    end
    assert.are.equal(2, secure:count("resumed"))
  end)

  it("trusts a ca_file for the request that names it, and for no other", function()
    for _ = 1, 3 do
      local url = secure:url(answer(200, {}, "ok"))
      assert.are.equal("ok", get { url = url, ca_file = peer.certificates() .. "/ca.pem" }.body)
      local response, failure = get { url = url }
      assert.is_nil(response)
      assert.are.same({ "tls", false }, { failure.kind, failure.sent })
    end
  end)

  it("does not wait where ca_file is no file", function()
    local pipe = os.tmpname()
    os.remove(pipe)
    assert(os.execute("mkfifo " .. pipe))
    for _, path in ipairs { pipe, "/tmp", "/dev/zero" } do
      local response, failure = get { url = secure:url(answer(200, {}, "")), ca_file = path }
      assert.is_nil(response)
      assert.are.equal("tls", failure.kind)
    end
    os.remove(pipe)
  end)

  it("does not send where ca_file cannot be read", function()
    local response, failure = get { url = secure:url(answer(200, {}, "")), ca_file = "/nowhere" }
    assert.is_nil(response)
    assert.are.same({ "tls", false }, { failure.kind, failure.sent })
  end)

  it("reaches a TLS server through a tunnel that sees nothing", function()
    local proxy = peer.start()
    local fields = { method = "POST", url = secure:url(answer(200, { ["X-A"] = "1" }, "in")),
      body = "{}", headers = { Authorization = "secret" },
      proxy = ("http://me:word@127.0.0.1:%d"):format(proxy.port) }
    local response, failure = transport:request(fields)
    assert.is_nil(response)
    assert.are.same({ "tls", false }, { failure.kind, failure.sent })
    fields.ca_file = peer.certificates() .. "/ca.pem"
    response = transport:request(fields)
    assert.are.equal("in", response.body)
    assert.are.equal("1", response.headers["x-a"])
    assert.is_nil(response.headers["x-proxy"])
    fields.url = secure:url(send("HTTP/1.1 200 OK\r\nX-A"), "close")
    response, failure = transport:request(fields)
    assert.is_nil(response)
    assert.are.same({ "network", true }, { failure.kind, failure.sent })
    assert.are.equal(3, proxy:count(("CONNECT localhost:%d"):format(secure.port)))
    assert.are.equal(3, proxy:count("Proxy-Authorization: Basic bWU6d29yZA=="))
    assert.are.equal(0, proxy:count("Authorization"))
    assert.are.equal(0, secure:count("Proxy-Authorization"))
    assert.are.equal(2, secure:count("Authorization: secret"))
    proxy:stop()
  end)

  describe("with compressed answers", function()
    local folder

    setup(function()
      local pipe = io.popen("mktemp -d /tmp/billhook-gzip.XXXXXX")
      folder = pipe:read("*l")
      pipe:close()
      os.execute("cd " .. folder .. " && printf hello | gzip > hello"
        .. " && head -c 20000000 /dev/zero | gzip -1 > bomb")
    end)
    teardown(function() os.execute("rm -rf " .. folder) end)

    local function packed(name, limit)
      return get { limit = limit, url = server:url(send("HTTP/1.1 200 OK\r\n"
        .. "Content-Encoding: gzip\r\n\r\n"), peer.file(folder .. "/" .. name), "close") }
    end

    it("asks for them and undoes them", function()
      assert.are.equal("hello", packed("hello", 5).body)
      assert.is_truthy(server:log():find("Accept%-Encoding: [^\r]*gzip"))
    end)

    it("counts what comes out", function()
      local response, failure = packed("bomb", 5000000)
      assert.is_nil(response)
      assert.are.equal("too_large", failure.kind)
      assert.are.equal("the body is over the limit", failure.message)
    end)

    it("tells what cannot be undone", function()
      for _, coding in ipairs { "gzip", "rot13" } do
        local response, failure = get { url = server:url(answer(200,
          { ["Content-Encoding"] = coding }, "hello")) }
        assert.is_nil(response)
        assert.are.same({ "decode", true }, { failure.kind, failure.sent })
      end
    end)
  end)

  describe("over HTTP/2", function()
    -- frames of the server: settings, their acknowledgement, then what the test wants
    local function frames(...)
      local bytes = { "\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0" }
      for _, frame in ipairs { ... } do bytes[#bytes + 1] = frame end
      return "eat=50/" .. send(table.concat(bytes)) .. "/eat=20000"
    end

    local function ask(method, ...)
      local two = peer.start { tls = "good", alpn = "h2", instead = ... and frames(...) }
      local response, failure = transport:request { method = method, timeout = 10,
        url = two:url(answer(200, {}, "one")), ca_file = peer.certificates() .. "/ca.pem" }
      local log = two:log()
      two:stop()
      return response, failure, log
    end

    it("asks with GET", function()
      local response = ask("GET", "\0\0\1\1\4\0\0\0\1\136", "\0\0\2\0\1\0\0\0\1ok")
      assert.are.equal(200, response.status)
      assert.are.equal("ok", response.body)
    end)

    it("never repeats what was refused", function()
      for _, frame in ipairs { "\0\0\4\3\0\0\0\0\1\0\0\0\7", -- RST_STREAM, refused
        "\0\0\8\7\0\0\0\0\0\0\0\0\0\0\0\0\0" } do -- GOAWAY before the first stream
        local response, failure, log = ask("GET", frame)
        assert.is_nil(response)
        assert.are.same({ "network", true }, { failure.kind, failure.sent })
        -- the frames that open stream 1, with flags for the end of the headers and of the stream
        assert.are.equal(1, select(2, log:gsub("\1[\5%%]%z%z%z\1", "")))
      end
    end)

    it("does not send what must go out once", function()
      local response, _, log = ask("POST")
      assert.are.equal("one", response.body)
      assert.is_truthy(log:find("^connection 1\nPOST [^\n]* HTTP/1.1\r\n"))
    end)
  end)

  describe("in an environment", function()
    local shown = [[
      local fields = { method = "GET", url = %q, timeout = %s, ca_file = %s, proxy = %s }
      local response, failure = require("billhook.transport.curl").shared():request(fields)
      print(response and response.body or failure.kind)
    ]]

    local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

    -- what a program of its own prints that sends this request
    local function alone(environment, url, fields)
      local code = shown:format(url, fields.timeout or 10,
        fields.ca_file and ("%q"):format(fields.ca_file),
        fields.proxy and ("%q"):format(fields.proxy))
      local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
      local preload = quoted(os.getenv "BILLHOOK_PRELOAD" or "") -- spec/suite/sanitized
      local pipe = io.popen(("LD_PRELOAD=%s; env LD_PRELOAD=\"$LD_PRELOAD\" LUA_PATH=%s "
        .. "LUA_CPATH=%s %s %s -e %s"):format(preload, quoted(package.path),
        quoted(package.cpath), environment, lua, quoted(code)))
      local said = pipe:read("*a")
      pipe:close()
      return (said:gsub("%s+$", ""))
    end

    it("looks for no proxy", function()
      local proxy = peer.start()
      local there = ("http_proxy=%s HTTP_PROXY=%s ALL_PROXY=%s all_proxy=%s https_proxy=%s")
        :gsub("%%s", "http://127.0.0.1:" .. proxy.port)
      assert.are.equal("straight", alone(there, server:url(answer(200, {}, "straight")), {}))
      assert.are.equal("tls", alone(there, secure:url(answer(200, {}, "straight")), {}))
      assert.are.equal(0, proxy:connections())
      assert.are.equal("by proxy", alone("no_proxy='*' NO_PROXY='*'",
        "http://example.invalid/" .. answer(200, {}, "by proxy"),
        { proxy = "http://127.0.0.1:" .. proxy.port }))
      proxy:stop()
    end)

    it("refuses TLS 1.1 even where OpenSSL would not", function()
      local file = peer.certificates() .. "/lax.cnf"
      local out = assert(io.open(file, "w"))
      out:write("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n",
        "MinProtocol = TLSv1\nCipherString = DEFAULT@SECLEVEL=0\n")
      out:close()
      local fields = { ca_file = peer.certificates() .. "/ca.pem" }
      for version, said in pairs { ["1.1"] = "tls", ["1.2"] = "in" } do
        local old = peer.start { tls = "good", tls_max = version }
        assert.are.equal(said,
          alone("OPENSSL_CONF=" .. file, old:url(answer(200, {}, "in")), fields))
        old:stop()
      end
    end)

    it("keeps its time where names are slow", function()
      local so = peer.compile_shared("slowdns")
      local start = os.time()
      assert.are.equal("timeout", alone("LD_PRELOAD=\"$LD_PRELOAD:" .. so .. "\"",
        "http://slow.invalid/", { timeout = 0.3 }))
      assert.is_true(os.time() - start < 15)
    end)
  end)

  describe("streams", function()
    local function stream(...)
      return transport:stream { method = "GET", url = server:url(...), limit = 2 ^ 31,
        timeout = 60 }
    end

    local function drain(reader)
      local n = 0
      for chunk in function() return reader:read() end do n = n + #chunk end
      return n
    end

    it("the head before the body is there", function()
      local reader = stream(answer(200, { ["X-A"] = "1" }, "ab", 4), "wait=20000")
      assert.are.equal(200, reader.status)
      assert.are.equal("1", reader.headers["x-a"])
      assert.are.equal("ab", reader:read())
      reader:close()
      reader:close()
      assert.is_nil(reader:read())
    end)

    it("the whole body, then nothing", function()
      local reader = stream(answer(200, {}, "hello"))
      assert.are.equal("hello", reader:read())
      assert.are.equal(0, select("#", reader:read()) - 2)
      assert.is_nil(reader:read())
      reader = stream(answer(200, {}, ""))
      assert.is_nil(reader:read())
    end)

    local function peak() -- KiB that this process has had at most
      for line in io.lines("/proc/self/status") do
        local size = line:match("^VmHWM:%s*(%d+)")
        if size then return tonumber(size) end
      end
    end

    -- AddressSanitizer keeps freed memory for a while
    local exact = not os.getenv "BILLHOOK_PRELOAD"

    local function within(kib, before)
      local more = peak() - before
      assert.is_true(more < kib or not exact, more .. " KiB")
    end

    it("150 MB in constant memory", function()
      local line = ("x"):rep(1023) .. "\n"
      local warm = stream(answer(200, {}, "", 1024 * 4000), times(4000, line))
      assert.are.equal(1024 * 4000, drain(warm))
      collectgarbage()
      local before = peak()
      local reader = stream(answer(200, {}, "", 1024 * 150000), times(150000, line))
      assert.are.equal(1024 * 150000, drain(reader))
      within(16384, before)
    end)

    it("no faster than it is read", function()
      local before = peak()
      local reader = stream(answer(200, {}, "", 1024 * 200000), times(200000, ("x"):rep(1024)))
      assert.is_true(#reader:read() < 32768) -- the first bytes soon
      transport:sleep(0.3)
      within(8192, before)
      assert.is_true(#reader:read() < 600000)
      reader:close()
    end)

    it("several at once, and calls between their chunks", function()
      local readers = {}
      for i = 1, 5 do
        readers[i] = stream(answer(200, {}, "", 2000000), times(2000, ("x"):rep(1000)))
      end
      for i = 1, 5 do
        assert.are.equal("y", get { url = server:url(answer(200, {}, "y")) }.body)
        assert.are.equal(2000000, drain(readers[i]))
      end
    end)

    it("until it tears", function()
      local reader = stream(answer(200, {}, "abc", 10), "close")
      assert.are.equal("abc", reader:read())
      for _ = 1, 2 do
        local chunk, failure = reader:read()
        assert.is_nil(chunk)
        assert.are.same({ "network", true }, { failure.kind, failure.sent })
      end
    end)

    it("up to the limit", function()
      local reader = transport:stream { method = "GET", limit = 1000, url = server:url(
        answer(200, {}, "", 2000), times(2, ("x"):rep(500)), "wait=100", times(2, ("x"):rep(500))) }
      assert.are.equal(1000, #reader:read() + #(reader:read() or ""))
      local _, failure = reader:read()
      assert.are.same({ "too_large", true }, { failure.kind, failure.sent })
    end)

    it("until time is over, read or not", function()
      local function begun(seconds)
        local reader = transport:stream { method = "GET", timeout = seconds,
          url = server:url(answer(200, {}, "", 1024 * 200000), times(200000, ("x"):rep(1024))) }
        return reader and reader:read() and reader, seconds
      end
      local reader, seconds = begun(2)
      if not reader then reader, seconds = begun(10) end -- nothing came in time
      transport:sleep(seconds + 0.2)
      local chunk, failure
      repeat chunk, failure = reader:read() until not chunk
      assert.are.same({ "timeout", true }, { failure.kind, failure.sent })
    end)

    it("their bytes to a stream of JSON, and how they ended", function()
      local json = require("billhook.core").json
      local function sum_of(reader)
        local list, sum, fed, err = json.stream(nil, 1000), 0
        repeat
          fed, err = reader:feed(list)
          for value in function() return (list:value()) end do sum = sum + value.a end
        until not fed
        return sum, err, list:finish()
      end
      local half = answer(200, {}, '{"1":{"a":1}', 25)
      local reader = stream(half, "wait=20", send ',"2":{"a":2}}')
      assert.are.same({ 3, nil, true }, { sum_of(reader) })
      assert.is_nil(reader:feed(json.stream(nil, 1000)))
      local sum, err, whole = sum_of(stream(half, "close"))
      assert.are.same({ 1, "network", nil }, { sum, err.kind, whole })
      local list = json.stream(nil, 1000)
      reader = stream(answer(200, {}, "{!", 4), "wait=20", send "}}")
      assert.is_true(reader:feed(list))
      assert.is_nil((list:value()))
      local fed, why = reader:feed(list)
      assert.is_false(fed)
      assert.matches("a name was expected", why)
      reader:close()
      assert.is_nil((reader:feed(list)))
    end)

    it("their bytes to nothing else", function()
      local ticket = native.new():add(request { url = server:url(answer(200, {}, "a")) }, 60)
      for _, other in ipairs { {}, io.stdout, "text" } do
        assert.has_error(function() ticket:feed(other) end)
      end
      ticket:cancel()
      local list = require("billhook.core").json.stream(nil, 1000)
      assert.has_error(function() list:feed(require("cjson").null, 5) end)
    end)

    it("nothing where nothing answers", function()
      local reader, failure = transport:stream { method = "GET",
        url = ("http://127.0.0.1:%d/"):format(peer.refused_port()) }
      assert.is_nil(reader)
      assert.are.same({ "network", false }, { failure.kind, failure.sent })
      reader, failure = stream(send("HTTP/1.1 200 OK\r\nX-A"), "close")
      assert.is_nil(reader)
      assert.are.same({ "network", true }, { failure.kind, failure.sent })
    end)
  end)
end)

-- The transports of nginx, over real sockets: worker always, resty where lua-resty-http is (in a
-- usual place, or in the folder that RESTY_HTTP names). Where it is not, this file says so, and
-- what is tried of the resty transport is its answers to a resty.http of the spec's own.

local cjson = require "cjson"
local nginx = require "spec.support.nginx"
local peer = require "spec.support.peer"

local folders = { os.getenv("RESTY_HTTP") or false, "/usr/share/lua/5.1",
  "/usr/local/share/lua/5.1", "/usr/local/openresty/lualib", "/usr/local/openresty/site/lualib" }

local function library()
  for _, folder in ipairs(folders) do
    local file = folder and io.open(folder .. "/resty/http.lua")
    if file then
      file:close()
      return folder
    end
  end
end

local folder = library()

-- The transport as it is inside of nginx: a request and what became of it travel as JSON.
local function remote(name)
  local inner, names
  local M = {}

  function M.setup()
    names = peer.name_server()
    inner = nginx.start {
      http = ([[
        lua_ssl_trusted_certificate %s/ca.pem;
        lua_ssl_verify_depth 3;
        lua_ssl_protocols TLSv1.2 TLSv1.3;
        resolver 127.0.0.1:%d ipv6=off;
        client_body_buffer_size 64m;
        init_by_lua_block { package.path = package.path .. ";%s/?.lua" }
      ]]):format(peer.certificates(), names.port, folder or "/nowhere"),
      server = ([[
        location /call { content_by_lua_block {
          local cjson = require("cjson").new()
          cjson.encode_sparse_array(true)
          ngx.req.read_body()
          local request = cjson.decode(ngx.req.get_body_data())
          local transport = require("billhook.transport").pick("%s")
          local response, failure = transport:request(request)
          ngx.print(cjson.encode { response = response, failure = failure })
        } }
        location /stream { content_by_lua_block {
          local cjson = require("cjson").new()
          ngx.req.read_body()
          local request = cjson.decode(ngx.req.get_body_data())
          local transport = require("billhook.transport").pick("%s")
          local reader, failure = transport:stream(request)
          if not reader then return ngx.print(cjson.encode { failure = failure }) end
          local bytes, chunk = 0, nil
          repeat
            chunk, failure = reader:read()
            bytes = bytes + #(chunk or "")
          until not chunk
          reader:close()
          ngx.print(cjson.encode { status = reader.status, header = reader.headers["x-a"],
            bytes = bytes, failure = failure })
        } }
      ]]):format(name, name),
    }
  end

  function M.teardown()
    inner:stop()
    names:stop()
  end

  function M.ask(path, request)
    local status, _, body = inner:request { path = path, method = "POST",
      body = cjson.encode(request) }
    if status ~= 200 then error(inner:log()) end
    return cjson.decode(body)
  end

  function M.request(request)
    local result = M.ask("/call", request)
    return result.response, result.failure
  end

  return M
end

local function conform(name, more)
  local far = remote(name)

  local function streams()
    local server

    setup(function()
      far.setup()
      server = peer.start()
    end)
    teardown(function()
      server:stop()
      far.teardown()
    end)

    local function walk(fields)
      fields.method = "GET"
      return far.ask("/stream", fields)
    end

    it("a body to its end", function()
      local seen = walk { limit = 2 ^ 31, url = server:url(
        peer.answer(200, { ["X-A"] = "1" }, "", 20480000), peer.times(20000, ("x"):rep(1024))) }
      assert.are.same({ status = 200, header = "1", bytes = 20480000 }, seen)
    end)

    it("to where it tears", function()
      local seen = walk { url = server:url(peer.answer(200, {}, "half", 100), "close") }
      assert.are.equal("network", seen.failure.kind)
      assert.is_true(seen.failure.sent)
    end)

    it("to the limit", function()
      local seen = walk { limit = 1000, url = server:url(
        peer.answer(200, {}, "", 2000), peer.times(2000, "x")) }
      assert.are.equal("too_large", seen.failure.kind)
    end)
  end

  describe("The " .. name .. " transport streams", streams)

  local transport = { name = name, describe = describe, it = it, before_each = before_each,
    request = far.request }
  function transport.setup(fn)
    setup(function()
      far.setup()
      fn()
    end)
  end
  function transport.teardown(fn)
    teardown(function()
      fn()
      far.teardown()
    end)
  end
  for field, value in pairs(more) do transport[field] = value end
  require "spec.support.conformance"(transport)
end

conform("worker", {})

if folder then
  conform("resty", { keeps = true, ca_file = false, trusts_test_authority = true })
else
  io.stderr:write("spec/resty_spec.lua: ran without lua-resty-http, which is not installed\n")
end

-- The resty transport against a resty.http and an ngx of ours, in plain Lua. What a step does is
-- the test's to say; a step that yields never ends.
describe("The resty transport by itself", function()
  local real, resty, steps, seen

  local function thread_of(fn)
    local thread = coroutine.create(fn)
    assert(coroutine.resume(thread))
    return thread
  end

  local fake_ngx = {
    config = { subsystem = "http" }, socket = { tcp = print },
    now = function() return 1000 end,
    sleep = function(seconds) seen.slept = seconds end,
    encode_base64 = function(text) return "base64(" .. text .. ")" end,
    thread = { spawn = thread_of, wait = function() return true end, kill = function() end },
  }

  local function receiveuntil(self)
    return function()
      self.at = self.at + 1
      local line = self.lines[math.ceil(self.at / 2)]
      if not line then return nil, "closed" end
      return self.at % 2 == 1 and line or nil
    end
  end

  local httpc = {
    set_timeout = function() end,
    connect = function(_, options)
      seen.connect = options
      return steps.connect()
    end,
    send_request = function(_, params)
      seen.params = params
      return steps.send()
    end,
    read_response = function(self)
      repeat
        local line, err = self.sock:receive("*l")
        if not line then return nil, err end
      until line == ""
      return steps.response()
    end,
    set_keepalive = function() seen.ended = "kept" end,
    close = function() seen.ended = "closed" end,
  }

  local function reader_of(...)
    local parts, at = { ... }, 0
    return function()
      at = at + 1
      if type(parts[at]) == "table" then return nil, parts[at][1] end
      return parts[at]
    end
  end

  local function answers(headers, ...)
    local body = reader_of(...)
    steps.response = function()
      return { status = 200, headers = headers, has_body = true, body_reader = body }
    end
  end

  setup(function()
    real = { ngx = rawget(_G, "ngx"), http = package.loaded["resty.http"] }
    rawset(_G, "ngx", fake_ngx)
    package.loaded["resty.http"] = { new = function()
      httpc.sock = { receiveuntil = receiveuntil, lines = steps.lines, at = 0 }
      return httpc
    end }
    package.loaded["billhook.transport.resty"] = nil
    resty = require "billhook.transport.resty"
  end)

  teardown(function()
    rawset(_G, "ngx", real.ngx)
    package.loaded["resty.http"] = real.http
    package.loaded["billhook.transport.resty"] = nil
    package.loaded["billhook.transport.worker"] = nil
  end)

  before_each(function()
    seen = {}
    steps = { connect = function() return true end, send = function() return true end,
      lines = { "HTTP/1.1 200 OK\r", "\r" } }
    answers({ ["Content-Length"] = "5" }, "he", "llo")
  end)

  local function ask(fields)
    local request = { method = "GET", url = "https://a.example/b?c=d" }
    for name, value in pairs(fields or {}) do request[name] = value end
    return resty:request(request)
  end

  local function fails(kind, sent, response, failure)
    assert.is_nil(response)
    assert.are.same({ kind, sent }, { failure.kind, failure.sent })
    assert.are.equal("closed", seen.ended)
  end

  it("asks with verification and keeps the connection", function()
    assert.are.equal("hello", ask().body)
    assert.is_true(seen.connect.ssl_verify)
    assert.are.equal("a.example", seen.connect.ssl_server_name)
    assert.are.same({ "https", "a.example", 443 },
      { seen.connect.scheme, seen.connect.host, seen.connect.port })
    assert.is_nil(seen.connect.pool)
    assert.are.equal("/b?c=d", seen.params.path)
    assert.are.equal("identity", seen.params.headers["Accept-Encoding"])
    assert.is_nil(seen.params.body)
    assert.are.equal("kept", seen.ended)
  end)

  it("posts on a connection of its own", function()
    assert.are.equal("hello", ask { method = "POST" }.body)
    local pool = seen.connect.pool
    assert.are.equal("", seen.params.body)
    assert.are.equal("closed", seen.ended)
    ask { method = "POST" }
    assert.are_not.equal(pool, seen.connect.pool)
  end)

  it("tells what went wrong before anything was sent", function()
    for err, kind in pairs { ["connection refused"] = "network", ["timeout"] = "timeout",
      ["no resolver defined to resolve \"a.example\""] = "network",
      ["certificate host mismatch"] = "tls", ["18: self-signed certificate"] = "tls",
      ["handshake failed"] = "tls" } do
      steps.connect = function() return nil, err end
      fails(kind, false, ask())
    end
    steps.connect = function() coroutine.yield() end
    fails("timeout", false, ask())
  end)

  it("tells what went wrong later", function()
    steps.send = function() return nil, "broken pipe" end
    fails("network", true, ask())
    steps.send = function() coroutine.yield() end
    fails("timeout", true, ask())
  end)

  it("checks the head", function()
    for kind, lines in pairs {
      decode = { "SSH-2.0\r" }, network = { "HTTP/1.1 200 OK\r" },
      too_large = { "HTTP/1.1 200 OK\r", "X: " .. ("x"):rep(300000) .. "\r" },
    } do
      steps.lines = lines
      fails(kind, true, ask())
    end
    steps.lines = { "HTTP/1.1 200 OK\r", "no colon\r" }
    fails("decode", true, ask())
    steps.lines = { "HTTP/1.1 200 OK\r" }
    for i = 1, 300 do steps.lines[i + 1] = "X" .. i .. ": y\r" end
    fails("too_large", true, ask())
  end)

  it("checks how a body is framed", function()
    for _, headers in ipairs { { ["Content-Length"] = "-5" }, { ["Content-Length"] = "5, 6" },
      { ["Transfer-Encoding"] = "gzip, chunked" }, { ["Content-Encoding"] = "gzip" } } do
      answers(headers, "hello")
      fails("decode", true, ask())
    end
  end)

  it("stops a body that breaks off, stands still or is too large", function()
    answers({ ["Content-Length"] = "5" }, "he", { "closed" })
    fails("network", true, ask())
    answers({ ["Content-Length"] = "5" }, "hello")
    fails("too_large", true, ask { limit = 4 })
    steps.response = function()
      return { status = 200, headers = { ["Content-Length"] = "5" }, has_body = true,
        body_reader = function() coroutine.yield() end }
    end
    fails("timeout", true, ask())
  end)

  it("uses an http proxy that it is given, and no other", function()
    ask()
    assert.are.same({}, seen.connect.proxy_opts)
    ask { proxy = "http://me:w%40rd@proxy:3128" }
    assert.are.equal("http://proxy:3128", seen.connect.proxy_opts.https_proxy)
    assert.are.equal("Basic base64(me:w@rd)",
      seen.connect.proxy_opts.https_proxy_authorization)
  end)

  it("leaves what nginx cannot do for a request to the worker", function()
    local worker = { request = function() return "worker" end, stream = function() return "w" end }
    package.loaded["billhook.transport.worker"] = worker
    assert.are.equal("worker", ask { ca_file = "/ca.pem" })
    assert.are.equal("worker", ask { proxy = "socks5://a:1" })
    assert.are.equal("w", resty:stream { method = "GET", url = "http://a/", ca_file = "/c" })
  end)

  it("sleeps in nginx's way", function()
    resty:sleep(2)
    assert.are.equal(2, seen.slept)
  end)
end)

teardown(peer.clean)

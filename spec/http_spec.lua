-- billhook.http: what rules send to servers of their own, over real sockets.

local billhook = require "billhook"
local fake = require "billhook.transport.fake"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local peer = require "spec.support.peer"

local server

-- A server of ours that does what the path says, and the path below it.
local function at(...)
  local whole = server:url(...)
  local base, path = whole:match "^(%a+://[^/]+)(/.*)$"
  return billhook.http { base_url = base }, path
end

local function made(options, answer)
  options.transport = fake.new(answer)
  options.base_url = options.base_url or "https://ledger.example.edu/api"
  return billhook.http(options), options.transport.requests
end

describe("billhook.http", function()
  setup(function() server = peer.start() end)
  teardown(function() server:stop() end)

  it("posts a table as JSON and reads the answer", function()
    local ledger, path = at(peer.answer(201, { ["Content-Type"] = "application/json" },
      '{"id":7,"open":null}'))
    local answer, response = ledger:post(path, { amount = "19.90" })
    assert.same({ id = 7 }, answer)
    assert.equal(201, response.status)
    assert.is_truthy(server:count "POST " > 0)
  end)

  it("gives a text as it is, true for nothing", function()
    local ledger, path = at(peer.answer(200, { ["Content-Type"] = "text/plain" }, "ok"))
    assert.equal("ok", (ledger:post(path, "hello")))
    ledger, path = at(peer.answer(204, {}, ""))
    assert.is_true((ledger:put(path, {})))
    ledger, path = at(peer.answer(200, {}, '[1,2]'))
    assert.equal("[1,2]", (ledger:get(path, { answer = "text" })))
    assert.same({ 1, 2 }, (ledger:get(path)))
  end)

  it("does not send again by itself", function()
    local before = server:count "POST "
    local ledger, path = at "reset"
    local answer, err = ledger:post(path, {})
    assert.is_nil(answer)
    assert.equal("network", err.kind)
    assert.equal(1, err.attempts)
    assert.equal(before + 1, server:count "POST ")
  end)

  it("ends at the time-out", function()
    local ledger, path = at("wait=30000", peer.answer(200, {}, ""))
    local answer, err = ledger:post(path, {}, { timeout = 0.2 })
    assert.is_nil(answer)
    assert.equal("timeout", err.kind)
  end)

  it("says that nobody is there, and that it may be sent again", function()
    local gone = peer.start()
    local ledger = billhook.http { base_url = gone:url "" :match "^%a+://[^/]+" }
    gone:stop()
    local answer, err = ledger:post("/entries", {})
    assert.is_nil(answer)
    assert.same({ "network", true }, { err.kind, err.retryable })
    assert.matches("POST /entries at 127.0.0.1", tostring(err), 1, true)
  end)

  it("checks certificates, by the file that is named", function()
    local secure = peer.start { tls = "good" }
    local base, path = secure:url(peer.answer(200, {}, "{}")):match "^(%a+://[^/]+)(/.*)$"
    local _, err = billhook.http { base_url = base }:post(path, {})
    assert.equal("tls", err.kind)
    local ca = peer.certificates() .. "/ca.pem"
    assert.same({}, (billhook.http { base_url = base, ca_file = ca }:post(path, {})))
    secure:stop()
    peer.clean()
  end)
end)

describe("a request of billhook.http", function()
  it("carries the headers, the event's id, and the query", function()
    local ledger, requests = made({ headers = { Authorization = "Bearer secret-token" } },
      function() return { body = "{}" } end)
    ledger:post("/entries", { a = 1 }, { event = { id = "school:16@1.ab.created" },
      query = { dry = true, ["a b"] = 5 } })
    local sent = requests[1]
    assert.equal("https://ledger.example.edu/api/entries?a%20b=5&dry=true", sent.url)
    assert.equal('{"a":1}', sent.body)
    assert.equal("application/json", sent.headers["Content-Type"])
    assert.equal("Bearer secret-token", sent.headers.Authorization)
    assert.equal("school:16@1.ab.created", sent.headers["Idempotency-Key"])
    assert.is_true(sent.fresh)
    ledger:post("", nil, { idempotency_key = "k", headers = { authorization = "Basic x" } })
    sent = requests[2]
    assert.same({ "k", "Basic x", "https://ledger.example.edu/api" },
      { sent.headers["Idempotency-Key"], sent.headers.authorization, sent.url })
    assert.is_nil(sent.headers.Authorization)
    ledger:delete "/entries/1"
    ledger:request("PATCH", "/entries/1", "<x/>", { headers = { ["content-type"] = "text/xml" } })
    assert.same({ "DELETE", "PATCH", "text/xml" }, { requests[3].method, requests[4].method,
      requests[4].headers["content-type"] })
    assert.is_nil(requests[3].headers["Idempotency-Key"])
  end)

  it("has the key in another header where that is wanted", function()
    local ledger, requests = made({ idempotency_header = "X-Request-Id" },
      function() return {} end)
    ledger:post("/x", {}, { event = { id = "e" } })
    assert.equal("e", requests[1].headers["X-Request-Id"])
  end)

  local function refused(response, settings, options)
    local ledger = made(options or {}, function() return response end)
    local answer, err = ledger:post("/x?token=abc", {}, settings)
    assert.is_nil(answer)
    assert.is_true(billhook.error.is(err))
    return err
  end

  it("that is refused is an error as a client's are", function()
    local err = refused { status = 422, body = '{"code":"BAD","message":"no amount"}',
      headers = { ["Content-Type"] = "application/json" } }
    assert.same({ "invalid", "BAD", "no amount", 422, false, 1 },
      { err.kind, err.code, err.message, err.status, err.retryable, err.attempts })
    assert.equal("invalid: no amount (POST /x at ledger.example.edu, 422)", tostring(err))
    assert.equal("auth", refused { status = 401 }.kind)
    assert.equal("conflict", refused { status = 409 }.kind)
    assert.matches("unexpected redirect to https://elsewhere/login",
      refused { status = 302, headers = { Location = "https://elsewhere/login?a=b" } }.message)
  end)

  it("may be sent again where that is safe", function()
    local keyed = { idempotency_key = "k" }
    assert.is_false(refused({ status = 503 }).retryable)
    assert.is_true(refused({ status = 503 }, keyed).retryable)
    assert.is_false(refused({ status = 400 }, keyed).retryable)
    local err = refused { status = 429, headers = { ["Retry-After"] = "17" } }
    assert.same({ "rate_limited", true, 17 }, { err.kind, err.retryable, err.retry_after })
  end)

  it("is no success where a page comes, or what is no JSON", function()
    local page = refused { body = "<html><title>Back soon</title></html>" }
    assert.same({ "decode", false }, { page.kind, page.retryable })
    assert.matches('HTML page "Back soon"', page.message, 1, true)
    assert.equal("decode", refused { body = '{"a":' }.kind)
    assert.equal("the answer is false", refused({ body = "false" }, { answer = "json" }).message)
    assert.matches("empty where JSON", refused({ body = "" }, { answer = "json" }).message)
    assert.equal("decode", refused({ body = "ok" }, { answer = "json" }).kind)
  end)

  it("never quotes a credential", function()
    local secret = "secret-token-of-ours"
    local body = '{"message":"got ' .. secret .. '","apiKey":"other"}'
    local err = refused({ status = 500, body = body }, nil,
      { headers = { Authorization = "Bearer " .. secret } })
    for _, text in pairs { err.message, err.body, tostring(err) } do
      assert.is_nil(text:find(secret, 1, true))
      assert.is_nil(text:find("other", 1, true))
      assert.is_nil(text:find("token=abc", 1, true))
    end
    assert.is_true(#refused { status = 500, body = ("x"):rep(9000) }.body <= 2048)
  end)

  it("raises at the caller's line where it is wrong", function()
    local here = "^spec/http_spec%.lua:%d+: "
    local ledger = made({}, function() return {} end)
    local function bad(message, fn)
      local ok, why = pcall(fn)
      assert.is_false(ok)
      assert.matches(here .. message, why)
    end
    bad("billhook.http: 'base_url' is missing", function() billhook.http {} end)
    bad("billhook.http: 'base_url' must be https", function()
      billhook.http { base_url = "http://ledger.example.edu" }
    end)
    bad("billhook.http: 'nonsense' is not known", function()
      billhook.http { base_url = "https://x.org", nonsense = 1 }
    end)
    bad("billhook.http: 'headers' must have strings", function()
      billhook.http { base_url = "https://x.org", headers = { a = 1 } }
    end)
    bad("request.headers: a has a control character", function()
      billhook.http { base_url = "https://x.org", headers = { a = "b\r\nc" } }
    end)
    bad("billhook.http: 'transport' can't be used", function()
      billhook.http { base_url = "https://x.org", transport = "pigeon" }
    end)
    bad("post is a method: call it with a colon", function() ledger.post("/x", {}) end)
    bad("post: 'path' must be a text that begins with /, got string", function()
      ledger:post("https://elsewhere.org/", {})
    end)
    bad("post: 'body' can't be written as JSON", function() ledger:post("/", { print }) end)
    bad("post: 'body' must be a table or a string, got number", function() ledger:post("/", 5) end)
    bad("post: 'event' must be the event", function() ledger:post("/", {}, { event = {} }) end)
    bad("post: 'answer' must be \"json\" or \"text\"", function()
      ledger:post("/", {}, { answer = "xml" })
    end)
    bad("get: 'query' must have texts", function() ledger:get("/", { query = { {} } }) end)
    bad("request.url has a character", function() ledger:get "/a b" end)
    bad("request.method must be", function() ledger:request("SEND", "/") end)
  end)

  it("fails the rule that ends with it, and comes again when the server says so", function()
    local now, status = 1800000000, 503
    local ledger, requests = made({}, function()
      return { status = status, headers = { ["retry-after"] = "30" } }
    end)
    local app = billhook.app { inbox = "memory:", clock = function() return now end,
      log = function() end, random = function() return 0 end, accounts = {
        school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } } } }
    app:on("*", { name = "ledger" }, function(event)
      return ledger:post("/entries", { id = event.invoice_id }, { event = event })
    end)
    local body = json.encode { id = "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", tenant = "my-school",
      type = "INVOICE_CREATED", timestamp = 1, data = { id = 16 } }
    app:receive("school", billhook.sign("dreamclass", body, { secret = "123" }))
    app:work()
    assert.equal(1, #requests)
    status, now = 200, now + 20
    app:work()
    assert.equal(1, #requests)
    now = now + 11
    app:work()
    app:work()
    assert.equal(2, #requests)
    assert.equal(requests[1].headers["Idempotency-Key"], requests[2].headers["Idempotency-Key"])
  end)
end)

local locations = [[
  location /entries { content_by_lua_block {
    ngx.req.read_body()
    ngx.header["Content-Type"] = "application/json"
    ngx.print('{"key":"' .. ngx.var.http_idempotency_key .. '","got":' .. ngx.req.get_body_data()
      .. "}")
  } }
  location /post { content_by_lua_block {
    local ledger = require("billhook").http { base_url = "http://127.0.0.1:" .. ngx.var.server_port,
      transport = %s }
    local answer, err = ledger:post("/entries", { n = 1 }, { event = { id = "e1" } })
    ngx.print(answer and answer.key .. " " .. answer.got.n or tostring(err))
    local none, why = ledger:post("/nothing", {})
    ngx.print(" ", tostring(none), " ", why.kind)
  } }
]]

describe("billhook.http inside nginx", function()
  local front
  after_each(function() front:stop() end)

  for _, transport in ipairs { "nil", '"worker"', '"curl"' } do
    it("posts without holding up the event loop, transport " .. transport, function()
      front = nginx.start { server = locations:format(transport) }
      local _, _, body = front:request { path = "/post" }
      assert.equal("e1 1 nil not_found", body)
    end)
  end
end)

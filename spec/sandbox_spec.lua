-- The sandbox in a real nginx: its options, its webhooks and their retries, its faults. What it
-- answers is in the spec of each vendor.

local core = require "billhook.core"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local sandbox = require "billhook.sandbox"
local ports = require "spec.support.port"

local server

-- Sandbox on PORT2, and on the server's own port a receiver that keeps what it gets and answers
-- with the statuses that /answers names.
local receiver = [[
  location /hook { content_by_lua_block {
    ngx.req.read_body()
    got = got or {}
    got[#got + 1] = { path = ngx.var.uri, body = ngx.req.get_body_data(),
      headers = ngx.req.get_headers(), method = ngx.req.get_method() }
    ngx.status = answers and table.remove(answers, 1) or 200
    ngx.print("{}")
  } }
  location /answers { content_by_lua_block {
    answers = {}
    for word in ngx.var.arg_list:gmatch("%d+") do answers[#answers + 1] = tonumber(word) end
    got = nil
  } }
  location /got { content_by_lua_block {
    ngx.print(require("billhook.json").encode(require("billhook.json").array(got or {})))
  } }
]]

local function start(options)
  options = options or {}
  local port = ports.free()
  local base = "http://127.0.0.1:" .. port
  options.listen = "127.0.0.1:PORT2"
  options.webhooks = options.webhooks or { dreamapply = base .. "/hook/apply",
    dreamclass = base .. "/hook/class", betterez = base .. "/hook/btrz" }
  -- a literal hides its text from the port's replacement: the receiver gets a port of its own
  local text = sandbox.conf(options)
  server = nginx.start { http = text .. ("server { listen 127.0.0.1:%d; %s }"):format(port,
    receiver), server = receiver }
  server.receiver = port
  return server
end

local function call(method, path, options)
  options = options or {}
  options.method, options.path, options.port = method, path, server.ports[2]
  local status, headers, body = server:request(options)
  local value = body and body ~= "" and (headers["content-type"] or ""):find("json")
    and assert(json.decode(body)) or body
  return status, value, headers
end

local function control(method, name, fields)
  local status, value = call(method, "/sandbox/" .. name, { body = fields and json.encode(fields) })
  assert.equal(200, status, type(value) == "table" and value.error or tostring(value))
  return value
end

local function apply(method, path, fields)
  return call(method, "/api/v9" .. path, { body = fields and json.encode(fields),
    headers = { Authorization = 'DREAM apikey="sandbox-key"' } })
end

local function class(method, path, fields)
  return call(method, "/dreamclassapi/v1" .. path, { body = fields and json.encode(fields),
    headers = { Authorization = "sandbox-key", tenant = "my-school", schoolCode = "MS1" } })
end

local function btrz(method, path, fields)
  return call(method, "/invoices" .. path, { body = fields and json.encode(fields),
    headers = { ["X-API-KEY"] = "sandbox-key", Authorization = "Bearer sandbox-token" } })
end

local function got()
  local _, _, body = nginx.request(server.receiver, { path = "/got" })
  return json.decode(body)
end

local function received(n)
  return nginx.wait(n .. " webhooks", function()
    local list = got()
    return #list >= n and list
  end)
end

local function settled(n)
  return nginx.wait("delivery " .. n .. " to end", function()
    local one = control("GET", "deliveries")[n]
    return one and one.state ~= "pending" and one
  end)
end

local function answers(list) nginx.request(server.receiver, { path = "/answers?list=" .. list }) end

local items = { { item = "Tuition fee", price = "19.90", qty = "2" } }

describe("the sandbox", function()
  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  it("raises for options that it does not know", function()
    local function bad(options, message)
      assert.error_matches(function() sandbox.conf(options) end, message)
    end
    bad({}, "listen must be an address")
    bad({ listen = "127.0.0.1:1", nonsense = 1 }, "bad option 'nonsense'")
    bad({ listen = "127.0.0.1:1", dreamapply = { key = "x" } }, "dreamapply: bad option 'key'")
    bad({ listen = "127.0.0.1:1", dreamapply = { api_key = 1 } }, "bad option 'api_key'")
    bad({ listen = "127.0.0.1:1", dreamapply = { shape = "x" } },
      "option 'shape' must be item, list or map")
    bad({ listen = "127.0.0.1:1", webhooks = { other = "http://x/" } }, "no such vendor: other")
    bad({ listen = "127.0.0.1:1", webhooks = { betterez = "https://x/" } }, "not a plain http URL")
  end)

  it("cannot be broken out of by a secret", function()
    start { dreamclass = { secret = 'a"]]}\\ \n$1' } }
    control("POST", "trigger", { vendor = "dreamclass" })
    local body = json.decode(received(1)[1].body)
    assert.equal(core.text.base64(core.verify.hmac('a"]]}\\ \n$1', body.id)), body.signature)
  end)

  it("says that it needs one nginx worker", function()
    server = nginx.start { http = sandbox.conf { listen = "127.0.0.1:PORT2" }, workers = 2 }
    local status, body = call("GET", "/api/v9/invoices")
    assert.equal(500, status)
    assert.equal("the sandbox needs worker_processes 1", body)
  end)

  describe("as DreamApply", function()
    it("refuses a wrong key with plain text", function()
      start()
      for _, key in ipairs { 'DREAM apikey="other"', "sandbox-key", "Bearer sandbox-key" } do
        local status, body, headers = call("GET", "/api/v9/invoices",
          { headers = { Authorization = key } })
        assert.equal(401, status)
        assert.matches("^text/plain", headers["content-type"])
        assert.matches("expired or invalid", body)
      end
    end)

    it("knows series, ping and its version", function()
      start()
      assert.equal("Default invoice series", select(2, apply("GET", "/invoices/series"))["1"].name)
      assert.is_number(select(2, apply("GET", "/ping")).pong)
      assert.same({ version = 9 }, select(2, call("GET", "/api/version")))
      assert.equal(404, (apply("GET", "/nothing")))
      assert.equal(405, (apply("PUT", "/invoices/1")))
    end)

    it("sends journal items with the configured header, five times more after failures", function()
      start { dreamapply = { retry_interval = 0.01 } }
      answers "500,404,301,503,203,500,200"
      apply("POST", "/applications/7/invoices", { currency = "EUR", items = items })
      local one = settled(1)
      assert.equal("failed", one.state)
      assert.equal(6, #one.attempts)
      assert.equal(6, #got())
      control("POST", "redeliver", { vendor = "dreamapply" })
      one = settled(1)
      assert.equal("delivered", one.state)
      assert.equal(200, one.status)
      local first, last = got()[1], got()[7]
      assert.equal("/hook/apply", first.path)
      assert.equal("Bearer sandbox-hook", first.headers.authorization)
      assert.equal("application/json", first.headers["content-type"])
      assert.same(json.decode(first.body), json.decode(last.body))
      assert.equal("Invoice was created: ?", json.decode(first.body).event)
    end)

    it("wraps an item in a list or a map when told", function()
      start { dreamapply = { shape = "map" } }
      control("POST", "trigger", { vendor = "dreamapply", type = "invoice.updated" })
      assert.equal("Invoice was edited: ?", json.decode(received(1)[1].body)["1"].event)
    end)
  end)

  describe("as DreamClass", function()
    it("signs the id in the body, and sends the same id again", function()
      start()
      control("POST", "trigger", { vendor = "dreamclass", amount = 42 })
      control("POST", "redeliver", { vendor = "dreamclass" })
      local list = received(2)
      local one, two = json.decode(list[1].body), json.decode(list[2].body)
      assert.equal(core.text.base64(core.verify.hmac("123", one.id)), one.signature)
      assert.equal("Basic " .. core.text.base64("sandbox:sandbox-hook"),
        list[1].headers.authorization)
      assert.equal(42, one.data.amount)
      assert.equal("my-school", one.tenant)
      assert.equal("INVOICE_CREATED", one.type)
      assert.is_true(one.timestamp > 1.7e12)
      assert.equal(one.id, two.id)
    end)

    it("counts only 200 as success, and does not send again by itself", function()
      start { dreamclass = { retry_interval = 0.01 } }
      answers "204"
      control("POST", "trigger", { vendor = "dreamclass" })
      local one = settled(1)
      assert.equal("failed", one.state)
      assert.equal(1, #one.attempts)
    end)
  end)

  describe("as Betterez", function()
    local transaction = "616d7cf38fedff37e449215c"

    it("pages lists, and only where a page was asked for", function()
      start()
      for _ = 1, 12 do
        control("POST", "trigger", { vendor = "betterez", transactionId = transaction })
      end
      local list = "/invoices?transactionId=" .. transaction
      local _, first = btrz("GET", list)
      assert.equal("", first.next)
      assert.equal(12, first.count)
      _, first = btrz("GET", list .. "&page=1")
      assert.equal(10, #first.invoices)
      assert.matches("^http://127.0.0.1.*page=2", first.next)
      local _, second = btrz("GET", list .. "&page=2")
      assert.equal(2, #second.invoices)
      assert.equal("", second.next)
      assert.matches("page=1", second.previous)
    end)

    it("sends providers with their secrets", function()
      start()
      for _, verb in ipairs { "created", "updated", "deleted" } do
        control("POST", "trigger", { vendor = "betterez", type = "invoice_provider." .. verb })
      end
      local kinds = {}
      for i, one in ipairs(received(3)) do
        local body = json.decode(one.body)
        kinds[i] = body.event
        assert.equal("sandbox-signer", body.data.params.signerKey)
      end
      table.sort(kinds)
      assert.same({ "invoice_providers.created", "invoice_providers.deleted",
        "invoice_providers.updated" }, kinds)
    end)

    it("signs time and body, each posting with a new attemptId", function()
      start()
      control("POST", "trigger", { vendor = "betterez" })
      control("POST", "redeliver", { vendor = "betterez" })
      local list = received(2)
      local ids = {}
      for i, one in ipairs(list) do
        local t, _, mac = one.headers["x-btrz-signature"]:match("^t=(%d+),s=(%x+),s2=(%x+)$")
        local text = t .. "." .. one.body
        assert.equal(core.text.hex(core.verify.hmac("sandbox-private-key", text)), mac)
        ids[i] = json.decode(one.body)
      end
      assert.equal(ids[1].id, ids[2].id)
      assert.not_equal(ids[1].attemptId, ids[2].attemptId)
      assert.equal("invoices.created", ids[1].event)
      assert.equal(true, ids[1].livemode)
    end)
  end)

  describe("when told to fail", function()
    local function fault(fields) control("POST", "fault", fields) end

    it("answers with a status, as often as asked, where asked", function()
      start()
      fault { next = "503", times = 2, method = "GET", path = "/api/v9/ping" }
      assert.equal(200, (apply("GET", "/invoices")))
      assert.equal(503, (apply("GET", "/ping")))
      assert.equal(503, (apply("GET", "/ping")))
      assert.equal(200, (apply("GET", "/ping")))
    end)

    it("resets before or after it is done", function()
      start()
      local fields = { currency = "EUR", items = items }
      fault { next = "reset" }
      assert.is_nil((apply("POST", "/applications/7/invoices", fields)))
      assert.equal(404, (apply("GET", "/invoices/1")))
      fault { next = "reset-after" }
      assert.is_nil((apply("POST", "/applications/7/invoices", fields)))
      assert.equal(200, (apply("GET", "/invoices/1")))
    end)

    it("stalls, tears and lies", function()
      start()
      fault { next = "stall", seconds = 0.01 }
      assert.equal(200, (apply("GET", "/ping")))
      fault { next = "stall-after", seconds = 0.01 }
      assert.equal(200, (apply("GET", "/ping")))
      fault { next = "html" }
      assert.matches("text/html", select(3, apply("GET", "/ping"))["content-type"])
      fault { next = "half" }
      local _, headers, body = server:request { port = server.ports[2], path = "/api/v9/ping",
        headers = { Authorization = 'DREAM apikey="sandbox-key"' } }
      assert.is_true(#body < tonumber(headers["content-length"]))
    end)

    it("refuses events and invoices that there are not", function()
      start()
      local function refusal(fields)
        local status, answer = call("POST", "/sandbox/trigger", { body = json.encode(fields) })
        assert.equal(400, status)
        return answer.error
      end
      for vendor, types in pairs {
        dreamapply = { "invoice.paid", "invoice.overdue", "offer.edited" },
        dreamclass = { "invoice.paid", "student.created" },
        betterez = { "invoice.deleted", "invoice.paid", "payment.created" },
      } do
        for _, kind in ipairs(types) do
          local why = refusal { vendor = vendor, type = kind }
          assert.matches(" has no event " .. kind, why, 1, true)
        end
        assert.equal("no invoice 99", refusal { vendor = vendor, invoice = 99 })
      end
      assert.same({}, control("GET", "deliveries"))
    end)

    it("pays an invoice when told", function()
      start()
      control("POST", "trigger", { vendor = "dreamclass", amount = "300.00" })
      control("POST", "trigger", { vendor = "dreamclass", type = "payment.created", invoice = 1,
        amount = "120.00" })
      local paid = select(2, class("GET", "/financial/invoices/1"))
      assert.same({ 120, 1 }, { paid.paidAmount, #paid.payments })
      local told = control("POST", "trigger", { vendor = "dreamclass",
        type = "payment.created", invoice = 1 })
      assert.equal("PAYMENT_CREATED", told.type)
      assert.equal(300, select(2, class("GET", "/financial/invoices/1")).paidAmount)
      control("POST", "trigger", { vendor = "dreamapply", amount = "90.00" })
      for _ = 1, 2 do
        told = control("POST", "trigger", { vendor = "dreamapply", type = "invoice.collected",
          invoice = 1 })
        assert.equal("Invoice was collected: ?", told.type)
      end
      local collections = select(2, apply("GET", "/invoices/1")).collections
      assert.equal("90.00", collections["1"].amount)
      assert.is_nil(collections["2"])
    end)

    it("gives Betterez's invoice an amount when told", function()
      start()
      local function invoice(id)
        return select(2, btrz("GET", "/invoices/" .. id)).invoice
      end
      local id = control("POST", "trigger", { vendor = "betterez" }).invoice
      assert.same({}, { invoice(id).total, invoice(id).currency })
      control("POST", "trigger", { vendor = "betterez", type = "invoice.updated", invoice = id,
        amount = "7.00", currency = "GTQ" })
      assert.same({ 7, "GTQ" }, { invoice(id).total, invoice(id).currency })
      id = control("POST", "trigger", { vendor = "betterez", amount = "9.50" }).invoice
      assert.same({ 9.5, "EUR" }, { invoice(id).total, invoice(id).currency })
    end)

    it("refuses faults, vendors and deliveries that there are not", function()
      start()
      local function status(name, fields)
        return (call("POST", "/sandbox/" .. name, { body = json.encode(fields) }))
      end
      assert.equal(400, status("fault", { next = "nonsense" }))
      assert.equal(400, status("trigger", { vendor = "nobody" }))
      assert.equal(404, status("redeliver", { n = 7 }))
      assert.equal(400, status("webhooks", { betterez = "ftp://x" }))
      assert.equal(404, (call("GET", "/sandbox/nothing")))
      assert.equal(404, (call("GET", "/elsewhere")))
      assert.equal(400, (call("POST", "/sandbox/trigger", { body = "[" })))
    end)
  end)

  it("tells what came in, takes other addresses, and forgets", function()
    start { webhooks = {} }
    control("POST", "trigger", { vendor = "betterez" })
    assert.equal("unsent", control("GET", "deliveries")[1].state)
    local url = "http://localhost:" .. server.receiver .. "/hook/new"
    control("POST", "webhooks", { betterez = url })
    control("POST", "redeliver", { vendor = "betterez" })
    assert.equal("/hook/new", received(1)[1].path)
    apply("POST", "/applications/7/invoices", { currency = "EUR", items = items })
    local requests = control("GET", "requests")
    assert.equal("/api/v9/applications/7/invoices", requests[1].target)
    assert.equal('DREAM apikey="sandbox-key"', requests[1].headers.authorization)
    assert.equal("EUR", json.decode(requests[1].body).currency)
    control("POST", "reset")
    assert.same({}, control("GET", "requests"))
    assert.equal(404, (apply("GET", "/invoices/1")))
  end)

  it("notes what went wrong with a webhook", function()
    start { webhooks = { betterez = "http://127.0.0.1:" .. ports.free() .. "/" } }
    control("POST", "trigger", { vendor = "betterez" })
    assert.equal("connection refused", settled(1).attempts[1].error)
  end)
end)

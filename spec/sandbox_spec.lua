-- The sandbox in a real nginx: what each vendor's documents say, and the webhooks it sends.

local core = require "billhook.core"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local sandbox = require "billhook.sandbox"

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
  local port = nginx.free_port()
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

    it("creates, and names the place without a version", function()
      start()
      local status, body, headers = apply("POST", "/applications/123/invoices",
        { currency = "EUR", items = items, deadline = "2026-09-01", reminder = "Off" })
      assert.equal(201, status)
      assert.equal("", body)
      assert.equal("0", headers["content-length"])
      assert.equal("/api/applications/123/invoices/1", headers["location"])
      local _, invoice = apply("GET", "/invoices/1")
      assert.equal("19.90", invoice.items[1].price)
      assert.equal("2.00", invoice.items[1].qty)
      assert.equal("2026-09-01", invoice.deadline)
      assert.equal(false, invoice.reminder)
      assert.equal("/api/v9/applications/123", invoice.application)
    end)

    it("gives lists as objects, an empty one as []", function()
      start()
      local status, list, headers = apply("GET", "/applications/7/invoices")
      assert.equal(200, status)
      assert.same({}, list)
      assert.equal("0", headers["x-count"])
      local _, _, raw = server:request { port = server.ports[2], path = "/api/v9/invoices",
        headers = { Authorization = 'DREAM apikey="sandbox-key"' } }
      assert.equal("[]", raw)
      apply("POST", "/applications/7/invoices", { currency = "EUR", items = items })
      _, list, headers = apply("GET", "/applications/7/invoices")
      assert.equal(1, list["1"].id)
      assert.equal("1", headers["x-count"])
    end)

    it("counts by HEAD", function()
      start()
      apply("POST", "/applications/7/invoices", { currency = "EUR", items = items })
      local status, body, headers = apply("HEAD", "/invoices?byCurrencies=EUR")
      assert.equal(200, status)
      assert.equal("", body)
      assert.equal("1", headers["x-count"])
      assert.equal(200, (apply("HEAD", "/invoices/1")))
      assert.equal(404, (apply("HEAD", "/invoices/2")))
    end)

    it("deletes once: 204 without a body, then 404", function()
      start()
      apply("POST", "/applications/7/invoices", { currency = "EUR", items = items })
      local status, body, headers = apply("DELETE", "/invoices/1")
      assert.equal(204, status)
      assert.equal("", body)
      assert.equal("text/plain", headers["content-type"])
      assert.equal("0", headers["content-length"])
      assert.equal(404, (apply("DELETE", "/invoices/1")))
      assert.equal(404, (apply("GET", "/invoices/1")))
    end)

    it("filters", function()
      start()
      for _, currency in ipairs { "EUR", "USD", "EUR" } do
        apply("POST", "/applications/7/invoices", { currency = currency, items = items })
      end
      apply("POST", "/invoices/1/transactions", { amount = "39.80", currency = "EUR" })
      local function count(query)
        local status, _, headers = apply("GET", "/invoices?" .. query)
        assert.equal(200, status, query)
        return headers["x-count"]
      end
      assert.equal("2", count "byCurrencies=EUR")
      assert.equal("3", count "byCurrencies=EUR,USD")
      assert.equal("1", count "byCollected=true")
      assert.equal("2", count "byCollected=false")
      assert.equal("0", count "byOverdue=true")
      assert.equal("3", count "byOverdue=false")
      assert.equal("3", count "bySerieIDs=1")
      assert.equal("0", count "bySerieIDs=2")
      assert.equal("3", count "byApplicantIDs=7%208")
      assert.equal("3", count "byIssuedSince=2020-01-01T00:00:00%2B00:00")
      assert.equal("0", count "byIssuedSince=2120-01-01T00:00:00%2B00:00")
      assert.equal("1", count "byCollectedSince=2020-01-01T00:00:00%2B00:00")
      for _, query in ipairs { "byCollected=yes", "byCurrencies=euro", "bySerieIDs=x",
        "byNothing=1", "byIssuedSince=yesterday", "byOverdue=1" } do
        local status, body = apply("GET", "/invoices?" .. query)
        assert.equal(400, status, query)
        assert.matches("^Filter " .. query:match("^%a+") .. " is invalid$", body)
      end
    end)

    it("refuses what cannot be created", function()
      start()
      assert.equal(400, (apply("POST", "/applications/7/invoices", { items = items })))
      assert.equal(400, (apply("POST", "/applications/7/invoices", { currency = "EUR" })))
      assert.equal(400, (apply("POST", "/applications/7/invoices",
        { currency = "EUR", items = { { item = "x", price = "much" } } })))
      assert.equal(400, (apply("POST", "/applications/7/invoices",
        { currency = "EUR", items = items, deadline = "soon" })))
      assert.equal(404, (apply("POST", "/applications/10000/invoices",
        { currency = "EUR", items = items })))
    end)

    it("collects: in full, not in part, not too much", function()
      start()
      local function collected()
        local _, invoice = apply("GET", "/invoices/1")
        return invoice.collected
      end
      apply("POST", "/applications/7/invoices", { currency = "EUR", items = items })
      assert.equal(422, (apply("POST", "/invoices/1/transactions",
        { amount = "1.00", currency = "USD" })))
      local status, _, headers = apply("POST", "/invoices/1/transactions",
        { amount = "30.00", currency = "EUR" })
      assert.equal(201, status)
      assert.equal("/api/invoices/1/transactions/1", headers["location"])
      assert.is_nil(collected())
      apply("POST", "/invoices/1/transactions", { amount = "9.80", currency = "EUR" })
      assert.is_string(collected())
      apply("POST", "/invoices/1/transactions", { amount = "1.00", currency = "EUR" })
      assert.is_nil(collected())
      local _, list = apply("GET", "/invoices/1/transactions")
      assert.equal("9.80", list["2"].amount)
    end)

    it("answers more than 180 calls a minute with 429, and can be told not to", function()
      start { dreamapply = { quota = 5 } }
      for _ = 1, 5 do assert.equal(200, (apply("HEAD", "/invoices"))) end
      local status, body = apply("GET", "/invoices")
      assert.equal(429, status)
      assert.equal("Quota exceeded", body)
      control("POST", "quota", { limit = 0 })
      assert.equal(200, (apply("GET", "/invoices")))
    end)

    it("keeps a journal", function()
      start()
      apply("POST", "/applications/7/invoices", { currency = "EUR", items = items })
      apply("DELETE", "/invoices/1")
      local all = "/journal?byEvents=Invoice%20was%20created:%20%3F,Invoice%20was%20deleted:%20%3F"
      local status, list, headers = apply("GET", all)
      assert.equal(200, status)
      assert.equal("2", headers["x-count"])
      assert.equal("Invoice was deleted: ?", list["2"].event)
      assert.equal("/api/v9/invoices/1", list["2"].invoice)
      assert.equal("1", select(3, apply("GET", all .. "&bySince=2"))["x-count"])
      assert.equal("1", select(3, apply("GET", all .. "&limit=1&order=newest-first"))["x-count"])
      assert.equal(400, (apply("GET", "/journal")))
      assert.equal(400, (apply("GET", all .. "&limit=1025")))
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
    it("checks key, tenant and school", function()
      start()
      local good = { Authorization = "sandbox-key", tenant = "my-school", schoolCode = "MS1" }
      for name, status in pairs { Authorization = 401, tenant = 403, schoolCode = 403 } do
        local headers = { Authorization = good.Authorization, tenant = good.tenant,
          schoolCode = good.schoolCode }
        headers[name] = "other"
        assert.equal(status, (call("GET", "/dreamclassapi/v1/financial/invoices/1",
          { headers = headers })))
      end
    end)

    it("creates, gives and pays invoices, and lists fees", function()
      start()
      assert.equal(400, (class("POST", "/financial/invoices/create", {})))
      local status, invoice = class("POST", "/financial/invoices/create",
        { entityType = "student", entityId = 1, schoolPeriodId = 1 })
      assert.equal(200, status)
      local whole = select(2, class("GET", "/financial/invoices/" .. invoice.id))
      assert.same({ 0, {} }, { whole.paidAmount, whole.payments })
      whole.paidAmount, whole.payments = nil, nil
      assert.same(invoice, whole)
      assert.equal(404, (class("GET", "/financial/invoices/99")))
      local fees = select(2, class("GET", "/financial/fees/list/1"))
      assert.equal(invoice.fees[1].id, fees[1].id)
      local paid = select(2, class("POST", "/financial/invoices/pay/" .. invoice.id,
        { amount = 12.5, paymentmethod = 1 }))
      assert.same({ invoice.id, 12.5, 12.5 }, { paid.id, paid.paidAmount, paid.payments[1].amount })
      assert.same(paid, select(2, class("GET", "/financial/invoices/" .. invoice.id)))
      assert.equal(400, (class("POST", "/financial/invoices/pay/1", { amount = 1 })))
      local fee = select(2, class("POST", "/financial/fees/create", { cost = 5, type = "school" }))
      fee = select(2, class("PATCH", "/financial/fees/update/" .. fee.id, { cost = 9 }))
      assert.equal(9, fee.cost)
      assert.equal(2, select(2, class("POST", "/financial/fees/assign",
        { studentIds = { 1, 2 }, feesIds = { fee.id } })))
      local kinds = {}
      for i, one in ipairs(received(2)) do kinds[i] = json.decode(one.body).type end
      table.sort(kinds)
      assert.same({ "INVOICE_CREATED", "PAYMENT_CREATED" }, kinds)
    end)

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

    it("refuses without its keys, in plain text", function()
      start()
      local status, body = call("GET", "/invoices/invoices?transactionId=" .. transaction)
      assert.equal(401, status)
      assert.equal("Unauthorized", body)
      status = call("POST", "/invoices/retry", { headers = { ["X-API-KEY"] = "sandbox-key" } })
      assert.equal(401, status)
    end)

    it("issues once, gives and refuses as the vendor does", function()
      start()
      local status, made = btrz("POST", "/infile?onlyValidateRequest=true",
        { transactionId = transaction })
      assert.equal(200, status)
      assert.is_nil(made.invoice)
      status, made = btrz("POST", "/infile", { transactionId = transaction })
      assert.equal(200, status)
      assert.equal(transaction, made.invoice.transactionId)
      local again
      status, again = btrz("POST", "/infile", { transactionId = transaction })
      assert.equal(400, status)
      assert.equal("TRANSACTION_ALREADY_INVOICED", again.code)
      local _, same = btrz("GET", "/invoices/" .. made.invoice._id)
      assert.same(made.invoice, same.invoice)
      assert.equal("INVOICE_NOT_FOUND",
        select(2, btrz("GET", "/invoices/616d7cf38fedff37e4492161")).code)
      assert.equal("INVALID_INVOICE_ID", select(2, btrz("GET", "/invoices/1")).code)
      assert.equal("WRONG_DATA", select(2, btrz("GET", "/invoices")).code)
    end)

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

    it("retries failures", function()
      start()
      control("POST", "trigger", { vendor = "betterez", type = "failure",
        transactionId = transaction })
      assert.equal(1, #select(2, btrz("GET", "/failures")).invoicesFailures)
      assert.equal("INVOICE_FAILURE_NOT_FOUND",
        select(2, btrz("POST", "/retry", { transactionId = ("0"):rep(24) })).code)
      assert.equal("OVERRIDE_BUYER_IS_MANDATORY",
        select(2, btrz("PUT", "/retry", { retryData = { transactionId = transaction } })).code)
      local _, made = btrz("POST", "/retry", { transactionId = transaction })
      assert.equal(transaction, made.invoice.transactionId)
      assert.equal(0, #select(2, btrz("GET", "/failures")).invoicesFailures)
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

    it("sends e-mails and PDFs", function()
      start()
      local _, made = btrz("POST", "/gti", { transactionId = transaction })
      assert.same({ status = "OK" }, select(2, btrz("POST", "/emails",
        { invoiceId = made.invoice._id, emails = { "a@example.com" } })))
      assert.equal("INVALID_EMAIL_TO_SEND", select(2, btrz("POST", "/emails",
        { invoiceId = made.invoice._id, emails = { "nobody" } })).code)
      local status, pdf, headers = btrz("GET", "/pdfs?transactionId=" .. transaction)
      assert.equal(200, status)
      assert.equal("application/pdf", headers["content-type"])
      assert.matches("^%%PDF", pdf)
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
        dreamapply = { "invoice.paid", "payment.created", "offer.edited" },
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
    start { webhooks = { betterez = "http://127.0.0.1:" .. nginx.free_port() .. "/" } }
    control("POST", "trigger", { vendor = "betterez" })
    assert.equal("connection refused", settled(1).attempts[1].error)
  end)
end)

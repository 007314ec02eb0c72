-- The sandbox's DreamApply, compared with docs/vendors.md by raw requests.

local nginx = require "spec.support.nginx"
local support = require "spec.support.sandbox"

local null = support.null

describe("the sandbox's DreamApply", function()
  local sandbox
  setup(function() sandbox = support.start() end)
  teardown(function() sandbox:stop() end)
  before_each(function() sandbox:clear() end)

  local key = { Authorization = 'DREAM apikey="sandbox-key"' }

  local function ask(method, path, body, more)
    local headers = { Authorization = key.Authorization }
    for name, value in pairs(more or {}) do headers[name] = value end
    return sandbox:ask(method, path, headers, body)
  end

  local function trigger(fields)
    fields.vendor = "dreamapply"
    return sandbox:order("trigger", fields)
  end

  local noon = "2026-03-02T12:00:00+00:00"
  local order = '{"currency":"EUR","items":[{"item":"Fee","price":"20.00","qty":"1","unit":null},'
    .. '{"item":"Discount","price":"-3.00","qty":"1","unit":null}],"deadline":"2026-03-16",'
    .. '"course_ID":33,"reminder":"Off","payer":{"name":"John Smith","email":"j@example.edu"}}'

  local function issue(application, body)
    local status, _, headers = ask("POST", "/api/v9/applications/" .. (application or 123)
      .. "/invoices", body or order)
    assert.equal(201, status)
    return headers
  end

  local function at_noon() sandbox:order("clock", { now = noon }) end

  it("shows an invoice with every member, and nulls", function()
    at_noon()
    issue()
    local status, invoice, headers, text = ask("GET", "/api/v9/invoices/1")
    assert.equal(200, status)
    assert.equal("application/json; charset=utf-8", headers["content-type"])
    assert.same({
      id = 1, type = "Invoice", nr = "AF-100001",
      serie = { id = 1, name = "Default invoice series" },
      applicant = "/api/v9/applicants/123", application = "/api/v9/applications/123",
      course = "/api/v9/courses/33", deadline = "2026-03-16", issued = noon, delivered = noon,
      reminder = false, reminded = null, collected = null, currency = "EUR",
      items = {
        { item = "Fee", price = "20.00", qty = "1.00", unit = null, inventory_item_ID = null },
        { item = "Discount", price = "-3.00", qty = "1.00", unit = null, inventory_item_ID = null },
      },
      collections = {}, instructions = "", smallprint = invoice.smallprint,
      payer = { name = "John Smith", email = "j@example.edu" },
    }, invoice)
    assert.matches('"collections":{}', text, 1, true)
  end)

  it("answers a creation with a place that can be followed", function()
    local headers = issue()
    assert.equal("application/json", headers["content-type"])
    assert.equal("0", headers["content-length"])
    assert.equal("/api/applications/123/invoices/1", headers.location)
    local status, invoice = ask("GET", headers.location)
    assert.same({ 200, 1 }, { status, invoice.id })
    assert.equal(404, (ask("GET", "/api/applications/124/invoices/1")))
    assert.equal(200, (ask("GET", "/api/v9/invoices/1/")))
    assert.equal(200, (ask("HEAD", "/api/v9/applications/123/invoices/1")))
    status, invoice = ask("GET", "/api/v9/applicants/123/invoices/1")
    assert.same({ 200, 1 }, { status, invoice.id })
  end)

  it("takes items as tuples, and a form as the vendor's own client posts it", function()
    issue(7, '{"currency":"EUR","items":[["Fee","10.00","2","pcs"]]}')
    local form = "currency=EUR&items%5B0%5D%5Bitem%5D=Fee+one&items%5B0%5D%5Bprice%5D=10.00"
      .. "&items%5B0%5D%5Bqty%5D=2&payer%5Bname%5D=Jane"
    local status, _, headers = ask("POST", "/api/v8/applications/7/invoices", form,
      { ["Content-Type"] = "application/x-www-form-urlencoded" })
    assert.equal(201, status)
    assert.matches("^text/plain", headers["content-type"])
    local _, tuple = ask("GET", "/api/v9/invoices/1")
    assert.same({ item = "Fee", price = "10.00", qty = "2.00", unit = "pcs",
      inventory_item_ID = null }, tuple.items[1])
    local _, posted = ask("GET", "/api/v8/invoices/2")
    assert.same({ "Fee one", "Jane", "/api/v8/applicants/7" },
      { posted.items[1].item, posted.payer.name, posted.applicant })
  end)

  it("tells 400, 404 and 422 apart, in plain text", function()
    issue()
    local cases = {
      { 400, "GET", "/api/v9/invoices/abc" }, { 400, "DELETE", "/api/v9/invoices/abc" },
      { 400, "GET", "/api/v9/invoices?byCollected=maybe" },
      { 400, "GET", "/api/v9/invoices/transactions?byCollectedSince=2026-02-30" },
      { 400, "GET", "/api/v9/journal" }, { 400, "GET", "/api/v9/purged-resources?page=0" },
      { 400, "POST", "/api/v9/applications/7/invoices", "{}" },
      { 400, "POST", "/api/v9/applications/7/invoices", "nonsense" },
      { 400, "POST", "/api/v9/applications/7/invoices",
        '{"currency":"EUR","items":[["Fee","1",1]],"reminder":true}' },
      { 400, "POST", "/api/v9/applications/7/invoices",
        '{"currency":"EUR","items":[["Fee","1",1]],"serie_ID":99}' },
      { 404, "GET", "/api/v9/invoices/99" }, { 404, "GET", "/api/v9/applications/10000/invoices" },
      { 404, "POST", "/api/v9/applications/10000/invoices", order },
      { 404, "GET", "/api/v9/invoices/1/transactions/1" }, { 404, "GET", "/api/v2/ping" },
      { 422, "POST", "/api/v9/invoices/1/transactions", '{"amount":"1.00","currency":"USD"}' },
      { 422, "POST", "/api/v9/invoices/1/transactions", '{"amount":"x","currency":"EUR"}' },
      { 422, "POST", "/api/v9/invoices/1/transactions", '{"amount":"0.00","currency":"EUR"}' },
      { 404, "POST", "/api/v9/invoices/9/transactions", '{"amount":"1.00","currency":"EUR"}' },
    }
    for _, case in ipairs(cases) do
      local status, text, headers = ask(case[2], case[3], case[4])
      assert.equal(case[1], status, case[3] .. " " .. tostring(text))
      assert.matches("^text/plain", headers["content-type"])
      assert.is_true(#text > 0)
    end
  end)

  it("writes what is empty as told: as in the samples, as PHP, as an object", function()
    issue()
    local expected = { sample = { "{}", "[]" }, array = { "[]", "[]" }, object = { "{}", "{}" } }
    for how, texts in pairs(expected) do
      sandbox:order("options", { vendor = "dreamapply", empty = how })
      local _, _, headers, list = ask("GET", "/api/v9/invoices?byCollected=true")
      assert.same({ texts[2], "0" }, { list, headers["x-count"] })
      local _, _, _, one = ask("GET", "/api/v9/invoices/1")
      assert.matches('"collections":' .. texts[1], one, 1, true)
    end
  end)

  it("lists by every filter, and counts by HEAD", function()
    at_noon()
    for serie = 1, 2 do
      issue(serie, ('{"currency":"%s","items":[["Fee","10.00",1]],"serie_ID":%d,'
        .. '"deadline":"2026-03-0%d"}'):format(serie == 1 and "EUR" or "USD", serie, serie))
    end
    ask("POST", "/api/v9/invoices/2/transactions", '{"amount":"10.00","currency":"USD"}')
    local function count(query)
      local status, _, headers = ask("HEAD", "/api/v9/invoices?" .. query)
      assert.equal(200, status, query)
      return tonumber(headers["x-count"])
    end
    for query, n in pairs {
      ["byOverdue=true"] = 1, ["byOverdue=false"] = 1, ["byCollected=true"] = 1,
      ["bySerieIDs=2&byCollected=true"] = 1, ["bySerieIDs=1&byCollected=true"] = 0,
      ["bySerieIDs=1,2"] = 2, ["bySerieIDs=1%202"] = 2, ["byApplicantIDs=2"] = 1,
      ["byCurrencies=EUR"] = 1, ["byIssuedSince=2026-03-02T11:59:59%2B00:00"] = 2,
      ["byIssuedSince=2026-03-02T12:00:00%2B00:00"] = 0,
      ["byCollectedSince=2026-03-02T11:59:59Z"] = 1, ["expand=*"] = 2,
    } do
      assert.equal(n, count(query), query)
    end
    local function paid(query)
      local _, list = ask("GET", "/api/v9/invoices/transactions?" .. query)
      return list["1"] ~= nil
    end
    assert.is_true(paid "byInvoiceIDs=2&byInsertedSince=2026-03-01T00:00:00Z")
    assert.is_true(paid "byInsertedBefore=2026-03-03T00:00:00Z&byCollectedBefore=2026-03-03")
    assert.is_false(paid "byCollectedSince=2026-03-02")
    assert.is_false(paid "byInvoiceIDs=1")
  end)

  it("pays through gateways: only what is captured is money", function()
    at_noon()
    issue()
    local function collected() return select(2, ask("GET", "/api/v9/invoices/1")).collected end
    local told = trigger { type = "payment.created", invoice = 1, gateway = "Stripe",
      status = "new" }
    assert.same({ "untold", "1" }, { told.state, told.payment })
    assert.equal(null, collected())
    told = trigger { type = "payment.updated", invoice = 1, status = "captured" }
    assert.equal("Invoice was collected: ?", told.type)
    assert.equal(noon, collected())
    local _, list, headers = ask("GET", "/api/v9/invoices/1/transactions")
    local one = list["1"]
    assert.equal("1", headers["x-count"])
    assert.equal(26, #one.payment.payment)
    assert.matches("^pi_", one.payment.external_id)
    assert.same({ id = 1, amount = "17.00", invoice = "/api/v9/invoices/1", inserted = noon,
      collected = "2026-03-02", administrator = null, payment = {
        payment = one.payment.payment, external_id = one.payment.external_id, status = "captured",
        message = null, inserted = noon, updated = noon,
        gateway = { id = 39, name = "Stripe", adapter = "Stripe" } } }, one)
    trigger { type = "payment.updated", invoice = 1, status = "failed", message = "declined" }
    assert.equal(null, collected())
    local _, failed = ask("GET", "/api/v9/invoices/transactions/1")
    assert.equal("declined", failed.payment.message)
    trigger { type = "payment.deleted", invoice = 1 }
    assert.equal(404, (ask("GET", "/api/v9/invoices/transactions/1")))
  end)

  it("sets collected by what adds up, and clears it where the amount is edited", function()
    issue()
    local function pay(amount)
      local status, _, headers = ask("POST", "/api/v9/invoices/1/transactions",
        ('{"amount":"%s","currency":"EUR"}'):format(amount))
      assert.equal(201, status)
      return headers.location, select(2, ask("GET", "/api/v9/invoices/1")).collected ~= null
    end
    assert.same({ "/api/invoices/1/transactions/1", false }, { pay "10.00" })
    assert.same({ "/api/invoices/1/transactions/2", true }, { pay "7.00" })
    assert.equal(200, (ask("GET", "/api/invoices/1/transactions/2")))
    trigger { type = "invoice.updated", invoice = 1, items = { { item = "Fee", price = "30.00" } } }
    local _, edited = ask("GET", "/api/v9/invoices/1")
    assert.same({ null, "30.00", 1 }, { edited.collected, edited.items[1].price, #edited.items })
    assert.same({ "/api/invoices/1/transactions/3", true }, { pay "13.00" })
    assert.same({ "/api/invoices/1/transactions/4", false }, { pay "0.01" })
  end)

  it("lets an invoice lapse: no field tells, nobody collects, nothing is overdue", function()
    issue(nil, '{"currency":"EUR","items":[["Fee","1.00",1]],"deadline":"2020-01-01"}')
    assert.equal("1", select(3, ask("HEAD", "/api/v9/invoices?byOverdue=true"))["x-count"])
    local _, before = ask("GET", "/api/v9/invoices/1")
    trigger { type = "invoice.lapsed", invoice = 1 }
    assert.same(before, select(2, ask("GET", "/api/v9/invoices/1")))
    assert.equal(422, (ask("POST", "/api/v9/invoices/1/transactions",
      '{"amount":"1.00","currency":"EUR"}')))
    assert.equal("0", select(3, ask("HEAD", "/api/v9/invoices?byOverdue=true"))["x-count"])
  end)

  it("detaches a deleted applicant's invoices, and removes what need not be kept", function()
    at_noon()
    for serie = 1, 2 do
      issue(5, ('{"currency":"EUR","items":[["Fee","1.00",1]],"serie_ID":%d}'):format(serie))
    end
    local told = trigger { type = "applicant.deleted", applicant = 5 }
    assert.equal("Applicant was deleted", told.type)
    local _, kept = ask("GET", "/api/v9/invoices/1")
    assert.same({ null, null, "John Smith" }, { kept.applicant, kept.application, kept.payer.name })
    assert.equal(404, (ask("GET", "/api/v9/applicants/5/invoices")))
    assert.equal(404, (ask("HEAD", "/api/v9/applicants/5")))
    local status, purged, headers = ask("GET", "/api/v9/purged-resources")
    assert.same({ 200, "2" }, { status, headers["x-count"] })
    assert.same({ total = 1, current = 1, prev = null, next = null,
      items = { current = 2, total = 2 } }, purged.pages)
    assert.same({ "Application", 5, null }, { purged["1"].type, purged["1"].id,
      purged["1"].request_to_be_forgotten })
    assert.equal(200, (ask("HEAD", "/api/v9/invoices/2")))
    sandbox:order("clock", { forward = 86400 })
    nginx.wait("the night", function() return ask("HEAD", "/api/v9/invoices/2") == 404 end)
    assert.equal(200, (ask("HEAD", "/api/v9/invoices/1")))
  end)

  it("deletes, and takes a deletion back", function()
    issue()
    local status, text, headers = ask("DELETE", "/api/v9/invoices/1")
    assert.same({ 204, "", "text/plain", "0" },
      { status, text, headers["content-type"], headers["content-length"] })
    assert.equal(404, (ask("DELETE", "/api/v9/invoices/1")))
    trigger { type = "invoice.restored", invoice = 1 }
    assert.equal(200, (ask("GET", "/api/v9/invoices/1")))
  end)

  it("journals in order, half a year long, and corrects order and limit silently", function()
    at_noon()
    issue()
    trigger { type = "invoice.updated", invoice = 1, amount = "5.00" }
    trigger { type = "Invoice was re-issued: ?", invoice = 1 }
    local events = "byEvents=Invoice%20was%20created:%20%3F,Invoice%20was%20edited:%20%3F,"
      .. "Invoice%20was%20re-issued:%20%3F"
    local function journal(more)
      local status, list, headers, text = ask("GET", "/api/v9/journal?" .. events .. (more or ""))
      assert.equal(200, status)
      local ids = {}
      for id in text:gmatch '"(%d+)":{' do ids[#ids + 1] = tonumber(id) end
      return ids, tonumber(headers["x-count"]), list
    end
    local ids, count, list = journal()
    assert.same({ { 1, 2, 3 }, 3 }, { ids, count })
    assert.same({ id = 1, logged = noon, event = "Invoice was created: ?", bind = { "AF-100001" },
      administrator = null, applicant = "/api/v9/applicants/123",
      application = "/api/v9/applications/123", course = "/api/v9/courses/33", institution = null,
      invoice = "/api/v9/invoices/1", offer = null, document = null, flag = null, tracker = null },
      list["1"])
    assert.same({ 3, 2, 1 }, (journal "&order=newest-first"))
    assert.same({ 1, 2, 3 }, (journal "&order=upwards&limit=5000"))
    ids, count = journal "&limit=1"
    assert.same({ { 1 }, 3 }, { ids, count })
    assert.same({ 2, 3 }, (journal "&bySince=2"))
    assert.same({ 1, 2 }, (journal "&byUntil=2"))
    assert.same({ 1, 2, 3 }, (journal "&byAcademicYear=2026&byAcademicTermID=1"))
    assert.same({}, (journal "&byAcademicTermID=2"))
    assert.equal("3", select(3, ask("HEAD", "/api/v9/journal?" .. events))["x-count"])
    sandbox:order("clock", { forward = 190 * 86400 })
    assert.same({}, (journal()))
  end)

  it("counts every request against the quota, with Retry-After only when told", function()
    at_noon()
    sandbox:order("quota", { limit = 2, window = 10 })
    ask("HEAD", "/api/v9/invoices")
    ask("GET", "/api/v9/nothing")
    local status, text, headers = ask("GET", "/api/v9/invoices")
    assert.same({ 429, "Quota exceeded" }, { status, text })
    assert.is_nil(headers["retry-after"])
    sandbox:order("quota", { limit = 1, window = 10, retry_after = true })
    ask("GET", "/api/v9/ping")
    status, text, headers = ask("GET", "/api/v9/ping")
    assert.equal("Quota exceeded", text)
    assert.same({ 429, "10" }, { status, headers["retry-after"] })
    sandbox:order("clock", { forward = 11 })
    assert.equal(200, (ask("GET", "/api/v9/ping")))
    sandbox:order("quota", { limit = 0 })
  end)

  it("answers as of some time ago, and hides what is new", function()
    at_noon()
    issue()
    sandbox:order("options", { vendor = "dreamapply", lag = 60 })
    assert.equal(404, (ask("GET", "/api/v9/invoices/1")))
    assert.equal("1", sandbox:hooks(1)[1].body.bind[1]:match "%d$")
    sandbox:order("clock", { forward = 61 })
    assert.equal(200, (ask("GET", "/api/v9/invoices/1")))
    ask("DELETE", "/api/v9/invoices/1")
    assert.equal(200, (ask("GET", "/api/v9/invoices/1")))
    sandbox:order("options", { vendor = "dreamapply", lag = 0 })
    assert.equal(404, (ask("GET", "/api/v9/invoices/1")))
    sandbox:order("fault", { next = "unseen", seconds = 30 })
    issue()
    assert.equal(404, (ask("GET", "/api/v9/invoices/2")))
    sandbox:order("clock", { forward = 31 })
    assert.equal(200, (ask("GET", "/api/v9/invoices/2")))
  end)

  it("loses, doubles and delays webhooks as told, and forges them", function()
    at_noon()
    for _, fault in ipairs { { copies = 0 }, { copies = 2 }, { seconds = 3600 } } do
      fault.next, fault.vendor = "webhook", "dreamapply"
      sandbox:order("fault", fault)
      issue()
    end
    issue()
    local function ids()
      local list = {}
      for i, one in ipairs(sandbox:hooks(3)) do list[i] = one.body.id end
      table.sort(list)
      return list
    end
    assert.same({ 2, 2, 4 }, ids())
    local _, sent = sandbox:ask("GET", "/sandbox/deliveries")
    assert.same({ "lost", "pending" }, { sent[1].state, sent[3].state })
    sandbox:order("clock", { forward = 3601 })
    assert.equal(3, sandbox:hooks(4)[4].body.id)
    sandbox:order("forge", { vendor = "dreamapply", invoice = 1, proof = "captured" })
    sandbox:order("forge", { vendor = "dreamapply", invoice = 1 })
    local proofs = {}
    for i, one in ipairs(sandbox:hooks(6)) do proofs[i] = one.headers.authorization end
    table.sort(proofs)
    assert.equal("Bearer guess", proofs[1])
    assert.equal("Bearer sandbox-hook", proofs[2])
  end)
end)

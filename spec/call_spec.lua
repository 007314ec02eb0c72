local core = require "billhook.core"

local call, decimal, null = core.call, core.decimal.new, core.json.null

local HEX = "616d7cf38fedff37e4492161"

local function prepare(vendor, operation, params, paths)
  return call.prepare(vendor, operation, params, paths)
end

-- what is raised is the message alone: the client adds whose line it was
local function refuses(message, ...)
  local fine, err = pcall(call.prepare, ...)
  assert.is_false(fine)
  assert.equal(message, err)
end

local function path(...) return prepare(...).path end
local function query(...) return prepare(...).query end

describe("call.list", function()
  it("tells every operation of a vendor once", function()
    for vendor, least in pairs { dreamapply = 17, dreamclass = 12, betterez = 36 } do
      local seen, count = {}, 0
      for _, one in ipairs(call.list(vendor)) do
        assert.is_nil(seen[one.name])
        seen[one.name] = one
        count = count + 1
        assert.is_truthy(one.name:find("^[a-z_]+%.?[a-z_]*$"))
        assert.is_truthy(("GET HEAD POST PUT PATCH DELETE"):find(one.method))
        assert.is_truthy(one.path:find("^/[%w/{}%-]+$"))
        assert.equal(one.method == "GET" or one.method == "HEAD", one.safe, one.name)
        assert.is_true(one.idempotent or not one.safe)
        assert.is_string(one.answer)
      end
      assert.equal(least, count)
    end
  end)

  it("tells their parameters", function()
    local by_name = {}
    for _, one in ipairs(call.list("dreamapply")) do
      by_name[one.name] = one
    end
    assert.same({ { name = "id", type = "id", place = "path", required = true, list = false } },
      by_name["invoices.get"].params)
    local items = by_name["invoices.create"].params[3]
    assert.equal("items", items.name)
    assert.is_true(items.list and items.required)
    assert.equal("unit", items.fields[4].name)
    assert.same({
      application = "GET /api/v9/applications/{application}/invoices",
      applicant = "GET /api/v9/applicants/{applicant}/invoices",
    }, by_name["invoices.list"].routes)
    assert.same({ "newest-first", "oldest-first" }, by_name["journal.list"].params[6].choices)
  end)

  it("marks the paths that no document shows", function()
    local guesses = {}
    for _, one in ipairs(call.list("dreamclass")) do
      if one.unverified then
        guesses[#guesses + 1] = one.name
      end
    end
    assert.same({ "invoices.get", "invoices.list", "payment_methods.list", "fees.list",
      "fees.create", "periods.list" }, guesses)
  end)

  it("prepares with its required parameters alone, and not without one of them", function()
    local sample = {
      id = 7, hex24 = HEX, text = "x", currency = "EUR", date = "2026-01-01", decimal = "1.00",
      number = "1.00", integer = 1, object = { a = 1 }, boolean = true, datetime = "2026-01-01",
      record = { { item = "a", price = "1", qty = "1" } }, numbered = 1,
    }
    for _, vendor in ipairs { "dreamapply", "dreamclass", "betterez" } do
      for _, one in ipairs(call.list(vendor)) do
        local params = {}
        for _, param in ipairs(one.params) do
          if param.required then
            params[param.name] = param.choices and param.choices[1] or sample[param.type]
          end
        end
        if one.method == "PATCH" and one.params[1] and one.params[1].place == "path" then
          local change = one.params[#one.params]
          refuses(one.name .. ": there must be one parameter or more to send", vendor, one.name,
            params)
          params[change.name] = sample[change.type]
        end
        local request = prepare(vendor, one.name, params)
        assert.equal(one.method, request.method)
        assert.equal(one.answer, request.answer)
        assert.equal(one.safe, request.safe)
        assert.equal(one.idempotent, request.idempotent)
        assert.is_nil(request.path:find("[{}]"))
        for _, param in ipairs(one.params) do
          local name, value = param.name, params[param.name]
          params[name] = nil
          if param.required then
            refuses(("%s: '%s' is missing"):format(one.name, name), vendor, one.name, params)
          end
          params[name] = value
        end
        local names = {}
        for i, param in ipairs(one.params) do names[i] = param.name end
        params.surprise = 1
        refuses(("%s: 'surprise' is not known: there are %s"):format(one.name,
          #names == 0 and "no parameters" or table.concat(names, ", ")), vendor, one.name, params)
      end
    end
  end)
end)

describe("call.prepare", function()
  it("writes the seeds' requests", function()
    assert.same({ method = "GET", path = "/api/v9/invoices/123", answer = "one", safe = true,
      idempotent = true }, prepare("dreamapply", "invoices.get", { id = 123 }))
    assert.same({ method = "DELETE", path = "/api/v9/invoices/123", answer = "none", safe = false,
      idempotent = true }, prepare("dreamapply", "invoices.delete", { id = 123 }))
    assert.same({ method = "GET", path = "/api/v9/applications/123/invoices", answer = "map",
      safe = true, idempotent = true }, prepare("dreamapply", "invoices.list",
        { application = 123 }))
    assert.same({ method = "HEAD", path = "/api/v9/invoices", query = "byOverdue=true",
      answer = "count", safe = true, idempotent = true },
      prepare("dreamapply", "invoices.count", { byOverdue = true }))
  end)

  it("writes the seeds' body", function()
    local request = prepare("dreamapply", "invoices.create", {
      application = 123, invoice_class_ID = 1, currency = "EUR",
      items = {
        { item = "Airport pickup fee", price = "25.00", qty = "1" },
        { item = "City excursion fee", price = decimal("25.00"), qty = 1 },
      },
      deadline = "2026-09-01",
      smallprint = "This invoice has been issued electronically and is valid without a signature",
      issuer_institution_ID = 1, course_ID = 20, reminder = "Off",
      payer = { name = "John Smith", email = "john.smith@email.com" },
    })
    assert.equal("POST", request.method)
    assert.equal("/api/v9/applications/123/invoices", request.path)
    assert.is_false(request.idempotent)
    assert.same({
      invoice_class_ID = 1, currency = "EUR",
      items = {
        { item = "Airport pickup fee", price = "25.00", qty = "1", unit = null },
        { item = "City excursion fee", price = "25.00", qty = "1", unit = null },
      },
      deadline = "2026-09-01",
      smallprint = "This invoice has been issued electronically and is valid without a signature",
      issuer_institution_ID = 1, course_ID = 20, reminder = "Off",
      payer = { name = "John Smith", email = "john.smith@email.com" },
    }, request.body)
  end)

  describe("checks", function()
    it("the vendor and the operation", function()
      refuses("unknown vendor 'stripe'", "stripe", "invoices.get", {})
      refuses("unknown operation 'invoices.pay' of dreamapply", "dreamapply", "invoices.pay", {})
      assert.is_false(pcall(prepare, "dreamapply", "invoices.get\0", { id = 1 }))
    end)

    it("what parameters come in", function()
      refuses("invoices.get: 'parameters' must be a table, got number", "dreamapply",
        "invoices.get", 123)
      refuses("invoices.get: [1] is not known: there are id", "dreamapply", "invoices.get",
        { 123 })
      refuses("invoices.get: 'ID' is not known: there are id", "dreamapply", "invoices.get",
        { ID = 123 })
      refuses("ping: 'id' is not known: there are no parameters", "dreamapply", "ping", { id = 1 })
      refuses("invoices.get: 'id' is missing", "dreamapply", "invoices.get")
      assert.equal("/api/v9/ping", path("dreamapply", "ping"))
    end)

    it("the issue's example", function()
      refuses("invoices.list: 'byCollected' must be a boolean, got string",
        "dreamapply", "invoices.list", { byCollected = "yes" })
    end)
  end)

  describe("writes ids", function()
    local function id(value) return path("dreamapply", "invoices.get", { id = value }) end

    it("that are whole numbers", function()
      assert.equal("/api/v9/invoices/16", id(16))
      assert.equal("/api/v9/invoices/16", id(16.0))
      assert.equal("/api/v9/invoices/16", id("16"))
      assert.equal("/api/v9/invoices/9007199254740992", id(2 ^ 53))
      assert.equal("/api/v9/invoices/1000000000000000", id(1e15))
      assert.equal("/api/v9/invoices/999999999999999999", id("999999999999999999"))
    end)

    it("and nothing else", function()
      for value, got in pairs {
        [0] = "0", [-1] = "-1", [1.5] = "1.5", ["0"] = '"0"', ["007"] = '"007"', ["-1"] = '"-1"',
        ["16.0"] = '"16.0"', [""] = '""', ["1e3"] = '"1e3"', ["../1"] = '"../1"', ["1/2"] = '"1/2"',
        ["12345678901234567890"] = '"12345678901234567890"', ["1%2f"] = '"1%2f"', [" 1"] = '" 1"',
        [true] = "boolean",
      } do
        refuses("invoices.get: 'id' must be a positive whole number, got " .. got, "dreamapply",
          "invoices.get", { id = value })
      end
      assert.is_false(pcall(id, 1 / 0))
      assert.is_false(pcall(id, 0 / 0))
      assert.is_false(pcall(id, {}))
      assert.is_false(pcall(id, "1\0"))
      assert.is_false(pcall(id, ("1"):rep(100)))
    end)

    it("of 24 hexadecimal digits", function()
      assert.equal("/invoices/" .. HEX, path("betterez", "invoices.get", { id = HEX }))
      assert.equal("/invoices/" .. HEX:upper(), path("betterez", "invoices.get",
        { id = HEX:upper() }))
      for _, value in ipairs { HEX .. "0", HEX:sub(2), HEX:sub(2) .. "g", "../" .. HEX:sub(4),
        123, "" } do
        local fine, err = pcall(path, "betterez", "invoices.get", { id = value })
        assert.is_false(fine)
        assert.is_truthy(err:find("24 hexadecimal digits", 1, true))
      end
    end)
  end)

  describe("writes queries", function()
    local function list(params) return query("dreamapply", "invoices.list", params) end

    it("in one order, joined", function()
      assert.equal("bySerieIDs=2,3&byCollected=false", list { byCollected = false,
        bySerieIDs = { 2, "3" } })
      assert.equal("byCurrencies=EUR,USD", list { byCurrencies = { "EUR", "USD" } })
      assert.equal("bySerieIDs=2", list { bySerieIDs = 2 })
      assert.is_nil(list {})
    end)

    it("with encoded datetimes", function()
      assert.equal("byIssuedSince=2026-01-01T00%3A00%3A00%2B00%3A00",
        list { byIssuedSince = "2026-01-01T00:00:00+00:00" })
      assert.equal("byIssuedSince=2024-02-29T23%3A59%3A59.999Z",
        list { byIssuedSince = "2024-02-29T23:59:59.999Z" })
      assert.equal("byIssuedSince=2026-01-01", list { byIssuedSince = "2026-01-01" })
      assert.equal("byIssuedSince=2026-01-01T10%3A00", list { byIssuedSince = "2026-01-01T10:00" })
    end)

    it("with epoch seconds as datetimes", function()
      for epoch, text in pairs {
        [0] = "1970-01-01T00:00:00", [951782400] = "2000-02-29T00:00:00",
        [1795255200] = "2026-11-21T10:00:00", [253402300799] = "9999-12-31T23:59:59",
        [4107542399] = "2100-02-28T23:59:59", [4107542400] = "2100-03-01T00:00:00",
        [1709251199] = "2024-02-29T23:59:59",
      } do
        assert.equal("byIssuedSince=" .. text:gsub(":", "%%3A") .. "%2B00%3A00",
          list { byIssuedSince = epoch })
      end
    end)

    it("only of datetimes that exist", function()
      for _, value in ipairs { "2026-02-29", "2026-13-01", "2026-00-01", "2026-01-00", "2026-1-1",
        "20260101", "2026-01-01 10:00", "2026-01-01T24:00", "2026-01-01T10:60",
          "2026-01-01T10:00:60",
        "2026-01-01T10:00:00.", "2026-01-01T10:00:00+0000", "2026-01-01T10:00:00+15:00",
        "2026-01-01T10:00:00Zx", "2026-01-01T", "0000-01-01", "2026-01-01\n", "", "now", -1, 1.5,
        253402300800, true, {} } do
        local fine, err = pcall(list, { byIssuedSince = value })
        assert.is_false(fine, tostring(value))
        assert.is_truthy(err:find("must be an ISO 8601 date or datetime", 1, true), err)
      end
    end)

    it("with dates", function()
      assert.equal("byCollectedSince=2024-02-29",
        query("dreamapply", "transactions.list", { byCollectedSince = "2024-02-29" }))
      for _, value in ipairs { "2023-02-29", "2024-02-29T00:00:00Z", 20240229, "29.02.2024" } do
        local fine, err = pcall(query, "dreamapply", "transactions.list",
          { byCollectedSince = value })
        assert.is_false(fine)
        assert.is_truthy(err:find("must be a date YYYY-MM-DD", 1, true), err)
      end
    end)

    it("with texts encoded one by one", function()
      assert.equal("byEvents=Invoice%20was%20issued%3A%20%3F,a%2Cb&order=newest-first&limit=10",
        query("dreamapply", "journal.list",
          { byEvents = { "Invoice was issued: ?", "a,b" }, order = "newest-first", limit = 10 }))
      assert.equal("taxNumber=12%2F3%26x%3D%23&country=%C3%84",
        query("betterez", "tax_ids.list", { taxNumber = "12/3&x=#", country = "Ä" }))
    end)

    it("with an id or a datetime where either will do", function()
      local function since(value) return query("dreamapply", "journal.list", { byEvents = "x",
        bySince = value }) end
      assert.equal("byEvents=x&bySince=124", since(124))
      assert.equal("byEvents=x&bySince=124", since("124"))
      assert.equal("byEvents=x&bySince=2026-01-01", since("2026-01-01"))
      assert.is_false(pcall(since, "yesterday"))
      assert.is_false(pcall(since, 0))
    end)

    it("of lists that are lists", function()
      local function serie(value) return list { bySerieIDs = value } end
      for value, message in pairs {
        [{}] = "must be a list of one or more",
        [{ a = 1 }] = "must be a list of one or more",
        [{ 1, a = 2 }] = "must be a list without gaps or names",
        [{ { 1 } }] = "must be a positive whole number, got table",
      } do
        local fine, err = pcall(serie, value)
        assert.is_false(fine)
        assert.is_truthy(err:find("invoices.list: 'bySerieIDs", 1, true), err)
        assert.is_truthy(err:find(message, 1, true), err)
      end
      refuses("invoices.list: 'bySerieIDs[2]' must be a positive whole number, got \"x\"",
        "dreamapply", "invoices.list", { bySerieIDs = { 1, "x" } })
      refuses("invoices.list: 'byCurrencies' must be three capital letters, got \"eur\"",
        "dreamapply", "invoices.list", { byCurrencies = "eur" })
    end)

    it("of any length", function()
      local ids = {}
      for i = 1, 5000 do
        ids[i] = i
      end
      assert.equal("bySerieIDs=" .. table.concat(ids, ","), list { bySerieIDs = ids })
      assert.equal("byEvents=" .. ("%C3%A4"):rep(50000),
        query("dreamapply", "journal.list", { byEvents = ("ä"):rep(50000) }))
    end)

    it("with choices", function()
      refuses("journal.list: 'order' must be one of newest-first, oldest-first, got \"up\"",
        "dreamapply", "journal.list", { byEvents = "x", order = "up" })
    end)
  end)

  describe("takes another path", function()
    it("where a parameter asks for it", function()
      assert.equal("/api/v9/applicants/5/invoices", path("dreamapply", "invoices.list",
        { applicant = 5 }))
      assert.equal("/api/v9/applications/5/invoices", path("dreamapply", "invoices.count",
        { application = 5 }))
      assert.equal("/api/v9/invoices/7/transactions", path("dreamapply", "transactions.list",
        { invoice = 7 }))
      assert.equal("/api/v9/invoices/transactions", path("dreamapply", "transactions.list"))
      assert.equal("/api/v9/invoices/transactions/9", path("dreamapply", "transactions.get",
        { id = 9 }))
      assert.equal("/api/v9/invoices/7/transactions/9",
        path("dreamapply", "transactions.get", { id = 9, invoice = 7 }))
    end)

    it("and then takes no filters", function()
      refuses("invoices.list: 'byCollected' does not go with 'application'",
        "dreamapply",
        "invoices.list", { application = 5, byCollected = true })
      refuses("invoices.list: 'applicant' does not go with 'application'", "dreamapply",
        "invoices.list", { application = 5, applicant = 6 })
      refuses("transactions.list: 'byInvoiceIDs' does not go with 'invoice'",
        "dreamapply",
        "transactions.list", { invoice = 5, byInvoiceIDs = { 5 } })
    end)

    it("or another method: Betterez's retry", function()
      assert.same({ method = "POST", path = "/retry", answer = "one", unwrap = "invoice",
        safe = false,
        idempotent = false, body = { transactionId = HEX } },
        prepare("betterez", "invoices.retry", { transactionId = HEX }))
      local request = prepare("betterez", "invoices.retry",
        { transactionId = HEX, overrideBuyer = { name = "x" } })
      assert.equal("PUT", request.method)
      assert.same({ retryData = { transactionId = HEX, overrideBuyer = { name = "x" } } },
        request.body)
      request = prepare("betterez", "invoices.retry", { body = { transactionId = HEX, any = 1 } })
      assert.equal("PUT", request.method)
      assert.same({ transactionId = HEX, any = 1 }, request.body)
      refuses("invoices.retry: 'transactionId' does not go with 'body'", "betterez",
        "invoices.retry", { transactionId = HEX, body = { a = 1 } })
    end)
  end)

  describe("takes the client's own path", function()
    local function own(template, params)
      return prepare("dreamclass", "invoices.get", params or { id = 16 },
        { ["invoices.get"] = template })
    end

    it("instead of its guess", function()
      assert.equal("/financial/invoices/16", path("dreamclass", "invoices.get", { id = 16.0 }))
      assert.equal("/v2/invoice/16/full", own("/v2/invoice/{id}/full").path)
      assert.equal("/v2/invoice?key=16", own("/v2/invoice?key={id}").path)
      assert.equal("/financial/fees/list/3", prepare("dreamclass", "fees.list", { period = 3 },
        { ["invoices.get"] = "/x/{id}" }).path)
    end)

    it("if it is one", function()
      local start, plain = '(must be "/...")', "(must be of plain characters)"
      for template, why in pairs {
        ["x/{id}"] = start, ["//evil.example/{id}"] = start, ["https://evil.example/{id}"] = start,
        ["/"] = start, [""] = start, [5] = start,
        ["/x"] = "(id: missing)", ["/{id}/{period}"] = "(period: not a parameter of its path)",
        ["/{id"] = plain, ["/id}"] = plain, ["/../{id}"] = plain, ["/a b/{id}"] = plain,
        ["/a//{id}"] = plain, ["/{id}#x"] = plain, ["/a\n{id}"] = plain, ["/{id}\0"] = plain,
      } do
        local fine, err = pcall(own, template)
        assert.is_false(fine, template)
        assert.equal("bad path of invoices.get " .. why, err)
      end
      assert.is_false(pcall(own, "/{}/{id}"))
    end)

    it("without a query where the operation has one", function()
      refuses("bad path of invoices.list (transactionId: would be a second query)", "betterez",
        "invoices.list", { transactionId = HEX }, { ["invoices.list"] = "/x?y=1" })
    end)
  end)

  it("leads no id to another resource, or to all of them", function()
    local tried = 0
    for _, vendor in ipairs { "dreamapply", "dreamclass", "betterez" } do
      for _, one in ipairs(call.list(vendor)) do
        for _, param in ipairs(one.params) do
          if param.place == "path" and param.type == "text" then
            tried = tried + 1
            for _, id in ipairs { "", ".", ".." } do
              refuses(("%s: '%s' must be a string, neither empty nor dots alone, got \"%s\"")
                :format(one.name, param.name, id), vendor, one.name,
                { [param.name] = id, body = one.name:find "update" and { url = "x" } or nil })
            end
          end
        end
      end
    end
    assert.is_true(tried >= 6)
    assert.equal("/undelivered/...", path("betterez", "undelivered.delete", { id = "..." }))
  end)

  it("leads no id to another operation", function()
    for _, name in ipairs { "undelivered.delete", "undelivered.get" } do
      for id, other in pairs { ["batch-all"] = "delete_all", ["BATCH-all"] = "delete_all",
        ["retry-all"] = "retry_all" } do
        refuses(("%s: with these parameters its path is that of undelivered.%s"):format(name,
          other), "betterez", name, { id = id })
      end
    end
    assert.equal("/undelivered/batch-al", path("betterez", "undelivered.delete",
      { id = "batch-al" }))
    -- whatever there is: an id of letters in one path, and another path without any
    for _, vendor in ipairs { "dreamapply", "dreamclass", "betterez" } do
      local list = call.list(vendor)
      for _, one in ipairs(list) do
        local head, name = one.path:match "^(.*/){([%w_]+)}$"
        for _, other in ipairs(list) do
          local rest = head and other.path:sub(1, #head) == head and other.path:sub(#head + 1)
          if rest and rest:find "^[%w-]+$" then
            local body = one.method ~= "GET" and one.method ~= "DELETE" and { a = 1 } or nil
            assert.is_false(pcall(call.prepare, vendor, one.name, { [name] = rest, body = body }),
              one.name .. " " .. rest)
          end
        end
      end
    end
  end)

  it("keeps numbers in the ranges that the vendors name", function()
    local plan = { studentIds = 1, feesIds = 2 }
    for _, case in ipairs {
      { "dreamclass", "fees.assign", plan, "installmentPlan", "1", "3", 0, 4, "9" },
      { "dreamclass", "fees.update", { id = 1 }, "interval", "0.5", "6", 0, "0.4", "6.1", 7 },
      { "dreamapply", "journal.list", { byEvents = "x" }, "limit", "1", "1024", 0, 1025, "0" },
      { "dreamapply", "journal.count", { byEvents = "x" }, "limit", "1", "1024", 0, 1025 },
      { "betterez", "invoices.list", { transactionId = HEX }, "page", "1", "99999", 0, "0" },
      { "betterez", "providers.list", {}, "page", "1", "99999", 0 },
    } do
      local vendor, name, params, param = case[1], case[2], case[3], case[4]
      for i = 5, 6 do
        params[param] = case[i]
        assert.is_table(prepare(vendor, name, params))
      end
      for i = 7, #case do
        params[param] = case[i]
        local fine, err = pcall(call.prepare, vendor, name, params)
        assert.is_false(fine, name .. " " .. case[i])
        assert.match(": '" .. param .. "' must be a .* from [%d.]+ .*, got", err)
      end
    end
  end)

  describe("writes bodies", function()
    local function create(more)
      local params = { application = 1, currency = "EUR", items = { { "Fee", "1.00", 1 } } }
      for name, value in pairs(more) do
        params[name] = value
      end
      return prepare("dreamapply", "invoices.create", params).body
    end

    it("with items as tables or as tuples", function()
      assert.same({
        { item = "Fee", price = "-3.00", qty = "1", unit = "h" },
        { item = "Tax", price = "2.5", qty = "1.00", unit = null },
        { item = "Rest", price = "9.95", qty = "2", unit = null },
      }, create { items = {
        { item = "Fee", price = "-3.00", qty = 1, unit = "h" },
        { "Tax", 2.5, decimal("1.00") },
        { item = "Rest", price = 9.95, qty = "2", unit = null },
      } }.items)
    end)

    it("and checks every item", function()
      local function bad(message, items)
        refuses(message, "dreamapply", "invoices.create", { application = 1, currency = "EUR",
          items = items })
      end
      bad("invoices.create: 'items' must be a list of one or more", {})
      bad("invoices.create: 'items' must be a list of tables, got \"x\"", "x")
      bad("invoices.create: 'items' must be a list of one or more", { item = "x" })
      bad("invoices.create: 'items[1]' must be a table, got \"Fee\"", { "Fee", "1.00", 1 })
      bad("invoices.create: 'items[1].price' is missing", { { item = "x", qty = 1 } })
      bad("invoices.create: 'items[2].qty' is missing", { { "x", 1, 1 }, { "x", 1 } })
      bad("invoices.create: 'items[1].item' is missing", { { price = 1, qty = 1, item = null } })
      local known = " is not known: there are item, price, qty, unit, inventory_item_ID"
      bad("invoices.create: 'items[1].cost'" .. known,
        { { item = "x", price = 1, qty = 1, cost = 2 } })
      bad("invoices.create: 'items[1].6'" .. known, { { "x", 1, 1, "h", 5, "more" } })
      bad("invoices.create: 'items[1].unit'" .. known, { { "x", 1, 1, unit = "h" } })
      bad("invoices.create: 'items[1].price' must be a decimal, got \"1,50\"",
        { { "x", "1,50", 1 } })
      bad("invoices.create: 'items[1].price' must be a decimal, got boolean", { { "x", true, 1 } })
      bad("invoices.create: 'items[1].price' must be a string, for a number keeps only 15 digits,"
        .. " got number", { { "x", 0.1 + 0.2, 1 } })
      bad("invoices.create: 'items[1].item' must be a string, got 5", { { 5, 1, 1 } })
    end)

    it("with switches, payers and ids", function()
      assert.equal("On", create { reminder = true }.reminder)
      assert.equal("Off", create { reminder = false }.reminder)
      assert.equal("On", create { reminder = "On" }.reminder)
      assert.same({ name = "J", email = "j@x" }, create { payer = { "J", "j@x" } }.payer)
      assert.same({ name = "J" }, create { payer = { name = "J" } }.payer)
      assert.equal(20, create { course_ID = "20" }.course_ID)
      assert.equal(20, create { course_ID = 20.0 }.course_ID)
      if math.type then
        assert.equal("integer", math.type(create { course_ID = 20.0 }.course_ID))
      end
      for name, value in pairs { reminder = "on", payer = { nam = "J" }, course_ID = "x",
        deadline = "soon", copy = 5, smallprint = "a\0b", currency = "eu" } do
        local fine, err = pcall(create, { [name] = value })
        assert.is_false(fine, name)
        assert.is_truthy(err:find("invoices.create: '" .. name, 1, true), err)
      end
    end)

    it("with datetimes as they came, and epochs as text", function()
      assert.equal("2026-09-01T10:00:00+02:00",
        create { deadline = "2026-09-01T10:00:00+02:00" }.deadline)
      assert.equal("2026-11-21T10:00:00+00:00", create { deadline = 1795255200 }.deadline)
      local long = "2026-09-01T10:00:00." .. ("1"):rep(100) .. "Z"
      assert.equal(long, create { deadline = long }.deadline)
    end)

    it("with long texts whole", function()
      local long = ("länger\r\n"):rep(1000)
      assert.equal(long, create { smallprint = long }.smallprint)
    end)

    it("without touching what was given", function()
      local items = { { item = "x", price = 1, qty = 1 } }
      local params = { application = 1, currency = "EUR", items = items, reminder = true }
      prepare("dreamapply", "invoices.create", params)
      assert.same({ application = 1, currency = "EUR", items = { { item = "x", price = 1,
        qty = 1 } },
        reminder = true }, params)
      assert.equal(items, params.items)
    end)

    it("with amounts as the vendor has them", function()
      local function amount(vendor, operation, value)
        local params = vendor == "dreamapply" and { invoice = 1, amount = value, currency = "EUR" }
          or { id = 1, amount = value, paymentmethod = 1 }
        return prepare(vendor, operation, params).body.amount
      end
      assert.equal("17.00", amount("dreamapply", "transactions.create", decimal("17.00")))
      assert.equal("17", amount("dreamapply", "transactions.create", 17))
      assert.equal("17.1", amount("dreamapply", "transactions.create", 17.1))
      assert.equal(300, amount("dreamclass", "invoices.pay", "300.00"))
      assert.equal(300, amount("dreamclass", "invoices.pay", 300))
      -- numbers that are sent as they are written
      for _, value in ipairs { 9.95, "09.95", decimal "9.95" } do
        local exact = amount("dreamclass", "invoices.pay", value)
        assert.same({ "9.95" }, exact)
        assert.equal(call.number, getmetatable(exact))
      end
      assert.same({ "92233720368547758.07" },
        amount("dreamclass", "invoices.pay", "92233720368547758.07"))
    end)

    it("with lists and booleans", function()
      assert.same({ studentIds = { 1, 2 }, feesIds = { 3 }, installmentPlan = 1 },
        prepare("dreamclass", "fees.assign", { studentIds = { 1, "2" }, feesIds = 3,
          installmentPlan = 1 }).body)
      assert.same({ invoiceId = HEX, emails = { "a@x" } },
        prepare("betterez", "invoices.email", { invoiceId = HEX, emails = "a@x" }).body)
      assert.is_true(prepare("dreamclass", "invoices.create", { entityType = "student",
        entityId = 1,
        schoolPeriodId = 2, notify = true }).body.notify)
    end)

    it("that are the caller's own", function()
      local body = { transactionId = HEX, invoiceInfo = { buyer = { name = "x" } } }
      local request = prepare("betterez", "invoices.issue",
        { provider = "infile-json", body = body, onlyValidateRequest = true })
      assert.equal("/infile-json", request.path)
      assert.equal("onlyValidateRequest=true", request.query)
      assert.equal(body, request.body)
      for _, value in ipairs { "x", { 1 }, 5 } do
        local fine, err = pcall(prepare, "betterez", "providers.create", { body = value })
        assert.is_false(fine)
        assert.is_truthy(err:find("must be a table with names", 1, true), err)
      end
      refuses("invoices.issue: 'provider' must be one of infile, infile-json, gti, dlink, system,"
        .. ' got "../x"', "betterez", "invoices.issue", { provider = "../x", body = {} })
    end)

    it("only where there is one", function()
      assert.is_nil(prepare("dreamapply", "invoices.delete", { id = 1 }).body)
      for _, name in ipairs { "fees.update", "invoices.update", "payments.update" } do
        refuses(name .. ": there must be one parameter or more to send", "dreamclass", name,
          { id = 1 })
      end
      refuses("invoices.create: 'payer' must have one field or more", "dreamapply",
        "invoices.create", { application = 1, currency = "EUR", payer = {},
          items = { { item = "a", price = "1", qty = "1" } } })
    end)
  end)
end)

describe("call.conclude", function()
  local function conclude(operation, status, headers, attempt, base)
    return call.conclude("dreamapply", operation, status, headers or {}, attempt, base)
  end

  it("knows success", function()
    assert.same({ ok = true }, conclude("invoices.get", 200))
    assert.same({ ok = true }, conclude("invoices.delete", 204))
    assert.same({ ok = true }, call.conclude("betterez", "invoices.issue", 201, {}))
  end)

  it("takes nothing but 201 for a creation", function()
    for _, status in ipairs { 200, 202, 204 } do
      assert.same({ ok = false, kind = "server", message = "unexpected status", retryable = false,
        open = true }, conclude("invoices.create", status))
    end
  end)

  it("reads what was created", function()
    local function id(location, base)
      return conclude("invoices.create", 201, { location = location }, 1, base).id
    end
    assert.same({ ok = true, id = 321, location = "/api/applications/123/invoices/321" },
      conclude("invoices.create", 201, { location = "/api/applications/123/invoices/321" }))
    assert.equal(321, id("/api/v9/applications/123/invoices/321?x=1#y"))
    assert.equal(321, id("https://Apply.example.edu/api/invoices/321", "https://apply.example.edu"))
    assert.equal(321, id("https://a.edu:8443/api/invoices/321", "https://a.edu:8443/below/"))
    assert.equal(12345, conclude("transactions.create", 201,
      { location = "/api/invoices/123/transactions/12345" }).id)
    assert.is_true(conclude("invoices.create", 201, {}).ok)
  end)

  it("and nothing from elsewhere, nor what it is not", function()
    for _, location in ipairs { "", "/", "321", "/api/invoices/", "/api/invoices/x",
      "/api/invoices/0",
      "/api/invoices/01", "/api/transactions/321", "/321", "//evil.example/invoices/321",
      "https://evil.example/api/invoices/321", "http://apply.example.edu/api/invoices/321",
      "https://apply.example.edu.evil.example/invoices/321", "invoices/321", "/api/invoices/321/",
      "https://apply.example.edu:444/invoices/321", "https://", "https:///invoices/321",
      "/api/invoices/-5", "/api/invoices/1234567890123456789",
      "/api/invoices/320, /api/invoices/321", "/api/invoices/321, /", "/x,/api/invoices/321",
      "/api/invoices/321?x=1, /api/invoices/322", "/api/invoices/321, /api/invoices/321" } do
      local outcome = conclude("invoices.create", 201, { location = location }, 1,
        "https://apply.example.edu")
      assert.is_true(outcome.ok)
      assert.is_nil(outcome.id, location)
      assert.equal(location, outcome.location)
    end
    assert.is_nil(conclude("invoices.create", 201,
      { location = "https://apply.example.edu/api/invoices/321" }).id)
  end)

  it("reads X-Count, and tells nothing where it is missing", function()
    assert.same({ ok = true, count = 2 }, conclude("invoices.count", 200, { ["x-count"] = "2" }))
    assert.same({ ok = true, count = 0 }, conclude("invoices.count", 200, { ["x-count"] = "0" }))
    -- no number of LuaJIT's can tell this one
    local large = conclude("invoices.count", 200, { ["x-count"] = "9007199254740993" }).count
    assert.equal(math.type and 9007199254740993 or nil, large)
    for _, value in ipairs { "", "-1", "2.0", "many", " 2", "2, 2" } do
      assert.same({ ok = true }, conclude("invoices.count", 200, { ["x-count"] = value }))
    end
    assert.same({ ok = true }, conclude("invoices.count", 200))
  end)

  it("gives every status a kind", function()
    for status, kind in pairs {
      [400] = "invalid", [401] = "auth", [403] = "auth", [404] = "not_found", [405] = "invalid",
      [409] = "conflict", [410] = "not_found", [413] = "too_large", [422] = "invalid",
      [429] = "rate_limited", [500] = "server", [501] = "server", [502] = "server",
        [503] = "server",
      [504] = "server", [408] = "timeout", [418] = "invalid",
    } do
      local outcome = conclude("invoices.get", status)
      assert.is_false(outcome.ok)
      assert.equal(kind, outcome.kind)
      assert.is_nil(outcome.message)
    end
    for status, message in pairs { [301] = "unexpected redirect", [307] = "unexpected redirect",
      [100] = "unexpected status", [206] = "unexpected status", [600] = "unexpected status" } do
      assert.same({ ok = false, kind = "server", message = message, retryable = false,
        open = true }, conclude("invoices.get", status))
    end
  end)

  it("repeats what may be repeated", function()
    for _, status in ipairs { 408, 429, 500, 502, 503, 504 } do
      assert.is_true(conclude("invoices.get", status).retryable)
      assert.is_true(conclude("invoices.delete", status).retryable)
    end
    for _, status in ipairs { 408, 500, 502, 503, 504 } do
      local outcome = conclude("invoices.create", status)
      assert.is_false(outcome.retryable)
      assert.is_nil(outcome.processed)
    end
    for _, status in ipairs { 400, 401, 403, 404, 409, 422, 501 } do
      assert.is_false(conclude("invoices.get", status).retryable)
    end
  end)

  it("tells what was certainly not done", function()
    for _, status in ipairs { 400, 401, 403, 404, 413, 422 } do
      assert.is_false(conclude("invoices.create", status).processed)
    end
    for _, status in ipairs { 200, 301, 409, 500 } do
      assert.is_nil(conclude("invoices.create", status).processed)
    end
  end)

  it("tells what may have been done all the same", function()
    for _, status in ipairs { 200, 204, 301, 408, 500, 502, 503, 600 } do
      assert.is_true(conclude("invoices.create", status).open, status)
    end
    for _, status in ipairs { 400, 401, 403, 404, 409, 413, 422, 429 } do
      assert.is_false(conclude("invoices.create", status).open, status)
      assert.is_false(call.conclude("betterez", "invoices.issue", status, {}).open, status)
    end
  end)

  it("repeats even a creation after DreamApply's 429, and no other vendor's", function()
    assert.same({ ok = false, kind = "rate_limited", retryable = true, processed = false,
      open = false, retry_after = "7" },
      conclude("invoices.create", 429, { ["retry-after"] = "7" }))
    assert.same({ ok = false, kind = "rate_limited", retryable = false, open = false },
      call.conclude("betterez", "invoices.issue", 429, {}))
    assert.same({ ok = false, kind = "rate_limited", retryable = true, open = false },
      call.conclude("betterez", "invoices.get", 429, {}))
    assert.same({ ok = false, kind = "rate_limited", retryable = false, open = false },
      call.conclude("dreamclass", "invoices.pay", 429, {}))
  end)

  it("takes a second delete's 404 for success", function()
    assert.same({ ok = true, gone = true }, conclude("invoices.delete", 404, {}, 2))
    assert.equal("not_found", conclude("invoices.delete", 404, {}, 1).kind)
    assert.equal("not_found", conclude("invoices.delete", 404).kind)
    assert.equal("not_found", conclude("invoices.get", 404, {}, 2).kind)
    assert.same({ ok = true, gone = true },
      call.conclude("betterez", "providers.delete", 404, {}, 3))
  end)

  it("raises for what it was not made for", function()
    assert.is_false(pcall(conclude, "invoices.got", 200))
    assert.is_false(pcall(conclude, "invoices.get", "x"))
    assert.is_false(pcall(call.conclude, "dreamapply", "invoices.get", 200))
    assert.is_false(pcall(call.list, "stripe"))
  end)
end)

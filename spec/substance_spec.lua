-- What a server answers to a call is believed for what it says, not for its status: for each
-- operation of the three vendors, what is a good answer, and answers that are none.

local core = require "billhook.core"
local errors = require "billhook.error"
local support = require "spec.support.client"

local unpack = table.unpack or unpack -- luacheck: ignore 113 143
local HEX, OTHER = "616d7cf38fedff37e4492161", "616d7cf38fedff37e449215c"

local samples = {
  id = 7, hex24 = HEX, text = "x", currency = "EUR", date = "2026-01-01", decimal = "1.00",
  number = "1.00", integer = 1, object = { a = 1 }, boolean = true, datetime = "2026-01-01",
  record = { { item = "a", price = "1", qty = "1" } }, numbered = 1,
}

local function params_of(operation)
  local params = {}
  for _, param in ipairs(operation.params) do
    if param.required then
      params[param.name] = param.choices and param.choices[1] or samples[param.type]
    end
  end
  local last = operation.params[#operation.params]
  if operation.method == "PATCH" and not params[last.name] then -- it must change something
    params[last.name] = samples[last.type]
  end
  return params
end

-- A good answer to each operation: a body, or a response.
local good = {
  dreamapply = {
    ["invoices.get"] = '{"id":7,"error":null}', ["invoices.list"] = '{"8":{"id":8},"9":{"id":"9"}}',
    ["invoices.count"] = { headers = { ["X-Count"] = "3" } },
    ["invoices.create"] = { status = 201,
      headers = { Location = "/api/applications/7/invoices/9" } },
    ["invoices.delete"] = { status = 204 }, ["transactions.list"] = '[{"id":8}]',
    ["transactions.count"] = { headers = { ["X-Count"] = "0" } },
    ["transactions.get"] = '{"id":"7"}',
    ["transactions.create"] = { status = 201, body = '{"id":9}' },
    ["invoices.exists"] = { status = 200 }, ["transactions.exists"] = { status = 200 },
    ["series.count"] = { headers = { ["X-Count"] = "1" } },
    ["journal.count"] = { headers = { ["X-Count"] = "1" } },
    ["purged_resources.list"] = '{"8":{"type":"applicant"}}',
    ["series.list"] = "{}", ["journal.list"] = "[]", ["ping"] = '{"pong":1}',
  },
  dreamclass = {
    ["invoices.get"] = '{"id":7}', ["invoices.create"] = '{"id":16}', ["invoices.pay"] = '{"id":7}',
    ["fees.list"] = '{"items":[{"id":86}]}', ["fees.create"] = '{"id":86}',
    ["invoices.list"] = '[{"id":7}]', ["invoices.update"] = '{"id":7}',
    ["payments.update"] = '{"id":8}', ["payment_methods.list"] = '{"items":[{"id":2}]}',
    ["fees.update"] = '{"id":7}', ["fees.assign"] = "2", ["periods.list"] = '[{"id":1}]',
  },
  betterez = {
    ["invoices.get"] = '{"invoice":{"_id":"' .. HEX .. '"}}',
    ["invoices.list"] = '{"invoices":[{"_id":"' .. OTHER .. '"}],"next":""}',
    ["invoices.failures"] = '{"invoicesFailures":[{"code":"X"}]}',
    ["invoices.retry"] = '{"invoice":{"_id":"' .. OTHER .. '"}}',
    ["invoices.issue"] = '{"_id":"' .. OTHER .. '"}', ["invoices.validate_void"] = '{"valid":true}',
    ["invoices.email"] = '{"status":"OK"}', ["invoices.pdf"] = "%PDF-1.4 ",
    ["providers.list"] = '{"providers":[]}', ["providers.get"] = '{"provider":{"_id":"'
      .. HEX:upper() .. '"}}',
    ["providers.create"] = '{"provider":{"_id":"' .. OTHER .. '"}}',
    ["providers.update"] = '{"provider":{"_id":"' .. HEX .. '"}}',
    ["providers.delete"] = '{"providerId":"' .. HEX .. '"}',
    ["sequences.list"] = '{"sequences":[]}',
    ["sequences.get"] = '{"sequence":{"_id":"' .. HEX .. '"}}',
    ["sequences.create"] = '{"sequence":{"_id":"' .. OTHER .. '"}}',
    ["sequences.update"] = '{"sequence":{"_id":"' .. HEX .. '"}}',
    ["sequences.delete"] = { status = 202 }, ["tax_ids.list"] = '{"taxIds":[{"taxNumber":"1"}]}',
    ["users.login"] = '{"user":{},"token":"abc.def"}', ["transactions.invoice"] = "{}",
    ["transactions.credit_note"] = '{"ok":true}',
    ["shifts.invoices"] = '{"invoices":[{"_id":"' .. OTHER .. '"}]}',
    ["undelivered.list"] = '[{"url":"x"}]', ["undelivered.get"] = '{"_id":"x"}',
    ["undelivered.retry"] = { body = "" }, ["undelivered.retry_all"] = { status = 204 },
    ["undelivered.change"] = '{"count":2}', ["undelivered.delete"] = { status = 204 },
    ["undelivered.delete_all"] = { status = 204 }, ["subscriptions.list"] = '{"subscriptions":[]}',
    ["subscriptions.get"] = '{"subscription":{"_id":"x"}}',
    ["subscriptions.create"] = '{"_id":"' .. OTHER .. '"}',
    ["subscriptions.update"] = '{"_id":"x"}', ["subscriptions.delete"] = { status = 202 },
    ["events.list"] = '{"events":[{"name":"invoices.created"}]}',
  },
}

-- no operation's answer
local hollow = {
  "<html><title>Maintenance</title>back soon</html>", "\239\187\191<!DOCTYPE html><p>x",
  "<?xml version='1.0'?><error/>", "<br />\n<b>Warning</b>: x in y.php\n{\"id\":7}",
  "null", "true", "false", '"OK"', '""', "OK", "-1", "1.5", "[null]", "[[]]", "[5]", '["x"]',
  '{"success":false}', '{"success":false,"id":7,"_id":"' .. HEX .. '"}', '{"error":"no"}',
  '{"error":{"code":5,"message":"no"}}', '{"errors":["no"]}', '{"status":"error","message":"no"}',
  '{"id":7', "{}x", '{"data":[]', '{"id":7}{"id":7}', '{"id":7,"id":7}',
}

-- and none where the operation has a mark
local markless = {
  '{"1":null}', '{"x":null}', '{"success":null}', '{"message":"no"}', '{"code":"X","message":"no"}',
  '{"1":{}}', '[{}]', '{"1":{"nr":"x"}}',
  '{"1":{"id":2}}', '{"0":{"id":200},"2":{"id":201}}', '{"7":{"id":true}}', '{"7":{"id":"7x"}}',
  '{"7":{"id":-7}}', '{"7":{"id":7.5}}', '{"7":{"id":0}}', '{"7":{"id":""}}', '[{"id":{}}]',
  '{"id":true}', '{"id":[7]}', '{"id":""}', '{"id":0}', '{"_id":5}', '{"_id":" "}',
  '{"invoice":{}}', '{"invoice":[]}', '{"invoice":null}', '{"invoice":{"_id":""}}',
  '{"data":{"id":7}}',
}

-- and none where it names what was asked for
local other = {
  '{"id":8}', '{"id":"8"}', '{"id":77}', '{"_id":"' .. OTHER .. '"}',
  '{"invoice":{"_id":"' .. OTHER .. '"}}', '{"provider":{"_id":"' .. OTHER .. '"}}',
  '{"sequence":{"_id":"' .. OTHER .. '"}}', '{"providerId":"' .. OTHER .. '"}',
  '{"sequenceId":"' .. OTHER .. '"}',
}

-- What stands in one of the lists above and is an answer to some, by the form of the answer.
local forms = {
  map = { ["{}"] = true, ["[]"] = true },
  list = { ["[]"] = true },
  any = { ["{}"] = true },
}

local function answers_of(operation)
  local all = {}
  local function add(list)
    for _, body in ipairs(list) do
      if not (forms[operation.answer] or {})[body] then all[#all + 1] = body end
    end
  end
  add(hollow)
  add { "{}", "[]" }
  if operation.mark or operation.answer == "number" or operation.answer == "file" then
    add(markless)
  end
  if operation.mark and operation.mark.same then add(other) end
  if not ("none location any exists"):find(operation.answer, 1, true) then add { "", " \n" } end
  if operation.answer == "exists" then all = { hollow[1], hollow[2], hollow[3] } end
  return all
end

local function asked(vendor, operation, response)
  if type(response) == "string" then response = { body = response } end
  local client = support.new(vendor, function()
    return { status = response.status or 200, body = response.body, headers = response.headers
      or { ["Content-Type"] = "application/json" } }
  end, { attempts = 1, settle_timeout = 0 })
  return client, client:call(operation.name, params_of(operation))
end

-- What a walk ends with: nil, and an error where it breaks.
local function walk(client, operation)
  local resource = operation.name:match("^(.*)%.list$")
  if not (resource and client[resource].each) then return nil end
  local arguments = {}
  for _, param in ipairs(operation.params) do
    if param.required and param.place == "path" then
      arguments[#arguments + 1] = samples[param.type]
    end
  end
  local more = {}
  for _, param in ipairs(operation.params) do
    if param.required and param.place ~= "path" then more[param.name] = samples[param.type] end
  end
  arguments[#arguments + 1] = next(more) and more or nil
  local _, err = pcall(function()
    local count = 0
    for _ in client[resource]:each(unpack(arguments)) do count = count + 1 end
    return count
  end)
  return err
end

-- each body with one of these in turn; BILLHOOK_EACH=1: with each of them
local kinds = { "application/json", "text/html", "application/pdf" }
local EACH = os.getenv "BILLHOOK_EACH" ~= nil

describe("an answer is believed for what it says:", function()
  for _, vendor in ipairs { "dreamapply", "dreamclass", "betterez" } do
    for _, operation in ipairs(core.call.list(vendor)) do
      it(("%s %s"):format(vendor, operation.name), function()
        local sample = assert(good[vendor][operation.name], "no sample of a good answer")
        local client, value, err = asked(vendor, operation, sample)
        assert.is_truthy(value, tostring(err))
        local walked = walk(client, operation)
        assert.is_true(walked == nil or type(walked) == "number", tostring(walked))

        local wanted = operation.idempotent and "decode" or "unknown_outcome"
        local answers = operation.answer == "count" and {} or answers_of(operation)
        for i, body in ipairs(answers) do
          for _, kind in ipairs(EACH and kinds or { kinds[i % #kinds + 1] }) do
            client, value, err = asked(vendor, operation, { body = body,
              status = operation.answer == "location" and 201 or 200,
              headers = { ["Content-Type"] = kind } })
            assert.is_nil(value, body)
            assert.is_true(errors.is(err), body)
            assert.equal(wanted, err.kind, body)
            if wanted ~= "decode" then assert.equal("decode", err.cause.kind, body) end
            assert.is_true(#err.message > 10, body)
            walked = walk(client, operation)
            if walked ~= nil then -- a walk and a list agree
              assert.is_true(errors.is(walked), body)
              assert.equal("decode", walked.kind, body)
            end
          end
        end
      end)
    end
  end
end)

describe("a list", function()
  it("and a walk refuse the same, wherever in it that is", function()
    for _, element in ipairs { "null", "5", '"x"', "false", "[]", "{}", '{"id":8}',
      '{"nr":"x"}' } do
      local client = support.new("dreamapply", function()
        return { body = '{"1":{"id":1},"7":' .. element .. ',"9":{"id":9}}' }
      end)
      local none, err = client.invoices:list()
      assert.is_nil(none, element)
      assert.equal("decode", err.kind)
      local seen = {}
      local fine, why = pcall(function()
        for invoice in client.invoices:each() do seen[#seen + 1] = invoice.id end
      end)
      assert.is_false(fine, element)
      assert.equal("decode", why.kind)
      assert.equal(err.message, why.message)
      assert.same({ 1 }, seen)
    end
  end)

  it("is read whatever its type is said to be, and a walk reads it too", function()
    local client = support.new("dreamapply", function()
      return { body = '{"1":{"id":1}}', headers = { ["Content-Type"] = "text/html" } }
    end)
    assert.equal(1, assert(client.invoices:list())[1].id)
    assert.equal(1, client.invoices:each()().id)
    assert.equal(1, assert(support.new("dreamapply", function()
      return { body = '{"id":1,"text":"<title>"}', headers = { ["Content-Type"] = "text/html" } }
    end).invoices:get(1)).id)
  end)
end)

describe("a delete", function()
  local function deleted(...)
    local answers = { ... }
    return support.new("dreamapply", function(_, n) return answers[n] end).invoices:delete(7)
  end

  it("is done where the answer is empty, or says so", function()
    for _, answer in ipairs { { status = 204 }, { status = 200 }, { status = 202 },
      { body = " \n" }, { body = '{"id":7}' }, { body = '{"success":true}' },
      { body = '{"deleted":true}', status = 202 } } do
      assert.is_true(deleted(answer))
    end
  end)

  it("is not done where a page says anything, whatever the status", function()
    local page = "<html><title>Maintenance</title></html>"
    for _, status in ipairs { 200, 202 } do
      local none, err = deleted { status = status, body = page }
      assert.is_nil(none)
      assert.equal("decode", err.kind)
      assert.equal('the server answered with an HTML page "Maintenance" where nothing was expected',
        err.message)
    end
    -- nor is a page of a proxy's the vendor's word that it is gone
    local none, err = deleted({ status = 502 }, { status = 404, body = page })
    assert.is_nil(none)
    assert.equal("decode", err.kind)
    assert.is_true(deleted({ status = 502 }, { status = 404, body = "Invoice not found" }))
  end)

  it("of another one is not ours", function()
    local none, err = deleted { body = '{"id":8}' }
    assert.is_nil(none)
    assert.equal("an empty answer was expected, and one with the id 8 came", err.message)
    assert.equal("an empty answer was expected, and a text came", select(2, deleted
      { body = "Please log in" }).message)
  end)
end)

describe("a count", function()
  it("is what X-Count says, and unknown where that is no count", function()
    for _, header in ipairs { "-1", "many", "", "1.5", "3, 3", "0x3", "1e3", "+3",
      ("9"):rep(30) } do
      local client = support.new("dreamapply", function()
        return { headers = { ["X-Count"] = header } }
      end)
      local none, err = client.invoices:count()
      assert.is_nil(none, header)
      assert.equal("decode", err.kind)
      assert.equal(("the count is unknown: X-Count is '%s'"):format(header), err.message)
    end
  end)
end)

describe("what was created", function()
  local order = { currency = "EUR", items = { { item = "Fee", price = "25.00", qty = 1 } } }

  local application = 122

  -- A new application's invoices before and after a create, and what that is answered.
  local function create(answer, made)
    local posts = 0
    application = application + 1
    if answer.headers then
      answer.headers.Location = answer.headers.Location:gsub("/123/", "/" .. application .. "/")
    end
    local client = support.new("dreamapply", function(request)
      if request.method == "POST" then
        posts = posts + 1
        return answer
      end
      local one = '"%d":{"id":%d,"currency":"EUR","items":[%s]}'
      local fee = '{"item":"Fee","price":"25.00","qty":"1.00"}'
      local list = { one:format(5, 5, fee) }
      if posts > 0 and made then list[2] = one:format(9, 9, fee) end
      return { body = "{" .. table.concat(list, ",") .. "}" }
    end)
    local value, err = client.invoices:create(application, order)
    assert.equal(1, posts)
    return value, err
  end
  local function at(location, body)
    return { status = 201, headers = { Location = location }, body = body }
  end

  it("is named by a Location, by a body, or by both where they agree", function()
    assert.same({ id = 9, location = "/api/applications/123/invoices/9", how = "created" },
      create(at "/api/applications/123/invoices/9"))
    assert.same({ id = 9, location = "/api/v9/invoices/9", how = "created" },
      create { status = 201, body = '{"id":9}' })
    assert.same({ id = 9, location = "/api/v9/invoices/9", how = "created" },
      create(at("/api/v9/invoices/9", '{"id":"9"}')))
    assert.equal(9, create(at("/api/invoices/9", "<h1>Created</h1>")).id)
  end)

  it("is looked up where the answer names something else", function()
    for _, answer in ipairs {
      at "/api/applications/5/invoices/77", at "https://evil.example/api/invoices/77",
      at "/api/applications/123/invoices/5", at("/api/invoices/77", '{"id":78}'),
      at("https://evil.example/api/invoices/77", '{"id":77}'),
      at("/api/invoices/77", '{"success":false}'), at("/api/invoices/77", '{"error":"no"}'),
      { status = 201, body = '{"id":5}' }, { status = 201, body = "<html>" },
      { status = 200, body = "<html>" }, { status = 200, body = '{"id":77}' }, { status = 202 },
    } do
      local made = assert(create(answer, true))
      assert.equal(9, made.id)
      assert.equal("/api/v9/invoices/9", made.location)
    end
  end)

  it("is unknown where that finds nothing, and is not sent again", function()
    for _, answer in ipairs {
      at("/api/invoices/77", '{"success":false}'), { status = 201, body = "<html>" },
      { status = 201, body = '{"message":"no"}' }, { status = 200, body = "<html>" },
      { status = 200 }, { status = 202 }, { status = 204 }, { status = 201 },
      { status = 201, body = "{}" }, { status = 201, body = '{"id":5}' }, at "/maintenance/77",
      at "https://evil.example/api/invoices/77", at("/api/invoices/77", '{"id":78}'),
      at "/api/applications/123/invoices/5",
    } do
      local none, err = create(answer, false)
      assert.is_nil(none)
      assert.equal("unknown_outcome", err.kind)
      assert.is_table(err.intent)
    end
  end)

  it("is created where a Location of the server names it, seen or not", function()
    local made = assert(create(at "/api/applications/123/invoices/77", false))
    assert.same({ 77, "created" }, { made.id, made.how })
  end)

  it("is not found in an invoice whose lines are no list", function()
    local n = 0
    local client = support.new("dreamapply", function(request)
      if request.method == "POST" then return nil, { kind = "timeout" } end
      n = n + 1
      local line = '{"item":"Fee","price":"25.00","qty":"1.00"}'
      return { body = n == 1 and "{}" or '{"9":{"id":9,"currency":"EUR","items":{"0":' .. line
        .. "}}}" }
    end)
    local none, err = client.invoices:create(application + 1, order)
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
  end)
end)

describe("what was issued", function()
  it("is the transaction's that was asked for, or is looked up", function()
    for _, of in ipairs { HEX, HEX:upper() } do
      local client, transport = support.new("betterez", function(request)
        return { body = request.method == "GET" and '{"invoices":[]}'
          or '{"invoice":{"_id":"a","transactionId":"' .. of .. '"}}' }
      end)
      assert.equal("a", client.invoices:issue("infile", { transactionId = HEX })._id)
      assert.equal(2, #transport.requests)
    end
    local posts = 0
    local client = support.new("betterez", function(request)
      if request.method == "GET" then return { body = '{"invoices":[]}' } end
      posts = posts + 1
      return { body = '{"invoice":{"_id":"b","transactionId":"' .. HEX .. '"}}' }
    end)
    local none, err = client.invoices:retry { transactionId = OTHER }
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    assert.equal("the answer is about another one than was asked for", err.cause.message)
    assert.equal(1, posts)
  end)
end)

describe("a PDF", function()
  it("begins as one, whatever its type is said to be", function()
    for body, message in pairs { [""] = "a PDF was expected, and nothing came",
      ['{"code":"X"}'] = "a PDF was expected, and something else came",
      [" %PDF-1.4"] = "a PDF was expected, and something else came",
      ["<html><title>Login</title></html>"] =
        'the server answered with an HTML page "Login" where a PDF was expected' } do
      local client = support.new("betterez", function()
        return { body = body, headers = { ["Content-Type"] = "application/pdf" } }
      end)
      local none, err = client.invoices:pdf { transactionId = HEX }
      assert.is_nil(none)
      assert.equal("decode", err.kind)
      assert.equal(message, err.message)
    end
  end)
end)

describe("the reason of a refusal", function()
  it("is what the server says, whatever its type is said to be", function()
    for body, wanted in pairs {
      ["items[0].price: must not be negative"] = { "items[0].price: must not be negative" },
      ["The <b>price</b> must not be negative"] = { "The price must not be negative" },
      ["price must be > 0 and < 5"] = { "price must be > 0 and < 5" },
      ['{"code":"WRONG_DATA","message":"bad <i>id</i>"}'] = { "bad <i>id</i>", "WRONG_DATA" },
      ["<p>No</p>"] = { "No" },
    } do
      local client = support.new("dreamapply", function()
        return { status = 422, body = body, headers = { ["Content-Type"] = "text/html" } }
      end)
      local _, err = client.invoices:get(7)
      assert.equal(wanted[1], err.message)
      assert.equal(wanted[2], err.code)
    end
  end)
end)

describe("what every other call that makes something needs to be a success", function()
  local hex = ("a"):rep(24)
  local makers = {
    { "dreamclass", "invoices.create", { entityType = "student", entityId = 1,
      schoolPeriodId = 2 }, '{"id":16}' },
    { "dreamclass", "invoices.pay", { id = 16, amount = "5", paymentmethod = 1 }, '{"id":16}',
      '{"id":17}' },
    { "dreamclass", "fees.create", { type = "school", period = "oneoff", cost = "5",
      schoolPeriodId = 2 }, '{"id":3}' },
    { "dreamclass", "fees.assign", { studentIds = 1, feesIds = 2, installmentPlan = 1 }, "1" },
    { "betterez", "invoices.retry", { transactionId = hex }, '{"invoice":{"_id":"a"}}' },
    { "betterez", "invoices.issue", { provider = "gti", body = { transactionId = hex } },
      '{"invoice":{"_id":"a"}}' },
    { "betterez", "invoices.email", { invoiceId = hex, emails = "a@example.com" },
      '{"status":"OK"}', '{"status":"QUEUED"}' },
    { "betterez", "providers.create", { body = { name = "P" } }, '{"provider":{"_id":"a"}}' },
    { "betterez", "sequences.create", { provider = hex, body = { from = 1 } },
      '{"sequence":{"_id":"a"}}' },
    { "betterez", "subscriptions.create", { body = { url = "https://a.example" } },
      '{"subscription":{"_id":"a"}}' },
  }

  for _, maker in ipairs(makers) do
    local vendor, name, params, done, another = maker[1], maker[2], maker[3], maker[4], maker[5]
    it(vendor .. " " .. name, function()
      local answer
      local client = support.new(vendor, function(request)
        if request.method == "GET" then return { body = '{"invoices":[],"next":""}' } end
        return { body = answer }
      end, { settle_timeout = 0 })
      for _, nothing in ipairs { "", "{}", "[]", "null", "true", '{"success":true}', "<html>",
        '{"error":"no"}', '{"id":0,"_id":""}', another } do
        answer = nothing
        local none, err = client:call(name, params)
        assert.is_nil(none, nothing)
        assert.equal("unknown_outcome", err.kind, nothing)
        assert.equal("decode", err.cause.kind, nothing)
        assert.equal(name, err.intent.operation)
      end
      answer = done
      assert.is_not_nil(client:call(name, params))
    end)
  end
end)

local support = require "spec.support.client"
local KEY = support.KEY

local items = { { item = "Fee", price = "25.00", qty = "1" } }

-- Answers one after the other, the last one for ever; a table without status is a failure.
local function script(...)
  local answers = { ... }
  return function(_, n)
    local one = answers[math.min(n, #answers)]
    if one.kind then return nil, one end
    return { status = one[1], body = one[2] or "", headers = one[3] }
  end
end

local function new(answers, options)
  return support.new("dreamapply", answers, options)
end

describe("a call that fails at first", function()
  it("is sent again, and succeeds", function()
    local client, transport = new(script({ 503 }, { kind = "network" }, { 200, '{"id":7}' }))
    assert.equal(7, assert(client.invoices:get(7)).id)
    assert.equal(3, #transport.requests)
    assert.same({ 0.2, 0.4 }, transport.slept)
  end)

  it("gives up after three attempts and says so", function()
    local client, transport = new(script { 503 })
    local none, err = client.invoices:get(7)
    assert.is_nil(none)
    assert.equal("server", err.kind)
    assert.equal(3, err.attempts)
    assert.is_true(err.retryable)
    assert.equal(3, #transport.requests)
  end)

  it("is sent as often as the client or the call says", function()
    local client, transport = new(script { 503 }, { attempts = 2 })
    assert.equal(2, select(2, client.invoices:get(7)).attempts)
    assert.equal(1, select(2, client.invoices:get(7, { attempts = 1 })).attempts)
    assert.equal(5, select(2, client.invoices:get(7, { attempts = 5 })).attempts)
    assert.equal(8, #transport.requests)
  end)

  it("is not sent again where that is no use", function()
    for _, status in ipairs { 400, 401, 403, 404, 409, 422, 301, 501 } do
      local client, transport = new(script { status })
      local _, err = client.invoices:get(7)
      assert.equal(1, err.attempts, status)
      assert.is_false(err.retryable)
      assert.equal(1, #transport.requests)
    end
  end)

  it("keeps the server's Retry-After, in seconds and as a date", function()
    local client, transport = new(script({ 503, "", { ["Retry-After"] = "7" } },
      { 200, '{"id":7}' }))
    assert(client.invoices:get(7))
    assert.same({ 7.2 }, transport.slept)
    client, transport = new(script(
      { 503, "", { ["Retry-After"] = "Thu, 01 Jan 1970 00:16:49 GMT" } }, { 200, '{"id":7}' }))
    assert(client.invoices:get(7)) -- the clock begins at 1000
    assert.same({ 9.2 }, transport.slept)
    client, transport = new(script(
      { 503, "", { ["Retry-After"] = "Thu, 01 Jan 1970 05:00:03 GMT",
        Date = "Thu, 01 Jan 1970 05:00:00 GMT" } }, { 200, '{"id":7}' }))
    assert(client.invoices:get(7)) -- the server's clock is another
    assert.same({ 3.2 }, transport.slept)
  end)

  it("gives the error at once where Retry-After is beyond the deadline", function()
    local client, transport = new(script { 503, "", { ["Retry-After"] = "40" } })
    local _, err = client.invoices:get(7)
    assert.equal(40, err.retry_after)
    assert.equal(1, err.attempts)
    assert.same({}, transport.slept)
    assert.equal(2, select(2, client.invoices:get(7, { timeout = 60, attempts = 2 })).attempts)
  end)

  it("has one deadline over all attempts", function()
    local timeouts = {}
    local client, transport
    client, transport = new(function(request)
      timeouts[#timeouts + 1] = request.timeout
      transport.passed = (transport.passed or 0) + 4
      return nil, { kind = "network" }
    end, { timeout = 10, attempts = 9 })
    local _, err = client.invoices:get(7)
    assert.equal("network", err.kind)
    assert.equal(3, #timeouts)
    assert.equal(10, timeouts[1])
    assert.is_true(math.abs(timeouts[2] - 5.8) < 1e-6)
    assert.is_true(math.abs(timeouts[3] - 1.4) < 1e-6)
  end)

  it("does not outlast the deadline for a quota's sake", function()
    local client, transport = new(script { 200, '{"id":7}' }, { quota = 2 })
    assert(client.invoices:get(7))
    assert(client.invoices:get(7))
    local _, err = client.invoices:get(7)
    assert.equal("rate_limited", err.kind)
    assert.equal(60, err.retry_after)
    assert.is_true(err.retryable)
    assert.equal(2, #transport.requests) -- unsent
    assert(client.invoices:get(7, { timeout = 61 }))
    assert.same({ 60 }, transport.slept)
  end)
end)

describe("an unsafe call", function()
  local function create(client, options)
    return client.transactions:create(7, { amount = "17.00", currency = "EUR" }, options)
  end
  local no_look = { settle_timeout = 0 }
  local made = { 201, "", { Location = "/api/invoices/7/transactions/12" } }

  it("goes out on a fresh connection, with its body as JSON", function()
    local client, transport = new(script(made))
    assert.equal(12, assert(create(client, no_look)).id)
    local request = transport.requests[1]
    assert.is_true(request.fresh)
    assert.equal("POST", request.method)
    assert.equal("https://apply.example.edu/api/v9/invoices/7/transactions", request.url)
    assert.equal("application/json", request.headers["Content-Type"])
    assert.equal('{"amount":"17.00","currency":"EUR"}', request.body)
  end)

  it("is sent again where it was not processed", function()
    for _, first in ipairs { { kind = "network", sent = false }, { kind = "tls", sent = false },
        { kind = "timeout", sent = false }, { 429 } } do
      local client, transport = new(script(first, made))
      assert.equal(12, assert(create(client, no_look)).id)
      assert.equal(2, #transport.requests)
    end
  end)

  it("is sent once where it may have been, and is unknown then", function()
    for _, only in ipairs { { kind = "network" }, { kind = "timeout" }, { kind = "tls" },
        { kind = "cancelled" }, { kind = "too_large" }, { 500 }, { 502 }, { 503 }, { 504 }, { 302 },
        { 200 } } do
      local client, transport = new(script(only, made))
      local none, err = create(client, no_look)
      assert.is_nil(none)
      assert.equal("unknown_outcome", err.kind)
      assert.is_false(err.retryable)
      assert.equal(1, err.attempts)
      assert.equal(only.kind or "server", err.cause.kind)
      assert.equal("transactions.create", err.intent.operation)
      assert.same({ invoice = "7", amount = "17.00", currency = "EUR" }, err.intent.params)
      assert.equal(1000, err.sent_at)
      assert.equal(1, #transport.requests)
    end
  end)

  it("is refused where it was refused", function()
    for status, kind in pairs { [400] = "invalid", [422] = "invalid", [401] = "auth",
      [404] = "not_found",
        [409] = "conflict" } do
      local client, transport = new(script { status, "Amount is wrong" })
      local none, err = create(client, no_look)
      assert.is_nil(none)
      assert.equal(kind, err.kind)
      assert.equal("Amount is wrong", err.message)
      assert.is_nil(err.intent)
      assert.equal(1, #transport.requests)
    end
  end)

  it("is unknown where the Location is useless: nothing says that one was made", function()
    for _, location in ipairs { "", "/somewhere/else",
      "https://evil.example/api/invoices/7/transactions/12",
        "//evil.example/api/invoices/7/transactions/12", "/api/invoices/7/transactions/x" } do
      local client = new(script { 201, "", { Location = location } })
      local none, err = create(client, no_look)
      assert.is_nil(none, location)
      assert.equal("unknown_outcome", err.kind)
      assert.equal("decode", err.cause.kind)
      assert.match("says that it was created, but its answer names none", err.message)
      assert.equal(1, err.attempts)
      assert.equal("transactions.create", err.intent.operation)
    end
  end)

  it("sends DreamClass's amounts as numbers, with all their digits", function()
    local client, transport = support.new("dreamclass", script { 200, '{"id":16}' })
    for text, amount in pairs { ["12.50"] = "12.50", ["300"] = "300.00",
      ["92233720368547758.07"] = "92233720368547758.07" } do
      assert(client.invoices:pay(16, { amount = amount, paymentmethod = 1 }))
      assert.equal('{"amount":' .. text .. ',"paymentmethod":1}',
        transport.requests[#transport.requests].body)
    end
  end)

  it("stays unknown with DreamClass, which can't be asked", function()
    local client = support.new("dreamclass", script { 502 })
    local none, err = client.invoices:pay(16, { amount = "5", paymentmethod = 1 })
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    none, err = client:settle(err.intent)
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    assert.equal("there is no way to look it up", err.message)
  end)

  it("takes nothing for DreamClass's answer to a payment but the invoice", function()
    local client = support.new("dreamclass", script { 200, "3" })
    assert.equal(3, client.fees:assign { studentIds = 1, feesIds = 2, installmentPlan = 1 })
    client = support.new("dreamclass", script { 200, '{"id":16,"paidAmount":5}' })
    assert.equal(5, client.invoices:pay(16, { amount = "5", paymentmethod = 1 }).paidAmount)
    client = support.new("dreamclass", script { 200, '{"error":"no such invoice"}' })
    local none, err = client.invoices:pay(16, { amount = "5", paymentmethod = 1 })
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    assert.equal("an error came as a success: no such invoice", err.cause.message)
  end)

  it("has had its effect where the answer can't be read", function()
    local client = support.new("dreamclass", script { 200, "<html>" })
    local none, err = client.invoices:create { entityType = "student", entityId = 1,
      schoolPeriodId = 2 }
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    assert.equal("decode", err.cause.kind)
  end)

  it("sends items as the seed has them", function()
    local client, transport = new(script { 201, "",
      { Location = "/api/applications/123/invoices/321" } })
    assert.same({ id = 321, location = "/api/applications/123/invoices/321", how = "created" },
      assert(client.invoices:create(123, { currency = "EUR", items = items }, no_look)))
    assert.equal('{"currency":"EUR",'
      .. '"items":[{"item":"Fee","price":"25.00","qty":"1","unit":null}]}',
      (transport.requests[1].body:gsub('"items":(.*),"currency":"EUR"',
        '"currency":"EUR","items":%1')))
  end)
end)

describe("a quota", function()
  it("counts every request, and tells what is left", function()
    local client, transport = new(script({ 503 }, { 200, '{"id":7}' }))
    assert.same({ limit = 180, left = 180 }, client:quota())
    assert(client.invoices:get(7))
    assert.same({ limit = 180, left = 178, next_at = 1060 }, client:quota())
    transport.passed = 1
    client.invoices:count()
    assert.equal(177, client:quota().left)
  end)

  it("is one for all clients of a key and clock", function()
    local billhook = require "billhook"
    local transport = {
      request = function() return { status = 200, headers = {}, body = '{"id":7}' } end,
      sleep = function() end,
    }
    local clock = function() return 50 end
    local function of(key, its_clock)
      return billhook.dreamapply { base_url = "https://x.org", api_key = key, transport = transport,
        clock = its_clock or clock }
    end
    assert(of("the-key").invoices:get(7))
    assert.equal(179, of("the-key"):quota().left)
    assert.equal(180, of("another-key"):quota().left)
    assert.equal(180, of("the-key", function() return 50 end):quota().left)
  end)

  it("parks the key after a 429, and comes back", function()
    local client, transport = new(script({ 429, "", { ["Retry-After"] = "3" } },
      { 200, '{"id":7}' }))
    assert(client.invoices:get(7))
    assert.same({ 3.2 }, transport.slept)
    -- where nobody says for how long, the last try comes as late as its deadline leaves room for,
    -- and no later than the vendor's window is over
    for timeout, last in pairs { [30] = 0.75 * (30 - 2.2), [20] = 0.75 * (20 - 2.2), [600] = 60,
        [8] = 0.75 * (8 - 2.2) } do
      client, transport = new(script({ 429 }, { 429 }, { 200, '{"id":7}' }), { api_key = "k" ..
        timeout })
      assert(client.invoices:get(7, { timeout = timeout }))
      assert.equal(2, #transport.slept)
      assert.equal(2.2, transport.slept[1])
      assert.is_true(math.abs(transport.slept[2] - last) < 1e-6, transport.slept[2])
    end
    -- a guess that ends after the deadline ends the call, as a Retry-After does
    client, transport = new(script({ 429 }, { 429 }, { 200, '{"id":7}' }), { api_key = "short" })
    local _, short = client.invoices:get(7, { timeout = 5 })
    assert.same({ "rate_limited", 2, 4 }, { short.kind, short.attempts, short.retry_after })
    assert.same({ 2.2 }, transport.slept)
    client, transport = new(script({ 429 }, { 429 }, { 429 }))
    local _, tired = client.invoices:get(7, { timeout = 20 })
    assert.same({ "rate_limited", 3, nil }, { tired.kind, tired.attempts, tired.guessed })
    assert.equal(3, #transport.requests)
    client = new(script { 429, "Too many", { ["Retry-After"] = "45" } })
    local _, err = client.invoices:get(7)
    assert.equal("rate_limited", err.kind)
    assert.equal(45, err.retry_after)
    assert.equal(0, client:quota().left)
    assert.equal(1045, client:quota().next_at)
    _, err = client.invoices:get(7)
    assert.equal(45, err.retry_after)
  end)

  it("is none where the vendor has none, unless it is asked for", function()
    local handler = script { 200, '{"id":7}' }
    assert.same({}, support.new("betterez", handler):quota())
    assert.same({}, new(handler, { quota = false }):quota())
    assert.equal(9, support.new("dreamclass", handler, { quota = 9 }):quota().limit)
    assert.equal(180, new(handler, { quota = { window = 30 } }):quota().limit)
  end)

  it("takes another store", function()
    local names, texts, kept = {}, {}, {}
    local store = { update = function(_, name, fn, keep)
      local text, value = fn(texts[name], 1000)
      names[#names + 1], kept[#kept + 1] = name, keep
      texts[name] = text or texts[name]
      return value
    end }
    local left
    local client = new(script { 200, '{"id":7}' }, { quota = { store = store },
      on_response = function(event) left = event.quota_left end })
    assert(client.invoices:get(7, { priority = "background" }))
    assert.matches("^quota %x+$", names[1])
    assert.equal(70, #names[1]) -- a digest
    assert.same({ names[1], names[1], names[1] }, names) -- taken, freed, looked at
    assert.same({ 86400, 86400, 86400 }, kept)
    assert.matches(";0*1060000000001$", texts[names[1]]) -- one comes back
    assert.equal(179, left)
    assert.equal(179, client:quota().left)
    for message, options in pairs {
      ["must have a method 'update'"] = { store = {} },
      ['must be "sqlite:FILE", "memory:" or "postgresql://..."']
        = { store = "redis:" },
    } do
      local fine, why = pcall(new, script { 200 }, { quota = options })
      assert.is_false(fine)
      assert.equal("billhook.dreamapply's quota: 'store' " .. message,
        why:match(": (.*)$"))
    end
  end)

  it("that can't be asked sends nothing", function()
    local err = require("billhook.error").new { kind = "store", code = "SQLITE_FULL",
      message = "no room" }
    local client, transport = new(script { 200, '{"id":7}' },
      { quota = { store = { update = function() return nil, err end } } })
    local none, why = client.invoices:get(7)
    assert.is_nil(none)
    assert.equal("store", why.kind)
    assert.equal("SQLITE_FULL", why.code)
    assert.equal(3, why.attempts)
    assert.equal(0, #transport.requests)
    none, why = client:quota()
    assert.is_nil(none)
    assert.equal(err, why)
  end)
end)

describe("hooks", function()
  it("are told of every attempt, without any secret", function()
    local told = {}
    local client = new(script({ 503 }, { kind = "network" }, { 200, '{"id":7}' }), {
      on_request = function(event) told[#told + 1] = event end,
      on_response = function(event) told[#told + 1] = event end,
    })
    assert(client.invoices:get(7))
    assert.equal(6, #told)
    for i, event in ipairs(told) do
      assert.equal("dreamapply", event.vendor)
      assert.equal("invoices.get", event.operation)
      assert.equal("GET", event.method)
      assert.equal("https://apply.example.edu/api/v9/invoices/7", event.url)
      assert.equal(math.ceil(i / 2), event.attempt)
      for _, text in ipairs(support.strings(event)) do
        assert.is_nil(text:find(KEY, 1, true))
      end
    end
    assert.equal(503, told[2].status)
    assert.equal("network", told[4].kind)
    assert.equal(200, told[6].status)
    assert.equal(0, told[6].duration)
    assert.equal(177, told[6].quota_left)
  end)

  it("are told of what a server echoes, without secrets, and of the trace", function()
    local told = {}
    local trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    local client, transport = new(script { kind = "network", message = "key " .. KEY .. " failed" },
      { attempts = 1, on_request = function(event) told[1] = event end,
        on_response = function(event) told[2] = event end })
    client.invoices:list({ application = 5 }, { traceparent = trace })
    assert.equal(trace, transport.requests[1].headers.traceparent)
    assert.equal(trace, told[1].traceparent)
    assert.equal(trace, told[2].traceparent)
    assert.equal("key *** failed", told[2].message)
    assert.equal("network", told[2].kind)
    assert.equal(179, told[2].quota_left)
    client.invoices:get(7)
    assert.is_nil(transport.requests[2].headers.traceparent)
  end)

  it("take no trace that is none, nor another priority", function()
    local client = new(script { 200, '{"id":7}' })
    local id, parent = ("4"):rep(32), ("5"):rep(16)
    for _, text in ipairs { "", "00", "00-" .. id .. "-" .. parent, "ff-" .. id .. "-" .. parent
      .. "-01", "00-" .. ("0"):rep(32) .. "-" .. parent .. "-01",
      "00-" .. id .. "-" .. ("0"):rep(16) .. "-01", "00-" .. id:gsub("4", "A") .. "-" .. parent
      .. "-01", "00-" .. id .. "-" .. parent .. "-01-", "00-" .. id .. "-" .. parent .. "-0g",
      "00-" .. id .. "-" .. parent .. "-01\r\nX: y" } do
      local fine, why = pcall(function() client.invoices:get(7, { traceparent = text }) end)
      assert.is_false(fine)
      assert.equal("invoices.get: 'traceparent' must be a W3C traceparent",
        why:match("^spec/exchange_spec%.lua:%d+: (.*)$"))
    end
    local fine, why = pcall(function() client.invoices:get(7, { priority = "high" }) end)
    assert.is_false(fine)
    assert.equal("invoices.get: 'priority' must be \"person\" or "
      .. '"background"', why:match("^spec/exchange_spec%.lua:%d+: (.*)$"))
  end)

  it("have their time from the call's", function()
    local transport
    local client
    client, transport = new(script { 200, '{"id":7}' }, {
      on_request = function() transport.passed = (transport.passed or 0) + 20 end })
    assert(client.invoices:get(7))
    assert.equal(10, transport.requests[1].timeout)
    local told
    client, transport = new(script { 200, '{"id":7}' }, { api_key = "another-key",
      on_request = function() transport.passed = (transport.passed or 0) + 30 end,
      on_response = function(event) told = event end })
    local none, err = client.invoices:get(7)
    assert.is_nil(none)
    assert.equal("timeout", err.kind)
    assert.equal("the deadline has passed, and nothing was sent", err.message)
    assert.equal(0, #transport.requests)
    assert.equal("timeout", told.kind)
    assert.equal(180, told.quota_left) -- nothing was sent
  end)

  it("can't break a call", function()
    local client = new(script { 200, '{"id":7}' }, {
      on_request = function() error "oops" end, on_response = function() error {} end,
    })
    assert.equal(7, assert(client.invoices:get(7)).id)
  end)
end)

describe("a redirect", function()
  it("is named with where it leads, and not what it carries", function()
    local client = support.new("dreamapply", function()
      return { status = 302, headers = { Location = "https://sso.example/in?ticket=hush" } }
    end)
    local _, err = client.invoices:get(7)
    assert.equal("unexpected redirect to https://sso.example/in", err.message)
    client = support.new("dreamapply", function() return { status = 302 } end)
    assert.equal("unexpected redirect", select(2, client.invoices:get(7)).message)
  end)
end)

describe("a fake transport without a clock", function()
  it("does not keep a waiting client for real", function()
    local billhook = require "billhook"
    local transport = require("billhook.transport.fake").new(script({ 429 }, { 200, '{"id":7}' }))
    local client = billhook.dreamapply { base_url = "https://x.org", api_key = "a-key-of-its-own",
      transport = transport, random = function() return 1 end, quota = 2 }
    assert(client.invoices:get(7))
    assert.same({ 2.2 }, transport.slept)
    assert(client.invoices:get(7, { timeout = 100 }))
    assert.equal(3, #transport.requests)
  end)
end)

describe("the way of a create", function()
  -- to be read in one sitting; without C, and without nginx's own
  it("crosses twelve files", function()
    local client = support.new("dreamapply", function(request)
      if request.method == "GET" then return { body = "[]" } end
      return { status = 201, headers = { Location = "/api/v9/applications/123/invoices/7" } }
    end)
    local seen, files = {}, {}
    debug.sethook(function()
      local name = debug.getinfo(2, "S").source:match("lua/(billhook/.*)$")
      if name and not seen[name] then seen[name], files[#files + 1] = true, name end
    end, "c")
    local made = client.invoices:create(123, { currency = "EUR", items = items })
    debug.sethook()
    assert.equal(7, made.id)
    assert.is_true(#files <= 12 and seen["billhook/client/send.lua"], table.concat(files, ", "))
  end)
end)

local billhook = require "billhook"
local json = require "billhook.json"
local support = require "spec.support.client"

-- A DreamApply that keeps invoices, and loses answers as `on_post` says: it gets the server, makes
-- the invoice or not, and gives a response or nil and a failure.
local function server(on_post)
  local self = { invoices = {}, next_id = 1, posts = 0, looks = 0, lag = 0 }
  function self.make(sent, id)
    local invoice = { id = id or self.next_id, currency = sent.currency, items = {},
      deadline = sent.deadline, payer = sent.payer, smallprint = sent.smallprint,
      instructions = sent.instructions, type = sent.type,
      serie = sent.serie_ID and { id = sent.serie_ID, name = "A" },
      course = sent.course_ID and "/api/v9/courses/" .. sent.course_ID }
    for i, item in ipairs(sent.items or {}) do
      invoice.items[i] = { item = item.item, price = item.price .. ".00", qty = "1.00" }
    end
    if sent.amount then invoice.amount = sent.amount .. "0" end
    self.next_id = invoice.id + 1
    self.invoices[#self.invoices + 1] = invoice
    return invoice
  end
  local function list()
    local map = {}
    for i = 1, #self.invoices do
      if not self.visible or self.looks >= self.visible then
        map[tostring(self.invoices[i].id)] = self.invoices[i]
      end
    end
    if self.as_array then map = json.array(self.invoices) end
    return { status = 200, body = json.encode(map) }
  end
  function self.handler(request)
    if request.method == "GET" then
      self.looks = self.looks + 1
      if self.on_look then
        local response, failure = self.on_look(self.looks)
        if response or failure then return response, failure end
      end
      return list()
    end
    self.posts = self.posts + 1
    return on_post(self, json.decode(request.body), self.posts)
  end
  return self
end

local created = function(invoice)
  return { status = 201, headers = { Location = "/api/applications/123/invoices/" .. invoice.id } }
end
local lost = { kind = "timeout", message = "no answer", sent = true }
local fee = { currency = "EUR", items = { { item = "Fee", price = "25", qty = 1 } } }

local function with(change)
  local out = {}
  for k, v in pairs(fee) do out[k] = v end
  for k, v in pairs(change) do out[k] = v end
  return out
end

local key = 0
-- each on a host of its own, for what a process knows it knows by host
local function new(s, options)
  key = key + 1
  local all = { api_key = "settle-key-" .. key,
    base_url = ("https://apply-%d.example.edu"):format(key) }
  for k, v in pairs(options or {}) do all[k] = v end
  return support.new("dreamapply", s.handler, all)
end

describe("a create whose outcome is unknown", function()
  it("is found, where it is there without doubt", function()
    for _, failure in ipairs { lost, { kind = "network" }, { kind = "tls" } } do
      local s = server(function(s, sent)
        s.make(sent)
        return nil, failure
      end)
      local client, transport = new(s)
      local result = assert(client.invoices:create(123, fee))
      assert.same({ id = 1, location = "/api/v9/invoices/1", how = "found" }, result)
      assert.equal(1, s.posts)
      assert.equal(3, s.looks) -- one before, and two that agree
      assert.equal(2, #transport.slept)
      assert.is_true(math.abs(transport.slept[1] - 0.4) < 1e-6)
    end
  end)

  it("is found after a 5xx that had its effect", function()
    for _, status in ipairs { 500, 502, 503, 504 } do
      local s = server(function(s, sent)
        s.make(sent)
        return { status = status }
      end)
      assert.equal("found", assert(new(s).invoices:create(123, fee)).how)
      assert.equal(1, s.posts)
    end
  end)

  it("is looked for four times with growing pauses, and is unknown where it is not there",
    function()
    local s = server(function() return nil, lost end)
    local client, transport = new(s)
    local none, err = client.invoices:create(123, fee)
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    assert.equal("it may or may not have been carried out: no answer", err.message)
    assert.equal("timeout", err.cause.kind)
    assert.equal(1000, err.sent_at)
    assert.equal("[] []", json.encode(err.candidates) .. " " .. json.encode(err.intent.before))
    assert.equal(1, err.attempts)
    assert.equal(1, s.posts) -- absence is no licence to repeat
    assert.equal(5, s.looks)
    local at, moments = 0, {}
    for i, seconds in ipairs(transport.slept) do
      at = at + seconds
      moments[i] = math.floor(at * 10 + 0.5) / 10
    end
    assert.same({ 0.4, 1.6, 4, 8 }, moments)
  end)

  it("is sent again as late as its time allows, where a 429 does not say how long", function()
    local s = server(function(s, sent, n)
      if n < 3 then return { status = 429 } end
      return created(s.make(sent))
    end)
    local client, transport = new(s)
    assert.equal("created", assert(client.invoices:create(123, fee)).how)
    local waited = 0
    for _, seconds in ipairs(transport.slept) do waited = waited + seconds end
    assert.is_true(waited > 20 and waited < 30, tostring(waited))
    assert.equal(3, s.posts)
  end)

  it("is found late, where it commits late or the list lags", function()
    for _, visible in ipairs { 3, 4, 5 } do
      local s = server(function(s, sent)
        s.make(sent)
        return nil, lost
      end)
      s.visible = visible
      assert.equal("found", assert(new(s).invoices:create(123, fee)).how)
      assert.equal(math.min(visible + 1, 5), s.looks)
    end
  end)

  it("is not what was there before", function()
    local s = server(function() return nil, lost end)
    s.make(fee)
    local _, err = new(s).invoices:create(123, fee)
    assert.equal("unknown_outcome", err.kind)
    assert.same({ "1" }, err.intent.before)
    s = server(function(it, sent)
      it.make(sent)
      return nil, lost
    end)
    s.make(fee)
    assert.equal(2, assert(new(s).invoices:create(123, fee)).id)
  end)

  it("is not what differs", function()
    for _, other in ipairs { { currency = "USD" }, { deadline = "2026-09-02" },
        { payer = { name = "J", email = "other@x.org" } },
        { items = { { item = "Fee", price = "26", qty = 1 } } },
        { items = { { item = "Fee", price = "25", qty = 1 }, { item = "B", price = "1",
          qty = 1 } } },
        { items = { { item = "Fee II", price = "25", qty = 1 } } },
        { smallprint = "Order 882" }, { smallprint = "Order 8812" }, { smallprint = "" },
        { smallprint = "ReOrder 881" }, { instructions = "Pay later" }, { type = "Receipt" },
        { serie_ID = 3 }, { course_ID = 21 } } do
      local asked = with { deadline = "2026-09-01", payer = { name = "J", email = "j@x.org" },
        smallprint = "Order 881", instructions = "Pay now", type = "Invoice", serie_ID = 2,
        course_ID = 20 }
      local s = server(function(s, sent)
        for k, v in pairs(other) do sent[k] = v end
        s.make(sent)
        return nil, lost
      end)
      assert.equal("unknown_outcome", select(2, new(s).invoices:create(123, asked)).kind)
    end
  end)

  it("is found, however the answer spells what was asked for", function()
    local asked = with { smallprint = "one\ntwo", instructions = " Pay now ", type = "Invoice",
      serie_ID = 2, course_ID = 20 }
    for _, change in ipairs { { smallprint = "one\r\ntwo" }, { instructions = "Pay now. Thanks." },
        { instructions = "Dear\tPay nowadays: Pay\nnow" }, { instructions = "(Pay now)" },
        { items = { { item = "Fee ", price = "25", qty = "1.0" } } },
        { serie = { id = "2" } }, { serie = false }, { course = false }, { type = false },
        { smallprint = false }, { id = "1" } } do
      local s = server(function(s, sent)
        local made = s.make(sent)
        for k, v in pairs(change) do made[k] = v or nil end
        return nil, lost
      end)
      local found = assert(new(s).invoices:create(123, asked))
      assert.same({ id = 1, location = "/api/v9/invoices/1", how = "found" }, found)
    end
  end)

  it("is found where it is listed twice", function()
    local s = server(function(s, sent)
      s.invoices[2] = s.make(sent)
      return nil, lost
    end)
    s.as_array = true
    assert.equal(1, assert(new(s).invoices:create(123, fee)).id)
  end)

  it("is no id's that is none, nor lines that are none", function()
    for _, change in ipairs { { id = "1.5" }, { id = 1.5 }, { id = 0 }, { id = -1 }, { id = " 1" },
        { id = "0x10" }, { id = ("9"):rep(19) }, { id = true }, { id = {} },
        { items = json.array { 5 } }, { items = json.array { json.null } }, { items = "Fee" },
        { items = json.array { { item = "Fee", price = {}, qty = true } } } } do
      local s = server(function(s, sent)
        local made = s.make(sent)
        for k, v in pairs(change) do made[k] = v end
        return nil, lost
      end)
      s.as_array = true
      local client = new(s)
      assert.equal("unknown_outcome", select(2, client.invoices:create(123, fee)).kind)
      -- and nobody is shut out
      local _, err = client.invoices:create(123, fee)
      assert.is_true(err.kind == "unknown_outcome" or err.kind == "decode", tostring(err))
    end
  end)

  it("leaves time for the last look, where one hangs", function()
    local s = server(function(s, sent)
      s.make(sent)
      return nil, lost
    end)
    local client, transport = new(s)
    s.on_look = function(n)
      if n == 2 then
        transport.passed = transport.requests[#transport.requests].timeout
        return nil, { kind = "timeout" }
      end
    end
    assert.equal("found", assert(client.invoices:create(123, fee)).how)
    assert.equal(3, s.looks)
    assert.is_true(transport.passed < 8)
  end)

  it("is not the first that comes into sight, where a second one follows", function()
    local s = server(function(s, sent)
      s.make(sent) -- somebody else's
      return nil, lost
    end)
    s.on_look = function(n)
      if n == 3 then s.make(fee) end -- ours, late
    end
    assert.equal("unknown_outcome", select(2, new(s).invoices:create(123, fee)).kind)
  end)

  it("is in doubt where two could be it", function()
    local s = server(function(s, sent)
      s.make(sent)
      s.make(sent) -- somebody else's
      return nil, lost
    end)
    local _, err = new(s).invoices:create(123, fee)
    assert.equal("unknown_outcome", err.kind)
    assert.same({ "1", "2" }, err.candidates)
  end)

  it("is not an invoice that another call of ours made, though the list lagged", function()
    local s = server(function(s, sent, n)
      if n == 1 then return created(s.make(sent)) end
      return nil, lost
    end)
    s.visible = 3 -- only after the second create was sent
    local client = new(s)
    assert.equal(1, assert(client.invoices:create(123, fee)).id)
    local _, err = client.invoices:create(123, fee)
    assert.equal("unknown_outcome", err.kind)
    assert.same({}, err.intent.before)
  end)

  it("is not taken for that of another call whose outcome is open too", function()
    local s = server(function(s, sent, n)
      if n == 2 then s.make(sent) end -- the first one's, that came late, or the second's?
      return nil, lost
    end)
    local client = new(s)
    local _, first = client.invoices:create(123, fee)
    local _, second = client.invoices:create(123, fee)
    assert.equal("unknown_outcome", first.kind)
    assert.equal("unknown_outcome", second.kind)
    assert.same({ "1" }, second.candidates)
  end)

  it("is not looked for at all where nobody wants it", function()
    local s = server(function(s, sent)
      s.make(sent)
      return nil, lost
    end)
    local client = new(s)
    local _, err = client.invoices:create(123, fee, { settle_timeout = 0 })
    assert.equal("unknown_outcome", err.kind)
    assert.equal(0, s.looks)
    -- later neither: nobody knows what was there before
    local none, later = client:settle(err.intent)
    assert.is_nil(none)
    assert.equal("there is no way to look it up", later.message)
    -- but for a reference, which is nobody else's, and is looked for before
    client = new(s)
    local named = { settle_timeout = 0, reference = { field = "smallprint", value = "order-881" } }
    _, err = client.invoices:create(123, fee, named)
    assert.equal(1, s.looks)
    assert.equal(2, assert(client:settle(err.intent)).id)
    assert.equal("found", assert(client.invoices:create(123, fee, named)).how)
    none, err = client.invoices:create(123, with { currency = "USD" }, named)
    assert.is_nil(none)
    assert.equal("conflict", err.kind)
    assert.equal(2, s.posts)
  end)

  it("is not another call's, though that one did not want to look", function()
    local s = server(function(s, sent, n)
      if n == 1 then return created(s.make(sent)) end
      return nil, lost
    end)
    s.visible = 2
    local client = new(s)
    assert(client.invoices:create(123, fee, { settle_timeout = 0 }))
    local _, err = client.invoices:create(123, fee)
    assert.equal("unknown_outcome", err.kind)
    assert.same({}, err.candidates)
  end)

  it("is not sent where the place can't be looked at", function()
    local s = server(function(s, sent) return created(s.make(sent)) end)
    s.on_look = function() return { status = 404, body = "no such application" } end
    local none, err = new(s).invoices:create(123, fee)
    assert.is_nil(none)
    assert.equal("not_found", err.kind)
    assert.equal("invoices.create", err.operation)
    assert.equal(0, s.posts)
    s.on_look = function() return nil, { kind = "network" } end
    assert.equal("network", select(2, new(s).invoices:create(123, fee)).kind)
    assert.equal(0, s.posts)
    -- what calls itself a success is no list for that
    for body, message in pairs {
      ['{"error":"the database is away"}'] = "an error came as a success: the database is away",
      ['{"message":"the database is away"}'] =
        "a list of objects was expected, and a text is in it",
      ['{"invoices":[{"id":1}]}'] =
        "in the list, an object with 'id' was expected, and a list came",
      ['[{"nr":"1"}]'] =
        "in the list, an object with 'id' was expected, and one without a good 'id' came",
      ['null'] = "an object with 'id' was expected, and null came",
    } do
      s.on_look = function() return { status = 200, body = body } end
      none, err = new(s).invoices:create(123, fee)
      assert.is_nil(none)
      assert.equal("decode", err.kind)
      assert.equal(message, err.message)
      assert.equal(1, err.attempts)
      assert.equal(0, s.posts)
    end
  end)

  it("goes on looking where a look fails", function()
    local s = server(function(s, sent)
      s.make(sent)
      return nil, lost
    end)
    s.on_look = function(n)
      if n == 2 then return { status = 503 } end
      if n == 3 then return nil, { kind = "network" } end
    end
    assert.equal("found", assert(new(s).invoices:create(123, fee)).how)
    assert.equal(5, s.looks)
  end)

  it("is refused, not unknown, where it was refused", function()
    local s = server(function() return { status = 422, body = "Currency?" } end)
    local none, err = new(s).invoices:create(123, fee)
    assert.is_nil(none)
    assert.equal("invalid", err.kind)
    assert.equal(1, s.looks)
  end)

  it("is sent again where it was not processed", function()
    local s = server(function(s, sent, n)
      if n == 1 then return { status = 429, headers = { ["Retry-After"] = "1" } } end
      if n == 2 then return nil, { kind = "network", sent = false } end
      return created(s.make(sent))
    end)
    assert.equal("created", assert(new(s).invoices:create(123, fee)).how)
    assert.equal(3, s.posts)
    assert.equal(1, #s.invoices)
  end)

  it("is not what others made while it waited to be sent again", function()
    local s = server(function(s, sent, n)
      if n == 1 then
        s.make(sent) -- somebody else's
        return { status = 429, headers = { ["Retry-After"] = "9" } }
      end
      return nil, lost
    end)
    local _, err = new(s).invoices:create(123, fee)
    assert.equal("unknown_outcome", err.kind)
    assert.same({ "1" }, err.intent.before)
    assert.same({}, err.candidates)
    assert.equal(2, err.attempts)
    -- where nobody can look, it goes by what it knows
    s = server(function(it, sent, n)
      if n == 1 then return nil, { kind = "network", sent = false } end
      return created(it.make(sent))
    end)
    s.on_look = function(n)
      if n == 2 then return { status = 503 } end
    end
    assert.equal("created", assert(new(s).invoices:create(123, fee)).how)
    assert.equal(2, s.looks)
  end)

  it("gets its id by looking where the answer has none", function()
    local s = server(function(s, sent)
      s.make(sent)
      return { status = 201 }
    end)
    assert.same({ id = 1, location = "/api/v9/invoices/1", how = "created" },
      assert(new(s).invoices:create(123, fee)))
    -- nor is one that was there before its id
    s = server(function(it, sent)
      it.make(sent)
      return created(it.invoices[1])
    end)
    s.make(fee)
    assert.same({ id = 2, location = "/api/v9/invoices/2", how = "created" },
      assert(new(s).invoices:create(123, fee)))
  end)

  it("is left to its caller, who was told: the next call for the same is another one", function()
    local s = server(function(s, sent, n)
      if n == 1 then return nil, lost end
      return created(s.make(sent))
    end)
    local client = new(s)
    local _, err = client.invoices:create(123, fee)
    assert.equal("unknown_outcome", err.kind)
    s.make(fee)
    local made = assert(client.invoices:create(123, fee))
    assert.same({ 2, "created" }, { made.id, made.how })
    assert.equal(2, s.posts)
    assert.equal(1, assert(client:settle(err.intent)).id)
  end)

  it("has one trace, its looks too", function()
    local s = server(function() return nil, lost end)
    local client, transport = new(s)
    local trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    client.invoices:create(123, fee, { traceparent = trace })
    assert.equal(6, #transport.requests)
    for _, request in ipairs(transport.requests) do
      assert.equal(trace, request.headers.traceparent)
    end
  end)
end)

describe("a create whose coroutine is gone", function()
  -- the first request that changes something is made, and then `what` happens
  local function torn(what)
    local s = server(function(s, sent, n)
      if n > 1 then return created(s.make(sent)) end
      s.make(sent)
      return what()
    end)
    return new(s), s
  end

  it("is found at once by the next one for the same, where it was torn by an error", function()
    local client, s = torn(function() error("torn", 0) end)
    local fine, why = pcall(client.invoices.create, client.invoices, 123, fee)
    assert.is_false(fine)
    assert.equal("torn", why)
    assert.equal("found", assert(client.invoices:create(123, fee, { timeout = 1 })).how)
    assert.equal(1, s.posts)
    -- and in a coroutine of its own
    client, s = torn(function() error("torn", 0) end)
    local thread = coroutine.create(function() client.invoices:create(123, fee) end)
    assert.is_false((coroutine.resume(thread)))
    assert.equal("found", assert(client.invoices:create(123, fee, { timeout = 1 })).how)
    assert.equal(1, s.posts)
  end)

  it("is found by the next one for the same, where nobody will resume it", function()
    for _, timeout in ipairs { 0.01, 30 } do
      local client, s = torn(coroutine.yield)
      coroutine.wrap(function() client.invoices:create(123, fee) end)()
      assert.equal("found", assert(client.invoices:create(123, fee, { timeout = timeout })).how)
      assert.equal(1, s.posts)
    end
  end)

  it("is waited for while it may go on, and the error says for how long", function()
    local client, s = torn(coroutine.yield)
    local thread = coroutine.create(function() return client.invoices:create(123, fee) end)
    assert(coroutine.resume(thread))
    local none, err = client.invoices:create(123, fee, { timeout = 10 })
    assert.is_nil(none)
    assert.equal("timeout", err.kind)
    assert.equal("another call of the same place did not end before the deadline: invoices.create"
      .. " 123, begun 10 s ago, may hold it for 36 s more: nothing was sent", err.message)
    assert.equal(36, err.retry_after)
    assert.equal(1, s.posts)
    -- it goes on, and its place is free
    local _, made = coroutine.resume(thread, created(s.invoices[1]))
    assert.equal(1, made.id)
    assert.equal(2, assert(client.invoices:create(123, fee)).id)
  end)

  it("is not repeated where it can't be looked up", function()
    local posts = 0
    local client = support.new("dreamclass", function()
      posts = posts + 1
      if posts == 1 then error("torn", 0) end
      return { body = '{"id":17,"amount":5}' }
    end, { api_key = "torn-class", tenant = "torn" })
    local function pay() return client.invoices:pay(16, { amount = "5", paymentmethod = 1 }) end
    assert.is_false((pcall(pay)))
    local none, err = pay()
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    assert.matches("it can't be looked up, and none is sent for another 1440 minutes", err.message)
    assert.equal(1, posts)
    -- another one is
    assert(client.invoices:pay(17, { amount = "5", paymentmethod = 1 }))
  end)
end)

describe("a reference", function()
  local order = { reference = { field = "smallprint", value = "order-881" } }

  it("goes into its field and is matched", function()
    local s = server(function(s, sent)
      assert.equal("order-881", sent.smallprint)
      s.make(fee) -- somebody else's, the same but for the reference
      s.make(sent)
      return nil, lost
    end)
    assert.equal(2, assert(new(s).invoices:create(123, fee, order)).id)
  end)

  it("finds what an earlier run made, without sending again", function()
    local s = server(function(s, sent) return created(s.make(sent)) end)
    assert.equal("created", assert(new(s).invoices:create(123, fee, order)).how)
    assert.same({ id = 1, location = "/api/v9/invoices/1", how = "found" },
      assert(new(s).invoices:create(123, fee, order)))
    assert.equal(1, s.posts)
    s.make(with { smallprint = "order-881" })
    local none, err = new(s).invoices:create(123, fee, order)
    assert.is_nil(none)
    assert.equal("conflict", err.kind)
    assert.same({ "1", "2" }, err.candidates)
    assert.equal(1, s.posts)
  end)

  local function priced(price, more)
    local out = with { items = { { item = "Fee", price = price, qty = 1 } } }
    for k, v in pairs(more or {}) do out[k] = v end
    return out
  end

  it("is one invoice: what has it and differs stands in the way, and nothing is sent", function()
    local s = server(function(s, sent) return created(s.make(sent)) end)
    local client = new(s)
    assert.equal(1, assert(client.invoices:create(123, fee, order)).id)
    for _, other in ipairs { priced "26", priced("25", { currency = "USD" }),
        priced("25", { deadline = "2026-09-01" }),
        priced("25", { payer = { name = "J", email = "j@x.org" } }),
        { currency = "EUR", items = { { item = "Bus", price = "25", qty = 1 } } },
        { currency = "EUR", items = { { item = "Fee", price = "25", qty = 2 } } },
        { currency = "EUR", items = { fee.items[1], fee.items[1] } } } do
      local none, err = client.invoices:create(123, other, order)
      assert.is_nil(none)
      assert.equal("conflict", err.kind)
      assert.equal("1 has this reference already and differs from the requested content: nothing"
        .. " was sent", err.message)
      assert.same({ "1" }, err.candidates)
      -- another process knows no more than what the API says
      assert.equal("conflict", select(2, new(s).invoices:create(123, other, order)).kind)
    end
    assert.equal(1, s.posts)
    -- another reference is another invoice
    assert.equal(2, assert(client.invoices:create(123, priced "26",
      { reference = { field = "smallprint", value = "order-882" } })).id)
  end)

  it("is found however the amounts are spelled", function()
    local s = server(function(s, sent) return created(s.make(sent)) end)
    assert(new(s).invoices:create(123, fee, order))
    for _, price in ipairs { "25", "25.0", "25.00", 25, 25.0, billhook.decimal "25.000" } do
      for _, qty in ipairs { 1, "1", "1.00", 1.0 } do
        local found = assert(new(s).invoices:create(123, { currency = "EUR",
          items = { { item = "Fee", price = price, qty = qty } } }, order))
        assert.equal("found", found.how)
        assert.equal(1, found.id)
      end
    end
    assert.equal(1, s.posts)
  end)

  it("is found in its field with other text around it, and in no other word", function()
    for text, has in pairs { ["order-881"] = true, [" order-881\n"] = true,
        ["Ref: order-881."] = true, ["(order-881), paid by card"] = true,
        ["<p>order-881</p>"] = true, ["see \"order-881\""] = true,
        ["order-881-b"] = false, ["order-8812"] = false, ["pre-order-881"] = false,
        ["order-881/2"] = false, ["order-881_"] = true, ["Order-881"] = false,
        ["order-881" .. ("!"):rep(9)] = false, ["\195\164order-881"] = false } do
      local s = server(function(s, sent) return created(s.make(sent)) end)
      s.make(with { smallprint = text })
      assert.equal(has and "found" or "created",
        assert(new(s).invoices:create(123, fee, order)).how, text)
      s = server(error)
      s.make(priced("26", { smallprint = text }))
      if has then
        assert.equal("conflict", select(2, new(s).invoices:create(123, fee, order)).kind, text)
      end
    end
  end)

  it("is one invoice after an unknown outcome, too", function()
    local s = server(function() return nil, lost end)
    local client = new(s)
    local _, err = client.invoices:create(123, fee, order)
    assert.equal("unknown_outcome", err.kind)
    for _, asked in ipairs { fee, priced "26" } do
      local none, again = client.invoices:create(123, asked, order)
      assert.is_nil(none)
      assert.equal("unknown_outcome", again.kind)
      assert.matches("^an earlier call had this reference, and what became of it is unknown: "
        .. "nothing was sent%. The earlier one was sent %d+ s ago; each call for the same looks "
        .. "for it, and none is sent for another %d+ minutes$", again.message)
      assert.equal(err.intent.id, again.intent.id)
    end
    assert.equal(1, s.posts)
    s.make(with { smallprint = "order-881" })
    local none, differs = client.invoices:create(123, priced "26", order)
    assert.is_nil(none)
    assert.equal("conflict", differs.kind)
    assert.same({ "1" }, differs.candidates)
    assert.equal(1, assert(client.invoices:create(123, fee, order)).id)
    assert.equal(1, assert(client:settle(err.intent)).id)
    assert.equal("conflict", select(2, client.invoices:create(123, priced "26", order)).kind)
    assert.equal(1, s.posts)
  end)

  it("is looked for before each attempt", function()
    for _, other in ipairs { { with { smallprint = "order-881" }, "found" },
        { priced("26", { smallprint = "order-881" }), "conflict" } } do
      local s = server(function(s)
        s.make(other[1]) -- by another process
        return { status = 429, headers = { ["Retry-After"] = "1" } }
      end)
      local made, err = new(s).invoices:create(123, fee, order)
      assert.equal(other[2], made and made.how or err.kind)
      assert.equal(1, s.posts)
    end
  end)

  it("must name a field that is there for it, and free", function()
    local client = new(server(error))
    for message, fn in pairs {
      ["invoices.create: 'reference' can't stand in 'copy', which is no field for one"] = function()
        client.invoices:create(123, fee, { reference = { field = "copy", value = "x" } })
      end,
      ["invoices.create: 'reference' can't stand in 'smallprint',"
        .. " which is given already"] = function()
        client.invoices:create(123, with { smallprint = "x" }, order)
      end,
      ["invoices.create: 'reference' must be a table with the strings"
        .. " 'field' and 'value'"] = function()
        client.invoices:create(123, fee, { reference = { field = "smallprint" } })
      end,
      ["invoices.create: 'reference' must be a table with the strings"
        .. " 'field' and 'value' "] = function() -- the same, of white space
        client.invoices:create(123, fee, { reference = { field = "smallprint", value = " \n" } })
      end,
    } do
      local fine, why = pcall(fn)
      assert.is_false(fine)
      assert.equal(message:gsub(" $", ""), why:match("^spec/settle_spec%.lua:%d+: (.*)$"))
    end
  end)
end)

describe("a payment recorded by hand", function()
  local payment = { amount = "17.0", currency = "EUR" }

  it("is found among the invoice's transactions", function()
    local s = server(function(s, sent)
      s.make(sent).payment = { status = "captured" } -- a gateway's
      s.make(sent)
      return nil, lost
    end)
    local client, transport = new(s)
    assert.same({ id = 2, location = "/api/v9/invoices/7/transactions/2", how = "found" },
      assert(client.transactions:create(7, payment)))
    assert.matches("^https://apply%-%d+%.example%.edu/api/v9/invoices/7/transactions$",
      transport.requests[1].url)
    assert.equal(1, s.posts)
  end)

  it("is unknown where it is not there", function()
    local s = server(function() return nil, lost end)
    assert.equal("unknown_outcome", select(2, new(s).transactions:create(7, payment)).kind)
  end)
end)

describe("client:settle", function()
  it("finds later what was not there yet", function()
    local s = server(function() return nil, lost end)
    local client = new(s)
    local _, err = client.invoices:create(123, fee)
    local intent = json.decode(json.encode(err.intent)) -- it may have been kept somewhere
    local none, again = client:settle(intent)
    assert.is_nil(none)
    assert.equal("unknown_outcome", again.kind)
    assert.equal("nothing was found that is without doubt it", again.message)
    assert.equal(err.intent.id, again.intent.id)
    s.make(fee)
    assert.same({ id = 1, location = "/api/v9/invoices/1", how = "found" },
      assert(client:settle(intent)))
    assert.equal(1, s.posts)
    -- asked once more it says the same; another's it is not
    assert.equal(1, assert(client:settle(intent, { settle_timeout = 1 })).id)
    intent.id = "another"
    assert.is_nil((client:settle(intent, { settle_timeout = 1 })))
  end)

  it("refuses what is no intent of this account", function()
    local s = server(function() return nil, lost end)
    local client = new(s)
    local _, err = client.invoices:create(123, fee, { settle_timeout = 0 })
    for message, fn in pairs {
      ["settle: 'intent' must be that of an unknown_outcome error, got number"] = function()
        client:settle(5)
      end,
      ["settle: 'intent' must be this account's"] = function() new(s):settle(err.intent) end,
    } do
      local fine, why = pcall(fn)
      assert.is_false(fine)
      assert.equal(message, why:match("^spec/settle_spec%.lua:%d+: (.*)$"))
    end
  end)
end)

describe("the quota", function()
  it("has what looking needs set aside before anything is sent", function()
    local s = server(function(s, sent) return created(s.make(sent)) end)
    local client = new(s, { quota = 6 })
    assert(client.invoices:create(123, fee))
    assert.equal(4, client:quota().left) -- a look and the create; the rest came back
    local none, err = client.invoices:create(123, fee)
    assert.is_nil(none)
    assert.equal("rate_limited", err.kind)
    assert.equal(1, s.posts)
    assert.equal(4, client:quota().left)
  end)

  it("does not stand in the way of looking", function()
    local s = server(function(s, sent)
      s.make(sent)
      return nil, lost
    end)
    s.visible = 5
    local client = new(s, { quota = 6 })
    assert.equal("found", assert(client.invoices:create(123, fee)).how)
    assert.equal(0, client:quota().left)
  end)

  it("is not spent by repeating, where looking needs it", function()
    local s = server(function(s, sent, n)
      if n < 3 then return nil, { kind = "network", sent = false } end
      s.make(sent)
      return nil, lost
    end)
    s.visible = 9 -- the last look
    s.on_look = function(n)
      if n < 3 then return { status = 503 } end
    end
    local client = new(s, { quota = 12 })
    assert.equal("found", assert(client.invoices:create(123, fee)).how)
    assert.equal(9, s.looks)
    assert.equal(0, client:quota().left)
    -- what looking needs is there before anything is sent, so others go without
    s = server(function(it, sent)
      it.make(sent)
      return nil, lost
    end)
    s.visible = 5
    client = new(s, { quota = 7 })
    s.on_look = function(n)
      if n == 1 then
        assert(client.series:list())
        assert.equal("rate_limited", select(2, client.series:list { timeout = 1 }).kind)
      end
    end
    local handler = s.handler
    function s.handler(request)
      if request.url:find "series" then return { body = "[]" } end
      return handler(request)
    end
    assert.equal("found", assert(client.invoices:create(123, fee)).how)
  end)
end)

describe("a Betterez invoice that may have been issued", function()
  local id = "616d7cf38fedff37e449215c"
  local invoice = { _id = "616d7cf38fedff37e4492161", transactionId = id, number = "5" }
  local call = 0

  local function client_of(post)
    call = call + 1
    local issued, posts = false, 0
    return support.new("betterez", function(request)
      if request.method == "GET" then
        return { body = json.encode { invoices = json.array(issued and { invoice } or {}),
          next = "" } }
      end
      posts = posts + 1
      return post(posts, function() issued = true end)
    end, { api_key = "btrz-key-" .. call })
  end

  it("is found by its transaction", function()
    local client, transport = client_of(function(_, issue)
      issue()
      return nil, lost
    end)
    local found = assert(client.invoices:issue("infile-json", { transactionId = id }))
    assert.equal("5", found.number)
    assert.equal("betterez", getmetatable(found).vendor)
    assert.equal("https://btrz.example/invoices/invoices?transactionId=" .. id .. "&page=1",
      transport.requests[1].url)
    client = client_of(function(_, issue)
      issue()
      return { status = 502 }
    end)
    assert.equal("5", assert(client.invoices:retry { transactionId = id }).number)
  end)

  it("is unknown where it is not there", function()
    local client = client_of(function() return nil, lost end)
    assert.equal("unknown_outcome", select(2, client.invoices:retry { transactionId = id }).kind)
  end)

  it("is found, whichever way its transaction is written", function()
    local client = client_of(function(_, issue)
      issue()
      return nil, lost
    end)
    assert.equal("5", assert(client.invoices:retry { transactionId = id:upper() }).number)
  end)

  it("is not there where the answer is no invoice", function()
    for _, body in ipairs { '{"code":"X","message":"failed"}', '{"error":"failed"}', "{}" } do
      local client = client_of(function() return { body = body } end)
      local _, err = client.invoices:retry { transactionId = id }
      assert.equal("unknown_outcome", err.kind)
      assert.equal("decode", err.cause.kind)
      client = client_of(function(_, issue)
        issue()
        return { body = body }
      end)
      assert.equal("5", assert(client.invoices:retry { transactionId = id }).number)
    end
  end)

  it("is another call's where that had an answer", function()
    local client = support.new("betterez", function(request, n)
      if request.method == "GET" then -- a list that lags behind
        return { body = json.encode { invoices = json.array { n > 4 and invoice or nil } } }
      elseif n == 2 then
        return { body = json.encode { invoice = invoice } }
      end
      return nil, lost
    end, { api_key = "btrz-key-answered" })
    assert.equal("5", assert(client.invoices:issue("infile", { transactionId = id })).number)
    local _, err = client.invoices:retry { transactionId = id }
    assert.equal("unknown_outcome", err.kind)
  end)

  it("is looked for on every page", function()
    local first = { _id = "616d7cf38fedff37e4492100", transactionId = id, number = "1" }
    local issued = false
    local client, transport = support.new("betterez", function(request)
      if request.method == "POST" then
        issued = true
        return nil, lost
      elseif request.url:find "page=2" then
        return { body = json.encode { invoices = json.array { issued and invoice or nil },
          next = "" } }
      end
      return { body = json.encode { invoices = { first },
        next = "https://btrz.example/invoices/invoices?page=2" } }
    end, { api_key = "btrz-key-pages" })
    assert.equal("5", assert(client.invoices:retry { transactionId = id }).number)
    assert.equal(7, #transport.requests)
  end)

  it("is found where the server says that it was issued, after an unknown outcome", function()
    local refusal = { status = 400,
      body = '{"code":"TRANSACTION_ALREADY_INVOICED","message":"no"}' }
    local client = client_of(function(n, issue)
      if n == 1 then return nil, lost end
      issue()
      return refusal
    end)
    assert.is_nil((client.invoices:issue("infile", { transactionId = id })))
    assert.equal("5", assert(client.invoices:retry { transactionId = id }).number)
    -- and without one it is what the server says
    client = client_of(function() return refusal end)
    local _, err = client.invoices:retry { transactionId = id }
    assert.equal("invalid", err.kind)
    assert.equal("TRANSACTION_ALREADY_INVOICED", err.code)
  end)

  it("is not looked for without a transaction, nor after a dry run", function()
    local client, transport = client_of(function() return nil, lost end)
    assert.equal("unknown_outcome", select(2, client.invoices:issue("infile", { a = 1 })).kind)
    assert.equal(1, #transport.requests)
    assert.equal("timeout", select(2, client.invoices:issue("infile", { transactionId = id },
      { validate_only = true, attempts = 1 })).kind)
    assert.equal(2, #transport.requests)
  end)
end)

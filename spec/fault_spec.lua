-- Every failure at every point of an exchange, over real sockets: what the caller is told, how many
-- requests the server saw, and that no invoice exists twice that was asked for once.

local billhook = require "billhook"
local fault_server = require "spec.support.fault_server"

local fee = { currency = "EUR", items = { { item = "Fee", price = "25.00", qty = 1 } } }
local payment = { amount = "17.00", currency = "EUR" }
local order = { reference = { field = "smallprint", value = "order-881" } }

local LIMIT = 100000
local large = ("x"):rep(LIMIT + 1)

local calls = {
  create = function(client) return client.invoices:create(5, fee) end,
  referenced = function(client) return client.invoices:create(5, fee, order) end,
  pay = function(client) return client.transactions:create(7, payment) end,
  get = function(client) return client.invoices:get(1) end,
  list = function(client) return client.invoices:list { application = 5 } end,
  delete = function(client) return client.invoices:delete(1) end,
  count = function(client) return client.invoices:count() end,
}

-- --- the cases: name, call, what the world does, and what is to come of it ----------------------

local cases = {}

-- expected: { kind or how or "ok", POST, GET, ours, ... }; the requests that came whole, the rest
-- in `torn`; later: what client:settle says then
local function case(name, call, world, expected)
  cases[#cases + 1] = { name = name, call = call, world = world, expected = expected }
end

local ways = { "reset", "close", "stall" }
local function once(fate, method) return { fates = { [method or "POST"] = { fate } } } end
local function always(fate, method)
  fate.always = true
  return once(fate, method)
end

for _, call in ipairs { "create", "pay" } do
  -- what happens to the request: it is never carried out, and nobody can know
  for _, how in ipairs(ways) do
    case(("%s: %s in the head of the request"):format(call, how), call,
      once { at = "head", how = how },
      { "unknown_outcome", POST = 0, torn = 1, GET = 5, ours = 0 })
    case(("%s: %s in the body of the request"):format(call, how), call,
      once { at = "body", how = how },
      { "unknown_outcome", POST = 0, torn = 1, GET = 5, ours = 0 })
    case(("%s: %s after the request, not carried out"):format(call, how), call,
      once { at = "request", how = how, commit = false },
      { "unknown_outcome", POST = 1, GET = 5, ours = 0 })
    case(("%s: %s after the request, carried out"):format(call, how), call,
      once { at = "request", how = how }, { "found", POST = 1, GET = 3, ours = 1 })
    case(("%s: %s after the request, carried out later"):format(call, how), call,
      once { at = "request", how = how, commit = 5.6 }, how == "stall"
        and { "found", POST = 1, ours = 1 }
        or { "unknown_outcome", POST = 1, GET = 5, later = "found" })
    for _, at in ipairs { "status", "headers" } do
      case(("%s: %s in the %s of the answer"):format(call, how, at), call,
        once { at = at, how = how }, { "found", POST = 1, GET = 3, ours = 1 })
    end
  end
  -- what it is answered
  for _, status in ipairs { 500, 502, 503, 504 } do
    case(("%s: %d, carried out"):format(call, status), call, once { status = status },
      { "found", POST = 1, GET = 3, ours = 1 })
    case(("%s: %d, not carried out"):format(call, status), call,
      once { status = status, commit = false }, { "unknown_outcome", POST = 1, GET = 5, ours = 0 })
  end
  for status, kind in pairs { [400] = "invalid", [401] = "auth", [403] = "auth",
    [404] = "not_found", [409] = "conflict", [422] = "invalid" } do
    case(("%s: %d"):format(call, status), call, once { status = status, commit = false },
      { kind, POST = 1, GET = 1, ours = 0 })
  end
end

case("create: carried out a little later than the connection dies", "create",
  once { at = "request", how = "reset", commit = 0.3 }, { "found", POST = 1, ours = 1 })
case("create: 201 without Location", "create", once { headers = {} },
  { "created", POST = 1, GET = 3, ours = 1 })
case("create: 201 with another place's Location", "create",
  once { headers = { Location = "http://elsewhere.example/api/invoices/77" } },
  { "created", POST = 1, GET = 3, ours = 1 })
case("create: 201 whose body is cut off", "create",
  once { at = "answer", how = "close", body = ("x"):rep(1000) },
  { "found", POST = 1, GET = 3, ours = 1 })
case("create: 201 whose body is too large", "create", once { body = large },
  { "found", POST = 1, GET = 3, ours = 1 })
case("create: 201 whose body never ends", "create", once { endless = true, body = "x" },
  { "found", POST = 1, GET = 3, ours = 1 })
case("create: 302", "create", once { status = 302, headers = { Location = "/elsewhere" },
  commit = false }, { "unknown_outcome", POST = 1, GET = 5, ours = 0 })
case("create: 429, then room", "create", once { status = 429, commit = false },
  { "created", POST = 2, GET = 2, ours = 1, timeout = 20 })
case("create: 429 with Retry-After, then room", "create",
  once { status = 429, commit = false, headers = { ["Retry-After"] = "1" } },
  { "created", POST = 2, GET = 2, ours = 1, timeout = 20 })
case("create: 429 with Retry-After beyond the deadline", "create",
  once { status = 429, commit = false, headers = { ["Retry-After"] = "9" } },
  { "rate_limited", POST = 1, GET = 1, ours = 0, retry_after = 9 })
for name, value in pairs { negative = "-5", past = "Thu, 01 Jan 1970 00:00:10 GMT",
  malformed = "soon", absurd = "99999999999999999999" } do
  case(("create: 429 with a %s Retry-After, then room"):format(name), "create",
    once { status = 429, commit = false, headers = { ["Retry-After"] = value } },
    { "created", POST = 2, GET = 2, ours = 1, timeout = 20 })
end
case("create: 429 with a Retry-After of a year", "create",
  once { status = 429, commit = false, headers = { ["Retry-After"] = "31536000" } },
  { "rate_limited", POST = 1, GET = 1, ours = 0, retry_after = 31536000 })
case("create: 429 with a date by the server's clock, then room", "create",
  once { status = 429, commit = false, headers = { Date = "Fri, 01 Jan 2027 00:00:00 GMT",
    ["Retry-After"] = "Fri, 01 Jan 2027 00:00:01 GMT" } },
  { "created", POST = 2, GET = 2, ours = 1, timeout = 20 })
case("create: 429 for ever", "create",
  always { status = 429, commit = false, headers = { ["Retry-After"] = "0" } },
  { "rate_limited", POST = 3, GET = 3, ours = 0 })
case("create: 429 to the look before it", "create",
  { fates = { GET = { { status = 429, commit = false, headers = { ["Retry-After"] = "9" } } } } },
  { "rate_limited", POST = 0, GET = 1, ours = 0, retry_after = 9 })
case("create: the look before it fails", "create", always({ status = 503 }, "GET"),
  { "server", POST = 0, GET = 3, ours = 0 })
case("create: the look before it is no list", "create", once({ body = "<html>" }, "GET"),
  { "decode", POST = 0, GET = 1, ours = 0 })
case("create: the look before it is a failure that says 200", "create",
  once({ body = '{"error":"the database is away"}' }, "GET"),
  { "decode", POST = 0, GET = 1, ours = 0 })
for _, status in ipairs { 200, 202, 204, 206, 301, 303, 307, 308 } do
  case(("create: %d, carried out"):format(status), "create", once { status = status,
    headers = { Location = "/elsewhere" } }, { "found", POST = 1, GET = 3, ours = 1 })
end
local shown = '{"id":"%d","currency":"EUR","items":[{"item":"Fee","price":25.0,"qty":"1"}]}'
for name, body in pairs {
  ["with ids as texts"] = "[" .. shown:format(1) .. "," .. shown:format(2) .. "]",
  ["with everything twice"] = "[" .. (shown:format(2) .. ","):rep(2) .. shown:format(1) .. "]",
  ["by its ids"] = '{"2":' .. shown:format(2) .. ',"1":' .. shown:format(1) .. "}",
} do
  case("create: no answer, the list comes " .. name, "create", { fates = {
    POST = { { at = "request", how = "reset" } },
    GET = { { body = "[" .. shown:format(1) .. "]" }, { body = body }, { body = body } } } },
    { "found", POST = 1, GET = 3, ours = 1 })
end
case("create: no answer, the lists have what has no id", "create", { fates = {
  POST = { { at = "request", how = "reset" } },
  GET = { {}, { body = '[{"id":1.5}]' }, { body = '[{"id":0}]' }, { body = '["x"]' },
    { body = '{"a":null,"b":{"nr":"1"}}' } } } },
  { "unknown_outcome", POST = 1, GET = 5, ours = 1 })
case("create: no answer, the lists have one under another's id", "create", { fates = {
  POST = { { at = "request", how = "reset" } },
  GET = { {}, { body = '{"x":' .. shown:format(2) .. "}" }, { body = '{"1":' .. shown:format(2)
    .. "}" }, { status = 503 }, { status = 503 } } } },
  { "unknown_outcome", POST = 1, GET = 5, ours = 1 })
case("create: 201 with the Location of one that was there", "create", { seed = true,
  fates = { POST = { { headers = { Location = "/api/applications/5/invoices/1" } } } } },
  { "created", POST = 1, GET = 3, ours = 1 })
case("create: the looks after it fail twice", "create", { fates = {
  POST = { { at = "request", how = "reset" } },
  GET = { {}, { status = 502 }, { at = "answer", how = "reset" } } } },
  { "found", POST = 1, GET = 5, ours = 1 })
case("create: all looks after it fail", "create", { fates = {
  POST = { { at = "request", how = "reset" } },
  GET = { {}, { status = 502 }, { status = 500 }, { status = 503 }, { at = "head", how = "reset" },
    { at = "head", how = "reset" } } } },
  { "unknown_outcome", POST = 1, ours = 1 })

-- lists that lag behind, and others
case("create: the list lags a little", "create",
  { lag = 0.5, fates = { POST = { { at = "request", how = "reset" } } } },
  { "found", POST = 1, ours = 1 })
case("create: the list lags behind all looks", "create",
  { lag = 60, fates = { POST = { { at = "request", how = "reset" } } } },
  { "unknown_outcome", POST = 1, GET = 5, ours = 1 })
for _, when in ipairs { "before", "after" } do
  case(("create: others bill the same %s it, no answer"):format(when), "create",
    { meanwhile = { when = when }, fates = { POST = { { at = "request", how = "reset" } } } },
    { "unknown_outcome", POST = 1, GET = 5, ours = 1, theirs = 1 })
  case(("create: others bill the same %s it, answered"):format(when), "create",
    { meanwhile = { when = when } }, { "created", POST = 1, GET = 1, ours = 1, theirs = 1 })
  case(("create with a reference: others bill the same %s it, no answer"):format(when),
    "referenced", { meanwhile = { when = when, reference = "theirs", times = 2 },
      fates = { POST = { { at = "request", how = "reset" } } } },
    { "found", POST = 1, GET = 3, ours = 1, theirs = 2 })
  case(("create with a reference: others bill the same %s it, not carried out"):format(when),
    "referenced", { meanwhile = { when = when, reference = "theirs" },
      fates = { POST = { { at = "request", how = "reset", commit = false } } } },
    { "unknown_outcome", POST = 1, GET = 5, ours = 0, theirs = 1 })
end

-- what may be repeated is repeated
for _, how in ipairs { "reset", "close" } do
  for _, at in ipairs { "head", "request", "status", "headers", "answer" } do
    case(("get: %s once in the %s"):format(how, at), "get", once({ at = at, how = how }, "GET"),
      { "ok", GET = at == "head" and 1 or 2 })
    case(("get: %s always in the %s"):format(how, at), "get",
      always({ at = at, how = how }, "GET"),
      { "network", GET = at == "head" and 0 or 3, attempts = 3 })
  end
  case(("delete: %s after it was carried out"):format(how), "delete",
    once({ at = "request", how = how }, "DELETE"), { "ok", DELETE = 2 })
  case(("delete: %s before it was carried out"):format(how), "delete",
    once({ at = "request", how = how, commit = false }, "DELETE"), { "ok", DELETE = 2 })
  case(("count: %s once"):format(how), "count", once({ at = "request", how = how }, "HEAD"),
    { "ok", HEAD = 2 })
end
for _, at in ipairs { "head", "request", "status", "headers", "answer" } do
  case(("get: stall in the %s"):format(at), "get", always({ at = at, how = "stall" }, "GET"),
    { "timeout", GET = at == "head" and 0 or 1, attempts = 1 })
end
for _, status in ipairs { 500, 502, 503, 504 } do
  case(("get: %d once"):format(status), "get", once({ status = status }, "GET"),
    { "ok", GET = 2 })
  case(("get: %d always"):format(status), "get", always({ status = status }, "GET"),
    { "server", GET = 3, attempts = 3 })
  case(("delete: %d, carried out"):format(status), "delete", once({ status = status }, "DELETE"),
    { "ok", DELETE = 2 })
end
case("delete: what is not there", "delete", { empty = true }, { "not_found", DELETE = 1 })
case("get: 503 with Retry-After", "get",
  once({ status = 503, headers = { ["Retry-After"] = "1" } }, "GET"), { "ok", GET = 2 })
case("get: 503 with Retry-After beyond the deadline", "get",
  once({ status = 503, headers = { ["Retry-After"] = "60" } }, "GET"),
  { "server", GET = 1, retry_after = 60 })
case("get: 429, then room", "get", once({ status = 429 }, "GET"), { "ok", GET = 2, timeout = 20 })
case("get: a body that is too large", "get", once({ body = large }, "GET"),
  { "too_large", GET = 1 })
case("get: a body that never ends", "get", once({ endless = true, body = "{" }, "GET"),
  { "too_large", GET = 1 })
case("get: half a JSON", "get", once({ body = '{"id":' }, "GET"), { "decode", GET = 1 })
case("get: a failure that says 200", "get", once({ body = '{"error":"away"}' }, "GET"),
  { "decode", GET = 1 })
case("get: an HTML page", "get",
  once({ body = "<html><title>Soon back</title>", headers = { ["Content-Type"] = "text/html" } },
    "GET"), { "decode", GET = 1 })
case("list: cut off", "list", once({ at = "answer", how = "close" }, "GET"), { "ok", GET = 2 })
case("list: too large", "list", once({ body = large }, "GET"), { "too_large", GET = 1 })

-- --- running them, side by side -----------------------------------------------------------------

-- Seconds for a call. It is short only where its end, or one of the server's times, is what is
-- looked at: the rest may take as long as a busy machine needs.
local function timeout(one)
  if one.expected.timeout then return one.expected.timeout end
  for _, list in pairs(one.world.fates or {}) do
    for _, fate in ipairs(list) do
      if fate.how == "stall" or type(fate.commit) == "number" then return 5 end
    end
  end
  return one.expected.retry_after and 5 or 20
end

local function run(server, one, n)
  local world = server:world(one.world)
  if not one.world.empty then world:make(one.world.seed and "5" or "4", fee) end
  local client = billhook.dreamapply { base_url = world.url, api_key = "fault-key-" .. n,
    timeout = timeout(one), settle_timeout = 4, limit = LIMIT }
  local value, err = calls[one.call](client)
  local result = { value = value, err = err, state = world:state() }
  if one.expected.later then
    result.later = client:settle(err.intent, { settle_timeout = 60 })
    result.later_state = world:state()
  end
  return result
end

local function told(result)
  if result.value == nil then return result.err.kind end
  return type(result.value) == "table" and result.value.how or "ok"
end

local function count(result, maker)
  local n = 0
  for _, made in ipairs(result.state.made) do
    if made.maker == maker then n = n + 1 end
  end
  return n
end

local function check(one, result)
  local expected, state = one.expected, result.state
  assert.equal(expected[1], told(result))
  for _, method in ipairs { "POST", "GET", "DELETE", "HEAD", "torn" } do
    local wanted, found = expected[method], state.requests[method] or 0
    if method == "GET" and expected[1] == "unknown_outcome" and wanted then
      -- it looks as often as its time allows, on a busy machine less often
      assert.is_true(found >= math.min(wanted, 3) and found <= wanted, method .. " " .. found)
    elseif wanted then
      assert.equal(wanted, found, method)
    end
  end
  assert.is_true((state.requests.POST or 0) <= 3)
  if expected.ours then
    assert.equal(expected.ours, count(result, "us"), "invoices of ours")
    assert.is_true(count(result, "us") <= 1)
  end
  if expected.theirs then assert.equal(expected.theirs + 1, count(result, "them")) end
  if result.value and expected.ours and result.value.id then
    local kind = one.call == "pay" and "transactions" or "invoices"
    for _, made in ipairs(state.made) do
      if made.kind == kind and made.one.id == result.value.id then
        assert.equal("us", made.maker)
      end
    end
  end
  if expected.later then
    assert.equal(expected.later, result.later.how)
    assert.equal(1, result.later_state.requests.POST)
  end
  if expected.attempts then assert.equal(expected.attempts, result.err.attempts) end
  if expected.retry_after then assert.equal(expected.retry_after, result.err.retry_after) end
end

describe("a server that fails", function()
  local results, errors

  lazy_setup(function()
    local server = fault_server.start()
    local numbers = {}
    for i = 1, #cases do numbers[i] = i end
    results, errors = billhook.map(numbers, function(n) return run(server, cases[n], n) end,
      { concurrency = 32 })
    server:stop()
  end)

  lazy_teardown(function()
    results, errors = nil, nil
    collectgarbage()
    collectgarbage()
  end)

  for n, one in ipairs(cases) do
    it(one.name, function()
      assert.is_nil(errors[n])
      check(one, results[n])
    end)
  end

  it("makes one invoice of a reference, though many ask for it at once", function()
    local server = fault_server.start()
    local world = server:world { latency = 0.02 }
    local client = billhook.dreamapply { base_url = world.url, api_key = "fault-key-reference" }
    local made, errs = billhook.map({ 25, "25.00", "26", "25.0", 26, 25 }, function(price)
      return client.invoices:create(5, { currency = "EUR",
        items = { { item = "Fee", price = price, qty = 1 } } },
        { reference = { field = "smallprint", value = "order-A" } })
    end, { concurrency = 6 })
    local state, seen = world:state(), { created = 0, found = 0, conflict = 0 }
    server:stop()
    for n = 1, 6 do
      local what = made[n] and made[n].how or errs[n].kind
      seen[what] = (seen[what] or 0) + 1
    end
    assert.equal(1, state.requests.POST)
    assert.equal(1, seen.created)
    assert.equal(5, seen.found + seen.conflict)
  end)

  it("that nobody listens to is sent nothing", function()
    local port = require("spec.support.peer").refused_port()
    local client = billhook.dreamapply { base_url = "http://127.0.0.1:" .. port, timeout = 2,
      api_key = "fault-key-refused" }
    local none, err = client.transactions:create(7, payment, { settle_timeout = 0 })
    assert.is_nil(none)
    assert.equal("network", err.kind)
    assert.equal(3, err.attempts)
    assert.is_true(err.retryable)
  end)
end)

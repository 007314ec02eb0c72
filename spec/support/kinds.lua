-- kinds.lua - answers that go wrong in the ways that users of such systems met, and what a call
-- must make of them: the same over every transport. The server and the client both read this table,
-- each by an example's number, so nothing else is between them but the wire.
--
--   kinds.examples[n]             { kind, vendor, call, answer, wanted }
--   kinds.answer(n, request)      --> status, headers, body
--   kinds.check(n, base, options) --> nil, or what is wrong; options are the client's

local assert = require "luassert"
local billhook = require "billhook"
local json = require "billhook.json"

local M = { examples = {} }

local HTML, TEXT, JSON = "text/html; charset=utf-8", "text/plain", "application/json"
local MARK = "\239\187\191"
local PROVIDER = "616d7cf38fedff37e449215c"
local PAGE = "<html><head><title>Maintenance</title></head><body>Back soon</body></html>"

local options = {
  dreamapply = { api_key = "kinds-key" },
  dreamclass = { tenant = "school", school_code = "S1", api_key = "kinds-key" },
  betterez = { api_key = "kinds-key", token = "kinds-token" },
}

-- An example: what is asked for, what the server answers (a body, or a function of the request that
-- gives status, type and body), and what must come of it: a function, or the kind of an error and
-- what its message has.
local function example(kind, vendor, call, answer, wanted, message)
  M.examples[#M.examples + 1] = { kind = kind, vendor = vendor, call = call, answer = answer,
    wanted = type(wanted) == "function" and wanted or function(value, err)
      assert.is_nil(value)
      assert.equal(wanted, err.kind)
      if message then assert.is_truthy(err.message:find(message, 1, true), err.message) end
    end }
end

local function answers(status, kind, body) return function() return status, kind, body end end

local function delete(client) return client.invoices:delete(7) end
local function get(client) return client.invoices:get(7) end
local function list(client) return client.invoices:list() end

local function walk(client)
  local fine, value = pcall(function()
    local all = {}
    for one in client.invoices:each() do all[#all + 1] = one end
    return all
  end)
  if fine then return value end
  return nil, value
end

-- --- a status alone is no success ----------------------------------------------------------------

local believed = "a delete is not believed for its status"
example(believed, "dreamapply", delete, answers(200, HTML, PAGE), "decode")
example(believed, "dreamapply", delete, answers(200, JSON, '{"error":"locked"}'), "decode")
example(believed, "dreamapply", delete, answers(200, TEXT, "Service temporarily unavailable"),
  "decode")
example("a delete that is accepted is one", "dreamapply", delete, answers(202, JSON, ""),
  function(value) assert.is_true(value) end)

local substance = "an invoice is what has the id that was asked for"
for _, body in ipairs { '{"success":false}', "{}", '{"id":8,"currency":"EUR"}', '{"id":"7b"}', "[]",
  '{"status":"error","message":"x"}', '"7"' } do
  example(substance, "dreamapply", get, answers(200, JSON, body), "decode")
end
example(substance, "dreamapply", get, answers(200, JSON, '{"id":"7","currency":"EUR"}'),
  function(value, err)
    assert.is_nil(err)
    assert.equal("EUR", value.currency)
  end)

local shape = "what is no list is totalled as nothing"
for _, items in ipairs { '{"0":{"item":"a","price":"1.00","qty":"1"},"2":{"item":"b"}}', '"none"',
  '[{"item":"a","price":"1.00","qty":"1"},7]' } do
  example(shape, "dreamapply", get, answers(200, JSON,
    ('{"id":7,"currency":"EUR","collections":{},"items":%s}'):format(items)),
    function(value, err)
      assert.is_nil(err)
      for _, amount in ipairs { "total", "balance" } do
        local none, why = billhook.invoice[amount](value)
        assert.is_nil(none)
        assert.is_string(why)
      end
    end)
end

local dates = "a date that is none makes nothing overdue"
for _, day in ipairs { "0000-00-00", "2026-02-30", "2026-13-01" } do
  example(dates, "dreamapply", get, answers(200, JSON, ('{"id":7,"currency":"EUR","deadline":"%s",'
    .. '"items":[{"item":"a","price":"1.00","qty":"1"}],"collections":{}}'):format(day)),
    function(value)
      local none, why = billhook.invoice.is_overdue(value, "2026-11-21")
      assert.is_nil(none)
      assert.is_string(why)
    end)
end

-- --- what is said is read ------------------------------------------------------------------------

local reason = "the reason of a refusal is read, whatever its type is said to be"
local function refused(message, code)
  return function(value, err)
    assert.is_nil(value)
    assert.same({ "invalid", message, code, 422 }, { err.kind, err.message, err.code, err.status })
  end
end
example(reason, "dreamapply", get, answers(422, HTML, "items[0].price: must not be negative"),
  refused "items[0].price: must not be negative")
example(reason, "dreamapply", get, answers(422, HTML, '{"code":"E7","message":"no such series"}'),
  refused("no such series", "E7"))
example(reason, "dreamapply", get, answers(422, TEXT, MARK .. '{"error":"no such series"}'),
  refused "no such series")

local typed = "JSON is what reads as JSON"
for _, call in ipairs { list, walk } do
  for _, kind in ipairs { HTML, TEXT, "application/octet-stream" } do
    example(typed, "dreamapply", call, answers(200, kind, MARK .. '{"7":{"id":7}}'),
      function(value, err)
        assert.is_nil(err)
        assert.same({ { id = 7 } }, value)
      end)
  end
end

local ORDER = { currency = "EUR", items = { { item = "Fee", price = "25.00", qty = "1" } } }

-- what a create looks at, and what it is answered
for _, kind in ipairs { HTML, TEXT } do
  example(typed, "dreamapply", function(client) return client.invoices:create(123, ORDER) end,
    function(request)
      if request.method == "GET" then return 200, kind, MARK .. '{"7":{"id":7}}' end
      return 201, kind, MARK .. '{"id":9}'
    end, function(value, err)
      assert.is_nil(err)
      assert.same({ 9, "created" }, { value.id, value.how })
    end)
end

local odd = "one bad text does not make a list unreadable"
for _, name in ipairs { "Ann \\ud83d", "Ann \\udc00x", "Ann \255" } do
  for _, call in ipairs { list, walk } do
    example(odd, "dreamapply", call, answers(200, JSON,
      ('{"7":{"id":7,"payer":{"name":"%s"}},"8":{"id":8}}'):format(name)), function(value, err)
        assert.is_nil(err)
        assert.equal(2, #value)
        assert.is_truthy(value[1].payer.name:find("^Ann \239\191\189"))
      end)
  end
end

local mixed = "a list and a walk refuse the same"
for _, body in ipairs { '{"1":{"id":1},"2":null}', '{"1":{"id":1},"2":{"id":3}}',
  '{"1":{"id":1},"2":[]}', '[{"id":1},5]' } do
  for _, call in ipairs { list, walk } do
    example(mixed, "dreamapply", call, answers(200, JSON, body), "decode")
  end
end

-- --- what was read goes back as it was -----------------------------------------------------------

local back = "what was read goes back as it was"
for _, members in ipairs { '"lines":[[],{}],"rate":12345678901234.56,"tags":[]',
  '"amount":0.10,"none":null', '"params":{"list":[1.10,null],"of":{}}' } do
  local text = ('{"_id":"%s",%s}'):format(PROVIDER, members)
  example(back, "betterez", function(client)
    local provider, err = client.providers:get(PROVIDER)
    if not provider then return nil, err end
    return client.providers:update(PROVIDER, provider)
  end, function(request)
    if request.method == "GET" then return 200, JSON, text end
    return 200, JSON, ('{"_id":"%s","same":%s}'):format(PROVIDER, tostring(request.body == text))
  end, function(value, err)
    assert.is_nil(err)
    assert.is_true(value.same)
  end)
end

-- --- pages ---------------------------------------------------------------------------------------

-- two pages: `link` leads from the first to the second, which begins with what was on the first
local function pages(link)
  return function(request)
    if request.query:find("page=2", 1, true) then
      return 200, JSON, '{"providers":[{"_id":"b"},{"_id":"c"}],"next":""}'
    end
    return 200, JSON, ('{"providers":[{"_id":"a"},{"_id":"b"}],"next":"%s"}'):format(
      link(request))
  end
end

local function providers(client) return client.providers:list() end

local function thrice(value, err)
  assert.is_nil(err)
  assert.same({ { _id = "a" }, { _id = "b" }, { _id = "c" } }, value)
end

local linked = "the next page is where its link leads, and what slides is given once"
example(linked, "betterez", providers, pages(function() return "?page=2" end), thrice)
example(linked, "betterez", providers, pages(function(request)
  return "./" .. request.path:match("[^/]+$") .. "?page=2"
end), thrice)
example(linked, "betterez", providers, pages(function(request)
  return "//" .. request.host .. request.path .. "?page=2"
end), thrice)
-- from behind a proxy: another scheme or port of the same host
for _, origin in ipairs { "https://%s", "http://%s:1", "//%s:65535" } do
  example(linked, "betterez", providers, pages(function(request)
    return origin:format((request.host:gsub(":%d+$", ""))) .. "/inner?page=2"
  end), thrice)
end
local away = "no page is asked for elsewhere"
for _, link in ipairs { "https://elsewhere.example/x?page=2", "//elsewhere.example/?page=2",
  "ftp://127.0.0.1/?page=2" } do
  example(away, "betterez", providers, pages(function() return link end), "decode")
end

-- --- one order, one invoice ----------------------------------------------------------------------

local order = { reference = { field = "smallprint", value = "order-A" } }
local keyed = "what has the reference and differs is in the way: nothing is sent"
for _, there in ipairs { { price = "26.00" }, { item = "Other" }, { currency = "USD" } } do
  example(keyed, "dreamapply", function(client)
    return client.invoices:create(123, ORDER, order)
  end, function(request)
    if request.method ~= "GET" then return 201, JSON, "" end
    return 200, JSON, json.encode { ["9"] = { id = 9, currency = there.currency or "EUR",
      smallprint = "order-A", items = { { item = there.item or "Fee",
        price = there.price or "25.00", qty = "1" } } } }
  end, "conflict", "nothing was sent")
end

-- --- small ones ----------------------------------------------------------------------------------

local moved = "a redirect is named, without what it carries"
for _, status in ipairs { 301, 302, 307 } do
  example(moved, "dreamapply", get, function()
    return status, HTML, PAGE, "https://login.example/sso?ticket=hush"
  end, "server", "unexpected redirect to https://login.example/sso")
end

local large = "an id that no number keeps is text"
for _, id in ipairs { "9007199254740993", "900719925474099301" } do
  example(large, "dreamapply", function(client)
    return client.invoices:create(123, ORDER, { settle_timeout = 0 })
  end, function() return 201, JSON, "", "/api/v9/applications/123/invoices/" .. id end,
  function(value, err)
    assert.is_nil(err)
    assert.equal(id, ("%s"):format(type(value.id) == "number" and ("%d"):format(value.id)
      or value.id))
  end)
end

-- Two places are none: what was created is looked up, by all that it says.
local two = "what two Locations name is looked up"
for application, places in ipairs { "/api/invoices/8, /api/invoices/9", "/api/invoices/9, /x",
  "/api/invoices/9, /api/invoices/9" } do
  example(two, "dreamapply", function(client)
    return client.invoices:create(500 + application, ORDER, { settle_timeout = 1 })
  end, function(request)
    if request.method ~= "GET" then return 201, JSON, "", places end
    return 200, JSON, "{}"
  end, "unknown_outcome", "its answer names none that is new")
end

local bad = "a body that is broken may come right, whatever broke it"
for _, body in ipairs { '{"id":7', "", "<html>" } do
  example(bad, "dreamapply", get, answers(200, JSON, body), function(value, err)
    assert.is_nil(value)
    assert.same({ "decode", true }, { err.kind, err.retryable })
  end)
end

-- by the server's clock, which need not be ours: in the first days of this month
local waits = "the time to wait is read, however its day is written"
local function on(day, time)
  local now = os.date "!*t"
  local at = os.time { year = now.year, month = now.month, day = 6, hour = 12 }
  return os.date("!%a, " .. day .. " %b %Y " .. time .. " GMT", at)
end
for _, answer in ipairs { on("06", "08:49:37"), on("6", "08:49:37"), "37" } do
  example(waits, "dreamapply", get, function()
    return 503, TEXT, "", nil, { ["Retry-After"] = answer,
      ["Date"] = answer:find "GMT" and on("06", "08:49:00") or nil }
  end, function(value, err)
    assert.is_nil(value)
    assert.same({ "server", 37 }, { err.kind, err.retry_after })
  end)
end

-- --- both sides ----------------------------------------------------------------------------------

--- What the server says to { method, path, query, host, body }, by an example's number.
---@return integer status, table headers, string body
function M.answer(n, request)
  local status, kind, body, location, more = M.examples[n].answer(request)
  local headers = { ["Content-Type"] = kind, ["Location"] = location }
  for name, value in pairs(more or {}) do headers[name] = value end
  return status, headers, body
end

--- Makes the call of an example, of a server whose paths begin with `base`.
---@return string? wrong
function M.check(n, base, more)
  local one = M.examples[n]
  local all = { base_url = base, attempts = 1, quota = false, timeout = 60 }
  for _, source in ipairs { options[one.vendor], more } do
    for name, value in pairs(source) do all[name] = value end
  end
  local fine, why = pcall(function() one.wanted(one.call(billhook[one.vendor](all))) end)
  return not fine and tostring(why) or nil
end

return M

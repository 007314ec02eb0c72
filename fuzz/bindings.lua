-- fuzz/bindings.lua - billhook.core as Lua has it, and the Lua above it that takes URLs apart. The
-- first byte chooses what is done. What raises here is a finding, but where a mistake of the caller
-- is to raise: `prepare` and its like are called protected.

local core = require "billhook.core"
local json = require "billhook.json"
local options = require "billhook.options"
local url = require "billhook.inbox.url"

local text_of, verify = core.text, core.verify

-- --- JSON

local function reads(text)
  local value, why = json.decode(text)
  if value == nil then
    assert(type(why) == "string" or text:find "null")
  else
    local again = json.encode(value)
    assert(again == nil or json.encode(json.decode(again)) == again)
    assert(#core.json.stringify(text) <= #text)
  end
  core.json.decode(text, "answer")
  local kept = core.json.read(text)
  assert(kept ~= nil or value == nil)
  local digest = core.json.digest(text, { "id" })
  assert(not digest or #digest == 64)
  local redacted = core.json.redact(text, { "apiKey" }, { "payment" }, { "type" })
  assert(value == nil or core.json.read(redacted) ~= nil or text:find "^%s*null")
end

local function streams(text)
  local under, rest = text:match "^([^\n]*)\n(.*)$"
  if not under then return end
  local stream = core.json.stream(under ~= "" and under or nil, 1024, #under % 2 == 0)
  for at = 1, #rest, 7 do
    if not stream:feed(rest:sub(at, at + 6)) then break end
    local value, why
    repeat value, why = stream:value() until value == nil
    if why then break end
  end
  stream:finish()
end

-- --- deliveries

local keys = verify.keys { secret = { "one", "two" }, authorization = "Bearer one",
  basic = { "user", "password" } }
local VENDORS = { "dreamapply", "dreamclass", "betterez" }

local function headers_of(text)
  local headers = {}
  for line in text:gmatch "[^\n]+" do
    local name, value = line:match "^([^:]*):(.*)$"
    if name and headers[name] then
      headers[name] = { headers[name], value }
    elseif name then
      headers[name] = value
    end
  end
  return headers
end

local function checks(text)
  local head, body = text:match "^(.-)\n\n(.*)$"
  if not head then return end
  local headers = headers_of(head)
  for i, vendor in ipairs(VENDORS) do
    local delivery, code, why = verify.check(vendor, headers, body, keys, { now = 1700000000 })
    if delivery then
      assert(delivery.vendor == vendor and type(delivery.events) == "table")
      for _, event in ipairs(delivery.events) do
        assert(type(event.id) == "string" and #event.digest == 64)
      end
      assert(i ~= 1 or next(headers))
    else
      assert(type(code) == "string" and type(why) == "string")
    end
    assert(verify.headers(vendor, headers, keys) or not delivery)
  end
  verify.items(body)
  local from, to = verify.member(body, "id")
  assert(not from or from <= to and to <= #body)
end

-- --- calls

local function called(fn, ...)
  local ok, value = pcall(fn, ...)
  if not ok then assert(type(value) == "string") end
  return ok and value
end

local function prepares(text)
  local vendor, operation, params = text:match "^(%l+) ([%w_.]+)\n(.*)$"
  if not vendor then return end
  local value = json.decode(params)
  local made = called(core.call.prepare, vendor, operation, value)
  if not made then return end
  assert(made.path:match "^/[!-~]+$" and not made.path:find("//", 1, true))
  assert(not made.query or made.query:match "^[!-~]+$" and not made.query:find "[#?]")
  assert(not made.authorization or made.authorization:match "^Basic [%w+/=]*$")
  if made.body then assert(json.decode(assert(json.encode(made.body)))) end
end

local function concludes(text)
  local vendor, operation, status, head = text:match "^(%l+) ([%w_.]+) (%d%d%d)\n(.*)$"
  if not vendor then return end
  local outcome = called(core.call.conclude, vendor, operation, tonumber(status), headers_of(head),
    1, "https://class.example/v1", "/invoices")
  if outcome then assert(outcome.ok or type(outcome.kind) == "string") end
end

-- --- texts, amounts, addresses

local function texts(text)
  assert(text_of.unhex(text_of.hex(text)) == text)
  assert(text_of.unbase64(text_of.base64(text)) == text)
  text_of.unhex(text)
  text_of.unbase64(text)
  assert(#text_of.percent(text) >= #text and #text_of.sha256(text) == 64)
  assert(text_of.equal(text, text) and not text_of.equal(text, text .. "x"))
  local epoch = text_of.datetime(text)
  if epoch and epoch > -6e10 and epoch < 2e11 then
    assert(text_of.datetime(text_of.iso(epoch)) == math.floor(epoch))
  end
  text_of.day(text)
  text_of.retry_after(text, 1700000000)
end

local function amounts(text)
  local a, b, digits = text:match "^([^\n]*)\n([^\n]*)\n?(.?)"
  if not a then return end
  local x, y = core.decimal.read(a), core.decimal.read(b)
  assert(not x or core.decimal.read(tostring(x)) == x)
  if not x or not y then return end
  local sum, product = called(function() return x + y end), called(function() return x * y end)
  assert(not sum or sum:eq(y + x))
  assert(not product or product:eq(y * x))
  assert((x < y) == (y > x) and (x <= y) == (y >= x))
  called(x.round, x, (digits:byte() or 0) % 20)
  local shares = called(x.allocate, x, { 1, 2, 3 })
  if shares then assert((shares[1] + shares[2] + shares[3]):eq(x)) end
end

local function addresses(text)
  local from, link = text:match "^([^\n]*)\n(.*)$"
  if not from then return end
  local parts = options.parse_url(from)
  if parts then
    assert(parts.origin:match "^https?://[^/@%s]+$" and parts.path:match "^[!-~]*$")
    local target = options.resolve(from, link)
    assert(not target or options.parse_url(target) and target:match "^https?://[!-~]+$")
  end
  local head = headers_of(link)
  local order = called(core.request.check, { method = "GET", url = from, headers = head })
  if order then
    assert(order.url:match "^[hH][tT][tT][pP][sS]?://[^@/]+" and not order.url:find "[%c ]")
    for name, value in pairs(order.headers) do
      assert(name:match "^[!-~]+$" and not value:find "[%z\r\n]")
    end
  end
  local good = url.check(from)
  local password = good and from:match "^postgres%l*://[^/?@:]*:([^/?@]+)@"
  if password and #password >= 8 then
    local name = from:gsub(":" .. password:gsub("%p", "%%%0") .. "@", "@", 1)
    assert(name:find(password, 1, true) or not url.shown(from):find(password, 1, true))
  end
  url.shown(from)
  url.blot(link, from)
end

local DONE = { reads, streams, checks, prepares, concludes, texts, amounts, addresses }

return function(data)
  local chosen = data:byte()
  if chosen then DONE[chosen % #DONE + 1](data:sub(2)) end
end

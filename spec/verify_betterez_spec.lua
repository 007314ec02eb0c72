-- spec/verify_betterez_spec.lua: Betterez's scheme: a code over time and body, in a header.
local core = require "billhook.core"
local deliveries = require "spec.support.deliveries"
local text, verify = core.text, core.verify

describe("betterez", function()
  local body = deliveries.read "betterez-invoices-created.json"
  local keys = verify.keys { secret = { "old", "secret" } }
  local now = 1700000000

  local function header(sent, t, form)
    t = t or "1700000000"
    return "t=" .. t .. ",s2=" .. (form or text.hex)(verify.hmac("secret", t .. "." .. sent))
  end

  local function check(value, sent, options)
    return verify.check("betterez", { ["X-Btrz-Signature"] = value }, sent or body, keys,
      options or { now = now })
  end

  local function refused(code, pattern, value, sent, options)
    deliveries.refuses(code, pattern, "betterez", { ["x-btrz-signature"] = value }, sent or body,
      keys,
      options or { now = now })
  end

  local function kept(pattern, sent)
    return deliveries.keeps(pattern, "betterez", { ["x-btrz-signature"] = header(sent) }, sent,
      keys, { now = now })
  end

  local function change(from, to) return deliveries.change(body, from, to) end

  it("takes the vendor's sample", function()
    local delivery = assert(check(header(body)))
    assert.equal("betterez", delivery.vendor)
    assert.equal("body", delivery.trust)
    assert.equal(2, delivery.secret)
    assert.is_nil(delivery.tenant)
    local event = delivery.events[1]
    assert.equal("efec49e0-80a0-4734-bf02-2581cddd13af", event.id)
    assert.equal("invoices.created", event.native)
    assert.equal("616d7cf38fedff37e4492161", event.invoice)
    assert.equal("0ab70210-547a-4a7a-8e1b-e402a8663308", event.attempt_id)
    assert.equal(1623794899, event.occurred_at)
    assert.is_true(event.live)
  end)

  it("takes s2 in hexadecimal of either case and base64 of either alphabet", function()
    local function upper(code) return text.hex(code):upper() end
    local function url(code) return (text.base64(code):gsub("%+", "-"):gsub("/", "_")) end
    local function bare(code) return (text.base64(code):gsub("=", "")) end
    for _, form in ipairs { text.hex, upper, text.base64, url, bare } do
      assert.is_truthy(check(header(body, nil, form)))
    end
    for _, form in ipairs {
      function(code) return text.hex(code):sub(2) end,
      function(code) return text.hex(code) .. "00" end,
      function(code) return text.base64(code:sub(2)) end,
      function() return "" end,
      function() return ("g"):rep(64) end,
    } do
      refused("header", "s2 in the signature header is not 32 bytes", header(body, nil, form))
    end
  end)

  it("refuses a header that is missing, no list, or has t or s2 twice or not", function()
    deliveries.refuses("unsigned", "no x%-btrz%-signature", "betterez", {}, body, keys)
    local good = header(body)
    refused("unsigned", "no s2", "t=1700000000,s=" .. good:match("s2=(.*)"))
    refused("header", "twice", good .. "," .. good:match("s2=.*"))
    refused("header", "twice", "t=1700000000," .. good)
    refused("header", "twice", good .. ",s2=" .. ("0"):rep(64))
    refused("header", "not a list", "")
    refused("header", "not a list", good .. ",")
    refused("header", "not a list", (good:gsub(",", " ")))
    refused("header", "t in the signature header", (good:gsub("^t=", "u=")))
    assert.is_truthy(check("v9=zzz, " .. good:gsub(",", " , ") .. ",s=deprecated,s=twice"))
  end)

  it("takes t only as 1 to 16 digits, and signs its exact text", function()
    for _, t in ipairs { "", "-1", "+1700000000", "1700000000.0", "1.7e9", "0x6553f100",
      " 1700000000",
      "17000000000000000", "\217\161" } do
      local value = header(body, t)
      local _, code = check(value)
      assert.equal("header", code, t)
    end
    assert.is_truthy(check(header(body, "0001700000000")))
    refused("mismatch", "s2 does not match t, the body and the secret",
      (header(body, "01700000000"):gsub("t=0", "t=")))
  end)

  it("tolerates 300 seconds both ways, or what is configured, after the signature", function()
    assert.is_truthy(check(header(body), nil, { now = now + 300 }))
    assert.is_truthy(check(header(body), nil, { now = now - 300 }))
    refused("stale", "longer ago", header(body), nil, { now = now + 300.5 })
    refused("future", "in the future", header(body), nil, { now = now - 300.5 })
    assert.is_truthy(check(header(body), nil, { now = now + 3600, tolerance = 3600 }))
    refused("stale", "", header(body), nil, { now = now + 2, tolerance = 1 })
    assert.is_truthy(check(header(body), nil, { now = now + 1e9, tolerance = math.huge }))
    refused("mismatch", "", header(body .. "x"), nil, { now = now + 1e6 })
  end)

  it("reads t from 1e11 on as milliseconds", function()
    assert.is_truthy(check(header(body, "1700000000999"), nil, { now = now + 300 }))
    refused("stale", "", header(body, "99999999999"), nil, { now = now + 1e11 })
    assert.is_truthy(check(header(body, "100000000000"), nil, { now = 1e8 }))
    assert.is_truthy(check(header(body, "99999999999"), nil, { now = 99999999999 }))
  end)

  it("uses the clock where no now is given", function()
    local t = ("%.0f"):format(math.floor(text.now()))
    assert.is_truthy(check(header(body, t), nil, {}))
    refused("stale", "", header(body), nil, {})
  end)

  it("takes a code over JSON.stringify's spelling too, and reads that", function()
    local pretty = '{ "id": "A", "event":"invoices.created",\n'
      .. '"data": {"_id": "a\\/\\u00e9", "n": 1.50} }'
    local compact = '{"id":"A","event":"invoices.created","data":{"_id":"a/\195\169","n":1.50}}'
    local event = assert(check(header(compact), pretty)).events[1]
    assert.equal('{"_id":"a/\195\169","n":1.50}', event.data)
    assert.equal("A", event.id)
    refused("mismatch", "", header(pretty), compact)
    refused("mismatch", "", header("{}"), "{ ")
  end)

  it("refuses a changed body, whichever byte", function()
    local compact = body:gsub("\n%s*", "")
    local value = header(compact)
    assert.is_truthy(check(value, compact))
    for i = 1, #compact do
      local other = compact:sub(1,
        i - 1) .. string.char((compact:byte(i) + 1) % 256) .. compact:sub(i + 1)
      local delivery, code = check(value, other)
      assert(delivery == nil and code == "mismatch", i)
    end
  end)

  it("keeps what is authentic and cannot be acted on, and says why", function()
    local event = kept("^id is missing", change('"id"', '"no"'))
    assert.equal("invoices.created", event.native)
    event = kept("^event is missing", change('"event"', '"no"'))
    assert.equal("bad-" .. event.digest:sub(1, 32), event.id)
    assert.is_nil(event.native)
    kept("^data is missing", change('"data": {', '"no": {'))
    kept("^data is missing", (body:gsub('"data": %b{}', '"data": null')))
    kept("^id is not a string", change('"efec49e0-80a0-4734-bf02-2581cddd13af"', "1"))
    kept("^id is not 1 to 128", change("efec49e0-80a0-4734-bf02-2581cddd13af", ""))
    kept("^id is not 1 to 128", change("efec49e0-80a0", ("x"):rep(128)))
    kept("^id is not valid text", change("efec49e0", "\192\128"))
    kept("^id comes twice", change('"id"', '"id": "x", "id"'))
    kept("^event is not 1 to 128", change("invoices.created", "invoices\\u0000"))
    kept("^event is not valid text", change("invoices.created", "invoices.\\ud83d"))
    kept("^livemode is not true or false", change("true", '"true"'))
    kept("^livemode comes twice", change('"livemode"', '"livemode": false, "livemode"'))
    kept("^livemode comes twice", change('"livemode"', '"\\u006civemode"'))
    kept("^data._id comes twice", change('"_id"', '"_id": 1, "_id"'))
    kept("not an object", "[]")
    kept("at byte", body .. "}")
    kept("at byte", body .. "\0")
    kept("at byte", body:sub(1, 100))
    kept("at byte", "payload=1")
    kept("empty", "")
    kept("^id is missing", '{"providerId":"p","apiKey":"k","data":{"from":"a@b.test","to":[]}}')
  end)

  it("acts on what is odd where that decides nothing", function()
    for _, sent in ipairs {
      change("certification", "\\ud83d"), change("certification", "\192\128"),
      change("certification", "\\u0000"), change('"serie"', '"serie": 1, "serie"'),
      change('"456889"', "1e999"), change('"456889"', ("["):rep(500) .. ("]"):rep(500)),
      change("1623794899", "null"), change('"created"', '"created": 1, "created"'),
      change('"attemptId"', '"attemptId": 1, "attemptId"'), "\239\187\191" .. body,
    } do
      local event = assert(check(header(sent), sent)).events[1]
      assert.is_nil(event.bad)
      assert.equal("616d7cf38fedff37e4492161", event.invoice)
    end
    -- a mark that was put before what was signed
    local delivery = assert(check(header(body), "\239\187\191" .. body))
    assert.equal("616d7cf38fedff37e4492161", delivery.events[1].invoice)
    refused("mismatch", "", header("\239\187\191" .. body), body)
  end)

  it("tells test events, attempts and times where they are there", function()
    local function event(sent) return assert(check(header(sent), sent)).events[1] end
    assert.is_false(event(change("true", "false")).live)
    assert.is_true(event(change("true", "null")).live)
    assert.is_true(event(change('"livemode"', '"more"')).live)
    assert.is_nil(event(change('"attemptId"', '"more"')).attempt_id)
    assert.is_nil(event(change('"0ab70210-547a-4a7a-8e1b-e402a8663308"', "5")).attempt_id)
    assert.is_nil(event(change("1623794899", '"yesterday"')).occurred_at)
    assert.equal(1623794899.5, event(change("1623794899", "1623794899500")).occurred_at)
    assert.equal("ABC", event(change("efec49e0-80a0-4734-bf02-2581cddd13af", "ABC")).id)
    assert.equal("efec49e0-80a0-4734-bf02-2581cddd13af",
      event(change("efec49e0", "EFEC49E0")).id)
  end)

  it("finds the invoice's id in invoices.* alone", function()
    local function invoice(sent) return assert(check(header(sent), sent)).events[1].invoice end
    assert.equal("616d7cf38fedff37e4492161", invoice(change("invoices.created",
      "invoices.updated")))
    assert.is_nil(invoice(change("invoices.created", "invoiceemail.created")))
    assert.is_nil(invoice(change("invoices.created", "invoice_providers.updated")))
    assert.is_nil(invoice(change('"_id"', '"id"')))
    assert.is_nil(invoice(change('"616d7cf38fedff37e4492161"', "616")))
    assert.is_nil(invoice((body:gsub('"data": %b{}', '"data": "compressed"'))))
  end)

  it("gives one digest for one content: attempts, times and the order do not matter", function()
    local function digest(sent) return assert(check(header(sent), sent)).events[1].digest end
    local first = digest(body)
    assert.equal(first, digest(change("0ab70210", "1ab70210")))
    assert.equal(first, digest(change("1623794899", "1623794900")))
    assert.equal(first, digest(change("serie", "s\\u0065rie")))
    assert.equal(first, digest(change('"event": "invoices.created",', ""):gsub('"livemode"',
      '"event": "invoices.created", "livemode"')))
    assert.are_not.equal(first, digest(change("456889", "456888")))
    assert.are_not.equal(first, digest(change("invoices.created", "invoices.updated")))
  end)
end)

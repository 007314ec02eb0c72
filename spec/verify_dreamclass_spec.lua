-- spec/verify_dreamclass_spec.lua: DreamClass's scheme: a code over the id, in the body.
local core = require "billhook.core"
local deliveries = require "spec.support.deliveries"
local text, verify = core.text, core.verify

describe("dreamclass", function()
  local body = deliveries.read "dreamclass-invoice-created.json"
  local keys = verify.keys { secret = "123" }

  local function check(changed, options, headers)
    return verify.check("dreamclass", headers or {}, changed, keys, options)
  end

  local function refused(code, pattern, sent, options)
    deliveries.refuses(code, pattern, "dreamclass", {}, sent, keys, options)
  end

  local function kept(pattern, sent, options)
    return deliveries.keeps(pattern, "dreamclass", {}, sent, keys, options)
  end

  local function change(from, to) return deliveries.change(body, from, to) end

  it("takes the vendor's sample", function()
    local delivery = assert(check(body, { tenant = "my-school" }))
    assert.equal("dreamclass", delivery.vendor)
    assert.equal("id", delivery.trust)
    assert.equal("my-school", delivery.tenant)
    assert.equal(1, delivery.secret)
    assert.equal(1, #delivery.events)
    local event = delivery.events[1]
    assert.equal("aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", event.id)
    assert.equal("INVOICE_CREATED", event.native)
    assert.equal("16", event.invoice)
    assert.equal(1727884920.561, event.occurred_at)
    assert.is_true(event.live)
    assert.is_nil(event.bad)
    assert.equal(body:match('"data": (%b{})'), event.data)
  end)

  it("agrees with the public vectors", function()
    local vectors = assert(core.json.decode(deliveries.read "signatures.json"))
    assert.equal(5, #vectors.dreamclass)
    for _, vector in ipairs(vectors.dreamclass) do
      local sent = ('{"id":"%s","type":"T","tenant":"t","timestamp":1,"data":{},"signature":"%s"}')
        :format(vector.id, vector.signature)
      local delivery, code = verify.check("dreamclass", {}, sent,
        verify.keys { secret = vector.secret })
      if vector.valid then
        assert.equal(vector.id, delivery.events[1].id)
      else
        assert.equal("mismatch", code)
      end
    end
  end)

  it("signs the id as it was sent and knows it in lower case", function()
    local id = "AA3A27D6-05b5-4fcd-bd04-505bfffacfc2"
    local code = text.base64(verify.hmac("123", id))
    local sent = change("aa3a27d6", "AA3A27D6")
    refused("mismatch", "signature does not match the id and the secret", sent)
    sent = sent:gsub('"signature": "[^"]*"', function() return '"signature": "' .. code .. '"' end)
    assert.equal("aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", assert(check(sent)).events[1].id)
  end)

  it("refuses what has no id that is signed", function()
    refused("malformed", "^id is missing", change('"id":', '"no":'))
    refused("malformed", "^id is not a string", change('"aa3a27d6-05b5-4fcd-bd04-505bfffacfc2"',
      "17"))
    refused("malformed", "^id is not a UUID", change("aa3a27d6-", "aa3a27d6"))
    refused("malformed", "^id is not a UUID", change("aa3a27d6", "ga3a27d6"))
    refused("malformed", "^id is not valid text", change("aa3a27d6", "\255a3a27d6"))
    refused("malformed", "^id is not valid text", change("aa3a27d6", "\\ud83d"))
  end)

  it("keeps what is authentic and cannot be acted on, and says why", function()
    local function empty(value) return (body:gsub('"data": %b{}', '"data": ' .. value)) end
    for _, name in ipairs { "data", "type" } do
      kept("^" .. name .. " is missing", change('"' .. name .. '":', '"no":'))
    end
    kept("^type is missing", change('"INVOICE_CREATED"', "null"))
    kept("^type is not a string", change('"INVOICE_CREATED"', "1"))
    kept("^type is not 1 to 128", change("INVOICE_CREATED", ""))
    kept("^type is not 1 to 128", change("INVOICE_CREATED", "A B"))
    kept("^type is not 1 to 128", change("INVOICE_CREATED", ("A"):rep(129)))
    kept("^type is not valid text", change("INVOICE_CREATED", "INVOICE_\\udc00"))
    kept("^tenant is not a string", change('"my-school"', "{}"))
    kept("^tenant is not 1 to 128", change("my-school", "a\\nb"))
    kept("^data is missing", empty "null")
    kept("^data is not an object", empty '"text"')
    kept("^data is not an object", empty "[]")
    local event = kept("^data is missing", (empty("null"):gsub("_CREATED", "_DELETED")))
    assert.equal("INVOICE_DELETED", event.native)
    assert.equal("bad-aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", event.id)
    assert.equal(1727884920.561, event.occurred_at)
  end)

  it("keeps what two readers could read differently", function()
    local id = '"id": "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2",'
    for _, sent in ipairs { change(id, id .. id), change(id, id .. '"\\u0069d": "x",'),
      change(id, '"\\u0069d": "x",' .. id) } do
      refused("malformed", "^id comes twice", sent) -- what is signed is not even known
    end
    kept("^type comes twice", change('"type"', '"type": "X", "type"'))
    kept("^type comes twice", change('"type"', '"\\u0074ype"'))
    kept("^tenant comes twice", change('"tenant"', '"tenant": "X", "tenant"'))
    kept("^data comes twice", change('"data"', '"data": {}, "data"'))
    kept("^data.id comes twice", change('"email"', '"id": 17, "email"'))
    kept("^data.id comes twice", change('"email"', '"\\u0069d": 17, "email"'))
  end)

  it("acts on what is odd where that decides nothing", function()
    for _, odd in ipairs { "null", "-1", "true", '"soon"', "99999999999999999999", "[]" } do
      local event = assert(check(change("1727884920561", odd))).events[1]
      assert.is_nil(event.bad, odd)
      assert.is_nil(event.occurred_at)
      assert.equal("16", event.invoice)
    end
    for _, odd in ipairs { '"1727884920561"', "1727884920561.0", "1.727884920561e12" } do
      local event = assert(check(change("1727884920561", odd))).events[1]
      assert.equal(1727884920.561, event.occurred_at)
    end
    for _, sent in ipairs {
      change('"timestamp"', '"other"'), change('"timestamp"', '"timestamp": 1, "timestamp"'),
      change('"my-school"', "null"), change('"tenant"', '"no"'),
      change('"amount"', '"amount": 1, "amount"'), change('"type"', '"x": 1, "x": 2, "type"'),
      change('"type"', '"other": {"a":1,"\\u0061":2}, "type"'),
      change("John", "J\255hn"), change("John", "J\0hn"), change("John", "J\\u0000hn"),
      change("John", "J\\ud83d"), change("John", "J\nhn"), change("300", "1e999"),
      change("300", ("9"):rep(5000)), change("300", "1e-99999999999999"),
      change("300", ("["):rep(500) .. ("]"):rep(500)), "\239\187\191" .. body,
      change("INVOICE_CREATED", "INVOICE_SENT"),
    } do
      local event = assert(check(sent)).events[1]
      assert.is_nil(event.bad)
      assert.equal("16", event.invoice)
    end
  end)

  it("refuses a signature that is missing or no code at all", function()
    refused("unsigned", "signature is missing", change('"signature"', '"sign"'))
    local good = "4sB3kHjsoz0srhd/dd+55xSKhlFd/hUXzyrMIJWrXTM="
    refused("unsigned", "signature is missing", change('"' .. good .. '"', "null"))
    for _, odd in ipairs { good:sub(1, -2), good:gsub("/", "_"):gsub("%+", "-"), "", "AAAA",
      text.hex(text.unbase64(good)), good .. "\\n", good:gsub("M=$", "N="), (good:gsub("4",
        " ")) } do
      refused("malformed", "^signature is not 32 bytes", change(good, odd))
    end
    refused("malformed", "^signature is not a string", change('"' .. good .. '"', "1"))
    assert.is_truthy(check(change(good, (good:gsub("/", "\\/"))))) -- PHP's spelling of the same
  end)

  it("refuses what is no JSON object where the proof cannot be read, and says where", function()
    for sent, message in pairs {
      [""] = "empty", ["{"] = "at byte 1", ["[]"] = "not an object", ['"x"'] = "not an object",
      [body:sub(1, 100)] = "at byte", [("["):rep(70)] = "too early", ["payload=1"] = "at byte 0",
    } do
      refused("malformed", message, sent)
    end
  end)

  it("keeps what is no JSON behind its proof, and says where", function()
    for sent, message in pairs {
      [body .. "x"] = "bytes after the value at byte", [body .. "\0"] = "at byte",
      [body:sub(1, -4)] = "too early at byte " .. #body - 3 + 1,
    } do
      kept(message, sent)
    end
    refused("mismatch", "", change("aa3a27d6", "ba3a27d6"):sub(1, -4))
  end)

  it("checks the tenant exactly, after the signature", function()
    refused("tenant", "^tenant is another", body, { tenant = "my-schoo" })
    refused("tenant", "^tenant is another", body, { tenant = "My-school" })
    refused("mismatch", "", change("aa3a", "ba3a"), { tenant = "x" })
    refused("tenant", "^tenant is another", (body:gsub("INVOICE_CREATED", "")), { tenant = "x" })
    assert.is_truthy(check(body, { tenant = "my-school" }))
    assert.is_truthy(check(body))
    -- not another's, and not known to be ours either
    kept("^tenant is missing", change('"my-school"', "null"), { tenant = "my-school" })
    kept("^tenant is not a string", change('"my-school"', "1"), { tenant = "my-school" })
  end)

  it("looks at the time only where a tolerance is given, in milliseconds, both ways", function()
    local sent = 1727884920.561
    assert.is_truthy(check(body, { now = sent + 1e6 }))
    assert.is_truthy(check(body, { now = sent + 9, tolerance = 10 }))
    assert.is_truthy(check(body, { now = sent - 9, tolerance = 10 }))
    refused("stale", "longer ago", body, { now = sent + 11, tolerance = 10 })
    refused("future", "in the future", body, { now = sent - 11, tolerance = 10 })
    assert.is_truthy(check(body, { now = sent, tolerance = 0 }))
    refused("future", "", body, { now = sent - 0.5, tolerance = 0 })
    for _, odd in ipairs { "null", '"soon"', "-1", "1, \"timestamp\": 1727884920561" } do
      refused("stale", "^timestamp is no time", change("1727884920561", odd),
        { now = sent, tolerance = 10 })
    end
    refused("stale", "^timestamp is no time", change('"timestamp"', '"other"'),
      { now = sent, tolerance = 10 })
    refused("stale", "longer ago", change("1727884920561", '"1727884920561"'),
      { now = sent + 11, tolerance = 10 })
  end)

  it("finds the invoice's id where there is one", function()
    local function invoice(sent) return assert(check(sent)).events[1].invoice end
    assert.equal("16", invoice(change('"id": 16', '"id": "0016"')))
    for _, spelt in ipairs { "16.0", "16.00", '"16.0"' } do
      assert.equal("16", invoice(change('"id": 16', '"id": ' .. spelt)))
    end
    assert.equal("100", invoice(change('"id": 16', '"id": 100.0')))
    assert.is_nil(invoice(change('"id": 16', '"id": "16."')))
    assert.is_nil(invoice(change('"id": 16', '"id": ".0"')))
    assert.is_nil(invoice(change('"id": 16', '"id": -16.0')))
    assert.is_nil(invoice(change('"id": 16', '"id": "sixteen"')))
    assert.is_nil(invoice(change('"id": 16', '"id": -16')))
    assert.is_nil(invoice(change('"id": 16', '"id": 16.5')))
    assert.is_nil(invoice(change('"id": 16', '"no": 16')))
    assert.equal("0", invoice(change('"id": 16', '"id": 0')))
    assert.equal("999999999999999999", invoice(change('"id": 16', '"id": 999999999999999999')))
    assert.is_nil(invoice(change("INVOICE_CREATED", "STUDENT_CLASS_CREATED")))
    local payment = change("INVOICE_CREATED", "PAYMENT_CREATED")
    assert.is_nil(invoice(payment))
    assert.equal("5", invoice((payment:gsub('"amount"', '"invoiceId": 5, "amount"'))))
  end)

  it("wants Basic credentials where they are configured, before anything else", function()
    local both = verify.keys { secret = "123", basic = { "user", "p:ss" } }
    local function with(value) return { authorization = value } end
    local good = "Basic " .. text.base64("user:p:ss")
    assert.is_truthy(verify.check("dreamclass", with(good), body, both))
    assert.is_truthy(verify.check("dreamclass", with("basic " .. text.base64("user:p:ss")), body,
      both))
    local function bad(code, pattern, headers, sent)
      deliveries.refuses(code, pattern, "dreamclass", headers, sent or body, both)
    end
    bad("unauthorized", "no Authorization", {}, "no JSON")
    for _, odd in ipairs { "user:p:sss", "user:p:s", "use:p:ss", "", ":", "user:", "User:p:ss",
      "user:p:ss\n" } do
      bad("unauthorized", "other Basic", with("Basic " .. text.base64(odd)))
    end
    for _, odd in ipairs { "Basic", "Bearer " .. text.base64("user:p:ss"), good .. " ",
      "Basic !" } do
      bad("unauthorized", "not Basic credentials", with(odd))
    end
    bad("header", "twice", with { good, good })
    assert.is_truthy(check(body, nil, with("Basic anything"))) -- not configured: not looked at
  end)

  it("takes any of several secrets and tells which", function()
    local several = verify.keys { secret = { "old", "123", "123", "new" } }
    assert.equal(2, verify.check("dreamclass", {}, body, several).secret)
  end)

  it("gives one digest for one content, however it is spelt", function()
    local function digest(sent) return assert(check(sent)).events[1].digest end
    local first = digest(body)
    assert.equal(first, digest((body:gsub("\n%s*", ""))))
    assert.equal(first, digest(change("1727884920561", "1")))
    assert.equal(first, digest(change("John", "\\u004aohn")))
    assert.equal(first, digest(change('"amount": 300', '"amount": 300.0')))
    assert.equal(first, digest(change('"id": 16,', ""):gsub('"email"', '"id": 16, "email"')))
    assert.equal(first, digest(change('"type"', '"more": 1, "type"')))
    assert.equal(first,
      core.json.digest(('{"type":"INVOICE_CREATED","tenant":"my-school","data":%s}')
      :format(body:match('"data": (%b{})'))))
    assert.are_not.equal(first, digest(change("300", "301")))
    assert.are_not.equal(first, digest(change("my-school", "my-schoo")))
    assert.are_not.equal(first, digest(change("CREATED", "UPDATED")))
    assert.is_nil(assert(check(body, { digest = false })).events[1].digest)
  end)
end)

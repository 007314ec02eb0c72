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
    refused("mismatch", "", sent)
    sent = sent:gsub('"signature": "[^"]*"', function() return '"signature": "' .. code .. '"' end)
    assert.equal("aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", assert(check(sent)).events[1].id)
  end)

  it("refuses an envelope with a member missing, null or of another kind", function()
    for _, name in ipairs { "id", "data", "type", "tenant", "timestamp" } do
      refused("malformed", "^" .. name .. " is missing", change('"' .. name .. '":', '"no":'))
    end
    refused("malformed", "^id is not a string", change('"aa3a27d6-05b5-4fcd-bd04-505bfffacfc2"',
      "17"))
    refused("malformed", "^id is not a UUID", change("aa3a27d6-", "aa3a27d6"))
    refused("malformed", "^id is not a UUID", change("aa3a27d6", "ga3a27d6"))
    refused("malformed", "^type is not a string", change('"INVOICE_CREATED"', "1"))
    refused("malformed", "^type is not 1 to 128", change("INVOICE_CREATED", ""))
    refused("malformed", "^type is not 1 to 128", change("INVOICE_CREATED", "A B"))
    refused("malformed", "^type is not 1 to 128", change("INVOICE_CREATED", ("A"):rep(129)))
    refused("malformed", "^tenant is not a string", change('"my-school"', "{}"))
    refused("malformed", "^tenant is not 1 to 128", change("my-school", "a\\nb"))
    refused("malformed", "^tenant is missing", change('"my-school"', "null"))
    for _, odd in ipairs { '"1727884920561"', "1727884920561.5", "-1", "1e12", "true",
      "99999999999999999999" } do
      refused("malformed", "^timestamp is not a whole number", change("1727884920561", odd))
    end
    local sent = body:gsub('"data": %b{}', '"data": "text"')
    refused("malformed", "^data is not an object", sent)
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

  it("refuses what two readers could read differently", function()
    local id = '"id": "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2",'
    for _, sent in ipairs {
      change(id, id .. id), change(id, id .. '"\\u0069d": "x",'), change(id,
        '"\\u0069d": "x",' .. id),
      change('"type"', '"type": "X", "type"'), change('"amount"', '"amount": 1, "amount"'),
      change('"type"', '"\\u0074ype"'), change('"email"', '"id": 17, "email"'),
      change('"type"', '"other": {"a":1,"\\u0061":2}, "type"'),
    } do
      refused("malformed", "twice", sent)
    end
  end)

  it("refuses what is no JSON object, and says where", function()
    for sent, message in pairs {
      [""] = "empty", ["{"] = "at byte 1", ["[]"] = "not an object", ['"x"'] = "not an object",
      [body .. "x"] = "bytes after the value at byte", [body .. "\0"] = "at byte",
      [body:sub(1, -4)] = "at byte", [change("John", "J\255hn")] = "invalid UTF%-8 at byte",
      [change("John", "J\0hn")] = "at byte", ["\239\187\191" .. body] = "at byte 0",
      [("["):rep(70)] = "nested deeper",
    } do
      refused("malformed", message, sent)
    end
  end)

  it("checks the tenant exactly, after the signature", function()
    refused("tenant", "^tenant is another", body, { tenant = "my-schoo" })
    refused("tenant", "^tenant is another", body, { tenant = "My-school" })
    refused("mismatch", "", change("aa3a", "ba3a"), { tenant = "x" })
    assert.is_truthy(check(body, { tenant = "my-school" }))
    assert.is_truthy(check(body))
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
  end)

  it("finds the invoice's id where there is one", function()
    local function invoice(sent) return assert(check(sent)).events[1].invoice end
    assert.equal("16", invoice(change('"id": 16', '"id": "0016"')))
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

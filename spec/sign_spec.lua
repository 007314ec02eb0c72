-- spec/sign_spec.lua: HMAC, and deliveries made for tests.
local core = require "billhook.core"
local webhook = require "billhook.webhook"
local deliveries = require "spec.support.deliveries"
local hmac, text = core.verify.hmac, core.text

describe("hmac", function()
  it("agrees with RFC 4231", function()
    assert.equal("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
      text.hex(hmac(("\11"):rep(20), "Hi There")))
    assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      text.hex(hmac("Jefe", "what do ya want for nothing?")))
    assert.equal("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
      text.hex(hmac(("\170"):rep(131), "Test Using Larger Than Block-Size Key - Hash Key First")))
  end)

  it("wants two texts", function()
    assert.has_error(function() hmac("a") end)
    assert.has_error(function() hmac(nil, "a") end)
  end)
end)

describe("sign", function()
  local sample = {
    dreamapply = '{"id":1,"event":"e"}',
    dreamclass = deliveries.read "dreamclass-invoice-created.json",
    betterez = deliveries.read "betterez-invoices-created.json",
  }
  local options = {
    dreamapply = { authorization = { "Bearer a", "Bearer b" } },
    dreamclass = { secret = "s3", basic = { "u", "p:q" } },
    betterez = { secret = { "one", "two" }, now = 1700000000.7 },
  }

  for vendor, body in pairs(sample) do
    it("makes what verify takes: " .. vendor, function()
      local headers, signed = webhook.sign(vendor, body, options[vendor])
      assert.equal("application/json", headers["Content-Type"])
      local delivery = assert(webhook.verify(vendor, headers, signed, options[vendor]))
      assert.equal(1, delivery.secret) -- the first one signs
      local other = { secret = "other", authorization = "other", basic = options[vendor].basic,
        now = 1700000000 }
      assert.is_nil((webhook.verify(vendor, headers, signed, other)))
    end)
  end

  it("signs whole seconds, now by default", function()
    local headers = webhook.sign("betterez", "{}", { secret = "s", now = 1700000000.7 })
    assert.equal("t=1700000000,s2=" .. text.hex(hmac("s", "1700000000.{}")),
      headers["X-Btrz-Signature"])
    headers = webhook.sign("betterez", "{}", { secret = "s" })
    local t = tonumber(headers["X-Btrz-Signature"]:match("^t=(%d+),"))
    assert.is_true(math.abs(t - os.time()) <= 2)
  end)

  it("puts DreamClass's code in place of the one in the body, or in front", function()
    local id = "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2"
    local code = text.base64(hmac("123", id))
    local _, signed = webhook.sign("dreamclass", ('{"id":"%s"}'):format(id), { secret = "123" })
    assert.equal(('{"signature":"%s","id":"%s"}'):format(code, id), signed)
    _, signed = webhook.sign("dreamclass", ('{"signature" : null, "id":"%s"}'):format(id),
      { secret = "123" })
    assert.equal(('{"signature" : "%s", "id":"%s"}'):format(code, id), signed)
    _, signed = webhook.sign("dreamclass", sample.dreamclass, { secret = "123" })
    assert.equal(sample.dreamclass, signed)
  end)

  it("gives an error for a DreamClass body without an id", function()
    for _, body in ipairs { "{}", "[]", "nonsense", '{"id":5}', '{"id":"a","id":"b"}' } do
      local headers, err = webhook.sign("dreamclass", body, { secret = "s" })
      assert.is_nil(headers)
      assert.equal("invalid", err.kind)
      assert.equal("malformed", err.code)
    end
  end)

  it("raises at the caller's line for wrong use", function()
    for _, case in ipairs {
      { { "stripe", "{}", { secret = "s" } }, "'vendor' must be" },
      { { "betterez", {}, { secret = "s" } }, "'raw_body' must be" },
      { { "betterez", "{}" }, "billhook.sign: 'secret' is missing" },
      { { "dreamapply", "{}", { secret = "s" } }, "'authorization' is missing" },
      { { "betterez", "{}", { secret = "s " } }, "secret has white space" },
      { { "betterez", "{}", { secret = "s", t = 1 } }, "'t' is not known" },
    } do
      local ok, message = pcall(function()
        local headers = webhook.sign(case[1][1], case[1][2], case[1][3])
        return headers
      end)
      assert.is_false(ok)
      assert.is_truthy(message:find("sign_spec.lua:%d+: "), message)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
  end)
end)

-- spec/webhook_spec.lua: billhook.verify: options, errors and kept keys.
local errors = require "billhook.error"
local webhook = require "billhook.webhook"
local deliveries = require "spec.support.deliveries"

local body = deliveries.read "dreamclass-invoice-created.json"

describe("verify", function()
  it("gives a delivery", function()
    local delivery = assert(webhook.verify("dreamclass", {}, body,
      { secret = "123", tenant = "my-school", tolerance = 60, now = 1727884950 }))
    assert.equal("id", delivery.trust)
    assert.equal("16", delivery.events[1].invoice)
    assert.equal(64, #delivery.events[1].digest)
  end)

  it("gives an error object with the code, and no secret in it", function()
    local secret = "a-secret-that-is-wrong"
    local delivery, err = webhook.verify("dreamclass", {}, body, { secret = secret })
    assert.is_nil(delivery)
    assert.is_true(errors.is(err))
    assert.equal("signature", err.kind)
    assert.equal("mismatch", err.code)
    assert.equal("dreamclass", err.vendor)
    assert.is_nil(tostring(err):find(secret, 1, true))
    assert.is_nil(err.findings)
  end)

  it("refuses where nothing is configured", function()
    for _, options in ipairs { {}, { tenant = "my-school" }, { basic = { "u", "p" } } } do
      local _, err = webhook.verify("dreamclass", {}, body, options)
      assert.equal("unconfigured", err.code)
    end
    local _, err = webhook.verify("dreamclass", {}, body)
    assert.equal("unconfigured", err.code)
  end)

  it("leaves out the digest on request", function()
    local delivery = webhook.verify("dreamclass", {}, body, { secret = "123", digest = false })
    assert.is_nil(delivery.events[1].digest)
  end)

  it("notices options that have changed since", function()
    local options = { secret = "124" }
    assert.is_nil((webhook.verify("dreamclass", {}, body, options)))
    options.secret = "123"
    assert.is_truthy(webhook.verify("dreamclass", {}, body, options))
    options.secret = { "1", "123" }
    assert.equal(2, webhook.verify("dreamclass", {}, body, options).secret)
    options.secret[2] = "124"
    assert.is_nil((webhook.verify("dreamclass", {}, body, options)))
    options.secret[3] = "123"
    assert.equal(3, webhook.verify("dreamclass", {}, body, options).secret)
    options.basic = { "u", "p" }
    local _, err = webhook.verify("dreamclass", {}, body, options)
    assert.equal("unauthorized", err.code)
  end)

  it("raises at the caller's line for wrong use", function()
    for _, case in ipairs {
      { { nil, {}, body },
        "billhook.verify: 'vendor' must be dreamapply, dreamclass or betterez, got nothing" },
      { { "stripe", {}, body }, "got string" },
      { { "dreamclass", "x", body }, "'headers' must be a table, got string" },
      { { "dreamclass", {}, { id = 1 } }, "'raw_body' must be the bytes as they came" },
      { { "dreamclass", {}, nil }, "'raw_body' must be the bytes as they came, got nothing" },
      { { "dreamclass", {}, body, "123" }, "'options' must be a table, got string" },
      { { "dreamclass", {}, body, { secrets = "1" } },
        "'secrets' is not known: there are authorization" },
      { { "dreamclass", {}, body, { tolerance = "5" } },
        "'tolerance' must be a number, got string" },
      { { "dreamclass", {}, body, { tolerance = -5 } }, "'tolerance' must not be below 0" },
      { { "dreamclass", {}, body, { now = 0 / 0 } }, "'now' must not be below 0" },
      { { "dreamclass", {}, body, { tenant = 5 } }, "'tenant' must be a string" },
      { { "dreamclass", {}, body, { digest = 1 } }, "'digest' must be a boolean" },
      { { "dreamclass", {}, body, { secret = "" } }, "billhook.verify: secret is empty" },
      { { "dreamclass", {}, body, { secret = { "a", " b" } } }, "secret[2] has white space" },
    } do
      local a = case[1]
      local ok, message = pcall(function()
        local delivery = webhook.verify(a[1], a[2], a[3], a[4])
        return delivery
      end)
      assert.is_false(ok)
      assert.is_truthy(message:find("webhook_spec.lua:%d+: "), message)
      assert.is_truthy(message:find(case[2], 1, true), message)
    end
  end)
end)

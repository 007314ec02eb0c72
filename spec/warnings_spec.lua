-- warnings_spec.lua: what an app says at its start about what was most probably not meant.

local billhook = require "billhook"
local warnings = require "billhook.app.warnings"

local function app(accounts)
  return billhook.app { inbox = "memory:", accounts = accounts, log = function() end }
end

local function class(webhook, tenant)
  return billhook.dreamclass { webhook = webhook, tenant = tenant }
end

-- the names of the warnings, and whom they are about
local function said(one)
  local list = {}
  for i, warning in ipairs(warnings.of(one)) do
    local fields = warning[2]
    list[i] = warning[1] .. " " .. (fields.pattern
      or fields.account .. (fields.other and " " .. fields.other or ""))
  end
  return list
end

describe("a pattern", function()
  local all = { school = class({ secret = "1" }),
    tickets = billhook.betterez { webhook = { secret = "2" } },
    admissions = billhook.dreamapply { base_url = "https://a.example.org",
      webhook = { authorization = "3" } } }

  local function unheard(accounts, pattern)
    local one = app(accounts)
    one:on(pattern, function() end)
    return #said(one) == 1
  end

  it("that fits something that may come is in order", function()
    for _, pattern in ipairs { "*", "invoice.*", "invoice.created", "invoice.collected",
      "INVOICE_DELETED", "school:payment.*", "student_period.updated", "tickets:invoices.*",
      "tickets:invoice_provider.updated", "tickets:payment.*", "admissions:offer.*",
      "admissions:Offer was edited: ?",
      "tickets:*" } do
      assert.is_false(unheard(all, pattern), pattern)
    end
  end)

  it("that fits nothing is told of", function()
    for _, pattern in ipairs { "school:invoices.*", "INVOICE_CREATE",
      "school:invoice.collected", "Invoice.*", "invoic.*", "admissions:INVOICE_CREATED",
      "admissions:invoices.created", "invoice.failed" } do
      assert.is_true(unheard(all, pattern), pattern)
    end
    assert.is_true(unheard({ school = all.school }, "offer.edited"))
    assert.is_false(unheard(all, "offer.edited"))
  end)

  it("for invoice.overdue is told of where the app names no days", function()
    local admissions = billhook.dreamapply { base_url = "https://a.example.org", api_key = "k",
      webhook = { authorization = "3" } }
    local one = app { admissions = admissions }
    one:on("invoice.overdue", function() end)
    assert.same({ "no_overdue invoice.overdue" }, said(one))
    one = billhook.app { inbox = "memory:", accounts = { admissions = admissions },
      overdue = { 7 } }
    one:on("invoice.overdue", function() end)
    assert.same({}, said(one))
  end)
end)

describe("a secret with quotes around it", function()
  it("is told of", function()
    for _, webhook in ipairs { { secret = "'a'" }, { secret = { "a", '"b"' } },
      { secret = "a", basic = { "user", "'b'" } } } do
      assert.same({ "quoted_secret a" }, said(app { a = class(webhook) }))
    end
    local admissions = billhook.dreamapply { base_url = "https://a.example.org",
      webhook = { authorization = '"Bearer x"' } }
    assert.same({ "quoted_secret a" }, said(app { a = admissions }))
    for _, secret in ipairs { "it's", "'", "a b", "\"a'" } do
      assert.same({}, said(app { a = class { secret = secret } }))
    end
  end)
end)

describe("an account without any secret", function()
  it("is told of where others have one", function()
    local admissions = billhook.dreamapply { base_url = "https://a.example.org", api_key = "k" }
    assert.same({ "no_secret b" }, said(app { a = class { secret = "1" }, b = admissions }))
    assert.same({}, said(app { b = admissions })) -- it is polled
  end)

  it("is told of where one was meant to be there", function()
    assert.same({ "no_secret a" }, said(app { a = class { secret = os.getenv "UNSET_OF_A_SPEC" } }))
    assert.same({ "no_secret a" }, said(app { a = billhook.betterez { api_key = "k",
      webhook = { tolerance = 60 } } }))
    assert.same({ "no_secret b" }, said(app { a = class { secret = "1" }, b = class {} }))
  end)
end)

describe("two accounts", function()
  local function both(one, two) return said(app { a = one, b = two }) end

  it("that accept each other's deliveries are told of", function()
    local found = { "shared_secret a b" }
    assert.same(found, both(class { secret = "1" }, class { secret = "1" }))
    assert.same(found, both(class({ secret = { "0", "1" } }, "t"), class { secret = { "1", "2" } }))
    assert.same(found, both(class({ secret = "1" }, "t"), class({ secret = "1" }, "t")))
    assert.same(found, both(class { basic = { "u", "p" } }, class { basic = { "u", "p" } }))
    local apply = { base_url = "https://a.example.org", webhook = { authorization = "x" } }
    assert.same(found, both(billhook.dreamapply(apply), billhook.dreamapply(apply)))
  end)

  it("that do not are not", function()
    assert.same({}, both(class { secret = "1" }, class { secret = "2" }))
    assert.same({}, both(class({ secret = "1" }, "t"), class({ secret = "1" }, "u")))
    assert.same({}, both(class { secret = "1" }, billhook.betterez { webhook = { secret = "1" } }))
    assert.same({}, both(class { secret = "1", basic = { "u", "p" } },
      class { secret = "1", basic = { "u", "q" } }))
    assert.same({}, both(class { basic = { "u", "p" } }, class { basic = { "u", "q" } }))
  end)
end)

describe("warnings", function()
  it("are lines of the log, without a secret", function()
    local lines = {}
    local one = billhook.app { inbox = "memory:", accounts = {
      a = class { secret = "hush-hush" }, b = class { secret = "hush-hush" } },
      log = function(...) lines[#lines + 1] = require("billhook.log").line(...) end }
    one:on("invoic.*", function() end)
    warnings.tell(one)
    assert.same({ "billhook level=warn event=unheard_of message=\"no account here is known to have "
      .. "such events\" pattern=\"invoic.*\"",
      "billhook level=warn event=shared_secret account=a message=\"each accepts what is sent to "
      .. "the other\" other=b" }, lines)
  end)
end)

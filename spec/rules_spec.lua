-- rules_spec.lua: patterns, and what `on` takes.

local billhook = require "billhook"
local desk = require "spec.support.inbox"
local rules = require "billhook.app.rules"

local d
before_each(function() d = desk.new() end)

local function handler() end

-- Is a rule with this pattern for such an event?
local function wants(text, account, type, native)
  d = desk.new()
  d.app:on(text, { name = "rule" }, handler)
  return #d.app.rules:select(account, type, native or type) == 1
end

describe("a pattern", function()
  it("is an exact type", function()
    assert.is_true(wants("invoice.created", "apply", "invoice.created"))
    assert.is_false(wants("invoice.created", "apply", "invoice.updated"))
    assert.is_false(wants("invoice", "apply", "invoice.created"))
    assert.is_false(wants("invoiceXcreated", "apply", "invoice.created"))
  end)

  it("is a family", function()
    assert.is_true(wants("invoice.*", "apply", "invoice.created"))
    assert.is_false(wants("invoice.*", "tickets", "invoice_provider.created"))
    assert.is_false(wants("invoice.*", "apply", "invoice"))
  end)

  it("is everything", function() assert.is_true(wants("*", "school", "any", "thing")) end)

  it("is one account's", function()
    assert.is_true(wants("tickets:*", "tickets", "any", "thing"))
    assert.is_false(wants("tickets:*", "school", "any", "thing"))
    assert.is_true(wants("class:invoice.*", "class", "invoice.created"))
  end)

  it("of a vendor's own name of an invoice's event is another word for ours", function()
    assert.is_true(wants("INVOICE_CREATED", "class", "invoice.created"))
    assert.is_true(wants("class:INVOICE_DELETED", "class", "invoice.deleted"))
    assert.is_true(wants("invoices.updated", "tickets", "invoice.updated"))
    assert.is_true(wants("tickets:invoices.*", "tickets", "invoice.updated"))
    assert.is_true(wants("Invoice was created: ?", "apply", "invoice.created"))
    assert.is_true(wants("apply:Invoice was collected: ?", "apply", "invoice.paid"))
    -- of that vendor only
    assert.is_false(wants("INVOICE_CREATED", "apply", "invoice.created"))
    assert.is_false(wants("invoices.*", "apply", "invoice.updated"))
    assert.is_false(wants("invoices.updated", "tickets", "invoice.created"))
    assert.is_false(wants("tickets:invoices.*", "tickets", "invoice_provider.updated"))
  end)

  it("of another name is news that is the event itself", function()
    assert.is_true(wants("STUDENT_CREATED", "school", "student.created", "STUDENT_CREATED"))
    assert.is_true(wants("apply:Offer was edited: ?", "apply", "offer.edited",
      "Offer was edited: ?"))
    assert.is_true(wants("offer.*", "apply", "offer.edited", "Offer was edited: ?"))
    assert.is_false(wants("Offer was edited: ?", "apply", "offer.edited", "Offer was edited"))
  end)

  it("is refused with a reason", function()
    local accounts = { tickets = d.app.accounts.tickets }
    for text, reason in pairs {
      ["nobody:*"] = "there is no account 'nobody'",
      ["tickets:"] = "must be a type, family.* or *",
      ["invoice.*.x"] = "must be a type, family.* or *",
      ["**"] = "must be a type, family.* or *",
      ["*.created"] = "must be a type, family.* or *",
      ["a\nb"] = "must be a type, family.* or *",
      [""] = "a pattern must be a string that is not empty",
    } do
      local pattern, why = rules.pattern(text, accounts)
      assert.is_nil(pattern)
      assert.is_truthy(why:find(reason, 1, true), why)
    end
    assert.are.equal("a pattern must be a string that is not empty",
      select(2, rules.pattern(nil, accounts)))
  end)
end)

describe("app:on", function()
  local here = debug.getinfo(1, "S").short_src:gsub("%p", "%%%0")

  local function raises(message, ...)
    local app, arguments = desk.new().app, { ... }
    local count = select("#", ...)
    local ok, why = pcall(function()
      app:on((table.unpack or unpack)(arguments, 1, count)) -- luacheck: ignore 143
    end)
    assert.is_false(ok, message)
    assert.is_truthy(why:find(message, 1, true), why)
    assert.is_truthy(why:find("^" .. here .. ":%d+:"), why)
  end

  it("raises at the caller's line", function()
    raises("there is no account 'nobody'", "nobody:*", handler)
    raises("must be a type, family.* or *", "a*b", handler)
    raises("a pattern must be a string that is not empty", nil, handler)
    raises("the handler must be a function", "*")
    raises("the handler must be a function", "*", {})
    raises("on: 'options' must be a table, got string", "*", "name", handler)
    raises("on: 'nmae' is not known: there are attempts, budget, name, stop_after, trust", "*",
      { nmae = "x" }, handler)
    raises("on: 'name' must be a string, got number", "*", { name = 7 }, handler)
    for _, name in ipairs { "", "a\nb", ("x"):rep(201), "caf\xe9", "\xc3" } do
      raises("on: 'name' must be a text of one line, up to 200 bytes of UTF-8", "*",
        { name = name }, handler)
    end
    for _, pattern in ipairs { ("x"):rep(201), "Caf\xe9 was created: ?" } do
      raises("the name of a rule, here its pattern, must be a text of one line", pattern, handler)
    end
    local app = desk.new().app
    app:on("Caf\xe9 was created: ?", { name = "caf\xc3\xa9" }, handler)
    app:on(("x"):rep(201), { name = ("x"):rep(200) }, handler)
    raises("on: 'trust' can only be \"api\"", "*", { trust = "body" }, handler)
    raises("on: 'attempts' must be a whole number", "*", { attempts = 0 }, handler)
    raises("on: 'attempts' must be a whole number", "*", { attempts = 1.5 }, handler)
    raises("on: 'budget' must be above 0, up to 86400", "*", { budget = 0 }, handler)
    raises("on: 'budget' must be above 0, up to 86400", "*", { budget = 86401 }, handler)
  end)

  it("raises where an account cannot have what trust = \"api\" demands", function()
    raises("account 'school' cannot read invoices: billhook.dreamclass: 'api_key' is "
      .. "missing", "school:*", { trust = "api" }, handler)
    raises("account 'school' cannot read invoices", "invoice.*", { trust = "api" }, handler)
    desk.new().app:on("class:*", { trust = "api" }, handler)
    desk.new().app:on("apply:*", { trust = "api" }, handler)
    for reason, client in pairs {
      ["its option 'read_back' is false"] = billhook.dreamapply { api_key = "k",
        base_url = "https://apply.test", read_back = false, webhook = { authorization = "a" } },
      ["the path of 'invoices.get' is not published: give it in the option 'paths'"] =
        billhook.dreamclass { tenant = "t", api_key = "k", webhook = { secret = "a secret" } },
    } do
      local app = billhook.app { inbox = "memory:", accounts = { a = client } }
      local ok, why = pcall(app.on, app, "*", { trust = "api" }, handler)
      assert.is_false(ok)
      assert.is_truthy(why:find(reason, 1, true), why)
    end
  end)

  it("raises for a type that the named account can never have", function()
    for _, pattern in ipairs { "school:invoice.overdue", "school:invoice.paid",
      "school:invoice.failed",
      "tickets:payment.created", "tickets:invoice.paid", "tickets:invoice.overdue",
      "apply:invoice.failed", "apply:invoice.collected", "class:invoice.collected" } do
      raises(("pattern '%s': account '%s' never has an event of this type"):format(pattern,
        pattern:match "^%l+"), pattern, handler)
    end
    for _, pattern in ipairs { "apply:invoice.overdue", "apply:payment.deleted",
      "class:invoice.paid", "school:invoice.created", "tickets:invoice.failed",
      "tickets:invoice.deleted", "tickets:invoice_provider.updated", "school:SOMETHING_NEW",
      "school:payment.refunded" } do
      d.app:on(pattern, handler)
    end
  end)

  it("takes for possible what news alone may say", function()
    local apply = billhook.dreamapply { base_url = "https://apply.test",
      webhook = { authorization = "a" } } -- without a key
    local class = billhook.dreamclass { tenant = "t", webhook = { secret = "a secret" } }
    local app = billhook.app { inbox = "memory:", accounts = { apply = apply, class = class } }
    app:on("apply:invoice.overdue", handler)
    app:on("class:payment.refunded", handler)
    assert.are.same({}, app.rules:never())
  end)

  it("raises for a second unnamed rule on one pattern, and for a name twice", function()
    local app = d.app
    app:on("*", handler)
    local ok, why = pcall(app.on, app, "*", handler)
    assert.is_false(ok)
    assert.is_truthy(why:find("there is a rule '*' already", 1, true))
    app:on("*", { name = "second" }, handler)
    ok, why = pcall(app.on, app, "invoice.*", { name = "second" }, handler)
    assert.is_false(ok)
    assert.is_truthy(why:find("there is a rule 'second' already", 1, true))
  end)

  it("raises after the first delivery, or the first round of work", function()
    for _, begin in ipairs { "school", "work" } do
      d = desk.new()
      d[begin](d)
      local ok, why = pcall(d.app.on, d.app, "*", handler)
      assert.is_false(ok)
      assert.is_truthy(why:find("rules must be added before the first delivery", 1, true))
    end
  end)

  it("has on_dead take functions only", function()
    local ok, why = pcall(d.app.on_dead, d.app, "x")
    assert.is_false(ok)
    assert.is_truthy(why:find("on_dead: 'handler' must be a function, got string", 1, true))
  end)

  it("can be chained", function()
    assert.are.equal(d.app, d.app:on("*", handler):on_dead(handler))
  end)
end)

-- dispatch_spec.lua: patterns, and what `on` takes.

local desk = require "spec.support.inbox"
local patterns = require "billhook.delivery.pattern"

describe("pattern", function()
  local accounts = { tickets = {}, ["a.b-c_1"] = {} }

  local function matches(text, account, type, native)
    return patterns.matches(assert(patterns.parse(text, accounts)), account, type, native)
  end

  it("is an exact type, unified or the vendor's own", function()
    assert.is_true(matches("invoice.created", "x", "invoice.created", "INVOICE_CREATED"))
    assert.is_true(matches("INVOICE_CREATED", "x", "invoice.created", "INVOICE_CREATED"))
    assert.is_true(matches("Offer was edited: ?", "x", "offer.edited", "Offer was edited: ?"))
    assert.is_false(matches("invoice.created", "x", "invoice.updated", "INVOICE_UPDATED"))
    assert.is_false(matches("invoice", "x", "invoice.created", "invoices.created"))
    assert.is_false(matches("invoiceXcreated", "x", "invoice.created", "n"))
  end)

  it("is a family", function()
    assert.is_true(matches("invoice.*", "x", "invoice.created", "n"))
    assert.is_true(matches("invoices.*", "x", "invoice.created", "invoices.created"))
    assert.is_false(matches("invoice.*", "x", "invoice_provider.created", "n"))
    assert.is_false(matches("invoice.*", "x", "invoice", "n"))
  end)

  it("is everything", function() assert.is_true(matches("*", "x", "any", "thing")) end)

  it("is one account's", function()
    assert.is_true(matches("tickets:*", "tickets", "any", "thing"))
    assert.is_false(matches("tickets:*", "x", "any", "thing"))
    assert.is_true(matches("a.b-c_1:invoice.*", "a.b-c_1", "invoice.created", "n"))
    assert.is_true(matches("tickets:Offer was edited: ?", "tickets", "t", "Offer was edited: ?"))
  end)

  it("is refused with a reason", function()
    for text, reason in pairs {
      ["nobody:*"] = "there is no account 'nobody'",
      ["tickets:"] = "must be a type, family.* or *",
      ["invoice.*.x"] = "must be a type, family.* or *",
      ["**"] = "must be a type, family.* or *",
      ["*.created"] = "must be a type, family.* or *",
      ["a\nb"] = "must be a type, family.* or *",
      [""] = "a pattern must be a string",
    } do
      local pattern, why = patterns.parse(text, accounts)
      assert.is_nil(pattern)
      assert.is_truthy(why:find(reason, 1, true), why)
    end
    assert.are.equal("a pattern must be a string", select(2, patterns.parse(nil, accounts)))
  end)
end)

describe("app:on", function()
  local function handler() end
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
    raises("a pattern must be a string", nil, handler)
    raises("the handler must be a function", "*")
    raises("the handler must be a function", "*", {})
    raises("the options of a rule must be a table", "*", "name", handler)
    raises("unknown option 'nmae' of a rule", "*", { nmae = "x" }, handler)
    for _, name in ipairs { "", "a\nb", ("x"):rep(201), 7, "caf\xe9", "\xc3" } do
      raises("option 'name' of a rule must be a text of one line, up to 200 bytes of UTF-8", "*",
        { name = name }, handler)
    end
    for _, pattern in ipairs { ("x"):rep(201), "Caf\xe9 was created: ?" } do
      raises("the name of a rule, here its pattern, must be a text of one line", pattern, handler)
    end
    local app = desk.new().app
    app:on("Caf\xe9 was created: ?", { name = "caf\xc3\xa9" }, handler)
    app:on(("x"):rep(201), { name = ("x"):rep(200) }, handler)
    raises("option 'trust' of a rule can only be \"api\"", "*", { trust = "body" }, handler)
    raises("option 'attempts' of a rule must be a whole number", "*", { attempts = 0 }, handler)
    raises("option 'attempts' of a rule must be a whole number", "*", { attempts = 1.5 }, handler)
    raises("option 'budget' of a rule must be seconds", "*", { budget = 0 }, handler)
    raises("option 'budget' of a rule must be seconds", "*", { budget = 86401 }, handler)
  end)

  it("raises where an account cannot read invoices back", function()
    raises("account 'school' cannot read invoices", "school:*", { trust = "api" }, handler)
    raises("account 'school' cannot read invoices", "invoice.*", { trust = "api" }, handler)
    desk.new().app:on("class:*", { trust = "api" }, handler)
    desk.new().app:on("apply:*", { trust = "api" }, handler)
  end)

  it("raises for a second unnamed rule on one pattern, and for a name twice", function()
    local app = desk.new().app
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
      local d = desk.new()
      d[begin](d)
      local ok, why = pcall(d.app.on, d.app, "*", handler)
      assert.is_false(ok)
      assert.is_truthy(why:find("rules must be added before the first delivery", 1, true))
    end
  end)

  it("has on_dead take functions only", function()
    local app = desk.new().app
    local ok, why = pcall(app.on_dead, app, "x")
    assert.is_false(ok)
    assert.is_truthy(why:find "on_dead: the handler must be a function")
  end)

  it("can be chained", function()
    local app = desk.new().app
    assert.are.equal(app, app:on("*", handler):on_dead(handler))
  end)
end)

local function loaded()
  local names = {}
  for name in pairs(package.loaded) do
    if name:find("^billhook") then names[#names + 1] = name end
  end
  return names
end

describe("billhook", function()
  local before

  -- a fresh one, beside those of the other specs
  local function fresh()
    for _, name in ipairs(loaded()) do package.loaded[name] = nil end
    return require "billhook"
  end

  before_each(function()
    before = {}
    for _, name in ipairs(loaded()) do before[name] = package.loaded[name] end
  end)

  after_each(function()
    for _, name in ipairs(loaded()) do package.loaded[name] = nil end
    for name, module in pairs(before) do package.loaded[name] = module end
  end)

  it("loads nothing until it is used", function()
    fresh()
    assert.same({ "billhook" }, loaded())
  end)

  it("has the documented names", function()
    local billhook = fresh()
    for _, name in ipairs { "dreamapply", "dreamclass", "betterez", "app", "verify", "sign",
      "calls",
        "map" } do
      assert.is_function(billhook[name], name)
    end
    assert.equal("19.90", tostring(billhook.decimal "19.90"))
    assert.is_true(billhook.decimal.is(billhook.decimal(5)))
    assert.equal("null", tostring(billhook.null))
    assert.is_function(billhook.invoice.total)
    assert.is_function(billhook.json.encode)
    assert.is_function(billhook.error.is)
    assert.matches("^%d+%.%d+%.%d+", billhook.version)
    assert.is_nil(billhook.nothing)
  end)

  it("says at the caller's line what is no decimal, and what one looks like", function()
    local billhook = fresh()
    local advice = "is no decimal: digits are expected, with a point before the fraction, such as"
    for _, case in ipairs {
      { "1,50", '"1,50" ' .. advice .. ' "19.90"' }, { "1 000.00", '"1 000.00" is no decimal' },
      { "", '"" is no decimal' }, { "€\n5", '"????5" is no decimal' },
      { ("x"):rep(50), '"' .. ("x"):rep(40) .. '..." is no decimal' },
      { ("9"):rep(30), "has more digits than a decimal keeps (18)" },
      { {}, "decimal expected, got table" }, { nil, "decimal expected, got nil" },
      { 0.1 + 0.2, "a number with a fraction or with more than 15 digits: pass a string" },
      { 0 / 0, "a number that is not finite" },
    } do
      local fine, why = pcall(function()
        local _ = billhook.decimal(case[1])
      end)
      assert.is_false(fine)
      assert.matches("^spec/init_spec.lua:%d+: billhook.decimal: ", why)
      assert.matches(case[2], why, 1, true)
    end
  end)

  it("keeps what it loaded", function()
    local billhook = fresh()
    assert.equal(billhook.invoice, billhook.invoice)
    assert.equal(billhook.null, billhook.null)
    assert.is_truthy(rawget(billhook, "invoice"))
  end)

  it("tells the operations of a vendor", function()
    local billhook = fresh()
    for vendor, wanted in pairs {
      dreamapply = { "invoices.get", "invoices.list", "invoices.count", "invoices.create",
        "invoices.delete", "transactions.list", "transactions.get", "transactions.create",
        "series.list", "journal.list", "ping" },
      dreamclass = { "invoices.get", "invoices.create", "invoices.pay", "fees.list", "fees.create",
        "fees.update", "fees.assign" },
      betterez = { "invoices.get", "invoices.list", "invoices.failures", "invoices.retry",
        "invoices.issue", "invoices.pdf", "invoices.email", "providers.list", "providers.get" },
    } do
      local names = {}
      for _, operation in ipairs(billhook.calls(vendor)) do names[operation.name] = true end
      for _, name in ipairs(wanted) do assert.is_true(names[name], vendor .. " " .. name) end
    end
    for _, wrong in ipairs { "stripe", 5, "nil" } do
      local fine, why = pcall(billhook.calls, wrong ~= "nil" and wrong or nil)
      assert.is_false(fine)
      assert.matches("billhook.calls: 'vendor' must be dreamapply, dreamclass or betterez, got '"
        .. wrong .. "'", why)
    end
  end)

  it("gives the clients their resources", function()
    local billhook = fresh()
    local apply = billhook.dreamapply { base_url = "https://x.org", api_key = "abcdef" }
    for resource, verbs in pairs { invoices = { "get", "list", "each", "count", "create",
      "delete" },
        transactions = { "list", "each", "get", "create" }, series = { "list" },
          journal = { "list" } } do
      for _, verb in ipairs(verbs) do
        assert.is_function(apply[resource][verb], resource .. ":" .. verb)
      end
    end
    local class = billhook.dreamclass { api_key = "abcdef" }
    assert.is_function(class.invoices.pay)
    assert.is_function(class.fees.assign)
    local btrz = billhook.betterez { api_key = "abcdef" }
    assert.is_function(btrz.invoices.failures)
    assert.is_function(btrz.providers.list)
  end)
end)

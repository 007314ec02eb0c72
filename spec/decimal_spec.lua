local core = require "billhook.core"

local decimal = core.decimal.new
local native = _VERSION ~= "Lua 5.1" -- mixed < and <= reach a metamethod only there

local function texts(list)
  local out = {}
  for i, one in ipairs(list) do
    out[i] = tostring(one)
  end
  return table.concat(out, " ")
end

local function fails(message, fn, ...)
  local fine, err = pcall(fn, ...)
  assert.is_false(fine)
  assert.is_truthy(tostring(err):find(message, 1, true), tostring(err))
end

local BIG = "9223372036854775807"

describe("decimal", function()
  describe("reads", function()
    it("texts, and keeps their scale", function()
      for _, text in ipairs { "0", "19.90", "-3.00", "0.000000000000000001", BIG, "-" .. BIG,
        "9.223372036854775807", "100", "0.10" } do
        assert.equal(text, tostring(decimal(text)))
      end
      assert.equal("7.50", tostring(decimal("007.50")))
      assert.equal("0.00", tostring(decimal("-0.00")))
    end)

    it("nothing else as text", function()
      for _, text in ipairs { "", "-", ".", "5.", ".5", "+5", "1e5", "1,5", " 5", "5 ", "0x10",
        "--5",
        "1.2.3", "5\0", "nan", "inf", "٣", "1-2" } do
        fails("malformed decimal", decimal, text)
      end
    end)

    it("no more digits than fit", function()
      for _, text in ipairs { "9223372036854775808", "-9223372036854775808",
        "92233720368547758.080",
        "0.0000000000000000001", ("9"):rep(40) } do
        fails("decimal overflow", decimal, text)
      end
    end)

    it("integers", function()
      assert.equal("5", tostring(decimal(5)))
      assert.equal("-12", tostring(decimal(-12)))
      assert.equal("16", tostring(decimal(16.0)))
      assert.equal("9007199254740992", tostring(decimal(2 ^ 53)))
      if math.maxinteger then
        assert.equal(BIG, tostring(decimal(math.maxinteger)))
        fails("decimal overflow", decimal, math.mininteger)
      end
    end)

    it("numbers of up to 15 digits", function()
      for _, text in ipairs { "0.1", "19.9", "-2.5", "9.95", "0.07", "1234567890.12345", "4.35",
        "1e-18",
        "0.000123456789012", "99999999999999.9", "-0.3" } do
        local d = decimal(tonumber(text))
        assert.equal(tonumber(text), tonumber(tostring(d)))
      end
      assert.equal("9.95", tostring(decimal(9.95)))
      assert.equal("0", tostring(decimal(-0.0)))
      assert.equal("100000000000000000", tostring(decimal(1e17)))
      assert.equal("1234567890123450000", tostring(decimal(1234567890123450000.0)))
    end)

    it("no number whose digits are not certain", function()
      for _, number in ipairs { 0.1 + 0.2, 1 / 3, 2 ^ 53 + 2.0, 1e-19, 123456789012345.67,
        2 ^ 62 } do
        if not (math.type and math.type(number) == "integer") then
          fails("pass a string", decimal, number)
        end
      end
      fails("not finite", decimal, 1 / 0)
      fails("not finite", decimal, -1 / 0)
      fails("not finite", decimal, 0 / 0)
      fails("decimal overflow", decimal, 1e300)
      fails("decimal overflow", decimal, 2 ^ 63)
    end)

    it("the very decimal that printf and strtod agree on", function()
      local seed = 7
      local function random(n)
        seed = (seed * 16807) % 2147483647
        return seed % n
      end
      for _ = 1, 20000 do
        local number = (random(1000000000) * 1000 + random(1000)) / 10 ^ random(14)
        if random(2) == 0 then
          number = -number
        end
        if random(3) == 0 then
          number = number * (1 + 2 ^ -52) -- a neighbour, mostly with more digits
        end
        local text = ("%.15g"):format(number):gsub(",", ".") -- some locales write a comma
        local certain = tonumber(text) == number
        local d = core.decimal.read(number)
        assert.equal(certain, d ~= nil, text)
        if certain and not text:find("e") then
          assert.equal((text:gsub("^%-0$", "0")), tostring(d))
        elseif certain then
          assert.equal(number, tonumber(tostring(d)))
        end
      end
    end)

    it("nothing but numbers, texts and decimals", function()
      for _, value in ipairs { true, {}, print, io.stdout, coroutine.create(print) } do
        fails("decimal expected, got " .. type(value), decimal, value)
      end
      fails("decimal expected, got nil", decimal, nil)
      fails("value expected", decimal)
    end)

    it("what comes from outside without raising", function()
      assert.equal("1.50", tostring(core.decimal.read("1.50")))
      assert.same({ nil, "malformed decimal" }, { core.decimal.read("x") })
      assert.same({ nil, "decimal overflow" }, { core.decimal.read(("9"):rep(30)) })
      assert.same({ nil, "decimal expected" }, { core.decimal.read({}) })
      assert.same({ nil, "decimal expected" }, { core.decimal.read(nil) })
    end)

    it("itself", function()
      local d = decimal("1.50")
      assert.equal("1.50", tostring(decimal(d)))
      assert.is_true(core.decimal.is(d))
      for _, other in ipairs { 1, "1", {}, io.stdout, true } do
        assert.is_false(core.decimal.is(other))
      end
      assert.is_false(core.decimal.is(nil))
    end)
  end)

  describe("computes", function()
    it("sums with the larger scale", function()
      assert.equal("20.00", tostring(decimal("19.90") + decimal("0.1")))
      assert.equal("5.25", tostring(decimal("5") + decimal("0.25")))
      assert.equal("-0.01", tostring(decimal("0.99") - decimal("1")))
      assert.equal("0.00", tostring(decimal("1.50") - decimal("1.50")))
      assert.equal("-1.50", tostring(-decimal("1.50")))
      assert.equal("0.00", tostring(-decimal("0.00")))
    end)

    it("products with both scales", function()
      assert.equal("40.0000", tostring(decimal("20.00") * decimal("2.00")))
      assert.equal("-6.25", tostring(decimal("2.5") * decimal("-2.5")))
      assert.equal("0.00", tostring(decimal("0.00") * 7))
    end)

    it("with integers and texts on either side", function()
      local d = decimal("1.50")
      assert.equal("3.50", tostring(d + 2))
      assert.equal("3.50", tostring(2 + d))
      assert.equal("0.50", tostring(2 - d))
      assert.equal("4.50", tostring(d * 3))
      assert.equal("1.75", tostring(d + "0.25"))
      assert.equal("1.75", tostring("0.25" + d))
      assert.equal("3.50", tostring(d + 2.0))
    end)

    it("never with a fraction that is a number", function()
      local d = decimal("1.50")
      fails("pass a string", function() return d + 0.5 end)
      fails("pass a string", function() return 0.5 * d end)
      fails("pass a string", function() return d - 1e300 end)
      fails("malformed decimal", function() return d + "x" end)
      fails("decimal expected, got table", function() return d + {} end)
      fails("decimal expected, got nil", function() return d * nil end)
    end)

    it("or raises", function()
      fails("decimal overflow", function() return decimal(BIG) + 1 end)
      fails("decimal overflow", function() return decimal("-" .. BIG) - 1 end)
      fails("decimal overflow", function() return decimal(BIG) * decimal("1.1") end)
      fails("decimal overflow", function() return decimal(BIG) + decimal("0.1") end)
      fails("decimal overflow", function()
        return decimal("0.0000000001") * decimal("0.0000000001")
      end)
    end)

    it("without the zeros at the end where that makes room", function()
      assert.equal(BIG, tostring(decimal(BIG) + decimal("0.00")))
      assert.equal("9223372036854775807", tostring(decimal(BIG) * decimal("1.000000000000000000")))
      assert.equal("0.500000000000000000",
        tostring(decimal("0.5000000000") * decimal("1.0000000000")))
    end)

    it("with no way to divide", function()
      assert.is_false(pcall(function() return decimal("1") / 3 end))
    end)
  end)

  describe("compares", function()
    it("values", function()
      assert.is_true(decimal("1.0") == decimal("1.00"))
      assert.is_false(decimal("1.0") == decimal("1.01"))
      assert.is_true(decimal("0.5") < decimal("0.51"))
      assert.is_false(decimal("0.51") < decimal("0.5"))
      assert.is_true(decimal("-2") < decimal("1"))
      assert.is_true(decimal("1.0") <= decimal("1.00"))
      assert.is_true(decimal("500.01") > decimal("500"))
      assert.is_true(decimal(BIG) > decimal("0.000000000000000001"))
      assert.is_true(decimal("-" .. BIG) < decimal("-0.000000000000000001"))
    end)

    it("with integers and texts by name, on every Lua", function()
      local d = decimal("500.00")
      assert.is_true(d:eq(500))
      assert.is_true(d:eq("500"))
      assert.is_true(d:eq(decimal("500.0")))
      assert.is_false(d:eq("500.01"))
      assert.is_true(d:lt("500.01"))
      assert.is_false(d:lt(500))
      assert.is_true(d:le(500))
      assert.is_false(d:le("499.99"))
      fails("pass a string", d.lt, d, 500.5)
    end)

    it("with == only what is a decimal", function()
      assert.is_false(decimal("5") == 5)
      assert.is_false(decimal("5") == "5")
    end)

    if native then
      it("with < and <= also integers and texts", function()
        assert.is_true(decimal("1.50") < 2)
        assert.is_true("1.49" < decimal("1.50"))
        assert.is_true(decimal("1.50") <= "1.5")
        fails("pass a string", function() return decimal("1.50") < 1.6 end)
      end)
    end

    it("and is no key: equal values are two", function()
      assert.is_nil(({ [decimal("1")] = true })[decimal("1")])
    end)
  end)

  describe("rounds", function()
    local function rounds(text, digits, mode, expected)
      assert.equal(expected, tostring(decimal(text):round(digits, mode)), text .. " " ..
        tostring(mode))
    end

    it("half away from zero by default", function()
      rounds("1.005", 2, nil, "1.01")
      rounds("1.004999", 2, nil, "1.00")
      rounds("-1.005", 2, nil, "-1.01")
      rounds("-1.004", 2, "half_away", "-1.00")
      rounds("0.5", 0, nil, "1")
      rounds("-0.5", 0, nil, "-1")
      rounds("2.5", 0, nil, "3")
    end)

    it("half to even", function()
      rounds("2.5", 0, "half_even", "2")
      rounds("3.5", 0, "half_even", "4")
      rounds("-2.5", 0, "half_even", "-2")
      rounds("-3.5", 0, "half_even", "-4")
      rounds("2.51", 0, "half_even", "3")
      rounds("0.5", 0, "half_even", "0")
      rounds("1.025", 2, "half_even", "1.02")
    end)

    it("down, towards zero", function()
      rounds("1.999", 2, "down", "1.99")
      rounds("-1.999", 2, "down", "-1.99")
    end)

    it("up, away from zero", function()
      rounds("1.001", 2, "up", "1.01")
      rounds("-1.001", 2, "up", "-1.01")
      rounds("1.00", 1, "up", "1.0")
    end)

    it("to more digits than there are", function()
      rounds("5", 2, nil, "5.00")
      rounds("-5.1", 3, "up", "-5.100")
      fails("decimal overflow", function() return decimal(BIG):round(1) end)
    end)

    it("to the last digit that fits", function()
      rounds(BIG, 0, nil, BIG)
      rounds("9.223372036854775807", 0, nil, "9")
      rounds("0.999999999999999999", 17, nil, "1.00000000000000000")
    end)

    it("only to 0 to 18 digits, in a known way", function()
      local d = decimal("1")
      fails("digits from 0 to 18 expected", d.round, d, -1)
      fails("digits from 0 to 18 expected", d.round, d, 19)
      fails("digits from 0 to 18 expected", d.round, d, 1.5)
      fails("digits from 0 to 18 expected", d.round, d)
      fails("invalid option 'bankers'", d.round, d, 2, "bankers")
    end)
  end)

  describe("is split", function()
    it("without losing a unit", function()
      assert.equal("3.34 3.33 3.33", texts(decimal("10.00"):allocate(3)))
      assert.equal("3.34 3.33 3.33", texts(decimal("10.00"):allocate { 1, 1, 1 }))
      assert.equal("-3.34 -3.33 -3.33", texts(decimal("-10.00"):allocate(3)))
      assert.equal("0.01 0.00 0.00", texts(decimal("0.01"):allocate(3)))
      assert.equal("4 3 3", texts(decimal("10"):allocate(3)))
    end)

    it("by the largest remainder, the first of equals first", function()
      assert.equal("0.03 0.02", texts(decimal("0.05"):allocate { 1, 1 }))
      assert.equal("1.67 3.33", texts(decimal("5.00"):allocate { 1, 2 }))
      assert.equal("0.00 10.00 0.00", texts(decimal("10.00"):allocate { 0, 5, 0 }))
      assert.equal("0.33 0.67", texts(decimal("1.00"):allocate { 1, 2 }))
    end)

    it("exactly, whatever the ratios", function()
      local seed = 3
      local function random(n)
        seed = (seed * 16807) % 2147483647
        return seed % n
      end
      for _ = 1, 500 do
        local d = decimal(("%d.%02d"):format(random(1000000) - 500000, random(100)))
        local ratios = {}
        for i = 1, 1 + random(12) do
          ratios[i] = random(50)
        end
        ratios[#ratios + 1] = 1
        local sum = decimal("0.00")
        for _, share in ipairs(d:allocate(ratios)) do
          assert.equal(2, share:scale())
          sum = sum + share
        end
        assert.equal(tostring(d), tostring(sum))
      end
    end)

    it("of the largest amounts", function()
      local shares = decimal(BIG):allocate { 9007199254740992, 1 }
      assert.equal(BIG, tostring(shares[1] + shares[2]))
    end)

    it("only in ratios that are whole numbers", function()
      local d = decimal("1.00")
      fails("ratio 2 is not a whole number from 0 up", d.allocate, d, { 1, -1 })
      fails("ratio 1 is not a whole number from 0 up", d.allocate, d, { 0.5 })
      fails("ratio 1 is not a whole number from 0 up", d.allocate, d, { "1" })
      fails("add up to nothing", d.allocate, d, { 0, 0 })
      fails("1 to 100000 shares expected", d.allocate, d, {})
      fails("1 to 100000 shares expected", d.allocate, d, 0)
      fails("1 to 100000 shares expected", d.allocate, d, 100001)
      fails("list of ratios or number of shares expected", d.allocate, d, "x")
      fails("list of ratios or number of shares expected", d.allocate, d)
      if math.maxinteger then
        fails("too much", d.allocate, d, { math.maxinteger, 1 })
      end
    end)
  end)

  it("tells what it is", function()
    local d = decimal("-12.50")
    assert.equal(2, d:scale())
    assert.equal(-1, d:sign())
    assert.equal(0, decimal("0.00"):sign())
    assert.equal(1, decimal("0.01"):sign())
    assert.is_false(d:is_zero())
    assert.is_true(decimal("0.00"):is_zero())
    assert.equal("12.50", tostring(d:abs()))
    assert.equal("12.50", tostring(d:abs():abs()))
  end)

  it("is an integer where it is whole and fits", function()
    assert.equal(-12, decimal("-12.00"):integer())
    assert.is_nil(decimal("12.50"):integer())
    if math.type then
      assert.equal("integer", math.type(decimal("5.0"):integer()))
      assert.equal(math.maxinteger, decimal(BIG):integer())
    else
      assert.is_nil(decimal(BIG):integer())
      assert.equal(2 ^ 53, decimal("9007199254740992"):integer())
    end
  end)

  it("joins texts", function()
    assert.equal("total: 19.90", "total: " .. decimal("19.90"))
    assert.equal("19.90 EUR", decimal("19.90") .. " EUR")
    assert.equal("1.502", decimal("1.50") .. 2)
    assert.equal("1.002.00", decimal("1.00") .. decimal("2.00"))
    assert.is_false(pcall(function() return decimal("1") .. {} end))
  end)

  it("never changes", function()
    local d = decimal("1")
    assert.is_false(pcall(function() d.x = 1 end))
    assert.equal("billhook.decimal", getmetatable(d))
    fails("billhook.decimal", d.scale, io.stdout)
  end)

  it("raises at the caller's line", function()
    local _, err = pcall(function()
      local d = decimal("1e5")
      return d
    end)
    assert.is_truthy(err:find("decimal_spec.lua", 1, true), err)
  end)

  -- needs a locale with a decimal comma; there is one in BILLHOOK_LOCALE, or by a usual name
  it("knows no locale", function()
    local before = os.setlocale(nil, "numeric")
    for _, name in ipairs { os.getenv("BILLHOOK_LOCALE") or "", "de_DE.UTF-8", "de_DE.utf8",
      "de_DE",
      "fr_FR.UTF-8" } do
      if name ~= "" and os.setlocale(name, "numeric") then
        break
      end
    end
    local fine, err = pcall(function()
      assert.equal("19.90", tostring(decimal("19.90")))
      assert.equal("19.9", tostring(decimal(19.9)))
      assert.equal("-0.07", tostring(decimal(-0.07)))
      assert.is_nil(core.decimal.read("19,90"))
      assert.equal("9.95", core.call.prepare("dreamapply", "transactions.create",
        { invoice = 1, amount = 9.95, currency = "EUR" }).body.amount)
    end)
    os.setlocale(before, "numeric")
    assert.is_true(fine, err)
  end)
end)

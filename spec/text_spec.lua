-- spec/text_spec.lua: core.text: encodings, digests, random bytes, clocks.
local text = require("billhook.core").text

describe("encodings", function()
  it("write and read hexadecimal", function()
    assert.equal("00ff7f", text.hex("\0\255\127"))
    assert.equal("\0\255\127", text.unhex("00Ff7F"))
    assert.equal("", text.hex(""))
    assert.equal("", text.unhex(""))
    for _, odd in ipairs { "0", "000", "0g", " 00", "00\n", "0x00" } do
      assert.is_nil(text.unhex(odd))
    end
  end)

  it("write and read base64", function()
    assert.equal("Zm9vYg==", text.base64("foob"))
    assert.equal("foob", text.unbase64("Zm9vYg=="))
    assert.equal("foob", text.unbase64("Zm9vYg"))
    assert.equal("\251\255\191", text.unbase64("-_-_"))
    assert.equal("", text.base64(""))
    assert.equal("", text.unbase64(""))
    for _, odd in ipairs { "Z", "Zm9vYg=", "Zm9v\n", "Zh==", "+_+_", "====" } do
      assert.is_nil(text.unbase64(odd))
    end
  end)

  it("give back what they were given, whatever the length", function()
    for n = 0, 300 do
      local bytes = text.random(n)
      assert.equal(n, #bytes)
      assert.equal(bytes, text.unhex(text.hex(bytes)))
      assert.equal(bytes, text.unbase64(text.base64(bytes)))
      local plain = text.percent(bytes):gsub("%%(%x%x)", function(code)
        return string.char(tonumber(code, 16))
      end)
      assert.equal(bytes, plain)
    end
  end)

  it("write a URL's component", function()
    assert.equal("a-._~9%20%2F%3F%26%3D%2B%25%C3%A9", text.percent("a-._~9 /?&=+%\195\169"))
    assert.equal("", text.percent(""))
  end)

  it("raise for what is no text", function()
    for _, name in ipairs { "hex", "unhex", "base64", "unbase64", "percent", "sha256" } do
      assert.has_error(function() text[name]() end)
      assert.has_error(function() text[name]({}) end)
    end
  end)
end)

describe("equal", function()
  it("compares whole texts", function()
    assert.is_true(text.equal("", ""))
    assert.is_true(text.equal("a\0b", "a\0b"))
    assert.is_false(text.equal("a\0b", "a\0c"))
    assert.is_false(text.equal("a", "ab"))
    assert.has_error(function() text.equal("a") end)
  end)
end)

describe("before", function()
  it("is the order of the bytes", function()
    for _, pair in ipairs { { "", "a" }, { "Z", "a" }, { "a", "a\0" }, { "a\0z", "ab" },
      { "z", "\195\164" } } do
      assert.is_true(text.before(pair[1], pair[2]))
      assert.is_false(text.before(pair[2], pair[1]))
    end
    assert.is_false(text.before("a", "a"))
  end)
end)

describe("sha256", function()
  it("agrees with the standard's examples", function()
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      text.sha256(""))
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      text.sha256("abc"))
  end)
end)

describe("random", function()
  it("gives other bytes each time, as many as asked for", function()
    assert.equal("", text.random(0))
    assert.equal(65536, #text.random(65536))
    assert.are_not.equal(text.random(16), text.random(16))
  end)

  it("raises for a number that makes no sense", function()
    for _, n in ipairs { -1, 65537, "x" } do
      assert.has_error(function() text.random(n) end)
    end
  end)
end)

describe("clocks", function()
  it("tell the time of day and run forward", function()
    assert.is_true(math.abs(text.now() - os.time()) <= 2)
    local before = text.monotonic()
    assert.is_true(text.monotonic() >= before)
  end)
end)

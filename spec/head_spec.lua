-- spec/head_spec.lua: core.text's dates and Retry-After, from Lua. Their grammars are tested byte
-- by byte in spec/c/{date,head}_test.c.
local text = require("billhook.core").text

describe("datetime", function()
  it("reads ISO 8601 with an offset", function()
    assert.equal(0, text.datetime("1970-01-01T00:00:00Z"))
    assert.equal(1764767731, text.datetime("2025-12-03T15:15:31+02:00"))
    assert.is_true(math.abs(text.datetime("2024-10-02T16:02:00.544Z") - 1727884920.544) < 1e-6)
  end)

  it("gives nil for anything else", function()
    for _, odd in ipairs { "", "2025-12-03", "2025-12-03T13:15:31", "2025-02-29T00:00:00Z",
      "yesterday", "2025-12-03T13:15:31Z\0" } do
      assert.is_nil(text.datetime(odd))
    end
  end)
end)

describe("day", function()
  it("numbers the days that there are", function()
    assert.equal(0, text.day("1970-01-01"))
    assert.equal(20778, text.day("2026-11-21"))
    assert.equal(-1, text.day("1969-12-31"))
    for _, odd in ipairs { "", "2026-02-29", "0000-00-00", "2026-11-21T00:00:00Z" } do
      assert.is_nil(text.day(odd))
    end
  end)
end)

describe("iso", function()
  it("writes what datetime reads", function()
    assert.equal("2026-11-21T10:00:00+00:00", text.iso(1795255200))
    assert.equal("2026-11-21T10:00:00+00:00", text.iso(1795255200.999))
    assert.equal("1969-12-31T23:59:59+00:00", text.iso(-0.5))
    assert.equal("9999-12-31T23:59:59+00:00", text.iso(253402300799))
    for _, at in ipairs { 0, -1, 1e9, -1e9, 2e11 } do
      assert.equal(at, text.datetime(text.iso(at)))
    end
  end)

  it("raises outside the years 1 to 9999", function()
    for _, odd in ipairs { 253402300800, -62135596801, 1e300, -1e300, 1 / 0, 0 / 0, "x" } do
      assert.has_error(function() text.iso(odd) end)
    end
  end)
end)

describe("retry_after", function()
  local now = 784111777 -- Sun, 06 Nov 1994 08:49:37 GMT

  it("reads seconds and the three forms of a date", function()
    assert.equal(120, text.retry_after("120", now))
    for _, date in ipairs { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
      "Sun Nov  6 08:49:37 1994" } do
      assert.equal(60, text.retry_after(date, now - 60))
    end
  end)

  it("never gives a negative wait", function()
    assert.equal(0, text.retry_after("-5", now))
    assert.equal(0, text.retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now + 60))
  end)

  it("gives nil for an absent, malformed or absurd value", function()
    assert.is_nil(text.retry_after(nil, now))
    for _, odd in ipairs { "", "soon", "1.5", "31622401", "99999999999999999999",
      "Sun, 06 Nov 1996 08:49:37 GMT" } do
      assert.is_nil(text.retry_after(odd, now))
    end
    assert.equal(31622400, text.retry_after("31622400", now)) -- 366 days
  end)

  it("raises without a time to count from", function()
    assert.has_error(function() text.retry_after("5") end)
  end)
end)

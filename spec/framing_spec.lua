-- How a body ends, whatever pieces it comes in.

local framing = require "billhook.transport.framing"

-- Reads a body of which `text` comes in pieces of `size` bytes, then `how`.
local function read(headers, text, size, how)
  local at = 1
  local body, fault = framing.open(headers, function(most)
    if at > #text then return nil, how or "closed" end
    local part = text:sub(at, at + math.min(size, most) - 1)
    at = at + #part
    return part
  end)
  if not body then return nil, fault end
  local parts, part, err = {}
  repeat
    part, err = body:read()
    assert.are_not.equal("", part)
    parts[#parts + 1] = part
  until not part
  if not err then assert.is_nil((body:read())) end
  return table.concat(parts), err, body:is_clean(), at - 1
end

-- the same in pieces of every size
local function always(expected, headers, text, how)
  for size = 1, #text + 1 do
    local body, err, clean = read(headers, text, size, how)
    assert.same(expected, { body, err or false, clean })
  end
end

local chunked = { ["transfer-encoding"] = "Chunked" }

describe("a body", function()
  it("of a length ends with it", function()
    always({ "hello", false, true }, { ["content-length"] = "5" }, "hello")
    always({ "", false, true }, { ["content-length"] = "0" }, "")
    always({ "hel", "closed", false }, { ["content-length"] = "5" }, "hel")
    always({ "hel", "timeout", false }, { ["content-length"] = "5" }, "hel", "timeout")
    assert.equal(5, select(4, read({ ["content-length"] = "5" }, "helloHTTP/1.1", 100)))
  end)

  it("of no length ends with the connection, and with nothing else", function()
    always({ "hello", false, false }, {}, "hello")
    always({ "hello", "connection reset by peer", false }, {}, "hello", "connection reset by peer")
  end)

  it("in chunks ends with the last one and its trailers", function()
    for _, text in ipairs { "5\r\nhello\r\n0\r\n\r\n", "2\r\nhe\r\n3\r\nllo\r\n000\r\n\r\n",
      "5;a=\"b\"\r\nhello\r\n0;c\r\nX-A: b\r\nX-C: d\r\n\r\n", "005 \r\nhello\r\n0\r\n\r\n",
      "5\nhello\n0\n\n", "1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n" } do
      always({ "hello", false, true }, chunked, text)
      for cut = #text - 1, 1, -1 do -- of a torn one nothing is lost that was there
        local whole, err = read(chunked, text:sub(1, cut), 4096)
        assert.equal("closed", err)
        assert.equal(whole, (read(chunked, text:sub(1, cut), 1)))
        assert.equal(whole, ("hello"):sub(1, #whole))
      end
    end
    always({ "", false, true }, chunked, "0\r\n\r\n")
    assert.equal("\r\n", (read(chunked, "2\r\n\r\n\r\n0\r\n\r\n", 3)))
    assert.equal("A\0", (read(chunked, "2\r\nA\0\r\n0\r\n\r\n", 3)))
    assert.equal(26, #read(chunked, "1A\r\n" .. ("x"):rep(26) .. "\r\n0\r\n\r\n", 3))
  end)

  it("is malformed where its chunks are", function()
    for _, text in ipairs { "\r\n", "x\r\n", "-5\r\nhello\r\n", "0x5\r\nhello\r\n",
      "+5\r\nhello\r\n", " 5\r\nhello\r\n", "5 5\r\nhello\r\n", "5\r\nhello5\r\n",
      "5\r\nhello \r\n0\r\n\r\n", ("1"):rep(14) .. "\r\nhello", ("0"):rep(9000),
      "5;" .. ("a"):rep(9000) .. "\r\nhello",
      "0\r\n" .. ("a: b\r\n"):rep(300) .. "\r\n", "0\r\na: " .. ("b"):rep(9000) .. "\r\n\r\n" } do
      for _, size in ipairs { 1, 7, 100000 } do
        local _, err, clean = read(chunked, text, size)
        assert.equal(framing.MALFORMED, err, text:sub(1, 20))
        assert.is_false(clean)
      end
    end
  end)

  it("leaves a connection to others only where nothing is doubtful", function()
    assert.is_false(select(3, read(chunked, "0\r\n\r\nHTTP/1.1 200 OK", 100)))
    assert.is_false(select(3, read({ ["transfer-encoding"] = "chunked", ["content-length"] = "5" },
      "0\r\n\r\n", 100)))
    assert.is_true(framing.none():is_clean())
    assert.is_nil((framing.none():read()))
  end)

  it("may be read whole, or not at all", function()
    local function reader(...)
      local parts, at = { ... }, 0
      return { read = function()
        at = at + 1
        return parts[at] or nil, parts[at] == false and "torn" or nil
      end }
    end
    assert.equal("hello", framing.whole(reader("he", "l", "lo")))
    assert.equal("", framing.whole(reader()))
    assert.same({ nil, "torn" }, { framing.whole(reader("he", false)) })
  end)

  it("is not read where nobody knows its end", function()
    for _, length in ipairs { "-5", "5, 5", "5 ", "", "0x5" } do
      local _, fault = read({ ["content-length"] = length }, "", 1)
      assert.equal("the length is no number", fault)
    end
    for _, coding in ipairs { "gzip, chunked", "chunked, chunked", "identity", "" } do
      local _, fault = read({ ["transfer-encoding"] = coding }, "", 1)
      assert.equal("the transfer coding is unknown", fault)
    end
  end)
end)

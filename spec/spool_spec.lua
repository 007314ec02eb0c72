-- The file through which a thread hands bytes over: here both ends are in one program.

local spool = require "billhook.transport.spool"

describe("a spool", function()
  local reader, writer

  before_each(function()
    spool.SIZE = 100
    reader = assert(spool.reader())
    spool.SIZE = 64 * 1024 * 1024
    writer = assert(spool.writer(reader.path, reader.size))
  end)
  after_each(function()
    reader:close()
    writer:close()
  end)

  it("hands bytes over in order, and has no name", function()
    assert.is_nil(io.open(reader.path))
    assert.is_nil((reader:take(10)))
    assert.equal(5, writer:put("hello", 1))
    assert.equal(3, writer:put("say low", 5))
    assert.equal("hell", reader:take(4))
    assert.equal("olow", reader:take(100))
    assert.is_nil((reader:take(10)))
  end)

  it("has room for so much and no more, however long it goes on", function()
    local sent, got, n = {}, {}, 0
    for i = 1, 2000 do
      local text = ("%d,"):format(i)
      local at = 1
      while at <= #text do
        local put = writer:put(text, at)
        if put == 0 then -- full: the other end's turn
          assert.is_true(n > 0 and n <= 100)
          local bytes = reader:take(i % 37 + 1)
          got[#got + 1], n = bytes, n - #bytes
        end
        at, n = at + put, n + put
      end
      sent[i] = text
    end
    for bytes in function() return reader:take(7) end do got[#got + 1] = bytes end
    assert.equal(table.concat(sent), table.concat(got))
    assert.is_true(reader.file:seek "end" <= 4096 + 100)
  end)

  it("tells the writer that nobody wants the rest", function()
    assert.is_false(writer:is_closed())
    assert.equal(1, writer:put("a", 1))
    reader:close()
    reader:close()
    assert.is_true(writer:is_closed())
    writer:put("b", 1)
    assert.is_true(writer.closed)
  end)

  it("takes no half-written count for one", function()
    writer:put("hello", 1)
    local file = reader.file
    file:seek "set"
    file:write "0000000000000009"
    assert.is_nil((reader:take(10)))
    file:seek "set"
    file:write "0000000000000005"
    assert.equal("hello", reader:take(10))
  end)

  it("says that there is no room", function()
    local real = writer.file
    writer.file = assert(io.open("/dev/full", "r+b"))
    writer.file:setvbuf "no"
    local n, err = writer:put("hello", 1)
    writer.file:close()
    writer.file = real
    assert.is_nil(n)
    assert.matches("No space left", err)
    assert.equal(5, writer:put("hello", 1)) -- nothing was counted
    assert.equal("hello", reader:take(10))
  end)

  it("says what is wrong with its file", function()
    local _, err = spool.writer("/nowhere/at/all", 100)
    assert.matches("No such file", err)
    writer:put("hello", 1)
    writer.file:seek("set", 0)
    writer.file:write(("0000000000000099"):rep(2)) -- more than there is
    local bytes
    bytes, err = reader:take(99)
    assert.same({ nil, "the file is cut" }, { bytes, err })
    local tmpname = os.tmpname
    rawset(os, "tmpname", function() return "/nowhere/at/all" end)
    bytes, err = spool.reader()
    rawset(os, "tmpname", tmpname)
    assert.is_nil(bytes)
    assert.matches("No such file", err)
  end)
end)

-- The file through which a thread hands bytes over: here both ends are in one program.

local spool = require "billhook.transport.spool"

describe("a spool", function()
  local reader, writer

  before_each(function()
    reader = assert(spool.reader())
    writer = assert(spool.writer(reader.path))
  end)
  after_each(function()
    reader:close()
    writer:close()
  end)

  it("hands bytes over in order, as they come, and has no name", function()
    assert.is_nil(io.open(reader.path))
    assert.is_nil((reader:take(10)))
    assert.is_true(writer:put "hello")
    assert.equal("hell", reader:take(4))
    assert.is_true(writer:put " low")
    assert.equal("o low", reader:take(100))
    for _ = 1, 2 do assert.is_nil((reader:take(10))) end
    assert.is_true(writer:is_wanted())
    assert.is_true(writer:put "!")
    assert.equal("!", reader:take(10))
  end)

  it("keeps all that nobody took yet", function()
    local sent, got = {}, {}
    for i = 1, 2000 do
      sent[i] = ("%d,"):format(i)
      writer:put(sent[i])
      if i % 7 == 0 then got[#got + 1] = reader:take(i % 37 + 1) end
    end
    for bytes in function() return reader:take(7) end do got[#got + 1] = bytes end
    assert.equal(table.concat(sent), table.concat(got))
  end)

  it("tells the writer that nobody wants the rest", function()
    assert.is_true(writer:is_wanted())
    writer:put "a"
    reader:close()
    reader:close()
    assert.is_false(writer:is_wanted())
    assert.is_true(writer:put "b") -- it may not have asked
  end)

  it("says that there is no room", function()
    local real = writer.file
    writer.file = assert(io.open("/dev/full", "r+b"))
    writer.file:setvbuf "no"
    local written, err = writer:put "hello"
    writer.file:close()
    writer.file = real
    assert.is_nil(written)
    assert.matches("No space left", err)
  end)

  it("says what is wrong with its file", function()
    local _, err = spool.writer "/nowhere/at/all"
    assert.matches("No such file", err)
    local tmpname = os.tmpname
    for path, why in pairs { ["/nowhere/at/all"] = "No such file", ["/dev/full"] = "No space" } do
      rawset(os, "tmpname", function() return path end)
      local real = os.remove
      rawset(os, "remove", function() end) -- not the device
      local none
      none, err = spool.reader()
      rawset(os, "tmpname", tmpname)
      rawset(os, "remove", real)
      assert.is_nil(none)
      assert.matches(why, err)
    end
  end)
end)

-- The differences between our reading of JSON and lua-cjson's, as fuzz/cjson.lua lists them: each
-- of its examples is one, and what is none of them is read the same.

local core = require "billhook.core"
local list = dofile "fuzz/cjson.lua"

describe("beside lua-cjson", function()
  for _, kind in ipairs(list.REFUSED) do
    it("we refuse " .. kind[1], function()
      for _, text in ipairs(kind[3]) do
        local value, why = core.json.decode(text)
        assert.is_nil(value, text)
        assert.is_truthy(why:find(kind[2], 1, true), text .. ": " .. why)
        assert.equal(kind[1], list.difference(text), text)
      end
    end)
  end

  for _, kind in ipairs(list.VALUES) do
    it("another value: " .. kind[1], function()
      for text, ours in pairs(kind[2]) do
        local value = assert(core.json.decode(text))
        assert.equal(ours, tostring(value[1]))
        local theirs = require("cjson").decode(text)
        assert.not_equal(ours, tostring(theirs[1] or theirs.a))
        assert.is_nil(list.difference(text))
      end
    end)
  end

  it("all else is the same", function()
    for _, text in ipairs { "[]", '{"a":[1,2.5,-3e2,true,false,"\\u00e9\\ud83d\\ude00"]}', '"x"',
      "7", "[", "{]", '["\\x"]', '["\\ud800"]', "[1,]", "\239\187\191[]", "" } do
      assert.is_nil(list.difference(text), text)
    end
  end)

  it("a difference of no kind is told", function()
    local decode = core.json.decode
    finally(function() core.json.decode = decode end)
    core.json.decode = function() return { 2 } end
    assert.has_error(function() list.difference "[1]" end, "it is read differently")
    core.json.decode = function() return nil, "no reason" end
    assert.error_matches(function() list.difference "[1]" end, "lua%-cjson alone takes it")
    core.json.decode = function() return {} end
    assert.error_matches(function() list.difference "[" end, "lua%-cjson alone refuses it")
  end)
end)

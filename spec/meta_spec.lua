-- What editors are told about the shared objects is what they hold.
local core = require "billhook.core"

describe("lua/billhook/meta.lua", function()
  local file = assert(io.open "lua/billhook/meta.lua")
  local text = file:read "*a"
  file:close()

  local function declared(name)
    return text:find("\nfunction " .. name .. "(", 1, true) ~= nil
  end

  it("is Lua", function()
    assert.is_function((loadstring or load)(text))
  end)

  for _, part in ipairs { "json", "text", "decimal", "verify", "call" } do
    it("declares all of core." .. part, function()
      for name, value in pairs(core[part]) do
        if type(value) == "function" then
          assert.is_true(declared(part .. "." .. name), part .. "." .. name)
        end
      end
    end)
  end

  it("declares the methods of decimals, streams and transfers", function()
    for class, object in pairs { amount = core.decimal.new(1), stream = core.json.stream(),
        pool = require("billhook.curl").new() } do
      local methods = (debug.getmetatable or getmetatable)(object).__index
      for name in pairs(type(methods) == "table" and methods or {}) do
        assert.is_true(declared(class .. ":" .. name), class .. ":" .. name)
      end
    end
  end)

  it("declares nothing that is not there", function()
    for part, name in text:gmatch "\nfunction (%l+)%.([%w_]+)%(" do
      local module = core[part] or require("billhook." .. part)
      assert.is_function(module[name], part .. "." .. name)
    end
  end)
end)

-- A host program may set a locale for its whole process: texts that are compared, hashed or sent
-- must be the same as without one.
local command = require "spec.support.command"
local locale = require "spec.support.locale"
local process = require "billhook.process"

local CODE = [[
assert(os.setlocale("de_DE.UTF-8", "all"), "no such locale")
local json = require "billhook.json"
print(_VERSION == "Lua 5.4" and "a" < "Z") -- the locale's own order
io.write(json.encode { Zebra = 1, apple = 2.5, ["\195\164pfel"] = 3, ["a b"] = 4, a_b = 5, ab = 6,
  a = 7, ["a\0b"] = 8 }, "\n")
]]

local function run(argv, folder, env)
  local out, err = folder .. "/out", folder .. "/err"
  local pid = assert(process.spawn(argv, { stdout = out, stderr = err, env = env }))
  local _, code = process.wait(pid)
  assert.equal(0, code, command.read(err))
  return command.read(out)
end

describe("a locale of the host program", function()
  teardown(command.finish)

  it("changes neither the order nor the numbers of JSON", function()
    local folder = command.folder()
    local out = run({ command.lua, "-e", CODE }, folder, command.paths { LOCPATH = locale() })
    local differs, text = out:match "^(%l+)\n(.*)\n$"
    assert.equal(tostring(_VERSION == "Lua 5.4"), differs) -- else this shows nothing
    assert.equal('{"Zebra":1,"a":7,"a\\u0000b":8,"a b":4,"a_b":5,"ab":6,"apple":2.5,'
      .. '"\195\164pfel":3}', text)
  end)
end)

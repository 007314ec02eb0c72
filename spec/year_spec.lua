-- year_spec.lua: the whole delivery side in worlds of faults (support/year.lua). YEARS=n runs so
-- many, from seed FROM on. Without, each Lua has worlds of its own: they differ by the seed, not by
-- the Lua.

local process = require "billhook.process"
local scratch = require "spec.support.scratch"
local year = require "spec.support.year"

local WORLDS = tonumber(os.getenv "YEARS") or 1
local FROM = tonumber(os.getenv "FROM") or not os.getenv "YEARS" and rawget(_G, "jit") and 2 or 1

describe("over months of faults", function()
  it("rules know in the end what the vendor has, each change once and in order #both", function()
    local events, changes = 0, 0
    for seed = FROM, FROM + WORLDS - 1 do
      local result = year.run(seed, { hours = 1 })
      assert.same({}, result.wrong, "seed " .. seed)
      events, changes = events + result.events, changes + result.changes
    end
    assert.is_true(events > changes and changes > 30 * WORLDS)
  end)

  it("a restored backup tells nothing that rules can not tell from what they know", function()
    for i = 0, math.ceil(WORLDS / 4) - 1 do
      local folder, seed = scratch.folder "year", 1000 + FROM + i
      local result = year.run(seed, { hours = 1, folder = folder })
      process.remove_tree(folder)
      assert.same({}, result.wrong, "seed " .. seed)
    end
  end)
end)

-- year_spec.lua: the whole delivery side in worlds of faults (support/year.lua). YEARS=n runs so
-- many.

local process = require "billhook.process"
local year = require "spec.support.year"

local WORLDS = tonumber(os.getenv "YEARS") or 4

describe("over months of faults", function()
  it("rules know in the end what the vendor has, each change once and in order", function()
    local events, changes = 0, 0
    for seed = 1, WORLDS do
      local result = year.run(seed, { hours = 1 })
      assert.same({}, result.wrong, "seed " .. seed)
      events, changes = events + result.events, changes + result.changes
    end
    assert.is_true(events > changes and changes > 30 * WORLDS)
  end)

  it("a restored backup tells nothing that rules can not tell from what they know", function()
    for seed = 1, math.ceil(WORLDS / 4) do
      local folder = assert(process.mkdtemp "/tmp/billhook-year")
      local result = year.run(1000 + seed, { hours = 1, folder = folder })
      process.remove_tree(folder)
      assert.same({}, result.wrong, "seed " .. 1000 + seed)
    end
  end)
end)

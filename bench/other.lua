-- other.lua: for wrk: a few requests of a location that has nothing to do with deliveries.

local mean = tonumber(os.getenv("DELAY") or 0)

function delay() return math.random(0, 2 * mean) end

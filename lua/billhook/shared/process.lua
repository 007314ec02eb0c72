--- Texts in the memory of this process: see shared/init.lua.

local M = {}

local SWEEP = 1000 -- changes between two looks for texts that have had their time

local Process = {}
Process.__index = Process

--- A store of its own, or another view of the texts of one: by another clock.
---@param clock fun(): number
---@param of table? the store
function M.new(clock, of)
  local all = of and of.all or { texts = {}, changes = 0 }
  return setmetatable({ clock = clock, all = all }, Process)
end

local function sweep(all, now)
  all.changes = all.changes + 1
  if all.changes % SWEEP ~= 0 then return end
  for name, one in pairs(all.texts) do
    if one.till <= now then all.texts[name] = nil end
  end
end

function Process:update(name, fn, keep)
  local now, texts = self.clock(), self.all.texts
  local old = texts[name]
  local new, value = fn(old and old.till > now and old.text or nil, now)
  if new then
    texts[name] = { text = new, till = keep and now + keep or math.huge }
    sweep(self.all, now)
  elseif new == false then
    texts[name] = nil
  end
  if value == nil then return true end
  return value
end

-- Times of two clocks can't be compared, so who has another one (tests) has other texts. Only the
-- texts are kept here: a store knows its clock, and so LuaJIT would keep both for ever.
local by_clock = setmetatable({}, { __mode = "k" })

--- The store of all who have this clock.
---@param clock fun(): number
function M.of(clock)
  local store = M.new(clock, { all = by_clock[clock] })
  by_clock[clock] = store.all
  return store
end

local common = M.new(function() end)

--- The store of everybody in this process, whose times are by the clock of whoever asks.
---@param clock fun(): number
function M.common(clock) return M.new(clock, common) end

return M

--- Shared texts that only one process changes at a time: the state of a quota, calls that must not
-- happen twice. A store of such texts has one method:
--
--   store:update(name, fn, keep)  -> the value that fn returns (true if that is nil), or nil and
--       an error of kind "store": then nothing has changed
--
-- fn(text or nil, now, lost) returns the new text (nil: no change, false: delete it) and a value.
-- No other process changes the text meanwhile. `now` is in seconds, by a clock common to all
-- processes that share the text. fn may be called several times, so it must only compute, and not
-- wait. keep: the seconds after the last change when the text is no longer needed. lost: the time
-- when the store last found that it had lost texts, nil where it has lost none: since then, a text
-- that is not there may have been there.
--
-- There are three stores, which spec/shared_spec.lua checks:
--
--   this one      the memory of this process
--   dict.lua      lua_shared_dict billhook, for the workers of one nginx
--   inbox.lua     an inbox: several processes or machines; survives a crash
--
-- The dictionary also has store:evicted(age, seconds), the error of whoever must not go on after
-- that, and store:health(seconds). An inbox has more methods:
--
--   store:who()            a name for this process
--   store:departed(name)   is the process of this name known to be gone?
--   store:texts(prefix)    all texts whose names begin so, by the rest of the name

local dict = require "billhook.shared.dict"
local inbox = require "billhook.shared.inbox"

local M = {}

-- --- the memory of this process ----------------------------------------------------------------

local SWEEP = 1000 -- changes between two looks for texts that have had their time

local Process = {}
Process.__index = Process

--- A store in memory: of its own, or another view of the texts of one, by another clock.
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
function M.by(clock)
  local store = M.new(clock, { all = by_clock[clock] })
  by_clock[clock] = store.all
  return store
end

local common = M.new(function() end)

--- The store of everybody in this process, whose times are by the clock of whoever asks.
---@param clock fun(): number
function M.common(clock) return M.new(clock, common) end

-- --- which one is meant ------------------------------------------------------------------------

--- What a user may pass as a store: a table with the method, or the URL of an inbox. Gives it, or
-- nil and what is wrong.
---@param value any
---@return any value, string? why
function M.check(value)
  if type(value) == "string" then
    local fine, why = inbox.check(value)
    return fine and value, why
  elseif type(value) ~= "table" or type(value.update) ~= "function" then
    return nil, "must have a method 'update'"
  end
  return value
end

--- The store that is meant: what was passed, or the inbox of that URL.
---@param given table|string
---@return table? store, table? err
function M.of(given)
  if type(given) == "string" then return inbox.of(given) end
  return given
end

--- The dictionary that the workers of this nginx share, or nil.
---@return table? store
function M.workers() return rawget(_G, "ngx") and dict.store() or nil end

--- What everybody here shares who has no inbox: the dictionary of nginx, where there is one; else
-- the memory of the process.
---@param clock fun(): number for the latter
---@return table store
function M.here(clock) return M.workers() or M.by(clock) end

return M

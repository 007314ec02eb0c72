-- dict.lua - texts in a dictionary that all workers of an nginx share: see shared/init.lua.
--
-- nginx.conf: lua_shared_dict billhook 1m;   (some 10 kB a key with a quota)
--
-- The dictionary has no transactions, so each text has a lock for changes. The code that holds it
-- never yields, so the lock is free again within microseconds; the lock of a killed worker expires
-- after a second. Entries that are still needed are never evicted: a full dictionary is an error.

local core = require "billhook.core"
local errors = require "billhook.error"
local turns = require "billhook.shared.turns"

local M = {}

local NAME = "billhook"
local LOCK_TIME, PAUSE, TRIES = 1, 0.001, 3000
local FIRST, SECOND = "billhook first", "billhook second"
local ROOM = 4096 -- bytes of a large text: with less, the dictionary is full

local Dict = {}
Dict.__index = Dict

local function failure(message)
  return errors.new { kind = "store", code = "shared_dict", retryable = true,
    message = "lua_shared_dict " .. NAME .. ": " .. message }
end

-- What has had its time makes room.
local function making_room(dict, method, ...)
  local ok, err = dict[method](dict, ...)
  if err == "no memory" and dict:flush_expired() > 0 then ok, err = dict[method](dict, ...) end
  return ok, err
end

-- Where nginx can wait, it does. Elsewhere it spins, for as long: the worker that holds the lock
-- runs meanwhile, or has to get a processor first.
local function try(dict, name, patient)
  local till, ok, err = core.text.monotonic() + PAUSE
  repeat
    ok, err = making_room(dict, "safe_add", name, 1, LOCK_TIME)
  until ok or err ~= "exists" or patient or core.text.monotonic() >= till
  return ok, err
end

local function lock(dict, name)
  local patient = not turns.unable()
  for _ = 1, TRIES do
    local ok, err = try(dict, name, patient)
    if ok then return true end
    if err ~= "exists" then return nil, err end
    if patient then ngx.sleep(PAUSE) else ngx.update_time() end -- by which the lock expires
  end
  return nil, "its lock is held"
end

local function write(dict, name, old, new, keep)
  if not new then
    dict:delete(name)
    return true
  end
  local kept, why = making_room(dict, "safe_set", name, new, keep)
  if kept then return true end
  -- a larger text takes the place of what was there before it is known whether it fits
  if old and not dict:get(name) and not dict:safe_set(name, old, keep) then
    dict:delete(FIRST) -- others were faster: that is as if they had evicted it
  end
  return nil, why
end

local seen -- the second mark, as this worker saw it last

local function time_of(mark) return tonumber(mark:match " (.*)") or false end

-- The time when texts were found to be missing, by the monotonic clock; false: none are. Or nil and
-- a message where a mark finds no room.
local function evicted(dict, now)
  local second, whole = dict:get(SECOND), dict:ttl(FIRST) ~= nil -- ttl() is no use of it
  local strange = seen ~= nil and second ~= seen and not (second and time_of(second))
  if second and whole and not strange then
    seen = second
    return time_of(second)
  end
  -- a worker that began after all was evicted finds others' texts and no room
  local gone = strange or not whole and (second ~= nil or dict:free_space() == 0)
  local mark = core.text.hex(core.text.random(8)) .. " " .. (gone and ("%.3f"):format(now) or "")
  local steps = { { "safe_add", FIRST, true }, { "safe_add", SECOND, mark } }
  if gone then -- others must not find both before they find when
    steps = { { "safe_set", SECOND, mark }, steps[1] }
    ngx.log(ngx.ERR, "billhook: other code that writes into lua_shared_dict ", NAME, " has evicted",
      " texts from it")
  end
  for _, step in ipairs(steps) do
    local ok, why = making_room(dict, unpack(step))
    if not ok and why ~= "exists" then return nil, why end
  end
  seen = dict:get(SECOND) or mark
  return time_of(seen)
end

-- The monotonic clock is one for all processes of a machine, and is never set.
function Dict:update(name, fn, keep)
  local dict = self.dict
  local locked, why = lock(dict, "lock " .. name)
  if not locked then return nil, failure(why) end
  local now, old = core.text.monotonic(), dict:get(name)
  local lost, none = evicted(dict, now)
  local kept, done, new, value = nil, true, nil, nil
  why = none
  if lost ~= nil then
    kept, done, new, value = true, pcall(fn, old, now, lost or nil)
    if done and new ~= nil then kept, why = write(dict, name, old, new, keep) end
  end
  dict:delete("lock " .. name)
  if not done then error(new, 0) end
  if not kept then return nil, failure(why) end
  if value == nil then return true end
  return value
end

--- The error of a caller whom a text that was evicted could have stopped, `age` seconds ago.
---@param age number
---@param seconds number how long there is danger
---@return table err
function Dict.evicted(_, age, seconds)
  local err = failure(("other code that writes into it has evicted texts from it, so nothing is"
    .. " sent for another %.0f s: give that code a dictionary of its own"):format(seconds - age))
  err.retry_after = seconds - age
  return err
end

--- Is there room for more, and were no texts evicted within so many seconds?
---@param seconds number
---@return boolean? well, table? err
function Dict:health(seconds)
  local age, err = self:update("probe", function(_, now, lost)
    return nil, lost and now - lost or seconds
  end)
  if not age then return nil, err end
  if age < seconds then return nil, self:evicted(age, seconds) end
  local probe = "probe " .. core.text.hex(core.text.random(8))
  local fits, why = making_room(self.dict, "safe_set", probe, ("x"):rep(ROOM), LOCK_TIME)
  self.dict:delete(probe)
  if not fits then return nil, failure(why) end
  return true
end

--- Notes something for all workers of this nginx, also those to come, if there is room.
---@param name string
function Dict:note(name) making_room(self.dict, "safe_set", name, true) end

---@param name string
---@return boolean
function Dict:noted(name) return self.dict:get(name) == true end

--- The dictionary, as a store; nil where there is no nginx, or no such dictionary.
---@return table|nil
function M.store()
  local ngx = rawget(_G, "ngx")
  local dict = type(ngx) == "table" and type(ngx.shared) == "table" and ngx.shared[NAME]
  return dict and setmetatable({ dict = dict }, Dict) or nil
end

local here = M.store()
if here then evicted(here.dict, core.text.monotonic()) end -- so the marks come before others' texts

return M

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

-- Where nginx can wait, it does; elsewhere it spins: the other worker runs meanwhile.
local function lock(dict, name)
  local patient = not turns.unable()
  for _ = 1, patient and TRIES or TRIES * 1000 do
    local ok, err = making_room(dict, "safe_add", name, 1, LOCK_TIME)
    if ok then return true end
    if err ~= "exists" then return nil, err end
    if patient then ngx.sleep(PAUSE) end
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
  if old and not dict:get(name) then dict:safe_set(name, old, keep) end
  return nil, why
end

-- The monotonic clock is one for all processes of a machine, and is never set.
function Dict:update(name, fn, keep)
  local dict = self.dict
  local locked, why = lock(dict, "lock " .. name)
  if not locked then return nil, failure(why) end
  local old = dict:get(name)
  local done, new, value = pcall(fn, old, core.text.monotonic())
  local kept = true
  if done and new ~= nil then kept, why = write(dict, name, old, new, keep) end
  dict:delete("lock " .. name)
  if not done then error(new, 0) end
  if not kept then return nil, failure(why) end
  if value == nil then return true end
  return value
end

--- The dictionary, as a store; nil where there is no nginx, or no such dictionary.
---@return table|nil
function M.store()
  local ngx = rawget(_G, "ngx")
  local dict = type(ngx) == "table" and type(ngx.shared) == "table" and ngx.shared[NAME]
  return dict and setmetatable({ dict = dict }, Dict) or nil
end

return M

-- quota.lua - where nginx keeps a quota: a dictionary that all its workers share.
--
-- nginx.conf: lua_shared_dict billhook 1m;   (some 10 kB a key)
--
-- The dictionary has no transactions, so a line is changed under a lock of its own. Nobody yields
-- while holding it, so it is free again within microseconds; a worker that was killed in there
-- loses it after a second.

local errors = require "billhook.error"
local window = require "billhook.call.window"

local M = {}

local NAME = "billhook"
local LOCK_TIME, PAUSE, TRIES = 1, 0.001, 3000
local KEEP = 86400 -- seconds after which a line that nobody asks for is dropped

local function nginx()
  local ngx = rawget(_G, "ngx")
  return type(ngx) == "table" and type(ngx.shared) == "table" and ngx or nil
end

-- Where nginx can wait, it does; elsewhere it spins: the other worker runs meanwhile.
local waits = { rewrite = true, access = true, content = true, timer = true, ssl_cert = true,
  server_rewrite = true }

local function lock(dict, name)
  local patient = waits[ngx.get_phase()]
  for _ = 1, patient and TRIES or TRIES * 1000 do
    local ok, err = dict:safe_add(name, 1, LOCK_TIME)
    if err == "no memory" and dict:flush_expired() > 0 then
      ok, err = dict:safe_add(name, 1, LOCK_TIME)
    end
    if ok then return true end
    if err ~= "exists" then return nil, err end
    if patient then ngx.sleep(PAUSE) end
  end
  return nil, "its lock is held"
end

--- What went wrong with it, as an error.
---@param message string
---@return table
function M.failure(message)
  return errors.new { kind = "store", code = "shared_dict", retryable = true,
    message = "lua_shared_dict " .. NAME .. ": " .. message }
end

--- Calls fn, which must not yield, while nobody else changes what has this name: what it gives, or
-- nil and an error.
---@param dict table
---@param name string
---@param fn fun(): any, table|nil
---@return any value, table|nil err
function M.locked(dict, name, fn)
  local locked, why = lock(dict, "lock " .. name)
  if not locked then return nil, M.failure(why) end
  local done, answer, err = pcall(fn)
  dict:delete("lock " .. name)
  if not done then return nil, M.failure(tostring(answer)) end
  return answer, err
end

--- Keeps a text for so many seconds. Nothing that is still needed makes room for it, but all that
-- has had its time.
---@param dict table
---@param name string
---@param text string
---@param seconds number
---@return boolean|nil kept, table|nil err
function M.keep(dict, name, text, seconds)
  local kept, why = dict:safe_set(name, text, seconds)
  if not kept and why == "no memory" then
    dict:flush_expired()
    kept, why = dict:safe_set(name, text, seconds)
  end
  if not kept then return nil, M.failure(why) end
  return true
end

local Dictionary = {}
Dictionary.__index = Dictionary

-- The monotonic clock is one for all processes of a machine, and is never set.
local function change(dict, key, question)
  local line = window.read(dict:get(key))
  local answer = window.answer(line, require("billhook.core").text.monotonic(), question)
  local kept, err = M.keep(dict, key, window.text(line), KEEP)
  return kept and answer, err
end

--- See window.lua.
function Dictionary:slots(key, question)
  return M.locked(self.dict, key, function()
    return change(self.dict, "quota " .. key, question)
  end)
end

local dictionary

--- The dictionary; nil where there is no nginx, or no such dictionary.
---@return table|nil
function M.dict()
  local here = nginx()
  return here and here.shared[NAME]
end

--- It, as a store of quotas.
---@return table|nil
function M.dictionary()
  local dict = M.dict()
  if dict and not dictionary then dictionary = setmetatable({ dict = dict }, Dictionary) end
  return dict and dictionary
end

local inboxes = {}

-- On the event loop, which must not wait for a disk; not in a worker thread, which may.
local function on_event_loop()
  local here = nginx()
  return here and type(here.socket) == "table" and here.socket.tcp ~= nil
end

--- The inbox of a URL, as a store; opened once.
---@param url string
---@return table|nil store, table|nil err
function M.inbox(url)
  local open = on_event_loop() and require("billhook.host.store").new
    or require("billhook.inbox").open
  local err
  if not inboxes[url] then inboxes[url], err = open(url) end
  return inboxes[url], err
end

--- The inbox of an app, as a store.
---@param app table
---@return table|nil store, table|nil err
function M.inbox_of(app)
  if app.store or not on_event_loop() then return app:open() end
  return M.inbox(app.inbox)
end

return M

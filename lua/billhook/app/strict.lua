-- app/strict.lua: runs a piece of work with the inbox. Errors of the inbox or an API are raised in
-- it, and this file alone turns them into nil and an error.

local err = require "billhook.error"

local M = {}

-- The store, with methods that raise.
local function strict(store)
  return setmetatable({}, { __index = function(self, name)
    local function method(_, ...)
      local value, why = store[name](store, ...)
      if value == nil then error(why, 0) end
      return value
    end
    rawset(self, name, method)
    return method
  end })
end

---fn(...), and nil and an error where one was raised; what is no error object is a bug, and raised.
---@return any value, table|nil err
function M.catch(fn, ...)
  local ok, value, why = pcall(fn, ...)
  if ok then return value, why end
  if not err.is(value) then error(value, 0) end
  return nil, value
end

---Opens the app's inbox, and calls fn(store, ...) with methods that raise.
---@return any value, table|nil err
function M.run(app, fn, ...)
  local store, why = app:open()
  if not store then return nil, why end
  return M.catch(fn, strict(store), ...)
end

return M

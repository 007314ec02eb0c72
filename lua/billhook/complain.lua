-- complain.lua: errors that last until a person does something, in an app's log: once a minute.

local core = require "billhook.core"

local M = {}

local REPEAT = 60 -- seconds between two lines of one complaint
local KEPT = 50 -- different ones that are remembered

---Logs an error, unless the same was logged within the last minute. `more`: how often it was not.
---@param app table
---@param name string
---@param fields table with message
---@return boolean logged
function M.once(app, name, fields)
  local now, told = core.text.monotonic(), app.complaints
  if not told or told.count >= KEPT then told = { count = 0, by = {} } end
  app.complaints = told
  local key = name .. "\n" .. fields.message
  local last = told.by[key]
  if last and now < last.at + REPEAT then
    last.more = last.more + 1
    return false
  end
  if last and last.more > 0 then fields.more = last.more end
  if not last then told.count = told.count + 1 end
  told.by[key] = { at = now, more = 0 }
  app.log("error", name, fields)
  return true
end

return M

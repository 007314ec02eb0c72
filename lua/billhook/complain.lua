-- complain.lua: lines of an app's log that would come too often: errors that last until a person
-- does something, and what strangers can cause.

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

local MOST = 10 -- lines a second

---Says how many lines some() has kept back in a second that is over.
---@param app table
function M.rest(app)
  local told = app.burst
  if not told or core.text.monotonic() < told.till then return end
  app.burst = nil
  if told.more > 0 then app.log("warn", told.name .. "_more", { more = told.more }) end
end

---May one more of what strangers cause be logged? Ten a second; then a line a second that says
---how many more there were.
---@param app table
---@param name string
---@return boolean
function M.some(app, name)
  M.rest(app)
  app.burst = app.burst or { till = core.text.monotonic() + 1, name = name, lines = 0, more = 0 }
  local told = app.burst
  told.lines = told.lines + 1
  if told.lines <= MOST then return true end
  told.more = told.more + 1
  return false
end

return M

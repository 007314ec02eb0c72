-- app/retention.lua: forgets what has been kept for long enough, once a day.
--
-- What deliveries, invoices and events say is personal data. It goes an app's `retention` (days)
-- after the invoice was paid or deleted, and after `keep` days whatever it is about; ids, digests,
-- versions, amounts, dates and states stay, so that what was known stays known. What is not
-- finished is kept, however old.

local M = {}

local DAY = 86400
local KEEP = 400 -- days
local LOOK = 3600 -- seconds between two looks whether a day has gone by

local function purge(app, store, wall)
  local last, why = store:get "purged"
  if last == nil then return nil, why end
  last = last and tonumber(last)
  -- a clock that was wrong for a moment must not delete anything: not before a second look, a day
  -- after one that noted when it was
  if last and wall >= last and wall - last < DAY then return 0 end
  local kept
  kept, why = store:set("purged", ("%.0f"):format(wall))
  if not kept then return nil, why end
  if not last or wall < last or wall - last > 2 * DAY then return 0 end
  local purged
  purged, why = store:forget(app.retention * DAY, math.max(KEEP, app.retention) * DAY)
  if not purged then return nil, why end
  if purged > 0 then app.log("info", "purged", { rows = purged, days = app.retention }) end
  return purged
end

---For those who work. Never raises.
---@param app table
---@param now number seconds
---@param wall number epoch seconds
function M.due(app, now, wall)
  if not app.retention then return end
  if app.purged and now >= app.purged and now < app.purged + LOOK then return end
  app.purged = now
  local store, why = app:open()
  local purged
  if store then purged, why = purge(app, store, wall) end
  if not purged then app.log("error", "not_purged", { message = tostring(why) }) end
end

return M

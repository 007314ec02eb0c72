-- app/retention.lua: once a day deletes content whose retention is over.
--
-- The content of deliveries, invoices and events is personal data. It is deleted an app's
-- `retention` (days) after the invoice was paid or deleted, and in any case after `keep` days. Ids,
-- digests, versions, amounts, dates and states stay, so that duplicates are still recognized.
-- Unfinished deliveries and events are kept, however old.

local round = require "billhook.app.round"

local M = {}

local DAY = 86400
local KEEP = 400 -- days

local function purge(store, app, wall)
  local last = store:get "purged"
  last = last and tonumber(last)
  -- a clock that was wrong for a moment must not delete anything: not before a second look, a day
  -- after one that noted when it was
  if last and wall >= last and wall - last < DAY then return 0 end
  store:set("purged", ("%.0f"):format(wall))
  if not last or wall < last or wall - last > 2 * DAY then return 0 end
  local purged = store:forget(app.retention * DAY, math.max(KEEP, app.retention) * DAY)
  if purged > 0 then app.log("info", "purged", { rows = purged, days = app.retention }) end
  return purged
end

---Looks whether a day has gone by, and forgets what is due. Never raises.
---@param app table
---@param wall number epoch seconds
function M.look(app, wall)
  local purged, why = round.run(app, purge, app, wall)
  if not purged then app.log("error", "not_purged", { message = tostring(why) }) end
end

return M

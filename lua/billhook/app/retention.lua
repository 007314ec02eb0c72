-- app/retention.lua: once a day deletes content whose retention is over.
--
-- The content of deliveries, invoices and events is personal data. It is deleted an app's
-- `retention` (days) after the invoice was paid or deleted, and in any case after `keep` days. Ids,
-- digests, versions, amounts, dates and states stay, so that duplicates are still recognized.
-- Unfinished deliveries and events are kept, however old.

local strict = require "billhook.app.strict"

local M = {}

local DAY = 86400
local KEEP = 400 -- days

local function purge(store, app)
  local due = store:update("purged", function(text, now)
    local last = tonumber(text or "")
    if last and now >= last and now - last < DAY then return nil, false end
    -- a clock that was wrong for a moment must not delete anything: not before a second look, a
    -- day after one that noted when it was
    return ("%.0f"):format(now), last ~= nil and now >= last and now - last <= 2 * DAY
  end)
  local purged = due and store:forget(app.retention * DAY, math.max(KEEP, app.retention) * DAY) or 0
  if purged > 0 then app.log("info", "purged", { rows = purged, days = app.retention }) end
  return purged
end

---Looks whether a day has gone by, and forgets what is due. Never raises.
---@param app table
function M.look(app)
  local purged, why = strict.run(app, purge, app)
  if not purged then app.log("error", "not_purged", { message = tostring(why) }) end
end

return M

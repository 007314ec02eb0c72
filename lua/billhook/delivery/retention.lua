-- retention.lua: forgets what has been kept for long enough, once a day.
--
-- Bodies of deliveries are personal data. Of an event that is finished, and was received longer ago
-- than an app's `retention` (days), everything but the envelope is deleted; its id stays, so it
-- stays known. What is not finished is kept, however old.

local M = {}

local DAY = 86400
local LOOK = 3600 -- seconds between two looks whether a day has gone by
local SOME = 5000 -- events at once: rules go on in between

local function purge(app, store, wall)
  local last, why = store:get "purged"
  if last == nil then return nil, why end
  if last and wall >= tonumber(last) and wall - tonumber(last) < DAY then return 0 end
  local purged
  purged, why = store:purge { older_than = app.retention * DAY, limit = SOME }
  if not purged then return nil, why end
  if purged > 0 then app.log("info", "purged", { events = purged, days = app.retention }) end
  if purged == SOME then return purged end
  local kept
  kept, why = store:set("purged", ("%.0f"):format(wall))
  return kept and purged, why
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
  if not purged then
    app.log("error", "not_purged", { message = tostring(why) })
  elseif purged == SOME then
    app.purged = nil -- there is more
  end
end

return M

-- attempt.lua: one run of one rule: what it failed with, and when it may run again.

local caller = require "billhook.call.caller"
local core = require "billhook.core"
local err = require "billhook.error"
local events = require "billhook.event"
local log = require "billhook.log"

local M = {}

local MARGIN = 60 -- seconds of a lease beyond the longest budget
local FLOOR = 0.5 -- seconds to the next run at least: a round must not run a rule over and over

-- What was raised: an error object as it is, a text with the rule's own frames.
local function caught(reason)
  if type(reason) == "string" then
    local trace = debug.traceback(reason, 2)
    return { reason = reason, trace = trace:match("^(.-)\n[^\n]*'xpcall'") or trace }
  end
  return { reason = reason == nil and "the rule raised nil" or reason }
end

---Asks the API where the rule or a dispute wants it.
---@return table|nil failed { reason, unconfirmed = the API does not say so, hopeless }
function M.confirm(event, rule)
  local ok, why, unconfirmed = xpcall(function()
    return events.confirm(event, rule.trust == "api")
  end, caught)
  if not ok then return why end
  if why then
    return { reason = why, unconfirmed = unconfirmed, hopeless = why.code == events.HOPELESS }
  end
end

---Runs it; nil where it succeeded.
---@return table|nil failed { reason, trace }
function M.run(rule, event)
  local leave = caller.enter(event.id .. " " .. rule.name) -- what it calls is not done twice
  local ok, value, reason = xpcall(function() return rule.handler(event) end, caught)
  leave()
  if not ok then return value end
  if value == nil and reason ~= nil then return { reason = reason } end
  if events.delay(event) then return { reason = "asked to run again" } end
end

-- What the API does not confirm meets at certain moments, so that it is asked once for all of a
-- lane: who makes up many events of an invoice must not cost a request for every run of each.
local function together(app, wait)
  local now, apart = (app.clock or core.text.monotonic)(), app.backoff.base
  return apart > 0 and math.ceil((now + wait) / apart) * apart - now or wait
end

---Milliseconds to the next run: full jitter, or what the rule or the vendor has asked for.
function M.pause(app, event, failed, attempts)
  local wait = events.delay(event)
  if not wait then
    local most = app.backoff.base * 2 ^ math.min(attempts - 1, 40)
    wait = app.random() * math.min(app.backoff.cap, most)
    if err.is(failed.reason) and type(failed.reason.retry_after) == "number" then
      wait = math.max(wait, math.min(failed.reason.retry_after, 86400))
    end
  end
  wait = math.max(wait, FLOOR)
  return (failed.unconfirmed and together(app, wait) or wait) * 1000
end

---Seconds for which a lane is leased: longer than any run may take.
---@param app table
---@return number
function M.lease(app) return math.max(app.dispatch.budget, app.budget) + MARGIN end

---Reports a rule that took longer than it may.
function M.overrun(app, row, rule, took)
  if took <= rule.budget then return end
  app.log("warn", "overrun", { id = row.id, rule = rule.name, seconds = ("%.1f"):format(took) })
end

---Tells who wanted to know of dead letters.
function M.tell_dead(app, event, reason)
  for _, handler in ipairs(app.dead_handlers) do
    local ok, why = xpcall(function() handler(event, reason) end, caught)
    if not ok then
      app.log("error", "on_dead_failed", { id = event.id, message = log.text(why.reason) })
    end
  end
end

return M

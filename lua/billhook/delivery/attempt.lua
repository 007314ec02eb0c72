-- attempt.lua: one run of one rule: what it failed with, and when it may run again.

local caller = require "billhook.call.caller"
local core = require "billhook.core"
local err = require "billhook.error"
local events = require "billhook.event"
local log = require "billhook.log"

local M = {}

local MARGIN = 60 -- seconds of a lease beyond the longest budget
local FLOOR = 0.5 -- seconds to the next run at least: a round must not run a rule over and over

---Asks the API where the rule or a dispute wants it.
---@return table|nil failed { reason, unconfirmed = the API does not say so, hopeless }
function M.confirm(event, rule)
  local why, unconfirmed
  local raised = events.try("reading it back", function()
    why, unconfirmed = events.confirm(event, rule.trust == "api")
  end)
  if why then
    return { reason = why, unconfirmed = unconfirmed, hopeless = why.code == events.HOPELESS }
  end
  return raised
end

---Runs it; nil where it succeeded.
---@return table|nil failed { reason, trace, step }
function M.run(rule, event)
  local leave = caller.enter(event.id .. " " .. rule.name) -- what it calls is not done twice
  local failed = events.outcome(event, (events.try("the rule", rule.handler, event)))
  leave()
  if failed then return failed end
  if events.delay(event) then return { reason = "asked to run again" } end
end

---What a run has failed with, as a text.
---@param failed table
---@param whole? boolean with the frames of what was raised
---@return string
function M.text(failed, whole)
  local text = log.text(whole and failed.trace or failed.reason)
  return failed.step and log.text(("step '%s': %s"):format(failed.step, text)) or text
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
    local failed = events.try("the handler", handler, event, reason)
    if failed then
      app.log("error", "on_dead_failed", { id = event.id, message = M.text(failed) })
    end
  end
end

return M

-- sender.lua - sends the sandbox's webhooks, with each vendor's own retries, and keeps a list of
-- what was sent.
--
-- A delivery: n, vendor, event (the vendor's event id), type, url, state ("pending", "delivered",
-- "failed", "unsent" where the vendor has no webhook URL), attempts (list of status or error).
-- Its body and headers are made anew for every attempt, as the vendor makes them.

local http = require "billhook.sandbox.http"

local M = {}

-- what the vendors count as success, how often they send again and after how long
local schedules = {
  dreamapply = { success = { [200] = true, [201] = true, [202] = true, [204] = true }, retries = 5,
    timeout = 30 },
  dreamclass = { success = { [200] = true }, retries = 0, timeout = 10 }, -- no retry is documented
  betterez = { success = { [200] = true, [201] = true, [202] = true, [204] = true }, retries = 0,
    timeout = 30 }, -- failures wait in a list for a person
}

local kept = 10000

local attempt

local function schedule(state, delivery, delay)
  local ok, err = ngx.timer.at(delay, attempt, state, delivery)
  if not ok then
    delivery.state = "failed"
    delivery.attempts[#delivery.attempts + 1] = { error = "no timer: " .. tostring(err) }
  end
end

local function note(delivery, status, err)
  delivery.attempts[#delivery.attempts + 1] = { status = status, error = err, at = ngx.now() }
end

function attempt(premature, state, delivery)
  if premature then return end
  local rule = schedules[delivery.vendor]
  local body, headers = delivery.make()
  headers["Content-Type"] = "application/json"
  local status, err = http.post(delivery.url, headers, body, rule.timeout)
  note(delivery, status, err)
  delivery.tries = delivery.tries + 1
  if status and rule.success[status] then
    delivery.state = "delivered"
  elseif delivery.tries > rule.retries then
    delivery.state = "failed"
  else
    schedule(state, delivery, state.options[delivery.vendor].retry_interval)
  end
end

--- Sends an event.
---@param state table the sandbox's state
---@param vendor string
---@param event table id, type, invoice (id or nil)
---@param make fun(): string, table gives body and headers of one attempt
---@return table delivery
function M.send(state, vendor, event, make)
  local list = state.deliveries
  local last = list[#list]
  local delivery = { n = last and last.n + 1 or 1, vendor = vendor, event = event.id,
    type = event.type, invoice = event.invoice, make = make, attempts = {}, tries = 0,
    url = state.options.webhooks[vendor] }
  list[#list + 1] = delivery
  if #list > kept then table.remove(list, 1) end
  delivery.state = delivery.url and "pending" or "unsent"
  if delivery.url then schedule(state, delivery, 0) end
  return delivery
end

--- Sends a delivery again, as the vendors' "resend" does: with a fresh schedule.
function M.again(state, delivery)
  delivery.url = state.options.webhooks[delivery.vendor]
  if not delivery.url then return end
  delivery.state, delivery.tries = "pending", 0
  schedule(state, delivery, 0)
end

--- A delivery as the control API shows it.
function M.show(delivery)
  local attempts = require("billhook.json").array {}
  for i, one in ipairs(delivery.attempts) do attempts[i] = one end
  local last = delivery.attempts[#delivery.attempts]
  return { n = delivery.n, vendor = delivery.vendor, event = delivery.event, type = delivery.type,
    invoice = delivery.invoice, url = delivery.url, state = delivery.state, attempts = attempts,
    status = last and last.status }
end

return M

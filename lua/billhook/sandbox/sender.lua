-- sender.lua - sends the sandbox's webhooks, with each vendor's own retries, and keeps a list of
-- what was sent.
--
-- A delivery: n, vendor, event (the vendor's event id), type, url, state ("pending", "delivered",
-- "failed", "lost" by a fault, "erased" by a person, "unsent" where the vendor has no webhook URL,
-- "untold" where it tells of this by no webhook), attempts (list of status or error). Its body and
-- headers are made anew for every attempt, as the vendor makes them.

local faults = require "billhook.sandbox.faults"
local json = require "billhook.json"

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

local function attempt(world, delivery)
  local rule = schedules[delivery.vendor]
  local body, headers = delivery.make()
  headers["Content-Type"] = "application/json"
  local status, err = world.post(delivery.url, headers, body, rule.timeout)
  delivery.sent = { body = body, headers = headers }
  table.insert(delivery.attempts, { status = status, error = err, at = world:now() })
  delivery.tries = delivery.tries + 1
  if status and rule.success[status] then
    delivery.state = "delivered"
  elseif delivery.state == "delivered" then -- a copy; the other one has arrived
    return
  elseif delivery.tries > rule.retries then
    delivery.state = "failed"
  else
    world:later(world.options[delivery.vendor].retry_interval, function()
      attempt(world, delivery)
    end)
  end
end

local function schedule(world, delivery, copies, seconds)
  delivery.state = copies > 0 and "pending" or "lost"
  for _ = 1, copies do
    world:later(seconds, function() attempt(world, delivery) end)
  end
end

local function add(world, delivery)
  local list = world.deliveries
  local last = list[#list]
  delivery.n = last and last.n + 1 or 1
  list[#list + 1] = delivery
  if #list > kept then table.remove(list, 1) end
  return delivery
end

--- Sends an event.
---@param world table
---@param vendor string
---@param event table id, type, invoice (id or nil), data
---@param make fun(): string, table gives body and headers of one attempt
---@param url string|nil another address than the vendor's own
---@return table delivery
function M.send(world, vendor, event, make, url)
  local delivery = add(world, { vendor = vendor, event = event.id, type = event.type,
    invoice = event.invoice, data = event.data, make = make, attempts = {}, tries = 0,
    own = url, url = url or world.options.webhooks[vendor] })
  if not delivery.url or not world.post then
    delivery.state = "unsent"
    return delivery
  end
  schedule(world, delivery, faults.of_webhook(world, vendor))
  return delivery
end

--- What has happened without a webhook.
function M.untold(vendor, kind, invoice)
  return { n = 0, vendor = vendor, type = kind, invoice = invoice, attempts = {}, state = "untold" }
end

--- Sends a delivery again, as the vendors' "resend" does: with a fresh schedule.
function M.again(world, delivery)
  delivery.url = delivery.own or world.options.webhooks[delivery.vendor]
  if not delivery.url or not world.post then return end
  delivery.tries = 0
  schedule(world, delivery, 1, 0)
end

--- The last delivery of a vendor that was sent; nil: none.
function M.captured(world, vendor)
  for i = #world.deliveries, 1, -1 do
    local one = world.deliveries[i]
    if one.vendor == vendor and one.sent then return one end
  end
end

--- A delivery as the control API shows it.
function M.show(delivery)
  local attempts = json.array {}
  for i, one in ipairs(delivery.attempts) do attempts[i] = one end
  local last = delivery.attempts[#delivery.attempts]
  return { n = delivery.n, vendor = delivery.vendor, event = delivery.event, type = delivery.type,
    invoice = delivery.invoice, payment = delivery.payment, url = delivery.url,
    state = delivery.state, attempts = attempts, status = last and last.status }
end

return M

-- faults.lua - makes the sandbox's next answers, or its next webhooks, wrong.
--
-- A fault has `next`, what happens; `times` (1). One of an answer may be only for a `method`, or
-- for a `path` (its beginning):
--
--   "500", "429", ...   that status, nothing is done; with `retry_after` as that header
--   "reset"             the connection ends without an answer, nothing is done
--   "reset-after"       the same, but it is done
--   "stall"             it is done after `seconds` (5), and answered
--   "stall-after"       it is done, and answered after `seconds`
--   "html"              200 and a page, nothing is done
--   "empty"             200 and an empty list, whatever there is
--   "half"              it is done, half of the answer comes, then the connection ends
--   "unseen"            it is done and answered, but for `seconds` the API does not show it
--
-- One of a webhook may be only for a `vendor`:
--
--   "webhook"           it is sent `copies` times (1; 0: lost), after `seconds` (0)

local values = require "billhook.sandbox.values"

local M = {}

local kinds = {}

function kinds.reset() return nil, "", {} end

kinds["reset-after"] = function(_, _, handle)
  handle()
  return nil, "", {}
end

function kinds.stall(world, fault, handle)
  if world.sleep then world.sleep(fault.seconds) end
  return handle()
end

kinds["stall-after"] = function(world, fault, handle)
  local status, body, headers = handle()
  if world.sleep then world.sleep(fault.seconds) end
  return status, body, headers
end

function kinds.html()
  return 200, "<!doctype html><title>Sign in</title>", { ["Content-Type"] = "text/html" }
end

function kinds.empty()
  return 200, "[]", { ["Content-Type"] = "application/json", ["X-Count"] = "0" }
end

function kinds.half(_, _, handle)
  local status, body, headers = handle()
  headers["Content-Length"] = ("%d"):format(#body + 1)
  return status, body:sub(1, math.floor(#body / 2)), headers, "half"
end

function kinds.unseen(world, fault, handle)
  world.hide = fault.seconds
  local status, body, headers = handle()
  world.hide = nil
  return status, body, headers
end

--- Takes a fault from the control API. Gives true, or nil and what is wrong.
function M.add(world, given)
  local name = tostring(given.next)
  local status = name:match("^[1-5]%d%d$") and tonumber(name) or nil
  local numbers = {}
  for field, default in pairs { times = 1, seconds = name == "webhook" and 0 or 5, copies = 1 } do
    numbers[field] = given[field] == nil and default or values.number(given[field])
    if not numbers[field] or numbers[field] < 0 then return nil, field .. " is no number" end
  end
  if not status and not kinds[name] and name ~= "webhook" then
    return nil, "no such fault: " .. name
  end
  table.insert(world.faults, { name = name, status = status, method = given.method,
    path = given.path, vendor = given.vendor, times = numbers.times, seconds = numbers.seconds,
    copies = math.floor(numbers.copies),
    headers = { ["Retry-After"] = given.retry_after and tostring(given.retry_after) } })
  return true
end

local function take(world, fits)
  for i, fault in ipairs(world.faults) do
    if fits(fault) then
      fault.times = fault.times - 1
      if fault.times <= 0 then table.remove(world.faults, i) end
      return fault
    end
  end
end

--- How a vendor's next webhook is sent: copies, seconds.
function M.of_webhook(world, vendor)
  local fault = take(world, function(one)
    return one.name == "webhook" and (not one.vendor or one.vendor == vendor)
  end)
  if fault then return fault.copies, fault.seconds end
  return 1, 0
end

--- Answers with `handle`, or with the fault that is due: status, body, headers, cut.
function M.play(world, request, fail, handle)
  local fault = take(world, function(one)
    return one.name ~= "webhook" and (not one.method or one.method == request.method)
      and (not one.path or request.path:sub(1, #one.path) == one.path)
  end)
  if not fault then return handle() end
  if not fault.status then return kinds[fault.name](world, fault, handle) end
  return fail(fault.status, fault.headers)
end

return M

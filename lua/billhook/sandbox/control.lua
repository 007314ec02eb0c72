-- control.lua - what steers the sandbox: the calls below /sandbox, described in init.lua.

local core = require "billhook.core"
local faults = require "billhook.sandbox.faults"
local json = require "billhook.json"
local sender = require "billhook.sandbox.sender"
local settings = require "billhook.sandbox.settings"
local values = require "billhook.sandbox.values"
local vendors = require "billhook.sandbox.vendors"

local M = {}

local ok = { ok = true }

local calls = {}

local function no_vendor(given)
  return ("vendor must be %s, got %s"):format(table.concat(vendors.names, ", "), tostring(given))
end

calls["POST trigger"] = function(world, fields)
  if not vendors.is(fields.vendor) then return nil, no_vendor(fields.vendor) end
  local delivery, err = vendors[fields.vendor].trigger(world, fields)
  return delivery and sender.show(delivery), err
end

calls["POST redeliver"] = function(world, fields)
  for i = #world.deliveries, 1, -1 do
    local one = world.deliveries[i]
    if one.n == fields.n or fields.n == nil and one.vendor == fields.vendor then
      sender.again(world, one)
      return sender.show(one)
    end
  end
  return nil, "no such delivery", 404
end

calls["POST forge"] = function(world, fields)
  if not vendors.is(fields.vendor) then return nil, no_vendor(fields.vendor) end
  local proof = fields.proof or "wrong"
  if proof ~= "wrong" and proof ~= "captured" then
    return nil, "proof must be wrong or captured"
  end
  local delivery, err = vendors[fields.vendor].forge(world, fields, proof)
  return delivery and sender.show(delivery), err
end

calls["GET deliveries"] = function(world)
  local list = json.array {}
  for i, one in ipairs(world.deliveries) do list[i] = sender.show(one) end
  return list
end

calls["GET requests"] = function(world)
  local list = json.array {}
  for i, one in ipairs(world.requests) do list[i] = one end
  return list
end

calls["POST webhooks"] = function(world, fields)
  for vendor, url in pairs(fields) do
    local why = settings.webhook(vendor, url)
    if why then return nil, why end
  end
  for vendor, url in pairs(fields) do world.options.webhooks[vendor] = url end
  return ok
end

calls["POST quota"] = function(world, fields)
  local options, limit = world.options.dreamapply, values.number(fields.limit)
  if not limit then return nil, "limit is missing" end
  options.quota = limit > 0 and limit
  options.window = values.number(fields.window) or options.window
  options.retry_after = fields.retry_after == true
  world.dreamapply.calls = {}
  return ok
end

calls["POST options"] = function(world, fields)
  if not vendors.is(fields.vendor) then return nil, no_vendor(fields.vendor) end
  for name, value in pairs(fields) do
    local why = name ~= "vendor" and settings.wrong(fields.vendor, name, value)
    if why then return nil, why end
  end
  for name, value in pairs(fields) do
    if name ~= "vendor" then world.options[fields.vendor][name] = value end
  end
  return ok
end

calls["POST clock"] = function(world, fields)
  local to = values.number(fields.now)
    or type(fields.now) == "string" and core.text.datetime(fields.now)
  local by = values.number(fields.forward)
  if not to and not by then return nil, "now (a time) or forward (seconds) is missing" end
  world:set_clock(to or world:now() + by)
  return { now = values.iso(world:now()) }
end

calls["POST fault"] = function(world, fields)
  local done, why = faults.add(world, fields)
  return done and ok, why
end

calls["DELETE fault"] = function(world)
  world.faults = {}
  return ok
end

calls["POST reset"] = function(world)
  world:reset()
  return ok
end

local function orders()
  local names = {}
  for name in pairs(calls) do
    if not name:find "^DELETE" then names[#names + 1] = name:match "%S+$" end
  end
  table.sort(names)
  return table.concat(names, ", ")
end

--- Steers a world. Gives the answer; or nil, what is wrong, and a status (400 without).
---@param world table
---@param method string
---@param name string "trigger", "fault", ...
---@param fields table
function M.order(world, method, name, fields)
  local call = calls[method .. " " .. name]
  if not call then return nil, "no such order; there are " .. orders(), 404 end
  local answer, why, status = call(world, fields)
  if not answer then return nil, why, status end
  return answer
end

--- Answers a request below /sandbox: status, body.
function M.answer(world, request)
  local fields = request.method == "GET" and {} or values.object(request.body)
  if not fields and request.body == "" then fields = {} end
  if not fields then return 400, { error = "the body is not a JSON object" } end
  local answer, why, status = M.order(world, request.method, request.path:sub(#"/sandbox/" + 1),
    fields)
  if not answer then return status or 400, { error = why } end
  return 200, answer
end

return M

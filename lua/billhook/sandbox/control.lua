-- control.lua - what steers the sandbox: the calls below /sandbox, described in init.lua.

local faults = require "billhook.sandbox.faults"
local http = require "billhook.sandbox.http"
local json = require "billhook.json"
local sender = require "billhook.sandbox.sender"

local M = {}

local vendors = { dreamapply = true, dreamclass = true, betterez = true }

local calls = {}

calls["POST /sandbox/trigger"] = function(state, fields)
  if not vendors[fields.vendor] then return 400, { error = "no such vendor" } end
  local delivery, err = require("billhook.sandbox." .. fields.vendor).trigger(state, fields)
  if not delivery then return 400, { error = err } end
  return 200, sender.show(delivery)
end

calls["POST /sandbox/redeliver"] = function(state, fields)
  for i = #state.deliveries, 1, -1 do
    local one = state.deliveries[i]
    if one.n == fields.n or fields.n == nil and one.vendor == fields.vendor then
      sender.again(state, one)
      return 200, sender.show(one)
    end
  end
  return 404, { error = "no such delivery" }
end

calls["GET /sandbox/deliveries"] = function(state)
  local list = json.array {}
  for i, one in ipairs(state.deliveries) do list[i] = sender.show(one) end
  return 200, list
end

calls["GET /sandbox/requests"] = function(state)
  local list = json.array {}
  for i, one in ipairs(state.requests) do list[i] = one end
  return 200, list
end

calls["POST /sandbox/webhooks"] = function(state, fields)
  for vendor, url in pairs(fields) do
    if not vendors[vendor] or type(url) ~= "string" or not http.parse(url) then
      return 400, { error = "not a vendor's plain http URL: " .. tostring(vendor) }
    end
    state.options.webhooks[vendor] = url
  end
  return 200, { ok = true }
end

calls["POST /sandbox/quota"] = function(state, fields)
  local options, limit = state.options.dreamapply, tonumber(fields.limit)
  if not limit then return 400, { error = "limit is missing" } end
  options.quota = limit > 0 and limit
  options.window = tonumber(fields.window) or options.window
  state.dreamapply.calls = {}
  return 200, { ok = true }
end

calls["POST /sandbox/fault"] = function(state, fields)
  local ok, why = faults.add(state, fields)
  return ok and 200 or 400, ok and { ok = true } or { error = why }
end

calls["DELETE /sandbox/fault"] = function(state)
  state.faults = {}
  return 200, { ok = true }
end

calls["POST /sandbox/reset"] = function(state, _, states, fresh)
  states[state.options.listen] = fresh(state.options)
  return 200, { ok = true }
end

--- Answers a call: status, body.
function M.handle(state, request, states, fresh)
  local call = calls[request.method .. " " .. request.path]
  if not call then return 404, { error = "not found" } end
  local fields = request.method == "GET" and {} or http.object(request.body)
  if not fields and request.body == "" then fields = {} end
  if not fields then return 400, { error = "the body is not a JSON object" } end
  return call(state, fields, states, fresh)
end

return M

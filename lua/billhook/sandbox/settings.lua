-- settings.lua - the sandbox's options: their defaults, and what is wrong with one.

local addresses = require "billhook.sandbox.addresses"
local vendors = require "billhook.sandbox.vendors"

local M = {}

--- The vendors' defaults, credentials among them.
---@param vendor string
---@return table
function M.defaults(vendor)
  local copy = {}
  for name, value in pairs(vendors[vendor].defaults) do copy[name] = value end
  return copy
end

--- What is wrong with a vendor's option; nil: nothing.
function M.wrong(vendor, name, value)
  local default = vendors[vendor].defaults[name]
  local off = name == "quota" and value == false
  if default == nil or type(value) ~= type(default) and not off then
    return "bad option '" .. tostring(name) .. "'"
  elseif name == "lag" and not (value >= 0 and value <= 3600) then
    return "option 'lag' must be 0 to 3600 seconds"
  end
  local why = vendors[vendor].check and vendors[vendor].check(name, value)
  return why and ("option '%s' %s"):format(name, why)
end

--- What is wrong with a vendor's webhook URL; nil: nothing.
function M.webhook(vendor, url)
  if not vendors.is(vendor) then return "no such vendor: " .. tostring(vendor) end
  if not addresses.parse(url) then
    return vendor .. " is not a plain http URL"
  end
end

--- What a world is given by whoever runs it: functions.
M.outside = { "clock", "post", "sleep", "wake" }

--- Options with the defaults filled in. Raises for what is wrong.
---@param given table
---@param level integer whose fault it is, as for error
---@return table
function M.check(given, level)
  local function refuse(text) error("sandbox: " .. text, level + 2) end
  local checked = { listen = given.listen, webhooks = {} }
  local known = { listen = true, webhooks = true }
  for vendor, url in pairs(given.webhooks or {}) do
    local why = M.webhook(vendor, url)
    if why then refuse("webhooks: " .. why) end
    checked.webhooks[vendor] = url
  end
  for _, vendor in ipairs(vendors.names) do
    known[vendor], checked[vendor] = true, M.defaults(vendor)
    for name, value in pairs(given[vendor] or {}) do
      local why = M.wrong(vendor, name, value)
      if why then refuse(vendor .. ": " .. why) end
      checked[vendor][name] = value
    end
  end
  for _, name in ipairs(M.outside) do
    known[name] = true
    if given[name] ~= nil and type(given[name]) ~= "function" then
      refuse(name .. " must be a function")
    end
    checked[name] = given[name]
  end
  for name in pairs(given) do
    if not known[name] then refuse("bad option '" .. tostring(name) .. "'") end
  end
  return checked
end

return M

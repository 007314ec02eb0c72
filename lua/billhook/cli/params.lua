-- cli/params.lua: parameters of a call as the shell gives them: name=value, in the vendor's names.

local cli = require "billhook.cli"
local core = require "billhook.core"

local M = {}

local convert = {
  id = function(text) return text:match "^%d+$" and tonumber(text) or text end,
  boolean = function(text)
    if text == "true" then return true end
    if text == "false" then return false end
    return text
  end,
}
convert.integer, convert.number = convert.id, convert.id

-- Texts from the shell become what the vendor's parameter is; what it is not, the client refuses.
local function value_of(param, text)
  local to = param and convert[param.type] or tostring
  if not (param and param.list) then return to(text) end
  local list = {}
  for word in text:gmatch "[^,]+" do list[#list + 1] = to(word) end
  return list
end

local function known_params(vendor, operation)
  local known = {}
  for _, one in ipairs(core.call.list(vendor)) do
    if one.name == operation then
      for _, param in ipairs(one.params) do known[param.name] = param end
    end
  end
  return known
end

---Adds pairs to parameters; one that is no name=value ends the command.
---@param vendor string
---@param operation string
---@param pairs_given string[]|nil
---@param params table those that are there already; a text `id` becomes what it is
---@return table params
function M.read(vendor, operation, pairs_given, params)
  local known = known_params(vendor, operation)
  for _, pair in ipairs(pairs_given or {}) do
    local name, text = pair:match "^([%w_]+)=(.*)$"
    if not name then cli.usage("not name=value: " .. pair) end
    params[name] = value_of(known[name], text)
  end
  if type(params.id) == "string" then params.id = value_of(known.id, params.id) end
  return params
end

---Ends the command where a call that lists cannot be made of them: what to add is a name=value.
---@param vendor string
---@param operation string
---@param params table
function M.complete(vendor, operation, params)
  for name, param in pairs(known_params(vendor, operation)) do
    if param.required and params[name] == nil then
      cli.usage(("%s: '%s' is missing: add %s=VALUE"):format(operation, name, name))
    end
  end
end

return M

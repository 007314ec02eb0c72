--- What an object keeps to itself: it is no field of it, so that no iteration, log or encoder finds
-- a credential there, and nothing is set by mistake.
--
-- It hangs on a metatable of the object's own, and not on a table with weak keys: LuaJIT keeps an
-- entry of such a table for ever once its value leads back to its key, as a client does whose
-- `on_request` knows the client. In the metatable it is inside a function, for there are inspectors
-- that follow metatables.

local M = {}

--- Makes `object` one of a class, with `value` for itself.
---@param object table
---@param class table a metatable, of which the object gets a copy
---@param value any
---@return table object
function M.give(object, class, value)
  local own = {}
  for name, member in pairs(class) do own[name] = member end
  own[class] = function() return value end
  return setmetatable(object, own)
end

--- What an object of a class keeps to itself; nil for whatever is no such object.
---@param object any
---@param class table
---@return any value
function M.of(object, class)
  local own = getmetatable(object)
  local value = type(own) == "table" and rawget(own, class)
  return value and value() or nil
end

return M

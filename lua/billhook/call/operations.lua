--- The operations of a vendor by name, read once from the C core's tables.

local core = require "billhook.core"

local M = {}

local known = {}

--- name -> { name, method, path, params, safe, idempotent, answer, ids, body, more }. `ids` are the
-- names of the parameters that must stand in the path, in order: a method's positional arguments.
-- `body` is the one that is the whole body, `more` are the others.
---@param vendor string
---@return table<string, table>
function M.of(vendor)
  local by_name = known[vendor]
  if not by_name then
    by_name = {}
    for _, operation in ipairs(core.call.list(vendor)) do
      operation.ids, operation.more = {}, {}
      for _, param in ipairs(operation.params) do
        if param.place == "path" and param.required then
          operation.ids[#operation.ids + 1] = param.name
        elseif param.place == "body" and param.required then
          operation.body = param.name
        else
          operation.has_more = true
          operation.more[param.name] = true
        end
      end
      by_name[operation.name] = operation
    end
    known[vendor] = by_name
  end
  return by_name
end

return M

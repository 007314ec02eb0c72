--- A long list, decoded by its elements, so that on nginx's event loop others have their turn in
-- between.

local core = require "billhook.core"

local M = {}

--- Texts up to so many bytes are decoded as a whole.
M.LONG = 256 * 1024

local PIECE = 64 * 1024

-- Adds the elements that the stream has, and gives the last one's id; nil where they are not in the
-- order of their ids or are no objects.
local function take(stream, list, last)
  while true do
    local value, why = stream:value()
    if value == nil then
      return not why and last or nil
    end
    local id = type(value) == "table" and tonumber(value.id)
    if not id or id <= last then
      return nil
    end
    list[#list + 1], last = value, id
  end
end

--- The elements of a list in order of their ids, or nil where it is to be decoded as a whole, which
-- tells what is wrong with it.
---@param body string
---@param under string? the member that holds the list
---@param turn fun() is called between two pieces
---@return table?
function M.decode(body, under, turn)
  local stream, list, last = core.json.stream(under, #body + 1), {}, -math.huge
  for at = 1, #body, PIECE do
    turn()
    last = stream:feed(body:sub(at, at + PIECE - 1)) and take(stream, list, last)
    if not last then
      return nil
    end
  end
  return stream:finish() and list or nil
end

return M

--- A long list, decoded by its elements, so that on nginx's event loop others have their turn in
-- between.

local core = require "billhook.core"

local M = {}

--- Texts up to so many bytes are decoded as a whole.
M.LONG = 256 * 1024

local PIECE = 64 * 1024

-- Adds the elements that the stream has, and gives the last one's id; nil where they are not in the
-- order of their ids or are not good.
local function take(stream, list, last, is_good)
  while true do
    local value, why, name = stream:value()
    if value == nil then
      return not why and last or nil
    end
    local id = is_good(value, name) and tonumber(value.id)
    if not id or id <= last then
      return nil
    end
    list[#list + 1], last = value, id
  end
end

--- The elements of a list in order of their ids, or nil where it is to be decoded as a whole, which
-- tells what is wrong with it.
---@param body string
---@param turn fun() is called between two pieces
---@param is_good fun(element: any, name: string?): boolean
---@return table?
function M.decode(body, turn, is_good)
  local stream, list, last = core.json.stream(nil, #body + 1), {}, -math.huge
  for at = 1, #body, PIECE do
    turn()
    last = stream:feed(body:sub(at, at + PIECE - 1)) and take(stream, list, last, is_good)
    if not last then
      return nil
    end
  end
  return stream:finish() and list or nil
end

return M

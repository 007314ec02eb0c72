--- A list, decoded by its elements, as a walk does: so that on nginx's event loop others have their
-- turn in between, and so that nothing in it is left out unseen.

local core = require "billhook.core"

local M = {}

-- Texts up to so many bytes are decoded without a turn of others.
local LONG = 256 * 1024

local PIECE = 64 * 1024

-- A name that is longer is cut by the stream.
local LONGEST_NAME = 31

-- Adds the elements that the stream has; what is wrong with one, or nil.
local function take(stream, list, names, check)
  while true do
    local value, why, name = stream:value()
    if value == nil or why then
      return why
    end
    if name and #name <= LONGEST_NAME then
      if names[name] then
        return ("a member comes twice: '%s'"):format(name)
      end
      names[name] = true
    end
    why = check(value, name)
    if why then
      return why
    end
    list[#list + 1] = value
  end
end

--- The elements of a list or an object in their order, or nil and what is wrong.
---@param body string
---@param turn fun()? is called between two pieces of a long one
---@param check fun(element: any, name: string?): string? why an element is none
---@return table? list
---@return string? why
function M.decode(body, turn, check)
  local stream, list, names = core.json.stream(nil, #body + 1), {}, {}
  for at = 1, #body, PIECE do
    if turn and #body > LONG then
      turn()
    end
    local fed, why = stream:feed(body:sub(at, at + PIECE - 1))
    why = not fed and why or take(stream, list, names, check)
    if why then
      return nil, why
    end
  end
  local whole, why = stream:finish()
  return whole and list or nil, why
end

return M

-- cli/csv.lua: comma-separated values as RFC 4180 has them, and none that a spreadsheet would take
-- for a formula.

local printable = require "billhook.printable"

local M = {}

-- What spreadsheets begin a formula with, the wide forms of these, and what they skip before them.
local FORMULA = { "^[=+@\t\r\n-]", "^%s+[=+@-]", "^\239\188[\157\139\141\160]" }

local function is_number(text) return text:find "^-?%d+%.?%d*$" ~= nil end

-- A cell that would be a formula gets an apostrophe, which spreadsheets take for "this is text".
local function cell(value)
  if value == nil then return "" end
  local text = printable.cell(tostring(value))
  if not is_number(text) then
    for _, pattern in ipairs(FORMULA) do
      if text:find(pattern) then
        text = "'" .. text
        break
      end
    end
  end
  -- the semicolon and the tab separate cells too, where a spreadsheet is set so
  if text:find '[",;\t\r\n]' or text:find "^ " or text:find " $" then
    text = '"' .. text:gsub('"', '""') .. '"'
  end
  return text
end

---A line of `count` cells; nil is an empty one.
---@param values table
---@param count integer
---@return string line with its end
function M.line(values, count)
  local cells = {}
  for i = 1, count do cells[i] = cell(values[i]) end
  return table.concat(cells, ",") .. "\r\n"
end

return M

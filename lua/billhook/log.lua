-- log.lua: one line an event, key=value, to stderr.
--
-- An app's `log` option is fun(level, name, fields): level "info", "warn" or
-- "error", name of what happened, fields flat. No field ever holds a secret or
-- a body.

local M = {}

local function quote(value)
  local text = tostring(value):gsub("[%c]+", " ")
  if text:find("^[%w_.:/@+-]+$") then return text end
  return '"' .. text:gsub('[\\"]', "\\%0") .. '"'
end

---The line for an entry.
---@param level string
---@param name string
---@param fields table|nil
---@return string
function M.line(level, name, fields)
  local names, parts = {}, { "billhook", "level=" .. level, "event=" .. quote(name) }
  for field in pairs(fields or {}) do names[#names + 1] = field end
  table.sort(names)
  for _, field in ipairs(names) do parts[#parts + 1] = field .. "=" .. quote(fields[field]) end
  return table.concat(parts, " ")
end

function M.default(level, name, fields)
  io.stderr:write(M.line(level, name, fields) .. "\n")
end

return M

-- log.lua: one line an event, key=value, to stderr.
--
-- An app's `log` option is fun(level, name, fields): level "info", "warn" or
-- "error", name of what happened, fields flat. No field ever holds a secret or
-- a body.

local M = {}

M.LIMIT = 4000 -- bytes of a text that somebody else has written

-- the well-formed characters of UTF-8 beyond ASCII
local WELL = {
  "^[\194-\223][\128-\191]", "^\224[\160-\191][\128-\191]",
  "^[\225-\236\238\239][\128-\191][\128-\191]", "^\237[\128-\159][\128-\191]",
  "^\240[\144-\191][\128-\191][\128-\191]",
  "^[\241-\243][\128-\191][\128-\191][\128-\191]",
  "^\244[\128-\143][\128-\191][\128-\191]",
}

local function well_formed(run)
  local out, at = {}, 1
  while at <= #run do
    local character
    for _, pattern in ipairs(WELL) do character = character or run:match(pattern, at) end
    out[#out + 1] = character or "?"
    at = at + #out[#out]
  end
  return table.concat(out)
end

---What somebody else has raised or written, as a text that can be shown and kept: of bounded
---length, in UTF-8. Never raises.
---@param value any
---@param limit? integer bytes (4000)
---@return string
function M.text(value, limit)
  limit = limit or M.LIMIT
  local ok, text = pcall(tostring, value)
  if not ok then text = ("a %s that cannot be shown"):format(type(value)) end
  local short = #text > limit and text:sub(1, limit) or text
  if #text > limit then -- a character that was cut in two goes
    short = short:gsub("[\192-\255][\128-\191]*$", function(last)
      return well_formed(last) == last and last or ""
    end)
  end
  return (short:gsub("[\128-\255]+", well_formed))
end

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

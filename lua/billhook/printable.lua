-- printable.lua: makes text that strangers have written safe to show: on a terminal, in a log, in a
-- page, in a spreadsheet. Everything that shows such text gets it from here.
--
-- Control characters, of which a terminal makes commands, and characters that turn the direction of
-- writing are shown as their bytes (\x1b); bytes that are not UTF-8 as "?".

local M = {}

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

-- Beyond ASCII: C1 controls (U+0080 to U+009F), the Arabic letter mark, marks of direction, line
-- and paragraph separators, embeddings and overrides, isolates.
local UNSEEN = { "\194[\128-\159]", "\216\156", "\226\128[\142\143\168-\174]",
  "\226\129[\166-\169]" }

local function bytes_of(text)
  return (text:gsub(".", function(c) return ("\\x%02x"):format(c:byte()) end))
end

local function shown(text, controls, show)
  if not text:find "[%c\127-\255]" then return text end
  text = text:gsub("[\128-\255]+", well_formed):gsub(controls, show)
  for _, pattern in ipairs(UNSEEN) do text = text:gsub(pattern, show) end
  return text
end

---The text in UTF-8: each byte that is not becomes "?".
---@param text string
---@return string
function M.utf8(text) return (text:gsub("[\128-\255]+", well_formed)) end

---The text on one line.
---@param text string
---@return string
function M.line(text) return shown(text, "[%c\127]", bytes_of) end

---The same with its ends of lines and tabs.
---@param text string
---@return string
function M.text(text) return shown(text, "[%z\1-\8\11-\31\127]", bytes_of) end

---The same for a cell of a spreadsheet, where carriage returns are ends of lines, too.
---@param text string
---@return string
function M.cell(text) return shown(text, "[%z\1-\8\11\12\14-\31\127]", bytes_of) end

-- U+ of two or three bytes, as JSON spells it.
local function escaped(char)
  local a, b, c = char:byte(1, 3)
  local code = not b and a or not c and (a - 0xC0) * 64 + b - 0x80
    or (a - 0xE0) * 4096 + (b - 0x80) * 64 + c - 0x80
  return ("\\u%04x"):format(code)
end

---A JSON text that says the same.
---@param text string
---@return string
function M.json(text) return shown(text, "[%z\1-\8\11-\31\127]", escaped) end

return M

-- log.lua: one line an event, key=value, to stderr.
--
-- Nobody waits for who reads it: a line that stderr does not take at once is dropped, and the next
-- one that gets through says how many were (dropped=3).
--
-- An app's `log` option is fun(level, name, fields): level "info", "warn" or
-- "error", name of what happened, fields flat. No field ever holds a secret or
-- a body.

local core = require "billhook.core"
local err = require "billhook.error"
local printable = require "billhook.printable"

local M = {}

M.LIMIT = 4000 -- bytes of a text that somebody else has written

-- Of a table that is raised or returned as an error: so deep, so many fields, such long texts.
local DEEP, WIDE, LONG = 3, 20, 1000
local SEEN = 1000 -- fields that are looked at, to show the first of them

local shown

-- Message and reason first, then by name.
local function before(a, b)
  local first = { message = 1, reason = 2 }
  local x, y = first[a.name] or 3, first[b.name] or 3
  if x ~= y then return x < y end
  return a.name < b.name
end

local function fields_of(value, depth)
  local all, parts, count = {}, {}, 0
  for key, field in next, value do
    count = count + 1
    if count > SEEN then break end
    local plain = type(key) == "number"
    local name = plain and ("%20.9f"):format(key) or (shown(key, DEEP):gsub('^"(.*)"$', "%1"))
    all[count] = { name = name, field = field, plain = plain }
  end
  table.sort(all, before)
  for i = 1, math.min(#all, WIDE) do
    local text = shown(all[i].field, depth + 1)
    parts[i] = all[i].plain and text or all[i].name .. " = " .. text
  end
  if #all > WIDE then parts[WIDE + 1] = "..." end
  return "{" .. table.concat(parts, ", ") .. "}"
end

-- Those whose tostring is an address, unless they have one of their own.
local ADDRESS = { table = true, ["function"] = true, userdata = true, thread = true }

-- The value's own text; nil where it has none.
local function own_text(value)
  local kind, meta = type(value), debug.getmetatable(value)
  local has_own = type(meta) == "table" and rawget(meta, "__tostring")
  if ADDRESS[kind] and not has_own then return nil end
  local ok, text = pcall(tostring, value)
  return ok and text or ("a %s that cannot be shown"):format(kind)
end

-- A value within a table, or a table. An address tells nobody anything: so what has no text of its
-- own is shown by its fields, or as what it is.
function shown(value, depth)
  local kind, text = type(value), own_text(value)
  if kind == "string" then return '"' .. text:sub(1, LONG):gsub("[%c]+", " ") .. '"' end
  if text then return text:sub(1, LONG) end
  if kind ~= "table" then return "a " .. kind end
  return depth < DEEP and fields_of(value, depth) or "{...}"
end

---What somebody else has raised or written, as a text that can be shown and kept: of bounded
---length, in UTF-8, of a table its fields but for credentials. Never raises.
---@param value any
---@param limit? integer bytes (4000)
---@return string
function M.text(value, limit)
  limit = limit or M.LIMIT
  local text = own_text(value) or err.blot(shown(value, 0))
  local short = #text > limit and text:sub(1, limit) or text
  if #text > limit then -- a character that was cut in two goes
    short = short:gsub("[\192-\255][\128-\191]*$", function(last)
      return printable.utf8(last) == last and last or ""
    end)
  end
  return printable.utf8(short)
end

local function quote(value)
  local text = printable.line((tostring(value):gsub("[%c]+", " ")))
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

-- The time in so many seconds, to the millisecond.
local function stamp(seconds)
  local ms = math.floor((core.text.now() + seconds) * 1000)
  return ("%s.%03dZ"):format(core.text.iso(math.floor(ms / 1000)):sub(1, 19), ms % 1000)
end

-- With its beginning only, where all of it is too long.
local function cut(text, limit)
  return #text <= limit and text or M.text(text, limit - 3) .. "..."
end

local WHOLE = 4096 -- bytes that a pipe takes as a whole
local dropped = 0 -- lines, since the last one that got through

---A line as it would be written in so many seconds.
function M.dated(level, name, fields, seconds)
  return ("ts=%s %s"):format(stamp(seconds), M.line(level, name, fields))
end

---An app's log where it names none.
function M.default(level, name, fields)
  local tail = (dropped > 0 and " dropped=" .. dropped or "") .. "\n"
  local line = M.dated(level, name, fields, 0)
  dropped = core.text.say(cut(line, WHOLE - #tail) .. tail) and 0 or dropped + 1
end

return M

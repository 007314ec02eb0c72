--- JSON encoding and decoding.
--
--     json.encode { currency = "EUR", items = json.array {} }   --> '{"currency":"EUR","items":[]}'
--     json.decode '{"id":16,"paid":null}'                       --> { id = 16 }
--
-- decode is the core's function and strict. Members that are null are absent,
-- elements that are null are json.null, and numbers that do not fit a Lua
-- number are strings. A decoded value that is encoded again keeps everything
-- that was not changed: empty lists, the digits of numbers, and nulls. encode
-- writes tables itself, with members in order of their names, so that equal
-- values give equal texts. cjson writes the strings; it does not write the
-- numbers, because it keeps only 14 digits.

local cjson = require("cjson").new()
local core = require "billhook.core"
local options = require "billhook.options"

local MAXDEPTH = 64

-- LuaJIT's `<` compares bytes. PUC Lua's `<` depends on the locale, which a host program may have
-- set; then equal values would not give equal texts.
local before = not rawget(_G, "jit") and core.text.before or nil

---@class billhook.json
---@field null userdata stands for null in a list; prints "null"
local M = {}

M.null = core.json.null

--- Decodes a text. Returns nil and a message if it is not valid JSON.
---@param text string
---@return any value
---@return string? message
function M.decode(text) return core.json.decode(text, "keep") end

local array_mt = core.json.array
array_mt.__name = "billhook.json.array"

-- A number that is written exactly as its text, at index 1, because a Lua number would change it.
local number_mt = core.call.number
number_mt.__name = "billhook.json.number"
function number_mt.__tostring(number) return number[1] end

--- Marks a table as a list, so that it is encoded as [] even if it is empty.
---@param list table
---@return table list the same table
function M.array(list)
  if type(list) ~= "table" then
    error(options.wrong("json.array", "list", "must be a table", list), 2)
  end
  local mt = getmetatable(list)
  if mt ~= nil and not mt.list then error("json.array: 'list' has a metatable", 2) end
  return mt and list or setmetatable(list, array_mt)
end

--- Makes a value that is encoded as a JSON number with all digits of the decimal.
---@param value billhook.decimal|string|number
---@return table
function M.number(value)
  local decimal, why = core.decimal.read(value)
  if not decimal then error("json.number: " .. why, 2) end
  return setmetatable({ tostring(decimal) }, number_mt)
end

local encode -- (value, depth) -> text, or nil and why not

local function encode_string(s)
  local text = cjson.encode(s):gsub("\\/", "/") -- as JSON.stringify has it
  if s:find("[\128-\255]") and core.json.decode(text) == nil then return nil, "invalid UTF-8" end
  return text
end

local function encode_number(n)
  if n ~= n or n == math.huge or n == -math.huge then return nil, "not a finite number" end
  if n % 1 == 0 and (math.type and math.type(n) == "integer" or n > -2 ^ 53 and n < 2 ^ 53) then
    return ("%d"):format(n)
  end
  local text
  for digits = 15, 17 do -- as few as tell it from its neighbours
    text = ("%%.%dg"):format(digits):format(n)
    if tonumber(text) == n then break end
  end
  return (text:gsub(",", ".")) -- some locales write a comma
end

-- The original spelling of a number from decoded JSON, if its value has not changed.
local function written(kept, name, value)
  local text = kept and kept[name]
  if type(text) ~= "string" then return nil end
  return (value == text or type(value) == "number" and tonumber(text) == value) and text or nil
end

local function kept_of(t)
  local mt = getmetatable(t)
  return type(mt) == "table" and rawget(mt, "kept") or nil
end

local function encode_list(list, depth)
  local out, kept = {}, kept_of(list)
  for i = 1, #list do
    local text, why, where = written(kept, i, list[i]), nil, nil
    if not text then text, why, where = encode(list[i], depth) end
    if not text then return nil, why, i .. (where and "." .. where or "") end
    out[i] = text
  end
  return "[" .. table.concat(out, ",") .. "]"
end

local function encode_map(map, depth)
  local names, out, kept = {}, {}, kept_of(map)
  for name in pairs(map) do
    if type(name) ~= "string" then return nil, "keys must be all names or 1 to n" end
    names[#names + 1] = name
  end
  for name, was in pairs(kept or {}) do
    if was == M.null and map[name] == nil then names[#names + 1] = name end
  end
  table.sort(names, before)
  for i, name in ipairs(names) do
    local key, bad = encode_string(name)
    if not key then return nil, bad .. " in a name" end
    local value = map[name]
    if value == nil then value = M.null end
    local text, why, where = written(kept, name, value), nil, nil
    if not text then text, why, where = encode(value, depth) end
    if not text then return nil, why, name .. (where and "." .. where or "") end
    out[i] = key .. ":" .. text
  end
  return "{" .. table.concat(out, ",") .. "}"
end

local function is_list(t)
  local mt, n = getmetatable(t), 0
  for _ in pairs(t) do n = n + 1 end
  return n == #t and (n > 0 or type(mt) == "table" and rawget(mt, "list") == true)
end

local function encode_exact(number)
  local text = number[1]
  if type(text) ~= "string" or not (text:find "^%-?%d+$" or text:find "^%-?%d+%.%d+$") then
    return nil, "no number"
  end
  return text
end

local function encode_table(t, depth)
  if getmetatable(t) == number_mt then return encode_exact(t) end
  if depth >= MAXDEPTH then return nil, "nested deeper than 64" end
  return (is_list(t) and encode_list or encode_map)(t, depth + 1)
end

function encode(value, depth)
  local kind = type(value)
  if kind == "table" then return encode_table(value, depth) end
  if kind == "string" then return encode_string(value) end
  if kind == "number" then return encode_number(value) end
  if kind == "boolean" then return tostring(value) end
  if rawequal(value, M.null) then return "null" end
  if core.decimal and core.decimal.is(value) then return encode_string(tostring(value)) end
  return nil, "a " .. kind .. " is not JSON"
end

--- Encodes a value. Tables with the keys 1 to n are lists; others (and empty
--- ones that json.array did not mark) are objects; decimals become strings.
--- Raises if the value cannot be JSON.
---@param value any
---@return string
function M.encode(value)
  local text, why, where = encode(value, 0)
  if not text then
    error("json.encode: " .. why .. (where and " (value at " .. where .. ")" or ""), 2)
  end
  return text
end

return M

-- values.lua - what the sandbox's vendors share: ids, times, bodies read and written.

local core = require "billhook.core"
local json = require "billhook.json"

local M = {}

--- ISO 8601 of epoch seconds, without a fraction.
function M.iso(seconds) return core.text.iso(math.floor(seconds)) end

--- The day of epoch seconds: YYYY-MM-DD.
-- What a vendor has no event for, and what it has.
function M.no_event(vendor, given, triggers)
  local names = {}
  for name in pairs(triggers) do names[#names + 1] = name end
  table.sort(names)
  return ("%s has no event %s%s; it has %s"):format(vendor, given, given == "invoice.paid"
    and triggers["payment.created"] and "; pay one by payment.created, with invoice=ID" or "",
    table.concat(names, ", "))
end

function M.day(seconds) return M.iso(seconds):sub(1, 10) end

--- The milliseconds of epoch seconds, three digits.
function M.millis(seconds) return ("%03d"):format(math.floor(seconds % 1 * 1000)) end

--- n random bytes, as hexadecimal digits.
function M.hex(n) return core.text.hex(core.text.random(n)) end

--- A random UUID.
function M.uuid()
  local hex = M.hex(16)
  return ("%s-%s-4%s-8%s-%s"):format(hex:sub(1, 8), hex:sub(9, 12), hex:sub(14, 16),
    hex:sub(18, 20), hex:sub(21, 32))
end

--- A number from text or number; nil where it is none.
function M.number(value)
  if type(value) == "number" then return math.abs(value) < 1e15 and value or nil end
  return type(value) == "string" and value:find("^%-?%d+%.?%d*$") and tonumber(value) or nil
end

--- A copy, deep enough to be changed.
function M.copy(value)
  if type(value) ~= "table" or value == json.null then return value end
  local out = setmetatable({}, getmetatable(value))
  for name, member in pairs(value) do out[name] = M.copy(member) end
  return out
end

-- --- bodies

local function unescaped(text)
  return (text:gsub("+", " "):gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

--- The parameters of a query: a map of texts; of a name given twice the last counts.
function M.query(text)
  local query = {}
  for pair in (text or ""):gmatch("[^&]+") do
    local name, value = pair:match("^([^=]*)=?(.*)$")
    query[unescaped(name)] = unescaped(value)
  end
  return query
end

--- A query of a map, in order of its names.
function M.encode_query(query)
  local parts = {}
  for name, value in pairs(query) do
    parts[#parts + 1] = core.text.percent(name) .. "=" .. core.text.percent(tostring(value))
  end
  table.sort(parts)
  return table.concat(parts, "&")
end

-- "0", "1", ... become a list, as in PHP
local function listed(map)
  if type(map) ~= "table" then return map end
  local out, n = {}, 0
  for name, value in pairs(map) do
    out[name], n = listed(value), n + 1
  end
  local list = {}
  for i = 0, n - 1 do
    if out[tostring(i)] == nil then return out end
    list[i + 1] = out[tostring(i)]
  end
  return n > 0 and list or out
end

--- A form as PHP reads one: a[b][c]=d is a table in a table.
function M.form(text)
  local fields = {}
  for name, value in pairs(M.query(text)) do
    local at, last = fields, name:match("^[^%[]*")
    for key in name:gmatch("%[([^%]]*)%]") do
      if type(at[last]) ~= "table" then at[last] = {} end
      at, last = at[last], key
    end
    at[last] = value
  end
  return listed(fields)
end

--- The JSON object in a body, or nil.
function M.object(text)
  local value = text ~= "" and json.decode(text)
  if type(value) == "table" and value ~= json.null then return value end
end

--- An object that is JSON or, where the request says so, a form; or nil.
function M.fields(request)
  local kind = request.headers["content-type"] or ""
  if kind:find("^application/x%-www%-form%-urlencoded") then return M.form(request.body) end
  return M.object(request.body)
end

return M

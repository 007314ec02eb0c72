--- Makes the same text from equal states of an invoice, however they are spelled.
--
-- For an amount, "20.00", "20" and 2e1 are equal. An instant is equal in every time zone. [], {},
-- null and an absent member are equal. The vendor's table (`documented`) gives each member a kind:
--
--   "value"    as it is, whatever is in it
--   "decimal"  an amount, as text or as a number
--   "instant"  a date with a time of day and a zone; anything else is a value
--   "id"       a whole number, or its text
--   { "record", { name = kind, ... }, open = true? }   open: members without a kind count, too
--   { "list", members }   elements in their order
--   { "map", members }    elements by their id, or by the name that they stand under
--
-- Every part carries its kind and its length, so that no two different states share a text.
--
-- Pure.

local core = require "billhook.core"

local M = {}

--- The node of a member that may be anything.
M.VALUE = { kind = "value" }

-- --- plans: what counts, for a vendor and a list of watched names ------------------------------

local function sorted_names(object)
  local names = {}
  for name in pairs(object) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function joined(path, name) return path == "" and name or path .. "." .. name end

-- What `names` says of dotted names: `silent`; `watched`; and `below`, by the name of a record what
-- is watched in it, at whatever depth: of "serie.name", "serie" in "" and "name" in "serie".
local function names_of(vendor, watch)
  local names = { silent = {}, watched = {}, below = {} }
  for _, name in ipairs(vendor.silent or {}) do names.silent[name] = true end
  for _, watched in ipairs(watch or {}) do
    names.watched[watched] = true
    local path = ""
    for name in watched:gmatch "[^.]+" do
      names.below[path] = names.below[path] or {}
      names.below[path][name] = true
      path = joined(path, name)
    end
  end
  return names
end

-- whole: it, or what it stands in, is watched
local function build(spec, path, names, whole)
  if type(spec) == "string" then return { kind = spec } end
  local record = { kind = "record", open = spec.open or whole, members = {}, silent = {} }
  for name in pairs(names.silent) do
    local parent, last = name:match "^(.-)%.?([^.]+)$"
    record.silent[last] = parent == path and not whole and not names.watched[name] or nil
  end
  local function add(name, inner)
    local at = joined(path, name)
    local here = whole or names.watched[at]
    if here or names.below[at] or not names.silent[at] then
      record.members[name] = build(inner, at, names, here)
    end
  end
  for name, inner in pairs(spec[2]) do add(name, inner) end
  for name in pairs(names.below[path] or {}) do -- a watched name that no document has
    if not spec[2][name] then
      add(name, names.watched[joined(path, name)] and "value" or { "record", {} })
    end
  end
  record.names = sorted_names(record.members)
  return spec[1] == "record" and record or { kind = spec[1], of = record }
end

-- vendor -> watched names -> plan: as many as there are accounts' options
local plans_of = {}

--- What counts for a vendor's invoices: a tree of nodes as `text` takes them.
---@param vendor table the vendor's module
---@param watch string[]? names that count besides the documented ones
---@return table node
function M.plan(vendor, watch)
  local key = table.concat(watch or {}, "\n")
  plans_of[vendor] = plans_of[vendor] or {}
  local plan = plans_of[vendor][key]
  if not plan then
    plan = build(vendor.documented, "", names_of(vendor, watch), false)
    plans_of[vendor][key] = plan
  end
  return plan
end

-- --- one text for one state --------------------------------------------------------------------

-- "-020.50e1" -> "-205e0": the digits without zeros around them, and their power of ten
local function plain_decimal(text)
  local sign, whole, point, part, e, power =
    text:match "^([+-]?)(%d*)(%.?)(%d*)([eE]?)([+-]?%d*)$"
  if not sign or whole .. part == "" or (point ~= "" and part == "")
    or (e == "") ~= (power == "") or e ~= "" and not power:find "^[+-]?%d%d?%d?%d?%d?%d?$" then
    return nil
  end
  local digits = (whole .. part):gsub("^0+", "")
  if digits == "" then return "0" end
  local kept = digits:match "^(.-)0*$"
  power = (tonumber(power:match "%d+") or 0) * (power:sub(1, 1) == "-" and -1 or 1)
  return ("%s%se%d"):format(sign == "-" and "-" or "", kept, power - #part + #digits - #kept)
end

local function number_text(number)
  if math.type and math.type(number) == "integer" then
    return plain_decimal(("%d"):format(number))
  end
  local text = ("%.15g"):format(number) -- as few digits as tell it from its neighbours
  if tonumber(text) ~= number then text = ("%.17g"):format(number) end
  return plain_decimal((text:gsub(",", "."))) or text -- some locales write a comma
end

-- JSON gives a list keys from 1 up, an object names
local function is_list(value) return value[1] ~= nil end

local function list_text(list, element_text)
  local parts = {}
  for i, element in ipairs(list) do parts[i] = element_text(element) or "_" end
  return "[" .. table.concat(parts) .. "]"
end

-- nil where nothing is in it
local function object_text(names, member_text)
  local parts = {}
  for _, name in ipairs(names) do
    local text = member_text(name)
    if text then parts[#parts + 1] = #name .. ":" .. name .. text end
  end
  return #parts > 0 and "{" .. table.concat(parts) .. "}" or nil
end

-- any value, as it is; nil where there is nothing in it: JSON's null is no text either
local function value_text(value)
  local kind = type(value)
  if kind == "string" then return "s" .. #value .. ":" .. value end
  if kind == "number" then return "n" .. number_text(value) .. ";" end
  if kind == "boolean" then return value and "t" or "f" end
  if kind ~= "table" then return nil end
  if is_list(value) then return list_text(value, value_text) end
  return object_text(sorted_names(value), function(name) return value_text(value[name]) end)
end

--- The text of an id; nil where it is none.
---@param value any
---@return string?
function M.id(value)
  if type(value) == "number" then
    return value % 1 == 0 and value > -2 ^ 63 and value < 2 ^ 63 and ("%d"):format(value) or nil
  end
  return type(value) == "string" and value or nil
end

--- The elements of a list or an object by their ids. An element of a list without one, or with one
--- that came before, stands under its place ("#2").
---@param value table
---@return table<string, any>
function M.by_id(value)
  if not is_list(value) then return value end
  local found = {}
  for i, element in ipairs(value) do
    local id = type(element) == "table" and M.id(element.id)
    found[id and found[id] == nil and id or "#" .. i] = element
  end
  return found
end

-- by kind; nil where the value is none of that kind, and is taken as it is
local scalars = {}

function scalars.decimal(value)
  local text = type(value) == "number" and number_text(value)
    or type(value) == "string" and plain_decimal(value)
  return text and "d" .. text .. ";"
end

-- The seconds by the calendar, and what comes after the point as it stands: a double would not keep
-- nanoseconds apart.
function scalars.instant(value)
  local front, part, zone
  if type(value) == "string" then
    front, part, zone = value:match "^([%d-]+T[%d:]+)(%.?%d*)(.*)$"
  end
  local epoch = front and part ~= "." and core.text.datetime(front .. zone)
  return epoch and ("@%d%s;"):format(epoch, (part:gsub("%.?0*$", "")))
end

function scalars.id(value)
  local text = M.id(value)
  return text and "i" .. #text .. ":" .. text
end

--- The text of a value, the same for every spelling of it; nil where there is nothing in it.
---@param node table of a plan
---@param value any
---@return string?
function M.text(node, value)
  local kind, read = node.kind, scalars[node.kind]
  if read or type(value) ~= "table" then return read and read(value) or value_text(value) end
  if kind == "list" and is_list(value) then
    return list_text(value, function(element) return M.text(node.of, element) end)
  elseif kind == "map" then
    local found = M.by_id(value)
    return object_text(sorted_names(found), function(id)
      return M.text(node.of, found[id]) or "_"
    end)
  elseif kind == "record" and not is_list(value) then
    return object_text(node.open and sorted_names(value) or node.names, function(name)
      local inner = node.members[name]
      if inner then return M.text(inner, value[name]) end
      return not node.silent[name] and value_text(value[name]) or nil
    end)
  end
  return value_text(value)
end

return M

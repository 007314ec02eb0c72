--- One text for one state of an invoice: what counts of it, however it is spelt.
--
-- "20.00" is "20" is 2e1 where an amount stands, a moment is the same in every time zone, and
-- nothing is [] is {} is null is absent. The vendor's table (`documented`) gives each member a
-- kind:
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

local function set_of(names)
  local set = {}
  for _, name in ipairs(names or {}) do
    set[name] = true
  end
  return set
end

-- every name that a watched name lies below: "serie" for "serie.name"
local function parents_of(names)
  local set = {}
  for _, name in ipairs(names or {}) do
    for stop in name:gmatch("()%.") do
      set[name:sub(1, stop - 1)] = true
    end
  end
  return set
end

local function build(spec, path, names, whole)
  if type(spec) == "string" then
    return { kind = spec }
  end
  local record = { kind = "record", open = spec.open or whole, members = {}, silent = {} }
  for name in pairs(names.silent) do
    local parent, last = name:match("^(.-)%.?([^.]+)$")
    if parent == path and not whole and not names.watched[name] then
      record.silent[last] = true -- kept out of an open record
    end
  end
  for name, inner in pairs(spec[2]) do
    local at = path == "" and name or path .. "." .. name
    local here = whole or names.watched[at]
    if here or names.parents[at] or not names.silent[at] then
      record.members[name] = build(inner, at, names, here)
    end
  end
  if spec[1] == "record" then
    return record
  end
  return { kind = spec[1], of = record }
end

-- a watched name that no document has: a value at its place
local function add(node, path)
  for name, rest in path:gmatch("([^.]+)(%.?)") do
    node = node.of or node
    if node.kind ~= "record" then
      return -- all of it counts already
    end
    local inner = node.members[name]
    if not inner then
      inner = rest == "" and { kind = "value" } or { kind = "record", members = {}, silent = {} }
      node.members[name] = inner
    end
    node = inner
  end
end

local function sort_names(node)
  if node.of then
    return sort_names(node.of)
  elseif node.members then
    node.names = {}
    for name, inner in pairs(node.members) do
      node.names[#node.names + 1] = name
      sort_names(inner)
    end
    table.sort(node.names)
  end
end

-- vendor -> watched names -> plan: as many as there are accounts' options
local plans_of = {}

--- What counts for a vendor's invoices: a tree of nodes as `text` takes them.
---@param vendor table the vendor's module
---@param watch string[]? names that count besides the documented ones
---@return table node
function M.plan(vendor, watch)
  local plans, names = plans_of[vendor] or {}, table.concat(watch or {}, "\n")
  plans_of[vendor] = plans
  local plan = plans[names]
  if not plan then
    plan = build(vendor.documented, "", { silent = set_of(vendor.silent), watched = set_of(watch),
      parents = parents_of(watch) }, false)
    for _, path in ipairs(watch or {}) do
      add(plan, path)
    end
    sort_names(plan)
    plans[names] = plan
  end
  return plan
end

-- --- one text for one state --------------------------------------------------------------------

-- "-020.50e1" -> "-205e0": the digits without zeros around them, and their power of ten
local function plain_decimal(text)
  local sign, whole, point, part, e, power =
    text:match("^([+-]?)(%d*)(%.?)(%d*)([eE]?)([+-]?%d*)$")
  if not sign or whole .. part == "" or (point ~= "" and part == "")
    or (e == "") ~= (power == "") or e ~= "" and not power:find("^[+-]?%d%d?%d?%d?%d?%d?$") then
    return nil
  end
  local digits = (whole .. part):gsub("^0+", "")
  if digits == "" then
    return "0"
  end
  local kept = digits:match("^(.-)0*$")
  power = (tonumber(power:match("%d+")) or 0) * (power:sub(1, 1) == "-" and -1 or 1)
  return ("%s%se%d"):format(sign == "-" and "-" or "", kept, power - #part + #digits - #kept)
end

local function number_text(number)
  if math.type and math.type(number) == "integer" then
    return plain_decimal(("%d"):format(number))
  end
  local text
  for _, precision in ipairs { "%.15g", "%.17g" } do -- as few digits as tell it from its neighbours
    text = precision:format(number)
    if tonumber(text) == number then
      break
    end
  end
  return plain_decimal((text:gsub(",", "."))) or text -- some locales write a comma
end

-- JSON gives a list keys from 1 up, an object names
local function is_list(value)
  return value[1] ~= nil
end

local value_text

local function member_text(name, text)
  return #name .. ":" .. name .. text
end

local function values_text(list)
  local parts = {}
  for i, element in ipairs(list) do
    parts[i] = value_text(element) or "_"
  end
  return "[" .. table.concat(parts) .. "]"
end

local function sorted_names(object)
  local names = {}
  for name in pairs(object) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function braced(parts)
  return #parts > 0 and "{" .. table.concat(parts) .. "}" or nil
end

local function object_text(object)
  local parts = {}
  for _, name in ipairs(sorted_names(object)) do
    local text = value_text(object[name])
    parts[#parts + 1] = text and member_text(name, text)
  end
  return braced(parts)
end

-- any value, as it is; nil where there is nothing in it
function value_text(value)
  local kind = type(value)
  if kind == "string" then
    return "s" .. #value .. ":" .. value
  elseif kind == "number" then
    return "n" .. number_text(value) .. ";"
  elseif kind == "boolean" then
    return value and "t" or "f"
  elseif kind == "table" then
    return (is_list(value) and values_text or object_text)(value)
  end
  return nil -- JSON's null
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

-- The seconds by the calendar, and what comes after the point as it stands: a double would not keep
-- nanoseconds apart.
local function instant_text(value)
  local front, part, zone = value:match("^([%d-]+T[%d:]+)(%.?%d*)(.*)$")
  local epoch = front and part ~= "." and core.text.datetime(front .. zone)
  return epoch and ("@%d%s;"):format(epoch, (part:gsub("%.?0*$", ""))) or nil
end

local text_of -- (node, value) -> text, or nil where there is nothing in it

local readers = {}

function readers.value(_, value)
  return value_text(value)
end

function readers.decimal(_, value)
  local text
  if type(value) == "number" then
    text = number_text(value)
  elseif type(value) == "string" then
    text = plain_decimal(value)
  end
  return text and "d" .. text .. ";" or value_text(value)
end

function readers.instant(_, value)
  return type(value) == "string" and instant_text(value) or value_text(value)
end

function readers.id(_, value)
  local text = M.id(value)
  return text and "i" .. #text .. ":" .. text or value_text(value)
end

function readers.record(node, value)
  if type(value) ~= "table" or is_list(value) then
    return value_text(value)
  end
  local parts = {}
  for _, name in ipairs(node.open and sorted_names(value) or node.names) do
    local inner, text = node.members[name], nil
    if inner then
      text = text_of(inner, value[name])
    elseif not node.silent[name] then
      text = value_text(value[name])
    end
    parts[#parts + 1] = text and member_text(name, text)
  end
  return braced(parts)
end

function readers.list(node, value)
  if type(value) ~= "table" or next(value) == nil or not is_list(value) then
    return value_text(value)
  end
  local parts = {}
  for i, element in ipairs(value) do
    parts[i] = text_of(node.of, element) or "_"
  end
  return "[" .. table.concat(parts) .. "]"
end

--- The elements of a list or an object by their ids. An element of a list without one, or with one
--- that came before, stands under its place ("#2").
---@param value table
---@return table<string, any>
function M.by_id(value)
  local found = {}
  if is_list(value) then
    for i, element in ipairs(value) do
      local id = type(element) == "table" and M.id(element.id)
      found[id and found[id] == nil and id or "#" .. i] = element
    end
  else
    for name, element in pairs(value) do
      found[name] = element
    end
  end
  return found
end

function readers.map(node, value)
  if type(value) ~= "table" then
    return value_text(value)
  end
  local found, parts = M.by_id(value), {}
  for i, id in ipairs(sorted_names(found)) do
    parts[i] = member_text(id, text_of(node.of, found[id]) or "_")
  end
  return braced(parts)
end

function text_of(node, value)
  return readers[node.kind](node, value)
end

--- The text of a value, the same for every spelling of it; nil where there is nothing in it.
---@param node table of a plan
---@param value any
---@return string?
function M.text(node, value)
  return text_of(node, value)
end

return M

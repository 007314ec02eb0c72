--- Reading the members of an invoice: each gives what it says, or raises why it says nothing.
-- `answer` turns that into nil and a message.

local core = require "billhook.core"

local decimal = core.decimal

local M = {}

-- What an invoice does not say is raised as one of these.
local unsaid = {}

--- Raises that something is not said.
function M.missing(format, ...)
  error(setmetatable({ message = format:format(...) }, unsaid), 0)
end

--- A text that is not empty.
function M.text(value, name)
  if type(value) ~= "string" or value == "" then
    M.missing("the invoice has no %s", name)
  end
  return value
end

--- What something is called: a text, or a whole number.
function M.name(value, name)
  if type(value) == "number" and value % 1 == 0 and value >= 0 and value < 2 ^ 63 then
    return ("%d"):format(value)
  end
  return M.text(value, name)
end

--- An object or a list.
function M.object(value, name)
  if type(value) ~= "table" then
    M.missing("the invoice has no %s", name)
  end
  return value
end

--- A list. What a server has no list of comes as an object: walked as a list, that would be empty.
function M.list(value, name)
  local count = 0
  for _ in pairs(M.object(value, name)) do
    count = count + 1
  end
  if count ~= #value then
    M.missing("%s of the invoice is no list, but an object", name)
  end
  return value
end

-- "9" before "10", and texts by their bytes, whatever the locale
local function by_number(a, b)
  local one, other = tonumber(a.id), tonumber(b.id)
  if one and other and one ~= other then return one < other end
  if #a.id ~= #b.id then return #a.id < #b.id end
  for i = 1, #a.id do
    local x, y = a.id:byte(i), b.id:byte(i)
    if x ~= y then return x < y end
  end
  return false
end

--- What fn(element, its name, its id) gives of each object of a list, or of a map by id, in order
--- of the ids.
function M.by_id(value, name, fn)
  local list = {}
  for key, element in pairs(value) do
    local called = ("%s[%s]"):format(name, tostring(key))
    M.object(element, called)
    local id = element.id
    if id == nil then id = key end
    list[#list + 1] = fn(element, called, M.name(id, called .. ".id"))
  end
  table.sort(list, by_number)
  return list
end

-- "1e2" is "100".
local function without_exponent(number)
  local sign, whole, fraction, power = number:match("^(%-?)(%d+)%.?(%d*)[eE]([+-]?%d%d?)$")
  if not sign or number:find("%.[eE]") then
    return number
  end
  local written, point = whole .. fraction, #whole + tonumber(power)
  if point < 1 then
    written, point = ("0"):rep(1 - point) .. written, 1
  end
  written = written .. ("0"):rep(point - #written)
  return sign .. written:sub(1, point) .. ("." .. written:sub(point + 1)):gsub("%.$", "")
end

--- A decimal, of a text or a number.
function M.amount(value, name)
  local number, why = decimal.read(type(value) == "string" and without_exponent(value) or value)
  if not number then
    M.missing("%s of the invoice: %s%s", name, why, value == nil and ", got nothing" or "")
  end
  return number
end

--- Is it a day of the calendar, YYYY-MM-DD?
function M.is_day(day)
  return core.text.day(day) ~= nil
end

--- The day of a date, or of a date and a time.
function M.date(value, name)
  local day, rest = M.text(value, name):match("^(..........)(.*)$")
  if not day or not M.is_day(day) or not (rest == "" or rest:find("^[T ]%d%d:%d%d")) then
    M.missing("%s of the invoice is no date", name)
  end
  return day
end

--- The same, or nil where there is none.
function M.day(value, name)
  if value == nil or value == core.json.null then return nil end
  return M.date(value, name)
end

--- Who is named so, or by that address.
function M.person(name, email)
  local function filled(value)
    return type(value) == "string" and value ~= "" and value or nil
  end
  local who = { name = filled(name), email = filled(email) }
  if not next(who) then
    M.missing("the invoice has no payer")
  end
  return who
end

--- What fn(...) gives, or nil and what is not said: a value that has no room for its
-- digits is the invoice's fault, too.
function M.answer(fn, ...)
  local fine, value = pcall(fn, ...)
  if fine then
    return value
  elseif getmetatable(value) == unsaid then
    return nil, value.message
  elseif type(value) == "string" and value:find("decimal overflow", 1, true) then
    return nil, "an amount of the invoice is too large"
  end
  error(value, 0)
end

return M

-- page/html.lua: HTML in which every text is escaped, for there is no other way to put one in.
--
--   local e = html.elements
--   e.p { class = "note", "what ", e.b { name }, " said" }      --> a node
--   html.document(node)                                         --> text
--
-- A table's named members are attributes (true: without a value; false: left out), the others what
-- is inside: nodes, lists of them, texts and numbers; false stands for nothing. Only this file
-- makes nodes.

local log = require "billhook.log"
local printable = require "billhook.printable"

local M = {}

local Node = {}

local VOID = { br = true, hr = true, input = true, link = true, meta = true }

local MARKS = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
  ["'"] = "&#39;" }

local LONGEST = 1048576 -- bytes of one text

---@param text any
---@return string
function M.escape(text)
  text = log.text(type(text) == "string" and text or tostring(text), LONGEST)
  return (printable.text(text):gsub("[&<>\"']", MARKS))
end

local function add(into, value)
  if value == nil or value == false then return end
  if getmetatable(value) == Node then
    into[#into + 1] = value.text
  elseif type(value) == "table" then
    for i = 1, #value do add(into, value[i]) end
  else
    into[#into + 1] = M.escape(value)
  end
end

local function attributes(of)
  local names = {}
  for name, value in pairs(of) do
    if type(name) == "string" and value ~= false then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    if of[name] ~= true then
      names[i] = ('%s="%s"'):format(name, M.escape(of[name]))
    end
  end
  return #names > 0 and " " .. table.concat(names, " ") or ""
end

local function element(name)
  return function(of)
    local parts = { "<" .. name .. attributes(of) .. ">" }
    for i = 1, #of do add(parts, of[i]) end
    if not VOID[name] then parts[#parts + 1] = "</" .. name .. ">" end
    return setmetatable({ text = table.concat(parts) }, Node)
  end
end

---Functions that make elements, by their names.
M.elements = setmetatable({}, { __index = function(self, name)
  local make = element(name)
  rawset(self, name, make)
  return make
end })

local function encoded(text)
  return (tostring(text):gsub("[^%w%-._~:@]", function(c) return ("%%%02X"):format(c:byte()) end))
end

---An address of this site, with parameters; those that are nil or "" are left out.
---@param path string
---@param parameters table<string, any>|nil
---@return string
function M.address(path, parameters)
  local names, parts = {}, {}
  for name, value in pairs(parameters or {}) do
    if value ~= "" then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = encoded(name) .. "=" .. encoded(parameters[name]) end
  return path .. (parts[1] and "?" .. table.concat(parts, "&") or "")
end

---@param node table
---@return string
function M.document(node) return "<!DOCTYPE html>\n" .. node.text .. "\n" end

return M

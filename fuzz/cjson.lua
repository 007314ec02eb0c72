-- fuzz/cjson.lua - our reading of JSON beside lua-cjson's: the same value, or a difference that is
-- listed here. spec/cjson_spec.lua holds each one to its examples.

local core = require "billhook.core"
local cjson = require "cjson"

local theirs, careful = cjson.new(), cjson.new()
careful.decode_invalid_numbers(false)

local M = {}

-- Texts that lua-cjson takes and we refuse. Each kind: what it is, our message, and examples.
M.REFUSED = {
  { "bytes that are no UTF-8", "invalid UTF-8", { '["\255"]', '["\237\160\128"]',
    '["\192\128"]' } },
  { "a control character in a string", "control character in a string", { '["\1"]', '["\n"]' } },
  { "a member that comes twice", "a member comes twice", { '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}' } },
  { "more than 64 levels", "nested deeper", { ("["):rep(65) .. ("]"):rep(65) } },
  { "a NUL at the end", "bytes after the value", { "[1]\0", "{}\0x" } },
  { "a number that is none of JSON's", "", { "[01]", "[1.]", "[+1]", "[0x10]", "[nan]",
    "[-Infinity]", "[-.1]", "[1.e2]" } },
}

-- Values that differ. Each kind: what it is, and examples with what we make of them.
M.VALUES = {
  { "a number that no Lua number keeps is its text", { ["[1e999]"] = "1e999",
    ["[12345678901234567890]"] = "12345678901234567890", ["[0.12345678901234567]"] =
    "0.12345678901234567" } },
  { "an integer has all its digits", { ["[9007199254740993]"] = "9007199254740993" } },
  { "a member that is null is absent", { ['{"a":null}'] = "nil" } },
  { "an integer has no sign where it is zero", { ["[-0]"] = "0" } },
}

local function is_number_text(ours, other)
  return type(ours) == "string" and type(other) == "number"
    and ours:match "^%-?%d[%d.eE+-]*$" ~= nil
end

local function same(ours, other)
  if other == cjson.null then return ours == nil or ours == core.json.null end
  if is_number_text(ours, other) then return true end
  if type(ours) == "number" and type(other) == "number" then return ours + 0.0 == other end
  if type(ours) ~= "table" or type(other) ~= "table" then return ours == other end
  for key, value in pairs(other) do
    if not same(ours[key], value) then return false end
  end
  for key in pairs(ours) do
    if other[key] == nil then return false end
  end
  return true
end

-- lua-cjson gives strtod's word for a number to its value
local function is_odd_number(text)
  local good = pcall(careful.decode, text)
  return not good or (text .. "]"):find "%d%.[^%d]" ~= nil or text:find "%f[%d.]%.%d" ~= nil
end

--- What kind of difference there is; nil: none. Raises where it is none of the kinds.
function M.difference(text)
  local ours, why = core.json.decode(text)
  local taken, other = pcall(theirs.decode, text)
  if why and not taken then return nil end
  if not why then
    assert(taken, "lua-cjson alone refuses it: " .. tostring(other))
    assert(same(ours, other), "it is read differently")
    return nil
  end
  for _, kind in ipairs(M.REFUSED) do
    if kind[2] ~= "" and why:find(kind[2], 1, true) then return kind[1] end
  end
  assert(is_odd_number(text), "lua-cjson alone takes it: " .. why)
  return "a number that is none of JSON's"
end

return setmetatable(M, { __call = function(_, text) M.difference(text) end })

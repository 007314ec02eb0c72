-- pattern.lua: what a rule is for. A pattern is
--
--   invoice.created           an exact type, unified or the vendor's own
--   invoice.*                 every type of a family
--   *                         everything
--   tickets:invoice.*         the same, of one account only
--
-- The vendor's own types may have spaces, colons and question marks in them
-- ("Offer was edited: ?"), so only a name of an account before the first colon
-- is taken for one.

local M = {}

---Reads a pattern; the reason where it is none.
---@param text any
---@param accounts table<string, any> by name
---@return table|nil pattern { text, account?, exact? | family? | all? }
---@return string|nil message
function M.parse(text, accounts)
  if type(text) ~= "string" or text == "" then return nil, "a pattern must be a string" end
  local account, rest = text:match("^([%w_.%-]+):(.*)$")
  if account and not accounts[account] then
    return nil, ("pattern '%s': there is no account '%s'"):format(text, account)
  end
  rest = account and rest or text
  local pattern = { text = text, account = account }
  if rest == "*" then
    pattern.all = true
  elseif rest:find("^[%w_.%-]+%.%*$") then
    pattern.family = rest:sub(1, -2) -- with its dot
  elseif rest ~= "" and not rest:find("*", 1, true) and not rest:find("[%z\1-\31]") then
    pattern.exact = rest
  else
    return nil, ("pattern '%s' must be a type, family.* or *"):format(text)
  end
  return pattern
end

local function fits(pattern, type)
  if pattern.family then return type:sub(1, #pattern.family) == pattern.family end
  return type == pattern.exact
end

---@param pattern table
---@param account string
---@param type string unified
---@param native string the vendor's
---@return boolean
function M.matches(pattern, account, type, native)
  if pattern.account and pattern.account ~= account then return false end
  return pattern.all or fits(pattern, type) or fits(pattern, native)
end

return M

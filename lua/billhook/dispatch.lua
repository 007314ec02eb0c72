-- dispatch.lua: the rules of an app, and which of them want an event.

local log = require "billhook.log"
local patterns = require "billhook.delivery.pattern"

local M = {}

local Dispatch = {}
Dispatch.__index = Dispatch

---@param accounts table<string, table> clients by name
function M.new(accounts)
  return setmetatable({ accounts = accounts, rules = {}, by_name = {}, budget = 0 }, Dispatch)
end

local CHECKS = {
  name = function(value)
    if type(value) ~= "string" or value == "" or value:find("[%z\1-\31]")
      or log.text(value, 200) ~= value then
      return "must be a text of one line, up to 200 bytes of UTF-8"
    end
  end,
  trust = function(value)
    if value ~= "api" then return "can only be \"api\"" end
  end,
  attempts = function(value)
    if type(value) ~= "number" or value < 1 or value % 1 ~= 0 then
      return "must be a whole number of at least 1"
    end
  end,
  budget = function(value)
    if type(value) ~= "number" or not (value > 0 and value <= 86400) then
      return "must be seconds, up to 86400"
    end
  end,
}

local function check(options)
  if type(options) ~= "table" then return "the options of a rule must be a table" end
  for name, value in pairs(options) do
    if not CHECKS[name] then return ("unknown option '%s' of a rule"):format(tostring(name)) end
    local why = CHECKS[name](value)
    if why then return ("option '%s' of a rule %s"):format(name, why) end
  end
end

-- Can every account that the pattern is for read an invoice back?
local function refetchable(self, pattern)
  for name, client in pairs(self.accounts) do
    if pattern.account == nil or pattern.account == name then
      local can, why = M.can_refetch(client)
      if not can then
        return ("option 'trust' of rule '%s': account '%s' cannot read invoices: %s")
          :format(pattern.text, name, why)
      end
    end
  end
end

---Can this account's client read an invoice back? The operation, and true where its path is a
---guess of ours; or false and why not.
---@param client table
---@return string|boolean operation, string|boolean|nil why
function M.can_refetch(client)
  local operation = require("billhook.vendor." .. client.vendor).refetch
  if not operation then return false, client.vendor .. " has no call for it" end
  local can, why = client:can(operation)
  return can and operation, why
end

---Adds a rule; the reason where it cannot be one.
---@param text string pattern
---@param options table
---@param handler function
---@param defaults { attempts: integer, budget: number }
---@return table|nil rule, string|nil message
function Dispatch:add(text, options, handler, defaults)
  local pattern, why = patterns.parse(text, self.accounts)
  if not pattern then return nil, why end
  why = type(handler) ~= "function" and "the handler must be a function" or check(options)
  if not why and options.trust then why = refetchable(self, pattern) end
  if why then return nil, why end
  local name = options.name or text
  why = CHECKS.name(name)
  if why then return nil, ("the name of a rule, here its pattern, %s"):format(why) end
  if self.by_name[name] then
    return nil, ("there is a rule '%s' already: give this one another name"):format(name)
  end
  local rule = {
    name = name, pattern = pattern, handler = handler, trust = options.trust,
    attempts = options.attempts or defaults.attempts, budget = options.budget or defaults.budget,
  }
  self.rules[#self.rules + 1] = rule
  self.by_name[name] = rule
  self.budget = math.max(self.budget, rule.budget)
  return rule
end

---Names of the rules that ask for the API's word.
---@return string[]
function Dispatch:asking()
  local names = {}
  for _, rule in ipairs(self.rules) do
    if rule.trust == "api" then names[#names + 1] = rule.name end
  end
  return names
end

---Names of the rules that want an event, in the order in which they were added.
---@return string[]
function Dispatch:select(account, type, native)
  local names = {}
  for _, rule in ipairs(self.rules) do
    if patterns.matches(rule.pattern, account, type, native) then names[#names + 1] = rule.name end
  end
  return names
end

return M

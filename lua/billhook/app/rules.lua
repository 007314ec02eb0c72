-- app/rules.lua: the rules of an app, and which of them match an event. A pattern is
--
--   invoice.created           an exact type
--   invoice.*                 every type of a family
--   *                         everything
--   tickets:invoice.*         the same, of one account only
--
-- A vendor's own name for an invoice or payment event (INVOICE_CREATED, invoices.created) means the
-- same as billhook's. Any other native type ("Offer was edited: ?", STUDENT_CREATED) is the type of
-- the event that such a delivery becomes. Native types may contain spaces, colons and question
-- marks, so the text before the first colon is an account only if an account has that name.

local checks = require "billhook.app.options"
local vendors = require "billhook.vendor"

local M = {}

local Rules = {}
Rules.__index = Rules

---@param accounts table<string, table> clients by name
function M.new(accounts)
  return setmetatable({ accounts = accounts, list = {}, by_name = {}, budget = 0 }, Rules)
end

-- --- what an account can do -----------------------------------------------------

---Can this account read an invoice back? The operation, or false and why not. A path that no
---document shows is none: a 404 from it would prove nothing.
---@param client table
---@return string|false operation, string|nil why
function M.readable(client)
  if client.read_back == false then return false, "its option 'read_back' is false" end
  local operation = vendors[client.vendor].refetch
  local can, why = client:can(operation)
  if not can then return false, why end
  if why then
    return false, ("the path of '%s' is not published: give it in the option 'paths'")
      :format(operation)
  end
  return operation
end

-- types that are made of the states of invoices
local STATES = {}
for type in ([[invoice.created invoice.updated invoice.deleted invoice.paid invoice.overdue
  payment.created payment.updated payment.deleted payment.refunded]]):gmatch "%S+" do
  STATES[type] = true
end

-- what a proof of the body tells by itself
local BODY = { ["invoice.created"] = true, ["invoice.updated"] = true,
  ["payment.refunded"] = true }

-- what no news of DreamClass says by itself: an invoice has to be read for it
local READ = { ["invoice.paid"] = true, ["invoice.overdue"] = true }

local function begins(text, prefix) return text:sub(1, #prefix) == prefix end

-- Is it a type, or (with its dot) a family, of what this vendor is known to send?
local function is_known(vendor, text)
  local fits = text:sub(-1) == "." and begins or rawequal
  for _, native in ipairs(vendor.natives or {}) do
    if fits(native, text) or fits(vendor.type_of(native), text) then return true end
  end
  for _, family in ipairs(vendor.families or {}) do
    if begins(text, family .. ".") then return true end
  end
  return vendor.natives == nil and vendor.type_of(text) ~= "unknown"
end

---Can an account of this client ever have an event of this type? "yes"; "never"; or "unknown": its
---vendor is not known to send such news, and may.
---@param client table
---@param type string
---@return "yes"|"never"|"unknown"
function M.can_have(client, type)
  local vendor, read = vendors[client.vendor], M.readable(client)
  if vendor.never and vendor.never[type] then return "never" end
  if STATES[type] then
    if read or vendor.trust == "body" and BODY[type] then return "yes" end
    if vendor.trust == "body" then return "never" end
    if vendor.natives then return READ[type] and "never" or "yes" end
  elseif type == "invoice.failed" then
    return client.vendor == "betterez" and read and "yes" or "never"
  elseif read and type:find "^invoice%." then
    return "never" -- such news only has its invoice read
  end
  return is_known(vendor, type) and "yes" or "unknown"
end

-- The same of a family's prefix.
local function can_have_any(client, prefix)
  for type in pairs(STATES) do
    if begins(type, prefix) and M.can_have(client, type) == "yes" then return true end
  end
  return is_known(vendors[client.vendor], prefix)
end

-- --- patterns ----------------------------------------------------------------

-- The type of an event made of states that a vendor's own name, of news about an invoice or a
-- payment, stands for; of a family's name ("invoices."), the family ("invoice.").
local function meaning_of(vendor, text)
  local is_name = vendor.natives == nil and text:find " " ~= nil
  for _, native in ipairs(vendor.natives or {}) do
    is_name = is_name or native == text
    if text:sub(-1) == "." and begins(native, text) then
      local type = meaning_of(vendor, native)
      if type then return type:match "^[^.]*%." end
    end
  end
  local type = vendor.type_of(text)
  return is_name and STATES[type] and type or nil
end

-- By vendor.
local function aliases_of(text, accounts)
  local found = {}
  for _, client in pairs(accounts) do
    found[client.vendor] = meaning_of(vendors[client.vendor], text)
  end
  return next(found) and found or nil
end

---Reads a pattern; the reason where it is none.
---@param text any
---@param accounts table<string, table> by name
---@return table|nil pattern { text, account?, exact? | family? | all?, aliases? }
---@return string|nil message
function M.pattern(text, accounts)
  if type(text) ~= "string" or text == "" then
    return nil, "a pattern must be a string that is not empty"
  end
  local account, rest = text:match("^([%w_.%-]+):(.*)$")
  if account and not accounts[account] then
    return nil, ("pattern '%s': there is no account '%s'"):format(text, account)
  end
  rest = account and rest or text
  local pattern = { text = text, account = account }
  if rest == "*" then
    pattern.all = true
  elseif rest:find "^[%w_.%-]+%.%*$" then
    pattern.family = rest:sub(1, -2) -- with its dot
  elseif rest ~= "" and not rest:find "[*%z\1-\31]" then
    pattern.exact = rest
  else
    return nil, ("pattern '%s' must be a type, family.* or *"):format(text)
  end
  pattern.aliases = aliases_of(pattern.family or pattern.exact or "",
    account and { accounts[account] } or accounts)
  return pattern
end

local function fits(pattern, word, type)
  return word and (pattern.family and begins(type, word) or type == word)
end

local function matches(self, pattern, account, type, native)
  if pattern.account and pattern.account ~= account then return false end
  local word = pattern.exact or pattern.family
  local client = self.accounts[account]
  local alias = pattern.aliases and client and pattern.aliases[client.vendor]
  return pattern.all or fits(pattern, word, type) or fits(pattern, alias, type)
    or fits(pattern, word, native)
end

-- --- adding -------------------------------------------------------------------

-- Why no account that the pattern is for can do what the rule demands.
local function impossible(self, pattern, options)
  for name, client in pairs(self.accounts) do
    if options.trust and (pattern.account == nil or pattern.account == name) then
      local can, why = M.readable(client)
      if not can then
        return ("option 'trust' of rule '%s': account '%s' cannot read invoices: %s")
          :format(pattern.text, name, why)
      end
    end
  end
  if pattern.account and pattern.exact and not pattern.aliases
    and M.can_have(self.accounts[pattern.account], pattern.exact) == "never" then
    return ("pattern '%s': account '%s' never has an event of this type")
      :format(pattern.text, pattern.account)
  end
end

---Seconds after which a run is ended, or false. A short budget is a wish to be told early.
---@param options { stop_after: number|false?, budget: number? } of a rule; {}: of what is no rule's
---@param defaults table an app's
---@return number|false
function M.stop_after(options, defaults)
  for _, given in ipairs { options, defaults } do
    if given.stop_after ~= nil then return given.stop_after end
  end
  return math.max(600, 10 * (options.budget or defaults.budget))
end

---Adds a rule; the reason where it cannot be one.
---@param text string pattern
---@param options table { name, trust, attempts, budget, stop_after }, checked
---@param handler function
---@param defaults table the same but for name and trust
---@return table|nil rule, string|nil message
function Rules:add(text, options, handler, defaults)
  local pattern, why = M.pattern(text, self.accounts)
  if not pattern then return nil, why end
  why = type(handler) ~= "function"
    and ("the handler must be a function, got %s"):format(type(handler))
    or impossible(self, pattern, options)
  if why then return nil, why end
  local name = options.name or text
  local _, wrong = checks.check_name(name)
  if wrong then return nil, "the name of a rule, here its pattern, " .. wrong end
  if self.by_name[name] then
    return nil, ("there is a rule '%s' already: give this one another name"):format(name)
  end
  local rule = {
    name = name, pattern = pattern, handler = handler, trust = options.trust,
    attempts = options.attempts or defaults.attempts, budget = options.budget or defaults.budget,
    stop_after = M.stop_after(options, defaults),
  }
  self.list[#self.list + 1] = rule
  self.by_name[name] = rule
  self.budget = math.max(self.budget, rule.budget)
  return rule
end

---Names of the rules that want an event, in the order in which they were added.
---@return string[]
function Rules:select(account, type, native)
  local names = {}
  for _, rule in ipairs(self.list) do
    if matches(self, rule.pattern, account, type, native or type) then
      names[#names + 1] = rule.name
    end
  end
  return names
end

---Patterns of rules for which no event is known to come.
---@return string[] patterns
function Rules:never()
  local texts = {}
  for _, rule in ipairs(self.list) do
    local pattern, possible = rule.pattern, rule.pattern.all or rule.pattern.aliases ~= nil
    for name, client in pairs(self.accounts) do
      if (pattern.account or name) == name then
        possible = possible or pattern.exact and M.can_have(client, pattern.exact) == "yes"
          or pattern.family and can_have_any(client, pattern.family)
      end
    end
    if not possible then texts[#texts + 1] = pattern.text end
  end
  return texts
end

return M

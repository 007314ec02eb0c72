--- billhook: invoices over three vendors' APIs, and their webhooks.
--
--   local billhook = require "billhook"
--   local apply = billhook.dreamapply { base_url = "https://apply.example.edu", api_key = "..." }
--
-- The public door. Nothing happens here: each name loads what is behind it when it is first used,
-- so that requiring this module costs next to nothing.

---@alias billhook.Vendor "dreamapply"|"dreamclass"|"betterez"

---@class billhook
---@field version string
---@field decimal billhook.Decimals exact amounts; called, it makes one
---@field null userdata null where JSON has it in a list
local M = {}

-- Why a value is no decimal, for whoever wrote or typed it: people write "1,50" and "1 000.00".
local function no_decimal(x, why)
  if type(x) ~= "string" then
    return why == "decimal expected" and why .. ", got " .. type(x) or why
  end
  local shown = (#x > 40 and x:sub(1, 40) .. "..." or x):gsub("[%c\127-\255]", "?")
  if why ~= "malformed decimal" then
    return ('"%s" has more digits than a decimal keeps (18)'):format(shown)
  end
  return ('"%s" is no decimal: digits are expected, with a point before the fraction,'
    .. ' such as "19.90"'):format(shown)
end

-- As `require`; where it fails since something was built for another Lua, it says so.
local function load(name)
  local found, module = pcall(require, name)
  if not found then error(require("billhook.built").explain(module), 0) end
  return module
end

-- Each gives the function or table itself: a wrapper would stand between it and the line of its
-- caller.
local behind = {
  --- Accounts, rules and an inbox: see billhook.app.
  app = function() return load("billhook.app").new end,
  --- Checks one delivery, and signs one for tests: see billhook.webhook.
  verify = function() return load("billhook.webhook").verify end,
  sign = function() return load("billhook.webhook").sign end,
  --- Requests of rules to servers of your own: see billhook.http.
  http = function() return load("billhook.http").new end,
  --- Calls side by side: see billhook.map.
  map = function() return load("billhook.client.map").map end,
  --- Pure functions on invoices: see billhook.invoice.
  invoice = function() return load "billhook.invoice" end,
  --- Exact amounts: billhook.decimal "19.90".
  decimal = function()
    local decimal = load("billhook.core").decimal
    local function new(_, x)
      local value, why = decimal.read(x)
      if not value then error("billhook.decimal: " .. no_decimal(x, why), 2) end
      return value
    end
    return setmetatable({ is = decimal.is }, { __call = new })
  end,
  --- null where JSON has it in a list, and JSON itself: see billhook.json.
  null = function() return load("billhook.core").json.null end,
  json = function() return load "billhook.json" end,
  --- The number of this version.
  version = function() return load "billhook.version" end,
  --- What a failure looks like: see billhook.error.
  error = function() return load "billhook.error" end,
}

setmetatable(M, {
  __index = function(self, name)
    local open = behind[name]
    local value = open and open()
    rawset(self, name, value)
    return value
  end,
})

-- A client, and what carries out its calls that must not happen twice: neither knows the other.
local function client_of(vendor, given)
  local client = load("billhook.client").new(require("billhook.vendor")[vendor], given,
    require "billhook.once", 3)
  return client
end

-- The functions that raise at their caller's line don't tail-call what does the work: a frame that
-- is gone could not be counted.

--- A client of a DreamApply instance: see billhook.client and billhook.vendor.dreamapply for the
-- options.
---@param options billhook.ClientOptions wrong ones raise at the caller's line
---@return billhook.DreamApply client
function M.dreamapply(options)
  local client = client_of("dreamapply", options)
  return client
end

--- A client of a DreamClass school: see billhook.client and billhook.vendor.dreamclass for the
-- options.
---@param options billhook.DreamClassOptions wrong ones raise at the caller's line
---@return billhook.DreamClass client
function M.dreamclass(options)
  local client = client_of("dreamclass", options)
  return client
end

--- A client of a Betterez account: see billhook.client and billhook.vendor.betterez for the
-- options.
---@param options billhook.BetterezOptions wrong ones raise at the caller's line
---@return billhook.Betterez client
function M.betterez(options)
  local client = client_of("betterez", options)
  return client
end

--- The operations of a vendor, as data: what client:call takes. An unknown vendor raises.
---@param vendor billhook.Vendor
---@return { name: string, method: string, path: string, params: table[], safe: boolean }[]
function M.calls(vendor)
  if vendor == nil or not require("billhook.vendor")[vendor] then
    error(("billhook.calls: 'vendor' must be dreamapply, dreamclass or betterez, got '%s'"):format(
      tostring(vendor)), 2)
  end
  return load("billhook.core").call.list(vendor)
end

return M

--- The objects behind client.invoices, client.transactions, ...: one method for each operation.
--
-- A method takes what stands in the path first, in the path's order, then a table with the other
-- parameters where the operation has any, then the options of this call:
--
--   apply.invoices:get(123, { timeout = 5 })
--   apply.invoices:create(123, { currency = "EUR", items = { ... } }, { attempts = 1 })
--
-- A vendor module may put other methods in their place (see `methods` there).

local each = require "billhook.call.each"
local operations = require "billhook.call.operations"
local perform = require "billhook.call.perform"
local plans = require "billhook.call.plan"
local private = require "billhook.private"

local M = {}

-- Where the body is the caller's own table, what else there is stands among the options of the
-- call.
local function split(operation, params, given, level)
  local settings = {}
  if given ~= nil and type(given) ~= "table" then
    error(("%s: the options must be a table, not a %s"):format(operation.name, type(given)),
      level + 1)
  end
  for name, value in pairs(given or {}) do
    if name == "validate_only" and operation.more.onlyValidateRequest then
      params.onlyValidateRequest = value
    elseif operation.more[name] then
      params[name] = value
    else
      settings[name] = value
    end
  end
  return settings
end

-- Adds the other parameters to those of the path, which stay as they are.
local function add_more(operation, params, more, level)
  if type(more) ~= "table" then
    error(("%s: the parameters must be a table, not a %s"):format(operation.name, type(more)),
      level + 1)
  end
  for name, value in pairs(more) do
    if params[name] == nil then
      params[name] = value
    end
  end
end

-- (operation, level, arguments...) -> parameters, options
local function arrange(operation, level, ...)
  local ids, arguments, params = operation.ids, { ... }, {}
  local at, settings = #ids
  for i = 1, at do
    if arguments[i] == nil then
      error(("%s: argument #%d ('%s') is missing"):format(operation.name, i, ids[i]), level + 1)
    end
    params[ids[i]] = arguments[i]
  end
  if operation.body then
    at = at + 2
    settings = split(operation, params, arguments[at], level + 1)
    params[operation.body] = arguments[at - 1]
  elseif operation.has_more then
    at = at + 2
    if arguments[at - 1] ~= nil then
      add_more(operation, params, arguments[at - 1], level + 1)
    end
    settings = arguments[at]
  else
    at = at + 1
    settings = arguments[at]
  end
  if select("#", ...) > at then
    error(("%s: too many arguments"):format(operation.name), level + 1)
  end
  return params, settings
end

local function state_of(object, class, name, level)
  local state = private.of(object, class)
  if not state then
    error(("%s is a method: call it with a colon"):format(name), level + 1)
  end
  return state
end

local function asking(operation, class)
  return function(self, ...)
    local state = state_of(self, class, operation.name, 2)
    local params, options = arrange(operation, 2, ...)
    local plan = plans.make(state, operation.name, params, options, 2)
    return perform.call(state, plan)
  end
end

local function walking(operation, class)
  return function(self, ...)
    local state = state_of(self, class, operation.name, 2)
    local params, options = arrange(operation, 2, ...)
    local plan = plans.make(state, operation.name, params, options, 2)
    return each.walk(state, plans.for_walk(plan, options))
  end
end

-- The kinds of answer that can be walked.
local walkable = { map = true, list = true, page = true }

-- vendor name -> resource -> metatable
local built = {}

local function build(vendor)
  local classes = {}
  for name, operation in pairs(operations.of(vendor.name)) do
    local resource, verb = name:match("^([%w_]+)%.([%w_]+)$")
    if resource then
      local class = classes[resource] or { __index = {}, __name = "billhook." .. resource }
      classes[resource] = class
      class.__index[verb] = asking(operation, class)
      if verb == "list" and walkable[operation.answer] then
        class.__index.each = walking(operation, class)
      end
    end
  end
  return classes
end

--- The resource objects of a client, by name.
function M.all(state)
  local vendor = state.vendor
  built[vendor.name] = built[vendor.name] or build(vendor)
  local all = {}
  for name, class in pairs(built[vendor.name]) do
    all[name] = private.give({}, class, state)
  end
  return all
end

return M

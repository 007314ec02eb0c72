--- The objects behind client.invoices, client.transactions, ...: one method for each operation.
--
-- A method takes what stands in the path first, in the path's order, then a table with the other
-- parameters where the operation has any, then the options of this call:
--
--   apply.invoices:get(123, { timeout = 5 })
--   apply.invoices:create(123, { currency = "EUR", items = { ... } }, { attempts = 1 })

local core = require "billhook.core"
local options = require "billhook.options"
local pages = require "billhook.client.pages"
local private = require "billhook.private"
local reason = require "billhook.client.reason"
local requests = require "billhook.client.request"
local responses = require "billhook.client.response"
local sender = require "billhook.client.send"

local M = {}

-- --- carrying a call out -----------------------------------------------------------------------

local lists = { map = true, list = true, page = true }

local function failed(account, request, err)
  -- what the caller can do about an answer that is too large depends on what was asked
  if err.kind == "too_large" and not err.status and lists[request.answer] then
    err.message = ("the list is larger than the limit of %.0f bytes: walk it with each"):format(
      request.limit)
  end
  return nil, sender.error(account, request.name, err, reason.secrets(account, request))
end

-- A request is sent and its answer read: a value, or nil and an error.
local function send(account, request, how)
  local response, outcome = sender.send(account, request, how)
  if not response then return nil, outcome end
  local value, err = responses.read(account, request, response, outcome)
  if value == nil then -- a success that can't be read is one all the same
    err.attempts, err.open, err.retryable = how.attempts, true, request.idempotent
  end
  return value, err
end

--- What the calls that must not happen twice need of this room (see billhook.once).
M.doors = {
  send = send,
  reserve = sender.reserve,
  give_back = sender.give_back,
  look = function(account, name, params, settings, how)
    local request = requests.new(account, name, params, nil, 2, false, settings)
    local list, err
    if request.answer == "page" then
      list, err = pages.all(account, request, how)
    else
      local response, outcome = sender.send(account, request, how)
      list, err = nil, outcome
      if response then list, err = responses.elements(account, request, response) end
    end
    if err then err.attempts = how.attempts end
    return list, err
  end,
  path = function(account, name, params)
    return core.call.prepare(account.vendor.name, name, params, account.options.paths).path
  end,
  tag = function(account, value, request)
    local invoices = (not request or request.invoices) and type(value) == "table"
    return invoices and responses.tag(account, value) or value
  end,
}

--- Carries a call out: what the caller came for, or nil and an error object.
---@param account table
---@param request table
---@return any value
---@return table? err
function M.call(account, request)
  local unable = sender.unable(account)
  if unable then return failed(account, request, unable) end
  local value, err
  if not request.idempotent then
    value, err = account.once.call(account, request, M.doors)
  elseif request.answer == "page" then
    value, err = pages.all(account, request,
      { deadline = account.now() + request.timeout, patient = true }, request.limit)
  else
    value, err = send(account, request, { patient = true })
  end
  if value ~= nil then return value end
  return failed(account, request, err)
end

-- --- a method's arguments ----------------------------------------------------------------------

local function expect_table(name, what, value, level)
  if value ~= nil and type(value) ~= "table" then
    error(options.wrong(name, what, "must be a table", value), level + 1)
  end
end

-- Where the body is the caller's own table, what else there is stands among the options of the
-- call.
local function split(operation, params, given)
  local settings = {}
  for name, value in pairs(given or {}) do
    if name == "validate_only" and operation.dry then
      params[operation.dry] = value
    else
      (operation.more[name] and params or settings)[name] = value
    end
  end
  return settings
end

-- (operation, level, arguments...) -> parameters, options
local function arrange(operation, level, ...)
  local arguments, params, at, name = { ... }, {}, #operation.ids, operation.name
  for i, id in ipairs(operation.ids) do
    if arguments[i] == nil then error(("%s: '%s' is missing"):format(name, id), level + 1) end
    params[id] = arguments[i]
  end
  local takes = operation.body or next(operation.more)
  local settings = arguments[at + (takes and 2 or 1)]
  expect_table(name, "options", settings, level + 1)
  if takes then
    local given = arguments[at + 1]
    if operation.body then
      settings = split(operation, params, settings)
      params[operation.body] = given
    else
      expect_table(name, "parameters", given, level + 1)
      for key, value in pairs(given or {}) do -- those of the path stay as they are
        if params[key] == nil then params[key] = value end
      end
    end
  end
  if select("#", ...) > at + (takes and 2 or 1) then
    error(("%s: too many arguments"):format(name), level + 1)
  end
  return params, settings
end

local function asking(operation, class, walk)
  local name = operation.name
  return function(self, ...)
    local account = private.of(self, class)
    if not account then error(options.no_method(name), 2) end
    local params, settings = arrange(operation, 2, ...)
    local request = requests.new(account, name, params, settings, 2, walk)
    return (walk and pages.walk or M.call)(account, request)
  end
end

-- vendor name -> resource -> metatable
local built = {}

local function build(vendor)
  local classes = {}
  for name, operation in pairs(requests.operations(vendor.name)) do
    local resource, verb = name:match("^([%w_]+)%.([%w_]+)$")
    if resource then
      local class = classes[resource] or { __index = {}, __name = "billhook." .. resource }
      classes[resource] = class
      class.__index[verb] = asking(operation, class)
      if verb == "list" and lists[operation.answer] then
        class.__index.each = asking(operation, class, true)
      end
    end
  end
  return classes
end

--- The resource objects of a client, by name.
function M.all(account)
  local name, all = account.vendor.name, {}
  built[name] = built[name] or build(account.vendor)
  for resource, class in pairs(built[name]) do all[resource] = private.give({}, class, account) end
  return all
end

return M

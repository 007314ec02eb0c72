--- Makes a request of a call's parameters and options. It is not changed afterwards.
--
-- This is the only place where they are checked. Errors raise at the line that called the public
-- function; `level` counts from the caller of the function here, as in error(), so public functions
-- must not tail-call these.
--
-- A request is what the core makes { method, path, query, body, answer, unwrap, safe,
-- idempotent }, and
--
--   name, operation   the operation, and what the core's tables say of it
--   url, headers      body is text
--   mark, asked       how an object in the answer is recognized; the id that it must have, as text
--   timeout, connect_timeout, settle_timeout, attempts, limit, traceparent, background, reference
--   follow            of a list in pages: read all of them
--   plain             of a call that must not run twice: its content, to store and compare
--   invoices, private   the answer holds invoices; it holds secrets of others

local core = require "billhook.core"
local json = require "billhook.json"
local options = require "billhook.options"

local M = {}

-- --- operations --------------------------------------------------------------------------------

local known = {}
local no_mark = core.call.mark()

--- The operations of a vendor by name: { name, method, path, params, safe, idempotent, answer,
-- mark = what its objects are known by (src/lmark.c), same = the parameter that this repeats, ids,
-- body, more }. `ids` are the names of the parameters that must stand in the path, in
-- order: a method's positional arguments. `body` is the one that is the whole body, `more` are the
-- others, `dry` the one that asks for a dry run.
---@param vendor string
---@return table<string, table>
function M.operations(vendor)
  if known[vendor] then return known[vendor] end
  local by_name = {}
  for _, operation in ipairs(core.call.list(vendor)) do
    operation.ids, operation.more = {}, {}
    for _, param in ipairs(operation.params) do
      if param.place == "path" and param.required then
        operation.ids[#operation.ids + 1] = param.name
      elseif param.place == "body" and param.required then
        operation.body = param.name
      else
        operation.more[param.name] = true
        operation.dry = param.dry and param.name or operation.dry
      end
    end
    operation.same = operation.mark and operation.mark.same
    operation.mark = core.call.mark(vendor, operation.name)
    by_name[operation.name] = operation
  end
  known[vendor] = by_name
  return by_name
end

-- --- the options of one call -------------------------------------------------------------------

-- Version, trace, parent, flags. Only version 00 is defined; ids of zeros are none.
local function check_traceparent(value)
  local trace, parent, flags = value:match("^00%-([%da-f]+)%-([%da-f]+)%-([%da-f]+)$")
  if trace and #trace == 32 and #parent == 16 and #flags == 2
    and trace:find("[^0]") and parent:find("[^0]") then
    return value
  end
  return nil, "must be a W3C traceparent"
end

local function check_priority(value)
  if value == "background" or value == "person" then return value end
  return nil, 'must be "person" or "background"'
end

local function check_reference(value)
  if type(value.field) ~= "string" or type(value.value) ~= "string"
    or not value.value:find("%S") then
    return nil, "must be a table with the strings 'field' and 'value'"
  end
  return { field = value.field, value = value.value }
end

local rules = {
  timeout = { "number", check = options.positive },
  connect_timeout = { "number", check = options.positive },
  attempts = { "number", check = options.counting },
  limit = { "number", check = options.counting },
  traceparent = { "string", check = check_traceparent },
  priority = { "string", check = check_priority },
}

-- and of one that must not happen twice
local unsafe_rules = {
  settle_timeout = { "number", check = options.not_negative },
  reference = { "table", check = check_reference },
}
for name, rule in pairs(rules) do unsafe_rules[name] = rule end

-- A walk lasts as long as its consumer: an hour, and whatever size it has, unless the caller says
-- otherwise.
local of_walks = { timeout = 3600, limit = 2 ^ 50 }

-- What this call's options say, else the client's.
local function set(request, settings, defaults, walk)
  local long = walk and request.answer == "map" and of_walks or defaults
  request.reference, request.traceparent = settings.reference, settings.traceparent
  request.background = settings.priority == "background"
  request.timeout = settings.timeout or long.timeout
  request.connect_timeout = settings.connect_timeout or defaults.connect_timeout
  request.settle_timeout = settings.settle_timeout or defaults.settle_timeout
  request.attempts = settings.attempts or defaults.attempts
  request.limit = settings.limit or long.limit
end

-- The caller's own reference goes into a field of its own, never beside other text: it is matched
-- as a whole later.
local function refer(vendor, name, params, reference, level)
  local fields = vendor.reference and vendor.reference[name] or {}
  local field = reference.field
  local why = not fields[field] and "is no field for one"
    or params[field] ~= nil and "is given already"
  if why then
    error(("%s: 'reference' can't stand in '%s', which %s"):format(name, field, why), level + 1)
  end
  params[field] = reference.value
end

-- --- the request -------------------------------------------------------------------------------

-- an id as text, the same for 16, "16" and 16.0
local function id_text(id) return type(id) == "number" and ("%.0f"):format(id) or tostring(id) end

-- What is asked for, as plain data that can be kept and compared.
local function plain_of(request, params)
  local plain = request.body and core.json.decode(request.body) or {}
  for _, id in ipairs(request.operation.ids) do plain[id] = id_text(params[id]) end
  return plain
end

local function headers_of(account, request)
  local headers = {}
  for name, value in pairs(account.headers) do headers[name] = value end
  headers["Accept"] = request.answer == "file" and "*/*" or "application/json"
  headers["Content-Type"] = request.body and "application/json"
  headers["traceparent"] = request.traceparent
  headers["authorization"] = request.authorization or headers["authorization"]
  return headers
end

-- Where the paths of an operation begin: another service than the client's own stands beside it.
local function base_of(account, operation, level)
  local url, service = account.base.url, operation.service
  if not service then return url end
  local host = url:match("^(.*)/invoices$")
  if not host then
    error(("%s: 'base_url' must end in /invoices, for the service '%s' beside it"):format(
      operation.name, service), level + 1)
  end
  return host .. "/" .. service
end

-- The request, as C lays it out, with its body as text.
local function prepare(account, operation, params, level)
  local fine, request = pcall(core.call.prepare, account.vendor.name, operation.name, params,
    account.options.paths)
  if not fine then error(tostring(request), level + 1) end
  if request.body then
    fine, request.body = pcall(json.encode, request.body)
    if not fine then
      error(("%s: the parameters can't be written as JSON: %s"):format(operation.name,
        tostring(request.body)), level + 1)
    end
  end
  return request
end

--- Checks a call and gives its request.
---@param account table
---@param name string the operation
---@param params table? the request's own from now on
---@param given table? the options of this call
---@param level integer
---@param walk boolean? the answer is read bit by bit
---@param settings table? the options of this call, where they need no check
---@return table
function M.new(account, name, params, given, level, walk, settings)
  if account.cannot then error(account.cannot, level + 1) end
  local vendor = account.vendor
  local operation = M.operations(vendor.name)[name]
  if not operation then
    error(("unknown operation '%s' of %s: billhook.calls(\"%s\") lists them"):format(
      tostring(name), vendor.name, vendor.name), level + 1)
  end
  params = params or {}
  settings = settings or options.none
  if given ~= nil then
    settings = options.read(operation.idempotent and rules or unsafe_rules, given,
      name, level + 1)
  end
  if settings.reference then refer(vendor, name, params, settings.reference, level + 1) end
  local follow = operation.answer == "page" and params.page == nil
  if follow then params.page = 1 end -- only who asks for one is told of a next page
  local request = prepare(account, operation, params, level + 1)
  request.name, request.operation, request.follow = name, operation, follow
  -- a dry run changes nothing
  request.dry = operation.dry ~= nil and params[operation.dry] == true
  request.idempotent = request.idempotent or request.dry
  request.url = base_of(account, operation, level + 1) .. request.path
    .. (request.query and "?" .. request.query or "")
  if request.authorization then -- signing in
    request.credentials = { params.password, request.authorization:sub(7), params.totpToken }
  end
  request.invoices, request.private = operation.invoices, operation.private
  request.asked = operation.same and params[operation.same] and id_text(params[operation.same])
  request.mark = request.dry and no_mark or operation.mark -- what a dry run answers is its own
  set(request, settings, account.options, walk)
  request.headers = headers_of(account, request)
  if not request.idempotent then request.plain = plain_of(request, params) end
  return request
end

--- The same request for another page of the list.
---@param request table
---@param url string
---@return table
function M.at(request, url) return setmetatable({ url = url }, { __index = request }) end

return M

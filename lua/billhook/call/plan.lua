--- From the caller's words to a plan: what exchange.lua carries out.
--
-- The one place where a call's parameters and options are checked. What is wrong raises at the line
-- of whoever called the public function; `level` counts from the caller of the function here, as
-- error does, so public functions must not tail-call these.

local core = require "billhook.core"
local options = require "billhook.options"
local operations = require "billhook.call.operations"

local M = {}

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
  if value == "background" or value == "person" then
    return value
  end
  return nil, 'must be "person" or "background"'
end

local function check_reference(value)
  if type(value.field) ~= "string" or type(value.value) ~= "string"
    or not value.value:find("%S") then
    return nil, "must be a table with the strings 'field' and 'value'"
  end
  return { field = value.field, value = value.value }
end

-- options that make sense for one call
local rules = {
  timeout = { "number", check = options.positive },
  connect_timeout = { "number", check = options.positive },
  attempts = { "number", check = options.counting },
  limit = { "number", check = options.counting },
  traceparent = { "string", check = check_traceparent },
  priority = { "string", check = check_priority, default = "person" },
}

-- and for one that must not happen twice
local unsafe_rules = {
  settle_timeout = { "number", check = options.not_negative },
  reference = { "table", check = check_reference },
}
for name, rule in pairs(rules) do
  unsafe_rules[name] = rule
end

-- The caller's own reference goes into a field of its own, never beside other text: it is matched
-- as a whole later.
local function refer(state, name, params, reference, level)
  local fields = state.vendor.reference and state.vendor.reference[name] or {}
  if not fields[reference.field] then
    error(("option 'reference' of %s: '%s' is no field for it"):format(name, reference.field),
      level + 1)
  elseif params[reference.field] ~= nil then
    error(("option 'reference' of %s: '%s' is given already"):format(name, reference.field),
      level + 1)
  end
  params[reference.field] = reference.value
end

-- of most calls
local no_settings = options.read(rules, nil, "a call", 1)

local function settings_of(state, operation, given, level)
  if given == nil then
    return no_settings
  end
  local settings = options.read(operation.idempotent and rules or unsafe_rules, given,
    state.vendor.name .. " " .. operation.name, level + 1)
  return settings -- no tail call: that would be a level less
end

-- an id as text, the same for 16, "16" and 16.0
local function id_text(id)
  return type(id) == "number" and ("%.0f"):format(id) or tostring(id)
end

-- What this call's options say, else the client's.
local function set(plan, settings, defaults)
  plan.reference, plan.traceparent = settings.reference, settings.traceparent
  plan.background = settings.priority == "background"
  plan.timeout = settings.timeout or defaults.timeout
  plan.connect_timeout = settings.connect_timeout or defaults.connect_timeout
  plan.settle_timeout = settings.settle_timeout or defaults.settle_timeout
  plan.attempts = settings.attempts or defaults.attempts
  plan.limit = settings.limit or defaults.limit
end

-- The body as text.
local function write(plan, level)
  local encoded, text = pcall(require("billhook.json").encode, plan.body)
  if not encoded then
    error(("the parameters of %s can't be written as JSON: %s"):format(plan.operation,
      tostring(text)), level + 1)
  end
  plan.body = text
end

-- What is asked for, as plain data that can be kept and compared.
local function plain_of(plan, operation)
  local plain = plan.body and core.json.decode(plan.body) or {}
  for _, id in ipairs(operation.ids) do
    plain[id] = id_text(plan.params[id])
  end
  return plain
end

-- The request, as C lays it out.
local function prepare(state, operation, params, level)
  local name = operation.name
  local paged = operation.answer == "page"
  local follow = paged and params.page == nil
  if follow then
    params.page = 1 -- the server tells of a next page only to those who ask for one
  end
  local known, plan = pcall(core.call.prepare, state.vendor.name, name, params,
    state.options.paths)
  if not known then
    error(tostring(plan), level + 1)
  end
  plan.operation, plan.params, plan.paged, plan.follow = name, params, paged, follow
  plan.mark = operation.mark
  plan.dry = params.onlyValidateRequest == true
  plan.idempotent = plan.idempotent or plan.dry -- a dry run changes nothing
  plan.accept = plan.answer == "file" and "*/*" or nil
  plan.url = state.base.url .. plan.path .. (plan.query and "?" .. plan.query or "")
  return plan
end

--- Checks a call and gives its plan.
---@param state table
---@param name string the operation
---@param params table? the plan's own from now on
---@param given table? the options of this call
---@param level integer
---@return table
function M.make(state, name, params, given, level)
  if state.cannot then
    error(state.cannot, level + 1)
  end
  params = params or {}
  local vendor = state.vendor
  local operation = operations.of(vendor.name)[name]
  if not operation then
    error(("unknown operation '%s' of %s"):format(tostring(name), vendor.name), level + 1)
  end
  local settings = settings_of(state, operation, given, level + 1)
  if settings.reference then
    refer(state, name, params, settings.reference, level + 1)
  end
  local plan = prepare(state, operation, params, level + 1)
  set(plan, settings, state.options)
  plan.invoices = vendor.invoices[name]
  plan.private = vendor.private and vendor.private[name]
  if plan.body then
    write(plan, level + 1)
  end
  if not plan.idempotent then
    plan.plain = plain_of(plan, operation)
  end
  return plan
end

-- A walk lasts as long as its consumer: an hour, unless the caller says otherwise.
local WALK_TIMEOUT = 3600
local UNLIMITED = 2 ^ 50

--- The same plan for a walk: where it is a stream, no limit to its size, and its own idea of time.
function M.for_walk(plan, given)
  given = given or {}
  if plan.answer == "map" then
    plan.limit = given.limit or UNLIMITED
    plan.timeout = given.timeout or WALK_TIMEOUT
  end
  return plan
end

return M

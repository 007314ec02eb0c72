--- From a response to what the caller gets: the decoded answer, or what the error says.
--
-- Pure but for billhook.core. `plan` is a call under way (see exchange.lua); `state` a client's.

local core = require "billhook.core"
local errors = require "billhook.error"
local long = require "billhook.call.long"
local quote = require "billhook.call.quote"

local M = {}

-- enough for a line in a log
local MESSAGE_LIMIT = 300

--- An error object about a call.
function M.fault(state, plan, fields)
  local err = { secrets = quote.secrets(state, plan), vendor = state.vendor.name,
    operation = plan.operation }
  for name, value in pairs(fields) do
    err[name] = value
  end
  return errors.new(err)
end

-- --- what a server says about a failure --------------------------------------------------------

local function says_html(response)
  local kind = response.headers["content-type"]
  return kind ~= nil and kind:find("html", 1, true) ~= nil
end

local function is_html(response)
  return says_html(response) or response.body:find("^%s*<[!%a]") ~= nil
end

local function one_line(text)
  text = text:gsub("[%c%s]+", " "):gsub("^ ", ""):gsub(" $", "")
  if #text > MESSAGE_LIMIT then
    text = text:sub(1, MESSAGE_LIMIT):gsub("[\128-\255]+$", "") .. "..."
  end
  return text
end

-- Errors come as JSON with both of `code` and `message`, one of them, or `error`, or as plain text.
local function from_json(body)
  local value = body:find("^%s*{") and core.json.decode(body)
  if type(value) ~= "table" then
    return nil
  end
  local message = value.message or value.error
  if type(message) == "table" then
    message = message.message
  end
  local code = value.code
  if type(message) ~= "string" then
    message = nil
  end
  if type(code) == "number" then
    code = tostring(code)
  elseif type(code) ~= "string" then
    code = nil
  end
  if message or code then
    return message or code, code
  end
end

--- What a response that is no success says: { message, code, body }. What is private and no JSON is
--- no message.
---@param response table
---@param private? boolean
---@return table
function M.describe(response, private)
  local body = response.body or ""
  if is_html { headers = response.headers, body = body } then
    local title = body:match("<[tT][iI][tT][lL][eE][^>]*>([^<]*)<")
    title = title and one_line(title) or ""
    local page = title ~= "" and ('HTML page "%s"'):format(title) or "HTML page"
    return {
      message = "the server answered with an " .. page,
      body = ("%s, %d bytes"):format(page, #body),
    }
  end
  local message, code = from_json(body)
  if not message and body:find("%S") and not private then
    message = body
  end
  return {
    message = message and one_line(message) or ("HTTP status %d"):format(response.status),
    code = code,
    body = body ~= "" and body or nil,
  }
end

-- --- what a success holds ----------------------------------------------------------------------

local tag

--- Remembers the vendor with what is an invoice.
function M.tag(state, plan, value)
  if plan.invoices and type(value) == "table" then
    tag = tag or require("billhook.invoice").tag
    tag(state.vendor.name, value)
  end
  return value
end

local function undecodable(plan, response, why)
  return { kind = "decode", message = why, status = response.status,
    body = quote.body(plan, response.body) }
end

-- Some servers call a failure a success: what has an error in it and no id is none.
local function is_failure(value)
  return type(value) == "table" and value.error and value.id == nil and value._id == nil
end

local function false_success(plan, response)
  return nil, undecodable(plan, response, "an error came as a success: "
    .. M.describe(response, plan.private).message)
end

local function decode(plan, response)
  local value, why
  if not says_html(response) then
    value, why = core.json.decode(response.body)
  end
  if value == nil and is_html(response) then
    local about = M.describe(response)
    return nil, { kind = "decode", message = about.message .. " where JSON was expected",
      status = response.status, body = about.body }
  elseif value == nil then
    return nil, undecodable(plan, response, why)
  elseif type(value) ~= "table" then
    return nil, undecodable(plan, response, "an object was expected")
  elseif is_failure(value) then
    return false_success(plan, response)
  end
  return value
end

local readers = {}

function readers.one(state, plan, response)
  local value, fault = decode(plan, response)
  if not value then
    return nil, fault
  end
  local inner = plan.unwrap and value[plan.unwrap]
  if type(inner) == "table" then
    value = inner
  elseif plan.unwrap and value._id == nil and value.id == nil and not plan.dry then
    return nil, undecodable(plan, response, ("an object under '%s' was expected"):format(
      plan.unwrap))
  end
  return M.tag(state, plan, value)
end

-- Documented as a bare number, or not at all: what stands there; true where that is nothing.
function readers.value(_, plan, response)
  local body = response.body
  if not body:find("%S") then
    return true
  elseif is_html { headers = response.headers, body = body:sub(1, 64) } then
    return decode(plan, response)
  end
  local value, why = core.json.decode(body)
  if value == core.json.null then
    return true
  elseif not value then
    return nil, undecodable(plan, response, why or "the answer is false")
  elseif is_failure(value) then
    return false_success(plan, response)
  end
  return value
end

-- A map's keys are its elements' ids; an array is a list; an empty map may come as an empty array.
local function rank(id, key)
  return tonumber(id) or tonumber(key) or math.huge
end

--- Sorts the elements of an id-keyed map, or of a list, by their ids as numbers.
function M.sorted(value)
  local list, ranks, order = {}, {}, {}
  for key, element in pairs(value) do
    local n = #list + 1
    list[n] = element
    ranks[element] = rank(type(element) == "table" and element.id, key)
    order[element] = type(key) == "number" and key or n
  end
  table.sort(list, function(a, b)
    if ranks[a] ~= ranks[b] then
      return ranks[a] < ranks[b]
    end
    return order[a] < order[b]
  end)
  return list
end

-- A long map's elements in order, on nginx's event loop; or nil.
local function long_map(state, plan, body)
  local turn = #body > long.LONG and state.transport.turn
  local list = turn and long.decode(body, plan.unwrap, turn)
  for _, element in ipairs(list or {}) do
    M.tag(state, plan, element)
  end
  return list
end

function readers.map(state, plan, response)
  local list = long_map(state, plan, response.body)
  if list then
    return list
  end
  local value, fault = decode(plan, response)
  if not value then
    return nil, fault
  end
  for _, element in pairs(value) do
    if type(element) ~= "table" then
      return nil, undecodable(plan, response, "a list of objects was expected")
    end
    M.tag(state, plan, element)
  end
  return M.sorted(value)
end

-- Nothing but objects: an object in place of the list would read as an empty list.
local function is_list(value)
  local count = 0
  for _, element in pairs(value) do
    if type(element) ~= "table" then
      return false
    end
    count = count + 1
  end
  return count == #value
end

--- A page of a list: its elements in the server's order, and where the next page is (or nil).
function M.page(state, plan, response)
  local value, fault = decode(plan, response)
  if not value then
    return nil, fault
  end
  local list = value
  if plan.unwrap then
    list = value[plan.unwrap]
  end
  if type(list) ~= "table" then
    return nil, undecodable(plan, response, ("a list under '%s' was expected"):format(plan.unwrap))
  elseif not is_list(list) then
    return nil, undecodable(plan, response, "a list of objects was expected")
  end
  for _, element in ipairs(list) do
    M.tag(state, plan, element)
  end
  local more = value.next or ""
  if type(more) ~= "string" then -- no end either: the rest would be missing
    return nil, undecodable(plan, response, "the link to the next page is no text")
  end
  return { list = list, next = more ~= "" and more or nil }
end

-- where lists are found that nobody documented
local wrappers = { "items", "results", "data", "values" }

function readers.list(state, plan, response)
  local value, fault = decode(plan, response)
  if not value then
    return nil, fault
  end
  local list = plan.unwrap and value[plan.unwrap] or value
  for _, name in ipairs(list == value and #value == 0 and wrappers or {}) do
    list = type(value[name]) == "table" and value[name] or list
  end
  for _, element in ipairs(list) do
    M.tag(state, plan, element)
  end
  return list
end

--- Whatever stands in a list, in any of its forms, sorted: nil and a fault if it is no JSON.
function M.elements(_, plan, response)
  local value, fault = decode(plan, response)
  if not value then
    return nil, fault
  end
  local list = plan.unwrap and value[plan.unwrap] or value
  return M.sorted(type(list) == "table" and list or {})
end

function readers.count(_, _, response, outcome)
  if outcome.count == nil then
    return nil, { kind = "decode", message = "the count is unknown: the answer has no X-Count",
      status = response.status }
  end
  return outcome.count
end

--- What was created. A server that says 201 has created something: an answer without a usable
-- Location is still a success, only without an id. An error would make callers create it again.
function readers.location(_, _, _, outcome)
  return { id = outcome.id, location = outcome.id and outcome.location, how = "created" }
end

function readers.none()
  return true
end

function readers.file(_, _, response)
  return response.body
end

--- Reads a successful response: the answer, or nil and the fields of an error.
function M.read(state, plan, response, outcome)
  local reader = readers[plan.answer] or readers.one
  return reader(state, plan, response, outcome)
end

return M

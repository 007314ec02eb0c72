--- From a response to what the caller gets: the decoded answer, or what the error says.
--
-- Pure but for billhook.core. `plan` is a call under way (see exchange.lua); `state` a client's.

local core = require "billhook.core"
local errors = require "billhook.error"
local long = require "billhook.call.long"
local marks = require "billhook.call.mark"
local quote = require "billhook.call.quote"
local reason = require "billhook.call.reason"

local M = {}

--- An error object about a call.
function M.fault(state, plan, fields)
  local err = { secrets = quote.secrets(state, plan), vendor = state.vendor.name,
    operation = plan.operation }
  for name, value in pairs(fields) do
    err[name] = value
  end
  return errors.new(err)
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

local function false_success(plan, response)
  return nil, undecodable(plan, response, "an error came as a success: "
    .. reason.describe(response, plan.private).message)
end

--- The fault of an answer that is a page where something else was `wanted`, or nil.
function M.page_fault(response, wanted)
  if reason.is_page(response) then
    local about = reason.describe(response)
    return { kind = "decode", message = ("%s where %s was expected"):format(about.message, wanted),
      status = response.status, body = about.body }
  end
end

-- Any JSON: the value; nil and a fault.
local function decode_any(plan, response)
  local value, why = core.json.decode(response.body)
  if value ~= nil then
    return value
  elseif not response.body:find("%S") then
    why = "the answer is empty where JSON was expected"
  end
  return nil, M.page_fault(response, "JSON") or undecodable(plan, response, why)
end

local function decode(plan, response)
  local value, fault = decode_any(plan, response)
  if value == nil then
    return nil, fault
  elseif type(value) ~= "table" then
    return nil, undecodable(plan, response, marks.unlike(plan.mark, marks.asked(plan), value))
  elseif marks.is_failure(value) then
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
  end
  -- what a dry run answers is its own
  local why = marks.unlike(not plan.dry and plan.mark or nil, marks.asked(plan), value)
  if why then
    return nil, undecodable(plan, response, why
      .. (plan.unwrap and inner == nil and (", not under '%s'"):format(plan.unwrap) or ""))
  end
  local contradicts = plan.looks and plan.looks.contradicts
  if contradicts and contradicts(plan.plain, value) then
    return nil, undecodable(plan, response, "the answer is about another one than was asked for")
  end
  return M.tag(state, plan, value)
end

function readers.number(_, plan, response)
  local value, fault = decode_any(plan, response)
  if value == nil then
    return nil, fault
  elseif marks.is_failure(value) then
    return false_success(plan, response)
  elseif not marks.is_count(value) then
    return nil, undecodable(plan, response, ("a whole number was expected, and %s came"):format(
      type(value) == "number" and "another one" or marks.name_of(nil, value)))
  end
  return value
end

-- by its elements' ids as numbers
local function sorted(list)
  local ranks, order = {}, {}
  for i, element in ipairs(list) do
    ranks[element], order[element] = tonumber(element.id) or math.huge, i
  end
  table.sort(list, function(a, b)
    if ranks[a] ~= ranks[b] then
      return ranks[a] < ranks[b]
    end
    return order[a] < order[b]
  end)
  return list
end

-- A map's keys are its elements' ids; an array is a list; an empty map may come as an empty array.
function readers.map(state, plan, response)
  local list, why = long.decode(response.body, state.transport.turn, function(element, name)
    return marks.unlike_element(plan.mark, element, name)
  end)
  if not list then -- as a whole it may say more
    local value, fault = decode(plan, response)
    return nil, value == nil and fault or undecodable(plan, response, why)
  end
  for _, element in ipairs(list) do
    M.tag(state, plan, element)
  end
  return sorted(list)
end

-- The elements of a list, tagged; nil and a fault where that is none: an object in place of the
-- list would read as an empty one.
local function elements_of(state, plan, response, list)
  local count = 0
  for _ in pairs(list) do
    count = count + 1
  end
  if count ~= #list then
    return nil, undecodable(plan, response, "a list was expected, and an object came")
  end
  for _, element in ipairs(list) do
    local why = marks.unlike_element(plan.mark, element)
    if why then
      return nil, undecodable(plan, response, why)
    end
    M.tag(state, plan, element)
  end
  return list
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
  end
  list, fault = elements_of(state, plan, response, list)
  if not list then
    return nil, fault
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
  local list = response.body:find("^%s*%[") and value or plan.unwrap and value[plan.unwrap]
  for _, name in ipairs(list and {} or wrappers) do
    list = list or type(value[name]) == "table" and value[name]
  end
  if type(list) ~= "table" then
    return nil, undecodable(plan, response, "a list was expected, and an object came")
  end
  return elements_of(state, plan, response, list)
end

--- Whatever stands in a list that is looked through, in any of its forms, sorted: nil and a fault
-- where it is no list.
function M.elements(state, plan, response)
  local value, fault = readers[plan.answer](state, plan, response)
  return value and sorted(value), fault
end

function readers.count(_, _, response, outcome)
  if outcome.count == nil then
    local header = response.headers["x-count"]
    return nil, { kind = "decode", status = response.status,
      message = header == nil and "the count is unknown: the answer has no X-Count"
        or ("the count is unknown: X-Count is '%s'"):format(reason.one_line(header):sub(1, 40)) }
  end
  return outcome.count
end

-- The id in the body of what was created, as a number where that keeps it.
local function made_id(plan, value)
  local text = plan.mark and type(value) == "table" and marks.id_of(plan.mark, value)
  local number = text and tonumber(text)
  return number and ("%.0f"):format(number) == text and number or text
end

--- What was created. A server that says 201 has created something: an answer that says nothing more
-- is still a success, only without an id. An error would make callers create it again. What says
-- something else leaves open what has happened.
function readers.location(_, plan, response, outcome)
  local body = response.body
  local value = core.json.decode(body)
  if marks.is_failure(value) then
    return false_success(plan, response)
  end
  local id = made_id(plan, value)
  if outcome.id and (not id or id == outcome.id) then
    return { id = outcome.id, location = outcome.location, how = "created" }
  elseif id and not outcome.location then
    return { id = id, how = "created" }
  elseif id or not body:find("%S") then -- the two contradict each other, or say nothing
    return { how = "created" }
  end
  return nil, M.page_fault(response, "a Location") or undecodable(plan, response,
    "a Location was expected, and something else came")
end

-- what says that it was done
local function is_done(plan, value)
  return value.success == true or value.deleted == true
    or plan.mark ~= nil and marks.unlike(plan.mark, marks.asked(plan), value) == nil
end

--- Nothing: an empty body. What has another one says that it was done, or it was not.
function readers.none(_, plan, response)
  local body = response.body
  if not body:find("%S") then
    return true
  end
  local page = M.page_fault(response, "nothing")
  if page then
    return nil, page
  elseif response.status == 404 then
    return true -- a second attempt; its body says that there is none
  end
  local value = core.json.decode(body)
  if marks.is_failure(value) then
    return false_success(plan, response)
  elseif type(value) == "table" and is_done(plan, value) then
    return true
  end
  return nil, undecodable(plan, response, ("an empty answer was expected, and %s came"):format(
    value == nil and "a text" or marks.name_of(plan.mark, value)))
end

function readers.file(_, plan, response)
  local body = response.body
  if body:find("^%%PDF%-") then
    return body
  end
  return nil, M.page_fault(response, "a PDF") or undecodable(plan, response, body == ""
    and "a PDF was expected, and nothing came" or "a PDF was expected, and something else came")
end

--- Reads a successful response: the answer, or nil and the fields of an error.
function M.read(state, plan, response, outcome)
  local reader = readers[plan.answer] or readers.one
  return reader(state, plan, response, outcome)
end

return M

--- From a response to what the caller gets: the decoded answer, or what the error says.
--
-- Pure but for billhook.core. `plan` is a call under way (see exchange.lua); `state` a client's.

local core = require "billhook.core"
local errors = require "billhook.error"
local long = require "billhook.call.long"

local M = {}

-- enough for a line in a log
local MESSAGE_LIMIT = 300

--- An error object about a call.
function M.fault(state, plan, fields)
  local err = { secrets = state.secrets, vendor = state.vendor.name, operation = plan.operation }
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

-- What calls itself HTML and is none is what it looks like: many servers name no other type.
local function is_html(response)
  local body = response.body
  return body:find("^\239?\187?\191?%s*<[!?%a]") ~= nil
    or says_html(response) and body:lower():find("<title", 1, true) ~= nil
end

-- A reason may have marks of emphasis in it.
local function without_tags(response)
  if says_html(response) then
    return (response.body:gsub("</?%a[^<>]*>", " "))
  end
  return response.body
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

--- What a response that is no success says: { message, code, body }.
---@param response table
---@return table
function M.describe(response)
  local body = response.body or ""
  local message, code = from_json(body)
  if not message and is_html(response) then
    local title = body:match("<[tT][iI][tT][lL][eE][^>]*>([^<]*)<")
    title = title and one_line(title) or ""
    local page = title ~= "" and ('HTML page "%s"'):format(title) or "HTML page"
    return {
      message = "the server answered with an " .. page,
      body = ("%s, %d bytes"):format(page, #body),
    }
  end
  if not message and body:find("%S") then
    message = without_tags(response)
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
    body = plan.private and nil or response.body }
end

-- The whole of what an id says, as text: 16, "16" and 16.0 are the same; nil for what is none.
local id_texts = {}

function id_texts.id(id)
  if type(id) == "number" and id >= 1 and id < 2 ^ 63 and id % 1 == 0 then
    return ("%d"):format(id)
  end
  return type(id) == "string" and #id <= 19 and id:match("^[1-9]%d*$") or nil
end

function id_texts.integer(number)
  return type(number) == "number" and number >= 0 and number % 1 == 0 and ("%.0f"):format(number)
    or nil
end

function id_texts.text(text)
  return type(text) == "string" and text:find("%S") and text:lower() or nil
end

local function id_of(mark, value)
  local id = value[mark.member]
  if id == nil and mark.member == "_id" then
    id = value.id
  end
  return id_texts[mark.type](id)
end

-- What the answer must repeat, as the caller gave it; nil where that is nothing.
local function asked(plan)
  local given = plan.mark and plan.mark.same and plan.params[plan.mark.same]
  return given and (type(given) == "number" and ("%d"):format(given) or tostring(given):lower())
end

-- words of a status that is none of success
local failed = { error = true, fail = true, failed = true, failure = true }

local function is_empty(value)
  return not value or value == core.json.null or value == ""
    or type(value) == "table" and next(value) == nil
end

-- Some servers call a failure a success. What has an error in it and no id is none.
local function is_failure(value)
  return type(value) == "table" and (value.success == false
    or value.id == nil and value._id == nil and (not is_empty(value.error)
      or not is_empty(value.errors)
      or type(value.status) == "string" and failed[value.status:lower()] or false))
end

local function false_success(plan, response)
  return nil, undecodable(plan, response, "an error came as a success: "
    .. M.describe(response).message)
end

local words = { number = "a number", string = "a text" }

-- What came, where `mark` was looked for in it.
local function name_of(mark, value)
  if type(value) ~= "table" then
    return words[type(value)] or tostring(value) -- true, false, null
  elseif next(value) == nil then
    return "an empty one"
  elseif #value > 0 then
    return "a list"
  end
  local id = mark and id_of(mark, value)
  return id and ("one with the %s %s"):format(mark.member, id) or ("one without %s"):format(
    mark and ("a good '%s'"):format(mark.member) or "members")
end

-- Why a value is not the object that is known by the mark, or nil.
local function unlike(mark, wanted, value)
  local fine = type(value) == "table"
  if fine and mark then
    local id = id_of(mark, value)
    fine = id ~= nil and (wanted == nil or id == wanted)
  elseif fine then
    fine = next(value) ~= nil and #value == 0
  end
  if fine then
    return nil
  end
  local which = not mark and "" or wanted and (" with the %s %s"):format(mark.member, wanted)
    or (" with '%s'"):format(mark.member)
  return ("an object%s was expected, and %s came"):format(which, name_of(mark, value))
end

--- Why an element of a list is none, or nil. `name` is what it stands under in a map: an id that
-- it has, or a word that says nothing.
function M.unlike_element(plan, element, name)
  local mark = plan.mark
  if type(element) ~= "table" then
    return ("a list of objects was expected, and %s is in it"):format(name_of(mark, element))
  end
  local why = unlike(mark, nil, element)
  if why then
    return "in the list, " .. why
  elseif mark and type(name) == "string" and name:find("^%d+$")
    and name ~= id_of(mark, element) then
    return ("in the list, the object under '%s' is %s"):format(name, name_of(mark, element))
  end
end

--- The fault of an answer that is a page where JSON was expected, or nil.
function M.page_fault(response)
  if is_html(response) then
    local about = M.describe(response)
    return { kind = "decode", message = about.message .. " where JSON was expected",
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
  return nil, M.page_fault(response) or undecodable(plan, response, why)
end

local function decode(plan, response)
  local value, fault = decode_any(plan, response)
  if value == nil then
    return nil, fault
  elseif type(value) ~= "table" then
    return nil, undecodable(plan, response, unlike(plan.mark, asked(plan), value))
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
  end
  -- what a dry run answers is its own
  local why = unlike(not plan.dry and plan.mark or nil, asked(plan), value)
  if why then
    return nil, undecodable(plan, response, why
      .. (plan.unwrap and inner == nil and (", not under '%s'"):format(plan.unwrap) or ""))
  end
  return M.tag(state, plan, value)
end

function readers.number(_, plan, response)
  local value, fault = decode_any(plan, response)
  if value == nil then
    return nil, fault
  elseif is_failure(value) then
    return false_success(plan, response)
  elseif not id_texts.integer(value) then
    return nil, undecodable(plan, response, ("a whole number was expected, and %s came"):format(
      type(value) == "number" and "another one" or name_of(nil, value)))
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
  local list = turn and long.decode(body, turn, function(element, name)
    return not M.unlike_element(plan, element, name)
  end)
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
  for name, element in pairs(value) do
    local why = M.unlike_element(plan, element, name)
    if why then
      return nil, undecodable(plan, response, why)
    end
    M.tag(state, plan, element)
  end
  return M.sorted(value)
end

-- The elements of a list, tagged; nil and a fault where that is none: an object in place of the list
-- would read as an empty one.
local function elements_of(state, plan, response, list)
  local count = 0
  for _ in pairs(list) do
    count = count + 1
  end
  if count ~= #list then
    return nil, undecodable(plan, response, "a list was expected, and an object came")
  end
  for _, element in ipairs(list) do
    local why = M.unlike_element(plan, element)
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
  return value and M.sorted(value), fault
end

function readers.count(_, _, response, outcome)
  if outcome.count == nil then
    local header = response.headers["x-count"]
    return nil, { kind = "decode", status = response.status,
      message = header == nil and "the count is unknown: the answer has no X-Count"
        or ("the count is unknown: X-Count is '%s'"):format(one_line(header):sub(1, 40)) }
  end
  return outcome.count
end

-- The id in the body of what was created, as a number where that keeps it.
local function made_id(plan, value)
  local text = plan.mark and type(value) == "table" and id_of(plan.mark, value)
  local number = text and tonumber(text)
  return number and ("%.0f"):format(number) == text and number or text
end

--- What was created. A server that says 201 has created something: an answer that says nothing more
-- is still a success, only without an id. An error would make callers create it again. What says
-- something else leaves open what has happened.
function readers.location(_, plan, response, outcome)
  local body = response.body
  local value = core.json.decode(body)
  if is_failure(value) then
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
  return nil, M.page_fault(response) or undecodable(plan, response,
    "a Location was expected, and something else came")
end

-- what says that it was done
local function is_done(plan, value)
  return value.success == true or value.deleted == true
    or plan.mark ~= nil and unlike(plan.mark, asked(plan), value) == nil
end

--- Nothing: an empty body. What has another one says that it was done, or it was not.
function readers.none(_, plan, response)
  local body = response.body
  if not body:find("%S") then
    return true
  end
  local page = M.page_fault(response)
  if page then
    page.message = page.message:gsub("JSON", "nothing")
    return nil, page
  elseif response.status == 404 then
    return true -- a second attempt; its body says that there is none
  end
  local value = core.json.decode(body)
  if is_failure(value) then
    return false_success(plan, response)
  elseif type(value) == "table" and is_done(plan, value) then
    return true
  end
  return nil, undecodable(plan, response, ("an empty answer was expected, and %s came"):format(
    value == nil and "a text" or name_of(plan.mark, value)))
end

function readers.file(_, plan, response)
  local body = response.body
  if body:find("^%%PDF%-") then
    return body
  end
  return nil, M.page_fault(response) or undecodable(plan, response, body == ""
    and "a PDF was expected, and nothing came" or "a PDF was expected, and something else came")
end

--- Reads a successful response: the answer, or nil and the fields of an error.
function M.read(state, plan, response, outcome)
  local reader = readers[plan.answer] or readers.one
  return reader(state, plan, response, outcome)
end

return M

--- From a successful response to what the caller gets: the decoded answer, or what is wrong.
--
-- Pure but for billhook.core. A reader gives a value, or nil and an error (see send.lua).

local core = require "billhook.core"
local reason = require "billhook.client.reason"

-- --- substance ---------------------------------------------------------------------------------

-- What an object of an answer is known by: the mark that the tables in C give an operation,
-- { member, type, same }.
--
-- Some servers call a failure a success: a page, {"success":false}, or another object than the one
-- that was asked for. So a status alone proves nothing; what has the mark is an answer.

local substance = {}

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

-- one choice: "OK"
function id_texts.choice(text)
  return type(text) == "string" and text:lower() == "ok" and "ok" or nil
end

--- A whole number from 0 up?
function substance.is_count(value) return id_texts.integer(value) ~= nil end

--- What the mark says in a value, as text; nil where it is none.
function substance.id_of(mark, value)
  local id = value[mark.member]
  if id == nil and mark.member == "_id" then id = value.id end
  return id_texts[mark.type](id)
end

-- words of a status that is none of success
local failed = { error = true, fail = true, failed = true, failure = true }

local function is_empty(value)
  return not value or value == core.json.null or value == ""
    or type(value) == "table" and next(value) == nil
end

--- Does it say that it is a failure? What has an error in it and no id does.
function substance.is_failure(value)
  return type(value) == "table" and (value.success == false
    or value.id == nil and value._id == nil and (not is_empty(value.error)
      or not is_empty(value.errors)
      or type(value.status) == "string" and failed[value.status:lower()] or false))
end

local words = { number = "a number", string = "a text" }

--- What came, where `mark` was looked for in it.
function substance.name_of(mark, value)
  if type(value) ~= "table" then
    return words[type(value)] or tostring(value) -- true, false, null
  elseif next(value) == nil then
    return "an empty one"
  elseif #value > 0 then
    return "a list"
  end
  local id = mark and substance.id_of(mark, value)
  if id then return ("one with the %s %s"):format(mark.member, id:gsub("%c", "?"):sub(1, 40)) end
  return mark and ("one without a good '%s'"):format(mark.member) or "one without members"
end

--- Why a value is not the object that is known by the mark, or nil.
function substance.unlike(mark, wanted, value)
  local fine = type(value) == "table"
  if fine and mark then
    local id = substance.id_of(mark, value)
    fine = id ~= nil and (wanted == nil or id == wanted)
  elseif fine then
    fine = next(value) ~= nil and #value == 0
  end
  if fine then return nil end
  local which = not mark and "" or wanted and (" with the %s %s"):format(mark.member, wanted)
    or (" with '%s'"):format(mark.member)
  return ("an object%s was expected, and %s came"):format(which, substance.name_of(mark, value))
end

--- Why an element of a list is none, or nil. `name` is what it stands under in a map: its id.
---@param mark table?
function substance.unlike_element(mark, element, name)
  if type(element) ~= "table" then
    return ("a list of objects was expected, and %s is in it"):format(
      substance.name_of(mark, element))
  end
  local why = substance.unlike(mark, nil, element)
  if why then
    return "in the list, " .. why
  elseif not mark and name and not name:find("^%d+$") then
    return ("an object by its id was expected, and '%s' came"):format(name:gsub("%c", "?"))
  elseif mark and name and name ~= substance.id_of(mark, element) then
    return ("in the list, the object under '%s' is %s"):format(name,
      substance.name_of(mark, element))
  end
end

local M = { substance = substance }

local tag

--- Remembers the vendor with what is an invoice.
function M.tag(account, value)
  tag = tag or require("billhook.invoice").tag
  return tag(account.vendor.name, value)
end

--- The same, if the request asks for invoices.
function M.tagged(account, request, value)
  return request.invoices and type(value) == "table" and M.tag(account, value) or value
end

-- --- what is wrong -----------------------------------------------------------------------------

local function undecodable(request, response, why)
  return nil, { kind = "decode", message = why, status = response.status,
    body = reason.quoted(request, response.body) }
end

local function false_success(request, response)
  return undecodable(request, response, "an error came as a success: "
    .. reason.describe(response, request.private).message)
end

--- The error of an answer that is a page where something else was `wanted`, or nil.
function M.page_error(response, wanted)
  if not reason.is_page(response) then return nil end
  local about = reason.describe(response)
  return { kind = "decode", message = ("%s where %s was expected"):format(about.message, wanted),
    status = response.status, body = about.body }
end

-- What came is not what was `wanted`: a page, perhaps.
local function other(request, response, wanted, came)
  local page = M.page_error(response, wanted)
  if page then return nil, page end
  return undecodable(request, response, ("%s was expected, and %s came"):format(wanted, came))
end

-- --- JSON --------------------------------------------------------------------------------------

-- Any JSON that is no failure.
local function decode_any(request, response)
  local value, why = core.json.decode(response.body, "answer")
  if value == nil then
    local page = M.page_error(response, "JSON")
    if page then return nil, page end
    return undecodable(request, response, response.body:find("%S") and why
      or "the answer is empty where JSON was expected")
  elseif substance.is_failure(value) then
    return false_success(request, response)
  end
  return value
end

local function decode(request, response)
  local value, err = decode_any(request, response)
  if value == nil or type(value) == "table" then return value, err end
  return undecodable(request, response,
    substance.unlike(request.operation.mark, request.asked, value))
end

local readers = {}

function readers.one(account, request, response)
  local value, err = decode(request, response)
  if not value then return nil, err end
  local inner, bare = request.unwrap and value[request.unwrap], ""
  if type(inner) == "table" then
    value = inner
  elseif request.unwrap and inner == nil then
    bare = (", not under '%s'"):format(request.unwrap)
  end
  -- what a dry run answers is its own
  local mark = not request.dry and request.operation.mark or nil
  local why = substance.unlike(mark, request.asked, value)
  if why then return undecodable(request, response, why .. bare) end
  local looks = account.vendor.looks[request.name]
  if looks and looks.contradicts and looks.contradicts(request.plain or {}, value) then
    return undecodable(request, response, "the answer is about another one than was asked for")
  end
  return M.tagged(account, request, value)
end

function readers.number(_, request, response)
  local value, err = decode_any(request, response)
  if value == nil or substance.is_count(value) then return value, err end
  return undecodable(request, response, ("a whole number was expected, and %s came"):format(
    type(value) == "number" and "another one" or substance.name_of(nil, value)))
end

-- --- lists -------------------------------------------------------------------------------------

-- Longer texts are decoded bit by bit, with a turn of others in between on nginx's event loop.
local LONG, PIECE = 256 * 1024, 64 * 1024
-- A name that is longer is cut by the stream.
local LONGEST_NAME = 31

-- Adds the elements that the stream has; what is wrong with one, or nil.
local function take(stream, list, names, mark)
  while true do
    local value, why, name = stream:value()
    if value == nil or why then return why end
    if name and #name <= LONGEST_NAME then
      if names[name] then return ("a member comes twice: '%s'"):format(name) end
      names[name] = true
    end
    why = substance.unlike_element(mark, value, name)
    if why then return why end
    list[#list + 1] = value
  end
end

-- The elements of a list or an object in their order, decoded as a walk does, so that nothing in it
-- is left out unseen; nil and what is wrong.
local function elements_in(body, mark, turn)
  local stream, list, names = core.json.stream(nil, #body + 1, true), {}, {}
  for at = 1, #body, PIECE do
    if turn and #body > LONG then turn() end
    local fed, why = stream:feed(body:sub(at, at + PIECE - 1))
    why = not fed and why or take(stream, list, names, mark)
    if why then return nil, why end
  end
  local whole, why = stream:finish()
  return whole and list or nil, why
end

-- by its elements' ids as numbers
local function sorted(list)
  local ranks, order = {}, {}
  for i, element in ipairs(list) do
    ranks[element], order[element] = tonumber(element.id) or math.huge, i
  end
  table.sort(list, function(a, b)
    if ranks[a] ~= ranks[b] then return ranks[a] < ranks[b] end
    return order[a] < order[b]
  end)
  return list
end

-- A map's keys are its elements' ids; an array is a list; an empty map may come as an empty array.
function readers.map(account, request, response)
  local list, why = elements_in(response.body, request.operation.mark, account.transport.turn)
  if not list then -- as a whole it may say more
    local value, err = decode(request, response)
    if value == nil then return nil, err end
    return undecodable(request, response, why)
  end
  for _, element in ipairs(list) do M.tagged(account, request, element) end
  return sorted(list)
end

-- The elements of a list, tagged: an object in its place would read as an empty one.
local function elements_of(account, request, response, list)
  local count, why = 0, nil
  for _ in pairs(type(list) == "table" and list or {}) do count = count + 1 end
  if type(list) ~= "table" or count ~= #list then
    why = "a list was expected, and an object came"
  end
  for _, element in ipairs(why and {} or list) do
    why = why or substance.unlike_element(request.operation.mark, element)
    M.tagged(account, request, element)
  end
  if why then return undecodable(request, response, why) end
  return list
end

--- A page of a list: its elements in the server's order, and where the next page is (or nil).
function M.page(account, request, response)
  local value, err = decode(request, response)
  if not value then return nil, err end
  local list = value
  if request.unwrap then list = value[request.unwrap] end
  if type(list) ~= "table" then
    return undecodable(request, response, ("a list under '%s' was expected"):format(request.unwrap))
  end
  list, err = elements_of(account, request, response, list)
  if not list then return nil, err end
  local more = value.next or ""
  if type(more) ~= "string" then -- no end either: the rest would be missing
    return undecodable(request, response, "the link to the next page is no text")
  end
  return { list = list, next = more ~= "" and more or nil }
end

function readers.list(account, request, response)
  local value, err = decode(request, response)
  if not value then return nil, err end
  local list = response.body:find("^%s*%[") and value
  for name in (request.unwrap or ""):gmatch("%S+") do
    list = list or type(value[name]) == "table" and value[name]
  end
  return elements_of(account, request, response, list)
end

--- Whatever stands in a list that is looked through, in any of its forms, sorted: nil and an error
-- where it is no list.
function M.elements(account, request, response)
  local value, err = readers[request.answer](account, request, response)
  return value and sorted(value), err
end

-- --- other answers -----------------------------------------------------------------------------

function readers.count(_, _, response, outcome)
  if outcome.count then return outcome.count end
  local header = response.headers["x-count"]
  return nil, { kind = "decode", status = response.status, message = "the count is unknown: "
    .. (header == nil and "the answer has no X-Count"
      or ("X-Count is '%s'"):format(reason.one_line(header):sub(1, 40))) }
end

-- No document shows it: an object, or nothing.
function readers.any(account, request, response)
  if not response.body:find("%S") then return true end
  local value, err = decode(request, response)
  if not value then return nil, err end
  if response.body:find("^%s*{") and next(value) == nil then return true end -- it says nothing
  local why = substance.unlike(nil, nil, value)
  if why then return undecodable(request, response, why) end
  return M.tagged(account, request, value)
end

--- The status says it: HEAD has no body. A page is none of what was asked for.
function readers.exists(_, _, response, outcome)
  local page = not outcome.gone and M.page_error(response, "no body")
  if page then return nil, page end
  return not outcome.gone
end

-- The id in the body of what was created, as a number where that keeps it.
local function made_id(mark, value)
  local text = mark and type(value) == "table" and substance.id_of(mark, value)
  local number = text and tonumber(text)
  return number and ("%.0f"):format(number) == text and number or text
end

--- What was created. A server that says 201 has created something: an answer that says nothing more
-- is still a success, only without an id. An error would make callers create it again. What says
-- something else leaves open what has happened.
function readers.location(_, request, response, outcome)
  local value = core.json.decode(response.body, "answer")
  if substance.is_failure(value) then return false_success(request, response) end
  local id = made_id(request.operation.mark, value)
  if outcome.id and (not id or id == outcome.id) then
    return { id = outcome.id, location = outcome.location, how = "created" }
  elseif id and not outcome.location then
    return { id = id, how = "created" }
  elseif id or not response.body:find("%S") then -- the two contradict each other, or say nothing
    return { how = "created" }
  end
  return other(request, response, "a Location", "something else")
end

--- Nothing: an empty body. What has another one says that it was done, or it was not.
function readers.none(_, request, response, outcome)
  local body, mark = response.body, request.operation.mark
  if not body:find("%S") then return true end
  local page = M.page_error(response, "nothing")
  if page then return nil, page end
  if outcome.gone then return true end -- a second attempt; its body says that there is none
  local value = core.json.decode(body, "answer")
  if substance.is_failure(value) then return false_success(request, response) end
  if type(value) == "table" and (value.success == true or value.deleted == true
    or mark and not substance.unlike(mark, request.asked, value)) then
    return true
  end
  return undecodable(request, response, ("an empty answer was expected, and %s came"):format(
    value == nil and "a text" or substance.name_of(mark, value)))
end

function readers.file(_, request, response)
  if response.body:find("^%%PDF%-") then return response.body end
  return other(request, response, "a PDF", response.body == "" and "nothing" or "something else")
end

--- Reads a successful response: the answer, or nil and an error.
function M.read(account, request, response, outcome)
  return (readers[request.answer] or readers.one)(account, request, response, outcome)
end

return M

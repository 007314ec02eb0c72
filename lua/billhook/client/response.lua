--- Reads answers: the value of a success; of any other answer, why it is none, and what an error
-- may quote of it.
--
-- Pure functions but for billhook.core; time is an argument. A reader gives a value, or nil and an
-- error (see send.lua). The tables in C say how an object is recognized (src/lmark.c).

local core = require "billhook.core"
local retry = require "billhook.client.retry"

local M = {}

-- --- what a server says ------------------------------------------------------------------------

-- enough for a line in a log
local MESSAGE_LIMIT = 300

local function says_html(response)
  return (response.headers["content-type"] or ""):find("html", 1, true) ~= nil
end

-- what only a page of HTML has
local parts = { "<html", "<head", "<title", "<body" }

-- Is it a page of HTML? The type alone does not decide: many servers send every answer as HTML.
local function is_page(response)
  local body = response.body
  local lower = (says_html(response) or body:find("^%s*<%a")) and body:lower() or ""
  for _, part in ipairs(parts) do
    if lower:find(part, 1, true) then return true end
  end
  return body:find("^%s*<[!?]") ~= nil
end

-- A text as one short line.
local function one_line(text)
  text = text:gsub("[%c%s]+", " "):gsub("^ ", ""):gsub(" $", "")
  if #text > MESSAGE_LIMIT then
    text = text:sub(1, MESSAGE_LIMIT):gsub("[\128-\255]+$", "") .. "..."
  end
  return text
end

-- Errors come as JSON with both of `code` and `message`, one of them, or `error` (a text, or an
-- object with these two), or as plain text.
local function from_json(body)
  local value = body:find("^%s*{") and core.json.decode(body, "answer")
  if type(value) ~= "table" then return nil end
  local message, code = value.message or value.error, value.code
  if type(message) == "table" then message, code = message.message, code or message.code end
  if type(code) == "number" then code = tostring(code) end
  code = type(code) == "string" and code or nil
  return type(message) == "string" and message or code, code
end

--- What a response that is no success says: { message, code, body }. What is private and no JSON is
--- no message.
---@param response table
---@param private? boolean
---@return table
function M.describe(response, private)
  local body = response.body or ""
  local message, code = from_json(body)
  if not message and is_page { headers = response.headers, body = body } then
    local title = one_line(body:match("<[tT][iI][tT][lL][eE][^>]*>([^<]*)<") or "")
    local page = title ~= "" and ('HTML page "%s"'):format(title) or "HTML page"
    return { message = "the server answered with an " .. page,
      body = ("%s, %d bytes"):format(page, #body) }
  elseif not message and body:find("%S") and not private then
    -- a reason may have marks of emphasis in it
    local tags = says_html(response) or body:find("^%s*<%a")
    message = tags and body:gsub("</?%a[^<>]*>", " ") or body
  end
  return { message = message and one_line(message) or ("HTTP status %d"):format(response.status),
    code = code, body = body ~= "" and body or nil }
end

local LONGEST_PLACE = 200

--- Where a redirect leads, for a message: its Location without what may be a secret (a user name, a
--- query); nil where it names no place.
---@param location string?
---@return string?
function M.place(location)
  local place = (location or ""):match("^[^?#]*"):gsub("//[^/]*@", "//"):gsub("[^!-~]", "?")
  return place ~= "" and place:sub(1, LONGEST_PLACE) or nil
end

--- The error of a response that is no success.
---@param response table
---@param outcome table what its status means: of core.call.conclude
---@param now number epoch seconds
---@param private? boolean
---@return table
function M.refusal(response, outcome, now, private)
  local err = M.describe(response, private)
  if outcome.message then -- of a redirect, say: its page tells less
    local target = response.status < 400 and M.place(response.headers.location)
    err.message = outcome.message .. (target and " to " .. target or "")
  end
  err.kind, err.status = outcome.kind, response.status
  err.retryable, err.processed, err.open = outcome.retryable, outcome.processed, outcome.open
  err.retry_after = outcome.retry_after
    and retry.after(outcome.retry_after, response.headers.date, now)
  return err
end

-- --- what an error may quote -------------------------------------------------------------------

-- A call about a provider of Betterez is private (CALL_PRIVATE in src/call.h): its body holds
-- secrets of others, below `params` whatever their names.
local function collect(value, inside, list)
  for name, inner in pairs(type(value) == "table" and value or {}) do
    local below = inside or tostring(name):lower() == "params"
    if type(inner) == "table" then
      collect(inner, below, list)
    elseif below and type(inner) ~= "boolean" then
      list[#list + 1] = tostring(inner)
    end
  end
end

--- What a message about a request must not quote: our credentials, and those of a provider that
-- were sent.
---@return string[]?
function M.secrets(account, request)
  if not request.private then return account.secrets end
  local list = {}
  for i, secret in ipairs(account.secrets) do list[i] = secret end
  for _, secret in ipairs(request.credentials or {}) do list[#list + 1] = secret end
  collect(request.body and core.json.read(request.body), false, list)
  return list
end

-- Names of members that hold credentials; also as the name in a { name, value }.
local CREDENTIALS = { "*apiKey", "*token", "*password", "*passwd", "*passphrase", "*secret",
  "*signerKey", "*signingKey", "*privateKey", "authorization" }

--- What an error may quote of a body: nothing if it is private, and JSON without credentials.
--- (error.lua removes what may be a credential from other texts.)
---@param request table
---@param body string?
---@return string?
function M.quoted(request, body)
  if request.private then return nil end
  if body and core.json.read(body) ~= nil then return core.json.redact(body, CREDENTIALS) end
  return body
end

-- --- what is wrong with a success --------------------------------------------------------------

-- words of a status that is none of success
local failed = { error = true, fail = true, failed = true, failure = true }

local function is_empty(value)
  return not value or value == core.json.null or value == ""
    or type(value) == "table" and next(value) == nil
end

-- Does it say that it is a failure? It does if it has an error and no id.
local function is_failure(value)
  return type(value) == "table" and (value.success == false
    or value.id == nil and value._id == nil and (not is_empty(value.error)
      or not is_empty(value.errors)
      or type(value.status) == "string" and failed[value.status:lower()] or false))
end

local tag

--- Notes the vendor with a value that is an invoice; other values stay as they are.
function M.tag(account, value)
  tag = tag or require("billhook.invoice").tag
  return type(value) == "table" and tag(account.vendor.name, value) or value
end

local function tagged(account, request, value)
  return request.invoices and M.tag(account, value) or value
end

local function undecodable(request, response, why)
  return nil, { kind = "decode", message = why, status = response.status,
    body = M.quoted(request, response.body) }
end

local function false_success(request, response)
  return undecodable(request, response, "an error came as a success: "
    .. M.describe(response, request.private).message)
end

--- The error of an answer that is a page where something else was `wanted`, or nil.
function M.page_error(response, wanted)
  if not is_page(response) then return nil end
  local about = M.describe(response)
  return { kind = "decode", message = ("%s where %s was expected"):format(about.message, wanted),
    status = response.status, body = about.body }
end

-- What came is not what was `wanted`: a page, perhaps.
local function other(request, response, wanted, why)
  local page = M.page_error(response, wanted)
  if page then return nil, page end
  return undecodable(request, response, why)
end

-- Any JSON that does not say that it is a failure.
local function decode_any(request, response)
  local value, why = core.json.decode(response.body, "answer")
  if value == nil then
    return other(request, response, "JSON", response.body:find("%S") and why
      or "the answer is empty where JSON was expected")
  elseif is_failure(value) then
    return false_success(request, response)
  end
  return value
end

local function decode(request, response)
  local value, err = decode_any(request, response)
  if value == nil or type(value) == "table" then return value, err end
  return undecodable(request, response, request.mark:unlike(value, request.asked))
end

-- --- one object --------------------------------------------------------------------------------

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
  local why = request.mark:unlike(value, request.asked)
  if why then return undecodable(request, response, why .. bare) end
  local looks = account.vendor.looks[request.name]
  if looks and looks.contradicts and looks.contradicts(request.plain or {}, value) then
    return undecodable(request, response, "the answer is about another one than was asked for")
  end
  return tagged(account, request, value)
end

function readers.number(_, request, response)
  local value, err = decode_any(request, response)
  if value == nil then return nil, err end
  local number = type(value) == "number"
  if number and value >= 0 and value % 1 == 0 then return value end
  return undecodable(request, response, ("a whole number was expected, and %s came"):format(
    number and "another one" or request.mark:name(value)))
end

-- No document shows it: an object, or nothing.
function readers.any(account, request, response)
  if not response.body:find("%S") then return true end
  local value, err = decode(request, response)
  if not value then return nil, err end
  if response.body:find("^%s*{") and next(value) == nil then return true end -- it says nothing
  local why = request.mark:unlike(value)
  if why then return undecodable(request, response, why) end
  return tagged(account, request, value)
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
    why = mark:unlike_element(value, name)
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
  local list, why = elements_in(response.body, request.mark, account.transport.turn)
  if not list then -- as a whole it may say more
    local value, err = decode(request, response)
    if value == nil then return nil, err end
    return undecodable(request, response, why)
  end
  for _, element in ipairs(list) do tagged(account, request, element) end
  return setmetatable(sorted(list), core.json.array) -- none of them is [] and not {}
end

-- The elements of a list, tagged: an object in its place would read as an empty one.
local function elements_of(account, request, response, list)
  if type(list) ~= "table" or #list == 0 and next(list) ~= nil then
    return undecodable(request, response, "a list was expected, and an object came")
  end
  for _, element in ipairs(list) do
    local why = request.mark:unlike_element(element)
    if why then return undecodable(request, response, why) end
    tagged(account, request, element)
  end
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

-- --- answers whose body says little ------------------------------------------------------------

function readers.count(_, _, response, outcome)
  if outcome.count then return outcome.count end
  local header = response.headers["x-count"]
  return nil, { kind = "decode", status = response.status, message = "the count is unknown: "
    .. (header == nil and "the answer has no X-Count"
      or ("X-Count is '%s'"):format(one_line(header):sub(1, 40))) }
end

--- The status is the answer, because HEAD has no body. A page of HTML is an error.
function readers.exists(_, _, response, outcome)
  local page = not outcome.gone and M.page_error(response, "no body")
  if page then return nil, page end
  return not outcome.gone
end

--- What was created. If an answer has no id, or two, the result has none: then billhook.once looks
-- for the object, and it is no success if that finds nothing. After any other answer the outcome is
-- open.
function readers.location(_, request, response, outcome)
  local value = core.json.decode(response.body, "answer")
  if is_failure(value) then return false_success(request, response) end
  local id = request.mark:id(value)
  local number = id and tonumber(id) -- where that keeps it
  id = number and ("%.0f"):format(number) == id and number or id
  if outcome.id and (not id or id == outcome.id) then
    return { id = outcome.id, location = outcome.location, how = "created" }
  elseif id and not outcome.location then
    return { id = id, how = "created" }
  elseif id or not response.body:find("%S") then -- the two contradict each other, or say nothing
    return { how = "created" }
  end
  return other(request, response, "a Location",
    "a Location was expected, and something else came")
end

--- No value: an empty body. Any other body must say that the call was done.
function readers.none(_, request, response, outcome)
  local body = response.body
  if not body:find("%S") then return true end
  local page = M.page_error(response, "nothing")
  if page then return nil, page end
  if outcome.gone then return true end -- a second attempt; its body says that there is none
  local value = core.json.decode(body, "answer")
  if is_failure(value) then return false_success(request, response) end
  if type(value) == "table" and (value.success == true or value.deleted == true
    or request.mark:id(value) and not request.mark:unlike(value, request.asked)) then
    return true
  end
  return undecodable(request, response, ("an empty answer was expected, and %s came"):format(
    value == nil and "a text" or request.mark:name(value)))
end

function readers.file(_, request, response)
  if response.body:find("^%%PDF%-") then return response.body end
  return other(request, response, "a PDF", ("a PDF was expected, and %s came"):format(
    response.body == "" and "nothing" or "something else"))
end

--- Reads a successful response: the answer, or nil and an error.
function M.read(account, request, response, outcome)
  return (readers[request.answer] or readers.one)(account, request, response, outcome)
end

return M

--- What an object of an answer is known by: the mark that the tables in C give an operation,
-- { member, type, same }.
--
-- Some servers call a failure a success: a page, {"success":false}, or another object than the one
-- that was asked for. So a status alone proves nothing; what has the mark is an answer.

local core = require "billhook.core"

local M = {}

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
function M.is_count(value)
  return id_texts.integer(value) ~= nil
end

--- What the mark says in a value, as text; nil where it is none.
function M.id_of(mark, value)
  local id = value[mark.member]
  if id == nil and mark.member == "_id" then
    id = value.id
  end
  return id_texts[mark.type](id)
end

-- words of a status that is none of success
local failed = { error = true, fail = true, failed = true, failure = true }

local function is_empty(value)
  return not value or value == core.json.null or value == ""
    or type(value) == "table" and next(value) == nil
end

--- Does it say that it is a failure? What has an error in it and no id does.
function M.is_failure(value)
  return type(value) == "table" and (value.success == false
    or value.id == nil and value._id == nil and (not is_empty(value.error)
      or not is_empty(value.errors)
      or type(value.status) == "string" and failed[value.status:lower()] or false))
end

local words = { number = "a number", string = "a text" }

--- What came, where `mark` was looked for in it.
function M.name_of(mark, value)
  if type(value) ~= "table" then
    return words[type(value)] or tostring(value) -- true, false, null
  elseif next(value) == nil then
    return "an empty one"
  elseif #value > 0 then
    return "a list"
  end
  local id = mark and M.id_of(mark, value)
  if id then
    return ("one with the %s %s"):format(mark.member, id:gsub("%c", "?"):sub(1, 40))
  end
  return mark and ("one without a good '%s'"):format(mark.member) or "one without members"
end

--- Why a value is not the object that is known by the mark, or nil.
function M.unlike(mark, wanted, value)
  local fine = type(value) == "table"
  if fine and mark then
    local id = M.id_of(mark, value)
    fine = id ~= nil and (wanted == nil or id == wanted)
  elseif fine then
    fine = next(value) ~= nil and #value == 0
  end
  if fine then
    return nil
  end
  local which = not mark and "" or wanted and (" with the %s %s"):format(mark.member, wanted)
    or (" with '%s'"):format(mark.member)
  return ("an object%s was expected, and %s came"):format(which, M.name_of(mark, value))
end

--- Why an element of a list is none, or nil. `name` is what it stands under in a map: its id.
---@param mark table?
function M.unlike_element(mark, element, name)
  if type(element) ~= "table" then
    return ("a list of objects was expected, and %s is in it"):format(M.name_of(mark, element))
  end
  local why = M.unlike(mark, nil, element)
  if why then
    return "in the list, " .. why
  elseif not mark and name and not name:find("^%d+$") then
    return ("an object by its id was expected, and '%s' came"):format(name:gsub("%c", "?"))
  elseif mark and name and name ~= M.id_of(mark, element) then
    return ("in the list, the object under '%s' is %s"):format(name, M.name_of(mark, element))
  end
end

return M

--- What a server says in an answer that is not the one that was hoped for.

local core = require "billhook.core"

local M = {}

-- enough for a line in a log
local MESSAGE_LIMIT = 300

local function says_html(response)
  local kind = response.headers["content-type"]
  return kind ~= nil and kind:find("html", 1, true) ~= nil
end

--- Is it a page of HTML? What calls itself HTML and is none is what it looks like: many servers
-- name no other type.
function M.is_page(response)
  local body = response.body
  return body:find("^\239?\187?\191?%s*<[!?%a]") ~= nil
    or says_html(response) and body:lower():find("<title", 1, true) ~= nil
end

-- A reason may have marks of emphasis in it.
local function without_tags(response, body)
  return says_html(response) and body:gsub("</?%a[^<>]*>", " ") or body
end

--- A text as one short line.
function M.one_line(text)
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
  local message, code = from_json(body)
  if not message and M.is_page { headers = response.headers, body = body } then
    local title = body:match("<[tT][iI][tT][lL][eE][^>]*>([^<]*)<")
    title = title and M.one_line(title) or ""
    local page = title ~= "" and ('HTML page "%s"'):format(title) or "HTML page"
    return {
      message = "the server answered with an " .. page,
      body = ("%s, %d bytes"):format(page, #body),
    }
  end
  if not message and body:find("%S") and not private then
    message = without_tags(response, body)
  end
  return {
    message = message and M.one_line(message) or ("HTTP status %d"):format(response.status),
    code = code,
    body = body ~= "" and body or nil,
  }
end

return M

--- What a server says in an answer that is not the one that was hoped for, and what of it an error
-- may quote.

local core = require "billhook.core"

local M = {}

-- enough for a line in a log
local MESSAGE_LIMIT = 300

local function says_html(response)
  local kind = response.headers["content-type"]
  return kind ~= nil and kind:find("html", 1, true) ~= nil
end

-- what only a page has
local parts = { "<html", "<head", "<title", "<body" }

--- Is it a page of HTML? What calls itself HTML and is none is what it looks like: many servers
-- name no other type.
function M.is_page(response)
  local body = response.body
  local tagged = body:find("^%s*<%a") ~= nil
  local lower = (tagged or says_html(response)) and body:lower() or ""
  for _, part in ipairs(parts) do
    if lower:find(part, 1, true) then return true end
  end
  return body:find("^%s*<[!?]") ~= nil
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
  local value = body:find("^%s*{") and core.json.decode(body, "answer")
  if type(value) ~= "table" then return nil end
  local message, code = value.message or value.error, value.code
  if type(message) == "table" then message = message.message end
  if type(code) == "number" then code = tostring(code) end
  code = type(code) == "string" and code or nil
  return type(message) == "string" and message or code, code
end

local function from_page(response)
  local title = response.body:match("<[tT][iI][tT][lL][eE][^>]*>([^<]*)<")
  title = title and M.one_line(title) or ""
  local page = title ~= "" and ('HTML page "%s"'):format(title) or "HTML page"
  return { message = "the server answered with an " .. page,
    body = ("%s, %d bytes"):format(page, #response.body) }
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
    return from_page(response)
  elseif not message and body:find("%S") and not private then
    -- a reason may have marks of emphasis in it
    local tags = says_html(response) or body:find("^%s*<%a")
    message = tags and body:gsub("</?%a[^<>]*>", " ") or body
  end
  return {
    message = message and M.one_line(message) or ("HTTP status %d"):format(response.status),
    code = code,
    body = body ~= "" and body or nil,
  }
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

--- What a message about a request must not quote: our credentials; and of a provider, what was sent
-- as its own.
---@return string[]?
function M.secrets(account, request)
  if not request.private then return account.secrets end
  local list = {}
  for i, secret in ipairs(account.secrets) do list[i] = secret end
  for _, secret in ipairs(request.credentials or {}) do list[#list + 1] = secret end
  collect(request.body and core.json.read(request.body), false, list)
  return list
end

-- What others call a credential, also where a { name, value } calls it so.
local CREDENTIALS = { "*apiKey", "*token", "*password", "*passwd", "*passphrase", "*secret",
  "*signerKey", "*signingKey", "*privateKey", "authorization" }

--- What an error may quote of a body: nothing of what is private, no credential of what is JSON.
--- (Of other texts error.lua takes out what may be one.)
---@param request table
---@param body string?
---@return string?
function M.quoted(request, body)
  if request.private then return nil end
  if body and core.json.read(body) ~= nil then return core.json.redact(body, CREDENTIALS) end
  return body
end

return M

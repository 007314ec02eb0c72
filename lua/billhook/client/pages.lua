--- Lists in pages, and walks through lists in constant memory.
--
--   for invoice in apply.invoices:each { byOverdue = true } do ... end
--
-- `each` returns an object that generic `for` can call. It raises the error object if the list
-- breaks off, after the last complete element. `:close()` ends it early; on 5.4 `break` does so.

local core = require "billhook.core"
local options = require "billhook.options"
local requests = require "billhook.client.request"
local responses = require "billhook.client.response"
local sender = require "billhook.client.send"

local M = {}

-- the largest single element of a stream, in bytes
local ELEMENT_LIMIT = 16 * 1024 * 1024
-- So much of the first piece tells a page of HTML.
local HEAD = 4096
-- The server sets the size of a page; more pages than this are an error of the server.
local MOST_PAGES = 10000

-- --- pages -------------------------------------------------------------------------------------

-- The URL of the next page, or nil and why it is not followed. The key is sent to this origin only.
-- If a link names another origin of the same host (such as `http`, from a server behind a TLS
-- proxy), only its query is used, with the address of this page.
local function next_url(account, at, link, seen)
  local base, target = account.base, options.resolve(at, link)
  local parts = target and options.parse_url(target)
  local query = parts and parts.tail:match("^%?[^#]+")
  local url
  if parts and parts.origin == base.origin then
    url = parts.origin .. parts.path .. (query or "")
  elseif parts and parts.host == base.host and query then
    url = at:match("^[^?]*") .. query
  else
    return nil, "the link to the next page leads to another origin"
  end
  if seen[url] then return nil, "the links to the next page go round in circles" end
  if #seen >= MOST_PAGES then return nil, ("there are more than %d pages"):format(MOST_PAGES) end
  return url
end

-- The elements of a page that were not on the page before: if a new element is added in front
-- meanwhile, the last element of one page is the first of the next.
local function fresh(mark, list, given)
  local new = {}
  for _, element in ipairs(list) do
    local id = mark:id(element)
    if id == nil or not given[id] then new[#new + 1] = element end
    if id then given[id] = true end
  end
  return new
end

--- A function that gives a page's list each time it is called, and how many bytes came so far; nil
-- at the end, or nil and an error.
---@param how table see send.lua
function M.pages(account, request, how)
  local seen, given, url, bytes = { request.url }, {}, request.url, 0
  seen[url] = true
  return function()
    if not url then return nil end
    local at = requests.at(request, url)
    local response, outcome = sender.send(account, at, how)
    if not response then return nil, outcome end
    local page, err = responses.page(account, at, response)
    if not page then return nil, err end
    bytes = bytes + #response.body
    local link, here = request.follow and page.next, url
    url = nil
    if link then
      url, err = next_url(account, here, link, seen)
      if not url then return nil, { kind = "decode", message = err, status = response.status } end
      seen[#seen + 1], seen[url] = url, true
    end
    return fresh(request.mark, page.list, given), bytes
  end
end

--- All elements of a list in pages; nil and an error.
---@param how table see send.lua
---@param most integer? bytes
function M.all(account, request, how, most)
  local list, next_page = setmetatable({}, core.json.array), M.pages(account, request, how)
  while true do
    local page, more = next_page()
    if not page and more then return nil, more end
    if not page then return list end
    if most and more > most then
      return nil, { kind = "too_large", message = "", attempts = how.attempts }
    end
    for _, element in ipairs(page) do list[#list + 1] = element end
  end
end

-- --- a walk ------------------------------------------------------------------------------------

-- Walks whose answer is read bit by bit, and others, by what they do next.

local function close(walk)
  walk.done = true
  local reader = walk.reader
  walk.reader, walk.stream, walk.page = nil, nil, nil
  if reader then reader:close() end
end

local function give_up(walk, err)
  close(walk)
  error(sender.error(walk.account, walk.request.name, err), 0)
end

local function broken(walk, why)
  local reader = walk.reader
  local err = responses.page_error({ body = walk.head, headers = reader.headers,
    status = reader.status }, "JSON")
    or { kind = why:find("^element larger") and "too_large" or "decode", message = why,
      status = reader.status }
  err.attempts = walk.how.attempts
  give_up(walk, err)
end

-- The first piece, without the mark that some servers put in front of a text.
local function after_mark(reader, chunk)
  while sender.MARK:sub(1, #chunk) == chunk and #chunk < #sender.MARK do
    local more = reader:read()
    if not more then break end
    chunk = chunk .. more
  end
  return sender.unmarked(chunk)
end

-- Hands the stream what comes next, or the end.
local function feed(walk)
  local reader, chunk, err = walk.reader
  if reader.feed and walk.head ~= "" then -- without a string in between
    chunk, err = reader:feed(walk.stream)
    if chunk then return end
    if chunk == false then broken(walk, err) end
  else
    chunk, err = reader:read()
  end
  if err then give_up(walk, err) end
  local fine, why
  if chunk then
    if walk.head == "" then
      chunk = after_mark(reader, chunk)
      walk.head = chunk:sub(1, HEAD)
    end
    fine, why = walk.stream:feed(chunk)
  else
    walk.ended = true
    fine, why = walk.stream:finish()
  end
  if not fine then broken(walk, why) end
end

local function next_streamed(walk)
  local mark, stream = walk.request.mark, walk.stream
  while true do
    local value, why, name = stream:value()
    if value ~= nil and not why then
      why = mark:unlike_element(value, name)
      if not why then return walk.tag and walk.tag(walk.vendor, value) or value end
    end
    if why then broken(walk, why) end
    if walk.ended then return nil end
    feed(walk)
  end
end

local function open(walk)
  if walk.request.invoices then -- what the first one needs is not to be loaded when it is there
    walk.tag, walk.vendor = require("billhook.invoice").tag, walk.account.vendor.name
  end
  local reader, err = sender.send(walk.account, walk.request, walk.how)
  if not reader then give_up(walk, err) end
  walk.reader, walk.head, walk.next = reader, "", next_streamed
  walk.stream = core.json.stream(nil, ELEMENT_LIMIT, true)
  return next_streamed(walk)
end

-- A list that may be wrapped is read as a whole: none of the vendors' are long.
local function next_whole(walk)
  local response, outcome = sender.send(walk.account, walk.request, walk.how)
  if not response then return nil, outcome end
  walk.next_page = function() end
  local list, err = responses.read(walk.account, walk.request, response, outcome)
  if err then err.attempts = walk.how.attempts end
  return list, err
end

local function next_listed(walk)
  if not walk.next_page then
    walk.next_page = walk.request.answer == "page"
      and M.pages(walk.account, walk.request, walk.how) or next_whole
  end
  while not walk.page or walk.at > #walk.page do
    walk.how.deadline = nil -- a page at a time; the consumer may be slow
    local page, err = walk:next_page()
    if not page and err then give_up(walk, err) end
    if not page then return nil end
    walk.page, walk.at = page, 1
  end
  walk.at = walk.at + 1
  return walk.page[walk.at - 1]
end

--- Begins a walk; nothing is sent before its first step. Gives what generic `for` takes: the object
-- as function and, for 5.4, as closing value. It knows the client's credentials, so the walk itself
-- is in its functions, and no member of it.
function M.walk(account, request)
  local streamed = request.answer == "map"
  local walk = { account = account, request = request, next = streamed and open or next_listed,
    how = { stream = streamed } }
  local object, mt = {}, { __name = "billhook.each", __index = {} }
  function mt.__call()
    if walk.done then return nil end
    local value = walk:next()
    if value == nil then close(walk) end
    return value
  end
  --- Ends the walk; calling it again gives nil. Closing twice does nothing.
  function mt.__index.close() close(walk) end
  mt.__close = mt.__index.close
  function mt.__tostring()
    return ("billhook.each (%s %s)"):format(account.vendor.name, request.name)
  end
  return setmetatable(object, mt), nil, nil, object
end

return M

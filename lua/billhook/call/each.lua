--- Walks a list in constant memory, or page by page.
--
--   for invoice in apply.invoices:each { byOverdue = true } do ... end
--
-- What `each` gives is an object that generic `for` can call. It raises the error object when the
-- walk breaks, after the last whole element. `:close()` ends it early; on 5.4 `break` does so by
-- itself.

local core = require "billhook.core"
local options = require "billhook.options"
local answer = require "billhook.call.answer"
local exchange = require "billhook.call.exchange"
local marks = require "billhook.call.mark"
local private = require "billhook.private"

local M = {}

-- the largest single element of a stream, in bytes
local ELEMENT_LIMIT = 16 * 1024 * 1024
-- So much of the first piece tells a page of HTML.
local HEAD = 4096
-- The server sets the size of a page; a walk of more pages than this is no list.
local MOST_PAGES = 10000

-- --- pages -------------------------------------------------------------------------------------

-- The URL of the next page, or nil and why it is not followed: the key goes nowhere else.
local function next_url(state, link, seen)
  if link:sub(1, 1) == "/" and link:sub(2, 2) ~= "/" then
    link = state.base.origin .. link
  end
  local parts = options.parse_url(link)
  if not parts or parts.origin ~= state.base.origin then
    return nil, "the link to the next page leads to another origin"
  end
  local url = parts.origin .. parts.path .. (parts.tail:gsub("#.*", ""))
  if seen[url] then
    return nil, "the links to the next page go round in circles"
  elseif #seen >= MOST_PAGES then
    return nil, ("there are more than %d pages"):format(MOST_PAGES)
  end
  return url
end

--- A function that gives a page's list each time it is called, nil at the end, or nil and a fault.
function M.pages(state, plan)
  local seen, url = { plan.url }, plan.url
  seen[plan.url] = true
  local bytes = 0
  return function()
    if not url then
      return nil
    end
    plan.url = url
    local response, outcome = exchange.run(state, plan, "request")
    if not response then
      return nil, outcome
    end
    local page, fault = answer.page(state, plan, response)
    if not page then
      return nil, fault
    end
    bytes = bytes + #response.body
    url = nil
    if page.next and plan.follow then
      url, fault = next_url(state, page.next, seen)
      if not url then
        return nil, { kind = "decode", message = fault, status = response.status }
      end
      seen[#seen + 1], seen[url] = url, true
    end
    return page.list, bytes
  end
end

-- --- a walk ------------------------------------------------------------------------------------

local iterator = {}
local mt = { __index = iterator, __name = "billhook.each" }

-- The walk of an object: it knows the client's credentials.
local function walk_of(object) return private.of(object, mt) end

local function close(walk)
  walk.done = true
  local reader = walk.reader
  walk.reader, walk.stream, walk.page = nil, nil, nil
  if reader then
    reader:close()
  end
end

local function give_up(walk, fault)
  close(walk)
  error(answer.fault(walk.state, walk.plan, fault), 0)
end

local function open(walk)
  if walk.plan.invoices then -- what the first one needs is not to be loaded when it is there
    require "billhook.invoice"
  end
  local reader, fault = exchange.run(walk.state, walk.plan, "stream")
  if not reader then
    give_up(walk, fault)
  end
  walk.reader, walk.head = reader, ""
  walk.stream = core.json.stream(nil, ELEMENT_LIMIT)
end

local function broken(walk, why)
  local page = answer.page_fault({ body = walk.head, headers = walk.reader.headers,
    status = walk.reader.status }, "JSON")
  if page then
    page.attempts = walk.plan.attempts_made
    give_up(walk, page)
  end
  local large = why:find("^element larger") -- than ELEMENT_LIMIT
  give_up(walk, { kind = large and "too_large" or "decode", message = why,
    status = walk.reader.status, attempts = walk.plan.attempts_made })
end

-- Hands the stream what comes next, or the end.
local function feed(walk)
  local chunk, failure = walk.reader:read()
  local fine, why
  if chunk then
    walk.head = walk.head == "" and chunk:sub(1, HEAD) or walk.head
    fine, why = walk.stream:feed(chunk)
  elseif failure then
    give_up(walk, failure)
  else
    walk.ended = true
    fine, why = walk.stream:finish()
  end
  if not fine then
    broken(walk, why)
  end
end

local function next_streamed(walk)
  if not walk.reader then
    open(walk)
  end
  while true do
    local value, why, name = walk.stream:value()
    if value ~= nil and not why then
      why = marks.unlike_element(walk.plan.mark, value, name)
      if not why then
        return answer.tag(walk.state, walk.plan, value)
      end
    end
    if why then
      broken(walk, why)
    elseif walk.ended then
      return nil
    end
    feed(walk)
  end
end

local function next_paged(walk)
  walk.next_page = walk.next_page or M.pages(walk.state, walk.plan)
  while not walk.page or walk.at > #walk.page do
    walk.plan.deadline = nil -- a page at a time; the consumer may be slow
    local page, fault = walk.next_page()
    if not page then
      if fault then
        give_up(walk, fault)
      end
      return nil
    end
    walk.page, walk.at = page, 1
  end
  local value = walk.page[walk.at]
  walk.at = walk.at + 1
  return value
end

-- A list that may be wrapped is read as a whole: none of the vendors' are long.
local function next_listed(walk)
  if not walk.page then
    local response, outcome = exchange.run(walk.state, walk.plan, "request")
    if not response then
      give_up(walk, outcome)
    end
    local list, fault = answer.read(walk.state, walk.plan, response, outcome)
    if not list then
      fault.attempts = walk.plan.attempts_made
      give_up(walk, fault)
    end
    walk.page, walk.at = list, 0
  end
  walk.at = walk.at + 1
  return walk.page[walk.at]
end

local advances = { map = next_streamed, list = next_listed, page = next_paged }

function mt.__call(object)
  local walk = walk_of(object)
  if walk.done then
    return nil
  end
  local value = walk.advance(walk)
  if value == nil then
    close(walk)
  end
  return value
end

--- Ends the walk; calling it again gives nil. Closing twice does nothing.
function iterator:close()
  close(walk_of(self))
end

mt.__close = iterator.close

function mt.__tostring(object)
  local walk = walk_of(object)
  return ("billhook.each (%s %s)"):format(walk.state.vendor.name, walk.plan.operation)
end

--- Begins a walk; nothing is sent before its first step. Gives what generic `for` takes: the object
-- as function and, for 5.4, as closing value.
function M.walk(state, plan)
  local object = private.give({}, mt,
    { state = state, plan = plan, advance = advances[plan.answer] })
  return object, nil, nil, object
end

return M

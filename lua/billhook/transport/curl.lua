--- The transport of plain Lua: libcurl's multi interface, one of it for all clients.
--
--   local curl = require "billhook.transport.curl"
--   local response, err = curl.shared():request { method = "GET", url = "https://..." }
--
-- Two optional functions: `idle` is called at least ten times a second while a stream waits, and
-- may raise. `aside` may wait in place of the pool: it returns true in a coroutine of
-- client/map.lua, which lets other coroutines run meanwhile. src/request.h says what a request may
-- contain. Connections, TLS sessions and DNS answers are kept between calls. A request is sent at
-- most once; an error's `sent` is false only if nothing of it was sent.

local core = require "billhook.core"
local errors = require "billhook.error"
local native = require "billhook.curl"

local M = {}

-- Waits go back to Lua this often, so that an interrupt is seen.
local SLICE = 0.5
local GLANCE = 0.1 -- the same, where there is something to be done meanwhile

local Curl = { name = "curl", now = core.text.monotonic, wall = core.text.now }
local curl_mt = { __index = Curl, __name = "billhook.transport.curl" }

local Reader = {}
local reader_mt = { __index = Reader, __name = "billhook.transport.reader" }

local function error_of(kind, message, sent)
  return errors.new { kind = kind, message = message, sent = sent }
end

--- Waits until any transfer has made progress, for at most so many seconds. All go on meanwhile.
---@param seconds number
---@param ticket userdata? the one that is waited for
function Curl:wait(seconds, ticket)
  if not (self.aside and self.aside(seconds, ticket)) then self.pool:poll(seconds) end
end

--- Sends a request and waits for the whole answer.
---@param request table
---@return table|nil response { status, headers, body }
---@return table|nil err
function Curl:request(request)
  local pool = self.pool
  local ticket, status, headers, body, sent
  if self.aside and self.aside() then
    ticket = pool:add(request)
  else
    status, headers, body, sent = pool:run(request, SLICE)
    ticket = type(status) == "userdata" and status
  end
  if ticket then
    while not ticket:done() do self:wait(SLICE, ticket) end
    status, headers, body, sent = ticket:result()
  end
  if not status then return nil, error_of(headers, body, sent) end
  return { status = status, headers = headers, body = body }
end

local function wait(self)
  if self.idle then self.idle() end
  self:wait(self.idle and GLANCE or SLICE)
end

--- Sends a request and waits for the head of the answer. The body comes from the reader, which
-- holds the transfer back while nobody reads; `timeout` goes on, `stall` does not.
---@param request table
---@return table|nil reader { status, headers, read, close }
---@return table|nil err
function Curl:stream(request)
  local ticket = self.pool:add(request, true)
  local status, headers = ticket:head()
  while not status and not ticket:done() do
    wait(self)
    status, headers = ticket:head()
  end
  if not status then
    local _, kind, message, sent = ticket:result()
    return nil, error_of(kind, message, sent)
  end
  return setmetatable({ status = status, headers = headers, transport = self, ticket = ticket },
    reader_mt)
end

--- The next bytes of the body; nil at its end; nil and an error where it was torn.
---@return string|nil chunk
---@return table|nil err
function Reader:read()
  local ticket = self.ticket
  if not ticket then return nil, self.err end
  local chunk = ticket:read()
  while not chunk and not ticket:done() do
    wait(self.transport)
    chunk = ticket:read()
  end
  if chunk then return chunk end
  self.ticket = nil
  local status, kind, message, sent = ticket:result()
  if not status then self.err = error_of(kind, message, sent) end
  return nil, self.err
end

--- The same, but feeds the bytes to a core.json.stream. False and the reason if they are no JSON.
---@param stream table
---@return boolean|nil fed nil at the end
---@return table|string|nil err
function Reader:feed(stream)
  local ticket = self.ticket
  if not ticket then return nil, self.err end
  local fed, why = ticket:feed(stream)
  while fed == nil and not why and not ticket:done() do
    wait(self.transport)
    fed, why = ticket:feed(stream)
  end
  if fed then return true end
  if why then return false, why end
  return self:read() -- all was fed: only how it ended is left
end

--- Ends the transfer. If something was not read, it is lost, and the connection is closed.
function Reader:close()
  if self.ticket then self.ticket:cancel() end
  self.ticket = nil
end

--- Waits; transfers under way go on meanwhile.
---@param seconds number
function Curl:sleep(seconds)
  if type(seconds) ~= "number" or seconds < 0 or seconds ~= seconds then
    error("sleep: 'seconds' must be a number of at least 0", 2)
  end
  local aside = self.aside and self.aside()
  local over = aside and core.text.monotonic() + seconds
  while seconds > 0 do
    if aside then -- one reading of the clock a turn: at a second one it may be over
      self.aside(seconds)
      seconds = over - core.text.monotonic()
    else
      self.pool:sleep(math.min(seconds, SLICE))
      seconds = seconds - SLICE
    end
  end
end

--- Lets the connections go; nothing can be sent or read any more.
function Curl:close()
  self.pool:close()
end

--- A transport with connections of its own.
function M.new()
  return setmetatable({ pool = native.new() }, curl_mt)
end

local shared

--- The transport that all clients of this Lua state share.
function M.shared()
  shared = shared or M.new()
  return shared
end

return M

--- The transport for nginx without lua-resty-http: libcurl in a worker thread, so that the event
-- loop never waits. Each worker VM keeps a curl transport, with its connections, of its own.
--
-- At most host/gate.lua's number of calls (8) is under way in one nginx worker; others wait for
-- their turn, which counts against their timeout. A thread can hand nothing over before it is done:
-- `stream` has it write the body into a temporary file without a name, of which the reader gives
-- piece by piece. So it takes little memory, but nothing is there before all is.

local checked = require("billhook.transport.request").check
local gate = require "billhook.host.gate"

local M = { name = "worker" }

local PIECE = 65536

-- where a coroutine may wait
local waiting = { rewrite = true, access = true, content = true, timer = true, ssl_cert = true,
  server_rewrite = true }

local function unsent(kind, message)
  return { kind = kind, message = message, sent = false }
end

-- the thread's answer: ok (it ran), done (true: a response, false: a failure), value
local function result(ok, done, value)
  if ok and done then return value end
  if ok then return nil, value end
  if value ~= "unstarted" then
    return nil, { kind = "network", message = "worker thread: " .. tostring(done), sent = true }
  end
  local late = done:find("became free in", 1, true) or done:find("no available Lua vm", 1, true)
  return nil, unsent(late and "timeout" or "network", "worker thread: " .. done)
end

-- Has a function of host/thread.lua carry the request.
local function carry(fn, request, ...)
  local phase = ngx.get_phase()
  if not waiting[phase] then
    return nil, unsent("network", "nginx cannot wait for an answer in " .. phase)
  end
  return result(gate.run("call", request.timeout, "billhook.host.thread", fn, request, ngx.now(),
    ...))
end

--- Sends a request and waits for the whole answer.
---@param request table see request.lua
---@return table|nil response { status, headers, body }
---@return table|nil failure { kind, message, sent }
function M.request(_, request)
  return carry("request", checked(request, 2))
end

local Reader = {}
Reader.__index = Reader

--- The same, for whoever reads piece by piece.
---@return table|nil reader { status, headers, read, close }
---@return table|nil failure
function M.stream(_, request)
  local copy = checked(request, 2)
  local path = os.tmpname()
  local file, why = io.open(path, "rb")
  if not file then return nil, unsent("network", "no temporary file: " .. why) end
  local head, failure = carry("spool", copy, path)
  if not head then
    os.remove(path) -- where no thread has
    file:close()
    return nil, failure
  end
  return setmetatable({ status = head.status, headers = head.headers, torn = head.failure,
    file = file }, Reader)
end

--- The next bytes; nil at the end; nil and a failure where the body was torn. Others have their
--- turn before each piece.
---@return string|nil chunk
---@return table|nil failure
function Reader:read()
  if not self.file then return nil, self.failure end
  ngx.sleep(0)
  if not self.file then return nil, self.failure end -- closed meanwhile
  local chunk, why = self.file:read(PIECE)
  if chunk then return chunk end
  self:close()
  self.failure = why and { kind = "network", message = why, sent = true } or self.torn
  return nil, self.failure
end

--- Lets the rest go.
function Reader:close()
  if self.file then self.file:close() end
  self.file = nil
end

--- Waits without holding up the event loop.
---@param seconds number
function M.sleep(_, seconds)
  if type(seconds) ~= "number" or not (seconds >= 0) then -- luacheck: ignore 581 (NaN)
    error("seconds must be a number of at least 0", 2)
  end
  ngx.sleep(seconds)
end

return M

--- The transport for nginx without lua-resty-http: libcurl in a worker thread, so that the event
-- loop never waits. Each worker VM keeps a curl transport, with its connections, of its own.
--
-- At most host/gate.lua's number of calls (8) is under way in one nginx worker; others wait for
-- their turn, which counts against their timeout. `stream` gives the whole body as one chunk: the
-- thread has no way to hand over pieces, so `limit` bounds what is held in memory.

local checked = require("billhook.transport.request").check
local gate = require "billhook.host.gate"

local M = { name = "worker" }

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

--- Sends a request and waits for the whole answer.
---@param request table see request.lua
---@return table|nil response { status, headers, body }
---@return table|nil failure { kind, message, sent }
function M.request(_, request)
  local copy = checked(request, 2)
  local phase = ngx.get_phase()
  if not waiting[phase] then
    return nil, unsent("network", "nginx cannot wait for an answer in " .. phase)
  end
  return result(gate.run("call", copy.timeout, "billhook.host.thread", "request", copy, ngx.now()))
end

local Reader = {}
Reader.__index = Reader

--- The same, for whoever reads piece by piece.
---@return table|nil reader { status, headers, read, close }
---@return table|nil failure
function M.stream(_, request)
  local response, failure = M.request(nil, request)
  if not response then return nil, failure end
  return setmetatable({ status = response.status, headers = response.headers,
    rest = response.body }, Reader)
end

function Reader:read()
  local chunk = self.rest
  self.rest = nil
  return chunk ~= "" and chunk or nil
end

function Reader:close() self.rest = nil end

--- Waits without holding up the event loop.
---@param seconds number
function M.sleep(_, seconds)
  if type(seconds) ~= "number" or not (seconds >= 0) then -- luacheck: ignore 581 (NaN)
    error("seconds must be a number of at least 0", 2)
  end
  ngx.sleep(seconds)
end

return M

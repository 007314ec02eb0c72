--- Picks a transport. Only this file knows all transports, and where each of them works.
--
--   pick()          "curl"; inside nginx "resty" where lua-resty-http is installed, else "worker"
--   pick("curl")    by name: curl, worker, resty; on nginx's event loop curl is worker
--   pick(table)     a transport of the caller's own, with `request` and `sleep`
--
-- A transport is a table with
--   name                          for messages
--   request(self, request)        --> response | nil, err
--   stream(self, request)         --> reader | nil, err                         optional
--   sleep(self, seconds)
--   now()                         seconds on a clock that never goes back       optional
--   wall()                        epoch seconds                                 optional
--   turn()                        to be called amid long work                   on an event loop
--   unable()                      why no call can be made here, or nil          optional
--
-- A request is a table as src/request.h says; a response is { status, headers, body }, headers by
-- their names in lower case; a reader has `status`, `headers`, `read` (a piece; nil at the end; nil
-- and an error where the body was torn, after all that came) and `close`.
--
-- An error is one of billhook.error: `kind` is timeout, network, tls, decode, too_large or
-- cancelled, and `sent` says whether the request may have reached the server. It is false only if
-- nothing was sent; if a caller's own transport does not set it, the request may have been sent.
--
-- The transport provides the time: code that waits in `sleep` reads `now` or `wall` before and
-- after. The fake transport simulates all three. For a caller's own transport without clocks, the
-- system's clocks are used.

local pulse = require "billhook.shared.pulse"

local M = {}

local makers = {
  curl = function() return require("billhook.transport.curl").shared() end,
  worker = function()
    if not pulse.on_event_loop() then
      error("transport \"worker\" is for nginx: elsewhere there is \"curl\"", 0)
    end
    return require "billhook.transport.worker"
  end,
  resty = function()
    local found, why = pcall(require, "resty.http")
    if not found then
      error("transport \"resty\" needs lua-resty-http: " .. tostring(why):match "^[^\n]*", 0)
    end
    return require "billhook.transport.resty"
  end,
}

-- On nginx's event loop, which must not wait, even a wish for curl means curl in a thread.
local function fitting(name)
  if not pulse.on_event_loop() then return name or "curl" end
  if name == "curl" then return "worker" end
  return name or (pcall(require, "resty.http") and "resty" or "worker")
end

--- Gives the transport for a client's `transport` option.
---@param option string|table|nil
---@param level integer|nil  of the caller to blame for an unusable option: 2
---@return table transport
function M.pick(option, level)
  if type(option) == "table" then
    if type(option.request) ~= "function" or type(option.sleep) ~= "function" then
      error("transport must be a table with the functions request and sleep", level or 2)
    end
    return option
  end
  local make = makers[fitting(option)]
  if not make then
    error("transport must be \"curl\", \"worker\", \"resty\" or a table", level or 2)
  end
  local made, transport = pcall(make)
  if not made then error(transport, level or 2) end
  return transport
end

--- On nginx's event loop: calls fn() `count` times, each in a light thread, and waits for them all.
-- They end with the request or the timer that they belong to. Elsewhere nothing happens.
---@param count integer
---@param fn fun()  does not raise
---@return boolean done
function M.side_by_side(count, fn)
  if not pulse.can() then return false end
  local threads = {}
  for i = 1, count do threads[i] = ngx.thread.spawn(fn) end
  for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
  return true
end

return M

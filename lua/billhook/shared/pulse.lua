-- pulse.lua - renews the lease of a holder of something shared, on nginx's event loop.
--
-- nginx kills a handler without notice: its client has left (lua_check_client_abort), another light
-- thread of it called ngx.exit, or its timer or worker ended. A light thread of the same handler
-- ends with it, so a lease that this thread renews ends soon after the handler.

local turns = require "billhook.shared.turns"

local M = {}

--- How often a sign of life comes, and after how many seconds without one it is over: where all
-- is in memory, and where each sign is a write into a database. A loop that is held up for longer
-- gives a place away whose owner lives: nor does anybody send the same a second time then, for it
-- is written down.
M.memory = { every = 0.5, lease = 3 }
M.database = { every = 4, lease = 12 }

--- Are coroutines nginx's own here? It uses them again for others, and coroutine.status says
-- nothing of those of other requests.
---@return boolean
function M.in_nginx()
  local ngx = rawget(_G, "ngx")
  return type(ngx) == "table" and type(ngx.thread) == "table"
end

--- Is this its event loop, which must not wait for a disk, and no worker thread, which may?
---@return boolean
function M.on_event_loop()
  return M.in_nginx() and type(ngx.socket) == "table" and ngx.socket.tcp ~= nil
end

--- Is there a light thread to be had here?
---@return boolean
function M.can() return M.on_event_loop() and turns.unable() == nil end

--- Calls beat() every so many seconds, until it gives false, for so many seconds at most, and not
-- beyond the life of the coroutine that asked for it.
---@param every number
---@param seconds number
---@param beat fun(): boolean|nil
---@return fun() stop
function M.start(every, seconds, beat)
  local owner = coroutine.running()
  local thread = ngx.thread.spawn(function()
    for _ = 1, math.ceil(seconds / every) do
      ngx.sleep(every)
      local status = coroutine.status(owner)
      if status == "dead" or status == "zombie" or beat() == false then return end
    end
  end)
  return function() ngx.thread.kill(thread) end
end

return M

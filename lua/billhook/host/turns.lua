--- The others' turn on nginx's event loop, for work that goes on without ever waiting.

local M = {}

local SLICE = 0.002 -- seconds of work between two turns

-- Not ngx.sleep(0): where nginx lacks OpenResty's patch for it, each writes a warning into the log.
local PAUSE = 0.001

--- Gives a function to call between two pieces of work.
---@return fun()
function M.new()
  ngx.update_time()
  local since = ngx.now()
  return function()
    ngx.update_time()
    if ngx.now() - since < SLICE then return end
    ngx.sleep(PAUSE)
    since = ngx.now()
  end
end

return M

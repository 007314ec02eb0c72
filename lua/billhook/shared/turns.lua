--- Waiting on nginx's event loop: where that is possible, and yielding to others during long work.

local M = {}

local SLICE = 0.0015 -- seconds of work in one round of the loop, whoever does it; a clock of ms

-- Not ngx.sleep(0): where nginx lacks OpenResty's patch for it, each writes a warning into the log.
local PAUSE = 0.001

-- nginx's clock stands still within a round of its loop, but for our own looks at the time.
local began, seen = 0, 0

--- To be called between two pieces of work.
function M.turn()
  local now = ngx.now()
  if now ~= seen then began = now end -- another round
  ngx.update_time()
  seen = ngx.now()
  if seen - began > SLICE then ngx.sleep(PAUSE) end
end

-- where a coroutine may wait
local waiting = { rewrite = true, access = true, content = true, timer = true, ssl_cert = true,
  server_rewrite = true }

--- Why no call can be made here; nil where one can.
---@return string?
function M.unable()
  local phase = ngx.get_phase()
  return not waiting[phase] and "nginx cannot wait for an answer in " .. phase or nil
end

return M

--- The others' turn on nginx's event loop, for work that goes on without ever waiting.

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

return M

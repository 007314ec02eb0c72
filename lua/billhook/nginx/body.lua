-- body.lua - reads the body of a request, which must have come within a time.

local M = {}

--- Has nginx read the body. Where it has not come in time, the request ends here with 408.
---@param seconds number
function M.read(seconds)
  -- nginx's time-out is between two reads: who sends a byte now and then would never meet it. What
  -- exits while the body is being read ends the connection, too.
  local guard = ngx.thread.spawn(function()
    ngx.sleep(seconds)
    ngx.exit(408)
  end)
  ngx.req.read_body()
  ngx.thread.kill(guard)
end

return M

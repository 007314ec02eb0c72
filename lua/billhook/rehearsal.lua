--- A rehearsal: what would change something at another's is told, and not done. `billhook replay
-- --dry-run` begins one before it loads the rules; clients and billhook.http ask here before each
-- call. A process that has begun one never ends it: nothing is sent by mistake afterwards.

local M = {}

local tell

--- From here on no call of this process changes anything.
---@param fn fun(call: { method: string, url: string, operation: string?, body: string? })
function M.begin(fn) tell, M.begun = fn, true end

--- Is this a rehearsal? Then the call was told, and is not to be made.
---@param call table { method, url, operation, body }, without credentials
---@return boolean
function M.told(call)
  if not tell then return false end
  tell(call)
  return true
end

return M

-- cli/output.lua: results on stdout whose loss is an error: a full disk, a pipe that nobody reads.

local M = {}

local function check(ok, why)
  if not ok then error({ code = 1, text = "billhook: stdout: " .. tostring(why) }, 0) end
end

---@param text string
function M.write(text) check(io.stdout:write(text)) end

---Writes what is still held back; all of it is out when this returns.
function M.finish() check(io.stdout:flush()) end

return M

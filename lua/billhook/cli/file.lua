-- cli/file.lua: the files that a command is given, to be read at once.

local M = {}

M.MOST = 64 * 1024 * 1024 -- bytes: what is longer is no body, and would fill the memory

---All of a file, or of a pipe or stdin, which are waited for.
---@param path string "-": stdin
---@return string|nil text
---@return string|nil message
function M.read(path)
  local file, err = path == "-" and io.stdin or nil, nil
  if not file then file, err = io.open(path, "rb") end
  if not file then return nil, err end
  local text, why = file:read(M.MOST + 1)
  if path ~= "-" then file:close() end
  if text and #text > M.MOST then
    return nil, ("%s: more than %d bytes"):format(path, M.MOST)
  end
  if why then return nil, path .. ": " .. why end -- a folder, for one
  return text or ""
end

return M

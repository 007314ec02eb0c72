--- An unnamed file through which a thread passes on data as it arrives: the thread appends, and
-- others read what it has written. The first byte says whether there is still a reader.

local M = {}

local WANTED, DROPPED = "+", "-"

local function open(path)
  local file, err = io.open(path, "r+b")
  if file then file:setvbuf("no") end
  return file, err
end

-- --- who writes ----------------------------------------------------------------------------------

local Writer = {}
local writer_mt = { __index = Writer, __name = "billhook.transport.spool.writer" }

--- Opens the file that a reader has made, and takes its name away.
---@param path string
---@return table|nil writer
---@return string|nil err
function M.writer(path)
  local file, err = open(path)
  os.remove(path)
  if not file then return nil, err end
  return setmetatable({ file = file }, writer_mt)
end

--- Does anybody still read?
---@return boolean
function Writer:is_wanted()
  self.file:seek("set", 0)
  return self.file:read(1) ~= DROPPED
end

---@param text string
---@return boolean|nil written
---@return string|nil err
function Writer:put(text)
  local ok, err = self.file:seek "end"
  if ok then ok, err = self.file:write(text) end
  return ok and true or nil, err
end

function Writer:close()
  self.file:close()
end

-- --- who reads -----------------------------------------------------------------------------------

local Reader = {}
local reader_mt = { __index = Reader, __name = "billhook.transport.spool.reader" }

--- Makes a file; its `path` is for the writer.
---@return table|nil reader
---@return string|nil err
function M.reader()
  local path = os.tmpname()
  local file, err = open(path)
  if not file then return nil, err end
  local ok
  ok, err = file:write(WANTED)
  if ok then return setmetatable({ file = file, path = path }, reader_mt) end
  file:close()
  os.remove(path)
  return nil, err
end

--- The next bytes; nil where there are none now.
---@param most integer
---@return string|nil bytes
function Reader:take(most)
  return self.file:read(most)
end

--- Lets the rest go. Closing twice does nothing.
function Reader:close()
  if not self.file then return end
  self.file:seek("set", 0)
  self.file:write(DROPPED)
  self.file:close()
  self.file = nil
end

return M

--- A file without a name through which a thread hands bytes over while it gets them: a ring, with a
-- count of the bytes on each side. Whoever reads may say that the rest is not wanted.
--
-- The counts are in the file too, each written twice: half of an old one beside half of a new one
-- is not mistaken for a count.

local M = {}

--- How many bytes the writer may be ahead.
M.SIZE = 64 * 1024 * 1024

local WRITTEN, TAKEN, DATA = 0, 32, 4096 -- where they are
local CLOSED = ("c"):rep(16)
local STEP = 1024 * 1024 -- bytes after which the reader says so

local function write_count(file, at, count)
  local text = type(count) == "number" and ("%016.0f"):format(count) or count
  local ok, err = file:seek("set", at)
  if ok then ok, err = file:write(text, text) end
  return ok and true, err
end

-- A count, or nil where it is just being written.
local function read_count(file, at)
  file:seek("set", at)
  local text = file:read(32)
  local half = text and #text == 32 and text:sub(1, 16)
  if not half or half ~= text:sub(17) then return nil end
  return half == CLOSED and half or tonumber(half)
end

local function open(path, mode)
  local file, err = io.open(path, mode)
  if file then file:setvbuf("no") end
  return file, err
end

-- --- who writes ----------------------------------------------------------------------------------

local Writer = {}
local writer_mt = { __index = Writer, __name = "billhook.transport.spool.writer" }

--- Opens the file that a reader has made, and takes its name away.
---@param path string
---@param size integer the reader's
---@return table|nil writer
---@return string|nil err
function M.writer(path, size)
  local file, err = open(path, "r+b")
  os.remove(path)
  if not file then return nil, err end
  return setmetatable({ file = file, size = size, written = 0, taken = 0 }, writer_mt)
end

local function look(self)
  local count = read_count(self.file, TAKEN)
  if count == CLOSED then
    self.closed = true
  else
    self.taken = count or self.taken
  end
end

--- Writes of `text`, from `at` on, what there is room for.
---@param text string
---@param at integer
---@return integer|nil bytes 0: there is no room now
---@return string|nil err
function Writer:put(text, at)
  look(self)
  local from = self.written % self.size
  local n = math.min(#text - at + 1, self.size - from, self.size - (self.written - self.taken))
  if n == 0 then return 0 end
  local ok, err = self.file:seek("set", DATA + from)
  if ok then ok, err = self.file:write(text:sub(at, at + n - 1)) end
  if ok then ok, err = write_count(self.file, WRITTEN, self.written + n) end
  if not ok then return nil, err end
  self.written = self.written + n
  return n
end

--- Does nobody want the rest?
---@return boolean
function Writer:is_closed()
  look(self)
  return self.closed == true
end

function Writer:close()
  self.file:close()
end

-- --- who reads -----------------------------------------------------------------------------------

local Reader = {}
local reader_mt = { __index = Reader, __name = "billhook.transport.spool.reader" }

--- Makes a file; its `path` and `size` are for the writer.
---@return table|nil reader
---@return string|nil err
function M.reader()
  local path = os.tmpname()
  local file, err = open(path, "r+b")
  if not file then return nil, err end
  local ok
  ok, err = write_count(file, WRITTEN, 0)
  if ok then ok, err = write_count(file, TAKEN, 0) end
  if not ok then
    file:close()
    os.remove(path)
    return nil, err
  end
  return setmetatable({ file = file, path = path, size = M.SIZE, written = 0, taken = 0,
    told = 0 }, reader_mt)
end

--- The next bytes; nil where there are none now.
---@param most integer
---@return string|nil bytes
---@return string|nil err
function Reader:take(most)
  if self.written == self.taken then
    self.written = read_count(self.file, WRITTEN) or self.written
  end
  local from = self.taken % self.size
  local n = math.min(self.written - self.taken, most, self.size - from)
  if n == 0 then return nil end
  self.file:seek("set", DATA + from)
  local bytes, err = self.file:read(n)
  if not bytes or #bytes < n then return nil, err or "the file is cut" end
  self.taken = self.taken + n
  if self.taken - self.told >= math.min(STEP, self.size / 4) then
    self.told = self.taken
    write_count(self.file, TAKEN, self.taken)
  end
  return bytes
end

--- Lets the rest go. Closing twice does nothing.
function Reader:close()
  if not self.file then return end
  write_count(self.file, TAKEN, CLOSED)
  self.file:close()
  self.file = nil
end

return M

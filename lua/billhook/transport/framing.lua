--- Where the body of an HTTP/1.1 answer ends: by its length, by its last chunk, or with the
-- connection. What comes is given as it comes, so that of a torn body nothing is lost.
--
--   local body, fault = framing.open(headers, receive)
--   local part, err = body:read()     -- nil at the end; nil and an error where it was torn
--
-- `receive(most)` gives up to so many bytes as soon as there are some, or nil and an error; at the
-- end of the connection that is "closed".

local M = {}

--- What `read` says of bytes that are no chunks.
M.MALFORMED = "the chunks are malformed"

local MOST = 65536 -- bytes asked for at a time
local LINE = 8192 -- of a chunk's size with its extensions, of a trailer
local TRAILERS = 200
local DIGITS = 13 -- of a chunk's size: as a number it is exact

local Body = {}
local mt = { __index = Body, __name = "billhook.transport.framing" }

-- --- by length, or to the end of the connection --------------------------------------------------

local function counted(self)
  if self.left == 0 then return nil end
  local part, err = self.receive(math.min(self.left, MOST))
  if not part then return nil, err end
  self.left = self.left - #part
  return part
end

local function open_ended(self)
  local part, err = self.receive(MOST)
  if err == "closed" then return nil end
  return part, err
end

-- --- in chunks -----------------------------------------------------------------------------------

-- What was received and not yet looked at is in `rest`, from `at` on.
local function fill(self)
  local part, err = self.receive(MOST)
  if not part then return nil, err end
  self.rest, self.at = self.rest:sub(self.at) .. part, 1
  return true
end

local function line_of(self)
  while true do
    local to = self.rest:find("\n", self.at, true)
    if (to or #self.rest + 1) - self.at > LINE then return nil, M.MALFORMED end
    if to then
      local line = self.rest:sub(self.at, to - 1):gsub("\r$", "")
      self.at = to + 1
      return line
    end
    local ok, err = fill(self)
    if not ok then return nil, err end
  end
end

-- The end of the last chunk, then the length of the next one.
local function next_size(self)
  local line, err = line_of(self)
  if line and self.begun then
    if line ~= "" then return nil, M.MALFORMED end
    line, err = line_of(self)
  end
  if not line then return nil, err end
  local digits, tail = line:match("^(%x+)[ \t]*(.?)")
  if not digits or #digits > DIGITS or (tail ~= "" and tail ~= ";") then
    return nil, M.MALFORMED
  end
  self.begun = true
  return tonumber(digits, 16)
end

-- They may say anything, but not in the name of the head: they are let go.
local function skip_trailers(self)
  for _ = 1, TRAILERS + 1 do
    local line, err = line_of(self)
    if not line then return nil, err end
    if line == "" then return true end
  end
  return nil, M.MALFORMED
end

local function chunked(self)
  while self.left == 0 do
    local size, err = next_size(self)
    if not size then return nil, err end
    if size == 0 then
      local ok
      ok, err = skip_trailers(self)
      self.ended = ok
      return nil, err
    end
    self.left = size
  end
  if self.at > #self.rest then return counted(self) end
  local part = self.rest:sub(self.at, self.at + self.left - 1)
  self.at, self.left = self.at + #part, self.left - #part
  return part
end

-- --- all -----------------------------------------------------------------------------------------

--- The next bytes of the body; nil at its end; nil and an error where it was torn: that of
-- `receive`, or MALFORMED.
---@return string|nil part
---@return string|nil err
function Body:read()
  if self.ended then return nil end
  local part, err = self.next(self)
  if not part and not err then self.ended = true end
  return part, err
end

--- After the end: may the connection carry another answer? Not where more came than was announced,
-- nor where two lengths were.
---@return boolean
function Body:is_clean()
  return self.ended == true and not self.doubtful and self.at > #self.rest
end

--- A body to read, or nil and why these headers (names in lower case) do not say where it ends.
---@param headers table
---@param receive fun(most: integer): string|nil, string|nil
---@return table|nil body
---@return string|nil fault
function M.open(headers, receive)
  local length, coding = headers["content-length"], headers["transfer-encoding"]
  if length and not length:find("^%d+$") then return nil, "the length is no number" end
  if coding and coding:lower() ~= "chunked" then return nil, "the transfer coding is unknown" end
  local body = setmetatable({ receive = receive, rest = "", at = 1 }, mt)
  body.left = not coding and tonumber(length) or 0
  body.next = coding and chunked or length and counted or open_ended
  body.doubtful = (coding == nil) == (length == nil)
  return body
end

-- Functions to keep a part, and to give them all in one. A table of parts only where nothing else
-- is: long ones that are much alike, as of a list, take LuaJIT long to tell apart.
local function gatherer()
  local found, buffers = pcall(require, "string.buffer")
  if found then
    local buffer = buffers.new()
    return function(part) buffer:put(part) end, function() return buffer:get() end
  end
  local parts = {}
  return function(part) parts[#parts + 1] = part end, function() return table.concat(parts) end
end

--- All that a reader gives, in one; nil and its failure where that was torn.
---@param reader table with `read`
---@return string|nil body
---@return any failure
function M.whole(reader)
  local keep, all = gatherer()
  while true do
    local part, failure = reader:read()
    if failure then return nil, failure end
    if not part then return all() end
    keep(part)
  end
end

--- The body of an answer that has none.
function M.none()
  return setmetatable({ rest = "", at = 1, ended = true }, mt)
end

return M

--- A socket of nginx with one deadline for all its operations. lua-resty-http has only a time-out
-- for each step; it is given this object as its socket.
--
--   local sock = timed.new(ngx.socket.tcp(), ngx.now)
--   sock.deadline, sock.stall = ngx.now() + 30, 60
--
-- `stall` is how many seconds the peer may be silent. Received bytes are kept until they are read,
-- so that none are lost if the rest does not come; `fault` is the reason. The length of lines is
-- limited: while `head` is true, of all lines together; then of each line. Lines of a head are
-- checked here, because lua-resty-http takes any three digits for the status, and ends the head at
-- the first line that it cannot parse.

local M = {}

M.LATE = "no whole answer in time"
M.TOO_LARGE = "the head is over its limits"
M.MALFORMED = "the chunks are malformed"
M.NOT_HTTP = "the answer is not HTTP"

local MOST = 65536 -- bytes asked for at a time
local HEAD_BYTES, HEAD_LINES = 256 * 1024, 200
local LINE = 8192 -- of a chunk's size with what follows it

local Timed = {}
local mt = { __index = Timed, __name = "billhook.transport.timed" }

---@param sock table  with the methods of a cosocket
---@param now fun(): number seconds
function M.new(sock, now)
  return setmetatable({ sock = sock, now = now, deadline = math.huge, stall = math.huge,
    text = "", at = 1, head = true, bytes = HEAD_BYTES, lines = HEAD_LINES + 2 }, mt)
end

--- What is said of a silence of so many seconds.
function M.silence(seconds)
  return ("nothing came for %.0f milliseconds"):format(seconds * 1000)
end

local function fail(self, fault)
  self.fault = fault
  return nil, fault
end

-- Sets the socket's time-out to the remaining time; nil if there is none.
local function hurry(self)
  local left = self.deadline - self.now()
  if left <= 0 then return nil, M.LATE end
  self.sock:settimeout(math.ceil(math.min(left, self.stall, 1e6) * 1000))
  return left
end

--- How many bytes came that nobody has asked for yet.
---@return integer
function Timed:waiting()
  return #self.text - self.at + 1
end

--- Waits for more of them.
---@return boolean|nil fine
---@return string|nil fault
function Timed:fill()
  local left, err = hurry(self)
  local part
  if left then part, err = self.sock:receiveany(MOST) end
  if err == "timeout" then err = left <= self.stall and M.LATE or M.silence(self.stall) end
  if not part then return fail(self, err) end
  self.text, self.at = self:waiting() == 0 and part or self.text:sub(self.at) .. part, 1
  return true
end

local function line_of(self)
  local seen = 0 -- bytes without an end of line
  while true do
    local last = self.text:find("\n", self.at + seen, true)
    seen = (last or #self.text + 1) - self.at
    if seen > (self.head and self.bytes or LINE) then
      return fail(self, self.head and M.TOO_LARGE or M.MALFORMED)
    end
    if last then break end
    local fine, fault = self:fill()
    if not fine then return nil, fault end
  end
  local line = self.text:sub(self.at, self.at + seen - 1):gsub("\r$", "")
  self.at = self.at + seen + 1
  return line
end

-- Is this what a head may have there: a status line first, then headers without a fold, and at
-- its end an empty line? Then the next one may begin, for interim answers have heads of their own.
local function is_head_line(self, line)
  if line == "" then
    local ends = self.within
    self.within = false
    return ends
  end
  if self.within then return line:find("^[^%c%s:]+:[^%z]*$") ~= nil end
  self.within = true
  return line:find("^HTTP/1%.[01] [1-9]%d%d$") ~= nil
    or line:find("^HTTP/1%.[01] [1-9]%d%d [^%z\1-\8\10-\31\127]*$") ~= nil
end

-- Reads a number of bytes or, in a head and before a chunk, a line ("*l"). If only some of the
-- bytes come, they are in `torn`.
function Timed:receive(what)
  self.torn = nil
  if what == "*l" then
    if self.head then self.lines = self.lines - 1 end
    if self.lines < 0 then return fail(self, M.TOO_LARGE) end
    local line, fault = line_of(self)
    if line and self.head then
      self.bytes = self.bytes - #line
      if not is_head_line(self, line) then return fail(self, M.NOT_HTTP) end
    end
    return line, fault
  end
  while self:waiting() < what do
    local fine, fault = self:fill()
    if not fine then
      self.torn = self.text:sub(self.at)
      return nil, fault
    end
  end
  self.last = self.text:sub(self.at, self.at + what - 1)
  self.at = self.at + what
  return self.last
end

-- The socket's own, with what time there is.
for _, name in ipairs { "connect", "send" } do
  Timed[name] = function(self, ...)
    local left, err = hurry(self)
    if not left then return nil, err end
    return self.sock[name](self.sock, ...)
  end
end

function Timed:sslhandshake(...)
  local left, err = hurry(self)
  if not left then return nil, err end
  if self:waiting() > 0 then return nil, "there is more behind the answer of the proxy" end
  return self.sock:sslhandshake(...)
end

function Timed:getreusedtimes() return self.sock:getreusedtimes() end

function Timed:setkeepalive(...) return self.sock:setkeepalive(...) end

function Timed:close() return self.sock:close() end

return M

--- The transport for nginx without lua-resty-http: libcurl in a worker thread, so that the event
-- loop never waits. Each worker VM keeps a curl transport, with its connections, of its own.
--
-- shared/gate.lua limits how many calls run at once in one worker (8, of these 4 streams); others
-- wait for their turn, which counts against their timeout. A thread returns its result when it is
-- done. For `stream` it writes to a spool, a temporary file without a name, from which the reader
-- reads meanwhile. The thread does not wait for the reader: the file grows to the size of the
-- answer, but at most to the request's `limit` and to MOST.

local core = require "billhook.core"
local errors = require "billhook.error"
local gate = require "billhook.shared.gate"
local spool = require "billhook.transport.spool"
local turns = require "billhook.shared.turns"

local M = { name = "worker", now = core.text.monotonic, wall = core.text.now, turn = turns.turn,
  unable = turns.unable }

--- The most bytes of a stream's body: the temporary folder is shared with other programs.
M.MOST = 1024 * 1024 * 1024

local THREAD = "billhook.transport.thread"

local check = core.request.check

local PIECE = 65536
local SHORTEST, LONGEST = 0.001, 0.02 -- pauses between two looks into the spool, in seconds

local function unsent(kind, message)
  return errors.new { kind = kind, message = message, sent = false }
end

-- the thread's answer: ok (it ran), done (true: a response, false: a plain error), value
local function result(ok, done, value)
  if ok and done then return value end
  if ok then return nil, errors.new(value) end
  if value ~= "unstarted" then
    return nil, errors.new { kind = "network", message = "worker thread: " .. tostring(done),
      sent = true }
  end
  local late = done:find("became free in", 1, true) or done:find("no available Lua vm", 1, true)
  return nil, unsent(late and "timeout" or "network", "worker thread: " .. done)
end

--- Sends a request and waits for the whole answer.
---@param request table see src/request.h
---@return table|nil response { status, headers, body }
---@return table|nil err
function M.request(_, request)
  local copy = check(request)
  local why = turns.unable()
  if why then return nil, unsent("network", why) end
  return result(gate.run("call", copy.timeout, THREAD, "request", copy, ngx.now()))
end

local Reader = {}
Reader.__index = Reader

-- What the spool has; nil when the thread is done and all was taken.
local function next_bytes(self, most)
  local pause = SHORTEST
  while self.file.file do
    local over = self.job.answer ~= nil -- before the look, for what came last
    local bytes = self.file:take(most)
    if bytes or over then return bytes end
    gate.wait(self.job, pause)
    pause = math.min(pause * 2, LONGEST)
  end
end

-- So many bytes, or nil where the thread ended before.
local function all_of(self, n)
  local parts = {}
  while n > 0 do
    local bytes = next_bytes(self, n)
    if not bytes then return nil end
    parts[#parts + 1] = bytes
    n = n - #bytes
  end
  return table.concat(parts)
end

local function read_head(self)
  local length = all_of(self, 8)
  local text = length and all_of(self, tonumber(length))
  if not text then return nil end
  self.status, self.headers = tonumber(text:match "^%d+"), {}
  for name, value in text:gmatch "([^:\n]+):([^\n]*)\n" do self.headers[name] = value end
  return self
end

-- What the thread said of how it ended: nil where all is well.
local function fault_of(job)
  local ended, err = result(gate.answer(job))
  return err or ended.torn and errors.new(ended.torn)
end

-- Tells the thread to stop if the reader was collected, or its request was killed before.
local function guard(file)
  local proxy = newproxy(true)
  getmetatable(proxy).__gc = function() file:close() end
  return proxy
end

--- The same, for whoever reads piece by piece.
---@return table|nil reader { status, headers, read, close }
---@return table|nil err
function M.stream(_, request)
  local copy = check(request, true)
  local why = turns.unable()
  if why then return nil, unsent("network", why) end
  copy.limit = math.min(copy.limit, M.MOST)
  local file
  file, why = spool.reader()
  if not file then return nil, unsent("network", "no temporary file: " .. why) end
  local self = setmetatable({ file = file, guard = guard(file) }, Reader)
  local job, err, unstarted = gate.start("stream", copy.timeout, THREAD, "spool", copy, ngx.now(),
    file.path)
  self.job = job
  if job and read_head(self) then return self end
  self:close()
  os.remove(file.path) -- where no thread has
  if not job then return result(false, err, unstarted) end
  return nil, fault_of(job)
end

--- The next bytes; nil at the end; nil and an error where the body was torn. Others have their turn
--- before each piece.
---@return string|nil chunk
---@return table|nil err
function Reader:read()
  if not self.file.file then return nil, self.err end
  turns.turn()
  local chunk = next_bytes(self, PIECE)
  if chunk then return chunk end
  if self.file.file then self.err = fault_of(self.job) end -- else it was closed meanwhile
  self:close()
  return nil, self.err
end

--- Lets the rest go: the thread ends the transfer soon.
function Reader:close()
  self.file:close()
end

--- Waits without holding up the event loop.
---@param seconds number
function M.sleep(_, seconds)
  if type(seconds) ~= "number" or not (seconds >= 0) then -- luacheck: ignore 581 (NaN)
    error("sleep: 'seconds' must be a number of at least 0", 2)
  end
  ngx.sleep(seconds)
end

return M

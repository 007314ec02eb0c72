--- The transport for OpenResty over lua-resty-http, where that is installed.
--
-- What nginx's configuration decides here and no request can: the trusted authorities
-- (lua_ssl_trusted_certificate), the TLS versions (lua_ssl_protocols, to be set to
-- "TLSv1.2 TLSv1.3") and the name server (resolver). A request with a `ca_file` or with another
-- proxy than an http:// one goes through the worker transport.
--
-- lua-resty-http has no deadline over a whole call, no limits, and takes a head or a body that
-- breaks off for a whole one in places. So each step runs in a light thread with an alarm beside
-- it, the lines of a head are read and checked here, and so is a body without a length.

local http = require "resty.http"
local rules = require "billhook.transport.request"

local M = { name = "resty" }

local unpack = table.unpack or unpack

local CHUNK = 65536
local HEAD_BYTES, HEAD_LINES = 256 * 1024, 200

-- Socket timeouts are this much (in ms) beyond the alarm: the alarm is to ring first.
local SPARE = 5000

local Reader = {}
local reader_mt = { __index = Reader, __name = "billhook.transport.reader" }

local fresh = 0

local function failure_of(kind, message, sent)
  return { kind = kind, message = (message:gsub("[^\32-\126]", "?")), sent = sent }
end

-- Runs fn(...) for at most so many seconds. Gives false when time was over.
local function within(seconds, fn, ...)
  local results
  local arguments = { ... }
  local work = ngx.thread.spawn(function() results = { fn(unpack(arguments)) } end)
  local alarm = ngx.thread.spawn(function() ngx.sleep(seconds > 0 and seconds or 0) end)
  local ok, err = ngx.thread.wait(work, alarm)
  ngx.thread.kill(work)
  ngx.thread.kill(alarm)
  if not ok then error(err, 0) end
  if not results then return false end
  return true, unpack(results, 1, 4)
end

-- heads

local TOO_LARGE = "the head is over its limits"
local NOT_HTTP = "the answer is not HTTP"

local function is_line(line, number)
  if number == 1 then return line:find("^HTTP/1%.[01] %d%d%d") end
  return line == "" or line:find("^[^%c%s:]+:[^%z\r]*$")
end

-- Takes the place of the socket's `receive` while a head is read: "*l" alone, bounded and checked.
local function head_reader(sock)
  local next_part = sock:receiveuntil("\n")
  local bytes, lines, number = 0, 0, 0
  return function()
    local line = ""
    while true do
      local part, err = next_part(8192)
      if err then return nil, err end
      if not part then break end
      bytes = bytes + #part
      if bytes > HEAD_BYTES then return nil, TOO_LARGE end
      line = line .. part
    end
    line = line:gsub("\r$", "")
    number, lines = number + 1, lines + 1
    if lines > HEAD_LINES + 2 then return nil, TOO_LARGE end
    if not is_line(line, number) then return nil, NOT_HTTP end
    if line == "" then number = 0 end -- after an interim answer comes another head
    return line
  end
end

local function read_head(httpc, params)
  local sock = httpc.sock
  sock.receive = head_reader(sock)
  local response, err
  repeat
    response, err = httpc:read_response(params)
  until not response or response.status >= 200
  sock.receive = nil -- the socket's own again
  return response, err
end

local function trimmed(text)
  return text:match("^%s*(.-)%s*$")
end

local function headers_of(response)
  local headers = {}
  for name, value in pairs(response.headers) do
    local values = type(value) == "table" and value or { value }
    for i = 1, #values do values[i] = trimmed(values[i]) end
    headers[name:lower()] = table.concat(values, ", ")
  end
  return headers
end

-- Nothing of the body may be read before its framing is known to be sound.
local function framing_fault(headers)
  local length, coding = headers["content-length"], headers["transfer-encoding"]
  if length and not length:find("^%d+$") then return "the length is no number" end
  if coding and coding:lower() ~= "chunked" then return "the transfer coding is unknown" end
  coding = headers["content-encoding"]
  if coding and coding:lower() ~= "identity" then return "the body is compressed, unasked" end
end

-- connections

local function tls_fault(err)
  return err:find("certificate", 1, true) or err:find("handshake", 1, true) or err:find("^%d+: ")
    or err:find("[Ss][Ss][Ll]")
end

local function kind_of(err)
  if err == TOO_LARGE then return "too_large" end
  if err == NOT_HTTP or err:find("chunksize", 1, true) then return "decode" end
  return err == "timeout" and "timeout" or "network"
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function proxy_of(proxy)
  if not proxy then return {} end -- also: not what set_proxy_options says
  local user, place = proxy:match("^http://(.*)@(.*)$")
  local authorization = user and "Basic " .. ngx.encode_base64(unescape(user))
  local address = "http://" .. (place or proxy:match("^http://(.*)$"))
  return {
    http_proxy = address, https_proxy = address,
    http_proxy_authorization = authorization, https_proxy_authorization = authorization,
  }
end

local function connect(httpc, request)
  local scheme, host, port = rules.parts(request.url)
  local bracketed = host:find(":", 1, true) and "[" .. host .. "]" or host
  if request.fresh then fresh = fresh + 1 end
  return httpc:connect {
    scheme = scheme, host = bracketed, port = port, ssl_verify = true, ssl_server_name = host,
    pool = request.fresh and "billhook fresh " .. fresh or nil,
    proxy_opts = proxy_of(request.proxy),
  }
end

local function give_up(httpc, ...)
  httpc:close()
  return nil, failure_of(...)
end

local function open_connection(request, deadline)
  local httpc, err = http:new()
  if not httpc then return nil, failure_of("network", err, false) end
  local seconds = math.min(request.connect_timeout, deadline - ngx.now())
  httpc:set_timeout(seconds * 1000 + SPARE)
  local in_time, ok
  in_time, ok, err = within(seconds, connect, httpc, request)
  if in_time and ok then return httpc end
  err = in_time and tostring(err) or "timeout"
  local kind = tls_fault(err) and "tls" or kind_of(err)
  return give_up(httpc, kind, kind == "timeout" and "no connection in time" or err, false)
end

local function params_of(request)
  local headers = { ["Accept-Encoding"] = "identity" }
  for name, value in pairs(request.headers) do headers[name] = value end
  local _, _, _, path = rules.parts(request.url)
  local body = request.body
  if not body and request.fresh and request.method ~= "DELETE" then body = "" end
  return { version = 1.1, method = request.method, path = path, headers = headers, body = body }
end

-- A socket's time is between two reads: it rings for silence, where that comes before the alarm.
local function set_time(httpc, left, stall)
  httpc:set_timeout(math.min(left * 1000 + SPARE, (stall or math.huge) * 1000))
end

local function exchange(httpc, params)
  local ok, err = httpc:send_request(params)
  if not ok then return nil, err end
  return read_head(httpc, params)
end

-- An answer's head, with a reader of its body.
local function begin(request)
  local deadline = ngx.now() + request.timeout
  local httpc, failure = open_connection(request, deadline)
  if not httpc then return nil, failure end
  local left = deadline - ngx.now()
  set_time(httpc, left, request.stall)
  local in_time, response, err = within(left, exchange, httpc, params_of(request))
  if not in_time then return give_up(httpc, "timeout", "no whole answer in time", true) end
  if not response then return give_up(httpc, kind_of(err), err, true) end
  local headers = headers_of(response)
  local fault = response.has_body and framing_fault(headers)
  if fault then return give_up(httpc, "decode", fault, true) end
  return setmetatable({
    status = response.status, headers = headers, httpc = httpc, deadline = deadline,
    left = request.limit, stall = request.stall, keep = not request.fresh,
    next_part = response.body_reader, ended = not response.has_body,
    unbounded = not headers["content-length"] and not headers["transfer-encoding"],
  }, reader_mt)
end

-- bodies

local function next_part(self)
  if not self.unbounded then return self.next_part(CHUNK) end
  local part, err, rest = self.httpc.sock:receive(CHUNK)
  if err ~= "closed" then return part, err end
  self.ended = true
  return rest ~= "" and rest or nil
end

local function finish(self)
  self.ended = true
  if self.keep and not self.unbounded then self.httpc:set_keepalive() else self.httpc:close() end
  self.httpc = nil
end

local function tear(self, ...)
  self.httpc:close()
  self.httpc, self.failure = nil, failure_of(...)
  return nil, self.failure
end

--- The next bytes of the body; nil at its end; nil and a failure where it was torn.
---@return string|nil chunk
---@return table|nil failure
function Reader:read()
  if not self.httpc then return nil, self.failure end
  if self.ended then return finish(self) end
  local left = self.deadline - ngx.now()
  set_time(self.httpc, left, self.stall)
  local in_time, part, err = within(left, next_part, self)
  if not in_time then return tear(self, "timeout", "no whole answer in time", true) end
  if err then return tear(self, kind_of(err), "the body broke off: " .. err, true) end
  if not part then return finish(self) end
  self.left = self.left - #part
  if self.left < 0 then return tear(self, "too_large", "the body is over the limit", true) end
  return part
end

--- Ends the transfer.
function Reader:close()
  if self.httpc then self.httpc:close() end
  self.httpc = nil
end

-- the transport

local function for_worker(request)
  return request.ca_file or (request.proxy and not request.proxy:find("^http://"))
end

--- Sends a request and waits for the head of the answer.
---@param request table see request.lua
---@return table|nil reader { status, headers, read, close }
---@return table|nil failure { kind, message, sent }
function M.stream(_, request)
  local copy = rules.check(request, 2)
  if for_worker(copy) then return require("billhook.transport.worker"):stream(copy) end
  copy.stall = copy.stall or rules.STALL
  return begin(copy)
end

--- Sends a request and waits for the whole answer.
---@param request table
---@return table|nil response { status, headers, body }
---@return table|nil failure
function M.request(_, request)
  local copy = rules.check(request, 2)
  if for_worker(copy) then return require("billhook.transport.worker"):request(copy) end
  local reader, failure = begin(copy)
  if not reader then return nil, failure end
  local parts = {}
  repeat
    parts[#parts + 1], failure = reader:read()
  until reader.httpc == nil
  if failure then return nil, failure end
  return { status = reader.status, headers = reader.headers, body = table.concat(parts) }
end

--- Waits without holding up the event loop.
---@param seconds number
function M.sleep(_, seconds)
  ngx.sleep(seconds)
end

return M

--- The transport for OpenResty over lua-resty-http, where that is installed.
--
-- What nginx's configuration decides here and no request can: the trusted authorities
-- (lua_ssl_trusted_certificate), the TLS versions (lua_ssl_protocols, to be set to
-- "TLSv1.2 TLSv1.3") and the name server (resolver). What it cannot do goes through the worker
-- transport: a request with a `ca_file`, with another proxy than an http:// one, or over TLS to an
-- address in place of a name, for nginx looks for names only in a certificate. There is no HTTP/2,
-- nothing compressed.
--
-- lua-resty-http has no deadline over a whole call, no limits, takes a head or a body that breaks
-- off for a whole one in places, and gives nothing of a piece of a body that is not all there. So
-- connecting and asking run in a light thread with an alarm beside it, and heads and bodies are
-- read here, from its socket.

local http = require "resty.http"
local framing = require "billhook.transport.framing"
local turns = require "billhook.shared.turns"
local rules = require "billhook.transport.request"

local M = { name = "resty", turn = turns.turn, unable = turns.unable }

local unpack = table.unpack or unpack

local HEAD_BYTES, HEAD_LINES = 256 * 1024, 200

-- Socket timeouts are this much (in ms) beyond the alarm: the alarm is to ring first.
local SPARE = 5000

local Reader = {}
local reader_mt = { __index = Reader, __name = "billhook.transport.reader" }

local fresh = 0

local function failure_of(kind, message, sent)
  return { kind = kind, message = (message:gsub("[^\32-\126]", "?")), sent = sent }
end

local RAISED = "lua-resty-http raised: "

-- Runs fn(...) for at most so many seconds. Gives false when time was over. It may raise: in plain
-- nginx a refused certificate can be a failed assertion of lua-resty-core.
local function within(seconds, fn, ...)
  local results
  local arguments = { ... }
  local work = ngx.thread.spawn(function() results = { pcall(fn, unpack(arguments)) } end)
  local alarm = ngx.thread.spawn(function() ngx.sleep(seconds > 0 and seconds or 0) end)
  ngx.thread.wait(work, alarm)
  ngx.thread.kill(work)
  ngx.thread.kill(alarm)
  if not results then return false end
  if not results[1] then return true, nil, RAISED .. tostring(results[2]) end
  return true, results[2], results[3]
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

-- connections

local function tls_fault(err)
  return err:find("certificate", 1, true) or err:find("handshake", 1, true) or err:find("^%d+: ")
    or err:find("[Ss][Ss][Ll]")
end

-- What nginx's configuration has to say where OpenSSL trusts nobody, or not that far.
local function with_hint(err)
  local directive = err:find("issuer", 1, true) and "lua_ssl_trusted_certificate"
    or err:find("chain too long", 1, true) and "lua_ssl_verify_depth"
  return directive and err .. " (nginx.conf: " .. directive .. ")" or err
end

local function kind_of(err)
  if err == TOO_LARGE then return "too_large" end
  if err == NOT_HTTP or err == framing.MALFORMED then return "decode" end
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
  local secure = request.url:find("^[Hh][Tt][Tt][Pp][Ss]:")
  local tls = tls_fault(err) or secure and err:find(RAISED, 1, true)
  local kind = tls and "tls" or kind_of(err)
  local message = kind == "timeout" and "no connection in time" or with_hint(err)
  return give_up(httpc, kind, message, false)
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

local LATE = "no whole answer in time"

local function silence(seconds)
  return ("nothing came for %.0f milliseconds"):format(seconds * 1000)
end

local function exchange(httpc, params)
  local ok, err = httpc:send_request(params)
  if not ok then return nil, err end
  return read_head(httpc, params)
end

-- A response without its body, or nil and a failure.
local function ask(httpc, request, deadline)
  local left = deadline - ngx.now()
  set_time(httpc, left, request.stall)
  local in_time, response, err = within(left, exchange, httpc, params_of(request))
  if not in_time then return give_up(httpc, "timeout", LATE, true) end
  if response then return response end
  local kind = kind_of(err)
  return give_up(httpc, kind, err == "timeout" and silence(request.stall or left) or err, true)
end

-- Whatever is there, as soon as there is something. So here the socket's time is exact.
local function receive(self, most)
  if not self.httpc then return nil, "closed" end -- meanwhile, by another thread
  local left = self.deadline - ngx.now()
  if left <= 0 then return nil, LATE end
  local sock = self.httpc.sock
  sock:settimeout(math.ceil(math.min(left, self.stall) * 1000))
  local part, err = sock:receiveany(most)
  if err == "timeout" then err = left <= self.stall and LATE or silence(self.stall) end
  return part, err
end

local function body_of(reader, response)
  if not response.has_body then return framing.none() end
  local coding = reader.headers["content-encoding"]
  if coding and coding:lower() ~= "identity" then
    return nil, "the body is compressed, unasked"
  end
  return framing.open(reader.headers, function(most) return receive(reader, most) end)
end

-- An answer's head, with a reader of its body.
local function begin(request)
  local deadline = ngx.now() + request.timeout
  local httpc, failure = open_connection(request, deadline)
  if not httpc then return nil, failure end
  local response
  response, failure = ask(httpc, request, deadline)
  if not response then return nil, failure end
  local reader = setmetatable({
    status = response.status, headers = headers_of(response), httpc = httpc, deadline = deadline,
    left = request.limit, stall = request.stall or math.huge, keep = not request.fresh,
  }, reader_mt)
  local fault
  reader.body, fault = body_of(reader, response)
  if not reader.body then return give_up(httpc, "decode", fault, true) end
  return reader
end

-- bodies

local function finish(self)
  local httpc = self.httpc
  self.httpc = nil
  if self.keep and self.body:is_clean() then httpc:set_keepalive() else httpc:close() end
end

local function tear(self, ...)
  self:close()
  self.failure = failure_of(...)
  return nil, self.failure
end

--- The next bytes of the body; nil at its end; nil and a failure where it was torn, after all that
-- came before.
---@return string|nil chunk
---@return table|nil failure
function Reader:read()
  if self.httpc then turns.turn() end -- a socket that has something does not wait
  local httpc = self.httpc
  if not httpc then return nil, self.failure end
  if self.left < 0 then return tear(self, "too_large", "the body is over the limit", true) end
  local part, err = self.body:read()
  if not self.httpc then -- closed meanwhile, but not while a read waited
    httpc:close()
    return nil
  end
  if not part and not err then return finish(self) end
  if not part then
    local late = err == LATE or err == silence(self.stall)
    return tear(self, late and "timeout" or kind_of(err), late and err or "the body broke off: "
      .. err, true)
  end
  self.left = self.left - #part
  if self.left >= 0 then return part end
  part = part:sub(1, self.left - 1) -- as far as it is allowed
  if part == "" then return self:read() end
  return part
end

--- Ends the transfer.
function Reader:close()
  if self.httpc then self.httpc:close() end
  self.httpc = nil
end

-- the transport

local function for_worker(request)
  local scheme, host = rules.parts(request.url)
  return request.ca_file or (request.proxy and not request.proxy:find("^http://"))
    or (scheme == "https" and (host:find(":", 1, true) or host:find("^[%d.]+$")))
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
  local body
  body, failure = framing.whole(reader)
  if not body then return nil, failure end
  return { status = reader.status, headers = reader.headers, body = body }
end

--- Waits without holding up the event loop.
---@param seconds number
function M.sleep(_, seconds)
  ngx.sleep(seconds)
end

return M

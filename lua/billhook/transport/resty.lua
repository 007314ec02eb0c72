--- The transport for OpenResty over lua-resty-http, where that is installed.
--
-- Here nginx's configuration decides, and a request cannot: the trusted authorities
-- (lua_ssl_trusted_certificate), the TLS versions (lua_ssl_protocols, to be set to
-- "TLSv1.2 TLSv1.3") and the name server (resolver). Some requests are passed to the worker
-- transport: those with a `ca_file`, with a proxy that is not an http:// one, and those over TLS to
-- an IP address, because nginx checks only names in certificates. There is no HTTP/2 and no
-- compression.
--
-- lua-resty-http reads heads and bodies over a socket that has a deadline (timed.lua). This file
-- checks what lua-resty-http does not: invalid lengths, codings, the size. lua-resty-http refuses
-- chunks with extensions, and gives nothing of a chunk before all of it has come. A timer ends the
-- waits that no time-out of a socket covers: for a name server, and for a peer that takes a large
-- body byte by byte.

local http = require "resty.http"
local core = require "billhook.core"
local errors = require "billhook.error"
local options = require "billhook.options"
local timed = require "billhook.transport.timed"
local turns = require "billhook.shared.turns"

local M = { name = "resty", now = core.text.monotonic, wall = core.text.now, turn = turns.turn,
  unable = turns.unable }

local unpack = table.unpack or unpack

local Reader = {}
local reader_mt = { __index = Reader, __name = "billhook.transport.reader" }

local fresh = 0

local function error_of(kind, message, sent)
  return errors.new { kind = kind, message = (message:gsub("[^\32-\126]", "?")), sent = sent }
end

local RAISED = "lua-resty-http raised: "

-- What it raised, without the places in its source.
local function raised(err)
  return RAISED .. tostring(err):gsub("[^%s:]*%.lua:%d+: ", "")
end

-- Runs fn(...) for at most so many seconds; gives false if the time was over. fn may raise: in
-- plain nginx a refused certificate can be a failed assertion of lua-resty-core.
local function within(seconds, fn, ...)
  local results
  local arguments = { ... }
  local work = ngx.thread.spawn(function() results = { pcall(fn, unpack(arguments)) } end)
  local alarm = ngx.thread.spawn(function() ngx.sleep(seconds > 0 and seconds or 0) end)
  ngx.thread.wait(work, alarm)
  ngx.thread.kill(work)
  ngx.thread.kill(alarm)
  if not results then return false end
  if not results[1] then return true, nil, raised(results[2]) end
  return true, results[2], results[3]
end

-- heads

local OVER = "the body is over the limit"

local function read_head(httpc, params)
  local fine, response, err
  repeat
    fine, response, err = pcall(httpc.read_response, httpc, params)
    if not fine then return nil, raised(response) end
  until not response or response.status >= 200
  httpc.sock.head = false
  if err and not httpc.sock.fault then err = timed.NOT_HTTP end -- its words would quote what came
  return response, err
end

local function headers_of(response)
  local headers = {}
  for name, value in pairs(response.headers) do
    local values = type(value) == "table" and value or { value }
    for i = 1, #values do values[i] = values[i]:match "^%s*(.-)%s*$" end
    headers[name:lower()] = table.concat(values, ", ")
  end
  return headers
end

-- connections

local function tls_fault(err)
  return err:find("certificate", 1, true) or err:find("handshake", 1, true) or err:find("^%d+: ")
    or err:find("[Ss][Ss][Ll]")
end

-- Which directive of nginx is missing if OpenSSL does not trust the certificate.
local function with_hint(err)
  local directive = err:find("issuer", 1, true) and "lua_ssl_trusted_certificate"
    or err:find("chain too long", 1, true) and "lua_ssl_verify_depth"
  return directive and err .. " (nginx.conf: " .. directive .. ")" or err
end

local kinds = { [timed.TOO_LARGE] = "too_large", [OVER] = "too_large", [timed.NOT_HTTP] = "decode",
  [timed.MALFORMED] = "decode" }

local function kind_of(err)
  local late = err:find("timeout$") or err:find(timed.LATE, 1, true) or err:find "^nothing came for"
  return kinds[err] or late and "timeout" or "network"
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
  local url = assert(options.parse_url(request.url))
  if request.fresh then fresh = fresh + 1 end
  return httpc:connect {
    scheme = url.scheme, host = url.host, port = url.port, ssl_verify = true,
    ssl_server_name = url.host,
    pool = request.fresh and "billhook fresh " .. fresh or nil,
    proxy_opts = proxy_of(request.proxy),
  }
end

local function give_up(httpc, ...)
  httpc:close()
  return nil, error_of(...)
end

local function open_connection(request, deadline)
  local httpc, err = http:new()
  if not httpc then return nil, error_of("network", err, false) end
  local seconds = math.min(request.connect_timeout, deadline - ngx.now())
  httpc.sock = timed.new(httpc.sock, ngx.now)
  httpc.sock.deadline = ngx.now() + seconds
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
  local url = assert(options.parse_url(request.url))
  local path = (url.path == "" and "/" or url.path) .. url.tail:gsub("#.*", "")
  local body = request.body
  if not body and request.fresh and request.method ~= "DELETE" then body = "" end
  return { version = 1.1, method = request.method, path = path, headers = headers, body = body }
end

-- An answer's head; or nil and an error.
local function ask(httpc, request, deadline)
  local params = params_of(request)
  httpc.sock.deadline, httpc.sock.stall = deadline, request.stall or math.huge
  local in_time, response, err = within(deadline - ngx.now(), httpc.send_request, httpc, params)
  if not in_time then return give_up(httpc, "timeout", timed.LATE, true) end
  if response then response, err = read_head(httpc, params) end
  if response then return response end
  err = tostring(err)
  return give_up(httpc, kind_of(err), err, true)
end

-- bodies

-- Checks what lua-resty-http accepts unchecked: nil, or what is wrong.
local function fault_of(headers)
  local length, coding = headers["content-length"], headers["transfer-encoding"]
  local compressed = headers["content-encoding"]
  if length and not length:find("^%d+$") then return "the length is no number" end
  if coding and coding:lower() ~= "chunked" then return "the transfer coding is unknown" end
  return compressed and compressed:lower() ~= "identity" and "the body is compressed, unasked"
end

-- An answer's head, with a reader of its body.
local function begin(request)
  local deadline = ngx.now() + request.timeout
  local httpc, err = open_connection(request, deadline)
  if not httpc then return nil, err end
  local response, why = ask(httpc, request, deadline)
  if not response then return nil, why end
  local headers = headers_of(response)
  local fault = response.has_body and fault_of(headers)
  if fault then return give_up(httpc, "decode", fault, true) end
  local length, coding = headers["content-length"], headers["transfer-encoding"]
  return setmetatable({
    status = response.status, headers = headers, httpc = httpc, read_more = response.body_reader,
    left = not response.has_body and 0 or not coding and tonumber(length) or nil, -- of the length
    open = response.has_body and not length and not coding, -- to the end of the connection
    keep = not request.fresh and not (length and coding), room = request.limit,
  }, reader_mt)
end

-- The next bytes; nil at the end; nil and an error where they were torn, and what came of them. A
-- piece is what is there already, so that lua-resty-http need not wait for the whole of it.
local function next_part(self, sock)
  if self.left == 0 then return nil end
  if sock:waiting() == 0 and not sock:fill() then
    if self.open and sock.fault == "closed" then return nil end
    return nil, sock.fault
  end
  local part, err = self.read_more(sock:waiting())
  if sock.fault then return nil, sock.fault, part == nil and err and sock.torn or nil end
  if err then return nil, timed.MALFORMED end
  if part and part ~= sock.last then return nil, raised(part) end -- its coroutine did
  if not part then self.ended = true end
  if part and self.left then self.left = self.left - #part end
  return part
end

-- The connection can be used again if this answer ended properly and nothing follows it.
local function finish(self)
  local httpc = self.httpc
  local sock = httpc.sock
  self.httpc = nil
  local whole = self.left == 0 or (self.ended and sock.last == "\r\n")
  if self.keep and whole and sock:waiting() == 0 then httpc:set_keepalive() else httpc:close() end
end

local function tear(self, fault)
  self:close()
  local kind = kind_of(fault)
  local ours = kind ~= "network"
  self.err = error_of(kind, ours and fault or "the body broke off: " .. fault, true)
end

--- The next bytes of the body; nil at its end; nil and an error where it was torn, after all that
-- came before.
---@return string|nil chunk
---@return table|nil err
function Reader:read()
  if self.httpc then turns.turn() end -- a socket that has something does not wait
  local httpc = self.httpc
  if not httpc then return nil, self.err end
  local part, fault, rest = next_part(self, httpc.sock)
  if not self.httpc then -- closed meanwhile, but not while a read waited
    httpc:close()
    return nil
  end
  if not part and not fault then return finish(self) end
  part = part or rest or ""
  if #part > self.room then part, fault = part:sub(1, self.room), OVER end
  self.room = self.room - #part
  if fault then tear(self, fault) end
  if part == "" then return nil, self.err end
  return part
end

--- Ends the transfer.
function Reader:close()
  if self.httpc then self.httpc:close() end
  self.httpc = nil
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

-- the transport

local function for_worker(request)
  local url = assert(options.parse_url(request.url))
  return request.ca_file or (request.proxy and not request.proxy:find("^http://"))
    or (url.scheme == "https" and (url.host:find(":", 1, true) or url.host:find("^[%d.]+$")))
end

--- Sends a request and waits for the head of the answer.
---@param request table see src/request.h
---@return table|nil reader { status, headers, read, close }
---@return table|nil err
function M.stream(_, request)
  local copy = core.request.check(request, true)
  if for_worker(copy) then return require("billhook.transport.worker"):stream(copy) end
  return begin(copy)
end

--- Sends a request and waits for the whole answer.
---@param request table
---@return table|nil response { status, headers, body }
---@return table|nil err
function M.request(_, request)
  local copy = core.request.check(request)
  if for_worker(copy) then return require("billhook.transport.worker"):request(copy) end
  local reader, err = begin(copy)
  if not reader then return nil, err end
  local keep, all = gatherer()
  local part
  repeat
    part, err = reader:read()
    if part then keep(part) end
  until not part
  if err then return nil, err end
  return { status = reader.status, headers = reader.headers, body = all() }
end

--- Waits without holding up the event loop.
---@param seconds number
function M.sleep(_, seconds)
  ngx.sleep(seconds)
end

return M

-- resty/http.lua - of lua-resty-http what the resty transport uses, over nginx's real sockets, for
-- machines that have it not: connecting, asking, the parts of a head and the pieces of a body. It
-- repeats nothing of it but its interface, so what is tried with it says nothing of lua-resty-http.

local M = {}
local Client = {}
Client.__index = Client

function M.new()
  return setmetatable({ sock = ngx.socket.tcp(), alive = true }, Client)
end

function Client:set_timeout(ms) self.sock:settimeout(ms) end

function Client:close() return self.sock:close() end

function Client:set_keepalive()
  return self.alive and self.sock:setkeepalive() or self.sock:close()
end

-- Asks the proxy for a tunnel.
local function dig(self, place, authorization)
  self.sock:send(("CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n"):format(place, place,
    authorization and "Proxy-Authorization: " .. authorization .. "\r\n" or ""))
  local line, err = self.sock:receive "*l"
  if not line then return nil, err end
  if not line:find "^HTTP/1%.1 2%d%d" then return nil, "no tunnel: " .. line end
  repeat line = self.sock:receive "*l" until line == "" or not line
  return line
end

function Client:connect(given)
  local secure = given.scheme == "https"
  local proxy = given.proxy_opts[secure and "https_proxy" or "http_proxy"]
  local authorization = given.proxy_opts.http_proxy_authorization
  local host, port = given.host, given.port
  if proxy then host, port = proxy:match "^http://(.*):(%d+)/?$" end
  local place = given.host .. ":" .. given.port
  local pool = table.concat({ given.scheme, place, proxy or "", authorization or "" }, " ")
  local ok, err = self.sock:connect(host, tonumber(port), { pool = given.pool or pool })
  if not ok then return nil, err end
  if secure and self.sock:getreusedtimes() == 0 then
    if proxy then ok, err = dig(self, place, authorization) end
    if ok then
      ok, err = self.sock:sslhandshake(nil, given.ssl_server_name, given.ssl_verify)
    end
    if not ok then return nil, err end
  end
  self.place = given.port == (secure and 443 or 80) and given.host or place
  self.prefix = proxy and not secure and "http://" .. self.place or ""
  self.authorization = not secure and authorization or nil
  return true
end

function Client:send_request(params)
  local lines = { ("%s %s%s HTTP/1.1"):format(params.method, self.prefix, params.path),
    "Host: " .. self.place }
  for name, value in pairs(params.headers) do lines[#lines + 1] = name .. ": " .. value end
  if self.authorization then lines[#lines + 1] = "Proxy-Authorization: " .. self.authorization end
  if params.body then lines[#lines + 1] = "Content-Length: " .. #params.body end
  return self.sock:send { table.concat(lines, "\r\n"), "\r\n\r\n", params.body or "" }
end

-- Pieces of at most so many bytes, as they are named in front of each chunk.
local function chunks_of(sock)
  local left, begun, ended = 0, false, false
  return function(most)
    if ended then return nil end
    if left == 0 then
      if begun then sock:receive(2) end
      local line, err = sock:receive "*l"
      if not line then return nil, err end
      left = tonumber(line, 16)
      if not left or left < 0 then return nil, "no size of a chunk" end
      begun = true
      if left == 0 then
        ended = true
        sock:receive(2)
        return nil
      end
    end
    local piece, err = sock:receive(math.min(left, most))
    if not piece then return nil, err end
    left = left - #piece
    return piece
  end
end

-- Pieces by the length of all, or to the end of the connection.
local function pieces_of(sock, left)
  return function(most)
    if left == 0 then return nil end
    local piece, err = sock:receive(left and math.min(left, most) or most)
    if piece and left then left = left - #piece end
    return piece, err
  end
end

function Client:read_response(params)
  local first, err = self.sock:receive "*l"
  if not first then return nil, err end
  local line
  local version, status = first:match "^HTTP/(1%.%d) (%d%d%d)"
  if not status then return nil, "no status: " .. first end
  local headers = {}
  while true do
    line, err = self.sock:receive "*l"
    if not line then return nil, err end
    local name, value = line:match "^([^:]+):%s*(.*)$"
    if not name then break end
    name = name:lower()
    if headers[name] then
      headers[name] = { headers[name], value }
    else
      headers[name] = value
    end
  end
  status = tonumber(status)
  self.alive = version == "1.1" and headers.connection ~= "close"
  local has_body = params.method ~= "HEAD" and status ~= 204 and status ~= 304 and status >= 200
  local chunked = version == "1.1" and headers["transfer-encoding"]
  return { status = status, headers = headers, has_body = has_body,
    body_reader = not has_body and function() end or chunked and chunks_of(self.sock)
      or pieces_of(self.sock, tonumber(headers["content-length"])) }
end

return M

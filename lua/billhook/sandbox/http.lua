-- http.lua - what the sandbox needs of HTTP inside nginx: a request read, an answer written, a
-- webhook posted.

local json = require "billhook.json"

-- luacheck: globals ngx.status ngx.header

local M = {}

local function body_text()
  ngx.req.read_body()
  local body = ngx.req.get_body_data()
  local path = not body and ngx.req.get_body_file()
  if not path then return body or "" end
  local file = assert(io.open(path, "rb"))
  body = file:read("*a")
  file:close()
  return body
end

--- The present request.
---@return table request method, path, query (map; a name given twice is a list), headers (names in
---  lower case), body
function M.request()
  return {
    method = ngx.req.get_method(),
    path = ngx.var.uri,
    target = ngx.var.request_uri,
    query = ngx.req.get_uri_args(0),
    headers = ngx.req.get_headers(0),
    body = body_text(),
  }
end

--- The JSON object in a body, or nil.
function M.object(text)
  local value = text ~= "" and json.decode(text)
  if type(value) == "table" then return value end
end

--- JSON as Node's JSON.stringify writes it: no slash is escaped. (PHP's, and lua-cjson's, is.)
function M.plain_json(value) return (json.encode(value):gsub("\\/", "/")) end

-- nginx takes Content-Type and Content-Length off a 204; DreamApply's has both.
local function no_content(headers)
  local lines = { "HTTP/1.1 204 No Content", "Content-Type: text/plain", "Content-Length: 0",
    "Connection: close" }
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  local sock = assert(ngx.req.socket(true))
  sock:send(table.concat(lines, "\r\n") .. "\r\n\r\n")
end

--- Writes the answer: a table as JSON, a string as plain text, nothing as an empty body.
function M.answer(status, body, headers)
  if status == 204 then return no_content(headers) end
  ngx.status = status
  local kind = "text/plain; charset=utf-8"
  if type(body) == "table" then
    kind, body = "application/json; charset=utf-8", json.encode(body)
  end
  ngx.header["Content-Type"] = kind
  for name, value in pairs(headers or {}) do ngx.header[name] = value end
  ngx.header["Content-Length"] = ngx.header["Content-Length"] or #(body or "")
  ngx.print(body or "")
end

--- Scheme, host, port and path of a URL that webhooks can go to: http, for they stay on this
--- machine or in its network.
function M.parse(url)
  local host, port, path = url:match("^http://([%w%.%-]+):?(%d*)(.*)$")
  if not host or not (path == "" or path:match("^/[^%s#]*$")) then return nil end
  return {
    name = host .. (port ~= "" and ":" .. port or ""),
    host = host == "localhost" and "127.0.0.1" or host,
    port = tonumber(port) or 80,
    path = path == "" and "/" or path,
  }
end

local function status_of(sock)
  local line, err = sock:receive("*l")
  if not line then return nil, err end
  local status = tonumber(line:match("^HTTP/1%.%d (%d%d%d)"))
  if not status then return nil, "not HTTP: " .. line:sub(1, 80) end
  return status
end

--- Posts a body. Gives the status, or nil and what went wrong.
---@param url string
---@param headers table map
---@param body string
---@param timeout number seconds for each step
function M.post(url, headers, body, timeout)
  local to = M.parse(url)
  local lines = { "POST " .. to.path .. " HTTP/1.1", "Host: " .. to.name, "Connection: close",
    "Content-Length: " .. #body }
  for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value end
  local sock = ngx.socket.tcp()
  sock:settimeout(timeout * 1000)
  local ok, err = sock:connect(to.host, to.port)
  if not ok then return nil, err end
  ok, err = sock:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. body)
  local status
  if ok then status, err = status_of(sock) end
  sock:close()
  return status, err
end

return M

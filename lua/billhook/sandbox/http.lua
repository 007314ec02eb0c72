-- http.lua - what the sandbox needs of nginx: a request read, an answer written, a webhook posted,
-- a time waited for.

local addresses = require "billhook.sandbox.addresses"

-- luacheck: globals ngx.status ngx.header

local M = {}

local closed = 444 -- nginx: end the connection

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
---@return table request method, target, headers (names in lower case), body
function M.read()
  local headers = {}
  for name, value in pairs(ngx.req.get_headers(0)) do headers[name] = value end
  return { method = ngx.req.get_method(), target = ngx.var.request_uri, headers = headers,
    body = body_text() }
end

-- nginx takes Content-Type and Content-Length off a 204; the vendors' have both.
local function no_content(headers)
  local lines = { "HTTP/1.1 204 No Content", "Content-Length: 0", "Connection: close" }
  for name, value in pairs(headers) do lines[#lines + 1] = name .. ": " .. value end
  local sock = assert(ngx.req.socket(true))
  sock:send(table.concat(lines, "\r\n") .. "\r\n\r\n")
end

--- Writes what a world answers.
function M.write(status, body, headers, cut)
  if not status then return ngx.exit(closed) end
  if status == 204 then return no_content(headers) end
  ngx.status = status
  for name, value in pairs(headers) do ngx.header[name] = value end
  ngx.header["Content-Length"] = headers["Content-Length"] or #body
  ngx.print(body)
  if cut then
    ngx.flush(true)
    return ngx.exit(ngx.ERROR)
  end
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
  local to = addresses.parse(url)
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

--- Has a world do what is due after a delay: one thing for each call, each in a thread of its own,
--- so that none waits for a slow receiver of another's.
function M.wake(world, delay)
  local ok, err = ngx.timer.at(math.max(delay, 0), function(premature)
    if premature then return end
    local done, left = world:run_one()
    -- the clock was put back, or the timer was early
    if not done and left then M.wake(world, math.max(left, 0.001)) end
  end)
  if not ok then ngx.log(ngx.ERR, "sandbox: no timer: ", err) end
end

return M

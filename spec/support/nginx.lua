-- nginx.lua - a real nginx (or OpenResty) for specs: started on free ports with the
-- configuration that the spec gives, as a process of this one.
--
--   local nginx = require "spec.support.nginx"
--   local server = nginx.start { server = [[ location / { return 204; } ]] }
--   local status, headers, body = server:request { path = "/x", method = "POST", body = "{}" }
--   server:stop()
--
-- Options of start (all text is nginx configuration):
--   server   what stands in a server block that listens on server.port
--   http     what stands in the http block beside it; PORT2 to PORT9 in it become free ports,
--            to be had as server.ports[2] to [9]
--   main     what stands outside of http          workers   worker processes (1)
--   vms      lua_worker_thread_vm_pool_size, and threads for them (10)
--   threads  false: no thread pool
--   conf     a whole nginx.conf in place of all this, with $PREFIX, $ROOT and $PORT in it

local ports = require "spec.support.port"
local process = require "billhook.process"
local socket = require "socket"

local M = {}
local Server = {}
Server.__index = Server

local modules = { "/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules" }
local patience = 60

local function shell(command)
  local pipe = assert(io.popen(command .. " 2>&1; echo $?"))
  local text = pipe:read("*a")
  pipe:close()
  return text:match("(%d+)%s*$") == "0", (text:gsub("%d+%s*$", ""))
end

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read("*a")
  file:close()
  return text or "" -- nil: of a process that has just ended
end

local function trim(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

local function output(command)
  local _, text = shell(command)
  return trim(text)
end

--- Calls `check` until it gives something true; raises after `seconds` (60).
function M.wait(what, check, seconds)
  local deadline, pause = socket.gettime() + (seconds or patience), 0.005
  repeat
    local result = check()
    if result then return result end
    socket.sleep(pause)
    pause = math.min(pause * 1.2, 0.05)
  until socket.gettime() > deadline
  error("waited in vain for " .. what, 2)
end

-- What is asked of the machine once, however many servers are started.
local function once(ask)
  local answer
  return function()
    answer = answer or ask()
    return answer
  end
end

local root = once(function() return output "pwd" end)
local user = once(function() return output "id -u" == "0" and "user root;" or "" end)

local binary = once(function()
  local name = os.getenv("NGINX")
  if name then return name end
  for _, path in ipairs { "openresty", "nginx", "/usr/sbin/nginx",
    "/usr/local/openresty/nginx/sbin/nginx" } do
    if shell("command -v " .. path) then return path end
  end
  error("no nginx here: install nginx-light and libnginx-mod-http-lua", 0)
end)

--- The lines that load nginx's Lua, where it is not built in.
function M.load_modules()
  for _, folder in ipairs(modules) do
    if exists(folder .. "/ngx_http_lua_module.so") then
      local line = "load_module " .. folder .. "/%s_module.so;\n"
      return line:format "ndk_http" .. line:format "ngx_http_lua"
    end
  end
  return "" -- built in, as OpenResty's is
end

local template = [[
%s
%s
pid $PREFIX/nginx.pid;
error_log $PREFIX/error.log %s;
worker_processes %d;
%s
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path $PREFIX/body;
  proxy_temp_path $PREFIX/proxy;
  fastcgi_temp_path $PREFIX/fastcgi;
  uwsgi_temp_path $PREFIX/uwsgi;
  scgi_temp_path $PREFIX/scgi;
  client_max_body_size 16m;
  lua_package_path "$ROOT/?.lua;$ROOT/lua/?.lua;$ROOT/lua/?/init.lua;;";
  lua_package_cpath "$ROOT/build/luajit/?.so;;";
  %s
  %s
  server {
    listen 127.0.0.1:$PORT;
    %s
  }
}
]]

local function configuration(server, options)
  local threads, vms = options.threads ~= false, options.vms or 10
  local text = options.conf or template:format(
    M.load_modules(), user(),
    options.level or "notice", options.workers or 1,
    (threads and ("thread_pool billhook threads=%d max_queue=1000;\n"):format(vms) or "")
      .. (options.main or ""),
    threads and ("lua_worker_thread_vm_pool_size %d;"):format(vms) or "",
    options.http or "", options.server or "")
  text = text:gsub("PORT(%d)", function(n)
    n = tonumber(n)
    server.ports[n] = server.ports[n] or ports.free()
    return tostring(server.ports[n])
  end)
  local values = { PREFIX = server.prefix, ROOT = server.root, PORT = tostring(server.port) }
  return (text:gsub("%$(%u+)", values))
end

--- Starts nginx and gives it back once it listens.
---@param options table see the head of this file
---@return table server with port, ports, prefix, root and the methods below
function M.start(options)
  local server = setmetatable({ ports = {}, port = ports.free(), root = root() }, Server)
  server.prefix = assert(process.mkdtemp "/tmp/nginx")
  write(server.prefix .. "/nginx.conf", configuration(server, options))
  local said = server.prefix .. "/said"
  server.pid = assert(process.spawn({ binary(), "-p", server.prefix, "-e",
    server.prefix .. "/error.log", "-c", server.prefix .. "/nginx.conf", "-g", "daemon off;" },
    { cwd = server.root, stdin = "/dev/null", stdout = said, stderr = said, die = "KILL",
      group = true }))
  M.wait("nginx to listen:\n" .. server:log(), function()
    if process.wait(server.pid, "look") ~= false then
      local why = read(said)
      server:stop()
      error("nginx does not start:\n" .. why, 0)
    end
    local peer = trim(read(server.prefix .. "/nginx.pid")) == tostring(server.pid)
      and socket.connect("127.0.0.1", server.port)
    return peer and peer:close()
  end)
  return server
end

function Server:log() return read(self.prefix .. "/error.log") end

--- Waits until the error log holds `text` (plain).
function Server:wait_log(text, seconds)
  return M.wait("'" .. text .. "' in the log:\n" .. self:log(), function()
    return self:log():find(text, 1, true)
  end, seconds)
end

function Server:url(path, n)
  return ("http://127.0.0.1:%d%s"):format(n and self.ports[n] or self.port, path or "/")
end

local function receive_all(peer)
  local parts = {}
  repeat
    local chunk, err, rest = peer:receive(65536)
    parts[#parts + 1] = chunk or rest
    if err and err ~= "closed" then return nil, err end
  until err
  return table.concat(parts)
end

local function parse(text)
  local status, head, body = text:match("^HTTP/1%.%d (%d+)[^\r]*\r\n(.-)\r\n\r\n(.*)$")
  if not status then return nil, "no answer: " .. text end
  local headers = {}
  for name, value in (head .. "\r\n"):gmatch("([^:\r\n]+):%s*([^\r\n]*)\r\n") do
    headers[name:lower()] = value
  end
  if headers["transfer-encoding"] == "chunked" then
    local parts, at = {}, 1
    while true do
      local size, from = body:match("^(%x+)[^\r]*\r\n()", at)
      local n = size and tonumber(size, 16) or 0
      if n == 0 then break end
      parts[#parts + 1] = body:sub(from, from + n - 1)
      at = from + n + 2
    end
    body = table.concat(parts)
  end
  return tonumber(status), headers, body
end

--- One request on a connection of its own. Gives status, headers (names in lower case), body;
--- or nil, what went wrong (a connection closed without an answer).
---@param options table method, path, headers (map, or list of lines), body, port, timeout
function Server:request(options)
  return M.request(options.port or self.port, options)
end

--- The request's bytes are sent and the open connection is given back.
function M.send(port, options)
  local lines = { ("%s %s HTTP/1.1"):format(options.method or "GET", options.path or "/"),
    "Host: 127.0.0.1", "Connection: close" }
  for name, value in pairs(options.headers or {}) do
    lines[#lines + 1] = type(name) == "number" and value or name .. ": " .. value
  end
  if options.body and not options.no_length then
    lines[#lines + 1] = "Content-Length: " .. #options.body
  end
  local peer = assert(socket.tcp())
  peer:settimeout(options.timeout or 60)
  local ok, err = peer:connect("127.0.0.1", port)
  if not ok then return nil, err end
  peer:send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (options.body or ""))
  return peer
end

--- Reads the answer of a connection that `send` opened, and closes it.
function M.answer(peer)
  local text, err = receive_all(peer)
  peer:close()
  if not text then return nil, err end
  return parse(text)
end

function M.request(port, options)
  local peer, err = M.send(port, options)
  if not peer then return nil, err end
  return M.answer(peer)
end

-- What has ended stays a zombie until its parent looks after it.
local function alive(pid)
  local state = read(("/proc/%d/stat"):format(pid)):match "%) (%a)"
  return state ~= nil and state ~= "Z"
end

--- The process ids of the workers.
function Server:workers()
  local pids = {}
  for pid in read(("/proc/%d/task/%d/children"):format(self.pid, self.pid)):gmatch("%d+") do
    pids[#pids + 1] = tonumber(pid)
  end
  return pids
end

--- Sends a signal ("HUP", "QUIT", "TERM", "KILL") to the master process.
function Server:signal(name) return (process.kill(self.pid, name)) end

--- Waits until the master is gone.
function Server:wait_end(seconds)
  return M.wait("nginx to end", function() return not alive(self.pid) end, seconds)
end

--- Ends it at once and removes its folder. May be called twice. How nginx ends when it is told to
--- is the affair of specs that tell it: here it is killed, which is quicker by a third.
function Server:stop()
  if self.stopped then return end
  self.stopped = true
  local pids = self:workers()
  process.kill(-self.pid, "KILL")
  process.wait(self.pid)
  for _, pid in ipairs(pids) do
    M.wait("the end of nginx's worker", function() return not alive(pid) end)
  end
  process.remove_tree(self.prefix)
end

return M

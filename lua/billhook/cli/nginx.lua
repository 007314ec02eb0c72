-- cli/nginx.lua: finds an nginx that speaks Lua, and writes its configuration.
--
-- Everything nginx writes lies in the run folder, so it needs no root. What
-- the http block does is the caller's (serve's host side, the sandbox).

local process = require "billhook.process"
local paths = require "billhook.cli.paths"
local term = require "billhook.cli.term"
local trust = require "billhook.cli.trust"

local M = {}

local binaries = {
  "openresty", "/usr/local/openresty/nginx/sbin/nginx", "nginx", "/usr/sbin/nginx",
  "/usr/local/sbin/nginx", "/usr/local/nginx/sbin/nginx",
}
local no_nginx = "found neither openresty nor nginx; install OpenResty, or Debian's"
  .. " nginx-light and libnginx-mod-http-lua (BILLHOOK_NGINX names another program)"
local no_lua = "%s has no Lua inside: install Debian's libnginx-mod-http-lua, or OpenResty"
local no_threads = "%s was built without --with-threads, which billhook needs"

M.threads = 10 -- worker threads and their Lua VMs, for each nginx worker
M.grace = 30 -- seconds that requests under way may take when nginx stops

local function which(name)
  if name:find("/", 1, true) then return process.executable(name) and process.realpath(name) end
  for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do
    if process.executable(folder .. "/" .. name) then return folder .. "/" .. name end
  end
end

local function built_with(binary)
  local pipe = assert(io.popen("'" .. binary:gsub("'", "'\\''") .. "' -V 2>&1"))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

local function module_folder(built)
  local folders = { built:match "%-%-modules%-path=(%S+)" or "", "/usr/lib/nginx/modules",
    "/usr/share/nginx/modules", "/usr/lib64/nginx/modules" }
  for _, folder in ipairs(folders) do
    if process.stat(folder .. "/ngx_http_lua_module.so") then return folder end
  end
end

-- Root starts nothing that somebody else may replace.
local function replaceable(path)
  return process.uid() == 0 and trust.refusal(path, "root would start what lies there") or nil
end

---Finds the server program.
---@return table|nil nginx `binary`, `modules`: a list of what load_module needs
---@return string|nil message
function M.find()
  local chosen = os.getenv "BILLHOOK_NGINX"
  local binary = chosen and which(chosen)
  for _, name in ipairs(chosen and {} or binaries) do binary = binary or which(name) end
  if not binary then return nil, chosen and "cannot run BILLHOOK_NGINX " .. chosen or no_nginx end
  local why = replaceable(binary)
  if why then return nil, why end
  local built = built_with(binary)
  if not built:find("--with-threads", 1, true) then return nil, no_threads:format(binary) end
  if built:find("openresty", 1, true) or built:find("lua%-nginx%-module") then
    return { binary = binary, modules = {} }
  end
  local folder = module_folder(built)
  if not folder then return nil, no_lua:format(binary) end
  why = replaceable(folder)
  if why then return nil, why end
  return { binary = binary, modules = {
    folder .. "/ndk_http_module.so", folder .. "/ngx_http_lua_module.so",
  } }
end

---A string as nginx's configuration quotes it; in it no variable is expanded by mistake.
---@param text string
---@return string
function M.quote(text)
  if text:find "[%z\r\n]" then error("nginx.quote: a line end in a path or name", 2) end
  return '"' .. text:gsub('[\\"]', "\\%0") .. '"'
end

---A Lua string literal that may stand inside an nginx ..._by_lua_block.
---@param text string
---@return string
function M.lua_quote(text)
  return '"' .. text:gsub("[^%w%./_:%-]", function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
end

-- the system's name servers, for what nginx itself looks up
local function resolver(path)
  local list = {}
  for line in (io.open(path) and io.lines(path) or function() end) do
    local address = line:match "^%s*nameserver%s+([%x%.:]+)%s*$"
    if address and address:find(":", 1, true) then address = "[" .. address .. "]" end
    list[#list + 1] = address
  end
  if #list == 0 then return "" end
  return "  resolver " .. table.concat(list, " ") .. ";\n"
end

-- nginx empties its workers' environment but for what is named; rules files may read theirs.
local function environment(path, more)
  local file = io.open(path, "rb")
  local text, lines = file and file:read "*a" or "", {}
  if file then file:close() end
  for name in pairs(more or {}) do text = ("%s=\0%s"):format(name, text) end
  for name in ("\0" .. text):gmatch "%z([%a_][%w_]*)=" do
    lines[#lines + 1] = "env " .. name .. ";\n"
  end
  return table.concat(lines)
end

local frame = [[
# Written by billhook at every start: changes here are lost.
%s%sdaemon off;
%spid %s;
error_log stderr %s;
worker_processes %d;
worker_rlimit_nofile %d;
worker_shutdown_timeout %ds;
thread_pool billhook threads=%d max_queue=65536;
events { worker_connections %d; }
http {
  client_header_timeout %ds;
  client_body_timeout %ds;
  send_timeout %ds;
  keepalive_timeout 30s;
  lingering_time 5s;
  lingering_timeout 2s;
  reset_timedout_connection on;
  access_log off;
  server_tokens off;
  default_type application/json;
%s  client_max_body_size %s;
  client_body_buffer_size 32k;
  lua_package_path %s;
  lua_package_cpath %s;
  lua_worker_thread_vm_pool_size %d;
  lua_socket_log_errors off;
%s%s}
]]

local function temporary(run)
  local lines = {}
  for _, name in ipairs { "client_body", "proxy", "fastcgi", "uwsgi", "scgi" } do
    lines[#lines + 1] = ("  %s_temp_path %s;\n"):format(name, M.quote(run .. "/" .. name))
  end
  return table.concat(lines)
end

local function loaded(modules)
  local lines = {}
  for i, path in ipairs(modules) do lines[i] = ("load_module %s;\n"):format(M.quote(path)) end
  return table.concat(lines)
end

-- A slow sender costs no more than a connection: there are many, and each has its two files, one
-- for a body that is too large for memory. Where the system gives fewer files, as many as it gives.
local connections = { wanted = 8192, least = 256, spare = 256 }

local function most_files(path)
  local file = io.open(path)
  local text = file and file:read "*a" or ""
  if file then file:close() end
  return tonumber(text:match "Max open files%s+%S+%s+(%d+)") or math.huge
end

---How many connections, and how many files, a worker has.
---@param wanted integer|nil
---@param limits string|nil path of a process's limits, as the kernel shows them
---@return integer connections
---@return integer files
function M.room(wanted, limits)
  local files = most_files(limits or "/proc/self/limits")
  local most = math.max(math.floor((files - connections.spare) / 2), connections.least)
  local count = math.min(wanted or connections.wanted, most)
  return count, math.min(2 * count + connections.spare, files)
end

local slow = 10 -- seconds that a sender may be silent, or take for its header

---The text of an nginx.conf.
---@param options table `nginx` (what find gave), `run` (folder), `http` (text), `lua_path`,
---  `lua_cpath`, and optionally `user` (name), `group`, `workers`, `body_limit` (bytes),
---  `env` (variables for the workers, by name), `level` (of the error log), `resolv` (path of
---  a resolv.conf), `environ` (path of an environment as the kernel shows it), `connections`
---  (8192, a worker), `patience` (seconds for a request, of which 10 may be silent), `cwd`:
---  where the workers go; then the master stays in the run folder and looks for Lua in the
---  system's folders alone, the workers' paths being the http block's
---@return string
function M.conf(options)
  local run, user = options.run, ""
  if options.user then
    user = ("user %s %s;\n"):format(M.quote(options.user), M.quote(options.group or options.user))
  end
  local lua_path, lua_cpath = options.lua_path .. ";;", options.lua_cpath .. ";;"
  if options.cwd then
    lua_path, lua_cpath = ";;", ";;"
    user = user .. ("working_directory %s;\n"):format(M.quote(options.cwd))
  end
  local count, files = M.room(options.connections)
  local silence = math.min(options.patience or slow, slow)
  return frame:format(
    loaded(options.nginx.modules),
    environment(options.environ or "/proc/self/environ", options.env), user,
    M.quote(run .. "/nginx.pid"), options.level or "warn", options.workers or 1,
    files, M.grace, M.threads, count, silence, silence, silence,
    temporary(run), options.body_limit or "8m",
    M.quote(lua_path), M.quote(lua_cpath), M.threads,
    resolver(options.resolv or "/etc/resolv.conf"), options.http)
end

---Writes nginx.conf into the run folder; nginx reads it at its start and on HUP.
---@param options table as for conf
---@return string|nil path
---@return string|nil message
function M.write(options)
  local path = options.run .. "/nginx.conf"
  local ok, err = process.replace(path, M.conf(options))
  return ok and path, err
end

-- nginx takes NGINX for a list of sockets. It runs LuaJIT, whatever runs this: another Lua's
-- shared objects must not be found by it.
-- Where its workers set their paths, its master, who is root, has none but the system's.
local function environment_of(options)
  local env = { NGINX = false, LUA_PATH = not options.cwd and nil }
  if _VERSION ~= "Lua 5.1" or options.cwd then env.LUA_CPATH = false end
  for name, value in pairs(options.env or {}) do env[name] = value end
  return env
end

---Writes nginx.conf and starts nginx, in the foreground of a group of its own.
---@param options table as for conf; `nginx`, `lua_path` and `lua_cpath` are found and added
---@return table|nil child
---@return string|nil message
function M.start(options)
  local found, err = M.find()
  if not found then return nil, err end
  options.nginx = found
  options.lua_path, options.lua_cpath = paths.luajit()
  if not options.lua_path then return nil, options.lua_cpath end
  local path
  path, err = M.write(options)
  if not path then return nil, err end
  return require("billhook.cli.children").start(
    { found.binary, "-p", options.run .. "/", "-e", "stderr", "-c", path },
    { name = "nginx", die = "TERM", whole = true, stderr = options.stderr,
      env = environment_of(options), cwd = options.cwd and options.run })
end

local patience = 15 -- seconds for a first answer

-- nginx writes it when it has got its addresses: before, another server may answer there
local function bound(child, run)
  if not run then return true end
  local file = io.open(run .. "/nginx.pid")
  local pid = file and tonumber(file:read "*l" or "")
  if file then file:close() end
  return pid == child.pid
end

local function ask(url)
  local answer = require("billhook.transport").pick("curl"):request { method = "GET", url = url,
    headers = {}, timeout = 5, connect_timeout = 1, limit = 65536 }
  return answer and answer.status
end

---Waits for an answer: nginx listens before its workers have loaded what they run.
---@param child table
---@param options table `url` that is asked; `run`, its folder where it is nginx itself;
---  `interrupted` (fun(): boolean), asked meanwhile: true ends the waiting
---@return integer|nil status nil where it was interrupted, or with a message
---@return string|nil message
function M.await(child, options)
  local deadline = process.monotonic() + patience
  while process.monotonic() < deadline do
    local status = bound(child, options.run) and ask(options.url)
    if status then return status end
    if child:ended() then return nil, "nginx does not start, see above" end
    process.sleep(0.01, true)
    if options.interrupted and options.interrupted() then return nil end
  end
  return nil, "nginx does not answer at " .. options.url
end

local leaving = 3 -- seconds for a server that was killed, or told to end, to be gone

---Could a server listen there? Asked before nginx is, which would tell in many words.
---@param host string
---@param port string
---@return boolean|nil
---@return string|nil message
function M.vacant(host, port)
  local address = host ~= "*" and host:gsub("[%[%]]", "") or nil
  local deadline = process.monotonic() + leaving
  local ok, err, told
  repeat
    ok, err = process.vacant(address, port)
    if ok then return true end
    if err == "it is taken" and not told then
      told = true
      term.say(("%s:%s is taken: waiting %d s for its server to end"):format(host, port, leaving))
    end
    process.sleep(0.02, true)
  until err ~= "it is taken" or process.monotonic() > deadline
  if err == "it is taken" then return nil, ("%s:%s is taken"):format(host, port) end
  return nil, ("cannot listen on %s:%s: %s"):format(host, port, err)
end

---Host and port of an address to listen on.
---@param text string
---@return string|nil host
---@return string port
function M.address(text)
  local host, port = text:match "^(%[[%x:%.]+%]):(%d+)$"
  if not host then host, port = text:match "^([%w%.%-%*]+):(%d+)$" end
  if not host then host, port = "127.0.0.1", text:match "^:?(%d+)$" end
  local number = tonumber(port)
  if not number or number < 1 or number > 65535 then
    require("billhook.cli").usage("not an address and port: " .. text
      .. " (give HOST:PORT or PORT)")
  end
  return host, port
end

---Where this machine reaches a server that listens there.
---@param host string
---@param port string
---@return string
function M.url(host, port)
  if host == "*" or host == "0.0.0.0" then host = "127.0.0.1" end
  if host == "[::]" then host = "[::1]" end
  return ("http://%s:%s"):format(host, port)
end

return M

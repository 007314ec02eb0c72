-- peer.lua - starts spec/support/peer.c, a server that does what the URL says.
--
--   local peer = require "spec.support.peer"
--   local server = peer.start { tls = "good" }
--   server:url(peer.answer(200, {}, "hello"))     --> "https://localhost:4711/send=HTTP..."
--   server:url("wait=100", "reset")
--   server:count "GET "                           --> how many requests began so
--   server:stop()
--
-- Options of start: tls (a certificate of peer.certificates), tls_max, alpn, address, host (in
-- the URL: localhost with tls, else the address), before, instead (scripts; see peer.c).

local ports = require "spec.support.port"
local process = require "billhook.process"
local socket = require "socket"

local M = {}
local Server = {}
Server.__index = Server

local function run(command)
  local pipe = assert(io.popen("{ " .. command .. "; } 2>&1; echo \"exit $?\""))
  local text = pipe:read("*a")
  pipe:close()
  if not text:find("exit 0%s*$") then error(command .. "\n" .. text, 2) end
  return (text:gsub("exit 0%s*$", ""))
end

local function line_of(command)
  return (run(command):gsub("%s+$", ""))
end

-- Builds spec/support/NAME.c unless that was done; gives the program's path.
local built = {}
local function compile(name, libraries)
  local path = "build/test/" .. name
  if built[name] then return path end
  local cc = ("cc -std=gnu11 -O1 -Wall -Wextra -Werror spec/support/%s.c %s")
    :format(name, libraries)
  run(("mkdir -p build/test; [ %s -nt spec/support/%s.c ] || { %s -o %s.$$ && mv %s.$$ %s; }")
    :format(path, name, cc, path, path, path))
  built[name] = true
  return path
end

--- Builds spec/support/NAME.c into a shared object for LD_PRELOAD. Gives its path.
function M.compile_shared(name)
  local so = ("build/test/%s.so"):format(name)
  run(("mkdir -p build/test; [ %s -nt spec/support/%s.c ] || { cc -shared -fPIC -o %s.$$ "
    .. "spec/support/%s.c -ldl && mv %s.$$ %s; }"):format(so, name, so, name, so, so))
  return line_of("pwd") .. "/" .. so
end

local kinds = {
  good = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile good.ext",
  wrong = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile wrong.ext",
  expired = "-CA ca.pem -CAkey ca.key -CAcreateserial -days -1 -extfile good.ext",
  selfsigned = "-signkey selfsigned.key -days 2 -extfile good.ext",
  stranger = "-CA other.pem -CAkey other.key -CAcreateserial -days 2 -extfile good.ext",
}

local folder

--- Makes an authority (ca.pem) and the certificates good, wrong (another host), expired, selfsigned
--- and stranger (another authority's), each NAME.pem with NAME.key, in a folder. Gives the folder.
--- They are made once a day, by this text as it is: the folder is a copy.
function M.certificates()
  if folder then return folder end
  local made = line_of("mktemp -d /tmp/billhook-tls.XXXXXX")
  local key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
  local steps = {
    "cd " .. made,
    "openssl req -x509 " .. key .. " -keyout ca.key -out ca.pem -subj '/CN=authority' -days 2",
    "openssl req -x509 " .. key .. " -keyout other.key -out other.pem -subj '/CN=other' -days 2",
    "echo 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1' > good.ext",
    "echo 'subjectAltName=DNS:elsewhere.example' > wrong.ext",
  }
  for name, how in pairs(kinds) do
    steps[#steps + 1] = ("openssl req %s -keyout %s.key -out %s.csr -subj /CN=%s"):format(
      key, name, name, name)
    steps[#steps + 1] = ("openssl x509 -req -in %s.csr -out %s.pem %s"):format(name, name, how)
  end
  run(("mkdir -p build/test; kept=build/test/certificates-$(date -u +%%j)-$(cksum "
    .. "<spec/support/peer.lua | tr ' ' -); if [ -d $kept ]; then cp $kept/* %s; else (%s) "
    .. "&& cp -R %s $kept.$$ && { mv -T $kept.$$ $kept 2>/dev/null || rm -rf $kept.$$; }; fi"
    ):format(made, table.concat(steps, " && "), made)) -- who comes second to make them: has its own
  folder = made
  return folder
end

--- Removes the certificates.
function M.clean()
  if folder then run("rm -rf " .. folder) end
  folder = nil
end

local function encode(text)
  return (text:gsub("[^%w%-._~!$&'()*+,:=@]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- The action that sends this text.
function M.send(text) return "send=" .. encode(text) end

--- The action that sends n times this text; each "#" in it is the running number.
function M.times(n, text) return encode(("repeat=%d,%s"):format(n, text)) end

--- The action that writes a line into the log.
function M.note(text) return "note=" .. encode(text) end

--- The action that sends a file.
function M.file(path) return "file=" .. encode(path) end

--- The action that sends a whole answer. A length of false leaves Content-Length out.
function M.answer(status, headers, body, length)
  local lines = { ("HTTP/1.1 %d It"):format(status) }
  for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
  if length ~= false then
    lines[#lines + 1] = ("Content-Length: %d"):format(length or #(body or ""))
  end
  return M.send(table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or ""))
end

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Starts a program that prints "PORT PID".
local function launch(command)
  local pipe = assert(io.popen("exec " .. command))
  local port, pid = (pipe:read("*l") or ""):match("^(%d+) (%d+)$")
  if not port then error("the test server does not start: " .. command, 3) end
  return { port = tonumber(port), pid = pid, pipe = pipe }
end

function M.start(options)
  options = options or {}
  local log = os.tmpname() -- made, and nobody else's
  local words = { compile("peer", "-lssl -lcrypto -lpthread"), "--log", log }
  local function add(...) for _, w in ipairs { ... } do words[#words + 1] = quoted(w) end end
  if options.tls then
    local base = M.certificates() .. "/" .. options.tls
    add("--tls", base .. ".pem", base .. ".key")
  end
  for option, name in pairs { tls_max = "--tls-max", alpn = "--alpn", address = "--address",
    before = "--before", instead = "--instead" } do
    if options[option] then add(name, options[option]) end
  end
  local server = launch(table.concat(words, " "))
  server.logfile = log
  server.scheme = options.tls and "https" or "http"
  server.host = options.host or (options.tls and "localhost") or "127.0.0.1"
  return setmetatable(server, Server)
end

--- Starts a name server (dns.c), which has `port` and `stop` of a server.
function M.name_server()
  return setmetatable(launch(compile("dns", "")), Server)
end

--- The URL of a script, its actions as arguments.
function Server:url(...)
  return ("%s://%s:%d/%s"):format(self.scheme, self.host, self.port, table.concat({ ... }, "/"))
end

--- All that came, connections and requests.
function Server:log()
  local file = assert(io.open(self.logfile, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

--- How many lines of the log begin with this text.
function Server:count(text)
  local n, at = 0, 1
  local log = "\n" .. self:log()
  while true do
    at = log:find("\n" .. text, at, true)
    if not at then return n end
    n, at = n + 1, at + 1
  end
end

--- Waits until the log has n such lines.
function Server:await(text, n)
  local deadline = socket.gettime() + 60
  repeat
    if self:count(text) >= n then return end
    socket.sleep(0.005)
  until socket.gettime() > deadline
  error("waited in vain for " .. text, 2)
end

function Server:connections() return self:count("connection ") end

--- Forgets what came so far.
function Server:forget() assert(io.open(self.logfile, "wb")):close() end

function Server:stop()
  if not self.pipe then return end
  process.kill(tonumber(self.pid), "KILL")
  self.pipe:close()
  self.pipe = nil
  if self.logfile then os.remove(self.logfile) end
end

--- A port of 127.0.0.1 on which nobody listens.
M.refused_port = ports.free

return M

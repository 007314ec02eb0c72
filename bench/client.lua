#!/usr/bin/env lua5.4
-- client.lua: calls of the client beside libcurl alone and beside other clients, in one run: GETs
-- of an invoice of 1 KB, one after another and 32 at once, over http and TLS, on kept connections.
-- All but libcurl decode it. What counts is processor time beside that of libcurl. Rounds alternate;
-- given are the least of all rounds and, in brackets, the median of each round's ratio: they agree
-- where the machine is quiet.
--
--   make && bench/client.lua [http] [tls] [sequential] [together] [a name of `peers` below ...]
--
-- The server is one nginx with one process, which answers from its configuration; how busy it was
-- with libcurl is told. Peers are Debian's lua-http (with lua-cjson), python3-requests,
-- python3-aiohttp and python3-pycurl, Node, and undici in a folder of your own:
--
--   npm install --prefix FOLDER undici; UNDICI=FOLDER bench/client.lua
--
-- What is missing is named. BENCH_SECONDS (0.3) is one measurement's length, BENCH_ROUNDS (15) how
-- many there are. On a machine with other work, `chrt -r 1 bench/client.lua` keeps that away.

package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
package.cpath = "build/lua5.4/?.so;" .. package.cpath

local process = require "billhook.process"

local SECONDS = tonumber(os.getenv "BENCH_SECONDS" or 0.3)
local ROUNDS = tonumber(os.getenv "BENCH_ROUNDS" or 15)
local UNDICI = os.getenv "UNDICI"

-- --- who is measured ---------------------------------------------------------------------------

-- what the environment says of the Lua that runs this file is none of the others' business
local paths = "env -u LUA_INIT -u LUA_PATH_5_4 -u LUA_CPATH_5_4"
  .. " LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='build/%s/?.so;;' %s %s"
local function lua(name) return paths:format(name, name, "bench/peers/billhook.lua") end
local python = "/usr/bin/python3 bench/peers/python.py "
local node = "env NODE_NO_WARNINGS=1 NODE_EXTRA_CA_CERTS=$CA node bench/peers/node.mjs "

local peers = {
  { name = "libcurl", run = "build/bench-client", whole = true },
  { name = "billhook, Lua 5.4", run = lua "lua5.4", ours = true },
  { name = "billhook, LuaJIT", run = lua "luajit", ours = true },
  { name = "lua-http", run = "luajit bench/peers/lua-http.lua" },
  { name = "undici", run = UNDICI and node .. UNDICI, lacks = "no UNDICI folder was named" },
  { name = "fetch of Node", run = node .. "fetch" },
  { name = "pycurl", run = python .. "pycurl", only = "sequential" },
  { name = "requests", run = python .. "requests" },
  { name = "aiohttp", run = python .. "aiohttp" },
}
local TARGET = 1.4 -- times libcurl's processor time, for ours

-- --- the server --------------------------------------------------------------------------------

local function run(command)
  assert(os.execute(command .. " >/dev/null 2>&1"), command)
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- An invoice with the members that DreamApply's have and the id that was asked for: 1 KB of JSON.
local invoice = [[{"id":$id,"type":"Invoice","nr":"2026-123","serie":{"id":100,"name":"Tuition"},]]
  .. [["applicant":"/api/v9/applicants/4711","application":"/api/v9/applications/881",]]
  .. [["course":null,"deadline":"2026-12-15","issued":"2026-11-01T16:00:00+00:00",]]
  .. [["delivered":"2026-11-01T16:00:00+00:00","reminder":true,"reminded":null,"collected":null,]]
  .. [["currency":"EUR","items":[{"item":"Tuition fee","price":"1000.00","qty":"1.00",]]
  .. [["unit":null,"inventory_item_ID":null}],"collections":{},"instructions":"Pay to:\r\n\r\n]]
  .. [[EXAMPLE BANK\r\n\r\nIBAN: EE12 3456 7890 1234 5678","smallprint":"]]
  .. ("Name the number of this invoice with the payment, please.\\r\\n"):rep(7)
  .. [[","payer":{"name":"Ada Example","email":"ada@example.org"}}]]

local conf = [[
worker_processes 1;
daemon off;
pid $FOLDER/nginx.pid;
error_log $FOLDER/errors;
$USER
events { worker_connections 1024; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path $FOLDER/1; proxy_temp_path $FOLDER/2; fastcgi_temp_path $FOLDER/3;
  uwsgi_temp_path $FOLDER/4; scgi_temp_path $FOLDER/5;
  server {
    listen 127.0.0.1:$HTTP backlog=4096;
    listen 127.0.0.1:$TLS ssl backlog=4096;
    ssl_certificate $FOLDER/server.pem;
    ssl_certificate_key $FOLDER/server.key;
    default_type application/json;
    location ~ "^/api/v9/invoices/(?<id>[0-9]+)$" { return 200 '$INVOICE'; }
  }
}
]]

local certificates = [[cd $FOLDER
openssl req -x509 $KEY -keyout ca.key -out ca.pem -subj /CN=authority -days 2 &&
echo subjectAltName=IP:127.0.0.1 > ext &&
openssl req $KEY -keyout server.key -out server.csr -subj /CN=server &&
openssl x509 -req -in server.csr -out server.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
  -extfile ext]]

local function serve(folder)
  local text = certificates:gsub("%$FOLDER", folder):gsub("%$KEY",
    "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes")
  run("(" .. text .. ")")
  local server = { http = (process.free_port()), tls = (process.free_port()) }
  write(folder .. "/nginx.conf", (conf:gsub("%$(%u+)", {
    FOLDER = folder, INVOICE = invoice:gsub("\\", "\\\\"),
    HTTP = ("%d"):format(server.http), TLS = ("%d"):format(server.tls),
    USER = process.uid() == 0 and "user root root;" or "" })))
  server.pid = assert(process.spawn({ "nginx", "-e", folder .. "/errors", "-c",
    folder .. "/nginx.conf" }, { stdin = "/dev/null", stderr = folder .. "/errors", die = "TERM" }))
  repeat
    process.sleep(0.01, true)
    local children = assert(io.open(("/proc/%d/task/%d/children"):format(server.pid, server.pid)))
    server.worker = children:read "n"
    children:close()
  until server.worker and process.stat(folder .. "/nginx.pid")
  return server
end

-- seconds of processor time of its one process
local function spent(server)
  local file = io.open(("/proc/%d/stat"):format(server.worker))
  local user, system = file:read("a"):match("%) " .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
  file:close()
  return (user + system) / 100
end

-- --- measuring ---------------------------------------------------------------------------------

-- requests a second, and the processor's microseconds for each; nil where it failed
local function measure(peer, how, url, ca_file)
  local command = ("%s %s %s %s %s 2>/dev/null"):format(peer.run:gsub("%$CA", ca_file), how,
    url .. (peer.whole and "/api/v9/invoices/123" or ""), ca_file, SECONDS)
  local pipe = io.popen(command)
  local rate, cpu = pipe:read("n", "n")
  pipe:close()
  return rate, cpu
end

local function compare(how, scheme, server, ca_file, wanted)
  local url = ("%s://127.0.0.1:%d"):format(scheme == "tls" and "https" or "http", server[scheme])
  local best, missing = {}, {}
  for round = 1, ROUNDS do
    local raw
    for _, peer in ipairs(peers) do
      local mine = (wanted(peer.name) or peer.whole) and not (peer.only and peer.only ~= how)
      if mine and not missing[peer.name] then
        local rate, cpu
        local before = spent(server)
        if peer.run then rate, cpu = measure(peer, how, url, ca_file) end
        if peer.whole then best.busy = math.max(best.busy or 0, spent(server) - before) end
        local one = best[peer.name] or { rate = 0, cpu = math.huge, ratios = {} }
        raw = raw or cpu
        if rate then
          one.rate, one.cpu = math.max(one.rate, rate), math.min(one.cpu, cpu)
          one.ratios[#one.ratios + 1] = cpu / raw
          best[peer.name] = one
        elseif round == 1 then
          missing[peer.name] = peer.run and "not installed, or it failed" or peer.lacks
        end
      end
    end
  end
  return best, missing
end

local function report(how, scheme, best, missing)
  print(("%s, %s; the server is busy for %.0f%% of libcurl's time"):format(
    how == "together" and "32 at once" or "one after another", scheme,
    best.busy / (SECONDS + 0.2) * 100))
  local raw = best.libcurl
  for _, peer in ipairs(peers) do
    local one = best[peer.name]
    if one then
      table.sort(one.ratios)
      print(("  %-20s %7.0f/s  %6.1f us of processor  %5.2f [%.2f]%s"):format(peer.name, one.rate,
        one.cpu, one.cpu / raw.cpu, one.ratios[math.ceil(#one.ratios / 2)],
        peer.ours and (" (at most %.1f)"):format(TARGET) or ""))
    elseif missing[peer.name] then
      print(("  %-20s missing: %s"):format(peer.name, missing[peer.name]))
    end
  end
  io.flush()
end

-- --- all ---------------------------------------------------------------------------------------

local given = {}
for _, word in ipairs(arg) do given[word] = true end

-- the words among these that were given, or all
local function chosen(words)
  local some = {}
  for _, word in ipairs(words) do
    if given[word] then some[#some + 1] = word end
  end
  return #some > 0 and some or words
end

local names = {}
for i, peer in ipairs(peers) do names[i] = peer.name end
local some = {}
for _, name in ipairs(chosen(names)) do some[name] = true end

run "mkdir -p build && cc -O2 bench/client.c -lcurl -o build/bench-client"
local folder = assert(process.mkdtemp "/tmp/billhook-bench")
local server = serve(folder)
local fine, why = xpcall(function()
  for _, scheme in ipairs(chosen { "http", "tls" }) do
    for _, how in ipairs(chosen { "sequential", "together" }) do
      report(how, scheme, compare(how, scheme, server, folder .. "/ca.pem",
        function(name) return some[name] end))
    end
  end
end, debug.traceback)
process.kill(server.pid, "TERM")
process.remove_tree(folder)
if not fine then error(why, 0) end

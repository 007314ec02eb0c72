-- remote.lua - a transport inside of a real nginx, for specs: what it is asked for and what came of
-- that travel as JSON.
--
--   local far = remote.start "worker"
--   far:request(request)                  --> response | nil, failure
--   far:drain(request, options)           --> see streams.lua
--   far:walk(url, options)
--   far.nginx                             --> see nginx.lua
--
-- "resty" is over lua-resty-http where that is, else over a stand-in.
--
-- Options of start: those of nginx.start, `http` and `server` in addition to what is needed here.

local assert = require "luassert"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local peer = require "spec.support.peer"

local M = {}
local Remote = {}
Remote.__index = Remote

local folders = { os.getenv "RESTY_HTTP" or false, "/usr/share/lua/5.1", "/usr/local/share/lua/5.1",
  "/usr/local/openresty/lualib", "/usr/local/openresty/site/lualib" }

--- What takes the place of lua-resty-http where that is not.
M.STANDIN = "spec/support/standin"

--- The folder with lua-resty-http: that which RESTY_HTTP names, or a usual one; or nil.
function M.resty_http()
  for _, folder in ipairs(folders) do
    local file = folder and io.open(folder .. "/resty/http.lua")
    if file then
      file:close()
      return folder
    end
  end
end

local http = [[
  lua_ssl_trusted_certificate %s/ca.pem;
  lua_ssl_verify_depth 3;
  lua_ssl_protocols TLSv1.2 TLSv1.3;
  resolver 127.0.0.1:%d ipv6=off;
  client_body_buffer_size 64m;
  init_by_lua_block { package.path = package.path .. ";%s/?.lua" }
  init_worker_by_lua_block {
    json, streams = require "billhook.json", require "spec.support.streams"
    transport = require("billhook.transport").pick(%q)
    function given()
      ngx.req.read_body()
      return assert(json.decode(ngx.req.get_body_data()))
    end
    %s
  }
]]

local locations = [[
  location /request { content_by_lua_block {
    local response, failure = transport:request(given().request)
    ngx.print(json.encode { response = response, failure = failure })
  } }
  location /drain { content_by_lua_block {
    local what = given()
    ngx.print(json.encode(streams.drain(transport, what.request, what.options)))
  } }
  location /walk { content_by_lua_block {
    local what = given()
    ngx.print(json.encode(streams.walk(transport, what.url, what.options)))
  } }
  # a call in a timer, as a rule makes it
  location /timer { content_by_lua_block {
    local what = given()
    assert(ngx.timer.at(0, function()
      local response, failure = transport:request(what.request)
      local file = assert(io.open("$PREFIX/timer", "w"))
      file:write(response and response.body or failure.message)
      file:close()
    end))
    ngx.print(json.encode {})
  } }
  # a stream whose reader works a millisecond on each piece; what others did meanwhile
  location /busy { content_by_lua_block {
    local reader = assert(transport:stream(given().request))
    local out, over = { pieces = 0, turns = 0 }, false
    ngx.thread.spawn(function()
      while not over do
        ngx.sleep(0.001)
        out.turns = out.turns + 1
      end
    end)
    while reader:read() do
      out.pieces = out.pieces + 1
      local till = os.clock() + 0.001
      repeat until os.clock() > till
    end
    over = true
    ngx.print(json.encode(out))
  } }
  location /quick { content_by_lua_block { ngx.print "quick" } }
]]

function M.start(name, options)
  local all = {}
  for key, value in pairs(options or {}) do all[key] = value end
  local names = peer.name_server()
  all.http = http:format(peer.certificates(), names.port, M.resty_http() or M.STANDIN, name,
    all.init or "") .. (all.http or "")
  all.server = locations .. (all.server or "")
  return setmetatable({ names = names, nginx = nginx.start(all) }, Remote)
end

--- Sends without waiting for what comes of it: a connection for `answer`.
function Remote:send(path, what)
  return assert(nginx.send(self.nginx.port, { method = "POST", path = path,
    body = json.encode(what) }))
end

function Remote:answer(connection)
  local status, _, body = nginx.answer(connection)
  if status ~= 200 then
    error("nginx answers " .. tostring(status) .. "\n" .. self.nginx:log():sub(-3000), 2)
  end
  return assert(json.decode(body))
end

function Remote:ask(path, what)
  return self:answer(self:send(path, what))
end

function Remote:request(request)
  local result = self:ask("/request", { request = request })
  return result.response, result.failure
end

function Remote:drain(request, options)
  return self:ask("/drain", { request = request, options = options })
end

function Remote:walk(url, options)
  return self:ask("/walk", { url = url, options = options or {} })
end

--- A call, a stream and a call in a timer are under way when nginx gets a signal, "HUP" or "QUIT":
--- they come to their end, each sent once, and then the old worker does.
function M.survives(name, signal)
  local far, there = M.start(name), peer.start()
  local function ask(body)
    return { request = { method = "GET", timeout = 60,
      url = there:url("wait=1500", peer.answer(200, {}, body)) } }
  end
  local call = far:send("/request", ask "in a request")
  far:ask("/timer", ask "in a timer")
  local stream = far:send("/drain", { request = { method = "GET", timeout = 60,
    url = there:url(peer.answer(200, {}, "", 3), peer.send "a", "wait=1500", peer.send "bc") } })
  there:await("GET ", 3)
  local old = far.nginx:workers()[1]
  far.nginx:signal(signal)
  local function is_there(pid)
    for _, one in ipairs(far.nginx:workers()) do if one == pid then return true end end
  end
  if signal == "HUP" then
    nginx.wait("a new worker", function() return #far.nginx:workers() == 2 end)
  end
  assert.equal("in a request", far:answer(call).response.body)
  local got = far:answer(stream)
  assert.same({ 3 }, { got.bytes, got.kind })
  nginx.wait("the old worker's end", function() return not is_there(old) end)
  local file = assert(io.open(far.nginx.prefix .. "/timer"))
  assert.equal("in a timer", file:read "*a")
  file:close()
  assert.equal(3, there:count "GET ")
  far:stop()
  there:stop()
end

function Remote:stop()
  self.nginx:stop()
  self.names:stop()
end

return M

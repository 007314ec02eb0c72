-- fault_server.lua - the sandbox's DreamApply over real sockets that fail as they are told.
--
--   local server = fault_server.start()
--   local world = server:world { fates = { POST = { { at = "request", how = "reset" } } } }
--   world.url                        --> "http://127.0.0.1:4711"
--   world:state().requests.POST      --> how many came, whole or in part
--   server:stop()
--
-- A world is an institution on a port of its own. Its fates are lists by method ("GET", "POST",
-- "DELETE", "HEAD"; "connect" for connections), one for each that comes, in order; with none left
-- things go well, and an only one with `always` is never used up. A fate is
--
--   at       where the exchange ends: "head" and "body" of the request, half read; "request", all
--            of it read; "status", "headers" and "answer", half sent; nil: it does not
--   how      "reset", "close" or "stall" (until the client leaves)
--   commit   false: nothing is done; seconds: it is done so much later; nil: at once
--   status, headers, body   of the answer, whatever was done
--   endless  the answer's body never ends
--
-- and besides a world has
--
--   lag        seconds until lists show what was done
--   latency    seconds before an answer, half of it to one and a half times of it
--   meanwhile  { when = "before" or "after", times, reference }: others bill the same, with a POST
--   quota      { limit, window }: more than that in any window, by arrival, is answered with 429
--              and counted in state().refused. state().turns are the requests that came after
--              `limit` others, and state().turn the seconds from the one to the other, on average

local socket = require "socket"
local json = require "billhook.json"

local M = {}

local Server = {}
Server.__index = Server

local World = {}
World.__index = World

local function ask(self, command)
  assert(self.boss:send(json.encode(command) .. "\n"))
  local answer = json.decode(assert(self.boss:receive "*l"))
  if answer.error then error(answer.error, 3) end
  return answer
end

-- also the name of its folder of shared objects
local lua = rawget(_G, "jit") and "luajit" or "lua5.4"

function M.start()
  local pipe = assert(io.popen(("LUA_PATH='lua/?.lua;lua/?/init.lua;%s' "
    .. "LUA_CPATH='build/%s/?.so;%s' exec %s spec/support/fault_process.lua"):format(package.path,
      lua, package.cpath, lua)))
  local port = tonumber(pipe:read "*l")
  local boss = assert(socket.connect("127.0.0.1", port))
  boss:setoption("tcp-nodelay", true)
  return setmetatable({ pipe = pipe, boss = boss }, Server)
end

function Server:world(given)
  given = given or {}
  given.command = "world"
  local port = ask(self, given).port
  return setmetatable({ server = self, port = port, url = "http://127.0.0.1:" .. port }, World)
end

function Server:stop()
  if self.boss then
    self.boss:close()
    self.pipe:close()
  end
  self.boss = nil
end

--- { requests = by method and "torn", connections, made = list of { maker = "us" or "them",
--- kind = "invoices" or "transactions", one = what was asked for, and its id }, refused, counted,
--- trace }
function World:state() return ask(self.server, { command = "state", port = self.port }) end

--- Changes fields of the world.
function World:set(values)
  return ask(self.server, { command = "set", port = self.port, values = values })
end

--- Somebody else bills.
function World:make(place, sent)
  return ask(self.server, { command = "make", port = self.port, place = place, sent = sent })
end

return M

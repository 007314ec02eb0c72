-- port.lua - a port of 127.0.0.1 for a server that is told where to listen.
--
--   local port = require("spec.support.port").free()     --> 40123
--
-- Two suites that run side by side never get the same one: the kernel chooses it, and it stays
-- bound, without a listener, until this process ends. Whoever binds with SO_REUSEADDR, as nginx,
-- PostgreSQL and libuv do, can listen on it; nobody is given it who asks for any port, neither to
-- listen on nor to connect from. Until somebody listens, connections to it are refused.

local socket = require "socket"

local M = {}
local kept = {} -- so that no collector closes them

function M.free()
  local one = assert(socket.tcp4())
  assert(one:setoption("reuseaddr", true))
  assert(one:bind("127.0.0.1", 0))
  kept[#kept + 1] = one
  local _, port = one:getsockname()
  return math.floor(tonumber(port))
end

return M

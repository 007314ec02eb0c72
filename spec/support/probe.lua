-- probe.lua - functions that specs call in worker threads (ngx.run_worker_thread wants a module).

local socket = require "socket"

local M = {}

local calls = 0

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

local function touch(path) assert(io.open(path, "w")):close() end

-- Which VM this is (a table's address) and how often it was called.
function M.who()
  calls = calls + 1
  return tostring(M), calls
end

function M.echo(...) return ... end

function M.fail() error("probe failed", 0) end

function M.sleep(seconds)
  socket.sleep(seconds)
  return tostring(M)
end

-- Makes folder/NAME.begun, then waits until folder/go is there.
function M.block(folder, name)
  touch(folder .. "/" .. name .. ".begun")
  local deadline = socket.gettime() + 60
  while not exists(folder .. "/go") and socket.gettime() < deadline do socket.sleep(0.002) end
  touch(folder .. "/" .. name .. ".ended")
  return name
end

return M

-- slow.lua PORT COUNT HOW: a process that opens connections to 127.0.0.1 and is slow on each:
--
--   header   its header never ends         stop     its body stops early
--   trickle  a byte of its body now and then
--
-- Says "held" when all are open, and "gone" when the server has closed all; ends with its input.

local socket = require "socket"

local port, count, how = tonumber(arg[1]), tonumber(arg[2]), arg[3]
local peers = {}

local head = "POST /webhooks/school HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n"
if how ~= "header" then head = head .. "\r\n" .. ("x"):rep(1000) end

for i = 1, count do
  local peer = assert(socket.tcp())
  peer:settimeout(30)
  assert(peer:connect("127.0.0.1", port))
  peer:send(head)
  peers[i] = peer
end
io.stdout:write "held\n"
io.stdout:flush()

-- One look at each; a byte more where it is to trickle. Gives how many are still open.
local function look()
  local left = 0
  for i = #peers, 1, -1 do
    local peer = peers[i]
    if how == "trickle" then peer:send "x" end
    peer:settimeout(0)
    local chunk, err = peer:receive(1)
    if chunk or err ~= "timeout" then
      peer:close()
      table.remove(peers, i)
    else
      left = left + 1
    end
  end
  return left
end

while look() > 0 do socket.sleep(0.1) end
io.stdout:write "gone\n"
io.stdout:flush()

-- load.lua - for wrk: signed Betterez deliveries, each with an id and an invoice of its own.
--
--   SECRET=private-key REQUESTS=200000 LUA_CPATH='build/luajit/?.so;;' wrk -t1 -c64 -d10s \
--     --latency -s bench/load.lua http://127.0.0.1:8080/webhooks/tickets

local core = require "billhook.core"

local secret = os.getenv("SECRET") or "private-key"
local run = core.text.hex(core.text.random(4))
local threads, n = {}, 0
wrong = 0

-- Ids differ all over, as a vendor's do: LuaJIT looks at some bytes of a long string only, and
-- texts that differ in few places would be slow to keep apart.
local function hex(digits)
  local text = ""
  for _ = 1, digits, 4 do text = text .. ("%04x"):format(math.random(0, 65535)) end
  return text
end

local note = ("It says who pays, for whom, and by which day. "):rep(4)
local body_text = '{"attemptId":"%s-547a-4a7a-8e1b-%s","created":%d,"data":{"_id":"%s%016x",'
  .. '"authNumber":"%s-4B37-4760-8DD9-%s","number":"%d","serie":"456889",'
  .. '"transactionId":"%s","type":"certification","note":"%s%s"},'
  .. '"event":"invoices.created","id":"%s-%04x-4000-8000-%012x","livemode":true}'

local function body_of(serial)
  return body_text:format(hex(8), hex(12), os.time(), run, number * 2 ^ 40 + serial, hex(8),
    hex(12), serial, hex(24), note, hex(16), hex(8), number, serial)
end

function setup(thread)
  threads[#threads + 1] = thread
  thread:set("number", #threads)
end

local function signed()
  n = n + 1
  local body = body_of(n)
  local t = ("%d"):format(os.time())
  local mac = core.text.hex(core.verify.hmac(secret, t .. "." .. body))
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json",
    ["x-btrz-signature"] = "t=" .. t .. ",s2=" .. mac }, body)
end

-- made before the clock runs: what is measured is not how fast Lua can sign
local ready, at = {}, 0

function init()
  math.randomseed(os.time() + number)
  for i = 1, tonumber(os.getenv("REQUESTS") or 0) do ready[i] = signed() end
end

function request()
  if at == 0 then from = os.clock() end
  at = at + 1
  local text = ready[at]
  ready[at] = nil
  return text or signed()
end

-- With DELAY (ms, the mean) a connection waits between two requests: load that does not depend on
-- how fast the answers are.
local mean = tonumber(os.getenv("DELAY") or 0)
if mean > 0 then
  function delay() return math.random(0, 2 * mean) end
end

function response(status) if status ~= 200 then wrong = wrong + 1 end end

function done()
  local sum = 0
  for _, thread in ipairs(threads) do sum = sum + thread:get("wrong") end
  print("answers other than 200: " .. sum)
  print(("processor seconds: %.2f"):format(os.clock() - threads[1]:get("from")))
end

-- receive.lua - for wrk: signed Betterez deliveries, each with an id and an invoice of its own.
--
--   LUA_CPATH='build/luajit/?.so;;' wrk -t1 -c64 -d10s --latency -s bench/receive.lua \
--     http://127.0.0.1:8080/webhooks/tickets

local core = require "billhook.core"

local secret = os.getenv("SECRET") or "private-key"
local run = core.text.hex(core.text.random(4))
local threads, n = {}, 0
wrong = 0

local note = ("x"):rep(200)
local body_text = '{"attemptId":"0ab70210-547a-4a7a-8e1b-e402a8663308","created":1623794899,"data":'
  .. '{"_id":"%s%016x","authNumber":"BD2ECBAC-4B37-4760-8DD9-9D50C3C9B194","number":"%d",'
  .. '"serie":"456889","transactionId":"616d7cf38fedff37e449215c","type":"certification",'
  .. '"data":"%s"},"event":"invoices.created","id":"%s-%04x-4000-8000-%012x","livemode":true}'

function setup(thread)
  threads[#threads + 1] = thread
  thread:set("number", #threads)
end

function request()
  n = n + 1
  local body = body_text:format(run, number * 2 ^ 40 + n, n, note, run, number, n)
  local t = ("%d"):format(os.time())
  local mac = core.text.hex(core.verify.hmac(secret, t .. "." .. body))
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json",
    ["x-btrz-signature"] = "t=" .. t .. ",s2=" .. mac }, body)
end

function response(status) if status ~= 200 then wrong = wrong + 1 end end

function done()
  local sum = 0
  for _, thread in ipairs(threads) do sum = sum + thread:get("wrong") end
  print("answers other than 200: " .. sum)
end

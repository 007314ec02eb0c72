-- json.lua: JSON into Lua tables by core.json and by cjson, and digested; exact decimals beside
-- Python's `decimal`. Rounds alternate; the best of each counts, in processor time.
--
--   make && bench/run json
--   LUA_PATH='lua/?.lua;lua/?/init.lua;;' lua5.4 bench/json.lua json FILE.json ...    other texts
--
-- The invoice has 1.2 KB and six lines. For `decimal` a total is worked out as billhook.invoice
-- does it: price times quantity of six lines, each rounded to cents, half away from zero, in all.
-- ROUNDS (40) is how many rounds.

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = ("build/%s/?.so;"):format(rawget(_G, "jit") and "luajit" or "lua5.4")
  .. package.cpath

local billhook = require "billhook"
local cjson = require("cjson").new()
local core = require("billhook.core").json
local report = require "bench.report"

local LUA = rawget(_G, "jit") and "LuaJIT" or "Lua 5.4"
local ROUNDS, TIMES = tonumber(os.getenv "ROUNDS" or 40), 2000

local function invoice()
  local lines = {}
  for i = 1, 6 do
    lines[i] = ('{"item":"Tuition fee, part %d","price":"%d.50","qty":"1.00","unit":null,'
      .. '"inventory_item_ID":%d}'):format(i, 100 * i, i)
  end
  return ('{"id":17,"type":"Invoice","nr":"2026-17","serie":{"id":100,"name":"Tuition"},'
    .. '"course":null,"deadline":"2026-12-15","issued":"2026-11-01T16:00:00+00:00",'
    .. '"reminder":true,"reminded":null,"collected":null,"currency":"EUR","items":[%s],'
    .. '"collections":{},"instructions":"%s","payer":{"name":"Ada Example"}}'):format(
    table.concat(lines, ","), ("Pay to EXAMPLE BANK, IBAN EE12 3456. "):rep(9))
end

-- Microseconds for each of the cases.
local function measured(cases)
  local best = {}
  for _ = 1, ROUNDS do
    for i, case in ipairs(cases) do
      collectgarbage()
      local start = os.clock()
      for _ = 1, TIMES do case[2](case[3]) end
      best[i] = math.min(best[i] or math.huge, (os.clock() - start) / TIMES * 1e6)
    end
  end
  return best
end

local parts = {}

function parts.json(out, paths)
  local texts = { { "an invoice", invoice() } }
  for i, path in ipairs(paths) do
    local file = assert(io.open(path, "rb"))
    texts[i] = { path, file:read "*a" }
    file:close()
  end
  for _, one in ipairs(texts) do
    local name, text = one[1], one[2]
    local best = measured { { "decode", core.decode, text }, { "cjson", cjson.decode, text },
      { "digest", core.digest, text } }
    out:add(("%s, %d bytes, into tables"):format(name, #text), { us = best[1],
      ratio = best[1] / best[2], of = "cjson" })
    out:add("the same by cjson", { us = best[2] })
    out:add("its digest", { us = best[3] })
  end
end

local python = [[
import time
from decimal import Decimal, ROUND_HALF_UP
cent = Decimal("0.01")
lines = [("%d.505" % (100 * i), "1.25") for i in range(1, 7)]
def total():
    s = Decimal(0)
    for price, quantity in lines:
        s += (Decimal(price) * Decimal(quantity)).quantize(cent, ROUND_HALF_UP)
    return s
best = 1e9
for _ in range(ROUNDS):
    start = time.process_time()
    for _ in range(2000): total()
    best = min(best, (time.process_time() - start) / 2000 * 1e6)
print(best, total())
]]

function parts.decimal(out)
  local decimal, lines = billhook.decimal, {}
  for i = 1, 6 do lines[i] = { ("%d.505"):format(100 * i), "1.25" } end
  local function total()
    local sum = decimal "0"
    for _, line in ipairs(lines) do sum = sum + (decimal(line[1]) * decimal(line[2])):round(2) end
    return sum
  end
  local us = measured { { "total", total } }[1]
  local pipe = io.popen(("/usr/bin/env python3 -c '%s' 2>/dev/null"):format(
    python:gsub("ROUNDS", ROUNDS)))
  local theirs, text = pipe:read("*n", "*l")
  pipe:close()
  if not theirs then out:add("Python's decimal", { text = "not installed" }) end
  assert(not theirs or tostring(total()) == text:match "%S+", "another total")
  out:add("the total of six lines, rounded", { us = us, ratio = theirs and us / theirs,
    of = theirs and "Python's decimal" })
  if theirs then out:add("the same by Python's decimal", { us = theirs }) end
end

local wanted = arg[1] and { arg[1] } or { "json", "decimal" }
for _, name in ipairs(wanted) do
  local out = report.new(name, LUA)
  local part = parts[name] or error("no such part: " .. name, 0)
  part(out, { (table.unpack or unpack)(arg, 2) }) -- luacheck: ignore
  out:finish()
end

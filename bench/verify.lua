-- bench/verify.lua: one Betterez delivery of 604 bytes, checked and read: by billhook, as it is
-- done today, and at the limit. Rounds alternate; the best one of each counts, and their ratios.
--
--   make && bench/run verify
--
-- The *envelope limit* is C++ alone: HMAC-SHA256 through prepared OpenSSL contexts, simdjson's DOM,
-- and five members read from it. The *answer limit* adds what billhook.verify gives of that: three
-- tables and their texts, as Lua has them made. The *table limit* is the whole body as Lua tables
-- of the right size. None reads headers, looks for members that come twice, checks the time or ids.
--
-- Peers that are not installed are named: Debian's lua-luaossl, lua-cjson, nodejs, and g++,
-- libsimdjson-dev, libssl-dev. ROUNDS=500 for a busy machine; LUA_INC and CXX say where Lua's
-- headers and the C++ compiler are.

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = ("build/%s/?.so;"):format(rawget(_G, "jit") and "luajit" or "lua5.4")
  .. package.cpath

local billhook = require "billhook"
local core = require "billhook.core"
local report = require "bench.report"

local jit = rawget(_G, "jit")
local ROUNDS, TIMES = tonumber(os.getenv "ROUNDS" or 100), 1000

local body = '{"attemptId":"0ab70210-547a-4a7a-8e1b-e402a8663308","created":1623794899,"data'
  .. '":{"invoiceProviderId":"5f243d100617680712e78dd7","authNumber":"BD2ECBAC-4B37-4760-8DD9-9D'
  .. '50C3C9B194","serie":"456889","number":"1261913952","type":"certification","transactionId":'
  .. '"616d7cf38fedff37e449215c","accountId":"563c1457c4f260b0b7765569","createdBy":"4e9774b45f0'
  .. '14e0100000003","createdAt":{"value":"2021-10-18T13:47:55.691Z","offset":0},"updatedAt":{"v'
  .. 'alue":"2021-10-18T13:47:55.692Z","offset":0},"_id":"616d7cf38fedff37e4492161"},"event":"in'
  .. 'voices.created","id":"efec49e0-80a0-4734-bf02-2581cddd13af","livemode":true}'
local secret, t = "private-key-of-the-application", "1700000000"
local code = core.text.hex(core.verify.hmac(secret, t .. "." .. body))
local headers = {
  ["content-type"] = "application/json", ["content-length"] = tostring(#body), accept = "*/*",
  host = "hooks.example.edu", ["user-agent"] = "betterez",
  ["x-btrz-signature"] = "t=" .. t .. ",s2=" .. code,
}

-- What is measured: { name, run = function(n) that does it n times, or time = function that gives
-- the nanoseconds of one; envelope, tables = which limit it is compared with; best }.
local cases, skipped = {}, {}

local function case(one)
  one.best = math.huge
  cases[#cases + 1] = one
end

local function repeated(fn)
  return function(n) for _ = 1, n do fn() end end
end

-- What billhook.verify gives is the envelope; its data are text until they are decoded.
local function ours()
  local now = tonumber(t)
  local plain = { secret = secret, now = now, digest = false }
  local digested = { secret = secret, now = now }
  local keys, given = core.verify.keys { secret = secret }, { now = now, digest = false }
  assert(billhook.verify("betterez", headers, body, plain))
  case { name = "core.verify.check, keys at hand", envelope = true, run = repeated(function()
    return core.verify.check("betterez", headers, body, keys, given)
  end) }
  case { name = "billhook.verify", envelope = true, run = repeated(function()
    return billhook.verify("betterez", headers, body, plain)
  end) }
  case { name = "billhook.verify with the digest", run = repeated(function()
    return billhook.verify("betterez", headers, body, digested)
  end) }
  case { name = "billhook.verify, data decoded", tables = true, run = repeated(function()
    local delivery = billhook.verify("betterez", headers, body, plain)
    return core.json.decode(delivery.events[1].data)
  end) }
end

-- The comparison is not in constant time, as most have it.
local function luaossl()
  local hmac, cjson = require "openssl.hmac", require "cjson"
  local function check()
    local sent, s2 = headers["x-btrz-signature"]:match("^t=(%d+),s2=(%x+)$")
    local mac = hmac.new(secret, "sha256"):final(sent .. "." .. body)
    return ("%02x"):rep(32):format(mac:byte(1, 32)) == s2 and cjson.decode(body)
  end
  assert(check(), "another code").id:byte()
  case { name = "luaossl and cjson", envelope = true, tables = true, run = repeated(check) }
end

local node_script = [[
const crypto = require("crypto"), [, secret, header, times, body] = process.argv;
function check() {
  const [, t, s2] = /t=(\d+),s2=([0-9a-f]+)/.exec(header);
  const mac = crypto.createHmac("sha256", secret).update(t + ".").update(body).digest();
  if (!crypto.timingSafeEqual(mac, Buffer.from(s2, "hex"))) throw new Error("another code");
  return JSON.parse(body);
}
let best = Infinity;
for (let round = 0; round < 60; round++) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < times; i++) check();
  best = Math.min(best, Number(process.hrtime.bigint() - start) / times);
}
console.log(best);
]]

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- A process of its own, which warms up and gives its best round.
local function node()
  local command = ("node -e %s %s %s %d %s 2>/dev/null"):format(quoted(node_script), quoted(secret),
    quoted(headers["x-btrz-signature"]), TIMES, quoted(body))
  local function time()
    local pipe = io.popen(command)
    local ns = pipe:read("*n")
    pipe:close()
    return ns
  end
  assert(time(), "no node")
  case { name = "Node: crypto and JSON.parse", envelope = true, tables = true, time = time }
end

-- A module of C++ for this Lua, built on the spot.
local function limit()
  local name = jit and "luajit" or "lua5.4"
  local include = os.getenv "LUA_INC"
    or (jit and "/usr/include/luajit-2.1" or "/usr/include/lua5.4")
  local folder = "build/bench/" .. name
  local command = "mkdir -p %s && %s -O2 -shared -fPIC -I%s bench/limit.cc -o %s/limit.so"
    .. " -lsimdjson -lcrypto 2>/dev/null"
  local built = os.execute(command:format(folder, os.getenv "CXX" or "g++", include, folder))
  assert(built == true or built == 0, "bench/limit.cc was not built")
  package.cpath = folder .. "/?.so;" .. package.cpath
  local module = require "limit"
  module.open(secret, t .. "." .. body, body)
  assert(module.tables().data._id == "616d7cf38fedff37e4492161")
  case { name = "limit: HMAC", run = module.hmac }
  case { name = "limit: HMAC, simdjson's DOM", envelope = true, run = module.envelope }
  assert(module.answer().events[1].invoice == "616d7cf38fedff37e4492161")
  case { name = "limit: the same, as billhook.verify's answer", run = repeated(module.answer) }
  case { name = "limit: the same, in tables", tables = true, run = repeated(module.tables) }
end

local function measure(one)
  collectgarbage()
  local start = os.clock()
  one.run(TIMES)
  return (os.clock() - start) / TIMES * 1e9
end

ours()
for _, peer in ipairs { { "luaossl", luaossl }, { "node", node }, { "simdjson", limit } } do
  if not pcall(peer[2]) then skipped[#skipped + 1] = peer[1] end
end
for round = 1, ROUNDS do
  for _, one in ipairs(cases) do
    if one.run then
      one.best = math.min(one.best, measure(one))
    elseif (round - 1) % math.ceil(ROUNDS / 5) == 0 then
      one.best = math.min(one.best, one.time())
    end
  end
end

local best, out = {}, report.new("verify", jit and "LuaJIT" or "Lua 5.4")
for _, one in ipairs(cases) do best[one.name] = one.best end

local function add(one, beside, name, at_most)
  out:add(one.name, { us = one.best / 1000, ratio = beside and one.best / beside,
    of = beside and name, limit = beside and at_most })
end

local ours_name = "billhook.verify"
for _, one in ipairs(cases) do
  local mine = one.name:find(ours_name, 1, true)
  if one.envelope then
    add(one, best["limit: HMAC, simdjson's DOM"], "the envelope limit")
  end
  if one.name == ours_name then
    add(one, best["limit: the same, as billhook.verify's answer"], "the answer limit",
      "floor about 2")
  end
  if one.tables then
    add(one, best["limit: the same, in tables"], "the table limit", mine and "floor about 2.1")
  end
  if not (one.envelope or one.tables) then add(one) end
end
for _, name in ipairs(skipped) do out:add(name, { text = "not installed" }) end
out:finish()

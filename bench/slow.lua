-- slow.lua - what calls of a slow API, 32 at once, do to nginx's other requests: the p99 of a
-- location that has nothing to do with them, beside that of an idle nginx; whether any call failed,
-- and whether commits went on.
--
--   make && lua5.4 bench/slow.lua
--
-- Needs wrk and nginx. With the transport worker, whose calls are more than there are VMs; with
-- resty too where lua-resty-http is (RESTY_HTTP names its folder). Rounds alternate, the best of
-- each counts. BENCH_SECONDS (3) is one measurement's length, BENCH_ROUNDS (3) how many. nginx, wrk
-- and the slow server share the processors: what they take from each other is in the figures.

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "build/lua5.4/?.so;" .. package.cpath

local core = require "billhook.core"
local nginx = require "spec.support.nginx"
local remote = require "spec.support.remote"

local SECONDS = tonumber(os.getenv "BENCH_SECONDS" or 3)
local ROUNDS = tonumber(os.getenv "BENCH_ROUNDS" or 3)
local AT_ONCE, SLOW = 32, 500 -- calls, ms
local INVOICE = '{"1":{"id":1,"currency":"EUR","items":[{"item":"Fee","price":"25.00","qty":1}]}}'

local http = [[
  init_by_lua_block { package.path = package.path .. ";$RESTY/?.lua" }
  init_worker_by_lua_block {
    local billhook = require "billhook"
    failed, done = 0, 0
    app = billhook.app { inbox = "sqlite:$PREFIX/inbox.db", log = function() end, accounts = {
      tickets = billhook.betterez { webhook = { secret = "private-key" } } } }
    client = billhook.dreamapply { base_url = "$URL", api_key = "a key", quota = false,
      attempts = 1, transport = "$NAME" }
    require("billhook.openresty").start(app, { work = false })
  }
]]

local server = [[
  location = /slow { content_by_lua_block {
    local list, err = client.invoices:list()
    done = done + 1
    if list and list[1] and list[1].id == 1 then return ngx.print "good" end
    failed = failed + 1
    ngx.log(ngx.ERR, tostring(err))
    ngx.exit(500)
  } }
  location = /hook { content_by_lua_block {
    require("billhook.openresty").receive(app, "tickets")
  } }
  location = /count { content_by_lua_block { ngx.print(done, " ", failed) } }
  location = /other { return 200 "ok"; }
]]

local function filled(text, values)
  return (text:gsub("%$(%u+)", values))
end

local function start(name, url)
  local front = nginx.start { workers = 1, level = "error", server = server,
    http = filled(http, { NAME = name, URL = url, RESTY = remote.resty_http() or "/nowhere" }) }
  os.execute "sleep 2" -- its worker VMs are made one by one
  return front
end

local function milliseconds(text, name)
  local number, unit = text:match(name .. "%%%s+([%d.]+)(%a+)")
  return tonumber(number) * ({ us = 0.001, ms = 1, s = 1000 })[unit]
end

-- Begins load on a location; the function that is given waits for its end: p50, p99.
local function load(front, path, connections, seconds, script)
  local pipe = assert(io.popen(("DELAY=2 wrk -t1 -c%d -d%gs --timeout 20s --latency %s %s 2>&1"):format(
    connections, seconds, script and "-s " .. script or "", front:url(path))))
  return function()
    local text = pipe:read "*a"
    pipe:close()
    local wrong = text:match "Non%-2xx or 3xx responses: (%d+)" or text:match "Socket errors: (.-)\n"
    assert(not wrong, text)
    return { p50 = milliseconds(text, "50"), p99 = milliseconds(text, "99") }
  end
end

local function deliver(front, n)
  local body = ('{"created":1623794899,"data":{"_id":"616d7cf38fedff37%08x"},"event":'
    .. '"invoices.created","id":"efec49e0-80a0-4734-bf02-%012d","livemode":true}'):format(n, n)
  local t = ("%d"):format(os.time())
  local mac = core.text.hex(core.verify.hmac("private-key", t .. "." .. body))
  local began = core.text.monotonic()
  local status = front:request { method = "POST", path = "/hook", body = body, headers = {
    ["Content-Type"] = "application/json", ["x-btrz-signature"] = ("t=%s,s2=%s"):format(t, mac) } }
  assert(status == 200, "a delivery was answered " .. tostring(status))
  return (core.text.monotonic() - began) * 1000
end

local function round(name, url)
  local front = start(name, url)
  local other = function(seconds) return load(front, "/other", 4, seconds, "bench/other.lua") () end
  local idle = other(SECONDS)
  local calls = load(front, "/slow", AT_ONCE, SECONDS + 2)
  os.execute "sleep 1"
  local busy = other(SECONDS - 1)
  local slowest = 0
  for i = 1, 20 do slowest = math.max(slowest, deliver(front, i)) end
  local fine, why = pcall(calls)
  if not fine then error(why .. "\n" .. front:log()) end
  local _, _, count = front:request { path = "/count" }
  front:stop()
  return { idle = idle.p99, busy = busy.p99, slowest = slowest, done = tonumber(count:match "^%d+"),
    failed = tonumber(count:match "%d+$") }
end

local function better(before, now)
  if not before then return now end
  return { idle = math.min(before.idle, now.idle), busy = math.min(before.busy, now.busy),
    slowest = math.min(before.slowest, now.slowest), done = before.done + now.done,
    failed = before.failed + now.failed }
end

local far = nginx.start { workers = 1, level = "error", server = ([[
  location / { content_by_lua_block { ngx.sleep(%g) ngx.print('%s') } }
]]):format(SLOW / 1000, INVOICE) }
local url = far:url ""
local names = { "worker", remote.resty_http() and "resty" }
if not names[2] then print "bench/slow.lua: without lua-resty-http, which is not installed" end
local best = {}
for i = 1, ROUNDS * #names do
  local name = names[(i - 1) % #names + 1]
  local one = round(name, url)
  io.stderr:write(("%s: idle %.2f, busy %.2f ms\n"):format(name, one.idle, one.busy))
  best[name] = better(best[name], one)
end
far:stop()
for _, name in ipairs(names) do
  local one = best[name]
  print(("%-7s %d calls of %d ms, %d at once, %d failed; another location's p99 idle %.2f ms, "
    .. "busy %.2f ms: %.1f times (at most 3); slowest of 20 deliveries %.0f ms"):format(name,
    one.done, SLOW, AT_ONCE, one.failed, one.idle, one.busy, one.busy / one.idle, one.slowest))
end

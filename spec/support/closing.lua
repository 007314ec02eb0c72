-- closing.lua NAME ARGUMENT: a process for close_spec.lua. An object that is older than billhook's
-- modules uses one of their userdata in its finaliser, when the Lua state is closed: after that
-- one's own finaliser has run. Says what each use gave; ends with 0 unless it crashes.

local unpack = table.unpack or rawget(_G, "unpack")
local uses = {} -- what the finaliser calls

local function say(ok, ...)
  local words = { ok and "returned" or "raised" }
  for i = 1, select("#", ...) do words[#words + 1] = tostring((select(i, ...))) end
  io.stderr:write((table.concat(words, " "):gsub("\n", " ")), "\n")
end

local function last() for _, use in ipairs(uses) do say(pcall(unpack(use))) end end

local old = rawget(_G, "newproxy") and _G.newproxy(true) or setmetatable({}, { __gc = last })
getmetatable(old).__gc = last

local cases = {}

-- keys: a delivery of each vendor, through billhook.verify, app:receive and the core itself
function cases.keys()
  local billhook = require "billhook"
  local options = { secret = "123", authorization = "token", basic = { "a", "b" } }
  local body = '{"id":"aa3a27d6-05b5-4fcd-bd04-000000000001","event":"x","data":{}}'
  local headers = { ["x-btrz-signature"] = "t=1,s2=" .. ("0"):rep(64), authorization = "token" }
  for _, vendor in ipairs { "dreamapply", "dreamclass", "betterez" } do
    billhook.verify(vendor, headers, body, options) -- makes the keys
    uses[#uses + 1] = { billhook.verify, vendor, headers, body, options }
  end
end

function cases.receive()
  local billhook = require "billhook"
  local app = billhook.app { inbox = "memory:", accounts = {
    a = billhook.betterez {
      webhook = { secret = "123" } },
  } }
  local headers = { ["x-btrz-signature"] = "t=1,s2=" .. ("0"):rep(64) }
  assert(app:receive("a", headers, "{}") == 401)
  uses[1] = { app.receive, app, "a", headers, "{}" }
end

function cases.stream()
  local stream = require("billhook.core").json.stream()
  assert(stream:feed "[1,2,")
  for _, name in ipairs { "feed", "next", "value", "finish" } do
    uses[#uses + 1] = { stream[name], stream, "3]" }
  end
end

-- functions that need no object of the caller's work until the end
function cases.functions()
  local core = require "billhook.core"
  core.json.decode '{"a":1}' -- makes what is kept between calls
  for _, name in ipairs { "decode", "digest", "stringify" } do
    uses[#uses + 1] = { core.json[name], '{"a":"\\u00e9"}' }
  end
  uses[#uses + 1] = { core.json.redact, '{"a":1}', { "a" } }
  uses[#uses + 1] = { core.json.stream }
  uses[#uses + 1] = { core.verify.keys, { secret = "1" } }
  uses[#uses + 1] = { core.verify.hmac, "1", "2" }
  uses[#uses + 1] = { core.verify.items, "[]" }
  uses[#uses + 1] = { core.verify.check, "betterez", {}, "{}" }
  local ten, folder = core.decimal.new "10", require("billhook.process").entries
  uses[#uses + 1] = { function() return ten + core.decimal.new "0.5" end }
  uses[#uses + 1] = { function() return #folder "/" > 0 end }
end

function cases.sqlite(path)
  local db = assert(require("billhook.sqlite").open(path))
  assert(db:query "SELECT 1 AS x")
  uses[1] = { db.exec, db, "CREATE TABLE t (a)" }
  uses[2] = { db.query, db, "SELECT 1 AS x" }
  uses[3] = { db.moved, db }
  uses[4] = { db.close, db }
  uses[5] = { tostring, db }
end

function cases.pq(url)
  local db = assert(require("billhook.pq").open(url))
  assert(db:query "SELECT 1 AS x")
  uses[1] = { db.exec, db, "SELECT 1" }
  uses[2] = { db.query, db, "SELECT 1 AS x" }
  uses[3] = { db.lost, db }
  uses[4] = { db.close, db }
  uses[5] = { tostring, db }
end

-- a request that nobody answers, and one that has been
function cases.curl(url)
  local pool = require("billhook.curl").new()
  local request = { method = "GET", url = url, headers = {}, timeout = 5, connect_timeout = 5,
    limit = 1000 }
  local ticket, over = pool:add(request), pool:add(request)
  while not over:done() do pool:poll(1) end
  over:result()
  for _, name in ipairs { "add", "run" } do uses[#uses + 1] = { pool[name], pool, request, 1 } end
  for _, name in ipairs { "poll", "sleep" } do uses[#uses + 1] = { pool[name], pool, 0 } end
  for _, name in ipairs { "done", "head", "read", "result", "cancel" } do
    uses[#uses + 1] = { ticket[name], ticket }
    uses[#uses + 1] = { over[name], over }
  end
  uses[#uses + 1] = { pool.close, pool }
end

local arguments = { ... }
cases[arguments[1]](arguments[2])

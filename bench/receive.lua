-- receive.lua: deliveries received by nginx: verified, and stored durably; beside an empty handler
-- and beside SQLite alone.
--
--   make && bench/run [endpoint] [receive] [postgresql] [memory]
--
-- Load is wrk with load.lua: signed Betterez bodies of 560 bytes with ids of their own, made before
-- the clock runs. Rounds alternate between what is compared, and the best of each counts: other
-- work on the machine only ever takes away. Processor time is that of the nginx worker's event
-- loop, and of its other threads. BENCH_SECONDS (2) is one measurement's length, BENCH_ROUNDS (3)
-- how many, BENCH_FOLDER (/var/tmp) where the files lie: on a real disk, or what is measured is not
-- durable. BENCH_DELIVERIES (300000): over how many memory is watched.

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "build/lua5.4/?.so;" .. package.cpath

local process = require "billhook.process"
local host = require "bench.host"
local report = require "bench.report"
local sqlite = require "billhook.sqlite"

local SECONDS = tonumber(os.getenv "BENCH_SECONDS" or 2)
local ROUNDS = tonumber(os.getenv "BENCH_ROUNDS" or 3)
local BYTES = 560 + 140 -- of a body that load.lua makes, and of what is stored beside it
local READY = 60000 -- requests that are made before the clock runs
local MANY = tonumber(os.getenv "BENCH_DELIVERIES" or 300000) -- over which memory is watched

-- A load, and the microseconds of processor time for each: event loop, other threads, load.
local function measured(nginx, path, connections)
  local loop, threads = nginx:cpu()
  local one = nginx:load { path = path, seconds = SECONDS, connections = connections,
    requests = READY } ()
  local loop_now, threads_now = nginx:cpu()
  one.loop = (loop_now - loop) / one.count * 1e6
  one.threads = (threads_now - threads) / one.count * 1e6
  one.load = one.cpu / one.count * 1e6
  return one
end

-- The best of rounds: the highest rate, the least of all else.
local function better(best, one)
  for name, value in pairs(one) do
    best[name] = not best[name] and value or (name == "rate" and math.max or math.min)(best[name],
      value)
  end
  return best
end

-- --- without a store -----------------------------------------------------------------------------

local parts = {}

function parts.endpoint(folder, out)
  local cases, best = { "/empty", "/checked", "/verified", "/luaossl" }, {}
  for _ = 1, ROUNDS do
    local nginx = host.start(folder)
    for _, path in ipairs(cases) do
      local fine, one = pcall(measured, nginx, path, 64)
      if fine then best[path] = better(best[path] or {}, one) end
    end
    nginx:stop()
  end
  local empty = best["/empty"]
  local function add(what, path)
    local one = best[path]
    if not one then return out:add(what, { text = "not installed, or it failed" }) end
    out:add(what, { us = one.loop, rate = one.rate, ratio = empty.loop / one.loop,
      of = "what an empty handler does in its time" })
  end
  add("a handler that reads its body", "/empty")
  add("the floor: its headers as a table, one call of C", "/checked")
  add("a delivery verified, not stored", "/verified")
  out:add("the same", { us = best["/verified"].loop,
    ratio = best["/checked"].loop / best["/verified"].loop, of = "what the floor does in its time" })
  add("luaossl and cjson", "/luaossl")
end

-- --- SQLite --------------------------------------------------------------------------------------

-- Rows a commit, of those that were stored since `before` were: a commit has one time.
local function rows_a_commit(path, before)
  local db = assert(sqlite.open(path, { busy_timeout = 20000 }))
  local row = assert(db:query("SELECT COUNT(*) AS n, COUNT(DISTINCT received_at) AS commits, "
    .. "MAX(seq) AS last FROM deliveries WHERE seq > $1", before))[1]
  db:close()
  return row.n / math.max(1, row.commits), row.last
end

local function full_load(folder, out)
  local grouped, single, received, few, empty, beside = {}, {}, {}, {}, {}, {}
  local size
  for _ = 1, ROUNDS do
    better(grouped, host.raw(folder, 64, BYTES, SECONDS))
    better(single, host.raw(folder, 1, BYTES, SECONDS))
    local nginx = host.start(folder)
    better(few, measured(nginx, "/hook", 64))
    local _, last = rows_a_commit(nginx.db, 0)
    better(empty, measured(nginx, "/empty", 256))
    better(received, measured(nginx, "/hook", 256))
    size = math.floor(rows_a_commit(nginx.db, last) + 0.5)
    nginx:stop()
    better(beside, host.raw(folder, math.max(1, size), BYTES, SECONDS))
  end
  out:add("SQLite alone, a row a commit", { us = single.cpu, rate = single.rate })
  out:add("SQLite alone, 64 rows a commit", { us = grouped.cpu, rate = grouped.rate })
  out:add(("SQLite alone, %d rows a commit, as many as there were"):format(size),
    { us = beside.cpu, rate = beside.rate })
  out:add("received, 256 connections: the committing threads", { us = received.threads,
    ratio = received.threads / beside.cpu, of = "a raw row", limit = "at most 1.3" })
  out:add("the same: the event loop", { us = received.loop, ratio = received.loop / empty.loop,
    of = "a handler that reads its body", limit = "floor about 2.5" })
  out:add("the same: the load itself", { us = received.load })
  out:add("received durably, 256 connections", { us = received.loop + received.threads,
    rate = received.rate, ratio = received.rate / grouped.rate, of = "64 rows a commit" })
  out:add("received durably, 64 connections", { us = few.loop + few.threads, rate = few.rate,
    ratio = few.rate / grouped.rate, of = "64 rows a commit" })
  return math.max(received.rate, few.rate)
end

-- Half of what it can do, from 64 connections that do not wait for each other.
local function half_load(folder, out, most)
  local nginx = host.start(folder)
  local delay, seconds = 64 / (most / 2) * 1000, SECONDS * 2
  local idle = nginx:load { path = "/other", seconds = SECONDS, connections = 4, delay = 2 } ()
  local hooks = nginx:load { path = "/hook", seconds = seconds, connections = 64, delay = delay,
    requests = math.floor(most * seconds) }
  process.sleep(seconds / 4 + most * seconds / 40000, true) -- until its requests are made
  local busy = nginx:load { path = "/other", seconds = SECONDS, connections = 4, delay = 2 } ()
  local half = hooks()
  nginx:stop()
  local function times(what, one)
    out:add(what, { text = ("p50 %.2f ms, p99 %.2f ms"):format(one.p50, one.p99) })
  end
  times(("answers at half load (%.0f a second)"):format(half.rate), half)
  times("another location, idle", idle)
  times("another location, at half load", busy)
end

function parts.receive(folder, out) half_load(folder, out, full_load(folder, out)) end

-- --- PostgreSQL ----------------------------------------------------------------------------------

-- Processor seconds of all processes of a server so far.
local function spent(server)
  local total = 0
  local pipe = io.popen(("cat /proc/%d/stat $(for p in $(cat /proc/%d/task/%d/children); do "
    .. "echo /proc/$p/stat; done) 2>/dev/null"):format(server.pid, server.pid, server.pid))
  for line in pipe:lines() do
    local user, system = line:match("%) " .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
    total = total + (user + system) / 100
  end
  pipe:close()
  return total
end

-- As spec/support starts one, but that what it commits is on the disk.
local function durable()
  local postgres = require "spec.support.postgres"
  local server = postgres.start()
  server:stop()
  function server:spawn(arguments)
    for i, word in ipairs(arguments) do
      if word == "fsync=off" then arguments[i] = "fsync=on" end
    end
    return getmetatable(self).spawn(self, arguments)
  end
  server:start()
  assert(server:sql "SHOW fsync"[1].fsync == "on")
  return server
end

local function raw_rows(server, seconds)
  local db = assert(require("billhook.pq").open(server.url))
  assert(db:exec "CREATE TABLE raw (seq BIGSERIAL PRIMARY KEY, id TEXT UNIQUE, body BYTEA)")
  local body, n, start, used = ("x"):rep(BYTES), 0, process.monotonic(), spent(server)
  while process.monotonic() - start < seconds do
    local ids, bodies = {}, {}
    for i = 1, 64 do
      ids[i], bodies[i] = ("%08x-%d"):format(math.random(0, 2147483647), n + i), body
    end
    assert(db:query("INSERT INTO raw (id, body) SELECT * FROM unnest($1::text[], $2::bytea[])",
      ids, bodies))
    n = n + 64
  end
  local took, cpu = process.monotonic() - start, spent(server) - used
  db:close() -- its process goes, and what it has used
  return { rate = n / took, cpu = cpu / n * 1e6 }
end

function parts.postgresql(folder, out)
  local fine, server = pcall(durable)
  if not fine then
    return out:add("PostgreSQL", { text = "not installed, or it failed: " .. server })
  end
  local ok, why = pcall(function()
    local raw = raw_rows(server, SECONDS)
    local nginx, used = host.start(folder, server.url), spent(server)
    local one = measured(nginx, "/hook", 256)
    one.server = (spent(server) - used) / one.count * 1e6
    nginx:stop()
    out:add("PostgreSQL alone, 64 rows a statement: its processes", { us = raw.cpu,
      rate = raw.rate })
    out:add("received, 256 connections: PostgreSQL's processes", { us = one.server,
      ratio = one.server / raw.cpu, of = "a raw row" })
    out:add("the same: the event loop", { us = one.loop })
    out:add("the same: the committing threads", { us = one.threads })
    out:add("received durably, 256 connections", { us = one.loop + one.threads + one.server,
      rate = one.rate, ratio = one.rate / raw.rate, of = "64 rows a statement" })
  end)
  server:remove()
  if not ok then error(why, 0) end
end

-- --- memory --------------------------------------------------------------------------------------

-- Does the receiver grow? Two connections have their page caches of 16 MB, which fill once.
function parts.memory(folder, out)
  local nginx, total = host.start(folder), 0
  local first, last, lua = 0, 0, nil
  repeat
    -- none made in advance: no rate is measured, and what a round does not send were made in vain
    total = total + nginx:load { path = "/hook", seconds = SECONDS, connections = 128 } ().count
    local megabytes = nginx:memory()
    if total <= MANY / 3 then first, lua = math.max(first, megabytes), nginx:lua() end
    if total > MANY * 2 / 3 then last = math.max(last, megabytes) end
  until total >= MANY
  local grown = nginx:lua() - (lua or 0)
  nginx:stop()
  out:add(("%d deliveries: the most in the first third, and in the last"):format(total),
    { text = ("%.1f MB, %.1f MB"):format(first, last), first = first, last = last })
  out:add("the event loop's Lua, from the end of the first third on",
    { text = ("%+d bytes"):format(grown), grown = grown })
end

-- --- all -----------------------------------------------------------------------------------------

os.execute "mkdir -p build && cc -O2 bench/commit.c -lsqlite3 -o build/bench-commit"
for _, name in ipairs(#arg > 0 and arg or { "endpoint", "receive", "postgresql", "memory" }) do
  local folder = assert(process.mkdtemp((os.getenv "BENCH_FOLDER" or "/var/tmp") .. "/billhook"))
  local out = report.new(name)
  local part = parts[name] or error("no such part: " .. name, 0)
  local ok, why = xpcall(part, debug.traceback, folder, out)
  process.remove_tree(folder)
  if not ok then error(why, 0) end
  out:finish()
end

-- work.lua: the work loop (route, compare, claim, run an empty rule, mark, release) and an inbox by
-- its size; beside SQLite alone, and beside a small inbox.
--
--   make && bench/run [work] [size]
--
-- BENCH_ROUNDS (3), BENCH_SECONDS (2), BENCH_FOLDER (/var/tmp) as in receive.lua; BENCH_ROWS_STORED
-- (1024000) is how many deliveries, invoices and events the large inbox has: 1000 times a power of
-- two.

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "build/lua5.4/?.so;" .. package.cpath

local process = require "billhook.process"
local host = require "bench.host"
local report = require "bench.report"
local store = require "bench.store"

local SECONDS = tonumber(os.getenv "BENCH_SECONDS" or 2)
local ROUNDS = tonumber(os.getenv "BENCH_ROUNDS" or 3)
local LARGE = tonumber(os.getenv "BENCH_ROWS_STORED" or 1024000)

local parts = {}

function parts.work(folder, out)
  local raw, rate, cpu, clean, poisoned = 0, 0, math.huge, math.huge, math.huge
  local row = math.huge
  for _ = 1, ROUNDS do
    local one = host.raw(folder, 1, 700, SECONDS)
    raw, row = math.max(raw, one.rate), math.min(row, one.cpu)
    local before = os.clock()
    rate = math.max(rate, (store.work(folder, 2000)))
    cpu = math.min(cpu, (os.clock() - before) / 2000 * 1e6)
    clean = math.min(clean, store.poisoned(folder, false))
    poisoned = math.min(poisoned, store.poisoned(folder, true))
  end
  out:add("SQLite alone, a row a commit", { us = row, rate = raw })
  out:add("a delivery: admitted, routed, compared, an empty rule run", { us = cpu, rate = rate,
    ratio = rate / raw, of = "a row a commit" })
  out:add("2,997 deliveries, the rule of one invoice in 1,000 failing", {
    rate = 2997 / poisoned, ratio = poisoned / clean, of = "the time where none fails",
    limit = "1.0" })
end

function parts.size(folder, out)
  local few = store.filled(folder .. "/few.db", 1000)
  local many = store.filled(folder .. "/many.db", LARGE)
  -- what was written is on the disk, and in the system's memory, as in an inbox that is in use
  os.execute(("sync %s/many.db && cat %s/many.db >/dev/null"):format(folder, folder))
  local bytes = process.stat(folder .. "/many.db").size / LARGE
  out:add("on the disk, an invoice: its state, a delivery, an event and a mark", {
    text = ("%.0f bytes"):format(bytes), bytes = bytes })
  for _, one in ipairs(store.compare({ few, many }, 11 * ROUNDS)) do
    out:add(one.name, { us = one.cpu[2] * 1e6, ratio = one.cpu[2] / one.cpu[1],
      of = ("1,000 stored, with %d"):format(LARGE), limit = "at most 2",
      text = ("by the clock %.2f and %.2f ms"):format(one.wall[2] * 1000, one.wall[1] * 1000) })
  end
  few:close()
  many:close()
end

os.execute "mkdir -p build && cc -O2 bench/commit.c -lsqlite3 -o build/bench-commit"
for _, name in ipairs(#arg > 0 and arg or { "work", "size" }) do
  local folder = assert(process.mkdtemp((os.getenv "BENCH_FOLDER" or "/var/tmp") .. "/billhook"))
  local out = report.new(name)
  local part = parts[name] or error("no such part: " .. name, 0)
  local ok, why = xpcall(part, debug.traceback, folder, out)
  process.remove_tree(folder)
  if not ok then error(why, 0) end
  out:finish()
end

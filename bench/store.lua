-- store.lua: for work.lua and size.lua: the work loop and the inbox by themselves, in this process.

local core = require "billhook.core"
local sqlite = require "billhook.sqlite"

local M = {}

local now = core.text.monotonic -- or the processor's clock: see M.compare
local filler = ("It says who pays, for whom, and by which day. "):rep(10)

local function name_of(invoice) return ("616d7cf3%016x"):format(invoice) end

-- A delivery as app/receive.lua makes it; ids as random as a vendor's.
local function delivery(n, invoice)
  local name = name_of(invoice)
  return {
    account = "tickets", vendor = "betterez", type = "invoice.updated",
    id = ("%08x-%04x-4000-8000-%012x"):format(math.random(0, 2 ^ 31 - 1), n % 65536, n),
    native = "invoices.updated", invoice = name, live = true, trust = "body", secret = 1,
    occurred_at = 1623794899,
    body = ('{"data":{"_id":"%s","number":"%d","note":"%s"},"id":%d}'):format(name, n, filler, n),
  }
end

local function fill(store, count, per_invoice)
  for from = 1, count, 500 do
    local list = {}
    for n = from, math.min(from + 499, count) do
      list[#list + 1] = delivery(n, math.floor((n - 1) / per_invoice))
    end
    assert(store:admit(list))
  end
end

local function app_on(path, handler)
  local billhook = require "billhook"
  local app = billhook.app {
    inbox = "sqlite:" .. path, log = function() end, poll_every = false,
    accounts = { tickets = billhook.betterez { webhook = { secret = "private-key" } } },
  }
  app:on("*", handler)
  return app
end

local function remove(path)
  for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(path .. suffix) end
end

-- --- the work loop ---------------------------------------------------------------------

---Runs of an empty rule a second, with routing and comparing.
function M.work(folder, count)
  local path = folder .. "/work.db"
  local app = app_on(path, function() end)
  fill(assert(app:open()), count, 4)
  local start, ran = now(), 0
  repeat
    local more = assert(app:work { limit = 64 })
    ran = ran + more
  until more == 0
  local took = now() - start
  assert(ran == count, "not all have run")
  app.store:close()
  remove(path)
  return count / took
end

---1,000 invoices of 3 deliveries each, of which the first one's rule always fails, or none's.
---Gives the seconds until all others were done.
function M.poisoned(folder, fails)
  local path = folder .. "/poisoned.db"
  local bad = ("616d7cf3%016x"):format(0)
  local left = 3000 - 3
  local app = app_on(path, function(given)
    if given.data._id ~= bad then
      left = left - 1
    elseif fails then
      error("on purpose", 0)
    end
  end)
  fill(assert(app:open()), 3000, 3)
  local start = now()
  while left > 0 do assert(app:work { limit = 64 }) end
  local took = now() - start
  local stats = assert(app.store:stats())
  assert(not fails or stats.pending == 3, "the poisoned ones are gone")
  app.store:close()
  remove(path)
  return took
end

-- --- many deliveries ----------------------------------------------------------------------

local SHIFT = { seq = "%s + %d", lane = "%s + %d", id = "%s || '-%d'", invoice = "%s || '-%d'" }

-- Doubles a table: its rows once more, under other names.
local function double(db, name, by)
  local columns, values = {}, {}
  for _, column in ipairs(assert(db:query("SELECT name FROM pragma_table_info($1)", name))) do
    columns[#columns + 1] = column.name
    values[#values + 1] = (SHIFT[column.name] or "%s"):format(column.name, by)
  end
  assert(db:query(("INSERT INTO %s (%s) SELECT %s FROM %s"):format(name,
    table.concat(columns, ", "), table.concat(values, ", "), name)))
end

local WAITING = 500

---An inbox with so many deliveries, invoices and events that are done, and some that are not.
---@param count integer 1000 times a power of two
function M.filled(path, count)
  local app = app_on(path, function() end)
  local store = assert(app:open())
  fill(store, 1000, 1)
  repeat until assert(app:work { limit = 64 }) == 0
  local db = assert(sqlite.open(path))
  assert(db:exec "PRAGMA synchronous = OFF; PRAGMA cache_size = -400000")
  local have = 1000
  while have < count do
    assert(db:exec "BEGIN")
    for _, name in ipairs { "deliveries", "invoices", "events", "marks" } do
      double(db, name, have)
    end
    assert(db:exec "COMMIT")
    have = have * 2
  end
  for _, name in ipairs { "deliveries", "invoices", "events" } do
    local there = assert(db:query("SELECT COUNT(*) AS n FROM " .. name))[1].n
    assert(there == count, ("made %d %s"):format(there, name))
  end
  assert(db:exec "ANALYZE; PRAGMA wal_checkpoint(TRUNCATE)")
  db:close()
  local list = {}
  for n = 1, WAITING do list[n] = delivery(10 ^ 8 + n, 10 ^ 7 + n) end
  assert(store:admit(list))
  repeat -- routes all, and runs some
    assert(app:work { limit = 1 })
  until assert(store:stats()).incoming == 0
  return store
end

local serial = 2 * 10 ^ 8

local function admit(store, count)
  local list = {}
  for i = 1, count do
    serial = serial + 1
    list[i] = delivery(serial, serial)
    list[i].account = "others" -- no app has it: nothing becomes due
  end
  local start = now()
  assert(store:admit(list))
  return now() - start
end

local function claim(store)
  local start = now()
  local claimed = assert(store:claim { kind = "run", account = "tickets", owner = "bench",
    lease = 60000, limit = 8, page = 32 })
  local took = now() - start
  assert(#claimed.rows == 8)
  for i, row in ipairs(claimed.rows) do
    claimed.rows[i] = { lane = row.lane, token = row.token, after = 0 }
  end
  assert(store:release(claimed.rows) == 8)
  return took
end

local function asked(method, ...)
  local arguments = { ... }
  return function(store)
    local start = now()
    assert(store[method](store, arguments[1], arguments[2]))
    return now() - start
  end
end

local OF_ONE = { account = "tickets", invoice = name_of(7) }

---What is measured of an inbox: name, and fun(store) -> seconds.
M.operations = {
  { "admit 64", function(store) return admit(store, 64) end },
  { "admit 1", function(store) return admit(store, 1) end },
  { "what is due", asked("due", { owner = "bench" }) },
  { "claim 8 invoices", claim },
  { "64 new deliveries", asked("incoming", "others", 64) },
  { "look at an invoice", asked("look", "tickets", { name_of(7) }) },
  { "check an invoice: look, and store what was read", function(store)
    local start = now()
    local seen = assert(store:look("tickets", { name_of(7) }))
    local row = seen.rows[1]
    assert(store:apply({ { account = row.account, invoice = row.invoice, expect = row.stamp,
      set = { read_at = seen.now } } })[1])
    return now() - start
  end },
  { "list the newest 100 deliveries", asked("deliveries", {}) },
  { "list the newest 100 invoices", asked("invoices", {}) },
  { "list the newest 100 events", asked("events", {}) },
  { "list 100 deliveries of an account", asked("deliveries", { account = "tickets" }) },
  { "list 100 events of an account", asked("events", { account = "tickets" }) },
  { "list the deliveries of an invoice", asked("deliveries", OF_ONE) },
  { "list the events of an invoice", asked("events", OF_ONE) },
  { "list what is pending", asked("events", { state = "pending" }) },
  { "list the dead", asked("events", { state = "dead" }) },
  { "list the dead deliveries", asked("deliveries", { state = "dead" }) },
  { "show one", function(store)
    local id = assert(store:events { limit = 1 })[1].id
    local start = now()
    assert(store:show(id))
    return now() - start
  end },
  { "stats", asked "stats" },
}

---Medians of many rounds, in turn on each of the stores: by the clock on the wall, in which a
---commit waits for the disk, and of processor time.
---@return { name: string, wall: number[], cpu: number[] }[] rows seconds, of each store
function M.compare(stores, rounds)
  local rows, clocks = {}, { wall = core.text.monotonic, cpu = os.clock }
  local middle = math.floor((rounds + 1) / 2)
  for i, operation in ipairs(M.operations) do
    rows[i] = { name = operation[1] }
    for kind, clock in pairs(clocks) do
      local times = { {}, {} }
      now = clock
      for round = 1, rounds do
        for s, store in ipairs(stores) do times[s][round] = operation[2](store) end
      end
      for s = 1, 2 do table.sort(times[s]) end
      rows[i][kind] = { times[1][middle], times[2][middle] }
    end
  end
  now = clocks.wall
  return rows
end

return M

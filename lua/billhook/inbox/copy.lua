-- inbox/copy.lua: all of an inbox into another, empty one: from SQLite to PostgreSQL, or back.
--
-- No other process may use either inbox meanwhile. Everything is written in one transaction of the
-- target, so a copy that is interrupted leaves the target empty. Rows are copied a few at a time,
-- so an inbox may be larger than memory. Rows leased by a dead process are due again, and a run
-- that it had begun counts as failed.

local inbox = require "billhook.inbox"
local sql = require "billhook.inbox.sql"

local M = {}

-- The columns by which each table goes over in order.
local TABLES = { deliveries = { "seq" }, invoices = { "lane" }, events = { "seq" },
  marks = { "seq", "rule" }, results = { "seq", "rule", "name" }, texts = { "name" },
  counters = { "name" } }

local PAGE = 16 -- rows: one may have a body of 8 MiB
local BACKOFF = { base = 5000, cap = 3600000 } -- ms, as an app's

local unpack = table.unpack or rawget(_G, "unpack")

-- The rows of a table after one, in order.
local function page(read, name, keys, last)
  local order, values, places = table.concat(keys, ", "), {}, {}
  for i, key in ipairs(last and keys or {}) do values[i], places[i] = last[key], "$" .. i end
  local after = last and ("WHERE (%s) > (%s)"):format(order, table.concat(places, ", ")) or ""
  return read(("SELECT * FROM %s %s ORDER BY %s LIMIT %d"):format(name, after, order, PAGE),
    unpack(values))
end

-- What is NULL is left out, and is NULL there too.
local function put(write, name, row)
  local columns, values = {}, {}
  for column in pairs(row) do columns[#columns + 1] = column end
  table.sort(columns)
  for i, column in ipairs(columns) do values[i] = row[column] end
  write(sql.insert(name, columns, ""), unpack(values, 1, #columns))
end

local function count_rows(read)
  local total = 0
  for name in pairs(TABLES) do
    total = total + read("SELECT COUNT(*) AS n FROM " .. name)[1].n
  end
  return total
end

local function copy_rows(read, write, told)
  local counts, total, done = {}, count_rows(read), 0
  for name, keys in pairs(TABLES) do
    counts[name] = 0
    local last
    repeat
      local rows = page(read, name, keys, last)
      for _, row in ipairs(rows) do
        if row.owner then row.till = 0 end -- its lease is over
        put(write, name, row)
        done, last = done + 1, row
        told(done, total)
      end
      counts[name] = counts[name] + #rows
    until #rows < PAGE
  end
  return counts
end

local function check_alone(store, query, which)
  if not store.dialect.alone_in(store.db, query) then
    sql.refuse("IN_USE", which .. " is in use: stop all that has it open")
  end
end

-- Into the target's transaction. The clock that is noted is the one that all times are by: where
-- the target's own is behind it, the first to come moves what is planned.
local function fill(source, target, read, write, told)
  check_alone(target, write, "the target")
  if count_rows(write) > 0 then
    sql.refuse("NOT_EMPTY", "the target is not empty: a copy needs one that nothing has used")
  end
  local counts = copy_rows(read, write, told)
  target.dialect:number(write, source.dialect:number(read))
  if target.dialect.mend then target.dialect:mend(write) end
  write("UPDATE meta SET value = $1 WHERE name = 'clock'", ("%.0f"):format(source:clock().now))
  return counts
end

local function copy(source, target, told)
  local failure
  local counts, why = source:transaction(function(read)
    check_alone(source, read, "the source")
    local counts, reason = target:transaction(function(write)
      return fill(source, target, read, write, told)
    end)
    failure = reason
    return counts or sql.refuse("COPY", "nothing was copied")
  end)
  if not counts then return nil, failure or why end
  local recovered
  recovered, why = target:recover { owner = target:who(), fresh = true, backoff = BACKOFF }
  return recovered and counts, why
end

---Copies all of an inbox.
---@param from string the URL of an inbox that nobody uses
---@param to string the URL of one that has nothing in it, and that nobody uses
---@param told? fun(done: integer, total: integer) is called after each row
---@return table<string, integer>|nil counts of rows by table, billhook.Error|nil err
function M.copy(from, to, told)
  local source, target, counts, why
  source, why = inbox.open(from)
  if source then target, why = inbox.open(to) end
  if target then counts, why = copy(source, target, told or function() end) end
  if target then target:close() end
  if source then source:close() end
  return counts, why
end

return M

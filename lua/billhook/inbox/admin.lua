-- inbox/admin.lua: the operations for operators: list, count, run again, purge. All of them select
-- the rows of a table by the same filter.

local deliveries = require "billhook.inbox.deliveries"
local events = require "billhook.inbox.events"
local sql = require "billhook.inbox.sql"

local Store = sql.Store

local unpack = table.unpack or rawget(_G, "unpack")

-- --- filters ---------------------------------------------------------------------

local AGE_MOST = 1e10 -- seconds: 300 years, and far from where an integer ends

local function is(kind) return function(value) return type(value) == kind end end

local TEXT = { is "string", "a string" }
local NUMBER = { function(value) return type(value) == "number" and value % 1 == 0 end,
  "a whole number" }
local COUNT = { function(value) return NUMBER[1](value) and value >= 1 and value <= 2 ^ 31 end,
  "a whole number of at least 1" }
-- below zero: a moment that is still to come
local AGE = { function(value)
  return type(value) == "number" and value >= -AGE_MOST and value <= AGE_MOST
end, "seconds, up to 1e10" }

local FIELDS = {
  account = TEXT, type = TEXT, id = TEXT, invoice = TEXT, state = TEXT, limit = COUNT,
  older_than = AGE, newer_than = AGE, before = NUMBER, after = NUMBER,
  seqs = { is "table", "a list of numbers" }, brief = { is "boolean", "a boolean" },
}

-- What a list shows: not the long texts, which may be megabytes; of an invoice what it says, where
-- that is short, for the payer's name is in it.
local SHORT = 65536
local BRIEF = {
  deliveries = "seq, account, id, state, seen, vendor, type, native, invoice, tenant, live, trust, "
    .. "secret, occurred_at, received_at, last_at, routed_at, reason",
  events = "seq, account, id, lane, open, state, left_over, vendor, type, native, invoice, tenant, "
    .. "version, trust, live, occurred_at, received_at, created_at, finished_at, rules, note, "
    .. "deliveries",
  invoices = ("lane, account, invoice, version, known, number, reference, currency, total, paid, "
    .. "balance, due_date, status, issued_at, deleted_at, closed_at, changed_at, read_at, "
    .. "check_due, run_due, CASE WHEN LENGTH(data) <= %d THEN data END AS data"):format(SHORT),
}

-- Each table in the words of its indexes.
local TABLES = {
  deliveries = {
    key = "seq", at = "received_at", read = deliveries.delivery,
    words = "pending, done, unchanged, gone, unhandled or dead",
    states = {
      pending = "state IN ('new', 'pending')", done = "state = 'done'",
      unchanged = "state = 'unchanged'", gone = "state = 'gone'",
      unhandled = "state = 'unhandled'", dead = "state = 'dead'",
    },
  },
  events = {
    key = "seq", at = "created_at", read = events.event, words = "pending, done, unhandled or dead",
    states = {
      pending = "open = 1 AND (state = 'pending' OR state = 'bad')", done = "state = 'done'",
      unhandled = "state = 'unhandled'", dead = "state = 'dead'",
    },
  },
  invoices = {
    key = "lane", at = "changed_at", words = "open, closed or deleted",
    read = function(row)
      row.leased = row.owner ~= nil
      row.owner, row.token, row.left_states = nil, nil, nil
      return sql.shown(row)
    end,
    states = {
      open = "known = 1 AND closed_at IS NULL", closed = "closed_at IS NOT NULL",
      deleted = "deleted_at IS NOT NULL",
    },
  },
}

-- A filter decides what is deleted: one that is none must not mean "everything".
local function check(of, filter)
  for name, value in pairs(filter) do
    local field = FIELDS[name]
    if not field then error(("unknown field '%s' of a filter"):format(tostring(name)), 0) end
    local must = not field[1](value) and field[2]
      or name == "state" and not TABLES[of].states[value] and TABLES[of].words
    if must then error(("field '%s' of a filter must be %s"):format(name, must), 0) end
  end
end

local function ago(now, seconds) return now - math.floor(seconds * 1000) end

-- Deliveries of an invoice: by one index those that were routed, by another the few that were not;
-- one for both would have to be written by every admission.
local OF_INVOICE = [[seq IN (
  SELECT seq FROM deliveries WHERE account = ? AND invoice = ? AND state <> 'new' UNION ALL
  SELECT seq FROM deliveries WHERE account = ? AND invoice = ? AND state = 'new')]]

-- The rows that are meant, by their key: a statement and its values.
local function select_from(of, filter, now, what, more)
  local tab, parts, values = TABLES[of], {}, {}
  local function clause(text, ...)
    for i = 1, select("#", ...) do
      values[#values + 1] = (select(i, ...))
      text = text:gsub("%?", "$" .. #values, 1)
    end
    parts[#parts + 1] = text
  end
  local account, id = (filter.id or ""):match "^([^:]*):(.*)$"
  clause(of == "invoices" and "stamp > 0" or "1 = 1")
  if filter.account then clause("account = ?", filter.account) end
  if filter.type and of ~= "invoices" then clause("type = ?", filter.type) end
  if filter.id then
    clause("account = ? AND id = ?", account or "", of == "events" and filter.id or id or "")
  end
  if filter.invoice and filter.account and of == "deliveries" then
    clause(OF_INVOICE, filter.account, filter.invoice, filter.account, filter.invoice)
  elseif filter.invoice then
    clause("invoice = ?", filter.invoice)
  end
  if filter.state then clause(tab.states[filter.state]) end
  if filter.before then clause(tab.key .. " < ?", filter.before) end
  if filter.after then clause(tab.key .. " > ?", filter.after) end
  if filter.older_than then clause(tab.at .. " < ?", ago(now, filter.older_than)) end
  if filter.newer_than then clause(tab.at .. " >= ?", ago(now, filter.newer_than)) end
  if filter.seqs then
    local numbers = {}
    for i, seq in ipairs(filter.seqs) do numbers[i] = ("%d"):format(seq) end
    clause("seq IN (" .. (#numbers > 0 and table.concat(numbers, ", ") or "NULL") .. ")")
  end
  if more then clause(unpack(more)) end
  return ("SELECT %s FROM %s WHERE "):format(what, of) .. table.concat(parts, " AND ")
    .. " ORDER BY " .. tab.key, values
end

-- --- looking -------------------------------------------------------------------

local LIMIT = 100

for of, tab in pairs(TABLES) do
  Store[of] = function(self, filter)
    filter = filter or {}
    check(of, filter)
    -- what an index finds few of is sorted: a planner that does not know how few would rather go
    -- through all rows from the newest, looking for them
    local few = filter.id or filter.invoice or filter.state == "dead" or filter.seqs
    return self:read(function(query, now)
      local text, values = select_from(of, filter, now, filter.brief and BRIEF[of] or "*")
      local rows = query(text .. (few and " + 0" or "") .. (filter.after and "" or " DESC")
        .. " LIMIT " .. ("%d"):format(filter.limit or LIMIT), unpack(values))
      for i, row in ipairs(rows) do rows[i] = tab.read(row) end
      return rows
    end)
  end
end

-- --- changing -------------------------------------------------------------------

local BATCH = 500 -- rows a transaction; receivers commit in between

-- Does something with all rows of a filter for which `also` holds, a condition, its "?" so many
-- `seconds` ago: fn(query, now, key) gives how many it has changed. They are looked for without a
-- lock, and changed a few in a transaction.
local function each_batch(self, of, filter, also, seconds, fn)
  local key, all, last, left = TABLES[of].key, 0, 0, filter.limit or math.huge
  while left > 0 do
    local found, why = self:read(function(query, now)
      local text, values = select_from(of, filter, now, key .. " AS key",
        { also .. (" AND %s > %d"):format(key, last), seconds and ago(now, seconds) })
      return query(text .. (" LIMIT %d"):format(math.min(BATCH, left)), unpack(values))
    end)
    if not found then return nil, why end
    if #found == 0 then break end
    local done
    done, why = self:transaction(function(query, now)
      local n = 0
      for _, row in ipairs(found) do n = n + fn(query, now, row.key) end
      return n
    end)
    if not done then return nil, why end
    all, last, left = all + done, found[#found].key, left - #found
  end
  return all
end

-- How many rules are to run, and all their names: of a dead event the dead ones, of an unhandled
-- one those that want it now, of another all.
local function rules_again(query, row, names)
  if row.state == "dead" then
    return #query("DELETE FROM marks WHERE seq = $1 AND state = 'dead' RETURNING rule", row.seq),
      row.rules
  end
  local rules = row.rules
  if row.state == "unhandled" and names then
    rules = table.concat(names[table.concat({ row.account, row.type, row.native,
      row.live == 1 and "live" or "test" }, "\n")] or {}, "\n")
  end
  if rules ~= "" then query("DELETE FROM marks WHERE seq = $1", row.seq) end
  local _, n = rules:gsub("[^\n]+", "")
  return n, rules
end

function Store:replay(filter, names)
  check("events", filter)
  return each_batch(self, "events", filter, "1 = 1", nil, function(query, now, seq)
    local row = query(self.dialect.locking "SELECT * FROM events WHERE seq = $1", seq)[1]
    if not row then return 0 end
    if row.open == 1 then -- what waits for its next run does not have to any longer
      local _, waiting = query("UPDATE marks SET due = $1 WHERE seq = $2 AND state = 'waiting'",
        now, seq)
      if waiting > 0 then events.place(query, now, row) end
      return waiting > 0 and 1 or 0
    end
    -- it may have been purged meanwhile
    if not (row.data or row.previous or row.claims) or row.rules == "" and not names then
      return 0
    end
    local left, rules = rules_again(query, row, names)
    if left == 0 then return 0 end
    query("UPDATE events SET state = 'pending', open = 1, finished_at = NULL, left_over = $1, "
      .. "rules = $2, lane = $3, note = NULL WHERE seq = $4", left, rules,
      events.place(query, now, row), seq)
    return 1
  end)
end

-- --- retention --------------------------------------------------------------

-- Bodies, data, results of steps and error texts are a person's data; ids, digests, versions,
-- amounts, dates and states stay.
local HAS = {
  deliveries = "body IS NOT NULL AND state <> 'new' AND state <> 'pending'",
  events = "open = 0 AND (data IS NOT NULL OR previous IS NOT NULL OR claims IS NOT NULL)",
  invoices = "data IS NOT NULL AND closed_at IS NOT NULL",
}

local function purge(of, set)
  local text = ("UPDATE %s SET %s WHERE %s = $1 AND %s"):format(of, set, TABLES[of].key, HAS[of])
  return function(query, _, key)
    local _, done = query(text, key)
    if done == 1 and of == "events" then
      query("DELETE FROM results WHERE seq = $1", key)
      query("UPDATE marks SET message = NULL WHERE seq = $1", key)
    end
    return done
  end
end

local PURGE = { deliveries = purge("deliveries", "body = NULL"),
  events = purge("events", "data = NULL, previous = NULL, claims = NULL"),
  invoices = purge("invoices", "data = NULL") }

-- Steps one after the other: how many rows they have changed altogether. What is deleted must not
-- stay in the log.
local function all_of(self, steps)
  local all = 0
  for _, step in ipairs(steps) do
    local of, filter, also, seconds, fn = unpack(step, 1, 5)
    local n, why = each_batch(self, of, filter, also or HAS[of], seconds, fn or PURGE[of])
    if not n then return nil, why end
    all = all + n
  end
  if all > 0 and self.dialect.tidy and self.db then self.dialect:tidy(self.db) end
  return all
end

function Store:purge(filter)
  check("events", filter)
  local steps = { { "events", filter } }
  if not filter.seqs and (not filter.state or TABLES.deliveries.states[filter.state]) then
    table.insert(steps, 1, { "deliveries", filter })
  end
  return all_of(self, steps)
end

-- of an invoice that was closed before a time
local function closed(of)
  return ("%s AND EXISTS (SELECT 1 FROM invoices i WHERE i.account = %s.account "
    .. "AND i.invoice = %s.invoice AND i.closed_at < ?)"):format(HAS[of], of, of)
end

-- A row of an id that the API does not know, of which nothing is waited for, nor runs.
local EMPTY = "known = 0 AND check_due IS NULL AND run_due IS NULL AND owner IS NULL "
  .. "AND (news_at IS NULL OR news_at < ?)"
local DAY = 86400

local function drop(query, now, lane)
  local _, done = query("DELETE FROM invoices WHERE lane = $1 AND " .. EMPTY:gsub("%?", "$2")
    .. " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.lane = invoices.lane AND e.open = 1)", lane,
    ago(now, DAY))
  return done
end

---Forgets what closed invoices say (their amounts stay), and what came about them; and rows of ids
---that came to nothing.
---@param closed_before integer seconds ago that an invoice must have been closed
---@param anyway integer seconds ago: older bodies go whatever they are about
function Store:forget(closed_before, anyway)
  return all_of(self, {
    { "deliveries", {}, closed "deliveries", closed_before },
    { "events", {}, closed "events", closed_before },
    { "invoices", {}, "data IS NOT NULL AND closed_at < ?", closed_before },
    { "deliveries", { older_than = anyway } },
    { "events", { older_than = anyway } },
    { "invoices", {}, EMPTY, DAY, drop },
  })
end

-- --- counts ------------------------------------------------------------------

local MOST = 10000 -- stats count no further

-- Nothing here takes longer the more is stored: each is counted by an index of few.
function Store:stats()
  return self:read(function(query, now)
    local function count(of, condition, ...)
      return query(("SELECT COUNT(*) AS n FROM (SELECT 1 FROM %s WHERE %s LIMIT %d) AS few"):format(
        of, condition, MOST), ...)[1].n
    end
    local oldest = query("SELECT created_at AS at FROM events WHERE open = 1 "
      .. "ORDER BY seq LIMIT 1")[1]
    return {
      incoming = count("deliveries", "state = 'new'"),
      checking = count("deliveries", "state = 'pending'"),
      pending = count("events", "open = 1"), dead = count("events", "state = 'dead'"),
      unhandled = count("events", "state = 'unhandled'"),
      leased = count("invoices", "owner IS NOT NULL"),
      due = count("invoices", "owner IS NULL AND run_due IS NOT NULL AND run_due <= $1", now),
      checks = count("invoices", "owner IS NULL AND check_due IS NOT NULL AND check_due <= $1",
        now),
      oldest = oldest and math.max(0, now - oldest.at) / 1000,
      log_bytes = self.dialect.log_bytes and self.dialect:log_bytes(),
    }
  end)
end

-- The last day by the hour, of no more than the newest rows, so that it takes as long however much
-- is stored.
local NEWEST = 50000
local HOUR = 3600000
local CAME = ("FROM (SELECT account, last_at, received_at FROM deliveries ORDER BY seq DESC "
  .. "LIMIT %d) AS newest"):format(NEWEST)
local BY_HOUR = "SELECT received_at / 3600000 AS hour, COUNT(*) AS n " .. CAME
  .. " WHERE received_at >= $1 GROUP BY received_at / 3600000"
local LAST = "SELECT account, MAX(COALESCE(last_at, received_at)) AS at " .. CAME
  .. " GROUP BY account"
local FAILED = {}
for of, at in pairs { events = "COALESCE(finished_at, created_at)", deliveries = "received_at" } do
  FAILED[#FAILED + 1] = ("SELECT at / 3600000 AS hour, COUNT(*) AS n FROM (SELECT %s AS at FROM %s "
    .. "WHERE state = 'dead' ORDER BY seq DESC LIMIT %d) AS newest WHERE at >= $1 "
    .. "GROUP BY at / 3600000"):format(at, of, MOST)
end

function Store:day()
  return self:read(function(query, now)
    local hours, by, first = {}, {}, math.floor(now / HOUR) - 23
    for i = 1, 24 do
      hours[i] = { at = (first + i - 1) * HOUR / 1000, deliveries = 0, failures = 0 }
      by[first + i - 1] = hours[i]
    end
    local function add(name, text)
      for _, row in ipairs(query(text, first * HOUR)) do
        local hour = by[row.hour] -- none: its clock is before ours
        if hour then hour[name] = hour[name] + row.n end
      end
    end
    add("deliveries", BY_HOUR)
    for _, text in ipairs(FAILED) do add("failures", text) end
    local last = {}
    for _, row in ipairs(query(LAST)) do last[row.account] = row.at / 1000 end
    return { now = now / 1000, hours = hours, last = last }
  end)
end

-- What has happened, counted over all processes: each hands over what it has counted from time to
-- time (app/metrics.lua), in one order everywhere, for a delivery must not wait for a row that
-- every other delivery changes too.
local ADD = sql.insert("counters", { "name", "n", "total" }, "ON CONFLICT (name) DO UPDATE SET "
  .. "n = counters.n + excluded.n, total = counters.total + excluded.total")

function Store:count(list)
  table.sort(list, function(a, b) return a.name < b.name end)
  return self:transaction(function(query)
    for _, one in ipairs(list) do query(ADD, one.name, one.n, one.total or 0) end
    return true
  end)
end

function Store:counters()
  return self:read(function(query) return query "SELECT name, n, total FROM counters" end)
end

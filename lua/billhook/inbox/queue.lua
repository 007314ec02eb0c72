-- inbox/queue.lua: what is due for each invoice.
--
-- A row is claimed for one purpose, a check or the running of rules, with a lease and a token, so
-- one invoice's work never overlaps.

local clock = require "billhook.inbox.clock"
local core = require "billhook.core"
local events = require "billhook.inbox.events"

local M = {}

local Queue = {}
M.methods = Queue -- of a store

local FOREVER = 4503599627370496 -- ms: no time is later

---A row of the table as the interface gives it. For this folder only.
function M.row(row)
  row.known = row.known == 1
  row.left_states = row.left_states and core.json.decode(row.left_states) or {}
  return row
end

-- The row by which an event is claimed, made where there is none, locked, and due.
local QUEUE = [[
INSERT INTO invoices (account, invoice, run_due) VALUES ($1, $2, $3)
ON CONFLICT (account, invoice) DO UPDATE SET run_due =
  CASE WHEN invoices.run_due < excluded.run_due THEN invoices.run_due ELSE excluded.run_due END
RETURNING lane]]

---Where an event is to be run; it is due there. For this folder only.
function M.place(query, now, event)
  return query(QUEUE, event.account, event.invoice or "#" .. event.id, now)[1].lane
end

-- --- what is due --------------------------------------------------------------

-- Accounts that have a row in a partial index whose first column is the account, one look-up each.
local function accounts_in(condition)
  local first = "SELECT MIN(account) FROM %s WHERE " .. condition
  return ([[
WITH RECURSIVE few(account) AS (
  SELECT (%s) UNION ALL
  SELECT (%s AND account > few.account) FROM few WHERE few.account IS NOT NULL)
SELECT account FROM few WHERE account IS NOT NULL]]):format(first, first)
end

local NEW = accounts_in "state = 'new'":gsub("%%s", "deliveries")
local CHECKS = accounts_in "check_due IS NOT NULL AND owner IS NULL":gsub("%%s", "invoices")
local RUNS = accounts_in "run_due IS NOT NULL AND owner IS NULL":gsub("%%s", "invoices")

local DUE_CHECKS = [[
SELECT COUNT(*) AS n FROM (SELECT 1 FROM invoices WHERE account = $1 AND known IN (0, 1)
  AND check_due <= $2 AND check_due IS NOT NULL AND owner IS NULL LIMIT $3) AS few]]
local NEXT_RUN = "SELECT MIN(run_due) AS due FROM invoices WHERE account = $1 "
  .. "AND run_due IS NOT NULL AND owner IS NULL"

-- Leases that have ended, or whose process has; and those of who asks, where it holds nothing.
local function lost_owners(self, query, now, want)
  local lost = {}
  for _, row in ipairs(query("SELECT owner, MIN(till) AS till FROM invoices "
    .. "WHERE owner IS NOT NULL GROUP BY owner")) do
    local gone = want.fresh
    if row.owner ~= want.owner then gone = self.dialect.departed(row.owner) end
    if gone or row.till <= now then
      lost[#lost + 1] = { owner = row.owner, before = gone and FOREVER or now }
    end
  end
  return lost
end

local function has_due(query, now, account, most)
  local checks = query(DUE_CHECKS, account, now, most)[1].n
  local run = query(NEXT_RUN, account)[1].due
  return { checks = checks, runs = run ~= nil and run <= now }
end

---What there is to do, by account; cheap, without a lock.
function Queue:due(want)
  return self:read(function(query, now, noted)
    local due = { now = now, accounts = {}, incoming = {},
      lost = clock.jumped(now, noted) or #lost_owners(self, query, now, want) > 0 }
    for _, row in ipairs(query(NEW)) do due.incoming[row.account] = true end
    for _, text in ipairs { CHECKS, RUNS } do
      for _, row in ipairs(query(text)) do
        due.accounts[row.account] = due.accounts[row.account]
          or has_due(query, now, row.account, want.most or 101)
      end
    end
    return due
  end)
end

-- --- claims --------------------------------------------------------------------

local HELD = "SELECT lane, running, rule FROM invoices WHERE owner = $1 AND till <= $2 "
  .. "ORDER BY lane"

-- What nobody works on any more is due at once, a run that was under way counted as lost. Where
-- one was, its row comes behind what is due already: a run that ends its process again and again
-- must not keep all others from their turn.
local function take_over(self, query, now, want)
  for _, lost in ipairs(lost_owners(self, query, now, want)) do
    for _, row in ipairs(query(self.dialect.locking(HELD, "skip"), lost.owner, lost.before)) do
      local due = events.count_lost(query, now, row, want.backoff)
      query("UPDATE invoices SET owner = NULL, running = NULL, run_due = CASE "
        .. "WHEN run_due IS NULL OR run_due > $1 THEN $2 ELSE run_due END WHERE lane = $3",
        due, due, row.lane)
    end
  end
end

function Queue:recover(want)
  return self:transaction(function(query, now)
    take_over(self, query, now, want)
    return true
  end)
end

local TO_CHECK = "SELECT * FROM invoices WHERE account = $1 AND known = $2 AND check_due <= $3 "
  .. "AND check_due IS NOT NULL AND owner IS NULL ORDER BY check_due LIMIT $4"

-- Of what is due since the same moment, the one that has not run for longest: whoever recovers from
-- a crash makes all that was claimed due at once.
local TO_RUN = "SELECT lane, token, account, invoice FROM invoices WHERE account = $1 "
  .. "AND run_due <= $2 AND run_due IS NOT NULL AND owner IS NULL "
  .. "ORDER BY run_due, COALESCE(began, 0), lane LIMIT $3"

local HOLD = "UPDATE invoices SET owner = $1, till = $2, token = $3, running = NULL "
  .. "WHERE lane = $4"

local HOLD_RUN = "UPDATE invoices SET owner = $1, till = $2, token = $3, running = NULL, "
  .. "run_due = NULL WHERE lane = $4"

local function token_for(self, query, rows)
  local most = 0
  for _, row in ipairs(rows) do most = math.max(most, row.token) end
  return self.dialect.number(query, most)
end

-- Known invoices before ids that nobody has ever seen.
local function claim_checks(self, query, now, want)
  local rows = {}
  for known = 1, 0, -1 do
    local left = want.limit - #rows
    for _, row in ipairs(left > 0 and query(self.dialect.locking(TO_CHECK, "skip"), want.account,
      known, now, left) or {}) do rows[#rows + 1] = M.row(row) end
  end
  if #rows == 0 then return rows end
  local token = token_for(self, query, rows)
  for _, row in ipairs(rows) do
    query(HOLD, want.owner, now + want.lease, token, row.lane)
    row.token = token
  end
  return rows
end

local function claim_runs(self, query, now, want)
  local rows = query(self.dialect.locking(TO_RUN, "skip"), want.account, now, want.limit)
  if #rows == 0 then return rows end
  local token = token_for(self, query, rows)
  for _, row in ipairs(rows) do
    query(HOLD_RUN, want.owner, now + want.lease, token, row.lane)
    row.token = token
    row.events, row.more = events.page(query, now, row.lane, 0, want.page)
  end
  return rows, events.begin_first(query, now, rows, want.hold)
end

function Queue:claim(want)
  local claim = want.kind == "check" and claim_checks or claim_runs
  return self:transaction(function(query, now)
    local rows, first = claim(self, query, now, want)
    return { rows = rows, first = first, now = now }
  end)
end

function Queue:renew(lane, token, lease)
  return self:transaction(function(query, now)
    local _, held = query("UPDATE invoices SET till = $1 WHERE lane = $2 AND token = $3 "
      .. "AND owner IS NOT NULL", now + lease, lane, token)
    return held == 1
  end)
end

local RELEASE = [[
UPDATE invoices SET owner = NULL, running = NULL,
  run_due = CASE WHEN CAST($1 AS BIGINT) IS NULL THEN run_due
    WHEN run_due IS NULL OR run_due > $2 THEN $3 ELSE run_due END,
  check_due = CASE WHEN check_due < CAST($4 AS BIGINT) THEN $5 ELSE check_due END
WHERE lane = $6 AND token = $7 AND owner IS NOT NULL RETURNING stamp, run_due]]

-- `after`: ms to the next run; `check_after`: ms before which no check is made again.
function Queue:release(rows)
  return self:transaction(function(query, now)
    local released = 0
    for _, one in ipairs(rows) do
      local run = one.after and now + math.max(0, math.floor(one.after))
      local check = one.check_after and now + math.max(0, math.floor(one.check_after))
      local row = query(RELEASE, run, run, run, check, check, one.lane, one.token)[1]
      if row then
        released = released + 1
        -- a row without a state was there for its events
        if not row.run_due and row.stamp == 0 then
          query("DELETE FROM invoices WHERE lane = $1", one.lane)
        end
      end
    end
    return released
  end)
end

return M

-- inbox/queue.lua: the work that is due for each invoice. A worker claims a row for one purpose, a
-- check or running rules, with a lease and a token, so two workers never work on one invoice.

local events = require "billhook.inbox.events"
local invoices = require "billhook.inbox.invoices"
local sql = require "billhook.inbox.sql"

local Store = sql.Store

-- --- what is due --------------------------------------------------------------

-- Accounts that have a row in a partial index whose first column is the account, one look-up each.
local function accounts_in(name, condition)
  local first = ("SELECT MIN(account) FROM %s WHERE %s"):format(name, condition)
  return ([[
WITH RECURSIVE few(account) AS (
  SELECT (%s) UNION ALL
  SELECT (%s AND account > few.account) FROM few WHERE few.account IS NOT NULL)
SELECT account FROM few WHERE account IS NOT NULL]]):format(first, first)
end

local CHECK = "check_due IS NOT NULL AND owner IS NULL"
local RUN = "run_due IS NOT NULL AND owner IS NULL"

local NEW = accounts_in("deliveries", "state = 'new'")
local BUSY = { accounts_in("invoices", CHECK), accounts_in("invoices", RUN) }

local COUNTED = 101 -- due checks of an account: no further

local DUE_CHECKS = "SELECT COUNT(*) AS n FROM (SELECT 1 FROM invoices WHERE account = $1 "
  .. "AND known IN (0, 1) AND check_due <= $2 AND " .. CHECK .. " LIMIT $3) AS few"
local NEXT_RUN = "SELECT MIN(run_due) AS due FROM invoices WHERE account = $1 AND " .. RUN

-- Leases that have ended, or whose process has; and those of who asks, where it holds nothing.
local function lost_owners(self, query, now, want)
  local lost = {}
  for _, row in ipairs(query("SELECT owner, MIN(till) AS till FROM invoices "
    .. "WHERE owner IS NOT NULL GROUP BY owner")) do
    local gone = want.fresh
    if row.owner ~= want.owner then gone = self.dialect.departed(row.owner) end
    if gone or row.till <= now then lost[#lost + 1] = { owner = row.owner, gone = gone } end
  end
  return lost
end

---What there is to do, by account; cheap, without a lock.
function Store:due(want)
  return self:read(function(query, now, noted)
    local due = { now = now, accounts = {}, incoming = {},
      lost = sql.jumped(now, noted) or #lost_owners(self, query, now, want) > 0 }
    for _, row in ipairs(query(NEW)) do due.incoming[row.account] = true end
    for _, text in ipairs(BUSY) do
      for _, row in ipairs(query(text)) do
        local run = query(NEXT_RUN, row.account)[1].due
        due.accounts[row.account] = due.accounts[row.account] or {
          checks = query(DUE_CHECKS, row.account, now, COUNTED)[1].n,
          runs = run ~= nil and run <= now,
        }
      end
    end
    return due
  end)
end

-- --- claims --------------------------------------------------------------------

local HELD = "SELECT lane, running, rule, till FROM invoices WHERE owner = $1 ORDER BY lane"

-- What nobody works on any more is due at once, a run that was under way counted as lost. Where
-- one was, its row comes behind what is due already: a run that ends its process again and again
-- must not keep all others from their turn.
function Store:recover(want)
  return self:transaction(function(query, now)
    for _, lost in ipairs(lost_owners(self, query, now, want)) do
      for _, row in ipairs(query(self.dialect.locking(HELD, "skip"), lost.owner)) do
        if lost.gone or row.till <= now then
          local due = events.count_lost(query, now, row, want.backoff)
          query("UPDATE invoices SET owner = NULL, running = NULL, run_due = CASE "
            .. "WHEN run_due IS NULL OR run_due > $1 THEN $2 ELSE run_due END WHERE lane = $3",
            due, due, row.lane)
        end
      end
    end
    return true
  end)
end

local TO_CHECK = "SELECT * FROM invoices WHERE account = $1 AND known = $2 AND check_due <= $3 "
  .. "AND " .. CHECK .. " ORDER BY check_due LIMIT $4"

-- Of what is due since the same moment, the one that has not run for longest: whoever recovers from
-- a crash makes all that was claimed due at once.
local TO_RUN = "SELECT lane, token, account, invoice FROM invoices WHERE account = $1 "
  .. "AND run_due <= $2 AND " .. RUN .. " ORDER BY run_due, COALESCE(began, 0), lane LIMIT $3"

local HOLD = "UPDATE invoices SET owner = $1, till = $2, token = $3, running = NULL%s "
  .. "WHERE lane = $4"

-- Rows that a text finds, held from now on under one token.
local function hold(self, query, now, want, rows, also)
  local most = 0
  for _, row in ipairs(rows) do most = math.max(most, row.token) end
  local token = rows[1] and self.dialect:number(query, most)
  for _, row in ipairs(rows) do
    query(HOLD:format(also or ""), want.owner, now + want.lease, token, row.lane)
    row.token = token
  end
  return rows
end

-- Known invoices before ids that nobody has ever seen, or the other way round.
local function claim_checks(self, query, now, want)
  local text, rows = self.dialect.locking(TO_CHECK, "skip"), {}
  for _, known in ipairs(want.unknown_first and { 0, 1 } or { 1, 0 }) do
    local left = want.limit - #rows
    for _, row in ipairs(left > 0 and query(text, want.account, known, now, left) or {}) do
      rows[#rows + 1] = invoices.row(row)
    end
  end
  return { rows = hold(self, query, now, want, rows), now = now }
end

local function claim_runs(self, query, now, want)
  local rows = hold(self, query, now, want, query(self.dialect.locking(TO_RUN, "skip"),
    want.account, now, want.limit), ", run_due = NULL")
  for _, row in ipairs(rows) do
    row.events, row.more = events.page(query, now, row.lane, 0, want.page)
  end
  return { rows = rows, now = now }
end

function Store:claim(want)
  local claim = want.kind == "check" and claim_checks or claim_runs
  return self:transaction(function(query, now) return claim(self, query, now, want) end)
end

function Store:renew(lane, token, lease)
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
function Store:release(rows)
  return self:transaction(function(query, now)
    local released = 0
    local function at(after) return after and now + math.max(0, math.floor(after)) end
    for _, one in ipairs(rows) do
      local run, check = at(one.after), at(one.check_after)
      local row = query(RELEASE, run, run, run, check, check, one.lane, one.token)[1]
      if row then released = released + 1 end
      -- a row without a state was there for its events
      if row and not row.run_due and row.stamp == 0 then
        query("DELETE FROM invoices WHERE lane = $1", one.lane)
      end
    end
    return released
  end)
end

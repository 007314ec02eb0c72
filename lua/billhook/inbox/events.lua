-- inbox/events.lua: what rules run on, how far each rule is with it, and what its steps gave.
-- A mark counts only while its row is held under the token that it comes with.

local err = require "billhook.error"
local log = require "billhook.log"
local refusal = require "billhook.inbox.refusal"
local steps = require "billhook.inbox.steps"

local M = {}

local Events = {}
M.methods = Events -- of a store

local MESSAGE_LIMIT = 2000 -- bytes of a rule's error that are kept
local NEWS_LIMIT = 50 -- deliveries that an event remembers

-- --- events ------------------------------------------------------------------

local INSERT = [[
INSERT INTO events (account, id, lane, open, state, left_over, vendor, type, native, invoice,
  tenant, version, trust, live, data, previous, claims, occurred_at, received_at, created_at, rules,
  note, deliveries)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
  $21, $22, $23) ON CONFLICT (account, id) DO NOTHING
RETURNING seq, (SELECT MAX(seq) FROM events) AS most]]

local function state_of(event)
  if event.bad then return "bad", 1 end
  if #event.rules > 0 then return "pending", 1 end
  return "unhandled", 0
end

---Adds an event; one that is known by its id is left alone. For this folder only.
function M.add(query, now, lane, event, deliveries)
  local state, open = state_of(event)
  local seqs = {}
  for i = 1, math.min(#deliveries, NEWS_LIMIT) do seqs[i] = ("%d"):format(deliveries[i]) end
  local row = query(INSERT, event.account, event.id, lane, open, state, #event.rules,
    event.vendor, event.type, event.native or event.type, event.invoice, event.tenant,
    event.version, event.trust, event.live and 1 or 0, event.data, event.previous, event.claims,
    event.occurred_at, event.received_at, now, table.concat(event.rules, "\n"), event.note,
    table.concat(seqs, ","))[1]
  if row then refusal.numbered(row) end
end

---An event as the interface gives it.
function M.event(row)
  local event = {
    seq = row.seq, account = row.account, id = row.id,
    vendor = row.vendor, type = row.type, native = row.native, invoice = row.invoice,
    tenant = row.tenant, version = row.version, trust = row.trust, live = row.live == 1,
    data = row.data, previous = row.previous, claims = row.claims, note = row.note,
    state = row.state == "bad" and "dead" or row.state, bad = row.state == "bad" or nil,
    occurred_at = row.occurred_at and row.occurred_at / 1000,
    received_at = (row.received_at or row.created_at) / 1000, created_at = row.created_at / 1000,
    rules = {}, marks = {}, deliveries = {},
  }
  for name in row.rules:gmatch("[^\n]+") do event.rules[#event.rules + 1] = name end
  for seq in (row.deliveries or ""):gmatch("%d+") do
    event.deliveries[#event.deliveries + 1] = tonumber(seq)
  end
  return event
end

---A mark as the interface gives it.
function M.mark(row, now)
  return {
    state = row.state, attempts = row.attempts, message = row.message,
    wait = row.due and math.max(0, row.due - now),
    held = row.failed_at and math.max(0, now - row.failed_at),
  }
end

local CONTENT = "SELECT * FROM events WHERE lane = $1 AND open = 1 AND seq > $2 "
  .. "ORDER BY seq LIMIT $3"

local MARKS = [[
SELECT m.* FROM marks m JOIN events e ON e.seq = m.seq
WHERE e.lane = $1 AND e.open = 1 AND e.seq > $2 AND e.seq <= $3]]

---Open events of a row after one, in order, with their marks; and whether there may be more. For
---this folder only.
function M.page(query, now, lane, after, most)
  local events, marks = {}, {}
  for i, row in ipairs(query(CONTENT, lane, after, most)) do
    events[i] = M.event(row)
    marks[row.seq] = events[i].marks
  end
  if #events > 0 then
    for _, row in ipairs(query(MARKS, lane, after, events[#events].seq)) do
      local one = marks[row.seq]
      one[row.rule] = M.mark(row, now)
    end
  end
  return events, #events == most
end

local MINE = "SELECT lane FROM invoices WHERE lane = $1 AND token = $2 AND owner IS NOT NULL"

function Events:more(lane, token, seq, page)
  return self:read(function(query, now)
    if not query(MINE, lane, token)[1] then return false end
    local events, more = M.page(query, now, lane, seq, page)
    return { events = events, more = more }
  end)
end

-- --- runs --------------------------------------------------------------------

local BEGIN = "UPDATE invoices SET running = $1, rule = $2, began = $3 "
  .. "WHERE lane = $4 AND token = $5 AND owner IS NOT NULL"

---Notes which run begins; false where the row is not held under this token. For this folder only.
function M.begin(query, now, token, run)
  local _, held = query(BEGIN, run.seq, run.rule, now, run.lane, token)
  return held == 1
end

---Notes the first run of some rows that were claimed together, as far as it is sure which it is;
---gives it. For this folder only.
function M.begin_first(query, now, rows, hold)
  for _, row in ipairs(rows) do
    local event, rule = steps.next(steps.start(row), hold)
    if event then
      local first = { lane = row.lane, seq = event.seq, rule = rule }
      M.begin(query, now, row.token, first)
      return first
    end
    if row.more then return nil end
  end
end

local LOST = "the process that ran this rule ended, or its lease did, before it said how it went"
local AT_ONCE = 3 -- lost runs that are repeated at once: a process may be killed for other reasons

local COUNT_LOST = [[
INSERT INTO marks (seq, rule, state, attempts, due, failed_at, marked_at, message)
VALUES ($1, $2, 'waiting', 1, $3, $4, $5, $6)
ON CONFLICT (seq, rule) DO UPDATE SET attempts = marks.attempts + 1, due = excluded.due,
  failed_at = COALESCE(marks.failed_at, excluded.failed_at), marked_at = excluded.marked_at,
  message = excluded.message
WHERE marks.state = 'waiting' RETURNING attempts]]

---Counts the run that was under way in a row as failed; gives when the row is due. For this folder
---only.
function M.count_lost(query, now, row, backoff)
  local event = row.running and query("SELECT open FROM events WHERE seq = $1", row.running)[1]
  if not event or event.open == 0 then return now end
  local mark = query(COUNT_LOST, row.running, row.rule, now, now, now, LOST)[1]
  if mark and mark.attempts > AT_ONCE then
    local wait = math.min(backoff.cap, backoff.base * 2 ^ math.min(mark.attempts - AT_ONCE - 1, 40))
    query("UPDATE marks SET due = $1 WHERE seq = $2 AND rule = $3", now + math.floor(wait),
      row.running, row.rule)
  end
  return now + 1
end

local MARK = [[
INSERT INTO marks (seq, rule, state, attempts, due, failed_at, marked_at, message)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (seq, rule) DO UPDATE SET state = excluded.state,
  attempts = marks.attempts + excluded.attempts, due = excluded.due,
  failed_at = COALESCE(marks.failed_at, excluded.failed_at),
  marked_at = excluded.marked_at, message = excluded.message
WHERE marks.state = 'waiting']]

-- The last rule that finishes closes the event.
local CLOSE = [[
UPDATE events SET left_over = left_over - 1,
  finished_at = CASE WHEN left_over <= 1 THEN CAST($1 AS BIGINT) END,
  open = CASE WHEN left_over > 1 THEN 1 ELSE 0 END,
  state = CASE WHEN left_over > 1 THEN state
    WHEN state = 'bad' OR EXISTS (SELECT 1 FROM marks m WHERE m.seq = events.seq
      AND m.state = 'dead') THEN 'dead'
    ELSE 'done' END
WHERE seq = $2]]

local REST = "UPDATE invoices SET running = NULL WHERE lane = $1 AND token = $2"

-- What became of a run, and which one begins next, in this or another row of the same claim: one
-- transaction. Either may be
-- nil. False where the row is not held under this token any more.
function Events:mark(lane, token, outcome, following)
  return self:transaction(function(query, now)
    if not query(self.dialect.locking(MINE), lane, token)[1] then return false end
    if outcome then
      local due = outcome.delay and now + math.floor(outcome.delay)
      local failed_at = outcome.state ~= "done" and now or nil
      local _, fresh = query(MARK, outcome.seq, outcome.rule, outcome.state,
        outcome.lost and 0 or 1, due, failed_at, now,
        outcome.message and log.text(outcome.message, MESSAGE_LIMIT))
      if fresh == 1 and outcome.state ~= "waiting" then query(CLOSE, now, outcome.seq) end
    end
    if not following or following.lane ~= lane then query(REST, lane, token) end
    if following then M.begin(query, now, token, following) end
    return true
  end)
end

local UNDER_WAY = [[
SELECT i.lane, i.token, i.owner, i.running AS seq, i.rule, i.began, e.account, e.id
FROM invoices i JOIN events e ON e.seq = i.running
WHERE i.owner IS NOT NULL AND i.running IS NOT NULL AND e.open = 1]]

function Events:running()
  return self:read(function(query, now)
    local runs = query(UNDER_WAY)
    for _, run in ipairs(runs) do
      run.seconds = math.max(0, now - (run.began or now)) / 1000
      run.account, run.began = nil, nil
    end
    return runs
  end)
end

-- --- steps of event:once --------------------------------------------------------

local RESULT = "SELECT value FROM results WHERE seq = $1 AND rule = $2 AND name = $3"

local HELD = "SELECT i.lane FROM invoices i JOIN events e ON e.lane = i.lane "
  .. "WHERE e.seq = $1 AND i.token = $2 AND i.owner IS NOT NULL"

-- Who has lost the row meanwhile must not begin what another may be doing.
local function result_of(self, seq, rule, name, token)
  local found, why = self:read(function(query)
    if not query(HELD, seq, token)[1] then return {} end
    local row = query(RESULT, seq, rule, name)[1]
    return { text = row and row.value or false }
  end)
  if not found then return nil, why end
  if found.text ~= nil then return found.text end
  return nil, err.new { kind = "store", code = "LEASE_LOST", retryable = true,
    message = "the lease ended: another worker has this invoice" }
end

function Events:step(seq, rule, name, text, token)
  if text == nil then return result_of(self, seq, rule, name, token) end
  return self:transaction(function(query)
    query("INSERT INTO results (seq, rule, name, value) VALUES ($1, $2, $3, $4) "
      .. "ON CONFLICT (seq, rule, name) DO NOTHING", seq, rule, name, text)
    return query(RESULT, seq, rule, name)[1].value
  end)
end

-- --- what a rule may ask ------------------------------------------------------------

local LATEST = "SELECT version, deleted_at FROM invoices WHERE account = $1 AND invoice = $2"

---Is this version of the invoice the newest that is known?
function Events:is_latest(account, invoice, version)
  return self:read(function(query)
    local row = query(LATEST, account, invoice)[1]
    return not row or row.version <= version
  end)
end

return M

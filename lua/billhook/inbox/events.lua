-- inbox/events.lua: the events that rules run for, the state of each rule's run (a mark), and the
-- results of its steps. A mark is stored only while its row is leased with the token given.

local err = require "billhook.error"
local log = require "billhook.log"
local sql = require "billhook.inbox.sql"

local M = {}

local Store = sql.Store

local unpack = table.unpack or rawget(_G, "unpack")

-- --- events ------------------------------------------------------------------

local COLUMNS = { "account", "id", "lane", "open", "state", "left_over", "vendor", "type", "native",
  "invoice", "tenant", "version", "trust", "live", "data", "previous", "claims", "occurred_at",
  "received_at", "created_at", "rules", "note", "deliveries" }
local INSERT = sql.insert("events", COLUMNS, "ON CONFLICT (account, id) DO NOTHING "
  .. "RETURNING seq, (SELECT MAX(seq) FROM events) AS most")

local NEWS_LIMIT = 50 -- deliveries that an event remembers

-- The row by which an event is claimed, made where there is none, locked, and due.
local PLACE = sql.insert("invoices", { "account", "invoice", "run_due" }, [[
ON CONFLICT (account, invoice) DO UPDATE SET run_due =
  CASE WHEN invoices.run_due < excluded.run_due THEN invoices.run_due ELSE excluded.run_due END
RETURNING lane]])

---Where an event is to be run; it is due there. For this folder only.
function M.place(query, now, event)
  return query(PLACE, event.account, event.invoice or "#" .. event.id, now)[1].lane
end

---Adds an event; one that is known by its id is left alone. What no rule wants is in no row's
---queue. For this folder only.
function M.add(query, now, event, deliveries)
  local open = event.bad or #event.rules > 0
  local row, values = {}, {}
  for name, value in pairs(event) do row[name] = value end
  row.lane, row.open = open and M.place(query, now, event) or nil, open and 1 or 0
  row.state = event.bad and "bad" or open and "pending" or "unhandled"
  row.left_over, row.live, row.created_at = #event.rules, event.live and 1 or 0, now
  row.native, row.rules = event.native or event.type, table.concat(event.rules, "\n")
  row.deliveries = table.concat(deliveries, ",", 1, math.min(#deliveries, NEWS_LIMIT))
  for i, name in ipairs(COLUMNS) do values[i] = row[name] end
  local made = query(INSERT, unpack(values, 1, #COLUMNS))[1]
  if made then sql.numbered(made) end
end

---An event as the interface gives it. For this folder only.
function M.event(row)
  row.received_at = row.received_at or row.created_at
  row.bad = row.state == "bad" or nil
  if row.bad then row.state = "dead" end
  local rules, deliveries = {}, {}
  for name in row.rules:gmatch "[^\n]+" do rules[#rules + 1] = name end
  for seq in (row.deliveries or ""):gmatch "%d+" do deliveries[#deliveries + 1] = tonumber(seq) end
  row.rules, row.marks, row.deliveries = rules, {}, deliveries
  return sql.shown(row)
end

-- Adds marks to their events, by number.
local function with_marks(events, marks, now)
  for _, row in ipairs(marks) do
    events[row.seq].marks[row.rule] = {
      state = row.state, attempts = row.attempts, message = row.message,
      wait = row.due and math.max(0, row.due - now),
      held = row.failed_at and math.max(0, now - row.failed_at),
    }
  end
end

function Store:show(id)
  local found, why = self:events { id = id, limit = 1 }
  if not found or not found[1] then return found and false, why end
  local event = found[1]
  return self:read(function(query, now)
    with_marks({ [event.seq] = event }, query("SELECT * FROM marks WHERE seq = $1", event.seq), now)
    return event
  end)
end

local CONTENT = "SELECT * FROM events WHERE lane = $1 AND open = 1 AND seq > $2 "
  .. "ORDER BY seq LIMIT $3"

local MARKS = [[
SELECT m.* FROM marks m JOIN events e ON e.seq = m.seq
WHERE e.lane = $1 AND e.open = 1 AND e.seq > $2 AND e.seq <= $3]]

---Open events of a row after one, in order, with their marks; and whether there may be more. For
---this folder only.
function M.page(query, now, lane, after, most)
  local events, by_seq = query(CONTENT, lane, after, most), {}
  for _, row in ipairs(events) do by_seq[row.seq] = M.event(row) end
  if #events > 0 then
    with_marks(by_seq, query(MARKS, lane, after, events[#events].seq), now)
  end
  return events, #events == most
end

local MINE = "SELECT lane FROM invoices WHERE lane = $1 AND token = $2 AND owner IS NOT NULL"

function Store:more(lane, token, seq, page)
  return self:read(function(query, now)
    if not query(MINE, lane, token)[1] then return false end
    local events, more = M.page(query, now, lane, seq, page)
    return { events = events, more = more }
  end)
end

-- --- runs --------------------------------------------------------------------

-- Notes which run begins.
local BEGIN = "UPDATE invoices SET running = $1, rule = $2, began = $3 "
  .. "WHERE lane = $4 AND token = $5 AND owner IS NOT NULL"

local MARK = sql.insert("marks", { "seq", "rule", "state", "attempts", "due", "failed_at",
  "message" }, [[
ON CONFLICT (seq, rule) DO UPDATE SET state = excluded.state,
  attempts = marks.attempts + excluded.attempts, due = excluded.due,
  failed_at = COALESCE(marks.failed_at, excluded.failed_at), message = excluded.message
WHERE marks.state = 'waiting' RETURNING attempts]])

local LOST = "the process that ran this rule ended (a crash, a kill, its stop_after), or its lease"
  .. " did, before it said how it went"
local AT_ONCE = 3 -- lost runs that are repeated at once: a process may be killed for other reasons

---Counts the run that was under way in a row as failed; gives when the row is due. For this folder
---only.
function M.count_lost(query, now, row, backoff)
  local event = row.running and query("SELECT open FROM events WHERE seq = $1", row.running)[1]
  if not event or event.open == 0 then return now end
  local mark = query(MARK, row.running, row.rule, "waiting", 1, now, now, LOST)[1]
  if mark and mark.attempts > AT_ONCE then
    local wait = math.min(backoff.cap, backoff.base * 2 ^ math.min(mark.attempts - AT_ONCE - 1, 40))
    query("UPDATE marks SET due = $1 WHERE seq = $2 AND rule = $3", now + math.floor(wait),
      row.running, row.rule)
  end
  return now + 1
end

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

local MESSAGE_LIMIT = 2000 -- bytes of a rule's error that are kept

function Store:mark(lane, token, outcome, following)
  return self:transaction(function(query, now)
    if not query(self.dialect.locking(MINE), lane, token)[1] then return false end
    if outcome then
      local due = outcome.delay and now + math.floor(outcome.delay)
      local marked = query(MARK, outcome.seq, outcome.rule, outcome.state, outcome.lost and 0 or 1,
        due, outcome.state ~= "done" and now or nil,
        outcome.message and log.text(outcome.message, MESSAGE_LIMIT))[1]
      if marked and outcome.state ~= "waiting" then query(CLOSE, now, outcome.seq) end
    end
    if not following or following.lane ~= lane then
      query("UPDATE invoices SET running = NULL WHERE lane = $1 AND token = $2", lane, token)
    end
    if following then query(BEGIN, following.seq, following.rule, now, following.lane, token) end
    return true
  end)
end

local UNDER_WAY = [[
SELECT i.lane, i.token, i.owner, i.running AS seq, i.rule, i.began, e.id
FROM invoices i JOIN events e ON e.seq = i.running
WHERE i.owner IS NOT NULL AND i.running IS NOT NULL AND e.open = 1]]

function Store:running()
  return self:read(function(query, now)
    local runs = query(UNDER_WAY)
    for _, run in ipairs(runs) do
      run.seconds = math.max(0, now - (run.began or now)) / 1000
      run.began = nil
    end
    return runs
  end)
end

-- --- steps of event:once --------------------------------------------------------

local RESULT = "SELECT value FROM results WHERE seq = $1 AND rule = $2 AND name = $3"

local HELD = "SELECT i.lane FROM invoices i JOIN events e ON e.lane = i.lane "
  .. "WHERE e.seq = $1 AND i.token = $2 AND i.owner IS NOT NULL"

-- Who has lost the row meanwhile must not begin what another may be doing.
function Store:step(seq, rule, name, text, token)
  if text ~= nil then
    return self:transaction(function(query)
      query("INSERT INTO results (seq, rule, name, value) VALUES ($1, $2, $3, $4) "
        .. "ON CONFLICT (seq, rule, name) DO NOTHING", seq, rule, name, text)
      return query(RESULT, seq, rule, name)[1].value
    end)
  end
  local found, why = self:read(function(query)
    local held = query(HELD, seq, token)[1] ~= nil
    local row = held and query(RESULT, seq, rule, name)[1]
    return { held = held, text = row and row.value or false }
  end)
  if not found then return nil, why end
  if found.held then return found.text end
  return nil, err.new { kind = "store", code = "LEASE_LOST", retryable = true,
    message = "the lease ended: another worker has this invoice" }
end

return M

-- inbox/admin.lua: what operators do: look, count, run again, purge.

local events = require "billhook.inbox.events"
local filters = require "billhook.inbox.filter"
local queue = require "billhook.inbox.queue"

local M = {}

local Admin = {}
M.methods = Admin -- of a store

local unpack = table.unpack or rawget(_G, "unpack")

local LIMIT = 100
local DUE_MOST = 10000 -- stats count no further

-- --- looking -------------------------------------------------------------------

local function list(self, of, filter)
  filter = filter or {}
  filters.check(of, filter)
  local tab = filters.TABLES[of]
  return self:read(function(query, now)
    local parts, values = filters.conditions(of, filter, now)
    -- what an index finds few of is sorted: a planner that does not know how few would rather go
    -- through all rows from the newest, looking for them
    local few = filter.id or filter.invoice or filter.state == "dead" or filter.seqs
    local rows = query(("SELECT * FROM %s WHERE %s ORDER BY %s%s %s LIMIT %d"):format(of,
      table.concat(parts, " AND "), tab.key, few and " + 0" or "", filter.after and "ASC" or "DESC",
      filter.limit or LIMIT), unpack(values))
    for i, row in ipairs(rows) do rows[i] = tab.read(row) end
    return rows
  end)
end

function Admin:deliveries(filter) return list(self, "deliveries", filter) end

function Admin:events(filter) return list(self, "events", filter) end

function Admin:invoices(filter) return list(self, "invoices", filter) end

---An event with its marks, or false.
function Admin:show(id)
  local found, why = self:events { id = id, limit = 1 }
  if not found or not found[1] then return found and false, why end
  local event = found[1]
  return self:read(function(query, now)
    for _, mark in ipairs(query("SELECT * FROM marks WHERE seq = $1", event.seq)) do
      event.marks[mark.rule] = events.mark(mark, now)
    end
    return event
  end)
end

-- --- run again -------------------------------------------------------------

local REOPEN = "UPDATE events SET state = 'pending', open = 1, finished_at = NULL, left_over = $1, "
  .. "rules = $2, lane = $3, note = NULL WHERE seq = $4"

local function count(rules)
  local n = 0
  for _ in rules:gmatch("[^\n]+") do n = n + 1 end
  return n
end

---What an unhandled event is, for those who say which rules want it.
local function kind_of(row)
  return table.concat({ row.account, row.type, row.native, row.live == 1 and "live" or "test" },
    "\n")
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
    rules = table.concat(names[kind_of(row)] or {}, "\n")
  end
  if rules ~= "" then query("DELETE FROM marks WHERE seq = $1", row.seq) end
  return count(rules), rules
end

local function replay(self, query, now, seq, names)
  local row = query(self.dialect.locking("SELECT * FROM events WHERE seq = $1"), seq)[1]
  if not row then return 0 end
  if row.open == 1 then -- what waits for its next run does not have to any longer
    local _, waiting = query("UPDATE marks SET due = $1 WHERE seq = $2 AND state = 'waiting'", now,
      seq)
    if waiting > 0 then queue.place(query, now, row) end
    return waiting > 0 and 1 or 0
  end
  -- it may have been purged meanwhile
  if not (row.data or row.previous or row.claims) or row.rules == "" and not names then return 0 end
  local left, rules = rules_again(query, row, names)
  if left == 0 then return 0 end
  query(REOPEN, left, rules, queue.place(query, now, row), seq)
  return 1
end

function Admin:replay(filter, names)
  return filters.each_batch(self, "events", filter, "1 = 1", nil, function(query, now, seq)
    return replay(self, query, now, seq, names)
  end)
end

-- --- retention --------------------------------------------------------------

-- Bodies, data, results of steps and error texts are a person's data; ids, digests, versions,
-- amounts, dates and states stay.
local PURGE_DELIVERY = "UPDATE deliveries SET body = NULL WHERE seq = $1 AND body IS NOT NULL "
  .. "AND state <> 'new' AND state <> 'pending'"
local PURGE_EVENT = "UPDATE events SET data = NULL, previous = NULL, claims = NULL "
  .. "WHERE seq = $1 AND open = 0"
local PURGE_INVOICE = "UPDATE invoices SET data = NULL WHERE lane = $1 AND closed_at IS NOT NULL"

local function purge_delivery(query, _, seq)
  local _, done = query(PURGE_DELIVERY, seq)
  return done
end

local function purge_event(query, _, seq)
  local _, done = query(PURGE_EVENT, seq)
  if done == 0 then return 0 end
  query("DELETE FROM results WHERE seq = $1", seq)
  query("UPDATE marks SET message = NULL WHERE seq = $1", seq)
  return 1
end

local HAS_BODY = "body IS NOT NULL AND state <> 'new' AND state <> 'pending'"
local HAS_DATA = "open = 0 AND (data IS NOT NULL OR previous IS NOT NULL OR claims IS NOT NULL)"

-- Steps one after the other: how many rows they have changed altogether. What is deleted must not
-- stay in the log.
local function all_of(self, steps)
  local all = 0
  for _, step in ipairs(steps) do
    local n, why = filters.each_batch(self, unpack(step, 1, 5))
    if not n then return nil, why end
    all = all + n
  end
  if all > 0 and self.dialect.tidy and self.db then self.dialect:tidy(self.db) end
  return all
end

function Admin:purge(filter)
  filters.check("events", filter)
  local steps = { { "events", filter, HAS_DATA, nil, purge_event } }
  if not filter.seqs and (not filter.state or filters.is_state("deliveries", filter.state)) then
    table.insert(steps, 1, { "deliveries", filter, HAS_BODY, nil, purge_delivery })
  end
  return all_of(self, steps)
end

-- of an invoice that was closed before a time, which comes last
local CLOSED = "%s AND EXISTS (SELECT 1 FROM invoices i WHERE i.account = %s.account "
  .. "AND i.invoice = %s.invoice AND i.closed_at < ?)"

-- A row of an id that the API does not know, of which nothing is waited for, nor runs.
local EMPTY = "known = 0 AND check_due IS NULL AND run_due IS NULL AND owner IS NULL "
  .. "AND (news_at IS NULL OR news_at < ?)"
local DROP = "DELETE FROM invoices WHERE lane = $1 AND " .. EMPTY:gsub("%?", "$2")
  .. " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.lane = invoices.lane AND e.open = 1)"
local DAY = 86400

---Forgets what closed invoices say (their amounts stay), and what came about them; and rows of ids
---that came to nothing.
---@param closed_before integer seconds ago that an invoice must have been closed
---@param anyway integer seconds ago: older bodies go whatever they are about
function Admin:forget(closed_before, anyway)
  return all_of(self, {
    { "deliveries", {}, CLOSED:format(HAS_BODY, "deliveries", "deliveries"), closed_before,
      purge_delivery },
    { "events", {}, CLOSED:format(HAS_DATA, "events", "events"), closed_before, purge_event },
    { "invoices", {}, "data IS NOT NULL AND closed_at < ?", closed_before,
      function(query, _, lane)
        local _, done = query(PURGE_INVOICE, lane)
        return done
      end },
    { "deliveries", { older_than = anyway }, HAS_BODY, nil, purge_delivery },
    { "events", { older_than = anyway }, HAS_DATA, nil, purge_event },
    { "invoices", {}, EMPTY, DAY, function(query, now, lane)
      local _, done = query(DROP, lane, filters.ago(now, DAY))
      return done
    end },
  })
end

-- --- counts ------------------------------------------------------------------

local function number(query, text, ...)
  return query("SELECT COUNT(*) AS n FROM " .. text, ...)[1].n
end

local function few(of, condition)
  return ("(SELECT 1 FROM %s WHERE %s LIMIT %d) AS few"):format(of, condition, DUE_MOST)
end

-- Nothing here takes longer the more is stored: each is counted by an index of few, up to 10,000.
function Admin:stats()
  return self:read(function(query, now)
    local oldest = query("SELECT created_at AS at FROM events WHERE open = 1 "
      .. "ORDER BY seq LIMIT 1")[1]
    return {
      incoming = number(query, few("deliveries", "state = 'new'")),
      checking = number(query, few("deliveries", "state = 'pending'")),
      pending = number(query, few("events", "open = 1")),
      dead = number(query, few("events", "state = 'dead'")),
      unhandled = number(query, few("events", "state = 'unhandled'")),
      leased = number(query, "invoices WHERE owner IS NOT NULL"),
      due = number(query, few("invoices", "owner IS NULL AND run_due IS NOT NULL "
        .. "AND run_due <= $1"), now),
      checks = number(query, few("invoices", "owner IS NULL AND check_due IS NOT NULL "
        .. "AND check_due <= $1"), now),
      oldest = oldest and math.max(0, now - oldest.at) / 1000,
      log_bytes = self.dialect.log_bytes and self.dialect:log_bytes(),
    }
  end)
end

return M

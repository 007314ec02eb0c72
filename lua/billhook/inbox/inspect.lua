-- inbox/inspect.lua: what operators do: look, count, run again, purge.

local admit = require "billhook.inbox.admit"
local counters = require "billhook.inbox.counters"
local rows = require "billhook.inbox.rows"

local M = {}

local Inspect = {}

local unpack = table.unpack or rawget(_G, "unpack")

local LIMIT = 100
local BATCH = 500 -- events a transaction; receivers commit in between
local DUE_MOST = 10000 -- stats count no further

local FILTERS = {
  -- not by the index of ids: all that it finds would have to be sorted
  account = "e.account || '' = ?",
  type = "e.type = ?",
  before = "e.seq < ?",
}

-- in the words of the indexes
local KEPT = "(e.state = 'bad' OR e.state = 'dead' OR e.state = 'unhandled') AND "
local STATES = {
  pending = "e.open = 1 AND e.state = 'pending'",
  done = "e.state = 'done'",
  dead = KEPT .. "e.state IN ('bad', 'dead')",
  unhandled = KEPT .. "e.state = 'unhandled'",
}

local AGE_MOST = 1e10 -- seconds: 300 years, and far from where an integer ends

local function is_text(value)
  return type(value) == "string", "must be a string"
end

-- below zero: a moment that is still to come
local function is_age(value)
  return type(value) == "number" and value >= -AGE_MOST and value <= AGE_MOST,
    "must be seconds, up to 1e10"
end

local function is_count(value)
  return type(value) == "number" and value >= 1 and value <= 2 ^ 31 and value % 1 == 0,
    "must be a whole number of at least 1"
end

local CHECKS = {
  account = is_text, type = is_text, id = is_text, invoice = is_text, limit = is_count,
  older_than = is_age, newer_than = is_age,
  before = function(value)
    return type(value) == "number" and value % 1 == 0, "must be a whole number"
  end,
  contested = function(value) return type(value) == "boolean", "must be true or false" end,
  state = function(value)
    return STATES[value] ~= nil, "must be pending, done, dead or unhandled"
  end,
}

-- A filter decides what is deleted: one that is none must not mean "everything".
local function check(filter)
  for name, value in pairs(filter) do
    if not CHECKS[name] then
      error(("unknown field '%s' of a filter"):format(tostring(name)), 0)
    end
    local fine, why = CHECKS[name](value)
    if not fine then error(("field '%s' of a filter %s"):format(name, why), 0) end
  end
end

-- few: a counter tells of each that has an event
local ACCOUNTS = "SELECT DISTINCT SUBSTR(name, 7) AS account FROM counters "
  .. "WHERE name > 'event ' AND name < 'event!'"

local LANE = "SELECT lane FROM lanes WHERE account = $1 AND name = $2"

-- By the lanes of an invoice, which an index finds one by one: a planner that knows little of the
-- table would rather go through all of an account.
local function of_invoice(query, invoice, account)
  local lanes = {}
  for _, row in ipairs(account and { { account = account } } or query(ACCOUNTS)) do
    for _, name in ipairs { invoice, rows.hearsay_of(invoice) } do
      local lane = query(LANE, row.account, name)[1]
      lanes[#lanes + 1] = lane and ("%d"):format(lane.lane)
    end
  end
  if #lanes == 0 then return "1 = 0" end
  return "e.lane IN (" .. table.concat(lanes, ", ") .. ")"
end

local function ago(now, seconds) return now - math.floor(seconds * 1000) end

-- The condition of a filter and its values; `clause(text, ...)` adds more.
local function conditions(query, filter, now)
  local parts, values = { "1 = 1" }, {}
  local function clause(text, ...)
    for _, value in ipairs { ... } do
      values[#values + 1] = value
      text = text:gsub("%?", "$" .. #values, 1)
    end
    parts[#parts + 1] = text
  end
  for name, text in pairs(FILTERS) do
    if filter[name] then clause(text, filter[name]) end
  end
  if filter.id then
    local account, id = filter.id:match("^([^:]*):(.*)$")
    clause("e.account = ? AND e.id = ?", account or "", id or "")
  end
  if filter.invoice then clause(of_invoice(query, filter.invoice, filter.account)) end
  if filter.state then clause(STATES[filter.state]) end
  if filter.contested then clause("e.contested > 0") end
  if filter.older_than then clause("e.received_at < ?", ago(now, filter.older_than)) end
  if filter.newer_than then clause("e.received_at >= ?", ago(now, filter.newer_than)) end
  return parts, values, clause
end

-- What an index finds few of is sorted: else a planner that does not know how few goes through all
-- events from the newest, looking for them.
local function order(filter, column)
  local few = filter.id or filter.invoice or filter.contested or filter.state == "dead"
  return few and column .. " + 0" or column
end

local function where(parts, filter, limit)
  return " WHERE " .. table.concat(parts, " AND ") .. " ORDER BY " .. order(filter, "e.seq")
    .. " DESC LIMIT " .. ("%d"):format(limit)
end

function Inspect:list(filter)
  filter = filter or {}
  check(filter)
  return self:read(function(query, now)
    local parts, values = conditions(query, filter, now)
    local text = where(parts, filter, filter.limit or LIMIT)
    local events = query("SELECT e.* FROM events e" .. text, unpack(values))
    for i, row in ipairs(events) do events[i] = rows.event(row) end
    return events
  end)
end

function Inspect:show(id)
  return self:read(function(query, now)
    local filter = { id = id }
    local parts, values = conditions(query, filter, now)
    local row = query("SELECT e.*, b.body, b.under FROM events e "
      .. "LEFT JOIN bodies b ON b.seq = e.seq" .. where(parts, filter, 1), unpack(values))[1]
    if not row then return false end
    local event = rows.event(row)
    for _, mark in ipairs(query("SELECT * FROM marks WHERE seq = $1", row.seq)) do
      event.marks[mark.rule] = rows.mark(mark, now)
    end
    event.evidence = query("SELECT digest, body, trust FROM evidence WHERE seq = $1", row.seq)[1]
    return event
  end)
end

-- --- events one batch after the other ------------------------------------------

local SOME = "SELECT b.seq, e.lane FROM bodies b JOIN events e ON e.seq = b.seq WHERE %s "
  .. "ORDER BY %s LIMIT %d"

-- Does something with all events of a filter that have a body and for which `extra` holds:
-- fn(query, now, rows, tally) gives how many it was done with. They are looked for without a lock,
-- and changed a few in a transaction, in the order of their admission.
local function each_batch(self, filter, extra, fn)
  check(filter)
  local all, last, left, top = 0, 0, filter.limit or math.huge, nil
  while left > 0 do
    local found, why = self:read(function(query, now)
      -- what comes from now on is for the next time: it may come faster than this goes
      top = top or query("SELECT MAX(seq) AS top FROM bodies")[1].top or 0
      local parts, values, clause = conditions(query, filter, now)
      clause(extra)
      clause("b.seq > ?", last)
      clause("b.seq <= ?", top)
      return query(SOME:format(table.concat(parts, " AND "), order(filter, "b.seq"),
        math.min(BATCH, left)), unpack(values))
    end)
    if not found then return nil, why end
    if #found == 0 then break end
    local done
    done, why = self:write(function(query, now)
      local tally = counters.tally()
      local n = fn(query, now, found, tally)
      tally:write(self.dialect, query)
      return n
    end)
    if not done then return nil, why end
    all, last, left = all + done, found[#found].seq, left - #found
  end
  return all
end

-- --- run again -------------------------------------------------------------

local REOPEN = "UPDATE events SET state = 'pending', open = 1, finished_at = NULL, left_over = $1, "
  .. "rules = $2, lane = $3, note = NULL WHERE seq = $4"

local function count(rules)
  local n = 0
  for _ in rules:gmatch("[^\n]+") do n = n + 1 end
  return n
end

-- What is due now although nothing has come into the lane; its worker looks again too.
local HURRY = "UPDATE lanes SET due = CASE WHEN owner IS NULL THEN $1 ELSE due END, stirred = 1 "
  .. "WHERE lane = $2"

-- What waits for its next run does not have to any longer.
local function hurry(query, now, row)
  local _, waiting = query("UPDATE marks SET due = $1 WHERE seq = $2 AND state = 'waiting'", now,
    row.seq)
  if waiting == 0 then return 0 end
  query(HURRY, now, row.lane)
  return 1
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

-- Locked: a lane of one event goes when it is given back.
local function lane_of(self, query, row, now)
  local lane = row.lane
    and query(self.dialect.locking("SELECT lane FROM lanes WHERE lane = $1"), row.lane)[1]
  if not lane then return admit.lane(self, query, row, row.seq, now) end
  query(HURRY, now, row.lane)
  return row.lane
end

local function replay(self, query, now, seq, names, tally)
  local row = query(self.dialect.locking("SELECT * FROM events WHERE seq = $1"), seq)[1]
  if not row then return 0 end
  if row.open == 1 then return hurry(query, now, row) end
  -- it may have been purged meanwhile
  if not query("SELECT 1 AS one FROM bodies WHERE seq = $1", seq)[1] then return 0 end
  local left, rules = rules_again(query, row, names)
  if left == 0 then return 0 end
  query(REOPEN, left, rules, lane_of(self, query, row, now), seq)
  tally:state(row.account, row.state, -1)
  tally:state(row.account, "pending", 1)
  return 1
end

function Inspect:replay(filter, names)
  return each_batch(self, filter, "1 = 1", function(query, now, found, tally)
    local again, lanes = 0, {}
    for _, row in ipairs(found) do lanes[#lanes + 1] = row.lane end
    self.dialect.hold(query, lanes) -- before events, as everybody does
    for _, row in ipairs(found) do
      again = again + replay(self, query, now, row.seq, names, tally)
    end
    return again
  end)
end

-- --- retention --------------------------------------------------------------

-- Bodies, evidence, the results of steps and error texts are a person's data; ids are kept.
local function forget(self, query, seq)
  local event = query(self.dialect.locking("SELECT open FROM events WHERE seq = $1"), seq)[1]
  -- it may have been replayed meanwhile
  if not event or event.open == 1 then return 0 end
  query("DELETE FROM bodies WHERE seq = $1", seq)
  query("DELETE FROM evidence WHERE seq = $1", seq)
  query("DELETE FROM steps WHERE seq = $1", seq)
  query("UPDATE marks SET message = NULL WHERE seq = $1", seq)
  return 1
end

function Inspect:purge(filter)
  return each_batch(self, filter, "e.open = 0", function(query, _, found)
    local purged = 0
    for _, row in ipairs(found) do purged = purged + forget(self, query, row.seq) end
    return purged
  end)
end

-- --- counts ------------------------------------------------------------------

local function number(query, text, ...)
  return query("SELECT COUNT(*) AS n FROM " .. text, ...)[1].n
end

local DUE = ("(SELECT 1 FROM lanes WHERE due <= $1 AND owner IS NULL LIMIT %d) AS few")
  :format(DUE_MOST)

-- Nothing here takes longer the more is stored.
function Inspect:stats()
  return self:read(function(query, now)
    local oldest = query("SELECT received_at AS at FROM events WHERE open = 1 "
      .. "ORDER BY seq LIMIT 1")[1]
    local stats = {
      pending = 0, done = 0, dead = 0, unhandled = 0, contested = 0,
      leased = number(query, "lanes WHERE owner IS NOT NULL"),
      due = number(query, DUE, now),
      oldest = oldest and math.max(0, now - oldest.at) / 1000,
    }
    for _, states in pairs(counters.states(counters.sums(query))) do
      for state, n in pairs(states) do stats[state] = stats[state] + n end
    end
    return stats
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Inspect) do Store[name] = method end
end

return M

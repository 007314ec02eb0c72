-- inbox/lanes.lua: claiming lanes, holding on to them and giving them back.
--
-- A lane notes which run is about to begin in it. Where its worker is gone
-- before it has said what became of that run, the run counts as one that failed.

local clock = require "billhook.inbox.clock"
local rows = require "billhook.inbox.rows"
local steps = require "billhook.inbox.steps"

local M = {}

local Lanes = {}

local CONTENT = [[
SELECT e.*, b.body, b.under FROM events e LEFT JOIN bodies b ON b.seq = e.seq
WHERE e.lane = $1 AND e.open = 1 AND e.seq > $2 ORDER BY e.seq LIMIT $3]]

local MARKS = [[
SELECT m.* FROM marks m JOIN events e ON e.seq = m.seq
WHERE e.lane = $1 AND e.open = 1 AND e.seq > $2 AND e.seq <= $3]]

local function load(query, now, lane, after, page)
  local events, by_seq = {}, {}
  for i, row in ipairs(query(CONTENT, lane, after, page)) do
    events[i] = rows.event(row)
    by_seq[row.seq] = events[i]
  end
  if #events > 0 then
    for _, row in ipairs(query(MARKS, lane, after, events[#events].seq)) do
      local event = by_seq[row.seq]
      event.marks[row.rule] = rows.mark(row, now)
    end
  end
  return events, #events == page
end

-- Owners whose process is known to be gone, and who asks, where it holds nothing that it knows of.
-- There are never many owners.
local function departed(self, query, want)
  local gone = {}
  for _, row in ipairs(query("SELECT DISTINCT owner FROM lanes WHERE owner IS NOT NULL")) do
    local left = want.fresh
    if row.owner ~= want.owner then left = self.dialect.departed(row.owner) end
    if left then gone[#gone + 1] = row.owner end
  end
  return gone
end

-- Cheap, without a lock: may there be anything to claim?
local function promising(self, want)
  return self:read(function(query, now, noted)
    if clock.jumped(now, noted) then return { true } end
    if query("SELECT 1 AS one FROM lanes WHERE due <= $1 LIMIT 1", now)[1] then return { true } end
    return { #departed(self, query, want) > 0 }
  end)
end

-- --- runs that did not come to their end -----------------------------------------

local LOST = "its process ended, or its lease did, and nothing was heard of this run"
local FREE = 3 -- runs lost that are repeated at once: a process may be killed for other reasons

local COUNT_LOST = [[
INSERT INTO marks (seq, rule, state, attempts, due, failed_at, marked_at, message)
VALUES ($1, $2, 'waiting', 1, $3, $4, $5, $6)
ON CONFLICT (seq, rule) DO UPDATE SET attempts = marks.attempts + 1, due = excluded.due,
  failed_at = COALESCE(marks.failed_at, excluded.failed_at), marked_at = excluded.marked_at,
  message = excluded.message
WHERE marks.state = 'waiting' RETURNING attempts]]

-- `row` is a lane that was taken from its worker.
local function count_lost(query, now, row, backoff)
  if not row.running then return end
  local event = query("SELECT open FROM events WHERE seq = $1", row.running)[1]
  if not event or event.open == 0 then return end
  local holds = not rows.hearsay(row.name) and now or nil
  local mark = query(COUNT_LOST, row.running, row.rule, now, holds, now, LOST)[1]
  if not mark or mark.attempts <= FREE or not backoff then return end
  local wait = math.min(backoff.cap, backoff.base * 2 ^ math.min(mark.attempts - FREE - 1, 40))
  query("UPDATE marks SET due = $1 WHERE seq = $2 AND rule = $3", now + math.floor(wait),
    row.running, row.rule)
end

local OWNED = "SELECT lane, name, running, rule FROM lanes WHERE owner = $1 ORDER BY due, lane"

local function ran(owned)
  for _, row in ipairs(owned) do if row.running then return true end end
end

-- What dead processes have held is due now. The lane in which one died comes behind what is due
-- already; the others keep their turn and order. With many runs that end their process, those
-- before it would put a lane back again and again, and it would never come to its own.
local function take_over(self, query, now, want)
  for _, gone in ipairs(departed(self, query, want)) do
    local owned = query(self.dialect.locking(OWNED, "skip"), gone)
    local turn = ran(owned)
    for i, row in ipairs(owned) do
      count_lost(query, now, row, want.backoff)
      query("UPDATE lanes SET owner = NULL, running = NULL, due = $1 WHERE lane = $2",
        row.running and now + 1 or turn and i or now, row.lane)
    end
  end
end

-- --- claiming ---------------------------------------------------------------------

local DUE = "SELECT lane, name, owner, running, rule FROM lanes WHERE due <= $1 "
  .. "ORDER BY due, lane LIMIT $2"

local HOLD = "UPDATE lanes SET owner = $1, due = $2, token = $3, stirred = 0, running = NULL "
  .. "WHERE lane = $4"

local RUNNING = "UPDATE lanes SET running = $1, rule = $2, began = $3 "
  .. "WHERE lane = $4 AND token = $5 AND owner IS NOT NULL"

---Notes which run is about to begin; for this folder only.
function M.running(query, now, token, run)
  local _, held = query(RUNNING, run.seq, run.rule, now, run.lane, token)
  return held == 1
end

---Notes that no run is under way in a lane; for this folder only.
function M.rest(query, lane)
  query("UPDATE lanes SET running = NULL WHERE lane = $1", lane)
end

-- A claimed lane as it is given to its worker. Its lease ends `i` ms late: the lanes of one claim
-- keep their order by that.
local function hold(query, now, want, lane, name, token, i)
  query(HOLD, want.owner, now + math.floor(want.lease * 1000) + i, token, lane)
  local events, more = load(query, now, lane, 0, want.page or 32)
  return { lane = lane, token = token, events = events, more = more,
    hearsay = rows.hearsay(name) ~= nil or nil }
end

-- Of several lanes the first run is known by now, where all that is before it is.
local function note_first(query, now, want, lanes)
  if not want.hold then return end
  for _, lane in ipairs(lanes) do
    local row, name = steps.next(steps.start(lane), want.hold)
    if row then
      lane.first = { lane = lane.lane, seq = row.seq, rule = name }
      M.running(query, now, lane.token, lane.first)
      return
    end
    if lane.more then return end
  end
end

function Lanes:claim(want)
  local look, why = promising(self, want)
  if not look then return nil, why end
  if not look[1] then return {} end
  return self:write(function(query, now)
    take_over(self, query, now, want)
    local lanes = query(self.dialect.locking(DUE, "skip"), now + 1, want.limit or 1)
    if #lanes == 0 then return lanes end
    -- the number of this claim, never the same again: the token of all its lanes
    local token = self.dialect.token(query)
    for i, row in ipairs(lanes) do
      if row.owner then count_lost(query, now, row, want.backoff) end
      lanes[i] = hold(query, now, want, row.lane, row.name, token, i - 1)
    end
    note_first(query, now, want, lanes)
    return lanes
  end)
end

function Lanes:begin(token, run)
  return self:write(function(query, now) return M.running(query, now, token, run) end)
end

function Lanes:more(lane, token, seq, page)
  return self:read(function(query, now)
    if not query("SELECT 1 AS one FROM lanes WHERE lane = $1 AND token = $2 AND owner IS NOT NULL",
      lane, token)[1] then return false end
    local events, more = load(query, now, lane, seq, page or 32)
    return { events = events, more = more }
  end)
end

function Lanes:renew(lane, token, lease)
  return self:write(function(query, now)
    return query("UPDATE lanes SET due = $1 WHERE lane = $2 AND token = $3 AND owner IS NOT NULL "
      .. "RETURNING lane", now + math.floor(lease * 1000), lane, token)[1] ~= nil
  end)
end

local UNDER_WAY = [[
SELECT l.lane, l.token, l.owner, l.running AS seq, l.rule, l.began, e.account, e.id
FROM lanes l JOIN events e ON e.seq = l.running
WHERE l.owner IS NOT NULL AND l.running IS NOT NULL AND e.open = 1 AND NOT EXISTS (SELECT 1
  FROM marks m WHERE m.seq = l.running AND m.rule = l.rule AND m.state <> 'waiting')]]

function Lanes:running()
  return self:read(function(query, now)
    local runs = query(UNDER_WAY)
    for _, run in ipairs(runs) do
      run.id = run.account .. ":" .. run.id
      run.seconds = math.max(0, now - (run.began or now)) / 1000
      run.account, run.began = nil, nil
    end
    return runs
  end)
end

local RELEASE = [[
UPDATE lanes SET owner = NULL, running = NULL, stirred = 0,
  due = CASE WHEN stirred = 1 OR EXISTS (SELECT 1 FROM events e
    WHERE e.lane = lanes.lane AND e.open = 1 AND e.seq > $1)
  THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END
WHERE lane = $4 AND token = $5 AND owner IS NOT NULL RETURNING name, due]]

function Lanes:release(lanes)
  return self:write(function(query, now)
    local released, numbers = 0, {}
    for i, one in ipairs(lanes) do numbers[i] = one.lane end
    -- what is admitted meanwhile must be seen
    self.dialect.hold(query, numbers)
    for _, one in ipairs(lanes) do
      local due = one.after and now + math.max(0, math.floor(one.after))
      local row = query(RELEASE, one.seen or 0, now, due, one.lane, one.token)[1]
      if row then
        released = released + 1
        -- the lane of a single event has done its work
        if not row.due and row.name:sub(1, 1) == "#" then
          query("DELETE FROM lanes WHERE lane = $1", one.lane)
        end
      end
    end
    return released
  end)
end

-- --- from hearsay to an invoice's lane ---------------------------------------------

local STIR = "UPDATE lanes SET stirred = 1 WHERE lane = $1"

-- All of it goes on in the other lane. Rules that ask for proof have waited for this: they are due.
local function move(query, now, from, to, asking)
  for _, rule in ipairs(asking or {}) do
    query("UPDATE marks SET due = $1 WHERE state = 'waiting' AND rule = $2 AND seq IN "
      .. "(SELECT e.seq FROM events e WHERE e.lane = $3 AND e.open = 1)", now, rule, from)
  end
  query("UPDATE events SET lane = $1 WHERE lane = $2 AND open = 1", to, from)
  query("UPDATE lanes SET owner = NULL, due = NULL, running = NULL, stirred = 0 WHERE lane = $1",
    from)
end

local ITS_LANE = "SELECT account, name FROM lanes WHERE lane = $1 AND token = $2 "
  .. "AND owner IS NOT NULL"

function Lanes:join(lane, token, want)
  return self:write(function(query, now)
    local from = query(ITS_LANE, lane, token)[1]
    local invoice = from and rows.hearsay(from.name)
    if not invoice then return false end
    -- no event has that number
    query("INSERT INTO lanes (lane, account, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
      -lane, from.account, invoice)
    local to = "SELECT lane, owner FROM lanes WHERE account = $1 AND name = $2"
    self.dialect.hold(query, { lane, query(to, from.account, invoice)[1].lane })
    if not query(ITS_LANE, lane, token)[1] then return false end
    to = query(to, from.account, invoice)[1]
    move(query, now, lane, to.lane, want.asking)
    if to.owner then
      query(STIR, to.lane)
      return {}
    end
    local held = hold(query, now, want, to.lane, invoice, token, 0)
    note_first(query, now, want, { held })
    return held
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Lanes) do Store[name] = method end
end

return M

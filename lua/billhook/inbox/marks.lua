-- inbox/marks.lua: how far each rule is with an event, and the texts that are
-- kept: results of steps, cursors. A mark counts only while its lane is held
-- under the token that it comes with.

local counters = require "billhook.inbox.counters"
local err = require "billhook.error"
local lanes = require "billhook.inbox.lanes"
local log = require "billhook.log"

local M = {}

local MESSAGE_LIMIT = 2000 -- bytes of a rule's error that are kept

local Marks = {}

local HELD = "SELECT lane FROM lanes WHERE lane = (SELECT e.lane FROM events e WHERE e.seq = $1) "
  .. "AND token = $2 AND owner IS NOT NULL"

local BOTH = "SELECT lane, token, owner, (SELECT e.lane FROM events e WHERE e.seq = $1) AS its "
  .. "FROM lanes WHERE lane IN ((SELECT e.lane FROM events e WHERE e.seq = $2), $3) "
  .. "ORDER BY account, name"

-- The lane of the event, where it is held under this token. Where there are several writers, the
-- lane of the next run is locked with it: lanes come in one order, and before everything else.
local function fenced(self, query, token, seq, following)
  if not (following and self.dialect.alone) then
    local row = query(self.dialect.locking(HELD, "share"), seq, token)[1]
    return row and row.lane
  end
  for _, row in ipairs(query(self.dialect.locking(BOTH), seq, seq, following.lane)) do
    if row.lane == row.its and row.token == token and row.owner then return row.lane end
  end
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
  finished_at = CASE WHEN left_over = 1 THEN CAST($1 AS BIGINT) END,
  open = CASE WHEN left_over > 1 THEN 1 ELSE 0 END,
  state = CASE WHEN left_over > 1 THEN state
    WHEN EXISTS (SELECT 1 FROM marks m WHERE m.seq = events.seq AND m.state = 'dead') THEN 'dead'
    ELSE 'done' END
WHERE seq = $2 RETURNING account, open, state]]

-- Counters come last: many transactions want the same ones.
local function count(self, query, event)
  local tally = counters.tally()
  if event.open == 0 then tally:state(event.account, event.state, 1) end
  tally:write(self.dialect, query)
end

-- What has become of a run, and which one begins next.
local function mark(self, token, seq, rule, state, how)
  return self:write(function(query, now)
    local lane = fenced(self, query, token, seq, how.next)
    if not lane then return false end
    local due = how.delay and now + math.floor(how.delay)
    local failed_at = state ~= "done" and how.holds ~= false and now or nil
    local _, fresh = query(MARK, seq, rule, state, how.lost and 0 or 1, due, failed_at, now,
      how.message and log.text(how.message, MESSAGE_LIMIT))
    local closed = fresh == 1 and state ~= "waiting" and query(CLOSE, now, seq)[1]
    -- a note of a run that is done does no harm, one that will be repeated would count again
    if state == "waiting" and (how.next or {}).lane ~= lane then lanes.rest(query, lane) end
    if how.next then lanes.running(query, now, token, how.next) end
    if closed then count(self, query, closed) end
    return true
  end)
end

local function with(how, fields)
  for name, value in pairs(how or {}) do fields[name] = value end
  return fields
end

function Marks:done(token, seq, rule, how)
  return mark(self, token, seq, rule, "done", how or {})
end

function Marks:retry(token, seq, rule, delay, message, how)
  return mark(self, token, seq, rule, "waiting", with(how, { delay = delay, message = message }))
end

function Marks:dead(token, seq, rule, message, how)
  if rule then return mark(self, token, seq, rule, "dead", with(how, { message = message })) end
  return self:write(function(query, now)
    if not fenced(self, query, token, seq, how and how.next) then return false end
    query("UPDATE events SET state = 'dead', open = 0, finished_at = $1 WHERE seq = $2", now, seq)
    query("DELETE FROM marks WHERE seq = $1 AND rule = ''", seq)
    if how and how.next then lanes.running(query, now, token, how.next) end
    return true
  end)
end

local STEP = "SELECT value FROM steps WHERE seq = $1 AND rule = $2 AND name = $3"

-- Who has lost the lane meanwhile must not begin what another may be doing.
local function look(self, seq, rule, name, token)
  local found, why = self:read(function(query)
    if token and not query(HELD, seq, token)[1] then return {} end
    local row = query(STEP, seq, rule, name)[1]
    return { text = row and row.value or false }
  end)
  if not found then return nil, why end
  if found.text ~= nil then return found.text end
  return nil, err.new { kind = "store", code = "LANE_LOST", retryable = true,
    message = "the lane was lost: another worker has it" }
end

function Marks:step(seq, rule, name, text, token)
  if text == nil then return look(self, seq, rule, name, token) end
  return self:write(function(query)
    query("INSERT INTO steps (seq, rule, name, value) VALUES ($1, $2, $3, $4) "
      .. "ON CONFLICT DO NOTHING", seq, rule, name, text)
    return query(STEP, seq, rule, name)[1].value
  end)
end

function Marks:get(name)
  return self:read(function(query)
    local row = query("SELECT value FROM meta WHERE name = $1", "my " .. name)[1]
    return row and row.value or false
  end)
end

function Marks:set(name, text)
  return self:write(function(query)
    query("INSERT INTO meta (name, value) VALUES ($1, $2) "
      .. "ON CONFLICT (name) DO UPDATE SET value = excluded.value", "my " .. name, text)
    return true
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Marks) do Store[name] = method end
end

return M

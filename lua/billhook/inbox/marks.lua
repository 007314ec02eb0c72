-- inbox/marks.lua: how far each rule is with an event, and the texts that are
-- kept: results of steps, cursors. A mark counts only while its lane is held
-- under the token that it comes with.

local M = {}

local MESSAGE_LIMIT = 2000 -- bytes of a rule's error that are kept

local Marks = {}

local HELD = "SELECT l.lane FROM events e JOIN lanes l ON l.lane = e.lane "
  .. "WHERE e.seq = $1 AND l.token = $2 AND l.owner IS NOT NULL"

local function fenced(self, query, token, seq)
  return query(self.dialect.locking(HELD, "share"), seq, token)[1] ~= nil
end

local MARK = [[
INSERT INTO marks (seq, rule, state, attempts, due, failed_at, marked_at, message)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7)
ON CONFLICT (seq, rule) DO UPDATE SET state = excluded.state, attempts = marks.attempts + 1,
  due = excluded.due, failed_at = COALESCE(marks.failed_at, excluded.failed_at),
  marked_at = excluded.marked_at, message = excluded.message
WHERE marks.state = 'waiting']]

-- The last rule that finishes closes the event.
local CLOSE = [[
UPDATE events SET left_over = left_over - 1, finished_at = CASE WHEN left_over = 1 THEN $1 END,
  open = CASE WHEN left_over > 1 THEN 1 ELSE 0 END,
  state = CASE WHEN left_over > 1 THEN state
    WHEN EXISTS (SELECT 1 FROM marks m WHERE m.seq = events.seq AND m.state = 'dead') THEN 'dead'
    ELSE 'done' END
WHERE seq = $2]]

local function mark(self, token, seq, rule, state, delay, message)
  return self:write(function(query, now)
    if not fenced(self, query, token, seq) then return false end
    local _, fresh = query(MARK, seq, rule, state, delay and now + math.floor(delay),
      state ~= "done" and now or nil, now, message and message:sub(1, MESSAGE_LIMIT))
    if fresh == 1 and state ~= "waiting" then query(CLOSE, now, seq) end
    return true
  end)
end

function Marks:done(token, seq, rule)
  return mark(self, token, seq, rule, "done")
end

function Marks:retry(token, seq, rule, delay, message)
  return mark(self, token, seq, rule, "waiting", delay, message)
end

function Marks:dead(token, seq, rule, message)
  if rule then return mark(self, token, seq, rule, "dead", nil, message) end
  return self:write(function(query, now)
    if not fenced(self, query, token, seq) then return false end
    query("UPDATE events SET state = 'dead', open = 0, finished_at = $1 WHERE seq = $2", now, seq)
    return true
  end)
end

function Marks:step(seq, rule, name, text)
  local read = "SELECT value FROM steps WHERE seq = $1 AND rule = $2 AND name = $3"
  if text == nil then
    return self:read(function(query)
      local row = query(read, seq, rule, name)[1]
      return row and row.value or false
    end)
  end
  return self:write(function(query)
    query("INSERT INTO steps (seq, rule, name, value) VALUES ($1, $2, $3, $4) "
      .. "ON CONFLICT DO NOTHING", seq, rule, name, text)
    return query(read, seq, rule, name)[1].value
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

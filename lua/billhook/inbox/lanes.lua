-- inbox/lanes.lua: claiming lanes, holding on to them and giving them back.

local clock = require "billhook.inbox.clock"
local rows = require "billhook.inbox.rows"

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

-- Owners whose process is known to be gone. There are never many owners.
local function departed(self, query, me)
  local gone = {}
  for _, row in ipairs(query("SELECT DISTINCT owner FROM lanes WHERE owner IS NOT NULL")) do
    if row.owner ~= me and self.dialect.departed(row.owner) then gone[#gone + 1] = row.owner end
  end
  return gone
end

-- Cheap, without a lock: may there be anything to claim?
local function promising(self, me)
  return self:read(function(query, now)
    if clock.jumped(query, now) then return { true } end
    if query("SELECT 1 AS one FROM lanes WHERE due <= $1 LIMIT 1", now)[1] then return { true } end
    return { #departed(self, query, me) > 0 }
  end)
end

-- The number of this claim, never the same again: the token of all its lanes.
local TOKEN = [[
INSERT INTO meta (name, value) VALUES ('token', '1') ON CONFLICT (name) DO UPDATE
SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) RETURNING value]]

local DUE = "SELECT lane FROM lanes WHERE due <= $1 ORDER BY due, lane LIMIT $2"

local HOLD = "UPDATE lanes SET owner = $1, due = $2, token = $3 WHERE lane = $4"

function Lanes:claim(want)
  local look, why = promising(self, want.owner)
  if not look then return nil, why end
  if not look[1] then return {} end
  return self:write(function(query, now)
    for _, gone in ipairs(departed(self, query, want.owner)) do
      query("UPDATE lanes SET owner = NULL, due = $1 WHERE owner = $2", now, gone)
    end
    local lanes = query(self.dialect.locking(DUE, "skip"), now, want.limit or 1)
    if #lanes == 0 then return lanes end
    local token = tonumber(query(TOKEN)[1].value)
    local till = now + math.floor(want.lease * 1000)
    for i, row in ipairs(lanes) do
      query(HOLD, want.owner, till, token, row.lane)
      local events, more = load(query, now, row.lane, 0, want.page or 32)
      lanes[i] = { lane = row.lane, token = token, events = events, more = more }
    end
    return lanes
  end)
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

local RELEASE = [[
UPDATE lanes SET owner = NULL, due = CASE WHEN EXISTS (SELECT 1 FROM events e
  WHERE e.lane = lanes.lane AND e.open = 1 AND e.seq > $1)
  THEN $2 ELSE $3 END
WHERE lane = $4 AND token = $5 AND owner IS NOT NULL RETURNING name, due]]

function Lanes:release(lanes)
  return self:write(function(query, now)
    local released = 0
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

---@param Store table
function M.extend(Store)
  for name, method in pairs(Lanes) do Store[name] = method end
end

return M

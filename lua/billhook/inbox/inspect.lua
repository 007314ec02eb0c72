-- inbox/inspect.lua: what operators do: look, count, run again, purge.

local admit = require "billhook.inbox.admit"
local rows = require "billhook.inbox.rows"

local M = {}

local Inspect = {}

local LIMIT = 100
local PURGE_BATCH = 1000 -- a transaction; receivers commit in between

local FILTERS = {
  account = "e.account = ?",
  type = "e.type = ?",
  before = "e.seq < ?",
}

local STATES = {
  pending = "e.state = 'pending'",
  done = "e.state = 'done'",
  dead = "e.state IN ('bad', 'dead')",
  unhandled = "e.state = 'unhandled'",
}

local OTHERS = {
  id = true, invoice = true, state = true, contested = true, older_than = true, newer_than = true,
  limit = true,
}

-- The condition of a filter and its values; `clause(text, ...)` adds more.
local function conditions(filter, now)
  local parts, values = { "1 = 1" }, {}
  local function clause(text, ...)
    for _, value in ipairs { ... } do
      values[#values + 1] = value
      text = text:gsub("%?", "$" .. #values, 1)
    end
    parts[#parts + 1] = text
  end
  for name, value in pairs(filter) do
    if FILTERS[name] then
      clause(FILTERS[name], value)
    elseif not OTHERS[name] then
      error("unknown field '" .. tostring(name) .. "' of a filter", 0)
    end
  end
  if filter.id then
    local account, id = tostring(filter.id):match("^([^:]*):(.*)$")
    clause("e.account = ? AND e.id = ?", account or "", id or "")
  end
  if filter.invoice and filter.account then -- by the index of lanes, then by that of their events
    clause("e.lane = (SELECT lane FROM lanes WHERE account = ? AND name = ?)", filter.account,
      filter.invoice)
  elseif filter.invoice then
    clause("e.lane IN (SELECT lane FROM lanes WHERE name = ?)", filter.invoice)
  end
  if filter.state then
    clause(STATES[filter.state] or error("unknown state '" .. tostring(filter.state) .. "'", 0))
  end
  if filter.contested then clause("e.contested > 0") end
  if filter.older_than then clause("e.received_at < ?", now - filter.older_than * 1000) end
  if filter.newer_than then clause("e.received_at >= ?", now - filter.newer_than * 1000) end
  return parts, values, clause
end

local function where(parts, values, limit)
  return " WHERE " .. table.concat(parts, " AND ") .. " ORDER BY e.seq DESC LIMIT "
    .. ("%d"):format(limit), values
end

local unpack = table.unpack or rawget(_G, "unpack")

function Inspect:list(filter)
  return self:read(function(query, now)
    local parts, values = conditions(filter or {}, now)
    local text = where(parts, values, filter and filter.limit or LIMIT)
    local events = query("SELECT e.* FROM events e" .. text, unpack(values))
    for i, row in ipairs(events) do events[i] = rows.event(row) end
    return events
  end)
end

function Inspect:show(id)
  return self:read(function(query, now)
    local parts, values = conditions({ id = id }, now)
    local row = query("SELECT e.*, b.body, b.under FROM events e "
      .. "LEFT JOIN bodies b ON b.seq = e.seq" .. where(parts, values, 1), unpack(values))[1]
    if not row then return false end
    local event = rows.event(row)
    for _, mark in ipairs(query("SELECT * FROM marks WHERE seq = $1", row.seq)) do
      event.marks[mark.rule] = rows.mark(mark, now)
    end
    event.evidence = query("SELECT digest, body, trust FROM evidence WHERE seq = $1", row.seq)[1]
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

-- A dead event runs its dead rules again, any other one all of them.
local function replay(self, query, now, row, names)
  local rules, left = row.rules
  if row.state == "dead" then
    left = #query("DELETE FROM marks WHERE seq = $1 AND state = 'dead' RETURNING rule", row.seq)
  else
    if row.state == "unhandled" and names then rules = table.concat(names[row.type] or {}, "\n") end
    query("DELETE FROM marks WHERE seq = $1", row.seq)
    left = count(rules)
  end
  if left == 0 then return 0 end
  local lane = admit.lane(self, query, row, row.seq, now)
  query(REOPEN, left, rules, lane, row.seq)
  return 1
end

function Inspect:replay(filter, names)
  return self:write(function(query, now)
    local parts, values, clause = conditions(filter, now)
    clause("e.open = 0")
    clause("EXISTS (SELECT 1 FROM bodies b WHERE b.seq = e.seq)")
    local found = query("SELECT e.* FROM events e"
      .. where(parts, values, filter.limit or 1000000), unpack(values))
    local again = 0
    for i = #found, 1, -1 do again = again + replay(self, query, now, found[i], names) end
    return again
  end)
end

-- --- retention --------------------------------------------------------------

-- Bodies, evidence, the results of steps and error texts are a person's data; ids are kept.
local function forget(query, seq)
  query("DELETE FROM bodies WHERE seq = $1", seq)
  query("DELETE FROM evidence WHERE seq = $1", seq)
  query("DELETE FROM steps WHERE seq = $1", seq)
  query("UPDATE marks SET message = NULL WHERE seq = $1", seq)
end

function Inspect:purge(filter)
  local purged = 0
  repeat
    local batch, why = self:write(function(query, now)
      local parts, values, clause = conditions(filter, now)
      clause("e.open = 0")
      local found = query("SELECT b.seq FROM bodies b JOIN events e ON e.seq = b.seq WHERE "
        .. table.concat(parts, " AND ") .. " ORDER BY b.seq LIMIT "
        .. ("%d"):format(PURGE_BATCH), unpack(values))
      for _, row in ipairs(found) do forget(query, row.seq) end
      return #found
    end)
    if not batch then return nil, why end
    purged = purged + batch
  until batch < PURGE_BATCH
  return purged
end

-- --- counts ------------------------------------------------------------------

local function number(query, text, ...)
  return query("SELECT COUNT(*) AS n FROM " .. text, ...)[1].n
end

-- in the words of the index
local KEPT = "events WHERE state IN ('bad', 'dead', 'unhandled') "

function Inspect:stats()
  return self:read(function(query, now)
    local oldest = query("SELECT received_at AS at FROM events WHERE open = 1 "
      .. "ORDER BY seq LIMIT 1")[1]
    return {
      pending = number(query, "events WHERE open = 1 AND state = 'pending'"),
      dead = number(query, KEPT .. "AND state <> 'unhandled'"),
      unhandled = number(query, KEPT .. "AND state = 'unhandled'"),
      contested = number(query, "events WHERE contested > 0"),
      leased = number(query, "lanes WHERE owner IS NOT NULL"),
      due = number(query, "lanes WHERE due <= $1 AND owner IS NULL", now),
      oldest = oldest and math.max(0, now - oldest.at) / 1000,
    }
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Inspect) do Store[name] = method end
end

return M

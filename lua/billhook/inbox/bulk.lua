-- inbox/bulk.lua: admitting a list in a few statements, for a database that is a round trip away.
--
-- What is new goes in by three statements, however long the list: which are known; the lanes, each
-- locked until the end; the events with their bodies. What is known already, or was admitted by
-- somebody else in between, is left to admit.lua, one by one.

local known_ones = require "billhook.inbox.known"
local refusal = require "billhook.inbox.refusal"

local M = {}

local KNOWN = [[
SELECT given.n, (SELECT e.seq FROM events e WHERE e.account = given.account AND e.id = given.id)
    AS by_id,
  -- a dead one may have to give its key away, and one that is not proven: admit.lua sees to that
  (SELECT e.seq FROM events e WHERE e.account = given.account AND e.key = given.key
    AND e.state <> 'dead' AND (given.proven = 0 OR e.trust IN ('body', 'api'))) AS by_key
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[])
  AS given (n, account, id, key, proven)]]

-- An upsert locks what it finds, and waits where another transaction has done so.
local LANES = [[
INSERT INTO lanes (lane, account, name, due)
SELECT nextval('numbers'), given.* FROM unnest($1::text[], $2::text[], $3::bigint[])
  AS given (account, name, due) ORDER BY account COLLATE "C", name COLLATE "C"
ON CONFLICT (account, name) DO UPDATE SET due = CASE
  WHEN lanes.owner IS NULL AND (lanes.due IS NULL OR lanes.due > excluded.due) THEN excluded.due
  ELSE lanes.due END
RETURNING lane, account, name]]

-- the columns of an event after its number, as admit.lua gives them, and those of its body
local COLUMNS = {
  { "account", "text" }, { "id", "text" }, { "key", "text" }, { "open", "bigint" },
  { "state", "text" }, { "left_over", "bigint" }, { "source", "text" }, { "vendor", "text" },
  { "type", "text" }, { "native", "text" }, { "invoice", "text" }, { "tenant", "text" },
  { "live", "bigint" }, { "trust", "text" }, { "digest", "text" }, { "occurred_at", "bigint" },
  { "received_at", "bigint" }, { "rules", "text" }, { "note", "text" },
}

-- Numbers in the order of the list, rows in the order of ids. What was made is found by counting,
-- not by a join: with the joins that read whole tables switched off, one of n rows with n rows
-- takes n * n steps.
local EVENTS = (function()
  local names, types = {}, {}
  for i, column in ipairs(COLUMNS) do
    names[i], types[i] = column[1], ("$%d::%s[]"):format(i + 4, column[2])
  end
  names, types = table.concat(names, ", "), table.concat(types, ", ")
  return ([[
WITH given AS (
  SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], TYPES)
    AS one (n, lane, body, under, NAMES) ORDER BY n),
numbered AS (SELECT nextval('numbers') AS seq, given.* FROM given),
made AS (
  INSERT INTO events (seq, lane, NAMES)
  SELECT seq, lane, NAMES FROM numbered ORDER BY account COLLATE "C", id COLLATE "C"
  ON CONFLICT DO NOTHING RETURNING seq), -- admit.lua finds out why
known AS (
  SELECT seq, max(n) AS n, (array_agg(body) FILTER (WHERE n IS NOT NULL))[1] AS body,
    max(under) AS under, count(*) > 1 AS made
  FROM (SELECT seq, n, body, under FROM numbered UNION ALL
    SELECT seq, NULL, NULL, NULL FROM made) AS one GROUP BY seq),
kept AS (INSERT INTO bodies (seq, body, under) SELECT seq, body, under FROM known WHERE made)
SELECT n, seq, made, (SELECT max(seq) FROM events) AS last FROM known]])
    :gsub("%f[%w]TYPES%f[%W]", types):gsub("%f[%w]NAMES%f[%W]", names)
end)()

-- What each event is to be admitted as; nil: it is none of what goes in here.
local function sort(query, events)
  local n, accounts, ids, keys, proven, as, seen = {}, {}, {}, {}, {}, {}, {}
  for i, event in ipairs(events) do
    n[i], accounts[i], ids[i], keys[i] = i, event.account, event.id, event.key or false
    proven[i] = known_ones.proven(event) and 1 or 0
  end
  local known = {}
  for _, row in ipairs(query(KNOWN, n, accounts, ids, keys, proven)) do known[row.n] = row end
  for i, event in ipairs(events) do
    local id = event.account .. "\n" .. event.id
    local key = event.key and event.account .. "\n\n" .. event.key
    local taken = key and (known[i].by_key or seen[key])
    if not known[i].by_id and not seen[id] then
      -- a doubtful one is not made, and so left to admit.lua under its number
      local other = taken and not (event.again and event.again.doubtful)
      if other then as[i] = event.again else as[i] = event end
    end
    if as[i] then
      seen[id] = true
      if key then seen[key] = true end
    end
  end
  return as
end

local function lanes_of(query, wanted)
  local accounts, names, dues, at = {}, {}, {}, {}
  for _, one in ipairs(wanted) do
    local name = one.account .. "\n" .. one.name
    if not at[name] then
      at[name] = #names + 1
      accounts[at[name]], names[at[name]], dues[at[name]] = one.account, one.name, false
    end
    dues[at[name]] = one.due or dues[at[name]]
  end
  local lanes = {}
  if #names == 0 then return lanes end
  for _, row in ipairs(query(LANES, accounts, names, dues)) do
    lanes[row.account .. "\n" .. row.name] = row.lane
  end
  return lanes
end

local function columns_of(fresh, lanes)
  local out = { {}, {}, {}, {} }
  for i = 1, #COLUMNS do out[i + 4] = {} end
  for j, one in ipairs(fresh) do
    local lane = one.lane and lanes[one.lane.account .. "\n" .. one.lane.name]
    out[1][j], out[2][j], out[3][j], out[4][j] = one.n, lane or false, one.body, one.under
    for i = 1, #COLUMNS do
      local value = one.columns[i]
      if value == nil then value = false end
      out[i + 4][j] = value
    end
  end
  return out
end

local unpack = table.unpack or rawget(_G, "unpack")

---For a number that is not higher than all that are there.
function M.reused()
  refusal.raise("NUMBERS", "the sequence 'numbers' is behind the tables: "
    .. "they were restored without its value, or somebody has set it back")
end

---Admits what is new. `describe(event, as, now)` gives the columns of an event, and its lane:
---{ account, name, due }, or nil.
---@param query fun(sql: string, ...): table
---@param events table[]
---@param now integer
---@param describe function
---@return table<integer, boolean> admitted by index, table<integer, integer> numbers of the others
function M.admit(query, events, now, describe)
  local fresh, wanted, admitted, numbers = {}, {}, {}, {}
  if #events == 0 then return admitted, numbers end
  local as = sort(query, events)
  for i, event in ipairs(events) do
    if as[i] then
      local columns, lane = describe(event, as[i], now)
      fresh[#fresh + 1] = { n = i, columns = columns, lane = lane, body = event.body,
        under = event.under and 1 or 0 }
      wanted[#wanted + 1] = lane
    end
  end
  if #fresh == 0 then return admitted, numbers end
  for _, row in ipairs(query(EVENTS, unpack(columns_of(fresh, lanes_of(query, wanted))))) do
    if row.seq <= (row.last or 0) then M.reused() end
    admitted[row.n], numbers[row.n] = row.made == 1, row.seq
  end
  return admitted, numbers
end

return M

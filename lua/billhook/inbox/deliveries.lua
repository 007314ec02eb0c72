-- inbox/deliveries.lua: the received deliveries. Storing one is a single upsert into one table. It
-- writes no row that another delivery also writes, so many can be stored concurrently.

local sql = require "billhook.inbox.sql"

local M = {}

local Store = sql.Store

local unpack = table.unpack or rawget(_G, "unpack")

local COLUMNS = { "account", "id", "again", "vendor", "type", "native", "invoice", "tenant", "live",
  "trust", "secret", "occurred_at", "reason", "body", "received_at" }

-- A duplicate is counted. Where the account can be read back, its invoice is looked at once more,
-- so that a vendor's "resend" works, also where it could not be read then; what is still waited for
-- needs no second look.
local COUNTED = ([[seen = deliveries.seen + 1, last_at = NOW,
  state = CASE WHEN RENEWED THEN 'new' ELSE deliveries.state END,
  reason = CASE WHEN RENEWED THEN NULL ELSE deliveries.reason END]]):gsub("RENEWED",
  "AGAIN = 1 AND deliveries.state IN ('done', 'unchanged', 'gone', 'dead')")

local LATEST = 1e12 -- seconds, 30,000 years: more is no time, and no integer in every database

local function values_of(one, now)
  local at = one.occurred_at
  at = at and at >= 0 and at < LATEST and math.floor(at * 1000) or nil
  return one.account, one.id, one.again and 1 or 0, one.vendor, one.type, one.native, one.invoice,
    one.tenant, one.live and 1 or 0, one.trust, one.secret, at, one.reason, one.body, now
end

-- In this process, a statement for each: most are new, and what tells so costs nothing then.
local INSERT = sql.insert("deliveries", COLUMNS, "ON CONFLICT (account, id) DO NOTHING")
local COUNT = "UPDATE deliveries SET " .. COUNTED:gsub("NOW", "$1"):gsub("AGAIN", "$2", 1)
  :gsub("AGAIN", "$3") .. " WHERE account = $4 AND id = $5"

local function one_by_one(query, list, now)
  local results = {}
  for i, one in ipairs(list) do
    local _, added = query(INSERT, values_of(one, now))
    local again = one.again and 1 or 0
    results[i] = added == 1 and "new" or "duplicate"
    if added == 0 then query(COUNT, now, again, again, one.account, one.id) end
  end
  return results
end

-- Over a network, one statement for all. Numbers in the order of the list; rows in the order of
-- their names, so that two admissions of the same deliveries do not wait for each other in a
-- circle.
local TYPES = { again = "bigint", live = "bigint", secret = "bigint", occurred_at = "bigint",
  received_at = "bigint", body = "bytea" }
local ALL = (function()
  local types = {}
  for i, name in ipairs(COLUMNS) do types[i] = ("$%d::%s[]"):format(i, TYPES[name] or "text") end
  return ([[
WITH given AS (SELECT * FROM unnest(TYPES) WITH ORDINALITY AS one (NAMES, n) ORDER BY n),
numbered AS (SELECT nextval('deliveries_seq_seq') AS seq, given.* FROM given ORDER BY n)
INSERT INTO deliveries (seq, NAMES) SELECT seq, NAMES FROM numbered
  ORDER BY account COLLATE "C", id COLLATE "C" ON CONFLICT (account, id) DO UPDATE SET ]]
    .. COUNTED .. " RETURNING seq, account, id, seen, (SELECT MAX(seq) FROM deliveries) AS most")
    :gsub("TYPES", table.concat(types, ", ")):gsub("NAMES", table.concat(COLUMNS, ", "))
    :gsub("NOW", "excluded.received_at"):gsub("AGAIN", "excluded.again")
end)()

local function in_bulk(query, list, now)
  local columns, once, at = {}, {}, {}
  for k = 1, #COLUMNS do columns[k] = {} end
  for i, one in ipairs(list) do
    at[i] = one.account .. "\n" .. one.id
    if not once[at[i]] then -- a statement can't meet the same row twice
      once[at[i]] = i
      local values, n = { values_of(one, now) }, #columns[1] + 1
      for k = 1, #COLUMNS do columns[k][n] = values[k] or false end -- no holes: false is NULL
    end
  end
  local results, seen = {}, {}
  for _, row in ipairs(query(ALL, unpack(columns, 1, #COLUMNS))) do
    if row.seen == 1 then sql.numbered(row) end
    seen[row.account .. "\n" .. row.id] = row.seen
  end
  for i, key in ipairs(at) do
    results[i] = once[key] == i and seen[key] == 1 and "new" or "duplicate"
  end
  return results
end

function Store:admit(list)
  if #list == 0 then return {} end
  return self:admission(function(query, now)
    return (self.dialect.bulk and in_bulk or one_by_one)(query, list, now)
  end)
end

---A delivery as the interface gives it.
function M.delivery(row)
  row.last_at = row.last_at or row.received_at
  if row.state == "new" then row.state = "pending" end
  row.key, row.id = row.id, row.account .. ":" .. row.id
  return sql.shown(row)
end

local INCOMING = "SELECT * FROM deliveries WHERE account = $1 AND state = 'new' "
  .. "ORDER BY seq LIMIT $2"

-- Those of one event id that were routed count as earlier, wherever they stand, for on PostgreSQL
-- one of a lower number may come to light after them. No more than so many: whoever has seen one
-- may send any number under its id.
local MOST = 64
local ROUTED = "SELECT COUNT(*) AS n FROM (SELECT 1 FROM deliveries WHERE account = $1 "
  .. "AND id >= $2 AND id < $3 AND state <> 'new' LIMIT $4) AS few"

function Store:incoming(account, limit)
  return self:read(function(query)
    local list, earlier = query(INCOMING, account, limit), {}
    for _, row in ipairs(list) do
      local word = row.id:match "^[^ ]*"
      earlier[word] = earlier[word] or query(ROUTED, account, word, word .. "!", MOST)[1].n
      M.delivery(row).earlier = earlier[word]
      earlier[word] = earlier[word] + 1 -- all that are new and came before stand before it
    end
    return list
  end)
end

return M

-- inbox/deliveries.lua: what came in. Admission is one upsert into one table: nothing else is
-- written that another admission writes too, so many can be under way side by side.

local refusal = require "billhook.inbox.refusal"

local M = {}

local Deliveries = {}
M.methods = Deliveries -- of a store

local unpack = table.unpack or rawget(_G, "unpack")

local COLUMNS = { "account", "id", "again", "vendor", "type", "native", "invoice", "tenant", "live",
  "trust", "secret", "occurred_at", "reason", "body", "received_at" }

-- A duplicate is counted. Where the account can be read back, its invoice is looked at once more,
-- so that a vendor's "resend" works; what is still waited for needs no second look.
local COUNTED = "seen = deliveries.seen + 1, last_at = NOW, state = CASE WHEN AGAIN = 1 "
  .. "AND deliveries.state IN ('done', 'unchanged', 'gone') THEN 'new' ELSE deliveries.state END"

local LATEST = 1e12 -- seconds, 30,000 years: more is no time, and no integer in every database

local function millis(seconds)
  if seconds and seconds >= 0 and seconds < LATEST then return math.floor(seconds * 1000) end
end

local function values_of(delivery, now)
  return delivery.account, delivery.id, delivery.again and 1 or 0, delivery.vendor, delivery.type,
    delivery.native, delivery.invoice, delivery.tenant, delivery.live and 1 or 0, delivery.trust,
    delivery.secret, millis(delivery.occurred_at), delivery.reason, delivery.body, now
end

-- --- SQLite: a statement for each -------------------------------------------------

local INSERT = (function()
  local places = {}
  for i = 1, #COLUMNS do places[i] = "$" .. i end
  return ("INSERT INTO deliveries (%s, last_at, state, seen) VALUES (%s, $%d, 'new', 1) "
    .. "ON CONFLICT (account, id) DO NOTHING"):format(table.concat(COLUMNS, ", "),
    table.concat(places, ", "), #COLUMNS)
end)()

local COUNT = "UPDATE deliveries SET " .. COUNTED:gsub("NOW", "$1"):gsub("AGAIN", "$2")
  .. " WHERE account = $3 AND id = $4"

---Admission for a database in this process: most are new, and what tells so costs nothing then.
---@param query fun(sql: string, ...): table, integer
---@param list table[] each account and id once
---@param now integer
---@return boolean[] new for each, was it?
function M.one_by_one(query, list, now)
  local new = {}
  for i, delivery in ipairs(list) do
    local _, added = query(INSERT, values_of(delivery, now))
    new[i] = added == 1
    if not new[i] then
      query(COUNT, now, delivery.again and 1 or 0, delivery.account, delivery.id)
    end
  end
  return new
end

-- --- PostgreSQL: one statement for all ---------------------------------------------

local TYPES = { again = "bigint", live = "bigint", secret = "bigint", occurred_at = "bigint",
  received_at = "bigint", body = "bytea" }

-- Numbers in the order of the list; rows in the order of their names, so that two admissions of
-- the same deliveries do not wait for each other in a circle.
local ALL = (function()
  local types = {}
  for i, name in ipairs(COLUMNS) do types[i] = ("$%d::%s[]"):format(i, TYPES[name] or "text") end
  local names = table.concat(COLUMNS, ", ")
  return ([[
WITH given AS (SELECT * FROM unnest(TYPES) WITH ORDINALITY AS one (NAMES, n) ORDER BY n),
numbered AS (SELECT nextval('deliveries_seq_seq') AS seq, given.* FROM given ORDER BY n)
INSERT INTO deliveries (seq, NAMES, last_at, state, seen)
SELECT seq, NAMES, received_at, 'new', 1 FROM numbered
  ORDER BY account COLLATE "C", id COLLATE "C"]]):gsub("TYPES", table.concat(types, ", "))
    :gsub("NAMES", names) .. " ON CONFLICT (account, id) DO UPDATE SET "
    .. COUNTED:gsub("NOW", "excluded.received_at"):gsub("AGAIN", "excluded.again")
    .. " RETURNING seq, account, id, seen, (SELECT MAX(seq) FROM deliveries) AS most"
end)()

---The same in one statement, for a database that is a round trip away.
function M.in_bulk(query, list, now)
  local columns = {}
  for k = 1, #COLUMNS do columns[k] = {} end
  for i, delivery in ipairs(list) do
    local values = { values_of(delivery, now) }
    for k = 1, #COLUMNS do
      local value = values[k]
      if value == nil then value = false end -- an array has no holes: false is NULL
      columns[k][i] = value
    end
  end
  local seen, new = {}, {}
  for _, row in ipairs(query(ALL, unpack(columns, 1, #COLUMNS))) do
    if row.seen == 1 then refusal.numbered(row) end
    seen[row.account .. "\n" .. row.id] = row.seen
  end
  for i, delivery in ipairs(list) do new[i] = seen[delivery.account .. "\n" .. delivery.id] == 1 end
  return new
end

-- --- the methods --------------------------------------------------------------

-- The list with each account and id once, and for each of the list where it is in that.
local function each_once(list)
  local once, at, known = {}, {}, {}
  for i, delivery in ipairs(list) do
    local ids = known[delivery.account]
    if not ids then
      ids = {}
      known[delivery.account] = ids
    end
    if not ids[delivery.id] then
      once[#once + 1], at[i] = delivery, #once + 1
      ids[delivery.id] = true
    end
  end
  return once, at
end

function Deliveries:admit(list)
  if #list == 0 then return {} end
  return self:admission(function(query, now)
    local once, at = each_once(list)
    local new = self.dialect.admit(query, once, now)
    local results = {}
    for i = 1, #list do results[i] = at[i] and new[at[i]] and "new" or "duplicate" end
    return results
  end)
end

---A delivery as the interface gives it.
function M.delivery(row)
  return {
    seq = row.seq, account = row.account, id = row.account .. ":" .. row.id, key = row.id,
    state = row.state == "new" and "pending" or row.state, routed = row.state ~= "new",
    seen = row.seen, vendor = row.vendor, type = row.type, native = row.native,
    invoice = row.invoice, tenant = row.tenant, live = row.live == 1, trust = row.trust,
    secret = row.secret, again = row.again == 1,
    occurred_at = row.occurred_at and row.occurred_at / 1000,
    received_at = row.received_at / 1000, last_at = row.last_at / 1000,
    reason = row.reason, body = row.body,
  }
end

local INCOMING = "SELECT * FROM deliveries WHERE account = $1 AND state = 'new' "
  .. "ORDER BY seq LIMIT $2"

-- Those of one event id that were routed count as earlier, wherever they stand, for on PostgreSQL
-- one of a lower number may come to light after them. No more than so many: whoever has seen one
-- may send any number under its id.
local MOST = 64
local ROUTED = "SELECT COUNT(*) AS n FROM (SELECT 1 FROM deliveries WHERE account = $1 "
  .. "AND id >= $2 AND id < $3 AND state <> 'new' LIMIT $4) AS few"

function Deliveries:incoming(account, limit)
  return self:read(function(query)
    local list, earlier = query(INCOMING, account, limit), {}
    for i, row in ipairs(list) do
      local word = row.id:match "^[^ ]*"
      earlier[word] = earlier[word] or query(ROUTED, account, word, word .. "!", MOST)[1].n
      list[i] = M.delivery(row)
      list[i].earlier = earlier[word]
      earlier[word] = earlier[word] + 1 -- all that are new and came before stand before it
    end
    return list
  end)
end

return M

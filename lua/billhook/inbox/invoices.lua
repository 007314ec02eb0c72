-- inbox/invoices.lua: the last known state of each invoice. Only apply() changes it, and refuses
-- changes that were computed from an older state (`stamp`), whoever leases the row (queue.lua).

local core = require "billhook.core"
local events = require "billhook.inbox.events"
local json = require "billhook.json"
local sql = require "billhook.inbox.sql"

local M = {}

local Store = sql.Store

local unpack = table.unpack or rawget(_G, "unpack")

---In a change of a row, a column that becomes NULL. Plain data, for changes cross from one thread
---to another; no text that is stored begins with a NUL.
M.NULL = "\0null"

-- --- rows ------------------------------------------------------------------

---A row of the table as the interface gives it.
function M.row(row)
  row.known = row.known == 1
  row.left_states = row.left_states and core.json.decode(row.left_states) or {}
  return row
end

---A row of an invoice that nothing is known of.
function M.empty(account, invoice)
  return { account = account, invoice = invoice, stamp = 0, version = 0, known = false, ticket = 0,
    tries = 0, reads = 0, faults = 0, left_states = {} }
end

function Store:look(account, ids)
  return self:read(function(query, now)
    local list = {}
    for i, id in ipairs(ids) do
      local row = query("SELECT * FROM invoices WHERE account = $1 AND invoice = $2", account,
        id)[1]
      list[i] = row and M.row(row) or M.empty(account, id)
    end
    return { rows = list, now = now }
  end)
end

-- One that was not missed yet, where there is such a one: where all are, none of them is the proof
-- that the API still knows what it has shown.
local ANOTHER = "SELECT invoice FROM invoices WHERE account = $1 AND known = 1 "
  .. "AND deleted_at IS NULL AND invoice <> $2%s ORDER BY ticket DESC LIMIT 1"

function Store:another(account, invoice)
  return self:read(function(query)
    local row = query(ANOTHER:format " AND absent_at IS NULL", account, invoice)[1]
      or query(ANOTHER:format "", account, invoice)[1]
    return row and row.invoice or false
  end)
end

local FOREVER = 4503599627370496 -- ms: no time is later

-- in the words of the indexes
local SELECTIONS = { there = " AND deleted_at IS NULL", open = " AND closed_at IS NULL" }

function Store:of_account(account, want)
  local text = "account = $1 AND known = 1" .. SELECTIONS[want.which]
    .. " AND lane > $2 AND ticket < $3"
  local values = { account, want.after or 0, want.ticket_before or FOREVER }
  if want.due_by then
    values[4], text = want.due_by, text .. " AND due_date <= $4"
  end
  values[#values + 1] = want.limit
  return self:read(function(query, now)
    local list = query("SELECT * FROM invoices WHERE " .. text .. " ORDER BY "
      .. (want.unread and "read_at, " or "") .. "lane LIMIT $" .. #values, unpack(values))
    for _, row in ipairs(list) do M.row(row) end
    return { rows = list, now = now }
  end)
end

local COUNTED = 100000 -- known invoices: no further

function Store:how_many(account)
  return self:read(function(query)
    return query("SELECT COUNT(*) AS n FROM (SELECT 1 FROM invoices WHERE account = $1 "
      .. "AND known = 1 LIMIT $2) AS few", account, COUNTED)[1].n
  end)
end

function Store:is_latest(account, invoice, version)
  return self:read(function(query)
    local row = query("SELECT version FROM invoices WHERE account = $1 AND invoice = $2", account,
      invoice)[1]
    return not row or row.version <= version
  end)
end

function Store:ticket()
  return self:transaction(function(query, now)
    return { ticket = self.dialect:number(query), now = now }
  end)
end

function Store:clock()
  return self:read(function(_, now) return { now = now } end)
end

-- --- changes -----------------------------------------------------------------

local MAKE = sql.insert("invoices", { "account", "invoice" },
  "ON CONFLICT (account, invoice) DO NOTHING")

-- One statement for each set of columns that are set together.
local function set_row(query, change)
  if change.expect == 0 then query(MAKE, change.account, change.invoice) end
  local names, parts, values = {}, { "stamp = stamp + 1" }, {}
  for name in pairs(change.set) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    local value = change.set[name]
    if type(value) == "table" then value = json.encode(json.array(value)) end
    if type(value) == "boolean" then value = value and 1 or 0 end
    if value ~= M.NULL then values[i] = value end
    parts[i + 1] = ("%s = $%d"):format(name, i)
  end
  local n = #names
  values[n + 1], values[n + 2], values[n + 3] = change.account, change.invoice, change.expect
  local _, changed = query("UPDATE invoices SET " .. table.concat(parts, ", ")
    .. (" WHERE account = $%d AND invoice = $%d AND stamp = $%d"):format(n + 1, n + 2, n + 3),
    unpack(values, 1, n + 3))
  return changed == 1
end

local ROUTED = "UPDATE deliveries SET state = $1, reason = COALESCE($2, reason), routed_at = $3 "
  .. "WHERE seq = $4 AND state = 'new'"

local SETTLE = "UPDATE deliveries SET state = $1, reason = COALESCE($2, reason) "
  .. "WHERE account = $3 AND invoice = $4 AND state = 'pending' AND routed_at <= $5 RETURNING seq"

-- Sets the row, routes the change's deliveries, settles those that it was about, and adds the
-- events that these are the news behind. How a delivery is routed may depend on the others
-- (`earlier`): where one has been routed by somebody else meanwhile, nothing of all changes is
-- done.
local function apply(query, now, change)
  if change.set and next(change.set) and not set_row(query, change) then return false end
  local seqs = {}
  for _, one in ipairs(change.route or {}) do
    local _, routed = query(ROUTED, one.state, one.reason, now, one.seq)
    if routed == 0 then sql.refuse("ROUTED", "a delivery has been routed already") end
    seqs[#seqs + 1] = one.seq
  end
  if change.settle then
    for _, row in ipairs(query(SETTLE, change.settle, change.reason, change.account,
      change.invoice, change.began)) do seqs[#seqs + 1] = row.seq end
  end
  table.sort(seqs)
  for _, event in ipairs(change.events or {}) do events.add(query, now, event, seqs) end
  return true
end

function Store:apply(changes)
  local results, why = self:transaction(function(query, now)
    local results = {}
    for i, change in ipairs(changes) do results[i] = apply(query, now, change) end
    return results
  end)
  if results or why.code ~= "ROUTED" then return results, why end
  results = {}
  for i = 1, #changes do results[i] = false end
  return results
end

return M

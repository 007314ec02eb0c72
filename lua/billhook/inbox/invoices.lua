-- inbox/invoices.lua: the last known state of each invoice. It is changed by apply(), which refuses
-- what was worked out from an older state (`stamp`), whoever holds the row (queue.lua).

local events = require "billhook.inbox.events"
local json = require "billhook.json"
local NULL = require "billhook.inbox.null"
local queue = require "billhook.inbox.queue"
local refuse = require("billhook.inbox.refusal").raise

local M = {}

local Invoices = {}
M.methods = Invoices -- of a store

local unpack = table.unpack or rawget(_G, "unpack")

local FOREVER = 4503599627370496 -- ms: no time is later
local COUNTED = 100000 -- known invoices: no further

-- --- rows ------------------------------------------------------------------

-- the columns that a change may set, in the order in which its statement names them
local COLUMNS = { "version", "known", "data", "digest", "ticket", "read_at", "news_at", "tries",
  "reads", "check_due", "absent_at", "doubt", "doubt_at", "left_states", "number", "reference",
  "currency", "total", "paid", "balance", "due_date", "status", "issued_at", "deleted_at",
  "closed_at", "changed_at", "overdue_for", "overdue_step", "faults" }

local ROW = "SELECT * FROM invoices WHERE account = $1 AND invoice = $2"

function Invoices:look(account, ids)
  return self:read(function(query, now)
    local rows = {}
    for i, id in ipairs(ids) do
      local row = query(ROW, account, id)[1]
      rows[i] = row and queue.row(row)
        or { account = account, invoice = id, stamp = 0, version = 0, known = false, ticket = 0,
          tries = 0, reads = 0, faults = 0, left_states = {} }
    end
    return { rows = rows, now = now }
  end)
end

function Invoices:ticket()
  return self:transaction(function(query, now)
    return { ticket = self.dialect.number(query), now = now }
  end)
end

---The store's time.
function Invoices:clock()
  return self:read(function(_, now) return { now = now } end)
end

-- --- changes -----------------------------------------------------------------

local texts = {}

-- The statement that sets these columns, and their values.
local function update_of(set)
  local names, values = {}, {}
  for _, name in ipairs(COLUMNS) do
    local value = set[name]
    if value ~= nil then
      if value == NULL then value = nil end
      if type(value) == "boolean" then value = value and 1 or 0 end
      names[#names + 1] = name
      values[#names] = value
    end
  end
  local key, n = table.concat(names, " "), #names
  if not texts[key] then
    local parts = { "stamp = stamp + 1" }
    for i, name in ipairs(names) do parts[i + 1] = ("%s = $%d"):format(name, i) end
    texts[key] = "UPDATE invoices SET " .. table.concat(parts, ", ")
      .. (" WHERE account = $%d AND invoice = $%d AND stamp = $%d"):format(n + 1, n + 2, n + 3)
  end
  return texts[key], values, n
end

local MAKE = "INSERT INTO invoices (account, invoice) VALUES ($1, $2) "
  .. "ON CONFLICT (account, invoice) DO NOTHING"

local function set_row(query, change)
  if change.expect == 0 then query(MAKE, change.account, change.invoice) end
  local set = change.set
  if type(set.left_states) == "table" then
    local copy = {}
    for name, value in pairs(set) do copy[name] = value end
    set, copy.left_states = copy, json.encode(json.array(set.left_states))
  end
  local text, values, n = update_of(set)
  values[n + 1], values[n + 2], values[n + 3] = change.account, change.invoice, change.expect
  local _, changed = query(text, unpack(values, 1, n + 3))
  return changed == 1
end

-- What no rule wants is in no row's queue.
local function add_events(query, now, change, seqs)
  for _, event in ipairs(change.events or {}) do
    local open = event.bad or #event.rules > 0
    events.add(query, now, open and queue.place(query, now, event) or nil, event, seqs)
  end
end

local SETTLE = "UPDATE deliveries SET state = $1, reason = COALESCE($2, reason) "
  .. "WHERE account = $3 AND invoice = $4 AND state = 'pending' AND routed_at <= $5 RETURNING seq"

local ROUTED = "UPDATE deliveries SET state = $1, reason = COALESCE($2, reason), routed_at = $3 "
  .. "WHERE seq = $4 AND state = 'new'"

-- Routes the deliveries of a change and settles those that it was about: the news behind its
-- events, by their numbers. How a delivery is routed may depend on the others (`earlier`): where
-- one has been routed by somebody else meanwhile, nothing of all changes is done.
local function settle(query, now, change)
  local seqs = {}
  for _, one in ipairs(change.route or {}) do
    local _, routed = query(ROUTED, one.state, one.reason, now, one.seq)
    if routed == 0 then refuse("ROUTED", "a delivery has been routed already") end
    seqs[#seqs + 1] = one.seq
  end
  if change.settle then
    for _, row in ipairs(query(SETTLE, change.settle, change.reason, change.account,
      change.invoice, change.began)) do seqs[#seqs + 1] = row.seq end
  end
  table.sort(seqs)
  return seqs
end

local function apply(query, now, change)
  if change.set and next(change.set) and not set_row(query, change) then return false end
  add_events(query, now, change, settle(query, now, change))
  return true
end

function Invoices:apply(changes, kept)
  local results, why = self:transaction(function(query, now)
    local results = {}
    for i, change in ipairs(changes) do results[i] = apply(query, now, change) end
    for name, text in pairs(kept or {}) do
      query("INSERT INTO texts (name, value) VALUES ($1, $2) "
        .. "ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, text)
    end
    return results
  end)
  if results or why.code ~= "ROUTED" then return results, why end
  results = {}
  for i = 1, #changes do results[i] = false end
  return results
end

-- --- known invoices -----------------------------------------------------------------

-- One that was not missed yet, where there is such a one: where all are, none of them is the proof
-- that the API still knows what it has shown.
local ANOTHER = "SELECT invoice FROM invoices WHERE account = $1 AND known = 1 "
  .. "AND deleted_at IS NULL AND invoice <> $2%s ORDER BY ticket DESC LIMIT 1"

function Invoices:another(account, invoice)
  return self:read(function(query)
    local row = query(ANOTHER:format " AND absent_at IS NULL", account, invoice)[1]
      or query(ANOTHER:format "", account, invoice)[1]
    return row and row.invoice or false
  end)
end

-- in the words of the indexes
local SELECTIONS = {
  known = "account = $1 AND known = 1",
  there = "account = $1 AND known = 1 AND deleted_at IS NULL",
  open = "account = $1 AND known = 1 AND closed_at IS NULL",
}

function Invoices:of_account(account, want)
  local order = want.unread and "read_at, lane" or "lane"
  local text = "SELECT * FROM invoices WHERE " .. SELECTIONS[want.which or "known"]
    .. " AND lane > $2 AND ticket < $3 ORDER BY " .. order .. " LIMIT $4"
  return self:read(function(query, now)
    local rows = query(text, account, want.after or 0, want.ticket_before or FOREVER, want.limit)
    for _, row in ipairs(rows) do queue.row(row) end
    return { rows = rows, now = now }
  end)
end

function Invoices:past_due(account, today, after, limit)
  return self:read(function(query, now)
    local rows = query("SELECT * FROM invoices WHERE account = $1 AND known = 1 "
      .. "AND closed_at IS NULL AND due_date IS NOT NULL AND due_date <= $2 AND lane > $3 "
      .. "ORDER BY lane LIMIT $4", account, today, after or 0, limit)
    for _, row in ipairs(rows) do queue.row(row) end
    return { rows = rows, now = now }
  end)
end

function Invoices:how_many(account)
  return self:read(function(query)
    return query("SELECT COUNT(*) AS n FROM (SELECT 1 FROM invoices WHERE account = $1 "
      .. "AND known = 1 LIMIT $2) AS few", account, COUNTED)[1].n
  end)
end

return M

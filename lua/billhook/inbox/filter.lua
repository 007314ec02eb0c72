-- inbox/filter.lua: which rows an operator means.

local deliveries = require "billhook.inbox.deliveries"
local events = require "billhook.inbox.events"

local M = {}

local unpack = table.unpack or rawget(_G, "unpack")

local BATCH = 500 -- rows a transaction; receivers commit in between
local AGE_MOST = 1e10 -- seconds: 300 years, and far from where an integer ends

local function is_text(value)
  return type(value) == "string", "must be a string"
end

-- below zero: a moment that is still to come
local function is_age(value)
  return type(value) == "number" and value >= -AGE_MOST and value <= AGE_MOST,
    "must be seconds, up to 1e10"
end

local function is_count(value)
  return type(value) == "number" and value >= 1 and value <= 2 ^ 31 and value % 1 == 0,
    "must be a whole number of at least 1"
end

local function is_number(value)
  return type(value) == "number" and value % 1 == 0, "must be a whole number"
end

local CHECKS = {
  account = is_text, type = is_text, id = is_text, invoice = is_text, state = is_text,
  limit = is_count, older_than = is_age, newer_than = is_age, before = is_number, after = is_number,
  seqs = function(value) return type(value) == "table", "must be a list of numbers" end,
}

-- An invoice's row as operators see it.
local function invoice(row)
  local function seconds(ms) return ms and ms / 1000 end
  return {
    lane = row.lane, account = row.account, invoice = row.invoice, known = row.known == 1,
    version = row.version, number = row.number, reference = row.reference, currency = row.currency,
    total = row.total, paid = row.paid, balance = row.balance, due_date = row.due_date,
    status = row.status, data = row.data, changed_at = seconds(row.changed_at),
    deleted_at = seconds(row.deleted_at), closed_at = seconds(row.closed_at),
    read_at = seconds(row.read_at), check_due = seconds(row.check_due),
    run_due = seconds(row.run_due), leased = row.owner ~= nil,
  }
end

-- Each table in the words of its indexes.
M.TABLES = {
  deliveries = {
    key = "seq", at = "received_at", read = deliveries.delivery,
    states = {
      pending = "state IN ('new', 'pending')", done = "state = 'done'",
      unchanged = "state = 'unchanged'", gone = "state = 'gone'",
      unhandled = "state = 'unhandled'", dead = "state = 'dead'",
    },
  },
  events = {
    key = "seq", at = "created_at", read = events.event,
    states = {
      pending = "open = 1 AND (state = 'pending' OR state = 'bad')", done = "state = 'done'",
      unhandled = "state = 'unhandled'", dead = "state = 'dead'",
    },
  },
  invoices = {
    key = "lane", at = "changed_at",
    read = invoice,
    states = {
      open = "known = 1 AND closed_at IS NULL", closed = "closed_at IS NOT NULL",
      deleted = "deleted_at IS NOT NULL",
    },
  },
}

local STATE_WORDS = {
  deliveries = "pending, done, unchanged, gone, unhandled or dead",
  events = "pending, done, unhandled or dead", invoices = "open, closed or deleted",
}

-- A filter decides what is deleted: one that is none must not mean "everything".
function M.check(of, filter)
  for name, value in pairs(filter) do
    if not CHECKS[name] then
      error(("unknown field '%s' of a filter"):format(tostring(name)), 0)
    end
    local fine, why = CHECKS[name](value)
    if fine and name == "state" and not M.TABLES[of].states[value] then
      fine, why = false, "must be " .. STATE_WORDS[of]
    end
    if not fine then error(("field '%s' of a filter %s"):format(name, why), 0) end
  end
end

function M.ago(now, seconds) return now - math.floor(seconds * 1000) end

-- Deliveries of an invoice: by one index those that were routed, by another the few that were not;
-- one for both would have to be written by every admission.
local OF_INVOICE = [[seq IN (
  SELECT seq FROM deliveries WHERE account = ? AND invoice = ? AND state <> 'new' UNION ALL
  SELECT seq FROM deliveries WHERE account = ? AND invoice = ? AND state = 'new')]]

-- The condition of a filter and its values; `clause(text, ...)` adds more.
function M.conditions(of, filter, now)
  local tab = M.TABLES[of]
  local parts, values = { "1 = 1" }, {}
  local function clause(text, ...)
    for _, value in ipairs { ... } do
      values[#values + 1] = value
      text = text:gsub("%?", "$" .. #values, 1)
    end
    parts[#parts + 1] = text
  end
  if filter.account then clause("account = ?", filter.account) end
  if filter.type and of ~= "invoices" then clause("type = ?", filter.type) end
  if filter.id then
    local account, id = filter.id:match("^([^:]*):(.*)$")
    clause("account = ? AND id = ?", account or "", of == "events" and filter.id or id or "")
  end
  if filter.invoice and filter.account and of == "deliveries" then
    clause(OF_INVOICE, filter.account, filter.invoice, filter.account, filter.invoice)
  elseif filter.invoice then
    clause("invoice = ?", filter.invoice)
  end
  if filter.state then clause(tab.states[filter.state]) end
  if filter.before then clause(tab.key .. " < ?", filter.before) end
  if filter.after then clause(tab.key .. " > ?", filter.after) end
  if filter.older_than then clause(tab.at .. " < ?", M.ago(now, filter.older_than)) end
  if filter.newer_than then clause(tab.at .. " >= ?", M.ago(now, filter.newer_than)) end
  if filter.seqs then
    local numbers = {}
    for i, seq in ipairs(filter.seqs) do numbers[i] = ("%d"):format(seq) end
    clause("seq IN (" .. (#numbers > 0 and table.concat(numbers, ", ") or "NULL") .. ")")
  end
  if of == "invoices" then clause("stamp > 0") end
  return parts, values, clause
end

---Does something with all rows of a filter for which `extra` holds, a condition, its "?" so many
---seconds ago: fn(query, now, key) gives how many it has changed. They are looked for without a
---lock, and changed a few in a transaction.
function M.each_batch(self, of, filter, extra, seconds, fn)
  M.check(of, filter)
  local key, all, last = M.TABLES[of].key, 0, 0
  local left = filter.limit or math.huge
  while left > 0 do
    local found, why = self:read(function(query, now)
      local parts, values, clause = M.conditions(of, filter, now)
      clause(extra, seconds and M.ago(now, seconds))
      clause(key .. " > ?", last)
      return query(("SELECT %s AS key FROM %s WHERE %s ORDER BY %s LIMIT %d"):format(key, of,
        table.concat(parts, " AND "), key, math.min(BATCH, left)), unpack(values))
    end)
    if not found then return nil, why end
    if #found == 0 then break end
    local done
    done, why = self:transaction(function(query, now)
      local n = 0
      for _, row in ipairs(found) do n = n + fn(query, now, row.key) end
      return n
    end)
    if not done then return nil, why end
    all, last, left = all + done, found[#found].key, left - #found
  end
  return all
end

---Is there such a state in this table?
function M.is_state(of, state) return M.TABLES[of].states[state] ~= nil end

return M

-- inbox/rows.lua: rows of the tables as the interface gives them.

local M = {}

---The name of the lane of what is said of an invoice by somebody whose word is not enough; and of
---such a name, the invoice.
function M.hearsay_of(invoice) return "?" .. invoice end

---@return string|nil invoice
function M.hearsay(name) return name:match("^%?(.*)$") end

---A lane that was made for an event which was not admitted; twice its number.
M.DROP_EMPTY = "DELETE FROM lanes WHERE lane = $1 "
  .. "AND NOT EXISTS (SELECT 1 FROM events e WHERE e.lane = $2)"

local LATEST = 1e12 -- seconds, 30,000 years: more is no time, and no integer in every database

---When it happened, as it is stored; nil where that is no time that anybody means.
---@param seconds number|nil
---@return integer|nil
function M.millis(seconds)
  if seconds and seconds >= 0 and seconds < LATEST then return math.floor(seconds * 1000) end
end

---A row of events, with its body where it was joined.
function M.event(row)
  local event = {
    seq = row.seq, account = row.account, vendor = row.vendor, type = row.type,
    native = row.native, invoice = row.invoice, tenant = row.tenant, trust = row.trust,
    note = row.note, body = row.body, digest = row.digest, source = row.source,
    id = row.account .. ":" .. row.id,
    key = row.account .. ":" .. (row.key or row.id),
    state = row.state == "bad" and "dead" or row.state,
    bad = row.state == "bad" or nil,
    live = row.live == 1,
    contested = row.contested > 0,
    under = row.under == 1,
    occurred_at = row.occurred_at and row.occurred_at / 1000,
    received_at = row.received_at / 1000,
    rules = {},
    marks = {},
  }
  for name in row.rules:gmatch("[^\n]+") do event.rules[#event.rules + 1] = name end
  return event
end

---A row of marks.
function M.mark(row, now)
  return {
    state = row.state, attempts = row.attempts, message = row.message,
    wait = row.due and math.max(0, row.due - now),
    held = row.failed_at and math.max(0, now - row.failed_at),
  }
end

return M

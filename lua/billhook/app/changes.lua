--- The change that a read makes: columns of the row, and what rules are told.
--
-- A change names only the columns that differ. Its events come in this order: the invoice's own
-- (created, updated, deleted), one for each payment that differs, paid, overdue. Their types come
-- from the two states, never from what was sent.
--
-- Pure: rows, reads, contexts and changes are those of app.check.

local core = require "billhook.core"
local json = require "billhook.json"
local compare = require "billhook.app.compare"

local M = {}

--- The value of a column that becomes NULL.
M.NULL = require "billhook.inbox.null"

local NULL = M.NULL

-- --- columns -----------------------------------------------------------------------------------

--- A column's new value, where it differs; nil is NULL.
---@param change table
---@param row table
---@param name string
---@param value any
function M.put(change, row, name, value)
  if value == nil then
    change.set[name] = row[name] ~= nil and NULL or nil
  else
    change.set[name] = row[name] ~= value and value or nil
  end
end

--- The change that takes the ticket of a read, and nothing else yet.
---@param row table
---@param read table
---@return table change
function M.start(row, read)
  local change = { account = row.account, invoice = row.invoice, expect = row.stamp, set = {},
    events = {} }
  M.put(change, row, "ticket", read.ticket)
  M.put(change, row, "read_at", read.began)
  return change
end

-- the row as it will be
local function after(row, change)
  local copy = {}
  for name, value in pairs(row) do
    copy[name] = value
  end
  for name, value in pairs(change.set) do
    copy[name] = value ~= NULL and value or nil
  end
  return copy
end

local STATE = { "number", "reference", "currency", "total", "paid", "balance", "due_date",
  "status" }

--- The columns of a state that was read.
---@param change table
---@param row table
---@param read table
---@param context table
---@param digest string
function M.put_state(change, row, read, context, digest)
  local columns = compare.columns(read.invoice, context.today)
  for _, name in ipairs(STATE) do
    M.put(change, row, name, columns[name])
  end
  M.put(change, row, "issued_at", compare.time(columns.issued))
  M.put(change, row, "data", read.text)
  M.put(change, row, "digest", digest)
  local closed = columns.status == "paid" or columns.status == "overpaid"
  M.put(change, row, "closed_at", closed and (row.closed_at or context.now) or nil)
end

-- --- events ------------------------------------------------------------------------------------

local function add_event(change, context, event)
  event.native = event.type
  event.invoice = change.invoice
  event.trust = context.trust
  event.occurred_at = context.now
  event.live = true
  event.rules = context.rules and context.rules(event.type, event.native) or {}
  change.events[#change.events + 1] = event
end

-- an id stands in logs and on command lines
local function tame(id)
  return #id <= 64 and id:find("^[%w_.:-]+$") and id or core.text.sha256(id):sub(1, 16)
end

--- The state that a row keeps as text, or nil.
---@param text string?
---@return table?
function M.decoded(text)
  local value = text and json.decode(text)
  return type(value) == "table" and value or nil
end

local function is_positive(amount)
  local value = core.decimal.read(amount or "")
  return value and value:sign() > 0
end

local function is_paid(row)
  return row.balance ~= nil and not is_positive(row.balance) and is_positive(row.paid)
end

-- From a state that is not known, nothing can be told to have changed: payments of before are not
-- told as new. Without a limit all are.
local function told_since(row, type, context)
  if not row.known then
    return type == "invoice.updated" and context.start or nil
  elseif not row.deleted_at and not row.data then
    return row.changed_at -- what it was is no longer kept
  end
  return nil
end

local function add_payments(change, row, read, context, head, since)
  local told, previous = 0, M.decoded(row.data)
  for _, one in ipairs(compare.payment_changes(context.vendor, read and read.invoice, previous,
    context.watch)) do
    local at = since and one.payment and compare.payment_time(context.vendor, one.payment)
    if not at or at >= since then
      told = told + 1
      local type = "payment." .. one.verb
      add_event(change, context, {
        id = head.id .. type .. "." .. tame(one.id), version = head.version, type = type,
        data = one.payment and json.encode(one.payment),
        previous = one.previous and json.encode(one.previous),
      })
    end
  end
  return told
end

--- The events of a change from `row` to what was read.
---@param change table with the columns of the new state
---@param row table as it was
---@param read table? nil: the invoice is gone
---@param context table
---@param type string of the first event
---@param digest string of the new state, or of the one that was left where there is none
function M.add_events(change, row, read, context, type, digest)
  local version, hex = row.version + 1, digest:match(":(.*)"):sub(1, 8)
  local head = { version = version,
    id = ("%s:%s@%d.%s."):format(row.account, row.invoice, version, hex) }
  add_event(change, context, {
    id = head.id .. type:match("%.(.*)"), version = version, type = type,
    data = read and read.text, previous = row.data,
  })
  local since = told_since(row, type, context)
  local told = add_payments(change, row, read, context, head, since)
  if read and is_paid(after(row, change)) and (not row.known or row.deleted_at or not is_paid(row))
    and (not since or told > 0 or not next(compare.payments(context.vendor, read.invoice))) then
    add_event(change, context, {
      id = head.id .. "paid", version = version, type = "invoice.paid",
      data = read.text, previous = row.data,
    })
  end
end

-- the number of a day
local function day_of(date)
  local epoch = date and core.text.datetime(date .. "T00:00:00Z")
  return epoch and epoch / 86400
end

--- The invoice is past due by a number of days that the app names, and not yet told of.
---@param row table as it is after the read
---@param read table
---@param context table with `overdue`, days past due, and `today`
---@return table? event without what every event has
function M.overdue_event(row, read, context)
  local due, today = day_of(row.due_date), day_of(context.today)
  if not due or not today or not is_positive(row.balance) then
    return nil
  end
  local first, step = day_of(os.date("%Y-%m-%d", math.floor(context.start / 1000))), nil
  for _, days in ipairs(context.overdue or {}) do
    if due + days <= today and due + days >= first and (not step or days > step) then
      step = days
    end
  end
  if not step or row.overdue_for == row.due_date and row.overdue_step >= step then
    return nil
  end
  return { id = ("%s:%s.overdue.%s+%d"):format(row.account, row.invoice, row.due_date, step),
    version = row.version, type = "invoice.overdue", data = read.text, step = step }
end

--- The event of a day past due, where one comes.
---@param change table
---@param row table
---@param read table
---@param context table
---@return table change the same
function M.add_overdue(change, row, read, context)
  row = after(row, change)
  local event = context.overdue and M.overdue_event(row, read, context)
  if event then
    M.put(change, row, "overdue_for", row.due_date)
    M.put(change, row, "overdue_step", event.step)
    event.step = nil
    add_event(change, context, event)
  end
  return change
end

return M

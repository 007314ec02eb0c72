--- The events that follow from two states of an invoice: its own event first (created, updated,
-- deleted), then one for each changed payment, then paid. Their types come from the two states,
-- never from a delivery. And the events of days past due.
--
-- Pure: rows, reads and contexts are those of app.check.

local compare = require "billhook.app.compare"
local core = require "billhook.core"
local json = require "billhook.json"

local M = {}

local function complete(event, row, context)
  event.account, event.vendor, event.invoice = row.account, context.vendor.name, row.invoice
  event.trust, event.live, event.occurred_at = context.trust, true, context.now
  event.rules = context.rules and context.rules(event.type) or {}
  return event
end

-- an id stands in logs and on command lines
local function tame(id)
  return #id <= 64 and id:find("^[%w_.:-]+$") and id or core.text.sha256(id):sub(1, 16)
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
  if not row.known then return type == "invoice.updated" and context.start or nil end
  -- what it was may no longer be kept
  return not row.deleted_at and not row.data and row.changed_at or nil
end

--- The events of a change.
---@param row table as it was
---@param after table as it will be
---@param read table? nil: the invoice is gone
---@param context table
---@param type string of the first event
---@param digest string of the new state, or of the one that was left where there is none
---@return table[] events
function M.events(row, after, read, context, type, digest)
  local list, vendor = {}, context.vendor
  local head = ("%s:%s@%d.%s."):format(row.account, row.invoice, after.version,
    digest:match(":(.*)"):sub(1, 8))
  local function add(kind, id, data, previous)
    list[#list + 1] = complete({ id = head .. id, version = after.version, type = kind, data = data,
      previous = previous }, row, context)
  end
  add(type, type:match "%.(.*)", read and read.text, row.data)
  local since, payments = told_since(row, type, context), 0
  for _, one in ipairs(compare.payment_changes(vendor, read and read.invoice,
    compare.decoded(row.data), context.watch)) do
    local at = since and one.payment and compare.payment_time(vendor, one.payment)
    if not at or at >= since then
      payments = payments + 1
      local kind = "payment." .. one.verb
      add(kind, kind .. "." .. tame(one.id), one.payment and json.encode(one.payment),
        one.previous and json.encode(one.previous))
    end
  end
  if read and is_paid(after) and (not row.known or row.deleted_at or not is_paid(row))
    and (not since or payments > 0 or not next(compare.payments(vendor, read.invoice))) then
    add("invoice.paid", "paid", read.text, row.data)
  end
  return list
end

-- the number of a day
local function day_of(date)
  return date and core.text.day(date)
end

--- By how many days, that the app names, an invoice is past due now; nil: none, or told already.
---@param row table as it is after the read
---@param context table with `overdue`, days past due, and `today`
---@return integer?
function M.overdue_step(row, context)
  local due, today = day_of(row.due_date), day_of(context.today)
  if not (context.overdue and due and today and is_positive(row.balance)) then return nil end
  local first, step = day_of(os.date("%Y-%m-%d", math.floor(context.start / 1000))), nil
  for _, days in ipairs(context.overdue) do
    if due + days <= today and due + days >= first then step = math.max(step or days, days) end
  end
  if step and row.overdue_for == row.due_date and row.overdue_step >= step then return nil end
  return step
end

--- And the event of that.
function M.overdue_event(row, read, context, step)
  return complete({ id = ("%s:%s.overdue.%s+%d"):format(row.account, row.invoice, row.due_date,
    step), version = row.version, type = "invoice.overdue", data = read.text }, row, context)
end

return M

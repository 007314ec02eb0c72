--- Compares two states of an invoice, and reads values from a state.
--
-- Two states of an invoice are equal if the members that its vendor documents are equal, however
-- they are spelled (app.normal). Undocumented members, and documented ones that do not describe the
-- invoice (`silent` in the vendor's table), are ignored unless the account's `watch` names them.
--
-- Pure: no clock, no store, no API.

local core = require "billhook.core"
local invoices = require "billhook.invoice"
local json = require "billhook.json"
local normal = require "billhook.app.normal"
local vendors = require "billhook.vendor"

local M = {}

--- The number of the algorithm: what a digest begins with. Another number says nothing about the
--- invoice, only about the program that wrote it.
M.ALGORITHM = "1"

--- What tells one state of an invoice from another: the algorithm's number and a SHA-256.
---@param vendor table the vendor's module
---@param invoice table decoded
---@param watch string[]? names ("reminded", "serie.name") that count besides the documented ones
---@return string digest "1:9f86d0..."
function M.digest(vendor, invoice, watch)
  local text = normal.text(normal.plan(vendor, watch), invoice) or ""
  return M.ALGORITHM .. ":" .. core.text.sha256(text)
end

--- The top-level members that differ, with the values as the vendor gave them.
---@param vendor table the vendor's module
---@param invoice table
---@param previous table
---@param watch string[]?
---@param payment boolean? they are states of a payment in it
---@return table<string, { from: any, to: any }>
function M.changes(vendor, invoice, previous, watch, payment)
  local plan, changes = normal.plan(vendor, watch), {}
  if payment then plan = plan.members[vendor.payments].of end
  local function look(name, node)
    if node and normal.text(node, previous[name]) ~= normal.text(node, invoice[name]) then
      changes[name] = { from = previous[name], to = invoice[name] }
    end
  end
  for name, node in pairs(plan.members) do look(name, node) end
  for _, one in ipairs(plan.open and { previous, invoice } or {}) do
    for name in pairs(one) do
      look(name, not plan.members[name] and not plan.silent[name] and normal.VALUE)
    end
  end
  return changes
end

local AHEAD = 300000 -- ms: a clock may be so much ahead of ours

--- Which of two states was written later, by what the vendor says of that. A moment beyond our own
--- says nothing: else one from the year 9999 would make all that comes after it old.
---@param vendor table the vendor's module
---@param invoice table
---@param previous table
---@param now integer? ms
---@param read_at integer? ms: when `previous` was last seen
---@return number order above 0: `invoice`; below 0: `previous`; 0: it cannot be told
function M.order(vendor, invoice, previous, now, read_at)
  local function written(one, seen)
    local at = vendor.written and M.time(vendor.written(one))
    return at and at <= (seen or math.huge) + AHEAD and at
  end
  local after, before = written(invoice, now), written(previous, read_at)
  return after and before and after - before or 0
end

--- A state that is kept as text, or nil.
---@param text string?
---@return table?
function M.decoded(text)
  local value = text and json.decode(text)
  return type(value) == "table" and value or nil
end

-- --- payments ----------------------------------------------------------------------------------

--- The payments that stand in an invoice, by id; none where the vendor's invoices hold none.
---@param vendor table the vendor's module
---@param invoice table
---@return table<string, table>
function M.payments(vendor, invoice)
  local found, value = {}, vendor.payments and invoice[vendor.payments]
  for id, payment in pairs(type(value) == "table" and normal.by_id(value) or {}) do
    if type(payment) == "table" and id:sub(1, 1) ~= "#" then found[id] = payment end
  end
  return found
end

-- "9" before "10"
local function by_number(a, b)
  if a:find("^%d+$") and b:find("^%d+$") and #a ~= #b then return #a < #b end
  return a < b
end

--- The payments that differ between two states, in order of their ids.
---@param vendor table the vendor's module
---@param invoice table? nil: there is none now, and so no payments
---@param previous table? nil: there was none before
---@param watch string[]?
---@return { id: string, verb: string, payment: table?, previous: table? }[]
function M.payment_changes(vendor, invoice, previous, watch)
  local list = {}
  if not vendor.payments then return list end
  local node = normal.plan(vendor, watch).members[vendor.payments].of
  local now = invoice and M.payments(vendor, invoice) or {}
  local before = previous and M.payments(vendor, previous) or {}
  for id, payment in pairs(now) do
    if vendor.is_refunded and vendor.is_refunded(payment)
      and not (before[id] and vendor.is_refunded(before[id])) then
      list[#list + 1] = { id = id, verb = "refunded", payment = payment, previous = before[id] }
    elseif not before[id] then
      list[#list + 1] = { id = id, verb = "created", payment = payment }
    elseif normal.text(node, payment) ~= normal.text(node, before[id]) then
      list[#list + 1] = { id = id, verb = "updated", payment = payment, previous = before[id] }
    end
  end
  for id, payment in pairs(before) do
    if not now[id] then list[#list + 1] = { id = id, verb = "deleted", previous = payment } end
  end
  table.sort(list, function(a, b) return by_number(a.id, b.id) end)
  return list
end

--- When a payment was recorded.
---@param vendor table the vendor's module
---@param payment table
---@return integer? ms nil where it does not say
function M.payment_time(vendor, payment)
  for _, name in ipairs(vendor.payment_time or {}) do
    local at = M.time(payment[name])
    if at then return at end
  end
  return nil
end

-- --- columns -----------------------------------------------------------------------------------

--- Milliseconds of an instant; of a date, the last of its day in UTC, so that "not before" holds
--- for all of the day.
---@param value any
---@return integer? ms
function M.time(value)
  if type(value) ~= "string" then return nil end
  local epoch = core.text.datetime(value)
  if not epoch and value:find("^%d%d%d%d%-%d%d%-%d%d$") then
    epoch = core.text.datetime(value .. "T23:59:59Z")
  end
  return epoch and math.floor(epoch * 1000 + 0.5)
end

local function money(value, digits)
  return value and tostring(value:round(math.max(digits, value:scale())))
end

--- What the table of invoices keeps beside the state; nil where the invoice does not say.
---@param invoice table tagged with its vendor
---@param today string? YYYY-MM-DD; without it nothing is overdue
---@return { number: string?, reference: string?, currency: string?, total: string?, paid: string?,
---  balance: string?, due_date: string?, status: string?, issued_at: integer? }
function M.columns(invoice, today)
  local currency = invoices.currency(invoice)
  local digits, vendor = invoices.digits(currency), vendors[invoices.vendor(invoice)]
  return {
    number = (invoices.number(invoice)), reference = (invoices.reference(invoice)),
    currency = currency, total = money(invoices.total(invoice), digits),
    paid = money(invoices.paid(invoice), digits),
    balance = money(invoices.balance(invoice), digits),
    due_date = (invoices.due_date(invoice)), status = (invoices.status(invoice, today)),
    issued_at = M.time(vendor.came(invoice)),
  }
end

return M

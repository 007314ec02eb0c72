--- Reads invoices of all three vendors in the same way.
--
-- Pure functions on invoices as the vendor sent them. The vendor is stored in a metatable, not in
-- the table itself. The client sets this metatable; use `tag` for invoices from elsewhere.
--
--     local invoices = require "billhook.invoice"
--     local invoice = invoices.tag("dreamapply", decoded)
--     print(invoices.number(invoice), invoices.balance(invoice), invoices.currency(invoice))
--
-- Amounts are decimals. If an invoice does not have a value, the result is nil and a message; no
-- amount is ever guessed. A value that is not an invoice raises.

local currencies = require "billhook.invoice.currency"
local members = require "billhook.invoice.members"
local options = require "billhook.options"
local statement = require "billhook.invoice.statement"

local answer = members.answer

---@class billhook.invoice
local M = {}

--- The number of decimals of a currency's amounts; 2 if the currency is not known.
---@param currency string?
---@return integer
function M.digits(currency) return currencies.digits(currency) end

local readers = {
  dreamapply = require "billhook.invoice.dreamapply",
  dreamclass = require "billhook.invoice.dreamclass",
  betterez = require "billhook.invoice.betterez",
}

-- compared as numbers: strings would be compared by the locale
local function is_before(day, other)
  return tonumber((day:gsub("-", ""))) < tonumber((other:gsub("-", "")))
end

local function balance_of(reader, invoice)
  return reader.total(invoice) - reader.paid(invoice)
end

local function is_overdue(reader, invoice, today)
  local dated, due = pcall(reader.due_date, invoice)
  if not dated then
    local known, balance = pcall(balance_of, reader, invoice)
    if known and balance:sign() <= 0 then return false end -- nothing is to be paid on any day
    error(due, 0)
  end
  return is_before(due, today) and balance_of(reader, invoice):sign() > 0
end

-- An invoice with a total of zero is paid, too.
local function status_of(reader, invoice, today)
  local paid, balance = reader.paid(invoice), balance_of(reader, invoice)
  if balance:sign() <= 0 then
    return paid:sign() > 0 and balance:sign() < 0 and "overpaid" or "paid"
  end
  local dated, due = pcall(reader.due_date, invoice)
  if today and dated and is_before(due, today) then return "overdue" end
  return paid:sign() > 0 and "part_paid" or "open"
end

local tags = {}
for vendor in pairs(readers) do
  tags[vendor] = { vendor = vendor, __name = "billhook.invoice" }
end

--- Marks an invoice as one of this vendor. Returns the same table.
---@param vendor string
---@param invoice table
---@return table
function M.tag(vendor, invoice)
  if not tags[vendor] then
    error(options.wrong("billhook.invoice.tag", "vendor",
      "must be dreamapply, dreamclass or betterez", vendor), 2)
  elseif type(invoice) ~= "table" then
    error(options.wrong("billhook.invoice.tag", "invoice", "must be a table", invoice), 2)
  end
  return setmetatable(invoice, tags[vendor])
end

--- The vendor that an invoice is from, or nil.
---@param invoice any
---@return string?
function M.vendor(invoice)
  local tag = type(invoice) == "table" and getmetatable(invoice)
  return type(tag) == "table" and tags[tag.vendor] == tag and tag.vendor or nil
end

local function reader_of(invoice, name)
  local vendor = M.vendor(invoice)
  if not vendor then
    local why = options.wrong("billhook.invoice." .. name, "invoice", "must be an invoice", invoice)
    error(type(invoice) == "table" and why .. " that no client gave: event:invoice() asks the API;"
      .. " invoices.tag(vendor, table) is for tables of your own" or why, 3)
  end
  return readers[vendor]
end

local function check_day(day, name)
  if type(day) ~= "string" or not members.is_day(day) then
    error(options.wrong("billhook.invoice." .. name, "day", "must be a date YYYY-MM-DD", day), 3)
  end
end

--- The lines of an invoice. Only DreamApply documents them: `items`; without `qty` the quantity is
-- 1. `amount` is price x quantity, rounded to the currency's digits, half away from zero.
---@param invoice table
---@return { description: string?, quantity: billhook.decimal, unit: string?,
---  price: billhook.decimal, amount: billhook.decimal }[]? lines
---@return string? why
function M.lines(invoice)
  return answer(reader_of(invoice, "lines").lines, invoice)
end

--- The total. DreamApply: the sum of the lines, each rounded to the currency's digits, half away
-- from zero. DreamClass: `amount`. Betterez: `totals.total` or `total`, if a currency is beside it.
---@param invoice table
---@return billhook.decimal? total
---@return string? why
function M.total(invoice)
  return answer(reader_of(invoice, "total").total, invoice)
end

--- The paid amount. DreamApply: captured payments and payments recorded by hand. DreamClass:
-- `paidAmount`, else the valid `payments`; a webhook's data has neither. Betterez has none.
---@param invoice table
---@return billhook.decimal? paid
---@return string? why
function M.paid(invoice)
  return answer(reader_of(invoice, "paid").paid, invoice)
end

--- The payments of an invoice, in order of their ids. `counts`: the payment is part of `paid`.
-- `status` is the gateway's word, or the meaning of DreamClass's number. `method` is the gateway's
-- name, or the number of DreamClass's payment method.
---@param invoice table
---@return { id: string, amount: billhook.decimal, date: string?, method: string?, status: string?,
---  counts: boolean }[]? payments
---@return string? why
function M.payments(invoice)
  return answer(reader_of(invoice, "payments").payments, invoice)
end

--- The amount still to be paid; negative if too much was paid.
---@param invoice table
---@return billhook.decimal? balance
---@return string? why
function M.balance(invoice)
  local reader = reader_of(invoice, "balance")
  return answer(function() return balance_of(reader, invoice) end)
end

--- The number by which people know the invoice: DreamApply's `nr`, DreamClass's `id`, Betterez's
-- `number`.
---@param invoice table
---@return string? number
---@return string? why
function M.number(invoice)
  return answer(reader_of(invoice, "number").number, invoice)
end

--- The reference in other books: DreamClass's `invoiceRefId`, which the school assigns and a new
-- invoice does not have. The other vendors have none.
---@param invoice table
---@return string? reference
---@return string? why
function M.reference(invoice)
  return answer(reader_of(invoice, "reference").reference, invoice)
end

--- The currency in three capital letters, however the vendor writes it. DreamClass has none.
---@param invoice table
---@return string? currency
---@return string? why
function M.currency(invoice)
  return answer(reader_of(invoice, "currency").currency, invoice)
end

--- The due date, as YYYY-MM-DD.
---@param invoice table
---@return string? day
---@return string? why
function M.due_date(invoice)
  return answer(reader_of(invoice, "due_date").due_date, invoice)
end

--- The date of issue, as YYYY-MM-DD: DreamApply's `issued`, DreamClass's `issueDate`,
-- Betterez's `createdAt`, each in the time zone in which it is written.
---@param invoice table
---@return string? day
---@return string? why
function M.issued(invoice)
  return answer(reader_of(invoice, "issued").issued, invoice)
end

--- The payer: { name, email }, either of which may be absent.
---@param invoice table
---@return { name: string?, email: string? }? payer
---@return string? why
function M.payer(invoice)
  return answer(reader_of(invoice, "payer").payer, invoice)
end

--- The status on a day: "paid" (also if the total is zero), "overpaid", "overdue" (the due date has
-- passed and the balance is positive), "part_paid" or "open". None of the three vendors documents
-- void invoices, so "void" is never returned.
---@param invoice table
---@param today string? YYYY-MM-DD; without it no invoice is overdue
---@return "open"|"part_paid"|"paid"|"overpaid"|"overdue"|"void"|nil status
---@return string? why
function M.status(invoice, today)
  local reader = reader_of(invoice, "status")
  if today ~= nil then check_day(today, "status") end
  return answer(function() return status_of(reader, invoice, today) end)
end

--- Whether the due date has passed on that day and the balance is positive.
---@param invoice table
---@param today string YYYY-MM-DD
---@return boolean? overdue
---@return string? why
function M.is_overdue(invoice, today)
  local reader = reader_of(invoice, "is_overdue")
  check_day(today, "is_overdue")
  return answer(function() return is_overdue(reader, invoice, today) end)
end

--- What each payer owes on a day: one account for each payer and currency, in the order of the
-- list. Payers are told apart by their e-mail address, else by their name. An account has its
-- invoices as `lines`, by the day they were issued, each with `running`, the balance up to it; the
-- sums `total`, `paid` and `balance`; and `ageing`, the balance by the days that the due dates are
-- past: `not_due`, `days_1_30`, `days_31_60`, `days_61_90`, `over_90`. An overpaid amount counts in
-- the bucket of its invoice, so the buckets add up to `balance`.
--
-- Returns nil and a reason with the ids if an invoice lacks a needed value, because a statement
-- without that invoice would be wrong. `currency` is nil if the vendor gives none.
---@param list table[] invoices, of any of the vendors
---@param day string YYYY-MM-DD
---@return { payer: { name: string?, email: string? }, currency: string?, lines: { invoice: table,
---  number: string, issued: string, due_date: string?, total: billhook.decimal,
---  paid: billhook.decimal, balance: billhook.decimal, running: billhook.decimal }[],
---  total: billhook.decimal, paid: billhook.decimal, balance: billhook.decimal,
---  ageing: table<string, billhook.decimal> }[]? accounts
---@return string? why
function M.statement(list, day)
  if type(list) ~= "table" then
    error(options.wrong("billhook.invoice.statement", "list", "must be a list of invoices",
      list), 2)
  end
  check_day(day, "statement")
  for _, invoice in ipairs(list) do reader_of(invoice, "statement") end
  return statement.make(list, day, function(invoice) return readers[M.vendor(invoice)] end)
end

return M

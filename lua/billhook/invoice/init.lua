--- What an invoice says, whichever of the three vendors it comes from.
--
-- Pure functions on invoices as the vendor sent them. A metatable, and nothing in the table itself,
-- remembers the vendor: the client sets it, `tag` does for invoices from elsewhere.
--
--     local invoices = require "billhook.invoice"
--     local invoice = invoices.tag("dreamapply", decoded)
--     print(invoices.number(invoice), invoices.balance(invoice), invoices.currency(invoice))
--
-- Amounts are decimals. What an invoice does not say is nil and a message: no amount is ever
-- guessed. What is no invoice at all raises.

local currencies = require "billhook.invoice.currency"
local members = require "billhook.invoice.members"
local options = require "billhook.options"
local statement = require "billhook.invoice.statement"

local answer = members.answer

---@class billhook.invoice
local M = {}

--- How many digits a currency's amounts have after the point; 2 where it is not known.
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

-- An invoice over nothing is paid, too: there is nothing to pay.
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

--- Remembers which vendor an invoice is from; gives the same table.
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

--- What is on it. DreamApply alone documents its lines: `items`, where a line without `qty` is one.
-- `amount` is price x quantity, rounded to the currency's digits, half away from zero.
---@param invoice table
---@return { description: string?, quantity: billhook.decimal, unit: string?,
---  price: billhook.decimal, amount: billhook.decimal }[]? lines
---@return string? why
function M.lines(invoice)
  return answer(reader_of(invoice, "lines").lines, invoice)
end

--- The sum of its lines, each rounded to the currency's digits, half away from zero; DreamClass's
-- `amount`; Betterez's `totals.total` or `total`, where it stands beside a currency.
---@param invoice table
---@return billhook.decimal? total
---@return string? why
function M.total(invoice)
  return answer(reader_of(invoice, "total").total, invoice)
end

--- What came in. DreamApply: captured payments and those recorded by hand. DreamClass:
-- `paidAmount`, else the valid `payments`; a webhook's data has neither. Betterez does not tell.
---@param invoice table
---@return billhook.decimal? paid
---@return string? why
function M.paid(invoice)
  return answer(reader_of(invoice, "paid").paid, invoice)
end

--- The payments that it holds, in order of their ids. `counts`: it is money that came in (see
-- `paid`); `status` is the gateway's word, or what DreamClass's number stands for; `method` the
-- gateway's name, or the number of DreamClass's payment method.
---@param invoice table
---@return { id: string, amount: billhook.decimal, date: string?, method: string?, status: string?,
---  counts: boolean }[]? payments
---@return string? why
function M.payments(invoice)
  return answer(reader_of(invoice, "payments").payments, invoice)
end

--- What is still to be paid; below zero where too much was.
---@param invoice table
---@return billhook.decimal? balance
---@return string? why
function M.balance(invoice)
  local reader = reader_of(invoice, "balance")
  return answer(function() return balance_of(reader, invoice) end)
end

--- The number that people know it by: DreamApply's `nr`, DreamClass's `id`, Betterez's `number`.
---@param invoice table
---@return string? number
---@return string? why
function M.number(invoice)
  return answer(reader_of(invoice, "number").number, invoice)
end

--- What other books call it: DreamClass's `invoiceRefId`, which is the school's own and absent on a
-- new invoice. The others have none.
---@param invoice table
---@return string? reference
---@return string? why
function M.reference(invoice)
  return answer(reader_of(invoice, "reference").reference, invoice)
end

--- Three capital letters, however the vendor writes them; DreamClass does not say.
---@param invoice table
---@return string? currency
---@return string? why
function M.currency(invoice)
  return answer(reader_of(invoice, "currency").currency, invoice)
end

--- The day by which it is to be paid, as YYYY-MM-DD.
---@param invoice table
---@return string? day
---@return string? why
function M.due_date(invoice)
  return answer(reader_of(invoice, "due_date").due_date, invoice)
end

--- The day that it is dated, as YYYY-MM-DD: DreamApply's `issued`, DreamClass's `issueDate`,
-- Betterez's `createdAt`, each in the time zone that it is written in.
---@param invoice table
---@return string? day
---@return string? why
function M.issued(invoice)
  return answer(reader_of(invoice, "issued").issued, invoice)
end

--- Who is to pay: { name, email }, either of which may be absent.
---@param invoice table
---@return { name: string?, email: string? }? payer
---@return string? why
function M.payer(invoice)
  return answer(reader_of(invoice, "payer").payer, invoice)
end

--- How it stands on that day: "paid" (also where there is nothing to pay), "overpaid", "overdue"
-- (its due date has passed and something is to be paid), "part_paid" or "open". No document of the
-- three vendors shows what a void invoice looks like: "void" is never said.
---@param invoice table
---@param today string? YYYY-MM-DD; without it nothing is overdue
---@return "open"|"part_paid"|"paid"|"overpaid"|"overdue"|"void"|nil status
---@return string? why
function M.status(invoice, today)
  local reader = reader_of(invoice, "status")
  if today ~= nil then check_day(today, "status") end
  return answer(function() return status_of(reader, invoice, today) end)
end

--- Whether on that day its due date has passed and something is still to be paid.
---@param invoice table
---@param today string YYYY-MM-DD
---@return boolean? overdue
---@return string? why
function M.is_overdue(invoice, today)
  local reader = reader_of(invoice, "is_overdue")
  check_day(today, "is_overdue")
  return answer(function() return is_overdue(reader, invoice, today) end)
end

--- What each payer owes on a day: one account for each payer and currency, in the order in which
-- they come in the list. Payers are told apart by their address, else by their name. An account has
-- its invoices as `lines`, by the day they were issued, each with `running`, the balance up to it;
-- the sums `total`, `paid` and `balance`; and `ageing`, the balance by the days that the due dates
-- are past: `not_due`, `days_1_30`, `days_31_60`, `days_61_90`, `over_90`. What was paid too much
-- ages with its invoice, so the buckets add up to `balance`.
--
-- nil and why, with the ids, where one of the invoices does not say what is needed: a statement
-- that leaves an invoice out would be wrong. `currency` is nil where the vendor tells none.
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

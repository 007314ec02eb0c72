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

local core = require "billhook.core"
local members = require "billhook.members"

local amount, date, list, missing = members.amount, members.date, members.list, members.missing
local object, person, text = members.object, members.person, members.text
local answer, decimal = members.answer, core.decimal

local M = {}

-- ISO 4217: the digits after the point, where they are not two
local digits = {
  BIF = 0, CLP = 0, DJF = 0, GNF = 0, ISK = 0, JPY = 0, KMF = 0, KRW = 0, PYG = 0, RWF = 0, UGX = 0,
  UYI = 0, VND = 0, VUV = 0, XAF = 0, XOF = 0, XPF = 0,
  BHD = 3, IQD = 3, JOD = 3, KWD = 3, LYD = 3, OMR = 3, TND = 3,
  CLF = 4, UYW = 4,
}

--- How many digits a currency's amounts have after the point; 2 where it is not known.
---@param currency string?
---@return integer
function M.digits(currency)
  return type(currency) == "string" and digits[currency:upper()] or 2
end

local function never(what)
  return function()
    missing("invoices of this vendor do not tell %s", what)
  end
end

-- --- DreamApply --------------------------------------------------------------------------------

local dreamapply = {}

function dreamapply.number(invoice)
  return text(invoice.nr, "nr")
end

function dreamapply.currency(invoice)
  return text(invoice.currency, "currency")
end

-- each line is rounded, as it is on paper; then they are added
function dreamapply.total(invoice)
  local places = M.digits(dreamapply.currency(invoice))
  local sum = decimal.new(0):round(places)
  for i, line in ipairs(list(invoice.items, "items")) do
    object(line, "items")
    local price = amount(line.price, ("items[%d].price"):format(i))
    local quantity = line.qty -- one thing has none
    if quantity == nil or quantity == core.json.null then
      quantity = 1
    end
    quantity = amount(quantity, ("items[%d].qty"):format(i))
    sum = sum + (price * quantity):round(places)
  end
  return sum
end

-- Money came in where a gateway captured it, or where somebody recorded it by hand: then there is
-- no payment beside it.
local function is_money(transaction, name)
  local payment = transaction.payment
  if payment == nil or payment == core.json.null then
    return true
  elseif type(payment) ~= "table" then
    missing("%s.payment of the invoice is not known", name)
  end
  return payment.status == "captured"
end

function dreamapply.paid(invoice)
  local places = M.digits(dreamapply.currency(invoice))
  local sum = decimal.new(0):round(places)
  for id, transaction in pairs(object(invoice.collections, "collections")) do
    local name = ("collections[%s]"):format(tostring(id))
    object(transaction, name)
    if is_money(transaction, name) then
      sum = sum + amount(transaction.amount, name .. ".amount"):round(places)
    end
  end
  return sum
end

function dreamapply.due_date(invoice)
  return date(invoice.deadline, "deadline")
end

function dreamapply.payer(invoice)
  local payer = object(invoice.payer, "payer")
  return person(payer.name, payer.email)
end

-- --- DreamClass --------------------------------------------------------------------------------

local dreamclass = { currency = never "a currency" }

function dreamclass.number(invoice)
  return text(invoice.invoiceRefId, "invoiceRefId")
end

-- the currency is not known, so nothing is cut off
function dreamclass.total(invoice)
  local total = amount(invoice.amount, "amount")
  return total:round(math.max(2, total:scale()))
end

local VALID = 1 -- a payment's status

-- The answers of the API tell what was paid; a webhook's data has neither member.
function dreamclass.paid(invoice)
  local said = invoice.paidAmount
  if said ~= nil and said ~= core.json.null then
    local paid = amount(said, "paidAmount")
    return paid:round(math.max(2, paid:scale()))
  end
  local sum = decimal.new(0):round(2)
  for id, payment in pairs(object(invoice.payments, "paidAmount and no payments")) do
    local name = ("payments[%s]"):format(tostring(id))
    local paid, status = amount(object(payment, name).amount, name .. ".amount"), payment.status
    if status == nil or status == core.json.null or status == VALID then
      sum = sum + paid
    end
  end
  return sum
end

function dreamclass.due_date(invoice)
  return date(invoice.dueDate, "dueDate")
end

function dreamclass.payer(invoice)
  return person(invoice.fullname, invoice.email)
end

-- --- Betterez ----------------------------------------------------------------------------------

local betterez = { paid = never "what was paid", due_date = never "a due date" }

function betterez.number(invoice)
  return text(invoice.number, "number")
end

function betterez.currency(invoice)
  return text(invoice.currency, "currency")
end

-- What totals look like depends on the provider and is not documented: one counts only as a plain
-- amount beside its currency.
function betterez.total(invoice)
  local totals = type(invoice.totals) == "table" and invoice.totals or invoice
  if totals.total == nil then
    missing("the invoice has no total")
  end
  return amount(totals.total, "total"):round(M.digits(betterez.currency(invoice)))
end

function betterez.payer(invoice)
  local buyer = object(invoice.buyer, "buyer")
  return person(buyer.name, buyer.email)
end

-- --- for all of them ---------------------------------------------------------------------------

local readers = { dreamapply = dreamapply, dreamclass = dreamclass, betterez = betterez }

for _, reader in pairs(readers) do
  function reader.balance(invoice)
    return reader.total(invoice) - reader.paid(invoice)
  end

  function reader.is_overdue(invoice, today)
    local dated, due = pcall(reader.due_date, invoice)
    if not dated then
      local known, balance = pcall(reader.balance, invoice)
      if known and balance:sign() <= 0 then
        return false -- nothing is to be paid on any day
      end
      error(due, 0)
    end
    -- compared as numbers: strings would be compared by the locale
    return tonumber((due:gsub("-", ""))) < tonumber((today:gsub("-", "")))
      and reader.balance(invoice):sign() > 0
  end
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
    error(("bad argument #1 to 'tag' (unknown vendor '%s')"):format(tostring(vendor)), 2)
  elseif type(invoice) ~= "table" then
    error(("bad argument #2 to 'tag' (table expected, got %s)"):format(type(invoice)), 2)
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
    error(("bad argument #1 to '%s' (invoice expected, got %s)"):format(name,
      type(invoice) == "table" and "a table that no client gave: event:invoice() asks the API;"
      .. " invoices.tag(vendor, table) is for tables of your own" or type(invoice)), 3)
  end
  return readers[vendor]
end

--- The sum of its lines, each rounded to the currency's digits, half away from zero.
---@param invoice table
---@return billhook.decimal? total
---@return string? why
function M.total(invoice)
  return answer(reader_of(invoice, "total").total, invoice)
end

--- What came in: captured payments and those recorded by hand.
---@param invoice table
---@return billhook.decimal? paid
---@return string? why
function M.paid(invoice)
  return answer(reader_of(invoice, "paid").paid, invoice)
end

--- What is still to be paid; below zero where too much was.
---@param invoice table
---@return billhook.decimal? balance
---@return string? why
function M.balance(invoice)
  return answer(reader_of(invoice, "balance").balance, invoice)
end

--- The number that people know it by.
---@param invoice table
---@return string? number
---@return string? why
function M.number(invoice)
  return answer(reader_of(invoice, "number").number, invoice)
end

--- Three letters, as the vendor says them; DreamClass does not.
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

--- Who is to pay: { name, email }, either of which may be absent.
---@param invoice table
---@return { name: string?, email: string? }? payer
---@return string? why
function M.payer(invoice)
  return answer(reader_of(invoice, "payer").payer, invoice)
end

--- Whether on that day its due date has passed and something is still to be paid.
---@param invoice table
---@param today string YYYY-MM-DD
---@return boolean? overdue
---@return string? why
function M.is_overdue(invoice, today)
  local reader = reader_of(invoice, "is_overdue")
  if type(today) ~= "string" or not members.is_day(today) then
    error("bad argument #2 to 'is_overdue' (date YYYY-MM-DD expected)", 2)
  end
  return answer(reader.is_overdue, invoice, today)
end

return M

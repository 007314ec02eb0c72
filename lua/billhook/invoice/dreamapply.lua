--- What an invoice of DreamApply says (docs/vendors.md, section 1.6): its lines add up to the
-- total, its collections to what was paid.

local core = require "billhook.core"
local currencies = require "billhook.invoice.currency"
local members = require "billhook.invoice.members"

local amount, object = members.amount, members.object
local decimal = core.decimal

local M = {}

function M.number(invoice) return members.name(invoice.nr, "nr") end

function M.reference() members.missing("invoices of this vendor have no reference") end

function M.currency(invoice) return currencies.read(invoice.currency) end

-- each line is rounded, as it is on paper
function M.lines(invoice)
  local places, lines = currencies.digits(M.currency(invoice)), {}
  for i, line in ipairs(members.list(invoice.items, "items")) do
    object(line, "items")
    local price = amount(line.price, ("items[%d].price"):format(i))
    local quantity = line.qty -- one thing has none
    if quantity == nil or quantity == core.json.null then quantity = 1 end
    quantity = amount(quantity, ("items[%d].qty"):format(i))
    lines[i] = {
      description = type(line.item) == "string" and line.item or nil, quantity = quantity,
      unit = type(line.unit) == "string" and line.unit or nil, price = price,
      amount = (price * quantity):round(places),
    }
  end
  return lines
end

function M.total(invoice)
  local sum = decimal.new(0):round(currencies.digits(M.currency(invoice)))
  for _, line in ipairs(M.lines(invoice)) do sum = sum + line.amount end
  return sum
end

-- Money came in where a gateway captured it, or where somebody recorded it by hand: then there is
-- no payment beside it.
local function is_money(transaction, name)
  local payment = transaction.payment
  if payment == nil or payment == core.json.null then return true end
  if type(payment) ~= "table" then
    members.missing("%s.payment of the invoice is not known", name)
  end
  return payment.status == "captured"
end

function M.paid(invoice)
  local places = currencies.digits(M.currency(invoice))
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

function M.payments(invoice)
  local places = currencies.digits(M.currency(invoice))
  local function read(transaction, name, id)
    local payment = transaction.payment
    local gateway = type(payment) == "table" and payment.gateway
    return {
      id = id, amount = amount(transaction.amount, name .. ".amount"):round(places),
      date = members.day(transaction.collected, name .. ".collected"),
      method = type(gateway) == "table" and gateway.name or nil,
      status = type(payment) == "table" and payment.status or nil,
      counts = is_money(transaction, name),
    }
  end
  return members.by_id(object(invoice.collections, "collections"), "collections", read)
end

function M.due_date(invoice) return members.date(invoice.deadline, "deadline") end

function M.issued(invoice) return members.date(invoice.issued, "issued") end

function M.payer(invoice)
  local payer = object(invoice.payer, "payer")
  return members.person(payer.name, payer.email)
end

return M

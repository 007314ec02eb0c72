--- What an invoice of DreamClass says (docs/vendors.md, sections 2.1 and 2.2). The answers of its
-- API tell what was paid; a webhook's data has neither `paidAmount` nor `payments`.

local core = require "billhook.core"
local members = require "billhook.invoice.members"

local amount, object, missing = members.amount, members.object, members.missing
local decimal = core.decimal

local M = {}

-- "number of the invoice" is what the documents call its id
function M.number(invoice) return members.name(invoice.id, "id") end

-- what the school's own books call it: theirs to set, and null on a new invoice
function M.reference(invoice) return members.name(invoice.invoiceRefId, "invoiceRefId") end

function M.currency() missing("invoices of this vendor do not tell a currency") end

function M.lines() missing("invoices of this vendor tell the ids of their fees, and no lines") end

-- the currency is not known, so nothing is cut off
local function whole(value) return value:round(math.max(2, value:scale())) end

function M.total(invoice) return whole(amount(invoice.amount, "amount")) end

local function text_of(status)
  return type(status) == "number" and ("%.14g"):format(status) or tostring(status)
end

-- of a payment: 1 valid, 2 invalid, 3 pending, 4 refunded
local STATUS = { ["1"] = "valid", ["2"] = "invalid", ["3"] = "pending", ["4"] = "refunded" }

local function is_money(payment, name)
  local status = payment.status
  if status == nil or status == core.json.null then return true end
  local known = STATUS[text_of(status)]
  if not known then missing("%s.status of the invoice is not known", name) end
  return known == "valid"
end

function M.paid(invoice)
  local said = invoice.paidAmount
  if said ~= nil and said ~= core.json.null then return whole(amount(said, "paidAmount")) end
  local sum = decimal.new(0):round(2)
  for id, payment in pairs(object(invoice.payments, "paidAmount and no payments")) do
    local name = ("payments[%s]"):format(tostring(id))
    local paid = amount(object(payment, name).amount, name .. ".amount")
    if is_money(payment, name) then sum = sum + paid end
  end
  return sum
end

function M.payments(invoice)
  local function read(payment, name, id)
    local method = payment.paymentmethod
    if type(method) == "table" then method = method.id end
    return {
      id = id, amount = whole(amount(payment.amount, name .. ".amount")),
      date = members.day(payment.date or payment.createdAt, name .. ".date"),
      method = method ~= nil and method ~= core.json.null
        and members.name(method, name .. ".paymentmethod") or nil,
      status = STATUS[text_of(payment.status)], counts = is_money(payment, name),
    }
  end
  return members.by_id(object(invoice.payments, "payments"), "payments", read)
end

function M.due_date(invoice) return members.date(invoice.dueDate, "dueDate") end

function M.issued(invoice) return members.date(invoice.issueDate, "issueDate") end

function M.payer(invoice) return members.person(invoice.fullname, invoice.email) end

return M

--- What an invoice of Betterez says (docs/vendors.md, section 3.3). Its amounts, lines and buyer
-- are the provider's own, in a shape that no document shows: they count where they are plain.

local currencies = require "billhook.invoice.currency"
local members = require "billhook.invoice.members"

local missing = members.missing

local M = {}

function M.number(invoice) return members.name(invoice.number, "number") end

function M.reference() missing("invoices of this vendor have no reference") end

function M.currency(invoice) return currencies.read(invoice.currency) end

function M.lines() missing("invoices of this vendor have lines in no documented shape") end

-- a plain amount beside its currency
function M.total(invoice)
  local total = type(invoice.totals) == "table" and invoice.totals.total
  if not total then total = invoice.total end
  if total == nil then missing("the invoice has no total") end
  return members.amount(total, "total"):round(currencies.digits(M.currency(invoice)))
end

function M.paid() missing("invoices of this vendor do not say what was paid") end

function M.payments() missing("invoices of this vendor do not say what was paid") end

function M.due_date() missing("invoices of this vendor do not tell a due date") end

function M.issued(invoice)
  local at = invoice.createdAt
  return members.date(type(at) == "table" and at.value or at, "createdAt")
end

function M.payer(invoice)
  local buyer = members.object(invoice.buyer, "buyer")
  return members.person(buyer.name, buyer.email)
end

return M

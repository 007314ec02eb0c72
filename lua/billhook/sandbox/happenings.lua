-- happenings.lua - the sandbox's DreamApply: what happens there without its API, by people in its
-- web interface and by gateways; and what never happened, by a forger.

local books = require "billhook.sandbox.books"
local filters = require "billhook.sandbox.filters"
local json = require "billhook.json"
local past = require "billhook.sandbox.past"
local sender = require "billhook.sandbox.sender"
local values = require "billhook.sandbox.values"

local M = {}

local null = json.null

local triggers = {}

triggers["invoice.created"] = function() return "Invoice was created: ?" end

triggers["invoice.updated"] = function(world, invoice, args)
  local items = args.items and books.lines_of(args.items)
  if args.items and not items or args.amount and not books.decimal(args.amount) then
    return nil, "items or amount cannot be read"
  end
  local copy = values.copy(invoice)
  copy.items = items or copy.items
  if args.amount then copy.items[1].price = books.decimal(args.amount) end
  if books.total(copy) ~= books.total(invoice) then copy.collected = null end
  for _, name in ipairs { "deadline", "instructions", "smallprint", "type" } do
    copy[name] = args[name] or copy[name]
  end
  books.put(world, copy.id, copy)
  return "Invoice was edited: ?"
end

triggers["invoice.deleted"] = function(world, invoice)
  books.put(world, invoice.id, nil)
  return "Invoice was deleted: ?"
end

triggers["invoice.lapsed"] = function(world, invoice)
  local copy = values.copy(invoice)
  copy.lapsed = true
  books.put(world, copy.id, copy)
  return "Invoice was lapsed: ?"
end

triggers["invoice.detached"] = function(world, invoice)
  local id = filters.id_in(invoice.applicant)
  if not id then return nil, "the invoice has no applicant" end
  return books.delete_applicant(world, id)
end

local function rest_of(invoice) return (books.total(invoice) - books.paid_so_far(invoice)) / 100 end

triggers["invoice.collected"] = function(world, invoice)
  if rest_of(invoice) <= 0 then return "Invoice was collected: ?" end
  local _, delivery = books.pay(world, invoice, books.decimal(rest_of(invoice)))
  return delivery
end

local statuses = { new = true, canceled = true, failed = true, captured = true }

local function untold(kind, invoice, transaction)
  local delivery = sender.untold("dreamapply", kind, tostring(invoice.id))
  delivery.payment = transaction and tostring(transaction)
  return delivery
end

triggers["payment.created"] = function(world, invoice, args)
  local amount = books.decimal(args.amount or rest_of(invoice))
  if not amount or args.status and not statuses[args.status] then
    return nil, "amount or status cannot be read"
  end
  local payment = (args.gateway or args.status) and books.gateway_payment(world, args)
  local id, delivery = books.pay(world, invoice, amount, payment)
  return delivery or untold("payment.created", invoice, id)
end

-- the transaction that is named, or the first
local function chosen(invoice, args)
  if args.payment then return invoice.collections[tostring(args.payment)] end
  local first
  for _, one in pairs(invoice.collections) do
    if not first or one.id < first.id then first = one end
  end
  return first
end

triggers["payment.updated"] = function(world, invoice, args)
  local copy = values.copy(invoice)
  local one = chosen(copy, args)
  if not one or one.payment == null then return nil, "no payment of a gateway" end
  if not statuses[args.status] then return nil, "status cannot be read" end
  one.payment.status, one.payment.message = args.status, args.message or null
  one.payment.updated = values.iso(world:now())
  return books.settle(world, copy) or untold("payment.updated", invoice, one.id)
end

triggers["payment.deleted"] = function(world, invoice, args)
  local copy = values.copy(invoice)
  local one = chosen(copy, args)
  if not one then return nil, "no payment" end
  copy.collections[tostring(one.id)] = nil
  return books.settle(world, copy) or untold("payment.deleted", invoice, one.id)
end

local function create(world, args)
  local fields = { currency = args.currency or "EUR", deadline = args.deadline,
    serie_ID = args.serie_ID, type = args.invoice_type, items = args.items or
    { { item = "Tuition fee", price = args.amount or "1000.00", qty = "1.00" } } }
  local good, why = books.checked(world, fields)
  if not good then return nil, why end
  return books.add(world, values.number(args.application) or 2, fields, good)
end

local function restore(world, args)
  local id = values.number(args.invoice)
  local invoice = id and past.deleted(world.dreamapply.invoices, id)
  if not invoice then return nil, "no deleted invoice " .. tostring(args.invoice) end
  books.put(world, id, invoice)
  return books.record(world, args.says or "Invoice was restored: ?", books.about_invoice(invoice))
end

-- The invoice that something happens to: the one that is named, or a new one.
local function subject(world, args)
  if args.invoice == nil then return create(world, args) end
  local invoice = books.latest(world, values.number(args.invoice))
  if not invoice then return nil, "no invoice " .. tostring(args.invoice) end
  return invoice
end

--- Makes something happen as if in the web interface: type "invoice.created", .updated, .deleted,
--- .restored, .collected, .lapsed, .detached, "payment.created", .updated, .deleted,
--- "applicant.deleted"; or a sentence of the journal. Gives the delivery that tells of it, or nil
--- and what there is not. `says` is another sentence for it: of the vendor's own hardly one is
--- documented.
function M.trigger(world, args)
  local kind = args.type or "invoice.created"
  if kind == "invoice.restored" then return restore(world, args) end
  if kind == "applicant.deleted" then
    local id = values.number(args.applicant)
    if not id or not books.exists(world, id) then
      return nil, "no applicant " .. tostring(args.applicant)
    end
    return books.delete_applicant(world, id)
  end
  local trigger = triggers[kind]
  if not trigger and kind:find("^[%l_]+%.[%l_]+$") then
    return nil, values.no_event("DreamApply", kind, triggers)
  end
  local invoice, why = subject(world, args)
  if not invoice then return nil, why end
  local told = kind
  if trigger then
    told, why = trigger(world, invoice, args)
  end
  if type(told) ~= "string" then return told, why end
  return books.record(world, args.says or told, books.about_invoice(invoice))
end

--- A delivery that the vendor never sent: what it says is the forger's, and so is the header
--- unless `proof` is "captured".
function M.forge(world, args, proof)
  local my, options = world.dreamapply, world.options.dreamapply
  local id = values.number(args.invoice) or 1
  local item = books.item_of(world, values.number(args.id) or #my.journal + 100000,
    args.type or "Invoice was edited: ?", { bind = json.array { ("AF-%d"):format(100000 + id) },
      invoice = books.link("invoices", id) })
  return sender.send(world, "dreamapply", { id = tostring(item.id), type = item.event,
    invoice = tostring(id), data = item }, function()
    local body, headers = books.body_of(options, item)
    if proof == "wrong" then headers["Authorization"] = "Bearer guess" end
    return body, headers
  end)
end

return M

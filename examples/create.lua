-- create.lua: one invoice for one order, however often this is run.
--
--   DREAMAPPLY_URL=... DREAMAPPLY_KEY=... lua5.4 create.lua APPLICATION ORDER PRICE [TEXT]
--   lua5.4 create.lua 123 order-881 25.00 "Airport pickup"
--
-- The order's name goes into the invoice's small print (the payer sees it), and an invoice of this
-- application that has it already is the result: how = "found". Where the answer is lost the client
-- looks by itself; where even that leaves it open, nothing is sent again on a guess: exit code 3,
-- and the next run looks again.

local billhook = require "billhook"

local application, order, price, text = tonumber(arg[1] or ""), arg[2], arg[3], arg[4]
if not (application and order and price) then
  io.stderr:write "usage: create.lua APPLICATION ORDER PRICE [TEXT]\n"
  os.exit(2)
end

local apply = billhook.dreamapply {
  base_url = assert(os.getenv "DREAMAPPLY_URL", "DREAMAPPLY_URL is not set"),
  api_key = assert(os.getenv "DREAMAPPLY_KEY", "DREAMAPPLY_KEY is not set"),
}

local made, err = apply.invoices:create(application, {
  currency = "EUR",
  items = { { item = text or "Order " .. order, price = billhook.decimal(price), qty = 1 } },
}, { reference = { field = "smallprint", value = order } })

if made then
  print(("invoice %s (%s)"):format(tostring(made.id), made.how))
elseif err.kind == "unknown_outcome" then
  io.stderr:write("unknown: run this again later, or look: ", tostring(err), "\n")
  os.exit(3)
else
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end

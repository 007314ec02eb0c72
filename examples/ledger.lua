-- ledger.lua: two rules that keep a ledger, as a function, so that they can be tested
-- (rules_spec.lua) and used by several apps:
--
--   require("ledger")(app, write)       -- in rules.lua; write(entry) is your bookkeeping
--
-- `write` fails by raising, by nil and a reason, or by false: then the entry is not written, so the
-- rule has failed and runs again, until it is. One that writes to a file must look at what both
-- file:write and file:close give, for a full disk may show in either.
--
-- `once` keeps a step's result: when the rule runs again, because something after it failed, the
-- step does not. Only where the process dies between the step and the note that it was done does it
-- happen twice. So an entry has a key, the same each time, and `write` must ignore one it knows.

local billhook = require "billhook"
local invoices = billhook.invoice

return function(app, write)
  -- trust = "api": no account of this app may be one that cannot be read back
  app:on("invoice.created", { name = "ledger", trust = "api" }, function(event)
    local invoice = event.data -- as the API gave it, whoever sent the webhook
    local total, why = invoices.total(invoice)
    -- Betterez's invoices need not state one: such an entry has no amount
    if not total and event.vendor ~= "betterez" then
      return nil, why -- fails the rule: it runs again later
    end
    event:once("write", function()
      return write { key = event.id, number = invoices.number(invoice),
        amount = total and tostring(total), currency = invoices.currency(invoice) }
    end)
  end)

  app:on("invoice.deleted", { name = "void", trust = "api" }, function(event)
    event:once("write", function()
      return write { key = event.id, void = event.invoice_id,
        number = event.previous and invoices.number(event.previous) }
    end)
  end)
end

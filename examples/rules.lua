-- rules.lua: an account at each of the three vendors, and five rules.
--
-- It runs as it stands, against the imitated vendors, in two terminals:
--
--   billhook sandbox --to http://127.0.0.1:8080
--   billhook serve examples/rules.lua
--
-- and `billhook demo` does it all by itself. For the real vendors set the
-- environment variables below, or write your own values in their place.

local billhook = require "billhook"
local decimal, invoices = billhook.decimal, billhook.invoice

local function setting(name, default) return os.getenv(name) or default end

local app = billhook.app {
  inbox = setting("BILLHOOK_INBOX", "sqlite:billhook.db"),
  accounts = {
    admissions = billhook.dreamapply {
      base_url = setting("DREAMAPPLY_URL", "http://127.0.0.1:8081"),
      api_key = setting("DREAMAPPLY_KEY", "sandbox-key"),
      webhook = { authorization = setting("DREAMAPPLY_AUTHORIZATION", "Bearer sandbox-hook") },
    },
    school = billhook.dreamclass {
      base_url = setting("DREAMCLASS_URL", "http://127.0.0.1:8081/dreamclassapi/v1"),
      api_key = setting("DREAMCLASS_KEY", "sandbox-key"),
      tenant = setting("DREAMCLASS_TENANT", "my-school"),
      school_code = setting("DREAMCLASS_SCHOOL", "MS1"),
      paths = { ["invoices.get"] = "/financial/invoices/{id}" },
      webhook = {
        secret = setting("DREAMCLASS_SECRET", "123"),
        basic = { setting("DREAMCLASS_USER", "sandbox"),
          setting("DREAMCLASS_PASSWORD", "sandbox-hook") },
      },
    },
    tickets = billhook.betterez {
      base_url = setting("BETTEREZ_URL", "http://127.0.0.1:8081/invoices"),
      api_key = setting("BETTEREZ_KEY", "sandbox-key"),
      token = setting("BETTEREZ_TOKEN", "sandbox-token"),
      webhook = { secret = setting("BETTEREZ_SECRET", "sandbox-private-key") },
    },
  },
}

-- What a rule would tell the bookkeeping. Here it is only kept beside the event.
local function book(event, amount)
  return { amount = amount and tostring(amount) or nil, trust = event.trust }
end

-- What the invoice comes to; false at Betterez, whose invoices need not say. At the other vendors
-- nil, and why: a rule that returns that has failed, and runs again.
local function total_of(event)
  local total, why = invoices.total(event.data)
  if not total and event.vendor == "betterez" then return false end
  return total, why
end

-- event.data is the invoice as the API gave it (at Betterez: as its signature proves it), so the
-- amount is the vendor's word; trust = "api" raises here if that could not be so. A step under
-- `once` is not repeated when a rule that failed later on runs again; one that fails itself fails
-- the rule.
app:on("invoice.created", { name = "ledger", trust = "api" }, function(event)
  local total, why = total_of(event)
  if total == nil then return nil, why end -- nothing is booked without its amount
  event:once("book", function() return book(event, total) end)
end)

app:on("invoice.created", { name = "large", trust = "api" }, function(event)
  local total, why = total_of(event)
  if total == nil then return nil, why end
  if not total then
    io.stderr:write(("large: invoice %s states no total\n"):format(event.invoice_id))
  elseif total > decimal "500" then
    event:once("tell", function() return book(event, total) end)
  end
end)

app:on("invoice.updated", { name = "correct", trust = "api" }, function(event)
  local total, why = total_of(event)
  if total == nil then return nil, why end -- nothing is booked without its amount
  event:once("book", function() return book(event, total) end)
end)

-- Betterez never says what was paid: its invoices have no such event.
app:on("invoice.paid", { name = "paid", trust = "api" }, function(event)
  event:once("book", function() return book(event) end)
end)

-- The invoice is gone: event.previous is what it was.
app:on("invoice.deleted", { name = "void", trust = "api" }, function(event)
  event:once("book", function() return book(event) end)
end)

return app

-- mirror.lua: all invoices of a DreamApply instance into a file of tab-separated lines.
--
--   DREAMAPPLY_URL=https://apply.example.edu DREAMAPPLY_KEY=... lua5.4 mirror.lua invoices.tsv
--
-- One request, however many invoices there are, and a few MB of memory: `each` gives one after the
-- other while they arrive. A list that breaks off raises, so the old file stays until the new one
-- is whole. Where an app polls the account, `billhook inbox invoices --json` has the last known
-- states without asking the API.

local billhook = require "billhook"
local invoices = billhook.invoice

local path = arg[1] or "invoices.tsv"
local apply = billhook.dreamapply {
  base_url = assert(os.getenv "DREAMAPPLY_URL", "DREAMAPPLY_URL is not set"),
  api_key = assert(os.getenv "DREAMAPPLY_KEY", "DREAMAPPLY_KEY is not set"),
}

-- what an invoice does not say is an empty column
local function column(value) return value and (tostring(value):gsub("[%c]", " ")) or "" end

local file = assert(io.open(path .. ".new", "w"))
local count = 0
for invoice in apply.invoices:each() do
  assert(file:write(table.concat({ column(invoice.id), column(invoices.number(invoice)),
    column(invoices.total(invoice)), column(invoices.balance(invoice)),
    column(invoices.currency(invoice)), column(invoices.due_date(invoice)) }, "\t"), "\n"))
  count = count + 1
end
assert(file:close())
assert(os.rename(path .. ".new", path))
print(("%d invoices"):format(count))

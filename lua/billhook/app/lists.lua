-- app/lists.lua: goes through a list of the API and compares all of it with what is known, in
-- batches: in constant memory, however long the list is.

local accounts = require "billhook.app.account"
local err = require "billhook.error"
local reading = require "billhook.app.reading"
local vendors = require "billhook.vendor"

local M = {}

local BATCH = 500 -- rows of a list in one transaction

---Goes through a list of the API and compares all of it with what is known, in batches.
---@param app table
---@param store table
---@param account string
---@param memory table
---@param params table of invoices.list
---@param see? fun(row: table, change: table, read: table) is told of each
---@param dry? boolean nothing is stored
---@return table|nil report { seen, events, changed, created, began, ticket }, table|nil err
function M.read(app, store, account, memory, params, see, dry)
  local client = app.accounts[account]
  local drawn, why = store:ticket()
  if not drawn then return nil, why end
  local report = { seen = 0, events = 0, changed = 0, created = 0, began = drawn.now,
    ticket = drawn.ticket }
  local context = reading.context(app, account, memory, drawn.now, 0)
  context.dry = dry
  local batch, ids = {}, {}
  local function flush()
    if #ids == 0 then return end
    local seen, reason = store:look(account, ids)
    if not seen then error(reason, 0) end
    local changes
    changes, reason = reading.take(store, seen.rows, batch, context)
    if not changes then error(reason, 0) end
    report.events = report.events + reading.note(app, account, seen.rows, changes)
    for i, row in ipairs(seen.rows) do
      local change = changes[i]
      if change and change.found then
        local how = row.known and "changed" or "created"
        report[how] = report[how] + 1
      end
      if see then see(row, change, batch[i]) end
    end
    batch, ids = {}, {}
  end
  local ok, reason = pcall(function()
    local vendor = vendors[client.vendor]
    for invoice in client.invoices:each(params, reading.BEHIND) do
      local id = vendor.id_of(invoice)
      if id then
        report.seen = report.seen + 1
        batch[#batch + 1] = reading.found(drawn.ticket, drawn.now, client, invoice)
        ids[#ids + 1] = id
        if #ids == BATCH then flush() end
      end
    end
    flush()
  end)
  if ok then
    accounts.answered(app, store, account, memory, report.seen > 0)
    return report
  end
  if not err.is(reason) then error(reason, 0) end
  return nil, reason
end

return M

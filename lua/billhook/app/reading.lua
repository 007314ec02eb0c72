-- app/reading.lua: the road of every read, of one invoice or of a list: a ticket from the store,
-- the vendor's API, check.take() on the row as it stands, store:apply(), which refuses what was
-- worked out from an older row: then it is worked out again from the newer one.

local check = require "billhook.app.check"
local err = require "billhook.error"
local invoices = require "billhook.invoice"
local json = require "billhook.json"
local vendors = require "billhook.vendor"

local M = {}

local TRIES = 5 -- of one read's result, where others change the row meanwhile

---Options of calls: people and rules come first.
M.BEHIND = { priority = "background", attempts = 1 }

---What check.take() has to know of an account, made once for many reads.
---@param app table
---@param account string
---@param memory table see account.lua
---@param now integer
---@param known integer how many invoices are known
---@return table context
function M.context(app, account, memory, now, known)
  local client = app.accounts[account]
  local vendor = vendors[client.vendor]
  return {
    now = now, vendor = vendor, account = account, watch = client.watch, trust = "api",
    baseline = memory.baseline or false, start = memory.start, known = known,
    deletions = 0, brake_off = now < (memory.brake_off or 0),
    today = os.date("%Y-%m-%d", math.floor(now / 1000)), overdue = app.overdue,
    lists_open = vendor.lists_open ~= false,
    rules = function(type, native) return app.rules:select(account, type, native) end,
  }
end

---An invoice that the API gave, as a read.
function M.found(ticket, began, client, invoice)
  return { ticket = ticket, began = began, status = "found",
    invoice = invoices.vendor(invoice) and invoice or invoices.tag(client.vendor, invoice),
    text = json.encode(invoice) }
end

---Some reads of one account at once: what became of each change. One that was worked out from a row
---that has changed since is worked out again.
---@param store table
---@param rows table[] as they stand; those that have changed are put in their places
---@param reads table[]
---@param context table; `dry`: nothing is stored
---@return table[]|nil changes, table|nil err
function M.take(store, rows, reads, context)
  local changes, left = {}, {}
  for i in ipairs(rows) do left[i] = i end
  for _ = 1, TRIES do
    local batch, from = {}, {}
    for _, i in ipairs(left) do
      local change = check.take(rows[i], reads[i], context)
      changes[i] = change
      change.began = change.settle_until or reads[i].began
      for _, event in ipairs(change.events or {}) do
        event.account, event.vendor = context.account, context.vendor.name
      end
      if not change.nothing and not change.need_control then
        batch[#batch + 1], from[#from + 1] = change, i
      end
    end
    if #batch == 0 or context.dry then return changes end
    local results, why = store:apply(batch)
    if not results then return nil, why end
    left = {}
    local ids = {}
    for k, i in ipairs(from) do
      if not results[k] then left[#left + 1], ids[#ids + 1] = i, rows[i].invoice end
    end
    if #left == 0 then return changes end
    local fresh
    fresh, why = store:look(context.account, ids)
    if not fresh then return nil, why end
    for k, i in ipairs(left) do
      rows[i], changes[i] = fresh.rows[k], nil
    end
  end
  return changes -- those that others were always quicker with stay due
end

local LEVELS = { deleted = "warn", braked = "error" }

local function tell(app, account, row, change)
  for what, level in pairs(LEVELS) do
    if change[what] then
      app.log(level, what, { account = account, invoice = row.invoice,
        message = what == "braked" and ("the API denies so many invoices today that no further one"
          .. " is told as deleted: see `billhook inbox rebase %s`"):format(account) or nil })
    end
  end
end

---Tells the log what came of some reads; gives the number of events.
function M.note(app, account, rows, changes)
  local events = 0
  for i, row in ipairs(rows) do
    local change = changes[i]
    if change then
      events = events + #(change.events or {})
      tell(app, account, row, change)
    end
  end
  return events
end

---Asks for one invoice.
---@return table|nil invoice, table|nil err of the account or of the invoice
function M.read(client, operation, id)
  local fine, invoice, why = pcall(client.call, client, operation, { id = id }, M.BEHIND)
  if fine then return invoice, why end
  return nil, M.fault(invoice)
end

---What a read has failed with, as an error: the client raises for an id that cannot be one.
---@param why any
---@return table err
function M.fault(why)
  return err.is(why) and why or err.new { kind = "invalid", code = "no_invoice", retryable = false,
    message = tostring(why) }
end

return M

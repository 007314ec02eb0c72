-- app/reconcile.lua: all that an account's API has, against what is known; differences become
-- events. DreamApply in one request, in constant memory; the others by a read of each known open
-- invoice.

local accounts = require "billhook.app.account"
local err = require "billhook.error"
local poll = require "billhook.app.poll"
local lists = require "billhook.app.lists"
local readback = require "billhook.app.readback"
local rules = require "billhook.app.rules"
local vendors = require "billhook.vendor"

local M = {}

local PAGE = 500
local FAILURES = 3 -- reads that fail in a row end it
local SHOWN = 100 -- ids of missing invoices that a report has

-- Known ones that the API's list has not shown: those that no read has touched since it began, or,
-- where nothing was stored, that are not in the set `seen` of rows. Their number, and some ids.
local function missing_there(store, account, ticket, seen)
  local after, missing, ids = 0, 0, {}
  while true do
    local page, why = store:of_account(account, { which = "there", after = after, limit = PAGE,
      ticket_before = not seen and ticket or nil })
    if not page then return nil, why end
    for _, row in ipairs(page.rows) do
      after = row.lane
      if not (seen and seen[row.lane]) then
        missing = missing + 1
        if missing <= SHOWN then ids[missing] = row.invoice end
      end
    end
    if #page.rows < PAGE then return missing, ids end
  end
end

local function by_list(app, store, account, memory, dry)
  local seen = dry and {} or nil
  local list, why = lists.read(app, store, account, memory, {}, function(row)
    if seen and row.lane then seen[row.lane] = true end
  end, dry)
  if not list then return nil, why end
  local missing, ids = missing_there(store, account, list.ticket, seen)
  if not missing then return nil, ids end
  if not dry then
    local marked
    marked, why = poll.mark_unseen(store, account, "there", list.ticket)
    if not marked then return nil, why end
    local kept
    kept, why = accounts.update(store, account, function(now_memory)
      now_memory.baseline = now_memory.baseline or list.seen > 0 or nil
    end)
    if not kept then return nil, why end
  end
  return { seen = list.seen, same = list.seen - list.changed - list.created,
    changed = list.changed, missing_here = list.created, missing_there = missing, unread = 0,
    events = list.events, invoices = ids }
end

-- One read of each known open invoice.
local function by_reads(app, store, account, memory, dry)
  local report = { seen = 0, same = 0, changed = 0, missing_here = 0, missing_there = 0, unread = 0,
    events = 0, invoices = {} }
  local after, failures = 0, 0
  while true do
    local page, why = store:of_account(account, { which = "open", after = after, limit = PAGE })
    if not page then return nil, why end
    for _, row in ipairs(page.rows) do
      after = row.lane
      local result
      result, why = readback.one(app, store, account, memory, row, dry)
      if result then
        failures = 0
        report.seen = report.seen + 1
        report[result.how] = report[result.how] + 1
        report.events = report.events + result.events
      else -- one invoice may be ill; several in a row are the account's fault
        failures = failures + 1
        report.unread = report.unread + 1
        if why.kind == "store" or failures == FAILURES then return nil, why end
      end
      if result and result.how == "missing_there" and #report.invoices < SHOWN then
        report.invoices[#report.invoices + 1] = row.invoice
      end
    end
    if #page.rows < PAGE then return report end
  end
end

---Compares all of an account.
---@param app table
---@param account string
---@param settings { dry_run: boolean? } dry_run: nothing is stored, no event is made
---@return table|nil report { seen, same, changed, missing_here, missing_there, unread, events,
--- invoices = the first ids of those that are missing there }, table|nil err
function M.round(app, account, settings)
  local store, why = app:open()
  if not store then return nil, why end
  local memory
  memory, why = accounts.load(app, store)
  if not memory then return nil, why end
  local client, mine = app.accounts[account], memory[account]
  local can, reason = rules.readable(client)
  if not can then
    return nil, err.new { kind = "invalid", vendor = client.vendor,
      message = "reconciling is not possible: " .. reason }
  end
  if accounts.moved(mine, client) then
    return nil, err.new { kind = "conflict", code = "origin", vendor = client.vendor,
      message = ("the account's address or school has changed: see `billhook inbox rebase %s`")
        :format(account) }
  end
  local way = vendors[client.vendor].list_all and by_list or by_reads
  local report
  report, why = way(app, store, account, mine, settings.dry_run)
  if not report then
    accounts.blame(app, store, account, why)
    return nil, why
  end
  if not settings.dry_run then
    accounts.update(store, account, function(now_memory, now)
      now_memory.reconciled_at, now_memory.reconcile_at = now, nil -- of what news asked for
    end)
  end
  return report
end

return M

-- app/reconcile.lua: compares all known invoices of an account with its API; differences become
-- events. DreamApply needs one request, and constant memory. The other vendors need a read of each
-- known open invoice.

local json = require "billhook.json"
local read = require "billhook.app.read"

local M = {}

local FAILURES = 3 -- reads that fail in a row end it
local SHOWN = 100 -- ids of missing invoices that a report has

local function missing(report, row)
  report.missing_there = report.missing_there + 1
  if #report.invoices < SHOWN then report.invoices[#report.invoices + 1] = row.invoice end
end

-- Missing there: those that no read has touched since the list began, or, where nothing was stored,
-- that the list has not shown. They are read singly.
local function by_list(mine, report, dry)
  local shown = {}
  local list = read.list(mine, {}, dry and function(row) shown[row.lane or 0] = true end, dry)
  local which = { which = "there", ticket_before = not dry and list.ticket or nil }
  read.pages(mine, which, function(row, now, marks)
    if not shown[row.lane] then missing(report, row) end
    if not dry then read.mark(row, now, marks) end
  end)
  report.seen, report.events = list.seen, list.events
  report.changed, report.missing_here = list.changed, list.created
  report.same = list.seen - list.changed - list.created
end

-- One read of each known open invoice. One may be ill; several in a row are the account's fault.
local function by_reads(mine, report, dry)
  local failures = 0
  read.pages(mine, { which = "open" }, function(row)
    local answers, events = read.singly(mine, { row }, dry)
    local one = answers[1]
    report.events = report.events + events
    if one.why then
      failures, report.unread = failures + 1, report.unread + 1
      if one.why.kind == "store" or failures == FAILURES then error(one.why, 0) end
      return
    end
    failures, report.seen = 0, report.seen + 1
    if one.how == "missing_there" then missing(report, row)
    else report[one.how] = report[one.how] + 1 end
  end)
end

---Compares all of an account.
---@param mine billhook.app.account
---@param dry? boolean nothing is stored, no event is made
---@return table report { seen, same, changed, missing_here, missing_there, unread, events,
--- invoices = the first ids of those that are missing there }
function M.reconcile(mine, dry)
  if not mine.reads then error(mine:cannot "reconciling", 0) end
  local report = { seen = 0, same = 0, changed = 0, missing_here = 0, missing_there = 0, unread = 0,
    events = 0, invoices = json.array {} }
  local way = mine.vendor.list_all and by_list or by_reads
  way(mine, report, dry)
  if not dry then
    mine:update(function(memory, now)
      memory.reconciled_at, memory.reconcile_at = now, nil -- of what news asked for
      if mine.vendor.list_all then memory.baseline = memory.baseline or report.seen > 0 or nil end
    end)
  end
  return report
end

return M

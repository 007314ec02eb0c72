--- What a read of an invoice means: the heart of "a webhook is news, the API is the truth, and a
-- rule sees changes of the truth".
--
-- A row of the table of invoices is the last known state of one invoice. `take` holds a read of the
-- API (or a body whose proof covers it) against it and says what is to be written: columns of the
-- row, events, and what becomes of the deliveries that asked for the read. It is pure: the caller
-- reads, draws tickets and writes, and may simulate.
--
-- The row's fields that matter here: `ticket` and `read_at` of the read that it comes from, `known`
-- and `deleted_at`, `data` and `digest`, `news_at` (the newest news) with `check_due` (nil: nothing
-- to check), `tries` (how far along the schedule the checks for the news are), `reads` (reads
-- without a find since the last change), `absent_at` (the first of two 404s), `doubt` (a digest
-- that was left and is seen again). Times are milliseconds.

local core = require "billhook.core"
local changes = require "billhook.app.changes"
local compare = require "billhook.app.compare"

local put = changes.put

local M = {}

--- The value of a column that becomes NULL.
M.NULL = changes.NULL

--- The event of a day past due: see changes.overdue_event.
M.overdue_event = changes.overdue_event

-- The API may lag behind its own webhook: news is looked at again so long after it came.
local SCHEDULE = { 2000, 10000, 60000, 300000 }

-- What has to be seen twice (a 404, a state that was left) is seen again after this.
local AGAIN = 60000

-- A state that was left so recently may come back because a read lagged.
local GUARD = 600000

-- Too many deletions in a day: a person has to say that they are meant.
local BRAKE, BRAKE_SHARE, BRAKE_PAUSE = 10, 100, 3600000

-- News about an invoice whose reads keep finding nothing waits after the last read, so that
-- replayed news cannot buy a read each.
local FRUITLESS, SPACING = 3, { 2000, 10000, 60000 }

local LEFT_MOST = 32 -- states that were left, of one invoice

-- --- when to look ------------------------------------------------------------------------------

--- A row of an invoice that nothing is known of.
---@param account string
---@param invoice string its id
---@return table row
function M.empty(account, invoice)
  return { account = account, invoice = invoice, stamp = 0, version = 0, known = false, ticket = 0,
    tries = 0, reads = 0, left_states = {} }
end

-- not before this, after a read that began at read_at as the last of so many without a find
local function spaced(due, reads, read_at)
  if reads < FRUITLESS or not read_at then
    return due
  end
  return math.max(due, read_at + (SPACING[reads - FRUITLESS + 1] or SPACING[#SPACING]))
end

--- There is news about an invoice: it is to be checked, however often that is said.
---@param row table
---@param now integer
---@return { news_at: integer, tries: integer, check_due: integer } set
function M.news(row, now)
  local due = spaced(now, row.reads, row.read_at)
  return { news_at = now, tries = 0, check_due = math.min(row.check_due or due, due) }
end

--- An invoice is to be read once, though nobody sent news of it: a list did not show it, or it is
--- time. What the API still hides, the next list tells.
---@param row table
---@param now integer
---@return { tries: integer, check_due: integer } set
function M.look(row, now)
  if row.check_due then
    return { tries = row.tries, check_due = math.min(row.check_due, now) }
  end
  return { tries = #SCHEDULE, check_due = now }
end

-- --- what a read means -------------------------------------------------------------------------

local function untouched(row, name, value)
  return { account = row.account, invoice = row.invoice, expect = row.stamp, set = {}, events = {},
    [name] = value }
end

local function look_again(change, row, due)
  put(change, row, "check_due", due)
  put(change, row, "reads", row.reads + 1)
  return change
end

-- Nothing new. What asked for the read has to wait until the API had time to say it: only a read
-- that began so long after the news counts.
local function same(change, row, read, outcome)
  if not row.check_due then
    return change
  end
  local tries = row.news_at and row.tries or #SCHEDULE
  while tries < #SCHEDULE and row.news_at + SCHEDULE[tries + 1] <= read.began do
    tries = tries + 1
  end
  put(change, row, "tries", tries)
  put(change, row, "reads", row.reads + 1)
  if tries == #SCHEDULE then
    put(change, row, "check_due", nil)
    change.settle, change.settle_until = outcome, read.began
    return change
  end
  local due = row.news_at + SCHEDULE[tries + 1]
  put(change, row, "check_due", spaced(due, row.reads + 1, read.began))
  if row.reads > #SCHEDULE then -- newer news keeps coming: what is old enough need not wait for it
    change.settle, change.settle_until = outcome, read.began - SCHEDULE[#SCHEDULE]
  end
  return change
end

-- When the change is found, what asked for it is done; news that came after the read began asks on.
local function settle(change, row, read, context)
  change.settle, change.settle_until = "done", read.began
  put(change, row, "reads", 0)
  put(change, row, "tries", 0)
  if context.trust == "body" or not row.check_due then
    return -- a body has not been asked for
  elseif row.news_at and row.news_at > read.began then
    put(change, row, "check_due", context.now)
    return
  end
  local last = row.news_at and row.news_at + SCHEDULE[#SCHEDULE]
  if context.lists_open ~= false or not last or last <= read.began or read.status == "absent" then
    put(change, row, "check_due", nil)
    return
  end
  put(change, row, "check_due", last) -- no poll finds what lags behind this change
  put(change, row, "tries", #SCHEDULE - 1)
end

local function put_change(change, row, read, context)
  change.found = true
  put(change, row, "version", row.version + 1)
  put(change, row, "known", true)
  put(change, row, "changed_at", context.now)
  for _, name in ipairs { "absent_at", "doubt", "doubt_at" } do
    put(change, row, name, nil)
  end
  local left = {}
  for _, state in ipairs(row.left_states) do
    if state.at > context.now - GUARD then
      left[#left + 1] = state
    end
  end
  if row.digest then
    left[#left + 1] = { at = context.now, digest = row.digest }
  end
  if #left > LEFT_MOST then
    table.remove(left, 1)
  end
  if #left > 0 or #row.left_states > 0 then
    change.set.left_states = left
  end
  settle(change, row, read, context)
end

local function delete(change, row, read, context)
  put_change(change, row, read, context)
  change.deleted = true
  for _, name in ipairs { "data", "digest" } do
    put(change, row, name, nil)
  end
  put(change, row, "status", "void")
  put(change, row, "deleted_at", context.now)
  put(change, row, "closed_at", row.closed_at or context.now)
  changes.add_events(change, row, nil, context, "invoice.deleted", row.digest)
  return change
end

-- A 404 of the invoice's own address. Only the second one, so much later, while another invoice can
-- be read, is a deletion.
local function absent(row, read, context)
  local change = changes.start(row, read)
  if not row.known then
    return same(change, row, read, "gone")
  elseif row.deleted_at then
    return same(change, row, read, "unchanged")
  elseif not row.absent_at then
    put(change, row, "absent_at", context.now)
    return look_again(change, row, context.now + AGAIN)
  elseif read.began < row.absent_at + AGAIN then
    return look_again(change, row, row.absent_at + AGAIN)
  elseif not read.control then
    return untouched(row, "need_control", true)
  elseif read.control == "failed" then
    change.fault = "absent"
    put(change, row, "absent_at", nil)
    return look_again(change, row, context.now + AGAIN)
  elseif not context.brake_off
    and context.deletions >= math.max(BRAKE, math.floor(context.known / BRAKE_SHARE)) then
    change.braked = true
    return look_again(change, row, context.now + BRAKE_PAUSE)
  end
  return delete(change, row, read, context)
end

-- Silent is what was there before the account: a list that is read for the first time shows it.
-- News about such an invoice is told, without what was before.
local function type_of_change(row, read, context)
  if row.known then
    return "invoice.updated"
  end
  local issued = compare.time(compare.columns(read.invoice).issued)
  if context.baseline or issued and issued >= context.start then
    return "invoice.created"
  end
  return (context.trust == "body" or row.check_due) and "invoice.updated" or nil
end

local function write(change, row, read, context, digest)
  put_change(change, row, read, context)
  changes.put_state(change, row, read, context, digest)
  put(change, row, "deleted_at", nil)
  local type = type_of_change(row, read, context)
  if type then
    changes.add_events(change, row, read, context, type, digest)
  end
  return changes.add_overdue(change, row, read, context)
end

-- The state is the one that is known, whatever else was sent: that is kept, and nobody is told.
local function refresh(change, row, read, context, digest)
  if row.data ~= read.text then
    changes.put_state(change, row, read, context, digest)
  end
  put(change, row, "doubt", nil)
  put(change, row, "doubt_at", nil)
  if context.trust == "body" then
    -- it is the news itself; what is asked of the API stays asked
    change.settle, change.settle_until = "unchanged", read.began
  else
    same(change, row, read, "unchanged")
  end
  return changes.add_overdue(change, row, read, context)
end

-- Another digest of the same state: of another algorithm, or before `watch` named more or less.
local function is_respelled(row, before, digest, context)
  if before then
    return compare.digest(context.vendor, before, context.watch) == digest
  end
  return row.digest:match("^[^:]*") ~= compare.ALGORITHM
end

local function is_left(row, digest, context)
  for _, state in ipairs(row.left_states) do
    if state.digest == digest and state.at > context.now - GUARD then
      return true
    end
  end
  return false
end

-- A lagging read may also see a state from between two that were found, which nobody has left. It
-- does harm where a payment seems to be taken back that was found just now: it would be told twice.
local function takes_back(row, read, context)
  if not row.paid or row.deleted_at or row.changed_at <= context.now - GUARD then
    return false
  end
  local paid = compare.columns(read.invoice).paid
  return paid ~= nil and core.decimal.new(paid) < core.decimal.new(row.paid)
end

-- What may be seen because a read lagged has to be seen twice.
local function doubted(change, row, read, context, digest)
  if row.doubt == digest and read.began >= row.doubt_at + AGAIN then
    return false
  end
  local since = row.doubt == digest and row.doubt_at or context.now
  put(change, row, "doubt", digest)
  put(change, row, "doubt_at", since)
  look_again(change, row, since + AGAIN)
  return true
end

local function found(row, read, context)
  local change = changes.start(row, read)
  put(change, row, "absent_at", nil)
  local alive = row.known and not row.deleted_at
  if alive and row.data == read.text then
    return refresh(change, row, read, context, row.digest)
  end
  local before = alive and changes.decoded(row.data) or nil
  local order = before and compare.order(context.vendor, read.invoice, before) or 0
  if order < 0 and context.trust == "body" then
    change = untouched(row, "settle", "unchanged")
    change.settle_until = read.began
    return change
  elseif order < 0 then
    return same(change, row, read, "unchanged")
  end
  local digest = compare.digest(context.vendor, read.invoice, context.watch)
  if alive and (row.digest == digest or is_respelled(row, before, digest, context)) then
    return refresh(change, row, read, context, digest)
  elseif context.trust ~= "body" and order == 0 and row.known
    and (is_left(row, digest, context) or takes_back(row, read, context))
    and doubted(change, row, read, context, digest) then
    return change
  end
  return write(change, row, read, context, digest)
end

--- What a read means for an invoice.
---
--- read: `ticket` (drawn before the read), `began`, `status` "found" with `invoice` (tagged,
--- decoded) and `text` (its JSON), or "absent" (404 of its own address) with `control`: nil at
--- first; then what a read of another known invoice of the account said: "ok", "failed", or "none"
--- (there is none). A delivery's verified body is a read that begins, and draws its ticket, now.
---
--- context: `now`, `vendor` (its module), `watch`, `baseline` (a complete list has been seen),
--- `start` (the account's first, in ms), `deletions` (told within a day), `known` (how many
--- invoices are), `brake_off` (a person said that the deletions are meant), `today`, `overdue`,
--- `lists_open` (false: no list of the vendor shows open invoices), `trust` ("api", or "body" where
--- the read is a delivery's verified body), `rules(type, native)` (the names of the rules that an
--- event is for).
---
--- change: `nothing` (the row comes from a newer read) or `set` (columns; `check.NULL`), `events`
--- in order, `settle` (nil, "done", "unchanged", "gone": what becomes of the deliveries about the
--- invoice that were routed at `settle_until` or before), and of these at most one: `need_control`
--- (read another invoice, and call again), `fault` (the account's, not the invoice's), `braked`,
--- `found` (a new state) with `deleted`. `expect` is the stamp of the row that all of it is about.
---@param row table
---@param read table
---@param context table
---@return table change
function M.take(row, read, context)
  if read.ticket <= row.ticket then
    return untouched(row, "nothing", true)
  end
  return (read.status == "absent" and absent or found)(row, read, context)
end

return M

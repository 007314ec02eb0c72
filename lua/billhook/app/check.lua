--- Decides what follows from a read of an invoice. This file implements "a webhook is a
-- notification, the API is the truth, and a rule sees changes of the truth".
--
-- A row of the table of invoices is the last known state of one invoice. `take` compares it with a
-- read of the API (or a body that the proof covers), and returns the changes to write: columns of
-- the row, events, and the new states of the deliveries that caused the read. It is pure: the
-- caller reads, draws tickets and writes, or only simulates.
--
-- The fields of a row that matter here: `ticket` and `read_at` of the read that it comes from,
-- `known` and `deleted_at`, `data` and `digest`, `news_at` (the newest delivery) with `check_due`
-- (nil: nothing to check), `tries` (the position in the schedule of checks for that delivery),
-- `reads` (reads without a change since the last change), `absent_at` (the first of two 404s),
-- `doubt` (an earlier digest that is seen again). Times are milliseconds.

local core = require "billhook.core"
local compare = require "billhook.app.compare"
local derive = require "billhook.app.derive"
local inbox = require "billhook.inbox"

local M = {}

--- The value of a column that becomes NULL.
M.NULL = inbox.NULL

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

-- not before this, after a read that began at read_at as the last of so many without a find
local function spaced(due, reads, read_at)
  if reads < FRUITLESS or not read_at then return due end
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
  return { tries = row.check_due and row.tries or #SCHEDULE,
    check_due = math.min(row.check_due or now, now) }
end

-- --- what a read means -------------------------------------------------------------------------

-- A read under way: row, read, context, and the change that comes of it.
local Take = {}
Take.__index = Take

-- A column's new value, where it differs; nil is NULL.
function Take:put(name, value)
  local old, set = self.row[name], self.change.set
  if value == nil then
    set[name] = old ~= nil and M.NULL or nil
  else
    set[name] = old ~= value and value or nil
  end
end

-- The deliveries that asked for it, and were routed until then, come to an end.
function Take:settle(state, till) self.change.settle, self.change.began = state, till end

function Take:look_again(due)
  self:put("check_due", due)
  self:put("reads", self.row.reads + 1)
end

-- Nothing new. What asked for the read has to wait until the API had time to say it: only a read
-- that began so long after the news counts.
function Take:same(outcome)
  local row, began = self.row, self.read.began
  if not row.check_due then return end
  local tries = row.news_at and row.tries or #SCHEDULE
  while tries < #SCHEDULE and row.news_at + SCHEDULE[tries + 1] <= began do tries = tries + 1 end
  self:put("tries", tries)
  if tries == #SCHEDULE then
    self:look_again(nil)
    self:settle(outcome, began)
    return
  end
  self:look_again(spaced(row.news_at + SCHEDULE[tries + 1], row.reads + 1, began))
  -- newer news keeps coming: what is old enough need not wait for it
  if row.reads > #SCHEDULE then self:settle(outcome, began - SCHEDULE[#SCHEDULE]) end
end

-- When to look after a change was found: what asked for it is done; news that came after the read
-- began asks on.
function Take:after_change()
  local row, read, context = self.row, self.read, self.context
  self:settle("done", read.began)
  self:put("reads", 0)
  self:put("tries", 0)
  if context.trust == "body" or not row.check_due then return end -- a body has not been asked for
  if row.news_at and row.news_at > read.began then return self:put("check_due", context.now) end
  local last = row.news_at and row.news_at + SCHEDULE[#SCHEDULE]
  if context.vendor.lists_open ~= false or not last or last <= read.began
    or read.status == "absent" then return self:put("check_due", nil) end
  self:put("check_due", last) -- no poll finds what lags behind this change
  self:put("tries", #SCHEDULE - 1)
end

-- A new state, or none; `type`: of the first event, nil where nobody is told.
function Take:put_change(type, digest)
  local row, change, now = self.row, self.change, self.context.now
  change.found = true
  self:put("version", row.version + 1)
  self:put("known", true)
  self:put("changed_at", now)
  for _, name in ipairs { "absent_at", "doubt", "doubt_at" } do self:put(name, nil) end
  local left = {}
  for _, state in ipairs(row.left_states) do
    if state.at > now - GUARD then left[#left + 1] = state end
  end
  if row.digest then left[#left + 1] = { at = now, digest = row.digest } end
  if #left > LEFT_MOST then table.remove(left, 1) end
  if #left > 0 or #row.left_states > 0 then change.set.left_states = left end
  self:after_change()
  if not type then return end
  change.events = derive.events(row, self:after(), not change.deleted and self.read or nil,
    self.context, type, digest)
end

-- The row as it will be.
function Take:after()
  local copy = {}
  for name, value in pairs(self.row) do copy[name] = value end
  for name, value in pairs(self.change.set) do copy[name] = value ~= M.NULL and value or nil end
  return copy
end

function Take:delete()
  self.change.deleted = true
  for _, name in ipairs { "data", "digest" } do self:put(name, nil) end
  self:put("status", "void")
  self:put("deleted_at", self.context.now)
  self:put("closed_at", self.row.closed_at or self.context.now)
  self:put_change("invoice.deleted", self.row.digest)
end

-- A 404 of the invoice's own address. It is a deletion where a second one comes a minute later,
-- while another invoice of the account can be read: a wrong host or key, or a vendor's outage,
-- answers 404 for every invoice. The other one is read after the second 404, so an outage that ends
-- between the two would pass for a deletion: the caller therefore reads this invoice once more,
-- after the other one, and only that third 404 comes here with `control` (read.lua,
-- confirm_absence).
function Take:absent()
  local row, read, context, change = self.row, self.read, self.context, self.change
  if not row.known then
    self:same "gone"
  elseif row.deleted_at then
    self:same "unchanged"
  elseif not row.absent_at then
    self:put("absent_at", context.now)
    self:look_again(context.now + AGAIN)
  elseif read.began < row.absent_at + AGAIN then
    self:look_again(row.absent_at + AGAIN)
  elseif not read.control then
    change.set, change.need_control = {}, true
  elseif read.control == "failed" then
    change.fault = "absent"
    self:put("absent_at", nil)
    self:look_again(context.now + AGAIN)
  elseif not context.brake_off
    and context.deletions >= math.max(BRAKE, math.floor(context.known / BRAKE_SHARE)) then
    change.braked = true
    self:look_again(context.now + BRAKE_PAUSE)
  else
    self:delete()
  end
end

local STATE = { "number", "reference", "currency", "total", "paid", "balance", "due_date",
  "status", "issued_at" }

-- The columns of the state that was read.
function Take:put_state(digest)
  local columns = compare.columns(self.read.invoice, self.context.today)
  for _, name in ipairs(STATE) do self:put(name, columns[name]) end
  self:put("data", self.read.text)
  self:put("digest", digest)
  local closed = columns.status == "paid" or columns.status == "overpaid"
  self:put("closed_at", closed and (self.row.closed_at or self.context.now) or nil)
end

function Take:add_overdue()
  local after = self:after()
  local step, events = derive.overdue_step(after, self.context), self.change.events
  if not step then return end
  self:put("overdue_for", after.due_date)
  self:put("overdue_step", step)
  events[#events + 1] = derive.overdue_event(after, self.read, self.context, step)
end

-- Silent is what was there before the account: a list that is read for the first time shows it.
-- News about such an invoice is told, without what was before.
function Take:type()
  local row, context = self.row, self.context
  if row.known then return "invoice.updated" end
  local issued = self:after().issued_at
  if context.baseline or issued and issued >= context.start then return "invoice.created" end
  return (context.trust == "body" or row.check_due) and "invoice.updated" or nil
end

function Take:write(digest)
  self:put_state(digest)
  self:put("deleted_at", nil)
  self:put_change(self:type(), digest)
  self:add_overdue()
end

-- The state is the one that is known, whatever else was sent: that is kept, and nobody is told.
function Take:refresh(digest)
  if self.row.data ~= self.read.text then self:put_state(digest) end
  self:put("doubt", nil)
  self:put("doubt_at", nil)
  if self.context.trust == "body" then
    -- it is the news itself; what is asked of the API stays asked
    self:settle("unchanged", self.read.began)
  else
    self:same "unchanged"
  end
  self:add_overdue()
end

-- Another digest of the same state: of another algorithm, or before `watch` named more or less.
function Take:is_respelled(before, digest)
  if not before then return self.row.digest:match("^[^:]*") ~= compare.ALGORITHM end
  return compare.digest(self.context.vendor, before, self.context.watch) == digest
end

-- May it be seen because a read lagged? It was left a short time ago; or a payment seems to be
-- taken back that was found just now, by a state from between two that were found: it would be told
-- twice.
function Take:may_lag(digest)
  local row, since = self.row, self.context.now - GUARD
  for _, state in ipairs(row.left_states) do
    if state.digest == digest and state.at > since then return true end
  end
  if not row.paid or row.deleted_at or row.changed_at <= since then return false end
  local paid = compare.columns(self.read.invoice).paid
  return paid ~= nil and core.decimal.new(paid) < core.decimal.new(row.paid)
end

-- Such a state has to be seen twice.
function Take:is_doubted(digest)
  local row, again = self.row, self.row.doubt == digest
  if again and self.read.began >= row.doubt_at + AGAIN then return false end
  local since = again and row.doubt_at or self.context.now
  self:put("doubt", digest)
  self:put("doubt_at", since)
  self:look_again(since + AGAIN)
  return true
end

function Take:found()
  local row, read, context, change = self.row, self.read, self.context, self.change
  self:put("absent_at", nil)
  local alive = row.known and not row.deleted_at
  if alive and row.data == read.text then return self:refresh(row.digest) end
  local before = alive and compare.decoded(row.data) or nil
  local order = before and compare.order(context.vendor, read.invoice, before, context.now,
    row.read_at) or 0
  if order < 0 then
    if context.trust ~= "body" then return self:same "unchanged" end
    change.set = {}
    return self:settle("unchanged", read.began)
  end
  local digest = compare.digest(context.vendor, read.invoice, context.watch)
  if alive and (row.digest == digest or self:is_respelled(before, digest)) then
    return self:refresh(digest)
  end
  local doubtful = context.trust ~= "body" and order == 0 and row.known and self:may_lag(digest)
  if not (doubtful and self:is_doubted(digest)) then self:write(digest) end
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
--- `trust` ("api", or "body" where the read is a delivery's verified body), `rules(type)` (the
--- names of the rules that an event is for).
---
--- change: `nothing` (the row comes from a newer read) or `set` (columns; `check.NULL`), `events`
--- in order, `settle` (nil, "done", "unchanged", "gone": what becomes of the deliveries about the
--- invoice that were routed at `began` or before), and of these at most one: `need_control`
--- (read another invoice, and call again), `fault` (the account's, not the invoice's), `braked`,
--- `found` (a new state) with `deleted`. `expect` is the stamp of the row that all of it is about.
---@param row table
---@param read table
---@param context table
---@return table change
function M.take(row, read, context)
  local change = { account = row.account, invoice = row.invoice, expect = row.stamp, set = {},
    events = {} }
  if read.ticket <= row.ticket then
    change.nothing = true
    return change
  end
  local self = setmetatable({ row = row, read = read, context = context, change = change }, Take)
  self:put("ticket", read.ticket)
  self:put("read_at", read.began)
  if read.status == "absent" then self:absent() else self:found() end
  return change
end

return M

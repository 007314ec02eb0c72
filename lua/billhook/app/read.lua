-- app/read.lua: reads single invoices or a list from an API. The steps are always the same: a
-- ticket from the inbox, the vendor's API, check.take() with the current row, and store:apply().
-- The last refuses changes that were computed from an older row; then they are computed again from
-- the new one.
--
-- `mine` is an account (account.lua). Errors of the inbox and of lists are raised.

local check = require "billhook.app.check"
local core = require "billhook.core"
local err = require "billhook.error"
local invoices = require "billhook.invoice"
local json = require "billhook.json"
local map = require "billhook.client.map"

local M = {}

M.SIDE_BY_SIDE = 8 -- single reads

local TRIES = 5 -- of one read's result, where others change the row meanwhile
local CONTROLS = 3 -- known invoices that are asked for to learn whether an account is well
local BATCH = 500 -- rows of a list in one transaction, or of a page
local BEHIND = { priority = "background", attempts = 1 } -- people and rules come first

---What check.take() has to know of an account, made once for many reads.
---@param mine billhook.app.account
---@param now integer
---@param dry? boolean nothing is stored
---@return table context
function M.context(mine, now, dry)
  local app, memory = mine.app, mine.memory
  return {
    now = now, dry = dry, vendor = mine.vendor, watch = mine.client.watch, trust = "api",
    baseline = memory.baseline or false, start = memory.start,
    deletions = 0, known = 0, brake_off = mine:brake_is_off(now),
    today = os.date("%Y-%m-%d", math.floor(now / 1000)), overdue = app.overdue,
    rules = function(type) return app.rules:select(mine.name, type) end,
  }
end

---An invoice that was seen, as a read. `drawn`: a ticket of the store's, of before.
function M.found(mine, drawn, invoice)
  return { ticket = drawn.ticket, began = drawn.now, status = "found",
    invoice = invoices.vendor(invoice) and invoice or invoices.tag(mine.client.vendor, invoice),
    text = json.encode(invoice) }
end

local function note(mine, row, change)
  if change.deleted then
    mine:deletions(true)
    mine:log("warn", "deleted", nil, row.invoice)
  elseif change.braked then
    mine:log("error", "braked", ("so many invoices were deleted today that no further deletion"
      .. " is reported: to confirm them, run billhook inbox rebase %s"):format(mine.name),
      row.invoice)
  end
end

---What some reads say, stored. One whose row has changed meanwhile is worked out again; where
---others were always quicker, it stays due, and has no change here. A read may have the `seq` of
---the delivery that it is.
---@param mine billhook.app.account
---@param rows table[] as they stand; those that have changed are put in their places
---@param reads table[]
---@param context table
---@return table<integer, table> changes, integer events
function M.take(mine, rows, reads, context)
  local changes, left, events = {}, {}, 0
  for i in ipairs(rows) do left[i] = i end
  for _ = 1, TRIES do
    local batch, from, ids, again = {}, {}, {}, {}
    for _, i in ipairs(left) do
      local change = check.take(rows[i], reads[i], context)
      changes[i] = change
      change.route = reads[i].seq
        and { { seq = reads[i].seq, state = change.found and "done" or "unchanged" } }
      if change.route or not (change.nothing or change.need_control) then
        batch[#batch + 1], from[#from + 1] = change, i
      end
    end
    if #batch == 0 or context.dry then break end
    local results = mine.store:apply(batch)
    for k, i in ipairs(from) do
      if not results[k] then
        again[#again + 1], ids[#ids + 1], changes[i] = i, rows[i].invoice, nil
      end
    end
    if #again == 0 then break end
    left = again
    for k, row in ipairs(mine.store:look(mine.name, ids).rows) do rows[left[k]] = row end
  end
  for i, change in pairs(changes) do
    events = events + #(change.events or {})
    note(mine, rows[i], change)
  end
  return changes, events
end

-- --- single reads ---------------------------------------------------------------------

---What a call has failed with, as an error: the client raises for an id that cannot be one.
---@param why any
---@return billhook.Error
function M.fault(why)
  return err.is(why) and why or err.new { kind = "invalid", code = "no_invoice", retryable = false,
    message = tostring(why) }
end

-- Asks for some invoices side by side. For each a `read`, where it is there or missing, with
-- `invoice` or `why`.
local function ask(mine, rows)
  local drawn, answers = {}, { found = false, answered = false }
  for i in ipairs(rows) do drawn[i] = mine.store:ticket() end
  -- without a pcall of our own: Lua 5.1 cannot wait inside of one
  local got, errors = map.map(rows, function(row)
    return mine.client:call(mine.reads, { id = row.invoice }, BEHIND)
  end, { concurrency = M.SIDE_BY_SIDE })
  for i, row in ipairs(rows) do
    local one = { row = row, invoice = got[i] }
    if one.invoice ~= nil then
      one.read = M.found(mine, drawn[i], one.invoice)
      answers.found = true
    else
      one.why = M.fault(errors[i])
      one.read = one.why.kind == "not_found"
        and { ticket = drawn[i].ticket, began = drawn[i].now, status = "absent" } or nil
    end
    answers.answered = answers.answered or one.read ~= nil
    answers[i], answers.now = one, drawn[i].now
  end
  return answers
end

-- No other known invoice can be asked for. Where lists have answered before, one of what was issued
-- this very moment says at least whether this is the right address and key.
local function nobody_else(mine, why)
  if not why and mine.vendor.list_all and mine.memory.polled_at then
    local since = core.text.iso(math.floor(mine.store:clock().now / 1000))
    local _, failure = mine.client:call("invoices.list", { byIssuedSince = since }, BEHIND)
    why = failure
  end
  return why and "failed" or "none", why
end

---Another known invoice is read, to tell an invoice's fault from the account's: "ok", "none" (there
---is none) or "failed" and why. One that was deleted itself proves nothing: it is looked at again
---later, and the next one is asked.
---@param mine billhook.app.account
---@param besides string the id of one that is not to be asked for
---@return "ok"|"none"|"failed" state, table|nil why
function M.control(mine, besides)
  local asked, why = {}, nil
  for _ = 1, CONTROLS do
    local id = mine.store:another(mine.name, besides)
    if not id then return nobody_else(mine, why) end
    if asked[id] then break end -- there are no more
    asked[id] = true
    local answers = ask(mine, { { invoice = id } })
    local one = answers[1]
    if one.invoice then mine:answered(true) end
    if one.read then
      M.take(mine, mine.store:look(mine.name, { id }).rows, { one.read },
        M.context(mine, answers.now))
    end
    why = one.why
    if not why then return "ok" end
    if why.kind == "store" then error(why, 0) end
    if not one.read then break end
  end
  return "failed", why
end

-- A second 404, some time after the first: is it this invoice, or all of them? So another one is
-- read. Where that is there, an outage may have ended between the two reads, and this invoice may
-- be there again, too: so it is read a last time, and is deleted only where it is still missing.
local function confirm_absence(mine, one, context)
  local state, why = M.control(mine, one.row.invoice)
  if state ~= "failed" then
    local last = ask(mine, { one.row })[1]
    one.read, one.invoice, one.why = last.read, last.invoice, not last.read and last.why or nil
    if not one.read then return nil, 0 end
  end
  one.read.control = state
  context.deletions, context.known = mine:deletions(), mine.store:how_many(mine.name)
  local changes, events = M.take(mine, mine.store:look(mine.name, { one.row.invoice }).rows,
    { one.read }, context)
  if changes[1] and changes[1].fault then
    mine:failed(why.kind ~= "not_found" and tostring(why)
      or "its API denies invoices that it has shown (another address or school?)", true)
  end
  return changes[1], events
end

---Reads known invoices, or what may be one.
---@param mine billhook.app.account
---@param rows table[]
---@param dry? boolean nothing is stored
---@return table[] answers in order: { row, how = "same" | "changed" | "missing_there" }; or { row,
--- why } where nothing can be said. `answered`: the account's API does answer
---@return integer events
function M.singly(mine, rows, dry)
  local answers, taken, reads, of = ask(mine, rows), {}, {}, {}
  local worked = mine.memory.worked or answers.found
  answers.answered = answers.answered and worked
  if answers.answered then mine:answered(answers.found) end
  for i, one in ipairs(answers) do
    if one.read and (one.invoice or worked) then
      local n = #of + 1
      taken[n], reads[n], of[n] = rows[i], one.read, one
      one.why = nil
    end
  end
  local context = M.context(mine, answers.now, dry)
  local changes, events = M.take(mine, taken, reads, context)
  for n, one in ipairs(of) do
    local change, more = changes[n], 0
    if change and change.need_control and not dry and not mine.memory.fault then
      change, more = confirm_absence(mine, one, context)
    end
    events = events + more
    one.how = not one.invoice and "missing_there" or change and change.found and "changed" or "same"
  end
  return answers, events
end

-- --- lists ------------------------------------------------------------------------------

---Goes through a list of the API and compares all of it with what is known, in batches: in constant
---memory, however long it is.
---@param mine billhook.app.account
---@param params table of invoices.list
---@param see? fun(row: table, read: table) is told of each
---@param dry? boolean nothing is stored
---@return table report { seen, events, changed, created, ticket }
function M.list(mine, params, see, dry)
  local drawn = mine.store:ticket()
  local report = { seen = 0, events = 0, changed = 0, created = 0, ticket = drawn.ticket }
  local context, batch, ids = M.context(mine, drawn.now, dry), {}, {}
  local function flush()
    if #ids == 0 then return end
    local rows = mine.store:look(mine.name, ids).rows
    local changes, events = M.take(mine, rows, batch, context)
    report.seen, report.events = report.seen + #ids, report.events + events
    for i, row in ipairs(rows) do
      if changes[i] and changes[i].found then
        local how = row.known and "changed" or "created"
        report[how] = report[how] + 1
      end
      if see then see(row, batch[i]) end
    end
    batch, ids = {}, {}
  end
  for invoice in mine.client.invoices:each(params, BEHIND) do
    local id = mine.vendor.id_of(invoice)
    if id then
      batch[#batch + 1], ids[#ids + 1] = M.found(mine, drawn, invoice), id
      if #ids == BATCH then flush() end
    end
  end
  flush()
  mine:answered(report.seen > 0)
  return report
end

---Goes through known invoices, in pages: fn(row, now, marks) may put changes into `marks`, which
---are stored.
---@param mine billhook.app.account
---@param which table as of the store's of_account(): all of them, from the first on, or its `limit`
---@param fn fun(row: table, now: integer, marks: table[])
function M.pages(mine, which, fn)
  local want = { after = 0, limit = BATCH }
  for name, value in pairs(which) do want[name] = value end
  repeat
    local page, marks = mine.store:of_account(mine.name, want), {}
    for _, row in ipairs(page.rows) do
      want.after = row.lane
      fn(row, page.now, marks)
    end
    if #marks > 0 then mine.store:apply(marks) end
  until which.limit or #page.rows < BATCH
end

---A change of some columns of a row.
function M.change(row, set)
  return { account = row.account, invoice = row.invoice, expect = row.stamp, set = set }
end

---The change that has a row read singly.
function M.look(row, now) return M.change(row, check.look(row, now)) end

---For pages(): has a row read singly, where that is not asked for already.
function M.mark(row, now, marks)
  if not row.check_due then marks[#marks + 1] = M.look(row, now) end
end

return M

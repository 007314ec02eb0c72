-- app/readback.lua: makes the checks that are due: reads invoices back, and tells the fault of one
-- invoice from that of its account.

local accounts = require "billhook.app.account"
local check = require "billhook.app.check"
local lists = require "billhook.app.lists"
local map = require "billhook.call.map"
local reading = require "billhook.app.reading"
local rules = require "billhook.app.rules"
local vendors = require "billhook.vendor"

local M = {}

local LEASE = 120000 -- ms
local SIDE_BY_SIDE = 8 -- reads
local MANY = 100 -- due checks of an account from which on a list comes first
local LIST_AGAIN = 60000 -- ms between two lists for that reason
local SOON = 5000 -- ms: a read that failed is made again then
local CONTROLS = 3 -- known invoices that are asked for to learn whether an account is well
local GIVE_UP = 8 -- reads of one invoice that failed while others succeeded

-- --- reads of one invoice --------------------------------------------------------------

-- One read of a known invoice, for what it says of the account; nil where it fails.
local function read_another(app, store, account, id, memory)
  local client = app.accounts[account]
  local drawn, why = store:ticket()
  if not drawn then return nil, why end
  local invoice
  invoice, why = reading.read(client, rules.readable(client), id)
  if not invoice and why.kind ~= "not_found" then return nil, why end
  if invoice then accounts.answered(app, store, account, memory, true) end
  local seen, reason = store:look(account, { id })
  if not seen then return nil, reason end
  local changes = reading.take(store, seen.rows, { invoice
    and reading.found(drawn.ticket, drawn.now, client, invoice)
    or { ticket = drawn.ticket, began = drawn.now, status = "absent" } },
    reading.context(app, account, memory, drawn.now, 0))
  if changes then reading.note(app, account, seen.rows, changes) end
  return invoice, why
end

-- A read of another known invoice, to tell an invoice's fault from the account's: "ok", "none"
-- (there is none) or "failed" and why. One that was deleted itself proves nothing: it is looked
-- at again later, and the next one is asked.
local function control(app, store, account, invoice, memory)
  local reason
  for _ = 1, CONTROLS do
    local id, why = store:another(account, invoice)
    if id == nil then return nil, why end
    if not id then return reason and "failed" or "none", reason end
    local found
    found, reason = read_another(app, store, account, id, memory)
    if found then return "ok" end
    if reason.kind == "store" then return nil, reason end
    if reason.kind ~= "not_found" then break end
  end
  return "failed", reason
end

-- A second 404, some time after the first: is it this invoice, or all of them?
local function confirm_absence(app, store, account, row, absent, context, memory)
  local state, reason = control(app, store, account, row.invoice, memory)
  if not state then return nil, reason end
  absent.control = state
  local seen, why = store:look(account, { row.invoice })
  if not seen then return nil, why end
  context.deletions, why = accounts.deletions(store, account, context.now)
  if not context.deletions then return nil, why end
  local changes
  changes, why = reading.take(store, seen.rows, { absent }, context)
  if not changes then return nil, why end
  if changes[1] and changes[1].deleted then accounts.deleted(store, account) end
  if changes[1] and changes[1].fault then
    accounts.failed(app, store, account, reason.kind ~= "not_found" and tostring(reason)
      or "its API denies invoices that it has shown (another address or school?)", true)
  end
  return changes[1]
end

-- It failed although others did not: less and less often, in the end given up until news comes.
local function invoice_failed(store, row, why, now)
  local faults = (row.faults or 0) + 1
  local given_up = faults >= GIVE_UP
  local change = { account = row.account, invoice = row.invoice, expect = row.stamp,
    set = { faults = faults, check_due = given_up and check.NULL
      or now + math.min(3600000, 30000 * 2 ^ (faults - 1)) } }
  if given_up then
    change.settle, change.began, change.reason = "dead", now, tostring(why)
    change.events = { { account = row.account, invoice = row.invoice, vendor = row.vendor,
      id = ("%s:%s.dead.%d"):format(row.account, row.invoice, now), type = "invoice.updated",
      trust = "sender", live = true, bad = true, rules = {},
      note = "it could not be read back: " .. tostring(why) } }
  end
  store:apply { change }
  return given_up
end

-- Whose fault is it? "account" or "invoice"; nil where others have to be asked. What was never
-- sent, for the quota had no room or its store did not answer, is nobody's.
local function fault_of(why, worked)
  if why.kind == "store" or why.kind == "rate_limited" and not why.status then return "nobody" end
  if why.status == 401 or why.kind == "rate_limited" or why.kind == "not_found" and not worked then
    return "account"
  end
  return why.code == "no_invoice" and "invoice" or nil
end

-- Reads that failed; gives whether that is the account's fault. An invoice's own fault is one that
-- others do not have.
local function failed(app, store, account, rows, reasons, answered, memory)
  local worst, control_said
  for i, row in ipairs(rows) do
    local why = reasons[i]
    local fault = fault_of(why, memory.worked)
    if not fault and not answered and not control_said then
      control_said = control(app, store, account, row.invoice, memory) or "failed"
    end
    fault = fault or (answered or control_said == "ok") and "invoice" or "account"
    local seen = fault == "invoice" and store:look(account, { row.invoice })
    if seen then
      seen.rows[1].vendor = app.accounts[account].vendor
      local gave_up = invoice_failed(store, seen.rows[1], why, seen.now)
      app.log("warn", gave_up and "check_dead" or "check_failed", { account = account,
        invoice = row.invoice, message = tostring(why) })
    elseif fault == "account" then
      worst = why
    end
  end
  if worst then accounts.failed(app, store, account, tostring(worst), worst.status == 401) end
  return worst ~= nil
end

-- Reads what was claimed, side by side.
local function read_claimed(app, store, account, rows, memory, known)
  local client = app.accounts[account]
  local operation = rules.readable(client)
  local tickets = {}
  for i in ipairs(rows) do
    local drawn, why = store:ticket()
    if not drawn then return nil, why end
    tickets[i] = drawn
  end
  -- without a pcall of our own: Lua 5.1 cannot wait inside of one
  local invoices, errors = map.map(rows, function(row)
    return client:call(operation, { id = row.invoice }, reading.BEHIND)
  end, { concurrency = SIDE_BY_SIDE })
  local answered, found, results = false, false, {}
  for i in ipairs(rows) do
    local result = { invoice = invoices[i] }
    if result.invoice == nil then result.why = reading.fault(errors[i]) end
    results[i] = result
    local absent = result.why and result.why.kind == "not_found"
    found = found or result.invoice ~= nil
    answered = answered or result.invoice ~= nil or absent
  end
  local worked = memory.worked or found
  if worked and answered then accounts.answered(app, store, account, memory, found) end
  local context = reading.context(app, account, memory, tickets[#tickets].now, known)
  local taken, reads, lost, reasons = {}, {}, {}, {}
  for i, row in ipairs(rows) do
    local result = results[i]
    if result.invoice then
      taken[#taken + 1] = row
      reads[#reads + 1] = reading.found(tickets[i].ticket, tickets[i].now, client, result.invoice)
    elseif result.why.kind == "not_found" and worked then
      taken[#taken + 1] = row
      reads[#reads + 1] = { ticket = tickets[i].ticket, began = tickets[i].now, status = "absent" }
    else
      lost[#lost + 1], reasons[#reasons + 1] = row, result.why
    end
  end
  local changes, why = reading.take(store, taken, reads, context)
  if not changes then return nil, why end
  for i, row in ipairs(taken) do
    if changes[i] and changes[i].need_control then
      changes[i], why = confirm_absence(app, store, account, row, reads[i], context, memory)
      if why then return nil, why end
    end
  end
  local events = reading.note(app, account, taken, changes)
  local ill = #lost > 0
    and failed(app, store, account, lost, reasons, answered and worked, memory)
  return events, nil, lost, ill
end

---Reads one known invoice now, without a claim, for a comparison of all.
---@return table|nil result { how = "same" | "changed" | "missing_there", events }, table|nil err
function M.one(app, store, account, memory, row, dry)
  local client = app.accounts[account]
  local drawn, why = store:ticket()
  if not drawn then return nil, why end
  local invoice
  invoice, why = reading.read(client, rules.readable(client), row.invoice)
  if not invoice and not (why.kind == "not_found" and memory.worked) then return nil, why end
  local context = reading.context(app, account, memory, drawn.now, 0)
  context.dry = dry
  local result = invoice and reading.found(drawn.ticket, drawn.now, client, invoice)
    or { ticket = drawn.ticket, began = drawn.now, status = "absent" }
  local rows = { row }
  local changes, reason = reading.take(store, rows, { result }, context)
  if not changes then return nil, reason end
  if invoice then accounts.answered(app, store, account, memory, true) end
  local change = changes[1]
  if change and change.need_control and not dry then
    change, why = confirm_absence(app, store, account, row, result, context, memory)
    if why then return nil, why end
  end
  return { events = reading.note(app, account, rows, { change }),
    how = not invoice and "missing_there" or change and change.found and "changed" or "same" }
end

-- --- a round of checks -------------------------------------------------------------------

-- How many reads the account's quota has room for now; waiting for it holds no lease.
local function room(client)
  if type(client.quota) ~= "function" then return SIDE_BY_SIDE end
  local left = client:quota()
  if not left or not left.left then return SIDE_BY_SIDE end
  return math.min(SIDE_BY_SIDE, left.left)
end

-- Above a hundred due checks one list says most of what they would.
local function list_first(app, store, account, memory, due)
  if due.checks <= MANY or not vendors[app.accounts[account].vendor].list_all
    or due.now < (memory.listed_at or 0) + LIST_AGAIN then return end
  accounts.update(store, account, function(now_memory, now) now_memory.listed_at = now end)
  local report, why = lists.read(app, store, account, memory, {})
  if why then
    app.log("warn", "list_failed", { account = account, message = tostring(why) })
  end
  return report and report.events
end

---Makes the checks of an account that are due, as far as its quota and its breaker allow.
---@param app table
---@param store table
---@param account string
---@param memory table
---@param due { checks: integer, now: integer }
---@param owner string
---@param over fun(): boolean
---@return integer|nil events, table|nil err
function M.round(app, store, account, memory, due, owner, over)
  local client = app.accounts[account]
  local may = accounts.may_ask(memory, due.now)
  if not may or not rules.readable(client) or accounts.moved(memory, client) then return 0 end
  local events = may == "yes" and list_first(app, store, account, memory, due) or 0
  if may == "probe" then
    -- of an invoice that is known to be there, where there is one: another may be missing rightly
    local state = control(app, store, account, "", memory)
    if state == "failed" then
      accounts.failed(app, store, account, memory.fault, true)
      return 0
    elseif state == "ok" then
      may = "yes"
    end
  end
  local known = due.checks > 0 and store:how_many(account) or 0
  local left = math.min(due.checks, MANY)
  while left > 0 and not over() do
    local limit = may == "probe" and 1 or math.min(left, room(client))
    if limit == 0 then break end
    local claimed, why = store:claim { kind = "check", account = account, owner = owner,
      lease = LEASE, limit = limit }
    if not claimed then return nil, why end
    if #claimed.rows == 0 then break end
    local found, lost, ill
    found, why, lost, ill = read_claimed(app, store, account, claimed.rows, memory, known)
    local back, missed = {}, {}
    for _, row in ipairs(lost or {}) do missed[row.lane] = SOON end
    for i, row in ipairs(claimed.rows) do
      back[i] = { lane = row.lane, token = row.token, check_after = missed[row.lane] }
    end
    store:release(back)
    if not found then return nil, why end
    events, left = events + found, left - #claimed.rows
    if ill then break end
  end
  return events
end

return M

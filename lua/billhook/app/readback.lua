-- app/readback.lua: does the checks that are due: reads invoices from the API, and distinguishes
-- faults of one invoice from faults of its account.

local accounts = require "billhook.app.account"
local check = require "billhook.app.check"
local read = require "billhook.app.read"

local M = {}

local LEASE = 120000 -- ms
local MANY = 100 -- due checks of an account from which on a list comes first
local LIST_AGAIN = 60000 -- ms between two lists for that reason
local SOON = 5000 -- ms: a read that failed is made again then
local GIVE_UP = 8 -- reads of one invoice that failed while others succeeded
local UNKNOWN_FIRST = 4 -- each so many-th claim: neither kind of news can starve the other

-- What waits for a read, of an account that cannot read back any more, is news again, to be routed
-- as such an account's.
local function reroute(mine, owner)
  local claimed = mine.store:claim { kind = "check", account = mine.name, owner = owner,
    lease = LEASE, limit = MANY }
  local changes, back = {}, {}
  for i, row in ipairs(claimed.rows) do
    changes[i] = read.change(row, { check_due = check.NULL })
    changes[i].settle, changes[i].began = "new", claimed.now
    back[i] = { lane = row.lane, token = row.token }
  end
  if #changes == 0 then return end
  mine.store:apply(changes)
  mine.store:release(back)
end

-- It failed although others did not: less and less often, in the end given up until news comes.
local function invoice_failed(mine, id, why)
  local seen = mine.store:look(mine.name, { id })
  local row, now = seen.rows[1], seen.now
  local faults = (row.faults or 0) + 1
  local dead = faults >= GIVE_UP
  local change = read.change(row, { faults = faults,
    check_due = dead and check.NULL or now + math.min(3600000, 30000 * 2 ^ (faults - 1)) })
  if dead then
    change.settle, change.began, change.reason = "dead", now, tostring(why)
    change.events = { { account = mine.name, invoice = id, vendor = mine.client.vendor,
      id = ("%s:%s.dead.%d"):format(mine.name, id, now), type = "invoice.updated",
      trust = "sender", live = true, bad = true, rules = {},
      note = "it could not be read back: " .. tostring(why) } }
  end
  mine.store:apply { change }
  mine:log("warn", dead and "check_dead" or "check_failed", why, id)
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
local function failed(mine, lost, answered)
  local worst, control
  for _, one in ipairs(lost) do
    local fault = fault_of(one.why, mine.memory.worked)
    if not fault then
      control = answered and "ok" or control or read.control(mine, one.row.invoice)
      fault = control == "ok" and "invoice" or "account"
    end
    if fault == "invoice" then
      invoice_failed(mine, one.row.invoice, one.why)
    elseif fault == "account" then
      worst = one.why
    end
  end
  if worst then mine:failed(tostring(worst), worst.status == 401) end
  return worst ~= nil
end

-- How many reads the account's quota has room for now; waiting for it holds no lease.
local function room(client)
  local quota = client:quota()
  return math.min(read.SIDE_BY_SIDE, quota and quota.left or read.SIDE_BY_SIDE)
end

-- Above a hundred due checks one list says most of what they would.
local function list_first(mine, due)
  if due.checks <= MANY or not mine.vendor.list_all
    or not accounts.has_come(mine.memory.list_at, due.now, LIST_AGAIN) then return 0 end
  mine:update(function(memory, now) memory.list_at = now + LIST_AGAIN end)
  local report, why = mine:attempt(read.list, {})
  if not report then mine:log("warn", "list_failed", why) end
  return report and report.events or 0
end

-- May reads be made, of an account whose breaker is open? One is a probe: of an invoice that is
-- known to be there, where there is one: another may be missing rightly.
local function probe(mine)
  local state = read.control(mine, "")
  if state == "failed" then mine:failed(mine.memory.fault, true) end
  return state
end

-- Known invoices are read before ids that nobody has ever seen, but for some claims.
local function others_turn(mine)
  local claims = mine.app.claims
  claims[mine.name] = (claims[mine.name] or 0) + 1
  return claims[mine.name] % UNKNOWN_FIRST == 0
end

---Makes the checks of an account that are due, as far as its quota and its breaker allow; where it
---cannot read back, the news behind them is routed anew.
---@param mine billhook.app.account
---@param due { checks: integer, now: integer }
---@param owner string
---@param over fun(): boolean
---@return integer events
function M.round(mine, due, owner, over)
  if not mine.reads and due.checks > 0 then reroute(mine, owner) end
  local may, events, most = mine:may_ask(due.now), 0, nil
  if not may then return 0 end
  if may == "yes" then
    events = list_first(mine, due)
  else
    local state = probe(mine)
    if state == "failed" then return 0 end
    most = state == "none" and 1 or nil
  end
  local left = math.min(due.checks, MANY)
  while left > 0 and not over() do
    local limit = most or math.min(left, room(mine.client))
    if limit == 0 then break end
    local rows = mine.store:claim { kind = "check", account = mine.name, owner = owner,
      lease = LEASE, limit = limit, unknown_first = others_turn(mine) }.rows
    if #rows == 0 then break end
    local answers, found = read.singly(mine, rows)
    local back, lost = {}, {}
    for i, one in ipairs(answers) do
      back[i] = { lane = one.row.lane, token = one.row.token,
        check_after = one.why and SOON or nil }
      if one.why then lost[#lost + 1] = one end
    end
    local ill = failed(mine, lost, answers.answered)
    mine.store:release(back)
    events, left = events + found, left - #rows
    if ill or mine.memory.fault then break end
  end
  return events
end

return M

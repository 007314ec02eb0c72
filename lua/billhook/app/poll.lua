-- app/poll.lua: asks a vendor's API for what its webhooks may have lost, by the lists that its
-- documents show; found changes become events as those of a check do.
--
--   DreamApply   issued since, not collected, collected since: three requests. The times are the
--                vendor's own, 10 minutes of them asked for twice. A known open invoice in none of
--                the lists is read singly
--   Betterez     failures, each an event invoice.failed; re-reads of open invoices, longest unread
--                first
--   DreamClass   such re-reads
--
-- The first poll of an account reads the whole list where there is one; what was issued before the
-- account's first start is stored without events.

local accounts = require "billhook.app.account"
local check = require "billhook.app.check"
local core = require "billhook.core"
local err = require "billhook.error"
local json = require "billhook.json"
local lists = require "billhook.app.lists"
local rules = require "billhook.app.rules"

local M = {}

local OVERLAP = 600 -- seconds
local REREADS = 60 -- open invoices a poll
local PAGE = 500
local HEAVY = 8 * 1048576 -- bytes of the list of open invoices, above which it is asked hourly
local HOUR = 3600000

-- Marks rows for a check: what a list ought to have shown and did not, or what is due to be read.
local function mark(store, account, rows, now)
  local changes = {}
  for i, row in ipairs(rows) do
    changes[i] = { account = account, invoice = row.invoice, expect = row.stamp,
      set = check.look(row, now) }
  end
  if #changes == 0 then return 0 end
  local done, why = store:apply(changes)
  return done and #changes, why
end

-- Known invoices that no list of this poll has shown.
local function mark_unseen(store, account, which, ticket)
  local after, marked = 0, 0
  while true do
    local page, why = store:of_account(account, { which = which, after = after,
      ticket_before = ticket, limit = PAGE })
    if not page then return nil, why end
    local rows = {}
    for _, row in ipairs(page.rows) do
      after = row.lane
      if not row.check_due then rows[#rows + 1] = row end
    end
    local n
    n, why = mark(store, account, rows, page.now)
    if not n then return nil, why end
    marked = marked + n
    if #page.rows < PAGE then return marked end
  end
end

M.mark_unseen = mark_unseen

-- The newest of the vendor's own times in what a list has shown, never later than now.
local function newest(invoice, name, latest, now)
  local at = type(invoice[name]) == "string" and core.text.datetime(invoice[name])
  if at and at <= now and at > (latest or 0) then return at end
  return latest
end

local function since(at) return core.text.iso(math.floor(at - OVERLAP)) end

local vendors = {}

local function cannot(client)
  local _, why = rules.readable(client)
  return err.new { kind = "invalid", vendor = client.vendor,
    message = "polling is not possible: " .. tostring(why) }
end

function vendors.dreamapply(app, store, account, memory)
  if not rules.readable(app.accounts[account]) then return nil, cannot(app.accounts[account]) end
  local issued, collected = memory.issued, memory.collected
  local now = app.clock and app.clock() or core.text.now()
  local asked, first, bytes = { {} }, nil, 0
  local function see(_, _, read)
    bytes = bytes + #read.text
    issued = newest(read.invoice, "issued", issued, now)
    collected = newest(read.invoice, "collected", collected, now)
  end
  if memory.baseline then
    asked = { { byIssuedSince = since(issued or memory.start / 1000) },
      { byCollectedSince = since(collected or memory.start / 1000) } }
    if not memory.heavy or (memory.open_at or 0) + HOUR <= now * 1000 then
      asked[#asked + 1] = { byCollected = false }
    end
  end
  local events, seen, open_asked = 0, 0, not memory.baseline
  for _, params in ipairs(asked) do
    bytes = 0
    local report, why = lists.read(app, store, account, memory, params, see)
    if not report then return nil, why end
    first = first or report.ticket
    events, seen = events + report.events, seen + report.seen
    if params.byCollected == false then open_asked = true end
  end
  local heavy = bytes > HEAVY
  if open_asked then
    local marked, why = mark_unseen(store, account, "open", first)
    if not marked then return nil, why end
  end
  local kept, why = accounts.update(store, account, function(fresh, at)
    fresh.issued, fresh.collected = issued, collected
    fresh.baseline = fresh.baseline or seen > 0 or nil
    if open_asked then fresh.open_at, fresh.heavy = at, heavy or nil end
  end)
  return kept and events, why
end

-- Open invoices, longest unread first.
local function reread(app, store, account)
  if not rules.readable(app.accounts[account]) then return 0 end
  local page, why = store:of_account(account, { which = "open", unread = true, limit = REREADS })
  if not page then return nil, why end
  local rows = {}
  for _, row in ipairs(page.rows) do
    if not row.check_due then rows[#rows + 1] = row end
  end
  local marked
  marked, why = mark(store, account, rows, page.now)
  if not marked then return nil, why end
  return 0
end

function vendors.betterez(app, store, account)
  local client = app.accounts[account]
  if type(client.can) ~= "function" or not client:can "invoices.failures" then
    return nil, cannot(client)
  end
  local failures, why = client:call("invoices.failures", {}, { priority = "background" })
  if not failures then return nil, why end
  local changes, fresh = {}, {}
  for _, failure in ipairs(failures) do
    if type(failure) == "table" and type(failure._id) == "string" then
      local id = account .. ":failure-" .. failure._id
      local known
      known, why = store:events { id = id, limit = 1 }
      if not known then return nil, why end
      if #known == 0 and not fresh[id] then
        fresh[id] = true
        changes[#changes + 1] = { account = account, events = { {
          account = account, id = id, vendor = "betterez", type = "invoice.failed",
          native = "invoices.failed", trust = "api", live = true, data = json.encode(failure),
          rules = app.rules:select(account, "invoice.failed", "invoices.failed") } } }
      end
    end
  end
  if #changes > 0 then
    local done
    done, why = store:apply(changes)
    if not done then return nil, why end
  end
  local n
  n, why = reread(app, store, account)
  return n and #changes + n, why
end

function vendors.dreamclass(app, store, account)
  if not rules.readable(app.accounts[account]) then
    return nil, cannot(app.accounts[account])
  end
  return reread(app, store, account)
end

---Polls an account. What a list ought to have shown, and is read singly, is read by the next round
---of work.
---@param app table
---@param account string
---@return integer|nil events how many were found, table|nil err
function M.round(app, account)
  local store, why = app:open()
  if not store then return nil, why end
  local memory
  memory, why = accounts.load(app, store)
  if not memory then return nil, why end
  local client, mine = app.accounts[account], memory[account]
  if accounts.moved(mine, client) then
    return nil, err.new { kind = "conflict", code = "origin", vendor = client.vendor,
      message = ("the account's address or school has changed: see `billhook inbox rebase %s`")
        :format(account) }
  end
  local found
  found, why = vendors[client.vendor](app, store, account, mine)
  if not found then
    accounts.blame(app, store, account, why)
    return nil, why
  end
  accounts.update(store, account, function(now_memory, now) now_memory.polled_at = now end)
  return found
end

return M

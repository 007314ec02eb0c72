-- app/poll.lua: finds changes whose webhooks were lost, in the lists that a vendor's API documents.
-- These changes become events in the same way as those of a check.
--
--   DreamApply   issued since, not collected, collected since: three requests. The times are the
--                vendor's own, and each poll overlaps the last by 10 minutes. A known open invoice
--                in none of the lists is read singly
--   Betterez     failures, each an event invoice.failed; undelivered webhooks, each a delivery;
--                re-reads of open invoices, longest unread first
--   DreamClass   such re-reads
--
-- The first poll of an account reads the whole list, if there is one. Invoices from before the
-- account's first start are stored without events. The next round of work does the single reads.

local accounts = require "billhook.app.account"
local core = require "billhook.core"
local json = require "billhook.json"
local read = require "billhook.app.read"
local receive = require "billhook.app.receive"

local M = {}

local OVERLAP = 600 -- seconds
local REREADS = 60 -- open invoices a poll
local HEAVY = 8 * 1048576 -- bytes of the list of open invoices, above which it is asked hourly
local HOUR = 3600000

-- The newest of the vendor's own times in what a list has shown, never later than now.
local function newest(time, latest, now)
  local at = type(time) == "string" and core.text.datetime(time)
  return at and at <= now and at > (latest or 0) and at or latest
end

local function since(at) return core.text.iso(math.floor(at - OVERLAP)) end

-- by vendor: how many events were found
local polls = {}

function polls.dreamapply(mine)
  if not mine.reads then error(mine:cannot "polling", 0) end
  local memory, now = mine.memory, mine.app.clock and mine.app.clock() or core.text.now()
  local issued, collected, asked, bytes = memory.issued, memory.collected, { {} }, 0
  if memory.baseline then
    asked = { { byIssuedSince = since(issued or memory.start / 1000) },
      { byCollectedSince = since(collected or memory.start / 1000) } }
    if accounts.has_come(memory.open_at, now * 1000, HOUR) then
      asked[3] = { byCollected = false }
    end
  end
  local open_asked = not memory.baseline or asked[3] ~= nil
  local events, seen, first = 0, 0, nil
  for _, params in ipairs(asked) do
    bytes = 0
    local report = read.list(mine, params, function(_, one)
      bytes = bytes + #one.text
      issued = newest(one.invoice.issued, issued, now)
      collected = newest(one.invoice.collected, collected, now)
    end)
    first = first or report.ticket
    events, seen = events + report.events, seen + report.seen
  end
  if open_asked then
    read.pages(mine, { which = "open", ticket_before = first }, read.mark)
  end
  mine:update(function(fresh, at)
    fresh.issued, fresh.collected = issued, collected
    fresh.baseline = fresh.baseline or seen > 0 or nil
    if open_asked then fresh.open_at = bytes > HEAVY and at + HOUR or nil end
  end)
  return events
end

-- Has open invoices read again, longest unread first.
local function reread(mine)
  read.pages(mine, { which = "open", unread = true, limit = REREADS }, read.mark)
end

function polls.dreamclass(mine)
  if not mine.reads then error(mine:cannot "polling", 0) end
  reread(mine)
  return 0
end

local BEHIND = { priority = "background" }

-- What the vendor could not issue. An event each; how many are new.
local function failures(mine)
  local list, why = mine.client:call("invoices.failures", {}, BEHIND)
  if not list then error(why, 0) end
  local changes = {}
  for _, failure in ipairs(list) do
    local id = type(failure) == "table" and type(failure._id) == "string"
      and mine.name .. ":failure-" .. failure._id
    if id and not changes[id] and #mine.store:events { id = id, limit = 1 } == 0 then
      changes[id] = true
      changes[#changes + 1] = { account = mine.name, events = { {
        account = mine.name, id = id, vendor = "betterez", type = "invoice.failed",
        native = "invoices.failed", trust = "api", live = true, data = json.encode(failure),
        rules = mine.app.rules:select(mine.name, "invoice.failed", "invoices.failed") } } }
    end
  end
  if #changes > 0 then mine.store:apply(changes) end
  return #changes
end

-- The webhooks that the vendor could not deliver stay in its list until a person erases them. Each
-- is taken once, as if it had come: its invoice is read back by the next round of work. A key may
-- not be allowed to see them: then the other ways of the poll find what they find.
local function undelivered(mine)
  local list, why = mine.client:call("undelivered.list", {}, BEHIND)
  if not list then return mine:log("warn", "undelivered_failed", why) end
  local rows, seen, strange = {}, {}, 0
  for _, entry in ipairs(list) do
    local found = mine.vendor.undelivered(entry)
    if not found then
      strange = strange + 1
    elseif not seen[found.id] and (found.occurred_at or math.huge) * 1000 >= mine.memory.start
      and #mine.store:deliveries { id = mine.name .. ":" .. found.id, limit = 1 } == 0 then
      seen[found.id] = true
      rows[#rows + 1] = receive.row(mine.name, "betterez", mine.reads, { trust = "api" }, found,
        mine.vendor.redact(json.encode(entry), found.native))
    end
  end
  if strange > 0 then
    mine:log("warn", "undelivered", ("%d undelivered webhooks do not say what they are: have the"
      .. " vendor send them again"):format(strange))
  end
  if #rows > 0 then receive.admitted(mine.app, rows, mine.store:admit(rows)) end
end

function polls.betterez(mine)
  if not mine.client:can "invoices.failures" then error(mine:cannot "polling", 0) end
  local events = failures(mine)
  undelivered(mine)
  if mine.reads then reread(mine) end
  return events
end

---Polls an account.
---@param mine billhook.app.account
---@return integer events how many were found
function M.poll(mine)
  local events = polls[mine.client.vendor](mine)
  mine:update(function(memory, now) memory.polled_at = now end)
  return events
end

return M

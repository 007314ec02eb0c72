-- poll.lua: asks a vendor's API for news that its webhooks may have lost.
--
-- What is found has the ids and keys that the webhook would have given it, so
-- nothing runs twice; its trust is "api". Options of app:poll:
--
--   events   DreamApply: which journal entries to ask for. The names of those about invoices are
--            not published; these are guesses in the form of the published ones
--   since    DreamApply: epoch seconds to begin at, where there is no cursor yet; a day ago
--
-- DreamApply's journal is read from where the last poll ended. Betterez tells only of invoices
-- that could not be made: each is an event "invoice.failed". DreamClass has no call for this.

local core = require "billhook.core"
local err = require "billhook.error"
local intake = require "billhook.delivery.intake"
local json = require "billhook.json"

local M = {}

local PAGE = 1024 -- of the journal, the most that it gives
local PAGES = 200 -- a poll; the next one goes on
local BEHIND = { priority = "background" } -- people and rules come first

local ENTRIES = {
  "Invoice was created: ?", "Invoice was edited: ?", "Invoice was deleted: ?",
  "Invoice was collected: ?",
}

-- The items go through the same door as a webhook's, under a key made for the occasion.
local function journal_events(app, account, items)
  local key = core.text.hex(core.text.random(16))
  local delivery, _, why = core.verify.check("dreamapply", { authorization = key },
    json.encode(json.array(items)), core.verify.keys { authorization = key }, {})
  if not delivery then return nil, err.new { kind = "decode", message = why } end
  delivery.trust = "api"
  local events = {}
  for i, found in ipairs(delivery.events) do
    events[i] = intake.event(app, account, delivery, found, found.data, false)
    events[i].source = "poll"
  end
  return events
end

local function admit(app, store, events)
  if #events == 0 then return 0 end
  local results, why = store:admit(events)
  if not results then return nil, why end
  app:admitted(events, results)
  local new = 0
  for _, result in ipairs(results) do
    if result:find("^admitted") or result:find(" ", 1, true) then new = new + 1 end
  end
  return new
end

-- bySince takes an id too, and gives that entry once more
local function without(items, id)
  local kept = {}
  for _, item in ipairs(items) do
    if type(item) ~= "table" or ("%d"):format(tonumber(item.id) or -1) ~= id then
      kept[#kept + 1] = item
    end
  end
  return kept
end

local function last_id(items)
  local last = items[#items]
  local id = type(last) == "table" and tonumber(last.id)
  return id and ("%d"):format(id)
end

local vendors = {}

-- One page; gives how many were new, and whether there may be more.
local function journal_page(app, account, store, params, name)
  local items, why = app.accounts[account]:call("journal.list", params, BEHIND)
  if not items then return nil, why end
  local events, new
  events, why = journal_events(app, account, without(items, params.bySince))
  if events then new, why = admit(app, store, events) end
  local id = last_id(items)
  if not new or not id then return new, why end
  local kept
  kept, why = store:set(name, id)
  if not kept then return nil, why end
  local more = #items >= PAGE and id ~= params.bySince
  params.bySince = id
  return new, nil, more
end

function vendors.dreamapply(app, account, store, options)
  local name = "journal " .. account
  local cursor, why = store:get(name)
  if cursor == nil then return nil, why end
  local now = app.clock and app.clock() or core.text.now()
  local params = { byEvents = options.events or ENTRIES, order = "oldest-first", limit = PAGE,
    bySince = cursor or core.text.iso(math.floor(options.since or now - 86400)) }
  local all = 0
  for _ = 1, PAGES do
    local new, reason, more = journal_page(app, account, store, params, name)
    if not new then return nil, reason end
    all = all + new
    if not more then break end
  end
  return all
end

local function failure_event(app, account, failure)
  local text = json.encode(failure)
  local delivery = { vendor = "betterez", trust = "api" }
  local found = { id = "failure-" .. failure._id, native = "invoices.failed", live = true,
    digest = core.json.digest(text), data = text }
  local event = intake.event(app, account, delivery, found, text, false)
  event.source = "poll"
  return event
end

function vendors.betterez(app, account, store)
  local failures, why = app.accounts[account]:call("invoices.failures", {}, BEHIND)
  if not failures then return nil, why end
  local events = {}
  for _, failure in ipairs(failures) do
    if type(failure) == "table" and type(failure._id) == "string" then
      events[#events + 1] = failure_event(app, account, failure)
    end
  end
  return admit(app, store, events)
end

local KNOWN = { events = "table", since = "number" }

---See App:poll.
function M.round(app, account, options)
  for name, value in pairs(options) do
    if type(value) ~= KNOWN[name] then
      error(("poll: option '%s' is unknown or no %s"):format(tostring(name),
        KNOWN[name] or "option"), 3)
    end
  end
  local client = app.accounts[account]
  local poll = vendors[client.vendor]
  if not poll then
    return nil, err.new { kind = "invalid", vendor = client.vendor,
      message = "polling is not possible: there is no call that lists what has happened" }
  end
  local store, why = app:open()
  if not store then return nil, why end
  return poll(app, account, store, options)
end

return M

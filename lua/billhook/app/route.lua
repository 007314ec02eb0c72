-- app/route.lua: decides what to do with a delivery. This is a worker's first step, done once:
--
--   the proof covers the invoice (Betterez)   it is the new state at once
--   it can be read back                       its invoice is marked for a check, once for any
--                                             number of deliveries
--   it cannot                                 the delivery itself becomes the event, with its
--                                             content as claims
--   about no invoice                          the same
--   about an invoice that it does not name    all are compared, within the hour (DreamApply);
--                                             a dead letter, unless nothing can be read back
--   it cannot be processed                   a dead letter, which is reported to a person

local check = require "billhook.app.check"
local core = require "billhook.core"
local invoices = require "billhook.invoice"
local metrics = require "billhook.app.metrics"
local read = require "billhook.app.read"
local receive = require "billhook.app.receive"
local vendors = require "billhook.vendor"

local M = {}

M.PAGE = 64 -- deliveries at once
local ACTED_ON = 8 -- deliveries of one event id, where nothing can be read back
local HOUR = 3600000

-- What was sent: of an envelope, what is in it, as it is spelt.
local function payload_of(delivery)
  if delivery.vendor == "dreamapply" or not delivery.body then return delivery.body end
  local from, to = core.verify.member(delivery.body, "data")
  return from and delivery.body:sub(from, to) or delivery.body
end

-- The event that a delivery itself is. Its id is the vendor's; `earlier` deliveries under it came
-- before, with other news. `dead`: why nothing can be made of it.
local function event_of(mine, delivery, dead)
  local id = delivery.account .. ":" .. delivery.key:match "^%S+"
  if delivery.earlier > 0 then
    id = id .. "." .. core.text.sha256(delivery.key .. (delivery.body or "")):sub(1, 8)
  end
  local event = { account = delivery.account, id = id, vendor = delivery.vendor,
    type = delivery.type, native = delivery.native, invoice = delivery.invoice,
    tenant = delivery.tenant, trust = delivery.trust, live = delivery.live,
    received_at = math.floor(delivery.received_at * 1000) }
  if dead then
    event.id, event.claims, event.bad, event.note, event.rules = id .. ".dead", delivery.body, true,
      dead, {}
    return event
  end
  local payload, type_by = payload_of(delivery), vendors[delivery.vendor].type_by
  if type_by then event.type = type_by(event.type, core.json.read(payload or "")) end
  event[receive.proven(delivery.trust) and "data" or "claims"] = payload
  event.occurred_at = delivery.occurred_at and math.floor(delivery.occurred_at * 1000)
  event.rules = mine.app.rules:select(mine.name, event.type, delivery.native)
  return event
end

-- --- decisions -------------------------------------------------------------------

-- Is an invoice in it, proven, as the API would give it? What a list of the API's says of it may be
-- less than all: it is only taken where the invoice itself cannot be asked for.
local function is_state(mine, delivery)
  return delivery.vendor == "betterez" and delivery.invoice
    and (delivery.trust == "body" or delivery.trust == "api" and not mine.reads)
    and (delivery.native == "invoices.created" or delivery.native == "invoices.updated")
end

-- What becomes of a delivery: "state" and the invoice; "check"; or a state of its own, a reason and
-- an event.
local function decide(mine, delivery)
  local reason, family = delivery.reason, delivery.type:match "^(%l+)%."
  -- Is it about an invoice or a payment, and does not say which invoice? Where states make such
  -- events, it must not become one: a rule would take for seen what was merely sent. Betterez's
  -- invoices hold no payments: its refunds are news of their own.
  local unlinked = not delivery.invoice
    and (family == "invoice" or family == "payment" and delivery.vendor ~= "betterez")
  if not reason and not delivery.live and not mine.client.test_events then
    return "unhandled", "a test event: the account's option 'test_events' is not set"
  end
  if not reason and delivery.live then
    if is_state(mine, delivery) then
      local invoice = core.json.read(payload_of(delivery) or "")
      if type(invoice) == "table" then return "state", invoice end
      reason = "its data is no object"
    elseif mine.reads and delivery.invoice then
      return "check"
    elseif mine.reads and delivery.vendor == "dreamapply" and unlinked then
      return "compare", "it does not say which invoice: all are compared"
    end
  end
  if delivery.earlier >= ACTED_ON then
    metrics.add(mine.app, "delivery too_many " .. mine.name)
    if delivery.earlier == ACTED_ON then -- whoever has seen one may send any number
      mine.app.log("warn", "too_many", { id = delivery.id, account = mine.name, message = "this"
        .. " event id came with many other contents: they are kept and counted, not acted on" })
    end
    return "unhandled", "further content under an event id that came eight times already"
  end
  if not reason and (mine.reads or receive.proven(delivery.trust)) and unlinked then
    reason = "it does not say which invoice"
  end
  if reason then return "dead", reason, event_of(mine, delivery, reason) end
  local event = event_of(mine, delivery)
  if #event.rules == 0 and not event.invoice then
    return "unhandled", "no rule is for this type", event
  end
  return "done", nil, event
end

-- --- invoices' news -----------------------------------------------------------------

-- The first delivery of each invoice: ids, and what was taken; and the later ones.
local function take_first(list)
  local ids, first, later, seen = {}, {}, {}, {}
  for _, one in ipairs(list) do
    if seen[one.invoice] then
      later[#later + 1] = one
    else
      ids[#ids + 1], first[#first + 1], seen[one.invoice] = one.invoice, one, true
    end
  end
  return ids, first, later
end

-- What the proof covers is the state: one delivery of an invoice after the other, in their order.
-- Where one was not stored, for others route too, those behind it wait for the next round.
local function take_states(mine, list, states)
  while #list > 0 do
    local ids, first, later = take_first(list)
    local seen, reads = mine.store:look(mine.name, ids), {}
    for i, one in ipairs(first) do
      reads[i] = read.found(mine, mine.store:ticket(), invoices.tag("betterez", states[one]))
      reads[i].seq = one.seq
    end
    local context = read.context(mine, seen.now)
    context.trust = "body"
    local changes, stored = read.take(mine, seen.rows, reads, context), {}
    for i, one in ipairs(first) do stored[one.invoice] = changes[i] ~= nil end
    list = {}
    for _, one in ipairs(later) do
      if stored[one.invoice] then list[#list + 1] = one end
    end
  end
end

-- Marks invoices for a check. Those whose row has changed meanwhile wait for the next round.
local function mark(mine, list)
  if #list == 0 then return end
  local ids = take_first(list)
  local seen, changes, by_id = mine.store:look(mine.name, ids), {}, {}
  for i, row in ipairs(seen.rows) do
    local set, route = check.news(row, seen.now), {}
    set.faults = 0
    changes[i], by_id[row.invoice] = read.change(row, set), route
    changes[i].route = route
  end
  for _, one in ipairs(list) do
    local route = by_id[one.invoice]
    route[#route + 1] = { seq = one.seq, state = "pending" }
  end
  mine.store:apply(changes)
end

---Routes deliveries of an account, oldest first.
---@param mine billhook.app.account
---@return integer routed how many were looked at
function M.round(mine)
  local incoming = mine.store:incoming(mine.name, M.PAGE)
  local plain, proven, states, checks, compare = {}, {}, {}, {}, false
  for _, delivery in ipairs(incoming) do
    local what, detail, event = decide(mine, delivery)
    if what == "state" then
      proven[#proven + 1], states[delivery] = delivery, detail
    elseif what == "check" then
      checks[#checks + 1] = delivery
    else
      compare = compare or what == "compare"
      plain[#plain + 1] = { account = mine.name, events = { event }, route = { {
        seq = delivery.seq, state = what == "compare" and "done" or what, reason = detail } } }
    end
  end
  if #plain > 0 then mine.store:apply(plain) end
  mark(mine, checks)
  take_states(mine, proven, states)
  if compare then -- at most once an hour
    mine:update(function(memory, now)
      memory.reconcile_at = memory.reconcile_at or math.max(now, (memory.reconciled_at or 0) + HOUR)
    end)
  end
  return #incoming
end

return M

-- app/route.lua: what a delivery means: the first thing that a worker does with it, once.
--
--   the proof covers the invoice (Betterez)   it is the new state at once
--   it can be read back                       its invoice is marked for a check, however often it
--                                             is said
--   it cannot                                 the news itself becomes the event, with what was sent
--                                             as claims
--   about no invoice                          the same
--   about an invoice that it does not name    all are compared, within the hour (DreamApply);
--                                             a dead letter, unless nothing can be read back
--   nothing can be made of it                 a dead letter, of which a person is told

local accounts = require "billhook.app.account"
local check = require "billhook.app.check"
local core = require "billhook.core"
local invoices = require "billhook.invoice"
local reading = require "billhook.app.reading"
local rules = require "billhook.app.rules"

local M = {}

M.PAGE = 64 -- deliveries at once
local ACTED_ON = 8 -- deliveries of one event id, where nothing can be read back
local HOUR = 3600000

-- --- events of news ----------------------------------------------------------------

-- What was sent: of an envelope, what is in it, as it is spelt.
local function payload_of(delivery)
  if delivery.vendor == "dreamapply" or not delivery.body then return delivery.body end
  local from, to = core.verify.member(delivery.body, "data")
  return from and delivery.body:sub(from, to) or delivery.body
end

-- The id of the vendor's. `earlier` deliveries under it came before, with other news.
local function id_of(delivery)
  local id = delivery.account .. ":" .. delivery.key:match "^%S+"
  if delivery.earlier == 0 then return id end
  return id .. "." .. core.text.sha256(delivery.key .. (delivery.body or "")):sub(1, 8)
end

-- The event that a delivery itself is.
local function event_of(app, delivery)
  local proven = delivery.trust == "body" or delivery.trust == "api"
  local payload = payload_of(delivery)
  return {
    account = delivery.account, id = id_of(delivery), vendor = delivery.vendor,
    type = delivery.type, native = delivery.native, invoice = delivery.invoice,
    tenant = delivery.tenant, trust = delivery.trust, live = delivery.live,
    data = proven and payload or nil, claims = not proven and payload or nil,
    occurred_at = delivery.occurred_at and math.floor(delivery.occurred_at * 1000),
    received_at = math.floor(delivery.received_at * 1000),
    rules = app.rules:select(delivery.account, delivery.type, delivery.native),
  }
end

local function dead(delivery, reason)
  return { account = delivery.account, id = id_of(delivery) .. ".dead",
    vendor = delivery.vendor, type = delivery.type, native = delivery.native,
    invoice = delivery.invoice, tenant = delivery.tenant, trust = delivery.trust,
    live = delivery.live, claims = delivery.body, bad = true, note = reason,
    received_at = math.floor(delivery.received_at * 1000), rules = {} }
end

-- --- decisions -------------------------------------------------------------------

-- Does its proof cover an invoice as the API would give it?
local function is_state(delivery)
  return delivery.vendor == "betterez" and delivery.trust == "body" and delivery.invoice
    and (delivery.type == "invoice.created" or delivery.type == "invoice.updated")
end

-- Is it about an invoice or a payment, and does not say which invoice? Where states make such
-- events, it must not become one: a rule would take for seen what was merely sent.
local function is_unlinked(delivery)
  local family = delivery.type:match "^(%l+)%."
  return not delivery.invoice and (family == "invoice" or family == "payment")
end

-- What becomes of a delivery: a change for store:apply() that concerns no invoice's state, or nil
-- and "check" or "state".
local function decide(app, delivery)
  local client = app.accounts[delivery.account]
  local readable = rules.readable(client)
  local function routed(state, reason, event)
    return { account = delivery.account, events = { event },
      route = { { seq = delivery.seq, state = state, reason = reason } } }
  end
  if not delivery.reason and not delivery.live and not client.test_events then
    return routed("unhandled", "a test event: the account's option 'test_events' is not set")
  end
  if not delivery.reason and delivery.live then
    if is_state(delivery) then return nil, "state" end
    if readable and delivery.invoice then return nil, "check" end
    if readable and delivery.vendor == "dreamapply" and is_unlinked(delivery) then
      return routed("done", "it does not say which invoice: all are compared"), "compare"
    end
  end
  if delivery.earlier >= ACTED_ON then
    app.log("warn", "too_many", { id = delivery.id, account = delivery.account,
      message = "this event id came with many other contents: kept, not acted on" })
    return routed("unhandled", "further content under an event id that came eight times already")
  end
  local reason = delivery.reason
  if not reason and (readable or delivery.trust == "body") and is_unlinked(delivery) then
    reason = "it does not say which invoice"
  end
  if reason then
    return routed("dead", reason, dead(delivery, reason))
  end
  local event = event_of(app, delivery)
  if #event.rules == 0 and not event.invoice then
    return routed("unhandled", "no rule is for this type", event)
  end
  return routed("done", nil, event)
end

-- --- invoices' news -----------------------------------------------------------------

-- The rows that these deliveries are about, each once.
local function rows_of(store, account, deliveries)
  local ids, at = {}, {}
  for _, delivery in ipairs(deliveries) do
    if not at[delivery.invoice] then
      ids[#ids + 1] = delivery.invoice
      at[delivery.invoice] = #ids
    end
  end
  local seen, why = store:look(account, ids)
  return seen, why, at
end

-- Marks invoices for a check.
local function mark(store, account, deliveries)
  if #deliveries == 0 then return true end
  local seen, why, at = rows_of(store, account, deliveries)
  if not seen then return nil, why end
  local changes = {}
  for i, row in ipairs(seen.rows) do
    changes[i] = { account = account, invoice = row.invoice, expect = row.stamp, route = {},
      set = check.news(row, seen.now) }
    changes[i].set.faults = 0
  end
  for _, delivery in ipairs(deliveries) do
    local route = changes[at[delivery.invoice]].route
    route[#route + 1] = { seq = delivery.seq, state = "pending" }
  end
  return store:apply(changes) -- those whose row has changed meanwhile stay, for the next round
end

-- What the change of one delivery is that is its invoice's state.
local function state_change(app, account, row, delivery, drawn, context)
  local invoice = core.json.read(payload_of(delivery) or "")
  if type(invoice) ~= "table" then
    local why = "its data is no object"
    return { account = account, events = { dead(delivery, why) },
      route = { { seq = delivery.seq, state = "dead", reason = why } } }
  end
  local change = check.take(row, reading.found(drawn.ticket, drawn.now, app.accounts[account],
    invoices.tag("betterez", invoice)), context)
  for _, event in ipairs(change.events) do event.account, event.vendor = account, "betterez" end
  change.route = { { seq = delivery.seq, state = change.found and "done" or "unchanged" } }
  return change
end

-- The first delivery of each invoice, and the others.
local function first_of_each(deliveries)
  local first, later, seen = {}, {}, {}
  for _, delivery in ipairs(deliveries) do
    local list = seen[delivery.invoice] and later or first
    list[#list + 1] = delivery
    seen[delivery.invoice] = true
  end
  return first, later
end

-- What the proof covers is the state: one delivery of an invoice after the other, in their order.
local function take_states(app, store, account, deliveries, memory)
  while #deliveries > 0 do
    local first, later = first_of_each(deliveries)
    local seen, why = rows_of(store, account, first)
    if not seen then return nil, why end
    local context, changes = reading.context(app, account, memory, seen.now, 0), {}
    context.trust = "body"
    for i, row in ipairs(seen.rows) do
      local drawn
      drawn, why = store:ticket()
      if not drawn then return nil, why end
      changes[i] = state_change(app, account, row, first[i], drawn, context)
    end
    local results
    results, why = store:apply(changes)
    if not results then return nil, why end
    -- where the row has changed meanwhile, they all wait for the next round
    local refused = {}
    for i, done in ipairs(results) do refused[first[i].invoice] = not done end
    deliveries = {}
    for _, delivery in ipairs(later) do
      if not refused[delivery.invoice] then deliveries[#deliveries + 1] = delivery end
    end
  end
  return true
end

-- News about an invoice that it does not name: everything is compared, at most once an hour.
local function ask_for_reconcile(store, account)
  return accounts.update(store, account, function(memory, now)
    memory.reconcile_at = memory.reconcile_at or math.max(now, (memory.reconciled_at or 0) + HOUR)
  end)
end

---Routes deliveries of an account, oldest first.
---@param app table
---@param store table
---@param account string
---@param memory table see account.lua
---@return integer|nil routed how many were looked at, table|nil err
function M.round(app, store, account, memory)
  local incoming, why = store:incoming(account, M.PAGE)
  if not incoming then return nil, why end
  local plain, states, checks, unlinked = {}, {}, {}, false
  for _, delivery in ipairs(incoming) do
    local change, how = decide(app, delivery)
    if change then
      plain[#plain + 1] = change
      unlinked = unlinked or how == "compare"
    elseif how == "state" then
      states[#states + 1] = delivery
    else
      checks[#checks + 1] = delivery
    end
  end
  local ok = true
  if #plain > 0 then ok, why = store:apply(plain) end
  if ok then ok, why = mark(store, account, checks) end
  if ok then ok, why = take_states(app, store, account, states, memory) end
  if ok and unlinked then ok, why = ask_for_reconcile(store, account) end
  if not ok then return nil, why end
  return #incoming
end

return M

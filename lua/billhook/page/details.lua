-- page/details.lua: one delivery, one event, one invoice: all that is known of it, what rules made
-- of it, and what may be done.

local html = require "billhook.page.html"
local lists = require "billhook.page.lists"
local parts = require "billhook.page.parts"

local e = html.elements

local M = {}

local NEAR = 50 -- events or deliveries beside

local function id_list(path, ids)
  local links = {}
  for i, id in ipairs(ids) do
    links[i] = e.li { parts.link(path, { id = id }, id:match "^%S*") }
  end
  return e.ul { links }
end

local function invoice_link(one)
  return one.invoice and parts.link("/invoice", { account = one.account, invoice = one.invoice },
    one.account .. ":" .. one.invoice)
end

---@return string|nil page, table|nil err  nil and nil: there is none
function M.delivery(context, query)
  local found, err = context.store:deliveries { id = query.id or "", limit = 1 }
  if not found then return nil, err end
  local one = found[1]
  if not one then return nil end
  return parts.page("Delivery " .. lists.news_id(one), "/deliveries", context.token, parts.fields {
    { "ID", e.span { class = "id", one.id } }, { "State", parts.state(one.state) },
    { "Reason", one.reason }, { "Account", one.account },
    { "Vendor", one.vendor }, { "Type", one.type }, { "Type at the vendor", one.native },
    { "Invoice", invoice_link(one) }, { "Tenant", one.tenant }, { "Trust", one.trust },
    { "Secret", one.secret }, { "Live", one.live and "yes" or "no: a test" }, { "Seen", one.seen },
    { "Happened", parts.time(one.occurred_at) }, { "Received", parts.time(one.received_at) },
    { "Received last", parts.time(one.last_at) }, { "Processed", parts.time(one.routed_at) } },
    parts.body("Body, without credentials", one.body, one.id)
      or e.p { class = "soft", "The body has been purged." })
end

-- --- events ------------------------------------------------------------------------

local function marks_of(event)
  local rows, seen = {}, {}
  local function add(rule, mark)
    seen[rule] = true
    local wait = mark and mark.state == "waiting" and mark.wait
    rows[#rows + 1] = { rule == "" and "(none)" or rule,
      mark and parts.state(mark.state) or e.span { class = "soft", "not begun" },
      mark and mark.attempts or 0, wait and parts.span(wait / 1000),
      mark and mark.held and parts.span(mark.held / 1000) .. " ago", mark and mark.message
      and e.span { class = "message", mark.message } }
  end
  for _, rule in ipairs(event.rules) do add(rule, event.marks[rule]) end
  for rule, mark in pairs(event.marks) do
    if not seen[rule] then add(rule, mark) end
  end
  return rows
end

-- Which rules want it now, as replay() takes them.
local function wanted(app, event)
  local names = app.accounts[event.account]
    and app.rules:select(event.account, event.type, event.native) or {}
  return names, { [table.concat({ event.account, event.type, event.native,
    event.live and "live" or "test" }, "\n")] = names }
end

local function action(context, event, words, class)
  return e.form { method = "post", action = "/run", parts.hidden("token", context.token),
    parts.hidden("id", event.id), e.button { class = class or "main", words } }
end

-- What may be done with it: a form, or why there is none.
local function actions(context, event)
  local waiting = false
  for _, mark in pairs(event.marks) do waiting = waiting or mark.state == "waiting" end
  local kept = event.data or event.previous or event.claims
  if event.state == "pending" then
    return waiting and { e.p { "A rule waits for its next attempt." },
      action(context, event, "Try now") }
  elseif not kept then
    return e.p { class = "soft", "Its content has been purged: it cannot run again." }
  elseif #event.rules == 0 and event.state == "dead" then
    return e.p { class = "soft", "It cannot be acted on, so no rule can run on it." }
  elseif event.state == "dead" then
    return { e.p { "The dead rules run again; those that are done do not." },
      action(context, event, "Retry") }
  elseif event.state == "unhandled" then
    local names = wanted(context.app, event)
    if #names == 0 then return e.p { class = "soft", "No rule matches it." } end
    return { e.p { "Rules that match it now: ", table.concat(names, ", ") },
      action(context, event, "Run them") }
  end
  return e.details { e.summary { "Replay ..." },
    e.p { "All its rules run once more, with the same event id and the same data: ",
      table.concat(event.rules, ", "), ". What they did, they may do again." },
    action(context, event, "Replay now") }
end

local function behind(context, event)
  if #event.deliveries == 0 then return false end
  local found, err = context.store:deliveries { seqs = event.deliveries, brief = true,
    limit = NEAR }
  if not found then return nil, err end
  local ids = {}
  for i, one in ipairs(found) do ids[i] = one.id end
  return { e.h2 { "Its deliveries" }, id_list("/delivery", ids) }
end

---@return string|nil page, table|nil err  nil and nil: there is none
function M.event(context, query)
  local event, err = context.store:show(query.id or "")
  if not event then return nil, err end
  local news, why = behind(context, event)
  if news == nil then return nil, why end
  local rows = marks_of(event)
  local told = { ["0"] = "There was nothing to run.", ["1"] = "It will run again." }
  return parts.page("Event " .. event.id, "/events", context.token,
    told[query.ran or ""] and e.p { class = "note", role = "status", told[query.ran] },
    parts.fields { { "State", parts.state(event.state) }, { "Note", event.note },
      { "Account", event.account }, { "Vendor", event.vendor }, { "Type", event.type },
      { "Type at the vendor", event.native ~= event.type and event.native },
      { "Invoice", invoice_link(event) }, { "Version", event.version }, { "Trust", event.trust },
      { "Live", event.live and "yes" or "no: a test" },
      { "Happened", parts.time(event.occurred_at) }, { "Received", parts.time(event.received_at) },
      { "Made", parts.time(event.created_at) }, { "Finished", parts.time(event.finished_at) } },
    e.h2 { "Rule by rule" }, #rows > 0 and parts.table("In the order of the rules file",
      { { "Rule" }, { "State" }, { "Attempts", "number" }, { "Runs in", "whole" },
        { "Failed first", "whole" }, { "Error" } }, rows) or e.p { "No rule matched it." },
    actions(context, event), news, parts.body("Data", event.data, event.id),
    parts.body("Before", event.previous, event.id),
    parts.body("Claims: unverified content of the delivery", event.claims, event.id))
end

---Runs an event again: how many, 0 or 1.
---@return integer|nil, table|nil err
function M.run(context, id)
  local event, err = context.store:show(id)
  if event == nil then return nil, err end
  if not event then return 0 end
  local names
  if event.state == "unhandled" then
    local _
    _, names = wanted(context.app, event)
  end
  return context.store:replay({ id = id }, names)
end

-- --- invoices -----------------------------------------------------------------------

local function related(context, one, of)
  local found, err = context.store[of](context.store, { account = one.account,
    invoice = one.invoice, brief = true, limit = NEAR })
  if not found then return nil, err end
  if #found == 0 then return false end
  local title = of == "events" and "Events" or "Deliveries"
  return { e.h2 { title }, lists.table(context, of, found, ("The newest %d"):format(#found)) }
end

---@return string|nil page, table|nil err  nil and nil: there is none
function M.invoice(context, query)
  local found, err = context.store:invoices { account = query.account or "",
    invoice = query.invoice or "", limit = 1 }
  if not found then return nil, err end
  local one = found[1]
  if not one then return nil end
  local events, deliveries
  events, err = related(context, one, "events")
  if events == nil then return nil, err end
  deliveries, err = related(context, one, "deliveries")
  if deliveries == nil then return nil, err end
  return parts.page("Invoice " .. one.account .. ":" .. one.invoice, "/invoices", context.token,
    parts.fields { { "State", parts.state(one.deleted_at and "deleted" or one.status) },
      { "Number", one.number }, { "Reference", one.reference },
      { "Payer", lists.payer_of(one, context.app.accounts[one.account]) },
      { "Total", lists.amount(one, "total") }, { "Paid", lists.amount(one, "paid") },
      { "Balance", lists.amount(one, "balance") }, { "Due", one.due_date },
      { "Version", one.version },
      { "Changed", parts.time(one.changed_at) }, { "Read last", parts.time(one.read_at) },
      { "Closed", parts.time(one.closed_at) }, { "Deleted", parts.time(one.deleted_at) },
      { "Next check", parts.time(one.check_due) }, { "Rules run", parts.time(one.run_due) } },
    events, deliveries, parts.body("Last state from the API", one.data, one.account .. ":"
      .. one.invoice))
end

return M

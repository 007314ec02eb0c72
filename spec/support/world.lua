-- A world in which the delivery model is tried: a vendor who changes invoices while its API lags
-- behind itself, webhooks that get lost, late, doubled and reordered, a forger who sends news about
-- anything, hours of 401 and of 404, lists that are slow or come back empty, reads that take their
-- time. The controller routes, checks, polls and reconciles over a store; `judge` says what is
-- wrong once the world has come to rest.
--
-- A store is a table of functions:
--
--   look(id)        the row of an invoice, or nil
--   write(change)   what check.take gave, or { account, invoice, expect, set, events }: true, or
--                   false where the row's stamp is not `expect`
--   ticket()        the next number of a sequence
--   rows()          a list of all rows, as they are
--
-- Time is in seconds here, and in the store's milliseconds beyond it; nothing sleeps.

local core = require "billhook.core"
local check = require "billhook.app.check"
local inbox = require "billhook.inbox.invoices"
local invoices = require "billhook.invoice"
local dreamapply = require "billhook.vendor.dreamapply"

local M = {}

local ACCOUNT = "admissions"
local EPOCH = 1764547200 -- second 0 of every world
local LAG, POLL, NIGHT, BUSY, DAY = 20, 300, 20000, 14400, 86400
local OUTAGES = { { 4000, 6000, 401 }, { 9000, 11000, 404 } }

local function ms(t)
  return (EPOCH + t) * 1000
end

-- --- chance: the same for a seed on every Lua --------------------------------------------------

local function generator(seed)
  local state = (seed * 7919 + 17) % 2147483646 + 1
  local r = {}

  function r.random()
    state = state * 48271 % 2147483647
    return state / 2147483647
  end

  function r.integer(from, to)
    return from + math.floor(r.random() * (to - from + 1))
  end

  function r.choice(list)
    return list[r.integer(1, #list)]
  end
  return r
end

-- --- the vendor -------------------------------------------------------------------------------

-- A state's JSON as the API spells it today, and as it spells it on other days.
local function spell(id, state)
  local issued = core.text.iso(EPOCH + state.issued)
  local payment = state.paid and ('"%d":{"id":%d,"amount":"%d.00","inserted":"%s"}'):format(
    state.paid.id, state.paid.id, state.amount, core.text.iso(EPOCH + state.paid.at)) or ""
  local texts = {
    ('{"id":%d,"nr":"A-%d","issued":"%s","currency":"EUR","reminded":null,"items":[{"item":"Fee",'
      .. '"price":"%d.00","qty":"1.00"}],"collections":{%s}}'):format(id, id, issued,
        state.amount, payment),
    ('{"reminded":"%s","nr":"A-%d","issued":"%s","currency":"EUR","items":[{"item":"Fee",'
      .. '"price":%d,"qty":"1"}],"collections":%s,"id":"%d"}'):format(issued, id,
        issued:gsub("%+00:00", "Z"), state.amount,
        payment == "" and "[]" or "{" .. payment .. "}", id),
  }
  for i, text in ipairs(texts) do
    state[i] = { text = text, invoice = invoices.tag("dreamapply", assert(core.json.decode(text))) }
  end
  return state
end

-- An edit changes the amount, and a recorded payment is over the amount: paid is paid.
local function vendor_of(r)
  local v = { past = {}, count = 0, payments = 0, of_text = {} }

  local function put(id, t, state)
    local past = v.past[id]
    state = state and (v.of_text[state[1].text] or state) -- equal states are one
    past[#past + 1] = { at = t, state = state }
    for _, spelling in ipairs(state or {}) do
      v.of_text[spelling.text] = state
    end
    return id
  end

  local function ids(alive)
    local list = {}
    for id = 1, v.count do
      local past = v.past[id]
      if (past[#past].state ~= nil) == alive then
        list[#list + 1] = id
      end
    end
    return list
  end

  local function kind()
    local n = r.random() * 14.3
    for _, one in ipairs { { "create", 4 }, { "edit", 4 }, { "pay", 4 }, { "unpay", 1 },
      { "delete", 1 } } do
      n = n - one[2]
      if n < 0 then return one[1] end
    end
    return "return"
  end

  -- one change: the invoice that it is about, or nil where nothing came of it
  function v.change(t)
    local what, alive = kind(), ids(true)
    if what == "create" or #alive == 0 then
      v.count = v.count + 1
      v.past[v.count] = {}
      return put(v.count, t, spell(v.count, { issued = t, amount = r.integer(1, 99) }))
    elseif what == "return" then
      local dead = ids(false)
      local id = #dead > 0 and r.choice(dead)
      return id and put(id, t, v.past[id][#v.past[id] - 1].state) or nil
    end
    local id = r.choice(alive)
    local state = v.past[id][#v.past[id]].state
    if what == "delete" then
      return put(id, t, nil)
    end
    local amount, paid = state.amount, state.paid
    if what == "edit" then
      amount = r.integer(1, 99)
    elseif what == "pay" and not paid then
      v.payments = v.payments + 1
      paid = { id = v.payments, at = t }
    elseif what == "unpay" then
      paid = nil
    end
    if amount == state.amount and paid == state.paid then
      return nil
    end
    return put(id, t, spell(id, { issued = state.issued, amount = amount, paid = paid }))
  end

  local function as_of(id, t)
    local past = v.past[id] or {}
    for i = #past, 1, -1 do
      if past[i].at <= t then return past[i].state end
    end
  end

  local function fault(t)
    for _, one in ipairs(OUTAGES) do
      if t >= one[1] and t < one[2] then return one[3] end
    end
  end

  local function spelling(state)
    return state[r.random() < 0.1 and 2 or 1]
  end

  -- 200 and a state, or another status
  function v.get(id, t)
    local status = fault(t)
    local state = not status and as_of(id, t - r.random() * LAG)
    return status or state and 200 or 404, state and spelling(state)
  end

  function v.list(t, which)
    local status = fault(t)
    if status then return status end
    local found, back = {}, t - r.random() * LAG
    if r.random() < 0.003 then return 200, found end
    for id = 1, v.count do
      local state = as_of(id, back)
      if state and which(state) then
        found[#found + 1] = { id = id, state = spelling(state) }
      end
    end
    return 200, found
  end
  return v
end

-- --- the controller ------------------------------------------------------------------------------

local function controller_of(vendor, store, r)
  local c = { events = {}, deliveries = {}, silent = {}, requests = 0, known = 0, deleted = {},
    next_due = 0 }
  local paused, baseline, cursor, worked = 0, false, 0, false
  local flying, landing, pending = {}, {}, {} -- pending: deliveries by invoice

  local function row_of(id)
    return store.look(id) or inbox.empty(ACCOUNT, tostring(id))
  end

  local function set(row, columns)
    assert(store.write { account = ACCOUNT, invoice = row.invoice, expect = row.stamp,
      set = columns, events = {} })
    c.next_due = math.min(c.next_due, columns.check_due)
  end

  function c.route(id, t)
    local row = row_of(id)
    local delivery, lane = { invoice = row.invoice, routed = ms(t) }, pending[row.invoice] or {}
    c.deliveries[#c.deliveries + 1], lane[#lane + 1] = delivery, delivery
    pending[row.invoice] = lane
    set(row, check.news(row, ms(t)))
  end

  local function begin()
    c.requests = c.requests + 1
    return store.ticket()
  end

  local function context(t)
    local recent = 0
    for _, at in ipairs(c.deleted) do
      if at > t - DAY then recent = recent + 1 end
    end
    return { now = ms(t), vendor = dreamapply, account = ACCOUNT, baseline = baseline,
      start = ms(0), deletions = recent, known = c.known, brake_off = t >= BUSY,
      today = "2025-12-01", trust = "api" }
  end

  local function written(change, read, t)
    if not store.write(change) then return end
    local due = change.set.check_due
    if type(due) == "number" then
      c.next_due = math.min(c.next_due, due)
    end
    if change.found and change.set.version == 1 then
      c.known = c.known + 1
      if #change.events == 0 then c.silent[change.invoice] = read.text end
    end
    if change.deleted then c.deleted[#c.deleted + 1] = t end
    if change.fault then paused = t + 60 end
    for _, event in ipairs(change.events) do
      event.at = t
      c.events[#c.events + 1] = event
    end
    local left = {}
    for _, one in ipairs(change.settle and pending[change.invoice] or {}) do
      if one.routed <= change.began then
        one.state = change.settle
      else
        left[#left + 1] = one
      end
    end
    if change.settle then pending[change.invoice] = left end
  end

  local function read_of(status, answer, ticket, t)
    return { ticket = ticket, began = ms(t), status = status == 404 and "absent" or "found",
      text = answer and answer.text, invoice = answer and answer.invoice }
  end

  -- another invoice that is known to be there is read: is it the invoice, or are it all?
  local function control(id, t)
    local best
    for _, row in ipairs(store.rows()) do
      if row.invoice ~= tostring(id) and row.known and not row.deleted_at and not row.absent_at
        and (not best or row.ticket > best.ticket) then
        best = row
      end
    end
    if not best then return "none" end
    local ticket = begin()
    local status, answer = vendor.get(tonumber(best.invoice), t)
    if status ~= 200 then return "failed" end
    worked = true
    local read = read_of(status, answer, ticket, t)
    written(check.take(best, read, context(t)), read, t)
    return "ok"
  end

  local function take(id, read, t)
    local row = row_of(id)
    local change = check.take(row, read, context(t))
    if change.need_control then
      read.control = control(id, t)
      change = check.take(row, read, context(t))
    end
    written(change, read, t)
  end

  local function due_rows(t)
    local due = {}
    c.next_due = math.huge
    for _, row in ipairs(store.rows()) do
      if row.check_due then
        if row.check_due <= ms(t) and not flying[row.invoice] then
          due[#due + 1] = row
        end
        c.next_due = math.min(c.next_due, row.check_due)
      end
    end
    table.sort(due, function(a, b)
      if a.known ~= b.known then return a.known end
      if a.check_due ~= b.check_due then return a.check_due < b.check_due end
      return a.invoice < b.invoice
    end)
    return due
  end

  local function pause(row, t)
    paused = t + 60
    set(row, { check_due = ms(paused) }) -- another one's turn
  end

  local function check_one(row, t)
    local id, ticket = tonumber(row.invoice), begin()
    local status, answer = vendor.get(id, t)
    if status == 404 and not worked and control(id, t) ~= "ok" or status == 401 then
      return pause(row, t)
    end
    worked = true
    local read = read_of(status, answer, ticket, t)
    if r.random() < 0.1 then -- an answer that takes its time; one in five outlives its lease
      flying[row.invoice] = r.random() < 0.8 or nil
      landing[#landing + 1] = { at = t + r.integer(1, 8), id = id, read = read }
      return
    end
    take(id, read, t)
  end

  function c.check(t)
    for i = #landing, 1, -1 do
      local one = landing[i]
      if one.at <= t then
        table.remove(landing, i)
        flying[tostring(one.id)] = nil
        take(one.id, one.read, t)
      end
    end
    if t < paused or c.next_due > ms(t) then return end
    for i, row in ipairs(due_rows(t)) do
      if i > 15 or t < paused then break end
      row = store.look(tonumber(row.invoice))
      if row.check_due and row.check_due <= ms(t) then check_one(row, t) end
    end
    c.next_due = ms(t + 1)
  end

  -- lists that are asked for at t, and applied some seconds later
  function c.poll(t)
    if t < paused then return nil end
    local asked, since = { function() return true end }, cursor
    if baseline then
      asked = { function(state) return state.issued > since - 600 end,
        function(state) return not state.paid end }
    end
    local answers = { began = t }
    for i, which in ipairs(asked) do
      local ticket = begin()
      local status, found = vendor.list(t, which)
      answers[i] = { ticket = ticket, status = status, found = found }
    end
    return answers
  end

  local function apply(answer, began, t, seen)
    for _, one in ipairs(answer.found) do
      seen[tostring(one.id)] = true
      take(one.id, read_of(200, one.state, answer.ticket, began), t)
    end
  end

  local function look_for(rows, seen, t)
    for _, row in ipairs(rows) do
      if row.known and not row.deleted_at and not seen[row.invoice] then
        set(row, check.look(row, ms(t)))
      end
    end
  end

  function c.polled(answers, t)
    local seen, any = {}, false
    for _, answer in ipairs(answers) do
      if answer.status ~= 200 then
        paused = t + 60
        return
      end
      any = any or #answer.found > 0
    end
    for _, answer in ipairs(answers) do
      apply(answer, answers.began, t, seen)
    end
    local open = {}
    for _, row in ipairs(store.rows()) do
      if row.status == "open" or row.status == "part_paid" then open[#open + 1] = row end
    end
    look_for(open, seen, t)
    baseline = baseline or any
    cursor = answers.began
  end

  function c.reconcile(t)
    local ticket, seen = begin(), {}
    local status, found = vendor.list(t, function() return true end)
    if status ~= 200 then return end
    apply({ ticket = ticket, found = found }, t, t, seen)
    look_for(store.rows(), seen, t)
  end

  function c.is_busy()
    if #landing > 0 then return true end
    for _, row in ipairs(store.rows()) do
      if row.check_due then return true end
    end
    return false
  end
  return c
end

-- --- what was wrong ------------------------------------------------------------------------------

local function judge(vendor, controller, store)
  local wrong = {}
  local function fault(...)
    wrong[#wrong + 1] = (...):format(select(2, ...))
  end

  local function text(state) return state and state[1].text or "nothing" end

  for id = 1, vendor.count do
    local past, row = vendor.past[id], store.look(id)
    local truth, state = past[#past].state, row and row.data and vendor.of_text[row.data]
    if state ~= truth then
      fault("%d: table %s, vendor %s", id, text(state), text(truth))
    end
  end

  -- what the rules have built, from events alone
  local told, payments, ids, paid = {}, {}, {}, {}
  for invoice, data in pairs(controller.silent) do
    local state = vendor.of_text[data]
    told[invoice] = { version = 1, state = state }
    payments[invoice] = state.paid and { [tostring(state.paid.id)] = true } or {}
  end
  for _, event in ipairs(controller.events) do
    local id, before = event.invoice, told[event.invoice]
    local state = event.data and vendor.of_text[event.data]
    if ids[event.id] then fault("%s twice", event.id) end
    ids[event.id] = true
    if event.type:find "^payment%." then
      payments[id] = payments[id] or {}
      payments[id][event.id:match "(%d+)$"] = event.data and true
    elseif event.type == "invoice.paid" then
      paid[id] = (paid[id] or 0) + 1
      if not state.paid then fault("%s: not paid", event.id) end
    else
      local was = false
      for _, one in ipairs(vendor.past[tonumber(id)] or {}) do
        was = was or one.at <= event.at and one.state == state
      end
      if not was then fault("%s: what never was", event.id) end
      if event.version ~= (before and before.version or 0) + 1 then
        fault("%s: after %d", event.id, before and before.version or 0)
      end
      local creates, updates = event.type == "invoice.created", event.type == "invoice.updated"
      if (event.type == "invoice.deleted") ~= (state == nil)
        or not updates and creates ~= (before == nil) then
        fault("%s: after %s", event.id, before and text(before.state) or "nothing")
      end
      if before and event.previous and vendor.of_text[event.previous] ~= before.state then
        fault("%s: previous %s", event.id, event.previous)
      end
      if event.type == "invoice.updated" and not before and state.paid and state.paid.at < 0 then
        payments[id] = { [tostring(state.paid.id)] = true } -- from before the account
      end
      told[id] = { version = event.version, state = state }
    end
  end

  for id = 1, vendor.count do
    local row, last = store.look(id), told[tostring(id)]
    local truth = vendor.past[id][#vendor.past[id]].state
    if last and (last.state ~= truth or last.version ~= row.version) then
      fault("%d: events end at %s, version %d", id, text(last.state), last.version)
    end
    local has = next(payments[tostring(id)] or {})
    if has ~= (truth and truth.paid and tostring(truth.paid.id))
      and not (has == nil and not (truth and truth.paid)) then
      fault("%d: payments end at %s", id, tostring(has))
    end
    local times, before = 0, nil
    for _, one in ipairs(vendor.past[id]) do
      if one.state and one.state.paid and not (before and before.paid) then times = times + 1 end
      before = one.state
    end
    if (paid[tostring(id)] or 0) > times then
      fault("%d: paid %d times, told %d times", id, times, paid[tostring(id)])
    end
  end

  for _, one in ipairs(controller.deliveries) do
    if not one.state then
      fault("news of %s at %d asks for ever", one.invoice, one.routed)
    end
  end
  return wrong
end

--- Runs a world from its first second until it has come to rest.
---@param seed integer
---@param store table see above
---@return { wrong: string[], requests: integer, changes: integer, events: integer }
function M.run(seed, store)
  local r = generator(seed)
  local vendor = vendor_of(r)
  local controller = controller_of(vendor, store, r)
  local post, answers, changes = {}, {}, 0
  for t = -5000, -50, 50 do
    vendor.change(t)
  end
  local function send(id, at)
    post[at] = post[at] or {}
    table.insert(post[at], id)
  end
  local rest
  for t = 0, BUSY + 3 * DAY do
    local busy = t < BUSY
    if busy and r.random() < 0.02 then
      local id = vendor.change(t)
      changes = changes + (id and 1 or 0)
      for _ = 1, id and r.choice { 0, 1, 1, 1, 2 } or 0 do
        send(id, t + r.choice { 0, 0, 1, 5, 30, 400 })
      end
    end
    if busy and r.random() < 0.05 then -- a forger, or noise
      send(r.integer(1, vendor.count + 5), t)
    end
    for _, id in ipairs(post[t] or {}) do
      controller.route(id, t)
    end
    post[t] = nil
    controller.check(t)
    if t % POLL == 0 then
      local lists = controller.poll(t)
      if lists then answers[#answers + 1] = { at = t + r.integer(0, 40), lists = lists } end
    end
    for i = #answers, 1, -1 do
      if answers[i].at <= t then controller.polled(table.remove(answers, i).lists, t) end
    end
    if t > 0 and t % NIGHT == 0 then controller.reconcile(t) end
    if t > NIGHT + 700 and t % 10 == 0 and #answers == 0 and not controller.is_busy() then
      rest = true
      break
    end
  end
  local wrong = judge(vendor, controller, store)
  if not rest then table.insert(wrong, 1, "it never came to rest") end
  return { wrong = wrong, requests = controller.requests, changes = changes,
    events = #controller.events }
end

return M

-- support/year.lua: a school's invoices over hours of faults, through all of the delivery side:
-- real deliveries, the real inbox, real clients over a transport that imitates DreamApply.
--
--   local result = year.run(seed, { hours = 2 })      in memory
--   local result = year.run(seed, { hours = 2, folder = "..." })   on disk; a backup is restored
--   result.wrong      what is not as it should be, as texts; empty: all is right
--
-- The vendor changes invoices (issue, edit, part payment, overpayment, payment taken back, deletion
-- and return, detachment from an applicant); its API lags behind by up to `lag` seconds; its
-- webhooks are lost, late, doubled, reordered; a forger sends with a captured header; hours of 401
-- and of 404 pass; a list comes back empty; while a list is under way another worker goes on; a
-- backup of the inbox is restored. Rules keep what they are told; in the end that must be what the
-- vendor has.

local accounts = require "billhook.app.account"
local billhook = require "billhook"
local core = require "billhook.core"
local fake = require "billhook.transport.fake"
local json = require "billhook.json"
local sqlite = require "billhook.sqlite"

local M = {}

local HEADER = "Bearer of a webhook"
local START = 1764547200 -- 2025-12-01T00:00:00Z

-- a generator of its own: the same worlds on every Lua
local function generator(seed)
  local state = seed * 7919 + 17
  local function draw()
    state = (state * 16807) % 2147483647
    return state / 2147483647
  end
  for _ = 1, 10 do draw() end
  return {
    chance = draw,
    below = function(n) return math.floor(draw() * n) + 1 end,
    pick = function(list) return list[math.floor(draw() * #list) + 1] end,
  }
end

local function iso(seconds) return core.text.iso(math.floor(seconds)) end

-- --- the vendor -------------------------------------------------------------------

local Vendor = {}
Vendor.__index = Vendor

local function copy(value)
  if type(value) ~= "table" then return value end
  local out = {}
  for name, member in pairs(value) do out[name] = copy(member) end
  return out
end

local function new_vendor(random, now, lag)
  return setmetatable({ random = random, clock = now, lag = lag, past = {}, last = 0, paid = 0,
    outages = {}, empties = 0.003, journal = 0, requests = 0, payments = 0 }, Vendor)
end

-- The state of an invoice at a time; nil: there is none.
function Vendor:at(id, time)
  local state
  for _, one in ipairs(self.past[id] or {}) do
    if one.at > time then break end
    state = one.state
  end
  return state or nil
end

function Vendor:latest(id)
  local past = self.past[id]
  return past and past[#past].state or nil
end

function Vendor:put(id, state)
  self.past[id] = self.past[id] or {}
  table.insert(self.past[id], { at = self.clock(), state = state or false })
end

function Vendor:issue()
  local now = self.clock()
  self.last = self.last + 1
  self:put(self.last, {
    id = self.last, type = "Invoice", nr = ("AF-%d"):format(self.last), currency = "EUR",
    serie = { id = 1, name = "fees" }, applicant = "/api/v9/applicants/3",
    application = "/api/v9/applications/" .. 7, deadline = iso(now + 30 * 86400):sub(1, 10),
    issued = iso(now), reminder = true, instructions = "", smallprint = "",
    items = { { item = "fee", price = ("%d.00"):format(self.random.below(99)), qty = "1.00" } },
    collections = {}, payer = { name = "payer " .. self.last, email = "p@example.edu" },
  })
  return self.last
end

local function total(state) return tonumber(state.items[1].price) end

local function paid(state)
  local sum = 0
  for _, payment in pairs(state.collections) do sum = sum + tonumber(payment.amount) end
  return sum
end

local changes = {}

function changes.edit(self, state)
  state.items[1].price = ("%d.00"):format(self.random.below(99))
end

function changes.pay(self, state, share)
  self.payments = self.payments + 1
  local left = total(state) - paid(state)
  local amount = math.max(1, math.floor(math.max(left, 1) * (share or 1)))
  state.collections[tostring(self.payments)] = { id = self.payments,
    amount = ("%d.00"):format(amount),
    invoice = "/api/v9/invoices/" .. state.id, inserted = iso(self.clock()),
    collected = iso(self.clock()):sub(1, 10) }
end

function changes.part(self, state) changes.pay(self, state, 0.5) end

function changes.over(self, state) changes.pay(self, state, 2) end

function changes.take_back(_, state)
  local key = next(state.collections)
  if key then state.collections[key] = nil end
end

function changes.detach(_, state) state.applicant, state.application = nil, nil end

-- the vendor's own mark of a paid invoice
local function mark(self, state)
  local full = paid(state) == total(state) and next(state.collections) ~= nil
  state.collected = full and (state.collected or iso(self.clock())) or nil
end

local KINDS = { "issue", "issue", "issue", "edit", "edit", "pay", "pay", "pay", "part", "over",
  "take_back", "detach", "delete", "return" }

---One change; the id of what it was, or nil.
function Vendor:change()
  local there, gone = {}, {}
  for id = 1, self.last do
    local list = self:latest(id) and there or gone
    list[#list + 1] = id
  end
  local kind = self.random.pick(KINDS)
  if kind == "issue" or #there == 0 then return self:issue() end
  if kind == "return" then
    local id = #gone > 0 and self.random.pick(gone)
    local past = id and self.past[id]
    if not past or not past[#past - 1] then return nil end
    self:put(id, copy(past[#past - 1].state))
    return id
  end
  local id = self.random.pick(there)
  if kind == "delete" then
    self:put(id, nil)
    return id
  end
  local state = copy(self:latest(id))
  changes[kind](self, state)
  mark(self, state)
  self:put(id, state)
  return id
end

function Vendor:fault()
  local now = self.clock() - START
  for _, one in ipairs(self.outages) do
    if now >= one.from and now < one.till then return one.status end
  end
end

local function answer(status, value)
  return { status = status, headers = { ["content-type"] = "application/json" },
    body = value and json.encode(value) or "" }
end

local function decode_query(url)
  local query = {}
  for name, value in (url:match "%?(.*)$" or ""):gmatch "([^&=]+)=([^&]*)" do
    query[name] = value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return query
end

function Vendor:list(query, time)
  local found = {}
  for id = 1, self.last do
    local state = self:at(id, time)
    local fits = state ~= nil
    if fits and query.byIssuedSince then
      fits = core.text.datetime(state.issued) > core.text.datetime(query.byIssuedSince)
    end
    if fits and query.byCollected then
      fits = (state.collected ~= nil) == (query.byCollected == "true")
    end
    if fits and query.byCollectedSince then
      fits = state.collected ~= nil
        and core.text.datetime(state.collected) > core.text.datetime(query.byCollectedSince)
    end
    if fits then found[tostring(id)] = state end
  end
  return found
end

function Vendor:answer(request)
  self.requests = self.requests + 1
  local fault = self:fault()
  if fault then return answer(fault) end
  local time = self.clock() - self.random.chance() * self.lag
  local id = request.url:match "/invoices/(%d+)$"
  if id then
    local state = self:at(tonumber(id), time)
    return state and answer(200, state) or answer(404)
  end
  if self.random.chance() < self.empties then return answer(200, {}) end
  local list = self:list(decode_query(request.url), time)
  if self.meanwhile then self.meanwhile() end -- a slow answer: others go on
  return answer(200, list)
end

-- --- the rules ------------------------------------------------------------------------

-- Keeps what it is told; notes what can't be.
local function listen(app, vendor, result, told)
  app:on("*", { name = "keep" }, function(event)
    local id = tonumber(event.invoice_id)
    local function wrong(text)
      result.wrong[#result.wrong + 1] = ("%s: %s"):format(event.id, text)
    end
    if told.ids[event.id] then
      -- an older inbox tells some of it again: no effect is repeated, but what it says is so now
      if not told.restored then wrong "told twice" end
    else
      told.ids[event.id] = true
      result.events = result.events + 1
    end
    if event.type:find "^invoice" and event.data then
      local was = false
      for _, one in ipairs(vendor.past[id] or {}) do
        if one.state and json.encode(one.state.collections) == json.encode(event.data.collections
          or {}) and one.state.items[1].price == event.data.items[1].price then was = true end
      end
      if not was then wrong "a state that never was" end
    end
    if event.type == "invoice.deleted" then
      local missing = false
      for _, one in ipairs(vendor.past[id]) do if not one.state then missing = true end end
      if not missing then wrong "deleted, but it lives" end
    end
    if event.type:find "^invoice%." and event.type ~= "invoice.paid" then
      local before = told.versions[id] or 0
      if event.version ~= before + 1 and before > 0 and not told.restored then
        wrong(("version %d after %d"):format(event.version, before))
      end
      told.versions[id] = event.version
      told.states[id] = event.type ~= "invoice.deleted" and event.data or nil
    end
  end)
end

-- --- a run ------------------------------------------------------------------------------

local function close_to(a, b)
  return a and b and a.items[1].price == b.items[1].price
    and json.encode(a.collections or {}) == json.encode(b.collections or {})
    and (a.applicant == nil) == (b.applicant == nil)
end

---@param seed integer
---@param options { folder: string?, hours: number?, step: integer?, lag: number? }
---@return table result { wrong, events, requests, changes, deliveries }
function M.run(seed, options)
  local random = generator(seed)
  local now, result, told = START, { wrong = {}, events = 0, changes = 0, deliveries = 0 },
    { ids = {}, versions = {}, states = {} }
  local function clock() return now end
  local vendor = new_vendor(random, clock, options.lag or 20)
  local span, step = (options.hours or 2) * 3600, options.step or 5
  now = START - 86400
  for _ = 1, 20 do
    vendor:change()
    now = now + 3600
  end
  now = START
  vendor.outages = { { from = span * 0.3, till = span * 0.4, status = 401 },
    { from = span * 0.6, till = span * 0.7, status = 404 } }
  local url = options.folder and "sqlite:" .. options.folder .. "/inbox.db" or "memory:"
  local function new_app()
    local client = billhook.dreamapply { base_url = "https://apply.example.edu", api_key = "key",
      quota = false, attempts = 1, clock = clock, random = random.chance,
      transport = fake.new(function(request) return vendor:answer(request) end),
      webhook = { authorization = HEADER } }
    local app = billhook.app { inbox = url, accounts = { admissions = client }, clock = clock,
      random = random.chance }
    app.log = function(_, name) -- a person says that so many deletions are right
      if name == "braked" then accounts.rebase(app:open(), "admissions", client) end
    end
    listen(app, vendor, result, told)
    return app
  end
  local app = new_app()
  local busy = false
  vendor.meanwhile = function()
    if busy then return end
    busy = true
    app:work()
    busy = false
  end
  local function send(id, event)
    vendor.journal = vendor.journal + 1
    result.deliveries = result.deliveries + 1
    local status = app:receive("admissions", { authorization = HEADER }, json.encode {
      id = vendor.journal, logged = iso(now),
      event = event or random.pick { "Invoice was edited: ?",
        "Invoice was created: ?", "Invoice was deleted: ?", "Invoice was re-issued: ?" },
      invoice = "/api/v9/invoices/" .. id })
    if status ~= 200 then result.wrong[#result.wrong + 1] = "answered " .. status end
  end
  local post, polled = {}, -1e9
  local function round(changing)
    if changing and random.chance() < 0.02 * step then
      local id = vendor:change()
      result.changes = result.changes + (id and 1 or 0)
      for _ = 1, id and random.pick { 0, 1, 1, 1, 2 } or 0 do
        post[#post + 1] = { at = now + random.pick { 0, 0, 1, 5, 30, 400 }, id = id }
      end
    end
    if changing and random.chance() < 0.05 * step then -- the forger
      for _ = 1, random.pick { 1, 1, 20 } do send(random.below(vendor.last + 5)) end
    end
    for i = #post, 1, -1 do
      if post[i].at <= now then send(table.remove(post, i).id) end
    end
    app:work()
    if now - polled >= 300 then
      polled = now
      app:poll "admissions"
    end
    now = now + step
  end
  local spare = options.folder and options.folder .. "/copy.db"
  local function back_up()
    local db = assert(sqlite.open(options.folder .. "/inbox.db"))
    assert(db:exec(("VACUUM INTO '%s'"):format(spare)))
    db:close()
  end
  local function restore()
    app.store:close()
    for _, ending in ipairs { "", "-wal", "-shm" } do
      os.remove(options.folder .. "/inbox.db" .. ending)
    end
    assert(os.rename(spare, options.folder .. "/inbox.db"))
    told.restored = true
    app = new_app()
  end
  local rounds = math.floor(span / step)
  for i = 1, rounds do
    if spare and i == math.floor(rounds * 0.5) then back_up() end
    if spare and i == math.floor(rounds * 0.8) then restore() end
    round(true)
  end
  for _ = 1, 1200 / step do round(false) end -- what is still under way
  for _ = 1, 2 do
    app:reconcile "admissions"
    for _ = 1, 1800 / 30 do
      app:work()
      now = now + 30
    end
  end
  for id = 1, vendor.last do
    local truth, state = vendor:latest(id) or nil, told.states[id]
    local row = app.store:look("admissions", { tostring(id) }).rows[1]
    local here = row.known and row.data and core.json.decode(row.data) or nil
    if (truth == nil) ~= (here == nil) or truth and not close_to(truth, here) then
      result.wrong[#result.wrong + 1] = ("%d: the inbox has %s, the vendor %s"):format(id,
        row.data or "nothing", truth and json.encode(truth) or "nothing")
    end
    local silent = (vendor.past[id][1] or {}).at < START and row.version <= 1
    if not silent
      and ((truth == nil) ~= (state == nil) or truth and not close_to(truth, state)) then
      result.wrong[#result.wrong + 1] = ("%d: rules know %s"):format(id,
        state and json.encode(state) or "nothing")
    end
  end
  result.requests = vendor.requests
  app.store:close()
  return result
end

return M

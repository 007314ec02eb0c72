-- support/year.lua: a school's invoices over hours of faults, through all of the delivery side:
-- real deliveries, the real inbox, real clients over a transport that leads to the sandbox's
-- DreamApply, without sockets.
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
local past = require "billhook.sandbox.past"
local sandbox = require "billhook.sandbox"
local sqlite = require "billhook.sqlite"

local M = {}

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

-- --- the vendor -------------------------------------------------------------------

local Vendor = {}
Vendor.__index = Vendor

local function new_vendor(random, now, options, post)
  local world = sandbox.new { clock = now, post = post, dreamapply = { quota = false } }
  return setmetatable({ random = random, clock = now, lag = options.lag, world = world, past = {},
    last = 0, outages = {}, empties = 0.003, requests = 0, forged = 0 }, Vendor)
end

-- What tells one state of an invoice from another: its price, its payments, whose it is.
local function essence(state)
  if not state then return "none" end
  local parts = {}
  for key, one in pairs(state.collections or {}) do parts[#parts + 1] = key .. ":" .. one.amount end
  table.sort(parts)
  local applicant = state.applicant ~= json.null and state.applicant or "nobody"
  return ("%s %s %s"):format(state.items[1].price, table.concat(parts, ","), applicant)
end

function Vendor:latest(id) return past.get(self.world.dreamapply.invoices, id) end

-- Has something happen there, with its webhook lost, late or doubled.
function Vendor:happen(fields)
  fields.vendor = "dreamapply"
  local pick = self.random.pick
  self.world:order("fault", { next = "webhook", copies = pick { 0, 1, 1, 1, 2 },
    seconds = pick { 0, 0, 1, 5, 30, 400 } })
  local told = assert(self.world:order("trigger", fields))
  self.world.faults = {}
  local id = tonumber(told.invoice or fields.invoice)
  self.past[id] = self.past[id] or {}
  table.insert(self.past[id], { at = self.clock(), essence = essence(self:latest(id)) })
  if told.state == "untold" and pick { true, false } then
    self.world:order("trigger", { vendor = "dreamapply", invoice = id,
      type = pick { "Invoice was re-issued: ?", "Invoice was partially collected: ?" } })
  end
  return id
end

local function price(random) return ("%d.00"):format(random.below(99)) end

function Vendor:issue()
  self.last = self.last + 1
  return self:happen { type = "invoice.created", amount = price(self.random),
    application = self.last }
end

local function left(state)
  local sum = tonumber(state.items[1].price)
  for _, payment in pairs(state.collections) do sum = sum - tonumber(payment.amount) end
  return sum
end

local changes = {}

function changes.edit(self) return { type = "invoice.updated", amount = price(self.random) } end

function changes.pay(_, state, share)
  local amount = math.max(1, math.floor(math.max(left(state), 1) * (share or 1)))
  return { type = "payment.created", amount = ("%d.00"):format(amount) }
end

function changes.part(self, state) return changes.pay(self, state, 0.5) end

function changes.over(self, state) return changes.pay(self, state, 2) end

function changes.take_back(_, state)
  return next(state.collections) and { type = "payment.deleted" } or nil
end

function changes.detach(_, state)
  return state.applicant ~= json.null and { type = "invoice.detached" } or nil
end

function changes.delete() return { type = "invoice.deleted" } end

local KINDS = { "issue", "issue", "issue", "edit", "edit", "pay", "pay", "pay", "part", "over",
  "take_back", "detach", "delete", "return" }

---One change, or none where it can not be.
---@return boolean
function Vendor:change()
  local there, gone = {}, {}
  for id = 1, self.last do
    local list = self:latest(id) and there or gone
    list[#list + 1] = id
  end
  local kind = self.random.pick(KINDS)
  if kind == "issue" or #there == 0 then return self:issue() ~= nil end
  if kind == "return" then
    if #gone == 0 then return false end
    return self:happen { type = "invoice.restored", invoice = self.random.pick(gone) } ~= nil
  end
  local id = self.random.pick(there)
  local fields = changes[kind](self, self:latest(id))
  if not fields then return false end
  fields.invoice = id
  return self:happen(fields) ~= nil
end

-- News of anything, by somebody who has seen the header of a webhook.
function Vendor:forge()
  self.forged = self.forged + 1
  assert(self.world:order("forge", { vendor = "dreamapply", proof = "captured",
    id = 1000000 + self.forged, invoice = self.random.below(self.last + 5),
    type = self.random.pick { "Invoice was edited: ?", "Invoice was created: ?",
      "Invoice was deleted: ?", "Invoice was re-issued: ?" } }))
end

function Vendor:fault()
  local now = self.clock() - START
  for _, one in ipairs(self.outages) do
    if now >= one.from and now < one.till then return one.status end
  end
end

function Vendor:answer(request)
  self.requests = self.requests + 1
  local world, headers = self.world, {}
  local lists = not request.url:find "/invoices/%d+$"
  local fault = self:fault() or lists and self.random.chance() < self.empties and "empty"
  if fault then world:order("fault", { next = fault }) end
  world:order("options", { vendor = "dreamapply", lag = self.random.chance() * self.lag })
  for name, value in pairs(request.headers) do headers[name:lower()] = value end
  local status, body, named = world:answer { method = request.method, headers = headers,
    target = request.url:match "^%a+://[^/]+(.*)$", body = request.body }
  if lists and self.meanwhile then self.meanwhile() end -- a slow answer: others go on
  return { status = status, headers = named, body = body }
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
        was = was or one.essence == essence(event.data)
      end
      if not was then wrong "a state that never was" end
    end
    if event.type == "invoice.deleted" then
      local missing = false
      for _, one in ipairs(vendor.past[id] or {}) do
        missing = missing or one.essence == "none"
      end
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

---@param seed integer
---@param options { folder: string?, hours: number?, step: integer?, lag: number? }
---@return table result { wrong, events, requests, changes, deliveries }
function M.run(seed, options)
  local random = generator(seed)
  local now, result, told = START, { wrong = {}, events = 0, changes = 0, deliveries = 0 },
    { ids = {}, versions = {}, states = {} }
  local function clock() return now end
  local app
  local function post(_, headers, body)
    local lower = {}
    for name, value in pairs(headers) do lower[name:lower()] = value end
    local status = app:receive("admissions", lower, body)
    result.deliveries = result.deliveries + 1
    if status ~= 200 then result.wrong[#result.wrong + 1] = "answered " .. status end
    return status
  end
  local vendor = new_vendor(random, clock, { lag = options.lag or 20 }, post)
  local span, step = (options.hours or 2) * 3600, options.step or 5
  now = START - 86400
  for _ = 1, 20 do
    vendor:change()
    now = now + 3600
  end
  now = START
  vendor.world:order("webhooks", { dreamapply = "http://localhost/webhooks/admissions" })
  vendor.outages = { { from = span * 0.3, till = span * 0.4, status = 401 },
    { from = span * 0.6, till = span * 0.7, status = 404 } }
  local url = options.folder and "sqlite:" .. options.folder .. "/inbox.db" or "memory:"
  local function new_app()
    local client = billhook.dreamapply { base_url = "https://apply.example.edu",
      api_key = "sandbox-key", quota = false, attempts = 1, clock = clock, random = random.chance,
      transport = fake.new(function(request) return vendor:answer(request) end),
      webhook = { authorization = "Bearer sandbox-hook" } }
    app = billhook.app { inbox = url, accounts = { admissions = client }, clock = clock,
      random = random.chance }
    app.log = function(_, name) -- a person says that so many deletions are right
      if name == "braked" then accounts.rebase(app:open(), "admissions", client) end
    end
    listen(app, vendor, result, told)
  end
  new_app()
  local busy = false
  vendor.meanwhile = function()
    if busy then return end
    busy = true
    app:work()
    busy = false
  end
  local polled = -1e9
  local function round(changing)
    if changing and random.chance() < 0.02 * step then
      result.changes = result.changes + (vendor:change() and 1 or 0)
    end
    if changing and random.chance() < 0.05 * step then -- the forger
      for _ = 1, random.pick { 1, 1, 20 } do vendor:forge() end
    end
    vendor.world:run()
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
  local backed_up = {} -- versions, by id
  local function restore()
    app.store:close()
    for _, ending in ipairs { "", "-wal", "-shm" } do
      os.remove(options.folder .. "/inbox.db" .. ending)
    end
    assert(os.rename(spare, options.folder .. "/inbox.db"))
    told.restored = true
    new_app()
    for id = 1, vendor.last do
      backed_up[id] = app:open():look("admissions", { tostring(id) }).rows[1].version
    end
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
    local truth, state = essence(vendor:latest(id)), told.states[id]
    local row = app.store:look("admissions", { tostring(id) }).rows[1]
    local here = row.known and row.data and core.json.decode(row.data) or nil
    if truth ~= essence(here) then
      result.wrong[#result.wrong + 1] = ("%d: the inbox has %s, the vendor %s"):format(id,
        essence(here), truth)
    end
    local silent = (vendor.past[id][1] or {}).at < START and row.version <= 1
    -- what changed after the backup and is as it was in it again is no change to the older inbox
    silent = silent or row.version == backed_up[id]
    if not silent and truth ~= essence(state) then
      result.wrong[#result.wrong + 1] = ("%d: rules know %s, the vendor %s"):format(id,
        essence(state), truth)
    end
  end
  result.requests = vendor.requests
  app.store:close()
  return result
end

return M

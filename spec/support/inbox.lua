-- support/inbox.lua: an app with accounts of all three vendors whose APIs are imitated, in memory,
-- with a clock that stands still until it is told to move.
--
--   apply     DreamApply: lists and reads         class     DreamClass with a path to read by
--   school    DreamClass without an API           tickets   Betterez: its proof covers the body
--
--   d:put(7, { ... })      the API of `apply` has this invoice from now on; d:pay(), d:remove()
--   d.answer = function(request, account) ... end    answers instead; nil: as always
--   d:pass(300)            the clock goes on, with rounds of work on the way
--   d.seen                 the events that rules were given, where d:listen() was called

local billhook = require "billhook"
local core = require "billhook.core"
local fake = require "billhook.transport.fake"
local json = require "billhook.json"

local M = {}

M.SECRET, M.AUTHORIZATION = "a secret of a school", "Bearer of a hook"
M.TICKET = "616d7cf38fedff37e4492161" -- an id of Betterez's

local function iso(seconds) return core.text.iso(math.floor(seconds)) end

-- --- the APIs ------------------------------------------------------------------

local function answer(status, value)
  return { status = status, headers = { ["content-type"] = "application/json" },
    body = type(value) == "table" and json.encode(value) or value or "" }
end

local function query_of(url)
  local query = {}
  for name, value in (url:match "%?(.*)$" or ""):gmatch "([^&=]+)=([^&]*)" do
    query[name] = value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return query
end

local function after(at, since) return core.text.datetime(at) > core.text.datetime(since) end

local function fits(invoice, query, today)
  return (not query.byIssuedSince or after(invoice.issued, query.byIssuedSince))
    and (not query.byCollectedSince
      or invoice.collected ~= nil and after(invoice.collected, query.byCollectedSince))
    and (not query.byCollected or (invoice.collected ~= nil) == (query.byCollected == "true"))
    and (not query.byOverdue or not invoice.collected and invoice.deadline < today)
end

local function list_of(self, url)
  local found, query = {}, query_of(url)
  for id, invoice in pairs(self.api.apply) do
    if fits(invoice, query, iso(self.now):sub(1, 10)) then found[id] = invoice end
  end
  return answer(200, found)
end

-- every request is counted: d.calls, and d.asked of each account
local function transport(self, account)
  local made = fake.new(function(request)
    self.calls = self.calls + 1
    table.insert(self.asked[account], request.url)
    local special = self.answer and self.answer(request, account)
    if special then return special end
    local path = request.url:match "^[^?]*"
    if account == "apply" and path:find "/invoices$" then return list_of(self, request.url) end
    if path:find "/failures" then return answer(200, '{"invoicesFailures":[],"next":""}') end
    if path:find "/undelivered" then return answer(200, '{"undelivered":[],"next":""}') end
    local invoice = self.api[account][path:match "([^/]+)$"]
    if not invoice then return answer(404, "") end
    return answer(200, account == "tickets" and { invoice = invoice } or invoice)
  end)
  made.chunk = 65536
  return made
end

---Has the API of `apply` have this invoice: an unpaid one of 20.00, but for `fields`.
function M:put(id, fields)
  local invoice = { id = id, type = "Invoice", nr = "AF-" .. id, currency = "EUR",
    serie = { id = 1, name = "fees" }, issued = iso(self.now),
    deadline = iso(self.now + 30 * 86400):sub(1, 10),
    items = { { item = "fee", price = "20.00", qty = "1.00" } }, collections = {} }
  for name, value in pairs(fields or {}) do invoice[name] = value end
  self.api.apply[tostring(id)] = invoice
  return invoice
end

---A payment of an invoice of `apply`.
function M:pay(id, amount)
  local invoice = self.api.apply[tostring(id)]
  self.payments = self.payments + 1
  invoice.collections[tostring(self.payments)] = { id = self.payments, amount = amount or "20.00",
    invoice = "/api/v9/invoices/" .. id, inserted = iso(self.now),
    collected = iso(self.now):sub(1, 10) }
  if not amount or amount == "20.00" then invoice.collected = iso(self.now) end
end

function M:remove(id) self.api.apply[tostring(id)] = nil end

-- --- the app -------------------------------------------------------------------

local function clients(self, more)
  local function with(account, options)
    options.webhook = options.webhook or { secret = M.SECRET }
    if account ~= "school" then
      options.api_key, options.transport = "key-of-" .. account, transport(self, account)
      options.attempts, options.clock = 1, function() return self.now end
    end
    for name, value in pairs(more[account] or {}) do options[name] = value end
    return options
  end
  return {
    apply = billhook.dreamapply(with("apply", { base_url = "https://apply.test", quota = false,
      webhook = { authorization = M.AUTHORIZATION } })),
    school = billhook.dreamclass(with("school", { tenant = "my-school" })),
    class = billhook.dreamclass(with("class", { tenant = "my-class",
      paths = { ["invoices.get"] = "/financial/invoices/{id}" } })),
    tickets = billhook.betterez(with("tickets", {})),
  }
end

---@param options? table of billhook.app, on top of these; `clients`: more options of the clients,
--- by account
function M.new(options)
  local self = { now = 1700000000, calls = 0, payments = 0, log = {}, seen = {}, told = {},
    asked = { apply = {}, class = {}, tickets = {} },
    api = { apply = {}, class = {}, tickets = {} } }
  self.api.class["16"] = { id = 16, amount = 300, paidAmount = 0, payments = {} }
  self.api.tickets[M.TICKET] = { _id = M.TICKET, number = "7" }
  options = options or {}
  local all = {
    inbox = "memory:", clock = function() return self.now end, random = function() return 1 end,
    log = function(level, name, fields)
      self.log[#self.log + 1] = { level = level, name = name, fields = fields or {} }
    end,
    accounts = options.accounts or clients(self, options.clients or {}),
  }
  for name, value in pairs(options) do
    if name ~= "clients" then all[name] = value end
  end
  self.options, self.app = all, billhook.app(all)
  return setmetatable(self, { __index = M })
end

---Another app with the same accounts, clock and store, as another process would have.
function M:another(options)
  local all = {}
  for name, value in pairs(self.options) do all[name] = value end
  for name, value in pairs(options or {}) do all[name] = value end
  local app = billhook.app(all)
  app:use_store(self.app:open())
  return app
end

---A rule for everything that keeps what it is given in d.seen: "type invoice@version".
function M:listen(pattern)
  self.app:on(pattern or "*", { name = "listen" }, function(event)
    self.told[#self.told + 1] = event
    self.seen[#self.seen + 1] = ("%s %s%s"):format(event.type, event.invoice_id or "-",
      event.version and "@" .. event.version or "")
  end)
  return self
end

---What was seen since the last time, as one text.
function M:took()
  local text = table.concat(self.seen, ", ")
  self.seen = {}
  return text
end

-- --- deliveries -----------------------------------------------------------------

local function uuid(n) return ("aa3a27d6-05b5-4fcd-bd04-%012d"):format(n) end
M.uuid = uuid

---Sends a DreamClass delivery. Fields: id (a number), type, invoice, data, tenant, timestamp.
function M:school(fields, account)
  fields = fields or {}
  account = account or "school"
  local data = fields.data or ('{"id":%s,"amount":300,"email":"a@b.test"}')
    :format(fields.invoice or 16)
  local body = ('{"id":"%s","type":"%s","tenant":"%s","timestamp":%d,"signature":"","data":%s}')
    :format(uuid(fields.id or 1), fields.type or "INVOICE_CREATED",
      account == "class" and "my-class" or "my-school", (fields.timestamp or self.now) * 1000, data)
  local headers, signed = billhook.sign("dreamclass", body, { secret = M.SECRET })
  headers["Content-Type"] = "application/json"
  return self.app:receive(account, headers, signed)
end

---Sends a Betterez delivery. Fields: id (a number), event, invoice, live, data.
function M:tickets(fields)
  fields = fields or {}
  local data = fields.data or ('{"_id":"%s","number":"7"}'):format(fields.invoice or M.TICKET)
  local body = ('{"id":"%s","attemptId":"%s","livemode":%s,"created":%d,"event":"%s","data":%s}')
    :format(uuid(fields.id or 1), uuid(fields.attempt or 99), tostring(fields.live ~= false),
      self.now, fields.event or "invoices.created", data)
  local headers, signed = billhook.sign("betterez", body, { secret = M.SECRET, now = self.now })
  headers["Content-Type"] = "application/json"
  return self.app:receive("tickets", headers, signed)
end

---Sends a DreamApply body.
function M:apply(body)
  return self.app:receive("apply", { authorization = M.AUTHORIZATION,
    ["content-type"] = "application/json" }, body)
end

---One journal item.
function M.item(id, text, invoice)
  return ('{"id":%d,"logged":"2026-11-21T10:00:00+00:00","event":"%s","bind":[]%s}'):format(id,
    text or "Invoice was created: ?",
    invoice and (',"invoice":"/api/v9/invoices/%d"'):format(invoice) or "")
end

---Sends news about an invoice of `apply`.
function M:news(invoice, text)
  self.journal = (self.journal or 0) + 1
  return self:apply(M.item(self.journal, text or "Invoice was edited: ?", invoice))
end

-- --- work ----------------------------------------------------------------------

---Rounds until nothing is due; how many rules ran.
function M:work()
  local all = 0
  repeat
    local ran = assert(self.app:work { limit = 64 })
    all = all + ran
  until ran == 0
  return all
end

---The clock goes on, with a round of work every `step` seconds (a second, or a 100th of it all).
function M:pass(seconds, step)
  local till = self.now + seconds
  step = step or math.max(1, seconds / 100)
  while self.now < till do
    self.now = math.min(till, self.now + step)
    self:work()
  end
end

---The first poll of an account: what its API has by then is no news, what comes later is.
function M:settled(account)
  account = account or "apply"
  self.now = self.now + 60
  self:work()
  assert(self.app:poll(account))
  self:work()
  self.calls, self.asked[account] = 0, {}
  return self
end

---The row of an invoice.
function M:row(invoice, account)
  return assert(assert(self.app:open()):look(account or "apply", { tostring(invoice) })).rows[1]
end

---What is remembered of an account.
function M:memory(account)
  local seen = assert(self.app:open():peek("account " .. (account or "apply")))
  return core.json.decode(assert(seen.text))
end

---The entries of the log with this name.
function M:logged(name)
  local found = {}
  for _, entry in ipairs(self.log) do
    if entry.name == name then found[#found + 1] = entry end
  end
  return found
end

---States of events by id.
function M:states()
  local out = {}
  for _, event in ipairs(assert(self.app:open():events { limit = 10000 })) do
    out[event.id] = event.state
  end
  return out
end

---States of deliveries, oldest first, of one account.
function M:deliveries(account)
  local out = {}
  for i, one in ipairs(assert(self.app:open():deliveries { account = account, after = 0,
    limit = 10000 })) do out[i] = one.state end
  return out
end

---An event with its marks.
function M:show(id) return assert(self.app:open()):show(id) end

return M

-- cli/tour.lua: what the demo does with its vendors and its receiver, and what
-- it then finds in the inbox. Everything that is not as it has to be goes into
-- `problems`.
--
-- A tour has: sandbox, receiver (URLs), accounts (what the vendors' clients
-- are made of), names (vendor -> account), store (the receiver's inbox).

local core = require "billhook.core"
local json = require "billhook.json"
local process = require "billhook.process"

local M = {}

local Tour = {}
Tour.__index = Tour

local vendors = { "dreamapply", "dreamclass", "betterez" }
local patience = 30 -- seconds for everything that was sent to have been worked on

function M.new(fields)
  fields.problems, fields.forged = {}, {}
  return setmetatable(fields, Tour)
end

function Tour:expect(what, truth)
  if not truth then self.problems[#self.problems + 1] = what end
end

local function request(method, url, headers, body)
  local answer, failure = require("billhook.transport").pick("curl"):request {
    method = method, url = url, headers = headers, body = body, fresh = true, timeout = 10,
    connect_timeout = 5, limit = 16777216,
  }
  if not answer then error(url .. ": " .. failure.message, 0) end
  return answer
end

-- steers the sandbox
function Tour:steer(call, fields)
  local answer = request(fields and "POST" or "GET", self.sandbox .. "/sandbox/" .. call,
    { ["Content-Type"] = "application/json" }, fields and json.encode(fields))
  if answer.status ~= 200 then error(("sandbox: %s: %s"):format(call, answer.body), 0) end
  return json.decode(answer.body)
end

-- --- the API ---------------------------------------------------------------------

local function client_of(self)
  local account = self.accounts.dreamapply
  return require("billhook").dreamapply {
    base_url = account.base_url, api_key = account.settings.api_key,
  }
end

local function line(item, price)
  return { item = item, price = require("billhook").decimal(price), qty = 1 }
end

-- the invoices that the rest is about: 1 is kept, 2 is deleted later
local function create(self, apply, application, items)
  local made, err = apply.invoices:create(application, { currency = "EUR", items = items })
  self:expect("create: " .. tostring(err), made)
  return made or {}
end

local function text_of(invoice)
  local invoices = require("billhook").invoice
  return ("%s %s, %s"):format(invoices.currency(invoice), tostring(invoices.total(invoice)),
    invoices.number(invoice))
end

-- One whose answer never comes: the client looks, and finds it. It is there once.
local function create_unanswered(self, apply)
  self:steer("fault", { next = "reset-after", method = "POST" })
  local made = create(self, apply, 7, { line("Airport pickup", "25.00") })
  self:expect("the invoice whose answer was lost was not found", made.how == "found")
  return made
end

local function row_of_create(made)
  return { "invoices:create(7, ...)", ("invoice %s%s"):format(made.id,
    made.how == "found" and ", found after its answer was lost" or "") }
end

---An invoice that is there before the receiver is: it is known, and no news.
function Tour:before()
  self.apply = client_of(self)
  create(self, self.apply, 3, { line("Deposit", "100.00") })
end

---Waits until the receiver has seen all that is there, and has it told from now on.
function Tour:ready()
  local deadline = process.monotonic() + patience
  local memory
  repeat
    self.interrupted()
    local seen = self.store:peek("account " .. self.names.dreamapply)
    memory = seen and seen.text or ""
    if memory:find('"baseline":true', 1, true) then break end
    process.sleep(0.02, true)
  until process.monotonic() > deadline
  self:expect("the first poll has not come", memory:find('"baseline":true', 1, true))
  local webhooks = {}
  for vendor, name in pairs(self.names) do
    webhooks[vendor] = self.receiver .. "/webhooks/" .. name
  end
  self:steer("webhooks", webhooks)
end

---Calls the API; gives rows for a table.
---@return string[][]
function Tour:calls()
  local apply = self.apply
  local first = create(self, apply, 7, { line("Tuition fee", "900.00"), line("Exam", "35.50") })
  local second = create(self, apply, 7, { line("Library card", "19.90") })
  local third = create_unanswered(self, apply)
  local list = apply.invoices:list { application = 7 }
  local got = first.id and apply.invoices:get(first.id)
  local count = apply.invoices:count { byCollected = false }
  self:expect("the list has not all three invoices once", list and #list == 3)
  self:expect("the invoice is not what was created", got and text_of(got):find "^EUR 935.50")
  self:expect("the count is wrong", count == 4)
  self.kept, self.doomed = first.id, second.id
  return {
    row_of_create(first), row_of_create(second), row_of_create(third),
    { "invoices:list { application = 7 }", ("%d invoices"):format(list and #list or 0) },
    { ("invoices:get(%s)"):format(first.id), got and text_of(got) or "nothing" },
    { "invoices:count { byCollected = false }", ("%s"):format(count) },
  }
end

---Deletes the second invoice; rows for the same table.
function Tour:delete()
  local done = self.doomed and self.apply.invoices:delete(self.doomed)
  local gone, err = nil, nil
  if self.doomed then gone, err = self.apply.invoices:get(self.doomed) end
  self:expect("delete", done)
  self:expect("the deleted invoice is still there", not gone and err and err.kind == "not_found")
  return {
    { ("invoices:delete(%s)"):format(self.doomed), done and "deleted" or "failed" },
    { ("invoices:get(%s)"):format(self.doomed), err and tostring(err) or "still there" },
  }
end

-- --- webhooks ---------------------------------------------------------------------

function Tour:created()
  self.class, self.ticket = {}, {}
  for i, amount in ipairs { "300", "1250" } do
    self.class[i] = self:steer("trigger", { vendor = "dreamclass", amount = amount }).invoice
    self.ticket[i] = self:steer("trigger",
      { vendor = "betterez", amount = amount, currency = "EUR" }).invoice
  end
end

function Tour:updated()
  local invoices = { dreamapply = self.kept, dreamclass = self.class[1], betterez = self.ticket[1] }
  for _, vendor in ipairs(vendors) do
    self:steer("trigger", { vendor = vendor, type = "invoice.updated", invoice = invoices[vendor],
      amount = "480.00" })
  end
end

function Tour:deleted()
  self:steer("trigger", { vendor = "dreamclass", type = "invoice.deleted",
    invoice = self.class[2] })
end

---Every vendor sends its last delivery once more.
function Tour:again()
  for _, vendor in ipairs(vendors) do self:steer("redeliver", { vendor = vendor }) end
end

-- posts a delivery of our own making
local function post(self, vendor, options, secrets)
  local body = require("billhook.cli.samples").body(vendor, "invoice.created", options)
  local headers
  headers, body = require("billhook").sign(vendor, body, secrets)
  local url = self.receiver .. "/webhooks/" .. self.names[vendor]
  local status = request("POST", url, headers, body).status
  self.forged[#self.forged + 1] = { vendor = vendor, status = status, id = options.id }
  return status
end

---Deliveries signed with secrets that the vendors do not have: none gets in.
function Tour:forge()
  for _, vendor in ipairs(vendors) do
    local id = vendor == "dreamapply" and "4711" or "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2"
    local status = post(self, vendor, { tenant = "my-school", id = id },
      { secret = "guessed", authorization = "Bearer guessed" })
    self:expect("a forged delivery was not refused", status == 401)
  end
end

---DreamClass signs nothing but the id: who has seen one delivery can send others with it. They are
---news, the API is asked, and nothing has changed.
function Tour:tamper()
  local settings = self.accounts.dreamclass.settings
  for _, delivery in ipairs(self:sent()) do
    if delivery.vendor == "dreamclass" then
      local status = post(self, "dreamclass", { tenant = settings.tenant, id = delivery.event,
        data = { id = tonumber(delivery.invoice), amount = 1 } },
        { secret = settings.secret, basic = settings.basic })
      self:expect("a changed copy was not answered with success", status == 200)
      return
    end
  end
end

-- --- what became of it --------------------------------------------------------------

local MOST = 1000 -- rows of the inbox

-- Every delivery has been answered, and there are so many events, with all of their rules run.
local function settled(self, events)
  for _, delivery in ipairs(self:steer "deliveries") do
    if delivery.state == "pending" then return false end
  end
  local list = assert(self.store:events { limit = MOST })
  for _, event in ipairs(list) do
    if event.state == "pending" then return false end
  end
  return #list >= events
end

---Waits until all has been delivered, and all rules have run.
---@param events integer how many there are to be
function Tour:settle(events)
  local deadline = process.monotonic() + patience
  repeat
    local ok, done = pcall(settled, self, events)
    if ok and done then return end
    self.interrupted()
    process.sleep(0.02, true)
  until process.monotonic() > deadline
  self:expect(("there are not %d events, with all rules run, within %d s"):format(events, patience),
    false)
end

-- The one that the inbox has made of what a vendor has sent: what it is told apart by begins with
-- the vendor's own id.
local function stored(list, account, id)
  for _, one in ipairs(list) do
    local rest = one.id:sub(#account + 2)
    local its = rest == id or rest:sub(1, #id + 1) == id .. " "
    if one.account == account and its then return one end
  end
end

local STATES = { pending = "looked at again", unchanged = "nothing new" }

---What vendors have sent; before there was a receiver, nothing was.
function Tour:sent()
  local list = {}
  for _, delivery in ipairs(self:steer "deliveries") do
    if delivery.state ~= "unsent" then list[#list + 1] = delivery end
  end
  return list
end

-- What was sent, and how often; what it was answered, and what it has come to.
local function deliveries_of(self, found)
  local list = assert(self.store:deliveries { limit = MOST })
  for _, sent in ipairs(self:sent()) do
    local name = self.names[sent.vendor]
    local one = stored(list, name, sent.event:lower())
    for _, attempt in ipairs(sent.attempts) do
      self:expect(("%s %s was not taken"):format(name, sent.event), attempt.status == 200)
    end
    if not one or one.state == "dead" or one.state == "unhandled" then
      found.lost = found.lost + 1
    end
    found.deliveries[#found.deliveries + 1] = { name, one and one.type, one and one.invoice,
      one and one.trust, #sent.attempts, sent.status,
      one and (STATES[one.state] or one.state) or "lost" }
  end
  for _, forged in ipairs(self.forged) do
    local name, refused = self.names[forged.vendor], forged.status >= 400
    self:expect("a forged delivery was stored", not (refused and stored(list, name, forged.id)))
    found.deliveries[#found.deliveries + 1] = { name, "invoice.created", nil, nil, 1, forged.status,
      refused and "refused" or "looked at again" }
  end
end

local function amount_of(event)
  local invoices = require("billhook").invoice
  if not event.data then return nil end
  return tostring(invoices.total(invoices.tag(event.vendor, core.json.decode(event.data))))
end

local function events_of(self, found)
  local list = assert(self.store:events { limit = MOST })
  for i = #list, 1, -1 do
    local event, done = assert(self.store:show(list[i].id)), 0
    for _, mark in pairs(event.marks) do done = done + (mark.state == "done" and 1 or 0) end
    if event.state ~= "done" and event.state ~= "unhandled" or done ~= #event.rules then
      found.lost = found.lost + 1
    end
    for vendor, name in pairs(self.names) do
      if name == event.account and done > 0 then found.vendors[vendor] = true end
    end
    found.runs = found.runs + done
    found.events[#found.events + 1] = { event.account, event.type, event.invoice, event.version,
      event.trust, amount_of(event), table.concat(event.rules, ", "), event.state }
  end
end

---What was sent, and what the inbox says of it.
---@return table found deliveries, events (rows), runs, lost, vendors (a set)
function Tour:found()
  local found = { deliveries = {}, events = {}, runs = 0, lost = 0, vendors = {} }
  deliveries_of(self, found)
  events_of(self, found)
  return found
end

return M

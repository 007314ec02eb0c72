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

---Calls the API; gives rows for a table.
---@return string[][]
function Tour:calls()
  local apply = client_of(self)
  local first = create(self, apply, 7, { line("Tuition fee", "900.00"), line("Exam", "35.50") })
  local second = create(self, apply, 7, { line("Library card", "19.90") })
  local third = create_unanswered(self, apply)
  local list = apply.invoices:list { application = 7 }
  local got = first.id and apply.invoices:get(first.id)
  local count = apply.invoices:count { byCollected = false }
  self:expect("the list has not all three invoices once", list and #list == 3)
  self:expect("the invoice is not what was created", got and text_of(got):find "^EUR 935.50")
  self:expect("the count is wrong", count == 3)
  self.apply, self.kept, self.doomed = apply, first.id, second.id
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

---DreamClass signs nothing but the id: who has seen one delivery can send others with it.
function Tour:tamper()
  local settings = self.accounts.dreamclass.settings
  for _, delivery in ipairs(self:steer "deliveries") do
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

function Tour:id(delivery) return self.names[delivery.vendor] .. ":" .. delivery.event:lower() end

local function settled(self, attempts)
  local seen = 0
  for _, delivery in ipairs(self:steer "deliveries") do
    seen = seen + #delivery.attempts
    if delivery.state == "pending" then return false end
    local event = assert(self.store:show(self:id(delivery)))
    if delivery.state == "delivered" and event.state == "pending" then return false end
  end
  return seen >= attempts
end

---Waits until all has been delivered, and all rules have run.
---@param attempts integer how many postings there are to be
function Tour:settle(attempts)
  local deadline = process.monotonic() + patience
  repeat
    local ok, done = pcall(settled, self, attempts)
    if ok and done then return end
    self.interrupted()
    process.sleep(0.02, true)
  until process.monotonic() > deadline
  self:expect(("not all was worked on within %d s"):format(patience), false)
end

local function step_of(self, event)
  for _, rule in ipairs(event.rules) do
    local text = self.store:step(event.seq, rule, "book")
    if text then return core.json.decode(text).value end
  end
  return {}
end

local function runs(event)
  local done = 0
  for _, mark in pairs(event.marks) do
    if mark.state == "done" then done = done + 1 end
  end
  return done
end

local function row_of(self, delivery, event)
  local kept = step_of(self, event)
  local trust = event.trust
  if kept.trust and kept.trust ~= trust then trust = trust .. " > " .. kept.trust end
  return { event.account, event.type, trust, event.invoice, kept.amount,
    table.concat(event.rules, ", "),
    ("%s (%d)"):format(event.state, delivery.attempts[1].status or 0) }
end

local function again_rows(self, found, delivery, event)
  for i = 2, #delivery.attempts do
    local status = delivery.attempts[i].status or 0
    self:expect("a delivery that was sent again was not answered with success", status == 200)
    found.rows[#found.rows + 1] = { event.account, event.type, event.trust, event.invoice, nil, nil,
      ("duplicate (%d)"):format(status) }
  end
end

local function add(self, found, delivery)
  local event = self.store:show(self:id(delivery))
  local accepted = delivery.attempts[1] and delivery.attempts[1].status == 200
  self:expect(("%s was not taken"):format(self:id(delivery)), accepted)
  if not event then
    found.lost = found.lost + (accepted and 1 or 0)
    return
  end
  local ran = runs(event)
  if event.state ~= "done" or ran ~= #event.rules or ran == 0 then found.lost = found.lost + 1 end
  found.runs, found.vendors[delivery.vendor] = found.runs + ran, ran > 0 or nil
  found.rows[#found.rows + 1] = row_of(self, delivery, event)
  again_rows(self, found, delivery, event)
end

local function add_forged(self, found)
  for _, forged in ipairs(self.forged) do
    local name, refused = self.names[forged.vendor], forged.status >= 400
    local event = self.store:show(name .. ":" .. forged.id)
    self:expect("a forged delivery was stored", not (refused and event))
    self:expect("a changed copy was not noticed", refused or event and event.contested)
    found.rows[#found.rows + 1] = { name, "invoice.created", refused and "none" or event.trust,
      event and event.invoice or nil, nil, nil,
      ("%s (%d)"):format(refused and "refused" or "contested", forged.status) }
  end
end

---Everything that was sent, and what the inbox says of it.
---@return table found rows, runs, lost, vendors (a set)
function Tour:found()
  local found = { rows = {}, runs = 0, lost = 0, vendors = {} }
  for _, delivery in ipairs(self:steer "deliveries") do add(self, found, delivery) end
  add_forged(self, found)
  return found
end

return M

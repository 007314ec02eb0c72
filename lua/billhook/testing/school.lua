-- testing/school.lua: one account of a world for tests: a vendor imitated in this process (the
-- sandbox, without nginx), a client of the app that calls it, and one line for whatever happens
-- there. Who uses the app sees no difference: what happens there comes as a signed delivery, or is
-- found by the next poll.

local core = require "billhook.core"
local fake = require "billhook.transport.fake"
local invoices = require "billhook.invoice"
local sandbox = require "billhook.sandbox"

local M = {}

---@class billhook.testing.School
---@field sandbox table the imitated vendor, for whatever has no method here
local School = {}
School.__index = School

local SECOND_LOOK = 150 -- seconds after which two looks, a minute apart, are over

-- Where each vendor's paths begin, below its host.
local BELOW = { dreamapply = "", dreamclass = "/dreamclassapi/v1", betterez = "/invoices" }

-- Options that are the sandbox's, whatever a rules file says: no test needs a secret.
local OURS = { "api_key", "token" }
local PROOFS = { "authorization", "secret", "basic" }

-- --- the client of it ----------------------------------------------------------------

local KINDS = { timeout = true, network = true, tls = true }

---What a request comes to while its server is told to fail: a status, or a kind of failure.
---@param failing { what: integer|string, times: number }|nil
---@return table|nil response, table|nil failure
function M.failure(failing)
  if not failing or failing.times <= 0 then return nil end
  failing.times = failing.times - 1
  if KINDS[failing.what] then return nil, { kind = failing.what, sent = false } end
  return { status = failing.what, body = ("told to answer %d"):format(failing.what) }
end

---A transport whose time is the world's.
---@param world table
---@param answer fun(request: table): table|nil, table|nil
---@return table
function M.transport(world, answer)
  local transport = fake.new(answer)
  function transport.now() return world.now end
  transport.wall = transport.now
  function transport.sleep(_, seconds) world.now = world.now + seconds end
  return transport
end

local function answer(self, request)
  self.world:note(request)
  local response, failure = M.failure(self.failing)
  if response or failure then return response, failure end
  local headers = {}
  for name, value in pairs(request.headers) do headers[name:lower()] = value end
  local status, body, more, cut = self.sandbox:answer { method = request.method,
    target = request.url:match "^%a+://[^/]+(.*)$", headers = headers, body = request.body or "" }
  if not status then return nil, { kind = "network" } end
  return { status = status, headers = more, body = body,
    torn = cut and { kind = "network" } or nil }
end

-- The client's options, those that point to the real vendor replaced by the sandbox's.
local function options_of(self, given, defaults)
  local options = { base_url = "https://" .. self.vendor .. ".test" .. BELOW[self.vendor],
    quota = false, clock = self.world.clock, random = self.world.random,
    transport = M.transport(self.world, function(request) return answer(self, request) end) }
  for name, value in pairs(given) do
    if options[name] == nil then options[name] = value end
  end
  for _, name in ipairs(OURS) do options[name] = options[name] and defaults[name] end
  if given.webhook then
    options.webhook = {}
    for name, value in pairs(given.webhook) do options.webhook[name] = value end
    for _, name in ipairs(PROOFS) do options.webhook[name] = defaults[name] end
  end
  return options
end

---@param world table
---@param vendor string
---@param given table what a rules file gives billhook.dreamapply and the like
---@param make function that one
---@return table school, table client
function M.new(world, vendor, given, make)
  local self = setmetatable({ world = world, vendor = vendor }, School)
  local defaults, own = sandbox.defaults(vendor), {}
  if vendor == "dreamapply" then own.quota = false end
  for _, name in ipairs { "tenant", "school_code" } do
    own[name] = defaults[name] and given[name] or nil
  end
  self.sandbox = sandbox.new { clock = world.clock, [vendor] = own,
    webhooks = given.webhook and { [vendor] = "http://localhost/" } or {},
    post = function(_, headers, body)
      return (world.app:receive(self.name, headers, body))
    end }
  self.client = make(options_of(self, given, defaults))
  return self, self.client
end

-- --- what happens there ----------------------------------------------------------------

-- Has it happen, a second after whatever was before: by a clock that stands still, all things would
-- be simultaneous. Wrong use raises where the test is, `level` calls
-- above. What the vendor tells by no webhook is found by the next poll, which the clock goes on to.
local function happen(self, level, type, invoice, fields)
  local order = {}
  for name, value in pairs(fields or {}) do order[name] = value end
  self.world:advance(1)
  order.vendor, order.type, order.invoice = self.vendor, type, invoice or order.invoice
  local delivery, why = self.sandbox:order("trigger", order)
  if not delivery then
    error(("%s: %s: %s"):format(self.name, type, tostring(why)), level + 1)
  end
  if delivery.state == "untold" or delivery.state == "unsent" then
    self.world:pass(self.world.app.poll_every or 300)
  end
  return delivery.invoice or delivery.event
end

---Makes something happen at the vendor, by our type of the event ("invoice.updated") or, at
---DreamClass, Betterez and in DreamApply's journal, by the vendor's own. What the vendor tells by
---no webhook is found by the next poll, which the clock goes on to. Raises where the vendor cannot
---do it.
---@param type string
---@param fields? table `invoice`, `amount` and whatever the sandbox's /sandbox/trigger takes
---@return string id of the invoice, or of what else it is about
function School:happen(type, fields)
  local id = happen(self, 2, type, nil, fields)
  return id
end

---An invoice is issued.
---@param fields? table such as { amount = "300.00" }; members in the vendor's names
---@return string id
function School:issue(fields)
  local id = happen(self, 2, "invoice.created", nil, fields)
  return id
end

---It is changed.
---@param id string
---@param fields? table
---@return string id
function School:update(id, fields)
  happen(self, 2, "invoice.updated", id, fields)
  return id
end

---Something is paid: all that is left, where no amount is given. Betterez never says so.
---@param id string
---@param amount? string
---@return string id
function School:pay(id, amount)
  happen(self, 2, "payment.created", id, { amount = amount })
  return id
end

---A payment is taken back: the invoice's first at DreamApply, else its last. It is as it was before
---then, which is believed after a second look, which the clock goes on to.
---@param id string
---@return string id
function School:unpay(id)
  happen(self, 2, "payment.deleted", id)
  self.world:pass(SECOND_LOOK)
  return id
end

---It is gone. A deletion is believed after a second look, which the clock goes on to.
---@param id string
---@return string id
function School:delete(id)
  happen(self, 2, "invoice.deleted", id)
  self.world:pass(SECOND_LOOK)
  return id
end

-- The day on which an invoice is due, as the API has it.
local function due_date(self, id)
  local invoice, err = self.client.invoices:get(id)
  local day = invoice and invoices.due_date(invoice)
  return day or error(("%s: invoice %s has no due date%s"):format(self.name, id,
    err and ": " .. tostring(err) or ""), 3)
end

---The clock goes on to so many days after its due date. (The app's option `overdue` says at which
---days rules are told.)
---@param id string
---@param days? integer 1
---@return string id
function School:overdue(id, days)
  local noon = core.text.datetime(due_date(self, id) .. "T12:00:00+00:00") + (days or 1) * 86400
  self.world:pass(math.max(0, noon - self.world.now))
  return id
end

---Somebody else sends a delivery: with a guessed proof, or with one that was seen.
---@param fields? table `invoice`, `type`, `proof` ("wrong" or "captured")
---@return integer status that he was answered
function School:forge(fields)
  local order = { vendor = self.vendor }
  for name, value in pairs(fields or {}) do order[name] = value end
  local delivery, why = self.sandbox:order("forge", order)
  if not delivery then error(("%s: forge: %s"):format(self.name, tostring(why)), 2) end
  self.sandbox:run()
  local sent = self.sandbox.deliveries[#self.sandbox.deliveries].attempts
  return sent[#sent].status
end

---The vendor's next webhooks are lost; a poll finds what they told.
---@param count? integer 1
---@return nil
function School:lose(count)
  assert(self.sandbox:order("fault", { next = "webhook", vendor = self.vendor, copies = 0,
    times = count or 1 }))
end

---The vendor's API fails from now on: { what, times }. nil: it is well again.
---@param what integer|"timeout"|"network"|"tls"|nil a status, or a kind of failure
---@param times? integer how often; else until it is told otherwise
---@return nil
function School:fail(what, times)
  self.failing = what and { what = what, times = times or math.huge }
end

---What the API has of an invoice.
---@param id string
---@return table|nil invoice, billhook.Error|nil err
function School:invoice(id) return self.client.invoices:get(id) end

return M

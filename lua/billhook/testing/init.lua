--- For tests of rules, with busted or any other framework. It imitates the vendors with their state
-- and has a clock; each action takes one line. It needs no network, no file besides the rules, and
-- no waiting.
--
--   local testing = require "billhook.testing"
--   local world = testing.world { rules = "rules.lua" }
--   local id = world:issue { amount = "300.00" }
--   world:pay(id)
--   for _, run in ipairs(world:run()) do print(run) end    --> ... invoice.paid ledger: done
--
-- billhook.testing.WorldOptions in testing/world.lua has the options.
--
-- While the rules load, the constructors of clients, billhook.app and billhook.http make objects of
-- this world: addresses and credentials are replaced, and the inbox is in memory. Rules, patterns,
-- options and names do not change. An account without `api_key` or `webhook` has none here either.

local core = require "billhook.core"
local events = require "billhook.app.event"
local json = require "billhook.json"
local vendors = require "billhook.vendor"
local worlds = require "billhook.testing.world"

local M = {}

M.world = worlds.new

-- --- an event by itself ----------------------------------------------------------------

-- How each comes about, and who has it where no vendor is named.
local makers = {
  ["invoice.created"] = function(world) world:issue { amount = "300.00" } end,
  ["invoice.updated"] = function(world)
    local id = world:issue { amount = "300.00" }
    world:pass(60)
    world:update(id, { amount = "250.00" })
  end,
  ["invoice.deleted"] = function(world)
    local id = world:issue { amount = "300.00" }
    world:pass(60)
    world:delete(id)
  end,
  ["invoice.paid"] = function(world) world:pay(world:issue { amount = "300.00" }) end,
  ["invoice.overdue"] = function(world) world:overdue(world:issue { amount = "300.00" }) end,
  ["invoice.failed"] = function(world) world:happen "failure" end,
  ["payment.created"] = function(world)
    world:pay(world:issue { amount = "300.00" }, "100.00")
  end,
  ["payment.deleted"] = function(world)
    local id = world:issue { amount = "300.00" }
    world:pay(id, "100.00")
    world:pass(60)
    world:unpay(id)
  end,
  ["payment.updated"] = function(world)
    local id = world:issue { amount = "300.00" }
    world:pay(id, "100.00")
    world:pass(60)
    world:happen("payment.updated", { invoice = id, amount = "120.00" })
  end,
  ["payment.refunded"] = function(world)
    local id = world:issue { amount = "300.00" }
    world:pay(id, "100.00")
    world:pass(60)
    world:happen("refund", { invoice = id, how = "card" })
  end,
}
local usual = { ["invoice.failed"] = "betterez", ["payment.updated"] = "dreamclass",
  ["payment.refunded"] = "dreamclass" }

-- The first event of that type that a world has.
local function made_by(vendor, type)
  local found
  local world = worlds.new { accounts = { [vendor] = vendor }, overdue = { 0, 1, 7, 14 },
    rules = function(app)
      app:on(type, function(event) found = found or event end)
    end }
  makers[type](world)
  world:run(120) -- a second look, where one is needed
  return found, world
end

-- What an event asks of its inbox.
local function store_of(fields)
  local steps = {}
  local store = {}
  function store.step(_, _, _, name, text)
    if text then steps[name] = steps[name] or text end
    return steps[name] or false
  end
  function store.is_latest() return fields.latest ~= false end
  function store.deliveries() return fields.deliveries or {} end
  return store
end

local FIELDS = { "id", "account", "vendor", "tenant", "type", "native", "version", "trust", "live",
  "occurred_at", "received_at" }
local TEXTS = { "data", "previous", "claims" }
local known = { invoice_id = true, attempt = true, after_failure = true, latest = true,
  deliveries = true }
for _, list in ipairs { FIELDS, TEXTS } do
  for _, name in ipairs(list) do known[name] = true end
end

local function check(type, fields)
  for name in pairs(fields) do
    if not known[name] then error(("testing.event: an event has no '%s'"):format(name), 3) end
  end
  if fields.vendor and not vendors[fields.vendor] then
    error(("testing.event: there is no vendor '%s'"):format(tostring(fields.vendor)), 3)
  elseif not makers[type] and not (fields.data or fields.claims) then
    local names = {}
    for name in pairs(makers) do names[#names + 1] = name end
    table.sort(names)
    error(("testing.event: there is no event '%s'; there are %s (a vendor's own needs 'data' or"
      .. " 'claims')"):format(tostring(type), table.concat(names, ", ")), 3)
  end
end

-- A row of the inbox: the sample's, where there is one, with what the test has said instead.
local function row_of(type, vendor, fields, sample)
  local row = { seq = 1, deliveries = {}, rules = {}, native = type, live = true,
    received_at = worlds.START, id = ("%s:%s"):format(vendor, type), account = vendor,
    trust = fields.data and "api" or "id" }
  for _, name in ipairs(FIELDS) do
    if sample and sample[name] ~= nil then row[name] = sample[name] end
    if fields[name] ~= nil then row[name] = fields[name] end
  end
  row.type, row.vendor = type, vendor
  row.invoice = fields.invoice_id or sample and sample.invoice_id
  row.version = row.version or fields.data and type:find "^invoice%." and 1 or nil
  local own = fields.data or fields.claims
  for _, name in ipairs(TEXTS) do
    local value = fields[name]
    if value == nil and sample and not own then value = sample[name] end
    row[name] = value ~= nil and json.encode(value) or nil
  end
  return row
end

--- An event as a rule is given it, to call a function with: a sample of that type, as the imitated
-- vendor makes it, or one of your `data`.
---@param type billhook.EventType
---@param fields? table `vendor` ("dreamapply"), and fields of an event: data, previous, claims, id,
---  account, invoice_id, attempt, live ... An unknown one raises
---@return billhook.Event event
function M.event(type, fields)
  fields = fields or {}
  check(type, fields)
  local vendor = fields.vendor or usual[type] or "dreamapply"
  local sample, world
  if makers[type] then
    sample, world = made_by(vendor, type)
    if not sample then error(("testing.event: %s has no %s"):format(vendor, type), 2) end
  end
  local event = events.new(row_of(type, vendor, fields, sample), { rule = "test",
    attempt = fields.attempt, after_failure = fields.after_failure, store = store_of(fields),
    client = world and world.app.accounts[vendor] })
  return event
end

--- Calls a rule's function with an event, and says what the app would: true, or nil and why it has
-- failed: it raised, gave nil and a reason, or false, or passed over a step of `once` that failed.
---@param fn billhook.Rule
---@param event billhook.Event
---@return boolean|nil done, string|nil reason
function M.call(fn, event)
  local failed = events.outcome(event, (events.try("the rule", fn, event)))
  if not failed and events.delay(event) then failed = { reason = "asked to run again" } end
  if not failed then return true end
  return nil, events.text(failed)
end

--- Epoch seconds of a moment, for `now` and the like: testing.time "2027-01-15T08:00:00Z".
---@param text string ISO 8601
---@return number
function M.time(text)
  return core.text.datetime(text) or error("testing.time: no moment: " .. tostring(text), 2)
end

return M

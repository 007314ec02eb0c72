--- After a crash: the calls whose process is gone, and of which nobody knows what became.
--
-- An app looks for them when it begins to work, and once a minute: another process of it may have
-- died. What is found is kept for the call that will ask for the same again (ledger.lua); what is
-- not found is looked for again, until so much time has passed that nothing will come of it.

local earlier = require "billhook.outcome.earlier"
local ledgers = require "billhook.outcome.ledger"
local search = require "billhook.outcome.search"

local M = {}

local EVERY = 60
local LEASE = 60
-- Rules wait meanwhile. What was sent is some time ago, so it shows soon or not at all.
local SECONDS = 2.5

local function fields_of(intent, more)
  local fields = { operation = intent.operation, place = intent.place, intent = intent.id,
    sent_at = intent.sent_at and require("billhook.core").text.iso(math.floor(intent.sent_at)) }
  for name, value in pairs(more or {}) do
    fields[name] = value
  end
  return fields
end

-- Later, by whoever works then: the lease ends.
local function unknown(state, one, report, seen)
  if earlier.is_nothing(state, one, seen) then
    state.claims:close(one.intent)
    report("warn", "given_up", fields_of(one.intent))
  else
    report("warn", "unknown_outcome", fields_of(one.intent))
  end
end

local function found(state, intent, element, report)
  local id = search.id(state, intent, element)
  local result = search.result(state, intent, element, "found")
  local kept, err = state.claims:keep(intent, id, result)
  if kept then
    report("info", "settled", fields_of(intent, { found = tostring(id) }))
  else
    report("warn", "not_settled", fields_of(intent,
      { message = err and tostring(err) or "another call has it" }))
  end
end

local function settle(state, one, report)
  local intent = one.intent
  if not state.vendor.looks[intent.operation] or intent.blind then
    return unknown(state, one, report)
  end
  local token = state.claims:enter(intent.place, LEASE, state.now())
  if not token then
    return -- somebody else asks for the same just now, and looks for it
  end
  local element, seen = search.search(state, intent, SECONDS)
  if element then
    found(state, intent, element, report)
  else
    unknown(state, one, report, seen)
  end
  state.claims:leave(intent.place, token)
end

--- Settles what an account's dead processes have left: see client.recover.
---@return table? err
function M.run(state, report)
  local store, err = state:shared()
  if not store then
    return err
  end
  local book = ledgers.new(store, state.account)
  local orphans
  orphans, err = book:orphans(LEASE)
  state = setmetatable({ claims = book, purse = {} }, { __index = state })
  for _, one in ipairs(orphans or {}) do
    settle(state, one, report)
  end
  return err
end

--- For an app that works: does what is due. Never raises.
---@param app table
---@param now number seconds
function M.due(app, now)
  if app.recovered and now >= app.recovered and now < app.recovered + EVERY then
    return
  end
  app.recovered = now
  local client = require "billhook.client"
  for name, account in pairs(app.accounts) do
    local function report(level, event, fields)
      fields.account = name
      app.log(level, event, fields)
    end
    local fine, err = pcall(client.recover, account, report)
    if not fine or err then
      app.log("error", "not_recovered", { account = name, message = tostring(err) })
    end
  end
end

return M

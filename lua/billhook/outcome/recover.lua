--- After a crash: the calls whose process is gone, and of which nobody knows what became.
--
-- An app looks for them when it begins to work, and once a minute: another process of it may have
-- died. What is found is kept for the call that will ask for the same again (pending.lua); what is
-- not found is looked for again, until so much time has passed that nothing will come of it.

local core = require "billhook.core"
local earlier = require "billhook.outcome.earlier"
local pending = require "billhook.outcome.pending"
local search = require "billhook.outcome.search"

local M = {}

local LEASE = 60
-- Rules wait meanwhile. What was sent is some time ago, so it shows soon or not at all.
local SECONDS = 2.5

local function fields_of(intent, more)
  local fields = { operation = intent.operation, place = intent.place, intent = intent.id,
    sent_at = intent.sent_at and core.text.iso(math.floor(intent.sent_at)) }
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
  local token = state.claims:enter(intent.place, LEASE)
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
  local book, err = pending.of(state)
  if not book or not book.durable then
    return err
  end
  local orphans
  orphans, err = book:orphans(LEASE)
  state = setmetatable({ claims = book, purse = {} }, { __index = state })
  for _, one in ipairs(orphans or {}) do
    settle(state, one, report)
  end
  return err
end

return M

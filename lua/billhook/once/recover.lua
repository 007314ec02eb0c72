--- After a crash: the calls whose process is gone, and of which nobody knows what became.
--
-- An app looks for them when it begins to work, and once a minute: another process of it may have
-- died. What is found is kept for the call that will ask for the same again (pending.lua); what is
-- not found is looked for again, until so much time has passed that nothing will come of it.

local core = require "billhook.core"
local lookup = require "billhook.once.lookup"
local pending = require "billhook.once.pending"

local M = {}

local LEASE = 60
-- Rules wait meanwhile. What was sent is some time ago, so it shows soon or not at all.
local SECONDS = 2.5

local function tell(report, level, name, intent, more)
  local fields = { operation = intent.operation, place = intent.place, intent = intent.id,
    sent_at = intent.sent_at and core.text.iso(math.floor(intent.sent_at)) }
  for field, value in pairs(more or {}) do fields[field] = value end
  report(level, name, fields)
end

-- Later, by whoever works then: the lease ends.
local function unknown(call, one, report, seen)
  local over = lookup.is_nothing(call, one, seen)
  if over then call.claims:close(one.intent) end
  tell(report, "warn", over and "given_up" or "unknown_outcome", one.intent)
end

local function found(call, intent, element, report)
  local id = lookup.id(call, intent, element)
  local kept, err = call.claims:keep(intent, id, lookup.result(call, intent, element, "found"))
  if kept then
    tell(report, "info", "settled", intent, { found = tostring(id) })
  else
    tell(report, "warn", "not_settled", intent,
      { message = err and tostring(err) or "another call has it" })
  end
end

local function settle(call, one, report)
  local intent = one.intent
  if not call.account.vendor.looks[intent.operation] or intent.blind then
    return unknown(call, one, report)
  end
  local token = call.claims:enter(intent.place, LEASE)
  if not token then return end -- somebody asks for the same just now, and looks for it
  local element, seen = lookup.search(call, intent, SECONDS)
  if element then
    found(call, intent, element, report)
  else
    unknown(call, one, report, seen)
  end
  call.claims:leave(intent.place, token)
end

--- Settles what an account's dead processes have left.
---@param account table
---@param report function
---@param doors table see once/init.lua
---@return table? err
function M.run(account, report, doors)
  local claims, err = pending.of(account)
  if not claims or not claims.durable then return err end
  local orphans
  orphans, err = claims:orphans(LEASE)
  local call = { account = account, doors = doors, claims = claims, purse = {} }
  for _, one in ipairs(orphans or {}) do settle(call, one, report) end
  return err
end

return M

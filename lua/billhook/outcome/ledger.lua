--- The claims (claims.lua) of an account that an inbox keeps: shared by processes and machines, and
-- there after a crash. The other side is inbox/intents.lua.
--
-- A rule that runs again asks again, and gets the answer that it got before, or that came after its
-- process had died: so the results of its calls are kept for a week. Its calls have names (see
-- caller.lua). A call of nobody in particular is the same as one whose outcome is open if it asks
-- for the same; an answer that nobody got is kept for it for a day. So here an open one may have a
-- `result`.

local claims = require "billhook.outcome.claims"
local core = require "billhook.core"
local json = require "billhook.json"
local pulse = require "billhook.host.pulse"

local M = {}

local DAY = 86400
local KEEP, KEEP_NAMED, KEEP_VAGUE = DAY, 7 * DAY, claims.OPEN_FOR

local ledger = { signs = pulse.database }
ledger.__index = ledger

--- Those of an account in a store.
---@param store table an inbox
---@param account string
---@return table
function M.new(store, account)
  return setmetatable({ store = store, account = account, overlaps = not pulse.can() }, ledger)
end

function ledger:enter(place, lease)
  local token = core.text.hex(core.text.random(8))
  local entered, err = self.store:enter(self.account, place, token, lease)
  return entered and token or entered, err
end

function ledger:renew(place, token, lease)
  return self.store:stay(self.account, place, token, lease)
end

function ledger:holder(place)
  return self.store:holder(self.account, place)
end

function ledger:leave(place, token)
  return self.store:leave(self.account, place, token)
end

function ledger:begin(intent, token, lease)
  return self.store:intend({ id = intent.id, account = self.account, place = intent.place,
    body = json.encode(intent) }, token, lease)
end

-- What is left of a call whose result is kept: not what it was about, unless one of those that can
-- be seen must be it, and nobody knows which.
local function remains(intent)
  return json.encode(intent.vague and intent or { id = intent.id, caller = intent.caller,
    place = intent.place, operation = intent.operation })
end

function ledger:close(intent, id, value, settled)
  local how = { account = self.account, place = intent.place,
    claim = id ~= nil and tostring(id) or nil }
  local kept, result = pcall(json.encode, value)
  if (intent.caller or intent.vague or settled) and value ~= nil and kept then
    how.state, how.result, how.body = "done", result, remains(intent)
    how.keep = intent.caller and KEEP_NAMED or settled and KEEP or KEEP_VAGUE
  end
  return self.store:outcome(intent.id, how)
end

function ledger:open(intent)
  return self.store:outcome(intent.id, { state = "open" })
end

function ledger:abandon(intent)
  return self.store:abandon(intent.id)
end

--- It was settled, but whoever asked for it is gone: kept for the next one who does.
function ledger:keep(intent, id, result)
  return self.store:outcome(intent.id, { account = self.account, place = intent.place,
    claim = tostring(id), state = "done", result = json.encode(result),
    keep = intent.caller and KEEP_NAMED or KEEP })
end

local function opened(row)
  local one = { intent = core.json.decode(row.body), age = row.age, live = row.live }
  if row.result then
    one.result = core.json.decode(row.result)
  end
  return one
end

function ledger:known(place, ids)
  local found, err = self.store:known(self.account, place, ids)
  if not found then
    return nil, err
  end
  local owned, open = {}, {}
  for _, id in ipairs(found.owned) do
    owned[id] = true
  end
  for i, row in ipairs(found.open) do
    open[i] = opened(row)
  end
  return { owned = owned, open = open }
end

--- Takes over those whose process is gone, for `lease` seconds.
---@return table[]? list of { intent, age }
---@return table? err
function ledger:orphans(lease)
  local rows, err = self.store:orphans(self.account, lease)
  if not rows then
    return nil, err
  end
  for i, row in ipairs(rows) do
    rows[i] = opened(row)
  end
  return rows
end

return M

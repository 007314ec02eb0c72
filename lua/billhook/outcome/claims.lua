--- What is known about an account's calls that must not happen twice: which places are busy, which
-- ids have an owner, which outcomes are open.
--
-- A place is an operation and what it is done to ("invoices.create 123"): calls of one place could
-- be mistaken for each other. An intent is such a call as plain data: { id, vendor, account,
-- operation, place, params, reference, before, sent_at, caller, blind = nobody looked before it,
-- vague = it went well, but which id is its own is not known }. All clients of an account share one
-- of these objects: the one below, in memory; that of all workers of an nginx (host/claims.lua); or
-- where they belong to an app, the inbox's (ledger.lua). They have the same methods. Each gives a
-- value, or nil and an error of kind "store":
--
--   enter(place, lease, now)     -> a token, or false while somebody else is in there; it is left
--       at `leave`, or after `lease` seconds, for an abandoned call must not block it for ever
--   leave(place, token)
--   begin(intent, token, lease)  -> true: it is about to be sent; false: the place is lost
--   close(intent, id, value, settled)   -> true: its outcome is known, and the caller gets this
--       value; with an id, that is its own from now on; false: it is another call's already.
--       settled: long after the call; whoever asks once more is told the same
--   open(intent)                 its outcome is unknown, and its caller knows that
--   known(place, ids, now, id)   -> { owned = set of those of the ids that have another owner than
--       the intent with this id, open = { { intent, live, age }, ... } }; live: somebody is at it

local M = {}

-- So many ids keep their owner: those of the newest calls are the ones that could be mistaken.
local CLAIMS = 10000

--- A request that was lost so many seconds ago comes to nothing any more.
M.OPEN_FOR = 3600

local memory = {}
memory.__index = memory

local accounts = {}

--- Those of an account, by its digest.
---@param account string
---@return table
function M.of(account)
  if not accounts[account] then
    accounts[account] = setmetatable(
      { busy = {}, owned = {}, order = {}, at = 0, intents = {} }, memory)
  end
  return accounts[account]
end

function memory:enter(place, lease, now)
  local busy = self.busy[place]
  if busy and busy.till > now then
    return false
  end
  self.busy[place] = { till = now + lease }
  return self.busy[place]
end

function memory:leave(place, token)
  if self.busy[place] == token then
    self.busy[place] = nil
  end
end

local function forget(self, intent)
  local all = self.intents[intent.place] or {}
  for i = #all, 1, -1 do
    if all[i].id == intent.id then
      table.remove(all, i)
    end
  end
  self.intents[intent.place] = #all > 0 and all or nil
end

function memory:begin(intent, token)
  if self.busy[intent.place] ~= token then
    return false
  end
  forget(self, intent)
  self.intents[intent.place] = self.intents[intent.place] or {}
  table.insert(self.intents[intent.place], intent)
  return true
end

local function own(self, key, id)
  self.at = self.at % CLAIMS + 1
  local oldest = self.order[self.at]
  if oldest then
    self.owned[oldest] = nil
  end
  self.order[self.at] = key
  self.owned[key] = id
end

function memory:close(intent, id)
  local key = id ~= nil and intent.place .. " " .. tostring(id)
  if key and self.owned[key] then
    return self.owned[key] == intent.id
  end
  if not intent.vague then
    forget(self, intent)
  end
  if key then
    own(self, key, intent.id)
  end
  return true
end

function memory:open() -- luacheck: ignore 212/self
  return true
end

function memory:known(place, ids, now, asking)
  local owned, open = {}, {}
  for _, id in ipairs(ids) do
    local owner = self.owned[place .. " " .. id]
    owned[id] = owner ~= nil and owner ~= asking or nil
  end
  for _, intent in ipairs(self.intents[place] or {}) do
    local age = now - (intent.sent_at or now)
    if age <= M.OPEN_FOR then
      open[#open + 1] = { intent = intent, age = age, live = false }
    end
  end
  return { owned = owned, open = open }
end

return M

--- What this process knows about an account's calls that must not happen twice: which places are
-- busy, which ids have an owner, which outcomes are open.
--
-- A place is an operation and what it is done to ("invoices.create 123"): calls of one place could
-- be mistaken for each other. All clients of an account share one of these. It is in memory; one
-- that is shared by processes would have the same methods.

local M = {}

-- So many ids keep their owner: those of the newest calls are the ones that could be mistaken.
local CLAIMS = 10000

-- A request that was lost this long ago comes to nothing any more.
local OPEN_FOR = 3600

local claims = {}
claims.__index = claims

local accounts = {}

--- Those of an account, by its digest.
---@param account string
---@return table
function M.of(account)
  if not accounts[account] then
    accounts[account] = setmetatable(
      { busy = {}, owned = {}, order = {}, at = 0, intents = {} }, claims)
  end
  return accounts[account]
end

local function key_of(place, id)
  return place .. " " .. tostring(id)
end

--- This id is the result of a call: it is nobody else's.
function claims:own(place, id)
  local key = key_of(place, id)
  if self.owned[key] then
    return
  end
  self.at = self.at % CLAIMS + 1
  local oldest = self.order[self.at]
  if oldest then
    self.owned[oldest] = nil
  end
  self.order[self.at] = key
  self.owned[key] = true
end

---@return boolean
function claims:is_owned(place, id)
  return self.owned[key_of(place, id)] == true
end

--- Enters a place, if nobody is in it: until `leave`, or until that time at the latest, for a call
-- that is abandoned must not block its place for ever.
---@return boolean
function claims:enter(place, now, until_time)
  if (self.busy[place] or 0) > now then
    return false
  end
  self.busy[place] = until_time
  return true
end

function claims:leave(place)
  self.busy[place] = nil
end

--- The intents of a place whose outcome is open.
---@return table[]
function claims:open(place, now)
  local all = self.intents[place] or {}
  for i = #all, 1, -1 do
    if (all[i].sent_at or now) + OPEN_FOR < now then
      table.remove(all, i)
    end
  end
  return all
end

--- The outcome of this intent is open from now on.
function claims:remember(intent)
  self:forget(intent)
  self.intents[intent.place] = self.intents[intent.place] or {}
  table.insert(self.intents[intent.place], intent)
end

--- It is known.
function claims:forget(intent)
  local all = self.intents[intent.place] or {}
  for i = #all, 1, -1 do
    if all[i].id == intent.id then
      table.remove(all, i)
    end
  end
  if #all == 0 then
    self.intents[intent.place] = nil
  end
end

return M

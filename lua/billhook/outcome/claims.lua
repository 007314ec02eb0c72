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
--   enter(place, lease, now, longest, last)   -> a token, or false while somebody else is in there;
--       it is left at `leave`, at once where whoever took it is known to be gone, or else after
--       `lease` seconds, for an abandoned call must not block it for ever. longest: seconds that it
--       is renewed for at most; last: it is not asked again
--   renew(place, token, lease, now)  -> true: it is held for so long from now; false: it is lost.
--       In nginx, where a lease is shorter than a call may last: `signs` says how (host/pulse.lua)
--   holder(place, now)   -> { left = seconds until its lease ends, longest = until its last one
--       does, age }, as far as they are known; nil where it is free
--   leave(place, token)
--   begin(intent, token, lease)  -> true: it is about to be sent; false: the place is lost. No
--       token: it needs no place
--   close(intent, id, value, settled)   -> true: its outcome is known, and the caller gets this
--       value; with an id, that is its own from now on; false: it is another call's already.
--       settled: long after the call; whoever asks once more is told the same
--   open(intent)                 its outcome is unknown, and its caller knows that
--   abandon(intent)              the same, but its caller will never know: it was torn
--   known(place, ids, now, id, all)   -> { owned = set of those of the ids that have another owner
--       than the intent with this id, open = { { intent, live, told, age }, ... } }; live: somebody
--       is at it; told: its caller knows that its outcome is open. all: also those of which nothing
--       will come any more
--
-- `overlaps`: calls that can't be mistaken for each other may be under way at once even where they
-- are the same: see settle.note.

local pulse = require "billhook.host.pulse"

local M = {}

-- So many ids keep their owner: those of the newest calls are the ones that could be mistaken.
local CLAIMS = 10000

--- A request that was lost so many seconds ago comes to nothing any more.
M.OPEN_FOR = 3600

--- What can't be looked up is not repeated within this time.
M.BLIND_FOR = 86400

-- A coroutine that nobody will resume is only known to be gone when it was collected: so often is
-- that asked for while somebody waits for its place, in seconds.
local COLLECT = 1

local memory = { signs = pulse.memory }
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

-- The coroutine that calls, where it can be known what becomes of it.
local function thread()
  local running, is_main = coroutine.running()
  return not is_main and not pulse.in_nginx() and running or nil
end

-- A place in use. Its thread must be free to be collected.
local function new_token(lease, now, longest)
  local running = thread()
  return setmetatable({ till = now + lease, most = now + (longest or lease), began = now,
    seen = now, threaded = running ~= nil, thread = running }, { __mode = "v" })
end

-- Is it certain that whoever took it will not come back?
local function is_gone(token)
  return token.threaded and (token.thread == nil or coroutine.status(token.thread) == "dead")
end

local function is_held(token, now)
  return token ~= nil and token.till > now and not is_gone(token)
end

function memory:enter(place, lease, now, longest, last)
  local busy = self.busy[place]
  if is_held(busy, now) and busy.threaded and (last or now - busy.seen >= COLLECT) then
    busy.seen = now
    collectgarbage()
  end
  if is_held(busy, now) then
    return false
  end
  self.busy[place] = new_token(lease, now, longest)
  return self.busy[place]
end

function memory:renew(place, token, lease, now)
  if self.busy[place] ~= token then
    return false
  end
  token.till = now + lease
  return true
end

function memory:holder(place, now)
  local busy = self.busy[place]
  return is_held(busy, now)
    and { left = busy.till - now, longest = busy.most - now, age = now - busy.began } or nil
end

function memory:leave(place, token)
  if self.busy[place] == token then
    self.busy[place] = nil
  end
end

local function forget(self, intent)
  local all = self.intents[intent.place] or {}
  for i = #all, 1, -1 do
    if all[i].intent.id == intent.id then
      table.remove(all, i)
    end
  end
  self.intents[intent.place] = #all > 0 and all or nil
end

-- What was open for so long is not looked at any more.
local function sweep(self, place, now)
  for i = #(self.intents[place] or {}), 1, -1 do
    if now - self.intents[place][i].intent.sent_at > M.BLIND_FOR then
      table.remove(self.intents[place], i)
    end
  end
end

function memory:begin(intent, token)
  if token and self.busy[intent.place] ~= token then
    return false
  end
  forget(self, intent)
  self.intents[intent.place] = self.intents[intent.place] or {}
  sweep(self, intent.place, intent.sent_at)
  table.insert(self.intents[intent.place], { intent = intent })
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

function memory:open(intent)
  for _, one in ipairs(self.intents[intent.place] or {}) do
    one.told = one.told or one.intent.id == intent.id
  end
  return true
end

function memory:abandon() -- luacheck: ignore 212/self
  return true
end

function memory:known(place, ids, now, asking, all)
  local owned, open = {}, {}
  for _, id in ipairs(ids) do
    local owner = self.owned[place .. " " .. id]
    owned[id] = owner ~= nil and owner ~= asking or nil
  end
  for _, one in ipairs(self.intents[place] or {}) do
    local age = now - (one.intent.sent_at or now)
    if age <= (all and M.BLIND_FOR or M.OPEN_FOR) then
      open[#open + 1] = { intent = one.intent, age = age, live = false, told = one.told }
    end
  end
  return { owned = owned, open = open }
end

return M

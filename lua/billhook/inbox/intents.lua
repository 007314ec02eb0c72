-- inbox/intents.lua: calls that must not happen twice, written down before they are sent. What
-- ledger.lua keeps in an inbox, so that a crash in between is found out about.
--
--   enter(account, place, token, lease) -> true, or false: somebody is in this place
--   stay(account, place, token, lease)  -> true: in it for so long from now; false: it is lost
--   holder(account, place)              -> { left = seconds until its lease ends }, or nothing
--   leave(account, place, token)        -> true
--   intend(intent, token, lease)        -> true: durable; false: the place was lost meanwhile
--       intent = { id, account, place, body }; token nil: a call that needs no place
--   outcome(id, how)                    -> true; false: the id that it claims has another owner
--       how = { account, place, claim }: it is known, and the intent is gone; with `state` it
--       stays: "open", its caller was told that it is unknown; "done", with a result that is kept
--       for `keep` seconds, and perhaps another body
--   abandon(id)                         -> true: nobody is at it any more, nor knows what became
--       of it
--   known(account, place, ids)          -> { owned = ids of these that have an owner, open = rows
--       { body, result, age (seconds), live } }; live: a process is at it
--   orphans(account, lease)             -> rows whose process is gone, now this one's to settle
--
-- A lease ends by the store's clock; that of a process which is known to be gone ends at once.

local clock = require "billhook.inbox.clock"
local owner = require "billhook.inbox.owner"

local M = {}

-- So many ms an id keeps its owner, and is an intent kept of which nobody ever knew.
local KEEP = 30 * 86400000

local Intents = {}

local function millis(seconds) return math.floor(seconds * 1000) end

-- Is the process of this row still at it?
local function live(self, row, now)
  return row.owner ~= nil and row.till > now and not self.dialect.departed(row.owner)
end

-- --- places ---------------------------------------------------------------------

local PLACE = "SELECT token, owner, till FROM places WHERE account = $1 AND place = $2"

function Intents:enter(account, place, token, lease)
  local seen, why = self:read(function(query, now, noted)
    local row = query(PLACE, account, place)[1]
    return { busy = row ~= nil and live(self, row, now) and not clock.jumped(now, noted) }
  end)
  if not seen then return nil, why end
  if seen.busy then return false end -- without a write: many may be waiting
  return self:write(function(query, now)
    query("INSERT INTO places (account, place, token, till) VALUES ($1, $2, '', 0) "
      .. "ON CONFLICT DO NOTHING", account, place)
    local row = query(self.dialect.locking(PLACE), account, place)[1]
    if not row or live(self, row, now) then return false end
    query("UPDATE places SET token = $1, owner = $2, till = $3 WHERE account = $4 AND place = $5",
      token, owner.name(), now + millis(lease), account, place)
    return true
  end)
end

function Intents:stay(account, place, token, lease)
  return self:write(function(query, now)
    local _, changed = query("UPDATE places SET till = $1 WHERE account = $2 AND place = $3 "
      .. "AND token = $4", now + millis(lease), account, place, token)
    return changed > 0
  end)
end

function Intents:holder(account, place)
  local seen, why = self:read(function(query, now)
    local row = query(PLACE, account, place)[1]
    return { row and live(self, row, now) and { left = (row.till - now) / 1000 } or nil }
  end)
  return seen and seen[1], why
end

function Intents:leave(account, place, token)
  return self:write(function(query)
    query("DELETE FROM places WHERE account = $1 AND place = $2 AND token = $3", account, place,
      token)
    return true
  end)
end

-- --- intents --------------------------------------------------------------------

local function sweep(query, now)
  query("DELETE FROM claims WHERE made_at < $1", now - KEEP)
  query("DELETE FROM intents WHERE sent_at < $1", now - KEEP)
  query("DELETE FROM intents WHERE state = 'done' AND till < $1", now)
end

function Intents:intend(intent, token, lease)
  return self:write(function(query, now)
    local row = token and query(self.dialect.locking(PLACE), intent.account, intent.place)[1]
    if token and (not row or row.token ~= token) then return false end
    sweep(query, now)
    query("INSERT INTO intents (id, account, place, state, owner, till, sent_at, body) "
      .. "VALUES ($1, $2, $3, 'open', $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET "
      .. "state = 'open', owner = excluded.owner, till = excluded.till, "
      .. "sent_at = excluded.sent_at, body = excluded.body, result = NULL", intent.id,
      intent.account, intent.place, owner.name(), now + millis(lease), now, intent.body)
    return true
  end)
end

local CLAIM = "INSERT INTO claims (account, place, id, made_at) VALUES ($1, $2, $3, $4) "
  .. "ON CONFLICT DO NOTHING"

function Intents:outcome(id, how)
  return self:write(function(query, now)
    if how.claim then
      local _, made = query(CLAIM, how.account, how.place, how.claim, now)
      if made == 0 then return false end
    end
    if how.state then
      query("UPDATE intents SET state = $1, owner = NULL, till = $2, result = $3, "
        .. "body = COALESCE($4, body) WHERE id = $5", how.state, now + millis(how.keep or 0),
        how.result, how.body, id)
    else
      query("DELETE FROM intents WHERE id = $1", id)
    end
    return true
  end)
end

function Intents:abandon(id)
  return self:write(function(query, now)
    query("UPDATE intents SET till = $1 WHERE id = $2 AND state = 'open'", now, id)
    return true
  end)
end

local function plain(self, row, now)
  return { body = row.body, result = row.result, age = math.max(0, now - row.sent_at) / 1000,
    live = row.state == "open" and live(self, row, now) }
end

function Intents:known(account, place, ids)
  return self:read(function(query, now)
    local owned, open = {}, {}
    for _, id in ipairs(ids) do
      if query("SELECT 1 AS one FROM claims WHERE account = $1 AND place = $2 AND id = $3", account,
        place, id)[1] then owned[#owned + 1] = id end
    end
    for _, row in ipairs(query("SELECT * FROM intents WHERE account = $1 AND place = $2 "
      .. "ORDER BY sent_at, id", account, place)) do
      if row.state ~= "done" or row.till > now then open[#open + 1] = plain(self, row, now) end
    end
    return { owned = owned, open = open }
  end)
end

-- "lost": known to be nobody's, and being settled by its owner.
local ORPHANS = "SELECT * FROM intents WHERE account = $1 AND state IN ('open', 'lost') "
  .. "AND owner IS NOT NULL ORDER BY sent_at, id"

function Intents:orphans(account, lease)
  local function lost(query, now)
    local found = {}
    for _, row in ipairs(query(ORPHANS, account)) do
      if not live(self, row, now) then found[#found + 1] = row end
    end
    return found
  end
  local some, why = self:read(function(query, now, noted)
    return clock.jumped(now, noted) and { true } or lost(query, now)
  end)
  if not some or #some == 0 then return some, why end
  return self:write(function(query, now)
    local found = lost(function(text, ...) return query(self.dialect.locking(text), ...) end, now)
    for i, row in ipairs(found) do
      row.state = "lost"
      -- what is still unknown after a long time is asked for less and less often
      query("UPDATE intents SET state = 'lost', owner = $1, till = $2 WHERE id = $3", owner.name(),
        now + math.max(millis(lease), math.floor((now - row.sent_at) / 4)), row.id)
      found[i] = plain(self, row, now)
    end
    return found
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Intents) do Store[name] = method end
end

return M

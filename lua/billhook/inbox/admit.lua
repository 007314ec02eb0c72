-- inbox/admit.lua: taking events in, each id once.
--
-- An id that is known is a duplicate, whatever the bytes around its content.
-- With another content it is contested: one such body is kept as evidence. A
-- body of higher trust takes the place of a lower one. What was asked for at
-- the API is spelt in another way than what was sent, so the two are not
-- compared: the API's simply counts.

local M = {}

local Admit = {}

local TRUST = { sender = 1, id = 2, body = 3, api = 4 }

local KNOWN = "SELECT seq, digest, trust, source FROM events WHERE account = $1 AND id = $2"
local KEYED = "SELECT seq, digest, trust, source FROM events WHERE account = $1 AND key = $2"

local LANE = "SELECT lane, due, owner FROM lanes WHERE account = $1 AND name = $2"

local NEW_LANE = "INSERT INTO lanes (lane, account, name, due) VALUES ($1, $2, $3, $4) "
  .. "ON CONFLICT DO NOTHING"

local EVENT = [[
INSERT INTO events (seq, account, id, key, lane, open, state, left_over, source, vendor, type,
  native, invoice, tenant, live, trust, digest, occurred_at, received_at, rules, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
  $21) ON CONFLICT DO NOTHING]]

---The lane of an event, made where there is none. `due`: from then on there is something to do in
---it. A lane that somebody holds is left alone: its release looks for what has come.
---For this folder only.
function M.lane(self, query, event, seq, due)
  local account, name = event.account, event.invoice or "#" .. event.id
  local row = query(self.dialect.locking(LANE), account, name)[1]
  if not row then
    local _, made = query(NEW_LANE, seq, account, name, due)
    if made == 1 then return seq end
    return M.lane(self, query, event, seq, due) -- another transaction was quicker
  end
  if due and not row.owner and (not row.due or row.due > due) then
    query("UPDATE lanes SET due = $1 WHERE lane = $2", due, row.lane)
  end
  return row.lane
end

local function millis(seconds) return seconds and math.floor(seconds * 1000) end

local function evidence(query, seq, event, now)
  query("INSERT INTO evidence (seq, digest, body, trust, received_at) VALUES ($1, $2, $3, $4, $5) "
    .. "ON CONFLICT DO NOTHING", seq, event.digest, event.body, event.trust, now)
end

-- What is better proven replaces what is there; where they differ, the old body is the evidence.
local function supersede(query, old, event, now, differs)
  local body = query("SELECT body FROM bodies WHERE seq = $1", old.seq)[1]
  if not body then return end
  if differs then
    evidence(query, old.seq, { digest = old.digest, trust = old.trust, body = body.body }, now)
  end
  query("UPDATE bodies SET body = $1, under = $2 WHERE seq = $3", event.body,
    event.under and 1 or 0, old.seq)
  query("UPDATE events SET source = $1, trust = $2, digest = $3, tenant = $4, occurred_at = $5 "
    .. "WHERE seq = $6", event.source, event.trust, event.digest, event.tenant,
    millis(event.occurred_at), old.seq)
end

local function again(query, old, event, now)
  local differs = old.digest ~= event.digest and old.source == event.source
  if (TRUST[event.trust] or 0) > (TRUST[old.trust] or 0) then
    supersede(query, old, event, now, differs)
  elseif differs then
    evidence(query, old.seq, event, now)
  end
  if not differs then return "duplicate" end
  query("UPDATE events SET contested = contested + 1 WHERE seq = $1", old.seq)
  return "contested"
end

local function state_of(event, rules)
  if event.reason then return "bad" end
  return #rules > 0 and "pending" or "unhandled"
end

local function insert(self, query, event, as, now, numbers)
  local state = state_of(event, as.rules)
  local open = state ~= "unhandled"
  local seq = numbers()
  local lane = (open or event.invoice) and M.lane(self, query, event, seq, open and now or nil)
  local _, made = query(EVENT, seq, event.account, event.id, as.key, lane or nil, open and 1 or 0,
    state, #as.rules, event.source, event.vendor, as.type, event.native, event.invoice,
    event.tenant, event.live and 1 or 0, event.trust, event.digest, millis(event.occurred_at), now,
    table.concat(as.rules, "\n"), event.reason or event.note)
  if made == 0 then return false end -- another transaction was quicker
  query("INSERT INTO bodies (seq, body, under) VALUES ($1, $2, $3)", seq, event.body,
    event.under and 1 or 0)
  return true
end

local function admit(self, query, event, now, numbers)
  local old = query(KNOWN, event.account, event.id)[1]
  if old then return again(query, old, event, now) end
  local as = event
  old = event.key and query(KEYED, event.account, event.key)[1]
  if old and not event.again then return again(query, old, event, now) end
  if old then as = event.again end
  if insert(self, query, event, as, now, numbers) then return "admitted" end
  return admit(self, query, event, now, numbers)
end

function Admit:admit(events)
  return self:write(function(query, now)
    local results, numbers = {}, self.dialect.numbers(query)
    for i, event in ipairs(events) do results[i] = admit(self, query, event, now, numbers) end
    return results
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Admit) do Store[name] = method end
end

return M

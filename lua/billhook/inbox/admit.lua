-- inbox/admit.lua: taking events in, each id once.
--
-- An id that is known is a duplicate, whatever the bytes around its content.
-- With another content it is contested: one such body is kept as evidence. A
-- body of higher trust takes the place of a lower one. What was asked for at
-- the API is spelt in another way than what was sent, so the two are not
-- compared: the API's simply counts.

local counters = require "billhook.inbox.counters"
local rows = require "billhook.inbox.rows"

local M = {}

local Admit = {}

local TRUST = { sender = 1, id = 2, body = 3, api = 4 }

local OLD = "SELECT seq, digest, trust, source, contested FROM events WHERE account = $1 AND "
local KNOWN, KEYED = OLD .. "id = $2", OLD .. "key = $2"

local LANE = "SELECT lane, due, owner FROM lanes WHERE account = $1 AND name = $2"

local NEW_LANE = "INSERT INTO lanes (lane, account, name, due) VALUES ($1, $2, $3, $4) "
  .. "ON CONFLICT DO NOTHING"

local EVENT = [[
INSERT INTO events (seq, lane, account, id, key, open, state, left_over, source, vendor, type,
  native, invoice, tenant, live, trust, digest, occurred_at, received_at, rules, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
  $21) ON CONFLICT DO NOTHING]]

-- A single event has a lane of its own, and so has what is said of an invoice by anybody.
local function lane_name(event)
  if not event.invoice then return "#" .. event.id end
  return event.unproven and rows.hearsay_of(event.invoice) or event.invoice
end

---The lane of an event, made where there is none. `due`: from then on there is something to do in
---it. A lane that somebody holds is left alone: its release looks for what has come.
---For this folder only.
function M.lane(self, query, event, seq, due)
  local account, name = event.account, lane_name(event)
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
  return "contested", old.contested == 0
end

local function state_of(event, rules)
  if event.reason then return "bad" end
  return #rules > 0 and "pending" or "unhandled"
end

local unpack = table.unpack or rawget(_G, "unpack")
local COLUMNS = 19 -- of EVENT, behind seq and lane

-- the state that an event was last described with
local became = setmetatable({}, { __mode = "k" })

-- The columns of a new event, and the lane that it belongs to, if any.
local function describe(event, as, now)
  local state = state_of(event, as.rules)
  became[event] = state
  local open = state ~= "unhandled"
  local lane = (open or event.invoice)
    and { account = event.account, name = lane_name(event), due = open and now or nil } or nil
  return { event.account, event.id, as.key, open and 1 or 0, state, #as.rules, event.source,
    event.vendor, as.type, event.native, event.invoice, event.tenant, event.live and 1 or 0,
    event.trust, event.digest, millis(event.occurred_at), now, table.concat(as.rules, "\n"),
    event.reason or event.note }, lane
end

local function insert(self, query, event, as, now, numbers)
  local columns, lane = describe(event, as, now)
  local seq = numbers()
  lane = lane and M.lane(self, query, event, seq, lane.due)
  local _, made = query(EVENT, seq, lane, unpack(columns, 1, COLUMNS))
  if made == 0 then -- it is known; or another transaction was quicker
    if lane == seq then query("DELETE FROM lanes WHERE lane = $1", seq) end
    return false
  end
  query("INSERT INTO bodies (seq, body, under) VALUES ($1, $2, $3)", seq, event.body,
    event.under and 1 or 0)
  return true
end

local VOID = [[
UPDATE events SET key = NULL WHERE seq = $1 AND state = 'dead'
  AND lane IN (SELECT lane FROM lanes WHERE account = $2 AND name = $3)
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.seq = events.seq AND m.state = 'done')]]

-- The event that has a key already. What nobody has confirmed and no rule has got through does not
-- keep it: the true news may come after the forged.
local function holder(query, event)
  local old = event.key and query(KEYED, event.account, event.key)[1]
  if not old or not event.invoice then return old end
  local _, void = query(VOID, old.seq, event.account, rows.hearsay_of(event.invoice))
  if void == 0 then return old end
end

local function admit(self, query, event, now, numbers)
  local old = query(KNOWN, event.account, event.id)[1]
  if old then return again(query, old, event, now) end
  local as = event
  old = holder(query, event)
  if old and not event.again then return again(query, old, event, now) end
  if old then as = event.again end
  if insert(self, query, event, as, now, numbers) then return "admitted" end
  return admit(self, query, event, now, numbers)
end

-- Counts what has become of an event.
local function count(tally, event, result, first)
  tally:add("delivery " .. result .. " " .. event.account, 1)
  if result == "admitted" then
    tally:add("event " .. event.account, 1)
    tally:state(event.account, became[event], 1)
  end
  if first then tally:add("contested " .. event.account, 1) end
end

-- A dialect may have admitted what is new already. The rest goes in the order of ids, in which
-- others wait for them too, under the numbers that it was given.
local function admit_rest(self, query, events, now, results, tally)
  local admitted, given = self.dialect.ahead(query, events, now, describe)
  local rest = {}
  for i, event in ipairs(events) do
    if admitted[i] then
      results[i] = "admitted"
      count(tally, event, "admitted")
    else
      rest[#rest + 1] = i
    end
  end
  table.sort(rest, function(i, j)
    local a, b = events[i], events[j]
    if a.account ~= b.account then return a.account < b.account end
    return a.id < b.id or a.id == b.id and i < j
  end)
  local numbers = self.dialect.numbers(query)
  for _, i in ipairs(rest) do
    local function number() return given[i] or numbers() end
    local first
    results[i], first = admit(self, query, events[i], now, number)
    count(tally, events[i], results[i], first)
  end
end

function Admit:admit(events)
  return self:write(function(query, now)
    local results, tally = {}, counters.tally()
    if self.dialect.ahead then
      admit_rest(self, query, events, now, results, tally)
    else
      local numbers = self.dialect.numbers(query)
      for i, event in ipairs(events) do
        local result, first = "admitted", nil
        -- most are new; what is not, the indexes tell
        if not insert(self, query, event, event, now, numbers) then
          result, first = admit(self, query, event, now, numbers)
        end
        results[i] = result
        count(tally, event, result, first)
      end
    end
    tally:write(self.dialect, query)
    return results
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Admit) do Store[name] = method end
end

return M

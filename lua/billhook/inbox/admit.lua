-- inbox/admit.lua: taking events in, each id once. What becomes of one that is
-- known already, known.lua says.

local counters = require "billhook.inbox.counters"
local known = require "billhook.inbox.known"
local rows = require "billhook.inbox.rows"

local M = {}

local Admit = {}

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

local function state_of(event, rules)
  if event.reason then return "bad" end
  return #rules > 0 and "pending" or "unhandled"
end

local unpack = table.unpack or rawget(_G, "unpack")
local COLUMNS = 19 -- of EVENT, behind seq and lane

-- The columns of a new event, and the lane that it belongs to, if any. What it was last described
-- as, itself or its `again`, is noted in the job.
local function describe(job, event, as)
  local state, now = state_of(event, as.rules), job.now
  job.became[event] = as
  local open = state ~= "unhandled"
  local lane = (open or event.invoice)
    and { account = event.account, name = lane_name(event), due = open and now or nil } or nil
  return { event.account, event.id, as.key, open and 1 or 0, state, #as.rules, event.source,
    event.vendor, as.type, event.native, event.invoice, event.tenant, event.live and 1 or 0,
    event.trust, event.digest, rows.millis(event.occurred_at), now, table.concat(as.rules, "\n"),
    event.reason or event.note }, lane
end

-- One event more.
local function count(job, event)
  job.tally:add("event " .. event.account, 1)
  job.tally:state(event.account, state_of(event, job.became[event].rules), 1)
end

-- The number that it is kept under; nil where its id or key is taken.
local function insert(job, event, as)
  local query = job.query
  local columns, lane = describe(job, event, as)
  local seq = job.numbers()
  lane = lane and M.lane(job.store, query, event, seq, lane.due)
  local _, made = query(EVENT, seq, lane, unpack(columns, 1, COLUMNS))
  if made == 0 then -- it is known; or another transaction was quicker
    if lane == seq then query(rows.DROP_EMPTY, seq, seq) end
    return nil
  end
  query("INSERT INTO bodies (seq, body, under) VALUES ($1, $2, $3)", seq, event.body,
    event.under and 1 or 0)
  count(job, event)
  return seq
end

local VOID = [[
UPDATE events SET key = NULL WHERE seq = $1 AND state = 'dead'
  AND lane IN (SELECT lane FROM lanes WHERE account = $2 AND name = $3)
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.seq = events.seq AND m.state = 'done')]]

-- The event that has a key already. What nobody has confirmed and no rule has got through does not
-- keep it: the true news may come after the forged. Where nobody can be asked, that is in the
-- invoice's lane.
local function holder(query, event)
  local old = event.key and query(known.BY_KEY, event.account, event.key)[1]
  if not old or not event.invoice then return old end
  local hearsay = event.unproven or known.proven(event)
  local _, void = query(VOID, old.seq, event.account,
    hearsay and rows.hearsay_of(event.invoice) or event.invoice)
  if void == 0 then return old end
end

-- As an event of its own, where its id is not taken: its number, and whether as its `again`.
local function fresh(job, event)
  local old = holder(job.query, event)
  local taken = old and not known.yields(job, old, event) and event.again or nil
  return insert(job, event, taken or event), taken ~= nil
end

local function admit(job, event)
  local old = job.query(known.BY_ID, event.account, event.id)[1]
  if not old and not event.again then old = holder(job.query, event) end
  if old then return known.take(job, old, event) or admit(job, event) end
  local seq, again = fresh(job, event)
  if not seq then return admit(job, event) end
  return again and "admitted again" or "admitted"
end

-- The dialect admits what is new, all at once. The rest goes in the order of ids, in which
-- others wait for them too, under the numbers that it was given.
local function admit_all(job, events, results)
  local admitted, given = job.store.dialect.ahead(job.query, events, job.now,
    function(event, as) return describe(job, event, as) end, job.numbers)
  local rest = {}
  for i, event in ipairs(events) do
    if admitted[i] then
      results[i] = job.became[event] == event and "admitted" or "admitted again"
      count(job, event)
    else
      rest[#rest + 1] = i
    end
  end
  table.sort(rest, function(i, j)
    local a, b = events[i], events[j]
    if a.account ~= b.account then return a.account < b.account end
    return a.id < b.id or a.id == b.id and i < j
  end)
  local numbers = job.numbers
  for _, i in ipairs(rest) do
    function job.numbers() return given[i] or numbers() end
    results[i] = admit(job, events[i])
  end
end

-- What a transaction of admissions works with; known.lua takes it too.
local function job_of(store, query, now)
  local job = { store = store, query = query, now = now, tally = counters.tally(),
    became = {},
    numbers = store.dialect.numbers(query), locking = store.dialect.locking }
  function job.insert(event) return fresh(job, event) end
  return job
end

-- the counter that a result goes to
local COUNTED = { admitted = "delivery admitted ", ["admitted again"] = "delivery admitted ",
  duplicate = "delivery duplicate ", contested = "delivery contested ",
  ["contested new"] = "delivery contested ", ["contested again"] = "delivery contested ",
  crowded = "delivery crowded " }

function Admit:admit(events)
  return self:write(function(query, now)
    local results, job = {}, job_of(self, query, now)
    admit_all(job, events, results)
    for i, event in ipairs(events) do
      job.tally:add(COUNTED[results[i]] .. event.account, 1)
    end
    job.tally:write(self.dialect, query)
    return results
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Admit) do Store[name] = method end
end

return M

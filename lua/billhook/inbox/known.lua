-- inbox/known.lua: what becomes of a delivery whose id, or key, is known already.
--
-- The same news is a duplicate, whatever the bytes around its content. With
-- another content it is contested: one such body is kept as evidence. A body of
-- higher trust takes the place of a lower one. What was asked for at the API is
-- spelt in another way than what was sent, so the two are not compared: the
-- API's simply counts.
--
-- Other news under the same id, that is another type or invoice: where nothing
-- proves what is kept, either may be the vendor's. So both are kept, the later
-- as an event of its own, ID~2, ID~3 and so on; a redelivery of either is a
-- duplicate of it. (No id whose content nothing proves has a "~" in it.) There
-- are few of them an id: who has seen one delivery can make any number. What
-- goes beyond is not kept, and is not said to be.
--
-- What the API says counts at once: where no rule has seen the other, it takes
-- its place, lane and rules included.

local rows = require "billhook.inbox.rows"

local M = {}

local OTHERS = 4 -- further events an id, for all that anybody has said of it

local TRUST = { sender = 1, id = 2, body = 3, api = 4 }

local function trust(row) return TRUST[row.trust] or 0 end

local COLUMNS = "SELECT seq, id, lane, type, native, invoice, live, rules, digest, trust, source "
  .. "FROM events WHERE account = $1 AND "

M.BY_ID = COLUMNS .. "id = $2"
M.BY_KEY = COLUMNS .. "key = $2"
local BY_SEQ = COLUMNS .. "seq = $2"
local BY_PREFIX = COLUMNS .. "id > $2 AND id < $3 ORDER BY id"

local EVIDENCE = "INSERT INTO evidence (seq, digest, body, trust, received_at) "
  .. "VALUES ($1, $2, $3, $4, $5) ON CONFLICT "

local function evidence(job, seq, kept)
  job.query(EVIDENCE .. "DO NOTHING", seq, kept.digest, kept.body, kept.trust, job.now)
end

local LAST = EVIDENCE .. "(seq) DO UPDATE SET digest = excluded.digest, body = excluded.body, "
  .. "trust = excluded.trust, received_at = excluded.received_at"

local CONTEST = "UPDATE events SET contested = contested + 1 WHERE seq = $1 RETURNING contested"

local function contest(job, account, seq)
  if job.query(CONTEST, seq)[1].contested == 1 then job.tally:add("contested " .. account, 1) end
end

local function proven(row) return trust(row) >= TRUST.body end
M.proven = proven

-- --- the same news --------------------------------------------------------------

-- What is better proven replaces what is there; where they differ, the old body is the evidence.
local function supersede(job, old, event, contested)
  local query = job.query
  local body = query("SELECT body FROM bodies WHERE seq = $1", old.seq)[1]
  if not body then return end
  if contested then
    evidence(job, old.seq, { digest = old.digest, trust = old.trust, body = body.body })
  end
  query("UPDATE bodies SET body = $1, under = $2 WHERE seq = $3", event.body,
    event.under and 1 or 0, old.seq)
  query("UPDATE events SET source = $1, trust = $2, digest = $3, tenant = $4, occurred_at = $5 "
    .. "WHERE seq = $6", event.source, event.trust, event.digest, event.tenant,
    rows.millis(event.occurred_at), old.seq)
end

local function differs(old, event)
  return old.digest ~= event.digest and old.source == event.source
end

-- `other`: it is about something else than what is kept.
local function same(job, old, event, other)
  local contested = other or differs(old, event)
  if trust(event) > trust(old) and not other then
    supersede(job, old, event, contested)
  elseif contested then
    evidence(job, old.seq, event)
  end
  if not contested then return "duplicate" end
  contest(job, event.account, old.seq)
  return "contested"
end

-- --- other news -------------------------------------------------------------------

-- What is spelt in another way, by a poll perhaps, is the same where it is of the same type and for
-- the same rules.
local function same_news(row, event)
  if row.invoice ~= event.invoice or row.live ~= (event.live and 1 or 0) then return false end
  return row.native == event.native or event.type ~= "unknown" and row.type == event.type
    and row.rules == table.concat(event.rules, "\n")
end

-- Takes an event back of which no rule has seen anything; false where one may have.
local WITHDRAW = [[
DELETE FROM events WHERE seq = $1 AND (open = 1 OR state = 'unhandled')
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.seq = events.seq) RETURNING state, contested]]

-- A rule may be running, where somebody holds the lane.
local function held(job, old)
  local lane = old.lane
    and job.query(job.locking("SELECT owner FROM lanes WHERE lane = $1"), old.lane)[1]
  return lane ~= nil and lane.owner ~= nil
end

local function withdraw(job, account, old)
  local query = job.query
  if held(job, old) then return false end
  local row = query(WITHDRAW, old.seq)[1]
  if not row then return false end
  query("DELETE FROM lanes WHERE lane = $1 AND name = $2", old.lane, "#" .. old.id)
  job.tally:add("event " .. account, -1)
  job.tally:state(account, row.state, -1)
  local body = query("DELETE FROM bodies WHERE seq = $1 RETURNING body", old.seq)[1]
  return { contested = row.contested, body = body and body.body }
end

-- An event under another id, perhaps; its key may be another's.
local function under(id, event)
  local again = event.again or { type = event.type, rules = event.rules }
  return setmetatable({ id = id, again = again }, { __index = event })
end

-- What is proven in the place of what somebody has said.
local function replace(job, old, event)
  local taken = withdraw(job, event.account, old)
  if not taken then return nil end
  local seq, again
  repeat seq, again = job.insert(under(event.id, event)) until seq
  job.query("UPDATE evidence SET seq = $1 WHERE seq = $2", seq, old.seq)
  if taken.body then
    evidence(job, seq, { digest = old.digest, trust = old.trust, body = taken.body })
  end
  job.query("UPDATE events SET contested = $1 WHERE seq = $2", taken.contested, seq)
  contest(job, event.account, seq)
  return again and "contested again" or "contested new"
end

-- An event of its own, beside what is kept.
local function another(job, old, event, others, tries)
  if #others >= OTHERS and not proven(event) then
    job.query(LAST, old.seq, event.digest, event.body, event.trust, job.now)
    contest(job, event.account, old.seq)
    return "crowded"
  end
  local id = ("%s~%d"):format(event.id, #others + 1 + tries)
  local seq, again = job.insert(under(id, event))
  if not seq then return nil end
  contest(job, event.account, old.seq)
  contest(job, event.account, seq)
  return again and "contested again" or "contested new"
end

---What becomes of a delivery of other news under an id that is known.
local function differing(job, old, event)
  local tries = 0
  while true do
    tries = tries + 1
    local others = job.query(BY_PREFIX, event.account, event.id .. "~", event.id .. "\127")
    for _, one in ipairs(others) do
      if same_news(one, event) then return same(job, one, event) end
    end
    local result = proven(event) and replace(job, old, event)
      or another(job, old, event, others, tries)
    if result then return result end -- else another transaction was quicker
  end
end

local YIELD = [[
UPDATE events SET key = NULL, type = $1, rules = $2, left_over = $3, state = $4, open = $5
WHERE seq = $6 AND open = 1 AND state = 'pending'
  AND NOT EXISTS (SELECT 1 FROM marks m WHERE m.seq = events.seq)]]

---What is proven is the first of its name, whatever somebody has said before: where no rule has
---seen that, it becomes what it would have been behind this one. Is the key free then?
---@param old table a row by BY_KEY
---@return boolean
function M.yields(job, old, event)
  if not proven(event) or proven(old) or not event.again or held(job, old) then return false end
  local rules = event.again.rules
  local state = #rules > 0 and "pending" or "unhandled"
  local _, yielded = job.query(YIELD, event.again.type, table.concat(rules, "\n"), #rules, state,
    #rules > 0 and 1 or 0, old.seq)
  if yielded == 1 then job.tally:state(event.account, state, 1) end
  return yielded == 1
end

---@param job table { query, now, tally, locking, insert = fun(event): seq, again; nil: is there }
---@param old table a row by BY_ID or BY_KEY
---@param event table
---@return string|nil result nil: it is not there any more
function M.take(job, old, event)
  local news = old.id ~= event.id or same_news(old, event)
  if news and not differs(old, event) and trust(event) <= trust(old) then return "duplicate" end
  -- as it is now, until the end
  old = job.query(job.locking(BY_SEQ), event.account, old.seq)[1]
  if not old then return nil end
  if news then return same(job, old, event) end
  local open = not proven(old) or trust(event) > trust(old)
  if open and not event.reason then return differing(job, old, event) end
  return same(job, old, event, true)
end

return M

-- inbox/known.lua: what becomes of a delivery whose id, or key, is known already.
--
-- The same news is a duplicate, whatever the bytes around its content. With
-- another content it is contested: one such body is kept as evidence. A body of
-- higher trust takes the place of a lower one. What was asked for at the API is
-- spelt in another way than what was sent, so the two are not compared: the
-- API's simply counts.
--
-- Other news under the same id, that is another type or invoice, and, where the
-- API cannot be asked, another content: where nothing proves what is kept, either
-- may be the vendor's. So both are kept, the later as an event of its own, under
-- ID~ and a digest of what it says: a redelivery of either is a duplicate of it.
-- (No id whose content nothing proves has a "~" in it.) Who has seen one delivery
-- can make any number of them. Where the API can be asked, each costs its
-- questions, and no rule runs on it. Where it cannot, rules run on few of an id;
-- further ones are kept as unhandled, for a person to look at.
--
-- What the API says counts at once: where no rule has seen the other, it takes
-- its place, lane and rules included.

local core = require "billhook.core"
local refusal = require "billhook.inbox.refusal"
local rows = require "billhook.inbox.rows"

local M = {}

local OTHERS = 7 -- further events an id that rules run on, where nobody can be asked

local CROWDED = "one too many with other content under this id: no rule runs on it before a person "
  .. "has looked (billhook inbox retry)"

local TRUST = { sender = 1, id = 2, body = 3, api = 4 }

local function trust(row) return TRUST[row.trust] or 0 end

local COLUMNS = "SELECT seq, id, lane, type, native, invoice, live, rules, digest, trust, source "
  .. "FROM events WHERE account = $1 AND "

M.BY_ID = COLUMNS .. "id = $2"
M.BY_KEY = COLUMNS .. "key = $2"
local BY_SEQ = COLUMNS .. "seq = $2"

local BY_PREFIX = ("SELECT COUNT(*) AS n FROM (SELECT 1 FROM events WHERE account = $1 AND id > $2 "
  .. "AND id < $3 LIMIT %d) AS few"):format(OTHERS)

local EVIDENCE = "INSERT INTO evidence (seq, digest, body, trust, received_at) "
  .. "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (seq) DO NOTHING"

local function evidence(job, seq, kept)
  job.query(EVIDENCE, seq, kept.digest, kept.body, kept.trust, job.now)
end

-- once: of a row that is changed again and again in one transaction PostgreSQL reads every version
local CONTEST = "UPDATE events SET contested = 1 WHERE seq = $1 AND contested = 0"

local function contest(job, account, seq)
  local _, new = job.query(CONTEST, seq)
  if new == 1 then job.tally:add("contested " .. account, 1) end
end
M.contest = contest

local function proven(row) return trust(row) >= TRUST.body end
M.proven = proven

-- Does nothing prove what it says, and can nobody be asked?
local function unasked(event) return not proven(event) and not event.unproven end

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
  if unasked(event) and not proven(row) and differs(row, event) then return false end
  return row.native == event.native or event.type ~= "unknown" and row.type == event.type
    and row.rules == table.concat(event.rules, "\n")
end

local function name_of(event, what)
  local parts = { what, event.invoice or "", event.live and "live" or "test",
    unasked(event) and event.digest or "" }
  for i, part in ipairs(parts) do parts[i] = #part .. ":" .. part end
  return event.id .. "~" .. core.text.sha256(table.concat(parts)):sub(1, 32)
end

-- Where among the others of an id it is, or would be: under its type; under the vendor's word for
-- it, where something else of that type is there.
local function place(job, event)
  for _, what in ipairs { event.type ~= "unknown" and event.type or event.native,
    "native " .. event.native } do
    local id = name_of(event, what)
    local one = job.query(M.BY_ID, event.account, id)[1]
    if not one or same_news(one, event) then return id, one end
  end
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

-- One that no rule runs on.
local function kept_only(id, event)
  local fields = { id = id, rules = {}, note = CROWDED }
  for name, value in pairs(event) do
    if name ~= "key" and name ~= "again" and fields[name] == nil then fields[name] = value end
  end
  return fields
end

-- What is proven in the place of what somebody has said.
local function replace(job, old, event)
  local taken = withdraw(job, event.account, old)
  if not taken then return nil end
  local seq, again = job.insert(under(event.id, event))
  if not seq then refusal.crossed() end -- what was withdrawn comes back
  job.query("UPDATE evidence SET seq = $1 WHERE seq = $2", seq, old.seq)
  if taken.body then
    evidence(job, seq, { digest = old.digest, trust = old.trust, body = taken.body })
  end
  if taken.contested > 0 then job.tally:add("contested " .. event.account, -1) end
  contest(job, event.account, seq)
  return again and "contested again" or "contested new"
end

local function crowded(job, event)
  return unasked(event)
    and job.query(BY_PREFIX, event.account, event.id .. "~", event.id .. "\127")[1].n >= OTHERS
end

-- An event of its own, beside what is kept.
local function another(job, old, event, id)
  local much = crowded(job, event)
  local seq, again = job.insert(much and kept_only(id, event) or under(id, event))
  if not seq then return nil end
  contest(job, event.account, old.seq)
  contest(job, event.account, seq)
  return much and "crowded" or again and "contested again" or "contested new"
end

---What becomes of a delivery of other news under an id that is known; nil: another transaction was
---quicker.
local function differing(job, old, event)
  local id, one = place(job, event)
  if one then return same(job, one, event) end
  if not id then return same(job, old, event, true) end
  return proven(event) and replace(job, old, event) or another(job, old, event, id)
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
---@return string|nil result nil: it is not there any more, or another transaction was quicker
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

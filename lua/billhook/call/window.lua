--- A window of slots: what every store of a quota keeps for a key, and what may be asked of it.
--
-- Pure: a store brings the time and keeps the line between two questions, as a table or as text.
-- A slot is taken before a request is sent and is free again one window after its *response*. The
-- server counted the request at some moment between the two, so however it counts (by fixed
-- minutes, or by the last sixty seconds), it never sees more than the limit in one window. A slot
-- that nobody frees, for its process died, is free at the end of its `hold`.
--
-- Who finds no slot gets a ticket and the time to come back at. Tickets are served in their order,
-- those of background calls after all others; one whose owner does not come back in time lapses.
--
-- After a 429 the line is parked. Then a single request goes first, to see whether the server takes
-- requests again: if not, all who waited would have been refused once more.
--
-- Questions are plain tables, and so are the answers; times are seconds from now:
--
--   { ask = "take", need, limit, window, hold, patience, background, kept, ticket }
--       -> { slots = { number, ... } }, or { wait, ticket }: come back then with the ticket, or
--       { late }: none comes free within `patience`, but perhaps after so many seconds. `kept` are
--       slots set aside, for requests that may never be sent.
--   { ask = "spend", slot }              a kept one is used now -> {}, or { wait }: not yet
--   { ask = "free", slots, after, accepted }   the answers are there; without `after` nothing was
--       sent. `accepted`: it was no refusal. -> {}
--   { ask = "park", seconds, window, random }  a 429; seconds may be absent -> { wait }
--   { ask = "look", limit }              -> { left, wait }: wait until the next one comes free

local M = {}

-- A clock that is behind by more than this was set back: all plans go back with it.
local SKEW = 1
-- Longer than so many windows nobody is kept waiting by a server's word alone: whatever it meant,
-- then a single request goes to see. One absurd answer must not lock everybody out for a year.
local PARKED = 60
-- How often to look for slots that may come back at any moment, and how much later than it said a
-- waiter may be: in parts of the window.
local POLL, GRACE = 1 / 240, 1 / 20

--- A line of which nothing is in use.
---@return table
function M.new()
  -- free[first..final] are the times at which used slots come back, in order; away holds what is
  -- under way, by number: { till, kept }
  return { seen = 0, parked = 0, refusals = 0, last = 0, free = {}, first = 1, final = 0,
    away = {}, away_count = 0, kept_count = 0, waits = {} }
end

-- --- time --------------------------------------------------------------------------------------

local function shift(line, by)
  line.parked = line.parked + by
  for i = line.first, line.final do
    line.free[i] = line.free[i] + by
  end
  for _, slot in pairs(line.away) do
    slot.till = slot.till + by
  end
  for _, wait in ipairs(line.waits) do
    wait.till = wait.till + by
  end
end

-- The time as the line sees it: it never steps back.
local function clock(line, now)
  if now < line.seen - SKEW then
    shift(line, now - line.seen)
    line.seen = now
  end
  line.seen = math.max(line.seen, now)
  return line.seen
end

local function remove(line, number)
  local slot = line.away[number]
  if slot then
    line.away[number] = nil
    line.away_count = line.away_count - 1
    line.kept_count = line.kept_count - (slot.kept and 1 or 0)
  end
  return slot
end

-- What has come free meanwhile, and what was lost.
local function drop(line, now)
  while line.first <= line.final and line.free[line.first] <= now do
    line.free[line.first] = nil
    line.first = line.first + 1
  end
  for number, slot in pairs(line.away) do
    if slot.till <= now then
      remove(line, number)
    end
  end
  for i = #line.waits, 1, -1 do
    if line.waits[i].till <= now then
      table.remove(line.waits, i)
    end
  end
end

local function used(line)
  return line.final - line.first + 1 + line.away_count
end

-- --- waiting -----------------------------------------------------------------------------------

local function leave(line, ticket)
  for i, wait in ipairs(line.waits) do
    if wait.ticket == ticket then
      table.remove(line.waits, i)
      return
    end
  end
end

-- How many slots those want who are served before this one.
local function ahead_of(line, question)
  local ahead, ticket = 0, question.ticket or math.huge
  for _, wait in ipairs(line.waits) do
    local earlier = wait.ticket < ticket
    if wait.background then
      earlier = earlier and question.background
    elseif question.background then
      earlier = true
    end
    if earlier then
      ahead = ahead + wait.need
    end
  end
  return ahead
end

-- When the k-th slot from now comes free, at the earliest.
local function coming(line, now, k, window)
  local at = line.free[line.first + k - 1]
  if not at then
    at = now + window -- what is under way comes back a window after its answer
    for _, slot in pairs(line.away) do
      at = math.min(at, slot.till)
    end
  end
  return at - now
end

-- Not now: the answer, with a ticket where it is worth waiting.
local function later(line, now, question, wait, uncertain)
  local poll = question.window * POLL
  local pause = uncertain and math.min(wait, poll) or wait
  if pause >= question.patience then
    leave(line, question.ticket)
    return { late = wait }
  end
  leave(line, question.ticket)
  local ticket = question.ticket
  if not ticket then
    line.last = line.last + 1
    ticket = line.last
  end
  line.waits[#line.waits + 1] = { ticket = ticket, need = question.need,
    background = question.background or nil, till = now + pause + question.window * GRACE }
  return { wait = pause, ticket = ticket }
end

-- --- the questions -----------------------------------------------------------------------------

local asked = {}

local function probing(line)
  return line.refusals > 0 and line.probe and line.away[line.probe]
end

function asked.take(line, now, question)
  if line.parked > now then
    return later(line, now, question, line.parked - now)
  elseif probing(line) then
    return later(line, now, question, question.window * POLL, true)
  end
  local short = ahead_of(line, question) + question.need - (question.limit - used(line))
  if short > 0 then
    return later(line, now, question, coming(line, now, short, question.window),
      line.kept_count > 0)
  end
  leave(line, question.ticket)
  local slots = {}
  for i = 1, question.need do
    line.last = line.last + 1
    line.away[line.last] = { till = now + question.hold, kept = question.kept or nil }
    line.away_count = line.away_count + 1
    line.kept_count = line.kept_count + (question.kept and 1 or 0)
    slots[i] = line.last
  end
  if line.refusals > 0 and not question.kept then
    line.probe = slots[1]
  end
  return { slots = slots }
end

function asked.spend(line, now, question)
  local slot = line.away[question.slot]
  if line.parked > now then
    return { wait = line.parked - now }
  elseif slot and slot.kept then
    slot.kept = nil
    line.kept_count = line.kept_count - 1
  end
  return {}
end

function asked.free(line, now, question)
  for _, number in ipairs(question.slots) do
    if remove(line, number) and question.after then
      local last = line.free[line.final] or 0
      line.final = line.final + 1
      line.free[line.final] = math.max(now + question.after, last)
    end
  end
  if question.accepted then
    line.refusals = 0
  end
  return {}
end

-- Where the server does not say how long: 1 to 2 seconds at first and twice as long each time, for
-- in a window that slides the next slot may come free at any moment, and in a fixed one it does so
-- within a window. What comes back while the line is parked was under way and counts once.
function asked.park(line, now, question)
  local wait = question.seconds and math.min(question.seconds, PARKED * question.window)
  if not wait then
    local most = math.min(question.window, question.window / 30 * 2 ^ line.refusals)
    wait = line.parked > now and line.parked - now or most * (0.5 + 0.5 * question.random)
  end
  if line.parked <= now then
    line.refusals = math.min(line.refusals + 1, 10)
  end
  line.parked = math.max(line.parked, now + wait)
  return { wait = wait }
end

function asked.look(line, now, question)
  if line.parked > now then
    return { left = 0, wait = line.parked - now }
  end
  local at = line.free[line.first]
  return { left = math.max(0, question.limit - used(line)), wait = at and at - now }
end

--- Answers a question, and changes the line.
---@param line table
---@param now number
---@param question table
---@return table answer
function M.answer(line, now, question)
  now = clock(line, now)
  drop(line, now)
  return asked[question.ask](line, now, question)
end

-- --- as text -----------------------------------------------------------------------------------

-- Times are whole milliseconds there; never earlier than they are, but for what multiplying adds.
local function millis(seconds)
  return math.ceil(seconds * 1000 - 0.001)
end

--- The line as text, for stores that are shared.
---@param line table
---@return string
function M.text(line)
  local away, free, waits = {}, {}, {}
  for number, slot in pairs(line.away) do
    away[#away + 1] = { number, millis(slot.till), slot.kept and 1 or 0 }
  end
  for i = line.first, line.final do
    free[#free + 1] = millis(line.free[i])
  end
  for i, wait in ipairs(line.waits) do
    waits[i] = { wait.ticket, millis(wait.till), wait.need, wait.background and 1 or 0 }
  end
  return require("billhook.json").encode { seen = millis(line.seen), parked = millis(line.parked),
    refusals = line.refusals, probe = line.probe, last = line.last, free = free, away = away,
    waits = waits }
end

--- A line from its text; a new one where there is none.
---@param text string?
---@return table
function M.read(text)
  local line = M.new()
  local kept = text and require("billhook.core").json.decode(text)
  if type(kept) ~= "table" then
    return line
  end
  line.seen, line.parked = kept.seen / 1000, kept.parked / 1000
  line.refusals, line.probe, line.last = kept.refusals, kept.probe, kept.last
  line.final = #kept.free
  for i, at in ipairs(kept.free) do
    line.free[i] = at / 1000
  end
  for _, one in ipairs(kept.away) do
    line.away[one[1]] = { till = one[2] / 1000, kept = one[3] == 1 or nil }
    line.away_count = line.away_count + 1
    line.kept_count = line.kept_count + one[3]
  end
  for i, one in ipairs(kept.waits) do
    line.waits[i] = { ticket = one[1], till = one[2] / 1000, need = one[3],
      background = one[4] == 1 or nil }
  end
  return line
end

return M

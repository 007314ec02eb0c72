--- How many requests a key may still send: a window of slots, and a client's view of it.
--
-- The window is a text that only one process changes at a time (shared/init.lua), so all users of
-- the key share it. Its name contains a digest of the key, because others may read the store. The
-- first call of a client decides which store it is; the first of these that applies:
--
--   the option { store = ... }: a table with update(), or the URL of an inbox
--   the inbox of the app that the client is an account of, unless it is in memory
--   in nginx, the dictionary: lua_shared_dict billhook 1m;
--   the memory of the process

local share = require "billhook.shared"

-- --- the window --------------------------------------------------------------------------------

-- A window of slots: what a store keeps for a key, and the questions that it answers.
--
-- Pure functions: the store gives the time, and keeps the state between two questions as text.
-- A slot is taken before a request is sent and is free again one window after its *response*. The
-- server counted the request at some moment between the two, so however it counts (by fixed
-- minutes, or by the last sixty seconds), it never sees more than the limit in one window. A slot
-- that nobody frees, because its process died, is free at the end of its `hold`.
--
-- A caller that finds no slot gets a ticket, and the time at which to ask again. Tickets are served
-- in their order, those of background calls after all others. A ticket expires if its owner does
-- not ask in time.
--
-- After a 429 all callers wait. Then a single request goes first, to find out whether the server
-- accepts requests again; otherwise all that waited would be refused once more.
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

local lines = {}

-- A clock that is behind by more than this was set back: all plans go back with it.
local SKEW = 1
-- For how many windows a Retry-After is obeyed at most; then a single request tries again. One
-- absurd answer must not stop all calls for a year.
local PARKED = 60
-- How often to look for slots that may come back at any moment, and how much later than it said a
-- waiter may be: in parts of the window.
local POLL, GRACE = 1 / 240, 1 / 20

-- Used slots come back in order: their times, in milliseconds, and how many at each, in one text of
-- entries that are all as long, for it is read and written with every request. Above so many
-- entries what comes back within a 256th of the window does so at the end of that.
local ENTRY, WIDTH, MOST, MANY, PART = "%014d%06d", 20, 999999, 512, 256

--- A line of which nothing is in use.
---@return table
function lines.new()
  -- away holds what is under way, by number: { till, kept }
  return { seen = 0, parked = 0, refusals = 0, last = 0, free = "", free_count = 0, away = {},
    waits = {} }
end

-- Times are whole milliseconds as text; never earlier than they are, but for what multiplying adds.
local function millis(seconds) return math.ceil(seconds * 1000 - 0.001) end

-- The time and the number of the entry after `at` bytes; nil where there is none.
local function entry(line, at)
  local free = line.free
  if at >= 0 and at < #free then
    return tonumber(free:sub(at + 1, at + 14)) / 1000, tonumber(free:sub(at + 15, at + WIDTH))
  end
end

-- A slot comes back then.
local function come_back(line, at, window)
  local size = #line.free
  local last, count = entry(line, size - WIDTH)
  at = millis(at)
  if size >= MANY * WIDTH then
    local part = window * 1000 / PART
    at = math.ceil(math.ceil(at / part) * part)
  end
  at = last and math.max(at, millis(last)) or at
  if last and at == millis(last) and count < MOST then
    line.free = line.free:sub(1, size - WIDTH) .. ENTRY:format(at, count + 1)
  else
    line.free = line.free .. ENTRY:format(at, 1)
  end
  line.free_count = line.free_count + 1
end

-- --- time --------------------------------------------------------------------------------------

local function shift(line, by)
  line.parked = line.parked + by
  local entries = {}
  for at = 0, #line.free - WIDTH, WIDTH do
    local time, count = entry(line, at)
    entries[#entries + 1] = ENTRY:format(millis(time + by), count)
  end
  line.free = table.concat(entries)
  for _, slot in pairs(line.away) do slot.till = slot.till + by end
  for _, wait in ipairs(line.waits) do wait.till = wait.till + by end
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

-- What has come free meanwhile, and what was lost.
local function drop(line, now)
  local at = 0
  local time, count = entry(line, at)
  while time and time <= now do
    line.free_count, at = line.free_count - count, at + WIDTH
    time, count = entry(line, at)
  end
  line.free = at > 0 and line.free:sub(at + 1) or line.free
  for number, slot in pairs(line.away) do
    if slot.till <= now then line.away[number] = nil end
  end
  for i = #line.waits, 1, -1 do
    if line.waits[i].till <= now then table.remove(line.waits, i) end
  end
end

-- How many slots are in use, and whether any of them is only set aside.
local function used(line)
  local count, kept = line.free_count, false
  for _, slot in pairs(line.away) do
    count, kept = count + 1, kept or slot.kept
  end
  return count, kept
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
    if earlier then ahead = ahead + wait.need end
  end
  return ahead
end

-- When the k-th slot from now comes free, at the earliest.
local function coming(line, now, k, window)
  local seen = 0
  for at = 0, #line.free - WIDTH, WIDTH do
    local time, count = entry(line, at)
    seen = seen + count
    if seen >= k then return time - now end
  end
  local earliest = now + window -- what is under way comes back a window after its answer
  for _, slot in pairs(line.away) do earliest = math.min(earliest, slot.till) end
  return earliest - now
end

-- Not now: the answer, with a ticket where it is worth waiting.
local function later(line, now, question, wait, uncertain)
  local pause = uncertain and math.min(wait, question.window * POLL) or wait
  leave(line, question.ticket)
  if pause >= question.patience then return { late = wait } end
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

local function probing(line) return line.refusals > 0 and line.probe and line.away[line.probe] end

function asked.take(line, now, question)
  if line.parked > now then
    return later(line, now, question, line.parked - now)
  elseif probing(line) then
    return later(line, now, question, question.window * POLL)
  end
  local count, kept = used(line)
  local short = ahead_of(line, question) + question.need + count - question.limit
  if short > 0 then
    return later(line, now, question, coming(line, now, short, question.window), kept)
  end
  leave(line, question.ticket)
  local slots = {}
  for i = 1, question.need do
    line.last = line.last + 1
    line.away[line.last] = { till = now + question.hold, kept = question.kept or nil }
    slots[i] = line.last
  end
  if line.refusals > 0 and not question.kept then line.probe = slots[1] end
  return { slots = slots }
end

function asked.spend(line, now, question)
  local slot = line.away[question.slot]
  if line.parked > now then
    return { wait = line.parked - now }
  end
  if slot then slot.kept = nil end
  return {}
end

function asked.free(line, now, question)
  for _, number in ipairs(question.slots) do
    local slot = line.away[number]
    line.away[number] = nil
    if slot and question.after then
      come_back(line, now + question.after, question.window)
    end
  end
  if question.accepted then line.refusals = 0 end
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
  if line.parked <= now then line.refusals = math.min(line.refusals + 1, 10) end
  line.parked = math.max(line.parked, now + wait)
  return { wait = wait }
end

function asked.look(line, now, question)
  if line.parked > now then return { left = 0, wait = line.parked - now } end
  local at = entry(line, 0)
  return { left = math.max(0, question.limit - (used(line))), wait = at and at - now }
end

--- Answers a question, and changes the line.
---@param line table
---@param now number
---@param question table
---@return table answer
function lines.answer(line, now, question)
  now = clock(line, now)
  drop(line, now)
  return asked[question.ask](line, now, question)
end

-- --- as text -----------------------------------------------------------------------------------

local HEAD = "^(%S+) (%S+) (%d+) (%d+) (%d+) (%d+);([^;]*);([^;]*);()"

--- The line as text: the numbers of its head; what is under way; who waits; what comes back.
---@param line table
---@return string
function lines.text(line)
  local away, waits = {}, {}
  for number, slot in pairs(line.away) do
    away[#away + 1] = ("%d,%d,%d "):format(number, millis(slot.till), slot.kept and 1 or 0)
  end
  for i, wait in ipairs(line.waits) do
    waits[i] = ("%d,%d,%d,%d "):format(wait.ticket, millis(wait.till), wait.need,
      wait.background and 1 or 0)
  end
  return ("%d %d %d %d %d %d;%s;%s;%s"):format(millis(line.seen), millis(line.parked),
    line.refusals, line.probe or 0, line.last, line.free_count, table.concat(away),
    table.concat(waits), line.free)
end

--- A line from its text; a new one where there is none.
---@param text string?
---@return table
function lines.read(text)
  local line = lines.new()
  local seen, parked, refusals, probe, last, count, away, waits, free = (text or ""):match(HEAD)
  if not seen then return line end
  line.seen, line.parked = tonumber(seen) / 1000, tonumber(parked) / 1000
  line.refusals, line.probe, line.last = tonumber(refusals), tonumber(probe), tonumber(last)
  line.free, line.free_count = text:sub(free), tonumber(count)
  for number, till, kept in away:gmatch "(%d+),(%S-),(%d) " do
    line.away[tonumber(number)] = { till = tonumber(till) / 1000, kept = kept == "1" or nil }
  end
  for ticket, till, need, background in waits:gmatch "(%d+),(%S-),(%d+),(%d) " do
    line.waits[#line.waits + 1] = { ticket = tonumber(ticket), till = tonumber(till) / 1000,
      need = tonumber(need), background = background == "1" or nil }
  end
  return line
end

-- --- a client's view of it ---------------------------------------------------------------------

-- `window` seconds, where nobody says otherwise
local M = { window = 60, lines = lines }

local KEEP = 86400 -- seconds after which a window that nobody asks for is dropped

local quota = {}
quota.__index = quota

--- The quota of one key.
---@param self table { key = digest, limit = requests a window, window, clock, store, shared =
---  function that gives a store, or nil and an error where there should be one and is none }
---@return table
function M.new(self)
  self.window = self.window or M.window
  return setmetatable(self, quota)
end

-- The store, or nil and an error.
local function store_of(self)
  if self.store then return share.of(self.store) end
  local store, err
  if self.shared then store, err = self.shared() end
  if store or err then return store, err end
  self.here = self.here or share.here(self.clock)
  return self.here
end

local function ask(self, store, question)
  if not store then
    local why
    store, why = store_of(self)
    if not store then return nil, why end
  end
  question.limit, question.window = self.limit, self.window
  local answer, err = store:update("quota " .. self.key, function(text, now, lost)
    local line = lines.read(text)
    if lost and not text then line.parked = lost + self.window end -- all may be in use
    local answer = lines.answer(line, now, question)
    if question.ask == "look" then return nil, answer end
    return lines.text(line), answer
  end, KEEP)
  return answer, err, store
end

--- Takes `need` slots.
--
-- `how`: { patience = seconds until the request is given up, beyond = seconds that its answer may
-- take after that, background, kept }; it is kept between the tries of one call, for its ticket.
-- Gives a list of slots; or nil and the seconds to wait before the next try, `patience` or more
-- where that is too late; or nil, nil and an error.
function quota:take(need, how)
  local answer, err, store = ask(self, nil, { ask = "take", need = math.min(need, self.limit),
    hold = how.patience + (how.beyond or 0) + self.window, patience = how.patience,
    background = how.background, kept = how.kept, ticket = how.ticket })
  if not answer then
    return nil, nil, err
  elseif not answer.slots then
    how.ticket = answer.ticket
    return nil, answer.wait or answer.late
  end
  local slots = {}
  for i, number in ipairs(answer.slots) do slots[i] = { number = number, store = store } end
  return slots
end

--- A kept slot is about to be used: true; nil and the seconds to wait with that; or nil, nil and an
-- error.
function quota:spend(slot)
  local answer, err = ask(self, slot.store, { ask = "spend", slot = slot.number })
  if not answer then return nil, nil, err end
  return answer.wait == nil or nil, answer.wait
end

--- The answer is there, or will not come: the slot is free one window from now. A store that fails
-- here keeps the slot until the end of its hold.
---@param accepted boolean? was it an answer, and no refusal?
function quota:free(slot, accepted)
  ask(self, slot.store, { ask = "free", slots = { slot.number }, after = self.window,
    accepted = accepted })
end

--- Nothing was sent for these.
function quota:give_back(slots)
  local numbers = {}
  for i, slot in ipairs(slots) do numbers[i] = slot.number end
  if numbers[1] then ask(self, slots[1].store, { ask = "free", slots = numbers }) end
end

--- The server said that it was too much, though we counted: somebody else uses the key. Everybody
-- waits, as long as the server said, or some time. Gives the seconds.
---@param retry_after number?
---@param random fun(): number
---@return number?
function quota:refused(retry_after, random)
  local answer = ask(self, nil, { ask = "park", seconds = retry_after, random = random() })
  return retry_after or answer and answer.wait
end

--- What is left, and the seconds until more comes (nil where nothing is in use); or nil and an
-- error.
function quota:look()
  local answer, err = ask(self, nil, { ask = "look" })
  if not answer then return nil, err end
  return answer.left, answer.wait
end

return M

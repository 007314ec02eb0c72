--- How many requests a key may still send: a window of slots.
--
-- A slot is taken before a request is sent and is free again one window after its *response*. The
-- server counted the request at some moment between the two, so however it counts (by fixed
-- minutes, or by the last sixty seconds), it never sees more than the limit in one window. A
-- request whose response never comes holds its slot until its own deadline has passed, and a window
-- more.
--
-- A store keeps the slots. Stores have four methods; those of `memory` below are the model, and one
-- that is shared by processes or machines has the same:
--
--   store:take(key, limit, now, hold)  -> a slot (any plain value) | nil, when one may be free
--   store:free(key, slot, free_at)     the response came: free from that time on; nil: it was not
--   used store:park(key, until_time)        nobody sends with this key until then
--   store:look(key, limit, now)        -> slots left, when the next one comes free (or nil)
--
-- Times are seconds of one clock that all users of the store share; `hold` is when a slot comes
-- free that nobody frees. A key is a digest: stores may be read by others.

local M = { window = 60 }

-- --- memory ------------------------------------------------------------------------------------

local memory = {}
memory.__index = memory

--- A store for the clients of one process.
function M.memory()
  return setmetatable({ keys = {} }, memory)
end

local function line_of(store, key)
  local line = store.keys[key]
  if not line then
    -- waiting[first..last] are the times at which freed slots come back, in order, for they are
    -- freed in order of time; away[slot] is the `hold` of a slot that is under way
    line = {
      waiting = {}, first = 1, last = 0, away = {}, away_count = 0, next_slot = 1, parked = 0,
    }
    store.keys[key] = line
  end
  return line
end

local function drop_waited(line, now)
  while line.first <= line.last and line.waiting[line.first] <= now do
    line.waiting[line.first] = nil
    line.first = line.first + 1
  end
end

local function drop_lost(line, now)
  for slot, hold in pairs(line.away) do
    if hold <= now then
      line.away[slot] = nil
      line.away_count = line.away_count - 1
    end
  end
end

local function used(line)
  return line.last - line.first + 1 + line.away_count
end

local function earliest(line)
  local at = line.waiting[line.first]
  for _, hold in pairs(line.away) do
    if not at or hold < at then
      at = hold
    end
  end
  return at
end

function memory:take(key, limit, now, hold)
  local line = line_of(self, key)
  if line.parked > now then
    return nil, line.parked
  end
  drop_waited(line, now)
  if used(line) >= limit then
    drop_lost(line, now)
    if used(line) >= limit then
      return nil, earliest(line)
    end
  end
  local slot = line.next_slot
  line.next_slot = slot + 1
  line.away[slot] = hold
  line.away_count = line.away_count + 1
  return slot
end

function memory:free(key, slot, free_at)
  local line = line_of(self, key)
  if line.away[slot] then
    line.away[slot] = nil
    line.away_count = line.away_count - 1
    if not free_at then
      return
    end
    line.last = line.last + 1
    -- a clock that stepped back must not put the line out of order
    line.waiting[line.last] = math.max(free_at, line.waiting[line.last - 1] or free_at)
  end
end

function memory:park(key, until_time)
  local line = line_of(self, key)
  line.parked = math.max(line.parked, until_time)
end

function memory:look(key, limit, now)
  local line = line_of(self, key)
  drop_waited(line, now)
  drop_lost(line, now)
  if line.parked > now then
    return 0, line.parked
  end
  return math.max(0, limit - used(line)), line.waiting[line.first]
end

-- Clients with the same key share one window. Those of another clock (tests) keep one of their own,
-- for times of two clocks can't be compared.
local by_clock = setmetatable({}, { __mode = "k" })

local function shared(clock)
  by_clock[clock] = by_clock[clock] or M.memory()
  return by_clock[clock]
end

-- --- one client's view -------------------------------------------------------------------------

local quota = {}
quota.__index = quota

--- The quota of one key.
--
-- `settings`: { key = digest, limit = requests a window, window, clock, store }.
---@return table
function M.new(settings)
  return setmetatable({
    key = settings.key,
    limit = settings.limit,
    window = settings.window or M.window,
    clock = settings.clock,
    store = settings.store or shared(settings.clock),
    refusals = 0,
  }, quota)
end

--- A slot, or nil and the seconds until it is worth asking again.
---@param deadline number when the request is given up at the latest
function quota:take(deadline)
  local now = self.clock()
  local slot, at = self.store:take(self.key, self.limit, now, deadline + self.window)
  if slot then
    return slot
  end
  -- what is under way comes back a window after its answer, so not before one window from now
  return nil, math.max(0, math.min(at or math.huge, now + self.window) - now)
end

--- The answer is there, or will not come: the slot is free one window from now.
function quota:free(slot)
  self.store:free(self.key, slot, self.clock() + self.window)
end

--- Nothing was sent for it.
function quota:give_back(slot)
  self.store:free(self.key, slot, nil)
end

--- The server said that it was too much, though we counted: somebody else uses the key. Everybody
-- waits, as long as the server said; where it said nothing, for 1 to 2 seconds at first and twice
-- as long each time, for in a window that slides the next slot may come free at any moment, and in
-- a fixed one it does so within a window. Gives the seconds.
---@param retry_after number?
---@param random fun(): number
---@return number
function quota:refused(retry_after, random)
  local most = math.min(self.window, 2 * 2 ^ self.refusals)
  local wait = retry_after or most * (0.5 + 0.5 * random())
  self.refusals = math.min(self.refusals + 1, 10)
  self.store:park(self.key, self.clock() + wait)
  return wait
end

--- An answer that was not a refusal.
function quota:accepted()
  self.refusals = 0
end

--- What is left, and the seconds until more comes (nil where nothing is in use).
function quota:look()
  local now = self.clock()
  local left, at = self.store:look(self.key, self.limit, now)
  return left, at and math.max(0, at - now)
end

return M

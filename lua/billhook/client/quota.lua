--- How many requests a key may still send: a client's view of a window of slots (window.lua).
--
-- The window is a text, changed by one at a time (shared/init.lua), so that all who use the key
-- share it. Its name has a digest of the key, for stores may be read by others. Which store it is
-- in, is decided when a client first asks, in this order:
--
--   the option { store = ... }: a table with update(), or the URL of an inbox
--   the inbox of the app that the client is an account of, unless it is in memory
--   in nginx, the dictionary: lua_shared_dict billhook 1m;
--   the memory of the process

local share = require "billhook.shared"
local window = require "billhook.client.window"

local M = { window = 60 }

local KEEP = 86400 -- seconds after which a window that nobody asks for is dropped

local quota = {}
quota.__index = quota

--- The quota of one key.
--
-- `settings`: { key = digest, limit = requests a window, window, clock, store, shared = function
-- that gives a store, or nil and an error where there should be one and is none }.
---@return table
function M.new(settings)
  return setmetatable({
    key = settings.key,
    limit = settings.limit,
    window = settings.window or M.window,
    clock = settings.clock,
    given = settings.store,
    shared = settings.shared,
  }, quota)
end

-- The store, or nil and an error.
local function store_of(self)
  if self.given then
    return share.of(self.given)
  end
  local store, err
  if self.shared then
    store, err = self.shared()
  end
  if store or err then
    return store, err
  end
  return share.here(self.clock)
end

local function ask(self, store, question)
  if not store then
    local why
    store, why = store_of(self)
    if not store then
      return nil, why
    end
  end
  question.limit, question.window = self.limit, self.window
  local answer, err = store:update("quota " .. self.key, function(text, now)
    local line = window.read(text)
    local answer = window.answer(line, now, question)
    if question.ask == "look" then
      return nil, answer
    end
    return window.text(line), answer
  end, KEEP)
  return answer, err, store
end

--- Takes `need` slots.
--
-- `how`: { patience = seconds until the request is given up, beyond = seconds that its answer may
-- take after that, background, kept }; it is kept between the tries of one call, for its ticket.
-- Gives a list of slots; or nil and the seconds to wait before the next try, or nil, nil and the
-- seconds after which it might do, where that is too late; or nil, nil, nil and an error.
function quota:take(need, how)
  local answer, err, store = ask(self, nil, { ask = "take", need = math.min(need, self.limit),
    hold = how.patience + (how.beyond or 0) + self.window, patience = how.patience,
    background = how.background, kept = how.kept, ticket = how.ticket })
  if not answer then
    return nil, nil, nil, err
  elseif not answer.slots then
    how.ticket = answer.ticket
    return nil, answer.wait, answer.late
  end
  local slots = {}
  for i, number in ipairs(answer.slots) do
    slots[i] = { number = number, store = store }
  end
  return slots
end

--- A kept slot is about to be used: the seconds to wait with that (0: none), or nil and an error.
function quota:spend(slot)
  local answer, err = ask(self, slot.store, { ask = "spend", slot = slot.number })
  if not answer then
    return nil, err
  end
  return answer.wait or 0
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
  for i, slot in ipairs(slots) do
    numbers[i] = slot.number
  end
  if numbers[1] then
    ask(self, slots[1].store, { ask = "free", slots = numbers })
  end
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
  if not answer then
    return nil, err
  end
  return answer.left, answer.wait
end

return M

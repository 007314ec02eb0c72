-- inbox.lua - texts in an inbox (see shared/init.lua). Also works on nginx's event loop, which must
-- not wait for a disk.
--
-- There, each method of an inbox runs in a worker thread (shared/thread.lua). A function cannot be
-- passed to another thread. So the text is fetched, changed here, and stored if it was not changed
-- meanwhile. An inbox in memory would be a different one in each thread, so it stays in the nginx
-- worker and its methods run in place.
--
-- Once it has been open, none is made any more (see inbox/sqlite.lua): not by another thread, nor
-- by the workers that come after a reload or a crash. So that is noted in the dictionary.

local complain = require "billhook.complain"
local dict = require "billhook.shared.dict"
local errors = require "billhook.error"
local gate = require "billhook.shared.gate"
local inbox = require "billhook.inbox"
local log = require "billhook.log"
local owner = require "billhook.inbox.owner"
local pulse = require "billhook.shared.pulse"

local M = {}

local THREAD = "billhook.shared.thread"
local WAIT = 30 -- seconds for a free VM

local Remote = {}

-- May the inbox be made, as one that nobody here has had open?
local function is_new(self)
  return not (self.opened or self.notes and self.notes:noted(self.note))
end

-- What a call through the gate gave, as value | nil, err.
local function answer(self, ok, done, value, told)
  if told then complain.once(self, told.name, told.fields) end
  if ok and done and not self.opened then
    self.opened = true
    if self.notes then self.notes:note(self.note) end
  end
  if ok and done then return value end
  if ok then return nil, errors.new(value) end
  return nil, errors.new { kind = "store", code = "thread", retryable = true,
    message = "inbox in a worker thread: " .. tostring(done) }
end

-- Any method of the interface; which these are, the inbox knows.
function Remote:__index(name)
  local function method(_, ...)
    return answer(self, gate.run(self.class, WAIT, THREAD, "call", self.url, is_new(self),
      name, ...))
  end
  rawset(self, name, method)
  return method
end

--- An inbox with all its methods, none of which blocks the event loop.
---@param url string no inbox in memory
---@param logger? function as an app's: is told what the inbox has to tell
---@param class? string which threads it runs in ("store"): see shared/gate.lua
---@return table store
function M.remote(url, logger, class)
  local self = { url = url, log = logger or log.default, complaints = false, update = inbox.update,
    class = class or "store", opened = false, note = "open " .. url,
    notes = url:find "^sqlite:" and dict.store() or false }
  function self.who() return owner.name() end
  function self.departed(_, name) return owner.departed(name, url:find "^postgres" ~= nil) end
  function self.close() return true end
  --- Stores rows, in the present coroutine: a timer's own, which cannot be killed.
  function self.commit(wait, rows)
    return answer(self, gate.run_here("commit", wait, THREAD, "admit", url, is_new(self), rows))
  end
  return setmetatable(self, Remote)
end

local stores = {}

--- The inbox of a URL; opened once.
---@param url string
---@return table|nil store, table|nil err
function M.of(url)
  local err
  if not stores[url] then
    local far = pulse.on_event_loop() and not url:find "^memory:"
    stores[url], err = (far and M.remote or inbox.open)(url)
  end
  return stores[url], err
end

M.check = inbox.check

return M

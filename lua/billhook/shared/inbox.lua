-- inbox.lua - texts in an inbox (see shared/init.lua), also from nginx's event loop, which must not
-- wait for a disk.
--
-- There, each method of an inbox runs in a worker thread, on that thread's own connection
-- (nginx/thread.lua). A function does not cross to another thread: a text does, and comes back
-- where nobody has changed it meanwhile. An inbox in memory would be another one in each thread, so
-- it stays in the nginx worker and runs in place.

local errors = require "billhook.error"
local gate = require "billhook.shared.gate"
local inbox = require "billhook.inbox"
local pulse = require "billhook.shared.pulse"

local M = {}

local THREAD = "billhook.nginx.thread"
local WAIT = 30 -- seconds for a free VM
local SWAPS = 50 -- times that a text may be changed by others while it is changed here

--- What a call through the gate gave, as value | nil, err.
function M.answer(ok, done, value)
  if ok and done then return value end
  if ok then return nil, errors.new(value) end
  return nil, errors.new {
    kind = "store", code = "thread", retryable = true, message = "inbox in a worker thread: "
      .. tostring(done),
  }
end

local function update(self, name, fn, keep)
  local seen, why = self:peek(name)
  for _ = 1, SWAPS do
    if not seen then return nil, why end
    local new, value = fn(seen.text or nil, seen.now)
    if value == nil then value = true end
    if new == nil or new == seen.text then return value end
    local text = seen.text
    seen, why = self:swap(name, text, new, keep)
    if seen and seen.swapped then return value end
  end
  return nil, errors.new { kind = "store", code = "busy", retryable = true,
    message = ("'%s' was changed by others %d times meanwhile"):format(name, SWAPS) }
end

-- Known without asking anybody, and so in this process.
local function who() return require("billhook.inbox.owner").name() end

local function method(url, name)
  return function(_, ...)
    return M.answer(gate.run("store", WAIT, THREAD, "inbox", url, name, ...))
  end
end

--- An inbox with all its methods, none of which blocks the event loop; which these are, it knows.
---@param url string no inbox in memory
---@return table store
function M.remote(url)
  local store = { url = url, update = update, who = who }
  function store:departed(name) -- luacheck: ignore 212/self
    return require("billhook.inbox.owner").departed(name, url:find "^postgres" ~= nil)
  end
  return setmetatable(store, {
    __index = function(self, name)
      local fn = method(url, name)
      rawset(self, name, fn)
      return fn
    end,
  })
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

-- store.lua - the inbox as nginx sees it: the same methods, none of which blocks the event loop.
--
-- Each method runs in a worker thread, on that thread's own connection (host/thread.lua);
-- admissions of many requests share one transaction (host/commit.lua). An inbox in memory
-- would be another one in each thread, so it stays in the nginx worker and runs in place.

local commit = require "billhook.host.commit"
local errors = require "billhook.error"
local gate = require "billhook.host.gate"

local M = {}

local thread = "billhook.host.thread"
local wait_store = 30 -- seconds for a free VM: a work loop can wait
local wait_commit = 5 -- a vendor cannot

-- what a call through the gate gave, as value | nil, err
local function answer(ok, done, value)
  if ok and done then return value end
  if ok then return nil, errors.new(value) end
  return nil, errors.new {
    kind = "store", code = "thread", retryable = true, message = "inbox in a worker thread: "
      .. tostring(done),
  }
end

-- As one text the events cross several times as fast as table by table; not every LuaJIT has it.
local has_buffer, buffer = pcall(require, "string.buffer")

local function admission(url)
  return function(events)
    local given = has_buffer and buffer.encode(events) or events
    return answer(gate.run_here("commit", wait_commit, thread, "admit", url, given))
  end
end

local function method(url, name)
  return function(_, ...)
    return answer(gate.run("store", wait_store, thread, "inbox", url, name, ...))
  end
end

--- A store with all methods of the inbox at `url`; which these are, the inbox knows.
---@param url string "sqlite:billhook.db", "memory:", ...
---@param options table|nil limits of the group commit (host/commit.lua)
---@return table|nil store
---@return table|nil err only an inbox in memory is opened here
function M.new(url, options)
  if url:match("^memory:") then return require("billhook.inbox").open(url) end
  local group = commit.new(admission(url), options)
  local store = { url = url, group = group }
  function store:admit(events) -- luacheck: ignore 212/self
    if #events == 0 then return {} end
    return group:admit(events)
  end
  function store:close() return true end -- luacheck: ignore 212/self
  return setmetatable(store, {
    __index = function(self, name)
      local fn = method(url, name)
      rawset(self, name, fn)
      return fn
    end,
  })
end

return M

-- store.lua - the inbox as nginx sees it: the same methods, none of which blocks the event loop.
--
-- Each method runs in a worker thread (shared/inbox.lua); admissions of many requests share one
-- transaction (nginx/commit.lua). An inbox in memory stays in the nginx worker.

local commit = require "billhook.nginx.commit"
local gate = require "billhook.shared.gate"
local inbox = require "billhook.inbox"
local remote = require "billhook.shared.inbox"

local M = {}

local thread = "billhook.nginx.thread"
local wait_commit = 5 -- seconds for a free VM: a vendor waits

-- As one text the events cross several times as fast as table by table; not every LuaJIT has it.
local has_buffer, buffer = pcall(require, "string.buffer")

local function admission(url)
  return function(events)
    local given = has_buffer and buffer.encode(events) or events
    return remote.answer(gate.run_here("commit", wait_commit, thread, "admit", url, given))
  end
end

--- A store with all methods of the inbox at `url`; which these are, the inbox knows.
---@param url string "sqlite:billhook.db", "memory:", ...
---@param options table|nil limits of the group commit (nginx/commit.lua)
---@return table|nil store
---@return table|nil err only an inbox in memory is opened here
function M.new(url, options)
  if url:match("^memory:") then return inbox.open(url) end
  local group = commit.new(admission(url), options)
  local store = remote.remote(url)
  store.group = group
  function store:admit(events) -- luacheck: ignore 212/self
    if #events == 0 then return {} end
    return group:admit(events)
  end
  function store:close() return true end -- luacheck: ignore 212/self
  return store
end

return M

--- Calls side by side: fn(item) for every item of a list, a few at a time.
--
--   local invoices, errors = billhook.map(ids, function(id)
--     return apply.invoices:get(id)
--   end, { concurrency = 8 })
--
-- Returns the results and the errors, with the indices of the list. An error is what fn raised, or
-- returned after nil or false. `results.n` is the length of the list: there may be gaps.
--
-- fn(item, i, cancel) may call cancel([why]): then no further items are started, and those have an
-- error of kind "cancelled". Items that have started are finished, because an interrupted call may
-- have been carried out.
--
-- Items run in coroutines. While one waits for an answer, the others go on, over the connections
-- of the transport that all clients in plain Lua share. Any other blocking function (os.execute,
-- another library) blocks all of them. In nginx, light threads are used instead.

local caller = require "billhook.caller"
local errors = require "billhook.error"
local options = require "billhook.options"
local transports = require "billhook.transport"

local M = {}

local rules = { concurrency = { "number", check = options.counting, default = 8 } }

-- --- what is to be done ------------------------------------------------------------------------

-- A run has the list, fn, the results and errors so far, and `at`, the item that was begun last.

local function keep(run, item, done, value, err)
  if not done then
    run.errors[item] = value == nil and "nil was raised" or value
  else
    run.results[item] = value
    run.errors[item] = not value and err or nil -- pcall gives false and a reason
  end
end

-- The number of the next item to begin, or nil.
local function next_item(run)
  if run.at < run.results.n and not run.cancelled then
    run.at = run.at + 1
    return run.at
  end
end

local function cancelled(run)
  for item = run.at + 1, run.results.n do
    run.errors[item] = errors.new { kind = "cancelled", message = run.cancelled, attempts = 0,
      retryable = true }
  end
end

-- --- coroutines --------------------------------------------------------------------------------

-- The coroutines of all maps that are running: maps may be nested.
local ours = setmetatable({}, { __mode = "k" })

-- what a coroutine of ours yields before the seconds that it waits, and the ticket that it waits
-- for; and before what came of an item
local WAITS, DONE = {}, {}

-- The others have their turn while a coroutine of ours waits: see transport/curl.lua.
local function aside(seconds, ticket)
  if not ours[coroutine.running() or false] then return false end
  if seconds then coroutine.yield(WAITS, seconds, ticket) end
  return true
end

-- A coroutine for one item after another: it yields what came of each, and is given the next one.
local function worker(run)
  local thread = coroutine.create(function(item)
    caller.be(run.who)
    while true do
      item = coroutine.yield(DONE, run.fn(run.list[item], item, run.cancel))
    end
  end)
  ours[thread] = true
  return thread
end

-- Runs an item, and those after it, until one has to wait: true; false if none is left.
local function go_on(run, one)
  while one.item do
    one.thread = one.thread or worker(run)
    local fine, what, value, err = coroutine.resume(one.thread, one.item)
    if not fine then
      keep(run, one.item, false, what)
      one.thread = nil -- it is dead
    elseif what == DONE then
      keep(run, one.item, true, value, err)
    else -- fn may yield of itself
      one.seconds, one.ticket = what == WAITS and value or 0, what == WAITS and err or nil
      return true
    end
    one.item = next_item(run)
  end
  return false
end

-- Resumes all coroutines whose wait is over. Gives those that are not finished, and their shortest
-- wait.
local function turns(run, running)
  local count, shortest = 0, math.huge
  for i = 1, #running do
    local one = running[i]
    running[i] = nil
    if one.ticket and not one.ticket:done() or go_on(run, one) then
      count = count + 1
      running[count] = one
      shortest = math.min(shortest, one.seconds)
    end
  end
  return shortest
end

local function take_turns(run, transport)
  local running = {}
  for i = 1, math.min(run.concurrency, run.results.n) do running[i] = { item = next_item(run) } end
  while #running > 0 do
    local shortest = turns(run, running)
    if #running > 0 and transport.wait then transport:wait(shortest) end
  end
end

-- Restores the transport even after an interrupt. A nested map waits as all items of the outer do.
local function in_coroutines(run)
  local transport = transports.pick()
  if transport.aside or not transport.wait then return take_turns(run, transport) end
  transport.aside = aside
  local fine, why = pcall(take_turns, run, transport)
  transport.aside = nil
  if not fine then error(why, 0) end
end

-- --- light threads -----------------------------------------------------------------------------

local function in_threads(run)
  return transports.side_by_side(math.min(run.concurrency, run.results.n), function()
    caller.be(run.who)
    for item in next_item, run do
      keep(run, item, pcall(run.fn, run.list[item], item, run.cancel))
    end
    caller.be(nil) -- nginx may use this thread again for others
  end)
end

--- Calls fn for every item, `concurrency` at a time.
---@param list any[]
---@param fn fun(item: any, i: integer, cancel: fun(why: string?)): any, any
---@param given { concurrency: integer? }? 8 by default
---@return table results in order, with `n`
---@return table<integer, billhook.Error|any> errors by the same indices
function M.map(list, fn, given)
  if type(list) ~= "table" then
    error(options.wrong("billhook.map", "list", "must be a table", list), 2)
  elseif (getmetatable(list) or {}).__call then
    error("billhook.map: 'list' must be a list, got an iterator: use list, or a loop over each", 2)
  elseif type(fn) ~= "function" then
    error(options.wrong("billhook.map", "fn", "must be a function", fn), 2)
  end
  local settings = options.read(rules, given, "billhook.map", 2)
  local run = { list = list, fn = fn, results = { n = #list }, errors = {}, at = 0,
    concurrency = settings.concurrency, who = caller.who() }
  function run.cancel(why)
    run.cancelled = run.cancelled or why and tostring(why) or "cancelled by another item"
  end
  if not in_threads(run) then in_coroutines(run) end
  if run.cancelled then cancelled(run) end
  return run.results, run.errors
end

return M

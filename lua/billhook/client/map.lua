--- Calls side by side: fn(item) for every item of a list, a few at a time.
--
--   local invoices, errors = billhook.map(ids, function(id)
--     return apply.invoices:get(id)
--   end, { concurrency = 8 })
--
-- Gives the results in the order of the list, and what went wrong, by the same indices: what fn
-- gave beside nil or false, or raised. `results.n` is the length of the list: there may be gaps.
--
-- fn(item, i, cancel) may call cancel([why]): then no other item is begun, and those that were not
-- have an error of the kind "cancelled". Those that were go on to their end, for a call that is
-- torn may have had its effect.
--
-- Items run in coroutines. While one waits for an answer, the others go on, over the connections
-- of the one transport that plain Lua's clients share. What waits in other ways (os.execute,
-- another library) holds all of them up. In nginx there are light threads instead.

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

-- Ours, of all maps under way: there may be maps in maps.
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

-- Goes on with an item, and with those after it, until one waits: true, or false at the end.
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

-- Gives a turn to all that need not wait any more. Gives those that go on, and the shortest wait
-- among them.
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

-- Even an interrupt leaves the transport as it was. A map in a map waits as all in the outer do.
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

--- Calls side by side: fn(item) for every item of a list, a few at a time.
--
--   local invoices, errors = billhook.map(ids, function(id)
--     return apply.invoices:get(id)
--   end, { concurrency = 8 })
--
-- Gives the results in the order of the list, and what went wrong, by the same indices: what fn
-- gave beside nil, or raised. `results.n` is the length of the list, for there may be gaps.
--
-- fn(item, i, cancel) may call cancel([why]): then no other item is begun, and those that were not
-- have an error of the kind "cancelled". Those that were go on to their end, for a call that is
-- torn may have had its effect.
--
-- Each item has a coroutine. While one waits for an answer, the others go on, over the connections
-- of the one transport that plain Lua's clients share. What waits in other ways (os.execute,
-- another library) holds all of them up. In nginx there are light threads instead.

local caller = require "billhook.call.caller"
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
    run.errors[item] = value == nil and err or nil
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

-- the pool of the outermost map under way, see `sharing`
local shared

local function is_ours()
  return ours[coroutine.running() or false]
end

-- A pool that gives the others their turn while a coroutine of ours waits, and waits itself
-- otherwise. What waits in the curl transport waits in these two functions of its pool.
local function sharing(pool)
  local proxy = {}
  function proxy.poll(_, seconds)
    if is_ours() then
      coroutine.yield(seconds)
      return true
    end
    return pool:poll(seconds)
  end
  function proxy.run(_, request, seconds)
    if is_ours() then
      return pool:add(request)
    end
    return pool:run(request, seconds)
  end
  function proxy:sleep(seconds)
    if not is_ours() then
      return pool:sleep(seconds)
    end
    local core = require "billhook.core"
    local over, left = core.text.monotonic() + seconds, seconds
    while left > 0 do -- one reading of the clock a turn: at a second one it may be over
      self:poll(left)
      left = over - core.text.monotonic()
    end
  end
  return setmetatable(proxy, {
    __index = function(_, name)
      return function(_, ...) return pool[name](pool, ...) end
    end,
  })
end

-- Gives every coroutine a turn, in order. Gives those that go on, and the shortest wait among them.
local function turns(run, running)
  local left, shortest = {}, nil
  for _, one in ipairs(running) do
    local fine, value, err = coroutine.resume(one.thread, run.list[one.item], one.item, run.cancel)
    if coroutine.status(one.thread) == "dead" then
      keep(run, one.item, fine, value, err)
    else
      left[#left + 1] = one
      shortest = math.min(shortest or math.huge, value or 0)
    end
  end
  return left, shortest
end

-- Begins items until there are `concurrency` of them.
local function begin(run, running)
  while #running < run.concurrency do
    local item = next_item(run)
    if not item then
      return
    end
    local thread = coroutine.create(function(...)
      caller.be(run.who)
      return run.fn(...)
    end)
    ours[thread] = true
    running[#running + 1] = { thread = thread, item = item }
  end
end

local function take_turns(run, transport)
  local running = {}
  repeat
    local shortest
    begin(run, running)
    running, shortest = turns(run, running)
    local full = #running == run.concurrency or run.at == run.results.n or run.cancelled
    if shortest and transport.pool and full then
      transport.pool:poll(shortest)
    end
  until #running == 0 and (run.at == run.results.n or run.cancelled)
end

-- Even an interrupt leaves the transport as it was.
local function in_coroutines(run)
  local transport = transports.pick()
  local pool = transport.pool
  if not pool or rawequal(pool, shared) then
    return take_turns(run, transport)
  end
  shared = sharing(pool)
  transport.pool = shared
  local fine, why = pcall(take_turns, run, transport)
  transport.pool, shared = pool, nil
  if not fine then
    error(why, 0)
  end
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
---@param given table? { concurrency = 8 }
---@return table results in order, with `n`
---@return table errors by the same indices
function M.map(list, fn, given)
  if type(list) ~= "table" then
    error("billhook.map: the list must be a table, not a " .. type(list), 2)
  elseif type(fn) ~= "function" then
    error("billhook.map: a function was expected, not a " .. type(fn), 2)
  end
  local settings = options.read(rules, given, "billhook.map", 2)
  local run = { list = list, fn = fn, results = { n = #list }, errors = {}, at = 0,
    concurrency = settings.concurrency, who = caller.who() }
  function run.cancel(why)
    run.cancelled = run.cancelled or why and tostring(why) or "cancelled by another item"
  end
  if not in_threads(run) then
    in_coroutines(run)
  end
  if run.cancelled then
    cancelled(run)
  end
  return run.results, run.errors
end

return M

--- Calls side by side: fn(item) for every item of a list, a few at a time.
--
--   local invoices, errors = billhook.map(ids, function(id)
--     return apply.invoices:get(id)
--   end, { concurrency = 8 })
--
-- Gives the results in the order of the list, and what went wrong, by the same indices: what fn
-- gave beside nil, or raised. `results.n` is the length of the list, for there may be gaps.
--
-- Each item has a coroutine. While one waits for an answer, the others go on, over the connections
-- of the one transport that plain Lua's clients share. What waits in other ways (os.execute,
-- another library) holds all of them up.

local caller = require "billhook.caller"
local options = require "billhook.options"

local M = {}

local rules = { concurrency = { "number", check = options.counting, default = 8 } }

-- A pool that gives the others their turn while a coroutine of ours waits, and waits itself
-- otherwise. What waits in the curl transport waits in these two functions of its pool.
local function sharing(pool, ours)
  local function turn(_, seconds)
    if ours[coroutine.running() or false] then
      coroutine.yield(seconds)
      return true
    end
    return pool:poll(seconds)
  end
  local proxy = { poll = turn }
  function proxy:sleep(seconds)
    if not ours[coroutine.running() or false] then
      return pool:sleep(seconds)
    end
    local core = require "billhook.core"
    local over = core.text.monotonic() + seconds
    while core.text.monotonic() < over do
      turn(self, over - core.text.monotonic())
    end
  end
  return setmetatable(proxy, {
    __index = function(_, name)
      return function(_, ...) return pool[name](pool, ...) end
    end,
  })
end

-- What a coroutine that ended gave: fn's results, or false and what it raised.
local function keep(item, results, errors, done, value, err)
  if not done then
    errors[item] = value
  else
    results[item] = value
    errors[item] = value == nil and err or nil
  end
end

-- Gives every coroutine a turn, in order. Gives those that go on, and the shortest wait among them.
local function turns(running, ours, results, errors)
  local left, shortest = {}, nil
  for _, one in ipairs(running) do
    local outcome = { coroutine.resume(one.thread, one.item, one.at) }
    if coroutine.status(one.thread) == "dead" then
      ours[one.thread] = nil
      keep(one.at, results, errors, outcome[1], outcome[2], outcome[3])
    else
      left[#left + 1] = one
      shortest = math.min(shortest or math.huge, outcome[2] or 0)
    end
  end
  return left, shortest
end

--- Calls fn for every item, `concurrency` at a time.
---@param list any[]
---@param fn fun(item: any, i: integer): any, any
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
  local results, errors, ours, running, at = { n = #list }, {}, {}, {}, 0
  local transport = require("billhook.transport").pick()
  local pool = transport.pool
  if pool then
    transport.pool = sharing(pool, ours)
  end
  repeat
    while #running < settings.concurrency and at < #list do
      at = at + 1
      local thread = coroutine.create(fn)
      caller.join(thread)
      ours[thread] = true
      running[#running + 1] = { thread = thread, item = list[at], at = at }
    end
    local left, shortest = turns(running, ours, results, errors)
    running = left
    if shortest and pool and (#running == settings.concurrency or at == #list) then
      pool:poll(shortest)
    end
  until #running == 0 and at == #list
  transport.pool = pool
  return results, errors
end

return M

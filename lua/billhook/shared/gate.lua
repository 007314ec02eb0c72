-- gate.lua - limits the use of nginx's worker threads; all calls to them go through it.
--
-- ngx.run_worker_thread has no queue: a call that finds no free Lua VM fails, and one that
-- finds the thread pool's queue full ends the nginx worker (lua-nginx-module 0.10.23). So each
-- nginx worker counts its calls here and never posts more than there are VMs. The VMs are
-- shared out in three classes, so that none starves another:
--
--   commit  deliveries that a vendor waits for (one VM)
--   store   the inbox's other methods (one VM: SQLite has one writer)
--   call    API calls through libcurl (the rest, 8 of 10)
--
-- A stream is a call that lasts as long as its reader takes. At most half of the calls (4) may be
-- streams, so that a call between two elements of a stream finds a VM.
--
-- Each call runs in a timer of its own, not in the coroutine that started it: a request can be
-- killed while its thread works (client gone, ngx.exit), and then the count would be wrong. A
-- sleeping light thread keeps a worker that has to quit or reload alive until the call's
-- answer has arrived.

local M = {}

local settings = { pool = "billhook", vms = 10, store = 1 }
local slots -- one semaphore a class, made at first use: init_worker may still configure

local RETRY_PAUSE = 0.02 -- somebody else of this nginx has all VMs at the moment
local HOLD_PAUSE = 60
local WARM_STEP, WARM_TRIES = 0.02, 5
local NO_VM = "no available Lua vm"

local function semaphore(n) return assert(require("ngx.semaphore").new(n)) end

--- Says how many worker VMs there are for billhook, in which thread pool. Before the first call.
---@param options table pool (name of the thread_pool), vms (at most
---  lua_worker_thread_vm_pool_size), store (VMs for the inbox's methods beside commits)
function M.configure(options)
  if slots then error("gate: already in use; configure it in init_worker", 2) end
  for name, value in pairs(options) do
    if type(value) ~= type(settings[name]) then error("gate: no such option: " .. name, 2) end
    settings[name] = value
  end
  if settings.vms < settings.store + 2 then
    error("gate: vms: at least " .. settings.store + 2 .. " worker VMs are needed", 2)
  end
end

function M.settings()
  return { pool = settings.pool, vms = settings.vms, store = settings.store }
end

--- How many calls of a class may be under way at once.
function M.size(class)
  local calls = settings.vms - settings.store - 1
  if class == "stream" then return math.max(1, math.floor(calls / 2)) end
  return ({ commit = 1, store = settings.store, call = calls })[class]
end

-- Gives the slot that was waited for.
local function enter(class, wait)
  if not slots then
    slots = {}
    for _, name in ipairs { "commit", "store", "call", "stream" } do
      slots[name] = semaphore(M.size(name))
    end
  end
  local slot = slots[class] or error("gate: no such class: " .. tostring(class), 3)
  if class == "stream" and slot:count() <= 0 then
    -- one that was dropped unread holds its slot until the collector finds it
    collectgarbage()
    collectgarbage() -- what the first one's finalizers let go
  end
  local ok, err = slot:wait(wait)
  if ok then return slot end
  return nil, err == "timeout" and ("no worker thread became free in %g s"):format(wait) or err
end

local function hold()
  while true do ngx.sleep(HOLD_PAUSE) end
end

local function pack(...) return { n = select("#", ...), ... } end

-- What run_worker_thread says, asked again while others have all VMs; in the present coroutine,
-- which nobody must be able to kill.
local function perform(deadline, module, fn, args)
  local held, holder = pcall(ngx.thread.spawn, hold)
  local answer
  while true do
    answer = pack(ngx.run_worker_thread(settings.pool, module, fn, unpack(args, 1, args.n)))
    if answer[1] or answer[2] ~= NO_VM or ngx.now() >= deadline then break end
    ngx.sleep(RETRY_PAUSE)
    ngx.update_time()
  end
  if held then ngx.thread.kill(holder) end
  if not answer[1] then
    answer = { n = 3, false, answer[2], answer[2] == NO_VM and "unstarted" or nil }
  end
  return answer
end

-- A stream has its own slot when it comes here, and waits for a call's where nobody can kill it.
local function detached(_, job, slot, class, deadline, ...)
  local call, err = slot, nil
  if class == "stream" then call, err = enter("call", math.max(deadline - ngx.now(), 0)) end
  job.answer = call and perform(deadline, ...) or { n = 3, false, err, "unstarted" }
  slot:post()
  if call and call ~= slot then call:post() end
  job.done:post()
end

--- Calls a function of a module in a worker thread and gives a job at once, for `wait`. Arguments
--- and results must be plain data.
---@param class string "commit", "store", "call" or "stream"
---@param wait number seconds to wait for a free VM at most
---@param module string what is required in there
---@param fn string name of a function in that module's table
---@return table|nil job
---@return string|nil message
---@return string|nil unstarted "unstarted" where the function has not run
function M.start(class, wait, module, fn, ...)
  local slot, err = enter(class, wait)
  if not slot then return nil, err, "unstarted" end
  local job = { done = semaphore(0) }
  local ok, why = ngx.timer.at(0, detached, job, slot, class, ngx.now() + wait, module, fn,
    pack(...))
  if ok then return job end
  slot:post()
  return nil, "no timer: " .. tostring(why), "unstarted"
end

--- Waits for a job's end, at most so many seconds.
---@return boolean over
function M.wait(job, seconds)
  if not job.answer then job.done:wait(seconds) end
  return job.answer ~= nil
end

--- What came of a job that is over: see `run`.
function M.answer(job)
  return unpack(job.answer, 1, job.answer.n)
end

--- The same, with its end.
---@return boolean ok, any ... true and the results; or false, a message, and "unstarted" where
---  the function has not run
function M.run(...)
  local job, err, unstarted = M.start(...)
  if not job then return false, err, unstarted end
  repeat until M.wait(job, HOLD_PAUSE)
  return M.answer(job)
end

--- The same in the present coroutine: for a timer's own, which cannot be killed.
function M.run_here(class, wait, module, fn, ...)
  local slot, err = enter(class, wait)
  if not slot then return false, err, "unstarted" end
  local answer = perform(ngx.now() + wait, module, fn, pack(...))
  slot:post()
  return unpack(answer, 1, answer.n)
end

--- Makes all worker VMs, one by one, for each costs the event loop some milliseconds. A VM is
--- made only while all others are busy; where the machine was too slow for that, it is done again,
--- slower. Call it from a timer.
---@param module string its function warm(seconds) loads what calls need, stays busy for so long,
---  and gives true, or false and a message; and, thirdly, whether it was the VM's first call
---@param report fun(message: string) is told what went wrong
function M.warm(module, report)
  local step, made, ended = WARM_STEP, 0, semaphore(0)
  local function one(_, class, seconds)
    local ok, fine, why, fresh = M.run_here(class, HOLD_PAUSE, module, "warm", seconds)
    if not (ok and fine) then report(ok and why or fine) end
    if fresh then made = made + 1 end
    ended:post()
  end
  for _ = 1, WARM_TRIES do
    local before = made
    for n = settings.vms, 1, -1 do -- the commits' last, so that deliveries wait least
      local class = n == 1 and "commit" or n <= 1 + settings.store and "store" or "call"
      if not ngx.timer.at(0, one, class, n * step) then ended:post() end
      ngx.sleep(step)
    end
    for _ = 1, settings.vms do ended:wait(HOLD_PAUSE) end
    if made == before or made >= settings.vms or ngx.worker.exiting() then return end
    step = step * 2
  end
end

return M

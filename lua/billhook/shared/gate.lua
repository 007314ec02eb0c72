-- gate.lua - the one way to nginx's worker threads.
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
-- A stream is a call that takes as long as its reader likes: of those there are half as many as of
-- calls (4), so that what is asked for between two of its elements finds a VM.
--
-- Each call runs in a timer of its own, not in the coroutine that asked for it: a request can
-- be killed while its thread works (client gone, ngx.exit), and with it the count would be
-- lost. A sleeping light thread beside the call keeps a worker that was told to quit, or to
-- reload, alive until the answer is there.

local M = {}

local settings = { pool = "billhook", vms = 10, store = 1 }
local slots -- one semaphore a class, made at first use: init_worker may still configure

local retry_pause = 0.02 -- somebody else of this nginx has all VMs at the moment
local hold_pause = 60
local warm_step, warm_tries = 0.02, 5
local no_vm = "no available Lua vm"

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
  if class == "call" then return settings.vms - settings.store - 1 end
  if class == "stream" then return math.max(1, math.floor(M.size "call" / 2)) end
  return class == "store" and settings.store or 1
end

local function slot_of(class)
  slots = slots or {
    commit = semaphore(M.size "commit"),
    store = semaphore(M.size "store"),
    call = semaphore(M.size "call"),
    stream = semaphore(M.size "stream"),
  }
  return slots[class] or error("gate: no such class: " .. tostring(class), 3)
end

local function pack(...) return { n = select("#", ...), ... } end

local function hold()
  while true do ngx.sleep(hold_pause) end
end

-- What run_worker_thread says; asks again while others have all VMs, until job.deadline.
local function attempt(job)
  while true do
    local args = job.args
    local answer = pack(ngx.run_worker_thread(settings.pool, job.module, job.fn,
      unpack(args, 1, args.n)))
    if answer[1] or answer[2] ~= no_vm or ngx.now() >= job.deadline then
      if not answer[1] then answer[3], answer.n = answer[2] == no_vm and "unstarted" or nil, 3 end
      return answer
    end
    ngx.sleep(retry_pause)
    ngx.update_time()
  end
end

-- Runs the job in the present coroutine, which nobody must be able to kill.
local function perform(job)
  local ok, holder = pcall(ngx.thread.spawn, hold)
  local done, answer = pcall(attempt, job)
  if ok then ngx.thread.kill(holder) end
  if not done then answer = { n = 2, false, tostring(answer) } end
  return answer
end

-- A stream that was dropped unread holds its slot until the collector finds it.
local function find_dropped(slot)
  if slot:count() > 0 then return end
  collectgarbage()
  collectgarbage() -- what the first one's finalizers let go
end

local function enter(class, wait)
  local slot = slot_of(class)
  if class == "stream" then find_dropped(slot) end
  local ok, err = slot:wait(wait)
  if ok then return slot end
  if err == "timeout" then err = ("no worker thread became free in %g s"):format(wait) end
  return nil, err
end

-- A stream has its own slot when it comes here, and waits for a call's where nobody can kill it.
local function detached(_, slot, job)
  local call, err = slot, nil
  if job.class == "stream" then call, err = enter("call", math.max(job.deadline - ngx.now(), 0)) end
  job.answer = call and perform(job) or { n = 3, false, err, "unstarted" }
  slot:post()
  if call and call ~= slot then call:post() end
  job.done:post()
end

local function new_job(class, wait, module, fn, ...)
  return { class = class, module = module, fn = fn, args = pack(...), deadline = ngx.now() + wait }
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
  local job = new_job(class, wait, module, fn, ...)
  job.done = semaphore(0)
  local ok, why = ngx.timer.at(0, detached, slot, job)
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
  repeat until M.wait(job, hold_pause)
  return M.answer(job)
end

--- The same in the present coroutine: for a timer's own, which cannot be killed.
function M.run_here(class, wait, module, fn, ...)
  local slot, err = enter(class, wait)
  if not slot then return false, err, "unstarted" end
  local answer = perform(new_job(class, wait, module, fn, ...))
  slot:post()
  return unpack(answer, 1, answer.n)
end

local function warm_one(_, class, seconds, state)
  local ok, curl, fresh = M.run_here(class, hold_pause, "billhook.nginx.thread", "warm", seconds)
  if not ok or not curl then state.report(ok and "a worker thread has no libcurl" or curl) end
  if ok and fresh then state.made = state.made + 1 end
  state.ended:post()
end

-- Posts a call for every VM, one each `step` seconds, each held until the last one is posted.
local function warm_all(classes, step, state)
  for i, class in ipairs(classes) do
    local ok, err = ngx.timer.at(0, warm_one, class, (#classes - i + 1) * step, state)
    if not ok then
      state.report("no timer: " .. tostring(err))
      state.ended:post()
    end
    ngx.sleep(step)
  end
  for _ = 1, #classes do state.ended:wait(hold_pause) end
end

--- Makes all worker VMs, one by one, for each costs the event loop some milliseconds. A VM is
--- made only while all others are busy; where the machine was too slow for that, it is done again,
--- slower. Call it from a timer.
---@param report fun(message: string) is told what went wrong
function M.warm(report)
  local state = { made = 0, report = report, ended = semaphore(0) }
  local classes = {}
  for _ = 1, M.size "call" do classes[#classes + 1] = "call" end
  for _ = 1, M.size "store" do classes[#classes + 1] = "store" end
  classes[#classes + 1] = "commit" -- last, so that deliveries wait least
  local step = warm_step
  for _ = 1, warm_tries do
    warm_all(classes, step, state)
    if state.made == 0 or state.made >= #classes or ngx.worker.exiting() then return end
    step = step * 2
  end
end

return M

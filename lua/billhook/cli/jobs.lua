-- cli/jobs.lua: the processes of `billhook work` that run rules, one rule at a
-- time each. This one starts them, again where they have ended, and watches: a
-- rule that blocks its process cannot say that it does.

local children = require "billhook.cli.children"
local owner = require "billhook.inbox.owner"
local paths = require "billhook.cli.paths"
local process = require "billhook.process"
local reloads = require "billhook.cli.reload"
local term = require "billhook.cli.term"
local watches = require "billhook.app.watch"

local M = {}

local Jobs = {}
Jobs.__index = Jobs

M.FULL = 75 -- the exit code of a process that has grown so much that another one is to go on

local LOOK = 1 -- seconds between two looks at what runs
local pauses = { first = 0.5, longest = 30, steady = 60 } -- before a process is started again

-- Under which names a process of ours holds lanes: its own and a number.
local function mine(self)
  return function(name)
    for _, job in ipairs(self.list) do
      if job.child and job.owner and name:sub(1, #job.owner) == job.owner then return true end
    end
    return false
  end
end

local function start(self, job)
  local err
  job.due = nil
  local found = self.existing or self.app.store ~= nil
  job.child, err = children.start(paths.again("work", self.rules, "--job", "--memory", self.memory,
    found and "--existing" or nil), { name = "work" })
  if job.child then
    job.owner = owner.name(job.child.pid) .. "/"
  else
    term.say(err)
    job.due = process.monotonic() + pauses.longest
  end
end

-- Whether a rule was running in it. That run is put off and counted, so the next process need not
-- wait for longer and longer: other lanes would wait with it.
local function in_a_run(self, job)
  local store = self.app:open()
  for _, run in ipairs(store and store:running() or {}) do
    if run.owner:sub(1, #job.owner) == job.owner then return true end
  end
end

-- It has ended by itself: a rule may crash it again and again.
local function ended(self, job, how)
  local ran = job.child.ran
  job.child = nil
  if self.stopping then return end
  if how == "exit " .. M.FULL then
    term.say "work: rules keep half of the memory that they may take: a new process goes on"
    job.renewed = true
  end
  if job.renewed then
    job.renewed, job.due = nil, process.monotonic()
    return
  end
  job.pause = (ran > pauses.steady or in_a_run(self, job)) and pauses.first
    or math.min((job.pause or pauses.first / 2) * 2, pauses.longest)
  term.say(("work ended (%s); it starts again in %g s"):format(how, job.pause))
  job.due = process.monotonic() + job.pause
end

function Jobs:reap()
  local left = 0
  for _, job in ipairs(self.list) do
    local how = job.child and job.child:ended()
    if how then ended(self, job, how) end
    if job.child then left = left + 1 end
  end
  return left
end

-- The first signal lets rules end, the second one does not.
function Jobs:stop()
  for _, job in ipairs(self.list) do
    if job.child and self.stopping then
      job.child:kill()
    elseif job.child then
      job.child:signal "TERM"
    end
  end
  self.stopping = true
end

function Jobs:obey()
  for name in process.caught do
    if name ~= "CHLD" and name ~= "HUP" then self:stop() end
  end
end

-- Has changed rules run, by processes that begin anew once their present rule has ended.
function Jobs:renew()
  self.watched:look()
  local needs, err = reloads.examine(self.rules)
  if not needs then return term.say("the old rules go on: " .. err) end
  self.watched:took(needs)
  for _, job in ipairs(self.list) do
    if job.child then
      job.renewed = true
      job.child:signal "TERM"
    end
  end
end

-- Starts what is due; gives the seconds to the next look.
function Jobs:tick(watch)
  local now = process.monotonic()
  for _, job in ipairs(self.list) do
    if job.due and now >= job.due and not self.stopping then start(self, job) end
  end
  if self.watched and not self.stopping and self.watched:changed(now) then self:renew() end
  if now >= self.look then
    watch:round() -- where the inbox fails, those who work say so
    self.look = process.monotonic() + LOOK
  end
  local till = self.look
  for _, job in ipairs(self.list) do till = math.min(till, job.due or till) end
  return math.max(0, till - process.monotonic())
end

---Runs rules until it is told to stop.
---@param app table
---@param rules string the file that it is from
---@param options { jobs: integer, memory: integer, watch: boolean?, existing: boolean? } the
---  command's
---@return integer exit_code
function M.run(app, rules, options)
  process.signals "CHLD"
  local self = setmetatable({ app = app, list = {}, rules = rules, look = 0,
    existing = options.existing, memory = ("%d"):format(options.memory) }, Jobs)
  for i = 1, options.jobs do self.list[i] = { due = 0 } end
  self.watched = options.watch and reloads.of(app, rules) or nil
  require("billhook.app.warnings").tell(app)
  local watch = watches.new(app, mine(self))
  repeat
    self:obey()
    local left = self:reap()
    if left > 0 or not self.stopping then process.sleep(self:tick(watch)) end
  until self.stopping and self:reap() == 0
  if app.store then app.store:close() end
  return 0
end

return M

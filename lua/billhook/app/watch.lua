-- app/watch.lua: runs that take longer than they may, while they last.
--
-- A rule may never return, and blocks its process then: so whoever watches is
-- another process (the one that has started it), or a timer where rules only
-- wait for what nginx waits for. A run that is over its budget is told of, and
-- again after growing times; its row is held on to, so that nobody takes the
-- run for lost and does it as well.
--
--   local watch = watches.new(app, function(owner) return owner is ours end)
--   watch:round()        about once a second

local core = require "billhook.core"
local run = require "billhook.app.run"

local M = {}

local RARELY = 3600 -- seconds between two lines about the same run, at most

local Watch = {}
Watch.__index = Watch

---@param app table
---@param mine fun(owner: string): boolean
---@return table watch
function M.new(app, mine)
  return setmetatable({ app = app, mine = mine, runs = {} }, Watch)
end

-- The row is held for as long as its process lives, whatever the worker does meanwhile: a renewal
-- that comes too late changes nothing.
local function hold(self, one, known, now)
  local lease = run.lease(self.app)
  if known.renewed and now < known.renewed + lease / 4 then return end
  if self.app.store:renew(one.lane, one.token, lease * 1000) then known.renewed = now end
end

local function look(self, one, known, now)
  local rule = self.app.rules.by_name[one.rule]
  local budget = rule and rule.budget or self.app.budget
  if one.seconds <= budget then return end
  hold(self, one, known, now)
  if one.seconds < (known.tell or 0) then return end
  self.app.log("warn", "still_running", { id = one.id, rule = one.rule, budget = budget,
    seconds = ("%.0f"):format(one.seconds) })
  known.tell = one.seconds + math.min(one.seconds, RARELY)
end

---Looks at all runs of ours.
---@return boolean|nil, table|nil err
function Watch:round()
  local store, why = self.app:open()
  if not store then return nil, why end
  local runs
  runs, why = store:running()
  if not runs then return nil, why end
  local now, known = self.app.clock and self.app.clock() or core.text.monotonic(), {}
  for _, one in ipairs(runs) do
    if self.mine(one.owner) then
      local key = ("%.0f %.0f %s"):format(one.token, one.seq, one.rule)
      known[key] = self.runs[key] or {}
      look(self, one, known[key], now)
    end
  end
  self.runs = known
  return true
end

return M

-- app/watch.lua: the watchdog: reports rules that are running for longer than
-- their budget.
--
-- A rule that never returns blocks its process. So the watchdog is in another
-- process (the one that started it), or in a timer of nginx, if rules wait only
-- for what nginx waits for. A run that is over its budget is logged, and again
-- at growing intervals. Its lease is renewed, so that no other worker takes the
-- run for lost and starts it, too.
--
--   local watch = watches.new(app, function(owner) return owner is ours end)
--   watch:round()        about once a second

local run = require "billhook.app.run"
local strict = require "billhook.app.strict"

local M = {}

local RARELY = 3600 -- seconds between two lines about the same run, at most

local Watch = {}
Watch.__index = Watch

---@param app table
---@param mine fun(owner: string): boolean
---@return table watch
function M.new(app, mine) return setmetatable({ app = app, mine = mine, runs = {} }, Watch) end

local function look(self, store, one, known)
  local app, now = self.app, self.app.monotonic()
  local rule, lease = app.rules.by_name[one.rule], run.lease(app)
  local budget = rule and rule.budget or app.budget
  if one.seconds <= budget then return end
  -- The lease is renewed for as long as the process lives, whatever the worker does meanwhile: a
  -- renewal that comes too late changes nothing.
  if not known.renewed or now >= known.renewed + lease / 4 then
    known.renewed = store:renew(one.lane, one.token, lease * 1000) and now or known.renewed
  end
  if one.seconds < (known.tell or 0) then return end
  known.tell = one.seconds + math.min(one.seconds, RARELY)
  app.log("warn", "still_running", { id = one.id, rule = one.rule, budget = budget,
    seconds = ("%.0f"):format(one.seconds) })
end

---Looks at all runs of ours.
---@return boolean|nil, table|nil err
function Watch:round()
  return strict.run(self.app, function(store)
    local known = {}
    for _, one in ipairs(store:running()) do
      if self.mine(one.owner) then
        local key = ("%.0f %.0f %s"):format(one.token, one.seq, one.rule)
        known[key] = self.runs[key] or {}
        look(self, store, one, known[key])
      end
    end
    self.runs = known
    return true
  end)
end

return M

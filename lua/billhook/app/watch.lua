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
  -- The row is held for as long as its process lives, whatever the worker does meanwhile: a renewal
  -- that comes too late changes nothing.
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

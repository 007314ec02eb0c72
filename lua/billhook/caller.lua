--- On whose behalf a coroutine calls: a rule with an event, or nobody in particular.
--
-- A rule may run again: after a failure, after a crash. What it asked for the first time is not to
-- be carried out once more, so the calls of a run are numbered: the same call of the same rule with
-- the same event has the same name (see once/pending.lua). Coroutines that a rule starts itself,
-- but for those of billhook.map, are nobody's.

local core = require "billhook.core"

local M = {}

local main = {} -- stands for the thread that has none
local running = setmetatable({}, { __mode = "k" })

local function thread() return coroutine.running() or main end

--- From here on this coroutine calls for `name`, until the function that is given is called.
---@param name string
---@return function leave
function M.enter(name)
  local here = thread()
  local before = running[here]
  running[here] = { name = name, counts = {} }
  return function() running[here] = before end
end

--- What stands for whoever this coroutine calls for; nil for nobody.
function M.who() return running[thread()] end

--- Has this coroutine call for another's `who()`.
function M.be(who) running[thread()] = who end

--- A name for a call: nil where nobody in particular makes it.
---@param what string all that tells it from others
---@return string?
function M.name_of(what)
  local run = running[thread()]
  if not run then return nil end
  local digest = core.text.sha256(what)
  run.counts[digest] = (run.counts[digest] or 0) + 1
  return core.text.sha256(("%s\n%s\n%d"):format(run.name, digest, run.counts[digest]))
end

return M

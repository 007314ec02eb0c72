-- inbox/steps.lua: decides which rule of a lane runs next. Pure. The inbox uses
-- it to note the next run, and the work loop uses it to run the rules.
--
--   walk = steps.start(lane)      a lane as claim() gives it
--   row, name, mark, after_failure = steps.next(walk, hold)     nil: no more on this page
--   steps.wait(walk, name, wait, held)    that rule is to run again; nil for `held`: without
--                                         holding back its later events
--
-- A walk has `seen`, the last event that was passed, and `after`, the ms until something is due.

local M = {}

---@param lane { events: table[], more: boolean }
function M.start(lane)
  return { events = lane.events, more = lane.more, at = 1, rule = 0, held = {}, seen = 0 }
end

---The next page of the same lane.
function M.turn(walk, page)
  walk.events, walk.more, walk.at, walk.rule = page.events, page.more, 1, 0
end

function M.wait(walk, name, wait, held)
  walk.after = math.min(walk.after or wait, wait)
  if held then walk.held[name] = math.max(walk.held[name] or 0, held) end
end

-- What keeps a rule from an event just now: the wait in ms; nil: nothing.
local function obstacle(walk, name, mark, hold)
  if mark and (mark.wait or 0) > 0 then return mark.wait end
  local earlier = walk.held[name]
  if earlier and earlier < hold then return hold - earlier end
end

local function next_rule(walk, row, hold)
  while walk.rule < #row.rules do
    walk.rule = walk.rule + 1
    local name = row.rules[walk.rule]
    local mark = row.marks[name]
    if not mark or mark.state == "waiting" then
      local wait = obstacle(walk, name, mark, hold)
      if not wait then return name, mark end
      M.wait(walk, name, wait, mark and mark.held)
    end
  end
end

---The next rule that may run, named "" where the event cannot be run at all.
---@param walk table
---@param hold number ms for which a failing rule holds back its later events
---@return table|nil row, string|nil name, table|nil mark, boolean|nil after_failure
function M.next(walk, hold)
  while true do
    local row = walk.events[walk.at]
    if not row then return nil end
    local name, mark
    if not row.bad then
      name, mark = next_rule(walk, row, hold)
    elseif walk.rule == 0 then
      walk.rule, name, mark = 1, "", row.marks[""]
    end
    if name then return row, name, mark, walk.held[name] ~= nil end
    walk.seen, walk.at, walk.rule = row.seq, walk.at + 1, 0
  end
end

return M

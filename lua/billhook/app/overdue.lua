-- app/overdue.lua: plans a read of each invoice on its configured days past due. check.lua makes
-- the event if the invoice still has a balance then. Days are this process's local days.

local derive = require "billhook.app.derive"
local read = require "billhook.app.read"

local M = {}

-- Open invoices that reach one of the days and were not read since: how many. Without `count_only`
-- they are read singly by the next checks.
local function reached(mine, today, count_only)
  local context = { today = today, overdue = mine.app.overdue, start = mine.memory.start }
  local count = 0
  read.pages(mine, { which = "open", due_by = today }, function(row, now, marks)
    if not derive.overdue_step(row, context) then return end
    count = count + 1
    if not count_only then marks[#marks + 1] = read.look(row, now) end
  end)
  return count
end

---Has what is past due read; for those who work, once a day and account.
---@param mine billhook.app.account
---@param now integer ms
---@return boolean
function M.look(mine, now)
  local today = os.date("%Y-%m-%d", math.floor(now / 1000))
  -- one request for all of them, and what that does not show singly
  if mine.vendor.list_overdue and reached(mine, today, true) > 0 then
    read.list(mine, mine.vendor.list_overdue)
  end
  reached(mine, today)
  mine:update(function(memory) memory.overdue_on = today end)
  return true
end

return M

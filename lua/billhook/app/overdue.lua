-- app/overdue.lua: has invoices that reach one of the days past due read on that day; check.lua
-- makes the event of what is then still to be paid. Days are this process's local days.

local accounts = require "billhook.app.account"
local check = require "billhook.app.check"
local lists = require "billhook.app.lists"
local rules = require "billhook.app.rules"
local vendors = require "billhook.vendor"

local M = {}

local PAGE = 500
local AGAIN = 60000 -- ms

-- Open invoices that reach one of the days and were not read since: how many; `change(row)`, where
-- it is given, makes a change of each.
local function reached(app, store, account, memory, today, change)
  local context = { today = today, overdue = app.overdue, start = memory.start }
  local after, count = 0, 0
  while true do
    local page, why = store:past_due(account, today, after, PAGE)
    if not page then return nil, why end
    local changes = {}
    for _, row in ipairs(page.rows) do
      after = row.lane
      if check.overdue_event(row, {}, context) then
        count = count + 1
        changes[#changes + 1] = change and change(row, page.now)
      end
    end
    if #changes > 0 then
      local done
      done, why = store:apply(changes)
      if not done then return nil, why end
    end
    if #page.rows < PAGE then return count end
  end
end

-- The first to note it does it; where that fails, it is tried again a minute later.
local function begin(store, account, today)
  local mine
  local memory, why = accounts.update(store, account, function(fresh, now)
    mine = fresh.overdue_on ~= today and now >= (fresh.overdue_at or 0)
    if mine then fresh.overdue_at = now + AGAIN end
  end)
  if not memory then return nil, why end
  return mine
end

---For those who work: once a day and account.
---@param app table
---@param store table
---@param account string
---@param memory table
---@param now integer ms
---@return boolean|nil, table|nil err
function M.due(app, store, account, memory, now)
  local client = app.accounts[account]
  local today = os.date("%Y-%m-%d", math.floor(now / 1000))
  if memory.overdue_on == today or now < (memory.overdue_at or 0) or not rules.readable(client)
    or accounts.may_ask(memory, now) ~= "yes" or accounts.moved(memory, client) then return true end
  local mine, why = begin(store, account, today)
  if not mine then return mine == false or nil, why end
  local count
  count, why = reached(app, store, account, memory, today)
  if not count then return nil, why end
  local list = vendors[client.vendor].list_overdue
  if list and count > 0 then -- one request for all of them
    local report
    report, why = lists.read(app, store, account, memory, list)
    if not report then
      accounts.blame(app, store, account, why)
      return nil, why
    end
  end
  -- what that did not show is read singly
  count, why = reached(app, store, account, memory, today, function(row, at)
    return { account = account, invoice = row.invoice, expect = row.stamp,
      set = check.look(row, at) }
  end)
  if not count then return nil, why end
  return accounts.update(store, account, function(now_memory) now_memory.overdue_on = today end)
    ~= nil
end

return M

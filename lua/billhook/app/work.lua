-- app/work.lua: a worker's round: route what came in, check invoices that need it, run rules.

local accounts = require "billhook.app.account"
local owner = require "billhook.inbox.owner"
local readback = require "billhook.app.readback"
local route = require "billhook.app.route"
local run = require "billhook.app.run"

local M = {}

-- Rounds may go side by side (in nginx's timers): each has a name of its own, under which nothing
-- is held when it begins.
local names = {}

local function enter()
  local n = 1
  while names[n] do n = n + 1 end
  names[n] = true
  return n, ("%s/%d"):format(owner.name(), n)
end

-- Accounts of this app in turn: each round begins with another one, so that none has to wait for
-- the others' work.
local function in_turn(app, due)
  local list = {}
  for account in pairs(due) do
    if app.accounts[account] then list[#list + 1] = account end
  end
  table.sort(list)
  local turned = {}
  app.turn = (app.turn or 0) + 1
  for i = 1, #list do turned[i] = list[(i + app.turn) % #list + 1] end
  return turned
end

-- What is due for accounts that this app does not have is another program's: told once.
local function strangers(app, due)
  for _, of in ipairs { due.accounts, due.incoming } do
    for account in pairs(of) do
      app.strangers = app.strangers or {}
      if not app.accounts[account] and not app.strangers[account] then
        app.strangers[account] = true
        app.log("warn", "unknown_account", { account = account,
          message = "the inbox has work for an account that is not here: it is left alone" })
      end
    end
  end
end

local function backoff(app)
  return { base = app.backoff.base * 1000, cap = app.backoff.cap * 1000 }
end

local function look(app, store, want)
  local due, why = store:due(want)
  if not due then return nil, why end
  strangers(app, due)
  return due
end

local function is_over(settings)
  return settings.stop ~= nil and settings.stop()
end

-- Routes everything that came in; a page of each account in turn.
local function route_all(app, store, memory, due, settings)
  local left = in_turn(app, due.incoming)
  while #left > 0 and not is_over(settings) do
    local more = {}
    for _, account in ipairs(left) do
      local routed, why = route.round(app, store, account, memory[account])
      if not routed then return nil, why end
      -- a full page: there may be more
      if routed >= route.PAGE then more[#more + 1] = account end
    end
    left = more
  end
  return true
end

local function run_all(app, store, due, settings, me)
  local ran, left = 0, {}
  for _, account in ipairs(in_turn(app, due.accounts)) do
    if due.accounts[account].runs then left[#left + 1] = account end
  end
  local most = math.max(settings.limit, 1) -- claims, each of which has something: a bound
  while #left > 0 and ran < settings.limit and most > 0 and not is_over(settings) do
    local more = {}
    for _, account in ipairs(left) do
      if ran < settings.limit then
        most = most - 1
        local n, why, claimed = run.round(app, store, account, { owner = me,
          limit = settings.limit - ran, stop = settings.stop })
        ran = ran + n
        if why then return ran, why end
        if (claimed or 0) > 0 then more[#more + 1] = account end
      end
    end
    left = more
  end
  return ran
end

local function round(app, store, settings, me)
  local memory, why = accounts.load(app, store)
  if not memory then return nil, why end
  local want = { owner = me, fresh = true, backoff = backoff(app) }
  local due
  due, why = look(app, store, want)
  if not due then return nil, why end
  local ok = true
  if due.lost then ok, why = store:recover(want) end
  if ok then ok, why = route_all(app, store, memory, due, settings) end
  if ok then due, why = look(app, store, { owner = me }) end
  if not (ok and due) then return nil, why end
  for _, account in ipairs(in_turn(app, app.accounts)) do
    local one = due.accounts[account] or { checks = 0 }
    if (one.checks > 0 or memory[account].fault) and not is_over(settings) then
      due.accounts[account], one.now = one, due.now
      local found
      found, why = readback.round(app, store, account, memory[account], one, me,
        function() return is_over(settings) end)
      if not found then return nil, why end
      one.runs = one.runs or found > 0
    end
  end
  return run_all(app, store, due, settings, me)
end

---One round.
---@param app table
---@param settings { limit: integer?, stop: (fun(): boolean)? } limit: runs of rules at most (64)
---@return integer|nil ran, table|nil err
function M.round(app, settings)
  local store, why = app:open()
  if not store then return nil, why end
  local name, me = enter()
  local ok, ran, reason = pcall(round, app, store,
    { limit = settings.limit or 64, stop = settings.stop }, me)
  names[name] = nil
  if not ok then error(ran, 0) end
  if (ran or 0) == 0 and reason then return nil, reason end
  return ran
end

return M

-- app/account.lua: what is remembered of an account: one text of the inbox, as JSON.
--
--   start            ms: when it was first worked on; invoices issued earlier are no news
--   origin           where its API is, and whose it is; where that changes, checks stop
--   baseline         true once a complete list was stored
--   worked           true once its invoices' path has answered 200
--   paused_till, fault, failures   the circuit breaker: while it is open, one probe a minute
--   deletions        ms of the deletions of the last day; brake_off: ms until which many are right
--   issued, collected   the newest of the vendor's times that the lists have shown
--   poll_at, reconcile_at, reconcile_due   ms: when which is due; reconciled_at: the last one asked
--                    for by news; overdue_on: the day that was looked at; overdue_at: not before
--   polled_at, listed_at, open_at, heavy   the last lists
--
-- Each is changed in its own update, so that workers do not undo each other's.

local core = require "billhook.core"
local json = require "billhook.json"
local rules = require "billhook.app.rules"

local M = {}

local DAY = 86400000
local PROBE = 60000 -- ms between two probes while the breaker is open
local FAILURES = 3 -- fruitless reads in a row, none answered between them, that open it

local function name_of(account) return "account " .. account end

local function decode(text) return text and core.json.decode(text) or {} end

---Where the account's API is and whose it is, as one text.
---@param client table
---@return string
function M.origin(client)
  local options = client.options or {}
  return table.concat({ client.vendor, options.base_url or "-", options.tenant or "-",
    options.school_code or "-" }, " ")
end

---Changes what is remembered: fn(memory, now) changes the table in place.
---@param store table
---@param account string
---@param fn fun(memory: table, now: integer)
---@return table|nil memory, table|nil err
function M.update(store, account, fn)
  return store:update(name_of(account), function(text, now)
    local memory = decode(text)
    fn(memory, math.floor(now * 1000 + 0.5))
    return json.encode(memory), memory
  end)
end

-- Nothing of such an account is checked any more: a person has to know, once.
local function tell_moved(app, account, memory, client)
  app.moved = app.moved or {}
  local moved = M.moved(memory, client)
  if moved and not app.moved[account] then
    app.log("error", "account_moved", { account = account, message = ("its address or school has"
      .. " changed, so its API is not asked: see `billhook inbox rebase %s`"):format(account) })
  end
  app.moved[account] = moved
end

---What is remembered of all accounts of an app; one that is new begins here.
---@param app table
---@param store table
---@return table<string, table>|nil by_account, table|nil err
function M.load(app, store)
  local texts, why = store:texts(name_of "")
  if not texts then return nil, why end
  local all = {}
  for account, client in pairs(app.accounts) do
    local memory = texts[account] and decode(texts[account])
    if not memory or not memory.start then
      memory, why = M.update(store, account, function(new, now)
        -- vendors tell times in whole seconds: what is issued in this one is issued since
        new.start, new.origin = new.start or now - now % 1000, new.origin or M.origin(client)
      end)
      if not memory then return nil, why end
    end
    tell_moved(app, account, memory, client)
    all[account] = memory
  end
  return all
end

---Is it another API, or another school's, than before? Then nothing of it is believed until
---`billhook inbox rebase`. An account that has nothing to be mistaken about takes the new one.
function M.moved(memory, client)
  return memory.origin ~= nil and memory.origin ~= M.origin(client)
    and rules.readable(client) ~= false
end

---A person says that what the API now says is right: where it is, and how much it has deleted.
function M.rebase(store, account, client)
  return M.update(store, account, function(memory, now)
    memory.origin, memory.worked = M.origin(client), nil
    memory.paused_till, memory.fault, memory.failures = nil, nil, nil
    memory.brake_off = now + DAY
  end)
end

-- --- the circuit breaker -----------------------------------------------------------

---May the account's API be asked now: "yes", "probe" (one read), or false.
function M.may_ask(memory, now)
  if not memory.fault then return "yes" end
  return now >= (memory.paused_till or 0) and "probe"
end

local function well(memory, found)
  memory.fault, memory.paused_till, memory.failures = nil, nil, nil
  memory.worked = memory.worked or found or nil
end

---Its API has answered: whatever was wrong is over. `found`: with an invoice.
function M.answered(app, store, account, memory, found)
  local fine = not memory.fault and (memory.failures or 0) == 0
  if fine and (memory.worked or not found) then return end
  if memory.fault then app.log("info", "account_resumed", { account = account }) end
  well(memory, found)
  return M.update(store, account, function(fresh) well(fresh, found) end)
end

---It has not: `at_once` where one failure says enough. A person is told once, when the breaker
---opens.
---@param app table
---@param store table
---@param account string
---@param fault string
---@param at_once? boolean
function M.failed(app, store, account, fault, at_once)
  local opened
  local memory = M.update(store, account, function(fresh, now)
    fresh.failures = (fresh.failures or 0) + 1
    opened = not fresh.fault and (at_once or fresh.failures >= FAILURES)
    if fresh.fault or opened then fresh.paused_till, fresh.fault = now + PROBE, fault end
  end)
  if memory and opened then
    app.log("error", "account_paused", { account = account,
      message = fault .. ": its API is asked once a minute until it answers" })
  end
end

---A list that could not be read speaks against the account, where it was sent at all.
function M.blame(app, store, account, why)
  if why.status or why.kind ~= "store" and why.kind ~= "invalid" and why.kind ~= "rate_limited" then
    M.failed(app, store, account, tostring(why), why.status == 401)
  end
end

-- --- deletions ------------------------------------------------------------------

---How many invoices were deleted within a day, by all workers.
---@return integer|nil, table|nil err
function M.deletions(store, account, now)
  local text, why = store:get(name_of(account))
  if text == nil then return nil, why end
  local memory, n = decode(text or nil), 0
  for _, at in ipairs(memory.deletions or {}) do
    if at > now - DAY then n = n + 1 end
  end
  return n
end

---Notes a deletion.
function M.deleted(store, account)
  return M.update(store, account, function(memory, now)
    local kept = {}
    for _, at in ipairs(memory.deletions or {}) do
      if at > now - DAY and #kept < 10000 then kept[#kept + 1] = at end
    end
    kept[#kept + 1] = now
    memory.deletions = json.array(kept)
  end)
end

return M

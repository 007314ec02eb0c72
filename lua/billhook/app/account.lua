-- app/account.lua: an account with its client and its stored state. The state is one text of the
-- inbox, as JSON:
--
--   start            ms: when it was first worked on; earlier invoices make no events
--   origin           the API's address and tenant; if these change, checks stop
--   baseline         true after a complete list was stored
--   worked           true after the path of its invoices has answered 200
--   paused_till, fault, failures   the circuit breaker: while it is open, one probe a minute
--   deletions        ms of the deletions of the last day; brake_off: ms until many are allowed
--   issued, collected   the newest of the vendor's times in its lists
--   poll_at, reconcile_at, reconcile_due   ms: when each is due; reconciled_at: the last one that a
--                    delivery caused; overdue_on: the last day checked; overdue_at: not before
--   polled_at        the last poll
--   list_at, open_at   not before: a list in place of many reads, a list of open invoices
--
-- Each field is changed in an update of its own, so workers do not overwrite each other's changes.
-- Inbox errors are raised (app/strict.lua).

local core = require "billhook.core"
local err = require "billhook.error"
local json = require "billhook.json"
local rules = require "billhook.app.rules"
local strict = require "billhook.app.strict"
local vendors = require "billhook.vendor"

local M = {}

---@class billhook.app.account
---@field app table
---@field store table whose methods raise
---@field name string
---@field client table
---@field vendor table its vendor's module
---@field reads string|false the operation that reads an invoice back
---@field memory table as it was last seen
local Account = {}
Account.__index = Account

local DAY = 86400000
local PROBE = 60000 -- ms between two probes while the breaker is open
local FAILURES = 3 -- fruitless reads in a row, none answered between them, that open it

---Has a time come that was planned for `most` ms from some moment on? One that is much further away
---was planned by a clock that has been set back since; a little further, by a worker after `now`.
---@param at integer|nil nil: as if it had
---@param now integer
---@param most integer
---@return boolean
function M.has_come(at, now, most) return not at or now >= at or at > now + 2 * most end

---Where an account's API is and whose it is, as one text.
---@param client table
---@return string
function M.origin(client)
  local options = client.options or {}
  return table.concat({ client.vendor, options.base_url or "-", options.tenant or "-",
    options.school_code or "-" }, " ")
end

local function update(store, name, fn)
  return store:update("account " .. name, function(text, now)
    local memory = text and core.json.decode(text) or {}
    fn(memory, math.floor(now * 1000 + 0.5))
    return json.encode(memory), memory
  end)
end

---Changes what is remembered: fn(memory, now) changes the table in place.
function Account:update(fn) self.memory = update(self.store, self.name, fn) end

---A line of the log about it.
function Account:log(level, name, message, invoice)
  self.app.log(level, name, { account = self.name, invoice = invoice,
    message = message and tostring(message) })
end

---All accounts of an app by name; one that is new begins here.
---@param app table
---@param store table whose methods raise
---@return table<string, billhook.app.account>
function M.load(app, store)
  local texts, all = store:texts "account ", {}
  for name, client in pairs(app.accounts) do
    local self = setmetatable({ app = app, store = store, name = name, client = client,
      vendor = vendors[client.vendor], reads = rules.readable(client),
      memory = texts[name] and core.json.decode(texts[name]) or {} }, Account)
    if not self.memory.start then
      self:update(function(new, now)
        -- vendors tell times in whole seconds: what is issued in this one is issued since
        new.start, new.origin = new.start or now - now % 1000, new.origin or M.origin(client)
        new.reconcile_due = new.reconcile_due or now + DAY
      end)
    end
    local moved = self:moved()
    if moved and not app.moved[name] then -- nothing of it is checked any more: a person has to know
      self:log("error", "account_moved", ("its address or school has changed, so its API is not"
        .. " asked: see `billhook inbox rebase %s`"):format(name))
    end
    app.moved[name], all[name] = moved, self
  end
  return all
end

---Is it another API, or another school's, than before? Then nothing of it is believed until
---`billhook inbox rebase`. An account that has nothing to be mistaken about takes the new one.
function Account:moved()
  return self.reads and self.memory.origin ~= nil and self.memory.origin ~= M.origin(self.client)
end

---A person says that what the API now says is right: where it is, and how much it has deleted.
---@return table|nil memory, table|nil err
function M.rebase(store, account, client)
  return update(store, account, function(memory, now)
    memory.origin, memory.worked = M.origin(client), nil
    memory.paused_till, memory.fault, memory.failures = nil, nil, nil
    memory.brake_off = now + DAY
  end)
end

---An error: what is asked for cannot be done.
function Account:cannot(what)
  local _, why = rules.readable(self.client)
  return err.new { kind = "invalid", vendor = self.client.vendor,
    message = ("%s is not possible: %s"):format(what, tostring(why)) }
end

---Something with its API that a person or the clock asks for: fn(account, ...). A failure of the
---API speaks against the account.
---@return any value, table|nil err
function Account:attempt(fn, ...)
  if self:moved() then
    return nil, err.new { kind = "conflict", code = "origin", vendor = self.client.vendor,
      message = ("the account's address or school has changed: see `billhook inbox rebase %s`")
        :format(self.name) }
  end
  local value, why = strict.catch(fn, self, ...)
  if value == nil and (why.status
    or why.kind ~= "store" and why.kind ~= "invalid" and why.kind ~= "rate_limited") then
    self:failed(tostring(why), why.status == 401)
  end
  return value, why
end

-- --- the circuit breaker -----------------------------------------------------------

---May the account's API be asked now: "yes", "probe" (one read), or false.
function Account:may_ask(now)
  if not self.reads or self:moved() then return false end
  if not self.memory.fault then return "yes" end
  return M.has_come(self.memory.paused_till, now, PROBE) and "probe"
end

---Its API has answered: whatever was wrong is over. `found`: with an invoice.
function Account:answered(found)
  local memory = self.memory
  local fine = not memory.fault and (memory.failures or 0) == 0
  if fine and (memory.worked or not found) then return end
  if memory.fault then self:log("info", "account_resumed") end
  self:update(function(fresh)
    fresh.fault, fresh.paused_till, fresh.failures = nil, nil, nil
    fresh.worked = fresh.worked or found or nil
  end)
end

---It has not: `at_once` where one failure says enough. A person is told once, when the breaker
---opens.
---@param fault string
---@param at_once? boolean
function Account:failed(fault, at_once)
  local opened
  self:update(function(fresh, now)
    fresh.failures = (fresh.failures or 0) + 1
    opened = not fresh.fault and (at_once or fresh.failures >= FAILURES)
    if fresh.fault or opened then fresh.paused_till, fresh.fault = now + PROBE, fault end
  end)
  if opened then
    self:log("error", "account_paused",
      fault .. ": its API is asked once a minute until it answers")
  end
end

-- --- deletions ------------------------------------------------------------------

---Has a person said that many deletions are right?
function Account:brake_is_off(now) return not M.has_come(self.memory.brake_off, now, DAY) end

---Notes a deletion; gives the number of those within a day, by all workers. Without `another` it
---only counts.
---@param another? boolean
---@return integer
function Account:deletions(another)
  local kept
  self:update(function(memory, now)
    kept = {}
    for _, at in ipairs(memory.deletions or {}) do
      if at > now - DAY and #kept < 10000 then kept[#kept + 1] = math.min(at, now) end
    end
    if another then kept[#kept + 1] = now end
    memory.deletions = json.array(kept)
  end)
  return #kept
end

return M

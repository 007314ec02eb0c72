-- app/init.lua: an app, which combines accounts, rules and an inbox.
--
--   local app = billhook.app { inbox = "sqlite:billhook.db", accounts = { school = client } }
--   app:on("invoice.created", function(event) ... end)
--
-- app/options.lua describes its options.
--
-- Rules are registered before the first delivery is received or processed. Later `on` raises,
-- because an event stores the names of the rules that matched when it was made. A rule that is
-- added later does not get older events (`replay` runs it for them). A rule that was removed fails
-- until it is back or its attempts are used up.

local checks = require "billhook.app.options"
local clients = require "billhook.client"
local core = require "billhook.core"
local inbox = require "billhook.inbox"
local log = require "billhook.log"
local metrics = require "billhook.app.metrics"
local options = require "billhook.options"
local poll = require "billhook.app.poll"
local pulse = require "billhook.shared.pulse"
local receive = require "billhook.app.receive"
local reconcile = require "billhook.app.reconcile"
local retention = require "billhook.app.retention"
local rules = require "billhook.app.rules"
local share = require "billhook.shared"
local work = require "billhook.app.work"

local M = {}

---@class billhook.App
---@field accounts table<string, billhook.client>
local App = {}
App.__index = App

-- What its processes have in common is in the inbox: what is left of an account's quota, and the
-- calls whose outcome is open. A client must not keep its app; but where only the client is kept,
-- it still needs the inbox: without, it would know nothing of what is open. And the app counts what
-- its clients ask of their APIs.
local function share_with_clients(app)
  local weak, url = setmetatable({ app = app }, { __mode = "v" }), app.inbox
  for name, client in pairs(app.accounts) do
    clients.observe(client, function(operation, result)
      if weak.app then metrics.add(weak.app, ("call %s %s %s"):format(name, operation, result)) end
    end)
    if not url:find "^memory:" then
      clients.share(client, function()
        local its = weak.app
        if its and (its.store or not pulse.on_event_loop()) then return its:open() end
        return share.of(url)
      end)
    end
  end
end

---@param given billhook.AppOptions
---@return billhook.App app
function M.new(given)
  local self = options.read(checks.app, given, "billhook.app", 2)
  for _, name in ipairs { "inbox", "accounts" } do
    if not self[name] then error(("billhook.app: '%s' is missing"):format(name), 2) end
  end
  local tell = self.log or log.default
  -- a logger that fails must not take a delivery with it
  self.log = function(...) pcall(tell, ...) end
  self.rules, self.monotonic = rules.new(self.accounts), self.clock or core.text.monotonic
  -- what a process remembers: its timers, whose turn it is, what it has told
  self.dead_handlers, self.timers, self.claims, self.strangers, self.moved = {}, {}, {}, {}, {}
  share_with_clients(self)
  return setmetatable(self, App)
end

-- Every public method begins with it; a dot in place of the colon is raised at the caller's line.
-- `begins`: no rule is added from now on.
local function own(self, name, begins)
  if getmetatable(self) ~= App then error(options.no_method(name), 3) end
  self.started = self.started or begins
end

local function check_account(self, name, account)
  if type(account) ~= "string" or not self.accounts[account] then
    error(("%s: there is no account '%s'"):format(name, tostring(account)), 3)
  end
end

-- --- rules ------------------------------------------------------------------

---Adds a rule. It fails by raising, by nil and a reason, or by false.
---@param pattern string an exact type, "family.*" or "*", each optionally "account:" in front
---@param settings billhook.RuleOptions|billhook.Rule the handler, where there are none
---@param handler? billhook.Rule
---@return billhook.App app
---@overload fun(self: billhook.App, pattern: string, handler: billhook.Rule): billhook.App
function App:on(pattern, settings, handler)
  own(self, "on")
  if type(settings) == "function" and handler == nil then settings, handler = {}, settings end
  if self.started then error("on: rules must be added before the first delivery", 2) end
  settings = options.read(checks.rule, settings, "on", 2)
  local rule, why = self.rules:add(pattern, settings, handler, self)
  if not rule then error("on: " .. why, 2) end
  return self
end

---Is told of every event that a rule gives up, and of every delivery that nothing can be made of,
---before it is a dead letter.
---@param handler fun(event: billhook.Event, err: any)
---@return billhook.App app
function App:on_dead(handler)
  own(self, "on_dead")
  if type(handler) ~= "function" then
    error(options.wrong("on_dead", "handler", "must be a function", handler), 2)
  end
  self.dead_handlers[#self.dead_handlers + 1] = handler
  return self
end

-- --- the inbox --------------------------------------------------------------

---Has the app use this store instead of opening its own.
---@param store table
function App:use_store(store) self.store = store end

---Has the app make no new inbox file: it is for one that another process has opened before.
---@return nil
function App:use_existing() self.existing = true end

---Has what is refused kept, some of it.
---@param keep fun(fields: table, headers: table, body: string): string|nil, string|nil  gives a
---  name for it, or nil and why it is not kept
---@return nil
function App:keep_refused(keep) self.keep = keep end

---The store, opened when it is first needed; a failure is not remembered.
---@return table|nil store, table|nil err
function App:open()
  if self.store then return self.store end
  local store, why = inbox.open(self.inbox, { clock = self.clock, log = self.log,
    create = not self.existing })
  self.store = store
  return store, why
end

-- --- deliveries -------------------------------------------------------------

---Takes a delivery: verified, durably stored, answered. Nothing that is sent makes it raise.
---@param account string
---@param headers table<string, string|string[]>
---@param body string the raw bytes
---@param from? string the sender's address, for the log
---@return integer status, string reply, table headers
function App:receive(account, headers, body, from)
  own(self, "receive", true)
  return receive.receive(self, account, headers, body, from)
end

---Does the inbox take what comes? No, where it has not taken the last delivery, within half a
---minute; else it is given something, at most once a second, for that is a commit.
---@return boolean|nil, table|nil err
function App:health() return receive.health(self) end

-- --- work -------------------------------------------------------------------------

-- Is it so many seconds since this was last done, in this process? Then it is done now.
local function is_time(self, what, seconds)
  local now, last = self.monotonic(), self.timers[what]
  if last and now >= last and now < last + seconds then return false end
  self.timers[what] = now
  return true
end

---Polls and compares what the clock asks for: every `poll_every` seconds, and once a day. Whoever
---runs rules calls it before work(), as `billhook work` and nginx's timers do.
---@return boolean|nil, billhook.Error|nil err
function App:tend()
  own(self, "tend")
  if not self.poll_every or not is_time(self, "tend", 1) then return true end
  return work.tend(self, work.POLLS)
end

-- Calls whose process is gone: another process of this app may have died. Never raises.
local function recover(self)
  for name, client in pairs(self.accounts) do
    local function report(level, event, fields)
      fields.account = name
      self.log(level, event, fields)
    end
    local fine, why = pcall(clients.recover, client, report)
    if not fine or why then
      self.log("error", "not_recovered", { account = name, message = tostring(why) })
    end
  end
end

---One round: routes what came in, checks invoices that need it, runs rules. Once a day it has what
---is past due read, where the app's option `overdue` names days.
---@param settings? { limit?: integer, stop?: fun(): boolean, bound?: function } limit: runs of
---  rules at most (64); bound: called with the rule and its event before each run, and without
---  them after it
---@return integer|nil ran how many rules ran
---@return billhook.Error|nil err
function App:work(settings)
  own(self, "work", true)
  if is_time(self, "recover", 60) then recover(self) end
  local ran, why = true, nil
  if self.overdue and self.overdue[1] then ran, why = work.tend(self, work.OVERDUE) end
  if ran then ran, why = work.round(self, settings or {}) end
  if not ran then return nil, why end
  if is_time(self, "metrics", 10) then metrics.flush(self) end
  if self.retention and is_time(self, "retention", 3600) then retention.look(self) end
  return ran
end

---Asks an account's vendor for what was never delivered, by its lists; what they show and is not
---known yet becomes events. `billhook work` and nginx's timers do it every `poll_every` seconds.
---@param account string
---@return integer|nil events how many were found
---@return billhook.Error|nil err
function App:poll(account)
  own(self, "poll", true)
  check_account(self, "poll", account)
  return work.now(self, account, poll.poll)
end

---Compares all that an account's API has with what is known; differences become events.
---@param account string
---@param settings? { dry_run?: boolean } dry_run: nothing is stored, no event is made
---@return billhook.Report|nil report
---@return billhook.Error|nil err
function App:reconcile(account, settings)
  own(self, "reconcile", true)
  check_account(self, "reconcile", account)
  settings = options.read({ dry_run = { "boolean" } }, settings, "reconcile", 2)
  return work.now(self, account, reconcile.reconcile, settings.dry_run)
end

return M

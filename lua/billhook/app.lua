-- app.lua: accounts, rules and an inbox, put together.
--
--   local app = billhook.app { inbox = "sqlite:billhook.db", accounts = { school = client } }
--   app:on("invoice.created", function(event) ... end)
--
-- Options, with their defaults:
--
--   inbox      "sqlite:FILE", "memory:" or "postgresql://..."
--   accounts   clients by names of yours (letters, digits, "_", "-", "."): part of URLs and ids
--   attempts   24     runs of a rule before its event is a dead letter
--   backoff    { base = 5, cap = 3600 }   seconds; the wait before run n + 1 is anything from 0.5
--              to base * 2^(n-1), at most cap. With 24 runs that is 7 hours on the average: a rule
--              gets over a night's outage of what it needs, and its first repeats come at once
--   hold       900    seconds for which a failing rule holds back its later events of that invoice
--   budget     60     seconds that a rule may take; longer is reported. A lane is leased for the
--              longest budget and 60 s more
--   retention  90     days after which the body of a finished event is deleted, with all else that
--              may be about a person; ids are kept. false: never. So long an invoice of a term may
--              be disputed, and what was sent is looked for
--   log        fun(level, name, fields); one line to stderr
--   clock      epoch seconds, and random, a number from 0 to 1: for tests
--
-- Rules are registered before the first delivery is taken or worked on; later `on` raises, for an
-- event keeps the names of the rules that wanted it when it came. A rule that is added later does
-- not see older events (`replay` gives them to it); one that has gone fails until it is back or
-- its attempts are used up.
--
-- receive(account, headers, body) is examine() -> events, store:admit(events), admitted(events,
-- results); a host that stores in its own way calls the parts.

local complain = require "billhook.complain"
local core = require "billhook.core"
local dispatch = require "billhook.dispatch"
local inbox = require "billhook.inbox"
local intake = require "billhook.delivery.intake"
local metrics = require "billhook.delivery.metrics"
local options = require "billhook.options"

local M = {}

local App = {}
App.__index = App

local SUSPICION = 30 -- seconds for which a delivery that was not stored speaks against the inbox

-- --- options ----------------------------------------------------------------

local function check_accounts(given)
  local accounts, count = {}, 0
  for name, client in pairs(given) do
    if type(name) ~= "string" or not name:find("^[%w_][%w_.%-]*$") or #name > 64 then
      return nil, "must have names of letters, digits, '_', '-' and '.', up to 64 of them"
    elseif type(client) ~= "table" or type(client.vendor) ~= "string" then
      return nil, ("has no client under '%s'"):format(name)
    end
    accounts[name] = client
    count = count + 1
  end
  if count == 0 then return nil, "must have an account in it" end
  return accounts
end

local function check_backoff(given)
  for name, value in pairs(given) do
    if name ~= "base" and name ~= "cap" then
      return nil, ("has an unknown field '%s'"):format(tostring(name))
    elseif type(value) ~= "number" or not (value > 0 and value <= 86400) then
      return nil, ("must have seconds in '%s', up to 86400"):format(name)
    end
  end
  return { base = given.base or 5, cap = given.cap or 3600 }
end

local function check_inbox(given)
  local ok, why = inbox.check(given)
  if not ok then return nil, "is none: " .. why end
  return given
end

local function check_retention(given)
  if given == false or type(given) == "number" and given > 0 and given <= 36500 then
    return given
  end
  return nil, "must be days above 0, up to 36500, or false"
end

local function seconds_up_to(most)
  return function(value)
    if value > 0 and value <= most then return value end
    return nil, ("must be above 0, up to %d"):format(most)
  end
end

local RULES = {
  inbox = { "string", check = check_inbox },
  accounts = { "table", check = check_accounts },
  attempts = { "number", check = options.counting, default = 24 },
  backoff = { "table", check = check_backoff, default = { base = 5, cap = 3600 } },
  hold = { "number", check = seconds_up_to(30 * 86400), default = 900 },
  budget = { "number", check = seconds_up_to(86400), default = 60 },
  retention = { { "number", "boolean" }, check = check_retention, default = 90 },
  log = { "function" },
  clock = { "function" },
  random = { "function", default = require("billhook.retry").chance },
}

-- What its processes have in common is in the inbox: what is left of an account's quota, and the
-- calls whose outcome is open.
local function share(app)
  if app.inbox:find("^memory:") then return end
  local clients = require "billhook.client"
  -- A client must not keep its app. But where only the client is kept, it still needs the inbox:
  -- without, it would know nothing of what is open.
  local weak, url = setmetatable({ app = app }, { __mode = "v" }), app.inbox
  for _, account in pairs(app.accounts) do
    clients.share(account, function()
      local hosts = require "billhook.host.quota"
      if weak.app then return hosts.inbox_of(weak.app) end
      return hosts.inbox(url)
    end)
  end
end

-- Counts what its clients ask of their APIs.
local function watch(app)
  local clients = require "billhook.client"
  local weak = setmetatable({ app = app }, { __mode = "v" })
  for name, account in pairs(app.accounts) do
    clients.observe(account, function(operation, result)
      if weak.app then metrics.add(weak.app, ("call %s %s %s"):format(name, operation, result)) end
    end)
  end
end

---@param given table
---@return table app
function M.new(given)
  local self = options.read(RULES, given, "billhook.app", 2)
  for _, name in ipairs { "inbox", "accounts" } do
    if not self[name] then error(("option '%s' of billhook.app is missing"):format(name), 2) end
  end
  local log = self.log or require("billhook.log").default
  -- a logger that fails must not take a delivery with it
  self.log = function(...) pcall(log, ...) end
  self.dispatch = dispatch.new(self.accounts)
  self.dead_handlers = {}
  watch(self)
  setmetatable(self, App)
  share(self)
  return self
end

-- Every public method begins with it; a dot in place of the colon is raised at the caller's line.
local function own(self, name)
  if getmetatable(self) ~= App then error(name .. " is a method: call it with a colon", 3) end
end

-- --- rules ------------------------------------------------------------------

---Adds a rule.
---@param pattern string an exact type, "family.*" or "*", each optionally "account:" in front
---@param settings table|function { name =, trust = "api", attempts =, budget = }, or the handler
---@param handler? fun(event: table): any, any fails by raising, by nil and a reason,
---  or by false
---@return table app
function App:on(pattern, settings, handler)
  own(self, "on")
  if type(settings) == "function" and handler == nil then settings, handler = {}, settings end
  if self.started then error("on: rules must be added before the first delivery", 2) end
  local rule, why = self.dispatch:add(pattern, settings, handler, self)
  if not rule then error("on: " .. why, 2) end
  return self
end

---Is told of every event that a rule gives up, before it is a dead letter.
---@param handler fun(event: table, err: any)
---@return table app
function App:on_dead(handler)
  own(self, "on_dead")
  if type(handler) ~= "function" then error("on_dead: the handler must be a function", 2) end
  self.dead_handlers[#self.dead_handlers + 1] = handler
  return self
end

-- --- the inbox --------------------------------------------------------------

---Has the app use this store instead of opening its own.
---@param store table
function App:use_store(store) self.store = store end

---The store, opened when it is first needed; a failure is not remembered.
---@return table|nil store, table|nil err
function App:open()
  if self.store then return self.store end
  local store, why = inbox.open(self.inbox, { clock = self.clock, log = self.log })
  self.store = store
  return store, why
end

-- --- deliveries -------------------------------------------------------------

---Verifies a delivery: events for the inbox, or a status, a reply and its headers.
---@param account string
---@param headers table<string, string|string[]>
---@param body string the raw bytes
---@return table|integer, string|nil, table|nil
function App:examine(account, headers, body)
  self.started = true
  return intake.examine(self, account, headers, body)
end

local LEVELS = { contested = "warn", crowded = "error" }

-- What the inbox has made of an event: not always what it came as.
local function log_result(self, event, result)
  local what, how = result:match("^(%l+) ?(%l*)$")
  local kept = what == "admitted" or how ~= ""
  local as = how == "again" and event.again or event
  self.log(LEVELS[what] or event.reason and "warn" or "info", what, {
    id = event.account .. ":" .. event.id, account = event.account, type = as.type,
    trust = event.trust, invoice = event.invoice, rules = kept and #as.rules or nil,
    reason = event.reason, note = event.note,
    kept = what == "contested" and (kept and "as another event" or "as evidence")
      or what == "crowded" and "unhandled" or nil,
  })
end

---The answer for events that the inbox has taken.
---@param events table[]
---@param results string[]
---@return integer status, string reply, table headers
function App:admitted(events, results)
  self.trouble = nil
  for i, event in ipairs(events) do log_result(self, event, results[i]) end
  return intake.success()
end

---The answer where the inbox could not take them.
---@param events table[] of one account
---@param why table
---@return integer status, string reply, table headers
function App:not_stored(events, why)
  local account = events[1] and events[1].account or "?"
  self.trouble = { at = core.text.monotonic(), why = why }
  metrics.add(self, "delivery not_stored " .. account)
  local fields = { account = account, events = #events, message = tostring(why),
    id = events[1] and account .. ":" .. events[1].id, answer = 503 }
  if why.code == "INBOX_MOVED" then -- until a person does something
    complain.once(self, "not_stored", fields)
  else
    self.log("error", "not_stored", fields)
  end
  return intake.refusal(503)
end

local function receive(self, account, headers, body)
  local events, reply, reply_headers = self:examine(account, headers, body)
  if type(events) ~= "table" then return events, reply, reply_headers end
  local store, why = self:open()
  local results
  if store then results, why = store:admit(events) end
  if results then return self:admitted(events, results) end
  return self:not_stored(events, why)
end

---Takes a delivery: verified, durably stored, answered. Nothing that is sent makes it raise.
---@param account string
---@param headers table<string, string|string[]>
---@param body string the raw bytes
---@return integer status, string reply, table headers
function App:receive(account, headers, body)
  own(self, "receive")
  local ok, status, reply, reply_headers = pcall(receive, self, account, headers, body)
  if ok then return status, reply, reply_headers end
  self.log("error", "internal", { account = tostring(account), message = tostring(status) })
  return intake.refusal(503)
end

---Does the inbox take what comes? No, where it has not taken the last delivery, within half a
---minute; else it is given something, at most once a second, for that is a commit.
---@return boolean|nil, table|nil err
function App:health()
  local now = core.text.monotonic()
  if self.trouble and now < self.trouble.at + SUSPICION then return nil, self.trouble.why end
  local last = self.checked
  if last and last.ok and now < last.at + 1 then return true end
  last = { at = now }
  local store
  store, last.why = self:open()
  if store then last.ok, last.why = store:set("health", ("%.0f"):format(core.text.now())) end
  self.checked = last
  return last.ok, last.why
end

---One round of due deliveries.
---@param settings? { limit?: integer, stop?: fun(): boolean } limit: runs of rules at most (64)
---@return integer|nil ran how many rules ran, table|nil err
function App:work(settings)
  own(self, "work")
  self.started = true
  local now = self.clock and self.clock() or core.text.monotonic()
  require("billhook.outcome.recover").due(self, now)
  local ran, why = require("billhook.work").round(self, settings or {})
  if not ran then return nil, why end
  metrics.due(self, now)
  require("billhook.delivery.retention").due(self, now, self.clock and now or core.text.now())
  return ran
end

---Asks an account's vendor for what was never delivered.
---@param account string
---@param settings? table see delivery.poll
---@return integer|nil found how many were not known yet, table|nil err
function App:poll(account, settings)
  own(self, "poll")
  self.started = true
  if type(account) ~= "string" or not self.accounts[account] then
    error(("poll: there is no account '%s'"):format(tostring(account)), 2)
  end
  local found, why = require("billhook.delivery.poll").round(self, account, settings or {})
  return found, why
end

return M

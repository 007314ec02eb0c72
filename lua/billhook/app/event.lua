-- app/event.lua: the event that a rule is given. Each run of a rule gets its own object.
--
--   id               "admissions:200@3.1f9c03ab.updated": the same over retries, replays and
--                    restored backups: a rule's own idempotency key
--   account, vendor, tenant, type, native (the vendor's own type, if a webhook is the event)
--   invoice_id, version   of the invoice, as text, and how often it has changed
--   trust            "api": the API said so; "body": the proof covers what was sent; "id" and
--                    "sender": nobody vouches for it
--   data             the invoice or payment as it was then, where it is proven; nil of a deletion
--   previous         what it was before
--   changes          { member = { from =, to = } } of top-level members
--   claims           what was sent, where nobody vouches for it
--   latest           false where a newer version of the invoice is known by now
--   live             false for a vendor's test events
--   occurred_at, received_at   epoch seconds
--   attempt          1 for the first run of this rule with this event
--   after_failure    true where an earlier event of the same invoice has still not got through this
--                    rule, and is not waited for any longer
--
-- Expensive fields (data, previous, changes, claims, latest) are computed on first access.

local compare = require "billhook.app.compare"
local core = require "billhook.core"
local err = require "billhook.error"
local invoices = require "billhook.invoice"
local json = require "billhook.json"
local log = require "billhook.log"
local options = require "billhook.options"
local private = require "billhook.private"
local read = require "billhook.app.read"
local rules = require "billhook.app.rules"
local vendors = require "billhook.vendor"

local M = {}

local unpack = table.unpack or rawget(_G, "unpack")

---@class billhook.Event
local Event = {}

local mt = { __name = "billhook.event" }

-- What an event keeps to itself; nil where it is none.
local function inner(event) return private.of(event, mt) end

local lazy = {}

local function tagged(my, text)
  local value = text and core.json.read(text)
  if my.row.type:find "^invoice%." and my.row.version and type(value) == "table" then
    return invoices.tag(my.row.vendor, value)
  end
  return value
end

function lazy.data(my) return tagged(my, my.row.data) end
function lazy.previous(my) return tagged(my, my.row.previous) end
function lazy.claims(my) return my.row.claims and core.json.read(my.row.claims) end

function lazy.changes(my, event)
  local now, before = event.data, event.previous
  if type(now) ~= "table" or type(before) ~= "table" then return {} end
  local client = my.context.client
  return compare.changes(vendors[my.row.vendor], now, before, client and client.watch,
    my.row.type:find "^payment%." ~= nil)
end

function lazy.latest(my)
  if not my.row.version then return true end
  local latest, why = my.context.store:is_latest(my.row.account, my.row.invoice, my.row.version)
  if latest == nil then error(why, 0) end
  return latest
end

function mt.__index(self, name)
  if Event[name] then return Event[name] end
  local make = lazy[name]
  if not make then return nil end
  local value = make(inner(self), self)
  if value ~= nil then rawset(self, name, value) end
  return value
end

function mt.__tostring(self) return ("event %s (%s)"):format(self.id, self.type) end

local FIELDS = { "id", "account", "vendor", "tenant", "type", "native", "version", "trust", "live",
  "occurred_at", "received_at" }

---@param row table as the inbox gives it
---@param context { client: table?, store: table, rule: string?, attempt: integer?, token: integer?,
---  after_failure: boolean? }
---@return table event
function M.new(row, context)
  local self = private.give({}, mt, { row = row, context = context, failing = {} })
  for _, name in ipairs(FIELDS) do self[name] = row[name] end
  self.invoice_id = row.invoice
  self.attempt = context.attempt or 1
  self.after_failure = context.after_failure or nil
  return self
end

local function own(self, name)
  return inner(self) or error(options.no_method(name), 3)
end

---The invoice as the vendor's API gives it now; read once a run.
---@return table|nil invoice, billhook.Error|nil err
function Event:invoice()
  local my = own(self, "invoice")
  if my.asked then return my.asked[1], my.asked[2] end
  if not my.row.invoice then return nil, read.fault "the event names no invoice" end
  local client, operation, why = my.context.client, false, "the account is not configured any more"
  if client then operation, why = rules.readable(client) end
  if not operation then return nil, err.new { kind = "invalid", message = why } end
  local fine, invoice, reason = pcall(client.call, client, operation, { id = my.row.invoice })
  if not fine then invoice, reason = nil, read.fault(invoice) end
  if invoice or reason and reason.kind == "not_found" then my.asked = { invoice, reason } end
  return invoice, reason
end

---The deliveries behind this event, oldest first, with their redacted bodies; none where a poll
---has found the change.
---@return billhook.Delivery[]|nil deliveries, billhook.Error|nil err
function Event:deliveries()
  local my = own(self, "deliveries")
  if #my.row.deliveries == 0 then return {} end
  return my.context.store:deliveries { seqs = my.row.deliveries, after = 0, limit = 100 }
end

---Has the rule run again after this many seconds; also what the rule may return.
---@param seconds number
---@return nil, string
function Event:retry_after(seconds)
  local my = own(self, "retry_after")
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= 30 * 86400) then
    error(options.wrong("retry_after", "seconds", "must be a number from 0 to 2592000", seconds), 2)
  end
  my.delay = seconds
  return nil, ("asked to run again in %g s"):format(seconds)
end

-- --- steps --------------------------------------------------------------------

---Calls a function of the user's, and says how it has failed: by raising; by nil and a reason; or
---by false, which is what pcall gives, too.
---@param who string "the rule": where it does not say why
---@param fn fun(...): any, any
---@return table|nil failure { reason, trace = a text that was raised, with the frames above it }
---@return any value of what has not failed
function M.try(who, fn, ...)
  local arguments, count = { ... }, select("#", ...)
  local ok, value, reason = xpcall(function()
    return fn(unpack(arguments, 1, count))
  end, function(why)
    if type(why) ~= "string" then return { reason = why or who .. " raised " .. tostring(why) } end
    local trace = debug.traceback(why, 2)
    return { reason = why, trace = trace:match("^(.-)\n[^\n]*'xpcall'") or trace }
  end)
  if not ok and type(value) ~= "table" then -- no memory, not even for the handler
    collectgarbage() -- what the function has left: its end is still to be written down
    value = { reason = tostring(value) }
  end
  if not ok then return value end
  if value == false or value == nil and reason ~= nil then
    return { reason = reason or who .. " returned false" }
  end
  return nil, value
end

-- Steps that have failed in this run and have not been got through since, the earliest first.
local function mark(my, name, failure)
  for i = #my.failing, 1, -1 do
    if my.failing[i].step == name then table.remove(my.failing, i) end
  end
  if failure then
    failure.step = name
    my.failing[#my.failing + 1] = failure
  end
end

-- Gives its result as it is kept, as JSON; or nil and how it has failed.
local function first_time(my, name, fn)
  local failure, value = M.try("the step", fn)
  if failure then return nil, failure end
  local fine, encoded = pcall(json.encode, { value = value })
  -- what it has done is done, whatever it gave: better no result than a second time
  local row, context = my.row, my.context
  local text, why = context.store:step(row.seq, context.rule, name, fine and encoded or "{}")
  if not text then error(why, 0) end
  if not fine then
    error(("once: the result of '%s' cannot be kept: %s. The step is not run again, and"
      .. " gives nil"):format(name, encoded), 6)
  end
  return text
end

-- The result of a step; or false and how it has failed.
local function step(my, name, fn)
  local context = my.context
  local text, why = context.store:step(my.row.seq, context.rule, name, nil, context.token)
  if text == nil then error(why, 0) end
  if not text then text, why = first_time(my, name, fn) end
  if not text then return false, why end
  return true, core.json.decode(text).value
end

-- What the step gives; or nil and how it has failed. `theirs`: a failure of the step itself is the
-- rule's to look at.
local function run_step(my, method, name, fn, theirs)
  if type(name) ~= "string" or name == "" then
    error(options.wrong(method, "name", "must be a string that is not empty", name), 3)
  elseif type(fn) ~= "function" then
    error(options.wrong(method, "fn", "must be a function", fn), 3)
  end
  if not my.context.rule then error(method .. ": only a rule can have steps", 3) end
  local ok, done, value = pcall(step, my, name, fn)
  if ok and done then
    mark(my, name)
    return value
  end
  local failure = ok and value or { reason = done }
  mark(my, name, not (ok and theirs) and failure or nil)
  if not (ok and theirs) then error(failure.reason, 0) end
  return nil, failure.reason
end

---A step of a rule whose result is kept: it is not run again when the rule is. What it gives must
---be what JSON can hold; a step whose result is not is not run again either, and gives nil then.
---One that raises, or gives nil and a reason, or false, has failed: it is not kept, and `once`
---raises that reason out of the rule. A rule that catches it has failed all the same, unless the
---step went well later in this run: see try_once.
---@param name string
---@param fn fun(): any
---@return any value
function Event:once(name, fn)
  local value = run_step(own(self, "once"), "once", name, fn)
  return value
end

---The same for a rule that looks at a failure itself, and may go on: nil and the reason then. The
---step is not kept, so it is run again if the rule is.
---@param name string
---@param fn fun(): any
---@return any value, any reason
function Event:try_once(name, fn)
  local value, reason = run_step(own(self, "try_once"), "try_once", name, fn, true)
  return value, reason
end

-- --- for run.lua -------------------------------------------------------------

---How a run has failed in the end: also by a step that the rule has caught and said nothing of.
---@param event table
---@param failure table|nil of the rule itself
---@return table|nil failure { reason, trace, step = the name of the step that it comes from }
function M.outcome(event, failure)
  local failing = inner(event).failing
  if not failure then return failing[1] end
  for _, of_step in ipairs(failing) do
    if rawequal(of_step.reason, failure.reason) then
      of_step.trace = of_step.trace or failure.trace
      return of_step
    end
  end
  return failure
end

---What a run has failed with, as a text.
---@param failed table
---@param whole? boolean with the frames of what was raised
---@return string
function M.text(failed, whole)
  local text = log.text(whole and failed.trace or failed.reason)
  return failed.step and log.text(("step '%s': %s"):format(failed.step, text)) or text
end

---The seconds that the rule has asked for, or nil.
function M.delay(event) return inner(event).delay end

return M

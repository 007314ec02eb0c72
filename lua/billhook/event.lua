-- event.lua: what a rule is given. One object a run of a rule.
--
--   id, key          "school:aa3a27d6-...", unique in the inbox; key is the same for the same
--                    news however often and whichever way it comes
--   invoice_id       of the invoice that it is about, as a string; event:invoice() reads it
--   account, vendor, tenant, type (unified), native (the vendor's), live
--   occurred_at, received_at   epoch seconds
--   attempt          1 for the first run of this rule with this event
--   trust            what is proven: "sender", "id", "body", "api"
--   data             the payload where it is proven ("body", "api"), else nil
--   claims           what was sent, where nobody vouches for it, or the API was asked instead
--   contested        true where the same id came with another content as well, or another id with
--                    the creation of the same invoice, and nothing proves either
--   after_failure    true where an earlier event of the same invoice has still not got through
--                    this rule, and is not waited for any longer

local err = require "billhook.error"
local core = require "billhook.core"
local dispatch = require "billhook.dispatch"
local private = require "billhook.private"

local M = {}

local unpack = table.unpack or rawget(_G, "unpack")

local Event = {}
local mt = { __index = Event, __name = "billhook.event" }

function mt.__tostring(self) return ("event %s (%s)"):format(self.id, self.type) end

-- What an event keeps to itself; nil where it is none.
local function inner(event) return private.of(event, mt) end

-- The code of an error that no later run can be without: what is named is no invoice.
M.HOPELESS = "no_invoice"

local PROVEN = { body = true, api = true }

local FIELDS = {
  "id", "key", "account", "vendor", "tenant", "type", "native", "live", "occurred_at",
  "received_at", "trust",
}

-- The payload; what is bad may be no JSON at all.
local function payload(row)
  local value = row.body and core.json.read(row.body)
  if row.under and type(value) == "table" then return value.data end
  return value
end

---Is what was sent an invoice, as the API would give it? Betterez's webhooks hold it; DreamApply's
---hold an entry of a journal, DreamClass's nothing that is proven.
function M.is_invoice(row)
  return row.vendor == "betterez" and row.trust == "body" and row.type:find("^invoice%.") ~= nil
end

---@param row table as the inbox gives it
---@param context { client: table?, store: table, rule: string?, attempt: integer?, token: integer?,
---  after_failure: boolean?, fetched: table? }
---@return table event
function M.new(row, context)
  local fetched = context.fetched or {}
  local self = private.give({}, mt, { row = row, context = context, failing = {},
    invoice = fetched.invoice, missing = fetched.missing, failed = fetched.failed })
  for _, name in ipairs(FIELDS) do self[name] = row[name] end
  self.invoice_id = row.invoice
  self.attempt = context.attempt or 1
  self.after_failure = context.after_failure or nil
  self.contested = row.contested or nil
  local value = payload(row)
  if PROVEN[row.trust] and not row.contested and not row.bad then
    self.data = M.is_invoice(row) and type(value) == "table"
      and require("billhook.invoice").tag(row.vendor, value) or value
  else
    self.claims = value
  end
  return self
end

local function own(self, name)
  return inner(self) or error(name .. " is a method: call it with a colon", 3)
end

---The body as it is stored: the bytes that came, with credentials blotted out; nil after a purge.
---Of a DreamApply list it is this item.
---@return string|nil
function Event:raw() return own(self, "raw").row.body end

-- "Not found" is what a wrong path says, too: of one that no document shows, it proves nothing.
local GUESSED = "path"

local function not_found(operation)
  return err.new { kind = "not_found", code = GUESSED, operation = operation, status = 404,
    message = "the API has no such invoice, or no such path: no document shows that of '"
      .. operation .. "', so give it in the option 'paths'" }
end

local function fetch(my)
  local row, client = my.row, my.context.client
  if not row.invoice then
    return nil, err.new { kind = "invalid", code = M.HOPELESS, retryable = false,
      message = "the event names no invoice" }
  end
  local operation, why = false, "the account is not configured any more"
  if client then operation, why = dispatch.can_refetch(client) end
  if not operation then return nil, err.new { kind = "invalid", message = why } end
  local fine, invoice, reason = pcall(client.call, client, operation, { id = row.invoice })
  if fine and why and reason and reason.kind == "not_found" then
    return nil, not_found(operation)
  end
  if fine then return invoice, reason end
  -- the client raises for an id that cannot be one; here it is the sender's fault
  return nil, err.new { kind = "invalid", code = M.HOPELESS, retryable = false,
    message = tostring(invoice) }
end

---The invoice as the vendor's API gives it now; read once a run.
---@return table|nil invoice, table|nil err
function Event:invoice()
  local my = own(self, "invoice")
  if my.failed then return nil, my.failed end
  if my.invoice == nil and my.missing == nil then
    local invoice, why = fetch(my)
    my.invoice = invoice
    if not invoice and why and why.kind == "not_found" then my.missing = why end
    if not invoice then return nil, why end
  end
  return my.invoice, my.missing
end

---Has the rule run again after this many seconds; also what the rule may return.
---@param seconds number
---@return nil, string
function Event:retry_after(seconds)
  local my = own(self, "retry_after")
  if type(seconds) ~= "number" or not (seconds >= 0 and seconds <= 30 * 86400) then
    error("retry_after: 'seconds' must be a number from 0 to 2592000", 2)
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
  local fine, encoded = pcall(require("billhook.json").encode, { value = value })
  -- what it has done is done, whatever it gave: better no result than a second time
  local row, context = my.row, my.context
  local text, why = context.store:step(row.seq, context.rule, name, fine and encoded or "{}")
  if not text then error(why, 0) end
  if not fine then
    error(("once: the result of '%s' cannot be kept: %s. The step is not run again, and"
      .. " gives nil"):format(name, encoded), 5)
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

local function check_step(my, method, name, fn)
  if type(name) ~= "string" or name == "" then error(method .. ": 'name' must be a string", 3) end
  if type(fn) ~= "function" then error(method .. ": 'fn' must be a function", 3) end
  if not my.context.rule then error(method .. ": only a rule can have steps", 3) end
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
  local my = own(self, "once")
  check_step(my, "once", name, fn)
  local ok, done, value = pcall(step, my, name, fn)
  local failure = not ok and { reason = done } or not done and value or nil
  mark(my, name, failure)
  if failure then error(failure.reason, 0) end
  return value
end

---The same for a rule that looks at a failure itself, and may go on: nil and the reason then. The
---step is not kept, so it is run again if the rule is.
---@param name string
---@param fn fun(): any
---@return any value, any reason
function Event:try_once(name, fn)
  local my = own(self, "try_once")
  check_step(my, "try_once", name, fn)
  local ok, done, value = pcall(step, my, name, fn)
  mark(my, name, not ok and { reason = done } or nil) -- that was the inbox, not the step
  if not ok then error(done, 0) end
  if not done then return nil, value.reason end
  return value
end

-- --- for work.lua -------------------------------------------------------------

local function can_refetch(my)
  return my.row.invoice ~= nil and my.context.client ~= nil
    and dispatch.can_refetch(my.context.client) ~= false
end

-- Does the API say what the event says? An invoice that is there, or has been deleted.
local function agrees(event, invoice, why)
  local gone = event.type:find("%.deleted$") and why and why.code ~= GUESSED
  if not invoice and not gone then return false, why end
  if invoice and event.type == "invoice.deleted" then
    return false, err.new { kind = "conflict", message = "the API still has the invoice" }
  end
  return true
end

---Reads the invoice back where the rule or a dispute wants it; an error where that fails, and
---whether it is that the API says otherwise.
---@return table|nil err, boolean|nil unconfirmed
function M.confirm(event, wanted)
  local my = inner(event)
  if not (wanted or my.row.contested and can_refetch(my)) then return end
  if my.row.trust == "api" and not my.row.invoice then return end -- said by the API, of no invoice
  local invoice, why = event:invoice()
  if not invoice and not my.missing then
    my.failed = why
    return why
  end
  local fine, reason = agrees(event, invoice, why)
  if not fine then return reason, true end
  my.confirmed = true
  -- also of what was polled: that is an entry of a journal, and no invoice
  event.claims = event.claims or event.data
  event.data, event.trust = invoice, "api"
end

---Has the API stood by it in this run?
function M.confirmed(event) return inner(event).confirmed == true end

---What the API said, for another object of an event of the same invoice.
function M.fetched(event)
  local my = inner(event)
  return { invoice = my.invoice, missing = my.missing, failed = my.failed }
end

---Is it proven, or is there no way to ask?
function M.credible(event)
  local my = inner(event)
  return PROVEN[my.row.trust] == true or not can_refetch(my)
end

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

---The seconds that the rule has asked for, or nil.
function M.delay(event) return inner(event).delay end

return M

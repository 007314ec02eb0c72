-- app/options.lua: the options of billhook.app, and of a rule, checked. With their defaults:
--
--   inbox      "sqlite:FILE", "memory:" or "postgresql://..."
--   accounts   clients by names of yours (letters, digits, "_", "-", "."): part of URLs and ids
--   overdue    {}     days past due at which invoice.overdue comes: { 0, 7, 14 }
--   attempts   24     runs of a rule before its event is a dead letter
--   backoff    { base = 5, cap = 3600 }   seconds; the wait before run n + 1 is random, from 0.5
--              to base * 2^(n-1), and at most cap. 24 runs take 7 hours on average: the first
--              retries come soon, and a rule survives an outage at night
--   hold       900    seconds for which a failing rule holds back its later events of that invoice
--   budget     60     seconds that a rule may take; longer is reported. An invoice is leased for
--              the longest budget and 60 s more
--   stop_after        seconds after which `billhook work` ends the process of a run that has not
--              ended; by default 10 budgets, at least 600 s. false: never
--   retention  90     days after an invoice is closed until the content of its deliveries and
--              events is deleted; ids and amounts stay. false: never
--   poll_every 300    seconds between two polls of an account by `billhook work`, which also
--              compares all its invoices once a day; false: neither, unless you call them
--   log        fun(level, name, fields); one line to stderr
--   clock      epoch seconds, and random, a number from 0 to 1: for tests

local clients = require "billhook.client"
local inbox = require "billhook.inbox"
local log = require "billhook.log"
local options = require "billhook.options"
local retry = require "billhook.client.retry"

local function demand(test, message)
  return function(value)
    if test(value) then return value end
    return nil, message
  end
end

local function within(value, least, most)
  return type(value) == "number" and value >= least and value <= most
end

local function seconds_up_to(most)
  return demand(function(value) return value > 0 and value <= most end,
    ("must be above 0, up to %d"):format(most))
end

-- A number above zero, or false.
local function unless_false(most, unit)
  return demand(function(given)
    return given == false or within(given, 0, most) and given > 0
  end, ("must be %s above 0, up to %d, or false"):format(unit, most))
end

local budget, stop_after = seconds_up_to(86400), unless_false(864000, "seconds")

local function check_accounts(given)
  local checked = {}
  for name, client in pairs(given) do
    if type(name) ~= "string" or not name:find("^[%w_][%w_.%-]*$") or #name > 64 then
      return nil, "must have names of letters, digits, '_', '-' and '.', up to 64 of them"
    elseif not clients.is(client) then
      return nil, ("has no client under '%s'"):format(name)
    end
    checked[name] = client
  end
  if not next(checked) then return nil, "must have an account in it" end
  return checked
end

local function check_backoff(given)
  for name, value in pairs(given) do
    if name ~= "base" and name ~= "cap" then
      return nil, ("has an unknown field '%s'"):format(tostring(name))
    elseif not within(value, 0, 86400) or value == 0 then
      return nil, ("must have seconds in '%s', up to 86400"):format(name)
    end
  end
  return { base = given.base or 5, cap = given.cap or 3600 }
end

local function check_inbox(given)
  local ok, why = inbox.check(given)
  return ok and given, why
end

local function check_overdue(given)
  local steps = {}
  for name, step in pairs(given) do
    if not within(step, 0, 3650) or step % 1 ~= 0 or not within(name, 1, #given) then
      return nil, "must be a list of whole days from 0 to 3650"
    end
    steps[name] = step
  end
  table.sort(steps)
  return steps
end

local M = {}

M.app = {
  inbox = { "string", check = check_inbox },
  accounts = { "table", check = check_accounts },
  overdue = { "table", check = check_overdue },
  attempts = { "number", check = options.counting, default = 24 },
  backoff = { "table", check = check_backoff, default = { base = 5, cap = 3600 } },
  hold = { "number", check = seconds_up_to(30 * 86400), default = 900 },
  budget = { "number", check = budget, default = 60 },
  stop_after = { { "number", "boolean" }, check = stop_after },
  retention = { { "number", "boolean" }, default = 90, check = unless_false(36500, "days") },
  poll_every = { { "number", "boolean" }, default = 300, check = demand(function(given)
    return given == false or within(given, 1, 86400)
  end, "must be seconds from 1 to 86400, or false") },
  log = { "function" },
  clock = { "function" },
  random = { "function", default = retry.chance },
}

---The name of a rule stands in the inbox, in logs and on pages.
M.check_name = demand(function(value)
  return value ~= "" and not value:find "[%z\1-\31]" and log.text(value, 200) == value
end, "must be a text of one line, up to 200 bytes of UTF-8")

-- Those of a rule that the app has too are the app's, where they are not given.
M.rule = {
  name = { "string", check = M.check_name },
  trust = { "string", check = demand(function(value) return value == "api" end,
    "can only be \"api\"") },
  attempts = { "number", check = options.counting },
  budget = { "number", check = budget },
  stop_after = { { "number", "boolean" }, check = stop_after },
}

return M

-- app/options.lua: the options of billhook.app, checked. With their defaults:
--
--   inbox      "sqlite:FILE", "memory:" or "postgresql://..."
--   accounts   clients by names of yours (letters, digits, "_", "-", "."): part of URLs and ids
--   overdue    {}     days past due at which invoice.overdue comes: { 0, 7, 14 }
--   attempts   24     runs of a rule before its event is a dead letter
--   backoff    { base = 5, cap = 3600 }   seconds; the wait before run n + 1 is anything from 0.5
--              to base * 2^(n-1), at most cap. With 24 runs that is 7 hours on the average: a rule
--              gets over a night's outage of what it needs, and its first repeats come at once
--   hold       900    seconds for which a failing rule holds back its later events of that invoice
--   budget     60     seconds that a rule may take; longer is reported. An invoice is leased for
--              the longest budget and 60 s more
--   stop_after        seconds after which a run that does not end is ended with its process, by
--              `billhook work`; 10 budgets, at least 600 s, by default. false: never
--   retention  90     days after which what a closed invoice's deliveries and events say is
--              deleted; ids and amounts are kept. false: never
--   poll_every 300    seconds between two polls of an account by `billhook work`, which also
--              compares all of it once a day; false: neither, unless you call them
--   log        fun(level, name, fields); one line to stderr
--   clock      epoch seconds, and random, a number from 0 to 1: for tests

local inbox = require "billhook.inbox"
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

local function check_accounts(given)
  local checked = {}
  for name, client in pairs(given) do
    if type(name) ~= "string" or not name:find("^[%w_][%w_.%-]*$") or #name > 64 then
      return nil, "must have names of letters, digits, '_', '-' and '.', up to 64 of them"
    elseif type(client) ~= "table" or type(client.vendor) ~= "string" then
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
  if not ok then return nil, "is none: " .. why end
  return given
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

return {
  inbox = { "string", check = check_inbox },
  accounts = { "table", check = check_accounts },
  overdue = { "table", check = check_overdue },
  attempts = { "number", check = options.counting, default = 24 },
  backoff = { "table", check = check_backoff, default = { base = 5, cap = 3600 } },
  hold = { "number", check = seconds_up_to(30 * 86400), default = 900 },
  budget = { "number", check = seconds_up_to(86400), default = 60 },
  stop_after = { { "number", "boolean" }, check = demand(function(given)
    return given == false or within(given, 0, 864000) and given > 0
  end, "must be seconds above 0, up to 864000, or false") },
  retention = { { "number", "boolean" }, default = 90, check = demand(function(given)
    return given == false or within(given, 0, 36500) and given > 0
  end, "must be days above 0, up to 36500, or false") },
  poll_every = { { "number", "boolean" }, default = 300, check = demand(function(given)
    return given == false or within(given, 1, 86400)
  end, "must be seconds from 1 to 86400, or false") },
  log = { "function" },
  clock = { "function" },
  random = { "function", default = retry.chance },
}

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
--   retention  90     days after which what a closed invoice's deliveries and events say is
--              deleted; ids and amounts are kept. false: never
--   poll_every 300    seconds between two polls of an account by `billhook work`, which also
--              compares all of it once a day; false: neither, unless you call them
--   log        fun(level, name, fields); one line to stderr
--   clock      epoch seconds, and random, a number from 0 to 1: for tests

local inbox = require "billhook.inbox"
local options = require "billhook.options"
local retry = require "billhook.retry"

local function check_accounts(given)
  local checked, count = {}, 0
  for name, client in pairs(given) do
    if type(name) ~= "string" or not name:find("^[%w_][%w_.%-]*$") or #name > 64 then
      return nil, "must have names of letters, digits, '_', '-' and '.', up to 64 of them"
    elseif type(client) ~= "table" or type(client.vendor) ~= "string" then
      return nil, ("has no client under '%s'"):format(name)
    end
    checked[name] = client
    count = count + 1
  end
  if count == 0 then return nil, "must have an account in it" end
  return checked
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

local function check_poll(given)
  if given == false or type(given) == "number" and given >= 1 and given <= 86400 then
    return given
  end
  return nil, "must be seconds from 1 to 86400, or false"
end

local function check_overdue(given)
  local steps = {}
  for i, step in ipairs(given) do
    if type(step) ~= "number" or step % 1 ~= 0 or step < 0 or step > 3650 then
      return nil, "must be a list of whole days from 0 to 3650"
    end
    steps[i] = step
  end
  for name in pairs(given) do
    if steps[name] == nil then return nil, "must be a list of whole days from 0 to 3650" end
  end
  table.sort(steps)
  return steps
end

local function seconds_up_to(most)
  return function(value)
    if value > 0 and value <= most then return value end
    return nil, ("must be above 0, up to %d"):format(most)
  end
end

return {
  inbox = { "string", check = check_inbox },
  accounts = { "table", check = check_accounts },
  overdue = { "table", check = check_overdue },
  attempts = { "number", check = options.counting, default = 24 },
  backoff = { "table", check = check_backoff, default = { base = 5, cap = 3600 } },
  hold = { "number", check = seconds_up_to(30 * 86400), default = 900 },
  budget = { "number", check = seconds_up_to(86400), default = 60 },
  retention = { { "number", "boolean" }, check = check_retention, default = 90 },
  poll_every = { { "number", "boolean" }, check = check_poll, default = 300 },
  log = { "function" },
  clock = { "function" },
  random = { "function", default = retry.chance },
}

-- app/metrics.lua: what an app has done, as Prometheus text.
--
--   metrics.text(app, extra)      the text, for whatever serves /metrics
--   metrics.add(app, name, n)     counts what no transaction of the inbox counts
--   metrics.flush(app)            hands that over to the inbox
--
-- Receivers and workers are many processes, so what is counted is in the inbox. Each process counts
-- for itself, and hands it over every 10 seconds and when it is asked for metrics; a killed one
-- takes those of its last seconds with it. Counters' names are
--
--   delivery RESULT ACCOUNT          new, duplicate, refused, not_stored
--   refusal CODE ACCOUNT             why they were refused
--   secret NUMBER ACCOUNT            which of the account's secrets a delivery was signed with
--   run RESULT SECONDS RULE          runs of that result within so many seconds ("+Inf": longer);
--                                    total: the ms that they took
--   call ACCOUNT OPERATION RESULT    requests to APIs, by status or kind of failure

local accounts = require "billhook.app.account"
local counters = require "billhook.inbox.counters"

local M = {}

local EVERY = 10 -- seconds

-- Seconds; runs that took longer than the last are "+Inf".
local BOUNDS = { "0.01", "0.05", "0.1", "0.5", "1", "5", "10", "30", "60" }
local SECONDS = {}
for i, text in ipairs(BOUNDS) do SECONDS[i] = tonumber(text) end

---@param app table
---@param name string a few words without spaces
---@param n? number
---@param total? number
function M.add(app, name, n, total)
  app.tally = app.tally or counters.tally()
  app.tally:add(name, n or 1, total)
end

---Counts a run of a rule.
---@param app table
---@param rule string
---@param result string "done", "failed", "dead"
---@param took number seconds
function M.run(app, rule, result, took)
  local i = 1
  while SECONDS[i] and took > SECONDS[i] do i = i + 1 end
  M.add(app, ("run %s %s %s"):format(result, BOUNDS[i] or "+Inf", rule), 1,
    math.floor(took * 1000 + 0.5))
end

---Hands over what this process has counted; keeps it where that fails.
---@param app table
---@return boolean|nil, table|nil err
function M.flush(app)
  local tally = app.tally
  if not tally then return true end
  local store, why = app:open()
  if not store then return nil, why end
  app.tally = nil -- what is counted from now on goes into another
  local ok
  ok, why = store:count(tally:list())
  if ok then return true end
  for _, one in ipairs(tally:list()) do M.add(app, one.name, one.n, one.total) end
  return nil, why
end

---For those who work: flushes when it is time to.
---@param app table
---@param now number seconds
function M.due(app, now)
  if app.flushed and now >= app.flushed and now < app.flushed + EVERY then return end
  app.flushed = now
  M.flush(app)
end

-- --- the text ---------------------------------------------------------------------

local Page = {}
Page.__index = Page

local function escape(value)
  return (tostring(value):gsub('[\\"]', "\\%0"):gsub("\n", "\\n"))
end

-- labels: { "name", value, "name", value }
local function labelled(name, labels)
  if not labels or #labels == 0 then return name end
  local parts = {}
  for i = 1, #labels, 2 do
    parts[#parts + 1] = ('%s="%s"'):format(labels[i], escape(labels[i + 1]))
  end
  return name .. "{" .. table.concat(parts, ",") .. "}"
end

local function number(value) return ("%.15g"):format(value) end

---One family: its samples are { labels, value [, suffix of the name] }.
function Page:family(name, kind, help, samples)
  if #samples == 0 then return end
  self[#self + 1] = ("# HELP billhook_%s %s"):format(name, help)
  self[#self + 1] = ("# TYPE billhook_%s %s"):format(name, kind)
  for _, one in ipairs(samples) do
    self[#self + 1] = labelled("billhook_" .. name .. (one[3] or ""), one[1]) .. " "
      .. number(one[2])
  end
end

local function by_labels(samples)
  table.sort(samples, function(a, b) return table.concat(a[1], "\n") < table.concat(b[1], "\n") end)
  return samples
end

-- --- what the inbox has counted ----------------------------------------------------

-- A pattern for the name of a counter, and the labels of what it captures.
local function select(counted, pattern, ...)
  local samples = {}
  for _, one in ipairs(counted) do
    local captures = { one.name:match(pattern) }
    if captures[1] then
      local labels = {}
      for i, label in ipairs { ... } do
        labels[2 * i - 1], labels[2 * i] = label, captures[i]
      end
      samples[#samples + 1] = { labels, one.n }
    end
  end
  return by_labels(samples)
end

-- Runs by rule and result, and by rule: { how many within each bound, total in ms }
local function runs_of(counted)
  local runs, rules, names = {}, {}, {}
  for _, one in ipairs(counted) do
    local result, bound, rule = one.name:match("^run (%l+) (%S+) (.*)$")
    if result then
      local key = rule .. "\n" .. result
      runs[key] = runs[key] or { { "rule", rule, "result", result }, 0 }
      runs[key][2] = runs[key][2] + one.n
      if not rules[rule] then
        rules[rule] = { total = 0 }
        names[#names + 1] = rule
      end
      rules[rule][bound] = (rules[rule][bound] or 0) + one.n
      rules[rule].total = rules[rule].total + one.total
    end
  end
  local list = {}
  for _, sample in pairs(runs) do list[#list + 1] = sample end
  table.sort(names)
  return by_labels(list), rules, names
end

local function histogram(rules, names)
  local samples = {}
  for _, name in ipairs(names) do
    local sum = 0
    local function upto(bound)
      sum = sum + (rules[name][bound] or 0)
      samples[#samples + 1] = { { "rule", name, "le", bound }, sum, "_bucket" }
    end
    for _, bound in ipairs(BOUNDS) do upto(bound) end
    upto "+Inf"
    samples[#samples + 1] = { { "rule", name }, rules[name].total / 1000, "_sum" }
    samples[#samples + 1] = { { "rule", name }, sum, "_count" }
  end
  return samples
end

local function of_counters(page, counted)
  page:family("deliveries_total", "counter",
    "Deliveries by account and result; duplicates are answered as success.",
    select(counted, "^delivery ([%l_]+) (%S+)$", "result", "account"))
  page:family("refusals_total", "counter",
    "Refused deliveries by account and reason (\"?\": no such account).",
    select(counted, "^refusal (%S+) (%S+)$", "code", "account"))
  page:family("secrets_total", "counter",
    "Deliveries by account and the number of the secret that they were signed with.",
    select(counted, "^secret (%d+) (%S+)$", "secret", "account"))
  local runs, rules, names = runs_of(counted)
  page:family("rule_runs_total", "counter", "Runs of rules by result.", runs)
  page:family("rule_seconds", "histogram", "How long runs of rules took.", histogram(rules, names))
  page:family("api_calls_total", "counter",
    "Requests to vendors' APIs by account, operation and status or kind of failure.",
    select(counted, "^call (%S+) (%S+) (%S+)$", "account", "operation", "result"))
end

local function of_queue(page, stats)
  local function gauge(name, help, value) page:family(name, "gauge", help, { { nil, value } }) end
  gauge("deliveries_incoming", "Deliveries that no worker has looked at (10000: or more).",
    stats.incoming)
  gauge("deliveries_checking", "Deliveries whose invoice is being checked (10000: or more).",
    stats.checking)
  gauge("queue_pending", "Events whose rules have not all run (10000: or more).", stats.pending)
  gauge("queue_oldest_seconds", "Age of the oldest of them; 0: there is none.", stats.oldest or 0)
  gauge("queue_due", "Invoices whose rules wait for a worker (10000: or more).", stats.due)
  gauge("checks_due", "Invoices that are to be read back now (10000: or more).", stats.checks)
  gauge("queue_leased", "Invoices that a worker holds.", stats.leased)
  gauge("dead_letters", "Events that gave up (10000: or more).", stats.dead)
  if stats.log_bytes then
    gauge("inbox_log_bytes", "Bytes of SQLite's log beside its file.", stats.log_bytes)
  end
end

-- A run that never ends is seen only while it runs.
local function of_runs(page, runs)
  local rules, samples = {}, {}
  for _, run in ipairs(runs) do
    if run.rule ~= "" then rules[run.rule] = math.max(rules[run.rule] or 0, run.seconds) end
  end
  for rule, seconds in pairs(rules) do samples[#samples + 1] = { { "rule", rule }, seconds } end
  page:family("rule_running_seconds", "gauge",
    "For how long the longest run of a rule has been under way.", by_labels(samples))
end

local function of_quotas(page, clients)
  local left, limits = {}, {}
  for name, client in pairs(clients) do
    local ok, quota = pcall(function() return client:quota() end)
    if ok and quota and quota.limit then
      left[#left + 1] = { { "account", name }, quota.left }
      limits[#limits + 1] = { { "account", name }, quota.limit }
    end
  end
  page:family("api_quota_left", "gauge", "Requests that may be sent now.", by_labels(left))
  page:family("api_quota_limit", "gauge", "Requests that may be sent in a window of the vendor's.",
    by_labels(limits))
end

-- The circuit breakers: an account whose API does not answer as it should.
local function of_accounts(page, app, store)
  local memory, samples = accounts.load(app, store), {}
  for name, one in pairs(memory or {}) do
    samples[#samples + 1] = { { "account", name }, one.fault and 1 or 0 }
  end
  page:family("account_paused", "gauge", "Is an account's API only probed, for it does not answer?",
    by_labels(samples))
end

---What a scrape of /metrics gets; "billhook_inbox_up 0" and little more where the inbox fails.
---@param app table
---@param extra? string more of such text: what a host has to tell of itself
---@return string text, table|nil err
function M.text(app, extra)
  local page = setmetatable({}, Page)
  local stats, counted, runs
  local flushed, why = M.flush(app)
  local store = flushed and app:open()
  if store then stats, why = store:stats() end
  if stats then runs, why = store:running() end
  if runs then counted, why = store:counters() end
  page:family("inbox_up", "gauge", "Does the inbox answer?", { { nil, counted and 1 or 0 } })
  if counted then
    of_queue(page, stats)
    of_runs(page, runs)
    of_counters(page, counted)
    of_accounts(page, app, store)
    of_quotas(page, app.accounts)
  end
  page[#page + 1] = extra
  return table.concat(page, "\n") .. "\n", why
end

return M

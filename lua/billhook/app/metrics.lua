-- app/metrics.lua: the metrics of an app, as Prometheus text.
--
--   metrics.text(app, extra)      the text, for the server of /metrics
--   metrics.add(app, name, n)     counts things that no transaction of the inbox counts
--   metrics.flush(app)            writes these counts into the inbox
--
-- There are many receivers and workers, so the counters are in the inbox. Each process counts in
-- its memory, and writes the counts into the inbox every 10 seconds and when it is asked for
-- metrics. A killed process loses the counts of its last seconds. The names of counters are
--
--   delivery RESULT ACCOUNT          new, duplicate, refused, not_stored; too_many: one of these
--                                    that is kept and not acted on
--   refusal CODE ACCOUNT             why they were refused
--   secret NUMBER ACCOUNT            which of the account's secrets a delivery was signed with
--   run RESULT SECONDS RULE          runs of that result within so many seconds ("+Inf": longer);
--                                    total: the ms that they took
--   call ACCOUNT OPERATION RESULT    requests to APIs, by status or kind of failure

local accounts = require "billhook.app.account"
local strict = require "billhook.app.strict"

local M = {}

-- Seconds; runs that took longer than the last are "+Inf".
local BOUNDS = { "0.01", "0.05", "0.1", "0.5", "1", "5", "10", "30", "60" }
local SECONDS = {}
for i, text in ipairs(BOUNDS) do SECONDS[i] = tonumber(text) end

---@param app table
---@param name string a few words without spaces
---@param n? number
---@param total? number
function M.add(app, name, n, total)
  app.tally = app.tally or {}
  local one = app.tally[name] or { name = name, n = 0, total = 0 }
  one.n, one.total = one.n + (n or 1), one.total + (total or 0)
  app.tally[name] = one
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
  local list = {}
  for _, one in pairs(tally) do list[#list + 1] = one end
  local ok
  ok, why = store:count(list)
  if ok then return true end
  for _, one in ipairs(list) do M.add(app, one.name, one.n, one.total) end
  return nil, why
end

-- --- the text ---------------------------------------------------------------------

local function escape(value)
  return (tostring(value):gsub('[\\"]', "\\%0"):gsub("\n", "\\n"))
end

-- One family; its samples are { value, { "label", value, ... } [, suffix of the name] }, in the
-- order of their labels, or as they are where `sorted` is given.
local function family(page, name, kind, help, samples, sorted)
  if #samples == 0 then return end
  page[#page + 1] = ("# HELP billhook_%s %s\n# TYPE billhook_%s %s"):format(name, help, name, kind)
  if not sorted then
    table.sort(samples, function(a, b)
      return table.concat(a[2], "\n") < table.concat(b[2], "\n")
    end)
  end
  for _, one in ipairs(samples) do
    local labels = {}
    for i = 1, #(one[2] or {}), 2 do
      labels[#labels + 1] = ('%s="%s"'):format(one[2][i], escape(one[2][i + 1]))
    end
    local value = ("%.15g"):format(one[1]):gsub(",", ".") -- some locales write a comma
    page[#page + 1] = ("billhook_%s%s%s %s"):format(name, one[3] or "",
      labels[1] and "{" .. table.concat(labels, ",") .. "}" or "", value)
  end
end

-- name, pattern of counters, the labels of what it captures, help
local COUNTERS = {
  { "deliveries_total", "^delivery ([%l_]+) (%S+)$", { "result", "account" },
    "Deliveries by account and result; duplicates are answered as success." },
  { "refusals_total", "^refusal (%S+) (%S+)$", { "code", "account" },
    "Refused deliveries by account and reason (\"?\": no such account)." },
  { "secrets_total", "^secret (%d+) (%S+)$", { "secret", "account" },
    "Deliveries by account and the number of the secret that they were signed with." },
  { "api_calls_total", "^call (%S+) (%S+) (%S+)$", { "account", "operation", "result" },
    "Requests to vendors' APIs by account, operation and status or kind of failure." },
}

-- name, member of the inbox's stats, help
local GAUGES = {
  { "deliveries_incoming", "incoming",
    "Deliveries that no worker has looked at (10000: or more)." },
  { "deliveries_checking", "checking",
    "Deliveries whose invoice is being checked (10000: or more)." },
  { "queue_pending", "pending", "Events whose rules have not all run (10000: or more)." },
  { "queue_oldest_seconds", "oldest", "Age of the oldest of them; 0: there is none." },
  { "queue_due", "due", "Invoices whose rules wait for a worker (10000: or more)." },
  { "checks_due", "checks", "Invoices that are to be read back now (10000: or more)." },
  { "queue_leased", "leased", "Invoices that a worker holds." },
  { "dead_letters", "dead", "Dead events (10000: or more)." },
  { "inbox_log_bytes", "log_bytes", "Bytes of SQLite's log beside its file." },
}

local function of_counters(page, counted)
  for _, one in ipairs(COUNTERS) do
    local samples = {}
    for _, counter in ipairs(counted) do
      local captures, labels = { counter.name:match(one[2]) }, {}
      for i, value in ipairs(captures) do labels[2 * i - 1], labels[2 * i] = one[3][i], value end
      if captures[1] then samples[#samples + 1] = { counter.n, labels } end
    end
    family(page, one[1], "counter", one[4], samples)
  end
end

-- Runs by rule and result, and a histogram of their seconds by rule.
local function of_runs(page, counted)
  local runs, results, names, rules = {}, {}, {}, {}
  for _, one in ipairs(counted) do
    local result, bound, name = one.name:match "^run (%l+) (%S+) (.*)$"
    if result then
      if not rules[name] then names[#names + 1], rules[name] = name, { total = 0 } end
      local rule, run = rules[name], runs[name .. "\n" .. result]
      if not run then
        run = { 0, { "rule", name, "result", result } }
        runs[name .. "\n" .. result], results[#results + 1] = run, run
      end
      run[1] = run[1] + one.n
      rule[bound], rule.total = (rule[bound] or 0) + one.n, rule.total + one.total
    end
  end
  family(page, "rule_runs_total", "counter", "Runs of rules by result.", results)
  local samples = {}
  table.sort(names)
  for _, name in ipairs(names) do
    local sum = 0
    for i = 1, #BOUNDS + 1 do
      local bound = BOUNDS[i] or "+Inf"
      sum = sum + (rules[name][bound] or 0)
      samples[#samples + 1] = { sum, { "rule", name, "le", bound }, "_bucket" }
    end
    samples[#samples + 1] = { rules[name].total / 1000, { "rule", name }, "_sum" }
    samples[#samples + 1] = { sum, { "rule", name }, "_count" }
  end
  family(page, "rule_seconds", "histogram", "How long runs of rules took.", samples, true)
end

-- A run that never ends is seen only while it runs.
local function of_running(page, runs)
  local rules, samples = {}, {}
  for _, run in ipairs(runs) do rules[run.rule] = math.max(rules[run.rule] or 0, run.seconds) end
  rules[""] = nil
  for rule, seconds in pairs(rules) do samples[#samples + 1] = { seconds, { "rule", rule } } end
  family(page, "rule_running_seconds", "gauge",
    "For how long the longest run of a rule has been under way.", samples)
end

-- What is left of quotas, and the circuit breakers.
local function of_accounts(page, all)
  local left, limits, paused = {}, {}, {}
  for name, mine in pairs(all) do
    -- a store of the user's own may raise: that account's quota is not told, all else is
    local ok, quota = pcall(mine.client.quota, mine.client)
    if ok and quota and quota.limit then
      left[#left + 1] = { quota.left, { "account", name } }
      limits[#limits + 1] = { quota.limit, { "account", name } }
    end
    paused[#paused + 1] = { mine.memory.fault and 1 or 0, { "account", name } }
  end
  family(page, "account_paused", "gauge",
    "Is an account's API only probed, for it does not answer?", paused)
  family(page, "api_quota_left", "gauge", "Requests that may be sent now.", left)
  family(page, "api_quota_limit", "gauge", "Requests that may be sent in a window of the vendor's.",
    limits)
end

---What a scrape of /metrics gets; "billhook_inbox_up 0" and little more where the inbox fails.
---@param app table
---@param extra? string more of such text: what a host has to tell of itself
---@return string text, table|nil err
function M.text(app, extra)
  local page, all = {}, nil
  local known, why = M.flush(app)
  if known then
    known, why = strict.run(app, function(store)
      all = accounts.load(app, store)
      return { stats = store:stats(), running = store:running(), counted = store:counters() }
    end)
  end
  family(page, "inbox_up", "gauge", "Does the inbox answer?", { { known and 1 or 0 } })
  if known then
    for _, one in ipairs(GAUGES) do
      local value = known.stats[one[2]] or one[2] == "oldest" and 0
      if value then family(page, one[1], "gauge", one[3], { { value } }) end
    end
    of_running(page, known.running)
    of_counters(page, known.counted)
    of_runs(page, known.counted)
    of_accounts(page, all)
  end
  page[#page + 1] = extra
  return table.concat(page, "\n") .. "\n", why
end

return M

-- judge.lua: from what the sender wrote, what the rules wrote and what the
-- inbox holds: is all as it was promised? Each verdict is a list of faults.

local dice = require "spec.crash.dice"

local M = {}

local function faults()
  local list = { count = 0 }
  return list, function(text, ...)
    list.count = list.count + 1
    if list.count <= 5 then list[list.count] = text:format(...) end
  end
end

-- --- what there is --------------------------------------------------------------

-- deliveries by "account:id": { id, account, invoice, began (first), acked (first), tries,
-- accepted, state (what the API has said since before one that was answered 2xx) }
local function read_sent(path)
  local sent, outcomes, failures = {}, {}, {}
  for line in io.lines(path) do
    local account, id, invoice, began, ended, outcome, _, fresh, state = line:match(
      "^(%l+) (%S+) (%S+) (%d+) (%d+) (%w+) (%d+) (%d) (%d+) %d$")
    if not account then error("the sender wrote: " .. line) end
    local name = account .. ":" .. id
    local one = sent[name]
    if not one then
      one = { id = name, account = account, began = tonumber(began), tries = 0, accepted = 0,
        invoice = invoice ~= "-" and account .. ":" .. invoice or nil, state = 0 }
      sent[name] = one
    end
    one.tries = one.tries + 1
    one.began = math.min(one.began, tonumber(began))
    outcomes[outcome] = (outcomes[outcome] or 0) + 1
    if outcome ~= "200" then
      failures[#failures + 1] = { id = name, outcome = outcome, fresh = fresh == "1",
        began = tonumber(began) / 1e9, ended = tonumber(ended) / 1e9 }
    end
    if outcome:find "^2" then
      one.accepted = one.accepted + 1
      one.acked = math.min(one.acked or math.huge, tonumber(ended))
      one.state = math.max(one.state, tonumber(state))
    end
  end
  return sent, outcomes, failures
end

local function read_runs(path)
  local runs = {}
  for line in io.lines(path) do
    local what, id, pid, attempt, account, invoice, version, state = line:match(
      "^([be]) (%S+) (%d+) (%d+) (%l+) (%S+) (%S+) (%S+)$")
    if not what then error("a rule wrote: " .. line) end
    runs[#runs + 1] = { what = what, id = id, pid = pid, attempt = attempt,
      invoice = invoice ~= "-" and account .. ":" .. invoice or nil, account = account,
      version = tonumber(version), state = state ~= "-" and tonumber(state) or nil }
  end
  return runs
end

local INVOICES = "SELECT account, invoice, version, data, owner FROM invoices "
  .. "WHERE invoice NOT LIKE '#%'"

---@param folder string
---@param query fun(sql: string): table[] asks the inbox
---@param url string of the inbox
function M.gather(folder, query, url)
  local case = { runs = read_runs(folder .. "/runs"), by_id = {}, event = {} }
  case.sent, case.outcomes, case.failures = read_sent(folder .. "/sent")
  case.rows = query "SELECT seq, account, id, invoice, state FROM deliveries ORDER BY seq"
  for _, row in ipairs(case.rows) do row.name = row.account .. ":" .. row.id:match "^%S+" end
  case.events = query "SELECT seq, account, id, invoice, version, state FROM events ORDER BY seq"
  for _, row in ipairs(case.events) do case.event[row.id] = row end
  case.invoices = query(INVOICES)
  local db = assert(require("billhook.sqlite").open(folder .. "/ledger.db"))
  case.booked = assert(db:query "SELECT event, times FROM ledger ORDER BY n")
  db:close()
  local store = assert(require("billhook.inbox").open(url))
  case.stats = assert(store:stats())
  store:close()
  return case
end

-- --- verdicts -----------------------------------------------------------------------

local verdicts = {}

verdicts[#verdicts + 1] = { "every delivery was answered as promised", function(case, allowed)
  local list, fault = faults()
  for _, one in ipairs(case.failures) do
    if not allowed(one) then
      fault("%s: %s%s at %.3f, for %.3f s", one.id, one.outcome, one.fresh and ", new" or "",
        one.began, one.ended - one.began)
    end
  end
  return list
end }

verdicts[#verdicts + 1] = { "no delivery has two records, and none is made up", function(case)
  local list, fault = faults()
  local seen = {}
  for _, row in ipairs(case.rows) do
    if seen[row.name] then fault("%s has two", row.name) end
    if not case.sent[row.name] then fault("%s was never sent", row.name) end
    seen[row.name] = row
  end
  case.by_id = seen
  return list
end }

verdicts[#verdicts + 1] = { "every delivery that was answered 2xx is there", function(case)
  local list, fault = faults()
  for name, event in pairs(case.sent) do
    if event.acked and not case.by_id[name] then fault("%s is not", name) end
  end
  return list
end }

-- Is this delivery news about an invoice that can be asked for?
local function is_asked(name, row) return name:find "^admissions:" and row.invoice ~= nil end

-- What tells a run which delivery it comes from: of a signed state the number that the sender has
-- signed, of news that cannot be looked up its id.
local function news_of(run)
  if run.account == "tickets" and run.state then return "tickets number " .. run.state end
  return run.id
end

local function news_of_sent(one)
  if one.account == "tickets" and one.invoice then
    return "tickets number " .. tonumber(one.id:match "(%x+)$", 16)
  end
  return one.id
end

verdicts[#verdicts + 1] = { "everything that is there is acted on", function(case)
  local list, fault = faults()
  local ended, news = {}, {}
  for _, run in ipairs(case.runs) do
    if run.what == "e" then
      ended[run.id], news[news_of(run)] = true, run.id
    end
  end
  for _, row in ipairs(case.rows) do
    local one = case.sent[row.name]
    if is_asked(row.name, row) then
      if row.state ~= "done" and row.state ~= "unchanged" and row.state ~= "pending" then
        fault("%s is %s", row.name, row.state)
      end
    elseif row.state ~= "done" then
      fault("%s is %s", row.name, row.state)
    elseif one and not news[news_of_sent(one)] then
      fault("%s has no run that ended", row.name)
    end
  end
  for _, row in ipairs(case.events) do
    if row.state ~= "done" then fault("%s is %s", row.id, row.state) end
    if not ended[row.id] then fault("%s has no run that ended", row.id) end
  end
  for id in pairs(ended) do
    if not case.event[id] then fault("%s has run and is not there", id) end
  end
  return list
end }

verdicts[#verdicts + 1] = { "nothing is told twice", function(case)
  local list, fault = faults()
  local told = {}
  for _, run in ipairs(case.runs) do
    local what = run.account == "admissions" and run.state and run.invoice .. " at " .. run.state
      or news_of(run)
    if (told[what] or run.id) ~= run.id then fault("%s: %s and %s", what, told[what], run.id) end
    told[what] = run.id
  end
  return list
end }

verdicts[#verdicts + 1] = { "what is known of an invoice is what was told of it", function(case)
  local list, fault = faults()
  local known, last = {}, {}
  for _, row in ipairs(case.invoices) do
    local name = row.account .. ":" .. row.invoice
    known[name] = row
    if row.owner then fault("%s is still held", name) end
  end
  for _, run in ipairs(case.runs) do
    local before = run.invoice and last[run.invoice]
    if run.version and run.what == "e" and (not before or run.version > before.version) then
      last[run.invoice] = run
    end
  end
  for name, run in pairs(last) do
    local row = known[name]
    if not row then
      fault("%s is not there", name)
    elseif row.version ~= run.version then
      fault("%s is at version %d, its last run was of %d", name, row.version, run.version)
    elseif run.account == "admissions"
      and not row.data:find('"' .. run.state .. ".00", 1, true) then
      fault("%s was last told as %d: %s", name, run.state, row.data)
    end
  end
  for _, one in pairs(case.sent) do
    local asked = one.account == "admissions" and one.invoice ~= nil
    local at = asked and last[one.invoice]
    if asked and one.acked and (not at or at.state < one.state) then
      fault("%s: state %d of %s was never told", one.id, one.state, one.invoice)
    end
  end
  return list
end }

verdicts[#verdicts + 1] = { "what is counted is what is there", function(case)
  local list, fault = faults()
  local stats = case.stats
  for _, name in ipairs { "incoming", "pending", "dead", "unhandled", "leased", "due" } do
    if stats[name] ~= 0 then fault("%d %s", stats[name], name) end
  end
  return list
end }

-- A process that was killed has at most one run that is not marked.
verdicts[#verdicts + 1] = { "runs are repeated only after a kill", function(case, _, most)
  local list, fault = faults()
  local ended, repeats, by = {}, 0, {}
  for _, run in ipairs(case.runs) do
    if run.what == "b" and ended[run.id] then
      repeats = repeats + 1
      if not most.same and by[run.id][run.pid] then fault("%s ran twice in one process", run.id) end
    end
    if run.what == "e" then
      ended[run.id], by[run.id] = true, by[run.id] or {}
      by[run.id][run.pid] = true
    end
  end
  if repeats > most.repeats then fault("%d repeats after %d kills", repeats, most.repeats) end
  case.repeats = repeats
  return list
end }

verdicts[#verdicts + 1] = { "a step of event:once is there once for each", function(case, _, most)
  local list, fault = faults()
  local times, again = {}, 0
  for _, row in ipairs(case.booked) do
    if times[row.event] then fault("%s is there twice", row.event) end
    times[row.event] = row.times
    again = again + row.times - 1
    if not case.event[row.event] then fault("%s is not in the inbox", row.event) end
  end
  for _, row in ipairs(case.events) do
    if not times[row.id] then fault("%s is not there", row.id) end
  end
  -- what was killed between its own commit and the inbox's
  if again > most.repeats then fault("%d were repeated after %d kills", again, most.repeats) end
  case.again = again
  return list
end }

verdicts[#verdicts + 1] = { "of an invoice no two runs overlap", function(case)
  local list, fault = faults()
  local last_of, running = {}, {} -- a dead process writes nothing any more
  for i, run in ipairs(case.runs) do last_of[run.pid] = i end
  for i, run in ipairs(case.runs) do
    local lane = run.invoice or run.id
    local other = running[lane]
    if run.what == "b" then
      if other and last_of[other.pid] > i then
        fault("%s began within %s", run.id, other.id)
      elseif other and other.id ~= run.id then
        fault("%s began and %s was never ended", run.id, other.id)
      end
      running[lane] = run
    elseif not other or other.id ~= run.id or other.pid ~= run.pid then
      fault("%s ended and had not begun", run.id)
    else
      running[lane] = nil
    end
  end
  return list
end }

-- The first runs of each invoice's events, in the order of time.
local function firsts(runs)
  local of, seen = {}, {}
  for _, run in ipairs(runs) do
    if not seen[run.id] and run.invoice then
      of[run.invoice] = of[run.invoice] or {}
      table.insert(of[run.invoice], run)
    end
    seen[run.id] = true
  end
  return of
end

-- Versions one after the other, each event behind those that are older.
local function in_order(case, runs)
  local list, fault = faults()
  for invoice, of in pairs(firsts(runs)) do
    local seq, version = 0, 0
    for _, run in ipairs(of) do
      local row = case.event[run.id]
      if row and row.seq < seq then fault("%s: %s came late", invoice, run.id) end
      seq = row and math.max(seq, row.seq) or seq
      if run.version and run.version ~= version + 1 then
        fault("%s: version %d came after %d", invoice, run.version, version)
      end
      version = run.version or 0
    end
  end
  return list
end

local function begun(case)
  local runs = {}
  for _, run in ipairs(case.runs) do
    if run.what == "b" then runs[#runs + 1] = run end
  end
  return runs
end

verdicts[#verdicts + 1] = { "the runs of an invoice are in the order of its states", function(case)
  return in_order(case, begun(case))
end }

verdicts[#verdicts + 1] = { "so are those of a rule that fails at times", function(case)
  local by_id, runs = {}, {}
  for _, run in ipairs(case.runs) do by_id[run.id] = run end
  for _, row in ipairs(case.booked) do runs[#runs + 1] = by_id[row.event] end
  return in_order(case, runs)
end }

-- What cannot be asked for comes in the order of admission: of one process that in which it is
-- stored, and always the sender's own: answered before another was sent for the first time.
verdicts[#verdicts + 1] = { "and in the order of admission", function(case, _, most)
  local list, fault = faults()
  local by_news = {}
  for _, one in pairs(case.sent) do by_news[news_of_sent(one)] = one end
  for invoice, of in pairs(firsts(begun(case))) do
    local latest, seq = 0, 0
    for _, run in ipairs(of) do
      local one = run.account ~= "admissions" and by_news[news_of(run)]
      local row = one and case.by_id[one.id]
      if row and most.one and row.seq < seq then fault("%s: %s came late", invoice, one.id) end
      seq = row and math.max(seq, row.seq) or seq
      if one and one.acked and one.acked < latest then
        fault("%s: %s was answered before another was sent, and ran later", invoice, one.id)
      end
      latest = one and math.max(latest, one.began) or latest
    end
  end
  return list
end }

verdicts[#verdicts + 1] = { "what was to be created was created once", function(case)
  local list, fault = faults()
  if not case.creates then return list end
  local made, wanted = {}, 0
  for id in io.lines(case.made) do
    if made[id] then fault("%s was created twice", id) end
    made[id] = true
  end
  for _, row in ipairs(case.events) do
    if dice(row.id) % 10 == 5 then
      wanted = wanted + 1
      if not made[row.id] then fault("%s was not created", row.id) end
      made[row.id] = nil
    end
  end
  for id in pairs(made) do fault("%s was created and never wanted", id) end
  case.created = wanted
  return list
end }

verdicts[#verdicts + 1] = { "nothing else was complained about", function(case, _, most)
  local list, fault = faults()
  local file = io.open(case.folder .. "/log")
  for line in file and file:lines() or function() end do
    local level, name = line:match "^(%l+) ([%w_]+)"
    name = name or line
    local planned = name == "failed" and line:find("77 on purpose", 1, true)
    for _, pattern in ipairs(most.away or {}) do planned = planned or name:find(pattern) end
    if not planned then fault("%s: %s", tostring(level), line) end
  end
  if file then file:close() end
  return list
end }

---Prints a line of TAP for each verdict.
---@param case table from gather, and folder
---@param allowed fun(failure: table): boolean may the sender have had this answer?
---@param most table repeats: integer; same: a process may repeat its own runs; one: there was one
---  worker; away: patterns of what may be complained about
---@return boolean fine
function M.judge(case, allowed, most, say)
  local fine = true
  for _, verdict in ipairs(verdicts) do
    local list = verdict[2](case, allowed, most)
    say(list.count == 0, verdict[1])
    for _, text in ipairs(list) do print("#   " .. text) end
    if list.count > #list then print(("#   and %d more"):format(list.count - #list)) end
    fine = fine and list.count == 0
  end
  return fine
end

---Says in figures what happened.
function M.tell(case)
  local accepted, tries, n = 0, 0, 0
  for _, event in pairs(case.sent) do
    n, tries = n + 1, tries + event.tries
    if event.acked then accepted = accepted + 1 end
  end
  local outcomes = {}
  for name, count in pairs(case.outcomes) do outcomes[#outcomes + 1] = name .. ": " .. count end
  table.sort(outcomes)
  print(("# %d deliveries sent %d times, %d answered 2xx; %d records; %d events; %d runs repeated, "
    .. "%d steps; %s created"):format(n, tries, accepted, #case.rows, #case.events, case.repeats,
    case.again, tostring(case.created or "none")))
  print("# outcomes: " .. table.concat(outcomes, "; "))
end

return M

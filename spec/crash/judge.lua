-- judge.lua: from what the sender wrote, what the rules wrote and what the
-- inbox holds: is all as it was promised? Each verdict is a list of faults.

local M = {}

local function faults()
  local list = { count = 0 }
  return list, function(text, ...)
    list.count = list.count + 1
    if list.count <= 5 then list[list.count] = text:format(...) end
  end
end

-- --- what there is --------------------------------------------------------------

-- events by "account:id": { id, invoice, began (first), acked (first), tries, accepted }
local function read_sent(path)
  local events, outcomes, failures = {}, {}, {}
  for line in io.lines(path) do
    local account, id, invoice, began, ended, outcome, _, fresh = line:match(
      "^(%l+) (%S+) (%S+) (%d+) (%d+) (%w+) (%d+) (%d)$")
    if not account then error("the sender wrote: " .. line) end
    local name = account .. ":" .. id
    local event = events[name]
    if not event then
      event = { id = name, invoice = invoice ~= "-" and account .. ":" .. invoice or nil,
        began = tonumber(began), tries = 0, accepted = 0 }
      events[name] = event
    end
    event.tries = event.tries + 1
    event.began = math.min(event.began, tonumber(began))
    outcomes[outcome] = (outcomes[outcome] or 0) + 1
    if outcome ~= "200" then
      failures[#failures + 1] = { id = name, outcome = outcome, fresh = fresh == "1",
        began = tonumber(began) / 1e9, ended = tonumber(ended) / 1e9 }
    end
    if outcome:find "^2" then
      event.accepted = event.accepted + 1
      event.acked = math.min(event.acked or math.huge, tonumber(ended))
    end
  end
  return events, outcomes, failures
end

local function read_runs(path)
  local runs = {}
  for line in io.lines(path) do
    local what, id, pid, attempt = line:match "^([be]) (%S+) (%d+) (%d+)$"
    if not what then error("a rule wrote: " .. line) end
    runs[#runs + 1] = { what = what, id = id, pid = pid, attempt = attempt }
  end
  return runs
end

---@param folder string
---@param query fun(sql: string): table[] asks the inbox
---@param url string of the inbox
function M.gather(folder, query, url)
  local case = { runs = read_runs(folder .. "/runs"), rows = {}, by_id = {}, ledger = {} }
  case.sent, case.outcomes, case.failures = read_sent(folder .. "/sent")
  case.rows = query "SELECT seq, account, id, invoice, state, open FROM events ORDER BY seq"
  for _, row in ipairs(case.rows) do row.name = row.account .. ":" .. row.id end
  local db = assert(require("billhook.sqlite").open(folder .. "/ledger.db"))
  case.booked = assert(db:query "SELECT event, times FROM ledger ORDER BY n")
  db:close()
  case.held = query "SELECT COUNT(*) AS n FROM lanes WHERE owner IS NOT NULL"[1].n
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

verdicts[#verdicts + 1] = { "everything that is there has run", function(case)
  local list, fault = faults()
  local ended = {}
  for _, run in ipairs(case.runs) do
    if run.what == "e" then ended[run.id] = true end
  end
  for _, row in ipairs(case.rows) do
    if row.state ~= "done" or row.open ~= 0 then fault("%s is %s", row.name, row.state) end
    if not ended[row.name] then fault("%s has no run that ended", row.name) end
  end
  if case.held ~= 0 then fault("%d lanes are still held", case.held) end
  return list
end }

-- A process that was killed has at most one run that is not marked.
verdicts[#verdicts + 1] = { "what is counted is what is there", function(case)
  local list, fault = faults()
  local stats = case.stats
  if stats.done ~= #case.rows or stats.pending + stats.dead + stats.unhandled + stats.due > 0 then
    fault("%d done of %d, %d pending, %d dead, %d unhandled, %d due", stats.done, #case.rows,
      stats.pending, stats.dead, stats.unhandled, stats.due)
  end
  return list
end }

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
    if not case.by_id[row.event] then fault("%s is not in the inbox", row.event) end
  end
  for _, row in ipairs(case.rows) do
    if not times[row.name] then fault("%s is not there", row.name) end
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
    local event = case.sent[run.id]
    local lane = event and event.invoice or run.id
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

-- first runs of each invoice, in the order of time
local function firsts(case, ids)
  local lanes, seen = {}, {}
  for _, id in ipairs(ids) do
    local event = case.sent[id]
    if not seen[id] and event and event.invoice then
      lanes[event.invoice] = lanes[event.invoice] or {}
      table.insert(lanes[event.invoice], event)
    end
    seen[id] = true
  end
  return lanes
end

local function in_order(case, ids)
  local list, fault = faults()
  for invoice, events in pairs(firsts(case, ids)) do
    local latest, seq = 0, 0
    for _, event in ipairs(events) do
      local row = case.by_id[event.id]
      if row and row.seq < seq then fault("%s: %s came late", invoice, event.id) end
      seq = row and math.max(seq, row.seq) or seq
      -- the sender's own view: answered before another was sent for the first time
      if event.acked and event.acked < latest then
        fault("%s: %s was answered before another was sent, and ran later", invoice, event.id)
      end
      latest = math.max(latest, event.began)
    end
  end
  return list
end

verdicts[#verdicts + 1] = { "the runs of an invoice are in the order of admission", function(case)
  local ids = {}
  for _, run in ipairs(case.runs) do
    if run.what == "b" then ids[#ids + 1] = run.id end
  end
  return in_order(case, ids)
end }

verdicts[#verdicts + 1] = { "so are those of a rule that fails at times", function(case)
  local ids = {}
  for i, row in ipairs(case.booked) do ids[i] = row.event end
  return in_order(case, ids)
end }

verdicts[#verdicts + 1] = { "what was to be created was created once", function(case)
  local list, fault = faults()
  if not case.made then return list end
  local made, wanted = {}, 0
  for id in io.lines(case.made) do
    if made[id] then fault("%s was created twice", id) end
    made[id] = true
  end
  for _, row in ipairs(case.rows) do
    if row.name:find "5$" then
      wanted = wanted + 1
      if not made[row.name] then fault("%s was not created", row.name) end
      made[row.name] = nil
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
---@param most table repeats: integer; same: a process may repeat its own runs; away: patterns
---  of what may be complained about
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
  print(("# %d events sent %d times, %d answered 2xx; %d records; %d runs repeated, %d steps; "
    .. "%s created"):format(n, tries, accepted, #case.rows, case.repeats, case.again,
    tostring(case.created or "none")))
  print("# outcomes: " .. table.concat(outcomes, "; "))
end

return M

-- inbox_postgresql_crash_spec.lua: two processes that admit and two that work on one PostgreSQL,
-- any of which is killed at random, as is PostgreSQL itself. BILLHOOK_CRASH_SECONDS (8) and
-- BILLHOOK_CRASH_SEED make it longer, and the same again.

local inbox = require "billhook.inbox"
local postgres = require "spec.support.postgres"
local pq = require "billhook.pq"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"

local lua = rawget(_G, "jit") and "/usr/bin/luajit" or "/usr/bin/lua5.4"

local seconds = tonumber(os.getenv "BILLHOOK_CRASH_SECONDS" or 2)
local seed = tonumber(os.getenv "BILLHOOK_CRASH_SEED" or os.time())

local INVOICES = 7

-- What all four begin with. A process says what it does in lines of its own file, which survive
-- it; the clock in them is the machine's.
local COMMON = [[
local process = require "billhook.process"
math.randomseed(SEED)
local store
local function say(...)
  io.write(table.concat({ ... }, " "), "\n")
  io.flush()
end
local function clock() return ("%.6f"):format(process.monotonic()) end
-- asks again where the store has failed, as vendors do
local function insist(fn)
  while true do
    local why
    if not store then store, why = require("billhook.inbox").open(URL) end
    local value
    if store then value, why = fn(store) end
    if value ~= nil then return value end
    if why.kind ~= "store" then error(why) end
    say("refused", why.code)
    process.sleep(0.02)
  end
end
]]

-- Ids of its own, and ids that the other one sends too, in the same moment.
local ADMIT = COMMON .. [[
local n, shared = 0, 0
local function delivery(id, number)
  return { account = "school", id = id, again = false, vendor = "dreamclass",
    type = "invoice.updated", native = "INVOICE_UPDATED", invoice = tostring(number % INVOICES),
    live = true, trust = "id", body = ("x"):rep(600) }
end
while true do
  local list = {}
  for i = 1, math.random(6) do
    n = n + 1
    list[i] = delivery(NAME .. "-" .. n, n)
  end
  local due = math.floor(process.monotonic() * 10)
  for k = math.max(shared + 1, due - 3), due do
    shared = k
    table.insert(list, math.random(#list), delivery("shared-" .. k, k))
  end
  local results = insist(function(inbox) return inbox:admit(list) end)
  for i, one in ipairs(list) do say(results[i], one.id) end
  process.sleep(math.random() * 0.04)
end]]

-- As a worker does it, with a short lease: a rule begins only where the lease outlasts it. Each
-- delivery is an event of its own.
local WORK = COMMON .. [[
local me = require("billhook.inbox.owner").name()
local LEASE, BUDGET = 2, 0.5
local function route(inbox)
  local list, why = inbox:incoming("school", 20)
  if not list then return nil, why end
  local changes = {}
  for i, one in ipairs(list) do
    changes[i] = { account = "school", route = { { seq = one.seq, state = "done" } }, events = {
      { account = "school", id = one.id, vendor = one.vendor, type = one.type,
        invoice = one.invoice, live = true, trust = "id", data = one.body, rules = { "r" } } } }
  end
  return inbox:apply(changes)
end
local function rule(row, one)
  local kept = insist(function(inbox)
    local text, why = inbox:step(one.seq, "r", "once", nil, row.token)
    if text == nil and why.code == "LEASE_LOST" then return "lost" end
    return text, why
  end)
  if kept == "lost" or process.monotonic() + BUDGET > row.till then return false end
  say("begin", one.id, one.seq, one.invoice, clock())
  process.sleep(math.random() * 0.003)
  if not kept then say("once", one.id) end
  say("end", one.id, one.seq, one.invoice, clock())
  if not kept then
    insist(function(inbox) return inbox:step(one.seq, "r", "once", one.id) end)
  end
  return insist(function(inbox)
    return inbox:mark(row.lane, row.token, { seq = one.seq, rule = "r", state = "done" })
  end)
end
while true do
  local want = { owner = me, fresh = true, backoff = { base = 1, cap = 1 } }
  local due = insist(function(inbox) return inbox:due(want) end)
  if due.lost then insist(function(inbox) return inbox:recover(want) end) end
  insist(route)
  local began = process.monotonic()
  local rows = insist(function(inbox)
    return inbox:claim { kind = "run", account = "school", owner = me, lease = LEASE * 1000,
      limit = 2, page = 8 }
  end).rows
  for _, row in ipairs(rows) do
    row.till = began + LEASE
    local held = true
    for _, one in ipairs(row.events) do
      held = held and rule(row, one)
      if held then say("done", one.id) end
    end
    insist(function(inbox)
      return inbox:release { { lane = row.lane, token = row.token,
        after = (row.more or not held) and 0 or nil } }
    end)
  end
  if #rows == 0 then process.sleep(0.005) end
end]]

describe("inbox postgresql: under fire", function()
  local server, folder

  setup(function()
    server = postgres.start()
    folder = scratch.folder "crash"
  end)

  teardown(function()
    server:remove()
    process.remove_tree(folder)
  end)

  local count, outputs = 0, {}

  local function start(text)
    count = count + 1
    local output = ("%s/out%d"):format(folder, count)
    outputs[count] = output
    local prelude = ([[package.path, package.cpath, URL = %q, %q, %q
      NAME, SEED, INVOICES = %q, %d, %d
    ]]):format(package.path, package.cpath, server.url, "p" .. count, seed + count, INVOICES)
    local pid = assert(process.spawn({ lua, "-e", prelude .. text },
      { stdout = output, stderr = output, die = "KILL" }))
    return { text = text, output = output, pid = pid }
  end

  local function kill(child)
    process.kill(child.pid, "KILL")
    local how = process.wait(child.pid)
    if how == "signal" then return end
    local file = io.open(child.output) -- it had ended by itself
    error(file:read("*a"):sub(-2000), 0)
  end

  local function crash(children)
    local number = math.random(5)
    if number == 5 then
      server:stop "QUIT"
      process.sleep(math.random() * 0.1)
      server:start()
    else
      kill(children[number])
      children[number] = start(children[number].text)
    end
    return number == 5
  end

  -- every line that was written whole, in the order of each process
  local function lines()
    local all = {}
    for _, output in ipairs(outputs) do
      for line in io.lines(output) do
        local words = {}
        for word in line:gmatch "%S+" do words[#words + 1] = word end
        all[#all + 1] = words
      end
    end
    return all
  end

  it("loses nothing, doubles nothing and keeps the order of every invoice", function()
    math.randomseed(seed)
    local children = { start(ADMIT), start(ADMIT), start(WORK), start(WORK) }
    local deadline = process.monotonic() + seconds
    local kills, restarts = 0, 0
    local function acknowledged()
      local n = 0
      for _, words in ipairs(lines()) do if words[1] == "new" then n = n + 1 end end
      return n
    end
    -- as long as it takes to have seen enough of each, but not for ever
    while process.monotonic() < deadline or (process.monotonic() < deadline + 300
      and (restarts == 0 or kills < 3 or acknowledged() <= 50)) do
      process.sleep(math.random() * 0.4)
      if crash(children) then restarts = restarts + 1 else kills = kills + 1 end
    end
    kill(children[1])
    kill(children[2])
    local store = assert(inbox.open(server.url))
    local function open()
      local stats = store:stats()
      return stats.pending + stats.incoming
    end
    local left, before = open(), nil
    while left > 0 and left ~= before do -- as long as it gets less
      deadline = process.monotonic() + 60
      before = left
      repeat
        process.sleep(0.02)
        left = open()
      until left < before or process.monotonic() > deadline
    end
    kill(children[3])
    kill(children[4])

    local db = assert(pq.open(server.url))
    local where = ("seed %d, %d kills, %d restarts"):format(seed, kills, restarts)
    local all, admitted, refused = lines(), {}, 0
    local once, runs = {}, {}
    for _, words in ipairs(all) do
      local what, id = words[1], words[2]:gsub("^school:", "")
      if what == "new" or what == "duplicate" then
        admitted[id] = (admitted[id] or 0) + (what == "new" and 1 or 0)
      elseif what == "begin" or what == "end" then
        runs[#runs + 1] = { what = what, id = id, seq = tonumber(words[3]), lane = words[4],
          at = tonumber(words[5]) }
      elseif what == "once" then
        once[id] = (once[id] or 0) + 1
      else
        refused = refused + (what == "refused" and 1 or 0)
        -- libpq writes a line of its own where the server ends while it connects
        assert.is_truthy(what == "refused" or what == "done" or what == "WARNING:",
          table.concat(words, " "))
      end
    end

    -- nothing is lost: what was acknowledged is there, and its rule has run
    local total = 0
    for id, times in pairs(admitted) do
      total = total + 1
      assert.is_true(times <= 1, id .. " was admitted twice: " .. where)
      local found = store:show("school:" .. id)
      assert.are.equal("done", found and found.state, id .. ": " .. where)
      assert.are.equal("done", found.marks.r.state)
      -- a run that a kill or a restart cut off has counted too
      assert.is_true(found.marks.r.attempts <= 1 + kills + restarts, id .. ": " .. where)
      assert.is_true((once[id] or 0) >= 1, id .. " was never run: " .. where)
    end
    assert.is_true(total > 50 and restarts > 0 and kills > 0, where)

    -- nothing is doubled: one record and one mark of its step each; a step runs again only where
    -- its process, or PostgreSQL, died before it was kept
    local function number(text)
      return db:query("SELECT count(*) AS n FROM billhook." .. text)[1].n
    end
    assert.are.equal(number "events", number "results WHERE name = 'once'")
    assert.are.equal(number "events", number "marks WHERE state = 'done'")
    local doubled = 0
    for _, times in pairs(once) do doubled = doubled + times - 1 end
    assert.is_true(doubled <= kills + 2 * restarts, doubled .. " steps ran again: " .. where)

    -- the order of each invoice: an event begins when all before it have ended, and alone
    table.sort(runs, function(a, b) return a.at < b.at end)
    local last, running = {}, {}
    for _, run in ipairs(runs) do
      local lane = run.lane
      if run.what == "end" then
        if running[lane] == run.id then running[lane] = nil end
        last[lane] = math.max(last[lane] or 0, run.seq)
      else
        -- one that was killed has not ended: it is the same event that begins again
        assert.is_truthy(running[lane] == nil or running[lane] == run.id,
          ("%s began while %s ran: %s"):format(run.id, tostring(running[lane]), where))
        assert.is_true(run.seq >= (last[lane] or 0),
          ("%s began after a later one: %s"):format(run.id, where))
        running[lane] = run.id
      end
    end
    assert.are.equal(number "events WHERE state = 'done'", number "events")
    store:close()
    db:close()
    if os.getenv "BILLHOOK_CRASH_SECONDS" then
      print(("\n%s: %d acknowledged, %d runs, %d steps again, %d refused"):format(where, total,
        #runs, doubled, refused))
    end
  end)
end)

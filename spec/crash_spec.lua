-- crash_spec.lua: receivers and workers that are killed, or stopped and let go on, or whose disk
-- fails.
--
-- Whatever was answered 200 has run its rule afterwards; of one invoice the runs come in the order
-- of admission, and none begins before the last ended.

local peer = require "spec.support.peer"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"

local lua = rawget(_G, "jit") and "luajit" or "lua5.4"

-- A delivery's number is in its event: of one whose proof covers the invoice in the invoice, of
-- another in its id.
local PRELUDE = [[
  local desk = require "spec.support.inbox"
  local process = require "billhook.process"
  local out = assert(io.open(FOLDER .. "/runs", "a"))
  out:setvbuf "no"
  local d = desk.new { inbox = "sqlite:" .. FOLDER .. "/a.db", budget = 1, poll_every = false,
    backoff = { base = 0.01, cap = 0.01 }, clock = CLOCK,
    log = function(level, name) if level ~= "info" then io.stderr:write(name, "\n") end end }
  if not CLOCK then d.app.clock = nil end
  local function number_of(event)
    return tonumber(event.data and event.data.number or event.id:match "(%d+)$")
  end
  local function say(what, event)
    out:write(("%s %d %s:%s %d\n"):format(what, number_of(event), event.account,
      event.invoice_id, ME))
  end
  d.app:on("invoice.*", { name = "rule", attempts = 1000 }, function(event)
    say("begin", event)
    RUN(event, number_of(event))
    say("end", event)
  end)
  local function send(n)
    d.now = math.floor(CLOCK and CLOCK() or os.time())
    local school = n % 2 == 0
    local invoice = n % 7
    local status
    if school then
      status = d:school { id = n, invoice = invoice, type = "INVOICE_UPDATED" }
    else
      invoice = ("616d7cf38fedff37e449%04d"):format(invoice)
      status = d:tickets { id = n, event = "invoices.updated",
        data = ('{"_id":"%s","number":"%d"}'):format(invoice, n) }
    end
    if status == 200 then
      io.stdout:write(("%d %s:%s\n"):format(n, school and "school" or "tickets", invoice))
      io.stdout:flush()
    end
    return status
  end
]]

local PLAIN = "local CLOCK, RUN = nil, function(_, n)"
  .. " if n % 3 == 0 then require('billhook.process').sleep(0.001) end end\n" .. PRELUDE

local RECEIVER = PLAIN .. [[
  local n = ME * 100000
  while true do
    n = n + 1
    send(n)
    process.sleep(0.003)
  end]]

local WORKER = PLAIN .. [[
  while true do
    if (d.app:work { limit = 16 } or 0) == 0 then process.sleep(0.002) end
  end]]

local function read(path)
  local file = io.open(path)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

describe("a crash", function()
  local folder, started
  before_each(function() folder, started = scratch.folder "crash", 0 end)
  after_each(function() process.remove_tree(folder) end)

  local function start(text, env)
    started = started + 1
    local prelude = ("package.path, package.cpath = %q, %q FOLDER, ME = %q, %d\n"):format(
      package.path, package.cpath, folder, started)
    return assert(process.spawn({ lua, "-e", prelude .. text }, { die = "KILL", env = env,
      stdout = folder .. "/out" .. started, stderr = folder .. "/err" .. started }))
  end

  local function kill(pid)
    process.kill(pid, "KILL")
    process.wait(pid)
  end

  local function open()
    return assert(require("billhook.inbox").open("sqlite:" .. folder .. "/a.db"))
  end

  local function wait(what, check, seconds)
    local deadline = process.monotonic() + (seconds or 60)
    while not check() do
      assert(process.monotonic() < deadline, "waited in vain for " .. what)
      process.sleep(0.01)
    end
  end

  local function nothing_left(store)
    return function()
      local stats = assert(store:stats())
      return stats.incoming + stats.pending + stats.leased == 0
    end
  end

  -- what was answered 200, in this order for each receiver
  local function accepted()
    local list = {}
    for i = 1, started do
      for n, invoice in read(folder .. "/out" .. i):gmatch "(%d+) (%S+)\n" do
        list[#list + 1] = { n = tonumber(n), invoice = invoice }
      end
    end
    return list
  end

  local function runs()
    local list = {}
    for what, n, invoice, who in read(folder .. "/runs"):gmatch "(%l+) (%d+) (%S+) (%d+)\n" do
      list[#list + 1] = { what = what, n = tonumber(n), invoice = invoice, who = who }
    end
    return list
  end

  -- How often a run was repeated after it had ended; all the rest must not be at all.
  local function judge(least)
    local ended, latest, at_work, again = {}, {}, {}, 0
    for _, run in ipairs(runs()) do
      local busy = at_work[run.invoice]
      if run.what == "begin" then
        -- one that began and never ended was killed, and begins again before any other
        assert.is_truthy(not busy or busy.n == run.n, "two at once of " .. run.invoice)
        assert.is_true(run.n >= (latest[run.invoice] or 0), "out of order: " .. run.n)
        if ended[run.n] then again = again + 1 end
        at_work[run.invoice] = run
      else
        assert.are.same({ run.n, run.who }, { busy.n, busy.who })
        at_work[run.invoice], ended[run.n] = nil, true
        latest[run.invoice] = math.max(latest[run.invoice] or 0, run.n)
      end
    end
    local list = accepted()
    assert.is_true(#list >= least, #list .. " are too few")
    for _, one in ipairs(list) do
      assert.is_truthy(ended[one.n], one.n .. " was accepted and has not run")
    end
    return again
  end

  it("of any process loses nothing, keeps the order and the peace of an invoice #both", function()
    local deadline = process.monotonic() + 4
    local kinds = { RECEIVER, WORKER, WORKER }
    local pids, kills, pause, before = {}, 0, 0.2, 0
    for i, text in ipairs(kinds) do pids[i] = start(text) end
    while process.monotonic() < deadline or #accepted() < 60 do
      assert(process.monotonic() < deadline + 120, "too few are accepted")
      -- on a busy machine a process takes longer to come to its work
      pause, before = #accepted() > before and 0.2 or math.min(1.5 * pause, 5), #accepted()
      process.sleep(0.05 + math.random() * pause)
      local i = math.random(#kinds)
      kill(pids[i])
      kills = kills + 1
      pids[i] = start(kinds[i])
    end
    for _, pid in ipairs(pids) do kill(pid) end
    local store = open()
    local last = start(WORKER)
    wait("the rules", nothing_left(store), 120)
    kill(last)
    store:close()
    assert.is_true(judge(20) <= kills + #kinds)
  end)

  local CLOCK = [[
    local since = require("billhook.process").monotonic()
    local function CLOCK()
      local file = assert(io.open(FOLDER .. "/clock"))
      local now = file:read "*n"
      file:close()
      return now + require("billhook.process").monotonic() - since
    end
  ]]

  local STOPPED = CLOCK .. [[
    local out
    local function RUN(event, n)
      if n > 2 then return end -- the first one of each account
      local file = assert(io.open "/proc/self/stat")
      local pid = tonumber(file:read "*a":match "^%d+")
      file:close()
      require("billhook.process").kill(pid, "STOP")
      event:once("step", function() out:write "step\n" return true end)
    end
  ]] .. PRELUDE:gsub("local out = ", "out = ") .. [[
    if ME == 1 then
      for i = 0, 1 do
        for k = 0, 2 do assert(send(1 + i + 14 * k) == 200) end
      end
    end
    for _ = 1, 2000 do
      local stats
      if assert(d.app:work { limit = 1 }) == 0 then
        stats = assert(d.app.store:stats())
        if stats.incoming + stats.pending == 0 then break end
        process.sleep(0.01)
      end
    end
  ]]

  local function state_of(pid)
    return read(("/proc/%d/stat"):format(pid)):match "%) (%a)"
  end

  it("that was none: who comes back after its lease changes nothing", function()
    local now = os.time()
    local function set_clock(time)
      local file = assert(io.open(folder .. "/clock.new", "w"))
      file:write(("%d"):format(time))
      file:close()
      assert(os.rename(folder .. "/clock.new", folder .. "/clock"))
    end
    set_clock(now)
    local first = start(STOPPED)
    local function one_stops(pid)
      wait("a rule to be stopped", function()
        local state = state_of(pid)
        assert(state ~= "Z", read(folder .. "/err" .. started))
        return state == "T"
      end)
    end
    one_stops(first)
    local stopped = runs()[1].invoice
    set_clock(now + 3600)
    local second = start(STOPPED)
    -- it meets the first of both accounts, goes on, and does all the rest
    for _ = 1, 2 do
      one_stops(second)
      process.kill(second, "CONT")
      wait("it to go on", function() return state_of(second) ~= "T" or #runs() > 3 end)
    end
    assert.are.same({ "exit", 0 }, { process.wait(second) }, read(folder .. "/err2"))
    local store = open()
    local before = assert(store:events { limit = 100 })
    assert.are.equal(6, #before)
    for i, event in ipairs(before) do
      assert.are.equal("done", event.state)
      before[i] = assert(store:show(event.id))
    end
    process.kill(first, "CONT")
    assert.are.same({ "exit", 0 }, { process.wait(first) }, read(folder .. "/err1"))
    for _, event in ipairs(before) do assert.are.same(event, store:show(event.id)) end
    store:close()
    assert.matches("lease_lost", read(folder .. "/err1"))
    -- it began one run, and no other: and it did not do the step that another had done
    local begun, steps = {}, select(2, read(folder .. "/runs"):gsub("step\n", ""))
    for _, run in ipairs(runs()) do
      if run.who == "1" and run.what == "begin" then begun[#begun + 1] = run.invoice end
    end
    assert.are.same({ stopped }, begun)
    assert.are.equal(2, steps)
  end)

  it("or none: of two workers that see the same news, one tells it", function()
    local desk = require "spec.support.inbox"
    for _, account in ipairs { "tickets", "school" } do
      local told = {}
      local url = "sqlite:" .. folder .. "/" .. account .. ".db"
      local function worker()
        local d = desk.new { inbox = url, poll_every = false }
        d.app:on("invoice.*", function(event)
          told[#told + 1] = event.data and event.data.number or event.id:match "(%d)$"
        end)
        return d
      end
      local slow, quick = worker(), worker()
      local store = assert(slow.app:open())
      for i = 1, 3 do
        assert.are.equal(200, (slow[account](slow, account == "tickets"
          and { id = i, event = "invoices.updated",
            data = ('{"_id":"616d7cf38fedff37e4492161","number":"%d"}'):format(i) }
          or { id = i, type = "INVOICE_UPDATED" })))
      end
      local incoming = store.incoming
      function store:incoming(...)
        local list, why = incoming(self, ...)
        quick:work()
        return list, why
      end
      slow:work()
      assert.are.same({ "1", "2", "3" }, told)
      local invoice = store:look("tickets", { "616d7cf38fedff37e4492161" }).rows[1]
      assert.are.equal(account == "tickets" and 3 or 0, invoice.version)
      store:close()
      quick.app.store:close()
    end
  end)

  it("or a failure of the disk, at any call, loses nothing and doubles at most one run", function()
    local so = peer.compile_shared "failing_disk"
    local work = [[ for _ = 1, 3 do d.app:work { limit = 16 } end ]]
    local text = PLAIN .. "for n = 1, 4 do send(n) " .. work .. " end"
    local function once(n)
      for _, name in ipairs { "a.db", "a.db-wal", "a.db-shm", "runs", "out1", "err1", "out2",
        "err2" } do
        os.remove(folder .. "/" .. name)
      end
      started = 0
      local pid = start(text, { FAULT_AT = ("%d"):format(n), FAULT_PATH = "/a.db",
        FAULT_COUNT = folder .. "/count",
        LD_PRELOAD = (os.getenv "LD_PRELOAD" or "") .. " " .. so })
      assert.are.same({ "exit", 0 }, { process.wait(pid) }, read(folder .. "/err1"))
      -- what the disk has failed with is over
      local last = start(PLAIN .. "for _ = 1, 20 do d.app:work { limit = 16 } end")
      assert.are.same({ "exit", 0 }, { process.wait(last) }, read(folder .. "/err2"))
      local store = open()
      assert.is_true(nothing_left(store)(), "something is left after call " .. n)
      store:close()
      local ok, again = pcall(judge, 3)
      assert(ok, ("call %d: %s"):format(n, tostring(again)))
      assert.is_true(again <= 1, "call " .. n)
      return tonumber(read(folder .. "/count"))
    end
    local all = once(10 ^ 9)
    assert.is_true(all > 50, all .. " calls")
    local most = tonumber(os.getenv "BILLHOOK_CRASH_CALLS" or 8)
    local step = math.max(1, math.floor(all / most))
    for n = math.random(step), all, step do once(n) end
  end)
end)

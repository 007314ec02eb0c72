-- crash_spec.lua: receivers and workers that are killed at random moments.
--
-- Whatever was answered 200 has run its rule afterwards; of one invoice the
-- runs come in the order of admission, and none begins before the last ended.

local process = require "billhook.process"

local lua = rawget(_G, "jit") and "luajit" or "lua5.4"

local PRELUDE = [[
  local desk = require "spec.support.inbox"
  local process = require "billhook.process"
  local out = assert(io.open(FOLDER .. "/runs", "a"))
  out:setvbuf "no"
  local d = desk.new { inbox = "sqlite:" .. FOLDER .. "/a.db" }
  d.app.clock = nil
  d.app:on("invoice.*", { name = "rule" }, function(event)
    local n = tonumber(event.id:match "(%d+)$")
    out:write(("begin %d %s %d\n"):format(n, event.claims.id, ME))
    if n % 3 == 0 then process.sleep(0.001) end
    out:write(("end %d %s %d\n"):format(n, event.claims.id, ME))
  end)
]]

local RECEIVER = PRELUDE .. [[
  local n = ME * 100000
  while true do
    n = n + 1
    local invoice = n % 7
    if d:school { id = n, invoice = invoice, type = "INVOICE_UPDATED" } == 200 then
      io.stdout:write(("%d %d\n"):format(n, invoice))
      io.stdout:flush()
    end
    process.sleep(0.003)
  end]]

local WORKER = PRELUDE .. [[
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
  before_each(function() folder, started = assert(process.mkdtemp "/tmp/billhook-crash"), 0 end)
  after_each(function() process.remove_tree(folder) end)

  local function start(text)
    started = started + 1
    local prelude = ("package.path, package.cpath = %q, %q FOLDER, ME = %q, %d\n"):format(
      package.path, package.cpath, folder, started)
    return assert(process.spawn({ lua, "-e", prelude .. text },
      { stdout = folder .. "/out" .. started, stderr = folder .. "/err" .. started }))
  end

  local function kill(pid)
    process.kill(pid, "KILL")
    process.wait(pid)
  end

  -- what was answered 200, in this order for each receiver
  local function accepted()
    local ids = {}
    for i = 1, started do
      for id, invoice in read(folder .. "/out" .. i):gmatch "(%d+) (%d+)\n" do
        ids[#ids + 1] = { id = id, invoice = invoice }
      end
    end
    return ids
  end

  it("of any process loses nothing, and keeps the order and the peace of a lane", function()
    local deadline = process.monotonic() + 4
    local kinds = { RECEIVER, WORKER, WORKER }
    local pids = {}
    for i, text in ipairs(kinds) do pids[i] = start(text) end
    while process.monotonic() < deadline do
      process.sleep(0.02 + math.random() * 0.15)
      local i = math.random(#kinds)
      kill(pids[i])
      pids[i] = start(kinds[i])
    end
    for _, pid in ipairs(pids) do kill(pid) end

    local store = assert(require("billhook.inbox").open("sqlite:" .. folder .. "/a.db"))
    local last = start(WORKER)
    deadline = process.monotonic() + 20
    while store:stats().pending > 0 and process.monotonic() < deadline do process.sleep(0.02) end
    kill(last)

    local ids = accepted()
    assert.is_true(#ids > 20, "too few were accepted")
    local ended, latest, at_work = {}, {}, {}
    for what, id, invoice, who in read(folder .. "/runs"):gmatch "(%l+) (%d+) (%d+) (%d+)\n" do
      local busy = at_work[invoice]
      if what == "begin" then
        -- one that began and never ended was killed, and begins again before any other
        assert.is_truthy(not busy or busy.id == id, "two at once in the lane of " .. invoice)
        assert.is_truthy(ended[id] or tonumber(id) > (latest[invoice] or 0), "out of order: " .. id)
        at_work[invoice] = { id = id, who = who }
      else
        assert.are.equal(id, busy.id)
        assert.are.equal(who, busy.who)
        at_work[invoice] = nil
        ended[id] = true
        latest[invoice] = math.max(latest[invoice] or 0, tonumber(id))
      end
    end
    for _, one in ipairs(ids) do
      assert.is_truthy(ended[one.id], one.id .. " was accepted and has not run")
      assert.are.equal("done", store:show("school:" .. require("spec.support.inbox").uuid(one.id))
        .state)
    end
    assert.are.equal(0, store:stats().pending)
    store:close()
    for i = 1, started do assert.are.equal("", read(folder .. "/err" .. i)) end
  end)
end)

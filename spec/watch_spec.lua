-- watch_spec.lua: runs that take longer than they may, seen from outside.

local desk = require "spec.support.inbox"
local watches = require "billhook.app.watch"

local d, watch

-- What the watch of "us" says of a run of a rule at these times after its begin.
local function at(times)
  local began, said = d.now, {}
  for _, seconds in ipairs(times) do
    d.now = began + seconds
    local before = #d:logged "still_running"
    assert.is_true(watch:round())
    if #d:logged "still_running" > before then said[#said + 1] = seconds end
  end
  return said
end

local function claim(owner, invoice)
  local store = d.app:open()
  assert(d.app:work { limit = 0 }) -- routes
  local row = assert(store:claim { kind = "run", account = "school", owner = owner or "us/1",
    lease = 70000, limit = 1, page = 5 }).rows[1]
  if invoice then assert.are.equal(invoice, row.invoice) end
  local event = row.events[1]
  assert.is_true(store:mark(row.lane, row.token, nil,
    { lane = row.lane, seq = event.seq, rule = event.rules[1] or "" }))
  return row
end

local function claimable()
  assert(d.app.store:recover { owner = "them", backoff = { base = 5000, cap = 60000 } })
  d.now = d.now + 0.001
  return #assert(d.app.store:claim { kind = "run", account = "school", owner = "them",
    lease = 70000, limit = 5, page = 5 }).rows
end

before_each(function()
  d = desk.new { budget = 10 }
  watch = watches.new(d.app, function(owner) return owner:sub(1, 3) == "us/" end)
end)

describe("a watch", function()
  it("says nothing of what is in time, and then what and for how long", function()
    d.app:on("*", { name = "slow" }, function() end)
    d:school()
    claim()
    assert.same({}, at { 0, 1, 10 })
    assert.same({ 1 }, at { 1 })
    assert.same({ id = "school:" .. desk.uuid(1), rule = "slow", budget = 10, seconds = "11" },
      d:logged("still_running")[1].fields)
    assert.are.equal("warn", d:logged("still_running")[1].level)
  end)

  it("says it again after growing times, an hour at most", function()
    d.app:on("*", function() end)
    d:school()
    claim()
    local times = {}
    for seconds = 1, 14000 do times[seconds] = seconds end
    assert.same({ 11, 22, 44, 88, 176, 352, 704, 1408, 2816, 5632, 9232, 12832 }, at(times))
  end)

  it("goes by the rule's own budget", function()
    d.app:on("*", { name = "long", budget = 100 }, function() end)
    d:school()
    claim()
    assert.same({ 101 }, at { 50, 100, 101 })
  end)

  it("holds the invoice as long as the run lasts: nobody does it a second time", function()
    d.app:on("*", function() end)
    d:school()
    local lane = claim()
    for _ = 1, 100 do
      d.now = d.now + 30
      assert.is_true(watch:round())
      assert.are.equal(0, claimable())
    end
    assert.is_true(d.app.store:mark(lane.lane, lane.token, { seq = lane.events[1].seq, rule = "*",
      state = "done" }))
    assert.are.equal(1, d:show("school:" .. desk.uuid(1)).marks["*"].attempts)
  end)

  it("leaves the invoices of others alone, and what is not begun", function()
    d.app:on("*", function() end)
    d:school { id = 1, invoice = 1 }
    claim "them/1"
    d:school { id = 2, invoice = 2 }
    local mine = claim()
    assert(d.app.store:mark(mine.lane, mine.token)) -- nothing is begun in it
    assert.same({}, at { 5, 11, 60 })
    d.now = d.now + 11
    assert.are.equal(2, claimable())
  end)

  it("gives what is wrong with the inbox", function()
    d = desk.new { inbox = "sqlite:/no/such/folder/a.db" }
    watch = watches.new(d.app, function() return true end)
    local ok, err = watch:round()
    assert.is_nil(ok)
    assert.are.equal("store", err.kind)
  end)
end)

-- overdue_spec.lua: what is past due, at the days that the app names.

local desk = require "spec.support.inbox"

local DAY = 86400
local d

local function fresh(options)
  options = options or {}
  options.overdue = options.overdue or { 0, 7, 14 }
  d = desk.new(options):listen()
end

before_each(function() fresh() end)

local function day(offset) return os.date("%Y-%m-%d", d.now + offset * DAY) end

-- the days, from now, on which `invoice.overdue` came
local function days_of(days)
  local found = {}
  for n = 1, days do
    d.now = d.now + DAY
    d:work()
    for _, text in ipairs(d.seen) do
      if text:find "^invoice.overdue" then found[#found + 1] = n end
    end
    d.seen = {}
  end
  return found
end

describe("invoice.overdue", function()
  it("comes at each of the days, once", function()
    d:put(1, { deadline = day(3) })
    d:settled()
    assert.are.same({ 3, 10, 17 }, days_of(30))
    local ids = {}
    for _, event in ipairs(d.told) do
      if event.type == "invoice.overdue" then ids[#ids + 1] = event.id end
    end
    assert.are.equal(("apply:1.overdue.%s+7"):format(d.api.apply["1"].deadline), ids[2])
  end)

  it("never comes for what is paid by then, though nobody has said so", function()
    d:put(1, { deadline = day(3) })
    d:settled()
    d.now = d.now + DAY
    d:work()
    d:pay(1)
    assert.are.same({}, days_of(30))
    assert.are.equal("paid", d:row(1).status)
  end)

  it("costs one request a day for all of DreamApply's", function()
    fresh { overdue = { 1 } }
    for id = 1, 50 do d:put(id, { deadline = day(1) }) end
    d:settled()
    assert.are.same({}, days_of(1))
    assert.are.same({}, d.asked.apply) -- nothing reaches a day that is asked for
    d.now = d.now + DAY + 3600
    d:work()
    assert.are.equal(50, #d.seen)
    assert.are.equal(1, #d.asked.apply)
    assert.is_truthy(d.asked.apply[1]:find("byOverdue=true", 1, true))
    d.asked.apply = {}
    d:pass(3600, 60)
    assert.are.same({}, d.asked.apply)
  end)

  it("never tells steps that were passed before the account's first start", function()
    d:put(1, { deadline = day(-10) })
    d:settled()
    assert.are.same({ 4 }, days_of(30)) -- the 14th day
  end)

  it("tells the highest step that was newly reached", function()
    d:put(1, { deadline = day(1) })
    d:settled()
    d.now = d.now + 9 * DAY
    d:work()
    assert.are.equal("invoice.overdue 1@1", d:took())
    assert.is_truthy(d.told[1].id:find "%+7$")
  end)

  it("comes anew where the due date is another", function()
    d:put(1, { deadline = day(1) })
    d:settled()
    assert.are.same({ 1, 8 }, days_of(9))
    d.api.apply["1"].deadline = day(2)
    d:news(1)
    assert.are.same({ 2, 9, 16 }, days_of(20))
  end)

  it("is tried again a minute later where the API fails, and is told of", function()
    d:put(1, { deadline = day(1) })
    d:settled()
    d.now = d.now + DAY
    d.answer = function() return { status = 503 } end
    d.calls = 0
    d:pass(150, 1)
    assert.is_true(d.calls <= 3, d.calls)
    assert.is_true(#d:logged "overdue_failed" <= 3)
    d.answer = nil
    d:pass(130, 1)
    assert.are.equal("invoice.overdue 1@1", d:took())
  end)

  it("comes of DreamClass after a read of that day", function()
    d.api.class["16"] = { id = 16, amount = 300, paidAmount = 0, payments = {},
      createdAt = "2023-11-15T00:00:00Z", dueDate = day(2) }
    d:school({}, "class")
    d:pass(320, 5)
    d:took()
    d.calls = 0
    assert.are.same({ 2, 9, 16 }, days_of(20))
    assert.are.equal(3, d.calls)
  end)

  it("does not come where the app names no days", function()
    d = desk.new():listen()
    d:put(1, { deadline = day(1) })
    d:settled()
    assert.are.same({}, days_of(20))
  end)
end)

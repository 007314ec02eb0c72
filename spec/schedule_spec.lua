-- Creates under random schedules of faults: whatever happens, nothing is billed twice, no success
-- is wrong, and what is there to be seen is found. BILLHOOK_SCHEDULES=10000 makes it thorough.
local json = require "billhook.json"
local support = require "spec.support.client"

local SCHEDULES = tonumber(os.getenv "BILLHOOK_SCHEDULES") or 1500

-- the same numbers on every Lua
local function randoms(seed)
  local state = seed * 7919 % 2147483646 + 1
  for _ = 1, 3 do state = state * 16807 % 2147483647 end
  local function next_one()
    state = state * 16807 % 2147483647
    return state / 2147483647
  end
  return next_one, function(list) return list[math.floor(next_one() * #list) + 1] end
end

local fates = { "created", "created", "refused", "busy", "lost", "lost", "late", "late", "late",
  "error", "error", "late error", "no location", "invalid" }
local delays = { 0, 0, 0.3, 1, 3, 9, 30 }

-- A DreamApply with a mind of its own. `posts[n]` is the fate of the n-th POST that came.
local function world(seed, referenced)
  local random, one_of = randoms(seed)
  local self = { made = {}, posts = {}, looks = {}, next_id = 1 }

  local function make(sent, at, maker)
    local invoice = { id = self.next_id, currency = sent.currency, smallprint = sent.smallprint,
      items = { { item = "Fee", price = "25.00", qty = "1.00" } } }
    self.next_id = self.next_id + 1
    self.made[#self.made + 1] = { invoice = invoice, maker = maker,
      seen_from = at + (random() < 0.3 and one_of(delays) or 0) }
  end

  local answers = {}
  function answers.refused() return nil, { kind = "network", sent = false } end
  function answers.busy()
    return { status = 429, headers = { ["Retry-After"] = random() < 0.5 and "1" or nil } }
  end
  function answers.invalid() return { status = 422, body = "No." } end
  function answers.lost() return nil, { kind = one_of { "timeout", "network", "tls" } } end
  function answers.error() return { status = one_of { 500, 502, 503, 504 } } end
  function answers.late(sent, now)
    make(sent, now + one_of(delays), "us")
    return answers.lost()
  end
  answers["late error"] = function(sent, now)
    make(sent, now + one_of(delays), "us")
    return answers.error()
  end
  function answers.created(sent, now)
    make(sent, now, "us")
    return { status = 201, headers = {
      Location = "/api/applications/123/invoices/" .. self.next_id - 1 } }
  end
  answers["no location"] = function(sent, now)
    make(sent, now, "us")
    return { status = 201 }
  end

  local function look(now)
    if random() < 0.1 then return answers.error() end
    if random() < 0.1 then return answers.lost() end
    local map = {}
    for _, one in ipairs(self.made) do
      if one.seen_from <= now then map[tostring(one.invoice.id)] = one.invoice end
    end
    self.looks[#self.looks + 1] = now
    return { status = 200, body = next(map) and json.encode(map) or "[]" }
  end

  function self.handler(request)
    local now = self.clock()
    -- others bill too: for other things, and for the same with a reference of theirs
    if random() < 0.3 then make({ currency = "USD" }, now, "them") end
    if referenced and random() < 0.5 then
      make({ currency = "EUR", smallprint = "order-of-theirs" }, now, "them")
    end
    self.transport.passed = (self.transport.passed or 0) + random()
    if request.method == "GET" then return look(now) end
    local fate = one_of(fates)
    self.posts[#self.posts + 1] = fate
    return answers[fate](json.decode(request.body), now)
  end
  return self, random
end

local function ours(it)
  local found = {}
  for _, one in ipairs(it.made) do
    if one.maker == "us" then found[#found + 1] = one end
  end
  return found
end

-- Runs a schedule: some creates of the same thing, one after the other. Gives what was wrong.
local function run(seed, tally)
  local referenced = seed % 3 == 0
  local it, random = world(seed, referenced)
  local transport, client
  local slept = 0
  function it.clock()
    while transport and transport.slept[1] do slept = slept + table.remove(transport.slept, 1) end
    return 1000 + slept + (transport and transport.passed or 0)
  end
  client, transport = support.new("dreamapply", it.handler,
    { api_key = "schedule-" .. seed, random = random, clock = it.clock })
  it.transport = transport
  local doubt = false -- an earlier create's invoice is not known: a later one's may be taken for it
  for n = 1, 1 + math.floor(random() * 3) do
    local before = #ours(it)
    it.looks = {}
    local value, err = client.invoices:create(123,
      { currency = "EUR", items = { { item = "Fee", price = 25, qty = 1 } } },
      { reference = referenced
        and { field = "smallprint", value = ("order-%d-%d"):format(seed, n) } or nil })
    local made = ours(it)
    local kind = value and value.how or err.kind
    tally[kind] = (tally[kind] or 0) + 1
    local mine = made[before + 1]
    if #made - before > 1 then return "billed twice" end
    if value then
      if not mine then return "a success without an invoice" end
      if value.id ~= nil and value.id ~= mine.invoice.id then return "another's invoice" end
      doubt = doubt or (value.id == nil and not referenced)
    elseif err.kind ~= "unknown_outcome" then
      if mine then return "an invoice in spite of " .. tostring(err) end
    else
      local last = it.looks[#it.looks]
      if mine and last and mine.seen_from <= last and #it.looks > 1 and not doubt then
        return "it was there to be seen"
      end
      doubt = not referenced
    end
  end
end

describe("creates under random schedules", function()
  it(("bill nobody twice, %d times"):format(SCHEDULES), function()
    local tally = {}
    for seed = 1, SCHEDULES do
      local wrong = run(seed, tally)
      assert.is_nil(wrong, ("schedule %d: %s"):format(seed, tostring(wrong)))
    end
    -- all of it happened
    for _, kind in ipairs { "created", "found", "unknown_outcome", "invalid" } do
      assert.is_truthy(tally[kind], kind)
    end
  end)
end)

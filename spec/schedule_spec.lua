-- Creates under random schedules of faults: whatever happens, nothing is billed twice, no success
-- is wrong, and what is there to be seen is found. BILLHOOK_SCHEDULES=n runs so many; without,
-- each Lua runs half of a thousand: they differ by the seed, not by the Lua.
local caller = require "billhook.caller"
local clients = require "billhook.client"
local inbox = require "billhook.inbox"
local json = require "billhook.json"
local past = require "billhook.sandbox.past"
local sandbox = require "billhook.sandbox"
local support = require "spec.support.client"

local GIVEN = tonumber(os.getenv "BILLHOOK_SCHEDULES")
local SCHEDULES = GIVEN or 240
local BEFORE = not GIVEN and rawget(_G, "jit") and SCHEDULES or 0 -- those of the other Lua

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
  "error", "error", "late error", "no location", "odd location", "old location", "odd success",
  "redirect", "torn", "slow", "invalid" }
local deaths = { "dead before", "dead after", "dead after" } -- of an app's process
local delays = { 0, 0, 0.3, 1, 3, 9, 30 }

local paths = { invoices = "/api/applications/123/invoices/",
  payments = "/api/invoices/1/transactions/" }

-- How a list may come; the last three are none.
local lists = { "map", "map", "map", "array", "twice", "texts", "error", "page", "html" }

-- The sandbox's DreamApply with a mind of its own: what comes to it is done or not, seen at once or
-- later, answered or not. `posts[n]` is the fate of the n-th POST that came.
local function world(seed, referenced, mortal, pays)
  local random, one_of = randoms(seed)
  local self = { made = {}, posts = {}, looks = {}, asked = "us",
    api_key = (mortal and "app-schedule-" or "schedule-") .. seed }
  local path = paths[pays and "payments" or "invoices"]
  local target = path:gsub("^/api", "/api/v9"):sub(1, -2)
  local vendor = sandbox.new { dreamapply = { quota = false, api_key = self.api_key },
    clock = function() return self.clock and self.clock() or 1000 end }
  local key = ('DREAM apikey="%s"'):format(self.api_key)
  if pays then -- invoice 1, of another application
    assert(vendor:order("trigger", { vendor = "dreamapply", amount = "1000000.00" }))
  end

  local function ask(method, body)
    return vendor:answer { method = method, target = target, body = body,
      headers = { authorization = key } }
  end

  -- Does something that is seen from a time on; notes whose it is. A payment is seen with its
  -- invoice, so not before an earlier one.
  local function note(maker, at, act)
    vendor.hide = at + (random() < 0.3 and one_of(delays) or 0) - vendor:now()
    local id, location = act()
    vendor.hide = nil
    self.made[#self.made + 1] = { invoice = { id = id }, maker = maker,
      seen_from = past.since(vendor.dreamapply.invoices, pays and 1 or id) }
    return location
  end

  -- Does what a body asks for. Gives its place.
  local function make(body, at, maker)
    return note(maker, at, function()
      local status, why, headers = ask("POST", body)
      assert(status == 201, why)
      return tonumber(headers.Location:match "%d+$"), headers.Location
    end)
  end

  local function pay_by_card(now)
    note("them", now, function()
      return tonumber(assert(vendor:order("trigger", { vendor = "dreamapply", invoice = 1,
        type = "payment.created", amount = "25.00", gateway = "Stripe" })).payment)
    end)
  end

  -- others bill too: for other things, and for the same with a reference of theirs
  local function others(now)
    local fee = { { item = "Fee", price = "25.00", qty = "1.00" } }
    local function post(fields) make(json.encode(fields), now, "them") end
    if random() < 0.3 then
      post(pays and { amount = "26.00", currency = "EUR" }
        or { currency = "USD", type = "Invoice", items = fee })
    end
    if random() < 0.3 then
      if pays then
        pay_by_card(now)
      else
        post { currency = "EUR", type = "Receipt", smallprint = "order-of-theirs", items = fee }
      end
    end
    if referenced and random() < 0.5 then
      post { currency = "EUR", smallprint = "order-of-theirs", type = "Invoice", items = fee }
    end
  end

  local answers = {}
  function answers.refused() return nil, { kind = "network", sent = false } end
  function answers.busy()
    return { status = 429, headers = { ["Retry-After"] = one_of { "1", "0", "", "-5", "soon", "9",
      "Thu, 01 Jan 1970 00:16:45 GMT", "Thu, 01 Jan 1970 00:00:01 GMT", "3600",
      "99999999999999999999" } } }
  end
  function answers.torn(sent, now)
    make(sent, now, self.asked)
    return one_of { answers.lost, function() return nil, { kind = "too_large" } end }()
  end
  answers["dead before"] = function() error("killed", 0) end
  answers["dead after"] = function(sent, now)
    make(sent, now + one_of(delays), self.asked)
    error("killed", 0)
  end
  function answers.invalid() return { status = 422, body = "No." } end
  function answers.lost() return nil, { kind = one_of { "timeout", "network", "tls" } } end
  function answers.error() return { status = one_of { 500, 502, 503, 504 } } end
  function answers.late(sent, now)
    make(sent, now + one_of(delays), self.asked)
    return answers.lost()
  end
  answers["late error"] = function(sent, now)
    make(sent, now + one_of(delays), self.asked)
    return answers.error()
  end
  function answers.created(sent, now)
    return { status = 201, headers = { Location = make(sent, now, self.asked) } }
  end
  answers["odd location"] = function(sent, now)
    make(sent, now, self.asked)
    return { status = 201, headers = { Location = one_of { "https://x.example" .. path .. "1",
      path, path .. "0", path .. "-1", "//x" .. path .. "1", "/api/other/1", "1", "?" } } }
  end
  answers["old location"] = function(sent, now)
    local old = self.made[1]
    local place = make(sent, now, self.asked)
    local known = old and self.listed[old.invoice.id]
    return { status = 201, headers = { Location = known and path .. old.invoice.id or place } }
  end
  answers["odd success"] = function(sent, now)
    make(sent, now + one_of(delays), self.asked)
    return { status = one_of { 200, 202, 204, 206 }, body = "<html>" }
  end
  function answers.redirect(sent, now)
    if random() < 0.5 then make(sent, now, self.asked) end
    return { status = one_of { 301, 302, 303, 307, 308 }, headers = { Location = path .. "1" } }
  end
  function answers.slow(sent, now)
    self.transport.passed = self.transport.passed + 29
    return answers.created(sent, now)
  end
  answers["no location"] = function(sent, now)
    make(sent, now, self.asked)
    return { status = 201 }
  end

  local function look(now)
    if random() < 0.1 then return answers.error() end
    if random() < 0.1 then return answers.lost() end
    if random() < 0.05 then return { status = 429 } end
    if random() < 0.05 then return { status = 200, body = '{"1":{"id":' } end
    if mortal and random() < 0.05 then error("killed", 0) end
    local how, listed, array = one_of(lists), {}, json.array {}
    local status, text = ask "GET"
    assert(status == 200, text)
    for _, shown in pairs(json.decode(text)) do
      listed[shown.id] = true
      if how == "texts" then shown.id = tostring(shown.id) end
      array[#array + 1] = shown
      if how == "twice" then array[#array + 1] = shown end
    end
    if how == "error" then return { status = 200, body = '{"error":"the database is away"}' } end
    if how == "page" then return { status = 200, body = json.encode { invoices = array } } end
    if how == "html" then return { status = 200, body = "<html><title>Log in</title>" } end
    self.looks[#self.looks + 1], self.listed = now, listed -- what the client has seen
    return { status = 200, body = how == "map" and text or json.encode(array) }
  end

  function self.handler(request)
    local now = self.clock()
    others(now)
    self.transport.passed = (self.transport.passed or 0) + random()
    if request.method == "GET" then return look(now) end
    local fate = one_of(mortal and random() < 0.3 and deaths or fates)
    self.posts[#self.posts + 1] = fate
    return answers[fate](request.body, now)
  end
  return self, random
end

local function ours(it, asked)
  local found = {}
  for _, one in ipairs(it.made) do
    if one.maker == (asked or "us") then found[#found + 1] = one end
  end
  return found
end

-- A clock that the transport's sleeps move, and the test.
local function add_clock(it)
  local slept = 0
  it.later = 0
  function it.clock()
    local transport = it.transport
    while transport and transport.slept[1] do slept = slept + table.remove(transport.slept, 1) end
    return 1000 + slept + it.later + (transport and transport.passed or 0)
  end
end

-- Runs a schedule: some creates of the same thing, one after the other. Gives what was wrong.
local function run(seed, tally)
  local pays = seed % 5 == 0
  local referenced = seed % 3 == 0 and not pays
  local it, random = world(seed, referenced, false, pays)
  add_clock(it)
  local client
  client, it.transport = support.new("dreamapply", it.handler,
    { api_key = it.api_key,
      base_url = ("https://apply-%d.example.edu"):format(seed), random = random, clock = it.clock })
  local doubt = false -- an earlier create's invoice is not known: a later one's may be taken for it
  for n = 1, 1 + math.floor(random() * 3) do
    local before = #ours(it)
    it.looks = {}
    local began = it.clock()
    local value, err
    if pays then
      value, err = client.transactions:create(1, { amount = "25.00", currency = "EUR" })
    else
      value, err = client.invoices:create(123, { currency = "EUR", type = "Invoice",
        items = { { item = "Fee", price = 25, qty = 1 } } }, { reference = referenced
        and { field = "smallprint", value = ("order-%d-%d"):format(seed, n) } or nil })
    end
    if it.clock() - began > 42 then return "it took too long" end
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

-- Another schedule: an app whose rules each create the same thing, and run again until they know
-- what came of it, while their process dies now and then. Gives what was wrong.
local function run_app(seed, tally)
  local referenced = seed % 3 == 0
  local it, random = world(seed, referenced, true)
  add_clock(it)
  local store = assert(inbox.open("memory:", { clock = function() return it.clock() end }))
  store.dialect.departed = function(name) return name == "dead" end
  local client
  local function start()
    local before = it.transport
    client, it.transport = support.new("dreamapply", it.handler,
      { api_key = it.api_key, random = random, clock = it.clock, quota = false })
    it.transport.passed = before and before.passed or 0
    clients.share(client, function() return store end)
    clients.recover(client, function(_, name) tally[name] = (tally[name] or 0) + 1 end)
  end
  local function die()
    store:transaction(function(query) -- whoever this was is another one, and dead
      query("UPDATE texts SET value = CAST(replace(value, $1, $2) AS BLOB)",
        '"owner":"' .. store:who() .. '"', '"owner":"dead"')
      return true
    end)
  end
  local function restart()
    while not pcall(start) do die() end
  end
  restart()
  local known, asks = {}, 1 + math.floor(random() * 3)
  for turn = 1, 12 do
    for n = 1, asks do
      if known[n] == nil then
        it.asked = "rule " .. n
        local leave = caller.enter(it.asked)
        local fine, value, err = pcall(function()
          return client.invoices:create(123,
            { currency = "EUR", type = "Invoice",
              items = { { item = "Fee", price = 25, qty = 1 } } },
            { reference = referenced
              and { field = "smallprint", value = ("order-%d-%d"):format(seed, n) } or nil })
        end)
        leave()
        if not fine then
          if value ~= "killed" then return tostring(value) end
          tally.killed = (tally.killed or 0) + 1
          die()
          restart()
        elseif value then
          known[n] = value
        elseif err.kind == "unknown_outcome" or err.sent == false or err.retryable then
          tally.again = (tally.again or 0) + 1
        else
          known[n] = false
        end
      end
    end
    it.later = it.later + turn * random() * 20
  end
  local owners = {}
  for n = 1, asks do
    local made = ours(it, "rule " .. n)
    local value = known[n]
    if #made > 1 then return "billed twice" end
    if value and #made == 0 then return "a success without an invoice" end
    if value == false and #made == 1 then return "an invoice in spite of an error" end
    if value and value.id then
      if owners[value.id] then return "one invoice for two" end
      owners[value.id] = n
      if value.id ~= made[1].invoice.id then return "another's invoice" end
      tally["app " .. value.how] = (tally["app " .. value.how] or 0) + 1
    end
  end
  store:close()
end

describe("creates under random schedules", function()
  local function all(count, one, expected)
    local tally = {}
    for seed = BEFORE + 1, BEFORE + count do
      local wrong = one(seed, tally)
      assert.is_nil(wrong, ("schedule %d: %s"):format(seed, tostring(wrong)))
    end
    for _, kind in ipairs(expected) do assert.is_truthy(tally[kind], kind) end -- all of it happened
  end

  it(("bill nobody twice, %d times"):format(SCHEDULES), function()
    all(SCHEDULES, run, { "created", "found", "unknown_outcome", "invalid", "rate_limited" })
  end)

  it(("bill nobody twice in an app that crashes, %d times"):format(SCHEDULES / 20), function()
    all(SCHEDULES / 20, run_app, { "app created", "app found", "killed", "again", "settled",
      "unknown_outcome" })
  end)
end)

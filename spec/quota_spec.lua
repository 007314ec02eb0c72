local process = require "billhook.shared"
local quota = require "billhook.client.quota"

local now
local function clock() return now end
local function one() return 1 end

local function new(limit, settings)
  local all = { key = "digest", limit = limit, clock = clock, store = process.new(clock) }
  for name, value in pairs(settings or {}) do all[name] = value end
  return quota.new(all)
end

local function take(q, patience, need)
  local slots, wait, err = q:take(need or 1, { patience = patience or 30 })
  return slots and slots[1], wait, err
end

describe("billhook.client.quota", function()
  before_each(function() now = 1000 end)

  it("gives as many slots as the limit, then says when", function()
    local q = new(2)
    local a, b = take(q), take(q)
    assert.is_truthy(a and b)
    local slot, wait = take(q)
    assert.is_nil(slot)
    assert.equal(60, wait) -- beyond its patience
    slot, wait = take(q, 61)
    assert.is_nil(slot)
    assert.equal(60, wait)
  end)

  it("keeps the ticket of a call between its tries", function()
    local q = new(1)
    q:free(take(q))
    local first, second = { patience = 100 }, { patience = 200 }
    q:take(1, first)
    q:take(1, second)
    now = 1060
    assert.is_nil((q:take(1, second)))
    assert.is_truthy(q:take(1, first))
  end)

  it("never lets a window see more than the limit, however the server counts", function()
    -- the server counts each request at some moment between sending and answering
    local q, counted = new(5), {}
    local seed = 7
    local function random()
      seed = seed * 16807 % 2147483647
      return seed / 2147483647
    end
    local under_way, how = {}, { patience = 1000 }
    for _ = 1, 2000 do
      local slots, wait = q:take(1, how)
      if slots then
        local slot = slots[1]
        how = { patience = 1000 }
        local took = random() * 20
        under_way[#under_way + 1] = { slot = slot, at = now + took }
        counted[#counted + 1] = now + random() * took
      else
        now = now + math.min(wait, 1) + 0.001
      end
      for i = #under_way, 1, -1 do
        if under_way[i].at <= now then
          q:free(under_way[i].slot)
          table.remove(under_way, i)
        end
      end
      now = now + random() * 0.1
    end
    table.sort(counted)
    assert.is_true(#counted > 50)
    for i = 6, #counted do
      assert.is_true(counted[i] - counted[i - 5] >= 60, "more than 5 within 60 s")
    end
  end)

  it("takes a slot back whose answer never came, a window after its deadline", function()
    local q = new(1)
    take(q, 30)
    now = 1089
    local how = { patience = 30, beyond = 10 }
    assert.equal(1, select(2, q:take(1, how)))
    now = 1090
    assert.is_truthy(q:take(1, how))
    now = 1189
    assert.equal(1, select(2, take(q, 30)))
  end)

  it("gives an unused slot back at once", function()
    local q = new(1)
    q:give_back { take(q) }
    q:give_back {}
    assert.is_truthy(take(q))
  end)

  it("parks the key for everybody who shares it", function()
    local store = process.new(clock)
    local a, b = new(5, { store = store }), new(5, { store = store })
    assert.equal(7, a:refused(7, one))
    local slot, wait = take(b)
    assert.is_nil(slot)
    assert.equal(7, wait)
    assert.same({ 0, 7 }, { b:look() })
    now = 1007
    assert.is_truthy(take(b))
    -- the number is the server's, but nobody waits for a year
    assert.equal(31536000, a:refused(31536000, one))
    assert.same({ 0, 3600 }, { b:look() })
  end)

  it("says what is left and when more comes", function()
    local q = new(3)
    assert.same({ 3 }, { q:look() })
    local slot = take(q)
    assert.same({ 2 }, { q:look() })
    q:free(slot)
    now = 1015
    assert.same({ 2, 45 }, { q:look() })
    now = 1060
    assert.same({ 3 }, { q:look() })
  end)

  it("is one window for one key and clock, and another for another", function()
    local function of(settings)
      settings.limit = 2
      return quota.new(settings)
    end
    local other = function() return now end
    take(of({ key = "one", clock = clock }))
    assert.equal(1, (of({ key = "one", clock = clock }):look()))
    assert.equal(2, (of({ key = "two", clock = clock }):look()))
    assert.equal(2, (of({ key = "one", clock = other }):look()))
  end)

  it("is kept by an inbox, of which several may have a connection", function()
    local path = os.tmpname()
    os.remove(path)
    local a = new(2, { store = "sqlite:" .. path, window = 0.05 })
    local b = new(2, { window = 0.05,
      store = assert(require("billhook.inbox").open("sqlite:" .. path)) })
    local first, second = take(a), take(b)
    assert.is_truthy(first and second)
    assert.equal(0, (a:look()))
    assert.is_number(select(2, take(b)))
    a:give_back { first }
    assert.equal(1, (b:look()))
    a:refused(3600, one)
    assert.equal(0, (b:look()))
    b.store:close()
    for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(path .. suffix) end
  end)

  it("gives what its store failed with, and takes the one that is shared", function()
    local err = { kind = "store" }
    local q = new(2, { shared = function() return nil, err end })
    q.store = nil
    assert.equal(err, select(3, take(q)))
    assert.equal(err, select(2, q:look()))
    assert.is_nil(q:refused(nil, one))
    local store = process.new(clock)
    q.shared = function() return store end
    assert.is_truthy(take(q))
    assert.equal(1, (new(2, { store = store }):look()))
    q.shared = function() end -- neither: the process's own
    assert.is_truthy(take(q))
  end)
end)

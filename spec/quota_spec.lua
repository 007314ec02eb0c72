local quota = require "billhook.quota"

local now
local function clock() return now end
local function one() return 1 end

local function new(limit, settings)
  local all = { key = "digest", limit = limit, clock = clock, store = quota.memory() }
  for name, value in pairs(settings or {}) do all[name] = value end
  return quota.new(all)
end

describe("billhook.quota", function()
  before_each(function() now = 1000 end)

  it("gives as many slots as the limit, then says when", function()
    local q = new(2)
    local a, b = q:take(1030), q:take(1030)
    assert.is_truthy(a and b)
    local slot, wait = q:take(1030)
    assert.is_nil(slot)
    assert.equal(60, wait) -- whatever is under way comes back no sooner
  end)

  it("frees a slot a window after the response, not after the request", function()
    local q = new(1)
    local slot = q:take(1030)
    now = 1010
    q:free(slot)
    now = 1069
    local none, wait = q:take(2000)
    assert.is_nil(none)
    assert.equal(1, wait)
    now = 1070
    assert.is_truthy(q:take(2000))
  end)

  it("never lets a window see more than the limit, however the server counts", function()
    -- the server counts each request at some moment between sending and answering
    local q, counted = new(5), {}
    local seed = 7
    local function random()
      seed = seed * 16807 % 2147483647
      return seed / 2147483647
    end
    local under_way = {}
    for _ = 1, 2000 do
      local slot, wait = q:take(now + 30)
      if slot then
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
    q:take(1030)
    now = 1089
    assert.is_nil((q:take(2000)))
    now = 1090
    assert.is_truthy(q:take(2000))
  end)

  it("gives an unused slot back at once", function()
    local q = new(1)
    q:give_back(q:take(1030))
    assert.is_truthy(q:take(1030))
  end)

  it("frees nothing twice", function()
    local q = new(2)
    local slot = q:take(1030)
    q:free(slot)
    q:free(slot)
    q:give_back(slot)
    assert.equal(1, (q:look()))
  end)

  it("parks the key for everybody who shares it", function()
    local store = quota.memory()
    local a, b = new(5, { store = store }), new(5, { store = store })
    assert.equal(7, a:refused(7, one))
    local slot, wait = b:take(1030)
    assert.is_nil(slot)
    assert.equal(7, wait)
    assert.same({ 0, 7 }, { b:look() })
    now = 1007
    assert.is_truthy(b:take(1030))
  end)

  it("parks for longer and longer where the server does not say", function()
    local q = new(5)
    for _, seconds in ipairs { 2, 4, 8, 16, 32, 60, 60 } do
      assert.equal(seconds, q:refused(nil, one))
    end
    q:accepted()
    assert.equal(1, q:refused(nil, function() return 0 end))
  end)

  it("says what is left and when more comes", function()
    local q = new(3)
    assert.same({ 3 }, { q:look() })
    local slot = q:take(1030)
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
    of({ key = "one", clock = clock }):take(1030)
    assert.equal(1, (of({ key = "one", clock = clock }):look()))
    assert.equal(2, (of({ key = "two", clock = clock }):look()))
    assert.equal(2, (of({ key = "one", clock = other }):look()))
  end)

  it("survives a clock that steps back", function()
    local q = new(2)
    q:free(q:take(1030))
    now = 900
    q:free(q:take(930))
    now = 1061
    assert.equal(2, (q:look()))
  end)
end)

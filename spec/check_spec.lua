-- What a read means: each rule of the delivery model is one `it`.
local core = require "billhook.core"
local derive = require "billhook.app.derive"
local check = require "billhook.app.check"
local compare = require "billhook.app.compare"
local inbox = require "billhook.inbox.invoices"
local invoices = require "billhook.invoice"
local betterez = require "billhook.vendor.betterez"
local dreamapply = require "billhook.vendor.dreamapply"
local dreamclass = require "billhook.vendor.dreamclass"

local START = 1764547200000 -- 2025-12-01T00:00:00Z, the account's first start
local SECOND, MINUTE = 1000, 60000

-- a DreamApply invoice over 20.00, issued at START + 1 h
local function apply(more)
  more = more or ""
  more = more:find('"collections"', 1, true) and more or more .. ',"collections":{}'
  return ('{"id":200,"nr":"AF-1","issued":"2025-12-01T01:00:00Z","deadline":"2025-12-17",'
    .. '"currency":"EUR","items":[{"item":"Fee","price":"20.00","qty":"1.00"}]%s}'):format(more)
end

local function paid(amount, id, inserted)
  return apply(',"collections":{"%s":{"id":%s,"amount":"%s","inserted":"%s"}}')
    :format(id or 41, id or 41, amount or "20.00", inserted or "2025-12-04T07:06:40+00:00")
end

local function context(more)
  local made = { now = START, vendor = dreamapply, account = "admissions", baseline = true,
    start = START, deletions = 0, known = 5, today = "2025-12-02", trust = "api",
    rules = function(type) return type == "invoice.paid" and { "thank" } or {} end }
  for name, value in pairs(more or {}) do
    made[name] = value
  end
  return made
end

-- A room with one row: reads are taken one after another, each with the next ticket.
local function room(more)
  local self = { row = inbox.empty("admissions", "200"), context = context(more), ticket = 0,
    events = {} }

  function self.write(change)
    assert.equal(self.row.stamp, change.expect)
    for name, value in pairs(change.set) do
      if value == check.NULL then value = nil end
      self.row[name] = value
    end
    self.row.stamp = self.row.stamp + 1
    for _, event in ipairs(change.events) do
      self.events[#self.events + 1] = event
    end
    return change
  end

  -- what a read at some milliseconds after START finds; nil text: 404
  function self.read(at, text, fields)
    self.ticket = self.ticket + 1
    local read = { ticket = self.ticket, began = START + at, status = text and "found" or "absent",
      text = text, invoice = text and invoices.tag(self.context.vendor.name,
        core.json.decode(text)) }
    for name, value in pairs(fields or {}) do
      read[name] = value
    end
    self.context.now = START + (fields and fields.ended or at)
    return self.write(check.take(self.row, read, self.context))
  end

  function self.news(at)
    self.write { expect = self.row.stamp, set = check.news(self.row, START + at), events = {} }
  end

  function self.due()
    return self.row.check_due and self.row.check_due - START
  end

  -- the types of the events since the last question
  function self.told()
    local types = {}
    for i, event in ipairs(self.events) do
      types[i] = event.type
    end
    self.events = {}
    return table.concat(types, " ")
  end
  return self
end

-- a room in which the invoice is known, as of START
local function known(text, more)
  local self = room(more)
  self.read(0, text or apply())
  self.told()
  return self
end

describe("check.take: tickets", function()
  it("a row never takes a read that is older than the one that it comes from", function()
    local self = known()
    local row = self.row.stamp
    for _, ticket in ipairs { 0, 1 } do
      for _, text in ipairs { apply(), paid() } do
        local change = check.take(self.row, { ticket = ticket, began = START, status = "found",
          text = text, invoice = core.json.decode(text) }, self.context)
        assert.is_true(change.nothing)
        assert.same({}, change.set)
        assert.same({}, change.events)
        assert.is_nil(change.settle)
      end
      assert.is_true(check.take(self.row, { ticket = ticket, began = START, status = "absent" },
        self.context).nothing)
    end
    assert.equal(row, self.row.stamp)
  end)

  it("every newer read leaves its ticket, whatever it finds", function()
    local self = room()
    self.read(0, nil)
    assert.equal(1, self.row.ticket)
    self.read(1, apply())
    self.read(2, apply())
    assert.equal(3, self.row.ticket)
    self.read(3, nil)
    assert.equal(4, self.row.ticket)
    assert.equal(START + 3, self.row.read_at)
  end)
end)

describe("check.take: what asked for the read", function()
  it("is done at once where a change is found", function()
    local self = known()
    self.news(1000)
    local change = self.read(1001, paid())
    assert.equal("done", change.settle)
    assert.is_true(change.found)
    assert.is_nil(self.row.check_due)
  end)

  it("is done only where it was routed before the read began", function()
    local self = known()
    self.news(5000)
    local change = self.read(4000, paid(), { ended = 6000 })
    assert.equal("done", change.settle)
    assert.equal(START + 4000, change.began)
    assert.equal(6000, self.due()) -- the news of 5000 asks on, at once
    assert.equal(0, self.row.tries)
  end)

  it("is looked at again after 2, 10, 60 and 300 s, then unchanged", function()
    local self = known()
    self.news(0)
    assert.equal(0, self.due())
    for _, step in ipairs { { 10, 2000 }, { 2000, 10000 }, { 10000, 60000 }, { 60000, 300000 } } do
      assert.is_nil(self.read(step[1], apply()).settle)
      assert.equal(step[2], self.due())
    end
    local change = self.read(300000, apply())
    assert.equal("unchanged", change.settle)
    assert.is_nil(self.row.check_due)
    assert.equal("", self.told())
  end)

  it("is gone where nothing was known and nothing comes: no alarm, no event", function()
    local self = room()
    self.news(0)
    for _, at in ipairs { 0, 2000, 10000, 60000 } do
      assert.is_nil(self.read(at, nil).settle)
    end
    assert.equal("gone", self.read(300000, nil).settle)
    assert.is_nil(self.row.check_due)
    assert.is_false(self.row.known)
    assert.equal(0, self.row.version)
    assert.equal("", self.told())
  end)

  it("is found by the schedule where the API lags", function()
    local self = room()
    self.news(0)
    self.read(0, nil)
    self.read(2000, nil)
    local change = self.read(10000, apply())
    assert.equal("done", change.settle)
    assert.equal("invoice.created", self.told())
  end)

  it("waits for a read that began late enough, however late it ended", function()
    local self = known()
    self.news(0)
    self.read(-5000, apply(), { ended = 400000 }) -- a slow list from before the news
    assert.equal(2000, self.due())
    assert.is_nil(self.read(1000, apply(), { ended = 400001 }).settle)
    assert.equal(2000, self.due())
  end)

  it("starts the schedule anew with newer news", function()
    local self = known()
    self.news(0)
    self.read(0, apply())
    self.read(2000, apply())
    self.news(3000)
    assert.equal(3000, self.due())
    self.read(3000, apply())
    assert.equal(5000, self.due())
  end)

  it("is settled by its age where newer news never stops coming", function()
    local self, settled = known(), {}
    for at = 0, 900 * SECOND, 10 * SECOND do
      self.news(at)
      local change = self.due() <= at and self.read(at, apply()) or {}
      if change.settle then
        settled[#settled + 1] = change.began - START
        assert.equal("unchanged", change.settle)
        assert.equal(at - 300 * SECOND, settled[#settled])
        assert.is_number(self.row.check_due)
      end
    end
    assert.is_true(#settled > 5)
  end)

  it("nobody: a read that no news asked for settles nothing and asks for nothing", function()
    local self = known()
    local change = self.read(1000, apply())
    assert.is_nil(change.settle)
    assert.is_nil(self.row.check_due)
    assert.equal(0, self.row.reads)
  end)

  it("is read once more 300 s after the newest news where no list shows open invoices", function()
    local self = room { vendor = dreamclass, lists_open = false }
    self.news(0)
    assert.equal("done", self.read(10, '{"id":200,"amount":300}').settle)
    assert.equal(300000, self.due())
    assert.equal("unchanged", self.read(300000, '{"id":200,"amount":300}').settle)
    assert.is_nil(self.row.check_due)
    self.news(400000)
    self.read(400001, '{"id":200,"amount":301}')
    assert.equal("done", self.read(700000, '{"id":200,"amount":302}').settle) -- what had lagged
    assert.is_nil(self.row.check_due)
    assert.equal("invoice.created invoice.updated invoice.updated", self.told())
  end)

  it("a list that misses an invoice asks for one read, not for the schedule", function()
    local self = known()
    self.write { expect = self.row.stamp, set = check.look(self.row, START + 9000), events = {} }
    assert.equal(9000, self.due())
    self.read(9000, apply())
    assert.is_nil(self.row.check_due)
    self = known()
    self.news(10000)
    self.read(10000, apply())
    self.write { expect = self.row.stamp, set = check.look(self.row, START + 11000), events = {} }
    assert.equal(11000, self.due())
    assert.is_nil(self.read(11000, apply()).settle)
    assert.equal(12000, self.due())
  end)
end)

describe("check.news", function()
  it("makes a check due at once", function()
    assert.same({ news_at = 7, tries = 0, check_due = 7 }, check.news(inbox.empty("a", "1"), 7))
    assert.same({ news_at = 7, tries = 0, check_due = 5 }, check.news({ reads = 0, check_due = 5 },
      7))
  end)

  it("waits after reads that found nothing, so that replays cannot buy a read each", function()
    local function due(reads, now, check_due)
      return check.news({ reads = reads, read_at = 1000, check_due = check_due }, now).check_due
    end
    assert.equal(1001, due(2, 1001))
    assert.equal(3000, due(3, 1001))
    assert.equal(11000, due(4, 1001))
    assert.equal(61000, due(5, 1001))
    assert.equal(61000, due(500, 1001))
    assert.equal(61001, due(5, 61001)) -- after a quiet while at once
    assert.equal(2500, due(5, 1001, 2500)) -- what was to come sooner, comes
  end)

  it("a thousand replays in ten minutes buy some 13 reads, and a change after them is found",
    function()
      local self, reads = known(), 0
      for at = 0, 600 * SECOND, 600 do
        self.news(at)
        if self.due() <= at then
          reads = reads + 1
          self.read(at, apply())
        end
      end
      assert.is_true(reads <= 14, reads)
      self.read(self.due(), paid())
      assert.equal("invoice.updated payment.created invoice.paid", self.told())
      assert.equal(0, self.row.reads)
      self.news(700 * SECOND)
      assert.equal(700 * SECOND, self.due())
    end)
end)

describe("check.take: states that were left", function()
  it("a state that was left within 10 minutes has to be seen twice, 60 s apart", function()
    local self = known()
    self.read(10 * SECOND, paid())
    self.told()
    assert.is_nil(self.read(20 * SECOND, apply()).found)
    assert.equal(80 * SECOND, self.due())
    self.read(50 * SECOND, apply())
    assert.equal(80 * SECOND, self.due())
    assert.equal("", self.told())
    assert.is_true(self.read(80 * SECOND, apply()).found)
    assert.equal("invoice.updated payment.deleted", self.told())
    assert.is_nil(self.row.doubt)
  end)

  it("the second read has to begin 60 s after the first ended", function()
    local self = known()
    self.read(10 * SECOND, paid())
    self.read(20 * SECOND, apply(), { ended = 40 * SECOND })
    assert.equal(100 * SECOND, self.due())
    assert.is_nil(self.read(99 * SECOND, apply(), { ended = 200 * SECOND }).found)
    assert.is_true(self.read(200 * SECOND, apply()).found)
  end)

  it("a lagging read is forgotten when the known state is seen again", function()
    local self = known()
    self.read(10 * SECOND, paid())
    self.told()
    self.read(20 * SECOND, apply())
    self.read(80 * SECOND, paid())
    assert.is_nil(self.row.doubt)
    assert.is_nil(self.row.check_due)
    self.read(90 * SECOND, apply()) -- the first of two again
    assert.equal("", self.told())
  end)

  it("another doubted state starts anew", function()
    local self = known()
    self.read(1 * SECOND, paid "5.00")
    self.read(2 * SECOND, paid "6.00")
    self.told()
    self.read(10 * SECOND, apply())
    self.read(80 * SECOND, paid "5.00")
    assert.equal("", self.told())
    assert.equal(140 * SECOND, self.due())
  end)

  it("a state that was left long ago is taken at once", function()
    local self = known()
    self.read(10 * SECOND, paid())
    self.told()
    self.read(10 * SECOND + 10 * MINUTE, apply())
    assert.equal("invoice.updated payment.deleted", self.told())
  end)

  it("a payment that was found just now is not taken back by one read, whatever else it says",
    function()
      local self = known()
      self.read(10 * SECOND, paid "20.00")
      self.told()
      local between = (apply():gsub("AF%-1", "AF-2")) -- a state that nobody has seen
      self.read(12 * SECOND, between)
      assert.equal("", self.told())
      assert.equal(72 * SECOND, self.due())
      self.read(72 * SECOND, paid "20.00")
      assert.equal("", self.told())
      self.read(80 * SECOND, between)
      self.read(140 * SECOND, between)
      assert.equal("invoice.updated payment.deleted", self.told())
      self.read(141 * SECOND, paid("5.00", 42)) -- more is no harm
      assert.equal("invoice.updated payment.created", self.told())
    end)

  it("keeps 32 of them at most, and none for longer than 10 minutes", function()
    local self = known()
    for i = 1, 40 do
      self.read(i, paid(i .. ".00"))
    end
    assert.equal(32, #self.row.left_states)
    self.read(41 + 10 * MINUTE, apply())
    assert.equal(1, #self.row.left_states)
  end)
end)

describe("check.take: deletions", function()
  it("need two 404s 60 s apart and another invoice that can be read", function()
    local self = known()
    local first = self.read(10 * SECOND, nil)
    assert.is_nil(first.need_control)
    assert.equal(70 * SECOND, self.due())
    self.read(40 * SECOND, nil)
    assert.equal(70 * SECOND, self.due())
    local stamp = self.row.stamp
    local ask = check.take(self.row, { ticket = 99, began = START + 70 * SECOND,
      status = "absent" },
      self.context)
    assert.is_true(ask.need_control)
    assert.same({}, ask.set)
    assert.equal(stamp, self.row.stamp)
    assert.equal("", self.told())
    local change = self.read(70 * SECOND, nil, { control = "ok" })
    assert.is_true(change.deleted)
    assert.is_true(change.found)
    assert.equal("done", change.settle)
    assert.equal(2, self.row.version)
    assert.is_nil(self.row.data)
    assert.is_nil(self.row.digest)
    assert.is_nil(self.row.absent_at)
    assert.equal("void", self.row.status)
    assert.equal(START + 70 * SECOND, self.row.deleted_at)
    local event = self.events[1]
    assert.equal("invoice.deleted", event.type)
    assert.is_nil(event.data)
    assert.equal(apply(), event.previous)
  end)

  it("are told where the account has no other invoice", function()
    local self = known()
    self.read(0, nil)
    self.read(60 * SECOND, nil, { control = "none" })
    assert.equal("invoice.deleted", self.told())
  end)

  it("are the account's fault where the other invoice cannot be read: two 404s start anew",
    function()
    local self = known()
    self.read(0, nil)
    local change = self.read(60 * SECOND, nil, { control = "failed" })
    assert.equal("absent", change.fault)
    assert.is_nil(self.row.absent_at)
    assert.equal(120 * SECOND, self.due())
    assert.is_nil(change.settle)
    self.read(120 * SECOND, nil, { control = "ok" })
    assert.equal("", self.told())
    self.read(180 * SECOND, nil, { control = "ok" })
    assert.equal("invoice.deleted", self.told())
  end)

  it("the second 404 has to begin 60 s after the first ended", function()
    local self = known()
    self.read(0, nil, { ended = 30 * SECOND })
    self.read(89 * SECOND, nil, { control = "ok", ended = 200 * SECOND })
    assert.equal("", self.told())
    self.read(200 * SECOND, nil, { control = "ok" })
    assert.equal("invoice.deleted", self.told())
  end)

  it("a 404 between two answers is nothing", function()
    local self = known()
    self.news(0)
    self.read(0, nil)
    self.read(10 * SECOND, apply())
    assert.is_nil(self.row.absent_at)
    self.read(80 * SECOND, nil, { control = "ok" })
    assert.equal("", self.told())
  end)

  it("stop beyond 10 a day, or 1 in 100, until a person says that they are meant", function()
    for _, case in ipairs { { 9, 5, true }, { 10, 5, false }, { 10, 1099, false }, { 10, 1100,
      true },
      { 49, 5000, true }, { 50, 5000, false } } do
      local self = known(nil, { deletions = case[1], known = case[2] })
      self.read(0, nil)
      local change = self.read(60 * SECOND, nil, { control = "ok" })
      assert.equal(case[3] and "invoice.deleted" or "", self.told())
      assert.equal(not case[3] or nil, change.braked)
      if change.braked then
        assert.equal(60 * SECOND + 60 * MINUTE, self.due())
        self.context.brake_off = true
        self.read(self.due(), nil, { control = "ok" })
        assert.equal("invoice.deleted", self.told())
      end
    end
  end)

  it("are told once; news about what was deleted is unchanged", function()
    local self = known()
    self.read(0, nil)
    self.read(60 * SECOND, nil, { control = "ok" })
    self.told()
    self.news(100 * SECOND)
    for _, at in ipairs { 100, 102, 110, 160 } do
      self.read(at * SECOND, nil)
    end
    assert.equal("unchanged", self.read(400 * SECOND, nil).settle)
    assert.equal("", self.told())
    assert.equal(2, self.row.version)
  end)

  it("may be taken back: an update, for a creation happens once", function()
    local self = known(paid())
    self.read(0, nil)
    self.read(60 * SECOND, nil, { control = "ok" })
    assert.equal("invoice.deleted payment.deleted", self.told())
    self.read(20 * MINUTE, paid())
    assert.is_nil(self.events[1].previous)
    assert.equal("invoice.updated payment.created invoice.paid", self.told())
    assert.is_nil(self.row.deleted_at)
    assert.equal(3, self.row.version)
  end)

  it("a read from before the deletion does not bring it back", function()
    local self = known()
    self.read(0, nil)
    self.read(60 * SECOND, nil, { control = "ok" })
    self.told()
    self.read(70 * SECOND, apply())
    assert.equal("", self.told())
    assert.equal(130 * SECOND, self.due())
    self.read(130 * SECOND, nil)
    assert.is_true(self.row.deleted_at ~= nil)
    assert.equal("", self.told())
  end)
end)

describe("check.take: events", function()
  it("created: not known and there, and a complete list has been seen", function()
    local self = room()
    self.read(0, apply())
    assert.equal("invoice.created", self.told())
    assert.equal(1, self.row.version)
    assert.is_true(self.row.known)
  end)

  it("created: issued after the account's first start, list or not", function()
    local self = room { baseline = false }
    self.read(0, apply())
    assert.equal("invoice.created", self.told())
  end)

  it("nothing: a first list shows what was issued before the account's first start", function()
    local self = room { baseline = false, start = START + 2 * 60 * MINUTE }
    assert.is_true(self.read(0, paid()).found)
    assert.equal("", self.told())
    assert.equal(1, self.row.version)
    self.read(20 * MINUTE, paid "19.00")
    assert.equal("invoice.updated payment.updated", self.told())
  end)

  it("updated without previous: news of what was there before the account, and unknown", function()
    local self = room { baseline = false, start = START + 2 * 60 * MINUTE }
    self.news(0)
    self.read(0, apply())
    assert.is_nil(self.events[1].previous)
    assert.equal("invoice.updated", self.told())
  end)

  it("payments of before the account's first start are not told as new", function()
    local first = START + 2 * 60 * MINUTE
    local function told(text, vendor)
      local self = room { baseline = false, start = first, vendor = vendor }
      self.news(0)
      self.read(0, text)
      return self.told()
    end
    assert.equal("invoice.updated", told(paid("20.00", 41, "2025-12-01T01:00:00Z")))
    assert.equal("invoice.updated payment.created invoice.paid", told(paid()))
    assert.equal("invoice.updated invoice.paid", told('{"id":200,"amount":9,"paidAmount":9}',
      dreamclass))
  end)

  it("then each payment that differs, by its id, then paid", function()
    local self = known(apply(',"collections":{"9":{"id":9,"amount":"1"},'
      .. '"10":{"id":10,"amount":"2"}}'))
    self.read(1, apply ',"collections":{"10":{"id":10,"amount":"3"},"11":{"id":11,"amount":"17"}}')
    local events = self.events
    assert.equal("invoice.updated payment.deleted payment.updated payment.created invoice.paid",
      self.told())
    local hex = self.row.digest:sub(3, 10)
    for i, suffix in ipairs { "updated", "payment.deleted.9", "payment.updated.10",
      "payment.created.11", "paid" } do
      assert.equal("admissions:200@2." .. hex .. "." .. suffix, events[i].id)
      assert.equal(2, events[i].version)
      assert.equal("200", events[i].invoice)
      assert.equal("api", events[i].trust)
      assert.equal(START + 1, events[i].occurred_at)
      assert.is_true(events[i].live)
      assert.same(i == 5 and { "thank" } or {}, events[i].rules)
    end
    assert.is_nil(events[2].data)
    assert.same({ id = 9, amount = "1" }, core.json.decode(events[2].previous))
    assert.same({ id = 10, amount = "2" }, core.json.decode(events[3].previous))
    assert.same({ id = 10, amount = "3" }, core.json.decode(events[3].data))
    assert.is_nil(events[4].previous)
    assert.same({ id = 11, amount = "17" }, core.json.decode(events[4].data))
  end)

  it("a payment's id that does not belong in a log is told by a digest", function()
    local self = known()
    self.read(1, apply ',"collections":{"a\\u001b b":{"amount":"1"}}')
    assert.matches("%.payment%.created%." .. ("%x"):rep(16) .. "$", self.events[2].id)
  end)

  it("paid: the balance passes to nothing or below with something paid, each time anew", function()
    local self = known()
    local function read(minutes, text)
      self.read(minutes * MINUTE, text)
      return self.told()
    end
    assert.equal("invoice.updated payment.created", read(11, paid "19.99"))
    assert.equal("invoice.updated payment.updated invoice.paid", read(22, paid "20.00"))
    assert.equal("invoice.updated payment.updated", read(33, paid "21.00")) -- still paid
    assert.equal("invoice.updated payment.deleted", read(44, apply()))
    assert.equal("invoice.updated payment.created invoice.paid", read(55, paid "20.00"))
    local free = known((apply():gsub('"20.00"', '"0.00"')))
    assert.equal("paid", free.row.status)
    self = room()
    assert.equal("invoice.created", read(0, (apply():gsub('"20.00"', '"0.00"'))))
    self = room()
    assert.equal("invoice.created payment.created invoice.paid", read(0, paid()))
  end)

  it("ids carry the state, or the one that was left: a restored backup makes others", function()
    local self = room()
    self.read(0, apply())
    local digest = self.row.digest
    assert.equal("admissions:200@1." .. digest:sub(3, 10) .. ".created", self.events[1].id)
    assert.equal(compare.digest(dreamapply, core.json.decode(apply())), digest)
    self.read(1, nil)
    self.read(1 + MINUTE, nil, { control = "ok" })
    assert.equal("admissions:200@2." .. digest:sub(3, 10) .. ".deleted", self.events[2].id)
  end)

  it("versions count states, without gaps", function()
    local self = room()
    for i = 1, 5 do
      self.read(i, paid(i .. ".00"))
      assert.equal(i, self.row.version)
    end
  end)

  it("what is no longer kept is not told as a payment that is new", function()
    local self = known(paid("20.00", 41, "2025-12-01T00:00:00Z"))
    self.row.data = nil -- as retention does it; digest and amounts stay
    self.read(20 * MINUTE, paid("20.00", 41, "2025-12-01T00:00:00Z"))
    assert.equal("", self.told())
    self.row.data = nil
    self.read(40 * MINUTE, paid("21.00", 41, "2025-11-30T00:00:00Z"))
    assert.equal("invoice.updated", self.told())
  end)
end)

describe("check.take: silent changes", function()
  it("refresh the state and tell nobody", function()
    local self = known()
    local change = self.read(1, apply ',"reminded":"2025-12-10T00:00:00Z"')
    assert.equal(apply ',"reminded":"2025-12-10T00:00:00Z"', change.set.data)
    assert.equal(1, self.row.version)
    assert.equal("", self.told())
    self.read(2, apply ',"collections":[],"reminded":null')
    assert.equal("", self.told())
  end)

  it("are told where the account watches them", function()
    local self = known(nil, { watch = { "reminded" } })
    self.read(1, apply ',"reminded":"2025-12-10T00:00:00Z"')
    assert.equal("invoice.updated", self.told())
  end)

  it("a list of watched names that changes tells of no invoice", function()
    local self = known(apply ',"reminded":"2025-12-10T00:00:00Z"')
    self.context.watch = { "reminded" }
    self.read(1, apply ',"reminded":"2025-12-10T01:00:00+01:00"')
    assert.equal("", self.told())
    assert.equal(compare.digest(dreamapply, core.json.decode(self.row.data), { "reminded" }),
      self.row.digest)
  end)

  it("another algorithm's digest is replaced", function()
    local self = known()
    self.row.digest = "0:" .. ("a"):rep(64)
    self.read(1, apply ',"reminder":null')
    assert.equal("", self.told())
    assert.equal("1:", self.row.digest:sub(1, 2))
    self.row.digest, self.row.data = "0:" .. ("a"):rep(64), nil
    self.read(2, paid())
    assert.equal("", self.told())
    self.row.digest = "0:" .. ("a"):rep(64)
    self.read(3, paid "30.00")
    assert.equal("invoice.updated payment.updated", self.told())
  end)
end)

describe("check.take: columns", function()
  it("keeps what the invoice says, and forgets what it no longer says", function()
    local self = known(paid "5.00")
    local row = self.row
    assert.same({ "AF-1", "EUR", "20.00", "5.00", "15.00", "2025-12-17", "part_paid" },
      { row.number,
      row.currency, row.total, row.paid, row.balance, row.due_date, row.status })
    assert.equal(START + 60 * MINUTE, row.issued_at)
    assert.equal(START, row.changed_at)
    assert.is_nil(row.closed_at)
    self.read(1, (paid "20.00":gsub('"deadline":"2025%-12%-17",', "")))
    assert.is_nil(row.due_date)
    assert.equal(START + 1, row.closed_at)
    self.read(2, paid "30.00")
    assert.equal("overpaid", row.status)
    assert.equal(START + 1, row.closed_at)
    self.read(20 * MINUTE, paid "1.00")
    assert.is_nil(row.closed_at)
  end)
end)

describe("check.take: overdue", function()
  local function overdue(more)
    local made = { overdue = { 7, 0, 14 }, today = "2025-12-16" }
    for name, value in pairs(more or {}) do made[name] = value end
    return known(nil, made)
  end

  local function on(self, day, text)
    self.context.today = day
    self.read(self.ticket * 11 * MINUTE, text or apply())
    local ids = {}
    for i, event in ipairs(self.events) do
      ids[i] = event.id
    end
    self.events = {}
    return table.concat(ids, " ")
  end

  it("comes at the days that the app names, each once", function()
    local self = overdue()
    assert.equal("", on(self, "2025-12-16"))
    assert.equal("admissions:200.overdue.2025-12-17+0", on(self, "2025-12-17"))
    assert.equal("", on(self, "2025-12-18"))
    self.context.today = "2025-12-24"
    self.read(self.ticket * 11 * MINUTE, apply())
    local event = self.events[1]
    assert.equal("admissions:200.overdue.2025-12-17+7", event.id)
    assert.equal("invoice.overdue", event.type)
    assert.equal(apply(), event.data)
    assert.equal(1, event.version)
    assert.is_nil(event.step)
    self.events = {}
    assert.equal("", on(self, "2025-12-24"))
    assert.equal("admissions:200.overdue.2025-12-17+14", on(self, "2026-02-01"))
    assert.equal("", on(self, "2026-03-01"))
  end)

  it("is the highest step that was newly reached", function()
    local self = overdue()
    assert.equal("admissions:200.overdue.2025-12-17+7", on(self, "2025-12-30"))
    assert.equal("", on(self, "2025-12-30"))
  end)

  it("never comes for steps that passed before the account's first start", function()
    local late = core.text.datetime "2025-12-26T12:00:00Z" * 1000
    local self = overdue { start = late }
    assert.equal("", on(self, "2025-12-30"))
    assert.equal("admissions:200.overdue.2025-12-17+14", on(self, "2025-12-31"))
  end)

  it("comes anew with a new due date", function()
    local self = overdue()
    on(self, "2025-12-17")
    local moved = (apply():gsub("2025%-12%-17", "2025-12-20"))
    assert.matches("%.updated$", on(self, "2025-12-18", moved))
    assert.equal("admissions:200.overdue.2025-12-20+0", on(self, "2025-12-20", moved))
    assert.equal("", on(self, "2025-12-21", moved))
  end)

  it("never comes for what is paid by then, nor for what says no due date or balance", function()
    local self = overdue()
    assert.matches("%.paid$", on(self, "2025-12-17", paid()))
    assert.equal("", on(self, "2025-12-24", paid()))
    for _, part in ipairs { '"deadline":"2025%-12%-17",', '"currency":"EUR",' } do
      self = overdue()
      on(self, "2025-12-16", (apply():gsub(part, "")))
      assert.equal("", on(self, "2025-12-24", (apply():gsub(part, ""))))
    end
    self = overdue()
    on(self, "2025-12-16", (apply():gsub("2025%-12%-17", "2025-13-17")))
    assert.equal("", on(self, "2025-12-24", (apply():gsub("2025%-12%-17", "2025-13-17"))))
  end)

  it("is told after the events of the same look", function()
    local self = overdue()
    self.context.today = "2025-12-17"
    self.read(11 * MINUTE, paid "5.00")
    assert.equal("invoice.updated payment.created invoice.overdue", self.told())
    assert.equal(2, self.row.version)
  end)

  it("does not come from a state that is in doubt", function()
    local self = overdue()
    self.read(1000, paid())
    self.told()
    self.context.today = "2025-12-18"
    self.read(2000, apply())
    assert.equal("", self.told())
  end)

  it("does not come where the app names no days", function()
    local self = known(nil, { today = "2026-12-17" })
    assert.equal("", on(self, "2026-12-17"))
  end)
end)

describe("check.take: a body whose proof covers it (Betterez)", function()
  local function body(number, second)
    return ('{"_id":"616d7cf38fedff37e4492161","number":"%s",'
      .. '"createdAt":{"value":"2025-12-01T01:00:00Z"},'
      .. '"updatedAt":{"value":"2025-12-01T00:00:%02d.500Z","offset":0}}'):format(number, second)
  end

  local function tickets()
    return room { vendor = betterez, trust = "body", baseline = false }
  end

  it("is the new state at once", function()
    local self = tickets()
    assert.equal("done", self.read(0, body("1", 0)).settle)
    assert.equal("body", self.events[1].trust)
    assert.equal("invoice.created", self.told())
    self.read(1, body("2", 1))
    assert.equal("invoice.updated", self.told())
  end)

  it("an older one is no news, and takes no ticket from a read under way", function()
    local self = tickets()
    self.read(0, body("2", 5))
    self.told()
    local change = self.read(1, body("1", 4))
    assert.equal("unchanged", change.settle)
    assert.same({}, change.set)
    assert.equal("", self.told())
  end)

  it("one of the same moment with other content is taken", function()
    local self = tickets()
    self.read(0, body("1", 5))
    self.read(1, body("2", 5))
    assert.equal("invoice.created invoice.updated", self.told())
  end)

  it("the same state once more is unchanged, and leaves what is asked of the API as it is",
    function()
    local self = tickets()
    self.read(0, body("1", 5))
    self.news(1000)
    local change = self.read(2000, body("1", 6))
    assert.equal("unchanged", change.settle)
    assert.equal(body("1", 6), self.row.data)
    assert.equal(1000, self.due())
    assert.equal("done", self.read(3000, body("2", 7)).settle)
    assert.equal(1000, self.due())
  end)

  it("a read of the API that is older than what is known is lag", function()
    local self = tickets()
    self.read(0, body("2", 5))
    self.told()
    self.context.trust = "api"
    self.news(1000)
    assert.is_nil(self.read(1000, body("1", 4)).settle)
    assert.equal(3000, self.due())
    assert.equal("", self.told())
    self.read(3000, body("3", 6))
    assert.equal("api", self.events[1].trust)
    assert.equal("invoice.updated", self.told())
    self.read(4000, body("2", 7)) -- written later, so no lag, though it was left
    assert.equal("invoice.updated", self.told())
  end)
end)

describe("derive.overdue_step", function()
  it("needs days that are days", function()
    local row = inbox.empty("a", "1")
    row.due_date, row.balance = "2025-12-17", "1.00"
    local function step(today, overdue)
      return derive.overdue_step(row, { start = START, today = today, overdue = overdue })
    end
    assert.equal(0, step("2025-12-17", { 0 }))
    assert.is_nil(step("2025-12-17", {}))
    assert.is_nil(step(nil, { 0 }))
  end)
end)

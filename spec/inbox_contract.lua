-- inbox_contract.lua: what every inbox does, as lua/billhook/inbox/init.lua
-- writes it down. A function of open(options), which gives a new, empty store;
-- call it inside of a describe.

local function with(fields, changes)
  for name, value in pairs(changes or {}) do fields[name] = value end
  return fields
end

-- an event of invoice 16 that one rule wants
local function event(id, changes)
  return with({
    account = "school", id = id, source = "webhook", vendor = "dreamclass",
    type = "invoice.updated", native = "INVOICE_UPDATED", invoice = "16", tenant = "t", live = true,
    trust = "id", digest = "d-" .. id, occurred_at = 1.5, body = "{\"data\":{}}", under = true,
    rules = { "r" },
  }, changes)
end

-- the first notice of an invoice, and what it is where there was one already
local function created(id, changes)
  return event(id, with({
    type = "invoice.created", key = "invoice.created:16",
    again = { type = "invoice.updated", rules = { "u" } },
  }, changes))
end

return function(open)
  local store, now

  before_each(function()
    now = 1000000
    store = assert(open { clock = function() return now end })
  end)

  after_each(function() store:close() end)

  local function admit(...) return assert(store:admit { ... }) end

  local function claim(owner, limit)
    return assert(store:claim { owner = owner or "me", lease = 60, limit = limit or 10 })
  end

  -- the one lane that is due
  local function lane(owner)
    local lanes = claim(owner)
    assert.are.equal(1, #lanes)
    return lanes[1]
  end

  local function release(one, after)
    local last = one.events[#one.events]
    return assert(store:release {
      { lane = one.lane, token = one.token, seen = last and last.seq, after = after },
    })
  end

  local function ids(events)
    local out = {}
    for i, one in ipairs(events) do out[i] = one.id end
    return out
  end

  local function states()
    local out = {}
    for _, one in ipairs(store:list {}) do out[one.id] = one.state end
    return out
  end

  describe("admit", function()
    it("keeps an event as it came", function()
      assert.are.same({ "admitted" }, admit(event "a"))
      local found = assert(store:show "school:a")
      for _, name in ipairs { "account", "vendor", "type", "native", "invoice", "tenant", "live",
        "trust", "digest", "occurred_at", "body", "under", "source" } do
        assert.are.equal(event("a")[name], found[name], name)
      end
      assert.are.equal("school:a", found.id)
      assert.are.equal("school:a", found.key)
      assert.are.equal("pending", found.state)
      assert.are.equal(now, found.received_at)
      assert.are.same({ "r" }, found.rules)
      assert.is_false(found.contested)
    end)

    it("keeps what is not there as absent", function()
      local bare = event("a", { live = false, under = false })
      bare.invoice, bare.tenant, bare.occurred_at = nil, nil, nil
      admit(bare)
      local found = store:show "school:a"
      assert.is_nil(found.invoice)
      assert.is_nil(found.tenant)
      assert.is_nil(found.occurred_at)
      assert.is_nil(found.note)
      assert.is_false(found.live)
      assert.is_false(found.under)
    end)

    it("takes an id once an account", function()
      assert.are.same({ "admitted", "duplicate" }, admit(event "a", event "a"))
      assert.are.same({ "duplicate" }, admit(event("a", { occurred_at = 9, body = "[]" })))
      assert.are.same({ "admitted" }, admit(event("a", { account = "other" })))
      assert.are.equal(2, #store:list {})
      assert.are.equal("{\"data\":{}}", store:show("school:a").body)
    end)

    it("takes a long list of known and new ones as if each came alone", function()
      admit(event("old", { invoice = "old" }))
      local list, results, lanes = {}, {}, { old = { "school:old" } }
      local function add(result, id, changes, name)
        local one = with(event(id), changes)
        list[#list + 1], results[#results + 1] = one, result
        if result == "duplicate" then return end
        name = name or one.invoice
        lanes[name] = lanes[name] or {}
        table.insert(lanes[name], "school:" .. id)
      end
      for i = 1, 70 do
        add("admitted", "a" .. i, { invoice = "new" .. i % 9 })
        list[#list + 1], results[#results + 1] = event("b" .. i), "admitted"
        list[#list].invoice, lanes["b" .. i] = nil, { "school:b" .. i }
        if i % 5 == 0 then
          add("duplicate", "a" .. i, { invoice = "new" .. i % 9 })
          add("duplicate", "old", { invoice = "old" })
          add("admitted", "c" .. i, { invoice = "old" })
          add(i == 5 and "admitted" or "admitted again", "d" .. i, { invoice = "once",
            key = "once", again = { type = "invoice.updated", rules = { "u" } } })
        end
      end
      assert.are.same(results, assert(store:admit(list)))
      local found = {}
      for _, one in ipairs(assert(store:claim { owner = "me", lease = 60, limit = 200,
        page = 100 })) do
        local name = one.events[1].invoice or one.events[1].id:match ":(.*)"
        assert.is_nil(found[name])
        found[name] = ids(one.events)
      end
      assert.are.same(lanes, found)
    end)

    it("makes no lane for what it knows", function()
      local function alone()
        local one = event "a"
        one.invoice = nil
        return one
      end
      admit(alone())
      local done = lane()
      assert.is_true(store:done(done.token, done.events[1].seq, "r"))
      assert.are.equal(1, release(done)) -- and it is gone
      local list = {}
      for i = 1, 20 do list[i] = i % 2 == 0 and alone() or event("b" .. i) end
      assert(store:admit(list))
      assert.are.equal(10, #lane().events)
    end)

    it("takes ids with any text in them", function()
      local odd = { "a:b", "%", "'; --", "\xc3\xa9", "a b", ("x"):rep(128) }
      for _, id in ipairs(odd) do assert.are.same({ "admitted" }, admit(event(id))) end
      for _, id in ipairs(odd) do
        assert.are.equal("school:" .. id, store:show("school:" .. id).id)
      end
    end)

    it("takes what happened at no time that anybody means, without that time", function()
      local odd = { 9223372036854775807 / 1000, 1e300, 1 / 0, 0 / 0, -1, 1e12 }
      for i, time in ipairs(odd) do
        assert.are.same({ "admitted" }, admit(event("a" .. i, { occurred_at = time })))
        assert.is_nil(store:show("school:a" .. i).occurred_at)
        assert.are.same({ "duplicate" },
          admit(event("a" .. i, { occurred_at = time, trust = "api", source = "poll" })))
      end
      admit(event("b", { occurred_at = 999999999999 }))
      assert.are.equal(999999999999, store:show("school:b").occurred_at)
    end)

    it("marks an id with another content as contested and keeps one such body", function()
      admit(event("a", { unproven = true }))
      for digest, body in pairs { x = "first", y = "first" } do
        assert.are.same({ "contested" },
          admit(event("a", { unproven = true, digest = digest, body = body })))
      end
      local found = store:show "school:a"
      assert.is_true(found.contested)
      assert.are.equal("{\"data\":{}}", found.body)
      assert.are.equal("first", found.evidence.body)
      assert.are.equal(1, store:stats().contested)
    end)

    it("lets higher trust supersede lower, and never the other way", function()
      admit(event "a")
      assert.are.same({ "duplicate" },
        admit(event("a", { trust = "api", body = "{}", under = false })))
      local found = store:show "school:a"
      assert.are.equal("api", found.trust)
      assert.are.equal("{}", found.body)
      assert.is_false(found.under)
      assert.is_false(found.contested)
      assert.are.same({ "contested" }, admit(event("a", { digest = "x", body = "low" })))
      found = store:show "school:a"
      assert.are.equal("api", found.trust)
      assert.are.equal("{}", found.body)
    end)

    it("keeps the lesser body as evidence where a higher one differs", function()
      admit(event("a", { body = "low" }))
      assert.are.same({ "contested" },
        admit(event("a", { trust = "body", digest = "x", body = "high" })))
      local found = store:show "school:a"
      assert.are.equal("high", found.body)
      assert.are.equal("x", found.digest)
      assert.are.equal("low", found.evidence.body)
      assert.is_true(found.contested)
    end)

    it("creates an invoice once: a second notice is an update", function()
      assert.are.same({ "admitted", "admitted again" }, admit(created "a", created "b"))
      local first, second = store:show "school:a", store:show "school:b"
      assert.are.equal("invoice.created", first.type)
      assert.are.equal("school:invoice.created:16", first.key)
      assert.are.equal("invoice.updated", second.type)
      assert.are.equal("school:b", second.key)
      assert.are.same({ "u" }, second.rules)
      assert.are.same({ "duplicate", "duplicate" }, admit(created "a", created "b"))
      assert.are.same({ "admitted" }, admit(created("a", { account = "other" })))
    end)

    it("takes each of two doubtful creations for one, in its turn, and marks both", function()
      local function doubtful(id, changes)
        return created(id, with({ again = { type = "invoice.created", rules = { "r" },
          doubtful = true } }, changes))
      end
      assert.are.same({ "admitted", "admitted", "contested new", "admitted" },
        admit(doubtful "a", event "b", doubtful "c", event "d"))
      assert.are.same({ "contested new" }, admit(doubtful "e"))
      assert.are.same({ "duplicate", "duplicate" }, admit(doubtful "a", doubtful "c"))
      assert.are.same({ "school:a", "school:b", "school:c", "school:d", "school:e" },
        ids(lane().events))
      for id, key in pairs { a = "invoice.created:16", c = "c", e = "e" } do
        local found = store:show("school:" .. id)
        assert.are.same({ "invoice.created", "school:" .. key, true, "r" },
          { found.type, found.key, found.contested, found.rules[1] })
      end
      assert.are.equal(3, store:stats().contested)
    end)

    it("takes the same news by another way for a duplicate, and the API's word for it", function()
      admit(created "a", event "b")
      local polled = created("polled", { source = "poll", body = "asked", trust = "api" })
      polled.again = nil
      assert.are.same({ "duplicate", "duplicate" }, admit(polled, event("b", { source = "poll",
        digest = "other", body = "asked", trust = "api" })))
      assert.are.same({ "duplicate", "duplicate" }, admit(created "a", event "b"))
      for _, id in ipairs { "school:a", "school:b" } do
        local found = store:show(id)
        assert.are.equal("api", found.trust)
        assert.are.equal("asked", found.body)
        assert.is_false(found.contested)
      end
      assert.is_false(store:show "school:polled")
    end)

    it("keeps what no rule wants as unhandled, and claims it for nobody", function()
      admit(event("a", { rules = {}, note = "test event" }))
      local found = store:show "school:a"
      assert.are.equal("unhandled", found.state)
      assert.are.equal("test event", found.note)
      assert.are.same({}, claim())
      assert.are.equal(1, store:stats().unhandled)
    end)

    it("keeps a bad item as a dead letter that is told of once", function()
      admit(event("a", { rules = {}, reason = "not an object" }))
      assert.are.equal("dead", store:show("school:a").state)
      local one = lane()
      assert.is_true(one.events[1].bad)
      assert.are.equal("not an object", one.events[1].note)
      assert.is_true(store:dead(one.token, one.events[1].seq, nil, "not an object"))
      release(one)
      assert.are.same({}, claim())
      assert.are.equal("dead", store:show("school:a").state)
      assert.are.equal(1, store:stats().dead)
    end)

    it("admits all of a list or nothing", function()
      local broken = event "b"
      broken.digest = nil -- no inbox can keep that
      local results, err = store:admit { event "a", broken }
      assert.is_nil(results)
      assert.are.equal("store", err.kind)
      assert.are.same({}, store:list {})
      assert.are.same({ "admitted" }, admit(event "a"))
    end)

    it("admits nothing from an empty list", function() assert.are.same({}, admit()) end)

    it("keeps the order of a list", function()
      local many = {}
      for i = 1, 50 do many[i] = event(("%03d"):format(i), { invoice = tostring(i % 7) }) end
      assert(store:admit(many))
      local found = store:list {}
      for i = 1, 50 do assert.are.equal(("school:%03d"):format(51 - i), found[i].id) end
    end)
  end)

  describe("lanes", function()
    it("hold the events of one invoice in the order of their admission", function()
      admit(event "a", event("b", { invoice = "17" }), event "c")
      local lanes = claim()
      assert.are.equal(2, #lanes)
      assert.are.same({ "school:a", "school:c" }, ids(lanes[1].events))
      assert.are.same({ "school:b" }, ids(lanes[2].events))
      assert.are.equal("{\"data\":{}}", lanes[2].events[1].body)
      assert.is_false(lanes[1].more)
    end)

    it("are apart for each account and for each event without an invoice", function()
      local a, b = event "a", event "b"
      a.invoice, b.invoice = nil, nil
      admit(a, b, event "c", event("c", { account = "other" }))
      assert.are.equal(4, #claim())
    end)

    it("are claimed by one at a time", function()
      admit(event "a", event("b", { invoice = "17" }))
      assert.are.equal(1, #claim("one", 1))
      assert.are.equal(1, #claim("two"))
      assert.are.equal(0, #claim("three"))
      assert.are.equal(2, store:stats().leased)
    end)

    it("are claimed in the order in which they are due", function()
      admit(event("late", { invoice = "1" }))
      local one = lane()
      store:retry(one.token, one.events[1].seq, "r", 5000, "no")
      release(one, 5000)
      now = now + 10
      admit(event("new", { invoice = "0" }))
      assert.are.same({ "school:late" }, ids(claim("me", 1)[1].events))
      assert.are.same({ "school:new" }, ids(claim("me", 1)[1].events))
    end)

    it("are due again when their lease ends, under another token", function()
      admit(event "a")
      local first = lane "one"
      now = now + 59
      assert.are.same({}, claim "two")
      now = now + 1
      local second = lane "two"
      assert.are_not.equal(first.token, second.token)
      assert.is_false(store:done(first.token, first.events[1].seq, "r"))
      assert.is_false(store:retry(first.token, first.events[1].seq, "r", 0, "x"))
      assert.is_false(store:dead(first.token, first.events[1].seq, "r", "x"))
      assert.is_false(store:renew(first.lane, first.token, 60))
      assert.is_false(store:more(first.lane, first.token, 0))
      assert.are.equal(0, release(first))
      assert.are.equal("pending", store:show("school:a").state)
      assert.is_true(store:done(second.token, second.events[1].seq, "r"))
      assert.are.equal(1, release(second))
    end)

    it("are held longer when they are renewed", function()
      admit(event "a")
      local one = lane()
      now = now + 50
      assert.is_true(store:renew(one.lane, one.token, 60))
      now = now + 50
      assert.are.same({}, claim "two")
      now = now + 10
      assert.are.equal(1, #claim "two")
    end)

    it("never give out the same token again, not even when they are made anew", function()
      local lonely = event "a"
      lonely.invoice = nil
      admit(lonely)
      local seen = {}
      for _ = 1, 5 do
        local one = lane()
        assert.is_nil(seen[one.token])
        seen[one.token] = true
        assert.is_true(store:done(one.token, one.events[1].seq, "r"))
        release(one)
        assert.are.equal(1, store:replay { id = "school:a" })
      end
    end)

    it("are due at once where an event has come while they were held", function()
      admit(event "a")
      local one = lane()
      assert.is_true(store:done(one.token, one.events[1].seq, "r"))
      admit(event "b")
      assert.are.same({}, claim "two")
      release(one)
      assert.are.same({ "school:b" }, ids(lane("two").events))
    end)

    it("are due after the time that release says, or not at all", function()
      admit(event "a")
      local one = lane()
      store:retry(one.token, one.events[1].seq, "r", 3000, "no")
      release(one, 3000)
      assert.are.same({}, claim())
      now = now + 2.9
      assert.are.same({}, claim())
      now = now + 0.1
      one = lane()
      store:done(one.token, one.events[1].seq, "r")
      release(one)
      now = now + 1e6
      assert.are.same({}, claim())
    end)

    it("come in pages", function()
      local many = {}
      for i = 1, 7 do many[i] = event(tostring(i)) end
      assert(store:admit(many))
      local one = assert(store:claim { owner = "me", lease = 60, limit = 1, page = 3 })[1]
      assert.are.equal(3, #one.events)
      assert.is_true(one.more)
      local page = store:more(one.lane, one.token, one.events[3].seq, 3)
      assert.are.same({ "school:4", "school:5", "school:6" }, ids(page.events))
      assert.is_true(page.more)
      page = store:more(one.lane, one.token, page.events[3].seq, 3)
      assert.are.same({ "school:7" }, ids(page.events))
      assert.is_false(page.more)
    end)
  end)

  describe("a clock that jumps back", function()
    local function jump(seconds) now = now + seconds end

    it("freezes nothing that was just admitted", function()
      admit(event "a")
      jump(-7200)
      assert.are.equal(1, #claim())
    end)

    it("lets a lease end after the time it was meant to last", function()
      admit(event "a")
      claim "one"
      jump(-7200)
      assert.are.same({}, claim "two")
      jump(59)
      assert.are.same({}, claim "two")
      jump(2)
      assert.are.equal(1, #claim "two")
    end)

    it("lets a retry come after the time it was meant to wait", function()
      admit(event "a")
      local one = lane()
      store:retry(one.token, one.events[1].seq, "r", 10000, "no")
      release(one, 10000)
      jump(-7200)
      assert.are.same({}, claim())
      jump(11)
      one = lane()
      assert.are.equal(0, one.events[1].marks.r.wait)
      assert.are.equal(11000, one.events[1].marks.r.held)
    end)
  end)

  describe("marks", function()
    it("finish an event when its last rule is done", function()
      admit(event("a", { rules = { "r", "s" } }))
      local one = lane()
      local seq = one.events[1].seq
      assert.is_true(store:done(one.token, seq, "r"))
      assert.are.equal("pending", store:show("school:a").state)
      assert.is_true(store:done(one.token, seq, "s"))
      assert.are.equal("done", store:show("school:a").state)
      assert.are.same({ "done", "done" },
        { store:show("school:a").marks.r.state, store:show("school:a").marks.s.state })
    end)

    it("count once, however often they are set", function()
      admit(event("a", { rules = { "r", "s" } }))
      local one = lane()
      for _ = 1, 3 do assert.is_true(store:done(one.token, one.events[1].seq, "r")) end
      assert.is_true(store:dead(one.token, one.events[1].seq, "r", "late"))
      assert.are.equal("pending", store:show("school:a").state)
      assert.are.equal("done", store:show("school:a").marks.r.state)
    end)

    it("remember attempts, the first failure and the last message", function()
      admit(event("a", { rules = { "r", "s" } }))
      local one = lane()
      local seq = one.events[1].seq
      assert.is_true(store:retry(one.token, seq, "r", 4000, "first"))
      now = now + 5
      assert.is_true(store:retry(one.token, seq, "r", 7000, "second"))
      local mark = store:show("school:a").marks.r
      assert.are.same({ state = "waiting", attempts = 2, message = "second", wait = 7000,
        held = 5000 }, mark)
      release(one, 0)
      mark = lane().events[1].marks.r
      assert.are.equal(2, mark.attempts)
    end)

    it("make an event dead where a rule gave up, when all are through", function()
      admit(event("a", { rules = { "r", "s" } }))
      local one = lane()
      assert.is_true(store:dead(one.token, one.events[1].seq, "r", "broken"))
      assert.are.equal("pending", store:show("school:a").state)
      assert.is_true(store:done(one.token, one.events[1].seq, "s"))
      local found = store:show "school:a"
      assert.are.equal("dead", found.state)
      assert.are.equal("broken", found.marks.r.message)
      release(one)
      assert.are.same({}, claim())
    end)

    it("keep messages of bounded length", function()
      admit(event "a")
      local one = lane()
      store:retry(one.token, one.events[1].seq, "r", 0, ("x"):rep(100000))
      assert.are.equal(2000, #store:show("school:a").marks.r.message)
    end)

    it("keep messages in UTF-8, whatever was raised", function()
      admit(event "a")
      local one = lane()
      for message, kept in pairs {
        ["caf\xe9 \0 \xff\xfe"] = "caf? \0 ??", ["caf\xc3\xa9"] = "caf\xc3\xa9",
        [("x"):rep(1999) .. "\xc3\xa9"] = ("x"):rep(1999),
      } do
        store:retry(one.token, one.events[1].seq, "r", 0, message)
        assert.are.equal(kept, store:show("school:a").marks.r.message)
      end
    end)

    it("are refused when nobody holds the lane any more", function()
      admit(event "a")
      local one = lane()
      release(one, 0)
      assert.is_false(store:done(one.token, one.events[1].seq, "r"))
    end)
  end)

  describe("kept texts", function()
    it("keep the first result of a step", function()
      admit(event "a")
      local seq = lane().events[1].seq
      assert.is_false(store:step(seq, "r", "mail"))
      assert.are.equal("1", store:step(seq, "r", "mail", "1"))
      assert.are.equal("1", store:step(seq, "r", "mail", "2"))
      assert.are.equal("1", store:step(seq, "r", "mail"))
      assert.is_false(store:step(seq, "s", "mail"))
      assert.is_false(store:step(seq, "r", "other"))
    end)

    it("tell who has lost the lane, before it begins a step", function()
      admit(event "a")
      local one = lane "one"
      local seq = one.events[1].seq
      assert.is_false(store:step(seq, "r", "mail", nil, one.token))
      now = now + 61
      local two = lane "two"
      local kept, why = store:step(seq, "r", "mail", nil, one.token)
      assert.is_nil(kept)
      assert.are.same({ "store", "LANE_LOST" }, { why.kind, why.code })
      -- what it has done all the same is kept, so that it is not done again
      assert.are.equal("1", store:step(seq, "r", "mail", "1"))
      assert.are.equal("1", store:step(seq, "r", "mail", nil, two.token))
      release(two)
      assert.is_nil(store:step(seq, "r", "mail", nil, two.token))
    end)

    it("keep a cursor", function()
      assert.is_false(store:get "cursor")
      assert.is_true(store:set("cursor", "12"))
      assert.is_true(store:set("cursor", "13"))
      assert.are.equal("13", store:get "cursor")
      assert.is_false(store:get "version")
    end)
  end)

  describe("list", function()
    before_each(function()
      admit(event("a", { unproven = true }))
      now = now + 100
      admit(event("b", { account = "other", type = "payment.created" }))
      now = now + 100
      admit(event("c", { invoice = "17", rules = {} }), event("d", { rules = {}, reason = "bad" }))
      admit(event("a", { digest = "x", unproven = true }))
    end)

    local function listed(filter)
      local found = ids(assert(store:list(filter)))
      table.sort(found)
      return table.concat(found, " ")
    end

    it("filters", function()
      assert.are.equal("other:b school:a school:c school:d", listed {})
      assert.are.equal("other:b", listed { account = "other" })
      assert.are.equal("other:b", listed { type = "payment.created" })
      assert.are.equal("school:c", listed { invoice = "17" })
      assert.are.equal("other:b school:a school:d", listed { invoice = "16" })
      assert.are.equal("other:b", listed { invoice = "16", account = "other" })
      assert.are.equal("", listed { invoice = "18" })
      assert.are.equal("school:c", listed { state = "unhandled" })
      assert.are.equal("school:d", listed { state = "dead" })
      assert.are.equal("other:b school:a", listed { state = "pending" })
      assert.are.equal("school:a", listed { contested = true })
      assert.are.equal("school:a", listed { older_than = 150 })
      assert.are.equal("other:b school:c school:d", listed { newer_than = 150 })
      assert.are.equal("school:a", listed { id = "school:a" })
      assert.are.equal("", listed { id = "nothing" })
      assert.are.equal("", listed { account = "other", state = "dead" })
    end)

    it("gives the newest first, in pages", function()
      local first = store:list { limit = 3 }
      assert.are.same({ "school:d", "school:c", "other:b" }, ids(first))
      assert.are.same({ "school:a" }, ids(store:list { before = first[3].seq }))
    end)

    it("raises where the filter is none", function()
      local age = "field 'older_than' of a filter must be seconds, up to 1e10"
      local limit = "field 'limit' of a filter must be a whole number of at least 1"
      for _, case in ipairs {
        { "unknown field 'colour' of a filter", { colour = 1 } },
        { "field 'state' of a filter must be pending, done, dead or unhandled",
          { state = "blue" } },
        { age, { older_than = 1 / 0 } }, { age, { older_than = 0 / 0 } },
        { age, { older_than = "1" } }, { age, { older_than = 1.1e10 } },
        { age, { older_than = math.maxinteger or 2 ^ 63 } }, { age, { older_than = -2e10 } },
        { "field 'newer_than' of a filter must be seconds, up to 1e10", { newer_than = -1 / 0 } },
        { limit, { limit = 0 } }, { limit, { limit = -1 } }, { limit, { limit = 1.5 } },
        { limit, { limit = 1 / 0 } }, { limit, { limit = "7" } }, { limit, { limit = 0 / 0 } },
        { "field 'invoice' of a filter must be a string", { invoice = 16 } },
        { "field 'account' of a filter must be a string", { account = false } },
        { "field 'id' of a filter must be a string", { id = 7 } },
        { "field 'type' of a filter must be a string", { type = {} } },
        { "field 'before' of a filter must be a whole number", { before = "x" } },
        { "field 'contested' of a filter must be true or false", { contested = 1 } },
      } do
        for _, what in ipairs { "list", "purge", "replay" } do
          local ok, why = pcall(store[what], store, case[2])
          assert.is_false(ok)
          assert.are.equal(case[1], why)
        end
      end
      assert.are.equal(0, store:purge { older_than = 1e10 })
      assert.are.equal(1, store:purge { older_than = -1e10 })
      assert.are.equal(4, #store:list { newer_than = 1e10, contested = false, limit = 2 ^ 31 })
    end)

    it("has show say false for what is not there", function()
      assert.is_false(store:show "school:zzz")
      assert.is_false(store:show "zzz")
    end)
  end)

  describe("replay", function()
    local function finish(rules)
      local one = lane()
      for rule, how in pairs(rules) do
        assert.is_true(store[how](store, one.token, one.events[1].seq, rule))
      end
      release(one)
    end

    it("runs the dead rules of a dead event again, and no others", function()
      admit(event("a", { rules = { "r", "s" } }))
      finish { r = "dead", s = "done" }
      assert.are.equal(1, store:replay { state = "dead" })
      local one = lane()
      assert.is_nil(one.events[1].marks.r)
      assert.are.equal("done", one.events[1].marks.s.state)
      assert.is_true(store:done(one.token, one.events[1].seq, "r"))
      release(one)
      assert.are.equal("done", store:show("school:a").state)
    end)

    it("runs all rules of a finished event again", function()
      admit(event("a", { rules = { "r", "s" } }))
      finish { r = "done", s = "done" }
      assert.are.equal(1, store:replay { id = "school:a" })
      assert.are.same({}, lane().events[1].marks)
    end)

    it("leaves what is still pending, and what is not meant", function()
      admit(event "a", event("b", { invoice = "17" }))
      assert.are.equal(0, store:replay {})
      assert.are.same({ ["school:a"] = "pending", ["school:b"] = "pending" }, states())
    end)

    it("gives unhandled events to the rules that are named", function()
      admit(event("a", { rules = {} }), event("b", { rules = {}, type = "other.type" }))
      assert.are.equal(0, store:replay { state = "unhandled" })
      assert.are.equal(1, store:replay({ state = "unhandled" },
        { ["school\ninvoice.updated\nINVOICE_UPDATED\nlive"] = { "n" } }))
      local one = lane()
      assert.are.same({ "n" }, one.events[1].rules)
      assert.is_true(store:done(one.token, one.events[1].seq, "n"))
      assert.are.equal("done", store:show("school:a").state)
      assert.are.equal("unhandled", store:show("school:b").state)
    end)

    it("has what waits run now, also in a lane that is held", function()
      admit(event "a", event("b", { rules = { "s" } }))
      local one = lane()
      store:retry(one.token, one.events[1].seq, "r", 1e6, "no")
      assert.are.equal(1, store:replay { id = "school:a" })
      assert.are.equal(0, store:show("school:a").marks.r.wait)
      release(one, 1e6)
      one = lane()
      store:retry(one.token, one.events[1].seq, "r", 1e6, "no")
      release(one, 1e6)
      assert.are.same({}, claim())
      assert.are.equal(1, store:replay { state = "pending" })
      assert.are.same({ "school:a", "school:b" }, ids(lane().events))
    end)

    it("works through more than one transaction's worth, or no more than it may", function()
      local many = {}
      for i = 1, 1100 do many[i] = event(tostring(i), { invoice = tostring(i) }) end
      assert(store:admit(many))
      local all, lanes = 0
      repeat
        lanes = claim("me", 100)
        for _, one in ipairs(lanes) do
          store:dead(one.token, one.events[1].seq, "r", "no")
          release(one)
        end
        all = all + #lanes
      until #lanes == 0
      assert.are.equal(1100, all)
      assert.are.equal(3, store:replay { state = "dead", limit = 3 })
      assert.are.equal(1097, store:replay { state = "dead" })
      assert.are.equal(1100, store:stats().pending)
    end)

    it("keeps the steps that were done", function()
      admit(event "a")
      local one = lane()
      store:step(one.events[1].seq, "r", "mail", "1")
      store:done(one.token, one.events[1].seq, "r")
      release(one)
      store:replay { id = "school:a" }
      assert.are.equal("1", store:step(lane().events[1].seq, "r", "mail"))
    end)
  end)

  describe("purge", function()
    it("takes the bodies and keeps the ids", function()
      local a = event("a", { rules = {}, unproven = true })
      admit(a, event("b", { rules = {}, account = "other" }))
      assert.are.same({ "contested" },
        admit(event("a", { digest = "x", body = "evidence", unproven = true })))
      assert.are.equal(1, store:purge { account = "school" })
      local found = store:show "school:a"
      assert.is_nil(found.body)
      assert.is_nil(found.evidence)
      assert.are.same({ "duplicate" }, admit(a))
      assert.are.equal(1, store:purge {})
      assert.are.equal(0, store:purge {})
      assert.are.equal(0, store:replay({}, { ["invoice.updated"] = { "r" } }))
    end)

    it("leaves what is still to be worked on", function()
      admit(event "a")
      assert.are.equal(0, store:purge {})
      assert.are.equal("{\"data\":{}}", store:show("school:a").body)
    end)

    it("goes by age and by invoice", function()
      admit(event("a", { rules = {} }))
      now = now + 1000
      admit(event("b", { rules = {}, invoice = "17" }), event("c", { rules = {}, invoice = "18" }))
      assert.are.equal(1, store:purge { older_than = 500 })
      assert.are.equal(1, store:purge { invoice = "17", account = "school" })
      assert.is_string(store:show("school:c").body)
    end)

    it("comes to an end where more comes all the time", function()
      local write, n = store.write, 0
      local function while_more_comes(self, fn)
        n = n + 1
        assert(n < 10, "without end")
        store.write = write
        admit(event(tostring(n), { rules = {} }))
        local value, err = write(self, fn)
        store.write = while_more_comes
        return value, err
      end
      admit(event("0", { rules = {} }))
      store.write = while_more_comes
      assert.are.equal(1, store:purge {})
      store.write = write
      assert.are.equal(1, store:purge {})
    end)

    it("takes results of steps and messages of failures too", function()
      admit(event "a")
      local one = lane()
      local seq = one.events[1].seq
      store:step(seq, "r", "mail", "1")
      store:dead(one.token, seq, "r", "about John")
      release(one)
      assert.are.equal(1, store:purge {})
      assert.is_false(store:step(seq, "r", "mail"))
      assert.is_nil(store:show("school:a").marks.r.message)
    end)

    it("works through more than one transaction's worth", function()
      local many = {}
      for i = 1, 2500 do many[i] = event(tostring(i), { rules = {} }) end
      assert(store:admit(many))
      assert.are.equal(2500, store:purge {})
    end)
  end)

  describe("stats", function()
    it("count", function()
      assert.are.same({ pending = 0, done = 0, dead = 0, unhandled = 0, contested = 0, leased = 0,
        due = 0 }, store:stats())
      admit(event "a", event("b", { rules = {} }), event("c", { invoice = "17" }))
      claim("me", 1)
      now = now + 30
      assert.are.same({ pending = 2, done = 0, dead = 0, unhandled = 1, contested = 0, leased = 1,
        due = 1, oldest = 30 }, store:stats())
    end)

    it("follow what becomes of events", function()
      local function counts()
        local stats = store:stats()
        return { stats.pending, stats.done, stats.dead, stats.unhandled, stats.contested }
      end
      local function unproven(digest)
        return event("a", { digest = digest, unproven = true })
      end
      admit(unproven "d", event("b", { rules = {} }), event("c", { rules = {}, reason = "bad" }))
      assert.are.same({ 1, 0, 1, 1, 0 }, counts())
      admit(unproven "d", unproven "x", unproven "y")
      assert.are.same({ 1, 0, 1, 1, 1 }, counts())
      for _, one in ipairs(claim()) do
        local seq = one.events[1].seq
        store:dead(one.token, seq, not one.events[1].bad and "r" or nil, "no")
        release(one)
      end
      assert.are.same({ 0, 0, 2, 1, 1 }, counts())
      assert.are.equal(1, store:replay { id = "school:a" })
      assert.are.same({ 1, 0, 1, 1, 1 }, counts())
      local one = lane()
      store:done(one.token, one.events[1].seq, "r")
      release(one)
      assert.are.same({ 0, 1, 1, 1, 1 }, counts())
      store:purge {}
      assert.are.same({ 0, 1, 1, 1, 1 }, counts())
    end)
  end)

  describe("counters", function()
    local function counted()
      local out = {}
      for _, one in ipairs(assert(store:counters())) do out[one.name] = { one.n, one.total } end
      return out
    end

    it("tell what came, account by account", function()
      admit(event "a", event "a", event("a", { account = "other" }))
      admit(event("a", { digest = "x", unproven = true }))
      assert.are.same({
        ["delivery admitted school"] = { 1, 0 }, ["delivery admitted other"] = { 1, 0 },
        ["delivery duplicate school"] = { 1, 0 }, ["delivery contested school"] = { 1, 0 },
        ["event school"] = { 1, 0 }, ["event other"] = { 1, 0 },
        ["contested school"] = { 1, 0 },
      }, counted())
    end)

    it("count nothing that was not stored", function()
      local broken = event "b"
      broken.digest = nil
      assert.is_nil(store:admit { event "a", broken })
      assert.are.same({}, counted())
    end)

    it("take what a process has counted by itself", function()
      local list = {}
      for i = 1, 20 do list[i] = { name = "x " .. i, n = i, total = 2 * i } end
      assert.is_true(store:count(list))
      assert.is_true(store:count { { name = "x 3", n = 1 }, { name = "x 3", n = 1 } })
      assert.is_true(store:count {})
      local all = counted()
      assert.are.same({ 5, 6 }, all["x 3"])
      assert.are.same({ 20, 40 }, all["x 20"])
    end)
  end)

  describe("a run that does not come to its end", function()
    local owner = require "billhook.inbox.owner"
    -- a process of this machine that is gone
    local GONE = (owner.name():gsub("[^/]+/[^/]+$", "4194304/1"))
    local backoff = { base = 5000, cap = 8000 }

    local function claim_as(who, more)
      return assert(store:claim(with({ owner = who, lease = 60, limit = 10, hold = 900000,
        backoff = backoff }, more)))
    end

    local function mark(id, rule) return store:show(id).marks[rule or "r"] end

    it("is known from the claim on, and counts once its process is gone", function()
      admit(event "a")
      local first = claim_as(GONE)[1].first
      assert.are.equal("r", first.rule)
      local one = claim_as("me")[1]
      local found = one.events[1].marks.r
      assert.are.same({ "waiting", 1, 0, 0 },
        { found.state, found.attempts, found.wait, found.held })
      assert.is_truthy(found.message:find "its process ended")
      assert.is_true(store:done(one.token, one.events[1].seq, "r"))
      assert.are.equal(2, mark("school:a").attempts)
    end)

    it("counts where its lease has ended, too", function()
      admit(event "a")
      claim_as "slow"
      now = now + 61
      assert.are.equal(1, claim_as("me")[1].events[1].marks.r.attempts)
    end)

    it("counts nowhere else: in no other lane, and not what was not begun", function()
      admit(event("a", { rules = { "r", "s" } }), event "b", event("c", { invoice = "17" }))
      claim_as(GONE)
      claim_as "me"
      assert.is_nil(mark("school:a", "s"))
      assert.is_nil(mark "school:b")
      assert.is_nil(mark "school:c")
    end)

    it("is the one that the last mark has named", function()
      admit(event("a", { rules = { "r", "s" } }), event "b", event("c", { invoice = "17" }))
      local lanes = claim_as(GONE)
      local one, two = lanes[1], lanes[2]
      local seq = one.events[1].seq
      assert.is_true(store:done(one.token, seq, "r",
        { next = { lane = one.lane, seq = seq, rule = "s" } }))
      assert.is_true(store:retry(one.token, seq, "s", 0, "no",
        { next = { lane = two.lane, seq = two.events[1].seq, rule = "r" } }))
      claim_as "me"
      assert.are.equal("done", mark("school:a", "r").state)
      assert.are.equal(1, mark("school:a", "s").attempts)
      assert.is_nil(mark "school:b")
      assert.are.equal(1, mark("school:c").attempts)
    end)

    it("is none after a mark that names none, and after the lane was given back", function()
      admit(event "a", event("b", { invoice = "17" }))
      local lanes = claim_as(GONE)
      local one, two = lanes[1], lanes[2]
      store:retry(one.token, one.events[1].seq, "r", 0, "no")
      assert.is_true(store:begin(two.token, { lane = two.lane, seq = two.events[1].seq,
        rule = "r" }))
      release(two, 0)
      claim_as "me"
      assert.are.equal(1, mark("school:a").attempts)
      assert.is_nil(mark "school:b")
    end)

    it("is told of while it is under way, and since when", function()
      admit(event("a", { rules = { "r", "s" } }), event("b", { invoice = "17" }))
      assert.are.same({}, assert(store:running()))
      local lanes = claim_as "me"
      local one, seq = lanes[1], lanes[1].events[1].seq
      now = now + 7.5
      assert.are.same({ { lane = one.lane, token = one.token, owner = "me", seq = seq,
        id = "school:a", rule = "r", seconds = 7.5 } }, store:running())
      assert.is_true(store:set("something", "else"))
      now = now - 3600 -- a clock that jumps back
      assert.is_true(store:set("something", "else"))
      assert.are.equal(7.5, store:running()[1].seconds)
      local following = { lane = one.lane, seq = seq, rule = "s" }
      assert.is_true(store:done(one.token, seq, "r", { next = following }))
      assert.are.same({ "s", 0 }, { store:running()[1].rule, store:running()[1].seconds })
      -- what is done is not under way, though its lane is held and open
      assert.is_true(store:done(one.token, seq, "s", { next = { lane = lanes[2].lane,
        seq = lanes[2].events[1].seq, rule = "r" } }))
      assert.are.same({ 1, "school:b" }, { #store:running(), store:running()[1].id })
      store:release { { lane = lanes[2].lane, token = lanes[2].token, seen = 0, after = 0 } }
      assert.are.same({}, store:running())
    end)

    it("can only begin in a lane that is held", function()
      admit(event "a")
      local one = claim_as("me")[1]
      local run = { lane = one.lane, seq = one.events[1].seq, rule = "r" }
      assert.is_true(store:begin(one.token, run))
      assert.is_false(store:begin(one.token + 1, run))
      release(one, 0)
      assert.is_false(store:begin(one.token, run))
    end)

    it("is repeated at once three times, then later and later", function()
      admit(event "a")
      local waits = {}
      for i = 1, 6 do
        local lanes = claim_as(GONE)
        -- it waits, so nothing is begun unless it is said
        store:begin(lanes[1].token, { lane = lanes[1].lane, seq = lanes[1].events[1].seq,
          rule = "r" })
        claim_as "me"
        waits[i] = mark("school:a").wait
        store:release { { lane = lanes[1].lane, token = lanes[1].token + 1, seen = 0, after = 0 } }
        now = now + 100
      end
      assert.are.same({ 0, 0, 0, 5000, 8000, 8000 }, waits)
    end)

    it("comes behind what is due", function()
      admit(event "a")
      claim_as(GONE)
      admit(event("b", { invoice = "17" }))
      local lanes = claim_as "me"
      assert.are.same({ "school:b", "school:a" }, { lanes[1].events[1].id, lanes[2].events[1].id })
    end)

    it("costs the other lanes of its process no turn", function()
      admit(event "a", event("b", { invoice = "17" }), event("c", { invoice = "18" }))
      assert.are.equal(3, #claim_as(GONE, { limit = 3 }))
      admit(event("d", { invoice = "19" }))
      now = now + 1
      local order = {}
      for i, one in ipairs(claim_as "me") do order[i] = one.events[1].id end
      assert.are.same({ "school:b", "school:c", "school:d", "school:a" }, order)
    end)

    it("may be the telling of a bad item", function()
      admit(event("a", { rules = {}, reason = "not an object" }))
      assert.are.equal("", claim_as(GONE)[1].first.rule)
      local one = claim_as("me")[1]
      assert.are.equal(1, one.events[1].marks[""].attempts)
      assert.is_true(store:dead(one.token, one.events[1].seq, nil, "x"))
      assert.are.same({}, store:show("school:a").marks)
    end)

    it("counts no more where it has said so before", function()
      admit(event "a")
      local one = claim_as(GONE)[1]
      assert.is_true(store:done(one.token, one.events[1].seq, "r"))
      assert.are.equal(0, #claim_as "me"[1].events)
      assert.are.same({ "done", 1 }, { mark("school:a").state, mark("school:a").attempts })
    end)

    it("gives up without having run", function()
      admit(event "a")
      claim_as(GONE)
      local one = claim_as("me")[1]
      assert.is_true(store:dead(one.token, one.events[1].seq, "r", "enough", { lost = true }))
      assert.are.same({ "dead", 1 }, { mark("school:a").state, mark("school:a").attempts })
    end)
  end)

  describe("hearsay", function()
    local function hearsay(id, changes)
      return event(id, with({ unproven = true, trust = "sender" }, changes))
    end

    local want = { owner = "me", lease = 60, hold = 900000 }

    -- the two lanes of the invoice
    local function both()
      local lanes = claim()
      assert.are.equal(2, #lanes)
      local i = lanes[1].hearsay and 1 or 2
      assert.is_true(lanes[i].hearsay)
      assert.is_nil(lanes[3 - i].hearsay)
      return lanes[i], lanes[3 - i]
    end

    it("has a lane beside its invoice's", function()
      admit(hearsay "a", event "b", hearsay "c")
      local said, proven = both()
      assert.are.same({ "school:a", "school:c" }, ids(said.events))
      assert.are.same({ "school:b" }, ids(proven.events))
      assert.are.equal(3, #store:list { invoice = "16" })
      assert.are.equal(3, #store:list { invoice = "16", account = "school" })
    end)

    it("joins the invoice's lane as a whole, which is made and held", function()
      admit(hearsay "a", hearsay("b", { rules = { "s" } }))
      local one = lane()
      local joined = assert(store:join(one.lane, one.token, want))
      assert.are.same({ "school:a", "school:b" }, ids(joined.events))
      assert.is_nil(joined.hearsay)
      assert.are.same({ lane = joined.lane, seq = joined.events[1].seq, rule = "r" }, joined.first)
      assert.are_not.equal(one.lane, joined.lane)
      assert.is_false(store:done(one.token + 1, joined.events[1].seq, "r"))
      assert.is_true(store:done(joined.token, joined.events[1].seq, "r"))
      assert.is_false(store:join(one.lane, one.token, want))
      assert.are.equal(0, release(one))
      assert.are.same({}, claim "two")
      assert.are.equal(1, store:release { { lane = joined.lane, token = joined.token,
        seen = joined.events[1].seq } })
      assert.are.same({ "school:b" }, ids(lane("two").events))
    end)

    it("goes before what was admitted later, and behind what was admitted earlier", function()
      admit(event "a", hearsay "b", event "c")
      local said, proven = both()
      release(proven, 1e6)
      local joined = assert(store:join(said.lane, said.token, want))
      assert.are.same({ "school:a", "school:b", "school:c" }, ids(joined.events))
    end)

    it("makes a lane that another holds be looked at from its beginning", function()
      admit(event "z", hearsay "a", event "b")
      local other, held = both()
      assert.are.same({}, store:join(other.lane, other.token, want))
      for _, one in ipairs(held.events) do store:done(held.token, one.seq, "r") end
      release(held)
      local again = lane()
      assert.are.equal(held.lane, again.lane)
      assert.are.same({ "school:a" }, ids(again.events))
      store:done(again.token, again.events[1].seq, "r")
      release(again)
      assert.are.same({}, claim())
    end)

    it("waits no longer for its proof once it has joined", function()
      admit(hearsay("a", { rules = { "r", "s" } }))
      local one = lane()
      store:retry(one.token, one.events[1].seq, "r", 1e6, "not there", { holds = false })
      store:retry(one.token, one.events[1].seq, "s", 1e6, "failed", { holds = false })
      assert.is_nil(store:show("school:a").marks.r.held)
      admit(hearsay "b")
      release(one, 1e6)
      one = lane()
      local joined = store:join(one.lane, one.token, with({ asking = { "q", "r" } }, want))
      assert.are.equal(0, joined.events[1].marks.r.wait)
      assert.are.equal(1e6, joined.events[1].marks.s.wait)
    end)

    it("that comes later has to join by itself", function()
      admit(hearsay "a")
      local one = lane()
      local joined = store:join(one.lane, one.token, want)
      admit(hearsay "b")
      local two = lane "two"
      assert.are.equal(one.lane, two.lane)
      assert.are.same({}, store:join(two.lane, two.token, with({ owner = "two" }, want)))
      store:done(joined.token, joined.events[1].seq, "r")
      release(joined)
      assert.are.same({ "school:b" }, ids(lane().events))
    end)

    it("is replayed in the lane in which it was", function()
      admit(hearsay "a", event "b")
      for _, one in ipairs(claim()) do
        store:done(one.token, one.events[1].seq, "r")
        release(one)
      end
      assert.are.equal(2, store:replay { account = "school" })
      local lanes = claim()
      assert.are.equal(2, #lanes)
      local found = {}
      for _, one in ipairs(lanes) do found[one.events[1].id] = one.hearsay or false end
      assert.are.same({ ["school:a"] = true, ["school:b"] = false }, found)
    end)

    it("that came to nothing does not keep the name of the creation", function()
      local function forged(id)
        return created(id, { unproven = true, trust = "sender" })
      end
      admit(forged "a")
      assert.are.same({ "admitted again" }, admit(forged "b"))
      assert.are.equal("invoice.updated", store:show("school:b").type)
      for _, one in ipairs(claim()) do
        for _, each in ipairs(one.events) do
          store:dead(one.token, each.seq, each.rules[1], "not there")
        end
        release(one)
      end
      admit(forged "c", created "d")
      assert.are.same({ "invoice.created", "school:invoice.created:16" },
        { store:show("school:c").type, store:show("school:c").key })
      assert.are.same({ "invoice.updated", "school:d" },
        { store:show("school:d").type, store:show("school:d").key })
      assert.are.equal("school:a", store:show("school:a").key)
      assert.are.same({ "duplicate" }, admit(forged "a"))
    end)

    it("that came to nothing does not keep it where nobody can be asked, either", function()
      admit(created("a", { trust = "sender" }), created("b", { trust = "body", invoice = "17",
        key = "invoice.created:17" }))
      for _, one in ipairs(claim()) do
        store:dead(one.token, one.events[1].seq, "r", "no")
        release(one)
      end
      admit(created("c", { trust = "sender" }), created("d", { trust = "body", invoice = "17",
        key = "invoice.created:17" }))
      assert.are.equal("invoice.created", store:show("school:c").type)
      assert.are.equal("invoice.updated", store:show("school:d").type)
    end)

    it("keeps that name where a rule has got through", function()
      admit(created("a", { unproven = true, rules = { "r", "s" } }))
      local one = lane()
      store:done(one.token, one.events[1].seq, "r")
      store:dead(one.token, one.events[1].seq, "s", "no")
      release(one)
      admit(created("b", { unproven = true }))
      assert.are.equal("invoice.updated", store:show("school:b").type)
    end)
  end)

  describe("other news under an id", function()
    -- what a stranger makes of a delivery that he has seen
    local function forged(id, changes)
      return event(id, with({ unproven = true, type = "invoice.deleted", native = "INVOICE_DELETED",
        digest = "forged", body = "forged", rules = { "del" } }, changes))
    end

    local function true_news(id, changes)
      return created(id, with({ unproven = true, native = "INVOICE_CREATED", rules = { "new" } },
        changes))
    end

    local function asked(id, changes)
      return true_news(id, with({ source = "poll", trust = "api", digest = "asked", body = "asked",
        unproven = false }, changes))
    end

    local function counts()
      local stats = store:stats()
      return { stats.pending, stats.done, stats.dead, stats.unhandled, stats.contested }
    end

    -- the last event that was admitted beside the one of this id
    local function other(id)
      for _, one in ipairs(store:list {}) do
        if one.id:find("school:" .. id .. "~", 1, true) == 1 then return store:show(one.id) end
      end
    end

    for first, second in pairs { forged = "true", ["true"] = "forged" } do
      it(("are events of their own where nothing proves which, the %s first"):format(first),
        function()
          local make = { forged = forged, ["true"] = true_news }
          assert.are.same({ "admitted" }, admit(make[first] "a"))
          assert.are.same({ "contested new" }, admit(make[second] "a"))
          assert.are.same({ "duplicate", "duplicate" }, admit(true_news "a", forged "a"))
          local one, two = store:show "school:a", other "a"
          assert.are.equal(make[first]("a").type, one.type)
          assert.are.equal(make[second]("a").type, two.type)
          assert.is_true(one.contested and two.contested)
          local real = one.type == "invoice.created" and one or two
          assert.are.same({ "new" }, real.rules)
          assert.are.equal("16", real.invoice)
          assert.are.equal("school:invoice.created:16", real.key)
          assert.is_nil(one.evidence or two.evidence)
          assert.are.same({ 2, 0, 0, 0, 2 }, counts())
        end)
    end

    it("wait in the hearsay of the invoice that each is about", function()
      admit(forged("a", { invoice = "99" }), true_news "a")
      local lanes = claim()
      assert.are.equal(2, #lanes)
      assert.is_true(lanes[1].hearsay and lanes[2].hearsay)
      assert.are.same({ "school:a" }, ids(lanes[1].events))
      assert.are.same({ other("a").id }, ids(lanes[2].events))
    end)

    it("are another invoice as much as another type, or none", function()
      local bare = forged "a"
      bare.invoice = nil
      assert.are.same({ "admitted", "contested new", "contested new" },
        admit(forged "a", forged("a", { invoice = "17" }), bare))
      assert.are.same({ "contested new" }, admit(forged("a", { live = false, rules = {} })))
      assert.are.equal("unhandled", other("a").state)
    end)

    it("are none where the same type for the same rules is spelt in another way", function()
      admit(true_news "a")
      assert.are.same({ "duplicate" }, admit(asked("a", { native = "Invoice was created" })))
      assert.are.equal("api", store:show("school:a").trust)
      admit(forged "b")
      for _, changes in ipairs { { native = "X", rules = { "x" } },
        { native = "Y", type = "unknown" } } do
        assert.are.same({ "contested new" }, admit(forged("b", changes)))
      end
    end)

    it("may be a second creation of an invoice", function()
      admit(true_news "z", forged "a")
      assert.are.same({ "contested again" }, admit(true_news "a"))
      assert.are.equal("invoice.updated", other("a").type)
      assert.are.same({ "u" }, other("a").rules)
      assert.are.equal(other("a").id, other("a").key)
    end)

    it("have a key that another may have, without a word what they are then", function()
      admit(true_news "z", forged "a")
      local news = true_news "a"
      news.again = nil
      assert.are.same({ "contested again" }, admit(news))
      assert.are.equal(other("a").id, other("a").key)
      assert.are.equal("invoice.created", other("a").type)
      assert.are.same({ "new" }, other("a").rules)
    end)

    it("keep what differs of the same news as evidence", function()
      admit(forged "a", true_news "a")
      assert.are.same({ "contested" }, admit(true_news("a", { digest = "x", body = "other" })))
      assert.are.equal("other", other("a").evidence.body)
      assert.is_nil(store:show("school:a").evidence)
      assert.are.same({ 2, 0, 0, 0, 2 }, counts())
    end)

    it("are all taken where the API can be asked, however many were made up", function()
      admit(forged("a", { invoice = "0" }))
      for i = 1, 30 do
        assert.are.same({ "contested new" }, admit(forged("a", { invoice = tostring(i) })))
      end
      assert.are.same({ "contested new", "admitted" }, admit(true_news "a", event "b"))
      assert.are.same({ "new" }, other("a").rules)
      assert.are.same({ "duplicate", "duplicate" },
        admit(forged("a", { invoice = "3" }), true_news "a"))
    end)

    it("run no rules beyond eight of an id where nobody can be asked, and are kept", function()
      local function said(changes) return forged("a", with({ unproven = false }, changes)) end
      local function counted(name)
        for _, one in ipairs(store:counters()) do if one.name == name then return one.n end end
      end
      admit(said { digest = "0" })
      for i = 1, 7 do
        assert.are.same({ "contested new" }, admit(said { digest = tostring(i) }))
      end
      for i = 8, 10 do
        assert.are.same({ "crowded" }, admit(said { digest = tostring(i), body = "body " .. i }))
      end
      assert.are.same({ "duplicate", "duplicate", "duplicate" },
        admit(said { digest = "9" }, said { digest = "3" }, said { digest = "0" }))
      assert.are.same({ 8, 0, 0, 3, 11 }, counts())
      local last = other "a"
      assert.are.same({ "unhandled", "body 10", true, {} },
        { last.state, last.body, last.contested, last.rules })
      assert.are.equal("one too many with other content under this id: no rule runs on it before "
        .. "a person has looked (billhook inbox retry)", last.note)
      assert.are.equal(3, counted "delivery crowded school")
      local names = { ["school\ninvoice.deleted\nINVOICE_DELETED\nlive"] = { "del" } }
      assert.are.equal(1, store:replay({ id = last.id }, names))
      assert.are.same({ "admitted" }, admit(forged("b", { unproven = false })))
      assert.are.same({ "contested new" }, admit(asked("a", { type = "invoice.updated" })))
    end)

    it("are counted by their id, not by what it begins with", function()
      admit(forged "a", forged "ab", forged "a.", forged "a!", forged "b")
      assert.are.same({ "contested new" }, admit(true_news "a"))
      assert.are.equal("invoice.created", other("a").type)
    end)

    it("are kept once, whatever becomes of either", function()
      admit(forged "a", true_news "a")
      for _, one in ipairs(claim()) do
        for _, each in ipairs(one.events) do
          store:dead(one.token, each.seq, each.rules[1], "no")
        end
        release(one)
      end
      store:purge {}
      assert.are.same({ "duplicate", "duplicate" }, admit(forged "a", true_news "a"))
    end)

    it("are taken by the API's word, where no rule has seen anything", function()
      admit(forged("a", { invoice = "99" }))
      now = now + 10
      assert.are.same({ "contested new" }, admit(asked "a"))
      local found = store:show "school:a"
      assert.are.same({ "invoice.created", "INVOICE_CREATED", "16", "api", "asked" },
        { found.type, found.native, found.invoice, found.trust, found.body })
      assert.are.equal("school:invoice.created:16", found.key)
      assert.are.same({ "new" }, found.rules)
      assert.are.equal("forged", found.evidence.body)
      assert.is_true(found.contested)
      assert.are.same({ 1, 0, 0, 0, 1 }, counts())
      local lanes = claim()
      for _, one in ipairs(lanes) do
        assert.is_nil(one.hearsay and one.events[1])
        if not one.hearsay then assert.are.same({ "school:a" }, ids(one.events)) end
      end
      assert.are.same({ "duplicate" }, admit(true_news "a"))
      assert.are.same({ "contested" }, admit(forged("a", { invoice = "99" })))
      assert.are.equal(1, #store:list {})
    end)

    it("are taken by it too where no rule wanted what was said, or it had no invoice", function()
      local bare = forged("b", { rules = {} })
      bare.invoice = nil
      local lonely = forged "c"
      lonely.invoice = nil
      admit(forged("a", { rules = {} }), bare, lonely)
      assert.are.same({ 1, 0, 0, 2, 0 }, counts())
      assert.are.same({ "contested new", "contested again", "contested again" },
        admit(asked "a", asked "b", asked "c"))
      assert.are.same({ 3, 0, 0, 0, 3 }, counts())
      local events = {}
      for _, one in ipairs(claim()) do
        for _, each in ipairs(one.events) do events[#events + 1] = each.id end
      end
      assert.are.same({ "school:a", "school:b", "school:c" }, events)
    end)

    it("stand beside what a rule may have seen already", function()
      admit(forged "a", forged("b", { invoice = "17" }))
      local lanes = claim() -- a rule may be running
      assert.are.same({ "contested new" }, admit(asked "a"))
      assert.are.equal("invoice.deleted", store:show("school:a").type)
      assert.are.equal("api", other("a").trust)
      assert.are.same({ "del" }, lanes[1].events[1].rules)
      assert.is_true(store:done(lanes[1].token, lanes[1].events[1].seq, "del"))
      assert.is_true(store:retry(lanes[2].token, lanes[2].events[1].seq, "del", 0, "no"))
      for _, one in ipairs(lanes) do release(one, 0) end
      assert.are.same({ "contested again" }, admit(asked("b", { invoice = "16" })))
      assert.are.equal("invoice.deleted", store:show("school:b").type)
      assert.are.equal("invoice.updated", other("b").type)
      assert.are.same({ "duplicate", "duplicate" }, admit(asked "a", asked "b"))
    end)

    it("are no creation where the API knows another one, and no rule has seen them", function()
      admit(true_news "a")
      assert.are.same({ "admitted" }, admit(asked "b"))
      assert.are.same({ "invoice.updated", "school:a", "u" }, { store:show("school:a").type,
        store:show("school:a").key, table.concat(store:show("school:a").rules) })
      assert.are.same({ "invoice.created", "school:invoice.created:16", "new" },
        { store:show("school:b").type, store:show("school:b").key,
          table.concat(store:show("school:b").rules) })
      assert.are.same({ "admitted again", "duplicate" }, admit(asked "c", true_news "a"))
      for _, one in ipairs(claim()) do
        for _, each in ipairs(one.events) do
          assert.is_true(store:done(one.token, each.seq, each.rules[1]))
        end
        release(one)
      end
      assert.are.same({ 0, 3, 0, 0, 0 }, counts())
    end)

    it("stay the creation where a rule may have seen them, or none is there for what they would be",
      function()
        admit(true_news "a")
        local one = lane()
        assert.are.same({ "admitted again" }, admit(asked "b"))
        store:done(one.token, one.events[1].seq, "new")
        release(one)
        assert.are.same({ "admitted again" }, admit(asked "c"))
        assert.are.equal("invoice.created", store:show("school:a").type)
        local quiet = { type = "invoice.updated", rules = {} }
        admit(true_news("d", { invoice = "17", key = "invoice.created:17" }))
        assert.are.same({ "admitted" }, admit(asked("e", { invoice = "17",
          key = "invoice.created:17", again = quiet })))
        assert.are.equal("unhandled", store:show("school:d").state)
        assert.are.same({ 3, 1, 0, 1, 0 }, counts())
      end)

    it("go to what is the same of them first", function()
      admit(forged "a", true_news "a")
      assert.are.same({ "duplicate" }, admit(asked "a"))
      assert.are.equal("id", store:show("school:a").trust)
      assert.are.equal("api", other("a").trust)
    end)

    it("change nothing of what is proven", function()
      admit(event("a", { trust = "body" }))
      assert.are.same({ "contested" }, admit(forged("a", { trust = "body" })))
      assert.are.same({ "contested" }, admit(forged "a"))
      assert.are.equal(1, #store:list {})
      assert.are.equal("invoice.updated", store:show("school:a").type)
      assert.are.equal("forged", store:show("school:a").evidence.body)
    end)

    it("are none where they are no event at all", function()
      admit(true_news "a")
      assert.are.same({ "contested" }, admit(forged("a", { rules = {}, reason = "bad" })))
      assert.are.equal(1, #store:list {})
    end)
  end)

  describe("close", function()
    it("may be called twice, and then everything is an error", function()
      assert.is_true(store:close())
      assert.is_true(store:close())
      local results, err = store:admit { event "a" }
      assert.is_nil(results)
      assert.are.equal("store", err.kind)
      assert.are.equal("the inbox is closed", err.message)
    end)
  end)
end

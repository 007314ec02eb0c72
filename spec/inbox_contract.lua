-- inbox_contract.lua: what every inbox does, as lua/billhook/inbox/init.lua writes it down. A
-- function of open(options), which gives a new, empty store; call it inside of a describe.

local NULL = require("billhook.inbox").NULL

local function with(fields, changes)
  for name, value in pairs(changes or {}) do fields[name] = value end
  return fields
end

local function delivery(id, changes)
  return with({
    account = "school", id = id, again = true, vendor = "dreamclass", type = "invoice.updated",
    native = "INVOICE_UPDATED", invoice = "16", tenant = "t", live = true, trust = "id", secret = 2,
    occurred_at = 1.5, body = "{\"data\":{}}",
  }, changes)
end

-- the id of an event begins with its account
local function event(id, changes)
  return with({
    id = (changes and changes.account or "school") .. ":" .. id,
    account = "school", vendor = "dreamclass", type = "invoice.updated",
    native = "invoice.updated", invoice = "16", tenant = "t", version = 1, trust = "api",
    live = true, data = "{\"id\":16}", previous = "{}", occurred_at = 1500, received_at = 2000,
    rules = { "r" },
  }, changes)
end

return function(open)
  local store, now

  before_each(function()
    now = 1000000
    store = assert(open { clock = function() return now end })
  end)

  after_each(function() store:close() end)

  local function admit(...) return assert(store:admit { ... }) end

  local function only(list)
    assert.are.equal(1, #list)
    return list[1]
  end

  local function row(invoice, account)
    return only(assert(store:look(account or "school", { invoice or "16" })).rows)
  end

  local function change(invoice, fields)
    return with({ account = "school", invoice = invoice, expect = row(invoice).stamp }, fields)
  end

  local function apply(...) return assert(store:apply { ... }) end

  -- events about an invoice that has no state, or none
  local function add(...)
    for _, one in ipairs { ... } do
      apply { account = one.account, invoice = one.invoice, events = { one } }
    end
  end

  local function set(invoice, fields)
    assert.are.same({ true }, apply(change(invoice, { set = fields })))
  end

  local function claim(kind, fields)
    return assert(store:claim(with({ kind = kind or "run", account = "school", owner = "me",
      lease = 60000, limit = 10, page = 16 }, fields)))
  end

  local function run_one(fields) return only(claim("run", fields).rows) end

  local function release(one, after, check_after)
    return assert(store:release {
      { lane = one.lane, token = one.token, after = after, check_after = check_after },
    })
  end

  local function outcome(one, state, fields)
    return with({ seq = one.seq, rule = "r", state = state or "done" }, fields)
  end

  -- all runs of a claimed row's events come to this end
  local function finish(one, state)
    for _, each in ipairs(one.events) do
      for _, rule in ipairs(each.bad and { "" } or each.rules) do
        assert.is_true(store:mark(one.lane, one.token, outcome(each, state, { rule = rule })))
      end
    end
    release(one)
  end

  -- without their accounts
  local function ids(list)
    local out = {}
    for i, one in ipairs(list) do out[i] = one.id:match "^%w+:(.*)$" end
    return out
  end

  local function due(fields) return assert(store:due(with({ owner = "me" }, fields))) end

  local function the_delivery(id) return only(assert(store:deliveries { id = "school:" .. id })) end

  describe("admit", function()
    it("keeps a delivery as it came", function()
      assert.are.same({ "new" }, admit(delivery "a"))
      local found = the_delivery "a"
      for name, value in pairs(delivery "a") do
        if name ~= "id" then assert.are.equal(value, found[name], name) end
      end
      assert.are.same({ "school:a", "a", "pending", 1, now, now },
        { found.id, found.key, found.state, found.seen, found.received_at, found.last_at })
      assert.is_nil(found.reason or found.routed_at)
    end)

    it("keeps what is not there as absent", function()
      local bare = delivery("a", { live = false, again = false })
      bare.invoice, bare.tenant, bare.secret, bare.occurred_at, bare.body = nil, nil, nil, nil, nil
      admit(bare, delivery("b", { reason = "not an object" }))
      local found = the_delivery "a"
      for _, name in ipairs { "invoice", "tenant", "secret", "occurred_at", "reason", "body" } do
        assert.is_nil(found[name], name)
      end
      assert.is_false(found.live or found.again)
      assert.are.equal("not an object", the_delivery("b").reason)
    end)

    it("takes an id once an account, and counts how often it came", function()
      assert.are.same({ "new", "duplicate" }, admit(delivery "a", delivery "a"))
      now = now + 5
      assert.are.same({ "duplicate", "new" },
        admit(delivery("a", { body = "other" }), delivery("a", { account = "other" })))
      local found = the_delivery "a"
      assert.are.same({ "{\"data\":{}}", now - 5, now },
        { found.body, found.received_at, found.last_at })
      assert.is_true(found.seen >= 2)
      assert.are.equal(2, #store:deliveries {})
    end)

    it("keeps every byte of a body", function()
      local bytes = {}
      for i = 0, 255 do bytes[i + 1] = string.char(i) end
      local odd = { "\0", "", "\0a\0", "\xff\xfe", "caf\xe9", "{\\x00}\\\\", table.concat(bytes),
        ("\0x"):rep(100000) }
      local list = {}
      for i, body in ipairs(odd) do list[i] = delivery("a" .. i, { body = body }) end
      assert(store:admit(list))
      for i, body in ipairs(odd) do assert.are.equal(body, the_delivery("a" .. i).body) end
    end)

    it("takes ids with any text in them", function()
      local odd = { "a:b", "%", "'; --", "\xc3\xa9", "a b", "a  b", ("x"):rep(500), "{1,2}", "NULL",
        "\\N", "\"", "#7", "$1", "a\nb", "\t", "?", "" }
      for i, id in ipairs(odd) do
        assert.are.same({ "new" }, admit(delivery(id, { invoice = id, body = tostring(i) })))
      end
      for i, id in ipairs(odd) do
        assert.are.same({ tostring(i), id }, { the_delivery(id).body, the_delivery(id).invoice })
      end
      assert.are.equal(#odd, #store:incoming("school", 100))
    end)

    it("takes what happened at no time that anybody means, without that time", function()
      local odd = { 9223372036854775807 / 1000, 1e300, 1 / 0, 0 / 0, -1, 1e12 }
      for i, time in ipairs(odd) do
        assert.are.same({ "new" }, admit(delivery("a" .. i, { occurred_at = time })))
        assert.is_nil(the_delivery("a" .. i).occurred_at)
      end
      admit(delivery("b", { occurred_at = 999999999999 }))
      assert.are.equal(999999999999, the_delivery("b").occurred_at)
    end)

    it("takes a long list of known and new ones as if each came alone", function()
      admit(delivery "old")
      local list, results = {}, {}
      local function one(result, id, account)
        list[#list + 1] = delivery(id, { account = account })
        results[#results + 1] = result
      end
      for i = 1, 70 do
        one("new", "a" .. i)
        if i % 5 == 0 then
          one("duplicate", "a" .. i)
          one("duplicate", "old")
          one("new", "a" .. i, "other")
        end
      end
      assert.are.same(results, assert(store:admit(list)))
      assert.are.equal(71, #store:incoming("school", 1000))
      assert.are.equal(14, #store:incoming("other", 1000))
    end)

    it("admits all of a list or nothing", function()
      local broken = delivery "b"
      broken.trust = nil -- no inbox can keep that
      local results, why = store:admit { delivery "a", broken }
      assert.is_nil(results)
      assert.are.equal("store", why.kind)
      assert.are.same({}, store:deliveries {})
      assert.are.same({ "new" }, admit(delivery "a"))
    end)

    it("admits nothing from an empty list", function() assert.are.same({}, admit()) end)

    it("writes to no table but its own, and asks as often for many as for few", function()
      local real, texts = store.db, {}
      local function listen(list)
        texts = {}
        assert(store:admit(list))
        return #texts
      end
      store.db = setmetatable({ query = function(_, text, ...)
        texts[#texts + 1] = text
        return real:query(text, ...)
      end }, { __index = function(_, name)
        return function(_, ...) return real[name](real, ...) end
      end })
      local few, many = {}, {}
      for i = 1, 160 do few[i] = delivery("few" .. i % 150) end
      for i = 1, 1600 do many[i] = delivery("many" .. i % 1500) end
      local first, second = listen(few), listen(many)
      assert.is_true(second <= 10 * first, ("%d and %d statements"):format(first, second))
      for _, text in ipairs(texts) do
        local written = text:match "INSERT INTO (%w+)" or text:match "UPDATE (%w+)"
        if written and written ~= "SET" then assert.are.equal("deliveries", written) end
        assert.is_nil(text:find "DELETE")
      end
      store.db = real
    end)

    it("looks at an invoice again when its news comes again, once it was looked at", function()
      local quiet = delivery("quiet", { again = false })
      admit(delivery "a", quiet)
      local seqs = store:incoming("school", 10)
      admit(delivery "a") -- is still waited for
      assert.are.equal(2, #store:incoming("school", 10))
      for i, state in ipairs { "pending", "done" } do
        apply { account = "school", route = { { seq = seqs[i].seq, state = state } } }
      end
      admit(delivery "a", quiet)
      assert.are.same({}, store:incoming("school", 10))
      for _, state in ipairs { "done", "unchanged", "gone", "dead" } do
        assert.are.same({ true }, apply { account = "school", invoice = "16", settle = state,
          began = now * 1000, reason = state == "dead" and "it could not be read" or nil })
        assert.are.equal(state, the_delivery("a").state)
        assert.are.same({ "duplicate", "duplicate" }, admit(delivery "a", quiet))
        local one = only(store:incoming("school", 10))
        assert.are.equal("a", one.key)
        assert.is_nil(one.reason)
        apply { account = "school", route = { { seq = one.seq, state = "pending" } } }
      end
    end)

    it("leaves dead what nothing can be made of, and unhandled what no rule wanted", function()
      local function both()
        return admit(delivery("a", { again = false }), delivery("b", { again = true }))
      end
      both()
      local list = store:incoming("school", 10)
      apply({ account = "school", route = { { seq = list[1].seq, state = "dead", reason = "x" },
        { seq = list[2].seq, state = "unhandled", reason = "y" } } })
      both()
      assert.are.same({}, store:incoming("school", 10))
      assert.are.same({ "dead", "x" }, { the_delivery("a").state, the_delivery("a").reason })
      assert.are.same({ "unhandled", "y" }, { the_delivery("b").state, the_delivery("b").reason })
    end)
  end)

  describe("incoming", function()
    it("gives what was not routed yet, oldest first, each by its account", function()
      local list = {}
      for i = 1, 50 do
        list[i] = delivery(("%03d"):format(51 - i), { account = i % 2 == 0 and "other" or nil })
      end
      assert(store:admit(list))
      local found = store:incoming("school", 5)
      assert.are.same({ "050", "048", "046", "044", "042" },
        ids(found))
      apply { account = "school", route = { { seq = found[1].seq, state = "done" } } }
      assert.are.equal("school:048", store:incoming("school", 1)[1].id)
      assert.are.equal(25, #store:incoming("other", 100))
      assert.are.same({}, store:incoming("nobody", 100))
    end)

    it("says how many of the same event id came before", function()
      admit(delivery "e updated 16", delivery "e1", delivery "e updated 17", delivery "e",
        delivery("e deleted 16", { account = "other" }))
      local function earlier()
        local out = {}
        for _, one in ipairs(store:incoming("school", 10)) do out[one.key] = one.earlier end
        return out
      end
      assert.are.same({ ["e updated 16"] = 0, e1 = 0, ["e updated 17"] = 1, e = 2 }, earlier())
      -- one that was routed came before, wherever it stands
      local last = store:incoming("school", 10)[4]
      apply { account = "school", route = { { seq = last.seq, state = "done" } } }
      assert.are.same({ ["e updated 16"] = 1, e1 = 0, ["e updated 17"] = 2 }, earlier())
    end)

    it("counts those no further than to 64, however many a sender gives one event id", function()
      local list, routes = {}, {}
      for i = 1, 100 do list[i] = delivery("e updated " .. i) end
      assert(store:admit(list))
      for i, one in ipairs(store:incoming("school", 100)) do
        assert.are.equal(i - 1, one.earlier)
        routes[i] = { seq = one.seq, state = "done" }
      end
      apply { account = "school", route = routes }
      admit(delivery "e updated 0")
      assert.are.equal(64, only(store:incoming("school", 10)).earlier)
    end)
  end)

  describe("look", function()
    it("gives an empty row for what is not there", function()
      local found = assert(store:look("school", { "1", "2" }))
      assert.are.equal(now * 1000, found.now)
      assert.are.same({ { account = "school", invoice = "1", stamp = 0, version = 0, known = false,
        ticket = 0, tries = 0, reads = 0, faults = 0, left_states = {} } }, { found.rows[1] })
      assert.are.equal("2", found.rows[2].invoice)
      assert.are.same({}, store:look("school", {}).rows)
    end)

    it("gives rows in the order of the ids", function()
      set("b", { version = 2 })
      set("a", { version = 1 })
      local versions = {}
      for i, one in ipairs(store:look("school", { "a", "x", "b", "a" }).rows) do
        versions[i] = one.version
      end
      assert.are.same({ 1, 0, 2, 1 }, versions)
    end)
  end)

  describe("tickets", function()
    it("are larger than all before, and tell the time", function()
      local last = 0
      for i = 1, 20 do
        local drawn = assert(store:ticket())
        assert.is_true(drawn.ticket > last)
        assert.are.equal(now * 1000, drawn.now)
        last = drawn.ticket
        if i == 10 then -- a claim's token is from the same numbers
          add(event "e")
          last = math.max(last, run_one().token)
        end
      end
      assert.are.equal(now * 1000, store:clock().now)
    end)
  end)

  describe("apply", function()
    local ALL = { version = 3, known = true, data = "{\"a\":\"\\u0000\"}", digest = "1:ab",
      ticket = 7, read_at = 11, news_at = 12, tries = 1, reads = 2, check_due = 13, absent_at = 14,
      doubt = "1:cd", doubt_at = 15, left_states = { { at = 5, digest = "1:ef" } }, number = "N",
      reference = "R", currency = "EUR", total = "10.00", paid = "1.00", balance = "9.00",
      due_date = "2026-12-01", status = "open", issued_at = 16, deleted_at = 17, closed_at = 18,
      changed_at = 19, overdue_for = "2026-12-01", overdue_step = 7, faults = 3 }

    it("sets what it is given, and leaves the rest", function()
      set("16", ALL)
      local found = row()
      for name, value in pairs(ALL) do assert.are.same(value, found[name], name) end
      assert.are.equal(1, found.stamp)
      set("16", { version = 4, known = false })
      found = row()
      assert.are.same({ 4, false, 2, "1:ab" },
        { found.version, found.known, found.stamp, found.digest })
    end)

    it("sets NULL where it is told so", function()
      set("16", ALL)
      set("16", { data = NULL, check_due = NULL, doubt = NULL, left_states = NULL })
      local found = row()
      assert.is_nil(found.data or found.check_due or found.doubt)
      assert.are.same({}, found.left_states)
      assert.are.equal("1:ab", found.digest)
    end)

    it("refuses what comes from an older state, and does nothing of that change", function()
      admit(delivery "a", delivery("b", { invoice = "17" }))
      local list = store:incoming("school", 10)
      apply { account = "school", route = { { seq = list[1].seq, state = "pending" } } }
      set("16", { version = 1 })
      local stale = { account = "school", invoice = "16", expect = 0, set = { version = 9 },
        events = { event "e" }, settle = "done", began = now * 1000 + 1,
        route = { { seq = list[2].seq, state = "pending" } } }
      local fine = { account = "school", invoice = "17", expect = 0, set = { version = 5 } }
      assert.are.same({ false, true }, apply(stale, fine))
      assert.are.equal(1, row().version)
      assert.are.equal(5, row("17").version)
      assert.is_false(store:show "school:e")
      assert.are.equal("pending", the_delivery("a").state)
      assert.are.equal("school:b", only(store:incoming("school", 10)).id)
      stale.expect = 2
      assert.are.same({ false }, apply(stale))
      stale.expect = 1
      assert.are.same({ true }, apply(stale))
      assert.are.same({ 9, "done" }, { row().version, the_delivery("a").state })
    end)

    it("makes a row once where two know of none", function()
      local one = { account = "school", invoice = "16", expect = 0, set = { version = 1 } }
      assert.are.same({ true, false }, apply(one, one))
      assert.are.equal(1, row().stamp)
    end)

    it("keeps an event as it is given", function()
      add(event "e")
      local found = store:show "school:e"
      for name, value in pairs(event("e", { occurred_at = 1.5, received_at = 2 })) do
        assert.are.same(value, found[name], name)
      end
      assert.are.same({ "pending", now, {}, {} },
        { found.state, found.created_at, found.marks, found.deliveries })
      assert.is_nil(found.bad or found.note or found.claims)
      assert.is_false(store:show "school:x")
    end)

    it("keeps events once by their id, in their order", function()
      assert.are.same({ true, true }, apply(
        { account = "school", invoice = "16", events = { event "b", event "a" } },
        { account = "school", events = { event("b", { data = "other" }), event "c" } }))
      assert.are.same({ "b", "a", "c" }, ids(run_one().events))
      assert.are.equal("{\"id\":16}", store:show("school:b").data)
    end)

    it("keeps every byte of what events and states say", function()
      local odd = "\0\xff\xc3 \\x00"
      add(event("e", { data = odd, previous = odd, claims = odd }))
      set("16", { data = odd })
      local found = store:show "school:e"
      assert.are.same({ odd, odd, odd, odd },
        { found.data, found.previous, found.claims, row().data })
    end)

    it("settles what was routed by then, with its reason, and nothing else", function()
      admit(delivery "a", delivery "b", delivery("c", { invoice = "17" }),
        delivery("d", { account = "other" }))
      local list = store:incoming("school", 10)
      list[4] = store:incoming("other", 1)[1]
      for i, one in ipairs(list) do
        if i == 2 then now = now + 1 end
        apply { account = one.account, route = { { seq = one.seq, state = "pending" } } }
      end
      assert.are.same({ true }, apply { account = "school", invoice = "16", settle = "gone",
        reason = "404", began = now * 1000 - 1 })
      local states = {}
      for _, one in ipairs(store:deliveries {}) do states[one.id] = one.state end
      assert.are.same({ ["school:a"] = "gone", ["school:b"] = "pending", ["school:c"] = "pending",
        ["other:d"] = "pending" }, states)
      assert.are.equal("404", the_delivery("a").reason)
      apply { account = "school", invoice = "16", settle = "unchanged", began = now * 1000 }
      assert.are.equal("unchanged", the_delivery("b").state)
      assert.is_nil(the_delivery("b").reason)
    end)

    it("remembers which deliveries were behind an event", function()
      local list = {}
      for i = 1, 60 do list[i] = delivery("a" .. i) end
      assert(store:admit(list))
      local route, seqs = {}, {}
      for i, one in ipairs(store:incoming("school", 100)) do
        route[i] = { seq = one.seq, state = "pending" }
        if i <= 50 then seqs[i] = one.seq end
      end
      apply { account = "school", route = route }
      apply { account = "school", invoice = "16", settle = "done", began = now * 1000,
        events = { event "e" } }
      assert.are.same(seqs, store:show("school:e").deliveries) -- the first 50
      assert.are.same({ "a1", "a2" }, ids(store:deliveries { seqs = { seqs[1],
        seqs[2] }, after = 0 }))
      assert.are.same({}, store:deliveries { seqs = {} })
    end)

    it("routes a delivery once: who comes too late does nothing at all", function()
      admit(delivery "a", delivery "b")
      local list = store:incoming("school", 10)
      local function route(n, state)
        return { account = "school", events = { event("e" .. n .. state, { invoice = "1" }) },
          route = { { seq = list[n].seq, state = state } } }
      end
      assert.are.same({ true }, apply(route(1, "done")))
      assert.are.same({ false, false }, apply(route(2, "done"), route(1, "dead")))
      assert.are.same({ "done", "pending" }, { the_delivery("a").state, the_delivery("b").state })
      assert.is_nil(the_delivery("b").routed_at)
      assert.are.same({ "e1done" }, ids(store:events {}))
    end)

    it("makes what a rule wants due, and a bad event; what none wants waits for nobody", function()
      add(event("a", { rules = {} }), event("b", { rules = {}, account = "other" }))
      assert.are.same({}, due().accounts)
      assert.are.equal("unhandled", store:show("school:a").state)
      add(event("bad", { rules = {}, bad = true, note = "not an object", invoice = nil }))
      assert.is_true(due().accounts.school.runs)
      local one = run_one()
      assert.are.same({ true, "not an object", "dead" },
        { one.events[1].bad, one.events[1].note, one.events[1].state })
      assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1], "dead", { rule = "" })))
      release(one)
      assert.are.same({}, claim().rows)
      assert.are.equal("dead", store:show("school:bad").state)
    end)
  end)

  describe("known invoices", function()
    before_each(function()
      for i = 1, 9 do
        set(tostring(i), { known = i < 9, ticket = i, due_date = ("2026-12-%02d"):format(i),
          read_at = i == 2 and 1 or 100 - i })
      end
      set("7", { closed_at = 5 })
      set("8", { closed_at = 5, deleted_at = 5 })
      assert.is_true(store:apply({ { account = "other", invoice = "1", expect = 0,
        set = { known = true } } })[1])
    end)

    local function invoices(page)
      local out = {}
      for i, one in ipairs(assert(page).rows) do out[i] = one.invoice end
      return table.concat(out, " ")
    end

    it("come in pages, all, those that are there, or those that are open", function()
      local function page(want) return invoices(store:of_account("school", want)) end
      assert.are.equal("1 2 3 4 5 6 7", page { which = "there", limit = 100 })
      assert.are.equal("1 2 3 4 5 6", page { which = "open", limit = 100 })
      assert.are.equal("1 2 3", page { which = "open", limit = 3 })
      assert.are.equal("4 5 6", page { which = "open", limit = 3, after = row("3").lane })
      assert.are.equal("1 2 3", page { which = "there", ticket_before = 4, limit = 100 })
      assert.are.equal("2 6", page { which = "open", unread = true, limit = 2 })
      assert.are.equal(now * 1000, store:of_account("school",
        { which = "open", limit = 1 }).now)
    end)

    it("are past due by their day", function()
      local function due_by(day, after, limit)
        return invoices(store:of_account("school",
          { which = "open", due_by = day, after = after, limit = limit }))
      end
      assert.are.equal("1 2 3 4", due_by("2026-12-04", nil, 10))
      assert.are.equal("3 4", due_by("2026-12-04", row("2").lane, 10))
      assert.are.equal("3", due_by("2026-12-04", row("2").lane, 1))
      assert.are.equal("1 2 3 4 5 6", due_by("2026-12-31", 0, 10))
    end)

    it("are counted", function()
      assert.are.equal(8, store:how_many "school")
      assert.are.equal(1, store:how_many "other")
      assert.are.equal(0, store:how_many "nobody")
    end)

    it("have another one: read last, and not missed, where there is such a one", function()
      assert.are.equal("7", store:another("school", "1"))
      set("7", { absent_at = 1 })
      assert.are.equal("6", store:another("school", "1"))
      assert.are.equal("5", store:another("school", "6"))
      for i = 1, 6 do set(tostring(i), { absent_at = 1 }) end
      assert.are.equal("7", store:another("school", "1"))
      assert.is_false(store:another("other", "1"))
      assert.is_false(store:another("nobody", "1"))
    end)

    it("say whether a version is the newest", function()
      set("1", { version = 3 })
      assert.is_true(store:is_latest("school", "1", 3))
      assert.is_false(store:is_latest("school", "1", 2))
      assert.is_true(store:is_latest("school", "nothing", 2))
    end)
  end)

  describe("what is due", function()
    it("is told account by account", function()
      assert.are.same({ now = now * 1000, lost = false, incoming = {}, accounts = {} }, due())
      admit(delivery "a", delivery("b", { account = "other" }))
      set("1", { check_due = now * 1000 })
      set("2", { check_due = now * 1000 - 5, known = true })
      set("3", { check_due = now * 1000 + 1 })
      add(event("e", { account = "third" }))
      assert.are.same({ now = now * 1000, lost = false, incoming = { school = true, other = true },
        accounts = { school = { checks = 2, runs = false }, third = { checks = 0, runs = true } } },
        due())
      now = now + 1
      assert.are.equal(3, due().accounts.school.checks)
    end)

    it("is told of many accounts, also of those whose time has not come", function()
      for i = 1, 30 do
        assert(store:apply { { account = ("a%02d"):format(i), invoice = "1", expect = 0,
          set = { check_due = i % 2 == 0 and 1 or now * 1000 + 5 } } })
      end
      local found = due()
      for i = 1, 30 do
        assert.are.equal(i % 2 == 0 and 1 or 0, found.accounts[("a%02d"):format(i)].checks)
      end
    end)

    it("is nothing that somebody holds", function()
      set("1", { check_due = 1 })
      add(event "e")
      assert.are.equal(1, #claim("check").rows)
      assert.are.equal(1, #claim("run").rows)
      assert.are.same({}, due().accounts)
      assert.are.equal(2, store:stats().leased)
    end)
  end)

  describe("claims", function()
    it("are of one account: another's rows stay where they are", function()
      add(event "a", event("b", { account = "other" }))
      set("16", { check_due = 1 })
      assert.are.same({}, claim("check", { account = "other" }).rows)
      assert.are.same({ "b" }, ids(run_one({ account = "other" }).events))
      assert.are.same({}, claim("run", { account = "nobody" }).rows)
      assert.are.equal("school", only(claim("check").rows).account)
    end)

    it("for a check take known invoices first, and those due first", function()
      for i = 1, 6 do
        set(tostring(i), { check_due = now * 1000 - i, known = i % 2 == 0 })
      end
      set("7", { check_due = now * 1000 + 1, known = true })
      local function invoices(rows)
        local out = {}
        for i, one in ipairs(rows) do out[i] = one.invoice end
        return out
      end
      local first = claim("check", { limit = 4 })
      assert.are.equal(now * 1000, first.now)
      assert.are.same({ "6", "4", "2", "5" }, invoices(first.rows))
      assert.are.same({ true, {} }, { first.rows[1].known, first.rows[1].left_states })
      assert.are.same({ "3", "1" }, invoices(claim("check").rows))
    end)

    it("for a check take unknown ids first where that is asked for", function()
      for i = 1, 4 do set(tostring(i), { check_due = now * 1000 - i, known = i % 2 == 0 }) end
      local out = {}
      for i, one in ipairs(claim("check", { limit = 3, unknown_first = true }).rows) do
        out[i] = one.invoice
      end
      assert.are.same({ "3", "1", "4" }, out)
    end)

    it("for a run take what is due first, with its events and marks", function()
      add(event("late", { invoice = "1" }))
      local one = run_one()
      assert.is_true(store:mark(one.lane, one.token,
        outcome(one.events[1], "waiting", { delay = 5000, message = "no" })))
      release(one, 5000)
      now = now + 10
      add(event("new", { invoice = "0" }))
      one = run_one { limit = 1 }
      assert.are.same({ "late" }, ids(one.events))
      assert.are.same({ r = { state = "waiting", attempts = 1, message = "no", wait = 0,
        held = 10000 } }, one.events[1].marks)
      assert.are.same({ "new" }, ids(run_one({ limit = 1 }).events))
      assert.is_false(one.more)
    end)

    it("are held by one at a time, whatever for", function()
      add(event "a")
      set("16", { check_due = 1 })
      local one = only(claim("check", { owner = "one" }).rows)
      assert.are.same({}, claim("run", { owner = "two" }).rows)
      assert.are.equal(1, release(one))
      one = run_one { owner = "two" }
      assert.are.same({}, claim("check", { owner = "one" }).rows)
      release(one)
      assert.are.equal(1, #claim("check").rows)
    end)

    it("are held until their lease ends, and not in anybody else's name after", function()
      add(event "a")
      local first = run_one { owner = "one" }
      now = now + 59
      assert.is_false(due({ owner = "two" }).lost)
      now = now + 1
      assert.is_true(due({ owner = "two" }).lost)
      assert.is_true(store:recover { owner = "two", backoff = { base = 1, cap = 1 } })
      now = now + 1
      local second = run_one { owner = "two" }
      assert.is_true(second.token > first.token)
      local seq = first.events[1].seq
      assert.is_false(store:mark(first.lane, first.token, outcome(first.events[1])))
      assert.is_false(store:mark(first.lane, first.token, nil,
        { lane = first.lane, seq = seq, rule = "r" }))
      assert.is_false(store:renew(first.lane, first.token, 60000))
      assert.is_false(store:more(first.lane, first.token, 0, 10))
      assert.are.equal(0, release(first))
      assert.are.equal("pending", store:show("school:a").state)
      assert.is_true(store:mark(second.lane, second.token, outcome(second.events[1])))
      assert.are.equal(1, release(second))
    end)

    it("are held longer when they are renewed", function()
      add(event "a")
      local one = run_one { owner = "one" }
      now = now + 50
      assert.is_true(store:renew(one.lane, one.token, 60000))
      now = now + 59
      assert.is_false(due({ owner = "two" }).lost)
      now = now + 1
      assert.is_true(due({ owner = "two" }).lost)
    end)

    it("never give out the same token again, not even of a row that was made anew", function()
      add(event("a", { invoice = nil }))
      local seen = {}
      for _ = 1, 5 do
        local one = run_one()
        assert.is_nil(seen[one.token])
        seen[one.token] = true
        finish(one)
        assert.are.equal(1, store:replay { id = "school:a" })
      end
    end)

    it("come in pages", function()
      local list = {}
      for i = 1, 7 do list[i] = event(tostring(i)) end
      apply { account = "school", events = list }
      local one = run_one { page = 3 }
      assert.are.same({ "1", "2", "3" }, ids(one.events))
      assert.is_true(one.more)
      local page = store:more(one.lane, one.token, one.events[3].seq, 3)
      assert.are.same({ "4", "5", "6" }, ids(page.events))
      assert.is_true(page.more)
      page = store:more(one.lane, one.token, page.events[3].seq, 3)
      assert.are.same({ "7" }, ids(page.events))
      assert.is_false(page.more)
    end)
  end)

  describe("release", function()
    it("gives back what is due after the time that it says, or not at all", function()
      add(event "a")
      local one = run_one()
      store:mark(one.lane, one.token, outcome(one.events[1], "waiting", { delay = 3000 }))
      release(one, 3000)
      now = now + 2.9
      assert.are.same({}, claim().rows)
      now = now + 0.2
      one = run_one()
      store:mark(one.lane, one.token, outcome(one.events[1]))
      release(one)
      now = now + 1e6
      assert.are.same({}, claim().rows)
      assert.are.same({}, due().accounts)
    end)

    it("has an event run at once that came while the row was held", function()
      add(event "a")
      local one = run_one()
      store:mark(one.lane, one.token, outcome(one.events[1]))
      add(event "b")
      assert.are.same({}, claim().rows)
      assert.are.same({}, due().accounts)
      release(one)
      one = run_one()
      assert.are.same({ "b" }, ids(one.events))
      add(event "c")
      release(one, 60000) -- its own plan is later
      assert.are.same({ "b", "c" }, ids(run_one().events))
    end)

    it("has an event run at once that came while the row was held for a check", function()
      set("16", { check_due = 1 })
      local one = only(claim("check").rows)
      assert.are.same({ true }, apply(change("16", { set = { check_due = NULL },
        events = { event "a" } })))
      assert.are.same({}, due().accounts)
      release(one)
      assert.are.same({ "a" }, ids(run_one().events))
    end)

    it("has a check made that came while the row was held, not before the time it says", function()
      add(event "a")
      local one = run_one()
      set("16", { check_due = now * 1000 })
      assert.are.same({}, claim("check").rows)
      release(one)
      one = only(claim("check").rows)
      set("16", { news_at = now * 1000, check_due = now * 1000 })
      release(one)
      one = only(claim("check").rows)
      release(one, nil, 60000)
      assert.are.same({}, claim("check").rows)
      now = now + 60
      assert.are.equal(1, #claim("check").rows)
    end)

    it("plans no check where none is due, nor one sooner than it was", function()
      add(event "a", event("b", { invoice = "17" }))
      set("17", { check_due = now * 1000 + 90000 })
      for _, one in ipairs(claim().rows) do release(one, 0, 60000) end
      assert.is_nil(row("16").check_due)
      assert.are.equal(now * 1000 + 90000, row("17").check_due)
    end)

    it("counts those that were still held", function()
      add(event "a", event("b", { invoice = "17" }))
      local rows = claim().rows
      assert.are.equal(1, release(rows[1], 0))
      assert.are.equal(1, store:release { { lane = rows[1].lane, token = rows[1].token },
        { lane = rows[2].lane, token = rows[2].token }, { lane = 1e9, token = 1 } })
      assert.are.equal(0, store:release {})
    end)

    it("leaves nothing of a row that was there for its events alone", function()
      local lonely = event "a"
      lonely.invoice = nil
      add(lonely, event("b", { invoice = "17" }))
      set("18", { check_due = now * 1000 })
      for _, one in ipairs(claim().rows) do finish(one) end
      for _, name in ipairs { "#a", "17" } do assert.is_nil(row(name).lane) end
      assert.is_number(row("18").lane)
      assert.are.same({ "18" }, { only(store:invoices {}).invoice })
    end)
  end)

  describe("marks", function()
    it("finish an event when its last rule is done", function()
      add(event("a", { rules = { "r", "s" } }))
      local one = run_one()
      local first = one.events[1]
      assert.is_true(store:mark(one.lane, one.token, outcome(first)))
      assert.are.equal("pending", store:show("school:a").state)
      assert.is_true(store:mark(one.lane, one.token, outcome(first, "done", { rule = "s" })))
      assert.are.equal("done", store:show("school:a").state)
      assert.are.same({ "done", "done" },
        { store:show("school:a").marks.r.state, store:show("school:a").marks.s.state })
    end)

    it("count once, however often they are set", function()
      add(event("a", { rules = { "r", "s" } }))
      local one = run_one()
      for _ = 1, 3 do
        assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1])))
      end
      assert.is_true(store:mark(one.lane, one.token,
        outcome(one.events[1], "dead", { message = "late" })))
      assert.are.equal("pending", store:show("school:a").state)
      assert.are.equal("done", store:show("school:a").marks.r.state)
    end)

    it("remember attempts, the first failure and the last message", function()
      add(event("a", { rules = { "r", "s" } }))
      local one = run_one()
      local function wait(delay, message)
        assert.is_true(store:mark(one.lane, one.token,
          outcome(one.events[1], "waiting", { delay = delay, message = message })))
      end
      wait(4000, "first")
      now = now + 5
      wait(7000, "second")
      assert.are.same({ state = "waiting", attempts = 2, message = "second", wait = 7000,
        held = 5000 }, store:show("school:a").marks.r)
      release(one, 0)
      assert.are.equal(2, run_one().events[1].marks.r.attempts)
    end)

    it("make an event dead where a rule gave up, when all are through", function()
      add(event("a", { rules = { "r", "s" } }))
      local one = run_one()
      assert.is_true(store:mark(one.lane, one.token,
        outcome(one.events[1], "dead", { message = "broken" })))
      assert.are.equal("pending", store:show("school:a").state)
      assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1], "done",
        { rule = "s" })))
      assert.are.same({ "dead", "broken" }, { store:show("school:a").state,
        store:show("school:a").marks.r.message })
      release(one)
      assert.are.same({}, claim().rows)
    end)

    it("count no attempt where the run was lost before", function()
      add(event "a")
      local one = run_one()
      store:mark(one.lane, one.token, outcome(one.events[1], "waiting", { delay = 0 }))
      store:mark(one.lane, one.token, outcome(one.events[1], "dead", { lost = true }))
      assert.are.equal(1, store:show("school:a").marks.r.attempts)
    end)

    it("keep messages of bounded length, in UTF-8, whatever was raised", function()
      add(event "a")
      local one = run_one()
      for message, kept in pairs {
        ["caf\xe9 \0 \xff\xfe"] = "caf? \0 ??", ["caf\xc3\xa9"] = "caf\xc3\xa9",
        [("x"):rep(1999) .. "\xc3\xa9"] = ("x"):rep(1999), [("x"):rep(100000)] = ("x"):rep(2000),
      } do
        store:mark(one.lane, one.token, outcome(one.events[1], "waiting", { delay = 0,
          message = message }))
        assert.are.equal(kept, store:show("school:a").marks.r.message)
      end
    end)

    it("are refused when nobody holds the row any more", function()
      add(event "a")
      local one = run_one()
      release(one, 0)
      assert.is_false(store:mark(one.lane, one.token, outcome(one.events[1])))
      assert.are.same({}, store:show("school:a").marks)
    end)
  end)

  describe("steps", function()
    it("keep their first result, whatever bytes it has", function()
      add(event "a")
      local one = run_one()
      local seq, odd = one.events[1].seq, "\0\xff\xc3"
      assert.is_false(store:step(seq, "r", "mail", nil, one.token))
      assert.are.equal("1", store:step(seq, "r", "mail", "1"))
      assert.are.equal("1", store:step(seq, "r", "mail", "2"))
      assert.are.equal("1", store:step(seq, "r", "mail", nil, one.token))
      assert.is_false(store:step(seq, "s", "mail", nil, one.token))
      assert.are.equal(odd, store:step(seq, "r", odd, odd))
      assert.are.equal(odd, store:step(seq, "r", odd, nil, one.token))
    end)

    it("tell who has lost the row, before he begins one", function()
      add(event "a")
      local one = run_one { owner = "one" }
      local seq = one.events[1].seq
      now = now + 61
      store:recover { owner = "two", backoff = { base = 1, cap = 1 } }
      now = now + 1
      local two = run_one { owner = "two" }
      local kept, why = store:step(seq, "r", "mail", nil, one.token)
      assert.is_nil(kept)
      assert.are.same({ "store", "LEASE_LOST", true }, { why.kind, why.code, why.retryable })
      -- what it has done all the same is kept, so that it is not done again
      assert.are.equal("1", store:step(seq, "r", "mail", "1"))
      assert.are.equal("1", store:step(seq, "r", "mail", nil, two.token))
      release(two, 0)
      assert.is_nil(store:step(seq, "r", "mail", nil, two.token))
    end)
  end)

  describe("a run that does not come to its end", function()
    local owner = require "billhook.inbox.owner"
    -- a process of this machine that is gone
    local GONE = (owner.name():gsub("[^/]+/[^/]+$", "4194304/1"))

    -- what a worker does first: nothing is held in its name, so what is, is left over
    local function recover(who)
      assert.is_true(store:recover { owner = who or "me", fresh = true,
        backoff = { base = 5000, cap = 8000 } })
    end

    local function begin(one, n, rule)
      return store:mark(one.lane, one.token, nil,
        { lane = one.lane, seq = one.events[n or 1].seq, rule = rule or "r" })
    end

    local function mark(id, rule) return store:show("school:" .. id).marks[rule or "r"] end

    local function claim_and_begin(fields, rule)
      local one = run_one(fields)
      assert.is_true(begin(one, 1, rule))
      return one
    end

    it("counts once its process is gone", function()
      add(event "a")
      claim_and_begin { owner = GONE }
      assert.is_true(due().lost)
      recover()
      assert.is_false(due().lost)
      now = now + 1
      local one = run_one()
      local found = one.events[1].marks.r
      assert.are.same({ "waiting", 1, 0, 1000 },
        { found.state, found.attempts, found.wait, found.held })
      assert.is_truthy(found.message:find "its lease did")
      assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1])))
      assert.are.equal(2, mark("a").attempts)
    end)

    it("counts where it is left over from an answer that was lost, and only to who is fresh",
      function()
        add(event "a")
        claim_and_begin()
        assert.is_false(due().lost)
        assert.is_false(due({ owner = "you", fresh = true }).lost)
        assert.is_true(due({ fresh = true }).lost)
        recover()
        now = now + 1
        assert.are.equal(1, run_one().events[1].marks.r.attempts)
      end)

    it("counts nowhere else: in no other row, and not what was not begun", function()
      add(event("a", { rules = { "r", "s" } }), event "b", event("c", { invoice = "17" }))
      assert.is_true(begin(claim("run", { owner = GONE }).rows[1]))
      recover()
      assert.are.equal(1, mark("a").attempts)
      assert.is_nil(mark("a", "s") or mark "b" or mark "c")
    end)

    it("is the one that the last mark has named", function()
      add(event("a", { rules = { "r", "s" } }), event "b")
      local one = run_one { owner = GONE }
      local seq = one.events[1].seq
      assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1]),
        { lane = one.lane, seq = seq, rule = "s" }))
      recover()
      assert.are.equal("done", mark("a").state)
      assert.are.equal(1, mark("a", "s").attempts)
      assert.is_nil(mark "b")
    end)

    it("is none after a mark that names none, after release, and in a check", function()
      add(event "a", event("b", { invoice = "17" }))
      set("18", { check_due = 1 })
      local rows = claim("run", { owner = GONE }).rows
      store:mark(rows[1].lane, rows[1].token, outcome(rows[1].events[1], "waiting", { delay = 0 }))
      assert.is_true(begin(rows[2]))
      release(rows[2], 0)
      claim("check", { owner = GONE })
      recover()
      assert.are.equal(1, mark("a").attempts)
      assert.is_nil(mark "b")
      assert.are.equal(1, #claim("check").rows)
    end)

    it("is told of while it is under way, and since when", function()
      add(event("a", { rules = { "r", "s" } }), event("b", { invoice = "17" }))
      assert.are.same({}, assert(store:running()))
      local rows = claim().rows
      local one = rows[1]
      assert.are.same({}, assert(store:running()))
      assert.is_true(begin(one))
      now = now + 7.5
      assert.are.same({ { lane = one.lane, token = one.token, owner = "me", seq = one.events[1].seq,
        id = "school:a", rule = "r", seconds = 7.5 } }, store:running())
      store:ticket()
      now = now - 3600 -- a clock that jumps back
      store:ticket()
      assert.are.equal(7.5, store:running()[1].seconds)
      assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1]),
        { lane = one.lane, seq = one.events[1].seq, rule = "s" }))
      assert.are.same({ "s", 0 }, { store:running()[1].rule, store:running()[1].seconds })
      assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1], "done",
        { rule = "s" })))
      assert.are.same({}, store:running())
      assert.is_true(begin(rows[2]))
      assert.are.equal("school:b", only(store:running()).id)
      release(rows[2], 0)
      assert.are.same({}, store:running())
    end)

    it("can only begin in a row that is held", function()
      add(event "a")
      local one = run_one()
      assert.is_true(begin(one))
      one.token = one.token + 1
      assert.is_false(begin(one))
      one.token = one.token - 1
      release(one, 0)
      assert.is_false(begin(one))
    end)

    it("is repeated at once three times, then later and later", function()
      add(event "a")
      local waits = {}
      for i = 1, 6 do
        claim_and_begin { owner = GONE }
        recover()
        waits[i] = mark("a").wait
        now = now + 100
      end
      assert.are.same({ 0, 0, 0, 5000, 8000, 8000 }, waits)
    end)

    it("comes behind what is due, and costs the other rows of its process no turn", function()
      add(event "a", event("b", { invoice = "17" }), event("c", { invoice = "18" }))
      local rows = claim("run", { owner = GONE }).rows
      assert.are.equal(3, #rows)
      assert.is_true(begin(rows[1]))
      add(event("d", { invoice = "19" }))
      recover()
      now = now + 1
      local order = {}
      for i, one in ipairs(claim().rows) do order[i] = ids(one.events)[1] end
      assert.are.equal("a", order[4])
    end)

    it("is nothing any more where its event was finished", function()
      add(event "a")
      local one = run_one { owner = GONE }
      store:mark(one.lane, one.token, outcome(one.events[1]),
        { lane = one.lane, seq = one.events[1].seq, rule = "r" })
      recover()
      assert.are.same({ "done", 1 }, { mark("a").state, mark("a").attempts })
    end)

    it("may be the telling of a bad item", function()
      add(event("a", { rules = {}, bad = true }))
      claim_and_begin({ owner = GONE }, "")
      recover()
      now = now + 1
      assert.are.equal(1, run_one().events[1].marks[""].attempts)
    end)
  end)

  describe("a clock that jumps", function()
    local function jump(seconds)
      now = now + seconds
      if seconds < 0 then store:recover { owner = "x", backoff = { base = 1, cap = 1 } } end
    end

    it("back, freezes nothing that is due", function()
      add(event "a")
      set("17", { check_due = now * 1000 })
      now = now - 7200
      assert.is_true(due().lost)
      jump(0)
      store:recover { owner = "x", backoff = { base = 1, cap = 1 } }
      assert.are.equal(1, #claim().rows)
      assert.are.equal(1, #claim("check").rows)
    end)

    it("back, lets a lease end after the time it was meant to last", function()
      add(event "a")
      claim("run", { owner = "one" })
      jump(-7200)
      now = now + 59
      assert.is_false(due({ owner = "two" }).lost)
      now = now + 2
      assert.is_true(due({ owner = "two" }).lost)
    end)

    it("back, lets a retry and a check come after the time they were meant to wait", function()
      add(event "a")
      local one = run_one()
      store:mark(one.lane, one.token, outcome(one.events[1], "waiting", { delay = 10000 }))
      release(one, 10000)
      set("17", { check_due = now * 1000 + 10000 })
      jump(-7200)
      assert.are.same({}, claim().rows)
      assert.are.same({}, claim("check").rows)
      now = now + 11
      one = run_one()
      assert.are.same({ 0, 11000 }, { one.events[1].marks.r.wait, one.events[1].marks.r.held })
      assert.are.equal(1, #claim("check").rows)
    end)

    it("forward, ends leases early and does no harm: the token counts", function()
      add(event "a")
      local one = run_one { owner = "one" }
      now = now + 400 * 86400
      assert.is_true(due({ owner = "two" }).lost)
      assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1])))
      assert.are.equal(1, release(one))
      assert.are.equal("done", store:show("school:a").state)
    end)

    it("back at each look at it, ends in an error", function()
      local at = now
      local restless = assert(open { clock = function()
        at = at - 10
        return at
      end })
      local recover = { owner = "x", backoff = { base = 1, cap = 1 } }
      assert(restless:recover(recover)) -- notes the time
      local done, why = restless:recover(recover)
      assert.are.same({ nil, "store", "SET_BACK" }, { done, why.kind, why.code })
      assert.matches("the clock was set back again and again", tostring(why), 1, true)
      restless:close()
    end)

    it("by less than a second, moves nothing", function()
      add(event "a")
      local one = run_one()
      release(one, 5000)
      now = now - 0.9
      store:ticket()
      now = now + 5.9
      assert.are.equal(1, #claim().rows)
    end)
  end)

  describe("texts", function()
    it("are kept by their name, whatever bytes they have", function()
      assert.is_false(store:peek("cursor").text)
      assert.is_true(store:set("cursor", "12"))
      assert.is_true(store:set("cursor", "\0\xff"))
      assert.are.equal("\0\xff", store:peek("cursor").text)
      assert.is_false(store:peek("version").text)
    end)

    it("are found by what their names begin with", function()
      for name, text in pairs { ["account a"] = "1", ["account b:c"] = "2", accounts = "3",
        other = "4" } do store:set(name, text) end
      assert.are.same({ a = "1", ["b:c"] = "2" }, store:texts "account ")
      assert.are.same({}, store:texts "nothing")
    end)

    it("are changed by a function of the text and the time", function()
      local seen = {}
      local function count(text, time)
        seen[#seen + 1] = text or false
        assert.are.equal(now, time) -- seconds
        return tostring((tonumber(text) or 0) + 1), "value"
      end
      assert.are.equal("value", store:update("n", count))
      assert.are.equal("value", store:update("n", count))
      assert.are.same({ false, "1" }, { seen[1], seen[#seen] }) -- it may be asked several times
      assert.are.equal("2", store:peek("n").text)
      assert.is_true(store:update("n", function() end))
      assert.are.equal("2", store:peek("n").text)
    end)

    it("stay as they are where that function raises, and its error goes on", function()
      store:set("n", "1")
      local ok, why = pcall(store.update, store, "n", function() error("broken", 0) end)
      assert.are.same({ false, "broken" }, { ok, why })
      assert.are.equal("1", store:peek("n").text)
      assert.is_true(store:set("n", "2"))
    end)

    it("are swapped where they are what was expected", function()
      assert.are.same({ swapped = true }, store:swap("n", false, "1"))
      assert.are.equal("1", store:swap("n", false, "2").text)
      assert.are.same({ swapped = true }, store:swap("n", "1", "2"))
      assert.are.equal("2", store:swap("n", "1", "3").text)
      assert.are.equal("2", store:peek("n").text)
    end)
  end)

  describe("lists", function()
    before_each(function()
      admit(delivery "a")
      add(event "a")
      set("16", { version = 1, known = true, changed_at = now * 1000 })
      now = now + 100
      admit(delivery("b", { account = "other", type = "payment.created" }))
      add(event("b", { account = "other", type = "payment.created" }))
      now = now + 100
      admit(delivery("c", { invoice = "17" }), delivery "d")
      local list = store:incoming("school", 10)
      apply { account = "school", route = { { seq = list[2].seq, state = "unhandled" },
        { seq = list[3].seq, state = "dead" } } }
      add(event("c", { invoice = "17", rules = {} }), event("d", { rules = {}, bad = true }))
      set("17", { known = true, closed_at = 1, changed_at = now * 1000, deleted_at = 1 })
    end)

    local function listed(what, filter)
      local found = {}
      for i, one in ipairs(assert(store[what](store, filter))) do
        found[i] = what == "invoices" and one.invoice or one.id:gsub("^%w+:", "")
      end
      table.sort(found)
      return table.concat(found, " ")
    end

    for _, what in ipairs { "deliveries", "events" } do
      it("filter " .. what, function()
        local function list(filter) return listed(what, filter) end
        assert.are.equal("a b c d", list {})
        assert.are.equal("b", list { account = "other" })
        assert.are.equal("b", list { type = "payment.created" })
        assert.are.equal("c", list { invoice = "17" })
        assert.are.equal("a b d", list { invoice = "16" })
        assert.are.equal("b", list { invoice = "16", account = "other" })
        assert.are.equal("", list { invoice = "18" })
        assert.are.equal("c", list { state = "unhandled" })
        assert.are.equal("a", list { older_than = 150 })
        assert.are.equal("b c d", list { newer_than = 150 })
        assert.are.equal("", list { id = "nothing" })
        assert.are.equal("", list { account = "other", state = "dead" })
        assert.are.equal("", list { state = "done" })
      end)
    end

    it("filter deliveries by state and id, events and invoices too", function()
      assert.are.equal("a b", listed("deliveries", { state = "pending" }))
      assert.are.equal("d", listed("deliveries", { state = "dead" }))
      assert.are.equal("a", listed("deliveries", { id = "school:a" }))
      assert.are.equal("", listed("deliveries", { id = "other:a" }))
      assert.are.equal("a b d", listed("events", { state = "pending" }))
      assert.are.equal("16 17", listed("invoices", {}))
      assert.are.equal("16", listed("invoices", { state = "open" }))
      assert.are.equal("17", listed("invoices", { state = "closed" }))
      assert.are.equal("17", listed("invoices", { state = "deleted" }))
      assert.are.equal("16", listed("invoices", { older_than = 150 }))
      assert.are.equal("", listed("invoices", { account = "other" }))
      local found = only(store:invoices { invoice = "16" })
      assert.are.same({ true, 1, now - 200, false },
        { found.known, found.version, found.changed_at, found.leased })
    end)

    it("give the newest first, in pages, or from a number on", function()
      local first = store:events { limit = 3 }
      assert.are.same({ "d", "c", "b" }, ids(first))
      assert.are.same({ "a" }, ids(store:events { before = first[3].seq }))
      local from = store:show("school:a").seq
      assert.are.same({ "b", "c" }, ids(store:events { after = from, limit = 2 }))
    end)

    it("are of 100 by default", function()
      local list = {}
      for i = 1, 120 do list[i] = delivery("x" .. i) end
      assert(store:admit(list))
      assert.are.equal(100, #store:deliveries {})
    end)

    it("raise where the filter is none", function()
      local age = "field 'older_than' of a filter must be seconds, up to 1e10"
      local limit = "field 'limit' of a filter must be a whole number of at least 1"
      for _, case in ipairs {
        { "unknown field 'colour' of a filter", { colour = 1 } },
        { "field 'state' of a filter must be pending, done, unhandled or dead",
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
        { "field 'after' of a filter must be a whole number", { after = 1.5 } },
        { "field 'seqs' of a filter must be a list of numbers", { seqs = 7 } },
      } do
        for _, what in ipairs { "events", "purge", "replay" } do
          local ok, why = pcall(store[what], store, case[2])
          assert.is_false(ok)
          assert.are.equal(case[1], why)
        end
      end
      for what, words in pairs { deliveries = "pending, done, unchanged, gone, unhandled or dead",
        invoices = "open, closed or deleted" } do
        local ok, why = pcall(store[what], store, { state = "blue" })
        assert.are.same({ false, "field 'state' of a filter must be " .. words }, { ok, why })
      end
      assert.are.equal(4, #store:events { newer_than = 1e10, limit = 2 ^ 31 })
    end)
  end)

  describe("replay", function()
    it("runs the dead rules of a dead event again, and no others", function()
      add(event("a", { rules = { "r", "s" } }))
      local one = run_one()
      store:mark(one.lane, one.token, outcome(one.events[1], "dead", { message = "x" }))
      store:mark(one.lane, one.token, outcome(one.events[1], "done", { rule = "s" }))
      release(one)
      assert.are.equal(1, store:replay { state = "dead" })
      one = run_one()
      assert.is_nil(one.events[1].marks.r)
      assert.are.equal("done", one.events[1].marks.s.state)
      assert.is_true(store:mark(one.lane, one.token, outcome(one.events[1])))
      release(one)
      assert.are.equal("done", store:show("school:a").state)
    end)

    it("runs all rules of a finished event again, under its id and with its data", function()
      add(event("a", { rules = { "r", "s" } }))
      finish(run_one())
      set("16", { version = 2, data = "new" })
      assert.are.equal(1, store:replay { id = "school:a" })
      local one = only(run_one().events)
      assert.are.same({}, one.marks)
      assert.are.same({ "school:a", "{\"id\":16}", 1 }, { one.id, one.data, one.version })
    end)

    it("leaves what is still pending, and what is not meant", function()
      add(event "a", event("b", { invoice = "17" }))
      assert.are.equal(0, store:replay {})
      assert.are.same({ "pending", "pending" },
        { store:show("school:a").state, store:show("school:b").state })
    end)

    it("gives unhandled events to the rules that are named", function()
      add(event("a", { rules = {} }), event("b", { rules = {}, type = "other.type" }),
        event("c", { rules = {}, live = false }))
      assert.are.equal(0, store:replay { state = "unhandled" })
      assert.are.equal(2, store:replay({ state = "unhandled" },
        { ["school\ninvoice.updated\ninvoice.updated\nlive"] = { "n" },
          ["school\ninvoice.updated\ninvoice.updated\ntest"] = { "m" } }))
      local one = run_one()
      assert.are.same({ { "n" }, { "m" } }, { one.events[1].rules, one.events[2].rules })
      finish(one)
      assert.are.equal("done", store:show("school:a").state)
      assert.are.equal("unhandled", store:show("school:b").state)
    end)

    it("has what waits run now, also in a row that is held", function()
      add(event "a", event("b", { rules = { "s" } }))
      local one = run_one()
      local function wait()
        store:mark(one.lane, one.token, outcome(one.events[1], "waiting", { delay = 1e6 }))
      end
      wait()
      assert.are.equal(1, store:replay { id = "school:a" })
      assert.are.equal(0, store:show("school:a").marks.r.wait)
      release(one, 1e6)
      one = run_one()
      wait()
      release(one, 1e6)
      assert.are.same({}, claim().rows)
      assert.are.equal(1, store:replay { state = "pending" })
      assert.are.same({ "a", "b" }, ids(run_one().events))
    end)

    it("works through more than one transaction's worth, or no more than it may", function()
      local list = {}
      for i = 1, 1100 do list[i] = event(tostring(i), { rules = {}, invoice = tostring(i) }) end
      apply { account = "school", events = list }
      local names = { ["school\ninvoice.updated\ninvoice.updated\nlive"] = { "n" } }
      assert.are.equal(3, store:replay({ state = "unhandled", limit = 3 }, names))
      assert.are.equal(1097, store:replay({ state = "unhandled" }, names))
      assert.are.equal(1100, store:stats().pending)
    end)

    it("keeps the steps that were done", function()
      add(event "a")
      local one = run_one()
      store:step(one.events[1].seq, "r", "mail", "1")
      finish(one)
      store:replay { id = "school:a" }
      one = run_one()
      assert.are.equal("1", store:step(one.events[1].seq, "r", "mail", nil, one.token))
    end)
  end)

  describe("purge", function()
    local function route(id, state)
      for _, one in ipairs(store:incoming("school", 100)) do
        if one.key == id then
          apply { account = "school", route = { { seq = one.seq, state = state } } }
        end
      end
    end

    it("takes what deliveries and events say, and keeps the ids", function()
      admit(delivery "a")
      route("a", "done")
      add(event "a", event("b", { account = "other" }))
      finish(run_one())
      finish(run_one { account = "other" })
      assert.are.equal(2, store:purge { account = "school" })
      local found = store:show "school:a"
      assert.is_nil(found.data or found.previous or found.claims or the_delivery("a").body)
      assert.are.same({ "duplicate" }, admit(delivery "a"))
      add(event "a")
      assert.is_nil(store:show("school:a").data)
      assert.are.equal(1, store:purge {})
      assert.are.equal(0, store:purge {})
      assert.are.equal(0, store:replay({}, {}))
    end)

    it("leaves what is still to be worked on", function()
      admit(delivery "a", delivery "b")
      route("b", "pending")
      add(event "a")
      assert.are.equal(0, store:purge {})
      assert.is_string(store:show("school:a").data)
      assert.is_string(the_delivery("a").body)
      assert.is_string(the_delivery("b").body)
    end)

    it("goes by age and by invoice", function()
      local function all()
        local n = 0
        for _, one in ipairs(store:events {}) do n = n + (one.data and 1 or 0) end
        return n
      end
      add(event("a", { rules = {} }))
      now = now + 1000
      add(event("b", { rules = {}, invoice = "17" }), event("c", { rules = {}, invoice = "18" }))
      assert.are.equal(1, store:purge { older_than = 500 })
      assert.are.equal(1, store:purge { invoice = "17", account = "school" })
      assert.are.equal(1, all())
      assert.is_string(store:show("school:c").data)
    end)

    it("takes results of steps and messages of failures too", function()
      add(event "a")
      local one = run_one()
      local seq = one.events[1].seq
      store:step(seq, "r", "mail", "1")
      store:mark(one.lane, one.token, outcome(one.events[1], "dead", { message = "about John" }))
      release(one)
      assert.are.equal(1, store:purge {})
      assert.is_nil(store:show("school:a").marks.r.message)
      assert.are.equal("2", store:step(seq, "r", "mail", "2"))
    end)

    it("works through more than one transaction's worth", function()
      local list = {}
      for i = 1, 1200 do list[i] = event(tostring(i), { rules = {} }) end
      apply { account = "school", events = list }
      assert.are.equal(1200, store:purge {})
    end)
  end)

  describe("forget", function()
    local DAY = 86400

    it("takes what a closed invoice says and what came about it; the amounts stay", function()
      admit(delivery "a", delivery("b", { invoice = "17" }))
      local list = store:incoming("school", 10)
      apply { account = "school", route = { { seq = list[1].seq, state = "done" },
        { seq = list[2].seq, state = "done" } } }
      add(event("a", { rules = {} }), event("b", { rules = {}, invoice = "17" }))
      set("16", { known = true, data = "{}", total = "10.00", closed_at = now * 1000 })
      set("17", { known = true, data = "{}" })
      now = now + 89 * DAY
      assert.are.equal(0, store:forget(90 * DAY, 400 * DAY))
      now = now + 2 * DAY
      assert.are.equal(3, store:forget(90 * DAY, 400 * DAY))
      assert.is_nil(row("16").data or store:show("school:a").data or the_delivery("a").body)
      assert.are.equal("10.00", row("16").total)
      assert.is_string(row("17").data)
      assert.is_string(store:show("school:b").data)
      assert.is_string(the_delivery("b").body)
      now = now + 310 * DAY
      assert.are.equal(2, store:forget(90 * DAY, 400 * DAY))
      assert.is_nil(store:show("school:b").data or the_delivery("b").body)
      assert.is_string(row("17").data) -- it is open: what it says is what the next look compares
    end)

    it("takes rows of ids that nobody knows, when nothing is waited for any more", function()
      set("gone", { news_at = now * 1000, check_due = NULL })
      set("waits", { news_at = now * 1000, check_due = now * 1000 })
      set("known", { news_at = now * 1000, known = true })
      set("held", { check_due = now * 1000 - 1 })
      assert.are.equal("held", only(claim("check", { limit = 1, lease = 1e12 }).rows).invoice)
      set("held", { check_due = NULL })
      set("runs", { news_at = now * 1000 })
      add(event("e", { invoice = "runs" }))
      assert.are.equal(0, store:forget(90 * DAY, 400 * DAY))
      now = now + DAY + 1
      assert.are.equal(1, store:forget(90 * DAY, 400 * DAY))
      assert.is_nil(row("gone").lane)
      for _, name in ipairs { "waits", "known", "held", "runs" } do
        assert.is_number(row(name).lane, name)
      end
    end)
  end)

  describe("stats", function()
    local function stats()
      local found = assert(store:stats())
      found.log_bytes = nil
      return found
    end

    it("count", function()
      assert.are.same({ incoming = 0, checking = 0, pending = 0, dead = 0, unhandled = 0,
        leased = 0, due = 0, checks = 0 }, stats())
      admit(delivery "a", delivery "b")
      apply { account = "school", route = { { seq = store:incoming("school", 1)[1].seq,
        state = "pending" } } }
      add(event "a", event("b", { rules = {} }), event("c", { invoice = "17" }))
      set("18", { check_due = now * 1000 })
      claim("run", { limit = 1 })
      now = now + 30
      assert.are.same({ incoming = 1, checking = 1, pending = 2, dead = 0, unhandled = 1,
        leased = 1, due = 1, checks = 1, oldest = 30 }, stats())
    end)

    it("count no further than 10,000, whatever there is", function()
      -- in parts, for an admission has only so many seconds
      for part = 1, 15 do
        local list = {}
        for i = 1, 670 do list[i] = delivery(part .. "-" .. i, { body = "" }) end
        assert(store:admit(list))
      end
      assert.are.equal(10000, stats().incoming)
    end)
  end)

  describe("the last day", function()
    it("is counted by the hour, and what gave up beside", function()
      local hour = math.floor(now / 3600) * 3600
      now = hour + 60
      admit(delivery("a"), delivery("b"), delivery("c", { account = "other" }))
      local seqs = store:incoming("school", 2)
      now = now + 7200
      admit(delivery "d", delivery "a") -- the latter again: it came when it came
      apply { account = "school", route = {
        { seq = seqs[1].seq, state = "dead", reason = "r" } } }
      add(event "a", event("b", { invoice = "17" }))
      finish(run_one { limit = 1 }, "dead")
      local day = assert(store:day())
      assert.are.equal(24, #day.hours)
      assert.are.same({ at = hour + 7200, deliveries = 1, failures = 1 }, day.hours[24])
      assert.are.same({ at = hour + 3600, deliveries = 0, failures = 0 }, day.hours[23])
      assert.are.same({ at = hour, deliveries = 3, failures = 1 }, day.hours[22])
      assert.are.equal(hour - 21 * 3600, day.hours[1].at)
      assert.are.same({ school = now, other = hour + 60 }, day.last)
      assert.are.equal(now, day.now)
      now = now + 22 * 3600
      day = assert(store:day())
      assert.are.same({ at = hour + 7200, deliveries = 1, failures = 1 }, day.hours[2])
      for i = 3, 24 do assert.are.equal(0, day.hours[i].deliveries + day.hours[i].failures) end
    end)
  end)

  describe("a brief list", function()
    it("leaves out what may be long", function()
      admit(delivery("a", { body = "{}" }))
      add(event("a", { claims = "{}" }))
      local long = ('{"a":"%s"}'):format(("x"):rep(70000))
      apply(change("17", { set = { known = true, data = "{}", number = "N" } }),
        change("18", { set = { known = true, data = long } }))
      local one = only(assert(store:deliveries { brief = true }))
      assert.are.same({ "school:a", "a", "pending", 2 }, { one.id, one.key, one.state, one.secret })
      assert.is_nil(one.body)
      one = only(assert(store:events { brief = true }))
      assert.are.same({ "school:a", "pending", { "r" }, true }, { one.id, one.state, one.rules,
        one.live })
      assert.is_nil(one.data or one.previous or one.claims)
      local rows = assert(store:invoices { brief = true })
      assert.are.same({ "18", "17" }, { rows[1].invoice, rows[2].invoice })
      assert.are.same({ "N", "{}", true }, { rows[2].number, rows[2].data, rows[2].known })
      assert.is_nil(rows[1].data)
      assert.has_error(function() store:events { brief = 1 } end,
        "field 'brief' of a filter must be a boolean")
    end)
  end)

  describe("counters", function()
    local function counted()
      local out = {}
      for _, one in ipairs(assert(store:counters())) do out[one.name] = { one.n, one.total } end
      return out
    end

    it("take what a process has counted, and are none of an admission's", function()
      admit(delivery "a")
      assert.are.same({}, counted())
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

  describe("close", function()
    it("may be called twice, and then everything is an error", function()
      assert.is_true(store:close())
      assert.is_true(store:close())
      local results, why = store:admit { delivery "a" }
      assert.is_nil(results)
      assert.are.same({ "store", "the inbox is closed" }, { why.kind, why.message })
    end)
  end)
end

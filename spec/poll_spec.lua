-- poll_spec.lua: news that no webhook brought.

local desk = require "spec.support.inbox"

local d, asked
before_each(function() d, asked = desk.new(), {} end)

local function answer(body)
  d.answer = function(request)
    asked[#asked + 1] = request.url
    return { status = 200, headers = { ["content-type"] = "application/json" }, body = body }
  end
end

local function journal(...)
  local members = {}
  for i, item in ipairs { ... } do
    members[i] = ('"%s":%s'):format(item:match '"id":(%d+)', item)
  end
  answer("{" .. table.concat(members, ",") .. "}")
end

describe("app:poll", function()
  it("finds in DreamApply's journal what was not delivered", function()
    local seen = {}
    d.app:on("*", function(event)
      seen[#seen + 1] = { event.id, event.key, event.type, event.trust,
        (event.data or event.claims).id }
    end)
    d:apply(desk.item(7, nil, 5))
    d:work()
    seen = {}
    journal(desk.item(7, nil, 5), desk.item(8, "Invoice was edited: ?", 5),
      desk.item(9, nil, 5), desk.item(10, nil, 6))
    assert.are.equal(3, d.app:poll "apply")
    assert.are.equal(3, d:work())
    assert.are.same({
      { "apply:8", "apply:8", "invoice.updated", "api", 8 },
      { "apply:9", "apply:9", "invoice.updated", "api", 9 },
      { "apply:10", "apply:invoice.created:6", "invoice.created", "api", 10 },
    }, seen)
    assert.are.equal(0, #d:logged "contested")
    -- and what comes late is known
    d:apply("[" .. desk.item(8, "Invoice was edited: ?", 5) .. "," .. desk.item(10, nil, 6) .. "]")
    assert.are.equal(0, d:work())
    assert.are.equal(0, #d:logged "contested")
  end)

  it("gives a rule that asks for the API's word the invoice, not the journal's entry", function()
    local seen = {}
    d.app:on("apply:*", { trust = "api" }, function(event)
      seen[#seen + 1] = { event.type, event.trust, event.data and event.data.nr or "none",
        event.claims and event.claims.id }
    end)
    journal(desk.item(8, nil, 5), desk.item(9, "Invoice was deleted: ?", 6))
    assert.are.equal(2, d.app:poll "apply")
    d.answer = function(request)
      if request.url:find "/invoices/6$" then return { status = 404 } end
      return { status = 200, body = '{"id":5,"nr":"AF-5"}' }
    end
    d:work()
    table.sort(seen, function(a, b) return a[1] < b[1] end)
    assert.are.same({ { "invoice.created", "api", "AF-5", 8 },
      { "invoice.deleted", "api", "none", 9 } }, seen)
  end)

  it("has the last word on what somebody has made of an id", function()
    local seen = {}
    d.app:on("*", function(event)
      seen[#seen + 1] = ("%s %s %s"):format(event.id, event.type, event.invoice_id)
    end)
    d:apply(desk.item(7, "Invoice was deleted: ?", 99))
    d:apply(desk.item(8, nil, 98))
    journal(desk.item(7, nil, 5), desk.item(8, "Invoice was edited: ?", 5))
    assert.are.equal(2, d.app:poll "apply")
    d.answer = nil
    d:work()
    assert.are.same({ "apply:7 invoice.created 5", "apply:8 invoice.updated 5" }, seen)
  end)

  it("goes on from where it ended", function()
    journal(desk.item(7), desk.item(8))
    assert.are.equal(2, d.app:poll "apply")
    journal(desk.item(8), desk.item(9))
    assert.are.equal(1, d.app:poll "apply")
    journal(desk.item(9))
    assert.are.equal(0, d.app:poll "apply")
    -- the clock stands at 2023-11-14T22:13:20
    assert.is_truthy(asked[1]:find("bySince=2023-11-13T22%3A13%3A20%2B00%3A00", 1, true))
    assert.is_truthy(asked[2]:find("bySince=8&", 1, true))
    assert.is_truthy(asked[3]:find("bySince=9&", 1, true))
    for _, url in ipairs(asked) do
      assert.is_truthy(url:find("order=oldest-first", 1, true))
      assert.is_truthy(url:find("byEvents=Invoice%20was%20created", 1, true))
    end
  end)

  it("asks for what it is told to ask for", function()
    journal()
    assert.are.equal(0, d.app:poll("apply", { events = { "Offer was edited: ?" }, since = 0 }))
    assert.is_truthy(asked[1]:find("byEvents=Offer%20was%20edited", 1, true))
    assert.is_truthy(asked[1]:find("bySince=1970-01-01", 1, true))
  end)

  it("waits for the quota behind people and rules", function()
    local billhook, asked_for = require "billhook", {}
    d = desk.new { accounts = { apply = billhook.dreamapply { base_url = "https://apply.test",
      api_key = "key", webhook = { authorization = desk.AUTHORIZATION },
      quota = { store = { slots = function(_, _, question)
        if question.ask ~= "take" then return {} end
        asked_for[#asked_for + 1] = question.background
        return { slots = { 1 } }
      end } },
      transport = require("billhook.transport.fake").new(function()
        return { status = 200, headers = { ["content-type"] = "application/json" }, body = "{}" }
      end) } } }
    assert.are.equal(0, d.app:poll "apply")
    assert.are.same({ true }, asked_for)
  end)

  it("reads page after page", function()
    local at = 0
    d.answer = function()
      local members = {}
      for id = math.max(at, 1), math.min(at + 1023, 2500) do
        members[#members + 1] = ('"%d":%s'):format(id, desk.item(id))
      end
      at = at == 0 and 1023 or at + 1023
      return { status = 200, headers = { ["content-type"] = "application/json" },
        body = "{" .. table.concat(members, ",") .. "}" }
    end
    local found = 0
    repeat
      local new = assert(d.app:poll "apply")
      found = found + new
    until new == 0
    assert.are.equal(2500, found)
  end)

  it("keeps its place when the store or the vendor fails", function()
    journal(desk.item(7))
    assert.are.equal(1, d.app:poll "apply")
    d.answer = function() return { status = 503 } end
    local found, err = d.app:poll "apply"
    assert.is_nil(found)
    assert.are.equal("server", err.kind)
    journal(desk.item(7), desk.item(8))
    assert.are.equal(1, d.app:poll "apply")
    d = desk.new { inbox = "sqlite:/no/such/folder/a.db" }
    found, err = d.app:poll "apply"
    assert.is_nil(found)
    assert.are.equal("store", err.kind)
  end)

  it("finds Betterez's failures", function()
    local seen
    d.app:on("invoice.failed", function(event) seen = event end)
    answer '{"invoicesFailures":[{"_id":"f1","transactionId":"t1"},{"no":"id"}],"next":""}'
    assert.are.equal(1, d.app:poll "tickets")
    assert.are.equal(0, d.app:poll "tickets")
    d:work()
    assert.are.equal("tickets:failure-f1", seen.id)
    assert.are.equal("t1", seen.data.transactionId)
    assert.are.equal("api", seen.trust)
  end)

  it("gives Betterez's failures to a rule that asks for the API's word", function()
    local seen
    d.app:on("tickets:invoice.failed", { trust = "api" }, function(event)
      seen = event.data.code
    end)
    answer '{"invoicesFailures":[{"_id":"5f243d100617680712e78dd7","code":"INFILE"}]}'
    assert.are.equal(1, d.app:poll "tickets")
    d:work()
    assert.are.equal("INFILE", seen)
  end)

  it("says that DreamClass cannot be asked", function()
    local found, err = d.app:poll "school"
    assert.is_nil(found)
    assert.is_truthy(tostring(err):find "polling is not possible")
  end)

  it("raises at its caller's line", function()
    for message, arguments in pairs {
      ["there is no account 'nobody'"] = { "nobody" },
      ["there is no account 'nil'"] = {},
      ["poll: option 'x' is unknown"] = { "apply", { x = 1 } },
      ["poll: option 'since' is unknown or no number"] = { "apply", { since = "now" } },
    } do
      local ok, why = pcall(function() d.app:poll(arguments[1], arguments[2]) end)
      assert.is_false(ok)
      assert.is_truthy(why:find(message, 1, true), why)
      assert.is_truthy(why:find("^spec/poll_spec.lua:"), why)
    end
  end)
end)

-- spec/verify_dreamapply_spec.lua: DreamApply's scheme: an agreed header, and journal items.
local deliveries = require "spec.support.deliveries"
local verify = require("billhook.core").verify

describe("dreamapply", function()
  local keys = verify.keys { authorization = { "Bearer old", "Bearer new" } }
  local headers = { Authorization = "Bearer new" }
  local item = '{"id":124,"logged":"2025-12-03T13:15:31+00:00","event":"Invoice was issued: ?",'
    .. '"bind":["AF-1"],"applicant":"/api/v9/applicants/5","invoice":"/api/v9/invoices/17",'
    .. '"offer":null}'

  local function events(sent)
    return assert(verify.check("dreamapply", headers, sent, keys)).events
  end

  local function kept(pattern, sent)
    return deliveries.keeps(pattern, "dreamapply", headers, sent, keys)
  end

  local function change(from, to) return deliveries.change(item, from, to) end

  it("takes one item, a list and a map", function()
    for _, sent in ipairs { item, "[" .. item .. "]", '{"124":' .. item .. "}",
      '{"0124":' .. change('"id":124,', "") .. "}", change("124", '"0124"') } do
      local delivery = assert(verify.check("dreamapply", headers, sent, keys))
      assert.equal("sender", delivery.trust)
      assert.equal("dreamapply", delivery.vendor)
      assert.equal(2, delivery.secret)
      assert.equal(1, #delivery.events)
      local event = delivery.events[1]
      assert.equal("124", event.id)
      assert.equal("Invoice was issued: ?", event.native)
      assert.equal("17", event.invoice)
      assert.equal(1764767731, event.occurred_at)
      assert.is_true(event.live)
      assert.is_nil(event.bad)
      assert.equal(64, #event.digest)
    end
    assert.equal(item, events("[ " .. item .. " ]")[1].data)
  end)

  it("takes no items at all", function()
    assert.same({}, events("[]"))
    assert.same({}, events("{}"))
  end)

  it("takes 10000 items and no more", function()
    local sent = "[" .. ("{},"):rep(9999) .. "{}]"
    assert.equal(10000, #events(sent))
    kept("more than 10000 items", "[{}," .. sent:sub(2))
  end)

  it("wants the Authorization that was agreed on, to the letter", function()
    deliveries.refuses("unsigned", "no Authorization", "dreamapply", {}, item, keys)
    for _, odd in ipairs { "", "Bearer", "bearer new", "Bearer new ", "Bearer newer", "Bearer  new",
      "Bearer old,Bearer new", "Bearer ne" } do
      deliveries.refuses("unauthorized", "another Authorization", "dreamapply",
        { authorization = odd }, item, keys)
    end
    assert.equal(1, verify.check("dreamapply", { authorization = "Bearer old" }, item, keys).secret)
  end)

  it("keeps what is neither an item nor a list of them", function()
    for sent, message in pairs {
      ["5"] = "neither", ['"x"'] = "neither", ["null"] = "neither", ['{"data":[]}'] = "neither",
      ['{"data":{"id":1}}'] = "neither", ['{"5":{},"x":{}}'] = "neither",
      ['{"5":{},"5":{}}'] = "an id comes twice", ['{"5":{},"05":{}}'] = "an id comes twice",
      ['{"\\u0035":{}}'] = "neither", ["[" .. item] = "at byte", [""] = "empty",
      ["[]x"] = "at byte", ["[\0]"] = "at byte", ["a=1"] = "at byte 1",
    } do
      local event = kept(message, sent)
      assert.equal(sent, event.data)
    end
  end)

  it("keeps a lone item that two readers could read differently", function()
    for _, sent in ipairs {
      change('"id"', '"id":1,"id"'), change('"id"', '"\\u0069d":1,"id"'),
      change('"event"', '"event":"x","event"'), change('"invoice"', '"invoice":null,"invoice"'),
      change('"logged"', '"logged":null,"logged"'),
    } do
      kept("twice", sent)
    end
  end)

  it("acts on what is odd where that decides nothing", function()
    for _, sent in ipairs {
      change('"offer"', '"bind"'), change("AF-1", "\\ud83d"), change("AF-1", "\255"),
      change("null", ("["):rep(500) .. ("]"):rep(500)), change("null", "1e999"),
      "\239\187\191" .. item, change("2025-12-03T13:15:31+00:00", "\255"),
    } do
      local event = events(sent)[1]
      assert.is_nil(event.bad)
      assert.equal("17", event.invoice)
    end
  end)

  it("keeps a bad item as such, beside good ones", function()
    local bad = {
      [change('"id":124,', "")] = "id is missing",
      [change("124", "12.5")] = "id is not a whole number",
      [change("124", "-1")] = "id is not a whole number",
      [change("124", '"x"')] = "id is not a whole number",
      [change('"event"', '"no"')] = "event is missing",
      [change('"Invoice was issued: ?"', "5")] = "event is not a string",
      [change("Invoice was issued: ?", "")] = "event is not 1 to 1024 bytes",
      [change("Invoice was issued: ?", ("x"):rep(1025))] = "event is not 1 to 1024 bytes",
      [change("Invoice was issued: ?", "a\\u0000b")] = "event is not 1 to 1024 bytes",
      [change('"id"', '"id":1,"id"')] = "id comes twice",
      [change('"logged"', '"logged":"x","logged"')] = "logged comes twice",
      [change('"invoice"', '"\\u0069nvoice"')] = "invoice comes twice",
      [change("Invoice was issued: ?", "Invoice was issued: \\ud83d")] = "event is not valid text",
      ["17"] = "is not an object", ["null"] = "is not an object", ["[]"] = "is not an object",
    }
    for sent, message in pairs(bad) do
      local list = events("[" .. item .. "," .. sent .. "," .. item .. "]")
      assert.equal(3, #list)
      assert.is_nil(list[1].bad)
      assert.is_nil(list[3].bad)
      assert.is_truthy((list[2].bad or "none"):find(message),
        (list[2].bad or "none") .. " / " .. sent)
      assert.is_truthy(list[2].id:find("^bad%-%x+$"))
      assert.equal(36, #list[2].id)
      assert.equal(64, #list[2].digest)
      assert.equal(sent, list[2].data)
      assert.equal(list[2].id, events("[" .. sent .. "]")[1].id)
    end
    local misplaced = events('{"125":' .. item .. "}")[1].bad
    assert.is_truthy(misplaced:find("id is not the one that it stands under"))
    assert.is_truthy(events('{"id":1}')[1].bad:find("event is missing"))
  end)

  it("finds the invoice in the link's last segment", function()
    local function invoice(link)
      local event = events(change('"/api/v9/invoices/17"', link))[1]
      assert.is_nil(event.bad)
      return event.invoice
    end
    assert.equal("17", invoice('"https://apply.example.edu/api/v9/invoices/17"'))
    assert.equal("17", invoice('"\\/api\\/invoices\\/0017"'))
    for _, odd in ipairs { "null", "17", '""', '"/api/v9/invoices/"', '"/api/v9/invoices/x"',
      '"17"',
      '"/api/v9/applicants/17"', '"/api/v9/invoices/17/"', '"/api/v9/invoices/-17"',
        '"/invoices/1/2"',
      '"/api/v9/invoices/1234567890123456789"' } do
      assert.is_nil(invoice(odd), odd)
    end
    assert.equal("17", invoice('"/invoices/17"'))
  end)

  it("leaves out a time that is none", function()
    assert.is_nil(events(change("2025-12-03T13:15:31+00:00",
      "2025-02-29T13:15:31+00:00"))[1].occurred_at)
    assert.is_nil(events(change('"2025-12-03T13:15:31+00:00"', "null"))[1].occurred_at)
    assert.is_nil(events(change('"2025-12-03T13:15:31+00:00"', "5"))[1].occurred_at)
  end)

  it("gives one digest for one item in any shape", function()
    local first = events(item)[1].digest
    assert.equal(first, events("[" .. item .. "]")[1].digest)
    assert.equal(first, events('{"124":' .. item .. "}")[1].digest)
    assert.equal(first, events(change('"id":124,', ""):gsub("}$", ',"id": 124 }'))[1].digest)
    assert.are_not.equal(first, events(change("AF-1", "AF-2"))[1].digest)
  end)
end)

describe("items", function()
  it("reads the API's journal as a delivery is read", function()
    local keys = verify.keys { authorization = "a" }
    local sent = '{"7":{"id":7,"event":"e","invoice":"/api/v9/invoices/17"},"8":{"id":9}}'
    local delivery = verify.check("dreamapply", { authorization = "a" }, sent, keys)
    assert.same(delivery.events, verify.items(sent))
    assert.same({}, verify.items("[]"))
  end)

  it("says what is wrong with it", function()
    local events, code, message = verify.items("[")
    assert.is_nil(events)
    assert.equal("malformed", code)
    assert.is_truthy(message:find("at byte 1", 1, true))
    assert.has_error(function() verify.items() end)
  end)
end)

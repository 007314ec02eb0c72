-- app_spec.lua: what is taken and what is refused, and with which answer.

local billhook = require "billhook"
local desk = require "spec.support.inbox"

local d
before_each(function() d = desk.new() end)

local function stored() return assert(assert(d.app:open()):list {}) end

describe("app:receive", function()
  it("takes what is authentic, once", function()
    d.app:on("*", function() end)
    assert.are.same({ 200, '{"ok":true}', { ["Content-Type"] = "application/json" } },
      { d:school() })
    assert.are.equal(200, (d:tickets()))
    assert.are.equal(200, (d:apply(desk.item(1))))
    assert.are.equal(3, #stored())
    d.now = d.now + 60
    assert.are.equal(200, (d:school { timestamp = d.now }))
    assert.are.equal(200, (d:tickets { attempt = 100 }))
    assert.are.equal(200, (d:apply("[" .. desk.item(1) .. "]")))
    assert.are.equal(3, #stored())
    assert.are.equal(3, #d:logged "duplicate")
    assert.are.equal(0, #d:logged "contested")
  end)

  it("keeps apart accounts whose vendor uses the same ids", function()
    d:school()
    d:school({}, "class")
    assert.are.equal(2, #stored())
  end)

  it("knows what each vendor says", function()
    d:school { id = 1, type = "PAYMENT_CREATED" }
    d:school { id = 2, type = "SOMETHING_NEW" }
    d:tickets { id = 3, event = "invoice_providers.updated", data = '{"_id":"p"}' }
    d:apply(desk.item(4, "Offer was edited: ?"))
    local types = {}
    for _, event in ipairs(stored()) do types[event.native] = event.type end
    assert.are.same({
      PAYMENT_CREATED = "payment.created", SOMETHING_NEW = "something.new",
      ["invoice_providers.updated"] = "invoice_provider.updated",
      ["Offer was edited: ?"] = "offer.edited",
    }, types)
  end)

  it("answers another content as success and marks the event contested", function()
    d.app:on("*", function() end)
    d:school({}, "class")
    assert.are.equal(200, (d:school({ data = '{"id":16,"amount":1}' }, "class")))
    local event = d.app.store:show("class:" .. desk.uuid(1))
    assert.is_true(event.contested)
    assert.is_truthy(event.body:find('"amount":300', 1, true))
    assert.is_truthy(event.evidence.body:find('"amount":1', 1, true))
    assert.are.equal("warn", d:logged("contested")[1].level)
  end)

  it("logs what has become of an event, not what it came as", function()
    d.app:on("invoice.updated", { name = "u" }, function() end)
    d.app:on("invoice.updated", { name = "v" }, function() end)
    d.app:on("invoice.created", function() end)
    d:school({ id = 1 }, "class")
    d:school({ id = 2 }, "class")
    d:school({ id = 2 }, "class")
    d:school({ id = 2, data = '{"id":16}' }, "class")
    d:school({ id = 2, type = "INVOICE_DELETED" }, "class")
    local logged = {}
    for i, entry in ipairs(d.log) do
      local fields = entry.fields
      logged[i] = { entry.level, entry.name, fields.type, fields.rules or false, fields.kept }
    end
    assert.are.same({
      { "info", "admitted", "invoice.created", 1 },
      { "info", "admitted", "invoice.updated", 2 },
      { "info", "duplicate", "invoice.created", false },
      { "warn", "contested", "invoice.created", false, "as evidence" },
      { "warn", "contested", "invoice.deleted", 0, "as another event" },
    }, logged)
  end)

  -- what a rule for creations was given: "INVOICE AMOUNT", with "?" where it is contested
  local function creations(account)
    local seen = {}
    d.app:on(account .. ":invoice.created", function(event)
      seen[#seen + 1] = ("%s %s%s"):format(event.invoice_id, (event.data or event.claims).amount,
        event.contested and "?" or "")
    end)
    return function()
      d:work()
      table.sort(seen)
      return table.concat(seen, ", ")
    end
  end

  for _, order in ipairs { "before they came", "after they came" } do
    it("has true creations reach their rules where nobody can be asked, whoever told of them under "
      .. "a captured id " .. order, function()
        local seen = creations "school"
        local function forged()
          for invoice = 501, 503 do
            assert.are.equal(200, (d:school { invoice = invoice, data = ('{"id":%d,"amount":1}')
              :format(invoice) }))
          end
        end
        d:school { id = 1 } -- which somebody has seen
        if order == "before they came" then forged() end
        for n = 1, 3 do d:school { id = 10 + n, invoice = 500 + n } end
        if order == "after they came" then forged() end
        for n = 1, 3 do d:school { id = 10 + n, invoice = 500 + n } end
        assert.are.equal("16 300?, 501 1?, 501 300?, 502 1?, 502 300?, 503 1?, 503 300?", seen())
      end)
  end

  it("has the true content of a delivery reach its rules where a forged one came before it",
    function()
      local seen = creations "school"
      for _ = 1, 2 do
        d:school { data = '{"id":16,"amount":1}' }
        d:school()
      end
      assert.are.equal("16 1?, 16 300?", seen())
    end)

  it("creates an invoice once where nobody makes anything up, also if told of it again", function()
    local seen = creations "school"
    for _ = 1, 3 do d:school() end
    d:work()
    d:school()
    assert.are.equal("16 300", seen())
  end)

  it("keeps the true news and acts on it, after five forgeries under its id", function()
    for _, account in ipairs { "school", "class" } do
      d = desk.new()
      d.answer = function(request)
        local there = request.url:find "/16$"
        return { status = there and 200 or 404, headers = { ["content-type"] = "application/json" },
          body = there and '{"id":16,"amount":300}' or "{}" }
      end
      local seen = creations(account)
      for invoice = 1, 5 do assert.are.equal(200, (d:school({ invoice = invoice }, account))) end
      assert.are.equal(200, (d:school({ invoice = 16 }, account)))
      assert.are.equal(account == "class" and "16 300?"
        or "1 300?, 16 300?, 2 300?, 3 300?, 4 300?, 5 300?", seen())
    end
  end)

  it("keeps the true news and acts on it, after any number of forgeries, where it can ask",
    function()
      local seen = creations "class"
      d.answer = function(request)
        local there = request.url:find "/16$"
        return { status = there and 200 or 404, headers = { ["content-type"] = "application/json" },
          body = there and '{"id":16,"amount":300}' or "{}" }
      end
      for invoice = 100, 140 do
        assert.are.equal(200, (d:school({ invoice = invoice }, "class")))
      end
      assert.are.equal(200, (d:school({ invoice = 16 }, "class")))
      assert.are.equal("16 300?", seen())
      assert.is_true(d.calls <= 42)
    end)

  it("runs rules on eight deliveries of an id where nobody can be asked; keeps and reports others",
    function()
      local seen = creations "school"
      for invoice = 1, 9 do assert.are.equal(200, (d:school { invoice = invoice })) end
      assert.are.equal(200, (d:school { invoice = 9 }))
      assert.are.equal(200, (d:school { invoice = 8 }))
      local _, count = seen():gsub("300%?", "")
      assert.are.equal(8, count)
      assert.are.equal(1, #d.app.store:list { state = "unhandled", contested = true })
      local told = d:logged "crowded"
      assert.are.same({ 1, "error", "unhandled", "9" },
        { #told, told[1].level, told[1].fields.kept, told[1].fields.invoice })
      assert.is_true(d.app:health()) -- that is no fault of the inbox
      assert.is_truthy(require("billhook.delivery.metrics").text(d.app)
        :find('billhook_deliveries_total{result="crowded",account="school"} 1', 1, true))
    end)

  it("takes a list of journal items: the good ones, and the bad as dead letters", function()
    local body = ('{"1":%s,"2":7,"3":%s}'):format(desk.item(1), desk.item(3))
    assert.are.equal(200, (d:apply(body)))
    local states = {}
    for id, state in pairs(d:states()) do states[id:gsub("bad%-%x+", "bad")] = state end
    assert.are.same({ ["apply:1"] = "unhandled", ["apply:3"] = "unhandled",
      ["apply:bad"] = "dead" }, states)
    assert.are.equal(200, (d:apply(body)))
    assert.are.equal(3, #stored())
  end)

  it("keeps what no rule wants, and test events, as unhandled", function()
    d.app:on("invoice.deleted", function() end)
    d:school()
    d:tickets { live = false, event = "invoices.deleted" }
    for _, event in ipairs(stored()) do assert.are.equal("unhandled", event.state) end
    assert.are.equal("test event", d.app.store:show("tickets:" .. desk.uuid(1)).note)
    assert.are.equal(0, d:work())
  end)

  it("has no test event take the place of a creation", function()
    d.app:on("*", function() end)
    d:tickets { id = 1, live = false }
    d:tickets { id = 2 }
    assert.are.equal("invoice.created", d.app.store:show("tickets:" .. desk.uuid(2)).type)
  end)

  it("runs test events where the account says so", function()
    d = desk.new { accounts = { tickets = billhook.betterez {
      webhook = { secret = desk.SECRET }, test_events = true } } }
    local live
    d.app:on("*", function(event) live = event.live end)
    d:tickets { live = false }
    assert.are.equal(1, d:work())
    assert.is_false(live)
  end)

  it("makes a second notice of a creation an update", function()
    local types = {}
    d.app:on("*", function(event) types[#types + 1] = event.type .. " " .. event.key end)
    d:school({ id = 1 }, "class")
    d:school({ id = 2 }, "class")
    d:school({ id = 3, invoice = 17 }, "class")
    d:work()
    table.sort(types)
    assert.are.same({ "invoice.created class:invoice.created:16",
      "invoice.created class:invoice.created:17",
      "invoice.updated class:" .. desk.uuid(2) }, types)
  end)

  it("stores no secret of a provider, whatever shape its params have", function()
    local folder = os.tmpname()
    os.remove(folder)
    d = desk.new { inbox = "sqlite:" .. folder }
    local secret = "5ecret2take"
    local function params(text, event, id)
      text = text:gsub("S%$", secret)
      assert.are.equal(200, (d:tickets { id = id, event = event, data = text }))
    end
    local shapes = {
      '{"params":[{"name":"signerKey","value":"S$"},{"value":"S$","name":"other"}]}',
      '{"params":[{"key":"signerKey","value":["S$",{"x":"S$"}]}],"type":"kept"}',
      '{"params":{"signerKey":"S$","alias":"S$","n":{"x":["S$"]},"name":"kept","type":"kept"}}',
      '{"provider":{"PARAMS":{"a":"S$"}},"pa\\u0072ams":["S$"],"Params":"S$"}',
      '{"params":{"signer\\u004bey":"S$"},"list":[{"Name":"API key","Value":"S$"}]}',
      '{"params":{"p":["x","S$"],"p":{"p":"S$"}},"clientSecrets":["S$"],"Key":"S$"}',
      '{"apiToken":"S$","a":"\\ud83d","b":{"PASSWORD":{"S$":"S$"}},"certificate":"S$"}',
      '{"params":' .. ("["):rep(80) .. '"S$"' .. ("]"):rep(80) .. "}",
    }
    local id = 0
    for _, shape in ipairs(shapes) do
      for _, event in ipairs { "invoice_providers.created", "INVOICE_PROVIDERS.updated",
        "payment_provider.x", "in\\u0076oice_providers.created", "", "a b" } do
        id = id + 1
        params(shape, event, id)
      end
    end
    for _, shape in ipairs { '{"a":[{"name":"signerKey","value":"S$"}]}',
      '{"a":{"value":{"x":"S$"},"key":"client_secret"}}', '{"signer-key":["S$"]}',
      '{"a":[[{"name":"api\\u004bey","value":"S$"}]]}', '{"myPassword":"S$"}' } do
      id = id + 1
      params(shape, "invoices.updated", id)
      params(shape, "invoiceemail.created", id + 500)
    end
    d:tickets { id = 999, data = '{"_id":"a","params":[{"name":"n","value":"kept"}]}' }
    for _, broken in ipairs {
      '{"id":"a","event":"invoice_providers.created","data":{"params":{"a":"S$"',
      '{"data":{"params":[{"name":"signerKey","value":"S$', 'signerKey=S$', "<key>S$</key>",
      '{"event":"invoices.created","data":[{"name":"signerKey","x":1,"value":"S$' } do
      local body = broken:gsub("S%$", secret)
      assert.are.equal(200, (d.app:receive("tickets",
        billhook.sign("betterez", body, { secret = desk.SECRET, now = d.now }), body)))
    end
    local all, kept = {}, {}
    for _, event in ipairs(stored()) do kept[#kept + 1] = d.app.store:show(event.id).body end
    for _, suffix in ipairs { "", "-wal", "-shm" } do
      local file = io.open(folder .. suffix, "rb")
      all[#all + 1] = file and file:read "*a" or ""
      if file then file:close() end
    end
    for _, entry in ipairs(d.log) do
      all[#all + 1] = require("billhook.log").line(entry.level, entry.name, entry.fields)
    end
    all, kept = table.concat(all, "\n"), table.concat(kept, "\n")
    assert.is_true(#all > 10000)
    assert.is_nil(all:find(secret, 1, true))
    assert.is_truthy(kept:find('"type":"kept"', 1, true))
    assert.is_truthy(kept:find('{"name":"n","value":"kept"}', 1, true))
    d.app.store:close()
    for _, suffix in ipairs { "", "-wal", "-shm" } do os.remove(folder .. suffix) end
  end)

  it("stores no credential", function()
    d:school()
    d:tickets { id = 2, event = "invoice_providers.created", data = '{"_id":"p","params":{'
      .. '"signerKey":"s-e-c-r-e-t","key":"s-e-c-r-e-t","password":"s-e-c-r-e-t","name":"kept"}}' }
    d:tickets { id = 3, data = '{"_id":"q","apiKey":"s-e-c-r-e-t","key":"kept"}' }
    d:tickets { id = 4, event = "INVOICE_PROVIDERS.created", data = '{"_id":"r","params":{'
      .. '"signer_key":"s-e-c-r-e-t","KEY":"s-e-c-r-e-t","Access-Token":"s-e-c-r-e-t"}}' }
    d:tickets { id = 5, data = '{"_id":"s","APIKEY":"s-e-c-r-e-t","x":{"api_key":"s-e-c-r-e-t",'
      .. '"Authorization":"s-e-c-r-e-t"}}' }
    d:tickets { id = 6, data = '{"_id":"t","a\\u0070iKey":"s-e-c-r-e-t"}' }
    local text = {}
    for _, event in ipairs(stored()) do text[#text + 1] = d.app.store:show(event.id).body end
    text = table.concat(text, "\n")
    assert.is_falsy(text:find("s-e-c-r-e-t", 1, true))
    assert.is_truthy(text:find('"signature":"***"', 1, true))
    assert.is_truthy(text:find('"name":"kept"', 1, true))
    assert.is_truthy(text:find('"key":"kept"', 1, true))
  end)

  describe("refuses", function()
    local function refused(status, reply, account, headers, body)
      local got, text, reply_headers = d.app:receive(account, headers, body)
      assert.are.equal(status, got)
      assert.are.equal(('{"error":"%s"}'):format(reply), text)
      assert.are.equal("application/json", reply_headers["Content-Type"])
      assert.are.same({}, stored())
      return d.log[#d.log]
    end

    local JSON = { ["content-type"] = "application/json" }
    local function authorized(headers)
      headers = headers or {}
      headers.Authorization = desk.AUTHORIZATION
      return headers
    end

    it("an account that is not there", function()
      refused(404, "no such account", "nobody", JSON, "{}")
      refused(404, "no such account", nil, JSON, "{}")
      refused(404, "no such account", {}, JSON, "{}")
    end)

    it("what is not authentic, without telling why", function()
      local entry = refused(401, "not authentic", "apply", JSON, desk.item(1))
      assert.are.equal("unsigned", entry.fields.code)
      entry = refused(401, "not authentic", "apply", { authorization = "Bearer no" }, desk.item(1))
      assert.are.equal("unauthorized", entry.fields.code)
      local _, body = billhook.sign("dreamclass",
        '{"id":"' .. desk.uuid(1) .. '","type":"X","tenant":"other","timestamp":1,"data":{}}',
        { secret = desk.SECRET })
      entry = refused(401, "not authentic", "school", JSON, body)
      assert.are.equal("tenant", entry.fields.code)
      assert.are.equal("warn", entry.level)
    end)

    it("what it has no key for", function()
      d = desk.new { accounts = { apply = billhook.dreamapply {
        base_url = "https://apply.test", api_key = "key-of-apply" } } }
      local entry = refused(401, "not authentic", "apply", authorized(), desk.item(1))
      assert.are.equal("unconfigured", entry.fields.code)
    end)

    it("a signature that is too old or too early", function()
      for _, skew in ipairs { -301, 301 } do
        local headers, body = billhook.sign("betterez", '{"id":"' .. desk.uuid(1)
          .. '","livemode":true,"created":1,"event":"x.y","data":{}}',
          { secret = desk.SECRET, now = d.now + skew })
        local entry = refused(401, "not authentic", "tickets", headers, body)
        assert.are.equal(skew < 0 and "stale" or "future", entry.fields.code)
      end
    end)

    it("what is malformed where nothing proves it", function()
      for _, body in ipairs { "", "{", "7", '{"id":1}x', "\0", '{"id":"\255"}' } do
        refused(400, "malformed", "school", JSON, body)
      end
      refused(400, "malformed", "apply", authorized(), nil)
      refused(400, "malformed", "apply", nil, "{}")
    end)

    it("compressed bodies", function()
      for _, coding in ipairs { "gzip", "br", "deflate", "zstd", { "utf-8", "gzip" } } do
        refused(415, "unsupported media type", "apply",
          authorized { ["Content-Encoding"] = coding }, desk.item(1))
      end
    end)

    it("a body over its limit, unread", function()
      refused(413, "body too large", "school", JSON, ("x"):rep(1048577))
      refused(413, "body too large", "apply", JSON, ("x"):rep(8388609))
      d = desk.new { accounts = { apply = billhook.dreamapply { base_url = "https://apply.test",
        webhook = { authorization = desk.AUTHORIZATION, limit = 10 } } } }
      refused(413, "body too large", "apply", authorized(), desk.item(1))
    end)
  end)

  it("takes what is JSON, whatever a header says of it", function()
    for i, kind in ipairs { "application/json; charset=utf-8", "Application/JSON", "text/plain", "",
      "application/vnd.dreamapply+json", "application/x-www-form-urlencoded", "nonsense",
      { "application/json", "text/plain" }, { "application/json", "application/json" } } do
      assert.are.equal(200, (d.app:receive("apply",
        { Authorization = desk.AUTHORIZATION, ["Content-Type"] = kind }, desk.item(i))))
    end
    for i, coding in ipairs { "UTF-8", "utf8", "identity", "", { "identity", "utf-8" } } do
      assert.are.equal(200, (d.app:receive("apply",
        { Authorization = desk.AUTHORIZATION, ["Content-Encoding"] = coding }, desk.item(i + 20))))
    end
    assert.are.equal(200, (d.app:receive("apply", { Authorization = desk.AUTHORIZATION },
      desk.item(99))))
    assert.are.equal(200, (d.app:receive("apply", { Authorization = desk.AUTHORIZATION },
      "\239\187\191" .. desk.item(100))))
    for _, event in ipairs(stored()) do assert.are.equal("unhandled", event.state) end
    assert.are.equal(16, #stored())
  end)

  describe("of what is authentic", function()
    local function betterez(body)
      return (d.app:receive("tickets",
        billhook.sign("betterez", body, { secret = desk.SECRET, now = d.now })))
    end

    local function school(body)
      local headers, signed = billhook.sign("dreamclass", body, { secret = desk.SECRET })
      return d.app:receive("school", headers, signed)
    end

    it("runs rules with what is odd and decides nothing", function()
      local seen = {}
      d.app:on("*", function(event)
        seen[#seen + 1] = { event:raw(), event.data or event.claims, event.invoice_id }
      end)
      local odd = { ['"Ann \\ud83d"'] = "Ann \239\191\189", ['"Ann \255"'] = "Ann \239\191\189",
        ['"Ann \\u0000"'] = "Ann \0", ["1e999"] = "1e999", ['1,"name":2'] = 2,
        ['"a\nb"'] = "a\nb", ["null"] = "none",
        [("["):rep(70) .. ("]"):rep(70)] = "deep" }
      local id = 0
      for written, read in pairs(odd) do
        id = id + 1
        local data = ('{"_id":"i%d","id":%d,"name":%s}'):format(id, id, written)
        assert.are.equal(200, (d:tickets { id = id, data = data }))
        assert.are.equal(200, (d:school { id = id, data = data }))
        d:work()
        assert.are.equal(2, #seen, written)
        for _, one in ipairs(seen) do
          assert.is_truthy(one[1]:find(data, 1, true)) -- the bytes that came
          local name = one[2].name or "none"
          if type(name) == "table" then name = "deep" end
          assert.are.equal(read, name)
          assert.is_truthy(one[3])
        end
        seen = {}
      end
    end)

    it("keeps as a dead letter, with a reason, what cannot be acted on", function()
      local runs = 0
      d.app:on("*", function() runs = runs + 1 end)
      local function dead(status, reason)
        assert.are.equal(200, status)
        local list = d.app.store:list { state = "dead" }
        assert.are.equal(1, #list)
        local event = d.app.store:show(list[1].id)
        assert.are.equal(reason, event.note)
        assert.is_truthy(list[1].id:find(":bad-", 1, true))
        assert.are.equal("warn", d:logged("admitted")[1].level)
        d = desk.new()
        d.app:on("*", function() runs = runs + 1 end)
        return event
      end
      local deleted = '{"id":"' .. desk.uuid(1) .. '","type":%s,"tenant":"my-school",'
        .. '"timestamp":1,"signature":"","data":%s}'
      dead(school(deleted:format('"INVOICE_DELETED"', "null")), "data is missing")
      dead(school(deleted:format("null", "{}")), "type is missing")
      dead(school(deleted:format("7", "{}")), "type is not a string")
      dead(school(deleted:format('"INVOICE_DELETED"', '{"id":1,"id":2}')),
        "data.id comes twice, or with its name escaped")
      local event = dead(betterez '{"providerId":"p","apiKey":"s-e-c-r-e-t","data":{"to":["a"]}}',
        "id is missing")
      assert.are.equal('{"providerId":"p","apiKey":"***","data":{"to":["a"]}}', event.body)
      event = dead(betterez "no JSON at all", "a value was expected at byte 1")
      assert.are.equal("no JSON at all", event.body)
      event = dead(betterez '{"id":"a","event":"invoices.created","data":{},"apiKey":"s-e-c-r-e-t',
        "the text ends too early at byte 69")
      assert.are.equal('{"id":"a","event":"invoices.created","data":{},"***', event.body)
      event = dead(d:apply '{"data":{"id":1,"event":"Invoice was paid: ?"}}',
        "neither a journal item nor a map of them by id")
      assert.are.equal('{"data":{"id":1,"event":"Invoice was paid: ?"}}', event.body)
      dead(d:apply "", "the text is empty at byte 1")
      dead(d:apply "{", "the text ends too early at byte 2")
      assert.are.equal(0, d:work())
      assert.are.equal(0, runs)
    end)

    it("keeps the true news of an id whose bad delivery came first", function()
      local types = {}
      d.app:on("*", function(event) types[#types + 1] = event.type end)
      local body = '{"id":"' .. desk.uuid(1) .. '","type":%s,"tenant":"my-school","timestamp":1,'
        .. '"signature":"","data":{"id":16}}'
      for _ = 1, 2 do assert.are.equal(200, (school(body:format "null"))) end
      assert.are.equal(200, (school(body:format "3"))) -- one of them is enough
      assert.are.equal(200, (school(body:format '"INVOICE_CREATED"')))
      assert.are.equal(200, (school(body:format "null")))
      assert.are.equal(2, #stored())
      d:work()
      assert.are.same({ "invoice.created" }, types)
    end)
  end)

  it("asks for another try while the store fails", function()
    d = desk.new { inbox = "sqlite:/no/such/folder/a.db" }
    local status, reply, headers = d:school()
    assert.are.equal(503, status)
    assert.are.equal('{"error":"store unavailable"}', reply)
    assert.are.equal("5", headers["Retry-After"])
    assert.are.equal("error", d:logged("not_stored")[1].level)
    d.app.inbox = "memory:"
    assert.are.equal(200, (d:school()))
  end)

  it("never raises, whatever breaks", function()
    d.app:use_store { admit = function() error "broken" end }
    assert.are.equal(503, (d:school()))
    assert.is_truthy(d:logged("internal")[1].fields.message:find "broken")
    d.app.log = nil
    assert.has_no.errors(function() pcall(d.app.receive, d.app, "school", {}, "") end)
    d = desk.new { log = function() error "no log" end }
    assert.are.equal(200, (d:school()))
  end)

  it("writes one line for each thing, with its id, and no secret and no body in it", function()
    local secrets = { desk.SECRET, desk.AUTHORIZATION, "key%-of%-%l+", "a@b%.test", "no json",
      "amount", "signature=[^*]" }
    d = desk.new { attempts = 2, retention = 1, hold = 1 }
    local function seen(...) return setmetatable({ ... }, { __index = table }) end
    local lines, levels = seen(), {}
    d.app.log = function(level, name, fields)
      levels[name] = level
      lines:insert(require("billhook.log").line(level, name, fields))
    end
    d.app:on("*", { name = "bad" }, function() return nil, "ledger is down" end)
    d.app:on("class:*", { name = "api", trust = "api" }, function() end)
    d.app:on("*", { name = "long", budget = 1 }, function() d.now = d.now + 2 end)
    d:school()
    d:school()
    d:school { data = '{"id":16,"amount":1,"email":"a@b.test"}' }
    for invoice = 1, 8 do d:school { invoice = invoice } end
    d:apply "no json"
    d.app:receive("school", {}, '{"signature":"' .. desk.SECRET .. '"}')
    d.app:receive("apply", { authorization = "Bearer wrong" }, desk.item(1))
    d.app:receive(desk.SECRET, {}, "")
    -- an API that says all it was told
    d.answer = function(request)
      local told = {}
      for name, value in pairs(request.headers) do told[#told + 1] = name .. ": " .. value end
      return { status = 500, headers = { ["content-type"] = "text/plain" },
        body = table.concat(told, "\n") .. request.url }
    end
    d:school({}, "class")
    d.app:poll "apply"
    for _ = 1, 4 do
      d.app:work()
      d.now = d.now + 2 * 86400
    end
    local store = d.app.store
    local admit = store.admit
    store.admit = function() return nil, "disk full" end
    d:school { id = 7 }
    store.admit = admit
    for _, name in ipairs { "admitted", "duplicate", "contested", "crowded", "refused", "failed",
      "dead", "ran", "overrun", "purged", "not_stored" } do
      assert.is_truthy(levels[name], name)
    end
    for _, line in ipairs(lines) do
      assert.is_falsy(line:find "[%c]", line)
      assert.is_truthy(line:find "^billhook level=%l+ event=[%l_]+ %l+=", line)
      for _, secret in ipairs(secrets) do assert.is_falsy(line:find(secret), line) end
      local name = line:match "event=([%l_]+)"
      if name ~= "refused" and name ~= "purged" then
        assert.is_truthy(line:find ' id="?%l+:[%w%-]+', line)
      end
    end
    for _, secret in ipairs(secrets) do
      assert.is_falsy(require("billhook.delivery.metrics").text(d.app):find(secret))
    end
  end)

  it("can be taken apart by a host", function()
    d.app:on("*", function() end)
    local headers, body = billhook.sign("dreamclass", '{"id":"' .. desk.uuid(1)
      .. '","type":"INVOICE_CREATED","tenant":"my-school","timestamp":1,"data":{"id":16}}',
      { secret = desk.SECRET })
    local events = d.app:examine("school", headers, body)
    assert.are.equal(1, #events)
    local store = assert(billhook.app { inbox = "memory:", accounts = d.app.accounts }:open())
    d.app:use_store(store)
    assert.are.equal(200, (d.app:admitted(events, assert(store:admit(events)))))
    local status, reply = d.app:examine("nobody", {}, "")
    assert.are.same({ 404, '{"error":"no such account"}' }, { status, reply })
  end)
end)

describe("billhook.app", function()
  local client = billhook.dreamclass { tenant = "t", webhook = { secret = "123456789" } }

  local function raises(message, options)
    local here = debug.getinfo(1, "S").short_src:gsub("%p", "%%%0")
    local ok, why = pcall(function() local _ = billhook.app(options) end)
    assert.is_false(ok, message)
    assert.is_truthy(why:find(message, 1, true), why)
    assert.is_truthy(why:find("^" .. here .. ":%d+:"), why)
  end

  it("raises at the caller's line where a method is called with a dot", function()
    local app = billhook.app { inbox = "memory:", accounts = { school = billhook.dreamclass {
      webhook = { secret = "123" } } } }
    for _, name in ipairs { "on", "on_dead", "receive", "work", "poll" } do
      for _, self in ipairs { "school", 5, {}, app.accounts.school } do
        local fine, why = pcall(function()
          app[name](self, {}, "{}")
        end)
        assert.is_false(fine)
        assert.matches("^spec/app_spec.lua:%d+: " .. name .. " is a method: call it with a colon$",
          why)
      end
    end
  end)

  it("raises at the caller's line", function()
    local accounts = { school = client }
    raises("the options of billhook.app must be a table", 7)
    raises("option 'inbox' of billhook.app is missing", { accounts = accounts })
    raises("option 'accounts' of billhook.app is missing", { inbox = "memory:" })
    raises("option 'inbox' of billhook.app is none", { inbox = "mysql:x", accounts = accounts })
    raises("unknown option 'inbx' of billhook.app", { inbx = "memory:" })
    raises("option 'accounts' of billhook.app must have an account",
      { inbox = "memory:", accounts = {} })
    raises("must have names of letters", { inbox = "memory:", accounts = { ["a:b"] = client } })
    raises("must have names of letters", { inbox = "memory:", accounts = { client } })
    raises("must have names of letters",
      { inbox = "memory:", accounts = { [("x"):rep(65)] = client } })
    raises("has no client under 'school'", { inbox = "memory:", accounts = { school = {} } })
    local function with(name, value)
      return { inbox = "memory:", accounts = accounts, [name] = value }
    end
    raises("option 'attempts' of billhook.app must be a whole number", with("attempts", 0))
    raises("option 'hold' of billhook.app must be above 0", with("hold", 0))
    raises("option 'budget' of billhook.app must be above 0", with("budget", -1))
    raises("option 'hold' of billhook.app must be above 0, up to 2592000", with("hold", 2592001))
    raises("option 'budget' of billhook.app must be above 0, up to 86400", with("budget", 86401))
    for _, days in ipairs { 0, 36501, 1 / 0 } do
      raises("option 'retention' of billhook.app must be days above 0, up to 36500, or false",
        with("retention", days))
    end
    raises("has an unknown field 'foo'", with("backoff", { foo = 1 }))
    raises("must have seconds in 'base'", with("backoff", { base = 0 }))
    raises("option 'log' of billhook.app must be a function", with("log", 7))
  end)
end)

describe("log", function()
  local errors = require "billhook.error"
  local log = require "billhook.log"

  it("shows a table by its fields, and nothing by its address", function()
    local endless = { code = 1 }
    endless.again = endless
    local wide, long = {}, {}
    for i = 1, 50 do wide[i] = i end
    for i = 1, 5000 do long["field" .. i] = ("x"):rep(5000) end
    for _, case in ipairs {
      { {}, "{}" }, { { "a", 2, true }, '{"a", 2, true}' },
      { { code = 28, message = "no\nroom", at = 1.5 },
        '{message = "no room", at = 1.5, code = 28}' },
      { { why = errors.new { kind = "tls", message = "old" } }, "{why = tls: old}" },
      { { a = { b = { c = { d = 1 } } } }, "{a = {b = {c = {...}}}}" },
      { endless, "{again = {again = {again = {...}, code = 1}, code = 1}, code = 1}" },
      { { print, coroutine.create(print) }, "{a function, a thread}" },
      { setmetatable({ code = 7 }, { __name = "refusal", __index = error, __pairs = error }),
        "{code = 7}" },
      { { [{}] = 1, [print] = 2 }, "{a function = 2, {...} = 1}" },
      { wide, "{" .. table.concat(wide, ", ", 1, 20) .. ", ...}" },
      { setmetatable({}, { __metatable = "locked" }), "{}" },
      { print, "a function" }, { coroutine.create(print), "a thread" },
      { { authorization = "Bearer abc", api_key = "k-123", n = 1, headers = { cookie = "s=1" } },
        '{api_key = "***", authorization = "***", headers = {cookie = "***"}, n = 1}' },
    } do assert.are.equal(case[2], log.text(case[1])) end
    assert.are.equal(4000, #log.text(long))
  end)

  it("is one line, whatever is in it", function()
    assert.are.equal('billhook level=info event=ran a=1 b="x y" c="say \\"no\\" now" d=true',
      log.line("info", "ran", { a = 1, b = "x y", c = "say \"no\"\nnow", d = true }))
  end)

  it("shows what others have raised: bounded, in UTF-8, without raising", function()
    local odd = setmetatable({}, { __tostring = function() error "no" end })
    for _, case in ipairs {
      { "caf\xc3\xa9", "caf\xc3\xa9" }, { "caf\xe9", "caf?" }, { "\xc3", "?" },
      { "\xed\xa0\x80", "???" }, { "\xc0\x80", "??" }, { "\xf4\x90\x80\x80", "????" },
      { "\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80" },
      { "\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac", 6 },
      { "\xe2\x82\xac", "\xe2\x82\xac", 3 }, { "abc", "ab", 2 }, { "\xa9\xa9\xa9", "??", 2 },
      { 12, "12" }, { false, "false" },
      { odd, "a table that cannot be shown" },
    } do assert.are.equal(case[2], log.text(case[1], case[3])) end
    assert.are.equal(4000, #log.text(("x"):rep(1e6)))
    assert.are.equal(4000, #log.text(errors.new { kind = "store", message = ("x"):rep(1e6) }))
  end)
end)

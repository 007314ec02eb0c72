-- app_spec.lua: what is taken and what is refused, and with which answer.

local billhook = require "billhook"
local desk = require "spec.support.inbox"

local d
before_each(function() d = desk.new() end)

local function stored() return assert(assert(d.app:open()):deliveries { limit = 1000 }) end

-- ids of an account's deliveries, oldest first
local function ids(account)
  local out = {}
  for i, one in ipairs(d.app:open():deliveries { account = account, after = 0 }) do
    out[i] = one.id
  end
  return out
end

describe("app:receive", function()
  it("takes what is authentic, once", function()
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
    for _, delivery in ipairs(stored()) do assert.are.equal(2, delivery.seen) end
  end)

  it("keeps apart accounts whose vendor uses the same ids", function()
    d:school()
    d:school({}, "class")
    assert.are.equal(2, #stored())
  end)

  it("keeps apart what its proof does not cover: true news is stored, whoever was first", function()
    -- of an account that can read back: the invoice and the type
    d:school({ invoice = 99 }, "class")
    d:school({ invoice = 16 }, "class")
    d:school({ invoice = 16, type = "INVOICE_DELETED" }, "class")
    d:school({ invoice = 16, data = '{"id":16,"amount":1}' }, "class") -- it is looked up anyway
    assert.are.equal(3, #ids "class")
    -- of another, and of what is about no invoice, the data too
    d:school { data = '{"id":16,"amount":1}' }
    d:school { data = '{"id":16,"amount":2}' }
    assert.are.equal(2, #ids "school")
    d:school({ type = "STUDENT_CREATED", data = '{"id":3,"name":"false"}' }, "class")
    d:school({ type = "STUDENT_CREATED", data = '{"id":3,"name":"true"}' }, "class")
    assert.are.equal(5, #ids "class")
    -- Betterez's proof covers everything
    d:tickets()
    d:tickets { data = '{"_id":"616d7cf38fedff37e4492161","number":"8"}' }
    assert.are.equal(1, #ids "tickets")
  end)

  it("knows what each vendor says", function()
    d:school { id = 1, type = "PAYMENT_CREATED" }
    d:school { id = 2, type = "SOMETHING_NEW" }
    d:tickets { id = 3, event = "invoice_providers.updated", data = '{"_id":"p"}' }
    d:apply(desk.item(4, "Offer was edited: ?"))
    local types = {}
    for _, delivery in ipairs(stored()) do types[delivery.native] = delivery.type end
    assert.are.same({
      PAYMENT_CREATED = "payment.created", SOMETHING_NEW = "something.new",
      ["invoice_providers.updated"] = "invoice_provider.updated",
      ["Offer was edited: ?"] = "offer.edited",
    }, types)
  end)

  it("takes a list of journal items: the good ones, and the bad as dead letters", function()
    local body = ('{"1":%s,"2":7,"3":%s}'):format(desk.item(1), desk.item(3))
    assert.are.equal(200, (d:apply(body)))
    assert.are.equal(3, #stored())
    d:work()
    assert.are.same({ "done", "dead", "done" }, d:deliveries "apply")
    assert.are.equal(200, (d:apply(body)))
    assert.are.equal(3, #stored())
  end)

  it("has which secret matched in the delivery, the log and a counter", function()
    d = desk.new { clients = { tickets = { webhook = {
      secret = { "an older one", desk.SECRET } } } } }
    d:tickets()
    assert.are.equal(2, stored()[1].secret)
    assert.are.equal(2, d:logged("admitted")[1].fields.secret)
    assert.is_truthy(require("billhook.app.metrics").text(d.app)
      :find('billhook_secrets_total{secret="2",account="tickets"} 1', 1, true))
  end)

  it("stores no credential", function()
    d:listen()
    d:school()
    d:tickets { id = 2, event = "invoice_providers.created", data = '{"_id":"p","params":{'
      .. '"signerKey":"s-e-c-r-e-t","key":"s-e-c-r-e-t","password":"s-e-c-r-e-t","name":"kept"}}' }
    d:tickets { id = 3, data = '{"_id":"q","apiKey":"s-e-c-r-e-t","key":"kept"}' }
    d:tickets { id = 4, event = "INVOICE_PROVIDERS.created", data = '{"_id":"r","params":{'
      .. '"signer_key":"s-e-c-r-e-t","KEY":"s-e-c-r-e-t","Access-Token":"s-e-c-r-e-t"}}' }
    d:tickets { id = 5, data = '{"_id":"s","APIKEY":"s-e-c-r-e-t","x":{"api_key":"s-e-c-r-e-t",'
      .. '"Authorization":"s-e-c-r-e-t"}}' }
    d:tickets { id = 6, data = '{"_id":"t","a\\u0070iKey":"s-e-c-r-e-t"}' }
    d:work()
    local text = {}
    for _, delivery in ipairs(stored()) do text[#text + 1] = delivery.body end
    for _, event in ipairs(d.app.store:events {}) do
      text[#text + 1] = (event.data or "") .. (event.claims or "")
    end
    for _, invoice in ipairs(d.app.store:invoices {}) do text[#text + 1] = invoice.data or "" end
    text = table.concat(text, "\n")
    assert.is_falsy(text:find("s-e-c-r-e-t", 1, true))
    assert.is_truthy(text:find('"signature":"***"', 1, true))
    assert.is_truthy(text:find('"name":"kept"', 1, true))
    assert.is_truthy(text:find('"key":"kept"', 1, true))
  end)

  it("stores nothing of a provider's parameters, wherever they stand and however they are spelt",
    function()
      local long, deep = ("-"):rep(300), 40
      for i, data in ipairs { '{"params":{"x":"S3"}}', '{"params":{"a":{"b":[["S3"]]}}}',
        '{"params":["S3"]}', '{"params":"S3"}', '{"params":[{"name":"signerKey","value":"S3"}]}',
        '{"params":[{"value":"S3","name":"x"}]}', '{"params":[{"n":"x","v":"S3"}]}',
        '{"params":[["signerKey","S3"]]}', '{"PARAMS":{"x":"S3"}}', '{"p\\u0061rams":{"x":"S3"}}',
        '{"providerParams":{"x":"S3"}}', '{"parameters":{"x":"S3"}}', '{"param":{"x":"S3"}}',
        '{"settings":{"x":"S3"}}', '{"params":{},"params":{"x":"S3"}}',
        '{"params":{"x":"S3"},"params":{}}', '{"params":{"name":{"x":"S3"}}}',
        '{"params":{"name":["S3"]}}', '{"providers":[{"params":{"x":"S3"}}]}',
        '{"list":[{"name":"signerKey","value":"S3"}]}',
        '{"list":[{"value":"S3","name":"signer_key"}]}',
        '{"list":[{"key":"api-key","values":["S3"]}]}',
        '{"list":[{"name":"\\u0073igner\\u004bey","value":{"x":"S3"}}]}',
        '{"k\\u0065y":{"a":"S3"}}', '{"certificatePem":"S3"}', '{"credentials":{"user":"S3"}}',
        -- names that are too long to be looked at
        '{"' .. long .. 'key":"S3"}', '{"' .. long .. 'params":{"x":"S3"}}',
        '{"list":[{"name":"' .. long .. 'signerKey","value":"S3"}]}',
        -- texts that are JSON, or may be
        '"{\\"params\\":{\\"x\\":\\"S3\\"}}"', '"H4sIS3AAAA=="', '{"x":" [\\"S3\\"]"}',
        '{"x":"\\u007b\\"k\\":\\"S3\\"}"}',
        -- what is no JSON
        '{"params":{"x":"S3"}', '{"params" {"x":"S3"}}', '{"a":1 "params":{"x":"S3"}}',
        '{"a" 1, "par\\u0061ms":{"x":"S3"}}', '{"a" 1, "list":[{"value":"S3","name":"key"}]}',
        '{"params":{"x":' .. ("["):rep(deep * 50) .. '"S3"' .. ("]"):rep(deep * 50) .. "}}",
        '{"params":{"x":"a\\ud83dS3"}}', '{"params":{"x\\ud83d":"S3"}}' } do
        assert.are.equal(200, (d:tickets { id = i, event = "invoice_providers.updated",
          data = data }))
        local body = d.app.store:deliveries { account = "tickets", limit = 1 }[1].body
        assert.is_falsy(body:find("S3", 1, true), data .. " is kept as " .. body)
      end
      for i, value in ipairs { "4242", "-4.242e7", "true", "false" } do
        d:tickets { id = 100 + i, event = "invoice_providers.created",
          data = '{"params":{"x":' .. value .. ',"type":"t","l":[' .. value .. "]}}" }
        local body = d.app.store:deliveries { account = "tickets", limit = 1 }[1].body
        assert.is_truthy(body:find('{"params":{"x":"***","type":"t","l":["***"]}}', 1, true), body)
      end
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
      refused(415, "unsupported media type", "apply",
        authorized { ["Content-Encoding"] = "gzip" }, desk.item(1))
    end)

    it("a body over its limit, unread", function()
      refused(413, "body too large", "school", JSON, ("x"):rep(1048577))
      refused(413, "body too large", "apply", JSON, ("x"):rep(8388609))
      d = desk.new { accounts = { apply = billhook.dreamapply { base_url = "https://apply.test",
        webhook = { authorization = desk.AUTHORIZATION, limit = 10 } } } }
      refused(413, "body too large", "apply", authorized(), desk.item(1))
    end)
  end)

  it("takes JSON whatever its headers call it: the proof is over the bytes", function()
    for i, kind in ipairs { "application/json; charset=utf-8", "Application/JSON",
      "application/vnd.dreamapply+json", "text/plain", "application/x-www-form-urlencoded", "",
      { "application/json", "text/plain" } } do
      assert.are.equal(200, (d.app:receive("apply",
        { Authorization = desk.AUTHORIZATION, ["Content-Type"] = kind }, desk.item(i))))
    end
    assert.are.equal(200, (d.app:receive("apply", { Authorization = desk.AUTHORIZATION },
      desk.item(9))))
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
    local lines, levels = {}, {}
    d.app.log = function(level, name, fields)
      levels[name] = level
      lines[#lines + 1] = require("billhook.log").line(level, name, fields)
    end
    d.app:on("*", { name = "bad" }, function() return nil, "ledger is down" end)
    d.app:on("*", { name = "long", budget = 1 }, function() d.now = d.now + 2 end)
    d:school()
    d:school()
    d:apply "no json"
    d.app:receive("school", {}, '{"signature":"' .. desk.SECRET .. '"}')
    d.app:receive("apply", { authorization = "Bearer wrong" }, desk.item(1))
    d.app:receive(desk.SECRET, {}, "")
    d:school({}, "class")
    d:work()
    -- an API that says all it was told
    d.answer = function(request)
      local told = {}
      for name, value in pairs(request.headers) do told[#told + 1] = name .. ": " .. value end
      return { status = 401, headers = { ["content-type"] = "text/plain" },
        body = table.concat(told, "\n") .. request.url }
    end
    d:school({ id = 5 }, "class")
    d.app:poll "apply"
    for _ = 1, 4 do
      d:work()
      d.now = d.now + 86400
    end
    local store = d.app.store
    local admit = store.admit
    store.admit = function() return nil, "disk full" end
    d:school { id = 7 }
    store.admit = admit
    for _, name in ipairs { "admitted", "duplicate", "refused", "failed", "dead", "ran", "overrun",
      "not_stored", "account_paused" } do
      assert.is_truthy(levels[name], name)
    end
    for _, line in ipairs(lines) do
      assert.is_falsy(line:find "[%c]", line)
      assert.is_truthy(line:find "level=%l+ event=[%l_]+ %l+=", line)
      for _, secret in ipairs(secrets) do assert.is_falsy(line:find(secret), line) end
      local name = line:match "event=([%l_]+)"
      if name ~= "refused" and name ~= "purged" and name ~= "account_paused" then
        assert.is_truthy(line:find " id=%l+:[%w%-]+", line)
      end
    end
    for _, secret in ipairs(secrets) do
      assert.is_falsy(require("billhook.app.metrics").text(d.app):find(secret))
    end
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
    for _, name in ipairs { "on", "on_dead", "receive", "work", "tend", "poll",
      "reconcile" } do
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
    raises("billhook.app: 'options' must be a table", 7)
    raises("billhook.app: 'inbox' is missing", { accounts = accounts })
    raises("billhook.app: 'accounts' is missing", { inbox = "memory:" })
    raises("billhook.app: 'inbox' must be \"sqlite:FILE\", \"memory:\" or \"postgresql://",
      { inbox = "mysql:x", accounts = accounts })
    raises("billhook.app: 'inbx' is not known", { inbx = "memory:" })
    raises("billhook.app: 'accounts' must have an account",
      { inbox = "memory:", accounts = {} })
    raises("must have names of letters", { inbox = "memory:", accounts = { ["a:b"] = client } })
    raises("must have names of letters", { inbox = "memory:", accounts = { client } })
    raises("must have names of letters",
      { inbox = "memory:", accounts = { [("x"):rep(65)] = client } })
    raises("has no client under 'school'", { inbox = "memory:", accounts = { school = {} } })
    raises("has no client under 'school'", { inbox = "memory:",
      accounts = { school = { vendor = "dreamclass" } } })
    local function with(name, value)
      return { inbox = "memory:", accounts = accounts, [name] = value }
    end
    raises("billhook.app: 'attempts' must be a whole number", with("attempts", 0))
    raises("billhook.app: 'hold' must be above 0", with("hold", 0))
    raises("billhook.app: 'budget' must be above 0", with("budget", -1))
    raises("billhook.app: 'hold' must be above 0, up to 2592000", with("hold", 2592001))
    raises("billhook.app: 'budget' must be above 0, up to 86400", with("budget", 86401))
    for _, days in ipairs { 0, 36501, 1 / 0 } do
      raises("billhook.app: 'retention' must be days above 0, up to 36500, or false",
        with("retention", days))
    end
    raises("has an unknown field 'foo'", with("backoff", { foo = 1 }))
    raises("must have seconds in 'base'", with("backoff", { base = 0 }))
    raises("billhook.app: 'log' must be a function", with("log", 7))
    for _, days in ipairs { { -1 }, { 0.5 }, { "7" }, { 3651 }, { first = 1 } } do
      raises("billhook.app: 'overdue' must be a list of whole days from 0 to 3650",
        with("overdue", days))
    end
    for _, seconds in ipairs { 0, 86401, true } do
      raises("billhook.app: 'poll_every' must be seconds from 1 to 86400, or false",
        with("poll_every", seconds))
    end
    raises("billhook.app: 'migrate' is not known", with("migrate", true))
  end)
end)

describe("log", function()
  local log = require "billhook.log"

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
  end)
end)

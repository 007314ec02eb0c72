-- The client over real sockets: what a server that writes everything down gets to see, and what
-- becomes of servers that are slow, broken or gone.
local billhook = require "billhook"
local errors = require "billhook.error"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local ports = require "spec.support.port"

local KEY = "wire-key-0123456789"
local T = "616d7cf38fedff37e449215c"

-- Every request's head and body go to a file, as JSON, one a line.
local main = [[
  client_body_buffer_size 1m;
  lua_shared_dict marks 1m;
  init_by_lua_block {
    function record()
      ngx.req.read_body()
      local file = io.open(ngx.config.prefix() .. "seen", "ab")
      file:write(require("cjson").encode { head = ngx.req.raw_header(),
        body = ngx.req.get_body_data(),
        connection = ngx.var.connection }, "\n")
      file:close()
    end
    function wait_for(name, count)
      for _ = 1, 12000 do
        if (ngx.shared.marks:get(name) or 0) >= count then return true end
        ngx.sleep(0.005)
      end
      return false
    end
  }
]]

local locations = [[
  keepalive_timeout 60;
  location / { content_by_lua_block {
    record()
    local method, uri = ngx.req.get_method(), ngx.var.uri
    ngx.header["Content-Type"] = "application/json"
    if method == "POST" and uri:find("/transactions$") then
      ngx.exit(444) -- the connection dies
    elseif method == "POST" then
      ngx.status = 201
      ngx.header["Location"] = "/api/applications/123/invoices/321"
      ngx.header["Content-Length"] = 0
      return ngx.exit(201)
    elseif method == "DELETE" then
      return ngx.exit(204)
    elseif method == "HEAD" then
      ngx.header["X-Count"] = 2
    elseif uri:find("/transactions$") then
      ngx.say "[]"
    elseif uri:find("^/api/v9/applications") or uri == "/api/v9/invoices" then
      ngx.say '{"201":{"id":201},"200":{"id":200,"course":null}}'
    elseif uri == "/btrz/invoices" and ngx.var.arg_page == "1" then
      ngx.say('{"invoices":[{"_id":"a"}],"next":"http://' .. ngx.var.http_host
        .. '/btrz/invoices?page=2","previous":"","count":2}')
    elseif uri == "/btrz/invoices" then
      ngx.say '{"invoices":[{"_id":"b"}],"next":""}'
    elseif uri:find("^/btrz") then
      ngx.say '{"invoice":{"_id":"616d7cf38fedff37e4492161"}}'
    elseif uri:find("fees") then
      ngx.say '[{"id":86}]'
    else
      ngx.say('{"id":' .. uri:match("%d+$") .. ',"currency":"EUR"}')
    end
  } }
  location /redirect { content_by_lua_block {
    record()
    return ngx.redirect("http://127.0.0.1:PORT2/stolen", tonumber(ngx.var.uri:match("%d+")))
  } }
  location /slow { content_by_lua_block { record() ngx.sleep(30) } }
  location /drip { content_by_lua_block {
    ngx.header["Content-Type"] = "application/json"
    for _ = 1, 3000 do ngx.print(" ") ngx.flush(true) ngx.sleep(0.01) end
  } }
  location /half { content_by_lua_block {
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Content-Length"] = 100
    ngx.print('{"1":{"id":1},"2":{"id"')
    ngx.flush(true)
    ngx.exit(444)
  } }
  location /torn { content_by_lua_block {
    if ngx.req.get_method() == "HEAD" then
      ngx.shared.marks:incr("torn", 1, 0)
      ngx.header["X-Count"] = 1
      return
    end
    ngx.header["Content-Length"] = 100
    ngx.print('{"1":{"id":1},"2":{"id"')
    ngx.flush(true)
    wait_for("torn", 1)
    ngx.exit(444)
  } }
  location /html { content_by_lua_block {
    ngx.header["Content-Type"] = "text/html"
    ngx.say "<html><title>Maintenance</title></html>"
  } }
  location /echo { content_by_lua_block {
    ngx.status = 400
    ngx.say(ngx.req.raw_header())
  } }
  location /endless { content_by_lua_block {
    ngx.header["Content-Type"] = "application/json"
    ngx.print("[")
    local piece = ('{"id":1,"text":"' .. ("x"):rep(1000) .. '"},'):rep(64)
    while ngx.print(piece) do ngx.flush(true) end
  } }
  location /gate { content_by_lua_block { -- answers once all of them are there
    ngx.shared.marks:incr("gate", 1, 0)
    if not wait_for("gate", 8) then return ngx.exit(500) end
    ngx.say('{"id":' .. ngx.var.uri:match("%d+$") .. "}")
  } }
  location /serial { content_by_lua_block { -- how many were inside at once, at most
    local marks = ngx.shared.marks
    if ngx.req.get_method() == "GET" then return ngx.say(marks:get("most") and "[]" or "{}") end
    local inside = marks:incr("inside", 1, 0)
    marks:set("most", math.max(inside, marks:get("most") or 0))
    ngx.sleep(0.02)
    marks:incr("inside", -1)
    ngx.status = 201
    ngx.header["Location"] = "/api/invoices/7/transactions/" .. marks:incr("id", 1, 0)
    ngx.header["X-Most"] = marks:get("most")
    ngx.exit(201)
  } }
  location /early { content_by_lua_block { -- the rest comes after the first was seen
    ngx.header["Content-Type"] = "application/json"
    if ngx.req.get_method() == "HEAD" then
      ngx.shared.marks:incr("early", 1, 0)
      ngx.header["X-Count"] = 1
      return
    end
    ngx.print '{"1":{"id":1},'
    ngx.flush(true)
    if not wait_for("early", 1) then return ngx.exit(444) end
    ngx.say '"2":{"id":2}}'
  } }
]]

local other = [[
  server { listen 127.0.0.1:PORT2; location / { content_by_lua_block { record() ngx.say "{}" } } }
]]

describe("over real sockets,", function()
  local server

  setup(function() server = nginx.start { http = main .. other, server = locations } end)
  teardown(function() server:stop() end)
  before_each(function() os.remove(server.prefix .. "/seen") end)

  -- what was seen: { line = "GET /x HTTP/1.1", headers = name as sent -> value, body, connection }
  local function seen()
    local requests = {}
    local file = io.open(server.prefix .. "/seen", "rb")
    for text in file and file:lines() or function() end do
      local entry = assert(json.decode(text))
      local line, rest = entry.head:match("^([^\r\n]*)\r?\n(.*)$")
      local headers = {}
      for name, value in rest:gmatch("([^:\r\n]+): ([^\r\n]*)") do headers[name] = value end
      requests[#requests + 1] = { line = line, headers = headers, body = entry.body,
        connection = entry.connection }
    end
    if file then file:close() end
    return requests
  end

  local function apply(path, options)
    local all = { base_url = server:url(path or ""), api_key = KEY, attempts = 1, quota = false }
    for name, value in pairs(options or {}) do all[name] = value end
    return billhook.dreamapply(all)
  end

  describe("the documented requests:", function()
    it("DreamApply's invoice by id", function()
      assert.same({ id = 123, currency = "EUR" }, assert(apply().invoices:get(123)))
      local one = seen()[1]
      assert.equal("GET /api/v9/invoices/123 HTTP/1.1", one.line)
      assert.equal('DREAM apikey="' .. KEY .. '"', one.headers.Authorization)
      assert.equal("application/json", one.headers.Accept)
      assert.is_nil(one.body)
      assert.is_nil(one.headers["Content-Type"])
      assert.is_true(apply().invoices:delete(123))
      assert.equal("DELETE /api/v9/invoices/123 HTTP/1.1", seen()[2].line)
      assert.equal(2, #seen())
    end)

    it("DreamApply's invoices of an application, and their number", function()
      local list = assert(apply().invoices:list { application = 123 })
      assert.same({ { id = 200 }, { id = 201 } }, list)
      assert.equal(2, assert(apply().invoices:count { byCollected = true }))
      assert.equal("GET /api/v9/applications/123/invoices HTTP/1.1", seen()[1].line)
      assert.equal("HEAD /api/v9/invoices?byCollected=true HTTP/1.1", seen()[2].line)
    end)

    it("DreamApply's new invoice, as the document has it", function()
      local function item(name)
        return { item = name, price = billhook.decimal "25.00", qty = 1 }
      end
      local result = assert(apply().invoices:create(123, {
        invoice_class_ID = 1, currency = "EUR",
        items = { item "Airport pickup fee", item "City excursion fee" },
        deadline = "2026-09-01", issuer_institution_ID = 1, course_ID = 20, reminder = "Off",
        smallprint = "This invoice has been issued electronically and is valid without a signature",
        payer = { name = "John Smith", email = "john.smith@email.com" },
      }, { settle_timeout = 0 }))
      assert.same({ id = 321, location = "/api/applications/123/invoices/321", how = "created" },
        result)
      local one = seen()[1]
      assert.equal(1, #seen())
      assert.equal("POST /api/v9/applications/123/invoices HTTP/1.1", one.line)
      assert.equal("application/json", one.headers["Content-Type"])
      local function sent(name)
        return { item = name, price = "25.00",
          qty = "1" } -- and unit: null, which decodes as absent
      end
      assert.same({
        invoice_class_ID = 1, currency = "EUR",
        items = { sent "Airport pickup fee", sent "City excursion fee" },
        deadline = "2026-09-01", issuer_institution_ID = 1, course_ID = 20, reminder = "Off",
        smallprint = "This invoice has been issued electronically and is valid without a signature",
        payer = { name = "John Smith", email = "john.smith@email.com" },
      }, json.decode(one.body))
      assert.is_truthy(one.body:find('"unit":null', 1, true))
    end)

    it("DreamClass's, with their headers in exactly that case", function()
      local class = billhook.dreamclass { base_url = server:url "/dreamclassapi/v1", api_key = KEY,
        tenant = "my-school", school_code = "S1" }
      assert.equal(16, assert(class.invoices:get(16)).id)
      assert.equal(86, assert(class.fees:list(5))[1].id)
      local one = seen()[1]
      assert.matches("^GET /dreamclassapi/v1/financial/invoices/16 ", one.line)
      assert.equal("my-school", one.headers.tenant)
      assert.equal("S1", one.headers.schoolCode)
      assert.equal(KEY, one.headers.Authorization)
    end)

    it("Betterez's, and the pages of a list", function()
      local btrz = billhook.betterez { base_url = server:url "/btrz", api_key = KEY,
        token = "jwt-token" }
      assert.equal("616d7cf38fedff37e4492161",
        assert(btrz.invoices:get "616d7cf38fedff37e4492161")._id)
      assert.equal(2, #assert(btrz.invoices:list { transactionId = T }))
      local requests = seen()
      assert.equal("GET /btrz/invoices/616d7cf38fedff37e4492161 HTTP/1.1", requests[1].line)
      assert.equal(KEY, requests[1].headers["x-api-key"])
      assert.equal("Bearer jwt-token", requests[1].headers.authorization)
      assert.equal("GET /btrz/invoices?transactionId=" .. T .. "&page=1 HTTP/1.1", requests[2].line)
      assert.equal("GET /btrz/invoices?page=2 HTTP/1.1", requests[3].line)
    end)
  end)

  it("no redirect is followed, and no key leaves its origin", function()
    for _, status in ipairs { 301, 302, 307, 308 } do
      local none, err = apply("/redirect/" .. status).invoices:get(7)
      assert.is_nil(none)
      assert.equal("server", err.kind)
      assert.equal(status, err.status)
      none, err = apply("/redirect/" .. status).invoices:create(7,
        { currency = "EUR", items = { { item = "A", price = 1, qty = 1 } } },
          { settle_timeout = 0 })
      assert.is_nil(none)
      assert.equal("unknown_outcome", err.kind)
    end
    local requests = seen()
    assert.equal(8, #requests)
    for _, one in ipairs(requests) do assert.is_nil(one.line:find "stolen") end
  end)

  it("a create whose connection dies is seen once", function()
    local client = apply("", { attempts = 3 })
    assert(client.invoices:get(123))
    assert(client.invoices:get(123))
    local none, err = client.transactions:create(7, { amount = "17.00", currency = "EUR" },
      { settle_timeout = 0.2 })
    assert.is_nil(none)
    assert.equal("unknown_outcome", err.kind)
    assert.equal("network", err.cause.kind)
    local posts = 0
    for _, one in ipairs(seen()) do
      if one.line:find "^POST" then posts = posts + 1 end
    end
    assert.equal(1, posts)
    assert.equal(seen()[1].connection, seen()[2].connection) -- reads keep theirs
  end)

  it("an answer that is late is an error within the deadline", function()
    local now = require("billhook.core").text.monotonic
    for _, path in ipairs { "/slow", "/drip" } do
      local began = now()
      local none, err = apply(path, { attempts = 3 }).invoices:get(7, { timeout = 0.3 })
      assert.is_nil(none)
      assert.equal("timeout", err.kind, path)
      assert.is_true(now() - began < 20)
    end
  end)

  it("an answer that is broken is one of the right kind", function()
    for path, kind in pairs { ["/half"] = "network", ["/html"] = "decode" } do
      local none, err = apply(path).invoices:list()
      assert.is_nil(none)
      assert.is_true(errors.is(err))
      assert.equal(kind, err.kind, path)
    end
    local none, err = apply("/html").invoices:get(1)
    assert.is_nil(none)
    assert.equal('the server answered with an HTML page "Maintenance" where JSON was expected',
      err.message)
  end)

  it("a stream without end has one for a list", function()
    local none, err = apply("/endless").invoices:list({}, { limit = 1000000 })
    assert.is_nil(none)
    assert.equal("too_large", err.kind)
    assert.equal("the list is larger than the limit of 1000000 bytes: walk it with each",
      err.message)
  end)

  it("nobody there is a network error, and unsent", function()
    local port = ports.free()
    local client = billhook.dreamapply { base_url = ("http://127.0.0.1:%d"):format(port),
      api_key = KEY,
      attempts = 2 }
    local none, err = client.invoices:get(7)
    assert.is_nil(none)
    assert.equal("network", err.kind)
    assert.equal(2, err.attempts)
    none, err = client.transactions:create(7, { amount = "17.00", currency = "EUR" },
      { settle_timeout = 0 })
    assert.is_nil(none)
    assert.equal("network", err.kind)
    assert.equal(2, err.attempts) -- it was not processed, so it was sent again
  end)

  it("a server that echoes the key gets it into no error", function()
    local none, err = apply("/echo").invoices:get(7)
    assert.is_nil(none)
    assert.is_truthy(err.body:find("***", 1, true))
    assert.is_nil(tostring(err):find(KEY, 1, true))
    assert.is_nil((err.message .. err.body):find(KEY, 1, true))
  end)

  it("each gives the first element before the server has sent the last", function()
    local client, ids = apply "/early", {}
    for invoice in client.invoices:each() do
      ids[#ids + 1] = invoice.id
      if invoice.id == 1 then assert(client.invoices:count()) end
    end
    assert.same({ 1, 2 }, ids)
  end)

  it("each can be left, and raises where it is torn", function()
    local client = apply "/endless"
    local n = 0
    local walk = client.invoices:each()
    for invoice in walk do
      assert.equal(1, invoice.id)
      n = n + 1
      if n == 100 then break end
    end
    walk:close()
    assert.equal(100, n)
    client = apply "/torn"
    walk = client.invoices:each()
    assert.equal(1, walk().id)
    assert(client.invoices:count())
    local fine, err = pcall(walk)
    assert.is_false(fine)
    assert.equal("network", err.kind)
  end)

  it("creates that could be mistaken for each other take turns", function()
    local most = 0
    local client = apply("/serial")
    local transport = require("billhook.transport").pick()
    local request = transport.request
    transport.request = function(...)
      local response, failure = request(...)
      most = math.max(most, tonumber(response and response.headers["x-most"]) or 0)
      return response, failure
    end
    local results, errs = billhook.map({ 1, 2, 3, 4 }, function()
      return client.transactions:create(7, { amount = "17.00", currency = "EUR" })
    end)
    transport.request = nil
    assert.same({}, errs)
    assert.equal(1, most)
    local seen_ids = {}
    for _, result in ipairs(results) do seen_ids[#seen_ids + 1] = result.id end
    table.sort(seen_ids)
    assert.same({ 1, 2, 3, 4 }, seen_ids)
  end)

  it("map's calls are under way at the same time", function()
    local client = apply "/gate"
    local results, errs = billhook.map({ 11, 12, 13, 14, 15, 16, 17, 18 }, function(id)
      return client.invoices:get(id)
    end, { concurrency = 8 })
    assert.same({}, errs)
    for i, invoice in ipairs(results) do assert.equal(10 + i, invoice.id) end
    assert.equal(8, results.n)
  end)
end)

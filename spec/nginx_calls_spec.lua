-- Calls of an app inside nginx: its quota and its intents go through the same inbox as everybody's,
-- in worker threads, and what else nginx does goes on.

local fault_server = require "spec.support.fault_server"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local remote = require "spec.support.remote"
local sqlite = require "billhook.sqlite"

local http = [[
  init_by_lua_block { package.path = package.path .. ";%s/?.lua" }
  init_worker_by_lua_block {
    local billhook = require "billhook"
    app = billhook.app { inbox = "sqlite:$PREFIX/inbox.db", log = function() end, accounts = {
      school = billhook.dreamapply { base_url = "%s", api_key = "key of a school",
        timeout = %d, settle_timeout = 2, transport = %s,
        webhook = { authorization = "Bearer h" } } } }
    if %s then require("billhook.openresty").start(app, { work = false }) end
  }
]]

local server = [[
  location /create { content_by_lua_block {
    local made, err = app.accounts.school.invoices:create(5, { currency = "EUR",
      items = { { item = "Fee", price = "25.00", qty = 1 } } },
      { timeout = tonumber(ngx.var.arg_timeout) })
    ngx.print(made and made.how .. " " .. made.id or tostring(err))
  } }
  location /left { content_by_lua_block { ngx.print(app.accounts.school:quota().left) } }
  location /list { content_by_lua_block {
    local list, err = app.accounts.school.invoices:list()
    ngx.print(list and #list or tostring(err))
  } }
  location /hook { content_by_lua_block {
    require("billhook.openresty").receive(app, "school")
  } }
  location /logged {
    content_by_lua_block { ngx.print("") }
    log_by_lua_block {
      local invoices = app.accounts.school.invoices
      local _, one = invoices:create(5, { currency = "EUR",
        items = { { item = "Fee", price = "25.00", qty = 1 } } })
      local _, two = pcall(invoices:each())
      seen = tostring(one) .. "\n" .. tostring(two) .. "\n"
    }
  }
  location /seen { content_by_lua_block { ngx.print(seen or "") } }
  location /quick { content_by_lua_block { ngx.print("quick") } }
]]

describe("a call inside nginx", function()
  local faults, world, front

  local function start(started, given, options)
    options = options or {}
    faults = fault_server.start()
    world = faults:world(given)
    front = nginx.start { workers = options.workers or 2, server = server,
      http = http:format(remote.resty_http() or remote.STANDIN, world.url, options.timeout or 3,
        options.transport and ("%q"):format(options.transport) or "nil", tostring(started)) }
  end

  local function sql(text)
    local db = assert(sqlite.open(front.prefix .. "/inbox.db"))
    local rows = assert(db:query(text))
    db:close()
    return rows
  end

  local function get(path)
    local _, _, body = front:request { path = path }
    return body
  end

  after_each(function()
    if front then front:stop() end
    if faults then faults:stop() end
    front, faults = nil, nil
  end)

  it("is written down in the inbox and counted there", function()
    start(true, { fates = { POST = { { at = "request", how = "reset" } } } })
    assert.equal("found 1", get "/create")
    assert.equal("created 2", get "/create")
    assert.equal(2, #sql "SELECT * FROM texts WHERE name LIKE 'claim %'")
    assert.equal(0, #sql "SELECT * FROM texts WHERE name LIKE 'calls %'")
    for _ = 1, 4 do assert.equal("174", get "/left") end -- 3 + 1 looks and 2 creates
  end)

  it("does the same where nobody has started the app", function()
    start(false)
    assert.equal("created 1", get "/create")
    assert.equal(1, #sql "SELECT * FROM texts WHERE name LIKE 'claim %'")
  end)

  local function deliver(n)
    local body = json.encode { id = ("delivery-%d"):format(n), type = "invoice", event = "created",
      inserted = "2024-01-01T00:00:00+00:00" }
    return (front:request { method = "POST", path = "/hook", body = body,
      headers = { ["Content-Type"] = "application/json", Authorization = "Bearer h" } })
  end

  -- 32 slow calls, more than there are VMs, and a delivery for each
  local function many(transport)
    start(true, { latency = 1 }, { workers = 1, timeout = 30, transport = transport })
    local calls = {}
    for i = 1, 32 do calls[i] = assert(nginx.send(front.port, { path = "/list" })) end
    nginx.wait("the first calls", function() return (world:state().requests.GET or 0) >= 4 end)
    for i = 1, 32 do
      assert.equal(200, deliver(i))
      assert.equal("quick", get "/quick")
    end
    for i = 1, 32 do assert.equal("0", (select(3, nginx.answer(calls[i])))) end
    assert.equal(32, world:state().requests.GET)
    assert.equal(32, sql "SELECT count(*) AS n FROM deliveries"[1].n)
    assert.equal(148, tonumber(get "/left"))
  end

  it("is made when its turn comes, and holds up neither deliveries nor others", function()
    many "worker"
  end)

  it("does the same with the resty transport, all at once", function() many "resty" end)
  if not remote.resty_http() then
    io.stderr:write("note: spec/nginx_calls_spec.lua did not run with lua-resty-http, which is not",
      " installed\n")
  end

  -- The log phase comes after the answer: what happened there is asked for afterwards.
  local function cannot(transport)
    start(true, nil, { workers = 1, transport = transport })
    get "/logged"
    local said = "network: nginx cannot wait for an answer in log (dreamapply invoices."
    nginx.wait("the log phase", function() return get "/seen" ~= "" end)
    assert.equal(said .. "create)\n" .. said .. "list)\n", get "/seen")
    assert.equal("created 1", get "/create") -- nothing holds its place
    assert.equal(178, tonumber(get "/left")) -- the look and the create
  end

  it("is an error where nginx cannot wait, and takes nothing", function()
    cannot "worker"
  end)

  it("is so with the resty transport", function() cannot "resty" end)

  -- the first one is under way, and nobody knows yet what becomes of it
  local function begun(timeout)
    start(true, { fates = { POST = { { at = "request", how = "stall", commit = 1 } } } })
    local first = assert(nginx.send(front.port, { path = "/create?timeout=" .. timeout }))
    nginx.wait("the create", function() return world:state().requests.POST == 1 end)
    return first
  end

  it("waits for another worker's without holding up nginx", function()
    local first = begun(3)
    local second = assert(nginx.send(front.port, { path = "/create?timeout=60" }))
    for _ = 1, 20 do assert.equal("quick", get "/quick") end
    assert.equal("found 1", (select(3, nginx.answer(first))))
    assert.equal("created 2", (select(3, nginx.answer(second))))
    assert.equal(2, world:state().requests.POST)
  end)

  it("says for whom it has waited, and sends nothing, where that takes too long", function()
    begun(60)
    assert.matches("^timeout: another call of the same place did not end before the deadline: "
      .. "invoices%.create 5, begun %d+ s ago, may hold it for %d+ s more, and for %d+ s if its "
      .. "handler is gone: nothing was sent ", get "/create?timeout=1")
    assert.equal(1, world:state().requests.POST)
  end)
end)

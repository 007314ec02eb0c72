-- Calls of an app inside nginx: its quota and its intents go through the same inbox as everybody's,
-- in worker threads.

local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local sqlite = require "billhook.sqlite"

local http = [[
  init_worker_by_lua_block {
    local billhook = require "billhook"
    app = billhook.app { inbox = "sqlite:$PREFIX/inbox.db", log = function() end, accounts = {
      school = billhook.dreamapply { base_url = "%s", api_key = "key of a school", timeout = 3,
        settle_timeout = 2 } } }
    if %s then require("billhook.openresty").start(app, { work = false }) end
  }
]]

local server = [[
  location /create { content_by_lua_block {
    local made, err = app.accounts.school.invoices:create(5, { currency = "EUR",
      items = { { item = "Fee", price = "25.00", qty = 1 } } })
    ngx.print(made and made.how .. " " .. made.id or tostring(err))
  } }
  location /left { content_by_lua_block { ngx.print(app.accounts.school:quota().left) } }
  location /quick { content_by_lua_block { ngx.print("quick") } }
]]

describe("a call inside nginx", function()
  local faults, world, front

  local function start(started, given)
    faults = fault_server.start()
    world = faults:world(given)
    front = nginx.start { workers = 2, server = server,
      http = http:format(world.url, tostring(started)) }
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
    assert.equal(2, #sql "SELECT * FROM claims")
    assert.equal(0, #sql "SELECT * FROM intents")
    for _ = 1, 4 do assert.equal("174", get "/left") end -- 3 + 1 looks and 2 creates
  end)

  it("does the same where nobody has started the app", function()
    start(false)
    assert.equal("created 1", get "/create")
    assert.equal(1, #sql "SELECT * FROM claims")
  end)

  it("waits for another process's without holding up nginx", function()
    start(true, { fates = { POST = { { at = "request", how = "stall", commit = 1 } } } })
    local first = assert(nginx.send(front.port, { path = "/create" }))
    nginx.wait("the create", function() return world:state().requests.POST == 1 end)
    local second = assert(nginx.send(front.port, { path = "/create" }))
    for _ = 1, 20 do assert.equal("quick", get "/quick") end
    local _, _, one = nginx.answer(first)
    local _, _, two = nginx.answer(second)
    -- the second one waits as long as its own deadline, then it may go, or has lost its time
    assert.equal("found 1", one)
    assert.is_truthy(two == "created 2" or two:find("did not end before the deadline"), two)
  end)
end)

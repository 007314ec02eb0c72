-- Calls of an nginx without an app that must not happen twice: its workers know of each other's,
-- through the shared dictionary.

local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"

local http = [[
  lua_shared_dict billhook 1m;
  lua_shared_dict marks 1m;
  init_worker_by_lua_block {
    local billhook = require "billhook"
    client = billhook.dreamapply { base_url = "%s", api_key = "the key of this nginx",
      settle_timeout = 1 }
    claims = require("billhook.once.pending").new(require("billhook.shared.dict").store(),
      "account", "dict")
    function create(timeout)
      local made, err = client.invoices:create(5, { currency = "EUR",
        items = { { item = "Fee", price = "25.00", qty = 1 } } }, { timeout = timeout })
      ngx.print(made and made.how .. " " .. made.id or err.kind .. " " .. err.message)
      return err
    end
  }
]]

-- The worker of /first and /settle is the first one; another than that answers /other, for while
-- the first one is held up nobody else can.
local server = [[
  location /first { content_by_lua_block {
    ngx.shared.marks:set("first", ngx.worker.pid())
    create(20)
  } }
  location /settle { content_by_lua_block {
    ngx.shared.marks:set("first", ngx.worker.pid())
    local err = create(2)
    while not ngx.shared.marks:get "go" do ngx.sleep(0.01) end
    ngx.print(" ", tostring(client:settle(err.intent)))
  } }
  location /other { content_by_lua_block {
    if ngx.worker.pid() == ngx.shared.marks:get "first" then
      os.execute "sleep 0.05"
      return ngx.print "same"
    elseif not ngx.shared.marks:add("other", true) then
      return ngx.print "same" -- one is enough
    end
    create(tonumber(ngx.var.arg_timeout))
  } }
  location /named { content_by_lua_block {
    local made, err = client.invoices:create(5, { currency = "EUR",
      items = { { item = "Fee", price = ngx.var.arg_price, qty = 1 } } },
      { reference = { field = "smallprint", value = "order-A" } })
    ngx.print(made and made.how .. " " .. made.id or err.kind)
  } }
  location /go { content_by_lua_block { ngx.print(ngx.shared.marks:set("go", true)) } }
  location /claims { content_by_lua_block {
    local got = { loadstring("return " .. ngx.unescape_uri(ngx.var.arg_call))() }
    for i = 1, #got do got[i] = tostring(got[i]) end
    ngx.print(table.concat(got, " "))
  } }
  location /fill { content_by_lua_block {
    if not ngx.var.arg_beside then
      ngx.shared.billhook:flush_all()
      ngx.shared.billhook:flush_expired()
    end
    for _, size in ipairs { 500, 50, ngx.var.arg_beside and 50 or 1 } do
      for i = 1, 100000 do
        if not ngx.shared.billhook:safe_add(size .. "x" .. i, ("x"):rep(size),
          tonumber(ngx.var.arg_seconds)) then break end
      end
    end
    ngx.print("ok")
  } }
  location /evict { content_by_lua_block {
    local n = tonumber(ngx.var.arg_n)
    for i = 1, n do ngx.shared.billhook:set("e" .. i, ("x"):rep(400)) end
    for i = n - 99, n do ngx.shared.billhook:delete("e" .. i) end -- there is room again
    ngx.print("ok")
  } }
]]

local EVICTED = "lua_shared_dict billhook: other code that writes into it has evicted texts from"
  .. " it, so nothing is sent for another 3600 s: give that code a dictionary of its own"

describe("the workers of an nginx without an app", function()
  local faults, world, front

  local function start(given)
    faults = fault_server.start()
    world = faults:world(given)
    front = nginx.start { workers = 4, server = server, http = http:format(world.url) }
  end

  local function get(path)
    local _, _, body = front:request { path = path }
    return body
  end

  -- what any of the workers gives
  local function call(text)
    return get("/claims?call=" .. text:gsub("[^%w]", function(c)
      return ("%%%02X"):format(c:byte())
    end))
  end

  after_each(function()
    if front then front:stop() end
    if faults then faults:stop() end
    front, faults = nil, nil
  end)

  -- what another worker than the first gives
  local function other(timeout)
    return nginx.wait("another worker", function()
      local all = {}
      for n = 1, 8 do
        all[n] = assert(nginx.send(front.port, { path = "/other?timeout=" .. timeout }))
      end
      local said
      for n = 1, 8 do
        local _, _, body = nginx.answer(all[n])
        said = body ~= "same" and body or said
      end
      return said
    end)
  end

  it("do not send what could be mistaken for another's that is under way", function()
    start { fates = { POST = { { at = "request", how = "stall", commit = false } } } }
    assert(nginx.send(front.port, { path = "/first" }))
    nginx.wait("the create", function() return world:state().requests.POST == 1 end)
    assert.matches("^timeout another call of the same place did not end before the deadline: "
      .. "invoices%.create 5, begun %d+ s ago, may hold it for 2%d s more, and for %d s if its "
      .. "handler is gone: nothing was sent$", other(0.3))
    assert.equal(1, world:state().requests.POST)
  end)

  it("know whose an invoice is", function()
    start { fates = { POST = { { at = "request", how = "reset", commit = false } } } }
    local lost = assert(nginx.send(front.port, { path = "/settle" }))
    nginx.wait("the lost one", function() return world:state().requests.POST == 1 end)
    assert.matches("^created %d+$", other(20))
    get "/go"
    local _, _, body = nginx.answer(lost)
    assert.matches("^unknown_outcome .* nil$", body)
  end)

  it("make one invoice of a reference, whoever asks for it at once", function()
    start {}
    local asked, count = {}, {}
    for n = 1, 9 do
      asked[n] = assert(nginx.send(front.port, { path = "/named?price=" .. (n % 3 + 25) }))
    end
    for n = 1, 9 do
      local _, _, body = nginx.answer(asked[n])
      count[body] = (count[body] or 0) + 1
    end
    assert.same({ ["created 1"] = 1, ["found 1"] = 2, conflict = 6 }, count)
    assert.equal(1, world:state().requests.POST)
  end)

  it("keep the same book", function()
    start {}
    local token = call 'claims:enter("p", 30)'
    assert.equal(16, #token)
    for _ = 1, 8 do assert.equal("false", call '(claims:enter("p", 30))') end
    assert.equal("false", call 'claims:begin({ id = "i", place = "p" }, "other", 60)')
    assert.equal("true", call(('claims:begin({ id = "i", place = "p" }, "%s", 60)'):format(token)))
    assert.equal("true", call 'claims:leave("p", "other")')
    assert.equal("false", call '(claims:enter("p", 30))')
    assert.equal("true", call(('claims:leave("p", "%s")'):format(token)))
    assert.equal("1 i", call('#claims:known("p", {}).open, '
      .. 'claims:known("p", {}).open[1].intent.id'))
    assert.equal("true", call 'claims:close({ id = "i", place = "p" }, 7)')
    assert.equal("true", call 'claims:close({ id = "i", place = "p" }, 7)')
    assert.equal("false", call 'claims:close({ id = "j", place = "p" }, 7)')
    assert.equal("true", call 'claims:close({ id = "j", place = "q" }, 7)')
    assert.equal("0 nil true", call('#claims:known("p", {}).open, '
      .. 'claims:known("p", { "7" }, "i").owned["7"] or "nil", '
      .. 'claims:known("p", { "7" }, "j").owned["7"]'))
    assert.equal("true", call 'claims:enter("q", 0.01) ~= false')
    nginx.wait("the end of the lease", function()
      return call 'claims:enter("q", 0.01) ~= false' == "true"
    end)
  end)

  it("send nothing where there is no room to write it down", function()
    start {}
    get "/fill?seconds=600"
    assert.equal("store lua_shared_dict billhook: no memory", get "/other?timeout=2")
    assert.is_nil(world:state().requests.POST)
  end)

  it("keep what is open where there is no room for more of it", function()
    start {}
    local token = call 'claims:enter("p", 30)'
    local begin = 'claims:begin({ id = "%s", place = "p", sent_at = ngx.now(), '
      .. 'x = ("x"):rep(%d) }, "' .. token .. '", 60)'
    assert.equal("true", call(begin:format("i", 10)))
    get "/fill?seconds=600&beside=yes"
    call 'ngx.shared.billhook:delete("50x1")' -- room for a lock
    assert.equal("nil store: lua_shared_dict billhook: no memory", call(begin:format("j", 100000)))
    assert.equal("1 i", call('#claims:known("p", {}).open, '
      .. 'claims:known("p", {}).open[1].intent.id'))
  end)

  it("take the room of what has had its time", function()
    start {}
    get "/fill?seconds=0.05&beside=yes"
    nginx.wait("the end of it", function()
      return call 'ngx.shared.billhook:get("500x1") == nil' == "true"
    end)
    assert.equal("created 1", get "/other?timeout=20")
  end)

  it("send nothing for an hour after other code has evicted what was open", function()
    start { fates = { POST = { { at = "request", how = "stall", commit = false } } } }
    assert(nginx.send(front.port, { path = "/first" }))
    nginx.wait("the create", function() return world:state().requests.POST == 1 end)
    get "/evict?n=5000"
    assert.equal("store " .. EVICTED, other(2))
    assert.equal(1, world:state().requests.POST)
    assert.equal("nil store: " .. EVICTED, call 'claims:enter("elsewhere", 1)')
    assert.equal("nil store: " .. EVICTED, call 'claims.store:health(3600)')
    assert.equal("true", call 'claims.store:health(0)')
    assert.matches("%[error%].*other code that writes into lua_shared_dict billhook has evicted",
      front:log())
    -- what is only asked goes on
    assert.equal("table", call 'type(claims:known("p", {}))')
  end)

  it("give a call whose text was evicted its answer all the same", function()
    start { fates = { POST = { { at = "answer", how = "stall" } } } }
    local first = assert(nginx.send(front.port, { path = "/first" }))
    nginx.wait("the create", function() return world:state().requests.POST == 1 end)
    get "/evict?n=5000"
    local _, _, body = nginx.answer(first)
    assert.equal("created 1", body)
    assert.equal(1, world:state().requests.POST)
  end)

  it("mind no other code that evicts nothing, nor a reload", function()
    start {}
    assert.equal("created 1", get "/other?timeout=20")
    get "/evict?n=500"
    get "/fill?seconds=0.05&beside=yes"
    nginx.wait("the end of it", function()
      return call 'ngx.shared.billhook:get("500x1") == nil' == "true"
    end)
    local before = front:workers()[1]
    front:signal "HUP"
    nginx.wait("other workers", function() return front:workers()[1] ~= before end)
    for n = 1, 8 do assert.equal(16, #call(('claims:enter("p%d", 1)'):format(n))) end
    assert.equal("true", call 'claims.store:health(3600)')
  end)

  it("do not mistake what others left no room for, and what they push out, for nothing", function()
    start {}
    -- what stands there by this account, and what the store says of it, over 20,000 steps
    assert.equal("0 missed, some lost", call [[(function()
      local store, dict, there, missed, lost = claims.store, ngx.shared.billhook, {}, 0, 0
      local random = math.random
      for step = 1, 20000 do
        local name, size = "t" .. random(200), random(2000)
        local what = random(100)
        if what <= 60 then
          local asked, told, was
          local ok = store:update(name, function(text, now, since)
            asked, told, was = true, since and now - since, text
            if what > 55 then return false end
            if what > 30 then return ("y"):rep(size) end
          end, 600)
          if told and told < 0.0015 then there, lost = {}, lost + 1 end -- whatever is there
          if asked and there[name] and not was then missed = missed + 1 end
          if ok then
            if what > 55 then there[name] = nil elseif what > 30 then there[name] = true end
          end
        elseif what <= 80 then
          dict:safe_add("f" .. random(2000), ("x"):rep(size), random() < 0.5 and 0.01 or nil)
        elseif what <= 95 then
          dict:delete("f" .. random(2000))
        elseif what > 99 then
          dict:set("f" .. random(2000), ("x"):rep(size))
        end
      end
      return missed .. " missed, " .. (lost > 3 and "some" or "none") .. " lost"
    end)()]])
  end)
end)

-- Calls in an nginx whose handler died while they were under way: its client left, its worker was
-- killed, another light thread ended it. Nobody was told what became of them, so the next call for
-- the same finds out.

local fault_server = require "spec.support.fault_server"
local nginx = require "spec.support.nginx"
local process = require "billhook.process"
local remote = require "spec.support.remote"

local http = [[
  lua_shared_dict billhook 1m;
  lua_shared_dict marks 1m;
  init_by_lua_block { package.path = package.path .. ";%s/?.lua" }
  init_worker_by_lua_block {
    local billhook = require "billhook"
    local function made(client, timeout)
      return client.invoices:create(5, { currency = "EUR",
        items = { { item = "Fee", price = "25.00", qty = 1 } } }, { timeout = timeout })
    end
    local function paid(client, timeout)
      return client.invoices:pay(16, { amount = "5", paymentmethod = 1 }, { timeout = timeout })
    end
    local function dreamapply()
      return billhook.dreamapply { base_url = "%s", api_key = "torn", settle_timeout = 2,
        transport = %q }
    end
    local function dreamclass()
      return billhook.dreamclass { base_url = "%s", tenant = "t", school_code = "s",
        api_key = "torn", settle_timeout = 2, transport = %q }
    end
    local all
    local function client_of(name)
      if not all then
        local app = billhook.app { inbox = "sqlite:$PREFIX/inbox.db", log = function() end,
          accounts = { app_dreamapply = dreamapply(), app_dreamclass = dreamclass() } }
        all = { dreamapply = dreamapply(), dreamclass = dreamclass(),
          app_dreamapply = app.accounts.app_dreamapply,
          app_dreamclass = app.accounts.app_dreamclass }
      end
      return all[name]
    end
    function order(name, timeout)
      local call = name:find "class" and paid or made
      local value, err = call(client_of(name), timeout or 6)
      return value and (value.how or "paid") .. " " .. tostring(value.id)
        or err.kind .. " " .. err.message
    end
    function mark() ngx.shared.marks:set("worker", ngx.worker.pid()) end
  }
]]

local server = [[
  lua_check_client_abort on;
  location /order { content_by_lua_block {
    mark()
    ngx.print(order(ngx.var.arg_of or "dreamapply", tonumber(ngx.var.arg_timeout)))
  } }
  location /exit { content_by_lua_block {
    mark()
    ngx.thread.spawn(order, "dreamapply")
    while not ngx.shared.marks:get "go" do ngx.sleep(0.01) end
    ngx.exit(503)
  } }
  location /kill { content_by_lua_block {
    mark()
    local thread = ngx.thread.spawn(order, "dreamapply")
    while not ngx.shared.marks:get "go" do ngx.sleep(0.01) end
    ngx.thread.kill(thread)
    ngx.print "killed"
  } }
  location /timer { content_by_lua_block {
    mark()
    ngx.timer.at(0, function() order "dreamapply" end)
    ngx.print "begun"
  } }
  location /go { content_by_lua_block {
    ngx.shared.marks:set("go", true)
    ngx.print(ngx.shared.marks:get "worker")
  } }
]]

-- the POST arrives, and its answer never comes; it is done at once or never
local function held(commit)
  return { fates = { POST = { { at = "request", how = "stall", commit = commit } } } }
end

-- How the handler dies: given its nginx, and the connection on which it was asked. Each waits for
-- the API to have the request; what has to be so before the next call is made is waited for, too.
local function client_leaves(_, peer) peer:close() end

local function told(front, path)
  local _, _, body = front:request { path = path }
  return body
end

local function worker_is_killed(front, peer)
  assert(process.kill(tonumber(told(front, "/go")), "KILL"))
  peer:close()
end

local function goes_on(status, said)
  return function(front, peer)
    told(front, "/go")
    local code, _, body = nginx.answer(peer)
    assert.equal(status, code)
    assert.equal(said, said and body)
  end
end

-- promise, world, path of the first call, how it dies, what the next one for the same is told
local deaths = {
  { "is found by the next one for the same where its client has left", held(), "/order",
    client_leaves, "^found 1$" },
  { "is found where its worker was killed", held(), "/order", worker_is_killed, "^found 1$" },
  { "is found where its timer's worker was killed", held(), "/timer", worker_is_killed,
    "^found 1$" },
  { "is found where its handler ended itself", held(), "/exit", goes_on(503), "^found 1$" },
  { "is found where its light thread was killed, whose handler goes on and ends", held(), "/kill",
    goes_on(200, "killed"), "^found 1$" },
  { "is not sent a second time while the first may still be under way, and found then", held(false),
    "/order", client_leaves, "^unknown_outcome an earlier call asked for the same, .*: nothing was "
      .. "sent%. The earlier one was sent %d+ s ago; each call for the same looks for it, and none "
      .. "is sent for another %d+ minutes$", late = true, later = "^found 1$" },
  { "is not sent a second time where it never comes to light", held(false), "/order",
    client_leaves, "^unknown_outcome ", later = "^unknown_outcome ", never = true },
  { "is not sent a second time where it can't be looked up", held(false),
    "/order?of=dreamclass", client_leaves, "^unknown_outcome .*it can't be looked up, and none "
      .. "is sent for another 14%d%d minutes$", later = "^unknown_outcome ", never = true },
  { "is found where it was an app's", held(), "/order?of=app_dreamapply", client_leaves,
    "^found 1$" },
  { "is not sent a second time where it was an app's that can't be looked up", held(false),
    "/order?of=app_dreamclass", client_leaves, "^unknown_outcome ", never = true },
}

for _, transport in ipairs { "worker", "resty" } do
  describe("a create whose handler died (" .. transport .. ")", function()
    local faults, runs

    local function begin(death)
      local run = { world = faults:world(death[2]),
        path = "/order?timeout=25&" .. (death[3]:match "%?(.*)" or "") }
      run.front = nginx.start { workers = 2, server = server, http = http:format(
        remote.resty_http() or remote.STANDIN, run.world.url, transport, run.world.url, transport) }
      runs[#runs + 1] = run
      local peer = assert(nginx.send(run.front.port, { path = death[3] }))
      nginx.wait("the create", function() return run.world:state().requests.POST == 1 end)
      death[4](run.front, peer)
      run.next = assert(nginx.send(run.front.port, { path = run.path }))
    end

    -- Each in an nginx of its own, side by side: most of the time is waiting.
    lazy_setup(function()
      faults, runs = fault_server.start(), {}
      for _, death in ipairs(deaths) do begin(death) end
    end)

    lazy_teardown(function()
      for _, run in ipairs(runs) do run.front:stop() end
      faults:stop()
    end)

    for n, death in ipairs(deaths) do
      it(death[1], function()
        local run = runs[n]
        assert.matches(death[5], (select(3, nginx.answer(run.next))))
        if death.late then
          run.world:make("5", { currency = "EUR", items = { { item = "Fee", price = "25.00" } } })
        end
        if death.later then
          assert.matches(death.later, told(run.front, run.path))
        end
        assert.equal(1, run.world:state().requests.POST)
        assert.equal(death.never and 0 or 1, #run.world:state().made)
        if not death.never then -- it was given to its caller: who asks once more wants another one
          assert.equal("created 2", told(run.front, run.path))
        end
      end)
    end
  end)
end

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
    require("billhook.shared.gate").configure { vms = 32 } -- a torn call has one until its end
    -- a hook that does not come back, where the handler of this worker was told so
    local at = {}
    local function holder(case, moment)
      return function(event)
        if event.method ~= "POST" or at[case] ~= moment then return end
        ngx.shared.marks:set("held " .. case, true)
        while true do ngx.sleep(1) end
      end
    end
    local function made(client, timeout, reference)
      return client.invoices:create(5, { currency = "EUR",
        items = { { item = "Fee", price = "25.00", qty = 1 } } }, { timeout = timeout,
        reference = reference and { field = "smallprint", value = reference } })
    end
    local function paid(client, timeout)
      return client.invoices:pay(16, { amount = "5", paymentmethod = 1 }, { timeout = timeout })
    end
    -- each case has a world, accounts and marks of its own
    local worlds, transport = { %s }, %q
    local function dreamapply(case)
      return billhook.dreamapply { base_url = worlds[case], api_key = "torn " .. case,
        settle_timeout = 2, quota = false, transport = transport,
        on_request = holder(case, "before"), on_response = holder(case, "after") }
    end
    local function dreamclass(case)
      return billhook.dreamclass { base_url = worlds[case], tenant = "t", school_code = "s",
        api_key = "torn " .. case, settle_timeout = 2, transport = transport }
    end
    local all = {}
    local function client_of(case, name)
      if not all[case] then
        local app = billhook.app { inbox = "sqlite:$PREFIX/inbox" .. case .. ".db",
          log = function() end,
          accounts = { app_dreamapply = dreamapply(case), app_dreamclass = dreamclass(case) } }
        all[case] = { dreamapply = dreamapply(case), dreamclass = dreamclass(case),
          app_dreamapply = app.accounts.app_dreamapply,
          app_dreamclass = app.accounts.app_dreamclass }
      end
      return all[case][name]
    end
    function order(case, name, timeout, reference)
      local call = name:find "class" and paid or made
      local value, err = call(client_of(case, name), timeout or 6, reference)
      return value and (value.how or "paid") .. " " .. tostring(value.id)
        or err.kind .. " " .. err.message
    end
    function mark()
      local case = tonumber(ngx.var.arg_case)
      at[case] = ngx.var.arg_at
      ngx.shared.marks:set("worker " .. case, ngx.worker.pid())
      return case
    end
    function wait_for(case)
      while not ngx.shared.marks:get("go " .. case) do ngx.sleep(0.01) end
    end
  }
]]

local server = [[
  lua_check_client_abort on;
  location /order { content_by_lua_block {
    local case = mark()
    ngx.print(order(case, ngx.var.arg_of or "dreamapply", tonumber(ngx.var.arg_timeout),
      ngx.var.arg_reference))
  } }
  location /exit { content_by_lua_block {
    local case = mark()
    ngx.thread.spawn(order, case, "dreamapply")
    wait_for(case)
    ngx.exit(503)
  } }
  location /kill { content_by_lua_block {
    local case = mark()
    local thread = ngx.thread.spawn(order, case, "dreamapply")
    wait_for(case)
    ngx.thread.kill(thread)
    ngx.print "killed"
  } }
  location /timer { content_by_lua_block {
    local case = mark()
    ngx.timer.at(0, function() order(case, "dreamapply") end)
    ngx.print "begun"
  } }
  location /raise { content_by_lua_block {
    local case = mark()
    ngx.timer.at(0, function()
      ngx.thread.spawn(order, case, "dreamapply")
      wait_for(case)
      error "torn"
    end)
    ngx.print "begun"
  } }
  location /held { content_by_lua_block {
    ngx.print(tostring(ngx.shared.marks:get("held " .. ngx.var.arg_case)))
  } }
  location /go { content_by_lua_block {
    ngx.shared.marks:set("go " .. ngx.var.arg_case, true)
    ngx.print(ngx.shared.marks:get("worker " .. ngx.var.arg_case))
  } }
]]

-- the POST arrives, and its answer never comes; it is done at once or never
local function held(commit)
  return { fates = { POST = { { at = "request", how = "stall", commit = commit } } } }
end

-- How the handler dies: given its nginx, the connection on which it was asked, and the case. Each
-- waits for the API to have the request; what has to be so before the next call is made is waited
-- for, too.
local function client_leaves(_, peer) peer:close() end

local function told(front, path)
  local _, _, body = front:request { path = path }
  return body
end

local function worker_is_killed(front, peer, case)
  assert(process.kill(tonumber(told(front, "/go?case=" .. case)), "KILL"))
  peer:close()
end

local function goes_on(status, said)
  return function(front, peer, case)
    told(front, "/go?case=" .. case)
    local code, _, body = nginx.answer(peer)
    assert.equal(status, code)
    assert.equal(said, said and body)
  end
end

local unknown = "^unknown_outcome an earlier call %s, .*: nothing was sent%%. The earlier one was "
  .. "sent %%d+ s ago; each call for the same looks for it, and none is sent for another %%d+ "
  .. "minutes$"

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
    "/order", client_leaves, unknown:format "asked for the same", late = true,
    later = "^found 1$" },
  { "is not sent a second time where it never comes to light", held(false), "/order",
    client_leaves, "^unknown_outcome ", later = "^unknown_outcome ", never = true },
  -- with a reference, before it was sent, after that, and when its answer had come
  { "is not sent where its worker was killed before", {}, "/order?reference=a&at=before",
    worker_is_killed, unknown:format "had this reference", later = "^unknown_outcome ",
    never = true, posts = 0 },
  { "is not sent where its client has left before", {}, "/order?at=before", client_leaves,
    unknown:format "asked for the same", later = "^unknown_outcome ", never = true, posts = 0 },
  { "is found by its reference where its worker was killed", held(), "/order?reference=a",
    worker_is_killed, "^found 1$", named = true },
  { "is found by its reference where its worker was killed when it had the answer", {},
    "/order?reference=a&at=after", worker_is_killed, "^found 1$", named = true },
  { "is found where its client has left when it had the answer", {}, "/order?at=after",
    client_leaves, "^found 1$" },
  { "is found where its timer raised", held(), "/raise", goes_on(200, "begun"), "^found 1$" },
  { "is not sent a second time where it can't be looked up", held(false),
    "/order?of=dreamclass", client_leaves, "^unknown_outcome .*it can't be looked up, and none "
      .. "is sent for another 14%d%d minutes$", later = "^unknown_outcome ", never = true },
  { "is found where it was an app's", held(), "/order?of=app_dreamapply", client_leaves,
    "^found 1$" },
  { "is not sent a second time where it was an app's that can't be looked up", held(false),
    "/order?of=app_dreamclass", client_leaves, "^unknown_outcome ", never = true },
  -- the last of those whose worker is killed, so that the next call comes before it is carried out
  { "is found by its reference where it is carried out later than its worker was killed", held(4),
    "/order?reference=a", worker_is_killed, "^found 1$", named = true },
}

for _, transport in ipairs { "worker", "resty" } do
  describe("a create whose handler died (" .. transport .. ")", function()
    local faults, runs, fronts

    local function start(list)
      local urls = {}
      for case, world in ipairs(list) do urls[case] = ("%q"):format(world.url) end
      local front = nginx.start { workers = 2, vms = 32, server = server, http = http:format(
        remote.resty_http() or remote.STANDIN, table.concat(urls, ", "), transport) }
      fronts[#fronts + 1] = front
      return front
    end

    local function die(run, case)
      local death = deaths[case]
      local path = ("%s%scase=%d"):format(death[3], death[3]:find "?" and "&" or "?", case)
      local peer = assert(nginx.send(run.front.port, { path = path }))
      nginx.wait("the create", function()
        if death[3]:find "at=" then return told(run.front, "/held?case=" .. case) == "true" end
        return run.world:state().requests.POST == 1
      end)
      death[4](run.front, peer, case)
    end

    local function ask(run)
      run.next = assert(nginx.send(run.front.port, { path = run.path }))
    end

    -- Side by side: most of the time is waiting. Those whose worker is killed have an nginx of
    -- their own, where none of them waits for its next call before the last worker is killed.
    lazy_setup(function()
      faults, runs, fronts = fault_server.start(), {}, {}
      local worlds = {}
      for case, death in ipairs(deaths) do worlds[case] = faults:world(death[2]) end
      local calm, killed = start(worlds), start(worlds)
      for case, death in ipairs(deaths) do
        local kills = death[4] == worker_is_killed
        local run = { world = worlds[case], front = kills and killed or calm,
          path = ("/order?timeout=25&case=%d&%s"):format(case,
            (death[3]:match "%?(.*)" or ""):gsub("&?at=%l+", "")) }
        runs[case] = run
        die(run, case)
        if not kills then ask(run) end
      end
      for case, death in ipairs(deaths) do
        if death[4] == worker_is_killed then ask(runs[case]) end
      end
    end)

    lazy_teardown(function()
      for _, front in ipairs(fronts) do front:stop() end
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
        assert.equal(death.posts or 1, run.world:state().requests.POST or 0)
        assert.equal(death.never and 0 or 1, #run.world:state().made)
        if not death.never then -- it was given to its caller: who asks once more wants another one
          assert.equal(death.named and "found 1" or "created 2", told(run.front, run.path))
        end
      end)
    end
  end)
end

-- BILLHOOK_KILLS kills so many times
local KILLS = tonumber(os.getenv "BILLHOOK_KILLS" or 4)

describe("creates in an nginx whose workers are killed at any moment", function()
  local faults, front

  teardown(function()
    if front then front:stop() end
    faults:stop()
  end)

  it("bill each reference once", function()
    faults = fault_server.start()
    local world = faults:world { latency = 0.05 }
    front = nginx.start { workers = 2, vms = 32, server = server, http = http:format(
      remote.resty_http() or remote.STANDIN, ("%q"):format(world.url), "resty") }
    local seed = 20261129
    local function random(most)
      seed = seed * 16807 % 2147483647
      return seed % most + 1
    end
    local function requests()
      local all = world:state().requests
      return (all.GET or 0) + (all.POST or 0)
    end
    local function path(n) return "/order?timeout=40&case=1&reference=order-" .. n end
    local function is_begun() -- the last one was killed
      local pid = told(front, "/go?case=1")
      for _, worker in ipairs(front:workers()) do
        if tostring(worker) == pid then return true end
      end
    end
    -- one at a time, so that each may be killed at any of its steps: a look, a create and, where
    -- another one was torn, its looks
    for n = 1, KILLS do
      local till = requests() + random(3) - 1
      local peer = assert(nginx.send(front.port, { path = path(n) }))
      nginx.wait("some requests", function() return is_begun() and requests() >= till end)
      process.sleep(random(60) / 1000)
      worker_is_killed(front, peer, 1)
    end
    local ids, open = {}, 0
    for n = 1, KILLS do
      local said = told(front, path(n))
      local id = said:match "^%l+ (%d+)$"
      if id then
        assert.is_nil(ids[id])
        ids[id] = true
      else -- killed when it was written down and before it was carried out, as far as one can see
        assert.matches("^unknown_outcome .*: nothing was sent", said)
        open = open + 1
      end
    end
    local state, seen = world:state(), {}
    for _, made in ipairs(state.made) do
      assert.is_nil(seen[made.one.smallprint])
      seen[made.one.smallprint] = true
      assert.is_true(ids[("%d"):format(made.one.id)])
    end
    assert.equal(KILLS, #state.made + open)
    assert.is_true(state.requests.POST <= KILLS)
  end)
end)

-- One key, many who call: 8 processes and the 4 workers of an nginx, through one inbox database,
-- against a server that counts by arrival. A minute is 6 seconds here, half a second of latency 50
-- milliseconds.

local billhook = require "billhook"
local command = require "spec.support.command"
local fault_server = require "spec.support.fault_server"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local process = require "billhook.process"

local WINDOW, WINDOWS = 6, 2
local LIMIT = 180 -- requests a window

-- What has to be used of it. How much can be is the machine's affair, too: BILLHOOK_SHARE=0.95 is
-- for one that has nothing else to do.
local SHARE = tonumber(os.getenv "BILLHOOK_SHARE" or 0.5)

local jit = rawget(_G, "jit")
local environment = { LUA_PATH = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path,
  LUA_CPATH = ("build/%s/?.so;"):format(jit and "luajit" or "lua5.4") .. package.cpath }

local workers = [[
  lua_shared_dict results 1m;
  init_worker_by_lua_block {
    local caller = require "spec.support.caller"
    local app = caller.app("%s", "%s", %d)
    require("billhook.openresty").start(app, { work = false })
    local stopped = false
    ngx.timer.at(0, function()
      local result = caller.call(app.accounts.school, function()
        return ngx.shared.results:get "stop"
      end)
      ngx.shared.results:set("result " .. ngx.worker.id(), require("billhook.json").encode(result))
    end)
  }
]]

local locations = [[
  location /stop { content_by_lua_block { ngx.shared.results:set("stop", true) ngx.print("ok") } }
  location /result { content_by_lua_block {
    for id = 0, 3 do ngx.say(ngx.shared.results:get("result " .. id) or "") end
  } }
]]

describe("a quota", function()
  local server

  before_each(function() server = fault_server.start() end)
  after_each(function() server:stop() end)

  local function client(world, key)
    return billhook.dreamapply { base_url = world.url, api_key = key, attempts = 1, timeout = 30,
      quota = { limit = 12, window = 0.6 } }
  end

  it("is enough for calls side by side that each set aside half of it #both", function()
    local world = server:world { latency = 0.01, quota = { limit = 12, window = 0.6 } }
    local school = client(world, "side by side")
    local list = {}
    for i = 1, 30 do list[i] = i end
    local results, errors = billhook.map(list, function(n)
      return school.invoices:create(n, { currency = "EUR",
        items = { { item = "Fee", price = "1", qty = 1 } } })
    end, { concurrency = 15 })
    for i = 1, 30 do assert.equal("created", results[i] and results[i].how, tostring(errors[i])) end
    local state = world:state()
    assert.equal(0, state.refused)
    assert.equal(30, state.requests.POST)
    assert.equal(30, #state.made)
  end)

  it("is a person's before it is a background call's", function()
    local world = server:world { latency = 0.01, quota = { limit = 12, window = 0.6 } }
    world:make("5", { currency = "EUR" })
    local school = client(world, "persons first")
    local order, list = {}, {}
    for i = 1, 40 do list[i] = i end
    billhook.map(list, function(n)
      local person = n > 34 -- the last ones to come
      assert(school.invoices:get(1, { priority = person and "person" or "background" }))
      order[#order + 1] = person and "person" or "background"
    end, { concurrency = 40 })
    assert.equal(40, #order)
    local last
    for i, who in ipairs(order) do
      if who == "person" then last = i end
    end
    assert.is_true(last <= 12 + 12, "the last person was number " .. last) -- the second turn
    assert.equal(0, world:state().refused)
  end)
end)

describe("a key that 8 processes and 4 nginx workers share", function()
  local folder, server, front

  after_each(function()
    if front then front:stop() end
    if server then server:stop() end
    command.finish()
  end)

  it("is never refused, and used", function()
    folder = command.folder()
    local inbox = "sqlite:" .. folder .. "/inbox.db"
    assert(require("billhook.inbox").open(inbox)):close()
    server = fault_server.start()
    local world = server:world { latency = 0.05,
      quota = { limit = LIMIT, window = WINDOW } }
    world:make("5", { currency = "EUR" })
    local stop, callers = folder .. "/stop", {}
    for n = 1, 8 do
      callers[n] = assert(process.spawn({ command.lua, "spec/support/caller.lua", inbox, world.url,
        tostring(WINDOW), stop, folder .. "/result" .. n }, { stdin = "/dev/null",
        stdout = folder .. "/out" .. n, stderr = folder .. "/err" .. n, env = environment,
        die = "KILL" }))
    end
    front = nginx.start { workers = 4, http = workers:format(inbox, world.url, WINDOW),
      server = locations }
    nginx.wait("some windows", function()
      return world:state().turns >= LIMIT * WINDOWS
    end, 300)
    local state = world:state()
    command.write(stop, "")
    front:request { path = "/stop" }

    local total = 0
    local function add(text)
      local result = json.decode(text)
      assert.same({ ok = result.ok }, result)
      assert.is_true(result.ok > 0)
      total = total + result.ok
    end
    for n = 1, 8 do
      command.wait("process " .. n .. command.read(folder .. "/err" .. n), function()
        return command.read(folder .. "/result" .. n) ~= ""
      end)
      add(command.read(folder .. "/result" .. n))
      process.wait(callers[n])
    end
    local answers = nginx.wait("the workers\n" .. front:log(), function()
      local _, _, body = front:request { path = "/result" }
      return not ("\n" .. body):find("\n\n") and body
    end, 30)
    for line in answers:gmatch("[^\n]+") do add(line) end
    assert.equal(0, state.refused)
    assert.equal(0, world:state().refused)
    assert.equal(total, world:state().requests.GET)
    -- a slot is used again a window after its last use, at best
    local share = WINDOW / state.turn
    print(("    # %.1f %% of the quota, no refusal"):format(100 * share))
    assert.is_true(share >= SHARE, ("%.3f of the quota"):format(share))
  end)
end)

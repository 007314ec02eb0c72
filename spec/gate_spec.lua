-- The gate before ngx.run_worker_thread, in a real nginx.

local nginx = require "spec.support.nginx"

local server

local function start(options)
  options.http = (options.http or "") .. [[
    init_worker_by_lua_block { gate = require "billhook.shared.gate" }
  ]]
  server = nginx.start(options)
  return server
end

local function get(path, options)
  options = options or {}
  options.path = path
  local status, _, body = server:request(options)
  return status, body
end

-- opens `n` requests for which nothing is read yet
local function open(path, n)
  local peers = {}
  for i = 1, n do peers[i] = assert(nginx.send(server.port, { path = path .. "?n=" .. i })) end
  return peers
end

local function count(pattern)
  local pipe = io.popen(("ls %s/%s 2>/dev/null | wc -l"):format(server.prefix, pattern))
  local n = tonumber(pipe:read("*a"))
  pipe:close()
  return n
end

local function touch(name) assert(io.open(server.prefix .. "/" .. name, "w")):close() end

local locations = [[
  location /echo { content_by_lua_block {
    local ok, a, b = gate.run("call", 1, "spec.support.probe", "echo", "a", "b")
    ngx.say(tostring(ok), " ", a, " ", b)
  } }
  location /fail { content_by_lua_block {
    local ok, err, unstarted = gate.run("call", 1, "spec.support.probe", "fail")
    ngx.say(tostring(ok), " ", err, " ", tostring(unstarted))
  } }
  location /block { content_by_lua_block {
    ngx.say(tostring(gate.run("call", 60, "spec.support.probe", "block", "$PREFIX", ngx.var.arg_n)))
  } }
  location /refused { content_by_lua_block {
    local ok, err, unstarted = gate.run("call", 0.05, "spec.support.probe", "echo")
    ngx.say(tostring(ok), " ", tostring(err), " ", tostring(unstarted))
  } }
  location /store { content_by_lua_block {
    ngx.say(tostring(gate.run("store", 1, "spec.support.probe", "echo", 1)))
  } }
  location /commit { content_by_lua_block {
    ngx.say(tostring(gate.run("commit", 1, "spec.support.probe", "echo", 1)))
  } }
  location /killed { content_by_lua_block {
    local thread = ngx.thread.spawn(function()
      gate.run("call", 60, "spec.support.probe", "block", "$PREFIX", "k" .. ngx.var.arg_n)
    end)
    ngx.sleep(0.05)
    ngx.thread.kill(thread)
    ngx.say("killed")
  } }
  location /bad { content_by_lua_block {
    local _, a = pcall(gate.configure, { vms = "many" })
    local _, b = pcall(gate.run, "nonsense", 1, "m", "f")
    local _, c = pcall(gate.configure, { vms = 8 })
    ngx.say(a, "\n", b, "\n", c)
  } }
]]

describe("the gate before worker threads", function()
  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  it("has half as many streams as calls, and one at least", function()
    local gate = dofile "lua/billhook/shared/gate.lua"
    assert.same({ 8, 4, 1, 1 }, { gate.size "call", gate.size "stream", gate.size "store",
      gate.size "commit" })
    gate.configure { vms = 3 }
    assert.same({ 1, 1 }, { gate.size "call", gate.size "stream" })
  end)

  it("gives a function's results", function()
    start { server = locations }
    local status, body = get "/echo"
    assert.equal(200, status)
    assert.equal("true a b\n", body)
  end)

  it("gives what a function raised", function()
    start { server = locations }
    assert.equal("false probe failed nil\n", select(2, get "/fail"))
  end)

  it("lets no more calls through than there are VMs for them, the others wait", function()
    start { server = locations }
    local peers = open("/block", 32)
    nginx.wait("8 calls", function() return count("*.begun") == 8 end)
    assert.equal("true\n", select(2, get "/store"))
    assert.equal("true\n", select(2, get "/commit"))
    assert.equal("false no worker thread became free in 0.05 s unstarted\n",
      select(2, get "/refused"))
    assert.equal(8, count("*.begun"))
    touch "go"
    for _, peer in ipairs(peers) do
      local status, _, body = nginx.answer(peer)
      assert.equal(200, status)
      assert.equal("true\n", body)
    end
    assert.equal(32, count("*.ended"))
  end)

  it("keeps its count when the asking coroutine is killed", function()
    start { server = locations }
    for i = 1, 8 do assert.equal("killed\n", select(2, get("/killed?n=" .. i))) end
    assert.matches("^false no worker thread", select(2, get "/refused"))
    touch "go"
    nginx.wait("the calls to end", function() return count("*.ended") == 8 end)
    nginx.wait("a free VM", function() return get("/refused") and
      select(2, get "/refused"):match("^true") end)
  end)

  it("says what is missing in nginx.conf", function()
    start { server = locations, threads = false }
    assert.equal("false thread pool billhook not found nil\n", select(2, get "/fail"))
  end)

  it("waits while others use the VMs, and gives up in time", function()
    start { server = locations .. [[
      location /hog { content_by_lua_block {
        for i = 1, 3 do
          ngx.thread.spawn(function()
            ngx.run_worker_thread("billhook", "spec.support.probe", "block", "$PREFIX", "hog" .. i)
          end)
        end
      } }
    ]], vms = 3 }
    local peers = open("/hog", 1)
    nginx.wait("the others", function() return count("hog*.begun") == 3 end)
    assert.equal("false no available Lua vm unstarted\n", select(2, get "/refused"))
    local late = open("/commit", 1)[1]
    touch "go"
    assert.equal("true\n", select(3, nginx.answer(late)))
    nginx.answer(peers[1])
  end)

  it("raises for a wrong class or option, and when it is configured too late", function()
    start { server = locations }
    get "/echo"
    local _, body = get "/bad"
    assert.matches("gate: already in use", body)
    assert.matches("gate: no such class: nonsense", body)
  end)

  it("raises for too few VMs and unknown options", function()
    local gate = require "billhook.shared.gate"
    assert.error_matches(function() gate.configure { vms = 2 } end, "vms: at least 3")
    assert.error_matches(function() gate.configure { nonsense = 2 } end, "no such option: nonsense")
    assert.error_matches(function() gate.configure { pool = 2 } end, "no such option: pool")
  end)

  it("abandons no call when nginx quits", function()
    start { server = locations }
    local peers = open("/block", 4)
    nginx.wait("4 calls", function() return count("*.begun") == 4 end)
    server:signal "QUIT"
    nginx.wait("nginx to stop listening", function()
      return not nginx.send(server.port, { path = "/" })
    end)
    touch "go"
    for _, peer in ipairs(peers) do assert.equal("true\n", select(3, nginx.answer(peer))) end
    server:wait_end()
  end)

  it("abandons no call when nginx reloads", function()
    start { server = locations }
    local peers = open("/block", 4)
    nginx.wait("4 calls", function() return count("*.begun") == 4 end)
    local before = server:workers()[1]
    server:signal "HUP"
    nginx.wait("a new worker", function()
      local now = server:workers()
      return now[2] or now[1] ~= before
    end)
    touch "go"
    for _, peer in ipairs(peers) do assert.equal("true\n", select(3, nginx.answer(peer))) end
    nginx.wait("the old worker to end", function() return #server:workers() == 1 end)
  end)
end)

-- examples/nginx.conf in a real nginx, as it stands but for paths, ports and what it is told to
-- change, with examples/rules.lua: the three vendors' signed deliveries come in, and rules run.

local billhook = require "billhook"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local process = require "billhook.process"
local sandbox = require "billhook.sandbox"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

-- Every text must be there once: what the example says must not drift away from what is tested.
local function replace(text, changes)
  for _, change in ipairs(changes) do
    local first, last = text:find(change[1], 1, true)
    assert.is_truthy(first, "examples/nginx.conf has no '" .. change[1] .. "'")
    text = text:sub(1, first - 1) .. change[2] .. text:sub(last + 1)
  end
  return text
end

local function setting(name, value)
  return { "env " .. name .. ";", ("env %s=%s;"):format(name, value) }
end

local function conf(folder, vendors)
  local base = ("http://127.0.0.1:%d"):format(vendors)
  local root = process.uid() == 0
  return replace(read "examples/nginx.conf", {
    { "user www-data;", root and "user root;" or "" },
    { "include /etc/nginx/modules-enabled/*.conf;", nginx.load_modules() },
    { "worker_processes auto;", "worker_processes 2;" },
    { "pid /run/nginx.pid;", "pid $PREFIX/nginx.pid;" },
    { "/var/log/nginx/error.log warn", "$PREFIX/error.log info" },
    { "/var/log/nginx/error.log crit", "$PREFIX/error.log crit" },
    { "sqlite:/var/lib/billhook/inbox.db", "sqlite:" .. folder .. "/inbox.db" },
    setting("DREAMAPPLY_URL", base), setting("DREAMCLASS_URL", base .. "/dreamclassapi/v1"),
    setting("BETTEREZ_URL", base .. "/invoices"),
    { "http {", "http { client_body_temp_path $PREFIX/body; proxy_temp_path $PREFIX/proxy;"
      .. " fastcgi_temp_path $PREFIX/fastcgi; uwsgi_temp_path $PREFIX/uwsgi;"
      .. " scgi_temp_path $PREFIX/scgi;" },
    { "/etc/billhook/?.lua;", "$ROOT/examples/?.lua;$ROOT/lua/?.lua;$ROOT/lua/?/init.lua;" },
    { "/usr/local/lib/lua/5.1/?.so;", "$ROOT/build/luajit/?.so;" },
    { "listen 127.0.0.1:8080;", "listen 127.0.0.1:$PORT;" },
    { "listen 127.0.0.1:9090;", "listen 127.0.0.1:PORT3;" },
  })
end

local function settings(vendor) return sandbox.defaults(vendor) end

describe("examples/nginx.conf", function()
  it("is no weaker against slow and many senders than what serve writes", function()
    local function guards(text)
      local found = {}
      for line in text:gmatch "[^\n]+" do
        local guard = line:match "^[%s]*([%l_]+ [^#{}]*;)"
        local name = guard and guard:match "^%S+"
        if name and (name:find "^limit_conn" or name:find "_timeout$" or name:find "^lingering"
          or name:find "^reset_" or name:find "^client_body_buffer" or name:find "_nofile$") then
          found[#found + 1] = guard
        end
      end
      found[#found + 1] = text:match "worker_connections %d+;"
      table.sort(found)
      return found
    end
    local options = { listeners = { main = { host = "h", port = "1" } }, patience = 30,
      per_address = 100, proxies = {},
      connections = 8192 }
    local room = require("billhook.cli.nginx").room
    local http = require("billhook.cli.server").http("/r", options)
    local written = require("billhook.cli.nginx").conf { nginx = { modules = {} }, run = "/r",
      http = http, lua_path = "", lua_cpath = "", connections = 8192 }
    -- how long what is under way may take at the end is no guard; and this machine may have less
    -- files than the example asks for
    local count, files = room(8192)
    local example = read("examples/nginx.conf"):gsub("worker_shutdown_timeout [^;]*", "")
      :gsub("8192;", ("%d;"):format(count)):gsub("16640;", ("%d;"):format(files))
      :gsub("6144;", ("%d;"):format(math.floor(count * 3 / 4)))
    local there = {}
    for _, guard in ipairs(guards(example)) do there[guard] = (there[guard] or 0) + 1 end
    for _, guard in ipairs(guards((written:gsub("worker_shutdown_timeout [^;]*", "")))) do
      there[guard] = (there[guard] or 0) - 1
      assert.is_true(there[guard] >= 0, guard)
    end
  end)

  local vendors, server, folder

  setup(function()
    folder = assert(process.mkdtemp "/tmp/billhook-spec")
    vendors = nginx.start { http = sandbox.conf { listen = "127.0.0.1:PORT2" } }
    server = nginx.start { conf = conf(folder, vendors.ports[2]) }
    local hooks = ("http://127.0.0.1:%d/webhooks/"):format(server.port)
    vendors:request { method = "POST", port = vendors.ports[2], path = "/sandbox/webhooks",
      body = json.encode { dreamapply = hooks .. "admissions", dreamclass = hooks .. "school",
        betterez = hooks .. "tickets" } }
  end)

  teardown(function()
    if server then server:stop() end
    if vendors then vendors:stop() end
    process.remove_tree(folder)
  end)

  local function post(account, vendor, body, options)
    local headers, signed = billhook.sign(vendor, body, options)
    local status, _, answer = server:request { method = "POST", headers = headers, body = signed,
      path = "/webhooks/" .. account }
    return status, answer
  end

  local function inbox() return assert(require("billhook.inbox").open("sqlite:" .. folder
    .. "/inbox.db")) end

  local accounts = { dreamapply = "admissions", dreamclass = "school", betterez = "tickets" }

  -- what is issued before an account's first start is no news
  local function started(store)
    for _, account in pairs(accounts) do
      nginx.wait("the start of " .. account, function()
        return store:peek("account " .. account).text
      end, 30)
    end
  end

  local function finished(store, account)
    return nginx.wait("the rules of " .. account, function()
      local event = assert(store:events { account = account, type = "invoice.created" })[1]
      return event and event.state ~= "pending" and event
    end, 30)
  end

  it("takes what the three vendors send, and runs rules on what their APIs say", function()
    local store = inbox()
    started(store)
    for vendor in pairs(accounts) do
      local status, _, body = vendors:request { method = "POST", port = vendors.ports[2],
        path = "/sandbox/trigger", body = json.encode { vendor = vendor, amount = "600.00",
          currency = "EUR" } }
      assert.equal(200, status, body)
    end
    for _, account in pairs(accounts) do
      local event = finished(store, account)
      assert.equal("done", event.state, account)
      assert.same({ "ledger", "large" }, event.rules)
      local deliveries = assert(store:deliveries { account = account })
      assert.equal(1, #deliveries)
      assert.equal(1, deliveries[1].secret)
    end
    store:close()
  end)

  it("takes a signed delivery that is larger than its buffer, and no forged one", function()
    local body = json.encode { id = "11111111-2222-4333-8444-555555555555", livemode = true,
      created = 1, event = "invoices.updated", data = { _id = ("a"):rep(24),
        filler = ("x"):rep(300000) } }
    local status, answer = post("tickets", "betterez", body,
      { secret = settings("betterez").secret })
    assert.equal(200, status, answer)
    status, answer = post("tickets", "betterez", body, { secret = "guessed" })
    assert.equal(401, status)
    assert.equal('{"error":"not authentic"}', answer)
    status, answer = server:request { method = "POST", path = "/webhooks/nobody", body = "{}" }
    assert.equal(404, status)
    assert.is_truthy(answer)
  end)

  it("refuses what is too large, by the account's limit and by nginx's", function()
    local options = { secret = settings("dreamclass").secret, basic = settings("dreamclass").basic }
    local body = json.encode { id = "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2",
      type = "INVOICE_CREATED", tenant = "my-school", timestamp = 1,
      data = { id = 1, filler = ("x"):rep(1048576) } }
    assert.equal(413, (post("school", "dreamclass", body, options)))
    local status, headers, answer = server:request { method = "POST", path = "/webhooks/school",
      headers = { ["Content-Length"] = "10000000" } }
    assert.equal(413, status)
    assert.equal('{"error":"body too large"}', answer)
    assert.equal("application/json", headers["content-type"])
  end)

  it("tells health to everybody, and numbers at an address of their own", function()
    local status, _, text = server:request { path = "/healthz" }
    assert.same({ 200, '{"ok":true}' }, { status, text })
    assert.equal(404, (server:request { path = "/metrics" }))
    assert.equal(404, (server:request { path = "/" }))
    local own = server.ports[3]
    status, _, text = server:request { path = "/metrics", port = own }
    assert.equal(200, status)
    assert.matches("billhook_inbox_up 1", text, 1, true)
    status, _, text = server:request { path = "/healthz", port = own }
    assert.equal(200, status)
    assert.is_false(json.decode(text).accounts.admissions.paused)
    assert.equal(404, (server:request { path = "/webhooks/school", port = own }))
  end)

  it("drains at QUIT, with nothing wrong in its log", function()
    server:signal "QUIT"
    server:wait_end(60)
    assert.matches("billhook level=info event=admitted account=tickets", server:log(), 1, true)
    for line in server:log():gmatch "[^\n]+" do
      local wrong = line:find("%[error%]") or line:find("%[alert%]") or line:find("%[crit%]")
        or line:find("%[emerg%]")
      assert.is_nil(wrong and line or nil)
    end
  end)
end)

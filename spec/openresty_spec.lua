-- Receiving in nginx: bodies and headers as they come, group commit, rules from timers, and what
-- happens when the store fails or nginx is told to end.

local core = require "billhook.core"
local inbox = require "billhook.inbox"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local process = require "billhook.process"
local sqlite = require "billhook.sqlite"

local server

-- options: app (Lua text of receiver's options), start (of start's), and nginx.start's own
local function start(options)
  options = options or {}
  options.http = (options.http or "") .. ([[
    init_worker_by_lua_block {
      host = require "billhook.openresty"
      app = require "spec.support.receiver"("$PREFIX", %s)
      host.start(app, %s)
    }
  ]]):format(options.app or "{}", options.start or "{ work = false }")
  options.server = (options.server or "") .. [[
    location ~ ^/webhooks/(.+)$ { content_by_lua_block { host.receive(app, ngx.var[1]) } }
    location /healthz { content_by_lua_block { host.healthz(app) } }
    location /metrics { content_by_lua_block { host.metrics(app, "# more") } }
    location /quick { content_by_lua_block { ngx.print("quick") } }
  ]]
  server = nginx.start(options)
  return server
end

-- One for all tests of a block: each with ids of its own.
local function share(options)
  local one
  lazy_setup(function() one = start(options) end)
  before_each(function() server = one end)
  after_each(function() server = nil end) -- it is not stopped
  lazy_teardown(function() if one then one:stop() end end)
end

local function uuid(n) return ("efec49e0-80a0-4734-bf02-%012d"):format(n) end

local function btrz_body(n, data)
  return ('{"attemptId":"0ab70210-547a-4a7a-8e1b-e402a8663308","created":1623794899,"data":%s,'
    .. '"event":"invoices.created","id":"%s","livemode":true}'):format(
    data or ('{"_id":"616d7cf38fedff37%08x"}'):format(n), uuid(n))
end

local function sign(body, t)
  t = ("%.0f"):format(t or os.time())
  local mac = core.text.hex(core.verify.hmac("private-key", t .. "." .. body))
  return { ["Content-Type"] = "application/json",
    ["x-btrz-signature"] = ("t=%s,s=00,s2=%s"):format(t, mac) }
end

local function request(n, options)
  options = options or {}
  local body = options.body or btrz_body(n)
  return { method = "POST", path = "/webhooks/" .. (options.account or "tickets"), body = body,
    headers = options.headers or sign(body) }
end

local function post(n, options) return server:request(request(n, options)) end

local function open(n, options) return assert(nginx.send(server.port, request(n, options))) end

local function all(of)
  local store = assert(inbox.open("sqlite:" .. server.prefix .. "/inbox.db"))
  local list = assert(store[of](store, { limit = 1000 }))
  store:close()
  return list
end

local function stored() return all "deliveries" end

local function events_done()
  local done = 0
  for _, event in ipairs(all "events") do done = done + (event.state == "done" and 1 or 0) end
  return done
end

local function ran()
  local lines, file = {}, io.open(server.prefix .. "/ran")
  if not file then return lines end
  for line in file:lines() do lines[#lines + 1] = line end
  file:close()
  return lines
end

-- Keeps every commit waiting until the function that it gives is called.
local function hold()
  local db = assert(sqlite.open(server.prefix .. "/inbox.db"))
  assert(db:exec("BEGIN IMMEDIATE"))
  return function()
    db:exec("ROLLBACK")
    db:close()
  end
end

-- Opens requests 1 to n while commits are held, and waits until nginx has read them.
local function open_held(n)
  local peers = {}
  for i = 1, n do peers[i] = open(i) end
  nginx.wait("the requests", function()
    local _, _, body = server:request { path = "/waiting" }
    return tonumber(body) >= n - 1
  end)
  return peers
end

local waiting = [[
  location /waiting { content_by_lua_block {
    ngx.print(app.store.group and app.store.group.events or 0)
  } }
]]

local function all_answered(peers)
  for _, peer in ipairs(peers) do
    local status, _, body = nginx.answer(peer)
    assert.equal(200, status)
    assert.equal('{"ok":true}', body)
  end
end

describe("nginx", function()
  after_each(function()
    if server then server:stop() end
    server = nil
  end)

  describe("receives", function()
    share { server = "lingering_timeout 100ms;" } -- for a body that does not come
    local known

    -- what was stored since the test began
    local function added()
      local list = {}
      for _, one in ipairs(stored()) do
        if not known[one.id] then list[#list + 1] = one end
      end
      return list
    end

    before_each(function()
      known = {}
      for _, one in ipairs(stored()) do known[one.id] = true end
    end)

    it("a signed delivery: stored, then answered", function()
      local status, headers, body = post(1)
      assert.equal(200, status)
      assert.equal('{"ok":true}', body)
      assert.equal("application/json", headers["content-type"])
      local list = added()
      assert.equal(1, #list)
      assert.equal("invoice.created", list[1].type)
      assert.equal("tickets:" .. uuid(1), list[1].id)
    end)

    it("the public DreamClass samples, and refuses the wrong ones", function()
      local one = "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2"
      local two = "b3e6fa78-8672-4e8b-8431-7eebdabd25a2"
      local vectors = {
        { one, "4sB3kHjsoz0srhd/dd+55xSKhlFd/hUXzyrMIJWrXTM=", 200 },
        { two, "nGq8sspzZVWObaR4zUOLyQ29m/IBxxD716hKx5298No=", 200 },
        { one, "6gH+GaVo/OQ1tyvOtw5TbFocoLD2d/fKEVieIrP6ZN4=", 401 },
        { two, "jJSq0MQtZZBksLD9o2a8YM6l10Ll+LYjWXPTl8wF1Kk=", 401 },
      }
      for i, vector in ipairs(vectors) do
        local body = ('{"id":"%s","data":{"id":%d},"type":"INVOICE_CREATED","tenant":"my-school",'
          .. '"signature":"%s","timestamp":1727884920561}'):format(vector[1], i, vector[2])
        assert.equal(vector[3], (post(i, { account = "school", body = body,
          headers = { ["Content-Type"] = "application/json" } })))
      end
      assert.equal(2, #added())
    end)

    it("a list of journal items in one transaction, an empty one too", function()
      local headers = { Authorization = "Bearer hook", ["Content-Type"] = "application/json" }
      local item = '{"id":%d,"logged":"2026-01-01T00:00:00+00:00","event":"Invoice was created: ?",'
        .. '"bind":[],"invoice":"/api/v9/invoices/%d"}'
      local body = "[" .. item:format(1, 5) .. "," .. item:format(2, 6) .. "]"
      assert.equal(200, (post(1, { account = "admissions", headers = headers, body = body })))
      assert.equal(2, #added())
      local status = post(1, { account = "admissions", headers = headers, body = "[]" })
      assert.is_true(status == 200 or status == 400)
    end)

    it("only POST", function()
      for _, method in ipairs { "GET", "PUT", "DELETE" } do
        local status, headers = server:request { method = method, path = "/webhooks/tickets" }
        assert.equal(405, status)
        assert.equal("POST", headers["allow"])
      end
    end)

    it("no unknown account", function()
      local status, _, body = post(1, { account = "nobody" })
      assert.equal(404, status)
      assert.equal('{"error":"no such account"}', body)
    end)

    it("no body where the header says enough to refuse it", function()
      local function refused(status, account, headers, method)
        headers = headers or {}
        headers["Content-Length"] = headers["Content-Length"] or 1000 -- of which nothing comes
        local peer = assert(nginx.send(server.port, { method = method or "POST",
          path = "/webhooks/" .. account, headers = headers }))
        assert.equal(status, (nginx.answer(peer)))
      end
      refused(405, "tickets", nil, "PUT")
      refused(404, "nobody")
      refused(413, "tickets", { ["Content-Length"] = "9000000" })
      refused(401, "admissions")
      refused(401, "admissions", { Authorization = "Bearer other" })
      refused(401, "guarded")
      refused(401, "guarded", { Authorization = "Basic " .. core.text.base64 "user:other" })
      refused(401, "tickets")
      refused(400, "tickets", { ["x-btrz-signature"] = "t=1,s2=abc" })
      refused(401, "unset", sign "{}")
      assert.equal(0, #added())
    end)

    it("what follows on the connection, and nothing of a body that was refused", function()
      local peer = assert(require("socket").connect("127.0.0.1", server.port))
      peer:settimeout(30)
      local inner = "GET /quick HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
      peer:send(("POST /webhooks/nobody HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s%s")
        :format(#inner, inner, inner:gsub("quick", "healthz")))
      local text = peer:receive "*a" or ""
      peer:close()
      assert.truthy(text:find("no such account", 1, true))
      assert.is_nil(text:find("\r\n\r\nquick", 1, true))
      assert.truthy(text:find('{"ok":true}', 1, true))
    end)

    it("a body in chunks", function()
      local body = btrz_body(2)
      local headers = sign(body)
      headers["Transfer-Encoding"] = "chunked"
      local chunked = ("%x\r\n%s\r\n0\r\n\r\n"):format(#body, body)
      local peer = assert(nginx.send(server.port, { method = "POST", path = "/webhooks/tickets",
        headers = headers, body = chunked, no_length = true }))
      assert.equal(200, (nginx.answer(peer)))
    end)

    it("none of what must be refused", function()
      local body = btrz_body(1)
      local function refused(status, headers, text, account)
        assert.equal(status,
          (post(1, { headers = headers, body = text or body, account = account })))
      end
      local good = sign(body)
      local line = "x-btrz-signature: " .. good["x-btrz-signature"]
      refused(401, { ["Content-Type"] = "application/json" })
      refused(401, { ["x-btrz-signature"] = good["x-btrz-signature"]:gsub("%x$", function(c)
        return c == "0" and "1" or "0"
      end) })
      refused(401, sign(body, os.time() - 301))
      refused(401, sign(body, os.time() + 600)) -- it may be seconds until it is looked at
      refused(401, good, (body:gsub("created", "updated")))
      refused(400, { line, line })
      refused(400, { line, "X-Btrz-Signature: t=1,s2=00" })
      refused(401, good, nil, "unset")
      local many = { line }
      for i = 1, 200 do table.insert(many, 1, "X-Filler-" .. i .. ": 1") end
      refused(400, many)
      refused(415, { line, "Content-Encoding: gzip" })
      assert.equal(0, #added())
    end)

    it("what is authentic and cannot be acted on, as a dead letter", function()
      local body = btrz_body(1)
      local changes = {
        { '"id":', '"id":"1","id":' }, { '"id":', '"\\u0069d":"1","id":' },
        { "invoices", "inv\0ices" }, { "invoices", "inv\255ices" }, { "}$", "" }, { "$", "{}" },
      }
      for _, change in ipairs(changes) do
        local text = body:gsub(change[1], change[2])
        assert.equal(200, (post(1, { headers = sign(text), body = text })))
      end
      local list = added()
      assert.equal(#changes, #list)
      for _, event in ipairs(list) do
        assert.truthy(event.id:find(":bad-", 1, true))
        assert.truthy(event.reason)
      end
      assert.same({}, ran())
    end)
  end)

  describe("receives, with what is set for it,", function()
    it("a body that nginx has put into a file", function()
      start { server = "client_body_buffer_size 1k;" }
      local data = '{"_id":"616d7cf38fedff37e4492161","note":"' .. ("x"):rep(300000) .. '"}'
      assert.equal(200, (post(1, { body = btrz_body(1, data) })))
      assert.equal(1, #stored())
    end)

    it("no body over the limit, neither announced nor in chunks", function()
      start { app = "{ limit = 2000 }",
        server = "client_body_buffer_size 1k; lingering_timeout 100ms;" }
      local peer = assert(nginx.send(server.port, { method = "POST", path = "/webhooks/tickets",
        headers = { "Content-Length: 2001" } }))
      local status, _, body = nginx.answer(peer)
      assert.equal(413, status)
      assert.equal('{"error":"body too large"}', body)
      local chunk = ("x"):rep(1000)
      local chunks = ("3e8\r\n" .. chunk .. "\r\n"):rep(3) .. "0\r\n\r\n"
      local headers = sign(chunk)
      headers["Transfer-Encoding"] = "chunked"
      peer = assert(nginx.send(server.port, { method = "POST", path = "/webhooks/tickets",
        headers = headers, body = chunks, no_length = true }))
      assert.equal(413, (nginx.answer(peer)))
      assert.equal(200, (post(1)))
      assert.equal(1, #stored())
    end)

    it("what is odd and decides nothing, and JSON whatever a header calls it", function()
      start { start = "{}" }
      for i, odd in ipairs { '"Ann \\ud83d"', '"Ann \255"', "1e999", '1,"name":2' } do
        local body = btrz_body(i, ('{"_id":"%d","name":%s}'):format(i, odd))
        local headers = { "x-btrz-signature: " .. sign(body)["x-btrz-signature"] }
        headers[2] = ({ "Content-Type: text/plain", "Content-Encoding: UTF-8",
          "Content-Type: application/json" })[i]
        headers[3] = i == 3 and "Content-Type: application/json" or nil
        assert.equal(200, (post(i, { headers = headers, body = body })))
      end
      nginx.wait("the rules", function() return #ran() == 4 end)
    end)

    it("each id once, over all workers and connections, for each account", function()
      start { workers = 2 }
      local peers = {}
      for _ = 1, 10 do
        peers[#peers + 1] = open(1)
        peers[#peers + 1] = open(1, { account = "other" })
      end
      all_answered(peers)
      assert.equal(2, #stored())
    end)

    it("into an inbox in memory, without any thread pool", function()
      start { app = '{ inbox = "memory:" }', start = "{}", threads = false }
      assert.equal(200, (post(1)))
      nginx.wait("the rule", function() return #ran() == 1 end)
    end)
  end)

  describe("commits", function()
    it("what came meanwhile together, and answers other requests while it waits", function()
      start { server = waiting }
      post(100) -- the file is made, a thread is warm
      local release = hold()
      local peers = open_held(50)
      assert.equal("quick", (select(3, server:request { path = "/quick" })))
      release()
      all_answered(peers)
      assert.equal(51, #stored())
    end)

    it("what a client sent that did not wait for the answer", function()
      start { server = "lua_check_client_abort on;" .. waiting }
      post(100)
      local release = hold()
      for _, peer in ipairs(open_held(10)) do peer:close() end
      release()
      nginx.wait("the deliveries", function() return #stored() == 11 end)
      assert.equal(200, (post(101)))
    end)

    it("in turn where its log and index are removed, and no other thread can open it", function()
      start { server = [[ location /take { content_by_lua_block {
        ngx.print(tostring((require("billhook.shared.gate").run("call", 5, "spec.support.taking",
          "hold", "$PREFIX"))))
      } } ]] }
      assert.equal(200, (post(1))) -- there is one connection
      local held = assert(nginx.send(server.port, { path = "/take" }))
      nginx.wait("the connection to be taken", function()
        return process.stat(server.prefix .. "/taken")
      end)
      for _, ending in ipairs { "-wal", "-shm" } do
        assert(os.remove(server.prefix .. "/inbox.db" .. ending))
      end
      local peers = { open(2), assert(nginx.send(server.port, { path = "/healthz" })) }
      process.sleep(0.5, true) -- who does not wait for his turn has been refused by then
      io.open(server.prefix .. "/go", "w"):close()
      all_answered(peers)
      assert.equal("true", (select(3, nginx.answer(held))))
      assert.equal(2, #stored())
    end)

    it("before nginx quits", function()
      start { server = waiting }
      post(100)
      local release = hold()
      local peers = open_held(10)
      server:signal "QUIT"
      nginx.wait("nginx to stop listening", function()
        return not nginx.send(server.port, { path = "/" })
      end)
      release()
      all_answered(peers)
      server:wait_end()
      assert.equal(11, #stored())
    end)

    it("before a worker ends that nginx has replaced", function()
      start { server = waiting }
      post(100)
      local release = hold()
      local peers = open_held(10)
      local before = server:workers()[1]
      server:signal "HUP"
      nginx.wait("a new worker", function()
        local now = server:workers()
        return now[2] or now[1] ~= before
      end)
      release()
      all_answered(peers)
      nginx.wait("the old worker to end", function() return #server:workers() == 1 end)
      assert.equal(200, (post(101)))
      assert.equal(12, #stored())
    end)
  end)

  describe("a group of commits", function()
    local group = [[
      location /group { content_by_lua_block {
        local group = require("billhook.nginx.commit")
        local fail, raise = ngx.var.arg_fail, ngx.var.arg_raise
        batches = {}
        local one = group.new(function(events)
          ngx.sleep(0.02)
          local ids = {}
          for i, event in ipairs(events) do ids[i] = event.id end
          batches[#batches + 1] = table.concat(ids, " ")
          if fail == "all" then return nil, { kind = "store", message = "full" } end
          for i, event in ipairs(events) do
            if event.id == fail then
              if raise then error("poison") end
              return nil, { kind = "store", message = "poison" }
            end
          end
          return ids
        end, { patience = tonumber(ngx.var.arg_patience), rounds = 2,
          batch_events = tonumber(ngx.var.arg_batch),
          waiting_events = tonumber(ngx.var.arg_most) })
        local lines, threads = {}, {}
        for i = 1, tonumber(ngx.var.arg_n) do
          threads[i] = ngx.thread.spawn(function()
            local a, b = { id = i .. "a", body = "" }, { id = i .. "b", body = "" }
            local results, err = one:admit { a, b }
            lines[i] = results and table.concat(results, " ") or err.message
          end)
        end
        for _, thread in ipairs(threads) do ngx.thread.wait(thread) end
        ngx.say(table.concat(lines, "\n"))
        ngx.say("--")
        ngx.print(table.concat(batches, "\n"))
      } }
    ]]

    share { server = group }

    local function run_group(query)
      local _, _, body = server:request { path = "/group?" .. query }
      local lines, batches = body:match("^(.*)\n%-%-\n(.*)$")
      return lines, batches
    end

    it("gives each request its own results, one commit at a time, in order", function()
      local lines, batches = run_group "n=4"
      assert.equal("1a 1b\n2a 2b\n3a 3b\n4a 4b", lines)
      -- the first commit begins in the next turn of the event loop: all four are there by then
      assert.equal("1a 1b 2a 2b 3a 3b 4a 4b", batches)
    end)

    it("makes no batch larger than the limit", function()
      local lines, batches = run_group "n=5&batch=4"
      assert.equal("1a 1b\n2a 2b\n3a 3b\n4a 4b\n5a 5b", lines)
      assert.equal("1a 1b 2a 2b\n3a 3b 4a 4b\n5a 5b", batches)
    end)

    it("stores the neighbours of what cannot be stored", function()
      local lines, batches = run_group "n=4&fail=3b"
      assert.equal("1a 1b\n2a 2b\npoison\n4a 4b", lines)
      assert.equal("1a 1b 2a 2b 3a 3b 4a 4b\n1a 1b 2a 2b\n3a 3b 4a 4b\n3a 3b\n4a 4b", batches)
    end)

    it("does so too when storing raises", function()
      local lines = run_group "n=4&fail=3b&raise=1"
      assert.matches("^1a 1b\n2a 2b\n[^\n]*poison\n4a 4b$", lines)
    end)

    it("tries a failing inbox three times a batch, not once a delivery", function()
      local lines, batches = run_group "n=8&fail=all"
      assert.equal(("full\n"):rep(7) .. "full", lines)
      assert.equal(2, select(2, batches:gsub("\n", "")))
    end)

    it("gives up waiting in time", function()
      local lines = run_group "n=2&patience=0.001"
      local late = "the inbox did not answer in 0.001 s"
      assert.equal(late .. "\n" .. late, lines)
    end)

    it("lets only so many wait", function()
      local lines = run_group "n=4&most=4"
      assert.equal("1a 1b\n2a 2b\ntoo many deliveries wait for the inbox\n"
        .. "too many deliveries wait for the inbox", lines)
    end)
  end)

  describe("when the store fails", function()
    it("answers 503, says so in the log and at /healthz, and recovers", function()
      start { app = [[{ log = require("billhook.log").default }]] }
      local began = os.time()
      assert.equal(200, (server:request { path = "/healthz" }))
      os.execute(("cd %s && mv inbox.db away && mkdir inbox.db"):format(server.prefix))
      nginx.wait("a refusal", function() return (post(2)) == 503 end)
      local status, headers, body = post(3)
      assert.equal(503, status)
      assert.equal("5", headers["retry-after"])
      assert.equal('{"error":"store unavailable"}', body)
      for _ = 1, 3 do assert.equal(503, (server:request { path = "/healthz" })) end
      server:wait_log "event=not_stored"
      local _, complaints = server:log():gsub("event=unhealthy message=\"store: ", "")
      -- once a minute: as often as it is asked would be too often
      assert.is_true(complaints >= 1 and complaints <= 1 + (os.time() - began) / 60, complaints)
      os.execute(("cd %s && rmdir inbox.db && mv away inbox.db"):format(server.prefix))
      nginx.wait("recovery", function() return (post(4)) == 200 end)
      assert.equal(200, (server:request { path = "/healthz" }))
    end)

    it("tells so at /metrics, and does not lose what it has counted", function()
      start()
      post(1)
      post(2, { headers = {} })
      os.execute(("cd %s && mv inbox.db away && mkdir inbox.db"):format(server.prefix))
      nginx.wait("a refusal", function() return (post(3)) == 503 end)
      local status, _, body = server:request { path = "/metrics" }
      assert.equal(200, status)
      assert.truthy(body:find("\nbillhook_inbox_up 0\n", 1, true))
      os.execute(("rmdir %s/inbox.db && mv %s/away %s/inbox.db"):format(server.prefix,
        server.prefix, server.prefix))
      nginx.wait("recovery", function() return (post(4)) == 200 end)
      local _, headers
      _, headers, body = server:request { path = "/metrics" }
      assert.truthy(headers["content-type"]:find "^text/plain")
      for line, count in pairs {
        ['billhook_inbox_up'] = "1", ['billhook_deliveries_incoming'] = "2",
        ['billhook_secrets_total{secret="1",account="tickets"}'] = "2",
        ['billhook_deliveries_total{result="new",account="tickets"}'] = "2",
        ['billhook_deliveries_total{result="refused",account="tickets"}'] = "1",
        ['billhook_refusals_total{code="unsigned",account="tickets"}'] = "1",
      } do assert.truthy(body:find("\n" .. line .. " " .. count .. "\n", 1, true), line) end
      assert.truthy(tonumber(body:match(
        'billhook_deliveries_total{result="not_stored",account="tickets"} (%d+)')) >= 1)
      assert.truthy(body:find "\n# more\n$")
    end)

    it("says what nginx.conf lacks", function()
      start { threads = false }
      server:wait_log "add to nginx.conf, outside of http: thread_pool billhook threads=10"
      assert.equal(503, (post(1)))
      assert.equal(503, (server:request { path = "/healthz" }))
    end)
  end)

  it("makes the worker VMs beforehand, each once", function()
    start { http = [[
      init_by_lua_block {
        os.execute("mkdir -p $PREFIX/first/billhook/transport")
        local file = io.open("$PREFIX/first/billhook/transport/curl.lua", "w")
        file:write("local file = io.open('$PREFIX/vms', 'a') file:write('vm ') file:close()",
          " return { new = function() return { sleep = function(_, s) ",
          "require('socket').sleep(s) end } end }")
        file:close()
        package.path = "$PREFIX/first/?.lua;" .. package.path
      }
    ]] }
    local function vms()
      local file = io.open(server.prefix .. "/vms")
      local text = file and file:read("*a") or ""
      if file then file:close() end
      return select(2, text:gsub("vm", ""))
    end
    nginx.wait("all VMs", function() return vms() == 10 end)
    for i = 1, 20 do assert.equal(200, (post(i))) end
    assert.equal(10, vms())
    assert.equal("", (server:log():gsub("[^\n]*%[notice%][^\n]*\n", "")))
  end)

  describe("runs rules from timers", function()
    it("soon after a delivery", function()
      start { start = "{}" }
      post(1)
      nginx.wait("the rule", function() return #ran() == 1 end)
      assert.truthy(ran()[1]
        :find "^tickets:616d7cf38fedff3700000001@1%.%x+%.updated invoice%.updated$")
      post(1)
      post(2)
      nginx.wait("the rule", function() return #ran() == 2 end)
    end)

    it("that wait, without holding up others", function()
      start { start = "{}", app = [[{ rule = function(event)
        if event.invoice_id:find("1$") then
          while not io.open("$PREFIX/go") do ngx.sleep(0.005) end
        end
      end }]] }
      post(1)
      nginx.wait("the first rule", function() return #ran() == 1 end)
      post(2)
      post(3)
      nginx.wait("the others", function() return #ran() == 3 end)
      nginx.wait("the others' marks", function() return events_done() == 2 end)
      io.open(server.prefix .. "/go", "w"):close()
      nginx.wait("the first one's end", function() return events_done() == 3 end)
    end)

    it("that wait for too long, and are told of meanwhile", function()
      start { start = "{}", app = [[{ log = require("billhook.log").default, budget = 0.1,
        rule = function() while not io.open("$PREFIX/go") do ngx.sleep(0.005) end end }]] }
      post(1)
      server:wait_log("event=still_running budget=0.1 id=tickets:616d7cf38fedff3700000001@1.")
      io.open(server.prefix .. "/go", "w"):close()
      nginx.wait("its end", function() return events_done() == 1 end)
    end)

    it("and finishes the one that runs when nginx quits", function()
      start { start = "{}", app = [[{ rule = function()
        while not io.open("$PREFIX/go") do ngx.sleep(0.005) end
      end }]] }
      post(1)
      nginx.wait("the rule", function() return #ran() == 1 end)
      server:signal "QUIT"
      nginx.wait("nginx to stop listening", function()
        return not nginx.send(server.port, { path = "/" })
      end)
      io.open(server.prefix .. "/go", "w"):close()
      server:wait_end()
      assert.equal("done", all("events")[1].state)
    end)

    it("not where start was told so", function()
      start()
      post(1)
      assert.equal("pending", stored()[1].state)
      assert.same({}, ran())
    end)
  end)

  it("raises for options that start does not know", function()
    start { http = [[ lua_shared_dict billhook_spec 1m; ]], server = [[
      location /bad { content_by_lua_block {
        local _, a = pcall(host.start, app, { nonsense = true })
        local _, b = pcall(host.start, app, { work = 1 })
        ngx.say(a, "\n", b)
      } }
    ]] }
    local _, _, body = server:request { path = "/bad" }
    assert.matches("start: 'nonsense' is not known: .*\n.*start: 'work' must be a boolean, got",
      body)
  end)

  it("tells whoever watches that the dictionary is full, or was evicted from", function()
    start { http = "lua_shared_dict billhook 128k;", server = [[
      location /detailed { content_by_lua_block { host.healthz(app, true) } }
      location /dict { content_by_lua_block {
        local n = tonumber(ngx.var.arg_n)
        local dict = ngx.shared.billhook
        for i = 1, n do dict[ngx.var.arg_how](dict, i, ("x"):rep(400)) end
        ngx.print(n)
      } }
    ]] }
    local function detailed()
      local status, _, body = server:request { path = "/detailed" }
      local found = json.decode(body)
      return { status, found.ok, found.error }, found.accounts
    end
    local found, accounts = detailed()
    assert.same({ 200, true }, found)
    assert.is_table(accounts)
    server:request { path = "/dict?how=safe_set&n=1000" }
    assert.same({ 503, false, "store: lua_shared_dict billhook: no memory" }, detailed())
    assert.equal(200, (server:request { path = "/healthz" })) -- deliveries need none of it
    assert.equal(200, (post(1)))
    server:request { path = "/dict?how=delete&n=1000" }
    assert.same({ 200, true }, detailed())
    server:request { path = "/dict?how=set&n=1000" }
    server:request { path = "/dict?how=delete&n=1000" }
    found, accounts = detailed()
    assert.same({ 503, false, "store: lua_shared_dict billhook: other code that writes into it has "
      .. "evicted texts from it, so nothing is sent for another 3600 s: give that code a "
      .. "dictionary of its own" }, found)
    assert.is_table(accounts)
  end)
end)

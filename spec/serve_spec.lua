-- serve_spec.lua: `billhook serve` and `billhook work` as processes: what they receive and run, and
-- how they start, stop, crash and are killed.

local command = require "spec.support.command"
local ports = require "spec.support.port"
local process = require "billhook.process"
local prometheus = require "spec.support.prometheus"

local wait, read = command.wait, command.read
local unpack = table.unpack or rawget(_G, "unpack")

-- A rules file whose rules say what they do in a file; `more` are further ones.
local rules_text = [[
local billhook = require "billhook"
local function say(text)
  local file = assert(io.open("$FOLDER/said", "a"))
  file:write(text, "\n")
  file:close()
end
local app = billhook.app { inbox = "sqlite:$FOLDER/inbox.db", backoff = { base = 0.05 },
  accounts = {
    school = billhook.dreamclass { tenant = "my-school",
      webhook = { $LIMIT secret = os.getenv "SERVE_SECRET" or "123" } },
  } }
app:on("invoice.created", function(event) say("created " .. event.claims.id) end)
$MORE
return app
]]

local Server = {}
Server.__index = Server

local function write_rules(self, more, limit)
  local text = rules_text:gsub("%$MORE", function() return more or "" end)
  text = text:gsub("%$LIMIT", limit or "")
  self.rules = command.write(self.folder .. "/rules.lua", (text:gsub("%$FOLDER", self.folder)))
end

local function launch(self, options)
  options = options or {}
  local argv = { "serve", self.rules, "--listen", self.port }
  for _, word in ipairs(options.more or {}) do argv[#argv + 1] = word end
  self.child = command.start(argv, {
    env = { TMPDIR = options.tmp or self.folder, SERVE_SECRET = options.secret or false },
    cwd = options.cwd, script = options.script,
  })
  wait("serve to listen", function()
    if process.wait(self.child.pid, "look") then error(self.child:errors(), 0) end
    return self.child:errors():find("listening on " .. self.url, 1, true)
  end)
  return self
end

local function prepared(more)
  local self = setmetatable({ folder = command.folder() }, Server)
  self.port = ("%d"):format(ports.free())
  self.url = "http://127.0.0.1:" .. self.port
  write_rules(self, more)
  return self
end

local function new(more, options) return launch(prepared(more), options) end

function Server:said() return read(self.folder .. "/said") end

function Server:saying(text)
  return wait("a rule to say: " .. text .. "\n" .. self.child:errors(), function()
    return self:said():find(text, 1, true)
  end)
end

local serial = 0

-- posts a signed delivery; gives status and body
function Server:post(kind, invoice, secret)
  serial = serial + 1
  local body = ('{"id":"aa3a27d6-05b5-4fcd-bd04-%012d","type":"%s","tenant":"my-school",'
    .. '"timestamp":1,"data":{"id":%d}}'):format(serial, kind, invoice)
  local headers, signed = require("billhook").sign("dreamclass", body, { secret = secret or "123" })
  return command.http("POST", self.url .. "/webhooks/school", headers, signed)
end

function Server:pids() return command.descendants(self.child.pid) end

-- the child of serve whose command line has these words
function Server:pid_of(...)
  for _, pid in ipairs(self:pids()) do
    local line, all = read(("/proc/%d/cmdline"):format(pid)):gsub("%z", " "), true
    for _, word in ipairs { ... } do all = all and line:find(word, 1, true) end
    if all then return pid end
  end
end

local function all_gone(pids)
  for _, pid in ipairs(pids) do
    wait("the end of " .. pid, function() return command.gone(pid) end)
  end
end

-- what serve leaves in the folder that it had for temporary files
function Server:leftovers()
  local pipe = io.popen("ls -d '" .. self.folder .. "'/billhook.* 2>/dev/null")
  local text = pipe:read "*a"
  pipe:close()
  return text
end

-- the checkout may lie where only root can read: one of root's that all can read
local checkout
local function script()
  if not checkout then
    checkout = assert(process.mkdtemp "/tmp/billhook-spec")
    process.chmod(checkout, 493) -- 0755
    assert(os.execute(("cp -R bin lua examples %s && mkdir %s/build"
      .. " && cp -R build/lua5.4 build/luajit %s/build"):format(checkout, checkout, checkout)))
  end
  return checkout .. "/bin/billhook"
end
teardown(function() if checkout then process.remove_tree(checkout) end end)

describe("billhook serve", function()
  after_each(command.finish)

  it("receives, and runs rules beside #both", function()
    local server = new()
    assert.truthy(server.child:errors():find(server.url .. "/webhooks/school", 1, true))
    local status, body = server:post("INVOICE_CREATED", 7)
    assert.same({ 200, '{"ok":true}' }, { status, body })
    server:saying "created 7\n"
    local pids = server:pids()
    assert.is_true(#pids >= 3) -- nginx, its worker, work
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
    for _, pid in ipairs(pids) do assert.is_true(command.gone(pid)) end
    assert.equal("", server:leftovers())
    assert.equal("", server.child:output())
  end)

  describe("whose inbox file is taken away", function()
    local server, answered, began

    -- A complaint comes once a minute from each of so many: how many lines of it may be there now.
    local function at_most(n)
      return n * (1 + math.floor((process.monotonic() - began) / 60))
    end

    -- the deliveries that were answered with success, by invoice
    local function deliver(from, to)
      local last
      for n = from, to do
        last = server:post("INVOICE_UPDATED", n)
        if last == 200 then answered[tostring(n)] = true end
        assert.is_true(last == 200 or last == 503, tostring(last))
      end
      return last
    end

    local function found_in(...)
      local found = {}
      for _, name in ipairs { ... } do
        local db = assert(require("billhook.sqlite").open(server.folder .. "/" .. name,
          { create = false }))
        assert.same({ { integrity_check = "ok" } }, db:query "PRAGMA integrity_check")
        for _, row in ipairs(assert(db:query "SELECT invoice FROM deliveries")) do
          found[row.invoice] = true
        end
        db:close()
      end
      for invoice in pairs(answered) do assert.is_true(found[invoice], invoice) end
    end

    local function stop()
      server.child:signal "TERM"
      assert.equal(0, server.child:wait())
    end

    local function lines(pattern)
      return select(2, server.child:errors():gsub(pattern, ""))
    end

    before_each(function()
      server, answered, began = new(), {}, process.monotonic()
      deliver(1, 60)
    end)

    it("stores what it answers with success, or says 503, and goes on when it is back", function()
      local inbox = server.folder .. "/inbox.db"
      assert(os.rename(inbox, server.folder .. "/away.db"))
      deliver(61, 90)
      assert.is_nil(answered["90"])
      assert.equal(503, (command.http("GET", server.url .. "/healthz")))
      -- one line of each process: the receiver's, and work's
      wait("work to say so", function() return lines("billhook: work: store: ") >= 1 end)
      assert.is_true(lines("event=not_stored") <= at_most(1), server.child:errors())
      assert.truthy(server.child:errors():find("event=not_stored[^\n]*put the file back"))
      found_in "away.db"
      assert(os.rename(server.folder .. "/away.db", inbox))
      assert.equal(200, deliver(91, 120))
      assert.is_true(lines("event=not_stored") <= at_most(1), server.child:errors())
      stop()
      found_in "inbox.db"
    end)

    it("goes on at once where its log and index are removed", function()
      for _, ending in ipairs { "-wal", "-shm" } do
        assert(os.remove(server.folder .. "/inbox.db" .. ending))
      end
      for n = 61, 160 do
        deliver(n, n)
        assert.is_true(answered[tostring(n)], n)
        -- what is asked meanwhile goes through other threads than the commits
        if n % 10 == 0 then
          assert.equal(200, (command.http("GET", server.url .. "/healthz")))
          assert.equal(200, (command.http("GET", server.url .. "/metrics")))
        end
      end
      wait("a word about it", function() return lines("event=inbox_moved") > 0 end)
      -- the receiver's, work's and that of the process which runs its rules
      assert.is_true(lines("event=inbox_moved") <= at_most(3), server.child:errors())
      stop()
      found_in "inbox.db"
    end)

    it("loses nothing where it is stopped before it is back", function()
      assert(os.rename(server.folder .. "/inbox.db", server.folder .. "/away.db"))
      deliver(61, 90)
      stop()
      found_in "away.db"
      local result = command.run { "work", server.rules, "--once" }
      assert.equal(1, result.code)
      assert.truthy(result.err:find("the file is missing", 1, true), result.err)
    end)

    it("goes on with a copy that was put in its place", function()
      local db = assert(require("billhook.sqlite").open(server.folder .. "/inbox.db"))
      assert(db:exec(("VACUUM INTO '%s/copy.db'"):format(server.folder)))
      db:close()
      deliver(61, 70)
      process.wait((process.spawn { "ln", server.folder .. "/inbox.db",
        server.folder .. "/away.db" }))
      assert(os.rename(server.folder .. "/copy.db", server.folder .. "/inbox.db"))
      assert.equal(200, deliver(71, 100))
      server:post("INVOICE_CREATED", 500)
      server:saying "created 500\n" -- work has followed
      stop()
      found_in("away.db", "inbox.db")
      -- one line of each connection: two of the receiver, of who works and of who watches
      assert.is_true(lines("level=error") <= at_most(4), server.child:errors())
    end)

    for _, ending in ipairs { "-wal", "-shm" } do
      it(("loses nothing without its %s, also after it was killed"):format(ending), function()
        assert(os.remove(server.folder .. "/inbox.db" .. ending))
        -- a worker thread that opens the file only now is refused as long as the others' log lasts:
        -- 503, as long as they have it; what is answered 200 is there
        local last = deliver(61, 100)
        assert.is_true(last == 200 or last == 503)
        local pids = server:pids()
        server.child:signal "KILL"
        server.child:wait()
        all_gone(pids) -- found_in asks SQLite alone, which would not see that others have the log
        found_in "inbox.db"
        assert.equal(0, command.run({ "work", server.rules, "--once" }).code) -- all is well again
      end)
    end
  end)

  it("logs ten refusals a second with their senders, and counts the rest", function()
    local server = new()
    for _ = 1, 300 do assert.equal(401, (server:post("INVOICE_CREATED", 1, "124"))) end
    local function told()
      local log, lines, more = server.child:errors(), 0, 0
      for line in log:gmatch "event=refused [^\n]+" do
        assert.truthy(line:find("code=mismatch from=127.0.0.1", 1, true))
        lines = lines + 1
      end
      for n in log:gmatch "event=refused_more more=(%d+)\n" do more = more + tonumber(n) end
      return lines, more
    end
    wait("all to be told", function()
      local lines, more = told()
      return lines + more == 300
    end)
    assert.is_true(told() < 300)
    local page = prometheus.read(select(2, command.http("GET", server.url .. "/metrics")))
    assert.equal(300, page.value 'billhook_refusals_total{code="mismatch",account="school"}')
  end)

  it("tells which secret a delivery was signed with, in its log, row and metrics", function()
    local server = new(nil, { secret = "old" })
    write_rules(server)
    local text = read(server.rules):gsub('os%.getenv "SERVE_SECRET" or "123"', '{ "new", "old" }')
    command.write(server.rules, text)
    server.child:signal "HUP"
    wait("the reload", function() return server.child:errors():find("reloaded", 1, true) end)
    wait("the new secret", function()
      return server:post("INVOICE_CREATED", 7, "new") == 200
    end)
    assert.equal(200, (server:post("INVOICE_CREATED", 8, "old")))
    assert.truthy(server.child:errors():find "event=admitted [^\n]*invoice=8 secret=2 ")
    local page = prometheus.read(select(2, command.http("GET", server.url .. "/metrics")))
    assert.is_true(page.value 'billhook_secrets_total{secret="2",account="school"}' >= 1)
    local list = command.run { "inbox", "deliveries", "--invoice", "8", "--json", "--inbox",
      "sqlite:" .. server.folder .. "/inbox.db" }
    assert.equal(2, require("billhook.json").decode(list.out)[1].secret)
  end)

  describe("--capture-refused", function()
    it("keeps what is refused for nobody else, for verify to say why", function()
      local server = prepared()
      local kept = server.folder .. "/refused"
      launch(server, { more = { "--capture-refused", kept } })
      assert.equal(401, (server:post("INVOICE_CREATED", 7, "MTIz")))
      assert.equal(448, process.stat(kept).mode)
      local path = server.child:errors():match "event=refused [^\n]*kept=(%S+) "
      assert.equal(process.realpath(kept) .. "/000000001.body", path)
      assert.equal(384, process.stat(path).mode)
      assert.truthy(read(path):find('"INVOICE_CREATED"', 1, true))
      local result = command.run { "verify", "--rules", server.rules, "--account", "school", path }
      assert.equal(1, result.code)
      assert.truthy(result.out:find("not authentic: mismatch", 1, true), result.out)
      assert.truthy(result.out:find("the secret is encoded in base64 by the sender", 1, true))
      -- not one byte of a credential, and the oldest go
      local headers = { Authorization = "Basic " .. require("billhook.core").text.base64 "a:b" }
      for _ = 1, 2 do command.http("POST", server.url .. "/webhooks/school", headers, "{}") end
      local about = read(kept .. "/000000002.json")
      assert.truthy(about:find('"[Aa]uthorization":"sha256:%x%x%x%x%x%x%x%x"'))
      assert.truthy(about:find('"from":"127.0.0.1"', 1, true))
    end)

    it("wants a folder of its own", function()
      local server = prepared()
      local open = command.folder()
      process.chmod(open, 493)
      local result = command.run { "serve", server.rules, "--listen", server.port,
        "--capture-refused", open }
      assert.equal(1, result.code)
      assert.truthy(result.err:find("must be a folder of the receiver's own: chmod 700", 1, true))
    end)
  end)

  it("passes the environment on to both sides", function()
    local server = new("app:on('invoice.updated', function() say(os.getenv 'SERVE_SECRET') end)",
      { secret = "other" })
    assert.equal(401, (server:post("INVOICE_CREATED", 1)))
    assert.equal(200, (server:post("INVOICE_UPDATED", 1, "other")))
    server:saying "other\n"
  end)

  it("lets the running rule end, on TERM, INT and QUIT", function()
    for _, name in ipairs { "TERM", "INT", "QUIT" } do
      local server = new [[app:on("invoice.updated", function()
        say "began"
        require("billhook.process").sleep(0.5, true)
        say "ended"
      end)]]
      assert.equal(200, (server:post("INVOICE_UPDATED", 1)))
      server:saying "began\n"
      server.child:signal(name)
      assert.equal(0, server.child:wait())
      assert.equal("began\nended\n", server:said())
      assert.is_nil(server.child:errors():find("by force", 1, true))
    end
  end)

  it("ends at once when it is told twice", function()
    local server = new [[app:on("invoice.updated", function()
      say "began"
      require("billhook.process").sleep(1000, true)
    end)]]
    assert.equal(200, (server:post("INVOICE_UPDATED", 1)))
    server:saying "began\n"
    local pids = server:pids()
    server.child:signal "TERM"
    wait("nginx to drain", function() return not server:pid_of "nginx" end)
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
    assert.truthy(server.child:errors():find("billhook: stopped by force", 1, true))
    all_gone(pids)
  end)

  for _, whom in ipairs { "it", "all of it" } do
    it("leaves no orphan when " .. whom .. " is killed, and goes on where it was #both", function()
      local server = new [[app:on("invoice.updated", function(event)
        say("began " .. event.attempt)
        if not io.open("$FOLDER/go") then require("billhook.process").sleep(1000, true) end
        say "ended"
      end)]]
      assert.equal(200, (server:post("INVOICE_UPDATED", 1)))
      server:saying "began 1\n"
      local pids = server:pids()
      server.child:signal "KILL"
      for _, pid in ipairs(whom == "it" and {} or pids) do process.kill(pid, "KILL") end
      assert.equal("KILL", server.child:wait())
      all_gone(pids)
      command.write(server.folder .. "/go", "")
      launch(server)
      server:saying "ended\n"
      assert.equal("began 1\nbegan 2\nended\n", server:said()) -- the run that was lost counts
      assert.equal(1, select(2, server:leftovers():gsub("\n", ""))) -- its own folder
    end)
  end

  it("leaves no nginx worker when the master is killed, and fails", function()
    local server = new()
    local pids = server:pids()
    process.kill(server:pid_of("nginx", "-c"), "KILL")
    assert.equal(1, server.child:wait())
    assert.truthy(server.child:errors():find("billhook: nginx ended (signal KILL)", 1, true))
    all_gone(pids)
    assert.equal("", server:leftovers())
  end)

  it("goes on receiving while a rule crashes its process #both", function()
    local server = new [[app:on("invoice.updated", function(event)
      say "crashing"
      if not io.open("$FOLDER/fixed") then os.execute "kill -SEGV $PPID" end
      say "fixed"
    end)]]
    assert.equal(200, (server:post("INVOICE_UPDATED", 1)))
    wait("the crash", function()
      return server.child:errors():find(
        "billhook: work ended (signal SEGV); it starts again in 0.5 s", 1, true)
    end)
    assert.equal(200, (server:post("INVOICE_CREATED", 2)))
    command.write(server.folder .. "/fixed", "")
    server:saying "fixed\n"
    server:saying "created 2\n"
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
  end)

  it("lets no lane wait for the crashes of others", function()
    local server = new [[app:on("invoice.updated", function()
      os.execute "kill -SEGV $PPID"
    end)]]
    for i = 1, 4 do assert.equal(200, (server:post("INVOICE_UPDATED", i))) end
    assert.equal(200, (server:post("INVOICE_CREATED", 5)))
    server:saying "created 5\n"
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
    assert.is_nil(server.child:errors():find("it starts again in [1-9]"))
  end)

  it("begins anew where a rule has broken the process that it runs in", function()
    local server = new [[app:on("invoice.updated", { attempts = 1 }, function()
      string.format = nil
    end)]]
    assert.equal(200, (server:post("INVOICE_UPDATED", 1)))
    wait("its end", function()
      return server.child:errors():find(
        "billhook: work ended (exit 1); it starts again in 0.5 s", 1, true)
    end)
    assert.equal(200, (server:post("INVOICE_CREATED", 2)))
    server:saying "created 2\n"
    wait("the dead letter", function() return server.child:errors():find("event=dead", 1, true) end)
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
  end)

  it("reads the rules again on HUP, unless they are broken #both", function()
    local server = new()
    assert.equal(200, (server:post("INVOICE_CREATED", 0)))
    server:saying "created 0\n"
    command.write(server.rules, "this is no Lua")
    server.child:signal "HUP"
    wait("the refusal", function()
      return server.child:errors():find("billhook: not reloaded: " .. server.rules, 1, true)
    end)
    assert.equal(200, (server:post("INVOICE_CREATED", 1)))
    server:saying "created 1\n"
    local large = { "POST", server.url .. "/webhooks/school", {}, ("x"):rep(2 * 1024 * 1024) }
    assert.equal(413, (command.http(unpack(large))))
    write_rules(server, "app:on('invoice.updated', function() say 'new rule' end)",
      "limit = 3 * 1024 * 1024,")
    server.child:signal "HUP"
    wait("the reload", function()
      return server.child:errors():find("billhook: reloaded", 1, true)
    end)
    wait("the new rule", function() -- an old nginx worker may still take the first ones
      assert.equal(200, (server:post("INVOICE_UPDATED", 2)))
      return server:said():find("new rule", 1, true)
    end)
    wait("the new limit", function() return command.http(unpack(large)) == 400 end)
  end)

  it("finds a rules file and an inbox by relative names, and modules beside the rules", function()
    local folder = command.folder()
    command.write(folder .. "/secrets.lua", "return { school = '123' }")
    command.write(folder .. "/rules.lua", [[
      local billhook, secrets = require "billhook", require "secrets"
      return billhook.app { inbox = "sqlite:inbox.db", accounts = {
        school = billhook.dreamclass { webhook = { secret = secrets.school } } } }]])
    local server = setmetatable({ folder = folder, rules = "rules.lua" }, Server)
    server.port = ("%d"):format(ports.free())
    server.url = "http://127.0.0.1:" .. server.port
    server.child = command.start({ "serve", "rules.lua", "--listen", server.port },
      { cwd = folder, script = process.realpath "bin/billhook",
        env = { TMPDIR = folder, LUA_PATH = false, LUA_CPATH = false } })
    wait("serve to listen", function() return server.child:errors():find "listening on" end)
    assert.truthy(server.child:errors():find(("(process %d: kill -HUP"):format(server.child.pid), 1,
      true), server.child:errors())
    assert.equal(200, (server:post("INVOICE_CREATED", 1)))
    assert.equal("file", process.stat(folder .. "/inbox.db").type)
  end)

  it("removes what killed ones have left, and nothing else", function()
    local top = command.folder()
    local function folder(name, owner)
      process.mkdir(top .. "/" .. name)
      if owner then command.write(top .. "/" .. name .. "/owner", owner .. "\n") end
    end
    local here = require("billhook.inbox.owner").name()
    local gone = here:gsub("[^/]+/[^/]+$", "4194304/1")
    folder("billhook.killed", gone)
    process.mkdir(top .. "/billhook.killed/client_body")
    folder("billhook.living", here)
    folder("billhook.stranger", gone) -- a name that is none of ours
    folder "billhook.nobody"
    folder("billhook.shared", gone)
    process.chmod(top .. "/billhook.shared", 511)
    folder("elsewhere", gone)
    os.execute(("ln -s elsewhere %s/billhook.linked"):format(top))
    local server = new(nil, { tmp = top })
    local kept, run = {}, nil
    for _, name in ipairs(process.entries(top)) do
      local ours = process.stat(top .. "/" .. name .. "/nginx.conf")
      if ours then run = name end
      kept[name] = not ours or nil
    end
    assert.same({ ["billhook.living"] = true, ["billhook.stranger"] = true,
      ["billhook.nobody"] = true, ["billhook.shared"] = true, ["billhook.linked"] = true,
      elsewhere = true }, kept)
    server.child:signal "TERM"
    server.child:wait()
    assert.is_nil(process.stat(top .. "/" .. run))
  end)

  it("takes the place of one that is just ending", function()
    local socket = require("socket").bind("127.0.0.1", 0)
    local _, port = socket:getsockname()
    local server = setmetatable({ folder = command.folder() }, Server)
    server.port = ("%d"):format(port)
    server.url = "http://127.0.0.1:" .. server.port
    write_rules(server)
    server.child = command.start({ "serve", server.rules, "--listen", server.port },
      { env = { TMPDIR = server.folder } })
    process.sleep(0.3) -- it has looked by then, or not: both must be right
    socket:close()
    wait("serve to listen", function() return server.child:errors():find "listening on" end)
    assert.equal(200, (server:post("INVOICE_CREATED", 1)))
  end)

  it("keeps nginx's files where it is told", function()
    local server = prepared()
    local run = server.folder .. "/run"
    server.child = command.start { "serve", server.rules, "--listen", server.port, "--run", run }
    wait("serve to listen", function() return server.child:errors():find "listening on" end)
    assert.equal("file", process.stat(run .. "/nginx.conf").type)
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
    assert.equal("file", process.stat(run .. "/nginx.conf").type)
  end)

  if process.uid() == 0 then
    for _, run in ipairs { "a temporary folder", "a given one" } do
      it("runs as who owns the inbox, when it is started by root, in " .. run, function()
        local server, nobody = prepared(), process.user "nobody"
        process.chown(server.folder, nobody.uid, nobody.gid)
        local run_folder = command.folder()
        process.chmod(run_folder, 457) -- 0711: nginx's workers get to their folders in it
        run_folder = run_folder .. "/run"
        launch(server, { script = script(), cwd = server.folder,
          more = run == "a given one" and { "--run", run_folder } or nil })
        assert.equal(200, (server:post("INVOICE_CREATED", 1)))
        -- what nginx puts into a file, under the same user
        assert.equal(400, (command.http("POST", server.url .. "/webhooks/school", {},
          ("x"):rep(200000))))
        server:saying "created 1\n"
        assert.equal(nobody.uid, process.stat(server.folder .. "/inbox.db").uid)
        assert.equal(nobody.uid, process.stat(server.folder .. "/said").uid)
        server.child:signal "TERM"
        assert.equal(0, server.child:wait())
      end)
    end
  end
end)

-- One for all of these.
describe("billhook serve, asked for many things,", function()
  local server

  setup(function() server = new() end)
  teardown(command.finish)

  it("answers in JSON whatever it is asked", function()
    assert.equal(401, (server:post("INVOICE_CREATED", 1, "124")))
    local function ask(method, path, headers, body)
      return { command.http(method, server.url .. path, headers, body) }
    end
    assert.same({ 404, '{"error":"no such account"}' },
      { ask("POST", "/webhooks/none", {}, "{}")[1], ask("POST", "/webhooks/none", {}, "{}")[2] })
    for _, path in ipairs { "/", "/webhooks/", "/webhooks/school/x" } do
      local answer = ask("GET", path)
      assert.same({ 404, '{"error":"not found"}' }, { answer[1], answer[2] })
      assert.equal("application/json", answer[3]["content-type"])
    end
    assert.equal(405, ask("GET", "/webhooks/school")[1])
    local large = ask("POST", "/webhooks/school", {}, ("x"):rep(9 * 1024 * 1024))
    assert.same({ 413, '{"error":"body too large"}' }, { large[1], large[2] })
    assert.equal("application/json", large[3]["content-type"])
    large = ask("POST", "/webhooks/school", {}, ("x"):rep(1024 * 1024 + 1))
    assert.same({ 413, '{"error":"body too large"}' }, { large[1], large[2] })
    assert.same({ 200, '{"ok":true}' }, { ask("GET", "/healthz")[1], ask("GET", "/healthz")[2] })
  end)

  it("counts what nginx answers before the app sees it", function()
    local function page()
      return prometheus.read(select(2, command.http("GET", server.url .. "/metrics")))
    end
    local before, log = page(), #server.child:errors()
    local function raw(text)
      local peer = assert(require("socket").connect("127.0.0.1", tonumber(server.port)))
      peer:send(text)
      local answer = peer:receive "*a"
      peer:close()
      return answer:match "^HTTP/1.1 (%d+)"
    end
    assert.equal("400", raw "NOTHING\r\n\r\n")
    assert.equal("400", raw "POST /webhooks/school HTTP/1.1\r\nContent-Length: x\r\n\r\n")
    assert.equal("413", raw(("POST /webhooks/school HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n"
      .. "\r\n"):format(1e9)))
    assert.equal("413", raw(("POST /webhooks/school HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n"
      .. "\r\n"):format(1024 * 1024 + 1)))
    for _, path in ipairs { "/", "/webhooks/", "/webhooks/school/x?y" } do
      assert.equal(404, (command.http("GET", server.url .. path)))
    end
    assert.equal(404, (command.http("POST", server.url .. "/webhooks/none", {}, "{}")))
    assert.equal(405, (command.http("GET", server.url .. "/webhooks/school")))
    assert.equal(401, (server:post("INVOICE_CREATED", 1, "124")))
    assert.equal(200, (server:post("INVOICE_CREATED", 1)))
    local after = page()
    for sample, count in pairs {
      ['billhook_refusals_total{code="request",account="?"}'] = 1,
      ['billhook_refusals_total{code="request",account="school"}'] = 1,
      ['billhook_refusals_total{code="size",account="school"}'] = 2,
      ['billhook_refusals_total{code="path",account="?"}'] = 3,
      ['billhook_refusals_total{code="account",account="?"}'] = 1,
      ['billhook_refusals_total{code="method",account="school"}'] = 1,
      ['billhook_refusals_total{code="mismatch",account="school"}'] = 1,
      ['billhook_deliveries_total{result="refused",account="?"}'] = 5,
      ['billhook_deliveries_total{result="refused",account="school"}'] = 5,
      ['billhook_deliveries_total{result="new",account="school"}'] = 1,
    } do
      assert.equal(count, after.value(sample) - (before.value(sample) or 0), sample)
    end
    assert.truthy(server.child:errors():find(
      "billhook level=warn event=refused account=school code=size from=127.0.0.1 status=413\n",
      log, true))
  end)

  it("takes a delivery whose URL ends with a slash", function()
    local body = '{"id":"aa3a27d6-05b5-4fcd-bd04-505bfffacfc2","type":"INVOICE_CREATED",'
      .. '"tenant":"my-school","timestamp":1,"data":{"id":5}}'
    local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
    assert.equal(200, (command.http("POST", server.url .. "/webhooks/school/?", headers,
      signed)))
    server:saying "created 5\n"
  end)

  it("says 503 in JSON, and why in its log, where there is no room for a body", function()
    local run = server:leftovers():match "[^\n]+"
    process.remove_tree(run .. "/client_body")
    command.write(run .. "/client_body", "no folder")
    local status, body, headers = command.http("POST", server.url .. "/webhooks/school", {},
      ("x"):rep(200000))
    assert.same({ 503, '{"error":"no room for the body"}', "5", "application/json" },
      { status, body, headers["retry-after"], headers["content-type"] })
    for _, line in ipairs { "/client_body/%d+\" failed %(20: Not a directory%)",
      "event=refused account=school code=host" } do
      wait(line, function() return server.child:errors():find(line) end)
    end
    assert.equal(200, (server:post("INVOICE_CREATED", 1))) -- a small one needs no file
    os.remove(run .. "/client_body")
    process.mkdir(run .. "/client_body", 448)
  end)
end)

-- Each of these once made another user root, or let him write root's files.
if process.uid() == 0 then
  describe("billhook serve, started by root", function()
    after_each(command.finish)

    local nobody = process.user "nobody"

    -- an inbox of nobody's, rules of root's
    local function given(inbox_folder)
      local server = setmetatable({ folder = command.folder() }, Server)
      process.chmod(server.folder, 493)
      local inbox = server.folder .. "/theirs"
      process.mkdir(inbox, 448)
      if inbox_folder ~= false then process.chown(inbox, nobody.uid, nobody.gid) end
      server.inbox = inbox .. "/inbox.db"
      write_rules(server)
      local text = read(server.rules):gsub("sqlite:[^\"]*", "sqlite:" .. server.inbox)
      command.write(server.rules, (text:gsub(server.folder .. "/said", inbox .. "/said")))
      process.chmod(server.rules, 420)
      server.port = ("%d"):format(ports.free())
      server.url = "http://127.0.0.1:" .. server.port
      return server
    end

    local function start(server, ...)
      return launch(server, { script = script(), cwd = "/",
        more = { ... } })
    end

    local function refused(server, why, options)
      options = options or {}
      local argv = { "serve", server.rules, "--listen", server.port }
      for _, word in ipairs(options.more or {}) do argv[#argv + 1] = word end
      local result = command.run(argv, { cwd = options.cwd or "/", env = options.env,
        script = script() })
      assert.equal(1, result.code, result.err)
      assert.truthy(result.err:find(why, 1, true), result.err)
    end

    local function as_nobody(...)
      local pid = assert(process.spawn({ ... }, { user = "nobody", stderr = "/dev/null" }))
      return (select(2, process.wait(pid)))
    end

    it("keeps the folder of its configuration to itself, whoever receives", function()
      local server = given()
      local run = server.folder .. "/run"
      local target = command.write(server.folder .. "/target", "root's")
      start(server, "--run", run)
      assert.truthy(server.child:errors():find("runs as nobody, whose inbox it is", 1, true))
      local found = process.stat(run)
      assert.same({ 0, 457 }, { found.uid, found.mode })
      assert.equal(nobody.uid, process.stat(run .. "/client_body").uid)
      assert.not_equal(0, as_nobody("ln", "-sf", target, run .. "/nginx.conf"))
      assert.not_equal(0, as_nobody("mv", run, run .. ".old"))
      server.child:signal "HUP"
      wait("the reload", function() return server.child:errors():find("reloaded", 1, true) end)
      assert.equal("root's", read(target))
      assert.equal(200, (server:post("INVOICE_CREATED", 1)))
    end)

    it("writes its configuration anew, through no link and into no pipe", function()
      local server = given()
      local run = server.folder .. "/run"
      process.mkdir(run, 457)
      local target = command.write(server.folder .. "/target", "root's")
      local owned = server.folder .. "/owned"
      process.mkdir(owned)
      os.execute(("ln -s %s %s/nginx.conf; ln -s %s %s/nginx.pid; ln -s %s %s/client_body")
        :format(target, run, target, run, owned, run))
      start(server, "--run", run)
      assert.equal("root's", read(target))
      assert.equal(0, process.stat(owned).uid)
      server.child:signal "TERM"
      server.child:wait()
      os.execute(("rm %s/nginx.conf; mkfifo %s/nginx.conf"):format(run, run))
      start(server, "--run", run)
      assert.equal(200, (server:post("INVOICE_CREATED", 1)))
      assert.equal("root's", read(target))
    end)

    it("refuses a folder for it that others can change, or put another in the place of", function()
      local server = given()
      local run = server.folder .. "/run"
      process.mkdir(run, 457)
      process.chown(run, nobody.uid, nobody.gid)
      refused(server, run .. ": nobody may change " .. run, { more = { "--run", run } })
      local inner = run .. "/inner"
      process.mkdir(inner, 457)
      refused(server, inner .. ": nobody may change " .. run, { more = { "--run", inner } })
      process.chown(run, 0, 0)
      for _, mode in ipairs { 511, 1023 } do -- 0777, 1777
        process.chmod(run, mode)
        refused(server, run .. ": others may change " .. run, { more = { "--run", run } })
      end
      process.chmod(run, 511)
      refused(server, inner .. ": others may change " .. run, { more = { "--run", inner } })
      process.chmod(run, 1023) -- in it nobody can rename what is root's
      start(server, "--run", inner)
    end)

    it("loads no code as root that others can change", function()
      local server = given()
      local own = process.stat(server.rules).size > 0 and read(server.rules)
      -- what the rules and modules that anybody finds would do
      local trap = ("if require('billhook.process').uid() == 0 then "
        .. "io.open(%q, 'w'):close() end\n"):format(server.folder .. "/trapped")
      command.write(server.rules, trap .. own)
      process.chown(server.rules, nobody.uid, nobody.gid)
      local theirs = server.folder .. "/theirs"
      os.execute(("mkdir -p %s/resty; chown nobody %s/resty"):format(theirs, theirs))
      command.write(theirs .. "/resty/core.lua", ("io.open(%q, 'w'):close()")
        :format(server.folder .. "/trapped"))
      launch(server, { script = script(), cwd = theirs })
      assert.truthy(server.child:errors():find("the rules are loaded as nobody, who may change "
        .. server.rules, 1, true), server.child:errors())
      server.child:signal "HUP"
      wait("the reload", function() return server.child:errors():find("reloaded", 1, true) end)
      assert.equal(200, (server:post("INVOICE_CREATED", 1)))
      assert.is_nil(process.stat(server.folder .. "/trapped"))
      server.child:signal "TERM"
      server.child:wait()
      process.chmod(server.rules, 438)
      refused(server, ("root does not load %s: others may change %s"):format(server.rules,
        server.rules))
      process.chmod(server.rules, 420)
      local open = command.folder()
      process.chmod(open, 511)
      refused(server, "others may change " .. open, { cwd = open })
      refused(server, "others may change " .. open, { env = { LUA_PATH = open .. "/?.lua;;" } })
      process.chown(server.rules, process.user("daemon").uid, 0)
      refused(server, "root does not load " .. server.rules, { cwd = theirs })
      refused(server, "daemon may change the rules, and the inbox is not daemon's")
    end)

    it("becomes nobody who only has put a file where the inbox is to be", function()
      local server = given(false)
      command.write(server.inbox, "")
      process.chown(server.inbox, nobody.uid, nobody.gid)
      process.chmod(server.inbox, 384)
      refused(server, "is empty and belongs to nobody, its folder does not")
      process.chmod(server.folder .. "/theirs", 1023)
      refused(server, "belongs to nobody, and others may change " .. server.folder .. "/theirs")
      process.chmod(server.inbox, 438)
      refused(server, "anybody may write the inbox " .. server.inbox)
      local result = command.run({ "work", server.rules, "--once" },
        { cwd = "/", script = script() })
      assert.equal(1, result.code)
      assert.truthy(result.err:find("anybody may write the inbox " .. server.inbox, 1, true))
      process.chmod(server.inbox, 384)
      result = command.run({ "work", server.rules, "--once" },
        { cwd = "/", script = script() })
      assert.truthy(result.err:find("the inbox " .. server.inbox
        .. " belongs to nobody, and this runs as root", 1, true), result.err)
    end)
  end)
end

describe("billhook serve and a rule that does not return", function()
  after_each(command.finish)

  -- while it runs: `deaf` ones never look at the file that ends it
  local stuck = [[app:on("invoice.updated", { name = "stuck", budget = 0.1 }, function(event)
    say("began " .. event.attempt)
    while not io.open("$FOLDER/go") do require("billhook.process").sleep(0.05, true) end
    say "ended"
  end)]]

  local function still_running(server)
    return server.child:errors():find("billhook level=warn event=still_running budget=0.1 "
      .. "id=school:aa3a27d6%-05b5%-4fcd%-bd04%-%d+ rule=stuck seconds=%d+")
  end

  it("says so while it runs, in the log and in its metrics, and runs others beside", function()
    local server = new(stuck, { more = { "--jobs", "2" } })
    assert.equal(200, (server:post("INVOICE_UPDATED", 1)))
    server:saying "began 1\n"
    wait("a line about it:\n" .. server.child:errors(), function() return still_running(server) end)
    wait("its metric", function()
      local _, text = command.http("GET", server.url .. "/metrics")
      return (prometheus.read(text).value 'billhook_rule_running_seconds{rule="stuck"}' or 0) > 1
    end)
    assert.equal(200, (server:post("INVOICE_CREATED", 2)))
    server:saying "created 2\n"
    command.write(server.folder .. "/go", "")
    server:saying "ended\n"
    wait("the end of the metric", function()
      local _, page = command.http("GET", server.url .. "/metrics")
      return page:find("billhook_queue_pending 0", 1, true) and not page:find "running_seconds{"
    end)
    assert.is_nil(server:said():find "began 2")
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
  end)

  it("reads the rules again beside it", function()
    local server = new(stuck)
    assert.equal(200, (server:post("INVOICE_UPDATED", 1)))
    server:saying "began 1\n"
    write_rules(server, "app:on('invoice.deleted', function() say 'new rule' end)")
    server.child:signal "HUP"
    wait("the reload", function()
      return server.child:errors():find("billhook: reloaded", 1, true)
    end)
    wait("the new rule", function()
      assert.equal(200, (server:post("INVOICE_DELETED", 2)))
      return server:said():find("new rule", 1, true)
    end)
    assert.is_nil(server:said():find "ended")
    local pids = server:pids()
    server.child:signal "TERM" -- lets it end
    command.write(server.folder .. "/go", "")
    assert.equal(0, server.child:wait())
    assert.truthy(server:said():find("ended\n", 1, true))
    assert.is_nil(server:said():find "began 2")
    all_gone(pids)
  end)
end)

describe("billhook serve and who reads its log", function()
  after_each(command.finish)

  it("never waits for a reader that stops", function()
    local server = prepared()
    local pipe = server.folder .. "/pipe"
    os.execute("mkfifo " .. pipe)
    local reader = assert(process.spawn({ "/bin/sh", "-c", ("exec < %s; until [ -e %s/go ]; do "
      .. "sleep 0.01; done; exec cat > %s/log"):format(pipe, server.folder, server.folder) },
      { die = "KILL" }))
    -- nearly all that a pipe takes (64 KiB; a smaller one is full), so that a few lines fill it
    os.execute(("head -c 60000 /dev/zero | tr '\\0' x | timeout 10 tee %s >/dev/null"):format(pipe))
    local pid = assert(process.spawn({ command.lua, "bin/billhook", "serve", server.rules,
      "--listen", server.port }, { stderr = pipe, stdout = "/dev/null",
      env = { TMPDIR = server.folder }, die = "KILL" }))
    server.child = { pid = pid, errors = function() return "(nobody reads it)" end }
    wait("serve to listen", function()
      return command.http("GET", server.url .. "/healthz") == 200
    end)
    -- a delivery is a line of more than 100 bytes: more than the pipe has room for
    for n = 1, 100 do assert.equal(200, (server:post("INVOICE_UPDATED", n))) end
    assert.equal(401, (server:post("INVOICE_CREATED", 1, "124")))
    assert.equal(200, (command.http("GET", server.url .. "/healthz")))
    assert.equal(200, (server:post("INVOICE_CREATED", 1)))
    server:saying "created 1\n"
    command.write(server.folder .. "/go", "")
    wait("the reader", function() return read(server.folder .. "/log"):find "event=admitted" end)
    assert.equal(200, (server:post("INVOICE_UPDATED", 101)))
    process.kill(server.child.pid, "TERM")
    assert.same({ "exit", 0 }, { process.wait(server.child.pid) })
    process.wait(reader)
    local log = read(server.folder .. "/log")
    local _, kept = log:gsub(
      "ts=[%d-]+T[%d:]+%.%d%d%dZ billhook level=info event=admitted[^\n]*\n", "")
    local dropped = tonumber(log:match "event=admitted[^\n]* dropped=(%d+)\n")
    -- all of them, and the refusal: in the log, or counted
    assert.equal(103, kept + dropped)
  end)

  it("serves without any stderr", function()
    local server = prepared()
    local pid = assert(process.spawn({ "/bin/sh", "-c", 'exec "$@" 2>&-', "sh", command.lua,
      "bin/billhook", "serve", server.rules, "--listen", server.port },
      { env = { TMPDIR = server.folder }, die = "KILL" }))
    server.child = { pid = pid, errors = function() return "(there is none)" end }
    wait("serve to listen", function()
      return command.http("GET", server.url .. "/healthz") == 200
    end)
    assert.equal(200, (server:post("INVOICE_CREATED", 1)))
    server:saying "created 1\n"
    process.kill(pid, "TERM")
    assert.same({ "exit", 0 }, { process.wait(pid) })
  end)
end)

describe("billhook serve, called in vain,", function()
  after_each(command.finish)

  local function serve(text, ...)
    local path = command.write(command.folder() .. "/rules.lua", text)
    local result = command.run { "serve", path, "--listen",
      ("%d"):format(ports.free()), ... }
    return result.code, result.err, path
  end

  local good = [[local billhook = require "billhook"
    return billhook.app { inbox = "sqlite:$F/inbox.db", accounts = {
      school = billhook.dreamclass { webhook = { secret = "1" } } } }]]

  it("says what is wrong with the rules", function()
    for text, message in pairs {
      ["this is no Lua"] = "rules.lua:1: ",
      ["error 'on purpose'"] = "rules.lua:1: on purpose",
      ["return 1"] = "must end with `return app` (what billhook.app gave); it returned number",
      [""] = "must end with `return app` (what billhook.app gave); it returned nothing",
      ["require 'nosuch'"] = "module 'nosuch' not found",
      ["os.exit(3)"] = "does not load (exit 3)",
    } do
      local code, err, path = serve(text)
      assert.equal(1, code)
      assert.truthy(err:find(message, 1, true), err)
      assert.truthy(err:find(path .. " does not load (exit ", 1, true), err)
    end
  end)

  it("wants an inbox on disk", function()
    local code, err = serve((good:gsub("sqlite:[^\"]*", "memory:")))
    assert.equal(1, code)
    assert.truthy(err:find("serve needs an inbox that two processes share", 1, true), err)
  end)

  it("says when it cannot listen or find what it needs", function()
    local folder = command.folder()
    local text = good:gsub("%$F", folder)
    local server = prepared()
    local other = assert(require("socket").bind("127.0.0.1", 0))
    local port = ("%d"):format(select(2, other:getsockname()))
    local code, err = serve(text, "--listen", port)
    other:close()
    local taken = "billhook: 127.0.0.1:" .. port .. " is taken"
    assert.same({ 1, taken .. ": waiting 3 s for its server to end\n" .. taken .. "\n" },
      { code, err })
    code, err = serve(text, "--listen", "192.0.2.1:8080")
    assert.same({ 1, "billhook: cannot listen on 192.0.2.1:8080: Cannot assign requested address"
      .. "\n" }, { code, err })
    for _, name in ipairs { "--workers", "--jobs" } do
      for _, value in ipairs { "0", "1.5", "100000", "x", "" } do
        local result = command.run { "serve", server.rules, name, value }
        assert.equal(2, result.code)
        assert.truthy(result.err:find("not a whole number from 1 to ", 1, true), result.err)
      end
    end
    local result = command.run { "serve", "/none.lua" }
    assert.same({ 1, "billhook: /none.lua: No such file or directory\n" },
      { result.code, result.err })
    result = command.run { "serve", server.rules, "--listen", "x" }
    assert.same({ 2, "billhook: not an address and port: x (give HOST:PORT or PORT)\n" },
      { result.code, result.err })
    result = command.run({ "serve", server.rules }, { env = { BILLHOOK_NGINX = "/none" } })
    assert.same({ 1, "billhook: cannot run BILLHOOK_NGINX /none\n" }, { result.code, result.err })
    result = command.run({ "serve", server.rules }, { env = { BILLHOOK_NGINX = "/bin/true" } })
    assert.equal(1, result.code)
    assert.truthy(result.err:find("/bin/true was built without --with-threads", 1, true))
  end)
end)

describe("billhook work", function()
  after_each(command.finish)

  it("tells what the rules need, and runs nothing", function()
    local server = prepared()
    local result = command.run { "work", server.rules, "--check" }
    assert.equal(0, result.code)
    local needs = require("billhook.json").decode(result.out)
    assert.same({ "sqlite:" .. server.folder .. "/inbox.db", "dreamclass", 1048576 },
      { needs.inbox, needs.accounts.school, needs.limit })
    assert.is_nil(process.stat(server.folder .. "/inbox.db"))
  end)

  it("runs until it is told to stop #both", function()
    local server = prepared()
    server.child = command.start { "work", server.rules }
    local app = assert(require("billhook.cli.rules").load(server.rules))
    app.log = function() end
    local body = '{"id":"aa3a27d6-05b5-4fcd-bd04-505bfffacfc2","type":"INVOICE_CREATED",'
      .. '"tenant":"my-school","timestamp":1,"data":{"id":5}}'
    local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
    assert.equal(200, (app:receive("school", headers, signed)))
    app.store:close()
    server:saying "created 5\n"
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
  end)

  it("ends at once when it is told twice, and starts again what has crashed", function()
    local server = prepared [[app:on("invoice.created", { name = "other" }, function()
      say "began"
      if not io.open("$FOLDER/crashed") then
        io.open("$FOLDER/crashed", "w"):close()
        os.execute "kill -SEGV $PPID"
      end
      require("billhook.process").sleep(1000, true)
    end)]]
    server.child = command.start { "work", server.rules, "--jobs", "2" }
    local app = assert(require("billhook.cli.rules").load(server.rules))
    app.log = function() end
    local body = '{"id":"aa3a27d6-05b5-4fcd-bd04-505bfffacfc2","type":"INVOICE_CREATED",'
      .. '"tenant":"my-school","timestamp":1,"data":{"id":5}}'
    local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
    assert.equal(200, (app:receive("school", headers, signed)))
    app.store:close()
    server:saying "began\nbegan\n"
    local pids
    wait("both of them", function()
      pids = server:pids()
      return #pids == 2
    end)
    server.child:signal "TERM"
    wait("one of them to end", function() return command.gone(pids[1]) or command.gone(pids[2]) end)
    assert.is_nil(process.wait(server.child.pid, "look") or nil)
    server.child:signal "INT"
    assert.equal(0, server.child:wait())
    all_gone(pids)
    assert.equal("billhook: work ended (signal SEGV); it starts again in 0.5 s\n",
      server.child:errors():match "billhook: work ended[^\n]*\n")
  end)

  it("goes on while the inbox fails", function()
    local server = prepared()
    local folder = server.folder .. "/inbox.db" -- a folder is no database
    process.mkdir(folder)
    server.child = command.start { "work", server.rules }
    local complaint = ("billhook: work: store: %s (as %s): %s is not a file\n"):format(folder,
      process.user(process.uid()).name, folder)
    wait("a complaint", function() return server.child:errors():find(complaint, 1, true) end)
    process.sleep(1) -- two more rounds, or so: nothing new
    assert.equal(complaint, server.child:errors())
    process.remove_tree(folder)
    wait("the inbox", function() return process.stat(folder) end)
    wait("relief", function()
      return server.child:errors() == complaint .. "billhook: work: the inbox answers again\n"
    end)
    server.child:signal "INT"
    assert.equal(0, server.child:wait())
    process.remove_tree(folder)
    process.mkdir(folder)
    assert.equal(1, command.run({ "work", server.rules, "--once" }).code)
  end)

  it("says what is wrong with the rules", function()
    local path = command.write(command.folder() .. "/rules.lua", "return 1")
    local result = command.run { "work", path }
    assert.equal(1, result.code)
    assert.equal("billhook: " .. path .. " must end with `return app` (what billhook.app gave); "
      .. "it returned number\n", result.err)
  end)
end)

-- serve_root_spec.lua: `billhook serve` started by root: whom it becomes, and what it refuses to
-- read, write or start since somebody else may change it. Each of these ways once led from another
-- user to root, or would.

local command = require "spec.support.command"
local ports = require "spec.support.port"
local process = require "billhook.process"
local trust = require "billhook.cli.trust"

local wait = command.wait

local rules = [[
local billhook = require "billhook"
return billhook.app { inbox = "sqlite:$INBOX", accounts = {
  school = billhook.dreamclass { webhook = { secret = "123" } } } }
]]

-- What is on the way to a path has to be ours alone, from the root on; so has /tmp to be sticky.
local function given(owner)
  local server = { folder = command.folder(), port = ("%d"):format(ports.free()) }
  process.chmod(server.folder, 493) -- 0755
  server.data = server.folder .. "/data"
  assert(process.mkdir(server.data, 448))
  if owner then process.chown(server.data, process.user(owner).uid, process.user(owner).gid) end
  server.inbox = server.data .. "/inbox.db"
  server.rules = command.write(server.folder .. "/rules.lua", (rules:gsub("%$INBOX", server.inbox)))
  process.chmod(server.rules, 420) -- 0644
  -- a checkout may lie where only root can read: whoever serve becomes finds a copy
  os.execute(("mkdir %s/build; cp -R bin lua %s/; cp -R build/lua5.4 build/luajit %s/build/")
    :format(server.folder, server.folder, server.folder))
  server.script = server.folder .. "/bin/billhook"
  return server
end

local function arguments(server, more)
  local argv = { "serve", server.rules, "--listen", server.port }
  for _, word in ipairs(more) do argv[#argv + 1] = word end
  return argv
end

local function start(server, ...)
  server.child = command.start(arguments(server, { ... }), { cwd = "/", script = server.script,
    env = { TMPDIR = server.folder } })
  wait("serve to listen", function()
    if process.wait(server.child.pid, "look") then error(server.child:errors(), 0) end
    return server.child:errors():find("listening on", 1, true)
  end)
  return server
end

local function refused(server, why, options)
  options = options or {}
  local result = command.run(arguments(server, options.more or {}), { cwd = "/",
    script = server.script, env = options.env or { TMPDIR = server.folder } })
  assert.equal(1, result.code, result.err)
  assert.truthy(result.err:find(why, 1, true), result.err)
  assert.is_nil(result.err:find("traceback", 1, true))
end

local function stop(server)
  server.child:signal "TERM"
  assert.equal(0, server.child:wait())
end

if process.uid() ~= 0 then
  print "note: serve_root_spec: not run as root: what serve does for root was not tried"
end

describe("billhook serve --user", function()
  after_each(command.finish)

  it("is for root #both", function()
    local server = given()
    refused(server, "there is no user no-such-user", { more = { "--user", "no-such-user" } })
    if process.uid() ~= 0 then
      refused(server, "only root can become root", { more = { "--user", "root" } })
      start(server, "--user", process.user(process.uid()).name)
    end
  end)
end)

describe("billhook serve and what is no file", function()
  after_each(command.finish)

  it("refuses pipes, folders and devices as rules, pipes and devices as an inbox #both", function()
    local server = given()
    local good = server.rules
    os.execute(("mkfifo %s/pipe"):format(server.folder))
    for path, kind in pairs { [server.folder .. "/pipe"] = "pipe", [server.data] = "directory",
        ["/dev/null"] = "device" } do
      server.rules = path
      refused(server, ("%s is not a file but a %s"):format(path, kind))
    end
    server.rules = good
    os.execute("mkfifo " .. server.inbox)
    refused(server, ("the inbox %s is not a file but a pipe"):format(server.inbox))
    server.rules = command.write(server.folder .. "/other.lua",
      (rules:gsub("%$INBOX", "/dev/zero")))
    refused(server, "the inbox /dev/zero is not a file but a device")
  end)
end)

describe("the ways to a path #both", function()
  after_each(command.finish)

  local function changers(path)
    local found = trust.changers(path)
    local uids = {}
    for uid in pairs(found.users) do if uid ~= process.uid() then uids[#uids + 1] = uid end end
    return found.anybody, uids
  end

  it("lead through folders that others may change, and links into them", function()
    local folder = command.folder()
    assert.same({ nil, {} }, { changers(folder .. "/none") })
    process.mkdir(folder .. "/open")
    process.mkdir(folder .. "/open/inner")
    process.chmod(folder .. "/open", 511)
    local file = command.write(folder .. "/file", "")
    local open = process.realpath(folder .. "/open")
    assert.equal(open, (changers(folder .. "/open/inner")))
    assert.equal(open, (changers(folder .. "/open/none/none")))
    os.execute(("ln -s %s %s/open/out; ln -s open/out %s/link; ln -s link %s/longer")
      :format(file, folder, folder, folder))
    for _, name in ipairs { "/open/out", "/link", "/longer", "/open/inner/../../longer" } do
      assert.equal(open, (changers(folder .. name)), name)
    end
    assert.is_nil((changers(folder .. "/open/../file"))) -- whoever writes there, ".." stays
    os.execute(("ln -s round %s/round"):format(folder)) -- ends
    assert.is_nil((changers(folder .. "/round")))
  end)
end)

if process.uid() == 0 then
  local nobody = process.user "nobody"

  describe("billhook serve, started by root,", function()
    after_each(command.finish)

    it("says that it runs as root where the inbox is root's, and only for this machine", function()
      local server = start(given())
      assert.truthy(server.child:errors():find("runs as root, rules and all", 1, true))
      stop(server)
      local port = server.port
      server.port = "0.0.0.0:" .. port
      refused(server, "use --user NAME")
      server.port = port
      start(server, "--user", "root") -- who means it is not told again
      assert.is_nil(server.child:errors():find("runs as root", 1, true))
    end)

    it("becomes who is named, where the inbox is his #both", function()
      local server = start(given "nobody", "--user", "nobody")
      assert.truthy(server.child:errors():find("runs as nobody, as told", 1, true))
      wait("the inbox", function() return process.stat(server.inbox) end)
      assert.equal(nobody.uid, process.stat(server.inbox).uid)
      for _, pid in ipairs(command.descendants(server.child.pid)) do
        local status = command.read(("/proc/%d/status"):format(pid))
        local line = command.read(("/proc/%d/cmdline"):format(pid))
        local master = line:find "nginx: master"
        assert.equal(master and "0" or tostring(nobody.uid), status:match "Uid:%s+(%d+)")
      end
      assert.equal(200, (command.http("GET", "http://127.0.0.1:" .. server.port .. "/healthz")))
      stop(server)
    end)

    it("becomes nobody else for it", function()
      local server = given "nobody"
      refused(server, ("the inbox %s belongs to nobody: serve cannot become daemon for it")
        :format(server.data), { more = { "--user", "daemon" } })
      command.write(server.inbox, "")
      process.chown(server.inbox, process.user("daemon").uid, 0)
      refused(server, ("the inbox %s belongs to daemon: serve cannot become nobody for it")
        :format(server.inbox), { more = { "--user", "nobody" } })
      refused(server, "nobody may change " .. server.data, { more = { "--user", "daemon" } })
      os.remove(server.inbox)
      refused(server, "nobody may change " .. server.data, { more = { "--user", "root" } })
      command.write(server.inbox, "")
      process.chown(server.rules, process.user("daemon").uid, 0)
      process.chown(server.inbox, nobody.uid, 0)
      refused(server, "daemon may change the rules: nobody does not run them",
        { more = { "--user", "nobody" } })
      server.inbox = nil
      os.execute("rm -r " .. server.data)
      refused(server, "there is no folder " .. server.data, { more = { "--user", "daemon" } })
    end)

    it("writes no inbox where others can put another file in its place", function()
      local server = given()
      process.chmod(server.data, 511) -- 0777
      refused(server, ("the inbox %s: others may change %s, and root writes there")
        :format(server.inbox, server.data))
      process.chmod(server.data, 448)
      local theirs = server.folder .. "/theirs"
      process.mkdir(theirs)
      process.chown(theirs, nobody.uid, nobody.gid)
      os.execute(("ln -s %s/root.db %s/inbox.db; ln -s %s/inbox.db %s"):format(server.data, theirs,
        theirs, server.inbox))
      refused(server, ("the inbox %s: nobody may change %s, and root writes there")
        :format(server.inbox, theirs))
    end)

    it("follows nobody's link to its rules", function()
      local server = given()
      local theirs = server.folder .. "/theirs"
      process.mkdir(theirs, 493)
      os.execute(("ln -s %s %s/rules.lua; chown -h nobody %s/rules.lua"):format(server.rules,
        theirs, theirs))
      server.rules = theirs .. "/rules.lua"
      refused(server, "nobody may change the rules, and the inbox is not nobody's")
      process.chown(theirs, nobody.uid, nobody.gid)
      refused(server, "nobody may change the rules, and the inbox is not nobody's")
    end)

    it("starts no nginx that others can replace", function()
      local server = given()
      local theirs = server.folder .. "/theirs"
      process.mkdir(theirs, 493)
      command.write(theirs .. "/nginx", ("#!/bin/sh\n: > %s/trapped\n"):format(server.folder))
      process.chmod(theirs .. "/nginx", 493)
      process.chown(theirs, nobody.uid, nobody.gid)
      refused(server, ("%s/nginx: nobody may change %s, and root would start what lies there")
        :format(theirs, theirs), { env = { BILLHOOK_NGINX = theirs .. "/nginx" } })
      assert.is_nil(process.stat(server.folder .. "/trapped"))
    end)

    it("makes and gives away no folder for refused deliveries where others can", function()
      local server = given "nobody"
      local kept = server.data .. "/refused"
      refused(server, "root would make a folder there: make it yourself",
        { more = { "--capture-refused", kept } })
      local target = server.folder .. "/target"
      process.mkdir(target, 448)
      os.execute(("ln -s %s %s; chown -h nobody %s"):format(target, kept, kept))
      refused(server, "must be a folder of the receiver's own",
        { more = { "--capture-refused", kept } })
      assert.equal(0, process.stat(target).uid)
      assert(process.chown(kept, 1, 1)) -- the link, not what it leads to
      assert.equal(0, process.stat(target).uid)
      process.chown(target, nobody.uid, nobody.gid) -- his own, but not by his own link
      refused(server, "may change " .. process.realpath(server.data) .. "/refused, and refused "
        .. "deliveries are kept there", { more = { "--capture-refused", kept } })
      start(server, "--capture-refused", server.folder .. "/kept")
      assert.equal(nobody.uid, process.stat(server.folder .. "/kept").uid)
    end)
  end)
end

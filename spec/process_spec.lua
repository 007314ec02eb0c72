-- process_spec.lua: children, signals, sleep, files and ports, with real processes.

local process = require "billhook.process"

local sh = "/bin/sh"

-- runs a shell text and gives how it ended, and what it printed
local function run(text, options)
  local folder = assert(process.mkdtemp "/tmp/billhook-spec")
  options = options or {}
  options.stdout = folder .. "/out"
  local pid = assert(process.spawn({ sh, "-c", text }, options))
  local kind, detail = process.wait(pid)
  local file = assert(io.open(folder .. "/out"))
  local out = file:read "*a"
  file:close()
  assert.is_true(process.remove_tree(folder))
  return out, kind, detail
end

-- until it is true; machine speed decides only how long a failure takes
local function eventually(check)
  local deadline = process.monotonic() + 60
  while not check() do
    if process.monotonic() > deadline then error("it did not become true", 2) end
    process.sleep(0.005, true)
  end
end

-- ended; also where whoever inherited it has not asked for it yet
local function gone(pid)
  local file = io.open(("/proc/%d/stat"):format(pid))
  local state = file and (file:read "*a" or ""):match "%) (%a)" -- nil: it ended just now
  if file then file:close() end
  return state == nil or state == "Z"
end

describe("process.spawn", function()
  it("tells how a child ended", function()
    local _, kind, code = run "exit 7"
    assert.same({ "exit", 7 }, { kind, code })
    _, kind, code = run "kill -SEGV $$"
    assert.same({ "signal", "SEGV" }, { kind, code })
    _, kind, code = run "kill -WINCH $$; kill -PWR $$"
    assert.same({ "signal", "30" }, { kind, code })
  end)

  it("passes arguments as they are", function()
    local folder = assert(process.mkdtemp "/tmp/billhook-spec")
    local pid = assert(process.spawn({ "printf", "%s|", "a b", "", "$HOME", "'" },
      { stdout = folder .. "/out" }))
    assert.equal("exit", (process.wait(pid)))
    assert.equal("a b||$HOME|'|", io.open(folder .. "/out"):read "*a")
    process.remove_tree(folder)
  end)

  it("says which step failed", function()
    local pid, err = process.spawn { "/nonexistent/program" }
    assert.is_nil(pid)
    assert.equal("exec: No such file or directory", err)
    pid, err = process.spawn({ sh }, { cwd = "/nonexistent" })
    assert.is_nil(pid)
    assert.equal("chdir: No such file or directory", err)
    pid, err = process.spawn({ sh }, { stdout = "/nonexistent/file" })
    assert.is_nil(pid)
    assert.equal("redirect: No such file or directory", err)
  end)

  it("adds to the environment, and takes away", function()
    local out = run('echo "$BH_A:$BH_B:${HOME-gone}:${PATH:+path}"',
      { env = { BH_A = "1", BH_B = "x=y", HOME = false } })
    assert.equal("1:x=y:gone:path\n", out)
  end)

  it("changes folder, and appends to files", function()
    assert.equal("/usr\n", run("pwd", { cwd = "/usr" }))
    local folder = assert(process.mkdtemp "/tmp/billhook-spec")
    for _ = 1, 2 do
      process.wait(assert(process.spawn({ "echo", "x" }, { stdout = folder .. "/log" })))
    end
    assert.equal("x\nx\n", io.open(folder .. "/log"):read "*a")
    assert.equal(384, process.stat(folder .. "/log").mode) -- 0600
    process.remove_tree(folder)
  end)

  it("makes a group of its own, which can be signalled as a whole", function()
    local pid = assert(process.spawn({ sh, "-c", "sleep 100 & wait" }, { group = true }))
    local sleeper
    eventually(function()
      local pipe = io.popen("pgrep -g " .. ("%d"):format(pid) .. " sleep")
      sleeper = tonumber((pipe:read "*l"))
      pipe:close()
      return sleeper
    end)
    assert.is_true(process.kill(-pid, "KILL"))
    assert.same({ "signal", "KILL" }, { process.wait(pid) })
    eventually(function() return gone(sleeper) end)
  end)

  it("lets no child outlive a killed parent", function()
    local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
    local text = [[
      package.cpath = "build/%s/?.so"
      local process = require "billhook.process"
      local pid = process.spawn({ "sleep", "100" }, { die = "KILL", group = true })
      print(("%%d"):format(pid))
      io.stdout:flush()
      process.sleep(100)]]
    local folder = assert(process.mkdtemp "/tmp/billhook-spec")
    local parent = assert(process.spawn({ lua, "-e", text:format(lua) },
      { stdout = folder .. "/out" }))
    local child
    eventually(function()
      child = tonumber((io.open(folder .. "/out"):read "*l"))
      return child
    end)
    assert.is_true(process.kill(child, 0))
    process.kill(parent, "KILL")
    process.wait(parent)
    eventually(function() return gone(child) end)
    process.remove_tree(folder)
  end)

  it("gives children the default signals, also where the parent ignores them", function()
    process.signals "INT"
    local _, kind, name = run "kill -INT $$; exit 3"
    assert.same({ "signal", "INT" }, { kind, name })
  end)

  it("leaves no other open file to a child", function()
    local file = io.open("/etc/hostname") or io.open("/etc/passwd")
    local out = run "ls /proc/self/fd"
    assert.equal("0\n1\n2\n3\n", out) -- 3 is the folder that ls reads
    file:close()
  end)

  if process.uid() == 0 then
    it("becomes another user", function()
      local user = assert(process.user "nobody")
      local folder = assert(process.mkdtemp "/tmp/billhook-spec")
      local pid = assert(process.spawn({ sh, "-c", "id -un; id -G" },
        { stdout = folder .. "/out", user = "nobody" }))
      process.wait(pid)
      local name, groups = io.open(folder .. "/out"):read("*l", "*l")
      assert.equal("nobody", name)
      assert.equal(("%d"):format(user.gid), groups)
      process.remove_tree(folder)
    end)
  end

  it("raises on wrong arguments", function()
    for _, case in ipairs {
      { "table expected", nil }, { "a program is missing", {} },
      { "a list of strings", { "sh", 1 } },
      { "env.A is not a string", { "sh" }, { env = { A = 1 } } },
      { "env is a map of strings", { "sh" }, { env = { "A" } } },
      { "stdout is not a string", { "sh" }, { stdout = {} } },
      { "cwd is not a string", { "sh" }, { cwd = 1 } },
      { "no user nosuchuser", { "sh" }, { user = "nosuchuser" } },
      { "not a signal", { "sh" }, { die = "NOSUCH" } },
    } do
      local ok, err = pcall(process.spawn, case[2], case[3])
      assert.is_false(ok)
      assert.truthy(err:find(case[1], 1, true), err)
    end
  end)
end)

describe("process.wait", function()
  it("gives false while a child runs, when asked not to wait", function()
    local pid = assert(process.spawn { "sleep", "100" })
    assert.is_false(process.wait(pid, "poll"))
    assert.is_false(process.wait(pid, "look"))
    process.kill(pid, "KILL")
    eventually(function() return process.wait(pid, "look") end)
    assert.same({ "signal", "KILL" }, { process.wait(pid, "look") })
    assert.is_true(process.kill(pid, 0))
    assert.same({ "signal", "KILL" }, { process.wait(pid) })
    local kind, err = process.wait(pid)
    assert.is_nil(kind)
    assert.equal("wait: No child processes", err)
    assert.has_error(function() process.wait(pid, "nosuch") end)
  end)
end)

describe("process.kill", function()
  it("refuses what would reach everybody", function()
    assert.has_error(function() process.kill(-1, 0) end)
    assert.has_error(function() process.kill(0, 0) end)
    assert.has_error(function() process.kill(2, "NOSUCH") end)
    assert.has_error(function() process.kill(2, 9) end)
  end)

  it("says what is wrong", function()
    local ok, err = process.kill(2 ^ 22 + 1, 0)
    assert.is_nil(ok)
    assert.equal("kill: No such process", err)
  end)
end)

-- a signal to ourselves, by another process
local function hit(name)
  process.wait(assert(process.spawn { sh, "-c", "kill -" .. name .. " $PPID" }))
end

describe("process.signals", function()
  it("notes a signal once", function()
    process.signals("HUP", "QUIT")
    assert.is_nil(process.caught())
    hit "HUP"
    hit "HUP"
    assert.equal("HUP", process.caught())
    assert.is_nil(process.caught())
  end)

  it("ends a sleep, also when it came before", function()
    process.signals "HUP"
    hit "HUP"
    assert.is_false(process.sleep(100))
    assert.is_false(process.sleep(100))
    assert.equal("HUP", process.caught())
    assert.is_true(process.sleep(0))
    local pid = assert(process.spawn { sh, "-c", "sleep 0.05; kill -HUP $PPID" })
    assert.is_false(process.sleep(100))
    assert.equal("HUP", process.caught())
    process.wait(pid)
  end)

  it("does not end a sleep that goes through", function()
    process.signals "HUP"
    hit "HUP"
    local before = process.monotonic()
    assert.is_true(process.sleep(0.05, true))
    assert.is_true(process.monotonic() - before >= 0.05)
    assert.equal("HUP", process.caught())
  end)

  it("takes only what can be caught", function()
    assert.has_error(function() process.signals "KILL" end)
    assert.has_error(function() process.signals "USR1" end)
    assert.has_error(function() process.sleep(-1) end)
  end)
end)

describe("process and files", function()
  it("tells about files", function()
    local folder = assert(process.mkdtemp "/tmp/billhook-spec")
    assert.truthy(folder:match "^/tmp/billhook%-spec%.%w%w%w%w%w%w$")
    local found = process.stat(folder)
    assert.same({ "directory", process.uid(), 448 }, { found.type, found.uid, found.mode })
    assert.is_true(process.mkdir(folder .. "/a", 493))
    assert.equal(493, process.stat(folder .. "/a").mode)
    local file = io.open(folder .. "/a/file", "w")
    file:write "12345"
    file:close()
    found = process.stat(folder .. "/a/file")
    assert.same({ "file", 5 }, { found.type, found.size })
    assert.equal(folder .. "/a/file", process.realpath(folder .. "/a/../a/./file"))
    assert.is_false(process.executable(folder .. "/a/file"))
    assert.is_true(process.chown(folder .. "/a", process.uid(), found.gid))
    os.execute("ln -s /etc " .. folder .. "/a/link")
    assert.is_true(process.remove_tree(folder)) -- and /etc is still there
    assert.is_nil(process.stat(folder))
    assert.equal("directory", process.stat("/etc").type)
  end)

  it("says what is missing", function()
    for _, name in ipairs { "stat", "realpath", "remove_tree" } do
      local ok, err = process[name] "/nonexistent"
      assert.is_nil(ok)
      assert.equal("/nonexistent: No such file or directory", err)
    end
    local ok, err = process.mkdtemp "/nonexistent/x"
    assert.is_nil(ok)
    assert.equal("/nonexistent/x: No such file or directory", err)
    ok, err = process.mkdir "/tmp"
    assert.is_nil(ok)
    assert.equal("/tmp: File exists", err)
    assert.is_true(process.executable "/bin/sh")
    assert.is_false(process.executable "/bin")
  end)

  it("knows users", function()
    local me = process.user(process.uid())
    assert.equal(process.uid(), me.uid)
    assert.equal(me.uid, process.user(me.name).uid)
    assert.is_nil(process.user "nosuchuser")
  end)
end)

describe("process.remove_tree", function()
  local folder
  before_each(function() folder = assert(process.mkdtemp "/tmp/billhook-spec") end)
  after_each(function() os.execute("rm -rf " .. folder) end)

  it("takes a link for a link, at the top and below", function()
    assert.is_true(process.mkdir(folder .. "/kept"))
    io.open(folder .. "/kept/file", "w"):close()
    assert.is_true(process.mkdir(folder .. "/gone"))
    os.execute(("cd %s; ln -s ../kept gone/a; ln -s kept b"):format(folder))
    assert.equal("link", process.stat(folder .. "/b", true).type)
    assert.equal("directory", process.stat(folder .. "/b").type)
    assert.is_true(process.remove_tree(folder .. "/gone"))
    assert.is_true(process.remove_tree(folder .. "/b"))
    assert.same({ "kept" }, process.entries(folder))
    assert.equal("file", process.stat(folder .. "/kept/file").type)
  end)

  it("goes on after what it cannot remove, and says so", function()
    local deep = folder
    for _ = 1, 40 do
      deep = deep .. "/d"
      assert.is_true(process.mkdir(deep))
    end
    io.open(folder .. "/file", "w"):close()
    local ok, err = process.remove_tree(folder)
    assert.is_nil(ok)
    assert.equal(folder .. ": Too many levels of symbolic links", err)
    assert.is_nil(process.stat(folder .. "/file"))
  end)
end)

describe("process.replace", function()
  local folder

  before_each(function() folder = assert(process.mkdtemp "/tmp/billhook-spec") end)
  after_each(function() process.remove_tree(folder) end)

  local function read(name)
    local file = assert(io.open(folder .. "/" .. name))
    local text = file:read "*a"
    file:close()
    return text
  end

  it("makes a file anew, and leaves what had its name alone", function()
    assert.is_true(process.replace(folder .. "/a", "one"))
    os.execute(("mv %s/a %s/b; ln -s b %s/a"):format(folder, folder, folder))
    assert.is_true(process.replace(folder .. "/a", ("two"):rep(100000)))
    assert.same({ "one", ("two"):rep(100000) }, { read "b", read "a" })
    local found = process.stat(folder .. "/a", true)
    assert.same({ "file", 384 }, { found.type, found.mode }) -- 0600
    assert.equal(2, #process.entries(folder))
  end)

  it("says what is wrong, and leaves nothing", function()
    local ok, err = process.replace("/nonexistent/x", "")
    assert.is_nil(ok)
    assert.equal("/nonexistent/x: No such file or directory", err)
    process.mkdir(folder .. "/d")
    ok, err = process.replace(folder .. "/d", "")
    assert.is_nil(ok)
    assert.equal(folder .. "/d: Is a directory", err)
    assert.same({ "d" }, process.entries(folder))
    assert.has_error(function() process.replace(("x"):rep(5000), "") end)
  end)
end)

describe("process.contents", function()
  local folder

  before_each(function() folder = assert(process.mkdtemp "/tmp/billhook-spec") end)
  after_each(function() process.remove_tree(folder) end)

  it("gives all of a file, also through a link, up to a limit", function()
    local text = ("a\0b\n"):rep(30000)
    assert(process.replace(folder .. "/a", text))
    os.execute(("ln -s a %s/b; : >%s/c"):format(folder, folder))
    assert.equal(text, process.contents(folder .. "/a", #text))
    assert.equal(text, process.contents(folder .. "/b", #text))
    assert.equal("", process.contents(folder .. "/c", 0))
    assert.same({ nil, folder .. "/a: File too large" },
      { process.contents(folder .. "/a", #text - 1) })
    assert.same({ nil, folder .. "/d: No such file or directory" },
      { process.contents(folder .. "/d", 1) })
    -- longer than it says
    assert.same({ nil, "/proc/self/status: File too large" },
      { process.contents("/proc/self/status", 0) })
    assert.has_error(function() process.contents(folder, -1) end)
    assert.has_error(function() process.contents(folder, 2 ^ 40) end)
  end)

  it("neither reads nor waits for what is no file", function()
    os.execute(("mkfifo %s/pipe; ln -s pipe %s/link"):format(folder, folder))
    for _, path in ipairs { folder, folder .. "/pipe", folder .. "/link", "/dev/zero" } do
      assert.same({ nil, path .. ": Invalid argument" }, { process.contents(path, 100) })
    end
  end)
end)

describe("process.entries", function()
  it("names what is in a folder", function()
    local folder = assert(process.mkdtemp "/tmp/billhook-spec")
    assert.same({}, process.entries(folder))
    for _, name in ipairs { "b", ".a" } do io.open(folder .. "/" .. name, "w"):close() end
    local names = process.entries(folder)
    table.sort(names)
    assert.same({ ".a", "b" }, names)
    process.remove_tree(folder)
    local none, err = process.entries(folder)
    assert.is_nil(none)
    assert.equal(folder .. ": No such file or directory", err)
  end)
end)

describe("process.vacant", function()
  it("says whether an address could be listened on", function()
    local server = assert(require("socket").bind("127.0.0.1", 0))
    local _, port = server:getsockname()
    port = ("%d"):format(port)
    assert.same({ nil, "it is taken" }, { process.vacant("127.0.0.1", port) })
    assert.same({ nil, "it is taken" }, { process.vacant(nil, port) })
    server:close()
    assert.is_true(process.vacant("127.0.0.1", port))
    assert.is_true(process.vacant(nil, port))
    assert.same({ nil, "Cannot assign requested address" }, { process.vacant("192.0.2.1", port) })
    assert.same({ nil, "Cannot assign requested address" },
      { process.vacant("no.such.host.invalid", port) })
  end)
end)

describe("process.unblock_stderr", function()
  local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
  local folder
  before_each(function() folder = assert(process.mkdtemp "/tmp/billhook-spec") end)
  after_each(function() process.remove_tree(folder) end)

  local function start(text, file)
    return assert(process.spawn({ lua, "-e", ([[
      package.path, package.cpath = "lua/?.lua;" .. package.path, "build/%s/?.so;" .. package.cpath
      local process = require "billhook.process"
      process.signals()
      process.unblock_stderr()
      ]]):format(rawget(_G, "jit") and "luajit" or "lua5.4") .. text }, { stderr = file,
      group = true }))
  end

  local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
  end

  it("has us and our children wait for no reader that stops", function()
    os.execute("mkfifo " .. folder .. "/pipe")
    local reader = assert(process.spawn({ sh, "-c", ("exec < %s/pipe; until [ -e %s/go ]; do "
      .. "sleep 0.01; done; exec cat > %s/log"):format(folder, folder, folder) }))
    local writer = start([[
      for i = 1, 20000 do io.stderr:write(("x"):rep(99), "\n") end
      os.execute "i=0; while [ $i -lt 2000 ]; do echo child >&2; i=$((i+1)); done 2>/dev/null"
    ]], folder .. "/pipe")
    assert.same({ "exit", 0 }, { process.wait(writer) }) -- 2 MB: more than any pipe takes
    io.open(folder .. "/go", "w"):close()
    process.wait(reader)
    assert.truthy(#read(folder .. "/log") > 0)
  end)

  it("goes on where the reader has gone", function()
    os.execute("mkfifo " .. folder .. "/pipe")
    local reader = assert(process.spawn({ sh, "-c", "read x < " .. folder .. "/pipe" }))
    local writer = start([[for _ = 1, 20000 do io.stderr:write(("x"):rep(99), "\n") end]],
      folder .. "/pipe")
    process.wait(reader)
    assert.same({ "exit", 0 }, { process.wait(writer) })
  end)

  it("leaves a file what it is", function()
    assert.same({ "exit", 0 }, { process.wait(start('io.stderr:write "all of it"',
      folder .. "/log")) })
    assert.equal("all of it", read(folder .. "/log"))
  end)
end)

describe("a log line", function()
  local lua = rawget(_G, "jit") and "luajit" or "lua5.4"

  -- what a process writes that logs so; nobody reads until it is done, if `late`
  local function logged(text, late)
    local folder = assert(process.mkdtemp "/tmp/billhook-spec")
    os.execute("mkfifo " .. folder .. "/pipe")
    local reader = assert(process.spawn({ sh, "-c", ("exec < %s/pipe; %s exec cat > %s/log"):format(
      folder, late and ("until [ -e %s/go ]; do sleep 0.01; done;"):format(folder) or "",
      folder) }))
    local writer = assert(process.spawn({ lua, "-e", ([[
      package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
      package.cpath = "build/%s/?.so;" .. package.cpath
      local log, folder = require("billhook.log").default, %q
      %s]]):format(rawget(_G, "jit") and "luajit" or "lua5.4", folder, text) },
      { stderr = folder .. "/pipe" }))
    local how, code = process.wait(writer)
    process.wait(reader)
    local file = assert(io.open(folder .. "/log", "rb"))
    local out = file:read "*a"
    file:close()
    process.remove_tree(folder)
    assert.same({ "exit", 0 }, { how, code })
    return out
  end

  it("has the time, to the millisecond", function()
    assert.truthy(logged([[log("info", "ran", { a = 1 })]]):find(
      "^ts=%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ billhook level=info event=ran a=1\n$"))
  end)

  it("is cut where a pipe would not take it as a whole", function()
    local out = logged([[log("info", "ran", { a = ("\195\164"):rep(5000) })]])
    assert.is_true(#out <= 4096 and #out > 4000)
    assert.truthy(out:find "[\128-\255]%.%.%.\n$")
  end)

  it("waits for nobody, and the next that gets through says how many were lost", function()
    local out = logged([[
      for i = 1, 5000 do log("info", "line", { i = i }) end
      io.open(folder .. "/go", "w"):close()
      local process = require "billhook.process"
      local till = process.monotonic() + 20
      repeat
        process.sleep(0.01)
        log("info", "last", {})
        local file = io.open(folder .. "/log")
        local text = file and file:read "*a" or ""
        if file then file:close() end
      until text:find "dropped=" or process.monotonic() > till]], true)
    local _, kept = out:gsub("event=line i=%d+\n", "")
    local lasts = select(2, out:gsub("event=last", ""))
    local dropped = tonumber(out:match "event=last dropped=(%d+)\n")
    assert.is_true(kept > 100 and dropped > 100 and lasts > 0)
    assert.is_true(kept + dropped >= 5000 and kept + dropped < 5000 + 3000)
  end)
end)

describe("process.free_port", function()
  it("gives different ports that can be listened on", function()
    local ports, seen = { process.free_port(16) }, {}
    assert.equal(16, #ports)
    for _, port in ipairs(ports) do
      assert.is_true(port >= 1024 and port <= 65535 and not seen[port])
      seen[port] = true
    end
    assert.has_error(function() process.free_port(17) end)
    assert.has_error(function() process.free_port(0) end)
  end)
end)

describe("a terminal", function()
  it("is not a file", function()
    local out = run("exit 0")
    assert.equal("", out)
    local file = io.open "/dev/null"
    assert.is_nil(process.columns(99))
    file:close()
  end)
end)

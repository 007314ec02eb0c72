-- cli_parts_spec.lua: what the command is made of: tables, nginx.conf, paths, rules, children.

local children = require "billhook.cli.children"
local command = require "spec.support.command"
local nginx = require "billhook.cli.nginx"
local process = require "billhook.process"
local rules = require "billhook.cli.rules"
local term = require "billhook.cli.term"

describe("a table #both", function()
  it("is aligned, numbers to the right", function()
    assert.same({
      "NAME   AMOUNT",
      "one      1.50",
      "three  100.00",
      "-           -",
    }, term.lines({ "NAME", ">AMOUNT" }, { { "one", "1.50" }, { "three", "100.00" }, {} }))
  end)

  it("counts characters, not bytes", function()
    assert.same({ "A    B", "\195\164\195\182\195\188  x" },
      term.lines({ "A", "B" }, { { "\195\164\195\182\195\188", "x" } }))
  end)

  it("is cut to the room that there is, the widest column first", function()
    local list = { { ("a"):rep(30), "1234567890" } }
    assert.same({ "A             B", "aaaaaaaaaaa~  1234567890" },
      term.lines({ "A", "B" }, list, 24))
    assert.same({ "A         B", "aaaaaaa~  1234567~" }, term.lines({ "A", "B" }, list, 5))
    assert.same({ "A  B", "\195\164  x" }, term.lines({ "A", "B" }, { { "\195\164", "x" } }, 4))
    assert.same({ "A", "\195\164\195\164\195\164\195\164\195\164\195\164\195\164~" },
      term.lines({ "A" }, { { ("\195\164"):rep(9) } }, 8))
  end)

  it("leaves columns out where the room is too narrow for the others", function()
    local head = { "!A", "??B", "?!C", "?D", "!>E" }
    local list = { { ("a"):rep(10), ("b"):rep(10), ("c"):rep(10), ("d"):rep(10), 5 } }
    assert.same({ "A           B           C           D           E",
      "aaaaaaaaaa  bbbbbbbbbb  cccccccccc  dddddddddd  5" }, term.lines(head, list, 49))
    assert.same({ "aaaaaaaaaa  bbbbbbb~  cccccccccc  ddddddd~  5" },
      { term.lines(head, list, 45)[2] })
    assert.same({ "aaaaaaaaaa  bbbbbbbbbb  dddddddddd  5" }, { term.lines(head, list, 44)[2] })
    assert.same({ "aaaaaaaaaa  bbbbbbbb~  5" }, { term.lines(head, list, 24)[2] })
    assert.same({ "A           E", "aaaaaaaaaa  5" }, term.lines(head, list, 22))
    assert.same({ "A           E", "aaaaaaaaaa  5" }, term.lines(head, list, 3))
    assert.same({ "A     B", "aaa~  bbbbbbbb~" }, term.lines({ "4A", "9B" }, list, 9))
  end)

  it("shows control characters and obeys none", function()
    assert.equal("a\\x1b[31m\\x0a\\x00\\x7f", term.clean "a\27[31m\n\0\127")
    -- also the 8-bit ones in UTF-8, and what turns the writing round; other letters stay
    assert.equal("\\xc2\\x9b31m \\xe2\\x80\\xae \195\164",
      term.clean "\194\15531m \226\128\174 \195\164")
    assert.same({ "A", "x\\x09y" }, term.lines({ "A" }, { { "x\ty" } }))
  end)
end)

describe("JSON on stdout #both", function()
  it("has what was received, also where that is no UTF-8, and no command for a terminal", function()
    local stdout, pieces = io.stdout, {}
    io.stdout = { write = function(_, ...) -- luacheck: ignore 122
      pieces[#pieces + 1] = table.concat { ... }
      return true
    end }
    local ok, err = pcall(term.json, { body = "a\255b\155", list = { { "\194\155\27" } } })
    io.stdout = stdout -- luacheck: ignore 122
    assert.is_true(ok, err)
    local text = table.concat(pieces)
    assert.is_nil(text:find "[\128-\255\27]")
    assert.same({ body = "a?b?", list = { { "\194\155\27" } } },
      require("billhook.json").decode(text))
  end)
end)

describe("a message #both", function()
  it("is written in one piece, for nginx and `work` write to the same place", function()
    local stderr, pieces = io.stderr, {}
    io.stderr = { write = function(_, ...) -- luacheck: ignore 122
      for i = 1, select("#", ...) do pieces[#pieces + 1] = (select(i, ...)) end
    end }
    local ok, err = pcall(term.say, "listening")
    io.stderr = stderr -- luacheck: ignore 122
    assert.is_true(ok, err)
    assert.same({ "billhook: listening\n" }, pieces)
  end)
end)

describe("in a terminal #both", function()
  after_each(command.finish)

  -- What a terminal of 60 columns gets to see. Where there are no terminals to be had, as in a
  -- bare chroot, the command must be told that its file is one; the rest is real.
  local pretend = "require('billhook.process').columns = function() return 60 end"
  local function shown(env)
    local folder = command.folder()
    local pid = assert(process.spawn({ command.lua, "-e", pretend, "bin/billhook", "verify",
      "dreamclass", "--secret", "123" },
      { stdout = folder .. "/out", stdin = "spec/support/delivery.json",
        env = command.paths(env) }))
    process.wait(pid)
    return command.read(folder .. "/out")
  end

  it("tables are cut, and titles bold", function()
    local out = shown { NO_COLOR = false, TERM = "xterm" }
    assert.truthy(out:find("\27[32mauthentic\27[0m\n", 1, true), out)
    assert.truthy(out:find("\27[1mEVENT", 1, true), out)
    for line in out:gsub("\27%[%d+m", ""):gmatch "[^\n]+" do assert.is_true(#line <= 60, line) end
    assert.truthy(out:find("~", 1, true))
  end)

  it("NO_COLOR and a dumb terminal have no colours", function()
    for _, env in ipairs { { NO_COLOR = "1", TERM = "xterm" },
      { NO_COLOR = false, TERM = "dumb" } } do
      local out = shown(env)
      assert.truthy(out:find "^authentic\n")
      assert.is_nil(out:find("\27", 1, true))
    end
  end)
end)

describe("nginx.conf #both", function()
  local function conf(more)
    local options = { nginx = { modules = {} }, run = "/run/b", http = "  # here\n",
      lua_path = "/l/?.lua", lua_cpath = "/c/?.so", resolv = "/none", environ = "/none" }
    for name, value in pairs(more or {}) do options[name] = value end
    return nginx.conf(options)
  end

  it("keeps all its files in the run folder", function()
    local text = conf()
    for _, line in ipairs { 'pid "/run/b/nginx.pid";', 'scgi_temp_path "/run/b/scgi";',
      'client_body_temp_path "/run/b/client_body";', "daemon off;", "error_log stderr warn;",
      "worker_processes 1;", "thread_pool billhook threads=10 ", "  # here\n",
      'lua_package_path "/l/?.lua;;";', 'lua_package_cpath "/c/?.so;;";',
      "lua_worker_thread_vm_pool_size 10;", "client_max_body_size 8m;" } do
      assert.truthy(text:find(line, 1, true), line)
    end
    for _, word in ipairs { "load_module", "user ", "resolver", "env " } do
      assert.is_nil(text:find("\n%s*" .. word), word)
    end
  end)

  it("has as many connections as the system has files for, two each", function()
    local limits = command.folder() .. "/limits"
    local function room(hard, wanted)
      command.write(limits, ("Max processes  1  2  processes\nMax open files %8s %s files \n")
        :format(1024, hard))
      return { nginx.room(wanted, limits) }
    end
    assert.same({ 8192, 16640 }, room "1048576")
    assert.same({ 8192, 16640 }, room "unlimited")
    assert.same({ 1920, 4096 }, room "4096")
    assert.same({ 100, 456 }, room("4096", 100))
    assert.same({ 256, 512 }, room "512")
    assert.same({ 8192, 16640 }, { nginx.room(nil, "/none") })
  end)

  it("waits for no sender for ever", function()
    local text = conf { connections = 64, patience = 3 }
    for _, line in ipairs { "client_header_timeout 3s;", "client_body_timeout 3s;",
      "send_timeout 3s;", "events { worker_connections 64; }", "worker_rlimit_nofile 384;",
      "client_body_buffer_size 32k;" } do
      assert.truthy(text:find(line, 1, true), line)
    end
    assert.truthy(conf { patience = 60 }:find("client_body_timeout 10s;", 1, true))
  end)

  it("says what else it is told", function()
    local folder = command.folder()
    local resolv = command.write(folder .. "/resolv.conf", "# x\nsearch a.b\nnameserver 10.0.0.1\n"
      .. "nameserver fe80::1\nnameserver fe80::1%eth0\nnameserver evil;\n")
    local environ = command.write(folder .. "/environ", "A=1\0B_2=x=y\0C;D=2\0E=\0")
    local text = conf { user = "web user", group = "www", workers = 3, resolv = resolv,
      environ = environ, body_limit = 1000, nginx = { modules = { "/m/a.so", "/m/b.so" } } }
    for _, line in ipairs { 'user "web user" "www";', "worker_processes 3;",
      "resolver 10.0.0.1 [fe80::1];", "\nenv A;\nenv B_2;\nenv E;\n", "client_max_body_size 1000;",
      'load_module "/m/a.so";\nload_module "/m/b.so";\n' } do
      assert.truthy(text:find(line, 1, true), line)
    end
    assert.is_nil(text:find("evil", 1, true))
    assert.is_nil(text:find("C;", 1, true))
    command.finish()
  end)

  it("quotes whatever comes", function()
    assert.equal([["a \"b\" \\ ; {"]], nginx.quote [[a "b" \ ; {]])
    assert.has_error(function() nginx.quote "a\nb" end)
    local path = "/tmp/it's \"a\" }$x\\\n"
    local literal = nginx.lua_quote(path)
    assert.is_nil(literal:find "[}{'$\n]")
    assert.equal(path, (loadstring or load)("return " .. literal)()) -- luacheck: ignore loadstring
  end)

  it("finds an nginx with Lua, or says what is missing", function()
    local found = assert(nginx.find())
    assert.is_true(process.executable(found.binary))
    for _, path in ipairs(found.modules) do assert.equal("file", process.stat(path).type) end
  end)

  it("reads addresses", function()
    for text, wanted in pairs {
      ["8080"] = { "127.0.0.1", "8080" }, [":8080"] = { "127.0.0.1", "8080" },
      ["127.0.0.1:1"] = { "127.0.0.1", "1" }, ["[::1]:65535"] = { "[::1]", "65535" },
      ["host-1.example.edu:80"] = { "host-1.example.edu", "80" }, ["*:80"] = { "*", "80" },
    } do
      assert.same(wanted, { nginx.address(text) })
    end
    for _, text in ipairs { "", "x", "a:b", "a:0", "a:65536", "a b:1", "::1:80", "1.2.3.4",
      "a;:1" } do
      local ok, err = pcall(nginx.address, text)
      assert.is_false(ok)
      assert.same({ 2, "billhook: not an address and port: " .. text
        .. " (give HOST:PORT or PORT)" }, { err.code, err.text })
    end
    for host, near in pairs { ["127.0.0.1"] = true, ["127.9.9.9"] = true, ["[::1]"] = true,
        ["::1"] = true, Localhost = true, localhost = true,
        ["*"] = false, ["0.0.0.0"] = false, ["[::]"] = false,
        ["127.0.0.1.example"] = false, ["192.0.2.1"] = false } do
      assert.equal(near, require("billhook.options").is_local(host), host)
    end
    assert.equal("http://127.0.0.1:80", nginx.url("*", "80"))
    assert.equal("http://127.0.0.1:80", nginx.url("0.0.0.0", "80"))
    assert.equal("http://[::1]:80", nginx.url("[::]", "80"))
    assert.equal("http://[::1]:80", nginx.url("[::1]", "80"))
  end)
end)

describe("rules #both", function()
  after_each(command.finish)

  it("are loaded once", function()
    local path = command.write(command.folder() .. "/rules.lua", [[
      local app = require("billhook").app { inbox = "memory:", accounts = {
        school = require("billhook").dreamclass { webhook = { secret = "1" } } } }
      return app]])
    local app = assert(rules.load(path))
    assert.equal(app, rules.load(path))
  end)

  it("say where they are wrong", function()
    local path = command.write(command.folder() .. "/rules.lua", "local x = nil\nreturn x.y")
    local app, err = rules.load(path)
    assert.is_nil(app)
    assert.truthy(err:find("rules.lua:2: attempt to index", 1, true), err)
  end)
end)

describe("a copy that was installed", function()
  after_each(command.finish)

  local function sh(text) assert.equal("exit", (process.wait(assert(process.spawn {
    "/bin/sh", "-ec", text })))) end

  -- what `make install` makes, for the Lua of this spec, and the 5.1 objects if wanted
  local function install(with_twin)
    local top = command.folder()
    local version = rawget(_G, "jit") and "5.1" or "5.4"
    local build = rawget(_G, "jit") and "luajit" or "lua5.4"
    sh(("cd %s; mkdir -p bin lib/lua/5.1 lib/lua/%s share/lua/%s share/billhook"):format(top,
      version, version))
    sh(("cp bin/billhook %s/bin; cp -r lua/billhook %s/share/lua/%s/"):format(top, top, version))
    sh(("cp -r build/%s/billhook %s/lib/lua/%s/"):format(build, top, version))
    if with_twin then sh(("cp -r build/luajit/billhook %s/lib/lua/5.1/"):format(top)) end
    sh(("cp -r examples %s/share/billhook/"):format(top))
    return top
  end

  local bare = { LUA_PATH = false, LUA_CPATH = false, LUA_PATH_5_4 = false, LUA_CPATH_5_4 = false }

  it("works from anywhere", function()
    local top = install(true)
    local result = command.run({ "demo" }, { script = top .. "/bin/billhook", cwd = "/",
      env = bare })
    assert.equal(0, result.code, result.out .. result.err)
  end)

  if not rawget(_G, "jit") then
    it("says how to add what nginx's LuaJIT needs", function()
      local top = install(false)
      local result = command.run({ "sandbox", "--listen", ("%d"):format(require("spec.support.port")
        .free()) }, { script = top .. "/bin/billhook", cwd = "/",
        env = bare })
      assert.equal(1, result.code)
      assert.truthy(result.err:find(top .. "/lib/lua/5.1/billhook/core.so", 1, true), result.err)
      assert.truthy(result.err:find("luarocks --lua-version 5.1 make", 1, true), result.err)
    end)
  end
end)

describe("a child #both", function()
  after_each(command.finish)

  it("is stopped by a signal, or by force", function()
    local child = assert(children.start({ "sleep", "100" }, {}))
    assert.is_nil(child:ended())
    assert.equal("signal TERM", child:stop("TERM", 10))
    assert.equal("signal TERM", child:stop("TERM", 10))
    local folder = command.folder()
    child = assert(children.start({ "/bin/sh", "-c",
      "trap '' TERM; echo; while :; do sleep 1; done" }, { stdout = folder .. "/out" }))
    command.wait("the trap", function() return command.read(folder .. "/out") == "\n" end)
    assert.equal("signal KILL", child:stop("TERM", 0.1))
  end)

  it("takes its group with it, where it is whole", function()
    local folder = command.folder()
    for _, whole in ipairs { true, false } do
      local child = assert(children.start({ "/bin/sh", "-c", "sleep 100 & echo $!" },
        { stdout = folder .. "/" .. tostring(whole), whole = whole }))
      assert.equal("exit 0", child:wait(10))
      local pid = tonumber(command.read(folder .. "/" .. tostring(whole)))
      if whole then
        command.wait("its group to end", function() return command.gone(pid) end)
      else
        assert.is_false(command.gone(pid))
        process.kill(pid, "KILL")
      end
    end
  end)

  it("that prints is read", function()
    local how, text = children.output({ "/bin/sh", "-c", "echo a; exit 4" },
      { folder = command.folder() })
    assert.same({ "exit 4", "a\n" }, { how, text })
    how, text = children.output({ "/none" }, { folder = command.folder(), name = "x" })
    assert.same({ nil, "x: exec: No such file or directory" }, { how, text })
    how = children.output({ "sleep", "100" }, { folder = command.folder(), seconds = 0.05 })
    assert.equal("signal KILL", how)
  end)
end)

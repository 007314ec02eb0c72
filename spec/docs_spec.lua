-- The documentation: its Lua runs and gives what it says, its links lead somewhere, and what it
-- says of defaults is so.

local billhook = require "billhook"
local command = require "spec.support.command"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local pages = require "spec.support.pages"
local sandbox = require "billhook.sandbox"

local vendors, base

local function list(pattern)
  local found, pipe = {}, io.popen("ls " .. pattern)
  for path in pipe:lines() do found[#found + 1] = path end
  pipe:close()
  return found
end

local function control(name, fields)
  local status, _, body = vendors:request { method = "POST", port = vendors.ports[2],
    path = "/sandbox/" .. name, body = json.encode(fields or {}) }
  assert.equal(200, status, body)
  return json.decode(body)
end

local suffix = { dreamapply = "", dreamclass = "/dreamclassapi/v1", betterez = "/invoices" }
local credential = { api_key = true, token = true }

-- A client of the sandbox, where the page means the real vendor; one with a transport is its own.
-- All pages together ask for more than a minute's quota allows: only the page about it has one.
local function maker(vendor, path)
  return function(given)
    local options = {}
    for name, value in pairs(given) do options[name] = value end
    if not options.transport and options.api_key then
      options.base_url = base .. suffix[vendor]
      if path ~= "docs/client.md" then options.quota = false end
      for name in pairs(credential) do
        options[name] = options[name] and sandbox.defaults(vendor)[name]
      end
    end
    return billhook[vendor](options)
  end
end

local function names_for(folder, path)
  local shown = { sandbox = control }
  local made = setmetatable({}, { __index = billhook })
  for vendor in pairs(suffix) do made[vendor] = maker(vendor, path) end
  function made.app(options)
    options.inbox = options.inbox:gsub("^sqlite:[^/]", function()
      return "sqlite:" .. folder .. "/"
    end)
    options.log = options.log or function() end
    return billhook.app(options)
  end
  function shown.require(name) return name == "billhook" and made or require(name) end
  -- nothing is set, and a page that gives up has failed
  shown.os = setmetatable({ getenv = function() end, exit = function(code)
    error("exit code " .. tostring(code), 0)
  end }, { __index = os })
  return shown
end

describe("the page #both", function()
  setup(function()
    vendors = nginx.start { http = sandbox.conf { listen = "127.0.0.1:PORT2" } }
    base = ("http://127.0.0.1:%d"):format(vendors.ports[2])
  end)

  teardown(function() vendors:stop() end)
  before_each(function() control "reset" end)
  after_each(command.finish)

  for _, path in ipairs(list "README.md docs/*.md") do
    local blocks = pages.blocks(path)
    if #blocks > 0 then
      it(path .. " has Lua that does what it says", function()
        local failures = {}
        local env = pages.environment(names_for(command.folder(), path), path, function(message)
          failures[#failures + 1] = message
        end)
        for _, block in ipairs(blocks) do
          local fn, why = pages.compile(block, env)
          assert.is_function(fn, why)
          if block.run then
            local fine, err = xpcall(fn, function(e) return debug.traceback(tostring(e)) end)
            assert.is_true(fine, err)
          end
        end
        assert.equal("", table.concat(failures, "\n"))
      end)
    end
  end
end)

-- The words of the commands of a page that begin so, without `bin/billhook`.
local function commands_of(text, start)
  local found = {}
  for line in text:gmatch("\n    (" .. start .. "[^\n]*)") do
    for part in (line:gsub("%s#.*", "") .. " && "):gmatch "(.-) && " do
      local words = {}
      for word in part:gmatch "%S+" do words[#words + 1] = word end
      assert.equal("bin/billhook", table.remove(words, 1))
      found[#found + 1] = words
    end
  end
  return found
end

local root = io.popen("pwd"):read "*l"

local function environment(more)
  local env = { LUA_PATH = ("%s/lua/?.lua;%s/lua/?/init.lua;;"):format(root, root),
    LUA_CPATH = ("%s/build/%s/?.so;;"):format(root, command.lua) }
  for name, value in pairs(more or {}) do env[name] = value end
  return env
end

local function free_port() return ("%d"):format(require("spec.support.port").free()) end

-- Starts what a page starts, in a folder with its rules; waits until it listens.
local function started(words, folder, port, env)
  words[#words + 1] = "--listen"
  words[#words + 1] = port
  local server = command.start(words, { cwd = folder, script = root .. "/bin/billhook",
    env = environment(env) })
  command.wait(words[1] .. " to listen: " .. server:errors(), function()
    return server:errors():find("listening on", 1, true) or server:output():find "BASE_URL"
  end)
  return server
end

describe("docs/getting-started.md's webhook", function()
  after_each(command.finish)

  it("comes in by the two commands there", function()
    local text, folder = command.read "docs/getting-started.md", command.folder()
    local rules = pages.blocks "docs/getting-started.md"[1]
    command.write(folder .. "/rules.lua", table.concat(rules.lines, "\n"))
    local port = free_port()
    local serve = commands_of(text, "bin/billhook serve")[1]
    local trigger = commands_of(text, "bin/billhook trigger")[1]
    assert.same({ "serve", "rules.lua" }, serve)
    local server = started(serve, folder, port)
    for i, word in ipairs(trigger) do trigger[i] = word:gsub(":8080$", ":" .. port) end
    local sent = command.run(trigger)
    assert.equal(0, sent.code, sent.err)
    assert.matches('^200 {"ok":true}', sent.out)
    command.wait("the rule to print: " .. server:errors(), function()
      return server:output():find "^school:%x+%-%S+\tid\t%d+\tsample%-%d+\n"
    end)
  end)
end)

describe("README.md", function()
  local text = command.read "README.md"
  after_each(command.finish)

  it("has rules that print what it says, by the commands there", function()
    local folder, port, vendors_port = command.folder(), free_port(), free_port()
    command.write(folder .. "/rules.lua", table.concat(pages.blocks "README.md"[2].lines, "\n"))
    local there = "http://127.0.0.1:" .. vendors_port
    local world = commands_of(text, "bin/billhook sandbox %-%-to")[1]
    world[3] = world[3]:gsub(":8080$", ":" .. port)
    started(world, folder, vendors_port)
    local server = started(commands_of(text, "bin/billhook serve")[1], folder, port,
      { DREAMAPPLY_URL = there })
    local steps = commands_of(text, "bin/billhook sandbox trigger")
    assert.equal(2, #steps)
    for i, words in ipairs(steps) do
      words[#words + 1], words[#words + 2] = "--listen", vendors_port
      local done = command.run(words)
      assert.equal(0, done.code, done.err)
      if i == 1 then -- on a busy machine the worker has yet to begin
        command.wait("the invoice to be known: " .. server:errors(), function()
          local known = command.run { "inbox", "invoices", "--json", "--inbox",
            "sqlite:" .. folder .. "/billhook.db" }
          return known.out:find '"AF%-100001"'
        end)
      end
    end
    local told = assert(text:match "`serve` prints `(.-)`")
    command.wait("the rule to print: " .. server:errors(), function()
      return server:output():find(told .. "\n", 1, true)
    end)
  end)

  -- What the script says, at the sandbox on that port, and its exit code.
  local function run_script(folder, there, more)
    local script, out = folder .. "/create.lua", folder .. "/out"
    command.write(script, table.concat(pages.blocks "README.md"[1].lines, "\n"))
    os.remove(out) -- of an earlier run
    local env = { DREAMAPPLY_URL = "http://127.0.0.1:" .. there }
    for name, value in pairs(more or {}) do env[name] = value end
    local pid = assert(require("billhook.process").spawn({ command.lua, script }, { stdout = out,
      stderr = out, stdin = "/dev/null", env = environment(env) }))
    command.wait("the script to end", function()
      return require("billhook.process").wait(pid, "look")
    end)
    local _, code = require("billhook.process").wait(pid)
    return command.read(out), code
  end

  it("has a script that makes one invoice, however often it is run", function()
    local folder, there = command.folder(), free_port()
    started({ "sandbox" }, folder, there)
    for _, how in ipairs { "created", "found" } do
      local said, code = run_script(folder, there)
      assert.equal(0, code, said)
      assert.matches("^1\t" .. how .. "\nAF%-100001\t25.00\t%d+%-%d+%-%d+\n$", said)
    end
  end)

  it("has a script that says why it makes none", function()
    local folder, there, nowhere = command.folder(), free_port(), free_port()
    started({ "sandbox" }, folder, there)
    for _, one in ipairs { { nowhere, nil, "network: " }, { there, "no-such-key", "auth: " },
      { there, "", "dreamapply: 'api_key' " } } do
      local said, code = run_script(folder, one[1], { DREAMAPPLY_KEY = one[2] })
      assert.equal(1, code, said)
      assert.is_truthy(said:find(one[3], 1, true), said)
      assert.is_nil(said:find("nil value", 1, true))
      assert.equal(one[2] == "", said:find("stack traceback", 1, true) ~= nil)
    end
  end)

  it("has an nginx.conf that receives and answers", function()
    local folder = command.folder()
    command.write(folder .. "/rules.lua", table.concat(pages.blocks "README.md"[2].lines, "\n"))
    local there = free_port()
    started({ "sandbox" }, folder, there)
    local conf = assert(text:match "\n```nginx\n(.-)\n```")
    for _, change in ipairs {
      { "user www-data;", require("billhook.process").uid() == 0 and "user root;" or "" },
      { "include /etc/nginx/modules-enabled/*.conf;", nginx.load_modules()
        .. " pid $PREFIX/nginx.pid; error_log $PREFIX/error.log info;" },
      { "sqlite:/var/lib/billhook/inbox.db", "sqlite:" .. folder .. "/inbox.db" },
      { "env DREAMAPPLY_URL;", "env DREAMAPPLY_URL=http://127.0.0.1:" .. there .. ";" },
      { "http {", "http { access_log off; client_body_temp_path $PREFIX/body;"
        .. " proxy_temp_path $PREFIX/proxy; fastcgi_temp_path $PREFIX/fastcgi;"
        .. " uwsgi_temp_path $PREFIX/uwsgi; scgi_temp_path $PREFIX/scgi;"
        .. " lua_package_cpath '$ROOT/build/luajit/?.so;;';" },
      { "/etc/billhook/?.lua;", folder .. "/?.lua;$ROOT/lua/?.lua;$ROOT/lua/?/init.lua;" },
      { "127.0.0.1:8080", "127.0.0.1:$PORT" },
    } do
      local first, last = conf:find(change[1], 1, true)
      assert.is_truthy(first, change[1])
      conf = conf:sub(1, first - 1) .. change[2] .. conf:sub(last + 1)
    end
    local server = nginx.start { conf = conf }
    local made, err = billhook.dreamapply { base_url = "http://127.0.0.1:" .. there,
      api_key = "sandbox-key" }.invoices:create(123, { currency = "EUR",
      items = { { item = "Fee", price = "25.00", qty = "1" } } })
    assert(made, err)
    local status, _, body = server:request { path = "/balance?id=1" }
    assert.equal(200, status, body)
    assert.equal("AF-100001 25.00\n", body)
    assert.equal(404, (server:request { path = "/balance?id=99" }))
    assert.equal(400, (server:request { path = "/balance" }))
    local headers, news = billhook.sign("dreamapply", '{"id":1,"event":"Invoice was created: ?",'
      .. '"invoice":"/api/v9/invoices/1"}', { authorization = "Bearer sandbox-hook" })
    status, _, body = server:request { method = "POST", path = "/webhooks/admissions",
      headers = headers, body = news }
    assert.equal(200, status, body)
    server:stop()
  end)

  it("says what each vendor supports", function()
    local columns = { "dreamapply", "dreamclass", "betterez" }
    local part, rows = text:match "## What each vendor supports(.-)\n## ", 0
    local known = {}
    for i, vendor in ipairs(columns) do
      known[i] = {}
      for _, operation in ipairs(billhook.calls(vendor)) do known[i][operation.name] = operation end
    end
    for line in part:gmatch "\n(|[^\n]*)" do
      local cells = {}
      for one in line:gmatch "|([^|]*)" do cells[#cells + 1] = one end
      for i = 1, 3 do
        local text_of = cells[i + 1]
        local name = text_of:match "`(%l+%.%l+)`"
        if cells[1]:find "calls of its API" then
          assert.equal(#billhook.calls(columns[i]), tonumber(text_of))
        elseif name and not cells[1]:find "`" then
          rows = rows + 1
          assert.is_truthy(known[i][name], columns[i] .. " has no " .. name)
          assert.equal(known[i][name].unverified == true, text_of:find "¹" ~= nil, name)
        elseif not cells[1]:find "`" and text_of:find "^%s*$" then
          local verb = cells[1]:match "^ (%l+) one"
          verb = ({ change = "update" })[verb] or verb
          assert.is_nil(verb and known[i]["invoices." .. verb])
        end
      end
    end
    assert.is_true(rows > 10)
  end)
end)

describe("what is packed", function()
  after_each(command.finish)

  it("needs the packages that README.md names", function()
    local makefile = command.read "Makefile":gsub("\\\n", " ")
    local line = command.read "README.md":gsub("\\\n", " "):match "\n    apt install ([^\n]*)"
    local told = {}
    for name in line:gmatch "%S+" do told[name] = true end
    for name in makefile:match "\nPACKAGES := ([^\n]*)":gmatch "%S+" do
      assert.is_true(told[name], name)
      told[name] = nil
    end
    assert.same({ make = true }, told)
  end)

  it("in examples/compose.yml has commands and options that there are", function()
    local text, count = command.read "examples/compose.yml":gsub(",\n%s*", ", "), 0
    for words in text:gmatch "\n    command: %[([%l].-)%]" do
      local name = words:match "^%l+"
      local help = command.run { "help", name }
      assert.equal(0, help.code, help.err)
      for option in words:gmatch "(%-%-[%l-]+)" do
        count = count + 1
        assert.matches(option .. " ", help.out, 1, true)
      end
    end
    assert.equal(3, count)
  end)

  it("in examples/Containerfile is what is needed to build and to run", function()
    local text = command.read "examples/Containerfile":gsub("[%s\\]+", " ")
    for name in command.read "Makefile":gsub("\\\n", " "):match "\nPACKAGES := ([^\n]*)"
      :gmatch "%S+" do
      assert.matches(" " .. name .. " ", text, 1, true)
    end
  end)

  it("has .luarc.json, which says where modules are", function()
    local luarc = assert(json.decode(command.read ".luarc.json"))
    assert.same({ "lua/?.lua", "lua/?/init.lua" }, luarc["runtime.path"])
  end)
end)

describe("docs/commands.md", function()
  after_each(command.finish)

  it("has all commands, and no other", function()
    local part = command.read("docs/commands.md"):match "^# Commands(.-)\n|"
    local told, known = {}, {}
    for name in part:gmatch "\n    billhook (%l+)" do told[#told + 1] = name end
    local help = command.run { "--help" }
    assert.equal(0, help.code)
    for name in help.out:gmatch "\n   (%l+) +%u" do known[#known + 1] = name end
    for _, name in ipairs(told) do
      assert.equal(0, command.run({ name, "--help" }).code, name)
    end
    table.sort(told)
    table.sort(known)
    assert.same(known, told)
  end)
end)

-- The lines for a shell: those of a block that is set in by four, and of one for the shell.
local function shell_lines(path)
  local found, number = {}, 0
  for line in io.lines(path) do
    number = number + 1
    local rest = line:match "^    b?i?n?/?billhook (.+)$"
    for part in ((rest or ""):gsub("%s#.*", ""):gsub("bin/billhook ", "\0") .. "\0")
      :gmatch "([^%z]*)%z" do
      part = part:gsub("&&%s*$", "")
      if part:find "%S" then found[#found + 1] = { at = path .. ":" .. number, text = part } end
    end
  end
  return found
end

describe("a line for the shell", function()
  after_each(command.finish)

  it("has commands and options that there are", function()
    local helps, bad, count = {}, {}, 0
    local function help_of(words)
      local key = table.concat(words, " ")
      if not helps[key] then
        local asked = { "help" }
        for _, word in ipairs(words) do asked[#asked + 1] = word end
        helps[key] = command.run(asked)
      end
      return helps[key]
    end
    for _, path in ipairs(list "README.md docs/*.md") do
      for _, line in ipairs(shell_lines(path)) do
        count = count + 1
        local words, nested = {}, { inbox = true, invoices = true }
        for word in line.text:gmatch "%S+" do words[#words + 1] = word end
        local asked = { words[1] }
        if nested[words[1]] and (words[2] or ""):find "^%l+$" then asked[2] = words[2] end
        local help = help_of(asked)
        if help.code ~= 0 then
          bad[#bad + 1] = line.at .. ": " .. help.err
        else
          for _, word in ipairs(words) do
            local option = word:match "^%[?(%-%-[%l-]+)"
            local shown = words[1] == "call" or not option -- its options are the call's parameters
              or (help.out .. " "):find(option:gsub("%-", "%%-") .. "%f[^%w-]")
            if not shown then bad[#bad + 1] = line.at .. ": no option " .. option end
          end
        end
      end
    end
    assert.same({}, bad)
    assert.is_true(count > 40, count)
  end)
end)

describe("docs/other-servers.md", function()
  after_each(command.finish)

  it("has a CGI program that receives", function()
    local process, folder = require "billhook.process", command.folder()
    local block
    for _, one in ipairs(pages.blocks "docs/other-servers.md") do
      if one.lines[1]:find "^#!" then block = one end
    end
    local script = command.write(folder .. "/webhooks.cgi", table.concat(block.lines, "\n"))
    command.write(folder .. "/rules.lua", ([[
      return require("billhook").app { inbox = "sqlite:%s/inbox.db", log = function() end,
        accounts = { tickets = require("billhook").betterez { webhook = { secret = "key" } } } }
    ]]):format(folder))
    local headers, body = billhook.sign("betterez", [[{ "livemode": true, "created": 1763719200,
      "id": "11111111-2222-4333-8444-555555555555", "event": "invoices.created",
      "data": { "_id": "616d7cf38fedff37e449215c" } }]], { secret = "key" })
    local stdin = command.write(folder .. "/body", body)
    local function answer(path, signature)
      local out = command.folder() .. "/out"
      local pid = assert(process.spawn({ command.lua, script }, { stdin = stdin,
        stdout = out, stderr = out, env = environment {
          BILLHOOK_RULES = folder .. "/rules.lua", PATH_INFO = path,
          CONTENT_LENGTH = ("%d"):format(#body), HTTP_X_BTRZ_SIGNATURE = signature } }))
      command.wait("the program to end", function() return process.wait(pid, "look") end)
      process.wait(pid)
      return command.read(out)
    end
    local signature = headers["X-Btrz-Signature"]
    assert.equal('Status: 200\r\nContent-Type: application/json\r\n\r\n{"ok":true}',
      answer("/tickets", signature))
    assert.matches("^Status: 401\r\n", answer("/tickets", (signature:gsub("%x$", function(digit)
      return digit == "0" and "1" or "0"
    end))))
    assert.matches("^Status: 404\r\n", answer("/nobody", signature))
  end)
end)

describe("docs/README.md", function()
  it("leads to every page", function()
    local index, missing = command.read "docs/README.md", {}
    for _, path in ipairs(list "docs/*.md") do
      local name = path:match "[^/]+$"
      if name ~= "README.md" and not index:find("](" .. name, 1, true) then
        missing[#missing + 1] = name
      end
    end
    assert.same({}, missing)
  end)
end)

describe("docs/sandbox.md", function()
  setup(function()
    vendors = nginx.start { http = sandbox.conf { listen = "127.0.0.1:PORT2" } }
  end)

  teardown(function() vendors:stop() end)

  it("has lines for the shell that do what they say", function()
    local count = 0
    for line in io.lines "docs/sandbox.md" do
      if line:find "^curl " then
        count = count + 1
        local pipe = io.popen((line:gsub("127%.0%.0%.1:8081", "127.0.0.1:" .. vendors.ports[2])))
        local answer = pipe:read "*a"
        pipe:close()
        local value = json.decode(answer)
        assert.is_table(value, line .. "\n" .. answer)
        assert.is_nil(value.error, line)
      end
    end
    assert.is_true(count > 9)
  end)

  it("has the credentials that the sandbox asks for", function()
    local page = command.read "docs/sandbox.md"
    for vendor in pairs(suffix) do
      for name, value in pairs(sandbox.defaults(vendor)) do
        local told = type(value) == "table"
          and ('`%s = { "%s", "%s" }`'):format(name, value[1], value[2])
          or ('`%s = "%s"`'):format(name, tostring(value))
        local of_one_word = name == "shape" or name == "empty"
        if (type(value) == "string" or type(value) == "table") and not of_one_word then
          assert.matches(told, page, 1, true)
        end
      end
    end
  end)

  it("has every call that steers it, and every fault", function()
    local page = command.read "docs/sandbox.md"
    local control_lua = command.read "lua/billhook/sandbox/control.lua"
    for name in control_lua:gmatch '%["%u+ /sandbox/(%l+)"%]' do
      assert.matches("/sandbox/" .. name, page, 1, true)
    end
    for name in command.read("lua/billhook/sandbox/faults.lua"):gmatch '\n%-%-   "([%l-]+)"' do
      assert.matches('`"' .. name .. '"`', page, 1, true)
    end
  end)
end)

-- The anchor that GitHub makes of a heading.
local function anchor(heading)
  return (heading:lower():gsub("[^%w%s_-]", ""):gsub("%s", "-"))
end

local function anchors(path)
  local found, fenced = {}, false
  for line in io.lines(path) do
    if line:find "^```" then fenced = not fenced end
    local heading = not fenced and line:match "^#+%s+(.-)%s*$"
    if heading then found[anchor(heading)] = true end
  end
  return found
end

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

describe("the documentation", function()
  it("links to what there is", function()
    local bad = {}
    for _, path in ipairs(list "*.md docs/*.md") do
      for target in command.read(path):gmatch "%]%(([^)%s]+)%)" do
        local file, part = target:match "^([^#]*)#?(.*)$"
        local folder = path:match "^(.*/)" or ""
        local whole = file == "" and path or folder .. file
        if not target:find "^https?://" and (not exists(whole)
          or part ~= "" and not anchors(whole)[part]) then
          bad[#bad + 1] = path .. ": " .. target
        end
      end
    end
    assert.same({}, bad)
  end)

  it("names files that there are", function()
    local bad = {}
    for _, path in ipairs(list "*.md docs/*.md") do
      for name in command.read(path):gmatch "`([%w_]+/[%w_/.-]+%.%w+)`" do
        local top = name:match "^[^/]+"
        local any = name:find "NAME" or name:find "^src/l?x%.c$" -- stands for many
        if top ~= "build" and exists(top .. "/.") and not any and not exists(name) then
          bad[#bad + 1] = path .. ": " .. name
        end
      end
    end
    assert.same({}, bad)
  end)

  it("has every option of a client, with its default", function()
    local page = command.read "docs/client.md"
    local rules = { require("billhook.client.account").rules }
    for vendor in pairs(suffix) do
      rules[#rules + 1] = require("billhook.vendor." .. vendor).options
    end
    for _, set in ipairs(rules) do
      for name, rule in pairs(set) do
        local row = page:match("\n(|[^\n|]*`" .. name .. "`[^\n]*)")
          or page:match("\n(|[^\n|]*| `" .. name .. "`[^\n]*)")
          or page:match("\n(|[^\n|]*|[^\n|]*`" .. name .. "`[^\n]*)")
        assert.is_truthy(row, "docs/client.md has no row for the option " .. name)
        if type(rule.default) == "number" then
          assert.matches(("| %d |"):format(rule.default), row, 1, true)
        end
      end
    end
  end)

  it("has every kind of error", function()
    local page = command.read "docs/client.md"
    for _, kind in ipairs(billhook.error.kinds) do
      assert.matches("\n|[^\n|]*`" .. kind .. "`", page)
    end
  end)

  it("has every operation, with the name of its method", function()
    local page = command.read("docs/client.md"):match "## Calls(.-)\n## "
    for vendor in pairs(suffix) do
      for _, operation in ipairs(billhook.calls(vendor)) do
        local verb = operation.name:match "[%w_]+$"
        assert.matches("%f[%w_]" .. verb .. "%f[^%w_]", page, 1)
      end
    end
  end)
end)

describe("docs/inbox.md", function()
  local page = command.read "docs/inbox.md"

  it("has every metric", function()
    local count = 0
    local source = command.read "lua/billhook/app/metrics.lua"
    for _, pattern in ipairs { 'family%(page, "([%l_]+)"', '\n  { "([%l_]+)", "' } do
      for name in source:gmatch(pattern) do
        count = count + 1
        assert.matches("`billhook_" .. name .. "`", page:match "## Metrics(.-)\n## ", 1, true)
      end
    end
    assert.is_true(count > 15)
  end)

  it("has every line of the log, and every command", function()
    local told, known = {}, {}
    for row in page:match("## Logs(.-)\n## "):gmatch "\n|([^|]*)|" do
      for name in row:gmatch "`([%l_]+)`" do told[name] = true end
    end
    for _, path in ipairs(list("lua/billhook/app/*.lua lua/billhook/nginx/*.lua "
      .. "lua/billhook/inbox/*.lua lua/billhook/once/*.lua lua/billhook/page/*.lua")) do
      local source = command.read(path)
      for _, pattern in ipairs { 'log%("%l+", "([%l_]+)"', 'report, "%l+", "([%l_]+)"',
        'report%("%l+", "([%l_]+)"',
        'once%(%l+, "([%l_]+)"', 'report%("([%l_]+_failed)"', '%(app, "([%l_]+_failed)"' } do
        for name in source:gmatch(pattern) do known[name] = true end
      end
      for name in source:gmatch '{ name = "(%l+)", run' do known[name .. "_failed"] = true end
      for name in source:gmatch 'doubt%("([%l_]+)"' do known[name] = true end
    end
    local count = 0
    for name in pairs(known) do
      count = count + 1
      assert.is_true(told[name], name)
    end
    assert.is_true(count > 25)
    local help = command.run({ "inbox", "--help" }).out
    for name in help:gmatch "\n   (%l+) +%u" do
      assert.matches("billhook inbox " .. name, page, 1, true)
    end
  end)

  it("has the states of deliveries and events", function()
    local part = page:match "## Deliveries, invoices, events(.-)\n## "
    for _, state in ipairs { "pending", "done", "unchanged", "gone", "unhandled", "dead" } do
      assert.matches("\n| `" .. state .. "` |", part, 1, true)
    end
  end)
end)

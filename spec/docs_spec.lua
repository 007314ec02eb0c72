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
local function maker(vendor)
  return function(given)
    local options = {}
    for name, value in pairs(given) do options[name] = value end
    if not options.transport and options.api_key then
      options.base_url = base .. suffix[vendor]
      for name in pairs(credential) do
        options[name] = options[name] and sandbox.defaults(vendor)[name]
      end
    end
    return billhook[vendor](options)
  end
end

local function names_for(folder)
  local shown = { sandbox = control }
  local made = setmetatable({}, { __index = billhook })
  for vendor in pairs(suffix) do made[vendor] = maker(vendor) end
  function made.app(options)
    options.inbox = options.inbox:gsub("^sqlite:[^/]", function()
      return "sqlite:" .. folder .. "/"
    end)
    options.log = options.log or function() end
    return billhook.app(options)
  end
  function shown.require(name) return name == "billhook" and made or require(name) end
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
        local env = pages.environment(names_for(command.folder()), path, function(message)
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

describe("README.md's first webhook", function()
  after_each(command.finish)

  -- the words of the command that begins so, over its lines
  local function words_of(text, start)
    local line = assert(text:match("\n    (" .. start .. "[^\n]*\\?\n?[^\n]*)"))
    local words = {}
    for word in line:gsub("%s#.*", ""):gsub("\\\n", " "):gmatch "%S+" do
      words[#words + 1] = word
    end
    assert.equal("bin/billhook", table.remove(words, 1))
    return words
  end

  it("comes in by the two commands there", function()
    local text, folder = command.read "README.md", command.folder()
    local rules = pages.blocks "README.md"[1]
    command.write(folder .. "/rules.lua", table.concat(rules.lines, "\n"))
    local port = ("%d"):format(require("spec.support.port").free())
    local serve, trigger = words_of(text, "bin/billhook serve"), words_of(text,
      "bin/billhook trigger")
    assert.same({ "serve", "rules.lua" }, serve)
    local root = io.popen("pwd"):read "*l"
    local path = ("%s/lua/?.lua;%s/lua/?/init.lua;;"):format(root, root)
    local server = command.start({ "serve", "rules.lua", "--listen", port },
      { cwd = folder, script = root .. "/bin/billhook", env = { LUA_PATH = path,
        LUA_CPATH = ("%s/build/%s/?.so;;"):format(root, command.lua) } })
    command.wait("serve to listen: " .. server:errors(), function()
      return server:errors():find("listening on", 1, true)
    end)
    for i, word in ipairs(trigger) do trigger[i] = word:gsub(":8080$", ":" .. port) end
    local sent = command.run(trigger)
    assert.equal(0, sent.code, sent.err)
    assert.matches('^200 {"ok":true}', sent.out)
    command.wait("the rule to print: " .. server:errors(), function()
      return server:output():find "^school:%x+%-%S+\tid\t%d+\tsample%-%d+\n"
    end)
  end)
end)

describe("README.md's list of commands", function()
  after_each(command.finish)

  it("is all of them, and no other", function()
    local part = command.read("README.md"):match "## The command(.-)\n## "
    local told, known = {}, {}
    for name in part:gmatch "\n    billhook (%l+)" do told[#told + 1] = name end
    local help = command.run { "--help" }
    assert.equal(0, help.code)
    for name in help.out:gmatch "\n   (%l+) +%u" do known[#known + 1] = name end
    for _, name in ipairs(told) do
      assert.equal(0, command.run({ name, "--help" }).code, name)
    end
    told[#told + 1] = "demo" -- which `make demo` is
    table.sort(told)
    table.sort(known)
    assert.same(known, told)
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
        if exists(top .. "/.") and not any and not exists(name) then
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

-- What the reference says is so: its pages, and what editors are told, against the code.

local billhook = require "billhook"
local command = require "spec.support.command"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local sandbox = require "billhook.sandbox"

local read = command.read

local function list(pattern)
  local found, pipe = {}, io.popen("ls " .. pattern)
  for path in pipe:lines() do found[#found + 1] = path end
  pipe:close()
  return found
end

local sources = list "lua/billhook/*.lua lua/billhook/*/*.lua"

describe("docs/reference.md", function()
  local page = read "docs/reference.md"

  it("is as docs/reference.lua writes it: make docs", function()
    assert.equal(dofile("docs/reference.lua").page(), page)
  end)

  it("has every function of the public tables #both", function()
    local tables = { ["billhook.invoice"] = billhook.invoice, ["billhook.json"] = billhook.json }
    for name, members in pairs(tables) do
      for member, value in pairs(members) do
        if type(value) == "function" then
          assert.matches(("### `%s.%s("):format(name, member), page, 1, true)
        end
      end
    end
  end)

  it("has every method of an app, an event, a client and a decimal #both", function()
    local app = billhook.app { inbox = "memory:", log = function() end, accounts = {
      school = billhook.dreamclass { webhook = { secret = "123" } } } }
    -- what nginx's handlers call, and the command
    local own = { use_store = true, use_existing = true, keep_refused = true, open = true }
    for name, value in pairs(getmetatable(app).__index) do
      if type(value) == "function" and not own[name] then
        assert.matches("### `app:" .. name .. "(", page, 1, true)
      end
    end
    local client = billhook.betterez { api_key = "key" }
    for name in pairs(getmetatable(client).__index) do
      assert.matches("### `client:" .. name .. "(", page, 1, true)
    end
    local decimal = billhook.decimal "1"
    for name in pairs((debug.getmetatable or getmetatable)(decimal).__index) do
      assert.matches("### `decimal:" .. name .. "(", page, 1, true)
    end
    for name in read("lua/billhook/app/event.lua"):gmatch "\nfunction Event:([%w_]+)" do
      assert.matches("### `event:" .. name .. "(", page, 1, true)
    end
  end)
end)

describe("an annotation", function()
  it("names types that are declared", function()
    local declared, bad = {}, {}
    for _, path in ipairs(sources) do
      for name in read(path):gmatch "%-%-%-@%l+ (billhook[%w_.]*)" do declared[name] = true end
    end
    for _, path in ipairs(sources) do
      for line in io.lines(path) do
        local tag = line:match "^%s*%-%-%-@(%l+)"
        if tag == "param" or tag == "return" or tag == "field" or tag == "type" or tag == "class"
          or tag == "alias" then
          -- what it says in words is no type
          local types = line:gsub('"[^"]*"', "")
          for name in types:gmatch "%f[%w]billhook%.[%w_.]*[%w_]" do
            local module = package.searchpath and package.searchpath(name, package.path)
              or name:find "^billhook%.%l+$"
            if not declared[name] and not module then bad[#bad + 1] = path .. ": " .. name end
          end
        end
      end
    end
    assert.same({}, bad)
  end)

  -- The parameters that a comment names are some of the function below it, in that order, in every
  -- file; meta_spec wants all of them in the public ones.
  it("names parameters that its function has", function()
    local bad, count = {}, 0
    for _, path in ipairs(sources) do
      local told = {}
      for line in io.lines(path) do
        local name = line:match "^%-%-%-?%s?@param ([%w_.]+)"
        local parameters = line:match "^function [%w_.:]+%((.-)%)"
          or line:match "^local function [%w_]+%((.-)%)"
        if name then
          told[#told + 1] = name
        elseif parameters and #told > 0 then
          count = count + 1
          local from = 1 -- some may be left out where only billhook itself calls it
          for _, one in ipairs(told) do
            local _, to = (parameters .. ","):find(one .. ",", from, true)
            if not to then
              bad[#bad + 1] = ("%s: %s of (%s)"):format(path, one, parameters)
              break
            end
            from = to + 1
          end
        end
        if not line:find "^%-%-" then told = {} end
      end
    end
    assert.same({}, bad)
    assert.is_true(count > 200, count)
  end)

  it("of billhook's door is what it opens", function()
    local text = read "lua/billhook/api_meta.lua" .. read "lua/billhook/init.lua"
    local part = read("lua/billhook/init.lua"):match "\nlocal behind = {(.-)\n}\n"
    local count = 0
    for name in part:gmatch "\n  (%l+) = function" do
      count = count + 1
      assert.is_true(text:find("\nbillhook." .. name .. " = ", 1, true) ~= nil
        or text:find("---@field " .. name .. " ", 1, true) ~= nil, name)
      assert.is_not_nil(billhook[name], name)
    end
    assert.is_true(count > 8)
    for name, module, member in read("lua/billhook/api_meta.lua")
      :gmatch '\nbillhook%.(%l+) = require%(?%s?"([%w.]+)"%)?%.?([%w_]*)' do
      local there = require(module)
      assert.equal(member ~= "" and there[member] or there, billhook[name], name)
    end
  end)

  it("of billhook.verify's options has those that it takes", function()
    local part = read("lua/billhook/api_meta.lua"):match "@class billhook.VerifyOptions\n(.-)\n\n"
    local count = 0
    for name in part:gmatch "@field (%l+) " do
      count = count + 1
      local _, why = pcall(billhook.verify, "betterez", {}, "", { [name] = io.stdout })
      assert.is_nil(tostring(why):find "unknown option", name)
    end
    assert.equal(7, count)
  end)
end)

describe("docs/errors.md", function()
  local page = read "docs/errors.md"

  local function has(code)
    assert.is_truthy(page:find("`" .. code .. "`", 1, true), "docs/errors.md has no " .. code)
  end

  it("has every code that a delivery is refused with", function()
    local count = 0
    local intake = read "lua/billhook/app/receive.lua"
    local statuses = intake:match "local STATUS = {(.-)\n}"
    for code, status in statuses:gmatch "(%l+) = (%d+)" do
      count = count + 1
      assert.matches("`" .. code .. "`[^\n]*| " .. status .. " |", page)
    end
    for code in intake:gmatch 'refuse%(%d+, "(%l+)"' do has(code) end
    local host = read "lua/billhook/nginx/receive.lua":match "local codes = {(.-)\n}"
    for code in host:gmatch '"(%l+)"' do
      count = count + 1
      has(code)
    end
    has "connections"
    assert.is_true(count >= 17)
  end)

  it("has every code of an error that billhook makes", function()
    local count = 0
    for _, path in ipairs(sources) do
      if not path:find "/sandbox/" and not path:find "/cli/" and not path:find "_meta" then
        local text = read(path)
        for _, pattern in ipairs { 'kind = "%l+", code = "([%w_]+)"', '%.refuse%("(%u+)"',
          'failure%("(%l+)", ', 'return nil, "(%u+_%u+)"', 'return false, "(%u+_%u+)"' } do
          for code in text:gmatch(pattern) do
            count = count + 1
            has(code)
          end
        end
      end
    end
    assert.is_true(count > 14, count)
    for _, path in ipairs { "src/sqlite.c", "src/pq.c" } do
      for code in read(path):gmatch 'refuse%(L, "([%u_]+)"' do
        if code ~= "SQLITE_NOMEM" then has(code) end
      end
      for code in read(path):gmatch 'failed%(d, "(PG_%u+)"' do has(code) end
    end
  end)
end)

describe("docs/commands.md", function()
  local page = read "docs/commands.md"
  local vendors, folder, env

  setup(function()
    vendors = nginx.start { http = sandbox.conf { listen = "127.0.0.1:PORT2" } }
    folder = command.folder()
    local base = ("http://127.0.0.1:%d"):format(vendors.ports[2])
    env = { BILLHOOK_INBOX = "sqlite:" .. folder .. "/inbox.db", DREAMAPPLY_URL = base,
      DREAMCLASS_URL = base .. "/dreamclassapi/v1", BETTEREZ_URL = base .. "/invoices",
      BILLHOOK_API_KEY = "sandbox-key" }
    local app = billhook.app { inbox = env.BILLHOOK_INBOX, log = function() end, accounts = {
      admissions = billhook.dreamapply { base_url = base, api_key = "sandbox-key" },
      tickets = billhook.betterez { webhook = { secret = "key" } },
      school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } } } }
    app:on("tickets:*", { attempts = 1, name = "gives up" }, function() return nil, "never" end)
    app:on("admissions:*", { name = "waits" }, function(event) return event:retry_after(60) end)
    assert(app:poll "admissions")
    assert.equal(200, (vendors:request { method = "POST", port = vendors.ports[2],
      path = "/sandbox/trigger", body = '{"vendor":"dreamapply","amount":"900.00"}' }))
    assert.equal(1, app:poll "admissions")
    assert.equal(200, (app:receive("tickets", billhook.sign("betterez", [[{ "livemode": true,
      "id": "11111111-2222-4333-8444-555555555555", "event": "invoices.created",
      "created": 1763719200, "data": { "_id": "616d7cf38fedff37e449215c", "number": "7" } }]],
      { secret = "key" }))))
    assert.equal(200, (app:receive("school", billhook.sign("dreamclass", [[{ "data": null,
      "id": "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", "type": "INVOICE_CREATED",
      "timestamp": 1727884920561, "tenant": "my-school" }]], { secret = "123" }))))
    while assert(app:work()) > 0 do end -- luacheck: ignore 542
  end)

  teardown(function()
    vendors:stop()
    command.finish()
  end)

  local function run(argv, options)
    options = options or {}
    options.env = {}
    for name, value in pairs(env) do options.env[name] = value end
    options.env.LUA_PATH = "lua/?.lua;lua/?/init.lua;;"
    options.env.LUA_CPATH = ("build/%s/?.so;;"):format(command.lua)
    local result = command.run(argv, options)
    local value, why = json.decode(result.out)
    assert.is_not_nil(value, ("%s: %s %s"):format(table.concat(argv, " "), tostring(why),
      result.err))
    return value
  end

  -- Every member is named in a part of the page; gives how many there were.
  local function told(value, part)
    local count = 0
    for name in pairs(value) do
      count = count + 1
      assert.is_truthy(part:find("`" .. name .. "`", 1, true), "not documented: " .. name)
    end
    return count
  end

  it("has every member of a delivery, an event and an invoice", function()
    local chapters = { deliveries = "A delivery", events = "An event", dead = "An event",
      invoices = "An invoice" }
    for action, title in pairs(chapters) do
      local part = assert(page:match("### " .. title .. "\n(.-)###"))
      local found = run { "inbox", action, "--json" }
      assert.is_true(#found > 0, action)
      for _, one in ipairs(found) do
        assert.is_true(told(one, part) > 3)
        for _, run_of in pairs(one.runs or {}) do told(run_of, part) end
        local id = one.id or one.account .. ":" .. one.invoice
        local shown = run { "inbox", "show", id, "--json" }
        told(shown, part)
        for _, run_of in pairs(shown.runs or {}) do told(run_of, part) end
      end
    end
  end)

  local function row(name)
    return assert(page:match("\n(| [^|\n]*`billhook " .. name:gsub("%-", "%%-") .. "[^\n]*)"), name)
  end

  it("has every member of the others", function()
    local rules = "examples/rules.lua"
    told(run { "inbox", "stats", "--json" }, row "inbox stats")
    told(run { "inbox", "retry", "--all", "--json" }, row "inbox retry")
    told(run { "inbox", "purge", "--older-than", "30d", "--yes", "--json" }, row "inbox purge")
    told(run { "inbox", "purge", "--older-than", "30d", "--dry-run", "--json" },
      row "inbox purge")
    for _, report in pairs(run { "reconcile", rules, "--dry-run", "--json" }) do
      told(report, row "reconcile")
    end
    for _, quota in pairs(run { "quota", rules, "--json" }) do told(quota, row "quota") end
    local checked = run { "work", rules, "--check" }
    told(checked, row "work")
    for _, one in ipairs(checked.rules) do told(one, row "work") end
    for _, one in ipairs(checked.findings) do told(one, row "work") end
    local event = run({ "inbox", "events", "--json" })[1]
    local replayed = run { "replay", event.id, "--dry-run", rules, "--json" }
    assert.is_true(#replayed > 0)
    for _, one in ipairs(replayed) do told(one, row "replay") end
    for _, account in pairs(run { "doctor", rules, "--json" }) do
      for _, one in ipairs(account) do
        told(one, row "doctor")
        assert.matches('`"' .. one.state .. '"`', row "doctor", 1, true)
      end
    end
    told(run { "trigger", "dreamclass", "INVOICE_CREATED", "--secret", "123", "--to",
      env.DREAMAPPLY_URL, "--json" }, row "trigger")
    local _, body = billhook.sign("dreamclass", '{"id":"aa3a27d6-05b5-4fcd-bd04-505bfffacfc2",'
      .. '"tenant":"s","timestamp":1727884920561,"type":"INVOICE_CREATED","data":{"id":1}}',
      { secret = "123" })
    local delivery = run({ "verify", "dreamclass", "--secret", "123", "--json" }, { input = body })
    assert.is_true(told(delivery, row "verify") > 3)
    told(delivery.events[1], row "verify")
    local refused = run({ "verify", "dreamclass", "--secret", "4", "--json" }, { input = body })
    told(refused, row "verify")
    told(refused.error, row "verify")
    told(refused.findings[1], row "verify")
  end)

  it("has what calls give", function()
    local who = { "--vendor", "dreamapply", "--base-url", env.DREAMAPPLY_URL, "--json" }
    local function call(...)
      local argv = { "invoices", ... }
      for _, word in ipairs(who) do argv[#argv + 1] = word end
      return run(argv, { input = '{"currency":"EUR",'
        .. '"items":[{"item":"x","price":"1","qty":"1"}]}' })
    end
    assert.equal(1, call "count")
    assert.equal(3, told(call("create", "application=5", "--body", "-"), row "invoices create"))
    local failed = call("get", "99")
    told(failed, page)
    told(failed.error, assert(page:match "\n| the same, where the call failed[^\n]*"))
    assert.is_true(call("delete", "2"))
  end)
end)

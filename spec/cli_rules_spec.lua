-- What a developer of rules is told: `work --check` and its lint, and --watch.

local command = require "spec.support.command"
local json = require "billhook.json"
local lint = require "billhook.cli.lint"
local ports = require "spec.support.port"
local reload = require "billhook.cli.reload"

-- what is said of a text: "line message's beginning"
local function said(text)
  local list = {}
  lint.text(text, function(line, message)
    list[#list + 1] = line .. " " .. message:match "^'[^']*'"
  end)
  return list
end

describe("the lint of rules #both", function()
  it("tells of globals that the file writes", function()
    assert.same({ "1 'count'", "2 'book'", "4 'total'" }, said(table.concat({ "count = 0",
      "function book() end", "app:on('x', function(event)", "  if event.data then total = 5 end",
      "end)" }, "\n")))
  end)

  it("tells of nothing that is no global, or may be meant so", function()
    for _, text in ipairs {
      "local a = 1 a = 2", "local a, b <const> = 1, 2 b = a", "local function f() end f = nil",
      "for i = 1, 2 do i = 3 end", "for k, v in pairs(t) do v = k end",
      "local t = { a = 1, f = function() return { b = 2 } end, c = 3 }", "t.a = 1 t[1] = 2",
      "function t.f() end function t:g() end", "f { a = 1, b = { c = 2 } }",
      "return function(app, write) app = write end", "-- a = 1\n--[[ b = 2 ]] --[==[ c = 3 ]==]",
      "x('a = 1', \"b = \\\"2\\\"\", [[c = 3]])", "setfenv(1, {}) a = 1", "local _ENV = {} a = 1",
      "if a == 1 or b ~= 2 or c <= 3 then f() end", "#!/usr/bin/env lua\nlocal x", "",
      "local function f(...) local n = select('#', ...) n = 1 end", "t[a] = 1", "t.x, t.y = 1, 2",
    } do
      assert.same({}, said(text), text)
    end
  end)

  it("tells of failures that nobody looks at", function()
    local head = "local ledger = billhook.http {}\nlocal apply = billhook.dreamapply {}\n"
    for text, expected in pairs {
      ["ledger:post('/x', { f(1) })"] = "3 'post'",
      ["local function f()\n  ledger:put('/x')\n  return 1\nend"] = "4 'put'",
      ["apply.invoices:create(1, {})\nlocal x"] = "3 'create'",
      ["if ok then event:try_once('a', f) end"] = "3 'try_once'",
    } do
      assert.same({ expected }, said(head .. text), text)
    end
    for _, text in ipairs {
      "return ledger:post('/x')", "local a, err = ledger:post('/x')", "assert(ledger:post('/x'))",
      "f(1, ledger:post '/x')", "if not ledger:post('/x', {}) then f() end",
      "x = 1 + ledger:get('/')",
      "other:post('/x')", "ledger:post('/x'):f()", "apply.invoices:get(1)",
      "local function f(ledger) ledger:post('/x') end", "event:once('a', f)",
      "local ok = event:try_once('a', f)",
    } do
      assert.same({}, said(head .. "local x\n" .. text), text)
    end
  end)
end)

describe("the lint of rules, over Lua that is in order, #both", function()
  it("says nothing", function()
    local list = {}
    for path in io.popen("find lua examples -name '*.lua'"):lines() do
      lint.text(command.read(path), function(line) list[#list + 1] = path .. ":" .. line end)
    end
    assert.same({}, list)
  end)
end)

describe("billhook work --check", function()
  local folder
  before_each(function() folder = command.folder() end)
  after_each(command.finish)

  local function rules(text)
    return command.write(folder .. "/rules.lua", ([[
      local billhook = require "billhook"
      local app = billhook.app { inbox = "sqlite:%s/inbox.db", accounts = {
        school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } },
        apply = billhook.dreamapply { base_url = "https://x.example.edu", api_key = "key",
          webhook = { authorization = os.getenv "UNSET" } } } }
      %s
      return app]]):format(folder, text))
  end

  it("says what is doubtful, and where #both", function()
    command.write(folder .. "/helper.lua", "counter = 0 return {}")
    local path = rules [[require "helper"
      app:on("school:invoice.payed", function() end)
      app:on("invoice.overdue", function() end)
      local ledger = billhook.http { base_url = "https://ledger.example.edu" }
      app:on("invoice.created", function(event) ledger:post("/", {}, { event = event }) end)]]
    local result = command.run { "work", path, "--check" }
    assert.equal(0, result.code, result.err)
    for _, words in ipairs {
      "pattern school:invoice.payed: no account here is known to have such events",
      "pattern invoice.overdue: the app's option 'overdue' names no days",
      "account apply: it has no webhook secret",
      "account school: its webhook secret has 3 characters: it can be guessed",
      "account school: cannot be read back, so event.data is nil there",
      folder .. "/helper.lua:1: 'counter' is written as a global",
      path .. ":10: 'post' gives nil and a reason if it fails",
    } do
      assert.matches(words, result.err, 1, true)
    end
    local needs = json.decode(result.out)
    assert.equal(7, #needs.findings)
    assert.same({ path, folder .. "/helper.lua" }, needs.files)
    assert.equal("invoice.overdue", needs.rules[2].name)
    assert.equal(1, command.run({ "work", path, "--check", "--strict" }).code)
  end)

  it("says nothing of what is in order", function()
    local path = command.write(folder .. "/rules.lua", ([[
      local billhook = require "billhook"
      local app = billhook.app { inbox = "sqlite:%s/inbox.db", accounts = {
        tickets = billhook.betterez { webhook = { secret = "long enough" } } } }
      app:on("invoice.*", function() end)
      return app]]):format(folder))
    local result = command.run { "work", path, "--check", "--strict" }
    assert.same({ 0, "" }, { result.code, result.err })
  end)

  it("names an account that cannot be read back where a rule demands it", function()
    local path = rules [[app:on("school:invoice.created", { trust = "api" }, function() end)]]
    local result = command.run { "work", path, "--check" }
    assert.equal(1, result.code)
    assert.matches("account 'school' cannot read invoices", result.err, 1, true)
  end)
end)

describe("the difference of rules #both", function()
  it("is what was added, changed, removed", function()
    local before = { { name = "a", digest = "1", at = "r:1" }, { name = "b", digest = "2" } }
    local after = { { name = "a", digest = "3", at = "r:1" }, { name = "c", at = "r:9" } }
    assert.same({ "changed: a (r:1)", "added: c (r:9)", "removed: b" },
      reload.difference(before, after))
    assert.same({ "no rule is another one by itself" }, reload.difference(before, before))
  end)
end)

describe("--watch", function()
  local folder, path
  after_each(command.finish)

  before_each(function()
    folder = command.folder()
    path = folder .. "/rules.lua"
  end)

  local function write(text)
    command.write(folder .. "/new.lua", ([[
      local billhook = require "billhook"
      local app = billhook.app { inbox = "sqlite:%s/inbox.db", log = function() end, accounts = {
        school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } } } }
      %s
      return app]]):format(folder, text))
    assert(os.rename(folder .. "/new.lua", path))
  end

  local function rule(word)
    return ('app:on("*", { name = "say" }, function() print("%s") end)'):format(word)
  end

  local function deliver(n)
    local app = assert(loadfile(path))()
    local body = ('{"id":"%08d-05b5-4fcd-bd04-505bfffacfc2","type":"INVOICE_CREATED",'
      .. '"tenant":"my-school","timestamp":1,"data":{"id":%d}}'):format(n, n)
    assert.equal(200, (app:receive("school",
      require("billhook").sign("dreamclass", body, { secret = "123" }))))
    app.store:close()
  end

  it("of work takes changed rules, and keeps the old ones where they do not load", function()
    write(rule "one")
    local child = command.start { "work", path, "--watch" }
    local function has(where, words)
      command.wait(words .. ": " .. child:errors(), function()
        return where(child):find(words, 1, true)
      end)
    end
    deliver(1)
    has(child.output, "one")
    write(rule "two" .. ' app:on("x", { name = "more" }, function() end)')
    has(child.errors, "rules: changed: say")
    has(child.errors, "rules: added: more")
    deliver(2)
    has(child.output, "two")
    local old = command.read(path)
    command.write(path, "local = 1")
    has(child.errors, "rules.lua:1:")
    has(child.errors, "the old rules go on: " .. path .. " does not load (exit 1)")
    assert.is_nil(child:errors():find("it starts again", 1, true))
    command.write(path, old .. " -- the same")
    has(child.errors, "no rule is another one by itself")
    deliver(3)
    command.wait("the third", function() return select(2, child:output():gsub("two", "")) == 2 end)
    child:signal "TERM"
    assert.equal(0, child:wait())
  end)

  it("of serve takes changed rules", function()
    write(rule "one")
    local child = command.start { "serve", path, "--watch", "--listen",
      "127.0.0.1:" .. ports.free() }
    local function has(words)
      command.wait(words .. ": " .. child:errors(), function()
        return child:errors():find(words, 1, true)
      end)
    end
    has "listening on"
    write(rule "two")
    has "rules: changed: say"
    command.write(path, "nonsense")
    has "not reloaded:"
    child:signal "TERM"
    assert.equal(0, child:wait())
  end)
end)

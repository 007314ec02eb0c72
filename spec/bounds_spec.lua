-- bounds_spec.lua: rules that never end, that eat memory, that keep it: `billhook work` goes on,
-- the run counts as failed, and it is said.

local billhook = require "billhook"
local command = require "spec.support.command"
local inbox = require "billhook.inbox"
local process = require "billhook.process"

local folder, url

local function rules(text)
  return command.write(folder .. "/rules.lua", ([[
    local billhook = require "billhook"
    local app = billhook.app { inbox = %q, attempts = 2, backoff = { base = 0.001 }, accounts = {
      school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } },
      apply = billhook.dreamapply { webhook = { authorization = "Bearer hook" } } } }
    FOLDER = %q
    local function note(text)
      local file = io.open(%q, "a")
      file:write(text, "\n")
      file:close()
    end
    %s
    return app]]):format(url, folder, folder .. "/notes", text))
end

local function deliver(path, n)
  local app = dofile(path)
  app.log = function() end
  local body = ('{"id":"aa3a27d6-05b5-4fcd-bd04-%012d","type":"INVOICE_CREATED",'
    .. '"tenant":"my-school","timestamp":1,"data":{"id":%d}}'):format(n, n)
  local headers, signed = billhook.sign("dreamclass", body, { secret = "123" })
  assert.equal(200, (app:receive("school", headers, signed)))
  app.store:close()
end

local function marks(n)
  local store = assert(inbox.open(url))
  local found = store:show(("school:aa3a27d6-05b5-4fcd-bd04-%012d"):format(n))
  store:close()
  return found and found.marks or {}
end

local function ended(n, rule)
  local store = assert(inbox.open(url))
  local mark = command.wait(rule, function()
    local one = store:show(("school:aa3a27d6-05b5-4fcd-bd04-%012d"):format(n))
    local found = one and one.marks[rule]
    return found and found.state ~= "waiting" and found
  end)
  store:close()
  return mark
end

local function stop(child)
  child:signal "TERM"
  assert.equal(0, child:wait())
end

before_each(function()
  folder = command.folder()
  url = "sqlite:" .. folder .. "/inbox.db"
end)

after_each(command.finish)

describe("a rule that never ends", function()
  it("is ended with its process and its children, fails, and holds nobody up #both", function()
    local path = rules [[
      app:on("*", { name = "loops", stop_after = 0.3 }, function()
        local pipe = io.popen "echo $$; exec sleep 600"
        note("child " .. pipe:read "*l")
        while true do pcall(error) end
      end)
      app:on("*", { name = "fine" }, function() end)]]
    deliver(path, 1)
    local child = command.start { "work", path }
    local mark = ended(1, "loops")
    assert.same({ "dead", 2 }, { mark.state, mark.attempts })
    assert.is_truthy(mark.message:find("its stop_after", 1, true))
    assert.equal("done", ended(1, "fine").state)
    stop(child)
    local _, told = child:errors():gsub("ts=%S+ billhook level=error event=stopped "
      .. "id=school:aa3a27d6%-05b5%-4fcd%-bd04%-000000000001 rule=loops stop_after=0.3\n", "")
    assert.equal(2, told)
    for pid in command.read(folder .. "/notes"):gmatch "child (%d+)" do
      command.wait("the rule's child", function() return command.gone(tonumber(pid)) end)
    end
  end)

  it("is ended wherever it is", function()
    local path = rules [[
      local ways = {
        pattern = function() return (("a"):rep(60)):match(("a*"):rep(40) .. "b") end,
        child = function() return os.execute "sleep 600" end,
        coroutine = function()
          coroutine.wrap(function()
            while true do pcall(coroutine.wrap(function() while true do pcall(error) end end)) end
          end)()
        end,
        waits = function() return io.popen("mkfifo " .. FOLDER .. "/pipe; sleep 600"):read "*a" end,
        opens = function()
          os.execute("mkfifo " .. FOLDER .. "/fifo 2>/dev/null")
          return io.open(FOLDER .. "/fifo", "r")
        end,
        finaliser = function()
          local function loop() while true do pcall(error) end end
          if newproxy then
            getmetatable(newproxy(true)).__gc = loop
          else
            setmetatable({}, { __gc = loop })
          end
          collectgarbage()
          collectgarbage()
        end,
        handler = function() return xpcall(error, function() while true do end end) end,
        signals = function()
          require("billhook.process").signals("TERM", "INT", "HUP", "QUIT")
          while true do require("billhook.process").sleep(600, true) end
        end,
        compiled = function() local n = 0 while true do n = n + 1 end end,
      }
      for name, way in pairs(ways) do
        app:on("*", { name = name, attempts = 1, stop_after = 0.1 }, way)
      end]]
    deliver(path, 1)
    local child = command.start { "work", path }
    for _, name in ipairs { "pattern", "child", "coroutine", "waits", "opens", "finaliser",
      "handler", "signals", "compiled" } do
      local mark = ended(1, name)
      assert.equal("dead", mark.state, name)
      assert.is_truthy(mark.message:find("its stop_after", 1, true), mark.message)
    end
    stop(child)
    assert.equal(9, select(2, child:errors():gsub("event=stopped", "")))
  end)

  it("is no rule: what tells a person of a dead letter is ended, and told no more", function()
    local path = rules [[
      app.stop_after = 0.3
      app:on_dead(function(event)
        note("told " .. event.account)
        while true do end
      end)
      app:on("*", { name = "fine" }, function() end)]]
    local app = dofile(path)
    app.log = function() end
    local headers, body = billhook.sign("dreamapply", "[7]", { authorization = "Bearer hook" })
    assert.equal(200, (app:receive("apply", headers, body)))
    app.store:close()
    deliver(path, 1)
    local child = command.start { "work", path }
    assert.equal("done", ended(1, "fine").state)
    command.wait("the end of the handler", function()
      return child:errors():find("event=stopped", 1, true)
    end)
    deliver(path, 2)
    assert.equal("done", ended(2, "fine").state)
    stop(child)
    assert.equal("told apply\n", command.read(folder .. "/notes"))
  end)

  it("ends `work --once`, which does not stay for ever", function()
    local path = rules [[
      app:on("*", { name = "loops", stop_after = 0.2 }, function() while true do end end)]]
    deliver(path, 1)
    local result = command.run { "work", path, "--once" }
    assert.equal("KILL", result.code)
    assert.is_truthy(result.err:find("event=stopped", 1, true))
  end)

  it("is never ended where it says so, and what is in time is not either", function()
    local path = rules [[
      local function wait() require("billhook.process").sleep(0.5, true) end
      app:on("*", { name = "long", budget = 0.01, stop_after = false }, wait)
      app:on("*", { name = "short", budget = 60 }, function() end)]]
    deliver(path, 1)
    assert.equal(0, command.run({ "work", path, "--once" }).code)
    assert.equal("done", marks(1).long.state)
    assert.equal("done", marks(1).short.state)
  end)

  it("has ten budgets and at least ten minutes, or what the app or the rule says #both", function()
    local function of(options, more)
      options.inbox, options.accounts = "memory:", { school = billhook.dreamclass {
        tenant = "t", webhook = { secret = "1" } } }
      local app = billhook.app(options)
      app:on("*", more, function() end)
      return app.rules.list[1].stop_after
    end
    assert.equal(600, of({}, {}))
    assert.equal(600, of({ budget = 7 }, { budget = 2 }))
    assert.equal(700, of({ budget = 2 }, { budget = 70 }))
    assert.equal(5, of({ stop_after = 5 }, { budget = 2 }))
    assert.equal(false, of({ stop_after = false }, {}))
    assert.equal(9, of({ stop_after = false }, { stop_after = 9 }))
    assert.error_matches(function() of({ stop_after = 0 }, {}) end,
      "'stop_after' must be seconds above 0, up to 864000, or false")
    assert.error_matches(function() of({}, { stop_after = true }) end,
      "on: 'stop_after' must be seconds above 0, up to 864000, or false")
  end)
end)

describe("a rule that eats memory", function()
  it("fails, and those after it go on #both", function()
    local path = rules [[
      app:on("*", { name = "eats" }, function()
        local all = {}
        for i = 1, 1e9 do all[i] = ("x"):rep(100000) .. i end
      end)
      app:on("*", { name = "asks for all" }, function() return #("x"):rep(500 * 2 ^ 20) end)
      app:on("*", { name = "fine" }, function() note "fine" end)]]
    deliver(path, 1)
    local child = command.start { "work", path, "--memory", "32" }
    for _, name in ipairs { "eats", "asks for all" } do
      local mark = ended(1, name)
      assert.same({ "dead", 2 }, { mark.state, mark.attempts })
      assert.is_truthy(mark.message:find("not enough memory", 1, true)
        or mark.message:find("the process that ran this rule ended", 1, true), mark.message)
    end
    assert.equal("done", ended(1, "fine").state)
    stop(child)
    assert.is_truthy(child:errors():find("not enough memory", 1, true), child:errors())
  end)

  it("and keeps it has its process replaced before others fail of it", function()
    local path = rules [[
      kept = {}
      app:on("*", { name = "keeps", attempts = 1 }, function()
        kept[#kept + 1] = ("x"):rep(15 * 2 ^ 20 + #kept)
      end)]]
    local child = command.start { "work", path, "--memory", "56" }
    for n = 1, 6 do
      deliver(path, n)
      assert.equal("done", ended(n, "keeps").state)
    end
    command.wait("another process", function()
      return child:errors():find("rules keep half of the memory", 1, true)
    end)
    stop(child)
  end)

  it("in pieces however small, of tables or of buffers, is no different", function()
    local path = rules [[
      local kept, fine, buffer = {}, pcall(require, "string.buffer")
      local function plain()
        return { put = function(self, more) self[#self + 1] = more end }
      end
      app:on("*", { name = "small", attempts = 1 }, function()
        for i = 1, 2e5 do kept[#kept + 1] = { i } end
      end)
      app:on("*", { name = "buffers", attempts = 1 }, function()
        local text = fine and buffer.new() or plain()
        kept[#kept + 1] = text
        for i = 1, 2e5 do text:put(i .. "/") end
      end)
      app:on("*", { name = "endless", attempts = 1 }, function()
        local text = fine and buffer.new() or plain()
        while true do text:put(tostring(text), "x") end
      end)]]
    local child = command.start { "work", path, "--memory", "60" }
    for n = 1, 3 do
      deliver(path, n)
      for _, name in ipairs { "small", "buffers" } do
        local mark = ended(n, name)
        assert.equal("done", mark.state, mark.message)
      end
      assert.equal("dead", ended(n, "endless").state)
    end
    stop(child)
  end)

  it("has as much as it likes with --memory 0", function()
    local path = rules [[
      app:on("*", { name = "needs" }, function() note("got " .. #("x"):rep(64 * 2 ^ 20)) end)]]
    deliver(path, 1)
    assert.equal(0, command.run({ "work", path, "--once", "--memory", "0" }).code)
    assert.equal("got 67108864\n", command.read(folder .. "/notes"))
  end)
end)

describe("process.deadline #both", function()
  it("raises for what is no time", function()
    assert.has_error(function() process.deadline(-1) end)
    assert.has_error(function() process.bound_memory(-1) end)
    assert.is_true(process.memory() > 2 ^ 20)
  end)
end)

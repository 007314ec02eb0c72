-- cli_inbox_spec.lua: `billhook inbox`: what an operator finds, and what is done about it.

local command = require "spec.support.command"
local json = require "billhook.json"
local process = require "billhook.process"

local folder, url, rules

-- the ids below, with the account in front
local function uuid(n) return ("aa3a27d6-05b5-4fcd-bd04-%012d"):format(n) end
local function id(n) return "school:" .. uuid(n) end

-- A rules file with these rules; an app of it is what its processes are.
local function write_rules(text)
  return command.write(folder .. "/rules.lua", ([[
    local billhook = require "billhook"
    local app = billhook.app { inbox = %q, attempts = 1, log = function() end, accounts = {
      school = billhook.dreamclass { webhook = { secret = "123" }, tenant = "my-school" },
      other = billhook.dreamclass { webhook = { secret = "123" }, tenant = "my-school" } } }
    %s
    return app]]):format(url, text))
end

local function app()
  local made = assert(loadfile(rules))()
  return made
end

local function deliver(to, n, type, invoice, account)
  local body = ('{"id":"%s","type":"%s","tenant":"my-school","timestamp":1,"data":{"id":%d}}')
    :format(uuid(n), type, invoice)
  local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
  assert.equal(200, (to:receive(account or "school", headers, signed)))
end

local function work()
  local one = app()
  while assert(one:work()) > 0 do end
  one.store:close()
end

local function inbox(...)
  local argv = { "inbox" }
  for _, word in ipairs { ... } do argv[#argv + 1] = word end
  if not table.concat(argv, " "):find "%-%-rules" then
    argv[#argv + 1], argv[#argv + 2] = "--inbox", url
  end
  return command.run(argv)
end

local function answer(...)
  local argv = { ... }
  argv[#argv + 1] = "--json"
  local result = inbox((table.unpack or rawget(_G, "unpack"))(argv))
  assert.equal(0, result.code, result.err)
  return json.decode(result.out)
end

local function listed(...)
  local found = {}
  for i, event in ipairs(answer("events", ...)) do found[i] = event.id:match "0*(%d+)$" end
  table.sort(found)
  return table.concat(found, " ")
end

before_each(function()
  folder = command.folder()
  url = "sqlite:" .. folder .. "/inbox.db"
  rules = write_rules [[
    app:on("invoice.created", function() end)
    app:on("invoice.updated", { name = "bad" }, function() return nil, "no" end)
    app:on("invoice.updated", { name = "good" }, function() end) ]]
  local one = app()
  deliver(one, 1, "INVOICE_CREATED", 1)
  deliver(one, 2, "INVOICE_UPDATED", 2)
  deliver(one, 3, "CLASS_CREATED", 3)
  deliver(one, 4, "INVOICE_UPDATED", 4)
  deliver(one, 5, "INVOICE_CREATED", 1, "other")
  one.store:close()
  work()
end)
after_each(command.finish)

describe("billhook inbox", function()
  it("finds by account, type, state, age and invoice #both", function()
    assert.equal("1 2 3 4 5", listed())
    assert.equal("5", listed("--account", "other"))
    assert.equal("1 5", listed("--type", "invoice.created"))
    assert.equal("2 4", listed("--state", "dead"))
    assert.equal("3", listed("--state", "unhandled"))
    assert.equal("1 5", listed("--invoice", "1"))
    assert.equal("1", listed("--invoice", "1", "--account", "school"))
    assert.equal("", listed("--older-than", "1h"))
    assert.equal("1 2 3 4 5", listed("--newer-than", "2000-01-01T00:00:00Z"))
    assert.equal("", listed("--older-than", "2000-01-01T00:00:00Z"))
    assert.equal(2, #answer("events", "--limit", "2"))
    assert.equal(2, #answer "dead")
  end)

  it("shows times with their zone, as its options take them back", function()
    local shown = inbox "events"
    local moment = shown.out:match "\n(%d+%-%d%d%-%d%dT%d%d:%d%d:%d%dZ) "
    assert.truthy(moment, shown.out)
    assert.truthy(math.abs(require("billhook.core").text.datetime(moment) - os.time()) < 3600)
    assert.equal(0, inbox("events", "--older-than", moment).code)
  end)

  it("refuses what it does not understand", function()
    for _, case in ipairs {
      { "billhook: --older-than: not an age such as 30d", "events", "--older-than", "soon" },
      { "--limit: not a whole number from 1 to 1000000000: 0", "events", "--limit", "0" },
      { "not a whole number from 1 to 1000000000: -1", "events", "--limit=-1" },
      { "not a whole number from 1 to 1000000000: 1000000001", "events", "--limit", "1000000001" },
      { "not a whole number from 1 to 1000000000: x", "retry", "--all", "--limit", "x" },
      { "more than 36500d ago: 36501d", "purge", "--older-than", "36501d" },
      { "more than 36500d ago: 99999999999999999999d", "events", "--newer-than",
        "99999999999999999999d" },
      { "must be one of", "events", "--state", "lost" },
      { "an id, or --all", "retry" },
      { "run by the rules of --rules", "retry", "--all", "--state", "unhandled" },
      { "an id, --older-than or --invoice", "purge", "--account", "school" },
    } do
      local result = inbox((table.unpack or rawget(_G, "unpack"))(case, 2))
      assert.equal(2, result.code)
      assert.truthy(result.err:find(case[1], 1, true), result.err)
    end
  end)

  it("shows what has become of each rule, and what has not begun", function()
    rules = write_rules [[
      app:on("invoice.updated", { name = "bad", attempts = 5 }, function(event)
        return event:retry_after(600)
      end)
      app:on("invoice.updated", { name = "good" }, function() end) ]]
    local one = app()
    deliver(one, 6, "INVOICE_UPDATED", 6)
    assert.equal(1, one:work { limit = 1 })
    one.store:close()
    local out = inbox("show", id(6)).out
    assert.truthy(out:find "RULE%s+STATE%s+ATTEMPTS%s+RUNS IN%s+MESSAGE")
    assert.truthy(out:find "good%s+not begun%s+0")
    out = inbox("show", id(2)).out
    assert.truthy(out:find "bad%s+dead%s+1%s+%-%s+no\n")
    assert.truthy(out:find "good%s+done%s+1")
    local shown = answer("show", id(2))
    assert.equal("no", shown.runs.bad.message)
    assert.equal("2", shown.invoice)
  end)

  it("shows what begins so, as a narrow terminal cuts it", function()
    local one = app()
    deliver(one, 990000000000, "INVOICE_CREATED", 9, "other")
    deliver(one, 100000000000, "INVOICE_CREATED", 9, "other")
    one.store:close()
    work()
    local whole = "other:" .. uuid(990000000000)
    assert.equal(whole, answer("show", whole:sub(1, -5)).id)
    assert.equal(whole, answer("show", whole:sub(1, -12) .. "~").id)
    assert.equal(whole .. " invoice.created 9 ", answer("show", whole .. " inv~").id:match "^.- 9 ")
    local some = inbox("show", "other:aa~")
    assert.equal(1, some.code)
    assert.matches("^billhook: other:aa is the beginning of several ids %(other:%S+, other:%S+%): "
      .. "give more of it\n$", some.err)
  end)

  it("says when what waits runs again", function()
    rules = write_rules [[
      app:on("invoice.updated", { name = "bad", attempts = 5 }, function(event)
        return event:retry_after(600)
      end) ]]
    local one = app()
    deliver(one, 6, "INVOICE_UPDATED", 6)
    one.store:close()
    work()
    local wait = tonumber(inbox("show", id(6)).out:match "bad%s+waiting%s+1%s+(%d+) s")
    assert.is_true(wait > 500 and wait <= 600)
    assert.equal(1, answer("retry", id(6)).again) -- now, please
    assert.truthy(inbox("show", id(6)).out:find "bad%s+waiting%s+1%s+0 s")
  end)

  it("replays one, some, all dead, and a range #both", function()
    assert.equal("1 to run again\n", inbox("retry", id(2)).out)
    assert.equal("2", listed("--state", "pending"))
    work()
    assert.equal(2, answer("retry", id(2), id(4)).again)
    work()
    assert.equal(1, answer("retry", "--all", "--limit", "1").again)
    assert.equal("2", listed("--state", "pending"))
    work()
    assert.equal(2, answer("retry", "--all").again)
    work()
    assert.equal(1, answer("retry", "--all", "--invoice", "4").again)
    work()
    assert.equal(2, answer("retry", "--all", "--state", "done", "--newer-than", "1h").again)
    assert.equal("1 5", listed("--state", "pending"))
    work()
    assert.equal(0, answer("retry", "--all", "--older-than", "1h").again)
    local none = inbox("retry", "school:none", "--json")
    assert.same({ 1, '{"again":0}\n', "billhook: no event school:none\n" },
      { none.code, none.out, none.err })
  end)

  it("prints as JSON an empty list as one", function()
    local out = inbox("show", id(3), "--json").out
    assert.matches('"rules":%[%]', out)
    assert.matches('"deliveries":%[%d', out)
    assert.equal("[]\n", inbox("invoices", "--json").out)
  end)

  it("replays of a dead one only what gave up", function()
    rules = write_rules [[
      app:on("invoice.updated", { name = "bad" }, function() end)
      app:on("invoice.updated", { name = "good" }, function() error "not again" end) ]]
    assert.equal(2, answer("retry", "--all").again)
    work()
    assert.equal("1 2 4 5", listed("--state", "done"))
  end)

  it("gives unhandled ones to the rules that want them now", function()
    assert.equal(0, answer("retry", id(3)).again)
    rules = write_rules [[
      app:on("school:class.created", { name = "late" }, function() end)
      app:on("other:*", { name = "never" }, function() end) ]]
    local one = app()
    for n = 6, 9 do deliver(one, n, n % 2 == 0 and "CLASS_DELETED" or "CLASS_CREATED", n) end
    one.store:close()
    work()
    assert.equal("3 6 8", listed("--state", "unhandled"))
    assert.equal(0, answer("retry", id(6), "--rules", rules).again)
    assert.equal(1, answer("retry", "--all", "--state", "unhandled", "--rules", rules).again)
    work()
    assert.equal("6 8", listed("--state", "unhandled"))
    assert.equal("done", answer("show", id(3)).runs.late.state)
  end)

  it("purges one, an invoice's, what is old, and nothing that is not finished", function()
    rules = write_rules [[
      app:on("invoice.updated", { name = "bad", attempts = 5 }, function(event)
        return event:retry_after(600)
      end) ]]
    local one = app()
    deliver(one, 6, "INVOICE_UPDATED", 2)
    assert.equal(1, one:work { limit = 1 })
    one.store:close()
    local function kept(n) return answer("show", id(n)).claims ~= nil end
    -- an event of 2, and the bodies of what came about it
    assert.equal("3 purged\n1 kept: not finished\n",
      inbox("purge", "--invoice", "2", "--account", "school").out)
    assert.same({ false, true, true }, { kept(2), kept(6), kept(1) })
    assert.same({ purged = 1, kept = 0 }, answer("purge", id(1)))
    assert.same({ purged = 0, kept = 0 }, answer("purge", "--older-than", "1d"))
    process.sleep(0.01)
    assert.same({ events = 6, deliveries = 6, kept = 1 },
      answer("purge", "--older-than", "0s", "--dry-run"))
    assert.same({ purged = 7, kept = 1 }, answer("purge", "--older-than", "0s", "--yes"))
    assert.is_true(kept(6))
    assert.equal(0, answer("retry", id(2)).again) -- there is nothing left of it to run
    one = app()
    deliver(one, 1, "INVOICE_CREATED", 1)
    one.store:close()
    assert.equal("1 2 3 4 5 6", listed())
  end)

  it("shows a rule that ends its process as a dead letter, and others have run", function()
    rules = write_rules [[
      app:on("invoice.updated", { name = "kills", attempts = 3 }, function()
        local file = io.open "/proc/self/stat"
        require("billhook.process").kill(tonumber(file:read "*a":match "^%d+"), "KILL")
      end)
      app:on("invoice.*", { name = "good" }, function() end) ]]
    local one = app()
    deliver(one, 6, "INVOICE_UPDATED", 6)
    deliver(one, 7, "INVOICE_CREATED", 7)
    one.store:close()
    for _ = 1, 3 do
      assert.equal("KILL", command.run({ "work", rules, "--once" }).code)
    end
    assert.equal("done", answer("show", id(7)).state)
    local last = command.run { "work", rules, "--once" }
    assert.equal(0, last.code, last.err)
    local found = answer("show", id(6))
    assert.same({ "dead", "dead", 3, "done" }, { found.state, found.runs.kills.state,
      found.runs.kills.attempts, found.runs.good.state })
    assert.truthy(found.runs.kills.message:find "the process that ran this rule ended")
  end)

  it("has `billhook work` purge what is old by itself", function()
    rules = write_rules "app.retention = 1e-9"
    local one = app()
    assert(one:open():set("purged", "0")) -- days ago
    one.store:close()
    process.sleep(0.01)
    assert.equal(0, command.run({ "work", rules, "--once" }).code)
    for n = 1, 4 do assert.is_nil(answer("show", id(n)).body) end
    assert.equal("1 2 3 4 5", listed())
  end)
end)

-- cli_width_spec.lua: what a terminal of 80 columns shows of each table. No line is wider, unless
-- something in it must be copied (an id, a URL, a value of `inbox show`), which is never cut.

local command = require "spec.support.command"
local json = require "billhook.json"
local process = require "billhook.process"

local WIDE = 80
local folder, port, base, rules, url

-- A pseudo-terminal; where there are none, as in a bare chroot, the command is told that its file
-- is one of 80 columns.
local function is_pty() return process.stat "/dev/ptmx" and process.stat "/dev/pts/ptmx" end
local pretend = "require('billhook.process').columns = function(fd) return fd == 1 and 80 end"

local function quoted(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

-- What it shows, in lines, without colours; the exit code is not looked at.
local function shown(argv)
  local words = { command.lua }
  if not is_pty() then words[2], words[3] = "-e", pretend end
  words[#words + 1] = "bin/billhook"
  for _, word in ipairs(argv) do words[#words + 1] = word end
  for i, word in ipairs(words) do words[i] = quoted(word) end
  local line = table.concat(words, " ") .. " 2>/dev/null"
  if is_pty() then line = "stty cols 80; " .. line end
  local spawned = is_pty() and { "script", "-qec", line, "/dev/null" } or { "sh", "-c", line }
  local out = command.folder() .. "/out"
  local pid = assert(process.spawn(spawned, { stdout = out, stdin = "/dev/null", die = "KILL",
    stderr = "/dev/null", env = command.paths { COLUMNS = false, TERM = "xterm" } }))
  command.wait("the command's end", function() return process.wait(pid, "look") end)
  process.wait(pid)
  local lines = {}
  local text = command.read(out):gsub("\27%[[%d;]*[mK]", ""):gsub("\r", "")
  for one in text:gmatch "[^\n]+" do lines[#lines + 1] = one end
  return lines, text
end

-- A line that is too wide holds what must be copied, as one word that is not cut.
local function fits(argv, copied)
  local lines, text = shown(argv)
  assert.is_true(#lines > 0, table.concat(argv, " "))
  for _, line in ipairs(lines) do
    local may = false
    for _, one in ipairs(copied or {}) do may = may or line:find(one, 1, true) ~= nil end
    local _, n = line:gsub("[^\128-\191]", "")
    assert.is_true(n <= WIDE or may, ("%d columns: %s"):format(n, line))
  end
  return text
end

local function control(name, fields)
  local status, body = command.http("POST", base .. "/sandbox/" .. name, {}, json.encode(fields))
  assert.equal(200, status, body)
end

describe("in a terminal of 80 columns", function()
  local failed -- ids of its dead events

  before_each(function()
    folder = command.folder()
    port = ("%d"):format((process.free_port()))
    base, url = "http://127.0.0.1:" .. port, "sqlite:" .. folder .. "/inbox.db"
    local sandbox = command.start { "sandbox", "--listen", port }
    command.wait("the sandbox", function() return sandbox:errors():find "listening" end)
    rules = command.write(folder .. "/rules.lua", ([[
      local billhook = require "billhook"
      local app = billhook.app { inbox = %q, attempts = 1, log = function() end, accounts = {
        admissions = billhook.dreamapply { base_url = "BASE", api_key = "sandbox-key" },
        ["the-school-in-the-north"] = billhook.dreamclass { base_url = "BASE/dreamclassapi/v1",
          api_key = "sandbox-key", tenant = "my-school", school_code = "MS1",
          webhook = { secret = "123" } } } }
      app:on("*", { name = "ledger" }, function(event)
        return nil, "the ledger did not take it: " .. ("many words about the reason "):rep(9)
      end)
      return app]]):format(url):gsub("BASE", base))
    local app = assert(loadfile(rules))()
    while assert(app:work()) > 0 do end
    for i = 1, 3 do
      control("trigger", { vendor = "dreamapply", amount = "123456789.00" })
      local body = ('{"id":"aa3a27d6-05b5-4fcd-bd04-%012d","type":"INVOICE_CREATED","tenant":'
        .. '"my-school","timestamp":1,"data":{"id":%d}}'):format(i, i)
      local headers, signed = require("billhook").sign("dreamclass", body, { secret = "123" })
      assert.equal(200, (app:receive("the-school-in-the-north", headers, signed)))
    end
    assert(app:poll "admissions")
    while assert(app:work()) > 0 do end
    failed = {}
    for i, event in ipairs(assert(app.store:events { state = "dead" })) do failed[i] = event.id end
    app.store:close()
    assert.is_true(#failed > 3)
  end)
  after_each(command.finish)

  it("tables of the inbox fit, and ids are whole", function()
    local deliveries = fits { "inbox", "deliveries", "--inbox", url }
    assert.truthy(deliveries:find("the-school-in-the-north", 1, true), deliveries)
    for _, name in ipairs { "events", "dead" } do
      local text = fits({ "inbox", name, "--inbox", url }, failed)
      for _, id in ipairs(failed) do assert.truthy(text:find(id, 1, true), text) end
    end
    local dead = fits({ "inbox", "dead", "--inbox", url }, failed)
    assert.truthy(dead:find("\n    reason: the ledger did not take it: many words", 1, true), dead)
    assert.is_nil(dead:find("~", 1, true))
    fits { "inbox", "invoices", "--inbox", url }
    fits { "inbox", "stats", "--inbox", url }
    for _, id in ipairs(failed) do
      fits({ "inbox", "show", id, "--inbox", url }, { id, '{"' })
    end
  end)

  it("tables of commands fit #both", function()
    fits { "invoices", "list", "--rules", rules, "--account", "admissions" }
    fits { "doctor", rules }
    fits { "quota", rules }
    fits { "reconcile", rules, "admissions" }
    fits({ "replay", failed[1], failed[#failed], "--dry-run", rules }, failed)
    local answer = fits { "trigger", "dreamapply", "--authorization", "x", "--to", base }
    assert.truthy(answer:find "^%d%d%d ", answer)
  end)

  it("what the sandbox says at its start fits", function()
    local out = folder .. "/sandbox"
    local line = ("%s %s bin/billhook sandbox --listen %d"):format(command.lua,
      is_pty() and "" or "-e " .. quoted(pretend), (process.free_port()))
    if is_pty() then
      line = "exec script -qec " .. quoted("stty cols 80; exec " .. line) .. " /dev/null"
    else
      line = "exec " .. line
    end
    local pid = assert(process.spawn({ "sh", "-c", line }, { stdout = out, stderr = out .. ".err",
      stdin = "/dev/null", die = "KILL", env = command.paths { COLUMNS = false, TERM = "xterm" } }))
    command.wait("the table", function()
      return command.read(out):find "betterez[^\n]*\n[^\n]*\n"
    end)
    local inner = command.descendants(pid)
    local text = command.read(out)
    for _, one in ipairs(inner) do process.kill(one, "TERM") end
    process.kill(pid, "TERM")
    command.wait("its end", function() return process.wait(pid, "look") end)
    process.wait(pid)
    for one in text:gsub("\27%[[%d;]*[mK]", ""):gsub("\r", ""):gmatch "[^\n]+" do
      assert.is_true(#one <= WIDE, one)
    end
    for _, one in ipairs { "sandbox-private-key", "sandbox:sandbox-hook", "Bearer sandbox-hook" } do
      assert.truthy(text:find(one, 1, true), text)
    end
  end)
end)

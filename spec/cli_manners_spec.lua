-- cli_manners_spec.lua: what is expected of any command: help, completions, a manual page, write
-- errors, Ctrl-C, and mistakes that are the user's told in the user's terms.

local command = require "spec.support.command"
local process = require "billhook.process"

local commands = { "serve", "work", "demo", "sandbox", "trigger", "verify", "invoices", "settle",
  "inbox", "reconcile", "help", "completion" }

-- Runs the command with its stdout at a device that is full.
local function onto_a_full_disk(argv, input)
  local words = { command.lua, "bin/billhook" }
  for _, word in ipairs(argv) do words[#words + 1] = word end
  local folder = command.folder()
  local pid = assert(process.spawn(words, { stdout = "/dev/full", stderr = folder .. "/err",
    stdin = input and command.write(folder .. "/in", input) or "/dev/null", die = "KILL" }))
  local _, code = process.wait(pid)
  return code, command.read(folder .. "/err")
end

describe("help", function()
  after_each(command.finish)

  it("lists all commands where none is given, which is no success #both", function()
    local result = command.run {}
    assert.equal(2, result.code)
    for _, name in ipairs(commands) do
      assert.truthy(result.err:find("\n   " .. name, 1, true), name)
    end
  end)

  it("is what --help says, for each command and those below it", function()
    for _, words in ipairs { {}, { "serve" }, { "inbox" }, { "inbox", "purge" } } do
      local asked = { "help" }
      for i, word in ipairs(words) do asked[i + 1] = word end
      words[#words + 1] = "--help"
      local help, option = command.run(asked), command.run(words)
      assert.same({ 0, option.out }, { help.code, help.out })
      assert.equal(0, option.code)
      assert.equal("Usage: ", help.out:sub(1, 7))
      for line in help.out:gmatch "[^\n]+" do assert.is_true(#line <= 80, line) end
    end
  end)

  it("has examples and explanations that fit, for what is cut cannot be copied", function()
    local seen = 0
    for path in io.popen "ls lua/billhook/cli/*.lua":lines() do
      for text in command.read(path):gmatch "epilog %[%[\n(.-)%]%]" do
        seen = seen + 1
        for line in text:gmatch "[^\n]+" do
          assert.is_true(#line <= 80, ("%s: %s"):format(path, line))
        end
      end
    end
    assert.is_true(seen > 15)
  end)

  it("says which commands there are", function()
    local result = command.run { "help", "inbox", "nosuch" }
    assert.equal(2, result.code)
    assert.equal("billhook: no command 'inbox nosuch'; there are deliveries, events, dead, "
      .. "invoices, show, stats, retry, purge, rebase, copy\n", result.err)
    result = command.run { "help", "nosuch" }
    assert.equal(2, result.code)
    assert.truthy(result.err:find("no command 'nosuch'; there are serve, work, ", 1, true))
  end)

  it("lists the commands where one is mistyped", function()
    for words, list in pairs { [{ "inbx" }] = "there are serve, work, ",
      [{ "inbox", "list" }] = "there are deliveries, events, " } do
      local result = command.run(words)
      assert.equal(2, result.code)
      assert.truthy(result.err:find(("unknown command '%s'"):format(words[#words]), 1, true))
      assert.truthy(result.err:find(list, 1, true), result.err)
    end
  end)

  it("has a manual page and completions from the same source", function()
    local page = command.run { "help", "--man" }
    assert.equal(0, page.code)
    assert.equal(".TH BILLHOOK 1 ", page.out:sub(1, 15))
    for _, name in ipairs(commands) do
      assert.truthy(page.out:find("\n.SS billhook " .. name .. "\n", 1, true), name)
    end
    assert.truthy(page.out:find("\n.SS billhook inbox purge\n", 1, true))
    assert.is_nil(page.out:find "\n[.'][^STnfti]")
    for shell, word in pairs { bash = "complete -F", zsh = "#compdef billhook",
      fish = "complete -c billhook" } do
      local made = command.run { "completion", shell }
      assert.equal(0, made.code)
      assert.truthy(made.out:find(word, 1, true), shell)
      for _, name in ipairs(commands) do assert.truthy(made.out:find(name, 1, true), name) end
    end
    assert.equal(2, command.run { "completion", "tcsh" }.code)
  end)

  it("completes what an argument may be, in bash", function()
    local text = command.run({ "completion", "bash" }).out
    local folder = command.folder()
    command.write(folder .. "/try", text .. [[

      try() {
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        $(complete -p billhook | sed 's/.*-F \([^ ]*\) .*/\1/')
        printf '%s\n' "${COMPREPLY[*]}"
      }
      try billhook completion ""
      try billhook call dream
      try billhook call dreamclass invoices.p
      try billhook trigger betterez invoice.
      try billhook export l
      try billhook help qu
      try billhook trigger dreamclass --sec
      try billhook inbox pu ]])
    local _, code = process.wait(assert(process.spawn({ "bash", "--norc", folder .. "/try" },
      { stdout = folder .. "/out", stderr = folder .. "/err", stdin = "/dev/null", die = "KILL" })))
    assert.equal("", command.read(folder .. "/err"))
    assert.equal(0, code)
    assert.equal("bash zsh fish\ndreamapply dreamclass\ninvoices.pay\n"
      .. "invoice.created invoice.updated\nlines\nquota\n--secret\npurge\n",
      command.read(folder .. "/out"))
  end)

  it("gives the version by either name #both", function()
    for _, option in ipairs { "-V", "--version" } do
      local result = command.run { option }
      assert.equal(0, result.code)
      assert.truthy(result.out:find "^billhook %d+%.%d+%.%d+ %(Lua")
    end
  end)
end)

describe("what cannot be written", function()
  after_each(command.finish)

  it("is a failure, and said", function()
    local inbox = "sqlite:" .. command.folder() .. "/inbox.db"
    assert(require("billhook.inbox").open(inbox)):close()
    local rules = command.write(command.folder() .. "/rules.lua", ([[
      return require("billhook").app { inbox = "%s", accounts = {
        school = require("billhook").dreamclass { webhook = { secret = "x" } } } }]]):format(inbox))
    for _, argv in ipairs { { "--version" }, { "--help" }, { "help", "inbox" }, { "help", "--man" },
      { "completion", "bash" }, { "inbox", "--help" }, { "inbox", "stats", "--inbox", inbox },
      { "inbox", "events", "--inbox", inbox, "--json" }, { "work", "--check", rules },
      { "trigger", "dreamclass", "--secret", "x", "--print" },
      { "sandbox", "--listen", ("%d"):format(require("spec.support.port").free()) },
    } do
      local code, said = onto_a_full_disk(argv)
      local what = table.concat(argv, " ")
      assert.equal(1, code, what .. ": " .. said)
      assert.equal("billhook: cannot write the output: No space left on device\n", said, what)
    end
    local code, said = onto_a_full_disk({ "verify", "dreamclass", "--secret", "x", "--json" }, "{}")
    assert.equal(1, code)
    assert.truthy(said:find("cannot write the output", 1, true), said)
  end)
end)

describe("Ctrl-C", function()
  after_each(command.finish)

  it("ends a command that waits for an answer, with 130 and without a trace", function()
    local socket = require "socket"
    local server = assert(socket.bind("127.0.0.1", 0))
    server:settimeout(20)
    local _, port = server:getsockname()
    local child = command.start { "invoices", "list", "--vendor", "dreamapply", "--base-url",
      "http://127.0.0.1:" .. port, "--api-key", "x" }
    local peer = assert(server:accept())
    assert(peer:receive "*l")
    child:signal "INT"
    assert.equal(130, child:wait())
    assert.equal("", child:errors())
    peer:close()
    server:close()
  end)

  it("ends a command that waits for its input", function()
    local folder = command.folder()
    assert(os.execute("mkfifo " .. folder .. "/in"))
    local pid = assert(process.spawn({ "/bin/sh", "-c", ([[
      exec %s bin/billhook verify dreamclass --secret x <> %s/in]]):format(command.lua, folder) },
      { stdout = folder .. "/out", stderr = folder .. "/err", stdin = "/dev/null", die = "KILL" }))
    command.wait("the command to read", function()
      return command.read(("/proc/%d/wchan"):format(pid)):find "pipe"
    end)
    process.kill(pid, "INT")
    assert.equal(130, select(2, process.wait(pid)))
    assert.equal("", command.read(folder .. "/err"))
  end)
end)

describe("a file that is none", function()
  after_each(command.finish)

  it("is named, whatever it was given for, and read to no end", function()
    local folder = command.folder()
    local rules = command.write(folder .. "/rules.lua", [[
      local billhook = require "billhook"
      return billhook.app { inbox = "memory:", accounts = { school = billhook.dreamapply {
        base_url = "http://127.0.0.1:1", api_key = "x", webhook = { authorization = "a text" } } } }
    ]])
    process.mkdir(folder .. "/kept.json")
    command.write(folder .. "/kept.body", "{}")
    for path, why in pairs { [folder] = "Is a directory",
        ["/dev/zero"] = "more than 67108864 bytes" } do
      for _, argv in ipairs {
        { "invoices", "create", "--rules", rules, "--body", path },
        { "settle", "--rules", rules, path },
        { "trigger", "dreamapply", "--authorization", "a text", "--print", "--data", path },
        { "verify", "--rules", rules, path },
      } do
        local result = command.run(argv)
        assert.same({ 1, ("billhook: %s: %s\n"):format(path, why) }, { result.code, result.err },
          table.concat(argv, " "))
      end
    end
    local result = command.run { "verify", "--rules", rules, folder .. "/kept.body" }
    assert.equal(("billhook: %s/kept.json: Is a directory\n"):format(folder), result.err)
  end)
end)

describe("a mistake in the rules file", function()
  after_each(command.finish)

  local function said(text, name)
    local path = command.write(command.folder() .. "/" .. (name or "rules.lua"), text)
    local result = command.run { "work", "--check", path }
    assert.equal(1, result.code)
    assert.is_nil(result.err:find("stack traceback", 1, true))
    return result.err, path
  end

  it("is told at its line, without our own lines #both", function()
    local err, path = said [[
local billhook = require "billhook"
local app = billhook.app { inbox = "memory:", accounts = {
  school = billhook.dreamclass { webhook = { secret = "x" } } } }
app:on("invoice.created", { nam = "ledger" }, function() end)
return app]]
    assert.equal(("billhook: %s:4: on: 'nam' is not known: there are attempts, budget, name, "
      .. "stop_after, trust\n"):format(path), err)
  end)

  it("is told with the lines that led there", function()
    local err, path = said [[
local function amount(of)
  return of.total
end
local x = amount()
return x]]
    assert.equal(1, select(2, err:gsub("attempt to index", "")))
    assert.truthy(err:find(("billhook: %s:2: attempt to index"):format(path), 1, true), err)
    assert.truthy(err:find(("\n  at %s:4\n"):format(path), 1, true), err)
    assert.is_nil(err:find("cli/", 1, true))
  end)

  it("shows the fields of a table that was raised #both", function()
    local err, path = said [[
error({ code = 7, message = "no ledger" })]]
    assert.truthy(err:find('billhook: {message = "no ledger", code = 7}', 1, true), err)
    assert.truthy(err:find(("  at %s:1"):format(path), 1, true), err)
  end)

  it("may be one of spelling, or of a file that is not there", function()
    local err, path = said "local x = = 1"
    assert.equal(("billhook: %s:1: "):format(path), err:sub(1, #path + 14))
    local result = command.run { "work", "--check", path .. "x" }
    assert.equal(1, result.code)
    assert.truthy(result.err:find("No such file", 1, true))
  end)
end)

describe("billhook verify", function()
  after_each(command.finish)

  it("takes the account that is kept beside a refused body, and says how to compare", function()
    local folder = command.folder()
    command.write(folder .. "/1.body", '{"id":1,"event":"Invoice was created: ?"}')
    command.write(folder .. "/1.json",
      '{"account":"admissions","at":1795935897,"headers":{"Authorization":"sha256:56959b00"}}')
    local result = command.run { "verify", "--rules", "examples/rules.lua", folder .. "/1.body" }
    assert.equal(1, result.code, result.err)
    assert.matches("unauthorized: another Authorization", result.out, 1, true)
    assert.matches("sha256:56959b00 came, sha256:%x+ is expected; compare with printf %%s 'VALUE'",
      result.out)
  end)

  it("wants the headers where none was given, and an account where there are several", function()
    local result = command.run({ "verify", "betterez", "--secret", "x" }, { input = "{}" })
    assert.equal(1, result.code)
    assert.matches("no header was given: .*; give %-%-header", result.out)
    result = command.run({ "verify", "--rules", "examples/rules.lua" }, { input = "{}" })
    assert.matches("has several accounts: name one of", result.err, 1, true)
  end)
end)

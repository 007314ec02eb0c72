-- pipes_spec.lua: in the folders that `billhook serve` and its children read, somebody puts a pipe,
-- a folder, a device or a link in a file's place: nobody waits for it, reads it without an end,
-- follows it to others' files, or stops receiving.

local command = require "spec.support.command"
local folders = require "billhook.cli.folder"
local ports = require "spec.support.port"
local process = require "billhook.process"

local wait, write = command.wait, command.write

local RULES = [[
local billhook = require "billhook"
local app = billhook.app { inbox = "sqlite:%s/inbox.db", accounts = {
  school = billhook.dreamclass { webhook = { secret = "123" } } } }
return app
]]

local function sh(text, ...) assert(os.execute(text:format(...))) end

local function serve(folder, ...)
  local server = { rules = write(folder .. "/rules.lua", RULES:format(folder)) }
  local port = ("%d"):format(ports.free())
  server.url = "http://127.0.0.1:" .. port
  server.child = command.start({ "serve", server.rules, "--listen", port, ... },
    { env = { TMPDIR = folder } })
  function server.saying(text)
    wait(text .. "\n" .. server.child:errors(), function()
      if process.wait(server.child.pid, "look") then error(server.child:errors(), 0) end
      return server.child:errors():find(text, 1, true)
    end)
  end
  server.saying("listening on " .. server.url)
  return server
end

describe("instead of a file", function()
  local folder

  before_each(function() folder = command.folder() end)
  after_each(command.finish)

  it("among what was refused, nothing else is opened", function()
    local kept = folder .. "/kept"
    assert(process.mkdir(kept, 448))
    sh("mkfifo %s/last %s/000000002.body; mkdir -p %s/000000003.json/x; ln -s /dev/zero %s/4",
      kept, kept, kept, kept)
    write(folder .. "/theirs", "theirs")
    sh("cd %s; ln -s ../theirs 000000001.body; ln -s /dev/zero 000000004.json", kept)
    local server = serve(folder, "--capture-refused", kept)
    for n = 1, 5 do
      local status = command.http("POST", server.url .. "/webhooks/school", {}, "forged " .. n)
      assert.equal(400, status)
    end
    assert.equal("5\n", command.read(kept .. "/last"))
    for _, n in ipairs { 1, 2, 4, 5 } do
      assert.equal("forged " .. n, command.read(("%s/%09d.body"):format(kept, n)))
      assert.equal("file", process.stat(("%s/%09d.json"):format(kept, n), true).type)
    end
    assert.equal("theirs", command.read(folder .. "/theirs"))
    assert.equal(200, (command.http("GET", server.url .. "/healthz")))
  end)

  it("where a number is to be, any text is taken for none", function()
    for i, text in ipairs { "-5", ("9"):rep(400) } do
      local kept = ("%s/kept%d"):format(folder, i)
      assert(process.mkdir(kept, 448))
      write(kept .. "/last", text)
      local server = serve(folder, "--capture-refused", kept)
      assert.equal(400, (command.http("POST", server.url .. "/webhooks/school", {}, "forged")))
      assert.matches("^%d+\n$", command.read(kept .. "/last"))
      local bodies = 0
      for _, name in ipairs(process.entries(kept)) do
        bodies = bodies + (name:find "^%d+%.body$" and 1 or 0)
      end
      assert.equal(1, bodies, text)
      server.child:signal "TERM"
      assert.equal(0, server.child:wait())
    end
  end)

  it("of rules that are watched, it is not loaded, and the old ones go on", function()
    local server, loads = serve(folder, "--watch"), 0
    local function count(pattern) return select(2, server.child:errors():gsub(pattern, "")) end
    for make, kind in pairs { mkfifo = "pipe", ["ln -s /dev/zero"] = "device",
      ["ln -s /etc"] = "directory" } do
      sh("%s %s/other", make, folder)
      assert(os.rename(folder .. "/other", server.rules))
      loads = loads + 1
      wait("the word that it does not load", function() return count "not reloaded: " == loads end)
      wait("the reason", function() -- of a device it may be said who else may change it
        local said, one = server.child:errors(), "billhook: %s is not a file but a %s\n"
        return said:find(one:format(server.rules, kind), 1, true)
          or kind == "device" and said:find("others may change /dev/zero", 1, true)
      end)
      write(folder .. "/other", RULES:format(folder))
      assert(os.rename(folder .. "/other", server.rules))
      wait("the rules again", function() return count "billhook: reloaded\n" == loads end)
      wait("health", function() return command.http("GET", server.url .. "/healthz") == 200 end)
    end
    server.child:signal "TERM"
    assert.equal(0, server.child:wait())
  end)

  it("of what a child prints, no more than a limit is read", function()
    local path = write(folder .. "/rules.lua", [[
      local text = ("x"):rep(2 ^ 20)
      for _ = 1, 70 do io.stdout:write(text) end
      os.exit(0)]])
    local result = command.run({ "serve", path, "--listen", ("%d"):format(ports.free()) },
      { env = { TMPDIR = folder } })
    assert.equal(1, result.code)
    assert.truthy(result.err:find("rules.lua does not load (", 1, true), result.err)
    assert.truthy(result.err:find("/output: File too large)", 1, true), result.err)
  end)

  if process.uid() ~= 0 then
    io.stderr:write "note: spec/pipes_spec.lua made no link of somebody else's: only root can\n"
    return
  end

  it("that is a link of somebody else's, no folder is used for nginx's files", function()
    local other, target = folder .. "/theirs", folder .. "/target"
    assert(process.mkdir(other, 493))
    assert(process.mkdir(target, 493))
    write(target .. "/nginx.pid", "1")
    sh("ln -s kept %s/link; ln -s ../target %s/run; chown -hR nobody %s", target, other, other)
    local path, why = folders.make(other .. "/run")
    assert.is_nil(path)
    assert.truthy(why:find("nobody may change " .. other, 1, true), why)
    assert.same({ "file", "link" }, { process.stat(target .. "/nginx.pid", true).type,
      process.stat(target .. "/link", true).type })
    assert.equal(493, process.stat(target).mode)
    assert.equal(process.realpath(target), (folders.make(target)))
  end)
end)

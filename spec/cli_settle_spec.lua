-- The command's calls that must not happen twice: `billhook invoices create` and `billhook settle`,
-- against a server that loses answers.

local command = require "spec.support.command"
local fault_server = require "spec.support.fault_server"
local json = require "billhook.json"
local process = require "billhook.process"

local invoice = '{"currency":"EUR","items":[{"item":"Fee","price":"25.00","qty":1}]}'
local sent = json.decode(invoice)

local function lost(commit)
  return { fates = { POST = { { at = "request", how = "reset", commit = commit } } } }
end

describe("billhook invoices create", function()
  local server, world

  setup(function() server = fault_server.start() end)
  teardown(function() server:stop() end)
  after_each(command.finish)

  local function client(...)
    local argv = { ... }
    for _, word in ipairs { "--vendor", "dreamapply", "--base-url", world.url, "--api-key",
      "command-secret-key", "--settle-timeout", "0.2" } do argv[#argv + 1] = word end
    return argv
  end

  local function create(text, ...)
    return command.run(client("invoices", "create", "application=5", "--body", "-", ...),
      { input = text })
  end

  local function settle(text, ...)
    return command.run(client("settle", ...), { input = text })
  end

  it("exits 3 where nobody knows, prints the intent, and settle takes it #both", function()
    world = server:world(lost(false))
    local result = create(invoice)
    assert.equal(3, result.code)
    assert.matches("^billhook: unknown_outcome: it may or may not have been carried out: [^\n]*\n"
      .. "billhook: do not create it again: keep its intent, and look again with billhook "
      .. "settle\n$", result.err)
    local intent = json.decode(result.out)
    assert.equal("invoices.create", intent.operation)
    assert.is_nil(result.out:find("command-secret-key", 1, true))
    local again = settle(result.out)
    assert.equal(3, again.code)
    assert.matches("^billhook: unknown_outcome: nothing was found that is without doubt it",
      again.err)
    assert.same(intent, json.decode(again.out))
    world:make("5", sent)
    local file = command.write(command.folder() .. "/intent", result.out)
    local found = settle(nil, file)
    assert.same({ 0, "" }, { found.code, found.err })
    assert.matches("^ID  LOCATION +HOW\n1   /api/v9/invoices/1  found\n$", found.out)
    assert.equal(1, world:state().requests.POST)
  end)

  it("does the same for programs", function()
    world = server:world(lost(false))
    local result = create(invoice, "--json")
    assert.same({ 3, "" }, { result.code, result.err })
    local said = json.decode(result.out).error
    assert.equal("unknown_outcome", said.kind)
    assert.equal("number", type(said.sent_at))
    assert.equal("invoices.create", said.intent.operation)
    local again = settle(result.out, "--json", "-")
    assert.same({ 3, "" }, { again.code, again.err })
    assert.same(said.intent, json.decode(again.out).error.intent)
    world:make("5", sent)
    for _, text in ipairs { result.out, json.encode(said.intent) } do
      local found = settle(text, "--json")
      assert.equal(0, found.code)
      assert.same({ id = 1, location = "/api/v9/invoices/1", how = "found" },
        json.decode(found.out))
    end
    world:make("5", sent) -- now there are two
    local doubt = settle(result.out)
    assert.equal(3, doubt.code)
    assert.truthy(doubt.err:find("\nbillhook: it may be 1, 2\n", 1, true), doubt.err)
  end)

  it("gives what is found where its answer was lost", function()
    world = server:world(lost())
    local result = create(invoice)
    assert.same({ 0, "" }, { result.code, result.err })
    assert.matches("\n1   /api/v9/invoices/1  found\n$", result.out)
  end)

  it("is exit code 1 where it was refused", function()
    world = server:world { fates = { POST = { { status = 422, commit = false, body = "No." } } } }
    local result = create(invoice)
    assert.same({ 1, "" }, { result.code, result.out })
  end)

  it("finds by its reference what it has made, and refuses what differs", function()
    world = server:world {}
    local named = { "--json", "--reference", "smallprint=order-A" }
    local function run(price)
      local result = create(invoice:gsub("25%.00", price), named[1], named[2], named[3])
      return result.code, json.decode(result.out)
    end
    local code, made = run "25.00"
    assert.same({ 0, "created" }, { code, made.how })
    local found
    code, found = run "25"
    assert.same({ 0, "found" }, { code, found.how })
    local refused, differs = run "26.00"
    assert.equal(1, refused)
    assert.equal("conflict", differs.error.kind)
    assert.same({ "1" }, differs.error.candidates)
    assert.equal("order-A", world:state().made[1].one.smallprint)
    assert.equal(1, world:state().requests.POST)
  end)

  local function refused(result, code, text)
    assert.equal(code, result.code)
    assert.equal("", result.out)
    assert.truthy(result.err:find(text, 1, true), result.err)
    assert.is_nil(result.err:find("stack traceback", 1, true))
  end

  it("refuses what is no reference and no intent", function()
    world = server:world {}
    refused(create(invoice, "--reference", "order-A"), 2, "--reference is not <field>=<value>")
    refused(create(invoice, "--reference", "copy=order-A"), 2,
      "'reference' can't stand in 'copy', which is no field for one")
    refused(settle "hello", 1, "billhook: stdin: ")
    refused(settle "5", 1, "billhook: stdin: not a JSON object")
    refused(settle '{"id":1}', 1, "billhook: stdin: not the intent of an unknown outcome")
    refused(settle(nil, "/nonexistent"), 1, "/nonexistent")
    refused(settle '{"operation":"invoices.create","vendor":"dreamapply"}', 2,
      "'intent' must be that of an unknown_outcome error")
    refused(settle [[{"operation":"invoices.create","vendor":"dreamapply","params":{},
      "place":"invoices.create 5"}]], 2, "'intent' must be that of an unknown_outcome error")
    refused(settle '{"operation":"invoices.create","vendor":"dreamapply","params":{}}', 2,
      "settle: 'intent' must be this account's")
    refused(command.run { "settle" }, 2, "--vendor")
    assert.is_nil(world:state().requests.POST)
  end)

  -- The command is told that its file is a terminal, as in cli_parts_spec.lua.
  it("says on a terminal that it looks, and for how long", function()
    world = server:world(lost())
    local folder = command.folder()
    local words = { command.lua, "-e",
      "require('billhook.process').columns = function(fd) return fd == 2 and 60 or nil end",
      "bin/billhook" }
    for _, word in ipairs(client("invoices", "create", "application=5", "--body",
      command.write(folder .. "/body", invoice))) do words[#words + 1] = word end
    local pid = assert(process.spawn(words, { stdout = folder .. "/out", stderr = folder .. "/err",
      stdin = "/dev/null", env = command.paths { NO_COLOR = "1" } }))
    process.wait(pid)
    local text = "looking for what may have been created, for up to 0.2 s"
    assert.equal("\r\27[K" .. text .. "\r\27[K", command.read(folder .. "/err"))
    assert.matches("found\n$", command.read(folder .. "/out"))
  end)

  it("tells of it in its help", function()
    local help = command.run { "invoices", "create", "--help" }.out
    for _, text in ipairs { "--reference", "Exit codes", "billhook settle" } do
      assert.truthy(help:find(text, 1, true), text)
    end
    assert.truthy(command.run({ "settle", "--help" }).out:find("3 still unknown", 1, true))
    assert.truthy(command.run({ "--help" }).out:find("\n   settle", 1, true))
  end)
end)

-- close_spec.lua: what has been closed, by hand or by the end of its Lua state, is not used any
-- more: whoever tries is told, and nothing crashes. Each case is a process of its own.

local command = require "spec.support.command"
local scratch = require "spec.support.scratch"

-- what the finaliser's uses gave, a line each; the process must end well
local function closing(name, argument)
  local result = command.run({ name, argument }, { script = "spec/support/closing.lua",
    env = command.paths() })
  assert.are.equal(0, result.code)
  return result.err
end

local function count(text, word) return select(2, text:gsub(word, word)) end

describe("what is used in a finaliser after its own", function()
  after_each(command.finish)

  it("is an error, for the keys that webhooks are checked with", function()
    local said = closing "keys"
    assert.are.equal(3, count(said, "the webhook keys are closed"))
    assert.is_nil(said:find "returned")
  end)

  it("is an error, for an app that receives", function()
    assert.truthy(closing("receive"):find "the webhook keys are closed")
  end)

  it("is an error, for a stream of JSON", function()
    local said = closing "stream"
    assert.are.equal(4, count(said, "the stream is closed"))
    assert.is_nil(said:find "returned")
  end)

  it("works on, for functions that need nothing of the caller's", function()
    local said = closing "functions"
    assert.are.equal(11, count(said, "returned"))
    assert.is_nil(said:find "raised")
  end)

  it("is an error, for SQLite", function()
    local said = closing("sqlite", command.folder() .. "/a.db")
    assert.are.equal(3, count(said, "SQLITE_MISUSE the database is closed"))
    assert.truthy(said:find "billhook.sqlite %(closed%)")
  end)

  it("is an error, for PostgreSQL", function()
    local server = require("spec.support.postgres").database()
    local done, said = pcall(closing, "pq", server.url)
    server:remove()
    assert.is_true(done, said)
    assert.are.equal(2, count(said, "PG_MISUSE the database is closed"))
    assert.truthy(said:find "billhook.pq %(closed%)")
  end)

  it("is an error, for libcurl", function()
    local peer = require "spec.support.peer"
    local server = peer.start()
    local done, said = pcall(closing, "curl", server:url(peer.answer(200, {}, "hello")))
    server:stop()
    assert.is_true(done, said)
    assert.are.equal(4, count(said, "the transport is closed"))
    assert.are.equal(8, count(said, "the ticket was cancelled or used up"))
  end)
end)

describe("what is closed by hand", function()
  local process = require "billhook.process"

  it("may be closed twice, and tells so when it is used", function()
    local folder = scratch.folder "close"
    local db = assert(require("billhook.sqlite").open(folder .. "/a.db"))
    db:close()
    db:close()
    assert.are.same({ nil, "SQLITE_MISUSE", "the database is closed" }, { db:query "SELECT 1" })
    process.remove_tree(folder)
    local pool = require("billhook.curl").new()
    pool:close()
    pool:close()
    assert.has_error(function() pool:poll(0) end, "the transport is closed")
  end)
end)

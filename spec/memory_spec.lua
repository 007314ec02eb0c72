-- memory_spec.lua: nothing that is over stays in memory, on 5.4 and on LuaJIT: a table with weak
-- keys whose value leads back to its key is emptied on the one, and never on the other.

local billhook = require "billhook"
local curl = require "billhook.transport.curl"
local desk = require "spec.support.inbox"
local fake = require "billhook.transport.fake"
local peer = require "spec.support.peer"
local process = require "billhook.process"

-- Bytes by which the collector's count may have grown in the end: traces of LuaJIT, larger tables.
-- Anything that was kept of each of thousands is more. (Of the longest test LuaJIT's traces are up
-- to 100 KB; without them nothing is held.)
local SLACK, SLACK_OF_ALL = (rawget(_G, "jit") and 160 or 64) * 1024, 48 * 1024 * 1024

local function settled()
  for _ = 1, 3 do collectgarbage() end
  return collectgarbage "count" * 1024
end

-- Bytes of the process: also what C has allocated.
local function resident()
  local file = assert(io.open "/proc/self/statm")
  local _, pages = file:read("*n", "*n")
  file:close()
  return pages * 4096
end

-- Is the memory after `count` steps what it was after half of them? Before that, LuaJIT makes
-- its traces.
local function flat(count, step)
  local lua, all
  for i = 1, count do
    step(i)
    if i == math.floor(count / 2) then lua, all = settled(), resident() end
  end
  local grown, grown_of_all = settled() - lua, resident() - all
  assert.is_true(grown < SLACK, ("Lua holds %d bytes more"):format(grown))
  assert.is_true(grown_of_all < SLACK_OF_ALL,
    ("the process holds %d bytes more"):format(grown_of_all))
end

-- A folder on no disk, where there is such a thing: this is about memory.
local folder
local function quick_folder()
  folder = process.mkdtemp "/dev/shm/billhook-spec" or assert(process.mkdtemp "/tmp/billhook-spec")
  return folder
end

describe("memory stays flat", function()
  after_each(function()
    if folder then process.remove_tree(folder) end
    folder = nil
  end)

  -- BILLHOOK_MEMORY=100000 does it for longer
  local MANY = tonumber(os.getenv "BILLHOOK_MEMORY" or 1000)

  it(("over %d deliveries of 20 KB that are received and worked on"):format(MANY), function()
    local d = desk.new { inbox = "sqlite:" .. quick_folder() .. "/inbox.db", backoff = { base = 1 },
      log = function() end, poll_every = false }
    local ran, seen = 0, nil
    d.app:on("tickets:invoice.*", { attempts = 2 }, function(event)
      ran, seen = ran + 1, event -- a rule may keep the last one
      event:once("step", function() return event.id end)
      if event.data.number:find "5$" and event.attempt == 1 then error { event = event } end
    end)
    d.app:on("school:*", function(event) seen = event end)
    local function work()
      d.now = d.now + 60
      d:work()
    end
    local pad = ("x"):rep(20000)
    flat(MANY, function(i)
      local kind = i % 5
      local status
      if kind == 3 then -- news that nothing can be read back of
        status = d:school { id = i, invoice = i % 50, type = "INVOICE_UPDATED" }
      else
        status = d:tickets {
          id = kind == 4 and i - 2 or i, -- once more, with other content
          event = kind == 0 and "invoices.created" or "invoices.updated",
          data = ('{"_id":"%024d","number":"%d","pad":"%s"}'):format(kind == 1 and i - 1 or i, i,
            pad),
        }
      end
      if status ~= 200 then error(status) end
      if i % 100 == 0 then work() end
      if i % 500 == 0 then assert(d.app.store:purge { state = "done", limit = 1000 }) end
    end)
    assert.is_true(ran >= MANY / 5)
    assert.is_table(seen)
  end)

  -- A client that its own callbacks know, as they may; with a clock of its own.
  local function client(answer)
    local self
    local function clock() return self and 1 or 1 end
    local function told() return self end
    self = billhook.dreamapply { base_url = "https://apply.test", api_key = "key-of-apply",
      transport = fake.new(answer or function() return self and { status = 200, body = "[]" } end),
      clock = clock, random = function() return self and 0 or 0 end, on_request = told,
      on_response = told, quota = { limit = 10 }, webhook = { authorization = "Bearer hook" } }
    return self
  end

  it("over 2,000 clients, and their calls", function()
    flat(2000, function()
      local made = client()
      assert(made.invoices:list())
      assert(made:call "invoices.list")
    end)
  end)

  -- the entries of a folder, of which one is that of the look itself
  local function descriptors()
    local pipe = assert(io.popen "ls /proc/$PPID/fd | wc -l")
    local count = pipe:read "*n"
    pipe:close()
    return count
  end

  it(("over %d calls over real sockets, one after another and at once"):format(2 * MANY), function()
    local server = peer.start()
    local called = billhook.dreamapply { base_url = "http://127.0.0.1:" .. server.port,
      api_key = "key-of-apply", quota = false, transport = {
        request = function(_, request) -- the path says what the server does
          request.url = server:url(peer.answer(200, {}, '{"id":7,"currency":"EUR"}'))
          return curl.shared():request(request)
        end, sleep = function() end } }
    local function call() return assert(called.invoices:get(7)).id end
    local before
    local items = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 }
    flat(math.floor(MANY / 16), function(i)
      for _ = 1, 16 do call() end
      local list, errs = billhook.map(items, call)
      assert.same({ 16, nil }, { #list, next(errs) })
      if i == 1 then before = descriptors() end
    end)
    assert.is_true(descriptors() <= before + 8) -- eight at once: so many are kept at most
    server:stop()
  end)

  it("over 2,000 walks, whether they come to their end or not", function()
    local transport = fake.new(function()
      return { status = 200, body = '[{"id":1},{"id":2}]' }
    end)
    local walked = billhook.dreamapply { base_url = "https://apply.test", api_key = "key-of-apply",
      transport = transport, quota = false }
    flat(2000, function(i)
      transport.requests[1] = nil -- it keeps them, for tests to look at
      local walk = walked.invoices:each()
      assert.equal(1, walk().id)
      if i % 2 == 0 then
        assert.equal(2, walk().id)
        assert.is_nil(walk())
      elseif i % 3 == 0 then
        walk:close()
      end
    end)
  end)

  it("over 2,000 walks of clients that know them", function()
    flat(2000, function()
      local walk
      local one = client(function() return walk and { status = 200, body = '[{"id":1}]' } end)
      walk = one.invoices:each()
      assert.equal(1, walk().id)
    end)
  end)

  it("over 2,000 apps, whose rules and clients know them", function()
    flat(2000, function()
      local app, one
      one = client(function() return app end)
      app = billhook.app { inbox = "sqlite:never.db", accounts = { one = one },
        log = function() return app end, clock = function() return app and 1 or 1 end }
      app:on("*", function() return app end)
      app:on_dead(function() return app end)
      assert.equal(401, (app:receive("one", {}, "{}")))
    end)
  end)

  it("over 100 apps that have received and run", function()
    flat(100, function()
      local d = desk.new()
      local kept = {}
      d.app:on("*", function(event)
        kept[#kept + 1] = { d, event, event:invoice() }
        event:once("step", function() return true end)
      end)
      assert.equal(200, (d:tickets()))
      assert.equal(1, d:work())
    end)
  end)

  it("over 1,000 events whose rules keep them and fail with them", function()
    local d = desk.new { attempts = 1 }
    local kept
    d.app:on("*", function(event)
      event.mine = { event, kept and kept.id }
      kept = event
      event:try_once("step", function() return nil, { event } end)
      error { event = event }
    end)
    flat(1000, function(i)
      d.log = {}
      d:tickets { id = i }
      d:work()
    end)
    assert.is_table(kept)
  end)

  it("over 2,000 verifications with options of their own", function()
    local headers, body = billhook.sign("betterez", "{}", { secret = "key" })
    flat(2000, function()
      local options = { secret = { "key", "old" } }
      billhook.verify("betterez", headers, body, options)
      billhook.verify("betterez", headers, body, options)
    end)
  end)

  it("over 2,000 coroutines that call for somebody, and never end", function()
    local caller = require "billhook.caller"
    flat(2000, function(i)
      local thread
      thread = coroutine.create(function()
        local leave = caller.enter("rule " .. i)
        assert.is_string(caller.name_of "a call")
        coroutine.yield(thread)
        leave()
      end)
      assert(coroutine.resume(thread))
      billhook.map({ 1, 2 }, function(item) return item end)
    end)
  end)
end)

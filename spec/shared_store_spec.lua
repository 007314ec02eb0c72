-- What clients share in an inbox, by its methods: slots of a quota, places, intents, claims. For
-- every database, and with several processes.

local command = require "spec.support.command"
local inbox = require "billhook.inbox"
local postgres = require "spec.support.postgres"
local process = require "billhook.process"

local environment = { LUA_PATH = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path,
  LUA_CPATH = ("build/%s/?.so;"):format(rawget(_G, "jit") and "luajit" or "lua5.4")
    .. package.cpath }

local server

local databases = {
  ["memory:"] = { url = function() return "memory:" end },
  ["sqlite:"] = { processes = true,
    url = function() return "sqlite:" .. command.folder() .. "/inbox.db" end },
  ["postgresql:"] = { processes = true, url = function()
    server = server or postgres.start()
    server:sql "DROP SCHEMA IF EXISTS billhook CASCADE"
    return server.url
  end },
}

-- Runs a text in n processes side by side, with `store` and `n` in it. Gives what each has printed.
local function run(url, n, text)
  local running, out = {}, command.folder()
  for i = 1, n do
    running[i] = assert(process.spawn({ command.lua, "-e", ([[
      local store = assert(require("billhook.inbox").open(%q, { busy_timeout = 20000 }))
      local n = %d
      %s]]):format(url, i, text) }, { stdin = "/dev/null", stdout = out .. "/out" .. i,
      stderr = out .. "/err" .. i, env = environment, die = "KILL" }))
  end
  local printed = {}
  for i, pid in ipairs(running) do
    local how, code = process.wait(pid)
    assert.same({ "exit", 0 }, { how, code }, command.read(out .. "/err" .. i))
    printed[i] = command.read(out .. "/out" .. i)
  end
  return printed
end

local function take(store, limit, more)
  local question = { ask = "take", need = 1, limit = limit, window = 60, hold = 90,
    patience = 1000 }
  for name, value in pairs(more or {}) do question[name] = value end
  return assert(store:slots("key", question))
end

for name, database in pairs(databases) do
  describe("what clients share in " .. name, function()
    local url, store, now

    before_each(function()
      url, now = database.url(), 1700000000
      store = assert(inbox.open(url, { clock = function() return now end }))
    end)
    after_each(function()
      store:close()
      command.finish()
    end)
    teardown(function()
      if server and name == "postgresql:" then server:remove() end
    end)

    local function intend(id, place, token, lease)
      return store:intend({ id = id, account = "a", place = place or "p",
        body = '{"id":"' .. id .. '"}' }, token, lease or 60)
    end

    local function open_ids(place)
      local ids = {}
      for i, one in ipairs(assert(store:known("a", place or "p", {})).open) do
        ids[i] = one.body:match '"id":"(%w+)"' .. (one.live and " live" or "")
          .. (one.result and " " .. one.result or "")
      end
      return ids
    end

    it("are slots, by the clock of the store", function()
      local one = take(store, 2).slots
      take(store, 2)
      assert.equal(60, take(store, 2).wait)
      assert.same({}, store:slots("key", { ask = "free", slots = one, after = 60 }))
      now = now + 59.5
      assert.equal(0.5, take(store, 2, { ticket = 3 }).wait)
      assert.same({ left = 0, wait = 0.5 }, store:slots("key", { ask = "look", limit = 2 }))
      assert.same({ left = 2 }, store:slots("another key", { ask = "look", limit = 2 }))
      now = now + 0.5
      assert.is_truthy(take(store, 2, { ticket = 3 }).slots)
      now = now - 86400 -- the clock is set back
      assert.is_true(take(store, 2).wait <= 60)
    end)

    it("are places, one call at a time", function()
      assert.is_true(store:enter("a", "p", "one", 60))
      assert.is_false(store:enter("a", "p", "two", 60))
      assert.is_true(store:enter("a", "q", "two", 60))
      assert.is_true(store:enter("b", "p", "two", 60))
      store:leave("a", "p", "two") -- not its own
      assert.is_false(store:enter("a", "p", "two", 60))
      store:leave("a", "p", "one")
      assert.is_true(store:enter("a", "p", "two", 60))
      now = now + 60
      assert.is_true(store:enter("a", "p", "three", 60))
      assert.is_false(intend("x", "p", "two")) -- lost
      assert.is_true(intend("x", "p", "three"))
      assert.is_false(intend("y", "nowhere", "three"))
      now = now - 86400 -- the clock is set back
      assert.is_false(store:enter("a", "p", "four", 60))
      now = now + 61
      assert.is_true(store:enter("a", "p", "four", 60))
    end)

    it("are places for as long as they are asked for again, and say for how long", function()
      assert.is_nil(store:holder("a", "p"))
      assert.is_true(store:enter("a", "p", "one", 10))
      assert.same({ left = 10 }, store:holder("a", "p"))
      now = now + 9
      assert.is_true(store:stay("a", "p", "one", 10))
      assert.is_false(store:stay("a", "p", "two", 10))
      assert.is_false(store:stay("b", "p", "one", 10))
      now = now + 9
      assert.is_false(store:enter("a", "p", "two", 10))
      assert.same({ left = 1 }, store:holder("a", "p"))
      now = now + 1
      assert.is_nil(store:holder("a", "p"))
      assert.is_true(store:enter("a", "p", "two", 10))
      assert.is_false(store:stay("a", "p", "one", 10))
    end)

    it("are intents that nobody is at any more, once they are abandoned", function()
      assert.is_true(intend "1")
      assert.is_true(store:abandon "1")
      assert.same({ "1" }, open_ids())
      assert.equal(1, #store:orphans("a", 60)) -- nobody was told
    end)

    it("are intents, until their outcome is known", function()
      assert.is_true(intend "1")
      assert.is_true(intend "2")
      assert.is_true(intend("3", "q"))
      assert.same({ "1 live", "2 live" }, open_ids())
      assert.is_true(store:outcome("1", { account = "a", place = "p", claim = "77" }))
      assert.same({ "2 live" }, open_ids())
      assert.is_true(store:outcome("2", { state = "open" }))
      assert.same({ "2" }, open_ids())
      now = now + 5
      assert.equal(5, store:known("a", "p", {}).open[1].age)
      assert.is_true(store:outcome("2", { state = "done", result = "[5]", body = '{"id":"z"}',
        keep = 100, account = "a", place = "p", claim = "78" }))
      assert.same({ "z [5]" }, open_ids())
      now = now + 100
      assert.same({}, open_ids())
      assert.same({}, store:known("b", "p", { "77" }).owned)
    end)

    it("are claims, each with one owner", function()
      intend "1"
      intend "2"
      assert.is_true(store:outcome("1", { account = "a", place = "p", claim = "77" }))
      assert.is_false(store:outcome("2", { account = "a", place = "p", claim = "77" }))
      assert.same({ "2 live" }, open_ids())
      assert.same({ "77" }, store:known("a", "p", { "76", "77" }).owned)
      assert.same({}, store:known("a", "q", { "77" }).owned)
      now = now + 31 * 86400
      intend "4"
      assert.same({}, store:known("a", "p", { "77" }).owned)
    end)

    it("are orphans where their lease has ended", function()
      intend "1"
      assert.same({}, store:orphans("a", 60))
      now = now + 60
      local found = store:orphans("a", 60)
      assert.equal(1, #found)
      assert.equal(60, found[1].age)
      assert.same({}, store:orphans("a", 60)) -- whoever has them settles them
      assert.same({ "1" }, open_ids())
      now = now - 86400 + 61 -- and the clock is set back
      assert.same({}, store:orphans("a", 60))
      now = now + 60
      assert.equal(1, #store:orphans("a", 60))
      now = now + 4000
      assert.equal(1, #store:orphans("a", 60))
      now = now + 1000
      assert.same({}, store:orphans("a", 60)) -- less and less often
      now = now + 100
      assert.equal(1, #store:orphans("a", 60))
      store:outcome("1", { state = "open" })
      now = now + 3600
      assert.same({}, store:orphans("a", 60)) -- its caller was told
      now = now + 30 * 86400
      intend "2"
      assert.same({ "2 live" }, open_ids())
    end)

    if not database.processes then return end

    it("are no more slots than there are, for six processes", function()
      store:close()
      local seen, count = {}, 0
      for _, text in ipairs(run(url, 6, [[
        while true do
          local answer = assert(store:slots("key", { ask = "take", need = 1, limit = 100,
            window = 60, hold = 90, patience = 1 }))
          if not answer.slots then break end
          print(answer.slots[1])
        end]])) do
        for number in text:gmatch "%d+" do
          assert.is_nil(seen[number])
          seen[number], count = true, count + 1
        end
      end
      assert.equal(100, count)
    end)

    it("are places that one process at a time is in", function()
      store:close()
      local path = command.folder() .. "/count"
      command.write(path, "0")
      run(url, 4, ([[
        local process = require "billhook.process"
        for i = 1, 25 do
          local token = n .. " " .. i
          while not store:enter("a", "p", token, 60) do process.sleep(0.001) end
          local file = io.open(%q)
          local count = tonumber(file:read "*a")
          file:close()
          file = io.open(%q, "w")
          file:write(("%%d"):format(count + 1))
          file:close()
          store:leave("a", "p", token)
        end]]):format(path, path))
      assert.equal("100", command.read(path))
    end)

    it("are claims that one process has", function()
      store:close()
      local owners = {}
      for i, text in ipairs(run(url, 4, [[
        for id = 1, 40 do
          local intent = n .. "-" .. id
          assert(store:intend({ id = intent, account = "a", place = "p", body = "{}" }, nil, 60))
          local got, err = store:outcome(intent, { account = "a", place = "p",
            claim = tostring(id) })
          assert(got ~= nil, tostring(err))
          if got then print(id) end
        end]])) do
        for id in text:gmatch "%d+" do
          assert.is_nil(owners[id])
          owners[id] = i
        end
      end
      for id = 1, 40 do assert.is_truthy(owners[tostring(id)]) end
    end)

    it("are places and intents that are free once their process was killed", function()
      store:close()
      run(url, 1, [[
        assert(store:enter("a", "p", "token", 3600))
        assert(store:intend({ id = "1", account = "a", place = "p", body = '{"id":"1"}' },
          "token", 3600))]])
      store = assert(inbox.open(url))
      assert.same({ "1" }, open_ids())
      assert.equal(1, #store:orphans("a", 60))
      assert.is_true(store:enter("a", "p", "another", 60))
    end)
  end)
end

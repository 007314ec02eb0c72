-- Calls that must not happen twice, as all who share a store know of them: in the memory of a
-- process, and in an inbox of each database. Those in nginx's dictionary: shared_claims_spec.lua.

local command = require "spec.support.command"
local inbox = require "billhook.inbox"
local memory = require "billhook.shared"
local owner = require "billhook.inbox.owner"
local pending = require "billhook.once.pending"
local postgres = require "spec.support.postgres"
local process = require "billhook.process"

local environment = { LUA_PATH = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path,
  LUA_CPATH = ("build/%s/?.so;"):format(rawget(_G, "jit") and "luajit" or "lua5.4")
    .. package.cpath }

local server

local stores = {
  ["a process"] = { kind = "process", open = memory.new },
  ["memory:"] = { kind = "inbox", url = function() return "memory:" end },
  ["sqlite:"] = { kind = "inbox", several = true,
    url = function() return "sqlite:" .. command.folder() .. "/inbox.db" end },
  ["postgresql:"] = { kind = "inbox", several = true, url = function()
    server = server or postgres.database()
    server:empty()
    return server.url
  end },
}

-- Runs a text in n processes side by side, with `book` and `n` in it. Gives what each has printed.
local function run(url, n, text)
  local running, out = {}, command.folder()
  for i = 1, n do
    running[i] = assert(process.spawn({ command.lua, "-e", ([[
      local store = assert(require("billhook.inbox").open(%q, { busy_timeout = 20000 }))
      local book = require("billhook.once.pending").new(store, "a", "inbox")
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

-- the databases' own part is the same whichever Lua asks
local function marked(name) return name == "postgresql:" and name or name .. " #both" end

for name, kind in pairs(stores) do
  describe("pending calls in " .. marked(name), function()
    local url, store, now, book, other

    before_each(function()
      now = 1700000000
      local function clock() return now end
      url = kind.url and kind.url()
      store = kind.open and kind.open(clock) or assert(inbox.open(url, { clock = clock }))
      book, other = pending.new(store, "a", kind.kind), pending.new(store, "b", kind.kind)
    end)
    after_each(function()
      if store.close then store:close() end
      command.finish()
    end)
    teardown(function()
      if server and name == "postgresql:" then server:remove() end
    end)

    local function intent_of(id, place, more)
      local intent = { id = id, place = place or "p", operation = "x", params = {}, before = {} }
      for field, value in pairs(more or {}) do intent[field] = value end
      return intent
    end

    local function begin(id, place, token, more)
      return book:begin(intent_of(id, place, more), token, 60)
    end

    local function open_ids(place, all)
      local ids = {}
      for i, one in ipairs(assert(book:known(place or "p", {}, nil, all)).open) do
        ids[i] = one.intent.id .. (one.live and " live" or "") .. (one.told and " told" or "")
          .. (one.result and " " .. tostring(one.result[1]) or "")
      end
      return ids
    end

    it("let one at a time into a place", function()
      assert.is_truthy(book:enter("p", 60))
      local one = book:enter("q", 60)
      assert.is_truthy(one)
      assert.is_false(book:enter("p", 60))
      assert.is_truthy(other:enter("p", 60))
      book:leave("q", "another's")
      assert.is_false(book:enter("q", 60))
      book:leave("q", one)
      local two = book:enter("q", 60)
      assert.is_truthy(two)
      now = now + 60 -- whoever was there was abandoned
      local three = book:enter("q", 60)
      assert.is_truthy(three)
      book:leave("q", two) -- and comes back late
      assert.is_false(book:enter("q", 60))
      assert.is_false(begin("x", "q", two)) -- lost
      assert.is_true(begin("x", "q", three))
      assert.is_false(begin("y", "nowhere", three))
    end)

    it("do not hold a place for longer where the clock is set back", function()
      assert.is_truthy(book:enter("p", 60))
      now = now - 86400
      assert.is_false(book:enter("p", 60))
      now = now + 59
      assert.is_false(book:enter("p", 60))
      now = now + 1
      assert.is_truthy(book:enter("p", 60))
    end)

    it("hold a place for as long as they say that they are there, and say for how long", function()
      local function holder()
        local token, _, who = book:enter("p", 10)
        assert.is_false(token)
        return { left = who.left, longest = who.longest, age = who.age }
      end
      local one = book:enter("p", 10, 40)
      assert.same({ left = 10, longest = 40, age = 0 }, holder())
      now = now + 9
      assert.is_true(book:renew("p", one, 10))
      assert.is_false(book:renew("p", "another's", 10))
      assert.is_false(other:renew("p", one, 10))
      now = now + 9
      assert.same({ left = 1, longest = 22, age = 18 }, holder())
      now = now + 1
      assert.is_truthy(book:enter("p", 10))
      assert.is_false(book:renew("p", one, 10))
    end)

    it("leave a place at once that a coroutine held which is gone", function()
      local function enter() assert.is_truthy(book:enter("p", 60)) end
      local thread = coroutine.create(function()
        enter()
        error "over"
      end)
      assert.is_false((coroutine.resume(thread)))
      enter()
      collectgarbage()
      assert.is_false(book:enter("p", 60))
      thread = coroutine.create(function()
        assert.is_truthy(book:enter("q", 60))
        coroutine.yield()
      end)
      coroutine.resume(thread)
      assert.is_false(book:enter("q", 60)) -- it may go on
      thread = nil -- luacheck: ignore 311
      now = now + 1
      assert.is_truthy(book:enter("q", 60)) -- nobody can resume it
    end)

    it("are known until their outcome is", function()
      assert.is_true(begin "1")
      assert.is_true(begin "2")
      assert.is_true(begin "2") -- twice is once
      assert.is_true(begin("3", "q"))
      assert.same({ "1 live", "2 live" }, open_ids())
      assert.is_true(book:close(intent_of "1", 77, { 5 }))
      assert.same({ "2 live" }, open_ids())
      book:open(intent_of "2")
      assert.same({ book.durable and "2" or "2 told" }, open_ids())
      now = now + 5.25
      assert.equal(5.25, book:known("p", {}).open[1].age)
      assert.is_true(book:close(intent_of "2"))
      assert.same({}, open_ids())
      assert.same({}, assert(other:known("q", {})).open)
      book:close(intent_of("3", "q"))
      assert.same({}, assert(other:known("q", {})).open)
    end)

    it("are nobody's when their lease has ended, or they are abandoned", function()
      begin "1"
      now = now + 60
      assert.same({ "1" }, open_ids())
      begin "2"
      book:abandon(intent_of "2")
      assert.same({ "1", "2" }, open_ids())
    end)

    it("are nobody's when their call has left its place", function()
      local token = book:enter("p", 60)
      begin("1", "p", token)
      assert.same({ "1 live" }, open_ids())
      book:leave("p", token)
      assert.same({ "1" }, open_ids())
    end)

    it("come to nothing after an hour, and stay for who asks for all", function()
      begin "1"
      now = now + 3601
      assert.same({}, open_ids())
      assert.same({ "1" }, open_ids("p", true))
      now = now + (book.durable and 30 or 1) * 86400
      assert.same({}, open_ids("p", true))
    end)

    it("are as they were asked for", function()
      local intent = intent_of("1", "p", { before = { "4" }, params = { items = { { qty = 1,
        price = "25.00" } } }, reference = { field = "f", value = "v" }, sent_at = 1700000000.125 })
      assert.is_true(book:begin(intent, nil, 60))
      begin "2"
      begin "3" -- the text is written again
      assert.same(intent, book:known("p", {}).open[1].intent)
    end)

    it("keep a result for who asks once more", function()
      for id, more in pairs { named = { caller = "r" }, plain = {},
        settled = { params = { secret = 1 } } } do
        begin(id, id, nil, more)
        assert.is_true(book:close(intent_of(id, id, more), nil, { id }, id == "settled"))
      end
      local function kept(id) return open_ids(id)[1] end
      assert.equal("named named", kept "named")
      assert.equal("settled settled", kept "settled")
      assert.is_nil(kept "plain")
      assert.is_nil(book:known("settled", {}).open[1].intent.params)
      now = now + 3600
      assert.equal("settled settled", kept "settled")
      now = now + 86400
      assert.is_nil(kept "settled")
    end)

    it("keep a result for whoever asks for the same, with what it was", function()
      begin "1"
      assert.is_true(book:keep(intent_of "1", 8, { 8 }))
      local one = book:known("p", {}).open[1]
      assert.same({ intent_of "1", { 8 } }, { one.intent, one.result })
      now = now + 86400
      assert.same({}, open_ids())
    end)

    it("give an id one owner in a place", function()
      begin "1"
      begin "2"
      assert.is_true(book:close(intent_of "1", 77))
      assert.is_true(book:close(intent_of "1", "77"))
      assert.is_false(book:close(intent_of "2", 77))
      assert.same({ "2 live" }, open_ids())
      assert.same({ ["77"] = true }, book:known("p", { "76", "77" }).owned)
      assert.same({}, book:known("p", { "77" }, "1").owned)
      assert.same({}, book:known("q", { "77" }).owned)
      assert.same({}, other:known("p", { "77" }).owned)
      now = now + (book.durable and 30 or 1) * 86400 - 1
      assert.same({ ["77"] = true }, book:known("p", { "77" }).owned)
      now = now + 1
      assert.same({}, book:known("p", { "77" }).owned)
    end)

    if kind.kind ~= "inbox" then return end

    it("are orphans where their lease has ended", function()
      begin "1"
      assert.same({}, book:orphans(60))
      now = now + 60
      local found = book:orphans(60)
      assert.equal(1, #found)
      assert.same({ "1", 60 }, { found[1].intent.id, found[1].age })
      assert.same({}, other:orphans(60))
      assert.same({}, book:orphans(60)) -- whoever has them settles them
      assert.same({ "1" }, open_ids())
      now = now - 86400 + 61 -- and the clock is set back
      assert.same({}, book:orphans(60))
      now = now + 60
      assert.equal(1, #book:orphans(60))
      now = now + 4000
      assert.equal(1, #book:orphans(60))
      now = now + 1000
      assert.same({}, book:orphans(60)) -- less and less often
      now = now + 100
      assert.equal(1, #book:orphans(60))
      book:open(intent_of "1")
      now = now + 3600
      assert.same({}, book:orphans(60)) -- its caller was told
    end)

    it("leave nothing behind", function()
      local token = book:enter("p", 60)
      begin("1", "p", token)
      book:close(intent_of "1", 7)
      book:leave("p", token)
      assert.same({ ["a p 7"] = "1" }, store:texts "claim ")
      assert.same({}, store:texts "calls ")
    end)

    if not kind.several then return end

    it("are in a place one process at a time", function()
      store:close()
      local path = command.folder() .. "/count"
      command.write(path, "0")
      run(url, 4, ([[
        local process = require "billhook.process"
        for _ = 1, 10 do
          local token = book:enter("p", 60)
          while not token do
            process.sleep(0.01)
            local err
            token, err = book:enter("p", 60)
            assert(not err, tostring(err))
          end
          local file = io.open(%q)
          local count = tonumber(file:read "*a")
          file:close()
          file = io.open(%q, "w")
          file:write(("%%d"):format(count + 1))
          file:close()
          assert(book:leave("p", token))
        end]]):format(path, path))
      assert.equal("40", command.read(path))
    end)

    it("give an id to one process", function()
      store:close()
      local owners = {}
      for i, text in ipairs(run(url, 4, [[
        for id = 1, 40 do
          local intent = { id = n .. "-" .. id, place = "p" }
          assert(book:begin(intent, nil, 60))
          local got, err = book:close(intent, id)
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

    it("are nobody's once their process was killed, and their place is free", function()
      store:close()
      run(url, 1, [[
        local token = assert(book:enter("p", 3600))
        assert(book:begin({ id = "1", place = "p" }, token, 3600))]])
      store = assert(inbox.open(url))
      book = pending.new(store, "a", "inbox")
      assert.same({ "1" }, open_ids())
      assert.equal(1, #book:orphans(60))
      assert.is_truthy(book:enter("p", 60))
    end)

    it("are somebody's whose process lives, whatever becomes of this one", function()
      assert.is_truthy(book:enter("p", 60))
      local me = owner.name()
      assert.equal(me, store:who())
      assert.is_false(store:departed(me))
      assert.is_true(store:departed((me:gsub("/%d+/%d+$", "/4194305/1"))))
    end)
  end)
end

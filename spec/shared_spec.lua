-- Texts that one at a time changes (billhook.shared): in the memory of a process, in the inbox of
-- each database, and in nginx, in its dictionary and over its threads in an inbox.

local command = require "spec.support.command"
local inbox = require "billhook.inbox"
local nginx = require "spec.support.nginx"
local postgres = require "spec.support.postgres"
local process = require "billhook.process"
local shared = require "billhook.shared"

local environment = { LUA_PATH = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path,
  LUA_CPATH = ("build/%s/?.so;"):format(rawget(_G, "jit") and "luajit" or "lua5.4")
    .. package.cpath }

local server

local stores = {
  ["a process"] = { open = function(clock) return shared.new(clock) end },
  ["memory:"] = { url = function() return "memory:" end },
  ["sqlite:"] = { several = true,
    url = function() return "sqlite:" .. command.folder() .. "/inbox.db" end },
  ["postgresql:"] = { several = true, url = function()
    server = server or postgres.database()
    server:empty()
    return server.url
  end },
}

-- Adds 1 to the number in a text: { text = the new one }.
local COUNT = [[
  local function count(text)
    local n = tonumber(text or "0") + 1
    return ("%d"):format(n), { text = n }
  end
]]

-- Runs a text in n processes side by side, with `store` and `count` in it. Gives what each printed.
local function run(url, n, text)
  local running, out = {}, command.folder()
  for i = 1, n do
    running[i] = assert(process.spawn({ command.lua, "-e", ([[
      local store = assert(require("billhook.inbox").open(%q, { busy_timeout = 20000 }))
      %s
      %s]]):format(url, COUNT, text) }, { stdin = "/dev/null", stdout = out .. "/out" .. i,
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

-- Every number up to `most` was counted by one, and by one only.
local function assert_counted(most, texts)
  local seen, count = {}, 0
  for _, text in ipairs(texts) do
    for number in text:gmatch "%d+" do
      assert.is_nil(seen[number], number)
      seen[number], count = true, count + 1
    end
  end
  assert.equal(most, count)
end

-- the databases' own part is the same whichever Lua asks
local function marked(name) return name == "postgresql:" and name or name .. " #both" end

for name, kind in pairs(stores) do
  describe("a text in " .. marked(name), function()
    local url, store, now

    before_each(function()
      now = 1700000000
      local function clock() return now end
      url = kind.url and kind.url()
      store = kind.open and kind.open(clock) or assert(inbox.open(url, { clock = clock }))
    end)
    after_each(function()
      if store.close then store:close() end
      command.finish()
    end)
    teardown(function()
      if server and name == "postgresql:" then server:remove() end
    end)

    local function put(key, text, keep)
      return store:update(key, function() return text end, keep)
    end

    local function get(key)
      return store:update(key, function(text) return nil, text or "none" end)
    end

    it("is what it was changed to, by its name, at the store's time", function()
      assert.equal("none", get "a")
      local seen = {}
      assert.same({ 7 }, store:update("a", function(text, at)
        seen[1], seen[2] = tostring(text), at
        return "one\0\255", { 7 }
      end))
      assert.same({ "nil", 1700000000 }, seen)
      now = now + 0.25
      assert.equal(1700000000.25, store:update("a", function(_, at) return nil, at end))
      assert.equal("one\0\255", get "a")
      assert.equal("none", get "b")
    end)

    it("gives the value that comes with the change, true where there is none", function()
      assert.is_true(put("a", "one"))
      assert.is_false(store:update("a", function() return "two", false end))
      assert.is_true(store:update("a", function() end))
      assert.equal("two", get "a")
    end)

    it("stays as it is, and goes", function()
      put("a", "one")
      assert.equal("x", store:update("a", function() return nil, "x" end))
      assert.equal("one", get "a")
      assert.equal("x", store:update("a", function() return false, "x" end))
      assert.equal("none", get "a")
      assert.is_true(put("a", false))
      assert.is_true(put("a", "two"))
      assert.equal("two", get "a")
    end)

    it("is nobody's once it was kept for as long as it should be", function()
      put("a", "one", 10)
      put("b", "two")
      now = now + 9
      assert.equal("one", get "a")
      put("a", "three", 10)
      now = now + 9
      assert.equal("three", get "a")
      now = now + 1
      assert.equal("none", get "a")
      assert.equal("two", get "b")
      assert.equal("nil", store:update("a", function(text) return "four", tostring(text) end))
      assert.equal("four", get "a")
    end)

    it("is not there for ever where nobody asks for it again", function()
      for i = 1, 30 do put("a" .. i, "x", 10) end
      now = now + 10
      for i = 1, store.all and 1000 or 10 do put("b", tostring(i), 10) end
      if store.all then
        assert.same({ "b" }, { next(store.all.texts), next(store.all.texts, "b") })
      else
        local left = store:read(function(query) return query "SELECT name FROM texts" end)
        assert.same({ { name = "b" } }, left)
      end
    end)

    it("is unchanged where what is to change it raises, which is raised", function()
      put("a", "one")
      local fine, why = pcall(store.update, store, "a", function() error("a mistake", 0) end)
      assert.is_false(fine)
      assert.equal("a mistake", why)
      assert.equal("one", get "a")
      assert.is_true(put("a", "two")) -- and nothing is locked
    end)

    if not kind.several then return end

    it("is changed by one process at a time", function()
      store:close()
      assert_counted(150, run(url, 6, [[
        for _ = 1, 25 do print(assert(store:update("a", count)).text) end]]))
    end)

    it("is changed by one at a time where others remove it", function()
      store:close()
      local all = 0
      for _, text in ipairs(run(url, 4, [[
        for _ = 1, 25 do
          local had = assert(store:update("a", function(text)
            return text ~= "2" and count(text), text or "0"
          end))
          if had == "2" then print "full" end
        end]])) do
        for _ in text:gmatch "full" do all = all + 1 end
      end
      assert.equal(33, all) -- of 100 every third
    end)

    it("is an error of kind 'store' where the database fails, and no value", function()
      store:transaction(function(query)
        query "DROP TABLE texts"
        return true
      end)
      local value, err = put("a", "one")
      assert.is_nil(value)
      assert.equal("store", err.kind)
    end)
  end)
end

describe("billhook.shared #both", function()
  after_each(command.finish)

  it("takes what has the method, and the URL of an inbox, which is opened once", function()
    local own = { update = function() end }
    assert.equal(own, shared.check(own))
    assert.equal(own, shared.of(own))
    local url = "sqlite:" .. command.folder() .. "/inbox.db"
    assert.equal(url, shared.check(url))
    local store = assert(shared.of(url))
    assert.equal(store, shared.of(url))
    store:close()
    assert.same({ n = 2, nil, "must have a method 'update'" },
      { n = select("#", shared.check {}), shared.check {} })
    assert.equal("must have a method 'update'", select(2, shared.check(5)))
    assert.equal('must be "sqlite:FILE", "memory:" or "postgresql://..."',
      select(2, shared.check "redis:"))
    assert.equal("store", select(2, shared.of "sqlite:/nowhere/at/all.db").kind)
  end)

  it("is the memory of the process, by the clock, where there is nothing else", function()
    local function clock() return 5 end
    shared.here(clock):update("spec", function() return "x" end)
    local function seen(of) return shared.here(of):update("spec", function(text, now)
      return nil, (text or "none") .. " " .. now
    end) end
    assert.equal("x 5", seen(clock))
    assert.equal("none 6", seen(function() return 6 end))
  end)
end)

-- The workers of an nginx: in its dictionary, and in an inbox through threads.
describe("a text that the workers of an nginx change", function()
  local front

  after_each(function()
    if front then front:stop() end
    front = nil
  end)

  local function start(size)
    front = nginx.start { workers = 4, http = ([[
      lua_shared_dict billhook %s;
      init_worker_by_lua_block {
        local shared = require "billhook.shared"
        function store_of(name)
          if name == "dict" then return require("billhook.shared.dict").store() end
          return assert(shared.of("sqlite:$PREFIX/inbox.db"))
        end
        %s
        counting = count
      }]]):format(size, COUNT), server = [[
      location /count { content_by_lua_block {
        local store = store_of(ngx.var.arg_of)
        for _ = 1, tonumber(ngx.var.arg_n) do
          local done, err = store:update("a", counting)
          ngx.say(done and done.text or tostring(err))
        end
      } }
      location /run { content_by_lua_block {
        ngx.req.read_body()
        ngx.print(tostring(loadstring(ngx.req.get_body_data())(store_of(ngx.var.arg_of))))
      } }
    ]] }
  end

  local function ask(of, text)
    local _, _, body = front:request { method = "POST", path = "/run?of=" .. of,
      body = "local store = ... " .. text }
    return body
  end

  local function count(of, n)
    local asked, texts = {}, {}
    for i = 1, 8 do asked[i] = assert(nginx.send(front.port,
      { path = ("/count?of=%s&n=%d"):format(of, n) })) end
    for i = 1, 8 do texts[i] = select(3, nginx.answer(asked[i])) end
    assert_counted(8 * n, texts)
  end

  it("is changed by one worker at a time", function()
    start "1m"
    count("dict", 100)
    count("inbox", 10)
  end)

  it("gives what comes with the change, stays, and goes", function()
    start "1m"
    local look = 'return store:update("b", function(t) return nil, t or "none" end)'
    for _, of in ipairs { "dict", "inbox" } do
      assert.equal("none", ask(of, look))
      assert.equal("true", ask(of, 'return store:update("b", function() return "x" end, 60)'))
      assert.equal("false", ask(of, 'return store:update("b", function() return "y", false end)'))
      assert.equal("y", ask(of, look))
      assert.equal("true", ask(of, 'return store:update("b", function() return false end)'))
      assert.equal("none", ask(of, look))
      assert.equal("true", ask(of, [[
        local at = store:update("b", function(_, now) return nil, now end)
        return at <= (store:update("b", function(_, now) return nil, now end))]]))
      assert.matches("a mistake", ask(of, [[local fine, why = pcall(store.update, store, "b",
        function() error "a mistake" end)
        return tostring(fine) .. why .. tostring(store:update("b", function() return "z" end))]]))
    end
  end)

  it("is nobody's after its time", function()
    start "1m"
    for _, of in ipairs { "dict", "inbox" } do
      ask(of, 'return store:update("c", function() return "x" end, 0.01)')
      nginx.wait("its end", function()
        return ask(of, 'return store:update("c", function(t) return nil, not t end)') == "true"
      end)
    end
  end)

  it("is as it was, with an error, where the dictionary is full", function()
    start "64k"
    assert.equal("true", ask("dict", 'return store:update("d", function() return "small" end)'))
    assert.equal("nil store: lua_shared_dict billhook: no memory", ask("dict",
      [[local done, err = store:update("d", function() return ("x"):rep(100000), 1 end)
      return tostring(done) .. " " .. tostring(err)]]))
    assert.equal("small", ask("dict", 'return store:update("d", function(t) return nil, t end)'))
  end)

  it("is an error where others change it again and again meanwhile", function()
    start "1m"
    assert.equal("nil store: 'e' was changed by others 1000 times meanwhile", ask("inbox", [[
      local n = 0
      local done, err = store:update("e", function()
        n = n + 1
        store:update("e", function() return "other " .. n end)
        return "mine " .. n
      end)
      return tostring(done) .. " " .. tostring(err)]]))
  end)
end)

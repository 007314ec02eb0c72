-- No object of a C module can be used after its finaliser has run, whatever is called with it: each
-- metatable that a module registers is here with a way to make its object, and each function in it
-- is called with one that is finalised.

local registry = debug.getregistry()

local core = require "billhook.core"
local curl = require "billhook.curl"
local pq = require "billhook.pq"
local postgres = require "spec.support.postgres"
local process = require "billhook.process"
local sqlite = require "billhook.sqlite"

-- a request that is never sent: nobody listens there
local ORDER = { method = "GET", url = "http://127.0.0.1:1/", headers = {}, timeout = 1,
  connect_timeout = 1, limit = 1000, fresh = false }

local pools = {} -- of the tickets
local server -- a PostgreSQL

local MAKE = {
  ["billhook.json.stream"] = function() return core.json.stream() end,
  ["billhook.keys"] = function() return core.verify.keys { secret = "a-long-secret" } end,
  ["billhook.sqlite"] = function() return assert(sqlite.open ":memory:") end,
  ["billhook.sqlite.lock"] = function()
    local path = os.tmpname()
    local lock = sqlite.lock(path, 1000)
    os.remove(path)
    return lock
  end,
  ["billhook.curl"] = function() return curl.new() end,
  ["billhook.curl.ticket"] = function()
    local pool = curl.new()
    pools[#pools + 1] = pool
    return pool:add(ORDER)
  end,
  ["billhook.pq"] = function() return assert(pq.open(server.url)) end,
}

-- What an object that is finalised may answer with.
local TRUE = { done = true, cancel = true, lost = true }

-- Objects that no caller ever holds: they lie in the registry, or on the stack of one call.
local INNER = {
  ["billhook.json.scratch"] = true, ["billhook.work"] = true, ["billhook.folder"] = true,
}

-- Values without anything to finalise.
local PLAIN = {
  ["billhook.decimal"] = true, ["billhook.json.array"] = true, ["billhook.json.number"] = true,
  ["billhook.mark"] = true,
}

local ARGUMENTS = { {}, { "x" }, { "SELECT 1" }, { 0 }, { ORDER }, { core.json.stream() } }

local function functions_of(meta)
  local all = {}
  for name, value in pairs(meta) do
    if type(value) == "function" then all[name] = value end
  end
  for name, value in pairs(type(meta.__index) == "table" and meta.__index or {}) do
    if type(value) == "function" then all[name] = value end
  end
  return all
end

setup(function() server = postgres.database() end)

teardown(function() server:remove() end)

describe("an object that is finalised", function()
  it("is of one of the kinds that are tried here", function()
    local kinds = 0
    for name, meta in pairs(registry) do
      if type(name) == "string" and name:find "^billhook%." and type(meta) == "table" then
        kinds = kinds + 1
        local known = MAKE[name] or INNER[name] or PLAIN[name]
        assert.is_truthy(known, name .. " has no way to be made in this spec")
        assert.equal(rawget(meta, "__gc") ~= nil, not PLAIN[name], name)
      end
    end
    assert.equal(14, kinds)
    assert.is_function(process.entries)
  end)

  for name, make in pairs(MAKE) do
    it("gives an error and nothing else: " .. name, function()
      local meta = registry[name]
      local called = 0
      for method, call in pairs(functions_of(meta)) do
        for _, arguments in ipairs(ARGUMENTS) do
          local object = make()
          assert.equal(meta, debug.getmetatable(object))
          meta.__gc(object)
          local ok, first, second = pcall(call, object, (table.unpack or unpack)(arguments))
          called = called + 1
          if ok and method ~= "__tostring" then
            assert.is_truthy(not first or TRUE[method],
              ("%s:%s gave %s, %s"):format(name, method, tostring(first), tostring(second)))
          end
          meta.__gc(object) -- twice is as good as once
        end
      end
      assert.is_true(called >= 2 * #ARGUMENTS)
    end)
  end

  it("is not used by a call that is going on where it lies within one", function()
    for name in pairs(INNER) do
      local meta = registry[name]
      assert.is_true(meta.__index == nil, name .. " has methods that somebody may call")
    end
    assert.equal(1, core.json.decode "[1]"[1])
    local scratch
    for _, value in pairs(registry) do
      local meta = type(value) == "userdata" and debug.getmetatable(value)
      if meta and meta == registry["billhook.json.scratch"] then scratch = value end
    end
    assert.is_userdata(scratch)
    registry["billhook.json.scratch"].__gc(scratch)
    for _ = 1, 3 do assert.equal(2, #core.json.decode "[1,2]") end
    assert.equal("[1]", core.json.redact("[1]", { "a" }))
    assert.equal(64, #core.json.digest "[1]")
  end)
end)

describe("an object that is finalised in the middle of its own call", function()
  local function interrupts(wanted, url)
    local command = ("LUA_PATH='%s' LUA_CPATH='%s' %s spec/support/finalise.lua %s 2>&1; "
      .. "echo ended $?"):format(package.path, package.cpath,
      rawget(_G, "jit") and "luajit" or "lua5.4", url or "")
    local said, missing = {}, nil
    for _ = 1, 5 do -- the collector decides whom it interrupts
      local pipe = assert(io.popen(command))
      local text = pipe:read "*a"
      pipe:close()
      assert.truthy(text:find "\nended 0\n$", text)
      for line in text:gmatch "[^\n]+" do said[line:gsub("^%S+:%d+: ", "")] = true end
      missing = nil
      for _, name in ipairs(wanted) do missing = missing or not said[name] and name or nil end
      if not missing then break end
    end
    assert.is_nil(missing)
  end

  it("is in nobody's way", function()
    interrupts { "stream:value", "stream:value once more", "verify.check",
      "verify.check once more", "db:query", "db:close", "db:query once more", "pool:run",
      "pool:add", "pool:add once more", "ticket:result", "the database was closed meanwhile" }
  end)

  it("is in nobody's way at a server", function()
    interrupts({ "pq:query", "pq:close", "pq:query once more", "pq:exec once more",
      "pq:query fails", "pq:open fails" }, server.url)
  end)

  it("is closed by an option that is looked up, and then not used", function()
    local object = core.verify.keys { secret = "a-long-secret" }
    local ok, err = pcall(core.verify.check, "dreamclass", {}, "{}", object,
      setmetatable({}, { __index = function() debug.getmetatable(object).__gc(object) end }))
    assert.is_false(ok)
    assert.truthy(err:find("the webhook keys are closed", 1, true), err)
  end)
end)

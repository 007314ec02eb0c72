-- oom_spec.lua: each function of the C modules with each of its allocations failing, in a process
-- whose allocator fails where it is told to (spec/support/oom.c, oom.lua).

local command = require "spec.support.command"
local postgres = require "spec.support.postgres"

local jit = rawget(_G, "jit")
local LUA = jit and "luajit" or "lua5.4"
local SO = ("build/test/oom-%s.so"):format(LUA)
local build = os.getenv "BILLHOOK_BUILD" or "build/" .. LUA

-- what oom.lua says, for the functions with that in their name; first: a line that runs before it
local function run(env, names, first)
  local pipe = assert(io.popen(("LUA_PATH='lua/?.lua;lua/?/init.lua;;' LUA_CPATH='%s/?.so;;' "
    .. "LD_PRELOAD=\"$LD_PRELOAD $PWD/%s\" %s %s -e '%s' spec/support/oom.lua $PWD/%s %s 2>&1; "
    .. "echo ended $?"):format(build, SO, env, LUA, first or "", SO, names or "")))
  local text = pipe:read "*a"
  pipe:close()
  return text
end

describe("an allocation that fails", function()
  local server
  setup(function()
    server = postgres.database()
    local include = jit and "/usr/include/luajit-2.1 -DOWN_ALLOCATOR" or "/usr/include/lua5.4"
    assert(os.execute(("mkdir -p build/test; cc -shared -fPIC -O1 -I%s -o %s.$$ spec/support/oom.c"
      .. " && mv %s.$$ %s"):format(include, SO, SO, SO)))
  end)
  teardown(function()
    command.finish()
    server:remove()
  end)

  it("is an error and nothing else, in every function of every module", function()
    local said = run("OOM_POSTGRES='" .. server.url .. "'")
    assert.is_nil(said:match "\nnot ok [^\n]*")
    assert.equal("0", said:match "ended (%d+)\n$", said:sub(-300))
    local count, most = 0, 0
    for allocations in said:gmatch "\nok %d+ %- [^\n]*, (%d+) allocations" do
      count, most = count + 1, math.max(most, tonumber(allocations))
    end
    assert.is_true(count >= 120, count .. " functions")
    assert.is_true(most > 20, "at most " .. most .. " allocations")
  end)

  it("is asked of a function that is new, too #both", function()
    local said = run("", "unlisted", "require(\"billhook.core\").text.unlisted = print")
    assert.is_truthy(said:find("not ok 1 - core.text.unlisted: spec/support/oom.lua has no case",
      1, true), said)
  end)

  it("is seen where it is not told #both", function()
    -- a function that makes nothing of a failed allocation
    local said = run("", "core.text.hex", [[local t = require("billhook.core").text
      local hex = t.hex
      t.hex = function(s) local ok, h = pcall(hex, s) return ok and h or "lost" end]])
    assert.is_truthy(said:find "not ok 1 %- core.text.hex: allocation %d on: gave lost", said)
  end)
end)

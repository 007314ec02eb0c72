-- `billhook work` killed with -9 while its rules create invoices: what was asked for once is there
-- once, and its rule learns of it.

local billhook = require "billhook"
local command = require "spec.support.command"
local fault_server = require "spec.support.fault_server"
local inbox = require "billhook.inbox"

-- BILLHOOK_KILLS kills so many times
local KILLS = tonumber(os.getenv "BILLHOOK_KILLS" or 5)
local ITEMS = KILLS > 5 and 40 or 12

local RULES = [[
local billhook = require "billhook"
local school = billhook.dreamapply { base_url = %q, api_key = "the key of a school", timeout = 4,
  settle_timeout = 2, quota = false, read_back = false,
  webhook = { authorization = "Bearer hook" } }
local app = billhook.app { inbox = %q, accounts = { school = school }, attempts = 1000,
  backoff = { base = 0.5, cap = 0.5 }, log = function() end }
app:on("invoice.created", { name = "bill" }, function(event)
  local about = event.claims.bind[1]
  local made, err = school.invoices:create(about.application,
    { currency = "EUR", items = { { item = "Fee", price = "25.00", qty = 1 } } },
    about.reference and { reference = { field = "smallprint", value = event.id } })
  if not made then return nil, err end
  school.invoices:count() -- something else that takes its time
  local file = assert(io.open(%q, "a"))
  file:write(event.id, " ", made.how, " ", ("%%d"):format(made.id), "\n")
  file:close()
end)
return app
]]

local function item(id, application, referenced)
  return ('{"id":%d,"logged":"2026-11-21T10:00:00+00:00","event":"Invoice was created: ?",'
    .. '"bind":[{"application":%d%s}],"invoice":"/api/v9/invoices/%d"}'):format(id, application,
    referenced and ',"reference":true' or "", 1000 + id)
end

describe("billhook work, killed", function()
  local server, folder, world, rules, worker

  local function start(given, ...)
    folder = command.folder()
    server = fault_server.start()
    world = server:world(given)
    rules = command.write(folder .. "/rules.lua", RULES:format(world.url,
      "sqlite:" .. folder .. "/inbox.db", folder .. "/made"))
    local app = billhook.app { inbox = "sqlite:" .. folder .. "/inbox.db", log = function() end,
      accounts = { school = billhook.dreamapply { webhook = { authorization = "Bearer hook" } } } }
    app:on("invoice.created", { name = "bill" }, function() end)
    for _, body in ipairs { ... } do
      assert.equal(200, (app:receive("school", { authorization = "Bearer hook",
        ["content-type"] = "application/json" }, body)))
    end
    app.store:close()
  end

  local function work() worker = command.start { "work", rules } end

  local function kill()
    worker:signal "KILL"
    worker:wait()
  end

  local function requests()
    local all = world:state().requests
    return (all.POST or 0) + (all.GET or 0) + (all.HEAD or 0), all.POST or 0
  end

  -- what the rule has learned: lines "how id"
  local function made()
    local lines = {}
    for line in command.read(folder .. "/made"):gmatch("[^\n]+") do lines[#lines + 1] = line end
    return lines
  end

  -- how many of the rule's runs have learned it
  local function billed()
    local seen, count = {}, 0
    for _, line in ipairs(made()) do
      local id = line:match "^%S+"
      if not seen[id] then seen[id], count = true, count + 1 end
    end
    return count
  end

  -- What was killed after it was written down and before it was sent looks like one that is under
  -- way: what is said of those.
  local function doubted()
    local store, messages = assert(inbox.open("sqlite:" .. folder .. "/inbox.db")), {}
    for _, event in ipairs(assert(store:events { state = "pending", limit = 100 })) do
      local mark = store:show(event.id).marks.bill
      local message = mark and mark.message or ""
      if message:find("^unknown_outcome") then messages[#messages + 1] = message end
    end
    store:close()
    return messages
  end

  after_each(function()
    command.finish()
    if server then server:stop() end
  end)

  it("between a create and its answer, finds it at the next start #both", function()
    start({ fates = { POST = { { at = "request", how = "stall" } } } }, item(1, 5))
    work()
    command.wait("the create", function() return select(2, requests()) == 1 end)
    kill()
    work()
    command.wait("the rule", function() return #made() == 1 end)
    assert.matches("^school:%S+ found 1$", made()[1])
    assert.equal(1, #made())
    assert.equal(1, select(2, requests()))
    assert.equal(1, #world:state().made)
  end)

  it("does not bill again where the create is carried out later", function()
    start({ fates = { POST = { { at = "request", how = "stall", commit = 3 } } } }, item(1, 5))
    work()
    command.wait("the create", function() return select(2, requests()) == 1 end)
    kill()
    work()
    command.wait("the rule", function() return #made() == 1 end)
    assert.matches("^school:%S+ found 1$", made()[1])
    assert.equal(1, #made())
    assert.equal(1, select(2, requests()))
    assert.equal(1, #world:state().made)
  end)

  -- at any moment, many times: referenced or not, none is billed twice
  local function many(referenced, seed)
    local function random(most)
      seed = seed * 16807 % 2147483647
      return seed % most + 1
    end
    local items = {}
    for id = 1, ITEMS do items[id] = item(id, id % 5 + 1, referenced) end
    start({ latency = 0.02 }, "[" .. table.concat(items, ",") .. "]")
    for _ = 1, KILLS do
      local upto = requests() + random(9)
      work()
      command.wait("some requests", function()
        return requests() >= upto or #made() >= ITEMS
      end)
      kill()
    end
    work()
    local fine, why = pcall(command.wait, "all of it", function()
      return billed() + #doubted() == ITEMS
    end)
    assert.is_true(fine, ("%s\n%s\n%s"):format(tostring(why), worker:errors(),
      table.concat(made(), "\n")))
    local state, owners = world:state(), {}
    for _, message in ipairs(doubted()) do assert.matches("nothing was sent", message) end
    assert.is_true(#doubted() <= KILLS) -- one a kill
    assert.is_true(#state.made >= billed() and #state.made <= billed() + #doubted())
    for _, line in ipairs(made()) do
      local key, _, invoice = line:match "^(%S+) (%S+) (%d+)$"
      assert.equal(owners[invoice] or key, key)
      owners[invoice] = key
    end
    for _, one in ipairs(state.made) do
      local key = owners[("%d"):format(one.one.id)]
      assert.is_true(key ~= nil or #doubted() > 0)
      if key then assert.equal(referenced and key or nil, one.one.smallprint) end
    end
  end

  it(("at any moment, %d times, bills each of %d once"):format(KILLS, ITEMS), function()
    many(false, 20261121)
  end)

  it("at any moment, bills each reference once", function() many(true, 881) end)
end)

-- clock_spec.lua: the machine's clock is set while `billhook serve` and its worker run, an hour
-- forward and back, in the middle of a window of the quota. Those who send and who answer have
-- another clock, which is right. None of the times here is waited for: what a wrong clock holds up
-- would be held up for an hour.

local billhook = require "billhook"
local command = require "spec.support.command"
local fault_server = require "spec.support.fault_server"
local inbox = require "billhook.inbox"
local peer = require "spec.support.peer"

local HOUR = 3600
local LIMIT, WINDOW = 20, 2

local RULES = [[
local billhook = require "billhook"
local app = billhook.app { inbox = "sqlite:$FOLDER/inbox.db", attempts = 1000,
  backoff = { base = 0.2, cap = 0.4 }, accounts = {
    tickets = billhook.betterez { webhook = { secret = "private-key" } },
    school = billhook.dreamclass { webhook = { secret = "123" } },
    admissions = billhook.dreamapply { base_url = "$URL", api_key = "the key of a school",
      attempts = 1, timeout = 30, quota = { limit = $LIMIT, window = $WINDOW } } } }
local function note(name, text)
  local file = assert(io.open("$FOLDER/" .. name, "a"))
  file:write(text, "\n")
  file:close()
end
app:on("tickets:*", { name = "note" }, function(event) note("ran", event.id) end)
app:on("tickets:*", { name = "late" }, function(event)
  if event.attempt == 1 then error "not yet" end
  note("late", event.id)
end)
app:on("school:*", { name = "asks" }, function()
  for _ = 1, 15 do
    local value, err = app.accounts.admissions.invoices:get(1)
    note("asked", value and "ok" or tostring(err))
  end
end)
return app
]]

local function lines_of(path)
  local lines = {}
  for line in command.read(path):gmatch "[^\n]+" do lines[#lines + 1] = line end
  return lines
end

describe("a clock that is set while serve and its worker run", function()
  local folder, faults, world, child, url, serial

  -- it is wrong by so many seconds from now on
  local function set(seconds)
    local file = assert(io.open(folder .. "/clock", "r+b"))
    file:write(("%-16d"):format(seconds))
    file:close()
  end

  before_each(function()
    folder, serial = command.folder(), 0
    command.write(folder .. "/clock", (" "):rep(16))
    faults = fault_server.start()
    world = faults:world { quota = { limit = LIMIT, window = WINDOW } }
    world:make("5", { currency = "EUR" })
    local rules = command.write(folder .. "/rules.lua", (RULES:gsub("%$(%u+)", { FOLDER = folder,
      URL = world.url, LIMIT = LIMIT, WINDOW = WINDOW })))
    child, url = command.serve(rules, {}, { LD_PRELOAD = peer.compile_shared "clock",
      CLOCK_FILE = folder .. "/clock" })
  end)

  after_each(function()
    if child then
      child:signal "TERM"
      assert.equal(0, child:wait())
    end
    faults:stop()
    command.finish()
    child = nil
  end)

  local function ticket()
    serial = serial + 1
    local body = ('{"created":1623794899,"data":{"_id":"616d7cf38fedff37%08x"},'
      .. '"event":"invoices.created","id":"efec49e0-80a0-4734-bf02-%012d","livemode":true}')
      :format(serial, serial)
    return { billhook.sign("betterez", body, { secret = "private-key" }) }
  end

  local function send(signed)
    return (command.http("POST", url .. "/webhooks/tickets", signed[1], signed[2]))
  end

  local function news()
    serial = serial + 1
    local body = ('{"id":"aa3a27d6-05b5-4fcd-bd04-%012d","type":"INVOICE_CREATED","tenant":"x",'
      .. '"timestamp":1,"data":{"id":%d}}'):format(serial, serial)
    local headers, signed = billhook.sign("dreamclass", body, { secret = "123" })
    return (command.http("POST", url .. "/webhooks/school", headers, signed))
  end

  local function all_done(name, n)
    command.wait(n .. " in " .. name, function() return #lines_of(folder .. "/" .. name) == n end)
  end

  it("refuses Betterez's while it is wrong, and takes the same when it is right", function()
    local taken = 0
    local function takes(signed)
      assert.equal(200, send(signed))
      taken = taken + 1
    end
    takes(ticket())
    for _, wrong in ipairs { HOUR, -HOUR, 301, -HOUR } do
      local signed = ticket()
      set(wrong)
      assert.equal(401, send(signed))
      set(0)
      takes(signed)
      takes(ticket())
    end
    for _, wrong in ipairs { 240, -240 } do -- within the tolerance of 300 s
      set(wrong)
      takes(ticket())
    end
    set(0)
    -- rules, and what of them was to be done again, were never held up for an hour
    all_done("ran", taken)
    all_done("late", taken)
  end)

  it("holds up no rule that waits, whichever way it goes", function()
    for _, wrong in ipairs { HOUR, 0, -HOUR, 0, HOUR } do
      local before = #lines_of(folder .. "/late")
      set(0)
      assert.equal(200, send(ticket())) -- and fails the first time, before or after the jump
      set(wrong)
      all_done("late", before + 1)
    end
    set(0)
    local store = assert(inbox.open("sqlite:" .. folder .. "/inbox.db"))
    command.wait("nothing that waits", function() return store:stats().pending == 0 end)
    store:close()
  end)

  it("makes the quota send a window's requests once more, and no others #both", function()
    local jumps = { HOUR, 0, -HOUR, 0, HOUR, 2 * HOUR, 0 }
    local forward, now, asked = 0, 0, 0
    for _, wrong in ipairs(jumps) do
      assert.equal(200, news())
      asked = asked + 15
      command.wait("some requests", function() -- in the middle of them
        return #lines_of(folder .. "/asked") > asked - 10
      end)
      forward, now = forward + (wrong > now and 1 or 0), wrong
      set(wrong)
    end
    all_done("asked", asked)
    local refused = 0
    for _, line in ipairs(lines_of(folder .. "/asked")) do
      if line ~= "ok" then
        assert.matches("rate_limited", line)
        refused = refused + 1
      end
    end
    -- a jump forward lets all of a window come back at once
    assert.is_true(world:state().refused <= forward * LIMIT, world:state().refused)
    assert.is_true(refused <= world:state().refused)
  end)
end)

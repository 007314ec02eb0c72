-- readonly_spec.lua: the file system of an open inbox becomes read-only, as ext4 does by itself
-- after an error of its disk, and is mounted again after a check. That needs root and a loop
-- device.

local billhook = require "billhook"
local command = require "spec.support.command"
local desk = require "spec.support.inbox"
local inbox = require "billhook.inbox"
local process = require "billhook.process"

local function sh(text, ...)
  local status = os.execute(text:format(...))
  return status == true or status == 0
end

-- Makes a file system in a file, and mounts it; false where that is not possible here.
local function make(folder)
  return sh("cd %s && mkdir disk && truncate -s 16M image && mkfs.ext4 -q image >/dev/null 2>&1",
    folder)
end

local function mount(folder)
  return sh("mount -o loop %s/image %s/disk 2>/dev/null", folder, folder)
end

local function unmount(folder) return sh("umount -l %s/disk 2>/dev/null", folder) end

-- What is open stays open, and nothing of it can be written.
local function abort(folder) return sh("mount -o remount,abort %s/disk", folder) end

-- What is on the disk by now, checked as after every such error (1: it has corrected something), is
-- mounted in its place. A copy, for the kernel has the old one in use until all of it is closed;
-- and over it, so that the place is never empty.
local function repair(folder)
  return sh("cd %s && cp image copy && { e2fsck -fp copy >/dev/null 2>&1; [ $? -le 1 ]; } "
    .. "&& mv copy image", folder) and mount(folder)
end

local folder = command.folder()
local possible = process.uid() == 0 and make(folder) and mount(folder)
unmount(folder)
command.finish()

if not possible then
  io.stderr:write("note: spec/readonly_spec.lua did not run: it needs root, mkfs.ext4 and a loop",
    " device\n")
end

local RULES = [[
local billhook = require "billhook"
local app = billhook.app { inbox = "sqlite:%s/disk/inbox.db", attempts = 1000,
  backoff = { base = 0.05, cap = 0.2 }, accounts = {
    school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } } } }
app:on("*", { name = "held" }, function()
  if io.open("%s/hold") then error "not yet" end
end)
return app
]]

describe("an inbox on a file system that becomes read-only", function()
  it("is tried wherever it can be", function()
    assert.is_true(possible or process.uid() ~= 0 or not sh "mkfs.ext4 -V >/dev/null 2>&1"
      or not sh "test -e /dev/loop-control")
  end)
  if not possible then return end

  local child

  before_each(function()
    folder = command.folder()
    assert(make(folder) and mount(folder))
  end)

  after_each(function()
    if child then process.kill(child.pid, "TERM") end
    if child then child:wait() end
    repeat until not unmount(folder)
    command.finish()
    child = nil
  end)

  it("is told to vendors and to its operator, and loses nothing, twice", function()
    local rules = command.write(folder .. "/rules.lua", RULES:format(folder, folder))
    local url
    child, url = command.serve(rules, {}, { TMPDIR = folder })
    local serial, taken = 0, {}
    local function post()
      serial = serial + 1
      local body = ('{"id":"%s","type":"INVOICE_CREATED","tenant":"my-school","timestamp":1,'
        .. '"data":{"id":%d}}'):format(desk.uuid(serial), serial)
      local headers, signed = billhook.sign("dreamclass", body, { secret = "123" })
      local status = command.http("POST", url .. "/webhooks/school", headers, signed)
      if status == 200 then taken[#taken + 1] = "school:" .. desk.uuid(serial) end
      return status
    end
    local function health() return (command.http("GET", url .. "/healthz")) end
    local function count(pattern) return select(2, child:errors():gsub(pattern, "")) end

    for round = 1, 2 do
      command.write(folder .. "/hold", "") -- so that the worker always has something to do
      for _ = 1, 10 do assert.equal(200, post()) end
      assert(abort(folder))
      for _ = 1, 3 do assert.equal(503, post()) end
      assert.equal(503, health())
      command.wait("the receiver's word", function() return count "event=not_stored" >= round end)
      command.wait("the worker's word", function()
        return count "billhook: work: store: " >= round
      end)
      assert.equal(503, post())
      assert(repair(folder))
      command.wait("room", function() return post() == 200 end)
      command.wait("health", function() return health() == 200 end)
      command.wait("the worker", function() return count "the inbox answers again" >= round end)
    end

    os.remove(folder .. "/hold")
    local store = assert(inbox.open("sqlite:" .. folder .. "/disk/inbox.db"))
    command.wait("the rules", function()
      local stats = store:stats()
      return stats.pending == 0 and stats.incoming == 0
    end)
    for _, id in ipairs(taken) do assert.equal("done", (store:show(id) or {}).state, id) end
    assert.equal(#taken, #store:deliveries { limit = 1000 })
    assert.equal("ok", store.db:query("PRAGMA integrity_check")[1].integrity_check)
    store:close()
    child:signal "TERM"
    assert.equal(0, child:wait())
    child = nil
  end)
end)

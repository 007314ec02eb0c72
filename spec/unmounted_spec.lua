-- unmounted_spec.lua: the disk or the folder with the inbox is taken from under `billhook serve`,
-- and an empty folder is left in its place. No process of it makes a new inbox there, which would
-- take deliveries until the disk is back, and then hide beneath it.

local billhook = require "billhook"
local command = require "spec.support.command"
local desk = require "spec.support.inbox"
local inbox = require "billhook.inbox"
local process = require "billhook.process"

local wait = command.wait

local RULES = [[
local billhook = require "billhook"
local app = billhook.app { inbox = "sqlite:%s/disk/inbox.db", accounts = {
  school = billhook.dreamclass { webhook = { secret = "123" } } } }
app:on("*", { name = "seen" }, function() end)
return app
]]

local function run(...) return process.wait(assert(process.spawn { ... })) end

local function sh(text) return select(2, run("sh", "-c", text)) == 0 end

-- Each has `take`, which leaves an empty folder, and `give`.
local ways = {
  { "folder is moved", take = function(folder)
    assert(os.rename(folder .. "/disk", folder .. "/away"))
    assert(process.mkdir(folder .. "/disk"))
  end, give = function(folder)
    assert(os.remove(folder .. "/disk")) -- fails where anything is in it
    assert(os.rename(folder .. "/away", folder .. "/disk"))
  end },
  { "disk is unmounted", mounts = true, take = function(folder)
    assert(sh("umount -l " .. folder .. "/disk"))
  end, give = function(folder)
    assert.same({}, process.entries(folder .. "/disk"))
    assert(sh("mount -o loop " .. folder .. "/image " .. folder .. "/disk"))
  end },
}

local function make_disk(folder)
  return process.uid() == 0 and sh("cd " .. folder .. " && truncate -s 16M image "
    .. "&& mkfs.ext4 -q image 2>/dev/null && mount -o loop image disk 2>/dev/null")
end

-- Can a disk be made here?
local function has_disks()
  local folder = command.folder()
  local made = process.mkdir(folder .. "/disk") and make_disk(folder)
  if made then sh("umount -l " .. folder .. "/disk") end
  command.finish()
  return made
end

if not has_disks() then
  table.remove(ways) -- the last one
  io.stderr:write("note: spec/unmounted_spec.lua did not unmount a disk: it needs root, mkfs.ext4 ",
    "and a loop device\n")
end

describe("an inbox whose", function()
  local folder, child, mounted

  after_each(function()
    if child then
      process.kill(child.pid, "TERM")
      child:wait()
    end
    if mounted then sh("umount -l " .. folder .. "/disk 2>/dev/null") end
    child, mounted = nil, nil
    command.finish()
  end)

  for _, way in ipairs(ways) do
    it(way[1] .. " is made anew by no process, and goes on when it is back", function()
      folder = command.folder()
      assert(process.mkdir(folder .. "/disk"))
      if way.mounts then
        mounted = make_disk(folder)
        assert.is_true(mounted)
      end
      local rules = command.write(folder .. "/rules.lua", RULES:format(folder))
      local url
      child, url = command.serve(rules, {}, { TMPDIR = folder })
      local serial, taken = 0, {}
      local function post()
        serial = serial + 1
        local body = ('{"id":"%s","type":"INVOICE_CREATED","tenant":"x","timestamp":1,'
          .. '"data":{"id":%d}}'):format(desk.uuid(serial), serial)
        local headers, signed = billhook.sign("dreamclass", body, { secret = "123" })
        local status = command.http("POST", url .. "/webhooks/school", headers, signed)
        if status == 200 then taken[#taken + 1] = "school:" .. desk.uuid(serial) end
        return status
      end
      local function count(pattern) return select(2, child:errors():gsub(pattern, "")) end
      -- in groups of their own, so not among the descendants of whoever has started them
      local function named(what)
        local found = {}
        for _, pid in ipairs(command.descendants(child.pid)) do
          local line = command.read(("/proc/%d/cmdline"):format(pid)):gsub("%z", " ")
          if line:find(what) then found[#found + 1] = pid end
        end
        return found
      end
      local function refused()
        assert.equal(503, post())
        assert.equal(503, (command.http("GET", url .. "/healthz")))
        assert.same({}, process.entries(folder .. "/disk"))
      end

      for _ = 1, 5 do assert.equal(200, post()) end
      wait("the process that runs the rules", function() return named "%-%-job "[1] end)
      way.take(folder)
      refused()
      wait("work to say so", function() return count "billhook: work: store: " >= 1 end)
      assert.truthy(child:errors():find("the file is gone: put it back", 1, true))

      local job = named "%-%-job "[1]
      process.kill(job, "KILL")
      wait("another job", function() return (named "%-%-job "[1] or job) ~= job end)
      local worker = named "nginx: worker"[1]
      process.kill(worker, "KILL")
      wait("another nginx worker", function()
        return (named "nginx: worker"[1] or worker) ~= worker
      end)
      refused()
      child:signal "HUP"
      wait("the new rules", function() return count "billhook: reloaded" == 1 end)
      refused()
      local said = count "billhook: work: store: "
      wait("the new work to say so", function() return count "billhook: work: store: " > said end)
      refused()

      way.give(folder)
      wait("room", function() return post() == 200 end)
      wait("health", function() return (command.http("GET", url .. "/healthz")) == 200 end)
      local store = assert(inbox.open("sqlite:" .. folder .. "/disk/inbox.db", { create = false }))
      wait("the rules", function()
        local stats = store:stats()
        return stats.pending == 0 and stats.incoming == 0
      end)
      for _, id in ipairs(taken) do assert.is_truthy(store:show(id), id) end
      assert.equal(#taken, #store:deliveries { limit = 1000 })
      store:close()
      child:signal "TERM"
      assert.equal(0, child:wait())
      child = nil
    end)
  end

  it("file was there for others is not made by who is told so", function()
    folder = command.folder()
    local path = folder .. "/inbox.db"
    local store, err = inbox.open("sqlite:" .. path, { create = false })
    assert.is_nil(store)
    assert.equal("INBOX_MOVED", err.code)
    assert.truthy(err.message:find(path .. ": the file is gone: put it back (is its disk mounted?)",
      1, true), err.message)
    assert.is_nil(process.stat(path))
  end)
end)

-- A power cut: what was acknowledged is there afterwards, in whatever state the files are left
-- (spec/support/powerloss.lua says which states are tried). POWERLOSS is the number of images, 20
-- where it is not set; POWERLOSS_SEED repeats a failure; POWERLOSS_SYNCHRONOUS=NORMAL or OFF runs
-- it with less than the inbox asks of SQLite, and so fails.

local inbox = require "billhook.inbox"
local powerloss = require "spec.support.powerloss"
local process = require "billhook.process"

local A_RUN = 20 -- images of one run of the process
local IMAGES = tonumber(os.getenv "POWERLOSS" or 20)
local SEED = tonumber(os.getenv "POWERLOSS_SEED" or os.time() % 1000000)
local SYNCHRONOUS = os.getenv "POWERLOSS_SYNCHRONOUS" or "FULL"

describe("a power cut", function()
  local folder, shim

  setup(function()
    folder = assert(process.mkdtemp "/tmp/billhook-powerloss")
    shim = powerloss.shim(folder)
  end)

  teardown(function() process.remove_tree(folder) end)

  -- What is wrong with an inbox that the cut has left; nil: nothing.
  local function judge(store, image)
    local state = powerloss.state(store.db)
    if state ~= image.last and not image.tried[state] then
      local lost = powerloss.missing(image.last, state)
      return ("neither what was committed nor what was being committed; first of %d lost: %s")
        :format(#lost, tostring(lost[1]))
    end
    local twice = store.db:query("SELECT invoice, version FROM events "
      .. "GROUP BY account, invoice, version HAVING COUNT(*) > 1")
    if #twice > 0 then return "an event twice" end
    -- it goes on: what comes again is known
    local one = powerloss.delivery(image.last:match "deliveries school (d%d+)" or "new", "1")
    local results = assert(store:admit { one, powerloss.delivery("another", "1") })
    local want = one.id == "new" and "new" or "duplicate"
    if results[1] ~= want or results[2] ~= "new" then return "what comes again is not known" end
    local check = store.db:query "PRAGMA integrity_check"[1].integrity_check
    if check ~= "ok" then return check end
  end

  local function look(image)
    local there = assert(process.mkdtemp(folder .. "/image"))
    for name, bytes in pairs(image.files) do
      local file = assert(io.open(there .. "/" .. name, "wb"))
      file:write(bytes)
      file:close()
    end
    local store, why = inbox.open("sqlite:" .. there .. "/a.db")
    local wrong = tostring(why)
    if store then
      store.db:exec "PRAGMA synchronous = OFF" -- this image has seen its power cut
      local _
      _, wrong = pcall(judge, store, image)
      store:close()
    end
    process.remove_tree(there)
    return wrong
  end

  -- What is wrong with n images, a line each; options as of powerloss.record.
  local function wrong_ones(n, seed, options)
    local wrong = {}
    while n > 0 do
      local run = assert(process.mkdtemp(folder .. "/run"))
      options.shim, options.seed = shim, seed
      for image in powerloss.images(powerloss.record(run, options), math.min(n, A_RUN), seed) do
        local what = look(image)
        if what then
          wrong[#wrong + 1] = ("POWERLOSS_SEED=%d, %s: %s"):format(seed, image.cut, what)
        end
      end
      process.remove_tree(run)
      n, seed = n - A_RUN, seed + 1
    end
    return wrong
  end

  it("loses nothing that was acknowledged, doubles nothing, and leaves a sound inbox", function()
    local wrong = wrong_ones(IMAGES, SEED, { synchronous = SYNCHRONOUS })
    assert(#wrong == 0, ("%d of %d images\n%s"):format(#wrong, IMAGES,
      table.concat(wrong, "\n", 1, math.min(#wrong, 10))))
  end)

  for _, fail in ipairs { 3, 20 } do
    it(("loses nothing either where one sync of %d fails, and processes are killed"):format(fail),
      function()
        local n = math.ceil(IMAGES / 2)
        local wrong = wrong_ones(n, SEED, { synchronous = SYNCHRONOUS, fail = fail, lives = 3 })
        assert(#wrong == 0, ("%d of %d images\n%s"):format(#wrong, n,
          table.concat(wrong, "\n", 1, math.min(#wrong, 10))))
      end)
  end

  -- What is wrong after a process, with several outcomes of the sync that has failed.
  local function wrong_after(what, first, plain)
    local wrong, run = {}, assert(process.mkdtemp(folder .. "/run"))
    local records = powerloss.record(run, { shim = shim, seed = first, what = what, fail = 1,
      plain = plain })
    for seed = first, first + 4 do
      wrong[#wrong + 1] = look(powerloss.images(records, 1, seed, true)())
    end
    process.remove_tree(run)
    return table.concat(wrong, "\n")
  end

  -- Chance decides what a power cut takes: it may spare what is wrong, but not time after time.
  local function is_seen(try)
    for n = 0, 9 do
      if try(SEED + 1000 * n) then return true end
    end
    return false
  end

  for _, one in ipairs {
    { "held_up", "in a checkpoint after one that a reader held up" },
    { "not_synced", "in a commit, and the file was opened again" },
  } do
    local what, where = one[1], one[2]
    it("loses nothing that was acknowledged where a sync failed " .. where, function()
      assert.equal("", wrong_after(what, SEED), "POWERLOSS_SEED=" .. SEED)
    end)

    it("would be seen to lose something with SQLite alone where it failed " .. where, function()
      assert.is_true(is_seen(function(seed) return wrong_after(what, seed, true) ~= "" end),
        "POWERLOSS_SEED=" .. SEED)
    end)
  end

  for _, less in ipairs { "NORMAL", "OFF" } do
    it("would be seen to lose what is committed with synchronous = " .. less, function()
      assert.is_true(is_seen(function(seed)
        return #wrong_ones(A_RUN, seed, { synchronous = less }) > 0
      end), "POWERLOSS_SEED=" .. SEED)
    end)
  end
end)

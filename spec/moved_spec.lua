-- moved_spec.lua: an SQLite file that is moved, removed, replaced or cut off under processes that
-- store into it, each with several connections: what was answered with success is in one of the
-- files, each file is sound, and what cannot be stored is not answered with success.

local inbox = require "billhook.inbox"
local process = require "billhook.process"
local sqlite = require "billhook.sqlite"

local lua = rawget(_G, "jit") and "luajit" or "lua5.4"
local folder, path, writers

-- how many deliveries each of them has stored before and after; BILLHOOK_MOVED is another number
local MANY = tonumber(os.getenv "BILLHOOK_MOVED" or 12)
local SOME = math.ceil(MANY / 3)

local PRELUDE = [[
function event(id)
  return { account = "school", id = id, vendor = "dreamclass", type = "invoice.updated",
    native = "INVOICE_UPDATED", invoice = id, live = true, trust = "id", body = ("x"):rep(600) }
end
]]
local event = assert((loadstring or load)(PRELUDE .. "return event"))() -- luacheck: ignore 143

-- Stores an event after the other, on three connections in turn, one of which is seldom used, and
-- says what has become of each; ends when it is told to. Pauses between two of them, unless many
-- are wanted.
local WRITER = PRELUDE .. [[
local process = require "billhook.process"
local function quiet(level, name) print(level, name) end
local stores, n = {}, 0
for i = 1, 3 do stores[i] = assert(require("billhook.inbox").open(url, { log = quiet })) end
while not io.open(stop) do
  n = n + 1
  local id = ("%s-%d"):format(name, n)
  local store = n % 15 == 0 and stores[3] or stores[n % 2 + 1]
  local results, err = store:admit { event(id) }
  print(results and "stored" or "refused", id, results and "" or tostring(err))
  if n % 10 == 0 then store:deliveries { limit = 1 } end
  io.stdout:flush()
  process.sleep(results and pause or 0.01)
end
for i = 1, 3 do stores[i]:close() end
]]

local function read(name)
  local file = io.open(name)
  if not file then return "" end
  local text = file:read "*a"
  file:close()
  return text
end

local function exists(name) return sqlite.look(name).file ~= nil end

local function eventually(what, check)
  local deadline, pause = process.monotonic() + 60, 0.005
  repeat
    local value = check()
    if value then return value end
    process.sleep(pause)
    pause = math.min(pause * 1.2, 0.05)
  until process.monotonic() > deadline
  local said = {}
  for _, one in ipairs(writers) do said[#said + 1] = read(one.output):sub(-600) end
  error("waited in vain for " .. what .. "\n" .. table.concat(said, "\n"), 2)
end

local function start(name, text)
  local one = { name = name, output = ("%s/out.%s"):format(folder, name) }
  local globals = ("package.path, package.cpath, url, name, stop, pause = %q, %q, %q, %q, %q, %g\n")
    :format(package.path, package.cpath, "sqlite:" .. path, name, folder .. "/stop",
      MANY > 20 and 0 or 0.002)
  one.pid = assert(process.spawn({ lua, "-e", globals .. (text or WRITER) },
    { stdout = one.output, stderr = one.output, die = "KILL" }))
  writers[#writers + 1] = one
  return one
end

-- How many of all its deliveries it has told of, and how many with this word.
local function told(one, word)
  local _, n = read(one.output):gsub((word or "%l+") .. "%s+%w+%-%d+", "")
  return n
end

-- Until each of them has told of so many more.
local function more(n, word)
  local before = {}
  for i, one in ipairs(writers) do before[i] = told(one, word) end
  for i, one in ipairs(writers) do
    eventually(("%s to have %d more"):format(one.name, n), function()
      return told(one, word) >= before[i] + n
    end)
  end
end

local function stored()
  local ids = {}
  for _, one in ipairs(writers) do
    for id in read(one.output):gmatch "stored%s+(%w+%-%d+)" do ids[id] = true end
  end
  return ids
end

local function stop(how)
  if how == "kill" then
    for _, one in ipairs(writers) do process.kill(one.pid, "KILL") end
  else
    assert(io.open(folder .. "/stop", "w")):close()
  end
  for _, one in ipairs(writers) do
    if not one.code then
      eventually("the end of " .. one.name, function() return process.wait(one.pid, "look") end)
      local _, code = process.wait(one.pid)
      one.code = code
      if how ~= "kill" then assert.are.equal(0, code, read(one.output)) end
    end
  end
end

-- Adds the ids of what is in a file to `found`; a file must be sound.
local function look_into(file, found)
  local db = assert(sqlite.open(file, { create = false }))
  local rows = assert(db:query "PRAGMA integrity_check")
  assert.are.equal("ok", rows[1].integrity_check, file)
  for _, row in ipairs(assert(db:query "SELECT id FROM deliveries")) do found[row.id] = true end
  db:close()
end

local function all_found(found, ids, except)
  local lost = {}
  for id in pairs(ids) do
    if not found[id] and not (except and except[id]) then lost[#lost + 1] = id end
  end
  table.sort(lost)
  assert.are.equal("", table.concat(lost, " "))
end

local function rename(from, to) assert(os.rename(folder .. "/" .. from, folder .. "/" .. to)) end
local function remove(name) assert(os.remove(folder .. "/" .. name)) end

local function backup()
  local db = assert(sqlite.open(path, { busy_timeout = 10000 }))
  assert(db:exec(("VACUUM INTO '%s/backup.db'"):format(folder)))
  db:close()
end

-- name, what is done, whether it takes away what was stored before, how an operator mends it; then,
-- where all is gone, somebody who comes anew makes a new one
local ways = {
  { "moved", function() rename("a.db", "away.db") end,
    mend = function() rename("away.db", "a.db") end },
  { "moved, and a new one is wanted", function() rename("a.db", "away.db") end, gone = true,
    mend = function() remove "a.db-wal" remove "a.db-shm" end },
  { "moved with all that belongs to it", function()
    for _, ending in ipairs { "", "-wal", "-shm" } do
      rename("a.db" .. ending, "away.db" .. ending)
    end
  end, gone = true },
  { "removed", function() remove "a.db" end, takes = true, gone = true,
    mend = function() remove "a.db-wal" remove "a.db-shm" end },
  { "removed with all that belongs to it", function()
    for _, ending in ipairs { "", "-wal", "-shm" } do remove("a.db" .. ending) end
  end, takes = true, gone = true },
  { "deprived of its log", function() remove "a.db-wal" end, log = true, open = true },
  { "deprived of its log's index", function() remove "a.db-shm" end, open = true },
  { "deprived of both", function() remove "a.db-wal" remove "a.db-shm" end, log = true,
    open = true },
  { "replaced by a copy of before", function() rename("backup.db", "a.db") end, backup = true,
    takes = true, foreign = true },
  { "replaced, and kept under another name", function()
    assert(process.wait(assert(process.spawn { "ln", path, folder .. "/away.db" })))
    rename("backup.db", "a.db")
  end, backup = true, foreign = true },
}

-- What is left is looked into as somebody does who knows SQLite: the log goes where its file went.
local function everything()
  local found = {}
  if exists(path) then look_into(path, found) end
  if exists(folder .. "/away.db") then look_into(folder .. "/away.db", found) end
  return found
end

describe("an inbox file", function()
  before_each(function()
    folder = assert(process.mkdtemp "/tmp/billhook-moved")
    path = folder .. "/a.db"
    writers = {}
  end)

  after_each(function()
    for _, one in ipairs(writers) do
      if not one.code then
        process.kill(one.pid, "KILL")
        process.wait(one.pid)
      end
    end
    process.remove_tree(folder)
  end)

  for _, way in ipairs(ways) do
    local name, act = way[1], way[2]

    local function lose()
      start "a"
      start "b"
      more(MANY)
      if way.backup then backup() more(SOME) end
      local before = stored()
      act()
      return before
    end

    -- what was told between the two looks may have been stored before
    local function taken() return way.takes and stored() or nil end

    for _, how in ipairs { "stopped", "killed" } do
      it(("that was %s loses nothing that is answered with success, %s later"):format(name, how),
        function()
          lose()
          more(1)
          local except = taken()
          more(MANY)
          stop(how == "killed" and "kill" or nil)
          all_found(everything(), stored(), except)
        end)
    end

    it(("that was %s takes what comes once it is sound again, without a start"):format(name),
      function()
        lose()
        more(MANY)
        if way.mend then way.mend() end
        if way.gone then
          more(SOME, "refused")
          assert.is_false(exists(path))
          start "c"
        end
        local except = taken()
        more(MANY, "stored")
        if not way.open then -- another process finds what they store, and they what it does
          start "d"
          more(SOME, "stored")
        end
        stop()
        all_found(everything(), stored(), except)
      end)

    if not way.log then -- who is killed before he looks has lost a log that nobody else has
      it(("that was %s is sound after all are killed at once #both"):format(name), function()
        lose()
        if way.takes then more(1) end -- what was stored before has been told by then
        local except = taken()
        stop "kill"
        local store, err = inbox.open("sqlite:" .. path)
        if store then
          assert(store:admit { event "later-1" })
          store:close()
        else
          assert.are.equal("INBOX_MOVED", err.code)
          if way.foreign then
            -- the log is for a file that has another name now, or none
            if exists(folder .. "/away.db") then
              rename("a.db-wal", "away.db-wal")
            else
              remove "a.db-wal"
            end
            remove "a.db-shm"
          elseif exists(folder .. "/away.db") then
            rename("a.db-wal", "away.db-wal")
          end
        end
        all_found(everything(), stored(), except)
      end)
    end
  end
end)

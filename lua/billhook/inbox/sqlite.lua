-- inbox/sqlite.lua: the SQLite dialect of sql.lua: a file, or ":memory:".
--
-- WAL with synchronous=FULL: what was committed survives a power cut. The file
-- is made with mode 0600. The id in /proc shows that a worker process on this
-- machine has died, so its leases can be ended at once.
--
-- SQLite finds the log and its index by the file's name. If one of the three files is moved or
-- replaced, SQLite could lose later commits, or destroy the data in the file. So:
--   * A writer checks that all three are in their places when it has the write lock, and again
--     after the commit, before it reports success.
--   * If they are not, the content of the log is written into its own file (rescue), wherever that
--     file is now, under the locks of all processes that have it open. After that no process writes
--     to this log, not even one that has not noticed the move. Then the file at the path is opened,
--     if it is sound.
--   * A new file is made only if there is no log or index for it either. If one exists, the
--     database file is missing: an empty inbox in its place would repeat finished work, and SQLite
--     would delete the log. That is an error until somebody restores the file or removes these.
--   * Whoever has had the file open never makes a new one, nor does a process that is started for
--     one that has (`create`): if its disk was unmounted, a file in the empty folder would take
--     deliveries until the disk is back, and then hide beneath it.
--   * A log that was written for another file is never read into this one.
--
-- After a failed fsync the kernel forgets what it could not write, and the next fsync succeeds.
-- src/durable.h says what SQLite would lose by that in a power cut, and how it is kept from it. A
-- commit whose fsync fails is reported as failed. It may turn out to be stored nevertheless, like
-- one whose process was killed.

local core = require "billhook.core"
local logs = require "billhook.log"
local owner = require "billhook.inbox.owner"
local sql = require "billhook.inbox.sql"
local sqlite = require "billhook.sqlite"

local M = {}

-- DreamClass gives up after 10 s; a commit that must wait longer is answered with 503
local BUSY_TIMEOUT = 5000

local TYPES = {
  SERIAL_KEY = "INTEGER PRIMARY KEY",
  BIGINT = "INTEGER",
  WITHOUT_ROWID = "WITHOUT ROWID",
  BYTES = "TEXT",
}

-- after these the connection is of no more use: a new one may find a repaired file
local BROKEN = {
  SQLITE_CANTOPEN = true, SQLITE_CORRUPT = true, SQLITE_IOERR = true, SQLITE_MISUSE = true,
  SQLITE_NOTADB = true, SQLITE_READONLY = true,
}

local Dialect = {
  name = "sqlite",
  begin = "BEGIN IMMEDIATE",
  full = "SQLITE_FULL",
  now = "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) AS now, "
    .. "(SELECT value FROM meta WHERE name = 'clock') AS noted",
}
Dialect.__index = Dialect

function Dialect.spell(text)
  return (text:gsub("[A-Z_]+", TYPES))
end

-- There is one writer at a time: no row has to be locked.
function Dialect.locking(text) return text end

local NUMBER = [[
INSERT INTO meta (name, value) VALUES ('number', CAST($1 + 1 AS TEXT)) ON CONFLICT (name) DO UPDATE
SET value = CAST(MAX(CAST(meta.value AS BIGINT), $2) + 1 AS TEXT) RETURNING value]]

function Dialect:number(query, above) -- luacheck: ignore 212/self
  return tonumber(query(NUMBER, above or 0, above or 0)[1].value)
end

function Dialect.broken(code)
  return BROKEN[code] or BROKEN[code:match("^SQLITE_[A-Z]+")] or false
end

-- What is broken gets no worse: the log stays as it is, for who repairs the file.
function Dialect.leave(db) db:keep_log() end

-- where it may be a question of permissions
local PERSONAL = { SQLITE_CANTOPEN = true, SQLITE_READONLY = true, SQLITE_PERM = true,
  SQLITE_AUTH = true, SQLITE_IOERR = true }

function Dialect:place(code)
  if code == "INBOX_MOVED" then return self.path end
  local family = code:match "^SQLITE_[A-Z]+"
  if self.volatile or not family then return nil end
  local user = PERSONAL[family] and owner.user()
  return user and ("%s (as %s)"):format(self.path, user) or self.path
end

-- wal_autocheckpoint: at 16 MB of pages the log goes into the file. Pages that many commits change
-- go once; the commit in which it happens takes longer.
-- journal_size_limit: where a reader kept it from that for long, it is cut once the reader is gone
-- secure_delete: what a purge deletes is overwritten
local SETTINGS = "PRAGMA synchronous = FULL; PRAGMA cache_size = -16000; "
  .. "PRAGMA wal_autocheckpoint = 4000; "
  .. "PRAGMA journal_size_limit = 33554432; PRAGMA secure_delete = ON; PRAGMA foreign_keys = OFF"

local MOVED = "the file, or its -wal or -shm, was renamed, replaced or deleted while it was open"

local REPEAT = 60 -- seconds between two lines about it
local LOCK_WAIT = 2000 -- ms for others who change what is where
local PROBE_WAIT = 200 -- ms for those who have the file open without a log in its place
local TURN_WAIT = 3000 -- ms for another thread's connection: serve's start asks for 5 s

-- where nothing can be stored until a person has done something
local function misplaced(text, ...)
  return nil, "INBOX_MOVED", text:format(...)
end

local MISSING = "the file is missing, but its -wal or -shm is there: put the file back, or, to "
  .. "begin a new one, move these away too"
local GONE = "the file is gone: put it back (is its disk mounted?), or, to begin a new one, stop "
  .. "billhook and start it again"
local FOREIGN = "this is another file than the one that the -wal beside it was written for: put "
  .. "that one back, or, to use this one, move its -wal and -shm away"
local EMPTY = "the file is empty, but its -wal is not: put the file back, or, to begin a new one, "
  .. "move these away too"
local IN_USE = "its -wal or -shm was removed while others have the file open: start them again"
local UNTIL_RESTART = "others have it open too; start all of them again soon"
local REOPENED = "opened again"
local CUT = "the file was cut off or overwritten while it was open: stop billhook, and put a copy "
  .. "in its place, without its -wal and -shm"
local SYNC_FAILED = "the disk failed to keep what was written into the file (fsync): all of it is "
  .. "in the -wal still, and is written once more; look after the disk"
local UNSAVED = MOVED .. "; what was stored last cannot be written into it: %s (%s)"

local function is_missing(place) return not place.file and (place.log or place.index) end

local function tell(self, event, message)
  local now, told = core.text.monotonic(), self.told
  if told[event] and now < told[event] + REPEAT then return end
  told[event] = now
  self.log("error", event, { inbox = self.path, message = message })
end

---Has the connection lost sight of its file? nil, code, message: so it has, and it must be kept,
---since there is something to be saved, or nothing to go on with.
function Dialect:adrift(db)
  local what = db:moved() -- never, of one in memory
  if what == "size" then
    self.cut = {}
    return true
  end
  if not (what or self.away) then
    self.through = nil
    return false
  end
  local lock = sqlite.lock(self.path, LOCK_WAIT)
  local place = sqlite.look(self.path)
  -- The log or its index has lost its name, and the file is where it was. A process cannot open the
  -- file with others while any of its connections has the old ones. So who is not alone goes on
  -- with these, and what he commits goes into the file before anybody is told of it.
  local shared = (what == "log" or what == "index") and not db:alone()
  local saved, code, message = db[shared and "checkpoint" or "rescue"](db)
  lock:release()
  self.away = what == "file" -- else it is back; what others remember of it is read anew, as is ours
  if not saved then
    self.away = self.away or not what
    return misplaced(UNSAVED, message, code)
  end
  if shared and not self.through then tell(self, "inbox_moved", MOVED .. ": " .. UNTIL_RESTART) end
  self.through = shared and what or nil
  if shared or not what then return false end
  if is_missing(place) then return misplaced(MISSING) end
  if place.file then tell(self, "inbox_moved", MOVED .. ": " .. REOPENED) end
  return true
end

-- What was committed where nobody sees it is done once more. The commit itself is in the log and
-- synced where the log could not be written into the file.
function Dialect:kept(db, committed)
  if committed and db:sync_failed() then tell(self, "inbox_sync_failed", SYNC_FAILED) end
  local what = db:moved()
  if not what then return true end
  if what ~= self.through then return false, "SQLITE_MOVED", MOVED end
  if not committed then return true end
  local saved, code, message = db:checkpoint()
  if saved then return true end
  return misplaced(UNSAVED, message, code)
end

function Dialect.again(code) return code == "SQLITE_MOVED" end

function Dialect.ended() return false end

---Writes the log into the file and cuts it, where nobody is at work in it: after a purge, so that
---nothing of it stands there any longer; and where the disk is full, to have its room.
function Dialect.tidy(_, db) db:cut_log() end

---Bytes of the log beside the file.
function Dialect:log_bytes()
  local file = io.open(self.path .. "-wal", "rb")
  local size = file and file:seek "end" or 0
  if file then file:close() end
  return size
end

-- Where two processes make the same file, the change to WAL does not wait for a lock by itself, so
-- it waits in an empty transaction.
local function to_wal(db)
  local rows, code, message
  for _ = 1, 10 do
    rows, code, message = db:query "PRAGMA journal_mode = WAL"
    if rows or not code:find "^SQLITE_BUSY" then break end
    if db:exec "BEGIN IMMEDIATE" then db:exec "ROLLBACK" end
  end
  return rows, code, message
end

-- May what is at the path be opened, as far as can be seen from outside?
local function sound(path, create)
  local place = sqlite.look(path)
  if is_missing(place) then return misplaced(MISSING) end
  if place.size == 0 and (place.log_size or 0) > 0 then return misplaced(EMPTY) end
  if place.file and place.of and place.of ~= place.file then
    if place.log_size > 0 then return misplaced(FOREIGN) end
    sqlite.remove_log(path) -- empty: all that was in it is in its own file
  end
  if not place.file and not create then return misplaced(GONE) end
  if not place.file then sqlite.make(path) end
  return sqlite.look(path)
end

-- Has anybody the file open, with a log or index that has lost its name? They have a lock on the
-- file itself. What else is wrong with it will be seen.
local function in_use(path)
  local db = sqlite.open(path, { busy_timeout = PROBE_WAIT, create = false })
  if not db then return false end
  db:keep_log()
  local ok, code = db:exec "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; ROLLBACK"
  db:close()
  return not ok and code:find "^SQLITE_BUSY" ~= nil
end

local function open_file(self)
  local place, code, message = sound(self.path, self.create)
  if not place then return nil, code, message end
  if not (place.log and place.index) and in_use(self.path) then return misplaced(IN_USE) end
  local db, ok
  db, code, message = sqlite.open(self.path, { busy_timeout = self.busy_timeout, create = false })
  if not db then return nil, code, message end
  ok, code, message = db:exec(SETTINGS)
  if ok and sqlite.look(self.path).file ~= place.file then
    ok, code, message = misplaced(MOVED)
  end
  if ok then ok, code, message = to_wal(db) end
  if ok then ok, code, message = db:query "SELECT COUNT(*) FROM sqlite_master" end -- opens the log
  if ok then ok, code, message = db:note() end
  if ok then return db end
  db:keep_log()
  db:close()
  return nil, code, message
end

-- After something was cut off. That takes as long as the file is large, so not for every delivery.
local function whole(self, db)
  local cut = self.cut
  if cut.message and core.text.monotonic() < cut.at + REPEAT then return misplaced(cut.message) end
  local rows, code, message = db:query "PRAGMA quick_check(1)"
  if not rows then return nil, code, message end
  if rows[1].quick_check == "ok" then return true end
  cut.at, cut.message = core.text.monotonic(), CUT
  return misplaced(CUT)
end

-- Threads of one process go on with the same few connections: none of them has to open the file
-- while another has it open without its log.
function Dialect:take()
  local db = sqlite.take(self.path)
  if db then self.create = false end
  return db
end

function Dialect.park(db) return db:park() end

-- Where only who has it open can go on with it, a thread waits for the connection of another one
-- of its process; in_use has waited for PROBE_WAIT each time.
local function open_in_turn(self)
  local deadline = core.text.monotonic() + TURN_WAIT / 1000
  local db, code, message
  repeat
    local lock = sqlite.lock(self.path, LOCK_WAIT)
    db, code, message = open_file(self)
    lock:release()
    if message ~= IN_USE or not self.turns then break end
    db = self:take()
  until db or core.text.monotonic() > deadline
  return db, code, message
end

function Dialect:connect()
  if self.volatile then return sqlite.open(self.path) end
  local db, code, message = open_in_turn(self)
  local ok = db ~= nil
  if db and self.cut then ok, code, message = whole(self, db) end
  if ok then
    self.away, self.through, self.cut, self.create = nil, nil, nil, false
    return db
  end
  if db then
    db:keep_log()
    db:close()
  end
  return nil, code, message
end

function Dialect.alone_in(db) return db:alone() end

-- Only processes of this machine can open the file, so all owners can be looked at.
function Dialect.departed(name) return owner.departed(name) end

---@param path string
---@param options { busy_timeout?: number, clock?: function, log?: function, create?: boolean,
---  turns?: boolean }
---@return table|nil store, table|nil err
function M.open(path, options)
  return sql.open(setmetatable({
    path = path,
    turns = options.turns,
    told = {}, -- when, by event
    log = options.log or logs.default,
    volatile = path == ":memory:",
    create = options.create ~= false, -- may a new file be made?
    busy_timeout = options.busy_timeout or BUSY_TIMEOUT,
  }, Dialect), options)
end

return M

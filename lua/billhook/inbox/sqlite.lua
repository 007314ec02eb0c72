-- inbox/sqlite.lua: the SQLite dialect of sql.lua: a file, or ":memory:".
--
-- WAL with synchronous=FULL: what was committed survives a power cut. The file
-- is made with mode 0600. A worker process that died on this machine is found
-- out by its id in /proc, so its lanes are free at once.

local chunks = require "billhook.inbox.chunks"
local owner = require "billhook.inbox.owner"
local sql = require "billhook.inbox.sql"
local sqlite = require "billhook.sqlite"

local M = {}

-- DreamClass gives up after 10 s; a commit that must wait longer is answered with 503
local BUSY_TIMEOUT = 5000

local TYPES = {
  SERIAL_KEY = "INTEGER PRIMARY KEY",
  BIGINT_KEY = "INTEGER PRIMARY KEY",
  BIGINT = "INTEGER",
  WITHOUT_ROWID = "WITHOUT ROWID",
  BYTES = "TEXT",
}

-- after these the connection is of no more use: a new one may find a repaired file
local BROKEN = {
  SQLITE_CANTOPEN = true, SQLITE_CORRUPT = true, SQLITE_IOERR = true, SQLITE_MISUSE = true,
  SQLITE_MOVED = true, SQLITE_NOTADB = true, SQLITE_READONLY = true,
}

local Dialect = {
  name = "sqlite",
  begin = "BEGIN IMMEDIATE",
  shard = "0",
  ahead = chunks.admit,
  now = "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) AS now, "
    .. "(SELECT value FROM meta WHERE name = 'clock') AS noted",
}
Dialect.__index = Dialect

function Dialect.spell(text)
  return (text:gsub("[A-Z_]+", TYPES))
end

-- Also beyond what is left of an event that somebody has deleted, or that was restored without its
-- row: its steps must not be taken for another's.
local LAST = (function()
  local tables = {}
  for i, name in ipairs { "events", "bodies", "evidence", "marks", "steps" } do
    tables[i] = "COALESCE((SELECT MAX(seq) FROM " .. name .. "), 0)"
  end
  return "SELECT MAX(" .. table.concat(tables, ", ")
    .. ", COALESCE((SELECT MAX(lane) FROM lanes), 0), "
    .. "-COALESCE((SELECT MIN(lane) FROM lanes), 0)) AS last"
end)()

-- There is one writer at a time: nobody else takes a number, and no row has to be locked.
function Dialect.numbers(query)
  local last
  return function()
    last = (last or query(LAST)[1].last) + 1
    return last
  end
end

function Dialect.locking(text) return text end

function Dialect.hold() end

local TOKEN = [[
INSERT INTO meta (name, value) VALUES ('token', '1') ON CONFLICT (name) DO UPDATE
SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT) RETURNING value]]

function Dialect.token(query) return tonumber(query(TOKEN)[1].value) end

function Dialect.broken(code)
  return BROKEN[code] or BROKEN[code:match("^SQLITE_[A-Z]+")] or false
end

-- where it may be a question of permissions
local PERSONAL = { SQLITE_CANTOPEN = true, SQLITE_READONLY = true, SQLITE_PERM = true,
  SQLITE_AUTH = true, SQLITE_IOERR = true }

function Dialect:place(code)
  local family = code:match "^SQLITE_[A-Z]+"
  if self.volatile or not family then return nil end
  local user = PERSONAL[family] and owner.user()
  return user and ("%s (as %s)"):format(self.path, user) or self.path
end

-- wal_autocheckpoint: at 16 MB of pages the log goes into the file. Pages that many commits change
-- go once; the commit in which it happens takes longer.
-- secure_delete: what a purge deletes is overwritten, where that costs no further page
local SETTINGS = "PRAGMA synchronous = FULL; PRAGMA cache_size = -16000; "
  .. "PRAGMA wal_autocheckpoint = 4000; "
  .. "PRAGMA secure_delete = FAST; PRAGMA foreign_keys = OFF"

local MOVED = "the file, or its -wal or -shm, was renamed, replaced or deleted while it was open"

-- Then it takes what is written to it, and nobody else ever sees it. What stands in a log that has
-- lost its name goes into the file, where that is still possible.
function Dialect:adrift(db)
  if not db:moved() then return false end
  db:query "PRAGMA wal_checkpoint(PASSIVE)"
  self.log("error", "inbox_moved", { inbox = self.path, message = MOVED .. ": opened again" })
  return true
end

-- What was committed where nobody sees it is done once more.
function Dialect:kept(db)
  if self.volatile or not self:adrift(db) then return true end
  return false, "SQLITE_MOVED", MOVED
end

function Dialect.again(code) return code == "SQLITE_MOVED" end

-- Two processes that make the same file: the change to WAL does not wait for a lock by itself, so
-- it waits in an empty transaction.
local function to_wal(db)
  local code, message
  for _ = 1, 10 do
    local rows
    rows, code, message = db:query("PRAGMA journal_mode = WAL")
    if rows then return true end
    if not code:find("^SQLITE_BUSY") then break end
    if db:exec("BEGIN IMMEDIATE") then db:exec("ROLLBACK") end
  end
  return nil, code, message
end

function Dialect:connect()
  local db, code, message = sqlite.open(self.path, { busy_timeout = self.busy_timeout })
  if not db then return nil, code, message end
  local ok
  ok, code, message = db:exec(SETTINGS)
  if ok and self.path ~= ":memory:" then ok, code, message = to_wal(db) end
  if ok then
    db:gather()
    db:moved() -- which notes what is beside it
    return db
  end
  db:close()
  return nil, code, message
end

-- Only processes of this machine can open the file, so all owners can be looked at.
function Dialect.departed(name)
  return not owner.alive(name)
end

---@param path string
---@param options { busy_timeout?: number, clock?: function, log?: function }
---@return table|nil store, table|nil err
function M.open(path, options)
  return sql.open(setmetatable({
    path = path,
    log = options.log or require("billhook.log").default,
    volatile = path == ":memory:",
    busy_timeout = options.busy_timeout or BUSY_TIMEOUT,
  }, Dialect), options)
end

return M

-- inbox/postgresql.lua: the PostgreSQL dialect of sql.lua, for more than one machine.
--
--   postgresql://user@host:5432/db        postgresql:///db?host=/run/postgresql
--
-- What libpq reads in a URL works, where nothing can be misread (url.lua); sslmode=verify-full
-- belongs to every host that is not this one, and the password rather into ~/.pgpass or PGPASSWORD.
-- The tables are made in a schema "billhook", by whoever connects first and may do so. Not behind a
-- pooler that gives each transaction another connection: statements are prepared once.
--
-- synchronous_commit is never off, so what was committed survives a crash. The clock is the
-- server's. Locks are taken in one order everywhere, lanes by account and name before events by
-- id, so that transactions do not wait for each other in a circle; where they do all the same
-- (a clock that jumped, a replay), PostgreSQL ends one of them and sql.lua runs it once more.

local bulk = require "billhook.inbox.bulk"
local owner = require "billhook.inbox.owner"
local pq = require "billhook.pq"
local sql = require "billhook.inbox.sql"
local urls = require "billhook.inbox.url"

local M = {}

-- DreamClass gives up after 10 s; a commit that must wait longer is answered with 503
local LOCK_TIMEOUT = 5000
local STATEMENT_TIMEOUT = 30000

local TYPES = {
  SERIAL_KEY = "BIGINT PRIMARY KEY",
  BIGINT_KEY = "BIGINT PRIMARY KEY",
  WITHOUT_ROWID = "",
  BYTES = "BYTEA",
  -- in the order of the bytes: quicker, and the same on every machine
  TEXT = 'TEXT COLLATE "C"',
}

-- Numbers of events and lanes. Not the key's default: an event must take its number while it has
-- its lane locked, or a lane's events could come to light in another order than their numbers'.
local NUMBERS = "CREATE SEQUENCE numbers;\n"

-- after these the connection is of no more use, as is one that has ended
local BROKEN = {
  PG_READ_ONLY = true, -- the server has become a replica: look for the other one
  PG_INVALID_STATEMENT_NAME = true, PG_FEATURE_NOT_SUPPORTED = true, -- prepared anew they may work
  PG_DATA_CORRUPTED = true, PG_INDEX_CORRUPTED = true, PG_IO_ERROR = true,
}

-- a restart, a failover, somebody's pg_terminate_backend
local ENDED = { PG_CONNECTION = true, PG_ADMIN_SHUTDOWN = true, PG_CRASH_SHUTDOWN = true }

local AGAIN = { PG_DEADLOCK_DETECTED = true, PG_SERIALIZATION_FAILURE = true, CROSSED = true }

-- what has the number already may be of a transaction that was not through yet
local REUSED = { NUMBERS = true, PG_UNIQUE_VIOLATION = true }

local LOCKS = { share = " FOR SHARE", skip = " FOR UPDATE SKIP LOCKED" }

local Dialect = {
  name = "postgresql",
  begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
  shard = "pg_backend_pid() % 16",
  -- one statement: a time that was noted by then is in the past
  now = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) AS now, "
    .. "(SELECT value FROM meta WHERE name = 'clock') AS noted",
  -- one process at a time makes the tables: "billhook" as a number
  alone = "SELECT pg_advisory_xact_lock(x'62696c6c686f6f6b'::bigint)",
  ahead = bulk.admit,
}
Dialect.__index = Dialect

function Dialect.spell(text, version)
  return (text:gsub("[A-Z_]+", TYPES)) .. (version == 1 and NUMBERS or "")
end

function Dialect.locking(text, how)
  return text .. (LOCKS[how] or " FOR UPDATE")
end

-- Several lanes, which would else be locked one after the other, in any order.
function Dialect.hold(query, lanes)
  query("SELECT lane FROM lanes WHERE lane = ANY ($1) ORDER BY account, name FOR UPDATE", lanes)
end

-- What is there was numbered before, so a number that is no higher was given out twice.
local NUMBER = "SELECT nextval('numbers') AS number, (SELECT max(seq) FROM events) AS last"

function Dialect.numbers(query)
  return function()
    local row = query(NUMBER)[1]
    if row.number <= (row.last or 0) then bulk.reused() end
    return row.number
  end
end

function Dialect.token(query) return Dialect.numbers(query)() end

function Dialect.reused(code) return REUSED[code] or false end

-- Whoever may only draw numbers draws them all. A thousand more than what is there: others may have
-- drawn some in between.
local FORWARD = [[
SELECT CASE WHEN has_sequence_privilege('numbers', 'UPDATE') THEN setval('numbers', top + 1000)
  ELSE (SELECT max(nextval('numbers')) FROM generate_series(last, top)) END
FROM (SELECT COALESCE(pg_sequence_last_value('numbers'::regclass), 0) AS last, GREATEST(0,
  (SELECT max(seq) FROM events), (SELECT max(seq) FROM bodies), (SELECT max(seq) FROM evidence),
  (SELECT max(seq) FROM marks), (SELECT max(seq) FROM steps), (SELECT max(lane) FROM lanes),
  -(SELECT min(lane) FROM lanes), (SELECT max(token) FROM lanes WHERE owner IS NOT NULL)) AS top
) AS known WHERE last < top]]

function Dialect.forward(query) query(FORWARD) end

function Dialect.broken(code) return BROKEN[code] or false end

function Dialect.again(code) return AGAIN[code] or false end

function Dialect.ended(code) return ENDED[code] or false end

function Dialect.adrift(_, db) return db:lost() end

-- Only of a process of this very machine can be said that it is gone.
function Dialect.departed(name)
  local here = owner.name():match("^[^/]+/%d+/")
  return here ~= nil and name:sub(1, #here) == here and not owner.alive(name)
end

-- Are the tables there as they should be? Then nothing more is asked for, nor needs to be allowed.
function Dialect.current(query, version)
  if not query("SELECT to_regclass('meta') AS meta")[1].meta then return false end
  local row = query("SELECT value FROM meta WHERE name = 'version'")[1]
  return row ~= nil and row.value == tostring(version)
end

-- A statement is planned once. The plan may be from when the tables were small, so plans that read
-- whole tables are out of the question from the start. (A setting that the server does not know
-- yet is left out.)
local SETTINGS = [[
SELECT set_config(given.name, given.value, false) FROM (VALUES
  ('search_path', 'billhook'), ('lock_timeout', $1::text), ('statement_timeout', $2::text),
  ('idle_in_transaction_session_timeout', $2::text), ('enable_seqscan', 'off'),
  ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'), ('jit', 'off'),
  ('plan_cache_mode', 'force_generic_plan'),
  ('bytea_output', 'hex'), ('standard_conforming_strings', 'on'),
  ('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
    ELSE current_setting('synchronous_commit') END)) AS given (name, value)
JOIN pg_settings ON pg_settings.name = given.name]]

-- Every step gives true, or nil, code, message.
local function prepare(db, lock_timeout)
  local rows, code, message = db:query("SELECT current_setting('server_encoding') AS encoding, "
    .. "to_regnamespace('billhook') AS schema")
  if not rows then return nil, code, message end
  local encoding = rows[1].encoding
  if encoding ~= "UTF8" and encoding ~= "SQL_ASCII" then
    return nil, "PG_ENCODING",
      ("the database has the encoding %s: it must be UTF8"):format(encoding)
  end
  if not rows[1].schema then
    rows, code, message = db:query("CREATE SCHEMA IF NOT EXISTS billhook")
    -- another process may have been quicker
    if not rows and code ~= "PG_UNIQUE_VIOLATION" then return nil, code, message end
  end
  rows, code, message = db:query(SETTINGS, tostring(lock_timeout), tostring(STATEMENT_TIMEOUT))
  if not rows then return nil, code, message end
  return true
end

function Dialect:connect()
  -- the server ends what takes too long; where it cannot even do that, we do
  local db, code, message = pq.open(self.url, { timeout = STATEMENT_TIMEOUT + 2000 })
  if not db then return nil, code, urls.blot(message, self.url) end
  local ok
  ok, code, message = prepare(db, self.lock_timeout)
  if ok then return db end
  db:close()
  return nil, code, message
end

---@param rest string what stands behind "postgresql:"
---@param options { busy_timeout?: number, clock?: function } busy_timeout: ms for a lock
---@return table|nil store, table|nil err
function M.open(rest, options)
  return sql.open(setmetatable({
    url = "postgresql:" .. rest,
    lock_timeout = options.busy_timeout or LOCK_TIMEOUT,
  }, Dialect), options)
end

return M

-- inbox/sql.lua: an inbox in an SQL database: connection and transactions.
-- admit.lua, lanes.lua, marks.lua and inspect.lua add the methods that init.lua writes down,
-- slots.lua and intents.lua those of what clients share. The SQL is the same for
-- every dialect; a dialect is
--
--   connect()      -> connection | nil, code, message   (query, exec, close as billhook.sqlite's)
--   spell(text, version)  the tables of that version in its own types
--   broken(code)   is a connection of no use after this?
--   place(code)    which database it is, for messages, and as who it was asked; nil: they say so
--   adrift(db)     a method: has the connection lost sight of its database? nil, code, message: so
--                  it has, and must be kept
--   leave(db)      what is to be done before a broken one is closed; nil: nothing
--   departed(owner)  is the process of this name known to be gone?
--   numbers(query) -> function that gives the numbers of new events, within a transaction
--   token(query)   -> the number of a claim
--   locking(text, how)   a SELECT that locks its rows ("share", "skip" locked ones; nil: waits)
--   hold(query, lanes)   locks these lanes
--   ahead(query, events, now, describe, number)   admits what is new: see chunks.lua, bulk.lua
--   shard          which row of a counter is this connection's, in SQL
--   begin          its word for it; now: a SELECT of the time, as `now`, and of the `noted` one
--   again(code)    is the transaction to be run once more after this?
--   reused(code)   may that be because a number was given out twice? Then, and at the start,
--   forward(query) brings the numbers beyond all that are in the tables: they may have been
--                  restored or replicated without the sequence, or somebody has set it back
--   volatile       true where closing the connection would lose everything
--   kept(db, committed)   a method: is what is committed now, or will be, where others find it?
--                  false, code, message; nil: it is
-- and, where there is more than one writer,
--   current(query, version)  are the tables of that version there?
--   alone          a statement that lets one at a time make them
--   ended(code)    has the server ended the connection? What was not committed by then is run
--                  once more on another one

local clock = require "billhook.inbox.clock"
local err = require "billhook.error"
local refusal = require "billhook.inbox.refusal"
local schema = require "billhook.inbox.schema"

local M = {}

local Store = {}
Store.__index = Store
M.Store = Store

local ATTEMPTS = 5 -- where transactions get in each other's way

local function failure(code, message)
  return err.new { kind = "store", code = code, message = message, retryable = true }
end

-- --- connection and transactions ----------------------------------------

local function disconnect(self, broken)
  if self.db and broken and self.dialect.leave then self.dialect.leave(self.db) end
  if self.db then self.db:close() end
  self.db = nil
end

local function query_of(db)
  return function(text, ...)
    local rows, changed, message = db:query(text, ...)
    if not rows then refusal.raise(changed, message) end
    return rows, changed
  end
end

-- Brings the tables to this version; other processes may be about to do the same.
local function migrate(dialect, query)
  if dialect.current and dialect.current(query, schema.VERSION) then return end
  query(dialect.begin)
  if dialect.alone then query(dialect.alone) end
  local ok, message = schema.migrate(query, dialect.spell)
  if not ok then refusal.raise("VERSION", message) end
  query("COMMIT")
end

local function connect(self)
  if self.db then
    local adrift, why, text = self.dialect:adrift(self.db)
    if adrift == nil then refusal.raise(why, text) end
    if not adrift then return self.db end
    disconnect(self)
  end
  if self.closed then refusal.raise("CLOSED", "the inbox is closed") end
  local db, code, message = self.dialect:connect()
  if not db then refusal.raise(code, message) end
  local ok, reason = pcall(function()
    migrate(self.dialect, query_of(db))
    if self.dialect.forward then self.dialect.forward(query_of(db)) end
  end)
  if not ok then
    db:close()
    error(reason, 0)
  end
  self.db = db
  return db
end

-- The time in ms, and the one that was noted.
local function time(self, query)
  local row = query(self.dialect.now)[1]
  return self.clock and math.floor(self.clock() * 1000) or row.now, tonumber(row.noted)
end

local function ended(dialect, code) return dialect.ended ~= nil and dialect.ended(code) end

local function in_place(dialect, db, committed)
  if not dialect.kept then return end
  local kept, code, message = dialect:kept(db, committed)
  if not kept then refusal.raise(code, message) end
end

-- The one way to the database: fn(query) with everything in one transaction, or, where `begin` is
-- nil, each statement by itself. After a refusal: is it sure that nothing is committed?
local function attempt(self, begin, fn)
  local db, committing
  local ok, value = pcall(function()
    db = connect(self)
    local query = query_of(db)
    if not begin then return fn(query) end
    query(begin)
    in_place(self.dialect, db)
    local value = fn(query)
    committing = true
    query("COMMIT")
    in_place(self.dialect, db, true)
    return value
  end)
  if ok then return value end
  local refused = refusal.is(value)
  if db and begin then db:query "ROLLBACK" end
  if refused and not self.dialect.volatile
    and (self.dialect.broken(value.code) or ended(self.dialect, value.code)) then
    disconnect(self, true)
  end
  if not refused then error(value, 0) end
  return nil, value, db ~= nil and not committing
end

local function run(self, begin, fn)
  local renewed = false
  local value, refused, undone
  for _ = 1, ATTEMPTS do
    value, refused, undone = attempt(self, begin, fn)
    if not refused then return value end
    local renew = undone and not renewed and ended(self.dialect, refused.code)
    local reused = self.dialect.reused and self.dialect.reused(refused.code)
    if not renew and not reused and not self.dialect.again(refused.code) then break end
    renewed = renewed or renew
    if reused and self.db and not attempt(self, nil, function(query)
      self.dialect.forward(query)
      return true
    end) then break end
  end
  local place = self.dialect.place and self.dialect:place(refused.code)
  return nil, failure(refused.code, (place and place .. ": " or "") .. refused.message)
end

---Within one transaction: fn(query, now) -> value; query(sql, ...) gives rows and how many it has
---changed, and raises what ends the transaction. For this folder only.
function Store:write(fn)
  return run(self, self.dialect.begin, function(query)
    return fn(query, clock.tick(query, function() return time(self, query) end,
      self.dialect.locking))
  end)
end

---Without a transaction around it: fn(query, now, noted) -> value. For this folder only.
function Store:read(fn)
  return run(self, nil, function(query) return fn(query, time(self, query)) end)
end

---@param dialect table
---@param options { clock?: fun(): number }
---@return table|nil store, table|nil err
function M.open(dialect, options)
  local self = setmetatable({ dialect = dialect, clock = options.clock }, Store)
  local ok, why = run(self, nil, function() return true end)
  if ok then return self end
  return nil, why
end

function Store:close()
  disconnect(self)
  self.closed = true
  return true
end

for _, part in ipairs { "admit", "lanes", "marks", "counters", "inspect", "slots", "intents" } do
  require("billhook.inbox." .. part).extend(Store)
end

return M

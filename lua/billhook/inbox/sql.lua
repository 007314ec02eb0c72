-- inbox/sql.lua: an inbox in an SQL database: connection and transactions.
-- deliveries.lua, invoices.lua, queue.lua, events.lua and admin.lua add the methods that init.lua
-- writes down, texts.lua those of texts that are shared. The SQL is the same for every dialect; a
-- dialect is
--
--   connect()      -> connection | nil, code, message   (query, exec, close as billhook.sqlite's)
--   spell(text)    the tables in its own types
--   broken(code)   is a connection of no use after this?
--   place(code)    which database it is, for messages, and as who it was asked; nil: they say so
--   adrift(db)     a method: has the connection lost sight of its database? nil, code, message: so
--                  it has, and must be kept
--   leave(db)      what is to be done before a broken one is closed; nil: nothing
--   departed(owner)  is the process of this name known to be gone?
--   number(query, above)  -> a number, larger than all that it gave before, and than this one: a
--                  token, a ticket
--   locking(text, how)   a SELECT that locks its rows ("share", "skip" locked ones; nil: waits)
--   admit(query, list, now)   inserts deliveries: see deliveries.lua
--   shard          which row of a counter is this connection's, in SQL
--   mend(query)    optional: brings its sequences beyond what is stored; at each connect, and so
--                  after a number turned out to be taken
--   admission_timeout  ms, optional: what an admission must not take longer than
--   full, tidy(db), log_bytes()  optional: the code of a full disk; methods that cut the log, where
--                  nobody needs it, and say how large it is
--   begin          its word for it; now: a SELECT of the time, as `now`, and of the `noted` one
--   again(code)    is the transaction to be run once more after this?
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
local owner = require "billhook.inbox.owner"
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

local refuse = refusal.raise

local function disconnect(self, broken)
  if self.db and broken and self.dialect.leave then self.dialect.leave(self.db) end
  if self.db then self.db:close() end
  self.db = nil
end

local function query_of(db)
  return function(text, ...)
    local rows, changed, message = db:query(text, ...)
    if not rows then refuse(changed, message) end
    return rows, changed
  end
end

-- Makes the tables where there are none; other processes may be about to do the same.
local function prepare(dialect, query)
  if dialect.current and dialect.current(query, schema.VERSION) then return end
  query(dialect.begin)
  if dialect.alone then query(dialect.alone) end
  local ok, message = schema.make(query, dialect.spell)
  if not ok then refuse("VERSION", message) end
  query("COMMIT")
end

local function ready(dialect, query)
  prepare(dialect, query)
  if dialect.mend then dialect.mend(query) end
end

local function connect(self)
  if self.db then
    local adrift, why, text = self.dialect:adrift(self.db)
    if adrift == nil then refuse(why, text) end
    if not adrift then return self.db end
    disconnect(self)
  end
  if self.closed then refuse("CLOSED", "the inbox is closed") end
  local db, code, message = self.dialect:connect()
  if not db then refuse(code, message) end
  local ok, reason = pcall(ready, self.dialect, query_of(db))
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
  return self.now_of and math.floor(self.now_of() * 1000) or row.now, tonumber(row.noted)
end

local function ended(dialect, code) return dialect.ended ~= nil and dialect.ended(code) end

local function in_place(dialect, db, committed)
  if not dialect.kept then return end
  local kept, code, message = dialect:kept(db, committed)
  if not kept then refuse(code, message) end
end

-- The one way to the database: fn(query) with everything in one transaction, or, where `begin` is
-- nil, each statement by itself. After a refusal: is it sure that nothing is committed?
local function attempt(self, begin, fn, timeout)
  local db, committing
  local ok, value = pcall(function()
    db = connect(self)
    if self.dialect.admission_timeout then db:within(timeout) end
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
  if refused and db and value.code == self.dialect.full then self.dialect:tidy(db) end
  if refused and not self.dialect.volatile
    and (self.dialect.broken(value.code) or ended(self.dialect, value.code)) then
    disconnect(self, true)
  end
  if not refused then error(value, 0) end
  return nil, value, db ~= nil and not committing
end

-- Where the connection has ended, it is done once more on another one: where nothing is committed,
-- or where doing it `twice` does no harm.
local function run(self, begin, fn, timeout, twice)
  local renewed = false
  local value, refused, undone
  for _ = 1, ATTEMPTS do
    value, refused, undone = attempt(self, begin, fn, timeout)
    if not refused then return value end
    local renew = (undone or twice) and not renewed and ended(self.dialect, refused.code)
    if not renew and not self.dialect.again(refused.code) then break end
    renewed = renewed or renew
  end
  local place = self.dialect.place and self.dialect:place(refused.code)
  return nil, failure(refused.code, (place and place .. ": " or "") .. refused.message)
end

---Within one transaction: fn(query, now) -> value; query(sql, ...) gives rows and how many it has
---changed, and raises what ends the transaction. For this folder only.
function Store:transaction(fn)
  return run(self, self.dialect.begin, function(query)
    return fn(query, clock.tick(query, function() return time(self, query) end,
      self.dialect.locking))
  end)
end

---The same, without looking for a clock that has jumped: what plans nothing must not write what
---every other transaction writes too. Where the answer to its commit was lost, it is done again.
---For this folder only.
function Store:admission(fn)
  return run(self, self.dialect.begin, function(query) return fn(query, (time(self, query))) end,
    self.dialect.admission_timeout, true)
end

---Without a transaction around it: fn(query, now, noted) -> value. For this folder only.
function Store:read(fn)
  return run(self, nil, function(query) return fn(query, time(self, query)) end)
end

---@param dialect table
---@param options { clock?: fun(): number }
---@return table|nil store, table|nil err
function M.open(dialect, options)
  local self = setmetatable({ dialect = dialect, now_of = options.clock }, Store)
  local ok, why = run(self, nil, function() return true end)
  if ok then return self end
  return nil, why
end

---A name for this process, and whether another one is known to be gone.
function Store:who() return owner.name() end -- luacheck: ignore 212/self

function Store:departed(name) return self.dialect.departed(name) end

function Store:close()
  disconnect(self)
  self.closed = true
  return true
end

for _, part in ipairs { "deliveries", "invoices", "queue", "events", "texts", "counters",
  "admin" } do
  local methods = require("billhook.inbox." .. part).methods
  for name, method in pairs(methods) do Store[name] = method end
end

return M

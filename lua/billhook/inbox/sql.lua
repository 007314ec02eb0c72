-- inbox/sql.lua: an inbox in an SQL database: connection and transactions.
-- admit.lua, lanes.lua, marks.lua and inspect.lua add the methods that init.lua
-- writes down. The SQL is the same for every dialect; a dialect is
--
--   connect()      -> connection | nil, code, message   (query, exec, close as billhook.sqlite's)
--   spell(text)    the schema in its own types
--   broken(code)   is a connection of no use after this?
--   adrift(db)     has the connection lost sight of its database?
--   departed(owner)  is the process of this name known to be gone?
--   numbers(query) -> function that gives the numbers of new events, within a transaction
--   locking(text, how)   a SELECT that locks its rows ("share", "skip" locked ones; nil: waits)
--   begin, now     its words
--   volatile       true where closing the connection would lose everything

local clock = require "billhook.inbox.clock"
local err = require "billhook.error"
local schema = require "billhook.inbox.schema"

local M = {}

local Store = {}
Store.__index = Store
M.Store = Store


local function failure(code, message)
  return err.new { kind = "store", code = code, message = message, retryable = true }
end

-- --- connection and transactions ----------------------------------------

-- What a statement raises inside a transaction; anything else that is raised is a defect and
-- goes on as it is.
local Refused = {}

local function refuse(code, message)
  error(setmetatable({ code = code, message = message }, Refused), 0)
end

local function disconnect(self)
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

-- Brings the tables to this version; other processes may be about to do the same.
local function migrate(dialect, query)
  query(dialect.begin)
  local ok, message = schema.migrate(query, dialect.spell)
  if not ok then refuse("VERSION", message) end
  query("COMMIT")
end

local function connect(self)
  if self.db and self.dialect.adrift(self.db) then disconnect(self) end
  if self.db then return self.db end
  if self.closed then refuse("CLOSED", "the inbox is closed") end
  local db, code, message = self.dialect:connect()
  if not db then refuse(code, message) end
  local ok, reason = pcall(migrate, self.dialect, query_of(db))
  if not ok then
    db:close()
    error(reason, 0)
  end
  self.db = db
  return db
end

-- The one way to the database: fn(query, now) with everything in one transaction, or, where
-- `begin` is nil, each statement by itself.
local function run(self, begin, fn)
  local db
  local ok, value = pcall(function()
    db = connect(self)
    local query = query_of(db)
    if begin then query(begin) end
    local value = fn(query, self.clock and math.floor(self.clock() * 1000)
      or query(self.dialect.now)[1].now)
    if begin then query("COMMIT") end
    return value
  end)
  if ok then return value end
  local refused = getmetatable(value) == Refused
  if db and begin then db:query("ROLLBACK") end
  if refused and self.dialect.broken(value.code) and not self.dialect.volatile then
    disconnect(self)
  end
  if not refused then error(value, 0) end
  return nil, failure(value.code, value.message)
end

---Within one transaction: fn(query, now) -> value; query(sql, ...) gives rows and how many it has
---changed, and raises what ends the transaction. For this folder only.
function Store:write(fn)
  return run(self, self.dialect.begin, function(query, now)
    clock.tick(query, now)
    return fn(query, now)
  end)
end

---Without a transaction around it: fn(query, now) -> value. For this folder only.
function Store:read(fn)
  return run(self, nil, fn)
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

for _, part in ipairs { "admit", "lanes", "marks", "inspect" } do
  require("billhook.inbox." .. part).extend(Store)
end

return M

-- inbox/sql.lua: an inbox in an SQL database: its connection, its transactions and its clock. The
-- files beside this one add the methods that init.lua describes. The SQL is the same for every
-- dialect. A dialect is a table of
--
--   connect()      -> connection | nil, code, message   (query, exec, close as billhook.sqlite's)
--   spell(text)    the tables in its own types
--   number(query, above)  -> a number that is larger than `above`, and than all that it gave
--                  before: for tokens and tickets
--   locking(text, how)   a SELECT that locks its rows ("skip" locked ones; nil: waits)
--   departed(owner)  is the process of this name known to be gone?
--   alone_in(db, query)   does nobody else have it open? Asked in a transaction; until its end, a
--                  process that opens it cannot write
--   begin, now     the statement that begins a transaction; a SELECT of the time as `now`, and of
--                  the time that was stored last as `noted`
--   bulk           true: deliveries are admitted by one statement, because each takes a round trip
--   again(code)    true: after this error the transaction is run once more
--   ended(code)    true: the server has ended the connection; once more on another one
--   broken(code)   true: the connection cannot be used any more
--   adrift(db)     has it lost its database (a moved file, a closed connection)? nil, code,
--                  message: yes, but the connection is kept
-- and, optional,
--   kept(db, committed)  will other processes find what this connection commits?
--                  false, code, message: no
--   current(query, version), alone  are the tables there? A statement that lets one process at a
--                  time make them
--   planning, planning_ended  if transactions run concurrently: a statement at the beginning of
--                  each one that plans; one that waits until all of those have ended
--   mend(query)    moves its sequences beyond the stored numbers; called at each connect, and so
--                  also after a number turned out to be in use
--   admission_timeout    the most ms that an admission may take
--   place(code)    the database and the user, for messages
--   leave(db)      is called before a broken connection is closed
--   volatile       true: closing it would lose everything
--   take(), park(db)     methods: take a connection that another thread of this process has parked;
--                  park one
--   full, tidy(db), log_bytes()   the code of a full disk; methods that shorten the log if nobody
--                  needs it, and give its size

local err = require "billhook.error"
local owner = require "billhook.inbox.owner"
local schema = require "billhook.inbox.schema"

local M = {}

local Store = {}
Store.__index = Store
M.Store = Store

local ATTEMPTS = 5 -- where transactions get in each other's way

-- --- ending a transaction from within ------------------------------------------------

local Refusal = {}

---Ends the transaction with this. Anything else that is raised in one is a defect: it goes on.
function M.refuse(code, message)
  error(setmetatable({ code = code, message = message }, Refusal), 0)
end

---Ends the transaction if the new row's number, `seq`, is not above `most`, the highest before it:
---then the database's sequence was set back, and the order of rows would be lost.
function M.numbered(row)
  if row.seq < (row.most or 0) then
    M.refuse("NUMBERS", "the numbers of rows are behind those that are stored")
  end
end

-- --- the connection ---------------------------------------------------------------------

local function disconnect(self, broken)
  if self.db and broken and self.dialect.leave then self.dialect.leave(self.db) end
  if self.db then self.db:close() end
  self.db = nil
end

local function query_of(db)
  return function(text, ...)
    local rows, changed, message = db:query(text, ...)
    if not rows then M.refuse(changed, message) end
    return rows, changed
  end
end

-- Makes the tables if there are none; other processes may do so at the same time.
local function ready(dialect, query)
  if not (dialect.current and dialect.current(query, schema.VERSION)) then
    query(dialect.begin)
    if dialect.alone then query(dialect.alone) end
    local ok, message = schema.make(query, dialect.spell)
    if not ok then M.refuse("VERSION", message) end
    query "COMMIT"
  end
  if dialect.mend then dialect:mend(query) end
end

local function connect(self)
  if not self.db and self.dialect.take then self.db = self.dialect:take() end
  if self.db then
    local adrift, code, message = self.dialect:adrift(self.db)
    if adrift == nil then M.refuse(code, message) end
    if not adrift then return self.db end
    disconnect(self)
  end
  if self.closed then M.refuse("CLOSED", "the inbox is closed") end
  local db, code, message = self.dialect:connect()
  if not db then M.refuse(code, message) end
  local ok, reason = pcall(ready, self.dialect, query_of(db))
  if not ok then
    db:close()
    error(reason, 0)
  end
  self.db = db
  return db
end

local function in_place(dialect, db, committed)
  if not dialect.kept then return end
  local kept, code, message = dialect:kept(db, committed)
  if not kept then M.refuse(code, message) end
end

-- The only function that uses the database: runs fn(query) in one transaction or, if `begin` is
-- nil, each statement by itself. After an error: is it sure that nothing was committed?
local function attempt(self, begin, fn, timeout)
  local dialect, db, committing = self.dialect, nil, nil
  local ok, value = pcall(function()
    db = connect(self)
    if dialect.admission_timeout then db:within(timeout) end
    local query = query_of(db)
    if not begin then return fn(query) end
    query(begin)
    in_place(dialect, db)
    local value = fn(query)
    committing = true
    query "COMMIT"
    in_place(dialect, db, true)
    return value
  end)
  if ok then return value end
  if db and begin then db:query "ROLLBACK" end
  if getmetatable(value) ~= Refusal then error(value, 0) end
  if db and value.code == dialect.full then dialect:tidy(db) end
  if not dialect.volatile and (dialect.broken(value.code) or dialect.ended(value.code)) then
    disconnect(self, true)
  end
  return nil, value, db ~= nil and not committing
end

-- If the connection has ended, it is done once more on another one, provided that nothing was
-- committed, or that doing it `twice` is harmless.
local function run(self, begin, fn, timeout, twice)
  local dialect, renewed, refused = self.dialect, false, nil
  for _ = 1, ATTEMPTS do
    local value, why, undone = attempt(self, begin, fn, timeout)
    if not why then return value end
    refused = why
    local renew = (undone or twice) and not renewed and dialect.ended(refused.code)
    if not renew and not dialect.again(refused.code) then break end
    renewed = renewed or renew
  end
  local place = dialect.place and dialect:place(refused.code)
  return nil, err.new { kind = "store", code = refused.code, retryable = true,
    message = (place and place .. ": " or "") .. refused.message }
end

-- --- the clock --------------------------------------------------------------------------
-- If the clock is set back, planned work would wait too long. So each transaction that plans stores
-- the time. One that finds a later time stored moves all plans back by the difference: waits keep
-- their length, and times of reading in the future become now. If the clock jumps forward, leases
-- end early, which is harmless, because they have tokens.

local SKEW = 1000 -- ms: less is neither noted nor corrected

local NOTED = "SELECT value FROM meta WHERE name = 'clock'"

-- The time in ms, and the stored one.
local function time(self, query)
  local row = query(self.dialect.now)[1]
  return self.now_of and math.floor(self.now_of() * 1000) or row.now, tonumber(row.noted)
end

---Is the clock behind the stored time?
function M.jumped(now, noted) return now < (noted or 0) - SKEW end

-- `back`: by how many ms plans are moved; `now`: the latest possible time of anything seen
local function set_back(query, back, now)
  query("UPDATE invoices SET run_due = run_due - $1 WHERE run_due IS NOT NULL", back)
  query("UPDATE invoices SET till = till - $1, began = began - $2 WHERE owner IS NOT NULL", back,
    back)
  query("UPDATE marks SET due = due - $1, failed_at = failed_at - $2 WHERE state = 'waiting'",
    back, back)
  query("UPDATE invoices SET check_due = check_due - $1 WHERE check_due IS NOT NULL", back)
  for _, name in ipairs { "news_at", "absent_at", "doubt_at", "read_at" } do
    query(("UPDATE invoices SET %s = $1 WHERE %s > $2"):format(name, name), now, now)
  end
  query("UPDATE deliveries SET routed_at = $1 WHERE state = 'pending' AND routed_at > $2", now, now)
end

local function near(now, noted) return noted ~= nil and math.abs(now - noted) <= SKEW end

local function note(query, now)
  query("INSERT INTO meta (name, value) VALUES ('clock', $1) "
    .. "ON CONFLICT (name) DO UPDATE SET value = excluded.value", ("%.0f"):format(now))
end

-- The time by which a transaction plans; nil: the clock was set back, and the existing plans must
-- be moved first.
local function tick(self, query)
  if self.dialect.planning then query(self.dialect.planning) end
  local now, noted = time(self, query)
  if near(now, noted) then return now end
  if noted and now < noted then return nil end
  -- other transactions find the same: one stores it, and none waits for that
  if not noted or query(self.dialect.locking(NOTED, "skip"))[1] then note(query, now) end
  return now
end

-- In a transaction of its own, which waits until all that plan by the old time have ended.
local function move_plans(self, query)
  if self.dialect.planning_ended then query(self.dialect.planning_ended) end
  local now, noted = time(self, query)
  if not M.jumped(now, noted) then return end
  set_back(query, noted - now, now)
  note(query, now)
end

-- --- for the files beside this one ---------------------------------------------------------

---Within one transaction: fn(query, now) -> value; query(sql, ...) gives rows and how many it has
---changed, and raises what ends the transaction.
function Store:transaction(fn)
  local function planned(query)
    local now = tick(self, query)
    if not now then M.refuse("SET_BACK", "the clock was set back again and again") end
    return fn(query, now)
  end
  local refused
  for _ = 1, ATTEMPTS do
    local value, why = run(self, self.dialect.begin, planned)
    if not why then return value end
    refused = why
    if why.code ~= "SET_BACK" then break end
    local _, failed = run(self, self.dialect.begin, function(query) move_plans(self, query) end)
    if failed then return nil, failed end
  end
  return nil, refused
end

---The same without the check of the clock: a transaction that plans nothing must not write the row
---that all others write. If the answer to its commit was lost, it is done again.
function Store:admission(fn)
  return run(self, self.dialect.begin, function(query) return fn(query, (time(self, query))) end,
    self.dialect.admission_timeout, true)
end

---Without a transaction around it: fn(query, now, noted) -> value.
function Store:read(fn)
  return run(self, nil, function(query) return fn(query, time(self, query)) end)
end

---An INSERT of these columns, a place for each, and what follows it.
function M.insert(name, columns, rest)
  local places = {}
  for i = 1, #columns do places[i] = "$" .. i end
  return ("INSERT INTO %s (%s) VALUES (%s) %s"):format(name, table.concat(columns, ", "),
    table.concat(places, ", "), rest)
end

local FLAGS = { known = true, live = true, again = true }

---A row as the interface gives it: times in seconds, flags as booleans.
function M.shown(row)
  for name, value in pairs(row) do
    if FLAGS[name] then
      row[name] = value == 1
    elseif name:find "_at$" or name:find "_due$" then
      row[name] = value / 1000
    end
  end
  return row
end

---For a thread that takes turns with others: it parks the connection for them.
function Store:rest()
  local dialect = self.dialect
  if self.db and dialect.park and not dialect.volatile and dialect.park(self.db) then
    self.db = nil
  end
end

-- --- open and close -----------------------------------------------------------------------

---@param dialect table
---@param options { clock?: fun(): number }
---@return table|nil store, table|nil err
function M.open(dialect, options)
  local self = setmetatable({ dialect = dialect, now_of = options.clock }, Store)
  local ok, why = run(self, nil, function() return true end)
  return ok and self or nil, why
end

function Store:who() return owner.name() end -- luacheck: ignore 212/self

function Store:departed(name) return self.dialect.departed(name) end

function Store:close()
  disconnect(self)
  self.closed = true
  return true
end

return M

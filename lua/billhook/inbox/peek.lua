-- inbox/peek.lua: reads an existing inbox without changing it: it makes no file, schema or row. For
-- `billhook doctor`.
--
--   local peek, why = peek.open "sqlite:billhook.db"
--   peek:texts "account "          by the rest of their names
--   peek:last "school"             the newest delivery of an account: { invoice, last_at (ms) }
--   peek:invoice "school"          the id of an invoice of the account, and true where its API has
--                                  shown it; else deliveries alone have named it
--   peek:update(name, fn)          as a store's, but what it changes stays in this process
--
-- Each raises the message of a database error.

local inbox = require "billhook.inbox"
local process = require "billhook.process"
local urls = require "billhook.inbox.url"

local M = {}
local Peek = {}
Peek.__index = Peek

local WAIT = 2000 -- ms for a lock

local function open_sqlite(path)
  if not process.stat(path, true) then return nil, "there is none yet: " .. path, true end
  local sqlite = require "billhook.sqlite" -- a library that others do not need
  local db, _, message = sqlite.open(path, { create = false, busy_timeout = WAIT })
  if not db then return nil, message end
  local ok
  ok, _, message = db:exec "PRAGMA query_only = 1"
  if ok then ok, _, message = db:keep_log() end -- closing it writes nothing either
  if ok then return db end
  db:close()
  return nil, message
end

local function open_postgresql(url)
  local pq = require "billhook.pq" -- the same
  local db, _, message = pq.open(url, { timeout = 10000 })
  if not db then return nil, urls.blot(message, url) end
  for _, sql in ipairs { "SET default_transaction_read_only = on", "SET search_path = billhook",
    "SET statement_timeout = 10000" } do
    local ok
    ok, _, message = db:query(sql)
    if not ok then
      db:close()
      return nil, message
    end
  end
  return db
end

---@param url string as an inbox's
---@return table|nil peek
---@return string|nil why_not
---@return boolean|nil absent true: nothing is wrong, there is none yet, or none that is seen here
function M.open(url)
  local good, why = inbox.check(url)
  if not good then return nil, "inbox " .. why end
  if url:find "^memory:" then return nil, "it is in the memory of the worker", true end
  local path = url:match "^sqlite:(.+)$"
  local db, reason, absent = (path and open_sqlite or open_postgresql)(path or url)
  if not db then return nil, reason, absent end
  return setmetatable({ db = db, changed = {} }, Peek)
end

local function query(self, sql, ...)
  local rows, _, message = self.db:query(sql, ...)
  if not rows then error(message, 0) end
  return rows
end

function Peek:texts(prefix)
  local found = {}
  for _, row in ipairs(query(self, "SELECT name, value FROM texts")) do
    if row.name:sub(1, #prefix) == prefix then found[row.name:sub(#prefix + 1)] = row.value end
  end
  return found
end

function Peek:last(account)
  return query(self, "SELECT invoice, COALESCE(last_at, received_at) AS last_at "
    .. "FROM deliveries WHERE account = $1 ORDER BY 2 DESC LIMIT 1", account)[1]
end

function Peek:invoice(account)
  local row = query(self, "SELECT invoice FROM invoices WHERE account = $1 AND known = 1 "
    .. "AND deleted_at IS NULL ORDER BY lane DESC LIMIT 1", account)[1]
  if row then return row.invoice, true end
  row = query(self, "SELECT invoice FROM deliveries WHERE account = $1 AND invoice IS NOT NULL "
    .. "ORDER BY seq DESC LIMIT 1", account)[1]
  return row and row.invoice, false
end

function Peek:update(name, fn)
  local text = self.changed[name]
  if text == nil then
    local row = query(self, "SELECT value FROM texts WHERE name = $1", name)[1]
    text = row and row.value
  end
  local new, value = fn(text or nil, os.time())
  if new ~= nil then self.changed[name] = new end
  return value == nil and true or value
end

function Peek:close() self.db:close() end

return M

---@meta
-- What billhook.sqlite holds, for editors (LuaCATS). Never loaded.

-- === billhook.sqlite
-- ================================================================================

local sqlite = {}

---@class billhook.sqlite.database
local database = {}

---@param path string
---@param options? { busy_timeout?: integer, create?: boolean }
---@return billhook.sqlite.database?
---@return string? code
---@return string? message
function sqlite.open(path, options) end

---@param sql string any number of statements
---@return true? ok
---@return string? code
---@return string? message
function database:exec(sql) end

---@param sql string one statement
---@param ... any a value for each parameter
---@return table[]? rows
---@return integer|string changed how many rows, or a code
---@return string? message
function database:query(sql, ...) end

---@return integer? number of this process's namespace of process ids
function sqlite.namespace() end

---@param path string
---@return table place file, size, log, log_size, of, index: ids and sizes
function sqlite.look(path) end

---@param path string an empty file is made there, where there is none
function sqlite.make(path) end

---@param path string of the file whose log and index lose their names
function sqlite.remove_log(path) end

---@class billhook.sqlite.lock
local lock = {}

---@param path string
---@param ms integer
---@return billhook.sqlite.lock
function sqlite.lock(path, ms) end

function lock:release() end

---@return true? ok what is at its path belongs together, and its log is on the disk
---@return string? code
---@return string? message
function database:note() end

---@return boolean? failed a sync of the file has failed since this was asked last
---@return string? code
---@return string? message
function database:sync_failed() end

---@return false|"file"|"log"|"index"|"size"|nil what is not any more as it was noted
---@return string? code
---@return string? message
function database:moved() end

---@return true? ok all is in the file, and the log is empty
---@return string? code
---@return string? message
function database:rescue() end

---@return true? ok all is in the file
---@return string? code
---@return string? message
function database:checkpoint() end

---@return boolean? alone nobody else has the log open
---@return string? code
---@return string? message
function database:alone() end

---@return true? ok closing it leaves the log as it is
---@return string? code
---@return string? message
function database:keep_log() end

function database:close() end

return sqlite, database, lock

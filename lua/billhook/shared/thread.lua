-- thread.lua - the part of shared/inbox.lua that runs in a worker thread of nginx.
--
-- Each worker VM keeps an inbox for each URL. Arguments and results are plain data (strings,
-- numbers, booleans, tables of these), because nothing else can be passed; an error object would
-- arrive empty. A new VM loads its modules on nginx's event loop, so this file requires few
-- modules, and as late as possible.

local M = {}

-- These VMs are ours and hold next to nothing; what they read comes and goes. With the usual 200
-- the collector looks at all that stays more than twice as often.
collectgarbage("setpause", 400)

local stores = {}
local told -- what a store has said to its log since it was called

local function log(_, name, fields) told = { name = name, fields = fields } end

-- an error as plain data
local function plain(err)
  if type(err) ~= "table" then return { kind = "store", message = tostring(err) } end
  local out = {}
  for name, value in pairs(err) do
    local kind = type(value)
    if kind == "string" or kind == "number" or kind == "boolean" then out[name] = value end
  end
  return out
end

--- Calls a method of the inbox at `url`, which may be made if it is `new`.
---@return boolean ok, any value true and what the method gave, or false and a plain error
---@return table|nil told { name, fields } of a line for the log, which is written by who asks: all
---  threads would write the same
function M.call(url, new, method, ...)
  local store = stores[url]
  told = nil
  if not store then
    local err
    store, err = require("billhook.inbox").open(url, { log = log, create = new, turns = true })
    if not store then return false, plain(err), told end
    stores[url] = store
  end
  local done, value, why = pcall(store[method], store, ...)
  store:rest()
  if done and (value ~= nil or why == nil) then return true, value, told end
  return false, plain(done and why or value), told
end

--- Admits rows: a table, or what string.buffer has made of it.
function M.admit(url, new, rows)
  if type(rows) == "string" then rows = require("string.buffer").decode(rows) end
  return M.call(url, new, "admit", rows)
end

return M

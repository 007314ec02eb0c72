-- thread.lua - what runs inside of a worker thread: the inbox's methods and libcurl's requests.
--
-- Each worker VM keeps one connection to each inbox and one curl transport. Arguments and
-- results are plain data (strings, numbers, booleans, tables of these): nothing else crosses,
-- an error object would arrive empty. A new VM loads its modules on nginx's event loop, so
-- this file requires little, and late.

local M = {}

local stores = {}
local fresh = true
local garbage_limit = 16 * 1024 -- KiB
local transport

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

local function store_of(url)
  local store, err = stores[url], nil
  if not store then
    store, err = require("billhook.inbox").open(url)
    stores[url] = store
  end
  return store, err
end

--- Calls a method of the inbox at `url`.
---@return boolean ok, any value true and what the method gave, or false and a plain error
function M.inbox(url, method, ...)
  local store, err = store_of(url)
  if not store then return false, plain(err) end
  local done, value, why = pcall(store[method], store, ...)
  if done and value ~= nil then return true, value end
  if done and why == nil then return true, nil end
  return false, plain(done and why or value)
end

--- Admits events: a table, or what string.buffer has made of it.
function M.admit(url, events)
  if type(events) == "string" then events = require("string.buffer").decode(events) end
  return M.inbox(url, "admit", events)
end

-- A VM that carried a large body would keep its garbage until it is used for long again.
local function tidy()
  if collectgarbage("count") > garbage_limit then collectgarbage() end
end

local function curl()
  transport = transport or require("billhook.transport.curl").new()
  return transport
end

-- The time that a request has waited for this thread counts. Gives a failure where it was too long.
local function hurry(request, asked)
  tidy()
  local late = require("billhook.core").text.now() - asked
  request.timeout = request.timeout - (late > 0 and late or 0)
  if request.timeout <= 0 then
    return { kind = "timeout", sent = false, message = "no worker thread in time" }
  end
  request.connect_timeout = math.min(request.connect_timeout, request.timeout)
end

--- Sends a request that was made at `asked` (epoch seconds). Gives true and the response, or false
--- and the failure.
function M.request(request, asked)
  local late = hurry(request, asked)
  if late then return false, late end
  local response, failure = curl():request(request)
  if response then
    return true, { status = response.status, headers = response.headers, body = response.body }
  end
  return false, plain(failure)
end

-- Reads all of a stream into a file. Gives a failure where one of them ends early.
local function copy(reader, file)
  while true do
    local chunk, failure = reader:read()
    if not chunk then return failure end
    local ok, err = file:write(chunk)
    if not ok then
      reader:close()
      return { kind = "too_large", sent = true, message = "no room for the answer: " .. err }
    end
  end
end

--- The same, with the body in the file at `path`, which is there and open elsewhere, and whose name
--- is removed. Gives true and { status, headers, failure = how the body was torn }.
function M.spool(request, asked, path)
  local file, err = io.open(path, "wb")
  os.remove(path)
  if not file then return false, { kind = "network", sent = false, message = err } end
  local late = hurry(request, asked)
  if late then
    file:close()
    return false, late
  end
  local reader, failure = curl():stream(request)
  if not reader then
    file:close()
    return false, plain(failure)
  end
  failure = copy(reader, file)
  local flushed, why = file:close()
  if not flushed and not failure then
    failure = { kind = "too_large", sent = true, message = "no room for the answer: " .. why }
  end
  return true, { status = reader.status, headers = reader.headers,
    failure = failure and plain(failure) }
end

--- Loads what calls need and stays busy for some time.
---@return boolean curl false where libcurl's binding is missing
---@return boolean fresh true for the first call of this VM
function M.warm(seconds)
  local first = fresh
  fresh = false
  local ok = pcall(curl)
  if ok and seconds > 0 then curl():sleep(seconds) end
  return ok, first
end

return M

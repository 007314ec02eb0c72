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

-- The head as bytes, the first of a spool.
local function head_of(reader)
  local lines = { ("%d\n"):format(reader.status) }
  for name, value in pairs(reader.headers) do lines[#lines + 1] = name .. ":" .. value .. "\n" end
  local text = table.concat(lines)
  return ("%08d"):format(#text) .. text
end

local CLOSED = {} -- what is raised where nobody wants the rest

local pause, glance = 0.01, 0.1

-- Writes all of it, waiting for room. Gives a failure where that is in vain.
local function put(out, text, deadline)
  local at = 1
  while at <= #text do
    local n, err = out:put(text, at)
    if not n then
      return { kind = "too_large", sent = true, message = "no room for the answer: " .. err }
    end
    if out.closed then error(CLOSED, 0) end
    if n == 0 and require("billhook.core").text.monotonic() > deadline then
      return { kind = "timeout", sent = true, message = "the answer was not read in time" }
    end
    if n == 0 then transport:sleep(pause) end
    at = at + n
  end
end

-- A pool in which waiting ends soon after nobody wants the rest. What waits in the curl transport
-- waits in `poll` of its pool.
local function watched(pool, out)
  local proxy = {}
  function proxy.poll(_, seconds, ...)
    if out:is_closed() then error(CLOSED, 0) end
    return pool:poll(math.min(seconds, glance), ...)
  end
  return setmetatable(proxy, {
    __index = function(_, name)
      return function(_, ...) return pool[name](pool, ...) end
    end,
  })
end

-- Gives true, or nil and a failure where there was no head, or true and how the body was torn.
local function carry(request, out, open)
  local deadline = require("billhook.core").text.monotonic() + request.timeout
  local reader, failure = transport:stream(request)
  if not reader then return nil, failure end
  open.reader = reader
  local chunk, torn = head_of(reader), nil
  while chunk do
    failure = put(out, chunk, deadline)
    if failure then return true, failure end
    chunk, torn = reader:read()
  end
  return true, torn
end

--- The same, with head and body in the spool at `path` (see transport/spool.lua). Gives true and
--- { failure = how the body was torn } when all is in there or nobody wants the rest.
function M.spool(request, asked, path, size)
  local out, err = require("billhook.transport.spool").writer(path, size)
  if not out then return false, { kind = "network", sent = false, message = err } end
  local late = hurry(request, asked)
  if late then
    out:close()
    return false, late
  end
  local pool, open = curl().pool, {}
  transport.pool = watched(pool, out)
  local fine, headed, failure = pcall(carry, request, out, open)
  transport.pool = pool
  out:close()
  if open.reader then open.reader:close() end
  if not fine and headed ~= CLOSED then error(headed, 0) end
  if not fine then collectgarbage() end -- a transfer that nobody holds ends
  if fine and not headed then return false, plain(failure) end
  return true, { failure = failure and plain(failure) }
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

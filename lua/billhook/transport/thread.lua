-- thread.lua - the part of the worker transport that runs in a worker thread of nginx.
--
-- Each worker VM keeps one curl transport, with its connections. Arguments and results are plain
-- data, because an error object would arrive empty. A new VM loads its modules on nginx's event
-- loop, so this file requires few modules, and as late as possible.

local M = {}

local garbage_limit = 16 * 1024 -- KiB
local transport
local fresh = true

--- The curl transport of this VM.
function M.curl()
  transport = transport or require("billhook.transport.curl").new()
  return transport
end

local function plain(err)
  return { kind = err.kind, message = err.message, sent = err.sent }
end

-- A VM that carried a large body would keep its garbage until it is used for long again.
local function tidy()
  if collectgarbage("count") > garbage_limit then collectgarbage() end
end

-- The time that a request has waited for this thread counts. Gives an error where it was too long.
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
--- and a plain error.
function M.request(request, asked)
  local late = hurry(request, asked)
  if late then return false, late end
  local response, err = M.curl():request(request)
  if response then return true, response end
  return false, plain(err)
end

-- The head as bytes, the first of a spool.
local function head_of(reader)
  local lines = { ("%d\n"):format(reader.status) }
  for name, value in pairs(reader.headers) do lines[#lines + 1] = name .. ":" .. value .. "\n" end
  local text = table.concat(lines)
  return ("%08d"):format(#text) .. text
end

local DROPPED = {} -- what is raised where nobody wants the rest

-- Gives true, or nil and an error where there was no head, or true and how the body was torn.
local function carry(request, out, open)
  local reader, err = M.curl():stream(request)
  if not reader then return nil, err end
  open.reader = reader
  local chunk, torn = head_of(reader), nil
  while chunk do
    M.curl().idle()
    local written, why = out:put(chunk)
    if not written then
      return true, { kind = "too_large", sent = true, message = "no room for the answer: " .. why }
    end
    chunk, torn = reader:read()
  end
  return true, torn
end

--- The same, with head and body in the spool at `path` (see spool.lua). Gives true and
--- { torn = how the body was } when all is in there or nobody wants the rest.
function M.spool(request, asked, path)
  local out, why = require("billhook.transport.spool").writer(path)
  if not out then return false, { kind = "network", sent = false, message = why } end
  local late = hurry(request, asked)
  if late then
    out:close()
    return false, late
  end
  local open = {}
  M.curl().idle = function()
    if not out:is_wanted() then error(DROPPED, 0) end
  end
  local fine, headed, err = pcall(carry, request, out, open)
  M.curl().idle = nil
  out:close()
  if open.reader then open.reader:close() end
  if not fine and headed ~= DROPPED then error(headed, 0) end
  if not fine then collectgarbage() end -- a transfer that nobody holds ends
  if fine and not headed then return false, plain(err) end
  return true, { torn = fine and err and plain(err) or nil }
end

--- Loads what calls need and stays busy for some time: see gate.warm.
---@return boolean fine, string|nil message
---@return boolean fresh true for the first call of this VM
function M.warm(seconds)
  local first = fresh
  fresh = false
  local ok = pcall(M.curl)
  if ok and seconds > 0 then M.curl():sleep(seconds) end
  return ok, not ok and "a worker thread has no libcurl" or nil, first
end

return M

-- faults.lua - makes the sandbox's next answers wrong, to see what a client makes of it.
--
-- A fault has `next`, what happens; `times` (1); and may be only for a `method`, or for a `path`
-- (its beginning). What happens:
--
--   "500", "429", ...   that status, nothing is done; with `retry_after` as that header
--   "reset"             the connection ends without an answer, nothing is done
--   "reset-after"       the same, but it is done
--   "stall"             it is done after `seconds` (5), and answered
--   "stall-after"       it is done, and answered after `seconds`
--   "html"              200 and a page, nothing is done
--   "half"              it is done, half of the answer comes, then the connection ends

local http = require "billhook.sandbox.http"

-- luacheck: globals ngx.status ngx.header

local M = {}

local closed = 444 -- nginx: end the connection

local kinds = {}

function kinds.reset() return ngx.exit(closed) end

kinds["reset-after"] = function(_, handle)
  handle()
  return ngx.exit(closed)
end

function kinds.stall(fault, handle)
  ngx.sleep(fault.seconds)
  return http.answer(handle())
end

kinds["stall-after"] = function(fault, handle)
  local status, body, headers = handle()
  ngx.sleep(fault.seconds)
  return http.answer(status, body, headers)
end

function kinds.html()
  local page = "<!doctype html><title>Sign in</title>"
  return http.answer(200, page, { ["Content-Type"] = "text/html" })
end

function kinds.half(_, handle)
  local status, body = handle()
  local text = type(body) == "table" and require("billhook.json").encode(body) or body or ""
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.header["Content-Length"] = #text + 1
  ngx.print(text:sub(1, math.floor(#text / 2)))
  ngx.flush(true)
  return ngx.exit(ngx.ERROR)
end

--- Takes a fault from the control API. Gives true, or nil and what is wrong.
function M.add(state, given)
  local name = tostring(given.next)
  local status = tonumber(name)
  if not kinds[name] and not (status and status >= 400 and status <= 599) then
    return nil, "no such fault: " .. name
  end
  state.faults[#state.faults + 1] = { name = name, status = status, method = given.method,
    path = given.path, times = tonumber(given.times) or 1, seconds = tonumber(given.seconds) or 5,
    headers = { ["Retry-After"] = given.retry_after and tostring(given.retry_after) } }
  return true
end

local function due(state, request)
  for i, fault in ipairs(state.faults) do
    local hit = (not fault.method or fault.method == request.method)
      and (not fault.path or request.path:sub(1, #fault.path) == fault.path)
    if hit then
      fault.times = fault.times - 1
      if fault.times <= 0 then table.remove(state.faults, i) end
      return fault
    end
  end
end

--- Answers with `handle`, or with the fault that is due.
function M.play(state, request, handle)
  local fault = due(state, request)
  if not fault then return http.answer(handle()) end
  if fault.status then return http.answer(fault.status, "sandbox fault", fault.headers) end
  return kinds[fault.name](fault, handle)
end

return M

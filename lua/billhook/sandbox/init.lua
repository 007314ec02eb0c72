-- init.lua - the sandbox: DreamApply, DreamClass and Betterez imitated over HTTP, in nginx.
--
--   local text = require("billhook.sandbox").conf {
--     listen = "127.0.0.1:8081",
--     webhooks = { dreamclass = "http://127.0.0.1:8080/webhooks/school" },
--   }
--
-- gives a server block for nginx's http block. It needs worker_processes 1 (everything is kept in
-- Lua tables of that worker) and nothing of billhook's host. new() gives the same vendors without
-- nginx (world.lua). The vendors' paths are their own: /api/v9/..., /dreamclassapi/v1/...,
-- /invoices/..., /accounts/..., /operations/..., /webhooks/...; below /sandbox stands what steers
-- it, JSON in and out; docs/sandbox.md has all of it:
--
--   POST /sandbox/trigger     { vendor, type ("invoice.created"), invoice, amount, ... }
--                             makes something happen there; gives the delivery that tells of it
--   POST /sandbox/forge       { vendor, invoice, type, proof ("wrong", "captured") }: a delivery
--                             that the vendor never sent
--   POST /sandbox/redeliver   { n } or { vendor }: that delivery, or the vendor's last, once more
--   GET  /sandbox/deliveries  what was sent: url, state, status, attempts
--   GET  /sandbox/requests    what came in: method, target, headers, body
--   POST /sandbox/webhooks    { dreamapply = url, ... }: other addresses from now on
--   POST /sandbox/options     { vendor, lag = 20, ... }: other options from now on
--   POST /sandbox/clock       { now } or { forward }: the vendors' time
--   POST /sandbox/quota       { limit, window, retry_after }: DreamApply's; limit 0: none
--   POST /sandbox/fault       { next, times (1), ... }: faults.lua
--   DELETE /sandbox/fault     those that have not happened yet are off
--   POST /sandbox/reset       forgets everything
--
-- Options, with their defaults in M.defaults: listen, webhooks (vendor -> URL, plain http), and for
-- each vendor a table: its credentials, retry_interval (60 s), lag (0 s: how far its API is behind
-- what has happened); dreamapply also quota (180 calls, or false), window (60 s), retry_after
-- (false: whether a 429 says how long), shape ("item", "list" or "map": how a webhook's body holds
-- its item), empty ("array", "object", or "sample": how what is empty is written).

local http = require "billhook.sandbox.http"
local settings = require "billhook.sandbox.settings"
local worlds = require "billhook.sandbox.world"

local M = {}

M.defaults = settings.defaults

--- The vendors without nginx, as world.lua describes.
---@param options table webhooks, a table for each vendor; clock, post, sleep: functions
---@return table world
function M.new(options) return worlds.new(settings.check(options, 2)) end

-- --- configuration

-- A Lua literal that may stand in nginx's configuration.
local function literal(value)
  if type(value) == "string" then
    return '"' .. value:gsub("[^%w]", function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
  elseif type(value) ~= "table" then
    return tostring(value)
  end
  local parts = {}
  for name, one in pairs(value) do
    parts[#parts + 1] = ("[%s] = %s"):format(literal(name), literal(one))
  end
  table.sort(parts)
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local server = [[
server {
  listen %s;
  client_max_body_size 16m;
  client_body_buffer_size 1m;
  reset_timedout_connection on;
  location / {
    content_by_lua_block {
      require("billhook.sandbox").serve(%s)
    }
  }
}
]]

--- The server block of a sandbox.
---@param options table see the head of this file
---@return string
function M.conf(options)
  if type(options.listen) ~= "string" or not options.listen:match("^[%w%.%[%]:%*%-]+$") then
    error("sandbox: listen must be an address and a port", 2)
  end
  local checked = settings.check(options, 2)
  for _, name in ipairs(settings.outside) do
    if checked[name] then error("sandbox: " .. name .. " is nginx's here", 2) end
  end
  return server:format(checked.listen, literal(checked))
end

-- --- answering

local running = {} -- listen -> world

local function world_of(options)
  local world = running[options.listen]
  if not world then
    options.clock, options.post, options.sleep = ngx.now, http.post, ngx.sleep
    options.wake = http.wake
    world = worlds.new(options)
    running[options.listen] = world
  end
  return world
end

--- nginx's content handler.
---@param options table what conf has checked
function M.serve(options)
  if ngx.worker.count() ~= 1 then
    return http.write(500, "the sandbox needs worker_processes 1", {})
  end
  return http.write(world_of(options):answer(http.read()))
end

return M

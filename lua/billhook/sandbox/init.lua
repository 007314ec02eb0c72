-- init.lua - the sandbox: DreamApply, DreamClass and Betterez imitated over HTTP, in nginx.
--
--   local text = require("billhook.sandbox").conf {
--     listen = "127.0.0.1:8081",
--     webhooks = { dreamclass = "http://127.0.0.1:8080/webhooks/school" },
--   }
--
-- gives a server block for nginx's http block. It needs worker_processes 1 (everything is kept in
-- Lua tables of that worker) and nothing of billhook's host. The vendors' paths are their own:
-- /api/v9/..., /dreamclassapi/v1/..., /invoices/...; below /sandbox stands what steers it, JSON in
-- and out:
--
--   POST /sandbox/trigger     { vendor, type ("invoice.created"), invoice, amount, ... }
--                             makes an event, as if it had happened there; gives the delivery.
--                             type: unified, or the vendor's own. invoice: its id; a new one
--                             without. amount: a decimal text; what it becomes differs:
--     DreamApply   amount ("1000.00") is the price of the one line, "EUR" or `currency`;
--                  application (2). "invoice.collected" pays what is left
--     DreamClass   amount (300) is the number in `amount`; there is no currency. "payment.created"
--                  pays it, or what is left
--     Betterez     the documents show no amounts: `total` and `currency` ("EUR") are there only
--                  where amount is given. transactionId; provider; live (true).
--                  type "failure" makes an entry of /failures
--   POST /sandbox/redeliver   { n } or { vendor }: that delivery, or the vendor's last, once more
--   GET  /sandbox/deliveries  what was sent: url, state, status, attempts
--   GET  /sandbox/requests    what came in: method, target, headers, body
--   POST /sandbox/webhooks    { dreamapply = url, ... }: other addresses from now on
--   POST /sandbox/quota       { limit, window }: DreamApply's; limit 0: none. Over it: 429
--   POST /sandbox/fault       { next, times (1), method, path, seconds, retry_after }: faults.lua
--   DELETE /sandbox/fault     those that have not happened yet are off
--   POST /sandbox/reset       forgets everything
--
-- Options, with their defaults in M.defaults: listen, webhooks (vendor -> URL, plain http), and for
-- each vendor a table: its credentials, retry_interval (60 s); dreamapply also quota (180 calls, or
-- false), window (60 s), shape ("item", "list" or "map": how a webhook's body holds its item).

local M = {}

local vendors = { "dreamapply", "dreamclass", "betterez" }

local function module(name) return require("billhook.sandbox." .. name) end

--- The vendors' defaults, credentials among them.
---@param vendor string
---@return table
function M.defaults(vendor)
  local copy = {}
  for name, value in pairs(module(vendor).defaults) do copy[name] = value end
  return copy
end

-- --- configuration

local function check_vendor(vendor, given)
  local settings = M.defaults(vendor)
  for name, value in pairs(given or {}) do
    local off = name == "quota" and value == false
    if settings[name] == nil or type(value) ~= type(settings[name]) and not off then
      error(("sandbox: %s: bad option '%s'"):format(vendor, tostring(name)), 4)
    end
    local why = module(vendor).check and module(vendor).check(name, value)
    if why then error(("sandbox: %s: option '%s' %s"):format(vendor, name, why), 4) end
    settings[name] = value
  end
  return settings
end

local function check_webhooks(given)
  local urls = {}
  for vendor, url in pairs(given or {}) do
    local known = vendor == vendors[1] or vendor == vendors[2] or vendor == vendors[3]
    if not known then error("sandbox: webhooks: no such vendor: " .. tostring(vendor), 4) end
    if type(url) ~= "string" or not module("http").parse(url) then
      error("sandbox: webhooks: " .. vendor .. " is not a plain http URL", 4)
    end
    urls[vendor] = url
  end
  return urls
end

local function check(options)
  local checked = { listen = options.listen, webhooks = check_webhooks(options.webhooks) }
  if type(options.listen) ~= "string" or not options.listen:match("^[%w%.%[%]:%*%-]+$") then
    error("sandbox: listen must be an address and a port", 3)
  end
  for _, vendor in ipairs(vendors) do checked[vendor] = check_vendor(vendor, options[vendor]) end
  for name in pairs(options) do
    if checked[name] == nil then error("sandbox: bad option '" .. tostring(name) .. "'", 3) end
  end
  return checked
end

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
  local checked = check(options)
  return server:format(checked.listen, literal(checked))
end

-- --- answering

local states = {} -- listen -> state

local function fresh(options)
  local state = { options = options, deliveries = {}, requests = {}, faults = {} }
  for _, vendor in ipairs(vendors) do state[vendor] = module(vendor).state() end
  return state
end

local function vendor_of(path)
  if path:match("^/api/") then return "dreamapply" end
  if path:match("^/dreamclassapi/") then return "dreamclass" end
  if path:match("^/invoices/") then return "betterez" end
end

local kept_requests = 1000

local function remember(state, request)
  local list = state.requests
  list[#list + 1] = { method = request.method, target = request.target, headers = request.headers,
    body = request.body, at = ngx.now() }
  if #list > kept_requests then table.remove(list, 1) end
end

local function respond(state, request)
  local http = module("http")
  if request.path:match("^/sandbox/") then
    return http.answer(module("control").handle(state, request, states, fresh))
  end
  local vendor = vendor_of(request.path)
  if not vendor then return http.answer(404, "no such vendor") end
  remember(state, request)
  local function handle() return module(vendor).handle(state, request) end
  return module("faults").play(state, request, handle)
end

--- nginx's content handler.
---@param options table what conf has checked
function M.serve(options)
  local http = module("http")
  if ngx.worker.count() ~= 1 then
    return http.answer(500, "the sandbox needs worker_processes 1")
  end
  local state = states[options.listen] or fresh(options)
  states[options.listen] = state
  return respond(state, http.request())
end

return M

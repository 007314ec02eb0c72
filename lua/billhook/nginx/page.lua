-- page.lua - the operator's page (billhook.page) in nginx: a content handler for a server block of
-- its own.
--
-- It reads the inbox in other worker threads than those that commit deliveries. Sessions are valid
-- in all workers until serve ends: their key, and the number of recent wrong passwords, are in
-- lua_shared_dict billhook.

local body = require "billhook.nginx.body"
local complaint = require "billhook.complain"
local core = require "billhook.core"
local pages = require "billhook.page"
local remote = require "billhook.shared.inbox"

-- luacheck: globals ngx.status ngx.header

local M = {}

local ARGUMENTS = 20 -- of an address or a form

local memory = {}
function memory.get(name) return (ngx.shared.billhook:get(name)) end
function memory.set(name, seconds) assert(ngx.shared.billhook:safe_set(name, true, seconds)) end
function memory.count(name, n, seconds)
  ngx.shared.billhook:safe_add(name, 0, seconds)
  return (ngx.shared.billhook:incr(name, n))
end

-- Random, and the same for all workers of this run.
local function run_key()
  local shared = ngx.shared.billhook
  shared:safe_add("page key", core.text.random(32))
  return shared:get "page key"
end

local page

local function made(app, origin)
  page = page or { app = app, log = app.log, origin = origin,
    store = remote.remote(app.inbox, app.log, "call"), session = pages.session {
      key = assert(run_key(), "lua_shared_dict billhook is full"),
      password = assert(os.getenv "BILLHOOK_PAGE_PASSWORD", "no BILLHOOK_PAGE_PASSWORD"),
      now = core.text.now, memory = memory } }
  return page
end

-- The first of each, as text.
local function texts(arguments)
  local found = {}
  for name, value in pairs(arguments or {}) do
    if type(value) == "table" then value = value[1] end
    found[name] = type(value) == "string" and value or nil
  end
  return found
end

local function form(seconds)
  if ngx.req.get_method() ~= "POST" then return {} end
  body.read(seconds)
  return texts(ngx.req.get_post_args(ARGUMENTS))
end

--- Content handler: the page. Never raises.
---@param app table what billhook.app gave
---@param origin string|nil where a TLS proxy shows it, such as "https://billhook.example.edu"
---@param seconds number within which a form must have come
function M.page(app, origin, seconds)
  local ok, status, headers, text = pcall(function()
    return pages.answer(made(app, origin), { method = ngx.req.get_method(), path = ngx.var.uri,
      query = texts(ngx.req.get_uri_args(ARGUMENTS)), form = form(seconds),
      headers = texts(ngx.req.get_headers()), remote = ngx.var.remote_addr })
  end)
  if not ok then
    complaint.once(app, "internal", { message = "page: " .. tostring(status) })
    status, headers, text = 500, { ["Content-Type"] = "text/plain" }, "it failed: see the log\n"
  end
  ngx.status = status
  for name, value in pairs(headers) do ngx.header[name] = value end
  ngx.header["Content-Length"] = #text
  ngx.print(text)
end

return M

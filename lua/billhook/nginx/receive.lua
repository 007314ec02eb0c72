-- receive.lua - receives deliveries in nginx and runs rules from its timers.
--
-- nginx.conf needs, in its main part and in http:
--
--   thread_pool billhook threads=10 max_queue=1000;
--   lua_worker_thread_vm_pool_size 10;    # the default
--   client_max_body_size 9m;              # a little more than the largest webhook.limit
--   client_body_buffer_size 64k;          # larger bodies go through a file
--
-- The commits and the API calls of one nginx worker share its worker VMs (shared/gate.lua). Stop
-- nginx with QUIT: TERM does not wait for requests and rules that are still running.

local accounts = require "billhook.app.account"
local bodies = require "billhook.nginx.body"
local capture = require "billhook.nginx.capture"
local commit = require "billhook.nginx.commit"
local complain = require "billhook.complain"
local gate = require "billhook.shared.gate"
local intake = require "billhook.app.receive"
local json = require "billhook.json"
local metrics = require "billhook.app.metrics"
local owner = require "billhook.inbox.owner"
local pending = require "billhook.once.pending"
local remote = require "billhook.shared.inbox"
local shared = require "billhook.shared"
local strict = require "billhook.app.strict"
local usage = require "billhook.options"
local warnings = require "billhook.app.warnings"
local watches = require "billhook.app.watch"

-- luacheck: globals ngx.status ngx.header ngx.ctx

local M = {}

local chains = 4 -- rules side by side in one nginx worker
local idle = 1 -- seconds between two looks for due deliveries
local body_time = 30 -- seconds in which a body must be here, however slowly it trickles
local looking = 2 -- seconds between two looks for rules that take too long
local handing_over = 10 -- seconds between two times at which counts go into the inbox
local wait_commit = 5 -- seconds for a free VM: a vendor waits

local function log(level, ...) ngx.log(level, "billhook: ", ...) end

local function say(status, body, headers)
  ngx.status = status
  for name, value in pairs(headers or {}) do ngx.header[name] = value end
  ngx.header["Content-Type"] = ngx.header["Content-Type"] or "application/json"
  ngx.header["Content-Length"] = #body
  ngx.print(body)
end

-- Rows are passed to a thread as one text, several times as fast as tables; not every LuaJIT can.
local has_buffer, buffer = pcall(require, "string.buffer")

-- The app's inbox as nginx sees it: no method blocks the event loop, and admissions of many
-- requests share one transaction. `wake` says that deliveries have come.
local function adopt(app)
  local store = app.store
  if store and rawget(store, "wake") then return store end
  if app.inbox:find "^memory:" then
    store = assert(app:open())
  else
    store = remote.remote(app.inbox, app.log)
    store.group = commit.new(function(rows)
      return store.commit(wait_commit, has_buffer and buffer.encode(rows) or rows)
    end)
    function store.admit(_, rows) return store.group:admit(rows) end
  end
  store.wake = assert(require("ngx.semaphore").new(0))
  app:use_store(store)
  return store
end

-- The raw body, from memory or from the file that nginx has written it to; or nil, a status.
local function read_body(app, limit)
  bodies.read(body_time)
  local body = ngx.req.get_body_data()
  local path = not body and ngx.req.get_body_file()
  if path then
    local file, err = io.open(path, "rb")
    body = file and file:read(limit + 1)
    if file then file:close() end
    if not body then
      complain.once(app, "internal", { message = "body file: " .. (err or "cannot be read") })
      return nil, 503
    end
  end
  if body and #body > limit then return nil, 413 end
  return body or ""
end

-- Marks a request that the app has counted, so that the log handler does not count it again.
local function told(status, ...)
  if status >= 400 then ngx.ctx.billhook_told = true end
  return say(status, ...)
end

local CONDITIONS = { { "http_if_match", "If-Match" }, { "http_if_none_match", "If-None-Match" },
  { "http_if_unmodified_since", "If-Unmodified-Since" } }

-- By these, nginx would answer 412 or 304 in place of the 200 of what is stored by then.
local function drop_conditions()
  for _, one in ipairs(CONDITIONS) do
    if ngx.var[one[1]] then ngx.req.clear_header(one[2]) end
  end
end

local function handle(app, account)
  if ngx.req.get_method() ~= "POST" then
    return say(405, '{"error":"method not allowed"}', { Allow = "POST" })
  end
  local store = adopt(app)
  -- the sender's address as nginx knows it: from a proxy's header if nginx was told to trust it
  local given, sender = ngx.req.get_headers(0, true), ngx.var.remote_addr
  drop_conditions()
  local status, answer, fields = intake.early(app, account, given, tonumber(ngx.var.content_length),
    sender)
  if status then return told(status, answer, fields) end
  local body, code = read_body(app, intake.limit(app.accounts[account]))
  if not body then return say(intake.refusal(code)) end
  status, answer, fields = app:receive(account, given, body, sender)
  if status == 200 and store.wake:count() <= 0 then store.wake:post() end
  told(status, answer, fields)
end

--- Content handler: receives a delivery of an account. Never raises.
---@param app table what billhook.app gave
---@param account string the account's name in it
function M.receive(app, account)
  local ok, err = pcall(handle, app, account)
  if ok then return end
  complain.once(app, "internal", { message = "receive: " .. tostring(err) })
  if not ngx.headers_sent then say(intake.refusal(503)) end
end

-- What a person looks for first when something is wrong.
local function details(app)
  local mine, stats
  local ok, why = strict.run(app, function(store)
    mine, stats = accounts.load(app, store), store:stats()
    return true
  end)
  if not ok then return { ok = false, error = tostring(why) } end
  local named = {}
  for name, account in pairs(mine) do
    named[name] = { paused = account.memory.fault ~= nil, fault = account.memory.fault,
      moved = account:moved() or nil, polled_at = account.memory.polled_at }
  end
  local dictionary, well, err = shared.workers(), true, nil
  if dictionary then well, err = dictionary:health(pending.OPEN_FOR) end
  return { ok = well or false, error = err and tostring(err), accounts = named,
    incoming = stats.incoming, pending = stats.pending, dead = stats.dead,
    oldest = stats.oldest or 0 }
end

--- Content handler: 200 while the inbox can be written, else 503.
---@param app table
---@param detailed boolean|nil true: says what is there, and what is wrong; for your own monitoring
function M.healthz(app, detailed)
  adopt(app)
  local well, err = app:health()
  if not well then complain.once(app, "unhealthy", { message = tostring(err) }) end
  if detailed then
    local found = well and details(app) or { ok = false, error = tostring(err) }
    return say(found.ok and 200 or 503, json.encode(found))
  end
  if well then return say(200, '{"ok":true}') end
  return told(intake.refusal(503))
end

-- Did a program on this machine ask, and not through a proxy? A request from a proxy names another
-- host, or has a header that says for whom it is.
local function is_near()
  local from, host = ngx.var.remote_addr, (ngx.var.http_host or "localhost"):gsub(":%d+$", "")
  if from ~= "unix:" and not usage.is_local(from or "") or not usage.is_local(host) then
    return false
  end
  for name in pairs(ngx.req.get_headers(0)) do
    if name:find "^x%-forwarded" or name == "forwarded" or name == "via" or name == "x-real-ip" then
      return false
    end
  end
  return true
end

--- Content handler: the metrics of app/metrics.lua, as Prometheus text.
---@param app table
---@param extra string|nil more of such text
---@param near boolean|nil true: only for who asks from this machine, through no proxy; 404 for
---  others
function M.metrics(app, extra, near)
  if near and not is_near() then return say(404, '{"error":"not found"}') end
  adopt(app)
  local text, err = metrics.text(app, extra)
  if err then complain.once(app, "no_metrics", { message = tostring(err) }) end
  say(200, text, { ["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8" })
end

local codes = {
  [400] = "request", [404] = "path", [405] = "method", [408] = "slow", [413] = "size",
  [499] = "gone", [503] = "host",
}

--- Log handler (log_by_lua), where wanted: counts and logs what was refused before the app saw it:
--- by nginx itself, or since the client was too slow, or left.
---@param app table
function M.count(app)
  local status = ngx.status
  if status < 400 or ngx.ctx.billhook_told then return end
  -- what nginx could not read has been led to another location, or has no URI
  local account = (ngx.var.uri or ""):match("^/webhooks/([^/]+)/?$")
    or (ngx.var.request_uri or ""):match("^/webhooks/([^/?]+)/?%f[?%z]")
  local code = codes[status] or tostring(status)
  if ngx.var.limit_conn_status == "REJECTED" then code = "connections" end
  intake.refused(app, account, status, { code = code, from = ngx.var.remote_addr })
end

-- Also when nginx quits: what was counted since is not lost.
local function hand_over(_, app)
  complain.rest(app)
  local ok, err = metrics.flush(app)
  if not ok then complain.once(app, "no_metrics", { message = tostring(err) }) end
end

-- One round of work; the next follows at once if rules ran, and otherwise when a delivery arrives,
-- or after a while. A rule may wait for an API, so several of these run concurrently.
local function work(premature, app, store)
  if premature then return end
  local done, ran, err = pcall(function()
    local tended, why = app:tend()
    if not tended then return nil, why end
    return app:work { limit = 16, stop = ngx.worker.exiting }
  end)
  if not done then ran, err = nil, ran end
  if not ran then complain.once(app, "no_work", { message = tostring(err) }) end
  if (ran or 0) == 0 and not ngx.worker.exiting() then store.wake:wait(idle) end
  if ngx.worker.exiting() then return end -- a timer without a delay would still be taken
  local ok, why = ngx.timer.at(0, work, app, store)
  if not ok then log(ngx.ERR, "work: no timer, fewer rules run from now on: ", why) end
end

local advice = {
  { "thread pool %S+ not found", "add to nginx.conf, outside of http: "
    .. "thread_pool billhook threads=10 max_queue=1000;" },
  { "no available Lua vm", "lua_worker_thread_vm_pool_size is less than start's option vms" },
  { "no libcurl", "build/luajit/billhook/curl.so is not on lua_package_cpath: no API calls" },
}

local function first_timer(premature)
  if premature then return end
  local said = {}
  gate.warm("billhook.transport.thread", function(message)
    if said[message] then return end
    said[message] = true
    for _, case in ipairs(advice) do
      if message:find(case[1]) then message = message .. " (" .. case[2] .. ")" end
    end
    log(ngx.ERR, message)
  end)
end

-- Rules that wait only for what nginx waits for can be watched by a timer here.
local function watch_over(app)
  local name = owner.name() .. "/"
  local watch = watches.new(app, function(holder)
    return holder:sub(1, #name) == name
  end)
  local busy = false
  assert(ngx.timer.every(looking, function(premature)
    if premature or busy then return end
    busy = true
    pcall(watch.round, watch) -- where the inbox fails, those who work say so
    busy = false
  end))
end

local known_options = { work = { "boolean" }, pool = { "string" }, vms = { "number" },
  body_time = { "number" }, capture = { "string" } }

--- In init_worker: makes the worker VMs, and runs rules from timers.
---@param app table what billhook.app gave
---@param options table|nil work (true): run rules here; pool ("billhook"): the thread_pool's
---  name; vms (10): lua_worker_thread_vm_pool_size, or less where other code uses some of them;
---  body_time (30): seconds in which the whole body of a delivery must have come; capture: a folder
---  in which some of what is refused is kept (nginx/capture.lua)
function M.start(app, options)
  options = usage.read(known_options, options, "start", 2)
  if ngx.worker.id() == nil then return end -- a helper process serves nobody
  body_time = options.body_time or body_time
  if options.capture then app:keep_refused(capture.new(options.capture)) end
  if options.pool or options.vms then
    gate.configure { pool = options.pool, vms = options.vms }
  end
  local store = adopt(app)
  assert(ngx.timer.at(0, first_timer))
  assert(ngx.timer.every(handing_over, hand_over, app))
  if options.work == false or rawget(store, "works") then return end
  store.works = true
  if ngx.worker.id() == 0 then warnings.tell(app) end
  for _ = 1, chains do assert(ngx.timer.at(0, work, app, store)) end
  watch_over(app)
end

return M

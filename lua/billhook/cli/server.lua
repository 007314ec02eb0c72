-- cli/server.lua: what nginx is to do for `serve`: the text of its http block.

local nginx = require "billhook.cli.nginx"

local M = {}

local text = [[
  lua_shared_dict billhook 1m;
$PROXIES  map $remote_addr $billhook_sender { # who is on this machine is a proxy, and not counted
    127.0.0.1 "";
    ::1 "";
    unix: "";
    default $binary_remote_addr;
  }
  limit_conn_zone $billhook_sender zone=billhook_senders:2m;
  limit_conn_zone $server_port zone=billhook_all:64k;
  limit_conn_log_level info;
  init_worker_by_lua_block {
    $PATHS
    local ffi = require "ffi" -- no worker outlives a master that was killed with -9
    ffi.cdef "int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);"
    ffi.C.prctl(1, 9, 0, 0, 0)
    collectgarbage("setpause", 400) -- what stays is 1 MB: looked at half as often, for 3 MB more
    require("billhook.openresty").start(
      assert(require("billhook.cli.rules").load $RULES), {
        work = false, body_time = $PATIENCE$CAPTURE })
  }
$ADMIN$PAGE  server {
    listen $LISTEN;
    # What nginx says of requests is what strangers make it say, a line each; billhook counts them.
    error_log stderr crit;
    error_page $BAD /bad-request;
    error_page 413 @large;
    error_page 503 @busy;
    log_by_lua_block {
      if ngx.status >= 400 then
        require("billhook.openresty").count(assert(require("billhook.cli.rules").load $RULES))
      end
    }
    location ~ ^/webhooks/([^/]+)/?$ {
      error_page $BAD /bad-request;
      error_page 413 @large;
      error_page 503 @busy;
      error_page 500 = @failed; # nginx could not keep the body: the run folder is full
      reset_timedout_connection off; # a refusal reaches whoever still sends his body
      limit_conn billhook_all $MOST; # the rest is for who looks after this
$PER_ADDRESS      content_by_lua_block {
        require("billhook.openresty").receive(
          assert(require("billhook.cli.rules").load $RULES), ngx.var[1])
      }
    }
    location = /healthz {
      content_by_lua_block {
        require("billhook.openresty").healthz(assert(require("billhook.cli.rules").load $RULES))
      }
    }
$METRICS    location / { return 404 '{"error":"not found"}'; }
    location @busy {
      reset_timedout_connection off;
      add_header Retry-After 5 always;
      return 503 '{"error":"too many connections"}';
    }
    location @failed {
      add_header Retry-After 5 always;
      return 503 '{"error":"no room for the body"}';
    }
    location = /bad-request { return 400 '{"error":"bad request"}'; }
    location @large {
      reset_timedout_connection off;
      return 413 '{"error":"body too large"}';
    }
  }
]]

-- For whoever looks after this.
local admin = [[
  server {
    listen $ADDRESS;
    error_log stderr crit;
    error_page $BAD 413 /bad-request;
    client_max_body_size 1k;
    limit_conn billhook_all $FEW;
    location = /healthz {
      content_by_lua_block {
        require("billhook.openresty").healthz(
          assert(require("billhook.cli.rules").load $RULES), true)
      }
    }
    location = /metrics {
      content_by_lua_block {
        require("billhook.openresty").metrics(assert(require("billhook.cli.rules").load $RULES))
      }
    }
    location = /bad-request { return 400 '{"error":"bad request"}'; }
    location / { return 404 '{"error":"not found"}'; }
  }
]]

-- Where there is no listener for it: for this machine, and not through a proxy on it.
local metrics = [[
    location = /metrics {
      content_by_lua_block {
        require("billhook.openresty").metrics(
          assert(require("billhook.cli.rules").load $RULES), nil, true)
      }
    }
]]

-- For whoever has the password.
local page = [[
  server {
    listen $ADDRESS;
    error_log stderr crit;
    error_page $BAD 413 /bad-request;
    client_max_body_size 16k;
    client_body_buffer_size 16k;
    location = /bad-request {
      default_type text/plain;
      return 400 "bad request\n";
    }
    location / {
      error_page $BAD 413 /bad-request;
      error_page 503 @busy;
      limit_conn billhook_all $FEW;
      content_by_lua_block {
        require("billhook.nginx.page").page(
          assert(require("billhook.cli.rules").load $RULES), $ORIGIN, $PATIENCE)
      }
    }
    location @busy {
      default_type text/plain;
      add_header Retry-After 5 always;
      return 503 "too many connections\n";
    }
  }
]]

-- Requests at once of those who look after this: more would take the room of the vendors' ones.
local FEW = "100"

-- What nginx itself refuses, with a page of its own. No named location: such a request may have no
-- URI, and nginx answers it with 500 there.
local BAD = "400 405 414 494 501 505"

local function filled(template, values) return (template:gsub("%$([%u_]+)", values)) end

local function text_of(listener) return listener.host .. ":" .. listener.port end

---The http block.
---@param rules string path of the rules file
---@param options table `listeners`: { host, port, near } by name: main, and where wanted admin
---  and page; `page_url`: where a TLS proxy shows the latter; `workers`, `connections`, `patience`:
---  as nginx.conf takes them; `per_address`: connections that one address may have (0: any);
---  `proxies`: addresses whose X-Forwarded-For is believed; `capture`: folder for what is refused
---@param paths table|nil `lua_path` and `lua_cpath`, where only the workers may have them
---@return string
function M.http(rules, options, paths)
  local main, own, paged = options.listeners.main, options.listeners.admin, options.listeners.page
  local all = (options.workers or 1) * math.floor(nginx.room(options.connections) * 3 / 4)
  local values = { RULES = "(" .. nginx.lua_quote(rules) .. ")",
    LISTEN = text_of(main), PATHS = "", PROXIES = "", PER_ADDRESS = "", ADMIN = "", METRICS = "",
    PAGE = "", BAD = BAD,
    CAPTURE = options.capture and ", capture = " .. nginx.lua_quote(options.capture) or "",
    MOST = ("%d"):format(all), PATIENCE = ("%d"):format(options.patience) }
  for _, address in ipairs(options.proxies) do
    values.PROXIES = values.PROXIES .. ("  set_real_ip_from %s;\n"):format(nginx.quote(address))
  end
  if #options.proxies > 0 then
    values.PROXIES = values.PROXIES .. "  real_ip_header X-Forwarded-For;\n"
      .. "  real_ip_recursive on;\n"
  end
  if options.per_address > 0 then
    values.PER_ADDRESS = ("      limit_conn billhook_senders %d;\n"):format(options.per_address)
  end
  if own then
    values.ADMIN = filled(admin, { ADDRESS = text_of(own), RULES = values.RULES, FEW = FEW,
      BAD = BAD })
  elseif main.near then
    values.METRICS = filled(metrics, values)
  end
  if paged then
    values.PAGE = filled(page, { ADDRESS = text_of(paged), RULES = values.RULES, FEW = FEW,
      BAD = BAD, PATIENCE = values.PATIENCE,
      ORIGIN = options.page_url and nginx.lua_quote(options.page_url) or "nil" })
  end
  if paths then
    values.PATHS = ("package.path, package.cpath = %s .. package.path, %s .. package.cpath")
      :format(nginx.lua_quote(paths.lua_path .. ";"), nginx.lua_quote(paths.lua_cpath .. ";"))
  end
  return filled(text, values)
end

return M

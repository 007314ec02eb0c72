-- cli/server.lua: what nginx is to do for `serve`: the text of its http block.

local nginx = require "billhook.cli.nginx"

local M = {}

local text = [[
  lua_shared_dict billhook 1m;
  init_worker_by_lua_block {
    $PATHS
    local ffi = require "ffi" -- no worker outlives a master that was killed with -9
    ffi.cdef "int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);"
    ffi.C.prctl(1, 9, 0, 0, 0)
    require("billhook.openresty").start(
      assert(require("billhook.cli.rules").load $RULES), { work = false })
  }
  server {
    listen $LISTEN;
    error_page 413 @large;
    log_by_lua_block {
      if ngx.status >= 400 then
        require("billhook.openresty").count(assert(require("billhook.cli.rules").load $RULES))
      end
    }
    location ~ ^/webhooks/([^/]+)$ {
      content_by_lua_block {
        require("billhook.openresty").receive(
          assert(require("billhook.cli.rules").load $RULES), ngx.var[1])
      }
    }
    location = /healthz {
      content_by_lua_block {
        require("billhook.openresty").healthz(assert(require("billhook.cli.rules").load $RULES))
      }
    }
    location = /metrics {
      content_by_lua_block {
        require("billhook.openresty").metrics(assert(require("billhook.cli.rules").load $RULES))
      }
    }
    location / { return 404 '{"error":"not found"}'; }
    location @large { return 413 '{"error":"body too large"}'; }
  }
]]

---The http block.
---@param rules string path of the rules file
---@param host string
---@param port string
---@param paths table|nil `lua_path` and `lua_cpath`, where only the workers may have them
---@return string
function M.http(rules, host, port, paths)
  local values = { RULES = "(" .. nginx.lua_quote(rules) .. ")", LISTEN = host .. ":" .. port,
    PATHS = "" }
  if paths then
    values.PATHS = ("package.path, package.cpath = %s .. package.path, %s .. package.cpath")
      :format(nginx.lua_quote(paths.lua_path .. ";"), nginx.lua_quote(paths.lua_cpath .. ";"))
  end
  return (text:gsub("%$(%u+)", values))
end

return M

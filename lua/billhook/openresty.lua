-- openresty.lua - the door for nginx with lua-nginx-module, OpenResty or Debian's.
--
--   http {
--     init_worker_by_lua_block { require("billhook.openresty").start(require "rules") }
--     server {
--       location /webhooks/school {
--         content_by_lua_block { require("billhook.openresty").receive(require "rules", "school") }
--       }
--       location /healthz {
--         content_by_lua_block { require("billhook.openresty").healthz(require "rules") }
--       }
--       location /metrics { # allow it to your own machines only
--         content_by_lua_block { require("billhook.openresty").metrics(require "rules") }
--       }
--     }
--   }
--
-- What nginx.conf needs besides is named in host/openresty.lua.

return require "billhook.host.openresty"

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
--     }
--   }
--
-- What nginx.conf needs besides is named in host/openresty.lua.

return require "billhook.host.openresty"

-- spec/helper.lua: what every busted run needs first: the project's own paths.
-- BILLHOOK_BUILD names another folder of shared objects (a sanitized build). Lua 5.1 takes those
-- of LuaJIT.
local build = os.getenv("BILLHOOK_BUILD")
  or (_VERSION == "Lua 5.4" and "build/lua5.4" or "build/luajit")

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = build .. "/?.so;" .. package.cpath

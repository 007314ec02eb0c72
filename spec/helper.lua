-- spec/helper.lua: what every busted run needs first: the project's own paths.
-- BILLHOOK_BUILD names another folder of shared objects (a sanitized build).
local jit = rawget(_G, "jit")
local build = os.getenv("BILLHOOK_BUILD") or (jit and "build/luajit" or "build/lua5.4")

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = build .. "/?.so;" .. package.cpath

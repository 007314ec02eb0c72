-- spec/helper.lua: what every busted run needs first: the project's own paths.
-- BILLHOOK_BUILD names another folder of shared objects (a sanitized build). Lua 5.1 takes those
-- of LuaJIT.
local build = os.getenv("BILLHOOK_BUILD")
  or (_VERSION == "Lua 5.4" and "build/lua5.4" or "build/luajit")

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = build .. "/?.so;" .. package.cpath

-- spec/long/collector and spec/long/locale run specs so: a collector that never rests, and
-- C's idea of numbers with a decimal comma.
if os.getenv "BILLHOOK_COLLECTOR" == "generational" then
  collectgarbage("generational", 1, 1)
elseif os.getenv "BILLHOOK_COLLECTOR" then
  collectgarbage("setpause", 1)
  collectgarbage("setstepmul", 1000)
end
local locale = os.getenv "BILLHOOK_LOCALE"
if locale then assert(os.setlocale(locale, "numeric"), "no such locale: " .. locale) end

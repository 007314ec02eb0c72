-- run.lua: the crash tests. Prints TAP.
--
--   lua5.4 spec/crash/run.lua kill SECONDS KILLS [SEED]
--   lua5.4 spec/crash/run.lua signals SECONDS [SEED]
--
-- `kill`: an independent sender posts as fast as it can, while `billhook serve`
-- and all that belongs to it are killed with -9 at random moments; then the
-- inbox is drained, and judge.lua looks at what has become of each delivery.
-- With BILLHOOK_CRASH=postgresql there are two of each on one PostgreSQL, which
-- is ended at once and started again as well.

package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
package.cpath = "build/lua5.4/?.so;" .. package.cpath

local process = require "billhook.process"

local mode, seconds = arg[1] or "kill", tonumber(arg[2] or "20")
local seed = tonumber(arg[mode == "kill" and 4 or 3]) or os.time() % 1000000
math.randomseed(seed)
print(("# %s for %d s, seed %d"):format(mode, seconds, seed))

local number, failed = 0, 0
local function say(ok, name)
  number = number + 1
  if not ok then failed = failed + 1 end
  print(("%s %d - %s"):format(ok and "ok" or "not ok", number, name))
end

local folder = assert(process.mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/billhook-crash"))
local scene = require("spec.crash." .. mode)
local fine, why = xpcall(scene.play, debug.traceback, {
  folder = folder, seconds = seconds, kills = tonumber(arg[3] or "0"), seed = seed, say = say,
})
if not fine then say(false, "the test ran to its end: " .. tostring(why):gsub("\n", "\n# ")) end
print("1.." .. number)
if failed == 0 or os.getenv "BILLHOOK_KEEP" == nil then
  process.remove_tree(folder)
else
  print("# kept: " .. folder)
end
os.exit(failed == 0 and 0 or 1)

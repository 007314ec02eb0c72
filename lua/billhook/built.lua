-- built.lua: says it where a shared object was built for another Lua than the one that loads it.
-- The system's own words for that are "undefined symbol: lua_isinteger".

local M = {}

-- Which Lua a shared object was built for, by a function that it asks of it.
local function built_for(path)
  local file = io.open(path, "rb")
  if not file then return "another Lua" end
  local bytes = file:read("*a")
  file:close()
  return bytes:find("lua_newuserdatauv", 1, true) and "Lua 5.4" or "Lua 5.1 or LuaJIT"
end

---What went wrong with a `require`, in words that say what to do about it.
---@param why any what it raised
---@return any
function M.explain(why)
  local path = type(why) == "string" and why:match("([^%s:\']+%.so): undefined symbol: luaL?_")
  if not path then return why end
  local jit = rawget(_G, "jit")
  local version = jit and "5.1" or _VERSION:match("%d+%.%d+")
  return ("%s was built for %s and this is %s: build billhook for it (`make`, or `luarocks"
    .. " --lua-version %s make`), or put what was built for it first in package.cpath"):format(
    path, built_for(path), jit and jit.version or _VERSION, version)
end

return M

-- cli/paths.lua: where billhook's files lie, for this Lua and for nginx's
-- LuaJIT, and how to start the command again as a child.

local process = require "billhook.process"

local M = {}

-- plain 5.1 has no searchpath
local function here(name, path)
  for template in path:gmatch "[^;]+" do
    local file = process.realpath((template:gsub("%?", (name:gsub("%.", "/")))))
    if file then return file end
  end
end

-- where the twin of an object for the 5.1 ABI may lie: a checkout's other
-- build folder, or the other version's folder of the same tree
local function twin(file)
  if _VERSION == "Lua 5.1" then return file end -- LuaJIT says so too
  for _, pair in ipairs { { "/lua5%.%d/billhook/", "/luajit/billhook/" },
    { "/lua/5%.%d/billhook/", "/lua/5.1/billhook/" } } do
    local path, n = file:gsub(pair[1], pair[2])
    if n == 1 then return path end
  end
  return file:gsub("[^/]*$", "") .. "5.1/core.so"
end

local no_objects = "billhook's C objects are not built: run make, or luarocks make"
local no_twin = "nginx runs LuaJIT, and billhook's objects for it are missing (%s);"
  .. " luarocks --lua-version 5.1 make LUA_INCDIR=/usr/include/luajit-2.1 adds them"

---Paths for nginx's LuaJIT.
---@return string|nil lua_path
---@return string lua_cpath, or why there is none
function M.luajit()
  local object = here("billhook.core", package.cpath)
  if not object then return nil, no_objects end
  local path = twin(object)
  if not process.stat(path) then return nil, no_twin:format(path) end
  local share = here("billhook.cli.paths", package.path):gsub("/billhook/cli/paths%.lua$", "")
  return share .. "/?.lua;" .. share .. "/?/init.lua", (path:gsub("/billhook/core%.so$", "/?.so"))
end

-- The same templates without a relative folder, which a child may not have.
local function absolute(path)
  return (path:gsub("[^;]+", function(template)
    local folder, rest = template:match "^([^?]-)/(%?.*)$"
    if not folder or folder == "." then return template end
    return (process.realpath(folder) or folder) .. "/" .. rest
  end))
end

---Where the command itself lies.
---@return string
function M.script()
  local path = require("billhook.cli").script
  return process.realpath(path) or path
end

---The arguments that start this command again, by the same Lua with the same paths.
---@param ... string
---@return string[]
function M.again(...)
  local line, lowest = _G.arg, 0 -- a plain `arg` is another one in here, on 5.1
  while line[lowest - 1] do lowest = lowest - 1 end
  local setup = ("package.path=%q package.cpath=%q"):format(absolute(package.path),
    absolute(package.cpath))
  local argv = { line[lowest], "-e", setup, M.script() }
  for _, word in ipairs { ... } do argv[#argv + 1] = word end
  return argv
end

---One of the example files, beside the command's own folder.
---@param name string
---@return string|nil path
---@return string|nil message
function M.example(name)
  local top = M.script():gsub("/?[^/]*/[^/]*$", "")
  for _, folder in ipairs { "/examples/", "/share/billhook/examples/" } do
    local path = process.realpath(top .. folder .. name)
    if path then return path end
  end
  return nil, "found no examples/" .. name .. " beside " .. M.script()
end

return M

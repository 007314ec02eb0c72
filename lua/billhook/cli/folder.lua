-- cli/folder.lua: folders for the files of a running nginx. Each names the
-- process that it is for, so that what a killed one has left is removed by the
-- next that needs one.

local owner = require "billhook.inbox.owner"
local process = require "billhook.process"
local trust = require "billhook.cli.trust"

local M = {}

local OPEN = 457 -- 0711: nginx's workers, who may be another user, go through it to their folders
local TEMPORARY = "^billhook%.%w%w%w%w%w%w$"

local function first_line(path)
  local file = io.open(path)
  if not file then return nil end
  local line = file:read "*l"
  file:close()
  return line
end

local function by_others(mode) return mode % 4 >= 2 or mode % 32 >= 16 end -- 0002, 0020

-- Ours, written by nobody else, and of a process that is known to be gone.
local function is_stale(path)
  local found = process.stat(path, true)
  if not found or found.type ~= "directory" or found.uid ~= process.uid()
    or by_others(found.mode) then return false end
  local mark = process.stat(path .. "/owner", true)
  local name = mark and mark.type == "file" and first_line(path .. "/owner")
  return name ~= nil and name ~= false and not owner.alive(name)
end

local function clean(top)
  for _, name in ipairs(process.entries(top) or {}) do
    local path = top .. "/" .. name
    if name:find(TEMPORARY) and is_stale(path) then process.remove_tree(path) end
  end
end

-- Where others may rename the folder that was just made, it is none to start nginx from.
local function fresh(top)
  clean(top)
  local path, err = process.mkdtemp(top .. "/billhook")
  if not path then return nil, err end
  local real = process.realpath(path) or path
  local why = trust.refusal(real)
  if not why then return real end
  process.remove_tree(path)
  return nil, why
end

local function temporary()
  local top, path, err = os.getenv "TMPDIR", nil, nil
  if top and top ~= "/tmp" then path, err = fresh(top) end
  if not path then
    local other
    path, other = fresh "/tmp"
    err = err or other
  end
  if not path then return nil, err end
  local ok
  ok, err = process.replace(path .. "/owner", owner.name() .. "\n")
  if not ok then
    process.remove_tree(path)
    return nil, err
  end
  process.chmod(path, OPEN)
  return path
end

---A folder for nginx's files.
---@param given string|nil made where it is missing; a temporary one by default
---@return string|nil path
---@return string|nil message
function M.make(given)
  if not given then return temporary() end
  if not process.stat(given) then
    local ok, err = process.mkdir(given, OPEN)
    if not ok then return nil, err end
  end
  local why = trust.refusal(given) -- also of the links that lead there
  if why then return nil, why end
  local path, err = process.realpath(given)
  if not path then return nil, err end
  os.remove(path .. "/nginx.pid") -- of an earlier one
  for _, name in ipairs(process.entries(path) or {}) do -- of a time when the folder was another's
    local found = process.stat(path .. "/" .. name, true)
    if found and found.type == "link" then os.remove(path .. "/" .. name) end
  end
  return path
end

---Lets nginx's workers, who are another user, get to their own folders in it.
---@param path string
function M.open(path) process.chmod(path, OPEN) end

return M

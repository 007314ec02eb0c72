-- cli/trust.lua: who besides root may change what lies at a path. `serve` as
-- root reads and writes configuration and loads code: where another user may
-- replace that, the user would be root.
--
-- A folder that somebody may write lets him rename and replace what is in it,
-- but for a sticky one (/tmp), where everybody has only his own. So a file is
-- as safe as the least safe folder on the way to it.

local process = require "billhook.process"

local M = {}

local function has(mode, bit) return mode % (2 * bit) >= bit end

-- Many systems give each user a group of his own, of the same name: that is he himself.
local function by_others(found)
  if has(found.mode, 2) then return true end
  if not has(found.mode, 16) then return false end
  local owner = process.user(found.uid)
  return not (owner and owner.gid == found.gid and owner.group == owner.name)
end

local function name_of(uid)
  local found = process.user(uid)
  return found and found.name or ("user %d"):format(uid)
end

-- Where nothing is yet, who may make it may also choose what.
local function nearest(path)
  local real = process.realpath(path)
  while not real and path:find "/" do
    path = path:gsub("/*[^/]*$", "")
    real = process.realpath(path == "" and "/" or path)
  end
  return real or process.realpath "."
end

---Adds who may change what is at a path, and everything on the way to it.
---@param path string
---@param into table|nil what this gave for another path
---@return table { users = uid -> path for each but root, anybody = path|nil }
function M.changers(path, into)
  local found, real = into or { users = {} }, nearest(path)
  local function look(at)
    local here = process.stat(at, true)
    if not here then return end
    if here.uid ~= 0 then found.users[here.uid] = found.users[here.uid] or at end
    local sticky = at ~= real and has(here.mode, 512)
    if by_others(here) and not sticky then found.anybody = found.anybody or at end
  end
  look "/"
  for ends in real:gmatch "[^/]+()" do look(real:sub(1, ends - 1)) end
  return found
end

---The folder on the way to a path that a user cannot pass; nil: none.
---@param user table
---@param path string
---@return string|nil
function M.wall(user, path)
  for ends in path:gmatch "[^/]+()" do
    local at = path:sub(1, ends - 1)
    local here = process.stat(at)
    local bit = here and (here.uid == user.uid and 64 or here.gid == user.gid and 8 or 1)
    if here and not has(here.mode, bit) then return at end
  end
end

---Why a folder is none in which only we write; nil: it is one.
---@param folder string
---@return string|nil
function M.refusal(folder)
  local found = M.changers(folder)
  if found.anybody then
    return ("%s: others may change %s, and nginx is started by what lies there"):format(folder,
      found.anybody)
  end
  for uid, path in pairs(found.users) do
    if uid ~= process.uid() then
      return ("%s: %s may change %s, and nginx is started by what lies there"):format(folder,
        name_of(uid), path)
    end
  end
end

local mixed = "root does not load %s: %s may change %s; make it root's alone, or start serve as a"
  .. " user of its own"

---Whose code that is which the rules file consists of, as root sees it.
---@param rules string path of the rules file
---@return table|false|nil user who may change it; false: nobody but root
---@return string message of the path that the user may change; or why it can't be run by anybody
function M.author(rules)
  local found = M.changers(rules)
  for template in (package.path .. ";" .. package.cpath):gmatch "[^;]+" do
    M.changers(template:match "^([^?]*)/[^/?]*%?" or template:match "^([^?]*)/" or ".", found)
  end
  if found.anybody then return nil, mixed:format(rules, "others", found.anybody) end
  local uid, path = next(found.users)
  if not uid then return false, "" end
  local other, second = next(found.users, uid)
  if other then
    local both = ("%s may change %s, and %s"):format(name_of(uid), path, name_of(other))
    return nil, ("root does not load %s: %s may change %s"):format(rules, both, second)
  end
  local user = process.user(uid)
  if not user then return nil, mixed:format(rules, name_of(uid), path) end
  return user, path
end

local function path_of(inbox) return inbox:match "^sqlite:(.+)$" end
local function folder_of(path) return path:match "^(.+)/[^/]*$" or path:match "^/" or "." end

local takes = "the inbox %s %s: root does not become %s for that; make the file and its folder the"
  .. " user's own, or start serve as that user"

-- Why the owner of the file need not be who the inbox was meant for.
local function foreign(file, path)
  local above = process.stat(folder_of(path))
  local ways = M.changers(folder_of(path))
  if ways.anybody then return "belongs to %s, and others may change " .. ways.anybody end
  for uid, at in pairs(ways.users) do
    if uid ~= file.uid then return "belongs to %s, and " .. name_of(uid) .. " may change " .. at end
  end
  if file.size == 0 and above and above.uid ~= file.uid then
    return "is empty and belongs to %s, its folder does not"
  end
end

---Refuses an inbox that anybody may write.
---@param inbox string
---@return table|nil file what process.stat gives, false where there is no such file yet
---@return string|nil message
function M.inbox(inbox)
  local path = path_of(inbox)
  local file = path and process.stat(path)
  if not file then return false end
  if has(file.mode, 2) then
    return nil, ("anybody may write the inbox %s: chmod 600 it, if what is in it is to be believed")
      :format(path)
  end
  return file
end

---Who owns the inbox of a serve that root has started, or will: the folder's owner.
---@param inbox string
---@return table|false|nil user false: whoever we are; nil: nobody that can be taken for it
---@return string|nil message
function M.owner(inbox)
  local path = path_of(inbox)
  local file, err = M.inbox(inbox)
  if file == nil then return nil, err end
  if not path or process.uid() ~= 0 then return false end
  local found = file or process.stat(folder_of(path))
  if not found or found.uid == 0 then return false end
  local user = process.user(found.uid)
  local why = file and foreign(file, path)
  if why or not user then
    local name = name_of(found.uid)
    return nil, takes:format(path, (why or "belongs to %s"):format(name), name)
  end
  return user
end

---A line about an inbox of another user than the one who is to work on it; nil: none.
---@param inbox string
---@return string|nil
function M.stranger(inbox)
  local file = M.inbox(inbox)
  if not file or file.uid == process.uid() then return nil end
  return ("the inbox %s belongs to %s, and this runs as %s"):format(path_of(inbox),
    name_of(file.uid), name_of(process.uid()))
end

return M

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

local LINKS = 40 -- on one way, as the kernel takes them

-- The path as a list of names, from the root on.
local function names_of(path, into)
  local at = 0
  for name in path:gmatch "[^/]+" do
    if name ~= "." then
      at = at + 1
      table.insert(into, at, name)
    end
  end
  return into
end

---Adds who may change what is at a path, and everything on the way to it: its folders, and where
---links lead. Where nothing is yet, who may make it may also choose what.
---@param path string
---@param into table|nil what this gave for another path
---@return table { users = uid -> path for each but root, anybody = path|nil }
function M.changers(path, into)
  local found = into or { users = {} }
  if path:sub(1, 1) ~= "/" then path = (process.realpath "." or "") .. "/" .. path end
  local names, at, links = names_of(path, {}), "", 0
  local here = process.stat "/"
  local function look(last)
    local shown = at == "" and "/" or at
    if here.uid ~= 0 then found.users[here.uid] = found.users[here.uid] or shown end
    if here.type == "link" then return end -- its mode says nothing
    local sticky = not last and has(here.mode, 512)
    if by_others(here) and not sticky then found.anybody = found.anybody or shown end
  end
  while names[1] and links <= LINKS do
    local name = table.remove(names, 1)
    if name == ".." then
      at = at:gsub("/[^/]*$", "")
      here = process.stat(at == "" and "/" or at)
    else
      local further = process.stat(at .. "/" .. name, true)
      look(not further) -- the folder that it is in
      if not further then return found end
      here, at = further, at .. "/" .. name
      if here.type == "link" then
        look()
        links = links + 1
        names = names_of(here.target or "", names)
        at = (here.target or ""):find "^/" and "" or at:gsub("/[^/]*$", "")
        here = process.stat(at == "" and "/" or at)
      end
    end
    if not here then return found end
  end
  look(true)
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

local started_by = "nginx is started from there"

---Why a path is none that only we may change; nil: it is one.
---@param path string
---@param use string|nil what it is for, as an end of the sentence
---@param user integer|nil who may change it beside root; who we are by default
---@return string|nil
function M.refusal(path, use, user)
  local found = M.changers(path)
  if found.anybody then
    return ("%s: others may change %s, and %s"):format(path, found.anybody, use or started_by)
  end
  for uid, at in pairs(found.users) do
    if uid ~= (user or process.uid()) then
      return ("%s: %s may change %s, and %s"):format(path, name_of(uid), at, use or started_by)
    end
  end
end

---A rules file is read more than once, by several processes: a pipe or a folder is none.
---@param path string
---@return boolean|nil
---@return string|nil message
function M.regular(path)
  local found, err = process.stat(path)
  if not found then return nil, err end
  if found.type == "file" then return true end
  return nil, ("%s is not a file but a %s"):format(path, found.type)
end

local mixed = "root does not load %s: %s may change %s; let root alone change it, or start"
  .. " serve as a user of its own"

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

local takes = "the inbox %s %s: so root does not change to %s; make the file and its folder the"
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

---Refuses an inbox that anybody may write, and what SQLite would wait for.
---@param inbox string
---@return table|nil file what process.stat gives, false where there is no such file yet
---@return string|nil message
function M.inbox(inbox)
  local path = path_of(inbox)
  local file = path and process.stat(path)
  if not file then return false end
  if file.type == "pipe" or file.type == "device" then -- which would be waited for, for ever
    return nil, ("the inbox %s is not a file but a %s"):format(path, file.type)
  end
  if has(file.mode, 2) then
    return nil, ("anybody may write the inbox %s: check what is in it, then chmod 600 it")
      :format(path)
  end
  return file
end

-- Root reads and writes an inbox only where nobody else can put another thing in its place.
local function of_root(path)
  local why = M.refusal(path, "root writes there; --user says who receives and runs the rules")
  if why then return nil, "the inbox " .. why end
  return false
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
  if not found or found.uid == 0 then return of_root(path) end
  local user = process.user(found.uid)
  local why = file and foreign(file, path)
  if why or not user then
    local name = name_of(found.uid)
    return nil, takes:format(path, (why or "belongs to %s"):format(name), name)
  end
  return user
end

local not_his = "the inbox %s belongs to %s: serve cannot become %s for it"

---The user of that name, to receive and run rules, where the inbox can be his.
---@param name string
---@param inbox string
---@return table|false|nil user false: we are that user; nil: it cannot be
---@return string|nil message
function M.named(name, inbox)
  local user = process.user(name)
  if not user then return nil, "there is no user " .. name end
  local path = path_of(inbox)
  local file, err = M.inbox(inbox)
  if file == nil then return nil, err end
  if process.uid() ~= 0 then
    if user.uid == process.uid() then return false end
    return nil, "only root can become " .. name
  end
  if user.uid == 0 then
    if path then return of_root(path) end
    return false
  end
  local found = path and (file or process.stat(folder_of(path)))
  if path and not found then return nil, "there is no folder " .. folder_of(path) end
  if found and found.uid ~= user.uid then
    return nil, not_his:format(file and path or folder_of(path), name_of(found.uid), name)
  end
  local why = file and foreign(file, path)
  if why then return nil, takes:format(path, why:format(name), name) end
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

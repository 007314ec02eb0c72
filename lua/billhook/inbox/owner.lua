-- inbox/owner.lua: a name for this process by which others can check whether it is alive.
--
--   owner.name()        --> "9f0c.../4026531836/4711/182736"
--   owner.name(4712)    the same of a child
--   owner.alive(name)   --> false where that process is known to be gone
--
-- Boot id, namespace of process ids, process id and start time (in ticks after
-- boot): together these are unique. If /proc has no entry, or the name is from
-- another container, the process counts as alive, and its lease will end.
-- "/" and a number may follow if a process uses several names. A process without an entry in /proc
-- takes a random name, because processes with a common name would take each other's lanes.

local core = require "billhook.core"
local sqlite = require "billhook.sqlite"

local M = {}

local function line(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read("*l")
  file:close()
  return text
end

-- Process id, state and start time; the name in brackets may hold anything.
local function stat(pid)
  local text = line("/proc/" .. pid .. "/stat")
  if not text then return nil end
  local id, rest = text:match("^(%d+) %(.*%) (.*)$")
  local fields = {}
  for field in (rest or ""):gmatch("%S+") do fields[#fields + 1] = field end
  return id, fields[1], fields[20]
end

local function here()
  return line("/proc/sys/kernel/random/boot_id"), sqlite.namespace()
end

local drawn

local function lot()
  drawn = drawn or "unknown-" .. core.text.hex(core.text.random(16))
  return drawn
end

---@param child? integer a process id; this process by default
---@return string
function M.name(child)
  local boot, namespace = here()
  local pid, _, start = stat(child and ("%d"):format(child) or "self")
  if not (boot and namespace and start) then return child and "unknown" or lot() end
  return ("%s/%d/%s/%s"):format(boot, namespace, pid, start)
end

---The user that this process acts as; its number where it has no name, nil where /proc is silent.
---@return string|nil
function M.user()
  local file = io.open "/proc/self/status"
  local id = file and file:read "*a":match "\nUid:%s+%d+%s+(%d+)"
  if file then file:close() end
  local users = id and io.open "/etc/passwd"
  for entry in users and users:lines() or function() end do
    local name, number = entry:match "^([^:]+):[^:]*:(%d+):"
    if number == id then
      users:close()
      return name
    end
  end
  if users then users:close() end
  return id
end

---@param name string
---@return boolean
function M.alive(name)
  local boot, namespace = here()
  local its_boot, its_namespace, pid, start = name:match("^([^/]+)/(%d+)/(%d+)/(%d+)/?%d*$")
  if not (boot and namespace and its_boot) then return true end
  if its_boot ~= boot then return false end
  if tonumber(its_namespace) ~= namespace then return true end
  local _, state, its_start = stat(pid)
  return its_start == start and state ~= "Z" and state ~= "X"
end

---Is that process known to be gone?
---@param name string
---@param far boolean|nil is it one of many machines', whose boot ids say nothing here?
---@return boolean
function M.departed(name, far)
  local machine = far and M.name():match "^[^/]+/%d+/" or ""
  return not (far and machine == "") and name:sub(1, #machine) == machine and not M.alive(name)
end

return M

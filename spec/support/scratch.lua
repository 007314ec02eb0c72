-- scratch.lua - a new folder for what a spec writes and nobody keeps, each with that in its name:
--
--   local folder = scratch.folder "inbox"
--
-- It lies where BILLHOOK_SCRATCH says: spec/run.lua names a folder in memory, where a sync costs
-- nothing. Without, it lies in /tmp. What disks do is shown where they are imitated
-- (powerloss_spec, fsync_spec, crash_spec's failing one), not by the time that a real one takes.

local process = require "billhook.process"

local M = {}

M.top = os.getenv "BILLHOOK_SCRATCH" or "/tmp"

-- Where programs can be run from, too, and with room: containers often have neither.
local MEMORY = [[
folder=$(mktemp -d /dev/shm/billhook-run.XXXXXX 2>/dev/null) || exit 0
chmod 1777 $folder && printf '#!/bin/sh\n' >$folder/x && chmod +x $folder/x && $folder/x &&
  rm $folder/x && free=$(df -Pk $folder | awk 'NR == 2 { print $4 }') && [ $free -gt 1000000 ] &&
  echo $folder && exit
rm -r $folder]]

---From now on folders lie in memory: in one, which it gives, where others may make theirs, as in
---/tmp. Where there is no such memory, it gives nil.
---@return string|nil
function M.memory()
  local pipe = assert(io.popen("{ " .. MEMORY .. "\n} 2>/dev/null"))
  local folder = pipe:read "*l"
  pipe:close()
  M.top = folder or M.top
  return folder
end

---@param name string
---@return string
function M.folder(name)
  return assert(process.mkdtemp(M.top .. "/billhook-" .. name))
end

return M

-- cli/children.lua: child processes of the command. Each has a process group
-- of its own, so that a signal of the terminal reaches only the parent, which
-- then stops them in the right way; each dies when the parent is killed.

local files = require "billhook.cli.file"
local process = require "billhook.process"

local M = {}
local Child = {}
Child.__index = Child

---Starts a child.
---@param argv string[]
---@param options table `name` for messages, `die` (signal at our death; KILL by default), `whole`
---  (its group ends with it) and what process.spawn takes
---@return table|nil child
---@return string|nil message
function M.start(argv, options)
  local name = options.name or argv[1]
  local pid, err = process.spawn(argv, {
    group = true, die = options.die or "KILL", stdin = "/dev/null", user = options.user,
    stdout = options.stdout, stderr = options.stderr, env = options.env, cwd = options.cwd,
  })
  if not pid then return nil, name .. ": " .. err end
  local self = { pid = pid, whole = options.whole, since = process.monotonic() }
  return setmetatable(self, Child)
end

---How it ended ("exit 0", "signal SEGV"), or nil while it runs.
---@return string|nil
function Child:ended()
  if self.how then return self.how end
  if process.wait(self.pid, "look") == false then return nil end
  if self.whole then process.kill(-self.pid, "KILL") end -- while the id is certainly its own
  local kind, detail = process.wait(self.pid)
  self.how = kind and kind .. " " .. detail or "lost"
  self.ran = process.monotonic() - self.since
  return self.how
end

---Sends a signal, to it alone.
---@param name string
function Child:signal(name)
  if not self:ended() then process.kill(self.pid, name) end
end

---Ends it and all of its group by force.
function Child:kill()
  if not self:ended() then process.kill(-self.pid, "KILL") end
end

---Waits for its end.
---@param seconds number
---@return string|nil how nil: it still runs
function Child:wait(seconds)
  local deadline = process.monotonic() + seconds
  while not self:ended() and process.monotonic() < deadline do process.sleep(0.005, true) end
  return self:ended()
end

---Stops it: a signal, some patience, and then by force.
---@param name string
---@param seconds number
---@return string how
function Child:stop(name, seconds)
  self:signal(name)
  if not self:wait(seconds) then self:kill() end
  return self:wait(5) or "lost"
end

---Runs a child to its end and gives what it printed.
---@param argv string[]
---@param options table as for start, and `folder` for the temporary file
---@return string|nil how
---@return string output, or what went wrong
function M.output(argv, options)
  local path = options.folder .. "/output"
  os.remove(path)
  local child, err = M.start(argv, {
    name = options.name, user = options.user, stdout = path, stderr = options.stderr,
  })
  if not child then return nil, err end
  if not child:wait(options.seconds or 30) then child:kill() end
  child:wait(5)
  local text, why = process.contents(path, files.MOST)
  os.remove(path)
  if not text then return nil, why end
  return child:ended(), text
end

return M

-- command.lua: runs bin/billhook for specs, by the Lua that runs the spec.
--
--   local result = command.run({ "verify", "dreamclass", "--secret", "123" }, { input = body })
--   result.code, result.out, result.err
--   local child = command.start { "serve", path }
--   child:errors(); child:signal "TERM"; child:wait()

local ports = require "spec.support.port"
local process = require "billhook.process"
local scratch = require "spec.support.scratch"

local M = {}
local Child = {}
Child.__index = Child

M.lua = rawget(_G, "jit") and "luajit" or "lua5.4"
M.patience = 60

local function read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "*a" -- nil: of a process that has just ended
  file:close()
  return text or ""
end
M.read = read

function M.write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

---An environment in which another Lua finds the modules that this one finds.
---@param more table|nil what else is to be in it
function M.paths(more)
  local env = { LUA_PATH = package.path, LUA_CPATH = package.cpath }
  for name, value in pairs(more or {}) do env[name] = value end
  return env
end

---A folder that finish_all removes.
local folders, children = {}, {}
function M.folder()
  local folder = scratch.folder "spec"
  folders[#folders + 1] = folder
  return folder
end

---Waits for something to become true; how fast the machine is decides only how long it takes. Looks
---less often when it takes long: others need the processor.
function M.wait(what, check)
  local deadline, pause = process.monotonic() + M.patience, 0.005
  repeat
    local result = check()
    if result then return result end
    process.sleep(pause, true)
    pause = math.min(pause * 1.2, 0.05)
  until process.monotonic() > deadline
  error("waited in vain for " .. what, 2)
end

---Has the process ended? Also where whoever inherited it has not asked for it yet.
function M.gone(pid)
  local state = read(("/proc/%d/stat"):format(pid)):match "%) (%a)"
  return state == nil or state == "Z"
end

---The processes that a process has started, and theirs.
function M.descendants(pid)
  local found = {}
  for child in read(("/proc/%d/task/%d/children"):format(pid, pid)):gmatch "%d+" do
    found[#found + 1] = tonumber(child)
    for _, one in ipairs(M.descendants(tonumber(child))) do found[#found + 1] = one end
  end
  return found
end

-- What is killed leaves its temporary files: they go with the child's folder.
local function environment_in(folder, given)
  local env = { TMPDIR = folder }
  for name, value in pairs(given or {}) do env[name] = value end
  return env
end

---@param argv string[] behind `billhook`
---@param options table|nil env, cwd, lua (false: started by its first line), script, stdin
function M.start(argv, options)
  options = options or {}
  local self = setmetatable({ folder = M.folder() }, Child)
  local words = { options.script or "bin/billhook" }
  if options.lua ~= false then table.insert(words, 1, options.lua or M.lua) end
  for _, word in ipairs(argv) do words[#words + 1] = word end
  local pid, err = process.spawn(words, {
    stdout = self.folder .. "/out", stderr = self.folder .. "/err",
    stdin = options.stdin or "/dev/null", env = environment_in(self.folder, options.env),
    cwd = options.cwd, die = "KILL",
  })
  self.pid = assert(pid, err)
  children[#children + 1] = self
  return self
end

---Starts `billhook serve` and waits until it listens, on a port of its own.
---@param rules string the file
---@param argv string[]|nil more of the command line
---@param env table|nil
---@return table child, string url
function M.serve(rules, argv, env)
  local port = ("%d"):format(ports.free())
  local words, url = { "serve", rules, "--listen", port }, "http://127.0.0.1:" .. port
  for _, word in ipairs(argv or {}) do words[#words + 1] = word end
  local child = M.start(words, { env = env })
  M.wait("serve to listen", function()
    if process.wait(child.pid, "look") then error(child:errors(), 0) end
    return child:errors():find("listening on " .. url, 1, true)
  end)
  return child, url
end

function Child:output() return read(self.folder .. "/out") end
function Child:errors() return read(self.folder .. "/err") end
function Child:signal(name) assert(process.kill(self.pid, name)) end

---Waits for the end; its exit code, or the signal's name.
function Child:wait()
  if self.code == nil then
    M.wait("the end of " .. self.pid .. ": " .. self:errors(), function()
      return process.wait(self.pid, "look")
    end)
    local _, code = process.wait(self.pid)
    self.code = code
  end
  return self.code
end

---Runs the command to its end.
function M.run(argv, options)
  options = options or {}
  if options.input then
    options.stdin = M.write(M.folder() .. "/in", options.input)
  end
  local child = M.start(argv, options)
  return { code = child:wait(), out = child:output(), err = child:errors() }
end

-- Ends it with all that it has started. How that ends which is told to is the affair of specs that
-- tell it: to kill is quicker. What one of them starts meanwhile is killed with its parent.
local function stop(child)
  local pids = M.descendants(child.pid)
  table.insert(pids, 1, child.pid)
  for _, pid in ipairs(pids) do process.kill(pid, "KILL") end
  pcall(child.wait, child)
  for _, pid in ipairs(pids) do -- it may still write into its folder
    pcall(M.wait, "the end of " .. pid, function() return M.gone(pid) end)
  end
end

---After each spec: nothing of it may be left, even where it failed.
function M.finish()
  for _, child in ipairs(children) do
    if child.code == nil then stop(child) end
  end
  for _, folder in ipairs(folders) do process.remove_tree(folder) end
  folders, children = {}, {}
end

---One HTTP request: status, body; or nil and what went wrong.
function M.http(method, url, headers, body)
  local answer, failure = require("billhook.transport").pick("curl"):request {
    method = method, url = url, headers = headers or {}, body = body, fresh = true, timeout = 60,
    connect_timeout = 30, limit = 16777216,
  }
  if not answer then return nil, failure.message end
  return answer.status, answer.body, answer.headers
end

return M

-- cli/rules.lua: loads a rules file, once a Lua state (each nginx worker, the
-- work process), and says clearly what is wrong with it.

local M = {}

local loaded = {}

local no_app = "%s must end with `return app` (what billhook.app gave); it returned %s"

-- what the rules file requires may lie beside it
local function beside(path)
  local folder = path:match "^(.*)/[^/]*$" or "."
  local template = folder .. "/?.lua;"
  if package.path:sub(1, #template) ~= template then package.path = template .. package.path end
end

local function is_app(value)
  return type(value) == "table" and type(value.on) == "function"
    and type(value.receive) == "function" and type(value.work) == "function"
end

local function run(path)
  local chunk, err = loadfile(path)
  if not chunk then return nil, err end
  local ok, app = xpcall(chunk, function(reason)
    return type(reason) == "string" and debug.traceback(reason, 2) or tostring(reason)
  end)
  if not ok then return nil, app end
  if not is_app(app) then return nil, no_app:format(path, app == nil and "nothing" or type(app)) end
  return app
end

---The app that a rules file returns.
---@param path string
---@return table|nil app
---@return string|nil message
function M.load(path)
  if loaded[path] then return loaded[path] end
  beside(path)
  local app, err = run(path)
  loaded[path] = app
  return app, err
end

return M

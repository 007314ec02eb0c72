-- cli/rules.lua: loads a rules file, once a Lua state (each nginx worker, the
-- work process), and says clearly what is wrong with it.

local log = require "billhook.log"

local M = {}

local unpack = table.unpack or rawget(_G, "unpack")

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

-- our own files, which are no help to whoever looks for a mistake in his
local OWN = debug.getinfo(1, "S").source:match "^(@.*)cli/rules%.lua$" or "@?"

-- What was raised, and the lines of the user's files that led there, where there are several.
local function explain(reason)
  local text = type(reason) == "string" and reason or log.text(reason, 1000)
  local lines, level = {}, 2
  local frame = debug.getinfo(level, "Sl")
  while frame do
    local theirs = frame.currentline > 0 and frame.source:sub(1, #OWN) ~= OWN
      and not frame.source:find "bin/billhook$"
    if theirs then lines[#lines + 1] = ("  at %s:%d"):format(frame.short_src, frame.currentline) end
    level = level + 1
    frame = debug.getinfo(level, "Sl")
  end
  if #lines == 1 and text:find(lines[1]:sub(6), 1, true) then return text end
  return table.concat({ text, unpack(lines) }, "\n")
end

local function run(path)
  local chunk, err = loadfile(path)
  if not chunk then return nil, err end
  local ok, app = xpcall(chunk, explain)
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

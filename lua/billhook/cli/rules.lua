-- cli/rules.lua: loads a rules file, once a Lua state (each nginx worker, the
-- work process), and says clearly what is wrong with it.

local core = require "billhook.core"
local log = require "billhook.log"
local plain = require "billhook.cli.file"
local process = require "billhook.process"
local trust = require "billhook.cli.trust"

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

-- A pipe would be waited for, for ever: also by nginx.
local function run(path)
  local regular, why = trust.regular(path)
  if not regular and process.stat(path) then return nil, why end
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

---An account of an app: the one that is named, or the only one; where none is named of several, the
---command was called wrongly.
---@param app table
---@param path string the rules file
---@param name string|nil
---@return table|nil client
---@return string|nil name_or_message
function M.account(app, path, name)
  local names = {}
  for one in pairs(app.accounts) do names[#names + 1] = one end
  table.sort(names)
  if not name and #names == 1 then name = names[1] end
  local client = app.accounts[name or ""]
  if client then return client, name end
  local there = table.concat(names, ", ")
  if not name then
    require("billhook.cli").usage(("%s has several accounts: name one of %s"):format(path, there))
  end
  return nil, ("%s has no account %s; it has %s"):format(path, name, there)
end

---The file of rules that are loaded, and those that it has loaded from beside it.
---@param path string
---@return string[]
function M.files(path)
  local folder, files = path:match "^(.*)/[^/]*$" or ".", {}
  for name in pairs(package.loaded) do
    local theirs = type(name) == "string" and not name:find "^billhook"
    for _, tail in ipairs(theirs and { ".lua", "/init.lua" } or {}) do
      local beside_it = folder .. "/" .. name:gsub("%.", "/") .. tail
      local found = process.stat(beside_it)
      if found and found.type == "file" then files[#files + 1] = beside_it end
    end
  end
  table.sort(files)
  table.insert(files, 1, path)
  return files
end

-- The lines of a file from one to another.
local function lines_of(path, first, last)
  local kept, number = {}, 0
  for line in (process.contents(path, plain.MOST) or ""):gmatch "([^\n]*)\n?" do
    number = number + 1
    if number >= first and number <= last then kept[#kept + 1] = line end
  end
  return table.concat(kept, "\n")
end

---The rules of an app, and of each a digest of all that makes it what it is: its pattern, options
---and the lines of its function.
---@param app table
---@return { name: string, pattern: string, at: string, digest: string }[]
function M.describe(app)
  local list = {}
  for i, rule in ipairs(app.rules.list) do
    local where = debug.getinfo(rule.handler, "S")
    local text = where.source:sub(1, 1) == "@"
      and lines_of(where.source:sub(2), where.linedefined, where.lastlinedefined) or where.source
    list[i] = { name = rule.name, pattern = rule.pattern.text,
      at = ("%s:%d"):format(where.short_src, where.linedefined),
      digest = core.text.sha256(table.concat({ rule.pattern.text, tostring(rule.trust),
        tostring(rule.attempts), tostring(rule.budget),
        tostring(rule.stop_after), text }, "\n")) }
  end
  return list
end

return M

-- cli/reload.lua: what has changed in a rules file that is being worked on, for --watch. What the
-- files say is read by whoever starts the rules anew; this only sees that they are others, and says
-- how the rules differ.

local children = require "billhook.cli.children"
local core = require "billhook.core"
local files = require "billhook.cli.file"
local json = require "billhook.json"
local paths = require "billhook.cli.paths"
local process = require "billhook.process"
local rules = require "billhook.cli.rules"
local term = require "billhook.cli.term"

local M = {}
local Watch = {}
Watch.__index = Watch

M.EVERY = 1 -- seconds between two looks

-- What tells a file from a changed one.
local function mark_of(path)
  local text = process.contents(path, files.MOST)
  return text and core.text.sha256(text) or "gone"
end

local function marks_of(list)
  local marks = {}
  for _, path in ipairs(list) do marks[path] = mark_of(path) end
  return marks
end

---Watches the files of rules that are loaded.
---@param needs table what `work --check` has printed of them
---@return table watch
function M.new(needs)
  return setmetatable({ needs = needs, marks = marks_of(needs.files) }, Watch)
end

---The same for rules that are loaded in this process.
---@param app table
---@param path string
---@return table watch
function M.of(app, path)
  return M.new { files = rules.files(path), rules = rules.describe(app) }
end

---Reads a rules file in a child; what is wrong with it is on stderr by then.
---@param path string
---@return table|nil needs what `work --check` prints
---@return string|nil message
function M.examine(path)
  local folder, err = process.mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/billhook-rules")
  if not folder then return nil, err end
  local how, text = children.output(paths.again("work", path, "--check", "--quiet"), {
    name = "rules", folder = folder })
  process.remove_tree(folder)
  if how ~= "exit 0" then return nil, ("%s does not load (%s)"):format(path, how or text) end
  return json.decode((text:match "([^\n]*)\n*$"))
end

---Looks at the files, before they are loaded: what changes after that is another change.
function Watch:look() self.marks = marks_of(self.needs.files) end

---Is a file another one since the last look? Looks at most once a second.
---@param now number of process.monotonic
---@return boolean
function Watch:changed(now)
  if self.looked and now < self.looked + M.EVERY then return false end
  self.looked = now
  local changed = false
  for path, mark in pairs(self.marks) do changed = changed or mark ~= mark_of(path) end
  return changed
end

---How rules differ from others: lines to be said.
---@param before table[] each { name, pattern, digest, at }
---@param after table[]
---@return string[]
function M.difference(before, after)
  local was, is, lines = {}, {}, {}
  for _, rule in ipairs(before) do was[rule.name] = rule end
  for _, rule in ipairs(after) do
    is[rule.name] = rule
    local old = was[rule.name]
    if not old then
      lines[#lines + 1] = ("added: %s (%s)"):format(rule.name, rule.at)
    elseif old.digest ~= rule.digest then
      lines[#lines + 1] = ("changed: %s (%s)"):format(rule.name, rule.at)
    end
  end
  for _, rule in ipairs(before) do
    if not is[rule.name] then lines[#lines + 1] = "removed: " .. rule.name end
  end
  if #lines == 0 then lines[1] = "no rule is another one by itself" end
  return lines
end

---Says what changed, and goes on with what is new: what was loaded after the last look.
---@param needs table
function Watch:took(needs)
  for _, line in ipairs(M.difference(self.needs.rules, needs.rules)) do
    term.say("rules: " .. line)
  end
  local marks = {}
  for _, path in ipairs(needs.files) do marks[path] = self.marks[path] or mark_of(path) end
  self.needs, self.marks = needs, marks
end

return M

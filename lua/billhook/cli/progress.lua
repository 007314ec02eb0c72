-- cli/progress.lua: a bar on stderr that says how far something is, only where somebody watches.

local process = require "billhook.process"
local term = require "billhook.cli.term"

local M = {}
local Bar = {}
Bar.__index = Bar

local EVERY = 0.1 -- seconds
local WIDTH = 24

---@param what string "invoices"
---@param total integer|nil
---@return table bar
function M.new(what, total)
  return setmetatable({ what = what, total = total, done = 0, at = process.monotonic(),
    watched = M.watched() }, Bar)
end

---Does somebody watch?
function M.watched() return process.columns(2) ~= nil end

---How it looks.
---@param done integer
---@param total integer|nil
---@param what string
---@return string
function M.text(done, total, what)
  if not total or total <= 0 then return ("%d %s"):format(done, what) end
  local part = math.min(1, done / total)
  local full = math.floor(part * WIDTH)
  return ("[%s%s] %3d%%  %d of %d %s"):format(("#"):rep(full), (" "):rep(WIDTH - full),
    math.floor(part * 100), done, total, what)
end

---One more is done.
function Bar:step()
  self.done = self.done + 1
  if not self.watched then return end
  local now = process.monotonic()
  if now - self.at < EVERY then return end
  self.at = now
  term.progress(M.text(self.done, self.total, self.what))
end

---Takes the bar away.
function Bar:close() if self.watched then term.progress "" end end

return M

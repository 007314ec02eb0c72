-- browser.lua - a real Chromium without a window, driven by its DevTools protocol over two pipes.
--
--   local browser = require("spec.support.browser").start()    -- nil: there is none here
--   browser:go "http://127.0.0.1:8090/"
--   browser:evaluate "document.title"          --> a value
--   browser:key "Tab"
--   browser:finish()
--
-- It ends by itself after ten minutes, so that nobody waits for it for ever.

local command = require "spec.support.command"
local json = require "billhook.json"
local process = require "billhook.process"

local M = {}
local Browser = {}
Browser.__index = Browser

local function program()
  for _, name in ipairs { "chromium", "chromium-browser", "google-chrome" } do
    for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do
      if process.executable(folder .. "/" .. name) then return folder .. "/" .. name end
    end
  end
end

local LINE = 'exec timeout 600 "$0" --headless --no-sandbox --disable-gpu --no-first-run '
  .. '--disable-dev-shm-usage --user-data-dir="$1/profile" --remote-debugging-pipe about:blank '
  .. '3<"$1/to" 4>"$1/from" >/dev/null 2>&1'

---@return table|nil
function M.start()
  local binary = program()
  if not binary then return nil end
  local folder = command.folder()
  os.execute(("mkfifo %s/to %s/from"):format(folder, folder))
  local self = setmetatable({ folder = folder, last = 0 }, Browser)
  self.pid = assert(process.spawn({ "sh", "-c", LINE, binary, folder },
    { die = "TERM", env = { HOME = folder } }))
  self.to, self.from = assert(io.open(folder .. "/to", "w")), assert(io.open(folder .. "/from"))
  self.to:setvbuf "no"
  local target = self:send("Target.createTarget", { url = "about:blank" }).targetId
  self.session = self:send("Target.attachToTarget", { targetId = target, flatten = true }).sessionId
  self:send "Page.enable"
  return self
end

-- One message: up to a NUL.
local function receive(self)
  local parts = {}
  while true do
    local c = self.from:read(1)
    if not c then error("the browser has ended", 3) end
    if c == "\0" then return json.decode(table.concat(parts)) end
    parts[#parts + 1] = c
  end
end

---Asks for something, and waits for the answer.
function Browser:send(method, params)
  self.last = self.last + 1
  local text = json.encode { id = self.last, method = method, sessionId = self.session,
    params = params and next(params) and params or nil }
  self.to:write(text, "\0")
  repeat
    local answer = receive(self)
    if answer.method then self.loaded = self.loaded or answer.method == "Page.loadEventFired" end
    if answer.id == self.last then
      if answer.error then error(method .. ": " .. tostring(answer.error.message), 2) end
      return answer.result
    end
  until false
end

---Waits for the page that is being loaded.
function Browser:wait()
  command.wait("a page", function()
    pcall(self.send, self, "Runtime.evaluate", { expression = "1" }) -- events come along
    return self.loaded
  end)
end

function Browser:go(url)
  self.loaded = false
  self:send("Page.navigate", { url = url })
  self:wait()
end

---The value of an expression in the page.
function Browser:evaluate(expression)
  local found = self:send("Runtime.evaluate", { expression = expression, returnByValue = true })
  if found.exceptionDetails then error(found.exceptionDetails.text .. ": " .. expression, 2) end
  return found.result.value
end

local CODES = { Tab = 9, Enter = 13 }

---Presses a key. `leads`: to another page, which is waited for.
function Browser:key(name, leads)
  self.loaded = false
  local key = { key = name, code = name, windowsVirtualKeyCode = CODES[name],
    text = name == "Enter" and "\r" or nil }
  key.type = "keyDown"
  self:send("Input.dispatchKeyEvent", key)
  key.type, key.text = "keyUp", nil
  self:send("Input.dispatchKeyEvent", key)
  if leads then self:wait() end
end

function Browser:write(text) self:send("Input.insertText", { text = text }) end

---As wide as that, in light or dark colours.
function Browser:shape(width, height, dark)
  self:send("Emulation.setDeviceMetricsOverride", { width = width, height = height,
    deviceScaleFactor = 1, mobile = width < 600 })
  self:send("Emulation.setEmulatedMedia", { features = json.array {
    { name = "prefers-color-scheme", value = dark and "dark" or "light" } } })
end

---A picture of the whole page, as PNG.
function Browser:picture(path)
  local shot = self:send("Page.captureScreenshot", { captureBeyondViewport = true })
  command.write(path, require("billhook.core").text.unbase64(shot.data))
end

function Browser:finish()
  pcall(self.send, self, "Browser.close")
  self.to:close()
  self.from:close()
  process.kill(self.pid, "TERM")
  process.wait(self.pid)
end

return M

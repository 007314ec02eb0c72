-- caller.lua - one of many that share a key: calls until a file is there, and writes what came of
-- it into another. Or a process: LUA spec/support/caller.lua INBOX URL WINDOW STOP RESULT

local M = {}

--- An app with one account; its quota has this window, in seconds.
function M.app(inbox, url, window)
  local billhook = require "billhook"
  return billhook.app { inbox = inbox, log = function() end, accounts = {
    school = billhook.dreamapply { base_url = url, api_key = "the shared key", attempts = 1,
      timeout = 30, quota = { limit = 180, window = window } },
  } }
end

--- Calls until `stop` says so: how many went well, and what went wrong, by kind.
function M.call(client, stop)
  local result = { ok = 0 }
  repeat
    local value, err = client.invoices:get(1)
    local kind = value and "ok" or err.kind .. " " .. (err.status or err.message)
    result[kind] = (result[kind] or 0) + 1
  until stop()
  return result
end

local function exists(path)
  local file = io.open(path)
  if file then file:close() end
  return file ~= nil
end

function M.main(inbox, url, window, stop, path)
  local app = M.app(inbox, url, tonumber(window))
  local result = M.call(app.accounts.school, function() return exists(stop) end)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(require("billhook.json").encode(result))
  file:close()
  assert(os.rename(path .. ".new", path))
end

if arg and arg[0] and arg[0]:find("caller%.lua$") then M.main(...) end

return M

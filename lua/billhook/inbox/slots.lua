-- inbox/slots.lua: an inbox as the store of a quota (quota.lua), for all processes and machines
-- that share it.
--
--   slots(key, question) -> answer      window.lua says which questions there are
--
-- A row a key, changed in one transaction by the store's own clock.

local window = require "billhook.call.window"

local M = {}

local Slots = {}

local READ = "SELECT line FROM quotas WHERE key = $1"

-- A question that changes nothing that must be kept needs no transaction.
local function look(self, key, question)
  return self:read(function(query, now)
    local row = query(READ, key)[1]
    return window.answer(window.read(row and row.line), now / 1000, question)
  end)
end

function Slots:slots(key, question)
  if question.ask == "look" then return look(self, key, question) end
  return self:write(function(query, now)
    query("INSERT INTO quotas (key, line) VALUES ($1, '') ON CONFLICT DO NOTHING", key)
    local row = query(self.dialect.locking(READ), key)[1]
    local line = window.read(row.line)
    local answer = window.answer(line, now / 1000, question)
    query("UPDATE quotas SET line = $1 WHERE key = $2", window.text(line), key)
    return answer
  end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Slots) do Store[name] = method end
end

return M

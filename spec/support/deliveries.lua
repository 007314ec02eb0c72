-- spec/support/deliveries.lua: what the specs of core.verify share.
local M = {}

local verify = require("billhook.core").verify

-- A file of spec/vectors.
function M.read(name)
  local file = assert(io.open("spec/vectors/" .. name, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

-- core.verify.check with these arguments refuses with this code and such a message.
function M.refuses(code, pattern, ...)
  local delivery, got, message = verify.check(...)
  assert(delivery == nil, "was accepted; " .. code .. " expected")
  assert(got == code, code .. " expected, got " .. tostring(got) .. ": " .. tostring(message))
  assert(message:find(pattern), "'" .. pattern .. "' expected, got: " .. message)
end

-- core.verify.check with these arguments takes it as authentic, and gives one event that is bad,
-- with such a reason: it is kept, and not acted on.
function M.keeps(pattern, ...)
  local delivery, code, message = verify.check(...)
  assert(delivery, "was refused: " .. tostring(code) .. ": " .. tostring(message))
  assert(#delivery.events == 1, #delivery.events .. " events")
  local event = delivery.events[1]
  assert(event.bad and event.bad:find(pattern),
    "'" .. pattern .. "' expected, got: " .. tostring(event.bad))
  assert(event.id:find "^bad%-" and #event.digest == 64 and event.data and not event.invoice)
  return event
end

-- The text with one plain piece of it replaced, which must be there.
function M.change(text, from, to)
  local first, last = text:find(from, 1, true)
  assert(first, from)
  return text:sub(1, first - 1) .. to .. text:sub(last + 1)
end

return M

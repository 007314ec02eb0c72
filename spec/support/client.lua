-- spec/support/client.lua: clients over a fake transport whose time is the test's own.
local billhook = require "billhook"
local fake = require "billhook.transport.fake"

local M = { KEY = "sk-0123456789-secret" }

-- A clock that stands still until somebody sleeps.
local function clock_of(transport)
  local seen, total = 0, 1000
  return function()
    while transport.slept[seen + 1] do
      seen = seen + 1
      total = total + transport.slept[seen]
    end
    return total + (transport.passed or 0)
  end
end

local required = {
  dreamapply = { base_url = "https://apply.example.edu" },
  dreamclass = { base_url = "https://class.example/v1", tenant = "my-school", school_code = "S1" },
  betterez = { base_url = "https://btrz.example/invoices" },
}

-- client, transport. `random` gives 1, so that waits are the longest possible.
function M.new(vendor, handler, options)
  local transport = fake.new(handler)
  local all = { api_key = M.KEY, transport = transport, clock = clock_of(transport),
    random = function() return 1 end }
  for _, source in ipairs { required[vendor], options or {} } do
    for name, value in pairs(source) do all[name] = value end
  end
  return billhook[vendor](all), transport
end

-- every string inside a value, keys, metatables and upvalues of no function included
function M.strings(value, found, seen)
  found, seen = found or {}, seen or {}
  if type(value) == "string" then found[#found + 1] = value end
  if type(value) == "table" and not seen[value] then
    seen[value] = true
    for k, v in pairs(value) do
      M.strings(k, found, seen)
      M.strings(v, found, seen)
    end
    M.strings(getmetatable(value), found, seen)
    if getmetatable(value) and getmetatable(value).__tostring then
      found[#found + 1] = tostring(value)
    end
  end
  return found
end

return M

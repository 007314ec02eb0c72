-- billhook.lua: our side of bench/client.lua, on the Lua that runs it: invoices of DreamApply got
-- one after another, or by billhook.map.
--
--   lua5.4 bench/peers/billhook.lua sequential|together BASE_URL CA_FILE SECONDS

local billhook = require "billhook"
local core = require "billhook.core"

local AT_ONCE, BATCH = 32, 2000
local how, base_url, ca_file, seconds = arg[1], arg[2], arg[3], tonumber(arg[4])

local client = billhook.dreamapply { base_url = base_url, api_key = "abc", ca_file = ca_file,
  quota = false }

local function get(id) return assert(assert(client.invoices:get(id)).id) end

local ids = {}
for i = 1, BATCH do ids[i] = i end

local runs = {}

-- until the time is over; how many were made
function runs.sequential(till)
  local n = 0
  while core.text.monotonic() < till do
    n = n + 1
    get(n)
  end
  return n
end

function runs.together(till)
  local n = 0
  while core.text.monotonic() < till do
    local results = billhook.map(ids, get, { concurrency = AT_ONCE })
    for i = 1, BATCH do assert(results[i]) end
    n = n + BATCH
  end
  return n
end

local run = runs[how]
run(core.text.monotonic() + 0.2)
local cpu, start = os.clock(), core.text.monotonic()
local n = run(start + seconds)
print(("%.0f %.2f"):format(n / (core.text.monotonic() - start), (os.clock() - cpu) * 1e6 / n))

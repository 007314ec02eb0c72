-- client.lua - the curl transport against libcurl alone (bench/client.c): GETs of 1 KB of JSON one
-- after another, decoded on our side only. Rounds alternate; the ratio is that of the best ones.
--
--   make && cc -O2 -o build/client bench/client.c -lcurl
--   LUA_PATH='lua/?.lua;;' LUA_CPATH='build/lua5.4/?.so;;' lua5.4 bench/client.lua URL [CA_FILE]
--
-- URL is of any web server near by, say nginx with keepalive_requests set high.

local core = require "billhook.core"
local curl = require("billhook.transport.curl").shared()

local ROUNDS, COUNT = 10, 5000
local url, ca_file = assert(arg[1], "which URL?"), arg[2]

local function raw()
  local pipe = io.popen(("CA_FILE='%s' build/client '%s' %d"):format(ca_file or "", url, COUNT))
  local rate = pipe:read("*n")
  pipe:close()
  return (assert(rate, "build/client failed"))
end

local function ours()
  local start = core.text.monotonic()
  for _ = 1, COUNT do
    local response = assert(curl:request { method = "GET", url = url, timeout = 10,
      ca_file = ca_file, headers = { ["Authorization"] = "DREAM apikey=\"abc\"",
        ["Accept"] = "application/json" } })
    assert(core.json.decode(response.body))
  end
  return COUNT / (core.text.monotonic() - start)
end

local best_raw, best_ours = 0, 0
for _ = 1, ROUNDS do
  best_raw = math.max(best_raw, raw())
  best_ours = math.max(best_ours, ours())
end
print(("libcurl %.0f/s, ours %.0f/s: %.2f"):format(best_raw, best_ours, best_ours / best_raw))

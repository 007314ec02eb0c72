-- lua-http.lua: the same with lua-http (Debian: lua-http, lua-cjson; not for 5.4), on kept
-- connections: its request object would open one for every call.
--
--   luajit bench/peers/lua-http.lua sequential|together BASE_URL CA_FILE SECONDS

local cqueues = require "cqueues"
local client = require "http.client"
local headers_of = require "http.headers"
local cjson = require "cjson"

local AT_ONCE = 32
local how, base_url, ca_file, seconds = arg[1], arg[2], arg[3], tonumber(arg[4])
local scheme, host, port = base_url:match("^(%w+)://([^:]+):(%d+)$")

local function connect()
  local options = { host = host, port = tonumber(port), tls = scheme == "https", version = 1.1 }
  if options.tls then
    local context = require "openssl.ssl.context"
    local store = require "openssl.x509.store"
    options.ctx = require("http.tls").new_client_context()
    options.ctx:setVerify(context.VERIFY_PEER)
    local trusted = store.new()
    trusted:add(ca_file)
    options.ctx:setStore(trusted)
  end
  return assert(client.connect(options))
end

local function get(connection, id)
  local stream = assert(connection:new_stream())
  local headers = headers_of.new()
  headers:append(":method", "GET")
  headers:append(":scheme", scheme)
  headers:append(":authority", host .. ":" .. port)
  headers:append(":path", ("/api/v9/invoices/%d"):format(id))
  headers:append("authorization", 'DREAM apikey="abc"')
  headers:append("accept", "application/json")
  assert(stream:write_headers(headers, true, 10))
  local answer = assert(stream:get_headers(10))
  assert(answer:get(":status") == "200")
  assert(cjson.decode(assert(stream:get_body_as_string(10))).id)
end

-- until the time is over; how many were made
local function run(connections, till)
  local n, loop = 0, cqueues.new()
  for _, connection in ipairs(connections) do
    loop:wrap(function()
      while cqueues.monotime() < till do
        n = n + 1
        get(connection, n)
      end
    end)
  end
  assert(loop:loop())
  return n
end

local connections = {}
local opening = cqueues.new()
opening:wrap(function()
  for i = 1, how == "together" and AT_ONCE or 1 do connections[i] = connect() end
end)
assert(opening:loop())
run(connections, cqueues.monotime() + 0.2)
local cpu, start = os.clock(), cqueues.monotime()
local n = run(connections, start + seconds)
print(("%.0f %.2f"):format(n / (cqueues.monotime() - start), (os.clock() - cpu) * 1e6 / n))

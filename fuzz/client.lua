-- fuzz/client.lua - the whole client over a transport that answers with any bytes: a call gives a
-- value, or nil and an error of a kind; no request leaves for another origin than the configured
-- one, and no error has a control character or the key in it.
--
-- The first line has a vendor, an operation and a status; then come headers, an empty line and the
-- body. A line "--" in the body begins the body of the next answer.

local billhook = require "billhook"
local core = require "billhook.core"
local fake = require "billhook.transport.fake"

local KEY = "sk-0123456789-secret"
local ACCOUNTS = {
  dreamapply = { base_url = "https://apply.example.edu" },
  dreamclass = { base_url = "https://class.example/v1", tenant = "my-school", school_code = "S1" },
  betterez = { base_url = "https://btrz.example/invoices" },
}

local MOST = 8

local answer = {} -- what the transport gives next
local clients, transports, operations = {}, {}, {}
for vendor, account in pairs(ACCOUNTS) do
  local transport
  transport = fake.new(function(request, n)
    local origin = account.base_url:match "^https://[^/]+"
    assert(request.url:sub(1, #origin + 1) == origin .. "/", request.url)
    if n > MOST then return nil, { kind = "network" } end -- pages may go on for long
    return { status = answer.status, headers = answer.headers,
      body = answer.bodies[math.min(n, #answer.bodies)] }
  end)
  transport.chunk = 5
  transports[vendor] = transport
  account.api_key, account.transport, account.quota = KEY, transport, false
  account.attempts, account.settle_timeout = 2, 0
  account.clock, account.random = function() return transport.time end, function() return 0 end
  clients[vendor], operations[vendor] = billhook[vendor](account), {}
  for _, operation in ipairs(core.call.list(vendor)) do
    operations[vendor][operation.name] = operation
  end
end

local EXAMPLES = {
  boolean = true, switch = true, integer = 1, id = 1, hex24 = ("a"):rep(24), text = "t",
  currency = "EUR", date = "2026-11-21", datetime = "2026-11-21", since = 1, decimal = "1.00",
  number = "1.00", numbered = 1, object = { a = 1 },
}

local function example(param)
  local value = EXAMPLES[param.type] or param.choices and param.choices[1]
  if param.type == "record" then
    value = {}
    for _, field in ipairs(param.fields) do value[field.name] = example(field) end
  end
  return param.list and { value } or value
end

local function params_of(operation)
  local params = {}
  for _, param in ipairs(operation.params) do
    if param.required then params[param.name] = example(param) end
  end
  local last = operation.params[#operation.params]
  if operation.method == "PATCH" then params[last.name] = example(last) end -- it changes something
  return params
end

local function check(value, err)
  if value ~= nil or err == nil then return end
  local text = tostring(err)
  assert(type(err.kind) == "string" and not text:find "[%z\1-\31\127]", text)
  assert(not text:find(KEY, 1, true) and not (err.body or ""):find(KEY, 1, true))
end

local function read(data)
  local vendor, name, status, rest = data:match "^(%l+) ([%w_.]+) (%d%d%d)\n(.*)$"
  local operation = vendor and operations[vendor] and operations[vendor][name]
  local head, body = (rest or ""):match "^(.-)\n?\n(.*)$"
  if not operation or not head then return nil end
  answer = { status = tonumber(status), headers = {}, bodies = {} }
  for key, value in head:gmatch "([%w-]+):%s*([^\n]*)" do answer.headers[key:lower()] = value end
  for part in (body .. "\n--\n"):gmatch "(.-)\n%-%-\n" do
    answer.bodies[#answer.bodies + 1] = part:gsub("KEY", KEY)
  end
  return vendor, operation
end

return function(data)
  local vendor, operation = read(data)
  if not vendor then return end
  local client, transport, params = clients[vendor], transports[vendor], params_of(operation)
  transport.requests, transport.slept = {}, {}
  if not client:can(operation.name) then return end
  check(client:call(operation.name, params))
  if operation.name ~= "invoices.list" then return end
  transport.requests, transport.slept = {}, {}
  local ok, err = pcall(function()
    for invoice in client.invoices:each(params) do assert(invoice ~= nil) end
  end)
  if not ok then
    assert(type(err) == "table", err)
    check(nil, err)
  end
end

-- cli/sandbox.lua: `billhook sandbox`: the three vendors, imitated by an nginx
-- on this machine, for trying things out.

local cli = require "billhook.cli"
local json = require "billhook.json"
local nginx = require "billhook.cli.nginx"
local process = require "billhook.process"
local term = require "billhook.cli.term"
local transport = require "billhook.transport"
local trigger = require "billhook.cli.trigger"

local M = {}

local vendors = { "dreamapply", "dreamclass", "betterez" }

M.summary = "Imitate the vendors on this machine."

function M.configure(command)
  command:argument("order", "A request to a running sandbox: trigger, fault, clock, ..."):args "?"
  command:argument("fields", "The members of the request: name=value."):args "*"
  command:option("--listen", "Address and port.", "127.0.0.1:8081"):argname "<host:port>"
  trigger.to(command)
  for _, vendor in ipairs(vendors) do
    command:option("--" .. vendor, "The account there.", trigger.accounts[vendor])
      :argname "<account>"
  end
  command:flag("--json", "Print its addresses and credentials as JSON.")
  command:epilog [[
Example: billhook sandbox --to http://127.0.0.1:8080
and beside it, while it runs:
  billhook sandbox trigger vendor=dreamclass type=invoice.created
  billhook sandbox fault next=503 times=2
  billhook sandbox fault next=webhook vendor=dreamapply copies=0
  billhook sandbox clock forward=86400
  billhook sandbox deliveries
docs/sandbox.md has all orders.]]
end

local bases = { dreamapply = "", dreamclass = "/dreamclassapi/v1", betterez = "/invoices" }

---Starts the vendors.
---@param options table `run` (folder), `host`, `port`, `webhooks` (vendor -> URL), `stderr`
---@return table|nil child
---@return string|nil message
function M.start(options)
  local text = require("billhook.sandbox").conf {
    listen = options.host .. ":" .. options.port, webhooks = options.webhooks,
  }
  local ok, err = nginx.vacant(options.host, options.port)
  if not ok then return nil, err end
  local child
  child, err = nginx.start {
    run = options.run, http = text, workers = 1, stderr = options.stderr,
    user = process.uid() == 0 and "root" or nil,
  }
  if not child then return nil, err end
  local status
  status, err = nginx.await(child, { run = options.run,
    url = nginx.url(options.host, options.port) .. "/api/version" })
  if not status then
    child:stop("TERM", 2)
    return nil, err
  end
  return child
end

---What a client of each imitated vendor is made of, by vendor.
---@param url string
---@return table
function M.accounts(url)
  local accounts = {}
  for _, vendor in ipairs(vendors) do
    local settings = require("billhook.sandbox").defaults(vendor)
    accounts[vendor] = { base_url = url .. bases[vendor], settings = settings }
  end
  return accounts
end

local function proofs(settings)
  local hook = {}
  if settings.secret then hook[#hook + 1] = "secret " .. settings.secret end
  if settings.basic then hook[#hook + 1] = "basic " .. table.concat(settings.basic, ":") end
  if settings.authorization then hook[#hook + 1] = "authorization " .. settings.authorization end
  return table.concat(hook, ", ")
end

local function describe(url, as_json)
  local accounts, rows = M.accounts(url), {}
  for i, vendor in ipairs(vendors) do
    local one = accounts[vendor]
    rows[i] = { vendor, one.base_url, one.settings.api_key, proofs(one.settings) }
  end
  if as_json then
    term.json(accounts)
  else
    term.table({ "VENDOR", "!BASE_URL", "!API_KEY", "+WEBHOOKS PROVE THEMSELVES BY" }, rows)
  end
  term.flush()
end

local function until_told(child)
  while not child:ended() do
    local name = process.caught()
    if name and name ~= "CHLD" then
      child:stop("QUIT", 5)
      return 0
    end
    process.sleep(60)
  end
  return nil, "nginx ended (" .. child:ended() .. ")"
end

local function serve(args, run, host, port)
  local webhooks, url = {}, nginx.url(host, port)
  for _, vendor in ipairs(args.to and vendors or {}) do
    webhooks[vendor] = trigger.target(args.to, args[vendor])
  end
  local child, err = M.start { run = run, host = host, port = port, webhooks = webhooks }
  if not child then return nil, err end
  local written, why = pcall(describe, url, args.json) -- whoever reads them waits for no others
  if not written then
    child:stop("QUIT", 5)
    error(why, 0)
  end
  term.say("listening on " .. url)
  return until_told(child)
end

-- --- orders to one that runs

local lists = { deliveries = true, requests = true } -- asked for, not ordered

-- A value of the shell: a number, true and false, JSON of an object or a list; other text is text.
local function value_of(text)
  if text:find "^%-?[1-9]%d*%.?%d*$" or text:find "^0%.?%d*$" or text:find "^[%[{]"
    or text == "true" or text == "false" then
    local value, why = json.decode(text)
    if value == nil then cli.usage("sandbox: " .. why .. ": " .. text) end
    return value
  end
  return text
end

local function fields_of(words)
  local fields = {}
  for _, word in ipairs(words) do
    local name, text = word:match "^([%w_]+)=(.*)$"
    if not name then cli.usage("sandbox: not name=value: " .. word) end
    fields[name] = value_of(text)
  end
  return fields
end

local function give(order, words, url)
  local off = order == "fault" and words[1] == "off"
  local body = not lists[order] and not off and json.encode(fields_of(words)) or nil
  local answer, failure = transport.pick("curl"):request {
    method = lists[order] and "GET" or off and "DELETE" or "POST",
    url = url .. "/sandbox/" .. order, headers = {}, body = body, timeout = 10,
    connect_timeout = 5, fresh = true, limit = 16 * 1048576,
  }
  if not answer then return nil, url .. ": " .. failure.message end
  local value = json.decode(answer.body)
  if answer.status ~= 200 then
    local why = type(value) == "table" and value.error or "HTTP " .. answer.status
    return nil, "sandbox: " .. order .. ": " .. why
  end
  require("billhook.cli.term").print(answer.body)
  return 0
end

function M.run(args)
  local host, port = nginx.address(args.listen)
  if args.order then
    if not args.order:find "^%l+$" then cli.usage("sandbox: no such order: " .. args.order) end
    return give(args.order, args.fields, nginx.url(host, port))
  end
  process.signals("TERM", "INT", "QUIT", "HUP", "CHLD")
  local run, err = require("billhook.cli.folder").make()
  if not run then return nil, err end
  local ok, code, message = pcall(serve, args, run, host, port)
  process.remove_tree(run)
  if not ok then error(code, 0) end
  return code, message
end

return M

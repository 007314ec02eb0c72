-- cli/sandbox.lua: `billhook sandbox`: the three vendors, imitated by an nginx
-- on this machine, for trying things out.

local nginx = require "billhook.cli.nginx"
local process = require "billhook.process"
local term = require "billhook.cli.term"
local trigger = require "billhook.cli.trigger"

local M = {}

local vendors = { "dreamapply", "dreamclass", "betterez" }

M.summary = "Imitate the vendors on this machine."

function M.configure(command)
  command:option("--listen", "Address and port.", "127.0.0.1:8081"):argname "<host:port>"
  trigger.to(command)
  for _, vendor in ipairs(vendors) do
    command:option("--" .. vendor, "The account there.", trigger.accounts[vendor])
      :argname "<account>"
  end
  command:flag("--json", "Print what it offers as JSON.")
  command:epilog [[
Example: billhook sandbox --to http://127.0.0.1:8080

POST /sandbox/trigger {"vendor":"dreamclass","type":"invoice.created"} makes it
send a webhook; GET /sandbox/deliveries tells what became of all.]]
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
    term.table({ "VENDOR", "!BASE_URL", "!API_KEY", "!WEBHOOKS PROVE THEMSELVES BY" }, rows)
  end
  io.stdout:flush()
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
  describe(url, args.json)
  term.say("listening on " .. url)
  return until_told(child)
end

function M.run(args)
  local host, port = nginx.address(args.listen)
  process.signals("TERM", "INT", "QUIT", "HUP", "CHLD")
  local run, err = require("billhook.cli.folder").make()
  if not run then return nil, err end
  local ok, code, message = pcall(serve, args, run, host, port)
  process.remove_tree(run)
  if not ok then error(code, 0) end
  return code, message
end

return M

-- cli/trigger.lua: `billhook trigger`: signs a made-up delivery as the vendor
-- would, and posts it.

local term = require "billhook.cli.term"

local M = {}

M.summary = "Send a signed sample webhook."

local function seconds(text)
  local value = tonumber(text)
  return value and value > 0 and value < 86400 and value or nil
end

-- The accounts of examples/rules.lua.
M.accounts = { dreamapply = "admissions", dreamclass = "school", betterez = "tickets" }

---The option --to.
---@param command table
function M.to(command)
  command:option("--to", "Where `billhook serve` listens; or, with a path, the webhook's own URL.")
    :argname "<url>"
end

---Where a webhook of an account goes.
---@param to string what --to says
---@param account string
---@return string url
function M.target(to, account)
  local base, path = to:match "^(%a+://[^/?#]+)(.*)$"
  if not base then require("billhook.cli").usage("--to is no URL: " .. to) end
  if path ~= "" and path ~= "/" then return to end
  return base .. "/webhooks/" .. account
end

function M.configure(command)
  command:argument("vendor", "The vendor that sends the webhook.")
    :choices { "dreamclass", "betterez", "dreamapply" }
  command:argument("event", "The vendor's name of the event, or billhook's (invoice.created).")
    :args "?"
  M.to(command)
  command:option("--account", "The receiver's account; by default the sandbox's.")
    :argname "<account>"
  command:option("--secret", "The webhook secret (or BILLHOOK_SECRET)."):argname "<secret>"
  command:option("--basic", "Basic credentials (or BILLHOOK_BASIC)."):argname "<user:password>"
  command:option("--authorization", "DreamApply's header value (or BILLHOOK_AUTHORIZATION).")
    :argname "<value>"
  command:option("--id", "The event's id; a new one by default."):argname "<id>"
  command:option("--tenant", "DreamClass's tenant."):argname "<name>"
  command:option("--data", "A JSON file in place of the made-up invoice; - is stdin.")
    :argname "<file>"
  command:flag("--test", "Mark it as a test (livemode = false)."):target "test"
  command:option("--timeout", "Seconds to wait for the answer.", "10")
    :convert(seconds):argname "<seconds>"
  command:flag("--print", "Print headers and body in place of sending."):target "dry"
  command:flag("--json", "Print the answer as JSON.")
  command:epilog [[
Example:
  billhook trigger dreamclass INVOICE_CREATED --secret 123 \
    --to http://127.0.0.1:8080 --account school]]
end

local function data_of(path)
  if not path then return nil end
  local body, err = require("billhook.cli.file").read(path)
  if not body then return nil, err end
  local data, why = require("billhook.json").decode(body)
  if type(data) ~= "table" then return nil, path .. ": " .. (why or "not a JSON object") end
  return data
end

-- What the vendor would prove itself with; environment variables keep it out of `ps`.
function M.credentials(args)
  local cli = require "billhook.cli"
  local basic = cli.secret(args.basic, "BILLHOOK_BASIC")
  local user, password = (basic or ""):match "^([^:]*):(.*)$"
  if basic and not user then cli.usage "--basic is user:password" end
  return {
    secret = cli.secret(args.secret, "BILLHOOK_SECRET"),
    authorization = cli.secret(args.authorization, "BILLHOOK_AUTHORIZATION"),
    basic = basic and { user, password } or nil,
  }
end

local function show(headers, body)
  local names = {}
  for name in pairs(headers) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do term.print(name .. ": " .. headers[name]) end
  term.print("\n" .. body)
  return 0
end

-- What to do where it was refused.
local hints = {
  [401] = "refused: the receiver's log says why (code=...); docs/debug-a-signature.md",
  [404] = "refused: its accounts are printed when `billhook serve` starts; see --account",
  [503] = "not stored: the receiver's log says why (event=not_stored)",
}

local function report(args, response)
  local good = response.status >= 200 and response.status < 300
  if args.json then
    term.json { status = response.status, body = response.body }
  else
    term.print(term.colour(good and "green" or "red", ("%d"):format(response.status)) .. " "
      .. term.clean(response.body))
    if hints[response.status] then term.say(hints[response.status]) end
  end
  return good and 0 or 1
end

local needed = {
  dreamapply = { "authorization", "--authorization (or BILLHOOK_AUTHORIZATION)" },
  dreamclass = { "secret", "--secret (or BILLHOOK_SECRET)" },
  betterez = { "secret", "--secret (or BILLHOOK_SECRET)" },
}

-- Wrong arguments end here, with a line; further down they would be a defect, with a trace.
local function check(args, credentials)
  local cli = require "billhook.cli"
  if not args.to and not args.dry then cli.usage "trigger: --to (or --print) is missing" end
  local proof = needed[args.vendor]
  if not credentials[proof[1]] then cli.usage("trigger: " .. proof[2] .. " is missing") end
  local parts, why = require("billhook.options").parse_url(args.to or "http://localhost")
  if not parts then cli.usage("trigger: --to " .. why) end
  if args.vendor == "dreamapply" and args.id and not args.id:find "^%d+$" then
    cli.usage "trigger: --id of a DreamApply event is a number"
  end
end

function M.run(args)
  local cli = require "billhook.cli"
  local credentials = M.credentials(args)
  check(args, credentials)
  local data, err = data_of(args.data)
  if err then return nil, err end
  local body
  body, err = require("billhook.cli.samples").body(args.vendor, args.event or "invoice.created", {
    id = args.id, tenant = args.tenant, test = args.test, data = data,
  })
  if not body then cli.usage("trigger: " .. err) end
  local headers, signed = cli.try(require("billhook").sign, args.vendor, body, credentials)
  if not headers then return nil, tostring(signed) end
  if args.dry then return show(headers, signed) end
  local url = M.target(args.to, args.account or M.accounts[args.vendor])
  local response, failure = require("billhook.transport").pick("curl"):request {
    method = "POST", url = url, headers = headers, body = signed, timeout = args.timeout,
    connect_timeout = args.timeout, fresh = true, limit = 1048576,
  }
  if not response then return nil, url .. ": " .. failure.message end
  return report(args, response)
end

return M

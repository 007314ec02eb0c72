-- cli/invoices.lua: `billhook invoices`: the invoice calls of a vendor's API
-- from the shell.

local M = {}

M.summary = "Call a vendor's invoice API."

local vendors = { "dreamapply", "dreamclass", "betterez" }
local options = {
  { "--base-url", "Where the vendor's API is.", "<url>" },
  { "--api-key", "The API key (or BILLHOOK_API_KEY).", "<key>" },
  { "--token", "Betterez's token (or BILLHOOK_TOKEN).", "<token>" },
  { "--tenant", "DreamClass's tenant.", "<name>" },
  { "--school-code", "DreamClass's school code.", "<code>" },
  { "--timeout", "Seconds for the whole call.", "<seconds>" },
  { "--rules", "Take an account's credentials from this rules file.", "<file>" },
  { "--account", "That account's name.", "<name>" },
}

local function common(command)
  command:option("--vendor", "Whose API."):choices(vendors)
  for _, option in ipairs(options) do
    local made = command:option(option[1], option[2]):argname(option[3])
    if option[1] == "--timeout" then made:convert(require("billhook.cli").number) end
  end
  command:flag("--json", "Print JSON.")
  return command
end

function M.configure(command)
  command:command_target "action"
  command:require_command(true)
  for _, action in ipairs { "list", "count" } do
    common(command:command(action)):argument("params", "name=value, as the vendor names them.")
      :args "*"
  end
  for _, action in ipairs { "get", "delete" } do
    common(command:command(action)):argument("id", "The invoice's id.")
  end
  local create = common(command:command "create")
  create:argument("params", "name=value, beside what the body has."):args "*"
  create:option("--body", "A JSON file with the fields; - is stdin."):argname "<file>"
  command:epilog [[
Examples:
  billhook invoices list --vendor dreamapply --base-url https://apply.example.edu application=123
  billhook invoices get --rules rules.lua --account admissions 321 --json
  billhook invoices create --vendor dreamapply ... application=123 --body invoice.json]]
end

local function from_rules(args)
  local app, err = require("billhook.cli.rules").load(args.rules)
  if not app then return nil, err end
  local client = app.accounts[args.account or ""]
  if not client then return nil, ("%s has no account %q"):format(args.rules, args.account or "") end
  return client
end

local function client_of(args)
  local cli = require "billhook.cli"
  if args.rules then return from_rules(args) end
  if not args.vendor then cli.usage "--vendor (or --rules and --account) is missing" end
  local settings = {
    base_url = args.base_url, timeout = args.timeout,
    api_key = cli.secret(args.api_key, "BILLHOOK_API_KEY"),
  }
  if args.vendor == "betterez" then settings.token = cli.secret(args.token, "BILLHOOK_TOKEN") end
  if args.vendor == "dreamclass" then
    settings.tenant, settings.school_code = args.tenant, args.school_code
  end
  return cli.try(require("billhook")[args.vendor], settings)
end

local convert = {
  id = function(text) return text:match "^%d+$" and tonumber(text) or text end,
  boolean = function(text)
    if text == "true" then return true end
    if text == "false" then return false end
    return text
  end,
}
convert.integer, convert.number = convert.id, convert.id

-- Texts from the shell become what the vendor's parameter is; what it is not, the client refuses.
local function value_of(param, text)
  local to = param and convert[param.type] or tostring
  if not (param and param.list) then return to(text) end
  local list = {}
  for word in text:gmatch "[^,]+" do list[#list + 1] = to(word) end
  return list
end

local function known_params(vendor, operation)
  local known = {}
  for _, one in ipairs(require("billhook.core").call.list(vendor)) do
    if one.name == operation then
      for _, param in ipairs(one.params) do known[param.name] = param end
    end
  end
  return known
end

local function body_of(path)
  if not path then return {} end
  local file, err = path == "-" and io.stdin or io.open(path, "rb"), nil
  if not file then file, err = io.open(path, "rb") end
  if not file then return nil, err end
  local text = file:read "*a"
  if path ~= "-" then file:close() end
  local value, why = require("billhook.json").decode(text)
  if type(value) ~= "table" then return nil, path .. ": " .. (why or "not a JSON object") end
  return value
end

local function params_of(args, client, operation)
  local params, err = body_of(args.body)
  if not params then return nil, err end
  local known = known_params(client.vendor, operation)
  for _, pair in ipairs(args.params or {}) do
    local name, text = pair:match "^([%w_]+)=(.*)$"
    if not name then require("billhook.cli").usage("not name=value: " .. pair) end
    params[name] = value_of(known[name], text)
  end
  if args.id then params.id = value_of(known.id, args.id) end
  return params
end

local function row(invoice)
  local invoices = require "billhook.invoice"
  local function try(name)
    local ok, value = pcall(invoices[name], invoice)
    return ok and value or nil
  end
  local payer = try "payer"
  return { invoice.id or invoice._id, try "number", try "total", try "balance", try "currency",
    try "due_date", type(payer) == "table" and (payer.name or payer.email) or payer }
end

local function show_list(list)
  local rows = {}
  for i, invoice in ipairs(list) do rows[i] = row(invoice) end
  require("billhook.cli.term").table(
    { "ID", "NUMBER", ">TOTAL", ">BALANCE", "CURRENCY", "DUE", "PAYER" }, rows)
end

local show = {
  list = show_list,
  get = function(invoice) show_list { invoice } end,
  count = function(n) print(("%d"):format(n)) end,
  create = function(made)
    local term = require "billhook.cli.term"
    term.table({ "ID", "LOCATION", "HOW" }, { { made.id, made.location, made.how } })
  end,
  delete = function() print "deleted" end,
}

local function failed(args, err)
  if args.json and type(err) == "table" then
    require("billhook.cli.term").json { error = { kind = err.kind, message = err.message,
      status = err.status, retry_after = err.retry_after } }
    return 1
  end
  return nil, tostring(err)
end

function M.run(args)
  local client, err = client_of(args)
  if not client then return nil, err end
  local operation = "invoices." .. args.action
  local params
  params, err = params_of(args, client, operation)
  if not params then return nil, err end
  local result, failure = require("billhook.cli").try(client.call, client, operation, params)
  if result == nil then return failed(args, failure) end
  if args.json then
    require("billhook.cli.term").json(result, args.action == "list")
  else
    show[args.action](result)
  end
  return 0
end

return M

-- cli/invoices.lua: `billhook invoices`: the invoice calls of a vendor's API
-- from the shell.

local term = require "billhook.cli.term"

local M = {}

M.summary = "Call a vendor's invoice API."

local function common(command) return require("billhook.cli.client").options(command) end

function M.configure(command)
  command:command_target "action"
  command:require_command(true)
  for _, action in ipairs { "list", "count" } do
    common(command:command(action)):argument("params", "name=value, as the vendor names them.")
      :args "*"
  end
  for _, action in ipairs { "get", "delete" } do
    local one = common(command:command(action))
    one:argument("id", "The invoice's id.")
    if action == "delete" then
      one:flag("--yes", "Do not ask, also on a terminal.")
      one:flag("--dry-run", "Only print what would be sent.")
    end
  end
  local create = common(command:command "create")
  create:argument("params", "name=value, in addition to the body."):args "*"
  create:option("--body", "A JSON file with the fields; - is stdin."):argname "<file>"
  create:flag("--dry-run", "Only print what would be sent.")
  create:option("--reference", "Your own reference, in a field of the invoice: an invoice that "
    .. "has it already is found, not created again."):argname "<field>=<value>"
  require("billhook.cli.client").settle_timeout(create)
  create:epilog [[
Example:
  billhook invoices create --vendor dreamapply \
    --base-url https://apply.example.edu application=123 --body invoice.json \
    --reference smallprint=order-881

Exit codes: 0 created or found; 1 it failed; 2 usage error; 3 it is not known
whether it was created: then the intent is printed, for billhook settle (with
--json: error.intent).]]
  command:epilog [[
Examples:
  billhook invoices list --vendor dreamapply \
    --base-url https://apply.example.edu application=123
  billhook invoices get --rules rules.lua --account admissions 321 --json
  billhook invoices create --rules rules.lua --account admissions \
    application=123 --body invoice.json]]
end

local function body_of(path)
  if not path then return {} end
  local text, err = require("billhook.cli.file").read(path)
  if not text then return nil, err end
  local value, why = require("billhook.json").decode(text)
  if type(value) ~= "table" then return nil, path .. ": " .. (why or "not a JSON object") end
  return value
end

local function params_of(args, client, operation)
  local params, err = body_of(args.body)
  if not params then return nil, err end
  if args.id then params.id = args.id end
  return require("billhook.cli.params").read(client.vendor, operation, args.params, params)
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
    { "!ID", "!NUMBER", ">!TOTAL", ">!BALANCE", "!CURRENCY", "?!DUE", "PAYER" }, rows)
end

local show = {
  list = show_list,
  get = function(invoice) show_list { invoice } end,
  count = function(n) term.print(("%d"):format(n)) end,
  create = function(made) require("billhook.cli.client").show_made(made) end,
  delete = function() term.print "deleted" end,
}

-- The options of a create's own call.
local function settings_of(args)
  if args.action ~= "create" then return nil end
  local settings = { settle_timeout = args.settle_timeout }
  if args.reference then
    local field, value = args.reference:match "^([%w_]+)=(.+)$"
    if not field then require("billhook.cli").usage("--reference is not <field>=<value>") end
    settings.reference = { field = field, value = value }
  end
  return settings
end

function M.run(args)
  local clients = require "billhook.cli.client"
  local client, err = clients.of(args)
  if not client then return nil, err end
  local operation = "invoices." .. args.action
  local params
  params, err = params_of(args, client, operation)
  if not params then return nil, err end
  if args.action == "list" or args.action == "count" then
    require("billhook.cli.params").complete(client.vendor, operation, params)
  end
  local settings = settings_of(args)
  if args.dry_run then clients.rehearse() end
  if args.action == "delete" and not args.dry_run
    and not term.agreed(("delete invoice %s, for good?"):format(tostring(params.id)), args.yes) then
    return nil, "nothing was deleted"
  elseif args.action == "create" and not args.dry_run then
    clients.tell_of_looking(client, operation, args.settle_timeout)
  end
  local result, failure = require("billhook.cli").try(client.call, client, operation, params,
    settings)
  require("billhook.cli.term").progress ""
  if result == nil then return clients.failed(args, failure) end
  if args.dry_run then return 0 end
  if args.json then
    require("billhook.cli.term").json(result)
  else
    show[args.action](result)
  end
  return 0
end

return M

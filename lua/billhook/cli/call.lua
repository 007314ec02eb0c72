-- cli/call.lua: `billhook call`: any operation of a vendor's API from the shell.

local cli = require "billhook.cli"
local clients = require "billhook.cli.client"
local core = require "billhook.core"

local unpack = table.unpack or unpack -- luacheck: ignore 113 143

local M = {}

M.summary = "Make any call to a vendor's API."

local usage -- of argparse, which must leave --name value alone

function M.configure(command)
  command:handle_options(false)
  usage = command
  command:argument("vendor", "dreamapply, dreamclass or betterez."):args "?"
  command:argument("operation", "Its name in docs/vendors.md, such as invoices.get."):args "?"
  command:argument("rest", "--name value: the call's parameters, and the options below."):args "*"
  command:epilog [[
Options: --base-url, --api-key (or BILLHOOK_API_KEY), --token (or
BILLHOOK_TOKEN), --tenant, --school-code, --timeout, --settle-timeout, --rules
with --account; --json with the body, as JSON, @file or - for stdin;
--show-secrets prints the credentials in an answer, which are hidden by default;
--dry-run only prints the request, --yes deletes without asking. Give passwords
in BILLHOOK_PASSWORD, not as an option. Without an operation, it lists the
vendor's operations.

Examples:
  billhook call dreamapply invoices.exists \
    --base-url https://apply.example.edu --id 321
  billhook call betterez providers.create --json @provider.json

Exit codes: 0 done; 1 it failed; 2 usage error; 3 the outcome is unknown: then
the intent is printed, which you can give to billhook settle.]]
end

local options = { ["base-url"] = true, ["api-key"] = true, token = true, tenant = true,
  ["school-code"] = true, timeout = cli.number, ["settle-timeout"] = cli.number, rules = true,
  account = true, json = true }

-- Options without a value.
local flags = { ["show-secrets"] = true, ["dry-run"] = true, yes = true }

-- The words after the operation: the command's own options, and the call's parameters as texts.
local function sort_out(rest, known)
  local args, texts, i = {}, {}, 1
  while i <= #rest do
    local name, value = rest[i]:match("^%-%-([%w_-]+)$"), rest[i + 1]
    if not name then
      name, value = rest[i]:match("^%-%-([%w_-]+)=(.*)$")
      i = i - 1
    end
    if not name then cli.usage("not --name value: " .. rest[i + 1]) end
    if flags[name] and not known[name] then
      args[(name:gsub("-", "_"))] = true
      i = i - 1
    elseif value == nil then
      cli.usage(("--%s has no value"):format(name))
    elseif known[name] then
      texts[name] = value
    elseif options[name] then
      local why
      if options[name] ~= true then value, why = options[name](value) end
      if why then cli.usage(("--%s: %s"):format(name, why)) end
      args[(name:gsub("-", "_"))] = value
    else
      cli.usage(("--%s is neither an option nor a parameter of this call"):format(name))
    end
    i = i + 2
  end
  return args, texts
end

local function decoded(text, what)
  local value, why = core.json.decode(text)
  if value == nil then cli.usage(("%s: %s"):format(what, why)) end
  return value
end

-- A text from the shell as its parameter is; what it cannot be, the client refuses.
local function single(param, text)
  if text:find("^%s*[{%[]") and ("object record numbered"):find(param.type, 1, true) then
    return decoded(text, "--" .. param.name)
  elseif param.type == "boolean" then
    if text == "true" then return true end
    if text == "false" then return false end
  end
  return text
end

local function value_of(param, text)
  if not param.list then return single(param, text) end
  if text:find("^%s*%[") then return decoded(text, "--" .. param.name) end
  local list = {}
  for word in text:gmatch("[^,]+") do list[#list + 1] = single(param, word) end
  return list
end

-- The body that --json gives.
local function body_of(text)
  local from = text == "-" and "stdin" or text:match("^@(.+)$")
  if from then
    local why
    text, why = require("billhook.cli.file").read(text == "-" and text or from)
    if not text then return nil, why end
  end
  local value = decoded(text, "--json")
  if type(value) ~= "table" then cli.usage "--json: not a JSON object" end
  return value
end

local function params_of(args, texts, known)
  local params, whole = {}, known.body and known.body.place == "body"
  if args.json then
    local body, why = body_of(args.json)
    if not body then return nil, why end
    params = whole and { body = body } or body
  end
  for name, text in pairs(texts) do params[name] = value_of(known[name], text) end
  if known.password then params.password = cli.secret(params.password, "BILLHOOK_PASSWORD") end
  return params
end

local CREDENTIALS = { "*apiKey", "*token", "*password", "*passwd", "*passphrase", "*secret",
  "*signerKey", "*signingKey", "*privateKey", "authorization" }

local function write(text)
  require("billhook.cli.term").write(text)
  return 0
end

local function show(result, operation, args)
  if operation.answer == "file" then return write(result) end
  local text = require("billhook.json").encode(result)
  if type(result) == "table" and not args.show_secrets then
    text = core.json.redact(text, CREDENTIALS)
  end
  return write(text .. "\n")
end

local function operations_of(vendor)
  local known, names = {}, {}
  for i, operation in ipairs(cli.try(require("billhook").calls, vendor)) do
    known[operation.name], names[i] = operation, operation.name
  end
  return known, names
end

local function asks_for_help(given)
  for _, word in ipairs { given.vendor or "", given.operation or "", unpack(given.rest or {}) } do
    if word == "--help" or word == "-h" then return true end
  end
end

function M.run(given)
  if asks_for_help(given) then return write(usage:get_help() .. "\n") end
  if not given.vendor then cli.usage "name the vendor: dreamapply, dreamclass or betterez" end
  local known, names = operations_of(given.vendor)
  if not given.operation then return write(table.concat(names, "\n") .. "\n") end
  local operation = known[given.operation]
  if not operation then
    cli.usage(("unknown operation '%s' of %s: `billhook call %s` lists them"):format(
      given.operation, given.vendor, given.vendor))
  end
  local by_name = {}
  for _, param in ipairs(operation.params) do by_name[param.name] = param end
  local args, texts = sort_out(given.rest or {}, by_name)
  args.vendor = given.vendor
  local params, why = params_of(args, texts, by_name)
  if not params then return nil, why end
  args.json = nil
  local client, err = clients.of(args)
  if not client then return nil, err end
  if client.vendor ~= given.vendor then
    cli.usage(("account '%s' is one of %s"):format(args.account, client.vendor))
  end
  if args.dry_run then clients.rehearse() end
  local question = operation.name .. ": delete it, for good?"
  if operation.method == "DELETE" and not args.dry_run
    and not require("billhook.cli.term").agreed(question, args.yes) then
    return nil, "nothing was deleted"
  end
  local settings
  if not operation.idempotent and not args.dry_run then
    settings = { settle_timeout = args.settle_timeout }
    clients.tell_of_looking(client, operation.name, args.settle_timeout)
  end
  local result, failure = cli.try(client.call, client, operation.name, params, settings)
  require("billhook.cli.term").progress ""
  if result == nil then return clients.failed(args, failure) end
  if args.dry_run and operation.method ~= "GET" and operation.method ~= "HEAD" then return 0 end
  return show(result, operation, args)
end

return M

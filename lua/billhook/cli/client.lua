-- cli/client.lua: what the subcommands that call a vendor's API have in common: the client that
-- their options describe, and what they say when a call fails.

local M = {}

--- The exit code where nobody knows what became of a call.
M.UNKNOWN = 3

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

---Adds what says whose API is called, and --json.
---@param command table of argparse
---@return table command
function M.options(command)
  command:option("--vendor", "Whose API."):choices(vendors)
  for _, option in ipairs(options) do
    local made = command:option(option[1], option[2]):argname(option[3])
    if option[1] == "--timeout" then made:convert(require("billhook.cli").number) end
  end
  command:flag("--json", "Print JSON.")
  return command
end

---Adds the time to look for what may have been created.
---@param command table of argparse
function M.settle_timeout(command)
  command:option("--settle-timeout", "Seconds to look for what may have been created (10)."):argname
    "<seconds>":convert(require("billhook.cli").number)
end

local function from_rules(args)
  local app, err = require("billhook.cli.rules").load(args.rules)
  if not app then return nil, err end
  local client, name = require("billhook.cli.rules").account(app, args.rules, args.account)
  if not client then return nil, name end
  args.account = name
  return client
end

---The client that the options describe.
---@param args table
---@return table|nil client, string|nil err
function M.of(args)
  local cli = require "billhook.cli"
  if args.rules then return from_rules(args) end
  if not args.vendor then cli.usage "--vendor (or --rules and --account) is missing" end
  local settings = {
    base_url = args.base_url, timeout = args.timeout,
    api_key = cli.secret(args.api_key, "BILLHOOK_API_KEY"),
  }
  if not settings.api_key then
    cli.usage "--api-key (or BILLHOOK_API_KEY, or --rules and --account) is missing"
  end
  if args.vendor == "betterez" then settings.token = cli.secret(args.token, "BILLHOOK_TOKEN") end
  if args.vendor == "dreamclass" then
    settings.tenant, settings.school_code = args.tenant, args.school_code
  end
  return cli.try(require("billhook")[args.vendor], settings)
end

---Says on a terminal that what may have been created is looked for, and for how long.
---@param client table
---@param seconds number|nil
function M.looking(client, seconds)
  require("billhook.cli.term").progress(("looking for what may have been created, for up to %g s")
    :format(seconds or client.options.settle_timeout))
end

---Has that said where the call has had no answer that decides it.
---@param client table
---@param operation string
---@param seconds number|nil
function M.tell_of_looking(client, operation, seconds)
  require("billhook.client").observe(client, function(called, result)
    if called == operation and not result:find "^[24]%d%d$" then M.looking(client, seconds) end
  end)
end

---From here on a call that would change something is only printed.
function M.rehearse()
  local term = require "billhook.cli.term"
  require("billhook.rehearsal").begin(function(call)
    term.print(term.clean(("%s %s%s"):format(call.method, call.url,
      call.body and " " .. call.body or "")))
  end)
end

---Prints what a create gave.
---@param made table
function M.show_made(made)
  require("billhook.cli.term").table({ "!ID", "!LOCATION", "!HOW" },
    { { made.id or made._id, made.location, made.how or "found" } })
end

local function as_json(err)
  return { error = { kind = err.kind, code = err.code, message = err.message, status = err.status,
    retry_after = err.retry_after, candidates = err.candidates, sent_at = err.sent_at,
    intent = err.intent } }
end

-- The intent goes where results go, so that it can be kept; the rest is for whoever reads it.
local function unknown(err)
  local term = require "billhook.cli.term"
  term.say(tostring(err))
  if err.candidates and #err.candidates > 0 then
    term.say("it may be " .. table.concat(err.candidates, ", "))
  end
  term.say "do not create it again: keep its intent, and look again with billhook settle"
  term.json(err.intent)
  return M.UNKNOWN
end

---What a subcommand gives for a call that failed.
---@param args table
---@param err any
---@return integer|nil code, string|nil message
function M.failed(args, err)
  if type(err) ~= "table" then return nil, tostring(err) end
  local is_unknown = err.kind == "unknown_outcome"
  if args.json then
    local out = as_json(err)
    require("billhook.cli.term").json(out)
    return is_unknown and M.UNKNOWN or 1
  elseif is_unknown then
    return unknown(err)
  end
  return nil, tostring(err)
end

return M

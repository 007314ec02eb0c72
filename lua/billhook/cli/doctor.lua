-- cli/doctor.lua: `billhook doctor`: what each account of a rules file can do, and what is missing.
-- It only looks: no call but GET and HEAD, and the inbox is neither made nor changed.

local M = {}

M.summary = "Check what each account can do, and what is missing."

function M.configure(command)
  command:argument("rules", "The rules file.")
  command:argument("account", "Only this account."):args "?"
  command:option("--invoice", "The id of an invoice to read."):argname "<id>"
  command:flag("--json", "Print JSON.")
  command:epilog [[
Nothing is changed: only GET and HEAD are sent, and the inbox is only read.
Where DreamClass's GetInvoice has no path in the option `paths`, the likely ones
are tried.
Exit codes: 0 nothing is wrong; 1 something is (FAIL).]]
end

-- What accounts are made of: the webhook's options by client, and DreamClass's own.
local function load(path)
  local billhook = require "billhook"
  local hooks, given = {}, {}
  require("billhook.client.account").witness(function(webhook, hook) hooks[webhook] = hook end)
  local dreamclass = billhook.dreamclass
  billhook.dreamclass = function(options)
    local fine, client = pcall(dreamclass, options)
    if not fine then error((tostring(client):gsub("^[^:]+:%d+: ", "")), 2) end
    given[client] = options
    return client
  end
  local app, err = require("billhook.cli.rules").load(path)
  billhook.dreamclass = dreamclass
  return app, app and hooks or err, given
end

local function names_of(app, only)
  if only then return { only } end
  local names = {}
  for name in pairs(app.accounts) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local COLOURS = { ok = "green", warn = "yellow", fail = "red", unknown = "dim" }

local INDENT = 11 -- where the messages begin

local function show(reports, names)
  local term = require "billhook.cli.term"
  for _, name in ipairs(names) do
    term.write(term.colour("bold", term.clean(name)) .. "\n")
    for _, one in ipairs(reports[name]) do
      local lines = term.wrapped(one.check .. ": " .. term.clean(one.message), INDENT)
      term.write(("  %s  %s\n"):format(term.colour(COLOURS[one.state],
        ("%-7s"):format(one.state:upper())), table.concat(lines, "\n" .. (" "):rep(INDENT))))
    end
  end
end

local function diagnose(app, names, hooks, given, invoice)
  local clients, diagnosis = require "billhook.client", require "billhook.cli.diagnose"
  local peek, why, absent = require("billhook.inbox.peek").open(app.inbox)
  local reports, wrong = {}, false
  for _, name in ipairs(names) do
    local client = app.accounts[name]
    -- what the quota has left is in the inbox; what is asked for here is not written there
    clients.share(client, function() return peek or nil end)
    local fine, report = pcall(diagnosis.account, name, client, { given = given[client],
      hook = hooks[client.webhook], peek = peek, why = why, absent = absent,
      invoice = invoice })
    if not fine then
      if type(report) ~= "string" then error(report, 0) end
      report = { { check = "inbox", state = "fail", message = report } }
    end
    reports[name] = report
    for _, one in ipairs(report) do wrong = wrong or one.state == "fail" end
  end
  if peek then peek:close() end
  return reports, wrong
end

function M.run(args)
  local app, hooks, given = load(args.rules)
  if not app then return nil, hooks end
  if args.account then
    local client, why = require("billhook.cli.rules").account(app, args.rules, args.account)
    if not client then return nil, why end
  end
  local names = names_of(app, args.account)
  local reports, wrong = diagnose(app, names, hooks, given, args.invoice)
  if args.json then
    local json, out = require "billhook.json", {}
    for name, report in pairs(reports) do
      out[name] = json.array {}
      for i, one in ipairs(report) do
        out[name][i] = { check = one.check, state = one.state, message = one.message }
      end
    end
    require("billhook.cli.term").json(out)
  else
    show(reports, names)
  end
  require("billhook.cli.term").flush()
  return wrong and 1 or 0
end

return M

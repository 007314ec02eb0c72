-- cli/reconcile.lua: `billhook reconcile`: what the APIs have and we have not, and the other way
-- round.

local M = {}

M.summary = "Compare all invoices of the APIs with the inbox."

function M.configure(command)
  command:argument("rules", "The rules file.")
  command:argument("account", "Only this account."):args "?"
  command:flag("--dry-run", "Store nothing, make no event.")
  command:flag("--json", "Print JSON.")
  command:epilog [[
Differences become events, as those of a webhook would; `billhook work` does the
same every night.
Exit code 0: nothing differed; 1: something did, or it could not be compared.]]
end

local function names_of(app, only)
  if only then return { only } end
  local names = {}
  for name in pairs(app.accounts) do names[#names + 1] = name end
  table.sort(names)
  return names
end

function M.run(args)
  local app, err = require("billhook.cli.rules").load(args.rules)
  if not app then return nil, err end
  if args.account then
    local client, why = require("billhook.cli.rules").account(app, args.rules, args.account)
    if not client then return nil, why end
  end
  local term, code, reports, rows = require "billhook.cli.term", 0, {}, {}
  for _, name in ipairs(names_of(app, args.account)) do
    term.progress(("reads all of %s"):format(name))
    local report, why = app:reconcile(name, { dry_run = args.dry_run or false })
    term.progress ""
    if report then
      reports[name] = report
      rows[#rows + 1] = { name, report.same, report.changed, report.missing_here,
        report.missing_there }
      if report.changed + report.missing_here + report.missing_there > 0 then code = 1 end
    else
      reports[name] = { error = tostring(why) }
      term.say(name .. ": " .. tostring(why))
      code = 1
    end
  end
  if args.json then
    term.json(reports)
  elseif #rows > 0 then
    term.table({ "ACCOUNT", ">SAME", ">CHANGED", ">MISSING HERE", ">MISSING THERE" }, rows)
  end
  if app.store then app.store:close() end
  return code
end

return M

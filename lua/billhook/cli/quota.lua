-- cli/quota.lua: `billhook quota`: how many calls are left to each account, as all processes on the
-- inbox count them.

local M = {}

M.summary = "Show how many API calls are left, and when more become free."

function M.configure(command)
  command:argument("rules", "The rules file.")
  command:argument("account", "Only this account."):args "?"
  command:flag("--json", "Print JSON.")
  command:epilog [[
It is counted here, over all processes on the inbox; no vendor is asked.
DreamApply allows 180 calls a minute for a key; of the others no limit is known,
but for one that the rules file sets.]]
end

local function row_of(name, quota)
  local more = quota.next_at and os.date("!%Y-%m-%dT%H:%M:%SZ", math.ceil(quota.next_at))
  return { name, quota.limit or "no limit", quota.left, more }
end

function M.run(args)
  local store, app = require("billhook.cli.inbox").open { rules = args.rules }
  if not store then return nil, tostring(app) end
  app:use_store(store)
  if args.account then
    local client, why = require("billhook.cli.rules").account(app, args.rules, args.account)
    if not client then return nil, why end
  end
  local names, all, rows = {}, {}, {}
  for name in pairs(app.accounts) do
    if not args.account or args.account == name then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    local quota, err = app.accounts[name]:quota()
    if not quota then return nil, ("%s: %s"):format(name, tostring(err)) end
    all[name], rows[i] = quota, row_of(name, quota)
  end
  local term = require "billhook.cli.term"
  if args.json then
    term.json(all)
  else
    term.table({ "!ACCOUNT", ">LIMIT", ">LEFT", "!MORE AT" }, rows)
  end
  store:close()
  return 0
end

return M

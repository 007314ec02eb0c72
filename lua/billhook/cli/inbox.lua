-- cli/inbox.lua: `billhook inbox`: what has been received, what became of it,
-- and what may be done about it.

local M = {}

M.summary = "Look into the inbox; run deliveries again; purge."

local units = { s = 1, m = 60, h = 3600, d = 86400 }

local function seconds(text)
  local number, unit = text:match "^(%d+)([smhd]?)$"
  if not number then return nil, "not a time such as 30d, 12h, 15m or 60s: " .. text end
  return tonumber(number) * units[unit == "" and "s" or unit]
end

local function where(command)
  command:option("--inbox", "The inbox.", "sqlite:billhook.db"):argname "<url>"
  command:option("--rules", "Use the inbox of this rules file."):argname "<file>"
  command:flag("--json", "Print JSON.")
  return command
end

local function filters(command)
  command:option("--account"):argname "<name>"
  command:option("--type"):argname "<type>"
  command:option("--invoice"):argname "<id>"
  command:option("--older-than", "Such as 30d, 12h, 15m."):convert(seconds):argname "<time>"
  command:option("--newer-than"):convert(seconds):argname "<time>"
  return where(command)
end

local function listing(command)
  command:option("--limit", "How many at most.", "100"):convert(tonumber):argname "<n>"
  return filters(command)
end

function M.configure(command)
  command:command_target "action"
  command:require_command(true)
  listing(command:command("list"):summary "List deliveries, newest first.")
    :option("--state"):choices { "pending", "done", "dead", "unhandled" }
  listing(command:command("dead"):summary "List what gave up.")
  where(command:command("show"):summary "One delivery, with its marks."):argument "id"
  where(command:command("stats"):summary "Counts.")
  local retry = filters(command:command("retry"):summary "Run again: one, or all dead that match.")
  retry:argument("id"):args "?"
  retry:flag("--all", "All dead ones that the other options match.")
  local purge = filters(command:command("purge"):summary "Delete bodies; ids stay known.")
  purge:argument("id"):args "?"
  command:epilog [[
Examples:
  billhook inbox list --state dead --newer-than 2d
  billhook inbox retry school:aa3a27d6-05b5-4fcd-bd04-505bfffacfc2
  billhook inbox purge --older-than 30d]]
end

local function url_of(args)
  if not args.rules then return args.inbox end
  local app, err = require("billhook.cli.rules").load(args.rules)
  return app and app.inbox, err
end

-- Looking must not make a new, empty inbox out of a mistyped name.
local function open(args)
  local url, err = url_of(args)
  if not url then return nil, err end
  local inbox = require "billhook.inbox"
  local good, why = inbox.check(url)
  if not good then require("billhook.cli").usage(why) end
  local path = url:match "^sqlite:(.+)$"
  if path and not require("billhook.process").stat(path) then return nil, "no inbox " .. path end
  return inbox.open(url)
end

local function filter_of(args, state)
  return { id = args.id, account = args.account, type = args.type, invoice = args.invoice,
    state = state or args.state, older_than = args.older_than, newer_than = args.newer_than,
    limit = args.limit }
end

local function when(epoch)
  return epoch and os.date("%Y-%m-%d %H:%M:%S", math.floor(epoch)) or nil
end

local function show_list(events)
  local rows = {}
  for i, event in ipairs(events) do
    rows[i] = { when(event.received_at), event.id, event.type,
      event.invoice, event.trust, event.contested and event.contested ~= 0
      and event.state .. ", contested" or event.state }
  end
  require("billhook.cli.term").table(
    { "RECEIVED", "ID", "TYPE", "INVOICE", "TRUST", "STATE" }, rows)
end

local actions = {}

function actions.list(store, args, state)
  local events, err = store:list(filter_of(args, state))
  if not events then return nil, err end
  return events, show_list
end

function actions.dead(store, args) return actions.list(store, args, "dead") end

local fields = { "account", "id", "key", "vendor", "type", "native", "invoice", "tenant", "live",
  "trust", "contested", "state", "note" }

local function show_event(event)
  local term = require "billhook.cli.term"
  local rows = {}
  for _, name in ipairs(fields) do rows[#rows + 1] = { name, event[name] } end
  rows[#rows + 1] = { "occurred", when(event.occurred_at) }
  rows[#rows + 1] = { "received", when(event.received_at) }
  rows[#rows + 1] = { "body", event.body or "(purged)" }
  term.table({ "WHAT", "VALUE" }, rows)
  rows = {}
  for rule, mark in pairs(event.marks or {}) do
    rows[#rows + 1] = { rule, mark.state, mark.attempts, mark.message }
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  if #rows > 0 then term.table({ "RULE", "STATE", ">ATTEMPTS", "MESSAGE" }, rows) end
end

function actions.show(store, args)
  local event, err = store:show(args.id)
  if event == nil then return nil, err end
  if not event then return nil, "no delivery " .. args.id end
  return event, show_event
end

function actions.stats(store)
  local stats, err = store:stats()
  if not stats then return nil, err end
  return stats, function()
    local rows = {}
    for name, value in pairs(stats) do rows[#rows + 1] = { name, value } end
    table.sort(rows, function(a, b) return a[1] < b[1] end)
    require("billhook.cli.term").table({ "WHAT", ">VALUE" }, rows)
  end
end

function actions.retry(store, args)
  if not args.id and not args.all then require("billhook.cli").usage "retry: an id, or --all" end
  local n, err = store:replay(filter_of(args, not args.id and "dead" or nil))
  if not n then return nil, err end
  return { again = n }, function() print(("%d to run again"):format(n)) end
end

function actions.purge(store, args)
  if not (args.id or args.older_than or args.invoice) then
    require("billhook.cli").usage "purge: an id, --older-than or --invoice"
  end
  local n, err = store:purge(filter_of(args))
  if not n then return nil, err end
  return { purged = n }, function() print(("%d purged"):format(n)) end
end

function M.run(args)
  local store, err = open(args)
  if not store then return nil, tostring(err) end
  local result, show = actions[args.action](store, args)
  if result ~= nil and args.json then
    require("billhook.cli.term").json(result, args.action == "list" or args.action == "dead")
  elseif result ~= nil then
    show(result)
  end
  store:close()
  if result == nil then return nil, tostring(show) end
  return 0
end

return M

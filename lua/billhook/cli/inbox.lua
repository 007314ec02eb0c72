-- cli/inbox.lua: `billhook inbox`: what has been received, what became of it,
-- and what may be done about it.

local M = {}

M.summary = "Look into the inbox; run deliveries again; purge."

local units = { s = 1, m = 60, h = 3600, d = 86400 }
local oldest = 36500 * units.d
local most = 1000000000

-- Seconds ago, from an age or from a moment.
local function ago(text)
  local number, unit = text:match "^(%d+)([smhd]?)$"
  local seconds = number and tonumber(number) * units[unit == "" and "s" or unit]
  if seconds and seconds > oldest then return nil, "more than 36500d ago: " .. text end
  if seconds then return seconds end
  local text_of = require("billhook.core").text
  local moment = text_of.datetime(text)
  if moment then return math.max(0, text_of.now() - moment) end
  return nil, "not an age such as 30d, 12h, 15m or 60s, nor a moment such as "
    .. "2026-11-21T10:00:00Z: " .. text
end

local function limit(command, default)
  return command:option("--limit", "How many at most.", default):argname "<n>"
    :convert(require("billhook.cli").whole(1, most))
end

local function where(command)
  command:option("--inbox", "The inbox.", "sqlite:billhook.db"):argname "<url>"
  command:option("--rules", "Use the inbox of this rules file."):argname "<file>"
  command:flag("--json", "Print JSON.")
  return command
end

local function filters(command)
  command:option("--account"):argname "<name>"
  command:option("--type", "Such as invoice.created."):argname "<type>"
  command:option("--invoice"):argname "<id>"
  command:option("--older-than", "Such as 30d, 12h, 15m, or a moment."):convert(ago)
    :argname "<age>"
  command:option("--newer-than"):convert(ago):argname "<age>"
  return where(command)
end

local function states(command)
  command:option("--state"):choices { "pending", "done", "dead", "unhandled" }
  return command
end

local function listing(command)
  limit(command, "100")
  command:flag("--contested", "Only those whose id came with other contents as well.")
  return filters(command)
end

function M.configure(command)
  command:command_target "action"
  command:require_command(true)
  states(listing(command:command("list"):summary "List deliveries, newest first."))
  listing(command:command("dead"):summary "List what gave up.")
  where(command:command("show"):summary "One delivery, with its marks."):argument "id"
  where(command:command("stats"):summary "Counts.")
  local retry = states(filters(command:command("retry"):summary "Run again."))
  retry:argument("id"):args "*"
  retry:flag("--all", "All that the other options match; without --state, the dead ones.")
  limit(retry):description "How many at most, the oldest first."
  retry:epilog [[
Of a dead delivery the rules that gave up run again, of one that is done all its
rules, and of a pending one those that wait for their next run, now. Unhandled
ones are given to the rules of the rules file that want them, with --rules.]]
  local purge = states(filters(command:command("purge"):summary "Delete bodies; ids stay known."))
  purge:argument("id"):args "*"
  purge:epilog [[
Only what is finished is purged; what is not is named. `billhook work` does the
same by itself to what is older than the option `retention` says (90 days).]]
  command:epilog [[
Examples:
  billhook inbox list --state dead --newer-than 2d
  billhook inbox retry school:aa3a27d6-05b5-4fcd-bd04-505bfffacfc2
  billhook inbox retry --all --state done --newer-than 2h --older-than 1h
  billhook inbox retry --all --state unhandled --rules rules.lua
  billhook inbox purge --older-than 30d
  billhook inbox purge --account school --invoice 16]]
end

-- The inbox's URL, and the app where there is a rules file.
local function url_of(args)
  if not args.rules then return args.inbox end
  local app, err = require("billhook.cli.rules").load(args.rules)
  return app and app.inbox, app or err
end

-- Looking must not make a new, empty inbox out of a mistyped name.
local function open(args)
  local url, app = url_of(args)
  if not url then return nil, app end
  local inbox = require "billhook.inbox"
  local good, why = inbox.check(url)
  if not good then require("billhook.cli").usage(why) end
  local path = url:match "^sqlite:(.+)$"
  if path and not require("billhook.process").stat(path) then return nil, "no inbox " .. path end
  local store, err = inbox.open(url)
  return store, store and app or err
end

local function filter_of(args, changes)
  local filter = { account = args.account, type = args.type, invoice = args.invoice,
    state = args.state, older_than = args.older_than, newer_than = args.newer_than,
    limit = args.limit, contested = args.contested }
  for name, value in pairs(changes or {}) do filter[name] = value end
  return filter
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

function actions.list(store, args)
  local events, err = store:list(filter_of(args))
  if not events then return nil, err end
  return events, show_list
end

function actions.dead(store, args)
  args.state = "dead"
  return actions.list(store, args)
end

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
    local wait = mark.state == "waiting" and ("%.0f s"):format((mark.wait or 0) / 1000) or nil
    rows[#rows + 1] = { rule, mark.state, mark.attempts, wait, mark.message }
  end
  for _, rule in ipairs(event.rules) do
    if not event.marks[rule] then rows[#rows + 1] = { rule, "not begun", 0 } end
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  if #rows > 0 then term.table({ "RULE", "STATE", ">ATTEMPTS", "RUNS IN", "MESSAGE" }, rows) end
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

local PAGE = 500

-- Which rules want what is unhandled now, as the inbox takes it.
local function wanted(store, app, filter)
  local intake = require "billhook.delivery.intake"
  local names, before = {}, nil
  repeat
    filter.limit, filter.before = PAGE, before
    local events, err = store:list(filter)
    if not events then return nil, err end
    for _, event in ipairs(events) do
      local kind = { event.account, event.type, event.native, event.live and "live" or "test" }
      names[table.concat(kind, "\n")] = app.accounts[event.account]
        and intake.rules_of(app, event.account, event, event.type) or {}
      before = event.seq
    end
  until #events < PAGE
  return names
end

-- Those of the ids that no delivery has; the others were seen to.
local function unknown(store, args)
  local names = {}
  for _, id in ipairs(args.id) do
    local found, err = store:list { id = id, limit = 1 }
    if not found then return nil, err end
    if #found == 0 then names[#names + 1] = id end
  end
  if #names == 0 then return true end
  return nil, "no delivery " .. table.concat(names, ", ")
end

-- One replay for all that match, or one for each id; the sum.
local function each_id(args, fn)
  if #args.id == 0 then return fn(filter_of(args)) end
  local all = 0
  for _, id in ipairs(args.id) do
    local n, err = fn(filter_of(args, { id = id }))
    if not n then return nil, err end
    all = all + n
  end
  return all
end

function actions.retry(store, args, app)
  if #args.id == 0 and not args.all then
    require("billhook.cli").usage "retry: an id, or --all"
  elseif args.state == "unhandled" and not app then
    require("billhook.cli").usage "retry: unhandled ones are run by the rules of --rules"
  end
  if #args.id == 0 then args.state = args.state or "dead" end
  local n, err = each_id(args, function(filter)
    local names, why
    if app and (filter.state or "unhandled") == "unhandled" then
      names, why = wanted(store, app, filter_of(args, { id = filter.id, state = "unhandled" }))
      if not names then return nil, why end
    end
    return store:replay(filter, names)
  end)
  if not n then return nil, err end
  return { again = n }, function() print(("%d to run again"):format(n)) end, unknown(store, args)
end

-- What a purge leaves since its rules have not run.
local function unfinished(store, args)
  return each_id(args, function(filter)
    filter.state, filter.limit = "pending", 1000
    local events, err = store:list(filter)
    return events and #events, err
  end)
end

function actions.purge(store, args)
  if #args.id == 0 and not (args.older_than or args.invoice) then
    require("billhook.cli").usage "purge: an id, --older-than or --invoice"
  end
  local left, err = unfinished(store, args)
  local n
  if left then
    n, err = each_id(args, function(filter) return store:purge(filter) end)
  end
  if not n then return nil, err end
  return { purged = n, kept = left }, function()
    print(("%d purged"):format(n))
    if left > 0 then print(("%d kept: not finished"):format(left)) end
  end, unknown(store, args)
end

function M.run(args)
  local store, app = open(args)
  if not store then return nil, tostring(app) end
  local result, show, fine, why = actions[args.action](store, args, app)
  if result ~= nil and args.json then
    require("billhook.cli.term").json(result, args.action == "list" or args.action == "dead")
  elseif result ~= nil then
    show(result)
  end
  store:close()
  if result == nil then return nil, tostring(show) end
  if fine == nil and why then return nil, tostring(why) end
  return 0
end

return M

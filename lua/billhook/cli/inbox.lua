-- cli/inbox.lua: `billhook inbox`: what has been received, what is known of invoices, what rules
-- have run on, and what may be done about it.

local change = require "billhook.cli.change"
local ids = require "billhook.cli.ids"
local members = require "billhook.cli.members"

local M = {}

M.summary = "Inspect the inbox; run events again; purge; copy."

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
  command:option("--inbox", "The inbox (or BILLHOOK_INBOX; sqlite:billhook.db)."):argname "<url>"
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

local states = {
  deliveries = { "pending", "done", "unchanged", "gone", "unhandled", "dead" },
  events = { "pending", "done", "unhandled", "dead" },
  invoices = { "open", "closed", "deleted" },
}

local function state_of(command, of)
  command:option("--state"):choices(states[of])
  return command
end

local function listing(command, of)
  limit(command, "100")
  command:flag("--follow", "Continue with new rows until Ctrl-C; JSON is one object per line.")
  return state_of(filters(command), of)
end

function M.configure(command)
  command:command_target "action"
  command:require_command(true)
  listing(command:command("deliveries"):summary "Deliveries, newest first.", "deliveries")
  listing(command:command("events"):summary "Events, newest first.", "events")
  limit(filters(command:command("dead"):summary "Dead events and their errors, newest first."),
    "100")
  listing(command:command("invoices"):summary "The last known state of invoices.", "invoices")
  where(command:command("show"):summary("An event or a delivery (a unique prefix of its id is"
    .. " enough), or an invoice (ACCOUNT:ID)."))
    :argument "id"
  where(command:command("stats"):summary "Counts.")
  local retry = state_of(filters(command:command("retry"):summary "Run events again."), "events")
  retry:argument("id", "An id, or a unique prefix."):args "*"
  retry:flag("--all", "All events that the other options match; without --state, the dead ones.")
  limit(retry):description "How many at most, the oldest first."
  retry:epilog [[
Of a dead event, the dead rules run again; of a done event, all its rules. Rules
of a pending event that wait for their next attempt run now. With --rules,
unhandled events are given to the rules of that file that match them.]]
  local purge = filters(command:command("purge"):summary "Delete stored content; ids stay known.")
  purge:argument("id"):args "*"
  purge:flag("--yes", "Do not ask, also on a terminal.")
  purge:flag("--dry-run", "Only print how many events and deliveries match.")
  purge:epilog [[
Only finished events and deliveries are purged. `billhook work` does the same
after the option `retention` (90 days after an invoice is closed).]]
  local rebase = where(command:command("rebase")
    :summary "Confirm what an account's API says now.")
  rebase:argument "account"
  rebase:epilog [[
Needed after you have changed an account's address, tenant or school, and if
more invoices were deleted in a day than billhook accepts without a
confirmation. Requires --rules.]]
  local copy = command:command("copy")
    :summary "Copy all of an inbox into an empty one, SQLite to PostgreSQL or back."
  copy:option("--from", "The source, which no process uses."):argname "<url>"
  copy:option("--to", "The target, which must be empty."):argname "<url>"
  copy:flag("--json", "Print JSON.")
  copy:epilog [[
Stop receivers and workers first. A copy that ends early leaves the target
empty.]]
  command:epilog [[
Examples:
  billhook inbox dead --newer-than 2d
  billhook inbox show admissions:200
  billhook inbox retry admissions:200@3.1f9c03ab.updated
  billhook inbox retry --all --state done --newer-than 2h --older-than 1h
  billhook inbox retry --all --state unhandled --rules rules.lua
  billhook inbox purge --older-than 30d
  billhook inbox rebase admissions --rules rules.lua
  billhook inbox copy --from sqlite:billhook.db \
    --to postgresql://billhook@db.example.edu/billhook]]
end

-- The inbox's URL, and the app where there is a rules file.
local function url_of(args)
  if not args.rules then
    return args.inbox or require("billhook.cli").secret(nil, "BILLHOOK_INBOX")
      or "sqlite:billhook.db"
  end
  local app, err = require("billhook.cli.rules").load(args.rules)
  return app and app.inbox, app or err
end

-- Is there such an inbox? Looking must not make a new, empty one out of a mistyped name.
local function exists(url, what_next)
  local good, why = require("billhook.inbox").check(url)
  if not good then require("billhook.cli").usage("inbox " .. why) end
  local path = url:match "^sqlite:(.+)$"
  if path and not require("billhook.process").stat(path) then
    return nil, ("there is no inbox %s: %s"):format(path, what_next)
  end
  return true
end

---The inbox that the options name.
---@param args table
---@return table|nil store
---@return table|string|nil app the rules file's, where there is one; or an error
function M.open(args)
  local url, app = url_of(args)
  if not url then return nil, app end
  local there, why = exists(url, args.rules and "`billhook serve` makes it"
    or "name yours with --inbox, --rules or BILLHOOK_INBOX")
  if not there then return nil, why end
  local store, err = require("billhook.inbox").open(url)
  return store, store and app or err
end

-- In UTC, as the log has it, and as --older-than takes it back.
local function when(epoch)
  return epoch and os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(epoch)) or nil
end

local function print_table(head, rows) require("billhook.cli.term").table(head, rows) end

-- On a narrow terminal: an event's id is for `retry`, and stays whole; a delivery's may be cut, for
-- its beginning is enough for `show`, which has what is left out, too.
local heads = {
  deliveries = { "!RECEIVED", "24ID", "TYPE", "?!INVOICE", "?TRUST", "??>SEEN", "!STATE",
    "REASON" },
  events = { "????!MADE", "!ID", "???TYPE", "?!INVOICE", "?TRUST", "!STATE", "??NOTE" },
  invoices = { "?!CHANGED", "!INVOICE", "??!NUMBER", "!TOTAL", "!BALANCE", "", "???!DUE", "!STATUS",
    "?>VERSION" },
}

local lines = {
  deliveries = function(one)
    return { when(one.received_at), one.id, one.type, one.invoice, one.trust, one.seen, one.state,
      one.reason }
  end,
  events = function(one)
    return { when(one.created_at), one.id, one.type, one.invoice, one.trust, one.state, one.note }
  end,
  invoices = function(one)
    return { when(one.changed_at), one.account .. ":" .. one.invoice, one.number, one.total,
      one.balance, one.currency, one.due_date, one.deleted_at and "deleted" or one.status,
      one.version }
  end,
}

local actions = {}

-- As many as are asked for; where there are more, that is said, to programs too.
local function listed(store, of, args)
  local found, err = store[of](store, change.filter(args, { limit = args.limit + 1 }))
  if found and #found > args.limit then
    found[#found] = nil
    require("billhook.cli.term").say(("only the newest %d: use --limit for more")
      :format(args.limit))
  end
  return found, err
end

-- Some of them, and then what comes.
local function follow(store, of, args, found)
  local term, line_of = require "billhook.cli.term", lines[of]
  return require("billhook.cli.follow").run(store, of, function() return change.filter(args) end,
    found, function(list, first)
      local rows = {}
      for i, one in ipairs(list) do
        if args.json then term.json(members[of](one)) else rows[i] = line_of(one) end
      end
      if not args.json then term.rows(heads[of], rows, first) end
    end)
end

for of, line_of in pairs(lines) do
  actions[of] = function(store, args)
    local found, err = listed(store, of, args)
    if not found then return nil, err end
    if args.follow then return follow(store, of, args, found) end
    return members.all(found, of), function()
      local rows = {}
      for i, one in ipairs(found) do rows[i] = line_of(one) end
      print_table(heads[of], rows)
    end
  end
end

-- Each dead event with its dead rules, and why.
function actions.dead(store, args)
  args.state = "dead"
  local found, err = listed(store, "events", args)
  if not found then return nil, err end
  local rows = {}
  for i, one in ipairs(found) do
    found[i], err = store:show(one.id)
    if not found[i] then return nil, err end
    local before = #rows
    for rule, mark in pairs(found[i].marks) do
      if mark.state == "dead" then
        rows[#rows + 1] = { when(one.created_at), one.id, rule, mark.attempts, mark.message }
      end
    end
    if #rows == before then
      rows[#rows + 1] = { when(one.created_at), one.id, nil, nil, one.note }
    end
  end
  return members.all(found, "events"), function()
    print_table({ "?!MADE", "!ID", "!RULE", "??>ATTEMPTS", "+REASON" }, rows)
  end
end

-- Members of an object as lines, in this order, and then its longer texts.
local PROSE = { note = true, reason = true } -- nobody copies it: it is folded
local INDENT = 13 -- where values begin: the longest name is "received_at"

local function show_fields(object, names, texts)
  local term, rows = require "billhook.cli.term", {}
  for _, name in ipairs(names) do
    local value = object[name]
    if name:find "_at$" or name == "check_due" or name == "run_due" then value = when(value) end
    if type(value) == "table" then value = value[1] and table.concat(value, ", ") end
    if PROSE[name] and value then
      for i, text in ipairs(term.wrapped(value, INDENT)) do
        rows[#rows + 1] = { i == 1 and name or "", text }
      end
    else
      rows[#rows + 1] = { name, value }
    end
  end
  for _, name in ipairs(texts) do
    if object[name] then rows[#rows + 1] = { name, object[name] } end
  end
  print_table({ "!WHAT", "!VALUE" }, rows)
end

local function show_event(event)
  show_fields(event, { "id", "account", "vendor", "type", "native", "invoice", "version", "trust",
    "live", "state", "note", "occurred_at", "received_at", "created_at", "deliveries" },
    { "data", "previous", "claims" })
  local rows = {}
  for rule, mark in pairs(event.marks) do
    local wait = mark.state == "waiting" and ("%.0f s"):format((mark.wait or 0) / 1000) or nil
    rows[#rows + 1] = { rule, mark.state, mark.attempts, wait, mark.message }
  end
  for _, rule in ipairs(event.rules) do
    if not event.marks[rule] then rows[#rows + 1] = { rule, "not begun", 0 } end
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  if #rows > 0 then
    print_table({ "!RULE", "!STATE", ">ATTEMPTS", "!RUNS IN", "+MESSAGE" }, rows)
  end
end

local function show_delivery(delivery)
  show_fields(delivery, { "id", "account", "vendor", "type", "native", "invoice", "tenant", "trust",
    "live", "secret", "state", "reason", "seen", "occurred_at", "received_at", "last_at" },
    { "body" })
end

local function show_invoice(invoice)
  show_fields(invoice, { "account", "invoice", "version", "number", "reference", "currency",
    "total", "paid", "balance", "due_date", "status", "changed_at", "read_at", "closed_at",
    "deleted_at", "check_due", "run_due" }, { "data" })
end

-- An event by its id, else a delivery, else an invoice, else the beginning of the former two's.
function actions.show(store, args)
  local id = args.id:gsub("~$", "") -- as a narrow terminal shows it
  local event, err = store:show(id)
  if event == nil then return nil, err end
  if event then return members.events(event), function() show_event(event) end end
  local found
  found, err = store:deliveries { id = id, limit = 1 }
  if not found then return nil, err end
  if found[1] then
    return members.deliveries(found[1]), function() show_delivery(found[1]) end
  end
  local account, invoice = id:match "^([^:]*):(.*)$"
  found, err = store:invoices { account = account or "", invoice = invoice or "", limit = 1 }
  if not found then return nil, err end
  if found[1] then return members.invoices(found[1]), function() show_invoice(found[1]) end end
  found, err = ids.find(store, "events", id)
  if found == nil then return nil, err end
  if found then
    event, err = store:show(found.id)
    if not event then return nil, err or "no event " .. found.id end
    return members.events(event), function() show_event(event) end
  end
  found, err = ids.find(store, "deliveries", id)
  if found == nil then return nil, err end
  if found then return members.deliveries(found), function() show_delivery(found) end end
  return nil, "no event, delivery or invoice " .. id
    .. (id:find(":", 1, true) and "" or ": ids begin with an account and a colon")
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

for _, name in ipairs { "retry", "purge", "rebase" } do actions[name] = change[name] end

local function copy(args)
  local usage = require("billhook.cli").usage
  for _, name in ipairs { "from", "to" } do
    if not args[name] then usage(("copy: --%s is missing"):format(name)) end
    if args[name]:find "^memory:" then usage "copy: an inbox in memory cannot be copied" end
  end
  if args.from == args.to then usage "copy: --from and --to are the same inbox" end
  local good, wrong = require("billhook.inbox").check(args.to)
  if not good then usage("copy: --to " .. wrong) end
  local there, why = exists(args.from, "--from names the one to copy")
  if not there then return nil, why end
  local bar
  local counts, err = require("billhook.inbox.copy").copy(args.from, args.to, function(_, total)
    bar = bar or require("billhook.cli.progress").new("rows", total)
    bar:step()
  end)
  if bar then bar:close() end
  if not counts then return nil, tostring(err) end
  if args.json then
    require("billhook.cli.term").json(counts)
    return 0
  end
  local rows = {}
  for name, n in pairs(counts) do rows[#rows + 1] = { name, n } end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  print_table({ "WHAT", ">COPIED" }, rows)
  return 0
end

function M.run(args)
  if args.action == "copy" then return copy(args) end
  local store, app = M.open(args)
  if not store then return nil, tostring(app) end
  local result, show, fine, why = actions[args.action](store, args, app)
  if result ~= nil and args.json then
    require("billhook.cli.term").json(result)
  elseif result ~= nil then
    show(result)
  end
  store:close()
  if result == nil then return nil, tostring(show) end
  if fine == nil and why then return nil, tostring(why) end
  return 0
end

return M

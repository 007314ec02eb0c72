-- cli/replay.lua: `billhook replay`: runs stored events again; or, as a rehearsal, only says what
-- changed rules would do with them. A rehearsal reads from vendors, changes nothing there, at other
-- servers or in the inbox: what clients and billhook.http would send is printed.

local M = {}

M.summary = "Run stored events again, or show what changed rules would do."

function M.configure(command)
  command:argument("id", "An event's id, or a unique prefix."):args "+"
  command:option("--dry-run", "Run the rules of this file, and print what they would change:"
    .. " nothing is sent or stored."):argname "<rules>"
  command:option("--rule", "With --dry-run: only this rule."):argname "<name>"
  command:option("--inbox", "The inbox (or BILLHOOK_INBOX; sqlite:billhook.db)."):argname "<url>"
  command:option("--rules", "Use the inbox of this rules file, and its rules for unhandled"
    .. " events."):argname "<file>"
  command:flag("--json", "Print JSON.")
  command:epilog [[
Without --dry-run it is the same as `billhook inbox retry`: of a dead event the
dead rules run again, of a done event all its rules; completed steps of `once`
do not. With --dry-run, steps run as if for the first time, rules read from
vendors, and their output goes to stderr. Only requests of clients and of
billhook.http are held back: a rule that writes to a file, or uses another
library to send, really does so. Exit code 1 if a rule would fail.

Example: billhook replay admissions:200@3 --dry-run rules.lua]]
end

-- --- a rehearsal ------------------------------------------------------------------

-- What an event may ask of the inbox: it reads, and keeps steps for this run alone.
local function reader(store)
  local steps = {}
  return {
    step = function(_, _, _, name, text)
      if text then steps[name] = steps[name] or text end
      return steps[name] or false
    end,
    is_latest = function(_, ...) return store:is_latest(...) end,
    deliveries = function(_, ...) return store:deliveries(...) end,
  }
end

-- Runs one rule with one event; what it would have changed is in `calls` by then.
local function rehearse(app, store, row, name, calls)
  local events = require "billhook.app.event"
  local event = events.new(row, { client = app.accounts[row.account], store = reader(store),
    rule = name })
  for i = #calls, 1, -1 do calls[i] = nil end
  local failed = events.outcome(event, (events.try("the rule", app.rules.by_name[name].handler,
    event)))
  if not failed and events.delay(event) then failed = { reason = "asked to run again" } end
  local json = require "billhook.json"
  local made = json.array {}
  for i, call in ipairs(calls) do made[i] = call end
  return { id = row.id, type = row.type, rule = name, state = failed and "failed" or "done",
    message = failed and events.text(failed), calls = made }
end

local function show(results)
  local term = require "billhook.cli.term"
  local rows = {}
  for i, one in ipairs(results) do
    rows[i] = { one.id, one.rule, one.state, #one.calls, one.message }
  end
  if #rows > 0 then
    term.table({ "!ID", "!RULE", "!WOULD BE", "?>CHANGES", "+MESSAGE" }, rows)
  end
  for _, one in ipairs(results) do
    for _, call in ipairs(one.calls) do
      term.print(term.clean(("%s %s: %s %s%s"):format(one.id, one.rule, call.method, call.url,
        call.body and " " .. call.body or "")))
    end
  end
end

-- The clients' quota and open calls are kept for this process alone: the inbox stays as it is.
local function keep_apart(app)
  local clients = require "billhook.client"
  local memory = assert(require("billhook.inbox").open "memory:")
  for _, client in pairs(app.accounts) do
    clients.share(client, function() return memory end)
  end
end

-- Which rules of the file want an event; nil and why there is none.
local function rules_for(app, row, only)
  if not app.accounts[row.account] then return nil, "no account " .. row.account end
  local names = app.rules:select(row.account, row.type, row.native)
  for i = #names, 1, -1 do
    if only and names[i] ~= only then table.remove(names, i) end
  end
  if #names == 0 then return nil, only and "rule " .. only .. " does not want it" or "no rule" end
  return names
end

-- What rules print is no result of the command.
local function print_aside(...)
  local words = { ... }
  for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
  io.stderr:write(table.concat(words, "\t"), "\n")
end

local function dry_run(args)
  local term, calls = require "billhook.cli.term", {}
  require("billhook.rehearsal").begin(function(call) calls[#calls + 1] = call end)
  rawset(_G, "print", print_aside) -- before the rules can keep it in a local
  local app, err = require("billhook.cli.rules").load(args.dry_run)
  if not app then return nil, err end
  keep_apart(app)
  local store
  store, err = require("billhook.cli.inbox").open { inbox = args.inbox
    or not args.rules and app.inbox or nil, rules = args.rules }
  if not store then return nil, tostring(err) end
  local results, code = require("billhook.json").array {}, 0
  local ids, unclear = require("billhook.cli.ids").events(store, args.id)
  if not ids then return nil, tostring(unclear) end
  for _, id in ipairs(ids) do
    local row, why = store:show(id)
    local names
    if row then names, why = rules_for(app, row, args.rule) end
    if not names then
      term.say(("%s: %s"):format(id, tostring(why or "no such event")))
      code = 1
    end
    for _, name in ipairs(names or {}) do
      local result = rehearse(app, store, row, name, calls)
      results[#results + 1] = result
      if result.state == "failed" then code = 1 end
    end
  end
  store:close()
  if args.json then term.json(results) else show(results) end
  return code
end

-- --- in earnest ------------------------------------------------------------------

function M.run(args)
  if args.dry_run then return dry_run(args) end
  if args.rule then require("billhook.cli").usage "replay: --rule is for --dry-run" end
  local store, app = require("billhook.cli.inbox").open(args)
  if not store then return nil, tostring(app) end
  args.action = "replay"
  local result, shown, fine, why = require("billhook.cli.change").retry(store, args, app)
  store:close()
  if result == nil then return nil, tostring(shown) end
  if args.json then require("billhook.cli.term").json(result) else shown() end
  if not fine then return nil, tostring(why) end
  return 0
end

return M

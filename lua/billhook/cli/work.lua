-- cli/work.lua: `billhook work`: runs the rules of what has been received,
-- until it is told to stop. `serve` keeps one beside nginx. The rules run in
-- processes of their own (jobs.lua), each of which is this command with --job. With --existing
-- it makes no new inbox file: another process has opened it before.

local M = {}

M.summary = "Read invoices and run rules for received deliveries."

local poll = 0.2 -- seconds between two looks at an inbox that has nothing due
local longest = 10 -- seconds to wait at most while the inbox fails
local again = 60 -- seconds after which the same complaint is heard once more

function M.configure(command)
  command:argument("rules", "The rules file.")
  command:flag("--check", "Load the rules, print findings and, as JSON, what the rules need,"
    .. " and exit.")
  command:flag("--strict", "With --check: exit code 1 if there are findings.")
  command:flag "--quiet":hidden(true)
  command:flag("--watch", "For development: load changed rules at once, and print what"
    .. " changed. If they do not load, the old rules go on.")
  command:flag("--once", "Do what is due now, and exit.")
  command:option("--jobs", "How many rules run at once, each in its own process.", "1")
    :convert(require("billhook.cli").whole(1, 64)):argname "<n>"
  M.memory_option(command)
  command:flag "--job":hidden(true)
  command:flag "--existing":hidden(true)
  command:epilog [[
TERM, INT and QUIT end it after the rules that are running; a second one ends it
at once. A rule that takes longer than its budget is told of while it runs, and
ended after its stop_after; one that needs more memory than it may have fails.]]
end

---What `serve` hands on to it.
function M.memory_option(command)
  command:option("--memory", "MiB that a process which runs rules may take beyond what it has at"
    .. " its start; 0: any.", "1024")
    :convert(require("billhook.cli").whole(0, 16777216)):argname "<n>"
end

-- What serve has to know, without running the rules file in its own process; and, for people, what
-- is doubtful.
local function check(app, args, given)
  local accounts, limit, names = {}, 0, {}
  for name, client in pairs(app.accounts) do
    accounts[name] = client.vendor and (client.vendor.name or client.vendor) or true
    names[#names + 1] = name
    limit = math.max(limit, client.webhook and client.webhook.limit or 0)
  end
  table.sort(names)
  local shown = require("billhook.inbox").shown(app.inbox) -- logs of a start are kept
  local rules, term = require "billhook.cli.rules", require "billhook.cli.term"
  local files, json = rules.files(args.rules), require "billhook.json"
  local found = args.quiet and {} or require("billhook.cli.lint").of(app, files, given)
  term.json { inbox = shown, accounts = accounts, names = names, limit = limit, files = files,
    rules = json.array(rules.describe(app)), findings = json.array(found) }
  term.flush()
  for _, one in ipairs(found) do term.say(one.where .. ": " .. one.message) end
  return args.strict and #found > 0 and 1 or 0
end

-- A signal noted by the process is kept here until the loop looks.
local function watcher(process)
  local stop = false
  return function()
    local name = process.caught()
    if name and name ~= "CHLD" and name ~= "HUP" then stop = true end
    return stop
  end
end

-- A run that does not end is ended, with its process.
local function bound(process, log)
  return function(rule, event)
    if not (rule and rule.stop_after) then return process.deadline() end
    process.deadline(rule.stop_after, log.dated("error", "stopped", { rule = rule.name,
      id = event.id, stop_after = rule.stop_after }, rule.stop_after) .. "\n")
  end
end

local function round(app, stopped, bounded)
  local ok, ran, err = pcall(function()
    local tended, why = app:tend()
    if not tended then return nil, why end
    return app:work { limit = 64, stop = stopped, bound = bounded }
  end)
  if not ok then return nil, tostring(ran), true end
  return ran, not ran and tostring(err) or nil
end

-- Says what is wrong, and that it is no more; not over and over.
local function complainer(process)
  local say, last, since = require("billhook.cli.term").say, nil, nil
  return function(err)
    local now = process.monotonic()
    if err == last and (err == nil or now < since + again) then return end
    say("work: " .. (err or "the inbox answers again"))
    last, since = err, now
  end
end

-- No more memory than it has now and `mebibytes`; gives what says that half of that is kept: time
-- for another process, before a rule fails of it that has not taken it.
local function bound_memory(process, mebibytes)
  if mebibytes == 0 then return function() return false end end
  local start, more = assert(process.memory()), mebibytes * 2 ^ 20
  local bounded, why = process.bound_memory(start + more)
  if not bounded then require("billhook.cli.term").say("work: --memory: " .. why) end
  local function full() return process.memory() - start > more / 2 end
  return function()
    if not full() then return false end
    collectgarbage()
    collectgarbage()
    return full()
  end
end

-- What fails outside is waited for. What raises is no such thing (a rule has replaced
-- a global that we need, say), and would hold its invoices for ever: a new process is clean.
local function loop(app, stopped, process, once, full)
  local pause, complain = poll, complainer(process)
  local bounded = bound(process, require "billhook.log")
  repeat
    local ran, err, raised = round(app, stopped, bounded)
    complain(err)
    if not ran then
      if once or raised then return 1 end
      pause = math.min(pause * 2, longest)
    else
      pause = poll
    end
    if once and ran == 0 then return 0 end
    if full() and not once then return require("billhook.cli.jobs").FULL end
    if ran ~= nil and ran > 0 then pause = 0 end
    if not stopped() then process.sleep(pause) end
    if pause == 0 then pause = poll end
  until stopped()
  return 0
end

function M.run(args)
  local process = require "billhook.process"
  process.signals("TERM", "INT", "QUIT", "HUP")
  process.unblock_stderr() -- no rule waits for who reads the log
  local given = args.check and require("billhook.cli.lint").witness()
  local app, err = require("billhook.cli.rules").load(args.rules)
  if not app then return nil, err end
  if args.check then return check(app, args, given) end
  io.stdout:setvbuf "line" -- what a rule prints is seen at once, also in a log
  if args.existing then app:use_existing() end
  local trust = require "billhook.cli.trust"
  local file
  file, err = trust.inbox(app.inbox)
  if file == nil then return nil, err end
  local stranger = not args.job and trust.stranger(app.inbox)
  if stranger then require("billhook.cli.term").say(stranger) end
  if not (args.once or args.job) then
    return require("billhook.cli.jobs").run(app, args.rules, args)
  end
  local code = loop(app, watcher(process), process, args.once, bound_memory(process, args.memory))
  require("billhook.app.metrics").flush(app)
  if app.store and app.store.close then app.store:close() end
  return code
end

return M

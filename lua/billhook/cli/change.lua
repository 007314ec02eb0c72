-- cli/change.lua: what `billhook inbox` changes: events that run again, what is purged, what an
-- account's API says from now on. Each gives what it has done as JSON shows it, a function that
-- prints it, and true; or nil and why some of it was not done.

local ids = require "billhook.cli.ids"
local term = require "billhook.cli.term"

local M = {}

---The filter that the arguments say.
---@param args table
---@param changes table|nil
---@return table
function M.filter(args, changes)
  local filter = { account = args.account, type = args.type, invoice = args.invoice,
    state = args.state, older_than = args.older_than, newer_than = args.newer_than,
    limit = args.limit }
  for name, value in pairs(changes or {}) do filter[name] = value end
  return filter
end

function M.rebase(store, args, app)
  if not app then require("billhook.cli").usage "rebase: --rules is missing" end
  local client, why = require("billhook.cli.rules").account(app, args.rules, args.account)
  if not client then return nil, why end
  local accounts = require "billhook.app.account"
  local memory, err = accounts.rebase(store, args.account, client)
  if not memory then return nil, err end
  return { account = args.account, origin = memory.origin }, function()
    term.print(args.account .. ": " .. memory.origin)
  end
end

local PAGE = 500

-- Which rules want what is unhandled now, as the inbox takes it.
local function wanted(store, app, filter)
  local names, before = {}, nil
  repeat
    filter.limit, filter.before = PAGE, before
    local events, err = store:events(filter)
    if not events then return nil, err end
    for _, event in ipairs(events) do
      local kind = { event.account, event.type, event.native, event.live and "live" or "test" }
      names[table.concat(kind, "\n")] = app.accounts[event.account]
        and app.rules:select(event.account, event.type, event.native) or {}
      before = event.seq
    end
  until #events < PAGE
  return names
end

-- Those of the ids that nothing has; the others were seen to.
local function unknown(store, args)
  local names = {}
  for _, id in ipairs(args.id) do
    local found, err = store:events { id = id, limit = 1 }
    if found and #found == 0 and args.action == "purge" then
      found, err = store:deliveries { id = id, limit = 1 }
    end
    if not found then return nil, err end
    if #found == 0 then names[#names + 1] = id end
  end
  if #names == 0 then return true end
  return nil, (args.action == "purge" and "no event or delivery " or "no event ")
    .. table.concat(names, ", ")
end

-- One replay for all that match, or one for each id; the sum.
local function each_id(args, fn)
  if #args.id == 0 then return fn(M.filter(args)) end
  local all = 0
  for _, id in ipairs(args.id) do
    local n, err = fn(M.filter(args, { id = id }))
    if not n then return nil, err end
    all = all + n
  end
  return all
end

function M.retry(store, args, app)
  if #args.id == 0 and not args.all then
    require("billhook.cli").usage "retry: an id, or --all"
  elseif args.state == "unhandled" and not app then
    require("billhook.cli").usage "retry: unhandled ones are run by the rules of --rules"
  end
  if #args.id == 0 then args.state = args.state or "dead" end
  local named, what = ids.events(store, args.id)
  if not named then return nil, what end
  args.id = named
  local n, err = each_id(args, function(filter)
    local names, why
    if app and (filter.state or "unhandled") == "unhandled" then
      names, why = wanted(store, app, M.filter(args, { id = filter.id, state = "unhandled" }))
      if not names then return nil, why end
    end
    return store:replay(filter, names)
  end)
  if not n then return nil, err end
  local function show() term.print(("%d to run again"):format(n)) end
  return { again = n }, show, unknown(store, args)
end

local COUNTED = 1000 -- rows are counted up to it

-- What a purge is about: how many events and deliveries, and how many of the events it leaves since
-- their rules have not run.
local function matching(store, args)
  local found = {}
  for name, what in pairs { events = { "events" }, deliveries = { "deliveries" },
      kept = { "events", "pending" } } do
    local err
    found[name], err = each_id(args, function(filter)
      filter.state, filter.limit = what[2], COUNTED
      local rows, why = store[what[1]](store, filter)
      return rows and #rows, why
    end)
    if not found[name] then return nil, err end
  end
  local function count(name)
    return found[name] < COUNTED and found[name] or COUNTED .. " or more"
  end
  return found, ("%s events and %s deliveries (%s events are not finished: they stay)"):format(
    count "events", count "deliveries", count "kept")
end

function M.purge(store, args)
  if #args.id == 0 and not (args.older_than or args.invoice) then
    require("billhook.cli").usage "purge: an id, --older-than or --invoice"
  end
  local found, what = matching(store, args)
  if not found then return nil, what end
  if args.dry_run then return found, function() term.print(what) end, unknown(store, args) end
  if not term.agreed(("delete for good the content of %s?"):format(what), args.yes) then
    return nil, "nothing was purged"
  end
  local n, err = each_id(args, function(filter) return store:purge(filter) end)
  if not n then return nil, err end
  return { purged = n, kept = found.kept }, function()
    term.print(("%d purged"):format(n))
    if found.kept > 0 then term.print(("%d kept: not finished"):format(found.kept)) end
  end, unknown(store, args)
end

return M

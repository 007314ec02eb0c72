-- cli/diagnose.lua: what an account can do, and what is missing: for `billhook doctor`. Nothing is
-- ever sent but GET and HEAD.

local accounts = require "billhook.app.account"
local billhook = require "billhook"
local json = require "billhook.json"
local rules = require "billhook.app.rules"
local vendors = require "billhook.vendor"

local M = {}

local LEAST = 16 -- bytes of a secret: shorter ones can be guessed
local SETTINGS = { attempts = 1, timeout = 15 }

-- Where DreamClass's GetInvoice may be: no document shows its path.
M.CANDIDATES = { "/financial/invoices/{id}", "/financial/invoices/get/{id}",
  "/financial/invoices/view/{id}", "/financial/invoices/details/{id}",
  "/financial/invoices/invoice/{id}", "/financial/invoice/{id}", "/financial/invoices/list/{id}" }

-- --- a report ----------------------------------------------------------------------------------

local Report = {}
Report.__index = Report

---Adds what was found. state: "ok", "warn" (it works, but), "fail", or "unknown" (nobody can tell).
function Report:add(check, state, message)
  self[#self + 1] = { check = check, state = state, message = message }
end

-- --- calls ---------------------------------------------------------------------------------------

-- By their names: those that change nothing, and that need to be told nothing.
local function harmless(vendor)
  local known = {}
  for _, operation in ipairs(billhook.calls(vendor)) do known[operation.name] = operation end
  local list = {}
  for name, operation in pairs(known) do
    local reads = operation.method == "GET" or operation.method == "HEAD"
    local family, verb = name:match "^([%w_]+)%.(%w+)$"
    -- a long list need not come where its length will do
    local skipped = verb == "list" and known[family .. ".count"] ~= nil
    for _, param in ipairs(operation.params) do skipped = skipped or param.required end
    if reads and not skipped then list[#list + 1] = operation end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function params_of(operation)
  for _, param in ipairs(operation.params) do
    if param.name == "page" then return { page = 1 } end
  end
  return {}
end

-- Did the server answer, whatever it was?
local function answered(err) return err.status ~= nil or err.kind == "decode" end

local function try(client, name, params)
  local fine, value, err = pcall(client.call, client, name, params, SETTINGS)
  if not fine then return nil, { kind = "invalid", message = tostring(value) } end
  return value, err
end

-- What the calls say of the account as a whole.
local function judge(report, results)
  local reached, worked, denied, last
  for _, one in ipairs(results) do
    worked = worked or one.ok
    reached = reached or one.ok or answered(one.err)
    denied = denied or one.err and one.err.kind == "auth" and one.err
    last = one.err or last
  end
  if #results == 0 then return end
  if not reached then
    report:add("reachable", "fail", tostring(last))
    report:add("key", "unknown", "its API could not be reached")
    return
  end
  report:add("reachable", "ok", "its API answers")
  if worked then
    report:add("key", "ok", denied and "valid; it may not make all calls" or "valid")
  elseif denied then
    report:add("key", "fail", tostring(denied))
  else
    report:add("key", "unknown", "no call could show it: " .. tostring(last))
  end
end

local function check_calls(report, client)
  local results = {}
  for _, operation in ipairs(harmless(client.vendor)) do
    if client:can(operation.name) then
      local value, err = try(client, operation.name, params_of(operation))
      results[#results + 1] = { name = operation.name, ok = value ~= nil, err = err,
        guessed = operation.unverified }
      if value == nil and not answered(err) then break end -- the others would wait as long
    end
  end
  judge(report, results)
  for _, one in ipairs(results) do
    if one.ok then
      report:add("call " .. one.name, "ok", "works")
    elseif answered(one.err) then
      report:add("call " .. one.name, "warn", (one.guessed and "its path is not published: " or "")
        .. tostring(one.err))
    end
  end
end

-- --- GetInvoice --------------------------------------------------------------------------------

-- A client of the same account, that asks for invoices at another path.
local function elsewhere(given, path)
  local options = {}
  for name, value in pairs(given) do options[name] = value end
  options.webhook, options.attempts = nil, 1
  options.paths = {}
  for name, value in pairs(given.paths or {}) do options.paths[name] = value end
  options.paths["invoices.get"] = path
  return billhook.dreamclass(options)
end

local function find_path(report, given, id)
  for _, path in ipairs(M.CANDIDATES) do
    local value, err = try(elsewhere(given, path), "invoices.get", { id = id })
    if value then
      report:add("GetInvoice", "fail", ("add this to its options: paths = { [\"invoices.get\"] ="
        .. " %q }: it has invoice %s"):format(path, id))
      return
    elseif err.kind == "auth" or not answered(err) then
      report:add("GetInvoice", "unknown", "the likely paths could not be tried: " .. tostring(err))
      return
    end
  end
  report:add("GetInvoice", "fail", ("invoice %s is at none of the %d paths that are likely: ask"
    .. " DreamClass for the path, and set it in `paths`"):format(id, #M.CANDIDATES))
end

-- `seen`: the API has shown it, or a person has named it.
local function check_reading(report, client, given, id, seen)
  local operation, why = rules.readable(client)
  if client.vendor == "dreamclass" and not operation and client.read_back ~= false and given then
    if id then return find_path(report, given, id) end
    report:add("GetInvoice", "fail", why .. "; to try likely paths, give the id of an"
      .. " invoice with --invoice")
    return
  end
  if not operation then
    report:add("read back", "warn", why)
  elseif not id then
    report:add("read back", "unknown", "no invoice is known yet")
  else
    local value, err = try(client, operation, { id = id })
    local gone = err and err.kind == "not_found"
    if gone and not seen then
      report:add("read back", "unknown", ("invoice %s is not there, and deliveries alone have named"
        .. " it: give the id of one with --invoice"):format(id))
      return
    end
    report:add("read back", value and "ok" or "fail", value and ("invoice %s was read"):format(id)
      or ("invoice %s: %s%s"):format(id, tostring(err), gone and client.vendor == "dreamclass"
        and ": is the path in its option `paths` right?" or ""))
  end
end

-- --- what is known here --------------------------------------------------------------------------

local function when(ms) return os.date("!%Y-%m-%dT%H:%M:%SZ", math.floor(ms / 1000)) end

local function length_of(secret)
  local least
  for _, one in ipairs(type(secret) == "table" and secret or { secret }) do
    local bare = one:gsub("^%a+ ", "") -- "Bearer " is known to everybody
    least = math.min(least or #bare, #bare)
  end
  return least
end

local function check_secret(report, client, hook)
  local name = client.vendor == "dreamapply" and "authorization" or "secret"
  local length = hook and hook[name] and length_of(hook[name])
  if not hook then
    report:add("secret", "warn", "its webhooks are not configured")
  elseif not length then
    report:add("secret", "fail", ("its webhook has no '%s': every delivery is refused"):format(
      name))
  elseif length < LEAST then
    report:add("secret", "warn", ("'%s' has %d bytes: use %d or more random ones"):format(name,
      length, LEAST))
  elseif client.vendor == "dreamclass" and not hook.basic then
    report:add("secret", "warn", "long enough; but it covers a delivery's id alone: set `basic`,"
      .. " too")
  else
    report:add("secret", "ok", "set, and long enough")
  end
end

local function check_quota(report, client)
  local fine, quota, why = pcall(client.quota, client)
  if not fine or not quota then
    report:add("quota", "unknown", tostring(fine and why or quota))
  elseif quota.limit then
    report:add("quota", quota.left > 0 and "ok" or "warn", ("%d of %d requests left"):format(
      quota.left, quota.limit))
  end
end

local function check_memory(report, peek, account, client)
  local text = peek:texts "account "[account]
  local memory = text and json.decode(text) or {}
  local last = peek:last(account)
  if last then
    report:add("webhooks", "ok", "the last one was received " .. when(last.last_at))
  else
    report:add("webhooks", client.webhook and client.webhook.keys and "warn" or "unknown",
      "none was received yet")
  end
  if memory.origin and memory.origin ~= accounts.origin(client) then
    report:add("address", "fail", ("its address or school has changed: see"
      .. " `billhook inbox rebase %s`"):format(account))
  elseif memory.fault then
    report:add("polls", "fail", memory.fault)
  elseif memory.polled_at then
    report:add("polls", "ok", "the last one was " .. when(memory.polled_at) .. (memory.issued
      and ", up to invoices issued " .. when(memory.issued * 1000) or ""))
  else
    report:add("polls", "warn", "there was none yet: is `billhook work` running?")
  end
end

---Everything about an account.
---@param account string
---@param client table
---@param known { given: table|nil, hook: table|nil, peek: table|nil, why: string|nil,
---  absent: boolean|nil, invoice: string|nil } the options it was made of, those of its webhook,
---  the inbox or why it cannot be read, whether that is as it should be, an invoice's id
---@return table[] report { check, state, message }
function M.account(account, client, known)
  local report, peek = setmetatable({}, Report), known.peek
  local can, why = client:can(vendors[client.vendor].refetch)
  if can or client.options.base_url then
    check_calls(report, client)
    local id, seen = known.invoice, true
    if peek and not id then id, seen = peek:invoice(account) end
    check_reading(report, client, known.given, id, seen)
    check_quota(report, client)
  else
    report:add("calls", "warn", tostring(why))
  end
  check_secret(report, client, known.hook)
  if peek then
    check_memory(report, peek, account, client)
  else
    report:add("inbox", known.absent and "unknown" or "fail", known.why or "it could not be read")
  end
  return report
end

return M

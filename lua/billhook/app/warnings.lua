-- app/warnings.lua: what in an app is allowed, and most probably not meant. Said once,
-- at the start of whoever runs the rules:
--
--   unheard_of       a rule whose pattern fits nothing that its accounts are known to have
--   no_overdue       a rule for invoice.overdue, and the app's option `overdue` names no days
--   shared_secret    two accounts that take each other's deliveries
--   clear_text       the inbox is on another host, and TLS is not demanded
--   no_secret        an account that takes no delivery, though it was meant to: its `webhook` has
--                    no credential in it, or others have one

local urls = require "billhook.inbox.url"

local M = {}

local function share(some, others)
  for _, one in ipairs(some or {}) do
    for _, other in ipairs(others or {}) do
      if one == other then return true end
    end
  end
  return false
end

-- Is what one accepts accepted by the other, too?
local function confused(a, b)
  local one, two = a.webhook or {}, b.webhook or {}
  if a.vendor ~= b.vendor or not (one.prints and two.prints) then return false end
  if one.tenant and two.tenant and one.tenant ~= two.tenant then return false end
  local basics = one.prints.basic and two.prints.basic
  if basics and not share(one.prints.basic, two.prints.basic) then return false end
  return share(one.prints.secret, two.prints.secret)
    or share(one.prints.authorization, two.prints.authorization)
    or not (one.prints.secret or two.prints.secret) and basics ~= nil
end

local function names_of(app)
  local names = {}
  for name in pairs(app.accounts) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- Is there anything that could prove a delivery?
local function has_secret(client) return (client.webhook or {}).keys ~= nil end

local function without_secret(app, names)
  local list, others = {}, false
  for _, name in ipairs(names) do others = others or has_secret(app.accounts[name]) end
  for _, name in ipairs(names) do
    local client = app.accounts[name]
    if not has_secret(client) and (others or (client.webhook or {}).empty) then
      list[#list + 1] = { "no_secret", { account = name, message = "it has no webhook secret: every"
        .. " delivery to it is refused (is a variable of the environment not set?)" } }
    end
  end
  return list
end

---All of them.
---@param app table
---@return table[] each { name, fields } of a log entry
function M.of(app)
  local list, names = {}, names_of(app)
  for _, text in ipairs(app.rules:never()) do
    list[#list + 1] = { "unheard_of", { pattern = text,
      message = "no account here is known to have such events" } }
  end
  for _, rule in ipairs(app.rules.list) do
    if rule.pattern.exact == "invoice.overdue" and not (app.overdue or {})[1] then
      list[#list + 1] = { "no_overdue", { pattern = rule.pattern.text,
        message = "the app's option 'overdue' names no days, so it never comes" } }
    end
  end
  for _, one in ipairs(without_secret(app, names)) do list[#list + 1] = one end
  for i, one in ipairs(names) do
    for k = i + 1, #names do
      if confused(app.accounts[one], app.accounts[names[k]]) then
        list[#list + 1] = { "shared_secret", { account = one, other = names[k],
          message = "each accepts what is sent to the other" } }
      end
    end
  end
  local host = urls.exposed(app.inbox)
  if host then
    list[#list + 1] = { "clear_text", { host = host, message = "the password and all that is kept "
      .. "may go to the inbox in clear text, and to whoever answers: add sslmode=verify-full" } }
  end
  return list
end

---Says them to the log.
---@param app table
function M.tell(app)
  for _, doubt in ipairs(M.of(app)) do app.log("warn", doubt[1], doubt[2]) end
end

return M

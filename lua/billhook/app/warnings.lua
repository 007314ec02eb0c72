-- app/warnings.lua: settings that are allowed but probably mistakes. Each is logged once, when a
-- program that runs the rules starts:
--
--   unheard_of       a rule whose pattern fits nothing that its accounts are known to have
--   no_overdue       a rule for invoice.overdue, and the app's option `overdue` names no days
--   shared_secret    two accounts that take each other's deliveries
--   clear_text       the inbox is on another host, and TLS is not demanded
--   quoted_secret    a secret with quotes around it
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
  local mine, yours = one.prints, two.prints
  if a.vendor ~= b.vendor or not (mine and yours) then return false end
  if one.tenant and two.tenant and one.tenant ~= two.tenant then return false end
  local basics = mine.basic and yours.basic
  if basics and not share(mine.basic, yours.basic) then return false end
  return share(mine.secret, yours.secret) or share(mine.authorization, yours.authorization)
    or not (mine.secret or yours.secret) and basics ~= nil
end

---All of them.
---@param app table
---@return table[] each { name, fields } of a log entry
function M.of(app)
  local list, names, any_secret = {}, {}, false
  local function doubt(name, message, fields)
    fields.message = message
    list[#list + 1] = { name, fields }
  end
  -- is there anything that could prove a delivery?
  local function has_secret(client) return (client.webhook or {}).keys ~= nil end
  for name, client in pairs(app.accounts) do
    names[#names + 1], any_secret = name, any_secret or has_secret(client)
  end
  table.sort(names)
  for _, text in ipairs(app.rules:never()) do
    doubt("unheard_of", "no account here is known to have such events", { pattern = text })
  end
  for _, rule in ipairs(app.rules.list) do
    if rule.pattern.exact == "invoice.overdue" and not (app.overdue or {})[1] then
      doubt("no_overdue", "the app's option 'overdue' names no days, so it never comes",
        { pattern = rule.pattern.text })
    end
  end
  for i, name in ipairs(names) do
    local client = app.accounts[name]
    if not has_secret(client) and (any_secret or (client.webhook or {}).empty) then
      doubt("no_secret", "it has no webhook secret: every delivery to it is refused (is a variable"
        .. " of the environment not set?)", { account = name })
    end
    if (client.webhook or {}).quoted then
      doubt("quoted_secret", "a secret of its webhook has quotes around it: are they part of it?",
        { account = name })
    end
    for k = i + 1, #names do
      if confused(client, app.accounts[names[k]]) then
        doubt("shared_secret", "each accepts what is sent to the other",
          { account = name, other = names[k] })
      end
    end
  end
  local host = urls.exposed(app.inbox)
  if host then
    doubt("clear_text", "the password and all that is kept may go to the inbox in clear text, and"
      .. " to whoever answers: add sslmode=verify-full", { host = host })
  end
  return list
end

---Says them to the log.
---@param app table
function M.tell(app)
  for _, doubt in ipairs(M.of(app)) do app.log("warn", doubt[1], doubt[2]) end
end

return M

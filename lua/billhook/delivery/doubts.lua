-- doubts.lua: what in an app is allowed, and most probably not meant. Said once,
-- at the start of whoever runs the rules:
--
--   unheard_of       a rule whose pattern fits nothing that its accounts' vendors are known to send
--   shared_secret    two accounts that take each other's deliveries
--   clear_text       the inbox is on another host, and TLS is not demanded

local patterns = require "billhook.delivery.pattern"
local urls = require "billhook.inbox.url"

local M = {}

-- Where only the families of types are known: a sentence of the vendor's own may be any.
local function in_family(families, pattern)
  if pattern.exact and pattern.exact:find(" ", 1, true) then return true end
  local wanted = (pattern.family or pattern.exact):match "^([^.]*)%."
  for _, family in ipairs(families) do
    if family == wanted then return true end
  end
  return false
end

local function may_send(vendor, account, pattern)
  if pattern.all then return true end
  if not vendor.natives then return in_family(vendor.families, pattern) end
  for _, native in ipairs(vendor.natives) do
    if patterns.matches(pattern, account, vendor.type_of(native), native) then return true end
  end
  return false
end

local function is_unheard_of(app, pattern)
  for name, client in pairs(app.accounts) do
    if (pattern.account or name) == name
      and may_send(require("billhook.vendor." .. client.vendor), name, pattern) then
      return false
    end
  end
  return true
end

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

---All of them.
---@param app table
---@return table[] each { name, fields } of a log entry
function M.of(app)
  local list, names = {}, names_of(app)
  for _, rule in ipairs(app.dispatch.rules) do
    if is_unheard_of(app, rule.pattern) then
      list[#list + 1] = { "unheard_of", { rule = rule.name, pattern = rule.pattern.text,
        message = "no account here is known to send such events" } }
    end
  end
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

-- inbox/url.lua: the URL of a PostgreSQL database, read as libpq reads it. Pure.
--
-- libpq takes parts of a password with an "@" or a "/" as a host, a port or a name, and quotes
-- these in its messages. So a URL in which any other part could belong to a password is refused
-- before libpq gets it, and URLs are only displayed in the form that shown() returns.

local options = require "billhook.options"

local M = {}

local ADVICE = "; in a user name or a password write %25 for %, %2F for /, %3A for :, %40 for @"

local SECRET = { password = true, sslpassword = true }

-- what may be shown of the query
local SHOWN = { dbname = true, host = true, hostaddr = true, port = true, sslmode = true,
  user = true }

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function split(text, mark)
  local list = {}
  for part in (text .. mark):gmatch("([^" .. mark .. "]*)" .. mark) do list[#list + 1] = part end
  return list
end

-- The parts, undecoded; nil where it begins like none. `pairs` of the query: { name, value }; empty
-- where one is none.
local function parts_of(url)
  local rest = url:match "^postgres://(.*)$" or url:match "^postgresql://(.*)$"
  if not rest then return nil end
  local parts = { pairs = {} }
  local at = rest:match "^[^/]*":find("@", 1, true)
  if at then
    parts.user, parts.password = rest:sub(1, at - 1):match "^([^:]*):?(.*)$"
    rest = rest:sub(at + 1)
  end
  local query
  parts.hosts, parts.path, query = rest:match "^([^/?]*)([^?]*)(.*)$"
  for i, pair in ipairs(query ~= "" and split(query:sub(2), "&") or {}) do
    parts.pairs[i] = { pair:match "^([%w_]+)=([^=]*)$" }
  end
  return parts
end

local function are_hosts(text)
  for _, one in ipairs(split(text, ",")) do
    local port = one:match "^%[[%x:.%%]+%](.*)$" or one:match "^[^%[%]:@%s]*(.*)$"
    if not (port == "" or port:find "^:%d*$") then return false end
  end
  return true
end

-- An "@" belongs behind a user name, or into a password that is given by name.
local function are_settings(parts)
  for _, one in ipairs(parts.pairs) do
    local name, value = one[1], one[2]
    if not name or value:find("@", 1, true)
      and (not SECRET[name] or (parts.password or "") ~= "") then return false end
  end
  return true
end

---Tells whether a text is a URL of a PostgreSQL database; the reason, without a word of it, where
---it is none.
---@param url string
---@return boolean|nil, string|nil
function M.check(url)
  local parts = parts_of(url)
  if not parts then
    return nil, "must be \"postgresql://user@host/database\""
  end
  local why = url:gsub("%%%x%x", ""):find("%", 1, true) or url:find("%00", 1, true)
  why = why and "has a % without two hexadecimal digits behind it"
    or not are_hosts(parts.hosts) and "has no host, or host:port, where one belongs"
    or parts.path:find("@", 1, true) and "has an @ behind the host"
    or not are_settings(parts) and "has something else than name=value behind the ?"
  if not why then return true end
  return nil, "is a PostgreSQL URL that " .. why .. ADVICE
end

---As it may be shown: without a password.
---@param url string of any inbox
---@return string
function M.shown(url)
  if not url:find "^postgres" then return url end
  local parts = M.check(url) and parts_of(url)
  if not parts then return "postgresql:" end
  local settings = {}
  for _, one in ipairs(parts.pairs) do
    if SHOWN[one[1]] then settings[#settings + 1] = table.concat(one, "=") end
  end
  return "postgresql://" .. (parts.user and parts.user .. "@" or "") .. parts.hosts .. parts.path
    .. (#settings > 0 and "?" .. table.concat(settings, "&") or "")
end

local LEAST = 4 -- bytes: less is in many a word by chance

---A message without the passwords of a URL, should one stand in it.
---@param message string
---@param url string
---@return string
function M.blot(message, url)
  local parts = parts_of(url) or { pairs = {} }
  local secrets = { parts.password }
  for _, one in ipairs(parts.pairs) do
    if SECRET[one[1]] then secrets[#secrets + 1] = one[2] end
  end
  for _, secret in ipairs(secrets) do
    for _, text in ipairs { secret, decode(secret) } do
      if #text >= LEAST then message = message:gsub(text:gsub("%p", "%%%0"), "***") end
    end
  end
  return message
end

-- --- on its way ---------------------------------------------------------------------

local function is_local(host)
  return host == "" or options.is_local(host) or host:find "^[/@]" -- a socket
end

local PROTECTED = { require = true, ["verify-ca"] = true, ["verify-full"] = true }

---A host to which it may go in clear text; nil: there is none.
---@param url string of any inbox
---@param env? fun(name: string): string|nil where the URL is silent, libpq asks the environment
---@return string|nil
function M.exposed(url, env)
  local parts = parts_of(url)
  if not parts then return nil end
  env = env or os.getenv
  local given = {}
  for _, one in ipairs(parts.pairs) do given[one[1] or ""] = decode(one[2] or "") end
  local mode = given.sslmode or env "PGSSLMODE" or ""
  if PROTECTED[mode] or (given.sslrootcert or env "PGSSLROOTCERT") == "system"
    or (given.gssencmode or env "PGGSSENCMODE") == "require" then return nil end
  local hosts = (parts.hosts .. ","):gsub(":%d*,", ","):sub(1, -2)
  hosts = given.hostaddr or given.host or hosts ~= "" and decode(hosts)
    or env "PGHOSTADDR" or env "PGHOST" or ""
  for _, one in ipairs(split(hosts, ",")) do
    if not is_local(one) then return one end
  end
end

return M

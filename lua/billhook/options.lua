--- Options: copied, checked once, and wrong ones raised at the line that gave them.
--
-- A rule is { type [, check=] [, default=] [, secret=true] }. `type` is a Lua type, a list of them,
-- or "any"; `check(value)` gives the value to keep, or nil and what is wrong with it. What is
-- raised names the option and the function, never the value: a value may be a secret.

local M = {}

local function fits(value, want)
  if want == "any" then
    return true
  elseif type(want) == "table" then
    for _, one in ipairs(want) do
      if type(value) == one then
        return true
      end
    end
    return false
  end
  return type(value) == want
end

local function name_of(want)
  return type(want) == "table" and table.concat(want, " or ") or want
end

--- Gives a checked copy of `given`, with the defaults in it.
---@param rules table name -> rule
---@param given any what the caller passed
---@param owner string the public function, for the message
---@param level integer where to raise: 2 is the caller of the function that calls this one
---@return table
function M.read(rules, given, owner, level)
  if given == nil then
    given = {}
  elseif type(given) ~= "table" then
    error(("the options of %s must be a table, not a %s"):format(owner, type(given)), level + 1)
  end
  local out = {}
  for name, value in pairs(given) do
    local rule = rules[name]
    if not rule then
      error(("unknown option '%s' of %s"):format(tostring(name), owner), level + 1)
    elseif not fits(value, rule[1]) then
      error(("option '%s' of %s must be a %s, not a %s"):format(
        name, owner, name_of(rule[1]), type(value)), level + 1)
    end
    local kept, why = value, nil
    if rule.check then
      kept, why = rule.check(value)
    end
    if kept == nil then
      error(("option '%s' of %s %s"):format(name, owner, why), level + 1)
    end
    out[name] = kept
  end
  for name, rule in pairs(rules) do
    if out[name] == nil then
      out[name] = rule.default
    end
  end
  return out
end

-- --- checks ------------------------------------------------------------------------------------

--- Any number above zero, and not infinite: seconds.
function M.positive(value)
  if value > 0 and value < math.huge then
    return value
  end
  return nil, "must be above 0"
end

--- Seconds, or 0 for none at all.
function M.not_negative(value)
  if value >= 0 and value < math.huge then
    return value
  end
  return nil, "must not be below 0"
end

--- A whole number of at least 1.
function M.counting(value)
  if value >= 1 and value < 2 ^ 53 and value % 1 == 0 then
    return value
  end
  return nil, "must be a whole number of at least 1"
end

--- A value that goes into a header line: nothing that could end the line or start another one.
function M.header(value)
  if value:find("[%z\1-\31\127]") then
    return nil, "must not have control characters in it"
  elseif value == "" then
    return nil, "must not be empty"
  elseif value:find("^%s") or value:find("%s$") then
    return nil, "must not begin or end with white space"
  end
  return value
end

--- The same, for a value that stands between quotes in a header.
function M.quotable(value)
  if value:find('["\\]') then
    return nil, "must not have quotes or backslashes in it"
  end
  return M.header(value)
end

--- The name of a header.
function M.token(value)
  if value:find("^[%w!#$%%&'*+.^_`|~-]+$") then
    return value
  end
  return nil, "must be the name of a header"
end

--- The address of a proxy, as libcurl takes it; without one there is none.
function M.proxy(value)
  if value:find("^https?://[^/?#%s%c]+/?$") or value:find("^socks5h?://[^/?#%s%c]+/?$") then
    return value
  end
  return nil, "must be http://host:port, or https, socks5 or socks5h"
end

-- --- URLs --------------------------------------------------------------------------------------

local ports = { http = 80, https = 443 }

--- Takes an absolute http(s) URL apart: { scheme, host, port, origin, path, query }, or nil and why
-- not.
---@param url string
---@return table?, string?
function M.parse_url(url)
  if url:find("[%z\1-\32\127-\255\\]") then
    return nil, "has a character that must be percent-encoded"
  end
  local scheme, authority, rest = url:match("^(%a+)://([^/?#]*)(.*)$")
  scheme = scheme and scheme:lower()
  if not ports[scheme or ""] then
    return nil, "must be an http:// or https:// URL"
  elseif authority:find("@", 1, true) then
    return nil, "must not have a user name or password in it"
  end
  local host, port = authority:match("^(%[[%x:.]+%]):?(%d*)$")
  if not host then
    host, port = authority:match("^([%w%-._~]+):?(%d*)$")
  end
  if not host or (port == "" and authority:sub(-1) == ":") or (tonumber(port) or 1) > 65535 then
    return nil, "must have a host in it"
  end
  local path, tail = rest:match("^([^?#]*)(.*)$")
  local number = tonumber(port) or ports[scheme]
  host = host:lower()
  local origin = scheme .. "://" .. host
  if number ~= ports[scheme] then
    origin = origin .. (":%d"):format(number)
  end
  return { scheme = scheme, host = host, port = number, origin = origin, path = path, tail = tail }
end

local function is_loopback(host)
  return host == "localhost" or host == "[::1]" or host:find("^127%.%d+%.%d+%.%d+$") ~= nil
end

--- A base URL: normalised, without a slash at its end.
---@param url string
---@param allow_http boolean? plain http to other hosts than this one
---@return table? parts, string? why_not
function M.base_url(url, allow_http)
  local parts, why = M.parse_url(url)
  if not parts then
    return nil, why
  elseif parts.tail ~= "" then
    return nil, "must not have a query or fragment in it"
  elseif parts.scheme == "http" and not allow_http and not is_loopback(parts.host) then
    return nil, "must be https (plain http only to this machine, or with allow_http = true)"
  end
  parts.path = parts.path:gsub("/+$", "")
  parts.url = parts.origin .. parts.path
  return parts
end

return M

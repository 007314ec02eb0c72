--- Options: copied, checked once, and wrong ones raised at the line that gave them.
--
-- A rule is { type [, check=] [, default=] [, secret=true] }. `type` is a Lua type, a list of them,
-- or "any"; `check(value)` gives the value to keep, or nil and what is wrong with it. What is
-- raised names the option and the function, never the value: a value may be a secret.

local M = {}

local function fits(value, want)
  if type(want) ~= "table" then return want == "any" or type(value) == want end
  for _, one in ipairs(want) do
    if type(value) == one then return true end
  end
  return false
end

local function name_of(want) return type(want) == "table" and table.concat(want, " or ") or want end

local function got(value) return value == nil and "nothing" or type(value) end

--- What is said of wrong use, everywhere in the same words: "billhook.map: 'fn' must be a function,
-- got number".
---@param owner string the public function
---@param name string of its argument or option
---@param must string such as "must be a table"
---@param value any
---@return string
function M.wrong(owner, name, must, value)
  return ("%s: '%s' %s, got %s"):format(owner, name, must, got(value))
end

--- What is said of a name that there is none of.
---@param rules table of those that there are
function M.unknown(owner, name, rules)
  local names = {}
  for known in pairs(rules) do names[#names + 1] = known end
  table.sort(names)
  return ("%s: '%s' is not known: there are %s"):format(owner, tostring(name),
    table.concat(names, ", "))
end

--- What is said of a method that was called with a point.
function M.no_method(name) return ("%s is a method: call it with a colon"):format(name) end

--- No options at all.
M.none = {}

-- A value to keep, or nil and what is wrong with it.
local function checked(rule, value, owner, name)
  if not fits(value, rule[1]) then
    return nil, M.wrong(owner, name, "must be a " .. name_of(rule[1]), value)
  elseif not rule.check then
    return value
  end
  local kept, why = rule.check(value)
  if kept == nil then return nil, ("%s: '%s' %s"):format(owner, name, why) end
  return kept
end

--- Gives a checked copy of `given`, with the defaults in it.
---@param rules table name -> rule
---@param given any what the caller passed
---@param owner string the public function, for the message
---@param level integer where to raise: 2 is the caller of the function that calls this one
---@return table
function M.read(rules, given, owner, level)
  if given ~= nil and type(given) ~= "table" then
    error(M.wrong(owner, "options", "must be a table", given), level + 1)
  end
  local out = {}
  for name, value in pairs(given or M.none) do
    local rule = rules[name]
    if not rule then error(M.unknown(owner, name, rules), level + 1) end
    local kept, why = checked(rule, value, owner, name)
    if why then error(why, level + 1) end
    out[name] = kept
  end
  for name, rule in pairs(rules) do
    if out[name] == nil then out[name] = rule.default end
  end
  return out
end

-- --- checks ------------------------------------------------------------------------------------

--- Any number above zero, and not infinite: seconds.
function M.positive(value)
  if value > 0 and value < math.huge then return value end
  return nil, "must be above 0"
end

--- Seconds, or 0 for none at all.
function M.not_negative(value)
  if value >= 0 and value < math.huge then return value end
  return nil, "must not be below 0"
end

--- A whole number of at least 1.
function M.counting(value)
  if value >= 1 and value < 2 ^ 53 and value % 1 == 0 then return value end
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
  if value:find('["\\]') then return nil, "must not have quotes or backslashes in it" end
  return M.header(value)
end

--- The name of a header.
function M.token(value)
  if value:find("^[%w!#$%%&'*+.^_`|~-]+$") then return value end
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
  if not host then host, port = authority:match("^([%w%-._~]+):?(%d*)$") end
  if not host or (port == "" and authority:sub(-1) == ":") or (tonumber(port) or 1) > 65535 then
    return nil, "must have a host in it"
  end
  local path, tail = rest:match("^([^?#]*)(.*)$")
  local number = tonumber(port) or ports[scheme]
  host = host:lower()
  local origin = scheme .. "://" .. host
  if number ~= ports[scheme] then origin = origin .. (":%d"):format(number) end
  return { scheme = scheme, host = host, port = number, origin = origin, path = path, tail = tail }
end

-- A path without its . and .. (RFC 3986, 5.2.4).
local function without_dots(path)
  local out = {}
  for segment, slash in path:gmatch("([^/]*)(/?)") do
    if segment == ".." then
      if #out > 1 then out[#out] = nil end
      segment, slash = "", ""
    elseif segment == "." then
      segment, slash = "", ""
    end
    if segment ~= "" or slash ~= "" then out[#out + 1] = segment .. slash end
  end
  return table.concat(out)
end

--- What a link means that stands in an answer from a URL (RFC 3986, 5.2): nil and why it is none.
---@param from string an absolute URL
---@param link string
---@return string? url, string? why
function M.resolve(from, link)
  local base, why = M.parse_url(from)
  if not base then return nil, why end
  local url = link
  if link:find("^//") then
    url = base.scheme .. ":" .. link
  elseif not link:find("^%a[%w+.-]*:") then
    local path, tail = link:match("^([^?#]*)(.*)$")
    if path == "" then
      path = base.path
      if tail:sub(1, 1) ~= "?" then tail = base.tail:gsub("#.*", "") .. tail end
    elseif path:sub(1, 1) ~= "/" then
      path = (base.path:match("^.*/") or "/") .. path
    end
    url = base.origin .. without_dots(path) .. tail
  end
  base, why = M.parse_url(url)
  return base and url, why
end

--- Is a host this machine alone, by its name or address?
---@param host string an IPv6 address with or without its brackets
---@return boolean
function M.is_local(host)
  host = host:lower()
  return host == "localhost" or host == "::1" or host == "[::1]"
    or host:find("^127%.%d+%.%d+%.%d+$") ~= nil
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
  elseif parts.scheme == "http" and not allow_http and not M.is_local(parts.host) then
    return nil, "must be https (plain http only to this machine, or with allow_http = true)"
  end
  parts.path = parts.path:gsub("/+$", "")
  parts.url = parts.origin .. parts.path
  return parts
end

return M

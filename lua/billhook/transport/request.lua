--- What a transport may be asked to carry. Every transport checks a request by these rules first,
-- so that a header cannot smuggle another one in, whichever library sends it. (curl does it in C,
-- src/lcurl.c, for speed; one spec holds both to the same words.)
--
--   method           "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"
--   url              http:// or https://, without a user name
--   headers          name -> value; without those that a transport writes itself
--   body             string; not with GET and HEAD
--   timeout          seconds for the whole call, fractions too; 30
--   connect_timeout  seconds until the connection stands, TLS included; 10, at most `timeout`
--   stall            seconds without a byte, while whoever asked waits for one, that end it: 60 for
--                    a stream; else there is `timeout` alone
--   fresh            true: a connection of its own, whose loss cannot be mistaken for an idle
--                    one's. Always so for what is neither GET nor HEAD.
--   limit            most bytes of the answer's body, decoded; 64 MiB
--   ca_file          PEM file of the authorities to trust instead of the system's
--   proxy            "http://host:port" (also https, socks5, socks5h). Without it there is none:
--                    http_proxy and its like in the environment are not looked at.
--
-- Unusable requests are mistakes of the caller and raise.

local M = {}

--- of a stream, in seconds
M.STALL = 60

local METHODS = { GET = true, HEAD = true, POST = true, PUT = true, PATCH = true, DELETE = true }
local SAFE = { GET = true, HEAD = true }

-- a transport counts, compresses and connects by itself
local OWN = {
  ["host"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["te"] = true,
  ["connection"] = true, ["keep-alive"] = true, ["upgrade"] = true, ["trailer"] = true,
  ["expect"] = true, ["accept-encoding"] = true, ["proxy-authorization"] = true,
  ["proxy-connection"] = true,
}

local FIELDS = {
  method = "string", url = "string", headers = "table", body = "string", timeout = "number",
  connect_timeout = "number", stall = "number", fresh = "boolean", limit = "number",
  ca_file = "string", proxy = "string",
}

-- for the functions that `check` calls
local function fail(level, ...)
  error(string.format(...), level + 3)
end

local function check_fields(request, level)
  if type(request) ~= "table" then fail(level, "request must be a table") end
  for name, value in pairs(request) do
    local wanted = FIELDS[name]
    if not wanted then
      fail(level, "request.%s is not known", type(name) == "string" and name or type(name))
    end
    if type(value) ~= wanted then fail(level, "request.%s must be a %s", name, wanted) end
  end
end

local function check_method(request, level)
  if not METHODS[request.method] then
    fail(level, "request.method must be GET, HEAD, POST, PUT, PATCH or DELETE")
  end
  if request.body and SAFE[request.method] then
    fail(level, "request.body is not for %s", request.method)
  end
end

local function check_url(url, level)
  if not url then fail(level, "request.url is missing") end
  if not url:find("^[!-Z%[%]^-~]*$") then
    fail(level, "request.url has a character that must be percent-encoded")
  end
  local authority = url:match("^[Hh][Tt][Tt][Pp][Ss]?://([^/?#]+)")
  if not authority then
    fail(level, "request.url must begin with https:// or http:// and a host")
  end
  if authority:find("@", 1, true) then
    fail(level, "request.url must not carry a user name or password")
  end
end

local function check_proxy(proxy, level)
  if proxy:find("[%c%s]") or not (proxy:find("^https?://[^/?#]+/?$")
      or proxy:find("^socks5h?://[^/?#]+/?$")) then
    fail(level, "request.proxy must be http://host:port, or https, socks5 or socks5h")
  end
end

local function check_file(path, level)
  if path and path:find("%z") then fail(level, "request.ca_file holds a NUL byte") end
end

local known, room = {}, 100 -- good names in lower case, so that each is looked at once

local function check_name(name, level)
  if type(name) ~= "string" or not name:find("^[%w!#$%%&'*+.^_`|~-]+$") then
    fail(level + 1, "request.headers has a malformed name")
  end
  local lower = name:lower()
  if OWN[lower] then fail(level + 1, "request.headers: %s is the transport's own", name) end
  if room > 0 then
    known[name], room = lower, room - 1
  end
  return lower
end

local function check_headers(headers, level)
  local seen = {}
  for name, value in pairs(headers) do
    local lower = known[name] or check_name(name, level)
    if seen[lower] then fail(level, "request.headers has %s twice", name) end
    if type(value) ~= "string" then fail(level, "request.headers: %s must be a string", name) end
    if not value:find("^[\t -~\128-\255]*$") then
      fail(level, "request.headers: %s has a control character", name)
    end
    seen[lower] = true
  end
  return headers
end

local function seconds(request, name, default, level)
  local value = request[name] or default
  if not (value > 0 and value < math.huge) then
    fail(level, "request.%s must be more than 0 seconds", name)
  end
  return value
end

local function bytes(limit, level)
  if not (limit >= 0 and limit < 2 ^ 53) then
    fail(level, "request.limit must be a number of bytes")
  end
  return limit
end

--- Checks a request and gives a copy with the defaults filled in.
---@param request table
---@param level integer  of the caller to blame: 1 is the caller of this function
---@return table
function M.check(request, level)
  check_fields(request, level)
  check_method(request, level)
  check_url(request.url, level)
  if request.proxy then check_proxy(request.proxy, level) end
  check_file(request.ca_file, level)
  local timeout = seconds(request, "timeout", 30, level)
  return {
    method = request.method, url = request.url, body = request.body,
    headers = check_headers(request.headers or {}, level),
    timeout = timeout,
    connect_timeout = math.min(timeout, seconds(request, "connect_timeout", 10, level)),
    stall = request.stall and seconds(request, "stall", nil, level),
    fresh = request.fresh or not SAFE[request.method],
    limit = bytes(request.limit or 64 * 1024 * 1024, level),
    ca_file = request.ca_file, proxy = request.proxy,
  }
end

local LONGEST_TARGET = 200

--- Where a redirect leads, for a message: its Location without what may be a secret (a user name, a
--- query); nil where it names no place.
---@param location string?
---@return string?
function M.target(location)
  local place = (location or ""):match("^[^?#]*"):gsub("//[^/]*@", "//"):gsub("[^!-~]", "?")
  return place ~= "" and place:sub(1, LONGEST_TARGET) or nil
end

--- The origin of a URL that passed `check`, in parts.
---@param url string
---@return string scheme
---@return string host  an IPv6 address without its brackets
---@return integer port
---@return string path  with the query, without the fragment; at least "/"
function M.parts(url)
  local scheme, authority, path = url:match("^(%a+)://([^/?#]+)([^#]*)")
  scheme = scheme:lower()
  local host, port = authority:match("^%[([%x:.]+)%]:?(%d*)$")
  if not host then host, port = authority:match("^([^:]*):?(%d*)$") end
  if path:sub(1, 1) ~= "/" then path = "/" .. path end
  return scheme, host, tonumber(port) or (scheme == "https" and 443 or 80), path
end

return M

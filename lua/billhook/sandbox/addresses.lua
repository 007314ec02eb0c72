-- addresses.lua - where the sandbox can send webhooks to.

local M = {}

--- Scheme, host, port and path of a URL that webhooks can go to: http, for they stay on this
--- machine or in its network. nil: it is none.
function M.parse(url)
  if type(url) ~= "string" then return nil end
  local host, port, path = url:match("^http://([%w%.%-]+):?(%d*)(.*)$")
  if not host or not (path == "" or path:match("^/[^%s#]*$")) then return nil end
  return {
    name = host .. (port ~= "" and ":" .. port or ""),
    host = host == "localhost" and "127.0.0.1" or host,
    port = tonumber(port) or 80,
    path = path == "" and "/" or path,
  }
end

return M

--- What went wrong in the world, as one kind of object: a table that prints as one line.
--
--   local invoice, err = apply.invoices:get(123)
--   if not invoice and err.kind == "not_found" then ... end
--   io.stderr:write(tostring(err), "\n")   --> not_found: no such invoice (dreamapply invoices.get,
--   404)
--
-- Wrong use of the library raises; everything else that can fail gives nil and one of these. An
-- error object holds no secret: whoever makes one passes the secrets that must not stand in it, and
-- every text of it is cleaned before it is kept.

local M = {}

--- Every value of `kind`.
M.kinds = {
  "auth", "not_found", "invalid", "conflict", "rate_limited", "server", "timeout", "network", "tls",
  "decode", "too_large", "unknown_outcome", "signature", "store", "cancelled",
}

-- enough to see what a server said; more would fill logs with other people's data
M.body_limit = 2048

-- Shorter ones are no secrets worth the name, and replacing them would make a text unreadable.
local SHORTEST = 4

local known = {}
for _, kind in ipairs(M.kinds) do
  known[kind] = true
end

local mt = { __name = "billhook.error" }

function mt.__tostring(err)
  local where = {}
  if err.vendor or err.operation then
    local both = err.vendor and err.operation and " " or ""
    where[1] = (err.vendor or "") .. both .. (err.operation or "")
  end
  if err.status then
    where[#where + 1] = ("%d"):format(err.status)
  end
  local text = err.kind .. ": " .. err.message
  if #where > 0 then
    text = text .. " (" .. table.concat(where, ", ") .. ")"
  end
  return text
end

local function replace(text, secret)
  local parts, from = {}, 1
  while true do
    local first, last = text:find(secret, from, true)
    if not first then
      break
    end
    parts[#parts + 1] = text:sub(from, first - 1)
    from = last + 1
  end
  if from == 1 then
    return text
  end
  parts[#parts + 1] = text:sub(from)
  return table.concat(parts, "***")
end

local function percent(text)
  return (text:gsub("[^%w%-._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- A server that echoes a request may spell a key as JSON, HTML or a URL would.
local function spellings(secret)
  local html = secret:gsub("&", "&amp;"):gsub('"', "&quot;"):gsub("<", "&lt;"):gsub(">", "&gt;")
  return {
    secret, (secret:gsub("/", "\\/")), (secret:gsub('[\\"]', "\\%0")), html,
    percent(secret), (percent(secret):gsub("%%%x%x", string.lower)),
  }
end

--- The text without the secrets.
---@param text string
---@param secrets string[]?
---@return string
function M.redact(text, secrets)
  for _, secret in ipairs(secrets or {}) do
    if #secret >= SHORTEST then
      for _, spelling in ipairs(spellings(secret)) do
        text = replace(text, spelling)
      end
    end
  end
  return text
end

-- not in the middle of a UTF-8 character
local function cut(text, limit)
  if #text <= limit then
    return text
  end
  for last = limit, limit - 3, -1 do
    local after = text:byte(last + 1)
    if after < 0x80 or after >= 0xC0 then
      return text:sub(1, last)
    end
  end
  return text:sub(1, limit)
end

local function clean(value, secrets, seen)
  if type(value) == "string" then
    return M.redact(value, secrets)
  elseif type(value) ~= "table" or seen[value] or M.is(value) then
    return value -- an error object was cleaned when it was made
  end
  local copy = setmetatable({}, getmetatable(value))
  seen[value] = true
  for k, v in pairs(value) do
    copy[clean(k, secrets, seen)] = clean(v, secrets, seen)
  end
  return copy
end

--- A new error object.
--
-- `kind` and `message` must be there. `secrets`, a list, is not kept: what it names is blotted out
-- of every text. `body` is cut to `body_limit` bytes, after that, so that no half of a secret
-- stays.
---@param fields table
---@return table
function M.new(fields)
  local secrets = fields.secrets
  if not known[fields.kind] then
    error("bad 'kind' of an error: " .. tostring(fields.kind), 2)
  elseif type(fields.message) ~= "string" then
    error("'message' of an error must be a string", 2)
  end
  local err = {}
  for name, value in pairs(fields) do
    if name ~= "secrets" then
      err[name] = clean(value, secrets, {})
    end
  end
  if type(err.body) == "string" then
    err.body = cut(err.body, M.body_limit)
  end
  return setmetatable(err, mt)
end

--- Is it an error object?
---@param value any
---@return boolean
function M.is(value)
  return type(value) == "table" and getmetatable(value) == mt
end

return M

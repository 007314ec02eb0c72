--- What failed (a network, a vendor, a disk), as one kind of object: a table that prints as one
-- line.
--
--   local invoice, err = apply.invoices:get(123)
--   if not invoice and err.kind == "not_found" then ... end
--   io.stderr:write(tostring(err), "\n")   --> not_found: no such invoice (dreamapply invoices.get,
--   404)
--
-- Wrong use of the library raises; everything else that can fail gives nil and one of these. An
-- error object holds no secret: whoever makes one passes the secrets that must not stand in it, and
-- every text of it is cleaned before it is kept.

local core = require "billhook.core"

---@class billhook.error
local M = {}

--- Every value of `kind`.
---@type billhook.Kind[]
M.kinds = {
  "auth", "not_found", "invalid", "conflict", "rate_limited", "server", "timeout", "network", "tls",
  "decode", "too_large", "unknown_outcome", "signature", "store", "cancelled",
}

-- enough to see what a server said; more would fill logs with other people's data
M.body_limit = 2048

-- Of a body that is cut anyway only so much is looked through for credentials: what is replaced
-- makes it shorter.
local BLOTTED = 16 * M.body_limit

-- Shorter ones are no secrets worth the name, and replacing them would make a text unreadable.
local SHORTEST = 4

local known = {}
for _, kind in ipairs(M.kinds) do known[kind] = true end

local mt = { __name = "billhook.error" }

function mt.__tostring(err)
  local where = {}
  if err.vendor or err.operation then
    local both = err.vendor and err.operation and " " or ""
    where[1] = (err.vendor or "") .. both .. (err.operation or "")
  end
  if err.status then where[#where + 1] = ("%d"):format(err.status) end
  local text = err.kind .. ": " .. err.message
  if #where > 0 then text = text .. " (" .. table.concat(where, ", ") .. ")" end
  return text
end

local function replace(text, secret)
  local parts, from = {}, 1
  while true do
    local first, last = text:find(secret, from, true)
    if not first then break end
    parts[#parts + 1] = text:sub(from, first - 1)
    from = last + 1
  end
  if from == 1 then return text end
  parts[#parts + 1] = text:sub(from)
  return table.concat(parts, "***")
end

local function percent(text)
  return (text:gsub("[^%w%-._~]", function(c)
    return ("%%%02X"):format(c:byte())
  end))
end

-- The digits of a text in base64 that stand for it alone, wherever it stands in a longer text that
-- was encoded ("user:secret"): it may begin with any of the three bytes of a group.
local function add_base64(list, secret)
  for before = 0, 2 do
    local digits = core.text.base64(("\0"):rep(before) .. secret)
    local after = (before + #secret) % 3
    local first = before > 0 and before + 2 or 1
    local last = #digits - (after == 0 and 0 or 4 - after)
    local own = digits:sub(first, last)
    if #own >= SHORTEST then
      list[#list + 1] = own
      list[#list + 1] = own:gsub("+", "-"):gsub("/", "_")
    end
  end
end

local function hexadecimal(text)
  return (text:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

-- A server that echoes a request may spell a key as JSON, HTML or a URL would, or encode it.
local function spellings(secret)
  local html = secret:gsub("&", "&amp;"):gsub('"', "&quot;"):gsub("<", "&lt;"):gsub(">", "&gt;")
  local list = {
    secret, (secret:gsub("/", "\\/")), (secret:gsub('[\\"]', "\\%0")), html,
    percent(secret), (percent(secret):gsub("%%%x%x", string.lower)),
    hexadecimal(secret), hexadecimal(secret):upper(),
  }
  add_base64(list, secret)
  return list
end

--- The text without the secrets.
---@param text string
---@param secrets string[]?
---@return string
function M.redact(text, secrets)
  for _, secret in ipairs(secrets or {}) do
    if #secret >= SHORTEST then
      for _, spelling in ipairs(spellings(secret)) do text = replace(text, spelling) end
    end
  end
  return text
end

-- --- by name -----------------------------------------------------------------------------------

-- A server may show whose request it was, or another's: what is called so is no reader's business.
-- The names without case, _ and -.
local credentials = {}
for _, name in ipairs { "apikey", "xapikey", "token", "accesstoken", "refreshtoken", "idtoken",
  "shorttoken", "totptoken", "xelevationtoken", "jwt", "password", "passwd", "pwd", "secret",
  "clientsecret", "privatekey", "signerkey", "signingkey" } do
  credentials[name] = "word"
end
for _, name in ipairs { "authorization", "proxyauthorization", "cookie", "setcookie" } do
  credentials[name] = "line"
end

-- A longer value is none; and looking further from every place would take for ever.
local LONGEST = 4096

-- The value in quotes that begins at `from`: its first and last byte. One without an end takes
-- all there is.
local function quoted_value(text, from)
  local near = text:sub(from, from + LONGEST)
  local _, opened, quote = near:find('^(\\*["\'])')
  if not opened then return nil end
  local at = opened + 1
  while true do
    local first, last = near:find(quote, at, true)
    if not first then
      return from + opened, #text
    elseif #quote > 1 or near:sub(first - 1, first - 1) ~= "\\" then
      return from + opened, from + first - 2
    end
    at = last + 1
  end
end

-- One without: a word, or in a header's line all of it. Words of a sentence ("token: expired") are
-- none.
local function bare_value(text, from, whole_line)
  local near = text:sub(from, from + LONGEST)
  local value = near:match(whole_line and "^[^\r\n<]*" or "^[^%s&,;}%]<\"']*")
  if value:find("%d") or value:find("=", 1, true) or value:find(("%S"):rep(16)) then
    return from, from + #value - 1
  end
end

--- The text without what it says to be a credential, in JSON, headers, forms and URLs.
---@param text string
---@return string
function M.blot(text)
  local parts, from, at = {}, 1, 1
  while true do
    local _, last, name, begins = text:find("%f[%w_%-]([%w_%-]+)[\\\"']*%s*[:=]%s*()", at)
    if not last then break end
    at = begins
    local kind = credentials[name:lower():gsub("[_-]", "")]
    if kind then
      local first, till = quoted_value(text, begins)
      if not first then first, till = bare_value(text, begins, kind == "line") end
      if first and till >= first then
        parts[#parts + 1] = text:sub(from, first - 1)
        from, at = till + 1, till + 1
      end
    end
  end
  if from == 1 then return text end
  parts[#parts + 1] = text:sub(from)
  return table.concat(parts, "***")
end

-- not in the middle of a UTF-8 character
local function cut(text, limit)
  if #text <= limit then return text end
  for last = limit, limit - 3, -1 do
    local after = text:byte(last + 1)
    if after < 0x80 or after >= 0xC0 then return text:sub(1, last) end
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
    error(("billhook.error: 'kind' must be one of %s, got %s"):format(table.concat(M.kinds, ", "),
      tostring(fields.kind)), 2)
  elseif type(fields.message) ~= "string" then
    error("billhook.error: 'message' must be a string, got " .. type(fields.message), 2)
  end
  local err = {}
  for name, value in pairs(fields) do
    if name ~= "secrets" then err[name] = clean(value, secrets, {}) end
  end
  err.message = M.blot(err.message)
  if type(err.body) == "string" then
    err.body = cut(M.blot(err.body:sub(1, BLOTTED)), M.body_limit)
  end
  return setmetatable(err, mt)
end

--- The error of a call that was not sent, for a store that it needs has failed.
---@param err table the store's
---@return table fields of one
function M.unsent(err)
  return { kind = err.kind, code = err.code, message = err.message, retryable = err.retryable,
    sent = false, attempts = 0 }
end

--- Is it an error object?
---@param value any
---@return boolean
function M.is(value) return type(value) == "table" and getmetatable(value) == mt end

return M

--- Webhook deliveries: checked against a vendor's scheme, and made for tests.
--
--   local delivery, err = billhook.verify("betterez", headers, raw_body, { secret = "..." })
--   if not delivery then return 401, err.code end
--   local headers, body = billhook.sign("dreamclass", raw_body, { secret = "..." })
--
-- Their options are billhook.VerifyOptions, in api_meta.lua.

local core = require "billhook.core"
local errors = require "billhook.error"
local usage = require "billhook.options"

local M = {}

local vendors = { dreamapply = true, dreamclass = true, betterez = true }

-- nil: any type, checked where it is used
local types = {
  tolerance = "number", tenant = "string", now = "number", digest = "boolean",
}
local credentials = { "secret", "basic", "authorization" }
for _, name in ipairs(credentials) do types[name] = "any" end

local function check_arguments(owner, vendor, raw_body, options, level)
  local why
  if not vendors[vendor] then
    why = usage.wrong(owner, "vendor", "must be dreamapply, dreamclass or betterez", vendor)
  elseif type(raw_body) ~= "string" then
    why = usage.wrong(owner, "raw_body", "must be the bytes as they came", raw_body)
  elseif type(options) ~= "table" then
    why = usage.wrong(owner, "options", "must be a table", options)
  end
  for name, value in pairs(why and {} or options) do
    local wanted = types[name]
    if not wanted then
      why = usage.unknown(owner, name, types)
    elseif wanted ~= "any" and type(value) ~= wanted then
      why = usage.wrong(owner, name, "must be a " .. wanted, value)
    elseif wanted == "number" and (value ~= value or value < 0) then
      why = ("%s: '%s' must not be below 0"):format(owner, name)
    end
  end
  if why then error(why, level + 1) end
end

local function copy(value)
  if type(value) ~= "table" then return value end
  local list = {}
  for i, element in ipairs(value) do list[i] = element end
  return list
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for i = 1, math.max(#a, #b) do
    if a[i] ~= b[i] then return false end
  end
  return true
end

-- Making keys costs more than using them once: they are kept as long as the options that they are
-- of, and made again where those have changed.
local kept = setmetatable({}, { __mode = "k" })

local function keys_of(owner, options, level)
  local known = kept[options]
  if known and same(known.secret, options.secret) and same(known.basic, options.basic)
    and same(known.authorization, options.authorization) then
    return known.keys
  end
  local made, chosen = {}, {}
  for _, name in ipairs(credentials) do
    chosen[name], made[name] = options[name], copy(options[name])
  end
  local ok, keys = pcall(core.verify.keys, chosen)
  if not ok then error(owner .. ": " .. tostring(keys), level + 1) end
  made.keys = keys
  kept[options] = made
  return keys
end

local function refusal(vendor, code, message, kind)
  return errors.new { kind = kind or "signature", code = code, message = message, vendor = vendor }
end

--- Is this delivery the vendor's, and what does it say?
--
-- Give the body's bytes as they came: a body that was decoded and encoded again no longer has the
-- signature that it came with.
---@param vendor billhook.Vendor
---@param headers table<string, string|string[]> names in any case; one given twice is a list
---@param raw_body string
---@param options? billhook.VerifyOptions
---@return table|nil delivery { vendor, trust, secret, tenant, events }
---@return billhook.Error|nil err kind "signature"; docs/errors.md has its codes
function M.verify(vendor, headers, raw_body, options)
  options = options or {}
  check_arguments("billhook.verify", vendor, raw_body, options, 2)
  if type(headers) ~= "table" then
    error(usage.wrong("billhook.verify", "headers", "must be a table", headers), 2)
  end
  local keys = keys_of("billhook.verify", options, 2)
  local delivery, code, message = core.verify.check(vendor, headers, raw_body, keys, options)
  if delivery then return delivery end
  return nil, refusal(vendor, code, message)
end

local function first(value) return type(value) == "table" and value[1] or value end

local signers = {}

function signers.dreamapply(headers, body, options)
  headers["Authorization"] = first(options.authorization)
  return headers, body
end

function signers.betterez(headers, body, options)
  -- a whole second, spelt without a fraction on every Lua
  local t = ("%.0f"):format(math.floor(options.now or core.text.now()))
  local code = core.verify.hmac(first(options.secret), t .. "." .. body)
  headers["X-Btrz-Signature"] = "t=" .. t .. ",s2=" .. core.text.hex(code)
  return headers, body
end

-- the code goes into the body, in place of the one that is there
function signers.dreamclass(headers, body, options)
  local from, to = core.verify.member(body, "id")
  local id = from and core.json.decode(body:sub(from, to))
  if type(id) ~= "string" then
    local why = "the body has no id that could be signed"
    return nil, refusal("dreamclass", "malformed", why, "invalid")
  end
  local code = '"' .. core.text.base64(core.verify.hmac(first(options.secret), id)) .. '"'
  if options.basic then
    headers["Authorization"] = "Basic " .. core.text.base64(table.concat(options.basic, ":"))
  end
  from, to = core.verify.member(body, "signature")
  if from then return headers, body:sub(1, from - 1) .. code .. body:sub(to + 1) end
  from = body:find("{", 1, true)
  return headers, body:sub(1, from) .. '"signature":' .. code .. "," .. body:sub(from + 1)
end

--- What the vendor would send with this body: for tests, and for `billhook trigger`.
--
-- With several secrets the first one signs.
---@param vendor billhook.Vendor
---@param raw_body string
---@param options billhook.VerifyOptions
---@return table|nil headers
---@return string|billhook.Error body the body to send with them; or the error
function M.sign(vendor, raw_body, options)
  options = options or {}
  check_arguments("billhook.sign", vendor, raw_body, options, 2)
  local needed = vendor == "dreamapply" and "authorization" or "secret"
  if not first(options[needed]) then error(("billhook.sign: '%s' is missing"):format(needed), 2) end
  keys_of("billhook.sign", options, 2) -- raises what verify would raise
  return signers[vendor]({ ["Content-Type"] = "application/json" }, raw_body, options)
end

return M

--- Why is a delivery refused? Tries the mistakes that people make and names the one that fits.
--
-- For an operator who has the secret at hand, in a terminal: it costs many times what a check does,
-- and what it says must not be shown to the sender. Neither a secret nor a right code is printed.

local core = require "billhook.core"

local M = {}

local text = core.text

-- a large body is tried with one mistake at a time
local LARGE = 65536

-- --- other spellings of a JSON text ----------------------------------------------------------

-- What common encoders would have written for the same value: members keep their order and numbers
-- their digits, so a code that was made over one of these can be found again.

local MASK = { ["\\\\"] = "\1", ['\\"'] = "\2", ["{}"] = "\3", ["[]"] = "\4" }
local UNMASK = {}
for text_of, mark in pairs(MASK) do UNMASK[mark] = text_of end

-- A compact text with its strings, and what stands between them (where each is a `"`), changed.
local function respelt(compact, on_string, between)
  local strings, n = {}, 0
  local rest = compact:gsub('\\[\\"]', MASK):gsub('"[^"]*"', function(s)
    strings[#strings + 1] = on_string(s)
    return '"'
  end)
  rest = between(rest:gsub("{}", MASK):gsub("%[%]", MASK))
  return (rest:gsub('"', function()
    n = n + 1
    return strings[n]
  end):gsub("[\1-\4]", UNMASK))
end

local function as_is(s) return s end

local function spaced(between) return (between:gsub("[,:]", "%0 ")) end

local function indented(unit)
  return function(between)
    local depth = 0
    local function line(more)
      depth = depth + more
      return "\n" .. unit:rep(depth)
    end
    return (between:gsub("[%[%]{},:]", function(c)
      if c == ":" then return ": " end
      if c == "}" or c == "]" then return line(-1) .. c end
      return c .. line(c == "," and 0 or 1)
    end))
  end
end

-- a character beyond ASCII as \uXXXX, or as two of them
local function escaped(character)
  local a, b, c, d = character:byte(1, 4)
  local code = d and ((a % 8 * 64 + b % 64) * 64 + c % 64) * 64 + d % 64
    or c and (a % 16 * 64 + b % 64) * 64 + c % 64 or a % 32 * 64 + b % 64
  if code < 65536 then return ("\\u%04x"):format(code) end
  code = code - 65536
  return ("\\u%04x\\u%04x"):format(55296 + math.floor(code / 1024), 56320 + code % 1024)
end

local function ascii(s) return (s:gsub("[\194-\244][\128-\191]+", escaped)) end

local function slashed(s) return (s:gsub("/", "\\/")) end

-- Spellings of a text, each { name, text }; none where it is no JSON.
local function spellings_of(body)
  local compact = core.json.stringify(body)
  if not compact then return {} end
  local list = { { "without white space", compact } }
  for _, way in ipairs { { "without white space", as_is },
    { "with a space after commas and colons", spaced }, { "indented by two", indented "  " },
    { "indented by four", indented "    " }, { "indented by a tab", indented "\t" } } do
    local form, with_slashes = respelt(compact, as_is, way[2]), respelt(compact, slashed, way[2])
    for _, one in ipairs { { "", form }, { ", in ASCII", ascii(form) },
      { ", with \\/", with_slashes }, { ", in ASCII, with \\/", ascii(with_slashes) } } do
      list[#list + 1] = { way[1] .. one[1], one[2] }
    end
  end
  return list
end

-- --- ways to go wrong: { name, value } each, the first one as it should be ----------------------

local function trimmed(s) return (s:gsub("^%s+", ""):gsub("%s+$", "")) end

local function secrets_of(options)
  local given, list = options.secret, {}
  if type(given) ~= "table" then given = { given } end
  for i, secret in ipairs(given) do
    local which = #given > 1 and ("secret " .. i .. " ") or "the secret "
    local function add(why, value)
      if value and value ~= "" then list[#list + 1] = { why and which .. why, value } end
    end
    add(nil, secret)
    if trimmed(secret) ~= secret then add("has white space around it", trimmed(secret)) end
    add("has quotes around it; the sender signs with what is between them",
      select(2, trimmed(secret):match "^(['\"])(.+)%1$"))
    add("was given to the sender with a line break at its end", secret .. "\n")
    add("was given to the sender with a line break (CR LF) at its end", secret .. "\r\n")
    add("is decoded from base64 by the sender; give it decoded", text.unbase64(trimmed(secret)))
    add("is decoded from hexadecimal by the sender; give it decoded", text.unhex(trimmed(secret)))
    add("is encoded in base64 by the sender", text.base64(secret))
    add("is hashed by the sender first", text.sha256(secret))
    add("has a prefix; the sender signs with the part after it", secret:match("^%a+_(.+)$"))
  end
  return list
end

local function bodies_of(body)
  local list = { { nil, body } }
  local function add(why, value)
    if value and value ~= body then list[#list + 1] = { "the body " .. why, value } end
  end
  local bare = body:gsub("^\239\187\191", "")
  add("lost a line break at its end on the way", body .. "\n")
  add("lost a line break (CR LF) at its end on the way", body .. "\r\n")
  add("got white space at its ends on the way", trimmed(body))
  add("had its line breaks changed from CR LF to LF on the way", (body:gsub("\r?\n", "\r\n")))
  add("had its line breaks changed from LF to CR LF on the way", (body:gsub("\r\n", "\n")))
  for _, form in ipairs(spellings_of(bare)) do
    add("was decoded and encoded again: the signed body was JSON " .. form[1], form[2])
  end
  return list
end

local messages = {}

function messages.betterez(claim, body)
  local t = claim.t or ""
  local list = { { nil, t .. "." .. body } }
  if #t > 12 then
    list[2] = { "t is sent in milliseconds and signed in seconds", t:sub(1, -4) .. "." .. body }
  else
    list[2] = { "t is sent in seconds and signed in milliseconds", t .. "000." .. body }
  end
  list[3] = { "the sender signs the body without t", body }
  list[4] = { "the sender signs t and the body without the dot between them", t .. body }
  list[5] = { "the sender signs t= as well", "t=" .. t .. "." .. body }
  if claim.id then list[6] = { "the sender signs the id instead of t and the body", claim.id } end
  return list
end

function messages.dreamclass(claim)
  local id = claim.id or ""
  local list = {
    { nil, id },
    { "the sender signs the id in lower case", id:lower() },
    { "the sender signs the id in upper case", id:upper() },
    { "the sender signs the id without its dashes", (id:gsub("-", "")) },
    { "the sender signs the id with quotes around it", '"' .. id .. '"' },
    { "the sender signs the id with a line break at its end", id .. "\n" },
  }
  if claim.data then list[#list + 1] = { "the sender signs data instead of the id", claim.data } end
  local stamp = claim.timestamp
  if stamp then
    list[#list + 1] = { "the sender signs the timestamp too", id .. "." .. stamp }
    list[#list + 1] = { "the sender signs the timestamp too", stamp .. "." .. id }
  end
  return list
end

-- --- what the delivery claims -------------------------------------------------------------------

local function value_of(headers, wanted)
  for name, value in pairs(headers) do
    if type(name) == "string" and name:lower() == wanted then
      if type(value) == "table" then value = value[1] end
      return type(value) == "string" and value or nil
    end
  end
end

local function member(body, name)
  local from, to = core.verify.member(body, name)
  if not from then return nil end
  local raw = body:sub(from, to)
  local value = core.json.decode(raw)
  return type(value) == "string" and value or raw
end

-- the ways in which a code may be written: 32 bytes, and what is unusual about it
local function codes_of(written, usual)
  local list = {}
  local function add(code, form)
    if code and #code == 32 then
      list[#list + 1] = { not usual[form] and "the code is written in " .. form or nil, code }
    end
  end
  if not written then return list end
  local bare = written:gsub("%s+", "")
  add(text.unhex(bare), "hexadecimal")
  local form = bare:find("[-_]") and "URL base64"
  form = form or not bare:find("=$") and "base64 without padding" or "base64"
  add(text.unbase64(bare), form)
  local inner = text.unbase64(bare)
  add(inner and text.unhex(inner), "base64 of hexadecimal")
  return list
end

local claims = {}

function claims.betterez(headers, body)
  local claim = { id = member(body, "id") }
  local header = value_of(headers, "x-btrz-signature") or ""
  for name, value in header:gmatch("([%w]+)%s*=%s*([^,%s]*)") do
    claim[name] = claim[name] or value
  end
  claim.codes = codes_of(claim.s2, {
    hexadecimal = true, base64 = true, ["URL base64"] = true, ["base64 without padding"] = true,
  })
  for _, old in ipairs(codes_of(claim.s, { hexadecimal = true, base64 = true })) do
    claim.codes[#claim.codes + 1] = {
      "only the deprecated s matches, which is not accepted; s2 is wrong or missing", old[2],
    }
  end
  return claim
end

function claims.dreamclass(_, body)
  local claim = { id = member(body, "id"), timestamp = member(body, "timestamp") }
  local from, to = core.verify.member(body, "data")
  claim.data = from and body:sub(from, to)
  claim.codes = codes_of(member(body, "signature"), { base64 = true })
  return claim
end

-- --- the search ---------------------------------------------------------------------------------

local function noted(list, why)
  if why then list[#list + 1] = why end
  return list
end

-- the mistakes that together make the code right, if there are at most so many
local function attempt(claim, secret, vendor, body, most)
  local before = (secret[1] and 1 or 0) + (body[1] and 1 or 0)
  if before > most then return nil end
  for _, message in ipairs(messages[vendor](claim, body[2])) do
    local fits = before + (message[1] and 1 or 0) <= most
    local made = fits and core.verify.hmac(secret[2], message[2])
    for _, code in ipairs(made and claim.codes or {}) do
      local count = before + (message[1] and 1 or 0) + (code[1] and 1 or 0)
      if count <= most and text.equal(made, code[2]) then
        return noted(noted(noted(noted({}, secret[1]), body[1]), message[1]), code[1])
      end
    end
  end
end

local function search(vendor, headers, body, options)
  local claim = claims[vendor](headers, body)
  if #claim.codes == 0 then return nil end
  local secrets, bodies = secrets_of(options), bodies_of(body)
  for most = 0, #body > LARGE and 1 or 2 do
    for _, secret in ipairs(secrets) do
      for _, form in ipairs(bodies) do
        local mistakes = attempt(claim, secret, vendor, form, most)
        if mistakes then return mistakes end
      end
    end
  end
end

-- --- what each code may mean --------------------------------------------------------------------

local hints = {}

local function like_signature(headers)
  local names = {}
  for name in pairs(headers) do
    local found = type(name) == "string" and name:lower():find("sign", 1, true)
    if found then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

function hints.unsigned(add, vendor, headers)
  if vendor == "betterez" and value_of(headers, "x-btrz-signature") then return end
  local names = like_signature(headers)
  if #names > 0 then
    add("there is " .. table.concat(names, ", ") .. ": is this another vendor's delivery?")
  end
  if vendor ~= "dreamclass" then add("a proxy in front may drop headers that it does not know") end
end

function hints.unconfigured(add, vendor)
  local name = vendor == "dreamapply" and "authorization" or "secret"
  add("give " .. name .. ": without it every delivery is refused")
end

function hints.encoding(add)
  add("the proxy must not change bodies, and the sender must not compress them")
end

function hints.malformed(add, _, _, body)
  if body == "" then
    add("the body is empty: has another program read it before?")
  elseif body:find("^%s*[%w_]+=") then
    add("the body looks like a form, not like JSON")
  end
end

local function off(seconds)
  local hours = seconds / 3600
  if seconds > 1800 and math.abs(hours - math.floor(hours + 0.5)) < 0.02 then
    return ("%.0f s, a whole number of hours: a clock may be set to local time"):format(seconds)
  end
  return ("%.0f s"):format(seconds)
end

local function time_hint(add, vendor, headers, body, options)
  local claim = claims[vendor](headers, body)
  local stamp = tonumber(claim.t or claim.timestamp)
  if not stamp then return end
  if vendor == "dreamclass" or stamp >= 1e11 then stamp = stamp / 1000 end
  local now = options.now or text.now()
  add("the clocks of the sender and of this machine differ by " .. off(math.abs(now - stamp)))
  if now > stamp then
    add("a delivery that is sent again keeps its time: raise tolerance to accept it")
  end
end
hints.stale, hints.future = time_hint, time_hint

local function folded(s) return (s:gsub("[%s'\"]+", ""):lower()) end

function hints.unauthorized(add, vendor, headers, _, options)
  local given = value_of(headers, "authorization")
  if not given then return end
  if vendor == "dreamclass" then
    local basic = options.basic or {}
    local pair = text.unbase64(given:match("^%a+%s+(%S+)$") or "-") or ""
    local user, password = pair:match("^([^:]*):(.*)$")
    if not user then return add("it is not 'Basic ' and user:password in base64") end
    if user == basic[2] and password == basic[1] then
      return add("user and password are swapped")
    end
    if trimmed(user) == basic[1] and trimmed(password) == basic[2] then
      return add("the credentials have white space at an end")
    end
    local right = user == basic[1]
    return add(right and "the user is right, the password is wrong" or "the user is wrong")
  end
  local list = options.authorization
  if type(list) ~= "table" then list = { list } end
  for _, wanted in ipairs(list) do
    local a, b = folded(given), folded(wanted)
    if a == b then
      add("it differs only in white space, quotes or case")
    elseif a:find(b, 1, true) or b:find(a, 1, true) then
      add("one is part of the other: give the whole value, with its scheme")
    end
  end
end

-- --- the door -----------------------------------------------------------------------------------

-- check raises for credentials that no keys can be made of; that is a finding too
local function checked(vendor, headers, body, options)
  local ok, keys = pcall(core.verify.keys, {
    secret = options.secret, basic = options.basic, authorization = options.authorization,
  })
  if not ok then return nil, "credentials", tostring(keys) end
  return core.verify.check(vendor, headers, body, keys, {
    tenant = options.tenant, tolerance = options.tolerance, now = options.now, digest = false,
  })
end

--- What is wrong with this delivery, the verdict first.
---@param vendor string
---@param headers table
---@param raw_body string
---@param options table as for billhook.verify
---@return table findings a list of { code, text }
function M.why(vendor, headers, raw_body, options)
  local delivery, code, message = checked(vendor, headers, raw_body, options)
  local verdict = delivery and "the delivery is authentic" or message
  local findings = { { code = code or "ok", text = verdict } }
  for _, event in ipairs(delivery and delivery.events or {}) do
    findings[#findings + 1] = event.bad and { code = "bad", text = "it is kept, and cannot be "
      .. "acted on: " .. event.bad }
  end
  if delivery then return findings end
  local function add(why, kind) findings[#findings + 1] = { code = kind or "hint", text = why } end
  if hints[code] then hints[code](add, vendor, headers, raw_body, options) end
  if messages[vendor] and options.secret and code ~= "stale" and code ~= "future" then
    local mistakes = search(vendor, headers, raw_body, options)
    for _, mistake in ipairs(mistakes or {}) do add(mistake, "mistake") end
    if not mistakes and code == "mismatch" then
      add("no known mistake explains it: the secret is wrong, or the signed text was changed")
    end
  end
  return findings
end

return M

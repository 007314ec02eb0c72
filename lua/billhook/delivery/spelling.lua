--- Other spellings of a JSON text: what common encoders would have written for the same value.
--
-- Members keep their order and numbers their digits, so a code that was made over one of these
-- spellings can be found again (delivery.explain).

local core = require "billhook.core"

local M = {}

-- Walks over a compact text: string tokens go through on_string, single characters outside strings
-- through on_mark, everything else stays.
local function walk(compact, on_string, on_mark)
  local out, at = {}, 1
  while at <= #compact do
    local c = compact:sub(at, at)
    local last = at
    if c == '"' then
      repeat
        last = compact:find('["\\]', last + 1)
        local escape = compact:sub(last, last) == "\\"
        if escape then last = last + 1 end
      until not escape
      out[#out + 1] = on_string(compact:sub(at, last))
    elseif c:find("[%[%]{},:]") then
      out[#out + 1] = on_mark(c, compact:sub(at + 1, at + 1))
    else
      last = compact:find('["%[%]{},:]', at) or #compact + 1
      last = last - 1
      out[#out + 1] = compact:sub(at, last)
    end
    at = last + 1
  end
  return table.concat(out)
end

local function as_is(c) return c end

local function spaced(compact)
  return walk(compact, as_is, function(c) return (c == "," or c == ":") and c .. " " or c end)
end

local function indented(compact, unit)
  local depth, empty = 0, false
  local function line() return "\n" .. unit:rep(depth) end
  return walk(compact, as_is, function(c, following)
    if c == "," then return c .. line() end
    if c == ":" then return ": " end
    if c == "{" or c == "[" then
      empty = following == "}" or following == "]"
      if empty then return c end
      depth = depth + 1
      return c .. line()
    end
    if empty then
      empty = false
      return c
    end
    depth = depth - 1
    return line() .. c
  end)
end

local function unit(code) return ("\\u%04x"):format(code) end

local function escaped(character)
  local a, b, c, d = character:byte(1, 4)
  if d then
    local code = ((a % 8) * 64 + b % 64) * 4096 + (c % 64) * 64 + d % 64 - 65536
    return unit(55296 + math.floor(code / 1024)) .. unit(56320 + code % 1024)
  elseif c then
    return unit((a % 16) * 4096 + (b % 64) * 64 + c % 64)
  end
  return unit((a % 32) * 64 + b % 64)
end

local function ascii(s) return (s:gsub("[\194-\244][\128-\191]+", escaped)) end

local function slashed(s) return (s:gsub("/", "\\/")) end

--- Spellings of a text, each { name, text }; none where it is no JSON.
---@param body string
---@return table
function M.forms(body)
  local compact = core.json.stringify(body)
  if not compact then return {} end
  local list = { { "without white space", compact } }
  local function add(name, form)
    list[#list + 1] = { name, form }
    list[#list + 1] = { name .. ", in ASCII", ascii(form) }
    list[#list + 1] = { name .. ", with \\/", walk(form, slashed, as_is) }
    list[#list + 1] = { name .. ", in ASCII, with \\/", ascii(walk(form, slashed, as_is)) }
  end
  add("without white space", compact)
  add("with a space behind commas and colons", spaced(compact))
  add("indented by two", indented(compact, "  "))
  add("indented by four", indented(compact, "    "))
  add("indented by a tab", indented(compact, "\t"))
  return list
end

return M

-- prometheus.lua: reads a page of metrics as strictly as the format (0.0.4) is written down, and as
-- `promtool check metrics` wants names to be. Raises where a line is wrong.
--
--   local page = prometheus.read(text)
--   page.families["billhook_events"].kind          "gauge"
--   page.value('billhook_events{account="a",state="done"}')    a number, or nil

local M = {}

local KINDS = { counter = true, gauge = true, histogram = true }
local ESCAPES = { ["\\"] = "\\", ['"'] = '"', n = "\n" }
-- what promtool calls no base unit, or an abbreviation of one
local UNITS = { milliseconds = true, ms = true, minutes = true, hours = true, days = true,
  kilobytes = true, percent = true, secs = true, sec = true, s = true }

local function check(fine, line, why)
  if not fine then error(("metrics: %s: %s"):format(why, line), 0) end
  return fine
end

local function is_utf8(text)
  return require("billhook.core").json.decode('"' .. text:gsub('[%c"\\]', "") .. '"') ~= nil
end

-- From behind the "{" to behind the "}": the labels, and where they end.
local function labels_of(line, at)
  local labels, names = {}, {}
  while line:sub(at, at) ~= "}" do
    local name, from = line:match('^([%a_][%w_]*)="()', at)
    check(name and not name:find "^__", line, "no label name")
    check(labels[name] == nil, line, "a label twice")
    local value = {}
    at = from
    while line:sub(at, at) ~= '"' do
      local c = line:sub(at, at)
      check(c ~= "", line, "a value without an end")
      if c == "\\" then
        at = at + 1
        c = check(ESCAPES[line:sub(at, at)], line, "no such escape")
      end
      value[#value + 1], at = c, at + 1
    end
    labels[name], names[#names + 1] = table.concat(value), name
    at = at + 1
    local comma = line:sub(at, at) == ","
    check(comma or line:sub(at, at) == "}", line, "no comma")
    if comma then at = at + 1 end
  end
  check(#names > 0, line, "empty braces")
  table.sort(names)
  return labels, names, at + 1
end

local NUMBERS = { ["+Inf"] = math.huge, ["-Inf"] = -math.huge }

local function number_of(text, line)
  local number = NUMBERS[text]
    or text:find "^[+-]?%d+%.?%d*$" and tonumber(text)
    or text:find "^[+-]?%d+%.?%d*[eE][+-]?%d+$" and tonumber(text)
  return check(number, line, "no number")
end

local function key_of(name, labels, names)
  local parts = {}
  for i, label in ipairs(names) do parts[i] = ("%s=%q"):format(label, labels[label]) end
  return name .. "{" .. table.concat(parts, ",") .. "}"
end

local function sample_of(line)
  local name, at = line:match "^([%a_:][%w_:]*)()"
  check(name, line, "no metric name")
  local labels, names = {}, {}
  if line:sub(at, at) == "{" then labels, names, at = labels_of(line, at + 1) end
  local value = check(line:match("^ (%S+)$", at), line, "no value alone behind one space")
  return { name = name, labels = labels, names = names, value = number_of(value, line),
    key = key_of(name, labels, names) }
end

local function check_name(name, kind, line)
  check(name:find "^billhook_[a-z][a-z0-9_]*$", line, "not the name of ours")
  check((kind == "counter") == (name:find "_total$" ~= nil), line, "_total is for counters")
  for part in name:gmatch "[^_]+" do check(not UNITS[part], line, "no base unit") end
  for _, suffix in ipairs { "_bucket$", "_sum$", "_count$", "_" .. kind .. "$" } do
    check(not name:find(suffix), line, "a reserved end")
  end
end

-- Buckets of each series: growing, up to +Inf, which is the count; with a sum.
local function check_histogram(name, samples)
  local series = {}
  for _, one in ipairs(samples) do
    local suffix = one.name:sub(#name + 1)
    local labels, names, le = one.labels, {}, one.labels.le
    for _, label in ipairs(one.names) do
      if label ~= "le" then names[#names + 1] = label end
    end
    local key = key_of(name, labels, names)
    local own = series[key] or { bound = -math.huge, below = 0 }
    series[key] = own
    if suffix == "_bucket" then
      local bound = number_of(check(le, one.key, "a bucket without le"), one.key)
      check(bound > own.bound and one.value >= own.below, one.key, "buckets that do not grow")
      own.bound, own.below = bound, one.value
    else
      check(suffix == "_sum" or suffix == "_count", one.key, "no sample of a histogram")
      own[suffix] = one.value
    end
  end
  for key, own in pairs(series) do
    check(own.bound == math.huge and own._count == own.below and own._sum, key, "incomplete")
  end
end

-- Each family: HELP, TYPE, its samples, and nothing of it anywhere else.
local function read(text)
  local families, values, now = {}, {}, nil
  for line in text:gmatch "([^\n]*)\n" do
    local help, words = line:match "^# HELP (%S+) (.+)$"
    local name, kind = line:match "^# TYPE (%S+) (%S+)$"
    if help then
      check(not families[help] and words:find "^%u", line, "a family twice, or no help")
      now = { name = help, samples = {} }
      families[help] = now
    elseif name then
      check(now and now.name == name and not now.kind and KINDS[kind], line, "a type by itself")
      check_name(name, kind, line)
      now.kind = kind
    else
      local sample = sample_of(line)
      check(now and now.kind, line, "a sample before its type")
      local plain = now.kind ~= "histogram" and sample.name == now.name
        or now.kind == "histogram" and sample.name:sub(1, #now.name) == now.name
      check(plain, line, "a sample of another family")
      check(values[sample.key] == nil, line, "a series twice")
      check(now.kind == "gauge" or sample.value >= 0, line, "a count below 0")
      values[sample.key] = sample.value
      now.samples[#now.samples + 1] = sample
    end
  end
  return families, values
end

---@param text string
---@return table page
function M.read(text)
  check(text:sub(-1) == "\n", text:sub(-20), "no line end at the end")
  check(is_utf8(text), "", "no UTF-8")
  local families, values = read(text)
  for name, family in pairs(families) do
    check(#family.samples > 0, name, "a family without samples")
    if family.kind == "histogram" then check_histogram(name, family.samples) end
  end
  local function value(sample) return values[sample_of(sample .. " 0").key] end
  return { families = families, value = value }
end

return M

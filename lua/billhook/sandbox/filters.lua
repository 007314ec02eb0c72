-- filters.lua - how the sandbox's DreamApply answers for a list: what its by... parameters mean.

local core = require "billhook.core"
local json = require "billhook.json"
local values = require "billhook.sandbox.values"

local M = {}

local null = json.null
local journal_max = 1024
local half_year = 183 * 86400 -- the journal shows no more

local function flag(value, test)
  if value ~= "true" and value ~= "false" then return nil end
  return function(one, now) return test(one, now) == (value == "true") end
end

-- list items are parted by commas or spaces
local function one_of(value, pattern, get)
  local set = {}
  for word in value:gmatch("[^,%s]+") do
    if not word:match(pattern) then return nil end
    set[word] = true
  end
  return next(set) and function(one) return set[tostring(get(one))] end
end

local function since(value, get)
  local from = core.text.datetime(value)
  return from and function(one)
    local at = get(one)
    return at ~= null and core.text.datetime(at) > from
  end
end

local function before(value, get)
  local to = core.text.datetime(value)
  return to and function(one) return core.text.datetime(get(one)) < to end
end

-- "later than" and "earlier than" a day
local function day(value, get, later)
  if not value:match("^%d%d%d%d%-%d%d%-%d%d$")
    or not core.text.datetime(value .. "T00:00:00+00:00") then
    return nil
  end
  return function(one)
    local at = get(one)
    return later and at > value or not later and at < value
  end
end

-- not collected, and the deadline has passed; one that has lapsed is not tracked any more
local function overdue(invoice, now)
  return invoice.collected == null and not invoice.lapsed and invoice.deadline < values.day(now)
end

--- The id at the end of a link; nil where it is null.
function M.id_in(place) return place ~= null and tonumber(place:match("%d+$")) or nil end

local id_in = M.id_in

local known = {}

known.invoices = {
  byCurrencies = function(v) return one_of(v, "^%u%u%u$", function(i) return i.currency end) end,
  bySerieIDs = function(v) return one_of(v, "^%d+$", function(i) return i.serie.id end) end,
  byApplicantIDs = function(v)
    return one_of(v, "^%d+$", function(i) return id_in(i.applicant) end)
  end,
  byCollected = function(v) return flag(v, function(i) return i.collected ~= null end) end,
  byOverdue = function(v) return flag(v, overdue) end,
  byIssuedSince = function(v) return since(v, function(i) return i.issued end) end,
  byCollectedSince = function(v) return since(v, function(i) return i.collected end) end,
}

known.transactions = {
  byInvoiceIDs = function(v) return one_of(v, "^%d+$", function(t) return id_in(t.invoice) end) end,
  byInsertedSince = function(v) return since(v, function(t) return t.inserted end) end,
  byInsertedBefore = function(v) return before(v, function(t) return t.inserted end) end,
  byCollectedSince = function(v) return day(v, function(t) return t.collected end, true) end,
  byCollectedBefore = function(v) return day(v, function(t) return t.collected end, false) end,
}

-- Tests for a query's filters; or nil and the name of a wrong one.
local function tests_of(query, kind)
  local tests = {}
  for name, value in pairs(query) do
    if name:match("^by") then
      local make = known[kind] and known[kind][name]
      local test = make and make(value)
      if not test then return nil, name end
      tests[#tests + 1] = test
    end
  end
  return tests
end

local function passes(tests, one, now)
  for _, test in ipairs(tests) do
    if not test(one, now) then return false end
  end
  return true
end

local json_type = "application/json; charset=utf-8"

-- An object by id in the order of a list, as PHP writes an array with such keys. An empty one is []
-- there, unless somebody took care, as for the `collections` of the vendor's samples.
local function by_id(list, options)
  if #list == 0 then return options.empty == "object" and "{}" or "[]" end
  local parts = {}
  for i, one in ipairs(list) do parts[i] = ('"%d":%s'):format(one.id, json.encode(one)) end
  return "{" .. table.concat(parts, ",") .. "}"
end

local function answer(list, count, options)
  return 200, by_id(list, options),
    { ["X-Count"] = ("%d"):format(count), ["Content-Type"] = json_type }
end

--- The answer for a list: status, body, headers. The body is an object by id.
---@param list table list of what has an id, in the order of the ids
---@param query table its by... parameters
---@param kind string|nil "invoices", "transactions": which filters there are
---@param options table DreamApply's: empty
---@param now number epoch seconds
---@param show function|nil what the API shows of one
function M.list(list, query, kind, options, now, show)
  local tests, wrong = tests_of(query, kind)
  if not tests then return 400, "Filter " .. wrong .. " is invalid" end
  local found = {}
  for _, one in ipairs(list) do
    if passes(tests, one, now) then found[#found + 1] = show and show(one, options) or one end
  end
  return answer(found, #found, options)
end

-- A bound of the journal: an id or a time, either included. nil: it is neither.
local function bound(value, compare)
  if value == nil then return function() return true end end
  local id = tonumber(value:match("^%d+$"))
  local at = not id and core.text.datetime(value)
  if id then return function(item) return compare(item.id, id) end end
  return at and function(item) return compare(core.text.datetime(item.logged), at) end
end

local function names_in(list)
  local set = {}
  for name in list:gmatch("[^,]+") do set[name:match("^%s*(.-)%s*$")] = true end
  return set
end

-- Every application of the sandbox is in one term of one year.
local function in_term(query, options)
  return (not query.byAcademicYear or query.byAcademicYear == options.academic_year)
    and (not query.byAcademicTermID or query.byAcademicTermID == options.academic_term)
end

--- The answer of the journal: status, body, headers. A wrong order is the default one, and a limit
--- is capped, without a word; X-Count is what the filters match.
---@param items table list of journal items
---@param query table byEvents (required), bySince, byUntil, byAcademicYear, byAcademicTermID,
---  order, limit
---@param options table DreamApply's
---@param now number epoch seconds
function M.journal(items, query, options, now)
  if not query.byEvents or query.byEvents == "" then
    return 400, "Parameter byEvents is required"
  end
  local limit = math.max(1, math.min(journal_max, tonumber(query.limit) or journal_max))
  local from = bound(query.bySince, function(a, b) return a >= b end)
  local to = bound(query.byUntil, function(a, b) return a <= b end)
  if not from or not to then return 400, "Filter bySince or byUntil is invalid" end
  local wanted, found, count = names_in(query.byEvents), {}, 0
  local first, last, step = 1, #items, 1
  if query.order == "newest-first" then first, last, step = last, first, -1 end
  for i = first, in_term(query, options) and last or first - step, step do
    local item = items[i]
    if wanted[item.event] and from(item) and to(item)
      and core.text.datetime(item.logged) > now - half_year then
      count = count + 1
      if count <= limit then found[count] = item end
    end
  end
  return answer(found, count, options)
end

return M

-- filters.lua - how the sandbox's DreamApply answers for a list: what its by... parameters mean.

local core = require "billhook.core"
local json = require "billhook.json"

local M = {}

local null = json.null
local journal_max = 1024

local function today() return core.text.iso(ngx.time()):sub(1, 10) end

local function flag(value, test)
  if value ~= "true" and value ~= "false" then return nil end
  return function(invoice) return test(invoice) == (value == "true") end
end

local function one_of(value, pattern, get)
  local set = {}
  for word in tostring(value):gmatch("[^,%s]+") do
    if not word:match(pattern) then return nil end
    set[word] = true
  end
  return next(set) and function(one) return set[tostring(get(one))] end
end

local function since(value, get)
  local from = type(value) == "string" and core.text.datetime(value)
  return from and function(one)
    local at = get(one)
    return at ~= null and core.text.datetime(at) > from
  end
end

local function before(value, get)
  local to = type(value) == "string" and core.text.datetime(value)
  return to and function(one) return core.text.datetime(get(one)) < to end
end

-- "later than" and "earlier than" a day
local function day(value, get, later)
  local number = type(value) == "string" and value:match("^%d%d%d%d%-%d%d%-%d%d$")
    and tonumber((value:gsub("-", "")))
  return number and function(one)
    local at = tonumber((get(one):gsub("-", "")))
    return later and at > number or not later and at < number
  end
end

local function overdue(invoice)
  return invoice.collected == null and invoice.deadline < today()
end

local function id_in(place) return place ~= null and tonumber(place:match("%d+$")) or nil end

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
  for name, value in pairs(query or {}) do
    if name:match("^by") then
      local make = known[kind] and known[kind][name]
      local test = make and make(value)
      if not test then return nil, name end
      tests[#tests + 1] = test
    end
  end
  return tests
end

local function passes(tests, one)
  for _, test in ipairs(tests) do
    if not test(one) then return false end
  end
  return true
end

-- an object by id, or [], as PHP writes an empty one; and X-Count
local function answer(found, count)
  return 200, count > 0 and found or json.array {}, { ["X-Count"] = tostring(count) }
end

--- The answer for a list: status, body, headers.
---@param all table id -> thing
---@param query table|nil its by... parameters
---@param kind string|nil "invoices", "transactions": which filters there are
---@param owner string|nil "application", "applicant": only those of one, whose id follows
function M.list(all, query, kind, owner, owner_id)
  local tests, wrong = tests_of(query, kind)
  if not tests then return 400, "Filter " .. wrong .. " is invalid" end
  local found, count = {}, 0
  for id, one in pairs(all) do
    if passes(tests, one) and (not owner or id_in(one[owner]) == owner_id) then
      found[tostring(id)], count = one, count + 1
    end
  end
  return answer(found, count)
end

-- A bound of the journal: an id (inclusive) or a time. nil: it is neither.
local function bound(value, compare)
  if value == nil then return function() return true end end
  local id = tonumber(value)
  local at = not id and core.text.datetime(tostring(value))
  if id then return function(item) return compare(item.id, id) end end
  return at and function(item) return compare(core.text.datetime(item.logged), at) end
end

local function names_in(list)
  local set = {}
  for name in tostring(list):gmatch("[^,]+") do set[name:match("^%s*(.-)%s*$")] = true end
  return set
end

--- The answer of the journal: status, body, headers.
---@param items table list of journal items
---@param query table byEvents (required), bySince, byUntil, order, limit
function M.journal(items, query)
  local limit = tonumber(query.limit or journal_max)
  if not query.byEvents then return 400, "Parameter byEvents is required" end
  if not limit or limit < 1 or limit > journal_max then return 400, "Parameter limit is invalid" end
  local from = bound(query.bySince, function(a, b) return a >= b end)
  local to = bound(query.byUntil, function(a, b) return a <= b end)
  if not from or not to then return 400, "Filter bySince or byUntil is invalid" end
  local wanted, found, count = names_in(query.byEvents), {}, 0
  local first, last, step = 1, #items, 1
  if query.order == "newest-first" then first, last, step = last, first, -1 end
  for i = first, last, step do
    local item = items[i]
    if wanted[item.event] and from(item) and to(item) and count < limit then
      found[tostring(item.id)], count = item, count + 1
    end
  end
  return answer(found, count)
end

return M

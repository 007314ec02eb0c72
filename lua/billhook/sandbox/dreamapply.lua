-- dreamapply.lua - the sandbox's DreamApply: the invoice calls of /api/v9 and journal webhooks.
--
-- With the real one's oddities: lists are objects keyed by id; Location has no version in it;
-- errors are plain text; a second DELETE is 404; `collected` is set only by payments that add up
-- exactly; 180 requests a minute and key, then 429. Versions 3 to 8 answer as 9 does, but for the
-- links; of a path without a version the vendor says two things, and here it is the latest.

local core = require "billhook.core"
local books = require "billhook.sandbox.books"
local filters = require "billhook.sandbox.filters"
local happenings = require "billhook.sandbox.happenings"
local json = require "billhook.json"
local values = require "billhook.sandbox.values"

local M = {}

local null = json.null
local purged_page = 100

M.defaults = { api_key = "sandbox-key", authorization = "Bearer sandbox-hook", quota = 180,
  window = 60, retry_after = false, retry_interval = 60, lag = 0, shape = "item", empty = "sample",
  academic_year = "2026", academic_term = "1" }

--- Checks an option; gives what is wrong with it.
function M.check(name, value)
  if name == "shape" and value ~= "item" and value ~= "list" and value ~= "map" then
    return "must be item, list or map"
  elseif name == "empty" and value ~= "sample" and value ~= "array" and value ~= "object" then
    return "must be sample, array or object"
  end
end

--- The body of an error: plain text.
function M.failure(status) return ("Error %d of the sandbox"):format(status) end

-- --- calls

local routes = {}
local function route(methods, pattern, handler)
  routes[#routes + 1] = { methods = methods, pattern = "^" .. pattern .. "$", handler = handler }
end

local function invoice_or_none(world, invoice)
  if not invoice then return 404, "Invoice not found" end
  return 200, books.shown(invoice, world.options.dreamapply)
end

local function list(world, things, request, kind, show)
  return filters.list(things, request.query, kind, world.options.dreamapply, world:now(), show)
end

local function list_transactions(world, things, request, kind)
  table.sort(things, function(a, b) return a.id < b.id end)
  return list(world, things, request, kind)
end

route("GET HEAD", "/invoices", function(world, request)
  return list(world, books.all(world), request, "invoices", books.shown)
end)

route("GET HEAD", "/invoices/series", function(world, request)
  return list(world, world.dreamapply.series, request)
end)

route("GET HEAD", "/invoices/transactions", function(world, request)
  return list_transactions(world, books.transactions(world), request, "transactions")
end)

route("GET HEAD", "/invoices/transactions/(#)", function(world, _, id)
  for _, one in ipairs(books.transactions(world)) do
    if one.id == id then return 200, one end
  end
  return 404, "Transaction not found"
end)

route("GET HEAD", "/invoices/(#)", function(world, _, id)
  return invoice_or_none(world, books.find(world, id))
end)

route("DELETE", "/invoices/(#)", function(world, _, id)
  local invoice = books.latest(world, id)
  if not invoice then return 404, "Invoice not found" end
  books.put(world, id, nil)
  books.record(world, "Invoice was deleted: ?", books.about_invoice(invoice))
  return 204, nil, { ["Content-Type"] = "text/plain" }
end)

route("GET HEAD", "/invoices/(#)/transactions", function(world, request, id)
  local invoice, found = books.find(world, id), {}
  if not invoice then return 404, "Invoice not found" end
  for _, one in pairs(invoice.collections) do found[#found + 1] = one end
  return list_transactions(world, found, request)
end)

route("GET HEAD", "/invoices/(#)/transactions/(#)", function(world, _, id, transaction)
  local invoice = books.find(world, id)
  local found = invoice and invoice.collections[("%d"):format(transaction)]
  return found and 200 or 404, found or "Transaction not found"
end)

-- The version 9 pages say application/json of an empty body too, which the vendor's own client for
-- version 8 cannot read.
local function made(request, place, ...)
  return 201, nil, { ["Location"] = place:format(...),
    ["Content-Type"] = request.version == 9 and "application/json" or nil }
end

route("POST", "/invoices/(#)/transactions", function(world, request, id)
  local invoice, fields = books.latest(world, id), values.fields(request) or {}
  if not invoice then return 404, "Invoice not found" end
  local amount = books.decimal(fields.amount)
  if not amount or books.cents(amount) <= 0 then return 422, "Parameter amount is invalid" end
  if fields.currency ~= invoice.currency then return 422, "Parameter currency is invalid" end
  if invoice.lapsed then return 422, "The invoice has lapsed" end
  return made(request, "/api/invoices/%d/transactions/%d", id, (books.pay(world, invoice, amount)))
end)

for name, owner in pairs { applications = "application", applicants = "applicant" } do
  local what = owner:gsub("^%l", string.upper)

  route("GET HEAD", "/" .. name .. "/(#)", function(world, _, id)
    if not books.exists(world, id) then return 404, what .. " not found" end
    return 200, { id = id, invoices = books.link(name, id) .. "/invoices" }
  end)

  route("GET HEAD", "/" .. name .. "/(#)/invoices", function(world, request, id)
    if not books.exists(world, id) then return 404, what .. " not found" end
    local found = {}
    for _, one in ipairs(books.all(world)) do
      if filters.id_in(one[owner]) == id then found[#found + 1] = one end
    end
    return list(world, found, request, nil, books.shown)
  end)

  -- where the Location of a new invoice leads
  route("GET HEAD", "/" .. name .. "/(#)/invoices/(#)", function(world, _, id, invoice)
    local found = books.find(world, invoice)
    return invoice_or_none(world, found and filters.id_in(found[owner]) == id and found)
  end)
end

route("POST", "/applications/(#)/invoices", function(world, request, id)
  if not books.exists(world, id) then return 404, "Application not found" end
  local fields = values.fields(request)
  local good, why = books.checked(world, fields)
  if not good then return 400, why end
  local invoice = books.add(world, id, fields, good)
  books.record(world, "Invoice was created: ?", books.about_invoice(invoice))
  return made(request, "/api/applications/%d/invoices/%d", id, invoice.id)
end)

route("GET HEAD", "/journal", function(world, request)
  local items, to = {}, world:seen("dreamapply")
  for i, item in ipairs(world.dreamapply.journal) do
    if core.text.datetime(item.logged) <= to then items[i] = item end
  end
  return filters.journal(items, request.query, world.options.dreamapply, world:now())
end)

route("GET HEAD", "/purged%-resources", function(world, request)
  local purged = world.dreamapply.purged
  local total_pages = math.max(1, math.ceil(#purged / purged_page))
  local page = tonumber(request.query.page or 1)
  if not page or page % 1 ~= 0 or page < 1 then return 400, "Parameter page is invalid" end
  local body, count = {}, 0
  for i = (page - 1) * purged_page + 1, math.min(page * purged_page, #purged) do
    body[tostring(i)], count = purged[i], count + 1
  end
  body.pages = { total = total_pages, current = page, prev = page > 1 and page - 1 or null,
    next = page < total_pages and page + 1 or null, items = { current = count, total = #purged } }
  return 200, body, { ["X-Count"] = ("%d"):format(#purged) }
end)

route("GET HEAD", "/ping", function(world) return 200, { pong = math.floor(world:now()) } end)

-- Any 60 seconds hold at most `quota` calls, by the times of their arrival. Gives how long to wait.
local function over_quota(world, my, options)
  if not options.quota then return nil end
  local calls, now = my.calls, world:now()
  while calls[1] and calls[1] <= now - options.window do table.remove(calls, 1) end
  if #calls >= options.quota then return math.ceil(calls[1] + options.window - now) end
  calls[#calls + 1] = now
end

-- "(#)" of a pattern is an id; what is none there is a 400.
local function match(pattern, path)
  local ids, loose = pattern:gsub("%(#%)", "(%%d+)"), pattern:gsub("%(#%)", "([^/]+)")
  local one, two = path:match(ids)
  if one then return true, tonumber(one), tonumber(two) end
  return ids ~= loose and path:match(loose) ~= nil and "bad"
end

local function dispatch(world, request)
  local known, bad
  for _, one in ipairs(routes) do
    local hit, id, second = match(one.pattern, request.path)
    if hit == true and one.methods:find(request.method, 1, true) then
      return one.handler(world, request, id, second)
    end
    known, bad = known or hit == true, bad or hit == "bad"
  end
  if known then return 405, "Method not allowed" end
  if bad then return 400, "The ID is not valid" end
  return 404, "Not found"
end

-- The answer's links are those of the version that was asked.
local function with_links(version, body)
  if version == 9 or body == nil then return body end
  local text = type(body) == "table" and json.encode(body) or body
  return (text:gsub('"/api/v9/', ('"/api/v%d/'):format(version)))
end

--- Answers a request: status, body, headers.
function M.answer(world, request)
  local my, options = world.dreamapply, world.options.dreamapply
  if request.path == "/api/version" then return 200, { version = 9 } end
  if request.headers["authorization"] ~= ('DREAM apikey="%s"'):format(options.api_key) then
    return 401, "API key is missing, expired or invalid"
  end
  local wait = over_quota(world, my, options)
  if wait then
    return 429, "Quota exceeded",
      { ["Retry-After"] = options.retry_after and ("%d"):format(wait) or nil }
  end
  local version, rest = request.path:match("^/api/v(%d+)(/.*)$")
  request.version = tonumber(version or 9)
  if request.version < 3 or request.version > 9 then return 404, "No such version" end
  -- the vendor's tables write some paths with a slash at their end
  request.path = (rest or request.path:sub(#"/api" + 1)):gsub("/+$", "")
  local status, body, headers = dispatch(world, request)
  if type(body) == "table" then
    headers = headers or {}
    headers["Content-Type"] = "application/json; charset=utf-8"
  end
  return status, with_links(request.version, body), headers
end

M.state, M.trigger, M.forge = books.state, happenings.trigger, happenings.forge

return M

-- dreamapply.lua - the sandbox's DreamApply: the invoice calls of /api/v9 and journal webhooks.
--
-- With the real one's oddities: lists are objects keyed by id, and [] when empty; Location has
-- no version in it; errors are plain text; a second DELETE is 404; `collected` is set only by
-- payments that add up exactly; 180 requests a minute and key, then 429.

local core = require "billhook.core"
local filters = require "billhook.sandbox.filters"
local http = require "billhook.sandbox.http"
local json = require "billhook.json"
local sender = require "billhook.sandbox.sender"

local M = {}

local null = json.null
local last_application = 9999 -- applications 1 to this one exist

M.defaults = { api_key = "sandbox-key", authorization = "Bearer sandbox-hook", quota = 180,
  window = 60, retry_interval = 60, shape = "item" }

local smallprint = "This invoice has been issued electronically and is valid without a signature"

local function iso(t) return core.text.iso(math.floor(t or ngx.time())) end

local function link(kind, id) return id and ("/api/v9/%s/%d"):format(kind, id) or null end

local function cents(text) return math.floor(tonumber(text) * 100 + 0.5) end

local function decimal(value)
  local number = tonumber(value)
  return number and ("%.2f"):format(number)
end

--- An empty instance.
function M.state()
  return { invoices = {}, transactions = {}, journal = {}, calls = {}, last_invoice = 0,
    last_transaction = 0,
    series = { ["1"] = { id = 1, name = "Default invoice series", format = "AF-%incYearly%",
      last = { when = iso(), number = 0 } } } }
end

-- --- journal and webhooks

local links = { "administrator", "applicant", "application", "course", "institution", "invoice",
  "offer", "document", "flag", "tracker" }

local shapes = {
  item = function(item) return item end,
  list = function(item) return json.array { item } end,
  map = function(item) return { [tostring(item.id)] = item } end,
}

--- Checks an option; gives what is wrong with it.
function M.check(name, value)
  if name == "shape" and not shapes[value] then return "must be item, list or map" end
end

local function record(state, text, invoice)
  local my = state.dreamapply
  local options = state.options.dreamapply
  local item = { id = #my.journal + 1, logged = iso(), event = text,
    bind = json.array { invoice.nr } }
  for _, name in ipairs(links) do item[name] = null end
  item.applicant, item.application = invoice.applicant, invoice.application
  item.course, item.invoice = invoice.course, link("invoices", invoice.id)
  my.journal[item.id] = item
  return sender.send(state, "dreamapply", { id = tostring(item.id), type = text,
    invoice = tostring(invoice.id) }, function()
    return json.encode(shapes[options.shape](item)), { ["Authorization"] = options.authorization }
  end)
end

-- --- invoices

local function item_of(raw)
  if type(raw) ~= "table" then return nil end
  local name, price = raw.item or raw[1], decimal(raw.price or raw[2])
  local qty, unit = decimal(raw.qty or raw[3] or 1), raw.unit or raw[4] or null
  if type(name) ~= "string" or not price or not qty then return nil end
  return { item = name, price = price, qty = qty, unit = unit, inventory_item_ID = null }
end

local function items_of(list)
  if type(list) ~= "table" or #list == 0 then return nil end
  local items = {}
  for i, raw in ipairs(list) do
    items[i] = item_of(raw)
    if not items[i] then return nil end
  end
  return items
end

local function deadline_of(value)
  if value == nil then return core.text.iso(ngx.time() + 14 * 86400):sub(1, 10) end
  local date = type(value) == "string" and value:match("^%d%d%d%d%-%d%d%-%d%d")
  return date and core.text.datetime(date .. "T00:00:00+00:00") and date
end

-- What POST takes: fields checked, or nil and the text of a 400.
local function checked(fields)
  if not fields then return nil, "Request body is not a JSON object" end
  if type(fields.currency) ~= "string" or not fields.currency:match("^%u%u%u$") then
    return nil, "Parameter currency is missing or invalid"
  end
  local items, deadline = items_of(fields.items), deadline_of(fields.deadline)
  if not items then return nil, "Parameter items is missing or invalid" end
  if not deadline then return nil, "Parameter deadline is invalid" end
  return { items = items, deadline = deadline }
end

local function add(state, application, fields, good)
  local my = state.dreamapply
  local id = my.last_invoice + 1
  local serie = my.series[tostring(fields.serie_ID or 1)] or my.series["1"]
  my.last_invoice = id
  serie.last.number = serie.last.number + 1
  my.invoices[id] = {
    id = id, type = fields.type or "Invoice", nr = ("AF-%d"):format(100000 + id),
    serie = { id = serie.id, name = serie.name },
    applicant = link("applicants", application), application = link("applications", application),
    course = link("courses", fields.course_ID), deadline = good.deadline, issued = iso(),
    delivered = iso(), reminder = fields.reminder ~= "Off", reminded = null, collected = null,
    currency = fields.currency, items = good.items, collections = json.array {},
    instructions = fields.instructions or "", smallprint = fields.smallprint or smallprint,
    payer = fields.payer or { name = "John Smith", email = "john.smith@example.com" },
  }
  return my.invoices[id]
end

--- A new invoice, as if somebody had made it in the web interface.
function M.create(state, args)
  local fields = { currency = args.currency or "EUR", items = args.items or
    { { item = "Tuition fee", price = args.amount or "1000.00", qty = "1.00" } } }
  return add(state, tonumber(args.application) or 2, fields, assert(checked(fields)))
end

local function total(invoice)
  local sum = 0
  for _, item in ipairs(invoice.items) do
    sum = sum + math.floor(tonumber(item.price) * tonumber(item.qty) * 100 + 0.5)
  end
  return sum
end

local function paid_so_far(invoice)
  local paid = 0
  for _, one in pairs(invoice.collections) do paid = paid + cents(one.amount) end
  return paid
end

local function collect(state, invoice, amount)
  local my = state.dreamapply
  local id = my.last_transaction + 1
  my.last_transaction = id
  local one = { id = id, amount = decimal(amount), invoice = link("invoices", invoice.id),
    inserted = iso(), collected = iso():sub(1, 10), administrator = null, payment = null }
  my.transactions[id] = one
  if not next(invoice.collections) then invoice.collections = {} end -- no longer []
  invoice.collections[tostring(id)] = one
  invoice.collected = paid_so_far(invoice) == total(invoice) and iso() or null
  if invoice.collected ~= null then record(state, "Invoice was collected: ?", invoice) end
  return one
end

-- --- calls

local routes = {}
local function route(methods, pattern, handler)
  routes[#routes + 1] = { methods = methods, pattern = "^/api/v9" .. pattern .. "$",
    handler = handler }
end

route("GET HEAD", "/invoices", function(my, request)
  return filters.list(my.invoices, request.query, "invoices")
end)

route("GET HEAD", "/invoices/series", function(my) return filters.list(my.series) end)

route("GET HEAD", "/invoices/transactions", function(my, request)
  return filters.list(my.transactions, request.query, "transactions")
end)

route("GET HEAD", "/invoices/transactions/(%d+)", function(my, _, _, id)
  local found = my.transactions[tonumber(id)]
  return found and 200 or 404, found or "Transaction not found"
end)

route("GET HEAD", "/invoices/(%d+)", function(my, _, _, id)
  local found = my.invoices[tonumber(id)]
  return found and 200 or 404, found or "Invoice not found"
end)

route("DELETE", "/invoices/(%d+)", function(my, _, state, id)
  local invoice = my.invoices[tonumber(id)]
  if not invoice then return 404, "Invoice not found" end
  my.invoices[invoice.id] = nil
  record(state, "Invoice was deleted: ?", invoice)
  return 204
end)

route("GET HEAD", "/invoices/(%d+)/transactions", function(my, _, _, id)
  local invoice = my.invoices[tonumber(id)]
  if not invoice then return 404, "Invoice not found" end
  return filters.list(invoice.collections)
end)

route("GET HEAD", "/invoices/(%d+)/transactions/(%d+)", function(my, _, _, id, transaction)
  local invoice = my.invoices[tonumber(id)]
  local found = invoice and invoice.collections[transaction]
  return found and 200 or 404, found or "Transaction not found"
end)

route("POST", "/invoices/(%d+)/transactions", function(my, request, state, id)
  local invoice, fields = my.invoices[tonumber(id)], http.object(request.body) or {}
  if not invoice then return 404, "Invoice not found" end
  if not decimal(fields.amount) then return 422, "Parameter amount is invalid" end
  if fields.currency ~= invoice.currency then return 422, "Parameter currency is invalid" end
  local one = collect(state, invoice, fields.amount)
  local place = ("/api/invoices/%d/transactions/%d"):format(invoice.id, one.id)
  return 201, nil, { ["Location"] = place }
end)

route("GET HEAD", "/applications/(%d+)/invoices", function(my, _, _, id)
  local application = tonumber(id)
  if application > last_application then return 404, "Application not found" end
  return filters.list(my.invoices, nil, nil, "application", application)
end)

route("POST", "/applications/(%d+)/invoices", function(_, request, state, id)
  local application, fields = tonumber(id), http.object(request.body)
  if application < 1 or application > last_application then return 404, "Application not found" end
  local good, why = checked(fields)
  if not good then return 400, why end
  local invoice = add(state, application, fields, good)
  record(state, "Invoice was created: ?", invoice)
  return 201, nil,
    { ["Location"] = ("/api/applications/%d/invoices/%d"):format(application, invoice.id) }
end)

route("GET HEAD", "/applicants/(%d+)/invoices", function(my, _, _, id)
  local applicant = tonumber(id)
  if applicant > last_application then return 404, "Applicant not found" end
  return filters.list(my.invoices, nil, nil, "applicant", applicant)
end)

route("GET HEAD", "/journal", function(my, request)
  return filters.journal(my.journal, request.query)
end)

route("GET HEAD", "/ping", function() return 200, { pong = ngx.time() } end)

-- Any 60 seconds hold at most `quota` calls, by the times of their arrival.
local function over_quota(my, options)
  if not options.quota then return false end
  local calls, now = my.calls, ngx.now()
  while calls[1] and calls[1] <= now - options.window do table.remove(calls, 1) end
  if #calls >= options.quota then return true end
  calls[#calls + 1] = now
end

--- Answers a request: status, body, headers.
function M.handle(state, request)
  local my, options = state.dreamapply, state.options.dreamapply
  if request.path == "/api/version" then return 200, { version = 9 } end
  if request.headers["authorization"] ~= ('DREAM apikey="%s"'):format(options.api_key) then
    return 401, "API key is missing, expired or invalid"
  end
  if over_quota(my, options) then return 429, "Quota exceeded" end
  local known
  for _, one in ipairs(routes) do
    local id, second = request.path:match(one.pattern)
    if id and one.methods:find(request.method, 1, true) then
      return one.handler(my, request, state, id, second)
    end
    known = known or id
  end
  if known then return 405, "Method not allowed" end
  return 404, "Not found"
end

local events = { created = "Invoice was created: ?", updated = "Invoice was edited: ?",
  deleted = "Invoice was deleted: ?", collected = "Invoice was collected: ?",
  overdue = "Invoice is overdue: ?" }

--- Makes an event as if it had happened in the web interface: type "invoice.created" and the
--- like, or a journal text; invoice: an id, or none for a new one; amount, currency, application.
--- Gives the delivery, or nil and what there is not.
function M.trigger(state, args)
  local kind = args.type or "invoice.created"
  local verb = kind:match("^invoice%.(%l+)$")
  local text = events[verb or ""] or not kind:find("^[%l_]+%.[%l_]+$") and kind
  if not text then return nil, "DreamApply has no event " .. kind end
  local invoice = state.dreamapply.invoices[tonumber(args.invoice)]
  if args.invoice and not invoice then return nil, "no invoice " .. tostring(args.invoice) end
  invoice = invoice or M.create(state, args)
  if verb == "updated" and args.amount then invoice.items[1].price = decimal(args.amount) end
  if verb == "deleted" then state.dreamapply.invoices[invoice.id] = nil end
  local rest = total(invoice) - paid_so_far(invoice)
  if verb == "collected" and rest > 0 then
    collect(state, invoice, rest / 100)
    return state.deliveries[#state.deliveries]
  end
  return record(state, text, invoice)
end

return M

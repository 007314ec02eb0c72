-- page/lists.lua: deliveries, events and invoices, newest first, fifty a page, with filters.

local core = require "billhook.core"
local html = require "billhook.page.html"
local invoices = require "billhook.invoice"
local parts = require "billhook.page.parts"

local e = html.elements

local M = {}

local PAGE = 50
local STEP, SEARCHED = 250, 2000 -- rows a read, and at most, where a text is looked for

-- Whose invoice it is, as far as its data says.
local function payer_of(row, client)
  local data = row.data and core.json.decode(row.data)
  if type(data) ~= "table" or not client then return nil end
  local ok, payer = pcall(function()
    return invoices.payer(invoices.tag(client.vendor, data))
  end)
  if not ok or payer == nil then return nil end
  if type(payer) ~= "table" then return tostring(payer) end
  return payer.name or payer.email
end
M.payer_of = payer_of

---The vendor's own id of a delivery, as its people know it; further words tell one from another.
function M.news_id(one) return one.id:match "^%S*" end

---An amount of an invoice, with its currency.
function M.amount(one, name)
  return one[name] and one[name] .. (one.currency and " " .. one.currency or "") or false
end

local LISTS = {
  deliveries = {
    title = "Deliveries", key = "seq",
    states = { "pending", "done", "unchanged", "gone", "unhandled", "dead" },
    texts = { "id", "invoice", "type", "native", "reason" },
    columns = { { "Received", "whole" }, { "Delivery" }, { "Type", "whole" }, { "Invoice" },
      { "Trust", "whole" },
      { "Seen", "number" }, { "State" }, { "Reason" } },
    row = function(one)
      return { parts.time(one.received_at), parts.link("/delivery", { id = one.id },
        M.news_id(one)),
        one.type, one.invoice, one.trust, one.seen, parts.state(one.state), one.reason or false }
    end,
  },
  events = {
    title = "Events", key = "seq", states = { "pending", "done", "unhandled", "dead" },
    texts = { "id", "invoice", "type", "native", "note" },
    columns = { { "Made", "whole" }, { "Event" }, { "Type", "whole" }, { "Invoice" },
      { "Trust", "whole" },
      { "State" }, { "Rules" }, { "Note" } },
    row = function(one)
      return { parts.time(one.created_at), parts.link("/event", { id = one.id }, one.id), one.type,
        one.invoice, one.trust, parts.state(one.state), table.concat(one.rules, ", "),
        one.note or false }
    end,
  },
  invoices = {
    title = "Invoices", key = "lane", states = { "open", "closed", "deleted" },
    texts = { "account", "invoice", "number", "reference", "payer" },
    columns = { { "Changed", "whole" }, { "Invoice" }, { "Number" }, { "Payer" },
      { "Total", "number" }, { "Balance", "number" }, { "Due", "whole" }, { "State" } },
    row = function(one)
      return { parts.time(one.changed_at), parts.link("/invoice", { account = one.account,
        invoice = one.invoice }, one.account .. ":" .. one.invoice), one.number or false,
        one.payer or false, M.amount(one, "total"), M.amount(one, "balance"),
        one.due_date or false, parts.state(one.deleted_at and "deleted" or one.status) }
    end,
  },
}

---Rows as a table, for lists and for what belongs to something.
function M.table(context, of, rows, caption)
  local list, cells = LISTS[of], {}
  for i, row in ipairs(rows) do
    if of == "invoices" then row.payer = payer_of(row, context.app.accounts[row.account]) end
    cells[i] = list.row(row)
  end
  return parts.table(caption, list.columns, cells)
end

-- --- what is looked for -----------------------------------------------------------

local function matches(context, list, row, text)
  if list == LISTS.invoices then row.payer = payer_of(row, context.app.accounts[row.account]) end
  for _, name in ipairs(list.texts) do
    if row[name] and tostring(row[name]):lower():find(text, 1, true) then return true end
  end
  local id = row.invoice and (row.account .. ":" .. row.invoice):lower()
  return id ~= nil and id:find(text, 1, true) == 1
end

-- The newest that have the text in them, of so many: rows, and where to go on.
local function search(context, of, filter, text)
  local list, found, looked = LISTS[of], {}, 0
  text = text:lower()
  filter.limit = STEP
  repeat
    local rows, err = context.store[of](context.store, filter)
    if not rows then return nil, err end
    for _, row in ipairs(rows) do
      filter.before, looked = row[list.key], looked + 1
      if matches(context, list, row, text) then found[#found + 1] = row end
      if #found == PAGE then return found, { before = filter.before } end
    end
    if #rows < STEP then return found, {} end
  until looked >= SEARCHED
  return found, { before = filter.before, searched = looked }
end

-- A page of rows, newest first, and its neighbours: { before, after }.
local function page(context, of, filter)
  local key, forth = LISTS[of].key, filter.after ~= nil
  filter.limit = PAGE + 1
  local rows, err = context.store[of](context.store, filter)
  if not rows then return nil, err end
  local more = #rows > PAGE
  rows[PAGE + 1] = nil
  if forth then -- they came oldest first
    local turned = {}
    for i = #rows, 1, -1 do turned[#turned + 1] = rows[i] end
    rows = turned
  end
  local near = {}
  if rows[1] then
    if forth and more or filter.before then near.after = rows[1][key] end
    if forth or more then near.before = rows[#rows][key] end
  end
  return rows, near
end

local FIELDS = { "account", "type", "state", "text" }

-- What the address asks for; what makes no sense is left out.
local function read(context, of, query)
  local asked, filter = {}, { brief = true }
  for _, name in ipairs(FIELDS) do
    local value = (query[name] or ""):match "^%s*(.-)%s*$"
    asked[name] = #value <= 200 and value or ""
  end
  local known = false
  for _, state in ipairs(LISTS[of].states) do known = known or state == asked.state end
  if not known then asked.state = "" end
  if not context.app.accounts[asked.account] then asked.account = "" end
  if of == "invoices" then asked.type = "" end
  for _, name in ipairs { "account", "type", "state" } do
    filter[name] = asked[name] ~= "" and asked[name] or nil
  end
  for _, name in ipairs { "before", "after" } do
    local number = (query[name] or ""):match "^%d+$"
    if number and #number <= 15 and not filter.before then filter[name] = tonumber(number) end
  end
  return asked, filter
end

-- --- the form ---------------------------------------------------------------------

local function choice(name, label, values, chosen)
  local options = { e.option { value = "", "all" } }
  for _, value in ipairs(values) do
    options[#options + 1] = e.option { value = value, selected = value == chosen, value }
  end
  return e.div { e.label { ["for"] = name, label }, e.select { id = name, name = name, options } }
end

local function field(name, label, value, hint)
  return e.div { class = name == "text" and "wide" or false, e.label { ["for"] = name, label },
    e.input { id = name, name = name, value = value, placeholder = hint or false,
      autocomplete = "off", maxlength = "200" } }
end

local function form(context, of, asked)
  local names = {}
  for name in pairs(context.app.accounts) do names[#names + 1] = name end
  table.sort(names)
  return e.form { class = "filters", method = "get", action = "/" .. of, role = "search",
    choice("account", "Account", names, asked.account),
    of ~= "invoices" and field("type", "Type", asked.type, "invoice.created"),
    choice("state", "State", LISTS[of].states, asked.state),
    field("text", of == "invoices" and "ID, number or payer" or "Text or beginning of an ID",
      asked.text),
    e.div { class = "go", e.button { class = "main", "Show" }, e.a { href = "/" .. of, "Clear" } } }
end

local function neighbours(of, asked, near)
  local function to(name, text)
    if not near[name] then return false end
    local parameters = { [name] = ("%d"):format(near[name]) }
    for _, field_name in ipairs(FIELDS) do parameters[field_name] = asked[field_name] end
    return e.a { class = "button", rel = name == "before" and "next" or "prev",
      href = html.address("/" .. of, parameters), text }
  end
  if not near.before and not near.after then return false end
  return e.nav { class = "pages", ["aria-label"] = "More pages", to("after", "Newer"),
    to("before", near.searched and "Search on" or "Older") }
end

---The list that an address asks for.
---@param context table app, store, token
---@param of string "deliveries", "events" or "invoices"
---@param query table
---@return string|nil page
---@return table|nil err
function M.list(context, of, query)
  local list = LISTS[of]
  local asked, filter = read(context, of, query)
  local rows, near
  if asked.text ~= "" then
    filter.after = nil
    rows, near = search(context, of, filter, asked.text)
  else
    rows, near = page(context, of, filter)
  end
  if not rows then return nil, near end
  local caption = #rows == 0 and "None." or ("%d, newest first"):format(#rows)
  if near.searched then
    caption = caption .. (" The text was looked for in %d of them so far."):format(near.searched)
  end
  return parts.page(list.title, "/" .. of, context.token, form(context, of, asked),
    #rows > 0 and M.table(context, of, rows, caption)
      or e.p { role = "status", caption }, neighbours(of, asked, near))
end

return M

--- What is particular to DreamApply: its options, its header, the names of its events.
--
-- Options: base_url (the institution's own host), api_key.

local core = require "billhook.core"
local options = require "billhook.options"

local M = {
  name = "dreamapply",
  title = "billhook.dreamapply",
  required = { "base_url", "api_key" },
  quota = 180, -- requests a minute and key, every method
  trust = "sender",
  refetch = "invoices.get",
  body_limit = 8 * 1048576,
  list_all = true, -- invoices.list gives every invoice
  list_overdue = { byOverdue = true }, -- and with these parameters what is past due
  never = { ["payment.refunded"] = true }, -- no document shows what a refund looks like
}

M.options = {
  -- between quotes in its header
  api_key = { "string", check = options.quotable, secret = true },
}

--- What is wrong with a base URL: people copy more of the documents' addresses than the host.
---@param base table see options.base_url
---@return string? why_not
function M.doubt(base)
  if base.path:find("/api/?v?%d*$") then
    return "must end before " .. base.path:match("/api/?v?%d*$") .. ": the calls add /api/v9"
  end
end

--- What tells one account from another on the same host: an institution has a host of its own.
function M.identity()
  return nil
end

--- The headers of every request.
function M.headers(settings)
  return { ["Authorization"] = ('DREAM apikey="%s"'):format(settings.api_key) }
end

-- --- answers -----------------------------------------------------------------------------------

--- Where a reference of the caller's may stand.
M.reference = { ["invoices.create"] = { smallprint = true, instructions = true } }

-- Amounts are texts: "25" is "25.00".
local function same_amount(sent, seen)
  local a, b = core.decimal.read(sent), core.decimal.read(seen)
  return a ~= nil and b ~= nil and a == b
end

-- An amount as it is compared: "25.00" is "25".
local function plainly(amount)
  local text = tostring(amount)
  return text:find("^-?%d+%.%d+$") and (text:gsub("0+$", ""):gsub("%.$", "")) or text
end

-- What was asked for, with each amount spelled in one way.
local function normal(sent)
  local out = {}
  for name, value in pairs(sent) do
    out[name] = value
  end
  out.amount = sent.amount and plainly(sent.amount)
  for i, line in ipairs(sent.items or {}) do
    local other = {}
    for name, value in pairs(line) do
      other[name] = value
    end
    other.price, other.qty = line.price and plainly(line.price), plainly(line.qty or 1)
    out.items = i == 1 and { other } or out.items
    out.items[i] = other
  end
  return out
end

-- An answer may spell white space its own way.
local function squeezed(text)
  return (text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", ""))
end

local function same_text(sent, seen)
  return sent == seen or type(sent) == "string" and type(seen) == "string"
    and squeezed(sent) == squeezed(seen)
end

local function same_lines(sent, seen)
  if type(seen) ~= "table" or #sent ~= #seen or (#seen == 0 and next(seen) ~= nil) then
    return false
  end
  for i, line in ipairs(sent) do
    local other = type(seen[i]) == "table" and seen[i] or {}
    if not same_text(line.item, other.item) or not same_amount(line.price, other.price)
      or not same_amount(line.qty or 1, other.qty or 1) then
      return false
    end
  end
  return true
end

-- The answer has a date, whatever was sent; the day may differ where a time zone came with it, and
-- then it is not without doubt.
local function same_day(sent, seen)
  return sent == nil or (type(seen) == "string" and sent:sub(1, 10) == seen:sub(1, 10))
end

local function same_payer(sent, seen)
  return sent == nil
    or (type(seen) == "table" and (sent.name == nil or same_text(sent.name, seen.name))
      and (sent.email == nil or same_text(sent.email, seen.email)))
end

-- An answer may add to a text; but "order 88" is not in "order 881".
local function says(seen, sent)
  local text, words, from = " " .. squeezed(seen) .. " ", squeezed(sent), 1
  while true do
    local first, last = text:find(words, from, true)
    if not first then
      return false
    elseif not (text:find("^%w%w", first - 1) or text:find("^%w%w", last)) then
      return true
    end
    from = first + 1
  end
end

-- Does a link lead to this id? One that is none says nothing.
local function is_link(link, id)
  local last = type(link) == "string" and link:match("%d+$")
  return not last or last == tostring(id)
end

-- So much punctuation around a reference is looked through: a text of nothing else takes no longer.
local MOST_PUNCTUATION = 8

-- Is there white space, a tag or an end of the text beyond the punctuation at `at`?
local function is_free(text, at, step)
  for _ = 1, MOST_PUNCTUATION do
    local c = text:sub(at, at)
    if at < 1 or c == "" or c == " " or c == (step < 0 and ">" or "<") then
      return true
    elseif not c:find("%p") then
      return false
    end
    at = at + step
  end
  return false
end

-- Has a field this reference? As a word of its own, whatever else stands there: what a person or
-- the server has added to it must not have the order billed again. But "order-88" is neither in
-- "order-881" nor in "order-88-b".
local function refers(seen, reference)
  if type(seen) ~= "string" then
    return false
  end
  local text, words, from = squeezed(seen), squeezed(reference), 1
  while true do
    local first, last = text:find(words, from, true)
    if not first then
      return false
    elseif is_free(text, first - 1, -1) and is_free(text, last + 1, 1) then
      return true
    end
    from = first + 1
  end
end

-- What else tells one invoice from another, where both sides say it.
local others = {
  type = function(sent, seen) return seen.type == nil or seen.type == sent end,
  application = function(sent, seen) return is_link(seen.application, sent) end,
  serie_ID = function(sent, seen)
    local serie = type(seen.serie) == "table" and seen.serie.id
    return not serie or tostring(serie) == tostring(sent)
  end,
  course_ID = function(sent, seen) return is_link(seen.course, sent) end,
  smallprint = function(sent, seen)
    return type(seen.smallprint) ~= "string" or says(seen.smallprint, sent)
  end,
  instructions = function(sent, seen)
    return type(seen.instructions) ~= "string" or says(seen.instructions, sent)
  end,
}

local function contradicts(sent, seen)
  for name, agrees in pairs(others) do
    if sent[name] ~= nil and not agrees(sent[name], seen) then
      return true
    end
  end
  return false
end

-- Ids come as numbers or as texts; what is no positive whole number is none.
local function id_of(element)
  local id = element.id
  if type(id) == "number" then
    id = id >= 1 and id < 2 ^ 62 and id % 1 == 0 and ("%d"):format(id) or nil
  end
  if type(id) ~= "string" or #id > 18 or not id:find("^[1-9]%d*$") then
    return nil
  end
  local number = tonumber(id)
  return ("%d"):format(number) == id and number or id
end

--- An invoice's id as text, or nil.
function M.id_of(invoice)
  local id = id_of(invoice)
  return id and ("%s"):format(type(id) == "number" and ("%d"):format(id) or id)
end

--- How the outcome of a call that must not happen twice is looked up (see billhook.once).
M.looks = {
  ["invoices.create"] = {
    list = "invoices.list",
    params = function(sent) return { application = sent.application } end,
    place = function(sent) return sent.application end,
    matches = function(sent, seen)
      return sent.currency == seen.currency and same_lines(sent.items, seen.items)
        and same_day(sent.deadline, seen.deadline) and same_payer(sent.payer, seen.payer)
        and not contradicts(sent, seen)
    end,
    normal = normal,
    refers = refers,
    id = id_of,
    read = "invoices.get",
    read_params = function(id) return { id = id } end,
  },
  ["transactions.create"] = {
    list = "transactions.list",
    params = function(sent) return { invoice = sent.invoice } end,
    place = function(sent) return sent.invoice end,
    -- what a gateway collected has a payment; ours is recorded by hand
    matches = function(sent, seen)
      return seen.payment == nil and same_amount(sent.amount, seen.amount)
        and is_link(seen.invoice, sent.invoice)
    end,
    normal = normal,
    id = id_of,
    read = "transactions.get",
    read_params = function(id, sent) return { id = id, invoice = sent.invoice } end,
  },
}

-- --- an invoice's members ----------------------------------------------------------------------

--- What the documents say an invoice consists of, and how each member is compared (see
--- app.compare).
M.documented = { "record", {
  id = "id", type = "value", nr = "value",
  serie = { "record", { id = "id", name = "value" } },
  applicant = "value", application = "value", course = "value",
  deadline = "value", issued = "instant", delivered = "instant",
  reminder = "value", reminded = "instant", collected = "instant",
  currency = "value",
  items = { "list", {
    item = "value", price = "decimal", qty = "decimal", unit = "value", inventory_item_ID = "id",
  } },
  collections = { "map", {
    id = "id", amount = "decimal", invoice = "value", inserted = "instant", collected = "value",
    administrator = "value",
    payment = { "record", {
      payment = "value", external_id = "value", status = "value", message = "value",
      inserted = "instant", updated = "instant",
      gateway = { "record", { id = "id", name = "value", adapter = "value" } },
    } },
  } },
  instructions = "value", smallprint = "value",
  payer = { "record", { name = "value", email = "value" } },
} }

--- Members that change without the invoice having changed.
M.silent = { "reminded", "delivered", "serie.name" }

--- The member that holds the payments, and the members of a payment that tell when it came.
M.payments = "collections"
M.payment_time = { "inserted" }

--- When an invoice came to be, as it stands there; the day that it is dated is another.
function M.came(invoice) return invoice.issued end

-- --- events ------------------------------------------------------------------------------------

-- A journal entry is a sentence ("Offer was edited: ?"). The exact sentences about invoices are not
-- published: only their beginning, "Invoice was ...". So where nothing follows the verb, that
-- decides; whatever else is said of an invoice is a change of it.
local verbs = {
  created = "created", issued = "created",
  edited = "updated", updated = "updated", changed = "updated", modified = "updated",
  deleted = "deleted", removed = "deleted",
  collected = "paid", paid = "paid",
  overdue = "overdue",
}

--- What journal entries may be linked with, and so be about; more may come. The sentences
--- themselves are not published.
M.families = { "invoice", "application", "applicant", "offer", "course", "document", "institution",
  "administrator", "flag", "tracker" }

local is_family = {}
for _, family in ipairs(M.families) do
  is_family[family] = true
end

--- The table of events: the vendor's word, ours, and a remark. See docs/vendors.md.
M.events = {
  { "Invoice was created", "invoice.created", "or *issued*" },
  { "Invoice was updated", "invoice.updated", "or *edited*, *changed*, *modified*; and whatever"
    .. " else is said of an invoice, or links one and is about none of the kinds below" },
  { "Invoice was deleted", "invoice.deleted", "or *removed*" },
  { "Invoice was collected", "invoice.paid", "or *paid*" },
  { "Invoice is overdue", "invoice.overdue", "" },
  { "Offer was edited", "offer.edited", "and so on for the other kinds that an entry may link:"
    .. " `" .. table.concat(M.families, "`, `", 2) .. "`" },
}

-- A stranger's text may be long: what a type is read from is short, whatever the rest.
local HEAD = 120
local auxiliaries = { " was ", " has been ", " is " }

-- The family, the verb, and what comes after it; nil of another sentence.
local function parts_of(text)
  for _, auxiliary in ipairs(auxiliaries) do
    local first, last = text:find(auxiliary, 1, true)
    local family = first and text:sub(1, first - 1):match("^%a[%a _-]*$")
    local verb, rest = text:sub((last or 0) + 1):match("^(%a+)(.*)$")
    if family and verb then
      return family:gsub("[ -]", "_"), verb, rest
    end
  end
end

--- The unified type of a journal entry's text.
---@param native string
---@param linked boolean? the entry links an invoice
---@return string
function M.type_of(native, linked)
  local text = native:sub(1, HEAD):gsub("%s+", " "):gsub("^ ", ""):lower() .. " "
  local family, verb, rest = parts_of(text)
  if family == "invoice" and verbs[verb] and not rest:find("[%a\128-\255-]") then
    return "invoice." .. verbs[verb]
  elseif text:find("^invoice[ :]") or linked and not is_family[family or ""] then
    return "invoice.updated"
  end
  return family and family .. "." .. verb or "unknown"
end

--- The body of an entry without what is secret: there is nothing.
function M.redact(text) return text end

return M

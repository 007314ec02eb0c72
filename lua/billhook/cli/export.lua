-- cli/export.lua: `billhook export`: invoices, their lines or their payments as a table for other
-- programs, from a vendor's API or from an inbox, one invoice after the other.

local M = {}

M.summary = "Export invoices, lines or payments as CSV or JSON Lines."

local COLUMNS = {
  invoices = { "account", "vendor", "id", "number", "reference", "issued", "due_date", "payer_name",
    "payer_email", "currency", "total", "paid", "balance", "status" },
  lines = { "account", "vendor", "invoice_id", "number", "issued", "currency", "line",
    "description", "quantity", "unit", "price", "amount" },
  payments = { "account", "vendor", "invoice_id", "number", "currency", "payment_id", "date",
    "amount", "counts", "status", "method" },
}

function M.configure(command)
  require("billhook.cli.client").options(command)
  command:argument("what", "invoices, lines or payments."):choices { "invoices", "lines",
    "payments" }
  command:argument("params", "name=value: the filters of the vendor's list of invoices."):args "*"
  command:option("--format", "csv or jsonl.", "csv"):choices { "csv", "jsonl" }
  command:option("--map", "A Lua file that makes other columns from these."):argname "<file>"
  command:option("--inbox", "Use the last known states in this inbox instead of the API.")
    :argname "<url>"
  command:option("--state", "With --inbox: only invoices in this state; else all but deleted ones.")
    :choices { "open", "closed", "deleted" }
  command:epilog [[
Examples:
  billhook export invoices --vendor dreamapply \
    --base-url https://apply.example.edu byCollected=false > unpaid.csv
  billhook export invoices --inbox sqlite:billhook.db --state open > unpaid.csv
  billhook export payments --rules rules.lua --account admissions --format jsonl
  billhook export invoices --inbox sqlite:billhook.db --account school

Exit codes: 0 all is there; 1 it is not (the messages say what is missing);
130 interrupted.]]
end

-- --- rows --------------------------------------------------------------------------------------

-- Who could not be read, and why: counted, and the first one named.
local function note(notes, what, id, why)
  local one = notes[what]
  if not one then
    one = { n = 0, id = id, why = why }
    notes[what], notes[#notes + 1] = one, what
  end
  one.n = one.n + 1
end

local rows_of = {}

-- What each row of an invoice begins with.
local function head_of(from)
  local invoices = require "billhook.invoice"
  local vendor = invoices.vendor(from.invoice)
  return { account = from.account, vendor = vendor,
    invoice_id = require("billhook.vendor")[vendor].id_of(from.invoice),
    number = (invoices.number(from.invoice)), currency = (invoices.currency(from.invoice)),
    issued = (invoices.issued(from.invoice)) }
end

-- What an inbox keeps of an invoice that was deleted, or whose text is no longer kept.
local function kept_row(from)
  local row = { account = from.account, vendor = from.vendor, id = from.kept.invoice }
  for _, name in ipairs { "number", "reference", "due_date", "currency", "total", "paid", "balance",
    "status" } do row[name] = from.kept[name] end
  if from.kept.deleted_at then row.status = "deleted" end
  return row
end

function rows_of.invoices(from, notes)
  if not from.invoice then return { kept_row(from) } end
  local invoices, row = require "billhook.invoice", head_of(from)
  row.id = row.invoice_id
  for _, name in ipairs { "reference", "due_date", "total", "paid", "balance" } do
    local value, why = invoices[name](from.invoice)
    row[name] = value
    if value == nil and name ~= "reference" then note(notes, name, row.id, why) end
  end
  local payer = invoices.payer(from.invoice) or {}
  row.payer_name, row.payer_email = payer.name, payer.email
  row.status = invoices.status(from.invoice, os.date "%Y-%m-%d")
  return { row }
end

-- Rows of a list that belongs to an invoice; nil where it cannot be read.
local function parts(from, notes, what, fill)
  local list, why = nil, "its text is no longer kept"
  if from.invoice then list, why = require("billhook.invoice")[what](from.invoice) end
  if not list then
    notes.missing = true
    note(notes, what, from.invoice and head_of(from).invoice_id or from.kept.invoice, why)
    return {}
  end
  local rows = {}
  for i, one in ipairs(list) do
    rows[i] = head_of(from)
    fill(rows[i], one, i)
  end
  return rows
end

function rows_of.lines(from, notes)
  return parts(from, notes, "lines", function(row, line, i)
    row.line = i
    for name, value in pairs(line) do row[name] = value end
  end)
end

function rows_of.payments(from, notes)
  return parts(from, notes, "payments", function(row, payment)
    for name, value in pairs(payment) do row[name] = value end
    row.payment_id = payment.id
  end)
end

-- --- where they come from ------------------------------------------------------------------------

-- An iterator over { account, invoice, kept = an inbox's row }, and how many there are, where that
-- is asked for.
local function from_api(args)
  local cli, clients = require "billhook.cli", require "billhook.cli.client"
  local client, err = clients.of(args)
  if not client then return nil, err end
  local can, guessed = client:can "invoices.list"
  if not can or guessed then
    return nil, ("%s documents no list of invoices: export the states in an inbox, with --inbox")
      :format(client.vendor)
  end
  local params = require("billhook.cli.params").read(client.vendor, "invoices.list", args.params,
    {})
  local total
  if require("billhook.cli.progress").watched() and client:can "invoices.count" then
    local counts, n = pcall(client.call, client, "invoices.count", params)
    total = counts and n or nil
  end
  require("billhook.cli.params").complete(client.vendor, "invoices.list", params)
  local walk = cli.try(client.invoices.each, client.invoices, params)
  return function()
    local invoice = walk()
    return invoice and { account = args.account, invoice = invoice }
  end, total, function() walk:close() end
end

local PAGE = 200

-- Which vendor an account's states are from stands beside them.
local function vendors_of(store)
  local texts, why = store:texts "account "
  if not texts then return nil, why end
  local json, vendors = require "billhook.json", {}
  for account, text in pairs(texts) do
    local memory = json.decode(text) or {}
    vendors[account] = tostring(memory.origin):match "^%l+"
  end
  return vendors
end

local function decoded(row, vendor)
  local value = row.data and require("billhook.json").decode(row.data)
  return type(value) == "table" and vendor and require("billhook.invoice").tag(vendor, value) or nil
end

local function from_inbox(args)
  local store, why = require("billhook.cli.inbox").open { inbox = args.inbox }
  if not store then return nil, why end
  if args.params[1] then
    require("billhook.cli").usage "filters are for the API: an inbox has --account and --state"
  end
  local vendors
  vendors, why = vendors_of(store)
  if not vendors then return nil, why end
  local page, at, last = {}, 0, 0
  local function next_row()
    at = at + 1
    if at > #page then
      page, why = store:invoices { account = args.account, state = args.state, after = last,
        limit = PAGE }
      if not page then error(why, 0) end
      at = 1
    end
    local row = page[at]
    last = row and row.lane or last
    return row
  end
  return function()
    local row = next_row()
    while row and not (row.known and (not row.deleted_at or args.state == "deleted")) do
      row = next_row()
    end
    if not row then return nil end
    local vendor = vendors[row.account]
    return { account = row.account, vendor = vendor, invoice = decoded(row, vendor), kept = row }
  end, nil, function() store:close() end
end

-- --- where they go -------------------------------------------------------------------------------

-- A map is { "Column", ..., map = function(row) return { Column = value } or nil end }.
local function map_of(path)
  local chunk, why = loadfile(path)
  if not chunk then return nil, why end
  local fine, map = pcall(chunk)
  if not fine then return nil, tostring(map) end
  if type(map) ~= "table" or type(map.map) ~= "function" or type(map[1]) ~= "string" then
    return nil, path .. " must return a list of columns with a function `map`"
  end
  return map
end

local writers = {}

function writers.csv(columns)
  local csv, term = require "billhook.cli.csv", require "billhook.cli.term"
  term.write(csv.line(columns, #columns))
  return function(row)
    local cells = {}
    for i, name in ipairs(columns) do cells[i] = row[name] end
    term.write(csv.line(cells, #columns))
  end
end

function writers.jsonl(columns)
  local term = require "billhook.cli.term"
  return function(row)
    local kept = {}
    for _, name in ipairs(columns) do kept[name] = row[name] end
    term.json(kept)
  end
end

-- What could not be said of some invoices.
local function tell(notes)
  local term = require "billhook.cli.term"
  for _, what in ipairs(notes) do
    local one = notes[what]
    term.say(("%s of %d invoice%s: not known, the first one of %s: %s"):format(what, one.n,
      one.n == 1 and "" or "s", tostring(one.id), one.why))
  end
end

local function export(args, source, total, map)
  local notes, bar = {}, require("billhook.cli.progress").new("invoices", total)
  local write = writers[args.format](map or COLUMNS[args.what])
  for from in source do
    for _, row in ipairs(rows_of[args.what](from, notes)) do
      if map then row = map.map(row) end
      if row then write(row) end
    end
    bar:step()
  end
  bar:close()
  require("billhook.cli.term").flush()
  tell(notes)
  return notes.missing and 1 or 0
end

function M.run(args)
  if args.json then args.format = "jsonl" end
  local map, err
  if args.map then
    map, err = map_of(args.map)
    if not map then return nil, err end
  end
  local source, total, close = (args.inbox and from_inbox or from_api)(args)
  if not source then return nil, tostring(total) end
  local fine, code = pcall(export, args, source, total, map)
  close()
  if fine then return code end
  require("billhook.cli.term").progress ""
  if type(code) == "table" and code.code and code.text then error(code, 0) end
  if type(code) == "table" and code.kind then return nil, tostring(code) end
  error(code, 0)
end

return M

--- What each payer owes: invoices as lines with a running balance, and what is open by age.

local core = require "billhook.core"
local members = require "billhook.invoice.members"

local decimal = core.decimal

local M = {}

local MOST = 10 -- invoices that one refusal names

local function days(date) return core.text.datetime(date .. "T00:00:00Z") / 86400 end

-- by the days that its due date is past
local function bucket(late)
  if late <= 0 then return "not_due" end
  if late <= 30 then return "days_1_30" end
  if late <= 60 then return "days_31_60" end
  return late <= 90 and "days_61_90" or "over_90"
end

local function line_of(reader, invoice)
  local line = {
    invoice = invoice, number = reader.number(invoice), issued = reader.issued(invoice),
    total = reader.total(invoice), paid = reader.paid(invoice),
  }
  line.balance = line.total - line.paid
  local dated, due = pcall(reader.due_date, invoice)
  if not dated and line.balance:sign() ~= 0 then error(due, 0) end
  line.due_date = dated and due or nil
  return line
end

-- In small letters, without asking the locale.
local function small(text)
  return (text:gsub("[A-Z]", function(c) return string.char(c:byte() + 32) end))
end

-- One account for each payer and currency: the address tells payers apart, else the name.
local function account_of(accounts, by_key, payer, currency)
  local who = payer.email and small(payer.email) or payer.name
  local key = ("%s %s %s"):format(currency or "", payer.email and "@" or "", who)
  local account = by_key[key]
  if not account then
    local nothing = decimal.new(0)
    account = { payer = payer, currency = currency, lines = {}, total = nothing, paid = nothing,
      balance = nothing, ageing = { not_due = nothing, days_1_30 = nothing, days_31_60 = nothing,
        days_61_90 = nothing, over_90 = nothing } }
    accounts[#accounts + 1], by_key[key] = account, account
  end
  return account
end

-- in order of the days on which they were issued; those of one day stay as they came
local function in_order(lines)
  local at = {}
  for i, line in ipairs(lines) do at[line] = { days(line.issued), i } end
  table.sort(lines, function(a, b)
    local one, other = at[a], at[b]
    if one[1] ~= other[1] then return one[1] < other[1] end
    return one[2] < other[2]
  end)
end

local function add_up(account, today)
  local ageing = account.ageing
  in_order(account.lines)
  for _, line in ipairs(account.lines) do
    account.total, account.paid = account.total + line.total, account.paid + line.paid
    account.balance = account.balance + line.balance
    line.running = account.balance
    local name = bucket(line.due_date and today - days(line.due_date) or 0)
    ageing[name] = ageing[name] + line.balance
  end
  local places = account.balance:scale()
  for name, sum in pairs(ageing) do ageing[name] = sum:round(math.max(places, sum:scale())) end
end

-- What an invoice is called in a refusal.
local function called(invoice, i)
  local id = invoice.id or invoice._id
  id = id and members.answer(members.name, id, "id") or ("#%d of the list"):format(i)
  return "invoice " .. id
end

--- The accounts of a list of invoices.
---@param list table[] invoices
---@param day string YYYY-MM-DD
---@param reader_of fun(invoice: table): table what reads an invoice of its vendor
---@return table[]? accounts
---@return string? why
function M.make(list, day, reader_of)
  local accounts, by_key, refused = {}, {}, {}
  for i, invoice in ipairs(list) do
    local reader = reader_of(invoice)
    local _, why = members.answer(function()
      local line, payer = line_of(reader, invoice), reader.payer(invoice)
      -- a vendor that tells no currency has one for all
      local told, currency = pcall(reader.currency, invoice)
      local account = account_of(accounts, by_key, payer, told and currency or nil)
      account.lines[#account.lines + 1] = line
      return true
    end)
    if why and #refused < MOST then refused[#refused + 1] = called(invoice, i) .. ": " .. why end
  end
  if refused[1] then return nil, table.concat(refused, "; ") end
  local _, why = members.answer(function()
    for _, account in ipairs(accounts) do add_up(account, days(day)) end
    return true
  end)
  if why then return nil, why end
  return accounts
end

return M

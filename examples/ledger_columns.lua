-- ledger_columns.lua: the columns that a bookkeeping program imports, made of what is exported:
--
--   billhook export payments --rules rules.lua --account admissions --map ledger_columns.lua
--
-- A map is a list of columns with a function `map(row)`, which gives their values by name, or nil
-- where a row is left out. A row has the columns that the same export has without --map. Cells that
-- a spreadsheet would take for a formula are made harmless afterwards.

-- the accounts of your own books
local BANK, RECEIVABLES = "1200", "1400"

return {
  "Date", "Document", "Text", "Debit", "Credit", "Amount", "Currency",

  map = function(row)
    if not row.counts then return nil end -- a payment that failed, or is still pending
    return {
      Date = row.date, Document = row.number, Debit = BANK, Credit = RECEIVABLES,
      Text = "Payment " .. row.payment_id .. (row.method and " by " .. row.method or ""),
      Amount = row.amount, Currency = row.currency or "EUR", -- DreamClass tells none: your own
    }
  end,
}

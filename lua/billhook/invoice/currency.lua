--- Currencies as ISO 4217 has them: three capital letters, and how many digits their amounts have.

local members = require "billhook.invoice.members"

local M = {}

-- the digits after the point, where they are not two
local digits = {
  BIF = 0, CLP = 0, DJF = 0, GNF = 0, ISK = 0, JPY = 0, KMF = 0, KRW = 0, PYG = 0, RWF = 0, UGX = 0,
  UYI = 0, VND = 0, VUV = 0, XAF = 0, XOF = 0, XPF = 0,
  BHD = 3, IQD = 3, JOD = 3, KWD = 3, LYD = 3, OMR = 3, TND = 3,
  CLF = 4, UYW = 4,
}

-- In capitals; string.upper would ask the locale, and a Turkish one knows no capital of "i".
local function capitals(text)
  return (text:gsub("[a-z]", function(c) return string.char(c:byte() - 32) end))
end

--- How many digits a currency's amounts have after the point; 2 where it is not known.
---@param currency string?
---@return integer
function M.digits(currency)
  return type(currency) == "string" and digits[capitals(currency)] or 2
end

--- A currency in capitals; raises what is said where it is none.
---@param value any
---@return string
function M.read(value)
  local text = members.text(value, "currency")
  if not text:find("^[A-Za-z][A-Za-z][A-Za-z]$") then
    members.missing("currency of the invoice is no three letters")
  end
  return capitals(text)
end

return M

-- inbox/refusal.lua: how a transaction is ended from within. Anything else that is raised in one is
-- a defect and goes on as it is.

local M = {}

local Refusal = {}

function M.raise(code, message)
  error(setmetatable({ code = code, message = message }, Refusal), 0)
end

function M.is(value) return getmetatable(value) == Refusal end

---Refuses the number of a row that was just made, `seq`, where it is not beyond all that were there
---before, up to `most`: the database's sequence has been set back, and the order would be lost.
function M.numbered(row)
  if row.seq < (row.most or 0) then
    M.raise("NUMBERS", "the numbers of rows are behind those that are stored")
  end
end

return M

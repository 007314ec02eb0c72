-- inbox/refusal.lua: what ends a transaction: the database's word, or that of who writes in it.
--
--   refusal.raise(code, message)    as an error; sql.lua makes the store's error of it
--   refusal.is(value)               anything else that is raised is a defect
--
-- Codes of our own: NUMBERS, a number that was given out before, see sql.lua; CROSSED, others came
-- between as often as this is tried.

local M = {}

local Refusal = {}

function M.raise(code, message)
  error(setmetatable({ code = code, message = message }, Refusal), 0)
end

function M.is(value) return getmetatable(value) == Refusal end

---For a retry that has found no end. Its sender asks again.
function M.crossed()
  M.raise("CROSSED", "other transactions came between, again and again")
end

return M

-- inbox/clock.lua: the store's clock, when it jumps.
--
-- A clock that jumps back would freeze what is planned. So every transaction
-- that plans notes the time, and one that finds it earlier moves every plan
-- back by as much: the waits stay as long as they were meant. One that jumps
-- forward ends leases early, which their tokens make harmless.

local M = {}

local SKEW = 1000 -- ms: less is neither noted nor corrected

local function noted(query)
  local row = query("SELECT value FROM meta WHERE name = 'clock'")[1]
  return row and tonumber(row.value)
end

---Notes the time, or moves every plan back with it.
function M.tick(query, now)
  local last = noted(query)
  if last and now >= last - SKEW and now <= last + SKEW then return end
  if last and now < last then
    local back = last - now
    query("UPDATE lanes SET due = due - $1 WHERE due IS NOT NULL", back)
    query("UPDATE marks SET due = due - $1, failed_at = failed_at - $2 WHERE state = 'waiting'",
      back, back)
  end
  query("INSERT INTO meta (name, value) VALUES ('clock', $1) "
    .. "ON CONFLICT (name) DO UPDATE SET value = excluded.value", ("%.0f"):format(now))
end

---Is the clock behind the time that was noted?
function M.jumped(query, now) return now < (noted(query) or 0) - SKEW end

return M

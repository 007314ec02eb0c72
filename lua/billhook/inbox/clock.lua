-- inbox/clock.lua: the store's clock, when it jumps.
--
-- A clock that jumps back would freeze what is planned. So every transaction
-- that plans notes the time, and one that finds it earlier moves every plan
-- back by as much: the waits stay as long as they were meant. One that jumps
-- forward ends leases early, which their tokens make harmless.

local M = {}

local SKEW = 1000 -- ms: less is neither noted nor corrected

local NOTED = "SELECT value FROM meta WHERE name = 'clock'"

local function near(now, last) return last ~= nil and math.abs(now - last) <= SKEW end

---Notes the time, or moves every plan back with it; gives the time.
---@param query fun(sql: string, ...): table
---@param read fun(): integer, integer? the time, and the one that was noted
---@param locking fun(sql: string, how: string?): string
---@return integer now
function M.tick(query, read, locking)
  local now, last = read()
  if near(now, last) then return now end
  -- others find the same: one notes it, and while plans are moved everybody waits
  local forward = last ~= nil and now > last
  if not query(locking(NOTED, forward and "skip" or nil))[1] and forward then return now end
  now, last = read()
  if near(now, last) then return now end
  if last and now < last then
    local back = last - now
    query("UPDATE invoices SET check_due = check_due - $1 WHERE check_due IS NOT NULL", back)
    query("UPDATE invoices SET run_due = run_due - $1 WHERE run_due IS NOT NULL", back)
    query("UPDATE invoices SET till = till - $1, began = began - $2 WHERE owner IS NOT NULL", back,
      back)
    query("UPDATE marks SET due = due - $1, failed_at = failed_at - $2 WHERE state = 'waiting'",
      back, back)
  end
  query("INSERT INTO meta (name, value) VALUES ('clock', $1) "
    .. "ON CONFLICT (name) DO UPDATE SET value = excluded.value", ("%.0f"):format(now))
  return now
end

---Is the clock behind the time that was noted?
function M.jumped(now, last) return now < (last or 0) - SKEW end

return M

-- inbox/counters.lua: what has happened, counted over all processes.
--
-- A counter is changed by the transaction in which it happens, so it is as
-- right as the rest of the inbox, and costs no commit. Its name is a few words:
--
--   delivery RESULT ACCOUNT          admitted, duplicate, contested; refused are the process's own
--   state STATE ACCOUNT              how many events are pending, done, dead, unhandled
--   contested ACCOUNT                how many events are
--   run RESULT SECONDS RULE          runs of that result within so many seconds ("+Inf": longer);
--                                    total: the ms that they took
--   and whatever else count() is given

local M = {}

-- Seconds; runs that took longer than the last are "+Inf".
M.BOUNDS = { "0.01", "0.05", "0.1", "0.5", "1", "5", "10", "30", "60" }

local Tally = {}
Tally.__index = Tally

function M.tally() return setmetatable({ names = {}, n = {}, total = {} }, Tally) end

function Tally:add(name, n, total)
  if not self.n[name] then self.names[#self.names + 1] = name end
  self.n[name] = (self.n[name] or 0) + n
  self.total[name] = (self.total[name] or 0) + (total or 0)
end

function Tally:state(account, state, n)
  self:add("state " .. (state == "bad" and "dead" or state) .. " " .. account, n)
end

local function bound(seconds)
  for _, text in ipairs(M.BOUNDS) do
    if seconds <= tonumber(text) then return text end
  end
  return "+Inf"
end

local RESULTS = { done = "done", waiting = "failed", dead = "dead" }

---@param took number seconds
function Tally:run(rule, state, took)
  self:add(("run %s %s %s"):format(RESULTS[state], bound(took), rule), 1,
    math.floor(took * 1000 + 0.5))
end

local texts = {}

-- The statement for that many counters at once.
local function text_for(dialect, many)
  local key = dialect.name .. many
  if not texts[key] then
    local rows = {}
    for i = 1, many do
      rows[i] = ("(%s, $%d, $%d, $%d)"):format(dialect.shard, 3 * i - 2, 3 * i - 1, 3 * i)
    end
    texts[key] = "INSERT INTO counters (shard, name, n, total) VALUES "
      .. table.concat(rows, ", ") .. " ON CONFLICT (shard, name) DO UPDATE SET "
      .. "n = counters.n + excluded.n, total = counters.total + excluded.total"
  end
  return texts[key]
end

local unpack = table.unpack or rawget(_G, "unpack")
local MOST = 8 -- counters a statement

---Writes what has been added, within the caller's transaction, in one order everywhere.
function Tally:write(dialect, query)
  table.sort(self.names)
  for first = 1, #self.names, MOST do
    local values, many = {}, math.min(MOST, #self.names - first + 1)
    for i = first, first + many - 1 do
      local name = self.names[i]
      values[#values + 1], values[#values + 2] = name, self.n[name]
      values[#values + 1] = self.total[name]
    end
    query(text_for(dialect, many), unpack(values, 1, 3 * many))
  end
end

---The sums over all shards, by their index: { name, n, total } each.
function M.sums(query)
  return query("SELECT name, CAST(SUM(n) AS BIGINT) AS n, CAST(SUM(total) AS BIGINT) AS total "
    .. "FROM counters WHERE shard >= 0 GROUP BY name")
end

local Counters = {}

function Counters:count(list)
  return self:write(function(query)
    local tally = M.tally()
    for _, one in ipairs(list) do tally:add(one.name, one.n, one.total) end
    tally:write(self.dialect, query)
    return true
  end)
end

function Counters:counters()
  return self:read(function(query) return M.sums(query) end)
end

---@param Store table
function M.extend(Store)
  for name, method in pairs(Counters) do Store[name] = method end
end

return M

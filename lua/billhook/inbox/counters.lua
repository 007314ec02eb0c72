-- inbox/counters.lua: what has happened, counted over all processes.
--
-- A process counts in its memory and hands over what it has counted from time to time (count(), see
-- app/metrics.lua): a delivery must not wait for a row that every other delivery changes too. What
-- a process that is killed has counted since is lost; what is stored is counted by stats().

local M = {}

local Tally = {}
Tally.__index = Tally

function M.tally() return setmetatable({ names = {}, n = {}, total = {} }, Tally) end

function Tally:add(name, n, total)
  if not self.n[name] then self.names[#self.names + 1] = name end
  self.n[name] = (self.n[name] or 0) + n
  self.total[name] = (self.total[name] or 0) + (total or 0)
end

---What has been added: { name, n, total } each.
function Tally:list()
  local list = {}
  for i, name in ipairs(self.names) do
    list[i] = { name = name, n = self.n[name], total = self.total[name] }
  end
  return list
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
M.methods = Counters -- of a store

function Counters:count(list)
  return self:transaction(function(query)
    local tally = M.tally()
    for _, one in ipairs(list) do tally:add(one.name, one.n, one.total) end
    tally:write(self.dialect, query)
    return true
  end)
end

function Counters:counters()
  return self:read(function(query) return M.sums(query) end)
end

return M

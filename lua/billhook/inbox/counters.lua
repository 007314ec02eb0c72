-- inbox/counters.lua: what has happened, counted over all processes.
--
-- A counter is changed by the transaction in which it happens, so it is as
-- right as the rest of the inbox, and costs no commit. Its name is a few words:
--
--   delivery RESULT ACCOUNT     admitted, duplicate, contested
--   event ACCOUNT               how many events are known
--   state STATE ACCOUNT         how many of them are done, dead, unhandled; the others are pending
--   contested ACCOUNT           how many of them are
--   and what count() is given: see metrics.lua

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

---One event more, or less, that is in this state; what is in none of these is pending.
function Tally:state(account, state, n)
  if state ~= "pending" then
    self:add("state " .. (state == "bad" and "dead" or state) .. " " .. account, n)
  end
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

---States by account: { account = { pending, done, dead, unhandled, contested } }.
function M.states(sums)
  local accounts = {}
  local function of(account)
    accounts[account] = accounts[account]
      or { pending = 0, done = 0, dead = 0, unhandled = 0, contested = 0 }
    return accounts[account]
  end
  for _, one in ipairs(sums) do
    local state, account = one.name:match("^state (%l+) (%S+)$")
    if state then
      of(account)[state] = one.n
      of(account).pending = of(account).pending - one.n
    else
      state, account = one.name:match("^(%l+) (%S+)$")
      if state == "event" then of(account).pending = of(account).pending + one.n end
      if state == "contested" then of(account).contested = one.n end
    end
  end
  return accounts
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

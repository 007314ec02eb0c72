-- inbox/chunks.lua: admitting a list some rows a statement, for a database in this process.
--
-- There a statement costs more than the row that it inserts. So lanes, events and bodies go in by
-- a few statements for every SIZE events, as if all of them were new. What turns out to be known
-- is left to admit.lua, one by one.

local rows = require "billhook.inbox.rows"

local M = {}

local SIZE = 16

local COLUMNS = { "account", "id", "key", "open", "state", "left_over", "source", "vendor", "type",
  "native", "invoice", "tenant", "live", "trust", "digest", "occurred_at", "received_at", "rules",
  "note" }

local LANES = { into = "lanes (lane, account, name, due)", width = 4, texts = {} }
local EVENTS = { into = "events (seq, lane, " .. table.concat(COLUMNS, ", ") .. ")",
  width = #COLUMNS + 2, texts = {} }
local BODIES = { into = "bodies (seq, body, under)", width = 3, texts = {} }

-- FAIL: the transaction is over with what is refused, so nothing of a statement has to be undone
-- by itself. Else SQLite would keep a copy of every page that one of several rows changes.
local function text_for(what, many)
  local text = what.texts[many]
  if text then return text end
  local list, n = {}, 0
  for i = 1, many do
    local row = {}
    for k = 1, what.width do
      n = n + 1
      row[k] = "$" .. n
    end
    list[i] = "(" .. table.concat(row, ", ") .. ")"
  end
  text = "INSERT OR FAIL INTO " .. what.into .. " VALUES " .. table.concat(list, ", ")
    .. " ON CONFLICT DO NOTHING"
  what.texts[many] = text
  return text
end

local unpack = table.unpack or rawget(_G, "unpack")

-- Inserts so many rows, whose values follow each other; gives how many were new.
local function insert(query, what, many, values)
  if many == 0 then return 0 end
  local _, made = query(text_for(what, many), unpack(values, 1, many * what.width))
  return made
end

local LANE = "SELECT lane, due, owner FROM lanes WHERE account = $1 AND name = $2"

-- A lane that is there. Where somebody holds it, its release looks for what has come.
local function find(query, one)
  local row = query(LANE, one.account, one.name)[1]
  if one.due and not row.owner and (not row.due or row.due > one.due) then
    query("UPDATE lanes SET due = $1 WHERE lane = $2", one.due, row.lane)
  end
  return row.lane
end

-- The lanes of a chunk, by name: each made under the number of its first event, or found.
local function lanes_of(query, chunk)
  local by_name, list = {}, {}
  for _, one in ipairs(chunk) do
    local lane = one.lane
    local name = lane and lane.account .. "\n" .. lane.name
    if name and not by_name[name] then
      by_name[name], lane.number = lane, one.seq
      list[#list + 1] = lane
    elseif name then
      by_name[name].due = by_name[name].due or lane.due
      one.lane = by_name[name]
    end
  end
  local values = {}
  for i, lane in ipairs(list) do
    local at = 4 * i
    values[at - 3], values[at - 2] = lane.number, lane.account
    values[at - 1], values[at] = lane.name, lane.due
  end
  if insert(query, LANES, #list, values) == #list then return end
  for _, lane in ipairs(list) do lane.number = find(query, lane) end
end

local function insert_events(query, chunk)
  local values, n = {}, 0
  for _, one in ipairs(chunk) do
    values[n + 1], values[n + 2] = one.seq, one.lane and one.lane.number
    for k = 1, #COLUMNS do values[n + 2 + k] = one.columns[k] end
    n = n + EVENTS.width
  end
  return insert(query, EVENTS, #chunk, values)
end

-- What of a chunk is new, where not all of it is. No lane stays for what is not.
local function only_new(query, chunk)
  local made, new = {}, {}
  for _, row in ipairs(query("SELECT seq FROM events WHERE seq >= $1", chunk[1].seq)) do
    made[row.seq] = true
  end
  for _, one in ipairs(chunk) do
    if made[one.seq] then
      new[#new + 1] = one
    elseif one.lane and one.lane.number == one.seq then
      query(rows.DROP_EMPTY, one.seq, one.seq)
    end
  end
  return new
end

local function admit(query, chunk, admitted)
  lanes_of(query, chunk)
  if insert_events(query, chunk) < #chunk then chunk = only_new(query, chunk) end
  local values = {}
  for i, one in ipairs(chunk) do
    values[3 * i - 2], values[3 * i - 1] = one.seq, one.event.body
    values[3 * i] = one.event.under and 1 or 0
    admitted[one.n] = true
  end
  insert(query, BODIES, #chunk, values)
end

---Admits what is new, as bulk.lua does; `number` gives the numbers of events.
---@param query fun(sql: string, ...): table
---@param events table[]
---@param now integer
---@param describe function
---@param number fun(): integer
---@return table<integer, boolean> admitted by index, table<integer, integer> numbers of all
function M.admit(query, events, now, describe, number)
  local admitted, numbers, chunk = {}, {}, {}
  for i, event in ipairs(events) do
    local columns, lane = describe(event, event, now)
    numbers[i] = number()
    chunk[#chunk + 1] = { n = i, seq = numbers[i], event = event, columns = columns, lane = lane }
    if #chunk == SIZE or i == #events then
      admit(query, chunk, admitted)
      chunk = {}
    end
  end
  return admitted, numbers
end

return M

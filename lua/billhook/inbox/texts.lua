-- inbox/texts.lua: texts by name, which only one process changes at a time: an account's state, a
-- cursor, a quota, a call that must not happen twice. After `till` a text is no longer needed.

local err = require "billhook.error"
local sql = require "billhook.inbox.sql"

local M = {}

local Store = sql.Store

local READ = "SELECT value, till FROM texts WHERE name = $1"

local ENTER = "INSERT INTO texts (name, value) VALUES ($1, '') ON CONFLICT (name) DO NOTHING"

local WRITE = "UPDATE texts SET value = $1, till = $2 WHERE name = $3"

-- What has had its time, a few at once; what another transaction is at is left to it.
local OLD = "SELECT name FROM texts WHERE till <= $1 ORDER BY till LIMIT 4"

local function text_of(row, now)
  return row and row.value ~= "" and not (row.till and row.till <= now) and row.value or false
end

function Store:peek(name)
  return self:read(function(query, now)
    return { text = text_of(query(READ, name)[1], now), now = now / 1000 }
  end)
end

function Store:texts(prefix)
  return self:read(function(query, now)
    local texts = {}
    -- "~" comes after whatever an account's name may begin with
    for _, row in ipairs(query("SELECT name, value, till FROM texts WHERE name >= $1 AND name < $2",
      prefix, prefix .. "~")) do
      texts[row.name:sub(#prefix + 1)] = text_of(row, now) or nil
    end
    return texts
  end)
end

function Store:swap(name, old, new, keep)
  return self:transaction(function(query, now)
    query(ENTER, name)
    local row = query(self.dialect.locking(READ), name)[1]
    if not row then sql.refuse("AGAIN", "others have removed the text meanwhile") end
    local text = text_of(row, now)
    if text ~= old then new = text end
    if not new then query("DELETE FROM texts WHERE name = $1", name) end
    if text ~= old then return { text = text, now = now / 1000 } end
    if new then query(WRITE, new, keep and now + math.ceil(keep * 1000), name) end
    if new and keep then
      query("DELETE FROM texts WHERE name IN (" .. self.dialect.locking(OLD, "skip") .. ")", now)
    end
    return { swapped = true }
  end)
end

-- Times that a text may be changed by others while it is changed here. Each is a success of theirs,
-- so this ends where they never rest; a process that is short of a processor loses many in a row.
local SWAPS = 1000

---Changes a text: see shared/init.lua. It is computed without a lock, and written where nobody has
---changed it meanwhile: a function does not cross to another thread, a text does.
---@param store table with peek and swap
function M.update(store, name, fn, keep)
  local seen, why = store:peek(name)
  for _ = 1, SWAPS do
    if not seen then return nil, why end
    local new, value = fn(seen.text or nil, seen.now)
    if value == nil then value = true end
    if new == nil or new == seen.text then return value end
    local text = seen.text
    seen, why = store:swap(name, text, new, keep)
    if seen and seen.swapped then return value end
  end
  return nil, err.new { kind = "store", code = "busy", retryable = true,
    message = ("'%s' was changed by others %d times meanwhile"):format(name, SWAPS) }
end

Store.update = M.update

function Store:set(name, text)
  return self:update(name, function() return text end)
end

return M

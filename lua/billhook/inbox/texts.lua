-- inbox/texts.lua: texts by name, each changed by one at a time: what is remembered of an account,
-- a cursor, a quota, a call that must not happen twice. One with `till` is nobody's after that.

local refusal = require "billhook.inbox.refusal"

local M = {}

local Texts = {}
M.methods = Texts -- of a store

local READ = "SELECT value, till FROM texts WHERE name = $1"

local ENTER = "INSERT INTO texts (name, value) VALUES ($1, '') ON CONFLICT (name) DO NOTHING"

local WRITE = "UPDATE texts SET value = $1, till = $2 WHERE name = $3"

local SET = "INSERT INTO texts (name, value) VALUES ($1, $2) "
  .. "ON CONFLICT (name) DO UPDATE SET value = excluded.value, till = NULL"

-- What has had its time, a few at once; what another transaction is at is left to it.
local OLD = "SELECT name FROM texts WHERE till <= $1 ORDER BY till LIMIT 4"

local TRIES = 10 -- where others remove a text that is to be changed

local function text_of(row, now)
  return row and row.value ~= "" and not (row.till and row.till <= now) and row.value or nil
end

-- The text, which nobody else changes until this transaction ends.
local function locked(self, query, name, now)
  for _ = 1, TRIES do
    query(ENTER, name)
    local row = query(self.dialect.locking(READ), name)[1]
    if row then return text_of(row, now) end
  end
  return refusal.crossed()
end

local function write(self, query, name, now, new, keep)
  if not new then
    query("DELETE FROM texts WHERE name = $1", name)
    return
  end
  query(WRITE, new, keep and now + math.ceil(keep * 1000), name)
  if keep then
    query("DELETE FROM texts WHERE name IN (" .. self.dialect.locking(OLD, "skip") .. ")", now)
  end
end

function Texts:get(name)
  return self:read(function(query, now) return text_of(query(READ, name)[1], now) or false end)
end

function Texts:set(name, text)
  return self:transaction(function(query)
    query(SET, name, text)
    return true
  end)
end

---All texts whose names begin so, by the rest of the name.
function Texts:texts(prefix)
  return self:read(function(query, now)
    local texts = {}
    -- "~" comes after whatever an account's name may begin with
    for _, row in ipairs(query("SELECT name, value, till FROM texts WHERE name >= $1 AND name < $2",
      prefix, prefix .. "~")) do
      texts[row.name:sub(#prefix + 1)] = text_of(row, now)
    end
    return texts
  end)
end

---The text, and the time.
function Texts:peek(name)
  return self:read(function(query, now)
    return { text = text_of(query(READ, name)[1], now) or false, now = now / 1000 }
  end)
end

---Writes `new` (false: removes it) where the text is `old` (false: there is none), or gives the one
---that is there. For those who cannot pass a function (another thread): see shared/inbox.lua.
function Texts:swap(name, old, new, keep)
  return self:transaction(function(query, now)
    local text = locked(self, query, name, now) or false
    if text ~= old then
      if not text then write(self, query, name) end
      return { text = text, now = now / 1000 }
    end
    write(self, query, name, now, new, keep)
    return { swapped = true }
  end)
end

---Changes a text: see shared/init.lua. It is looked at without a lock first: many may be waiting
---for something to change.
function Texts:update(name, fn, keep)
  local value
  local function changed(text, now)
    local new
    new, value = fn(text, now / 1000)
    if new ~= text and (new or text) then return new end
  end
  local unchanged, why = self:read(function(query, now)
    return changed(text_of(query(READ, name)[1], now), now) == nil
  end)
  if unchanged == false then
    unchanged, why = self:transaction(function(query, now)
      local text = locked(self, query, name, now)
      local new = changed(text, now)
      if new ~= nil or text == nil then write(self, query, name, now, new, keep) end
      return true
    end)
  end
  if unchanged == nil then return nil, why end
  if value == nil then return true end
  return value
end

return M

-- claims.lua - what is known about calls that must not happen twice (outcome/claims.lua), where the
-- workers of one nginx share it: in lua_shared_dict billhook, for clients of no app. An app's are
-- in its inbox.
--
-- A line a place: { busy = token, till, most, began, intents, told = { intent's id = true },
-- owned = { id = intent's id } }. It is kept for a day where an outcome is open, else as long as a
-- list may lag behind. Whoever is in a place renews its short lease all the time (host/pulse.lua),
-- for a handler that nginx kills, its client gone, tells nobody; nor does a worker that is killed.

local claims = require "billhook.outcome.claims"
local core = require "billhook.core"
local json = require "billhook.json"
local pulse = require "billhook.host.pulse"
local quota = require "billhook.host.quota"

local M = {}

local KEEP, KEEP_OPEN = 120, 86400

local Shared = { signs = pulse.memory }
Shared.__index = Shared

local function name_of(self, place) return "calls " .. self.account .. " " .. place end

local function read(text)
  local line = text and core.json.decode(text)
  if type(line) ~= "table" then return { intents = {}, owned = {}, told = {} } end
  line.told = line.told or {}
  return line
end

-- Changes a place's line: what fn(line) gives, or nil and an error.
local function change(self, place, fn)
  local name = name_of(self, place)
  return quota.locked(self.dict, name, function()
    local before = self.dict:get(name)
    local line = read(before)
    local value = fn(line)
    local text = json.encode { busy = line.busy, till = line.till, most = line.most,
      began = line.began, owned = line.owned, told = line.told, intents = json.array(line.intents) }
    local held = line.busy and line.till - core.text.monotonic() or 0
    local seconds = #line.intents > 0 and KEEP_OPEN or math.max(KEEP, held)
    local kept, err = quota.keep(self.dict, name, text, seconds)
    if kept then return value end
    -- A larger text takes the place of what was there before it is known whether it fits.
    if before and not self.dict:get(name) then self.dict:safe_set(name, before, KEEP_OPEN) end
    return nil, err
  end)
end

-- What was open for so long is not looked at any more either.
local function forget(line, id)
  local since = core.text.now() - KEEP_OPEN
  for i = #line.intents, 1, -1 do
    local intent = line.intents[i]
    local sent_at = tonumber(intent.sent_at) or since
    if intent.id == id or sent_at < since then
      table.remove(line.intents, i)
      line.told[intent.id] = nil
    end
  end
end

-- numbers as JSON has them too
local function millis(seconds) return math.ceil(seconds * 1000) / 1000 end

function Shared:enter(place, lease, _, longest)
  local now, token = core.text.monotonic(), core.text.hex(core.text.random(8))
  return change(self, place, function(line)
    if line.busy and line.till > now then return false end
    line.busy, line.began = token, millis(now)
    line.till, line.most = millis(now + lease), millis(now + (longest or lease))
    return token
  end)
end

function Shared:renew(place, token, lease)
  return change(self, place, function(line)
    if line.busy ~= token then return false end
    line.till = millis(core.text.monotonic() + lease)
    return true
  end)
end

function Shared:holder(place)
  local line = read(self.dict:get(name_of(self, place)))
  local now = core.text.monotonic()
  return line.busy and line.till > now
    and { left = line.till - now, longest = line.most - now, age = now - line.began } or nil
end

function Shared:leave(place, token)
  return change(self, place, function(line)
    if line.busy == token then line.busy, line.till, line.most, line.began = nil, nil, nil, nil end
    return true
  end)
end

function Shared:begin(intent, token)
  return change(self, intent.place, function(line)
    if token and line.busy ~= token then return false end
    forget(line, intent.id)
    line.intents[#line.intents + 1] = intent
    return true
  end)
end

function Shared:close(intent, id)
  return change(self, intent.place, function(line)
    local key = id ~= nil and tostring(id)
    if key and line.owned[key] and line.owned[key] ~= intent.id then return false end
    if not intent.vague then forget(line, intent.id) end
    if key then line.owned[key] = intent.id end
    return true
  end)
end

function Shared:open(intent)
  return change(self, intent.place, function(line)
    line.told[intent.id] = true
    return true
  end)
end

function Shared:abandon() return true end -- luacheck: ignore 212/self

function Shared:known(place, ids, now, asking, all)
  local line, owned, open = read(self.dict:get(name_of(self, place))), {}, {}
  for _, id in ipairs(ids) do
    local owner = line.owned[id]
    owned[id] = owner ~= nil and owner ~= asking or nil
  end
  for _, intent in ipairs(line.intents) do
    local age = now - (intent.sent_at or now)
    if age <= (all and claims.BLIND_FOR or claims.OPEN_FOR) then
      open[#open + 1] = { intent = intent, age = age, live = false, told = line.told[intent.id] }
    end
  end
  return { owned = owned, open = open }
end

--- Those of an account; nil where there is no nginx, or no such dictionary.
---@param account string its digest
---@return table|nil
function M.of(account)
  local dict = quota.dict()
  return dict and setmetatable({ dict = dict, account = account }, Shared)
end

return M

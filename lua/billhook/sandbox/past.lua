-- past.lua - things by their ids, with what they were before: so the sandbox's APIs can lag behind
-- what has happened, as a vendor's read copies do behind its webhooks.
--
-- A state, once written, is not changed any more: whoever changes a thing writes a copy.

local M = {}

M.longest = 3600 -- seconds that the past is kept for

function M.new() return { states = {}, ids = {} } end

--- Writes what a thing is from a time on; nil: it is no more.
---@param self table
---@param id any
---@param value table|nil
---@param time number epoch seconds; one before the last write's is the last write's
function M.put(self, id, value, time)
  local states = self.states[id]
  if not states then
    states = {}
    self.states[id], self.ids[#self.ids + 1] = states, id
  end
  local last = states[#states]
  states[#states + 1] = { at = math.max(time, last and last.at or time), value = value or false }
  while states[2] and states[2].at < time - M.longest do table.remove(states, 1) end
end

--- What a thing was at a time, or is in the end; nil: there is none.
function M.get(self, id, time)
  local states = self.states[id] or {}
  for i = #states, 1, -1 do
    if not time or states[i].at <= time then return states[i].value or nil end
  end
end

--- From when on a thing is what it is in the end: that may be to come.
function M.since(self, id)
  local states = self.states[id]
  return states[#states].at
end

--- What a thing was before it was deleted; nil where it is not deleted.
function M.deleted(self, id)
  local states = self.states[id] or {}
  local last = states[#states]
  return last and not last.value and states[#states - 1] and states[#states - 1].value or nil
end

--- A list of { id, value } in the order of their first writing.
function M.all(self, time)
  local list = {}
  for _, id in ipairs(self.ids) do
    local value = M.get(self, id, time)
    if value then list[#list + 1] = { id = id, value = value } end
  end
  return list
end

return M

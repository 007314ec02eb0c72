-- cli/ids.lua: events and deliveries by the beginning of their ids, where it is that of one alone.

local M = {}

local SEARCHED = 1000 -- the newest of an account, or of an invoice where the text names one

---The one row whose id begins so; false where there is none.
---@param store table
---@param of "events"|"deliveries"
---@param text string
---@return table|false|nil row, table|string|nil err
function M.find(store, of, text)
  text = text:gsub("~$", "") -- as a narrow terminal shows what it has cut
  local exact, why = store[of](store, { id = text, limit = 1 })
  if not exact then return nil, why end
  if exact[1] then return exact[1] end
  local account, rest = text:match "^([^:]+):(.+)$"
  if not account then return false end
  local invoice = of == "events" and rest:match "^([^@]+)@" or nil
  local list, err = store[of](store, { account = account, invoice = invoice, limit = SEARCHED })
  if not list then return nil, err end
  local found, other
  for _, one in ipairs(list) do
    if one.id:sub(1, #text) == text then found, other = one, found end
  end
  if other then return nil, ("%s is the beginning of several ids (%s, %s): give more of it"):format(
    text, found.id, other.id) end
  return found or false
end

---The ids of events, each named by itself or by its beginning; nil and what is wrong with one.
---What none begins with stays as it is: whoever looks for it says that there is none.
---@param store table
---@param texts string[]
---@return string[]|nil ids, table|string|nil err
function M.events(store, texts)
  local ids = {}
  for i, text in ipairs(texts) do
    local event, err = M.find(store, "events", text)
    if event == nil then return nil, err end
    ids[i] = event and event.id or text
  end
  return ids
end

return M

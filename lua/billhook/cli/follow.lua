-- cli/follow.lua: `billhook inbox ... --follow`: what is new, as it comes, until Ctrl-C.

local process = require "billhook.process"
local term = require "billhook.cli.term"

local M = {}

local EVERY = 1 -- seconds
local MOST = 1000 -- rows at a look; what is left comes at the next one
local RECENT = 60 -- seconds for which a change of an invoice is looked for

-- What has come since the last look, oldest first.
local function newer(store, of, filter, last)
  filter.limit, filter.after = MOST, last.seq
  local found, err = store[of](store, filter)
  if found and found[1] then last.seq = found[#found].seq end
  return found, err
end

-- An invoice that changes keeps its number: so its version is remembered.
local function changed(store, filter, last)
  filter.limit, filter.newer_than = MOST, RECENT
  local found, err = store:invoices(filter)
  if not found then return nil, err end
  local list, seen = {}, {}
  for i = #found, 1, -1 do
    local one = found[i]
    local name = one.account .. ":" .. one.invoice
    seen[name] = one.version
    if last.seen and last.seen[name] ~= one.version then list[#list + 1] = one end
  end
  last.seen = seen
  return list
end

---Prints what is there, the oldest first, and then what comes.
---@param store table
---@param of "deliveries"|"events"|"invoices"
---@param filter fun(): table what rows are meant
---@param there table[] newest first: what is there
---@param show fun(rows: table[], first: boolean) prints some
---@return nil, table err where the inbox fails; else Ctrl-C ends the process
function M.run(store, of, filter, there, show)
  local last, first = { seq = 0 }, {}
  for i = #there, 1, -1 do first[#first + 1] = there[i] end
  if first[1] then last.seq = first[#first].seq or 0 end
  if of == "invoices" then changed(store, filter(), last) end
  show(first, true)
  term.flush()
  while true do
    process.sleep(EVERY)
    local found, err
    if of == "invoices" then
      found, err = changed(store, filter(), last)
    else
      found, err = newer(store, of, filter(), last)
    end
    if not found then return nil, err end
    if #found > 0 then show(found, false) end
    term.flush()
  end
end

return M

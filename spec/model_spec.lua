-- The delivery model, tried in worlds of faults (spec/support/world.lua). WORLDS=n runs so many.
local check = require "billhook.app.check"
local inbox = require "billhook.inbox.invoices"
local world = require "spec.support.world"

-- a store of plain tables, with the optimistic lock of a real one
local function tables()
  local rows, list, tickets = {}, {}, 0
  local store = {}

  function store.look(id)
    return rows[tostring(id)]
  end

  function store.write(change)
    local row = rows[change.invoice]
    if change.nothing then return true end
    if (row and row.stamp or 0) ~= change.expect then return false end
    if not row then
      row = inbox.empty(change.account, change.invoice)
      rows[change.invoice] = row
      list[#list + 1] = row
    end
    for name, value in pairs(change.set) do
      if value == check.NULL then value = nil end
      row[name] = value
    end
    row.stamp = row.stamp + 1
    return true
  end

  function store.ticket()
    tickets = tickets + 1
    return tickets
  end

  function store.rows()
    return list
  end
  return store
end

describe("the delivery model", function()
  it("shows rules what is true, each change once, whatever is lost, doubled or forged", function()
    local worlds, requests, changes, events = tonumber(os.getenv "WORLDS") or 5, 0, 0, 0
    for seed = 1, worlds do
      local result = world.run(seed, tables())
      assert.same({}, result.wrong, "world " .. seed)
      requests, changes = requests + result.requests, changes + result.changes
      events = events + result.events
    end
    assert.is_true(changes > 200 * worlds and events > changes * 0.8)
    if os.getenv "WORLDS" then
      print(("%d worlds: %d changes, %d events, %d requests"):format(worlds, changes, events,
        requests))
    end
  end)
end)

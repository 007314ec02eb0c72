-- budget.lua: what bursts of news do to an account that may send 180 requests a minute: the
-- product itself, with a DreamApply API that is imitated and a clock that is moved by hand, so that
-- hours take seconds. Told are the requests, the most of them in any 60 s, and when the rules have
-- run for the first half of the changes and for the last.
--
--   make && bench/run budget
--
-- spec/budget_spec.lua runs it in a short form; docs/scaling.md quotes it.

local M = {}

-- Seconds after which half of the times in a list, and all, have come.
local function passed(times)
  table.sort(times)
  return times[math.ceil(#times / 2)] or 0, times[#times] or 0
end

-- The most of these times, in order, within 60 s.
local function most_a_minute(times)
  local most, first = 0, 1
  for last, time in ipairs(times) do
    while times[first] <= time - 60 do first = first + 1 end
    most = math.max(most, last - first + 1)
  end
  return most
end

---One burst. `known` invoices are there; `changed` of them change at once, or `every` so many
---seconds one, and each change is told; the API shows it `lag` seconds later. `forged` deliveries
---name ids that there are not.
---@param world { known: integer, changed?: integer, every?: number, lag?: number, forged?: integer,
---  seconds?: number }
---@return table result requests, most (in any 60 s), half, last (seconds), told (changes)
function M.burst(world)
  local d = require("spec.support.inbox").new { poll_every = false,
    clients = { apply = { quota = 180 } } }
  local asked, told, shown = {}, {}, {}
  d.app:on("invoice.updated", function(event)
    told[#told + 1] = d.now - shown[event.invoice_id]
  end)
  for id = 1, world.known do d:put(id) end
  d:settled()
  d:pass(120, 10) -- what that took of the quota is free again
  local began = d.now
  local changed, lag, price = world.changed or 0, world.lag or 0, { "30.00" }
  local late = {}
  d.answer = function(_, account)
    if account == "apply" then asked[#asked + 1] = d.now - began end
    while late[1] and late[1].at <= d.now do
      d.api.apply[late[1].id].items[1].price = price[1]
      table.remove(late, 1)
    end
  end
  local function change(id)
    shown[tostring(id)] = d.now
    late[#late + 1] = { at = d.now + lag, id = tostring(id) }
    d:news(id)
  end
  for n = 1, world.forged or 0 do d:news(10 ^ 6 + n) end
  for id = 1, world.every and 0 or changed do change(id) end
  d:work()
  local next_one, till = 1, began + (world.seconds or 3600)
  while d.now < till do
    d.now = d.now + 1
    while world.every and next_one <= changed and began + next_one * world.every <= d.now do
      change(next_one)
      next_one = next_one + 1
    end
    d:work()
  end
  local half, last = passed(told)
  return { requests = #asked, most = most_a_minute(asked), half = half, last = last, told = #told }
end

---What is told in docs/scaling.md.
M.worlds = {
  { "100 invoices change at once", { known = 1000, changed = 100 } },
  { "1,000 invoices change at once", { known = 1000, changed = 1000 } },
  { "the same, seen by the API 20 s later", { known = 1000, changed = 1000, lag = 20 } },
  { "600 invoices, one a second", { known = 1000, changed = 600, every = 1 } },
  { "50 invoices, among 2,000 forged ids", { known = 1000, changed = 50, forged = 2000 } },
}

local function main()
  package.path = "lua/?.lua;lua/?/init.lua;./?.lua;" .. package.path
  package.cpath = "build/lua5.4/?.so;" .. package.cpath
  local out = require("bench.report").new "budget"
  for _, one in ipairs(M.worlds) do
    local r = M.burst(one[2])
    r.text = ("%d changes told, half within %d s, all within %d s; %d requests in an hour, at most "
      .. "%d in a minute"):format(r.told, r.half, r.last, r.requests, r.most)
    out:add(one[1], r)
  end
  out:finish()
end

if arg and arg[0] and arg[0]:find "budget%.lua$" then main() end

return M

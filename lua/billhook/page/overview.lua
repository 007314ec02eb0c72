-- page/overview.lua: is all well? The accounts, what waits, the last day, what gave up.

local accounts = require "billhook.app.account"
local chart = require "billhook.page.chart"
local html = require "billhook.page.html"
local lists = require "billhook.page.lists"
local parts = require "billhook.page.parts"
local strict = require "billhook.app.strict"

local e = html.elements

local M = {}

local LATELY = 10 -- dead events that are shown

local function word(class, ...) return e.span { class = "state " .. class, ... } end

local function api_of(mine)
  if not mine.reads then return word("soft", "never asked") end
  if mine:moved() then
    return word("bad", "stopped: see `billhook inbox rebase ", mine.name, "`")
  end
  local memory = mine.memory
  if memory.fault then return { word("bad", "paused"), " ", memory.fault } end
  if (memory.failures or 0) > 0 then return word("warn", "fails") end
  return memory.worked and word("good", "answers") or word("soft", "not asked yet")
end

local function quota_of(mine)
  local ok, quota = pcall(function() return mine.client:quota() end)
  if not ok or not quota or not quota.limit then return false end
  return ("%d of %d"):format(quota.left, quota.limit)
end

local function account_table(all, day)
  local names, rows = {}, {}
  for name in pairs(all) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do
    local mine = all[name]
    rows[i] = { e.a { href = html.address("/deliveries", { account = name }), name },
      mine.client.vendor, api_of(mine), quota_of(mine),
      day.last[name] and parts.time(day.last[name]) or "none in 24 hours",
      parts.time(mine.memory.polled_at and mine.memory.polled_at / 1000) }
  end
  return parts.table("Each account of the rules file", { { "Account" }, { "Vendor" }, { "API" },
    { "Calls left", "whole" }, { "Last delivery", "whole" }, { "Last poll", "whole" } }, rows)
end

local function tile(n, text, address)
  return e.li { e.b { n }, address and e.a { href = address, text } or e.span { text } }
end

local function tiles(stats)
  return e.ul { class = "tiles",
    tile(stats.incoming, "deliveries not processed yet"),
    tile(stats.checking, "deliveries waiting for the API"),
    tile(stats.pending, "events with rules to run", "/events?state=pending"),
    tile(stats.oldest and parts.span(stats.oldest) or "-", "age of the oldest"),
    tile(stats.unhandled, "events that no rule matches", "/events?state=unhandled"),
    tile(stats.dead, "dead events", "/events?state=dead") }
end

local function by_hour(day)
  local rows = {}
  for i = #day.hours, 1, -1 do
    local one = day.hours[i]
    rows[#rows + 1] = { parts.time(one.at), one.deliveries, one.failures }
  end
  return parts.table("By the hour, newest first", { { "Hour from", "whole" },
    { "Deliveries", "number" }, { "Failures", "number" } }, rows)
end

---@return string|nil page
---@return table|nil err
function M.overview(context)
  return strict.run(context.app, function(store)
    local all, stats, day = accounts.load(context.app, store), store:stats(), store:day()
    local dead = store:events { state = "dead", brief = true, limit = LATELY }
    return parts.page("Overview", "/", context.token,
      e.h2 { "Accounts" }, account_table(all, day),
      e.h2 { "Now" }, tiles(stats),
      e.h2 { "The last 24 hours" }, e.div { class = "frame", chart.day(day.hours) },
      e.p { class = "soft", e.span { class = "key" }, "deliveries", e.span { class = "key fail" },
        "failures: dead events and deliveries" },
      e.details { e.summary { "As a table" }, by_hour(day) },
      e.h2 { "Newest dead letters" },
      #dead > 0 and lists.table(context, "events", dead, "Newest first") or e.p { "None." })
  end)
end

return M

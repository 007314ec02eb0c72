-- cli/members.lua: what `--json` prints of a delivery, an event and an invoice: the members that
-- docs/commands.md names. The store's rows have more, under names of its own.

local json = require "billhook.json"

local M = {}

local function set(names)
  local found = {}
  for name in names:gmatch "%S+" do found[name] = true end
  return found
end

local DELIVERY = set [[id account vendor type native invoice tenant trust secret live state reason
  seen occurred_at received_at last_at body]]
local EVENT = set [[id account vendor tenant type native invoice version trust live data previous
  claims state note rules deliveries occurred_at received_at created_at finished_at]]
local INVOICE = set [[account invoice version number reference currency total paid balance due_date
  status data digest issued_at changed_at read_at closed_at deleted_at check_due run_due]]

local function picked(row, names)
  local members = {}
  for name in pairs(names) do members[name] = row[name] end
  return members
end

---@param row table
---@return table
function M.deliveries(row)
  local members = picked(row, DELIVERY)
  members.number = row.seq -- by which an event names it
  return members
end

---@param row table
---@return table
function M.events(row)
  local members = picked(row, EVENT)
  json.array(members.rules)
  json.array(members.deliveries)
  if not row.marks then return members end
  members.runs = {}
  for rule, mark in pairs(row.marks) do
    members.runs[rule] = { state = mark.state, attempts = mark.attempts, message = mark.message,
      wait = mark.wait and mark.wait / 1000 }
  end
  return members
end

---@param row table
---@return table
function M.invoices(row) return picked(row, INVOICE) end

---@param list table[]
---@param of "deliveries"|"events"|"invoices"
---@return table[]
function M.all(list, of)
  local shown = json.array {}
  for i, row in ipairs(list) do shown[i] = M[of](row) end
  return shown
end

return M

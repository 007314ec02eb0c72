-- commit.lua - group commit: many requests share one transaction of the inbox.
--
-- Each nginx worker runs at most one commit at a time. Deliveries that arrive meanwhile share
-- the next commit, so there are exactly as many commits as the disk can take. A delivery is
-- answered only after its transaction is committed.
--
-- A batch that fails is halved, and both halves are tried. If only one half fails, it contains a
-- delivery that the inbox cannot store, and it is halved again, so that the others are stored.
-- If both halves fail, the inbox is at fault (disk full, locked), and no more is tried. So a
-- broken disk gets 3 attempts per batch, and a batch of 256 with one bad delivery about 16.

local errors = require "billhook.error"

local Group = {}
Group.__index = Group

local limits = {
  batch_events = 256,
  batch_bytes = 8 * 1024 * 1024,
  waiting_events = 20000,
  waiting_bytes = 64 * 1024 * 1024,
  patience = 8, -- seconds: DreamClass wants its answer within 10
  rounds = 1000, -- batches a timer: its memory is freed only at its end
}

local function failure(code, message)
  return errors.new { kind = "store", code = code, message = message, retryable = true }
end

--- A group commit in front of `write`.
---@param write fun(rows: table): table|nil, table|nil stores rows in one transaction, durable when
---  it returns; called in a coroutine that nobody can kill
---@param options table|nil any of the limits above
function Group.new(write, options)
  local self = { write = write, batches = {}, first = 1, last = 0, events = 0, bytes = 0 }
  for name, value in pairs(limits) do self[name] = options and options[name] or value end
  return setmetatable(self, Group)
end

-- Stores what tickets[from..to] are for, and gives each its part of the results.
local function store(self, tickets, from, to)
  local rows = tickets[from].rows
  if from < to then
    rows = {}
    for i = from, to do
      for _, row in ipairs(tickets[i].rows) do rows[#rows + 1] = row end
    end
  end
  local done, results, err = pcall(self.write, rows)
  if not done then results, err = nil, failure("crash", tostring(results)) end
  local at = 0
  for i = from, to do
    local ticket = tickets[i]
    if results then
      local part = {}
      for k = 1, #ticket.rows do part[k] = results[at + k] end
      ticket.results, at = part, at + #ticket.rows
    else
      ticket.err = err or failure("unknown", "the inbox gave no reason")
    end
  end
  return results ~= nil
end

-- After a failure of tickets[from..to].
local function halve(self, tickets, from, to)
  if from == to then return end
  local middle = math.floor((from + to) / 2)
  local first, second = store(self, tickets, from, middle), store(self, tickets, middle + 1, to)
  if first and not second then halve(self, tickets, middle + 1, to) end
  if second and not first then halve(self, tickets, from, middle) end
end

-- Commits what waits, also when the timer is premature (nginx quits): requests wait for it.
local function commit(_, self)
  for round = 1, math.huge do
    local batch = self.batches[self.first]
    if not batch then break end
    if round > self.rounds and ngx.timer.at(0, commit, self) then return end
    self.batches[self.first], self.first = nil, self.first + 1
    self.events, self.bytes = self.events - batch.events, self.bytes - batch.bytes
    local tickets = {}
    for _, ticket in ipairs(batch) do
      if not ticket.gone then tickets[#tickets + 1] = ticket end
    end
    if #tickets > 0 and not store(self, tickets, 1, #tickets) then
      halve(self, tickets, 1, #tickets)
    end
    batch.done:post(#batch)
  end
  self.running = false
end

-- The batch that is still open for these, or a new one.
local function batch_for(self, count, bytes)
  local batch = self.batches[self.last]
  if not batch or batch.events + count > self.batch_events
    or batch.bytes + bytes > self.batch_bytes then
    batch = { events = 0, bytes = 0, done = assert(require("ngx.semaphore").new(0)) }
    self.last = self.last + 1
    self.batches[self.last] = batch
  end
  return batch
end

--- Stores rows, in one transaction with others'. Durable when it returns.
---@param rows table[]
---@return table|nil results one a row, see inbox/init.lua
---@return table|nil err
function Group:admit(rows)
  local count, bytes = #rows, 0
  if count == 0 then return {} end
  for _, row in ipairs(rows) do bytes = bytes + #(row.body or "") end
  if self.events > 0 and (self.events + count > self.waiting_events
    or self.bytes + bytes > self.waiting_bytes) then
    return nil, failure("busy", "too many deliveries wait for the inbox")
  end
  local batch, ticket = batch_for(self, count, bytes), { rows = rows }
  batch[#batch + 1] = ticket
  batch.events, batch.bytes = batch.events + count, batch.bytes + bytes
  self.events, self.bytes = self.events + count, self.bytes + bytes
  if not self.running then
    local ok, err = ngx.timer.at(0, commit, self)
    self.running = ok and true or false
    if not ok then
      ticket.gone = true
      return nil, failure("timer", "no timer: " .. tostring(err))
    end
  end
  batch.done:wait(self.patience)
  if ticket.results or ticket.err then return ticket.results, ticket.err end
  ticket.gone = true -- not begun: nobody would hear of it
  return nil, failure("timeout", ("the inbox did not answer in %g s"):format(self.patience))
end

return Group

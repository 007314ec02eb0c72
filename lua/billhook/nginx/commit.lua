-- commit.lua - group commit: many requests share one transaction of the inbox.
--
-- In each nginx worker at most one commit is under way. Deliveries that arrive meanwhile are
-- put together and share the next one, so the disk is asked as often as it can answer and no
-- more. Nobody is told "stored" before the transaction that holds it is.
--
-- A batch that fails is halved and both halves are tried: where only one of them fails, the
-- fault is in it (one delivery that the inbox cannot take) and it is halved again, so that the
-- others are stored after all. Where both fail, the fault is the inbox's (disk full, locked)
-- and nothing more is tried: a broken disk sees 3 attempts a batch, a poisoned batch of 256
-- some 16.

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

local function semaphore() return assert(require("ngx.semaphore").new(0)) end

local function failure(code, message)
  return errors.new { kind = "store", code = code, message = message, retryable = true }
end

--- A group commit in front of `admit`.
---@param admit fun(events: table): table|nil, table|nil stores events in one transaction;
---  called in a coroutine that nobody can kill
---@param options table|nil any of the limits above
function Group.new(admit, options)
  local self = { write = admit, batches = {}, first = 1, last = 0, events = 0, bytes = 0 }
  for name, value in pairs(limits) do self[name] = options and options[name] or value end
  return setmetatable(self, Group)
end

local function size_of(events)
  local bytes = 0
  for _, event in ipairs(events) do bytes = bytes + #(event.body or "") end
  return bytes
end

-- the batch that is still open for these, or a new one
function Group:batch_for(count, bytes)
  local batch = self.batches[self.last]
  if self.last < self.first or batch.events + count > self.batch_events
    or batch.bytes + bytes > self.batch_bytes then
    batch = { tickets = {}, events = 0, bytes = 0, done = semaphore() }
    self.last = self.last + 1
    self.batches[self.last] = batch
  end
  return batch
end

function Group:join(events)
  local bytes = size_of(events)
  local batch = self:batch_for(#events, bytes)
  local ticket = { events = events, batch = batch }
  batch.tickets[#batch.tickets + 1] = ticket
  batch.events, batch.bytes = batch.events + #events, batch.bytes + bytes
  self.events, self.bytes = self.events + #events, self.bytes + bytes
  return ticket
end

function Group:take()
  local batch = self.batches[self.first]
  self.batches[self.first] = nil
  self.first = self.first + 1
  self.events, self.bytes = self.events - batch.events, self.bytes - batch.bytes
  return batch
end

local function events_of(tickets, from, to)
  if from == to then return tickets[from].events end
  local all, n = {}, 0
  for i = from, to do
    for _, event in ipairs(tickets[i].events) do
      n = n + 1
      all[n] = event
    end
  end
  return all
end

-- gives each ticket its part of the results
local function share(tickets, from, to, results)
  local at = 0
  for i = from, to do
    local ticket = tickets[i]
    local part = {}
    for k = 1, #ticket.events do part[k] = results[at + k] end
    at = at + #ticket.events
    ticket.results = part
  end
end

function Group:try(tickets, from, to)
  local done, results, err = pcall(self.write, events_of(tickets, from, to))
  if not done then results, err = nil, failure("crash", tostring(results)) end
  if results then
    share(tickets, from, to, results)
    return true
  end
  for i = from, to do tickets[i].err = err or failure("unknown", "the inbox gave no reason") end
  return false
end

-- after a failure of tickets[from..to]
function Group:halve(tickets, from, to)
  if from == to then return end
  local middle = math.floor((from + to) / 2)
  local first = self:try(tickets, from, middle)
  local second = self:try(tickets, middle + 1, to)
  if first and not second then self:halve(tickets, middle + 1, to) end
  if second and not first then self:halve(tickets, from, middle) end
end

local function still_waited_for(tickets)
  local kept = {}
  for _, ticket in ipairs(tickets) do
    if not ticket.gone then kept[#kept + 1] = ticket end
  end
  return kept
end

function Group:settle(batch)
  local tickets = still_waited_for(batch.tickets)
  if #tickets > 0 and not self:try(tickets, 1, #tickets) then self:halve(tickets, 1, #tickets) end
  batch.done:post(#batch.tickets)
end

local commit_loop

function Group:start()
  local ok, err = ngx.timer.at(0, commit_loop, self)
  self.running = ok and true or false
  return ok, err
end

-- Runs also when the timer is premature (nginx quits): requests wait for it.
function commit_loop(_, self)
  local rounds = 0
  while self.first <= self.last do
    if rounds >= self.rounds and self:start() then return end
    rounds = rounds + 1
    self:settle(self:take())
  end
  self.running = false
end

--- Stores events, in one transaction with others'. Durable when it returns.
---@param events table list of events, at least one
---@return table|nil results one an event, see inbox/init.lua
---@return table|nil err
function Group:admit(events)
  local bytes = size_of(events)
  if self.events > 0 and (self.events + #events > self.waiting_events
    or self.bytes + bytes > self.waiting_bytes) then
    return nil, failure("busy", "too many deliveries wait for the inbox")
  end
  local ticket = self:join(events)
  if not self.running then
    local ok, err = self:start()
    if not ok then
      ticket.gone = true
      return nil, failure("timer", "no timer: " .. tostring(err))
    end
  end
  ticket.batch.done:wait(self.patience)
  if ticket.results or ticket.err then return ticket.results, ticket.err end
  ticket.gone = true -- not begun: nobody would hear of it
  return nil, failure("timeout", ("the inbox did not answer in %g s"):format(self.patience))
end

return Group

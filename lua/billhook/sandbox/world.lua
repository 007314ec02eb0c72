-- world.lua - the three vendors as they are in one sandbox: what they have, their clock, what is to
-- be sent. It knows no nginx: whoever has one gives it a clock and ways to send and to wait.
--
--   local world = require("billhook.sandbox").new { webhooks = { dreamapply = "http://x/hook" },
--     clock = function() return now end,
--     post = function(url, headers, body, timeout) return 200 end }
--   local status, body, headers, cut = world:answer { method = "GET", target = "/api/v9/invoices",
--     headers = { authorization = 'DREAM apikey="sandbox-key"' }, body = "" }
--   local delivery = world:order("trigger", { vendor = "dreamapply" })
--   world:run()      -- sends what is due

local control = require "billhook.sandbox.control"
local core = require "billhook.core"
local faults = require "billhook.sandbox.faults"
local json = require "billhook.json"
local values = require "billhook.sandbox.values"
local vendors = require "billhook.sandbox.vendors"

local M = {}

local World = {}
World.__index = World

local kept_requests = 1000

--- A world in which nothing has happened yet.
---@param options table checked options; and clock, post, sleep, wake
---@return table
function M.new(options)
  local world = setmetatable({
    options = options, deliveries = {}, requests = {}, faults = {}, queue = {}, turn = 0, ahead = 0,
    clock = options.clock or core.text.now, post = options.post, sleep = options.sleep,
    wake = options.wake,
  }, World)
  for _, vendor in ipairs(vendors.names) do
    world[vendor] = vendors[vendor].state(world)
  end
  return world
end

--- Forgets everything that has happened.
function World:reset()
  local fresh = M.new(self.options)
  for name in pairs(self) do self[name] = nil end
  for name, value in pairs(fresh) do self[name] = value end
end

-- --- time

--- The vendors' time, in epoch seconds.
function World:now() return self.clock() + self.ahead end

--- From when on a write can be read, and up to when reads of a vendor look.
function World:written() return self:now() + (self.hide or 0) end

function World:seen(vendor) return self:now() - self.options[vendor].lag end

--- Has something done, after a delay.
function World:later(delay, fn)
  self.turn = self.turn + 1
  self.queue[#self.queue + 1] = { due = self:now() + delay, turn = self.turn, fn = fn }
  if self.wake then self.wake(self, delay) end
end

local function first_of(queue)
  local best
  for i, one in ipairs(queue) do
    local than = queue[best or 0]
    if not than or one.due < than.due or one.due == than.due and one.turn < than.turn then
      best = i
    end
  end
  return best
end

--- Does the first thing that is due. Gives true; or false and the seconds until the next is.
function World:run_one()
  local at = first_of(self.queue)
  if not at then return false end
  local left = self.queue[at].due - self:now()
  if left > 0 then return false, left end
  table.remove(self.queue, at).fn()
  return true
end

--- Does what is due, in its order.
function World:run()
  while self:run_one() do end
end

--- Moves the vendors' clock.
---@param seconds number where to, in epoch seconds
function World:set_clock(seconds)
  self.ahead = self.ahead + seconds - self:now()
  self.dreamapply.calls = {} -- of another time
  for _ = 1, self.wake and #self.queue or 0 do self.wake(self, 0) end
end

-- --- answers

local function note(world, request)
  local list = world.requests
  list[#list + 1] = { method = request.method, target = request.target,
    headers = request.headers, body = request.body, at = world:now() }
  if #list > kept_requests then table.remove(list, 1) end
end

local function written_out(status, body, headers)
  local out = {}
  for name, value in pairs(headers or {}) do out[name] = value end
  local kind = "text/plain; charset=utf-8"
  if type(body) == "table" then
    kind, body = "application/json; charset=utf-8", json.encode(body)
  end
  out["Content-Type"] = out["Content-Type"] or kind
  return status, body or "", out
end

--- Answers a request.
---@param request table method, target, headers (names in lower case), body
---@return integer|nil status nil: the connection ends without an answer
---@return string body
---@return table headers
---@return string|nil cut "half": the connection ends after `body`, which is the first half
function World:answer(request)
  local path, query = request.target:match("^([^?#]*)%??([^#]*)")
  request.path, request.query, request.body = path, values.query(query), request.body or ""
  if path:match("^/sandbox/") then return written_out(control.answer(self, request)) end
  local vendor = vendors.of(path)
  if not vendor then return written_out(404, "no such vendor") end
  note(self, request)
  local function fail(status, headers)
    local body, own = vendors[vendor].failure(status)
    for name, value in pairs(own or {}) do headers[name] = value end
    return written_out(status, body, headers)
  end
  return faults.play(self, request, fail, function()
    return written_out(vendors[vendor].answer(self, request))
  end)
end

--- Steers it: what POST /sandbox/NAME does.
---@param name string
---@param fields table|nil
---@return any|nil answer
---@return string|nil message
function World:order(name, fields)
  return control.order(self, "POST", name, fields or {})
end

return M

--- A transport for tests: a function gives the answers, time passes only in `sleep`, and nothing is
-- sent.
--
--   local fake = require "billhook.transport.fake"
--   local transport = fake.new(function(request, n)      -- n: 1 for the first request
--     if n == 1 then return { status = 503 } end         -- headers {} and body "" by default
--     if n == 2 then return { body = "[{", torn = { kind = "network" } } end  -- breaks off there
--     return nil, { kind = "timeout" }                   -- sent = true by default
--   end)
--   local client = billhook.dreamapply { transport = transport, ... }
--   transport.requests[1].url, transport.slept[1]
--   transport.time = transport.time + 60       -- its clock, in epoch seconds: a minute goes by
--
-- A client without its own `clock` uses this one, as it uses the clock of any transport.
--
-- A request is checked as in every transport, and kept as the handler got it.

local core = require "billhook.core"
local errors = require "billhook.error"
local options = require "billhook.options"

local check = core.request.check

local M = {}

local KINDS = {
  timeout = true, network = true, tls = true, too_large = true, decode = true, cancelled = true,
}

local Fake = { name = "fake" }
local fake_mt = { __index = Fake, __name = "billhook.transport.fake" }

local Reader = {}
local reader_mt = { __index = Reader }

local function lowered(headers)
  local out = {}
  for name, value in pairs(headers or {}) do out[name:lower()] = tostring(value) end
  return out
end

local function failure_of(failure)
  if type(failure) ~= "table" or not KINDS[failure.kind] then
    error("the handler of a fake transport must give a response, or nil and a failure whose"
      .. " kind is timeout, network, tls, too_large, decode or cancelled", 0)
  end
  return errors.new {
    kind = failure.kind, message = failure.message or failure.kind,
    sent = failure.sent ~= false,
  }
end

local function answer(self, request)
  self.requests[#self.requests + 1] = request
  local response, failure = self.handler(request, #self.requests)
  if response == nil then return nil, failure_of(failure) end
  if type(response) ~= "table" then failure_of(response) end
  local body, torn = response.body or "", response.torn and failure_of(response.torn)
  if #body > request.limit then
    body = body:sub(1, request.limit)
    torn = failure_of { kind = "too_large", message = "the body is over the limit" }
  end
  return { status = response.status or 200, headers = lowered(response.headers), body = body }, torn
end

function Fake:request(request)
  local response, failure = answer(self, check(request))
  if failure then return nil, failure end
  return response
end

--- The body comes in pieces of `chunk` bytes (1 by default, the hardest for a parser).
function Fake:stream(request)
  local response, failure = answer(self, check(request))
  if not response then return nil, failure end
  return setmetatable({
    status = response.status, headers = response.headers, body = response.body, at = 1,
    chunk = self.chunk, torn = failure,
  }, reader_mt)
end

function Reader:read()
  local from = self.at
  if from > #self.body then return nil, self.torn end
  self.at = from + self.chunk
  return self.body:sub(from, self.at - 1)
end

function Reader:close()
  self.at, self.torn = #self.body + 1, nil
end

function Fake:sleep(seconds)
  self.slept[#self.slept + 1] = seconds
  self.time = self.time + seconds
end

--- Makes a transport that answers with what `handler` gives.
---@param handler fun(request: table, n: integer): table|nil, table|nil
---@return table transport with `requests`, `slept`, `time` (epoch seconds; that of now at first)
---  and `chunk` (bytes of a stream's pieces, 1)
function M.new(handler)
  if type(handler) ~= "function" then
    error(options.wrong("billhook.transport.fake", "handler", "must be a function", handler), 2)
  end
  local transport = { handler = handler, requests = {}, slept = {}, time = core.text.now(),
    chunk = 1 }
  function transport.now() return transport.time end
  transport.wall = transport.now
  return setmetatable(transport, fake_mt)
end

return M

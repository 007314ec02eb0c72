-- support/inbox.lua: an app with accounts of all three vendors whose APIs are
-- imitated, in memory, with a clock that stands still until it is told to move.

local billhook = require "billhook"
local fake = require "billhook.transport.fake"

local M = {}

M.SECRET, M.AUTHORIZATION = "a secret of a school", "Bearer of a hook"

local INVOICE = {
  dreamapply = '{"id":%s,"currency":"EUR","items":[]}',
  dreamclass = '{"id":%s,"amount":300}',
  betterez = '{"invoice":{"_id":"%s","serie":"1"}}',
}

---A transport that answers for every invoice; `self.answer`, where it is set, answers instead.
local function transport(self, vendor)
  return fake.new(function(request)
    self.calls = self.calls + 1
    if self.answer then return self.answer(request) end
    local id = request.url:match "([^/]+)$"
    return { status = 200, headers = { ["content-type"] = "application/json" },
      body = INVOICE[vendor]:format(id) }
  end)
end

---@param options? table of billhook.app, on top of these
function M.new(options)
  local self = { now = 1700000000, calls = 0, log = {} }
  local function clock() return self.now end
  local all = {
    inbox = "memory:", clock = clock, random = function() return 1 end,
    log = function(level, name, fields)
      self.log[#self.log + 1] = { level = level, name = name, fields = fields or {} }
    end,
    accounts = {
      apply = billhook.dreamapply { base_url = "https://apply.test", api_key = "key-of-apply",
        attempts = 1, transport = transport(self, "dreamapply"),
        webhook = { authorization = M.AUTHORIZATION } },
      school = billhook.dreamclass { tenant = "my-school", webhook = { secret = M.SECRET } },
      class = billhook.dreamclass { tenant = "my-class", api_key = "key-of-class", attempts = 1,
        transport = transport(self, "dreamclass"), webhook = { secret = M.SECRET },
        paths = { ["invoices.get"] = "/financial/invoices/{id}" } },
      tickets = billhook.betterez { api_key = "key-of-tickets", attempts = 1,
        transport = transport(self, "betterez"), webhook = { secret = M.SECRET } },
    },
  }
  for name, value in pairs(options or {}) do all[name] = value end
  self.app = billhook.app(all)
  return setmetatable(self, { __index = M })
end

local function uuid(n) return ("aa3a27d6-05b5-4fcd-bd04-%012d"):format(n) end
M.uuid = uuid

---Sends a DreamClass delivery. Fields: id (a number), type, invoice, data, tenant, timestamp.
function M:school(fields, account)
  fields = fields or {}
  account = account or "school"
  local data = fields.data or ('{"id":%s,"amount":300,"email":"a@b.test"}')
    :format(fields.invoice or 16)
  local body = ('{"id":"%s","type":"%s","tenant":"%s","timestamp":%d,"signature":"","data":%s}')
    :format(uuid(fields.id or 1), fields.type or "INVOICE_CREATED",
      account == "class" and "my-class" or "my-school", (fields.timestamp or self.now) * 1000, data)
  local headers, signed = billhook.sign("dreamclass", body, { secret = M.SECRET })
  headers["Content-Type"] = "application/json"
  return self.app:receive(account, headers, signed)
end

---Sends a Betterez delivery. Fields: id (a number), event, invoice, live, data.
function M:tickets(fields)
  fields = fields or {}
  local data = fields.data or ('{"_id":"%s","number":"7"}'):format(fields.invoice
    or "616d7cf38fedff37e4492161")
  local body = ('{"id":"%s","attemptId":"%s","livemode":%s,"created":%d,"event":"%s","data":%s}')
    :format(uuid(fields.id or 1), uuid(fields.attempt or 99), tostring(fields.live ~= false),
      self.now, fields.event or "invoices.created", data)
  local headers, signed = billhook.sign("betterez", body, { secret = M.SECRET, now = self.now })
  headers["Content-Type"] = "application/json"
  return self.app:receive("tickets", headers, signed)
end

---Sends a DreamApply body.
function M:apply(body)
  return self.app:receive("apply", { authorization = M.AUTHORIZATION,
    ["content-type"] = "application/json" }, body)
end

---One journal item.
function M.item(id, text, invoice)
  return ('{"id":%d,"logged":"2026-11-21T10:00:00+00:00","event":"%s","bind":[]%s}'):format(id,
    text or "Invoice was created: ?",
    invoice and (',"invoice":"/api/v9/invoices/%d"'):format(invoice) or "")
end

---Rounds until nothing is due; how many rules ran.
function M:work()
  local all = 0
  repeat
    local ran = assert(self.app:work { limit = 64 })
    all = all + ran
  until ran == 0
  return all
end

---The entries of the log with this name.
function M:logged(name)
  local found = {}
  for _, entry in ipairs(self.log) do
    if entry.name == name then found[#found + 1] = entry end
  end
  return found
end

---States by id, without the account's name.
function M:states()
  local out = {}
  for _, event in ipairs(assert(self.app.store:list {})) do out[event.id] = event.state end
  return out
end

return M

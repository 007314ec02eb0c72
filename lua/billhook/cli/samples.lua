-- cli/samples.lua: made-up deliveries in each vendor's shape, for `trigger`.

local text = require("billhook.core").text
local json = require "billhook.json"

local M = {}

local function uuid()
  local hex = text.hex(text.random(16))
  local variant = ("89ab"):sub(tonumber(hex:sub(17, 17), 16) % 4 + 1)
  return table.concat({ hex:sub(1, 8), hex:sub(9, 12), "4" .. hex:sub(14, 16),
    variant:sub(1, 1) .. hex:sub(18, 20), hex:sub(21, 32) }, "-")
end

local function iso(seconds) return (text.iso(seconds):gsub("%+00:00$", ".000Z")) end

local invoices = {}

-- An invoice is created once: a second sample of it would be an update.
local function number()
  return tonumber(text.hex(text.random(3)), 16) + 1000
end

function invoices.dreamclass(now)
  local id = number()
  return {
    id = id, fees = json.array { { id = 86 }, { id = 85 } }, email = "payer@example.com",
    amount = 300, status = 1, address = "Address 1",
    dueDate = text.iso(now + 14 * 86400):sub(1, 10),
    fullname = "Sam Sample", createdAt = text.iso(now), issueDate = text.iso(now):sub(1, 10),
    telephone = "123456789", invoiceRefId = ("sample-%d"):format(id),
  }
end

function invoices.betterez(now)
  return {
    _id = text.hex(text.random(12)), serie = "456889", number = "1261913952",
    type = "certification", invoiceProviderId = "5f243d100617680712e78dd7",
    authNumber = "BD2ECBAC-4B37-4760-8DD9-9D50C3C9B194", transactionId = "616d7cf38fedff37e449215c",
    accountId = "563c1457c4f260b0b7765569", createdBy = "4e9774b45f014e0100000003",
    updatedBy = "4e9774b45f014e0100000003", createdAt = { value = iso(now), offset = 0 },
    updatedAt = { value = iso(now), offset = 0 },
  }
end

function invoices.dreamapply(now)
  return {
    logged = text.iso(now), bind = json.array { "AF-100001" },
    invoice = ("/api/v9/invoices/%d"):format(number()),
    application = "/api/v9/applications/1", applicant = "/api/v9/applicants/1",
  }
end

local bodies = {}

function bodies.dreamclass(kind, data, options, now)
  return { id = options.id or uuid(), type = kind, tenant = options.tenant or "my-school",
    timestamp = math.floor(now * 1000), data = data }
end

function bodies.betterez(kind, data, options, now)
  return { id = options.id or uuid(), attemptId = uuid(), event = kind, livemode = not options.test,
    created = math.floor(now), data = data }
end

-- the journal counts up; seconds do so too, and give each sample an id of its own
function bodies.dreamapply(kind, data, options, now)
  data.id = options.id and tonumber(options.id) or math.floor(now)
  data.event = kind
  return data
end

local spelling = {
  dreamclass = function(family, verb) return (family .. "_" .. verb):upper() end,
  betterez = function(family, verb) return family .. "s." .. verb end,
  dreamapply = function(family, verb)
    return family:sub(1, 1):upper() .. family:sub(2) .. " was " .. verb .. ": ?"
  end,
}

---The vendor's own name of an event; ours, such as invoice.created, are translated.
---@param vendor string
---@param kind string
---@return string
function M.native(vendor, kind)
  local family, verb = kind:match "^([%l_]+)%.(%l+)$"
  if not family or vendor == "betterez" and family:sub(-1) == "s" then return kind end
  return spelling[vendor](family, verb)
end

---A delivery's body, not yet signed.
---@param vendor string
---@param kind string
---@param options table `id`, `tenant`, `test`, `data` (a table in place of the made-up invoice)
---@return string
function M.body(vendor, kind, options)
  local now = text.now()
  local data = options.data or invoices[vendor](now)
  return json.encode(bodies[vendor](M.native(vendor, kind), data, options, now))
end

return M

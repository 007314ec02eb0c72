-- providers.lua - the sandbox's Betterez: who issues invoices there (/providers), the sequences of
-- their numbers, and the register of tax ids.
--
-- A provider's `params` hold credentials, in the webhook as well: an object in the vendor's page, a
-- list of { name, value } in its client's tests; here they stay as they were sent. What else a
-- provider or a sequence is made of is documented nowhere: the sandbox keeps what it is sent.

local json = require "billhook.json"
local service = require "billhook.sandbox.service"
local values = require "billhook.sandbox.values"

local M = {}

local failure, fields_of, position = service.failure, service.fields, service.position

--- The empty state of this part.
function M.state() return { providers = {}, sequences = {} } end

-- --- providers

local filters = { "invoiceProviderType", "channel", "country", "operatingCompany" }

local function wanted(provider, query)
  if query.enabled and query.enabled ~= tostring(provider.enabled) then return false end
  for _, name in ipairs(filters) do
    if query[name] and query[name] ~= provider[name] then return false end
  end
  return true
end

local function add(world, fields)
  local now = service.time(world)
  local provider = service.take({ _id = service.new_id(world), enabled = true, createdAt = now,
    updatedAt = now }, fields)
  table.insert(world.betterez.providers, 1, provider)
  return provider
end

-- The provider of a path, and where it stands; or nil and the answer of an error.
local function provider_of(world, id)
  if not service.is_id(id) then return nil, failure(400, "INVALID_PROVIDER_ID") end
  local list = world.betterez.providers
  local at = position(list, id)
  if not at then return nil, failure(404, "PROVIDER_NOT_FOUND") end
  return list[at], at
end

local needed = { "invoiceProviderType", "currencies", "params" }

-- --- sequences

local function sequences_of(world, provider)
  local all = world.betterez.sequences
  all[provider._id] = all[provider._id] or {}
  return all[provider._id]
end

-- --- tax ids

-- The sandbox's register: every number is in it, but those that begin with "0". One that begins
-- with "9" has many entries.
local function tax_entries(query)
  local list = {}
  for i = 1, query.taxNumber:sub(1, 1) == "9" and 25 or 1 do
    list[i] = { taxNumber = query.taxNumber, country = query.country,
      documentType = query.documentType, name = "Sample Company" .. (i > 1 and " " .. i or "") }
  end
  return list
end

--- Adds this part's calls. `hook` tells of a provider.
---@param routes table
---@param hook fun(world: table, kind: string, provider: table)
function M.add(routes, hook)
  routes:on("GET", "/tax-ids", function(world, request)
    local query = request.query
    if not query.taxNumber or not query.country then return failure(400, "WRONG_DATA") end
    if query.taxNumber:find("[^%w%-]") then return failure(400, "INVALID_TAX_NUMBER") end
    if query.invoiceProviderId then
      local provider, status, body = provider_of(world, query.invoiceProviderId)
      if not provider then return status, body end
    end
    if query.taxNumber:sub(1, 1) == "0" then return failure(404, "TAXID_NOT_FOUND") end
    return service.paged(world, request, "taxIds", tax_entries(query))
  end)

  routes:on("GET", "/providers", function(world, request)
    local found = {}
    for _, one in ipairs(world.betterez.providers) do
      if wanted(one, request.query) then found[#found + 1] = one end
    end
    return service.paged(world, request, "providers", found)
  end)

  routes:on("POST", "/providers", function(world, request)
    local fields = fields_of(request, "provider")
    for _, name in ipairs(needed) do
      if not fields or fields[name] == nil then
        return failure(400, "WRONG_DATA", name .. " is required")
      end
    end
    local provider = add(world, fields)
    hook(world, "invoice_providers.created", provider)
    return 200, { provider = provider }
  end)

  routes:on("GET", "/providers/:id", function(world, _, id)
    local provider, status, body = provider_of(world, id)
    if not provider then return status, body end
    return 200, { provider = provider }
  end)

  routes:on("PUT", "/providers/:id", function(world, request, id)
    local provider, status, body = provider_of(world, id)
    if not provider then return status, body end
    local fields = fields_of(request, "provider")
    if not fields then return failure(400, "WRONG_DATA") end
    local kind = fields.invoiceProviderType
    if kind and kind ~= provider.invoiceProviderType then
      return failure(400, "CANNOT_CHANGE_PROVIDER")
    end
    service.take(provider, fields)
    provider.updatedAt = service.time(world)
    hook(world, "invoice_providers.updated", provider)
    return 200, { provider = provider }
  end)

  routes:on("DELETE", "/providers/:id", function(world, _, id)
    local provider, at, body = provider_of(world, id)
    if not provider then return at, body end
    table.remove(world.betterez.providers, at)
    world.betterez.sequences[id] = nil
    hook(world, "invoice_providers.deleted", provider)
    return 200, { providerId = id }
  end)

  routes:on("GET", "/providers/:id/sequences", function(world, request, id)
    local provider, status, body = provider_of(world, id)
    if not provider then return status, body end
    return service.paged(world, request, "sequences", sequences_of(world, provider))
  end)

  routes:on("POST", "/providers/:id/sequences", function(world, request, id)
    local provider, status, body = provider_of(world, id)
    if not provider then return status, body end
    local fields = fields_of(request, "sequence")
    if not fields then return failure(400, "WRONG_DATA") end
    local sequence = service.take({ _id = service.new_id(world), invoiceProviderId = id }, fields)
    table.insert(sequences_of(world, provider), sequence)
    return 200, { sequence = sequence }
  end)

  -- One sequence: `change(list, at, request)` answers.
  local function on_sequence(method, change)
    routes:on(method, "/providers/:id/sequences/:sid", function(world, request, id, sequence)
      local provider, status, body = provider_of(world, id)
      if not provider then return status, body end
      local list = sequences_of(world, provider)
      local at = position(list, sequence)
      if not at then return failure(404, "SEQUENCE_NOT_FOUND") end
      return change(list, at, request)
    end)
  end

  on_sequence("GET", function(list, at) return 200, { sequence = list[at] } end)
  on_sequence("PUT", function(list, at, request)
    local fields = fields_of(request, "sequence")
    if not fields then return failure(400, "WRONG_DATA") end
    return 200, { sequence = service.take(list[at], fields) }
  end)
  on_sequence("DELETE", function(list, at)
    return 200, { sequenceId = table.remove(list, at)._id }
  end)
end

local secrets = { signerKey = "sandbox-signer", key = "sandbox-secret", user = "sandbox" }

local function params_of(args)
  if args.params ~= "list" then return values.copy(secrets) end
  local list = json.array {}
  for name, value in pairs(secrets) do list[#list + 1] = { name = name, value = value } end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- A provider as if somebody had made, changed or deleted one in the web interface.
---@param world table
---@param args table name; params = "list" has them as a list
---@param kind string "invoice_providers.created" and the like
---@return table provider
function M.pretend(world, args, kind)
  local list = world.betterez.providers
  local verb, provider = kind:match("%a+$"), list[1]
  if not provider or verb == "created" then
    provider = add(world, { name = args.name or "Infile", invoiceProviderType = "infile",
      currencies = json.array { "GTQ" }, params = params_of(args) })
  end
  if verb == "deleted" then
    table.remove(list, 1)
  elseif verb == "updated" then
    provider.name, provider.updatedAt = args.name or provider.name, service.time(world)
  end
  return provider
end

return M

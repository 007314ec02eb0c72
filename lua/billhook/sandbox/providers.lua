-- providers.lua - the sandbox's Betterez: who issues invoices there (/providers), the sequences of
-- their numbers, and the register of tax ids.
--
-- A provider's `params` hold credentials, in the webhook as well. Writes tell
-- invoice_providers.created, .updated and .deleted. What a provider or a sequence is made of is
-- documented nowhere: the sandbox keeps what it is sent.

local core = require "billhook.core"
local http = require "billhook.sandbox.http"
local json = require "billhook.json"

local M = {}

--- The empty state of this part.
function M.state() return { providers = {}, sequences = {} } end

local function failure(status, code) return status, { code = code, message = code } end

local function new_id() return core.text.hex(core.text.random(12)) end

-- A body's fields, at its root or under `name`; nil where there are none.
local function fields_of(request, name)
  local fields = http.object(request.body)
  if not fields then return nil end
  fields = type(fields[name]) == "table" and fields[name] or fields
  return next(fields) and fields
end

local function position(list, id)
  for i, one in ipairs(list) do
    if one._id == id then return i end
  end
end

local function provider_of(my, id)
  local at = position(my.providers, id)
  return at and my.providers[at], at
end

-- --- providers

local filters = { "invoiceProviderType", "channel", "country", "operatingCompany" }

local function wanted(provider, query)
  if query.enabled and query.enabled ~= tostring(provider.enabled) then return false end
  for _, name in ipairs(filters) do
    if query[name] and query[name] ~= provider[name] then return false end
  end
  return true
end

local function list_providers(my, request, state, paged)
  local found = {}
  for _, one in ipairs(my.providers) do
    if wanted(one, request.query) then found[#found + 1] = one end
  end
  return paged(state, request, "providers", found)
end

local function take(target, fields)
  for name, value in pairs(fields) do
    if name ~= "_id" then target[name] = value end
  end
  return target
end

local function add(my, fields)
  local provider = take({ _id = new_id(), enabled = true }, fields)
  table.insert(my.providers, 1, provider)
  return provider
end

-- --- sequences

local function list_sequences(my, request, state, paged, provider)
  return paged(state, request, "sequences", my.sequences[provider._id] or {})
end

local function add_sequence(my, fields, provider)
  local list = my.sequences[provider._id] or {}
  my.sequences[provider._id] = list
  list[#list + 1] = take({ _id = new_id(), invoiceProviderId = provider._id }, fields)
  return list[#list]
end

local function one_sequence(my, request, provider, id)
  local list = my.sequences[provider._id] or {}
  local at = position(list, id)
  if not at then return failure(404, "SEQUENCE_NOT_FOUND") end
  if request.method == "DELETE" then
    table.remove(list, at)
    return 200, { sequenceId = id }
  elseif request.method == "PUT" then
    local fields = fields_of(request, "sequence")
    if not fields then return failure(400, "WRONG_DATA") end
    take(list[at], fields)
  end
  return 200, { sequence = list[at] }
end

-- --- tax ids

-- The sandbox's register: every number is in it, but those that begin with "0".
local function tax_ids(my, request)
  local query = request.query
  local number, country = query.taxNumber, query.country
  if type(number) ~= "string" or type(country) ~= "string" then
    return failure(400, "WRONG_DATA")
  elseif query.invoiceProviderId and not provider_of(my, query.invoiceProviderId) then
    return failure(404, "PROVIDER_NOT_FOUND")
  elseif number:sub(1, 1) == "0" then
    return failure(404, "TAXID_NOT_FOUND")
  end
  return 200, { taxIds = json.array { { taxNumber = number, country = country,
    documentType = query.documentType, name = "Sample Company" } } }
end

-- --- calls

local function write_provider(my, request, hook, provider, at)
  if request.method == "DELETE" then
    table.remove(my.providers, at)
    my.sequences[provider._id] = nil
    hook("invoice_providers.deleted", provider)
    return 200, { providerId = provider._id }
  end
  local fields = fields_of(request, "provider")
  if not fields then return failure(400, "WRONG_DATA") end
  take(provider, fields)
  hook("invoice_providers.updated", provider)
  return 200, { provider = provider }
end

local function collection(my, request, state, tools)
  if request.method == "GET" then return list_providers(my, request, state, tools.paged) end
  local fields = fields_of(request, "provider")
  if not fields then return failure(400, "WRONG_DATA") end
  local provider = add(my, fields)
  tools.hook("invoice_providers.created", provider)
  return 200, { provider = provider }
end

local function below(my, request, state, tools, provider, rest)
  if rest ~= "" then return one_sequence(my, request, provider, rest:sub(2)) end
  if request.method == "GET" then
    return list_sequences(my, request, state, tools.paged, provider)
  end
  local fields = fields_of(request, "sequence")
  if not fields then return failure(400, "WRONG_DATA") end
  return 200, { sequence = add_sequence(my, fields, provider) }
end

local methods = {
  [""] = "GET POST", one = "GET PUT DELETE", sequences = "GET POST", sequence = "GET PUT DELETE",
}

local function handle(my, request, state, tools, path)
  local id, rest = path:match("^/([^/]+)(.*)$")
  local sequences = rest and rest:match("^/sequences(.*)$")
  local kind = not id and "" or rest == "" and "one" or sequences == "" and "sequences"
    or sequences and sequences:find("^/[^/]+$") and "sequence"
  if not kind or not methods[kind]:find(request.method, 1, true) then return nil end
  if not id then return collection(my, request, state, tools) end
  local provider, at = provider_of(my, id)
  if not provider then return failure(404, "PROVIDER_NOT_FOUND") end
  if sequences then return below(my, request, state, tools, provider, sequences) end
  if request.method == "GET" then return 200, { provider = provider } end
  return write_provider(my, request, tools.hook, provider, at)
end

--- Answers a request below /invoices: status, body, headers; nil where it is not for this part.
---@param my table Betterez's state
---@param request table
---@param state table the sandbox's
---@param tools table { paged(state, request, name, list), hook(kind, provider) }
function M.handle(my, request, state, tools)
  if request.path == "/invoices/tax-ids" and request.method == "GET" then
    return tax_ids(my, request)
  end
  local path = request.path:match("^/invoices/providers(.*)$")
  if path and (path == "" or path:sub(1, 1) == "/") then
    return handle(my, request, state, tools, path)
  end
end

--- A provider as if somebody had made, changed or deleted one in the web interface: the event's
--- type and the provider.
---@param my table
---@param args table name
---@param kind string "invoice_providers.created" and the like
---@return table provider
function M.pretend(my, args, kind)
  local verb = kind:match("%a+$")
  local provider = my.providers[1]
  if not provider or verb == "created" then
    provider = add(my, { name = args.name or "Infile", invoiceProviderType = "infile",
      params = { signerKey = "sandbox-signer", key = "sandbox-secret", user = "sandbox" } })
  elseif verb == "deleted" then
    table.remove(my.providers, 1)
  end
  return provider
end

return M

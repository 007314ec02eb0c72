-- subscriptions.lua - the sandbox's Betterez: the webhooks service (/webhooks): who is told of
-- what, and what could not be delivered.
--
-- The paths are those of the vendor's client; what its answers hold besides a name for the list is
-- documented nowhere. A delivery that failed waits here for a person: the vendor is not known to
-- send it again by itself.

local json = require "billhook.json"
local addresses = require "billhook.sandbox.addresses"
local sender = require "billhook.sandbox.sender"
local service = require "billhook.sandbox.service"

local M = {}

local failure = service.failure

--- The events that a subscription may choose from, as the vendor's pages name them.
M.events = { "invoices.created", "invoices.updated", "invoice_providers.created",
  "invoice_providers.updated", "invoice_providers.deleted", "invoiceemail.created",
  "refund.created", "transaction.completed" }

--- The empty state of this part.
function M.state() return { subscriptions = {} } end

--- The addresses that are told of an event, besides the account's own.
function M.urls(world, kind)
  local urls = {}
  for _, one in ipairs(world.betterez.subscriptions) do
    local chosen = one.disabled ~= true and type(one.url) == "string"
    for i, name in ipairs(chosen and type(one.events) == "table" and one.events or {}) do
      if i == 1 then chosen = false end
      chosen = chosen or name == kind
    end
    if chosen then urls[#urls + 1] = one.url end
  end
  return urls
end

local function undelivered(world)
  local list = {}
  for _, one in ipairs(world.deliveries) do
    if one.vendor == "betterez" and one.state == "failed" then list[#list + 1] = one end
  end
  return list
end

local function id_of(delivery) return ("%024x"):format(delivery.n) end

local function shown(delivery)
  local last = delivery.attempts[#delivery.attempts]
  return { _id = id_of(delivery), id = delivery.event, event = delivery.type, url = delivery.url,
    reason = last and (last.error or ("HTTP %d"):format(last.status)) or "",
    data = delivery.data }
end

local function one_undelivered(world, id)
  for _, one in ipairs(undelivered(world)) do
    if id_of(one) == id then return one end
  end
end

--- Adds this part's calls.
---@param routes table
function M.add(routes)
  routes:on("GET", "/events", function(world, request)
    local context, list = request.query.context, {}
    for _, name in ipairs(M.events) do
      if not context or name:sub(1, #context) == context then list[#list + 1] = { name = name } end
    end
    return service.paged(world, request, "events", list)
  end)

  routes:on("GET", "/subscriptions", function(world, request)
    return service.paged(world, request, "subscriptions", world.betterez.subscriptions)
  end)

  routes:on("POST", "/subscriptions", function(world, request)
    local fields = service.fields(request, "subscription")
    if not fields then return failure(400, "WRONG_DATA") end
    local now = service.time(world)
    local one = { _id = service.new_id(world), createdAt = now, updatedAt = now }
    service.take(one, fields)
    table.insert(world.betterez.subscriptions, one)
    return 200, { subscription = one }
  end)

  -- One subscription: `change(list, at, request, world)` answers.
  local function on_subscription(method, change)
    routes:on(method, "/subscriptions/:id", function(world, request, id)
      local list = world.betterez.subscriptions
      local at = service.position(list, id)
      if not at then return failure(404, "SUBSCRIPTION_NOT_FOUND") end
      return change(list, at, request, world)
    end)
  end

  on_subscription("GET", function(list, at) return 200, { subscription = list[at] } end)
  on_subscription("PUT", function(list, at, request, world)
    local fields = service.fields(request, "subscription")
    if not fields then return failure(400, "WRONG_DATA") end
    service.take(list[at], fields).updatedAt = service.time(world)
    return 200, { subscription = list[at] }
  end)
  on_subscription("DELETE", function(list, at)
    return 200, { subscriptionId = table.remove(list, at)._id }
  end)

  routes:on("GET", "/undelivered", function(world, request)
    local list = {}
    for i, one in ipairs(undelivered(world)) do list[i] = shown(one) end
    return service.paged(world, request, "undelivered", list)
  end)

  routes:on("PUT", "/undelivered/retry-all", function(world)
    local ids = json.array {}
    for i, one in ipairs(undelivered(world)) do
      ids[i] = id_of(one)
      sender.again(world, one)
    end
    return 200, { undelivered = ids }
  end)

  routes:on("DELETE", "/undelivered/batch-all", function(world)
    for _, one in ipairs(undelivered(world)) do one.state = "erased" end
    return 204
  end)

  -- What an operation is no document says; in the web interface their address can be edited.
  routes:on("PATCH", "/undelivered", function(world, request)
    local fields = service.fields(request, "operation")
    if not fields or not addresses.parse(fields.url) then
      return failure(400, "WRONG_DATA", "url is missing, or no plain http URL")
    end
    local ids = json.array {}
    for i, one in ipairs(undelivered(world)) do
      ids[i], one.own, one.url = id_of(one), fields.url, fields.url
    end
    return 200, { undelivered = ids }
  end)

  -- One of them: `change(world, delivery)` answers.
  local function on_undelivered(method, path, change)
    routes:on(method, path, function(world, _, id)
      local one = one_undelivered(world, id)
      if not one then return failure(404, "UNDELIVERED_NOT_FOUND") end
      return change(world, one)
    end)
  end

  on_undelivered("GET", "/undelivered/:id", function(_, one)
    return 200, { undelivered = shown(one) }
  end)
  on_undelivered("PUT", "/undelivered/:id/retry", function(world, one)
    local before = shown(one)
    sender.again(world, one)
    return 200, { undelivered = before }
  end)
  on_undelivered("DELETE", "/undelivered/:id", function(_, one)
    one.state = "erased"
    return 200, { undeliveredId = id_of(one) }
  end)
end

return M

-- app/receive.lua: from the raw bytes of a delivery to its answer: verified, stored, answered.
--
-- It may run on nginx's event loop: nothing waits but the inbox's admit(), which nginx replaces by
-- one that shares a transaction with other requests. The answer to a refused delivery is one of a
-- few words that do not help a forger; the log has the reason. An authentic delivery is never
-- refused: if it cannot be processed, it becomes a dead letter. So claims of a header about the
-- body are ignored, except that it is compressed.

local complain = require "billhook.complain"
local core = require "billhook.core"
local metrics = require "billhook.app.metrics"
local rules = require "billhook.app.rules"
local strict = require "billhook.app.strict"
local vendors = require "billhook.vendor"

local M = {}

local check = core.verify.check

local DEFAULT_LIMIT = 8 * 1024 * 1024
local SUSPICION = 30 -- seconds for which a delivery that was not stored speaks against the inbox

local STATUS = {
  unsigned = 401, unauthorized = 401, mismatch = 401, stale = 401, future = 401, tenant = 401,
  unconfigured = 401, header = 400, malformed = 400, encoding = 415, account = 404, size = 413,
}

local WORDS = {
  [400] = "malformed", [401] = "not authentic", [404] = "no such account",
  [413] = "body too large", [415] = "unsupported media type", [503] = "store unavailable",
}

local JSON = { ["Content-Type"] = "application/json" }
local JSON_LATER = { ["Content-Type"] = "application/json", ["Retry-After"] = "5" }

---The answer for a status that is no success.
---@param status integer
---@return integer status, string reply, table headers
function M.refusal(status)
  return status, ('{"error":"%s"}'):format(WORDS[status]), status == 503 and JSON_LATER or JSON
end

---The largest body that an account takes, in bytes.
---@param client table
---@return integer
function M.limit(client) return (client.webhook or {}).limit or DEFAULT_LIMIT end

---Is what a delivery says proven: by a proof that covers it, or since the API has it in a list?
---@param trust string of a delivery
---@return boolean
function M.proven(trust) return trust == "body" or trust == "api" end

-- What tells one delivery from another. Where it is proven, the vendor's event id.
-- Where it covers less, whoever has seen one could send other news under its id: type and invoice
-- belong to it; and where that cannot be read back, what is said of it.
local function id_of(trust, found, type, readable)
  if M.proven(trust) then return found.id end
  local parts = { found.id, type, found.invoice or "-" }
  if not (readable and found.invoice) then parts[4] = found.digest end
  return table.concat(parts, " ")
end

---One delivery for the inbox: an envelope, or one entry of a DreamApply body or of a list of the
---API's.
---@param account string
---@param vendor string
---@param readable any false: its invoices cannot be read back
---@param delivery { trust: string, tenant: string?, secret: integer? }
---@param found table { id, native, invoice, live, occurred_at, digest, bad }
---@param body string without credentials
---@return table row
function M.row(account, vendor, readable, delivery, found, body)
  local native, invoice, trust = found.native, found.invoice, delivery.trust
  local type = native and vendors[vendor].type_of(native, invoice ~= nil) or "unknown"
  return {
    account = account, id = id_of(trust, found, type, readable), vendor = vendor, type = type,
    native = native or "unknown", invoice = invoice, tenant = delivery.tenant,
    live = found.live, trust = trust, secret = delivery.secret,
    occurred_at = found.occurred_at, reason = found.bad, body = body,
    again = readable and invoice ~= nil and not found.bad and not M.proven(trust),
  }
end

---Counts what is refused; some of it is logged, and kept where app.keep is there for that.
---@param app table
---@param account any
---@param status integer
---@param why { code: string, message: string?, from: string? } code: a word
---@param headers? any
---@param body? any
function M.refused(app, account, status, why, headers, body)
  local name = app.accounts[account or ""] and account or "?"
  metrics.add(app, "delivery refused " .. name)
  metrics.add(app, "refusal " .. why.code .. " " .. name)
  if not complain.some(app, "refused") then return end
  local fields = { account = name, status = status, code = why.code, message = why.message,
    from = why.from }
  if app.keep and name ~= "?" and type(headers) == "table" and type(body) == "string" then
    local fine, path, failure = pcall(app.keep, fields, headers, body)
    fields.kept, failure = fine and path or nil, failure or not fine and tostring(path)
    if failure then complain.once(app, "not_kept", { message = failure }) end
  end
  app.log(status == 503 and "error" or "warn", "refused", fields)
end

---What can be refused before the body is there, so that a stranger's is not waited for: nil, or a
---status, a reply and its headers.
---@param app table
---@param account any
---@param headers table
---@param length integer|nil bytes of the body, where they are told
---@param from? string the sender's address
---@return integer|nil, string|nil, table|nil
function M.early(app, account, headers, length, from)
  local client = app.accounts[account]
  local status, code, message = 404, "account", nil
  if client then
    status, code = 413, "size"
    if not (length and length > M.limit(client)) then
      local ok, why, detail = app.keep ~= nil, nil, nil -- who keeps bodies must wait for them
      if not ok then
        ok, why, detail = core.verify.headers(client.vendor, headers, (client.webhook or {}).keys)
      end
      status, code, message = not ok and (STATUS[why] or 503) or nil, why, detail
    end
  end
  if not status then return nil end
  M.refused(app, account, status, { code = code, message = message, from = from })
  return M.refusal(status)
end

-- What is the same for all deliveries of an account; nil: there is none of that name.
local function account_of(app, name)
  app.intake = app.intake or {}
  local known = app.intake[name]
  local client = app.accounts[name]
  if known and known.client == client then return known end
  if not client then return nil end
  local hook, vendor = client.webhook or {}, client.vendor
  known = {
    client = client, vendor = vendor, keys = hook.keys, limit = M.limit(client),
    readable = rules.readable(client) ~= false,
    -- digest, data: made only where something is done with them; see id_of and rows_of
    options = { tenant = hook.tenant, tolerance = hook.tolerance, digest = vendor ~= "betterez",
      data = vendor == "dreamapply" },
  }
  app.intake[name] = known
  return known
end

local function rows_of(name, account, delivery, body)
  local rows, redact, whole = {}, vendors[account.vendor].redact, not account.options.data
  for i, found in ipairs(delivery.events) do
    rows[i] = M.row(name, account.vendor, account.readable, delivery, found,
      redact(whole and body or found.data, found.native))
  end
  return rows
end

---Rows of a delivery; or a status, a reply and its headers.
---@param app table
---@param account any
---@param headers any
---@param body any
---@param from? string the sender's address
---@return table|integer, string|nil, table|nil
function M.examine(app, account, headers, body, from)
  local known = account_of(app, account)
  local code, message
  if not known then
    code = "account"
  elseif type(headers) ~= "table" then
    code, message = "header", "headers must be a table"
  elseif type(body) ~= "string" then
    code, message = "malformed", "the body must be a string"
  elseif #body > known.limit then
    code = "size"
  else
    local delivery
    known.options.now = app.clock and app.clock()
    delivery, code, message = check(known.vendor, headers, body, known.keys, known.options)
    if delivery then return rows_of(account, known, delivery, body) end
  end
  local status = STATUS[code] or 503
  M.refused(app, account, status, { code = code, message = message, from = from }, headers, body)
  return M.refusal(status)
end

-- The vendor's own id, as its people know it.
local function news_id(row) return row.account .. ":" .. row.id:match "^%S*" end

---Counts and logs rows that the inbox has taken.
---@param app table
---@param rows table[]
---@param results string[]
function M.admitted(app, rows, results)
  for i, row in ipairs(rows) do
    metrics.add(app, "delivery " .. results[i] .. " " .. row.account)
    if row.secret then metrics.add(app, ("secret %d %s"):format(row.secret, row.account)) end
    app.log(row.reason and "warn" or "info", results[i] == "new" and "admitted" or "duplicate", {
      id = news_id(row), account = row.account, type = row.type,
      invoice = row.invoice, trust = row.trust, secret = row.secret, reason = row.reason,
    })
  end
end

-- A store that is down is down for every delivery: one line, then how many more a minute.
local function not_stored(app, rows, why)
  local account = rows[1] and rows[1].account or "?"
  app.trouble = { at = core.text.monotonic(), why = why }
  metrics.add(app, "delivery not_stored " .. account)
  complain.once(app, "not_stored", { account = account, message = tostring(why),
    id = rows[1] and news_id(rows[1]), answer = 503 })
  return M.refusal(503)
end

local function take(app, account, headers, body, from)
  local rows, reply, reply_headers = M.examine(app, account, headers, body, from)
  if type(rows) ~= "table" then return rows, reply, reply_headers end
  local store, why = app:open()
  local results
  if store then results, why = store:admit(rows) end
  if not results then return not_stored(app, rows, why) end
  app.trouble = nil
  M.admitted(app, rows, results)
  return 200, '{"ok":true}', JSON -- what every vendor counts as success
end

---See App:receive().
---@param app table
---@param account string
---@param headers table
---@param body string
---@param from? string
---@return integer status, string reply, table headers
function M.receive(app, account, headers, body, from)
  local ok, status, reply, reply_headers = pcall(take, app, account, headers, body, from)
  if ok then return status, reply, reply_headers end
  complain.once(app, "internal", { account = tostring(account), message = tostring(status) })
  return M.refusal(503)
end

---See App:health().
---@param app table
---@return boolean|nil, table|nil err
function M.health(app)
  local now = core.text.monotonic()
  if app.trouble and now < app.trouble.at + SUSPICION then return nil, app.trouble.why end
  local last = app.checked
  if last and last.ok and now < last.at + 1 then return true end
  last = { at = now }
  last.ok, last.why = strict.run(app, function(store)
    return store:set("health", ("%.0f"):format(core.text.now()))
  end)
  app.checked = last
  return last.ok, last.why
end

return M

--- Requests of rules to servers of your own: a ledger, a chat, another service.
--
--   local ledger = billhook.http { base_url = "https://ledger.example.org/api",
--     headers = { Authorization = "Bearer " .. os.getenv "LEDGER_TOKEN" } }
--   app:on("invoice.paid", { name = "ledger" }, function(event)
--     return ledger:post("/entries", { invoice = event.invoice_id }, { event = event })
--   end)
--
-- billhook.HttpOptions below has the options.
--
-- A request is sent once. The retry is that of the rule: a rule that fails runs again, with
-- backoff. So a rule ends with `return ledger:post(...)`. The event's id is sent as the idempotency
-- key. It is the same in every attempt, so the server can recognize a request that it has already
-- processed. Wrong use raises at the caller's line. Other failures give nil and an error (see
-- billhook.error); its `retryable` is true where the same request may be sent again.

local core = require "billhook.core"
local errors = require "billhook.error"
local json = require "billhook.json"
local options = require "billhook.options"
local private = require "billhook.private"
local rehearsal = require "billhook.rehearsal"
local responses = require "billhook.client.response"
local retry = require "billhook.client.retry"
local transports = require "billhook.transport"
local version = require "billhook.version"

local M = {}

---Options of `billhook.http`
---@class billhook.HttpOptions
---@field base_url string https. Plain http works only to this machine, or with allow_http
---@field allow_http? boolean allow http to other machines (false)
---@field headers? table<string, string> sent with every request. Errors never quote their values
---@field timeout? number seconds for the whole request (30)
---@field connect_timeout? number seconds for the connection, as a part of timeout (5)
---@field limit? integer the largest answer in bytes (8388608)
---@field idempotency_header? string the header that carries the idempotency key ("Idempotency-Key")
---@field transport? string|table as for a client: the transport's name, or a table
---@field ca_file? string as for a client: a file of certificates to trust
---@field proxy? string as for a client: the proxy's URL

---Settings of one request
---@class billhook.HttpSettings
---@field event? billhook.Event its id becomes the idempotency key
---@field idempotency_key? string a key of your own instead of the event's id
---@field headers? table<string, string> added to those of the options, or in place of them
---@field query? table<string, string|number|boolean> appended to the path, percent-encoded
---@field timeout? number seconds for this request
---@field answer? "json"|"text" "json": any other answer is an error; "text": do not decode

---@class billhook.Http
local Http = {}
local mt = { __index = Http, __name = "billhook.http" }

local MEBIBYTE = 1048576

local function check_headers(given)
  local headers = {}
  for name, value in pairs(given) do
    if type(name) ~= "string" or type(value) ~= "string" then
      return nil, "must have strings as names and values"
    end
    headers[name] = value
  end
  return headers
end

local known = {
  base_url = { "string" }, -- checked as a whole below: it depends on allow_http
  allow_http = { "boolean", default = false },
  headers = { "table", check = check_headers, default = {} },
  timeout = { "number", check = options.positive, default = 30 },
  connect_timeout = { "number", check = options.positive, default = 5 },
  limit = { "number", check = options.counting, default = 8 * MEBIBYTE },
  idempotency_header = { "string", check = options.token, default = "Idempotency-Key" },
  transport = { { "string", "table" } },
  ca_file = { "string" },
  proxy = { "string", check = options.proxy },
}

local function check_event(event)
  if type(event.id) == "string" then return event end
  return nil, "must be the event that the rule was given"
end

local function check_answer(answer)
  if answer == "json" or answer == "text" then return answer end
  return nil, 'must be "json" or "text"'
end

local known_of_one = {
  event = { "table", check = check_event },
  idempotency_key = { "string", check = options.header },
  headers = { "table", check = check_headers, default = {} },
  query = { "table" },
  timeout = { "number", check = options.positive },
  answer = { "string", check = check_answer },
}

-- --- the request -------------------------------------------------------------------------------

-- Headers of which the later ones replace earlier ones of the same name, in whatever case.
local function merged(...)
  local headers, spelled = {}, {}
  for _, some in ipairs { ... } do
    for name, value in pairs(some) do
      local lower = name:lower()
      if spelled[lower] then headers[spelled[lower]] = nil end
      headers[name], spelled[lower] = value, name
    end
  end
  return headers
end

local function query_of(given, owner, level)
  local parts = {}
  for name, value in pairs(given) do
    if type(name) ~= "string" or type(value) == "table" or type(value) == "function" then
      error(options.wrong(owner, "query", "must have texts, numbers and booleans by name", given),
        level + 1)
    elseif type(value) == "number" and value % 1 == 0 then
      value = ("%.0f"):format(value)
    end
    parts[#parts + 1] = core.text.percent(name) .. "=" .. core.text.percent(tostring(value))
  end
  table.sort(parts)
  return table.concat(parts, "&")
end

local function url_of(my, path, settings, owner, level)
  if type(path) ~= "string" or path ~= "" and not path:find "^[/?]" or path:find("#", 1, true) then
    error(options.wrong(owner, "path", "must be a text that begins with /", path), level + 1)
  end
  local query = settings.query and query_of(settings.query, owner, level + 1) or ""
  if query ~= "" then path = path .. (path:find("?", 1, true) and "&" or "?") .. query end
  return my.base.url .. path
end

local function body_of(body, owner, level)
  if type(body) == "table" then
    local fine, text = pcall(json.encode, body)
    if fine then return text, "application/json" end
    error(("%s: 'body' can't be written as JSON: %s"):format(owner, text), level + 1)
  elseif body ~= nil and type(body) ~= "string" then
    error(options.wrong(owner, "body", "must be a table or a string", body), level + 1)
  end
  return body, body and "text/plain; charset=utf-8" or nil
end

-- Raises what no transport would carry; `level` counts from the caller of the function here.
local function check(message, level)
  local fine, why = pcall(core.request.check, message)
  if not fine then error((why:gsub("^[^%s:]+:%d+: ", "")), level + 1) end
end

-- What the transport is to carry, checked here so that a mistake is told where it was made.
local function message_of(my, method, path, body, settings, owner, level)
  local text, kind = body_of(body, owner, level + 1)
  local key = settings.idempotency_key or settings.event and settings.event.id
  local own = { ["User-Agent"] = "billhook/" .. version, ["Content-Type"] = kind,
    Accept = settings.answer == "text" and "*/*" or "application/json, */*;q=0.5",
    [my.options.idempotency_header] = key }
  local message = { method = method, url = url_of(my, path, settings, owner, level + 1),
    headers = merged(own, my.options.headers, settings.headers), body = text,
    timeout = settings.timeout or my.options.timeout, limit = my.options.limit,
    ca_file = my.options.ca_file, proxy = my.options.proxy }
  message.connect_timeout = math.min(my.options.connect_timeout, message.timeout)
  check(message, level + 1)
  return message, key ~= nil
end

-- --- the answer --------------------------------------------------------------------------------

-- Sending one of these again does no more than sending it once.
local SAFE = { GET = true, HEAD = true, PUT = true, DELETE = true }

-- What a status means is the core's to say; a call of one vendor's stands for all.
local function refusal(response)
  local outcome = core.call.conclude("dreamapply", "ping", response.status, response.headers)
  return responses.refusal(response, outcome, core.text.now())
end

local function says_json(response)
  return (response.headers["content-type"] or ""):find("json", 1, true)
    or response.body:find "^%s*[{%[]"
end

-- What came of a success: a value that is neither nil nor false, or nil and what is wrong with it.
local function read(response, wanted)
  local body = response.body
  if wanted == "text" then return body end
  local function unreadable(message)
    return nil, { kind = "decode", message = message, status = response.status, body = body,
      retryable = false }
  end
  if not body:find "%S" then
    if wanted then return unreadable "the answer is empty where JSON was expected" end
    return true
  elseif wanted or says_json(response) then
    local value, why = json.decode(body)
    if value == false then return unreadable "the answer is false" end
    if value ~= nil then return value end
    local page = responses.page_error(response, "JSON")
    return unreadable(page and page.message or why)
  end
  local page = responses.page_error(response, "JSON or a text")
  if page then return unreadable(page.message) end
  return body
end

-- --- sending -----------------------------------------------------------------------------------

local function failed(my, message, repeatable, fault)
  fault.retryable = retry.repeatable(repeatable, fault)
  fault.attempts, fault.processed, fault.open = 1, nil, nil
  fault.body = responses.quoted({}, fault.body)
  local path = message.url:sub(#my.base.url + 1):match "^[^?]*"
  fault.operation = ("%s %s at %s"):format(message.method, path == "" and "/" or path, my.base.host)
  fault.secrets = my.secrets
  return nil, errors.new(fault)
end

local function transport_of(my)
  my.transport = my.transport or transports.pick()
  return my.transport
end

local function perform(self, owner, method, path, body, given, level)
  local my = private.of(self, mt)
  if not my then error(options.no_method(owner), level + 1) end
  local settings = options.read(known_of_one, given, owner, level + 1)
  local message, keyed = message_of(my, method, path, body, settings, owner, level + 1)
  local safe = method == "GET" or method == "HEAD"
  if not safe and rehearsal.told { method = method, url = message.url, body = message.body } then
    return {}
  end
  local repeatable = SAFE[method] or keyed
  local transport = transport_of(my)
  local unable = transport.unable and transport.unable()
  if unable then
    return failed(my, message, repeatable, { kind = "network", message = unable, sent = false })
  end
  local response, err = transport:request(message)
  if not response then
    local fault = {}
    for name, value in pairs(err) do fault[name] = value end
    return failed(my, message, repeatable, fault)
  end
  if response.status < 200 or response.status > 299 then
    return failed(my, message, repeatable, refusal(response))
  end
  local value, why = read(response, settings.answer)
  if value == nil then return failed(my, message, repeatable, why) end
  return value, response
end

--- Sends a request. An answer in JSON is decoded, another one is given as a string, an empty one as
-- true. A page of HTML is an error even with status 200: many servers send one while they are down.
---@param method "GET"|"HEAD"|"POST"|"PUT"|"PATCH"|"DELETE"
---@param path string below base_url, with its /
---@param body table|string|nil a table is sent as JSON
---@param settings billhook.HttpSettings?
---@return any answer nil: it failed
---@return table response { status, headers, body }; or the error
function Http:request(method, path, body, settings)
  local answer, response = perform(self, "request", method, path, body, settings, 2)
  return answer, response
end

--- Sends a table as JSON, or a string unchanged, with POST.
---@param path string
---@param body table|string|nil
---@param settings billhook.HttpSettings?
---@return any answer nil: it failed
---@return table response { status, headers, body }; or the error
function Http:post(path, body, settings)
  local answer, response = perform(self, "post", "POST", path, body, settings, 2)
  return answer, response
end

--- Sends the same with PUT.
---@param path string
---@param body table|string|nil
---@param settings billhook.HttpSettings?
---@return any answer nil: it failed
---@return table response { status, headers, body }; or the error
function Http:put(path, body, settings)
  local answer, response = perform(self, "put", "PUT", path, body, settings, 2)
  return answer, response
end

--- Sends a GET.
---@param path string
---@param settings billhook.HttpSettings?
---@return any answer nil: it failed
---@return table response { status, headers, body }; or the error
function Http:get(path, settings)
  local answer, response = perform(self, "get", "GET", path, nil, settings, 2)
  return answer, response
end

--- Sends a DELETE.
---@param path string
---@param settings billhook.HttpSettings?
---@return any answer nil: it failed
---@return table response { status, headers, body }; or the error
function Http:delete(path, settings)
  local answer, response = perform(self, "delete", "DELETE", path, nil, settings, 2)
  return answer, response
end

function mt.__tostring(self)
  return ("billhook.http (%s)"):format(private.of(self, mt).base.origin)
end

-- --- making one --------------------------------------------------------------------------------

-- What errors must not quote: values of headers, and what stands in them behind a scheme's name.
local function secrets_of(settings)
  local secrets = {}
  local function add(text)
    if text and #text > 0 then secrets[#secrets + 1] = text end
  end
  for name, value in pairs(settings.headers) do
    local lower = name:lower()
    if lower ~= "content-type" and lower ~= "accept" and lower ~= "user-agent" then
      add(value)
      local rest = value:match "^%a+ (%S+)$"
      add(rest)
      local pair = rest and value:find "^[Bb]asic " and core.text.unbase64(rest)
      add(pair and pair:match ":(.+)")
    end
  end
  add((settings.proxy or ""):match "^[^/]*//([^/]*)@")
  return secrets
end

--- Makes an object that sends requests to one server.
---@param given billhook.HttpOptions
---@return billhook.Http
function M.new(given)
  local settings = options.read(known, given, "billhook.http", 2)
  if not settings.base_url then error("billhook.http: 'base_url' is missing", 2) end
  local base, why = options.base_url(settings.base_url, settings.allow_http)
  if not base then error("billhook.http: 'base_url' " .. why, 2) end
  local message = { method = "GET", url = base.url, headers = settings.headers }
  check(message, 2)
  local transport
  if settings.transport then
    local picked
    picked, transport = pcall(transports.pick, settings.transport, 0)
    if not picked then
      error("billhook.http: 'transport' can't be used: " .. tostring(transport), 2)
    end
  end
  return private.give({}, mt, { options = settings, base = base, secrets = secrets_of(settings),
    transport = transport })
end

return M

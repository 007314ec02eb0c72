-- streams.lua - reads streams and tells what came, as plain data: here, or inside of nginx.

local M = {}

-- The body of a request's answer, to its end or for options.pieces pieces, with options.pause
-- seconds after each: { status, headers, bytes, largest, pieces, text (the first 100 bytes), kib
-- (memory that was needed), kind, message, sent }.
function M.drain(transport, request, options)
  options = options or {}
  local reader, failure = transport:stream(request)
  local out = { bytes = 0, largest = 0, pieces = 0, text = "", kib = 0 }
  local chunk
  if reader then
    out.status, out.headers = reader.status, reader.headers
    collectgarbage()
    local before = collectgarbage "count"
    repeat
      chunk, failure = reader:read()
      if chunk then
        out.bytes, out.pieces = out.bytes + #chunk, out.pieces + 1
        out.largest = math.max(out.largest, #chunk)
        out.text = (out.text .. chunk:sub(1, 100)):sub(1, 100)
        out.kib = math.max(out.kib, collectgarbage "count" - before)
        if options.pause then transport:sleep(options.pause) end
      end
    until not chunk or out.pieces == options.pieces
    reader:close()
  end
  for name, value in pairs(failure or {}) do out[name] = value end
  return out
end

-- A client whose lists come from this URL. `fields` are those of the request.
local function client_of(transport, url, fields)
  return require("billhook").dreamapply { base_url = "http://127.0.0.1:1",
    api_key = "a key of each", quota = false, attempts = 1, transport = {
      request = function() error "not asked for" end,
      sleep = function() end,
      stream = function(_, request)
        request.url = url
        for name, value in pairs(fields or {}) do request[name] = value end
        return transport:stream(request)
      end,
    } }
end

-- Calls fn with a walk.
function M.begin(transport, url, fn)
  fn(client_of(transport, url).invoices:each())
end

-- The invoices that `each` gives from this URL, the first options.stop of them: { n (how many),
-- last (the id), kind, message, operation }.
function M.walk(transport, url, options)
  local client = client_of(transport, url, options.fields)
  local out = { n = 0 }
  local walk = client.invoices:each()
  local fine, err = pcall(function()
    for invoice in walk do
      out.n, out.last = out.n + 1, invoice.id
      if out.n == options.stop then return walk:close() end
    end
  end)
  if not fine then
    out.kind, out.message = type(err) == "table" and err.kind or "raised", tostring(err)
    out.operation = type(err) == "table" and err.operation or nil
  end
  return out
end

return M

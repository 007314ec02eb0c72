-- sandbox.lua - the sandbox in a real nginx, asked with raw requests: what it answers is compared
-- with the vendors' documents, so nothing of ours stands between.
--
--   local sandbox = require("spec.support.sandbox").start()
--   local status, value, headers, text = sandbox:ask("GET", "/api/v9/invoices", { key = "value" })
--   sandbox:order("trigger", { vendor = "dreamapply" })
--   sandbox:hooks(2)          -- what was posted to the webhooks' address, once it is 2
--   sandbox:stop()
--
-- A value keeps its nulls (M.null).

local cjson = require("cjson").new()
local nginx = require "spec.support.nginx"
local sandbox = require "billhook.sandbox"

local M = {}
local Sandbox = {}
Sandbox.__index = Sandbox

M.null = cjson.null

-- keeps what it gets, and answers with the status of its path
local receiver = [[
  location /hook/ { content_by_lua_block {
    ngx.req.read_body()
    got = got or {}
    got[#got + 1] = { body = ngx.req.get_body_data(), headers = ngx.req.get_headers() }
    ngx.status = tonumber(ngx.var.uri:match("%d+")) or 200
    ngx.print("{}")
  } }
  location /got { content_by_lua_block {
    ngx.print(require("cjson").encode(got or {}))
    if ngx.var.arg_clear then got = nil end
  } }
]]

--- A sandbox whose webhooks go to a receiver that answers 200.
function M.start()
  local port = require("spec.support.port").free()
  local self = setmetatable({ receiver = port }, Sandbox)
  self.server = nginx.start { http = sandbox.conf { listen = "127.0.0.1:PORT2" }
    .. ("server { listen 127.0.0.1:%d; %s }"):format(port, receiver) }
  self:point(200)
  return self
end

function Sandbox:stop() self.server:stop() end

--- Forgets everything, and what was received.
function Sandbox:clear()
  self:order "reset"
  self:order("options", { vendor = "dreamapply", empty = "sample", lag = 0 })
  nginx.request(self.receiver, { path = "/got?clear=1" })
  self:point(200)
end

--- Has the webhooks' address answer with a status.
function Sandbox:point(status)
  local url = ("http://127.0.0.1:%d/hook/%d"):format(self.receiver, status)
  self:order("webhooks", { dreamapply = url, dreamclass = url, betterez = url })
end

--- Sends a request: status, value (of JSON; else the text), headers, text.
function Sandbox:ask(method, path, headers, body)
  local status, named, text = self.server:request { port = self.server.ports[2], method = method,
    path = path, headers = headers, body = body }
  local is_json = status and text ~= "" and named["content-type"]:find("json", 1, true)
  return status, is_json and cjson.decode(text) or text, named, text
end

--- Steers it. Gives the answer.
function Sandbox:order(name, fields)
  local status, value = self:ask("POST", "/sandbox/" .. name, nil, cjson.encode(fields or
    cjson.empty_array or {}))
  assert(status == 200, name .. ": " .. tostring(type(value) == "table" and value.error or value))
  return value
end

--- The first n webhooks, as they came: body (decoded), text, headers.
function Sandbox:hooks(n)
  local list = nginx.wait(n .. " webhooks", function()
    local _, _, text = nginx.request(self.receiver, { path = "/got" })
    local got = cjson.decode(text)
    return #got >= n and got
  end)
  for _, one in ipairs(list) do one.text, one.body = one.body, cjson.decode(one.body) end
  return list
end

--- A delivery, once it is no longer pending.
function Sandbox:settled(n)
  return nginx.wait("delivery " .. n .. " to end", function()
    local _, list = self:ask("GET", "/sandbox/deliveries")
    return list[n] and list[n].state ~= "pending" and list[n]
  end)
end

return M

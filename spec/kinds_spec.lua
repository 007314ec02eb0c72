-- Answers that go wrong, in the kinds of support/kinds.lua, over each transport: the fake one, curl
-- and, inside a real nginx, worker and resty.

local fake = require "billhook.transport.fake"
local kinds = require "spec.support.kinds"
local nginx = require "spec.support.nginx"
local remote = require "spec.support.remote"

local served = [[
  location ~ "^/kind/(?<number>[0-9]+)(?<rest>/.*)$" { content_by_lua_block {
    ngx.req.read_body()
    local status, headers, body = require("spec.support.kinds").answer(tonumber(ngx.var.number), {
      method = ngx.req.get_method(), path = ngx.var.uri, query = ngx.var.args or "",
      host = ngx.var.http_host, body = ngx.req.get_body_data() })
    ngx.status = status
    for name, value in pairs(headers) do ngx.header[name] = value end
    ngx.header["Content-Length"] = #body
    ngx.print(body)
  } }
]]

local asked = [[
  location /check { content_by_lua_block {
    local what = given()
    local why = require("spec.support.kinds").check(what.n, what.base, { transport = transport })
    ngx.print(json.encode { why = why })
  } }
]]

local function through_fake(n)
  local transport = fake.new(function(request)
    local path, query = request.url:match("^%a+://[^/]+([^?]*)%??(.*)$")
    local status, headers, body = kinds.answer(n, { method = request.method, path = path,
      query = query, host = "kinds.example", body = request.body })
    return { status = status, headers = headers, body = body }
  end)
  return kinds.check(n, "https://kinds.example/kind/" .. n, { transport = transport })
end

local function numbers_of(kind)
  local numbers = {}
  for n, one in ipairs(kinds.examples) do
    if one.kind == kind then numbers[#numbers + 1] = n end
  end
  return numbers
end

describe("over each transport,", function()
  local server, nginxes = nil, {}

  setup(function()
    server = nginx.start { http = 'init_by_lua_block { package.path = package.path .. ";./?.lua" }',
      server = served }
    for _, name in ipairs { "worker", "resty" } do
      nginxes[name] = remote.start(name, { server = asked })
    end
  end)

  teardown(function()
    server:stop()
    for _, one in pairs(nginxes) do one:stop() end
  end)

  local function base(n) return server:url("/kind/" .. n) end

  local ways = {
    fake = through_fake,
    curl = function(n) return kinds.check(n, base(n), { transport = "curl" }) end,
    worker = function(n) return nginxes.worker:ask("/check", { n = n, base = base(n) }).why end,
    resty = function(n) return nginxes.resty:ask("/check", { n = n, base = base(n) }).why end,
  }

  local seen = {}
  for _, one in ipairs(kinds.examples) do
    if not seen[one.kind] then
      seen[one.kind] = true
      for name, way in pairs(ways) do
        it(one.kind .. " (" .. name .. ")", function()
          for _, n in ipairs(numbers_of(one.kind)) do assert.equal("", way(n) or "") end
        end)
      end
    end
  end
end)

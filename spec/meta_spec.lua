-- What editors are told about the shared objects is what they hold.
local core = require "billhook.core"

describe("lua/billhook/meta.lua", function()
  local file = assert(io.open "lua/billhook/meta.lua")
  local text = file:read "*a"
  file:close()

  local function declared(name)
    return text:find("\nfunction " .. name .. "(", 1, true) ~= nil
  end

  it("is Lua", function()
    assert.is_function((loadstring or load)(text))
  end)

  for _, part in ipairs { "json", "text", "decimal", "verify", "call", "request" } do
    it("declares all of core." .. part, function()
      for name, value in pairs(core[part]) do
        if type(value) == "function" then
          assert.is_true(declared(part .. "." .. name), part .. "." .. name)
        end
      end
    end)
  end

  it("declares the methods of decimals, streams and transfers", function()
    for class, object in pairs { amount = core.decimal.new(1), stream = core.json.stream(),
        mark = core.call.mark(), pool = require("billhook.curl").new() } do
      local methods = (debug.getmetatable or getmetatable)(object).__index
      for name in pairs(type(methods) == "table" and methods or {}) do
        assert.is_true(declared(class .. ":" .. name), class .. ":" .. name)
      end
    end
  end)

  it("declares nothing that is not there", function()
    for part, name in text:gmatch "\nfunction (%l+)%.([%w_]+)%(" do
      local module = core[part] or require("billhook." .. part)
      assert.is_function(module[name], part .. "." .. name)
    end
  end)
end)

-- --- what users call ---------------------------------------------------------------------------

local function read(path)
  local handle = assert(io.open(path))
  local content = handle:read "*a"
  handle:close()
  return content
end

local function lines_of(path)
  local found = {}
  for line in io.lines(path) do found[#found + 1] = line end
  return found
end

-- The comment that ends above a line.
local function comment_above(lines, at)
  local found = {}
  for i = at - 1, 1, -1 do
    if not lines[i]:find "^%-%-" then break end
    table.insert(found, 1, lines[i])
  end
  return found[1] and found[1]:find "^%-%-%-" and table.concat(found, "\n") or ""
end

-- These give nothing: they write an answer, or keep what they are given.
local silent = { receive = "nginx/receive", healthz = "nginx/receive",
  metrics = "nginx/receive", start = "nginx/receive",
  count = "nginx/receive", use_store = "app" }

-- What is wrong with the comment of a function with these parameters.
local function fault_of(comment, parameters, quiet)
  if comment == "" then return "no docstring" end
  for name in parameters:gmatch "[%w_%.]+" do
    if not comment:find("%-%-%-@param " .. (name == "..." and "%.%.%." or name) .. "%??%s") then
      return "no @param " .. name
    end
  end
  if not quiet and not comment:find "%-%-%-@return" then return "no @return" end
end

-- Public files, and the pattern of their public functions.
local public = {
  ["lua/billhook/init.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/client/init.lua"] = "^function client:([%w_]+)%((.-)%)",
  ["lua/billhook/app/init.lua"] = "^function App:([%w_]+)%((.-)%)",
  ["lua/billhook/app/event.lua"] = "^function Event:([%w_]+)%((.-)%)",
  ["lua/billhook/invoice/init.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/json.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/error.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/client/map.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/webhook.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/http.lua"] = "^function Http:([%w_]+)%((.-)%)",
  ["lua/billhook/testing/init.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/testing/school.lua"] = "^function School:([%w_]+)%((.-)%)",
  ["lua/billhook/transport/fake.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/nginx/receive.lua"] = "^function M%.([%w_]+)%((.-)%)",
  ["lua/billhook/calls_meta.lua"] = "^function [%l_]+:([%w_]+)%((.-)%)",
}

-- The names of design and documentation, and where each is.
local wanted = {
  ["lua/billhook/init.lua"] = "dreamapply dreamclass betterez calls",
  ["lua/billhook/client/init.lua"] = "call ping quota settle can",
  ["lua/billhook/app/init.lua"] = "on on_dead receive work poll reconcile",
  ["lua/billhook/app/event.lua"] = "invoice once try_once retry_after deliveries",
  ["lua/billhook/invoice/init.lua"] = "lines total paid balance number reference currency due_date"
    .. " issued payer status is_overdue statement tag",
  ["lua/billhook/client/map.lua"] = "map",
  ["lua/billhook/webhook.lua"] = "verify sign",
  ["lua/billhook/http.lua"] = "request post put get delete",
  ["lua/billhook/testing/init.lua"] = "event call time",
  ["lua/billhook/testing/school.lua"] = "happen issue update pay unpay delete overdue forge lose"
    .. " fail invoice",
  ["lua/billhook/nginx/receive.lua"] = "receive healthz metrics start",
}

describe("a public function", function()
  for path, pattern in pairs(public) do
    it("of " .. path .. " says what it takes and gives", function()
      local bad, seen, lines = {}, {}, lines_of(path)
      for i, line in ipairs(lines) do
        local name, parameters = line:match(pattern)
        if name then
          seen[name] = true
          local quiet = silent[name] and path:find(silent[name], 1, true)
          local fault = fault_of(comment_above(lines, i), parameters, quiet)
          if fault then bad[#bad + 1] = ("%s:%d: %s: %s"):format(path, i, name, fault) end
        end
      end
      assert.same({}, bad)
      assert.is_truthy(next(seen))
      for name in (wanted[path] or ""):gmatch "%S+" do assert.is_true(seen[name], name) end
    end)
  end

  it("of a vendor is told to editors, and no other", function()
    local billhook = require "billhook"
    local declared = {}
    local told
    for _, line in ipairs(lines_of "lua/billhook/calls_meta.lua") do
      told = line:match "^%-%-%-@class billhook%.(%l+%.[%l_]+)$" or told
      local verb, parameters = line:match "^function [%l_]+:([%w_]+)%((.-)%)"
      if verb then declared[told .. "." .. verb] = parameters end
    end
    for vendor, made in pairs {
      dreamapply = billhook.dreamapply { base_url = "https://x.org", api_key = "abcdef" },
      dreamclass = billhook.dreamclass { api_key = "abcdef" },
      betterez = billhook.betterez { api_key = "abcdef" },
    } do
      for name, resource in pairs(made) do
        local class = type(resource) == "table" and getmetatable(resource)
        for verb in pairs(class and type(class.__index) == "table" and class.__index or {}) do
          local whole = ("%s.%s.%s"):format(vendor, name, verb)
          assert.is_truthy(declared[whole], whole)
          declared[whole] = nil
        end
      end
    end
    assert.is_nil(next(declared))
  end)

  it("of a vendor is told as docs/calls.lua writes it, and so is the table in the docs", function()
    local calls = dofile "docs/calls.lua"
    assert.equal(calls.types(), read "lua/billhook/calls_meta.lua")
    assert.equal(calls.page(), read "docs/vendors.md")
  end)

  it("of a client has all options told to editors", function()
    local text_of = read "lua/billhook/api_meta.lua"
    for name in pairs(require("billhook.client.account").rules) do
      assert.matches("\n---@field " .. name .. " ", text_of, 1, true)
    end
    for _, kind in ipairs(require("billhook.error").kinds) do
      assert.matches('\n---| "' .. kind .. '"\n', text_of, 1, true)
    end
  end)
end)

-- --- apps, rules and events ---------------------------------------------------------------------

-- The fields of a class of app_meta.lua, as a set.
local function fields_of(class)
  local text_of, found = read "lua/billhook/app_meta.lua", {}
  local part = assert(text_of:match("\n%-%-%-@class billhook%." .. class .. "\n(.-)\n\n"
    ) or text_of:match("\n%-%-%-@class billhook%." .. class .. "\n(.*)$"), class)
  for name in part:gmatch "%-%-%-@field ([%w_]+) " do found[name] = true end
  return found
end

local function app_with(given)
  local billhook = require "billhook"
  local options = { inbox = "memory:", log = function() end, accounts = {
    school = billhook.dreamclass { tenant = "my-school", webhook = { secret = "123" } } } }
  for name, value in pairs(given or {}) do options[name] = value end
  return billhook.app(options)
end

describe("what editors are told", function()
  it("of an event is what a rule is given", function()
    local told, seen, given = fields_of "Event", nil, {}
    local app = app_with()
    app:on("*", function(event) seen = event end)
    local headers, body = require("billhook").sign("dreamclass", [[{ "tenant": "my-school",
      "id": "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", "type": "INVOICE_CREATED",
      "timestamp": 1727884920561, "data": { "id": 1 } }]], { secret = "123" })
    assert.equal(200, (app:receive("school", headers, body)))
    assert.equal(1, app:work())
    for name in pairs(seen) do given[name] = true end
    -- these are made when they are read, or are nil in this event
    for name in read("lua/billhook/app/event.lua"):gmatch "\nfunction lazy%.([%w_]+)" do
      given[name] = true
    end
    given.version, given.after_failure = true, true
    assert.same(given, told)
    for name in pairs(told) do
      assert.is_truthy(read("docs/rules.md"):match("\n|[^|\n]*`" .. name .. "`[^\n]*|"), name)
    end
  end)

  it("of a delivery is what event:deliveries() gives", function()
    local told = fields_of "Delivery"
    local app, list = app_with(), nil
    app:on("*", function(event) list = event:deliveries() end)
    local headers, body = require("billhook").sign("dreamclass", [[{ "tenant": "my-school",
      "id": "aa3a27d6-05b5-4fcd-bd04-505bfffacfc2", "type": "INVOICE_CREATED",
      "timestamp": 1727884920561, "data": { "id": 1 } }]], { secret = "123" })
    app:receive("school", headers, body)
    assert.equal(1, app:work())
    assert.equal(1, #list)
    told.reason = nil
    for name in pairs(told) do assert.is_not_nil(list[1][name], name) end
  end)

  it("of an app's options is what it takes", function()
    local told = fields_of "AppOptions"
    for name in pairs(told) do
      local ok, why = pcall(app_with, { [name] = coroutine.create(print) })
      assert.is_false(ok, name)
      assert.matches("billhook.app: '" .. name .. "' must", why, 1, true)
      assert.is_truthy(read("docs/rules.md"):find(name, 1, true), name)
    end
    for _, name in ipairs { "inbox", "accounts", "overdue", "attempts", "backoff", "hold", "budget",
      "stop_after", "retention", "poll_every", "log", "clock", "random" } do
      assert.is_true(told[name], name)
    end
  end)

  it("of a rule's options is what it takes", function()
    local told = fields_of "RuleOptions"
    local _, why = pcall(function() app_with():on("*", { nothing = 1 }, print) end)
    local known = {}
    for name in why:match("there are (.*)$"):gmatch "[%l_]+" do known[name] = true end
    assert.same(known, told)
  end)

  it("of billhook.http and testing.world is what they take", function()
    local billhook, testing = require "billhook", require "billhook.testing"
    local function fields(path, class)
      local found = {}
      local part = assert(read(path):match("%-%-%-@class " .. class .. "\n(.-)\n\n"), class)
      for name in part:gmatch "%-%-%-@field ([%w_]+)%??" do found[name] = true end
      return found
    end
    local function known(fn, ...)
      local ok, why = pcall(fn, ...)
      assert.is_false(ok)
      local found = {}
      for name in assert(why:match "there are (.*)$", why):gmatch "[%w_]+" do found[name] = true end
      return found
    end
    local ledger = billhook.http { base_url = "https://ledger.example.org" }
    local path = "lua/billhook/http.lua"
    assert.same(known(billhook.http, { no = 1 }), fields(path, "billhook.HttpOptions"))
    assert.same(known(ledger.get, ledger, "/", { no = 1 }), fields(path, "billhook.HttpSettings"))
    assert.same(known(testing.world, { no = 1 }),
      fields("lua/billhook/testing/world.lua", "billhook.testing.WorldOptions"))
  end)

  it("of a report is what app:reconcile gives", function()
    local told, billhook = fields_of "Report", require "billhook"
    local app = app_with { accounts = { admissions = billhook.dreamapply {
      base_url = "https://apply.test", api_key = "key",
      transport = require("billhook.transport.fake").new(function()
        return { status = 200, body = "{}" }
      end) } } }
    local report = assert(app:reconcile("admissions", { dry_run = true }))
    assert.equal(0, report.seen)
    for name in pairs(report) do assert.is_true(told[name], name) end
  end)
end)

-- billhook.map over real sockets: coroutines over one libcurl in plain Lua, light threads in nginx.

local billhook = require "billhook"
local caller = require "billhook.caller"
local curl = require "billhook.transport.curl"
local errors = require "billhook.error"
local json = require "billhook.json"
local nginx = require "spec.support.nginx"
local peer = require "spec.support.peer"

local answer = peer.answer

describe("billhook.map", function()
  local far, transport = nil, curl.shared()

  setup(function() far = peer.start() end)
  teardown(function() far:stop() end)

  local function get(...)
    local response, failure = transport:request { method = "GET", url = far:url(...) }
    return response and response.body, failure
  end

  it("waits for all answers at once, and gives them in order", function()
    local under_way, most = 0, 0
    local results, errs = billhook.map({ 300, 200, 100, 50, 20, 10 }, function(ms, i)
      under_way = under_way + 1
      most = math.max(most, under_way)
      local body, failure = get("wait=" .. ms, answer(200, {}, tostring(i)))
      under_way = under_way - 1
      return body, failure
    end, { concurrency = 4 })
    assert.same({ "1", "2", "3", "4", "5", "6", n = 6 }, results)
    assert.same({}, errs)
    assert.equal(4, most)
  end)

  it("keeps the reason, however an item says that it failed", function()
    local results, reasons = billhook.map({ 1, 2, 3, 4, 5, 6 }, function(i)
      if i == 1 then return nil, "refused" end
      if i == 2 then return false, "refused" end
      if i == 3 then return pcall(error, "refused") end
      if i == 4 then error("refused", 0) end
      if i == 5 then return false end
    end)
    assert.same({ "refused", "refused", "refused", "refused" }, reasons)
    assert.same({ n = 6, [2] = false, [3] = false, [5] = false }, results)
  end)

  it("may be called inside itself", function()
    local under_way, most = 0, 0
    local results = billhook.map({ "a", "b", "c" }, function(name)
      local inner = billhook.map({ 1, 2 }, function(n)
        under_way = under_way + 1
        most = math.max(most, under_way)
        local body = get("wait=50", answer(200, {}, name .. n))
        under_way = under_way - 1
        return body
      end)
      return inner[1] .. inner[2]
    end)
    assert.same({ "a1a2", "b1b2", "c1c2", n = 3 }, results)
    assert.equal(6, most)
  end)

  it("calls for whoever called it", function()
    local function named() return caller.name_of "call" ~= nil end
    assert.same({ false, false, n = 2 }, (billhook.map({ 1, 2 }, named)))
    local leave = caller.enter "event and rule"
    local results = billhook.map({ 1, 2 }, named)
    leave()
    assert.same({ true, true, n = 2 }, results)
    assert.is_false(named())
  end)

  it("begins no other item once it is cancelled, and ends those that it began", function()
    local results, errs = billhook.map({ 1, 2, 3, 4 }, function(item, _, cancel)
      if item == 1 then
        cancel("enough")
        return "one"
      end
      return get("wait=50", answer(200, {}, "two"))
    end, { concurrency = 2 })
    assert.same({ "one", "two", n = 4 }, results)
    assert.is_nil(errs[1])
    assert.is_nil(errs[2])
    for i = 3, 4 do
      assert.is_true(errors.is(errs[i]))
      assert.equal("cancelled", errs[i].kind)
      assert.equal("enough", errs[i].message)
    end
    results, errs = billhook.map({ 1, 2 }, function(_, _, cancel) cancel() end,
      { concurrency = 1 })
    assert.same({ n = 2 }, results)
    assert.equal("cancelled by another item", errs[2].message)
  end)

  it("leaves the transport as it was when it is interrupted", function()
    local real = transport.pool
    local pool = { poll = function() error("interrupted", 0) end }
    transport.pool = pool
    local fine, why = pcall(billhook.map, { 1, 2 }, function() transport:wait(1) end)
    local after, aside = transport.pool, transport.aside
    transport.pool = real
    assert.is_nil(aside)
    assert.is_false(fine)
    assert.equal("interrupted", why)
    assert.equal(pool, after)
    assert.equal("again", billhook.map({ 1 }, function()
      return get("wait=10", answer(200, {}, "again"))
    end)[1])
  end)
end)

describe("billhook.map in nginx", function()
  local front, far

  setup(function()
    far = peer.start()
    front = nginx.start {
      http = [[ init_worker_by_lua_block {
        billhook, json = require "billhook", require "billhook.json"
        transport = require("billhook.transport").pick("worker")
      } ]],
      server = [[ location /caller { content_by_lua_block {
        local caller = require "billhook.caller"
        local function named() return tostring(caller.name_of "call" ~= nil) end
        local leave = caller.enter "event and rule"
        local results = billhook.map({ 1, 2, 3 }, function()
          ngx.sleep(0)
          return named()
        end, { concurrency = 2 })
        leave()
        local none = billhook.map({ 1, 2 }, named)
        ngx.print(table.concat(results, " "), " ", table.concat(none, " "), " ", named())
      } } ]] .. "client_body_buffer_size 1m;" .. [[
        location /map { content_by_lua_block {
          ngx.req.read_body()
          local urls = json.decode(ngx.req.get_body_data())
          local most, under_way = 0, 0
          local results, errors = billhook.map(urls, function(url, i, cancel)
            under_way = under_way + 1
            most = math.max(most, under_way)
            if url == "raise" then error({ "raised" }) end
            if url == "cancel" then return "stopped", cancel("enough") end
            local response, failure = transport:request { method = "GET", url = url }
            under_way = under_way - 1
            return response and response.body .. i, failure
          end, { concurrency = tonumber(ngx.var.arg_n) })
          local said = {}
          for i = 1, results.n do
            local err = errors[i]
            said[i] = results[i] or err.kind or err[1]
          end
          ngx.print(json.encode { most = most, said = said })
        } }
      ]],
    }
  end)

  teardown(function()
    far:stop()
    front:stop()
  end)

  before_each(function() far:forget() end)

  local function send(n, urls)
    return assert(nginx.send(front.port, { method = "POST", path = "/map?n=" .. n,
      body = json.encode(urls) }))
  end

  local function map(...)
    local status, _, body = nginx.answer(send(...))
    assert.equal(200, status, body)
    return assert(json.decode(body))
  end

  it("has several calls under way, so many and no more, and keeps their order", function()
    local urls = {}
    for i = 1, 9 do urls[i] = far:url("wait=" .. (300 - 30 * i), answer(200, {}, "x")) end
    local given = map(3, urls)
    assert.equal(3, given.most)
    assert.same({ "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9" }, given.said)
  end)

  it("sends them beside each other", function()
    local url = far:url("wait=6000", answer(200, {}, "x"))
    local waiting = send(4, { url, url, url, url })
    far:await("GET ", 4) -- before the first one has its answer
    waiting:close()
  end)

  it("has errors by item", function()
    local good = far:url(answer(200, {}, "x"))
    local dead = ("http://127.0.0.1:%d/"):format(peer.refused_port())
    assert.same({ "x1", "network", "raised", "x4" }, map(8, { good, dead, "raise", good }).said)
  end)

  it("begins nothing more once it is cancelled", function()
    local good = far:url("wait=50", answer(200, {}, "x"))
    local given = map(2, { good, good, "cancel", good, good, good })
    assert.equal("x1", given.said[1])
    assert.equal("x2", given.said[2])
    assert.equal("stopped", given.said[3])
    assert.same({ "cancelled", "cancelled" }, { given.said[5], given.said[6] })
    assert.is_true(far:count("GET ") <= 3)
  end)

  it("calls for whoever called it", function()
    local _, _, body = front:request { path = "/caller" }
    assert.equal("true true true false false false", body)
  end)

  it("takes nothing", function()
    assert.same({ most = 0, said = {} }, map(2, json.array {}))
  end)
end)

teardown(peer.clean)

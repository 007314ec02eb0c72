-- Streams over real sockets, down to `each`: what is there when they tear, and when silence ends
-- them.

local billhook = require "billhook"
local curl = require "billhook.transport.curl"
local peer = require "spec.support.peer"
local rules = require "billhook.transport.request"

local answer, send, times = peer.answer, peer.send, peer.times

-- invoices 1 to n of a list, the last one cut in half if wanted
local function invoices(n, cut)
  local parts = {}
  for i = 1, n do parts[i] = ('"%d":{"id":%d,"title":"%s"}'):format(i, i, ("x"):rep(100)) end
  local text = "{" .. table.concat(parts, ",")
  return cut and text:sub(1, -cut) or text .. "}"
end

describe("A stream", function()
  local far, transport

  setup(function() far = peer.start() end)
  teardown(function() far:stop() end)
  before_each(function() transport = curl.new() end)
  after_each(function() transport:close() end)

  local function open(fields, ...)
    fields.method, fields.url = "GET", far:url(...)
    return transport:stream(fields)
  end

  local function drain(reader)
    local n = 0
    while true do
      local chunk, failure = reader:read()
      if not chunk then return n, failure end
      n = n + #chunk
    end
  end

  it("gives all that came before its end, in whatever turn that came", function()
    for _, how in ipairs { "close", "reset" } do
      for _, script in ipairs { answer(200, {}, ("x"):rep(3000), 5000),
        send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFF\r\n" .. ("x"):rep(3000)) } do
        -- at once with the head, or while nobody reads
        local reader = assert(open({}, script, "wait=30", how))
        transport:sleep(0.1)
        local n, failure = drain(reader)
        assert.same({ 3000, "network" }, { n, failure.kind })
        n, failure = drain(assert(open({}, script, "wait=30", how)))
        assert.same({ 3000, "network" }, { n, failure.kind })
      end
    end
  end)

  it("gives what its limit allows, then says so", function()
    local n, failure = drain(assert(open({ limit = 1500 }, answer(200, {}, ("x"):rep(3000)))))
    assert.same({ 1500, "too_large" }, { n, failure.kind })
    assert.equal("the body is over the limit", failure.message)
  end)

  it("ends where nothing comes for too long, with what came", function()
    local n, failure = drain(assert(open({ stall = 0.2 }, answer(200, {}, "ab", 10), "wait=20000")))
    assert.same({ 2, "timeout", true, "nothing came for 200 milliseconds" },
      { n, failure.kind, failure.sent, failure.message })
  end)

  it("has a minute of silence where nobody says how much", function()
    assert.equal(60, rules.STALL)
    finally(function() rules.STALL = 60 end)
    rules.STALL = 0.2
    local n, failure = drain(assert(open({}, answer(200, {}, "ab", 10), "wait=20000")))
    assert.same({ 2, "nothing came for 200 milliseconds" }, { n, failure.message })
    assert.equal("late", transport:request({ method = "GET",
      url = far:url("wait=400", answer(200, {}, "late")) }).body)
  end)

  it("ends where not even a head comes", function()
    local reader, failure = open({ stall = 0.2 }, "wait=20000")
    assert.is_nil(reader)
    assert.same({ "timeout", true }, { failure.kind, failure.sent })
    local response
    response, failure = transport:request { method = "GET", stall = 0.2,
      url = far:url "wait=20000" }
    assert.is_nil(response)
    assert.equal("nothing came for 200 milliseconds", failure.message)
  end)

  it("goes on where something comes now and then", function()
    local reader = open({ stall = 0.5 }, answer(200, {}, "", 5), send "a", "wait=200", send "b",
      "wait=200", send "c", "wait=200", send "d", "wait=200", send "e")
    assert.same({ 5 }, { drain(reader) })
  end)

  it("takes all the time its reader takes", function()
    local function big() return open({ stall = 0.1 }, answer(200, {}, "", 4000000),
      times(4000, ("x"):rep(1000))) end
    local reader = big()
    assert.is_string(reader:read())
    transport:sleep(0.4) -- held back
    assert.is_string(reader:read())
    os.execute("sleep 0.4") -- not even looked at
    local _, failure = drain(reader)
    assert.is_nil(failure)
    reader = open({ stall = 0.3 }, answer(200, {}, "a", 2), "wait=400", send "b")
    assert.equal("a", reader:read())
    os.execute("sleep 0.6")
    assert.equal("b", reader:read())
    assert.same({ 0 }, { drain(reader) })
  end)

  it("has a silence of more than no time", function()
    for _, stall in ipairs { 0, -1, 1 / 0 } do
      local fine, why = pcall(open, { stall = stall }, "close")
      assert.is_false(fine)
      assert.is_truthy(why:find("request.stall must be more than 0 seconds", 1, true), why)
    end
  end)
end)

describe("each over a stream that ends badly", function()
  local far

  setup(function() far = peer.start() end)
  teardown(function() far:stop() end)

  -- the invoices that came, and the error
  local function walk(fields, ...)
    local transport = curl.new()
    local url = far:url(...)
    local client = billhook.dreamapply { base_url = "http://127.0.0.1:1", api_key = "a key of each",
      quota = false, attempts = 1, transport = {
        request = function() error "not asked for" end,
        sleep = function() end,
        stream = function(_, request)
          request.url = url
          for name, value in pairs(fields) do request[name] = value end
          return transport:stream(request)
        end,
      } }
    local n = 0
    local fine, err = pcall(function()
      for invoice in client.invoices:each() do
        n = n + 1
        assert(invoice.id == n)
      end
    end)
    assert.is_false(fine)
    return n, err
  end

  local function head(body)
    return answer(200, { ["Content-Type"] = "application/json" }, body, 9000000)
  end

  it("raises after the last whole invoice", function()
    for _, n in ipairs { 1, 2, 20 } do
      for _, how in ipairs { "close", "reset" } do
        local got, err = walk({}, head(invoices(n + 1, 50)), "wait=30", how)
        assert.same({ n, "network", "invoices.list" }, { got, err.kind, err.operation })
      end
    end
  end)

  it("raises after what its limit allows", function()
    local body = invoices(20)
    local limit = #invoices(10)
    local got, err = walk({ limit = limit }, answer(200, {}, body))
    assert.same({ 10, "too_large" }, { got, err.kind })
  end)

  it("raises after the last one where the server falls silent", function()
    local got, err = walk({ stall = 0.2 }, head(invoices(5, 50)), "wait=20000")
    assert.same({ 4, "timeout" }, { got, err.kind })
  end)
end)

teardown(peer.clean)

-- Streams over real sockets, down to `each`: when the first invoice is there, what is there when
-- they tear, and when silence ends them. What all transports' streams do by themselves is in
-- support/streaming.lua.

local core = require "billhook.core"
local curl = require "billhook.transport.curl"
local peer = require "spec.support.peer"
local remote = require "spec.support.remote"
local streams = require "spec.support.streams"

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

  it("has a minute of silence where nobody says how much", function()
    local function stall(...)
      return core.request.check({ method = "GET", url = far:url() }, ...).stall
    end
    assert.same({ 60, nil }, { stall(true), stall() })
    local n, failure = drain(assert(open({ stall = 0.9 }, answer(200, {}, "ab", 10), "wait=20000")))
    assert.same({ 2, "nothing came for 900 milliseconds" }, { n, failure.message })
    assert.equal("late", transport:request({ method = "GET",
      url = far:url("wait=1200", answer(200, {}, "late")) }).body)
  end)

  it("takes all the time its reader takes", function()
    local function big() return open({ stall = 1 }, answer(200, {}, "", 4000000),
      times(4000, ("x"):rep(1000))) end
    local reader = big()
    assert.is_string(reader:read())
    transport:sleep(1.2) -- held back
    assert.is_string(reader:read())
    os.execute("sleep 1.2") -- not even looked at
    local _, failure = drain(reader)
    assert.is_nil(failure)
    reader = open({ stall = 1 }, answer(200, {}, "a", 2), "wait=1200", send "b",
      peer.note "sent the rest")
    assert.equal("a", reader:read())
    far:await("sent the rest", 1)
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

describe("a walk that is not walked to its end", function()
  local there

  setup(function() there = peer.start() end)
  teardown(function() there:stop() end)

  local ends = {
    ["is closed"] = function(walk)
      walk()
      walk:close()
    end,
    ["is dropped"] = function(walk)
      walk()
      walk = nil -- luacheck: ignore
    end,
    ["has failed in its loop"] = function(walk)
      pcall(function() for _ in walk do error "of the consumer" end end)
    end,
  }
  if not rawget(_G, "jit") then
    ends["is left by break"] = load "for _ in (...) do break end" -- closes only what `each` gave
  end

  for how, leave in pairs(ends) do
    it("lets its transfer go when it " .. how, function()
      there:forget()
      local transport = curl.new()
      streams.begin(transport, there:url(answer(200, {}, "", 9000), send(invoices(2, 50)),
        "eat=30000", peer.note "eaten"), leave)
      collectgarbage()
      collectgarbage()
      transport:sleep(0.01)
      there:await("eaten", 1) -- the end of the connection ends eating, or its 30 seconds
      transport:close()
    end)
  end
end)

-- `each`, by every transport that is there.
local function walks(name, begin)
  describe("each by " .. name, function()
    local far, there

    setup(function() there, far = peer.start(), begin() end)
    teardown(function()
      there:stop()
      far.stop()
    end)

    local function head(bytes)
      return answer(200, { ["Content-Type"] = "application/json" }, "", bytes)
    end

    it("gives the first invoice before a hundredth of 150 MB is sent", function()
      for _, cut in ipairs { 1, 100, 100000 } do -- the last one is still on its way
        there:forget()
        local got = far.walk(there:url(head(150000000), send(invoices(2, cut < 200 and cut or 50)),
          cut == 100000 and times(700, ("x"):rep(1000)) or "wait=0", "wait=20000",
          peer.note "one in a hundred"), { stop = 1 })
        assert.same({ 1, 1 }, { got.n, got.last, got.kind })
        assert.equal(0, there:count "one in a hundred")
      end
    end)

    it("raises after the last whole invoice", function()
      for _, n in ipairs { 1, 2, 20, 1000 } do
        for _, how in ipairs { "close", "reset" } do
          local body = invoices(n + 1, 50)
          local file = os.tmpname()
          local out = assert(io.open(file, "wb"))
          out:write(body)
          out:close()
          local got = far.walk(there:url(head(9000000), peer.file(file), "wait=100", how))
          os.remove(file)
          assert.same({ n, n, "network", "invoices.list" },
            { got.n, got.last, got.kind, got.operation })
        end
      end
    end)

    it("raises after what its limit allows", function()
      local body = invoices(20)
      local got = far.walk(there:url(answer(200, {}, body)),
        { fields = { limit = #invoices(10) } })
      assert.same({ 10, "too_large" }, { got.n, got.kind })
    end)

    it("raises after the last one where the server falls silent", function()
      local got = far.walk(there:url(head(9000000), send(invoices(5, 50)), "wait=20000"),
        { fields = { stall = 1 } })
      assert.same({ 4, "timeout" }, { got.n, got.kind })
    end)

    it("gives all of a list in chunks, to its end", function()
      local body = invoices(200)
      local chunks = {}
      for at = 1, #body, 97 do
        local part = body:sub(at, at + 96)
        chunks[#chunks + 1] = ("%x\r\n%s\r\n"):format(#part, part)
      end
      local got = far.walk(there:url(send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        .. table.concat(chunks) .. "0\r\n\r\n")))
      assert.same({ 200, 200 }, { got.n, got.last, got.kind })
    end)
  end)
end

walks("curl", function()
  local transport = curl.new()
  return {
    walk = function(url, options) return streams.walk(transport, url, options or {}) end,
    stop = function() transport:close() end,
  }
end)

local function inside(name)
  walks(name, function()
    local far = remote.start(name)
    return {
      walk = function(url, options) return far:walk(url, options) end,
      stop = function() far:stop() end,
    }
  end)
end

inside "worker"
inside "resty"
if not remote.resty_http() then
  io.stderr:write("note: spec/stream_spec.lua did not run with lua-resty-http: not installed\n")
end

teardown(peer.clean)

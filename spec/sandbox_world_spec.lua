-- The sandbox without nginx: its options, its clock, its faults, what is sent when.

local json = require "billhook.json"
local past = require "billhook.sandbox.past"
local sandbox = require "billhook.sandbox"
local values = require "billhook.sandbox.values"

local key = { authorization = 'DREAM apikey="sandbox-key"' }

describe("a sandbox in this process", function()
  local now, posts, status, world
  before_each(function()
    now, posts, status = 1772452800, {}, 200
    world = sandbox.new { clock = function() return now end,
      webhooks = { dreamapply = "http://localhost/a", dreamclass = "http://localhost/c" },
      post = function(url, headers, body)
        posts[#posts + 1] = { url = url, headers = headers, body = body, at = world:now() }
        return status
      end }
  end)

  local function ask(method, path, body)
    return world:answer { method = method, target = "/api/v9" .. path, headers = key, body = body }
  end

  it("raises for what it cannot be", function()
    local function bad(options, message)
      assert.error_matches(function() sandbox.new(options) end, message)
    end
    bad({ clock = 1 }, "sandbox: clock must be a function")
    bad({ post = "x" }, "sandbox: post must be a function")
    bad({ nonsense = 1 }, "sandbox: bad option 'nonsense'")
    bad({ dreamapply = { lag = -1 } }, "option 'lag' must be 0 to 3600 seconds")
    bad({ dreamapply = { empty = "x" } }, "option 'empty' must be sample, array or object")
    assert.error_matches(function()
      sandbox.conf { listen = "127.0.0.1:1", clock = os.time }
    end, "sandbox: clock is nginx's here")
  end)

  it("sends when it is told to run, and again when that is due", function()
    status = 500
    world:order("trigger", { vendor = "dreamapply" })
    assert.equal(0, #posts)
    world:run()
    assert.same({ 1, "http://localhost/a" }, { #posts, posts[1].url })
    world:run()
    assert.equal(1, #posts)
    for i = 2, 6 do
      now = now + 60
      world:run()
      assert.equal(i, #posts)
    end
    assert.same({ "failed", 500 }, { world.deliveries[1].state,
      world.deliveries[1].attempts[6].status })
    world:order("clock", { forward = 3600 })
    world:run()
    assert.equal(6, #posts)
  end)

  it("sends what is late after what came later", function()
    world:order("fault", { next = "webhook", seconds = 30 })
    for amount = 1, 2 do world:order("trigger", { vendor = "dreamclass", amount = amount }) end
    world:order("clock", { forward = 31 })
    world:run()
    local amounts = {}
    for i, one in ipairs(posts) do amounts[i] = json.decode(one.body).data.amount end
    assert.same({ 2, 1 }, amounts)
  end)

  it("ends connections, and gives half an answer", function()
    world:order("fault", { next = "reset" })
    assert.is_nil((ask("GET", "/ping")))
    world:order("fault", { next = "reset-after" })
    assert.is_nil((ask("POST", "/applications/7/invoices",
      '{"currency":"EUR","items":[["Fee","1.00",1]]}')))
    assert.equal(200, (ask("GET", "/invoices/1")))
    world:order("fault", { next = "half" })
    local code, body, headers, cut = ask("GET", "/ping")
    assert.same({ 200, "half" }, { code, cut })
    assert.is_true(#body < tonumber(headers["Content-Length"]))
    world:order("fault", { next = "empty" })
    code, body, headers = ask("GET", "/invoices")
    assert.same({ 200, "[]", "0" }, { code, body, headers["X-Count"] })
    assert.equal(404, (world:answer { method = "GET", target = "/elsewhere", headers = {} }))
  end)

  it("forgets everything but its options", function()
    world:order("trigger", { vendor = "dreamapply" })
    world:order("reset")
    assert.equal(404, (ask("GET", "/invoices/1")))
    world:order("trigger", { vendor = "dreamapply" })
    world:run()
    assert.equal(1, #posts)
  end)
end)

describe("what was before", function()
  it("is found by its time, and forgotten after an hour", function()
    local things = past.new()
    past.put(things, 1, { n = 1 }, 100)
    past.put(things, 1, { n = 2 }, 200)
    past.put(things, 1, nil, 300)
    local function at(time) return (past.get(things, 1, time) or {}).n end
    assert.same({ nil, 1, 1, 2, nil }, { at(99), at(100), at(199), at(200), at(300) })
    assert.same({ 2, 300 }, { past.deleted(things, 1).n, past.since(things, 1) })
    past.put(things, 1, { n = 3 }, 250) -- not before what was written last
    assert.same({ 2, 3 }, { at(299), at(300) })
    past.put(things, 1, { n = 4 }, 300 + past.longest + 1)
    assert.equal(2, #things.states[1])
    past.put(things, 2, { n = 9 }, 0)
    assert.same({ 4, 9 }, { past.all(things)[1].value.n, past.all(things)[2].value.n })
  end)
end)

describe("a form", function()
  it("is read as PHP reads it", function()
    assert.same({ a = "1 2", b = { { c = "x", d = "y" }, { c = "z" } }, e = { f = "&" } },
      values.form "a=1+2&b%5B0%5D%5Bc%5D=x&b[0][d]=y&b[1][c]=z&e[f]=%26")
    assert.same({ a = { ["1"] = "x" } }, values.form "a[1]=x") -- no list: it begins at 1
  end)

  it("has numbers only where they are whole", function()
    for _, text in ipairs { "", "1e3", "0x10", "nan", "1,5", " 1" } do
      assert.is_nil(values.number(text))
    end
    assert.same({ -1.5, 2, 3 }, { values.number "-1.5", values.number(2), values.number "3" })
    assert.is_nil(values.number(0 / 0))
    assert.is_nil(values.number(math.huge))
  end)
end)

local billhook = require "billhook"
local errors = require "billhook.error"
local support = require "spec.support.client"

local function pages(all)
  return function(request)
    local page = request.url:match("^https://btrz%.example/invoices(.*)$") or request.url
    local body = assert(all[page], "no such page: " .. request.url)
    return { body = body, headers = { ["content-type"] = "application/json" } }
  end
end

local T = "transactionId=616d7cf38fedff37e449215c"
local transaction = { transactionId = "616d7cf38fedff37e449215c" }

local function ids(iterator)
  local seen = {}
  for invoice in iterator do seen[#seen + 1] = invoice.id or invoice._id end
  return seen
end

describe("each over a map", function()
  local function over(body, status)
    return support.new("dreamapply", function()
      return { body = body, status = status, headers = { ["content-type"] = "application/json" } }
    end)
  end

  it("gives the elements as they come, tagged", function()
    local client, transport = over '{"200":{"id":200,"course":null},"3":{"id":3}}'
    local seen = {}
    for invoice in client.invoices:each { byOverdue = true } do
      seen[#seen + 1] = invoice
      assert.equal("dreamapply", getmetatable(invoice).vendor)
    end
    assert.same({ { id = 200 }, { id = 3 } }, seen)
    assert.equal(1, #transport.requests)
    assert.equal("https://apply.example.edu/api/v9/invoices?byOverdue=true",
      transport.requests[1].url)
  end)

  it("takes arrays, and both kinds of nothing", function()
    assert.same({ 2, 1 }, ids(over('[{"id":2},{"id":1}]').invoices:each()))
    assert.same({}, ids(over("{}").invoices:each()))
    assert.same({}, ids(over("[]").invoices:each()))
  end)

  it("sends nothing before its first step, and gives nil for ever after its last", function()
    local client, transport = over '{"1":{"id":1}}'
    local iterator = client.invoices:each()
    assert.equal(0, #transport.requests)
    assert.equal(1, iterator().id)
    assert.is_nil(iterator())
    assert.is_nil(iterator())
    assert.equal(1, #transport.requests)
    assert.equal("billhook.each (dreamapply invoices.list)", tostring(iterator))
  end)

  it("ends early when it is closed", function()
    local client = over '{"1":{"id":1},"2":{"id":2}}'
    local iterator = client.invoices:each()
    assert.equal(1, iterator().id)
    iterator:close()
    iterator:close()
    assert.is_nil(iterator())
    local unused = client.invoices:each()
    unused:close()
    assert.is_nil(unused())
  end)

  it("closes its transfer at a break, on 5.4", function()
    local closed = 0
    local client, transport = over '{"1":{"id":1},"2":{"id":2}}'
    local stream = transport.stream
    transport.stream = function(self, request)
      local reader = assert(stream(self, request))
      return { status = reader.status, headers = reader.headers,
        read = function() return reader:read() end,
        close = function() closed = closed + 1 end }
    end
    for _ in client.invoices:each() do break end -- luacheck: ignore
    assert.equal(_VERSION == "Lua 5.4" and 1 or 0, closed)
    for _ in client.invoices:each() do end -- luacheck: ignore
    assert.equal(_VERSION == "Lua 5.4" and 2 or 1, closed)
  end)

  it("raises the error object after the last whole element", function()
    for body, kind in pairs {
      ['{"1":{"id":1},"2":{"id"'] = "decode", ['{"1":{"id":1},"2":{"id":2]}'] = "decode",
      ['{"1":{"id":1},"2":5}'] = "decode", ['{"1":{"id":1},"2":{"id":2,"id":3}}'] = "decode",
      ['{"1":{"id":1}}x'] = "decode",
    } do
      local iterator = over(body).invoices:each()
      assert.equal(1, iterator().id)
      local fine, err = pcall(iterator)
      assert.is_false(fine)
      assert.is_true(errors.is(err), body)
      assert.equal(kind, err.kind, body)
      assert.equal("invoices.list", err.operation)
      assert.equal(200, err.status)
      assert.is_nil(iterator()) -- it is over
    end
  end)

  it("raises what keeps it from beginning", function()
    local fine, err = pcall(over("No.", 401).invoices:each())
    assert.is_false(fine)
    assert.equal("auth", err.kind)
    assert.equal("No.", err.message)
    local client = support.new("dreamapply", function() return nil, { kind = "network" } end)
    fine, err = pcall(client.invoices:each())
    assert.is_false(fine)
    assert.equal("network", err.kind)
    assert.equal(3, err.attempts)
  end)

  it("raises when the transfer is torn", function()
    local client, transport = over '{"1":{"id":1},"2":{"id":2}}'
    local stream = transport.stream
    transport.stream = function(self, request)
      local reader = assert(stream(self, request))
      local left = 20
      return { status = reader.status, headers = reader.headers, close = function() end,
        read = function()
          left = left - 1
          if left < 0 then return nil, { kind = "network", message = "torn", sent = true } end
          return reader:read()
        end }
    end
    local iterator = client.invoices:each()
    assert.equal(1, iterator().id)
    local fine, err = pcall(iterator)
    assert.is_false(fine)
    assert.equal("network", err.kind)
    assert.equal("torn", err.message)
  end)

  it("has a limit to an element", function()
    local client, transport = over('{"1":{"id":1},"2":{"text":"' .. ("x"):rep(16 * 1024 * 1024)
      .. '"}}')
    transport.chunk = 65536
    local iterator = client.invoices:each()
    assert.equal(1, iterator().id)
    local fine, err = pcall(iterator)
    assert.is_false(fine)
    assert.equal("too_large", err.kind)
  end)

  it("has no limit to its size, but an hour's time", function()
    local client, transport = over "{}"
    ids(client.invoices:each())
    assert.is_true(transport.requests[1].limit > 2 ^ 40)
    assert.equal(3600, transport.requests[1].timeout)
    ids(client.invoices:each({}, { timeout = 5, limit = 100 }))
    assert.equal(5, transport.requests[2].timeout)
    assert.equal(100, transport.requests[2].limit)
  end)
end)

describe("a long list on an event loop", function()
  local turns

  -- 5000 invoices, the last ones as given
  local function listed(ending, options)
    local parts = {}
    for i = 1, 5000 do
      parts[i] = ('"%d":{"id":%d,"title":"%s"}'):format(i, i, ("x"):rep(100))
    end
    local client, transport = support.new("dreamapply", function()
      return { body = "{" .. table.concat(parts, ",") .. ending }
    end, options)
    turns = 0
    transport.turn = function() turns = turns + 1 end
    return client.invoices:list()
  end

  it("is decoded by its elements, with others' turns in between", function()
    local list = assert(listed "}")
    assert.equal(5000, #list)
    assert.equal(5000, list[5000].id)
    assert.equal("dreamapply", getmetatable(list[5000]).vendor)
    assert.is_true(turns >= 9, turns) -- of 64 KiB each
  end)

  it("is what it is, in any order", function()
    local list = assert(listed ',"7000":{"id":7000},"6000":{"id":6000}}')
    assert.equal(5002, #list)
    assert.equal(7000, list[5002].id)
  end)

  it("is refused for the same reasons as any other", function()
    for ending, message in pairs { [",}"] = "", ["}x"] = "", [""] = "",
      [',"1":{"id":1}}'] = "twice", [',"9000":5}'] = "a list of objects was expected",
      [',"9000":null}'] = "null is in it", [',"9000":{"title":"no id"}}'] = "without a good 'id'",
      [',"9000":{"id":9001}}'] = "the object under '9000' is one with the id 9001",
      [',"9000":{"id":9000,"id":9001}}'] = "twice" } do
      local list, err = listed(ending)
      assert.is_nil(list)
      assert.equal("decode", err.kind)
      assert.is_truthy(err.message:find(message, 1, true), err.message)
    end
  end)
end)

describe("pages", function()
  local three = {
    ["/invoices?" .. T .. "&page=1"] = '{"invoices":[{"_id":"a"},{"_id":"b"}],"next":'
      .. '"https://btrz.example/invoices/invoices?page=2","previous":"","count":3}',
    ["/invoices?page=2"] = '{"invoices":[],"next":"/invoices/invoices?page=3"}',
    ["/invoices?page=3"] = '{"invoices":[{"_id":"c"}],"next":""}',
  }

  it("are followed, an empty one too", function()
    local client, transport = support.new("betterez", pages(three))
    assert.same({ "a", "b", "c" }, ids(client.invoices:each(transaction)))
    assert.equal(3, #transport.requests)
    local list = assert(client.invoices:list(transaction))
    assert.equal(3, #list)
    assert.equal("betterez", getmetatable(list[3]).vendor)
  end)

  it("are not followed where one was asked for", function()
    local client = support.new("betterez", pages {
      ["/invoices?" .. T .. "&page=2"] = '{"invoices":[{"_id":"b"}],'
        .. '"next":"/invoices/invoices?page=3"}',
    })
    local list = assert(client.invoices:list {
      transactionId = transaction.transactionId, page = 2 })
    assert.equal(1, #list)
  end)

  it("may come without any link", function()
    local client = support.new("betterez", pages {
      ["/invoices?" .. T .. "&page=1"] = '{"invoices":[{"_id":"a"}]}' })
    assert.same({ "a" }, ids(client.invoices:each(transaction)))
  end)

  it("are not followed to another origin", function()
    for _, link in ipairs { "https://evil.example/invoices?page=2", "//evil.example/x",
        "http://btrz.example/x", "https://btrz.example:8443/x", "https://btrz.example.org/?page=2",
        "https://btrz.example@evil.example/x", "javascript:x" } do
      local client, transport = support.new("betterez", pages {
        ["/invoices?" .. T .. "&page=1"] = '{"invoices":[{"_id":"a"}],"next":"' .. link .. '"}' })
      local none, err = client.invoices:list(transaction)
      assert.is_nil(none, link)
      assert.equal("decode", err.kind)
      assert.equal("the link to the next page leads to another origin", err.message)
      assert.equal(1, #transport.requests)
      local iterator = client.invoices:each(transaction)
      local fine
      fine, err = pcall(iterator)
      assert.is_false(fine)
      assert.equal("decode", err.kind)
    end
  end)

  it("are not followed in circles", function()
    local client, transport = support.new("betterez", pages {
      ["/invoices?" .. T .. "&page=1"] = '{"invoices":[{"_id":"a"}],'
        .. '"next":"/invoices/invoices?page=2"}',
      ["/invoices?page=2"] = '{"invoices":[{"_id":"b"}],"next":"/invoices/invoices?page=2#x"}',
    })
    local none, err = client.invoices:list(transaction)
    assert.is_nil(none)
    assert.equal("the links to the next page go round in circles", err.message)
    assert.equal(2, #transport.requests)
  end)

  it("come to an end", function()
    local client, transport = support.new("betterez", function(_, n)
      return { body = ('{"invoices":[],"next":"/invoices/invoices?page=%d"}'):format(n + 1) }
    end)
    local none, err = client.invoices:list(transaction)
    assert.is_nil(none)
    assert.equal("there are more than 10000 pages", err.message)
    assert.equal(10000, #transport.requests)
  end)

  it("have a limit in all when they become one list", function()
    local client = support.new("betterez", pages(three))
    local none, err = client.invoices:list(transaction, { limit = 150 })
    assert.is_nil(none)
    assert.equal("too_large", err.kind)
    assert.equal("the list is larger than the limit of 150 bytes: walk it with each", err.message)
  end)

  it("say what is wrong with them", function()
    local client = support.new("betterez", pages {
      ["/invoices?" .. T .. "&page=1"] = '{"other":[]}' })
    local _, err = client.invoices:list(transaction)
    assert.equal("decode", err.kind)
    assert.equal("a list under 'invoices' was expected", err.message)
    for body, message in pairs {
      ['{"a":{"_id":"a"}}'] = "a list was expected, and an object came",
      ['["b"]'] = "a list of objects was expected, and a text is in it",
      ['[null]'] = "a list of objects was expected, and null is in it",
      ['[{"id":"a"},{"x":1}]'] =
        "in the list, an object with '_id' was expected, and one without a good '_id' came",
      ['[],"next":2'] = "the link to the next page is no text",
    } do
      client = support.new("betterez", pages {
        ["/invoices?" .. T .. "&page=1"] = '{"invoices":' .. body .. '}' })
      _, err = client.invoices:list(transaction)
      assert.equal(message, err.message)
    end
  end)

  it("share one deadline in a list, and have their own in a walk", function()
    local client, transport
    client, transport = support.new("betterez", function(request)
      transport.passed = (transport.passed or 0) + 12
      return pages(three)(request)
    end)
    assert.equal("timeout", select(2, client.invoices:list(transaction, { timeout = 20 })).kind)
    assert.same({ "a", "b", "c" }, ids(client.invoices:each(transaction, { timeout = 20 })))
  end)
end)

describe("billhook.map", function()
  it("gives results in order and errors by item", function()
    local results, errs = billhook.map({ 1, 2, 3, 4 }, function(item, i)
      assert.equal(item, i)
      if item == 2 then return nil, "not this one" end
      if item == 3 then error("raised", 0) end
      return item * 10
    end)
    assert.equal(4, results.n)
    assert.same({ 10, nil, nil, 40, n = 4 }, results)
    assert.same({ [2] = "not this one", [3] = "raised" }, errs)
  end)

  it("takes nothing, and refuses nonsense", function()
    assert.same({ n = 0 }, (billhook.map({}, print)))
    for message, fn in pairs {
      ["billhook.map: 'list' must be a table, got nothing"] = function() billhook.map() end,
      ["billhook.map: 'fn' must be a function, got table"] = function() billhook.map({}, {}) end,
      ["'list' must be a list, got an iterator: use list, or a loop over each"] = function()
        local apply = billhook.dreamapply { base_url = "https://x.org", api_key = "abcdef" }
        billhook.map(apply.invoices:each(), print)
      end,
      ["billhook.map: 'concurency' is not known"] = function()
        billhook.map({}, print, { concurency = 2 })
      end,
      ["billhook.map: 'concurrency' must be a whole number of at least 1"] = function()
        billhook.map({}, print, { concurrency = 0 })
      end,
    } do
      local fine, why = pcall(fn)
      assert.is_false(fine)
      assert.matches("each_spec.lua:%d+: ", why)
      assert.is_truthy(why:find(message, 1, true), why)
    end
  end)
end)

-- spec/verify_spec.lua: core.verify: keys, and what all schemes have in common.
local verify = require("billhook.core").verify
local refuses = require("spec.support.deliveries").refuses

describe("keys", function()
  it("print as *** and cannot be looked into", function()
    local keys = verify.keys { secret = "s3cret" }
    assert.equal("***", tostring(keys))
    assert.is_false(getmetatable(keys))
    assert.has_error(function() setmetatable(keys, {}) end)
  end)

  for _, case in ipairs {
    { { secret = "" }, "secret is empty" },
    { { secret = " a" }, "secret has white space at an end" },
    { { secret = "topsecret\n" }, "secret has white space at an end" },
    { { secret = { "a", "b\t" } }, "secret%[2%] has white space at an end" },
    { { secret = {} }, "secret is an empty list" },
    { { secret = 5 }, "secret is not a string" },
    { { secret = { "a", 5 } }, "secret%[2%] is not a string" },
    { { secret = true }, "secret is not a string" },
    { { authorization = "" }, "authorization is empty" },
    { { authorization = "a\r\n" }, "authorization has white space at an end" },
    { { authorization = { "a", "b\nc" } }, "authorization%[2%] has a control character" },
    { { authorization = ("x"):rep(4097) }, "authorization is longer than 4096 bytes" },
    { { basic = "u:p" }, "basic is not a list of user and password" },
    { { basic = { "u" } }, "basic is not a list of user and password" },
    { { basic = { "u", "p", "q" } }, "basic is not a list of user and password" },
    { { basic = { 1, 2 } }, "basic is not a list of user and password" },
    { { basic = { "", "p" } }, "basic has an empty part" },
    { { basic = { "u", "" } }, "basic has an empty part" },
    { { basic = { "u:v", "p" } }, "basic has a ':' in the user" },
    { { basic = { "u", "p\n" } }, "basic has a control character" },
    { { basic = { "u", ("p"):rep(4096) } }, "basic is too long" },
    { { secrets = "a" }, "unknown option: secrets" },
  } do
    it("refuse: " .. case[2], function()
      local ok, message = pcall(verify.keys, case[1])
      assert.is_false(ok)
      assert.is_truthy(tostring(message):find(case[2]), tostring(message))
      assert.is_nil(tostring(message):find("topsecret", 1, true))
    end)
  end

  it("hold 16 of a kind and no more", function()
    local list = {}
    for i = 1, 16 do list[i] = "secret " .. i end
    verify.keys { secret = list, authorization = list }
    list[17] = "one more"
    assert.has_error(function() verify.keys { secret = list } end)
    assert.has_error(function() verify.keys { authorization = list } end)
  end)

  it("need a table", function() assert.has_error(function() verify.keys() end) end)
end)

describe("check", function()
  local keys = verify.keys { secret = "s", authorization = "a" }

  it("takes only vendors that it knows, text and tables", function()
    assert.has_error(function() verify.check("stripe", {}, "", keys) end)
    assert.has_error(function() verify.check("betterez", "x", "", keys) end)
    assert.has_error(function() verify.check("betterez", {}, nil, keys) end)
    assert.has_error(function() verify.check("betterez", {}, "", "secret") end)
    assert.has_error(function() verify.check("betterez", {}, "", io.stdout) end)
  end)

  it("takes only options that make sense", function()
    for name, value in pairs { tolerance = -1, now = "soon", tenant = 5 } do
      assert.has_error(function() verify.check("betterez", {}, "", keys, { [name] = value }) end)
    end
    assert.has_error(function() verify.check("betterez", {}, "", keys, { now = 0 / 0 }) end)
  end)

  it("refuses where nothing is configured", function()
    local none = verify.keys {}
    local basic = verify.keys { basic = { "u", "p" }, authorization = "a" }
    for _, vendor in ipairs { "dreamapply", "dreamclass", "betterez" } do
      refuses("unconfigured", "nothing is configured", vendor, {}, "{}", nil)
      refuses("unconfigured", "nothing is configured", vendor, {}, "{}", none)
    end
    refuses("unconfigured", "", "dreamclass", {}, "{}", basic)
    refuses("unconfigured", "", "betterez", {}, "{}", basic)
    refuses("unconfigured", "", "dreamapply", {}, "{}", verify.keys { secret = "s" })
  end)

  it("refuses more than 100 headers, lists counted through", function()
    local headers = { Authorization = "a" }
    for i = 1, 99 do headers["x-" .. i] = "v" end
    assert.is_truthy(verify.check("dreamapply", headers, "[]", keys))
    headers["x-1"] = { "v", "w" }
    refuses("header", "more than 100 headers", "dreamapply", headers, "[]", keys)
  end)

  it("refuses a header that it reads where it comes twice, not another", function()
    refuses("header", "authorization comes twice", "dreamapply",
      { authorization = "a", Authorization = "a" }, "[]", keys)
    refuses("header", "authorization comes twice", "dreamapply",
      { authorization = { "a", "b" } }, "[]", keys)
    refuses("header", "content%-encoding comes twice, is no text", "dreamapply",
      { authorization = "a", ["Content-Encoding"] = 17 }, "[]", keys)
    refuses("header", "is no text", "dreamapply", { authorization = 17 }, "[]", keys)
    refuses("header", "is no text", "dreamapply", { authorization = { { "a" } } }, "[]", keys)
    refuses("header", "longer than 4096", "dreamapply", { authorization = ("a"):rep(4097) }, "[]",
      keys)
    assert.is_truthy(verify.check("dreamapply",
      { AUTHORIZATION = { "a" }, cookie = { "a", "b" }, odd = true, [1] = "x" }, "[]", keys))
  end)

  it("refuses a compressed body", function()
    for _, coding in ipairs { "gzip", "br", "identity, gzip", "deflate", "GZIP", "x-gzip", "zstd",
      { "utf-8", "gzip" }, "compress" } do
      refuses("encoding", "compressed", "dreamapply",
        { authorization = "a", ["content-encoding"] = coding }, "[]", keys)
    end
    -- what is no coding says nothing of the body, which shows by itself what it is
    for _, coding in ipairs { "identity", "IDENTITY", "", "UTF-8", "none", "identity, utf8",
      { "identity", "identity" }, "8bit" } do
      assert.is_truthy(verify.check("dreamapply",
        { authorization = "a", ["content-encoding"] = coding }, "[]", keys))
    end
  end)

  it("refuses a body over 64 MiB", function()
    local body = (" "):rep(1024):rep(64 * 1024):sub(2) .. "[]"
    refuses("malformed", "over 64 MiB", "dreamapply", { authorization = "a" }, body, keys)
    assert.is_truthy(verify.check("dreamapply", { authorization = "a" }, body:sub(2), keys))
  end)

  it("can be called again from a finaliser while an answer is made", function()
    local list, inner = {}, 0
    for i = 1, 2000 do list[i] = ('{"id":%d,"event":"e\\u0021"}'):format(i) end
    local body, headers = "[" .. table.concat(list, ",") .. "]", { authorization = "a" }
    local collect = newproxy and function(f) -- luacheck: ignore
      local p = newproxy(true) -- luacheck: ignore
      getmetatable(p).__gc = f
    end or function(f) setmetatable({}, { __gc = f }) end
    local function again()
      inner = inner + 1
      local found = verify.check("dreamapply", headers, '[{"id":7,"event":"other\\u0021"}]', keys)
      assert(found.events[1].native == "other!")
    end
    collectgarbage("restart") -- busted stops it
    for _ = 1, 50 do
      for _ = 1, 20 do collect(again) end
      local delivery = verify.check("dreamapply", headers, body, keys)
      assert.equal(2000, #delivery.events)
      for i, event in ipairs(delivery.events) do
        assert(event.id == tostring(i) and event.native == "e!", event.id)
      end
    end
    assert.is_true(inner > 0)
  end)
end)

describe("member", function()
  it("gives the place of a member's value", function()
    local sent = ' { "a": {"id": 1}, "id": "x" } '
    local from, to = verify.member(sent, "id")
    assert.equal('"x"', sent:sub(from, to))
    assert.is_nil(verify.member(sent, "b"))
    assert.is_nil(verify.member('{"id":1,"id":2}', "id"))
    assert.is_nil(verify.member("[1]", "id"))
    assert.is_nil(verify.member("nonsense", "id"))
  end)
end)

describe("a check", function()
  it("leaves out the digest and the data where they are not asked for, and nothing else", function()
    local billhook = require "billhook"
    local keys = verify.keys { secret = "s3cret" }
    local headers, body = billhook.sign("betterez", '{"id":"a","event":"invoices.created",'
      .. '"created":1,"livemode":true,"data":{"_id":"616d7cf38fedff37e4492161"}}',
      { secret = "s3cret" })
    local whole = assert(verify.check("betterez", headers, body, keys))
    local bare = assert(verify.check("betterez", headers, body, keys,
      { digest = false, data = false }))
    assert.equal('{"_id":"616d7cf38fedff37e4492161"}', whole.events[1].data)
    assert.equal(64, #whole.events[1].digest)
    whole.events[1].data, whole.events[1].digest = nil, nil
    assert.same(whole, bare)
  end)
end)
